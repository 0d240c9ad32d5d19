/* SPDX-License-Identifier: Apache-2.0 */
/* Dataset formats: what is written is read again as the same, what is wrong is said in one line, and
 * no file is overwritten or left half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/limits.h"
#include "format_io.h"
#include "har_scan.h"
#include "jsonl.h"
#include "store/format.h"
#include "store_fixture.h"

static char *path_in(const struct place *p, const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return path;
}

static void write_file(const char *path, struct span bytes)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes.p, 1, bytes.len, f), bytes.len);
	assert_int_equal(fclose(f), 0);
}

static struct source *open_source(const char *name, const char *path, size_t body_max,
				  struct format_notes *notes)
{
	struct format_args args = {.path = path, .body_max = body_max, .notes = notes};
	struct source *s = NULL;
	struct err err = {""};

	if (format_find(name, path)->source(&args, &s, &err))
		fail_msg("%s", err.text);
	return s;
}

static struct sink *open_sink(const char *name, const char *path, struct format_notes *notes)
{
	struct format_args args = {.path = path, .notes = notes};
	struct sink *s = NULL;
	struct err err = {""};

	if (format_find(name, path)->sink(&args, &s, &err))
		fail_msg("%s", err.text);
	return s;
}

/* All columns of an exchange. */
static void assert_same(const struct exchange *a, const struct exchange *b)
{
	struct buf text[2], scratch;
	const struct exchange *both[] = {a, b};

	buf_init(&scratch, MIB);
	for (int i = 0; i < 2; i++) {
		buf_init(&text[i], 4 * MIB);
		assert_int_equal(jsonl_add(&text[i], &scratch, both[i]), SC_OK);
		assert_int_equal(buf_add(&text[i], "", 1), SC_OK);
	}
	assert_string_equal((char *)text[0].data, (char *)text[1].data);
	if (a->response && b->response)
		assert_int_equal(a->response->flags, b->response->flags);
	assert_int_equal(a->request->flags, b->request->flags);
	buf_done(&text[0]);
	buf_done(&text[1]);
	buf_done(&scratch);
}

/* --- table --------------------------------------------------------------------------------- */

static void test_table(void **state)
{
	(void)state;
	for (const struct format *f = formats; f->name; f++) {
		char path[64];
		size_t n = strcspn(f->suffixes, " ");

		assert_true(f->source || f->sink);
		assert_non_null(f->help);
		assert_ptr_equal(format_find(f->name, NULL), f);
		(void)snprintf(path, sizeof(path), "a/b%.*s", (int)n, f->suffixes);
		assert_ptr_equal(format_find(NULL, path), f);
		if (!f->gzip)
			continue;
		(void)snprintf(path, sizeof(path), "b%.*s.gz", (int)n, f->suffixes);
		assert_ptr_equal(format_find(NULL, path), f);
	}
	assert_null(format_find("none", NULL));
	assert_null(format_find(NULL, "a.txt"));
	assert_null(format_find(NULL, ".har"));
	assert_null(format_find(NULL, "har"));
}

static void test_notes(void **state)
{
	struct format_notes notes = {.n = 0};

	(void)state;
	format_note(&notes, "one");
	format_note_n(&notes, "two", 5);
	format_note(&notes, "one");
	format_note_n(&notes, "none", 0);
	assert_int_equal(notes.n, 2);
	assert_int_equal(notes.notes[0].n, 2);
	assert_int_equal(notes.notes[1].n, 5);
}

