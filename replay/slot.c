/* SPDX-License-Identifier: Apache-2.0 */
/* One request over one connection: out, its answer in, a result on. Decides nothing about which
 * request is next or when. */
#include <assert.h>
#include <sys/epoll.h>

#include "engine.h"

#define QUIET_NS (NS_PER_MS / 2) /* a connection that was quiet for longer is looked at before use */
#define DOUBT_NS NS_PER_S	  /* a reset that has not come by then, on any way, will not */

static void slot_read(struct engine *e, struct slot *s);
static void slot_idle_event(struct engine *e, struct slot *s);
static void slot_finish_answered(struct engine *e, struct slot *s, bool keep);

/* By edges, as else the kernel would look at each socket once more before it sleeps. So whoever
 * reads goes on to the end of what is there; the end of the stream tells by itself. */
static void slot_watch(struct engine *e, const struct slot *s, uint32_t out)
{
	watch(e->loop.epoll, s->conn.fd, EPOLLIN | EPOLLRDHUP | EPOLLET | out, tag_slot(e, s));
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
	if (s->answer)
		answer_drop(s->answer);
	s->watches_out = s->peer_ended = false;
}

int slot_connect(struct engine *e, struct slot *s)
{
	int rc = SC_OK;

	if (!s->conn.easy)
		rc = conn_init(&s->conn, e->loop.multi, e->loop.options, s);
	if (!rc && !s->answer) {
		s->answer = answer_new(e->loop.options->save == SAVE_ANSWERS_FULL ? ANSWER_KEEP_FULL
									     : ANSWER_KEEP_STATUS,
				       LIMIT_RESPONSE_BODY, e->loop.room);
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
		e->loop.stats->bytes_out += n;
	}
	if (rc == SC_EIO || rc == SC_ECLOSED) {
		/* The answer may have come before the connection went (413 and the like). */
		s->send_broke = true;
		s->was_reset = rc == SC_EIO;
		slot_read(e, s);
		return;
	}
	slot_watch_out(e, s, rc == SC_EAGAIN);
	if (s->out == shot->len && s->answered_ns)
		slot_finish_answered(e, s, !shot->closes && !s->peer_ended);
}

/* The connection is open: the request's time begins. */
static void slot_fire(struct engine *e, struct slot *s, int64_t now)
{
	s->state = SLOT_BUSY;
	s->sent_ns = now;
	TAILQ_INSERT_TAIL(&e->busy, s, link);
	loop_count_sent(&e->loop, s->shot, now);
	answer_begin(s->answer, s->shot->head);
	slot_send(e, s);
}

static void slot_go_out(struct engine *e, struct slot *s)
{
	int64_t now = now_ns();

	if (e->loop.options->closed_loop)
		s->shot->due_ns = now;
	/* Something may have come that nobody was told of yet, and would be taken for its answer. */
	if (conn_is_open(&s->conn) && now - s->quiet_ns > QUIET_NS)
		slot_idle_event(e, s);
	s->reused = conn_is_open(&s->conn);
	if (s->reused)
		slot_fire(e, s, now);
	else if (slot_connect(e, s))
		loop_give_up_memory(&e->loop);
}

void slots_go_out(struct engine *e)
{
	struct slot *s;

	while ((s = TAILQ_FIRST(&e->outgoing)) && !e->loop.rc) {
		TAILQ_REMOVE(&e->outgoing, s, link);
		slot_go_out(e, s);
	}
}

void slot_begin(struct engine *e, struct slot *s, struct shot *shot)
{
	assert(!s->shot);
	s->shot = shot;
	s->out = 0;
	s->sent_ns = s->first_ns = s->answered_ns = s->doubt_ns = 0;
	s->send_broke = s->was_reset = false;
	e->loop.stats->in_flight++;
	if (e->loop.options->closed_loop) {
		s->state = SLOT_OUTGOING;
		TAILQ_INSERT_TAIL(&e->outgoing, s, link);
	} else {
		slot_go_out(e, s);
	}
}

void slot_release(struct engine *e, struct slot *s)
{
	struct loop *loop = &e->loop;
	struct lane *l = loop->common ? loop->common : s->lane;
	struct shot *shot;

	s->state = SLOT_IDLE;
	while ((l = lanes_go_on(loop->lanes, l, slot_number(e, s)))) {
		if (!loop->common)
			s->lane = l;
		shot = lane_pop(loop->lanes, l);
		if (!shot)
			break;
		if (loop->options->drop_late_us && loop_drop_late(loop, shot, now_ns()))
			continue;
		slot_begin(e, s, shot);
		return;
	}
	TAILQ_INSERT_HEAD(&e->idle, s, link);
}

