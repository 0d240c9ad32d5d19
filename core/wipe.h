/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that has held a secret: overwritten before it is given back, also when a buffer grows out
 * of its old place or a library frees its own. Knows not what a secret is. */
#ifndef CORE_WIPE_H
#define CORE_WIPE_H

#include <stddef.h>

#include "core/buf.h"

/* Overwrites `len` bytes and frees; NULL is fine. */
void wipe_free(void *p, size_t len);

/* As buf_reserve(), buf_add() and buf_done(). All of b->cap counts as secret. */
int wipe_reserve(struct buf *b, size_t extra);
int wipe_add(struct buf *b, const void *p, size_t len);
void wipe_done(struct buf *b);

static inline int wipe_add_span(struct buf *b, struct span s)
{
	return wipe_add(b, s.p, s.len);
}

/* An allocator for libraries: what it hands out is overwritten when it comes back. */
void *wipe_alloc(void *opaque, size_t n);
void wipe_dealloc(void *opaque, void *p);

/* Overwrites what working on secrets leaves elsewhere: the stack below the caller, as deep as such
 * work goes, and the vector registers that copying and searching use, which the dynamic linker and
 * the kernel save. Once an exchange. */
void wipe_traces(void);

#endif
