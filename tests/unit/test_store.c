/* SPDX-License-Identifier: Apache-2.0 */
/* The store: what goes in comes out again, in order, bodies once, a transaction at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limits.h"
#include "store_fixture.h"

static void assert_same_body(const struct message *a, const struct message *b)
{
	assert_int_equal(a->body.len, b->body.len);
	if (a->body.len)
		assert_memory_equal(a->body.data, b->body.data, a->body.len);
	assert_int_equal(a->body_size, b->body_size);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->n_trailer_fields, b->n_trailer_fields);
	for (uint32_t i = 0; i < a->n_trailer_fields; i++) {
		const struct field *f = &a->trailer_fields[i], *g = &b->trailer_fields[i];

		assert_int_equal(f->value.len, g->value.len);
		assert_memory_equal(a->trailer + f->value.off, b->trailer + g->value.off,
				    f->value.len);
	}
}

static void assert_same_response(const struct message *a, const struct message *b)
{
	assert_int_equal(!a, !b);
	if (!a || !b)
		return;
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->n_fields, b->n_fields);
	for (uint32_t i = 0; i < a->n_fields; i++) {
		assert_true(span_eq(message_name(a, i), message_name(b, i)));
		assert_true(span_eq(message_value(a, i), message_value(b, i)));
	}
	assert_same_body(a, b);
}

static void assert_same(const struct exchange *a, const struct exchange *b)
{
	const struct message *q = a->request, *r = b->request;

	assert_true(a->ts_us == b->ts_us && a->connection == b->connection);
	assert_int_equal(a->position, b->position);
	assert_true(addr_same_host(&a->client, &b->client) &&
		    addr_same_host(&a->server, &b->server));
	assert_int_equal(a->client.port, b->client.port);
	assert_int_equal(a->server.port, b->server.port);
	assert_string_equal(a->scheme, b->scheme);
	assert_true(a->ttfb_us == b->ttfb_us && a->duration_us == b->duration_us);
	assert_int_equal(a->state, b->state);
	assert_true(a->sample >= b->sample && a->sample <= b->sample);
	assert_int_equal(!a->route, !b->route);
	if (a->route)
		assert_string_equal(a->route, b->route);
	assert_int_equal(q->head_len, r->head_len);
	assert_memory_equal(q->head, r->head, q->head_len);
	assert_same_body(q, r);
	assert_true(span_eq(buf_span(&q->chunk_lines), buf_span(&r->chunk_lines)));
	assert_same_response(a->response, b->response);
}

#define BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}

static const struct round_trip {
	struct span request, request_body, response, response_body;
	const char *path, *query; /* as stored; query NULL: none */
	enum exchange_state state;
	bool raw; /* the head is kept */
} round_trips[] = {
	{BYTES("GET /a?b=c HTTP/1.1\r\nHost: h:81\r\nX: 1\r\nx: 2\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), BYTES("hello"), "/a", "b=c", EXCHANGE_COMPLETE,
	 false},
	{BYTES("GET /a? HTTP/1.0\r\n\r\n"), {0}, BYTES("HTTP/1.0 404 No\r\n\r\n"), {0},
	 "/a", "", EXCHANGE_COMPLETE, false},
	{BYTES("PUT / HTTP/1.1\r\nEmpty: \r\n\r\n"), BYTES("a\0b\0\0"), {0}, {0},
	 "/", NULL, EXCHANGE_NO_RESPONSE, false},
	{BYTES("GET / HTTP/1.1\nHost: bare\n\n"), {0}, BYTES("HTTP/1.1 200 OK\n\n"), {0},
	 "/", NULL, EXCHANGE_COMPLETE, true},
	{BYTES("GET /caf\xe9?\xff HTTP/1.1\r\nHost: \xe4\r\n\r\n"), {0}, {0}, {0},
	 "/caf\xc3\xa9", "\xc3\xbf", EXCHANGE_NO_RESPONSE, true},
	{BYTES("GET /caf\xc3\xa9 HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"), {0}, {0}, {0},
	 "/caf\xc3\xa9", NULL, EXCHANGE_NO_RESPONSE, false},
	{BYTES("GET /x HTTP/1.1\r\nA: \xe9t\xe9\r\nB:tight\r\n\r\n"), {0}, {0}, {0},
	 "/x", NULL, EXCHANGE_GAP, true},
	{BYTES("GET /x HTTP/1.1\r\nFold: a\r\n  b\r\nTab:\ta\r\nNul: a\0b\r\n\r\n"), {0}, {0}, {0},
	 "/x", NULL, EXCHANGE_GAP, true},
	{BYTES("GET http://other:8/p?q HTTP/1.1\r\nHost: h\r\n\r\n"), {0}, {0}, {0},
	 "/p", "q", EXCHANGE_NO_RESPONSE, true},
	{BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 407 Auth\r\n\r\n"), {0}, "h:443", NULL, EXCHANGE_COMPLETE, false},
	{BYTES("OPTIONS * HTTP/1.1\r\nQuote: \"\\\x01\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 599 \r\nQuote: \"\\\x7f\r\nEmpty: \r\n\r\n"), BYTES("\x1f\x8b\x08"),
	 "*", NULL, EXCHANGE_COMPLETE, false},
	{BYTES("GET  /two HTTP/1.2\r\n\r\n"), {0}, {0}, {0}, "/two", NULL, EXCHANGE_NO_RESPONSE,
	 true},
};
#define N_ROUND_TRIPS (sizeof(round_trips) / sizeof(round_trips[0]))

static struct exchange *make_round_trip(const struct round_trip *c, unsigned i)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	ex->ts_us = T0 + i;
	ex->connection = i;
	ex->position = i;
	assert_int_equal(addr_parse(i % 2 ? "2001:db8::1" : "10.0.0.1", &ex->client), SC_OK);
	assert_int_equal(addr_parse(i % 2 ? "::ffff:1.2.3.4" : "255.0.255.1", &ex->server), SC_OK);
	ex->client.port = (uint16_t)(65535 - i);
	ex->server.port = 8080;
	ex->scheme = i % 3 ? "http" : "https";
	ex->state = c->state;
	ex->sample = 12.5;
	ex->route = i % 2 ? "GET /a*" : i % 3 ? "~^/b" : NULL;
	ex->request = make_message(c->request, c->request_body);
	if (c->response.p) {
		ex->response = make_message(c->response, c->response_body);
		ex->ttfb_us = 0;
		ex->duration_us = i;
	}
	return ex;
}

static void test_round_trip(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	struct source *source;
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (unsigned i = 0; i < N_ROUND_TRIPS; i++)
		put(sink, make_round_trip(&round_trips[i], i));
	finish(sink);
	source = begin_source(st, id);
	for (unsigned i = 0; i < N_ROUND_TRIPS; i++) {
		const struct round_trip *c = &round_trips[i];
		struct exchange *want = make_round_trip(c, i), *got = read_one(source);
		char sql[128], expected[128];

		assert_non_null(got);
		assert_same(want, got);
		(void)snprintf(sql, sizeof(sql), "SELECT path, query, request_raw IS NOT NULL"
			       " FROM exchange WHERE id = %lld", (long long)got->id);
		(void)snprintf(expected, sizeof(expected), "%s|%s|%d\n", c->path,
			       c->query ? c->query : "~", c->raw);
		assert_rows_of(st, sql, expected);
		exchange_free(want);
		exchange_free(got);
	}
	assert_null(read_one(source));
	source_free(source);
	store_close(st);
	assert_rows(p->path, "SELECT count(*) FROM exchange WHERE NOT json_valid(request_headers)"
		    " OR NOT json_valid(coalesce(response_headers, '[]'))", "0\n");
	assert_rows(p->path, "PRAGMA integrity_check", "ok\n");
}

/* Heads that are as the last one, wholly or but for the start line, and others between them. */
static struct exchange *make_repeated(unsigned i)
{
	static const char *const requests[] = {
		"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
		"GET /a HTTP/1.1\nHost: h\r\n\r\n",
		"GET http://x HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /\xe9 HTTP/1.1\r\nHost: \xe9\r\n\r\n",
		"PUT /a HTTP/1.1\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: g\r\n\r\n",
	};
	static const char *const responses[] = {
		"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 201 OK\r\nA: b\r\n\r\n", NULL,
		"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA: c\r\n\r\n",
	};
	unsigned n = i / 3 * 2654435761u; /* each three times */
	struct exchange *ex = make_exchange(T0 + i, requests[n >> 29], responses[n / 8 % 5]);

	ex->client.ip[3] = (uint8_t)(n >> 12 & 1);
	ex->connection = i;
	if (ex->response)
		set_body(ex->response, span_of(&"abc"[i % 3], 1));
	return ex;
}

static void test_repeated_heads(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	struct source *source;
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (unsigned i = 0; i < 600; i++)
		put(sink, make_repeated(i));
	finish(sink);
	source = begin_source(st, id);
	for (unsigned i = 0; i < 600; i++) {
		struct exchange *want = make_repeated(i), *got = read_one(source);

		assert_non_null(got);
		assert_same(want, got);
		exchange_free(want);
		exchange_free(got);
	}
	source_free(source);
	assert_rows_of(st,
		       "SELECT count(*) FROM exchange WHERE (request_raw IS NOT NULL) <> (version ="
		       " '1.1' AND (path IN ('/', '/\xc3\xa9') OR CAST(request_raw AS TEXT) LIKE"
		       " 'GET /a HTTP/1.1' || char(10) || '%'))",
		       "0\n");
	store_close(st);
}

/* What make_exchange() alone does not reach: chunks, trailers, capped bodies, flags. */
static struct exchange *make_chunked(void)
{
	static const struct field field = {{0, 8}, {10, 3}};
	struct exchange *ex = make_exchange(T0, "POST /c HTTP/1.1\r\n"
					    "Transfer-Encoding: gzip, Chunked\r\n\r\n",
					    "HTTP/1.1 101 Switching\r\n\r\n");
	struct message *m = ex->request;

	set_body(m, span_str("abcd"));
	m->flags = MESSAGE_CHUNKED;
	assert_int_equal(buf_add_str(&m->chunk_lines, "03\r\n1;\xe9\n0\r\n"), SC_OK);
	assert_int_equal(message_set_trailer(m, (const uint8_t *)"Checksum: \xe9t\xe9\r\n", 15,
					     NULL, 0), SC_OK);
	assert_int_equal(
		message_set_trailer(m, (const uint8_t *)"Checksum: abc\r\n", 15, &field, 1), SC_OK);
	ex->response->flags = MESSAGE_UPGRADE;
	return ex;
}

static struct exchange *make_capped(enum exchange_state state, unsigned flag)
{
	struct exchange *ex = make_exchange(T0 + 1, "POST /c HTTP/1.1\r\n\r\n",
					    "HTTP/1.1 200 OK\r\n\r\n");

	ex->state = state;
	set_body(ex->request, span_str("abc"));
	ex->request->body_size = 5000000000ull;
	ex->request->flags = (uint16_t)flag;
	ex->response->body_size = 1; /* and nothing of it was kept */
	ex->response->flags = (uint16_t)flag;
	return ex;
}

static void test_framing(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	struct exchange *want[3] = {make_chunked(), make_capped(EXCHANGE_TRUNCATED, MESSAGE_CAPPED),
				    make_capped(EXCHANGE_GAP, MESSAGE_GAP)};
	struct source *source;
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	put(sink, make_chunked());
	put(sink, make_capped(EXCHANGE_TRUNCATED, MESSAGE_CAPPED));
	put(sink, make_capped(EXCHANGE_GAP, MESSAGE_GAP));
	finish(sink);
	source = begin_source(st, 0);
	for (int i = 0; i < 3; i++) {
		struct exchange *got = read_one(source);

		assert_non_null(got);
		assert_same(want[i], got);
		exchange_free(got);
		exchange_free(want[i]);
	}
	source_free(source);
	assert_rows_of(st, "SELECT hex(lines) FROM request_chunks",
		       "30330D0A313BE90A300D0A\n");
	assert_rows_of(st, "SELECT request_trailers, response_trailers, request_size, response_size"
		       " FROM exchange ORDER BY id", "[[\"Checksum\",\"abc\"]]|~|4|0\n"
		       "~|~|5000000000|1\n~|~|5000000000|1\n");
	store_close(st);
}

static void test_bodies_are_kept_once(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	static uint8_t large[100000];
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	char text[16];

	for (int i = 0; i < 3000; i++) {
		struct exchange *ex = make_exchange(T0 + i, "POST / HTTP/1.1\r\n\r\n",
						    "HTTP/1.1 200 OK\r\n\r\n");

		/* 1,500 short ones twice each, in an order in which none repeats soon; 3 long. */
		(void)snprintf(text, sizeof(text), "body %d", i % 1500);
		set_body(ex->request, span_str(text));
		large[50000] = (uint8_t)(i % 3);
		set_body(ex->response, span_of(large, i % 100 ? 0 : sizeof(large)));
		put(sink, ex);
	}
	finish(sink);
	store_close(st);
	assert_rows(p->path, "SELECT count(*), count(DISTINCT data), min(size), max(size),"
		    " sum(size <> length(data)) FROM body", "1503|1503|6|100000|0\n");
	assert_rows(
		p->path,
		"SELECT count(*) FROM exchange e JOIN body b ON b.id = e.request_body"
		" WHERE CAST(b.data AS TEXT) <> 'body ' || ((e.ts_us - 1790000000123456) % 1500)",
		"0\n");
	assert_rows(p->path, "SELECT count(*) FROM exchange WHERE response_body IS NULL", "2970\n");
}

static void test_transactions(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	struct store *other = open_store(p->path, STORE_READ);
	struct err err = {""};
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	static const char count[] = "SELECT count(*) FROM exchange";

	for (unsigned i = 0; i <= LIMIT_TRANSACTION_ROWS; i++)
		put(sink, make_exchange(T0 + i, "GET / HTTP/1.1\r\n\r\n", NULL));
	assert_rows_of(other, count, "2000\n");
	assert_int_equal(sink_tick(sink, T0, &err), SC_OK);
	assert_int_equal(sink_tick(sink, T0 + LIMIT_TRANSACTION_US - 1, &err), SC_OK);
	assert_rows_of(other, count, "2000\n");
	assert_int_equal(sink_tick(sink, T0 + LIMIT_TRANSACTION_US, &err), SC_OK);
	assert_rows_of(other, count, "2001\n");
	put(sink, make_exchange(T0, "GET / HTTP/1.1\r\n\r\n", NULL));
	sink_free(sink); /* not finished: abandons */
	assert_rows_of(other, count, "2001\n");
	store_close(st);
	store_close(other);
}

static void test_reopened_and_ordered(void **state)
{
	struct place *p = *state;
	uint64_t connections[3];
	struct source *source;
	struct store *st;
	struct err err = {""};
	int64_t ids[2];

	for (int i = 0; i < 2; i++) {
		struct sink *sink;

		st = open_store(p->path, STORE_CREATE);
		sink = begin_capture(st, &ids[i]);
		put(sink, make_exchange(T0 + 10 - 4 * i, "GET /last HTTP/1.1\r\n\r\n", NULL));
		if (i == 1)
			put(sink, make_exchange(T0, "GET /first HTTP/1.1\r\n\r\n", NULL));
		finish(sink);
		assert_int_equal(store_capture_end(st, ids[i], i ? T0 + 5000000 : 0, "{\"a\": 1}",
						   &err), SC_OK);
		store_close(st);
	}
	st = open_store(p->path, STORE_READ);
	source = begin_source(st, 0);
	for (int i = 0; i < 3; i++) {
		static const int64_t order[] = {T0, T0 + 6, T0 + 10};
		struct exchange *ex = read_one(source);

		assert_non_null(ex);
		assert_true(ex->ts_us == order[i]);
		connections[i] = ex->connection;
		exchange_free(ex);
	}
	assert_null(read_one(source));
	assert_true(connections[0] == connections[1] && connections[1] != connections[2]);
	source_free(source);
	source = begin_source(st, ids[0]);
	exchange_free(read_one(source));
	assert_null(read_one(source));
	source_free(source);
	assert_int_equal(store_source_new(st, 99, STORE_EXCHANGES, &source, &err), SC_EINVAL);
	assert_rows_of(
		st, "SELECT id, started_at, ended_at, source, options, ledger FROM capture",
		"1|2026-09-21T14:13:20.123456Z|~|lo|{\"port\": 80}|{\"a\": 1}\n"
		"2|2026-09-21T14:13:20.123456Z|2026-09-21T14:13:25.123456Z|lo|{\"port\": 80}|"
		"{\"a\": 1}\n");
	store_close(st);
}

/* More exchanges than a batch of the source, many of the same microsecond, read while results are
 * written through another handle. */
static void test_source_in_batches(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE), *reading;
	struct result_sink *results = NULL;
	struct source *source;
	struct exchange *ex;
	struct err err = {""};
	int64_t id, last_ts = 0, last_id = 0;
	struct sink *sink = begin_capture(st, &id);
	unsigned n = 0;

	for (int i = 0; i < 3000; i++)
		put(sink,
		    make_exchange(T0 + (i * 7919 % 3000) / 700, "GET / HTTP/1.1\r\n\r\n", NULL));
	finish(sink);
	reading = open_store(p->path, STORE_READ);
	source = begin_source(reading, 0);
	assert_int_equal(
		store_replay_new(st, T0, "http://t", "{}", SAVE_STATUS, &id, &results, &err),
		SC_OK);
	while ((ex = read_one(source))) {
		struct result *r = result_new();

		assert_non_null(r);
		assert_true(ex->ts_us > last_ts || (ex->ts_us == last_ts && ex->id > last_id));
		last_ts = ex->ts_us;
		last_id = ex->id;
		r->exchange_id = ex->id;
		exchange_free(ex);
		assert_int_equal(results->ops->put(results, r, &err), SC_OK);
		n++;
	}
	assert_int_equal(n, 3000);
	assert_int_equal(results->ops->finish(results, T0, &err), SC_OK);
	results->ops->free(results);
	source_free(source);
	store_close(reading);
	store_close(st);
	assert_rows(p->path, "SELECT count(*), count(DISTINCT exchange_id) FROM result",
		    "3000|3000\n");
}

