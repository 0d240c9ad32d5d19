/* SPDX-License-Identifier: Apache-2.0 */
/* One head, whole in memory, to a message. */
#include "head.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

/* Behind the status code of a status line (RFC 9112, 4). */
#define STATUS_END 12u

struct head_scratch {
	llhttp_t parser; /* data points here */
	const uint8_t *base;
	struct message start; /* slices of the start line */
	struct field fields[LIMIT_FIELDS];
	uint32_t n;
	bool overflow;
};

static struct slice slice_at(const struct head_scratch *hs, const char *at, size_t len)
{
	return (struct slice){(uint32_t)((const uint8_t *)at - hs->base), (uint32_t)len};
}

/* Spans come whole, since the head is fed at once; but an obs-fold gives the value in pieces, which
 * together with what lies between them are the value. */
static void extend(struct slice *s, struct slice more)
{
	if (s->len == 0)
		*s = more;
	else
		s->len = more.off + more.len - s->off;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct head_scratch *hs = p->data;

	extend(&hs->start.target, slice_at(hs, at, len));
	return 0;
}

static int on_status(llhttp_t *p, const char *at, size_t len)
{
	struct head_scratch *hs = p->data;

	extend(&hs->start.reason, slice_at(hs, at, len));
	return 0;
}

static int on_header_field(llhttp_t *p, const char *at, size_t len)
{
	struct head_scratch *hs = p->data;

	if (hs->n == LIMIT_FIELDS) {
		hs->overflow = true;
		return -1;
	}
	hs->fields[hs->n].name = slice_at(hs, at, len);
	hs->fields[hs->n].value = (struct slice){0, 0};
	hs->n++;
	return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t len)
{
	struct head_scratch *hs = p->data;

	extend(&hs->fields[hs->n - 1].value, slice_at(hs, at, len));
	return 0;
}

static int on_headers_complete(llhttp_t *p)
{
	(void)p;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_status = on_status,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
};

struct head_scratch *head_scratch_new(void)
{
	return calloc(1, sizeof(struct head_scratch));
}

void head_scratch_free(struct head_scratch *hs)
{
	free(hs);
}

/* The methods that llhttp takes as they are and that have no rules of their own there. Any other
 * token is read as if it were GET: method tokens are open (RFC 9110, 9.1), llhttp's list is not. */
static bool is_plain_method(struct span m)
{
	static const char *const plain[] = {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS",
					    "PATCH"};

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (span_eq(m, span_str(plain[i])))
			return true;
	}
	return false;
}

static llhttp_errno_t run_llhttp(struct head_scratch *hs, struct span bytes, bool request)
{
	size_t method = 0;
	const uint8_t *sp;

	llhttp_init(&hs->parser, request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	llhttp_set_lenient_headers(&hs->parser, 1);
	llhttp_set_lenient_chunked_length(&hs->parser, 1);
	llhttp_set_lenient_transfer_encoding(&hs->parser, 1);
	hs->parser.data = hs;
	hs->base = bytes.p;
	hs->n = 0;
	hs->overflow = false;
	hs->start = (struct message){0};
	if (request) {
		sp = memchr(bytes.p, ' ', bytes.len);
		method = sp ? (size_t)(sp - bytes.p) : 0;
		hs->start.method = (struct slice){0, (uint32_t)method};
		if (method && !is_plain_method(span_of(bytes.p, method))) {
			llhttp_errno_t rc = llhttp_execute(&hs->parser, "GET", 3);

			if (rc != HPE_OK)
				return rc;
		} else {
			method = 0;
		}
	}
	return llhttp_execute(&hs->parser, (const char *)bytes.p + method, bytes.len - method);
}

/* Behind the blank line, or 0 when there is none. */
static size_t head_end(struct span s)
{
	const uint8_t *p = s.p, *end = s.p + s.len;

	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p < end && *p == '\n')
			return (size_t)(p + 1 - s.p);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (size_t)(p + 2 - s.p);
	}
	return 0;
}

static int lenient(struct span bytes, bool request, size_t body_max, struct message **ret,
		   size_t *ret_len)
{
	size_t len = head_end(bytes);
	struct message *m;
	int rc;

	if (!len)
		return bytes.len < LIMIT_HEAD_BYTES ? SC_ETRUNC : SC_EFULL;
	rc = message_parse(bytes.p, len, body_max, &m);
	if (rc)
		return rc;
	if ((m->status == 0) != request) {
		message_free(m);
		return SC_EPROTO;
	}
	*ret = m;
	*ret_len = len;
	return SC_OK;
}

/* llhttp has seen a colon there; white space may stand before it. */
static uint32_t behind_colon(const uint8_t *base, uint32_t at)
{
	while (base[at] != ':')
		at++;
	return at + 1;
}

/* Values without the white space around them; empty ones stand right behind their colon. */
static void tidy_fields(struct head_scratch *hs)
{
	for (uint32_t i = 0; i < hs->n; i++) {
		struct field *f = &hs->fields[i];

		while (f->name.len && (hs->base[f->name.off + f->name.len - 1] == ' ' ||
				       hs->base[f->name.off + f->name.len - 1] == '\t'))
			f->name.len--;
		while (f->value.len && (hs->base[f->value.off + f->value.len - 1] == ' ' ||
					hs->base[f->value.off + f->value.len - 1] == '\t'))
			f->value.len--;
		if (f->value.len == 0)
			f->value.off = behind_colon(hs->base, f->name.off + f->name.len);
	}
}

