/* SPDX-License-Identifier: Apache-2.0 */
/* Rules on heads and trailers: which bytes of a field, a cookie or a URL go. Changes nothing
 * itself, and does not look into bodies. */
#include <string.h>

#include "core/limits.h"
#include "redact_work.h"
#include "url.h"

/* What ends a URL that stands in a field value with other things. */
static const char url_stops[] = " \t\r\n<>\"";

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.len && is_blank(s.p[0]))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static size_t find(struct span s, size_t from, size_t to, uint8_t c)
{
	const uint8_t *p = from < to ? memchr(s.p + from, c, to - from) : NULL;

	return p ? (size_t)(p - s.p) : to;
}

/* A preset's name also stands for user[name] and name[], as forms write lists and parts. */
static bool find_in_brackets(const struct names *names, struct span name, struct rule_use *ret)
{
	const uint8_t *first = memchr(name.p, '[', name.len);
	const uint8_t *last = memrchr(name.p, '[', name.len);

	if (!first || name.p[name.len - 1] != ']')
		return false;
	if (names_find(names, span_of(last + 1, (size_t)(name.p + name.len - last) - 2), ret) &&
	    ret->rank == 0)
		return true;
	return names_find(names, span_of(name.p, (size_t)(first - name.p)), ret) && ret->rank == 0;
}

bool param_rule(const struct names *names, struct span name, struct rule_use *ret)
{
	uint8_t plain[3 * LIMIT_REDACT_NAME];

	if (name.len == 0 || name.len > sizeof(plain))
		return false;
	if (url_is_encoded(name))
		name = span_of(plain, url_decode(name, plain));
	return names_find(names, name, ret) || find_in_brackets(names, name, ret);
}

/* One NAME=VALUE under a rule, [at, end) with its value from `value`. Where `before` is not
 * SIZE_MAX it is the separator that goes with it, otherwise the one behind it does. */
static int redact_param(struct redaction *r, const struct params *p, enum redact_how how, size_t at,
			size_t value, size_t end, size_t before, struct edits *out)
{
	struct secret s = {span_of(p->text.p + value, end - value), SECRET_PARAM,
			   p->cut && end == p->to};
	struct span ins;
	int rc = secret_note(r, &s, how, &ins);

	if (rc)
		return rc;
	if (how != REDACT_DROP)
		return edits_add(out, value, end - value, ins);
	if (before != SIZE_MAX)
		return edits_add(out, before, end - before, ins);
	return edits_add(out, at, end + (end < p->to) - at, ins);
}

/* A parameter may begin inside of what looks like one: behind a ; or the ? of a URL in a URL. */
static int redact_inner(struct redaction *r, const struct params *p, size_t at, size_t end,
			struct edits *out)
{
	struct rule_use use;

	for (size_t i = at; i < end; i++) {
		size_t eq;

		if (p->text.p[i] != ';' && p->text.p[i] != '?')
			continue;
		eq = find(p->text, i + 1, end, '=');
		if (eq < end && param_rule(p->names, span_of(p->text.p + i + 1, eq - i - 1), &use))
			return redact_param(r, p, use.how, i + 1, eq + 1, end, i, out);
	}
	return SC_OK;
}

int redact_params(struct redaction *r, const struct params *p, struct edits *out)
{
	bool kept = false, dropped = false;
	int rc = SC_OK;

	for (size_t at = p->from; at < p->to && !rc;) {
		size_t end = find(p->text, at, p->to, '&'), eq = find(p->text, at, end, '=');
		struct rule_use use;

		if (eq < end && param_rule(p->names, span_of(p->text.p + at, eq - at), &use)) {
			rc = redact_param(r, p, use.how, at, eq + 1, end,
					  kept ? at - 1 : SIZE_MAX, out);
			dropped = dropped || use.how == REDACT_DROP;
			kept = kept || use.how != REDACT_DROP;
		} else {
			rc = redact_inner(r, p, at, end, out);
			kept = true;
		}
		at = end + 1;
	}
	if (!rc && dropped && !kept && p->lead != SIZE_MAX)
		rc = edits_add(out, p->lead, p->to - p->lead, span_str(""));
	return rc;
}

