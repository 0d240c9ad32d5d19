/* SPDX-License-Identifier: Apache-2.0 */
/* Offset 0 of one schedule that several engines keep: the clock starts for all of them when each is
 * ready and there is something to send. Any number of threads; never blocks. */
#ifndef REPLAY_START_H
#define REPLAY_START_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct replay_start {
	atomic_uint missing; /* engines that are not ready */
	_Atomic int64_t at_ns;
	int64_t lead_ns;
};

void replay_start_init(struct replay_start *s, unsigned engines);

/* One engine is ready, or has ended without ever being; once for each. */
void replay_start_ready(struct replay_start *s);

/* When it starts, CLOCK_MONOTONIC as `now_ns`; 0: not known yet. `wanted`: who asks has something
 * to send. May lie a little ahead, so that every engine sees it in time. */
int64_t replay_start_at(struct replay_start *s, int64_t now_ns, bool wanted);

#endif
