/* SPDX-License-Identifier: Apache-2.0 */
/* One target's part of a replay: from the store to shots in its workers' queues, and the workers'
 * ends of those. Starts no thread. */
#include <assert.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "core/rng.h"
#include "replay_job.h"
#include "store/store.h"

#define PUBLISH_EVERY 256u	/* exchanges read, whatever became of them */
/* The same: a kernel with lazy preemption lets who only computes go on till its next tick, though a
 * sender is due; but looks at the end of each call. */
#define YIELD_EVERY 16u
/* What a request counts in the queue, at least, and the part of the queue that the reader fills at
 * once. In a closed loop it works far ahead, and seldom; at due times it must not keep a sender from
 * the processor for long. */
#define SHOT_BYTES_AT_MAX 512u
#define SHOT_BYTES_PACED (8u * KIB)
#define ROOM_AT_MAX 2u
#define ROOM_PACED 32u
#define LARGE_BYTES (32u * KIB) /* not worth keeping for its memory */
#define SHARE_SEED 1		/* of the hashes that connections are told apart by */
#define WORKER_SEED 2

bool job_ends(const struct job *j)
{
	return stop_wanted() || atomic_load_explicit(&j->failed, memory_order_relaxed);
}

/* -- reader --------------------------------------------------------------------------------- */

static enum skip skip_of(enum verdict v)
{
	static const enum skip skips[] = {
		[VERDICT_KEEP] = SKIP_NONE,
		[VERDICT_FILTERED] = SKIP_FILTERED,
		[VERDICT_UNSAMPLED] = SKIP_UNSAMPLED,
		[VERDICT_OWN] = SKIP_OWN,
	};

	return skips[v];
}

/* What the hashes go by: a connection as a whole where order matters. */
static uint64_t key_of(const struct run *run, const struct exchange *ex)
{
	return run->job->args->unordered ? (uint64_t)ex->id : ex->connection;
}

/* With weights a request is one target's only, always the same one's. */
static bool is_ours(const struct run *run, const struct exchange *ex)
{
	uint64_t key = key_of(run, ex);
	double at;

	if (run->share.to == 0)
		return true;
	at = (double)(hash_bytes(&key, sizeof(key), SHARE_SEED) >> 11) * 0x1p-53;
	return at >= run->share.from && at < run->share.to;
}

/* As many recorded connections as there are real ones are dealt out by turns, so that each worker has
 * one for each of its own. What comes after them shares anyway, and goes by its hash. */
static unsigned home_of(struct run *run, uint64_t key)
{
	uint64_t hash = hash_bytes(&key, sizeof(key), WORKER_SEED);
	struct home *h;

	for (uint64_t i = hash;; i++) {
		h = &run->homes[i & (run->homes_room - 1)];
		if (h->worker && h->connection == key)
			return h->worker - 1;
		if (!h->worker)
			break;
	}
	if (2 * run->n_homes >= run->homes_room)
		return (unsigned)(hash % run->n_workers);
	run->n_homes++;
	*h = (struct home){key, (unsigned)(run->turn++ % run->n_workers) + 1};
	return h->worker - 1;
}

static unsigned worker_of(struct run *run, const struct exchange *ex)
{
	if (run->n_workers == 1)
		return 0;
	if (run->job->args->unordered)
		return (unsigned)(run->turn++ % run->n_workers);
	return home_of(run, key_of(run, ex));
}

/* Shots made here and over by now. One for each that is made, so that the allocator gives back what
 * it has just got; more only where they are large. */
static void free_spent(struct queue *q)
{
	struct node *n;

	while ((n = queue_spent(q))) {
		bool small = n->bytes < LARGE_BYTES;

		shot_free((struct shot *)(void *)n);
		if (small)
			break;
	}
}

/* Who waits does not keep the writer's log from being cut. */
static int push(struct run *run, struct queue *q, struct node *n, size_t bytes)
{
	if (queue_is_full(q, bytes))
		store_source_rest(run->source);
	return queue_push(q, n, bytes);
}

