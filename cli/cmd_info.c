/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl info: what is in a store, or in several, with the ledger of each capture. Gathers
 * everything as one JSON value and prints that, or says it in words; so both tell the same.
 * Looks at totals and at the ends of tables, never at all rows: it is instant, however much
 * there is. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "core/counters.h"
#include "core/limits.h"
#include "sources.h"
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
	"SELECT c.id AS id, started_at, ended_at, source, coalesce(exchanges, 0) AS exchanges,"
	" CASE WHEN exchanges > 0 THEN json_object('complete', complete,"
	" 'no-response', no_response, 'truncated', truncated, 'gap', gap) ELSE '{}' END AS states,"
	" coalesce(request_bytes, 0) AS request_bytes,"
	" coalesce(response_bytes, 0) AS response_bytes, options, ledger"
	" FROM capture c LEFT JOIN capture_total t ON t.capture_id = c.id ORDER BY c.id";

static const char replays_sql[] =
	"SELECT p.id AS id, started_at, ended_at, target, coalesce(results, 0) AS requests,"
	" coalesce(answered, 0) AS answered, coalesce(errors, 0) AS errors, options, summary"
	" FROM replay p LEFT JOIN replay_total t ON t.replay_id = p.id ORDER BY p.id";

static const char bodies_sql[] =
	"SELECT coalesce(sum(bodies), 0) AS count, coalesce(sum(bytes), 0) AS bytes"
	" FROM body_total";

/* Before a capture ends there is no index of the times: then as many rows at either end tell, since
 * they are about in the order of time. */
#define END(function, order)                                                                       \
	"CASE WHEN EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'exchange_time')"              \
	" THEN (SELECT " function "(ts_us) FROM exchange) ELSE (SELECT " function "(ts_us)"        \
	" FROM (SELECT ts_us FROM exchange ORDER BY id " order " LIMIT 10000)) END"
#define TIME_TEXT(us)                                                                              \
	"strftime('%Y-%m-%dT%H:%M:%S', " us " / 1000000, 'unixepoch')"                             \
	" || printf('.%06dZ', " us " % 1000000)"

static const char span_sql[] =
	"WITH span (first, last) AS (SELECT " END("min", "ASC") ", " END("max", "DESC") ")"
	" SELECT " TIME_TEXT("first") " AS first, " TIME_TEXT("last") " AS last FROM span";

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

static int gather_file(const char *path, json_t *doc)
{
	if (json_object_set_new(doc, "path", json_string(path)) &&
	    json_object_set_new(doc, "path", json_null()))
		return SC_ENOMEM;
	return json_object_set_new(doc, "size_bytes", json_integer(file_size(path, ""))) ||
	       json_object_set_new(doc, "log_bytes", json_integer(file_size(path, "-wal")))
		       ? SC_ENOMEM : SC_OK;
}

/* The columns of one row, as members of the whole. */
static int gather_row_of(struct store *st, const char *sql, json_t *doc, struct err *err)
{
	json_t *row = json_object();
	int rc = row ? gather(st, sql, row, "row", true, err) : SC_ENOMEM;

	if (!rc && json_object_update(doc, json_object_get(row, "row")))
		rc = SC_ENOMEM;
	json_decref(row);
	return rc;
}

static int gather_runs(struct store *st, json_t *doc, struct err *err)
{
	json_t *capture;
	int64_t exchanges = 0;
	size_t i;
	int rc = gather(st, captures_sql, doc, "captures", false, err);

	if (!rc)
		rc = gather(st, replays_sql, doc, "replays", false, err);
	json_array_foreach(json_object_get(doc, "captures"), i, capture)
		exchanges += integer(capture, "exchanges");
	if (!rc && json_integer_set(json_object_get(doc, "exchanges"), exchanges))
		rc = SC_ENOMEM;
	return rc;
}

static int gather_all(struct store *st, const char *path, json_t *doc, struct err *err)
{
	int rc = gather_file(path, doc);

	if (!rc)
		rc = gather_row_of(st, "SELECT user_version AS schema_version"
				   " FROM pragma_user_version", doc, err);
	if (!rc && json_object_set_new(doc, "exchanges", json_integer(0)))
		rc = SC_ENOMEM;
	if (!rc)
		rc = gather_row_of(st, span_sql, doc, err);
	if (!rc)
		rc = gather(st, bodies_sql, doc, "bodies", true, err);
	return rc ? rc : gather_runs(st, doc, err);
}

static int gather_store(const char *path, json_t *stores, struct err *err)
{
	struct store *st = NULL;
	json_t *doc = json_object();
	int rc = json_array_append_new(stores, doc) ? SC_ENOMEM : SC_OK;

	if (!rc)
		rc = store_open(path, STORE_READ, &st, err);
	if (!rc)
		rc = gather_all(st, path, doc, err);
	store_close(st);
	return rc;
}

