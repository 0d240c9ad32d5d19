/* SPDX-License-Identifier: Apache-2.0 */
/* Rules and what they ask of a request. Reads heads, never bodies; rule_parse.c reads the language. */
#include "core/rule.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "rule_private.h"

struct rule *rule_new(const char *text)
{
	struct rule *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->text = strdup(text);
	if (!r->text) {
		free(r);
		return NULL;
	}
	return r;
}

void rule_free(struct rule *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n; i++) {
		free(r->conditions[i].name);
		text_free(r->conditions[i].text);
	}
	free(r->conditions);
	free(r->text);
	free(r->methods);
	free(r->host);
	free(r->statuses);
	free(r->clients);
	free(r);
}

const char *rule_text(const struct rule *r)
{
	return r->text;
}

int rule_add(struct rule *r, enum rule_part part, const char *name, struct text *text)
{
	struct condition *grown = realloc(r->conditions, (r->n + 1) * sizeof(*grown));
	char *copy = name ? strdup(name) : NULL;

	if (grown)
		r->conditions = grown;
	if (!grown || (name && !copy)) {
		free(copy);
		text_free(text);
		return SC_ENOMEM;
	}
	r->conditions[r->n++] = (struct condition){part, copy, text};
	return SC_OK;
}

int rule_add_port(struct rule *r, uint16_t port)
{
	r->port = port;
	return SC_OK;
}

/* The name without ":port"; an IPv6 literal keeps its brackets. */
static struct span without_port(struct span host)
{
	size_t i = host.len;

	while (i > 0 && isdigit(host.p[i - 1]))
		i--;
	if (i > 0 && host.p[i - 1] == ':')
		host.len = i - 1;
	return host;
}

void subject_of(const struct exchange *ex, struct subject *ret)
{
	struct target t;

	target_split(message_target(ex->request), &t);
	*ret = (struct subject){
		.ex = ex,
		.method = message_method(ex->request),
		.host = message_host(ex->request),
		.path = t.path,
		.query = t.query,
	};
	ret->host_name = without_port(ret->host);
}

static bool header_value(const struct message *m, const char *name, struct values *at,
			 struct span *ret)
{
	int i = message_find(m, name, (uint32_t)at->at);

	if (i < 0)
		return false;
	at->at = (size_t)i + 1;
	*ret = message_value(m, (uint32_t)i);
	return true;
}

/* key=value&flag&... (WHATWG URL, 5.1, undecoded) */
static bool query_value(struct span query, struct span name, struct values *at, struct span *ret)
{
	while (query.p && at->at < query.len) {
		struct span rest = span_of(query.p + at->at, query.len - at->at);
		const uint8_t *end = memchr(rest.p, '&', rest.len);
		struct span pair = span_of(rest.p, end ? (size_t)(end - rest.p) : rest.len);
		const uint8_t *eq = memchr(pair.p, '=', pair.len);
		size_t key = eq ? (size_t)(eq - pair.p) : pair.len;

		at->at += pair.len + 1;
		if (pair.len && span_eq(span_of(pair.p, key), name)) {
			*ret = eq ? span_of(eq + 1, pair.len - key - 1) : span_str("");
			return true;
		}
	}
	return false;
}

bool subject_value(const struct subject *s, enum rule_part part, const char *name,
		   struct values *at, struct span *ret)
{
	if (part == RULE_QUERY)
		return query_value(s->query, span_str(name), at, ret);
	return header_value(s->ex->request, name, at, ret);
}

static bool method_in(const char *list, struct span method)
{
	const char *at = list;

	while ((at = strchr(at, ',')) && at[1]) {
		at++;
		if (strncmp(at, (const char *)method.p, method.len) == 0 && at[method.len] == ',')
			return true;
	}
	return false;
}

static bool host_takes(const struct rule *r, const struct subject *s)
{
	struct span want = span_str(r->host);
	struct span have = r->host_port ? s->host : s->host_name;

	if (!r->host_suffix)
		return span_case_eq(have, want);
	return have.len > want.len &&
	       span_case_eq(span_of(have.p + have.len - want.len, want.len), want);
}