static int deliver(struct engine *e, struct slot *s, const struct ended *end)
{
	struct message *m = NULL;

	if (end->error == RESULT_ERROR_NONE && answer_take(s->answer, &m))
		return err_set(e->loop.err, SC_ENOMEM, "out of memory");
	return loop_deliver(&e->loop, end, m);
}

static void slot_finish(struct engine *e, struct slot *s, int64_t end_ns, enum result_error error,
			bool keep)
{
	struct ended end = {s->shot, s->sent_ns, s->first_ns, end_ns, error};

	loop_count_end(&e->loop, &end, answer_status(s->answer));
	if (loop_delivers(&e->loop)) {
		int rc = deliver(e, s, &end);

		if (rc)
			loop_give_up(&e->loop, rc);
	}
	if (s->state == SLOT_BUSY)
		TAILQ_REMOVE(&e->busy, s, link);
	s->quiet_ns = end_ns;
	if (!keep)
		slot_close(s);
	loop_shot_over(&e->loop, s->shot);
	s->shot = NULL;
	slot_release(e, s);
}

static void slot_finish_answered(struct engine *e, struct slot *s, bool keep)
{
	slot_finish(e, s, s->answered_ns, RESULT_ERROR_NONE, keep);
}

static bool is_reused(const struct engine *e, const struct slot *s)
{
	return s->reused && !s->shot->retried && !e->loop.stopping;
}

/* Sending again is safe where the request changes nothing by being repeated, or where none of it has
 * arrived (RFC 9112, 9.3.1). After a reset that is not known of what went out: it may have been read
 * and its acknowledgement still have waited. */
static bool may_repeat(const struct engine *e, const struct slot *s, bool was_reset)
{
	if (!is_reused(e, s))
		return false;
	return s->shot->idempotent || s->out == 0 ||
	       (!was_reset && conn_fate(&s->conn, s->out) == CONN_UNTAKEN);
}

/* The connection has ended, and whether the request reached anybody will be known when it is reset. */
static bool is_undecided(const struct engine *e, const struct slot *s)
{
	return is_reused(e, s) && !s->shot->idempotent && !s->send_broke &&
	       conn_fate(&s->conn, s->out) == CONN_UNDECIDED;
}

static void slot_doubt(struct engine *e, struct slot *s)
{
	if (!s->doubt_ns)
		s->doubt_ns = now_ns() + DOUBT_NS;
	e->doubts_at_ns = earliest(e->doubts_at_ns, s->doubt_ns);
}

void slots_decide(struct engine *e, int64_t now)
{
	if (now < e->doubts_at_ns)
		return;
	e->doubts_at_ns = NEVER;
	for (uint32_t i = 0; i < e->n_slots; i++) {
		struct slot *s = &e->slots[i];

		if (s->state != SLOT_BUSY || !s->doubt_ns)
			continue;
		if (s->doubt_ns <= now)
			slot_fail(e, s, RESULT_ERROR_EARLY_CLOSE);
		else
			e->doubts_at_ns = earliest(e->doubts_at_ns, s->doubt_ns);
	}
}

static void slot_repeat(struct engine *e, struct slot *s)
{
	TAILQ_REMOVE(&e->busy, s, link);
	slot_close(s);
	s->shot->retried = true;
	s->first_ns = s->doubt_ns = 0;
	s->reused = s->send_broke = s->was_reset = false;
	s->out = 0;
	e->loop.stats->retried++;
	if (slot_connect(e, s))
		loop_give_up_memory(&e->loop);
}

/* A server closes idle connections at the moment we use one. */
static bool is_stale(const struct slot *s, enum result_error error)
{
	return s->first_ns == 0 &&
	       (error == RESULT_ERROR_EARLY_CLOSE || error == RESULT_ERROR_RESET ||
		error == RESULT_ERROR_SEND);
}

void slot_fail(struct engine *e, struct slot *s, enum result_error error)
{
	if (s->answered_ns)
		slot_finish_answered(e, s, false);
	else if (is_stale(s, error) &&
		 may_repeat(e, s, s->was_reset || error == RESULT_ERROR_RESET))
		slot_repeat(e, s);
	else
		slot_finish(e, s, now_ns(), error, false);
}

/* Some say so when they close an idle connection, to whoever asks next (RFC 9110, 15.5.9). */
static bool is_idle_timeout(const struct slot *s)
{
	return answer_status(s->answer) == 408 && !answer_keeps_alive(s->answer);
}

