/* SPDX-License-Identifier: Apache-2.0 */
/* Answers, and what is said of them, for the tests of comparing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compare_fixture.h"
#include "core/limits.h"

struct message *answer_bytes(const char *head, struct span body)
{
	struct message *m = NULL;
	char text[4096];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n\r\n", head);
	assert_int_equal(message_parse((const uint8_t *)text, strlen(text), BODY_MAX, &m), SC_OK);
	assert_int_equal(buf_add_span(&m->body, body), SC_OK);
	m->body_size = body.len;
	return m;
}

struct message *answer(const char *head, const char *body)
{
	return answer_bytes(head, span_str(body));
}

static void add_text(struct said *s, struct span t)
{
	assert_true(s->n + t.len < sizeof(s->text));
	if (t.len)
		memcpy(s->text + s->n, t.p, t.len);
	s->n += t.len;
	s->text[s->n] = '\0';
}

void note(void *arg, const struct difference *d)
{
	struct said *s = arg;

	assert_true(d->path.len <= LIMIT_DIFFERENCE_PATH);
	assert_true(d->recorded.len <= LIMIT_DIFFERENCE_TEXT);
	assert_true(d->replayed.len <= LIMIT_DIFFERENCE_TEXT);
	s->count += !d->noise;
	s->noise += d->noise;
	if (s->n > sizeof(s->text) / 2)
		return;
	add_text(s, span_str(d->noise ? "(noise) " : ""));
	add_text(s, span_str(difference_place_name(d->place)));
	add_text(s, span_str(" "));
	add_text(s, span_str(difference_kind_name(d->kind)));
	add_text(s, span_str(" "));
	add_text(s, d->path);
	add_text(s, span_str(": "));
	add_text(s, d->recorded);
	add_text(s, span_str(" -> "));
	add_text(s, d->replayed);
	add_text(s, span_str("\n"));
}

void compare(struct comparer *c, const struct message *a, const struct message *b, struct said *s)
{
	s->n = s->count = s->noise = 0;
	s->text[0] = '\0';
	assert_int_equal(compare_answers(c, a, b, note, s), SC_OK);
}

int comparer_setup(void **state)
{
	*state = comparer_new();
	return *state ? 0 : -1;
}

int comparer_teardown(void **state)
{
	comparer_free(*state);
	return 0;
}
