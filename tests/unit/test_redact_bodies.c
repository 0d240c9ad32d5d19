/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies in their codings, bodies that are cut, bodies that cannot be looked into, and JSON that
 * nobody thought of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/coding.h"
#include "core/rng.h"
#include "redact_fixture.h"

#define SECRET "hunter2-hunter2"

static struct exchange *exchange_with(const char *fields, struct span body, uint64_t missing)
{
	struct exchange *ex = make_pair("GET / HTTP/1.1\r\nHost: h\r\n\r\n", NULL);
	char head[512];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\nA: b\r\n\r\n", fields,
			 body.len + (size_t)missing);

	ex->response = make_wire(span_of(head, (size_t)n), 0);
	assert_int_equal(buf_add_span(&ex->response->body, body), SC_OK);
	ex->response->body_size = body.len + missing;
	ex->state = EXCHANGE_COMPLETE;
	if (missing) {
		ex->response->flags |= MESSAGE_CAPPED;
		ex->state = EXCHANGE_TRUNCATED;
	}
	return ex;
}

static const struct {
	const char *name;
	struct codings codings;
} rows[] = {
	{"identity", {{0}, 0}},
	{"gzip", {{CODING_GZIP}, 1}},
	{"X-GZip", {{CODING_GZIP}, 1}},
	{"deflate", {{CODING_DEFLATE}, 1}},
	{"deflate", {{CODING_RAW_DEFLATE}, 1}},
	{"br", {{CODING_BR}, 1}},
	{"zstd", {{CODING_ZSTD}, 1}},
	{"gzip, br", {{CODING_GZIP, CODING_BR}, 2}},
	{"br,identity , zstd,gzip", {{CODING_BR, CODING_ZSTD, CODING_GZIP}, 3}},
	{"gzip,gzip,deflate,br", {{CODING_GZIP, CODING_GZIP, CODING_RAW_DEFLATE, CODING_BR}, 4}},
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static struct buf encoded(size_t row, struct span text)
{
	struct buf out;

	buf_init(&out, 80 * MIB);
	assert_int_equal(codings_encode(&rows[row].codings, text, &out), SC_OK);
	return out;
}

static const char *fields_of(size_t row)
{
	static char text[200];

	(void)snprintf(text, sizeof(text),
		       "Content-Type: application/json\r\nContent-Encoding: %s\r\n",
		       rows[row].name);
	return text;
}

static void assert_decoded(const struct message *m, size_t row, const char *expected)
{
	bool cut = m->body.len < m->body_size;
	struct codings c = rows[row].codings;
	struct buf text;

	buf_init(&text, MIB);
	assert_int_equal(codings_decode(&c, buf_span(&m->body), cut, &text), SC_OK);
	assert_memory_equal(&c, &rows[row].codings, sizeof(c));
	assert_int_equal(text.len, strlen(expected));
	assert_memory_equal(text.data, expected, text.len);
	buf_done(&text);
}

static void test_codings(void **state)
{
	static const char text[] =
		"{\"user\": 1.50, \"password\": \"" SECRET "\", \"x\": [\"" SECRET "\"]}";

	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct buf body = encoded(i, span_str(text));
		struct exchange *ex = exchange_with(fields_of(i), buf_span(&body), 0);
		struct message *m = ex->response;
		char length[24];

		assert_int_equal(redact_with("secrets", ex, NULL), VERDICT_KEEP);
		assert_decoded(m, i, "{\"user\": 1.50, \"password\": \"***\", \"x\": [\"***\"]}");
		assert_int_equal(m->body_size, m->body.len);
		(void)snprintf(length, sizeof(length), "%zu", m->body.len);
		assert_true(span_eq(message_value(m, 2), span_str(length)));
		assert_true(span_eq(message_value(m, 1), span_str(rows[i].name)));
		assert_int_equal(ex->state, EXCHANGE_COMPLETE);
		assert_index(m);
		exchange_free(ex);

		/* What has nothing to hide is not even encoded again. */
		ex = exchange_with(fields_of(i), buf_span(&body), 0);
		assert_int_equal(redact_with("json:$.nothing\nheader:none", ex, NULL),
				 VERDICT_KEEP);
		assert_true(span_eq(buf_span(&ex->response->body), buf_span(&body)));
		exchange_free(ex);
		buf_done(&body);
	}
}

static char *long_document(size_t n)
{
	char *text = malloc(n * 100 + 10), *at = text;
	uint64_t noise = 88172645463325252u;

	assert_non_null(text);
	*at++ = '[';
	for (size_t i = 0; i < n; i++) {
		noise = hash_bytes(&noise, sizeof(noise), i);
		at += snprintf(at, 100,
			       "%s{\"id\": \"%016llx\", \"password\": \"" SECRET "%03zu\"}",
			       i ? ", " : "", (unsigned long long)noise, i);
	}
	(void)snprintf(at, 3, "]");
	return text;
}

