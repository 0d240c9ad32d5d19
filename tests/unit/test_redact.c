/* SPDX-License-Identifier: Apache-2.0 */
/* What each rule does to heads and plain bodies, each as a table of whole messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/limits.h"
#include "redact_fixture.h"

/* HMAC-SHA-256 of s3cret-value, keyed with "key". */
#define H "hmac:cb163000627cfe3c5285e7d75caede44fc2192c10a7fe91ecc1ba3be2fe5b2d2"

struct row {
	const char *rules;
	const char *request, *redacted;
	const char *response, *answered; /* NULL: none */
};

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *row = &rows[i];
		struct exchange *ex = make_pair(row->request, row->response);
		char what[64];

		(void)snprintf(what, sizeof(what), "row %zu", i);
		assert_int_equal(redact_with(row->rules, ex, NULL), VERDICT_KEEP);
		assert_wire(ex->request, row->redacted, what);
		if (row->response)
			assert_wire(ex->response, row->answered, what);
		exchange_free(ex);
	}
}
#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

#define HOST "Host: h\r\n\r\n"

static void test_headers(void **state)
{
	static const struct row rows[] = {
		{"header:X-Key", "GET / HTTP/1.1\r\nx-KEY:  s3cret-value \r\nA: b\r\n\r\n",
		 "GET / HTTP/1.1\r\nx-KEY:  *** \r\nA: b\r\n\r\n", NULL, NULL},
		{"header:X-Key=mask", "GET / HTTP/1.1\r\nX-Key: a\r\nB: c\r\nX-Key: d\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Key: ***\r\nB: c\r\nX-Key: ***\r\n\r\n", NULL, NULL},
		{"header:X-Key=hash", "GET / HTTP/1.1\r\nX-Key: s3cret-value\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Key: " H "\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nX-KEY:s3cret-value\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nX-KEY:" H "\r\n\r\n"},
		{"header:X-Key=drop",
		 "GET / HTTP/1.1\r\nA: 1\r\nX-Key: d\r\nX-Key:\r\nB: 2\r\n\r\n",
		 "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Key: a\r\n\r\n",
		 "HTTP/1.1 200 OK\r\n\r\n"},
		{"header:X-Key", "GET / HTTP/1.1\r\nX-Key:\r\n: e\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Key:\r\n: e\r\n\r\n", NULL, NULL},
		{"header:X-Key=drop", "GET / HTTP/1.1\r\nX-Key: a\r\n  folded\r\n: e\r\n\r\n",
		 "GET / HTTP/1.1\r\n: e\r\n\r\n", NULL, NULL},
		{"header:X-Key", "GET / HTTP/1.1\r\nX-Key: a\r\n  folded\r\nno colon\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Key: ***\r\nno colon\r\n\r\n", NULL, NULL},
		/* The explicit rule stands over the preset, whichever comes first. */
		{"header:Cookie=drop\nsecrets",
		 "GET / HTTP/1.1\r\nCookie: a=b\r\nX-Api-Key: k\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Api-Key: ***\r\n\r\n", NULL, NULL},
		{"secrets\nheader:Cookie=drop\nheader:cookie",
		 "GET / HTTP/1.1\r\nCookie: a=b\r\n\r\n", "GET / HTTP/1.1\r\nCookie: ***\r\n\r\n",
		 NULL, NULL},
	};

	(void)state;
	CHECK(rows);
}

