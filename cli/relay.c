/* SPDX-License-Identifier: Apache-2.0 */
/* One thread between a reader and its workers that owns a middleware. Waits only in
 * middleware_pump() and, for a while, where a worker's queue is full; never for the writer. */
#include "relay.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "core/limits.h"
#include "core/rng.h"
#include "thread.h"

#define NS_PER_US 1000
#define NS_PER_MS 1000000
#define TICK_NS (100 * NS_PER_MS)
#define STARVED_NS NS_PER_MS  /* until an empty queue is looked at again */
#define EXPECT_US 100000      /* in a closed loop a request holds a place so long in the child */
#define LINGER_US 1000000     /* without progress at the end, before its input ends */
#define STOPPED_US 2000000    /* the same, before a run that was stopped waits no longer */
#define SHOT_BYTES (2u * KIB) /* what a shot counts in its queue, at least */
#define FLIGHT_BUCKETS 16384u /* a power of two */
#define LANE_BUCKETS 4096u    /* the same */

/* A recorded connection with a request between here and its answer; what comes after it waits. */
struct lane {
	struct lane *hash_next;
	uint64_t connection;
	int64_t put_us; /* when its request went to the child */
	bool away;	/* the child has answered, and now the target is to */
	struct errand *first, *last; /* linked by node.next */
};

/* A shot that was handed on and whose answer may come. */
struct flight {
	TAILQ_ENTRY(flight) link; /* oldest first */
	struct flight *hash_next;
	int64_t exchange_id;
	uint64_t connection;
	uint32_t pass;
	char id[RECORD_ID + 1];
};

/* A target's answer on its way to the child. */
struct reply {
	struct node node; /* first */
	int64_t exchange_id;
	uint32_t pass;
	int64_t ts_ns, latency_ns;
	struct buf bytes; /* empty: there was none */
};

struct relay {
	struct relay_options o;
	struct middleware *mw;
	pthread_t thread;
	int wake_fd;	       /* readable: there are replies, or no more will come */
	struct queue *replies; /* whoever has results -> relay */
	pthread_mutex_t lock;  /* of all who have results, since a queue has one producer */
	atomic_uint_least64_t finished; /* results seen, whatever became of their replies */
	atomic_uint_least64_t answers;	/* of these, that have a response */
	atomic_uint_least64_t lost;	/* results whose reply found no room */
	atomic_bool last;		/* no more results */

	/* The thread's, until it is joined. */
	struct node *errands, *waiting; /* taken from the queues */
	bool in_ended, outs_closed, abandoned, stopped;
	bool replied;	/* all replies that will ever come have been put */
	int64_t progress_us; /* when something last came of the child or the target */
	int64_t end_us; /* when the last request was put; 0: not yet */
	struct lane *lanes[LANE_BUCKETS];
	unsigned held; /* errands in them */
	int64_t lanes_at_us; /* when their patience is looked at again */
	uint64_t lost_seen;
	struct flight *buckets[FLIGHT_BUCKETS];
	TAILQ_HEAD(, flight) flights;
	unsigned n_flights;
	struct relay_stats stats;
	int rc;
	struct err err;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int errand_new(struct exchange *ex, struct errand **ret)
{
	struct errand *e = calloc(1, sizeof(*e));

	if (!e)
		return SC_ENOMEM;
	e->ex = ex;
	*ret = e;
	return SC_OK;
}

void errand_free(struct errand *e)
{
	if (!e)
		return;
	exchange_free(e->ex);
	free(e);
}

void errand_drop(struct node *n)
{
	errand_free((struct errand *)(void *)n);
}

static void reply_free(struct reply *p)
{
	buf_done(&p->bytes);
	free(p);
}

static void drop_reply(struct node *n)
{
	reply_free((struct reply *)(void *)n);
}

static void fail_with(struct relay *r, int rc, const char *text)
{
	if (!r->rc)
		r->rc = err_set(&r->err, rc, "%s", text);
}

/* -- lanes ---------------------------------------------------------------------------------- */

static void put_errand(struct relay *r, struct errand *e);

static struct lane **lane_at(struct relay *r, uint64_t connection)
{
	uint64_t hash = hash_bytes(&connection, sizeof(connection), 0);
	struct lane **at = &r->lanes[hash & (LANE_BUCKETS - 1)];