static bool status_takes(const struct rule *r, const struct subject *s)
{
	unsigned status = s->ex->response ? s->ex->response->status : 0;

	if (!s->response_known)
		return true;
	for (unsigned i = 0; i < r->n_statuses; i++) {
		if (status >= r->statuses[i].from && status <= r->statuses[i].to)
			return true;
	}
	return false;
}

static bool client_takes(const struct rule *r, const struct subject *s)
{
	for (unsigned i = 0; i < r->n_clients; i++) {
		if (addr_in(&s->ex->client, &r->clients[i].net, r->clients[i].bits))
			return true;
	}
	return false;
}

static bool any_value_takes(const struct condition *c, const struct subject *s)
{
	struct values at = {0};
	struct span value;

	while (subject_value(s, c->part, c->name, &at, &value)) {
		if (text_takes(c->text, value))
			return true;
	}
	return false;
}

static bool no_value_takes(const struct condition *c, const struct subject *s)
{
	if (any_value_takes(c, s))
		return false;
	if (text_kind_of(c->text) == TEXT_PRESENT ||
	    message_find(s->ex->request, c->name, 0) >= 0)
		return true;
	return !text_takes(c->text, span_str(""));
}

static bool condition_holds(const struct condition *c, const struct subject *s)
{
	switch (c->part) {
	case RULE_METHOD:
		return text_takes(c->text, s->method);
	case RULE_SCHEME:
		return text_takes(c->text, span_str(s->ex->scheme ? s->ex->scheme : "http"));
	case RULE_AUTHORITY:
		return text_takes(c->text, s->host);
	case RULE_PATH:
		return text_takes(c->text, s->path);
	case RULE_HEADER:
	case RULE_QUERY:
		return any_value_takes(c, s);
	case RULE_NO_HEADER:
		return no_value_takes(c, s);
	case RULE_PARTS:
		break;
	}
	return false;
}

/* Cheap ones first; regexes of headers stand last by the order of the language. */
bool rule_takes(const struct rule *r, const struct subject *s)
{
	if ((r->methods && !method_in(r->methods, s->method)) || (r->host && !host_takes(r, s)) ||
	    (r->port && r->port != s->ex->server.port) || (r->n_clients && !client_takes(r, s)) ||
	    (r->n_statuses && !status_takes(r, s)))
		return false;
	for (unsigned i = 0; i < r->n; i++) {
		if (!condition_holds(&r->conditions[i], s))
			return false;
	}
	return true;
}

bool rule_waits(const struct rule *r)
{
	return r->n_statuses != 0;
}

/* A path test that can be looked up: all but those without regard to case. */
static void anchor_path(const struct rule *r, struct anchor *a)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct condition *c = &r->conditions[i];
		struct span literal = text_literal(c->text);

		if (c->part != RULE_PATH || !literal.len)
			continue;
		a->exact = text_kind_of(c->text) == TEXT_EXACT;
		/* "/a/" takes "/a" too where segments are meant. */
		if (text_kind_of(c->text) == TEXT_SEGMENTS && literal.p[literal.len - 1] == '/')
			literal.len--;
		a->path = literal;
		return;
	}
}

static void anchor_term(const struct rule *r, struct anchor *a)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct condition *c = &r->conditions[i];

		if ((c->part != RULE_HEADER && c->part != RULE_QUERY) ||
		    text_kind_of(c->text) != TEXT_EXACT || !text_literal(c->text).len)
			continue;
		a->term = c->part;
		a->name = c->name;
		a->value = text_literal(c->text);
		return;
	}
}

void rule_anchor(const struct rule *r, struct anchor *ret)
{
	*ret = (struct anchor){.term = RULE_PARTS, .path = span_str("")};
	if (r->host) {
		ret->host = span_str(r->host);
		ret->host_kind = r->host_suffix ? ANCHOR_SUFFIX :
				 r->host_port	? ANCHOR_FULL :
						  ANCHOR_NAME;
	}
	/* Suffixes are looked up by name alone. */
	if (r->host_suffix && r->host_port)
		ret->host_kind = ANCHOR_ANY;
	anchor_path(r, ret);
	anchor_term(r, ret);
}
