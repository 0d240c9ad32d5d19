/* SPDX-License-Identifier: Apache-2.0 */
/* The whole way from frames to exchanges, with little memory. Every frame, request and answer is in
 * the account exactly once, exchanges of a connection come in the order they were asked.
 *
 * Input: u8 body cap in units of 16, u8 memory in KiB, u8 options; then operations of a byte each.
 * Most make a TCP segment of one of four connections, whose sequence numbers are kept here so that
 * bytes of the input reach HTTP; the others are raw frames and time. */
#include <assert.h>
#include <pcap/dlt.h>
#include <stdlib.h>
#include <string.h>

#include "core/filter.h"
#include "core/sample.h"
#include "engine.h"
#include "fuzz.h"

#define TALKS 4u
#define HEADERS 40u /* IPv4 and TCP */

#define ORDERS 64u

struct order {
	uint64_t connection;
	uint32_t next; /* the least position of its next exchange */
};

struct run {
	struct engine *engine;
	struct counters counters;
	uint32_t seq[TALKS][2]; /* next of each side */
	struct order order[ORDERS];
	uint64_t frames;
	size_t body_max;
	int64_t now_us;
	uint16_t fresh_port; /* of connections that are only opened */
};

/* The low bits of an operation; then two of the connection, one of the side. */
enum {
	OP_DATA, /* u8 bytes follow */
	OP_DATA_LONG,
	OP_FLAGS, /* u8 TCP flags, i8 distance from the next sequence number, u8 bytes */
	OP_LOST,  /* u8 bytes that nobody saw */
	OP_CUT,	  /* u8 bytes, u8 of them beyond the snaplen */
	OP_RAW,	  /* u16 link type, u16 captured length, u16 more on the wire */
	OP_TIME,
	OP_POP, /* 0xff is one: u16 FLOOD may follow */
};

/* So long that it is hardly met by chance: it takes as much time as a thousand others. */
#define FLOOD 0xf100u

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static void frame(struct run *r, int link_type, struct span bytes, uint32_t more)
{
	uint8_t *copy = copy_exactly(bytes);
	struct frame f = {r->now_us, link_type, (uint32_t)bytes.len + more,
			  span_of(copy, bytes.len)};

	r->frames++;
	engine_frame(r->engine, &f);
	free(copy);
	r->now_us += 100;
}

struct ends {
	uint16_t client_port;
	int side; /* that sends */
	uint32_t seq, ack;
};

static void segment(struct run *r, const struct ends *ends, uint8_t flags, struct span payload,
		    uint32_t more)
{
	int side = ends->side;
	uint8_t *bytes = calloc(1, HEADERS + payload.len);
	uint8_t *ip = bytes, *tcp = bytes + 20;

	assert(bytes);
	ip[0] = 0x45;
	put16(ip + 2, ((unsigned)payload.len + more + HEADERS) & 0xffff);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, side ? 0x0a000002 : 0x0a000001);
	put32(ip + 16, side ? 0x0a000001 : 0x0a000002);
	put16(tcp, side ? 80 : ends->client_port);
	put16(tcp + 2, side ? ends->client_port : 80);
	put32(tcp + 4, ends->seq);
	put32(tcp + 8, flags & TCP_ACK ? ends->ack : 0);
	tcp[12] = 0x50;
	tcp[13] = flags;
	if (payload.len)
		memcpy(bytes + HEADERS, payload.p, payload.len);
	frame(r, DLT_IPV4, span_of(bytes, HEADERS + payload.len), more);
	free(bytes);
}

static struct ends ends_of(const struct run *r, unsigned talk, int side)
{
	return (struct ends){(uint16_t)(40000 + talk), side, r->seq[talk][side],
			     r->seq[talk][!side]};
}

static void data(struct run *r, unsigned talk, int side, struct span bytes, uint32_t more)
{
	struct ends ends = ends_of(r, talk, side);
	uint32_t *seq = &r->seq[talk][side];

	segment(r, &ends, TCP_ACK, bytes, more);
	*seq += (uint32_t)bytes.len + more;
}

