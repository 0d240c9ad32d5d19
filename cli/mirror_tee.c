/* SPDX-License-Identifier: Apache-2.0 */
/* Joins by number. A pair and its answers come in any order, and hours apart where production takes
 * hours. What waits for the rest waits as long as there is room for it; then the oldest goes. */
#include "mirror_tee.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "cli.h"
#include "core/limits.h"
#include "core/template.h"
#include "thread.h"

#define PAUSE_NS 10000000 /* what came in meanwhile is taken at once */

/* A request that is not settled: its pair or an answer is still to come. */
struct entry {
	TAILQ_ENTRY(entry) link; /* in the order in which they began to wait */
	struct entry *hash_next;
	int64_t number;	 /* exchange.id as offered */
	int64_t row;	 /* in the store; 0: not there */
	struct exchange *pair; /* kept where answers are compared with it */
	unsigned expected, seen; /* answers; expected 0: the pair has not come */
	struct result *results;  /* that came before it, linked by node.next */
	size_t bytes;		 /* of pair and results */
};
TAILQ_HEAD(entries, entry);

struct target_rows {
	int64_t id;
	struct result_sink *sink;
};

struct tee {
	struct tee_options o;
	struct store *st;
	struct sink *pairs_sink;
	int64_t capture_id;
	struct target_rows rows[LIMIT_TARGETS];
	struct queue *pairs;
	struct entry **buckets; /* LIMIT_TEE_WINDOW of them, by number */
	struct entries waiting;
	size_t held; /* bytes of all entries */
	unsigned n;  /* of them */
	struct comparer *comparer;
	struct tally *tally;
	struct templates *templates; /* of the paths that are compared */
	struct buf route;
	pthread_mutex_t lock; /* of the tally */
	pthread_t thread;
	bool started;
	atomic_bool stopping;
	bool ended[LIMIT_TARGETS], pairs_ended;
	uint64_t dropped; /* the capture's */
	_Atomic uint64_t stored, lost, unpaired;
	int rc;
	struct err err;
};

/* The target that a result is of stands beside it while it waits. */
static void set_target(struct result *r, unsigned target)
{
	r->pass = target;
}

static void drop_result(struct node *n)
{
	result_free((struct result *)(void *)n);
}

static void drop_exchange(struct node *n)
{
	exchange_free((struct exchange *)(void *)n);
}

/* -- settling -------------------------------------------------------------------------------- */

/* What the path is of; a rule is mostly too wide a route to tell anything. Good until the next. */
static struct span route_of(struct tee *t, const struct exchange *pair)
{
	bool served = !pair->response || pair->response->status < 400;
	struct target parts;

	target_split(message_target(pair->request), &parts);
	buf_clear(&t->route);
	if (parts.path.p[0] != '/' || (served && template_learn(t->templates, parts.path, NULL)) ||
	    template_of(t->templates, parts.path, &t->route))
		return parts.path;
	return buf_span(&t->route);
}

static void compare(struct tee *t, const struct exchange *pair, const struct result *r)
{
	struct span route = route_of(t, pair);

	pthread_mutex_lock(&t->lock);
	if (tally_begin(t->tally, message_method(pair->request), route) == SC_OK)
		(void)compare_answers(t->comparer, pair->response, r->response, tally_found, t->tally);
	pthread_mutex_unlock(&t->lock);
}

/* An answer whose pair is known. `r` is moved. */
static int settle(struct tee *t, struct entry *e, struct result *r)
{
	unsigned target = r->pass;
	int rc = SC_OK;

	rules_redact_answer(t->o.answers, r);
	if (e->pair && r->error != RESULT_ERROR_STOPPED)
		compare(t, e->pair, r);
	if (t->st && e->row && r->error != RESULT_ERROR_STOPPED) {
		r->exchange_id = e->row;
		r->pass = 0;
		rc = store_result_put(t->rows[target].sink, r, &t->err);
	}
	result_free(r);
	e->seen++;
	return rc;
}

static struct entry **bucket(struct tee *t, int64_t number)
{
	return &t->buckets[(uint64_t)number % LIMIT_TEE_WINDOW];
}

static void forget(struct tee *t, struct entry *e)
{
	struct entry **at = bucket(t, e->number);

	while (*at != e)
		at = &(*at)->hash_next;
	*at = e->hash_next;
	TAILQ_REMOVE(&t->waiting, e, link);
	while (e->results) {
		struct result *next = (struct result *)(void *)e->results->node.next;

		if (e->results->error != RESULT_ERROR_STOPPED)
			atomic_fetch_add(&t->unpaired, 1);
		result_free(e->results);
		e->results = next;
	}
	exchange_free(e->pair);
	t->held -= e->bytes;
	t->n--;
	free(e);
}

static void forget_all(struct tee *t)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&t->waiting)))
		forget(t, e);
}

