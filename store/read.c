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

#define BATCH 512u

struct route {
	struct route *next;
	char text[];
};

struct store_source {
	struct source source; /* first */
	struct store *st;     /* borrowed */
	enum store_parts parts;
	sqlite3_stmt *order, *row;
	int64_t at_ts, at_id; /* of the exchange given last */
	unsigned in_batch;
	bool indexed;
	bool running; /* `order` stands on a row */
	bool stopped;
	bool several; /* captures: connections are told apart by both numbers */
	struct route *routes;
	unsigned n_routes;
	struct header headers[LIMIT_FIELDS];
	struct buf unescaped; /* strings of them */
};

enum column {
	ID,
	CAPTURE_ID,
	TS_US,
	CONNECTION,
	POSITION,
	CLIENT,
	CLIENT_PORT,
	SERVER,
	SERVER_PORT,
	METHOD,
	SCHEME,
	PATH,
	QUERY,
	VERSION,
	REQUEST_HEADERS,
	REQUEST_SIZE,
	STATUS,
	RESPONSE_HEADERS,
	RESPONSE_SIZE,
	TTFB_US,
	DURATION_US,
	ROUTE,
	STATE,
	REQUEST_RAW,
	REQUEST_TRAILERS,
	RESPONSE_TRAILERS,
	SAMPLE,
	REQUEST_DATA,
	RESPONSE_DATA,
	CHUNKS,
};

#define ROW_SQL(status, headers, size, trailers, data, join)                                       \
	"SELECT e.id, e.capture_id, e.ts_us, e.connection, e.position, e.client, e.client_port,"   \
	" e.server, e.server_port, e.method, e.scheme, e.path, e.query, e.version,"                \
	" e.request_headers, e.request_size, " status ", " headers ", " size                       \
	", e.ttfb_us, e.duration_us, e.route, e.state, e.request_raw, e.request_trailers, "        \
	trailers ", e.sample, q.data, " data ", c.lines"                                           \
	" FROM exchange e LEFT JOIN body q ON q.id = e.request_body" join                          \
	" LEFT JOIN request_chunks c ON c.exchange_id = e.id WHERE e.id = ?1"

static const char *const row_sql[] = {
	[STORE_EXCHANGES] = ROW_SQL("e.status", "e.response_headers", "e.response_size",
				    "e.response_trailers", "r.data",
				    " LEFT JOIN body r ON r.id = e.response_body"),
	[STORE_REQUESTS] = ROW_SQL("NULL", "NULL", "NULL", "NULL", "NULL", ""),
};

#define ORDER_SQL(also)                                                                            \
	"SELECT id, ts_us FROM exchange WHERE (ts_us, id) > (?1, ?2) AND id <= ?3" also           \
	" ORDER BY ts_us, id"

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

static int json_fields(struct store_source *r, struct span text, json_t **ret_json,
		       uint32_t *ret_n)
{
	json_t *list = json_loadb((const char *)text.p, text.len, JSON_ALLOW_NUL, NULL);
	json_t *pair;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > LIMIT_FIELDS)
		goto bad;
	json_array_foreach(list, i, pair) {
		json_t *name = json_array_get(pair, 0);
		json_t *value = json_array_get(pair, 1);

		if (!json_is_string(name) || !json_is_string(value))
			goto bad;
		r->headers[i].name = span_of(json_string_value(name), json_string_length(name));
		r->headers[i].value = span_of(json_string_value(value), json_string_length(value));
	}
	*ret_n = (uint32_t)json_array_size(list);
	*ret_json = list; /* moved */
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
static bool plain_fields(struct store_source *r, struct span text, uint32_t *ret_n)
{
	const uint8_t *p = text.p, *end = text.p + text.len;
	uint32_t n = 0;
	uint8_t *to;

	buf_clear(&r->unescaped);
	if (text.len < 2 || *p++ != '[' || buf_reserve(&r->unescaped, text.len))
		return false;
	to = r->unescaped.data;
	while (p < end && *p == '[' && n < LIMIT_FIELDS) {
		p = plain_string(p + 1, end, &to, &r->headers[n].name);
		if (!p || p == end || *p != ',')
			return false;
		p = plain_string(p + 1, end, &to, &r->headers[n].value);
		if (!p || end - p < 2 || *p != ']')
			return false;
		n++;
		if (*++p != ',')
			break;
		p++;
	}
	if (end - p != 1 || *p != ']' || p[-1] == ',')
		return false;
	*ret_n = n;
	return true;
}

/* [[name, value], ...] into r->headers; the spans are good until the next call, and until *ret_json
 * (which may be NULL) is released. */
