/* SPDX-License-Identifier: Apache-2.0 */
/* Routes, sampling and the ledger, each as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/counters.h"
#include "core/filter.h"
#include "core/rng.h"
#include "core/rule.h"
#include "core/sample.h"

static struct exchange *exchange_of(const char *head)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), 0, &ex->request), SC_OK);
	ex->client = (struct addr){.ip = {10, 0, 0, 7}, .port = 4000, .len = 4};
	ex->server = (struct addr){.ip = {10, 1, 0, 1}, .port = 80, .len = 4};
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
		{"[::1]:80/a", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", true},
		{"[::1]/a", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", true},
		{"~/a|/b", "GET /b HTTP/1.1\r\n\r\n", true},
		{"~/ab?", "GET /a HTTP/1.1\r\n\r\n", true},
		{"~/ab*c", "GET /ac HTTP/1.1\r\n\r\n", true},
		{"~/a\\.b", "GET /a.b HTTP/1.1\r\n\r\n", true},
		{"~/a\\.b", "GET /axb HTTP/1.1\r\n\r\n", false},
		{"* header:x-user", "GET / HTTP/1.1\r\nX-User: a\r\n\r\n", true},
		{"* header:x-user", "GET / HTTP/1.1\r\n\r\n", false},
		{"* header:x-user=a", "GET / HTTP/1.1\r\nX-User: a\r\n\r\n", true},
		{"* header:x-user=a", "GET / HTTP/1.1\r\nX-User: A\r\n\r\n", false},
		{"* header:x-user=a", "GET / HTTP/1.1\r\nX-User: b\r\nx-user: a\r\n\r\n", true},
		{"* header:x-user=a*", "GET / HTTP/1.1\r\nX-User: alice\r\n\r\n", true},
		{"* header:x-user=~[a-z]+", "GET / HTTP/1.1\r\nX-User: alice\r\n\r\n", true},
		{"* header:x-user=~[a-z]+", "GET / HTTP/1.1\r\nX-User: alice1\r\n\r\n", false},
		{"* header:x-user=", "GET / HTTP/1.1\r\nX-User:\r\n\r\n", true},
		{"* header:a=\"b c\"", "GET / HTTP/1.1\r\nA: b c\r\n\r\n", true},
		{"* header:a=\"say \\\"x\\\"\"", "GET / HTTP/1.1\r\nA: say \"x\"\r\n\r\n", true},
		{"* query:k=v", "GET /?a=b&k=v HTTP/1.1\r\n\r\n", true},
		{"* query:k=v", "GET /?k=w&k=v HTTP/1.1\r\n\r\n", true},
		{"* query:k=v", "GET /?K=v HTTP/1.1\r\n\r\n", false},
		{"* query:k=v", "GET /?k=vv HTTP/1.1\r\n\r\n", false},
		{"* query:k=", "GET /?k HTTP/1.1\r\n\r\n", true},
		{"* query:k", "GET /?x=1&k HTTP/1.1\r\n\r\n", true},
		{"* query:k", "GET /?xk=1 HTTP/1.1\r\n\r\n", false},
		{"* query:k=v*", "GET /?k=value HTTP/1.1\r\n\r\n", true},
		{"* client:10.0.0.0/8", "GET / HTTP/1.1\r\n\r\n", true},
		{"* client:10.1.0.0/16", "GET / HTTP/1.1\r\n\r\n", false},
		{"* client:192.168.0.0/16,10.0.0.7", "GET / HTTP/1.1\r\n\r\n", true},
		{"* client:2001:db8::/32", "GET / HTTP/1.1\r\n\r\n", false},
		{"* status:2xx", "GET / HTTP/1.1\r\n\r\n", false},
		{"* status:none", "GET / HTTP/1.1\r\n\r\n", true},
		{"GET /a* header:x=1 query:y=2 client:10.0.0.0/8",
		 "GET /ab?y=2 HTTP/1.1\r\nx: 1\r\n\r\n", true},
		{"GET /a* header:x=1 query:y=2 client:10.0.0.0/8",
		 "GET /ab?y=3 HTTP/1.1\r\nx: 1\r\n\r\n", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *f = filter_new();
		struct exchange *ex = exchange_of(rows[i].head);
		const char *route;
		struct err err;

		if (filter_route(f, rows[i].rule, &err))
			fail_msg("row %zu: %s", i, err.text);
		if (filter_takes(f, ex, true, &route) != rows[i].takes)
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
		"* header:", "* header:=v", "* query:", "* status:", "* status:9000", "* status:6-5",
		"* status:abc", "* client:", "* client:10.0.0.0/33", "* client:host", "* client:10.0.0.0/",
		"* header:a=\"b", "* header:a=~(", "* cookie:a=b", "* Header:a=b",
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
	assert_false(filter_takes(f, a, true, &route));
	assert_true(filter_takes(f, b, true, &route));
	assert_null(route);
	assert_int_equal(filter_route(f, "/a/b", &err), SC_OK);
	assert_false(filter_takes(f, a, true, &route)); /* leaving out wins */
	assert_false(filter_takes(f, b, true, &route));
	exchange_free(a);
	exchange_free(b);
	filter_free(f);
}