static size_t url_end(struct span text, size_t from, const char *stops)
{
	size_t i = from;

	while (i < text.len && text.p[i] != '#' && (!text.p[i] || !strchr(stops, text.p[i])))
		i++;
	return i;
}

/* user:password@ behind each :// */
static int redact_userinfo(struct redaction *r, struct span text, size_t from, size_t to,
			   const char *stops, struct edits *out)
{
	enum redact_how how = r->userinfo_use.how;
	const uint8_t *p;
	int rc = SC_OK;

	while (!rc && from < to && (p = memmem(text.p + from, to - from, "://", 3))) {
		size_t start = (size_t)(p - text.p) + 3, end = start, at, colon;
		struct secret s;
		struct span ins;

		while (end < to && !strchr("/?#", text.p[end] ? text.p[end] : 'x') &&
		       (!text.p[end] || !strchr(stops, text.p[end])))
			end++;
		from = start;
		p = memrchr(text.p + start, '@', end - start);
		if (!p)
			continue;
		at = (size_t)(p - text.p);
		colon = find(text, start, at, ':');
		s = (struct secret){span_of(text.p + start, at - start), SECRET_PARAM, false};
		rc = secret_note(r, &s, how, &ins);
		if (!rc && colon < at) {
			s.raw = span_of(text.p + colon + 1, at - colon - 1);
			rc = secret_note(r, &s, how, NULL);
		}
		if (!rc)
			rc = edits_add(out, start, at + (how == REDACT_DROP) - start, ins);
	}
	return rc;
}

/* The parameters of URLs in text.p[from..to): behind a ? or a #. */
static int redact_urls(struct redaction *r, struct span text, size_t from, size_t to,
		       const char *stops, struct edits *out)
{
	struct span own = span_of(text.p, to);
	int rc = r->userinfo ? redact_userinfo(r, text, from, to, stops, out) : SC_OK;

	if (!r->params.n)
		return rc;
	for (size_t i = from; i < to && !rc;) {
		struct params p = {.names = &r->params, .text = own};
		size_t query = find(own, i, to, '?'), fragment = find(own, i, query, '#');

		p.lead = fragment < query ? fragment : query;
		if (p.lead == to)
			break;
		p.from = p.lead + 1;
		p.to = i = url_end(own, p.from, stops);
		rc = redact_params(r, &p, out);
	}
	return rc;
}

int redact_target(struct redaction *r, struct part *p)
{
	struct slice t = p->m->target;

	return redact_urls(r, span_of(p->m->head, p->m->head_len), t.off, t.off + t.len, "",
			   &p->head);
}

/* All of a field with its line's end. */
static int drop_line(struct span text, const struct field *f, struct edits *out)
{
	size_t end = find(text, f->value.off + f->value.len, text.len, '\n');

	return edits_add(out, f->name.off, end + (end < text.len) - f->name.off, span_str(""));
}

struct cookie {
	size_t start, end; /* the pair, without the white space around it */
	size_t separator;  /* the ; behind it, or the end */
	size_t next;       /* where the one behind it begins */
	struct span name, value;
};

static bool next_cookie(struct span v, size_t *at, struct cookie *ret)
{
	size_t end, eq;
	struct span pair;

	if (*at >= v.len)
		return false;
	end = find(v, *at, v.len, ';');
	pair = trim(span_of(v.p + *at, end - *at));
	ret->start = (size_t)(pair.p - v.p);
	ret->end = ret->start + pair.len;
	eq = find(pair, 0, pair.len, '=');
	ret->name = trim(span_of(pair.p, eq < pair.len ? eq : 0));
	ret->value = eq < pair.len ? trim(span_of(pair.p + eq + 1, pair.len - eq - 1))
				   : span_of(pair.p, pair.len);
	for (*at = end + 1; *at < v.len && is_blank(v.p[*at]); (*at)++)
		;
	ret->next = *at < v.len ? *at : v.len;
	ret->separator = end;
	return true;
}

