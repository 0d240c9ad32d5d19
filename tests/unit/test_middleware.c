/* SPDX-License-Identifier: Apache-2.0 */
/* Middlewares: records there and back, edited payloads, and real children, good and bad. The time
 * that patience is measured in is the test's own, so nothing here waits for a clock. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/limits.h"
#include "replay/middleware.h"
#include "replay/record.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MS 1000000ll
#define PYTHON "/usr/bin/python3 " MIDDLEWARES "/middleware.py "

static struct span text_of(const struct buf *b)
{
	return buf_span(b);
}

/* -- records -------------------------------------------------------------------------------- */

static void test_ids(void **state)
{
	struct addr client = {.ip = {10, 0, 0, 255}, .port = 0x1234, .len = 4};
	struct addr server = {.ip = {1, 2, 3, 4}, .port = 80, .len = 4};
	struct addr six = {.len = 16, .port = 65535};
	char id[RECORD_ID + 1];
	uint32_t n = 7;

	(void)state;
	record_id(&client, &server, 0xdeadbeef, id);
	assert_string_equal(id, "123400500a0000ffdeadbeef");
	assert_int_equal(record_number(span_str(id), &n), SC_OK);
	assert_int_equal(n, 0xdeadbeef);
	memcpy(six.ip + 12, "\x01\x02\x03\x04", 4);
	record_id(&six, &server, 0, id);
	assert_string_equal(id, "ffff00500102030400000000");
	assert_int_equal(record_number(span_str("123400500a0000ffdeadbee"), &n), SC_EPROTO);
	assert_int_equal(record_number(span_str("123400500a0000ffdeadbeeg"), &n), SC_EPROTO);
	assert_int_equal(record_number(span_str(""), &n), SC_EPROTO);
	assert_int_equal(n, 0xdeadbeef);
}

static void test_record_round_trip(void **state)
{
	uint8_t all[256];
	struct record r = {.type = RECORD_REPLAYED, .ts_ns = 1700000000000000001, .latency_ns = 5};
	struct record got;
	struct err err;
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	r.id = span_str("123400500a0000ffdeadbeef");
	r.payload = span_of(all, sizeof(all));
	buf_init(&out, MIB);
	assert_int_equal(record_write(&out, &r), SC_OK);
	assert_int_equal(out.data[out.len - 1], '\n');
	assert_int_equal(memchr(out.data, '\n', out.len) == out.data + out.len - 1, 1);
	assert_int_equal(record_read(span_of(out.data, out.len - 1), out.data, &got, &err), SC_OK);
	assert_int_equal(got.type, r.type);
	assert_int_equal(got.ts_ns, r.ts_ns);
	assert_int_equal(got.latency_ns, r.latency_ns);
	assert_true(span_eq(got.payload, r.payload));
	assert_int_equal(got.id.len, RECORD_ID);
	buf_done(&out);
	r.payload.len = LIMIT_MIDDLEWARE_RECORD;
	assert_int_equal(record_write(&out, &r), SC_EFULL);
	assert_null(out.data);
}

static const struct {
	const char *line, *why;
} bad_lines[] = {
	{"313", "3 hex digits; expected an even number"},
	{"3g", "character 2 is no hex digit"},
	{"~~", "character 1 is no hex digit"},
	{"3120610", "7 hex digits; expected an even number"},
	{"312061", "no header line '<type> <id> <time> <latency>'"},
	{"3420610a", "no header line '<type> <id> <time> <latency>'"},
	{"31310a", "no header line '<type> <id> <time> <latency>'"},
	{"0a", "no header line '<type> <id> <time> <latency>'"},
};

static void test_bad_lines(void **state)
{
	struct err err;
	struct record r = {.type = RECORD_RESPONSE};

	(void)state;
	for (size_t i = 0; i < COUNT(bad_lines); i++) {
		char *line = strdup(bad_lines[i].line);

		assert_non_null(line);
		assert_int_equal(record_read(span_str(line), (uint8_t *)line, &r, &err), SC_EPROTO);
		assert_string_equal(err.text, bad_lines[i].why);
		free(line);
	}
	assert_int_equal(r.type, RECORD_RESPONSE);
}

