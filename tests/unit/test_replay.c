/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of a replay that know HTTP: requests become bytes, bytes become answers. No sockets.
 */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "replay/answer.h"
#include "replay/shot.h"
#include "replay/summary.h"
#include "replay/target.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct exchange *exchange_of(const char *head, const char *body)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), MIB, &ex->request), 0);
	assert_int_equal(buf_add_str(&ex->request->body, body), 0);
	ex->request->body_size = strlen(body);
	return ex;
}

static const struct {
	const char *name, *head, *body;
	const char *lines; /* chunk_lines as recorded; NULL: none */
	const char *trailer;
	const char *marker;
	const char *wire;
} framings[] = {
	{"as it is",
	 "GET /a?b HTTP/1.1\r\nhOST:  x\r\nX-Two: 1\r\nx-two: 2 \r\n\r\n",
	 "",
	 NULL,
	 NULL,
	 "7",
	 "GET /a?b HTTP/1.1\r\nhOST:  x\r\nX-Two: 1\r\nx-two: 2 \r\nX-Shadow-Replay: 7\r\n\r\n"},
	{"no marker",
	 "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	 "",
	 NULL,
	 NULL,
	 NULL,
	 "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"bare line feeds",
	 "GET / HTTP/1.1\nHost: x\n\n",
	 "",
	 NULL,
	 NULL,
	 "7",
	 "GET / HTTP/1.1\nHost: x\nX-Shadow-Replay: 7\n\n"},
	{"no fields",
	 "GET / HTTP/1.0\r\n\r\n",
	 "",
	 NULL,
	 NULL,
	 "7",
	 "GET / HTTP/1.0\r\nX-Shadow-Replay: 7\r\n\r\n"},
	{"marked before",
	 "GET / HTTP/1.1\r\nx-shadow-replay: 1\r\nHost: x\r\nX-Shadow-Replay: 2\r\n\r\n",
	 "",
	 NULL,
	 NULL,
	 "7",
	 "GET / HTTP/1.1\r\nHost: x\r\nX-Shadow-Replay: 7\r\n\r\n"},
	{"length",
	 "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
	 "a\nb",
	 NULL,
	 NULL,
	 "7",
	 "POST / HTTP/1.1\r\nContent-Length: 3\r\nX-Shadow-Replay: 7\r\n\r\na\nb"},
	{"one chunk",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
	 "0123456789abcdefX",
	 NULL,
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
	 "11\r\n0123456789abcdefX\r\n0\r\n\r\n"},
	{"recorded chunks",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	 "0123456789abcdefX",
	 "1\r\nF;e=\"1\"\r\n01\r\n0\r\nT:9\r\n",
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
	 "1\r\n0\r\nF;e=\"1\"\r\n123456789abcdef\r\n01\r\nX\r\n0\r\nT:9\r\n\r\n"},
	{"recorded chunks with bare line feeds",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	 "abcde",
	 "3\n1\r\n1;x\n0\nT: 9\n",
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "3\nabc\n1\r\nd\r\n1;x\ne\n0\nT: 9\n\n"},
	{"fewer chunks than body",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	 "abcdef",
	 "2\r\n0\r\n",
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "6\r\nabcdef\r\n0\r\n\r\n"},
	{"more chunks than body",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	 "abc",
	 "2\r\n9\r\n9\r\n0\r\n",
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "3\r\nabc\r\n0\r\n\r\n"},
	{"empty chunked",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	 "",
	 NULL,
	 NULL,
	 NULL,
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"trailers",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	 "ab",
	 NULL,
	 "X-Sum:  9\r\nY: z\r\n",
	 "7",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Shadow-Replay: 7\r\n\r\n"
	 "2\r\nab\r\n0\r\nX-Sum:  9\r\nY: z\r\n\r\n"},
};