/* Encoded, and its end is missing: whatever can be decoded is redacted and encoded as a whole. */
static void test_codings_cut(void **state)
{
	char *text = long_document(40);

	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct buf body = encoded(i, span_str(text));
		size_t shown = 0;

		for (size_t cut = 1; cut < body.len; cut += 1 + body.len / 97) {
			struct exchange *ex = exchange_with(
				fields_of(i), span_of(body.data, cut), body.len - cut);
			struct message *m = ex->response;
			uint64_t closed;
			char length[24];

			assert_int_equal(redact_with("secrets", ex, &closed), VERDICT_KEEP);
			assert_int_equal(closed, 0);
			assert_false(message_holds(m, span_str("hunter2")));
			assert_true(m->body.len < m->body_size && m->body_size >= body.len);
			(void)snprintf(length, sizeof(length), "%zu", body.len);
			assert_true(span_eq(message_value(m, 2), span_str(length)));
			assert_int_equal(ex->state, EXCHANGE_TRUNCATED);
			shown += message_holds(m, span_str("***"));
			exchange_free(ex);
		}
		assert_true(shown > 0 || strstr(rows[i].name, "zstd") ||
			    strstr(rows[i].name, "br"));
		buf_done(&body);
	}
	free(text);
}

/* Cut after each byte: not even the beginning of a secret is left. */
static void test_cut_anywhere(void **state)
{
	static const struct {
		const char *rules, *fields, *body;
	} texts[] = {
		{"json:$..pw", "Content-Type: application/json\r\n",
		 "{\"a\":[{\"pw\":\"hunter\\u0032\\\\hunter2\"},{\"p\\u0077\" : "
		 "{\"x\":[\"hunter2\",9988776655]}}],"
		 "\"pw\":9988776655,\"z\":\"\\\"\"}"},
		{"json:$..pw=drop", "Content-Type: application/x-ndjson\r\n",
		 "{\"pw\":\"hunter2\",\"b\":[1,{\"pw\":\"hunter2\" , "
		 "\"c\":0}]}\n{\"pw\":9988776655}\n"},
		{"json:$[*][1]=hash", "", " [[0, \"hunter2\"], [1, {\"k\":\"hunter2\"}], [3]]"},
		{"form:pw", "Content-Type: application/x-www-form-urlencoded\r\n",
		 "a=b&pw=hunter2%20hunter2&c&pw=9988776655&x=y"},
		{"form:pw=drop", "Content-Type: application/x-www-form-urlencoded\r\n",
		 "pw=hunter2&a=b&pw=9988776655&x=y"},
		{"form:pw", "Content-Type: multipart/form-data; boundary=b\r\n",
		 "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b\r\n"
		 "Content-Disposition: form-data; name=\"pw\"; "
		 "filename=f\r\n\r\nhunter2\r\n9988776655\r\n--b--\r\n"},
	};
	uint64_t closed;

	(void)state;
	for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
		size_t len = strlen(texts[t].body);

		for (size_t cut = 1; cut < len; cut++) {
			struct exchange *ex = exchange_with(
				texts[t].fields, span_of(texts[t].body, cut), len - cut);

			assert_int_equal(redact_with(texts[t].rules, ex, &closed), VERDICT_KEEP);
			assert_int_equal(closed, 0);
			if (message_holds(ex->response, span_str("hunt")) ||
			    message_holds(ex->response, span_str("9988")))
				fail_msg("text %zu cut at %zu: %.*s", t, cut,
					 (int)ex->response->body.len,
					 (char *)ex->response->body.data);
			assert_true(ex->response->body.len < ex->response->body_size);
			exchange_free(ex);
		}
	}
}

/* The cut goes through an echo: as far as it can be told, its beginning goes too. */
static void test_cut_echo(void **state)
{
	static const char body[] = "<p>abcdefghijkl</p><b>abc%64efghijkl</b>";

	(void)state;
	for (size_t cut = 1; cut < sizeof(body) - 1; cut++) {
		struct exchange *ex = make_pair("GET / HTTP/1.1\r\nX: abcdefghijkl\r\n\r\n", NULL);

		ex->response = make_wire(span_str("HTTP/1.1 200 OK\r\n\r\n"), 0);
		assert_int_equal(buf_add(&ex->response->body, body, cut), SC_OK);
		ex->response->body_size = sizeof(body);
		ex->response->flags |= MESSAGE_GAP;
		assert_int_equal(redact_with("header:X", ex, NULL), VERDICT_KEEP);
		assert_false(message_holds(ex->response, span_str("abcdef")));
		assert_false(message_holds(ex->response, span_str("c%64ef")));
		exchange_free(ex);
	}
}

