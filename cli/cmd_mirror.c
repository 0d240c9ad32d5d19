/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl mirror: packets | rules | targets, live. Each request goes out as soon as all of it
 * has been seen. This thread parses packets and waits for nothing: each target has a queue and a
 * thread of its own, and so has the tee. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "core/limits.h"
#include "destination.h"
#include "mirror_target.h"
#include "mirror_tee.h"
#include "mirror_to.h"
#include "privilege.h"
#include "replay_args.h"
#include "sniff.h"

#define REPORT_US 1000000ll	   /* on a terminal */
#define REPORT_FIRST_US 10000000ll /* otherwise; each line doubles it, ... */
#define REPORT_LAST_US 3600000000ll /* ... up to this, and nothing new is no line */
#define GRACE_US 1000000 /* after ^C, for what waits to go out */
#define TIMEOUT_US 30000000
#define MAX_IN_FLIGHT 256u
#define CIRCUIT 20u
#define DIFFERENT_ROUTES 20u /* shown while it runs */
#define METHODS "GET,HEAD,OPTIONS"
#define OVER_COUNT (-1) /* exchange.id: seen after the last one of --count */

struct mirror_args {
	struct sniff_args sniff;
	struct str_list to;
	const char *methods, *tee;
	uint64_t queue, max_in_flight, circuit;
	int64_t timeout;
	bool compare, allow_origin, quiet, json;
	struct rule_options rules;
	struct rewrite_options rewrites;
	struct connect_args connect;
};

#define AT(member) offsetof(struct mirror_args, member)

static const struct opt mirror_rows[] = {
	{"Target", 0, "to", "'URL[=P%] ...'",
	 "send copies there, of this percentage; repeatable. Words behind it are for it alone: "
	 "host:MODE rewrite:FROM=TO set-header:K=V add-header:K=V remove-header:K set-query:K=V "
	 "remove-query:K",
	 opt_list, AT(to)},
	{NULL, 0, "methods", "LIST",
	 "these alone, or all (default: GET,HEAD,OPTIONS; with a manifest all)", opt_methods,
	 AT(methods)},
	{NULL, 0, "timeout", "TIME", "to connect, for an answer, and in the queue (default: 30s)",
	 opt_duration, AT(timeout)},
	{NULL, 0, "max-in-flight", "N", "requests without an answer, of a target (default: 256)",
	 opt_count, AT(max_in_flight)},
	{NULL, 0, "queue", "SIZE", "waiting for a target; more is dropped (default: 64M)", opt_size,
	 AT(queue)},
	{NULL, 0, "circuit", "N", "errors in a row that pause a target (default: 20; 0: none)",
	 opt_number, AT(circuit)},
	{NULL, 0, "allow-origin", NULL, "a target may be where the traffic is captured", opt_flag,
	 AT(allow_origin)},
	{"Answers", 0, "tee", "STORE", "keep pairs, and what the targets answered, in a store", opt_text,
	 AT(tee)},
	{NULL, 0, "compare", NULL, "compare them with production's, and show the routes that differ",
	 opt_flag, AT(compare)},
	{"Output", 0, "quiet", NULL, "only errors on stderr", opt_flag, AT(quiet)},
	{NULL, 0, "json", NULL, "the account on stdout as JSON at the end", opt_flag, AT(json)},
	{0},
};

static const struct opt_table mirror_tables[] = {
	{sniff_source_rows, AT(sniff)},
	{mirror_rows, 0},
	{sniff_limit_rows, AT(sniff)},
	{rule_rows, AT(rules)},
	{rewrite_rows, AT(rewrites)},
	{connect_rows, AT(connect)},
	{0},
};

static void mirror_defaults(void *options)
{
	struct mirror_args *a = options;

	sniff_defaults(&a->sniff);
	rule_defaults(&a->rules);
	a->timeout = TIMEOUT_US;
	a->max_in_flight = MAX_IN_FLIGHT;
	a->queue = LIMIT_MIRROR_QUEUE;
	a->circuit = CIRCUIT;
}