/* The quotes around a cookie's value are not part of it for who reads it. */
static struct secret cookie_secret(const struct cookie *c)
{
	struct span v = c->value;

	if (v.len >= 2 && v.p[0] == '"' && v.p[v.len - 1] == '"')
		v = span_of(v.p + 1, v.len - 2);
	return (struct secret){v, SECRET_PLAIN, false};
}

/* `v` is what stands at `off`. *ret_kept: whether a pair is left. */
static int redact_cookies(struct redaction *r, struct span v, size_t off, bool only_first,
			  struct edits *out, bool *ret_kept)
{
	size_t at = 0, separator = 0;
	struct cookie c;
	bool kept = false;
	int rc = SC_OK;

	while (!rc && next_cookie(v, &at, &c)) {
		struct secret s = cookie_secret(&c);
		struct rule_use use;
		struct span ins;

		if (!names_find(&r->cookies, c.name, &use)) {
			kept = true;
		} else {
			rc = secret_note(r, &s, use.how, &ins);
			if (!rc && use.how != REDACT_DROP)
				rc = edits_add(out, off + (size_t)(c.value.p - v.p), c.value.len,
					       ins);
			else if (!rc && kept)
				rc = edits_add(out, off + separator, c.end - separator, ins);
			else if (!rc)
				rc = edits_add(out, off + c.start, c.next - c.start, ins);
			kept = kept || use.how != REDACT_DROP;
		}
		separator = c.separator;
		if (only_first)
			break;
	}
	*ret_kept = kept;
	return rc;
}

static int base64_value(uint8_t c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *d = c ? strchr(digits, c) : NULL;

	return d ? (int)(d - digits) : -1;
}

/* As far as it is base64. */
static size_t base64_decode(struct span s, uint8_t *to)
{
	uint32_t bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		int v = base64_value(s.p[i]);

		if (v < 0)
			break;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4)
			to[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return n;
}

/* user:password (RFC 7617). */
static int note_basic(struct redaction *r, struct span credentials, enum redact_how how)
{
	uint8_t *plain = redact_arena_take(&r->arena, credentials.len);
	struct secret s = {.form = SECRET_PLAIN};
	size_t colon;
	int rc;

	if (!plain)
		return SC_ENOMEM;
	s.raw = span_of(plain, base64_decode(credentials, plain));
	rc = secret_note(r, &s, how, NULL);
	colon = find(s.raw, 0, s.raw.len, ':');
	if (rc || colon == s.raw.len)
		return rc;
	s.raw = span_of(plain + colon + 1, s.raw.len - colon - 1);
	return secret_note(r, &s, how, NULL);
}

/* What is secret in "Scheme credentials" (RFC 9110, 11.4) also without its scheme. */
static int note_credentials(struct redaction *r, struct span name, struct span value,
			    enum redact_how how)
{
	size_t space = find(value, 0, value.len, ' ');
	struct span rest = trim(span_of(value.p + space, value.len - space));
	struct secret s = {rest, SECRET_PLAIN, false};
	bool own = name.len >= 13 && span_case_eq(span_of(name.p + name.len - 13, 13),
						  span_str("authorization"));
	int rc;

	if (!rest.len || (!own && find(rest, 0, rest.len, ' ') < rest.len))
		return SC_OK;
	rc = secret_note(r, &s, how, NULL);
	if (!rc && span_case_eq(span_of(value.p, space), span_str("Basic")))
		rc = note_basic(r, rest, how);
	return rc;
}

static int note_cookies(struct redaction *r, struct span v, bool only_first, enum redact_how how)
{
	struct cookie c;
	size_t at = 0;
	int rc = SC_OK;

	while (!rc && next_cookie(v, &at, &c)) {
		struct secret s = cookie_secret(&c);

		rc = secret_note(r, &s, how, NULL);
		if (only_first)
			break;
	}
	return rc;
}

