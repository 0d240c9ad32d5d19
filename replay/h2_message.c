/* SPDX-License-Identifier: Apache-2.0 */
/* Requests taken apart, answers put together. What HTTP/2 has no place for goes; everything else
 * stays in its order, duplicates included. */
#include "h2_message.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

/* libcurl makes :authority of Host, and content-length of the body's length. */
static const char *const hop_by_hop[] = {
	"Connection", "Keep-Alive",	"Proxy-Connection", "Transfer-Encoding",
	"Upgrade",    "HTTP2-Settings", "Content-Length",
};

/* What libcurl would add where the recording has none. */
static const char *const added[] = {"Accept", "Content-Type", "User-Agent"};

/* Up to and with the blank line; 0: there is none. */
static size_t head_len(const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const uint8_t *nl = memchr(p + at, '\n', len - at);
		size_t line = nl ? (size_t)(nl - (p + at)) : len;

		if (!nl)
			return 0;
		if (line == 0 || (line == 1 && p[at] == '\r'))
			return at + line + 1;
		at += line + 1;
	}
	return 0;
}

/* Whether a list field has the token, whatever its case. */
static bool list_has(struct span list, struct span token)
{
	while (list.len) {
		const uint8_t *comma = memchr(list.p, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.p) : list.len;
		struct span item = span_of(list.p, len);

		while (item.len && (*item.p == ' ' || *item.p == '\t'))
			item = span_of(item.p + 1, item.len - 1);
		while (item.len && (item.p[item.len - 1] == ' ' || item.p[item.len - 1] == '\t'))
			item.len--;
		if (span_case_eq(item, token))
			return true;
		list = span_of(list.p + len + (comma != NULL), list.len - len - (comma != NULL));
	}
	return false;
}

static bool field_has(const struct message *m, const char *name, struct span token)
{
	for (int i = message_find(m, name, 0); i >= 0; i = message_find(m, name, (uint32_t)i + 1)) {
		if (list_has(message_value(m, (uint32_t)i), token))
			return true;
	}
	return false;
}

static bool goes_out(const struct message *m, uint32_t i)
{
	struct span name = message_name(m, i);

	for (size_t k = 0; k < sizeof(hop_by_hop) / sizeof(hop_by_hop[0]); k++) {
		if (span_case_eq(name, span_str(hop_by_hop[k])))
			return false;
	}
	/* "trailers" is the one thing TE may still say. */
	if (span_case_eq(name, span_str("TE")))
		return span_case_eq(message_value(m, i), span_str("trailers"));
	return !field_has(m, "Connection", name);
}

static char *copy(struct span s)
{
	char *text = malloc(s.len + 1);

	if (!text)
		return NULL;
	if (s.len)
		memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	return text;
}

static int append(struct curl_slist **list, const char *line)
{
	struct curl_slist *grown = curl_slist_append(*list, line);

	if (!grown)
		return SC_ENOMEM;
	*list = grown;
	return SC_OK;
}

/* "Name: value", or "Name;" where the value is empty, as libcurl has it. */
static int append_field(struct curl_slist **list, const struct message *m, uint32_t i)
{
	struct span value = message_value(m, i);
	struct buf line;
	int rc;

	buf_init(&line, LIMIT_HEAD_BYTES + 4);
	rc = buf_add_span(&line, message_name(m, i));
	if (!rc)
		rc = buf_add_str(&line, value.len ? ": " : ";");
	if (!rc)
		rc = buf_add_span(&line, value);
	/* A folded value goes on one line (RFC 9112, 5.2). */
	for (size_t k = 0; k < line.len; k++) {
		if (line.data[k] == '\r' || line.data[k] == '\n' || line.data[k] == '\0')
			line.data[k] = ' ';
	}
	if (!rc)
		rc = buf_add(&line, "", 1);
	if (!rc)
		rc = append(list, (const char *)line.data);
	buf_done(&line);
	return rc;
}

static int make_headers(const struct message *m, struct h2_request *r)
{
	int rc = SC_OK;

	for (uint32_t i = 0; i < m->n_fields && !rc; i++) {
		if (goes_out(m, i))
			rc = append_field(&r->headers, m, i);
	}
	for (size_t k = 0; k < sizeof(added) / sizeof(added[0]) && !rc; k++) {
		char line[32];

		if (message_find(m, added[k], 0) >= 0)
			continue;
		snprintf(line, sizeof(line), "%s:", added[k]);
		rc = append(&r->headers, line);
	}
	return rc;
}

