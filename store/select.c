/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a person's own SQL. It may read whatever is in the file and nothing else: no writing, no
 * other files, no settings, one statement. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/limits.h"
#include "db.h"
#include "several.h"

/* Pragmas that only tell. With an argument they name a table or an index, so `argument` says
 * whether one is let in. */
static const struct {
	const char *name;
	bool argument;
} pragmas[] = {
	{"application_id", false}, {"collation_list", false}, {"compile_options", false},
	{"database_list", false},  {"encoding", false},       {"foreign_key_check", true},
	{"foreign_key_list", true}, {"freelist_count", false}, {"function_list", false},
	{"index_info", true},      {"index_list", true},      {"index_xinfo", true},
	{"integrity_check", true}, {"page_count", false},     {"page_size", false},
	{"quick_check", true},     {"table_info", true},      {"table_list", true},
	{"table_xinfo", true},     {"user_version", false},
};

static int pragma_allowed(const char *name, const char *argument)
{
	for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
		if (strcasecmp(name, pragmas[i].name) == 0)
			return !argument || pragmas[i].argument ? SQLITE_OK : SQLITE_DENY;
	}
	return SQLITE_DENY;
}

static int authorize(void *arg, int action, const char *first, const char *second,
		     const char *database, const char *trigger)
{
	(void)arg;
	(void)database;
	(void)trigger;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_READ:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return strcasecmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
	case SQLITE_UPDATE:
		/* What declaring a table-valued function (json_each) looks like. A real one is
		 * refused by SQLite, by sqlite3_stmt_readonly() and by query_only. */
		return strcasecmp(first, "sqlite_master") == 0 ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_PRAGMA:
		return pragma_allowed(first, second);
	default:
		return SQLITE_DENY;
	}
}

static int sql_fail(struct store *st, struct err *err)
{
	int code = sqlite3_errcode(st->db);

	if (code == SEVERAL_INVALID || code == SEVERAL_FAILED)
		return err_set(err, code == SEVERAL_INVALID ? SC_EINVAL : SC_EIO, "%s",
			       sqlite3_errmsg(st->db));
	code &= 0xff;
	if (code == SQLITE_INTERRUPT)
		return err_set(err, SC_ECLOSED, "SQL: stopped before its end");
	if (code == SQLITE_AUTH || code == SQLITE_READONLY)
		return err_set(err, SC_EINVAL, "SQL: only reading is allowed: one SELECT of this"
			       " store");
	if (code == SQLITE_ERROR || code == SQLITE_TOOBIG || code == SQLITE_MISMATCH ||
	    code == SQLITE_RANGE)
		return err_set(err, SC_EINVAL, "SQL: %s", sqlite3_errmsg(st->db));
	return db_fail(st, err);
}

/* What stands behind the statement is nothing, or comments. */
static int check_rest(struct store *st, const char *rest, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc;

	while (*rest) {
		const char *next = rest;

		rc = sqlite3_prepare_v2(st->db, rest, -1, &stmt, &next);
		if (rc != SQLITE_OK || stmt) {
			sqlite3_finalize(stmt);
			return err_set(err, SC_EINVAL, "SQL: more than one statement");
		}
		if (next == rest)
			break;
		rest = next;
	}
	return SC_OK;
}

static int prepare(struct store *st, const char *sql, sqlite3_stmt **ret, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	const char *rest = sql;
	int rc;

	/* Empty statements in front are no statement. */
	while (!stmt && *sql) {
		if (sqlite3_prepare_v2(st->db, sql, -1, &stmt, &rest) != SQLITE_OK)
			return sql_fail(st, err);
		if (rest == sql)
			break;
		sql = rest;
	}
	if (!stmt)
		return err_set(err, SC_EINVAL, "SQL: there is no statement in it");
	if (!sqlite3_stmt_readonly(stmt))
		rc = err_set(err, SC_EINVAL, "SQL: only reading is allowed");
	else
		rc = check_rest(st, rest, err);
	if (rc) {
		sqlite3_finalize(stmt);
		return rc;
	}
	*ret = stmt; /* moved */
	return SC_OK;
}

static int bind(struct store *st, sqlite3_stmt *stmt, const struct store_parameter *parameters,
		struct err *err)
{
	for (const struct store_parameter *p = parameters; p && p->name; p++) {
		int at = sqlite3_bind_parameter_index(stmt, p->name);

		if (at && sqlite3_bind_text(stmt, at, p->value, -1, SQLITE_TRANSIENT))
			return db_fail(st, err);
	}
	return SC_OK;
}

