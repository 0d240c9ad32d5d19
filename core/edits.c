/* SPDX-License-Identifier: Apache-2.0 */
/* A list of changes to one text. Knows nothing of what is changed or why. */
#include "edits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "wipe.h"

#define EDITS_FIRST 16u

void edits_done(struct edits *e)
{
	free(e->list);
	*e = (struct edits){0};
}

static size_t end_of(const struct edit *e)
{
	return e->off + e->del;
}

/* Of two that overlap, the first takes in the other. */
static bool joined(struct edit *first, const struct edit *e)
{
	if (e->off < first->off || e->off >= end_of(first))
		return false;
	if (end_of(e) > end_of(first))
		first->del = end_of(e) - first->off;
	return true;
}

static int grow(struct edits *e)
{
	size_t room = e->room ? e->room * 2 : EDITS_FIRST;
	struct edit *list;

	if (e->n >= LIMIT_EDITS)
		return SC_EFULL;
	list = realloc(e->list, room * sizeof(*list));
	if (!list)
		return SC_ENOMEM;
	e->list = list;
	e->room = room;
	return SC_OK;
}

int edits_add(struct edits *e, size_t off, size_t del, struct span ins)
{
	struct edit new = {off, del, ins};
	int rc;

	if (e->n && joined(&e->list[e->n - 1], &new))
		return SC_OK;
	if (e->n == e->room) {
		rc = grow(e);
		if (rc)
			return rc;
	}
	e->list[e->n++] = new;
	return SC_OK;
}

static int by_place(const void *va, const void *vb)
{
	const struct edit *a = va, *b = vb;

	if (a->off != b->off)
		return a->off < b->off ? -1 : 1;
	return (a->del < b->del) - (a->del > b->del);
}

static bool in_order(const struct edits *e)
{
	for (size_t i = 1; i < e->n; i++) {
		if (by_place(&e->list[i - 1], &e->list[i]) > 0)
			return false;
	}
	return true;
}

void edits_settle(struct edits *e)
{
	size_t kept = 0;

	if (!in_order(e))
		qsort(e->list, e->n, sizeof(*e->list), by_place);
	for (size_t i = 0; i < e->n; i++) {
		if (!kept || !joined(&e->list[kept - 1], &e->list[i]))
			e->list[kept++] = e->list[i];
	}
	e->n = kept;
}

int edits_merge(struct edits *e, const struct edits *from)
{
	size_t a = 0, b = 0, kept = 0, n = e->n + from->n;
	struct edit *list;

	if (!from->n)
		return SC_OK;
	list = malloc(n * sizeof(*list));
	if (!list)
		return SC_ENOMEM;
	while (a + b < n) {
		bool own = b == from->n ||
			   (a < e->n && by_place(&e->list[a], &from->list[b]) <= 0);
		const struct edit *next = own ? &e->list[a++] : &from->list[b++];

		if (!kept || !joined(&list[kept - 1], next))
			list[kept++] = *next;
	}
	free(e->list);
	*e = (struct edits){list, kept, n};
	return SC_OK;
}

int edits_apply(const struct edits *e, struct span text, struct buf *out)
{
	size_t at = 0, len = text.len;
	int rc;

	for (size_t i = 0; i < e->n; i++)
		len += e->list[i].ins.len - e->list[i].del;
	rc = wipe_reserve(out, len);
	for (size_t i = 0; i < e->n && !rc; i++) {
		const struct edit *one = &e->list[i];

		rc = wipe_add(out, text.p + at, one->off - at);
		if (!rc)
			rc = wipe_add_span(out, one->ins);
		at = end_of(one);
	}
	return rc ? rc : wipe_add(out, text.p + at, text.len - at);
}
