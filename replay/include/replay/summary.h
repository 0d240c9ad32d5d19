/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay did, for a person and for a program. */
#ifndef REPLAY_SUMMARY_H
#define REPLAY_SUMMARY_H

#include "core/buf.h"
#include "replay/replay.h"

/* Every request that was read is in one of: stats->sent, stats->failed, held_back, skipped[]. */
struct account {
	uint64_t read;
	uint64_t held_back;		  /* of a method that --methods does not name */
	uint64_t skipped[SKIPS];	  /* by reason */
	const struct replay_stats *stats; /* its `unsent` is in skipped[SKIP_STOPPED] */
	int64_t run;			  /* the replay's number */
	const char *target;		  /* URL */
	const char *pace;		  /* as text: "recorded", "recorded x2", "500/s", "max" */
	bool stopped;			  /* by a person */
	uint64_t unkept; /* of the sent and failed, whose results could not be written */
	uint64_t capped; /* of the sent, whose bodies were to be kept and are not whole */
};

uint64_t account_skipped(const struct account *a);
/* Whether everything read is accounted for. */
bool account_adds_up(const struct account *a);

/* Of all that were tried, the percentage that was answered with a status below 400; 100 of none. */
double summary_success(const struct replay_stats *stats);
double summary_rate(const struct replay_stats *stats);	     /* requests sent a second */
double summary_throughput(const struct replay_stats *stats); /* successful answers a second */

/* Append. SC_EFULL, SC_ENOMEM. */
int summary_text(const struct account *a, struct buf *out);
int summary_json(const struct account *a, struct buf *out); /* one object, no newline */

struct progress {
	const struct replay_stats *stats;
	uint64_t total;	    /* requests that will be tried; 0: not known */
	int64_t planned_us; /* when the last of them is due, after the first; 0: not known, or as
			     * fast as they go */
};

/* One line, without a newline, of how far a replay is: sent, in flight, rate, late, errors,
 * latency, and what is left as far as that is known. SC_EFULL, SC_ENOMEM. */
int progress_line(const struct progress *p, struct buf *out);

/* "12.3 ms": four columns of digits whatever the magnitude. */
#define DURATION_TEXT 24
void duration_text(int64_t ns, char text[DURATION_TEXT]);

#endif