/* `shot` is moved. SC_ECLOSED: the worker has ended. */
static int hand_over(struct run *run, struct worker *w, struct shot *shot)
{
	size_t least = job_is_closed(run->job) ? SHOT_BYTES_AT_MAX : SHOT_BYTES_PACED;
	size_t bytes = shot_footprint(shot);
	int rc = push(run, w->shots, &shot->node, bytes < least ? least : bytes);

	free_spent(w->shots);
	if (!rc)
		return SC_OK;
	shot_free(shot);
	run->account.skipped[SKIP_STOPPED]++;
	return rc;
}

/* To the middleware; *ex is moved. */
static int hand_to_relay(struct run *run, struct exchange **ex)
{
	struct errand *e;
	int rc = errand_new(*ex, &e);

	if (rc)
		return err_set(&run->read_err, rc, "out of memory");
	e->offset_ns = schedule_next(&run->schedule, (*ex)->ts_us);
	e->pass = run->pass;
	e->out = worker_of(run, *ex);
	*ex = NULL;
	run->n_shots++;
	run->n_made++;
	rc = push(run, run->errands, &e->node, errand_footprint(e));
	if (rc) {
		errand_free(e);
		run->account.skipped[SKIP_STOPPED]++;
	}
	return rc;
}

/* What the rules and the methods say; a reason not to send is counted. */
static int judge(struct run *run, struct exchange *ex, struct account *account, bool *ret_keep)
{
	enum verdict v = chain_head(&run->chain, ex);

	if (v == VERDICT_KEEP &&
	    !method_listed(run->job->args->methods, message_method(ex->request))) {
		account->held_back++;
		return SC_OK;
	}
	if (v == VERDICT_KEEP)
		v = chain_whole(&run->chain, ex);
	if (v == VERDICT_ERROR)
		return err_set(&run->read_err, SC_EIO, "exchange %" PRId64 " cannot be changed as the "
			       "rules say: too large, or no memory", ex->id);
	if (v != VERDICT_KEEP)
		account->skipped[skip_of(v)]++;
	run->n_unsampled += v == VERDICT_UNSAMPLED;
	*ret_keep = v == VERDICT_KEEP;
	return SC_OK;
}

/* What the request itself says: *ret stays NULL when it is none to send, and the reason is counted. */
static int make_shot(struct run *run, const struct exchange *ex, struct account *account,
		     struct shot **ret)
{
	enum skip skip = SKIP_NONE;
	int rc = shot_new(ex, run->marker, ret, &skip);

	if (rc)
		return err_set(&run->read_err, rc, "out of memory");
	if (!*ret)
		account->skipped[skip]++;
	return SC_OK;
}

/* From one exchange to at most one shot in a queue; *moved stays where nobody has taken it. Requests
 * that are another target's go the same way, since all keep the same schedule. */
static int prepare(struct run *run, struct exchange **moved)
{
	struct account others = {.read = 0};
	struct exchange *ex = *moved;
	bool ours = is_ours(run, ex), keep = false;
	struct account *account = ours ? &run->account : &others;
	struct shot *shot = NULL;
	int rc;

	run->n_rows++;
	run->account.read += ours;
	ex->pass = run->pass;
	rc = judge(run, ex, account, &keep);
	if (rc || !keep)
		return rc;
	if (run->relay && ours)
		return hand_to_relay(run, moved);
	rc = make_shot(run, ex, account, &shot);
	if (rc || !shot)
		return rc;
	run->n_shots++;
	shot->pass = run->pass;
	shot->offset_ns = schedule_next(&run->schedule, ex->ts_us);
	run->n_made += ours;
	if (ours)
		return hand_over(run, &run->workers[worker_of(run, ex)], shot);
	shot_free(shot);
	return SC_OK;
}

/* SC_ECLOSED: a worker has ended, and so do all. */
static int publish(struct run *run)
{
	int rc = SC_OK;

	atomic_store_explicit(&run->rows, run->n_rows, memory_order_relaxed);
	atomic_store_explicit(&run->made, run->n_made, memory_order_relaxed);
	if (run->relay) {
		queue_publish(run->errands);
		return queue_given_up(run->errands) ? SC_ECLOSED : SC_OK;
	}
	for (unsigned i = 0; i < run->n_workers; i++) {
		queue_publish(run->workers[i].shots);
		if (queue_given_up(run->workers[i].shots))
			rc = SC_ECLOSED;
	}
	return rc;
}

