/* SPDX-License-Identifier: Apache-2.0 */
/* Requests out, results back: takes shots from a feed, sends each when it is due, reads the answer
 * and hands a result on. One thread, one loop; knows nothing of stores, packets or signals.
 *
 * Every shot that is taken is counted in exactly one place:
 * taken = sent (and answered) + failed (by error) + unsent (stopped before its turn). */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/stage.h"
#include "replay/histogram.h"
#include "replay/schedule.h"
#include "replay/shot.h"
#include "replay/target.h"

#define STATUS_CODES 1000u

struct replay_stats {
	uint64_t taken;
	uint64_t sent;	 /* went out and were answered */
	uint64_t failed; /* the sum of errors[] */
	uint64_t failed_sent; /* of these, whose bytes had begun to go out */
	uint64_t unsent;
	uint64_t errors[RESULT_ERRORS];
	uint64_t status[STATUS_CODES]; /* their sum is sent */
	uint64_t late;		       /* began more than 1 ms after they were due */
	uint64_t waited;	       /* found every connection busy when they were due */
	uint64_t retried;	       /* met a stale connection and went out again */
	uint64_t connections;	       /* opened */
	uint64_t bytes_out, bytes_in;  /* on the wire, above TLS */
	unsigned in_flight;	       /* now */
	int64_t start_us;	       /* us since 1970 of offset 0; 0: not yet */
	int64_t elapsed_us;	       /* since then */
	struct histogram service;      /* ns from the first byte sent to the last of the answer */
	struct histogram latency;      /* ns from when it was due to the last byte of the answer */
};

/* Where shots come from. Called from the loop, must not block. */
struct shot_feed {
	/* 1: *ret is moved to the caller. 0: the end. SC_EAGAIN: nothing now. Otherwise an error.
	 */
	int (*next)(struct shot_feed *f, struct shot **ret, struct err *err);
};

struct replay_options {
	const struct target_url *target;
	struct pace pace;
	unsigned connections; /* most open at once, 1 .. LIMIT_CONNECTIONS; one request in flight
				 each */
	int64_t timeout_us; /* to connect, and from the first byte sent to the last of the answer */
	bool ordered;	    /* requests of one recorded connection stay on one, in order */
	enum save_answers {
		SAVE_ANSWERS_NONE,   /* no results are made at all, only statistics */
		SAVE_ANSWERS_STATUS, /* results whose messages have a status and a size */
		SAVE_ANSWERS_FULL,
	} save;
	const char *ca_file; /* NULL: the system's */
	bool insecure;	     /* certificates are not checked */
	/* Addresses that no byte of a request may go to; borrowed. */
	const struct addr *origins;
	size_t n_origins;
	/* Asked at least ten times a second; once true, nothing more is begun and what is in flight
	 * is waited for. NULL: never. */
	bool (*stop)(void *arg);
	/* Called about ten times a second. NULL: never. */
	void (*progress)(void *arg, const struct replay_stats *stats);
	void *arg; /* of both */
};

/* Runs to the end of the feed. Results are moved into `sink` (may be NULL; only put and tick are
 * called). *ret_stats is filled in as far as it went, also on an error: SC_EINVAL for a target that
 * is one of the origins, SC_ENOMEM, SC_EIO, or what feed or sink said. A target that fails is no
 * error. */
int replay_run(const struct replay_options *options, struct shot_feed *feed,
	       struct result_sink *sink, struct replay_stats *ret_stats, struct err *err);

#endif
