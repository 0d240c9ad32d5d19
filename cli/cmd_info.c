/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl info: what is in a store, with the ledger of each capture. Gathers everything as one
 * JSON value and prints that, or says it in words; so both tell the same. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "core/counters.h"
#include "core/limits.h"
#include "store/store.h"
#include "table.h"


struct info_options {
	bool json;
};

static const struct opt info_rows[] = {
	{"Output", 0, "json", NULL, "everything as one JSON object", opt_flag,
	 offsetof(struct info_options, json)},
	{0},
};

static const struct opt_table info_tables[] = {{info_rows, 0}, {NULL, 0}};

static const char captures_sql[] =
	"WITH counted AS (SELECT capture_id, count(*) AS exchanges, json_object("
	" 'complete', count(CASE WHEN state = 'complete' THEN 1 END),"
	" 'no-response', count(CASE WHEN state = 'no-response' THEN 1 END),"
	" 'truncated', count(CASE WHEN state = 'truncated' THEN 1 END),"
	" 'gap', count(CASE WHEN state = 'gap' THEN 1 END)) AS states,"
	" sum(request_size) AS request_bytes, sum(response_size) AS response_bytes"
	" FROM exchange GROUP BY capture_id)"
	" SELECT c.id AS id, started_at, ended_at, source, coalesce(exchanges, 0) AS exchanges,"
	" coalesce(states, '{}') AS states, coalesce(request_bytes, 0) AS request_bytes,"
	" coalesce(response_bytes, 0) AS response_bytes, options, ledger"
	" FROM capture c LEFT JOIN counted n ON n.capture_id = c.id ORDER BY c.id";

static const char replays_sql[] =
	"WITH counted AS (SELECT replay_id, count(*) AS requests, count(status) AS answered,"
	" count(error) AS errors FROM result GROUP BY replay_id)"
	" SELECT p.id AS id, started_at, ended_at, target, coalesce(requests, 0) AS requests,"
	" coalesce(answered, 0) AS answered, coalesce(errors, 0) AS errors, options, summary"
	" FROM replay p LEFT JOIN counted n ON n.replay_id = p.id ORDER BY p.id";

static const char bodies_sql[] =
	"SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM body";

/* Rows as JSON objects. */
struct gather {
	json_t *rows;
	json_t *names;
};

static bool holds_json(const char *name)
{
	static const char *const columns[] = {"options", "ledger", "summary", "states"};

	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		if (strcmp(name, columns[i]) == 0)
			return true;
	}
	return false;
}

static json_t *json_number(const struct value *v)
{
	char text[64];
	size_t n = v->text.len < sizeof(text) ? v->text.len : sizeof(text) - 1;

	memcpy(text, v->text.p, n);
	text[n] = '\0';
	return v->kind == VALUE_INTEGER ? json_integer(strtoll(text, NULL, 10))
					: json_real(strtod(text, NULL));
}

static json_t *json_from(const char *name, const struct value *v)
{
	const char *text = (const char *)v->text.p;
	json_t *json = NULL;

	if (v->kind == VALUE_NULL)
		return json_null();
	if (v->kind == VALUE_INTEGER || v->kind == VALUE_REAL)
		return json_number(v);
	if (holds_json(name))
		json = json_loadb(text, v->text.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
	if (!json)
		json = json_stringn(text, v->text.len);
	return json ? json : json_null(); /* not UTF-8: somebody else wrote it */
}

static int gather_columns(void *arg, int n, const char *const *names)
{
	struct gather *g = arg;

	for (int i = 0; i < n; i++) {
		if (json_array_append_new(g->names, json_string(names[i])))
			return SC_ENOMEM;
	}
	return SC_OK;
}

static int gather_row(void *arg, int n, const struct value *values)
{
	struct gather *g = arg;
	json_t *row = json_object();

	for (int i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(g->names, (size_t)i));

		if (json_object_set_new(row, name, json_from(name, &values[i]))) {
			json_decref(row);
			return SC_ENOMEM;
		}
	}
	return json_array_append_new(g->rows, row) ? SC_ENOMEM : SC_OK;
}

