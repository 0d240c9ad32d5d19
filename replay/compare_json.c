/* SPDX-License-Identifier: Apache-2.0 */
/* Two JSON texts, value by value. Members are matched by name, of one that stands there twice the
 * first with the first; elements by their place, unless all that is different is their order. Where
 * a text was cut, nothing is said of what may stand behind the cut. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "compare_private.h"

#define COUNT_TEXT 32
#define GLANCES 8u /* lengths of the text that may be looked at as wholes, then in their parts */
#define STOP 1	   /* a silent walk has met a difference */

struct walk {
	struct report *r;
	const struct doc *a, *b;
	struct place_step *steps;
	unsigned depth;
	size_t glances; /* bytes */
	bool silent;	/* only whether there is any */
};

struct path_text {
	char text[LIMIT_DIFFERENCE_PATH];
	size_t n;
};

static void put(struct path_text *p, int c)
{
	if (p->n < sizeof(p->text))
		p->text[p->n++] = (char)c;
}

static bool is_bare(struct doc_string name)
{
	struct doc_bytes bytes;
	int c;

	doc_bytes_init(&bytes, name.raw);
	while ((c = doc_bytes_next(&bytes)) >= 0) {
		if (!isalnum(c) && c != '_' && c != '-' && c < 0x80)
			return false;
	}
	return name.raw.len > 0;
}

static void put_name(struct path_text *p, struct doc_string name)
{
	bool bare = is_bare(name);
	struct doc_bytes bytes;
	int c;

	for (const char *s = bare ? "." : "['"; *s; s++)
		put(p, *s);
	doc_bytes_init(&bytes, name.raw);
	while ((c = doc_bytes_next(&bytes)) >= 0) {
		if (c == '\'' || c == '\\')
			put(p, '\\');
		put(p, c);
	}
	for (const char *s = bare ? "" : "']"; *s; s++)
		put(p, *s);
}

static void put_index(struct path_text *p, uint32_t index)
{
	char text[16];

	snprintf(text, sizeof(text), "[%u]", (unsigned)index);
	for (const char *s = text; *s; s++)
		put(p, *s);
}

static struct span path_of(const struct walk *w, struct path_text *p)
{
	p->n = 0;
	put(p, '$');
	for (unsigned i = 0; i < w->depth && p->n < sizeof(p->text); i++) {
		if (w->steps[i].member)
			put_name(p, w->steps[i].name);
		else
			put_index(p, w->steps[i].index);
	}
	return span_of(p->text, p->n);
}

static int say(struct walk *w, enum difference_kind kind, struct span recorded,
	       struct span replayed)
{
	struct path_text path;

	if (w->silent)
		return STOP;
	return report_say(w->r, (struct difference){
					.place = PLACE_BODY,
					.kind = kind,
					.path = path_of(w, &path),
					.recorded = recorded,
					.replayed = replayed,
					.noise = noise_of_json(w->r->c->noise, w->steps, w->depth),
				});
}

static int say_both(struct walk *w, enum difference_kind kind, uint32_t a, uint32_t b)
{
	return say(w, kind, doc_raw(w->a, a), doc_raw(w->b, b));
}

static struct span count_text(const struct doc_node *n, char text[COUNT_TEXT])
{
	snprintf(text, COUNT_TEXT, "%s%u", n->cut ? "at least " : "", (unsigned)n->n);
	return span_str(text);
}

static int say_lengths(struct walk *w, const struct doc_node *a, const struct doc_node *b)
{
	char recorded[COUNT_TEXT], replayed[COUNT_TEXT];

	return say(w, KIND_LENGTH, count_text(a, recorded), count_text(b, replayed));
}

static int values(struct walk *w, uint32_t a, uint32_t b);

static int member(struct walk *w, uint32_t a, uint32_t b)
{
	int rc;

	w->steps[w->depth++] = (struct place_step){.name = doc_name(w->a, a), .member = true};
	rc = values(w, a, b);
	w->depth--;
	return rc;
}

static int element(struct walk *w, uint32_t index, uint32_t a, uint32_t b)
{
	int rc;

	w->steps[w->depth++] = (struct place_step){.index = index};
	rc = values(w, a, b);
	w->depth--;
	return rc;
}

