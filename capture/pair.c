/* SPDX-License-Identifier: Apache-2.0 */
/* The exchanges of one connection. */
#include "pair.h"

#include <assert.h>
#include <stdlib.h>

#include "core/limits.h"

#define SPARE_MAX 1024u

struct transaction {
	struct transaction *next;
	struct exchange *ex; /* NULL: the rules did not want it */
	uint64_t start, end; /* of the request in its stream; end is known when it is done */
	int64_t peer;        /* response bytes acknowledged when it was sent; -1 not known */
	bool head;           /* its answer has no body */
	bool connect;
	bool request_done, response_done;
	bool lost; /* its answer, if there was one, was in a gap */
};

/* What the callbacks of one direction need. */
struct context {
	struct pair *pair;
	struct pair_shared *sh;
	int dir;
	void *arg;
};

static struct transaction *transaction_new(struct pair_shared *sh)
{
	struct transaction *t = sh->spare;

	if (t) {
		sh->spare = t->next;
		sh->n_spare--;
	} else {
		t = malloc(sizeof(*t));
	}
	if (t)
		*t = (struct transaction){.peer = -1};
	return t;
}

static void transaction_free(struct pair_shared *sh, struct transaction *t)
{
	if (sh->n_spare >= SPARE_MAX) {
		free(t);
		return;
	}
	t->next = sh->spare;
	sh->spare = t;
	sh->n_spare++;
}

void pair_init(struct pair *p, const struct addr *a, const struct addr *b, uint64_t connection)
{
	*p = (struct pair){.side = {*a, *b}, .connection = connection, .lost_from = -1};
}

static void set_state(struct exchange *ex, bool lost)
{
	const struct message *m[2] = {ex->request, ex->response};
	unsigned flags = 0;

	for (int i = 0; i < 2; i++)
		flags |= m[i] ? m[i]->flags : 0u;
	if (flags & MESSAGE_GAP)
		ex->state = EXCHANGE_GAP;
	else if (!ex->response)
		ex->state = lost ? EXCHANGE_GAP : EXCHANGE_NO_RESPONSE;
	else if (flags & MESSAGE_CAPPED)
		ex->state = EXCHANGE_TRUNCATED;
	else
		ex->state = EXCHANGE_COMPLETE;
}

/* A tap may show an answer before its question, and clocks are set back: no time is negative. */
static int64_t elapsed(int64_t from_us, int64_t to_us)
{
	return to_us > from_us ? to_us - from_us : 0;
}

static void emit(struct pair_shared *sh, struct transaction *t)
{
	struct exchange *ex = t->ex;

	if (ex) {
		sh->http.held -= ex->request->body.len;
		if (ex->response) {
			sh->http.held -= ex->response->body.len;
			ex->ttfb_us = elapsed(ex->ts_us, ex->response->first_us);
			ex->duration_us = elapsed(ex->ts_us, ex->response->last_us);
		}
		set_state(ex, t->lost);
		sh->emit(sh->emit_arg, ex);
	}
	transaction_free(sh, t);
}

static void finish_message(struct pair_shared *sh, const struct http *h, struct message *m,
			   bool cut)
{
	m->last_us = h->last_us;
	m->body_size = h->body_size;
	if (cut) {
		m->flags |= MESSAGE_GAP;
		count(sh->counters, BODIES_WITH_GAP);
	} else if (m->body.len < m->body_size) {
		m->flags |= MESSAGE_CAPPED;
		count(sh->counters, BODIES_CAPPED);
	}
}

/* Given up in the middle: its body has no place to go any more. */
static void abandon_answer(struct pair *p, struct pair_shared *sh)
{
	struct exchange *ex = p->answered->ex;

	p->answered = NULL;
	for (int dir = 0; dir < 2; dir++) {
		struct http *h = &p->dir[dir];

		if (h->role != HTTP_RESPONSES)
			continue;
		if (ex && ex->response)
			finish_message(sh, h, ex->response, true);
		h->message = NULL;
	}
}

static void pop_first(struct pair *p, struct pair_shared *sh)
{
	struct transaction *t = p->first;

	p->first = t->next;
	if (!p->first)
		p->last = NULL;
	p->n--;
	if (p->answered == t)
		abandon_answer(p, sh);
	emit(sh, t);
}

