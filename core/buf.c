/* SPDX-License-Identifier: Apache-2.0 */
/* Growable bytes. Doubles, but never past the ceiling it was born with. */
#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"

#define BUF_FIRST 256u

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

int buf_reserve(struct buf *b, size_t extra)
{
	size_t cap, need;
	uint8_t *data;

	if (extra <= b->cap - b->len)
		return SC_OK;
	if (extra > b->max || b->len > b->max - extra)
		return SC_EFULL;
	need = b->len + extra;
	cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < need)
		cap *= 2;
	if (cap > b->max)
		cap = b->max;
	/* A first allocation that is exact stays exact: most bodies come whole. */
	if (b->cap == 0 && need > BUF_FIRST)
		cap = need;
	data = realloc(b->data, cap);
	if (!data)
		return SC_ENOMEM;
	b->data = data;
	b->cap = cap;
	return SC_OK;
}

int buf_add(struct buf *b, const void *p, size_t len)
{
	int rc;

	if (len == 0)
		return SC_OK;
	rc = buf_reserve(b, len);
	if (rc)
		return rc;
	memcpy(b->data + b->len, p, len);
	b->len += len;
	return SC_OK;
}

int buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return SC_EINVAL;
	rc = buf_reserve(b, (size_t)n + 1);
	if (rc)
		return rc;
	va_start(ap, fmt);
	(void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return SC_OK;
}

uint8_t *buf_steal(struct buf *b)
{
	uint8_t *data = b->data;

	b->data = NULL;
	b->len = b->cap = 0;
	return data;
}