#define GZIP "Content-Encoding: gzip\r\n"
#define TYPE_JSON "Content-Type: application/json\r\n"

static void test_closed(void **state)
{
	static const struct {
		const char *rules, *fields, *body;
		uint64_t closed;
	} table[] = {
		{"secrets", TYPE_JSON "Content-Encoding: compress\r\n", "x", 1},
		{"secrets", TYPE_JSON "Content-Encoding: gzip,gzip,gzip,gzip,gzip\r\n", "x", 1},
		{"secrets", TYPE_JSON GZIP, "{\"a\":1}", 1},
		{"secrets", TYPE_JSON "Content-Encoding: br\r\n", "\xff\xff\xff", 1},
		{"secrets", TYPE_JSON "Content-Encoding: zstd\r\n", "\xff\xff\xff", 1},
		{"secrets", TYPE_JSON "Content-Encoding: deflate\r\n", "\x78\x9c\xff\xff", 1},
		{"secrets", TYPE_JSON "Transfer-Encoding: gzip, chunked\r\n", "x", 1},
		{"secrets", TYPE_JSON, "<html>", 1},
		{"secrets", TYPE_JSON, "{\"a\":", 1},
		{"secrets", TYPE_JSON, "{\"a\":\"b", 1},
		{"secrets", TYPE_JSON, "{'a':1}", 1},
		{"secrets", TYPE_JSON, "[1}", 1},
		{"secrets", TYPE_JSON, "{\"a\" 1}", 1},
		{"secrets", "", "{\"a\":1, b", 1},
		{"secrets", "", "{ b }", 0},
		{"secrets", "", "plain", 0},
		{"form:a", TYPE_JSON, "<html>", 0},
		{"form:a", "Content-Type: multipart/form-data\r\n", "x", 1},
		{"form:a", "Content-Type: multipart/form-data; boundary=x\r\n", "--x\r\n\r\n", 1},
		{"json:a", "Content-Type: multipart/form-data\r\n", "x", 0},
		{"json:a", "Content-Type: image/png\r\n" GZIP, "x", 0},
		{"json:a", "Content-Type: image/png\r\n", "\x89PNG", 0},
		/* With something to look for every body is looked into. */
		{"header:A=mask\nheader:X", "X: abcdefgh\r\nContent-Type: image/png\r\n" GZIP, "x",
		 1},
		{"header:X", "X: abcdefgh\r\nContent-Type: image/png\r\n", "x", 0},
		{"header:X", "X: abcdefgh\r\nContent-Encoding: aws-chunked\r\n", "x", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t len = strlen(table[i].body);
		struct exchange *ex = exchange_with(table[i].fields, span_str(table[i].body), 0);
		struct message *m = ex->response;
		uint64_t closed;
		int at = message_find(m, "Content-Length", 0);
		char length[24];

		assert_int_equal(buf_add_str(&m->chunk_lines, "1\r\n0\r\n\r\n"), SC_OK);
		assert_int_equal(redact_with(table[i].rules, ex, &closed), VERDICT_KEEP);
		if (closed != table[i].closed)
			fail_msg("row %zu", i);
		(void)snprintf(length, sizeof(length), "%zu", len);
		assert_true(span_eq(message_value(m, (uint32_t)at), span_str(length)));
		assert_int_equal(m->body_size, len);
		assert_int_equal(m->body.len, closed ? 0 : len);
		assert_int_equal(!(m->flags & MESSAGE_CAPPED), !closed);
		assert_int_equal(ex->state, closed ? EXCHANGE_TRUNCATED : EXCHANGE_COMPLETE);
		assert_int_equal(m->chunk_lines.len, closed ? 0 : 8);
		exchange_free(ex);
	}
}

static void assert_closed(const char *fields, struct span body)
{
	struct exchange *ex = exchange_with(fields, body, 0);
	uint64_t closed;

	assert_int_equal(redact_with("secrets", ex, &closed), VERDICT_KEEP);
	assert_int_equal(closed, 1);
	assert_int_equal(ex->response->body.len, 0);
	exchange_free(ex);
}

/* Depth and size that nobody sends in earnest: bounded work, then it is closed. */
static void test_bombs(void **state)
{
	static const size_t codings[] = {1, 3, 5, 6}; /* gzip, deflate, br, zstd */
	char *deep = malloc(4 * KIB), *zeros = calloc(1, 65 * MIB);

	(void)state;
	assert_non_null(deep);
	assert_non_null(zeros);
	memset(deep, '[', 4 * KIB);
	assert_closed(TYPE_JSON, span_of(deep, 4 * KIB));
	memset(zeros, ' ', 65 * MIB);
	for (size_t i = 0; i < sizeof(codings) / sizeof(codings[0]); i++) {
		struct buf bomb = encoded(codings[i], span_of(zeros, 65 * MIB));

		assert_true(bomb.len < MIB);
		assert_closed(fields_of(codings[i]), buf_span(&bomb));
		buf_done(&bomb);
	}
	free(deep);
	free(zeros);
}

/* Needles and a text made so that every place of it looks like each of them: given up in time. */
static void test_echo_work(void **state)
{
	struct exchange *ex = exchange_with("", span_str(""), 0);
	struct buf *body = &ex->response->body, head;
	uint64_t closed;

	(void)state;
	buf_init(&head, LIMIT_HEAD_BYTES);
	assert_int_equal(buf_add_str(&head, "GET /?"), SC_OK);
	for (int n = 6; n < 600; n++)
		assert_int_equal(buf_addf(&head, "&t=%0*d", n, 0), SC_OK);
	assert_int_equal(buf_add_str(&head, " HTTP/1.1\r\n\r\n"), SC_OK);
	message_free(ex->request);
	assert_int_equal(message_parse(head.data, head.len, 0, &ex->request), SC_OK);
	buf_done(&head);
	assert_int_equal(buf_reserve(body, MIB), SC_OK);
	memset(body->data, '0', MIB);
	body->len = ex->response->body_size = MIB;
	assert_int_equal(redact_with("query:t", ex, &closed), VERDICT_KEEP);
	assert_int_equal(closed, 1);
	assert_int_equal(body->len, 0);
	exchange_free(ex);
}

static void test_stray_ends(void **state)
{
	(void)state;
	for (size_t i = 1; i < N_ROWS; i++) {
		struct buf body = encoded(i, span_str("{}"));

		assert_int_equal(buf_add_str(&body, "junk"), SC_OK);
		assert_closed(fields_of(i), buf_span(&body));
		body.len -= 6; /* whole by its length, but not to its own end */
		assert_closed(fields_of(i), buf_span(&body));
		buf_done(&body);
	}
}

/* Two members of gzip, two frames of zstd are one body. */
static void test_joined_streams(void **state)
{
	static const size_t codings[] = {1, 6};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct buf body = encoded(codings[i], span_str("{\"password\":\"" SECRET));
		struct buf rest = encoded(codings[i], span_str("\"}"));
		struct exchange *ex;

		assert_int_equal(buf_add_span(&body, buf_span(&rest)), SC_OK);
		ex = exchange_with(fields_of(codings[i]), buf_span(&body), 0);
		assert_int_equal(redact_with("secrets", ex, NULL), VERDICT_KEEP);
		assert_decoded(ex->response, codings[i], "{\"password\":\"***\"}");
		exchange_free(ex);
		buf_done(&body);
		buf_done(&rest);
	}
}

