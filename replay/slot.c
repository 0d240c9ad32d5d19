/* SPDX-License-Identifier: Apache-2.0 */
/* One request over one connection: out, its answer in, a result on. Decides nothing about which
 * request is next or when. */
#include <assert.h>
#include <sys/epoll.h>

#include "engine.h"

static void slot_read(struct engine *e, struct slot *s);

/* By edges, as else the kernel would look at each socket once more before it sleeps. So whoever
 * reads goes on to the end of what is there; the end of the stream tells by itself. */
static void slot_watch(struct engine *e, const struct slot *s, uint32_t out)
{
	watch(e->epoll, s->conn.fd, EPOLLIN | EPOLLRDHUP | EPOLLET | out, tag_slot(e, s));
}

static void slot_watch_out(struct engine *e, struct slot *s, bool out)
{
	if (s->watches_out == out)
		return;
	s->watches_out = out;
	slot_watch(e, s, out ? EPOLLOUT : 0);
}

void slot_close(struct slot *s)
{
	conn_close(&s->conn);
	s->watches_out = s->peer_ended = false;
}

static int deliver(struct engine *e, struct slot *s, int64_t end_ns, enum result_error error)
{
	struct result *r = result_new();
	int rc;

	if (!r)
		return err_set(e->err, SC_ENOMEM, "out of memory");
	r->exchange_id = s->shot->exchange_id;
	r->pass = s->shot->pass;
	r->due_us = wall_us(e, s->shot->due_ns);
	r->error = error;
	if (s->sent_ns)
		r->sent_us = wall_us(e, s->sent_ns);
	if (s->first_ns)
		r->ttfb_us = (s->first_ns - s->sent_ns) / NS_PER_US;
	if (error == RESULT_ERROR_NONE) {
		rc = answer_take(s->answer, &r->response);
		if (rc) {
			result_free(r);
			return err_set(e->err, rc, "out of memory");
		}
		r->duration_us = (end_ns - s->sent_ns) / NS_PER_US;
		r->latency_us = (end_ns - s->shot->due_ns) / NS_PER_US;
		r->response->first_us = wall_us(e, s->first_ns);
		r->response->last_us = wall_us(e, end_ns);
	}
	return e->sink->ops->put(e->sink, r, e->err);
}

static void count_end(struct engine *e, const struct slot *s, int64_t end_ns,
		      enum result_error error)
{
	struct replay_stats *st = e->stats;

	st->in_flight--;
	if (error != RESULT_ERROR_NONE) {
		st->failed++;
		st->failed_sent += s->sent_ns != 0;
		st->errors[error]++;
		return;
	}
	st->sent++;
	st->status[answer_status(s->answer) % STATUS_CODES]++;
	histogram_add(&st->service, end_ns - s->sent_ns);
	histogram_add(&st->latency, end_ns - s->shot->due_ns);
}

int slot_connect(struct engine *e, struct slot *s)
{
	int rc = SC_OK;

	if (!s->conn.easy)
		rc = conn_init(&s->conn, e->multi, e->options, s);
	if (!rc && !s->answer) {
		s->answer = answer_new(e->options->save == SAVE_ANSWERS_FULL ? ANSWER_KEEP_FULL
									     : ANSWER_KEEP_STATUS,
				       LIMIT_RESPONSE_BODY);
		rc = s->answer ? SC_OK : SC_ENOMEM;
	}
	if (!rc)
		rc = conn_open(&s->conn);
	if (!rc) {
		s->state = SLOT_CONNECTING;
		e->n_connecting++;
	}
	return rc;
}

static void slot_send(struct engine *e, struct slot *s)
{
	const struct shot *shot = s->shot;
	size_t n = 0;
	int rc = SC_OK;

	while (s->out < shot->len) {
		rc = conn_send(&s->conn, shot->bytes + s->out, shot->len - s->out, &n);
		if (rc)
			break;
		s->out += n;
		e->stats->bytes_out += n;
	}
	if (rc == SC_EIO) {
		/* The answer may have come before the connection went (413 and the like). */
		s->send_broke = true;
		slot_read(e, s);
		return;
	}
	slot_watch_out(e, s, rc == SC_EAGAIN);
}