static void test_cookies(void **state)
{
	static const struct row rows[] = {
		{"cookie:sid",
		 "GET / HTTP/1.1\r\nCookie: a=1; sid=xyz; b=2\r\nCookie: sid=q\r\n\r\n",
		 "GET / HTTP/1.1\r\nCookie: a=1; sid=***; b=2\r\nCookie: sid=***\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nSet-Cookie: sid=xyz; Path=/; sid=k\r\nSet-Cookie: "
		 "SID=x\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nSet-Cookie: sid=***; Path=/; sid=k\r\nSet-Cookie: "
		 "SID=x\r\n\r\n"},
		{"cookie:sid=hash", "GET / HTTP/1.1\r\nCookie: sid=\"s3cret-value\"\r\n\r\n",
		 "GET / HTTP/1.1\r\nCookie: sid=" H "\r\n\r\n", NULL, NULL},
		{"cookie:sid=drop",
		 "GET / HTTP/1.1\r\nCookie: sid=1; a=2; sid=3;b=4; sid=5\r\n\r\n",
		 "GET / HTTP/1.1\r\nCookie: a=2;b=4\r\n\r\n", NULL, NULL},
		{"cookie:sid=drop", "GET / HTTP/1.1\r\nCookie: sid=1; sid=2\r\nA: b\r\n\r\n",
		 "GET / HTTP/1.1\r\nA: b\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nSet-Cookie: sid=1; Path=/\r\nSet-Cookie: t=1\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nSet-Cookie: t=1\r\n\r\n"},
		{"cookie:sid", "GET / HTTP/1.1\r\nCookie: sid; =x; ;; sid =v\r\n\r\n",
		 "GET / HTTP/1.1\r\nCookie: sid; =x; ;; sid =***\r\n\r\n", NULL, NULL},
	};

	(void)state;
	CHECK(rows);
}

static void test_queries(void **state)
{
	static const struct row rows[] = {
		{"query:t", "GET /p?a=1&t=xyz&t=&T=k HTTP/1.1\r\n" HOST,
		 "GET /p?a=1&t=***&t=***&T=k HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t u", "GET /?t%20u=1&t+u=2&tu=3 HTTP/1.1\r\n" HOST,
		 "GET /?t%20u=***&t+u=***&tu=3 HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t=hash", "GET http://h/?%74=s3cret%2dvalue HTTP/1.1\r\n" HOST,
		 "GET http://h/?%74=" H " HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t=drop", "GET /?t=1&a=2&t=3&t=4&b HTTP/1.1\r\n" HOST,
		 "GET /?a=2&b HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t=drop", "GET /p?t=1&t=2 HTTP/1.1\r\n" HOST, "GET /p HTTP/1.1\r\n" HOST,
		 "HTTP/1.1 302 F\r\nLocation: /x?a=1#t=5\r\n\r\n",
		 "HTTP/1.1 302 F\r\nLocation: /x?a=1\r\n\r\n"},
		{"query:t=drop", "GET /p?t HTTP/1.1\r\n" HOST, "GET /p?t HTTP/1.1\r\n" HOST, NULL,
		 NULL},
		{"query:t", "GET /p?t=a b HTTP/1.1\r\nReferer: https://x/y?t=q#t=r&z=1\r\n\r\n",
		 "GET /p?t=*** HTTP/1.1\r\nReferer: https://x/y?t=***#t=***&z=1\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nLink: </a?t=1>; rel=\"next\", </b?t=2&c>; rel=x\r\n"
		 "Refresh: 5; url=/c?t=3\r\nContent-Location: ?t=4\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nLink: </a?t=***>; rel=\"next\", </b?t=***&c>; rel=x\r\n"
		 "Refresh: 5; url=/c?t=***\r\nContent-Location: ?t=***\r\n\r\n"},
		/* A URL in a URL, and what an old server splits at ; */
		{"query:t", "GET /?u=http://x/?t=1&v=2;t=3 HTTP/1.1\r\n" HOST,
		 "GET /?u=http://x/?t=***&v=2;t=*** HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t=drop", "GET /?u=http://x/?t=1&v=2 HTTP/1.1\r\n" HOST,
		 "GET /?u=http://x/&v=2 HTTP/1.1\r\n" HOST, NULL, NULL},
		{"query:t", "GET /p?t=1\r\n", "GET /p?t=***\r\n", NULL, NULL},
		{"query:t", "GET ?t=1 HTTP/1.1\r\n" HOST, "GET ?t=*** HTTP/1.1\r\n" HOST, NULL,
		 NULL},
		{"secrets",
		 "GET http://me:pass@h/?X=1&ToKeN=2&user[password]=3 HTTP/1.1\r\n"
		 "Referer: http://me@h/\r\n\r\n",
		 "GET http://***@h/?X=1&ToKeN=***&user[password]=*** HTTP/1.1\r\n"
		 "Referer: http://***@h/\r\n\r\n",
		 NULL, NULL},
		{"secrets=drop", "GET http://me:pass@h/@x?a HTTP/1.1\r\n" HOST,
		 "GET http://h/@x?a HTTP/1.1\r\n" HOST, NULL, NULL},
	};

	(void)state;
	CHECK(rows);
}

