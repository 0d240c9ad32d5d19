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
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS (100 * NS_PER_MS)
#define TOGETHER_NS NS_PER_MS	       /* until the common start is looked for again */
#define FEED_WAIT_NS (200 * NS_PER_MS) /* a start waits this long for shots to be read ahead ... */
#define WARM_WAIT_NS NS_PER_S	       /* ... and in all this long for connections */
#define SPIN_NS (30 * NS_PER_US)       /* sleep ends about that late; the rest is waited for awake */
#define EVENTS 64u /* taken at once: few, so that the clock is looked at in between */

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

#define TAG_WAKE (UINT64_MAX - 1) /* of no slot: there are fewer */

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

/* The feed has something again. */
static void feed_event(struct engine *e)
{
	eventfd_t n;

	(void)eventfd_read(e->feed->wake_fd, &n);
	e->feed_at_ns = 0;
}

static void reap_connects(struct engine *e)
{
	CURLMsg *msg;
	int left;

	while (!e->rc && (msg = curl_multi_info_read(e->multi, &left))) {
		if (msg->msg == CURLMSG_DONE)
			slot_connected(e, conn_owner(msg->easy_handle), msg->data.result);
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

struct slot *slot_new(struct engine *e)
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

void shot_over(struct engine *e, struct shot *shot)
{
	if (e->feed->done)
		e->feed->done(e->feed, shot);
	else
		shot_free(shot);
}

bool shot_drop_late(struct engine *e, struct shot *shot, int64_t now)
{
	int64_t limit = e->options->drop_late_us * NS_PER_US;

	if (limit == 0 || e->options->closed_loop || now - shot->due_ns <= limit)
		return false;
	e->stats->dropped++;
	shot_over(e, shot);
	return true;
}

/* Moves the shot to its lane, and on from there if a slot is free. */
static void dispatch(struct engine *e, struct shot *shot)
{
	struct lane *l = e->common ? e->common : lanes_get(e->lanes, shot->connection);
	struct slot *s = NULL;
	bool connecting = false;

	if (!l) {
		shot_over(e, shot);
		give_up_memory(e);
		return;
	}
	lane_push(e->lanes, l, shot);
	if (l->slot != LANE_NO_SLOT) {
		s = &e->slots[l->slot];
		connecting = s->state == SLOT_CONNECTING;
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
	if (!e->options->closed_loop && !connecting)
		e->stats->waited++;
	if (!e->common && l->slot == LANE_NO_SLOT)
		lanes_wait(e->lanes, l);
}

static bool room_ahead(const struct engine *e)
{
	if (lanes_queued(e->lanes) >= LIMIT_READ_AHEAD)
		return false;
	return !e->options->closed_loop || slot_available(e);
}

/* What has not begun never will. */
static void stop(struct engine *e)
{
	e->stopping = true;
	e->stats->unsent += lanes_clear(e->lanes);
	e->stats->unsent += ahead_clear(e);
	for (uint32_t i = 0; i < e->n_slots; i++) {
		if (e->slots[i].state == SLOT_CONNECTING)
			slot_give_up_connecting(e, &e->slots[i]);
	}
}

/* Everything that is due goes to its lane. */
static void pull(struct engine *e, int64_t now)
{
	const struct replay_options *o = e->options;

	while (!e->rc && e->ahead.first && room_ahead(e)) {
		struct shot *shot = e->ahead.first;

		shot->due_ns = e->start_ns + (o->closed_loop ? 0 : shot->offset_ns);
		if (shot->due_ns > now && shot->due_ns > (now = now_ns()))
			return;
		if (shot->due_ns >= e->end_ns || now >= e->end_ns)
			return; /* turn() stops */
		ahead_pop(e);
		if (!shot_drop_late(e, shot, now))
			dispatch(e, shot);
	}
}

/* The clock of the schedule must not begin with handshakes: what the first second wants is opened
 * before, unless that takes too long. */
static void prepare(struct engine *e, int64_t now)
{
	/* What comes live is wanted now: it waits for nothing but its own connection. */
	bool live = e->feed->wake_fd > 0;
	bool filled = live || ahead_is_filled(e) || now >= e->born_ns + FEED_WAIT_NS;
	bool warm = live || e->n_connecting == 0 || now >= e->born_ns + WARM_WAIT_NS;
	int64_t at;

	if (!e->ready && (!filled || !warm))
		return;
	if (!e->ready)
		replay_start_ready(e->start);
	e->ready = true;
	at = replay_start_at(e->start, now, e->ahead.first);
	if (!at)
		return;
	e->begun = true;
	e->start_ns = at;
	if (e->options->duration_us)
		e->end_ns = at + e->options->duration_us * NS_PER_US;
	e->stats->start_us = wall_us(e, at);
}

static void expire(struct engine *e, int64_t now)
{
	struct slot *s;

	while ((s = TAILQ_FIRST(&e->busy)) &&
	       s->sent_ns + e->options->timeout_us * NS_PER_US <= now)
		slot_fail(e, s, RESULT_ERROR_TIMEOUT);
}

static void count_elapsed(struct engine *e, int64_t now)
{
	if (e->begun && now > e->start_ns)
		e->stats->elapsed_us = (now - e->start_ns) / NS_PER_US;
}

static void tick(struct engine *e, int64_t now)
{
	const struct replay_options *o = e->options;

	if (now < e->next_tick_ns)
		return;
	e->next_tick_ns = now + TICK_NS;
	count_elapsed(e, now);
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

/* When the next shot is due, for its own sake; NEVER where something else comes first. */
static int64_t next_due(const struct engine *e, int64_t now)
{
	if (!e->begun || !e->ahead.first || !room_ahead(e))
		return NEVER;
	if (e->options->closed_loop)
		return e->start_ns > now ? e->start_ns : now;
	return e->start_ns + e->ahead.first->offset_ns;
}

static int64_t wake_at(const struct engine *e)
{
	const struct slot *oldest = TAILQ_FIRST(&e->busy);
	int64_t at = earliest(e->next_tick_ns, e->curl_due_ns);

	if (oldest)
		at = earliest(at, oldest->sent_ns + e->options->timeout_us * NS_PER_US);
	if (!e->stopping)
		at = earliest(at, e->end_ns);
	if (!e->feed_ended && !e->stopping && !e->ahead.n &&
	    lanes_queued(e->lanes) < LIMIT_READ_AHEAD)
		at = earliest(at, e->feed_at_ns);
	if (!e->begun && !e->stopping && (e->feed->wake_fd <= 0 || e->ahead.n))
		at = earliest(at, now_ns() + TOGETHER_NS);
	return at;
}

/* Awake or asleep until then. */
static int wait_until(struct engine *e, struct epoll_event *events, int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
	int n = epoll_pwait2(e->epoll, events, EVENTS, &ts, NULL);

	if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
		n = epoll_wait(e->epoll, events, EVENTS, (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	return n;
}

/* Sleep ends some tens of us late. So the last of it before a request is due is spent awake, but
 * never more than half of all time: the processor may be the target's, too. */
static int wait_events(struct engine *e, struct epoll_event *events)
{
	int64_t now = now_ns();
	int64_t due = next_due(e, now), at = wake_at(e);
	bool may_spin = e->begun && 2 * e->spun_ns <= now - e->start_ns;
	int n;

	if (!may_spin || due == NEVER || due - now > SPIN_NS) {
		at = earliest(at, may_spin && due != NEVER ? due - SPIN_NS : due);
		return wait_until(e, events, at > now ? at - now : 0);
	}
	n = wait_until(e, events, 0);
	/* What took longer was another's turn on the processor. */
	e->spun_ns += earliest(now_ns() - now, SPIN_NS);
	return n;
}

/* What the clock says there is to do. False: nothing will ever be. */
static bool turn(struct engine *e, int64_t now)
{
	tick(e, now);
	expire(e, now);
	curl_tick(e, now);
	if (!e->stopping && now >= e->end_ns)
		stop(e);
	if (!e->stopping) {
		ahead_fill(e, now);
		ahead_warm(e, now);
		if (!e->begun)
			prepare(e, now);
		if (e->begun)
			pull(e, now);
	}
	if (e->rc)
		return false;
	if (e->stats->in_flight || lanes_queued(e->lanes))
		return true;
	return !e->stopping && (!e->feed_ended || e->ahead.first);
}

static void loop(struct engine *e)
{
	struct epoll_event events[EVENTS];
	int64_t now;

	while (turn(e, now = now_ns())) {
		int n = wait_events(e, events);

		for (int i = 0; i < n && !e->rc; i++) {
			uint64_t tag = events[i].data.u64;

			if (tag == TAG_WAKE)
				feed_event(e);
			else if (tag & 1)
				curl_event(e, (int)(tag >> 1), events[i].events);
			else
				slot_event(e, &e->slots[tag >> 1], events[i].events);
			if (!e->begun || e->stopping)
				continue;
			/* A slot came free, or time has passed. */
			if (e->ahead.first)
				pull(e, 0);
			ahead_fill_one(e, now);
		}
	}
}

static int engine_init(struct engine *e)
{
	const struct replay_options *o = e->options;

	TAILQ_INIT(&e->idle);
	TAILQ_INIT(&e->busy);
	e->curl_due_ns = e->end_ns = NEVER;
	e->born_ns = now_ns();
	e->wall_ns = clock_ns(CLOCK_REALTIME) - e->born_ns;
	replay_start_init(&e->own_start, 1);
	e->start = o->start ? o->start : &e->own_start;
	e->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll < 0)
		return err_set(e->err, SC_EIO, "epoll: %s", strerror(errno));
	if (e->feed->wake_fd > 0)
		watch(e->epoll, e->feed->wake_fd, EPOLLIN, TAG_WAKE);
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
	while (e->ahead.first)
		shot_free(ahead_pop(e));
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
	memset(ret_stats, 0, sizeof(*ret_stats));
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
	if (!e->ready) /* the others need not wait for it */
		replay_start_ready(e->start);
	count_elapsed(e, now_ns());
	prctl(PR_SET_TIMERSLACK, slack > 0 ? slack : 0);
	engine_done(e);
	pipe_restore(&quiet);
	curl_global_cleanup();
	free(e);
	return rc;
}
