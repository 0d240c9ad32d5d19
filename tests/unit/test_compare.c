/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing: each kind of difference from two literal answers, what is noise, codings, cut bodies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compare_fixture.h"
#include "core/coding.h"
#include "core/limits.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations that succeed before all fail; -1: all succeed */

static bool may_allocate(void)
{
	if (allowed < 0)
		return true;
	if (allowed == 0)
		return false;
	allowed--;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return may_allocate() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n)
{
	return may_allocate() ? __real_realloc(p, n) : NULL;
}

struct pair {
	const char *head[2], *body[2];
	const char *said;
};

static void run_pairs(struct comparer *c, const struct pair *rows, size_t n)
{
	static struct said s;

	for (size_t i = 0; i < n; i++) {
		struct message *a = answer(rows[i].head[0], rows[i].body[0]);
		struct message *b = answer(rows[i].head[1], rows[i].body[1]);

		compare(c, a, b, &s);
		if (strcmp(s.text, rows[i].said) != 0)
			fail_msg("row %zu:\n%sinstead of\n%s", i, s.text, rows[i].said);
		message_free(a);
		message_free(b);
	}
}

static void test_status(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK", "200 Fine"}, {"", ""}, ""},
		{{"200 OK", "404 Not Found"}, {"a", "a"}, "status status : 200 -> 404\n"},
		{{"200 OK", "304 Not Modified"}, {"a", ""}, "status status : 200 -> 304\n"},
		{{"204 No", "204 No"}, {"", ""}, ""},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_no_answer(void **state)
{
	struct message *m = answer("200 OK\r\nA: b", "x");
	static struct said s;

	compare(*state, m, NULL, &s);
	assert_string_equal(s.text, "status error : 200 -> no answer\n");
	compare(*state, NULL, m, &s);
	assert_string_equal(s.text, "status error : no answer -> 200\n");
	compare(*state, NULL, NULL, &s);
	assert_string_equal(s.text, "");
	message_free(m);
}

static void test_status_only(void **state)
{
	struct message *a = answer("200 OK\r\nA: b", "x"), *b = NULL;
	static struct said s;

	assert_int_equal(message_new((const uint8_t *)"", 0, NULL, 0, 0, &b), SC_OK);
	b->status = 200;
	b->body_size = 5;
	b->flags = MESSAGE_UNKEPT;
	compare(*state, a, b, &s);
	assert_string_equal(s.text, "");
	b->status = 500;
	compare(*state, a, b, &s);
	assert_string_equal(s.text, "status status : 200 -> 500\n");
	message_free(a);
	message_free(b);
}

static void test_headers(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK\r\nA: 1\r\nB: 2", "200 OK\r\nb: 2\r\na: 1"}, {"", ""}, ""},
		{{"200 OK\r\nA: 1", "200 OK\r\nA: 2"}, {"", ""}, "header header a: 1 -> 2\n"},
		{{"200 OK\r\nA-B: 1", "200 OK"}, {"", ""}, "header missing a-b: 1 -> \n"},
		{{"200 OK", "200 OK\r\nX: y"}, {"", ""}, "header extra x:  -> y\n"},
		{{"200 OK\r\nV: 1\r\nV: 2", "200 OK\r\nV: 2\r\nv: 1"},
		 {"", ""},
		 "header order v: 1, 2 -> 2, 1\n"},
		{{"200 OK\r\nV: 1\r\nV: 2", "200 OK\r\nV: 1\r\nV: 3"},
		 {"", ""},
		 "header header v: 2 -> 3\n"},
		{{"200 OK\r\nV: 1\r\nV: 2", "200 OK\r\nV: 1"},
		 {"", ""},
		 "header length v: 1, 2 -> 1\n"},
		{{"200 OK\r\nA: 1\r\nC: 1\r\nC: 2\r\nD: 1",
		  "200 OK\r\nD: 2\r\nB: 1\r\nC: 2\r\nC: 1"},
		 {"", ""},
		 "header missing a: 1 -> \nheader extra b:  -> 1\nheader order c: 1, 2 -> 2, 1\n"
		 "header header d: 1 -> 2\n"},
		{{"200 OK\r\nV: 1\r\nV: 1\r\nV: 2", "200 OK\r\nV: 1\r\nV: 2\r\nV: 2"},
		 {"", ""},
		 "header header v: 1 -> 2\n"},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_noise(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK\r\nDate: 1", "200 OK\r\nDate: 2"},
		 {"", ""},
		 "(noise) header header date: 1 -> 2\n"},
		{{"200 OK\r\nx-b3-traceid: 1", "200 OK"},
		 {"", ""},
		 "(noise) header missing x-b3-traceid: 1 -> \n"},
		{{"200 OK\r\nX-B3: 1", "200 OK\r\nX-B3: 2"},
		 {"", ""},
		 "header header x-b3: 1 -> 2\n"},
		/* Only the framing. */
		{{"200 OK\r\nContent-Length: 1", "200 OK\r\nTransfer-Encoding: chunked"},
		 {"a", "a"},
		 "(noise) header missing content-length: 1 -> \n"
		 "(noise) header extra transfer-encoding:  -> chunked\n"},
		{{"200 OK\r\nContent-Length: 1", "200 OK\r\nContent-Length: 2"},
		 {"a", "ab"},
		 "(noise) header header content-length: 1 -> 2\n"
		 "body body : ends at byte 1 -> byte 1 of 2: b\n"},
		/* To HEAD, and of a 304: nothing else tells. */
		{{"200 OK\r\nContent-Length: 1", "200 OK\r\nContent-Length: 2"},
		 {"", ""},
		 "header header content-length: 1 -> 2\n"},
		{{"304 N\r\nContent-Length: 1", "304 N\r\nContent-Length: 2"},
		 {"", ""},
		 "header header content-length: 1 -> 2\n"},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_cookies(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK\r\nSet-Cookie: s=1; Path=/", "200 OK\r\nSet-Cookie: s=2; path=/"},
		 {"", ""},
		 "(noise) header header set-cookie: s=1; Path=/ -> s=2; path=/\n"},
		{{"200 OK\r\nSet-Cookie: s=1; Path=/; Secure", "200 OK\r\nSet-Cookie: s=1; Path=/"},
		 {"", ""},
		 "header header set-cookie: s=1; Path=/; Secure -> s=1; Path=/\n"},
		{{"200 OK\r\nSet-Cookie: s=1; Expires=a; Path=/",
		  "200 OK\r\nSet-Cookie: s=1; Path=/; Expires=b"},
		 {"", ""},
		 "(noise) header header set-cookie: s=1; Expires=a; Path=/ -> "
		 "s=1; Path=/; Expires=b\n"},
		{{"200 OK\r\nSet-Cookie: s=1; Max-Age=1", "200 OK\r\nSet-Cookie: s=1; Max-Age=2"},
		 {"", ""},
		 "header header set-cookie: s=1; Max-Age=1 -> s=1; Max-Age=2\n"},
		{{"200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=1",
		  "200 OK\r\nSet-Cookie: b=1\r\nSet-Cookie: a=1"},
		 {"", ""},
		 ""},
		{{"200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=1",
		  "200 OK\r\nSet-Cookie: b=1\r\nSet-Cookie: c=1"},
		 {"", ""},
		 "header missing set-cookie: a=1 -> \nheader extra set-cookie:  -> c=1\n"},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

#define JSON(a, b, said)                                                                           \
	{                                                                                          \
		{"200 OK\r\nContent-Type: application/json",                                       \
		 "200 OK\r\nContent-Type: application/json"},                                      \
			{a, b}, said                                                               \
	}

static void test_json(void **state)
{
	static const struct pair rows[] = {
		JSON("{\"a\":1,\"b\":2}", " { \"b\" : 2 , \"a\" : 1 } ", ""),
		JSON("{\"a\":1}", "{\"a\":1.0}", ""),
		JSON("{\"a\":1,\"b\":0}", "{\"a\":2,\"b\":-0.0}", "body value $.a: 1 -> 2\n"),
		JSON("{\"a\":1}", "{\"a\":\"1\"}", "body type $.a: 1 -> \"1\"\n"),
		JSON("{\"a\":null}", "{\"a\":{}}", "body type $.a: null -> {}\n"),
		JSON("{\"a\":true}", "{\"a\":false}", "body value $.a: true -> false\n"),
		JSON("{\"a\":1,\"b\":2}", "{\"b\":2}", "body missing $.a: 1 -> \n"),
		JSON("{\"b\":2}", "{\"a\":[1],\"b\":2}", "body extra $.a:  -> [1]\n"),
		JSON("{\"a\":\"\\u0041\\n\"}", "{\"a\":\"A\\u000a\"}", ""),
		JSON("{\"\\u0061\":1}", "{\"a\":2}", "body value $.a: 1 -> 2\n"),
		JSON("\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"", ""),
		JSON("[1,2,3]", "[3,1,2]", "body order $: [1,2,3] -> [3,1,2]\n"),
		JSON("{\"a\":[{\"x\":1,\"y\":2},{\"x\":3}]}",
		     "{\"a\":[{\"x\":3.0},{\"y\":2,\"x\":1}]}",
		     "body order $.a: [{\"x\":1,\"y\":2},{\"x\":3}] -> "
		     "[{\"x\":3.0},{\"y\":2,\"x\":1}]\n"),
		JSON("[1,1,2]", "[1,2,2]", "body value $[1]: 1 -> 2\n"),
		JSON("[1,2]", "[1,3,4]", "body length $: 2 -> 3\nbody value $[1]: 2 -> 3\n"),
		JSON("[]", "[1]", "body length $: 0 -> 1\n"),
		JSON("[[1,2],[3]]", "[[2,1],[3]]", "body order $[0]: [1,2] -> [2,1]\n"),
		JSON("{\"a b\":1}", "{\"a b\":2}", "body value $['a b']: 1 -> 2\n"),
		JSON("{\"it's\":{\"\":1}}", "{\"it's\":{\"\":2}}",
		     "body value $['it\\'s']['']: 1 -> 2\n"),
		JSON("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":3}", "body value $.a: 2 -> 3\n"),
		JSON("{\"a\":[],\"b\":[1]}", "{\"b\":[],\"c\":1}",
		     "body missing $.a: [] -> \nbody length $.b: 1 -> 0\nbody extra $.c:  -> 1\n"),
		JSON("{\"a\":1", "{\"a\":2", "body body : byte 5 of 6: 1 -> byte 5 of 6: 2\n"),
		JSON("1", "2", "body value $: 1 -> 2\n"),
		JSON("", "{}", "body body : ends at byte 0 -> byte 0 of 2: {}\n"),
		JSON("\xef\xbb\xbf[1]", "[2]", "body value $[0]: 1 -> 2\n"),
		JSON("{}", "<html>", "body body : byte 0 of 2: {} -> byte 0 of 6: <html>\n"),
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_other_bodies(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK", "200 OK"},
		 {"hello", "help!"},
		 "body body : byte 3 of 5: lo -> byte 3 of 5: p!\n"},
		{{"200 OK", "200 OK"},
		 {"1", "1.0"},
		 "body body : ends at byte 1 -> byte 1 of 3: .0\n"},
		{{"200 OK", "200 OK"}, {"", "x"}, "body body : ends at byte 0 -> byte 0 of 1: x\n"},
		{{"200 OK", "200 OK"},
		 {"\xc3\xa4", "\xc3\xb6"},
		 "body body : byte 1 of 2: \xc3\xa4 -> byte 1 of 2: \xc3\xb6\n"},
		{{"200 OK", "200 OK"},
		 {"\xff\xfe\x01", "\xff\xfd"},
		 "body body : byte 1 of 3: fe01 -> byte 1 of 2: fd\n"},
		/* No type is needed for what looks like JSON, in both. */
		{{"200 OK", "200 OK"}, {" {\"a\":1}", "{\"a\":2}"}, "body value $.a: 1 -> 2\n"},
		{{"200 OK\r\nContent-Type: a/problem+JSON; x=y",
		  "200 OK\r\nContent-Type: a/problem+JSON; x=y"},
		 {"1", "1.0"},
		 ""},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_ignored(void **state)
{
	static const char *const rules[] = {
		"header:X-Build", "header:X-My-*",    "json:$.time",	"json:$.items[*].id",
		"json:..token",	  "json:$['a b'][0]", "json:meta.*.at",
	};
	static const struct pair rows[] = {
		{{"200 OK\r\nx-build: 1", "200 OK\r\nx-build: 2"},
		 {"", ""},
		 "(noise) header header x-build: 1 -> 2\n"},
		{{"200 OK\r\nX-My-A: 1", "200 OK"},
		 {"", ""},
		 "(noise) header missing x-my-a: 1 -> \n"},
		JSON("{\"time\":{\"x\":1}}", "{\"time\":{\"x\":2}}",
		     "(noise) body value $.time.x: 1 -> 2\n"),
		JSON("{\"times\":1}", "{\"times\":2}", "body value $.times: 1 -> 2\n"),
		JSON("{\"items\":[{\"id\":1,\"n\":1}]}", "{\"items\":[{\"id\":2,\"n\":2}]}",
		     "(noise) body value $.items[0].id: 1 -> 2\nbody value $.items[0].n: 1 -> 2\n"),
		JSON("{\"a\":[{\"token\":1}]}", "{\"a\":[{}]}",
		     "(noise) body missing $.a[0].token: 1 -> \n"),
		JSON("{\"a b\":[1,1]}", "{\"a b\":[2,2]}",
		     "(noise) body value $['a b'][0]: 1 -> 2\nbody value $['a b'][1]: 1 -> 2\n"),
		JSON("{\"meta\":{\"q\":{\"at\":1}}}", "{\"meta\":{\"q\":{\"at\":\"1\"}}}",
		     "(noise) body type $.meta.q.at: 1 -> \"1\"\n"),
	};
	struct err err;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		assert_int_equal(comparer_ignore(*state, rules[i], &err), SC_OK);
	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_ignore_wrong(void **state)
{
	static const struct {
		const char *rule, *text;
	} rows[] = {
		{"", "'': expected header:NAME or json:PATH"},
		{"cookie:a", "'cookie:a': expected header:NAME or json:PATH"},
		{"header:", "'header:': expected header:NAME or header:NAME*"},
		{"header:a b", "'header:a b': expected header:NAME or header:NAME*"},
		{"header:a*b", "'header:a*b': expected header:NAME or header:NAME*"},
		{"json:", "'json:': expected a path at byte 6"},
		{"json:$.", "'json:$.': expected a name or * at byte 8"},
		{"json:$.a[", "'json:$.a[': expected 'NAME', a number or * at byte 10"},
		{"json:$[1", "'json:$[1': expected ] at byte 9"},
		{"json:$['a", "'json:$['a': expected the closing quote at byte 10"},
		{"json:$['a'", "'json:$['a'': expected ] at byte 11"},
		{"json:$[0]a", "'json:$[0]a': expected . or [ at byte 10"},
	};
	struct err err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(comparer_ignore(*state, rows[i].rule, &err), SC_EINVAL);
		assert_string_equal(err.text, rows[i].text);
	}
}

static struct message *coded(const char *encoding, struct span body)
{
	struct codings c = {.n = 0};
	struct message *m;
	struct buf out;
	char head[256];

	buf_init(&out, BODY_MAX);
	assert_int_equal(codings_add(&c, span_str(encoding)), SC_OK);
	assert_int_equal(codings_encode(&c, body, &out), SC_OK);
	snprintf(head, sizeof(head), "200 OK\r\nContent-Encoding: %s", encoding);
	m = answer_bytes(head, buf_span(&out));
	buf_done(&out);
	return m;
}

static void test_codings(void **state)
{
	static const char *const names[] = {"gzip", "deflate",	"br",
					    "zstd", "gzip, br", "identity"};
	static const char body[] = "{\"a\":[1,2,3],\"b\":\"some text, some text, some text\"}";
	static struct said s;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			struct message *a = coded(names[i], span_str(body));
			struct message *b = coded(names[k], span_str(body));

			compare(*state, a, b, &s);
			assert_int_equal(s.count, i != k);
			assert_true(i == k || strstr(s.text, "header header content-encoding: "));
			message_free(b);
			b = coded(names[k], span_str("{\"a\":[1,2,4],\"b\":0}"));
			compare(*state, a, b, &s);
			assert_non_null(
				strstr(s.text, "body value $.a[2]: 3 -> 4\nbody type $.b: "));
			message_free(a);
			message_free(b);
		}
	}
}

/* A body that is not what it says is compared as it is. */
static void test_bad_codings(void **state)
{
	static const struct pair rows[] = {
		{{"200 OK\r\nContent-Encoding: gzip", "200 OK\r\nContent-Encoding: gzip"},
		 {"no gzip", "no zip"},
		 "body body : byte 3 of 7: gzip -> byte 3 of 6: zip\n"},
		{{"200 OK\r\nContent-Encoding: own", "200 OK\r\nContent-Encoding: own"},
		 {"abc", "abd"},
		 "body body : byte 2 of 3: c -> byte 2 of 3: d\n"},
		{{"200 OK\r\nContent-Encoding: gzip", "200 OK\r\nContent-Encoding: gzip"},
		 {"same", "same"},
		 ""},
	};

	run_pairs(*state, rows, sizeof(rows) / sizeof(rows[0]));
}

static void cut_to(struct message *m, size_t len, unsigned flag)
{
	m->body.len = len;
	m->flags = (uint16_t)(m->flags | flag);
}

/* Whatever is cut off either side, and however it is coded: the rest is the same. */
static void test_cuts(void **state)
{
	static const char *const names[] = {"identity", "gzip", "br"};
	static const char left[] =
		"{\"a\":[1,22,{\"x\":null}],\"b\":-1.5e3,\"c\":\"d\\u0041\",\"e\":{}}";
	static const char right[] =
		"{\"a\":[1,22,{\"x\":null}], \"c\":\"dA\",\"e\":{},\"b\":-1500}";
	static struct said s;

	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		struct message *a = coded(names[k], span_str(left));
		struct message *b = answer("200 OK\r\nContent-Encoding: identity", right);
		size_t a_len = a->body.len, b_len = b->body.len;

		for (size_t i = 0; i <= a_len; i++) {
			for (size_t n = 0; n <= b_len; n++) {
				cut_to(a, i, i < a_len ? MESSAGE_CAPPED : 0);
				cut_to(b, n, n < b_len ? MESSAGE_CAPPED : 0);
				compare(*state, a, b, &s);
				if (s.count != (k > 0))
					fail_msg("%s %zu %zu: %s", names[k], i, n, s.text);
				a->flags = b->flags = 0;
			}
		}
		message_free(a);
		message_free(b);
	}
}

static void test_cut_text(void **state)
{
	static const struct {
		size_t cut[2]; /* 0: whole */
		const char *body[2];
		const char *said;
	} rows[] = {
		{{3, 0}, {"abcdef", "abcxyz"}, ""},
		{{4, 0},
		 {"abcdef", "abcxyz"},
		 "body body : byte 3 of at least 4: d -> byte 3 of 6: xyz\n"},
		{{5, 0},
		 {"abcdef", "abc"},
		 "body body : byte 3 of at least 5: de -> ends at byte 3\n"},
		{{0, 4},
		 {"abc", "abcdef"},
		 "body body : ends at byte 3 -> byte 3 of at least 4: d\n"},
		{{4, 2}, {"abcdef", "abx"}, ""},
		{{6, 0}, {"[1,2,3]", "[1]"}, "body length $: at least 2 -> 1\n"},
		{{6, 0}, {"[1,2,3]", "[1,3,3,4]"}, "body value $[1]: 2 -> 3\n"},
		{{9, 0}, {"{\"a\":1,\"b\":2}", "{\"b\":2}"}, "body missing $.a: 1 -> \n"},
	};
	static struct said s;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message *m[2];

		for (int k = 0; k < 2; k++) {
			m[k] = answer("200 OK", rows[i].body[k]);
			if (rows[i].cut[k])
				cut_to(m[k], rows[i].cut[k], MESSAGE_CAPPED);
		}
		compare(*state, m[0], m[1], &s);
		if (strcmp(s.text, rows[i].said) != 0)
			fail_msg("row %zu: %s", i, s.text);
		message_free(m[0]);
		message_free(m[1]);
	}
}

/* A hole may be anywhere; a body that ends before its own length is cut though nobody says so. */
static void test_holes(void **state)
{
	struct message *a = answer("200 OK", "abcxyz"), *b = answer("200 OK", "abcdefxyz");
	static struct said s;

	a->body_size = 9;
	cut_to(a, 6, MESSAGE_GAP);
	compare(*state, a, b, &s);
	assert_string_equal(s.text, "");
	message_free(a);
	a = answer("200 OK\r\nContent-Length: 9", "abcd");
	compare(*state, a, b, &s);
	assert_string_equal(s.text, "(noise) header missing content-length: 9 -> \n");
	message_free(a);
	message_free(b);
}

static void test_ceilings(void **state)
{
	unsigned n = LIMIT_DIFFERENCES + 500;
	struct buf left, right;
	struct message *a, *b;
	static struct said s;

	buf_init(&left, BODY_MAX);
	buf_init(&right, BODY_MAX);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(buf_addf(&left, "%s{\"id\":1,\"v\":1}", i ? "," : "["), SC_OK);
		assert_int_equal(buf_addf(&right, "%s{\"id\":2,\"v\":2}", i ? "," : "["), SC_OK);
	}
	STR(&left, "]");
	STR(&right, "]");
	a = answer_bytes("200 OK", buf_span(&left));
	b = answer_bytes("200 OK", buf_span(&right));
	assert_int_equal(comparer_ignore(*state, "json:..id", NULL), SC_OK);
	compare(*state, a, b, &s);
	assert_int_equal(s.count, LIMIT_DIFFERENCES);
	assert_int_equal(s.noise, LIMIT_DIFFERENCES);
	message_free(a);
	message_free(b);
	buf_done(&left);
	buf_done(&right);
}