/* The connection is open: the request's time begins. */
static void slot_fire(struct engine *e, struct slot *s, int64_t now)
{
	s->state = SLOT_BUSY;
	s->sent_ns = now;
	TAILQ_INSERT_TAIL(&e->busy, s, link);
	if (!s->shot->retried && !e->options->closed_loop &&
	    s->sent_ns - s->shot->due_ns > LATE_NS)
		e->stats->late++;
	answer_begin(s->answer, s->shot->head);
	slot_send(e, s);
}

void slot_begin(struct engine *e, struct slot *s, struct shot *shot)
{
	int64_t now;

	assert(!s->shot);
	s->shot = shot;
	s->out = 0;
	s->sent_ns = s->first_ns = 0;
	s->send_broke = false;
	s->reused = conn_is_open(&s->conn);
	e->stats->in_flight++;
	now = now_ns();
	if (e->options->closed_loop)
		shot->due_ns = now;
	if (s->reused)
		slot_fire(e, s, now);
	else if (slot_connect(e, s))
		give_up_memory(e);
}

/* The lane that the slot goes on with: its own, unless one that has no slot waits for something
 * that was due before. Where there are fewer connections than lanes, none is left out that way. */
static struct lane *lane_next(struct engine *e, struct slot *s)
{
	struct lane *own = e->common ? e->common : s->lane;
	struct lane *waiting = lanes_first_waiting(e->lanes);
	bool goes_on = own && own->first;

	if (!waiting || (goes_on && own->first->due_ns <= waiting->first->due_ns))
		return own;
	(void)lanes_next_waiting(e->lanes);
	if (own)
		lanes_unbind(e->lanes, own);
	if (goes_on)
		lanes_wait(e->lanes, own);
	s->lane = waiting;
	waiting->slot = (uint32_t)(s - e->slots);
	return waiting;
}

void slot_release(struct engine *e, struct slot *s)
{
	struct lane *l;
	struct shot *shot;

	s->state = SLOT_IDLE;
	while ((l = lane_next(e, s)) && (shot = lane_pop(e->lanes, l))) {
		if (e->options->drop_late_us && shot_drop_late(e, shot, now_ns()))
			continue;
		slot_begin(e, s, shot);
		return;
	}
	TAILQ_INSERT_HEAD(&e->idle, s, link);
}

static void slot_finish(struct engine *e, struct slot *s, int64_t end_ns, enum result_error error,
			bool keep)
{
	count_end(e, s, end_ns, error);
	if (e->sink && e->options->save != SAVE_ANSWERS_NONE) {
		int rc = deliver(e, s, end_ns, error);

		if (rc)
			give_up(e, rc);
	}
	if (s->state == SLOT_BUSY)
		TAILQ_REMOVE(&e->busy, s, link);
	if (!keep)
		slot_close(s);
	shot_over(e, s->shot);
	s->shot = NULL;
	slot_release(e, s);
}

static bool is_stale(const struct slot *s, enum result_error error)
{
	bool closed = error == RESULT_ERROR_EARLY_CLOSE || error == RESULT_ERROR_RESET ||
		      error == RESULT_ERROR_SEND;

	return closed && s->reused && !s->shot->retried && s->first_ns == 0;
}

void slot_fail(struct engine *e, struct slot *s, enum result_error error)
{
	/* A server closes idle connections at the moment we use one. Sending again is safe where
	 * the request changes nothing by being repeated, or where none of it has arrived (RFC
	 * 9112, 9.3.1). */
	if (is_stale(s, error) && !e->stopping &&
	    (s->shot->idempotent || conn_untaken(&s->conn, s->out))) {
		TAILQ_REMOVE(&e->busy, s, link);
		slot_close(s);
		s->shot->retried = true;
		s->reused = s->send_broke = false;
		s->out = 0;
		e->stats->retried++;
		if (slot_connect(e, s))
			give_up_memory(e);
		return;
	}
	slot_finish(e, s, now_ns(), error, false);
}

static enum result_error answer_error(enum answer_state state)
{
	switch (state) {
	case ANSWER_TOO_LARGE:
		return RESULT_ERROR_TOO_LARGE;
	case ANSWER_CUT:
		return RESULT_ERROR_CUT;
	default:
		return RESULT_ERROR_MALFORMED;
	}
}

