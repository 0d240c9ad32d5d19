/* SPDX-License-Identifier: Apache-2.0 */
/* CURLOPT_CONNECT_ONLY: libcurl connects and then keeps out of what is said: it looks its
 * connection up in a list at every send and receive, which costs more the more connections there
 * are. */
#include "conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "replay/connect.h"
#include "replay/resolver.h"

#define STATE_CLOSE 7 /* TCP_CLOSE of netinet/tcp.h, which cannot stand beside linux/tcp.h */

static const struct {
	CURLcode code;
	enum result_error error;
} connect_errors[] = {
	{CURLE_COULDNT_RESOLVE_HOST, RESULT_ERROR_RESOLVE},
	{CURLE_COULDNT_RESOLVE_PROXY, RESULT_ERROR_RESOLVE},
	{CURLE_OPERATION_TIMEDOUT, RESULT_ERROR_CONNECT_TIMEOUT},
	{CURLE_PEER_FAILED_VERIFICATION, RESULT_ERROR_TLS},
	{CURLE_SSL_CONNECT_ERROR, RESULT_ERROR_TLS},
	{CURLE_SSL_CERTPROBLEM, RESULT_ERROR_TLS},
	{CURLE_SSL_CIPHER, RESULT_ERROR_TLS},
	{CURLE_SSL_CACERT_BADFILE, RESULT_ERROR_TLS},
	{CURLE_SSL_ISSUER_ERROR, RESULT_ERROR_TLS},
};

enum result_error conn_error(CURLcode code)
{
	for (size_t i = 0; i < sizeof(connect_errors) / sizeof(connect_errors[0]); i++) {
		if (connect_errors[i].code == code)
			return connect_errors[i].error;
	}
	return RESULT_ERROR_CONNECT;
}

static CURLcode set_url(CURL *easy, const struct target_url *t, const char *sni)
{
	char url[2 * TARGET_HOST];

	if (!sni)
		return curl_easy_setopt(easy, CURLOPT_URL, t->base);
	/* Of the URL, libcurl takes the name for TLS; where it connects is conn_way_next()'s. */
	snprintf(url, sizeof(url), "%s://%s:%u/", t->tls ? "https" : "http", sni, t->port);
	return curl_easy_setopt(easy, CURLOPT_URL, url);
}

static CURLcode set_tls(CURL *easy, const struct connect_options *o)
{
	CURLcode rc = CURLE_OK;

	/* libcurl reads the certificates once for all connections, but only where no directory of
	 * them is named besides the bundle: 44 ms of each connection otherwise. */
	rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (o->ca_file)
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, o->ca_file);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, o->insecure ? 0L : 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, o->insecure ? 0L : 2L);
	if (!o->cert_file)
		return rc;
	rc |= curl_easy_setopt(easy, CURLOPT_SSLCERT, o->cert_file);
	rc |= curl_easy_setopt(easy, CURLOPT_SSLKEY, o->key_file ? o->key_file : o->cert_file);
	/* Nobody is there to be asked for one. */
	return rc | curl_easy_setopt(easy, CURLOPT_KEYPASSWD, "");
}

static CURLcode set_way(CURL *easy, const struct connect_options *o)
{
	CURLcode rc = CURLE_OK;

	/* What the environment says of proxies is for browsers; a recording goes where it is told.
	 */
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY, o->proxy ? o->proxy : "");
	rc |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	rc |= curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, o->proxy ? 1L : 0L);
	if (o->unix_socket)
		rc |= curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
	return rc;
}

static const struct connect_options *connect_of(const struct replay_options *options)
{
	static const struct connect_options plain;

	return options->connect ? options->connect : &plain;
}

int conn_configure(CURL *easy, const struct replay_options *options, void *owner)
{
	const struct connect_options *o = connect_of(options);
	CURLcode rc = CURLE_OK;

	rc |= set_url(easy, options->target, o->sni);
	rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			       (long)(options->timeout_us < 1000 ? 1 : options->timeout_us / 1000));
	/* Otherwise each send and receive would set and reset the process's SIGPIPE. */
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, owner);
	rc |= set_way(easy, o);
	rc |= set_tls(easy, o);
	return rc == CURLE_OK ? SC_OK : SC_ENOMEM;
}

void conn_way_done(struct conn_way *way)
{
	curl_slist_free_all(way->connect_to);
	curl_slist_free_all(way->resolve);
	*way = (struct conn_way){NULL, NULL};
}

/* IPv6 addresses stand in brackets where a port follows. */
static struct curl_slist *connect_to(const char *address, uint16_t port)
{
	const char *form = strchr(address, ':') ? "::[%s]:%u" : "::%s:%u";
	char text[TARGET_HOST + 16];

	snprintf(text, sizeof(text), form, address, port);
	return curl_slist_append(NULL, text);
}

