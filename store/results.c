/* SPDX-License-Identifier: Apache-2.0 */
/* What a target answered, into a store. Same rules as for exchanges: after a failed write the sink
 * takes nothing more. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "core/buf.h"
#include "core/json.h"
#include "core/limits.h"
#include "db.h"
#include "schema.h"
#include "totals.h"

#define JSON_BYTES (6u * LIMIT_HEAD_BYTES + 16u * LIMIT_FIELDS)

enum column {
	REPLAY_ID = 1,
	EXCHANGE_ID,
	PASS,
	DUE_US,
	SENT_US,
	TTFB_US,
	DURATION_US,
	LATENCY_US,
	STATUS,
	HEADERS,
	BODY,
	ERROR,
	N_COLUMNS = ERROR,
};

/* Rows that one statement writes: most of what a statement costs it costs once. */
#define BATCH 32u

#define ROW_SQL "(?,?,?,?,?,?,?,?,?,?,?,?)"
#define INSERT_SQL                                                                                 \
	"INSERT INTO result (replay_id, exchange_id, pass, due_us, sent_us, ttfb_us, duration_us,"  \
	" latency_us, status, headers, body, error) VALUES " ROW_SQL
#define SEVEN_MORE_SQL                                                                             \
	"," ROW_SQL "," ROW_SQL "," ROW_SQL "," ROW_SQL "," ROW_SQL "," ROW_SQL "," ROW_SQL
#define EIGHT_MORE_SQL SEVEN_MORE_SQL "," ROW_SQL

static const char one_sql[] = INSERT_SQL;
static const char batch_sql[] =
	INSERT_SQL SEVEN_MORE_SQL EIGHT_MORE_SQL EIGHT_MORE_SQL EIGHT_MORE_SQL;

/* A result that waits for its batch. */
struct row {
	int64_t exchange_id, pass, due_us, sent_us, ttfb_us, duration_us, latency_us, body;
	int status;	   /* 0: none */
	const char *error; /* NULL: none; static */
	bool has_headers;
	/* The head that stood here last, and what was made of it: a server's next one is often the
	 * same byte for byte. */
	struct buf head, headers;
	uint32_t head_fields;
	bool new_headers; /* not yet bound to the batch */
};

struct replay_sink {
	struct result_sink sink; /* first */
	struct store *st;        /* borrowed */
	enum save_mode save;
	sqlite3_stmt *one, *batch;
	struct row rows[BATCH];
	unsigned n;		 /* rows that wait */
	struct row bound[BATCH]; /* of `batch`; their buffers are those of `rows` */
	bool batch_bound;
	struct total *total;
	int64_t resumed; /* the run whose row says it has ended, until it has a result more; 0 */
	bool failed;
};

static int make_headers(struct row *row, const struct message *m)
{
	if (row->head.len && m->n_fields == row->head_fields &&
	    span_eq(span_of(m->head, m->head_len), buf_span(&row->head)))
		return SC_OK;
	buf_clear(&row->head);
	buf_clear(&row->headers);
	if (json_add_fields(&row->headers, m->head, m->fields, m->n_fields) ||
	    buf_add(&row->head, m->head, m->head_len))
		return SC_ENOMEM;
	row->head_fields = m->n_fields;
	row->new_headers = true;
	return SC_OK;
}

static int bind_times(sqlite3_stmt *q, int at, const struct row *row)
{
	return sqlite3_bind_int64(q, at + EXCHANGE_ID, row->exchange_id) ||
	       db_bind_time(q, at + DUE_US, row->due_us) ||
	       /* 0: never sent. */
	       db_bind_time(q, at + SENT_US, row->sent_us > 0 ? row->sent_us : -1) ||
	       db_bind_time(q, at + TTFB_US, row->ttfb_us) ||
	       db_bind_time(q, at + DURATION_US, row->duration_us) ||
	       db_bind_time(q, at + LATENCY_US, row->latency_us);
}

static int bind_headers(sqlite3_stmt *q, int at, const struct row *row)
{
	return row->has_headers
		       ? sqlite3_bind_text(q, at + HEADERS, (const char *)row->headers.data,
					   (int)row->headers.len, SQLITE_STATIC)
		       : sqlite3_bind_null(q, at + HEADERS);
}