/* Takes over the earlier, or the later, of two times, which compare as text. */
static int widen(json_t *whole, const json_t *store, const char *key, bool later)
{
	const char *known = json_string_value(json_object_get(whole, key));
	const char *time = json_string_value(json_object_get(store, key));

	if (!time || (known && (strcmp(time, known) > 0) != later))
		return SC_OK;
	return json_object_set_new(whole, key, json_string(time)) ? SC_ENOMEM : SC_OK;
}

/* What several stores are together. */
static json_t *whole_of(json_t *stores)
{
	json_t *whole = json_pack("{s:O, s:i, s:i, s:n, s:n}", "stores", stores, "exchanges", 0,
				  "size_bytes", 0, "first", "last");
	int64_t exchanges = 0, bytes = 0;
	json_t *store;
	size_t i;
	int rc = whole ? SC_OK : SC_ENOMEM;

	json_array_foreach(stores, i, store) {
		exchanges += integer(store, "exchanges");
		bytes += integer(store, "size_bytes");
		if (!rc)
			rc = widen(whole, store, "first", false);
		if (!rc)
			rc = widen(whole, store, "last", true);
	}
	if (!rc && (json_integer_set(json_object_get(whole, "exchanges"), exchanges) ||
		    json_integer_set(json_object_get(whole, "size_bytes"), bytes)))
		rc = SC_ENOMEM;
	if (!rc)
		return whole;
	json_decref(whole);
	return NULL;
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

static void print_span(const json_t *doc)
{
	print_shown(json_string_value(json_object_get(doc, "first")));
	(void)printf(" to ");
	print_shown(json_string_value(json_object_get(doc, "last")));
}

/* The path as it was given: JSON has no room for one that is not UTF-8. */
static void print_store(const char *path, const json_t *doc)
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
	if (json_is_string(json_object_get(doc, "first"))) {
		print_span(doc);
		(void)printf("\n");
	}
	json_array_foreach(json_object_get(doc, "captures"), i, run)
		print_capture(run);
	json_array_foreach(json_object_get(doc, "replays"), i, run)
		print_replay(run);
}

static void print_whole(const struct sources *found, const json_t *whole)
{
	const json_t *stores = json_object_get(whole, "stores");
	json_t *store;
	size_t i;

	json_array_foreach(stores, i, store) {
		print_store(found->paths[i], store);
		(void)printf("\n");
	}
	(void)printf("%zu stores, %" PRId64 " exchanges, ", json_array_size(stores),
		     integer(whole, "exchanges"));
	print_size(integer(whole, "size_bytes"));
	if (json_is_string(json_object_get(whole, "first"))) {
		(void)printf(", ");
		print_span(whole);
	}
	(void)printf("\n");
}

static int print_json(const json_t *doc)
{
	return json_dumpf(doc, stdout, JSON_INDENT(2)) || putchar('\n') == EOF ? SC_EIO : SC_OK;
}

static int print_one(const struct sources *found, const json_t *stores, bool json)
{
	const json_t *store = json_array_get(stores, 0);

	if (json)
		return print_json(store);
	print_store(found->paths[0], store);
	return SC_OK;
}

static int print_several(const struct sources *found, json_t *stores, bool json)
{
	json_t *whole = whole_of(stores);
	int rc = whole ? SC_OK : SC_ENOMEM;

	if (!rc && json)
		rc = print_json(whole);
	else if (!rc)
		print_whole(found, whole);
	json_decref(whole);
	return rc;
}

static int info_run(void *options, const struct operands *operands)
{
	const struct info_options *o = options;
	struct sources found = {NULL, 0};
	struct err err = {""};
	json_t *stores = json_array();
	int rc = sources_find(operands->items, operands->n, &found, &err);

	for (unsigned i = 0; i < found.n && !rc; i++)
		rc = gather_store(found.paths[i], stores, &err);
	if (!rc)
		rc = found.n == 1 ? print_one(&found, stores, o->json)
				  : print_several(&found, stores, o->json);
	if (!rc && (fflush(stdout) || ferror(stdout)))
		rc = SC_EIO;
	json_decref(stores);
	sources_done(&found);
	if (rc && err.text[0] == '\0')
		(void)err_set(&err, rc, "%s", rc == SC_EIO ? "cannot write the result"
							   : "no memory for the result");
	return rc ? fail(rc, &err) : EXIT_DONE;
}

static const char info_examples[] =
	"  shadow-ctl info shadow.db\n"
	"  shadow-ctl info 'shadow-*.db'\n"
	"  shadow-ctl info shadow.db --json | jq '.captures[0].ledger'\n";

const struct command command_info = {
	.name = "info",
	.usage = "STORE... [--json]",
	.summary = "Show what stores hold: captures with their ledgers, replays, sizes.",
	.tables = info_tables,
	.examples = info_examples,
	.options_size = sizeof(struct info_options),
	.min_operands = 1,
	.max_operands = LIMIT_SOURCES,
	.run = info_run,
};
