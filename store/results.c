/* SPDX-License-Identifier: Apache-2.0 */
/* What a target answered, into a store. Same rules as for exchanges: after a failed write the sink
 * takes nothing more. */
#include <stdlib.h>

#include "body.h"
#include "core/buf.h"
#include "core/json.h"
#include "core/limits.h"
#include "db.h"
#include "schema.h"

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
};

static const char insert_sql[] =
	"INSERT INTO result (replay_id, exchange_id, pass, due_us, sent_us, ttfb_us, duration_us,"
	" latency_us, status, headers, body, error) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)";

struct replay_sink {
	struct result_sink sink; /* first */
	struct store *st;        /* borrowed */
	int64_t replay_id;
	enum save_mode save;
	sqlite3_stmt *insert;
	struct buf headers;
	bool failed;
};

static int bind_times(sqlite3_stmt *q, const struct result *r)
{
	return sqlite3_bind_int64(q, EXCHANGE_ID, r->exchange_id) ||
	       sqlite3_bind_int64(q, PASS, r->pass) || db_bind_time(q, DUE_US, r->due_us) ||
	       /* 0: never sent. */
	       db_bind_time(q, SENT_US, r->sent_us > 0 ? r->sent_us : -1) ||
	       db_bind_time(q, TTFB_US, r->ttfb_us) ||
	       db_bind_time(q, DURATION_US, r->duration_us) ||
	       db_bind_time(q, LATENCY_US, r->latency_us);
}

static int bind_answer(struct replay_sink *w, const struct result *r, int64_t body)
{
	const struct message *m = r->response;
	const char *error = result_error_text(r->error);
	sqlite3_stmt *q = w->insert;

	if (m ? sqlite3_bind_int(q, STATUS, m->status) : sqlite3_bind_null(q, STATUS))
		return SQLITE_NOMEM;
	if (error[0] ? sqlite3_bind_text(q, ERROR, error, -1, SQLITE_STATIC)
		     : sqlite3_bind_null(q, ERROR))
		return SQLITE_NOMEM;
	if (!m || w->save != SAVE_FULL)
		return sqlite3_bind_null(q, HEADERS) || sqlite3_bind_null(q, BODY);
	buf_clear(&w->headers);
	if (json_add_fields(&w->headers, m->head, m->fields, m->n_fields))
		return SQLITE_NOMEM;
	return sqlite3_bind_text(q, HEADERS, (const char *)w->headers.data, (int)w->headers.len,
				 SQLITE_STATIC) ||
	       (body ? sqlite3_bind_int64(q, BODY, body) : sqlite3_bind_null(q, BODY));
}

static int write_result(struct replay_sink *w, const struct result *r, struct err *err)
{
	int64_t body = 0;
	int rc = db_begin(w->st, err);

	if (!rc && r->response && w->save == SAVE_FULL)
		rc = body_keep(w->st, buf_span(&r->response->body), &body, err);
	if (rc)
		return rc;
	if (bind_times(w->insert, r) || bind_answer(w, r, body))
		return err_set(err, SC_ENOMEM, "%s: no memory", w->st->path);
	rc = db_run(w->st, w->insert, err);
	return rc ? rc : db_row(w->st, err);
}

static int replay_put(struct result_sink *s, struct result *r, struct err *err)
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
	result_free(r);
	return rc;
}

static int replay_tick(struct result_sink *s, int64_t now_us, struct err *err)
{
	struct replay_sink *w = (struct replay_sink *)s;
	int rc = db_tick(w->st, now_us, err);

	w->failed = w->failed || rc;
	return rc;
}

static int replay_finish(struct result_sink *s, int64_t now_us, struct err *err)
{
	struct replay_sink *w = (struct replay_sink *)s;
	int rc = db_commit(w->st, err);

	(void)now_us;
	w->failed = w->failed || rc;
	return rc;
}

static void replay_free(struct result_sink *s)
{
	struct replay_sink *w = (struct replay_sink *)s;

	db_rollback(w->st);
	sqlite3_finalize(w->insert);
	buf_done(&w->headers);
	free(w);
}

static const struct result_sink_ops replay_ops = {
	.put = replay_put,
	.tick = replay_tick,
	.finish = replay_finish,
	.free = replay_free,
};

static int insert_replay(struct store *st, int64_t started_us, const char *target,
			 const char *options, int64_t *ret_id, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = db_prepare(st,
			    "INSERT INTO replay (started_at, target, options) VALUES ("
			    DB_TIME_TEXT("?1") ", ?2, ?3)", &q, err);

	if (rc)
		return rc;
	if (sqlite3_bind_int64(q, 1, started_us) ||
	    db_bind_text(q, 2, span_str(target), false) ||
	    sqlite3_bind_text(q, 3, options, -1, SQLITE_STATIC))
		rc = db_fail(st, err);
	else
		rc = db_run(st, q, err);
	sqlite3_finalize(q);
	if (!rc)
		*ret_id = sqlite3_last_insert_rowid(st->db);
	return rc;
}

int store_replay_new(struct store *st, int64_t started_us, const char *target, const char *options,
		     enum save_mode save, int64_t *ret_id, struct result_sink **ret,
		     struct err *err)
{
	struct replay_sink *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	w->sink.ops = &replay_ops;
	w->st = st;
	w->save = save;
	buf_init(&w->headers, JSON_BYTES);
	rc = body_open(st, err);
	if (!rc)
		rc = db_commit(st, err); /* the row is there from now on, whatever comes */
	if (!rc)
		rc = insert_replay(st, started_us, target, options, &w->replay_id, err);
	if (!rc)
		rc = db_prepare(st, insert_sql, &w->insert, err);
	if (!rc && sqlite3_bind_int64(w->insert, REPLAY_ID, w->replay_id))
		rc = db_fail(st, err);
	if (rc) {
		replay_free(&w->sink);
		return rc;
	}
	*ret_id = w->replay_id;
	*ret = &w->sink; /* moved */
	return SC_OK;
}

int store_replay_end(struct store *st, int64_t id, int64_t ended_us, const char *summary,
		     struct err *err)
{
	int rc = db_end(st,
			"UPDATE replay SET summary = ?3, ended_at = CASE WHEN ?2 = 0 THEN ended_at"
			" ELSE " DB_TIME_TEXT("?2") " END WHERE id = ?1",
			id, ended_us, summary, err);

	return rc ? rc : schema_index_replays(st, err);
}