	while (*at && (*at)->connection != connection)
		at = &(*at)->hash_next;
	return at;
}

/* True: `e` waits in its lane (moved). Otherwise the lane is its own from now on. */
static bool lane_holds(struct relay *r, struct errand *e)
{
	struct lane **at = lane_at(r, e->ex->connection);
	struct lane *l = *at;

	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			fail_with(r, SC_ENOMEM, "out of memory");
		else
			*l = (struct lane){.connection = e->ex->connection,
					   .put_us = now_ns() / NS_PER_US};
		*at = l;
		return false;
	}
	e->node.next = NULL;
	if (l->last)
		l->last->node.next = &e->node;
	else
		l->first = e;
	l->last = e;
	r->held++;
	return true;
}

static struct errand *lane_pop(struct relay *r, struct lane *l)
{
	struct errand *e = l->first;

	if (!e)
		return NULL;
	l->first = (struct errand *)(void *)e->node.next;
	if (!l->first)
		l->last = NULL;
	r->held--;
	return e;
}

/* The connection's request has come to something: the next one may go. */
static void lane_moves(struct relay *r, uint64_t connection)
{
	struct lane **at, *l;
	struct errand *e;

	if (!r->o.ordered)
		return;
	at = lane_at(r, connection);
	l = *at;
	if (!l)
		return;
	e = r->stopped ? NULL : lane_pop(r, l);
	if (e) {
		l->put_us = now_ns() / NS_PER_US;
		l->away = false;
		put_errand(r, e);
	} else if (!l->first) {
		*at = l->hash_next;
		free(l);
	}
}

/* The child has answered: from here on the target is waited for. */
static void lane_away(struct relay *r, uint64_t connection)
{
	struct lane *l = r->o.ordered ? *lane_at(r, connection) : NULL;

	if (l)
		l->away = true;
}

/* A child may want to see more than one before it answers any. */
static void lanes_impatient(struct relay *r)
{
	int64_t now = now_ns() / NS_PER_US;

	if (!r->held || now < r->lanes_at_us)
		return;
	r->lanes_at_us = now + EXPECT_US / 4;
	for (unsigned i = 0; i < LANE_BUCKETS; i++) {
		for (struct lane *l = r->lanes[i]; l; l = l->hash_next) {
			struct errand *e = NULL;

			if (!l->away && now - l->put_us > EXPECT_US && middleware_ready(r->mw))
				e = lane_pop(r, l);
			if (e)
				put_errand(r, e);
		}
	}
}

/* Replies were lost, and nobody knows whose: nobody waits any more for what is out now. */
static void lanes_release(struct relay *r)
{
	for (unsigned i = 0; i < LANE_BUCKETS; i++) {
		for (struct lane *l = r->lanes[i]; l; l = l->hash_next) {
			struct errand *e;

			while ((e = lane_pop(r, l)))
				put_errand(r, e);
		}
	}
}

static void lanes_drop(struct relay *r)
{
	for (unsigned i = 0; i < LANE_BUCKETS; i++) {
		struct lane *next;

		for (struct lane *l = r->lanes[i]; l; l = next) {
			struct errand *e;

			next = l->hash_next;
			while ((e = lane_pop(r, l))) {
				errand_free(e);
				r->stats.skipped[SKIP_STOPPED]++;
			}
			free(l);
		}
		r->lanes[i] = NULL;
	}
}

/* -- flights -------------------------------------------------------------------------------- */

static struct flight **bucket(struct relay *r, int64_t exchange_id, uint32_t pass)
{
	int64_t key[2] = {exchange_id, pass};

	return &r->buckets[hash_bytes(key, sizeof(key), 0) & (FLIGHT_BUCKETS - 1)];
}