/* One value is one hash, wherever and however it is written. */
static void test_hash_joins(void **state)
{
	struct exchange *ex = make_pair(
		"POST /?q=p%40ss+w%2Ford HTTP/1.1\r\nX: p@ss w/ord\r\nCookie: c=\"p@ss w/ord\"\r\n"
		"Content-Type: application/x-www-form-urlencoded\r\n\r\nf=p@ss%20w/ord",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"j\":\"p\\u0040ss "
		"w\\/ord\"}");
	struct span hash, body;

	(void)state;
	assert_int_equal(
		redact_with("query:q=hash\nheader:X=hash\ncookie:c=hash\nform:f=hash\njson:j=hash",
			    ex, NULL),
		VERDICT_KEEP);
	hash = message_value(ex->request, 0);
	assert_int_equal(hash.len, 69);
	assert_true(span_starts(hash, span_str("hmac:")));
	assert_true(span_ends(message_target(ex->request), hash));
	assert_true(span_ends(message_value(ex->request, 1), hash));
	assert_true(span_ends(buf_span(&ex->request->body), hash));
	body = buf_span(&ex->response->body);
	assert_true(span_eq(span_of(body.p + 6, body.len - 8), hash));
	exchange_free(ex);
}

/* Random documents: what is planted goes, every other byte stays. */
struct grower {
	struct rng rng;
	struct buf text, expected;
	bool hidden; /* inside of what goes */
	unsigned planted;
};