/* In order, so that the exchanges of a connection come out as they were asked. */
static void pop_finished(struct pair *p, struct pair_shared *sh)
{
	while (p->first && p->first->request_done && p->first->response_done)
		pop_first(p, sh);
}

static enum verdict judge(struct pair_shared *sh, struct exchange *ex)
{
	enum verdict v = sh->early ? chain_head(sh->early, ex) : VERDICT_KEEP;

	switch (v) {
	case VERDICT_KEEP:
		break;
	case VERDICT_FILTERED:
		count(sh->counters, REQUESTS_FILTERED);
		break;
	case VERDICT_UNSAMPLED:
		count(sh->counters, REQUESTS_UNSAMPLED);
		break;
	case VERDICT_OWN:
		count(sh->counters, REQUESTS_OWN);
		break;
	case VERDICT_ERROR:
		count(sh->counters, REQUESTS_FAILED);
		break;
	}
	return v;
}

static struct exchange *make_exchange(struct context *c, struct http *h, struct message *m)
{
	struct exchange *ex = exchange_new();

	if (!ex) {
		message_free(m);
		count(c->sh->counters, REQUESTS_FAILED);
		return NULL;
	}
	ex->request = m;
	ex->ts_us = h->first_us;
	ex->connection = c->pair->connection;
	ex->position = c->pair->position;
	ex->client = c->pair->side[c->dir];
	ex->server = c->pair->side[!c->dir];
	if (judge(c->sh, ex) != VERDICT_KEEP) {
		exchange_free(ex);
		return NULL;
	}
	return ex;
}

/* Frees the early response; if it is still being read, its body is only framed from now on. */
static void forget_early(struct pair *p, struct pair_shared *sh)
{
	sh->http.held -= p->early->body.len;
	for (int dir = 0; dir < 2; dir++) {
		if (p->dir[dir].message == p->early)
			p->dir[dir].message = NULL;
	}
	message_free(p->early);
	p->early = NULL;
}

static void drop_early(struct pair *p, struct pair_shared *sh)
{
	if (!p->early)
		return;
	count(sh->counters, RESPONSES_ORPHANED);
	forget_early(p, sh);
}

/* The request that an early response has been waiting for. */
static void take_early(struct pair *p, struct pair_shared *sh, struct transaction *t)
{
	if (!p->early || t->start < p->early_from)
		return;
	if (t->start >= p->early_to) {
		drop_early(p, sh);
		return;
	}
	count(sh->counters, RESPONSES_PAIRED);
	t->response_done = p->early_done;
	if (!p->early_done)
		p->answered = t;
	if (t->ex)
		t->ex->response = p->early; /* moved */
	else
		forget_early(p, sh);
	p->early = NULL;
}

static enum http_verdict request_head(struct context *c, struct http *h, struct message *m)
{
	struct pair *p = c->pair;
	struct transaction *t;

	count(c->sh->counters, REQUESTS_SEEN);
	if (p->n >= LIMIT_OUTSTANDING)
		pop_first(p, c->sh);
	t = transaction_new(c->sh);
	if (!t) {
		count(c->sh->counters, REQUESTS_FAILED);
		message_free(m);
		return HTTP_BODY;
	}
	t->start = h->start;
	t->peer = h->start_peer;
	t->head = span_eq(message_method(m), span_str("HEAD"));
	t->connect = span_eq(message_method(m), span_str("CONNECT"));
	t->ex = make_exchange(c, h, m);
	if (p->last)
		p->last->next = t;
	else
		p->first = t;
	p->last = t;
	p->n++;
	p->position++;
	h->message = t->ex ? t->ex->request : NULL;
	take_early(p, c->sh, t);
	return t->connect ? HTTP_NO_BODY : HTTP_BODY;
}

static struct transaction *first_unanswered(const struct pair *p)
{
	struct transaction *t = p->first;

	while (t && t->response_done)
		t = t->next;
	return t;
}

/* An answer after a gap acknowledges all of its request and nothing later: it is of the request that
 * ends there, or of one that was sent together with it (pipelined), where order decides. False when
 * no request ends there. */
