/* SPDX-License-Identifier: Apache-2.0 */
/* GoReplay's files: what is written reads as the same exchanges, records come together in any order
 * and within bounds, and a wrong file is one line that says where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/limits.h"
#include "store/format.h"
#include "store_fixture.h"

#define SEP "\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89\n"
#define ID "9c4000500a010203"
#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static char *path_in(struct place *p, const char *name)
{
	static char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return path;
}

static void write_bytes(const char *path, struct span s)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(s.p, 1, s.len, f), s.len);
	assert_int_equal(fclose(f), 0);
}

/* The whole file, plain or not, with a NUL behind it. */
static char *read_file(const char *path, size_t *ret_len)
{
	static char text[65536];
	gzFile f = gzopen(path, "r");
	int n;

	assert_non_null(f);
	n = gzread(f, text, sizeof(text) - 1);
	assert_true(n >= 0);
	assert_int_equal(gzclose(f), Z_OK);
	text[n] = '\0';
	if (ret_len)
		*ret_len = (size_t)n;
	return text;
}

static uint64_t noted(const struct format_notes *notes, const char *word)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < notes->n; i++)
		n += strstr(notes->notes[i].what, word) ? notes->notes[i].n : 0;
	return n;
}

static struct sink *open_sink(const char *path, struct format_notes *notes)
{
	struct format_args args = {path, LIMIT_BODY_BYTES, notes, false};
	struct err err = {""};
	struct sink *sink = NULL;

	if (format_find("gor", NULL)->sink(&args, &sink, &err))
		fail_msg("%s", err.text);
	return sink;
}

static struct source *open_file(const char *path, size_t body_max, struct format_notes *notes)
{
	struct format_args args = {path, body_max, notes, false};
	struct err err = {""};
	struct source *source = NULL;

	if (format_find("gor", NULL)->source(&args, &source, &err))
		fail_msg("%s", err.text);
	return source;
}

static struct source *open_text(struct place *p, const char *text, struct format_notes *notes)
{
	char *path = path_in(p, "in.gor");

	write_bytes(path, span_str(text));
	return open_file(path, LIMIT_BODY_BYTES, notes);
}

static void assert_text(struct span s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.p, expected, s.len);
}

static void test_find(void **state)
{
	(void)state;
	assert_string_equal(format_find(NULL, "x.gor")->name, "gor");
	assert_string_equal(format_find(NULL, "x.gor.gz")->name, "gor");
}