/* --- text ---------------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
	static const struct {
		int64_t v;
		const char *text;
	} rows[] = {{0, "0"}, {-1, "-1"}, {INT64_MAX, "9223372036854775807"},
		    {INT64_MIN, "-9223372036854775808"}};
	static const double reals[] = {0, 100, 12.5, 0.1, 1.0 / 3, 1e-6, 99.999999};
	struct buf b;

	(void)state;
	buf_init(&b, 1024);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		assert_int_equal(add_integer(&b, rows[i].v), SC_OK);
		assert_int_equal(buf_add(&b, "", 1), SC_OK);
		assert_string_equal((char *)b.data, rows[i].text);
	}
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
		double v;

		buf_clear(&b);
		assert_int_equal(add_real(&b, reals[i]), SC_OK);
		assert_int_equal(buf_add(&b, "", 1), SC_OK);
		v = strtod((char *)b.data, NULL);
		assert_memory_equal(&v, &reals[i], sizeof(v));
	}
	buf_done(&b);
}

static void test_base64(void **state)
{
	static const struct {
		const char *bytes, *text;
	} rows[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
		    {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe", "//4="}};
	static const char *const wrong[] = {"Z", "Zg=a", "Z!==", "====", "Zm9v=", "Zm 9v"};
	struct buf b;

	(void)state;
	buf_init(&b, 1024);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		assert_int_equal(add_base64(&b, span_str(rows[i].bytes)), SC_OK);
		assert_true(span_eq(buf_span(&b), span_str(rows[i].text)));
		buf_clear(&b);
		assert_int_equal(add_unbase64(&b, span_str(rows[i].text)), SC_OK);
		assert_true(span_eq(buf_span(&b), span_str(rows[i].bytes)));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(add_unbase64(&b, span_str(wrong[i])), SC_EINVAL);
	buf_done(&b);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} rows[] = {
		{"2026-09-21T14:13:20.123456Z", T0},
		{"2026-09-21T16:13:20.123456+02:00", T0},
		{"2026-09-21T12:43:20.1234567890-01:30", T0},
		{"2026-09-21T14:13:20.123456-0000", T0},
		{"1970-01-01T00:00:00Z", 0},
	};
	static const char *const wrong[] = {
		"", "now", "2026-09-21", "2026-09-21T14:13:20", "2026-13-21T14:13:20Z",
		"2026-09-21T14:13:20+2", "2026-09-21T14:13:20Zz", "2026-09-21T14:13:20+25:00",
	};
	struct buf b;
	int64_t us;

	(void)state;
	buf_init(&b, 1024);
	assert_int_equal(add_time(&b, T0), SC_OK);
	assert_true(span_eq(buf_span(&b), span_str(rows[0].text)));
	buf_done(&b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(read_time_text(rows[i].text, &us), SC_OK);
		assert_int_equal(us, rows[i].us);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(read_time_text(wrong[i], &us), SC_EINVAL);
}

/* --- files --------------------------------------------------------------------------------- */

static void test_output(void **state)
{
	const struct place *p = *state;
	char *path = path_in(p, "out.txt");
	struct output *o = NULL, *other = NULL;
	struct err err = {""};
	struct stat st;

	assert_int_equal(output_open(path, &o, &err), SC_OK);
	assert_int_equal(output_str(o, "abc", &err), SC_OK);
	output_free(o);
	assert_int_equal(access(path, F_OK), -1); /* not finished: gone */

	assert_int_equal(output_open(path, &o, &err), SC_OK);
	assert_int_equal(output_str(o, "abc", &err), SC_OK);
	assert_int_equal(output_finish(o, &err), SC_OK);
	output_free(o);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, 3);

	assert_int_equal(output_open(path, &other, &err), SC_EINVAL);
	assert_non_null(strstr(err.text, "is there already"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 3);

	assert_int_equal(output_open("/dev/full", &o, &err), SC_OK);
	assert_int_equal(output_str(o, "abc", &err), SC_OK);
	assert_int_equal(output_finish(o, &err), SC_EIO);
	assert_string_equal(err.text, "/dev/full: No space left on device");
	output_free(o);
	assert_int_equal(access("/dev/full", F_OK), 0);
}

static void test_lines(void **state)
{
	const struct place *p = *state;
	static const char *const expected[] = {"a", "", "b", "last"};
	char *path = path_in(p, "lines");
	struct infile *in = NULL;
	struct err err = {""};
	struct span line;

	write_file(path, span_str("a\n\nb\r\nlast"));
	assert_int_equal(infile_open(path, &in, &err), SC_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(infile_line(in, &line, &err), 1);
		assert_true(span_eq(line, span_str(expected[i])));
		assert_int_equal(infile_line_number(in), i + 1);
	}
	assert_int_equal(infile_line(in, &line, &err), 0);
	infile_free(in);
	assert_int_equal(infile_open(path_in(p, "none"), &in, &err), SC_EINVAL);
	assert_int_equal(infile_open(p->dir, &in, &err), SC_EINVAL);
}

