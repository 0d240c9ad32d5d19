/* SPDX-License-Identifier: Apache-2.0 */
/* Routes, sampling and rewriting, each as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/counters.h"
#include "core/filter.h"
#include "core/rewrite.h"
#include "core/sample.h"

static struct exchange *exchange_of(const char *head)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), 0, &ex->request), SC_OK);
	return ex;
}

static void test_routes(void **state)
{
	static const struct {
		const char *rule, *head;
		bool takes;
	} rows[] = {
		{"/a", "GET /a HTTP/1.1\r\n\r\n", true},
		{"/a", "GET /a?x=1 HTTP/1.1\r\n\r\n", true},
		{"/a", "GET /a/ HTTP/1.1\r\n\r\n", false},
		{"/a", "GET /A HTTP/1.1\r\n\r\n", false},
		{"/httpbin*", "GET /httpbinX HTTP/1.1\r\n\r\n", true},
		{"/httpbin/*", "GET /httpbin HTTP/1.1\r\n\r\n", false},
		{"/httpbin/*", "GET /httpbin/ HTTP/1.1\r\n\r\n", true},
		{"*", "OPTIONS * HTTP/1.1\r\n\r\n", true},
		{"GET /a", "GET /a HTTP/1.1\r\n\r\n", true},
		{"GET /a", "POST /a HTTP/1.1\r\n\r\n", false},
		{"GET,POST /a", "POST /a HTTP/1.1\r\n\r\n", true},
		{"GET,POST /a", "POS /a HTTP/1.1\r\n\r\n", false},
		{"~/u/[0-9]+", "GET /u/12 HTTP/1.1\r\n\r\n", true},
		{"~/u/[0-9]+", "GET /u/12/x HTTP/1.1\r\n\r\n", false},
		{"~(?i)/U", "GET /u HTTP/1.1\r\n\r\n", true},
		{"h.example/a", "GET /a HTTP/1.1\r\nHost: h.example\r\n\r\n", true},
		{"h.example/a", "GET /a HTTP/1.1\r\nHost: H.Example:8080\r\n\r\n", true},
		{"h.example:80/a", "GET /a HTTP/1.1\r\nHost: h.example:8080\r\n\r\n", false},
		{"h.example:80/a", "GET /a HTTP/1.1\r\nHost: h.example:80\r\n\r\n", true},
		{"h.example/a", "GET /a HTTP/1.1\r\n\r\n", false},
		{"*.example/*", "GET /a HTTP/1.1\r\nHost: x.y.example\r\n\r\n", true},
		{"*.example/*", "GET /a HTTP/1.1\r\nHost: example\r\n\r\n", false},
		{"*.example/*", "GET /a HTTP/1.1\r\nHost: badexample\r\n\r\n", false},
		{"PUT *.example~/a.*", "PUT /abc HTTP/1.1\r\nHost: x.example\r\n\r\n", true},
		{"h/a", "GET http://h/a HTTP/1.1\r\nHost: other\r\n\r\n", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *f = filter_new();
		struct exchange *ex = exchange_of(rows[i].head);
		const char *route;
		struct err err;

		if (filter_route(f, rows[i].rule, &err))
			fail_msg("row %zu: %s", i, err.text);
		if (filter_takes(f, ex->request, &route) != rows[i].takes)
			fail_msg("row %zu: %s on %s", i, rows[i].rule, rows[i].head);
		if (rows[i].takes)
			assert_string_equal(route, rows[i].rule);
		exchange_free(ex);
		filter_free(f);
	}
}

static void test_routes_wrong(void **state)
{
	static const char *const rules[] = {
		"",       "GET",        "GET POST /a", "/a /b",   "/a*b",  "example.com", "*x/a",
		"/a?b=1", "~/a(",       "GET ",        "h*t/a",   "/a*/b*",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct filter *f = filter_new();
		struct err err = {""};

		if (filter_route(f, rules[i], &err) != SC_EINVAL)
			fail_msg("'%s' was taken", rules[i]);
		assert_true(strlen(err.text) > 0);
		filter_free(f);
	}
}

static void test_exclude(void **state)
{
	struct filter *f = filter_new();
	struct exchange *a = exchange_of("GET /a/b HTTP/1.1\r\n\r\n");
	struct exchange *b = exchange_of("GET /c HTTP/1.1\r\n\r\n");
	const char *route;
	struct err err;

	(void)state;
	assert_int_equal(filter_exclude(f, "/a*", &err), SC_OK);
	assert_false(filter_takes(f, a->request, &route));
	assert_true(filter_takes(f, b->request, &route));
	assert_null(route);
	assert_int_equal(filter_route(f, "/a/b", &err), SC_OK);
	assert_false(filter_takes(f, a->request, &route)); /* leaving out wins */
	assert_false(filter_takes(f, b->request, &route));
	exchange_free(a);
	exchange_free(b);
	filter_free(f);
}