struct job {
	struct mirror_args *args;
	struct rules rules;
	struct chain early; /* which requests at all */
	struct chain answers; /* what becomes of a target's answer before it is kept or compared */
	struct chain pairs; /* what becomes of a pair before it is kept */
	struct source *source;
	struct counters counters;
	struct mirror_common common;
	struct body_room room;
	struct mirror_target targets[LIMIT_TARGETS];
	struct destination_way ways[LIMIT_TARGETS];
	struct mirror_to tos[LIMIT_TARGETS];
	unsigned n_targets;
	struct tee *tee; /* NULL: answers are only counted */
	char *options;	 /* JSON */
	int64_t number;	 /* of the latest request offered */
	int64_t started_us, reported_us, report_wait_us;
	uint64_t reported; /* requests seen by then */
	_Atomic int64_t hurry_us; /* asked to stop, the senders begin nothing from then on */
	bool origin_met;
	char origin[TARGET_TEXT];
};

/* -- a request ------------------------------------------------------------------------------- */

/* Of a manifest with targets of one's own, both percentages count. */
static double percent_of(const struct job *j, unsigned i, const struct exchange *ex)
{
	const struct policy_rule *rule = ex->block ? ex->block->parent : NULL;
	int destination = j->targets[i].destination;

	if (destination >= 0)
		return rule ? policy_percent(rule, destination) : 0;
	return j->tos[i].percent * (rule ? policy_percent(rule, -1) / 100 : 1);
}

/* A mirror that sends to where it captures would double production's load. Later on such a request
 * is somebody's who talks to the target, and just not sent there again. */
static bool begins_at_origin(struct job *j, const struct exchange *ex)
{
	if (j->args->allow_origin)
		return false;
	for (unsigned i = 0; i < j->n_targets; i++) {
		struct mirror_target *t = &j->targets[i];

		if (!t->handed && percent_of(j, i, ex) > 0 && mirror_target_is(t, &ex->server)) {
			snprintf(j->origin, sizeof(j->origin), "%s", t->url);
			return true;
		}
	}
	return false;
}

static bool count_reached(const struct job *j)
{
	uint64_t count = j->args->sniff.count;

	return count && (uint64_t)j->number >= count;
}

/* Called from source_next(), once all of a request has been seen. */
static void on_asked(void *arg, struct exchange *ex)
{
	struct job *j = arg;

	j->origin_met = j->origin_met || begins_at_origin(j, ex);
	if (j->origin_met || count_reached(j)) {
		ex->id = OVER_COUNT;
		count(&j->counters, REQUESTS_OVER_COUNT);
		return;
	}
	ex->id = ++j->number;
	count(&j->counters, REQUESTS_STORED);
	for (unsigned i = 0; i < j->n_targets; i++) {
		struct mirror_target *t = &j->targets[i];
		double percent = percent_of(j, i, ex);

		/* A rule that does not mention the target has nothing to do with it. */
		if ((t->destination < 0 || percent > 0) && mirror_target_offer(t, ex, percent))
			ex->copies++;
	}
}

/* A pair is complete: to the tee, as a store would get it. */
static void hand_over(struct job *j, struct exchange *ex)
{
	enum verdict v = VERDICT_KEEP;

	if (!ex->id)
		count(&j->counters, REQUESTS_UNFINISHED);
	if (j->tee && ex->copies)
		v = chain_whole(&j->pairs, ex);
	if (j->tee && ex->copies && v == VERDICT_KEEP)
		tee_put(j->tee, ex); /* moved */
	else
		exchange_free(ex);
}

static void publish(struct job *j)
{
	for (unsigned i = 0; i < j->n_targets; i++)
		mirror_target_publish(&j->targets[i]);
}

/* -- what is shown --------------------------------------------------------------------------- */

/* A mirror stores nothing: what the account calls stored was wanted, and offered to the targets. */
static void reword(struct buf *text)
{
	static const char word[] = " stored";
	char *at = memmem(text->data, text->len, word, strlen(word));

	if (at)
		memcpy(at, " wanted", strlen(word));
}

