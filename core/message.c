/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1 message. Holds and edits heads; does not frame bodies and knows no stream. */
#include "core/message.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "message_private.h"

/* Struct, index and head of a message from the wire are one allocation: most are never edited. */
static uint8_t *inline_head(const struct message *m)
{
	return (uint8_t *)(uintptr_t)(m + 1);
}

static struct field *inline_fields(const struct message *m)
{
	size_t at = (m->head_room + _Alignof(struct field) - 1) & ~(_Alignof(struct field) - 1);

	return (struct field *)(uintptr_t)((const uint8_t *)(m + 1) + at);
}

struct message *message_alloc(uint32_t head_room, uint32_t fields_room, size_t body_max)
{
	size_t bytes = sizeof(struct message) + head_room + _Alignof(struct field) +
		       fields_room * sizeof(struct field);
	struct message *m = malloc(bytes);

	if (!m)
		return NULL;
	*m = (struct message){.head_room = head_room};
	m->head = inline_head(m);
	m->fields = inline_fields(m);
	buf_init(&m->body, body_max);
	buf_init(&m->chunk_lines, LIMIT_CHUNK_LINES + LIMIT_TRAILER_BYTES);
	return m;
}

int message_new(const uint8_t *head, uint32_t head_len, const struct field *fields,
		uint32_t n_fields, size_t body_max, struct message **ret)
{
	struct message *m = message_alloc(head_len, n_fields, body_max);

	if (!m)
		return SC_ENOMEM;
	memcpy(m->head, head, head_len);
	m->head_len = head_len;
	if (n_fields)
		memcpy(m->fields, fields, n_fields * sizeof(*fields));
	m->n_fields = n_fields;
	*ret = m;
	return SC_OK;
}

void message_free(struct message *m)
{
	if (!m)
		return;
	/* Edits move head and fields out of the common allocation, always both. */
	if (m->head != inline_head(m)) {
		free(m->head);
		free(m->fields);
	}
	buf_done(&m->body);
	buf_done(&m->chunk_lines);
	free(m->trailer);
	free(m->trailer_fields);
	free(m);
}

size_t message_footprint(const struct message *m)
{
	return sizeof(*m) + m->head_room + m->n_fields * sizeof(*m->fields) + m->body.cap +
	       m->chunk_lines.cap + m->trailer_len +
	       m->n_trailer_fields * sizeof(*m->trailer_fields);
}

static int move_out(struct message *m, uint32_t extra_fields)
{
	uint32_t room = m->n_fields + extra_fields;
	uint8_t *head = NULL;
	struct field *fields = NULL;

	if (m->head != inline_head(m)) {
		if (!extra_fields)
			return SC_OK;
		fields = realloc(m->fields, room * sizeof(*fields));
		if (!fields)
			return SC_ENOMEM;
		m->fields = fields;
		return SC_OK;
	}
	head = malloc(m->head_len + 1u);
	fields = malloc((room + 1u) * sizeof(*fields));
	if (!head || !fields) {
		free(head);
		free(fields);
		return SC_ENOMEM;
	}
	memcpy(head, m->head, m->head_len);
	if (m->n_fields)
		memcpy(fields, m->fields, m->n_fields * sizeof(*fields));
	m->head = head;
	m->head_room = m->head_len + 1u;
	m->fields = fields;
	return SC_OK;
}

static void shift(struct slice *s, uint32_t from, uint32_t delta)
{
	if (s->off >= from && s->off != 0)
		s->off += delta; /* wraps where bytes were taken out */
}

/* Replaces del bytes at off. Slices that begin behind them move along; one that begins at off is
 * the caller's to set. */
