/* SPDX-License-Identifier: Apache-2.0 */
/* One target of a mirror. Captures nothing, and never makes the capture wait. */
#include "mirror_target.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "core/limits.h"
#include "replay/h2.h"
#include "replay/resolver.h"
#include "replay/summary.h"
#include "thread.h"

#define GIVE_BACK 64u /* as many shots, or that part of the queue: what is over is room again */
#define SHOT_BYTES 1024u /* what a request counts in the queue, at least */
#define MARKER "mirror"
#define HOUR_US INT64_C(3600000000)
#define LOOK_AGAIN_US INT64_C(60000000) /* where the target's name leads by now */

/* What shot_new() would not make, in our terms. */
static const enum mirror_part part_of_skip[SKIPS] = {
	[SKIP_INCOMPLETE] = PART_INCOMPLETE, [SKIP_FRAMING] = PART_FRAMING,
	[SKIP_SIMPLE] = PART_HTTP_09,	     [SKIP_CONNECT] = PART_CONNECT,
	[SKIP_UPGRADE] = PART_UPGRADE,	     [SKIP_TOO_LARGE] = PART_TOO_LARGE,
};

static int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t monotonic_us(void)
{
	return monotonic_ns() / 1000;
}

/* -- the capture's side ---------------------------------------------------------------------- */

static void free_spent(struct mirror_target *t)
{
	struct node *n;

	while ((n = queue_spent(t->shots)))
		shot_free((struct shot *)(void *)n);
}

/* The copy as it goes out; *ret NULL when the request is not one to send, and the reason is
 * counted. */
static void make_shot(struct mirror_target *t, const struct exchange *ex, struct shot **ret)
{
	struct exchange copy = *ex;
	enum skip skip = SKIP_NONE;
	enum verdict v;
	int rc;

	*ret = NULL;
	copy.response = NULL;
	if (ex->request->flags & MESSAGE_CAPPED) {
		t->parts[PART_OVER_MAX_BODY]++;
		return;
	}
	rc = message_copy(ex->request, &copy.request);
	if (rc) {
		t->parts[PART_NO_MEMORY]++;
		return;
	}
	v = copy.block ? chain_whole(&copy.block->change, &copy) : VERDICT_KEEP;
	if (v == VERDICT_KEEP)
		v = chain_whole(&t->chain, &copy);
	rc = v == VERDICT_KEEP ? shot_new(&copy, MARKER, ret, &skip) : SC_ENOMEM;
	message_free(copy.request);
	if (rc)
		t->parts[PART_NO_MEMORY]++;
	else if (!*ret)
		t->parts[part_of_skip[skip]]++;
}

static void wake(struct mirror_target *t)
{
	if (eventfd_write(t->wake, 1)) {
		/* It counts to 2^64; whoever is asleep was woken long before. */
	}
}

/* A sender at work takes what there is by itself. One that sleeps is woken at once. */
static void wake_if_hungry(struct mirror_target *t)
{
	if (atomic_load(&t->hungry))
		mirror_target_publish(t);
}

static bool push(struct mirror_target *t, struct shot *shot)
{
	int64_t now = monotonic_ns();
	int64_t start = replay_start_at(&t->start, now, false);
	size_t bytes = shot_footprint(shot);

	shot->offset_ns = start && now > start ? now - start : 0;
	/* Before it, too: a full queue may wait for the sender. */
	if (t->unpublished)
		wake_if_hungry(t);
	if (queue_push(t->shots, &shot->node, bytes < SHOT_BYTES ? SHOT_BYTES : bytes)) {
		shot_free(shot);
		t->parts[PART_QUEUE_DROPPED]++;
		return false;
	}
	t->handed++;
	t->unpublished++;
	wake_if_hungry(t);
	return true;
}

bool mirror_target_offer(struct mirror_target *t, const struct exchange *ex, double percent)
{
	struct shot *shot;

	t->offered++;
	if (!sampler_takes(&t->sampler, ex, percent)) {
		t->parts[PART_UNSAMPLED]++;
		return false;
	}
	if (!method_listed(t->common->methods, message_method(ex->request))) {
		t->parts[PART_HELD_BACK]++;
		return false;
	}
	if (t->common->spares_itself && mirror_target_is(t, &ex->server)) {
		t->parts[PART_ITSELF]++;
		return false;
	}
	free_spent(t);
	make_shot(t, ex, &shot);
	return shot && push(t, shot);
}