/* A rule on the response waits for it; what the head alone tells stands at once. */
static void test_status(void **state)
{
	static const struct {
		const char *rule;
		uint16_t status; /* 0: none */
		bool takes;
	} rows[] = {
		{"* status:5xx", 503, true},      {"* status:5xx", 404, false},
		{"* status:404,410", 410, true},  {"* status:200-299", 204, true},
		{"* status:200-299", 300, false}, {"* status:none", 200, false},
		{"* status:none,5xx", 0, true},   {"* status:5xx", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *routes = filter_new(), *excludes = filter_new();
		struct exchange *ex = exchange_of("GET / HTTP/1.1\r\n\r\n");
		const char *route;
		struct err err;

		assert_int_equal(filter_route(routes, rows[i].rule, &err), SC_OK);
		assert_int_equal(filter_exclude(excludes, rows[i].rule, &err), SC_OK);
		assert_true(filter_waits(routes));
		assert_true(filter_takes(routes, ex, false, &route));
		assert_true(filter_takes(excludes, ex, false, &route));
		if (rows[i].status)
			assert_int_equal(message_build_response(rows[i].status, span_str("x"),
								span_str("1.1"), NULL, 0, 0,
								&ex->response), SC_OK);
		if (filter_takes(routes, ex, true, &route) != rows[i].takes ||
		    filter_takes(excludes, ex, true, &route) == rows[i].takes)
			fail_msg("row %zu", i);
		exchange_free(ex);
		filter_free(routes);
		filter_free(excludes);
	}
}

#define PICK(list) list[rng_next(rng) % (sizeof(list) / sizeof(list[0]))]

static void random_rule(struct rng *rng, char *to, size_t room)
{
	static const char *const methods[] = {"", "GET ", "POST,GET ", "PUT "};
	static const char *const hosts[] = {"", "", "a.example", "b.example:80", "*.example", "*.b.c"};
	static const char *const paths[] = {"/", "/*", "/a", "/a*", "/a/b", "/a/b*", "/abc*", "/ab/*",
					    "~/a/[0-9]+", "~/a.*", "~/(a|b)/c", "~/a|/b", "/a/b/c/d*"};
	static const char *const more[] = {"", "", " header:x=1", " header:x=2", " query:k=1",
					   " header:y=~[0-9]", " query:k", " header:z=1", " header:w=1",
					   " header:v=1", " header:u=1", " client:10.0.0.0/8"};

	snprintf(to, room, "%s%s%s%s%s", PICK(methods), PICK(hosts), PICK(paths), PICK(more), PICK(more));
}

static struct exchange *random_request(struct rng *rng)
{
	static const char *const methods[] = {"GET", "POST", "PUT"};
	static const char *const targets[] = {"/", "/a", "/ab", "/a/b", "/a/b/c", "/a/12", "/b/c", "/b",
					      "/abcd?k=1", "/a?x&k=2&k=1", "http://q.example/a/b",
					      "/a/b/c/d/e?k", "*"};
	static const char *const hosts[] = {"", "Host: a.example\r\n", "Host: A.Example:80\r\n",
					    "Host: b.example:80\r\n", "Host: x.a.b.c\r\n",
					    "Host: a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.b.c\r\n"};
	static const char *const more[] = {"", "x: 1\r\n", "X: 2\r\n", "x: 3\r\nx: 1\r\n", "y: 5\r\n",
					   "z: 1\r\nw: 1\r\nv: 1\r\nu: 1\r\n"};
	char head[512];

	snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\n%s%s%s\r\n", PICK(methods), PICK(targets),
		 PICK(hosts), PICK(more), PICK(more));
	return exchange_of(head);
}

