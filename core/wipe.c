/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that has held a secret goes back overwritten. realloc() is not used: it leaves a copy. */
#include "wipe.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/limits.h"

#define WIPE_FIRST 256u
#define STACK_BYTES (48u * KIB)
#define VECTORS_BYTES 2048u

#if defined(__has_attribute)
#if __has_attribute(zero_call_used_regs)
#define CLEARS_REGISTERS __attribute__((zero_call_used_regs("all")))
#endif
#endif
#ifndef CLEARS_REGISTERS
#define CLEARS_REGISTERS
#endif

void wipe_free(void *p, size_t len)
{
	if (!p)
		return;
	if (len)
		explicit_bzero(p, len);
	free(p);
}

int wipe_reserve(struct buf *b, size_t extra)
{
	size_t cap, need;
	uint8_t *data;

	if (extra <= b->cap - b->len)
		return SC_OK;
	if (extra > b->max || b->len > b->max - extra)
		return SC_EFULL;
	need = b->len + extra;
	cap = b->cap ? b->cap * 2 : WIPE_FIRST;
	if (cap < need)
		cap = need;
	if (cap > b->max)
		cap = b->max;
	data = malloc(cap);
	if (!data)
		return SC_ENOMEM;
	if (b->len)
		memcpy(data, b->data, b->len);
	wipe_free(b->data, b->cap);
	b->data = data;
	b->cap = cap;
	return SC_OK;
}

int wipe_add(struct buf *b, const void *p, size_t len)
{
	int rc;

	if (len == 0)
		return SC_OK;
	rc = wipe_reserve(b, len);
	if (rc)
		return rc;
	memcpy(b->data + b->len, p, len);
	b->len += len;
	return SC_OK;
}

void wipe_done(struct buf *b)
{
	wipe_free(b->data, b->cap);
	b->data = NULL;
	b->len = b->cap = 0;
}

/* In front of what is handed out: its size. */
union before {
	size_t len;
	max_align_t align;
};

void *wipe_alloc(void *opaque, size_t n)
{
	union before *b;

	(void)opaque;
	if (n > SIZE_MAX - sizeof(*b))
		return NULL;
	b = malloc(sizeof(*b) + n);
	if (!b)
		return NULL;
	b->len = n;
	return b + 1;
}

void wipe_dealloc(void *opaque, void *p)
{
	union before *b = p;

	(void)opaque;
	if (b) {
		b--;
		wipe_free(b, sizeof(*b) + b->len);
	}
}

__attribute__((noinline)) static void wipe_stack(void)
{
	uint8_t below[STACK_BYTES];

	explicit_bzero(below, sizeof(below));
}

/* The C library's functions take more registers the longer the run is. The same functions on zeros
 * overwrite those they use, whichever variant this machine gets. */
__attribute__((noinline)) CLEARS_REGISTERS static void wipe_vectors(void)
{
	static uint8_t zeros[2][VECTORS_BYTES];
	uint8_t *volatile to = zeros[0];
	const uint8_t *volatile from = zeros[1];
	volatile size_t sum = 0;

	for (size_t n = 16; n <= VECTORS_BYTES; n *= 2) {
		memcpy(to, from, n);
		memmove(to, from, n - 1);
		sum = sum + (size_t)(memcmp(to, from, n) == 0) + (size_t)(memchr(to, 1, n) != NULL);
	}
}

void wipe_traces(void)
{
	wipe_stack();
	wipe_vectors();
}
