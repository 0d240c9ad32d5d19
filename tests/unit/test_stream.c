/* SPDX-License-Identifier: Apache-2.0 */
/* Reassembly against a naive model: a byte array in which the first byte to arrive at a place stands.
 * Random segmentation, order, duplication, overlap, wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "stream.h"

#define STREAM_BYTES 4000u
#define ROUNDS 2000u

struct received {
	uint8_t bytes[STREAM_BYTES * 2];
	uint8_t gap[STREAM_BYTES * 2];
	uint64_t len;
	unsigned gaps;
};

static void deliver(void *arg, const struct chunk *c)
{
	struct received *r = arg;

	assert_int_equal(c->offset, r->len); /* in order, nothing twice, nothing left out */
	assert_true(r->len + c->bytes.len <= sizeof(r->bytes));
	if (c->bytes.p) {
		memcpy(r->bytes + r->len, c->bytes.p, c->bytes.len);
	} else {
		memset(r->gap + r->len, 1, c->bytes.len);
		r->gaps++;
	}
	r->len += c->bytes.len;
}

struct bench {
	struct counters counters;
	struct stream_shared shared;
	struct stream stream;
	struct received received;
};

static struct bench *bench_new(uint32_t isn)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->shared.counters = &b->counters;
	b->shared.held_max = 1u << 20;
	b->shared.deliver = deliver;
	stream_sync(&b->stream, isn);
	return b;
}

static void bench_free(struct bench *b)
{
	stream_done(&b->stream, &b->shared);
	assert_int_equal(b->shared.held, 0);
	free(b);
}

static void add(struct bench *b, uint32_t seq, const void *data, size_t len, int64_t ts)
{
	struct stream_segment s = {.seq = seq, .payload = span_of(data, len), .ts_us = ts};

	stream_add(&b->stream, &b->shared, &s, &b->received);
	stream_check(&b->stream);
}

struct piece {
	uint32_t from, len;
};

/* Cuts the stream into pieces, repeats and stretches some, and mixes them within a window. */
static unsigned cut(struct rng *rng, struct piece *pieces, unsigned max)
{
	unsigned n = 0;
	uint32_t at = 0;

	while (at < STREAM_BYTES && n < max - 2) {
		uint32_t len = 1 + (uint32_t)(rng_next(rng) % 200);

		if (len > STREAM_BYTES - at)
			len = STREAM_BYTES - at;
		pieces[n++] = (struct piece){at, len};
		if (rng_next(rng) % 8 == 0) {
			uint32_t back = (uint32_t)(rng_next(rng) % 150);
			uint32_t from = back < at ? at - back : 0;
			uint32_t longer = len + (uint32_t)(rng_next(rng) % 100);

			if (from + longer > STREAM_BYTES)
				longer = STREAM_BYTES - from;
			pieces[n++] = (struct piece){from, longer};
		}
		at += len;
	}
	for (unsigned i = 0; i + 1 < n; i++) {
		unsigned j = i + (unsigned)(rng_next(rng) % 6);

		if (j < n) {
			struct piece p = pieces[i];

			pieces[i] = pieces[j];
			pieces[j] = p;
		}
	}
	return n;
}

static void test_random(void **state)
{
	static struct piece pieces[STREAM_BYTES * 2];
	static uint8_t model[STREAM_BYTES], known[STREAM_BYTES], segment[STREAM_BYTES];
	struct rng rng;

	(void)state;
	rng_init(&rng, 42);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t isn = (uint32_t)rng_next(&rng);
		struct bench *b = bench_new(isn);
		unsigned n = cut(&rng, pieces, STREAM_BYTES * 2);

		memset(known, 0, sizeof(known));
		for (unsigned i = 0; i < n; i++) {
			struct piece p = pieces[i];

			/* Every arrival carries other bytes, so that the policy shows. */
			for (uint32_t k = 0; k < p.len; k++) {
				segment[k] = (uint8_t)rng_next(&rng);
				if (!known[p.from + k]) {
					known[p.from + k] = 1;
					model[p.from + k] = segment[k];
				}
			}
			add(b, isn + p.from, segment, p.len, i);
		}
		assert_int_equal(b->received.len, STREAM_BYTES);
		assert_int_equal(b->received.gaps, 0);
		assert_memory_equal(b->received.bytes, model, STREAM_BYTES);
		assert_null(b->stream.queue);
		bench_free(b);
	}
}