static int bind_answer(sqlite3_stmt *q, int at, const struct row *row)
{
	return sqlite3_bind_int64(q, at + PASS, row->pass) ||
	       (row->status ? sqlite3_bind_int(q, at + STATUS, row->status)
			    : sqlite3_bind_null(q, at + STATUS)) ||
	       (row->body ? sqlite3_bind_int64(q, at + BODY, row->body)
			  : sqlite3_bind_null(q, at + BODY)) ||
	       (row->error ? sqlite3_bind_text(q, at + ERROR, row->error, -1, SQLITE_STATIC)
			   : sqlite3_bind_null(q, at + ERROR));
}

static bool same_answer(const struct row *a, const struct row *b)
{
	return a->pass == b->pass && a->status == b->status && a->body == b->body &&
	       a->error == b->error;
}

/* What is bound already, of the row that had this place before, is not bound again. */
static int bind_batch(struct replay_sink *w)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; i < BATCH && !rc; i++) {
		struct row *row = &w->rows[i], *bound = &w->bound[i];
		int at = (int)(i * N_COLUMNS);

		rc = bind_times(w->batch, at, row);
		if (!rc && (!w->batch_bound || !same_answer(row, bound)))
			rc = bind_answer(w->batch, at, row);
		if (!rc && (!w->batch_bound || row->has_headers != bound->has_headers ||
			    row->new_headers))
			rc = bind_headers(w->batch, at, row);
		row->new_headers = false;
		*bound = *row;
	}
	w->batch_bound = rc == SQLITE_OK;
	return rc;
}

static void add_up(struct total *t, const struct row *row)
{
	t->n[REPLAY_RESULTS]++;
	t->n[REPLAY_ANSWERED] += row->status != 0;
	t->n[REPLAY_ERRORS] += row->error != NULL;
}

static int write_batch(struct replay_sink *w, struct err *err)
{
	int rc;

	if (bind_batch(w))
		return err_set(err, SC_ENOMEM, "%s: no memory", w->st->path);
	rc = db_run(w->st, w->batch, err);
	if (rc)
		return rc;
	for (unsigned i = 0; i < BATCH; i++)
		add_up(w->total, &w->rows[i]);
	return db_rows(w->st, BATCH, err);
}

static int write_one(struct replay_sink *w, const struct row *row, struct err *err)
{
	int rc = db_begin(w->st, err);

	if (rc)
		return rc;
	if (bind_times(w->one, 0, row) || bind_answer(w->one, 0, row) ||
	    bind_headers(w->one, 0, row))
		return err_set(err, SC_ENOMEM, "%s: no memory", w->st->path);
	rc = db_run(w->st, w->one, err);
	if (rc)
		return rc;
	add_up(w->total, row);
	return db_row(w->st, err);
}

/* What waits, be it less than a batch. */
static int flush_rows(struct replay_sink *w, struct err *err)
{
	unsigned n = w->n;
	int rc = SC_OK;

	w->n = 0;
	if (n == BATCH)
		return write_batch(w, err);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = write_one(w, &w->rows[i], err);
	return rc;
}

/* A run that goes on has not ended; one that has nothing left stays as it was. */
static int reopen(struct replay_sink *w, struct err *err)
{
	int64_t id = w->resumed;

	w->resumed = 0;
	return id ? db_end(w->st, "UPDATE replay SET ended_at = NULL WHERE id = ?1 AND ?2 = 0"
			   " AND ?3 IS NULL", id, 0, NULL, err)
		  : SC_OK;
}