/* Three and two fields, as old and foolish middlewares write them, and capital digits. */
static void test_lenient_lines(void **state)
{
	char three[] = "3120616220350A6D", two[] = "3120616a0d0a", none[] = "31200a";
	struct record r;
	struct err err;

	(void)state;
	assert_int_equal(record_read(span_str(three), (uint8_t *)three, &r, &err), SC_OK);
	assert_true(span_eq(r.id, span_str("ab")) && r.ts_ns == 5 && r.latency_ns == 0);
	assert_true(span_eq(r.payload, span_str("m")));
	assert_int_equal(record_read(span_str(two), (uint8_t *)two, &r, &err), SC_OK);
	assert_true(span_eq(r.id, span_str("aj")) && r.payload.len == 0);
	assert_int_equal(record_read(span_str(none), (uint8_t *)none, &r, &err), SC_OK);
	assert_int_equal(r.id.len, 0);
}

static void test_responses(void **state)
{
	static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct message *m;
	struct buf out;

	(void)state;
	buf_init(&out, MIB);
	assert_int_equal(message_parse((const uint8_t *)chunked, strlen(chunked), MIB, &m), 0);
	assert_int_equal(record_add_response(&out, m), SC_OK); /* to HEAD */
	assert_true(span_eq(text_of(&out), span_str(chunked)));
	m->flags |= MESSAGE_CHUNKED;
	buf_clear(&out);
	assert_int_equal(record_add_response(&out, m), SC_OK);
	assert_true(span_eq(text_of(&out), span_str("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
						    "chunked\r\n\r\n0\r\n\r\n")));
	assert_int_equal(buf_add_str(&m->body, "0123456789abcdefX"), 0);
	assert_int_equal(message_set_trailer(m, (const uint8_t *)"A: b\r\n", 6, NULL, 0), 0);
	buf_clear(&out);
	assert_int_equal(record_add_response(&out, m), SC_OK);
	assert_true(span_ends(text_of(&out),
			      span_str("\r\n\r\n11\r\n0123456789abcdefX\r\n0\r\nA: b\r\n\r\n")));
	m->flags = 0;
	buf_clear(&out);
	assert_int_equal(record_add_response(&out, m), SC_OK);
	assert_true(span_ends(text_of(&out), span_str("\r\n\r\n0123456789abcdefX")));
	message_free(m);
	buf_done(&out);
}

/* -- edited payloads ------------------------------------------------------------------------ */

#define CHUNKED "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

