/* SPDX-License-Identifier: Apache-2.0 */
/* A table of several stores searched again and again by columns that its files have no index of,
 * in the inner loop of a join: its rows are copied once, and the copy has that index. It is what
 * SQLite does with a table of its own (sqlite.org/optoverview.html#autoindex), and not with a
 * virtual one. */
#include <stdlib.h>
#include <string.h>

#include "several.h"

/* Names the columns as the table does; before them is the row's id, behind them the number of
 * its file, and its id in the whole. */
static char *create_sql(const struct table *t, uint64_t keys, const char *name)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);
	const char *before = " (";

	sqlite3_str_appendf(sql, "CREATE TABLE %s (\" id\"", name);
	for (int i = 0; i < t->n; i++)
		sqlite3_str_appendf(sql, ", \"%w\" %s", t->columns[i].name,
				    several_type(&t->columns[i]));
	sqlite3_str_appendf(sql, ", \" part\", \" row\" INTEGER PRIMARY KEY);"
			    "CREATE INDEX %s_key ON %s", name, name);
	for (int i = 0; i < t->n && i < 63; i++) {
		if (keys >> i & 1) {
			sqlite3_str_appendf(sql, "%s\"%w\"", before, t->columns[i].name);
			before = ", ";
		}
	}
	sqlite3_str_appendall(sql, ")");
	return sqlite3_str_finish(sql);
}

static int create(struct several *s, const struct table *t, uint64_t keys, const char *name,
		  struct err *err)
{
	char *sql = create_sql(t, keys, name);
	int rc = sql ? db_exec(s->made.st, sql, err)
		     : err_set(err, SC_ENOMEM, "%s: no memory", s->st->path);

	sqlite3_free(sql);
	return rc;
}

static int copy_row(struct several *s, unsigned part, int64_t by, sqlite3_stmt *from,
		    sqlite3_stmt *to, struct err *err)
{
	int64_t id = sqlite3_column_int64(from, 0);
	int n = sqlite3_column_count(from);

	for (int i = 0; i < n; i++) {
		if (sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i)))
			return db_fail(s->made.st, err);
	}
	if (sqlite3_bind_int64(to, n + 1, part) || sqlite3_bind_int64(to, n + 2, id + by))
		return db_fail(s->made.st, err);
	return db_run(s->made.st, to, err);
}

static int copy_part(struct several *s, unsigned part, int of, const char *select,
		     sqlite3_stmt *to, struct err *err)
{
	int64_t by = s->parts[part].by[of];
	struct store *st = s->parts[part].st;
	sqlite3_stmt *from = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(st, select, &from, err);

	while (!rc && (step = sqlite3_step(from)) == SQLITE_ROW)
		rc = copy_row(s, part, by, from, to, err);
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(st, err);
	sqlite3_finalize(from);
	return rc;
}

static int prepare_insert(struct several *s, const struct table *t, const char *name,
			  sqlite3_stmt **ret, struct err *err)
{
	sqlite3_str *text = sqlite3_str_new(NULL);
	char *sql;
	int rc;

	sqlite3_str_appendf(text, "INSERT INTO %s VALUES (?, ?, ?", name);
	for (int i = 0; i < t->n; i++)
		sqlite3_str_appendall(text, ", ?");
	sqlite3_str_appendall(text, ")");
	sql = sqlite3_str_finish(text);
	rc = sql ? db_prepare(s->made.st, sql, ret, err)
		 : err_set(err, SC_ENOMEM, "%s: no memory", s->st->path);
	sqlite3_free(sql);
	return rc;
}

int several_copy(struct several *s, const struct table *t, const char *select, uint64_t keys,
		 char name[SEVERAL_COPY_NAME], struct err *err)
{
	sqlite3_stmt *to = NULL;
	int rc = several_scratch(s, err);

	if (rc)
		return rc;
	(void)sqlite3_snprintf(SEVERAL_COPY_NAME, name, "copy_%u", ++s->copies);
	rc = create(s, t, keys, name, err);
	if (!rc)
		rc = prepare_insert(s, t, name, &to, err);
	for (unsigned i = 0; i < s->n && !rc; i++)
		rc = copy_part(s, i, t->of, select, to, err);
	sqlite3_finalize(to);
	if (rc)
		several_copy_drop(s, name);
	return rc;
}

void several_copy_drop(struct several *s, char name[SEVERAL_COPY_NAME])
{
	char sql[SEVERAL_COPY_NAME + 32];

	if (!name[0])
		return;
	(void)sqlite3_snprintf(sizeof(sql), sql, "DROP TABLE IF EXISTS %s", name);
	(void)sqlite3_exec(s->made.st->db, sql, NULL, NULL, NULL);
	name[0] = '\0';
}