static int write_result(struct replay_sink *w, const struct result *r, struct err *err)
{
	struct row *row = &w->rows[w->n];
	const char *error = result_error_text(r->error);
	bool full = r->response && w->save == SAVE_FULL;
	int rc;

	row->exchange_id = r->exchange_id;
	row->pass = r->pass;
	row->due_us = r->due_us;
	row->sent_us = r->sent_us;
	row->ttfb_us = r->ttfb_us;
	row->duration_us = r->duration_us;
	row->latency_us = r->latency_us;
	row->status = r->response ? r->response->status : 0;
	row->error = error[0] ? error : NULL;
	row->has_headers = full;
	row->body = 0;
	rc = reopen(w, err);
	if (!rc)
		rc = db_begin(w->st, err);
	if (!rc && full)
		rc = body_keep(w->st, buf_span(&r->response->body), &row->body, err);
	if (!rc && full && make_headers(row, r->response))
		rc = err_set(err, SC_ENOMEM, "%s: no memory", w->st->path);
	if (rc)
		return rc;
	return ++w->n == BATCH ? flush_rows(w, err) : SC_OK;
}

int store_result_put(struct result_sink *s, const struct result *r, struct err *err)
{
	struct replay_sink *w = (struct replay_sink *)s;
	int rc = SC_OK;

	if (w->failed)
		rc = err_set(err, SC_EIO, "%s: writing failed before", w->st->path);
	else if (w->save != SAVE_NONE)
		rc = write_result(w, r, err);
	if (rc && !w->failed) {
		db_rollback(w->st);
		w->failed = true;
	}
	return rc;
}

static int replay_put(struct result_sink *s, struct result *r, struct err *err)
{
	int rc = store_result_put(s, r, err);

	result_free(r);
	return rc;
}

static int replay_tick(struct result_sink *s, int64_t now_us, struct err *err)
{
	struct replay_sink *w = (struct replay_sink *)s;
	int rc = w->failed ? SC_OK : flush_rows(w, err);

	if (!rc)
		rc = db_tick(w->st, now_us, err);
	w->failed = w->failed || rc;
	return rc;
}

static int replay_finish(struct result_sink *s, int64_t now_us, struct err *err)
{
	struct replay_sink *w = (struct replay_sink *)s;
	int rc = w->failed ? SC_OK : flush_rows(w, err);

	(void)now_us;
	if (!rc)
		rc = db_commit(w->st, err);
	w->failed = w->failed || rc;
	return rc;
}

static void replay_free(struct result_sink *s)
{
	struct replay_sink *w = (struct replay_sink *)s;

	db_rollback(w->st);
	total_close(w->st, w->total);
	sqlite3_finalize(w->one);
	sqlite3_finalize(w->batch);
	for (unsigned i = 0; i < BATCH; i++) {
		buf_done(&w->rows[i].head);
		buf_done(&w->rows[i].headers);
	}
	free(w);
}

static const struct result_sink_ops replay_ops = {
	.put = replay_put,
	.tick = replay_tick,
	.finish = replay_finish,
	.free = replay_free,
};

static int sink_new(struct store *st, enum save_mode save, struct replay_sink **ret,
		    struct err *err)
{
	struct replay_sink *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	w->sink.ops = &replay_ops;
	w->st = st;
	w->save = save;
	for (unsigned i = 0; i < BATCH; i++) {
		buf_init(&w->rows[i].head, LIMIT_HEAD_BYTES);
		buf_init(&w->rows[i].headers, JSON_BYTES);
	}
	rc = body_open(st, err);
	if (!rc)
		rc = db_commit(st, err); /* the row is there from now on, whatever comes */
	if (!rc)
		rc = db_prepare(st, one_sql, &w->one, err);
	if (!rc)
		rc = db_prepare(st, batch_sql, &w->batch, err);
	if (rc) {
		replay_free(&w->sink);
		return rc;
	}
	*ret = w; /* moved */
	return SC_OK;
}

static int sink_bind(struct replay_sink *w, int64_t id, struct err *err)
{
	if (sqlite3_bind_int64(w->one, REPLAY_ID, id))
		return db_fail(w->st, err);
	for (int i = 0; i < (int)BATCH; i++) {
		if (sqlite3_bind_int64(w->batch, i * N_COLUMNS + REPLAY_ID, id))
			return db_fail(w->st, err);
	}
	return total_open(w->st, TOTAL_OF_REPLAY, id, &w->total, err);
}

int store_replay_new(struct store *st, int64_t started_us, const char *target, const char *options,
		     enum save_mode save, int64_t *ret_id, struct result_sink **ret,
		     struct err *err)
{
	struct replay_sink *w = NULL;
	int64_t id;
	int rc = sink_new(st, save, &w, err);

