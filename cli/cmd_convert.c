/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl convert: any dataset | rules | any dataset. One exchange at a time; sends nothing and
 * overwrites nothing. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "core/limits.h"
#include "gather.h"

static int set_moment(void *to, const char *value, struct err *err)
{
	return moment_parse(value, to, err);
}

#define AT(member) offsetof(struct convert_args, member)

static const struct opt convert_rows[] = {
	{"Formats", 0, "format", "NAME", "of whichever side is no store and no capture file: jsonl, "
	 "har, csv, gor, vegeta, curl, hurl; otherwise the suffix says it: .db .sqlite, .pcap "
	 ".pcapng, .jsonl .ndjson, .har, .csv, .gor, .vegeta, .sh, .hurl, all but a store's also "
	 "with .gz", opt_text, AT(format)},
	{NULL, 0, "from-format", "NAME", "of SOURCE, e.g. for '-' (standard input): store, pcap, "
	 "pcapng, jsonl, har, gor", opt_text, AT(from_format)},
	{NULL, 0, "to-format", "NAME", "of SINK, e.g. for '-' (standard output): store, jsonl, har, "
	 "csv, gor, vegeta, curl, hurl", opt_text, AT(to_format)},
	{"Which", 0, "from", "TIME",
	 "recorded then or later: 2026-11-22T18:17:13Z, or +10s after the first", set_moment,
	 AT(from)},
	{NULL, 0, "until", "TIME", "recorded before: the same", set_moment, AT(until)},
	{NULL, 0, "max-body", "SIZE", "kept of one body that is read from a file (default: 16M)",
	 opt_size, AT(max_body)},
	{NULL, 0, "unique", NULL, "one exchange of each method, route and status; for "
	 UNIQUE_FORMAT, opt_flag, AT(unique)},
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

static char *describe(const struct convert_args *a, const struct rules *r)
{
	json_t *o = json_object();
	char *text;

	rules_describe(&a->rules, r, o);
	json_object_set_new(o, "version", json_string(SHADOW_VERSION));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static int check_args(const struct convert_args *a, const char *sink, struct err *err)
{
	int rc;

	if (a->json && strcmp(sink, "-") == 0)
		return err_set(err, SC_EINVAL, "--json: standard output is the sink already");
	rc = sink_check(a, sink, err);
	return rc ? rc : rules_check_resolve(&a->rules, err);
}

static int convert_all(struct gather *g, const struct operands *o, struct err *err)
{
	const char *sink = o->items[o->n - 1];
	struct sources files = {NULL, 0};
	int rc = sources_find(o->items, o->n - 1, &files, err);

	if (!rc)
		rc = gather_look(g, &files, sink, err);
	if (!rc && stop_wanted())
		g->stopped = true;
	else if (!rc)
		rc = gather_run(g, sink, err);
	gather_done(g);
	sources_done(&files);
	return rc;
}

static int convert_by(struct gather *g, const struct rules *rules, const struct operands *o,
		      struct err *err)
{
	char *options = describe(g->args, rules);
	int rc;

	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	g->options = options;
	g->redaction = rules->redaction;
	rc = convert_all(g, o, err);
	free(options);
	return rc;
}

/* What a person who stopped it is left with. */
static void say_stopped(const struct gather *g, const char *sink)
{
	if (g->to.kind == KIND_NONE)
		say("stopped: nothing was written, and there is no %s", sink);
	else if (g->to.kind == KIND_NULL)
		say("stopped: not all was read");
	else
		say("stopped: what was read until then is in %s",
		    strcmp(sink, "-") == 0 ? "standard output" : sink);
}

static int convert_run(void *options, const struct operands *operands)
{
	const struct convert_args *a = options;
	struct rules rules = {.policy = NULL};
	struct chain chain = {.n = 0};
	struct gather g = {.args = a, .chain = &chain};
	struct err err;
	int rc, status = EXIT_DONE;

	stop_install();
	rc = check_args(a, operands->items[operands->n - 1], &err);
	if (!rc)
		rc = rules_build(&a->rules, false, -1, &rules, &chain, &err);
	if (!rc)
		rc = convert_by(&g, &rules, operands, &err);
	if (rc)
		status = fail(rc, &err);
	if (!a->quiet && (!rc || g.account.read))
		gather_print(&g);
	if (!a->quiet && !rc && g.stopped)
		say_stopped(&g, operands->items[operands->n - 1]);
	rc = status == EXIT_DONE && a->json ? gather_print_json(&g, &err) : SC_OK;
	if (rc)
		status = fail(rc, &err);
	chain_done(&chain);
	rules_done(&rules);
	return status;
}

#define CONVERT_SEVERAL                                                                            \
	"\n\nSeveral sources, also globs, are one dataset in the order of time, and capture files " \
	"one\nrecording; a store gets a capture row for each. A source that is damaged ends it: a " \
	"store keeps\nwhat came before, in a row without an end, and a file is not made."

#define CONVERT_COMMAND(verb, text)                                                                \
	{                                                                                          \
		.name = verb, .usage = "SOURCE... SINK [rules]", .summary = text,                  \
		.tables = convert_tables,                                                          \
		.examples =                                                                        \
			"  shadow-ctl " verb " shadow.db out.har --route '/api/*' --redact secrets\n"   \
			"  shadow-ctl " verb " browser.har shadow.db\n"                            \
			"  shadow-ctl " verb " 'shadow-*.db' today.pcap all.jsonl.gz\n",           \
		.options_size = sizeof(struct convert_args), .min_operands = 2,                    \
		.max_operands = LIMIT_SOURCES + 1, .defaults = convert_defaults, .run = convert_run,              \
	}

const struct command command_convert = CONVERT_COMMAND(
	"convert", "Turns datasets of any format into one of any format, by the same rules as a "
	"capture." CONVERT_SEVERAL);
const struct command command_export = CONVERT_COMMAND(
	"export", "The same as convert: mostly from a store to a file." CONVERT_SEVERAL);
const struct command command_import = CONVERT_COMMAND(
	"import", "The same as convert: mostly from a file into a store." CONVERT_SEVERAL);