/* Looking rules up finds the one that asking them in turn finds. */
static void test_many_rules(void **state)
{
	struct rng seeded, *rng = &seeded;

	(void)state;
	rng_init(rng, 11);
	for (unsigned round = 0; round < 60; round++) {
		struct filter *f = filter_new();
		struct rule *rules[150];
		unsigned n = 1 + (unsigned)(rng_next(rng) % 150);
		struct err err;

		for (unsigned i = 0; i < n; i++) {
			char text[256];

			random_rule(rng, text, sizeof(text));
			assert_int_equal(rule_parse(text, &rules[i], &err), SC_OK);
			assert_int_equal(filter_route(f, text, &err), SC_OK);
		}
		for (unsigned k = 0; k < 300; k++) {
			struct exchange *ex = random_request(rng);
			const char *route, *naive = NULL;
			struct subject s;

			subject_of(ex, &s);
			for (unsigned i = 0; i < n && !naive; i++) {
				if (rule_takes(rules[i], &s))
					naive = rule_text(rules[i]);
			}
			assert_int_equal(filter_takes(f, ex, true, &route), naive != NULL);
			if (naive)
				assert_string_equal(route, naive);
			exchange_free(ex);
		}
		for (unsigned i = 0; i < n; i++)
			rule_free(rules[i]);
		filter_free(f);
	}
}

/* A stranger's path that a regex gives up on gets past no exclude, and into no route. */
static void test_regex_gives_up(void **state)
{
	struct filter *exclude = filter_new(), *route = filter_new();
	char head[8192] = "GET /";
	struct exchange *ex;
	const char *text;
	struct err err;

	(void)state;
	memset(head + 5, 'a', 4000);
	snprintf(head + 4005, sizeof(head) - 4005, "b HTTP/1.1\r\n\r\n");
	ex = exchange_of(head);
	assert_int_equal(filter_exclude(exclude, "~/((a+)+c|a+b)", &err), SC_OK);
	assert_int_equal(filter_route(route, "~/((a+)+c|a+b)", &err), SC_OK);
	assert_false(filter_takes(exclude, ex, true, &text));
	assert_false(filter_takes(route, ex, true, &text));
	exchange_free(ex);
	filter_free(exclude);
	filter_free(route);
}

