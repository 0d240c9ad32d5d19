/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/dlt.h>

#define PSH_ACK 0x18
#define SERVER_PORT 80

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

void wire_segment(struct wire *w, int side, uint32_t seq, uint8_t flags, const void *data,
		  size_t len)
{
	static uint8_t f[65536 + 54];
	struct frame frame;
	uint8_t *ip = f + 14, *tcp = f + 34;

	assert_true(len + 40 <= 65535);
	memset(f, 0, 54);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)len + 40);
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	put16(tcp, w->client_port);
	put16(tcp + 2, SERVER_PORT);
	if (side) {
		memcpy(ip + 12, "\x0a\0\0\2\x0a\0\0\1", 8);
		put16(tcp, SERVER_PORT);
		put16(tcp + 2, w->client_port);
	}
	put32(tcp + 4, seq);
	put32(tcp + 8, flags & TCP_ACK ? w->seq[!side] : 0);
	tcp[12] = 0x50;
	tcp[13] = flags;
	if (len)
		memcpy(f + 54, data, len);
	frame = (struct frame){w->now_us, DLT_EN10MB, (uint32_t)len + 54, span_of(f, len + 54)};
	w->now_us += 100;
	if (w->log) {
		size_t i = w->log->n++;

		assert_true(i < sizeof(w->log->frames) / sizeof(w->log->frames[0]));
		assert_true(len + 54 <= sizeof(w->log->frames[i].bytes));
		memcpy(w->log->frames[i].bytes, f, len + 54);
		w->log->frames[i].len = len + 54;
		w->log->frames[i].ts_us = frame.ts_us;
	}
	engine_frame(w->engine, &frame);
}

void wire_connect(struct wire *w, uint16_t client_port)
{
	w->client_port = client_port;
	w->seq[0] = 0xfffffff0u; /* wraps soon */
	w->seq[1] = 5000;
	wire_segment(w, 0, w->seq[0]++, TCP_SYN, NULL, 0);
	wire_segment(w, 1, w->seq[1]++, TCP_SYN | TCP_ACK, NULL, 0);
	wire_segment(w, 0, w->seq[0], TCP_ACK, NULL, 0);
}

void wire_begin(struct wire *w, struct chain *early, size_t body_max)
{
	struct engine_options o = {
		.body_max = body_max, .memory = 1u << 24, .early = early, .counters = &w->counters};

	*w = (struct wire){.now_us = 1000000};
	w->engine = engine_new(&o);
}

void wire_open(struct wire *w, struct chain *early, size_t body_max)
{
	wire_begin(w, early, body_max);
	assert_non_null(w->engine);
	wire_connect(w, 40000);
}

void wire_send(struct wire *w, int side, const void *data, size_t len)
{
	wire_segment(w, side, w->seq[side], PSH_ACK, data, len);
	w->seq[side] += (uint32_t)len;
}

void wire_text(struct wire *w, int side, const char *text)
{
	wire_send(w, side, text, strlen(text));
}

void wire_pieces(struct wire *w, int side, const char *text, size_t size)
{
	size_t len = strlen(text);

	for (size_t at = 0; at < len; at += size)
		wire_send(w, side, text + at, len - at < size ? len - at : size);
}

void wire_lose(struct wire *w, int side, size_t len)
{
	w->seq[side] += (uint32_t)len;
}

void wire_fin(struct wire *w, int side)
{
	wire_segment(w, side, w->seq[side]++, TCP_FIN | TCP_ACK, NULL, 0);
}

void wire_rst(struct wire *w, int side, const char *payload)
{
	wire_segment(w, side, w->seq[side], TCP_RST | TCP_ACK, payload, strlen(payload));
}

void wire_finish(struct wire *w)
{
	engine_finish(w->engine);
}

void wire_close(struct wire *w, unsigned stored)
{
	const char *group = "";
	struct exchange *ex;

	wire_finish(w);
	while ((ex = engine_pop(w->engine))) {
		exchange_free(ex);
		stored++;
	}
	count_n(&w->counters, REQUESTS_STORED, stored);
	if (counters_check(&w->counters, &group))
		fail_msg("the account of %s does not add up", group);
	engine_free(w->engine);
}
