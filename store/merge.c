/* SPDX-License-Identifier: Apache-2.0 */
/* One store into another: row by row through bound statements, so that a store which can only be
 * read will do, and memory does not grow with it. Every id moves by how many there were before;
 * bodies are matched as a capture matches its own. */
#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "core/buf.h"
#include "core/limits.h"
#include "db.h"
#include "route_table.h"
#include "schema.h"
#include "store/keep.h"
#include "totals.h"

/* What a column's number belongs to, by which it moves. */
enum ids { CAPTURES, EXCHANGES, REPLAYS, RESULTS, CONNECTIONS, N_IDS };

#define OF_NOTHING SIZE_MAX
#define SQL_BYTES 4096u

/* `kinds`, one letter a column: an id of a (c)apture, (e)xchange, (r)eplay, re(s)ult, (n) a
 * connection, (b) a body, (t) a route, (.) as it is. */
static const struct table {
	const char *name, *columns, *kinds;
	size_t rows; /* of the count in struct store_merged */
} tables[] = {
	{"capture", "id, started_at, ended_at, source, options, ledger", "c.....",
	 offsetof(struct store_merged, captures)},
	{"exchange",
	 "id, capture_id, ts_us, connection, position, client, client_port, server, server_port,"
	 " method, scheme, host, path, query, version, request_headers, request_body,"
	 " request_size, status, response_headers, response_body, response_size, ttfb_us,"
	 " duration_us, route, state, request_raw, request_trailers, response_trailers, sample,"
	 " template",
	 "ec.n............b...b.........t", offsetof(struct store_merged, exchanges)},
	{"request_chunks", "exchange_id, lines", "e.", OF_NOTHING},
	{"replay", "id, started_at, ended_at, target, options, summary", "r.....",
	 offsetof(struct store_merged, replays)},
	{"result",
	 "id, replay_id, exchange_id, pass, due_us, sent_us, ttfb_us, duration_us, latency_us,"
	 " status, headers, body, error", "sre........b.", offsetof(struct store_merged, results)},
	{"difference",
	 "replay_id, result_id, exchange_id, place, path, kind, recorded, replayed, noise",
	 "rse......", offsetof(struct store_merged, differences)},
};

struct merge {
	struct store *in, *out;
	int64_t by[N_IDS]; /* how far each id moves */
	sqlite3_stmt *find_body, *find_route;
	struct route_table *routes; /* of `out` */
	const struct table *table;
	sqlite3_stmt *read, *write;
	struct store_merged count;
};

/* -1: it stays as it is. */
static int ids_of(char kind)
{
	static const char letters[] = "cersn";
	const char *at = kind ? strchr(letters, kind) : NULL;

	return at ? (int)(at - letters) : -1;
}

static int damaged(const struct merge *m, const char *what, int64_t id, struct err *err)
{
	return err_set(err, SC_EINVAL, "%s: is damaged: %s: %s %" PRId64, m->in->path,
		       m->table->name, what, id);
}

/* Where it is in `out`. */
static int bind_moved(struct merge *m, int i, sqlite3_stmt *find, const char *missing,
		      struct err *err)
{
	int64_t old = sqlite3_column_int64(m->read, i);
	int rc = SC_OK;

	if (sqlite3_bind_int64(find, 1, old))
		return db_fail(m->out, err);
	switch (sqlite3_step(find)) {
	case SQLITE_ROW: /* 0: an empty body, one route too many */
		if (sqlite3_column_int64(find, 0)
			    ? sqlite3_bind_int64(m->write, i + 1, sqlite3_column_int64(find, 0))
			    : sqlite3_bind_null(m->write, i + 1))
			rc = db_fail(m->out, err);
		break;
	case SQLITE_DONE:
		rc = damaged(m, missing, old, err);
		break;
	default:
		rc = db_fail(m->out, err);
	}
	(void)sqlite3_reset(find);
	return rc;
}

static int bind_column(struct merge *m, int i, struct err *err)
{
	char kind = m->table->kinds[i];
	int ids = ids_of(kind);
	int64_t id;

	if (sqlite3_column_type(m->read, i) == SQLITE_NULL || kind == '.')
		return sqlite3_bind_value(m->write, i + 1, sqlite3_column_value(m->read, i))
			       ? db_fail(m->out, err) : SC_OK;
	if (kind == 'b')
		return bind_moved(m, i, m->find_body, "there is no body", err);
	if (kind == 't')
		return bind_moved(m, i, m->find_route, "there is no template", err);
	id = sqlite3_column_int64(m->read, i);
	if (kind == 'n') /* any number; no more than different ones are wanted */
		return sqlite3_bind_int64(m->write, i + 1,
					  (int64_t)((uint64_t)id + (uint64_t)m->by[ids]))
			       ? db_fail(m->out, err) : SC_OK;
	if (id < 0 || __builtin_add_overflow(id, m->by[ids], &id) || id == INT64_MAX)
		return damaged(m, sqlite3_column_name(m->read, i),
			       sqlite3_column_int64(m->read, i), err);
	return sqlite3_bind_int64(m->write, i + 1, id) ? db_fail(m->out, err) : SC_OK;
}

