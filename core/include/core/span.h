/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed run of bytes. Never NUL-terminated, never owned. */
#ifndef CORE_SPAN_H
#define CORE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct span {
	const uint8_t *p;
	size_t len;
};

static inline struct span span_of(const void *p, size_t len)
{
	return (struct span){p, len};
}

static inline struct span span_str(const char *s)
{
	return (struct span){(const uint8_t *)s, strlen(s)};
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* ASCII case folded, as field names compare (RFC 9110, 5.1). */
static inline bool span_case_eq(struct span a, struct span b)
{
	return a.len == b.len &&
	       (a.len == 0 || strncasecmp((const char *)a.p, (const char *)b.p, a.len) == 0);
}

static inline bool span_starts(struct span a, struct span prefix)
{
	return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.p, prefix.p, prefix.len) == 0);
}

static inline bool span_ends(struct span a, struct span tail)
{
	return a.len >= tail.len &&
	       (tail.len == 0 || memcmp(a.p + a.len - tail.len, tail.p, tail.len) == 0);
}

#endif
