/* SPDX-License-Identifier: Apache-2.0 */
/* Content codings by way of zlib, brotli and zstd, the only place that knows these. Never decodes
 * past the ceiling it is given, and refuses what it cannot read to the end. */
#include "core/coding.h"

#include <limits.h>
#include <setjmp.h>
#include <stddef.h>
#include <string.h>

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <zlib.h>
/* For the allocator of a context's own. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include "wipe.h"

#define STEP_MIN 4096u
#define GZIP_LEVEL 6
#define BROTLI_QUALITY 5 /* 11, the library's own, is a hundred times slower */
#define ZSTD_LEVEL 3
#define ZSTD_WINDOW_LOG 23 /* 8 MiB, all that RFC 9659 allows */

static const struct {
	const char *name;
	int coding; /* -1: none */
} names[] = {
	{"gzip", CODING_GZIP}, {"x-gzip", CODING_GZIP}, {"deflate", CODING_DEFLATE},
	{"br", CODING_BR},     {"zstd", CODING_ZSTD},   {"identity", -1},
};

static int add_one(struct codings *c, struct span name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!span_case_eq(name, span_str(names[i].name)))
			continue;
		if (names[i].coding < 0)
			return SC_OK;
		if (c->n == LIMIT_CODINGS)
			return SC_EFULL;
		c->list[c->n++] = (enum coding)names[i].coding;
		return SC_OK;
	}
	return SC_EPROTO;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next element of a list (RFC 9110, 5.6.1) without white space around it; empty at the end. */
static struct span next_element(struct span *rest)
{
	const uint8_t *p = rest->p, *end = rest->p + rest->len, *start, *stop;

	while (p < end && (is_space(*p) || *p == ','))
		p++;
	for (start = p; p < end && *p != ','; p++)
		;
	for (stop = p; stop > start && is_space(stop[-1]); stop--)
		;
	*rest = span_of(p, (size_t)(end - p));
	return span_of(start, (size_t)(stop - start));
}

int codings_add(struct codings *c, struct span value)
{
	struct span name;
	int rc = SC_OK;

	while (!rc && (name = next_element(&value)).len)
		rc = add_one(c, name);
	return rc;
}

static int add_transfer_codings(struct codings *c, struct span value)
{
	struct span name;
	int rc = SC_OK;

	while (!rc && (name = next_element(&value)).len) {
		if (!span_case_eq(name, span_str("chunked")))
			rc = add_one(c, name);
	}
	return rc;
}

int codings_of(const struct message *m, struct codings *ret)
{
	struct codings c = {.n = 0};
	int i, rc = SC_OK;

	for (i = message_find(m, "Content-Encoding", 0); i >= 0 && !rc;
	     i = message_find(m, "Content-Encoding", (uint32_t)i + 1))
		rc = codings_add(&c, message_value(m, (uint32_t)i));
	for (i = message_find(m, "Transfer-Encoding", 0); i >= 0 && !rc;
	     i = message_find(m, "Transfer-Encoding", (uint32_t)i + 1))
		rc = add_transfer_codings(&c, message_value(m, (uint32_t)i));
	if (!rc)
		*ret = c;
	return rc;
}

/* Room for the next piece of output: at first what most bodies come to. SC_EFULL at the ceiling. */
static int make_room(struct buf *out, size_t in_len)
{
	size_t want = out->cap == 0 ? in_len * 4 : 1;
	int rc;

	if (out->len < out->cap)
		return SC_OK;
	if (want < STEP_MIN)
		want = STEP_MIN;
	rc = wipe_reserve(out, want);
	return rc == SC_EFULL ? wipe_reserve(out, 1) : rc;
}

static void *zlib_alloc(void *opaque, uInt items, uInt size)
{
	return wipe_alloc(opaque, (size_t)items * size);
}

/* uInt is what zlib counts in. */
static uInt up_to(size_t n)
{
	return n < UINT_MAX ? (uInt)n : UINT_MAX;
}

/* One call of inflate(). 1: the stream ended; 0: go on; SC_ETRUNC: it wants more input. */
static int inflate_step(z_stream *z, const uint8_t *end, struct buf *out)
{
	size_t room;
	int rc = make_room(out, (size_t)(end - z->next_in));

	if (rc)
		return rc;
	room = up_to(out->cap - out->len);
	z->next_out = out->data + out->len;
	z->avail_out = (uInt)room;
	z->avail_in = up_to((size_t)(end - z->next_in));
	rc = inflate(z, Z_NO_FLUSH);
	out->len += room - z->avail_out;
	switch (rc) {
	case Z_STREAM_END:
		return 1;
	case Z_OK:
		return z->avail_out && z->next_in == end ? SC_ETRUNC : 0;
	case Z_BUF_ERROR:
		return SC_ETRUNC;
	default:
		return rc == Z_MEM_ERROR ? SC_ENOMEM : SC_EPROTO;
	}
}

