/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges out of a store, in the order of their time. Streams: holds one exchange, and no view of
 * the file for longer than a batch, since an old view keeps a writer from cutting its log. Rows
 * that came while it ran are left out, so that a replay into the same store ends. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rng.h"
#include "db.h"
#include "rebuild.h"

#define BATCH 512u
#define JSON_BYTES (6u * LIMIT_HEAD_BYTES + 16u * LIMIT_FIELDS)

/* A header list read last: the next one of a client is often the same. */
struct fields {
	struct buf text; /* JSON; what the items point into, and the two below */
	struct buf unescaped;
	json_t *json;
	struct header items[LIMIT_FIELDS];
	uint32_t n;
	bool read;
	struct field_lines lines; /* of the items, once they are asked for */
	bool lined, plain;	  /* plain: there are such lines */
};

/* An address read last. */
struct end {
	char text[ADDR_TEXT];
	struct addr addr;
};

struct store_source {
	struct source source; /* first */
	struct store *st;     /* borrowed */
	struct store_choice choice;
	sqlite3_stmt *order; /* ids alone; NULL where `row` goes by the index of times itself */
	sqlite3_stmt *row;
	int64_t at_ts, at_id; /* of the exchange given last */
	unsigned in_batch;
	bool running; /* `order`, or else `row`, stands on a row */
	bool stopped;
	bool several; /* captures: connections are told apart by both numbers */
	bool chunks;  /* there are chunk lines */
	struct capture_key {
		int64_t id;
		uint64_t key;
	} *captures, last; /* those that are pieces of a recording, by id */
	unsigned n_captures;
	struct texts routes, templates;
	struct fields request, response, trailers;
	struct end client, server;
	struct buf target; /* of a request */
};

enum column {
	ID,
	CAPTURE_ID,
	TS_US,
	CONNECTION,
	METHOD,
	PATH,
	QUERY,
	VERSION,
	REQUEST_HEADERS,
	REQUEST_SIZE,
	STATE,
	REQUEST_RAW,
	REQUEST_TRAILERS,
	REQUEST_DATA,
	CHUNKS,
	/* Not of STORE_SENT. */
	POSITION,
	CLIENT,
	CLIENT_PORT,
	SERVER,
	SERVER_PORT,
	SCHEME,
	ROUTE,
	/* Of STORE_EXCHANGES alone. */
	STATUS,
	RESPONSE_HEADERS,
	RESPONSE_SIZE,
	TTFB_US,
	DURATION_US,
	RESPONSE_TRAILERS,
	SAMPLE,
	RESPONSE_DATA,
	TEMPLATE,
};

/* Every column costs, read or not. So who only sends them again reads the requests' bytes alone, and
 * chunk lines are not searched for where the store has none. */
#define ROW_SQL(chunks, columns, end)                                                              \
	"SELECT e.id, e.capture_id, e.ts_us, e.connection, e.method, e.path, e.query, e.version,"  \
	" e.request_headers, e.request_size, e.state, e.request_raw, e.request_trailers, q.data, "  \
	chunks columns " FROM exchange e LEFT JOIN body q ON q.id = e.request_body" end
#define REQUEST_SQL                                                                                \
	", e.position, e.client, e.client_port, e.server, e.server_port, e.scheme, e.route"
#define RESPONSE_SQL                                                                               \
	", e.status, e.response_headers, e.response_size, e.ttfb_us, e.duration_us,"               \
	" e.response_trailers, e.sample, r.data, t.template"
#define RESPONSE_END                                                                               \
	" LEFT JOIN body r ON r.id = e.response_body LEFT JOIN template t ON t.id = e.template"
#define CHUNKS_END " LEFT JOIN request_chunks c ON c.exchange_id = e.id"
#define BOTH_SQL(columns, end)                                                                     \
	{                                                                                          \
		ROW_SQL("NULL", columns, end), ROW_SQL("c.lines", columns, end CHUNKS_END)         \
	}

/* By what is wanted, and whether there are chunk lines. */
static const char *const row_sql[][2] = {
	[STORE_EXCHANGES] = BOTH_SQL(REQUEST_SQL RESPONSE_SQL, RESPONSE_END),
	[STORE_REQUESTS] = BOTH_SQL(REQUEST_SQL, ""),
	[STORE_SENT] = BOTH_SQL("", ""),
};

