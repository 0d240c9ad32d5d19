/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: heads to index and back, edits that leave every other byte alone, targets, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/limits.h"
#include "core/message.h"

static struct message *parse(const char *head)
{
	struct message *m = NULL;

	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), 1024, &m), SC_OK);
	return m;
}

static void assert_head(const struct message *m, const char *head)
{
	assert_int_equal(m->head_len, strlen(head));
	assert_memory_equal(m->head, head, m->head_len);
}

static void assert_span(struct span s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.p, text, s.len);
}

static void test_parse_request(void **state)
{
	struct message *m = parse("GET /a?b=1 HTTP/1.1\r\nHost: h:80\r\nX:y  \r\nEmpty:\r\n\r\n");

	(void)state;
	assert_int_equal(m->status, 0);
	assert_span(message_method(m), "GET");
	assert_span(message_target(m), "/a?b=1");
	assert_int_equal(m->major, 1);
	assert_int_equal(m->minor, 1);
	assert_int_equal(m->n_fields, 3);
	assert_span(message_name(m, 1), "X");
	assert_span(message_value(m, 1), "y");
	assert_span(message_value(m, 2), "");
	assert_span(message_host(m), "h:80");
	message_free(m);
}

static void test_parse_odd(void **state)
{
	static const struct {
		const char *head;
		int rc;
		unsigned status, fields;
	} rows[] = {
		{"HTTP/1.1 204 No Content\r\n\r\n", SC_OK, 204, 0},
		{"HTTP/1.0 200\nA: b\n\n", SC_OK, 200, 1},
		{"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nD: e\r\n\r\n", SC_OK, 200, 2},
		{"HTTP/1.1 200 OK\r\nno colon here\r\nD: e\r\n\r\n", SC_OK, 200, 1},
		{"HTTP/1.1 20 OK\r\n\r\n", SC_EPROTO, 0, 0},
		{"HTTP/1.1 000 OK\r\n\r\n", SC_EPROTO, 0, 0},
		{"M-SEARCH * HTTP/1.1\r\nHost: x\r\n\r\n", SC_OK, 0, 1},
		{"GET /a b HTTP/1.1\r\n\r\n", SC_OK, 0, 0},
		{"GET /old\r\n", SC_OK, 0, 0},
		{"GET\r\n\r\n", SC_EPROTO, 0, 0},
		{" / HTTP/1.1\r\n\r\n", SC_EPROTO, 0, 0},
		{"\r\n", SC_EPROTO, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message *m = NULL;
		int rc = message_parse((const uint8_t *)rows[i].head, strlen(rows[i].head), 0, &m);

		if (rc != rows[i].rc)
			fail_msg("row %zu: %d", i, rc);
		if (rc)
			continue;
		assert_int_equal(m->status, rows[i].status);
		assert_int_equal(m->n_fields, rows[i].fields);
		message_free(m);
	}
}

/* Any prefix of any head must be taken or refused without reading past its end. */
static void test_parse_cut(void **state)
{
	static const char head[] = "POST /x?y HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n";

	(void)state;
	for (size_t n = 0; n < sizeof(head); n++) {
		uint8_t *copy = malloc(n ? n : 1);
		struct message *m = NULL;

		memcpy(copy, head, n);
		(void)message_parse(copy, n, 0, &m);
		message_free(m);
		free(copy);
	}
}

static void test_edit(void **state)
{
	struct message *m = parse("GET /httpbin/a?q HTTP/1.1\r\nhOst:old\r\nA:  1\r\na: 2\r\nZ:\r\n\r\n");

	(void)state;
	assert_int_equal(message_set_target(m, span_str("//a?q")), SC_OK);
	assert_head(m, "GET //a?q HTTP/1.1\r\nhOst:old\r\nA:  1\r\na: 2\r\nZ:\r\n\r\n");
	assert_int_equal(message_set_field(m, span_str("Host"), span_str("new.example:81")), SC_OK);
	assert_head(m, "GET //a?q HTTP/1.1\r\nhOst:new.example:81\r\nA:  1\r\na: 2\r\nZ:\r\n\r\n");
	assert_int_equal(message_set_field(m, span_str("A"), span_str("3")), SC_OK);
	assert_head(m, "GET //a?q HTTP/1.1\r\nhOst:new.example:81\r\nA:  3\r\nZ:\r\n\r\n");
	assert_int_equal(message_set_field(m, span_str("Z"), span_str("v")), SC_OK);
	assert_head(m, "GET //a?q HTTP/1.1\r\nhOst:new.example:81\r\nA:  3\r\nZ: v\r\n\r\n");
	assert_int_equal(message_add_field(m, span_str("N"), span_str("w")), SC_OK);
	assert_int_equal(message_remove_all(m, span_str("a")), SC_OK);
	assert_head(m, "GET //a?q HTTP/1.1\r\nhOst:new.example:81\r\nZ: v\r\nN: w\r\n\r\n");
	assert_span(message_value(m, 2), "w");
	assert_span(message_target(m), "//a?q");
	assert_span(message_method(m), "GET");
	message_free(m);
}

static void test_edit_bounds(void **state)
{
	struct message *m = parse("GET / HTTP/1.1\r\n\r\n");
	struct message *old = parse("GET /old\r\n");
	char *big = calloc(1, LIMIT_HEAD_BYTES);

	(void)state;
	memset(big, 'x', LIMIT_HEAD_BYTES);
	assert_int_equal(message_add_field(m, span_str("A"), span_of(big, LIMIT_HEAD_BYTES)), SC_EFULL);
	assert_int_equal(message_set_target(m, span_of(big, LIMIT_HEAD_BYTES)), SC_EFULL);
	assert_head(m, "GET / HTTP/1.1\r\n\r\n");
	/* HTTP/0.9 has no place for a field. */
	assert_int_equal(message_add_field(old, span_str("A"), span_str("b")), SC_EPROTO);
	free(big);
	message_free(m);
	message_free(old);
}

static void test_canonical(void **state)
{
	static const struct {
		const char *head;
		bool canonical;
	} rows[] = {
		{"GET /a?b HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", true},
		{"GET /a? HTTP/1.0\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", true},
		{"GET /a HTTP/1.1\r\nHost:h\r\n\r\n", false},
		{"GET /a HTTP/1.1\r\nHost: h \r\n\r\n", false},
		{"GET /a HTTP/1.1\nHost: h\n\n", false},
		{"GET  /a HTTP/1.1\r\n\r\n", false},
		{"GET http://h/a HTTP/1.1\r\n\r\n", false},
		{"GET /a HTTP/1.1\r\nA: b\r\n c\r\n\r\n", false},
		{"GET /a http/1.1\r\n\r\n", false},
		{"OPTIONS * HTTP/1.1\r\n\r\n", true},
		{"CONNECT h:443 HTTP/1.1\r\n\r\n", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message *m = parse(rows[i].head);

		if (message_is_canonical(m) != rows[i].canonical)
			fail_msg("row %zu: %s", i, rows[i].head);
		message_free(m);
	}
}

static void test_build(void **state)
{
	struct header headers[] = {{span_str("Host"), span_str("h")}, {span_str("a"), span_str("")}};
	struct message *m = NULL;

	(void)state;
	assert_int_equal(message_build_request(span_str("PUT"), span_str("/p?q"), span_str("1.0"),
					       headers, 2, 0, &m), SC_OK);
	assert_head(m, "PUT /p?q HTTP/1.0\r\nHost: h\r\na: \r\n\r\n");
	assert_true(message_is_canonical(m));
	message_free(m);
	assert_int_equal(message_build_response(404, span_str("Not Found"), span_str("HTTP/2"),
						headers, 1, 0, &m), SC_OK);
	assert_head(m, "HTTP/1.1 404 Not Found\r\nHost: h\r\n\r\n");
	assert_int_equal(m->status, 404);
	message_free(m);
}

static void test_targets(void **state)
{
	static const struct {
		const char *target, *scheme, *authority, *path, *query;
	} rows[] = {
		{"/", NULL, NULL, "/", NULL},
		{"/a?b?c", NULL, NULL, "/a", "b?c"},
		{"/a?", NULL, NULL, "/a", ""},
		{"//headers", NULL, NULL, "//headers", NULL},
		{"/a:b", NULL, NULL, "/a:b", NULL},
		{"*", NULL, NULL, "*", NULL},
		{"http://h", "http", "h", "/", NULL},
		{"http://h:1/p?q", "http", "h:1", "/p", "q"},
		{"https://u@h?q", "https", "u@h", "/", "q"},
		{"h:443", NULL, "h:443", "h:443", NULL},
		{"?q", NULL, NULL, "/", "q"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct target t;
		const char *const want[] = {rows[i].scheme, rows[i].authority, rows[i].path,
					    rows[i].query};
		struct span have[4];

		target_split(span_str(rows[i].target), &t);
		have[0] = t.scheme;
		have[1] = t.authority;
		have[2] = t.path;
		have[3] = t.query;
		for (int k = 0; k < 4; k++) {
			assert_true((have[k].p != NULL) == (want[k] != NULL));
			if (want[k])
				assert_span(have[k], want[k]);
		}
	}
}

static void test_json(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} rows[] = {
		{"", 0, "\"\""},
		{"plain", 5, "\"plain\""},
		{"q\"b\\s/\n\t\x01", 9, "\"q\\\"b\\\\s/\\n\\t\\u0001\""},
		{"a\0b", 3, "\"a\\u0000b\""},
		{"\xc3\xa9", 2, "\"\xc3\xa9\""},
		{"\xe9", 1, "\"\xc3\xa9\""},         /* not UTF-8: ISO 8859-1 */
		{"\xc0\x80", 2, "\"\xc3\x80\xc2\x80\""}, /* an overlong form is not UTF-8 */
		{"\xed\xa0\x80", 3, "\"\xc3\xad\xc2\xa0\xc2\x80\""}, /* nor is a surrogate */
		{"\x7f", 1, "\"\\u007f\""},
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1024);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		assert_int_equal(json_add_string(&b, span_of(rows[i].in, rows[i].len)), SC_OK);
		assert_span(buf_span(&b), rows[i].out);
	}
	buf_done(&b);
}

static void test_buf(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_add_str(&b, "12345678"), SC_OK);
	assert_int_equal(buf_add_str(&b, "9ab"), SC_EFULL);
	assert_int_equal(b.len, 8);
	assert_int_equal(buf_add_str(&b, "9a"), SC_OK);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), SC_EFULL);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_request), cmocka_unit_test(test_parse_odd),
		cmocka_unit_test(test_parse_cut),     cmocka_unit_test(test_edit),
		cmocka_unit_test(test_edit_bounds),   cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_build),         cmocka_unit_test(test_targets),
		cmocka_unit_test(test_json),          cmocka_unit_test(test_buf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
