/* SPDX-License-Identifier: Apache-2.0 */
/* Records of GoReplay's middleware protocol: to hex and back, and from edited bytes to a request
 * whose framing is true. Trusts nothing of a payload but that it is bytes. */
#include "replay/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/chunked.h"
#include "core/limits.h"

#define HEADER_BYTES 96u /* a type, an id and two numbers of twenty digits */

static const char hex_digits[] = "0123456789abcdef";

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void record_id(const struct addr *client, const struct addr *server, uint32_t number,
	       char id[RECORD_ID + 1])
{
	const uint8_t *ip = client->ip + (client->len == 16 ? 12 : 0);

	(void)snprintf(id, RECORD_ID + 1, "%04x%04x%02x%02x%02x%02x%08" PRIx32, client->port,
		       server->port, ip[0], ip[1], ip[2], ip[3], number);
}

int record_number(struct span id, uint32_t *ret)
{
	uint32_t number = 0;

	if (id.len != RECORD_ID)
		return SC_EPROTO;
	for (size_t i = 0; i < RECORD_ID; i++) {
		int v = hex_value(id.p[i]);

		if (v < 0)
			return SC_EPROTO;
		number = number << 4 | (uint32_t)v;
	}
	*ret = number;
	return SC_OK;
}

static uint8_t *put_hex(uint8_t *to, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++) {
		*to++ = (uint8_t)hex_digits[p[i] >> 4];
		*to++ = (uint8_t)hex_digits[p[i] & 15];
	}
	return to;
}

int record_write(struct buf *out, const struct record *r)
{
	char header[HEADER_BYTES];
	int n = snprintf(header, sizeof(header), "%c %.*s %" PRId64 " %" PRId64 "\n", (int)r->type,
			 (int)(r->id.len < RECORD_ID ? r->id.len : RECORD_ID),
			 (const char *)r->id.p, r->ts_ns, r->latency_ns);
	uint8_t *to;
	int rc;

	if (r->payload.len > LIMIT_MIDDLEWARE_RECORD - HEADER_BYTES)
		return SC_EFULL;
	rc = buf_reserve(out, 2 * ((size_t)n + r->payload.len) + 1);
	if (rc)
		return rc;
	to = put_hex(out->data + out->len, header, (size_t)n);
	to = put_hex(to, r->payload.p, r->payload.len);
	*to++ = '\n';
	out->len = (size_t)(to - out->data);
	return SC_OK;
}

/* In place: a pair of digits is read before its byte is written. */
static int from_hex(struct span line, uint8_t *bytes, struct err *err)
{
	if (line.len % 2)
		return err_set(err, SC_EPROTO, "%zu hex digits; expected an even number", line.len);
	for (size_t i = 0; i < line.len; i += 2) {
		int high = hex_value(line.p[i]), low = hex_value(line.p[i + 1]);

		if (high < 0 || low < 0)
			return err_set(err, SC_EPROTO, "character %zu is no hex digit",
				       i + (high < 0 ? 1 : 2));
		bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	return SC_OK;
}

/* The next word of the header line. */
static struct span word(struct span *rest)
{
	const uint8_t *space = memchr(rest->p, ' ', rest->len);
	size_t len = space ? (size_t)(space - rest->p) : rest->len;
	struct span w = span_of(rest->p, len);

	len += space != NULL;
	*rest = span_of(rest->p + len, rest->len - len);
	return w;
}

/* What a child wrote there is of no use to anybody: whatever is no number is 0. */
static int64_t digits(struct span s)
{
	int64_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || n > INT64_MAX / 10 - 1)
			return 0;
		n = n * 10 + (s.p[i] - '0');
	}
	return n;
}

