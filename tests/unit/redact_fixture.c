/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges to be redacted, and what is left of them. */
#include "redact_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/coding.h"

struct redaction *make_redaction(const char *rules)
{
	struct redaction *r = redaction_new("key", 3);
	struct err err = {""};

	assert_non_null(r);
	while (*rules) {
		size_t len = strcspn(rules, "\n");
		char *one = strndup(rules, len);

		if (redaction_add(r, one, &err))
			fail_msg("%s", err.text);
		free(one);
		rules += len + (rules[len] != '\0');
	}
	return r;
}

struct message *make_wire(struct span wire, uint64_t missing)
{
	const uint8_t *blank = memmem(wire.p, wire.len, "\r\n\r\n", 4);
	size_t head = blank ? (size_t)(blank - wire.p) + 4 : wire.len;
	struct message *m = NULL;

	assert_int_equal(message_parse(wire.p, head, 2 * MIB, &m), SC_OK);
	assert_int_equal(buf_add(&m->body, wire.p + head, wire.len - head), SC_OK);
	m->body_size = m->body.len + missing;
	if (missing)
		m->flags |= MESSAGE_CAPPED;
	return m;
}

struct exchange *make_pair(const char *request, const char *response)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	ex->request = make_wire(span_str(request), 0);
	if (response)
		ex->response = make_wire(span_str(response), 0);
	else
		ex->state = EXCHANGE_NO_RESPONSE;
	return ex;
}

enum verdict redact_with(const char *rules, struct exchange *ex, uint64_t *ret_closed)
{
	struct redaction *r = make_redaction(rules);
	struct chain chain = {0};
	enum verdict v;

	chain_add(&chain, stage_redact_new(r));
	v = chain_whole(&chain, ex);
	if (ret_closed)
		*ret_closed = redaction_closed(r);
	chain_done(&chain);
	return v;
}

char *wire_of(const struct message *m, size_t *ret_len)
{
	char *text = malloc(m->head_len + m->body.len + 1);

	assert_non_null(text);
	memcpy(text, m->head, m->head_len);
	if (m->body.len)
		memcpy(text + m->head_len, m->body.data, m->body.len);
	*ret_len = m->head_len + m->body.len;
	text[*ret_len] = '\0';
	return text;
}

void assert_wire(const struct message *m, const char *expected, const char *what)
{
	size_t len;
	char *text = wire_of(m, &len);

	if (strcmp(text, expected) != 0)
		fail_msg("%s:\n%s\n--- expected:\n%s", what, text, expected);
	free(text);
	assert_index(m);
}

void assert_index(const struct message *m)
{
	struct message *fresh = NULL;

	assert_int_equal(message_parse(m->head, m->head_len, 0, &fresh), SC_OK);
	assert_int_equal(fresh->n_fields, m->n_fields);
	assert_int_equal(fresh->status, m->status);
	assert_memory_equal(&fresh->target, &m->target, sizeof(m->target));
	assert_memory_equal(&fresh->method, &m->method, sizeof(m->method));
	assert_memory_equal(&fresh->reason, &m->reason, sizeof(m->reason));
	for (uint32_t i = 0; i < m->n_fields; i++) {
		assert_true(span_eq(message_name(fresh, i), message_name(m, i)));
		assert_true(span_eq(message_value(fresh, i), message_value(m, i)));
	}
	message_free(fresh);
}

bool holds(struct span s, struct span word)
{
	return s.len && memmem(s.p, s.len, word.p, word.len);
}

bool message_holds(const struct message *m, struct span word)
{
	bool cut = m->flags & (MESSAGE_CAPPED | MESSAGE_GAP);
	struct codings c;
	struct buf text;
	bool found;

	found = holds(span_of(m->head, m->head_len), word) || holds(buf_span(&m->body), word) ||
		holds(span_of(m->trailer, m->trailer_len), word) ||
		holds(buf_span(&m->chunk_lines), word);
	if (found || !m->body.len || codings_of(m, &c) || !c.n)
		return found;
	buf_init(&text, LIMIT_DECODED_BYTES);
	if (codings_decode(&c, buf_span(&m->body), cut, &text) == SC_OK)
		found = holds(buf_span(&text), word);
	buf_done(&text);
	return found;
}