static unsigned dice(struct grower *g, unsigned n)
{
	return (unsigned)(rng_next(&g->rng) % n);
}

static void both(struct grower *g, const char *s)
{
	assert_int_equal(buf_add_str(&g->text, s), SC_OK);
	if (!g->hidden)
		assert_int_equal(buf_add_str(&g->expected, s), SC_OK);
}

static void grow_space(struct grower *g)
{
	static const char *const spaces[] = {"", "", "", " ", "\n\t", "\r\n"};

	both(g, spaces[dice(g, 6)]);
}

static void grow_scalar(struct grower *g)
{
	static const char *const plain[] = {
		"1",	     "-0.5e+7",	   "true",     "null",	       "\"\"",
		"\"pw\"",    "\"x\\\"y\"", "\"\\\\\"", "\"\\u0070w\"", "\"{\\\"pw\\\":1}\"",
		"\"a:b,c}\""};
	char secret[64];

	if (!g->hidden) {
		both(g, plain[dice(g, sizeof(plain) / sizeof(plain[0]))]);
		return;
	}
	(void)snprintf(secret, sizeof(secret),
		       dice(g, 2) ? "\"S3CR3T%08x\\\"%c\"" : "5553535%08u%c",
		       (unsigned)rng_next(&g->rng), '0' + dice(g, 10));
	both(g, secret);
}

static void grow_value(struct grower *g, unsigned depth);

static void grow_member(struct grower *g, unsigned depth)
{
	static const char *const names[] = {"\"a\"", "\"pwd\"", "\"PW\"", "\"\"", "\"p\\\\w\""};
	static const char *const hit[] = {"\"pw\"", "\"\\u0070w\"", "\"p\\u0077\""};
	bool plant = !g->hidden && dice(g, 4) == 0;

	both(g, plant ? hit[dice(g, 3)] : names[dice(g, 5)]);
	grow_space(g);
	both(g, ":");
	grow_space(g);
	if (plant) {
		assert_int_equal(buf_add_str(&g->expected, "\"***\""), SC_OK);
		g->hidden = true;
		g->planted++;
	}
	grow_value(g, depth);
	if (plant)
		g->hidden = false;
}

static void grow_value(struct grower *g, unsigned depth)
{
	unsigned n = dice(g, 4), kind = depth ? dice(g, 3) : 0;

	if (kind == 0) {
		grow_scalar(g);
		return;
	}
	both(g, kind == 1 ? "{" : "[");
	grow_space(g);
	for (unsigned i = 0; i < n; i++) {
		if (i) {
			both(g, ",");
			grow_space(g);
		}
		if (kind == 1)
			grow_member(g, depth - 1);
		else
			grow_value(g, depth - 1);
		grow_space(g);
	}
	both(g, kind == 1 ? "}" : "]");
}

static void check_grown(struct grower *g, struct stage *stage, size_t row)
{
	struct buf body = encoded(row, buf_span(&g->text));
	struct exchange *ex = exchange_with(fields_of(row), buf_span(&body), 0);
	struct message *m = ex->response;

	assert_int_equal(stage->ops->whole(stage, ex), VERDICT_KEEP);
	assert_false(message_holds(m, span_str("S3CR3T")));
	assert_false(message_holds(m, span_str("5553535")));
	assert_int_equal(buf_add(&g->expected, "", 1), SC_OK);
	assert_decoded(m, row, (char *)g->expected.data);
	if (!g->planted)
		assert_true(span_eq(buf_span(&m->body), buf_span(&body)));
	exchange_free(ex);
	buf_done(&body);
}

static void test_random_json(void **state)
{
	struct redaction *r = make_redaction("json:$..pw");
	struct stage *stage = stage_redact_new(r);
	unsigned planted = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 3000; seed++) {
		struct grower g = {.planted = 0};

		rng_init(&g.rng, seed);
		buf_init(&g.text, MIB);
		buf_init(&g.expected, MIB);
		grow_value(&g, 6);
		check_grown(&g, stage, seed % 10 ? 0 : seed / 10 % N_ROWS);
		planted += g.planted;
		buf_done(&g.text);
		buf_done(&g.expected);
	}
	assert_true(planted > 1000);
	assert_int_equal(redaction_closed(r), 0);
	stage_free(stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codings),        cmocka_unit_test(test_codings_cut),
		cmocka_unit_test(test_cut_anywhere),   cmocka_unit_test(test_cut_echo),
		cmocka_unit_test(test_closed),         cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_echo_work),
		cmocka_unit_test(test_stray_ends),     cmocka_unit_test(test_joined_streams),
		cmocka_unit_test(test_hash_joins),     cmocka_unit_test(test_random_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