static void test_framing(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(framings); i++) {
		struct exchange *ex = exchange_of(framings[i].head, framings[i].body);
		struct shot *shot = NULL;
		enum skip skip;

		if (framings[i].lines)
			assert_int_equal(buf_add_str(&ex->request->chunk_lines, framings[i].lines), 0);
		if (framings[i].trailer)
			assert_int_equal(message_set_trailer(
						 ex->request, (const uint8_t *)framings[i].trailer,
						 (uint32_t)strlen(framings[i].trailer), NULL, 0),
					 0);
		assert_int_equal(shot_new(ex, framings[i].marker, &shot, &skip), SC_OK);
		assert_int_equal(skip, SKIP_NONE);
		if (shot->len != strlen(framings[i].wire) ||
		    memcmp(shot->bytes, framings[i].wire, shot->len) != 0)
			fail_msg("%s: got\n%.*s", framings[i].name, (int)shot->len,
				 (const char *)shot->bytes);
		shot_free(shot);
		exchange_free(ex);
	}
}

static const struct {
	const char *head, *body;
	uint64_t body_size;
	uint16_t flags;
	enum skip skip;
} unsent[] = {
	{"CONNECT h:1 HTTP/1.1\r\n\r\n", "", 0, 0, SKIP_CONNECT},
	{"GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", "", 0,
	 0, SKIP_UPGRADE},
	{"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", "", 0, 0, SKIP_NONE},
	{"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "ab", 3, 0, SKIP_INCOMPLETE},
	{"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", "ab", 2, MESSAGE_GAP, SKIP_INCOMPLETE},
	{"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", "ab", 2, MESSAGE_CAPPED, SKIP_INCOMPLETE},
	{"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", 0, MESSAGE_UNKEPT, SKIP_INCOMPLETE},
	{"POST / HTTP/1.1\r\n\r\n", "ab", 2, 0, SKIP_FRAMING},
	{"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "ab", 2, 0, SKIP_FRAMING},
	{"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\n", "ab", 2, 0, SKIP_FRAMING},
	{"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "ab", 2, 0,
	 SKIP_FRAMING},
	{"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", 0, 0, SKIP_NONE},
};

/* Nothing goes out in half. */
static void test_unsent(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(unsent); i++) {
		struct exchange *ex = exchange_of(unsent[i].head, unsent[i].body);
		struct shot *shot = NULL;
		enum skip skip;

		ex->request->body_size = unsent[i].body_size;
		ex->request->flags |= unsent[i].flags;
		assert_int_equal(shot_new(ex, "1", &shot, &skip), SC_OK);
		assert_int_equal(skip, unsent[i].skip);
		assert_true((shot != NULL) == (skip == SKIP_NONE));
		assert_true(skip == SKIP_NONE || (skip_name(skip)[0] && skip_help(skip)[0]));
		shot_free(shot);
		exchange_free(ex);
	}
}

static void test_marker_too_much(void **state)
{
	char *head = calloc(1, LIMIT_HEAD_BYTES + 1);
	struct exchange *ex;
	struct shot *shot = NULL;
	enum skip skip;

	(void)state;
	assert_non_null(head);
	snprintf(head, LIMIT_HEAD_BYTES, "GET / HTTP/1.1\r\nA: ");
	memset(head + strlen(head), 'a', LIMIT_HEAD_BYTES - 4 - strlen(head));
	memcpy(head + LIMIT_HEAD_BYTES - 4, "\r\n\r\n", 4);
	ex = exchange_of(head, "");
	assert_int_equal(shot_new(ex, "1", &shot, &skip), SC_OK);
	assert_int_equal(skip, SKIP_TOO_LARGE);
	assert_null(shot);
	assert_int_equal(shot_new(ex, NULL, &shot, &skip), SC_OK);
	assert_int_equal(shot->len, LIMIT_HEAD_BYTES);
	shot_free(shot);
	exchange_free(ex);
	free(head);
}

static const struct {
	const char *method;
	bool head, idempotent;
} methods[] = {
	{"GET", false, true},	 {"HEAD", true, true},	  {"OPTIONS", false, true},
	{"PUT", false, true},	 {"DELETE", false, true}, {"POST", false, false},
	{"PATCH", false, false}, {"head", false, false},  {"X", false, false},
};

static void test_methods(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(methods); i++) {
		char text[64];
		struct exchange *ex;
		struct shot *shot = NULL;
		enum skip skip;

		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nConnection: %s\r\n\r\n",
			 methods[i].method, i % 2 ? "foo ,CLOSE" : "closed");
		ex = exchange_of(text, "");
		ex->id = 5;
		ex->connection = 6;
		ex->ts_us = 7;
		assert_int_equal(shot_new(ex, "1", &shot, &skip), SC_OK);
		assert_int_equal(shot->head, methods[i].head);
		assert_int_equal(shot->idempotent, methods[i].idempotent);
		assert_int_equal(shot->closes, i % 2);
		assert_int_equal(shot->exchange_id, 5);
		assert_int_equal(shot->connection, 6);
		assert_int_equal(shot->ts_us, 7);
		shot_free(shot);
		exchange_free(ex);
	}
}

