/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder: one packet in many wrappings, each cut at every length, and IP fragments. What the
 * wrappings look like in real captures is the end-to-end tests' business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/dlt.h>

#include "decode.h"
#include "fragment.h"

/* IPv4 10.0.0.1:1234 > 10.0.0.2:80, seq 7, "hi". */
#define TCP "\x04\xd2\x00\x50\0\0\0\x07\0\0\0\x09\x50\x18\0\0\0\0\0\0hi"
#define TCP_LEN 22
#define IP4(proto, len) "\x45\0\0" len "\0\1\0\0\x40" proto "\0\0\x0a\0\0\1\x0a\0\0\2"
#define IP4_TCP IP4("\x06", "\x2a") TCP
#define IP6_TCP "\x60\0\0\0\0\x16\x06\x40" \
	"\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\2" TCP
#define MAC "\2\0\0\0\0\1\2\0\0\0\0\2"
#define ETHER MAC "\x08\0" IP4_TCP

struct row {
	const char *name;
	int link_type;
	const char *bytes;
	size_t len;
};
#define ROW(name, link, bytes) {name, link, bytes, sizeof(bytes) - 1}

static const struct row rows[] = {
	ROW("ethernet", DLT_EN10MB, ETHER),
	ROW("ipv6", DLT_EN10MB, MAC "\x86\xdd" IP6_TCP),
	ROW("vlan", DLT_EN10MB, MAC "\x81\0\0\x05\x08\0" IP4_TCP),
	ROW("qinq", DLT_EN10MB, MAC "\x88\xa8\0\x05\x81\0\0\x06\x08\0" IP4_TCP),
	ROW("mpls", DLT_EN10MB, MAC "\x88\x47\0\1\x20\xff\0\1\x21\xff" IP4_TCP),
	ROW("pppoe", DLT_EN10MB, MAC "\x88\x64\x11\0\0\1\0\x2c\0\x21" IP4_TCP),
	ROW("snap", DLT_EN10MB, MAC "\0\x32\xaa\xaa\x03\0\0\0\x08\0" IP4_TCP),
	ROW("null", DLT_NULL, "\2\0\0\0" IP4_TCP),
	ROW("loop", DLT_LOOP, "\0\0\0\2" IP4_TCP),
	ROW("raw", 101, IP4_TCP),
	ROW("raw 6", 101, IP6_TCP),
	ROW("sll", DLT_LINUX_SLL, "\0\0\0\1\0\6\0\0\0\0\0\0\0\0\x08\0" IP4_TCP),
	ROW("sll2", DLT_LINUX_SLL2, "\x08\0\0\0\0\0\0\1\0\1\0\6\0\0\0\0\0\0\0\0" IP4_TCP),
	ROW("ppp", DLT_PPP, "\xff\x03\0\x21" IP4_TCP),
	ROW("ipip", 101, IP4("\x04", "\x3e") IP4_TCP),
	ROW("gre", 101, IP4("\x2f", "\x42") "\0\0\x08\0" IP4_TCP),
	ROW("gre key", 101, IP4("\x2f", "\x46") "\x20\0\x08\0\0\0\0\1" IP4_TCP),
	ROW("erspan", 101, IP4("\x2f", "\x5c") "\x10\0\x88\xbe\0\0\0\1\x10\0\0\0\0\0\0\0" ETHER),
	ROW("vxlan", 101, IP4("\x11", "\x5c") "\x10\0\x12\xb5\0\x48\0\0\x08\0\0\0\0\0\1\0" ETHER),
	ROW("geneve", 101, IP4("\x11", "\x5c") "\x10\0\x17\xc1\0\x48\0\0\0\0\x65\x58\0\0\1\0" ETHER),
	ROW("gtp-u", 101, IP4("\x11", "\x4e") "\x10\0\x08\x68\0\x3a\0\0\x30\xff\0\x2a\0\0\0\1" IP4_TCP),
};

static enum counter_id decode(struct decoder *d, int link, const uint8_t *bytes, size_t captured,
			      size_t len, struct segment *s)
{
	struct frame f = {.ts_us = 1, .link_type = link, .len = (uint32_t)len,
			  .bytes = span_of(bytes, captured)};

	memset(s, 0xee, sizeof(*s));
	return decode_frame(d, &f, s);
}

