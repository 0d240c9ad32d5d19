/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations through the whole engine: what pairs with what, and what is said of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/filter.h"
#include "core/limits.h"
#include "wire.h"

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
#define OK3 "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"

static void assert_text(struct span s, const char *text)
{
	if (!span_eq(s, span_str(text)))
		fail_msg("'%.*s' is not '%s'", (int)s.len, s.p, text);
}

/* The next exchange is this one. status 0: without response. */
static void expect(struct wire *w, const char *target, unsigned status, const char *body,
		   enum exchange_state state)
{
	struct exchange *ex = engine_pop(w->engine);

	if (!ex)
		fail_msg("no exchange, expected %s", target);
	assert_text(message_target(ex->request), target);
	if (ex->state != state)
		fail_msg("%s: %s, expected %s", target, exchange_state_name(ex->state),
			 exchange_state_name(state));
	assert_int_equal(ex->response ? ex->response->status : 0, status);
	if (status)
		assert_text(buf_span(&ex->response->body), body);
	assert_int_equal(ex->scheme[0], 'h');
	assert_int_equal(ex->client.port == 80, 0);
	exchange_free(ex);
}

static void expect_none(struct wire *w)
{
	assert_null(engine_pop(w->engine));
}

struct row {
	const char *request;
	const char *response;
	bool fin; /* the server's, after the response */
	const char *target;
	unsigned status;
	const char *body;
	enum exchange_state state;
};

static const struct row rows[] = {
	{GET, OK3, false, "/a", 200, "abc", EXCHANGE_COMPLETE},
	{POST, OK3, false, "/p", 200, "abc", EXCHANGE_COMPLETE},
	{"\r\n\r\n" GET, OK3, false, "/a", 200, "abc", EXCHANGE_COMPLETE},
	{"GET /lf HTTP/1.1\nHost: h\n\n", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", false, "/lf", 200,
	 "x", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=\"q\"\r\nabc\r\nA\r\n0\r\n\r\n56789\r\n"
	 "0\r\nTrail: er\r\n\r\n", false, "/a", 200, "abc0\r\n\r\n56789", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK3, false, "/a",
	 200, "abc", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", false, "/a", 204, "",
	 EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, "/a", 304, "",
	 EXCHANGE_COMPLETE},
	{"HEAD /h HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false, "/h", 200, "",
	 EXCHANGE_COMPLETE},
	{GET, "HTTP/1.0 200 OK\r\n\r\nuntil the end", true, "/a", 200, "until the end",
	 EXCHANGE_COMPLETE},
	{GET, "HTTP/1.0 200 OK\r\n\r\nuntil the end", false, "/a", 200, "until the end", EXCHANGE_GAP},
	{GET, "HTTP/1.1 499 Odd\r\nContent-Length: 0\r\n\r\n", false, "/a", 499, "", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", false, "/a", 200, "x", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxy", false, "/a", 200, "xy",
	 EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	 false, "/a", 200, "x", EXCHANGE_COMPLETE},
	{"PROPFIND /d HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", OK3, false, "/d", 200, "abc",
	 EXCHANGE_COMPLETE},
	{"MADE-UP /m HTTP/1.1\r\n\r\n", OK3, false, "/m", 200, "abc", EXCHANGE_COMPLETE},
	{GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true, "/a", 200, "abc", EXCHANGE_GAP},
	{GET, "", false, "/a", 0, "", EXCHANGE_NO_RESPONSE},
	{GET, "HTTP/1.1 200 OK\r\nX: y", true, "/a", 0, "", EXCHANGE_NO_RESPONSE},
	{"OPTIONS * HTTP/1.1\r\n\r\n", OK3, false, "*", 200, "abc", EXCHANGE_COMPLETE},
	{"GET http://h/abs HTTP/1.1\r\nHost: h\r\n\r\n", OK3, false, "http://h/abs", 200, "abc",
	 EXCHANGE_COMPLETE},
};

