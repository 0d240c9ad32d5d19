/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that sends over HTTP/2: libcurl's ordinary transfers, begun when they are due. Never
 * blocks but in epoll; a target that misbehaves costs only the requests it misbehaves to. */
#include "replay/h2.h"

#include <assert.h>
#include <stdlib.h>

#include "h2_flight.h"

#define EVENTS 64

/* Moves the shot to its lane, and on from there if there is room. */
static void dispatch(struct h2 *h, struct shot *shot)
{
	struct lane *l = h->loop.common ? h->loop.common : lanes_get(h->loop.lanes, shot->connection);
	struct flight *f = NULL;

	if (!l) {
		loop_shot_over(&h->loop, shot);
		loop_give_up_memory(&h->loop);
		return;
	}
	lane_push(h->loop.lanes, l, shot);
	if (h->loop.common || (l->slot == LANE_NO_SLOT && !l->waiting))
		f = flight_take(h);
	if (f) {
		f->lane = l;
		if (!h->loop.common)
			l->slot = flight_number(h, f);
		flight_begin(h, f, lane_pop(h->loop.lanes, l));
		return;
	}
	if (!h->loop.options->closed_loop)
		h->loop.stats->waited++;
	if (!h->loop.common && l->slot == LANE_NO_SLOT)
		lanes_wait(h->loop.lanes, l);
}

/* True: h->next is the next shot. */
static bool fetch(struct h2 *h, int64_t now)
{
	return h->next || loop_take(&h->loop, now, STARVED_NS, &h->next);
}

static bool room_ahead(const struct h2 *h)
{
	if (loop_is_full(&h->loop))
		return false;
	return !h->loop.options->closed_loop || !TAILQ_EMPTY(&h->idle) ||
	       h->n_flights < h->loop.options->connections;
}

/* The clock runs from when there is something to send; connections open on the way. */
static void pull(struct h2 *h, int64_t now)
{
	if (!h->loop.begun && !loop_begin(&h->loop, now, fetch(h, now)))
		return;
	if (now < h->loop.start_ns)
		return;
	while (!h->loop.rc && room_ahead(h) && fetch(h, now)) {
		struct shot *shot = h->next;

		if (!loop_is_due(&h->loop, shot, &now) || loop_has_ended(&h->loop, shot->due_ns) ||
		    loop_has_ended(&h->loop, now))
			return; /* turn() stops */
		h->next = NULL; /* moved */
		if (!loop_drop_late(&h->loop, shot, now))
			dispatch(h, shot);
	}
}

/* What has not begun never will; what waits for a connection has not. */
static void stop(struct h2 *h)
{
	h->loop.stopping = true;
	h->loop.stats->unsent += lanes_clear(h->loop.lanes);
	if (h->next) {
		loop_shot_over(&h->loop, h->next);
		h->next = NULL;
		h->loop.stats->unsent++;
	}
	for (uint32_t i = 0; i < h->n_flights; i++) {
		struct flight *f = &h->flights[i];

		if (f->shot && !f->sent_ns)
			flight_cancel(f);
	}
}

static void expire(struct h2 *h, int64_t now)
{
	struct flight *f;

	while (loop_hurries(&h->loop) && (f = TAILQ_FIRST(&h->sent)))
		flight_end(f, RESULT_ERROR_STOPPED);
	while ((f = TAILQ_FIRST(&h->sent)) &&
	       f->sent_ns + h->loop.options->timeout_us * NS_PER_US <= now)
		flight_end(f, RESULT_ERROR_TIMEOUT);
}

static int64_t wake_at(const struct h2 *h, int64_t now)
{
	const struct flight *oldest = TAILQ_FIRST(&h->sent);
	int64_t at = loop_wake_at(&h->loop);

	if (oldest)
		at = earliest(at, oldest->sent_ns + h->loop.options->timeout_us * NS_PER_US);
	if (h->loop.stopping)
		return at;
	if (h->loop.begun && h->next && room_ahead(h))
		return earliest(at, h->loop.start_ns +
					    (h->loop.options->closed_loop ? 0 : h->next->offset_ns));
	if (!h->next && !h->loop.feed_ended && !loop_is_full(&h->loop))
		return earliest(at, h->loop.feed_at_ns);
	return h->loop.begun ? at : earliest(at, now + STARVED_NS);
}

/* What the clock says there is to do. False: nothing will ever be. */
static bool turn(struct h2 *h, int64_t now)
{
	if (loop_tick(&h->loop, now))
		stop(h);
	expire(h, now);
	loop_curl_tick(&h->loop, now);
	if (!h->loop.stopping && loop_has_ended(&h->loop, now))
		stop(h);
	if (!h->loop.stopping)
		pull(h, now);
	if (h->loop.rc)
		return false;
	if (h->loop.stats->in_flight || lanes_queued(h->loop.lanes))
		return true;
	return !h->loop.stopping && (!h->loop.feed_ended || h->next);
}

static void loop(struct h2 *h)
{
	struct epoll_event events[EVENTS];

	while (turn(h, now_ns())) {
		int64_t now = now_ns();
		int64_t at = wake_at(h, now);
		int n = loop_wait(&h->loop, events, EVENTS, at > now ? at - now : 0);

		for (int i = 0; i < n && !h->loop.rc; i++)
			(void)loop_event(&h->loop, &events[i]); /* there are no others */
	}
}

static void curl_over(struct loop *l, void *owner, CURLcode code)
{
	(void)l;
	flight_over(owner, code);
}

static int h2_init(struct h2 *h)
{
	TAILQ_INIT(&h->idle);
	TAILQ_INIT(&h->sent);
	h->flights = calloc(h->loop.options->connections, sizeof(*h->flights));
	if (!h->flights)
		return err_set(h->loop.err, SC_ENOMEM, "out of memory");
	return SC_OK;
}

static void h2_done(struct h2 *h)
{
	for (uint32_t i = 0; i < h->n_flights; i++)
		flight_done(&h->flights[i]);
	loop_done(&h->loop);
	free(h->flights);
	shot_free(h->next);
}

int replay_run_h2(const struct replay_options *options, struct shot_feed *feed,
		  struct result_sink *sink, struct replay_stats *ret_stats, struct err *err)
{
	struct h2 h = {
		.loop = {
			.options = options,
			.feed = feed,
			.sink = sink,
			.stats = ret_stats,
			.err = err,
			.curl_over = curl_over,
		},
	};
	int rc;

	assert(options->connections >= 1 && options->connections <= LIMIT_CONNECTIONS);
	*ret_stats = (struct replay_stats){.taken = 0};
	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = loop_init(&h.loop);
	replay_start_ready(h.loop.start);
	if (!rc)
		rc = h2_init(&h);
	if (!rc) {
		loop(&h);
		rc = h.loop.rc;
	}
	loop_count_elapsed(&h.loop, now_ns());
	h2_done(&h);
	curl_global_cleanup();
	return rc;
}
