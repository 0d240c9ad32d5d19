/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at everything about the way to a target that can be known to be wrong before anything is
 * sent. Opens no connection; what only a handshake can tell stays the run's. */
#include "replay/connect.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "replay/resolver.h"

struct proxy_parts {
	char *scheme, *host, *port, *path;
};

static void proxy_done(struct proxy_parts *p)
{
	curl_free(p->scheme);
	curl_free(p->host);
	curl_free(p->port);
	curl_free(p->path);
}

/* libcurl's own default port of a proxy is 1080, which nobody expects: so a port is asked for. */
static const char *proxy_wrong(CURLU *u, const char *url, struct proxy_parts *p)
{
	if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) ||
	    curl_url_get(u, CURLUPART_SCHEME, &p->scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &p->host, 0) ||
	    curl_url_get(u, CURLUPART_PATH, &p->path, 0))
		return "it is no URL";
	if (strcmp(p->scheme, "http") != 0)
		return "the scheme is not http";
	if (curl_url_get(u, CURLUPART_PORT, &p->port, 0))
		return "it has no port";
	return strcmp(p->path, "/") == 0 ? NULL : "it has a path";
}

/* What goes to the proxy goes to no origin either. */
static int check_proxy(const char *url, const struct addr *origins, size_t n, struct err *err)
{
	struct proxy_parts p = {NULL, NULL, NULL, NULL};
	struct addr addrs[LIMIT_ADDRESSES];
	CURLU *u = curl_url();
	const char *wrong = u ? proxy_wrong(u, url, &p) : "out of memory", *why = "";
	size_t n_addrs = 0;
	int rc = SC_OK;

	if (wrong)
		rc = err_set(err, SC_EINVAL, "proxy '%s': %s; expected http://HOST:PORT", url,
			     wrong);
	else if (p.host[0] != '[' &&
		 (n_addrs = resolve(p.host, (uint16_t)strtoul(p.port, NULL, 10), addrs, &why)) == 0)
		rc = err_set(err, SC_EIO, "proxy %s: %s", p.host, why);
	for (size_t i = 0; i < n_addrs && !rc; i++)
		rc = target_refuse_origin(&addrs[i], origins, n, err);
	proxy_done(&p);
	curl_url_cleanup(u);
	return rc;
}

static const char *tls_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason ? reason : "unknown";
}

static int check_readable(const char *what, const char *path, struct err *err)
{
	struct stat st;

	if (access(path, R_OK) == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return SC_OK;
	return err_set(err, SC_EINVAL, "%s %s cannot be read", what, path);
}

/* Nobody is asked for a pass phrase, here as later. */
static int no_pass_phrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static int check_key(SSL_CTX *ctx, const char *path, struct err *err)
{
	bool asked = false;

	SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
	if (SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) == 1)
		return SC_OK;
	if (asked)
		return err_set(err, SC_EINVAL,
			       "key %s is encrypted; expected one without a pass phrase", path);
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
		return err_set(err, SC_EINVAL, "key %s is not that of the certificate", path);
	return err_set(err, SC_EINVAL, "no private key in PEM form in %s (%s)", path, tls_reason());
}

static int check_client(SSL_CTX *ctx, const struct connect_options *o, struct err *err)
{
	const char *key = o->key_file ? o->key_file : o->cert_file;
	int rc = check_readable("certificate", o->cert_file, err);

	if (!rc)
		rc = check_readable("key", key, err);
	if (rc)
		return rc;
	if (SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
		return err_set(err, SC_EINVAL, "no certificate in PEM form in %s (%s)",
			       o->cert_file, tls_reason());
	return check_key(ctx, key, err);
}

static int check_tls(const struct connect_options *o, struct err *err)
{
	SSL_CTX *ctx;
	int rc = SC_OK;

	if (o->key_file && !o->cert_file)
		return err_set(err, SC_EINVAL, "a key without a certificate: %s", o->key_file);
	if (!o->ca_file && !o->cert_file)
		return SC_OK;
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		return err_set(err, SC_ENOMEM, "out of memory");
	ERR_clear_error();
	if (o->ca_file)
		rc = check_readable("certificates", o->ca_file, err);
	if (!rc && o->ca_file && SSL_CTX_load_verify_locations(ctx, o->ca_file, NULL) != 1)
		rc = err_set(err, SC_EINVAL, "no certificate in PEM form in %s (%s)", o->ca_file,
			     tls_reason());
	if (!rc && o->cert_file)
		rc = check_client(ctx, o, err);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return rc;
}

static int check_socket(const char *path, struct err *err)
{
	struct stat st;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(err, SC_EINVAL, "socket %s: the path is too long", path);
	if (stat(path, &st) || !S_ISSOCK(st.st_mode))
		return err_set(err, SC_EINVAL, "%s is no socket", path);
	return SC_OK;
}

/* A name that only the proxy knows is the proxy's matter. */
static int check_address(const char *address, uint16_t port, const struct connect_options *o,
			 const struct addr *origins, size_t n, struct err *err)
{
	struct addr addrs[LIMIT_ADDRESSES];
	const char *why = "";
	size_t n_addrs = resolve(address, port, addrs, &why);
	int rc = SC_OK;

	if (n_addrs == 0 && !o->proxy)
		return err_set(err, SC_EIO, "target %s: %s", address, why);
	for (size_t i = 0; i < n_addrs && !rc; i++)
		rc = target_refuse_origin(&addrs[i], origins, n, err);
	return rc;
}

int connect_check(const struct target_url *target, const struct connect_options *options,
		  const struct addr *origins, size_t n_origins, struct err *err)
{
	static const struct connect_options plain;
	const struct connect_options *o = options ? options : &plain;
	int rc = check_tls(o, err);

	if (!rc && o->proxy)
		rc = check_proxy(o->proxy, origins, n_origins, err);
	if (rc || o->unix_socket)
		return rc ? rc : check_socket(o->unix_socket, err);
	for (size_t i = 0; i < o->n_endpoints && !rc; i++)
		rc = check_address(o->endpoints[i].address, o->endpoints[i].port, o, origins,
				   n_origins, err);
	if (!rc && o->n_endpoints == 0)
		rc = check_address(target->host, target->port, o, origins, n_origins, err);
	return rc;
}