static const struct {
	const char *name;
	bool head; /* request */
	const char *wire;
	bool eof; /* behind it */
	enum answer_state end;
	uint16_t status;
	const char *final_head; /* NULL: the whole of `wire` before the body */
	const char *body;
	bool keeps_alive;
	size_t left; /* bytes of the wire that are not the answer's */
	const char *trailer;
} answers[] = {
	{"length", false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b \r\n\r\nhello", false,
	 ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b \r\n\r\n", "hello", true,
	 0, NULL},
	{"no body", false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, ANSWER_DONE, 200,
	 NULL, "", true, 0, NULL},
	{"no reason", false, "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", false, ANSWER_DONE, 200,
	 "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", "x", true, 0, NULL},
	{"empty value at the end", false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA:\r\n\r\n",
	 false, ANSWER_DONE, 200, NULL, "", true, 0, NULL},
	{"close", false,
	 "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false,
	 ANSWER_DONE, 404,
	 "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", "x", false, 0,
	 NULL},
	{"HTTP/1.0", false, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false, ANSWER_DONE,
	 200, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "x", false, 0, NULL},
	{"HTTP/1.0 kept", false,
	 "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", false,
	 ANSWER_DONE, 200, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
	 "x", true, 0, NULL},
	{"chunked", false,
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	 "chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	 false, ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "abcde",
	 true, 0, NULL},
	{"chunk lines with blanks", false,
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "1 ;a=b\r\na\r\n1; a = \"b;\\\"\"\r\nb\r\n1  \r\nc\r\n1\nd\n0 \r\n\r\n",
	 false, ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "abcd",
	 true, 0, NULL},
	{"chunked and a length", false,
	 "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "1\r\na\r\n0\r\n\r\n",
	 false, ANSWER_DONE, 200,
	 "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", "a", true,
	 0, NULL},
	{"more than its chunks", false,
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200", false,
	 ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", true, 12,
	 NULL},
	{"trailers", false,
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 9 \r\nY: "
	 "z\r\n\r\n",
	 false, ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "a",
	 true, 0, "X-Sum: 9 \r\nY: z\r\n"},
	{"until the end", false, "HTTP/1.1 200 OK\r\n\r\nall of it", true, ANSWER_DONE, 200,
	 "HTTP/1.1 200 OK\r\n\r\n", "all of it", false, 0, NULL},
	{"nothing until the end", false, "HTTP/1.1 200 OK\r\n\r\n", true, ANSWER_DONE, 200, NULL,
	 "", false, 0, NULL},
	{"to HEAD", true, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", false, ANSWER_DONE, 200,
	 NULL, "", true, 0, NULL},
	{"to HEAD, chunked", true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false,
	 ANSWER_DONE, 200, NULL, "", true, 0, NULL},
	{"to HEAD, no length", true, "HTTP/1.1 200 OK\r\n\r\n", false, ANSWER_DONE, 200, NULL, "",
	 true, 0, NULL},
	{"204", false, "HTTP/1.1 204 No Content\r\n\r\n", false, ANSWER_DONE, 204, NULL, "", true,
	 0, NULL},
	{"304 with a length", false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
	 false, ANSWER_DONE, 304, NULL, "", true, 0, NULL},
	{"interim", false,
	 "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
	 "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi",
	 false, ANSWER_DONE, 201, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n", "hi", true,
	 0, NULL},
	{"switching", false, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
	 false, ANSWER_DONE, 101, NULL, "", false, 0, NULL},
	{"more than asked for", false, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200",
	 false, ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", "x", true, 12,
	 NULL},
	{"cut in the head", false, "HTTP/1.1 200 OK\r\nContent-Le", true, ANSWER_CUT, 0, NULL, NULL,
	 false, 0, NULL},
	{"cut in the body", false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true,
	 ANSWER_CUT, 0, NULL, NULL, false, 0, NULL},
	{"cut in a chunk", false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
	 true, ANSWER_CUT, 0, NULL, NULL, false, 0, NULL},
	{"cut after an interim", false, "HTTP/1.1 100 Continue\r\n\r\n", true, ANSWER_CUT, 0, NULL,
	 NULL, false, 0, NULL},
	{"garbage", false, "SSH-2.0-OpenSSH_9.2\r\n", false, ANSWER_MALFORMED, 0, NULL, NULL, false,
	 0, NULL},
	{"one length twice", false,
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello", false,
	 ANSWER_DONE, 200,
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", "hello", true, 0,
	 NULL},
	{"lengths of an interim", false,
	 "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n"
	 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
	 false, ANSWER_DONE, 200, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", "x", true, 0,
	 NULL},
	{"two lengths", false,
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false,
	 ANSWER_MALFORMED, 0, NULL, NULL, false, 0, NULL},
	{"bad chunk", false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false,
	 ANSWER_MALFORMED, 0, NULL, NULL, false, 0, NULL},
};

