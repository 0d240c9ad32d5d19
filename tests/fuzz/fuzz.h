/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzzers share: reading their input, which never ends early but in zeros, and what is
 * true of every message and exchange whatever the bytes were. A broken promise is an assert, which
 * both libFuzzer and the tests' driver stop at. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "core/exchange.h"
#include "core/rd.h"

/* What libFuzzer calls, and the driver. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline uint8_t take_u8(struct rd *r)
{
	uint8_t v = 0;

	(void)rd_u8(r, &v);
	return v;
}

static inline uint16_t take_u16(struct rd *r)
{
	uint16_t v = 0;

	if (rd_u16(r, &v))
		r->p = r->end; /* a rest that is no number ends the input */
	return v;
}

static inline uint32_t take_u32(struct rd *r)
{
	uint32_t v = 0;

	if (rd_u32(r, &v))
		r->p = r->end; /* a rest that is no number ends the input */
	return v;
}

/* As many of the next n bytes as there are. */
static inline struct span take_bytes(struct rd *r, size_t n)
{
	struct span s = span_of(r->p, rd_left(r) < n ? rd_left(r) : n);

	r->p += s.len;
	return s;
}

/* A copy in an allocation of exactly that size, so that a read behind its end is seen. free() it.
 */
uint8_t *copy_exactly(struct span s);

/* Reads every byte, so that a span that points elsewhere is seen. */
void touch(struct span s);

/* Slices lie inside the head and in order; what counts as canonical builds the same bytes again. */
void check_message(const struct message *m);

/* A message that is over: its sizes agree with its flags. */
void check_finished_message(const struct message *m, size_t body_max);

/* What a capture may hand over. */
void check_exchange(const struct exchange *ex, size_t body_max);

#endif