/* Every conversation, cut into segments of every size. */
static void test_rows_at_every_size(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];

		for (size_t size = 1; size <= 200; size = size < 8 ? size + 1 : size * 2) {
			struct wire w;

			wire_open(&w, NULL, 1000);
			wire_pieces(&w, 0, r->request, size);
			wire_pieces(&w, 1, r->response, size);
			if (r->fin)
				wire_fin(&w, 1);
			wire_finish(&w);
			expect(&w, r->target, r->status, r->body, r->state);
			expect_none(&w);
			wire_close(&w, 1);
		}
	}
}

/* One exchange, both messages cut in two at every byte, the halves in either order. */
static void test_every_split(void **state)
{
	size_t n = strlen(POST), k = strlen(OK3);

	(void)state;
	for (size_t at = 1; at < n; at++) {
		for (int swap = 0; swap < 2; swap++) {
			struct wire w;
			size_t cut = at % (k - 1) + 1;
			uint32_t seq;

			wire_open(&w, NULL, 1000);
			seq = w.seq[0];
			if (swap) {
				wire_segment(&w, 0, seq + (uint32_t)at, 0x18, &POST[at], n - at);
				wire_segment(&w, 0, seq, 0x18, POST, at);
				wire_lose(&w, 0, n);
			} else {
				wire_send(&w, 0, POST, at);
				wire_send(&w, 0, &POST[at], n - at);
			}
			wire_send(&w, 1, OK3, cut);
			wire_send(&w, 1, &OK3[cut], k - cut);
			expect(&w, "/p", 200, "abc", EXCHANGE_COMPLETE);
			wire_close(&w, 1);
		}
	}
}

static void test_pipeline(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, GET "HEAD /b HTTP/1.1\r\n\r\n" POST GET);
	wire_text(&w, 1, OK3 "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" OK3);
	expect(&w, "/a", 200, "abc", EXCHANGE_COMPLETE);
	expect(&w, "/b", 200, "", EXCHANGE_COMPLETE);
	expect(&w, "/p", 200, "abc", EXCHANGE_COMPLETE);
	expect_none(&w);
	wire_finish(&w);
	expect(&w, "/a", 0, "", EXCHANGE_NO_RESPONSE);
	wire_close(&w, 4);
}

static void test_early_response(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, "POST /big HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234");
	wire_text(&w, 1, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	expect_none(&w);
	wire_text(&w, 0, "56789");
	expect(&w, "/big", 413, "", EXCHANGE_COMPLETE);
	wire_close(&w, 1);
}

/* A response that was lost must not shift those that follow. */
static void test_lost_response(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, "GET /1 HTTP/1.1\r\n\r\n");
	wire_text(&w, 1, OK3);
	wire_text(&w, 0, "GET /2 HTTP/1.1\r\n\r\n");
	wire_lose(&w, 1, 500);
	wire_text(&w, 0, "GET /3 HTTP/1.1\r\n\r\n");
	wire_text(&w, 1, "HTTP/1.1 203 Three\r\nContent-Length: 1\r\n\r\n3");
	w.now_us += 2 * LIMIT_HOLE_WAIT_US;
	wire_text(&w, 0, "GET /4 HTTP/1.1\r\n\r\n");
	wire_text(&w, 1, "HTTP/1.1 204 Four\r\n\r\n");
	expect(&w, "/1", 200, "abc", EXCHANGE_COMPLETE);
	expect(&w, "/2", 0, "", EXCHANGE_GAP);
	expect(&w, "/3", 203, "3", EXCHANGE_COMPLETE);
	expect(&w, "/4", 204, "", EXCHANGE_COMPLETE);
	assert_int_equal(counter_get(&w.counters, BYTES_MISSING), 500);
	wire_close(&w, 4);
}

static void test_lost_request(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, "GET /1 HTTP/1.1\r\n\r\n");
	wire_text(&w, 1, OK3);
	wire_lose(&w, 0, 40);
	wire_text(&w, 1, "HTTP/1.1 202 Two\r\nContent-Length: 0\r\n\r\n");
	wire_text(&w, 0, "GET /3 HTTP/1.1\r\n\r\n");
	w.now_us += 2 * LIMIT_HOLE_WAIT_US;
	wire_text(&w, 1, "HTTP/1.1 203 Three\r\nContent-Length: 0\r\n\r\n");
	wire_finish(&w);
	expect(&w, "/1", 200, "abc", EXCHANGE_COMPLETE);
	expect(&w, "/3", 203, "", EXCHANGE_COMPLETE);
	assert_int_equal(counter_get(&w.counters, RESPONSES_ORPHANED), 1);
	wire_close(&w, 2);
}

