/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl replay: a store's requests to another target, and its answers into the same store.
 *
 * Three threads: one reads and prepares requests, one sends them, one writes results. The one that
 * sends never waits for a disk. */
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "core/limits.h"
#include "core/queue.h"
#include "replay/replay.h"
#include "replay/summary.h"
#include "rules.h"
#include "store/store.h"

/* Opened only when all others are busy. A closed loop is as wide as this says; an open one must not
 * be held up by it. */
#define DEFAULT_CONNECTIONS_MAX_PACE 64
#define DEFAULT_CONNECTIONS 1024
#define DEFAULT_TIMEOUT_US 30000000
#define DEFAULT_METHODS "GET,HEAD,OPTIONS"
#define RELEASE_EVERY 256u /* nodes given back to a queue at once */
#define LINE_US 5000000	   /* between progress lines where there is no terminal */
#define SUMMARY_BYTES (1u * MIB)
/* What a request counts in the queue, at least: so that a full one holds LIMIT_READ_AHEAD. */
#define SHOT_BYTES (LIMIT_QUEUE_BYTES / LIMIT_READ_AHEAD)

/* Each of --speed, --rate and --max excludes the others. */
struct pace_option {
	struct pace pace;
	const char *given; /* the option that set it; NULL: none */
	const char *value;
};

struct replay_cmd {
	const char *to;
	struct pace_option pace;
	uint64_t connections;	/* 0: as the pace wants */
	uint64_t max_in_flight; /* 0: as connections */
	int64_t timeout_us;
	const char *methods;
	bool unordered;
	enum save_mode save;
	const char *ca_file;
	bool insecure, allow_origin;
	bool json, quiet;
	struct rule_options rules;
	struct rewrite_options rewrites;
};

static int pace_once(struct pace_option *p, const char *name, const char *value, struct err *err)
{
	if (p->given)
		return err_set(err, SC_EINVAL, "%s and %s exclude each other", p->given, name);
	p->given = name;
	p->value = value;
	return SC_OK;
}

static int set_speed(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;
	int rc = pace_once(p, "--speed", value, err);

	return rc ? rc : pace_parse_speed(value, &p->pace.speed, err);
}

static int set_rate(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;
	int rc = pace_once(p, "--rate", value, err);

	p->pace.kind = PACE_RATE;
	return rc ? rc : pace_parse_rate(value, &p->pace.rate, err);
}

static int set_max(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;

	p->pace.kind = PACE_MAX;
	return pace_once(p, "--max", value, err);
}

static int set_order(void *to, const char *value, struct err *err)
{
	bool *unordered = to;

	*unordered = strcmp(value, "none") == 0;
	if (!*unordered && strcmp(value, "connection") != 0)
		return err_set(err, SC_EINVAL, "'%s' is no order; expected connection or none",
			       value);
	return SC_OK;
}

static const char *const save_names[] = {
	[SAVE_NONE] = "none",
	[SAVE_STATUS] = "status",
	[SAVE_FULL] = "full",
};

