/* SPDX-License-Identifier: Apache-2.0 */
/* The circuit of a mirror's target against a clock of the test's own, and --to taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mirror_circuit.h"
#include "mirror_to.h"

#define S INT64_C(1000000)

static void fail_times(struct circuit *c, unsigned n, int64_t now)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(circuit_result(c, 1000 + i, false, now), CIRCUIT_NO_NEWS);
}

static void test_opens_after_errors_in_a_row(void **state)
{
	struct circuit c;

	(void)state;
	circuit_init(&c, 5);
	fail_times(&c, 4, S);
	assert_int_equal(circuit_result(&c, 1, true, S), CIRCUIT_NO_NEWS);
	fail_times(&c, 4, S);
	assert_true(circuit_admits(&c, 2, S));
	assert_int_equal(circuit_result(&c, 2, false, S), CIRCUIT_PAUSED);
	assert_false(circuit_admits(&c, 3, S));
	assert_int_equal(c.pauses, 1);
}

static void test_never_opens_without_a_threshold(void **state)
{
	struct circuit c;

	(void)state;
	circuit_init(&c, 0);
	fail_times(&c, 1000, S);
	assert_true(circuit_admits(&c, 1, S));
}

/* When the nth probe is let through, one after the other fails. */
static void test_probes_ever_less_often(void **state)
{
	static const int64_t waits[] = {1, 2, 4, 8, 16, 30, 30};
	struct circuit c;
	int64_t now = 100 * S;

	(void)state;
	circuit_init(&c, 1);
	assert_int_equal(circuit_result(&c, 1, false, now), CIRCUIT_PAUSED);
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		int64_t probe = 10 + (int64_t)i;

		assert_false(circuit_admits(&c, 2, now + waits[i] * S - 1));
		now += waits[i] * S;
		assert_true(circuit_admits(&c, probe, now));
		assert_false(circuit_admits(&c, 3, now + 1000 * S)); /* one at a time */
		fail_times(&c, 50, now); /* stragglers say nothing */
		assert_int_equal(circuit_result(&c, probe, false, now), CIRCUIT_NO_NEWS);
	}
}

static void test_resumes(void **state)
{
	struct circuit c;

	(void)state;
	circuit_init(&c, 1);
	assert_int_equal(circuit_result(&c, 1, false, 0), CIRCUIT_PAUSED);
	assert_true(circuit_admits(&c, 2, 2 * S));
	assert_int_equal(circuit_result(&c, 2, true, 2 * S), CIRCUIT_RESUMED);
	assert_true(circuit_admits(&c, 3, 2 * S));
	/* Down again soon: it goes on where it was. */
	assert_int_equal(circuit_result(&c, 3, false, 3 * S), CIRCUIT_PAUSED);
	assert_false(circuit_admits(&c, 4, 5 * S - 1));
	assert_true(circuit_admits(&c, 4, 5 * S));
	assert_int_equal(circuit_result(&c, 4, true, 5 * S), CIRCUIT_RESUMED);
	/* Much later: from the beginning. */
	assert_int_equal(circuit_result(&c, 5, false, 500 * S), CIRCUIT_PAUSED);
	assert_true(circuit_admits(&c, 6, 501 * S));
}

static void test_a_probe_that_was_not_sent(void **state)
{
	struct circuit c;

	(void)state;
	circuit_init(&c, 1);
	assert_int_equal(circuit_result(&c, 1, false, 0), CIRCUIT_PAUSED);
	assert_true(circuit_admits(&c, 7, S));
	circuit_lost(&c, 8);
	assert_false(circuit_admits(&c, 9, S));
	circuit_lost(&c, 7);
	assert_true(circuit_admits(&c, 9, S));
}

static void test_to(void **state)
{
	const char *common_set[] = {"X-All: 1"};
	struct rewrite_options common = {.set = {common_set, 1}, .host = "keep"};
	struct mirror_to to = {.text = NULL};
	struct err err;

	(void)state;
	assert_int_equal(mirror_to_parse("http://a:1=12.5%", &common, &to, &err), 0);
	assert_string_equal(to.url, "http://a:1");
	assert_true(to.percent == 12.5);
	assert_string_equal(to.rewrites.host, "keep");
	assert_int_equal(to.rewrites.set.n, 1);
	mirror_to_done(&to);

	assert_int_equal(mirror_to_parse("http://a  host:b.test rewrite:/x=/y set-header:K=v=w "
					 "add-header:L= remove-header:M set-query:q=1 remove-query:r",
					 &common, &to, &err), 0);
	assert_string_equal(to.url, "http://a");
	assert_true(to.percent == 100);
	assert_string_equal(to.rewrites.host, "b.test");
	assert_string_equal(to.rewrites.rewrites.items[0], "/x=/y");
	assert_string_equal(to.rewrites.set.items[0], "X-All: 1");
	assert_string_equal(to.rewrites.set.items[1], "K: v=w");
	assert_string_equal(to.rewrites.add.items[0], "L: ");
	assert_string_equal(to.rewrites.remove.items[0], "M");
	assert_string_equal(to.rewrites.set_query.items[0], "q=1");
	assert_string_equal(to.rewrites.remove_query.items[0], "r");
	mirror_to_done(&to);
	assert_int_equal(common.set.n, 1);
}

static void test_to_that_is_wrong(void **state)
{
	static const char *const wrong[][2] = {
		{"http://a=", "http://a"},         {"http://a=x", "'x'"},
		{"http://a=101%", "101"},          {"http://a nonsense", "nonsense"},
		{"http://a set-header:K", "'K'"},  {"http://a HOST:keep", "HOST:keep"},
	};
	struct rewrite_options common = {.host = NULL};
	struct mirror_to to = {.text = NULL};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(mirror_to_parse(wrong[i][0], &common, &to, &err), SC_EINVAL);
		assert_non_null(strstr(err.text, wrong[i][1]));
		assert_null(to.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_after_errors_in_a_row),
		cmocka_unit_test(test_never_opens_without_a_threshold),
		cmocka_unit_test(test_probes_ever_less_often),
		cmocka_unit_test(test_resumes),
		cmocka_unit_test(test_a_probe_that_was_not_sent),
		cmocka_unit_test(test_to),
		cmocka_unit_test(test_to_that_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