/* The same with pieces lost: what comes out is the model with gaps where nothing ever came. */
static void test_random_loss(void **state)
{
	static struct piece pieces[STREAM_BYTES * 2];
	static uint8_t data[STREAM_BYTES], known[STREAM_BYTES];
	struct rng rng;

	(void)state;
	rng_init(&rng, 43);
	for (uint32_t k = 0; k < STREAM_BYTES; k++)
		data[k] = (uint8_t)(k * 7 + k / 256);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t isn = UINT32_MAX - 1000 + round; /* wraps */
		struct bench *b = bench_new(isn);
		unsigned n = cut(&rng, pieces, STREAM_BYTES * 2);
		uint32_t end = 0;

		memset(known, 0, sizeof(known));
		for (unsigned i = 0; i < n; i++) {
			struct piece p = pieces[i];

			if (rng_next(&rng) % 10 == 0)
				continue;
			memset(known + p.from, 1, p.len);
			if (p.from + p.len > end)
				end = p.from + p.len;
			add(b, isn + p.from, data + p.from, p.len, i);
		}
		stream_flush(&b->stream, &b->shared, &b->received);
		assert_int_equal(b->received.len, end);
		for (uint32_t k = 0; k < end; k++) {
			assert_int_equal(b->received.gap[k], !known[k]);
			if (known[k])
				assert_int_equal(b->received.bytes[k], data[k]);
		}
		assert_int_equal(counter_get(&b->counters, BYTES_SEEN) +
				 counter_get(&b->counters, BYTES_MISSING), end);
		bench_free(b);
	}
}

static void test_ack_makes_gap(void **state)
{
	struct bench *b = bench_new(100);

	(void)state;
	add(b, 100, "abc", 3, 1000);
	add(b, 110, "xyz", 3, 2000);
	assert_int_equal(b->received.len, 3);
	stream_ack(&b->stream, &b->shared, 113, 3000);
	stream_expire(&b->stream, &b->shared, 500000, &b->received);
	assert_int_equal(b->received.len, 3); /* it may still come */
	stream_expire(&b->stream, &b->shared, 1500000, &b->received);
	assert_int_equal(b->received.len, 13);
	assert_int_equal(counter_get(&b->counters, BYTES_MISSING), 7);
	assert_int_equal(counter_get(&b->counters, ACKS_OF_GAPS), 1);
	bench_free(b);
}

static void test_snaplen(void **state)
{
	struct bench *b = bench_new(0);
	struct stream_segment s = {.seq = 0, .payload = span_str("ab"), .missing = 5};

	(void)state;
	stream_add(&b->stream, &b->shared, &s, &b->received);
	assert_int_equal(b->received.len, 7);
	assert_int_equal(counter_get(&b->counters, BYTES_MISSING), 5);
	s.seq = 20; /* queued with its tail missing, then reached */
	stream_add(&b->stream, &b->shared, &s, &b->received);
	add(b, 7, "0123456789abc", 13, 0);
	assert_int_equal(b->received.len, 27);
	bench_free(b);
}

static void test_fin(void **state)
{
	struct bench *b = bench_new(0);

	(void)state;
	stream_fin(&b->stream, 6);
	add(b, 3, "def", 3, 0);
	assert_false(b->stream.ended);
	add(b, 6, "beyond", 6, 0); /* nothing follows a FIN */
	add(b, 0, "abc", 3, 0);
	assert_true(b->stream.ended);
	assert_int_equal(b->received.len, 6);
	bench_free(b);
}

static void test_keepalive(void **state)
{
	struct bench *b = bench_new(0);

	(void)state;
	add(b, 0, "abc", 3, 0);
	add(b, 2, "\0", 1, 0); /* a probe with a garbage byte */
	add(b, 3, "def", 3, 0);
	assert_int_equal(b->received.len, 6);
	assert_memory_equal(b->received.bytes, "abcdef", 6);
	assert_int_equal(counter_get(&b->counters, BYTES_RETRANSMITTED), 0);
	bench_free(b);
}

/* Over its budget a stream gives up its hole rather than grow. */
static void test_budget(void **state)
{
	struct bench *b = bench_new(0);
	static const uint8_t data[500];

	(void)state;
	b->shared.held_max = 3000;
	for (uint32_t i = 0; i < 10; i++) {
		add(b, 100 + i * 500, data, 500, i);
		assert_true(b->shared.held <= 3000 + 600);
	}
	assert_true(b->received.gaps == 1);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),        cmocka_unit_test(test_random_loss),
		cmocka_unit_test(test_ack_makes_gap), cmocka_unit_test(test_snaplen),
		cmocka_unit_test(test_fin),           cmocka_unit_test(test_keepalive),
		cmocka_unit_test(test_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