/* A member that only one of them has. Not said where the other may have it behind its cut. */
static int alone(struct walk *w, enum difference_kind kind, const struct doc *d, uint32_t i)
{
	struct span none = span_str(""), raw = doc_raw(d, i);
	int rc;

	w->steps[w->depth++] = (struct place_step){.name = doc_name(d, i), .member = true};
	rc = kind == KIND_MISSING ? say(w, kind, raw, none) : say(w, kind, none, raw);
	w->depth--;
	return rc;
}

/* Most objects have their members in the order in which the other has them. */
static bool names_agree(const struct walk *w, uint32_t a, uint32_t b)
{
	const struct doc_node *x = w->a->nodes, *y = w->b->nodes;
	uint32_t left = x[a].n, i = a + 1, k = b + 1;

	if (x[a].n != y[b].n)
		return false;
	for (; left > 0; left--) {
		if (doc_string_compare(doc_name(w->a, i), doc_name(w->b, k)) != 0)
			return false;
		i = x[i].next;
		k = y[k].next;
	}
	return true;
}

static int members_in_step(struct walk *w, uint32_t a, uint32_t b)
{
	uint32_t left = w->a->nodes[a].n, i = a + 1, k = b + 1;
	int rc = SC_OK;

	for (; left > 0 && !rc; left--) {
		rc = member(w, i, k);
		i = w->a->nodes[i].next;
		k = w->b->nodes[k].next;
	}
	return rc;
}

static int by_name(const void *a, const void *b, void *doc)
{
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	int c = doc_string_compare(doc_name(doc, i), doc_name(doc, k));

	return c ? c : (i > k) - (i < k);
}

static int by_hash(const void *a, const void *b, void *doc)
{
	const struct doc *d = doc;
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	uint64_t x = d->nodes[i].hash, y = d->nodes[k].hash;

	return x != y ? (x > y) - (x < y) : (i > k) - (i < k);
}

/* The children, sorted; free() it. NULL: no memory. */
static uint32_t *sorted_children(const struct doc *d, uint32_t parent,
				 int (*order)(const void *a, const void *b, void *doc))
{
	uint32_t n = d->nodes[parent].n, child = parent + 1;
	uint32_t *list = calloc(n + 1u, sizeof(*list));

	if (!list)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		list[i] = child;
		child = d->nodes[child].next;
	}
	if (n)
		qsort_r(list, n, sizeof(*list), order, (void *)(uintptr_t)d);
	return list;
}

/* Which comes first; what is at its end comes last. */
static int which_first(const struct walk *w, const uint32_t *left, bool left_ends,
		       const uint32_t *right, bool right_ends)
{
	if (left_ends || right_ends)
		return left_ends ? 1 : -1;
	return doc_string_compare(doc_name(w->a, *left), doc_name(w->b, *right));
}

static int merge_members(struct walk *w, uint32_t a, const uint32_t *left, uint32_t b,
			 const uint32_t *right)
{
	uint32_t n = w->a->nodes[a].n, m = w->b->nodes[b].n, i = 0, k = 0;
	int rc = SC_OK;

	while (!rc && (i < n || k < m)) {
		int c = which_first(w, left + i, i == n, right + k, k == m);

		if (c == 0)
			rc = member(w, left[i], right[k]);
		else if (c < 0 && !w->b->nodes[b].cut)
			rc = alone(w, KIND_MISSING, w->a, left[i]);
		else if (c > 0 && !w->a->nodes[a].cut)
			rc = alone(w, KIND_EXTRA, w->b, right[k]);
		i += c <= 0;
		k += c >= 0;
	}
	return rc;
}

static int objects(struct walk *w, uint32_t a, uint32_t b)
{
	uint32_t *left, *right;
	int rc = SC_ENOMEM;

	if (names_agree(w, a, b))
		return members_in_step(w, a, b);
	left = sorted_children(w->a, a, by_name);
	right = sorted_children(w->b, b, by_name);
	if (left && right)
		rc = merge_members(w, a, left, b, right);
	free(left);
	free(right);
	return rc;
}