static void check_answer(struct answer *a, size_t i)
{
	const char *head = answers[i].final_head ? answers[i].final_head : answers[i].wire;
	struct message *m = NULL, *parsed = NULL;

	assert_int_equal(answer_status(a), answers[i].status);
	assert_int_equal(answer_keeps_alive(a), answers[i].keeps_alive);
	assert_int_equal(answer_take(a, &m), SC_OK);
	if (m->head_len != strlen(head))
		fail_msg("%s: head of %u bytes", answers[i].name, m->head_len);
	assert_memory_equal(m->head, head, m->head_len);
	assert_int_equal(m->status, answers[i].status);
	assert_int_equal(m->body.len, strlen(answers[i].body));
	assert_int_equal(m->body_size, m->body.len);
	if (m->body.len)
		assert_memory_equal(m->body.data, answers[i].body, m->body.len);
	/* The index is the one that anybody else makes of the same head. */
	assert_int_equal(message_parse(m->head, m->head_len, 0, &parsed), SC_OK);
	assert_int_equal(m->n_fields, parsed->n_fields);
	for (uint32_t k = 0; k < m->n_fields; k++) {
		assert_true(span_eq(message_name(m, k), message_name(parsed, k)));
		assert_true(span_eq(message_value(m, k), message_value(parsed, k)));
	}
	assert_true(span_eq(message_span(m, m->reason), message_span(parsed, parsed->reason)));
	assert_int_equal(m->major, parsed->major);
	assert_int_equal(m->minor, parsed->minor);
	assert_int_equal(m->trailer_len, answers[i].trailer ? strlen(answers[i].trailer) : 0);
	message_free(parsed);
	message_free(m);
}

/* Feeds in pieces: the first of `first` bytes, then `step` at a time. */
static void feed_pieces(struct answer *a, size_t i, size_t first, size_t step)
{
	const uint8_t *wire = (const uint8_t *)answers[i].wire;
	size_t len = strlen(answers[i].wire), at = 0;
	enum answer_state state = ANSWER_MORE;

	answer_begin(a, answers[i].head);
	while (at < len && state == ANSWER_MORE) {
		size_t n = at == 0 && first ? first : step, used;
		/* Of its own, so that reading over its end is seen. */
		uint8_t *piece;

		if (n > len - at)
			n = len - at;
		piece = malloc(n);
		assert_non_null(piece);
		memcpy(piece, wire + at, n);
		state = answer_feed(a, piece, n, &used);
		free(piece);
		at += state == ANSWER_DONE ? used : n;
	}
	if (state == ANSWER_MORE && answers[i].eof)
		state = answer_eof(a);
	if (state != answers[i].end)
		fail_msg("%s, %zu then %zu: state %d", answers[i].name, first, step, (int)state);
	if (state != ANSWER_DONE)
		return;
	if (len - at != answers[i].left)
		fail_msg("%s, %zu then %zu: %zu left", answers[i].name, first, step, len - at);
	check_answer(a, i);
}

