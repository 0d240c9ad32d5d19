/* SPDX-License-Identifier: Apache-2.0 */
/* Requests out, results back: takes shots from a feed, sends each when it is due, reads the answer
 * and hands a result on. One thread, one loop; knows nothing of stores, packets or signals.
 *
 * Every shot that is taken is counted in exactly one place: taken = sent (and answered) + failed
 * (by error) + dropped (too late) + unsent (stopped before its turn). */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/stage.h"
#include "replay/histogram.h"
#include "replay/room.h"
#include "replay/shot.h"
#include "replay/start.h"
#include "replay/target.h"

#define STATUS_CODES 1000u
#define ERROR_DETAIL 128u

struct replay_stats {
	uint64_t taken;
	uint64_t sent;	 /* went out and were answered */
	uint64_t failed; /* the sum of errors[] */
	uint64_t failed_sent; /* of these, whose bytes had begun to go out */
	uint64_t dropped; /* later than drop_late_us */
	uint64_t unsent;
	uint64_t errors[RESULT_ERRORS];
	char detail[RESULT_ERRORS][ERROR_DETAIL]; /* what the first of them was, in a library's words;
						   * "": nothing is known beyond the name */
	uint64_t status[STATUS_CODES]; /* their sum is sent */
	uint64_t late;		       /* began more than 1 ms after they were due */
	uint64_t waited;	       /* found every connection busy when they were due */
	uint64_t retried;	       /* met a stale connection and went out again */
	uint64_t connections;	       /* opened */
	uint64_t bytes_out, bytes_in;  /* on the wire, above TLS */
	uint64_t unsaid; /* of sent, whose end was a TLS connection's without close_notify */
	uint64_t capped;	       /* of sent, whose result has only a part of the body */
	unsigned in_flight;	       /* now */
	int64_t start_us;	       /* us since 1970 of offset 0; 0: not yet */
	int64_t elapsed_us;	       /* since then */
	struct histogram service;      /* ns from the first byte sent to the last of the answer */
	struct histogram latency;      /* ns from when it was due to the last byte of the answer */
};

/* sum += stats, for engines that share one start. */
void replay_stats_add(struct replay_stats *sum, const struct replay_stats *stats);

/* Where shots come from, in the order of their offsets. Called from the loop, must not block. */
struct shot_feed {
	/* 1: *ret is moved to the caller. 0: the end. SC_EAGAIN: nothing now. Otherwise an error.
	 */
	int (*next)(struct shot_feed *f, struct shot **ret, struct err *err);
	/* A shot that is over goes back to who made it. NULL: shot_free(). */
	void (*done)(struct shot_feed *f, struct shot *shot);
	/* An eventfd that is written to when an empty feed has something again; 0: there is none, and
	 * it is asked every millisecond. */
	int wake_fd;
};

struct replay_options {
	const struct target_url *target;
	/* As fast as the target answers: a shot is due when its turn comes, and its offset means
	 * nothing. Otherwise it is due at the start + its offset, whatever became of the others. */
	bool closed_loop;
	unsigned connections; /* most open at once, 1 .. LIMIT_CONNECTIONS; one request in flight
				 each */
	int64_t timeout_us; /* to connect, and from the first byte sent to the last of the answer */
	int64_t duration_us;  /* nothing begins this long after the start; 0: no end */
	int64_t drop_late_us; /* what could not begin this soon after it was due is counted and left
				 out; 0: everything is sent */
	struct replay_start *start; /* of several engines together, borrowed; NULL: its own */
	struct body_room *room; /* for the bodies of answers that arrive, of several engines together,
				 * borrowed; NULL: its own */
	bool ordered;	    /* requests of one recorded connection stay on one, in order */
	enum save_answers {
		SAVE_ANSWERS_NONE,   /* no results are made at all, only statistics */
		SAVE_ANSWERS_STATUS, /* results whose messages have a status and a size */
		SAVE_ANSWERS_FULL,
	} save;
	const struct connect_options *connect; /* NULL: the plain way; replay/connect.h */
	/* Addresses that no byte of a request may go to; borrowed. */
	const struct addr *origins;
	size_t n_origins;
	/* Asked at least ten times a second; once true, nothing more is begun and what is in flight
	 * is waited for. NULL: never. */
	bool (*stop)(void *arg);
	/* Asked as often from then on; once true, what is in flight fails as RESULT_ERROR_STOPPED.
	 * NULL: never. */
	bool (*hurry)(void *arg);
	/* Called about ten times a second. NULL: never. */
	void (*progress)(void *arg, const struct replay_stats *stats);
	void *arg; /* of all three */
};

/* Runs to the end of the feed, or of its time; what is left in the feed then is the caller's.
 * Connections that are known to be wanted soon are opened before they are. Results are moved into
 * `sink` (may be NULL; only put and tick are called). *ret_stats is filled in as far as it went,
 * also on an error: SC_EINVAL for a target that is one of the origins, SC_ENOMEM, SC_EIO, or what
 * feed or sink said. A target that fails is no error. */
int replay_run(const struct replay_options *options, struct shot_feed *feed,
	       struct result_sink *sink, struct replay_stats *ret_stats, struct err *err);

#endif