static void test_long_texts(void **state)
{
	static char value[2][1000];
	static char head[2][2100];
	struct message *m[2];
	static struct said s;

	for (int k = 0; k < 2; k++) {
		memset(value[k], 'a', sizeof(value[k]) - 1);
		/* A character of two bytes across the ceiling. */
		value[k][LIMIT_DIFFERENCE_TEXT - 1] = (char)0xc3;
		value[k][LIMIT_DIFFERENCE_TEXT] = (char)0xa4;
		value[k][998] = (char)('0' + k);
		snprintf(head[k], sizeof(head[k]), "200 OK\r\nA: %s", value[k]);
		m[k] = answer(head[k], "");
	}
	compare(*state, m[0], m[1], &s);
	assert_int_equal(s.n, strlen("header header a:  -> \n") + 2 * (LIMIT_DIFFERENCE_TEXT - 1));
	message_free(m[0]);
	message_free(m[1]);
}

/* Either all of it, or SC_ENOMEM; never something else, and nothing leaks. */
static void test_no_memory(void **state)
{
	struct message *a = coded("gzip", span_str("{\"a\":[1,2],\"b\":{\"x\":1},\"c\":0}"));
	struct message *b = coded("br", span_str("{\"b\":{\"x\":2},\"a\":[2,1],\"d\":0}"));
	static struct said whole, s;
	int rc = SC_ENOMEM;
	long n;

	compare(*state, a, b, &whole);
	for (n = 0; rc == SC_ENOMEM && n < 1000; n++) {
		struct comparer *c;

		allowed = n;
		c = comparer_new();
		s.n = s.count = s.noise = 0;
		rc = c ? compare_answers(c, a, b, note, &s) : SC_ENOMEM;
		if (c && !rc)
			rc = comparer_ignore(c, "json:$.a[*]['b c']", NULL);
		if (c && !rc)
			rc = comparer_ignore(c, "header:x", NULL);
		comparer_free(c);
		allowed = -1;
	}
	assert_int_equal(rc, SC_OK);
	assert_true(n > 10);
	assert_string_equal(s.text, whole.text);
	message_free(a);
	message_free(b);
}

