/* SPDX-License-Identifier: Apache-2.0 */
/* The stage between a run's reader and its workers where there is a middleware: one thread with one
 * child. Each request goes through the child when it is due, not before, since what the child makes
 * of it may depend on what the target has answered until then; recorded and replayed answers go to
 * the child as well.
 *
 *     reader --errands--> relay --shots--> worker --results--> writer
 *                           ^------------ answers -----------------'
 *
 * Every errand that is taken is counted in exactly one place:
 * taken = sent (handed on) + dropped (by the middleware) + held back + skipped (by reason). */
#ifndef CLI_RELAY_H
#define CLI_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/exchange.h"
#include "core/queue.h"
#include "replay/middleware.h"
#include "replay/shot.h"
#include "replay/start.h"

/* A request on its way to the child. */
struct errand {
	struct node node;    /* first */
	struct exchange *ex; /* owned; its response, if it has one, goes to the child as well */
	int64_t offset_ns, due_ns; /* as of struct shot; due_ns is the relay's */
	uint32_t pass;
	unsigned out;		/* which queue its shot goes to */
	char id[RECORD_ID + 1]; /* the relay's */
};

/* Moves ex on success only. SC_ENOMEM. */
int errand_new(struct exchange *ex, struct errand **ret);
void errand_free(struct errand *e);    /* NULL is fine */
void errand_drop(struct node *errand); /* for queue_free() */
static inline size_t errand_footprint(const struct errand *e)
{
	return sizeof(*e) + exchange_footprint(e->ex);
}

struct relay_options {
	const char *marker;  /* of shots; borrowed, as all pointers here */
	struct queue *in;    /* of errands */
	struct queue **outs; /* of shots; the relay is their producer, frees what comes back, and
			      * closes them in the end */
	unsigned n_outs;
	/* A request goes to the child only once the one before it on its recorded connection has been
	 * answered by the target, and the child has that answer. Otherwise a child that maps what
	 * answers hold (tokens) would see it too early where a run is faster than the recording. */
	bool ordered;
	/* What may be sent, of the child's own requests, too. NULL: everything. */
	bool (*may_send)(const char *methods, struct span method);
	const char *methods;
	bool closed_loop; /* no due times: at most `connections` are between here and an answer */
	unsigned connections;
	struct replay_start *start; /* when offset 0 is, where it is no closed loop */
	bool (*stop)(void *arg);    /* NULL: never; asked at least ten times a second */
	void *arg;
};

struct relay_stats {
	uint64_t taken;
	uint64_t sent;
	uint64_t dropped; /* the child did not answer, or with what is no request */
	uint64_t held_back; /* what the child made of it is of a method that is not sent */
	uint64_t skipped[SKIPS];
	uint64_t no_requests;  /* of the dropped: answered with something else */
	uint64_t answers;      /* of the target, that the child was given */
	uint64_t answers_lost; /* it was not, since it reads too slowly or has ended */
	struct middleware_stats middleware;
};

struct relay;

/* Runs the child. SC_EINVAL when that cannot be done, SC_EIO, SC_ENOMEM. */
int relay_new(const char *command, struct relay **ret, struct err *err);
/* Starts the thread, once; relay_end() ends it. SC_EIO. */
int relay_start(struct relay *r, const struct relay_options *options, struct err *err);
/* For one that was not started. NULL is fine. */
void relay_free(struct relay *r);

/* What a shot came to, errors too: for each one, by any thread. Never waits: what the child has no
 * room for is counted as lost. `result` is only borrowed. */
void relay_response(struct relay *r, const struct result *result);

/* No more responses: waits for the thread and the child's end, which is bounded, and frees all but
 * the queues. The thread ends early when workers give their queues up. SC_EPROTO, SC_ENOMEM or
 * SC_EIO when the child has not lived up to what is expected of it; *ret is set then, too. */
int relay_end(struct relay *r, struct relay_stats *ret, struct err *err);

#endif
