/* SPDX-License-Identifier: Apache-2.0 */
/* The target's URL, and the guard against sending a recording back to where it was made. Resolves
 * nothing. */
#include "replay/target.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parts {
	char *scheme, *host, *port, *path;
	char *query, *user; /* there only to be refused */
};

static void parts_done(struct parts *p)
{
	curl_free(p->scheme);
	curl_free(p->host);
	curl_free(p->port);
	curl_free(p->path);
	curl_free(p->query);
	curl_free(p->user);
}

static const char *what_is_wrong(CURLU *u, const char *url, struct parts *p)
{
	/* libcurl would guess a scheme only when asked to. */
	if (curl_url_set(u, CURLUPART_URL, url, 0) ||
	    curl_url_get(u, CURLUPART_SCHEME, &p->scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &p->host, 0) ||
	    curl_url_get(u, CURLUPART_PORT, &p->port, CURLU_DEFAULT_PORT) ||
	    curl_url_get(u, CURLUPART_PATH, &p->path, 0))
		return "it is no URL";
	if (strcmp(p->scheme, "http") != 0 && strcmp(p->scheme, "https") != 0)
		return "the scheme is neither http nor https";
	if (strtoul(p->port, NULL, 10) == 0)
		return "there is no port 0";
	if (strcmp(p->path, "/") != 0)
		return "it has a path (to change paths: --rewrite FROM=TO)";
	if (!curl_url_get(u, CURLUPART_QUERY, &p->query, 0) ||
	    !curl_url_get(u, CURLUPART_USER, &p->user, 0))
		return "it has a query or credentials";
	if (strchr(url, '#'))
		return "it has a fragment";
	if (strlen(p->host) >= TARGET_HOST)
		return "the host name is too long";
	if (strchr(p->host, '%'))
		return "it has a zone";
	return NULL;
}

static void fill(const struct parts *p, struct target_url *ret)
{
	size_t len = strlen(p->host);
	bool literal6 = p->host[0] == '[';
	unsigned long port = strtoul(p->port, NULL, 10);
	struct target_url t = {.tls = strcmp(p->scheme, "https") == 0, .port = (uint16_t)port};

	snprintf(t.host, sizeof(t.host), "%.*s", (int)(literal6 ? len - 2 : len),
		 literal6 ? p->host + 1 : p->host);
	if (port == (t.tls ? 443 : 80))
		snprintf(t.authority, sizeof(t.authority), "%s", p->host);
	else
		snprintf(t.authority, sizeof(t.authority), "%s:%lu", p->host, port);
	snprintf(t.base, sizeof(t.base), "%s://%s:%lu/", p->scheme, p->host, port);
	*ret = t;
}

int target_parse(const char *url, struct target_url *ret, struct err *err)
{
	struct parts p = {NULL, NULL, NULL, NULL, NULL, NULL};
	CURLU *u = curl_url();
	const char *wrong;

	if (!u)
		return err_set(err, SC_ENOMEM, "out of memory");
	wrong = what_is_wrong(u, url, &p);
	if (!wrong)
		fill(&p, ret);
	parts_done(&p);
	curl_url_cleanup(u);
	if (wrong)
		return err_set(err, SC_EINVAL,
			       "target '%s': %s; expected http://HOST[:PORT] or "
			       "https://HOST[:PORT]",
			       url, wrong);
	return SC_OK;
}

/* RFC 4291, 2.5.5.2: ::ffff:0:0/96 is IPv4 in IPv6 clothes. And who connects to the unspecified
 * address reaches this host's loopback. */
static struct addr plain(const struct addr *a)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	static const uint8_t none[16];
	struct addr p = *a;

	if (a->len == 16 && memcmp(a->ip, mapped, sizeof(mapped)) == 0) {
		memset(p.ip, 0, sizeof(p.ip));
		memcpy(p.ip, a->ip + sizeof(mapped), 4);
		p.len = 4;
	}
	if (p.len && memcmp(p.ip, none, p.len) == 0) {
		if (p.len == 4)
			p.ip[0] = 127;
		p.ip[p.len - 1] = 1;
	}
	return p;
}

bool addr_listed(const struct addr *a, const struct addr *list, size_t n)
{
	struct addr want = plain(a);

	for (size_t i = 0; i < n; i++) {
		struct addr has = plain(&list[i]);

		if (has.port == want.port && has.len == want.len && has.len != 0 &&
		    memcmp(has.ip, want.ip, has.len) == 0)
			return true;
	}
	return false;
}

int target_refuse_origin(const struct addr *peer, const struct addr *origins, size_t n,
			 struct err *err)
{
	char text[ADDR_TEXT];

	if (!addr_listed(peer, origins, n))
		return SC_OK;
	addr_text(peer, text);
	return err_set(err, SC_EINVAL,
		       peer->len == 16 ? "[%s]:%u is where this dataset was captured; to replay to "
					 "it all the same: --allow-origin"
				       : "%s:%u is where this dataset was captured; to replay to "
					 "it all the same: --allow-origin",
		       text, peer->port);
}