/* Two members, cut at every length: all of it, or a line that says so. */
static void test_gzip(void **state)
{
	const struct place *p = *state;
	char path[128];
	uint8_t all[256];
	size_t len = 0;
	struct err err = {""};

	for (int i = 0; i < 2; i++) {
		struct output *o = NULL;
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/%d.gz", p->dir, i);
		assert_int_equal(output_open(path, &o, &err), SC_OK);
		assert_int_equal(output_str(o, i ? "two\n" : "one\n", &err), SC_OK);
		assert_int_equal(output_finish(o, &err), SC_OK);
		output_free(o);
		f = fopen(path, "r");
		assert_non_null(f);
		len += fread(all + len, 1, sizeof(all) - len, f);
		(void)fclose(f);
	}
	for (size_t cut = 2; cut <= len; cut++) {
		struct infile *in = NULL;
		struct span line;
		unsigned n = 0;
		int rc;

		write_file(path, span_of(all, cut));
		assert_int_equal(infile_open(path, &in, &err), SC_OK);
		while ((rc = infile_line(in, &line, &err)) == 1)
			n++;
		if (cut == len)
			assert_int_equal(n, 2);
		if (rc)
			assert_non_null(strstr(err.text, "the gzip data ends early"));
		else
			assert_true(n && (cut == len || cut == len / 2));
		infile_free(in);
	}
}

/* --- round trips --------------------------------------------------------------------------- */

#define BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}

