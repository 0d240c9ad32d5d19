/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 bytes to what HTTP/2 wants to know, and answers back. No sockets. */
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
#include "h2_message.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct shot *shot_of(const char *bytes, size_t len)
{
	struct shot *shot = calloc(1, sizeof(*shot) + len);

	assert_non_null(shot);
	memcpy(shot->bytes, bytes, len);
	shot->len = len;
	shot->head = strncmp(bytes, "HEAD ", 5) == 0;
	return shot;
}

static const struct {
	const char *name, *wire;
	const char *method, *target;
	const char *headers; /* with a line end behind each */
	const char *body;    /* NULL: none */
} requests[] = {
	{"plain", "GET /a?b HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two:  2 \r\n\r\n", "GET", "/a?b",
	 "Host: x\nX-Two: 1\nx-two: 2\n", NULL},
	{"bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", "GET", "/", "Host: x\n", NULL},
	{"no fields", "GET / HTTP/1.0\r\n\r\n", "GET", "/", "", NULL},
	{"no path", "GET http://h HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/", "Host: x\n", NULL},
	{"absolute", "GET http://h:81/p?q=1&r HTTP/1.1\r\n\r\n", "GET", "/p?q=1&r", "", NULL},
	{"empty query", "GET /p? HTTP/1.1\r\n\r\n", "GET", "/p?", "", NULL},
	{"asterisk", "OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", "", NULL},
	{"empty value", "GET / HTTP/1.1\r\nE:\r\nF: \r\n\r\n", "GET", "/", "E;\nF;\n", NULL},
	{"folded", "GET / HTTP/1.1\r\nF: a\r\n b\r\n\r\n", "GET", "/", "F: a   b\n", NULL},
	{"length", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb", "POST", "/", "", "a\nb"},
	{"empty body", "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "POST", "/", "", ""},
	{"chunks",
	 "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "2\r\nab\r\n 003;e=\"1\"\r\ncde\r\n0;f\r\nT: v\r\n\r\n",
	 "PUT", "/", "", "abcde"},
	{"chunks with bare line feeds",
	 "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\n\nb\n3\ncde\n0\n\n", "PUT", "/", "",
	 "\nbcde"},
	{"no chunks", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "PUT", "/",
	 "", ""},
	{"one connection's matters",
	 "GET / HTTP/1.1\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nX-AB: 2\r\nConnection:\tx-c "
	 "\r\n"
	 "X-C: 3\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n"
	 "HTTP2-Settings: AA\r\nTE: gzip\r\n\r\n",
	 "GET", "/", "X-AB: 2\n", NULL},
	{"trailers are welcome", "GET / HTTP/1.1\r\nTE: Trailers\r\n\r\n", "GET", "/",
	 "TE: Trailers\n", NULL},
	{"own defaults stay",
	 "GET / HTTP/1.1\r\nAccept: a\r\nUser-Agent: u\r\nContent-Type: t\r\n\r\n", "GET", "/",
	 "Accept: a\nUser-Agent: u\nContent-Type: t\n", NULL},
	{"head", "HEAD / HTTP/1.1\r\n\r\n", "HEAD", "/", "", NULL},
};

/* What libcurl is told to leave out ends in a colon. */
static void headers_text(const struct h2_request *r, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (const struct curl_slist *h = r->headers; h; h = h->next) {
		if (h->data[strlen(h->data) - 1] != ':')
			at += (size_t)snprintf(text + at, size - at, "%s\n", h->data);
	}
}

static unsigned suppressed(const struct h2_request *r)
{
	unsigned n = 0;

	for (const struct curl_slist *h = r->headers; h; h = h->next)
		n += h->data[strlen(h->data) - 1] == ':';
	return n;
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		struct shot *shot = shot_of(requests[i].wire, strlen(requests[i].wire));
		struct h2_request r;
		char text[512];

		if (h2_request_make(shot, &r))
			fail_msg("%s: failed", requests[i].name);
		headers_text(&r, text, sizeof(text));
		assert_string_equal(r.method, requests[i].method);
		assert_string_equal(r.target, requests[i].target);
		if (strcmp(text, requests[i].headers) != 0)
			fail_msg("%s: got\n%s", requests[i].name, text);
		assert_int_equal(suppressed(&r), strstr(requests[i].name, "own") ? 0 : 3);
		assert_int_equal(r.has_body, requests[i].body != NULL);
		assert_int_equal(r.body.len, requests[i].body ? strlen(requests[i].body) : 0);
		if (r.body.len)
			assert_memory_equal(r.body.data, requests[i].body, r.body.len);
		assert_int_equal(r.head, strcmp(r.method, "HEAD") == 0);
		h2_request_done(&r);
		free(shot);
	}
}

/* Every cut of every request: an error or a request, and never a byte over the end. */
static void test_cut_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		for (size_t len = 0; len < strlen(requests[i].wire); len++) {
			struct shot *shot = shot_of(requests[i].wire, len);
			struct h2_request r;

			if (h2_request_make(shot, &r) == SC_OK)
				h2_request_done(&r);
			free(shot);
		}
	}
}