#define FORM "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-Length: "
#define PARTS "Content-Type: multipart/form-data; boundary=\"b b\"\r\nContent-Length: "
#define ONE "--b b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
#define TWO "--b b\r\ncontent-disposition: form-data; filename=\"pw\"; name=pw\r\nX: y\r\n\r\n"

static void test_forms(void **state)
{
	static const struct row rows[] = {
		{"form:pw", "POST / HTTP/1.1\r\n" FORM "14\r\n\r\na=b&pw=xyz&pw=",
		 "POST / HTTP/1.1\r\n" FORM "17\r\n\r\na=b&pw=***&pw=***", NULL, NULL},
		{"form:pw=hash", "POST / HTTP/1.1\r\n" FORM "15\r\n\r\npw=s3cret-value",
		 "POST / HTTP/1.1\r\n" FORM "72\r\n\r\npw=" H, NULL, NULL},
		{"form:pw=drop", "POST / HTTP/1.1\r\n" FORM "13\r\n\r\npw=1&a=b&pw=2",
		 "POST / HTTP/1.1\r\n" FORM "3\r\n\r\na=b", NULL, NULL},
		{"form:pw=drop", "POST / HTTP/1.1\r\n" FORM "4\r\n\r\npw=1",
		 "POST / HTTP/1.1\r\n" FORM "0\r\n\r\n", NULL, NULL},
		{"form:pw", "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\npw=1",
		 "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\npw=***", NULL, NULL},
		{"form:pw", "POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\na pw=1b",
		 "POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\na pw=1b", NULL, NULL},
		{"form:pw",
		 "POST / HTTP/1.1\r\n" PARTS "1\r\n\r\n" ONE "pw\r\n" TWO
		 "x\r\n--b b-\r\n--b b--\r\n",
		 "POST / HTTP/1.1\r\n" PARTS "140\r\n\r\n" ONE "pw\r\n" TWO "***\r\n--b b--\r\n",
		 NULL, NULL},
		{"form:pw=drop",
		 "POST / HTTP/1.1\r\n" PARTS "1\r\n\r\n" ONE "1\r\n" TWO "x\r\n--b b--",
		 "POST / HTTP/1.1\r\n" PARTS "61\r\n\r\n" ONE "1\r\n--b b--", NULL, NULL},
		{"form:a=hash",
		 "POST / HTTP/1.1\r\n" PARTS "1\r\n\r\n" ONE "s3cret-value\r\n--b b--",
		 "POST / HTTP/1.1\r\n" PARTS "129\r\n\r\n" ONE H "\r\n--b b--", NULL, NULL},
	};

	(void)state;
	CHECK(rows);
}

#define JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
#define G "GET / HTTP/1.1\r\n" HOST