static const struct trip {
	struct span request, request_body, response, response_body;
} trips[] = {
	{BYTES("GET /a?b=c%20d&e HTTP/1.1\r\nHost: h:81\r\nCookie: a=1; b=2\r\nx: 2\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 200 OK\r\nSet-Cookie: s=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT;"
	       " HttpOnly\r\nContent-Type: text/plain\r\n\r\n"), BYTES("hello \"\\\n\xc3\xa9")},
	{BYTES("GET / HTTP/1.0\r\n\r\n"), {0}, BYTES("HTTP/1.1 404 No\r\n\r\n"), {0}},
	{BYTES("PUT /p? HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"),
	 BYTES("a\0b\0\0"), {0}, {0}},
	{BYTES("GET / HTTP/1.1\nHost: bare\n\n"), {0}, BYTES("HTTP/1.1 200 OK\r\n\r\n"),
	 BYTES("\xff\xfe\x00")},
	{BYTES("GET /caf\xe9?\xff HTTP/1.1\r\nHost: \xe4\r\n\r\n"), {0}, {0}, {0}},
	{BYTES("GET /caf\xc3\xa9#x HTTP/1.1\r\nHost: h\r\n\r\n"), {0}, {0}, {0}},
	{BYTES("GET http://other:8/p?q HTTP/1.1\r\nHost: h\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 204 No Content\r\n\r\n"), {0}},
	{BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 407 Auth\r\n\r\n"), {0}},
	{BYTES("OPTIONS * HTTP/1.1\r\nQuote: \"\\\x01\r\n\r\n"), {0},
	 BYTES("HTTP/1.1 599 \r\nEmpty: \r\n\r\n"), BYTES("\x1f\x8b\x08")},
	{BYTES("GET /x HTTP/1.1\r\nA: \xe9t\xe9\r\nB:tight\r\nFold: a\r\n  b\r\n\r\n"), {0}, {0},
	 {0}},
};
#define N_TRIPS (sizeof(trips) / sizeof(trips[0]))

static struct exchange *make_trip(unsigned i)
{
	const struct trip *t = &trips[i];
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	ex->ts_us = T0 + i;
	ex->connection = i * 1000;
	ex->position = i;
	assert_int_equal(addr_parse(i % 2 ? "2001:db8::1" : "10.0.0.1", &ex->server), SC_OK);
	if (i % 3)
		ex->client = ex->server;
	ex->client.port = (uint16_t)(65535 - i);
	ex->server.port = 80;
	ex->scheme = i % 2 ? "https" : "http";
	ex->sample = i % 2 ? 12.5 : 100;
	ex->route = i % 4 ? "GET /a*" : NULL;
	ex->state = t->response.len ? EXCHANGE_COMPLETE : EXCHANGE_NO_RESPONSE;
	ex->request = make_message(t->request, t->request_body);
	if (t->response.len) {
		ex->response = make_message(t->response, t->response_body);
		ex->ttfb_us = i % 3 ? 1500 + (int64_t)i : -1;
		ex->duration_us = 1600 + i;
	}
	if (i == 0) {
		ex->response->body_size += 100;
		ex->state = EXCHANGE_TRUNCATED;
		ex->response->flags |= MESSAGE_CAPPED;
	}
	if (i == 2)
		assert_int_equal(buf_add_str(&ex->request->chunk_lines, "2;x\r\n3\r\n0\r\n\r\n"),
				 SC_OK);
	return ex;
}

static void round_trip(const struct place *p, const char *format, const char *suffix)
{
	struct format_notes notes = {.n = 0};
	char *path = path_in(p, suffix);
	struct sink *sink = open_sink(format, path, &notes);
	struct source *source;

	for (unsigned i = 0; i < N_TRIPS; i++)
		put(sink, make_trip(i));
	assert_int_equal(sink->ops->kept(sink), N_TRIPS);
	finish(sink);
	notes.n = 0;
	source = open_source(format, path, LIMIT_BODY_BYTES, &notes);
	for (unsigned i = 0; i < N_TRIPS; i++) {
		struct exchange *made = make_trip(i), *read = read_one(source);

		assert_non_null(read);
		assert_same(made, read);
		exchange_free(made);
		exchange_free(read);
	}
	assert_null(read_one(source));
	assert_int_equal(notes.n, 0);
	source_free(source);
}

static void test_jsonl_trip(void **state)
{
	round_trip(*state, "jsonl", "t.jsonl");
	round_trip(*state, "jsonl", "t.jsonl.gz");
}

static void test_har_trip(void **state)
{
	round_trip(*state, "har", "t.har");
	round_trip(*state, "har", "t.har.gz");
}

static void test_empty(void **state)
{
	static const char *const names[] = {"jsonl", "har"};

	for (size_t i = 0; i < 2; i++) {
		struct format_notes notes = {.n = 0};
		char *path = path_in(*state, names[i]);
		struct source *source;

		finish(open_sink(names[i], path, &notes));
		source = open_source(names[i], path, 1, &notes);
		assert_null(read_one(source));
		source_free(source);
	}
}

static uint64_t noted(const struct format_notes *notes, const char *what)
{
	for (unsigned i = 0; i < notes->n; i++) {
		if (strstr(notes->notes[i].what, what))
			return notes->notes[i].n;
	}
	return 0;
}

/* A body over --max-body is cut, and said to be. */
static void test_body_max(void **state)
{
	static const char *const names[] = {"jsonl", "har"};

	for (size_t i = 0; i < 2; i++) {
		struct format_notes notes = {.n = 0};
		char *path = path_in(*state, names[i]);
		struct sink *sink = open_sink(names[i], path, &notes);
		struct source *source;
		struct exchange *ex = make_exchange(T0, "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
						    "HTTP/1.1 200 OK\r\n\r\n");

		set_body(ex->response, span_str("0123456789"));
		put(sink, ex);
		finish(sink);
		source = open_source(names[i], path, 4, &notes);
		ex = read_one(source);
		assert_non_null(ex);
		assert_int_equal(ex->response->body.len, 4);
		assert_int_equal(ex->response->body_size, 10);
		assert_int_equal(ex->state, EXCHANGE_TRUNCATED);
		assert_true(ex->response->flags & MESSAGE_CAPPED);
		assert_int_equal(noted(&notes, "bodies longer than"), 1);
		exchange_free(ex);
		source_free(source);
	}
}

/* --- wrong --------------------------------------------------------------------------------- */

#define HAR(entries) "{\"log\":{\"version\":\"1.2\",\"entries\":[" entries "]}}"
#define REQUEST(more) "\"request\":{\"method\":\"GET\",\"url\":\"http://h/p\"" more "}"
#define STARTED "\"startedDateTime\":\"2026-09-21T14:13:20Z\""
#define GOOD "{" STARTED "," REQUEST("") "}"

#define ONE_FIELD "expected names without ':', and no line's end inside a name or a value"

static const struct {
	const char *format, *text, *line; /* what the line ends with */
} wrongs[] = {
	{"jsonl", "{",
	 "line 1: is no JSON: string or '}' expected near end of file (expected an object)"},
	{"jsonl", "\n[]", "line 2: expected an object"},
	{"jsonl", "{}", "line 1: method: expected a string"},
	{"jsonl", "{\"method\":\"GET\"}", "line 1: path: expected a string"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"status\":1000}",
	 "line 1: status: expected an integer within 1..999"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"ts_us\":\"x\"}",
	 "line 1: ts_us: expected an integer within 0..253402300799999999"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"client\":\"x\"}",
	 "line 1: client: expected an IP address or \"\""},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"sample\":101}",
	 "line 1: sample: expected a number within 0..100"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"scheme\":\"ftp\"}",
	 "line 1: scheme: expected \"http\" or \"https\""},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"state\":\"done\"}",
	 "line 1: state: expected complete, no-response, truncated or gap"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"a\"]]}",
	 "line 1: request_headers: expected [[name, value], ...]"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"a\",\"b\\r\\nc: d\"]]}",
	 "line 1: request_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"a\",\"b\\r\\n c\"]]}",
	 "line 1: request_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"A\\r\\nB\",\"c\"]]}",
	 "line 1: request_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"A: b\\nB\",\"c\"]]}",
	 "line 1: request_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_headers\":[[\"A:b\",\"c\"]]}",
	 "line 1: request_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"host\":\"h\\r\\nB: c\"}",
	 "expected the parts of one request head"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"status\":200,"
		  "\"response_headers\":[[\"A\\nB\",\"c\"]]}",
	 "line 1: response_headers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_trailers\":[[\"T\",\"v\\r\\nB: c\"]]}",
	 "line 1: request_trailers: " ONE_FIELD},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\\nx\"}", "expected the parts of one request head"},
	{"jsonl", "{\"method\":\"GET\",\"path\":\"/\",\"request_body_base64\":\"?\"}",
	 "line 1: request_body_base64: expected base64"},
	{"jsonl", "{\"request_raw\":\"SFRUUC8xLjEgMjAwIE9LDQoNCg==\"}",
	 "line 1: request_raw: expected the head of a request"},
	{"har", "", "is empty; expected a JSON object"},
	{"har", "[]", "expected a JSON object"},
	{"har", "{}", "has no log.entries; expected a HAR"},
	{"har", "{\"log\":{}}", "has no log.entries; expected a HAR"},
	{"har", "{\"log\":{\"entries\":[" GOOD, "ends inside log.entries"},
	{"har", "{\"log\":{\"entries\":[]", "ends inside the JSON object"},
	{"har", HAR("") "x", "something stands behind the end"},
	{"har", HAR("7"), "entry 1: expected an object"},
	{"har", HAR(GOOD ","), "entry 2: is no JSON: unexpected token near end of file"
	 " (expected an object)"},
	{"har", HAR("{}"), "entry 1: request: expected an object"},
	{"har", HAR(GOOD ",{\"request\":{\"method\":7,\"url\":\"http://h/\"}}"),
	 "entry 2: request.method: expected a string"},
	{"har", HAR("{" REQUEST("") "}"),
	 "entry 1: startedDateTime: expected a time like \"2026-11-22T18:17:13.444Z\""},
	{"har", HAR("{" STARTED "," REQUEST(",\"headers\":[{\"name\":\"a b\",\"value\":\"\"}]") "}"),
	 "entry 1: request.headers: expected names and values of fields"},
	{"har", HAR("{" STARTED "," REQUEST(",\"headers\":{}") "}"),
	 "entry 1: request.headers: expected a list"},
	{"har", HAR("{" STARTED "," REQUEST("") ",\"response\":{\"status\":\"200\"}}"),
	 "entry 1: response.status: expected an integer within -1..999"},
	{"har", HAR("{" STARTED "," REQUEST("") ",\"response\":{\"status\":200,\"content\":"
		    "{\"text\":\"?\",\"encoding\":\"base64\"}}}"),
	 "entry 1: response.content.text: expected base64"},
};

