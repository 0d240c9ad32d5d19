/* SPDX-License-Identifier: Apache-2.0 */
/* Any two answers, whole or cut: nothing differs from itself, what is said keeps to its bounds, the
 * other way round as much is said, and what jansson reads as JSON is read as such, and cut
 * anywhere.
 *
 * Input: u8 flags, u16 length, a rule to ignore; then u16 length, head, u16 length, body, twice. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/limits.h"
#include "fuzz.h"
#include "json_doc.h"
#include "replay/compare.h"
#include "replay/tally.h"

enum {
	FIRST_CUT = 1,
	SECOND_CUT = 2,
	FIRST_HOLE = 4,
	SECOND_HOLE = 8,
};

struct seen {
	unsigned kinds[KINDS], noise, count;
	struct tally *tally;
};

static void see(void *arg, const struct difference *d)
{
	struct seen *s = arg;

	assert(d->path.len <= LIMIT_DIFFERENCE_PATH);
	assert(d->recorded.len <= LIMIT_DIFFERENCE_TEXT);
	assert(d->replayed.len <= LIMIT_DIFFERENCE_TEXT);
	touch(d->path);
	touch(d->recorded);
	touch(d->replayed);
	s->kinds[d->kind]++;
	s->noise += d->noise;
	s->count += !d->noise;
	assert(s->count <= LIMIT_DIFFERENCES && s->noise <= LIMIT_DIFFERENCES);
	tally_found(s->tally, d);
}

static struct message *take_answer(struct rd *in, bool cut, bool hole)
{
	struct span head = take_bytes(in, take_u16(in));
	struct span body = take_bytes(in, take_u16(in));
	struct message *m = NULL;

	if (message_parse(head.p, head.len, LIMIT_BODY_BYTES, &m) != SC_OK)
		return NULL;
	if (m->status == 0) {
		message_free(m);
		return NULL;
	}
	if (body.len)
		assert(buf_add_span(&m->body, body) == SC_OK);
	m->body_size = body.len + (cut || hole);
	m->flags = (uint16_t)(m->flags | (cut ? MESSAGE_CAPPED : 0) | (hole ? MESSAGE_GAP : 0));
	return m;
}

static struct seen run(struct comparer *c, const struct message *a, const struct message *b)
{
	struct seen s = {.tally = tally_new()};
	struct buf out;

	assert(s.tally);
	assert(tally_begin(s.tally, span_str("GET"), span_str("/")) == SC_OK);
	assert(compare_answers(c, a, b, see, &s) == SC_OK);
	assert(tally_total(s.tally).differing == (s.count > 0));
	buf_init(&out, MIB);
	assert(tally_text(s.tally, 3, &out) == SC_OK);
	assert(tally_json(s.tally, &out) == SC_OK);
	buf_done(&out);
	tally_free(s.tally);
	return s;
}

static unsigned turned(unsigned kind)
{
	return kind == KIND_MISSING ? KIND_EXTRA : kind == KIND_EXTRA ? KIND_MISSING : kind;
}

static void check_both_ways(struct comparer *c, const struct message *a, const struct message *b)
{
	struct seen there = run(c, a, b), back = run(c, b, a);

	assert((there.count > 0) == (back.count > 0));
	if (there.count == LIMIT_DIFFERENCES || there.noise == LIMIT_DIFFERENCES)
		return;
	for (unsigned k = 0; k < KINDS; k++)
		assert(there.kinds[k] == back.kinds[turned(k)]);
	assert(there.noise == back.noise);
}

static void check_itself(struct comparer *c, const struct message *m)
{
	struct seen s = run(c, m, m);

	assert(s.count == 0 && s.noise == 0);
}

/* What jansson reads, doc_read() reads; but a NUL behind the text is its end to jansson alone. */
static void check_reading(const struct message *m)
{
	json_t *j = json_loadb((const char *)m->body.data, m->body.len,
			       JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct doc d;
	int rc;

	doc_init(&d);
	rc = doc_read(&d, buf_span(&m->body), false);
	if (j && !memchr(m->body.data, 0, m->body.len))
		assert(rc == SC_OK || m->body.len > LIMIT_JSON_DEPTH);
	if (j && rc == SC_OK && json_is_string(j))
		assert(d.n == 1 && d.nodes[0].kind == DOC_STRING);
	if (j && rc == SC_OK && json_is_array(j))
		assert(d.nodes[0].n == json_array_size(j));
	doc_hash(&d);
	for (uint32_t i = 0; rc == SC_OK && i < d.n; i++) {
		touch(doc_raw(&d, i));
		assert(d.nodes[i].next > i && d.nodes[i].next <= d.n);
	}
	json_decref(j);
	/* However it is cut, it is a beginning of JSON. */
	for (size_t n = m->body.len; rc == SC_OK && n > 0 && m->body.len < 200; n--)
		assert(doc_read(&d, span_of(m->body.data, n - 1), true) == SC_OK);
	doc_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct comparer *c = comparer_new();
	struct message *a, *b;
	struct err err = {""};
	struct rd in;
	uint8_t flags;
	struct span text;
	char *rule;
	int rc;

	rd_init(&in, data, size);
	flags = take_u8(&in);
	text = take_bytes(&in, take_u16(&in));
	rule = strndup((const char *)text.p, text.len);
	assert(c && rule);
	rc = comparer_ignore(c, rule, &err);
	assert(rc == SC_OK || (rc == SC_EINVAL && err.text[0]));
	a = take_answer(&in, flags & FIRST_CUT, flags & FIRST_HOLE);
	b = take_answer(&in, flags & SECOND_CUT, flags & SECOND_HOLE);
	if (a)
		check_reading(a);
	if (a)
		check_itself(c, a);
	check_both_ways(c, a, b);
	message_free(a);
	message_free(b);
	free(rule);
	comparer_free(c);
	return 0;
}
