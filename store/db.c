/* SPDX-License-Identifier: Apache-2.0 */
/* Statements and the transaction of a store's handle. Knows no table. */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/rng.h"
#include "totals.h"

/* Why the database or its log could not be read or written. What fails in a COMMIT has left no number
 * at the handle, but at the file. */
static int why_not(sqlite3 *db)
{
	static const int files[] = {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER};
	int sys = sqlite3_system_errno(db);

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && !sys; i++) {
		sqlite3_file *file = NULL;

		if (sqlite3_file_control(db, "main", files[i], &file) == SQLITE_OK && file &&
		    file->pMethods)
			(void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &sys);
	}
	return sys;
}

int db_fail(struct store *st, struct err *err)
{
	int code = sqlite3_errcode(st->db) & 0xff;
	int sys = code == SQLITE_IOERR ? why_not(st->db) : sqlite3_system_errno(st->db);

	if (code == SQLITE_NOMEM)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	if (code == SQLITE_INTERRUPT)
		return err_set(err, SC_ECLOSED, "%s: stopped", st->path);
	if (code == SQLITE_BUSY)
		return err_set(err, SC_EIO, "%s: another program holds it locked", st->path);
	if (sys && (code == SQLITE_IOERR || code == SQLITE_CANTOPEN || code == SQLITE_FULL))
		return err_set(err, SC_EIO, "%s: %s (%s)", st->path, sqlite3_errmsg(st->db),
			       strerror(sys));
	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		return err_set(err, SC_EINVAL, "%s: is damaged: %s", st->path,
			       sqlite3_errmsg(st->db));
	return err_set(err, SC_EIO, "%s: %s", st->path, sqlite3_errmsg(st->db));
}

int db_exec(struct store *st, const char *sql, struct err *err)
{
	return sqlite3_exec(st->db, sql, NULL, NULL, NULL) == SQLITE_OK ? SC_OK : db_fail(st, err);
}

int db_prepare(struct store *st, const char *sql, sqlite3_stmt **ret, struct err *err)
{
	int rc = sqlite3_prepare_v3(st->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);

	return rc == SQLITE_OK ? SC_OK : db_fail(st, err);
}

int db_run(struct store *st, sqlite3_stmt *stmt, struct err *err)
{
	int rc = sqlite3_step(stmt);
	int code = SC_OK;

	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		code = db_fail(st, err);
	(void)sqlite3_reset(stmt);
	return code;
}

int db_integer(struct store *st, const char *sql, int64_t *ret, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = db_prepare(st, sql, &stmt, err);
	int step;

	if (rc)
		return rc;
	step = sqlite3_step(stmt);
	if (step == SQLITE_ROW || step == SQLITE_DONE)
		*ret = step == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	else
		rc = db_fail(st, err);
	sqlite3_finalize(stmt);
	return rc;
}

int db_start(struct store *st, const char *sql, int64_t started_us, const char *where,
	     const char *json, int64_t *ret_id, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st, sql, &q, err);

	if (rc)
		return rc;
	if (sqlite3_bind_int64(q, 1, started_us) || db_bind_text(q, 2, span_str(where), false) ||
	    sqlite3_bind_text(q, 3, json, -1, SQLITE_STATIC))
		rc = db_fail(st, err);
	else
		rc = db_run(st, q, err);
	sqlite3_finalize(q);
	if (!rc)
		*ret_id = sqlite3_last_insert_rowid(st->db);
	return rc;
}

int db_end(struct store *st, const char *sql, int64_t id, int64_t ended_us, const char *json,
	   struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_commit(st, err);

	if (!rc)
		rc = db_prepare(st, sql, &q, err);
	if (rc)
		return rc;
	if (sqlite3_bind_int64(q, 1, id) || sqlite3_bind_int64(q, 2, ended_us) ||
	    sqlite3_bind_text(q, 3, json, -1, SQLITE_STATIC))
		rc = db_fail(st, err);
	else
		rc = db_run(st, q, err);
	sqlite3_finalize(q);
	if (!rc && sqlite3_changes(st->db) != 1)
		rc = err_set(err, SC_EINVAL, "%s: has no run %lld", st->path, (long long)id);
	return rc;
}