	if (!rc)
		rc = db_start(st,
			      "INSERT INTO replay (started_at, target, options) VALUES ("
			      DB_TIME_TEXT("?1") ", ?2, ?3)",
			      started_us, target, options, &id, err);
	if (!rc)
		rc = sink_bind(w, id, err);
	if (rc) {
		if (w)
			replay_free(&w->sink);
		return rc;
	}
	*ret_id = id;
	*ret = &w->sink; /* moved */
	return SC_OK;
}

int store_replay_resume(struct store *st, int64_t id, enum save_mode save,
			struct result_sink **ret, struct err *err)
{
	struct replay_sink *w = NULL;
	int rc = schema_index_replays(st, err);

	if (!rc)
		rc = sink_new(st, save, &w, err);
	if (!rc)
		rc = sink_bind(w, id, err);
	if (rc) {
		if (w)
			replay_free(&w->sink);
		return rc;
	}
	w->resumed = id;
	*ret = &w->sink; /* moved */
	return SC_OK;
}

static char *column_copy(sqlite3_stmt *q, int c)
{
	const unsigned char *text = sqlite3_column_text(q, c);

	return strdup(text ? (const char *)text : "");
}

int store_replay_look(struct store *st, int64_t id, char **ret_target, char **ret_options,
		      uint64_t *ret_results, uint32_t *ret_passes, struct err *err)
{
	char *target = NULL, *options = NULL;
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st,
			    "SELECT target, options, count(r.id), coalesce(max(r.pass) + 1, 0)"
			    " FROM replay p LEFT JOIN result r ON r.replay_id = p.id"
			    " WHERE p.id = ?1 GROUP BY p.id", &q, err);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(q, 1, id);
	if (sqlite3_step(q) == SQLITE_ROW) {
		target = column_copy(q, 0);
		options = column_copy(q, 1);
		*ret_results = (uint64_t)sqlite3_column_int64(q, 2);
		*ret_passes = (uint32_t)sqlite3_column_int64(q, 3);
		if (!target || !options)
			rc = err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	} else {
		rc = err_set(err, SC_EINVAL, "%s: has no replay %" PRId64, st->path, id);
	}
	sqlite3_finalize(q);
	if (rc) {
		free(target);
		free(options);
		return rc;
	}
	*ret_target = target;	/* moved */
	*ret_options = options; /* moved */
	return SC_OK;
}

/* A number of a run. */
static int ask_run(struct store *st, const char *sql, int64_t id, uint64_t *ret, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st, sql, &q, err);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(q, 1, id);
	if (sqlite3_step(q) == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(q, 0);
	else
		rc = db_fail(st, err);
	sqlite3_finalize(q);
	return rc;
}

int store_replay_count(struct store *st, int64_t id, uint64_t *ret, struct err *err)
{
	return ask_run(st, "SELECT count(*) FROM result WHERE replay_id = ?1", id, ret, err);
}

int store_replay_has_ended(struct store *st, int64_t id, bool *ret, struct err *err)
{
	uint64_t n = 0;
	int rc = ask_run(st, "SELECT ended_at IS NOT NULL FROM replay WHERE id = ?1", id, &n, err);

	*ret = n != 0;
	return rc;
}

int store_index_origins(struct store *st, struct err *err)
{
	return db_exec(st, "CREATE INDEX IF NOT EXISTS exchange_server"
		       " ON exchange(server, server_port)", err);
}

int store_replay_end(struct store *st, int64_t id, int64_t ended_us, const char *summary,
		     struct err *err)
{
	int rc = db_end(st,
			/* Of a run that was resumed, what was said of it before. */
			"UPDATE replay SET summary = CASE WHEN json_valid(summary)"
			" THEN json_set(?3, '$.before', json(summary)) ELSE ?3 END, ended_at = CASE WHEN ?2 = 0 THEN ended_at"
			" ELSE " DB_TIME_TEXT("?2") " END WHERE id = ?1",
			id, ended_us, summary, err);

	return rc ? rc : schema_index_replays(st, err);
}
