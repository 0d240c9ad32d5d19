/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as text for other programs: vegeta's targets, curl commands, Hurl suites; and the routes
 * that a suite is grouped by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/template.h"
#include "store/format.h"
#include "store_fixture.h"

#define JSON_OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

static char *read_text(const char *path)
{
	static char text[4 << 20];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	assert_int_equal(fclose(f), 0);
	text[n] = '\0';
	return text;
}

static uint64_t noted(const struct format_notes *notes, const char *word)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < notes->n; i++)
		n += strstr(notes->notes[i].what, word) ? notes->notes[i].n : 0;
	return n;
}

static struct sink *open_sink(const char *format, struct place *p, bool unique,
			      struct format_notes *notes)
{
	struct format_args args = {p->path, LIMIT_BODY_BYTES, notes, unique};
	struct err err = {""};
	struct sink *sink = NULL;

	if (format_find(format, NULL)->sink(&args, &sink, &err))
		fail_msg("%s", err.text);
	return sink;
}

/* What one exchange is in a format. */
static char *one(const char *format, struct place *p, struct exchange *ex,
		 struct format_notes *notes)
{
	struct sink *sink;

	(void)remove(p->path);
	sink = open_sink(format, p, false, notes);
	put(sink, ex);
	finish(sink);
	return read_text(p->path);
}

static struct exchange *post(const char *request, const char *body)
{
	struct exchange *ex = make_exchange(T0, request, "HTTP/1.1 200 OK\r\n\r\n");

	set_body(ex->request, span_str(body));
	return ex;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in:\n%s", part, text);
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}

/* --- vegeta -------------------------------------------------------------------------------- */

static void test_vegeta(void **state)
{
	struct format_notes notes = {.n = 0};

	assert_string_equal(one("vegeta", *state,
				post("POST /a?b=\"c HTTP/1.1\r\nHost: h:8\r\nX: 1\r\n"
				     "Content-Length: 2\r\nY: \"q\"\r\nX: 2\r\n\r\n", "hi"),
				&notes),
			    "{\"method\": \"POST\", "
			    "\"url\": \"http://h:8/a?b=%22c\", "
			    "\"header\": {\"X\": [\"1\", \"2\"], \"Y\": [\"\\\"q\\\"\"]}, "
			    "\"body\": \"aGk=\"}\n");
	assert_int_equal(noted(&notes, "percent-encoded"), 1);
	/* No Host: where it went. An absolute target and a Host of another name. */
	assert_string_equal(one("vegeta", *state, post("GET / HTTP/1.0\r\n\r\n", ""), &notes),
			    "{\"method\": \"GET\", \"url\": \"http://192.0.2.255:80/\", "
			    "\"header\": {}}\n");
	assert_string_equal(one("vegeta", *state,
				post("GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n", ""), &notes),
			    "{\"method\": \"GET\", \"url\": \"http://a/x\", \"header\": "
			    "{\"Host\": [\"b\"]}}\n");
}

/* What would be another request there is left out, and said, in every such format. */
static void test_refused(void **state)
{
	static const char *const formats_of_requests[] = {"vegeta", "curl", "hurl"};
	static const struct {
		const char *request, *note;
	} rows[] = {
		{"CONNECT h:443 HTTP/1.1\r\n\r\n", "CONNECT"},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "no path"},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "host name"},
		{"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "host name"},
	};

	for (size_t f = 0; f < 3; f++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct format_notes notes = {.n = 0};
			char *text = one(formats_of_requests[f], *state, post(rows[i].request, ""),
					 &notes);

			assert_int_equal(noted(&notes, rows[i].note), 1);
			assert_null(strstr(text, "http"));
		}
	}
}

static void test_cut_body_refused(void **state)
{
	struct format_notes notes = {.n = 0};
	struct exchange *ex = post("POST / HTTP/1.1\r\nHost: h\r\n\r\n", "part");

	ex->request->body_size = 9;
	assert_string_equal(one("vegeta", *state, ex, &notes), "");
	assert_int_equal(noted(&notes, "not whole"), 1);
}

/* --- curl ---------------------------------------------------------------------------------- */

