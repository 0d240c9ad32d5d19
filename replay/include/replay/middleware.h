/* SPDX-License-Identifier: Apache-2.0 */
/* A child process that sees each request before it goes out and may change or drop it: GoReplay's
 * middlewares, as they are. Moves bytes both ways and never waits for one pipe while the other is
 * full; starts no thread and reads no clock. A child that ends, stalls or babbles is an error with
 * a line for the person; what it writes that is no record is counted.
 *
 * One thread at a time. Every request that was put comes out of middleware_next() exactly once. */
#ifndef REPLAY_MIDDLEWARE_H
#define REPLAY_MIDDLEWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/exchange.h"
#include "core/span.h"
#include "replay/record.h"

struct middleware;

struct middleware_stats {
	uint64_t requests, responses; /* records put */
	uint64_t answered;
	uint64_t unanswered; /* read and not answered in time, or not before its end */
	uint64_t garbage;    /* lines that are no record */
	uint64_t strays; /* answers to no request that waits: late, a second one, a changed id */
	bool killed;	 /* it did not end by itself */
	int status;	 /* as of waitpid(); -1 until it has ended */
	char note[160];	 /* what was wrong with the first line of garbage; "" */
};

/* What became of a request. free() it. */
struct middleware_answer {
	struct middleware_answer *next;
	void *tag;
	bool answered; /* false: dropped, and there is no payload */
	size_t len;
	uint8_t payload[]; /* as the child wrote it */
};

/* Runs the command, split at spaces and looked for in PATH, in a process group of its own (^C is
 * ours alone), with pipes as its standard input and output, our standard error, and no other open
 * file. SC_EINVAL with the reason when it cannot be run, SC_EIO, SC_ENOMEM. */
int middleware_start(const char *command, struct middleware **ret, struct err *err);

/* Ends the child, if need be by SIGKILL to its group, and leaves no zombie; the statistics are
 * final then. Nothing may be put or pumped any more. */
void middleware_stop(struct middleware *mw);
/* Stops it first. NULL is fine. Tags of what middleware_next() has not handed out are not touched.
 */
void middleware_free(struct middleware *mw);

/* Whether there is room for more records: false until the child has read or answered some. */
bool middleware_ready(const struct middleware *mw);

/* `ex` gives addresses and time; the payload is copied. `tag` comes back with the answer. Sets
 * `id`, which the answers to this request carry. SC_EAGAIN when not ready, SC_EFULL for a record
 * over LIMIT_MIDDLEWARE_RECORD, SC_ENOMEM. */
int middleware_put_request(struct middleware *mw, const struct exchange *ex, struct span payload,
			   void *tag, char id[RECORD_ID + 1]);
/* The same errors. */
int middleware_put_response(struct middleware *mw, const struct record *r);

/* No more requests: a child that ends with nothing outstanding has done nothing wrong. */
void middleware_last(struct middleware *mw);
/* No more records: its input ends once it has read what there is. Implies middleware_last(). */
void middleware_close(struct middleware *mw);

/* Moves what can be moved, after waiting up to `wait_ns` for something to move, or until `wake_fd`
 * (-1: none) is readable. `now_us` is of any clock that never goes back, when the wait begins.
 *
 * SC_OK. SC_ECLOSED: its regular end. SC_EPROTO: it ended early, closed a pipe, read nothing for
 * 10 s, or wrote a line over the ceiling, and `err` says so; SC_ENOMEM, SC_EIO. After anything but
 * SC_OK all that was outstanding has been dropped, and nothing more may be put. */
int middleware_pump(struct middleware *mw, int64_t now_us, int64_t wait_ns, int wake_fd,
		    struct err *err);

/* Everything outstanding is dropped, and nothing more may be put. SC_ENOMEM. */
int middleware_give_up(struct middleware *mw);

/* The next request that was answered or dropped, moved; NULL: none now. */
struct middleware_answer *middleware_next(struct middleware *mw);

/* Requests neither answered nor dropped. */
unsigned middleware_outstanding(const struct middleware *mw);
/* Of these, those that it may just be about to answer: put in the last `within_us`, and nothing put
 * behind them was answered already. */
unsigned middleware_expected(struct middleware *mw, int64_t within_us);

const struct middleware_stats *middleware_stats(const struct middleware *mw);

#endif
