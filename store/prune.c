/* SPDX-License-Identifier: Apache-2.0 */
/* What is too old goes. Walks each table by its key, so many rows
 * a transaction: neither memory nor the journal grows with the store, and a store is sound whenever
 * this ends. Rows that name others go first, bodies last. */
#include <stddef.h>

#include "core/limits.h"
#include "db.h"
#include "schema.h"
#include "store/keep.h"

static bool stopped(const struct store *st)
{
	return st->stop && st->stop();
}

static int say_stopped(const struct store *st, struct err *err)
{
	return err_set(err, SC_ECLOSED, "%s: stopped", st->path);
}

/* One table. */
struct step {
	/* SQL: the last key of the next transaction, NULL at the end. ?1: the last key of the one
	 * before, ?2: how many rows. */
	const char *end;
	/* SQL: ?1 as above, ?2: the last key, ?3: the time. RETURNING gives the bytes of a body. */
	const char *remove;
	size_t rows; /* of the count in struct store_pruned; OF_NOTHING: not counted */
};

#define OF_NOTHING SIZE_MAX
#define END(table, key)                                                                            \
	"SELECT max(k) FROM (SELECT " key " AS k FROM " table " WHERE " key " > ?1"                \
	" ORDER BY " key " LIMIT ?2)"
#define REMOVE(table, key, which, bytes)                                                           \
	"DELETE FROM " table " WHERE " key " > ?1 AND " key " <= ?2 AND " which " RETURNING " bytes
#define OF_OLD(table)                                                                              \
	"EXISTS (SELECT 1 FROM exchange e WHERE e.id = " table ".exchange_id AND e.ts_us < ?3)"

static const struct step old_steps[] = {
	{END("difference", "rowid"), REMOVE("difference", "rowid", OF_OLD("difference"), "0"),
	 offsetof(struct store_pruned, differences)},
	{END("result", "id"), REMOVE("result", "id", OF_OLD("result"), "0"),
	 offsetof(struct store_pruned, results)},
	{END("request_chunks", "exchange_id"),
	 REMOVE("request_chunks", "exchange_id", OF_OLD("request_chunks"), "0"), OF_NOTHING},
	{END("exchange", "id"), REMOVE("exchange", "id", "ts_us < ?3", "0"),
	 offsetof(struct store_pruned, exchanges)},
};

static const struct step body_step = {
	END("body", "id"),
	REMOVE("body", "id", "NOT EXISTS (SELECT 1 FROM temp.named n WHERE n.id = body.id)",
	       "length(data)"),
	offsetof(struct store_pruned, bodies),
};

struct walk {
	struct store *st;
	sqlite3_stmt *end, *remove;
	int64_t at, until; /* keys */
};

/* *ret_end: the last key of the next transaction; *ret_more false: there is none. */
static int next_end(struct walk *w, int64_t *ret_end, bool *ret_more, struct err *err)
{
	int rc = SC_OK;
	int step;

	if (sqlite3_bind_int64(w->end, 1, w->at) ||
	    sqlite3_bind_int(w->end, 2, LIMIT_TRANSACTION_ROWS))
		return db_fail(w->st, err);
	step = sqlite3_step(w->end);
	if (step == SQLITE_ROW) {
		*ret_more = sqlite3_column_type(w->end, 0) != SQLITE_NULL && w->at < w->until;
		*ret_end = sqlite3_column_int64(w->end, 0);
	} else {
		rc = db_fail(w->st, err);
	}
	(void)sqlite3_reset(w->end);
	return rc;
}

static int remove_rows(struct walk *w, int64_t end, uint64_t *ret_rows, uint64_t *ret_bytes,
		       struct err *err)
{
	uint64_t rows = 0, bytes = 0;
	int rc = SC_OK;
	int step;

	if (sqlite3_bind_int64(w->remove, 1, w->at) || sqlite3_bind_int64(w->remove, 2, end))
		return db_fail(w->st, err);
	while ((step = sqlite3_step(w->remove)) == SQLITE_ROW) {
		rows++;
		bytes += (uint64_t)sqlite3_column_int64(w->remove, 0);
	}
	if (step != SQLITE_DONE)
		rc = db_fail(w->st, err);
	(void)sqlite3_reset(w->remove);
	*ret_rows = rows;
	*ret_bytes = bytes;
	return rc;
}

/* One transaction. */
static int walk_on(struct walk *w, const struct step *step, struct store_pruned *count,
		   bool *ret_more, struct err *err)
{
	uint64_t rows = 0, bytes = 0;
	int64_t end = 0;
	int rc = next_end(w, &end, ret_more, err);

	if (rc || !*ret_more)
		return rc;
	rc = db_begin(w->st, err);
	if (!rc)
		rc = remove_rows(w, end, &rows, &bytes, err);
	if (!rc)
		rc = db_commit(w->st, err);
	if (rc) {
		db_rollback(w->st);
		return rc;
	}
	w->at = end;
	if (step->rows != OF_NOTHING)
		*(uint64_t *)(void *)((char *)count + step->rows) += rows;
	count->body_bytes += bytes;
	return SC_OK;
}