static void print_counts(struct job *j)
{
	struct buf text;
	int rc;

	capture_count_drops(j->source);
	buf_init(&text, MIB);
	rc = counters_text(&j->counters, &text);
	reword(&text);
	for (unsigned i = 0; i < j->n_targets && !rc; i++)
		rc = mirror_target_text(&j->targets[i], &text);
	if (!rc && j->tee && j->args->tee) {
		struct tee_counts c = tee_counts(j->tee);

		rc = buf_addf(&text, "tee       %" PRIu64 " pairs kept, %" PRIu64 " dropped; %" PRIu64
			      " answers without their pair\n", c.stored, c.dropped, c.unpaired);
	}
	if (!rc && j->args->compare)
		rc = tee_text(j->tee, DIFFERENT_ROUTES, &text);
	if (!rc)
		fprintf(stderr, "%.*s", (int)text.len, (const char *)text.data);
	buf_done(&text);
}

/* Whether it is time for a line. For weeks, so there are ever fewer of them. */
static bool report_is_due(struct job *j, bool terminal)
{
	int64_t now = clock_us();
	uint64_t seen = counter_get(&j->counters, REQUESTS_SEEN);

	if (j->args->quiet || now - j->reported_us < (terminal ? REPORT_US : j->report_wait_us))
		return false;
	if (!terminal && seen == j->reported)
		return false;
	j->reported_us = now;
	j->reported = seen;
	if (j->report_wait_us < REPORT_LAST_US)
		j->report_wait_us *= 2;
	return true;
}

static void print_progress(struct job *j)
{
	bool terminal = isatty(STDERR_FILENO);
	static struct replay_stats st;
	uint64_t sent = 0, failed = 0, in_flight = 0;

	if (stop_report_wanted())
		print_counts(j);
	if (!report_is_due(j, terminal))
		return;
	capture_count_drops(j->source);
	for (unsigned i = 0; i < j->n_targets; i++) {
		mirror_target_stats(&j->targets[i], &st);
		sent += st.sent;
		failed += st.failed;
		in_flight += st.in_flight;
	}
	fprintf(stderr, "%s%" PRIu64 " requests, %" PRIu64 " answered, %" PRIu64 " failed, %" PRIu64
		" in flight; %" PRIu64 " packets dropped by the kernel%s",
		terminal ? "\r" : "shadow-ctl: ", j->reported, sent, failed, in_flight,
		counter_get(&j->counters, PACKETS_KERNEL_DROP), terminal ? "\033[K" : "\n");
}

/* -- the loop -------------------------------------------------------------------------------- */

static bool time_is_up(const struct job *j)
{
	const struct sniff_args *s = &j->args->sniff;

	return (s->duration && !s->file && clock_us() - j->started_us >= s->duration) ||
	       count_reached(j);
}

static int parse(struct job *j, struct err *err)
{
	bool stopped = false;
	unsigned turns = 0;

	for (;;) {
		struct exchange *ex = NULL;
		int rc = source_next(j->source, &ex, err);

		publish(j); /* the next call may wait for packets */
		if (rc == 1)
			hand_over(j, ex);
		if (rc == 0)
			return SC_OK;
		if (rc < 0 && rc != SC_EAGAIN)
			return rc;
		if (j->origin_met)
			return err_set(err, SC_EINVAL, "%s: that is where the traffic is captured; a "
				       "mirror would double it (--allow-origin if that is meant)",
				       j->origin);
		if (rc == 1 && ++turns % 256)
			continue;
		if (j->tee)
			tee_publish(j->tee);
		print_progress(j);
		if (!stopped && (stop_wanted() || time_is_up(j))) {
			stopped = true;
			source_stop(j->source);
		}
	}
}

/* -- before ---------------------------------------------------------------------------------- */

/* What was on the wire by then still goes out, unless the target takes too long for that. */
static bool stop_asked(void *arg)
{
	const struct job *j = arg;

	return stop_wanted() && clock_us() >= atomic_load(&j->hurry_us);
}

static int add_target(struct job *j, const char *url, const struct connect_args *connect,
		      struct err *err)
{
	struct mirror_target *t = &j->targets[j->n_targets];
	int rc;

	snprintf(t->url, sizeof(t->url), "%s", url);
	t->destination = -1;
	rc = target_parse(t->url, &t->target, err);
	if (!rc)
		rc = connect_build(connect, &t->target, NULL, 0, &t->connect, err);
	if (!rc)
		j->n_targets++;
	return rc;
}