/* The parameters of a batch; those of a choice that was not made are not in it. */
enum parameter {
	AT_TS = 1,
	AT_ID,
	LAST_ID,
	CAPTURE,
	UNTIL,
	WITHOUT_REPLAY,
	WITHOUT_PASS,
};

#define BATCH_SQL " WHERE (e.ts_us, e.id) > (?1, ?2) AND e.id <= ?3%s%s%s ORDER BY e.ts_us, e.id"
#define CAPTURE_SQL " AND e.capture_id = ?4"
#define UNTIL_SQL " AND e.ts_us < ?5"
#define WITHOUT_SQL                                                                                \
	" AND NOT EXISTS (SELECT 1 FROM result x WHERE x.replay_id = ?6"                           \
	" AND x.exchange_id = e.id AND x.pass = ?7)"

static struct span column(sqlite3_stmt *q, enum column c)
{
	const void *p = sqlite3_column_blob(q, (int)c);

	return span_of(p ? p : "", (size_t)sqlite3_column_bytes(q, (int)c));
}

static bool column_is_null(sqlite3_stmt *q, enum column c)
{
	return sqlite3_column_type(q, (int)c) == SQLITE_NULL;
}

/* A row that somebody else changed, for the worse. */
static int bad_row(struct store_source *r, const char *what, struct err *err)
{
	return err_set(err, SC_EINVAL, "%s: exchange %" PRId64 ": %s", r->st->path,
		       (int64_t)sqlite3_column_int64(r->row, ID), what);
}

static int no_memory(struct store_source *r, struct err *err)
{
	return err_set(err, SC_ENOMEM, "%s: no memory", r->st->path);
}

static int message_failed(struct store_source *r, int rc, const char *what, struct err *err)
{
	return rc == SC_ENOMEM ? no_memory(r, err) : bad_row(r, what, err);
}

static int json_fields(struct fields *f)
{
	json_t *list = json_loadb((const char *)f->text.data, f->text.len, JSON_ALLOW_NUL, NULL);
	json_t *pair;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > LIMIT_FIELDS)
		goto bad;
	json_array_foreach(list, i, pair) {
		json_t *name = json_array_get(pair, 0);
		json_t *value = json_array_get(pair, 1);

		if (!json_is_string(name) || !json_is_string(value))
			goto bad;
		f->items[i].name = span_of(json_string_value(name), json_string_length(name));
		f->items[i].value = span_of(json_string_value(value), json_string_length(value));
	}
	f->n = (uint32_t)json_array_size(list);
	f->json = list; /* moved */
	return SC_OK;
bad:
	json_decref(list);
	return SC_EINVAL;
}

/* One string as we write most of them: ASCII, nothing escaped but the quote and the backslash. The
 * span points into the text, or into `to` (as long as the text) where an escape had to go. */
static const uint8_t *plain_string(const uint8_t *p, const uint8_t *end, uint8_t **to,
				   struct span *ret)
{
	const uint8_t *start = ++p;
	uint8_t *copy = NULL;

	if (start > end || start[-1] != '"')
		return NULL;
	for (; p < end && *p != '"'; p++) {
		if (*p == '\\') {
			if (!copy) {
				copy = *to;
				memcpy(copy, start, (size_t)(p - start));
				*to += p - start;
			}
			if (++p == end || (*p != '"' && *p != '\\'))
				return NULL;
		} else if (*p < 0x20 || *p >= 0x80) {
			return NULL;
		}
		if (copy)
			*(*to)++ = *p;
	}
	if (p == end)
		return NULL;
	*ret = copy ? span_of(copy, (size_t)(*to - copy)) : span_of(start, (size_t)(p - start));
	return p + 1;
}

/* [["name","value"],...] without a space, as we write it. False: let a JSON reader judge. */
static bool plain_fields(struct fields *f)
{
	const uint8_t *p = f->text.data, *end = p + f->text.len;
	uint32_t n = 0;
	uint8_t *to;

	buf_clear(&f->unescaped);
	if (f->text.len < 2 || *p++ != '[' || buf_reserve(&f->unescaped, f->text.len))
		return false;
	to = f->unescaped.data;
	while (p < end && *p == '[' && n < LIMIT_FIELDS) {
		p = plain_string(p + 1, end, &to, &f->items[n].name);
		if (!p || p == end || *p != ',')
			return false;
		p = plain_string(p + 1, end, &to, &f->items[n].value);
		if (!p || end - p < 2 || *p != ']')
			return false;
		n++;
		if (*++p != ',')
			break;
		p++;
	}
	if (end - p != 1 || *p != ']' || p[-1] == ',')
		return false;
	f->n = n;
	return true;
}

