/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges from their parts. Believes no part: what is built must say again what it was made of. */
#include "rebuild.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rng.h"

#define TEXT_BUCKETS 1024u

struct text_kept {
	struct text_kept *next;
	char text[];
};

static bool says_the_same(const struct parts *p, const struct message *m)
{
	if (m->n_fields != p->n_headers || m->status != p->status)
		return false;
	return p->status || (span_eq(message_method(m), p->method) &&
			     span_eq(message_target(m), p->target));
}

int rebuild_head(const struct parts *p, size_t body_max, struct message **ret)
{
	struct message *m = NULL;
	int rc;

	if (p->status)
		rc = message_build_response(p->status, p->reason, p->version, p->headers,
					    p->n_headers, body_max, &m);
	else
		rc = message_build_request(p->method, p->target, p->version, p->headers,
					   p->n_headers, body_max, &m);
	if (rc)
		return rc == SC_EINVAL ? SC_EPROTO : rc;
	if (!says_the_same(p, m)) {
		message_free(m);
		return SC_EPROTO;
	}
	*ret = m; /* moved */
	return SC_OK;
}

int rebuild_body(struct message *m, struct span body, uint64_t size, struct format_notes *notes)
{
	m->body_size = size > body.len ? size : body.len;
	if (body.len > m->body.max) {
		body.len = m->body.max;
		format_note(notes, NOTE_BODIES_CUT);
	}
	return buf_add_span(&m->body, body);
}

int rebuild_trailers(struct message *m, const struct header *headers, uint32_t n)
{
	struct field *fields = malloc((n + 1) * sizeof(*fields));
	int rc = fields ? SC_OK : SC_ENOMEM;
	struct buf bytes;

	buf_init(&bytes, LIMIT_TRAILER_BYTES);
	for (uint32_t i = 0; i < n && !rc; i++) {
		const struct header *h = &headers[i];
		uint32_t at = (uint32_t)bytes.len;

		fields[i].name = (struct slice){at, (uint32_t)h->name.len};
		fields[i].value = (struct slice){at + (uint32_t)h->name.len + 2,
						 (uint32_t)h->value.len};
		rc = buf_add_span(&bytes, h->name);
		if (!rc)
			rc = buf_add_str(&bytes, ": ");
		if (!rc)
			rc = buf_add_span(&bytes, h->value);
		if (!rc)
			rc = buf_add_str(&bytes, "\r\n");
	}
	if (!rc && n)
		rc = message_set_trailer(m, bytes.data, (uint32_t)bytes.len, fields, n);
	free(fields);
	buf_done(&bytes);
	return rc;
}

/* Whether the last transfer coding is chunked (RFC 9112, 6.1). */
static bool is_chunked(const struct message *m)
{
	struct span last = span_str("");
	int i;

	for (i = message_find(m, "Transfer-Encoding", 0); i >= 0;
	     i = message_find(m, "Transfer-Encoding", (uint32_t)i + 1))
		last = message_value(m, (uint32_t)i);
	if (last.len < 7)
		return false;
	if (last.len > 7 && !strchr(", \t", last.p[last.len - 8]))
		return false;
	return span_case_eq(span_of(last.p + last.len - 7, 7), span_str("chunked"));
}

static void set_flags(struct exchange *ex, struct message *m)
{
	unsigned flags = is_chunked(m) ? MESSAGE_CHUNKED : 0;

	if (m->body.len < m->body_size) {
		if (ex->state == EXCHANGE_COMPLETE)
			ex->state = EXCHANGE_TRUNCATED;
		flags |= ex->state == EXCHANGE_GAP ? MESSAGE_GAP : MESSAGE_CAPPED;
	}
	m->flags = (uint16_t)(m->flags | flags);
}

void rebuild_finish(struct exchange *ex)
{
	struct message *m = ex->response;

	ex->request->first_us = ex->ts_us;
	set_flags(ex, ex->request);
	if (!m)
		return;
	set_flags(ex, m);
	if (m->status == 101 || (m->status / 100 == 2 && span_eq(message_method(ex->request),
								 span_str("CONNECT"))))
		m->flags |= MESSAGE_UPGRADE;
	m->first_us = ex->ttfb_us < 0 ? 0 : ex->ts_us + ex->ttfb_us;
	m->last_us = ex->duration_us < 0 ? 0 : ex->ts_us + ex->duration_us;
}

static struct text_kept *new_text(struct span s)
{
	struct text_kept *k = malloc(sizeof(*k) + s.len + 1);

	if (!k)
		return NULL;
	memcpy(k->text, s.p, s.len);
	k->text[s.len] = '\0';
	return k;
}

int texts_keep(struct texts *t, struct span s, unsigned max, const char **ret)
{
	struct text_kept *k, **bucket;

	if (!t->buckets)
		t->buckets = calloc(TEXT_BUCKETS, sizeof(*t->buckets));
	if (!t->buckets)
		return SC_ENOMEM;
	bucket = &t->buckets[hash_bytes(s.p, s.len, 0) % TEXT_BUCKETS];
	for (k = *bucket; k && !span_eq(span_str(k->text), s); k = k->next)
		;
	if (!k) {
		k = t->n < max ? new_text(s) : NULL;
		if (!k)
			return t->n < max ? SC_ENOMEM : SC_EFULL;
		k->next = *bucket;
		*bucket = k;
		t->n++;
	}
	*ret = k->text;
	return SC_OK;
}

void texts_done(struct texts *t)
{
	for (unsigned i = 0; t->buckets && i < TEXT_BUCKETS; i++) {
		while (t->buckets[i]) {
			struct text_kept *next = t->buckets[i]->next;

			free(t->buckets[i]);
			t->buckets[i] = next;
		}
	}
	free(t->buckets);
	t->buckets = NULL;
}