static void test_gap_in_body(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, GET);
	wire_text(&w, 1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
	wire_lose(&w, 1, 4);
	wire_text(&w, 1, "hij");
	wire_text(&w, 0, "GET /2 HTTP/1.1\r\n\r\n");
	w.now_us += 2 * LIMIT_HOLE_WAIT_US;
	wire_text(&w, 1, OK3);
	expect(&w, "/a", 200, "abc", EXCHANGE_GAP);
	expect(&w, "/2", 200, "abc", EXCHANGE_COMPLETE);
	wire_close(&w, 2);
}

static void test_cap(void **state)
{
	struct wire w;
	struct exchange *ex;

	(void)state;
	wire_open(&w, NULL, 4);
	wire_text(&w, 0, POST);
	wire_text(&w, 1, OK3);
	ex = engine_pop(w.engine);
	assert_non_null(ex);
	assert_int_equal(ex->state, EXCHANGE_TRUNCATED);
	assert_int_equal(ex->request->body.len, 4);
	assert_int_equal(ex->request->body_size, 5);
	exchange_free(ex);
	wire_close(&w, 1);
}

static void test_tunnels(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	wire_text(&w, 1, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello");
	wire_text(&w, 0, GET); /* not HTTP any more, whatever it looks like */
	expect(&w, "/ws", 101, "", EXCHANGE_COMPLETE);
	wire_connect(&w, 40001);
	wire_text(&w, 0, "CONNECT h:443 HTTP/1.1\r\n\r\n");
	wire_text(&w, 1, "HTTP/1.1 407 Auth\r\nContent-Length: 3\r\n\r\nno!");
	wire_text(&w, 0, "CONNECT h:443 HTTP/1.1\r\nProxy-Authorization: x\r\n\r\n");
	wire_text(&w, 1, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	wire_text(&w, 0, GET);
	expect(&w, "h:443", 407, "no!", EXCHANGE_COMPLETE);
	expect(&w, "h:443", 200, "", EXCHANGE_COMPLETE);
	wire_finish(&w);
	expect_none(&w);
	wire_close(&w, 3);
}

static void test_rst_payload(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, GET);
	wire_text(&w, 1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
	wire_rst(&w, 1, "reason!");
	wire_finish(&w);
	expect(&w, "/a", 200, "abc", EXCHANGE_GAP);
	wire_close(&w, 1);
}

static void test_port_reuse(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, GET);
	w.seq[0] += 100000;
	wire_segment(&w, 0, w.seq[0]++, TCP_SYN, NULL, 0);
	w.seq[1] += 70000;
	wire_segment(&w, 1, w.seq[1]++, TCP_SYN | TCP_ACK, NULL, 0);
	wire_text(&w, 0, POST);
	wire_text(&w, 1, OK3);
	expect(&w, "/a", 0, "", EXCHANGE_NO_RESPONSE);
	expect(&w, "/p", 200, "abc", EXCHANGE_COMPLETE);
	assert_int_equal(counter_get(&w.counters, CONNECTIONS), 2);
	wire_close(&w, 2);
}

static void test_early_rejection(void **state)
{
	struct chain chain = {0};
	struct filter *f = filter_new();
	struct err err;
	struct wire w;

	(void)state;
	assert_int_equal(filter_route(f, "/a", &err), SC_OK);
	chain_add(&chain, stage_filter_new(f));
	wire_open(&w, &chain, 1000);
	wire_text(&w, 0, POST GET);
	wire_text(&w, 1, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlong" OK3);
	expect(&w, "/a", 200, "abc", EXCHANGE_COMPLETE);
	expect_none(&w);
	assert_int_equal(counter_get(&w.counters, REQUESTS_FILTERED), 1);
	assert_int_equal(counter_get(&w.counters, RESPONSES_PAIRED), 2);
	wire_close(&w, 1);
	chain_done(&chain);
}

static void test_large_head(void **state)
{
	struct wire w;
	char *x = malloc(60000);

	(void)state;
	memset(x, 'x', 60000);
	wire_open(&w, NULL, 1000);
	wire_text(&w, 0, "GET /huge HTTP/1.1\r\nX: ");
	for (int i = 0; i < 6; i++)
		wire_send(&w, 0, x, 60000);
	wire_text(&w, 0, "\r\n\r\n");
	wire_text(&w, 0, GET); /* found again */
	wire_text(&w, 1, OK3);
	wire_finish(&w);
	assert_int_equal(counter_get(&w.counters, HEADS_TOO_LARGE), 1);
	assert_int_equal(counter_get(&w.counters, REQUESTS_UNFINISHED), 1);
	free(x);
	wire_close(&w, 0);
}

static void test_tls_and_http2(void **state)
{
	struct wire w;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_send(&w, 0, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10);
	wire_connect(&w, 40001);
	wire_text(&w, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	wire_finish(&w);
	expect_none(&w);
	assert_int_equal(counter_get(&w.counters, CONNECTIONS_TLS), 1);
	assert_int_equal(counter_get(&w.counters, CONNECTIONS_HTTP2), 1);
	assert_int_equal(counter_get(&w.counters, PACKETS_USED), 0);
	wire_close(&w, 0);
}

static void test_trailers_and_chunks(void **state)
{
	struct wire w;
	struct exchange *ex;

	(void)state;
	wire_open(&w, NULL, 1000);
	wire_pieces(&w, 0, "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n"
		    "0\r\nT1: v1\r\nT2:\r\n\r\n", 7);
	wire_text(&w, 1, OK3);
	ex = engine_pop(w.engine);
	assert_non_null(ex);
	assert_text(buf_span(&ex->request->chunk_lines), "2\r\n3\r\n0\r\nT1: v1\r\nT2:\r\n");
	assert_int_equal(ex->request->n_trailer_fields, 2);
	assert_text(span_of(ex->request->trailer, ex->request->trailer_len), "T1: v1\r\nT2:\r\n");
	assert_text(buf_span(&ex->request->body), "abcde");
	exchange_free(ex);
	/* One chunk in the usual form needs no remembering, one in another form does. */
	wire_text(&w, 0, "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "b\r\nhello world\r\n0\r\nT: v\r\n\r\n"
		  "POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "B;x=\"1\"\r\nhello world\r\n0\r\n\r\n");
	wire_text(&w, 1, OK3 OK3);
	ex = engine_pop(w.engine);
	assert_non_null(ex);
	assert_text(buf_span(&ex->request->chunk_lines), "");
	exchange_free(ex);
	ex = engine_pop(w.engine);
	assert_non_null(ex);
	assert_text(buf_span(&ex->request->chunk_lines), "B;x=\"1\"\r\n0\r\n");
	exchange_free(ex);
	wire_close(&w, 3);
}

/* Memory is bounded: what a thousand half-open uploads hold stays under the ceiling. */
static void test_memory_ceiling(void **state)
{
	struct wire w;
	static char body[30000];
	struct exchange *ex;
	unsigned n = 0;

	(void)state;
	memset(body, 'b', sizeof(body));
	wire_open(&w, NULL, 1u << 20);
	for (uint16_t i = 0; i < 1000; i++) {
		wire_connect(&w, (uint16_t)(41000 + i));
		wire_text(&w, 0, "POST /u HTTP/1.1\r\nContent-Length: 50000\r\n\r\n");
		wire_send(&w, 0, body, sizeof(body));
	}
	assert_true(counter_get(&w.counters, CONNECTIONS_EVICTED) >= 1000 - (1u << 24) / 30000 - 1);
	wire_finish(&w);
	while ((ex = engine_pop(w.engine))) {
		assert_int_equal(ex->state, EXCHANGE_GAP);
		exchange_free(ex);
		n++;
	}
	assert_int_equal(n, 1000);
	wire_close(&w, 1000);
}

/* What the hook was told, in order: the number of the exchange, its target, its body. */
struct asked {
	unsigned n;
	char text[256];
};

static void on_asked(void *arg, struct exchange *ex)
{
	struct asked *a = arg;
	size_t at = strlen(a->text);
	struct span target = message_target(ex->request);

	assert_null(ex->response);
	ex->id = ++a->n;
	snprintf(a->text + at, sizeof(a->text) - at, "%u %.*s %.*s%s; ", a->n, (int)target.len,
		 (const char *)target.p, (int)ex->request->body.len,
		 (const char *)ex->request->body.data,
		 ex->request->flags & (MESSAGE_GAP | MESSAGE_CAPPED) ? " (not whole)" : "");
}

/* An engine that tells, and a connection. */
static void open_asking(struct wire *w, struct chain *early, struct asked *asked)
{
	struct engine_options o = {
		.body_max = 8,
		.memory = 1u << 24,
		.early = early,
		.counters = &w->counters,
		.asked = on_asked,
		.asked_arg = asked,
	};

	wire_begin(w, early, 8);
	engine_free(w->engine);
	w->engine = engine_new(&o);
	assert_non_null(w->engine);
	wire_connect(w, 40000);
}

static void test_asked_before_the_answer(void **state)
{
	struct asked asked = {0};
	struct wire w;

	(void)state;
	open_asking(&w, NULL, &asked);
	wire_text(&w, 0, GET);
	assert_string_equal(asked.text, "1 /a ; ");
	expect_none(&w);
	/* Not before all of its body is there, and in order where several come at once. */
	wire_text(&w, 0, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
	assert_int_equal(asked.n, 1);
	wire_text(&w, 0, "lo" GET);
	assert_string_equal(asked.text, "1 /a ; 2 /p hello; 3 /a ; ");
	wire_text(&w, 1, OK3 OK3);
	expect(&w, "/a", 200, "abc", EXCHANGE_COMPLETE);
	expect(&w, "/p", 200, "abc", EXCHANGE_COMPLETE);
	wire_finish(&w);
	expect(&w, "/a", 0, "", EXCHANGE_NO_RESPONSE); /* a poll whose answer never came */
	assert_int_equal(asked.n, 3);
	wire_close(&w, 3);
}

static void test_asked_once_and_only_when_wanted(void **state)
{
	struct chain early = {0};
	struct asked asked = {0};
	struct filter *f = filter_new();
	struct err err;
	struct exchange *ex;
	struct wire w;

	(void)state;
	assert_int_equal(filter_route(f, "/a*", &err), SC_OK);
	assert_int_equal(chain_add(&early, stage_filter_new(f)), SC_OK);
	open_asking(&w, &early, &asked);
	wire_text(&w, 0, POST);                 /* no route takes it */
	wire_text(&w, 1, OK3 "HTTP/1.1 413 Early\r\nContent-Length: 0\r\n\r\n");
	wire_text(&w, 0, "POST /ab HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n0123456789");
	wire_text(&w, 0, "0123456789");         /* over the cap of 8 bytes */
	wire_text(&w, 0, "PUT /ac HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nend");
	assert_string_equal(asked.text, "1 /ab 01234567 (not whole); ");
	wire_finish(&w);                        /* the last was never whole */
	assert_true(asked.n <= 2);
	while ((ex = engine_pop(w.engine)))
		exchange_free(ex);
	wire_close(&w, 2);
	chain_done(&early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_before_the_answer),
		cmocka_unit_test(test_asked_once_and_only_when_wanted),
		cmocka_unit_test(test_rows_at_every_size), cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_pipeline),           cmocka_unit_test(test_early_response),
		cmocka_unit_test(test_lost_response),      cmocka_unit_test(test_lost_request),
		cmocka_unit_test(test_gap_in_body),        cmocka_unit_test(test_cap),
		cmocka_unit_test(test_tunnels),            cmocka_unit_test(test_rst_payload),
		cmocka_unit_test(test_port_reuse),         cmocka_unit_test(test_early_rejection),
		cmocka_unit_test(test_large_head),         cmocka_unit_test(test_tls_and_http2),
		cmocka_unit_test(test_trailers_and_chunks), cmocka_unit_test(test_memory_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
