/* SPDX-License-Identifier: Apache-2.0 */
/* The checked reader: the only way wire bytes are touched. Network byte order unless named _le.
 * A read past the end returns non-zero and moves nothing. */
#ifndef CORE_RD_H
#define CORE_RD_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/span.h"

struct rd {
	const uint8_t *p;
	const uint8_t *end;
};

static inline void rd_init(struct rd *r, const void *p, size_t len)
{
	r->p = p;
	r->end = r->p + len;
}

static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}

static inline int rd_skip(struct rd *r, size_t n)
{
	if (rd_left(r) < n)
		return SC_ETRUNC;
	r->p += n;
	return SC_OK;
}

static inline int rd_u8(struct rd *r, uint8_t *ret)
{
	if (rd_left(r) < 1)
		return SC_ETRUNC;
	*ret = *r->p++;
	return SC_OK;
}

static inline int rd_u16(struct rd *r, uint16_t *ret)
{
	if (rd_left(r) < 2)
		return SC_ETRUNC;
	*ret = (uint16_t)(r->p[0] << 8 | r->p[1]);
	r->p += 2;
	return SC_OK;
}

static inline int rd_u16_le(struct rd *r, uint16_t *ret)
{
	if (rd_left(r) < 2)
		return SC_ETRUNC;
	*ret = (uint16_t)(r->p[1] << 8 | r->p[0]);
	r->p += 2;
	return SC_OK;
}

static inline int rd_u32(struct rd *r, uint32_t *ret)
{
	if (rd_left(r) < 4)
		return SC_ETRUNC;
	*ret = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
	r->p += 4;
	return SC_OK;
}

/* The host's own order: for link headers that are written so (BSD loopback). */
static inline int rd_u32_host(struct rd *r, uint32_t *ret)
{
	if (rd_left(r) < 4)
		return SC_ETRUNC;
	memcpy(ret, r->p, 4);
	r->p += 4;
	return SC_OK;
}

/* A borrowed view of the next n bytes. */
static inline int rd_bytes(struct rd *r, size_t n, struct span *ret)
{
	if (rd_left(r) < n)
		return SC_ETRUNC;
	*ret = span_of(r->p, n);
	r->p += n;
	return SC_OK;
}

/* Gives up bytes at the end, where an inner length is smaller than what was captured. */
static inline void rd_limit(struct rd *r, size_t n)
{
	if (rd_left(r) > n)
		r->end = r->p + n;
}

#endif