static unsigned let_in(double percent, uint64_t seed, unsigned n, uint8_t *which)
{
	const struct sample_key key = {SAMPLE_BY_REQUEST, NULL};
	struct chain c = {0};
	struct exchange *ex = exchange_of("GET / HTTP/1.1\r\n\r\n");
	unsigned in = 0;

	chain_add(&c, stage_sample_new(percent, &key, seed));
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

struct throws {
	uint64_t seed, which;
	double percent;
	int64_t first, step;
	uint32_t pass;
};

static unsigned throw_by_id(const struct throws *t, unsigned n, uint8_t *which)
{
	const struct sample_key key = {SAMPLE_BY_REQUEST, NULL};
	struct sampler s;
	unsigned in = 0;

	sampler_init(&s, &key, t->seed);
	sampler_go_by_id(&s, t->which);
	for (unsigned i = 0; i < n; i++) {
		struct exchange ex = {.id = t->first + (int64_t)i * t->step, .pass = t->pass};
		bool takes = sampler_takes(&s, &ex, t->percent);

		if (which)
			which[i] = takes;
		in += takes;
	}
	return in;
}

/* Within five standard deviations. */
static void assert_share(uint64_t in, uint64_t n, double share)
{
	double away = (double)in - (double)n * share;

	assert_true(away * away <= 25 * (double)n * share * (1 - share));
}

/* Of a stored one the id decides: as often as asked for, whichever ids and seeds these are, and over
 * all of them, too. */
static void test_sample_by_id(void **state)
{
	static const double percents[] = {0, 1, 12.5, 50, 99, 100};
	static const int64_t steps[] = {1, 2, 3, 64, 1000, 4096, INT64_C(1) << 32};
	const unsigned n = 10000, n_steps = sizeof(steps) / sizeof(steps[0]);

	(void)state;
	for (size_t p = 0; p < sizeof(percents) / sizeof(percents[0]); p++) {
		uint64_t all = 0;

		for (uint64_t seed = 0; seed < 20; seed++) {
			for (unsigned k = 0; k < n_steps; k++) {
				struct throws t = {seed, k, percents[p], 1, steps[k], 0};
				unsigned in = throw_by_id(&t, n, NULL);

				assert_share(in, n, percents[p] / 100);
				all += in;
			}
		}
		assert_share(all, UINT64_C(20) * n_steps * n, percents[p] / 100);
	}
}

/* How many of n both let in: a quarter, if neither decides the other. */
static unsigned both(const uint8_t *a, const uint8_t *b, unsigned n)
{
	unsigned in = 0;

	for (unsigned i = 0; i < n; i++)
		in += a[i] && b[i];
	return in;
}

static void test_throws_are_independent(void **state)
{
	static const struct throws others[] = {
		{7, 1, 50, 1, 1, 0}, {7, 2, 50, 1, 1, 0}, {6, 0, 50, 1, 1, 0}, {6, 0, 50, 0, 1, 0},
		{7, 0, 50, 1, 1, 1}, {7, 0, 50, 1, 1, 2}, {7, 0, 50, 2, 1, 0}, {6, 1, 50, 1, 1, 0},
		{7, 0, 50, 1, 2, 0},
	};
	static uint8_t a[10000], b[10000];
	struct throws t = {7, 0, 50, 1, 1, 0};
	unsigned in;

	(void)state;
	(void)throw_by_id(&t, 10000, a);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		(void)throw_by_id(&others[i], 10000, b);
		assert_in_range(both(a, b, 10000), 2283, 2717); /* five of 43.3 */
	}
	(void)throw_by_id(&t, 10000, b);
	assert_memory_equal(a, b, sizeof(a));
	t.percent = 10; /* a subset of 50 */
	in = throw_by_id(&t, 10000, b);
	assert_int_equal(in, both(a, b, 10000));
}

/* Whatever was read before; without an id, or where nobody goes by it, the sequence counts. */
static void test_throws_do_not_shift(void **state)
{
	const struct sample_key key = {SAMPLE_BY_REQUEST, NULL};
	static uint8_t all[1000], some[1000], plain[1000], numbered[1000];
	struct throws t = {3, 0, 50, 1, 1, 0};
	struct sampler s;

	(void)state;
	(void)throw_by_id(&t, 1000, all);
	t.first = 501;
	(void)throw_by_id(&t, 500, some);
	assert_memory_equal(all + 500, some, 500);
	t.first = t.step = 0;
	(void)throw_by_id(&t, 1000, plain);
	assert_in_range(both(plain, plain, 1000), 421, 579);
	sampler_init(&s, &key, 3);
	for (unsigned i = 0; i < 1000; i++)
		numbered[i] = sampler_takes(&s, &(struct exchange){.id = i + 1}, 50);
	assert_memory_equal(plain, numbered, sizeof(plain));
}