/* window: as inflateInit2() has it. A gzip body may be several members in a row (RFC 1952, 2.2). */
static int inflate_all(int window, struct span in, struct buf *out)
{
	z_stream z = {.zalloc = zlib_alloc, .zfree = wipe_dealloc};
	const uint8_t *end = in.p + in.len;
	int rc;

	z.next_in = (Bytef *)(uintptr_t)in.p;
	if (inflateInit2(&z, window) != Z_OK)
		return SC_ENOMEM;
	do {
		rc = inflate_step(&z, end, out);
		if (rc == 1 && z.next_in < end)
			rc = window > MAX_WBITS && inflateReset(&z) == Z_OK ? 0 : SC_EPROTO;
	} while (rc == 0);
	inflateEnd(&z);
	return rc == 1 ? SC_OK : rc;
}

static int decode_gzip(struct span in, struct buf *out)
{
	return inflate_all(MAX_WBITS + 16, in, out);
}

static int decode_deflate(struct span in, struct buf *out)
{
	return inflate_all(MAX_WBITS, in, out);
}

static int decode_raw_deflate(struct span in, struct buf *out)
{
	return inflate_all(-MAX_WBITS, in, out);
}

static int decode_br(struct span in, struct buf *out)
{
	BrotliDecoderState *s = BrotliDecoderCreateInstance(wipe_alloc, wipe_dealloc, NULL);
	BrotliDecoderResult r = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
	int rc = SC_OK;

	if (!s)
		return SC_ENOMEM;
	while (!rc && r == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT) {
		uint8_t *next;
		size_t room;

		rc = make_room(out, in.len);
		if (rc)
			break;
		next = out->data + out->len;
		room = out->cap - out->len;
		r = BrotliDecoderDecompressStream(s, &in.len, &in.p, &room, &next, NULL);
		out->len = (size_t)(next - out->data);
	}
	if (!rc && r == BROTLI_DECODER_RESULT_ERROR)
		rc = BrotliDecoderGetErrorCode(s) <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES
			     ? SC_ENOMEM : SC_EPROTO;
	else if (!rc && r == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT)
		rc = SC_ETRUNC;
	else if (!rc && in.len)
		rc = SC_EPROTO;
	BrotliDecoderDestroyInstance(s);
	return rc;
}

static int zstd_error(size_t code)
{
	return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? SC_ENOMEM : SC_EPROTO;
}

static int decode_zstd(struct span in, struct buf *out)
{
	static const ZSTD_customMem memory = {wipe_alloc, wipe_dealloc, NULL};
	ZSTD_DCtx *d = ZSTD_createDCtx_advanced(memory);
	ZSTD_inBuffer from = {in.p, in.len, 0};
	size_t hint = 1;
	int rc = SC_OK;

	if (!d)
		return SC_ENOMEM;
	(void)ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	for (;;) {
		ZSTD_outBuffer to;

		rc = make_room(out, in.len);
		if (rc)
			break;
		to = (ZSTD_outBuffer){out->data, out->cap, out->len};
		hint = ZSTD_decompressStream(d, &to, &from);
		out->len = to.pos;
		if (ZSTD_isError(hint)) {
			rc = zstd_error(hint);
			break;
		}
		/* Several frames in a row are one body (RFC 8878, 3). */
		if (from.pos == from.size && (hint == 0 || to.pos < to.size))
			break;
	}
	ZSTD_freeDCtx(d);
	return rc || hint == 0 ? rc : SC_ETRUNC;
}

static int encode_zlib(int window, struct span in, struct buf *out)
{
	z_stream z = {.zalloc = zlib_alloc, .zfree = wipe_dealloc};
	size_t room;
	int rc;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return SC_ENOMEM;
	room = deflateBound(&z, in.len);
	rc = in.len < UINT_MAX && room < UINT_MAX ? wipe_reserve(out, room) : SC_EFULL;
	if (!rc) {
		z.next_in = (Bytef *)(uintptr_t)in.p;
		z.avail_in = (uInt)in.len;
		z.next_out = out->data + out->len;
		z.avail_out = (uInt)room;
		rc = deflate(&z, Z_FINISH) == Z_STREAM_END ? SC_OK : SC_EFULL;
		out->len += room - z.avail_out;
	}
	deflateEnd(&z);
	return rc;
}

static int encode_gzip(struct span in, struct buf *out)
{
	return encode_zlib(MAX_WBITS + 16, in, out);
}

static int encode_deflate(struct span in, struct buf *out)
{
	return encode_zlib(MAX_WBITS, in, out);
}

static int encode_raw_deflate(struct span in, struct buf *out)
{
	return encode_zlib(-MAX_WBITS, in, out);
}

/* What the brotli encoder holds. Debian builds it so that it ends the process when it gets no
 * memory, so it is left by a jump instead, and what it held is given back here. */
struct held {
	struct held *next, **link; /* link: what points here */
	max_align_t bytes[];
};

struct pool {
	struct held *first;
	jmp_buf starved;
};

static void *pool_alloc(void *opaque, size_t n)
{
	struct pool *pool = opaque;
	struct held *h = n < SIZE_MAX - sizeof(*h) ? wipe_alloc(NULL, sizeof(*h) + n) : NULL;

	if (!h)
		longjmp(pool->starved, 1);
	h->next = pool->first;
	h->link = &pool->first;
	if (h->next)
		h->next->link = &h->next;
	pool->first = h;
	return h->bytes;
}

