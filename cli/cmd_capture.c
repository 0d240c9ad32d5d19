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
#include "rules.h"
#include "sniff.h"
#include "store/store.h"

#define NULL_SINK "null:"
#define REPORT_US 1000000ll        /* on a terminal */
#define REPORT_PLAIN_US 10000000ll /* otherwise */
#define WRITER_WAIT_MS 200

struct capture_args {
	struct sniff_args sniff;
	const char *output;
	bool quiet, json;
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
	struct store *store; /* NULL: null: */
	int64_t capture_id;
	struct sink *sink;
	uint64_t handed; /* to the queue */
	uint64_t given, put; /* the writer's: taken from it, and of these taken by the sink */
	int64_t started_us, reported_us;
	int rc; /* of the writer; read after it was joined */
	struct err err;
};

static void write_one(struct job *j, const struct exchange *ex)
{
	struct err err;
	int rc;

	j->given++;
	if (j->rc)
		return; /* the sink is broken: what still comes is lost, and said to be */
	rc = sink_put(j->sink, ex, &err);
	if (rc) {
		j->rc = rc;
		j->err = err;
		queue_give_up(j->queue);
	} else {
		j->put++;
	}
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

	for (;;) {
		struct node *list;
		int rc = queue_take(j->queue, WRITER_WAIT_MS, &list);

		if (rc == SC_ECLOSED)
			break;
		if (rc == SC_OK)
			write_list(j, list);
		if (!j->rc) {
			j->rc = sink_tick(j->sink, clock_us(), &j->err);
			if (j->rc)
				queue_give_up(j->queue);
		}
		count_stored(j);
	}
	if (!j->rc)
		j->rc = sink_finish(j->sink, clock_us(), &j->err);
	count_stored(j);
	count_n(&j->write_counts, REQUESTS_FAILED,
		j->given - counter_get(&j->write_counts, REQUESTS_STORED));
	return NULL;
}

static void drop_node(struct node *n)
{
	exchange_free((struct exchange *)(void *)n);
}

static void sum_counts(const struct job *j, struct counters *sum)
{
	memset(sum, 0, sizeof(*sum));
	if (j->rules.redaction)
		counter_set(sum, BODIES_CLOSED, redaction_closed(j->rules.redaction));
	counters_add(sum, &j->parse_counts);
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

	sniff_options(&j->args->sniff, &co);
	co.early = &j->chain;
	return capture_open(&co, &j->parse_counts, &j->source, err);
}

static int open_sink(struct job *j, struct err *err)
{
	const struct capture_args *a = j->args;
	const char *from = a->sniff.file ? a->sniff.file : a->sniff.interfaces.items[0];
	char *options;
	int rc;

	if (strcmp(a->output, NULL_SINK) == 0) {
		j->sink = sink_null_new();
		return j->sink ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	}
	rc = store_open(a->output, STORE_CREATE, &j->store, err);
	if (rc)
		return rc;
	options = describe(j);
	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = store_capture_new(j->store, j->started_us, from, options, &j->capture_id, &j->sink,
			       err);
	free(options);
	return rc;
}

static int check_args(const struct capture_args *a, struct err *err)
{
	int rc = sniff_check(&a->sniff, "capture", err);

	if (!rc)
		rc = rules_check_resolve(&a->rules, err);
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
	if (pthread_create(&thread, NULL, writer, j))
		return err_set(err, SC_EIO, "cannot start a thread");
	if (!j->args->quiet)
		sniff_announce(&j->args->sniff, j->source, j->args->output);
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
	if (!a->quiet) {
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
		"  shadow-ctl capture -r traffic.pcapng -o shadow.db\n",
	.options_size = sizeof(struct capture_args),
	.max_operands = 0,
	.defaults = capture_defaults,
	.run = capture_run,
};
