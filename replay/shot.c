/* SPDX-License-Identifier: Apache-2.0 */
/* From a recorded request to the bytes that go out. Changes nothing it was not asked to change, and
 * never makes a request that is not whole. */
#include "replay/shot.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/chunked.h"
#include "core/limits.h"
#include "core/stage.h"

#define CHUNK_LINE 12 /* eight hex digits, CRLF, and the CRLF behind the data */

static const struct {
	const char *name, *help;
} skips[SKIPS] = {
#define ROW(id, name, help) [SKIP_##id] = {name, help},
	SKIP_TABLE(ROW)
#undef ROW
};

static const char *const idempotent_methods[] = {
	"GET",	    "HEAD",   "OPTIONS", "TRACE", "PUT", "DELETE", /* RFC 9110, 9.2.2 */
	"PROPFIND", "SEARCH", "REPORT",				   /* safe: RFC 4918, 5323, 3253 */
};

const char *skip_name(enum skip skip)
{
	return skips[skip].name;
}

const char *skip_help(enum skip skip)
{
	return skips[skip].help;
}

static bool method_is(const struct message *m, const char *name)
{
	return span_eq(message_method(m), span_str(name));
}

static bool method_idempotent(const struct message *m)
{
	for (size_t i = 0; i < sizeof(idempotent_methods) / sizeof(idempotent_methods[0]); i++) {
		if (method_is(m, idempotent_methods[i]))
			return true;
	}
	return false;
}

/* Whether a list field (RFC 9110, 5.6.1) has the token, whatever its case. */
static bool list_has(struct span list, const char *token)
{
	const uint8_t *p = list.p, *end = list.p + list.len;

	while (p < end) {
		const uint8_t *comma = memchr(p, ',', (size_t)(end - p));
		const uint8_t *stop = comma ? comma : end;
		struct span item;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		item = span_of(p, (size_t)(stop - p));
		while (item.len && (item.p[item.len - 1] == ' ' || item.p[item.len - 1] == '\t'))
			item.len--;
		if (span_case_eq(item, span_str(token)))
			return true;
		p = comma ? comma + 1 : end;
	}
	return false;
}

static bool field_has(const struct message *m, const char *name, const char *token)
{
	for (int i = message_find(m, name, 0); i >= 0; i = message_find(m, name, (uint32_t)i + 1)) {
		if (list_has(message_value(m, (uint32_t)i), token))
			return true;
	}
	return false;
}

/* The fields that decide how a request goes out. Most requests have none of them, so that one look
 * at all fields saves a search for each. */
enum known {
	HAS_TRANSFER_ENCODING = 1 << 0,
	HAS_CONTENT_LENGTH = 1 << 1,
	HAS_CONNECTION = 1 << 2,
	HAS_UPGRADE = 1 << 3,
	HAS_MARKER = 1 << 4,
};

static const struct {
	const char *name;
	size_t len;
	enum known bit;
} known_fields[] = {
#define ROW(name, bit) {name, sizeof(name) - 1, bit}
	ROW("Transfer-Encoding", HAS_TRANSFER_ENCODING),
	ROW("Content-Length", HAS_CONTENT_LENGTH),
	ROW("Connection", HAS_CONNECTION),
	ROW("Upgrade", HAS_UPGRADE),
	ROW(MARKER_FIELD, HAS_MARKER),
#undef ROW
};

static unsigned known_in(const struct message *m)
{
	unsigned bits = 0;

	for (uint32_t i = 0; i < m->n_fields; i++) {
		for (size_t k = 0; k < sizeof(known_fields) / sizeof(known_fields[0]); k++) {
			size_t len = known_fields[k].len;

			if (m->fields[i].name.len == len &&
			    span_case_eq(message_name(m, i), span_of(known_fields[k].name, len)))
				bits |= known_fields[k].bit;
		}
	}
	return bits;
}

static bool is_chunked(const struct message *m, unsigned known)
{
	return (m->flags & MESSAGE_CHUNKED) != 0 ||
	       ((known & HAS_TRANSFER_ENCODING) && field_has(m, "Transfer-Encoding", "chunked"));
}