static int copy_row(struct merge *m, int n, struct err *err)
{
	int rc = db_begin(m->out, err);

	for (int i = 0; i < n && !rc; i++)
		rc = bind_column(m, i, err);
	if (!rc)
		rc = db_run(m->out, m->write, err);
	if (!rc && m->table->rows != OF_NOTHING)
		++*(uint64_t *)(void *)((char *)&m->count + m->table->rows);
	return rc ? rc : db_row(m->out, err);
}

static int prepare_copy(struct merge *m, struct err *err)
{
	const struct table *t = m->table;
	struct buf sql;
	int rc;

	buf_init(&sql, SQL_BYTES);
	rc = buf_addf(&sql, "SELECT %s FROM %s ORDER BY rowid", t->columns, t->name);
	if (!rc)
		rc = buf_add(&sql, "", 1);
	if (!rc)
		rc = db_prepare(m->in, (const char *)sql.data, &m->read, err);
	buf_clear(&sql);
	if (!rc)
		rc = buf_addf(&sql, "INSERT INTO %s (%s) VALUES (?", t->name, t->columns);
	for (size_t i = 1; i < strlen(t->kinds) && !rc; i++)
		rc = buf_add_str(&sql, ",?");
	if (!rc)
		rc = buf_add(&sql, ")", 2);
	if (!rc)
		rc = db_prepare(m->out, (const char *)sql.data, &m->write, err);
	buf_done(&sql);
	return rc;
}

static int copy_table(struct merge *m, const struct table *t, struct err *err)
{
	int n = (int)strlen(t->kinds);
	int step = SQLITE_DONE;
	int rc;

	m->table = t;
	rc = prepare_copy(m, err);
	assert(rc || sqlite3_column_count(m->read) == n);
	while (!rc && (step = sqlite3_step(m->read)) == SQLITE_ROW) {
		rc = copy_row(m, n, err);
		if (!rc && m->out->stop && m->out->stop())
			rc = err_set(err, SC_ECLOSED, "%s: stopped", m->out->path);
	}
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(m->in, err);
	sqlite3_finalize(m->read);
	sqlite3_finalize(m->write);
	m->read = m->write = NULL;
	return rc;
}

static int keep_moved(struct merge *m, sqlite3_stmt *keep, int64_t id, struct err *err)
{
	int rc;

	if (sqlite3_bind_int64(keep, 1, sqlite3_column_int64(m->read, 0)) ||
	    sqlite3_bind_int64(keep, 2, id))
		return db_fail(m->out, err);
	rc = db_run(m->out, keep, err);
	return rc ? rc : db_row(m->out, err);
}

static int copy_body(struct merge *m, sqlite3_stmt *keep, struct err *err)
{
	const void *data = sqlite3_column_blob(m->read, 1);
	size_t len = (size_t)sqlite3_column_bytes(m->read, 1);
	int64_t id = 0;
	int rc = db_begin(m->out, err);

	if (!rc)
		rc = body_keep(m->out, span_of(data ? data : "", data ? len : 0), &id, err);
	return rc ? rc : keep_moved(m, keep, id, err);
}

/* What routes `out` has is learned from the paths, those of `in` among them. */
static int copy_route(struct merge *m, sqlite3_stmt *keep, struct err *err)
{
	const void *path = sqlite3_column_blob(m->read, 1);
	size_t len = (size_t)sqlite3_column_bytes(m->read, 1);
	int64_t id = 0;
	int rc = db_begin(m->out, err);

	if (!rc)
		rc = route_table_find(m->routes, span_of(path ? path : "", path ? len : 0), true,
				      &id, err);
	return rc ? rc : keep_moved(m, keep, id, err);
}

/* Where each row that `read` selects is in `out`: in a table, since there may be millions. */
static int copy_moved(struct merge *m, const char *read, const char *keep_sql,
		      int (*copy)(struct merge *m, sqlite3_stmt *keep, struct err *err),
		      struct err *err)
{
	sqlite3_stmt *keep = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(m->out, keep_sql, &keep, err);

	if (!rc)
		rc = db_prepare(m->in, read, &m->read, err);
	while (!rc && (step = sqlite3_step(m->read)) == SQLITE_ROW) {
		rc = copy(m, keep, err);
		if (!rc && m->out->stop && m->out->stop())
			rc = err_set(err, SC_ECLOSED, "%s: stopped", m->out->path);
	}
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(m->in, err);
	sqlite3_finalize(keep);
	sqlite3_finalize(m->read);
	m->read = NULL;
	return rc;
}

