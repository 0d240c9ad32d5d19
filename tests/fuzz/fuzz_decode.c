/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of any link type through one decoder, several of an input so that fragments find each
 * other. A segment may only point into its frame or into a datagram of the decoder's.
 *
 * Input: u16 link type; then for each frame u16 captured length, u16 how much longer it was on the
 * wire, u16 milliseconds since the one before, its bytes. */
#include <assert.h>
#include <stdlib.h>

#include "decode.h"
#include "fuzz.h"

static void check_why(enum counter_id why)
{
	assert(why > PACKETS_IFACE_DROP && why < PACKETS_FLOW_LIMIT);
	assert(why != PACKETS_PORT && why != PACKETS_FILTERED);
}

static void check_segment(const struct frame *f, const struct segment *s)
{
	assert(s->src.len == s->dst.len && (s->src.len == 4 || s->src.len == 16));
	assert(s->ts_us == f->ts_us);
	assert((uint64_t)s->payload.len + s->missing <= UINT32_MAX);
	touch(s->payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decoder *d = decoder_new();
	int64_t now_us = 1000000;
	int link_type;
	struct rd in;

	assert(d);
	rd_init(&in, data, size);
	link_type = take_u16(&in);
	while (rd_left(&in)) {
		uint16_t caplen = take_u16(&in), cut = take_u16(&in);
		struct segment s;
		struct frame f = {.link_type = link_type};
		enum counter_id why;
		struct span bytes;
		uint8_t *copy;

		now_us += take_u16(&in) * 1000;
		bytes = take_bytes(&in, caplen);
		copy = copy_exactly(bytes);
		f.ts_us = now_us;
		f.len = (uint32_t)bytes.len + cut;
		f.bytes = span_of(copy, bytes.len);
		why = decode_frame(d, &f, &s);
		if (why == COUNTERS)
			check_segment(&f, &s);
		else
			check_why(why);
		free(copy);
	}
	decoder_free(d);
	return 0;
}