static void flight_end(struct relay *r, struct flight *f)
{
	struct flight **at = bucket(r, f->exchange_id, f->pass);

	while (*at != f)
		at = &(*at)->hash_next;
	*at = f->hash_next;
	TAILQ_REMOVE(&r->flights, f, link);
	r->n_flights--;
	free(f);
}

/* Whose answer never came (a worker that dropped them) must not grow without end. */
static void flight_begin(struct relay *r, const struct errand *e)
{
	struct flight **at = bucket(r, e->ex->id, e->pass);
	struct flight *f = malloc(sizeof(*f));

	if (!f) {
		fail_with(r, SC_ENOMEM, "out of memory");
		return;
	}
	*f = (struct flight){.exchange_id = e->ex->id,
			     .connection = e->ex->connection,
			     .pass = e->pass,
			     .hash_next = *at};
	memcpy(f->id, e->id, sizeof(f->id));
	*at = f;
	TAILQ_INSERT_TAIL(&r->flights, f, link);
	if (++r->n_flights > LIMIT_FLIGHTS)
		flight_end(r, TAILQ_FIRST(&r->flights));
}

static struct flight *flight_find(struct relay *r, int64_t exchange_id, uint32_t pass)
{
	struct flight *f = *bucket(r, exchange_id, pass);

	while (f && (f->exchange_id != exchange_id || f->pass != pass))
		f = f->hash_next;
	return f;
}

/* -- to the child --------------------------------------------------------------------------- */

static void put_recorded(struct relay *r, const struct errand *e)
{
	const struct exchange *ex = e->ex;
	struct record rec = {.type = RECORD_RESPONSE, .id = span_str(e->id)};
	struct buf bytes;

	if (!ex->response)
		return;
	rec.ts_ns = (ex->ts_us + (ex->ttfb_us > 0 ? ex->ttfb_us : 0)) * NS_PER_US;
	if (ex->duration_us > ex->ttfb_us && ex->ttfb_us >= 0)
		rec.latency_ns = (ex->duration_us - ex->ttfb_us) * NS_PER_US;
	buf_init(&bytes, LIMIT_MIDDLEWARE_RECORD);
	/* A child that gets no recorded answer still gets the request: not worth an end. */
	if (record_add_response(&bytes, ex->response) == SC_OK) {
		rec.payload = buf_span(&bytes);
		(void)middleware_put_response(r->mw, &rec);
	}
	buf_done(&bytes);
}

/* `e` is moved. */
static void put_errand(struct relay *r, struct errand *e)
{
	struct shot *shot = NULL; /* for its framing: the bytes as they would go out */
	enum skip skip = SKIP_NONE;
	int rc = shot_new(e->ex, NULL, &shot, &skip);

	if (rc == SC_OK && skip == SKIP_NONE)
		rc = middleware_put_request(r->mw, e->ex, span_of(shot->bytes, shot->len), e,
					    e->id);
	shot_free(shot);
	if (rc == SC_EFULL) {
		skip = SKIP_TOO_LARGE;
		rc = SC_OK;
	}
	if (rc)
		fail_with(r, rc, "out of memory");
	if (rc || skip != SKIP_NONE) {
		uint64_t connection = e->ex->connection;

		r->stats.skipped[rc ? SKIP_STOPPED : skip]++;
		errand_free(e);
		if (!rc)
			lane_moves(r, connection);
		return;
	}
	put_recorded(r, e);
	/* What the child answers is all that is needed from now on; many may wait. */
	message_free(e->ex->request);
	message_free(e->ex->response);
	e->ex->request = e->ex->response = NULL;
}

static struct errand *next_errand(struct relay *r)
{
	int rc;

	if (!r->errands && !r->in_ended) {
		rc = queue_take(r->o.in, 0, &r->errands);
		r->in_ended = rc == SC_ECLOSED;
	}
	return (struct errand *)(void *)r->errands;
}

static struct errand *take_errand(struct relay *r)
{
	struct node *n = r->errands;

	r->errands = n->next;
	queue_release(r->o.in, n->bytes);
	r->stats.taken++;
	return (struct errand *)(void *)n;
}