/* The same client is always in or always out, and 10% is a subset of 50%. */
static void test_sample_by_client(void **state)
{
	const struct sample_key key = {SAMPLE_BY_CLIENT, NULL};
	struct chain ten = {0}, fifty = {0};
	unsigned in_ten = 0, in_fifty = 0;

	(void)state;
	chain_add(&ten, stage_sample_new(10, &key, 5));
	chain_add(&fifty, stage_sample_new(50, &key, 5));
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

/* Whatever the key is: the same one always goes the same way, and without it the connection does. */
static void test_sample_by_key(void **state)
{
	static const struct {
		const char *key, *with, *other;
	} rows[] = {
		{"header:X-User", "GET /%u HTTP/1.1\r\nx-user: u%u\r\n\r\n", "POST /x HTTP/1.1\r\nA: b\r\nX-USER: u%u\r\n\r\n"},
		{"cookie:sid", "GET /%u HTTP/1.1\r\nCookie: a=b; sid=%u\r\n\r\n", "GET / HTTP/1.1\r\nCookie: q\r\nCookie: sid=%u;x=y\r\n\r\n"},
		{"query:id", "GET /%u?id=%u HTTP/1.1\r\n\r\n", "GET /b?a=1&id=%u&c HTTP/1.1\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sample_key key;
		struct sampler s;
		unsigned in = 0;
		struct err err;

		assert_int_equal(sample_key_parse(rows[i].key, &key, &err), SC_OK);
		sampler_init(&s, &key, 3);
		for (unsigned n = 0; n < 10000; n++) {
			struct exchange *a, *b;
			char head[256];
			bool takes;

			snprintf(head, sizeof(head), rows[i].with, n % 7, n);
			a = exchange_of(head);
			snprintf(head, sizeof(head), rows[i].other, n);
			b = exchange_of(head);
			b->client.port = 99;
			takes = sampler_takes(&s, a, 20);
			assert_int_equal(takes, sampler_takes(&s, b, 20));
			assert_true(!takes || sampler_takes(&s, a, 50));
			in += takes;
			exchange_free(a);
			exchange_free(b);
		}
		assert_in_range(in, 1800, 2200); /* 2,000 and five standard deviations of 40 */
	}
}

static void test_sample_key_wrong(void **state)
{
	static const char *const keys[] = {"", "header", "header:", "cookie:", "user", "request:x"};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct sample_key key;
		struct err err;

		assert_int_equal(sample_key_parse(keys[i], &key, &err), SC_EINVAL);
	}
}

/* A chapter of a handbook saw 9 of 20 at 50%: within the bounds, as it should be. */
static void test_handbook(void **state)
{
	unsigned nines = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 10000; seed++)
		nines += let_in(50, seed, 20, NULL) == 9;
	/* C(20, 9) / 2^20 = 0.1602 of 10,000, and five standard deviations of 36.7. */
	assert_in_range(nines, 1418, 1785);
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
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_routes_wrong),
		cmocka_unit_test(test_exclude),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_many_rules),
		cmocka_unit_test(test_regex_gives_up),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_sample_by_id),
		cmocka_unit_test(test_throws_are_independent),
		cmocka_unit_test(test_throws_do_not_shift),
		cmocka_unit_test(test_sample_by_client),
		cmocka_unit_test(test_sample_by_key),
		cmocka_unit_test(test_sample_key_wrong),
		cmocka_unit_test(test_handbook),
		cmocka_unit_test(test_sample_text),
		cmocka_unit_test(test_marker),
		cmocka_unit_test(test_ledger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
