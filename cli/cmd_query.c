/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl query: SQL, or a question by its name, on a store. Reads only. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "store/store.h"
#include "table.h"

struct query_options {
	bool csv, json;
};

static const struct opt query_rows[] = {
	{"Output", 0, "csv", NULL, "comma-separated values (RFC 4180) instead of a table", opt_flag,
	 offsetof(struct query_options, csv)},
	{NULL, 0, "json", NULL, "a JSON array of objects, BLOBs in base64", opt_flag,
	 offsetof(struct query_options, json)},
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

static int run_sql(struct store *st, const char *text, enum table_format format, struct err *err)
{
	struct printing p = {.format = format};
	struct row_reader reader = {print_columns, print_row, &p};
	const char *sql = NULL;
	int rc = find_sql(text, &sql, err);

	if (!rc)
		rc = store_select(st, sql, &reader, err);
	if (!rc)
		rc = table_finish(p.table);
	table_free(p.table);
	return rc;
}

static int query_run(void *options, const struct operands *operands)
{
	const struct query_options *o = options;
	enum table_format format = o->csv ? TABLE_CSV : o->json ? TABLE_JSON : TABLE_TEXT;
	struct err err = {""};
	struct store *st = NULL;
	int rc;

	if (o->csv && o->json) {
		rc = err_set(&err, SC_EINVAL, "--csv and --json: one of them");
		return fail(rc, &err);
	}
	rc = store_open(operands->items[0], STORE_READ, &st, &err);
	if (rc)
		return fail(rc, &err);
	if (operands->n == 1)
		rc = list_names(format);
	else
		rc = run_sql(st, operands->items[1], format, &err);
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
	"  shadow-ctl query shadow.db --csv \"SELECT time, path, status FROM request WHERE"
	" status >= 500\"\n";

const struct command command_query = {
	.name = "query",
	.usage = "STORE [SQL | NAME] [--csv | --json]",
	.summary = "Ask a store in SQL, or a question by its name; without either, list the names.",
	.tables = query_tables,
	.examples = query_examples,
	.options_size = sizeof(struct query_options),
	.min_operands = 1,
	.max_operands = 2,
	.run = query_run,
};