uint64_t db_set_number(struct span text)
{
	return hash_bytes(text.p, text.len, 1) | 1;
}

int store_set(struct store *st, uint64_t *ret, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st, "SELECT max(s) FROM (SELECT " DB_SET " AS s FROM capture)"
			    " HAVING count(*) = count(s) AND min(s) = max(s)", &q, err);
	const void *text;
	int step;

	if (rc)
		return rc;
	step = sqlite3_step(q);
	text = step == SQLITE_ROW ? sqlite3_column_blob(q, 0) : NULL;
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		rc = db_fail(st, err);
	else
		*ret = text ? db_set_number(span_of(text, (size_t)sqlite3_column_bytes(q, 0))) : 0;
	sqlite3_finalize(q);
	return rc;
}

int db_begin(struct store *st, struct err *err)
{
	int rc;

	if (st->in_transaction)
		return SC_OK;
	/* IMMEDIATE: waits for another writer here, where waiting is possible, and not half-way. */
	rc = db_exec(st, "BEGIN IMMEDIATE", err);
	if (rc)
		return rc;
	st->in_transaction = true;
	st->rows = 0;
	st->began_us = 0;
	return SC_OK;
}

int db_commit(struct store *st, struct err *err)
{
	int rc;

	if (!st->in_transaction)
		return SC_OK;
	rc = totals_write(st, err);
	if (!rc)
		rc = db_exec(st, "COMMIT", err);
	if (rc)
		db_rollback(st);
	else
		st->kept += st->rows;
	st->in_transaction = false;
	return rc;
}

void db_rollback(struct store *st)
{
	if (!st->in_transaction)
		return;
	/* SQLite may have rolled back by itself (disk full), so that this one fails: no matter. */
	(void)sqlite3_exec(st->db, "ROLLBACK", NULL, NULL, NULL);
	st->in_transaction = false;
	body_forget(st->bodies);
	totals_forget(st);
}

int db_rows(struct store *st, unsigned n, struct err *err)
{
	st->rows += n;
	return st->rows >= LIMIT_TRANSACTION_ROWS ? db_commit(st, err) : SC_OK;
}

int db_row(struct store *st, struct err *err)
{
	return db_rows(st, 1, err);
}

int db_tick(struct store *st, int64_t now_us, struct err *err)
{
	if (!st->in_transaction)
		return SC_OK;
	if (st->began_us == 0)
		st->began_us = now_us;
	return now_us - st->began_us >= LIMIT_TRANSACTION_US ? db_commit(st, err) : SC_OK;
}

static int bind_latin1(sqlite3_stmt *stmt, int at, struct span s)
{
	char *text = malloc(2 * s.len);
	size_t n = 0;

	if (!text)
		return SQLITE_NOMEM;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];

		if (c >= 0x80)
			text[n++] = (char)(0xc0 | c >> 6);
		text[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
	}
	return sqlite3_bind_text(stmt, at, text, (int)n, free);
}

int db_bind_text(sqlite3_stmt *stmt, int at, struct span s, bool utf8)
{
	assert(s.len < INT32_MAX);
	if (s.len == 0)
		return sqlite3_bind_text(stmt, at, "", 0, SQLITE_STATIC);
	if (!utf8 && !utf8_valid(s))
		return bind_latin1(stmt, at, s);
	return sqlite3_bind_text(stmt, at, (const char *)s.p, (int)s.len, SQLITE_STATIC);
}

int db_bind_time(sqlite3_stmt *stmt, int at, int64_t us)
{
	return us < 0 ? sqlite3_bind_null(stmt, at) : sqlite3_bind_int64(stmt, at, us);
}