/* A bare CR inside the start line (RFC 9112, 2.2): nobody agrees on what such a line says. */
static bool start_line_has_cr(struct span head)
{
	const uint8_t *nl = memchr(head.p, '\n', head.len);
	const uint8_t *cr = nl ? memchr(head.p, '\r', (size_t)(nl - head.p)) : NULL;

	return cr && cr + 1 != nl;
}

/* "HTTP/1.1 200" and no digit more. llhttp takes fewer, and none at all. */
static bool has_status(struct span head)
{
	for (size_t i = STATUS_END - 3; i <= STATUS_END; i++) {
		if (i >= head.len || (head.p[i] >= '0' && head.p[i] <= '9') != (i < STATUS_END))
			return false;
	}
	return memcmp(head.p + STATUS_END - 3, "000", 3) != 0; /* 0 is what a request has */
}

int head_parse(struct head_scratch *hs, struct span bytes, bool request, size_t body_max,
	       struct message **ret, size_t *ret_len)
{
	llhttp_errno_t code;
	struct message *m;
	size_t len;
	int rc;

	if (start_line_has_cr(bytes))
		return SC_EPROTO;
	code = run_llhttp(hs, bytes, request);
	if (code == HPE_OK)
		return bytes.len < LIMIT_HEAD_BYTES ? SC_ETRUNC : SC_EFULL;
	if (hs->overflow)
		return SC_EFULL;
	if (code != HPE_PAUSED)
		return lenient(bytes, request, body_max, ret, ret_len);
	len = (size_t)((const uint8_t *)llhttp_get_error_pos(&hs->parser) - bytes.p);
	if (len > LIMIT_HEAD_BYTES)
		return SC_EFULL;
	/* llhttp ends a head at a bare CR too, which nobody else does. */
	if (len < 2 || bytes.p[len - 1] != '\n')
		return lenient(bytes, request, body_max, ret, ret_len);
	if (!request && !has_status(span_of(bytes.p, len)))
		return lenient(bytes, request, body_max, ret, ret_len);
	tidy_fields(hs);
	rc = message_new(bytes.p, (uint32_t)len, hs->fields, hs->n, body_max, &m);
	if (rc)
		return rc;
	m->method = hs->start.method;
	m->target = hs->start.target;
	m->reason = hs->start.reason;
	m->status = request ? 0 : hs->parser.status_code;
	m->major = hs->parser.http_major;
	m->minor = hs->parser.http_minor;
	if (!request && m->reason.len == 0)
		m->reason.off = STATUS_END + (m->head[STATUS_END] == ' ');
	*ret = m;
	*ret_len = len;
	return SC_OK;
}

/* The number at the beginning: a list of equal ones is allowed (RFC 9112, 6.3, 5), and what else may
 * stand behind it most recipients do not look at. */
static bool parse_length(struct span v, uint64_t *ret)
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < v.len && v.p[i] >= '0' && v.p[i] <= '9'; i++) {
		if (n > (UINT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	*ret = n;
	return i > 0 && (i == v.len || v.p[i] == ' ' || v.p[i] == '\t' || v.p[i] == ',');
}

int head_parse_simple(struct span bytes, size_t body_max, struct message **ret, size_t *ret_len)
{
	const uint8_t *nl = memchr(bytes.p, '\n', bytes.len);
	size_t len = nl ? (size_t)(nl + 1 - bytes.p) : bytes.len;
	int rc = message_parse(bytes.p, len, body_max, ret);

	if (!rc)
		*ret_len = len;
	return rc;
}

static bool is_list_char(uint8_t c)
{
	return c == ' ' || c == '\t' || c == ',' || c == ';' || c == ':' || c == '"' || c == '\'';
}

/* Whether the last coding of the list is chunked; stray punctuation around it passes. */
static bool ends_in_chunked(struct span v)
{
	size_t start;

	while (v.len && is_list_char(v.p[v.len - 1]))
		v.len--;
	for (start = v.len; start > 0 && !is_list_char(v.p[start - 1]); start--)
		;
	return span_case_eq(span_of(v.p + start, v.len - start), span_str("chunked"));
}

enum framing head_framing(const struct message *m, uint64_t *ret_len)
{
	bool response = m->status != 0;
	bool coded = false, chunked = false, sized = false;
	uint64_t len = 0;

	if (response && (m->status / 100 == 1 || m->status == 204 || m->status == 304))
		return FRAMING_NONE;
	for (uint32_t i = 0; i < m->n_fields; i++) {
		struct span name = message_name(m, i);

		if (name.len == 14 && span_case_eq(name, span_str("Content-Length"))) {
			uint64_t n;

			/* Two that differ: the first, as most servers do. */
			if (!sized && parse_length(message_value(m, i), &n)) {
				len = n;
				sized = true;
			}
		} else if (name.len == 17 && span_case_eq(name, span_str("Transfer-Encoding"))) {
			coded = true;
			chunked = ends_in_chunked(message_value(m, i));
		}
	}
	if (chunked)
		return FRAMING_CHUNKED;
	if (coded && response)
		return FRAMING_TO_END;
	if (sized && len == 0)
		return FRAMING_NONE;
	if (sized) {
		*ret_len = len;
		return FRAMING_FIXED;
	}
	return response ? FRAMING_TO_END : FRAMING_NONE;
}
