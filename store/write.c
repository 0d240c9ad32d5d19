/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges into a store. Hot: one prepared statement, nothing copied that SQLite can read where it
 * lies, no allocation a row. After a failed write the sink takes nothing more. */
#include <inttypes.h>
#include <stdlib.h>

#include "body.h"
#include "core/buf.h"
#include "core/json.h"
#include "core/limits.h"
#include "db.h"
#include "route_table.h"
#include "schema.h"
#include "totals.h"

/* A head of control characters only, six bytes of JSON each, and the brackets of its fields. */
#define JSON_BYTES (6u * LIMIT_HEAD_BYTES + 16u * LIMIT_FIELDS)

/* The numbers of the parameters of insert_sql. */
enum column {
	CAPTURE_ID = 1,
	TS_US,
	CONNECTION,
	POSITION,
	CLIENT,
	CLIENT_PORT,
	SERVER,
	SERVER_PORT,
	METHOD,
	SCHEME,
	HOST,
	PATH,
	QUERY,
	VERSION,
	REQUEST_HEADERS,
	REQUEST_BODY,
	REQUEST_SIZE,
	STATUS,
	RESPONSE_HEADERS,
	RESPONSE_BODY,
	RESPONSE_SIZE,
	TTFB_US,
	DURATION_US,
	ROUTE,
	STATE,
	REQUEST_RAW,
	REQUEST_TRAILERS,
	RESPONSE_TRAILERS,
	SAMPLE,
	TEMPLATE,
};

static const char insert_sql[] =
	"INSERT INTO exchange (capture_id, ts_us, connection, position, client, client_port,"
	" server, server_port, method, scheme, host, path, query, version, request_headers, request_body,"
	" request_size, status, response_headers, response_body, response_size, ttfb_us,"
	" duration_us, route, state, request_raw, request_trailers, response_trailers, sample,"
	" template) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

/* The head bound last. The next one of a client, and more so of a server, is often the same byte
 * for byte; then what was made of it, and is still bound, is right again. */
struct seen {
	struct buf head; /* a copy: what is bound points into it */
	uint32_t fields; /* offset of the fields in it */
	uint32_t n_fields;
	struct buf json;
};

/* An address whose text is bound. */
struct end {
	struct addr addr;
	bool bound;
	char text[ADDR_TEXT];
};

struct capture_sink {
	struct sink sink; /* first */
	struct store *st; /* borrowed */
	uint64_t kept_before; /* st->kept when this sink began */
	int64_t capture_id;
	int64_t row; /* written last */
	sqlite3_stmt *insert, *insert_chunks;
	struct end client, server;
	struct seen request, response;
	struct buf request_trailers, response_trailers;
	struct route_table *routes;
	int64_t route;	/* of the path that is bound */
	struct total *total;
	bool failed;
};

static bool known_version(const struct message *m)
{
	return m->major == 1 && m->minor <= 1;
}

static int bind_end(sqlite3_stmt *q, int at, struct end *end, const struct addr *addr)
{
	if (end->bound && addr_same_host(&end->addr, addr))
		return SQLITE_OK;
	end->addr = *addr;
	end->bound = true;
	return sqlite3_bind_text(q, at, end->text, (int)addr_text(addr, end->text), SQLITE_STATIC);
}

static int bind_rest(struct capture_sink *w, const struct exchange *ex)
{
	sqlite3_stmt *q = w->insert;

	return sqlite3_bind_int64(q, TS_US, ex->ts_us) ||
	       sqlite3_bind_int64(q, CONNECTION, (int64_t)ex->connection) ||
	       sqlite3_bind_int64(q, POSITION, ex->position) ||
	       bind_end(q, CLIENT, &w->client, &ex->client) ||
	       sqlite3_bind_int(q, CLIENT_PORT, ex->client.port) ||
	       bind_end(q, SERVER, &w->server, &ex->server) ||
	       sqlite3_bind_int(q, SERVER_PORT, ex->server.port) ||
	       sqlite3_bind_text(q, SCHEME, ex->scheme, -1, SQLITE_STATIC) ||
	       db_bind_time(q, TTFB_US, ex->ttfb_us) ||
	       db_bind_time(q, DURATION_US, ex->duration_us) ||
	       (ex->route ? db_bind_text(q, ROUTE, span_str(ex->route), false)
			  : sqlite3_bind_null(q, ROUTE)) ||
	       sqlite3_bind_text(q, STATE, exchange_state_name(ex->state), -1, SQLITE_STATIC) ||
	       sqlite3_bind_double(q, SAMPLE, ex->sample);
}