static struct curl_slist *resolve_list(const struct way *way)
{
	char text[TARGET_HOST + sizeof(way->list) + 16];

	snprintf(text, sizeof(text), "%s:%u:%s", way->address, way->port, way->list);
	return curl_slist_append(NULL, text);
}

int conn_way_next(CURL *easy, const struct replay_options *options, struct conn_way *way)
{
	const struct connect_options *o = connect_of(options);
	struct way next = {.address = options->target->host, .port = options->target->port};
	struct curl_slist *to, *list = NULL;

	if (o->unix_socket || (!o->resolver && !o->sni))
		return SC_OK;
	if (o->resolver)
		resolver_next(o->resolver, now_ns() / NS_PER_US, &next);
	to = connect_to(next.address, next.port);
	/* Through a proxy, names are its own to resolve. */
	if (next.list[0] && !o->proxy)
		list = resolve_list(&next);
	if (!to || (next.list[0] && !o->proxy && !list)) {
		curl_slist_free_all(to);
		return SC_ENOMEM;
	}
	curl_easy_setopt(easy, CURLOPT_CONNECT_TO, to);
	curl_easy_setopt(easy, CURLOPT_RESOLVE, list);
	conn_way_done(way);
	*way = (struct conn_way){to, list}; /* moved */
	return SC_OK;
}

/* The one moment at which libcurl gives the TLS session away: connected, and nothing said yet. */
static int on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct conn *c = arg;
	struct curl_tlssessioninfo *tls = NULL;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	if (!curl_easy_getinfo(c->easy, CURLINFO_TLS_SSL_PTR, &tls) && tls &&
	    tls->backend == CURLSSLBACKEND_OPENSSL)
		c->ssl = tls->internals;
	return CURL_PREREQFUNC_OK;
}

/* libcurl's way to the socket leads through the transfer, which is over by now. */
static int take_tls(struct conn *c)
{
	BIO *bio = BIO_new_socket(c->fd, BIO_NOCLOSE);

	if (!bio)
		return SC_ENOMEM;
	SSL_set_bio(c->ssl, bio, bio); /* moved */
	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return SC_OK;
}

int conn_init(struct conn *c, CURLM *multi, const struct replay_options *options, void *owner)
{
	CURL *easy = curl_easy_init();
	CURLcode rc = CURLE_OK;

	if (!easy)
		return SC_ENOMEM;
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)INT_MAX); /* none is too old */
	/* In TLS, ALPN offers this and nothing else. */
	rc |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (options->target->tls) {
		rc |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
		rc |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, c);
	}
	if (rc != CURLE_OK || conn_configure(easy, options, owner)) {
		curl_easy_cleanup(easy);
		return SC_ENOMEM;
	}
	*c = (struct conn){.easy = easy,
			   .multi = multi,
			   .options = options,
			   .fd = -1,
			   .tls = options->target->tls};
	return curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->said) ? SC_ENOMEM : SC_OK;
}

void conn_done(struct conn *c)
{
	if (!c->easy)
		return;
	conn_close(c);
	curl_easy_cleanup(c->easy);
	c->easy = NULL;
	conn_way_done(&c->way);
}

void *conn_owner(CURL *easy)
{
	void *owner = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &owner);
	return owner;
}

int conn_open(struct conn *c)
{
	c->said[0] = '\0';
	if (conn_way_next(c->easy, c->options, &c->way) || curl_multi_add_handle(c->multi, c->easy))
		return SC_ENOMEM;
	c->added = true;
	return SC_OK;
}

/* libcurl believes that the connection is idle, since it was only to open it. Once a second, when it
 * opens another, it closes those idle ones that have bytes to be read, and its descriptor's number
 * is then somebody else's. So the socket is ours alone from now on, and in libcurl's place is one
 * that nobody ever says anything on. */
static int take_socket(int libcurls, int *ret)
{
	int quiet = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int own = fcntl(libcurls, F_DUPFD_CLOEXEC, 0);
	int rc = quiet >= 0 && own >= 0 && dup3(quiet, libcurls, O_CLOEXEC) >= 0 ? SC_OK : SC_EIO;

	if (quiet >= 0)
		close(quiet);
	if (rc && own >= 0)
		close(own);
	*ret = own;
	return rc;
}

/* Where only libcurl knows the TLS session, the way leads through it, at its price. */
static int take_over(struct conn *c, int libcurls)
{
	c->fd = libcurls;
	c->own = false;
	if (c->tls && !c->ssl)
		return SC_OK;
	if (take_socket(libcurls, &c->fd)) {
		c->fd = -1;
		return SC_EIO;
	}
	c->own = true;
	return c->ssl ? take_tls(c) : SC_OK;
}