static int read_all(struct run *run)
{
	unsigned n = 0;
	int rc = SC_OK;

	while (!rc && !job_ends(run->job)) {
		struct exchange *ex = NULL;

		rc = source_next(run->source, &ex, &run->read_err);
		if (rc <= 0)
			return rc;
		rc = prepare(run, &ex);
		exchange_free(ex);
		/* What matches may be rare, and must not wait for company. */
		if (!rc && ++n % PUBLISH_EVERY == 0)
			rc = publish(run);
		if (n % YIELD_EVERY == 0 && !job_is_closed(run->job))
			sched_yield();
	}
	return rc ? rc : SC_ECLOSED;
}

/* As little as the rules can do with. */
static enum store_parts parts_for(const struct run *run)
{
	if (run->rules.waits || run->relay)
		return STORE_EXCHANGES;
	return run->rules.selects ? STORE_REQUESTS : STORE_SENT;
}

static int read_pass(struct run *run)
{
	const struct job *j = run->job;
	struct store_choice choice = {
		.parts = parts_for(run),
		.from_us = j->from_us,
		.until_us = j->until_us,
		.without_replay = j->args->resume ? run->id : 0,
		.pass = run->pass,
	};
	int rc = store_source_of(run->in, &choice, &run->source, &run->read_err);

	if (rc)
		return rc;
	run->n_shots = run->n_unsampled = 0;
	rc = read_all(run);
	source_free(run->source);
	/* Where nothing is handed over, nobody else notices that the workers have ended. */
	return rc || run->n_shots ? rc : publish(run);
}

/* Passes beyond the one that made nothing would make nothing either, but where chance left it empty,
 * or where a run goes on and had made it all before. */
static bool another_pass(struct run *run)
{
	const struct replay_args *a = run->job->args;
	bool chance = a->rules.sample_by.by == SAMPLE_BY_REQUEST && a->rules.sample > 0;

	run->pass++;
	if (a->loop && run->pass >= a->loop)
		return false;
	return run->n_shots > 0 || (chance && run->n_unsampled > 0) ||
	       run->pass <= run->passes_before;
}

void *reader_main(void *arg)
{
	struct run *run = arg;
	int rc;

	job_steps_back();
	schedule_init(&run->schedule, &run->job->args->pace.pace);
	while ((rc = read_pass(run)) == SC_OK && another_pass(run))
		schedule_again(&run->schedule);
	if (rc && rc != SC_ECLOSED) {
		run->read_rc = rc;
		atomic_store(&run->job->failed, true);
	}
	if (run->relay)
		queue_close(run->errands);
	for (unsigned i = 0; !run->relay && i < run->n_workers; i++)
		queue_close(run->workers[i].shots);
	return NULL;
}

/* -- the worker's ends of its queues --------------------------------------------------------- */

static struct worker *worker_of_feed(struct shot_feed *f)
{
	return (struct worker *)(void *)((char *)f - offsetof(struct worker, feed));
}

static struct worker *worker_of_sink(struct result_sink *s)
{
	return (struct worker *)(void *)((char *)s - offsetof(struct worker, sink));
}

static void give_back(struct worker *w)
{
	if (w->over)
		queue_return(w->shots, w->over);
	w->over = NULL;
	w->n_over = 0;
}

static int feed_next(struct shot_feed *f, struct shot **ret, struct err *err)
{
	struct worker *w = worker_of_feed(f);
	struct node *n;

	(void)err;
	if (!w->taken) {
		int rc;

		give_back(w);
		rc = queue_take(w->shots, 0, &w->taken);
		if (rc)
			return rc == SC_ECLOSED ? 0 : rc;
	}
	n = w->taken;
	w->taken = n->next;
	node_fetch(n->later);
	*ret = (struct shot *)(void *)n;
	return 1;
}

