/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 messages as .gor files hold them, framed by their own heads alone. Keeps what is there of
 * a message that is cut, and guesses nothing of the rest. */
#include "gor_message.h"

#include <string.h>

#include "core/chunked.h"
#include "core/err.h"
#include "core/limits.h"

/* --- reading ------------------------------------------------------------------------------- */

/* The next line with its end; empty when there is none. */
static struct span next_line(struct span *rest)
{
	const uint8_t *nl = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;
	struct span line = span_of(rest->p, nl ? (size_t)(nl + 1 - rest->p) : 0);

	if (nl)
		*rest = span_of(rest->p + line.len, rest->len - line.len);
	return line;
}

static bool is_blank(struct span line)
{
	return line.len == 1 || (line.len == 2 && line.p[0] == '\r');
}

/* The bytes up to and with the blank line; 0: there is none. */
static size_t head_length(struct span payload)
{
	struct span rest = payload, line;

	do
		line = next_line(&rest);
	while (line.len && !is_blank(line));
	return line.len ? (size_t)(rest.p - payload.p) : 0;
}

static int keep(struct message *m, struct span bytes)
{
	size_t room = m->body.max - m->body.len;
	size_t n = bytes.len < room ? bytes.len : room;

	m->body_size += bytes.len;
	if (n < bytes.len)
		m->flags |= MESSAGE_CAPPED;
	return buf_add(&m->body, bytes.p, n);
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* chunk-size [chunk-ext] CRLF (RFC 9112, 7.1); false: it is none. */
static bool chunk_size(struct span line, uint64_t *ret)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < line.len && hex_value(line.p[i]) >= 0; i++) {
		if (size >> 48)
			return false;
		size = size << 4 | (uint64_t)hex_value(line.p[i]);
	}
	if (i == 0 || i == line.len || !memchr("; \t\r\n", line.p[i], 5))
		return false;
	*ret = size;
	return true;
}

static int lost(struct message *m, uint64_t missing)
{
	m->flags |= MESSAGE_GAP;
	m->body_size += missing;
	return SC_EPROTO;
}

/* One chunk. SC_EPROTO: it is damaged or cut. */
static int read_chunk(struct message *m, struct span *rest, uint64_t *ret_size)
{
	struct span line = next_line(rest);
	uint64_t size;
	size_t n;
	int rc;

	if (!chunk_size(line, &size))
		return lost(m, 0);
	rc = buf_add_span(&m->chunk_lines, line);
	*ret_size = size;
	if (rc || size == 0)
		return rc;
	n = rest->len < size ? rest->len : (size_t)size;
	rc = keep(m, span_of(rest->p, n));
	*rest = span_of(rest->p + n, rest->len - n);
	if (rc)
		return rc;
	return n == size && is_blank(next_line(rest)) ? SC_OK : lost(m, size - n);
}

static struct slice slice_of(const uint8_t *base, const uint8_t *from, const uint8_t *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	while (to > from && memchr(" \t\r\n", to[-1], 4))
		to--;
	return (struct slice){(uint32_t)(from - base), (uint32_t)(to - from)};
}

/* The trailer section (RFC 9112, 7.1.2), whose index is made here. */
static int read_trailers(struct message *m, struct span rest)
{
	const uint8_t *base = rest.p;
	struct field fields[64];
	uint32_t n = 0;
	struct span line;

	while ((line = next_line(&rest)).len && !is_blank(line)) {
		const uint8_t *colon = memchr(line.p, ':', line.len);

		if (!colon || n == sizeof(fields) / sizeof(fields[0]) ||
		    line.p + line.len - base > LIMIT_TRAILER_BYTES)
			return lost(m, 0);
		fields[n].name = slice_of(base, line.p, colon);
		fields[n++].value = slice_of(base, colon + 1, line.p + line.len);
	}
	if (!line.len)
		return lost(m, 0);
	if (n == 0)
		return SC_OK;
	return message_set_trailer(m, base, (uint32_t)(line.p - base), fields, n);
}

/* Lines are remembered of requests alone, and where they are not what everybody would write. */
static int tidy_lines(struct message *m)
{
	struct buf plain;
	int rc;

	buf_init(&plain, LIMIT_TRAILER_BYTES + 64);
	rc = m->body.len ? buf_addf(&plain, "%zx\r\n0\r\n", m->body.len)
			 : buf_add_str(&plain, "0\r\n");
	if (!rc && (m->status || m->flags & (MESSAGE_GAP | MESSAGE_CAPPED) ||
		    span_eq(buf_span(&plain), buf_span(&m->chunk_lines))))
		buf_clear(&m->chunk_lines);
	else if (!rc)
		rc = buf_add(&m->chunk_lines, m->trailer, m->trailer_len);
	buf_done(&plain);
	return rc;
}

static int read_chunked(struct message *m, struct span body)
{
	struct span rest = body;
	uint64_t size = 1;
	int rc = SC_OK;

	m->flags |= MESSAGE_CHUNKED;
	/* A middleware may have put another body there, in no chunks. */
	if (!chunk_size(next_line(&rest), &size))
		return keep(m, body);
	rest = body;
	size = 1;
	while (!rc && size)
		rc = read_chunk(m, &rest, &size);
	if (!rc)
		rc = read_trailers(m, rest);
	if (rc == SC_EFULL)
		rc = lost(m, 0);
	if (rc == SC_OK || rc == SC_EPROTO)
		rc = tidy_lines(m);
	return rc == SC_EFULL ? SC_ENOMEM : rc;
}

