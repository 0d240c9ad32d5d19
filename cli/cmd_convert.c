/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl convert: any dataset | rules | any dataset. One exchange at a time; sends nothing and
 * overwrites nothing. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "convert.h"
#include "core/limits.h"

#define REPORT_US 1000000ll        /* on a terminal */
#define REPORT_PLAIN_US 10000000ll /* otherwise */
#define TURNS 256u                 /* exchanges between two looks at the clock */

static int set_moment(void *to, const char *value, struct err *err)
{
	return moment_parse(value, to, err);
}

#define AT(member) offsetof(struct convert_args, member)

static const struct opt convert_rows[] = {
	{"Formats", 0, "format", "NAME", "of whichever side is no store and no capture file; "
	 "otherwise the suffix says it", opt_text, AT(format)},
	{NULL, 0, "from-format", "NAME", "of SOURCE, e.g. for '-' (standard input)", opt_text,
	 AT(from_format)},
	{NULL, 0, "to-format", "NAME", "of SINK, e.g. for '-' (standard output)", opt_text,
	 AT(to_format)},
	{"Which", 0, "from", "TIME",
	 "recorded then or later: 2026-11-22T18:17:13Z, or +10s after the first", set_moment,
	 AT(from)},
	{NULL, 0, "until", "TIME", "recorded before: the same", set_moment, AT(until)},
	{NULL, 0, "max-body", "SIZE", "kept of one body that is read from a file (default: 16M)",
	 opt_size, AT(max_body)},
	{NULL, 0, "unique", NULL,
	 "one exchange of each method, route and status, where the format can (hurl)", opt_flag,
	 AT(unique)},
	{"Output", 0, "quiet", NULL, "only errors on stderr", opt_flag, AT(quiet)},
	{NULL, 0, "json", NULL, "the account on stdout as JSON at the end", opt_flag, AT(json)},
	{0},
};

static const struct opt_table convert_tables[] = {
	{convert_rows, 0},
	{rule_rows, offsetof(struct convert_args, rules)},
	{resolve_rows, offsetof(struct convert_args, rules)},
	{0},
};

static void convert_defaults(void *options)
{
	struct convert_args *a = options;

	a->max_body = CONVERT_BODY;
	rule_defaults(&a->rules);
}

/* Every exchange that was read is in one of these. */
struct tally {
	uint64_t read, written, filtered, unsampled, own, left_out, failed;
};

struct job {
	const struct convert_args *args;
	struct rules rules;
	struct chain chain;
	struct side from, to;
	struct tally account;
	struct format_notes notes;
	int64_t first_us; /* of this source's first exchange; 0: none yet */
	int64_t started_us, reported_us;
};

