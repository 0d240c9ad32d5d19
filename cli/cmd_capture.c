/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl capture: packets | rules | store. This thread parses; another one writes. Live, a full
 * queue between them drops the newest exchange and counts it; from a file it waits. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/capture.h"
#include "cli.h"
#include "core/limits.h"
#include "core/queue.h"
#include "privilege.h"
#include "rotate.h"
#include "rules.h"
#include "sniff.h"
#include "store/store.h"
#include "thread.h"

#define NULL_SINK "null:"
#define REPORT_US 1000000ll        /* on a terminal */
#define REPORT_PLAIN_US 10000000ll /* otherwise */
#define WRITER_WAIT_MS 200

struct capture_args {
	struct sniff_args sniff;
	const char *output;
	bool quiet, json;
	struct rotate_args rotate;
	struct rule_options rules;
};

#define AT(member) offsetof(struct capture_args, member)

static const struct opt capture_rows[] = {
	{"Sink", 'o', "output", "SINK", "a store's path (default: shadow.db); 'null:' only counts",
	 opt_text, AT(output)},
	{"Output", 0, "quiet", NULL, "only errors on stderr", opt_flag, AT(quiet)},
	{NULL, 0, "json", NULL, "the ledger on stdout as JSON at the end", opt_flag, AT(json)},
	{0},
};

static const struct opt_table capture_tables[] = {
	{sniff_source_rows, AT(sniff)},
	{capture_rows, 0},
	{rotate_rows, AT(rotate)},
	{sniff_limit_rows, AT(sniff)},
	{rule_rows, offsetof(struct capture_args, rules)},
	{resolve_rows, offsetof(struct capture_args, rules)},
	{0},
};

static void capture_defaults(void *options)
{
	struct capture_args *a = options;

	a->output = "shadow.db";
	sniff_defaults(&a->sniff);
	rule_defaults(&a->rules);
}

/* Between the parsing thread (the main one) and the writing thread. */
struct job {
	const struct capture_args *args;
	struct rules rules;
	struct chain chain;
	struct source *source;
	struct counters parse_counts; /* written by the parser */
	struct counters write_counts; /* written by the writer */
	struct queue *queue;
	struct store *store; /* NULL: null:, or a set */
	int64_t capture_id;
	struct sink *sink;
	bool rotates; /* the sink is a set */
	uint64_t handed; /* to the queue */
	uint64_t unmarked; /* content handed since the last mark */
	bool began;      /* an exchange was handed since the last mark that was due */
	int64_t began_us; /* that one's time */
	uint64_t given, put; /* the writer's: taken from it, and of these taken by the sink */
	int64_t started_us, reported_us;
	bool started; /* the writer; otherwise no packet was read */
	int rc; /* of the writer; read after it was joined */
	struct err err;
};

/* Of a set: a place in the queue where a file may end. An exchange to the queue, but without a
 * request. */
struct mark {
	struct exchange ex; /* first */
	bool due;
	struct counters seen; /* the parser's account, at this place */
};

static bool is_mark(const struct exchange *ex)
{
	return !ex->request;
}

static void drop_node(struct node *n)
{
	struct exchange *ex = (struct exchange *)(void *)n;

	if (is_mark(ex))
		free(ex);
	else
		exchange_free(ex);
}

/* The first error is the one to tell. */
static void note_error(struct job *j, int rc, const struct err *err)
{
	if (!rc || j->rc)
		return;
	j->rc = rc;
	j->err = *err;
	queue_give_up(j->queue);
}

/* A sink that is broken says so again: what still comes is lost, and said to be. A set that cannot go
 * on still has a file that takes it. */
static void write_one(struct job *j, const struct exchange *ex)
{
	struct err err;
	int rc;

	if (is_mark(ex)) {
		const struct mark *m = (const struct mark *)(const void *)ex;

		rc = j->rc ? SC_OK : rotate_mark(j->sink, m->due, &m->seen, clock_us(), &err);
	} else {
		j->given++;
		rc = sink_put(j->sink, ex, &err);
		j->put += !rc;
	}
	note_error(j, rc, &err);
}

/* Stored is what is safe: a transaction that fails takes back what was put before. */
static void count_stored(struct job *j)
{
	counter_set(&j->write_counts, REQUESTS_STORED,
		    j->sink->ops->kept ? j->sink->ops->kept(j->sink) : j->put);
}

static void write_list(struct job *j, struct node *list)
{
	for (const struct node *n = list; n; n = n->next)
		write_one(j, (const struct exchange *)(const void *)n);
	queue_return(j->queue, list); /* moved */
}