static unsigned let_in(double percent, uint64_t seed, unsigned n, uint8_t *which)
{
	struct chain c = {0};
	struct exchange *ex = exchange_of("GET / HTTP/1.1\r\n\r\n");
	unsigned in = 0;

	chain_add(&c, stage_sample_new(percent, SAMPLE_BY_REQUEST, seed));
	for (unsigned i = 0; i < n; i++) {
		bool keep = chain_head(&c, ex) == VERDICT_KEEP;

		ex->sample = 100;
		if (which)
			which[i] = keep;
		in += keep;
	}
	exchange_free(ex);
	chain_done(&c);
	return in;
}

/* Binomial: 100,000 throws at p lie within five standard deviations but once in 1.7 million. */
static void test_sample(void **state)
{
	static const struct {
		double percent;
		unsigned low, high;
	} rows[] = {
		{100, 100000, 100000}, {0, 0, 0}, {50, 49209, 50791}, {1, 842, 1158}, {12.5, 11977, 13023},
	};
	static uint8_t a[1000], b[1000], c[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned in = let_in(rows[i].percent, 7 + i, 100000, NULL);

		assert_in_range(in, rows[i].low, rows[i].high);
	}
	(void)let_in(50, 1, 1000, a);
	(void)let_in(50, 1, 1000, b);
	(void)let_in(50, 2, 1000, c);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));
}

/* The same client is always in or always out, and 10% is a subset of 50%. */
static void test_sample_by_client(void **state)
{
	struct chain ten = {0}, fifty = {0};
	unsigned in_ten = 0, in_fifty = 0;

	(void)state;
	chain_add(&ten, stage_sample_new(10, SAMPLE_BY_CLIENT, 5));
	chain_add(&fifty, stage_sample_new(50, SAMPLE_BY_CLIENT, 5));
	for (unsigned i = 0; i < 10000; i++) {
		struct exchange *ex = exchange_of("GET / HTTP/1.1\r\n\r\n");
		bool a, b;

		ex->client = (struct addr){.ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i},
					   .port = (uint16_t)i, .len = 4};
		ex->server = (struct addr){.ip = {10, 1, 0, 1}, .port = 80, .len = 4};
		a = chain_head(&ten, ex) == VERDICT_KEEP;
		b = chain_head(&fifty, ex) == VERDICT_KEEP;
		assert_true(b || !a);
		assert_true(a == (chain_flow(&ten, &ex->client, &ex->server) == VERDICT_KEEP));
		ex->client.port++;
		assert_true(a == (chain_head(&ten, ex) == VERDICT_KEEP));
		in_ten += a;
		in_fifty += b;
		exchange_free(ex);
	}
	assert_in_range(in_ten, 850, 1150);
	assert_in_range(in_fifty, 4750, 5250);
	chain_done(&ten);
	chain_done(&fifty);
}