static int set_save(void *to, const char *value, struct err *err)
{
	for (size_t i = 0; i < sizeof(save_names) / sizeof(save_names[0]); i++) {
		if (strcmp(value, save_names[i]) == 0) {
			*(enum save_mode *)to = (enum save_mode)i;
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "'%s'; expected none, status or full", value);
}

/* A comma-separated list of methods (tokens, RFC 9110, 5.6.2), or "all". */
static int set_methods(void *to, const char *value, struct err *err)
{
	static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789!#$%&'*+-.^_`|~";
	const char *p = value;

	for (;;) {
		size_t len = strspn(p, token);

		if (len == 0 || (p[len] != ',' && p[len] != '\0'))
			return err_set(err, SC_EINVAL,
				       "'%s' is no list of methods; expected all, or names like "
				       "GET,POST",
				       value);
		if (p[len] == '\0')
			break;
		p += len + 1;
	}
	*(const char **)to = value;
	return SC_OK;
}

#define AT(member) offsetof(struct replay_cmd, member)
static const struct opt replay_rows[] = {
	{"Target", 0, "to", "URL", "where requests go: http://HOST[:PORT] or https://HOST[:PORT]",
	 opt_text, AT(to)},
	{NULL, 0, "allow-origin", NULL, "may be an address that the dataset was captured from",
	 opt_flag, AT(allow_origin)},
	{NULL, 0, "cacert", "FILE", "certificates to trust (default: the system's)", opt_text,
	 AT(ca_file)},
	{NULL, 0, "insecure", NULL, "do not check the target's certificate", opt_flag,
	 AT(insecure)},
	{"Pace (default: as recorded)", 0, "speed", "X", "as recorded, X times as fast", set_speed,
	 AT(pace)},
	{NULL, 0, "rate", "N/s", "this many a second (also N/m, N/h), as far as --connections go",
	 set_rate, AT(pace)},
	{NULL, 0, "max", NULL, "as fast as the target answers", set_max, AT(pace)},
	{NULL, 0, "connections", "N",
	 "most connections open at once (default: 1024; with --max 64)", opt_count,
	 AT(connections)},
	{NULL, 0, "max-in-flight", "N",
	 "most requests waiting for an answer (default: --connections)", opt_count,
	 AT(max_in_flight)},
	{NULL, 0, "timeout", "TIME", "to connect, and for each answer (default: 30s)", opt_duration,
	 AT(timeout_us)},
	{"Requests", 0, "methods", "LIST",
	 "methods that are sent, or all (default: " DEFAULT_METHODS ")", set_methods, AT(methods)},
	{NULL, 0, "order", "ORDER", "connection: as recorded, in order on one (default); or none",
	 set_order, AT(unordered)},
	{"Results", 0, "save", "WHAT", "of each answer: none, status or full (default: full)",
	 set_save, AT(save)},
	{NULL, 0, "json", NULL, "the summary as JSON", opt_flag, AT(json)},
	{NULL, 0, "quiet", NULL, "no progress", opt_flag, AT(quiet)},
	{0},
};

static const struct opt_table replay_tables[] = {
	{replay_rows, 0},
	{rule_rows, AT(rules)},
	{rewrite_rows, AT(rewrites)},
	{NULL, 0},
};
#undef AT

static void replay_defaults(void *options)
{
	struct replay_cmd *o = options;

	o->pace.pace.speed = 1;
	o->timeout_us = DEFAULT_TIMEOUT_US;
	o->methods = DEFAULT_METHODS;
	o->save = SAVE_FULL;
	rule_defaults(&o->rules);
}

/* Everything of one run. */
struct job {
	const struct replay_cmd *o;
	struct target_url target;
	char pace[64];
	struct chain chain;
	struct store *in,
		*out; /* two handles of the same file: one for each thread that needs one */
	struct source *source;
	struct result_sink *sink;
	int64_t run;
	char marker[24];
	struct addr *origins;
	size_t n_origins;

	struct queue *shots;   /* reader -> loop */
	struct queue *results; /* loop -> writer */
	int read_rc, write_rc;
	struct err read_err, write_err;
	struct account account;	   /* the reader's, until it is joined */
	struct replay_stats stats; /* the loop's */

	/* The loop's end of both queues. */
	struct shot_feed feed;
	struct node *taken;
	size_t taken_bytes;
	unsigned taken_n;
	struct result_sink loop_sink;
	int64_t last_line_us;
	bool line_open;
};

/* -- reader --------------------------------------------------------------------------------- */

static bool method_listed(const char *list, struct span method)
{
	if (strcmp(list, "all") == 0)
		return true;
	while (*list) {
		size_t len = strcspn(list, ",");

		if (span_eq(span_of(list, len), method))
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

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

/* From one exchange to at most one shot in the queue; ex is borrowed. */
static int prepare(struct job *j, struct exchange *ex)
{
	struct shot *shot = NULL;
	enum skip skip;
	enum verdict v = chain_head(&j->chain, ex);
	int rc;

	if (v == VERDICT_KEEP && !method_listed(j->o->methods, message_method(ex->request))) {
		j->account.held_back++;
		return SC_OK;
	}
	if (v == VERDICT_KEEP)
		v = chain_whole(&j->chain, ex);
	if (v == VERDICT_ERROR)
		return err_set(&j->read_err, SC_ENOMEM, "out of memory");
	skip = skip_of(v);
	if (skip == SKIP_NONE) {
		rc = shot_new(ex, j->marker, &shot, &skip);
		if (rc)
			return err_set(&j->read_err, rc, "out of memory");
	}
	if (shot) {
		size_t bytes = shot_footprint(shot);

		rc = queue_push(j->shots, &shot->node, bytes < SHOT_BYTES ? SHOT_BYTES : bytes);
		if (!rc)
			return SC_OK; /* moved */
		shot_free(shot);
		skip = SKIP_STOPPED;
		j->account.skipped[skip]++;
		return rc; /* SC_ECLOSED: the loop has ended */
	}
	j->account.skipped[skip]++;
	return SC_OK;
}

static void *reader_main(void *arg)
{
	struct job *j = arg;
	int rc = SC_OK;

	while (!rc && !stop_wanted()) {
		struct exchange *ex = NULL;

		rc = source_next(j->source, &ex, &j->read_err);
		if (rc == SC_EAGAIN) {
			queue_publish(j->shots);
			rc = SC_OK;
			continue;
		}
		if (rc == 0)
			break;
		if (rc < 0) {
			j->read_rc = rc;
			break;
		}
		j->account.read++;
		rc = prepare(j, ex);
		exchange_free(ex);
		if (rc && rc != SC_ECLOSED)
			j->read_rc = rc;
	}
	queue_close(j->shots);
	return NULL;
}

/* -- writer --------------------------------------------------------------------------------- */

static void drop_result(struct node *n)
{
	result_free((struct result *)(void *)n);
}

static void drop_shot(struct node *n)
{
	shot_free((struct shot *)(void *)n);
}

static int write_list(struct job *j, struct node *list)
{
	size_t bytes = 0;
	unsigned n = 0;
	int rc = SC_OK;

	while (list) {
		struct node *next = list->next;

		bytes += list->bytes;
		if (rc)
			drop_result(list);
		else
			rc = j->sink->ops->put(j->sink, (struct result *)(void *)list,
					       &j->write_err);
		list = next;
		if (++n % RELEASE_EVERY == 0 || !list) {
			queue_release(j->results, bytes);
			bytes = 0;
		}
	}
	return rc;
}

static void *writer_main(void *arg)
{
	struct job *j = arg;
	int rc = SC_OK;

	while (!rc) {
		struct node *list;

		rc = queue_take(j->results, 100, &list);
		if (rc == SC_ECLOSED)
			break;
		rc = rc == SC_OK ? write_list(j, list) : SC_OK;
		if (!rc && j->sink->ops->tick)
			rc = j->sink->ops->tick(j->sink, clock_us(), &j->write_err);
	}
	if (rc != SC_ECLOSED) {
		j->write_rc = rc;
		queue_give_up(j->results);
		return NULL;
	}
	j->write_rc = j->sink->ops->finish(j->sink, clock_us(), &j->write_err);
	return NULL;
}

/* -- loop ----------------------------------------------------------------------------------- */

static struct job *job_of_feed(struct shot_feed *f)
{
	return (struct job *)(void *)((char *)f - offsetof(struct job, feed));
}

static struct job *job_of_sink(struct result_sink *s)
{
	return (struct job *)(void *)((char *)s - offsetof(struct job, loop_sink));
}

static int feed_next(struct shot_feed *f, struct shot **ret, struct err *err)
{
	struct job *j = job_of_feed(f);
	struct node *n = j->taken;

	(void)err;
	if (!n) {
		int rc = queue_take(j->shots, 0, &j->taken);

		if (rc == SC_ECLOSED)
			return 0;
		if (rc)
			return rc;
		n = j->taken;
	}
	j->taken = n->next;
	j->taken_bytes += n->bytes;
	if (++j->taken_n % RELEASE_EVERY == 0 || !j->taken) {
		queue_release(j->shots, j->taken_bytes);
		j->taken_bytes = 0;
	}
	*ret = (struct shot *)(void *)n;
	return 1;
}

static int results_put(struct result_sink *s, struct result *r, struct err *err)
{
	int rc = queue_push(job_of_sink(s)->results, &r->node, result_footprint(r));

	if (!rc)
		return SC_OK;
	result_free(r);
	return err_set(err, rc, "results are no longer written");
}

static int results_tick(struct result_sink *s, int64_t now_us, struct err *err)
{
	(void)now_us;
	(void)err;
	queue_publish(job_of_sink(s)->results);
	return SC_OK;
}

static const struct result_sink_ops loop_sink_ops = {.put = results_put, .tick = results_tick};

static bool stop_asked(void *arg)
{
	(void)arg;
	return stop_wanted();
}

static void show_progress(void *arg, const struct replay_stats *stats)
{
	struct job *j = arg;
	int64_t now = clock_us();
	bool asked = stop_report_wanted();
	bool live = !j->o->quiet && isatty(STDERR_FILENO);
	struct buf line;

	if (j->last_line_us == 0)
		j->last_line_us = now;
	if (!asked && !live && (j->o->quiet || now - j->last_line_us < LINE_US))
		return;
	buf_init(&line, KIB);
	if (!progress_text(stats, &line)) {
		fprintf(stderr, live && !asked ? "\r\033[K%.*s" : "%.*s\n", (int)line.len,
			(const char *)line.data);
		j->line_open = live && !asked;
		j->last_line_us = now;
	}
	buf_done(&line);
}

/* -- before and after ----------------------------------------------------------------------- */

static int origin_row(void *arg, int n, const struct value *values)
{
	struct job *j = arg;
	struct addr a = {.len = 0};
	char text[ADDR_TEXT], port[8];
	struct addr *grown;

	if (n != 2 || values[0].kind != VALUE_TEXT || values[0].text.len >= sizeof(text) ||
	    values[1].kind != VALUE_INTEGER || values[1].text.len >= sizeof(port))
		return SC_OK;
	memcpy(text, values[0].text.p, values[0].text.len);
	text[values[0].text.len] = '\0';
	memcpy(port, values[1].text.p, values[1].text.len);
	port[values[1].text.len] = '\0';
	if (addr_parse(text, &a))
		return SC_OK;
	a.port = (uint16_t)strtoul(port, NULL, 10);
	grown = realloc(j->origins, (j->n_origins + 1) * sizeof(*grown));
	if (!grown)
		return SC_ENOMEM;
	j->origins = grown;
	j->origins[j->n_origins++] = a;
	return SC_OK;
}

static int origin_columns(void *arg, int n, const char *const *names)
{
	(void)arg;
	(void)n;
	(void)names;
	return SC_OK;
}

/* Before anything is written, and before anything is sent. */
static int check_origin(struct job *j, struct err *err)
{
	struct row_reader reader = {origin_columns, origin_row, j};
	int rc = SC_OK;

	if (!j->o->allow_origin)
		rc = store_select(j->in, "SELECT DISTINCT server, server_port FROM exchange",
				  &reader, err);
	return rc ? rc : target_check(&j->target, j->origins, j->n_origins, err);
}

static void name_pace(struct job *j)
{
	const struct pace_option *p = &j->o->pace;

	switch (p->pace.kind) {
	case PACE_RECORDED:
		if (p->pace.speed == 1)
			snprintf(j->pace, sizeof(j->pace), "as recorded");
		else
			snprintf(j->pace, sizeof(j->pace), "recorded x%g", p->pace.speed);
		break;
	case PACE_RATE:
		snprintf(j->pace, sizeof(j->pace), "%g/s", p->pace.rate);
		break;
	case PACE_MAX:
		snprintf(j->pace, sizeof(j->pace), "max");
		break;
	}
}

static unsigned connections(const struct replay_cmd *o)
{
	uint64_t n = o->connections;

	if (n == 0)
		n = o->pace.pace.kind == PACE_MAX ? DEFAULT_CONNECTIONS_MAX_PACE : DEFAULT_CONNECTIONS;
	/* One request is in flight on a connection, so this is the same ceiling. */
	if (o->max_in_flight && o->max_in_flight < n)
		n = o->max_in_flight;
	return (unsigned)n;
}

/* What was asked for, for replay.options; free() it. NULL: no memory. */
static char *describe(const struct job *j)
{
	const struct replay_cmd *o = j->o;
	json_t *all = json_pack("{s:s, s:I, s:I, s:s, s:s, s:s}", "pace", j->pace, "connections",
				(json_int_t)connections(o), "timeout_us", (json_int_t)o->timeout_us,
				"methods", o->methods, "order",
				o->unordered ? "none" : "connection", "save", save_names[o->save]);
	char *text;

	if (!all)
		return NULL;
	rules_describe(&o->rules, all);
	rewrites_describe(&o->rewrites, all);
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}

static int open_all(struct job *j, const char *path, struct err *err)
{
	char *options;
	int rc = store_open(path, STORE_UPDATE, &j->out, err);

	if (!rc)
		rc = store_open(path, STORE_READ, &j->in, err);
	if (!rc)
		rc = check_origin(j, err);
	if (!rc)
		rc = store_source_new(j->in, 0, STORE_REQUESTS, &j->source, err);
	if (rc)
		return rc;
	options = describe(j);
	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = store_replay_new(j->out, clock_us(), j->o->to, options, j->o->save, &j->run, &j->sink,
			      err);
	free(options);
	if (rc)
		return rc;
	snprintf(j->marker, sizeof(j->marker), "%" PRId64, j->run);
	j->shots = queue_new(LIMIT_QUEUE_BYTES, QUEUE_WAIT);
	j->results = queue_new(LIMIT_QUEUE_BYTES, QUEUE_WAIT);
	return j->shots && j->results ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

/* Signals are for the main thread: there they wake the loop. */
static int start(pthread_t *ret, void *(*run)(void *), struct job *j)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(ret, NULL, run, j);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? SC_EIO : SC_OK;
}

static int run_threads(struct job *j, struct err *err)
{
	static const enum save_answers saves[] = {
		[SAVE_NONE] = SAVE_ANSWERS_NONE,
		[SAVE_STATUS] = SAVE_ANSWERS_STATUS,
		[SAVE_FULL] = SAVE_ANSWERS_FULL,
	};
	struct replay_options options = {
		.target = &j->target,
		.pace = j->o->pace.pace,
		.connections = connections(j->o),
		.timeout_us = j->o->timeout_us,
		.ordered = !j->o->unordered,
		.save = saves[j->o->save],
		.ca_file = j->o->ca_file,
		.insecure = j->o->insecure,
		.origins = j->origins,
		.n_origins = j->n_origins,
		.stop = stop_asked,
		.progress = show_progress,
		.arg = j,
	};
	pthread_t reader, writer;
	int rc = start(&reader, reader_main, j);

	if (rc)
		return err_set(err, rc, "no thread");
	rc = start(&writer, writer_main, j);
	if (!rc) {
		j->feed.next = feed_next;
		j->loop_sink.ops = &loop_sink_ops;
		rc = replay_run(&options, &j->feed, &j->loop_sink, &j->stats, err);
		queue_close(j->results);
		pthread_join(writer, NULL);
	} else {
		err_set(err, rc, "no thread");
	}
	queue_give_up(j->shots);
	pthread_join(reader, NULL);
	return rc;
}

/* Whoever stopped the run says why; the loop only knows that somebody did. */
static int first_error(struct job *j, int loop_rc, struct err *err)
{
	if (j->write_rc) {
		*err = j->write_err;
		return j->write_rc;
	}
	if (loop_rc == SC_OK && j->read_rc) {
		*err = j->read_err;
		return j->read_rc;
	}
	return loop_rc;
}

static void settle_account(struct job *j, bool failed)
{
	struct account *a = &j->account;

	a->stats = &j->stats;
	a->run = j->run;
	a->target = j->o->to;
	a->pace = j->pace;
	a->stopped = stop_wanted();
	a->skipped[SKIP_STOPPED] += j->stats.unsent;
	if (failed) {
		/* What was under way between the threads then. */
		uint64_t rest = a->read - j->stats.sent - j->stats.failed - a->held_back -
				account_skipped(a);

		a->skipped[SKIP_STOPPED] += rest;
	}
	assert(account_adds_up(a));
}

static int conclude(struct job *j, struct err *err)
{
	struct buf json, text;
	int rc;

	buf_init(&json, SUMMARY_BYTES);
	buf_init(&text, SUMMARY_BYTES);
	rc = summary_json(&j->account, &json);
	if (!rc)
		rc = summary_text(&j->account, &text);
	if (!rc && j->line_open)
		fputs("\r\033[K", stderr);
	if (!rc)
		printf("%.*s%s", (int)(j->o->json ? json.len : text.len),
		       (const char *)(j->o->json ? json.data : text.data), j->o->json ? "\n" : "");
	if (!rc)
		rc = buf_add(&json, "", 1);
	if (rc)
		rc = err_set(err, rc, "out of memory");
	else
		rc = store_replay_end(j->out, j->run, clock_us(), (const char *)json.data, err);
	buf_done(&json);
	buf_done(&text);
	return rc;
}

static void job_done(struct job *j)
{
	source_free(j->source);
	if (j->sink)
		j->sink->ops->free(j->sink);
	store_close(j->in);
	store_close(j->out);
	while (j->taken) {
		struct node *next = j->taken->next;

		drop_shot(j->taken);
		j->taken = next;
	}
	queue_free(j->shots, drop_shot);
	queue_free(j->results, drop_result);
	chain_done(&j->chain);
	free(j->origins);
	free(j);
}

static int check_options(struct job *j, struct err *err)
{
	const struct replay_cmd *o = j->o;
	int rc;

	if (!o->to)
		return err_set(err, SC_EINVAL, "--to is missing: where should the requests go?");
	if (o->connections > LIMIT_CONNECTIONS)
		return err_set(err, SC_EINVAL, "--connections: %" PRIu64 " is more than %u",
			       o->connections, LIMIT_CONNECTIONS);
	if (o->ca_file && access(o->ca_file, R_OK))
		return err_set(err, SC_EINVAL, "--cacert: %s cannot be read", o->ca_file);
	rc = target_parse(o->to, &j->target, err);
	if (!rc)
		rc = rules_build(&o->rules, &j->chain, err);
	if (!rc)
		rc = rewrites_build(&o->rewrites, HOST_TARGET, j->target.authority, &j->chain, err);
	return rc;
}

static int replay_run_command(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct err err = {""}, end_err = {""};
	int rc, end_rc = SC_OK;
	bool unanswered;

	if (!j)
		return fail(SC_ENOMEM, &(struct err){"out of memory"});
	j->o = options;
	name_pace(j);
	rc = check_options(j, &err);
	if (!rc)
		rc = open_all(j, operands->items[0], &err);
	if (!rc) {
		stop_install();
		rc = first_error(j, run_threads(j, &err), &err);
		settle_account(j, rc != SC_OK);
		end_rc = conclude(j, &end_err);
	}
	/* A target that answers nothing at all is no replay. */
	unanswered = j->stats.sent == 0 && j->stats.failed > 0 && !stop_wanted();
	if (!rc && unanswered)
		say("no request was answered by %s", j->o->to);
	job_done(j);
	if (rc)
		return fail(rc, &err);
	if (end_rc)
		return fail(end_rc, &end_err);
	return unanswered ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_replay = {
	.name = "replay",
	.usage = "STORE --to URL [OPTION...]",
	.summary = "Sends the recorded requests to another target and keeps its answers.",
	.tables = replay_tables,
	.examples =
		"  shadow-ctl replay shadow.db --to http://127.0.0.1:18102 --rewrite /httpbin=/\n"
		"  shadow-ctl replay shadow.db --to https://staging:8443 --rate 500/s "
		"--methods all\n",
	.options_size = sizeof(struct replay_cmd),
	.min_operands = 1,
	.max_operands = 1,
	.defaults = replay_defaults,
	.run = replay_run_command,
};