static void test_json(void **state)
{
	static const struct row rows[] = {
		{"json:pw", G, G, JSON "23\r\n\r\n{ \"pw\" : \"x\", \"a\": 1.0}",
		 JSON "25\r\n\r\n{ \"pw\" : \"***\", \"a\": 1.0}"},
		{"json:$.pw=hash", G, G, JSON "1\r\n\r\n{\"pw\":\"s3cret-v\\u0061lue\"}",
		 JSON "78\r\n\r\n{\"pw\":\"" H "\"}"},
		{"json:$..pw", G, G,
		 JSON
		 "1\r\n\r\n[{\"pw\":{\"a\":[1,2]}},{\"b\":{\"\\u0070w\":null,\"pw\":[]}}, \"pw\"]",
		 JSON "55\r\n\r\n[{\"pw\":\"***\"},{\"b\":{\"\\u0070w\":\"***\",\"pw\":\"***\"}}, "
		      "\"pw\"]"},
		{"json:$.a[1].b", G, G,
		 JSON "1\r\n\r\n{\"a\":[{\"b\":1},{\"b\":2},{\"b\":3}],\"b\":4}",
		 JSON "41\r\n\r\n{\"a\":[{\"b\":1},{\"b\":\"***\"},{\"b\":3}],\"b\":4}"},
		{"json:a[*]", G, G, JSON "1\r\n\r\n{\"a\":[1,true,\"x\"],\"b\":[1]}",
		 JSON "33\r\n\r\n{\"a\":[\"***\",\"***\",\"***\"],\"b\":[1]}"},
		{"json:$.*.x", G, G, JSON "1\r\n\r\n{\"a\":{\"x\":1},\"b\":[2],\"x\":{\"x\":3}}",
		 JSON "41\r\n\r\n{\"a\":{\"x\":\"***\"},\"b\":[2],\"x\":{\"x\":\"***\"}}"},
		{"json:$['a.b']", G, G, JSON "1\r\n\r\n{\"a.b\":1,\"a\":{\"b\":2}}",
		 JSON "25\r\n\r\n{\"a.b\":\"***\",\"a\":{\"b\":2}}"},
		{"json:$..a..b", G, G,
		 JSON "1\r\n\r\n{\"b\":1,\"a\":[{\"c\":{\"b\":2}},{\"b\":3}]}",
		 JSON "43\r\n\r\n{\"b\":1,\"a\":[{\"c\":{\"b\":\"***\"}},{\"b\":\"***\"}]}"},
		{"json:$", G, G, JSON "1\r\n\r\n {\"a\":1} [2]", JSON "12\r\n\r\n \"***\" \"***\""},
		{"json:a=drop", G, G, JSON "1\r\n\r\n{\"a\":1, \"b\":2, \"a\":3}",
		 JSON "8\r\n\r\n{ \"b\":2}"},
		{"json:a=drop", G, G, JSON "1\r\n\r\n{\"a\":1,\"a\":2}", JSON "2\r\n\r\n{}"},
		{"json:a[*]=drop", G, G, JSON "1\r\n\r\n{\"a\":[1, [2], 3]}",
		 JSON "10\r\n\r\n{\"a\":[  ]}"},
		{"json:[0]=drop", G, G, JSON "1\r\n\r\n[1,2,3]", JSON "5\r\n\r\n[2,3]"},
		{"json:a\njson:$.a=drop", G, G, JSON "1\r\n\r\n{\"a\":1}", JSON "2\r\n\r\n{}"},
		/* Several values, and no type at all. */
		{"json:a", G, G, "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}\n{\"a\":2}\n",
		 "HTTP/1.1 200 OK\r\n\r\n{\"a\":\"***\"}\n{\"a\":\"***\"}\n"},
		{"json:a", G, G, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n[INFO] a: {1",
		 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n[INFO] a: {1"},
		{"json:a", "POST / HTTP/1.1\r\n" FORM "7\r\n\r\n{\"a\":1}",
		 "POST / HTTP/1.1\r\n" FORM "11\r\n\r\n{\"a\":\"***\"}", NULL, NULL},
		{"json:a", G, G, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{\"a\":1}",
		 "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{\"a\":1}"},
		{"secrets", G, G, JSON "1\r\n\r\n{\"Access_Token\":\"x\",\"u\":{\"PASSWORD\":1}}",
		 JSON "45\r\n\r\n{\"Access_Token\":\"***\",\"u\":{\"PASSWORD\":\"***\"}}"},
		/* Digests of what was there are gone with it. */
		{"json:a", G, G,
		 "HTTP/1.1 200 OK\r\nContent-MD5: x\r\nDIGEST: y\r\nRepr-Digest: z\r\n"
		 "E: f\r\nContent-Digest: z\r\n\r\n{\"a\":1}",
		 "HTTP/1.1 200 OK\r\nE: f\r\n\r\n{\"a\":\"***\"}"},
	};

	(void)state;
	CHECK(rows);
}

#define BASIC "Authorization: Basic bWU6aHVudGVyMjIy\r\n" /* me:hunter222 */

static void test_echoes(void **state)
{
	static const struct row rows[] = {
		{"header:X-Key", "GET /s3cret-value/x HTTP/1.1\r\nX-Key: s3cret-value\r\n\r\n",
		 "GET /***/x HTTP/1.1\r\nX-Key: ***\r\n\r\n",
		 "HTTP/1.1 400 no s3cret-value\r\nX: a s3cret-values\r\n\r\n<p>s3cret-value</p>",
		 "HTTP/1.1 400 no ***\r\nX: a ***s\r\n\r\n<p>***</p>"},
		{"header:X-Key=hash", "GET / HTTP/1.1\r\nX-Key: s3cret-value\r\n\r\n",
		 "GET / HTTP/1.1\r\nX-Key: " H "\r\n\r\n",
		 JSON "29\r\n\r\n{\"h\": {\"X\": \"s3cret-value\"} }",
		 JSON "86\r\n\r\n{\"h\": {\"X\": \"" H "\"} }"},
		{"header:X-Key=drop", "GET s3cret-value HTTP/1.1\r\nX-Key: s3cret-value\r\n\r\n",
		 "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nY: s3cret-value\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nY: \r\n\r\n"},
		/* As it stood, decoded, and escaped in other ways. */
		{"query:t", "GET /?t=p%40ss+word%22 HTTP/1.1\r\n" HOST,
		 "GET /?t=*** HTTP/1.1\r\n" HOST,
		 JSON
		 "1\r\n\r\n[\"p@ss word\\\"\", \"p%40ss+word%22\", \"p\\u0040ss word\\u0022\", "
		 "\"p%40ss%20word%22\"]",
		 JSON "28\r\n\r\n[\"***\", \"***\", \"***\", \"***\"]"},
		{"json:t", "POST / HTTP/1.1\r\n\r\n{\"t\":\"p\\\"ss/word\"}",
		 "POST / HTTP/1.1\r\n\r\n{\"t\":\"***\"}",
		 JSON "1\r\n\r\n{\"data\":\"{\\\"t\\\":\\\"p\\\\\\\"ss/"
		      "word\\\"}\",\"json\":\"p\\\"ss\\/word\"}",
		 JSON "39\r\n\r\n{\"data\":\"{\\\"t\\\":\\\"***\\\"}\",\"json\":\"***\"}"},
		/* Numbers become strings, as a whole. */
		{"json:pin", "POST / HTTP/1.1\r\n\r\n{\"pin\":123456}",
		 "POST / HTTP/1.1\r\n\r\n{\"pin\":\"***\"}",
		 JSON "1\r\n\r\n[123456,-9123456e5, \"a123456\"]",
		 JSON "21\r\n\r\n[\"***\",\"***\", \"a***\"]"},
		{"secrets", "GET / HTTP/1.1\r\n" BASIC "\r\n",
		 "GET / HTTP/1.1\r\nAuthorization: ***\r\n\r\n",
		 "HTTP/1.1 200 OK\r\n\r\nme:hunter222 hunter222 bWU6aHVudGVyMjIy Basic "
		 "bWU6aHVudGVyMjIy",
		 "HTTP/1.1 200 OK\r\n\r\n*** *** *** ***"},
		{"secrets", "GET / HTTP/1.1\r\nCookie: a=abcdef; b=short\r\n\r\n",
		 "GET / HTTP/1.1\r\nCookie: ***\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nX: a=abcdefg b=short\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nX: a=***g b=short\r\n\r\n"},
		/* What holds a message together is no echo. */
		{"query:t", "GET /?t=chunked HTTP/1.1\r\n" HOST, "GET /?t=*** HTTP/1.1\r\n" HOST,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: chunked\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: ***\r\n\r\n"},
		{"query:t", "GET /?t=text/html HTTP/1.1\r\n" HOST, "GET /?t=*** HTTP/1.1\r\n" HOST,
		 "HTTP/1.1 200 OK\r\nContent-Type: text/html; x=text/html\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nContent-Type: text/html; x=***\r\n\r\n"},
		/* The longest stands; overlapping ones go together. */
		{"query:a\nquery:b",
		 "GET /?a=abcdef&b=cdefghij HTTP/1.1\r\nX: -abcdefghij-abcdefgh-\r\n\r\n",
		 "GET /?a=***&b=*** HTTP/1.1\r\nX: -***-***gh-\r\n\r\n", NULL, NULL},
	};

	(void)state;
	CHECK(rows);
}

static void test_untouched(void **state)
{
	static const char request[] =
		"GET /?A=1 HTTP/1.1\nhost : h\r\nCookies: x\r\nno colon\r\n\r\n";
	struct exchange *ex = make_pair(request, JSON "7 \r\n\r\n{\"a\":1}");
	const uint8_t *head = ex->request->head;
	uint64_t closed;

	(void)state;
	assert_int_equal(buf_add_str(&ex->response->chunk_lines, "7;\r\n0\r\n\r\n"), SC_OK);
	assert_int_equal(redact_with("secrets\nquery:a\njson:b\nform:c", ex, &closed),
			 VERDICT_KEEP);
	assert_ptr_equal(ex->request->head, head);
	assert_wire(ex->response, JSON "7 \r\n\r\n{\"a\":1}", "response");
	assert_int_equal(ex->response->chunk_lines.len, 9);
	assert_int_equal(closed, 0);
	assert_int_equal(ex->state, EXCHANGE_COMPLETE);
	exchange_free(ex);
}

static void set_trailer(struct message *m, const char *text)
{
	struct field fields[8];
	uint32_t n = 0;

	for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
		uint32_t off = (uint32_t)(at - text), colon = (uint32_t)strcspn(at, ":");
		uint32_t end = (uint32_t)strcspn(at, "\r");

		fields[n].name = (struct slice){off, colon};
		fields[n++].value = (struct slice){off + colon + 2, end - colon - 2};
	}
	assert_int_equal(
		message_set_trailer(m, (const uint8_t *)text, (uint32_t)strlen(text), fields, n),
		SC_OK);
}

static void test_trailers(void **state)
{
	struct exchange *ex = make_pair("PUT /?q=abcdefgh HTTP/1.1\r\n\r\nbody", NULL);
	struct message *m = ex->request;

	(void)state;
	set_trailer(m, "X-Key: abc\r\nA: 1\r\nSum: abcdefgh\r\nDigest: x\r\nGone: abc\r\n");
	assert_int_equal(buf_add_str(&m->chunk_lines, "4\r\n0\r\nX-Key: abc\r\n..."), SC_OK);
	assert_int_equal(redact_with("header:x-key\nheader:gone=drop\nquery:q", ex, NULL),
			 VERDICT_KEEP);
	assert_int_equal(m->trailer_len, 39);
	assert_memory_equal(m->trailer, "X-Key: ***\r\nA: 1\r\nSum: ***\r\nDigest: x\r\n", 39);
	assert_int_equal(m->n_trailer_fields, 4);
	assert_memory_equal(m->trailer + m->trailer_fields[2].value.off, "***", 3);
	assert_int_equal(m->trailer_fields[3].value.len, 1);
	assert_int_equal(m->chunk_lines.len, 0);
	exchange_free(ex);
}

static void test_chunk_lines(void **state)
{
	struct exchange *ex = make_pair("PUT /?q=abcdefgh HTTP/1.1\r\n\r\nbody", NULL);

	(void)state;
	assert_int_equal(buf_add_str(&ex->request->chunk_lines, "4;e=abcdefgh\r\n0\r\n\r\n"),
			 SC_OK);
	assert_int_equal(redact_with("query:q", ex, NULL), VERDICT_KEEP);
	assert_int_equal(ex->request->chunk_lines.len, 0);
	assert_int_equal(ex->request->body.len, 4);
	exchange_free(ex);
}

static void test_wrong_rules(void **state)
{
	static const char *const rules[] = {
		"",
		"header:",
		"header",
		"header:A b",
		"header:Host",
		"header:content-LENGTH",
		"header:Transfer-Encoding",
		"header:connection",
		"cookie:",
		"query:=mask",
		"form:",
		"json:",
		"json:$.",
		"json:a..",
		"json:$[",
		"json:$['a",
		"json:$['a'",
		"json:$[a]",
		"json:$[-1]",
		"json:$a[0]b",
		"json:$[*",
		"header:A=remove",
		"query:a=",
		"secrets2",
		"secretsmask",
		"header:A=MASK",
		"body:x",
		"json:$.a=hush",
	};
	char text[8000];

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct redaction *r = redaction_new("key", 3);
		struct err err = {""};

		if (redaction_add(r, rules[i], &err) != SC_EINVAL || !err.text[0])
			fail_msg("'%s' was taken", rules[i]);
		redaction_free(r);
	}
	for (size_t n = 300; n < sizeof(text); n += 7000) {
		struct redaction *r = redaction_new(NULL, 0);

		memset(text, 'x', n);
		memcpy(text, "query:", 6);
		text[n] = '\0';
		assert_int_equal(redaction_add(r, text, NULL), SC_EINVAL);
		assert_int_equal(redaction_add(r, "query:a=hash", NULL), SC_EINVAL); /* no key */
		redaction_free(r);
	}
	assert_null(stage_redact_new(NULL));
	redaction_free(NULL);
}

static void test_head_too_large(void **state)
{
	struct redaction *r = make_redaction("query:t=hash");
	struct stage *stage = stage_redact_new(r);
	struct exchange *ex = exchange_new();
	struct buf head;

	(void)state;
	buf_init(&head, LIMIT_HEAD_BYTES);
	assert_int_equal(buf_add_str(&head, "GET /?s3cret"), SC_OK);
	while (head.len < 20000)
		assert_int_equal(buf_add_str(&head, "&t=1"), SC_OK);
	assert_int_equal(buf_add_str(&head, " HTTP/1.1\r\n\r\n"), SC_OK);
	assert_int_equal(message_parse(head.data, head.len, MIB, &ex->request), SC_OK);
	assert_int_equal(buf_add_str(&ex->request->body, "s3cret"), SC_OK);
	ex->request->body_size = 6;
	assert_int_equal(stage->ops->whole(stage, ex), VERDICT_ERROR);
	assert_false(message_holds(ex->request, span_str("s3cret"))); /* nothing of it is left */
	exchange_free(ex);
	buf_done(&head);
	stage_free(stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),     cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_queries),     cmocka_unit_test(test_forms),
		cmocka_unit_test(test_json),        cmocka_unit_test(test_echoes),
		cmocka_unit_test(test_untouched),   cmocka_unit_test(test_trailers),
		cmocka_unit_test(test_chunk_lines), cmocka_unit_test(test_wrong_rules),
		cmocka_unit_test(test_head_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
