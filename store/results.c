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
};

static const char insert_sql[] =
	"INSERT INTO result (replay_id, exchange_id, pass, due_us, sent_us, ttfb_us, duration_us,"
	" latency_us, status, headers, body, error) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)";

struct replay_sink {
	struct result_sink sink; /* first */
	struct store *st;        /* borrowed */
	enum save_mode save;
	sqlite3_stmt *insert;
	struct total *total;
	/* The head bound last, and what was made of it. A server's next one is often the same byte
	 * for byte, and then what is bound is right again. */
	struct buf head, headers;
	uint32_t head_fields;
	bool headers_bound;
	bool failed;
};

static bool same_head(const struct replay_sink *w, const struct message *m)
{
	return w->headers_bound && m->n_fields == w->head_fields &&
	       span_eq(span_of(m->head, m->head_len), buf_span(&w->head));
}

static int bind_headers(struct replay_sink *w, const struct message *m)
{
	if (same_head(w, m))
		return SQLITE_OK;
	w->headers_bound = false;
	buf_clear(&w->head);
	buf_clear(&w->headers);
	if (buf_add(&w->head, m->head, m->head_len) ||
	    json_add_fields(&w->headers, m->head, m->fields, m->n_fields) ||
	    sqlite3_bind_text(w->insert, HEADERS, (const char *)w->headers.data,
			      (int)w->headers.len, SQLITE_STATIC))
		return SQLITE_NOMEM;
	w->head_fields = m->n_fields;
	w->headers_bound = true;
	return SQLITE_OK;
}

static int bind_no_headers(struct replay_sink *w)
{
	w->headers_bound = false;
	return sqlite3_bind_null(w->insert, HEADERS);
}

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
		return bind_no_headers(w) || sqlite3_bind_null(q, BODY);
	return bind_headers(w, m) ||
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
	if (rc)
		return rc;
	w->total->n[REPLAY_RESULTS]++;
	w->total->n[REPLAY_ANSWERED] += r->response != NULL;
	w->total->n[REPLAY_ERRORS] += result_error_text(r->error)[0] != '\0';
	return db_row(w->st, err);
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
	total_close(w->st, w->total);
	sqlite3_finalize(w->insert);
	buf_done(&w->head);
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
	buf_init(&w->head, LIMIT_HEAD_BYTES);
	buf_init(&w->headers, JSON_BYTES);
	rc = body_open(st, err);
	if (!rc)
		rc = db_commit(st, err); /* the row is there from now on, whatever comes */
	if (!rc)
		rc = db_prepare(st, insert_sql, &w->insert, err);
	if (rc) {
		replay_free(&w->sink);
		return rc;
	}
	*ret = w; /* moved */
	return SC_OK;
}

static int sink_bind(struct replay_sink *w, int64_t id, struct err *err)
{
	if (sqlite3_bind_int64(w->insert, REPLAY_ID, id))
		return db_fail(w->st, err);
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
		rc = insert_replay(st, started_us, target, options, &id, err);
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
	if (!rc)
		rc = db_end(st, "UPDATE replay SET ended_at = NULL, summary = ?3"
			    " WHERE id = ?1 AND ?2 = 0", id, 0, NULL, err);
	if (rc) {
		if (w)
			replay_free(&w->sink);
		return rc;
	}
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