/* Ns until the first errand may go, 0 for now. The clock of the schedule starts when the workers
 * have something to send: until then one goes at a time. */
static int64_t errand_wait(struct relay *r, struct errand *e, int64_t now)
{
	uint64_t away = r->stats.sent - atomic_load(&r->finished);
	unsigned expected = middleware_expected(r->mw, EXPECT_US);
	int64_t start;

	if (!middleware_ready(r->mw))
		return TICK_NS;
	if (r->o.closed_loop) {
		e->due_ns = now;
		return away + expected < r->o.connections ? 0 : EXPECT_US * NS_PER_US / 10;
	}
	start = replay_start_at(r->o.start, now, false);
	if (!start)
		return expected || r->stats.sent ? STARVED_NS : 0;
	e->due_ns = start + e->offset_ns;
	return e->due_ns > now ? e->due_ns - now : 0;
}

/* How long the next one may be waited for. */
static int64_t feed(struct relay *r)
{
	struct errand *e;

	while (!r->rc && r->held < LIMIT_READ_AHEAD && (e = next_errand(r))) {
		int64_t wait = errand_wait(r, e, now_ns());

		if (wait)
			return wait < TICK_NS ? wait : TICK_NS;
		e = take_errand(r);
		if (!r->o.ordered || !lane_holds(r, e))
			put_errand(r, e);
	}
	return r->in_ended && !r->held ? TICK_NS : STARVED_NS;
}

static void put_reply(struct relay *r, const struct reply *p)
{
	struct flight *f = flight_find(r, p->exchange_id, p->pass);
	struct record rec = {
		.type = RECORD_REPLAYED,
		.ts_ns = p->ts_ns,
		.latency_ns = p->latency_ns,
		.payload = buf_span(&p->bytes),
	};
	uint64_t connection;

	if (!f)
		return;
	rec.id = span_str(f->id);
	if (p->bytes.len && middleware_put_response(r->mw, &rec) == SC_OK) /* else it is lost */
		r->stats.answers++;
	connection = f->connection;
	flight_end(r, f);
	r->progress_us = now_ns() / NS_PER_US;
	lane_moves(r, connection);
}

static void feed_replies(struct relay *r)
{
	bool last = atomic_load(&r->last);
	uint64_t unused, lost = atomic_load(&r->lost);

	/* Both before looking, so that none is missed. */
	(void)!read(r->wake_fd, &unused, sizeof(unused));
	if (r->lost_seen != lost) {
		r->lost_seen = lost;
		lanes_release(r);
	}
	if (!r->waiting && queue_take(r->replies, 0, &r->waiting)) {
		r->replied = last;
		return;
	}
	while (r->waiting && middleware_ready(r->mw)) {
		struct reply *p = (struct reply *)(void *)r->waiting;

		r->waiting = p->node.next;
		queue_release(r->replies, p->node.bytes);
		put_reply(r, p);
		reply_free(p);
	}
}

/* -- from the child ------------------------------------------------------------------------- */

static void free_spent(struct queue *q)
{
	struct node *spent;

	while ((spent = queue_spent(q)))
		shot_free((struct shot *)(void *)spent);
}

static void send_shot(struct relay *r, const struct errand *e, struct shot *shot)
{
	struct queue *q = r->o.outs[e->out];
	size_t bytes = shot_footprint(shot);

	shot->pass = e->pass;
	shot->offset_ns = e->offset_ns;
	flight_begin(r, e);
	lane_away(r, e->ex->connection);
	r->stats.sent++; /* before its result can be counted */
	if (queue_push(q, &shot->node, bytes < SHOT_BYTES ? SHOT_BYTES : bytes)) {
		shot_free(shot);
		r->stats.sent--;
		r->stats.skipped[SKIP_STOPPED]++;
		r->abandoned = true;
	}
}

static bool may_be_sent(const struct relay *r, const struct message *request)
{
	return !r->o.may_send || r->o.may_send(r->o.methods, message_method(request));
}