static int splice(struct message *m, uint32_t off, uint32_t del, struct span ins)
{
	size_t len = m->head_len - del + ins.len;
	uint32_t tail = m->head_len - off - del;
	uint32_t delta = (uint32_t)ins.len - del;
	uint8_t *head;
	int rc;

	if (len > LIMIT_HEAD_BYTES)
		return SC_EFULL;
	rc = len > m->head_room ? move_out(m, 0) : SC_OK;
	if (rc)
		return rc;
	if (len > m->head_room) {
		head = realloc(m->head, len);
		if (!head)
			return SC_ENOMEM;
		m->head = head;
		m->head_room = (uint32_t)len;
	}
	memmove(m->head + off + ins.len, m->head + off + del, tail);
	if (ins.len)
		memcpy(m->head + off, ins.p, ins.len);
	m->head_len = (uint32_t)len;
	shift(&m->target, off + del, delta);
	shift(&m->reason, off + del, delta);
	for (uint32_t i = 0; i < m->n_fields; i++) {
		shift(&m->fields[i].name, off + del, delta);
		shift(&m->fields[i].value, off + del, delta);
	}
	return SC_OK;
}

/* Where the blank line begins, or 0 when there is none (HTTP/0.9). */
static uint32_t blank_line(const struct message *m)
{
	const uint8_t *h = m->head;
	uint32_t n = m->head_len;

	if (n >= 3 && h[n - 1] == '\n' && h[n - 2] == '\r' && h[n - 3] == '\n')
		return n - 2;
	if (n >= 2 && h[n - 1] == '\n' && h[n - 2] == '\n')
		return n - 1;
	return 0;
}

static uint32_t field_end(const struct message *m, uint32_t i)
{
	uint32_t blank = blank_line(m);

	if (i + 1 < m->n_fields)
		return m->fields[i + 1].name.off;
	/* A head that is not whole, as a damaged store may have one. */
	return blank > m->fields[i].name.off ? blank : m->head_len;
}

int message_set_target(struct message *m, struct span target)
{
	struct slice old = m->target;
	int rc = splice(m, old.off, old.len, target);

	if (!rc)
		m->target = (struct slice){old.off, (uint32_t)target.len};
	return rc;
}

int message_set_value(struct message *m, uint32_t i, struct span value)
{
	struct slice old;
	int rc;

	assert(i < m->n_fields);
	old = m->fields[i].value;
	if (old.len == 0 && value.len && m->head[old.off - 1] == ':') {
		rc = splice(m, old.off, 0, span_str(" "));
		if (rc)
			return rc;
		old.off++;
	}
	rc = splice(m, old.off, old.len, value);
	if (!rc)
		m->fields[i].value = (struct slice){old.off, (uint32_t)value.len};
	return rc;
}

int message_remove_field(struct message *m, uint32_t i)
{
	uint32_t start, end;
	int rc;

	assert(i < m->n_fields);
	start = m->fields[i].name.off;
	end = field_end(m, i);
	rc = splice(m, start, end - start, span_of(NULL, 0));
	if (rc)
		return rc;
	m->n_fields--;
	memmove(m->fields + i, m->fields + i + 1, (m->n_fields - i) * sizeof(*m->fields));
	return SC_OK;
}

int message_add_field(struct message *m, struct span name, struct span value)
{
	uint32_t at = blank_line(m);
	struct buf line;
	struct field *f;
	int rc;

	if (!at || m->n_fields >= LIMIT_FIELDS)
		return at ? SC_EFULL : SC_EPROTO;
	buf_init(&line, LIMIT_HEAD_BYTES);
	rc = buf_add_span(&line, name);
	if (!rc)
		rc = buf_add_str(&line, ": ");
	if (!rc)
		rc = buf_add_span(&line, value);
	if (!rc)
		rc = buf_add_str(&line, "\r\n");
	if (!rc)
		rc = move_out(m, 1);
	if (!rc)
		rc = splice(m, at, 0, buf_span(&line));
	buf_done(&line);
	if (rc)
		return rc;
	f = &m->fields[m->n_fields++];
	f->name = (struct slice){at, (uint32_t)name.len};
	f->value = (struct slice){at + (uint32_t)name.len + 2, (uint32_t)value.len};
	return SC_OK;
}

int message_find(const struct message *m, const char *name, uint32_t from)
{
	size_t len = strlen(name);

	for (uint32_t i = from; i < m->n_fields; i++) {
		if (m->fields[i].name.len == len &&
		    span_case_eq(message_name(m, i), span_of(name, len)))
			return (int)i;
	}
	return -1;
}