/* :path has the path and the query, or "*"; the authority is Host's or the target's own. */
static int make_target(const struct message *m, struct h2_request *r)
{
	struct target t;
	struct buf path;
	int rc;

	target_split(message_target(m), &t);
	buf_init(&path, LIMIT_HEAD_BYTES);
	rc = buf_add_span(&path, t.path);
	if (!rc && t.query.p)
		rc = buf_add_str(&path, "?");
	if (!rc && t.query.p)
		rc = buf_add_span(&path, t.query);
	if (!rc)
		rc = buf_add(&path, "", 1);
	if (rc) {
		buf_done(&path);
		return rc;
	}
	r->target = (char *)buf_steal(&path);
	return SC_OK;
}

/* The size that a chunk-size line says (RFC 9112, 7.1); false: none. */
static bool chunk_size(struct span line, size_t *ret)
{
	size_t size = 0, i = 0;

	while (i < line.len && (line.p[i] == ' ' || line.p[i] == '\t'))
		i++;
	if (i == line.len || !strchr("0123456789abcdefABCDEF", line.p[i]) || !line.p[i])
		return false;
	for (; i < line.len; i++) {
		uint8_t c = line.p[i] | 0x20;

		if (c >= '0' && c <= '9')
			c = (uint8_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			c = (uint8_t)(c - 'a' + 10);
		else
			break;
		if (size >> 59)
			return false;
		size = size << 4 | c;
	}
	*ret = size;
	return true;
}

static int dechunk(struct span in, struct buf *out)
{
	for (;;) {
		const uint8_t *nl = in.len ? memchr(in.p, '\n', in.len) : NULL;
		size_t line = nl ? (size_t)(nl - in.p) + 1 : 0, size;
		int rc;

		if (!nl || !chunk_size(span_of(in.p, line), &size) || size > in.len - line)
			return SC_EPROTO;
		if (size == 0)
			return SC_OK;
		rc = buf_add(out, in.p + line, size);
		if (rc)
			return rc;
		in = span_of(in.p + line + size, in.len - line - size);
		if (in.len && in.p[0] == '\r')
			in = span_of(in.p + 1, in.len - 1);
		if (in.len && in.p[0] == '\n')
			in = span_of(in.p + 1, in.len - 1);
	}
}

static int make_body(const struct message *m, struct span bytes, struct h2_request *r)
{
	bool chunked = field_has(m, "Transfer-Encoding", span_str("chunked"));

	buf_init(&r->body, bytes.len);
	r->has_body = chunked || bytes.len || message_find(m, "Content-Length", 0) >= 0;
	return chunked ? dechunk(bytes, &r->body) : buf_add(&r->body, bytes.p, bytes.len);
}

int h2_request_make(const struct shot *shot, struct h2_request *ret)
{
	struct h2_request r = {.head = shot->head};
	struct message *m = NULL;
	size_t head = head_len(shot->bytes, shot->len);
	int rc = head ? message_parse(shot->bytes, head, 0, &m) : SC_EPROTO;

	if (rc)
		return rc;
	r.method = copy(message_method(m));
	rc = r.method && m->status == 0 ? make_target(m, &r) : SC_ENOMEM;
	if (!rc)
		rc = make_headers(m, &r);
	if (!rc)
		rc = make_body(m, span_of(shot->bytes + head, shot->len - head), &r);
	message_free(m);
	if (rc) {
		h2_request_done(&r);
		return rc;
	}
	*ret = r; /* moved */
	return SC_OK;
}

void h2_request_done(struct h2_request *r)
{
	free(r->method);
	free(r->target);
	curl_slist_free_all(r->headers);
	buf_done(&r->body);
	*r = (struct h2_request){.method = NULL};
}

void h2_answer_init(struct h2_answer *a, bool full, size_t body_max, struct body_room *room)
{
	*a = (struct h2_answer){.full = full};
	buf_init(&a->head, LIMIT_HEAD_BYTES);
	buf_init(&a->trailer, LIMIT_TRAILER_BYTES);
	kept_init(&a->body, body_max, room);
}

void h2_answer_clear(struct h2_answer *a)
{
	buf_clear(&a->head);
	buf_clear(&a->trailer);
	kept_clear(&a->body);
	a->body_size = 0;
	a->status = 0;
	a->n_interim = 0;
	a->head_done = false;
}

void h2_answer_done(struct h2_answer *a)
{
	buf_done(&a->head);
	buf_done(&a->trailer);
	kept_done(&a->body);
}

/* "HTTP/2 200 \r\n", of an interim answer too. */
static int begin_head(struct h2_answer *a, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	unsigned status = 0;

	for (const char *p = space ? space + 1 : line + len;
	     p < line + len && *p >= '0' && *p <= '9' && status < 1000; p++)
		status = status * 10 + (unsigned)(*p - '0');
	a->status = (uint16_t)status;
	buf_clear(&a->head);
	return status / 100 == 1 && ++a->n_interim > LIMIT_INTERIM ? SC_EFULL : SC_OK;
}

int h2_answer_line(struct h2_answer *a, const char *line, size_t len)
{
	bool blank = len == 0 || line[0] == '\r' || line[0] == '\n';

	if (!a->head_done && len > 5 && strncmp(line, "HTTP/", 5) == 0)
		return begin_head(a, line, len);
	if (blank) {
		a->head_done = a->head_done || a->status / 100 != 1;
		return SC_OK;
	}
	return buf_add(a->head_done ? &a->trailer : &a->head, line, len);
}

int h2_answer_body(struct h2_answer *a, const void *p, size_t len)
{
	a->body_size += len;
	return a->full ? kept_add(&a->body, p, len) : SC_OK;
}

static struct span trimmed(const uint8_t *p, const uint8_t *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (p < end && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
		end--;
	return span_of(p, (size_t)(end - p));
}

/* The lines of a block as names and values; SC_EFULL for more than there may be. */
static int index_lines(const struct buf *block, struct header *headers, uint32_t *ret_n)
{
	const uint8_t *p = block->data, *end = block->data + block->len;
	uint32_t n = 0;

	while (p < end) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		const uint8_t *stop = nl ? nl + 1 : end;
		const uint8_t *colon = memchr(p, ':', (size_t)(stop - p));

		if (!colon)
			return SC_EPROTO;
		if (n == LIMIT_FIELDS)
			return SC_EFULL;
		headers[n++] =
			(struct header){span_of(p, (size_t)(colon - p)), trimmed(colon + 1, stop)};
		p = stop;
	}
	*ret_n = n;
	return SC_OK;
}

static struct slice slice_in(const struct buf *block, struct span s)
{
	return (struct slice){(uint32_t)(s.p - block->data), (uint32_t)s.len};
}

static int set_trailer(struct h2_answer *a, struct header *headers, struct message *m)
{
	struct field *fields;
	uint32_t n = 0;
	int rc = index_lines(&a->trailer, headers, &n);

	if (rc || n == 0)
		return rc;
	fields = calloc(n, sizeof(*fields));
	if (!fields)
		return SC_ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		fields[i].name = slice_in(&a->trailer, headers[i].name);
		fields[i].value = slice_in(&a->trailer, headers[i].value);
	}
	rc = message_set_trailer(m, a->trailer.data, (uint32_t)a->trailer.len, fields, n);
	free(fields);
	return rc;
}

