/* SPDX-License-Identifier: Apache-2.0 */
/* The exchanges of one connection: two directions of HTTP messages, matched.
 *
 * Answers come in the order of requests (RFC 9112, 9.3), so pairing is first in, first out. What can
 * break that is loss; then byte counts decide: an answer begins at or behind the point in the
 * response stream that its request's sender had acknowledged when it sent that request. */
#ifndef CAPTURE_PAIR_H
#define CAPTURE_PAIR_H

#include "core/counters.h"
#include "core/exchange.h"
#include "core/stage.h"
#include "http.h"

struct transaction; /* a request and what is known of its answer */

struct pair_shared {
	struct http_shared http;
	struct counters *counters;
	struct chain *early; /* asked when a request's head is complete; borrowed */
	struct transaction *spare; /* free list */
	unsigned n_spare;
	/* A request that is over, long before its exchange may be; borrowed. NULL: nobody asks. */
	void (*asked)(void *arg, struct exchange *ex);
	void *asked_arg;
	/* A finished exchange, moved. */
	void (*emit)(void *arg, struct exchange *ex);
	void *emit_arg;
	/* The connection `arg` of pair_chunk() has shown what it is. */
	void (*recognised)(void *arg, enum counter_id what);
};

struct pair {
	struct http dir[2];
	struct transaction *first, *last; /* without their answer, in order */
	struct transaction *answered;     /* whose response is being read */
	/* A response that came before its request, as a tap of two queues shows them: it acknowledges
	 * request bytes that had not been seen. It waits for them. Owned; NULL: none. */
	struct message *early;
	uint64_t early_from, early_to; /* its request begins in this range of the request stream */
	bool early_done;
	uint32_t n;
	uint32_t position; /* of the next request */
	uint32_t interim;  /* 1xx in a row */
	uint64_t seen[2];  /* stream bytes so far, gaps included */
	int64_t lost_from; /* response offset where a gap lost the place; -1: none */
	uint64_t connection;
	struct addr side[2];
};

/* SC_ENOMEM. */
int pair_shared_init(struct pair_shared *sh, struct counters *counters, struct chain *early,
		     size_t body_max);
void pair_shared_done(struct pair_shared *sh);

void pair_init(struct pair *p, const struct addr *a, const struct addr *b, uint64_t connection);

/* A chunk of direction dir (0: from side[0]). `peer`: what that side had acknowledged of the other
 * direction by then, as a stream offset; -1: not known. `arg` goes to recognised(). */
void pair_chunk(struct pair *p, struct pair_shared *sh, int dir, const struct chunk *c,
		int64_t peer, void *arg);

/* One direction is over; `clean` with its FIN. */
void pair_end(struct pair *p, struct pair_shared *sh, int dir, bool clean, void *arg);

/* The connection is over: everything that is left comes out. */
void pair_finish(struct pair *p, struct pair_shared *sh, void *arg);

#endif