static void test_curl(void **state)
{
	struct format_notes notes = {.n = 0};

	assert_string_equal(
		one("curl", *state,
		    post("POST /it's/../a[1]#x HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nQ: 'a'\r\n\r\n",
			 "it's $HOME\n"), &notes),
		"#!/bin/sh\n"
		"# Recorded requests, one curl command each, in the order of the dataset.\n\n"
		"# 2026-09-21T14:13:20.123456Z, answered 200\n"
		"curl --silent --show-error --request 'POST' \\\n"
		"  --request-target '/it'\\''s/../a[1]#x' \\\n"
		"  --path-as-is \\\n"
		"  --globoff \\\n"
		"  --url 'http://h/it'\\''s/../a[1]%23x' \\\n"
		"  --header 'X-Empty;' \\\n"
		"  --header 'Q: '\\''a'\\''' \\\n"
		"  --header 'User-Agent:' \\\n"
		"  --header 'Accept:' \\\n"
		"  --header 'Content-Type:' \\\n"
		"  --data-binary 'it'\\''s $HOME\n'\n");
	assert_int_equal(notes.n, 0);
}

static void test_curl_bodies(void **state)
{
	struct format_notes notes = {.n = 0};
	struct exchange *ex = post("PUT / HTTP/1.1\r\nHost: h\r\n\r\n", "");
	char *text;

	set_body(ex->request, span_of("\0001%\\'\xff-", 7));
	text = one("curl", *state, ex, &notes);
	assert_has(text, "\n{ printf -- '\\0001%%\\134\\047\\377-';\n  } | curl --silent");
	assert_has(text, "--data-binary '@-'\n");
	text = one("curl", *state, post("PUT / HTTP/1.1\r\nHost: h\r\n\r\n", "@/etc/passwd"),
		   &notes);
	assert_has(text, "printf -- '@/etc/passwd'");
	text = one("curl", *state, post("HEAD / HTTP/1.0\r\nHost: h\r\n\r\n", ""), &notes);
	assert_has(text, "--http1.0 --head \\\n");
	assert_has_not(text, "--data-binary");
	text = one("curl", *state,
		   post("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", ""), &notes);
	assert_has(text, "--data-binary ''");
}

