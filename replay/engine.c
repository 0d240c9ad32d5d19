/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that sends. One request in flight on each connection; what is due and finds none free
 * waits in its lane. It never blocks but in epoll, never touches a disk, and a target that
 * misbehaves costs only the requests it misbehaves to. */
#include "engine.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define TOGETHER_NS NS_PER_MS	       /* until the common start is looked for again */
#define FEED_WAIT_NS (200 * NS_PER_MS) /* a start waits this long for shots to be read ahead ... */
#define WARM_WAIT_NS NS_PER_S	       /* ... and in all this long for connections */
#define SPIN_NS (30 * NS_PER_US)       /* sleep ends about that late; the rest is waited for awake */
#define EVENTS 32u /* taken at once: few, so that the clock is looked at in between */

struct slot *slot_new(struct engine *e)
{
	struct slot *s;

	if (e->n_slots >= e->loop.options->connections)
		return NULL;
	s = &e->slots[e->n_slots++];
	s->conn.fd = -1;
	return s;
}

/* A slot with nothing to do, in no list any more; NULL when all are busy. In order, a recorded
 * connection gets one of its own as long as there are any; otherwise the warmest one does. */
static struct slot *slot_free(struct engine *e)
{
	struct slot *s = e->loop.common ? TAILQ_FIRST(&e->idle) : TAILQ_LAST(&e->idle, slot_list);

	if (!s || (!e->loop.common && s->lane)) {
		struct slot *fresh = slot_new(e);

		if (fresh)
			return fresh;
	}
	if (!s)
		return NULL;
	TAILQ_REMOVE(&e->idle, s, link);
	if (s->lane)
		lanes_unbind(e->loop.lanes, s->lane);
	s->lane = NULL;
	return s;
}

static bool slot_available(const struct engine *e)
{
	return !TAILQ_EMPTY(&e->idle) || e->n_slots < e->loop.options->connections;
}

/* Moves the shot to its lane, and on from there if a slot is free. */
static void dispatch(struct engine *e, struct shot *shot)
{
	struct lane *l = e->loop.common ? e->loop.common : lanes_get(e->loop.lanes, shot->connection);
	struct slot *s = NULL;
	bool connecting = false;

	if (!l) {
		loop_shot_over(&e->loop, shot);
		loop_give_up_memory(&e->loop);
		return;
	}
	lane_push(e->loop.lanes, l, shot);
	if (l->slot != LANE_NO_SLOT) {
		s = &e->slots[l->slot];
		connecting = s->state == SLOT_CONNECTING;
		if (s->state == SLOT_IDLE)
			TAILQ_REMOVE(&e->idle, s, link);
		else
			s = NULL;
	} else if (!l->waiting && (s = slot_free(e)) && !e->loop.common) {
		s->lane = l;
		l->slot = slot_number(e, s);
	}
	if (s) {
		slot_begin(e, s, lane_pop(e->loop.lanes, l));
		return;
	}
	if (!e->loop.options->closed_loop && !connecting)
		e->loop.stats->waited++;
	if (!e->loop.common && l->slot == LANE_NO_SLOT)
		lanes_wait(e->loop.lanes, l);
}

static bool room_ahead(const struct engine *e)
{
	if (loop_is_full(&e->loop))
		return false;
	return !e->loop.options->closed_loop || slot_available(e);
}

/* What has not begun never will. */
static void stop(struct engine *e)
{
	e->loop.stopping = true;
	e->loop.stats->unsent += lanes_clear(e->loop.lanes);
	e->loop.stats->unsent += ahead_clear(e);
	for (uint32_t i = 0; i < e->n_slots; i++) {
		enum slot_state state = e->slots[i].state;

		if (state == SLOT_CONNECTING || state == SLOT_OUTGOING)
			slot_give_up(e, &e->slots[i]);
	}
}

/* Everything that is due goes to its lane. */
static void pull(struct engine *e, int64_t now)
{
	while (!e->loop.rc && e->ahead.first && room_ahead(e)) {
		struct shot *shot = e->ahead.first;

		if (!loop_is_due(&e->loop, shot, &now) || loop_has_ended(&e->loop, shot->due_ns) ||
		    loop_has_ended(&e->loop, now))
			return; /* turn() stops */
		ahead_pop(e);
		if (!loop_drop_late(&e->loop, shot, now))
			dispatch(e, shot);
	}
}

/* The clock of the schedule must not begin with handshakes: what the first second wants is opened
 * before, unless that takes too long. */
static void prepare(struct engine *e, int64_t now)
{
	/* What comes live is wanted now: it waits for nothing but its own connection. */
	bool live = e->loop.feed->wake_fd > 0;
	bool filled = live || ahead_is_filled(e) || now >= e->born_ns + FEED_WAIT_NS;
	bool warm = live || e->n_connecting == 0 || now >= e->born_ns + WARM_WAIT_NS;

	if (!e->ready && (!filled || !warm))
		return;
	if (!e->ready)
		replay_start_ready(e->loop.start);
	e->ready = true;
	loop_begin(&e->loop, now, e->ahead.first);
}

static void expire(struct engine *e, int64_t now)
{
	struct slot *s;

	while (loop_hurries(&e->loop) && (s = TAILQ_FIRST(&e->busy)))
		slot_fail(e, s, RESULT_ERROR_STOPPED);
	while ((s = TAILQ_FIRST(&e->busy)) &&
	       s->sent_ns + e->loop.options->timeout_us * NS_PER_US <= now)
		slot_fail(e, s, RESULT_ERROR_TIMEOUT);
	slots_decide(e, now);
}