static void test_tables(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, BODY_MAX);
	for (int i = 0; i < KINDS; i++) {
		assert_true(*difference_kind_name((enum difference_kind)i));
		assert_true(*difference_kind_help((enum difference_kind)i));
	}
	for (int i = 0; i < PLACES; i++)
		assert_true(*difference_place_name((enum difference_place)i));
	assert_int_equal(comparer_print_noise(&out), SC_OK);
	STR(&out, "");
	assert_non_null(memmem(out.data, out.len, "traceparent ", 12));
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_COMPARER(test_status),	 WITH_COMPARER(test_no_answer),
		WITH_COMPARER(test_status_only), WITH_COMPARER(test_headers),
		WITH_COMPARER(test_noise),	 WITH_COMPARER(test_cookies),
		WITH_COMPARER(test_json),	 WITH_COMPARER(test_other_bodies),
		WITH_COMPARER(test_ignored),	 WITH_COMPARER(test_ignore_wrong),
		WITH_COMPARER(test_codings),	 WITH_COMPARER(test_bad_codings),
		WITH_COMPARER(test_cuts),	 WITH_COMPARER(test_cut_text),
		WITH_COMPARER(test_holes),	 WITH_COMPARER(test_ceilings),
		WITH_COMPARER(test_long_texts),	 WITH_COMPARER(test_no_memory),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
