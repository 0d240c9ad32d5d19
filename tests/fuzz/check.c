/* SPDX-License-Identifier: Apache-2.0 */
/* What is true of every message and exchange. Judges no meaning: that is for the unit tests. */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "fuzz.h"

uint8_t *copy_exactly(struct span s)
{
	uint8_t *p = malloc(s.len ? s.len : 1);

	assert(p);
	if (s.len)
		memcpy(p, s.p, s.len);
	return p;
}

void touch(struct span s)
{
	static volatile unsigned odd;
	uint8_t sum = 0;

	for (size_t i = 0; i < s.len; i++)
		sum = (uint8_t)(sum + s.p[i]);
	if (sum & 1) /* MemorySanitizer looks where something is decided */
		odd = odd + 1;
}

static void check_slice(struct slice s, uint32_t len)
{
	assert(s.off <= len && s.len <= len - s.off);
}

static void check_fields(const uint8_t *bytes, const struct field *fields, uint32_t n, uint32_t len)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t end = fields[i].name.off + fields[i].name.len;

		check_slice(fields[i].name, len);
		check_slice(fields[i].value, len);
		assert(fields[i].name.off >= at);
		assert(fields[i].value.off > end);
		assert(memchr(bytes + end, ':', fields[i].value.off - end));
		at = fields[i].value.off + fields[i].value.len;
	}
}

static bool has_known_version(const struct message *m)
{
	return m->major == 1 && m->minor <= 1;
}

static void check_rebuilt(const struct message *m)
{
	struct span version = span_str(m->minor ? "1.1" : "1.0");
	struct header *headers = malloc((m->n_fields + 1u) * sizeof(*headers));
	struct message *again = NULL;
	int rc;

	assert(headers);
	for (uint32_t i = 0; i < m->n_fields; i++)
		headers[i] = (struct header){message_name(m, i), message_value(m, i)};
	if (m->status)
		rc = message_build_response(m->status, message_span(m, m->reason), version, headers,
					    m->n_fields, 0, &again);
	else
		rc = message_build_request(message_method(m), message_target(m), version, headers,
					   m->n_fields, 0, &again);
	assert(rc == SC_OK);
	assert(span_eq(span_of(again->head, again->head_len), span_of(m->head, m->head_len)));
	message_free(again);
	free(headers);
}

void check_message(const struct message *m)
{
	struct target t;

	assert(m->head_len > 0 && m->head_len <= LIMIT_HEAD_BYTES);
	assert(m->n_fields <= LIMIT_FIELDS && m->n_trailer_fields <= LIMIT_FIELDS);
	assert(m->status <= 999);
	check_slice(m->method, m->head_len);
	check_slice(m->target, m->head_len);
	check_slice(m->reason, m->head_len);
	check_fields(m->head, m->fields, m->n_fields, m->head_len);
	check_fields(m->trailer, m->trailer_fields, m->n_trailer_fields, m->trailer_len);
	assert(m->status != 0 || m->method.len > 0);
	touch(span_of(m->head, m->head_len));
	touch(span_of(m->trailer, m->trailer_len));
	target_split(message_target(m), &t);
	touch(t.scheme);
	touch(t.authority);
	touch(t.path);
	touch(t.query);
	assert(t.path.len > 0);
	touch(message_host(m));
	assert(message_footprint(m) >= m->head_len);
	if (has_known_version(m) && message_is_canonical(m))
		check_rebuilt(m);
}

static uint64_t hex_size(struct span line)
{
	uint64_t size = 0;
	size_t i = 0;

	while (i < line.len && (line.p[i] == ' ' || line.p[i] == '\t'))
		i++;
	for (; i < line.len && isxdigit(line.p[i]); i++) {
		int c = tolower(line.p[i]);

		size = size << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return size;
}

/* They frame all of the body. */
static void check_chunk_lines(const struct message *m)
{
	struct span rest = buf_span(&m->chunk_lines);
	uint64_t total = 0, size;

	assert((m->flags & MESSAGE_CHUNKED) && !(m->flags & MESSAGE_GAP));
	do {
		const uint8_t *nl = memchr(rest.p, '\n', rest.len);
		size_t line;

		assert(nl);
		line = (size_t)(nl + 1 - rest.p);
		size = hex_size(span_of(rest.p, line));
		total += size;
		rest = span_of(rest.p + line, rest.len - line);
	} while (size);
	assert(total == m->body_size);
	touch(rest);
}

void check_finished_message(const struct message *m, size_t body_max)
{
	check_message(m);
	touch(buf_span(&m->body));
	assert(m->body.len <= body_max);
	assert(m->body.len <= m->body_size);
	assert(m->last_us >= m->first_us);
	if (!(m->flags & (MESSAGE_CAPPED | MESSAGE_GAP)))
		assert(m->body.len == m->body_size);
	if (m->chunk_lines.len)
		check_chunk_lines(m);
}

void check_exchange(const struct exchange *ex, size_t body_max)
{
	unsigned flags;

	assert(ex->request && ex->request->status == 0);
	check_finished_message(ex->request, body_max);
	flags = ex->request->flags;
	if (ex->response) {
		assert(ex->response->status != 0);
		check_finished_message(ex->response, body_max);
		flags |= ex->response->flags;
	}
	assert((unsigned)ex->state < EXCHANGE_STATES);
	assert(ex->state != EXCHANGE_COMPLETE || (ex->response && !(flags & MESSAGE_GAP)));
	assert(ex->state != EXCHANGE_NO_RESPONSE || !ex->response);
	assert(exchange_footprint(ex) >= message_footprint(ex->request));
}