static int add_to(struct job *j, const char *text, struct err *err)
{
	struct mirror_to *to = &j->tos[j->n_targets];
	int rc = mirror_to_parse(text, &j->args->rewrites, to, err);

	return rc ? rc : add_target(j, to->url, &j->args->connect, err);
}

static int check_resolve(const struct job *j, struct err *err)
{
	static struct target_url targets[LIMIT_TARGETS];

	for (unsigned i = 0; i < j->n_targets; i++)
		targets[i] = j->targets[i].target;
	return connect_resolve_used(&j->args->connect, targets, j->n_targets, err);
}

/* Every destination that anything is mirrored to. */
static int add_destinations(struct job *j, struct err *err)
{
	const struct policy *p = j->rules.policy;
	int rc = SC_OK;

	for (unsigned i = 0; i < p->n_destinations && !rc; i++) {
		struct destination_way *w = &j->ways[j->n_targets];

		if (!policy_sends_to(p, i))
			continue;
		if (j->n_targets == LIMIT_TARGETS)
			return err_set(err, SC_EINVAL, "more than %u targets", LIMIT_TARGETS);
		rc = destination_way_of(&p->destinations[i], &j->args->connect, w, err);
		if (!rc)
			rc = add_target(j, w->url, &w->args, err);
		if (!rc)
			j->targets[j->n_targets - 1].destination = (int)i;
	}
	if (!rc && !j->n_targets)
		rc = err_set(err, SC_EINVAL, "%s: mirrors nothing", j->args->rules.manifests.items[0]);
	return rc;
}

static int add_targets(struct job *j, struct err *err)
{
	const struct mirror_args *a = j->args;
	int rc = SC_OK;

	if (a->to.n > LIMIT_TARGETS)
		return err_set(err, SC_EINVAL, "more than %u targets", LIMIT_TARGETS);
	if (!a->to.n && !j->rules.policy)
		return err_set(err, SC_EINVAL, "mirror: expected --to URL or -f MANIFEST (see "
			       "shadow-ctl mirror --help)");
	for (unsigned i = 0; i < a->to.n && !rc; i++)
		rc = add_to(j, a->to.items[i], err);
	if (!rc && a->to.n)
		rc = check_resolve(j, err);
	return rc || a->to.n ? rc : add_destinations(j, err);
}

static int build_chains(struct job *j, struct err *err)
{
	enum host_mode mode = j->rules.policy ? HOST_KEEP : HOST_TARGET;
	int rc = rules_redaction(&j->args->rules, &j->pairs, NULL, err);

	if (!rc)
		rc = rules_redaction(&j->args->rules, &j->answers, NULL, err);

	for (unsigned i = 0; i < j->n_targets && !rc; i++) {
		struct mirror_target *t = &j->targets[i];
		const struct rewrite_options *rewrites =
			t->destination < 0 ? &j->tos[i].rewrites : &j->args->rewrites;

		rc = rules_redaction(&j->args->rules, &t->chain, NULL, err);
		if (!rc)
			rc = rewrites_build(rewrites, mode, t->target.authority, &t->chain, err);
	}
	return rc;
}