static void *writer(void *arg)
{
	struct job *j = arg;
	struct err err;

	for (;;) {
		struct node *list;
		int rc = queue_take(j->queue, WRITER_WAIT_MS, &list);

		if (rc == SC_ECLOSED)
			break;
		if (rc == SC_OK)
			write_list(j, list);
		if (!j->rc)
			note_error(j, sink_tick(j->sink, clock_us(), &err), &err);
		count_stored(j);
	}
	if (!j->rc || j->rotates)
		note_error(j, sink_finish(j->sink, clock_us(), &err), &err);
	count_stored(j);
	count_n(&j->write_counts, REQUESTS_FAILED,
		j->given - counter_get(&j->write_counts, REQUESTS_STORED));
	return NULL;
}

/* What the parser has counted. */
static void sum_seen(const struct job *j, struct counters *sum)
{
	memset(sum, 0, sizeof(*sum));
	if (j->rules.redaction)
		counter_set(sum, BODIES_CLOSED, redaction_closed(j->rules.redaction));
	counters_add(sum, &j->parse_counts);
}

static void sum_counts(const struct job *j, struct counters *sum)
{
	sum_seen(j, sum);
	counters_add(sum, &j->write_counts);
}

static void print_ledger(const struct job *j)
{
	struct counters sum;
	struct buf text;

	sum_counts(j, &sum);
	buf_init(&text, 64 * KIB);
	if (counters_text(&sum, &text) == SC_OK)
		fprintf(stderr, "%.*s", (int)text.len, (const char *)text.data);
	buf_done(&text);
}

/* Requests that are parsed but not yet written are in the queue: in the middle of a run the account
 * may be short by them. */
static void print_progress(struct job *j)
{
	bool terminal = isatty(STDERR_FILENO);
	int64_t now = clock_us();
	struct counters sum;

	if (stop_report_wanted()) {
		capture_count_drops(j->source);
		print_ledger(j);
	}
	if (j->args->quiet ||
	    now - j->reported_us < (terminal ? REPORT_US : REPORT_PLAIN_US))
		return;
	j->reported_us = now;
	capture_count_drops(j->source);
	sum_counts(j, &sum);
	fprintf(stderr, "%s%" PRIu64 " packets (%" PRIu64 " dropped by the kernel), %" PRIu64
		" requests, %" PRIu64 " stored, loss %.4f%%%s", terminal ? "\r" : "shadow-ctl: ",
		counter_get(&sum, PACKETS_SEEN), counter_get(&sum, PACKETS_KERNEL_DROP),
		counter_get(&sum, REQUESTS_SEEN), counter_get(&sum, REQUESTS_STORED),
		counters_loss_percent(&sum), terminal ? "\033[K" : "\n");
}

static void free_spent(struct job *j)
{
	struct node *n;

	while ((n = queue_spent(j->queue)))
		drop_node(n);
}

/* Into the queue; when it is full, another one will come. */
static void push_mark(struct job *j, bool due)
{
	struct mark *m = calloc(1, sizeof(*m));

	if (!m)
		return;
	capture_count_drops(j->source);
	m->due = due;
	sum_seen(j, &m->seen);
	if (queue_push(j->queue, &m->ex.node, sizeof(*m)) != SC_OK) {
		free(m);
		return;
	}
	j->unmarked = 0;
	j->began = j->began && !due;
}

static bool is_old(const struct job *j, int64_t now_us)
{
	return j->began && j->args->rotate.us && now_us - j->began_us >= j->args->rotate.us;
}

/* Of a set, live, when there is time: a file ends in time though nothing more comes. */
static void mark_in_time(struct job *j)
{
	bool due;

	if (!j->rotates || j->args->sniff.file)
		return;
	due = is_old(j, clock_us());
	if (due || rotate_owes(j->sink))
		push_mark(j, due);
}

/* About what it takes in a store, whatever it takes in memory. */
static uint64_t exchange_content(const struct exchange *ex)
{
	uint64_t n = 512 + ex->request->head_len + ex->request->body.len;

	return ex->response ? n + ex->response->head_len + ex->response->body.len : n;
}

/* Before an exchange is handed over, so that of a file it is always the same that a store begins
 * with, and none begins with nothing. */
static void mark_before(struct job *j, const struct exchange *ex)
{
	const struct rotate_args *a = &j->args->rotate;
	bool due = is_old(j, ex->ts_us);

	if (due || (j->unmarked >= rotate_step(a) && (a->bytes || rotate_owes(j->sink))))
		push_mark(j, due);
	j->unmarked += exchange_content(ex);
	if (!j->began)
		j->began_us = ex->ts_us;
	j->began = true;
}