static int copy_bodies_and_routes(struct merge *m, struct err *err)
{
	int64_t before, after;
	int rc = db_exec(m->out,
			 "CREATE TEMP TABLE IF NOT EXISTS moved_body (old INTEGER PRIMARY KEY,"
			 " new INTEGER NOT NULL); DELETE FROM temp.moved_body;"
			 "CREATE TEMP TABLE IF NOT EXISTS moved_route (old INTEGER PRIMARY KEY,"
			 " new INTEGER NOT NULL); DELETE FROM temp.moved_route", err);

	if (!rc)
		rc = db_integer(m->out, "SELECT max(id) FROM body", &before, err);
	if (!rc)
		rc = copy_moved(m, "SELECT id, data FROM body ORDER BY id",
				"INSERT INTO temp.moved_body VALUES (?1, ?2)", copy_body, err);
	if (!rc)
		rc = db_integer(m->out, "SELECT max(id) FROM body", &after, err);
	if (!rc)
		m->count.bodies = (uint64_t)(after - before);
	if (!rc)
		rc = route_table_open(m->out, &m->routes, err);
	if (!rc)
		rc = copy_moved(m, "SELECT id, path FROM template ORDER BY id",
				"INSERT INTO temp.moved_route VALUES (?1, ?2)", copy_route, err);
	return rc;
}

/* The pieces of one recording share their connections, so they all move as far; unless something
 * else came between them. m->by has how far they would move otherwise. */
static int find_connections(struct merge *m, struct err *err)
{
	uint64_t set = 0;
	int64_t next = m->by[CONNECTIONS];
	int rc = store_set(m->in, &set, err);

	if (!rc && set && set == m->out->merged.set && m->out->merged.next == next)
		m->by[CONNECTIONS] = m->out->merged.by;
	m->out->merged.set = set;
	m->out->merged.by = m->by[CONNECTIONS];
	return rc;
}

/* Behind the last row. */
static int keep_connections(struct merge *m, struct err *err)
{
	return db_integer(m->out, "SELECT max(connection) + 1 FROM exchange",
			  &m->out->merged.next, err);
}

static int find_ids(struct merge *m, struct err *err)
{
	static const char *const last[N_IDS] = {
		[CAPTURES] = "SELECT max(id) FROM capture",
		[EXCHANGES] = "SELECT max(id) FROM exchange",
		[REPLAYS] = "SELECT max(id) FROM replay",
		[RESULTS] = "SELECT max(id) FROM result",
		[CONNECTIONS] = "SELECT max(connection) + 1 FROM exchange",
	};
	int rc = SC_OK;

	for (int i = 0; i < N_IDS && !rc; i++)
		rc = db_integer(m->out, last[i], &m->by[i], err);
	return rc ? rc : find_connections(m, err);
}

static int copy_all(struct merge *m, struct err *err)
{
	int rc = body_open(m->out, err);

	if (!rc)
		rc = find_ids(m, err);
	if (!rc)
		rc = copy_bodies_and_routes(m, err);
	if (!rc)
		rc = db_prepare(m->out, "SELECT new FROM temp.moved_body WHERE old = ?1",
				&m->find_body, err);
	if (!rc)
		rc = db_prepare(m->out, "SELECT new FROM temp.moved_route WHERE old = ?1",
				&m->find_route, err);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !rc; i++)
		rc = copy_table(m, &tables[i], err);
	if (!rc)
		rc = keep_connections(m, err);
	sqlite3_finalize(m->find_body);
	sqlite3_finalize(m->find_route);
	route_table_free(m->routes);
	return rc ? rc : db_commit(m->out, err);
}

int store_merge(struct store *out, struct store *in, struct store_merged *ret, struct err *err)
{
	struct merge m = {.in = in, .out = out};
	int rc = db_exec(in, "BEGIN", err); /* one state of it, whoever writes meanwhile */

	if (rc)
		return rc;
	rc = copy_all(&m, err);
	if (rc)
		db_rollback(out);
	(void)sqlite3_exec(in->db, "ROLLBACK", NULL, NULL, NULL);
	if (!rc)
		*ret = m.count;
	return rc;
}

int store_merge_end(struct store *out, struct err *err)
{
	int64_t results;
	int rc = totals_count(out, err);

	if (!rc)
		rc = schema_index_captures(out, err);
	if (!rc)
		rc = db_integer(out, "SELECT EXISTS (SELECT 1 FROM replay)", &results, err);
	return rc || !results ? rc : schema_index_replays(out, err);
}