static void feed_done(struct shot_feed *f, struct shot *shot)
{
	struct worker *w = worker_of_feed(f);

	shot->node.next = w->over;
	w->over = &shot->node;
	if (++w->n_over >= GIVE_BACK)
		give_back(w);
}

/* The same for results. */
static void free_written(struct queue *q)
{
	struct node *n;

	while ((n = queue_spent(q))) {
		bool small = n->bytes < LARGE_BYTES;

		result_free((struct result *)(void *)n);
		if (small)
			break;
	}
}

static void press(struct job *j)
{
	if (atomic_load_explicit(&j->pressed, memory_order_relaxed))
		return;
	pthread_mutex_lock(&j->lock);
	atomic_store(&j->pressed, true);
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
}

static int results_put(struct result_sink *s, struct result *r, struct err *err)
{
	struct queue *q = worker_of_sink(s)->results;
	struct run *run = worker_of_sink(s)->run;
	struct relay *relay = run->relay;
	int rc;

	if (relay)
		relay_response(relay, r);
	rc = queue_push(q, &r->node, result_footprint(r));
	if (rc) {
		result_free(r);
		return err_set(err, rc, "results are no longer written");
	}
	if (queue_half_full(q))
		press(run->job);
	free_written(q);
	return SC_OK;
}

static int results_tick(struct result_sink *s, int64_t now_us, struct err *err)
{
	(void)now_us;
	(void)err;
	queue_publish(worker_of_sink(s)->results);
	return SC_OK;
}

static const struct result_sink_ops sink_ops = {.put = results_put, .tick = results_tick};

void worker_connect(struct worker *w)
{
	w->feed.next = feed_next;
	w->feed.done = feed_done;
	w->sink.ops = &sink_ops;
}

/* -- before and after ----------------------------------------------------------------------- */

static bool worker_stop(void *arg)
{
	const struct worker *w = arg;

	return job_ends(w->run->job);
}

static bool worker_hurries(void *arg)
{
	(void)arg;
	return stop_hurries();
}

static void worker_progress(void *arg, const struct replay_stats *stats)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->run->job->lock);
	w->seen = *stats;
	pthread_mutex_unlock(&w->run->job->lock);
}

static void set_options(struct run *run, unsigned n)
{
	static const enum save_answers saves[] = {
		[SAVE_NONE] = SAVE_ANSWERS_NONE,
		[SAVE_STATUS] = SAVE_ANSWERS_STATUS,
		[SAVE_FULL] = SAVE_ANSWERS_FULL,
	};
	struct job *j = run->job;
	const struct replay_args *a = j->args;
	unsigned all = replay_args_connections(a);
	struct worker *w = &run->workers[n];

	w->options = (struct replay_options){
		.target = &run->target,
		.closed_loop = job_is_closed(run->job),
		/* The first ones take what does not divide. */
		.connections = all / run->n_workers + (n < all % run->n_workers),
		.timeout_us = a->timeout_us,
		.duration_us = a->duration_us,
		.drop_late_us = a->drop_late_us,
		.start = &j->start,
		.room = &j->room,
		.ordered = !a->unordered,
		/* A middleware sees what was answered; what is kept of it is the sink's to say. */
		.save = a->middleware ? SAVE_ANSWERS_FULL : saves[a->save],
		.connect = &run->connect,
		.origins = j->origins,
		.n_origins = j->n_origins,
		.stop = worker_stop,
		.hurry = worker_hurries,
		.progress = worker_progress,
		.arg = w,
	};
}