/* A middleware may answer with anything; what is no request is as good as no answer. False: nothing
 * went out. */
static bool send_answer(struct relay *r, struct errand *e, struct span payload)
{
	struct shot *shot = NULL;
	enum skip skip = SKIP_NONE;
	int rc = record_request(payload, &e->ex->request);

	if (rc == SC_EPROTO || rc == SC_EFULL) {
		r->stats.dropped++;
		r->stats.no_requests++;
		return false;
	}
	if (!rc && !may_be_sent(r, e->ex->request)) {
		r->stats.held_back++;
		return false;
	}
	if (!rc)
		rc = shot_new(e->ex, r->o.marker, &shot, &skip);
	if (rc)
		fail_with(r, rc, "out of memory");
	if (shot)
		send_shot(r, e, shot);
	else
		r->stats.skipped[rc ? SKIP_STOPPED : skip]++;
	return shot != NULL;
}

static void take_answers(struct relay *r)
{
	struct middleware_answer *a;
	bool any = false;

	while ((a = middleware_next(r->mw))) {
		struct errand *e = a->tag;
		uint64_t connection = e->ex->connection;
		bool sent = false;

		if (!a->answered)
			r->stats.dropped++;
		else if (r->abandoned)
			r->stats.skipped[SKIP_STOPPED]++;
		else
			sent = send_answer(r, e, span_of(a->payload, a->len));
		any |= a->answered;
		errand_free(e);
		free(a);
		if (!sent)
			lane_moves(r, connection);
	}
	if (any)
		r->progress_us = now_ns() / NS_PER_US;
	/* Once they are closed, the workers end as they should. */
	for (unsigned i = 0; i < r->o.n_outs && !r->outs_closed; i++) {
		if (any)
			queue_publish(r->o.outs[i]);
		free_spent(r->o.outs[i]);
		r->abandoned |= queue_given_up(r->o.outs[i]);
	}
}

/* -- the thread ----------------------------------------------------------------------------- */

static void close_outs(struct relay *r)
{
	for (unsigned i = 0; !r->outs_closed && i < r->o.n_outs; i++)
		queue_close(r->o.outs[i]);
	r->outs_closed = true;
}

/* Nobody wants any more: what waits for its turn will not have it. */
static void stop_feeding(struct relay *r)
{
	r->stopped = true;
	lanes_drop(r);
	queue_give_up(r->o.in);
	do {
		while (r->errands) {
			errand_free(take_errand(r));
			r->stats.skipped[SKIP_STOPPED]++;
		}
	} while (queue_take(r->o.in, 0, &r->errands) == SC_OK);
	r->in_ended = true;
}

/* The end has three steps: the last request; the last answer of the child, whereupon the workers
 * may end; and the last answer of the target, which the child may want to see before its input
 * ends. A child that answers nothing for a second then is asked to by that end. */
static void step_to_end(struct relay *r, int64_t now_us)
{
	if (!r->in_ended || r->errands || r->held)
		return;
	if (!r->end_us)
		r->end_us = r->progress_us = now_us;
	middleware_last(r->mw);
	if (middleware_outstanding(r->mw) == 0) {
		close_outs(r);
		if (r->replied || r->abandoned)
			middleware_close(r->mw);
	} else if (r->abandoned || now_us - r->progress_us > LINGER_US) {
		middleware_close(r->mw);
	}
}

static bool waited_enough(const struct relay *r, int64_t now_us)
{
	return r->stopped && r->end_us && now_us - r->end_us > STOPPED_US;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	int rc = SC_OK;

	prctl(PR_SET_TIMERSLACK, 1); /* the kernel would round each wait up by 50 us */
	while (rc == SC_OK && !r->rc && !waited_enough(r, now_ns() / NS_PER_US)) {
		int64_t wait;

		if (!r->stopped && (r->abandoned || (r->o.stop && r->o.stop(r->o.arg))))
			stop_feeding(r);
		feed_replies(r);
		lanes_impatient(r);
		wait = feed(r);
		step_to_end(r, now_ns() / NS_PER_US);
		rc = middleware_pump(r->mw, now_ns() / NS_PER_US, wait, r->wake_fd, &r->err);
		r->stopped |= rc != SC_OK; /* it takes no more */
		take_answers(r);
	}
	if (rc && rc != SC_ECLOSED && !r->rc)
		r->rc = rc;
	r->abandoned = true;
	if (rc == SC_OK && middleware_give_up(r->mw))
		fail_with(r, SC_ENOMEM, "out of memory");
	take_answers(r);
	stop_feeding(r);
	queue_give_up(r->replies);
	close_outs(r);
	return NULL;
}