void mirror_target_publish(struct mirror_target *t)
{
	if (!t->unpublished)
		return;
	queue_publish(t->shots);
	t->unpublished = 0;
	if (atomic_exchange(&t->hungry, false))
		wake(t);
}

/* -- where it is ----------------------------------------------------------------------------- */

static void add_address(struct mirror_target *t, const char *text, uint16_t port)
{
	struct addr a = {.port = port};

	if (t->n_addresses < LIMIT_MIRROR_ADDRESSES && addr_parse(text, &a) == SC_OK)
		t->addresses[t->n_addresses++] = a;
}

static void add_way(struct mirror_target *t, const struct way *way)
{
	char list[sizeof(way->list)], *rest = list, *one;

	memcpy(list, way->list, sizeof(list));
	if (!list[0])
		add_address(t, way->address, way->port);
	while (list[0] && (one = strsep(&rest, ",")))
		add_address(t, one, way->port);
}

/* Each endpoint in turn; their number of questions sees all of them. Through a proxy or a socket
 * nobody can tell. */
static void look_up(struct mirror_target *t, int64_t now_us)
{
	size_t n = t->connect.n_endpoints ? t->connect.n_endpoints : 1;
	struct way way;

	if (t->looked_us && now_us - t->looked_us < LOOK_AGAIN_US)
		return;
	t->looked_us = now_us;
	if (!t->connect.resolver || t->connect.proxy)
		return;
	pthread_mutex_lock(&t->lock);
	t->n_addresses = 0;
	for (size_t i = 0; i < n; i++) {
		resolver_next(t->connect.resolver, now_us, &way);
		add_way(t, &way);
	}
	pthread_mutex_unlock(&t->lock);
}

