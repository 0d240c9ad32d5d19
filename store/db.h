/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: the handle, its one transaction, errors in a person's words.
 * Not for other folders. */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <sqlite3.h>
#include <sys/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/span.h"
#include "store/store.h"

struct body_table;
struct open_total;

struct store {
	sqlite3 *db;
	char *path;
	struct open_file {
		dev_t dev;
		ino_t ino;
		struct open_file *next; /* of those that this process has open */
	} file;
	int lock_fd; /* 0: none; see store_lock_run() */
	enum store_mode mode;
	struct body_table *bodies; /* made by the first writer */
	bool in_transaction;
	unsigned rows;    /* written in it */
	uint64_t kept;    /* rows of all transactions that were committed */
	int64_t began_us; /* the first tick that saw it; 0: none has */
	struct open_total *totals; /* that its transactions keep; see totals.h */
	struct {
		uint64_t set; /* of the store merged last; 0: it is no piece of a recording */
		int64_t by;   /* how far its connections moved */
		int64_t next; /* the first number behind all of them */
	} merged;
	bool (*stop)(void); /* NULL: nothing ends what takes long */
};

/* SQLite's last error as a line that names the file: SC_ENOMEM, otherwise SC_EIO. */
int db_fail(struct store *st, struct err *err);

int db_exec(struct store *st, const char *sql, struct err *err);
int db_prepare(struct store *st, const char *sql, sqlite3_stmt **ret, struct err *err);
/* Runs a statement that returns no rows, and makes it ready for the next time. */
int db_run(struct store *st, sqlite3_stmt *stmt, struct err *err);
/* The first column of the first row; 0 when there is no row. */
int db_integer(struct store *st, const char *sql, int64_t *ret, struct err *err);

/* SQL for a time in us since 1970 as text in UTC, for started_at and ended_at. */
#define DB_TIME_TEXT(us)                                                                           \
	"strftime('%Y-%m-%dT%H:%M:%S', " us " / 1000000, 'unixepoch')"                             \
	" || printf('.%06dZ', " us " % 1000000)"

/* An INSERT of a run's row: ?1 the time, ?2 where from or to, ?3 JSON. *ret_id is the row's. */
int db_start(struct store *st, const char *sql, int64_t started_us, const char *where,
	     const char *json, int64_t *ret_id, struct err *err);

/* An UPDATE that ends a run: ?1 its id, ?2 the time, ?3 JSON. Commits what is under way first, and
 * says so when there is no such row. */
int db_end(struct store *st, const char *sql, int64_t id, int64_t ended_us, const char *json,
	   struct err *err);

/* SQL for the recording that a row of capture is a piece of; NULL: of none. */
#define DB_SET "CASE WHEN json_valid(options) THEN json_extract(options, '$.set') END"
/* That text as a number, never 0. */
uint64_t db_set_number(struct span text);

/* The one transaction rows are written in. db_row() counts a row and commits when the limit of rows
 * is reached, db_tick() when the limit of time is. */
int db_begin(struct store *st, struct err *err);
int db_row(struct store *st, struct err *err);
int db_rows(struct store *st, unsigned n, struct err *err); /* of one statement */
int db_tick(struct store *st, int64_t now_us, struct err *err);
int db_commit(struct store *st, struct err *err);
void db_rollback(struct store *st);

/* Binds without a copy; the bytes must live until the statement ran. Text is never NULL, and bytes
 * that are not UTF-8 are taken as ISO 8859-1 unless the caller knows (`utf8`) that they are. */
int db_bind_text(sqlite3_stmt *stmt, int at, struct span s, bool utf8);
/* NULL where it is negative: a time that is not known. */
int db_bind_time(sqlite3_stmt *stmt, int at, int64_t us);

#endif