/* A folded value is one line, and what cannot be an argument is not there. */
static void test_curl_fields(void **state)
{
	struct format_notes notes = {.n = 0};
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\nF: a\r\n\t b\r\nN: x\0y\r\n\r\n";
	struct exchange *ex = post("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "");
	char *text;

	message_free(ex->request);
	ex->request = make_message(span_of(head, sizeof(head) - 1), span_str(""));
	text = one("curl", *state, ex, &notes);
	assert_has(text, "--header 'F: a b'");
	assert_has_not(text, "'N: ");
	assert_int_equal(noted(&notes, "no name and value"), 1);
}

/* --- hurl ---------------------------------------------------------------------------------- */

static struct exchange *answered(const char *target, const char *body)
{
	char head[256];
	struct exchange *ex;

	(void)snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
	ex = make_exchange(T0, head, JSON_OK);
	set_body(ex->response, span_str(body));
	return ex;
}

static void test_hurl_leaves(void **state)
{
	struct format_notes notes = {.n = 0};

	assert_string_equal(
		one("hurl", *state,
		    answered("/users/17",
			     "{\"id\": 17, \"a b\": [true, null, \"q\\\"\\u0007{{x}}\"],"
			     " \"f\": 1.50, \"big\": 1e300, \"o\": {}, \"x'y\": 1}"), &notes),
		"# Recorded answers as a suite: hurl --test FILE\n\n"
		"# ---- /users/{id} h\n\n"
		"# 1 exchange\n"
		"GET http://h/users/17\n"
		"HTTP 200\n"
		"[Asserts]\n"
		"header \"Content-Type\" == \"application/json\"\n"
		"jsonpath \"$.id\" == 17\n"
		"jsonpath \"$['a b']\" count == 3\n"
		"jsonpath \"$['a b'][0]\" == true\n"
		"jsonpath \"$['a b'][1]\" == null\n"
		"jsonpath \"$['a b'][2]\" == \"q\\\"\\u{7}{\\u{7b}x}}\"\n"
		"jsonpath \"$.f\" == 1.5\n"
		"jsonpath \"$.o\" exists\n"
		"# left out, numbers that need an exponent: 1\n"
		"# left out, members whose name no JSONPath holds: 1\n");
	assert_int_equal(noted(&notes, "exponent"), 1);
	assert_int_equal(noted(&notes, "no JSONPath"), 1);
}

static void test_hurl_requests(void **state)
{
	struct format_notes notes = {.n = 0};
	static const char json[] = "POST /a HTTP/1.1\r\nHost: h\r\n"
				   "Content-Type: application/json\r\nX: a#b\\c{{d\r\n\r\n";
	char *text = one("hurl", *state, post(json, "{\"a\": [1, 2]}"), &notes);

	assert_has(text, "POST http://h/a\nContent-Type: application/json\n"
			 "X: a\\#b\\\\c{\\u{7b}d\n{\"a\": [1, 2]}\nHTTP 200\n");
	text = one("hurl", *state, post(json, "{\"a\": \"{{\"}"), &notes);
	assert_has(text, "\nbase64,eyJhIjogInt7In0=;\nHTTP 200");
	/* Hurl would add a Content-Type. */
	text = one("hurl", *state, post("POST /a HTTP/1.1\r\nHost: h\r\n\r\n", "{}"), &notes);
	assert_has(text, "\nbase64,e30=;\n");
}

static void test_hurl_other_bodies(void **state)
{
	struct format_notes notes = {.n = 0};
	char *text = one("hurl", *state, answered("/", "abc"), &notes);

	assert_has(text, "sha256 == hex,ba7816bf8f01cfea414140de5dae2223"
			 "b00361a396177a9cb410ff61f20015ad;\n");
}

/* What is asserted of a body that repeats said another time, with another `n`. */
static void assert_odd(struct place *p, const char *body, const char *lines, const char *note,
		       uint64_t n_notes)
{
	struct format_notes notes = {.n = 0};
	struct sink *sink;

	(void)remove(p->path);
	sink = open_sink("hurl", p, false, &notes);
	for (const char *n = "12"; *n; n++) {
		struct exchange *ex = answered("/odd", body);

		assert_int_equal(buf_addf(&ex->response->body, ", \"n\": %c}", *n), SC_OK);
		ex->response->body_size = ex->response->body.len;
		put(sink, ex);
	}
	finish(sink);
	assert_has(read_text(p->path), lines);
	assert_int_equal(noted(&notes, note), n_notes);
}

#define HALVES                                                                                     \
	"body replaceRegex "                                                                       \
	"/(\\\\\\\\|\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..)|\\\\u[dD][89a-fA-F]../ \"$1\" "

/* One value that is more than a reader of JSON takes does not cost the others their lines. */
static void test_hurl_odd_json(void **state)
{
	struct place *p = *state;

	assert_odd(p,
		   "{\"id\": 18446744073709551615, \"low\": -9223372036854775809, \"far\": 1e400,"
		   " \"most\": 9223372036854775807, \"name\": \"9e999\"",
		   "== \"application/json\"\n"
		   "jsonpath \"$.most\" == 9223372036854775807\n"
		   "jsonpath \"$.name\" == \"9e999\"\n"
		   "# left out, changed between answers: 1\n"
		   "# left out, numbers too large to compare: 3\n",
		   "too large", 3);
	assert_odd(p,
		   "{\"a\": \"x\\ud800y\", \"b\": \"\\ud83d\\ude00\\\\ud800\", \"\\uDC00\": 1,"
		   " \"list\": [\"\\ud83d\\ud83d\\ude00\"]",
		   "== \"application/json\"\n"
		   HALVES "jsonpath \"$.b\" == \"\xf0\x9f\x98\x80\\\\ud800\"\n"
		   HALVES "jsonpath \"$.list\" count == 1\n"
		   "# left out, changed between answers: 1\n"
		   "# left out, strings with half a surrogate pair: 2\n"
		   "# left out, members whose name no JSONPath holds: 1\n",
		   "half a surrogate", 2);
	assert_odd(p,
		   "{\"nul\": \"a\\u0000b\", \"\\u0000\": 1, \"name\": \"n\"",
		   "== \"application/json\"\n"
		   "jsonpath \"$.nul\" == \"a\\u{0}b\"\n"
		   "jsonpath \"$.name\" == \"n\"\n"
		   "# left out, changed between answers: 1\n"
		   "# left out, members whose name no JSONPath holds: 1\n",
		   "no JSONPath", 1);
}

/* What is no JSON is none either because it holds such a value: the whole is asserted. */
static void test_hurl_odd_text(void **state)
{
	static const char *const rows[] = {
		"[18446744073709551615", "{1e400: 1}", "[01, 1e400]", "[-1e400-]", "[1e400.]",
		"\"\\ud800", "[\"\\ud800\\", "\"\\ud800\\u12\"",
		"2026-01-99999999999999999999",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct format_notes notes = {.n = 0};
		char *text = one("hurl", *state, answered("/", rows[i]), &notes);

		assert_has(text, "\nsha256 == hex,");
		assert_has_not(text, "jsonpath");
		assert_has_not(text, "left out");
	}
}

/* An absolute target with a Host of another name; and what stands behind a body. */
static void test_hurl_host(void **state)
{
	struct format_notes notes = {.n = 0};
	struct exchange *ex = post("GET http://a/x HTTP/1.1\r\nHost: b\r\nX: 1\r\n\r\n", "");
	const struct field trailer = {{0, 1}, {3, 1}};
	const uint8_t *bytes = (const uint8_t *)"T: 1\r\n";

	assert_int_equal(message_set_trailer(ex->request, bytes, 6, &trailer, 1), SC_OK);
	assert_has(one("hurl", *state, ex, &notes), "GET http://a/x\nHost: b\nX: 1\nHTTP 200\n");
	assert_int_equal(noted(&notes, "trailers of requests"), 1);
	ex = post("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "");
	assert_has_not(one("hurl", *state, ex, &notes), "Host");
}

/* What changes between repeats of a request is not asserted; nor anything that depends on it. */
static void test_hurl_unstable(void **state)
{
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	struct sink *sink = open_sink("hurl", p, true, &notes);
	char *text;

	put(sink, answered("/a", "{\"same\": 1, \"time\": 1, \"gone\": 1, \"list\": [1, 2]}"));
	put(sink, answered("/a", "{\"same\": 1, \"time\": 2, \"list\": [1]}"));
	put(sink, answered("/a?other", "{\"same\": 2}"));
	finish(sink);
	text = read_text(p->path);
	assert_has(text, "# 3 exchanges\nGET http://h/a\nHTTP 200\n[Asserts]\n"
			 "header \"Content-Type\" == \"application/json\"\n"
			 "jsonpath \"$.same\" == 1\n"
			 "jsonpath \"$.list[0]\" == 1\n"
			 "# left out, changed between answers: 4\n");
}

/* One request with two statuses: one of them, or both where one of each is wanted. */
static void test_hurl_statuses(void **state)
{
	static const char *const heads[] = {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 500 No\r\n\r\n",
					    "HTTP/1.1 200 OK\r\n\r\n"};
	struct place *p = *state;

	for (unsigned unique = 0; unique < 2; unique++) {
		struct format_notes notes = {.n = 0};
		struct err err = {""};
		struct sink *sink;
		char *text;

		(void)remove(p->path);
		sink = open_sink("hurl", p, unique, &notes);
		assert_int_equal(sink->ops->kept(sink), 0);
		for (size_t i = 0; i < 3; i++)
			put(sink, make_exchange(T0, "GET /flap HTTP/1.1\r\nHost: h\r\n\r\n",
						heads[i]));
		put(sink, make_exchange(T0, "GET /flap HTTP/1.1\r\nHost: h\r\n\r\n", NULL));
		assert_int_equal(sink->ops->kept(sink), 1 + unique);
		assert_int_equal(sink_finish(sink, T0, &err), SC_OK);
		assert_int_equal(sink->ops->kept(sink), 1 + unique);
		sink_free(sink);
		text = read_text(p->path);
		assert_has(text, "# 2 exchanges\nGET http://h/flap\nHTTP 200\n");
		assert_int_equal(count_of(text, "# 1 exchange\nGET http://h/flap\nHTTP 500\n"),
				 unique);
		assert_int_equal(noted(&notes, "less frequent statuses"), 1 - unique);
	}
}

static void test_hurl_unique(void **state)
{
	struct place *p = *state;

	for (int unique = 0; unique < 2; unique++) {
		struct format_notes notes = {.n = 0};
		struct sink *sink;
		char target[64], *text;

		(void)remove(p->path);
		sink = open_sink("hurl", p, unique, &notes);
		for (int i = 0; i < 1000; i++) {
			(void)snprintf(target, sizeof(target), "/users/name-%c%c%c/orders/%d",
				       'a' + i % 10, 'a' + i / 10 % 10, 'a' + i / 100, i);
			put(sink, answered(target, "{}"));
		}
		/* A repeat of what was first, when its route has become another. */
		put(sink, answered("/users/name-aaa/orders/0", "[]"));
		put(sink, answered("/about", "{}"));
		finish(sink);
		text = read_text(p->path);
		assert_int_equal(count_of(text, "\nHTTP 200\n"), unique ? 2 : 1001);
		assert_int_equal(count_of(text, "\n# ---- "), 2);
		assert_has(text, "# ---- /users/{id}/orders/{id} h\n");
		if (unique)
			assert_has(text, "# 1001 exchanges\n"
					 "GET http://h/users/name-aaa/orders/0\nHTTP 200\n"
					 "[Asserts]\n"
					 "header \"Content-Type\" == \"application/json\"\n"
					 "# left out, changed between answers: 1\n");
	}
}

static void test_hurl_ceiling(void **state)
{
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	struct sink *sink = open_sink("hurl", p, false, &notes);
	char target[64];

	for (unsigned i = 0; i < LIMIT_HURL_ENTRIES + 5; i++) {
		(void)snprintf(target, sizeof(target), "/%u", i);
		put(sink, answered(target, "{}"));
	}
	finish(sink);
	assert_int_equal(noted(&notes, "left out"), 5);
	assert_int_equal(count_of(read_text(p->path), "\nHTTP 200\n"), LIMIT_HURL_ENTRIES);
}

/* --- routes -------------------------------------------------------------------------------- */

static void assert_route(const struct templates *t, const char *path, const char *expected)
{
	struct buf out;

	buf_init(&out, 4096);
	assert_int_equal(template_of(t, span_str(path), &out), SC_OK);
	assert_int_equal(buf_add(&out, "", 1), SC_OK);
	assert_string_equal((char *)out.data, expected);
	buf_done(&out);
}

static void test_routes_by_looks(void **state)
{
	static const char *const rows[][2] = {
		{"/", "/"},
		{"/users/123/orders/9f86d081884c7d65", "/users/{id}/orders/{id}"},
		{"/a/550e8400-e29b-41d4-a716-446655440000/", "/a/{id}/"},
		{"/a/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/a/{id}"},
		{"/a/dGhpc0lzQmFzZTY0MTIz", "/a/{id}"},
		{"/day/2026-01-31/x", "/day/{id}/x"},
		{"/at/2026-01-31T10:20:30Z", "/at/{id}"},
		{"/a/17.json", "/a/{id}.json"},
		{"/a/67356_105.jpg", "/a/{id}.jpg"},
		{"/a/v2_0", "/a/v2_0"},
		{"/v1/getting-started-with-http2", "/v1/getting-started-with-http2"},
		{"/v2/deadbeef", "/v2/deadbeef"},
		{"/v2/dead00ef", "/v2/{id}"},
		{"/status/internationalization", "/status/internationalization"},
		{"//x//7", "//x//{id}"},
		{"/index.html", "/index.html"},
	};
	struct templates *t = templates_new();

	(void)state;
	assert_non_null(t);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_route(t, rows[i][0], rows[i][1]);
		assert_int_equal(template_learn(t, span_str(rows[i][0]), NULL), SC_OK);
		assert_route(t, rows[i][0], rows[i][1]);
	}
	templates_free(t);
}

static void test_routes_by_count(void **state)
{
	struct templates *t = templates_new();
	char path[64];

	(void)state;
	assert_non_null(t);
	assert_int_equal(template_learn(t, span_str("/u/zoe/mail"), NULL), SC_OK);
	assert_route(t, "/u/zoe/mail", "/u/zoe/mail");
	for (unsigned i = 0; i < 2 * LIMIT_TEMPLATE_FANOUT; i++) {
		(void)snprintf(path, sizeof(path), "/u/%c%c/mail", 'a' + i % 20, 'a' + i / 20);
		assert_int_equal(template_learn(t, span_str(path), NULL), SC_OK);
	}
	assert_route(t, "/u/zoe/mail", "/u/{id}/mail");
	assert_route(t, "/u/never-seen/mail", "/u/{id}/mail");
	assert_route(t, "/u", "/u");
	assert_route(t, "/v/zoe/mail", "/v/zoe/mail");
	templates_free(t);
}

/* A million paths of a stranger's choice: bounded, and nothing breaks. */
static void test_routes_bounded(void **state)
{
	struct templates *t = templates_new();
	char path[64];

	(void)state;
	assert_non_null(t);
	for (unsigned i = 0; i < 300000; i++) {
		(void)snprintf(path, sizeof(path), "/%c%c/%c%c/%c%c%c", 'g' + i % 9,
			       'g' + i / 9 % 9, 'g' + i / 81 % 9, 'g' + i / 729 % 9,
			       'g' + i / 6561 % 9, 'g' + i / 59049 % 9, 'g' + i % 7);
		assert_int_equal(template_learn(t, span_str(path), NULL), SC_OK);
	}
	assert_route(t, "/gg/hh", "/gg/hh");
	templates_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_vegeta),
		PLACED(test_refused),
		PLACED(test_cut_body_refused),
		PLACED(test_curl),
		PLACED(test_curl_bodies),
		PLACED(test_curl_fields),
		PLACED(test_hurl_leaves),
		PLACED(test_hurl_requests),
		PLACED(test_hurl_other_bodies),
		PLACED(test_hurl_odd_json),
		PLACED(test_hurl_odd_text),
		PLACED(test_hurl_host),
		PLACED(test_hurl_unstable),
		PLACED(test_hurl_statuses),
		PLACED(test_hurl_unique),
		PLACED(test_hurl_ceiling),
		cmocka_unit_test(test_routes_by_looks),
		cmocka_unit_test(test_routes_by_count),
		cmocka_unit_test(test_routes_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
