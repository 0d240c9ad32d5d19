/* SPDX-License-Identifier: Apache-2.0 */
/* Names of hosts: what a service is called, and which Host fields mean it. Resolves nothing. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "manifest_parts.h"

#define CLUSTER ".svc.cluster.local"
#define ANY_HOST_RANK 1u
#define EXACT_HOST_RANK UINT32_MAX

static bool is_address(const char *host)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
}

static bool is_short(const char *host)
{
	return *host && !strpbrk(host, ".:*") && strcasecmp(host, "localhost") != 0;
}

/* Cuts `tail` off when NAME.NAMESPACE is what it leaves. */
static void cut_tail(char *host, const char *tail)
{
	size_t len = strlen(host), n = strlen(tail);
	char *dot = strchr(host, '.');

	if (len <= n || strcmp(host + len - n, tail) != 0)
		return;
	if (dot && dot < host + len - n &&
	    !memchr(dot + 1, '.', (size_t)(host + len - n - dot - 1)))
		host[len - n] = '\0';
}

char *host_canonical(struct reader *r, const char *host, const char *namespace)
{
	size_t len = strlen(host);
	char *name;

	if (len > 1 && host[len - 1] == '.')
		len--;
	if (is_short(host))
		name = arena_text(&r->arena, "%.*s.%s", (int)len, host,
				  namespace ? namespace : "default");
	else
		name = arena_copy(&r->arena, host, len);
	if (!name) {
		(void)reader_no_memory(r);
		return NULL;
	}
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	cut_tail(name, CLUSTER);
	cut_tail(name, ".svc");
	return name;
}

unsigned host_rank(const char *pattern, const char *host)
{
	size_t len, tail;

	if (strcmp(pattern, host) == 0)
		return EXACT_HOST_RANK;
	if (pattern[0] != '*')
		return 0;
	len = strlen(host);
	tail = strlen(pattern + 1);
	if (len <= tail || strcmp(host + len - tail, pattern + 1) != 0)
		return 0;
	return ANY_HOST_RANK + (unsigned)tail;
}

int host_check(struct reader *r, const struct place *at, const char *host, bool wildcard)
{
	const char *rest = host;

	if (wildcard && strcmp(host, "*") == 0)
		return SC_OK;
	if (wildcard && strncmp(host, "*.", 2) == 0)
		rest += 2;
	if (strlen(host) <= 253 && is_address(host))
		return SC_OK;
	for (const char *c = rest; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
			return place_wrong(r, at, "'%.80s' is no host name%s", host,
					   wildcard ? ", * or *.suffix" : "");
	}
	if (!*rest || *rest == '.' || strstr(rest, "..") || strlen(rest) > 253)
		return place_wrong(r, at, "'%.80s' is no host name%s", host,
				   wildcard ? ", * or *.suffix" : "");
	return SC_OK;
}

struct policy_group *group_new(struct reader *r)
{
	unsigned n = r->policy->n_groups;
	unsigned *more = reallocarray(r->specificity, n + 1, sizeof(*more));
	struct policy_group *g;

	if (more)
		r->specificity = more;
	g = more ? policy_add_group(r->policy) : NULL;
	if (!g) {
		(void)reader_no_memory(r);
		return NULL;
	}
	r->specificity[n] = 0;
	return g;
}

/* The group being filled is the policy's last. */
static void rank_group(struct reader *r, unsigned rank)
{
	unsigned *last = &r->specificity[r->policy->n_groups - 1];

	if (*last < rank)
		*last = rank;
}

static int add_text(struct reader *r, const struct place *at, struct policy_group *g,
		    enum text_kind kind, const char *value)
{
	struct text *text = NULL;
	struct err inner;
	int rc = reader_count(r, at);

	if (rc)
		return rc;
	if (!value)
		return reader_no_memory(r);
	rc = text_new(kind, value, false, &text, &inner);
	if (rc)
		return place_failed(r, at, rc, &inner);
	rc = policy_add_host(g, text); /* moved */
	return rc ? reader_no_memory(r) : SC_OK;
}