static void test_wrong(void **state)
{
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct format_notes notes = {.n = 0};
		char *path = path_in(*state, "wrong");
		struct source *source;
		struct exchange *ex = NULL;
		struct err err = {""};
		int rc;

		write_file(path, span_str(wrongs[i].text));
		source = open_source(wrongs[i].format, path, 1024, &notes);
		while ((rc = source_next(source, &ex, &err)) == 1)
			exchange_free(ex);
		assert_int_equal(rc, SC_EINVAL);
		if (strncmp(err.text, path, strlen(path)) != 0 ||
		    !span_ends(span_str(err.text), span_str(wrongs[i].line)))
			fail_msg("%s: said \"%s\", expected \"%s\"", wrongs[i].text, err.text,
				 wrongs[i].line);
		assert_int_equal(source_next(source, &ex, &err), 0);
		source_free(source);
	}
}

/* --- browsers ------------------------------------------------------------------------------ */

static const char browser[] =
	"\xef\xbb\xbf {\"pages\":[{\"entries\":[1,2]}],\"log\":{\"creator\":{\"name\":\"x\\\"]}\"},"
	"\"browser\":{\"entries\":[3]},\"entries\": [ "
	"{\"startedDateTime\":\"2026-09-21T16:13:20.123+02:00\",\"time\":12,\"connection\":\"77\","
	"\"serverIPAddress\":\"[2001:db8::1]\",\"request\":{\"method\":\"POST\","
	"\"url\":\"https://u:p@h.test:8443/a b?q=\xc3\xa9#frag\",\"httpVersion\":\"h2\",\"headers\":["
	"{\"name\":\":authority\",\"value\":\"h.test:8443\"},{\"name\":\":method\",\"value\":\"POST\"},"
	"{\"name\":\"content-type\",\"value\":\"text/plain\"}],"
	"\"postData\":{\"mimeType\":\"text/plain\",\"text\":\"body\"}},"
	"\"response\":{\"status\":200,\"statusText\":\"\",\"httpVersion\":\"h2\",\"headers\":["
	"{\"name\":\":status\",\"value\":\"200\"},"
	"{\"name\":\"set-cookie\",\"value\":\"a=1\\nb=2\"},"
	"{\"name\":\"content-encoding\",\"value\":\"gzip\"}],"
	"\"content\":{\"size\":5,\"mimeType\":\"text/plain\",\"text\":\"plain\"},\"bodySize\":999},"
	"\"timings\":{\"blocked\":1,\"dns\":-1,\"send\":0.5,\"wait\":8.25,\"receive\":2}}\n,\n"
	"{" STARTED "," REQUEST("") ",\"response\":{\"status\":200,\"content\":{\"size\":123}},"
	"\"_webSocketMessages\":[{},{},{}]},"
	"{" STARTED ",\"request\":{\"method\":\"GET\",\"url\":\"data:text/plain,x\"}},"
	"{" STARTED ",\"request\":{\"method\":\"POST\",\"url\":\"wss://h/f\",\"postData\":{\"mimeType\":"
	"\"application/x-www-form-urlencoded; charset=utf-8\",\"params\":[{\"name\":\"a b\","
	"\"value\":\"c&d\"},{\"name\":\"e\"}]}},\"response\":{\"status\":0}},"
	"{" STARTED "," REQUEST("") ",\"response\":{\"status\":200,\"content\":{\"size\":3,\"text\":"
	"\"\\ud800 \\ud83d\\ude00 \\\\ud800\"}}}"
	" ],\"pages\":[]}}\n";