/* 1: all are the same in this order; 0: they are not. A hash may lie, so the values are asked. */
static int same_items(struct walk *w, const uint32_t *left, const uint32_t *right, uint32_t n)
{
	struct walk silent = *w;
	int rc = SC_OK;

	for (uint32_t i = 0; i < n; i++) {
		if (w->a->nodes[left[i]].hash != w->b->nodes[right[i]].hash)
			return 0;
	}
	silent.silent = true;
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = element(&silent, i, left[i], right[i]);
	w->glances = silent.glances;
	return rc == SC_OK ? 1 : rc == STOP ? 0 : rc;
}

static bool sums_agree(const struct walk *w, uint32_t a, uint32_t b)
{
	const struct doc_node *x = w->a->nodes, *y = w->b->nodes;
	uint64_t sum = 0;

	for (uint32_t i = a + 1; i < x[a].next; i = x[i].next)
		sum += x[i].hash;
	for (uint32_t i = b + 1; i < y[b].next; i = y[i].next)
		sum -= y[i].hash;
	return sum == 0;
}

/* 1: the same items in another order; 0: not; SC_ENOMEM. Both are whole and of one length. */
static int is_shuffled(struct walk *w, uint32_t a, uint32_t b)
{
	uint32_t *left, *right;
	int rc = SC_ENOMEM;

	doc_hash(&w->r->c->doc[0]);
	doc_hash(&w->r->c->doc[1]);
	if (w->a->nodes[a].hash == w->b->nodes[b].hash || !sums_agree(w, a, b))
		return 0;
	left = sorted_children(w->a, a, by_hash);
	right = sorted_children(w->b, b, by_hash);
	if (left && right)
		rc = same_items(w, left, right, w->a->nodes[a].n);
	free(left);
	free(right);
	return rc;
}

/* Whether one has more than the other, as far as that can be told. */
static bool lengths_differ(const struct doc_node *a, const struct doc_node *b)
{
	return (a->n < b->n && !a->cut) || (b->n < a->n && !b->cut);
}

static int arrays(struct walk *w, uint32_t a, uint32_t b)
{
	const struct doc_node *x = &w->a->nodes[a], *y = &w->b->nodes[b];
	uint32_t n = x->n < y->n ? x->n : y->n, i = a + 1, k = b + 1;
	int rc = SC_OK;

	if (!x->cut && !y->cut && x->n == y->n)
		rc = is_shuffled(w, a, b);
	if (rc)
		return rc == 1 ? say_both(w, KIND_ORDER, a, b) : rc;
	if (lengths_differ(x, y))
		rc = say_lengths(w, x, y);
	for (uint32_t at = 0; at < n && !rc; at++) {
		rc = element(w, at, i, k);
		i = w->a->nodes[i].next;
		k = w->b->nodes[k].next;
	}
	return rc;
}

/* Whether both stand there in the same bytes, as long as it may be asked. */
static bool same_writing(struct walk *w, uint32_t a, uint32_t b)
{
	struct span x = doc_raw(w->a, a), y = doc_raw(w->b, b);

	if (x.len != y.len)
		return false;
	if (w->a->nodes[a].n) {
		if (w->glances < x.len)
			return false;
		w->glances -= x.len;
	}
	return span_eq(x, y);
}

static int values(struct walk *w, uint32_t a, uint32_t b)
{
	const struct doc_node *x = &w->a->nodes[a], *y = &w->b->nodes[b];
	bool same;

	if (x->kind != y->kind)
		return say_both(w, KIND_TYPE, a, b);
	same = same_writing(w, a, b);
	if (same && !x->cut && !y->cut)
		return SC_OK;
	switch ((enum doc_kind)x->kind) {
	case DOC_ARRAY:
		return arrays(w, a, b);
	case DOC_OBJECT:
		return objects(w, a, b);
	case DOC_STRING:
		same = doc_string_compare(doc_string(w->a, a), doc_string(w->b, b)) == 0;
		break;
	case DOC_NUMBER:
		same = doc_number_eq(doc_raw(w->a, a), doc_raw(w->b, b));
		break;
	case DOC_NULL:
	case DOC_BOOL:
		break;
	}
	return same ? SC_OK : say_both(w, KIND_VALUE, a, b);
}

int compare_docs(struct report *r)
{
	struct walk w = {.r = r, .a = &r->c->doc[0], .b = &r->c->doc[1], .steps = r->c->steps};

	w.glances = GLANCES * w.a->text.len;
	if (w.a->n == 0 || w.b->n == 0)
		return SC_OK;
	return values(&w, 0, 0);
}
