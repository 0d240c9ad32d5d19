/* SPDX-License-Identifier: Apache-2.0 */
/* Frames in, exchanges out: connections by their addresses, each with two streams and a pair. No
 * I/O, no clock, no randomness of its own, so the same frames give the same exchanges. */
#ifndef CAPTURE_ENGINE_H
#define CAPTURE_ENGINE_H

#include <stdint.h>

#include "core/counters.h"
#include "core/exchange.h"
#include "core/stage.h"
#include "decode.h"

struct engine_options {
	size_t body_max;    /* --max-body */
	uint64_t memory;    /* --memory: queued segments and bodies under way */
	uint64_t hash_seed; /* random, against chosen collisions */
	const uint16_t *ports; /* --port: borrowed; TCP of other ports is counted and left */
	unsigned n_ports;      /* 0: any */
	struct chain *early; /* borrowed; NULL: everything is wanted */
	struct counters *counters; /* borrowed */
	/* Called with each request that is wanted once all of it has been seen, before its answer has:
	 * borrowed, and its exchange comes out of engine_pop() later. NULL: nobody asks. */
	void (*asked)(void *arg, struct exchange *ex);
	void *asked_arg;
};

struct engine;
struct engine *engine_new(const struct engine_options *o); /* NULL: no memory */
void engine_free(struct engine *e);

void engine_frame(struct engine *e, const struct frame *f);

/* Time goes on without frames: holes and silent connections are given up. us since 1970. */
void engine_expire(struct engine *e, int64_t now_us);

/* There will be no more frames: whatever is unfinished comes out. */
void engine_finish(struct engine *e);

/* The next finished exchange, moved to the caller, or NULL. */
struct exchange *engine_pop(struct engine *e);

#endif
