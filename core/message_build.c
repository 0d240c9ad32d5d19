/* SPDX-License-Identifier: Apache-2.0 */
/* Heads out of parts. What is put together is read again by the parser, so that a message is never
 * what its head does not say; only parts that cannot be misread are spared that. */
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "message_private.h"

#define SLACK 64u /* for a Host that gets longer, in place */

static int build(struct buf *head, const struct header *headers, uint32_t n, size_t body_max,
		 struct message **ret)
{
	int rc = buf_add_str(head, "\r\n");

	for (uint32_t i = 0; i < n && !rc; i++) {
		rc = buf_add_span(head, headers[i].name);
		if (!rc)
			rc = buf_add_str(head, ": ");
		if (!rc)
			rc = buf_add_span(head, headers[i].value);
		if (!rc)
			rc = buf_add_str(head, "\r\n");
	}
	if (!rc)
		rc = buf_add_str(head, "\r\n");
	if (!rc)
		rc = message_parse(head->data, head->len, body_max, ret);
	buf_done(head);
	return rc;
}

/* Bytes of the field lines, and of the lines' ends around them: so that a head grows once. */
static size_t fields_room(const struct header *headers, uint32_t n)
{
	size_t room = 4;

	for (uint32_t i = 0; i < n; i++)
		room += headers[i].name.len + headers[i].value.len + 4;
	return room;
}

static const char *wire_version(struct span version)
{
	return span_eq(version, span_str("1.0")) ? "1.0" : "1.1";
}

int message_build_request(struct span method, struct span target, struct span version,
			  const struct header *headers, uint32_t n, size_t body_max,
			  struct message **ret)
{
	struct buf head;
	int rc;

	buf_init(&head, LIMIT_HEAD_BYTES);
	rc = buf_reserve(&head, method.len + target.len + 10 + fields_room(headers, n));
	if (!rc)
		rc = buf_add_span(&head, method);
	if (!rc)
		rc = buf_add_str(&head, " ");
	if (!rc)
		rc = buf_add_span(&head, target);
	if (!rc)
		rc = buf_add_str(&head, " HTTP/");
	if (!rc)
		rc = buf_add_str(&head, wire_version(version));
	if (rc) {
		buf_done(&head);
		return rc;
	}
	return build(&head, headers, n, body_max, ret);
}

int message_build_response(uint16_t status, struct span reason, struct span version,
			   const struct header *headers, uint32_t n, size_t body_max,
			   struct message **ret)
{
	struct buf head;
	int rc;

	buf_init(&head, LIMIT_HEAD_BYTES);
	rc = buf_addf(&head, "HTTP/%s %03u ", wire_version(version), status);
	if (!rc)
		rc = buf_add_span(&head, reason);
	if (rc) {
		buf_done(&head);
		return rc;
	}
	return build(&head, headers, n, body_max, ret);
}

/* --- lines made once ----------------------------------------------------------------------- */

/* RFC 9110, 5.6.2 */
static bool is_token(struct span s)
{
	static const uint32_t chars[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};

	for (size_t i = 0; i < s.len; i++) {
		if (!(chars[s.p[i] >> 5] >> (s.p[i] & 31) & 1))
			return false;
	}
	return s.len > 0;
}

static bool is_white(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_plain_value(struct span s)
{
	return s.len == 0 || (!is_white(s.p[0]) && !is_white(s.p[s.len - 1]) &&
			      !memchr(s.p, '\n', s.len) && !memchr(s.p, '\r', s.len));
}

/* Without the bytes that end it, or that an older reader would take for its end. */
static bool is_plain_target(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] <= ' ' || s.p[i] == 0x7f)
			return false;
	}
	return s.len > 0;
}

void field_lines_init(struct field_lines *l)
{
	*l = (struct field_lines){.n = 0};
	buf_init(&l->bytes, LIMIT_HEAD_BYTES);
}

void field_lines_done(struct field_lines *l)
{
	buf_done(&l->bytes);
	free(l->fields);
	l->fields = NULL;
}

static int add_line(struct field_lines *l, const struct header *h)
{
	uint32_t at = (uint32_t)l->bytes.len;
	uint8_t *p;

	if (!is_token(h->name) || !is_plain_value(h->value))
		return SC_EPROTO;
	if (buf_reserve(&l->bytes, h->name.len + h->value.len + 4))
		return SC_EFULL;
	p = l->bytes.data + at;
	memcpy(p, h->name.p, h->name.len);
	p += h->name.len;
	memcpy(p, ": ", 2);
	if (h->value.len)
		memcpy(p + 2, h->value.p, h->value.len);
	memcpy(p + 2 + h->value.len, "\r\n", 2);
	l->bytes.len += h->name.len + h->value.len + 4;
	l->fields[l->n].name = (struct slice){at, (uint32_t)h->name.len};
	l->fields[l->n++].value =
		(struct slice){at + (uint32_t)h->name.len + 2, (uint32_t)h->value.len};
	return SC_OK;
}

int field_lines_set(struct field_lines *l, const struct header *headers, uint32_t n)
{
	int rc = n > LIMIT_FIELDS ? SC_EFULL : SC_OK;

	buf_clear(&l->bytes);
	l->n = 0;
	if (!rc && n > l->room) {
		struct field *grown = realloc(l->fields, n * sizeof(*grown));

		if (!grown)
			return SC_ENOMEM;
		l->fields = grown;
		l->room = n;
	}
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = add_line(l, &headers[i]);
	if (rc) {
		buf_clear(&l->bytes);
		l->n = 0;
	}
	return rc;
}

static uint8_t *put(uint8_t *to, const void *p, size_t len)
{
	if (len)
		memcpy(to, p, len);
	return to + len;
}

int message_build_with(struct span method, struct span target, struct span version,
		       const struct field_lines *lines, size_t body_max, struct message **ret)
{
	/* "METHOD target HTTP/1.1" CRLF, the lines, CRLF */
	size_t start = method.len + 1 + target.len + strlen(" HTTP/1.1\r\n");
	size_t len = start + lines->bytes.len + 2;
	struct message *m;
	uint8_t *to;

	if (!is_token(method) || !is_plain_target(target))
		return SC_EPROTO;
	if (len > LIMIT_HEAD_BYTES)
		return SC_EFULL;
	m = message_alloc((uint32_t)len + SLACK, lines->n, body_max);
	if (!m)
		return SC_ENOMEM;
	to = put(m->head, method.p, method.len);
	*to++ = ' ';
	to = put(to, target.p, target.len);
	to = put(to, " HTTP/1.", 8);
	m->major = 1;
	m->minor = wire_version(version)[2] == '1';
	*to++ = (uint8_t)('0' + m->minor);
	to = put(to, "\r\n", 2);
	to = put(to, lines->bytes.data, lines->bytes.len);
	to = put(to, "\r\n", 2);
	m->head_len = (uint32_t)(to - m->head);
	m->method = (struct slice){0, (uint32_t)method.len};
	m->target = (struct slice){(uint32_t)method.len + 1, (uint32_t)target.len};
	for (uint32_t i = 0; i < lines->n; i++) {
		m->fields[i] = lines->fields[i];
		m->fields[i].name.off += (uint32_t)start;
		m->fields[i].value.off += (uint32_t)start;
	}
	m->n_fields = lines->n;
	*ret = m;
	return SC_OK;
}