static int bind_version(sqlite3_stmt *q, const struct message *m)
{
	char text[8];

	if (known_version(m))
		return sqlite3_bind_text(q, VERSION, m->minor ? "1.1" : "1.0", 3, SQLITE_STATIC);
	(void)sqlite3_snprintf(sizeof(text), text, "%d.%d", m->major, m->minor);
	return sqlite3_bind_text(q, VERSION, text, -1, SQLITE_TRANSIENT);
}

static int bind_json(sqlite3_stmt *q, int at, struct buf *json, const uint8_t *base,
		     const struct field *fields, uint32_t n)
{
	buf_clear(json);
	if (json_add_fields(json, base, fields, n))
		return SQLITE_NOMEM;
	return sqlite3_bind_text(q, at, (const char *)json->data, (int)json->len, SQLITE_STATIC);
}

static void seen_init(struct seen *s)
{
	buf_init(&s->head, LIMIT_HEAD_BYTES);
	buf_init(&s->json, JSON_BYTES);
}

static void seen_done(struct seen *s)
{
	buf_done(&s->head);
	buf_done(&s->json);
}

static bool same_head(const struct seen *s, const struct message *m)
{
	return m->n_fields == s->n_fields &&
	       span_eq(buf_span(&s->head), span_of(m->head, m->head_len));
}

/* Whether all behind the start line is the same. */
static bool same_fields(const struct seen *s, const struct message *m)
{
	uint32_t at = m->n_fields ? m->fields[0].name.off : m->head_len;

	return s->head.len && m->n_fields == s->n_fields &&
	       span_eq(span_of(s->head.data + s->fields, s->head.len - s->fields),
		       span_of(m->head + at, m->head_len - at));
}

/* Binds the headers of a head that is not the one seen, and remembers it. */
static int bind_fields(sqlite3_stmt *q, int at, struct seen *s, const struct message *m)
{
	bool same = same_fields(s, m);

	buf_clear(&s->head);
	if (buf_add(&s->head, m->head, m->head_len))
		return SQLITE_NOMEM;
	s->fields = m->n_fields ? m->fields[0].name.off : m->head_len;
	s->n_fields = m->n_fields;
	return same ? SQLITE_OK : bind_json(q, at, &s->json, m->head, m->fields, m->n_fields);
}

static int bind_trailers(sqlite3_stmt *q, int at, struct buf *json, const struct message *m)
{
	if (!m || m->n_trailer_fields == 0)
		return sqlite3_bind_null(q, at);
	return bind_json(q, at, json, m->trailer, m->trailer_fields, m->n_trailer_fields);
}

static int bind_id(sqlite3_stmt *q, int at, int64_t id)
{
	return id ? sqlite3_bind_int64(q, at, id) : sqlite3_bind_null(q, at);
}

static struct span in_copy(const struct seen *s, const struct message *m, struct span part)
{
	bool inside = part.p >= m->head && part.p <= m->head + m->head_len;

	/* A path may be the "/" that an absolute target without one stands for. */
	return inside ? span_of(s->head.data + (part.p - m->head), part.len) : part;
}

static int bind_request_head(struct capture_sink *w, const struct message *m)
{
	struct seen *s = &w->request;
	sqlite3_stmt *q = w->insert;
	/* Its parts are cut at ASCII, so they are what the whole is. */
	bool utf8 = utf8_valid(span_of(m->head, m->head_len));
	bool parts = utf8 && known_version(m) && message_is_canonical(m);
	struct target t;

	if (bind_fields(q, REQUEST_HEADERS, s, m))
		return SQLITE_NOMEM;
	target_split(in_copy(s, m, message_target(m)), &t);
	return db_bind_text(q, METHOD, in_copy(s, m, message_method(m)), utf8) ||
	       db_bind_text(q, HOST, in_copy(s, m, message_host(m)), utf8) ||
	       db_bind_text(q, PATH, t.path, utf8) ||
	       (t.query.p ? db_bind_text(q, QUERY, t.query, utf8) : sqlite3_bind_null(q, QUERY)) ||
	       bind_version(q, m) ||
	       (parts ? sqlite3_bind_null(q, REQUEST_RAW)
		      : sqlite3_bind_blob64(q, REQUEST_RAW, s->head.data, s->head.len,
					    SQLITE_STATIC));
}

