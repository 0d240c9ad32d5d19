/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of two answers, name by name, those of one name as a list in their order. Takes no
 * value apart but a cookie's. */
#include <stdlib.h>

#include "compare_private.h"

#define TAKEN UINT32_MAX

/* Those of one name: a part of a field_list. */
struct group {
	const struct message *m;
	uint32_t *list;
	uint32_t n;
};

static int fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* Most names part at their first letters, where strncasecmp() has not yet begun. */
static int compare_folded(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++) {
		int x = fold(a.p[i]), y = fold(b.p[i]);

		if (x != y)
			return x - y;
	}
	return (a.len > b.len) - (a.len < b.len);
}

static int compare_plain(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_index(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int by_name(const void *a, const void *b, void *message)
{
	const struct message *m = message;
	int c = compare_folded(message_name(m, *(const uint32_t *)a),
			       message_name(m, *(const uint32_t *)b));

	return c ? c : by_index(a, b);
}

static int by_value(const void *a, const void *b, void *message)
{
	const struct message *m = message;
	int c = compare_plain(message_value(m, *(const uint32_t *)a),
			      message_value(m, *(const uint32_t *)b));

	return c ? c : by_index(a, b);
}

static int list_fields(struct field_list *l, const struct message *m)
{
	if (m->n_fields > l->cap) {
		uint32_t *list = realloc(l->list, m->n_fields * sizeof(*list));

		if (!list)
			return SC_ENOMEM;
		l->list = list;
		l->cap = m->n_fields;
	}
	for (uint32_t i = 0; i < m->n_fields; i++)
		l->list[i] = i;
	l->n = m->n_fields;
	if (l->n)
		qsort_r(l->list, l->n, sizeof(*l->list), by_name, (void *)(uintptr_t)m);
	return SC_OK;
}

static struct span value_at(const struct group *g, uint32_t i)
{
	return message_value(g->m, g->list[i]);
}

static struct span lower(struct span name, char text[LIMIT_DIFFERENCE_PATH])
{
	size_t n = name.len < LIMIT_DIFFERENCE_PATH ? name.len : LIMIT_DIFFERENCE_PATH;

	for (size_t i = 0; i < n; i++)
		text[i] = (char)fold(name.p[i]);
	return span_of(text, n);
}

/* As much of it as there is room for. */
static size_t put(char text[LIMIT_DIFFERENCE_TEXT], size_t n, struct span s)
{
	s = text_cut(s, LIMIT_DIFFERENCE_TEXT - n);
	if (s.len)
		memcpy(text + n, s.p, s.len);
	return n + s.len;
}

/* As one field would have them (RFC 9110, 5.3). */
static struct span joined(const struct group *g, char text[LIMIT_DIFFERENCE_TEXT])
{
	size_t n = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		n = put(text, n, span_str(i ? ", " : ""));
		n = put(text, n, value_at(g, i));
	}
	return span_of(text, n);
}

static struct span name_of(const struct group *a, const struct group *b)
{
	return a->n ? message_name(a->m, a->list[0]) : message_name(b->m, b->list[0]);
}

static int say(struct report *r, enum difference_kind kind, struct span name, struct span recorded,
	       struct span replayed, bool noise)
{
	char path[LIMIT_DIFFERENCE_PATH];

	return report_say(r, (struct difference){
				     .place = PLACE_HEADER,
				     .kind = kind,
				     .path = lower(name, path),
				     .recorded = recorded,
				     .replayed = replayed,
				     .noise = noise,
			     });
}

static int say_lists(struct report *r, enum difference_kind kind, const struct group *a,
		     const struct group *b, bool noise)
{
	char recorded[LIMIT_DIFFERENCE_TEXT], replayed[LIMIT_DIFFERENCE_TEXT];

	return say(r, kind, name_of(a, b), joined(a, recorded), joined(b, replayed), noise);
}

static bool same_values(const struct group *a, const struct group *b)
{
	for (uint32_t i = 0; i < a->n; i++) {
		if (!span_eq(value_at(a, i), value_at(b, i)))
			return false;
	}
	return true;
}

static void sort_values(struct group *g)
{
	qsort_r(g->list, g->n, sizeof(*g->list), by_value, (void *)(uintptr_t)g->m);
}

static bool same_in_any_order(struct group *a, struct group *b)
{
	bool same;

	if (a->n < 2)
		return false;
	sort_values(a);
	sort_values(b);
	same = same_values(a, b);
	qsort(a->list, a->n, sizeof(*a->list), by_index);
	qsort(b->list, b->n, sizeof(*b->list), by_index);
	return same;
}

static int compare_lists(struct report *r, struct group *a, struct group *b, bool noise)
{
	int rc = SC_OK;

	if (a->n == 0 || b->n == 0)
		return say_lists(r, a->n ? KIND_MISSING : KIND_EXTRA, a, b, noise);
	if (a->n != b->n)
		return say_lists(r, KIND_LENGTH, a, b, noise);
	if (same_in_any_order(a, b))
		return say_lists(r, KIND_ORDER, a, b, noise);
	for (uint32_t i = 0; i < a->n && !rc; i++) {
		if (!span_eq(value_at(a, i), value_at(b, i)))
			rc = say(r, KIND_HEADER, name_of(a, b), value_at(a, i), value_at(b, i),
				 noise);
	}
	return rc;
}

/* Up to the next ';', without white space around it. */
static struct span next_part(struct span *rest)
{
	const uint8_t *semicolon = rest->len ? memchr(rest->p, ';', rest->len) : NULL;
	size_t n = semicolon ? (size_t)(semicolon - rest->p) : rest->len;
	struct span part = span_of(rest->p, n);

	*rest = span_of(rest->p + n + (semicolon ? 1 : 0), rest->len - n - (semicolon ? 1 : 0));
	while (part.len && (part.p[0] == ' ' || part.p[0] == '\t'))
		part = span_of(part.p + 1, part.len - 1);
	while (part.len && (part.p[part.len - 1] == ' ' || part.p[part.len - 1] == '\t'))
		part.len--;
	return part;
}

static struct span up_to_equals(struct span part)
{
	const uint8_t *equals = part.len ? memchr(part.p, '=', part.len) : NULL;

	return equals ? span_of(part.p, (size_t)(equals - part.p)) : part;
}

static struct span cookie_name(struct span value)
{
	return up_to_equals(next_part(&value));
}

/* The attributes of a cookie (RFC 6265, 4.1.1); of Expires, which is a date, the name alone. -1:
 * more than LIMIT_COOKIE_PARTS. */
static int cookie_parts(struct span value, struct span parts[LIMIT_COOKIE_PARTS])
{
	int n = 0;

	(void)next_part(&value);
	while (value.len) {
		struct span part = next_part(&value), name = up_to_equals(part);

		if (n == LIMIT_COOKIE_PARTS)
			return -1;
		parts[n++] = span_case_eq(name, span_str("expires")) ? name : part;
	}
	return n;
}

static bool has_part(const struct span *parts, int n, struct span part)
{
	for (int i = 0; i < n; i++) {
		if (span_case_eq(parts[i], part))
			return true;
	}
	return false;
}

/* In any order. */
static bool same_attributes(struct span a, struct span b)
{
	struct span left[LIMIT_COOKIE_PARTS], right[LIMIT_COOKIE_PARTS];
	int n = cookie_parts(a, left), m = cookie_parts(b, right);

	if (n != m || n < 0)
		return false;
	for (int i = 0; i < n; i++) {
		if (!has_part(right, m, left[i]) || !has_part(left, n, right[i]))
			return false;
	}
	return true;
}

/* The first cookie of that name that is not taken yet, or -1. */
static int64_t find_cookie(const struct group *g, struct span name)
{
	for (uint32_t i = 0; i < g->n; i++) {
		if (g->list[i] != TAKEN && span_eq(cookie_name(value_at(g, i)), name))
			return i;
	}
	return -1;
}

/* By the cookies' names: the order in which they are set does not count. Leaves the lists TAKEN. */
static int compare_cookies(struct report *r, struct group *a, struct group *b)
{
	struct span field = name_of(a, b), none = span_str("");
	int rc = SC_OK;

	for (uint32_t i = 0; i < a->n && !rc; i++) {
		struct span x = value_at(a, i), y;
		int64_t at = find_cookie(b, cookie_name(x));

		if (at < 0) {
			rc = say(r, KIND_MISSING, field, x, none, false);
			continue;
		}
		y = value_at(b, (uint32_t)at);
		b->list[at] = TAKEN;
		if (!span_eq(x, y))
			rc = say(r, KIND_HEADER, field, x, y, same_attributes(x, y));
	}
	for (uint32_t i = 0; i < b->n && !rc; i++) {
		if (b->list[i] != TAKEN)
			rc = say(r, KIND_EXTRA, field, none, value_at(b, i), false);
	}
	return rc;
}

/* A length that is not told at all, since there are chunks, is never more than framing. */
static bool only_framing(const struct report *r, const struct group *a, const struct group *b)
{
	return !r->framing_counts || a->n == 0 || b->n == 0;
}

static int compare_groups(struct report *r, struct group *a, struct group *b)
{
	enum noise_how how;

	if (a->n == b->n && same_values(a, b))
		return SC_OK;
	how = noise_of_header(r->c->noise, name_of(a, b));
	if (how == NOISE_COOKIE)
		return compare_cookies(r, a, b);
	return compare_lists(r, a, b,
			     how == NOISE_ALL || (how == NOISE_FRAMING && only_framing(r, a, b)));
}

/* The fields from `at` on that have this name; none when the one there has another. */
static struct group take_group(const struct message *m, const struct field_list *l, uint32_t at,
			       struct span name)
{
	struct group g = {.m = m};

	if (at < l->n)
		g.list = l->list + at;
	while (at + g.n < l->n && span_case_eq(message_name(m, l->list[at + g.n]), name))
		g.n++;
	return g;
}

/* The name that comes first in either. */
static struct span next_name(const struct report *r, uint32_t i, uint32_t j)
{
	const struct field_list *l = r->c->fields;
	struct span a, b;

	if (i == l[0].n)
		return message_name(r->replayed, l[1].list[j]);
	a = message_name(r->recorded, l[0].list[i]);
	if (j == l[1].n)
		return a;
	b = message_name(r->replayed, l[1].list[j]);
	return compare_folded(a, b) <= 0 ? a : b;
}

int compare_heads(struct report *r)
{
	struct field_list *l = r->c->fields;
	uint32_t i = 0, j = 0;
	int rc;

	rc = list_fields(&l[0], r->recorded);
	if (!rc)
		rc = list_fields(&l[1], r->replayed);
	while (!rc && (i < l[0].n || j < l[1].n)) {
		struct span name = next_name(r, i, j);
		struct group a = take_group(r->recorded, &l[0], i, name);
		struct group b = take_group(r->replayed, &l[1], j, name);

		i += a.n;
		j += b.n;
		rc = compare_groups(r, &a, &b);
	}
	return rc;
}