/* True: the request is over, and the slot may be anything by now. */
static bool slot_take(struct engine *e, struct slot *s, size_t n)
{
	int64_t now = now_ns();
	enum answer_state state;
	size_t used;

	if (!s->first_ns)
		s->first_ns = now;
	e->stats->bytes_in += n;
	state = answer_feed(s->answer, e->in, n, &used);
	if (state == ANSWER_MORE)
		return false;
	if (state == ANSWER_NO_MEMORY)
		give_up_memory(e);
	if (state == ANSWER_DONE) {
		/* Bytes behind the answer belong to no request; a request that is not whole yet
		 * cannot be left behind either. */
		bool keep = answer_keeps_alive(s->answer) && !s->shot->closes && used == n &&
			    s->out == s->shot->len && !s->peer_ended;

		slot_finish(e, s, now, RESULT_ERROR_NONE, keep);
	} else {
		slot_finish(e, s, now, answer_error(state), false);
	}
	return true;
}

static void slot_hung_up(struct engine *e, struct slot *s, int rc)
{
	bool any = s->first_ns != 0;

	if (rc == SC_ECLOSED && any && answer_eof(s->answer) == ANSWER_DONE)
		slot_finish(e, s, now_ns(), RESULT_ERROR_NONE, false);
	else if (s->send_broke && !any)
		slot_fail(e, s, RESULT_ERROR_SEND);
	else if (rc == SC_ECLOSED)
		slot_fail(e, s, any ? RESULT_ERROR_CUT : RESULT_ERROR_EARLY_CLOSE);
	else
		slot_fail(e, s, rc == SC_EPROTO ? RESULT_ERROR_TLS : RESULT_ERROR_RESET);
}

static void slot_read(struct engine *e, struct slot *s)
{
	size_t n = 0;
	int rc;

	while ((rc = conn_recv(&s->conn, e->in, sizeof(e->in), &n)) == SC_OK) {
		if (slot_take(e, s, n))
			return;
		/* A short read has emptied the socket, and epoll tells of what comes after; but it
		 * has told of the stream's end already, and decrypted bytes may wait inside TLS. */
		if (n < sizeof(e->in) && !s->conn.tls && !s->send_broke && !s->peer_ended)
			return;
	}
	if (rc != SC_EAGAIN || s->send_broke)
		slot_hung_up(e, s, rc);
}

/* Between requests a server has nothing to say but that it closes. */
static void slot_idle_event(struct engine *e, struct slot *s)
{
	size_t n;

	if (conn_recv(&s->conn, e->in, sizeof(e->in), &n) != SC_EAGAIN)
		slot_close(s);
}

void slot_event(struct engine *e, struct slot *s, uint32_t events)
{
	if (!conn_is_open(&s->conn))
		return; /* closed since by an event of the same batch */
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->peer_ended = true;
	if (s->state == SLOT_IDLE) {
		slot_idle_event(e, s);
		return;
	}
	if (s->state != SLOT_BUSY)
		return;
	if ((events & EPOLLOUT) && s->watches_out) {
		const struct shot *shot = s->shot;

		slot_send(e, s);
		if (s->shot != shot)
			return;
	}
	if (s->state == SLOT_BUSY && (events & ~(uint32_t)EPOLLOUT))
		slot_read(e, s);
}

void slot_give_up_connecting(struct engine *e, struct slot *s)
{
	slot_close(s);
	e->n_connecting--;
	if (s->shot) {
		shot_over(e, s->shot);
		s->shot = NULL;
		e->stats->unsent++;
		e->stats->in_flight--;
	}
	slot_release(e, s);
}

static void slot_open(struct engine *e, struct slot *s, const struct addr *peer)
{
	int rc = target_refuse_origin(peer, e->options->origins, e->options->n_origins, e->err);

	if (rc) {
		give_up(e, rc);
		return;
	}
	slot_watch(e, s, 0);
	e->stats->connections++;
	if (s->shot && shot_drop_late(e, s->shot, now_ns())) {
		s->shot = NULL;
		e->stats->in_flight--;
	}
	if (s->shot)
		slot_fire(e, s, now_ns());
	else
		slot_release(e, s);
}

void slot_connected(struct engine *e, struct slot *s, CURLcode code)
{
	struct addr peer;

	e->n_connecting--;
	if (code == CURLE_OK && conn_opened(&s->conn, &peer) == SC_OK) {
		slot_open(e, s, &peer);
		return;
	}
	slot_close(s);
	if (s->shot)
		slot_fail(e, s, conn_error(code));
	else
		slot_release(e, s);
}