/* A name as a pattern that takes nothing else. */
static char *quoted(struct reader *r, const char *name)
{
	char *text = arena_alloc(&r->arena, 2 * strlen(name) + 1), *to = text;

	for (const char *c = name; text && *c; c++) {
		if (!isalnum((unsigned char)*c) && *c != '_')
			*to++ = '\\';
		*to++ = *c;
	}
	return text;
}

static int add_pattern(struct reader *r, const struct place *at, struct policy_group *g,
		       const char *before, const char *name, const char *after)
{
	char *quote = quoted(r, name);

	if (!quote)
		return reader_no_memory(r);
	return add_text(r, at, g, TEXT_REGEX,
			arena_text(&r->arena, "%s%s%s", before, quote, after));
}

/* Without a namespace nobody knows where the manifest is applied: any of the cluster's counts, but
 * of names with one dot only .default, since every other may be a host on the Internet. */
static int add_service(struct reader *r, const struct place *at, struct policy_group *g,
		       const char *name, const char *namespace)
{
	static const char *const tails[] = {"", ".svc", CLUSTER};
	int rc;

	rank_group(r, EXACT_HOST_RANK);
	if (!namespace)
		return add_pattern(r, at, g, "", name,
				   "(\\.default|\\.[^.]+\\.svc(\\.cluster\\.local)?)?");
	rc = add_text(r, at, g, TEXT_EXACT, name);
	for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]) && !rc; i++)
		rc = add_text(r, at, g, TEXT_EXACT,
			      arena_text(&r->arena, "%s.%s%s", name, namespace, tails[i]));
	return rc;
}

/* "httpbin.default.svc.cluster.local" in its two parts; false: some other name. */
static bool split_service(char *host, char **namespace)
{
	size_t len = strlen(host);
	char *dot = strchr(host, '.');

	cut_tail(host, CLUSTER);
	if (strlen(host) == len)
		cut_tail(host, ".svc");
	if (!dot || strlen(host) == len)
		return false;
	*dot = '\0';
	*namespace = dot + 1;
	return true;
}

static char *lower(struct reader *r, const char *text)
{
	char *copy = arena_copy(&r->arena, text, strlen(text));

	for (char *c = copy; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return copy;
}

int host_add_service(struct reader *r, const struct place *at, struct policy_group *g,
		     const char *name, const char *namespace)
{
	char *host = lower(r, name), *space = namespace ? lower(r, namespace) : NULL;

	if (!host || (namespace && !space))
		return reader_no_memory(r);
	return add_service(r, at, g, host, space);
}

static int add_host(struct reader *r, const struct document *d, struct policy_group *g,
		    const struct place *at, bool short_names)
{
	const char *text = NULL;
	char *host, *namespace;
	int rc = place_need(r, at, "a host name", &text);

	if (!rc)
		rc = host_check(r, at, text, true);
	if (rc)
		return rc;
	host = lower(r, text);
	if (!host)
		return reader_no_memory(r);
	if (text[0] == '*') {
		rank_group(r, ANY_HOST_RANK + (unsigned)strlen(text));
		return add_pattern(r, at, g, ".+", host + 1, "");
	}
	if (short_names && is_short(host))
		return host_add_service(r, at, g, host, d->namespace);
	if (short_names && split_service(host, &namespace))
		return add_service(r, at, g, host, namespace);
	rank_group(r, EXACT_HOST_RANK);
	return add_text(r, at, g, TEXT_EXACT, host);
}

/* "*" among them: then the others say nothing more. */
static bool takes_every_host(const struct place *list)
{
	for (unsigned i = 0; i < place_count(list); i++) {
		const char *text = list->node->pairs[i].value->text;

		if (text && strcmp(text, "*") == 0)
			return true;
	}
	return false;
}

int hosts_add(struct reader *r, const struct document *d, struct policy_group *g,
	      const struct place *list, bool short_names)
{
	int rc = place_is(r, list, VALUE_LIST);

	if (rc || takes_every_host(list))
		return rc;
	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i);

		rc = add_host(r, d, g, &at, short_names);
	}
	return rc;
}
