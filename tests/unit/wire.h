/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP conversation on an Ethernet of the test's own, fed straight into an engine. */
#ifndef TESTS_WIRE_H
#define TESTS_WIRE_H

#include "engine.h"

/* Frames as they went by, to be fed again: cut, or one at a time. */
struct wire_log {
	struct {
		uint8_t bytes[512];
		size_t len;
		int64_t ts_us;
	} frames[256];
	size_t n;
};

struct wire {
	struct wire_log *log; /* NULL: none; frames longer than its room are not for it */
	struct engine *engine;
	struct counters counters;
	uint32_t seq[2]; /* next of client (0) and server (1) */
	uint16_t client_port;
	int64_t now_us;
};

/* An engine, and a connection with its handshake. */
void wire_open(struct wire *w, struct chain *early, size_t body_max);
void wire_begin(struct wire *w, struct chain *early, size_t body_max); /* the engine alone */
void wire_connect(struct wire *w, uint16_t client_port);

/* side 0 is the client. Advances its sequence number. */
void wire_send(struct wire *w, int side, const void *data, size_t len);
void wire_text(struct wire *w, int side, const char *text);
/* Sends it in pieces of at most `size`. */
void wire_pieces(struct wire *w, int side, const char *text, size_t size);
/* Advances the sequence number as if sent, but the packet was not captured. */
void wire_lose(struct wire *w, int side, size_t len);
void wire_fin(struct wire *w, int side);
void wire_rst(struct wire *w, int side, const char *payload);
/* Any segment at all. */
void wire_segment(struct wire *w, int side, uint32_t seq, uint8_t flags, const void *data,
		  size_t len);

/* Ends the capture and checks that the account adds up, with `stored` exchanges taken. */
void wire_finish(struct wire *w);
void wire_close(struct wire *w, unsigned stored);

#endif