/* A body the head does not announce, or an announced one that is not there, would leave the target
 * waiting, or take the body for the next request. */
static bool length_agrees(const struct message *m, unsigned known)
{
	int i = known & HAS_CONTENT_LENGTH ? message_find(m, "Content-Length", 0) : -1;
	uint64_t n = 0;
	struct span v;

	if (i < 0)
		return m->body.len == 0;
	v = message_value(m, (uint32_t)i);
	for (size_t k = 0; k < v.len; k++) {
		if (v.p[k] < '0' || v.p[k] > '9' || n > UINT64_MAX / 10 - 1)
			return false;
		n = n * 10 + (uint64_t)(v.p[k] - '0');
	}
	return v.len > 0 && n == m->body.len;
}

static enum skip judge(const struct message *m, unsigned known)
{
	if (m->major == 0)
		return SKIP_SIMPLE;
	if (method_is(m, "CONNECT"))
		return SKIP_CONNECT;
	if ((known & HAS_UPGRADE) && field_has(m, "Connection", "upgrade"))
		return SKIP_UPGRADE;
	if ((m->flags & (MESSAGE_CAPPED | MESSAGE_GAP | MESSAGE_UNKEPT)) != 0 ||
	    m->body.len < m->body_size)
		return SKIP_INCOMPLETE;
	if (!is_chunked(m, known) && !length_agrees(m, known))
		return SKIP_FRAMING;
	return SKIP_NONE;
}

/* What ends the head: CRLF, or LF where the recorded client wrote only that. 0: no blank line. */
static uint32_t blank_line_len(const struct message *m)
{
	const uint8_t *end = m->head + m->head_len;

	if (m->head_len >= 4 && end[-1] == '\n' && end[-2] == '\r')
		return 2;
	return m->head_len >= 2 && end[-1] == '\n' ? 1 : 0;
}

static uint8_t *put(uint8_t *to, const void *p, size_t len)
{
	if (len)
		memcpy(to, p, len);
	return to + len;
}

static uint8_t *put_str(uint8_t *to, const char *s)
{
	return put(to, s, strlen(s));
}

static uint8_t *put_chunk(uint8_t *to, const uint8_t *data, uint32_t len)
{
	static const char digits[] = "0123456789abcdef";
	char hex[8];
	unsigned n = 0;

	for (uint32_t v = len; v; v >>= 4)
		hex[n++] = digits[v & 15];
	while (n)
		*to++ = (uint8_t)hex[--n];
	to = put_str(to, "\r\n");
	to = put(to, data, len);
	return put_str(to, "\r\n");
}

