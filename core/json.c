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

bool utf8_valid(struct span s)
{
	size_t i = 0;

	while (i < s.len) {
		size_t n = s.p[i] < 0x80 ? 1 : utf8_char(s.p + i, s.len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

/* Printable ASCII but for the quote and the backslash goes out as it is. */
static size_t plain_run(struct span s)
{
	size_t i = 0;

	while (i < s.len && s.p[i] >= 0x20 && s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\')
		i++;
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

int json_add_string(struct buf *out, struct span s)
{
	bool utf8, clean;
	uint8_t *to;
	size_t i = plain_run(s);
	int rc;

	clean = i == s.len;
	rc = buf_reserve(out, clean ? s.len + 2 : s.len * 6 + 2);
	if (rc)
		return rc;
	to = out->data + out->len;
	*to++ = '"';
	if (i)
		memcpy(to, s.p, i);
	to += i;
	utf8 = clean || utf8_valid(s);
	for (; i < s.len; i++) {
		uint8_t c = s.p[i];

		if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
			to = put_escaped(to, c);
		} else if (c < 0x80 || utf8) {
			*to++ = c;
		} else {
			*to++ = (uint8_t)(0xc0 | c >> 6);
			*to++ = (uint8_t)(0x80 | (c & 0x3f));
		}
	}
	*to++ = '"';
	out->len = (size_t)(to - out->data);
	return SC_OK;
}

int json_add_fields(struct buf *out, const uint8_t *base, const struct field *fields, uint32_t n)
{
	int rc = buf_add_str(out, "[");

	for (uint32_t i = 0; i < n && !rc; i++) {
		const struct field *f = &fields[i];

		rc = buf_add(out, i ? ",[" : "[", i ? 2 : 1);
		if (!rc)
			rc = json_add_string(out, span_of(base + f->name.off, f->name.len));
		if (!rc)
			rc = buf_add(out, ",", 1);
		if (!rc)
			rc = json_add_string(out, span_of(base + f->value.off, f->value.len));
		if (!rc)
			rc = buf_add(out, "]", 1);
	}
	return rc ? rc : buf_add(out, "]", 1);
}