static int take_full(struct h2_answer *a, struct message **ret)
{
	struct header *headers = calloc(LIMIT_FIELDS, sizeof(*headers));
	struct message *m = NULL;
	uint32_t n = 0;
	int rc = headers ? index_lines(&a->head, headers, &n) : SC_ENOMEM;

	if (!rc)
		rc = message_build_response(a->status, span_str(""), span_str("1.1"), headers, n,
					    a->body.buf.max, &m);
	if (!rc)
		rc = set_trailer(a, headers, m);
	free(headers);
	if (rc) {
		message_free(m);
		return rc;
	}
	buf_done(&m->body);
	kept_move(&a->body, &m->body);
	*ret = m;
	return SC_OK;
}

int h2_answer_take(struct h2_answer *a, struct message **ret)
{
	struct message *m = NULL;
	int rc;

	if (a->status < 200 || a->status > 999)
		return SC_EPROTO;
	rc = a->full ? take_full(a, &m) : message_new((const uint8_t *)"", 0, NULL, 0, 0, &m);
	if (rc)
		return rc;
	m->status = a->status;
	m->major = 2;
	m->minor = 0;
	m->flags = (uint16_t)((a->full ? 0 : MESSAGE_UNKEPT) | (a->body.cut ? MESSAGE_CAPPED : 0));
	m->body_size = a->body_size;
	*ret = m;
	return SC_OK;
}
