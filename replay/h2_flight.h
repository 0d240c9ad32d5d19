/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of sending over HTTP/2 share: h2_flight.c takes one request there and its
 * answer back, h2.c decides which and when. */
#ifndef REPLAY_H2_FLIGHT_H
#define REPLAY_H2_FLIGHT_H

#include <sys/queue.h>

#include "engine.h"
#include "h2_message.h"

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
	bool no_memory;
	bool opens;   /* it goes out on a connection of its own */
	bool unasked; /* it was not to, and got one all the same */
};
TAILQ_HEAD(flight_list, flight);

struct h2 {
	const struct replay_options *options;
	struct shot_feed *feed;
	struct result_sink *sink;
	struct replay_stats *stats;
	struct err *err;
	int rc; /* why the run ends early */

	CURLM *multi;
	int epoll;
	int64_t curl_due_ns;
	struct flight *flights;
	uint32_t n_flights; /* used so far */
	struct flight_list idle;
	struct flight_list sent; /* in order of sent_ns, hence of their time-outs */
	struct lanes *lanes;
	struct lane *common; /* of all shots, when no order is kept */

	struct shot *next; /* taken from the feed and not due yet; owned */
	bool feed_ended;
	int64_t feed_at_ns; /* the feed had nothing, and is asked again then */
	struct replay_start own_start;
	struct replay_start *start;
	bool begun, stopping;
	int64_t start_ns, end_ns;
	int64_t next_tick_ns;
	int64_t wall_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
};

static inline int64_t h2_wall_us(const struct h2 *h, int64_t ns)
{
	return (ns + h->wall_ns) / NS_PER_US;
}

/* The run ends with this, unless something else ended it before. */
void h2_give_up(struct h2 *h, int rc);
void h2_give_up_memory(struct h2 *h);

/* Back to who made it. */
void h2_shot_over(struct h2 *h, struct shot *shot);

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