static void assert_head(const struct message *m, const char *expected)
{
	assert_true(span_eq(span_of(m->head, m->head_len), span_str(expected)));
}

static void test_first_of_browser(struct exchange *ex)
{
	assert_head(ex->request, "POST /a%20b?q=%C3%A9 HTTP/1.1\r\nHost: h.test:8443\r\n"
		    "content-type: text/plain\r\nContent-Length: 4\r\n\r\n");
	assert_head(ex->response, "HTTP/1.1 200 \r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
		    "content-encoding: gzip\r\n\r\n");
	assert_int_equal(ex->response->body_size, ex->response->body.len);
	assert_memory_equal(ex->response->body.data, "\x1f\x8b", 2);
	assert_int_equal(ex->state, EXCHANGE_COMPLETE);
	assert_int_equal(ex->ts_us, T0 - 456);
	assert_int_equal(ex->ttfb_us, 9750);
	assert_int_equal(ex->duration_us, 11750);
	assert_int_equal(ex->connection, 77);
	assert_int_equal(ex->server.len, 16);
	assert_int_equal(ex->server.port, 8443);
	assert_string_equal(ex->scheme, "https");
	exchange_free(ex);
}

static void test_browser(void **state)
{
	struct format_notes notes = {.n = 0};
	char *path = path_in(*state, "b.har");
	struct source *source;
	struct exchange *ex;

	write_file(path, span_str(browser));
	source = open_source(NULL, path, MIB, &notes);
	test_first_of_browser(read_one(source));

	ex = read_one(source);
	assert_int_equal(ex->response->body.len, 0);
	assert_int_equal(ex->response->body_size, 123);
	assert_int_equal(ex->state, EXCHANGE_TRUNCATED);
	exchange_free(ex);

	ex = read_one(source);
	assert_head(ex->request, "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 14\r\n\r\n");
	assert_true(span_eq(buf_span(&ex->request->body), span_str("a%20b=c%26d&e=")));
	assert_null(ex->response);
	assert_int_equal(ex->state, EXCHANGE_NO_RESPONSE);
	exchange_free(ex);

	ex = read_one(source);
	assert_true(span_eq(buf_span(&ex->response->body),
			    span_str("\xef\xbf\xbd \xf0\x9f\x98\x80 \\ud800")));
	exchange_free(ex);
	assert_null(read_one(source));
	source_free(source);
	assert_int_equal(noted(&notes, "HTTP/2"), 1);
	assert_int_equal(noted(&notes, "WebSocket"), 3);
	assert_int_equal(noted(&notes, "not http"), 1);
	assert_int_equal(noted(&notes, "responses whose body is not"), 1);
	assert_int_equal(noted(&notes, "form's fields"), 1);
	assert_int_equal(noted(&notes, "surrogate"), 1);
	assert_int_equal(noted(&notes, "encoded again"), 1);
}

