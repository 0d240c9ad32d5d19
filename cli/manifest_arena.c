/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given back all at once: a manifest is read into hundreds of small things that end
 * together. Bounded by what asks for it, not here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest_tree.h"

#define BLOCK_BYTES (64u * 1024u)

struct arena_block {
	struct arena_block *before;
	size_t used, size;
	_Alignas(max_align_t) unsigned char bytes[];
};

void arena_done(struct arena *a)
{
	while (a->last) {
		struct arena_block *before = a->last->before;

		free(a->last);
		a->last = before;
	}
}

static struct arena_block *block_new(struct arena *a, size_t least)
{
	size_t size = least > BLOCK_BYTES ? least : BLOCK_BYTES;
	struct arena_block *b = calloc(1, sizeof(*b) + size);

	if (!b)
		return NULL;
	b->size = size;
	b->before = a->last;
	a->last = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b = a->last;
	size_t whole = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	void *p;

	if (!b || b->size - b->used < whole)
		b = block_new(a, whole);
	if (!b)
		return NULL;
	p = b->bytes + b->used;
	b->used += whole;
	return p;
}

char *arena_copy(struct arena *a, const char *text, size_t len)
{
	char *copy = arena_alloc(a, len + 1);

	if (copy && len)
		memcpy(copy, text, len);
	return copy;
}

char *arena_text(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *text, *copy;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	copy = arena_copy(a, text, (size_t)n);
	free(text);
	return copy;
}
