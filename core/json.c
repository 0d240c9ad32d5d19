/* SPDX-License-Identifier: Apache-2.0 */
/* JSON strings and header lists, written straight into a buffer. Reads nothing. */
#include "core/json.h"

#include <string.h>

/* Bytes at p that make one UTF-8 character (RFC 3629, 4), or 0. */
static size_t utf8_char(const uint8_t *p, size_t left)
{
	uint8_t c = p[0];
	size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 :
		   c >= 0xf0 && c < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f))
		return 0; /* too long, or a surrogate */
	if ((c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

#define EACH_BYTE 0x0101010101010101u
#define HIGH_BITS 0x8080808080808080u

/* The high bit of each byte that is not plain: a control character, '"', '\\', 0x7f or beyond ASCII.
 * A carry may mark a byte above one that is marked rightly, never one alone. */
static uint64_t not_plain(uint64_t w)
{
	uint64_t quote = w ^ EACH_BYTE * '"';
	uint64_t slash = w ^ EACH_BYTE * '\\';

	return (w | (w - EACH_BYTE * 0x20) | (w + EACH_BYTE) | (quote - EACH_BYTE) |
		(slash - EACH_BYTE)) & HIGH_BITS;
}

bool utf8_valid(struct span s)
{
	size_t i = 0;

	while (i < s.len) {
		uint64_t w;
		size_t n;

		if (s.len - i >= 8) {
			memcpy(&w, s.p + i, 8);
			if (!(w & HIGH_BITS)) {
				i += 8;
				continue;
			}
		}
		n = s.p[i] < 0x80 ? 1 : utf8_char(s.p + i, s.len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Copies what goes out as it is: printable ASCII but for the quote and the backslash. */
static size_t copy_plain(uint8_t *to, struct span s)
{
	size_t i = 0;
	uint64_t w;

	for (; s.len - i >= 8; i += 8) {
		memcpy(&w, s.p + i, 8);
		if (not_plain(w))
			break;
		memcpy(to + i, &w, 8);
	}
	for (; i < s.len && is_plain(s.p[i]); i++)
		to[i] = s.p[i];
	return i;
}

static uint8_t *put_escaped(uint8_t *to, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	static const char two[] = {['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
				   ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};

	*to++ = '\\';
	if (c < sizeof(two) && two[c]) {
		*to++ = (uint8_t)two[c];
		return to;
	}
	memcpy(to, "u00", 3);
	to[3] = (uint8_t)hex[c >> 4];
	to[4] = (uint8_t)hex[c & 15];
	return to + 5;
}

static int room(struct buf *out, size_t n)
{
	return n <= out->cap - out->len ? SC_OK : buf_reserve(out, n);
}

/* What is left of a string from its first byte that does not go out as it is. */
static uint8_t *put_rest(uint8_t *to, struct span s, bool utf8)
{
	for (size_t i = 0; i < s.len;) {
		uint8_t c = s.p[i];
		size_t run = copy_plain(to, span_of(s.p + i, s.len - i));

		to += run;
		i += run;
		if (run)
			continue;
		i++;
		if (c < 0x80) {
			to = put_escaped(to, c);
		} else if (utf8) {
			*to++ = c;
		} else {
			*to++ = (uint8_t)(0xc0 | c >> 6);
			*to++ = (uint8_t)(0x80 | (c & 0x3f));
		}
	}
	return to;
}

/* Leaves room for two more bytes. */
static int add_string(struct buf *out, struct span s)
{
	int rc = room(out, s.len + 4);
	uint8_t *to;
	size_t n;

	if (rc)
		return rc;
	to = out->data + out->len;
	*to++ = '"';
	n = copy_plain(to, s);
	if (n < s.len) {
		struct span rest = span_of(s.p + n, s.len - n);

		rc = room(out, 1 + n + rest.len * 6 + 3);
		if (rc)
			return rc;
		to = put_rest(out->data + out->len + 1 + n, rest, utf8_valid(s));
	} else {
		to += n;
	}
	*to++ = '"';
	out->len = (size_t)(to - out->data);
	return SC_OK;
}

int json_add_string(struct buf *out, struct span s)
{
	return add_string(out, s);
}

int json_add_fields(struct buf *out, const uint8_t *base, const struct field *fields, uint32_t n)
{
	int rc = buf_add_str(out, "[");

	for (uint32_t i = 0; i < n && !rc; i++) {
		const struct field *f = &fields[i];

		rc = room(out, 2);
		if (rc)
			break;
		if (i)
			out->data[out->len++] = ',';
		out->data[out->len++] = '[';
		rc = add_string(out, span_of(base + f->name.off, f->name.len));
		if (rc)
			break;
		out->data[out->len++] = ',';
		rc = add_string(out, span_of(base + f->value.off, f->value.len));
		if (!rc)
			out->data[out->len++] = ']';
	}
	return rc ? rc : buf_add_str(out, "]");
}