static int describe(struct job *j, struct err *err)
{
	const struct mirror_args *a = j->args;
	json_t *o = json_object(), *to = json_array();

	sniff_describe(&a->sniff, o);
	rules_describe(&a->rules, &j->rules, o);
	rewrites_describe(&a->rewrites, o);
	connect_describe(&a->connect, o);
	for (unsigned i = 0; i < a->to.n; i++)
		json_array_append_new(to, json_string(a->to.items[i]));
	json_object_set_new(o, "mirror", json_true());
	json_object_set_new(o, "to", to);
	json_object_set_new(o, "methods", json_string(j->common.methods));
	json_object_set_new(o, "version", json_string(SHADOW_VERSION));
	j->options = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return j->options ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int check_args(const struct mirror_args *a, struct err *err)
{
	int rc = sniff_check(&a->sniff, "mirror", err);

	if (rc)
		return rc;
	if (a->max_in_flight > LIMIT_CONNECTIONS)
		return err_set(err, SC_EINVAL, "--max-in-flight: at most %u", LIMIT_CONNECTIONS);
	if (a->queue < MIB)
		return err_set(err, SC_EINVAL, "--queue: expected 1M or more");
	return SC_OK;
}

static void set_common(struct job *j)
{
	const struct mirror_args *a = j->args;

	body_room_init(&j->room);
	j->common = (struct mirror_common){
		.methods = a->methods ? a->methods : j->rules.policy ? "all" : METHODS,
		.max_in_flight = (unsigned)a->max_in_flight,
		.queue_bytes = a->queue,
		.timeout_us = a->timeout,
		.circuit = (unsigned)a->circuit,
		.room = &j->room,
		.keep_answers = a->tee || a->compare,
		.spares_itself = !a->allow_origin,
		.wait = a->sniff.file && !a->sniff.follow,
		.stop = stop_asked,
		.arg = j,
	};
}

/* --resolve is about the manifest's hosts where there is one. */
static int build(struct job *j, struct err *err)
{
	struct mirror_args *a = j->args;
	unsigned n_files = a->sniff.files ? a->sniff.files->n : 0;
	int rc = check_args(a, err);

	if (!rc && a->rules.manifests.n) {
		a->rules.resolve = a->connect.resolve;
	}
	if (!rc)
		rc = rules_select(&a->rules, &j->rules, &j->early, err);
	if (!rc && j->rules.waits)
		rc = err_set(err, SC_EINVAL, "status: is known with the answer; a mirror does not wait "
			     "for it");
	set_common(j);
	if (!rc)
		rc = add_targets(j, err);
	if (!rc)
		rc = open_files_allow((uint64_t)j->n_targets * a->max_in_flight + n_files, err);
	if (!rc)
		rc = build_chains(j, err);
	return rc ? rc : describe(j, err);
}

static int open_source(struct job *j, struct err *err)
{
	struct capture_options co;

	sniff_options(&j->args->sniff, &co);
	co.early = &j->early;
	co.immediate = true;
	co.asked = on_asked;
	co.asked_arg = j;
	return capture_open(&co, &j->counters, &j->source, err);
}

static int open_tee(struct job *j, struct err *err)
{
	const struct mirror_args *a = j->args;
	struct tee_options o = {
		.path = a->tee,
		.compare = a->compare,
		.source = sniff_from(&a->sniff),
		.options = j->options,
		.targets = j->targets,
		.n_targets = j->n_targets,
		.queue_bytes = a->queue,
		.wait = j->common.wait,
		.answers = &j->answers,
	};

	return a->tee || a->compare ? tee_new(&o, &j->tee, err) : SC_OK;
}

static int start(struct job *j, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < j->n_targets && !rc; i++)
		rc = mirror_target_start(&j->targets[i], &j->common, &j->args->rules.sample_by,
					 j->rules.seed + i, err);
	return rc || !j->tee ? rc : tee_start(j->tee, err);
}

static void announce(const struct job *j)
{
	if (j->args->quiet)
		return;
	for (unsigned i = 0; i < j->n_targets; i++)
		sniff_announce(&j->args->sniff, j->source, j->targets[i].url);
	if (j->rules.policy && !j->args->methods)
		say("a manifest mirrors all methods, as a mesh does (--methods GET,HEAD,OPTIONS for "
		    "safe ones alone)");
}

/* -- after ----------------------------------------------------------------------------------- */

static json_t *account_json(struct job *j)
{
	json_t *o = json_object(), *targets = json_array();
	struct buf text;

	buf_init(&text, 16 * MIB);
	if (counters_json(&j->counters, &text) == SC_OK)
		json_object_set_new(o, "capture", json_loadb((const char *)text.data, text.len, 0, NULL));
	for (unsigned i = 0; i < j->n_targets; i++)
		json_array_append_new(targets, mirror_target_json(&j->targets[i]));
	json_object_set_new(o, "targets", targets);
	if (j->tee) {
		struct tee_counts c = tee_counts(j->tee);

		json_object_set_new(o, "tee", json_pack("{s:I, s:I, s:I}", "stored",
							(json_int_t)c.stored, "dropped",
							(json_int_t)c.dropped, "unpaired",
							(json_int_t)c.unpaired));
		buf_clear(&text);
		if (tee_json(j->tee, &text) == SC_OK)
			json_object_set_new(o, "compared", json_loadb((const char *)text.data, text.len,
								      JSON_DECODE_ANY, NULL));
	}
	buf_done(&text);
	return o;
}

