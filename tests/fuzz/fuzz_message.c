/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a head, indexed by llhttp or by the lenient reading, then edited. Whatever is done
 * to it, the index stays inside the head and in step with it: what was set reads back, and a head
 * that was whole is indexed the same by a fresh reading.
 *
 * Input: u8 which reading, u16 length, the head; then operations of a byte each. */
#include <assert.h>
#include <stdlib.h>

#include "core/limits.h"
#include "fuzz.h"
#include "head.h"
#include "http.h"

#define TEXT_MAX 32u

struct run {
	struct message *m;
	bool whole; /* from its start line to its only blank line, read leniently */
};

enum { OP_TARGET, OP_VALUE, OP_REMOVE, OP_ADD, OP_SET, OP_REMOVE_ALL, OPS };

/* A word as rules have them: callers keep line ends out. */
static struct span take_word(struct rd *in, uint8_t store[TEXT_MAX], size_t least)
{
	struct span s = take_bytes(in, take_u8(in) % TEXT_MAX);
	size_t len = s.len < least ? least : s.len;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = i < s.len ? s.p[i] : 'x';

		store[i] = c <= ' ' || c == ':' || c >= 127 ? '-' : c;
	}
	return span_of(store, len);
}

static bool ends_at_its_first_blank_line(struct span head)
{
	for (size_t i = 0; i + 1 < head.len; i++) {
		if (head.p[i] != '\n')
			continue;
		if (head.p[i + 1] == '\n')
			return i + 2 == head.len;
		if (head.p[i + 1] == '\r' && i + 2 < head.len && head.p[i + 2] == '\n')
			return i + 3 == head.len;
	}
	return false;
}

static void check_same_fields(const struct message *m)
{
	struct message *fresh = NULL;

	assert(message_parse(m->head, m->head_len, 0, &fresh) == SC_OK);
	assert(fresh->n_fields == m->n_fields);
	assert(fresh->status == m->status);
	assert(span_eq(message_target(fresh), message_target(m)));
	for (uint32_t i = 0; i < m->n_fields; i++) {
		assert(span_eq(message_name(fresh, i), message_name(m, i)));
		assert(span_eq(message_value(fresh, i), message_value(m, i)));
	}
	message_free(fresh);
}

static void check_count(const struct message *m, struct span name, uint32_t expected)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->n_fields; i++)
		n += span_case_eq(message_name(m, i), name);
	assert(n == expected);
}

/* The index of a field, or n_fields when there is none. */
static uint32_t any_field(const struct message *m, uint8_t number)
{
	return m->n_fields ? number % m->n_fields : 0;
}

static void edit(struct run *r, struct rd *in)
{
	uint8_t name_text[TEXT_MAX], value_text[TEXT_MAX];
	struct message *m = r->m;
	uint8_t op = take_u8(in);
	uint32_t i = any_field(m, op >> 3);
	struct span name = take_word(in, name_text, 1);
	struct span value = take_word(in, value_text, 0);

	switch (op % OPS) {
	case OP_TARGET:
		if (m->status == 0 && message_set_target(m, name) == SC_OK)
			assert(span_eq(message_target(m), name));
		break;
	case OP_VALUE:
		if (i < m->n_fields && message_set_value(m, i, value) == SC_OK)
			assert(span_eq(message_value(m, i), value));
		break;
	case OP_REMOVE:
		if (i < m->n_fields)
			(void)message_remove_field(m, i);
		break;
	case OP_ADD:
		if (message_add_field(m, name, value) == SC_OK)
			assert(span_eq(message_value(m, m->n_fields - 1), value));
		break;
	case OP_SET:
		if (message_set_field(m, name, value) == SC_OK)
			check_count(m, name, 1);
		break;
	default:
		if (message_remove_all(m, name) == SC_OK)
			check_count(m, name, 0);
		break;
	}
}

static struct message *read_head(struct span head, uint8_t how)
{
	struct head_scratch *hs;
	struct message *m = NULL;
	size_t len = 0;

	if (how == 0)
		return message_parse(head.p, head.len, 0, &m) == SC_OK ? m : NULL;
	if (http_classify(head) != (how & 1 ? START_REQUEST : START_RESPONSE))
		return NULL; /* nobody would ask */
	hs = head_scratch_new();
	assert(hs);
	if (head_parse(hs, head, how & 1, 0, &m, &len) == SC_OK) {
		uint64_t framed = 0;

		assert(len <= head.len && m->head_len == len);
		assert((m->status == 0) == (how & 1));
		(void)head_framing(m, &framed);
	}
	head_scratch_free(hs);
	return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = {0};
	struct span head;
	uint8_t how, *copy;
	struct rd in;

	rd_init(&in, data, size);
	how = take_u8(&in) % 3;
	head = take_bytes(&in, take_u16(&in));
	copy = copy_exactly(head);
	r.m = read_head(span_of(copy, head.len), how);
	free(copy);
	if (!r.m)
		return 0;
	r.whole = how == 0 && ends_at_its_first_blank_line(head);
	check_message(r.m);
	while (rd_left(&in)) {
		edit(&r, &in);
		check_message(r.m);
		if (r.whole)
			check_same_fields(r.m);
	}
	message_free(r.m);
	return 0;
}
