/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that sends over HTTP/2: libcurl's ordinary transfers, begun when they are due. Never
 * blocks but in epoll; a target that misbehaves costs only the requests it misbehaves to. */
#include "replay/h2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "h2_flight.h"

#define TICK_NS (100 * NS_PER_MS)
#define STARVED_NS NS_PER_MS /* until an empty feed is asked again */
#define WOKEN_NS (100 * NS_PER_MS) /* ... where something else wakes us */
#define EVENTS 64
#define TAG_WAKE UINT64_MAX /* of no descriptor */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	static const uint32_t events[] = {
		[CURL_POLL_IN] = EPOLLIN,
		[CURL_POLL_OUT] = EPOLLOUT,
		[CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT,
	};
	struct h2 *h = arg;

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
	else
		watch(h->epoll, fd, events[what], (uint64_t)(unsigned)fd);
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct h2 *h = arg;

	(void)multi;
	h->curl_due_ns = timeout_ms < 0 ? NEVER : now_ns() + timeout_ms * NS_PER_MS;
	return 0;
}

static bool drop_late(struct h2 *h, struct shot *shot, int64_t now)
{
	int64_t limit = h->options->drop_late_us * NS_PER_US;

	if (limit == 0 || h->options->closed_loop || now - shot->due_ns <= limit)
		return false;
	h->stats->dropped++;
	h2_shot_over(h, shot);
	return true;
}

/* Moves the shot to its lane, and on from there if there is room. */
static void dispatch(struct h2 *h, struct shot *shot)
{
	struct lane *l = h->common ? h->common : lanes_get(h->lanes, shot->connection);
	struct flight *f = NULL;

	if (!l) {
		h2_shot_over(h, shot);
		h2_give_up_memory(h);
		return;
	}
	lane_push(h->lanes, l, shot);
	if (h->common || (l->slot == LANE_NO_SLOT && !l->waiting))
		f = flight_take(h);
	if (f) {
		f->lane = l;
		if (!h->common)
			l->slot = (uint32_t)(f - h->flights);
		flight_begin(h, f, lane_pop(h->lanes, l));
		return;
	}
	if (!h->options->closed_loop)
		h->stats->waited++;
	if (!h->common && l->slot == LANE_NO_SLOT)
		lanes_wait(h->lanes, l);
}

/* True: h->next is the next shot. */
static bool fetch(struct h2 *h, int64_t now)
{
	int rc;

	if (h->next)
		return true;
	if (h->feed_ended || now < h->feed_at_ns)
		return false;
	rc = h->feed->next(h->feed, &h->next, h->err);
	if (rc == 1) {
		h->stats->taken++;
		return true;
	}
	if (rc == SC_EAGAIN) {
		h->feed_at_ns = now + (h->feed->wake_fd > 0 ? WOKEN_NS : STARVED_NS);
		return false;
	}
	h->feed_ended = true;
	if (rc < 0)
		h2_give_up(h, rc);
	return false;
}

static bool room_ahead(const struct h2 *h)
{
	if (lanes_queued(h->lanes) >= LIMIT_READ_AHEAD)
		return false;
	return !h->options->closed_loop || !TAILQ_EMPTY(&h->idle) ||
	       h->n_flights < h->options->connections;
}

/* The clock runs from when there is something to send; connections open on the way. */
static bool begin(struct h2 *h, int64_t now)
{
	if (h->begun)
		return true;
	h->start_ns = replay_start_at(h->start, now, fetch(h, now));
	if (!h->start_ns)
		return false;
	h->begun = true;
	if (h->options->duration_us)
		h->end_ns = h->start_ns + h->options->duration_us * NS_PER_US;
	h->stats->start_us = h2_wall_us(h, h->start_ns);
	return true;
}

static void pull(struct h2 *h, int64_t now)
{
	if (!begin(h, now) || now < h->start_ns)
		return;
	while (!h->rc && room_ahead(h) && fetch(h, now)) {
		struct shot *shot = h->next;

		shot->due_ns = h->start_ns + (h->options->closed_loop ? 0 : shot->offset_ns);
		if (shot->due_ns > now && shot->due_ns > (now = now_ns()))
			return;
		if (shot->due_ns >= h->end_ns || now >= h->end_ns)
			return; /* turn() stops */
		h->next = NULL; /* moved */
		if (!drop_late(h, shot, now))
			dispatch(h, shot);
	}
}