static void test_wrappings(void **state)
{
	struct decoder *d = decoder_new();
	struct segment s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		enum counter_id why =
			decode(d, r->link_type, (const uint8_t *)r->bytes, r->len, r->len, &s);

		if (why != COUNTERS)
			fail_msg("%s: counter %d", r->name, (int)why);
		assert_int_equal(s.src.port, 1234);
		assert_int_equal(s.dst.port, 80);
		assert_int_equal(s.seq, 7);
		assert_int_equal(s.ack, 9);
		assert_int_equal(s.missing, 0);
		if (s.payload.len != 2 || memcmp(s.payload.p, "hi", 2) != 0)
			fail_msg("%s: payload of %zu", r->name, s.payload.len);
	}
	decoder_free(d);
}

/* Cut at every length, with the memory cut too: either a counter, or a segment that says how much of
 * its payload is missing. */
static void test_every_snaplen(void **state)
{
	struct decoder *d = decoder_new();
	struct segment s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];

		for (size_t n = 0; n < r->len; n++) {
			uint8_t *copy = malloc(n ? n : 1);
			enum counter_id why;

			memcpy(copy, r->bytes, n);
			why = decode(d, r->link_type, copy, n, r->len, &s);
			if (why == COUNTERS)
				assert_int_equal(s.payload.len + s.missing, 2);
			else
				assert_true(n < r->len - 2);
			free(copy);
		}
	}
	decoder_free(d);
}

static void test_not_ours(void **state)
{
	static const struct {
		int link;
		const char *bytes;
		size_t len;
		enum counter_id why;
	} cases[] = {
		{DLT_EN10MB, MAC "\x08\x06" "arp", 17, PACKETS_NOT_IP},
		{DLT_EN10MB, MAC, 12, DROP_LINK_SHORT},
		{101, IP4("\x01", "\x14"), 20, PACKETS_NOT_TCP},
		{101, "\x45", 1, DROP_IP_SHORT},
		{101, "\x41\0\0\x14\0\1\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20, DROP_IP_HEADER},
		{101, IP4("\x06", "\x10") TCP, 42, DROP_IP_HEADER},
		{101, IP4("\x06", "\x1e") TCP, 42, DROP_TCP_SHORT},
		{101, IP4("\x06", "\x2a") "\x04\xd2\x00\x50\0\0\0\x07\0\0\0\x09\x40\x18\0\0\0\0\0\0hi", 42,
		 DROP_TCP_HEADER},
		{9999, "x", 1, DROP_LINK_TYPE},
	};
	struct decoder *d = decoder_new();
	struct segment s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(decode(d, cases[i].link, (const uint8_t *)cases[i].bytes,
					cases[i].len, cases[i].len, &s), cases[i].why);
	decoder_free(d);
}

static void test_depth(void **state)
{
	uint8_t deep[20 * 40];
	struct decoder *d = decoder_new();
	struct segment s;

	(void)state;
	for (size_t i = 0; i < 40; i++) {
		memcpy(deep + 20 * i, IP4("\x04", "\0"), 20); /* length 0: to the end */
	}
	assert_int_equal(decode(d, 101, deep, sizeof(deep), sizeof(deep), &s), DROP_DEPTH);
	decoder_free(d);
}

static void test_fragments(void **state)
{
	static const char data[] = "0123456789abcdefghijklmnopqrstuv";
	static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}, {1, 1, 3, 0}};
	struct fragments *fs = fragments_new();
	struct span whole;

	(void)state;
	for (uint32_t o = 0; o < 3; o++) {
		enum fragment_result r = FRAGMENT_WAITS;

		for (int i = 0; i < 4; i++) {
			uint32_t at = (uint32_t)orders[o][i] * 8;
			struct fragment f = {.id = o, .proto = 6, .offset = at, .more = at < 24,
					     .payload = span_of(data + at, 8)};

			assert_int_equal(r, FRAGMENT_WAITS);
			r = fragments_add(fs, &f, 0, &whole);
		}
		assert_int_equal(r, FRAGMENT_WHOLE);
		assert_int_equal(whole.len, 32);
		assert_memory_equal(whole.p, data, 32);
	}
	fragments_free(fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrappings), cmocka_unit_test(test_every_snaplen),
		cmocka_unit_test(test_not_ours),  cmocka_unit_test(test_depth),
		cmocka_unit_test(test_fragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