/* Sets doc[key] to the rows, or to the first of them. */
static int gather(struct store *st, const char *sql, json_t *doc, const char *key, bool first,
		  struct err *err)
{
	struct gather g = {json_array(), json_array()};
	struct row_reader reader = {gather_columns, gather_row, &g};
	int rc = store_select(st, sql, &reader, err);

	if (!rc && json_object_set(doc, key, first ? json_array_get(g.rows, 0) : g.rows))
		rc = SC_ENOMEM;
	json_decref(g.rows);
	json_decref(g.names);
	return rc;
}

static int64_t file_size(const char *path, const char *suffix)
{
	struct stat file;
	struct buf name;
	int64_t size = 0;

	buf_init(&name, LIMIT_INFO_BYTES);
	if (buf_addf(&name, "%s%s", path, suffix) == SC_OK &&
	    stat((const char *)name.data, &file) == 0)
		size = file.st_size;
	buf_done(&name);
	return size;
}

static int64_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static int gather_all(struct store *st, const char *path, json_t *doc, struct err *err)
{
	json_t *capture, *version;
	int64_t exchanges = 0;
	size_t i;
	int rc;

	if (json_object_set_new(doc, "path", json_string(path)) &&
	    json_object_set_new(doc, "path", json_null()))
		return SC_ENOMEM;
	if (json_object_set_new(doc, "size_bytes", json_integer(file_size(path, ""))) ||
	    json_object_set_new(doc, "log_bytes", json_integer(file_size(path, "-wal"))))
		return SC_ENOMEM;
	rc = gather(st, "PRAGMA user_version", doc, "schema_version", true, err);
	if (rc)
		return rc;
	version = json_object_get(json_object_get(doc, "schema_version"), "user_version");
	if (json_object_set(doc, "schema_version", version) ||
	    json_object_set_new(doc, "exchanges", json_integer(0)))
		return SC_ENOMEM;
	rc = gather(st, bodies_sql, doc, "bodies", true, err);
	if (!rc)
		rc = gather(st, captures_sql, doc, "captures", false, err);
	if (!rc)
		rc = gather(st, replays_sql, doc, "replays", false, err);
	json_array_foreach(json_object_get(doc, "captures"), i, capture)
		exchanges += integer(capture, "exchanges");
	if (!rc && json_integer_set(json_object_get(doc, "exchanges"), exchanges))
		rc = SC_ENOMEM;
	return rc;
}

static void print_size(int64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double n = (double)bytes;
	int i = 0;

	for (; n >= 1024 && i < 4; i++)
		n /= 1024;
	(void)printf(i ? "%.1f %s" : "%.0f %s", n, units[i]);
}

static void print_shown(const char *text)
{
	struct buf b;

	buf_init(&b, LIMIT_INFO_BYTES);
	if (text && table_shown(&b, span_str(text)) == SC_OK && b.len)
		(void)fwrite(b.data, 1, b.len, stdout);
	buf_done(&b);
}

static void print_run(const char *kind, const json_t *run, const char *what)
{
	const char *ended = json_string_value(json_object_get(run, "ended_at"));

	(void)printf("\n%s %" PRId64 "  ", kind, integer(run, "id"));
	print_shown(json_string_value(json_object_get(run, what)));
	(void)printf(", ");
	print_shown(json_string_value(json_object_get(run, "started_at")));
	if (ended) {
		(void)printf(" to ");
		print_shown(ended);
	} else {
		(void)printf(", still running or cut off");
	}
	(void)printf("\n");
}

/* The account as it was printed when the capture ended. */
static void print_ledger(const json_t *ledger)
{
#define ROW(group, id, name, help, role) {#group, name, id},
	static const struct {
		const char *group, *name;
		enum counter_id id;
	} rows[] = {COUNTER_TABLE(ROW)};
#undef ROW
	struct counters counters = {0};
	struct buf text;
	const char *group;
	json_t *names;

	json_object_foreach((json_t *)(uintptr_t)ledger, group, names) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			if (strcasecmp(group, rows[i].group) == 0)
				counter_set(&counters, rows[i].id,
					    (uint64_t)integer(names, rows[i].name));
		}
	}
	buf_init(&text, LIMIT_INFO_BYTES);
	if (counters_text(&counters, &text) == SC_OK) {
		for (size_t i = 0, start = 0; i < text.len; i++) {
			if (text.data[i] != '\n')
				continue;
			/* A group in which nothing was counted is its name alone. */
			if (text.data[i - 1] != ' ')
				(void)printf("  %.*s\n", (int)(i - start),
					     (char *)text.data + start);
			start = i + 1;
		}
	}
	buf_done(&text);
}

