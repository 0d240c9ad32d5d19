/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of sending over HTTP/2 share: h2_flight.c takes one request there and its
 * answer back, h2.c decides which and when. */
#ifndef REPLAY_H2_FLIGHT_H
#define REPLAY_H2_FLIGHT_H

#include <sys/queue.h>

#include "conn.h"
#include "h2_message.h"
#include "loop.h"

/* One request on its way. */
struct flight {
	struct h2 *h;
	CURL *easy;
	struct conn_way way;
	struct lane *lane; /* bound to it; NULL when free */
	struct shot *shot; /* owned; NULL when free */
	struct h2_request request;
	struct h2_answer answer;
	TAILQ_ENTRY(flight) link; /* in `idle`, or in `sent` */
	int64_t sent_ns;	  /* 0: not yet */
	int64_t first_ns;
	unsigned tries;		 /* how often libcurl began to send it */
	enum result_error error; /* what we found wrong with it ourselves */
	char said[CURL_ERROR_SIZE]; /* of that, or of what libcurl found, more than its name */
	bool no_memory;
	bool opens;   /* it goes out on a connection of its own */
	bool unasked; /* it was not to, and got one all the same */
};
TAILQ_HEAD(flight_list, flight);

struct h2 {
	struct loop loop; /* first */
	struct flight *flights;
	uint32_t n_flights; /* used so far */
	struct flight_list idle;
	struct flight_list sent; /* in order of sent_ns, hence of their time-outs */
	struct shot *next;	 /* taken from the feed and not due yet; owned */
};

static inline uint32_t flight_number(const struct h2 *h, const struct flight *f)
{
	return (uint32_t)(f - h->flights);
}

/* A free one, bound to nothing. NULL: all are on their way, or no memory, which is given up for. */
struct flight *flight_take(struct h2 *h);
void flight_done(struct flight *f);

/* Begins a request; the flight is in no list, `shot` is moved into it. */
void flight_begin(struct h2 *h, struct flight *f, struct shot *shot);
/* libcurl is done with it. */
void flight_over(struct flight *f, CURLcode code);
/* It ends, whatever libcurl does. */
void flight_end(struct flight *f, enum result_error error);
/* It never began: the shot goes back. */
void flight_cancel(struct flight *f);

#endif