static bool match_by_ack(struct pair *p, struct pair_shared *sh, const struct http *h)
{
	struct transaction *t = first_unanswered(p), *group;

	while (t && !(t->request_done && (int64_t)t->end == h->start_peer))
		t = t->next;
	if (!t)
		return false;
	for (group = first_unanswered(p); group->peer != t->peer; group = group->next) {
		group->lost = true;
		group->response_done = true;
	}
	pop_finished(p, sh);
	return true;
}

/* Requests whose answers lay in the gap: when the next one was sent, response bytes had been received
 * that come after this one's sending and after the gap's beginning. Of requests that were sent
 * together (pipelined) nothing of the kind can be said, and order decides. */
static void skip_lost_answers(struct pair *p, struct pair_shared *sh, const struct http *h)
{
	struct transaction *t = first_unanswered(p);

	while (t && t->next && t->next->peer > p->lost_from && t->next->peer > t->peer &&
	       t->next->peer <= (int64_t)h->start) {
		t->lost = true;
		t->response_done = true;
		t = t->next;
	}
	pop_finished(p, sh);
}

static struct transaction *match(struct pair *p, struct pair_shared *sh, const struct http *h)
{
	struct transaction *t;

	if (p->lost_from >= 0 && !match_by_ack(p, sh, h)) {
		/* It answers bytes behind the last request that is known: a lost one's. */
		if (p->last && p->last->request_done && p->last->end != UINT64_MAX &&
		    h->start_peer > (int64_t)p->last->end)
			return NULL;
		skip_lost_answers(p, sh, h);
		/* With both the request's end and the bytes before this answer unknown, it may be of a
		 * request that was lost: better no answer than a wrong one. */
		t = first_unanswered(p);
		if (t && t->end == UINT64_MAX && t->peer >= 0 && t->peer != (int64_t)h->start)
			return NULL;
	}
	t = first_unanswered(p);
	/* An answer that began before the request was sent is somebody else's: of a request that was
	 * lost, or sent before the capture began. */
	if (t && t->peer > (int64_t)h->start)
		return NULL;
	return t;
}

static bool keep_early(struct context *c, struct http *h, struct message *m)
{
	struct pair *p = c->pair;
	uint64_t seen = p->seen[!c->dir];

	if (p->first || p->lost_from >= 0 || h->start_peer <= (int64_t)seen)
		return false;
	drop_early(p, c->sh);
	p->early = m;
	p->early_from = seen;
	p->early_to = (uint64_t)h->start_peer;
	p->early_done = false;
	h->message = m;
	return true;
}

static enum http_verdict response_head(struct context *c, struct http *h, struct message *m)
{
	struct pair *p = c->pair;
	struct transaction *t;
	uint16_t status = m->status;

	if (status / 100 == 1 && status != 101 && p->interim < LIMIT_INTERIM) {
		count(c->sh->counters, RESPONSES_INTERIM);
		p->interim++;
		message_free(m);
		p->answered = NULL;
		return HTTP_NO_BODY;
	}
	p->interim = 0;
	count(c->sh->counters, RESPONSES_SEEN);
	t = match(p, c->sh, h);
	p->answered = t;
	if (t)
		p->lost_from = -1;
	else if (keep_early(c, h, m))
		return status == 101 ? HTTP_TUNNEL : HTTP_BODY;
	count(c->sh->counters, t ? RESPONSES_PAIRED : RESPONSES_ORPHANED);
	if (t && t->ex) {
		t->ex->response = m;
		h->message = m;
	} else {
		message_free(m);
	}
	if (status == 101 || (t && t->connect && status / 100 == 2)) {
		if (h->message)
			h->message->flags |= MESSAGE_UPGRADE;
		return HTTP_TUNNEL;
	}
	return t && t->head ? HTTP_NO_BODY : HTTP_BODY;
}

static enum http_verdict on_head(void *arg, struct http *h, struct message *m)
{
	struct context *c = arg;

	return m->status ? response_head(c, h, m) : request_head(c, h, m);
}

/* After 101, or a 2xx to CONNECT, both directions speak something else. */
static void leave_http(struct context *c)
{
	count(c->sh->counters, CONNECTIONS_UPGRADED);
	for (int i = 0; i < 2; i++) {
		struct http *h = &c->pair->dir[i];

		if (http_in_body(h)) /* of the request; whatever follows is no body any more */
			http_end(h, &c->sh->http, false, c);
		http_done(h, &c->sh->http);
		h->state = HTTP_OPAQUE;
	}
}