static int walk_table(struct store *st, const struct step *step, int64_t from, int64_t until,
		      int64_t before_us, struct store_pruned *count, struct err *err)
{
	struct walk w = {.st = st, .at = from, .until = until};
	bool more = true;
	int rc = db_prepare(st, step->end, &w.end, err);

	if (!rc)
		rc = db_prepare(st, step->remove, &w.remove, err);
	/* A body's step has no time. */
	if (!rc && sqlite3_bind_parameter_count(w.remove) == 3 &&
	    sqlite3_bind_int64(w.remove, 3, before_us))
		rc = db_fail(st, err);
	while (!rc && more) {
		rc = stopped(st) ? say_stopped(st, err) : SC_OK;
		if (!rc)
			rc = walk_on(&w, step, count, &more, err);
	}
	sqlite3_finalize(w.end);
	sqlite3_finalize(w.remove);
	return rc;
}

/* The first integers of the first row. */
static int integers(struct store *st, const char *sql, int64_t before_us, int64_t *ret, int n,
		    struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st, sql, &q, err);

	if (rc)
		return rc;
	if (sqlite3_bind_int64(q, 1, before_us) || sqlite3_step(q) != SQLITE_ROW)
		rc = db_fail(st, err);
	for (int i = 0; i < n && !rc; i++)
		ret[i] = sqlite3_column_int64(q, i);
	sqlite3_finalize(q);
	return rc;
}

static int prune_old(struct store *st, int64_t before_us, struct store_pruned *ret, struct err *err)
{
	int64_t found[3];
	int rc = schema_index_captures(st, err); /* a capture that was cut off made none */

	if (!rc)
		rc = integers(st, "SELECT count(*), min(id), max(id) FROM exchange WHERE ts_us < ?1",
			      before_us, found, 3, err);
	if (rc || found[0] == 0)
		return rc;
	for (size_t i = 0; i < sizeof(old_steps) / sizeof(old_steps[0]) && !rc; i++) {
		bool exchanges = old_steps[i].rows == offsetof(struct store_pruned, exchanges);
		int64_t before = found[1] == INT64_MIN ? INT64_MIN : found[1] - 1;

		rc = walk_table(st, &old_steps[i], exchanges ? before : INT64_MIN,
				exchanges ? found[2] : INT64_MAX, before_us, ret, err);
	}
	return rc;
}

/* Always, and of the whole store: one that was stopped half-way before may have left some. */
static int prune_bodies(struct store *st, struct store_pruned *ret, struct err *err)
{
	int rc = db_exec(st,
			 "CREATE TEMP TABLE named (id INTEGER PRIMARY KEY);"
			 "INSERT OR IGNORE INTO temp.named"
			 " SELECT request_body FROM exchange WHERE request_body IS NOT NULL"
			 " UNION ALL SELECT response_body FROM exchange"
			 "  WHERE response_body IS NOT NULL"
			 " UNION ALL SELECT body FROM result WHERE body IS NOT NULL", err);

	if (!rc)
		rc = walk_table(st, &body_step, INT64_MIN, INT64_MAX, 0, ret, err);
	(void)sqlite3_exec(st->db, "DROP TABLE IF EXISTS temp.named", NULL, NULL, NULL);
	return rc;
}

int store_prune(struct store *st, int64_t before_us, struct store_pruned *ret, struct err *err)
{
	int rc;

	*ret = (struct store_pruned){0};
	rc = prune_old(st, before_us, ret, err);
	return rc ? rc : prune_bodies(st, ret, err);
}

#define COUNT_OLD(table) "SELECT count(*) FROM " table " WHERE EXISTS (SELECT 1 FROM exchange e"   \
			 " WHERE e.id = " table ".exchange_id AND e.ts_us < ?1)"

int store_prune_count(struct store *st, int64_t before_us, struct store_pruned *ret,
		      struct err *err)
{
	int64_t n[5] = {0};
	int rc = integers(st, "SELECT count(*) FROM exchange WHERE ts_us < ?1", before_us, &n[0], 1,
			  err);

	if (!rc)
		rc = integers(st, COUNT_OLD("result"), before_us, &n[1], 1, err);
	if (!rc)
		rc = integers(st, COUNT_OLD("difference"), before_us, &n[2], 1, err);
	if (!rc)
		rc = integers(st,
			      "SELECT count(*), coalesce(sum(length(data)), 0) FROM body"
			      " WHERE id NOT IN (SELECT request_body FROM exchange"
			      "  WHERE ts_us >= ?1 AND request_body IS NOT NULL"
			      " UNION ALL SELECT response_body FROM exchange"
			      "  WHERE ts_us >= ?1 AND response_body IS NOT NULL"
			      " UNION ALL SELECT body FROM result WHERE body IS NOT NULL"
			      "  AND NOT EXISTS (SELECT 1 FROM exchange e"
			      "   WHERE e.id = result.exchange_id AND e.ts_us < ?1))",
			      before_us, &n[3], 2, err);
	if (!rc)
		*ret = (struct store_pruned){(uint64_t)n[0], (uint64_t)n[1], (uint64_t)n[2],
					     (uint64_t)n[3], (uint64_t)n[4]};
	return rc;
}
