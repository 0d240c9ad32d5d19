/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded tree of path segments. Where a place has too many different ones they become one branch,
 * whose own branches are learned anew; those that come often stay, so that somebody who tries a
 * thousand paths does not make one of all. Never splits what it has put together. */
#include "core/template.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/rng.h"

#define BUCKETS (2u * LIMIT_TEMPLATE_NODES) /* a power of two */
#define HEX_LEAST 8u
#define MIXED_LEAST 16u
#define SUFFIX_MOST 5u /* ".json" */
#define OFTEN 10u      /* one of so many visits to a place: no value */

/* Nodes are found by parent and segment. Number 0 is none, 1 the root. */
struct node {
	uint32_t parent;
	uint32_t n_children;
	uint32_t any;	     /* the one branch of a place of values; 0: it is none */
	uint32_t generation; /* of its parent's branches; others are void */
	uint32_t branches;   /* the generation of its own */
	uint32_t visits;
	uint16_t len;
	uint8_t *text; /* NULL: of `any` */
};

struct templates {
	struct node *nodes;
	uint32_t n;
	uint32_t *slots; /* numbers of nodes, 0: free */
	uint32_t changes;
};

/* --- what looks like a value --------------------------------------------------------------- */

struct census {
	size_t digits, hex, upper, lower, dashes, underscores, others;
};

static struct census take_census(struct span s)
{
	struct census c = {0};

	for (size_t i = 0; i < s.len; i++) {
		uint8_t b = s.p[i];

		c.digits += b >= '0' && b <= '9';
		c.hex += isxdigit(b) != 0;
		c.upper += b >= 'A' && b <= 'Z';
		c.lower += b >= 'a' && b <= 'z';
		c.dashes += b == '-';
		c.underscores += b == '_';
		c.others += !isalnum(b) && !strchr("-_=~+%", b);
	}
	return c;
}

/* 8-4-4-4-12 hex digits (RFC 9562, 4) */
static bool is_uuid(struct span s, const struct census *c)
{
	return s.len == 36 && c->hex == 32 && c->dashes == 4 && s.p[8] == '-' && s.p[13] == '-' &&
	       s.p[18] == '-' && s.p[23] == '-';
}

/* 2026-01-31, with a time behind it or not; 2026-01; digits and dashes or underscores alone. */
static bool is_date(struct span s, const struct census *c)
{
	if (c->digits >= 4 && c->digits + c->dashes + c->underscores == s.len)
		return s.p[0] != '-';
	return s.len > 10 && s.p[4] == '-' && s.p[7] == '-' && s.p[10] == 'T' && c->digits >= 12;
}

static bool is_value(struct span s)
{
	struct census c = take_census(s);

	if (s.len == 0)
		return false;
	if (c.digits == s.len || is_uuid(s, &c) || is_date(s, &c))
		return true;
	if (c.hex == s.len && s.len >= HEX_LEAST && c.digits)
		return true;
	/* Words have few digits: "getting-started-with-http2" is none. */
	return s.len >= MIXED_LEAST && !c.others && c.digits >= 2 && c.dashes < 2 &&
	       (c.digits * 8 >= s.len || (c.upper && c.lower));
}

/* The part before a suffix like ".json"; all of it where there is none. */
static size_t stem(struct span s)
{
	for (size_t n = 1; n <= SUFFIX_MOST + 1 && n < s.len; n++) {
		uint8_t b = s.p[s.len - n];

		if (b == '.')
			return n > 1 ? s.len - n : s.len;
		if (!isalpha(b))
			break;
	}
	return s.len;
}

/* *ret_suffix: what stands behind the value, ".json" or nothing. */
static bool value_of(struct span segment, struct span *ret_suffix)
{
	size_t n = segment.len;

	if (n <= LIMIT_TEMPLATE_SEGMENT && !is_value(segment)) {
		n = stem(segment);
		if (n == segment.len || !is_value(span_of(segment.p, n)))
			return false;
	}
	*ret_suffix = span_of(segment.p + n, segment.len - n);
	return true;
}

bool template_is_value(struct span segment)
{
	struct span suffix;

	return value_of(segment, &suffix);
}

/* --- the tree ------------------------------------------------------------------------------ */

struct templates *templates_new(void)
{
	struct templates *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->nodes = calloc(LIMIT_TEMPLATE_NODES + 2, sizeof(*t->nodes));
	t->slots = calloc(BUCKETS, sizeof(*t->slots));
	t->n = 2;
	if (!t->nodes || !t->slots) {
		templates_free(t);
		return NULL;
	}
	return t;
}

void templates_free(struct templates *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; t->nodes && i < t->n; i++)
		free(t->nodes[i].text);
	free(t->nodes);
	free(t->slots);
	free(t);
}

uint32_t templates_changes(const struct templates *t)
{
	return t->changes;
}

static uint32_t *slot_of(const struct templates *t, uint32_t parent, struct span segment)
{
	uint32_t at = (uint32_t)hash_bytes(segment.p, segment.len, parent) & (BUCKETS - 1);

	for (; t->slots[at]; at = (at + 1) & (BUCKETS - 1)) {
		const struct node *n = &t->nodes[t->slots[at]];

		if (n->parent == parent && n->generation == t->nodes[parent].branches &&
		    span_eq(span_of(n->text, n->len), segment))
			break;
	}
	return &t->slots[at];
}