static const struct {
	const char *name, *text;
	size_t offset;
} rows[] = {
#define ROW(name, text) {#name, text, offsetof(struct tally, name)}
	ROW(written, "written"),
	ROW(filtered, "filtered"),
	ROW(unsampled, "unsampled"),
	ROW(own, "sent by a replay"),
	ROW(left_out, "left out by the format"),
	ROW(failed, "failed"),
#undef ROW
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static uint64_t row_of(const struct tally *a, size_t i)
{
	uint64_t n;

	memcpy(&n, (const char *)a + rows[i].offset, sizeof(n));
	return n;
}

/* --- one exchange -------------------------------------------------------------------------- */

static bool in_time(struct job *j, const struct exchange *ex)
{
	int64_t from, until;

	if (j->first_us == 0)
		j->first_us = j->from.first_us ? j->from.first_us : ex->ts_us;
	from = moment_us(&j->args->from, j->first_us);
	until = moment_us(&j->args->until, j->first_us);
	return (from == 0 || ex->ts_us >= from) && (until == 0 || ex->ts_us < until);
}

static bool judge(struct job *j, struct exchange *ex)
{
	struct tally *a = &j->account;
	enum verdict v = in_time(j, ex) ? chain_head(&j->chain, ex) : VERDICT_FILTERED;

	if (v == VERDICT_KEEP)
		v = chain_whole(&j->chain, ex);
	a->filtered += v == VERDICT_FILTERED;
	a->unsampled += v == VERDICT_UNSAMPLED;
	a->own += v == VERDICT_OWN;
	a->failed += v == VERDICT_ERROR;
	return v == VERDICT_KEEP;
}

static int take(struct job *j, struct exchange *ex, struct err *err)
{
	int rc = SC_OK;

	j->account.read++;
	if (judge(j, ex)) {
		rc = sink_put(j->to.sink, ex, err);
		j->account.written += rc == SC_OK;
		j->account.failed += rc != SC_OK;
	}
	exchange_free(ex);
	return rc;
}

/* --- talk ---------------------------------------------------------------------------------- */

static void print_account(const struct job *j)
{
	const struct tally *a = &j->account;

	fprintf(stderr, "exchanges: %" PRIu64 " read", a->read);
	for (size_t i = 0; i < N_ROWS; i++) {
		if (i == 0 || row_of(a, i))
			fprintf(stderr, "%s%" PRIu64 " %s", i ? " + " : " = ", row_of(a, i),
				rows[i].text);
	}
	fprintf(stderr, "\n");
	for (unsigned i = 0; i < j->notes.n; i++)
		fprintf(stderr, "note: %" PRIu64 " %s\n", j->notes.notes[i].n,
			j->notes.notes[i].what);
}

static void print_progress(struct job *j)
{
	bool terminal = isatty(STDERR_FILENO);
	int64_t now = clock_us();

	if (stop_report_wanted())
		print_account(j);
	if (j->args->quiet || now - j->reported_us < (terminal ? REPORT_US : REPORT_PLAIN_US))
		return;
	j->reported_us = now;
	fprintf(stderr, "%s%" PRIu64 " exchanges read, %" PRIu64 " written%s",
		terminal ? "\r" : "shadow-ctl: ", j->account.read, j->account.written,
		terminal ? "\033[K" : "\n");
}

static int print_json(const struct job *j, struct err *err)
{
	json_t *o = json_object(), *notes = json_array();
	char *text;
	int rc = SC_OK;

	json_object_set_new(o, "read", json_integer((json_int_t)j->account.read));
	for (size_t i = 0; i < N_ROWS; i++)
		json_object_set_new(o, rows[i].name,
				    json_integer((json_int_t)row_of(&j->account, i)));
	for (unsigned i = 0; i < j->notes.n; i++)
		json_array_append_new(notes,
				      json_pack("{s:s, s:I}", "what", j->notes.notes[i].what,
						"count", (json_int_t)j->notes.notes[i].n));
	json_object_set_new(o, "notes", notes);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (printf("%s\n", text) < 0 || fflush(stdout))
		rc = err_set(err, SC_EIO, "standard output: %s", strerror(errno));
	free(text);
	return rc;
}

/* --- a run --------------------------------------------------------------------------------- */

static int pump(struct job *j, struct err *err)
{
	for (unsigned turns = 0;;) {
		struct exchange *ex = NULL;
		int rc = source_next(j->from.source, &ex, err);

		if (rc == 1) {
			rc = take(j, ex, err);
			if (rc)
				return rc;
			if (++turns % TURNS && !stop_wanted())
				continue;
		} else if (rc != SC_EAGAIN) {
			return rc;
		}
		print_progress(j);
		if (stop_wanted())
			source_stop(j->from.source);
		rc = turns ? sink_tick(j->to.sink, clock_us(), err) : SC_OK;
		if (rc)
			return rc;
	}
}

static char *describe(const struct job *j)
{
	json_t *o = json_object();
	char *text;

	rules_describe(&j->args->rules, &j->rules, o);
	json_object_set_new(o, "version", json_string(SHADOW_VERSION));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* What was put of this sink but is not kept: a transaction that failed, a format that cannot hold
 * it. */
static void settle(struct job *j, uint64_t put_before, int rc)
{
	const struct sink *s = j->to.sink;
	uint64_t put = j->account.written - put_before, lost;

	if (!s || !s->ops->kept)
		return;
	lost = put - s->ops->kept(s);
	j->account.written -= lost;
	*(rc ? &j->account.failed : &j->account.left_out) += lost;
}

/* The ledger of a capture row that was made this way. */
static int save_ledger(struct job *j, const struct tally *before, struct err *err)
{
	const struct tally *a = &j->account;
	struct counters c;
	struct buf json;
	int rc;

	memset(&c, 0, sizeof(c));
	counter_set(&c, REQUESTS_SEEN, a->read - before->read);
	counter_set(&c, REQUESTS_STORED, a->written - before->written);
	counter_set(&c, REQUESTS_FILTERED, a->filtered - before->filtered);
	counter_set(&c, REQUESTS_UNSAMPLED, a->unsampled - before->unsampled);
	counter_set(&c, REQUESTS_OWN, a->own - before->own);
	counter_set(&c, REQUESTS_FAILED, a->failed - before->failed);
	if (j->rules.redaction)
		counter_set(&c, BODIES_CLOSED, redaction_closed(j->rules.redaction));
	buf_init(&json, 64 * KIB);
	rc = counters_json(&c, &json);
	if (!rc)
		rc = buf_add(&json, "", 1);
	rc = rc ? err_set(err, rc, "out of memory")
		: side_end(&j->to, clock_us(), (const char *)json.data, err);
	buf_done(&json);
	return rc;
}

static int convert_one(struct job *j, struct err *err)
{
	struct tally before = j->account;
	struct err later;
	int rc, ended;

	j->first_us = 0;
	rc = pump(j, err);
	/* What was taken is kept in a store, whatever stopped it; a file is there whole or not. */
	if (!rc || j->to.store) {
		ended = sink_finish(j->to.sink, clock_us(), rc ? &later : err);
		rc = rc ? rc : ended;
	}
	settle(j, before.written, rc);
	if (j->to.store) {
		ended = save_ledger(j, &before, rc ? &later : err);
		rc = rc ? rc : ended;
	}
	return rc;
}

/* A store gets a capture row for each source, any other sink is one file for all of them. */
static int convert_all(struct job *j, const struct operands *o, struct err *err)
{
	const char *sink = o->items[o->n - 1];
	char *options = describe(j);
	int rc = options ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");

	for (int i = 0; i < o->n - 1 && !rc && !stop_wanted(); i++) {
		rc = source_side(j->args, o->items[i], sink, &j->notes, &j->from, err);
		if (!rc)
			rc = sink_side(j->args, sink, o->items[i], options, j->started_us,
				       &j->notes, &j->to, err);
		if (!rc)
			rc = convert_one(j, err);
		side_done(&j->from, j->args->quiet);
		side_done(&j->to, true);
	}
	free(options);
	return rc;
}

static int check_args(const struct convert_args *a, const struct operands *o, struct err *err)
{
	const char *sink = o->items[o->n - 1];

	if (a->json && strcmp(sink, "-") == 0)
		return err_set(err, SC_EINVAL, "--json: standard output is the sink already");
	if (o->n > 2 && !sink_is_store(a, sink))
		return err_set(err, SC_EINVAL, "several sources: only into a store, not into '%s'",
			       sink);
	return rules_check_resolve(&a->rules, err);
}

static int convert_run(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct convert_args *a = options;
	struct err err;
	int rc, status = EXIT_DONE;

	if (!j)
		return EXIT_FAILED;
	j->args = a;
	j->started_us = j->reported_us = clock_us();
	stop_install();
	rc = check_args(a, operands, &err);
	if (!rc)
		rc = rules_build(&a->rules, false, -1, &j->rules, &j->chain, &err);
	if (!rc)
		rc = convert_all(j, operands, &err);
	if (rc)
		status = fail(rc, &err);
	if (j->rules.redaction)
		format_note_n(&j->notes, "bodies taken out: redaction could not read them",
			      redaction_closed(j->rules.redaction));
	if (!a->quiet && (!rc || j->account.read)) {
		if (isatty(STDERR_FILENO) && j->reported_us != j->started_us)
			fprintf(stderr, "\n");
		print_account(j);
	}
	rc = status == EXIT_DONE && a->json ? print_json(j, &err) : SC_OK;
	if (rc)
		status = fail(rc, &err);
	chain_done(&j->chain);
	rules_done(&j->rules);
	free(j);
	return status;
}

#define CONVERT_COMMAND(verb, text)                                                                \
	{                                                                                          \
		.name = verb, .usage = "SOURCE... SINK [rules]", .summary = text,                  \
		.tables = convert_tables,                                                          \
		.examples =                                                                        \
			"  shadow-ctl " verb " shadow.db out.har --route '/api/*' --redact secrets\n"   \
			"  shadow-ctl " verb " browser.har shadow.db\n",                           \
		.options_size = sizeof(struct convert_args), .min_operands = 2,                    \
		.max_operands = 64, .defaults = convert_defaults, .run = convert_run,              \
	}

const struct command command_convert = CONVERT_COMMAND(
	"convert", "Turns a dataset of any format into another, by the same rules as a capture.");
const struct command command_export = CONVERT_COMMAND(
	"export", "The same as convert: mostly from a store to a file.");
const struct command command_import = CONVERT_COMMAND(
	"import", "The same as convert: mostly from a file into a store.");