/* When the next shot is due, for its own sake; NEVER where something else comes first. */
static int64_t next_due(const struct engine *e, int64_t now)
{
	if (!e->loop.begun || !e->ahead.first || !room_ahead(e))
		return NEVER;
	if (e->loop.options->closed_loop)
		return e->loop.start_ns > now ? e->loop.start_ns : now;
	return e->loop.start_ns + e->ahead.first->offset_ns;
}

static int64_t wake_at(const struct engine *e)
{
	const struct slot *oldest = TAILQ_FIRST(&e->busy);
	int64_t at = earliest(loop_wake_at(&e->loop), e->doubts_at_ns);

	if (oldest)
		at = earliest(at, oldest->sent_ns + e->loop.options->timeout_us * NS_PER_US);
	if (!e->loop.feed_ended && !e->loop.stopping && !e->ahead.n && !loop_is_full(&e->loop))
		at = earliest(at, e->loop.feed_at_ns);
	if (!e->loop.begun && !e->loop.stopping && (e->loop.feed->wake_fd <= 0 || e->ahead.n))
		at = earliest(at, now_ns() + TOGETHER_NS);
	return at;
}

/* Sleep ends some tens of us late. So the last of it before a request is due is spent awake, but
 * never more than half of all time: the processor may be the target's, too. */
static int wait_events(struct engine *e, struct epoll_event *events)
{
	int64_t now = now_ns();
	int64_t due = next_due(e, now), at = wake_at(e);
	bool may_spin = e->loop.begun && 2 * e->spun_ns <= now - e->loop.start_ns;
	int n;

	if (!may_spin || due == NEVER || due - now > SPIN_NS) {
		at = earliest(at, may_spin && due != NEVER ? due - SPIN_NS : due);
		return loop_wait(&e->loop, events, EVENTS, at > now ? at - now : 0);
	}
	n = loop_wait(&e->loop, events, EVENTS, 0);
	/* What took longer was another's turn on the processor. */
	e->spun_ns += earliest(now_ns() - now, SPIN_NS);
	return n;
}

/* What the clock says there is to do. False: nothing will ever be. */
static bool turn(struct engine *e, int64_t now)
{
	if (loop_tick(&e->loop, now))
		stop(e);
	expire(e, now);
	loop_curl_tick(&e->loop, now);
	if (!e->loop.stopping && loop_has_ended(&e->loop, now))
		stop(e);
	if (!e->loop.stopping) {
		ahead_fill(e, now);
		ahead_warm(e, now);
		if (!e->loop.begun)
			prepare(e, now);
		if (e->loop.begun)
			pull(e, now);
	}
	if (e->loop.rc)
		return false;
	if (e->loop.stats->in_flight || lanes_queued(e->loop.lanes))
		return true;
	return !e->loop.stopping && (!e->loop.feed_ended || e->ahead.first);
}

static void loop(struct engine *e)
{
	struct epoll_event events[EVENTS];
	int64_t now;

	while (turn(e, now = now_ns())) {
		int n;

		slots_go_out(e);
		n = wait_events(e, events);
		for (int i = 0; i < n && !e->loop.rc; i++) {
			if (!loop_event(&e->loop, &events[i]))
				slot_event(e, &e->slots[events[i].data.u64 >> 1], events[i].events);
			if (!e->loop.begun || e->loop.stopping)
				continue;
			/* A slot came free, or time has passed. */
			if (e->ahead.first)
				pull(e, 0);
			ahead_fill_one(e, now);
		}
	}
}

static void curl_over(struct loop *l, void *owner, CURLcode code)
{
	slot_connected((struct engine *)l, owner, code);
}

static int engine_init(struct engine *e)
{
	TAILQ_INIT(&e->idle);
	TAILQ_INIT(&e->outgoing);
	e->doubts_at_ns = NEVER;
	TAILQ_INIT(&e->busy);
	e->born_ns = now_ns();
	e->slots = calloc(e->loop.options->connections, sizeof(*e->slots));
	if (!e->slots)
		return err_set(e->loop.err, SC_ENOMEM, "out of memory");
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
	loop_done(&e->loop);
	free(e->slots);
	while (e->ahead.first)
		shot_free(ahead_pop(e));
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
	e->loop = (struct loop){
		.options = options,
		.feed = feed,
		.sink = sink,
		.stats = ret_stats,
		.err = err,
		.curl_over = curl_over,
	};
	curl_global_init(CURL_GLOBAL_DEFAULT);
	pipe_quiet(&quiet);
	/* The kernel would round each wait up by 50 us. */
	slack = prctl(PR_GET_TIMERSLACK);
	prctl(PR_SET_TIMERSLACK, 1);
	rc = loop_init(&e->loop);
	if (!rc)
		rc = engine_init(e);
	if (!rc) {
		loop(e);
		rc = e->loop.rc;
	}
	if (!e->ready) /* the others need not wait for it */
		replay_start_ready(e->loop.start);
	loop_count_elapsed(&e->loop, now_ns());
	prctl(PR_SET_TIMERSLACK, slack > 0 ? slack : 0);
	engine_done(e);
	pipe_restore(&quiet);
	curl_global_cleanup();
	free(e);
	return rc;
}