static void flagged(struct run *r, unsigned talk, int side, struct rd *in)
{
	struct ends ends = ends_of(r, talk, side);
	uint8_t flags = take_u8(in);
	uint32_t *seq = &r->seq[talk][side];
	int32_t distance = (int8_t)take_u8(in);
	uint32_t at = *seq + (uint32_t)distance;
	struct span bytes = take_bytes(in, take_u8(in));

	ends.seq = at;
	segment(r, &ends, flags, bytes, 0);
	at += (uint32_t)bytes.len + (flags & (TCP_SYN | TCP_FIN) ? 1u : 0u);
	if ((int32_t)(at - *seq) > 0)
		*seq = at;
}

static void pop(struct run *r)
{
	struct exchange *ex;

	while ((ex = engine_pop(r->engine))) {
		struct order *last = &r->order[ex->connection % ORDERS];

		assert(last->connection != ex->connection || ex->position >= last->next);
		*last = (struct order){ex->connection, ex->position + 1};
		check_exchange(ex, r->body_max);
		assert(ex->client.len && ex->client.len == ex->server.len);
		count(&r->counters, REQUESTS_STORED);
		exchange_free(ex);
	}
}

/* Many connections, so that tables grow. */
static void flood(struct run *r)
{
	for (unsigned i = 0; i < 1200 && r->fresh_port < 4800; i++) {
		struct ends ends = {.client_port = ++r->fresh_port};

		segment(r, &ends, TCP_SYN, span_of(NULL, 0), 0);
	}
}

static void step(struct run *r, struct rd *in)
{
	uint8_t op = take_u8(in);
	unsigned talk = op >> 3 & (TALKS - 1);
	int side = op >> 5 & 1, link_type;
	struct span bytes;
	uint16_t n;

	switch (op & 7) {
	case OP_DATA:
		data(r, talk, side, take_bytes(in, take_u8(in)), 0);
		break;
	case OP_DATA_LONG:
		data(r, talk, side, take_bytes(in, take_u16(in) & 0x7fff), 0);
		break;
	case OP_FLAGS:
		flagged(r, talk, side, in);
		break;
	case OP_LOST:
		r->seq[talk][side] += take_u8(in);
		break;
	case OP_CUT:
		n = take_u8(in);
		data(r, talk, side, take_bytes(in, n), take_u8(in));
		break;
	case OP_RAW:
		link_type = take_u16(in);
		n = take_u16(in);
		bytes = take_bytes(in, n);
		n = take_u16(in);
		frame(r, link_type, bytes, op & 0x80 ? (uint32_t)n << 16 : n);
		break;
	case OP_TIME:
		r->now_us += (int64_t)(op >> 3) * (int64_t)(op >> 3) * 500000;
		engine_expire(r->engine, r->now_us);
		break;
	default:
		pop(r);
		if (op == 0xff && take_u16(in) == FLOOD)
			flood(r);
		break;
	}
}

/* A route, and half of the connections, which those left out never get any further than. */
static void add_rules(struct chain *early)
{
	struct filter *f = filter_new();
	struct stage *s;

	assert(f && filter_route(f, "/a*", NULL) == SC_OK);
	s = stage_filter_new(f); /* moved */
	assert(s);
	chain_add(early, s);
	s = stage_sample_new(50, &(struct sample_key){SAMPLE_BY_CONNECTION, NULL}, 1);
	assert(s);
	chain_add(early, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static const uint16_t ports[] = {80, 8080};
	struct run r = {.now_us = 1000000};
	struct engine_options o = {.hash_seed = 1, .counters = &r.counters};
	struct chain early = {.n = 0};
	const char *group = "";
	uint8_t options;
	struct rd in;

	rd_init(&in, input, size);
	o.body_max = r.body_max = take_u8(&in) * 16u;
	o.memory = take_u8(&in) * 1024u;
	options = take_u8(&in);
	if (options & 1) {
		o.ports = ports;
		o.n_ports = sizeof(ports) / sizeof(ports[0]);
	}
	if (options & 2) {
		add_rules(&early);
		o.early = &early;
	}
	for (unsigned i = 0; i < TALKS; i++) {
		r.seq[i][0] = 0xffffff00u + i * 128; /* wraps soon */
		r.seq[i][1] = 5000;
	}
	r.engine = engine_new(&o);
	assert(r.engine);
	while (rd_left(&in))
		step(&r, &in);
	engine_finish(r.engine);
	pop(&r);
	engine_free(r.engine);
	chain_done(&early);
	assert(counter_get(&r.counters, PACKETS_SEEN) == r.frames);
	assert(counters_check(&r.counters, &group) == SC_OK);
	return 0;
}