/* One reader for all, as on a connection; cut at every byte, and byte by byte. */
static void test_answers(void **state)
{
	struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, NULL);

	(void)state;
	assert_non_null(a);
	for (size_t i = 0; i < COUNT(answers); i++) {
		size_t len = strlen(answers[i].wire);

		for (size_t first = 1; first <= len; first++)
			feed_pieces(a, i, first, len);
		feed_pieces(a, i, 0, 1);
		feed_pieces(a, i, 0, 2);
		feed_pieces(a, i, 0, 3);
	}
	answer_free(a);
}

/* What one answer left behind in the reader changes nothing about another: each after each, whole
 * and in two pieces. */
static void test_answers_in_turn(void **state)
{
	struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, NULL);

	(void)state;
	assert_non_null(a);
	for (size_t i = 0; i < COUNT(answers); i++) {
		for (size_t k = 0; k < COUNT(answers); k++) {
			size_t len = strlen(answers[k].wire);

			feed_pieces(a, i, 0, LIMIT_HEAD_BYTES);
			feed_pieces(a, k, 0, LIMIT_HEAD_BYTES);
			feed_pieces(a, k, 0, LIMIT_HEAD_BYTES);
			feed_pieces(a, k, len / 2, len);
		}
	}
	answer_free(a);
}

/* A head that comes again is not read again, which nobody must be able to tell. */
static void test_known_head(void **state)
{
	static const char get[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	static const size_t len = sizeof(get) - 1;
	static const struct {
		const char *wire;
		bool head;
		enum answer_state end;
		size_t used;
		const char *body;
	} next[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld", false, ANSWER_DONE, 43, "world"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworldly", false, ANSWER_DONE, 43,
		 "world"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworl", false, ANSWER_CUT, 0, NULL},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, ANSWER_CUT, 0, NULL},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, ANSWER_DONE, 38, ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nworld", false, ANSWER_DONE, 42, "worl"},
		{"HTTP/1.1 201 OK\r\nContent-Length: 5\r\n\r\nworld", false, ANSWER_DONE, 43, "world"},
		{"", false, ANSWER_CUT, 0, NULL},
	};
	struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, NULL);

	(void)state;
	for (size_t i = 0; i < COUNT(next); i++) {
		struct message *m = NULL;
		enum answer_state end;
		size_t used;

		answer_begin(a, false);
		assert_int_equal(answer_feed(a, (const uint8_t *)get, len, &used), ANSWER_DONE);
		answer_begin(a, next[i].head);
		end = answer_feed(a, (const uint8_t *)next[i].wire, strlen(next[i].wire), &used);
		if (end == ANSWER_MORE)
			end = answer_eof(a);
		assert_int_equal(end, next[i].end);
		if (end != ANSWER_DONE)
			continue;
		assert_int_equal(used, next[i].used);
		assert_int_equal(answer_take(a, &m), SC_OK);
		assert_memory_equal(m->head, next[i].wire, m->head_len);
		assert_int_equal(m->body.len, strlen(next[i].body));
		assert_int_equal(m->body_size, m->body.len);
		if (m->body.len)
			assert_memory_equal(m->body.data, next[i].body, m->body.len);
		assert_int_equal(answer_status(a), m->status);
		message_free(m);
	}
	answer_free(a);
}

