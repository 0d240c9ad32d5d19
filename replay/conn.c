/* SPDX-License-Identifier: Apache-2.0 */
/* CURLOPT_CONNECT_ONLY: libcurl connects and then keeps out of what is said. */
#include "conn.h"

#include <errno.h>
#include <sys/socket.h>

static const struct {
	CURLcode code;
	enum result_error error;
} connect_errors[] = {
	{CURLE_COULDNT_RESOLVE_HOST, RESULT_ERROR_RESOLVE},
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

int conn_init(struct conn *c, CURLM *multi, const struct replay_options *options, void *owner)
{
	CURL *easy = curl_easy_init();
	CURLcode rc = CURLE_OK;

	if (!easy)
		return SC_ENOMEM;
	rc |= curl_easy_setopt(easy, CURLOPT_URL, options->target->base);
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	/* What the environment says of proxies is for browsers; a recording goes where it is told.
	 */
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			       (long)(options->timeout_us < 1000 ? 1 : options->timeout_us / 1000));
	/* Otherwise each send and receive would set and reset the process's SIGPIPE. */
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, owner);
	/* libcurl reads the certificates once for all connections, but only where no directory of them
	 * is named besides the bundle: 44 ms of each connection otherwise. */
	rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (options->ca_file)
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->insecure ? 0L : 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->insecure ? 0L : 2L);
	if (rc != CURLE_OK) {
		curl_easy_cleanup(easy);
		return SC_ENOMEM;
	}
	*c = (struct conn){.easy = easy, .multi = multi, .fd = -1, .tls = options->target->tls};
	return SC_OK;
}

void conn_done(struct conn *c)
{
	if (!c->easy)
		return;
	conn_close(c);
	curl_easy_cleanup(c->easy);
	c->easy = NULL;
}

void *conn_owner(CURL *easy)
{
	void *owner = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &owner);
	return owner;
}

int conn_open(struct conn *c)
{
	if (curl_multi_add_handle(c->multi, c->easy))
		return SC_ENOMEM;
	c->added = true;
	return SC_OK;
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
	c->fd = fd;
	*ret_peer = peer;
	return SC_OK;
}

void conn_close(struct conn *c)
{
	/* Taking a CONNECT_ONLY handle out of its multi closes the connection. */
	if (c->added)
		curl_multi_remove_handle(c->multi, c->easy);
	c->added = false;
	c->fd = -1;
}

/* Without TLS there is nothing between us and the socket, and libcurl, which looks its connection
 * up in a list at every call, would cost more the more connections there are. */
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

	if (c->tls) {
		code = curl_easy_send(c->easy, p, len, &n);
		rc = tls_code(code, n, ret_n);
	} else {
		rc = plain_code(send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL), ret_n);
	}
	return rc == SC_ECLOSED ? SC_EAGAIN : rc; /* nothing was taken */
}

int conn_recv(struct conn *c, void *p, size_t len, size_t *ret_n)
{
	size_t n = 0;
	CURLcode code;

	if (c->tls) {
		code = curl_easy_recv(c->easy, p, len, &n);
		return tls_code(code, n, ret_n);
	}
	return plain_code(recv(c->fd, p, len, MSG_DONTWAIT), ret_n);
}