int record_read(struct span line, uint8_t *bytes, struct record *ret, struct err *err)
{
	int rc = from_hex(line, bytes, err);
	size_t len = line.len / 2;
	const uint8_t *nl = rc ? NULL : memchr(bytes, '\n', len);
	struct span header, type;
	struct record r;

	if (rc)
		return rc;
	header = span_of(bytes, nl ? (size_t)(nl - bytes) : 0);
	if (header.len && header.p[header.len - 1] == '\r')
		header.len--;
	type = word(&header);
	if (!nl || type.len != 1 || type.p[0] < RECORD_REQUEST || type.p[0] > RECORD_REPLAYED)
		return err_set(err, SC_EPROTO, "no header line '<type> <id> <time> <latency>'");
	r.type = (enum record_type)type.p[0];
	r.id = word(&header);
	r.ts_ns = digits(word(&header));
	r.latency_ns = digits(word(&header));
	r.payload = span_of(nl + 1, len - (size_t)(nl + 1 - bytes));
	*ret = r;
	return SC_OK;
}

/* -- responses ------------------------------------------------------------------------------ */

static int add_chunked(struct buf *out, const struct message *m)
{
	int rc = SC_OK;

	if (m->body.len) {
		rc = buf_addf(out, "%zx\r\n", m->body.len);
		if (!rc)
			rc = buf_add_span(out, buf_span(&m->body));
		if (!rc)
			rc = buf_add_str(out, "\r\n");
	}
	if (!rc)
		rc = buf_add_str(out, "0\r\n");
	if (!rc)
		rc = buf_add(out, m->trailer, m->trailer_len);
	return rc ? rc : buf_add_str(out, "\r\n");
}

int record_add_response(struct buf *out, const struct message *m)
{
	int rc = buf_add(out, m->head, m->head_len);

	if (rc)
		return rc;
	/* The answer to HEAD has the field and no chunks. */
	if ((m->flags & MESSAGE_CHUNKED) != 0)
		return add_chunked(out, m);
	return buf_add_span(out, buf_span(&m->body));
}

/* -- requests ------------------------------------------------------------------------------- */

/* The next line with its end; empty when there is none. */
static struct span next_line(struct span *rest)
{
	const uint8_t *nl = memchr(rest->p, '\n', rest->len);
	struct span line = span_of(rest->p, nl ? (size_t)(nl + 1 - rest->p) : 0);

	*rest = span_of(rest->p + line.len, rest->len - line.len);
	return line;
}

static bool blank(struct span line)
{
	return line.len == 1 || (line.len == 2 && line.p[0] == '\r');
}

static bool is_echo(struct span rest)
{
	return rest.len == 1 && rest.p[0] == '\n';
}

/* chunk-size [chunk-ext] CRLF (RFC 9112, 7.1) */
static int chunk_size(struct span line, uint64_t *ret)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < line.len && hex_value(line.p[i]) >= 0; i++) {
		if (size >> 32)
			return SC_EPROTO;
		size = size << 4 | (uint64_t)hex_value(line.p[i]);
	}
	if (i == 0 || i == line.len || !memchr("; \t\r\n", line.p[i], 5))
		return SC_EPROTO;
	*ret = size;
	return SC_OK;
}

static int read_chunk(struct message *m, struct span *rest, uint64_t *ret_size)
{
	struct span line = next_line(rest);
	struct span end = chunk_line_end(line);
	int rc = chunk_size(line, ret_size);

	if (!rc)
		rc = buf_add_span(&m->chunk_lines, line);
	if (rc || *ret_size == 0)
		return rc;
	if (rest->len < *ret_size)
		return SC_EPROTO;
	rc = buf_add(&m->body, rest->p, (size_t)*ret_size);
	*rest = span_of(rest->p + *ret_size, rest->len - (size_t)*ret_size);
	if (rc)
		return rc;
	/* Ends as its size line does; a size that is one short would pass for a bare LF otherwise. */
	return span_eq(next_line(rest), end) ? SC_OK : SC_EPROTO;
}