static const struct {
	const char *name;
	const char *lines[8];
	const char *body;
	int rc;
	uint16_t status;
	const char *head, *trailer;
} answers[] = {
	{"plain",
	 {"HTTP/2 200 \r\n", "a: b\r\n", "A:  c \r\n", "\r\n"},
	 "hello",
	 SC_OK,
	 200,
	 "HTTP/1.1 200 \r\na: b\r\nA: c\r\n\r\n",
	 ""},
	{"interim",
	 {"HTTP/2 103 \r\n", "link: x\r\n", "\r\n", "HTTP/2 404 \r\n", "a: b\r\n", "\r\n"},
	 "",
	 SC_OK,
	 404,
	 "HTTP/1.1 404 \r\na: b\r\n\r\n",
	 ""},
	{"trailers",
	 {"HTTP/2 200 \r\n", "\r\n", "t: 1\r\n", "u: 2\r\n"},
	 "x",
	 SC_OK,
	 200,
	 "HTTP/1.1 200 \r\n\r\n",
	 "t: 1\r\nu: 2\r\n"},
	{"nothing", {NULL}, "", SC_EPROTO, 0, NULL, NULL},
	{"interim only", {"HTTP/2 100 \r\n", "\r\n"}, "", SC_EPROTO, 0, NULL, NULL},
	{"no status", {"HTTP/2 \r\n", "\r\n"}, "", SC_EPROTO, 0, NULL, NULL},
	{"no colon", {"HTTP/2 200 \r\n", "abc\r\n", "\r\n"}, "", SC_EPROTO, 0, NULL, NULL},
};

static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		struct message *m = NULL;
		struct h2_answer a;
		int rc = SC_OK;

		h2_answer_init(&a, true, MIB, NULL);
		for (size_t k = 0; k < COUNT(answers[i].lines) && answers[i].lines[k] && !rc; k++)
			rc = h2_answer_line(&a, answers[i].lines[k], strlen(answers[i].lines[k]));
		assert_int_equal(rc, SC_OK);
		assert_int_equal(h2_answer_body(&a, answers[i].body, strlen(answers[i].body)),
				 SC_OK);
		rc = h2_answer_take(&a, &m);
		if (rc != answers[i].rc)
			fail_msg("%s: %d", answers[i].name, rc);
		if (rc == SC_OK) {
			assert_int_equal(m->status, answers[i].status);
			assert_int_equal(m->head_len, strlen(answers[i].head));
			assert_memory_equal(m->head, answers[i].head, m->head_len);
			assert_int_equal(m->trailer_len, strlen(answers[i].trailer));
			assert_int_equal(m->body_size, strlen(answers[i].body));
			assert_int_equal(m->body.len, strlen(answers[i].body));
		}
		message_free(m);
		h2_answer_done(&a);
	}
}