/* However the bytes come, the same elements. */
static void test_scan_pieces(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < sizeof(browser); piece++) {
		struct har_scan s;
		unsigned n = 0;

		har_scan_init(&s);
		for (size_t at = 0; at < sizeof(browser) - 1; at += piece) {
			size_t left = sizeof(browser) - 1 - at;
			struct span in = span_of(browser + at, left < piece ? left : piece);

			while (in.len) {
				int rc = har_scan_feed(&s, &in);

				assert_true(rc >= 0);
				if (rc != 1)
					continue;
				n++;
				assert_int_equal(s.entry.data[0], '{');
				assert_int_equal(s.n, n);
			}
		}
		assert_int_equal(har_scan_end(&s), SC_OK);
		assert_int_equal(n, 5);
		har_scan_done(&s);
	}
}

static void test_csv(void **state)
{
	struct format_notes notes = {.n = 0};
	char *path = path_in(*state, "t.csv"), text[4096];
	struct sink *sink = open_sink(NULL, path, &notes);
	struct exchange *ex = make_exchange(T0, "GET /a?q=\"1\" HTTP/1.1\r\nHost: h\r\n\r\n",
					    "HTTP/1.1 200 OK\r\nA: b,c\r\n\r\n");
	FILE *f;
	size_t n;

	set_body(ex->request, span_str("\xff\x00"));
	set_body(ex->response, span_str("one,\r\n\"two\""));
	put(sink, ex);
	finish(sink);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	text[n] = '\0';
	assert_non_null(strstr(text, "id,ts_us,connection,position,client,"));
	assert_non_null(strstr(text, "request_chunks\r\n0,1790000000123456,7,0,\"10.1.2.3\",40000,"));
	assert_non_null(strstr(text, ",\"q=\"\"1\"\"\",\"1.1\",\"[[\"\"Host\"\",\"\"h\"\"]]\",,/w==,1,"));
	assert_non_null(strstr(text, ",\"one,\r\n\"\"two\"\"\",,11,1500,2000,,,\"complete\",,,,100.0,\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),  cmocka_unit_test(test_notes),
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_base64),
		cmocka_unit_test(test_times),  PLACED(test_output),
		PLACED(test_lines),	       PLACED(test_gzip),
		PLACED(test_jsonl_trip),       PLACED(test_har_trip),
		PLACED(test_empty),	       PLACED(test_body_max),
		PLACED(test_wrong),	       PLACED(test_browser),
		cmocka_unit_test(test_scan_pieces), PLACED(test_csv),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