/* [[name, value], ...] into f->items, which are good until the next call. */
static int read_fields(struct fields *f, struct span text)
{
	int rc;

	if (f->read && span_eq(text, buf_span(&f->text)))
		return SC_OK;
	f->read = false;
	json_decref(f->json);
	f->json = NULL;
	buf_clear(&f->text);
	rc = buf_add_span(&f->text, text);
	if (!rc && !plain_fields(f))
		rc = json_fields(f);
	f->read = rc == SC_OK;
	f->lined = false;
	return rc == SC_EFULL ? SC_EINVAL : rc;
}

/* NULL: they must go through a parser. */
static const struct field_lines *lines_of(struct fields *f)
{
	if (!f->lined) {
		f->plain = field_lines_set(&f->lines, f->items, f->n) == SC_OK;
		f->lined = true;
	}
	return f->plain ? &f->lines : NULL;
}

static void fields_init(struct fields *f)
{
	buf_init(&f->text, JSON_BYTES);
	buf_init(&f->unescaped, JSON_BYTES);
	field_lines_init(&f->lines);
}

static void fields_done(struct fields *f)
{
	buf_done(&f->text);
	buf_done(&f->unescaped);
	field_lines_done(&f->lines);
	json_decref(f->json);
}

static int set_body(struct message *m, struct span body, int64_t size)
{
	m->body_size = size > 0 && (uint64_t)size > body.len ? (uint64_t)size : body.len;
	return buf_add_span(&m->body, body);
}

static size_t body_ceiling(struct span body)
{
	return body.len > LIMIT_BODY_BYTES ? body.len : LIMIT_BODY_BYTES;
}

static int set_trailers(struct store_source *r, struct message *m, struct span text)
{
	struct fields *f = &r->trailers;
	int rc = read_fields(f, text);

	return rc ? rc : rebuild_trailers(m, f->items, f->n);
}

static int head_from_parts(struct store_source *r, size_t body_max, struct message **ret)
{
	sqlite3_stmt *q = r->row;
	struct fields *f = &r->request;
	struct span target;
	int rc = read_fields(f, column(q, REQUEST_HEADERS));

	if (rc)
		return rc;
	target = column(q, PATH);
	if (!column_is_null(q, QUERY)) {
		buf_clear(&r->target);
		rc = buf_add_span(&r->target, target);
		if (!rc)
			rc = buf_add_str(&r->target, "?");
		if (!rc)
			rc = buf_add_span(&r->target, column(q, QUERY));
		target = buf_span(&r->target);
	}
	if (rc)
		return rc;
	if (lines_of(f)) {
		rc = message_build_with(column(q, METHOD), target, column(q, VERSION), &f->lines,
					body_max, ret);
		if (rc != SC_EPROTO)
			return rc;
	}
	return message_build_request(column(q, METHOD), target, column(q, VERSION),
				     f->items, f->n, body_max, ret);
}

static int read_head(struct store_source *r, size_t body_max, struct message **ret)
{
	struct span raw;

	if (column_is_null(r->row, REQUEST_RAW))
		return head_from_parts(r, body_max, ret);
	raw = column(r->row, REQUEST_RAW);
	return message_parse(raw.p, raw.len, body_max, ret);
}

static int read_request(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	struct span body = column_is_null(q, REQUEST_DATA) ? span_str("") : column(q, REQUEST_DATA);
	int rc = read_head(r, body_ceiling(body), &ex->request);
	struct message *m = ex->request;

	if (rc || m->status)
		return message_failed(r, rc, "its method, path, version, request_headers or"
				      " request_raw make no request", err);
	rc = set_body(m, body, sqlite3_column_int64(q, REQUEST_SIZE));
	if (rc)
		return no_memory(r, err);
	if (!column_is_null(q, REQUEST_TRAILERS))
		rc = set_trailers(r, m, column(q, REQUEST_TRAILERS));
	if (rc)
		return message_failed(r, rc, "request_trailers are no [[name, value], ...]", err);
	if (r->chunks && !column_is_null(q, CHUNKS))
		rc = buf_add_span(&m->chunk_lines, column(q, CHUNKS));
	if (rc)
		return message_failed(r, rc, "request_chunks.lines are too long", err);
	return SC_OK;
}