static void test_ceilings(void **state)
{
	struct message *m = NULL;
	struct h2_answer a;
	int rc = SC_OK;

	(void)state;
	h2_answer_init(&a, true, 3, NULL);
	for (unsigned i = 0; i <= LIMIT_INTERIM && !rc; i++)
		rc = h2_answer_line(&a, "HTTP/2 100 \r\n", 13);
	assert_int_equal(rc, SC_EFULL);
	h2_answer_clear(&a);
	assert_int_equal(h2_answer_line(&a, "HTTP/2 200 \r\n", 13), SC_OK);
	for (unsigned i = 0; i <= LIMIT_FIELDS; i++)
		assert_int_equal(h2_answer_line(&a, "a: b\r\n", 6), SC_OK);
	assert_int_equal(h2_answer_take(&a, &m), SC_EFULL);
	for (rc = SC_OK; !rc;)
		rc = h2_answer_line(&a, "a: b\r\n", 6);
	assert_int_equal(rc, SC_EFULL);
	h2_answer_clear(&a);
	assert_int_equal(h2_answer_line(&a, "HTTP/2 200 \r\n", 13), SC_OK);
	assert_int_equal(h2_answer_body(&a, "abcdef", 6), SC_OK);
	assert_int_equal(h2_answer_take(&a, &m), SC_OK);
	assert_int_equal(m->body.len, 3);
	assert_int_equal(m->body_size, 6);
	assert_true(m->flags & MESSAGE_CAPPED);
	message_free(m);
	h2_answer_done(&a);
}

static void test_shared_room(void **state)
{
	static const uint8_t bytes[100000];
	struct message *m = NULL;
	struct body_room room;
	struct h2_answer a;

	(void)state;
	atomic_init(&room.left, 50000);
	h2_answer_init(&a, true, MIB, &room);
	assert_int_equal(h2_answer_line(&a, "HTTP/2 200 \r\n", 13), SC_OK);
	assert_int_equal(h2_answer_body(&a, bytes, sizeof(bytes)), SC_OK);
	assert_int_equal(h2_answer_body(&a, bytes, sizeof(bytes)), SC_OK);
	assert_int_equal(h2_answer_take(&a, &m), SC_OK);
	assert_int_equal(m->body.len, 65536 + 50000);
	assert_int_equal(m->body_size, 2 * sizeof(bytes));
	assert_true(m->flags & MESSAGE_CAPPED);
	assert_int_equal(atomic_load(&room.left), 50000);
	message_free(m);
	h2_answer_clear(&a);
	assert_int_equal(h2_answer_body(&a, bytes, sizeof(bytes)), SC_OK);
	h2_answer_clear(&a);
	assert_int_equal(atomic_load(&room.left), 50000);
	assert_int_equal(h2_answer_body(&a, bytes, sizeof(bytes)), SC_OK);
	h2_answer_done(&a);
	assert_int_equal(atomic_load(&room.left), 50000);
}

static void test_status_alone(void **state)
{
	struct message *m = NULL;
	struct h2_answer a;

	(void)state;
	h2_answer_init(&a, false, MIB, NULL);
	assert_int_equal(h2_answer_line(&a, "HTTP/2 200 \r\n", 13), SC_OK);
	assert_int_equal(h2_answer_line(&a, "\r\n", 2), SC_OK);
	assert_int_equal(h2_answer_body(&a, "abcdef", 6), SC_OK);
	assert_int_equal(h2_answer_take(&a, &m), SC_OK);
	assert_int_equal(m->status, 200);
	assert_int_equal(m->body.len, 0);
	assert_int_equal(m->body_size, 6);
	assert_true(m->flags & MESSAGE_UNKEPT);
	message_free(m);
	h2_answer_done(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),     cmocka_unit_test(test_cut_requests),
		cmocka_unit_test(test_answers),	     cmocka_unit_test(test_ceilings),
		cmocka_unit_test(test_status_alone), cmocka_unit_test(test_shared_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