/* Whether the last transfer coding is chunked (RFC 9112, 6.1). */
static bool is_chunked(const struct message *m)
{
	struct span last = span_str(""), tail;

	for (int i = message_find(m, "Transfer-Encoding", 0); i >= 0;
	     i = message_find(m, "Transfer-Encoding", (uint32_t)i + 1))
		last = message_value(m, (uint32_t)i);
	if (last.len < 7)
		return false;
	tail = span_of(last.p + last.len - 7, 7);
	return span_case_eq(tail, span_str("chunked")) &&
	       (last.len == 7 || memchr(", \t", tail.p[-1], 3));
}

/* Content-Length; false: there is none that is a number. */
static bool said_length(const struct message *m, uint64_t *ret)
{
	int i = message_find(m, "Content-Length", 0);
	struct span s = i < 0 ? span_str("") : message_value(m, (uint32_t)i);
	uint64_t n = 0;

	for (size_t k = 0; k < s.len; k++) {
		if (s.p[k] < '0' || s.p[k] > '9' || k == 18)
			return false;
		n = n * 10 + (uint64_t)(s.p[k] - '0');
	}
	*ret = n;
	return s.len != 0;
}

static int read_body(struct message *m, struct span body)
{
	uint64_t length;
	int rc;

	if (is_chunked(m))
		return read_chunked(m, body);
	if (!said_length(m, &length))
		return keep(m, body);
	if (length < body.len)
		body.len = (size_t)length;
	rc = keep(m, body);
	if (!rc && length > body.len)
		(void)lost(m, length - body.len);
	return rc;
}

int gor_message_read(struct span payload, size_t body_max, struct message **ret)
{
	size_t head = head_length(payload);
	struct message *m = NULL;
	int rc;

	if (head == 0 || head > LIMIT_HEAD_BYTES)
		return SC_EPROTO;
	rc = message_parse(payload.p, head, body_max, &m);
	if (!rc)
		rc = read_body(m, span_of(payload.p + head, payload.len - head));
	if (rc)
		message_free(m);
	else
		*ret = m; /* moved */
	return rc == SC_EFULL ? SC_EPROTO : rc;
}

void gor_message_answers(struct message *response, struct span method)
{
	bool none = span_eq(method, span_str("HEAD")) || response->status == 304 ||
		    response->status == 204 || response->status / 100 == 1;

	if (response->status == 101 ||
	    (response->status / 100 == 2 && span_eq(method, span_str("CONNECT"))))
		response->flags |= MESSAGE_UPGRADE;
	if (!none || response->body.len)
		return;
	response->body_size = 0;
	response->flags = (uint16_t)(response->flags & ~(unsigned)MESSAGE_GAP);
}

/* --- writing ------------------------------------------------------------------------------- */

/* Whether the recorded lines frame this body: a rule may have changed it. */
static bool lines_fit(const struct message *m)
{
	struct span rest = buf_span(&m->chunk_lines);
	uint64_t total = 0, size = 1;

	while (size && total <= m->body.len) {
		if (!chunk_size(next_line(&rest), &size))
			return false;
		total += size;
	}
	return size == 0 && total == m->body.len;
}

static int write_recorded_chunks(const struct message *m, struct buf *out)
{
	struct span rest = buf_span(&m->chunk_lines), end = span_str("");
	uint64_t size = 1;
	size_t at = 0;
	int rc = SC_OK;

	while (size && !rc) {
		struct span line = next_line(&rest);

		end = chunk_line_end(line);
		(void)chunk_size(line, &size); /* lines_fit() */
		rc = buf_add_span(out, line);
		if (!rc && size)
			rc = buf_add(out, m->body.data + at, (size_t)size);
		if (!rc && size)
			rc = buf_add_span(out, end);
		at += (size_t)size;
	}
	if (!rc)
		rc = buf_add_span(out, rest); /* the trailer section */
	return rc ? rc : buf_add_span(out, end);
}

static int write_chunked(const struct message *m, struct buf *out)
{
	bool cut = m->body.len < m->body_size || m->flags & MESSAGE_GAP;
	int rc = SC_OK;

	if (lines_fit(m))
		return write_recorded_chunks(m, out);
	if (m->body.len)
		rc = buf_addf(out, "%zx\r\n", m->body.len);
	if (!rc)
		rc = buf_add_span(out, buf_span(&m->body));
	if (!rc && m->body.len)
		rc = buf_add_str(out, "\r\n");
	if (rc || cut)
		return rc; /* no last chunk: whoever reads it sees that it is cut */
	rc = buf_add_str(out, "0\r\n");
	if (!rc)
		rc = buf_add(out, m->trailer, m->trailer_len);
	return rc ? rc : buf_add_str(out, "\r\n");
}

int gor_message_write(const struct message *m, struct buf *out)
{
	int rc = buf_add(out, m->head, m->head_len);

	if (rc)
		return rc;
	/* An answer to HEAD tells of chunks that never came. */
	if (is_chunked(m) && (m->flags & MESSAGE_CHUNKED || m->body.len))
		return write_chunked(m, out);
	return buf_add_span(out, buf_span(&m->body));
}