/* The reason phrase is not kept. */
static int read_response(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	struct span body = column(q, RESPONSE_DATA);
	int64_t status = sqlite3_column_int64(q, STATUS);
	struct fields *f = &r->response;
	struct message *m;
	int rc;

	if (status < 1 || status > 999)
		return bad_row(r, "status is not within 1..999", err);
	rc = read_fields(f, column(q, RESPONSE_HEADERS));
	if (!rc)
		rc = message_build_response((uint16_t)status, span_str(""), span_str("1.1"),
					    f->items, f->n, body_ceiling(body), &ex->response);
	if (rc)
		return message_failed(r, rc, "response_headers are no [[name, value], ...]", err);
	m = ex->response;
	rc = set_body(m, body, sqlite3_column_int64(q, RESPONSE_SIZE));
	if (rc)
		return no_memory(r, err);
	if (!column_is_null(q, RESPONSE_TRAILERS))
		rc = set_trailers(r, m, column(q, RESPONSE_TRAILERS));
	if (rc)
		return message_failed(r, rc, "response_trailers are no [[name, value], ...]", err);
	return SC_OK;
}

static int read_route(struct store_source *r, struct exchange *ex, struct err *err)
{
	int rc = column_is_null(r->row, ROUTE)
			 ? SC_OK : texts_keep(&r->routes, column(r->row, ROUTE), LIMIT_RULES, &ex->route);

	return rc ? message_failed(r, rc, "is of one route too many", err) : SC_OK;
}

static int read_template(struct store_source *r, struct exchange *ex, struct err *err)
{
	int rc = column_is_null(r->row, TEMPLATE)
			 ? SC_OK : texts_keep(&r->templates, column(r->row, TEMPLATE),
					      LIMIT_TEMPLATES, &ex->template);

	return rc == SC_ENOMEM ? no_memory(r, err) : SC_OK;
}

/* Most addresses are the one before. */
static void read_end(sqlite3_stmt *q, enum column address, enum column port, struct end *last,
		     struct addr *ret)
{
	const char *text = (const char *)sqlite3_column_text(q, (int)address);

	if (text && strcmp(text, last->text) != 0) {
		struct addr a = {.len = 0};

		(void)addr_parse(text, &a); /* not known is a value, too */
		last->addr = a;
		last->text[0] = '\0';
		if (strlen(text) < sizeof(last->text))
			memcpy(last->text, text, strlen(text) + 1);
	}
	if (text)
		*ret = last->addr;
	ret->port = (uint16_t)sqlite3_column_int(q, (int)port);
}

