/* SPDX-License-Identifier: Apache-2.0 */
/* The route language: [METHOD[,METHOD]] [HOST]PATH TERM... Reads it; asks nothing of a request. */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "rule_private.h"

static int no_memory(struct err *err)
{
	return err_set(err, SC_ENOMEM, "out of memory");
}

static bool is_method_list(const char *s)
{
	bool letter = false;

	for (size_t i = 0; s[i]; i++) {
		if (isupper((unsigned char)s[i]) || s[i] == '-' || s[i] == '_')
			letter = true;
		else if (s[i] != ',')
			return false;
		if (s[i] == ',' && (i == 0 || s[i + 1] == '\0' || s[i + 1] == ','))
			return false;
	}
	return letter;
}

/* The next word, quotes and all; free() it. *ret NULL: no more. */
static int next_word(const char **at, const char *rule, char **ret, struct err *err)
{
	const char *p = *at + strspn(*at, " \t");
	const char *start = p;
	bool quoted = false;

	*ret = NULL;
	for (; *p && (quoted || (*p != ' ' && *p != '\t')); p++) {
		if (*p == '\\' && p[1] == '"')
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	*at = p;
	if (quoted)
		return err_set(err, SC_EINVAL, "route '%s': a \" is not closed", rule);
	if (p == start)
		return SC_OK;
	*ret = strndup(start, (size_t)(p - start));
	return *ret ? SC_OK : no_memory(err);
}

static int parse_path(struct rule *r, const char *path, const char *rule, struct err *err)
{
	const char *star = strchr(path, '*');
	struct text *text;
	struct err why;
	int rc;

	if (path[0] != '~') {
		if (star && star[1] && strcmp(path, "*") != 0)
			return err_set(err, SC_EINVAL, "route '%s': a * stands only at the end of a "
				       "path (use ~REGEX for more)", rule);
		if (strchr(path, '?'))
			return err_set(err, SC_EINVAL, "route '%s': paths are compared without the "
				       "query (expected query:NAME=VALUE behind the path)", rule);
	}
	rc = strcmp(path, "*") == 0 ? text_new(TEXT_PREFIX, "", false, &text, &why)
				    : text_parse(path, &text, &why);
	if (rc)
		return err_set(err, rc, "route '%s': %s", rule, why.text);
	return rule_add(r, RULE_PATH, NULL, text) ? no_memory(err) : SC_OK;
}

static int parse_host(struct rule *r, struct span host, const char *rule, struct err *err)
{
	const uint8_t *colon;

	if (host.len == 0)
		return SC_OK;
	if (host.p[0] == '*' && host.len > 2 && host.p[1] == '.') {
		r->host_suffix = true;
		host = span_of(host.p + 1, host.len - 1);
	}
	if (memchr(host.p, '*', host.len))
		return err_set(err, SC_EINVAL, "route '%s': a host is NAME or *.SUFFIX", rule);
	r->host = strndup((const char *)host.p, host.len);
	if (!r->host)
		return no_memory(err);
	for (char *c = r->host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	/* Not the colons of an IPv6 address. */
	colon = memrchr(host.p, ':', host.len);
	r->host_port = colon && !memchr(colon, ']', (size_t)(host.p + host.len - colon));
	return SC_OK;
}

/* Where the host ends and the path begins: at the first '/' or '~', or a lone '*'. */
static int parse_place(struct rule *r, const char *word, const char *rule, struct err *err)
{
	size_t host = strcmp(word, "*") == 0 ? 0 : strcspn(word, "/~");
	int rc;

	if (!word[host])
		return err_set(err, SC_EINVAL, "route '%s': '%s' has no path (expected "
			       "[METHOD[,METHOD]] [HOST]PATH)", rule, word);
	rc = parse_host(r, span_of(word, host), rule, err);
	return rc ? rc : parse_path(r, word + host, rule, err);
}

/* A value in quotes may hold spaces; \" is a quote inside them. */
static void unquote(char *value)
{
	char *to = value;

	for (const char *p = value; *p; p++) {
		if (*p == '\\' && p[1] == '"')
			*to++ = *++p;
		else if (*p != '"')
			*to++ = *p;
	}
	*to = '\0';
}

static int parse_named(struct rule *r, enum rule_part part, char *value, const char *rule,
		       struct err *err)
{
	char *eq = strchr(value, '=');
	struct text *text;
	struct err why;
	int rc;

	if (eq)
		*eq = '\0';
	if (!*value)
		return err_set(err, SC_EINVAL, "route '%s': a %s needs a name (expected NAME=VALUE)",
			       rule, part == RULE_HEADER ? "header" : "query parameter");
	if (eq && strchr(eq + 1, '"'))
		unquote(eq + 1);
	rc = eq ? text_parse(eq + 1, &text, &why) : text_new(TEXT_PRESENT, "", false, &text, &why);
	if (rc)
		return err_set(err, rc, "route '%s': %s", rule, why.text);
	return rule_add(r, part, value, text) ? no_memory(err) : SC_OK;
}

static int parse_header(struct rule *r, char *value, const char *rule, struct err *err)
{
	return parse_named(r, RULE_HEADER, value, rule, err);
}

static int parse_query(struct rule *r, char *value, const char *rule, struct err *err)
{
	return parse_named(r, RULE_QUERY, value, rule, err);
}

/* 404, 5xx, 200-299, none. */
static bool parse_status_range(const char *s, struct status_range *ret)
{
	char *end;
	unsigned long from, to;

	*ret = (struct status_range){0, 0};
	if (strcmp(s, "none") == 0)
		return true;
	if (s[0] >= '1' && s[0] <= '9' && strcasecmp(s + 1, "xx") == 0) {
		ret->from = (unsigned)(s[0] - '0') * 100;
		ret->to = ret->from + 99;
		return true;
	}
	if (!isdigit((unsigned char)s[0]))
		return false;
	from = to = strtoul(s, &end, 10);
	if (*end == '-' && isdigit((unsigned char)end[1]))
		to = strtoul(end + 1, &end, 10);
	if (*end || from < 100 || to > 999 || from > to)
		return false;
	*ret = (struct status_range){(unsigned)from, (unsigned)to};
	return true;
}

static int add_status(struct rule *r, const char *item, const char *rule, struct err *err)
{
	struct status_range range;
	struct status_range *grown;

	if (!parse_status_range(item, &range))
		return err_set(err, SC_EINVAL, "route '%s': '%s' is no status (expected e.g. 404, "
			       "5xx, 200-299, none)", rule, item);
	grown = realloc(r->statuses, (r->n_statuses + 1) * sizeof(*grown));
	if (!grown)
		return no_memory(err);
	r->statuses = grown;
	grown[r->n_statuses++] = range;
	return SC_OK;
}

static int add_client(struct rule *r, char *item, const char *rule, struct err *err)
{
	char *slash = strchr(item, '/');
	struct client_net net = {.bits = 0};
	struct client_net *grown;
	unsigned long bits;
	char *end = "";

	if (slash)
		*slash = '\0';
	if (addr_parse(item, &net.net))
		return err_set(err, SC_EINVAL, "route '%s': '%s' is no address (expected e.g. "
			       "10.0.0.0/8 or 2001:db8::/32)", rule, item);
	bits = slash && isdigit((unsigned char)slash[1]) ? strtoul(slash + 1, &end, 10)
							 : net.net.len * 8u;
	if (*end || (slash && !slash[1]) || bits > net.net.len * 8u)
		return err_set(err, SC_EINVAL, "route '%s': '/%s' is no prefix length of %s (expected "
			       "0..%u)", rule, slash ? slash + 1 : "", item, net.net.len * 8u);
	net.bits = (unsigned)bits;
	grown = realloc(r->clients, (r->n_clients + 1) * sizeof(*grown));
	if (!grown)
		return no_memory(err);
	r->clients = grown;
	grown[r->n_clients++] = net;
	return SC_OK;
}

static int parse_status(struct rule *r, char *value, const char *rule, struct err *err)
{
	char *item;
	int rc = SC_OK;

	do {
		item = strsep(&value, ",");
		rc = add_status(r, item, rule, err);
	} while (!rc && value);
	return rc;
}

static int parse_client(struct rule *r, char *value, const char *rule, struct err *err)
{
	char *item;
	int rc = SC_OK;

	do {
		item = strsep(&value, ",");
		rc = add_client(r, item, rule, err);
	} while (!rc && value);
	return rc;
}

static const struct {
	const char *name; /* with its colon */
	int (*parse)(struct rule *r, char *value, const char *rule, struct err *err);
} terms[] = {
	{"header:", parse_header},
	{"query:", parse_query},
	{"status:", parse_status},
	{"client:", parse_client},
};

static int parse_term(struct rule *r, char *word, const char *rule, struct err *err)
{
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
		size_t len = strlen(terms[i].name);

		if (strncmp(word, terms[i].name, len) == 0)
			return terms[i].parse(r, word + len, rule, err);
	}
	return err_set(err, SC_EINVAL, "route '%s': '%s' behind the path (expected header:NAME=VALUE, "
		       "query:NAME=VALUE, status:5xx or client:NET)", rule, word);
}

static int parse_methods(struct rule *r, const char *word, struct err *err)
{
	struct buf list;
	int rc;

	buf_init(&list, 64 * KIB);
	rc = buf_addf(&list, ",%s,", word);
	if (!rc)
		rc = buf_add(&list, "", 1);
	if (rc) {
		buf_done(&list);
		return no_memory(err);
	}
	r->methods = (char *)buf_steal(&list);
	return SC_OK;
}

static int parse_words(struct rule *r, const char *text, struct err *err)
{
	const char *at = text;
	char *word;
	int rc = next_word(&at, text, &word, err);

	if (!rc && word && is_method_list(word)) {
		rc = parse_methods(r, word, err);
		free(word);
		word = NULL;
		if (!rc)
			rc = next_word(&at, text, &word, err);
	}
	if (!rc && !word)
		rc = err_set(err, SC_EINVAL, "route '%s': no path (expected [METHOD[,METHOD]] "
			     "[HOST]PATH)", text);
	if (!rc)
		rc = parse_place(r, word, text, err);
	while (!rc && word) {
		free(word);
		rc = next_word(&at, text, &word, err);
		if (!rc && word)
			rc = parse_term(r, word, text, err);
	}
	free(word);
	return rc;
}

int rule_parse(const char *text, struct rule **ret, struct err *err)
{
	struct rule *r = rule_new(text);
	int rc;

	if (!r)
		return no_memory(err);
	rc = parse_words(r, text, err);
	if (rc) {
		rule_free(r);
		return rc;
	}
	*ret = r;
	return SC_OK;
}
