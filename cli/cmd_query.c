/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl query: SQL, or a question by its name, on a store, or on several as one. Reads
 * only. */
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "core/limits.h"
#include "sources.h"
#include "store/several.h"
#include "store/store.h"
#include "table.h"

#define STORE_FILES 3 /* that SQLite opens of a store: itself, its log, the log's index */

/* Who is one client, of --by. */
struct key {
	const char *kind; /* NULL: not said */
	const char *name;
};

struct query_options {
	bool csv, json, jsonl, sql;
	struct key by;
};

static int opt_key(void *to, const char *value, struct err *err)
{
	static const char *const kinds[] = {"cookie", "header"};
	struct key *key = to;

	if (strcmp(value, "client") == 0) {
		*key = (struct key){"client", ""};
		return SC_OK;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i]);

		if (strncmp(value, kinds[i], n) == 0 && value[n] == ':' && value[n + 1]) {
			*key = (struct key){kinds[i], value + n + 1};
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "'%s': expected client, cookie:NAME or header:NAME", value);
}

static const struct opt query_rows[] = {
	{"Question", 0, "by", "KEY",
	 "of sessions and funnel, what tells clients apart: client (their address, the default),"
	 " cookie:NAME or header:NAME", opt_key, offsetof(struct query_options, by)},
	{NULL, 0, "sql", NULL, "print the SQL of a named query, for any SQLite, and run nothing",
	 opt_flag, offsetof(struct query_options, sql)},
	{"Output", 0, "csv", NULL, "comma-separated values (RFC 4180) instead of a table", opt_flag,
	 offsetof(struct query_options, csv)},
	{NULL, 0, "json", NULL, "a JSON array of objects, BLOBs in base64", opt_flag,
	 offsetof(struct query_options, json)},
	{NULL, 0, "jsonl", NULL, "such an object on each line", opt_flag,
	 offsetof(struct query_options, jsonl)},
	{0},
};

static const struct opt_table query_tables[] = {{query_rows, 0}, {NULL, 0}};

struct printing {
	enum table_format format;
	struct table *table;
};

static int print_columns(void *arg, int n, const char *const *names)
{
	struct printing *p = arg;

	p->table = table_new(stdout, p->format, n, names);
	return p->table ? SC_OK : SC_ENOMEM;
}

static int print_row(void *arg, int n, const struct value *values)
{
	static const enum cell_kind kinds[] = {
		[VALUE_NULL] = CELL_NULL, [VALUE_INTEGER] = CELL_INTEGER, [VALUE_REAL] = CELL_REAL,
		[VALUE_TEXT] = CELL_TEXT, [VALUE_BLOB] = CELL_BLOB,
	};
	struct printing *p = arg;
	int rc = SC_OK;

	for (int i = 0; i < n && !rc; i++)
		rc = table_cell(p->table, kinds[values[i].kind], values[i].text);
	return rc;
}

static int list_names(enum table_format format)
{
	static const char *const columns[] = {"name", "what it tells"};
	struct table *t = table_new(stdout, format, 2, columns);
	int rc = t ? SC_OK : SC_ENOMEM;

	for (const struct store_query *q = store_queries; q->name && !rc; q++) {
		rc = table_cell(t, CELL_TEXT, span_str(q->name));
		if (!rc)
			rc = table_cell(t, CELL_TEXT, span_str(q->help));
	}
	if (!rc)
		rc = table_finish(t);
	table_free(t);
	return rc;
}

/* A single word is no SQL. */
static bool is_word(const char *text)
{
	return text[0] && strcspn(text, " \t\r\n;(") == strlen(text);
}

static int find_sql(const char *text, const char **ret, struct err *err)
{
	const char *sql = store_query_sql(text);

	if (!sql && is_word(text))
		return err_set(err, SC_EINVAL, "'%s' is neither SQL nor the name of a query;"
			       " 'shadow-ctl query STORE' lists the names", text);
	*ret = sql ? sql : text;
	return SC_OK;
}

static int print_sql(struct store *st, const char *sql, const struct store_parameter *parameters,
		     struct err *err)
{
	char *expanded = NULL;
	int rc = store_expand(st, sql, parameters, &expanded, err);

	if (!rc)
		rc = printf("%s;\n", expanded) < 0 || fflush(stdout) ? SC_EIO : SC_OK;
	free(expanded);
	return rc;
}

static int print_rows(struct store *st, const char *sql, const struct store_parameter *parameters,
		      enum table_format format, struct err *err)
{
	struct printing p = {.format = format};
	struct row_reader reader = {print_columns, print_row, &p};
	int rc = store_select_with(st, sql, parameters, &reader, err);

	/* Stopped half-way, what is printed is whole rows, and JSON that is closed. */
	if (p.table && (rc == SC_OK || rc == SC_ECLOSED)) {
		int end = table_finish(p.table);

		rc = rc ? rc : end;
	}
	table_free(p.table);
	return rc;
}

static int run_sql(struct store *st, const struct query_options *o, const char *text,
		   enum table_format format, struct err *err)
{
	struct store_parameter parameters[] = {
		{":kind", o->by.kind ? o->by.kind : "client"},
		{":name", o->by.name ? o->by.name : ""},
		{NULL, NULL},
	};
	const char *sql = NULL;
	int rc = find_sql(text, &sql, err);