/* What a payload becomes: its head and its body as a replay would frame them. */
static const struct {
	const char *name, *payload, *head, *body, *lines;
} payloads[] = {
	{"no body", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "",
	 ""},
	{"as it says", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
	 "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "abc", ""},
	{"longer", "POST / HTTP/1.1\r\ncontent-length:3\r\nA: b\r\n\r\nabcdef",
	 "POST / HTTP/1.1\r\ncontent-length:6\r\nA: b\r\n\r\n", "abcdef", ""},
	{"shorter", "POST / HTTP/1.1\r\nContent-Length: 300\r\n\r\na",
	 "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "a", ""},
	{"gone", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
	 "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", ""},
	{"empty stays", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
	 "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", ""},
	{"no number", "POST / HTTP/1.1\r\nContent-Length: +0\r\n\r\n",
	 "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", ""},
	{"unannounced", "POST / HTTP/1.1\r\nHost: x\r\n\r\nabc",
	 "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", "abc", ""},
	{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabcd",
	 "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", "abcd", ""},
	{"echo's line feed", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\n",
	 "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "abc", ""},
	{"echo behind a head", "GET / HTTP/1.1\r\nHost: x\r\n\r\n\n",
	 "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", ""},
	{"a shell's head", "GET / HTTP/1.1\r\nHost: x\r\n\r", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	 "", ""},
	{"a bare head", "GET / HTTP/1.1\r\nHost: x", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", ""},
	{"line feeds", "POST / HTTP/1.1\nHost: x\n\nabc",
	 "POST / HTTP/1.1\nHost: x\nContent-Length: 3\r\n\n", "abc", ""},
	{"chunks", CHUNKED "3\r\nabc\r\n2;a=b\r\nde\r\n0\r\nT: x\r\n\r\n", CHUNKED, "abcde",
	 "3\r\n2;a=b\r\n0\r\nT: x\r\n"},
	{"chunks with line feeds", CHUNKED "3\nabc\n2\r\nde\r\n0\n\n", CHUNKED, "abcde",
	 "3\n2\r\n0\n"},
	{"chunks and echo", CHUNKED "3\r\nabc\r\n0\r\n\r\n\n", CHUNKED, "abc", "3\r\n0\r\n"},
	{"no chunks any more", CHUNKED "abc", CHUNKED, "abc", ""},
	{"chunks cut off", CHUNKED "9\r\nabc", CHUNKED, "9\r\nabc", ""},
	{"chunks and junk", CHUNKED "1\r\na\r\n0\r\nT: x\r\n\r\njunk", CHUNKED,
	 "1\r\na\r\n0\r\nT: x\r\n\r\njunk", ""},
	{"no last chunk", CHUNKED "1\r\na\r\n", CHUNKED, "1\r\na\r\n", ""},
	{"a chunk of the wrong size", CHUNKED "2\r\na\r\n0\r\n\r\n", CHUNKED, "2\r\na\r\n0\r\n\r\n",
	 ""},
	{"chunks and a length",
	 "POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
	 "1\r\na\r\n0\r\n\r\n",
	 "POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n", "a",
	 "1\r\n0\r\n"},
};

static void test_payloads(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(payloads); i++) {
		struct message *m = NULL;

		assert_int_equal(record_request(span_str(payloads[i].payload), &m), SC_OK);
		if (!span_eq(span_of(m->head, m->head_len), span_str(payloads[i].head)) ||
		    !span_eq(buf_span(&m->body), span_str(payloads[i].body)) ||
		    !span_eq(buf_span(&m->chunk_lines), span_str(payloads[i].lines)))
			fail_msg("%s: got\n%.*s%.*s\n%.*s", payloads[i].name, (int)m->head_len,
				 (const char *)m->head, (int)m->body.len,
				 (const char *)m->body.data, (int)m->chunk_lines.len,
				 (const char *)m->chunk_lines.data);
		assert_int_equal(m->body_size, m->body.len);
		message_free(m);
	}
}

static void test_no_requests(void **state)
{
	static const char *const bad[] = {
		"", "\r\n\r\n", "x", "HTTP/1.1 200 OK\r\n\r\n", "GET /\r\n\r\n", "\n\n\n", "\r",
	};
	struct message *m = NULL;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(record_request(span_str(bad[i]), &m), SC_EPROTO);
	assert_null(m);
}

/* Whatever a payload is cut to, what comes out is whole. */
static void test_cut_payloads(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(payloads); i++) {
		size_t len = strlen(payloads[i].payload);

		for (size_t cut = 0; cut <= len; cut++) {
			uint8_t *copy = malloc(cut + 1); /* so that an overrun is seen */
			struct message *m = NULL;
			int rc;

			assert_non_null(copy);
			memcpy(copy, payloads[i].payload, cut);
			rc = record_request(span_of(copy, cut), &m);
			assert_true(rc == SC_OK || rc == SC_EPROTO);
			assert_true(rc != SC_OK || m->n_fields <= 3);
			message_free(m);
			free(copy);
		}
	}
}

/* -- children ------------------------------------------------------------------------------- */

static int64_t now_us;

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static struct middleware *begin(const char *command)
{
	struct middleware *mw = NULL;
	struct err err = {""};

	now_us = 1;
	if (middleware_start(command, &mw, &err))
		fail_msg("%s", err.text);
	return mw;
}

static void put_request(struct middleware *mw, uintptr_t tag, const char *payload,
			char id[RECORD_ID + 1])
{
	struct exchange ex = {
		.ts_us = 5000000 + (int64_t)tag,
		.client = {.ip = {10, 0, 0, 1}, .port = 4000, .len = 4},
		.server = {.ip = {10, 0, 0, 2}, .port = 80, .len = 4},
	};
	char unused[RECORD_ID + 1];

	assert_int_equal(
		middleware_put_request(mw, &ex, span_str(payload), (void *)tag, id ? id : unused),
		SC_OK);
}

static void put_response(struct middleware *mw, enum record_type type, const char *id,
			 const char *payload)
{
	struct record r = {
		.type = type,
		.id = span_str(id),
		.ts_ns = 1,
		.latency_ns = 2,
		.payload = span_str(payload),
	};

	assert_int_equal(middleware_put_response(mw, &r), SC_OK);
}

/* Pumps until something comes of it; time stands still. */
static int until_answer(struct middleware *mw, struct middleware_answer **ret, struct err *err)
{
	int rc = SC_OK;

	*ret = middleware_next(mw);
	while (!*ret && !rc) {
		rc = middleware_pump(mw, now_us, 1000 * MS, -1, err);
		*ret = middleware_next(mw);
	}
	return rc;
}

/* Pumps to the end; each pump is `step` later. What was dropped on the way is counted. */
static int until_end(struct middleware *mw, int64_t step, unsigned *ret_dropped, struct err *err)
{
	struct middleware_answer *a;
	int rc;

	*ret_dropped = 0;
	do {
		now_us += step;
		rc = middleware_pump(mw, now_us, step ? 0 : 1000 * MS, -1, err);
		while ((a = middleware_next(mw))) {
			*ret_dropped += !a->answered;
			free(a);
		}
	} while (rc == SC_OK);
	return rc;
}

static void expect(struct middleware *mw, uintptr_t tag, const char *payload)
{
	struct middleware_answer *a = NULL;
	struct err err = {""};

	if (until_answer(mw, &a, &err))
		fail_msg("%s", err.text);
	assert_true(a->answered);
	assert_int_equal((uintptr_t)a->tag, tag);
	if (!span_eq(span_of(a->payload, a->len), span_str(payload)))
		fail_msg("got %.*s", (int)a->len, (const char *)a->payload);
	free(a);
}

static void end_well(struct middleware *mw)
{
	struct err err = {""};
	unsigned dropped;

	middleware_close(mw);
	if (until_end(mw, 0, &dropped, &err) != SC_ECLOSED)
		fail_msg("%s", err.text);
	assert_int_equal(dropped, 0);
	assert_int_equal(middleware_outstanding(mw), 0);
	assert_int_equal(middleware_stats(mw)->status, 0);
	assert_false(middleware_stats(mw)->killed);
	middleware_free(mw);
}

static const char *const echoes[] = {
	PYTHON "echo",	  PYTHON "requests", "  cat ", "/bin/sh " MIDDLEWARES "/echo.sh",
	PYTHON "garbage",
};

static void test_echoes(void **state)
{
	static const char get[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

	(void)state;
	for (size_t i = 0; i < COUNT(echoes); i++) {
		struct middleware *mw = begin(echoes[i]);
		char id[RECORD_ID + 1];

		for (uintptr_t n = 0; n < 3; n++) {
			put_request(mw, n, get, id);
			put_response(mw, RECORD_RESPONSE, id, "HTTP/1.1 200 OK\r\n\r\n");
		}
		assert_int_equal(middleware_outstanding(mw), 3);
		for (uintptr_t n = 0; n < 3; n++)
			expect(mw, n, get);
		assert_int_equal(middleware_outstanding(mw), 0);
		put_response(mw, RECORD_REPLAYED, id, "HTTP/1.1 200 OK\r\n\r\n");
		assert_int_equal(middleware_stats(mw)->answered, 3);
		assert_int_equal(middleware_stats(mw)->requests, 3);
		assert_int_equal(middleware_stats(mw)->responses, 4);
		end_well(mw);
	}
}

/* More than both pipes hold, in and out, and lines of all sizes. */
static void test_much(void **state)
{
	enum { N = 300, SIZE = 40000 };
	struct middleware *mw = begin("cat");
	char *payload = calloc(1, SIZE + 1);

	(void)state;
	assert_non_null(payload);
	for (uintptr_t n = 0; n < N; n++) {
		memset(payload, 'a' + (int)(n % 26), SIZE);
		payload[n * SIZE / N] = '\0';
		put_request(mw, n, payload, NULL);
	}
	for (uintptr_t n = 0; n < N; n++) {
		memset(payload, 'a' + (int)(n % 26), SIZE);
		payload[n * SIZE / N] = '\0';
		expect(mw, n, payload);
	}
	free(payload);
	end_well(mw);
}

static void test_out_of_order(void **state)
{
	struct middleware *mw = begin(PYTHON "backwards 3");

	(void)state;
	for (uintptr_t n = 0; n < 4; n++)
		put_request(mw, n, "GET / HTTP/1.1\r\n\r\n", NULL);
	assert_int_equal(middleware_expected(mw, 1000), 4);
	for (uintptr_t n = 3; n-- > 0;)
		expect(mw, n, "GET / HTTP/1.1\r\n\r\n");
	assert_int_equal(middleware_expected(mw, 1000), 1);
	end_well(mw); /* the fourth comes at the end of its input */
}

static void test_change(void **state)
{
	struct middleware *mw = begin(PYTHON "change");

	(void)state;
	put_request(mw, 1, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", NULL);
	expect(mw, 1, "POST / HTTP/1.1\r\nContent-Length: 2\r\nX-Changed: yes\r\n\r\nhi, and more");
	end_well(mw);
}

static void test_token(void **state)
{
	struct middleware *mw = begin(PYTHON "token");
	char login[RECORD_ID + 1];

	(void)state;
	put_request(mw, 1, "GET /login HTTP/1.1\r\n\r\n", login);
	put_response(mw, RECORD_RESPONSE, login, "HTTP/1.1 200 OK\r\n\r\nAAAA");
	expect(mw, 1, "GET /login HTTP/1.1\r\n\r\n");
	put_response(mw, RECORD_REPLAYED, login, "HTTP/1.1 200 OK\r\n\r\nBBBB");
	put_request(mw, 2, "GET / HTTP/1.1\r\nToken: AAAA\r\n\r\n", NULL);
	expect(mw, 2, "GET / HTTP/1.1\r\nToken: BBBB\r\n\r\n");
	end_well(mw);
}

/* One that reads a request and lets it lie has five seconds; those behind it are not held up. */
static void test_patience(void **state)
{
	struct middleware *mw = begin(PYTHON "odd");
	struct middleware_answer *a;
	struct err err = {""};

	(void)state;
	for (uintptr_t n = 0; n < 3; n++)
		put_request(mw, n, "GET / HTTP/1.1\r\n\r\n", NULL);
	expect(mw, 0, "GET / HTTP/1.1\r\n\r\n");
	expect(mw, 2, "GET / HTTP/1.1\r\n\r\n");
	assert_int_equal(middleware_outstanding(mw), 1);
	assert_int_equal(middleware_expected(mw, 1000), 0);
	/* A long time in which nobody listened is one second to it. */
	now_us += 3600ll * 1000000;
	for (int i = 0; i < 5; i++, now_us += 1000000)
		assert_int_equal(middleware_pump(mw, now_us, 0, -1, &err), SC_OK);
	assert_null(middleware_next(mw));
	assert_int_equal(middleware_pump(mw, now_us, 0, -1, &err), SC_OK);
	a = middleware_next(mw);
	assert_non_null(a);
	assert_false(a->answered);
	assert_int_equal((uintptr_t)a->tag, 1);
	free(a);
	assert_int_equal(middleware_stats(mw)->unanswered, 1);
	end_well(mw);
}

/* Reads, answers nothing, and ends with its input: everything dropped and counted, no error. */
static void test_silent(void **state)
{
	struct middleware *mw = begin(PYTHON "silent");
	struct err err = {""};
	unsigned dropped;

	(void)state;
	for (uintptr_t n = 0; n < 10; n++)
		put_request(mw, n, "GET / HTTP/1.1\r\n\r\n", NULL);
	middleware_close(mw);
	assert_int_equal(until_end(mw, 0, &dropped, &err), SC_ECLOSED);
	assert_int_equal(dropped, 10);
	assert_int_equal(middleware_stats(mw)->unanswered, 10);
	assert_int_equal(middleware_outstanding(mw), 0);
	middleware_free(mw);
}

/* Its input has ended, and it does not: ten seconds. */
static void test_stubborn(void **state)
{
	struct middleware *mw = begin(PYTHON "silent_and_stubborn");
	struct err err = {""};
	unsigned dropped;
	int64_t began;

	(void)state;
	put_request(mw, 1, "GET / HTTP/1.1\r\n\r\n", NULL);
	middleware_close(mw);
	began = now_us;
	assert_int_equal(until_end(mw, 1, &dropped, &err), SC_ECLOSED);
	assert_true(now_us - began >= LIMIT_MIDDLEWARE_END_US);
	assert_int_equal(dropped, 1);
	middleware_free(mw);
}

static void test_unflushed(void **state)
{
	struct middleware *mw = begin(PYTHON "buffered");

	(void)state;
	put_request(mw, 1, "GET / HTTP/1.1\r\n\r\n", NULL);
	end_well(mw);
	mw = begin(PYTHON "no_line_end");
	put_request(mw, 1, "GET / HTTP/1.1\r\n\r\n", NULL);
	end_well(mw);
}

static const struct {
	const char *command;
	unsigned requests;
	unsigned answered;
	int64_t step; /* of the test's clock; 0: it stands */
	const char *why;
} bad_children[] = {
	{PYTHON "die 3", 0, 0, 0,
	 "die 3' ended with status 3; expected it to go on until the end "
	 "of its input"},
	{PYTHON "die 0", 2, 0, 0,
	 "die 0' ended with status 0; expected it to go on until the end "
	 "of its input"},
	{PYTHON "die_after 2", 5, 2, 0,
	 "die_after 2' ended with status 7; expected it to go on "
	 "until the end of its input"},
	{PYTHON "die_by_signal", 1, 0, 0, "die_by_signal' was ended by signal 9 (SIGKILL)"},
	{PYTHON "hang", 1, 0, 100000, "hang' has not read for 10 s"},
	{PYTHON "close_output", 1, 0, 100, "close_output' has closed its standard output"},
	{PYTHON "close_input", 1, 0, 100, "close_input' has closed its standard input"},
	{PYTHON "endless", 1, 0, 0, "endless' wrote a line of more than 33554432 bytes"},
};

static void test_bad_children(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_children); i++) {
		struct middleware *mw = begin(bad_children[i].command);
		struct err err = {""};
		unsigned dropped;

		for (uintptr_t n = 0; n < bad_children[i].requests; n++)
			put_request(mw, n, "GET / HTTP/1.1\r\n\r\n", NULL);
		assert_int_equal(until_end(mw, bad_children[i].step, &dropped, &err), SC_EPROTO);
		assert_true(span_starts(span_str(err.text), span_str("middleware '/usr/bin/")));
		if (!span_ends(span_str(err.text), span_str(bad_children[i].why)))
			fail_msg("got %s", err.text);
		assert_int_equal(dropped, bad_children[i].requests - bad_children[i].answered);
		assert_int_equal(middleware_outstanding(mw), 0);
		assert_false(middleware_ready(mw));
		middleware_free(mw);
	}
}

/* It dies with more to read than its pipe holds: no SIGPIPE, and what it answered counts. */
static void test_broken_pipe(void **state)
{
	enum { SIZE = 500000 };
	struct middleware *mw = begin(PYTHON "die_after 1");
	char *payload = calloc(1, SIZE + 1);
	struct err err = {""};
	unsigned dropped;

	(void)state;
	assert_non_null(payload);
	memset(payload, 'x', SIZE);
	for (uintptr_t n = 0; n < 8; n++)
		put_request(mw, n, payload, NULL);
	assert_int_equal(until_end(mw, 0, &dropped, &err), SC_EPROTO);
	assert_int_equal(dropped, 7);
	assert_int_equal(middleware_stats(mw)->answered, 1);
	assert_non_null(strstr(err.text, "ended with status 7"));
	free(payload);
	middleware_free(mw);
}

static void test_garbage(void **state)
{
	struct middleware *mw = begin(PYTHON "garbage");
	const struct middleware_stats *stats = middleware_stats(mw);

	(void)state;
	put_request(mw, 1, "GET / HTTP/1.1\r\n\r\n", NULL);
	expect(mw, 1, "GET / HTTP/1.1\r\n\r\n");
	put_request(mw, 2, "GET / HTTP/1.1\r\n\r\n", NULL);
	expect(mw, 2, "GET / HTTP/1.1\r\n\r\n");
	middleware_last(mw);
	assert_int_equal(stats->garbage, 2 * 6);
	assert_string_equal(stats->note, "5 hex digits; expected an even number");
	/* "1 a" twice, and the first answer's double; the second one's may still be on its way. */
	assert_in_range(stats->strays, 3, 4);
	end_well(mw);
}

/* The ceilings: what is not read, what is not answered, and one record. */
static void test_ceilings(void **state)
{
	struct middleware *mw = begin(PYTHON "hang");
	struct exchange ex = {.ts_us = 1};
	char id[RECORD_ID + 1] = "untouched";
	uint8_t *big = calloc(1, LIMIT_MIDDLEWARE_RECORD);
	unsigned n;

	(void)state;
	assert_non_null(big);
	assert_int_equal(
		middleware_put_request(mw, &ex, span_of(big, LIMIT_MIDDLEWARE_RECORD), NULL, id),
		SC_EFULL);
	for (n = 0; middleware_ready(mw); n++)
		assert_int_equal(middleware_put_request(mw, &ex, span_of(big, 15 * MIB), NULL, id),
				 SC_OK);
	assert_int_equal(n, 3); /* 30 MiB of hex each, and 64 may lie there before the last */
	memcpy(id, "untouched", sizeof("untouched"));
	assert_int_equal(middleware_put_request(mw, &ex, span_str(""), NULL, id), SC_EAGAIN);
	assert_string_equal(id, "untouched");
	free(big);
	middleware_free(mw);
	mw = begin("cat");
	for (n = 0; middleware_ready(mw); n++)
		put_request(mw, n, "", NULL);
	assert_int_equal(n, LIMIT_MIDDLEWARE_WINDOW);
	for (uintptr_t i = 0; i < n; i++)
		expect(mw, i, "");
	assert_true(middleware_ready(mw));
	end_well(mw);
}

static void test_unusable(void **state)
{
	static const struct {
		const char *command, *why;
	} bad[] = {
		{"", "middleware: no command; expected a program and its arguments"},
		{"   ", "middleware: no command; expected a program and its arguments"},
		{"/nonexistent/x y",
		 "middleware: '/nonexistent/x' cannot be run: No such file or directory"},
		{"/etc/passwd", "middleware: '/etc/passwd' cannot be run: Permission denied"},
		{"no-such-program-anywhere",
		 "middleware: 'no-such-program-anywhere' cannot be run: No such file or directory"},
	};
	char many[2 * LIMIT_COMMAND_WORDS + 3] = "";
	struct middleware *mw = NULL;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(middleware_start(bad[i].command, &mw, &err), SC_EINVAL);
		assert_string_equal(err.text, bad[i].why);
	}
	for (size_t i = 0; i + 1 < sizeof(many); i++)
		many[i] = i % 2 ? ' ' : 'x';
	assert_int_equal(middleware_start(many, &mw, &err), SC_EINVAL);
	assert_string_equal(err.text, "middleware: more than 256 words");
	assert_null(mw);
	middleware_free(NULL);
}

/* Blocked signals and open files are ours; it starts with neither. */
static void test_clean_slate(void **state)
{
	struct middleware *mw;
	sigset_t all, before;
	FILE *leaky = fopen("/dev/null", "r");

	(void)state;
	assert_non_null(leaky);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	mw = begin(PYTHON "environment");
	sigprocmask(SIG_SETMASK, &before, NULL);
	put_request(mw, 1, "?", NULL);
	expect(mw, 1, "3 0000000000000000 True");
	end_well(mw);
	(void)fclose(leaky);
}

static int files_before(void **state)
{
	*state = (void *)(uintptr_t)open_files();
	return 0;
}

/* No test leaves a child or a descriptor behind. */
static int nothing_left(void **state)
{
	return (uintptr_t)*state == open_files() && waitpid(-1, NULL, WNOHANG) < 0 &&
			       errno == ECHILD
		       ? 0
		       : -1;
}

int main(void)
{
#define CHILD(test) cmocka_unit_test_setup_teardown(test, files_before, nothing_left)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_record_round_trip),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_lenient_lines),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_no_requests),
		cmocka_unit_test(test_cut_payloads),
		CHILD(test_echoes),
		CHILD(test_much),
		CHILD(test_out_of_order),
		CHILD(test_change),
		CHILD(test_token),
		CHILD(test_patience),
		CHILD(test_silent),
		CHILD(test_stubborn),
		CHILD(test_unflushed),
		CHILD(test_bad_children),
		CHILD(test_broken_pipe),
		CHILD(test_garbage),
		CHILD(test_ceilings),
		CHILD(test_unusable),
		CHILD(test_clean_slate),
	};
#undef CHILD

	return cmocka_run_group_tests(tests, NULL, NULL);
}