/* The oldest go first: what was to come to them is the least likely to come. */
static void hold(struct tee *t, const struct entry *keep, size_t bytes)
{
	struct entry *e = TAILQ_FIRST(&t->waiting), *next;

	t->held += bytes;
	for (; e && (t->held > t->o.queue_bytes || t->n > LIMIT_TEE_WINDOW); e = next) {
		next = TAILQ_NEXT(e, link);
		if (e != keep)
			forget(t, e);
	}
}

static struct entry *entry_of(struct tee *t, int64_t number)
{
	struct entry **at = bucket(t, number), *e;

	for (e = *at; e; e = e->hash_next) {
		if (e->number == number)
			return e;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->number = number;
	e->hash_next = *at;
	e->bytes = sizeof(*e);
	*at = e;
	TAILQ_INSERT_TAIL(&t->waiting, e, link);
	t->n++;
	hold(t, e, e->bytes);
	return e;
}

static int settle_waiting(struct tee *t, struct entry *e)
{
	int rc = SC_OK;

	while (e->results) {
		struct result *r = e->results;
		int one;

		e->results = (struct result *)(void *)r->node.next;
		one = settle(t, e, r);
		rc = rc ? rc : one;
	}
	return rc;
}

static void wait_for_results(struct tee *t, struct entry *e, struct exchange *ex)
{
	if (t->o.compare) {
		e->pair = ex; /* moved */
		e->bytes += exchange_footprint(ex);
		hold(t, e, exchange_footprint(ex));
	} else {
		exchange_free(ex);
	}
}

static int take_pair(struct tee *t, struct exchange *ex)
{
	struct entry *e = entry_of(t, ex->id);
	int rc = e ? SC_OK : err_set(&t->err, SC_ENOMEM, "out of memory");

	if (!rc && t->st)
		rc = sink_put(t->pairs_sink, ex, &t->err);
	if (rc) {
		exchange_free(ex);
		return rc;
	}
	e->expected = ex->copies;
	e->row = t->st ? store_capture_row(t->pairs_sink) : 0;
	atomic_fetch_add(&t->stored, 1);
	wait_for_results(t, e, ex);
	rc = settle_waiting(t, e);
	if (e->seen >= e->expected)
		forget(t, e);
	return rc;
}

static int take_result(struct tee *t, struct result *r, unsigned target)
{
	struct entry *e = entry_of(t, r->exchange_id);
	int rc;

	if (!e) {
		result_free(r);
		return err_set(&t->err, SC_ENOMEM, "out of memory");
	}
	set_target(r, target);
	if (!e->expected) {
		r->node.next = e->results ? &e->results->node : NULL;
		e->results = r;
		e->bytes += result_footprint(r);
		hold(t, e, result_footprint(r));
		return SC_OK;
	}
	rc = settle(t, e, r);
	if (e->seen >= e->expected)
		forget(t, e);
	return rc;
}

/* -- the thread ------------------------------------------------------------------------------ */

static int take_pairs(struct tee *t)
{
	struct node *list, *next;
	size_t bytes = 0;
	int rc = queue_take(t->pairs, 0, &list);

	if (rc == SC_ECLOSED)
		t->pairs_ended = true;
	if (rc)
		return SC_OK;
	for (; list; list = next) {
		next = list->next;
		bytes += list->bytes;
		if (!t->rc) {
			t->rc = take_pair(t, (struct exchange *)(void *)list);
		} else {
			drop_exchange(list);
			atomic_fetch_add(&t->lost, 1);
		}
	}
	queue_release(t->pairs, bytes);
	return t->rc;
}

static int take_results(struct tee *t, unsigned target)
{
	struct queue *q = t->o.targets[target].results;
	struct node *list, *next;
	size_t bytes = 0;
	int rc = queue_take(q, 0, &list);

	if (rc == SC_ECLOSED)
		t->ended[target] = true;
	if (rc)
		return SC_OK;
	for (; list; list = next) {
		next = list->next;
		bytes += list->bytes;
		if (!t->rc)
			t->rc = take_result(t, (struct result *)(void *)list, target);
		else
			drop_result(list);
	}
	queue_release(q, bytes);
	return t->rc;
}

static bool all_ended(const struct tee *t)
{
	bool ended = t->pairs_ended;

	for (unsigned i = 0; i < t->o.n_targets; i++)
		ended = ended && t->ended[i];
	return ended;
}

static int commit(struct tee *t)
{
	int64_t now = clock_us();
	int rc = sink_tick(t->pairs_sink, now, &t->err);

	for (unsigned i = 0; i < t->o.n_targets && !rc; i++) {
		struct result_sink *s = t->rows[i].sink;

		rc = s->ops->tick ? s->ops->tick(s, now, &t->err) : SC_OK;
	}
	return rc;
}

static void *tee_main(void *arg)
{
	static const struct timespec pause = {0, PAUSE_NS};
	struct tee *t = arg;
	bool said = false;

	while (!all_ended(t)) {
		if (!t->pairs_ended)
			(void)take_pairs(t);
		for (unsigned i = 0; i < t->o.n_targets; i++) {
			if (!t->ended[i])
				(void)take_results(t, i);
		}
		if (t->st && !t->rc)
			t->rc = commit(t);
		/* The mirror goes on without: what it is for is to send. */
		if (t->rc && !said)
			say("%s: nothing more is kept", t->err.text);
		said = t->rc != SC_OK;
		if (!atomic_load(&t->stopping))
			nanosleep(&pause, NULL);
	}
	return NULL;
}

/* -- the capture's side ---------------------------------------------------------------------- */

void tee_put(struct tee *t, struct exchange *ex)
{
	if (queue_push(t->pairs, &ex->node, exchange_footprint(ex))) {
		exchange_free(ex);
		t->dropped++;
	}
}

void tee_publish(struct tee *t)
{
	queue_publish(t->pairs);
}

static int open_store(struct tee *t, struct err *err)
{
	const struct tee_options *o = &t->o;
	int rc = store_open(o->path, STORE_CREATE, &t->st, err);

	if (!rc)
		rc = store_capture_new(t->st, clock_us(), o->source, o->options, &t->capture_id,
				       &t->pairs_sink, err);
	for (unsigned i = 0; i < o->n_targets && !rc; i++)
		rc = store_replay_new(t->st, clock_us(), o->targets[i].url, o->options, SAVE_FULL,
				      &t->rows[i].id, &t->rows[i].sink, err);
	return rc;
}

int tee_new(const struct tee_options *o, struct tee **ret, struct err *err)
{
	struct tee *t = calloc(1, sizeof(*t));
	int rc = SC_OK;

	if (!t)
		return err_set(err, SC_ENOMEM, "out of memory");
	t->o = *o;
	buf_init(&t->route, 8 * LIMIT_HEAD_BYTES);
	pthread_mutex_init(&t->lock, NULL);
	TAILQ_INIT(&t->waiting);
	t->buckets = calloc(LIMIT_TEE_WINDOW, sizeof(*t->buckets));
	t->pairs = queue_new(o->queue_bytes, o->wait ? QUEUE_WAIT : QUEUE_REFUSE);
	if (o->compare) {
		t->comparer = comparer_new();
		t->tally = tally_new();
		t->templates = templates_new();
	}
	if (!t->buckets || !t->pairs ||
	    (o->compare && (!t->comparer || !t->tally || !t->templates)))
		rc = err_set(err, SC_ENOMEM, "out of memory");
	if (!rc && o->path)
		rc = open_store(t, err);
	if (rc) {
		tee_free(t);
		return rc;
	}
	*ret = t;
	return SC_OK;
}

int tee_start(struct tee *t, struct err *err)
{
	int rc = thread_start(&t->thread, tee_main, t, err);

	t->started = rc == SC_OK;
	return rc;
}

static int end_rows(struct tee *t, const char *ledger)
{
	int64_t now = clock_us();
	int rc = sink_finish(t->pairs_sink, now, &t->err);

	for (unsigned i = 0; i < t->o.n_targets && !rc; i++) {
		json_t *account = mirror_target_json(&t->o.targets[i]);
		char *text = json_dumps(account, JSON_COMPACT);

		rc = t->rows[i].sink->ops->finish(t->rows[i].sink, now, &t->err);
		if (!rc)
			rc = store_replay_end(t->st, t->rows[i].id, now, text, &t->err);
		free(text);
		json_decref(account);
	}
	return rc ? rc : store_capture_end(t->st, t->capture_id, now, ledger, &t->err);
}

int tee_stop(struct tee *t, const char *ledger, struct err *err)
{
	if (!t->started)
		return SC_OK;
	atomic_store(&t->stopping, true);
	queue_close(t->pairs);
	pthread_join(t->thread, NULL);
	t->started = false;
	forget_all(t);
	if (t->st && !t->rc)
		t->rc = end_rows(t, ledger);
	if (t->rc)
		*err = t->err;
	return t->rc;
}

void tee_free(struct tee *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < LIMIT_TARGETS; i++) {
		if (t->rows[i].sink)
			t->rows[i].sink->ops->free(t->rows[i].sink);
	}
	sink_free(t->pairs_sink);
	store_close(t->st);
	queue_free(t->pairs, drop_exchange);
	forget_all(t);
	free(t->buckets);
	comparer_free(t->comparer);
	tally_free(t->tally);
	templates_free(t->templates);
	buf_done(&t->route);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct tee_counts tee_counts(const struct tee *t)
{
	return (struct tee_counts){
		.stored = atomic_load(&t->stored),
		.dropped = t->dropped + atomic_load(&t->lost),
		.unpaired = atomic_load(&t->unpaired),
	};
}

int tee_text(struct tee *t, unsigned lines, struct buf *out)
{
	int rc;

	if (!t->tally)
		return SC_OK;
	pthread_mutex_lock(&t->lock);
	rc = tally_text(t->tally, lines, out);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

int tee_json(struct tee *t, struct buf *out)
{
	int rc;

	if (!t->tally)
		return buf_add_str(out, "null");
	pthread_mutex_lock(&t->lock);
	rc = tally_json(t->tally, out);
	pthread_mutex_unlock(&t->lock);
	return rc;
}