/* -- outside -------------------------------------------------------------------------------- */

int relay_start(struct relay *r, const struct relay_options *options, struct err *err)
{
	assert(options->n_outs > 0 && (options->closed_loop || options->start));
	r->o = *options;
	return thread_start(&r->thread, relay_main, r, err);
}

void relay_free(struct relay *r)
{
	struct flight *f;

	if (!r)
		return;
	middleware_free(r->mw);
	lanes_drop(r);
	while ((f = TAILQ_FIRST(&r->flights)))
		flight_end(r, f);
	while (r->waiting) {
		struct node *next = r->waiting->next;

		drop_reply(r->waiting);
		r->waiting = next;
	}
	queue_free(r->replies, drop_reply);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int relay_new(const char *command, struct relay **ret, struct err *err)
{
	struct relay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "out of memory");
	pthread_mutex_init(&r->lock, NULL);
	TAILQ_INIT(&r->flights);
	r->replies = queue_new(LIMIT_REPLIES_BYTES, QUEUE_REFUSE);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->replies || r->wake_fd < 0)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	else
		rc = middleware_start(command, &r->mw, err);
	if (rc) {
		relay_free(r);
		return rc;
	}
	*ret = r;
	return SC_OK;
}

static void wake(struct relay *r)
{
	static const uint64_t one = 1;

	(void)!write(r->wake_fd, &one,
		     sizeof(one)); /* only a full counter refuses, and that wakes too */
}

static struct reply *reply_new(const struct result *result)
{
	struct reply *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->exchange_id = result->exchange_id;
	p->pass = result->pass;
	p->ts_ns = (result->sent_us + (result->ttfb_us > 0 ? result->ttfb_us : 0)) * NS_PER_US;
	p->latency_ns = result->duration_us > 0 ? result->duration_us * NS_PER_US : 0;
	buf_init(&p->bytes, LIMIT_MIDDLEWARE_RECORD);
	if (result->response && record_add_response(&p->bytes, result->response)) {
		reply_free(p);
		return NULL;
	}
	return p;
}

void relay_response(struct relay *r, const struct result *result)
{
	struct reply *p = reply_new(result);

	pthread_mutex_lock(&r->lock);
	if (!p || queue_push(r->replies, &p->node, sizeof(*p) + p->bytes.cap)) {
		if (p)
			reply_free(p);
		atomic_fetch_add(&r->lost, 1);
	}
	queue_publish(r->replies);
	pthread_mutex_unlock(&r->lock);
	atomic_fetch_add(&r->answers, result->response != NULL);
	atomic_fetch_add(&r->finished, 1);
	wake(r);
}

int relay_end(struct relay *r, struct relay_stats *ret, struct err *err)
{
	uint64_t sum;
	int rc;

	atomic_store(&r->last, true);
	wake(r);
	pthread_join(r->thread, NULL);
	middleware_stop(r->mw);
	*ret = r->stats;
	ret->answers_lost = atomic_load(&r->answers) - ret->answers;
	ret->middleware = *middleware_stats(r->mw);
	sum = ret->sent + ret->dropped + ret->held_back;
	for (unsigned i = 0; i < SKIPS; i++)
		sum += ret->skipped[i];
	assert(sum == ret->taken || r->rc == SC_ENOMEM);
	rc = r->rc;
	if (rc)
		*err = r->err;
	relay_free(r);
	return rc;
}
