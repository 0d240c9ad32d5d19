/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a replay, and what it shows while they work. */
#include "replay_job.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "replay/h2.h"
#include "store/store.h"
#include "thread.h"

#define WRITE_EVERY_NS 10000000 /* the writer takes what has come by then ... */
#define WRITE_AT_MAX_NS 250000000 /* ... or then, in a closed loop */
#define BACKGROUND_NICE 10
#define SHOW_EVERY_NS 100000000
#define LINE_US 5000000 /* between progress lines where there is no terminal */

/* On the clock of the condition. */
static struct timespec after_ns(int64_t ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ns / 1000000000;
	t.tv_nsec += ns % 1000000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* -- writer --------------------------------------------------------------------------------- */

/* Who reads and who writes has time; who sends must have the processor at once when it wakes. */
void job_steps_back(void)
{
	struct sched_param none = {.sched_priority = 0};

	if (sched_getscheduler(0) != SCHED_OTHER)
		return; /* a person has arranged it otherwise */
	(void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
}

/* Takes the nodes up to `last` off the list and gives them back. */
static struct node *give_back(struct queue *q, struct node *list, struct node *last)
{
	struct node *rest = last->next;

	last->next = NULL;
	queue_return(q, list);
	return rest;
}

/* What has come of one worker. Given back in portions, while they are still in the cache. */
static int write_some(struct job *j, struct worker *w)
{
	struct node *list, *n;
	unsigned count = 0;
	int rc = queue_take(w->results, 0, &list);

	if (rc == SC_ECLOSED)
		w->written = true;
	if (rc)
		return rc == SC_EAGAIN || rc == SC_ECLOSED ? SC_OK : rc;
	for (n = list; n && !rc;) {
		struct node *next = n->next;
		struct result *r = (struct result *)(void *)n;

		node_fetch(n->later);
		rules_redact_answer(&w->run->answers, r);
		rc = store_result_put(w->run->sink, r, &j->write_err);
		if (++count % GIVE_BACK == 0)
			list = give_back(w->results, list, n);
		n = next;
	}
	if (list)
		queue_return(w->results, list);
	return rc;
}

static int write_round(struct job *j, bool *ret_over)
{
	bool over = true;
	int rc = SC_OK;

	atomic_store(&j->pressed, false);
	for (unsigned i = 0; i < j->n_runs && !rc; i++) {
		struct run *run = &j->runs[i];

		for (unsigned k = 0; k < run->n_workers && !rc; k++) {
			if (!run->workers[k].written)
				rc = write_some(j, &run->workers[k]);
			over = over && run->workers[k].written;
		}
		if (!rc && run->sink->ops->tick)
			rc = run->sink->ops->tick(run->sink, clock_us(), &j->write_err);
	}
	*ret_over = over;
	return rc;
}

static int finish_all(struct job *j)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = j->runs[i].sink->ops->finish(j->runs[i].sink, clock_us(), &j->write_err);
	return rc;
}

static void writer_gives_up(struct job *j)
{
	atomic_store(&j->failed, true);
	for (unsigned i = 0; i < j->n_runs; i++) {
		for (unsigned k = 0; k < j->runs[i].n_workers; k++)
			queue_give_up(j->runs[i].workers[k].results);
	}
}

/* For a while, unless a queue fills up, or a worker ends. */
static void rest(struct job *j)
{
	struct timespec until = after_ns(job_is_closed(j) ? WRITE_AT_MAX_NS : WRITE_EVERY_NS);
	unsigned running;

	pthread_mutex_lock(&j->lock);
	running = j->running;
	while (running && j->running == running && !atomic_load(&j->pressed) &&
	       pthread_cond_timedwait(&j->changed, &j->lock, &until) == 0)
		;
	pthread_mutex_unlock(&j->lock);
}

/* Sleeps rather than being woken: what it would be woken for, a sender would have to pay. In a closed
 * loop long: on two cores a sender and its target are faster the less often they are disturbed. */
static void *writer_main(void *arg)
{
	struct job *j = arg;
	bool over;
	int rc;

	job_steps_back();
	while ((rc = write_round(j, &over)) == SC_OK && !over)
		rest(j);
	if (!rc)
		rc = finish_all(j);
	j->write_rc = rc;
	if (rc)
		writer_gives_up(j);
	return NULL;
}

/* -- workers -------------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct job *j = w->run->job;
	int (*run)(const struct replay_options *options, struct shot_feed *feed,
		   struct result_sink *sink, struct replay_stats *ret_stats, struct err *err) =
		w->run->connect.http2 ? replay_run_h2 : replay_run;

	w->rc = run(&w->options, &w->feed, &w->sink, &w->stats, &w->err);
	if (w->rc)
		atomic_store(&j->failed, true);
	queue_give_up(w->shots);
	queue_close(w->results);
	pthread_mutex_lock(&j->lock);
	w->seen = w->stats;
	j->running--;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* -- what is shown -------------------------------------------------------------------------- */

static void sum_up(struct job *j, struct replay_stats *sum)
{
	memset(sum, 0, sizeof(*sum));
	pthread_mutex_lock(&j->lock);
	for (unsigned i = 0; i < j->n_runs; i++) {
		for (unsigned k = 0; k < j->runs[i].n_workers; k++)
			replay_stats_add(sum, &j->runs[i].workers[k].seen);
	}
	pthread_mutex_unlock(&j->lock);
}

/* Requests that will have been tried in the end, if the rest is like what was read so far. */
static uint64_t expected(struct job *j)
{
	double sum = 0;

	for (unsigned i = 0; i < j->n_runs && j->total; i++) {
		uint64_t rows = atomic_load_explicit(&j->runs[i].rows, memory_order_relaxed);
		uint64_t made = atomic_load_explicit(&j->runs[i].made, memory_order_relaxed);

		if (rows == 0)
			return 0;
		sum += (double)made * (double)j->total / (double)rows;
	}
	return (uint64_t)sum;
}

/* A line that the terminal would fold is not cleared as a whole. */
static size_t fitting(size_t len)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < 2)
		return len;
	return len < size.ws_col ? len : size.ws_col - 1u;
}