static int bind_request(struct capture_sink *w, const struct message *m, int64_t body)
{
	sqlite3_stmt *q = w->insert;

	if (!same_head(&w->request, m) && bind_request_head(w, m))
		return SQLITE_NOMEM;
	return bind_id(q, REQUEST_BODY, body) || bind_id(q, TEMPLATE, w->route) ||
	       sqlite3_bind_int64(q, REQUEST_SIZE, (int64_t)m->body_size) ||
	       bind_trailers(q, REQUEST_TRAILERS, &w->request_trailers, m);
}

static int bind_response(struct capture_sink *w, const struct message *m, int64_t body)
{
	sqlite3_stmt *q = w->insert;

	if (!m) {
		buf_clear(&w->response.head); /* its headers are bound no more */
		return sqlite3_bind_null(q, STATUS) || sqlite3_bind_null(q, RESPONSE_HEADERS) ||
		       sqlite3_bind_null(q, RESPONSE_BODY) || sqlite3_bind_null(q, RESPONSE_SIZE) ||
		       sqlite3_bind_null(q, RESPONSE_TRAILERS);
	}
	if (!same_head(&w->response, m) && bind_fields(q, RESPONSE_HEADERS, &w->response, m))
		return SQLITE_NOMEM;
	return sqlite3_bind_int(q, STATUS, m->status) || bind_id(q, RESPONSE_BODY, body) ||
	       sqlite3_bind_int64(q, RESPONSE_SIZE, (int64_t)m->body_size) ||
	       bind_trailers(q, RESPONSE_TRAILERS, &w->response_trailers, m);
}

static int write_chunks(struct capture_sink *w, int64_t id, const struct message *m,
			struct err *err)
{
	sqlite3_stmt *q = w->insert_chunks;

	if (sqlite3_bind_int64(q, 1, id) ||
	    sqlite3_bind_blob(q, 2, m->chunk_lines.data, (int)m->chunk_lines.len, SQLITE_STATIC))
		return db_fail(w->st, err);
	return db_run(w->st, q, err);
}

/* The head bound last is still this one's: so is its route, unless nobody had served it yet. */
static int find_route(struct capture_sink *w, const struct exchange *ex, struct err *err)
{
	const struct message *m = ex->request;
	struct target t;

	if (w->route && same_head(&w->request, m))
		return SC_OK;
	target_split(message_target(m), &t);
	return route_table_find(w->routes, t.path, !ex->response || ex->response->status < 400,
				&w->route, err);
}

static void add_up(struct total *t, const struct exchange *ex)
{
	t->n[CAPTURE_EXCHANGES]++;
	t->n[CAPTURE_STATES + ex->state]++;
	t->n[CAPTURE_REQUEST_BYTES] += (int64_t)ex->request->body_size;
	t->n[CAPTURE_RESPONSE_BYTES] += ex->response ? (int64_t)ex->response->body_size : 0;
}

static int write_exchange(struct capture_sink *w, const struct exchange *ex, struct err *err)
{
	struct store *st = w->st;
	int64_t request_body, response_body = 0;
	int rc = db_begin(st, err);

	if (!rc)
		rc = body_keep(st, buf_span(&ex->request->body), &request_body, err);
	if (!rc && ex->response)
		rc = body_keep(st, buf_span(&ex->response->body), &response_body, err);
	if (!rc)
		rc = find_route(w, ex, err);
	if (rc)
		return rc;
	if (bind_rest(w, ex) || bind_request(w, ex->request, request_body) ||
	    bind_response(w, ex->response, response_body))
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	rc = db_run(st, w->insert, err);
	w->row = sqlite3_last_insert_rowid(st->db);
	if (!rc && ex->request->chunk_lines.len)
		rc = write_chunks(w, w->row, ex->request, err);
	if (rc)
		return rc;
	add_up(w->total, ex);
	return db_row(st, err);
}