static int find_span(const struct message *m, struct span name, uint32_t from)
{
	for (uint32_t i = from; i < m->n_fields; i++) {
		if (span_case_eq(message_name(m, i), name))
			return (int)i;
	}
	return -1;
}

static int remove_from(struct message *m, struct span name, uint32_t from)
{
	int i, rc = SC_OK;

	while (!rc && (i = find_span(m, name, from)) >= 0)
		rc = message_remove_field(m, (uint32_t)i);
	return rc;
}

int message_remove_all(struct message *m, struct span name)
{
	return remove_from(m, name, 0);
}

int message_set_field(struct message *m, struct span name, struct span value)
{
	int i = find_span(m, name, 0);
	int rc;

	if (i < 0)
		return message_add_field(m, name, value);
	rc = message_set_value(m, (uint32_t)i, value);
	return rc ? rc : remove_from(m, name, (uint32_t)i + 1);
}

int message_set_trailer(struct message *m, const uint8_t *bytes, uint32_t len,
			const struct field *fields, uint32_t n)
{
	uint8_t *copy;
	struct field *index;

	if (len > LIMIT_TRAILER_BYTES || n > LIMIT_FIELDS)
		return SC_EFULL;
	copy = malloc(len + 1u);
	index = malloc((n + 1u) * sizeof(*index));
	if (!copy || !index) {
		free(copy);
		free(index);
		return SC_ENOMEM;
	}
	if (len)
		memcpy(copy, bytes, len);
	if (n)
		memcpy(index, fields, n * sizeof(*index));
	free(m->trailer);
	free(m->trailer_fields);
	m->trailer = copy;
	m->trailer_len = len;
	m->trailer_fields = index;
	m->n_trailer_fields = n;
	return SC_OK;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(const uint8_t *head, uint32_t start, uint32_t end)
{
	while (start < end && is_blank(head[start]))
		start++;
	while (end > start && is_blank(head[end - 1]))
		end--;
	return (struct slice){start, end - start};
}

/* Where an offset comes to stand; `at_end`: of a slice, behind what is put there. */
static uint32_t moved(const struct edit *edits, size_t n, uint32_t off, bool at_end)
{
	size_t to = off;

	for (size_t i = 0; i < n && edits[i].off < off + (at_end ? 1u : 0u); i++) {
		const struct edit *e = &edits[i];

		if (e->off + e->del <= off)
			to += e->ins.len - e->del;
		else /* inside what is deleted */
			to -= off - e->off;
	}
	return (uint32_t)to;
}

static struct slice moved_slice(const struct edit *edits, size_t n, struct slice s)
{
	uint32_t start = moved(edits, n, s.off, false);

	return (struct slice){start, moved(edits, n, s.off + s.len, true) - start};
}

static bool deletes(const struct edit *edits, size_t n, struct slice s)
{
	for (size_t i = 0; i < n && edits[i].off <= s.off; i++) {
		if (edits[i].off + edits[i].del >= s.off + (s.len ? s.len : 1u))
			return true;
	}
	return false;
}

static uint8_t *edited(const uint8_t *old, uint32_t old_len, const struct edit *edits, size_t n,
		       size_t max, uint32_t *ret_len, int *ret_rc)
{
	size_t len = old_len, at = 0;
	uint8_t *bytes, *to;

	for (size_t i = 0; i < n; i++) {
		assert(edits[i].off >= at && edits[i].off + edits[i].del <= old_len);
		at = edits[i].off + edits[i].del;
		len += edits[i].ins.len - edits[i].del;
	}
	*ret_rc = len > max ? SC_EFULL : SC_ENOMEM;
	bytes = to = len > max ? NULL : malloc(len + 1);
	if (!bytes)
		return NULL;
	at = 0;
	for (size_t i = 0; i < n; i++) {
		memcpy(to, old + at, edits[i].off - at);
		to += edits[i].off - at;
		if (edits[i].ins.len)
			memcpy(to, edits[i].ins.p, edits[i].ins.len);
		to += edits[i].ins.len;
		at = edits[i].off + edits[i].del;
	}
	memcpy(to, old + at, old_len - at);
	*ret_len = (uint32_t)len;
	return bytes;
}

/* `bytes` are the edited ones. */
static uint32_t moved_fields(struct field *to, const struct field *from, uint32_t n_from,
			     const struct edit *edits, size_t n, const uint8_t *bytes)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n_from; i++) {
		struct slice value = moved_slice(edits, n, from[i].value);

		if (deletes(edits, n, from[i].name))
			continue;
		to[kept].name = moved_slice(edits, n, from[i].name);
		/* Where its end was deleted, white space may have become the end. */
		to[kept++].value = trim(bytes, value.off, value.off + value.len);
	}
	return kept;
}

