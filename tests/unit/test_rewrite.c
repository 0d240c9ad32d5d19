/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to a request, each as a table of heads before and after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rewrite.h"

static struct exchange *exchange_of(const char *head)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), 0, &ex->request), SC_OK);
	return ex;
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
		{"~^/a=/b", "GET /a/a HTTP/1.1\r\n\r\n", "GET /b/a HTTP/1.1\r\n\r\n"},
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
	assert_rewritten(stage_host_new(HOST_TARGET, "t:1"),
			 "GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n",
			 "GET http://t:1/a?b HTTP/1.1\r\nHost: t:1\r\n\r\n");
	assert_rewritten(stage_host_new(HOST_SHADOW, NULL),
			 "GET http://h:80 HTTP/1.1\r\nHost: x\r\n\r\n",
			 "GET http://h-shadow:80 HTTP/1.1\r\nHost: h-shadow:80\r\n\r\n");
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
	assert_int_equal(stage_header_new(HEADER_SET, "Content-Length: 1", &s, &err), SC_EINVAL);
	assert_int_equal(stage_header_new(HEADER_REMOVE, "transfer-encoding", &s, &err), SC_EINVAL);
	assert_int_equal(stage_header_new(HEADER_SET, "Host: a b", &s, &err), SC_EINVAL);
	assert_int_equal(stage_header_new(HEADER_SET, "host: h", &s, &err), SC_OK);
	assert_rewritten(s, "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
			 "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_paths(void **state)
{
	static const struct {
		enum path_change change;
		const char *from, *to, *path, *out;
	} rows[] = {
		{PATH_CHANGE_PREFIX, "/httpbin", "/", "/httpbin/headers", "//headers"},
		{PATH_CHANGE_PREFIX, "/httpbin", "/", "/httpbinX", "/X"},
		{PATH_CHANGE_PREFIX, "/", "/x", "/a", "/xa"},
		{PATH_CHANGE_FOLDED, "/httpbin", "/x", "/HttpBin/a", "/x/a"},
		{PATH_CHANGE_FOLDED, "/httpbin", "/x", "/other", "/other"},
		{PATH_CHANGE_WHOLE, "", "/only", "/any/thing", "/only"},
		{PATH_CHANGE_REGEX, "/([a-z]+)/v1", "/v2/\\1", "/users/v1/x", "/v2/users/x"},
		/* The table of HTTPPathModifier in the Gateway API. */
		{PATH_CHANGE_SEGMENTS, "/foo", "/xyz", "/foo/bar", "/xyz/bar"},
		{PATH_CHANGE_SEGMENTS, "/foo", "/xyz/", "/foo/bar", "/xyz/bar"},
		{PATH_CHANGE_SEGMENTS, "/foo/", "/xyz", "/foo/bar", "/xyz/bar"},
		{PATH_CHANGE_SEGMENTS, "/foo/", "/xyz/", "/foo/bar", "/xyz/bar"},
		{PATH_CHANGE_SEGMENTS, "/foo", "/xyz", "/foo", "/xyz"},
		{PATH_CHANGE_SEGMENTS, "/foo/", "/xyz", "/foo/", "/xyz/"},
		{PATH_CHANGE_SEGMENTS, "/foo", "", "/foo/bar", "/bar"},
		{PATH_CHANGE_SEGMENTS, "/foo", "", "/foo/", "/"},
		{PATH_CHANGE_SEGMENTS, "/foo", "", "/foo", "/"},
		{PATH_CHANGE_SEGMENTS, "/foo", "/", "/foo/", "/"},
		{PATH_CHANGE_SEGMENTS, "/foo", "/", "/foo", "/"},
		{PATH_CHANGE_SEGMENTS, "/foo", "/xyz", "/foobar", "/foobar"},
		{PATH_CHANGE_SEGMENTS, "/", "/x", "/a", "/x/a"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char in[128], out[128];
		struct stage *s;
		struct err err;

		snprintf(in, sizeof(in), "GET %s?q HTTP/1.1\r\n\r\n", rows[i].path);
		snprintf(out, sizeof(out), "GET %s?q HTTP/1.1\r\n\r\n", rows[i].out);
		assert_int_equal(stage_path_new(rows[i].change, rows[i].from, rows[i].to, &s, &err),
				 SC_OK);
		assert_rewritten(s, in, out);
	}
}

static void test_query_ops(void **state)
{
	static const struct {
		enum query_op op;
		const char *text, *in, *out;
	} rows[] = {
		{QUERY_SET, "a=1", "/p", "/p?a=1"},
		{QUERY_SET, "a=1", "/p?", "/p?a=1"},
		{QUERY_SET, "a=1", "/p?b=2", "/p?b=2&a=1"},
		{QUERY_SET, "a=1", "/p?a=0&b=2&a=3&a", "/p?a=1&b=2"},
		{QUERY_SET, "a=", "/p?b&a=0", "/p?b&a="},
		{QUERY_SET, "a=b=c", "/p", "/p?a=b=c"},
		{QUERY_SET, "a=1", "http://h/p?x", "http://h/p?x&a=1"},
		{QUERY_REMOVE, "a", "/p?a=1", "/p"},
		{QUERY_REMOVE, "a", "/p?a=1&b=2&a", "/p?b=2"},
		{QUERY_REMOVE, "a", "/p?b=2&ab=1", "/p?b=2&ab=1"},
		{QUERY_REMOVE, "a", "/p?", "/p?"},
		{QUERY_REMOVE, "a", "/p", "/p"},
	};
	static const char *const wrong[] = {"", "a", "=1", "a b=1", "a=1&b=2", "a=#"};
	struct stage *s;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char in[128], out[128];

		snprintf(in, sizeof(in), "GET %s HTTP/1.1\r\n\r\n", rows[i].in);
		snprintf(out, sizeof(out), "GET %s HTTP/1.1\r\n\r\n", rows[i].out);
		assert_int_equal(stage_query_new(rows[i].op, rows[i].text, &s, &err), SC_OK);
		assert_rewritten(s, in, out);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(stage_query_new(QUERY_SET, wrong[i], &s, &err), SC_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rewrite), cmocka_unit_test(test_rewrite_wrong),
		cmocka_unit_test(test_host),	cmocka_unit_test(test_header_ops),
		cmocka_unit_test(test_paths),	cmocka_unit_test(test_query_ops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
