/* SPDX-License-Identifier: Apache-2.0 */
/* One rich conversation, cut in every way: each packet at every snaplen, the capture after every
 * packet, each packet left out, the file at every length, each allocation failing. Nothing may crash
 * or leak, and the account must add up every time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/dlt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file.h"
#include "wire.h"

static struct wire_log conversation;

/* The linker sends the libraries' allocations here; test code's too. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations that succeed before one fails; -1: all */
static bool failed;

static bool may_allocate(void)
{
	if (allowed < 0)
		return true;
	if (allowed-- > 0)
		return true;
	failed = true;
	return false; /* and from now on all of them */
}

void *__wrap_malloc(size_t n)
{
	return may_allocate() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n)
{
	return may_allocate() ? __real_realloc(p, n) : NULL;
}

static void converse(struct wire *w)
{
	wire_text(w, 0, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
	wire_text(w, 0, "llo");
	wire_text(w, 1, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
	wire_text(w, 1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n4;e=1\r\n01");
	wire_text(w, 1, "23\r\n0\r\nT: v\r\n\r\n");
	wire_pieces(w, 0, "PUT /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 9);
	wire_segment(w, 1, w->seq[1] + 20, 0x18, "th: 2\r\n\r\nok", 11);
	wire_segment(w, 1, w->seq[1], 0x18, "HTTP/1.1 201 C\r\nContent-Leng", 28);
	wire_lose(w, 1, 31);
	wire_text(w, 0, "HEAD /4 HTTP/1.1\r\n\r\n");
	wire_lose(w, 1, 100);
	wire_text(w, 0, "GET /5 HTTP/1.1\r\n\r\n");
	wire_text(w, 1, "HTTP/1.0 200 OK\r\n\r\nto the end");
	wire_fin(w, 1);
	wire_fin(w, 0);
	wire_connect(w, 40001);
	wire_text(w, 0, "GET /ws HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
	wire_text(w, 1, "HTTP/1.1 101 Switching\r\n\r\nbinary");
	wire_rst(w, 0, "bye");
}

static void record(void)
{
	struct wire w;

	wire_begin(&w, NULL, 4);
	w.log = &conversation;
	wire_connect(&w, 40000);
	converse(&w);
	wire_close(&w, 0);
	assert_true(conversation.n > 20);
}

static void feed(struct wire *w, size_t i, size_t captured)
{
	size_t len = conversation.frames[i].len;
	size_t have = captured < len ? captured : len;
	uint8_t *copy = __real_malloc(have ? have : 1); /* so that a read past its end shows */
	struct frame f = {conversation.frames[i].ts_us, DLT_EN10MB, (uint32_t)len,
			  span_of(copy, have)};

	memcpy(copy, conversation.frames[i].bytes, have);
	engine_frame(w->engine, &f);
	free(copy);
}

static void test_every_snaplen(void **state)
{
	(void)state;
	for (size_t snaplen = 0; snaplen <= 200; snaplen++) {
		struct wire w;

		wire_begin(&w, NULL, 4);
		for (size_t i = 0; i < conversation.n; i++)
			feed(&w, i, snaplen);
		wire_close(&w, 0);
	}
}

/* One packet alone cut at every length, the others whole. */
static void test_every_packet_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < conversation.n; cut++) {
		for (size_t at = 0; at < conversation.frames[cut].len; at += 3) {
			struct wire w;

			wire_begin(&w, NULL, 4);
			for (size_t i = 0; i < conversation.n; i++)
				feed(&w, i, i == cut ? at : SIZE_MAX);
			wire_close(&w, 0);
		}
	}
}

static void test_every_end(void **state)
{
	(void)state;
	for (size_t n = 0; n <= conversation.n; n++) {
		struct wire w;

		wire_begin(&w, NULL, 4);
		for (size_t i = 0; i < n; i++)
			feed(&w, i, SIZE_MAX);
		wire_close(&w, 0);
	}
}

/* Each pair of packets lost, each packet doubled, each swapped with the next. */
static void test_every_loss(void **state)
{
	(void)state;
	for (size_t a = 0; a < conversation.n; a++) {
		for (size_t b = a; b < conversation.n; b++) {
			struct wire w;

			wire_begin(&w, NULL, 4);
			for (size_t i = 0; i < conversation.n; i++) {
				if (i != a && i != b)
					feed(&w, i, SIZE_MAX);
			}
			wire_close(&w, 0);
		}
	}
	for (size_t a = 0; a + 1 < conversation.n; a++) {
		struct wire w;

		wire_begin(&w, NULL, 4);
		for (size_t i = 0; i < conversation.n; i++) {
			feed(&w, i == a ? a + 1 : i == a + 1 ? a : i, SIZE_MAX);
			if (i == a)
				feed(&w, a, SIZE_MAX);
		}
		wire_close(&w, 0);
	}
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/* The conversation as a pcap file of the machine's own byte order. */
static size_t write_pcap(uint8_t *to)
{
	uint8_t *p = to;

	put32(p, 0xa1b2c3d4);
	put32(p + 4, 0x00040002);
	memset(p + 8, 0, 8);
	put32(p + 16, 65535);
	put32(p + 20, DLT_EN10MB);
	p += 24;
	for (size_t i = 0; i < conversation.n; i++) {
		size_t len = conversation.frames[i].len;

		put32(p, (uint32_t)(conversation.frames[i].ts_us / 1000000));
		put32(p + 4, (uint32_t)(conversation.frames[i].ts_us % 1000000));
		put32(p + 8, (uint32_t)len);
		put32(p + 12, (uint32_t)len);
		memcpy(p + 16, conversation.frames[i].bytes, len);
		p += 16 + len;
	}
	return (size_t)(p - to);
}

static void test_every_file_length(void **state)
{
	static uint8_t image[sizeof(conversation)];
	size_t len = write_pcap(image);
	int fd = memfd_create("pcap", 0);
	char path[64];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image, len), len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t n = len; n > 0; n -= n > 300 ? 7 : 1) {
		struct capture_file *file;
		struct frame f;
		struct wire w;
		size_t frames = 0;

		assert_int_equal(ftruncate(fd, (off_t)n), 0);
		if (n < 24) {
			struct err err;

			assert_int_equal(capture_file_open(path, false, &file, &err), SC_EINVAL);
			continue;
		}
		assert_int_equal(capture_file_open(path, false, &file, NULL), SC_OK);
		wire_begin(&w, NULL, 4);
		while (capture_file_next(file, &f) == 1) {
			engine_frame(w.engine, &f);
			frames++;
		}
		assert_true(frames <= conversation.n);
		assert_true((capture_file_note(file) == NULL) == (n == len || n == 24) ||
			    frames < conversation.n);
		capture_file_free(file);
		wire_close(&w, 0);
	}
	close(fd);
}

static void test_every_allocation(void **state)
{
	(void)state;
	for (long n = 0;; n++) {
		struct wire w;

		failed = false;
		allowed = n;
		wire_begin(&w, NULL, 4);
		if (!w.engine) {
			allowed = -1;
			continue;
		}
		for (size_t i = 0; i < conversation.n; i++)
			feed(&w, i, SIZE_MAX);
		allowed = -1;
		wire_close(&w, 0);
		if (!failed)
			break;
		assert_true(n < 10000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_snaplen),     cmocka_unit_test(test_every_packet_cut),
		cmocka_unit_test(test_every_end),         cmocka_unit_test(test_every_loss),
		cmocka_unit_test(test_every_file_length), cmocka_unit_test(test_every_allocation),
	};

	record();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
