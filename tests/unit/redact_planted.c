/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges with secrets, and the search for them in memory. */
#include "redact_planted.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/coding.h"
#include "core/rng.h"
#include "redact_fixture.h"
#include "wipe.h"

#define PIECE (256u * KIB)

const char planted_rules[] =
	"secrets\nheader:X-Hash=hash\nheader:X-Drop=drop\nquery:q\nform:f\njson:$.j";

/* @1 to @9 are the secrets. Each request has them all in places that the rules name, each response
 * has them all again where nothing but the request says that they are secret. */
static const char *const requests[] = {
	"POST /p?token=@1&q=@2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer @3\r\nCookie: sid=@4; "
	"b=@5\r\n"
	"Referer: http://u:@6@h/?sig=@7\r\nX-Hash: @8\r\nContent-Type: application/json\r\n\r\n"
	"{\"password\":\"@9\", \"n\": {\"secret\": [\"@1\", {\"k\": \"@9\"}]}, \"echo\": \"@3\"}",
	"POST http://u:@1@h/?token=@2 HTTP/1.1\r\nHost: h\r\nX-Api-Key: @3\r\nX-Drop: "
	"@4\r\nX-Hash: @5\r\n"
	"Content-Type: "
	"application/x-www-form-urlencoded\r\n\r\npassword=@6&f=@7&user[secret]=@8&jwt=@9",
	"POST /@1/@1?q=@1 HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\n"
	"Cookie: a=@2; b=\"@3\"; c=@4; d=@5; e=@6; f=@7\r\nA: @8\r\nX-Hash: @8\r\n\r\n"
	"--b\r\nContent-Disposition: form-data; name=f\r\n\r\n@9\r\n--b--\r\n",
};
static const char response[] =
	"HTTP/1.1 200 @1\r\nContent-Type: application/json\r\nX: @2\r\nLocation: /@3?x=@4\r\n"
	"Set-Cookie: s=@5\r\n%s\r\n"
	"{\"headers\": {\"Authorization\": \"Bearer @3\"}, \"a\": [\"@1\", \"@2\", \"@3\", \"@4\", "
	"\"@5\", \"@6\","
	" \"@7\", \"@8\", \"@9\"], \"url\": \"http:\\/\\/h\\/@1?token=@2\", \"j\": {\"@9\": "
	"\"@9\"}}";

static const struct {
	const char *fields;
	struct codings codings;
} coded[PLANTED_TALKS / 2] = {
	{"Content-Encoding: gzip\r\n", {{CODING_GZIP}, 1}},
	{"Content-Encoding: br\r\n", {{CODING_BR}, 1}},
	{"Content-Encoding: zstd, deflate\r\n", {{CODING_ZSTD, CODING_DEFLATE}, 2}},
};

static uint8_t secret_byte(unsigned which, unsigned i)
{
	unsigned char key[2] = {(unsigned char)which, (unsigned char)i};

	return (uint8_t)("abcdefghijklmnopqrstuvwxyz012345"[hash_bytes(key, 2, 77) % 32]);
}

/* free() it after explicit_bzero(). */
static uint8_t *expand(const char *text, size_t *ret_len)
{
	uint8_t *out = malloc(strlen(text) * 8 + PLANTED_LEN), *to = out;

	assert_non_null(out);
	for (; *text; text++) {
		if (text[0] != '@' || text[1] < '1' || text[1] > '9') {
			*to++ = (uint8_t)*text;
			continue;
		}
		text++;
		for (unsigned i = 0; i < PLANTED_LEN; i++)
			*to++ = secret_byte((unsigned)(*text - '1'), i);
	}
	*ret_len = (size_t)(to - out);
	return out;
}

static struct message *plant(const char *text)
{
	size_t len;
	uint8_t *wire = expand(text, &len);
	struct message *m = make_wire(span_of(wire, len), 0);

	explicit_bzero(wire, len);
	free(wire);
	return m;
}

static void encode(struct message *m, const struct codings *c)
{
	struct buf out;

	buf_init(&out, MIB);
	assert_int_equal(codings_encode(c, buf_span(&m->body), &out), SC_OK);
	explicit_bzero(m->body.data, m->body.cap);
	buf_done(&m->body);
	m->body = out;
	m->body_size = out.len;
}

struct exchange *planted_exchange(unsigned talk)
{
	bool encodes = talk >= PLANTED_TALKS / 2;
	unsigned which = talk % (PLANTED_TALKS / 2);
	struct exchange *ex = exchange_new();
	char text[sizeof(response) + 64];

	assert_non_null(ex);
	(void)snprintf(text, sizeof(text), response, encodes ? coded[which].fields : "");
	ex->request = plant(requests[which]);
	ex->response = plant(text);
	if (encodes)
		encode(ex->response, &coded[which].codings);
	wipe_traces();
	return ex;
}

static bool stands_at(const uint8_t *p, unsigned which)
{
	for (unsigned i = 0; i < PLANTED_LEN; i++) {
		if (p[i] != secret_byte(which, i))
			return false;
	}
	return true;
}

unsigned planted_in(const uint8_t *p, size_t len)
{
	uint8_t first[PLANTED];
	bool begins[256] = {false};
	unsigned n = 0;

	for (unsigned w = 0; w < PLANTED; w++)
		begins[first[w] = secret_byte(w, 0)] = true;
	for (size_t i = 0; i + PLANTED_LEN <= len; i++) {
		for (unsigned w = 0; begins[p[i]] && w < PLANTED; w++)
			n += p[i] == first[w] && stands_at(p + i, w);
	}
	return n;
}

/* Pieces overlap, so that none is missed between two; one that is found twice is found. */
static unsigned planted_in_mapping(int mem, uint64_t from, uint64_t to, uint8_t *piece)
{
	unsigned n = 0;

	for (uint64_t at = from; at < to; at += PIECE - PLANTED_LEN) {
		size_t want = to - at < PIECE ? (size_t)(to - at) : PIECE;
		ssize_t got = pread(mem, piece, want, (off_t)at);

		if (got > 0) {
			n += planted_in(piece, (size_t)got);
			explicit_bzero(piece, (size_t)got);
		}
	}
	return n;
}

unsigned planted_in_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint8_t *piece = calloc(1, PIECE);
	char line[512];
	unsigned n = 0;

	assert_non_null(maps);
	assert_non_null(piece);
	assert_true(mem >= 0);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long long from, to;
		char mode[5];

		if (sscanf(line, "%llx-%llx %4s", &from, &to, mode) != 3 || mode[1] != 'w')
			continue;
		/* What a sanitizer reserves holds no bytes of ours. */
		if (to - from < 1ull << 32 && !(from <= (uintptr_t)piece && (uintptr_t)piece < to &&
						to - from <= PIECE + 8192))
			n += planted_in_mapping(mem, from, to, piece);
	}
	(void)fclose(maps);
	(void)close(mem);
	free(piece);
	return n;
}