static int read_fields(struct store_source *r, struct span text, json_t **ret_json,
		       uint32_t *ret_n)
{
	if (plain_fields(r, text, ret_n)) {
		*ret_json = NULL;
		return SC_OK;
	}
	return json_fields(r, text, ret_json, ret_n);
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

/* The trailer section as it would stand on the wire; its spacing is not kept. */
static int set_trailers(struct store_source *r, struct message *m, struct span text)
{
	struct field *fields = NULL;
	json_t *json = NULL;
	struct buf bytes;
	uint32_t n;
	int rc = read_fields(r, text, &json, &n);

	if (rc)
		return rc;
	buf_init(&bytes, LIMIT_TRAILER_BYTES);
	fields = malloc((n + 1) * sizeof(*fields));
	rc = fields ? SC_OK : SC_ENOMEM;
	for (uint32_t i = 0; i < n && !rc; i++) {
		struct header *h = &r->headers[i];
		uint32_t at = (uint32_t)bytes.len;

		fields[i].name = (struct slice){at, (uint32_t)h->name.len};
		fields[i].value = (struct slice){at + (uint32_t)h->name.len + 2,
						 (uint32_t)h->value.len};
		rc = buf_add_span(&bytes, h->name);
		if (!rc)
			rc = buf_add_str(&bytes, ": ");
		if (!rc)
			rc = buf_add_span(&bytes, h->value);
		if (!rc)
			rc = buf_add_str(&bytes, "\r\n");
	}
	if (!rc)
		rc = message_set_trailer(m, bytes.data, (uint32_t)bytes.len, fields, n);
	free(fields);
	buf_done(&bytes);
	json_decref(json);
	return rc;
}

/* Whether the last transfer coding is chunked (RFC 9112, 6.1). */
static bool is_chunked(const struct message *m)
{
	struct span last = span_str("");
	int i;

	for (i = message_find(m, "Transfer-Encoding", 0); i >= 0;
	     i = message_find(m, "Transfer-Encoding", (uint32_t)i + 1))
		last = message_value(m, (uint32_t)i);
	if (last.len < 7)
		return false;
	if (last.len > 7 && !strchr(", \t", last.p[last.len - 8]))
		return false;
	return span_case_eq(span_of(last.p + last.len - 7, 7), span_str("chunked"));
}

static void set_flags(struct message *m, enum exchange_state state)
{
	unsigned flags = is_chunked(m) ? MESSAGE_CHUNKED : 0;

	if (m->body.len < m->body_size)
		flags |= state == EXCHANGE_GAP ? MESSAGE_GAP : MESSAGE_CAPPED;
	m->flags = (uint16_t)(m->flags | flags);
}

static int head_from_parts(struct store_source *r, size_t body_max, struct message **ret)
{
	sqlite3_stmt *q = r->row;
	json_t *json = NULL;
	struct buf target;
	uint32_t n;
	int rc = read_fields(r, column(q, REQUEST_HEADERS), &json, &n);

	if (rc)
		return rc;
	buf_init(&target, LIMIT_HEAD_BYTES);
	rc = buf_add_span(&target, column(q, PATH));
	if (!rc && !column_is_null(q, QUERY))
		rc = buf_add_str(&target, "?");
	if (!rc)
		rc = buf_add_span(&target, column(q, QUERY));
	if (!rc)
		rc = message_build_request(column(q, METHOD), buf_span(&target),
					   column(q, VERSION), r->headers, n, body_max, ret);
	buf_done(&target);
	json_decref(json);
	return rc;
}

static int read_request(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	struct span body = column(q, REQUEST_DATA), raw = column(q, REQUEST_RAW);
	struct message *m;
	int rc;

	if (column_is_null(q, REQUEST_RAW))
		rc = head_from_parts(r, body_ceiling(body), &ex->request);
	else
		rc = message_parse(raw.p, raw.len, body_ceiling(body), &ex->request);
	if (rc || ex->request->status)
		return message_failed(r, rc, "its method, path, version, request_headers or"
				      " request_raw make no request", err);
	m = ex->request;
	rc = set_body(m, body, sqlite3_column_int64(q, REQUEST_SIZE));
	if (rc)
		return no_memory(r, err);
	if (!column_is_null(q, REQUEST_TRAILERS))
		rc = set_trailers(r, m, column(q, REQUEST_TRAILERS));
	if (rc)
		return message_failed(r, rc, "request_trailers are no [[name, value], ...]", err);
	if (!column_is_null(q, CHUNKS))
		rc = buf_add_span(&m->chunk_lines, column(q, CHUNKS));
	if (rc)
		return message_failed(r, rc, "request_chunks.lines are too long", err);
	set_flags(m, ex->state);
	m->first_us = ex->ts_us;
	return SC_OK;
}

static bool leaves_http(const struct message *request, const struct message *response)
{
	return response->status == 101 || (response->status / 100 == 2 &&
					   span_eq(message_method(request), span_str("CONNECT")));
}

/* The reason phrase is not kept. */
static int read_response(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	struct span body = column(q, RESPONSE_DATA);
	int64_t status = sqlite3_column_int64(q, STATUS);
	json_t *json = NULL;
	struct message *m;
	uint32_t n;
	int rc;

	if (status < 1 || status > 999)
		return bad_row(r, "status is not within 1..999", err);
	rc = read_fields(r, column(q, RESPONSE_HEADERS), &json, &n);
	if (!rc)
		rc = message_build_response((uint16_t)status, span_str(""), span_str("1.1"),
					    r->headers, n, body_ceiling(body), &ex->response);
	json_decref(json);
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
	set_flags(m, ex->state);
	if (leaves_http(ex->request, m))
		m->flags |= MESSAGE_UPGRADE;
	m->first_us = ex->ttfb_us < 0 ? 0 : ex->ts_us + ex->ttfb_us;
	m->last_us = ex->duration_us < 0 ? 0 : ex->ts_us + ex->duration_us;
	return SC_OK;
}

static int intern_route(struct store_source *r, const char **ret, struct err *err)
{
	struct span text = column(r->row, ROUTE);
	struct route *route;

	if (column_is_null(r->row, ROUTE))
		return SC_OK;
	for (route = r->routes; route; route = route->next) {
		if (span_eq(span_str(route->text), text))
			break;
	}
	if (!route) {
		if (r->n_routes >= LIMIT_RULES)
			return bad_row(r, "is of one route too many", err);
		route = malloc(sizeof(*route) + text.len + 1);
		if (!route)
			return no_memory(r, err);
		memcpy(route->text, text.p, text.len);
		route->text[text.len] = '\0';
		route->next = r->routes;
		r->routes = route;
		r->n_routes++;
	}
	*ret = route->text;
	return SC_OK;
}

static void read_end(sqlite3_stmt *q, enum column address, enum column port, struct addr *ret)
{
	const unsigned char *text = sqlite3_column_text(q, (int)address);

	ret->port = (uint16_t)sqlite3_column_int(q, (int)port);
	if (text)
		(void)addr_parse((const char *)text, ret); /* not known is a value, too */
}

static uint64_t read_connection(const struct store_source *r)
{
	int64_t both[2] = {sqlite3_column_int64(r->row, CAPTURE_ID),
			   sqlite3_column_int64(r->row, CONNECTION)};

	/* Sixty-three bits, so that it is stored again as a positive number. */
	return r->several ? hash_bytes(both, sizeof(both), 0) >> 1 : (uint64_t)both[1];
}

static int64_t read_time(sqlite3_stmt *q, enum column c)
{
	return column_is_null(q, c) ? -1 : sqlite3_column_int64(q, (int)c);
}

static int read_exchange(struct store_source *r, struct exchange *ex, struct err *err)
{
	sqlite3_stmt *q = r->row;
	const unsigned char *state = sqlite3_column_text(q, STATE);
	int rc;

	ex->id = sqlite3_column_int64(q, ID);
	ex->ts_us = sqlite3_column_int64(q, TS_US);
	ex->connection = read_connection(r);
	ex->position = (uint32_t)sqlite3_column_int64(q, POSITION);
	ex->scheme = span_eq(column(q, SCHEME), span_str("https")) ? "https" : "http";
	ex->ttfb_us = read_time(q, TTFB_US);
	ex->duration_us = read_time(q, DURATION_US);
	ex->sample = column_is_null(q, SAMPLE) ? 100 : sqlite3_column_double(q, SAMPLE);
	read_end(q, CLIENT, CLIENT_PORT, &ex->client);
	read_end(q, SERVER, SERVER_PORT, &ex->server);
	if (!state || exchange_state_parse((const char *)state, &ex->state))
		return bad_row(r, "state is none of complete, no-response, truncated, gap", err);
	rc = intern_route(r, &ex->route, err);
	if (!rc)
		rc = read_request(r, ex, err);
	if (!rc && !column_is_null(q, STATUS))
		rc = read_response(r, ex, err);
	return rc;
}

/* 1: r->at_id is the next one. 0: the end. */
static int next_id(struct store_source *r, struct err *err)
{
	int step, rc = 0;

	if (!r->running) {
		if (sqlite3_bind_int64(r->order, 1, r->at_ts) ||
		    sqlite3_bind_int64(r->order, 2, r->at_id))
			return db_fail(r->st, err);
		r->running = true;
		r->in_batch = 0;
	}
	step = sqlite3_step(r->order);
	if (step == SQLITE_ROW) {
		r->at_id = sqlite3_column_int64(r->order, 0);
		r->at_ts = sqlite3_column_int64(r->order, 1);
		/* Without the index a new batch would sort everything again. */
		if (++r->in_batch >= BATCH && r->indexed) {
			(void)sqlite3_reset(r->order);
			r->running = false;
		}
		return 1;
	}
	if (step != SQLITE_DONE)
		rc = db_fail(r->st, err);
	r->stopped = true;
	(void)sqlite3_reset(r->order);
	return rc;
}

static int source_read(struct source *s, struct exchange **ret, struct err *err)
{
	struct store_source *r = (struct store_source *)s;
	struct exchange *ex = NULL;
	int rc, step;

	while (!r->stopped) {
		rc = next_id(r, err);
		if (rc <= 0)
			return rc;
		if (sqlite3_bind_int64(r->row, 1, r->at_id))
			return db_fail(r->st, err);
		step = sqlite3_step(r->row);
		if (step == SQLITE_DONE) { /* deleted meanwhile */
			(void)sqlite3_reset(r->row);
			continue;
		}
		ex = step == SQLITE_ROW ? exchange_new() : NULL;
		if (step != SQLITE_ROW)
			rc = db_fail(r->st, err);
		else
			rc = ex ? read_exchange(r, ex, err) : no_memory(r, err);
		(void)sqlite3_reset(r->row);
		if (rc) {
			exchange_free(ex);
			return rc;
		}
		*ret = ex; /* moved */
		return 1;
	}
	return 0;
}

static void source_end(struct source *s)
{
	struct store_source *r = (struct store_source *)s;

	r->stopped = true;
	(void)sqlite3_reset(r->order);
}

static void source_done(struct source *s)
{
	struct store_source *r = (struct store_source *)s;

	sqlite3_finalize(r->order);
	sqlite3_finalize(r->row);
	while (r->routes) {
		struct route *next = r->routes->next;

		free(r->routes);
		r->routes = next;
	}
	buf_done(&r->unescaped);
	free(r);
}

static const struct source_ops source_ops = {
	.next = source_read,
	.stop = source_end,
	.free = source_done,
};

static int source_prepare(struct store_source *r, int64_t capture_id, struct err *err)
{
	struct store *st = r->st;
	int64_t found = 1, last, indexed, captures;
	int rc = SC_OK;

	if (capture_id) {
		sqlite3_stmt *q = NULL;

		rc = db_prepare(st, "SELECT 1 FROM capture WHERE id = ?1", &q, err);
		if (rc)
			return rc;
		(void)sqlite3_bind_int64(q, 1, capture_id);
		found = sqlite3_step(q) == SQLITE_ROW;
		sqlite3_finalize(q);
	}
	if (!found)
		return err_set(err, SC_EINVAL, "%s: has no capture %" PRId64, st->path, capture_id);
	rc = db_integer(st, "SELECT max(id) FROM exchange", &last, err);
	if (!rc)
		rc = db_integer(st, "SELECT count(*) FROM capture", &captures, err);
	if (!rc)
		rc = db_integer(st, "SELECT count(*) FROM sqlite_schema WHERE type = 'index'"
				" AND name = 'exchange_time'", &indexed, err);
	if (!rc)
		rc = db_prepare(st, capture_id ? ORDER_SQL(" AND capture_id = ?4") : ORDER_SQL(""),
				&r->order, err);
	if (!rc)
		rc = db_prepare(st, row_sql[r->parts], &r->row, err);
	if (rc)
		return rc;
	if (sqlite3_bind_int64(r->order, 3, last) ||
	    (capture_id && sqlite3_bind_int64(r->order, 4, capture_id)))
		return db_fail(st, err);
	r->indexed = indexed != 0;
	r->several = capture_id == 0 && captures > 1;
	return SC_OK;
}

int store_source_new(struct store *st, int64_t capture_id, enum store_parts parts,
		     struct source **ret, struct err *err)
{
	struct store_source *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	r->source.ops = &source_ops;
	r->st = st;
	r->parts = parts;
	r->at_ts = r->at_id = INT64_MIN;
	buf_init(&r->unescaped, 6u * LIMIT_HEAD_BYTES + 16u * LIMIT_FIELDS);
	rc = source_prepare(r, capture_id, err);
	if (rc) {
		source_done(&r->source);
		return rc;
	}
	*ret = &r->source; /* moved */
	return SC_OK;
}