int run_prepare(struct run *run, struct err *err)
{
	unsigned n = replay_args_workers(run->job->args);
	size_t bytes = job_queue_bytes(run->job);

	snprintf(run->marker, sizeof(run->marker), "%" PRId64, run->id);
	run->workers = calloc(n, sizeof(*run->workers));
	if (!run->workers)
		return err_set(err, SC_ENOMEM, "out of memory");
	run->n_workers = n;
	for (run->homes_room = 2; run->homes_room < 2 * replay_args_connections(run->job->args);)
		run->homes_room *= 2;
	run->homes = n > 1 ? calloc(run->homes_room, sizeof(*run->homes)) : NULL;
	if (n > 1 && !run->homes)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < n; i++) {
		struct worker *w = &run->workers[i];

		w->run = run;
		w->shots = queue_new(bytes, QUEUE_WAIT);
		w->results = queue_new(bytes, QUEUE_WAIT);
		if (!w->shots || !w->results)
			return err_set(err, SC_ENOMEM, "out of memory");
		queue_set_room(w->shots, job_is_closed(run->job) ? ROOM_AT_MAX : ROOM_PACED);
		set_options(run, i);
		worker_connect(w);
	}
	if (!run->relay)
		return SC_OK;
	run->errands = queue_new(LIMIT_QUEUE_BYTES / run->job->n_runs, QUEUE_WAIT);
	run->outs = calloc(n, sizeof(struct queue *));
	if (!run->errands || !run->outs)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < n; i++)
		run->outs[i] = run->workers[i].shots;
	return SC_OK;
}

static uint64_t count_list(const struct node *n)
{
	uint64_t count = 0;

	for (; n; n = n->next)
		count++;
	return count;
}

/* Shots that a worker has not taken, though they were made. */
static uint64_t left_over(struct worker *w)
{
	uint64_t n = count_list(w->taken);
	struct node *list;

	while (queue_take(w->shots, 0, &list) == SC_OK) {
		n += count_list(list);
		queue_return(w->shots, list);
	}
	return n;
}

/* What the relay did, and what it has not taken. */
static void settle_relay(struct run *run)
{
	struct account *a = &run->account;
	struct node *list;

	for (unsigned i = 0; i < SKIPS; i++)
		a->skipped[i] += run->relayed.skipped[i];
	a->skipped[SKIP_MIDDLEWARE] += run->relayed.dropped;
	a->held_back += run->relayed.held_back;
	while (queue_take(run->errands, 0, &list) == SC_OK) {
		a->skipped[SKIP_STOPPED] += count_list(list);
		while (list) {
			struct node *next = list->next;

			errand_drop(list);
			list = next;
		}
	}
}

void run_settle(struct run *run, bool failed)
{
	struct account *a = &run->account;

	if (run->errands)
		settle_relay(run);
	for (unsigned i = 0; i < run->n_workers; i++) {
		a->skipped[SKIP_STOPPED] += left_over(&run->workers[i]);
		replay_stats_add(&run->stats, &run->workers[i].stats);
	}
	a->stats = &run->stats;
	a->run = run->id;
	a->target = run->url;
	a->pace = run->job->pace;
	a->stopped = stop_wanted();
	/* A middleware has all that is answered kept for it; nobody wants it afterwards. */
	a->capped = run->job->args->save == SAVE_FULL ? run->stats.capped : 0;
	a->skipped[SKIP_LATE] += run->stats.dropped;
	a->skipped[SKIP_STOPPED] += run->stats.unsent;
	if (failed) /* what was under way then */
		a->skipped[SKIP_STOPPED] += a->read - run->stats.sent - run->stats.failed -
					    a->held_back - account_skipped(a);
	assert(account_adds_up(a));
}

static void drop_shot(struct node *n)
{
	shot_free((struct shot *)(void *)n);
}

static void drop_result(struct node *n)
{
	result_free((struct result *)(void *)n);
}

static void drop_shots(struct node *n)
{
	while (n) {
		struct node *next = n->next;

		drop_shot(n);
		n = next;
	}
}

void run_done(struct run *run)
{
	for (unsigned i = 0; i < run->n_workers; i++) {
		struct worker *w = &run->workers[i];

		drop_shots(w->taken);
		drop_shots(w->over);
		queue_free(w->shots, drop_shot);
		queue_free(w->results, drop_result);
	}
	free(run->workers);
	free(run->homes);
	relay_free(run->relay);
	queue_free(run->errands, errand_drop);
	free(run->outs);
	if (run->sink)
		run->sink->ops->free(run->sink);
	chain_done(&run->chain);
	chain_done(&run->answers);
	rules_done(&run->rules);
	destination_way_done(&run->way);
	connect_done(&run->connect);
	store_close(run->in);
	free(run->mirror);
	free(run->url);
}