/* Moves ex to the writer, or counts why not. False: the writer is gone. */
static bool hand_over(struct job *j, struct exchange *ex)
{
	enum verdict v;
	int rc;

	free_spent(j);

	if (j->args->sniff.count && j->handed >= j->args->sniff.count) {
		count(&j->parse_counts, REQUESTS_OVER_COUNT);
		exchange_free(ex);
		return true;
	}
	v = chain_whole(&j->chain, ex);
	if (v != VERDICT_KEEP) {
		count(&j->parse_counts, v == VERDICT_FILTERED ? REQUESTS_FILTERED : REQUESTS_FAILED);
		exchange_free(ex);
		return true;
	}
	if (j->rotates)
		mark_before(j, ex);
	rc = queue_push(j->queue, &ex->node, exchange_footprint(ex));
	if (rc == SC_OK) {
		j->handed++;
		return true;
	}
	exchange_free(ex);
	count(&j->parse_counts, rc == SC_EFULL ? REQUESTS_QUEUE_DROP : REQUESTS_FAILED);
	return rc == SC_EFULL;
}

static bool time_is_up(const struct job *j)
{
	/* Of a file it is packet time that counts, and the source knows it. */
	return j->args->sniff.duration && !j->args->sniff.file &&
	       clock_us() - j->started_us >= j->args->sniff.duration;
}

static int parse(struct job *j, struct err *err)
{
	bool stopped = false;
	unsigned turns = 0;

	for (;;) {
		struct exchange *ex = NULL;
		int rc = source_next(j->source, &ex, err);

		if (rc == 1 && !hand_over(j, ex))
			return SC_OK; /* the writer's error is the one to tell */
		if (rc == 0)
			return SC_OK;
		if (rc < 0 && rc != SC_EAGAIN)
			return rc;
		if (rc == SC_EAGAIN) {
			mark_in_time(j);
			queue_publish(j->queue);
			free_spent(j);
		} else if (++turns % 256) {
			continue;
		}
		print_progress(j);
		if (queue_given_up(j->queue))
			return SC_OK;
		if (!stopped && (stop_wanted() || time_is_up(j) ||
				 (j->args->sniff.count && j->handed >= j->args->sniff.count))) {
			stopped = true;
			source_stop(j->source);
		}
	}
}

