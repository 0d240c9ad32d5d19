/* SPDX-License-Identifier: Apache-2.0 */
/* A store for one program alone, and its free room given back to the file system. */
#include <string.h>

#include "db.h"
#include "store/keep.h"

#define AUTO_VACUUM_INCREMENTAL 2 /* what the pragma says */
#define VACUUM_PAGES "2000"

static int has_left_wal(struct store *st, bool *ret, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st, "PRAGMA journal_mode", &q, err);
	const unsigned char *mode;

	if (rc)
		return rc;
	if (sqlite3_step(q) == SQLITE_ROW) {
		mode = sqlite3_column_text(q, 0);
		*ret = mode && strcmp((const char *)mode, "delete") == 0;
	} else {
		rc = db_fail(st, err);
	}
	sqlite3_finalize(q);
	return rc;
}

/* Leaving WAL takes the file alone, and fails when any other connection is open, be it between two
 * transactions; then the exclusive mode keeps everybody out. */
int store_claim(struct store *st, struct err *err)
{
	bool left = false;
	int rc = db_exec(st, "PRAGMA locking_mode = EXCLUSIVE", err);

	if (!rc)
		(void)sqlite3_busy_timeout(st->db, 0);
	if (!rc && sqlite3_exec(st->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) !=
			   SQLITE_OK) {
		int code = sqlite3_errcode(st->db) & 0xff;

		rc = code == SQLITE_BUSY || code == SQLITE_LOCKED ? SC_OK : db_fail(st, err);
	}
	if (!rc)
		rc = has_left_wal(st, &left, err);
	if (!rc && !left) {
		(void)sqlite3_exec(st->db, "PRAGMA locking_mode = NORMAL", NULL, NULL, NULL);
		rc = err_set(err, SC_EIO,
			     "%s: another program has it open (a capture, a replay, a query);"
			     " try again when that has ended", st->path);
	}
	return rc;
}

int store_release(struct store *st, struct err *err)
{
	int64_t any;
	int rc = db_exec(st, "PRAGMA locking_mode = NORMAL", err);

	/* The lock goes with the next look at the file. */
	if (!rc)
		rc = db_integer(st, "SELECT count(*) FROM capture", &any, err);
	/* Who has come in meanwhile may hinder it; whoever writes next makes up for it. */
	if (!rc)
		(void)sqlite3_exec(st->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
	return rc;
}

static int file_bytes(struct store *st, uint64_t *ret, struct err *err)
{
	int64_t bytes;
	int rc = db_integer(st,
			    "SELECT page_count * page_size FROM pragma_page_count,"
			    " pragma_page_size", &bytes, err);

	if (!rc)
		*ret = (uint64_t)bytes;
	return rc;
}

int store_vacuum_check(struct store *st, struct err *err)
{
	int64_t mode;
	int rc = db_integer(st, "PRAGMA auto_vacuum", &mode, err);

	if (!rc && mode != AUTO_VACUUM_INCREMENTAL)
		rc = err_set(err, SC_EINVAL,
			     "%s: --incremental needs one whole vacuum before it", st->path);
	return rc;
}

static int vacuum_in_part(struct store *st, struct err *err)
{
	int64_t pages = 1, before;
	int rc = store_vacuum_check(st, err);

	if (!rc)
		rc = db_integer(st, "PRAGMA freelist_count", &pages, err);
	while (!rc && pages) {
		before = pages;
		rc = st->stop && st->stop() ? err_set(err, SC_ECLOSED, "%s: stopped", st->path)
					    : SC_OK;
		if (!rc)
			rc = db_exec(st, "PRAGMA incremental_vacuum(" VACUUM_PAGES ")", err);
		if (!rc)
			rc = db_integer(st, "PRAGMA freelist_count", &pages, err);
		if (!rc && pages >= before)
			break;
	}
	return rc;
}

int store_vacuum(struct store *st, bool in_part, struct store_room *ret, struct err *err)
{
	struct store_room room = {0};
	int rc = file_bytes(st, &room.before, err);

	if (!rc && in_part)
		rc = vacuum_in_part(st, err);
	else if (!rc)
		rc = db_exec(st, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM", err);
	if (!rc)
		rc = file_bytes(st, &room.after, err);
	if (!rc)
		*ret = room;
	return rc;
}