static void pool_free(void *opaque, void *p)
{
	struct held *h = p ? (struct held *)((char *)p - offsetof(struct held, bytes)) : NULL;

	(void)opaque;
	if (!h)
		return;
	*h->link = h->next;
	if (h->next)
		h->next->link = h->link;
	wipe_dealloc(NULL, h);
}

static int run_br(struct pool *pool, struct span in, struct buf *out)
{
	BrotliEncoderState *s = BrotliEncoderCreateInstance(pool_alloc, pool_free, pool);
	size_t room = out->cap - out->len;
	uint8_t *next = out->data + out->len;
	int rc = SC_OK;

	if (!s)
		return SC_ENOMEM;
	(void)BrotliEncoderSetParameter(s, BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
	(void)BrotliEncoderSetParameter(s, BROTLI_PARAM_SIZE_HINT, (uint32_t)in.len);
	if (!BrotliEncoderCompressStream(s, BROTLI_OPERATION_FINISH, &in.len, &in.p, &room, &next,
					 NULL))
		rc = SC_ENOMEM;
	else if (!BrotliEncoderIsFinished(s))
		rc = SC_EFULL;
	out->len = (size_t)(next - out->data);
	BrotliEncoderDestroyInstance(s);
	return rc;
}

/* Of its own, since the jump ends here: nothing that it changed is a variable of this function. */
static int try_br(struct pool *pool, struct span in, struct buf *out)
{
	return setjmp(pool->starved) ? SC_ENOMEM : run_br(pool, in, out);
}

static int encode_br(struct span in, struct buf *out)
{
	struct pool pool = {.first = NULL};
	int rc = wipe_reserve(out, BrotliEncoderMaxCompressedSize(in.len) + STEP_MIN);

	if (!rc)
		rc = try_br(&pool, in, out);
	while (pool.first)
		pool_free(NULL, pool.first->bytes);
	return rc;
}

static int encode_zstd(struct span in, struct buf *out)
{
	static const ZSTD_customMem memory = {wipe_alloc, wipe_dealloc, NULL};
	ZSTD_CCtx *c = ZSTD_createCCtx_advanced(memory);
	size_t room = ZSTD_compressBound(in.len), n;
	int rc;

	if (!c)
		return SC_ENOMEM;
	(void)ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	rc = wipe_reserve(out, room);
	if (!rc) {
		n = ZSTD_compress2(c, out->data + out->len, room, in.p, in.len);
		if (ZSTD_isError(n))
			rc = zstd_error(n);
		else
			out->len += n;
	}
	ZSTD_freeCCtx(c);
	return rc;
}

/* A decoder says SC_ETRUNC when its input ended too early. */
static const struct {
	int (*decode)(struct span in, struct buf *out);
	int (*encode)(struct span in, struct buf *out);
} table[CODINGS] = {
	[CODING_GZIP] = {decode_gzip, encode_gzip},
	[CODING_DEFLATE] = {decode_deflate, encode_deflate},
	[CODING_RAW_DEFLATE] = {decode_raw_deflate, encode_raw_deflate},
	[CODING_BR] = {decode_br, encode_br},
	[CODING_ZSTD] = {decode_zstd, encode_zstd},
};

/* RFC 1950, 2.2: CM is 8, and the first two bytes are a multiple of 31. */
static bool has_zlib_header(struct span in)
{
	return in.len < 2 || ((in.p[0] & 0x0f) == 8 && (in.p[0] << 8 | in.p[1]) % 31 == 0);
}

/* Runs one after the other, through buffers of its own but for the last. */
static int run(const struct codings *c, bool decoding, struct span in, bool cut, struct buf *out,
	       enum coding *ret_used)
{
	struct buf between[2];
	int rc = SC_OK;

	buf_init(&between[0], out->max);
	buf_init(&between[1], out->max);
	if (c->n == 0)
		rc = wipe_add_span(out, in);
	for (unsigned i = 0; i < c->n && !rc; i++) {
		unsigned which = decoding ? c->n - 1 - i : i;
		enum coding coding = c->list[which];
		struct buf *to = i + 1 == c->n ? out : &between[i & 1];

		if (decoding && coding == CODING_DEFLATE && !has_zlib_header(in))
			coding = CODING_RAW_DEFLATE;
		if (ret_used)
			ret_used[which] = coding;
		to->len = to == out ? out->len : 0;
		rc = decoding ? table[coding].decode(in, to) : table[coding].encode(in, to);
		if (rc == SC_ETRUNC)
			rc = cut ? SC_OK : SC_EPROTO;
		in = buf_span(to);
	}
	wipe_done(&between[0]);
	wipe_done(&between[1]);
	return rc;
}

int codings_decode(struct codings *c, struct span in, bool cut, struct buf *out)
{
	return run(c, true, in, cut, out, c->list);
}

int codings_encode(const struct codings *c, struct span in, struct buf *out)
{
	return run(c, false, in, false, out, NULL);
}