/* Rows that somebody else spoiled are named, and cost nothing but an error. */
static void test_spoiled_rows(void **state)
{
	static const struct {
		const char *sql, *word;
	} cases[] = {
		{"UPDATE exchange SET request_headers = '[1' WHERE id = 2", "request_headers"},
		{"UPDATE exchange SET request_headers = '[[\"a\"]]' WHERE id = 2",
		 "request_headers"},
		{"UPDATE exchange SET request_headers = '[[\"a\",\"b\"][\"c\",\"d\"]]' WHERE id = "
		 "2",
		 "request_headers"},
		{"UPDATE exchange SET request_headers = '[[\"a\",\"b\"],]' WHERE id = 2",
		 "request_headers"},
		{"UPDATE exchange SET response_headers = 5 WHERE id = 2", "response_headers"},
		{"UPDATE exchange SET status = 70000 WHERE id = 2", "status"},
		{"UPDATE exchange SET state = 'odd' WHERE id = 2", "state"},
		{"UPDATE exchange SET ts_us = 253402300800000000 WHERE id >= 2", "ts_us"},
		{"UPDATE exchange SET duration_us = -2 WHERE id = 2", "duration_us"},
		{"UPDATE exchange SET request_raw = x'' WHERE id = 2", "request_raw"},
		{"UPDATE exchange SET request_trailers = '{}' WHERE id = 2", "request_trailers"},
		{"INSERT INTO request_chunks VALUES (2, zeroblob(3000000))", "request_chunks"},
	};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *ex = NULL;
		struct err err = {""};
		struct source *source;
		struct store *st;

		fill(p->path);
		run_sql(p->path, cases[i].sql);
		st = open_store(p->path, STORE_READ);
		source = begin_source(st, 0);
		exchange_free(read_one(source));
		assert_int_equal(source_next(source, &ex, &err), SC_EINVAL);
		if (!strstr(err.text, "exchange 2") || !strstr(err.text, cases[i].word))
			fail_msg("%s", err.text);
		source_free(source);
		store_close(st);
		assert_int_equal(unlink(p->path), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_round_trip),
		PLACED(test_repeated_heads),
		PLACED(test_framing),
		PLACED(test_bodies_are_kept_once),
		PLACED(test_transactions),
		PLACED(test_reopened_and_ordered),
		PLACED(test_source_in_batches),
		PLACED(test_spoiled_rows),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
