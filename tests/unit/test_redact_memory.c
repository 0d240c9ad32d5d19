/* SPDX-License-Identifier: Apache-2.0 */
/* What redaction leaves behind: no secret in the memory of the process, and neither secrets nor
 * leaks when any of its allocations fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "redact_fixture.h"
#include "redact_planted.h"

/* The linker sends the library's allocations here; test code's too. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations that succeed before one fails; -1: all */
static bool failed;
static bool only_one; /* fails; otherwise all behind it do too */

static bool may_allocate(void)
{
	if (allowed < 0)
		return true;
	if (allowed-- > 0)
		return true;
	failed = true;
	if (!only_one)
		allowed = 0;
	return false;
}

void *__wrap_malloc(size_t n)
{
	return may_allocate() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n)
{
	return may_allocate() ? __real_realloc(p, n) : NULL;
}

static unsigned planted_in_message(const struct message *m)
{
	return planted_in(m->head, m->head_len) + planted_in(m->body.data, m->body.len) +
	       planted_in(m->trailer, m->trailer_len);
}

static void test_nothing_stays(void **state)
{
	struct stage *stage = stage_redact_new(make_redaction(planted_rules));

	(void)state;
	assert_int_equal(planted_in_memory(), 0);
	for (unsigned talk = 0; talk < PLANTED_TALKS; talk++) {
		struct exchange *ex = planted_exchange(talk);

		/* The search finds them while they are there. */
		assert_true(planted_in_memory() >= PLANTED);
		assert_int_equal(stage->ops->whole(stage, ex), VERDICT_KEEP);
		assert_int_equal(ex->state, EXCHANGE_COMPLETE);
		assert_true(message_holds(ex->response, span_str("***")));
		assert_int_equal(planted_in_memory(), 0);
		exchange_free(ex);
	}
	stage_free(stage);
	assert_int_equal(planted_in_memory(), 0);
}

/* Runs one talk with the nth allocation failing. */
static bool run_starved(struct stage *stage, unsigned talk, long n)
{
	struct exchange *ex = planted_exchange(talk);
	enum verdict v;

	failed = false;
	allowed = n;
	v = stage->ops->whole(stage, ex);
	allowed = -1;
	assert_int_equal(v, failed ? VERDICT_ERROR : VERDICT_KEEP);
	assert_int_equal(planted_in_message(ex->request), 0);
	assert_int_equal(planted_in_message(ex->response), 0);
	exchange_free(ex);
	return failed;
}

static void test_every_allocation(void **state)
{
	(void)state;
	for (unsigned talk = 0; talk < PLANTED_TALKS; talk++) {
		long n = 0;

		only_one = talk % 2;
		for (bool more = true; more; n++) {
			struct stage *stage = stage_redact_new(make_redaction(planted_rules));

			more = run_starved(stage, talk, n);
			/* It is good for the next one still. */
			assert_false(run_starved(stage, talk, 100000));
			stage_free(stage);
		}
		assert_true(n > 10 && n < 10000);
	}
	only_one = false;
	assert_int_equal(planted_in_memory(), 0);
}

static void test_rules_starved(void **state)
{
	static const char *const rules[] = {"secrets", "header:A=drop", "json:$.a[1].b",
					    "json:$..a"};
	bool more = true;

	(void)state;
	for (long n = 0; more; n++) {
		struct redaction *r;

		failed = false;
		allowed = n;
		r = redaction_new("key", 3);
		for (size_t i = 0; r && i < sizeof(rules) / sizeof(rules[0]); i++) {
			bool before = failed;
			int rc = redaction_add(r, rules[i], NULL);

			assert_true(rc == SC_OK || (rc == SC_ENOMEM && failed));
			assert_true(rc != SC_OK || before == failed);
		}
		allowed = -1;
		redaction_free(r);
		more = failed;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_stays),
		cmocka_unit_test(test_every_allocation),
		cmocka_unit_test(test_rules_starved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