/* A new node; 0: there is no more room. */
static uint32_t add_node(struct templates *t, uint32_t parent)
{
	if (t->n >= LIMIT_TEMPLATE_NODES + 2)
		return 0;
	t->nodes[t->n] = (struct node){.parent = parent, .generation = t->nodes[parent].branches};
	return t->n++;
}

/* Those that come often stay as they are. */
static void keep_often(struct templates *t, uint32_t parent)
{
	struct node *place = &t->nodes[parent];

	for (uint32_t i = 2; i < t->n; i++) {
		struct node *n = &t->nodes[i];

		if (n->text && n->parent == parent && n->generation == place->branches &&
		    n->visits >= OFTEN && n->visits >= place->visits / OFTEN)
			n->generation++;
	}
}

/* Too many branches: from now on they are one. */
static uint32_t become_values(struct templates *t, uint32_t parent)
{
	uint32_t any = add_node(t, parent);

	if (any) {
		keep_often(t, parent);
		t->nodes[parent].branches++;
		t->nodes[parent].any = any;
		t->changes++;
	}
	return any;
}

static int add_branch(struct templates *t, uint32_t parent, struct span segment, uint32_t *slot)
{
	uint32_t number = add_node(t, parent);
	uint8_t *text = number ? malloc(segment.len + 1) : NULL;

	if (!number)
		return SC_OK;
	if (!text) {
		t->n--;
		return SC_ENOMEM;
	}
	memcpy(text, segment.p, segment.len);
	t->nodes[number].text = text;
	t->nodes[number].len = (uint16_t)segment.len;
	t->nodes[parent].n_children++;
	*slot = number;
	return SC_OK;
}

/* The branch of a segment, made where there is none; *ret 0: nothing is known below. */
static int enter(struct templates *t, uint32_t parent, struct span segment, uint32_t *ret)
{
	uint32_t *slot = slot_of(t, parent, segment);
	int rc = SC_OK;

	if (!*slot && t->nodes[parent].any)
		*ret = t->nodes[parent].any;
	else if (!*slot && t->nodes[parent].n_children == LIMIT_TEMPLATE_FANOUT)
		*ret = become_values(t, parent);
	else {
		if (!*slot)
			rc = add_branch(t, parent, segment, slot);
		*ret = *slot;
	}
	if (*ret && t->nodes[*ret].visits < UINT32_MAX)
		t->nodes[*ret].visits++;
	return rc;
}

/* The next segment, without its slash. */
static struct span next_segment(struct span *rest)
{
	const uint8_t *p = rest->p + (rest->p[0] == '/'), *end = rest->p + rest->len;
	const uint8_t *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
	struct span s = span_of(p, (size_t)((slash ? slash : end) - p));

	*rest = span_of(p + s.len, (size_t)(end - p) - s.len);
	return s;
}

/* What a segment is called in the tree: a value by its suffix alone. */
struct name {
	char text[sizeof("{id}") + SUFFIX_MOST + 1];
	struct span span;
};

static void name_of(struct span segment, struct name *ret)
{
	struct span suffix;

	ret->span = segment;
	if (!value_of(segment, &suffix))
		return;
	memcpy(ret->text, "{id}", 4);
	memcpy(ret->text + 4, suffix.p, suffix.len);
	ret->span = span_of(ret->text, 4 + suffix.len);
}

int template_learn(struct templates *t, struct span path, uint32_t *ret_leaf)
{
	bool told = path.len && path.p[0] == '/'; /* by the leaf */
	uint32_t at = 1;
	int rc = SC_OK;

	if (t->nodes[1].visits < UINT32_MAX)
		t->nodes[1].visits++;
	while (path.len && at && !rc) {
		struct span segment = next_segment(&path);
		struct name name;

		name_of(segment, &name);
		rc = enter(t, at, name.span, &at);
		if (at && !t->nodes[at].text) /* any: with the suffix that each has */
			told = told && stem(segment) == segment.len;
	}
	if (ret_leaf)
		*ret_leaf = told && !rc ? at : 0;
	return rc;
}

/* A segment in a place of values: its name, or "{id}" and what stands behind it. */
static int add_segment(struct buf *out, struct span segment, struct span name, bool value)
{
	size_t n = stem(segment);
	int rc = buf_add_str(out, "/");

	if (!rc && (!value || name.p != segment.p))
		return buf_add_span(out, name);
	if (!rc)
		rc = buf_add_str(out, "{id}");
	return rc ? rc : buf_add(out, segment.p + n, segment.len - n);
}

int template_of(const struct templates *t, struct span path, struct buf *out)
{
	uint32_t at = 1;
	int rc = SC_OK;

	while (path.len && !rc) {
		struct span segment = next_segment(&path);
		uint32_t branch, any = at ? t->nodes[at].any : 0;
		struct name name;

		name_of(segment, &name);
		branch = at ? *slot_of(t, at, name.span) : 0;
		rc = add_segment(out, segment, name.span, any && !branch);
		at = branch ? branch : any;
	}
	return rc;
}