static void test_status_only(void **state)
{
	static const char wire[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	struct answer *a = answer_new(ANSWER_KEEP_STATUS, MIB, NULL);
	struct message *m = NULL;
	size_t used;

	(void)state;
	assert_int_equal(answer_feed(a, (const uint8_t *)wire, sizeof(wire) - 1, &used),
			 ANSWER_DONE);
	assert_int_equal(answer_take(a, &m), SC_OK);
	assert_int_equal(m->status, 200);
	assert_int_equal(m->head_len, 0);
	assert_int_equal(m->body.len, 0);
	assert_int_equal(m->body_size, 5);
	assert_true(m->flags & MESSAGE_UNKEPT);
	message_free(m);
	answer_free(a);
}

static void test_body_ceiling(void **state)
{
	static const char wire[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	struct answer *a = answer_new(ANSWER_KEEP_FULL, 3, NULL);
	struct message *m = NULL;
	size_t used;

	(void)state;
	assert_int_equal(answer_feed(a, (const uint8_t *)wire, sizeof(wire) - 1, &used),
			 ANSWER_DONE);
	assert_int_equal(answer_take(a, &m), SC_OK);
	assert_int_equal(m->body.len, 3);
	assert_int_equal(m->body_size, 5);
	assert_true(m->flags & MESSAGE_CAPPED);
	message_free(m);
	answer_free(a);
}

/* `size` bytes of body behind a head that says so, or in chunks, in pieces as a socket gives them. */
static void feed_body(struct answer *a, bool chunked, size_t size)
{
	static uint8_t piece[10000];
	char head[128];
	size_t used;
	int n = chunked ? snprintf(head, sizeof(head),
				   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", size)
			: snprintf(head, sizeof(head),
				   "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
	enum answer_state state;

	answer_begin(a, false);
	state = answer_feed(a, (const uint8_t *)head, (size_t)n, &used);
	while (size && state == ANSWER_MORE) {
		size_t len = size < sizeof(piece) ? size : sizeof(piece);

		state = answer_feed(a, piece, len, &used);
		size -= len;
	}
	if (chunked)
		state = answer_feed(a, (const uint8_t *)"\r\n0\r\n\r\n", 7, &used);
	assert_int_equal(state, ANSWER_DONE);
}

static void check_taken(struct answer *a, size_t kept, size_t size)
{
	struct message *m = NULL;

	assert_int_equal(answer_take(a, &m), SC_OK);
	assert_int_equal(m->body.len, kept);
	assert_int_equal(m->body_size, size);
	assert_int_equal((m->flags & MESSAGE_CAPPED) != 0, kept < size);
	message_free(m);
}

/* What many answers hold together has an end: who finds no room is cut, small ones never are, and
 * whatever is over gives its room back. */
static void test_shared_room(void **state)
{
	struct body_room room;
	size_t left;

	(void)state;
	for (int chunked = 0; chunked < 2; chunked++) {
		struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, &room);
		struct answer *b = answer_new(ANSWER_KEEP_FULL, MIB, &room);

		atomic_init(&room.left, 300000);
		feed_body(a, chunked, 300000);
		left = atomic_load(&room.left);
		assert_true(left <= 65536);
		feed_body(b, chunked, 300000);
		assert_int_equal(atomic_load(&room.left), 0);
		check_taken(a, 300000, 300000);
		assert_int_equal(atomic_load(&room.left), 300000 - left);
		check_taken(b, 65536 + left, 300000);
		assert_int_equal(atomic_load(&room.left), 300000);
		atomic_store(&room.left, 0);
		feed_body(a, chunked, 65536);
		check_taken(a, 65536, 65536);
		feed_body(a, chunked, 65537);
		check_taken(a, 65536, 65537);
		atomic_store(&room.left, 200000);
		feed_body(a, chunked, 2 * MIB);
		check_taken(a, 65536 + 200000, 2 * MIB);
		feed_body(a, chunked, 500000);
		answer_begin(a, false);
		assert_int_equal(atomic_load(&room.left), 200000);
		feed_body(a, chunked, 500000);
		answer_drop(a);
		assert_int_equal(atomic_load(&room.left), 200000);
		feed_body(a, chunked, 500000);
		answer_free(a);
		assert_int_equal(atomic_load(&room.left), 200000);
		answer_free(b);
	}
}

/* Sends `unit` over and over behind `start`; the reader must end it. */
static void check_ceiling(const char *start, const char *unit)
{
	struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, NULL);
	enum answer_state state;
	size_t used;

	state = answer_feed(a, (const uint8_t *)start, strlen(start), &used);
	for (size_t i = 0; i < LIMIT_HEAD_BYTES && state == ANSWER_MORE; i++)
		state = answer_feed(a, (const uint8_t *)unit, strlen(unit), &used);
	assert_int_equal(state, ANSWER_TOO_LARGE);
	answer_free(a);
}

static void test_ceilings(void **state)
{
	(void)state;
	check_ceiling("HTTP/1.1 200 OK\r\n", "A: b\r\n");
	check_ceiling("HTTP/1.1 200 OK\r\nA: ", "bbbbbbbbbbbb");
	check_ceiling("HTTP/1.1 ", "100 Continue\r\n\r\nHTTP/1.1 ");
	check_ceiling("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n");
}

/* A large body in the piece that ends the head is no large head. */
static void test_large_first_piece(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n";
	struct answer *a = answer_new(ANSWER_KEEP_FULL, MIB, NULL);
	size_t len = sizeof(head) - 1 + 400000, used;
	uint8_t *wire = malloc(len);
	struct message *m = NULL;

	(void)state;
	assert_non_null(wire);
	memset(wire, 'x', len);
	memcpy(wire, head, sizeof(head) - 1);
	assert_int_equal(answer_feed(a, wire, len, &used), ANSWER_DONE);
	assert_int_equal(used, len);
	assert_int_equal(answer_take(a, &m), SC_OK);
	assert_int_equal(m->head_len, sizeof(head) - 1);
	assert_int_equal(m->body.len, 400000);
	message_free(m);
	answer_free(a);
	free(wire);
}

static const struct {
	const char *url;
	const char *host, *authority; /* NULL: refused */
	uint16_t port;
	bool tls;
} urls[] = {
	{"http://h", "h", "h", 80, false},
	{"http://h/", "h", "h", 80, false},
	{"http://h:80", "h", "h", 80, false},
	{"http://127.0.0.1:18102", "127.0.0.1", "127.0.0.1:18102", 18102, false},
	{"https://h.example", "h.example", "h.example", 443, true},
	{"https://h:80/", "h", "h:80", 80, true},
	{"http://[::1]:8080", "::1", "[::1]:8080", 8080, false},
	{"h:80", NULL, NULL, 0, false},
	{"", NULL, NULL, 0, false},
	{"ftp://h", NULL, NULL, 0, false},
	{"http://", NULL, NULL, 0, false},
	{"http://h/path", NULL, NULL, 0, false},
	{"http://h?q", NULL, NULL, 0, false},
	{"http://u@h", NULL, NULL, 0, false},
	{"http://h:99999", NULL, NULL, 0, false},
};

static void test_urls(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(urls); i++) {
		struct target_url t = {.port = 1};
		struct err err = {""};
		int rc = target_parse(urls[i].url, &t, &err);

		if (!urls[i].host) {
			assert_int_equal(rc, SC_EINVAL);
			assert_non_null(strstr(err.text, "expected http://HOST"));
			continue;
		}
		assert_int_equal(rc, SC_OK);
		assert_string_equal(t.host, urls[i].host);
		assert_string_equal(t.authority, urls[i].authority);
		assert_int_equal(t.port, urls[i].port);
		assert_int_equal(t.tls, urls[i].tls);
	}
}

static void test_origins(void **state)
{
	static const struct {
		const char *a, *b;
		uint16_t port_a, port_b;
		bool same;
	} pairs[] = {
		{"127.0.0.1", "127.0.0.1", 80, 80, true},
		{"127.0.0.1", "127.0.0.1", 80, 81, false},
		{"127.0.0.1", "127.0.0.2", 80, 80, false},
		{"::ffff:127.0.0.1", "127.0.0.1", 80, 80, true},
		{"::1", "::1", 80, 80, true},
		{"::1", "127.0.0.1", 80, 80, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		struct addr a, b;
		struct err err = {""};

		assert_int_equal(addr_parse(pairs[i].a, &a), SC_OK);
		assert_int_equal(addr_parse(pairs[i].b, &b), SC_OK);
		a.port = pairs[i].port_a;
		b.port = pairs[i].port_b;
		assert_int_equal(addr_listed(&a, &b, 1), pairs[i].same);
		assert_int_equal(target_refuse_origin(&b, &a, 1, &err),
				 pairs[i].same ? SC_EINVAL : SC_OK);
		if (pairs[i].same)
			assert_non_null(strstr(err.text, "--allow-origin"));
	}
}

static void test_summary(void **state)
{
	static struct replay_stats stats;
	struct account a = {.read = 10,
			    .held_back = 3,
			    .stats = &stats,
			    .run = 4,
			    .target = "http://h\"x",
			    .pace = "max"};
	struct buf out;

	(void)state;
	stats.sent = stats.status[200] = 4;
	stats.failed = stats.errors[RESULT_ERROR_RESET] = 1;
	stats.elapsed_us = 2000000;
	a.skipped[SKIP_INCOMPLETE] = 1;
	assert_false(account_adds_up(&a));
	a.skipped[SKIP_FILTERED] = 1;
	assert_true(account_adds_up(&a));
	for (int i = 0; i < 4; i++)
		histogram_add(&stats.service, 1500000);
	buf_init(&out, MIB);
	assert_int_equal(summary_text(&a, &out), SC_OK);
	assert_int_equal(buf_add(&out, "", 1), SC_OK);
	assert_non_null(strstr((char *)out.data,
			       "10 read = 4 answered + 1 failed + 3 held back + 2 skipped\n"));
	assert_non_null(strstr((char *)out.data, "1 connection reset\n"));
	assert_non_null(strstr((char *)out.data, "1.50 ms"));
	assert_null(strstr((char *)out.data, "cut "));
	buf_clear(&out);
	assert_int_equal(summary_json(&a, &out), SC_OK);
	assert_int_equal(buf_add(&out, "", 1), SC_OK);
	assert_non_null(strstr((char *)out.data, "\"target\":\"http://h\\\"x\""));
	assert_non_null(strstr((char *)out.data, "\"errors\":{\"connection reset\":1}"));
	assert_non_null(strstr((char *)out.data, "\"status\":{\"200\":4}"));
	assert_null(strstr((char *)out.data, "capped"));
	assert_null(strstr((char *)out.data, "close_notify"));
	a.capped = 2;
	stats.unsaid = 3;
	buf_clear(&out);
	assert_int_equal(summary_text(&a, &out), SC_OK);
	assert_int_equal(summary_json(&a, &out), SC_OK);
	assert_int_equal(buf_add(&out, "", 1), SC_OK);
	assert_non_null(strstr((char *)out.data, "cut          2 answers, of whose bodies"));
	assert_non_null(strstr((char *)out.data, ",\"capped\":2,"));
	assert_non_null(strstr((char *)out.data, "3 answers that ended without close_notify"));
	assert_non_null(strstr((char *)out.data, ",\"without_close_notify\":3,"));
	buf_clear(&out);
	assert_int_equal(progress_line(&(struct progress){.stats = &stats}, &out), SC_OK);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing),		  cmocka_unit_test(test_unsent),
		cmocka_unit_test(test_marker_too_much),	  cmocka_unit_test(test_methods),
		cmocka_unit_test(test_answers),		  cmocka_unit_test(test_status_only),
		cmocka_unit_test(test_answers_in_turn),	  cmocka_unit_test(test_known_head),
		cmocka_unit_test(test_shared_room),
		cmocka_unit_test(test_body_ceiling),	  cmocka_unit_test(test_ceilings),
		cmocka_unit_test(test_large_first_piece), cmocka_unit_test(test_urls),
		cmocka_unit_test(test_origins),		  cmocka_unit_test(test_summary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