static void print_capture(const json_t *capture)
{
	json_t *states = json_object_get(capture, "states");
	const json_t *ledger = json_object_get(capture, "ledger");
	const char *state, *before = ":";
	json_t *n;

	print_run("capture", capture, "source");
	(void)printf("  %" PRId64 " exchanges", integer(capture, "exchanges"));
	json_object_foreach(states, state, n) {
		if (json_integer_value(n) == 0)
			continue;
		(void)printf("%s %" PRId64 " ", before, (int64_t)json_integer_value(n));
		print_shown(state);
		before = ",";
	}
	(void)printf("; bodies of requests ");
	print_size(integer(capture, "request_bytes"));
	(void)printf(", of responses ");
	print_size(integer(capture, "response_bytes"));
	(void)printf("\n");
	if (json_is_object(ledger))
		print_ledger(ledger);
	else
		(void)printf("  no ledger: it is written when a capture ends\n");
}

static void print_replay(const json_t *replay)
{
	print_run("replay", replay, "target");
	(void)printf("  %" PRId64 " results: %" PRId64 " answered, %" PRId64 " errors\n",
		     integer(replay, "requests"), integer(replay, "answered"),
		     integer(replay, "errors"));
}

static void print_text(const char *path, const json_t *doc)
{
	const json_t *bodies = json_object_get(doc, "bodies");
	json_t *run;
	size_t i;

	print_shown(path);
	(void)printf("  ");
	print_size(integer(doc, "size_bytes"));
	if (integer(doc, "log_bytes")) {
		(void)printf(" and a log of ");
		print_size(integer(doc, "log_bytes"));
	}
	(void)printf(", schema version %" PRId64 "\n", integer(doc, "schema_version"));
	(void)printf("%" PRId64 " exchanges, %" PRId64 " different bodies of ",
		     integer(doc, "exchanges"), integer(bodies, "count"));
	print_size(integer(bodies, "bytes"));
	(void)printf("\n");
	json_array_foreach(json_object_get(doc, "captures"), i, run)
		print_capture(run);
	json_array_foreach(json_object_get(doc, "replays"), i, run)
		print_replay(run);
}

static int info_run(void *options, const struct operands *operands)
{
	const struct info_options *o = options;
	const char *path = operands->items[0];
	struct err err = {""};
	struct store *st = NULL;
	json_t *doc = NULL;
	int rc = store_open(path, STORE_READ, &st, &err);

	if (rc)
		return fail(rc, &err);
	doc = json_object();
	rc = gather_all(st, path, doc, &err);
	if (!rc && o->json && (json_dumpf(doc, stdout, JSON_INDENT(2)) || putchar('\n') == EOF))
		rc = SC_EIO;
	if (!rc && !o->json)
		print_text(path, doc);
	if (!rc && (fflush(stdout) || ferror(stdout)))
		rc = SC_EIO;
	json_decref(doc);
	store_close(st);
	if (rc && err.text[0] == '\0')
		(void)err_set(&err, rc, "%s", rc == SC_EIO ? "cannot write the result"
							   : "no memory for the result");
	return rc ? fail(rc, &err) : EXIT_DONE;
}

static const char info_examples[] =
	"  shadow-ctl info shadow.db\n"
	"  shadow-ctl info shadow.db --json | jq '.captures[0].ledger'\n";

const struct command command_info = {
	.name = "info",
	.usage = "STORE [--json]",
	.summary = "Show what a store holds: captures with their ledgers, replays, sizes.",
	.tables = info_tables,
	.examples = info_examples,
	.options_size = sizeof(struct info_options),
	.min_operands = 1,
	.max_operands = 1,
	.run = info_run,
};