/* What tells a capture's connections apart from others': pieces of one recording share them. */
static uint64_t key_of_capture(struct store_source *r, int64_t id)
{
	unsigned low = 0, high = r->n_captures;

	if (r->last.id == id)
		return r->last.key;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (r->captures[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	r->last = (struct capture_key){id, (uint64_t)id};
	if (low < r->n_captures && r->captures[low].id == id)
		r->last.key = r->captures[low].key;
	return r->last.key;
}

static uint64_t read_connection(struct store_source *r)
{
	uint64_t both[2] = {0, (uint64_t)sqlite3_column_int64(r->row, CONNECTION)};

	if (!r->several)
		return both[1];
	both[0] = key_of_capture(r, sqlite3_column_int64(r->row, CAPTURE_ID));
	/* Sixty-three bits, so that it is stored again as a positive number. */
	return hash_bytes(both, sizeof(both), 0) >> 1;
}

static int64_t read_time(sqlite3_stmt *q, enum column c)
{
	return column_is_null(q, c) ? -1 : sqlite3_column_int64(q, (int)c);
}

/* All of a request but its message. */
static int read_about(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;

	ex->position = (uint32_t)sqlite3_column_int64(q, POSITION);
	ex->scheme = span_eq(column(q, SCHEME), span_str("https")) ? "https" : "http";
	read_end(q, CLIENT, CLIENT_PORT, &r->client, &ex->client);
	read_end(q, SERVER, SERVER_PORT, &r->server, &ex->server);
	return read_route(r, ex, err);
}

/* -1: none. */
static bool is_time(int64_t us)
{
	return us >= -1 && us <= LIMIT_TIME_US;
}

static int read_answer(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	int rc;

	ex->ttfb_us = read_time(q, TTFB_US);
	ex->duration_us = read_time(q, DURATION_US);
	if (!is_time(ex->ttfb_us) || !is_time(ex->duration_us))
		return bad_row(r, "ttfb_us or duration_us is out of range", err);
	ex->sample = column_is_null(q, SAMPLE) ? 100 : sqlite3_column_double(q, SAMPLE);
	rc = read_template(r, ex, err);
	if (rc)
		return rc;
	return column_is_null(q, STATUS) ? SC_OK : read_response(r, ex, err);
}

static int read_exchange(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	const unsigned char *state = sqlite3_column_text(q, STATE);
	int rc = SC_OK;

	ex->id = r->at_id;
	ex->ts_us = r->at_ts;
	ex->connection = read_connection(r);
	if (r->at_ts < 0 || r->at_ts > LIMIT_TIME_US)
		return bad_row(r, "ts_us is no time within the years 1970 to 9999", err);
	if (!state || exchange_state_parse((const char *)state, &ex->state))
		return bad_row(r, "state is none of complete, no-response, truncated, gap", err);
	if (r->choice.parts != STORE_SENT)
		rc = read_about(r, ex, err);
	if (!rc)
		rc = read_request(r, ex, err);
	if (!rc && r->choice.parts == STORE_EXCHANGES)
		rc = read_answer(r, ex, err);
	return rc;
}

static int bind_place(struct store_source *r, sqlite3_stmt *q, struct err *err)
{
	if (r->running)
		return SC_OK;
	if (sqlite3_bind_int64(q, AT_TS, r->at_ts) || sqlite3_bind_int64(q, AT_ID, r->at_id))
		return db_fail(r->st, err);
	r->running = true;
	r->in_batch = 0;
	return SC_OK;
}

static int step_failed(struct store_source *r, struct err *err)
{
	r->stopped = true;
	return db_fail(r->st, err);
}

static void read_place(struct store_source *r)
{
	r->at_id = sqlite3_column_int64(r->row, ID);
	r->at_ts = sqlite3_column_int64(r->row, TS_US);
}

/* 1: r->row stands on the next exchange. 0: the end. */
static int next_indexed(struct store_source *r, struct err *err)
{
	for (;;) {
		int step, rc = bind_place(r, r->row, err);

		if (rc)
			return rc;
		step = sqlite3_step(r->row);
		if (step == SQLITE_ROW) {
			read_place(r);
			r->in_batch++;
			return 1;
		}
		if (step != SQLITE_DONE)
			return step_failed(r, err);
		(void)sqlite3_reset(r->row);
		r->running = false;
		if (r->in_batch < BATCH) {
			r->stopped = true;
			return 0;
		}
	}
}

/* The same without the index: in batches everything would be sorted for each, and with all
 * columns. */
static int next_sorted(struct store_source *r, struct err *err)
{
	for (;;) {
		int step, rc = bind_place(r, r->order, err);

		if (rc)
			return rc;
		(void)sqlite3_reset(r->row);
		step = sqlite3_step(r->order);
		if (step == SQLITE_DONE) {
			r->stopped = true;
			(void)sqlite3_reset(r->order);
			return 0;
		}
		if (step != SQLITE_ROW ||
		    sqlite3_bind_int64(r->row, 1, sqlite3_column_int64(r->order, 0)))
			return step_failed(r, err);
		step = sqlite3_step(r->row);
		if (step == SQLITE_ROW) {
			read_place(r);
			return 1;
		}
		if (step != SQLITE_DONE) /* otherwise it was deleted meanwhile */
			return step_failed(r, err);
	}
}

static int source_read(struct source *s, struct exchange **ret, struct err *err)
{
	struct store_source *r = (struct store_source *)s;
	struct exchange *ex;
	int rc;

	if (r->stopped)
		return 0;
	rc = r->order ? next_sorted(r, err) : next_indexed(r, err);
	if (rc <= 0)
		return rc;
	ex = exchange_new();
	rc = ex ? read_exchange(r, ex, err) : no_memory(r, err);
	if (!rc)
		rebuild_finish(ex);
	if (rc) {
		exchange_free(ex);
		return rc;
	}
	*ret = ex; /* moved */
	return 1;
}

static void source_end(struct source *s)
{
	struct store_source *r = (struct store_source *)s;

	r->stopped = true;
	(void)sqlite3_reset(r->order);
	(void)sqlite3_reset(r->row);
}

static void source_done(struct source *s)
{
	struct store_source *r = (struct store_source *)s;

	sqlite3_finalize(r->order);
	sqlite3_finalize(r->row);
	free(r->captures);
	texts_done(&r->routes);
	texts_done(&r->templates);
	fields_done(&r->request);
	fields_done(&r->response);
	fields_done(&r->trailers);
	buf_done(&r->target);
	free(r);
}

static const struct source_ops source_ops = {
	.next = source_read,
	.stop = source_end,
	.free = source_done,
};

static int has_capture(struct store *st, int64_t id, struct err *err)
{
	sqlite3_stmt *q = NULL;
	bool found;
	int rc = db_prepare(st, "SELECT 1 FROM capture WHERE id = ?1", &q, err);

	if (rc)
		return rc;
	(void)sqlite3_bind_int64(q, 1, id);
	found = sqlite3_step(q) == SQLITE_ROW;
	sqlite3_finalize(q);
	return found ? SC_OK
		     : err_set(err, SC_EINVAL, "%s: has no capture %" PRId64, st->path, id);
}

static int bind_choice(struct store_source *r, sqlite3_stmt *q, int64_t last, struct err *err)
{
	const struct store_choice *c = &r->choice;

	if (sqlite3_bind_int64(q, LAST_ID, last) ||
	    (c->capture_id && sqlite3_bind_int64(q, CAPTURE, c->capture_id)) ||
	    (c->until_us && sqlite3_bind_int64(q, UNTIL, c->until_us)) ||
	    (c->without_replay && (sqlite3_bind_int64(q, WITHOUT_REPLAY, c->without_replay) ||
				   sqlite3_bind_int64(q, WITHOUT_PASS, c->pass))))
		return db_fail(r->st, err);
	return SC_OK;
}

/* `front` selects from exchange e, `behind` stands behind the order. */
static int prepare_batch(struct store_source *r, const char *front, const char *behind,
			 int64_t last, sqlite3_stmt **ret, struct err *err)
{
	const struct store_choice *c = &r->choice;
	char *sql = sqlite3_mprintf("%s" BATCH_SQL "%s", front, c->capture_id ? CAPTURE_SQL : "",
				    c->until_us ? UNTIL_SQL : "",
				    c->without_replay ? WITHOUT_SQL : "", behind);
	int rc = sql ? db_prepare(r->st, sql, ret, err) : no_memory(r, err);

	sqlite3_free(sql);
	return rc ? rc : bind_choice(r, *ret, last, err);
}

static int prepare_statements(struct store_source *r, bool indexed, int64_t last, struct err *err)
{
	char text[1024];
	int rc;

	if (indexed) {
		(void)sqlite3_snprintf(sizeof(text), text, " LIMIT %u", BATCH);
		return prepare_batch(r, row_sql[r->choice.parts][r->chunks], text, last, &r->row,
				     err);
	}
	rc = prepare_batch(r, "SELECT e.id FROM exchange e", "", last, &r->order, err);
	if (rc)
		return rc;
	(void)sqlite3_snprintf(sizeof(text), text, "%s WHERE e.id = ?1",
			       row_sql[r->choice.parts][r->chunks]);
	return db_prepare(r->st, text, &r->row, err);
}

static int add_capture(struct store_source *r, sqlite3_stmt *q)
{
	const void *text = sqlite3_column_blob(q, 1);
	struct span set = span_of(text ? text : "", (size_t)sqlite3_column_bytes(q, 1));
	struct capture_key *grown =
		realloc(r->captures, (r->n_captures + 1) * sizeof(*grown));

	if (!grown)
		return SC_ENOMEM;
	r->captures = grown;
	grown[r->n_captures++] =
		(struct capture_key){sqlite3_column_int64(q, 0), db_set_number(set)};
	return SC_OK;
}

static int read_captures(struct store_source *r, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(r->st, "SELECT id, " DB_SET " AS s FROM capture WHERE s IS NOT NULL"
			    " ORDER BY id", &q, err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = add_capture(r, q) ? no_memory(r, err) : SC_OK;
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(r->st, err);
	sqlite3_finalize(q);
	return rc;
}

static int source_prepare(struct store_source *r, struct err *err)
{
	struct store *st = r->st;
	int64_t last, indexed, captures, chunks;
	int rc = r->choice.capture_id ? has_capture(st, r->choice.capture_id, err) : SC_OK;

	if (!rc)
		rc = db_integer(st, "SELECT max(id) FROM exchange", &last, err);
	if (!rc)
		rc = db_integer(st, "SELECT count(*) FROM capture", &captures, err);
	if (!rc)
		rc = db_integer(st, "SELECT count(*) FROM sqlite_schema WHERE type = 'index'"
				" AND name = 'exchange_time'", &indexed, err);
	if (!rc)
		rc = db_integer(st, "SELECT EXISTS (SELECT 1 FROM request_chunks)", &chunks, err);
	if (rc)
		return rc;
	r->several = r->choice.capture_id == 0 && captures > 1;
	r->chunks = chunks != 0;
	rc = r->several ? read_captures(r, err) : SC_OK;
	return rc ? rc : prepare_statements(r, indexed != 0, last, err);
}

int store_source_of(struct store *st, const struct store_choice *choice, struct source **ret,
		    struct err *err)
{
	struct store_source *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	r->source.ops = &source_ops;
	r->st = st;
	r->choice = *choice;
	r->at_ts = r->at_id = INT64_MIN;
	if (choice->from_us) {
		r->at_ts = choice->from_us - 1;
		r->at_id = INT64_MAX;
	}
	fields_init(&r->request);
	fields_init(&r->response);
	fields_init(&r->trailers);
	buf_init(&r->target, LIMIT_HEAD_BYTES);
	rc = source_prepare(r, err);
	if (rc) {
		source_done(&r->source);
		return rc;
	}
	*ret = &r->source; /* moved */
	return SC_OK;
}

int store_source_new(struct store *st, int64_t capture_id, enum store_parts parts,
		     struct source **ret, struct err *err)
{
	struct store_choice choice = {.capture_id = capture_id, .parts = parts};

	return store_source_of(st, &choice, ret, err);
}

void store_source_rest(struct source *source)
{
	struct store_source *r = (struct store_source *)source;

	if (r->order || !r->running)
		return;
	(void)sqlite3_reset(r->row);
	r->running = false;
}

int store_extent(struct store *st, struct store_extent *ret, struct err *err)
{
	struct store_extent e = {0};
	int64_t first_id, last_id;
	/* One at a time: SQLite looks at the ends of an index for a single min() or max() only. */
	int rc = db_integer(st, "SELECT min(ts_us) FROM exchange", &e.first_us, err);

	if (!rc)
		rc = db_integer(st, "SELECT max(ts_us) FROM exchange", &e.last_us, err);
	if (!rc)
		rc = db_integer(st, "SELECT min(id) FROM exchange", &first_id, err);
	if (!rc)
		rc = db_integer(st, "SELECT max(id) FROM exchange", &last_id, err);
	if (rc)
		return rc;
	e.rows = last_id ? (uint64_t)last_id - (uint64_t)first_id + 1 : 0;
	*ret = e;
	return SC_OK;
}

/* An origin after the other, each found behind the one before by the index; without it, all of them
 * by a look at every exchange. */
static const char origins_indexed[] =
	"WITH RECURSIVE origin(server, server_port) AS (SELECT * FROM"
	" (SELECT server, server_port FROM exchange ORDER BY server, server_port LIMIT 1)"
	" UNION ALL SELECT e.server, e.server_port FROM origin o JOIN exchange e ON e.id = coalesce("
	" (SELECT id FROM exchange WHERE server = o.server AND server_port > o.server_port"
	" ORDER BY server_port LIMIT 1),"
	" (SELECT id FROM exchange WHERE server > o.server ORDER BY server, server_port LIMIT 1)))"
	" SELECT server, server_port FROM origin";
static const char origins_scanned[] = "SELECT DISTINCT server, server_port FROM exchange";

int store_origins(struct store *st, int (*put)(void *arg, const struct addr *origin), void *arg,
		  struct err *err)
{
	sqlite3_stmt *q = NULL;
	int64_t indexed;
	int step = SQLITE_DONE;
	int rc = db_integer(st, "SELECT count(*) FROM sqlite_schema WHERE type = 'index'"
			    " AND name = 'exchange_server'", &indexed, err);

	if (!rc)
		rc = db_prepare(st, indexed ? origins_indexed : origins_scanned, &q, err);
	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
		const unsigned char *text = sqlite3_column_text(q, 0);
		struct addr a = {.len = 0};

		if (!text || addr_parse((const char *)text, &a))
			continue; /* not known */
		a.port = (uint16_t)sqlite3_column_int(q, 1);
		if (put(arg, &a))
			rc = err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	}
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(st, err);
	sqlite3_finalize(q);
	return rc;
}