/* Nothing says that the target does not want the rest (RFC 9112, 9.5). */
static bool goes_on_sending(const struct slot *s)
{
	return s->out < s->shot->len && answer_keeps_alive(s->answer) &&
	       answer_status(s->answer) < 400 && !s->send_broke && !s->peer_ended;
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

	e->loop.stats->bytes_in += n;
	if (s->answered_ns) {
		slot_finish_answered(e, s, false);
		return true;
	}
	if (!s->first_ns)
		s->first_ns = now;
	state = answer_feed(s->answer, e->in, n, &used);
	if (state == ANSWER_MORE)
		return false;
	if (state == ANSWER_NO_MEMORY)
		loop_give_up_memory(&e->loop);
	if (state == ANSWER_DONE && is_idle_timeout(s) && may_repeat(e, s, false)) {
		slot_repeat(e, s);
	} else if (state == ANSWER_DONE && used == n && goes_on_sending(s)) {
		s->answered_ns = now;
		return false;
	} else if (state == ANSWER_DONE) {
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

/* The connection's end is the answer's. Somebody else may have made it, unless TLS says so (RFC 9112,
 * 9.8). */
static void slot_finish_ended(struct engine *e, struct slot *s)
{
	e->loop.stats->unsaid += s->conn.unsaid;
	slot_finish(e, s, now_ns(), RESULT_ERROR_NONE, false);
}

static void slot_hung_up(struct engine *e, struct slot *s, int rc)
{
	bool any = s->first_ns != 0;

	if (rc == SC_EPROTO)
		loop_detail(&e->loop, RESULT_ERROR_TLS, conn_tls_detail());
	if (s->answered_ns)
		slot_finish_answered(e, s, false);
	else if (rc == SC_ECLOSED && any && answer_eof(s->answer) == ANSWER_DONE)
		slot_finish_ended(e, s);
	else if (s->send_broke && !any)
		slot_fail(e, s, RESULT_ERROR_SEND);
	else if (rc == SC_ECLOSED && !any && is_undecided(e, s))
		slot_doubt(e, s);
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
	if (s->state == SLOT_IDLE || s->state == SLOT_OUTGOING) {
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

void slot_give_up(struct engine *e, struct slot *s)
{
	if (s->state == SLOT_CONNECTING) {
		slot_close(s);
		e->n_connecting--;
	} else {
		TAILQ_REMOVE(&e->outgoing, s, link);
	}
	if (s->shot) {
		loop_shot_over(&e->loop, s->shot);
		s->shot = NULL;
		e->loop.stats->unsent++;
		e->loop.stats->in_flight--;
	}
	slot_release(e, s);
}

static void slot_open(struct engine *e, struct slot *s, const struct addr *peer)
{
	int rc = loop_refuse_origin(&e->loop, peer);

	if (rc) {
		loop_give_up(&e->loop, rc);
		return;
	}
	slot_watch(e, s, 0);
	s->quiet_ns = now_ns();
	e->loop.stats->connections++;
	if (s->shot && loop_drop_late(&e->loop, s->shot, now_ns())) {
		s->shot = NULL;
		e->loop.stats->in_flight--;
	}
	if (s->shot)
		slot_fire(e, s, now_ns());
	else
		slot_release(e, s);
}

/* Who waited for this very connection has waited as long as anybody does. */
static void slot_fail_waiting(struct engine *e, struct slot *s, CURLcode code)
{
	struct lane *l = e->loop.common ? e->loop.common : s->lane;
	struct shot *shot = l ? lane_pop(e->loop.lanes, l) : NULL;

	if (shot && loop_drop_late(&e->loop, shot, now_ns()))
		shot = NULL;
	if (!shot) {
		slot_release(e, s);
		return;
	}
	if (e->loop.options->closed_loop)
		shot->due_ns = now_ns();
	s->shot = shot;
	s->sent_ns = s->first_ns = s->answered_ns = s->doubt_ns = 0;
	e->loop.stats->in_flight++;
	slot_finish(e, s, now_ns(), conn_error(code), false);
}

void slot_connected(struct engine *e, struct slot *s, CURLcode code)
{
	struct addr peer;

	e->n_connecting--;
	if (code == CURLE_OK && conn_opened(&s->conn, &peer) == SC_OK) {
		slot_open(e, s, &peer);
		return;
	}
	loop_detail(&e->loop, conn_error(code), s->conn.said);
	slot_close(s);
	if (s->shot)
		slot_fail(e, s, conn_error(code));
	else
		slot_fail_waiting(e, s, code);
}
