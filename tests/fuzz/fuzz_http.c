/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes and gaps of both directions of one connection into a pair, under rules and a small cap
 * on bodies. Every request and every answer is in the account exactly once, and nothing is held at
 * the end.
 *
 * Input: u8 body cap, u8 rules; then operations of a byte each and what they need. */
#include <assert.h>
#include <stdlib.h>

#include "core/filter.h"
#include "core/limits.h"
#include "core/sample.h"
#include "fuzz.h"
#include "pair.h"

struct run {
	struct pair pair;
	struct pair_shared shared;
	struct counters counters;
	struct chain early;
	size_t body_max;
	uint64_t offset[2];
	uint32_t position; /* the least that the next exchange may have */
	bool ended[2];
	int64_t now_us;
};

/* An operation's low bits; bit 3 is the direction. */
enum {
	OP_BYTES,  /* up to 255 */
	OP_MORE,   /* up to 65535 */
	OP_REPEAT, /* the same bytes again, u8 times: requests pile up */
	OP_GAP,
	OP_END,
	OP_CUT, /* an end without FIN */
	OP_WAIT,
	OP_PLAIN, /* bytes whose sender acknowledged nothing new */
};

static void on_emit(void *arg, struct exchange *ex)
{
	struct run *r = arg;

	assert(ex->position >= r->position);
	r->position = ex->position + 1;
	count(&r->counters, REQUESTS_STORED);
	check_exchange(ex, r->body_max);
	exchange_free(ex);
}

static void on_recognised(void *arg, enum counter_id what)
{
	struct run *r = arg;

	assert(what == CONNECTIONS_HTTP || what == CONNECTIONS_TLS || what == CONNECTIONS_HTTP2);
	count(&r->counters, what);
}

static void add_rules(struct run *r, uint8_t rules)
{
	struct filter *f = filter_new();
	struct stage *s;
	double percent;

	assert(f);
	if (rules & 1)
		assert(filter_route(f, "GET,POST /a*", NULL) == SC_OK);
	if (rules & 2)
		assert(filter_exclude(f, "*.test/ab", NULL) == SC_OK);
	s = stage_filter_new(f); /* moved */
	assert(s);
	chain_add(&r->early, s);
	s = stage_marker_new();
	assert(s);
	chain_add(&r->early, s);
	if (!(rules & 4))
		return;
	assert(sample_parse("50%", &percent, NULL) == SC_OK);
	s = stage_sample_new(percent, &(struct sample_key){SAMPLE_BY_REQUEST, NULL}, rules);
	assert(s);
	chain_add(&r->early, s);
}

static int64_t peer_of(const struct run *r, int dir, uint8_t how)
{
	int64_t seen = (int64_t)r->offset[!dir];

	switch (how >> 6) {
	case 0:
		return seen;
	case 1:
		return -1;
	case 2: /* less than that was known to have come */
		return seen > (how & 63) ? seen - (how & 63) : 0;
	default: /* more than was seen: its packets come later, or never */
		return seen + (how & 63) * 4;
	}
}

static void chunk(struct run *r, int dir, struct span bytes, int64_t peer)
{
	struct chunk c = {.offset = r->offset[dir], .bytes = bytes, .ts_us = r->now_us};

	if (bytes.len == 0)
		return;
	r->offset[dir] += bytes.len;
	pair_chunk(&r->pair, &r->shared, dir, &c, peer, r);
}

static void send_bytes(struct run *r, int dir, struct span bytes, unsigned times, int64_t peer)
{
	while (times--) {
		uint8_t *copy = copy_exactly(bytes);

		chunk(r, dir, span_of(copy, bytes.len), peer);
		free(copy);
	}
}

static void step(struct run *r, struct rd *in)
{
	uint8_t op = take_u8(in);
	int dir = op >> 3 & 1;
	int64_t peer = peer_of(r, dir, op & 0xf0);
	uint32_t n;

	r->now_us += 10;
	switch (op & 7) {
	case OP_BYTES:
		send_bytes(r, dir, take_bytes(in, take_u8(in)), 1, peer);
		break;
	case OP_MORE:
		send_bytes(r, dir, take_bytes(in, take_u16(in)), 1, peer);
		break;
	case OP_REPEAT:
		n = take_u8(in);
		send_bytes(r, dir, take_bytes(in, take_u8(in)), n, peer);
		break;
	case OP_GAP:
		n = take_u16(in);
		chunk(r, dir, span_of(NULL, op & 0x10 ? n << 16 : n), -1);
		break;
	case OP_END:
	case OP_CUT:
		/* A stream ends once; but a side that was given up may still bring bytes. */
		if (!r->ended[dir])
			pair_end(&r->pair, &r->shared, dir, (op & 7) == OP_END, r);
		r->ended[dir] = true;
		break;
	case OP_WAIT:
		r->now_us += (int64_t)op * 1000;
		break;
	default:
		send_bytes(r, dir, take_bytes(in, take_u8(in)), 1, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct addr side[2] = {{{10, 0, 0, 1}, 40000, 4}, {{10, 0, 0, 2}, 80, 4}};
	struct run r = {.now_us = 1000000};
	const char *group = "";
	struct rd in;

	rd_init(&in, data, size);
	r.body_max = take_u8(&in);
	add_rules(&r, take_u8(&in));
	assert(pair_shared_init(&r.shared, &r.counters, &r.early, r.body_max) == SC_OK);
	r.shared.emit = on_emit;
	r.shared.emit_arg = &r;
	r.shared.recognised = on_recognised;
	pair_init(&r.pair, &side[0], &side[1], 1);
	while (rd_left(&in))
		step(&r, &in);
	pair_finish(&r.pair, &r.shared, &r);
	assert(r.shared.http.held == 0);
	assert(counters_check(&r.counters, &group) == SC_OK);
	pair_shared_done(&r.shared);
	chain_done(&r.early);
	return 0;
}