static void test_written(void **state)
{
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	char *path = path_in(p, "out.gor");
	struct sink *sink = open_sink(path, &notes);
	struct exchange *ex = make_exchange(T0, GET,
					    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");

	set_body(ex->response, span_str("hi"));
	put(sink, ex);
	finish(sink);
	assert_string_equal(read_file(path, NULL),
			    "1 " ID "00000000 1790000000123456000 0\n" GET SEP
			    "2 " ID "00000000 1790000000124956000 500000\n" OK SEP);
	assert_int_equal(notes.n, 1);
	assert_int_equal(noted(&notes, "addresses of servers"), 1);
}

/* What the format has no place for is said once, with a count. */
static void test_losses(void **state)
{
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	struct sink *sink = open_sink(path_in(p, "out.gor"), &notes);

	for (unsigned i = 0; i < 5; i++) {
		struct exchange *ex = make_exchange(T0, GET, NULL);

		ex->position = i < 3 ? i : i + 1; /* one of them is left out */
		if (i == 0)
			ex->server.len = 0;
		if (i == 4)
			ex->client.len = 16;
		put(sink, ex);
	}
	finish(sink);
	assert_int_equal(noted(&notes, "addresses of servers"), 4);
	assert_int_equal(noted(&notes, "positions in a connection"), 2);
	assert_int_equal(noted(&notes, "IPv6"), 1);
}

static void test_separator_in_body(void **state)
{
	/* The last one would end a line of them with what stands behind every record. */
	static const char half[] = "x\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89";
	static const char *const bodies[] = {"a" SEP "b", SEP, half};
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	char *path = path_in(p, "out.gor");
	struct sink *sink = open_sink(path, &notes);

	for (int i = 0; i < 3; i++) {
		struct exchange *ex = make_exchange(T0, GET, "HTTP/1.1 200 OK\r\n\r\n");

		set_body(i == 0 ? ex->request : ex->response, span_str(bodies[i]));
		put(sink, ex);
	}
	finish(sink);
	/* Without its request an answer is nothing; a request stands without its answer. */
	assert_int_equal(noted(&notes, "separator"), 3);
	assert_string_equal(read_file(path, NULL),
			    "1 " ID "00000001 1790000000123456000 0\n" GET SEP
			    "1 " ID "00000002 1790000000123456000 0\n" GET SEP);
}

static void test_round_trip(void **state)
{
	static const char *const names[] = {"o.gor", "o.gor.gz"};
	struct place *p = *state;

	for (int i = 0; i < 2; i++) {
		struct format_notes notes = {.n = 0};
		char *path = path_in(p, names[i]);
		struct sink *sink = open_sink(path, &notes);
		struct exchange *ex = make_exchange(T0, "POST /x HTTP/1.1\r\nTransfer-Encoding: "
						    "chunked\r\nX:  y \r\n\r\n",
						    "HTTP/1.1 204 No Content\r\n\r\n");
		struct source *source;

		ex->request->flags |= MESSAGE_CHUNKED;
		set_body(ex->request, span_of("a\0\n\xff", 4));
		assert_int_equal(buf_add_str(&ex->request->chunk_lines,
					     "01;x\r\n3\r\n00\r\nT: v\r\n"),
				 SC_OK);
		put(sink, ex);
		ex = make_exchange(T0 + 5, GET, NULL);
		ex->position = 1;
		put(sink, ex);
		finish(sink);
		assert_int_equal(noted(&notes, "addresses of servers"), 2);

		source = open_file(path, LIMIT_BODY_BYTES, &notes);
		ex = read_one(source);
		assert_int_equal(ex->ts_us, T0);
		assert_int_equal(ex->ttfb_us, 1500);
		assert_int_equal(ex->duration_us, 2000);
		assert_int_equal(ex->state, EXCHANGE_COMPLETE);
		assert_int_equal(ex->client.port, 40000);
		assert_int_equal(ex->server.port, 80);
		assert_int_equal(ex->client.ip[3], 3);
		assert_int_equal(ex->position, 0);
		assert_text(span_of(ex->request->head, ex->request->head_len),
			    "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX:  y \r\n\r\n");
		assert_int_equal(ex->request->body.len, 4);
		assert_memory_equal(ex->request->body.data, "a\0\n\xff", 4);
		assert_text(buf_span(&ex->request->chunk_lines), "01;x\r\n3\r\n00\r\nT: v\r\n");
		assert_int_equal(ex->request->n_trailer_fields, 1);
		assert_int_equal(ex->response->status, 204);
		exchange_free(ex);
		ex = read_one(source);
		assert_int_equal(ex->state, EXCHANGE_NO_RESPONSE);
		assert_int_equal(ex->position, 1);
		assert_null(ex->response);
		exchange_free(ex);
		assert_null(read_one(source));
		source_free(source);
		assert_int_equal(notes.n, 1);
	}
}

/* Lines of chunks that end in a bare LF have that behind their data, too. */
static void test_bare_line_feeds(void **state)
{
	static const char wire[] = "\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "3\nabc\n1\r\nd\r\n0\nT: v\n\n" SEP;
	struct format_notes notes = {.n = 0};
	char *path = path_in(*state, "feeds.gor");
	struct sink *sink = open_sink(path, &notes);
	struct exchange *ex = make_exchange(
		T0, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", NULL);

	ex->request->flags |= MESSAGE_CHUNKED;
	set_body(ex->request, span_str("abcd"));
	assert_int_equal(buf_add_str(&ex->request->chunk_lines, "3\n1\r\n0\nT: v\n"), SC_OK);
	put(sink, ex);
	finish(sink);
	assert_non_null(strstr(read_file(path, NULL), wire));
}

static void test_any_order(void **state)
{
	struct format_notes notes = {.n = 0};
	struct source *source = open_text(*state,
		"2 bb 2000000 7000\n" OK SEP
		"1 aa 1000000\nGET /1 HTTP/1.1\r\n\r\n" SEP
		"3 aa 1500000 9\n" OK SEP
		"1 bb 1000000 5\nGET /2 HTTP/1.1\r\n\r\n" SEP
		"2 cc 1\n" OK SEP
		"2 aa 9000000\n" OK SEP, &notes);
	struct exchange *ex = read_one(source);

	assert_text(message_target(ex->request), "/2");
	assert_int_equal(ex->ttfb_us, 1000);
	assert_int_equal(ex->duration_us, 1007);
	exchange_free(ex);
	ex = read_one(source);
	assert_text(message_target(ex->request), "/1");
	assert_int_equal(ex->ttfb_us, 8000);
	assert_int_equal(ex->duration_us, -1);
	assert_int_equal(ex->client.len, 0);
	exchange_free(ex);
	assert_null(read_one(source));
	source_free(source);
	assert_int_equal(noted(&notes, "replayed"), 1);
	assert_int_equal(noted(&notes, "without their request"), 1);
}

/* The same id twice: the oldest request without an answer gets it. */
static void test_same_id(void **state)
{
	struct format_notes notes = {.n = 0};
	struct source *source = open_text(*state,
		"1 aa 1000\nGET /1 HTTP/1.1\r\n\r\n" SEP
		"1 aa 2000\nGET /2 HTTP/1.1\r\n\r\n" SEP
		"2 aa 3000\nHTTP/1.1 201 A\r\n\r\n" SEP
		"2 aa 4000\nHTTP/1.1 202 B\r\n\r\n" SEP, &notes);

	for (int i = 0; i < 2; i++) {
		struct exchange *ex = read_one(source);

		assert_int_equal(ex->response->status, 201 + i);
		assert_int_equal(message_target(ex->request).p[1], '1' + i);
		exchange_free(ex);
	}
	assert_null(read_one(source));
	source_free(source);
}

static void test_window(void **state)
{
	struct place *p = *state;
	struct format_notes notes = {.n = 0};
	char *path = path_in(p, "many.gor");
	FILE *f = fopen(path, "w");
	struct source *source;
	struct exchange *ex;
	unsigned n = LIMIT_GOR_WINDOW + 10, got = 0;

	assert_non_null(f);
	for (unsigned i = 0; i < n; i++)
		(void)fprintf(f, "1 %040x %u 0\n%s%s", i, i * 1000, GET, SEP);
	/* Its request has been given up by then. */
	(void)fprintf(f, "2 %040x 99 0\n%s%s", 0, OK, SEP);
	(void)fprintf(f, "2 %040x 999999999 0\n%s%s", n - 1, OK, SEP);
	assert_int_equal(fclose(f), 0);
	source = open_file(path, LIMIT_BODY_BYTES, &notes);
	while ((ex = read_one(source))) {
		assert_int_equal(ex->ts_us, got);
		assert_int_equal(ex->response != NULL, got == n - 1);
		got++;
		exchange_free(ex);
	}
	source_free(source);
	assert_int_equal(got, n);
	assert_int_equal(noted(&notes, "without their request"), 1);
}

/* What a body is, by its head and the request. */
static void test_framing(void **state)
{
	static const struct {
		const char *request, *response;
		uint64_t size;
		size_t kept;
		enum exchange_state state;
	} rows[] = {
		{"GET", "Content-Length: 2\r\n\r\nhiXX", 2, 2, EXCHANGE_COMPLETE},
		{"GET", "Content-Length: 9\r\n\r\nhi", 9, 2, EXCHANGE_GAP},
		{"HEAD", "Content-Length: 9\r\n\r\n", 0, 0, EXCHANGE_COMPLETE},
		{"GET", "\r\nto the end", 10, 8, EXCHANGE_TRUNCATED},
		{"GET", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 2, 2,
		 EXCHANGE_COMPLETE},
		{"GET", "Transfer-Encoding: chunked\r\n\r\n5\r\nhi", 5, 2, EXCHANGE_GAP},
		{"GET", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n", 2, 2, EXCHANGE_GAP},
		{"GET", "Transfer-Encoding: chunked\r\n\r\nnot so\n", 7, 7, EXCHANGE_COMPLETE},
		{"GET", "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n", 9, 8,
		 EXCHANGE_TRUNCATED},
	};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *path = path_in(p, "f.gor"), text[512];
		struct format_notes notes = {.n = 0};
		struct source *source;
		struct exchange *ex;

		(void)snprintf(text, sizeof(text),
			       "1 a 1\n%s / HTTP/1.1\r\n\r\n%s2 a 2\nHTTP/1.1 200 OK\r\n%s%s",
			       rows[i].request, SEP, rows[i].response, SEP);
		write_bytes(path, span_str(text));
		source = open_file(path, 8, &notes);
		ex = read_one(source);
		assert_int_equal(ex->response->body_size, rows[i].size);
		assert_int_equal(ex->response->body.len, rows[i].kept);
		assert_int_equal(ex->state, rows[i].state);
		assert_int_equal(noted(&notes, "bodies longer than"),
				 rows[i].state == EXCHANGE_TRUNCATED);
		exchange_free(ex);
		source_free(source);
	}
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *line;
	} rows[] = {
		{"hello" SEP, "record 1: type: expected 1, 2 or 3"},
		{"1 a 1\n" GET SEP "4 a 1\n" SEP, "record 2: type: expected 1, 2 or 3"},
		{"1  1\n" GET SEP, "record 1: id: expected 24 or 40 hex digits"},
		{"1 a x\n" GET SEP, "record 1: time: expected nanoseconds since 1970"},
		{"1 a 99999999999999999999\n" GET SEP, "record 1: time: expected"},
		{"1 a 1 -2\n" GET SEP, "record 1: latency: expected nanoseconds"},
		{"1 a 1\n" OK SEP, "record 1: payload: expected an HTTP/1 request"},
		{"2 a 1\n" GET SEP, "record 1: payload: expected an HTTP/1 response"},
		{"1 a 1\nno head" SEP, "record 1: payload: expected an HTTP/1 request"},
		{"1 a 1\n" SEP, "record 1: payload: expected an HTTP/1 request"},
		{"hello", "record 1: is not whole; expected 'TYPE ID TIME', an HTTP/1 message"},
		{"\x7f" "ELF\n\xf0\x9f\n" SEP "x", "record 1: type: expected 1, 2 or 3"},
		{"\x7f" "ELF\n\xf0\x9f\n", "record 1: is not whole"},
		{"1 a 1\nGET / HT", "record 1: is not whole"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct format_notes notes = {.n = 0};
		struct source *source = open_text(*state, rows[i].text, &notes);
		struct err err = {""};
		struct exchange *ex = NULL;
		int rc = source_next(source, &ex, &err);

		if (rc == 1) {
			exchange_free(ex);
			rc = source_next(source, &ex, &err);
		}
		assert_int_equal(rc, SC_EINVAL);
		if (!strstr(err.text, rows[i].line) || !strstr(err.text, "in.gor: "))
			fail_msg("'%s' is not '%s'", err.text, rows[i].line);
		source_free(source);
	}
}

/* A file that was cut at any byte: whole records are there, and that one is not is said; a file without
 * any is none of ours. */
static void test_cut(void **state)
{
	static const char whole[] = "1 aa 1000 0\n" GET SEP "2 aa 2000 5\n" OK SEP;
	struct place *p = *state;
	size_t head = strlen("1 aa 1000 0\n" GET), second = head + strlen(SEP);

	for (size_t n = 0; n < sizeof(whole); n++) {
		struct format_notes notes = {.n = 0};
		char *path = path_in(p, "cut.gor");
		struct exchange *ex = NULL;
		struct err err = {""};
		struct source *source;
		int rc;

		write_bytes(path, span_of(whole, n));
		source = open_file(path, LIMIT_BODY_BYTES, &notes);
		rc = source_next(source, &ex, &err);
		assert_int_equal(rc, n == 0 ? 0 : n < head ? SC_EINVAL : 1);
		if (rc == 1) {
			assert_int_equal(noted(&notes, "a last record without its end"),
					 n != second && n != strlen(whole));
			/* Nothing of the separator is taken for a body, but for a line's end. */
			assert_in_range(ex->request->body.len, 0, n == head + 1);
			assert_null(read_one(source));
		}
		exchange_free(ex);
		source_free(source);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		PLACED(test_written),
		PLACED(test_losses),
		PLACED(test_separator_in_body),
		PLACED(test_round_trip),
		PLACED(test_bare_line_feeds),
		PLACED(test_any_order),
		PLACED(test_same_id),
		PLACED(test_window),
		PLACED(test_framing),
		PLACED(test_wrong),
		PLACED(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
