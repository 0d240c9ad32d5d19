/* SPDX-License-Identifier: Apache-2.0 */
/* Growable bytes with a ceiling given at birth. */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);

/* Empties without giving memory back. */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}

/* Room for `extra` more bytes. SC_EFULL over the ceiling, SC_ENOMEM. */
int buf_reserve(struct buf *b, size_t extra);

/* Appends; all or nothing. SC_EFULL, SC_ENOMEM. */
int buf_add(struct buf *b, const void *p, size_t len);
int buf_add_str(struct buf *b, const char *s);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline int buf_add_span(struct buf *b, struct span s)
{
	return buf_add(b, s.p, s.len);
}

static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->data, b->len);
}

/* Hands the bytes over to the caller (free() them) and leaves an empty buffer. */
uint8_t *buf_steal(struct buf *b);

#endif
