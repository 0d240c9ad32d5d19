/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded tree of path segments. A place with too many different ones becomes one branch, whose
 * own branches are learned anew. Never splits what it has put together. */
#include "template.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/limits.h"
#include "core/rng.h"

#define BUCKETS (2u * LIMIT_TEMPLATE_NODES) /* a power of two */
#define HEX_LEAST 8u
#define MIXED_LEAST 16u
#define SUFFIX_MOST 5u /* ".json" */

/* Nodes are found by parent and segment. Number 0 is none, 1 the root. */
struct node {
	uint32_t parent;
	uint32_t n_children;
	uint32_t any;	     /* the one branch of a place of values; 0: it is none */
	uint32_t generation; /* of its parent's branches; others are void */
	uint32_t branches;   /* the generation of its own */
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
	size_t digits, hex, upper, lower, dashes, others;
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

/* 2026-01-31, with a time behind it or not; 2026-01; digits and dashes alone. */
static bool is_date(struct span s, const struct census *c)
{
	if (c->digits >= 4 && c->digits + c->dashes == s.len)
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

bool template_is_value(struct span segment)
{
	return segment.len > LIMIT_TEMPLATE_SEGMENT || is_value(segment) ||
	       is_value(span_of(segment.p, stem(segment)));
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

/* Too many branches: from now on they are one. */
static uint32_t become_values(struct templates *t, uint32_t parent)
{
	uint32_t any = add_node(t, parent);

	if (any) {
		t->nodes[parent].branches++;
		t->nodes[parent].any = any;
		t->changes++;
	}
	return any;
}

/* The branch of a segment, made where there is none; *ret 0: nothing is known below. */
static int enter(struct templates *t, uint32_t parent, struct span segment, uint32_t *ret)
{
	uint32_t *slot, number;
	uint8_t *text;

	if (t->nodes[parent].any) {
		*ret = t->nodes[parent].any;
		return SC_OK;
	}
	slot = slot_of(t, parent, segment);
	*ret = *slot;
	if (*slot)
		return SC_OK;
	if (t->nodes[parent].n_children == LIMIT_TEMPLATE_FANOUT) {
		*ret = become_values(t, parent);
		return SC_OK;
	}
	number = add_node(t, parent);
	text = number ? malloc(segment.len + 1) : NULL;
	if (number && !text)
		return SC_ENOMEM;
	if (!number)
		return SC_OK;
	memcpy(text, segment.p, segment.len);
	t->nodes[number].text = text;
	t->nodes[number].len = (uint16_t)segment.len;
	t->nodes[parent].n_children++;
	*slot = *ret = number;
	return SC_OK;
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

static const struct span value_name = {(const uint8_t *)"{id}", 4};

int template_learn(struct templates *t, struct span path)
{
	uint32_t at = 1;
	int rc = SC_OK;

	while (path.len && at && !rc) {
		struct span segment = next_segment(&path);

		rc = enter(t, at, template_is_value(segment) ? value_name : segment, &at);
	}
	return rc;
}

static int add_segment(struct buf *out, struct span segment, bool value)
{
	size_t n = stem(segment);
	int rc = buf_add_str(out, "/");

	if (rc)
		return rc;
	if (!value && !template_is_value(segment))
		return buf_add_span(out, segment);
	rc = buf_add_span(out, value_name);
	if (rc || segment.len > LIMIT_TEMPLATE_SEGMENT || is_value(segment))
		return rc;
	return buf_add(out, segment.p + n, segment.len - n);
}

int template_of(const struct templates *t, struct span path, struct buf *out)
{
	uint32_t at = 1;
	int rc = SC_OK;

	while (path.len && !rc) {
		struct span segment = next_segment(&path);
		uint32_t any = at ? t->nodes[at].any : 0;

		rc = add_segment(out, segment, any != 0);
		if (any)
			at = any;
		else if (at)
			at = *slot_of(t, at, template_is_value(segment) ? value_name : segment);
	}
	return rc;
}
