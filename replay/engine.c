/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that sends. One request in flight on each connection; what is due and finds none free
 * waits in its lane. It never blocks but in epoll, never touches a disk, and a target that
 * misbehaves costs only the requests it misbehaves to. */
#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NEVER INT64_MAX
#define TICK_NS (100 * NS_PER_MS)
#define STARVED_NS NS_PER_MS /* until an empty feed is asked again */
#define EVENTS 64	     /* taken at once: few, so that the clock is looked at in between */

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void give_up(struct engine *e, int rc)
{
	if (!e->rc)
		e->rc = rc;
}

void give_up_memory(struct engine *e)
{
	if (!e->rc)
		e->rc = err_set(e->err, SC_ENOMEM, "out of memory");
}

/* An event that is about a descriptor libcurl connects with, as against a slot's. */
static uint64_t tag_curl(int fd)
{
	return (uint64_t)(unsigned)fd << 1 | 1;
}

void watch(int epoll, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &ev) && errno == ENOENT)
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* The very first connection is made before the clock starts. */
static void begin_schedule(struct engine *e)
{
	int64_t now = now_ns();

	if (e->begun)
		return;
	e->begun = true;
	schedule_init(&e->schedule, &e->options->pace, now);
	e->stats->start_us = wall_us(e, now);
	if (e->next)
		e->next->due_ns = schedule_due(&e->schedule, e->next->ts_us);
}

