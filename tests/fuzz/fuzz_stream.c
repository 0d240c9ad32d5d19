/* SPDX-License-Identifier: Apache-2.0 */
/* Segments, acknowledgments, ends and time into one stream. What comes out is in order, without a
 * seam, of bytes that a segment had at that very sequence number, and nothing is held at the end.
 *
 * Input: u32 first sequence number, u8 budget in KiB; then operations of a byte each and what they
 * need. The byte of every sequence number is given by it; a conflicting segment has others. */
#include <assert.h>
#include <stdlib.h>

#include "fuzz.h"
#include "stream.h"

struct run {
	struct stream stream;
	struct stream_shared shared;
	struct counters counters;
	uint64_t offset; /* of the next chunk */
	uint32_t cursor; /* a sequence number near which things happen */
	int64_t now_us;
};

enum {
	OP_SEGMENT,  /* at the cursor, which moves behind it */
	OP_NEAR,     /* at a distance of the cursor, which stays */
	OP_ANYWHERE, /* at any sequence number */
	OP_ACK,
	OP_FIN,
	OP_ANSWERED,
	OP_EXPIRE,
	OP_OTHER, /* rare ones */
};

static uint8_t byte_of(uint32_t seq, bool conflicting)
{
	uint8_t v = (uint8_t)((seq * 2654435761u) >> 24);

	return conflicting ? (uint8_t)~v : v;
}

static void on_chunk(void *arg, const struct chunk *c)
{
	struct run *r = arg;
	uint32_t seq = r->stream.next_seq - (uint32_t)c->bytes.len;

	assert(c->bytes.len > 0);
	assert(c->offset == r->offset);
	r->offset += c->bytes.len;
	assert(r->stream.offset == r->offset);
	for (size_t i = 0; c->bytes.p && i < c->bytes.len; i++) {
		uint8_t v = c->bytes.p[i];

		assert(v == byte_of(seq + (uint32_t)i, false) ||
		       v == byte_of(seq + (uint32_t)i, true));
	}
}

static void add(struct run *r, uint32_t seq, uint32_t len, uint32_t missing, uint8_t flags)
{
	uint8_t *bytes = malloc(len ? len : 1);
	struct stream_segment seg = {.seq = seq,
				     .payload = span_of(bytes, len),
				     .missing = missing,
				     .has_ack = flags & 1,
				     .ts_us = r->now_us};

	assert(bytes);
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = byte_of(seq + i, flags & 2);
	stream_add(&r->stream, &r->shared, &seg, r);
	free(bytes);
	assert(!r->stream.queue || r->shared.held <= r->shared.held_max);
}

static void segment(struct run *r, struct rd *in, unsigned op)
{
	uint8_t flags = take_u8(in);
	uint32_t len = flags & 4 ? take_u16(in) & 0xfff : take_u8(in);
	uint32_t missing = flags & 8 ? take_u16(in) : 0;
	int32_t distance;

	if (flags & 16)
		missing <<= 16;
	switch (op) {
	case OP_SEGMENT:
		add(r, r->cursor, len, missing, flags);
		r->cursor += len + missing;
		break;
	case OP_NEAR:
		distance = (int16_t)take_u16(in);
		add(r, r->cursor + (uint32_t)distance, len, missing, flags);
		break;
	default:
		add(r, take_u32(in), len, missing, flags);
		break;
	}
}

static void other(struct run *r, struct rd *in)
{
	switch (take_u8(in) % 4) {
	case 0:
		stream_flush(&r->stream, &r->shared, r);
		assert(!r->stream.queue);
		break;
	case 1:
		/* A SYN only counts before data. */
		if (r->stream.offset == 0)
			stream_restart(&r->stream, r->cursor);
		break;
	case 2:
		r->cursor = r->stream.next_seq;
		break;
	case 3:
		r->cursor += take_u16(in); /* lost */
		break;
	}
}

static void step(struct run *r, struct rd *in)
{
	uint8_t op = take_u8(in);
	int32_t distance = (int8_t)op >> 3;
	uint32_t near = r->cursor + (uint32_t)distance;

	r->now_us += 1000;
	switch (op & 7) {
	case OP_SEGMENT:
	case OP_NEAR:
	case OP_ANYWHERE:
		segment(r, in, op & 7u);
		break;
	case OP_ACK:
		stream_ack(&r->stream, &r->shared, near, r->now_us);
		break;
	case OP_FIN:
		stream_fin(&r->stream, near);
		break;
	case OP_ANSWERED:
		stream_answered(&r->stream, &r->shared, near, r->now_us, r);
		break;
	case OP_EXPIRE:
		r->now_us += (int64_t)(op >> 3) * 500000;
		stream_expire(&r->stream, &r->shared, r->now_us, r);
		break;
	default:
		other(r, in);
		break;
	}
	stream_check(&r->stream);
	assert(r->shared.held == r->stream.queued);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = {.now_us = 1000000};
	struct rd in;

	rd_init(&in, data, size);
	r.cursor = take_u32(&in);
	r.shared = (struct stream_shared){
		.counters = &r.counters, .held_max = take_u8(&in) * 1024u, .deliver = on_chunk};
	while (rd_left(&in))
		step(&r, &in);
	stream_flush(&r.stream, &r.shared, &r);
	stream_done(&r.stream, &r.shared);
	assert(r.shared.held == 0 && r.stream.queued == 0);
	assert(counter_get(&r.counters, BYTES_SEEN) + counter_get(&r.counters, BYTES_MISSING) ==
	       r.offset);
	return 0;
}