static void show_progress(struct job *j)
{
	static struct replay_stats sum; /* too large for a stack; there is one job */
	struct progress progress = {&sum, expected(j), j->planned_us};
	int64_t now = clock_us();
	bool asked = stop_report_wanted();
	bool live = !j->args->quiet && isatty(STDERR_FILENO);
	struct buf line;

	if (j->last_line_us == 0)
		j->last_line_us = now;
	if (!asked && !live && (j->args->quiet || now - j->last_line_us < LINE_US))
		return;
	sum_up(j, &sum);
	buf_init(&line, KIB);
	if (!progress_line(&progress, &line)) {
		fprintf(stderr, live && !asked ? "\r\033[K%.*s" : "%.*s\n",
			(int)(live && !asked ? fitting(line.len) : line.len),
			(const char *)line.data);
		j->line_open = live && !asked;
		j->last_line_us = now;
	}
	buf_done(&line);
}

static void wait_workers(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	while (j->running) {
		struct timespec until = after_ns(SHOW_EVERY_NS);

		(void)pthread_cond_timedwait(&j->changed, &j->lock, &until);
		pthread_mutex_unlock(&j->lock);
		show_progress(j);
		pthread_mutex_lock(&j->lock);
	}
	pthread_mutex_unlock(&j->lock);
	if (j->line_open)
		fputs("\r\033[K", stderr);
}

/* -- threads -------------------------------------------------------------------------------- */

/* A worker whose thread could not be had has ended as any other. */
static void start_worker(struct job *j, struct worker *w)
{
	int rc = thread_start(&w->thread, worker_main, w, &w->err);

	if (!rc)
		return;
	w->rc = rc;
	w->thread = pthread_self();
	atomic_store(&j->failed, true);
	replay_start_ready(&j->start);
	queue_give_up(w->shots);
	queue_close(w->results);
	pthread_mutex_lock(&j->lock);
	j->running--;
	pthread_mutex_unlock(&j->lock);
}

static bool relay_stop(void *arg)
{
	const struct run *run = arg;

	return job_ends(run->job);
}