static void test_sample_text(void **state)
{
	static const struct {
		const char *text;
		double percent; /* -1: wrong */
	} rows[] = {
		{"50%", 50}, {"12.5", 12.5}, {"0.000001%", 0.000001}, {"100%", 100}, {"101%", -1},
		{"-1%", -1}, {"", -1},       {"%", -1},               {"5%%", -1},   {"nan", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double p = -1;
		struct err err;
		int rc = sample_parse(rows[i].text, &p, &err);

		assert_int_equal(rc, rows[i].percent < 0 ? SC_EINVAL : SC_OK);
		assert_true(p == rows[i].percent);
	}
}

static void assert_rewritten(struct stage *s, const char *in, const char *out)
{
	struct chain c = {0};
	struct exchange *ex = exchange_of(in);

	chain_add(&c, s);
	assert_int_equal(chain_whole(&c, ex), VERDICT_KEEP);
	if (ex->request->head_len != strlen(out) ||
	    memcmp(ex->request->head, out, strlen(out)) != 0)
		fail_msg("%s became %.*s", in, (int)ex->request->head_len, ex->request->head);
	exchange_free(ex);
	chain_done(&c);
}

static void test_rewrite(void **state)
{
	static const struct {
		const char *rule, *in, *out;
	} rows[] = {
		{"/httpbin=/", "GET /httpbin/headers HTTP/1.1\r\n\r\n", "GET //headers HTTP/1.1\r\n\r\n"},
		{"/httpbin/=/", "GET /httpbin/headers?a=/httpbin/ HTTP/1.1\r\n\r\n",
		 "GET /headers?a=/httpbin/ HTTP/1.1\r\n\r\n"},
		{"/a=", "GET /ab HTTP/1.1\r\n\r\n", "GET b HTTP/1.1\r\n\r\n"},
		{"/a=", "GET /a?q HTTP/1.1\r\n\r\n", "GET /?q HTTP/1.1\r\n\r\n"},
		{"/a=/b", "GET /c HTTP/1.1\r\n\r\n", "GET /c HTTP/1.1\r\n\r\n"},
		{"/a=/b", "GET http://h/a?q HTTP/1.1\r\n\r\n", "GET http://h/b?q HTTP/1.1\r\n\r\n"},
		{"~/v1/(.*)=/v2/\\1", "GET /v1/x?y HTTP/1.1\r\n\r\n", "GET /v2/x?y HTTP/1.1\r\n\r\n"},
		{"~.*=/x", "GET /a/b HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n"},
		{"/k=/a?x=1", "GET /k HTTP/1.1\r\n\r\n", "GET /a?x=1 HTTP/1.1\r\n\r\n"},
		{"~[0-9]+=N", "GET /1/22/x HTTP/1.1\r\n\r\n", "GET /N/N/x HTTP/1.1\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stage *s;
		struct err err;

		assert_int_equal(stage_rewrite_new(rows[i].rule, &s, &err), SC_OK);
		assert_rewritten(s, rows[i].in, rows[i].out);
	}
}

static void test_rewrite_wrong(void **state)
{
	static const char *const rules[] = {"", "/a", "=b", "a=b", "~=x", "~(=x", "/a=b c"};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct stage *s;
		struct err err;

		if (stage_rewrite_new(rules[i], &s, &err) != SC_EINVAL)
			fail_msg("'%s' was taken", rules[i]);
	}
}

static void test_host(void **state)
{
	static const char in[] = "GET / HTTP/1.1\r\nA: b\r\nHost: h:8080\r\n\r\n";

	(void)state;
	assert_rewritten(stage_host_new(HOST_KEEP, NULL), in, in);
	assert_rewritten(stage_host_new(HOST_SHADOW, NULL), in,
			 "GET / HTTP/1.1\r\nA: b\r\nHost: h-shadow:8080\r\n\r\n");
	assert_rewritten(stage_host_new(HOST_TARGET, "t:1"), in,
			 "GET / HTTP/1.1\r\nA: b\r\nHost: t:1\r\n\r\n");
	assert_rewritten(stage_host_new(HOST_NAME, "n"), "GET / HTTP/1.0\r\n\r\n",
			 "GET / HTTP/1.0\r\nHost: n\r\n\r\n");
	assert_rewritten(stage_host_new(HOST_NAME, "n"), "GET /old\r\n", "GET /old\r\n");
}

static void test_header_ops(void **state)
{
	static const char in[] = "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n";
	struct stage *s;
	struct err err;

	(void)state;
	assert_int_equal(stage_header_new(HEADER_SET, "A: x", &s, &err), SC_OK);
	assert_rewritten(s, in, "GET / HTTP/1.1\r\nA: x\r\nB: 2\r\n\r\n");
	assert_int_equal(stage_header_new(HEADER_ADD, "A:x", &s, &err), SC_OK);
	assert_rewritten(s, in, "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na: 3\r\nA: x\r\n\r\n");
	assert_int_equal(stage_header_new(HEADER_REMOVE, "a", &s, &err), SC_OK);
	assert_rewritten(s, in, "GET / HTTP/1.1\r\nB: 2\r\n\r\n");
	assert_int_equal(stage_header_new(HEADER_SET, "no colon", &s, &err), SC_EINVAL);
	assert_int_equal(stage_header_new(HEADER_ADD, "A: b\r\nC: d", &s, &err), SC_EINVAL);
	assert_int_equal(stage_header_new(HEADER_REMOVE, "a:", &s, &err), SC_EINVAL);
}

static void test_marker(void **state)
{
	struct chain c = {0};
	struct exchange *own = exchange_of("GET / HTTP/1.1\r\nx-shadow-replay: 3\r\n\r\n");
	struct exchange *other = exchange_of("GET / HTTP/1.1\r\n\r\n");

	(void)state;
	chain_add(&c, stage_marker_new());
	assert_int_equal(chain_head(&c, own), VERDICT_OWN);
	assert_int_equal(chain_head(&c, other), VERDICT_KEEP);
	exchange_free(own);
	exchange_free(other);
	chain_done(&c);
}

static void test_ledger(void **state)
{
	struct counters c = {0};
	const char *group;
	struct buf text;

	(void)state;
	count_n(&c, REQUESTS_SEEN, 3);
	count_n(&c, REQUESTS_STORED, 2);
	assert_int_equal(counters_check(&c, &group), SC_EINVAL);
	assert_string_equal(group, "requests");
	count(&c, REQUESTS_UNSAMPLED);
	assert_int_equal(counters_check(&c, &group), SC_OK);
	count_n(&c, BYTES_SEEN, 75);
	count_n(&c, BYTES_MISSING, 25);
	assert_true(counters_loss_percent(&c) == 25.0);
	buf_init(&text, 65536);
	assert_int_equal(counters_text(&c, &text), SC_OK);
	assert_int_equal(buf_add(&text, "", 1), SC_OK);
	assert_non_null(strstr((char *)text.data, "requests  3 seen = 2 stored + 1 unsampled\n"));
	assert_non_null(strstr((char *)text.data, "loss 25.0000%"));
	buf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),      cmocka_unit_test(test_routes_wrong),
		cmocka_unit_test(test_exclude),     cmocka_unit_test(test_sample),
		cmocka_unit_test(test_sample_by_client), cmocka_unit_test(test_sample_text),
		cmocka_unit_test(test_rewrite),
		cmocka_unit_test(test_rewrite_wrong), cmocka_unit_test(test_host),
		cmocka_unit_test(test_header_ops),  cmocka_unit_test(test_marker),
		cmocka_unit_test(test_ledger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