int message_edit_head(struct message *m, const struct edit *edits, size_t n)
{
	struct field *fields = malloc((m->n_fields + 1u) * sizeof(*fields));
	uint32_t len;
	int rc = SC_ENOMEM;
	uint8_t *head = fields ? edited(m->head, m->head_len, edits, n, LIMIT_HEAD_BYTES, &len, &rc)
			       : NULL;

	if (!head) {
		free(fields);
		return rc;
	}
	m->n_fields = moved_fields(fields, m->fields, m->n_fields, edits, n, head);
	m->method = moved_slice(edits, n, m->method);
	m->target = moved_slice(edits, n, m->target);
	m->reason = moved_slice(edits, n, m->reason);
	explicit_bzero(m->head, m->head_room);
	if (m->head != inline_head(m)) {
		free(m->head);
		free(m->fields);
	}
	m->head = head;
	m->head_len = m->head_room = len;
	m->fields = fields;
	return SC_OK;
}

int message_edit_trailer(struct message *m, const struct edit *edits, size_t n)
{
	uint32_t len;
	int rc;
	uint8_t *trailer = edited(m->trailer, m->trailer_len, edits, n, LIMIT_TRAILER_BYTES, &len,
				  &rc);

	if (!trailer)
		return rc;
	m->n_trailer_fields = moved_fields(m->trailer_fields, m->trailer_fields,
					   m->n_trailer_fields, edits, n, trailer);
	explicit_bzero(m->trailer, m->trailer_len);
	free(m->trailer);
	m->trailer = trailer;
	m->trailer_len = len;
	if (m->chunk_lines.cap)
		explicit_bzero(m->chunk_lines.data, m->chunk_lines.cap);
	buf_clear(&m->chunk_lines);
	return SC_OK;
}

static bool at_is(const struct message *m, uint32_t off, struct span text)
{
	return off <= m->head_len && span_starts(span_of(m->head + off, m->head_len - off), text);
}

static bool start_line_is_canonical(const struct message *m, uint32_t *ret_end)
{
	char text[24];
	struct target t;
	struct span target = message_target(m);
	int n;

	if (m->status) {
		n = snprintf(text, sizeof(text), "HTTP/%u.%u %03u ", m->major, m->minor, m->status);
		*ret_end = m->reason.off + m->reason.len;
		return at_is(m, 0, span_of(text, (size_t)n)) && m->reason.off == (uint32_t)n;
	}
	target_split(target, &t);
	if (t.path.p != target.p || target.len != t.path.len + (t.query.p ? 1 + t.query.len : 0))
		return false; /* absolute form: host, path and query do not tell it */
	n = snprintf(text, sizeof(text), " HTTP/%u.%u", m->major, m->minor);
	*ret_end = m->target.off + m->target.len + (uint32_t)n;
	return m->method.off == 0 && m->target.off == m->method.len + 1 &&
	       m->head[m->method.len] == ' ' &&
	       at_is(m, m->target.off + m->target.len, span_of(text, (size_t)n));
}