bool mirror_target_is(struct mirror_target *t, const struct addr *server)
{
	bool found;

	pthread_mutex_lock(&t->lock);
	found = addr_listed(server, t->addresses, t->n_addresses);
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* -- the circuit ----------------------------------------------------------------------------- */

/* A target that comes and goes for weeks fills no log. */
static bool may_say(struct mirror_target *t, int64_t now_us)
{
	if (now_us - t->said_us >= HOUR_US) {
		t->said_us = now_us;
		t->said = 0;
	}
	if (++t->said == LIMIT_MIRROR_LINES)
		say("%s: comes and goes; more of that is counted, and not said for an hour", t->url);
	return t->said < LIMIT_MIRROR_LINES;
}

static void tell_circuit(struct mirror_target *t, enum circuit_news news, enum result_error error,
			 int64_t now_us)
{
	uint64_t dropped = atomic_load(&t->paused_dropped);

	if (news == CIRCUIT_NO_NEWS)
		return;
	if (news == CIRCUIT_PAUSED)
		t->dropped_before = dropped;
	if (!may_say(t, now_us))
		return;
	if (news == CIRCUIT_PAUSED)
		say("%s: paused after %u errors in a row (%s)", t->url, t->circuit.failures,
		    result_error_text(error));
	else
		say("%s: answers again; resumed after %.1f s, %" PRIu64 " requests dropped", t->url,
		    (double)(now_us - t->circuit.since_us) / 1e6, dropped - t->dropped_before);
}

static void judge_result(struct mirror_target *t, const struct result *r)
{
	bool answered = r->error == RESULT_ERROR_NONE;
	int64_t now = monotonic_us();

	if (r->error != RESULT_ERROR_STOPPED)
		tell_circuit(t, circuit_result(&t->circuit, r->exchange_id, answered, now), r->error,
			     now);
}

/* -- the sender's side ----------------------------------------------------------------------- */

static struct mirror_target *target_of_feed(struct shot_feed *f)
{
	return (struct mirror_target *)(void *)((char *)f - offsetof(struct mirror_target, feed));
}

static struct mirror_target *target_of_sink(struct result_sink *s)
{
	return (struct mirror_target *)(void *)((char *)s - offsetof(struct mirror_target, sink));
}

static void give_back(struct mirror_target *t)
{
	if (t->over)
		queue_return(t->shots, t->over);
	t->over = NULL;
	t->n_over = 0;
	t->over_bytes = 0;
}

static void to_tee(struct mirror_target *t, struct result *r)
{
	struct node *n;

	while ((n = queue_spent(t->results)))
		result_free((struct result *)(void *)n);
	if (queue_push(t->results, &r->node, result_footprint(r))) {
		result_free(r);
		atomic_fetch_add(&t->tee_dropped, 1);
	}
}

/* The tee waits for nothing that will not come. */
static void nothing_came(struct mirror_target *t, int64_t exchange_id)
{
	struct result *r;

	circuit_lost(&t->circuit, exchange_id);
	r = t->results ? result_new() : NULL;
	if (!r)
		return;
	r->exchange_id = exchange_id;
	r->error = RESULT_ERROR_STOPPED;
	to_tee(t, r);
}

static void feed_done(struct shot_feed *f, struct shot *shot)
{
	struct mirror_target *t = target_of_feed(f);

	/* A result comes right before the end of its shot. */
	if (shot->exchange_id != t->settled)
		nothing_came(t, shot->exchange_id);
	shot->node.next = t->over;
	t->over = &shot->node;
	t->over_bytes += shot->node.bytes;
	if (++t->n_over >= GIVE_BACK || t->over_bytes >= t->common->queue_bytes / GIVE_BACK)
		give_back(t);
}

/* Everything there is; when there is nothing, the next one wakes us. */
static int take(struct mirror_target *t)
{
	int rc = queue_take(t->shots, 0, &t->taken);

	if (rc != SC_EAGAIN)
		return rc;
	atomic_store(&t->hungry, true);
	return queue_take(t->shots, 0, &t->taken); /* it may have come in between */
}

static int feed_next(struct shot_feed *f, struct shot **ret, struct err *err)
{
	struct mirror_target *t = target_of_feed(f);

	(void)err;
	for (;;) {
		struct shot *shot;

		if (!t->taken) {
			int rc;

			give_back(t);
			rc = take(t);
			if (rc)
				return rc == SC_ECLOSED ? 0 : rc;
		}
		shot = (struct shot *)(void *)t->taken;
		t->taken = shot->node.next;
		if (circuit_admits(&t->circuit, shot->exchange_id, monotonic_us())) {
			*ret = shot;
			return 1;
		}
		atomic_fetch_add(&t->paused_dropped, 1);
		feed_done(f, shot);
	}
}

static int results_put(struct result_sink *s, struct result *r, struct err *err)
{
	struct mirror_target *t = target_of_sink(s);

	(void)err;
	t->settled = r->exchange_id;
	judge_result(t, r);
	if (t->results)
		to_tee(t, r);
	else
		result_free(r);
	return SC_OK;
}

static int results_tick(struct result_sink *s, int64_t now_us, struct err *err)
{
	struct mirror_target *t = target_of_sink(s);

	(void)now_us;
	(void)err;
	give_back(t);
	if (t->results)
		queue_publish(t->results);
	return SC_OK;
}

static const struct result_sink_ops sink_ops = {.put = results_put, .tick = results_tick};

static bool sender_stop(void *arg)
{
	const struct mirror_target *t = arg;

	return t->common->stop(t->common->arg);
}

static void sender_progress(void *arg, const struct replay_stats *stats)
{
	struct mirror_target *t = arg;

	pthread_mutex_lock(&t->lock);
	t->seen = *stats;
	t->pauses = t->circuit.pauses;
	t->paused = t->circuit.open;
	pthread_mutex_unlock(&t->lock);
	look_up(t, monotonic_us());
}

static void *sender_main(void *arg)
{
	struct mirror_target *t = arg;

	t->rc = (t->connect.http2 ? replay_run_h2 : replay_run)(&t->options, &t->feed, &t->sink,
								&t->stats, &t->err);
	if (t->rc)
		say("%s: %s", t->url, t->err.text);
	sender_progress(t, &t->stats);
	queue_give_up(t->shots);
	if (t->results)
		queue_close(t->results);
	return NULL;
}

/* -- before and after ------------------------------------------------------------------------ */

static void set_options(struct mirror_target *t)
{
	const struct mirror_common *c = t->common;

	t->options = (struct replay_options){
		.target = &t->target,
		.connections = c->max_in_flight,
		.timeout_us = c->timeout_us,
		/* Nobody waits for a mirrored request that is older than an answer may take. */
		.drop_late_us = c->wait ? 0 : c->timeout_us,
		.start = &t->start,
		.room = c->room,
		.ordered = true,
		.save = c->keep_answers ? SAVE_ANSWERS_FULL : SAVE_ANSWERS_STATUS,
		.connect = &t->connect,
		.stop = sender_stop,
		.progress = sender_progress,
		.arg = t,
	};
	t->feed.next = feed_next;
	t->feed.done = feed_done;
	t->feed.wake_fd = t->wake;
	t->sink.ops = &sink_ops;
}

int mirror_target_start(struct mirror_target *t, const struct mirror_common *common,
			const struct sample_key *key, uint64_t seed, struct err *err)
{
	int rc;

	t->common = common;
	sampler_init(&t->sampler, key, seed);
	replay_start_init(&t->start, 1);
	circuit_init(&t->circuit, common->circuit);
	pthread_mutex_init(&t->lock, NULL);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->shots = queue_new(common->queue_bytes, common->wait ? QUEUE_WAIT : QUEUE_REFUSE);
	if (common->keep_answers)
		t->results = queue_new(common->queue_bytes, common->wait ? QUEUE_WAIT : QUEUE_REFUSE);
	if (t->wake < 0)
		return err_set(err, SC_EIO, "eventfd: %s", strerror(errno));
	if (!t->shots || (common->keep_answers && !t->results))
		return err_set(err, SC_ENOMEM, "out of memory");
	set_options(t);
	look_up(t, monotonic_us());
	rc = thread_start(&t->thread, sender_main, t, err);
	t->started = rc == SC_OK;
	return rc;
}

static uint64_t count_list(const struct node *n)
{
	uint64_t count = 0;

	for (; n; n = n->next)
		count++;
	return count;
}

void mirror_target_stop(struct mirror_target *t)
{
	struct node *list;

	if (!t->started)
		return;
	pthread_join(t->thread, NULL);
	t->started = false;
	/* What it has not taken. */
	t->parts[PART_STOPPED] += count_list(t->taken);
	while (queue_take(t->shots, 0, &list) == SC_OK) {
		t->parts[PART_STOPPED] += count_list(list);
		queue_return(t->shots, list);
	}
}

void mirror_target_close(struct mirror_target *t)
{
	if (!t->started)
		return;
	queue_close(t->shots);
	wake(t);
}

static void drop_shots(struct node *n)
{
	while (n) {
		struct node *next = n->next;

		shot_free((struct shot *)(void *)n);
		n = next;
	}
}

static void drop_shot(struct node *n)
{
	shot_free((struct shot *)(void *)n);
}

static void drop_result(struct node *n)
{
	result_free((struct result *)(void *)n);
}

void mirror_target_done(struct mirror_target *t)
{
	if (!t->common)
		return;
	mirror_target_close(t);
	mirror_target_stop(t);
	drop_shots(t->taken);
	drop_shots(t->over);
	queue_free(t->shots, drop_shot);
	queue_free(t->results, drop_result);
	if (t->wake >= 0)
		close(t->wake);
	pthread_mutex_destroy(&t->lock);
}

/* -- the account ----------------------------------------------------------------------------- */

void mirror_target_stats(struct mirror_target *t, struct replay_stats *ret)
{
	pthread_mutex_lock(&t->lock);
	*ret = t->seen;
	pthread_mutex_unlock(&t->lock);
}

/* Where every offered request is. What the sender says is a little old, so that the rest is a
 * little too much. */
static void parts_of(struct mirror_target *t, const struct replay_stats *st, uint64_t n[PARTS])
{
	uint64_t sum = 0;

	memcpy(n, t->parts, sizeof(t->parts));
	n[PART_ANSWERED] = st->sent;
	n[PART_FAILED] = st->failed;
	n[PART_LATE] = st->dropped;
	n[PART_PAUSED_DROPPED] = atomic_load(&t->paused_dropped);
	n[PART_STOPPED] += st->unsent;
	for (int i = 0; i < PARTS; i++)
		sum += n[i];
	n[PART_WAITING] = t->offered - sum;
}

bool mirror_target_adds_up(struct mirror_target *t)
{
	uint64_t n[PARTS];

	parts_of(t, &t->stats, n);
	return t->rc || n[PART_WAITING] == 0;
}

static const struct {
	const char *name, *help;
} parts[PARTS] = {
#define ROW(id, name, help) [PART_##id] = {name, help},
	MIRROR_PART_TABLE(ROW)
#undef ROW
};

static uint64_t pauses_of(struct mirror_target *t, bool *ret_now)
{
	uint64_t n;

	pthread_mutex_lock(&t->lock);
	n = t->pauses;
	*ret_now = t->paused;
	pthread_mutex_unlock(&t->lock);
	return n;
}

static int add_answers(const struct replay_stats *st, struct buf *out)
{
	char p50[DURATION_TEXT], p99[DURATION_TEXT];
	int rc = buf_add_str(out, "          status");

	for (unsigned i = 0; i < STATUS_CODES && !rc; i++) {
		if (st->status[i])
			rc = buf_addf(out, "  %u: %" PRIu64, i, st->status[i]);
	}
	duration_text(histogram_percentile(&st->service, 50), p50);
	duration_text(histogram_percentile(&st->service, 99), p99);
	return rc ? rc : buf_addf(out, "  answered in p50 %s, p99 %s\n", p50, p99);
}

static int add_failures(const struct replay_stats *st, struct buf *out)
{
	int rc = SC_OK;

	for (int i = 1; i < RESULT_ERRORS && !rc; i++) {
		if (st->errors[i])
			rc = buf_addf(out, "          %" PRIu64 " failed: %s\n", st->errors[i],
				      result_error_text((enum result_error)i));
	}
	return rc;
}

/* What may be missing of answers. */
static int add_losses(const struct replay_stats *st, struct buf *out)
{
	int rc = st->unsaid ? buf_addf(out, "          %" PRIu64 " answers that ended without "
					    "close_notify, and may be cut\n", st->unsaid)
			    : SC_OK;

	if (rc)
		return rc;
	return st->capped ? buf_addf(out, "          %" PRIu64 " answers, of whose bodies only the "
					  "beginning is kept\n", st->capped)
			  : SC_OK;
}

int mirror_target_text(struct mirror_target *t, struct buf *out)
{
	static struct replay_stats st; /* too large for a stack; the main thread's alone */
	const char *before = " ";
	uint64_t n[PARTS], pauses;
	bool paused;
	int rc;

	mirror_target_stats(t, &st);
	parts_of(t, &st, n);
	pauses = pauses_of(t, &paused);
	rc = buf_addf(out, "%-10s%s\n          %" PRIu64 " offered =", "mirror", t->url, t->offered);
	for (int i = 0; i < PARTS && !rc; i++) {
		if (!n[i] && i != PART_ANSWERED)
			continue;
		rc = buf_addf(out, "%s%" PRIu64 " %s", before, n[i], parts[i].help);
		before = " + ";
	}
	rc = rc ? rc : buf_add_str(out, "\n");
	if (!rc)
		rc = add_failures(&st, out);
	if (!rc)
		rc = add_losses(&st, out);
	if (!rc && pauses)
		rc = buf_addf(out, "          %" PRIu64 " pauses%s\n", pauses,
			      paused ? ", one of them now" : "");
	return rc || !st.sent ? rc : add_answers(&st, out);
}

static void add_number(json_t *to, const char *name, uint64_t n)
{
	json_object_set_new(to, name, json_integer((json_int_t)n));
}

static void add_percentiles(json_t *to, const struct histogram *service)
{
	json_object_set_new(to, "p50_us",
			    json_real((double)histogram_percentile(service, 50) / 1e3));
	json_object_set_new(to, "p99_us",
			    json_real((double)histogram_percentile(service, 99) / 1e3));
}

json_t *mirror_target_json(struct mirror_target *t)
{
	static struct replay_stats st;
	json_t *o = json_object(), *status = json_object(), *errors = json_object();
	uint64_t n[PARTS];
	char code[8];
	bool paused;

	mirror_target_stats(t, &st);
	parts_of(t, &st, n);
	json_object_set_new(o, "target", json_string(t->url));
	add_number(o, "offered", t->offered);
	for (int i = 0; i < PARTS; i++)
		add_number(o, parts[i].name, n[i]);
	for (unsigned i = 0; i < STATUS_CODES; i++) {
		snprintf(code, sizeof(code), "%u", i);
		if (st.status[i])
			add_number(status, code, st.status[i]);
	}
	for (int i = 1; i < RESULT_ERRORS; i++) {
		if (st.errors[i])
			add_number(errors, result_error_text((enum result_error)i), st.errors[i]);
	}
	json_object_set_new(o, "status", status);
	json_object_set_new(o, "errors", errors);
	add_number(o, "pauses", pauses_of(t, &paused));
	add_number(o, "connections", st.connections);
	add_number(o, "capped", st.capped);
	add_number(o, "without_close_notify", st.unsaid);
	add_number(o, "tee_dropped", atomic_load(&t->tee_dropped));
	add_percentiles(o, &st.service);
	return o;
}