static int read_trailers(struct message *m, struct span *rest)
{
	const uint8_t *from = rest->p;
	struct span line = next_line(rest);
	uint32_t len;
	int rc;

	while (line.len && !blank(line))
		line = next_line(rest);
	if (!line.len)
		return SC_EPROTO;
	if (line.p - from > LIMIT_TRAILER_BYTES)
		return SC_EFULL;
	len = (uint32_t)(line.p - from);
	rc = buf_add(&m->chunk_lines, from, len);
	return rc || !len ? rc : message_set_trailer(m, from, len, NULL, 0);
}

static int read_chunked(struct message *m, struct span payload)
{
	struct span rest = payload;
	uint64_t size = 1;
	int rc = SC_OK;

	while (!rc && size)
		rc = read_chunk(m, &rest, &size);
	if (!rc)
		rc = read_trailers(m, &rest);
	if (!rc && rest.len && !is_echo(rest))
		rc = SC_EPROTO;
	if (rc != SC_EPROTO)
		return rc;
	/* Somebody put another body there: it goes out as one chunk. */
	buf_clear(&m->body);
	buf_clear(&m->chunk_lines);
	rc = m->trailer_len ? message_set_trailer(m, NULL, 0, NULL, 0) : SC_OK;
	return rc ? rc : buf_add_span(&m->body, payload);
}

static int set_length(struct message *m, size_t len)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%zu", len);

	return message_set_field(m, span_str("Content-Length"), span_of(text, (size_t)n));
}

static int read_counted(struct message *m, struct span rest)
{
	int i = message_find(m, "Content-Length", 0);
	struct span value = i < 0 ? span_str("0") : message_value(m, (uint32_t)i);
	uint64_t said = (uint64_t)digits(value);
	int rc;

	if (rest.len && said == rest.len - 1 && rest.p[rest.len - 1] == '\n')
		rest.len--;
	rc = buf_add_span(&m->body, rest);
	if (rc || (i < 0 && !rest.len))
		return rc;
	/* "+3" and the like are 0 here, which no body agrees with; an empty one is said anew. */
	if (i >= 0 && said == rest.len && (said || span_eq(value, span_str("0"))))
		return SC_OK;
	return set_length(m, rest.len);
}

/* As a list (RFC 9110, 5.6.1) whose last coding decides (RFC 9112, 6.3). */
static bool chunked(const struct message *m)
{
	for (int i = message_find(m, "Transfer-Encoding", 0); i >= 0;
	     i = message_find(m, "Transfer-Encoding", (uint32_t)i + 1)) {
		struct span v = message_value(m, (uint32_t)i);

		if (v.len >= 7 && span_case_eq(span_of(v.p + v.len - 7, 7), span_str("chunked")))
			return true;
	}
	return false;
}

/* Start line to blank line. */
static int split_head(struct span payload, struct buf *head, struct span *ret_rest)
{
	struct span rest = payload, line = next_line(&rest);
	size_t len;
	int rc;

	while (line.len && !blank(line))
		line = next_line(&rest);
	if (line.len) {
		*ret_rest = rest;
		return buf_add(head, payload.p, payload.len - rest.len);
	}
	/* A shell took the line ends off. */
	for (len = payload.len; len; len--) {
		if (payload.p[len - 1] != '\r' && payload.p[len - 1] != '\n')
			break;
	}
	*ret_rest = span_of(payload.p + payload.len, 0);
	rc = buf_add(head, payload.p, len);
	return rc ? rc : buf_add_str(head, "\r\n\r\n");
}

int record_request(struct span payload, struct message **ret)
{
	struct message *m = NULL;
	struct span rest;
	struct buf head;
	int rc;

	buf_init(&head, LIMIT_HEAD_BYTES);
	rc = split_head(payload, &head, &rest);
	if (!rc)
		rc = message_parse(head.data, head.len, LIMIT_MIDDLEWARE_RECORD, &m);
	buf_done(&head);
	if (rc)
		return rc;
	if (m->status || m->major == 0)
		rc = SC_EPROTO;
	else
		rc = chunked(m) ? read_chunked(m, rest) : read_counted(m, rest);
	if (rc) {
		message_free(m);
		return rc;
	}
	m->body_size = m->body.len;
	*ret = m;
	return SC_OK;
}