static char *describe(const struct job *j)
{
	const struct capture_args *a = j->args;
	json_t *o = json_object();
	char *text;

	sniff_describe(&a->sniff, o);
	rules_describe(&a->rules, &j->rules, o);
	json_object_set_new(o, "version", json_string(SHADOW_VERSION));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static int open_source(struct job *j, struct err *err)
{
	struct capture_options co;

	const struct sources *files = j->args->sniff.files;
	int rc = files ? open_files_of(files->n, 1, err) : SC_OK;

	if (rc)
		return rc;
	sniff_options(&j->args->sniff, &co);
	co.early = &j->chain;
	return capture_open(&co, &j->parse_counts, &j->source, err);
}

static int open_set(struct job *j, const char *from, const char *options, struct err *err)
{
	const struct capture_args *a = j->args;
	struct rotate_options o = {
		.output = a->output,
		.source = from,
		.settings = options,
		.bytes = a->rotate.bytes,
		.keep = a->rotate.keep,
		.now_us = j->started_us,
		.live = !a->sniff.file,
		.quiet = a->quiet,
	};

	return rotate_new(&o, &j->sink, err);
}

static int open_one(struct job *j, const char *from, const char *options, struct err *err)
{
	int rc = store_open(j->args->output, STORE_CREATE, &j->store, err);

	return rc ? rc : store_capture_new(j->store, j->started_us, from, options, &j->capture_id,
					   &j->sink, err);
}

static int open_sink(struct job *j, struct err *err)
{
	const char *from = sniff_from(&j->args->sniff);
	char *options;
	int rc;

	if (strcmp(j->args->output, NULL_SINK) == 0) {
		j->sink = sink_null_new();
		return j->sink ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	}
	options = describe(j);
	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = j->rotates ? open_set(j, from, options, err) : open_one(j, from, options, err);
	free(options);
	return rc;
}

static int check_rotate(const struct capture_args *a, struct err *err)
{
	if (!rotate_wanted(&a->rotate))
		return a->rotate.keep ? err_set(err, SC_EINVAL, "--keep: only with --rotate")
				      : SC_OK;
	if (strcmp(a->output, NULL_SINK) == 0)
		return err_set(err, SC_EINVAL, "--rotate: %s keeps nothing", NULL_SINK);
	return SC_OK;
}

static int check_args(const struct capture_args *a, struct err *err)
{
	int rc = sniff_check(&a->sniff, "capture", err);

	if (!rc)
		rc = rules_check_resolve(&a->rules, err);
	if (!rc)
		rc = check_rotate(a, err);
	if (rc)
		return rc;
	if (strcmp(a->output, "-") == 0)
		return err_set(err, SC_EINVAL, "--output -: a store is a file (expected a path or %s)",
			       NULL_SINK);
	if (strchr(a->output, ':') && strcmp(a->output, NULL_SINK) != 0)
		return err_set(err, SC_EINVAL, "--output '%s': expected a path or %s", a->output,
			       NULL_SINK);
	if (!*a->output)
		return err_set(err, SC_EINVAL, "--output: expected a path or %s", NULL_SINK);
	return SC_OK;
}

static int print_json(const char *json, struct err *err)
{
	if (printf("%s\n", json) < 0 || fflush(stdout))
		return err_set(err, SC_EIO, "standard output: %s", strerror(errno));
	return SC_OK;
}

static int save_ledger(struct job *j, struct err *err)
{
	struct counters sum;
	struct buf json;
	const char *group;
	int rc;

	sum_counts(j, &sum);
	if (counters_check(&sum, &group))
		say("the account of %s does not add up; please report this", group);
	buf_init(&json, 64 * KIB);
	rc = counters_json(&sum, &json);
	if (!rc)
		rc = buf_add(&json, "", 1);
	if (rc)
		rc = err_set(err, rc, "out of memory");
	if (!rc && j->args->json)
		rc = print_json((const char *)json.data, err);
	if (!rc && j->rotates && rotate_end(j->sink, &sum, clock_us(), err) && !j->rc)
		rc = SC_EIO; /* otherwise it was said why */
	if (!rc && j->store && !j->rc)
		rc = store_capture_end(j->store, j->capture_id, clock_us(),
				       (const char *)json.data, err);
	buf_done(&json);
	return rc;
}

static int run_threads(struct job *j, struct err *err)
{
	pthread_t thread;
	int rc;

	j->queue = queue_new(LIMIT_QUEUE_BYTES, j->args->sniff.file ? QUEUE_WAIT : QUEUE_REFUSE);
	if (!j->queue)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = thread_start(&thread, writer, j, err);
	if (rc)
		return rc;
	j->started = true;
	if (!j->args->quiet)
		sniff_announce(&j->args->sniff, j->source,
			       j->rotates ? rotate_pattern(j->sink) : j->args->output);
	rc = parse(j, err);
	/* Also after an error or a full disk: what is left in the engine is counted. */
	source_stop(j->source);
	for (struct exchange *ex; source_next(j->source, &ex, NULL) == 1;)
		(void)hand_over(j, ex);
	queue_close(j->queue);
	pthread_join(thread, NULL);
	return rc;
}

static int capture_run(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct capture_args *a = options;
	struct err err;
	int rc, status = EXIT_DONE;

	(void)operands;
	if (!j)
		return EXIT_FAILED;
	j->args = a;
	j->rotates = rotate_wanted(&a->rotate);
	j->started_us = j->reported_us = clock_us();
	stop_install();
	rc = check_args(a, &err);
	if (!rc)
		rc = rules_build(&a->rules, false, -1, &j->rules, &j->chain, &err);
	if (!rc)
		rc = open_source(j, &err);
	if (!rc)
		rc = privilege_drop(a->sniff.user, &err);
	if (!rc)
		rc = open_sink(j, &err);
	if (rc) {
		status = fail(rc, &err);
		goto out;
	}
	rc = run_threads(j, &err);
	if (rc)
		status = fail(rc, &err);
	if (j->rc)
		status = fail(j->rc, &j->err);
	rc = save_ledger(j, &err);
	if (rc)
		status = fail(rc, &err);
	if (j->started && !a->quiet) {
		const char *note = capture_note(j->source);

		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\n");
		if (note)
			say("%s: %s", a->sniff.file, note);
		sniff_explain(&j->args->sniff, j->source, &j->parse_counts);
		print_ledger(j);
	}
out:
	sink_free(j->sink);
	store_close(j->store);
	queue_free(j->queue, drop_node);
	source_free(j->source);
	chain_done(&j->chain);
	rules_done(&j->rules);
	free(j);
	return status;
}

const struct command command_capture = {
	.name = "capture",
	.usage = "(-i IFACE | -r FILE) [-o shadow.db] [rules] [limits]",
	.summary = "Records HTTP requests with their responses, off the wire or from a capture file.",
	.tables = capture_tables,
	.examples =
		"  shadow-ctl capture -i eth0 --port 80,8080 --route '/api/*' --sample 10% -o shadow.db\n"
		"  shadow-ctl capture -r traffic.pcapng -o shadow.db\n"
		"  shadow-ctl capture -i eth0 --rotate 1h --keep 48 -o shadow.db\n",
	.options_size = sizeof(struct capture_args),
	.max_operands = 0,
	.defaults = capture_defaults,
	.run = capture_run,
};