static void check_ledger(struct job *j)
{
	const char *group = NULL;

	if (counters_check(&j->counters, &group))
		say("the account of %s does not add up; please report this", group);
	for (unsigned i = 0; i < j->n_targets; i++) {
		if (!mirror_target_adds_up(&j->targets[i]))
			say("the account of %s does not add up; please report this",
			    j->targets[i].url);
	}
}

static int conclude(struct job *j, struct err *err)
{
	struct buf ledger;
	char *text;
	json_t *o;
	int rc;

	atomic_store(&j->hurry_us, clock_us() + GRACE_US);
	for (unsigned i = 0; i < j->n_targets; i++)
		mirror_target_close(&j->targets[i]);
	for (unsigned i = 0; i < j->n_targets; i++)
		mirror_target_stop(&j->targets[i]);
	check_ledger(j);
	buf_init(&ledger, 64 * KIB);
	rc = counters_json(&j->counters, &ledger);
	if (!rc)
		rc = buf_add(&ledger, "", 1);
	if (!rc && j->tee)
		rc = tee_stop(j->tee, (const char *)ledger.data, err);
	buf_done(&ledger);
	if (!j->args->quiet) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\n");
		if (capture_note(j->source))
			say("%s: %s", j->args->sniff.file, capture_note(j->source));
		sniff_explain(&j->args->sniff, j->source, &j->counters);
		print_counts(j);
	}
	if (j->args->json) {
		o = account_json(j);
		text = json_dumps(o, JSON_INDENT(2));
		printf("%s\n", text ? text : "null");
		free(text);
		json_decref(o);
	}
	return rc;
}

static void job_done(struct job *j)
{
	for (unsigned i = 0; i < LIMIT_TARGETS; i++)
		mirror_target_done(&j->targets[i]);
	tee_free(j->tee);
	for (unsigned i = 0; i < LIMIT_TARGETS; i++) {
		chain_done(&j->targets[i].chain);
		connect_done(&j->targets[i].connect);
		destination_way_done(&j->ways[i]);
		mirror_to_done(&j->tos[i]);
	}
	source_free(j->source);
	chain_done(&j->pairs);
	chain_done(&j->answers);
	chain_done(&j->early);
	rules_done(&j->rules);
	free(j->options);
	free(j);
}

static int mirror_run(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct err err = {""};
	int rc, end_rc, status = EXIT_DONE;

	(void)operands;
	if (!j)
		return EXIT_FAILED;
	j->args = options;
	j->started_us = j->reported_us = clock_us();
	j->report_wait_us = REPORT_FIRST_US;
	atomic_init(&j->hurry_us, INT64_MAX);
	stop_install();
	rc = build(j, &err);
	if (!rc)
		rc = open_source(j, &err);
	if (!rc)
		rc = privilege_drop(j->args->sniff.user, &err);
	if (!rc)
		rc = open_tee(j, &err);
	if (!rc)
		rc = start(j, &err);
	if (rc) {
		status = fail(rc, &err);
		goto out;
	}
	announce(j);
	rc = parse(j, &err);
	if (rc)
		status = fail(rc, &err);
	end_rc = conclude(j, &err);
	if (end_rc)
		status = fail(end_rc, &err);
out:
	job_done(j);
	return status;
}

const struct command command_mirror = {
	.name = "mirror",
	.usage = "(-i IFACE | -r FILE) (--to URL | -f manifest.yaml) [--tee STORE] [rules]",
	.summary = "Sends captured requests to other targets at once, as a mesh mirrors them.",
	.tables = mirror_tables,
	.examples =
		"  shadow-ctl mirror -i eth0 --port 8080 --to http://v2.test:8080=10% "
		"--to 'http://v3.test host:keep'\n"
		"  shadow-ctl mirror -i eth0 -f virtualservice.yaml --resolve "
		"httpbin/v2=10.0.0.7:80 --tee shadow.db\n",
	.options_size = sizeof(struct mirror_args),
	.max_operands = 0,
	.defaults = mirror_defaults,
	.run = mirror_run,
};