static void reap_connects(struct engine *e)
{
	CURLMsg *msg;
	int left;

	while (!e->rc && (msg = curl_multi_info_read(e->multi, &left))) {
		if (msg->msg == CURLMSG_DONE &&
		    slot_connected(e, conn_owner(msg->easy_handle), msg->data.result))
			begin_schedule(e);
	}
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	static const uint32_t events[] = {
		[CURL_POLL_IN] = EPOLLIN,
		[CURL_POLL_OUT] = EPOLLOUT,
		[CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT,
	};
	struct engine *e = arg;

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(e->epoll, EPOLL_CTL_DEL, fd, NULL);
	else
		watch(e->epoll, fd, events[what], tag_curl(fd));
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct engine *e = arg;

	(void)multi;
	e->curl_due_ns = timeout_ms < 0 ? NEVER : now_ns() + timeout_ms * NS_PER_MS;
	return 0;
}

static void curl_event(struct engine *e, int fd, uint32_t events)
{
	int mask = 0, running;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(e->multi, fd, mask, &running);
	reap_connects(e);
}

static void curl_tick(struct engine *e, int64_t now)
{
	int running;

	if (now < e->curl_due_ns)
		return;
	e->curl_due_ns = NEVER;
	curl_multi_socket_action(e->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap_connects(e);
}

static struct slot *slot_new(struct engine *e)
{
	struct slot *s;

	if (e->n_slots >= e->options->connections)
		return NULL;
	s = &e->slots[e->n_slots++];
	s->conn.fd = -1;
	return s;
}

/* A slot with nothing to do, in no list any more; NULL when all are busy. In order, a recorded
 * connection gets one of its own as long as there are any; otherwise the warmest one does. */
static struct slot *slot_free(struct engine *e)
{
	struct slot *s = e->common ? TAILQ_FIRST(&e->idle) : TAILQ_LAST(&e->idle, slot_list);

	if (!s || (!e->common && s->lane)) {
		struct slot *fresh = slot_new(e);

		if (fresh)
			return fresh;
	}
	if (!s)
		return NULL;
	TAILQ_REMOVE(&e->idle, s, link);
	if (s->lane)
		lanes_unbind(e->lanes, s->lane);
	s->lane = NULL;
	return s;
}

static bool slot_available(const struct engine *e)
{
	return !TAILQ_EMPTY(&e->idle) || e->n_slots < e->options->connections;
}

/* Moves the shot to its lane, and on from there if a slot is free. */
static void dispatch(struct engine *e, struct shot *shot)
{
	struct lane *l = e->common ? e->common : lanes_get(e->lanes, shot->connection);
	struct slot *s = NULL;

	if (!l) {
		shot_free(shot);
		give_up_memory(e);
		return;
	}
	lane_push(e->lanes, l, shot);
	if (l->slot != LANE_NO_SLOT) {
		s = &e->slots[l->slot];
		if (s->state == SLOT_IDLE)
			TAILQ_REMOVE(&e->idle, s, link);
		else
			s = NULL;
	} else if (!l->waiting && (s = slot_free(e)) && !e->common) {
		s->lane = l;
		l->slot = (uint32_t)(s - e->slots);
	}
	if (s) {
		slot_begin(e, s, lane_pop(e->lanes, l));
		return;
	}
	if (e->options->pace.kind != PACE_MAX)
		e->stats->waited++;
	if (!e->common && l->slot == LANE_NO_SLOT)
		lanes_wait(e->lanes, l);
}

/* True: e->next is the next shot. */
static bool fetch(struct engine *e)
{
	int rc;

	if (e->next)
		return true;
	if (e->feed_ended)
		return false;
	rc = e->feed->next(e->feed, &e->next, e->err);
	e->starved = rc == SC_EAGAIN;
	if (rc == 1) {
		e->stats->taken++;
		if (e->begun)
			e->next->due_ns = schedule_due(&e->schedule, e->next->ts_us);
		return true;
	}
	if (rc != SC_EAGAIN)
		e->feed_ended = true;
	if (rc < 0 && rc != SC_EAGAIN)
		give_up(e, rc);
	return false;
}

/* The first connection, before any time counts: the clock of the schedule must not begin with a
 * handshake, and the peer's address is looked at before there is anything to send. */
static void knock(struct engine *e)
{
	struct slot *s;

	if (e->n_slots > 0 || !fetch(e))
		return;
	s = slot_new(e);
	if (slot_connect(e, s))
		give_up_memory(e);
}

static bool room_ahead(const struct engine *e)
{
	if (lanes_queued(e->lanes) >= LIMIT_READ_AHEAD)
		return false;
	return e->options->pace.kind != PACE_MAX || slot_available(e);
}

/* Everything that is due goes to its lane. */
static void pull(struct engine *e)
{
	if (!e->begun) {
		knock(e);
		return;
	}
	while (!e->rc && room_ahead(e) && fetch(e)) {
		struct shot *shot = e->next;

		if (e->options->pace.kind != PACE_MAX && shot->due_ns > now_ns())
			return;
		e->next = NULL; /* moved */
		dispatch(e, shot);
	}
}

static void drop_next(struct engine *e)
{
	shot_free(e->next);
	e->next = NULL;
	e->stats->unsent++;
}

/* What has not begun never will. */
static void stop(struct engine *e)
{
	e->stopping = true;
	e->stats->unsent += lanes_clear(e->lanes);
	for (uint32_t i = 0; i < e->n_slots; i++) {
		struct slot *s = &e->slots[i];

		if (s->state != SLOT_CONNECTING)
			continue;
		slot_close(s);
		if (s->shot) {
			shot_free(s->shot);
			s->shot = NULL;
			e->stats->unsent++;
			e->stats->in_flight--;
		}
		slot_release(e, s);
	}
}

/* Shots that still come are counted, so that the account adds up. */
static void drain(struct engine *e)
{
	while (!e->rc && fetch(e))
		drop_next(e);
}

static void expire(struct engine *e, int64_t now)
{
	struct slot *s;

	while ((s = TAILQ_FIRST(&e->busy)) &&
	       s->sent_ns + e->options->timeout_us * NS_PER_US <= now)
		slot_fail(e, s, RESULT_ERROR_TIMEOUT);
}

static void tick(struct engine *e, int64_t now)
{
	const struct replay_options *o = e->options;

	if (now < e->next_tick_ns)
		return;
	e->next_tick_ns = now + TICK_NS;
	if (e->stats->start_us)
		e->stats->elapsed_us = wall_us(e, now) - e->stats->start_us;
	if (o->stop && !e->stopping && o->stop(o->arg))
		stop(e);
	if (o->progress)
		o->progress(o->arg, e->stats);
	if (e->sink && e->sink->ops->tick) {
		int rc = e->sink->ops->tick(e->sink, wall_us(e, now), e->err);

		if (rc)
			give_up(e, rc);
	}
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t wake_at(const struct engine *e, int64_t now)
{
	const struct slot *oldest = TAILQ_FIRST(&e->busy);
	int64_t at = earliest(e->next_tick_ns, e->curl_due_ns);

	if (oldest)
		at = earliest(at, oldest->sent_ns + e->options->timeout_us * NS_PER_US);
	if (e->next && e->begun && room_ahead(e))
		at = earliest(at, e->options->pace.kind == PACE_MAX ? now : e->next->due_ns);
	if (e->starved && !e->feed_ended)
		at = earliest(at, now + STARVED_NS);
	return at;
}

static int wait_events(struct engine *e, struct epoll_event *events)
{
	int64_t now = now_ns();
	int64_t ns = wake_at(e, now) - now;
	struct timespec ts;
	int n;

	if (ns < 0)
		ns = 0;
	ts.tv_sec = ns / NS_PER_S;
	ts.tv_nsec = ns % NS_PER_S;
	n = epoll_pwait2(e->epoll, events, EVENTS, &ts, NULL);
	if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
		n = epoll_wait(e->epoll, events, EVENTS, (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	return n;
}

static void loop(struct engine *e)
{
	struct epoll_event events[EVENTS];

	while (!e->rc) {
		int64_t now = now_ns();
		int n;

		tick(e, now);
		expire(e, now);
		curl_tick(e, now);
		if (e->stopping)
			drain(e);
		else
			pull(e);
		if (e->rc || (e->feed_ended && !e->next && !e->stats->in_flight &&
			      lanes_queued(e->lanes) == 0))
			return;
		n = wait_events(e, events);
		for (int i = 0; i < n && !e->rc; i++) {
			uint64_t tag = events[i].data.u64;

			if (tag & 1)
				curl_event(e, (int)(tag >> 1), events[i].events);
			else
				slot_event(e, &e->slots[tag >> 1], events[i].events);
			/* A slot came free, or time has passed. */
			if (!e->stopping)
				pull(e);
		}
	}
}

static int engine_init(struct engine *e)
{
	const struct replay_options *o = e->options;

	TAILQ_INIT(&e->idle);
	TAILQ_INIT(&e->busy);
	e->curl_due_ns = NEVER;
	e->wall_ns = clock_ns(CLOCK_REALTIME) - now_ns();
	e->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll < 0)
		return err_set(e->err, SC_EIO, "epoll: %s", strerror(errno));
	e->slots = calloc(o->connections, sizeof(*e->slots));
	e->lanes = lanes_new();
	e->multi = curl_multi_init();
	if (!e->slots || !e->lanes || !e->multi)
		return err_set(e->err, SC_ENOMEM, "out of memory");
	if (!o->ordered && !(e->common = lanes_get(e->lanes, 0)))
		return err_set(e->err, SC_ENOMEM, "out of memory");
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
	curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)o->connections + 1);
	return SC_OK;
}

static void engine_done(struct engine *e)
{
	for (uint32_t i = 0; i < e->n_slots; i++) {
		struct slot *s = &e->slots[i];

		conn_done(&s->conn);
		answer_free(s->answer);
		shot_free(s->shot);
	}
	if (e->multi)
		curl_multi_cleanup(e->multi);
	lanes_free(e->lanes);
	free(e->slots);
	shot_free(e->next);
	if (e->epoll >= 0)
		close(e->epoll);
}

/* A write to a closed connection is an error to us, not the end of the process. */
struct quiet_pipe {
	sigset_t pipe, before;
	bool was_pending;
};

static void pipe_quiet(struct quiet_pipe *q)
{
	sigset_t pending;

	sigemptyset(&q->pipe);
	sigaddset(&q->pipe, SIGPIPE);
	sigpending(&pending);
	q->was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &q->pipe, &q->before);
}

static void pipe_restore(struct quiet_pipe *q)
{
	static const struct timespec at_once = {0, 0};

	if (!q->was_pending) {
		while (sigtimedwait(&q->pipe, NULL, &at_once) == SIGPIPE)
			;
	}
	pthread_sigmask(SIG_SETMASK, &q->before, NULL);
}

int replay_run(const struct replay_options *options, struct shot_feed *feed,
	       struct result_sink *sink, struct replay_stats *ret_stats, struct err *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	struct quiet_pipe quiet;
	int slack;
	int rc;

	assert(options->connections >= 1 && options->connections <= LIMIT_CONNECTIONS);
	if (!e)
		return err_set(err, SC_ENOMEM, "out of memory");
	*ret_stats = (struct replay_stats){.taken = 0};
	e->options = options;
	e->feed = feed;
	e->sink = sink;
	e->stats = ret_stats;
	e->err = err;
	e->epoll = -1;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	pipe_quiet(&quiet);
	/* The kernel would round each wait up by 50 us. */
	slack = prctl(PR_GET_TIMERSLACK);
	prctl(PR_SET_TIMERSLACK, 1);
	rc = engine_init(e);
	if (!rc) {
		loop(e);
		rc = e->rc;
	}
	if (ret_stats->start_us)
		ret_stats->elapsed_us = wall_us(e, now_ns()) - ret_stats->start_us;
	prctl(PR_SET_TIMERSLACK, slack > 0 ? slack : 0);
	engine_done(e);
	pipe_restore(&quiet);
	curl_global_cleanup();
	free(e);
	return rc;
}