static int capture_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct capture_sink *w = (struct capture_sink *)s;
	int rc;

	if (w->failed)
		rc = err_set(err, SC_EIO, "%s: writing failed before", w->st->path);
	else
		rc = write_exchange(w, ex, err);
	if (rc && !w->failed) {
		db_rollback(w->st);
		w->failed = true;
	}
	return rc;
}

int64_t store_capture_row(const struct sink *s)
{
	return ((const struct capture_sink *)s)->row;
}

static int capture_tick(struct sink *s, int64_t now_us, struct err *err)
{
	struct capture_sink *w = (struct capture_sink *)s;
	int rc = db_tick(w->st, now_us, err);

	w->failed = w->failed || rc;
	return rc;
}

static int capture_finish(struct sink *s, int64_t now_us, struct err *err)
{
	struct capture_sink *w = (struct capture_sink *)s;
	int rc = db_commit(w->st, err);

	(void)now_us;
	w->failed = w->failed || rc;
	return rc ? rc : schema_index_captures(w->st, err);
}

static uint64_t capture_kept(const struct sink *s)
{
	const struct capture_sink *w = (const struct capture_sink *)s;

	return w->st->kept - w->kept_before;
}

static void capture_free(struct sink *s)
{
	struct capture_sink *w = (struct capture_sink *)s;

	db_rollback(w->st);
	sqlite3_finalize(w->insert);
	sqlite3_finalize(w->insert_chunks);
	total_close(w->st, w->total);
	route_table_free(w->routes);
	seen_done(&w->request);
	seen_done(&w->response);
	buf_done(&w->request_trailers);
	buf_done(&w->response_trailers);
	free(w);
}

static const struct sink_ops capture_ops = {
	.put = capture_put,
	.tick = capture_tick,
	.finish = capture_finish,
	.kept = capture_kept,
	.free = capture_free,
};

static struct capture_sink *sink_new(struct store *st)
{
	struct capture_sink *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->sink.ops = &capture_ops;
	w->st = st;
	w->kept_before = st->kept;
	seen_init(&w->request);
	seen_init(&w->response);
	buf_init(&w->request_trailers, JSON_BYTES);
	buf_init(&w->response_trailers, JSON_BYTES);
	return w;
}

int store_capture_new(struct store *st, int64_t started_us, const char *source,
		      const char *options, int64_t *ret_id, struct sink **ret, struct err *err)
{
	struct capture_sink *w = sink_new(st);
	int rc;

	if (!w)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	rc = body_open(st, err);
	if (!rc)
		rc = db_commit(st, err); /* the row is there from now on, whatever comes */
	if (!rc)
		rc = db_start(st,
			      "INSERT INTO capture (started_at, source, options) VALUES ("
			      DB_TIME_TEXT("?1") ", ?2, ?3)",
			      started_us, source, options, &w->capture_id, err);
	if (!rc)
		rc = db_prepare(st, insert_sql, &w->insert, err);
	if (!rc)
		rc = db_prepare(st, "INSERT INTO request_chunks VALUES (?1, ?2)",
				&w->insert_chunks, err);
	if (!rc)
		rc = route_table_open(st, &w->routes, err);
	if (!rc)
		rc = total_open(st, TOTAL_OF_CAPTURE, w->capture_id, &w->total, err);
	if (!rc && sqlite3_bind_int64(w->insert, CAPTURE_ID, w->capture_id))
		rc = db_fail(st, err);
	if (rc) {
		capture_free(&w->sink);
		return rc;
	}
	*ret_id = w->capture_id;
	*ret = &w->sink; /* moved */
	return SC_OK;
}

int store_capture_end(struct store *st, int64_t id, int64_t ended_us, const char *ledger,
		      struct err *err)
{
	return db_end(st,
		      "UPDATE capture SET ledger = ?3, ended_at = CASE WHEN ?2 = 0 THEN ended_at"
		      " ELSE " DB_TIME_TEXT("?2") " END WHERE id = ?1", id, ended_us, ledger, err);
}

int store_captures_ended(struct store *st, bool *ret, struct err *err)
{
	int64_t open;
	int rc = db_integer(st, "SELECT count(*) FROM capture WHERE ended_at IS NULL", &open, err);

	if (!rc)
		*ret = open == 0;
	return rc;
}