static void on_done(void *arg, struct http *h)
{
	struct context *c = arg;
	struct pair *p = c->pair;

	if (h->role == HTTP_REQUESTS) {
		struct transaction *t = p->last; /* requests are read one after the other */

		if (!t || t->request_done)
			return;
		if (t->ex) {
			finish_message(c->sh, h, t->ex->request, h->cut);
			if (c->sh->asked)
				c->sh->asked(c->sh->asked_arg, t->ex);
		}
		t->request_done = true;
		/* Where a request whose framing was lost ended nobody knows. */
		t->end = h->lost ? UINT64_MAX : h->end;
	} else {
		struct transaction *t = p->answered;

		if (t) {
			if (t->ex && t->ex->response)
				finish_message(c->sh, h, t->ex->response, h->cut);
			t->response_done = true;
			p->answered = NULL;
		} else if (p->early && !p->early_done) {
			finish_message(c->sh, h, p->early, h->cut);
			p->early_done = true;
		}
		if (h->state == HTTP_OPAQUE)
			leave_http(c);
	}
	pop_finished(p, c->sh);
}

static void on_unfinished(void *arg, struct http *h, bool request)
{
	struct context *c = arg;

	if (request) {
		count(c->sh->counters, REQUESTS_SEEN);
		count(c->sh->counters, REQUESTS_UNFINISHED);
	} else if (c->pair->lost_from < 0) {
		c->pair->lost_from = (int64_t)h->start; /* an answer went by unread */
	}
}

static void on_recognised(void *arg, struct http *h, enum counter_id what)
{
	struct context *c = arg;

	(void)h;
	c->sh->recognised(c->arg, what);
}

int pair_shared_init(struct pair_shared *sh, struct counters *counters, struct chain *early,
		     size_t body_max)
{
	*sh = (struct pair_shared){.counters = counters, .early = early};
	sh->http.head = on_head;
	sh->http.done = on_done;
	sh->http.unfinished = on_unfinished;
	sh->http.recognised = on_recognised;
	return http_shared_init(&sh->http, counters, body_max);
}

void pair_shared_done(struct pair_shared *sh)
{
	http_shared_done(&sh->http);
	while (sh->spare) {
		struct transaction *t = sh->spare;

		sh->spare = t->next;
		free(t);
	}
}

void pair_chunk(struct pair *p, struct pair_shared *sh, int dir, const struct chunk *c,
		int64_t peer, void *arg)
{
	struct context ctx = {p, sh, dir, arg};
	struct http *h = &p->dir[dir];
	uint8_t role = h->role;

	p->seen[dir] = c->offset + c->bytes.len;
	http_chunk(h, &sh->http, c, peer, &ctx);
	if (!c->bytes.p && role == HTTP_RESPONSES && p->lost_from < 0 && h->state == HTTP_SEARCH)
		p->lost_from = (int64_t)c->offset;
	if (role == HTTP_ANY && h->role != HTTP_ANY) {
		bool fresh = p->dir[!dir].role == HTTP_ANY;

		p->dir[!dir].role = h->role == HTTP_REQUESTS ? HTTP_RESPONSES : HTTP_REQUESTS;
		if (fresh)
			sh->recognised(arg, CONNECTIONS_HTTP);
	}
}

void pair_end(struct pair *p, struct pair_shared *sh, int dir, bool clean, void *arg)
{
	struct context ctx = {p, sh, dir, arg};

	int64_t lost_from = p->lost_from;

	if (p->dir[dir].state != HTTP_OPAQUE)
		http_end(&p->dir[dir], &sh->http, clean, &ctx);
	p->lost_from = lost_from; /* half a head at the end was not lost, it was never finished */
}

void pair_finish(struct pair *p, struct pair_shared *sh, void *arg)
{
	for (int dir = 0; dir < 2; dir++) {
		pair_end(p, sh, dir, false, arg);
		http_done(&p->dir[dir], &sh->http);
	}
	drop_early(p, sh);
	while (p->first) {
		p->first->lost = p->first->lost || p->lost_from >= 0;
		pop_first(p, sh);
	}
}