static void read_value(sqlite3_stmt *stmt, int i, struct value *v)
{
	static const enum value_kind kinds[] = {
		[SQLITE_INTEGER] = VALUE_INTEGER, [SQLITE_FLOAT] = VALUE_REAL,
		[SQLITE_TEXT] = VALUE_TEXT,       [SQLITE_BLOB] = VALUE_BLOB,
		[SQLITE_NULL] = VALUE_NULL,
	};
	const void *p;

	v->kind = kinds[sqlite3_column_type(stmt, i)];
	p = v->kind == VALUE_BLOB ? sqlite3_column_blob(stmt, i) : sqlite3_column_text(stmt, i);
	v->text = span_of(p ? p : "", p ? (size_t)sqlite3_column_bytes(stmt, i) : 0);
}

static int read_rows(struct store *st, sqlite3_stmt *stmt, const struct row_reader *reader,
		     const char **names, struct value *values, struct err *err)
{
	int n = sqlite3_column_count(stmt);
	/* The first row first: what is wrong with it is said before any output. */
	int step = sqlite3_step(stmt);
	int rc = SC_OK;

	for (int i = 0; i < n; i++)
		names[i] = sqlite3_column_name(stmt, i);
	if ((step == SQLITE_ROW || step == SQLITE_DONE) && reader->columns)
		rc = reader->columns(reader->arg, n, names);
	while (!rc && step == SQLITE_ROW) {
		for (int i = 0; i < n; i++)
			read_value(stmt, i, &values[i]);
		rc = reader->row(reader->arg, n, values);
		if (!rc)
			step = sqlite3_step(stmt);
	}
	return rc || step == SQLITE_DONE ? rc : sql_fail(st, err);
}

static int run(struct store *st, sqlite3_stmt *stmt, const struct row_reader *reader,
	       struct err *err)
{
	size_t n = (size_t)sqlite3_column_count(stmt) + 1;
	const char **names = calloc(n, sizeof(*names));
	struct value *values = calloc(n, sizeof(*values));
	int rc;

	if (names && values)
		rc = read_rows(st, stmt, reader, names, values, err);
	else
		rc = err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	free(names);
	free(values);
	return rc;
}

/* The authorizer stays on while a statement runs: SQLite prepares it again when the schema changes
 * under it. */
static int guard(struct store *st, struct err *err)
{
	int rc = db_exec(st, "PRAGMA query_only = ON", err);

	if (!rc)
		(void)sqlite3_set_authorizer(st->db, authorize, NULL);
	return rc;
}

static void unguard(struct store *st)
{
	(void)sqlite3_set_authorizer(st->db, NULL, NULL);
	if (st->mode != STORE_READ)
		(void)sqlite3_exec(st->db, "PRAGMA query_only = OFF", NULL, NULL, NULL);
}

int store_select_with(struct store *st, const char *sql, const struct store_parameter *parameters,
		      const struct row_reader *reader, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = guard(st, err);

	if (rc)
		return rc;
	rc = prepare(st, sql, &stmt, err);
	if (!rc)
		rc = bind(st, stmt, parameters, err);
	if (!rc)
		rc = run(st, stmt, reader, err);
	sqlite3_finalize(stmt);
	unguard(st);
	return rc;
}

int store_select(struct store *st, const char *sql, const struct row_reader *reader,
		 struct err *err)
{
	return store_select_with(st, sql, NULL, reader, err);
}

int store_expand(struct store *st, const char *sql, const struct store_parameter *parameters,
		 char **ret, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	char *expanded = NULL;
	char *copy = NULL;
	int rc = guard(st, err);

	if (rc)
		return rc;
	rc = prepare(st, sql, &stmt, err);
	if (!rc)
		rc = bind(st, stmt, parameters, err);
	if (!rc) {
		expanded = sqlite3_expanded_sql(stmt);
		copy = expanded ? strdup(expanded) : NULL;
		if (copy)
			*ret = copy; /* moved */
		else
			rc = err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	}
	sqlite3_free(expanded);
	sqlite3_finalize(stmt);
	unguard(st);
	return rc;
}

/* SQLite asks after so many steps of one statement: a fraction of a millisecond. */
#define STOP_STEPS 10000

static int asked_to_stop(void *arg)
{
	const struct store *st = arg;

	return st->stop();
}

void store_stop_when(struct store *st, bool (*stop)(void))
{
	st->stop = stop;
	sqlite3_progress_handler(st->db, stop ? STOP_STEPS : 0, stop ? asked_to_stop : NULL, st);
}