static int start_relay(struct run *run)
{
	const struct replay_args *a = run->job->args;
	struct relay_options options = {
		.marker = run->marker,
		.in = run->errands,
		.outs = run->outs,
		.n_outs = run->n_workers,
		/* What is dropped for being late has no answer to wait for. */
		.ordered = !a->unordered && !a->drop_late_us,
		.may_send = method_listed,
		.methods = a->methods,
		.closed_loop = job_is_closed(run->job),
		.connections = replay_args_connections(a),
		.start = &run->job->start,
		.stop = relay_stop,
		.arg = run,
	};

	run->relay_rc = relay_start(run->relay, &options, &run->relay_err);
	if (run->relay_rc)
		atomic_store(&run->job->failed, true);
	return run->relay_rc;
}

static void start_run(struct job *j, struct run *run)
{
	int rc;

	for (unsigned k = 0; k < run->n_workers; k++)
		start_worker(j, &run->workers[k]);
	if (run->relay && start_relay(run))
		queue_give_up(run->errands);
	rc = thread_start(&run->reader, reader_main, run, &run->read_err);
	if (!rc)
		return;
	run->read_rc = rc;
	run->reader = pthread_self();
	atomic_store(&j->failed, true);
	for (unsigned k = 0; k < run->n_workers; k++)
		queue_close(run->workers[k].shots);
}

static void join(pthread_t thread)
{
	if (!pthread_equal(thread, pthread_self()))
		pthread_join(thread, NULL);
}

/* What the account has no row for. */
static void say_relayed(const struct run *run)
{
	const struct middleware_stats *m = &run->relayed.middleware;

	if (m->garbage)
		say("the middleware wrote %" PRIu64 " lines that are no records; the first: %s",
		    m->garbage, m->note);
	if (run->relayed.no_requests)
		say("the middleware answered %" PRIu64 " times with what is no HTTP request",
		    run->relayed.no_requests);
	if (m->requests && !m->answered && !run->relay_rc)
		say("the middleware answered none of %" PRIu64 " requests", m->requests);
	if (m->strays)
		say("the middleware answered %" PRIu64 " times too late, or twice, or to no request",
		    m->strays);
	if (run->relayed.answers_lost && !run->relay_rc)
		say("the middleware reads too slowly: it was not given %" PRIu64 " answers",
		    run->relayed.answers_lost);
	if (m->killed && !run->relay_rc)
		say("the middleware did not end with its input, and was killed");
}

static void join_run(struct run *run)
{
	for (unsigned k = 0; k < run->n_workers; k++)
		join(run->workers[k].thread);
	join(run->reader);
	if (run->relay && !run->relay_rc) {
		run->relay_rc = relay_end(run->relay, &run->relayed, &run->relay_err);
		run->relay = NULL;
		say_relayed(run);
	}
}

static unsigned count_workers(const struct job *j)
{
	unsigned n = 0;

	for (unsigned i = 0; i < j->n_runs; i++)
		n += j->runs[i].n_workers;
	return n;
}

/* Whoever stopped the rest says why; workers only know that their results are not wanted any
 * more. */
static int first_error(struct job *j, struct err *err)
{
	if (j->write_rc) {
		*err = j->write_err;
		return j->write_rc;
	}
	for (unsigned i = 0; i < j->n_runs; i++) {
		struct run *run = &j->runs[i];

		if (run->relay_rc) {
			*err = run->relay_err;
			return run->relay_rc;
		}
		if (run->read_rc) {
			*err = run->read_err;
			return run->read_rc;
		}
		for (unsigned k = 0; k < run->n_workers; k++) {
			if (run->workers[k].rc) {
				*err = run->workers[k].err;
				return run->workers[k].rc;
			}
		}
	}
	return SC_OK;
}

/* When there is one that writes. */
static int run_all(struct job *j, struct err *err)
{
	for (unsigned i = 0; i < j->n_runs; i++)
		start_run(j, &j->runs[i]);
	wait_workers(j);
	for (unsigned i = 0; i < j->n_runs; i++)
		join_run(&j->runs[i]);
	join(j->writer);
	return first_error(j, err);
}

int job_run(struct job *j, struct err *err)
{
	pthread_condattr_t attr;
	int rc;

	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->changed, &attr);
	pthread_condattr_destroy(&attr);
	j->running = count_workers(j);
	replay_start_init(&j->start, j->running);
	body_room_init(&j->room);
	rc = thread_start(&j->writer, writer_main, j, err);
	if (!rc)
		rc = run_all(j, err);
	for (unsigned i = 0; i < j->n_runs; i++)
		run_settle(&j->runs[i], rc != SC_OK);
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->lock);
	return rc;
}