enum cookie_field { NO_COOKIE, COOKIE, SET_COOKIE };

static enum cookie_field cookie_field(struct span name)
{
	if (name.len == 6 && span_case_eq(name, span_str("Cookie")))
		return COOKIE;
	return name.len == 10 && span_case_eq(name, span_str("Set-Cookie")) ? SET_COOKIE
									    : NO_COOKIE;
}

/* A field under a header: rule. */
static int redact_field(struct redaction *r, struct span text, const struct field *f,
			enum redact_how how, struct edits *out)
{
	struct span name = span_of(text.p + f->name.off, f->name.len);
	struct secret s = {span_of(text.p + f->value.off, f->value.len), SECRET_PLAIN, false};
	enum cookie_field cookie = cookie_field(name);
	struct span ins = span_str("");
	int rc = SC_OK;

	if (s.raw.len)
		rc = secret_note(r, &s, how, &ins);
	if (!rc && cookie)
		rc = note_cookies(r, s.raw, cookie == SET_COOKIE, how);
	else if (!rc)
		rc = note_credentials(r, name, s.raw, how);
	if (rc)
		return rc;
	if (how == REDACT_DROP)
		return drop_line(text, f, out);
	return s.raw.len ? edits_add(out, f->value.off, f->value.len, ins) : SC_OK;
}

static int redact_inside(struct redaction *r, struct span text, const struct field *f,
			 struct edits *out)
{
	enum cookie_field cookie = cookie_field(span_of(text.p + f->name.off, f->name.len));
	struct span value = span_of(text.p + f->value.off, f->value.len);
	bool kept = true;
	int rc = SC_OK;

	if (cookie && r->cookies.n)
		rc = redact_cookies(r, value, f->value.off, cookie == SET_COOKIE, out, &kept);
	if (!rc && !kept)
		return drop_line(text, f, out);
	if (rc || !(r->params.n || r->userinfo))
		return rc;
	return redact_urls(r, text, f->value.off, f->value.off + f->value.len, url_stops, out);
}

int redact_fields(struct redaction *r, const uint8_t *base, size_t len, const struct field *fields,
		  uint32_t n, struct edits *out)
{
	struct span text = span_of(base, len);
	int rc = SC_OK;

	for (uint32_t i = 0; i < n && !rc; i++) {
		const struct field *f = &fields[i];
		struct rule_use use;

		if (names_find(&r->headers, span_of(base + f->name.off, f->name.len), &use))
			rc = redact_field(r, text, f, use.how, out);
		else if (f->value.len)
			rc = redact_inside(r, text, f, out);
	}
	return rc;
}

struct span value_param(struct span value, const char *name)
{
	size_t at = find(value, 0, value.len, ';');

	while (at < value.len) {
		struct span rest = trim(span_of(value.p + at + 1, value.len - at - 1));
		size_t eq = find(rest, 0, rest.len, '=');
		struct span v = trim(span_of(rest.p + eq, rest.len - eq));
		bool found = span_case_eq(trim(span_of(rest.p, eq)), span_str(name));

		v = v.len ? trim(span_of(v.p + 1, v.len - 1)) : v;
		if (v.len && v.p[0] == '"') {
			size_t end = 1;

			while (end < v.len && v.p[end] != '"')
				end += v.p[end] == '\\' && end + 1 < v.len ? 2 : 1;
			at = (size_t)(v.p - value.p) + end;
			v = span_of(v.p + 1, (end < v.len ? end : v.len) - 1);
		} else {
			v.len = find(v, 0, v.len, ';');
			at = (size_t)(v.p - value.p) + v.len;
			v = trim(v);
		}
		if (found && eq < rest.len)
			return v;
		at = find(value, at, value.len, ';');
	}
	return span_of(NULL, 0);
}