/* What has not begun never will; what waits for a connection has not. */
static void stop(struct h2 *h)
{
	h->stopping = true;
	h->stats->unsent += lanes_clear(h->lanes);
	if (h->next) {
		h2_shot_over(h, h->next);
		h->next = NULL;
		h->stats->unsent++;
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

	while ((f = TAILQ_FIRST(&h->sent)) &&
	       f->sent_ns + h->options->timeout_us * NS_PER_US <= now)
		flight_end(f, RESULT_ERROR_TIMEOUT);
}

static void tick(struct h2 *h, int64_t now)
{
	const struct replay_options *o = h->options;

	if (now < h->next_tick_ns)
		return;
	h->next_tick_ns = now + TICK_NS;
	if (h->begun && now > h->start_ns)
		h->stats->elapsed_us = (now - h->start_ns) / NS_PER_US;
	if (o->stop && !h->stopping && o->stop(o->arg))
		stop(h);
	if (o->progress)
		o->progress(o->arg, h->stats);
	if (h->sink && h->sink->ops->tick) {
		int rc = h->sink->ops->tick(h->sink, h2_wall_us(h, now), h->err);

		if (rc)
			h2_give_up(h, rc);
	}
}

static void reap(struct h2 *h)
{
	CURLMsg *msg;
	int left;

	while (!h->rc && (msg = curl_multi_info_read(h->multi, &left))) {
		CURLcode code = msg->data.result;

		if (msg->msg == CURLMSG_DONE)
			flight_over(conn_owner(msg->easy_handle), code);
	}
}

static void curl_act(struct h2 *h, curl_socket_t fd, uint32_t events)
{
	int mask = 0, running;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(h->multi, fd, mask, &running);
	reap(h);
}

/* The feed has something again. */
static void feed_event(struct h2 *h)
{
	eventfd_t n;

	(void)eventfd_read(h->feed->wake_fd, &n);
	h->feed_at_ns = 0;
}

static int64_t wake_at(const struct h2 *h, int64_t now)
{
	const struct flight *oldest = TAILQ_FIRST(&h->sent);
	int64_t at = h->next_tick_ns < h->curl_due_ns ? h->next_tick_ns : h->curl_due_ns;
	int64_t due = NEVER;

	if (oldest && oldest->sent_ns + h->options->timeout_us * NS_PER_US < at)
		at = oldest->sent_ns + h->options->timeout_us * NS_PER_US;
	if (h->stopping)
		return at;
	if (h->begun && h->next && room_ahead(h))
		due = h->start_ns + (h->options->closed_loop ? 0 : h->next->offset_ns);
	else if (!h->next && !h->feed_ended && lanes_queued(h->lanes) < LIMIT_READ_AHEAD)
		due = h->feed_at_ns;
	else if (!h->begun)
		due = now + STARVED_NS;
	if (h->end_ns < due)
		due = h->end_ns;
	return due < at ? due : at;
}

/* What the clock says there is to do. False: nothing will ever be. */
static bool turn(struct h2 *h, int64_t now)
{
	tick(h, now);
	expire(h, now);
	if (now >= h->curl_due_ns) {
		h->curl_due_ns = NEVER;
		curl_act(h, CURL_SOCKET_TIMEOUT, 0);
	}
	if (!h->stopping && now >= h->end_ns)
		stop(h);
	if (!h->stopping)
		pull(h, now);
	if (h->rc)
		return false;
	if (h->stats->in_flight || lanes_queued(h->lanes))
		return true;
	return !h->stopping && (!h->feed_ended || h->next);
}

static int wait_events(struct h2 *h, struct epoll_event *events)
{
	int64_t now = now_ns();
	int64_t ns = wake_at(h, now) - now;
	struct timespec ts;
	int n;

	if (ns < 0)
		ns = 0;
	ts.tv_sec = ns / NS_PER_S;
	ts.tv_nsec = ns % NS_PER_S;
	n = epoll_pwait2(h->epoll, events, EVENTS, &ts, NULL);
	if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
		n = epoll_wait(h->epoll, events, EVENTS, (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	return n;
}

static void loop(struct h2 *h)
{
	struct epoll_event events[EVENTS];

	while (turn(h, now_ns())) {
		int n = wait_events(h, events);

		for (int i = 0; i < n && !h->rc; i++) {
			if (events[i].data.u64 == TAG_WAKE)
				feed_event(h);
			else
				curl_act(h, (curl_socket_t)events[i].data.u64, events[i].events);
		}
	}
}

static int h2_init(struct h2 *h)
{
	const struct replay_options *o = h->options;
	struct timespec wall;

	TAILQ_INIT(&h->idle);
	TAILQ_INIT(&h->sent);
	h->curl_due_ns = h->end_ns = NEVER;
	clock_gettime(CLOCK_REALTIME, &wall);
	h->wall_ns = (int64_t)wall.tv_sec * NS_PER_S + wall.tv_nsec - now_ns();
	replay_start_init(&h->own_start, 1);
	h->start = o->start ? o->start : &h->own_start;
	replay_start_ready(h->start);
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->epoll < 0)
		return err_set(h->err, SC_EIO, "epoll: %s", strerror(errno));
	if (h->feed->wake_fd > 0)
		watch(h->epoll, h->feed->wake_fd, EPOLLIN, TAG_WAKE);
	h->flights = calloc(o->connections, sizeof(*h->flights));
	h->lanes = lanes_new();
	h->multi = curl_multi_init();
	if (!h->flights || !h->lanes || !h->multi)
		return err_set(h->err, SC_ENOMEM, "out of memory");
	if (!o->ordered && !(h->common = lanes_get(h->lanes, 0)))
		return err_set(h->err, SC_ENOMEM, "out of memory");
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)o->connections + 1);
	return SC_OK;
}

static void h2_done(struct h2 *h)
{
	for (uint32_t i = 0; i < h->n_flights; i++)
		flight_done(&h->flights[i]);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	lanes_free(h->lanes);
	free(h->flights);
	shot_free(h->next);
	if (h->epoll >= 0)
		close(h->epoll);
}

int replay_run_h2(const struct replay_options *options, struct shot_feed *feed,
		  struct result_sink *sink, struct replay_stats *ret_stats, struct err *err)
{
	struct h2 h = {
		.options = options,
		.feed = feed,
		.sink = sink,
		.stats = ret_stats,
		.err = err,
		.epoll = -1,
	};
	int rc;

	assert(options->connections >= 1 && options->connections <= LIMIT_CONNECTIONS);
	*ret_stats = (struct replay_stats){.taken = 0};
	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = h2_init(&h);
	if (!rc) {
		loop(&h);
		rc = h.rc;
	}
	if (h.begun && now_ns() > h.start_ns)
		ret_stats->elapsed_us = (now_ns() - h.start_ns) / NS_PER_US;
	h2_done(&h);
	curl_global_cleanup();
	return rc;
}