/* The size a recorded chunk-size line says. */
static uint64_t line_size(struct span line)
{
	uint64_t size = 0;
	size_t i = 0;

	while (i < line.len && (line.p[i] == ' ' || line.p[i] == '\t'))
		i++;
	for (; i < line.len && isxdigit(line.p[i]) && !(size >> 59); i++) {
		uint8_t c = line.p[i] | 0x20;

		size = size << 4 | (uint64_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
	}
	return size;
}

/* The next line with its end; empty when there is none. */
static struct span next_line(struct span *rest)
{
	const uint8_t *nl = memchr(rest->p, '\n', rest->len);
	struct span line = span_of(rest->p, nl ? (size_t)(nl + 1 - rest->p) : 0);

	rest->p += line.len;
	rest->len -= line.len;
	return line;
}

/* Whether the recorded lines frame this body: a stage may have changed it. */
static bool lines_fit(const struct message *m)
{
	struct span rest = buf_span(&m->chunk_lines);
	uint64_t total = 0, size;

	if (!rest.len)
		return false;
	do {
		struct span line = next_line(&rest);

		if (!line.len)
			return false;
		size = line_size(line);
		total += size;
	} while (size && total <= m->body.len);
	return size == 0 && total == m->body.len;
}

static uint8_t *put_recorded_chunks(uint8_t *to, const struct message *m)
{
	struct span rest = buf_span(&m->chunk_lines);
	size_t at = 0;

	for (;;) {
		struct span line = next_line(&rest), end = chunk_line_end(line);
		size_t size = (size_t)line_size(line);

		to = put(to, line.p, line.len);
		if (size == 0) {
			to = put(to, rest.p, rest.len); /* the trailer section */
			return put(to, end.p, end.len);
		}
		to = put(to, m->body.data + at, size);
		to = put(to, end.p, end.len);
		at += size;
	}
}

/* RFC 9112, 7.1:  chunked-body = *chunk last-chunk trailer-section CRLF */
static uint8_t *put_chunked(uint8_t *to, const struct message *m)
{
	if (lines_fit(m))
		return put_recorded_chunks(to, m);
	for (size_t at = 0; at < m->body.len;) {
		size_t left = m->body.len - at;
		uint32_t len = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;

		to = put_chunk(to, m->body.data + at, len);
		at += len;
	}
	to = put_str(to, "0\r\n");
	to = put(to, m->trailer, m->trailer_len);
	return put_str(to, "\r\n");
}

static size_t body_room(const struct message *m, bool chunked)
{
	size_t chunks = 1 + m->body.len / UINT32_MAX;

	if (!chunked)
		return m->body.len;
	/* A recorded line is at least two bytes long, and two follow its chunk. */
	return m->body.len + chunks * CHUNK_LINE + m->trailer_len + 2 * m->chunk_lines.len +
	       strlen("0\r\n\r\n");
}

/* The head up to its blank line, without any marker of an earlier replay. */
static uint8_t *put_head(uint8_t *to, const struct message *m, unsigned known, uint32_t blank)
{
	const uint8_t *from = m->head, *end = m->head + m->head_len - blank;

	for (int i = known & HAS_MARKER ? message_find(m, MARKER_FIELD, 0) : -1; i >= 0;
	     i = message_find(m, MARKER_FIELD, (uint32_t)i + 1)) {
		const struct field *f = &m->fields[i];
		const uint8_t *line = m->head + f->name.off;
		const uint8_t *value_end = m->head + f->value.off + f->value.len;
		const uint8_t *nl = memchr(value_end, '\n', (size_t)(end - value_end));

		to = put(to, from, (size_t)(line - from));
		from = nl ? nl + 1 : end;
	}
	return put(to, from, (size_t)(end - from));
}

int shot_new(const struct exchange *ex, const char *marker, struct shot **ret, enum skip *ret_skip)
{
	const struct message *m = ex->request;
	unsigned known = known_in(m);
	enum skip skip = judge(m, known);
	bool chunked = is_chunked(m, known);
	uint32_t blank = blank_line_len(m);
	size_t room = m->head_len + (marker ? strlen(MARKER_FIELD) + strlen(marker) + 4 : 0);
	struct shot *shot;
	uint8_t *at;

	if (skip == SKIP_NONE && (blank == 0 || room > LIMIT_HEAD_BYTES))
		skip = blank ? SKIP_TOO_LARGE : SKIP_INCOMPLETE;
	*ret_skip = skip;
	if (skip != SKIP_NONE)
		return SC_OK;
	room += body_room(m, chunked);
	shot = malloc(sizeof(*shot) + room);
	if (!shot)
		return SC_ENOMEM;
	*shot = (struct shot){
		.exchange_id = ex->id,
		.connection = ex->connection,
		.ts_us = ex->ts_us,
		.head = method_is(m, "HEAD"),
		.idempotent = method_idempotent(m),
		.closes = (known & HAS_CONNECTION) && field_has(m, "Connection", "close"),
	};
	at = put_head(shot->bytes, m, known, marker ? blank : 0);
	if (marker) {
		at = put_str(at, MARKER_FIELD ": ");
		at = put_str(at, marker);
		at = put(at, m->head + m->head_len - blank, blank);
		at = put(at, m->head + m->head_len - blank, blank);
	}
	at = chunked ? put_chunked(at, m) : put(at, m->body.data, m->body.len);
	shot->len = (size_t)(at - shot->bytes);
	assert(shot->len <= room);
	*ret = shot;
	return SC_OK;
}

void shot_free(struct shot *shot)
{
	free(shot);
}