	if (rc)
		return rc;
	if (o->by.kind && !store_query_keyed(text))
		return err_set(err, SC_EINVAL,
			       "--by: only for the queries named sessions and funnel");
	if (o->sql)
		return print_sql(st, sql, sql == text ? NULL : parameters, err);
	return print_rows(st, sql, sql == text ? NULL : parameters, format, err);
}

static bool is_file(const char *word)
{
	struct stat file;
	glob_t found = {0};
	bool yes = lstat(word, &file) == 0;

	if (!yes && strpbrk(word, "*?[")) {
		yes = glob(word, GLOB_NOSORT, NULL, &found) == 0;
		globfree(&found);
	}
	return yes;
}

/* The path of a file, which then is missing; the names of queries have neither of these. */
static bool looks_like_file(const char *word)
{
	return is_word(word) && strpbrk(word, "./*?[");
}

/* What is asked stands last; NULL: nothing is. A file that is called like a query is ./status. */
static int find_question(const struct operands *operands, const char **ret, struct err *err)
{
	const char *last = operands->items[operands->n - 1];

	for (int i = 0; i < operands->n - 1; i++) {
		const char *word = operands->items[i];

		if (!is_file(word) && (store_query_sql(word) || !is_word(word)))
			return err_set(err, SC_EINVAL, "'%s': no such file; what is asked stands"
				       " behind all stores", word);
	}
	if (operands->n == 1 || (!store_query_sql(last) && is_file(last))) {
		*ret = NULL;
		return SC_OK;
	}
	if (!store_query_sql(last) && looks_like_file(last))
		return err_set(err, SC_EINVAL, "'%s': no such file", last);
	*ret = last;
	return SC_OK;
}

static int open_stores(const struct operands *operands, const char *question, struct store **ret,
		       struct err *err)
{
	struct sources found = {NULL, 0};
	int rc = sources_find(operands->items, operands->n - (question != NULL), &found, err);

	if (!rc && found.n == 1)
		rc = store_open(found.paths[0], STORE_READ, ret, err);
	else if (!rc)
		rc = open_files_of(found.n, STORE_FILES, err);
	if (!rc && found.n > 1)
		rc = store_open_several((const char *const *)found.paths, found.n, ret, err);
	sources_done(&found);
	return rc;
}

static int check_options(const struct query_options *o, const char *question,
			 enum table_format *ret_format, struct err *err)
{
	if (o->csv + o->json + o->jsonl + o->sql > 1)
		return err_set(err, SC_EINVAL, "--csv, --json, --jsonl and --sql: one of them");
	if (!question && (o->sql || o->by.kind))
		return err_set(err, SC_EINVAL, "%s: expected the name of a query",
			       o->sql ? "--sql" : "--by");
	*ret_format = o->csv ? TABLE_CSV : o->json ? TABLE_JSON : o->jsonl ? TABLE_JSONL
									  : TABLE_TEXT;
	return SC_OK;
}

/* ^C ends the statement; a reader that went away ends the program, as it does everywhere. */
static void watch(struct store *st)
{
	stop_install();
	(void)signal(SIGPIPE, SIG_DFL);
	store_stop_when(st, stop_wanted);
}

static int query_run(void *options, const struct operands *operands)
{
	const struct query_options *o = options;
	enum table_format format = TABLE_TEXT;
	const char *question = NULL;
	struct err err = {""};
	struct store *st = NULL;
	int rc = find_question(operands, &question, &err);

	if (!rc)
		rc = check_options(o, question, &format, &err);
	if (!rc)
		rc = open_stores(operands, question, &st, &err);
	if (rc)
		return fail(rc, &err);
	watch(st);
	if (question)
		rc = run_sql(st, o, question, format, &err);
	else
		rc = list_names(format);
	store_close(st);
	if (rc == SC_OK)
		return EXIT_DONE;
	/* The store says what went wrong with it; what is left is the output. */
	if (err.text[0] == '\0' && rc == SC_EIO)
		(void)err_set(&err, rc, "cannot write the result: %s", strerror(errno));
	else if (err.text[0] == '\0')
		(void)err_set(&err, rc, "no memory for the result");
	return fail(rc, &err);
}

static const char query_examples[] =
	"  shadow-ctl query shadow.db slowest\n"
	"  shadow-ctl query shadow.db sessions --by cookie:sid --csv\n"
	"  shadow-ctl query 'shadow-*.db' routes\n"
	"  shadow-ctl query shadow.db --csv \"SELECT time, path, status FROM request WHERE"
	" status >= 500\"\n";

const struct command command_query = {
	.name = "query",
	.usage = "STORE... [SQL | NAME] [--csv | --json | --jsonl]",
	.summary = "Ask stores, several as one, in SQL or by a name; without, list the names.",
	.tables = query_tables,
	.examples = query_examples,
	.options_size = sizeof(struct query_options),
	.min_operands = 1,
	.max_operands = LIMIT_SOURCES + 1,
	.run = query_run,
};