bool message_is_canonical(const struct message *m)
{
	uint32_t at;

	if (!start_line_is_canonical(m, &at) || !at_is(m, at, span_str("\r\n")))
		return false;
	at += 2;
	for (uint32_t i = 0; i < m->n_fields; i++) {
		const struct field *f = &m->fields[i];

		if (f->name.off != at || !at_is(m, at + f->name.len, span_str(": ")))
			return false;
		at += f->name.len + 2;
		if (f->value.len && f->value.off != at)
			return false;
		/* A fold inside the value could be kept, but not told apart from a value with CRLF.
		 */
		if (f->value.len && memchr(m->head + at, '\n', f->value.len))
			return false;
		at += f->value.len;
		if (!at_is(m, at, span_str("\r\n")))
			return false;
		at += 2;
	}
	return at_is(m, at, span_str("\r\n")) && at + 2 == m->head_len;
}

/* "HTTP/1.1" at off: its numbers. */
static int parse_version(struct message *m, uint32_t off, uint32_t end)
{
	const uint8_t *v = m->head + off;

	if (end - off < 8 || strncasecmp((const char *)v, "HTTP/", 5) != 0 || v[6] != '.')
		return SC_EPROTO;
	if (v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9')
		return SC_EPROTO;
	m->major = (uint8_t)(v[5] - '0');
	m->minor = (uint8_t)(v[7] - '0');
	return SC_OK;
}

static int parse_status_line(struct message *m, uint32_t end)
{
	uint32_t at = 8;
	unsigned status = 0;

	while (at < end && (m->head[at] == ' ' || m->head[at] == '\t'))
		at++;
	for (int i = 0; i < 3; i++, at++) {
		if (at >= end || m->head[at] < '0' || m->head[at] > '9')
			return SC_EPROTO;
		status = status * 10 + (unsigned)(m->head[at] - '0');
	}
	if (status == 0)
		return SC_EPROTO;
	m->status = (uint16_t)status;
	if (at < end && m->head[at] == ' ')
		at++;
	if (memchr(m->head + at, '\r', end - at))
		return SC_EPROTO;
	m->reason = (struct slice){at, end - at};
	return SC_OK;
}

static int parse_request_line(struct message *m, uint32_t end)
{
	const uint8_t *h = m->head;
	const uint8_t *sp = memchr(h, ' ', end);
	uint32_t at, tail;

	if (!sp || sp == h)
		return SC_EPROTO;
	m->method = (struct slice){0, (uint32_t)(sp - h)};
	for (at = m->method.len; at < end && h[at] == ' '; at++)
		;
	/* The version is what stands behind the last space; a target may hold spaces (RFC 9112, 3.2
	 * forbids it, clients do it). Without one it is HTTP/0.9. */
	for (tail = end; tail > at && h[tail - 1] != ' '; tail--)
		;
	if (tail > at && parse_version(m, tail, end) == SC_OK) {
		while (tail > at && h[tail - 1] == ' ')
			tail--;
		end = tail;
	} else {
		m->minor = 9;
	}
	if (end == at)
		return SC_EPROTO;
	m->target = (struct slice){at, end - at};
	return SC_OK;
}

static uint32_t line_end(const struct message *m, uint32_t at, uint32_t *ret_next)
{
	const uint8_t *nl = memchr(m->head + at, '\n', m->head_len - at);
	uint32_t end = nl ? (uint32_t)(nl - m->head) : m->head_len;

	*ret_next = nl ? end + 1 : end;
	if (end > at && m->head[end - 1] == '\r')
		end--;
	return end;
}

/* The message has room for a field a line, up to LIMIT_FIELDS. */
static int parse_fields(struct message *m, uint32_t at)
{
	bool in_field = false;

	while (at < m->head_len) {
		uint32_t start = at, end = line_end(m, at, &at);
		const uint8_t *colon;
		struct field f;

		if (end == start)
			break;
		if ((m->head[start] == ' ' || m->head[start] == '\t') && m->n_fields) {
			/* obs-fold (RFC 9112, 5.2), of the line before, whatever that is */
			struct slice *v = &m->fields[m->n_fields - 1].value;

			if (in_field)
				*v = trim(m->head, v->off, end);
			continue;
		}
		colon = memchr(m->head + start, ':', end - start);
		in_field = colon;
		if (!colon)
			continue; /* no field; most recipients pass over it */
		f.name = trim(m->head, start, (uint32_t)(colon - m->head));
		f.value = trim(m->head, (uint32_t)(colon - m->head) + 1, end);
		if (m->n_fields >= LIMIT_FIELDS)
			return SC_EFULL;
		m->fields[m->n_fields++] = f;
	}
	return SC_OK;
}

static uint32_t lines_of(const uint8_t *head, size_t len)
{
	const uint8_t *p = head, *end = head + len;
	uint32_t n = 1; /* the last one may have no end */

	while (n < LIMIT_FIELDS && (p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		n++;
	}
	return n;
}

int message_parse(const uint8_t *head, size_t len, size_t body_max, struct message **ret)
{
	struct message *m;
	uint32_t end, next;
	int rc;

	if (len == 0 || len > LIMIT_HEAD_BYTES)
		return len ? SC_EFULL : SC_EPROTO;
	m = message_alloc((uint32_t)len, lines_of(head, len), body_max);
	if (!m)
		return SC_ENOMEM;
	memcpy(m->head, head, len);
	m->head_len = (uint32_t)len;
	end = line_end(m, 0, &next);
	if (parse_version(m, 0, end) == SC_OK)
		rc = parse_status_line(m, end);
	else
		rc = parse_request_line(m, end);
	if (!rc)
		rc = parse_fields(m, next);
	if (rc) {
		message_free(m);
		return rc;
	}
	*ret = m;
	return SC_OK;
}

static struct span cut(struct span *s, size_t n)
{
	struct span head = span_of(s->p, n);

	s->p += n;
	s->len -= n;
	return head;
}

/* How many bytes stand before the first of three characters. */
static size_t span_until(struct span s, uint8_t a, uint8_t b, uint8_t c)
{
	size_t i = 0;

	while (i < s.len && s.p[i] != a && s.p[i] != b && s.p[i] != c)
		i++;
	return i;
}

void target_split(struct span target, struct target *ret)
{
	struct span rest = target;
	size_t colon = span_until(rest, ':', '/', '?');

	*ret = (struct target){0};
	if (colon > 0 && colon + 3 <= rest.len && memcmp(rest.p + colon, "://", 3) == 0) {
		ret->scheme = cut(&rest, colon);
		(void)cut(&rest, 3);
		ret->authority = cut(&rest, span_until(rest, '/', '/', '?'));
	} else if (colon > 0 && colon < rest.len && rest.p[colon] == ':' &&
		   span_until(rest, '/', '/', '?') == rest.len) {
		ret->authority = rest; /* CONNECT host:port */
	}
	ret->path = cut(&rest, span_until(rest, '?', '?', '?'));
	if (ret->path.len == 0)
		ret->path = span_str("/");
	if (rest.len)
		ret->query = span_of(rest.p + 1, rest.len - 1);
}

struct span message_host(const struct message *m)
{
	struct target t;
	int i;

	target_split(message_target(m), &t);
	if (t.authority.p)
		return t.authority;
	i = message_find(m, "Host", 0);
	return i < 0 ? span_str("") : message_value(m, (uint32_t)i);
}

int message_copy(const struct message *m, struct message **ret)
{
	struct message *copy;
	int rc = message_new(m->head, m->head_len, m->fields, m->n_fields, m->body.max, &copy);

	if (rc)
		return rc;
	copy->method = m->method;
	copy->target = m->target;
	copy->reason = m->reason;
	copy->status = m->status;
	copy->major = m->major;
	copy->minor = m->minor;
	copy->flags = m->flags;
	copy->body_size = m->body_size;
	copy->first_us = m->first_us;
	copy->last_us = m->last_us;
	rc = buf_add_span(&copy->body, buf_span(&m->body));
	if (!rc)
		rc = buf_add_span(&copy->chunk_lines, buf_span(&m->chunk_lines));
	if (!rc && m->trailer)
		rc = message_set_trailer(copy, m->trailer, m->trailer_len, m->trailer_fields,
					 m->n_trailer_fields);
	if (rc) {
		message_free(copy);
		return rc;
	}
	*ret = copy;
	return SC_OK;
}