int conn_opened(struct conn *c, struct addr *ret_peer)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	const char *ip = NULL;
	long port = 0;
	struct addr peer = {.len = 0};

	if (curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd) || fd == CURL_SOCKET_BAD)
		return SC_EIO;
	if (!curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_IP, &ip) && ip && addr_parse(ip, &peer))
		peer.len = 0;
	if (!curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_PORT, &port))
		peer.port = (uint16_t)port;
	if (take_over(c, fd))
		return SC_EIO; /* conn_close() takes back what was taken */
	*ret_peer = peer;
	return SC_OK;
}

void conn_close(struct conn *c)
{
	/* Taking a CONNECT_ONLY handle out of its multi closes the connection. */
	if (c->added)
		curl_multi_remove_handle(c->multi, c->easy);
	c->added = false;
	if (c->own)
		close(c->fd); /* after TLS has said goodbye on it */
	c->own = false;
	c->fd = -1;
	c->ssl = NULL;
	c->unsaid = false;
}

const char *conn_tls_detail(void)
{
	return ERR_reason_error_string(ERR_peek_error());
}

static int plain_code(ssize_t n, size_t *ret_n)
{
	if (n > 0) {
		*ret_n = (size_t)n;
		return SC_OK;
	}
	if (n == 0)
		return SC_ECLOSED;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? SC_EAGAIN : SC_EIO;
}

/* A peer that ends without TLS's own goodbye has ended all the same. */
static int ssl_code(const struct conn *c, int n, size_t *ret_n)
{
	if (n > 0) {
		*ret_n = (size_t)n;
		return SC_OK;
	}
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return SC_EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return SC_ECLOSED;
	case SSL_ERROR_SSL:
		return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
			       ? SC_ECLOSED
			       : SC_EPROTO;
	default:
		return SC_EIO;
	}
}

/* libcurl has OpenSSL take both ends for the same (SSL_OP_IGNORE_UNEXPECTED_EOF); but it was told of
 * the end if it has not come to that of the socket. */
static bool is_unsaid(const struct conn *c)
{
	return SSL_get_error(c->ssl, 0) == SSL_ERROR_SSL || BIO_eof(SSL_get_rbio(c->ssl));
}

static int clamp(size_t len)
{
	return len > INT_MAX ? INT_MAX : (int)len;
}

static int tls_code(CURLcode code, size_t n, size_t *ret_n)
{
	if (code == CURLE_AGAIN)
		return SC_EAGAIN;
	if (code != CURLE_OK)
		return SC_EIO;
	if (n == 0)
		return SC_ECLOSED;
	*ret_n = n;
	return SC_OK;
}

int conn_send(struct conn *c, const void *p, size_t len, size_t *ret_n)
{
	size_t n = 0;
	CURLcode code;
	int rc;

	if (c->ssl) {
		ERR_clear_error();
		rc = ssl_code(c, SSL_write(c->ssl, p, clamp(len)), ret_n);
		return rc == SC_ECLOSED || rc == SC_EPROTO ? SC_EIO : rc;
	}
	if (c->tls) {
		code = curl_easy_send(c->easy, p, len, &n);
		rc = tls_code(code, n, ret_n);
	} else {
		ssize_t sent = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		/* A reset that comes after the peer's end is told as a broken pipe. */
		if (sent < 0 && errno == EPIPE)
			return SC_ECLOSED;
		rc = plain_code(sent, ret_n);
	}
	return rc == SC_ECLOSED ? SC_EAGAIN : rc; /* nothing was taken */
}

int conn_recv(struct conn *c, void *p, size_t len, size_t *ret_n)
{
	size_t n = 0;
	CURLcode code;

	if (c->ssl) {
		int rc;

		ERR_clear_error();
		rc = ssl_code(c, SSL_read(c->ssl, p, clamp(len)), ret_n);
		c->unsaid = rc == SC_ECLOSED && is_unsaid(c);
		return rc;
	}
	if (c->tls) {
		code = curl_easy_recv(c->easy, p, len, &n);
		return tls_code(code, n, ret_n);
	}
	return plain_code(recv(c->fd, p, len, MSG_DONTWAIT), ret_n);
}

/* RFC 9293, 3.4: what is not acknowledged has not been delivered; 3.10.7.1: what comes to a connection
 * that is no more is answered with a reset. Acknowledged were all bytes and the SYN. Under TLS a
 * little more goes out than is sent here, which only makes this surer. */
enum conn_fate conn_fate(const struct conn *c, size_t sent)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	uint64_t out;

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
		return CONN_TAKEN;
	out = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes + 1;
	if (out < info.tcpi_bytes_acked || out - info.tcpi_bytes_acked < sent)
		return CONN_TAKEN;
	return info.tcpi_state == STATE_CLOSE ? CONN_UNTAKEN : CONN_UNDECIDED;
}
