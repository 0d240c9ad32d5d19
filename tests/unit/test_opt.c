/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a command line: what is taken, and what strtod and its like would take, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <string.h>

#include "opt.h"

typedef int (*setter)(void *to, const char *value, struct err *err);

static const struct {
	setter set;
	const char *value;
	int64_t number;
} good[] = {
	{opt_number, "0", 0},
	{opt_number, "18446744073709551615", -1},
	{opt_count, "007", 7},
	{opt_size, "0", 0},
	{opt_size, "64K", 65536},
	{opt_size, "1.5kiB", 1536},
	{opt_size, ".5M", 524288},
	{opt_size, "7B", 7},
	{opt_size, "1e3", 1000},
	{opt_duration, "1us", 1},
	{opt_duration, "0.001ms", 1},
	{opt_duration, "0.25", 250000},
	{opt_duration, ".5s", 500000},
	{opt_duration, "2m", 120000000},
	{opt_duration, "1h", 3600000000},
	{opt_duration, "2d", 172800000000},
};

static const struct {
	setter set;
	const char *value, *word;
} wrong[] = {
	{opt_number, "", "whole number"},
	{opt_number, " 5", "whole number"},
	{opt_number, "\t5", "whole number"},
	{opt_number, "5 ", "whole number"},
	{opt_number, "+1", "whole number"},
	{opt_number, "-1", "whole number"},
	{opt_number, "0x10", "whole number"},
	{opt_number, "1.0", "whole number"},
	{opt_number, "18446744073709551616", "whole number"},
	{opt_count, " 5", "whole number"},
	{opt_count, "+1", "whole number"},
	{opt_count, "0", "1 or more"},
	{opt_size, "", "size"},
	{opt_size, " 5", "size"},
	{opt_size, "+5K", "size"},
	{opt_size, "-5", "size"},
	{opt_size, "0x10", "size"},
	{opt_size, "0X10K", "size"},
	{opt_size, "inf", "size"},
	{opt_size, "1e999", "size"},
	{opt_size, "nan", "size"},
	{opt_size, ".", "size"},
	{opt_size, "K", "size"},
	{opt_size, "0.5", "size"},
	{opt_size, "0.0001K", "size"},
	{opt_duration, "", "duration"},
	{opt_duration, "0", "duration"},
	{opt_duration, "0ms", "duration"},
	{opt_duration, "-1", "duration"},
	{opt_duration, " 1", "duration"},
	{opt_duration, "+1s", "duration"},
	{opt_duration, "0x10", "duration"},
	{opt_duration, "0x10ms", "duration"},
	{opt_duration, "0X1p4s", "duration"},
	{opt_duration, "inf", "duration"},
	{opt_duration, "nan", "duration"},
	{opt_duration, "1e999h", "duration"},
	{opt_duration, "5 s", "duration"},
	{opt_duration, "0.0001ms", "less than a microsecond"},
	{opt_duration, "0.9us", "less than a microsecond"},
	{opt_duration, "1e-9", "less than a microsecond"},
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct err err = {""};
		int64_t v = 77;

		if (good[i].set(&v, good[i].value, &err) || v != good[i].number)
			fail_msg("'%s' is %lld: %s", good[i].value, (long long)v, err.text);
	}
}

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = {""};
		int64_t v = 77;

		if (wrong[i].set(&v, wrong[i].value, &err) != SC_EINVAL || v != 77)
			fail_msg("'%s' is %lld", wrong[i].value, (long long)v);
		if (!strstr(err.text, wrong[i].word) || !strstr(err.text, wrong[i].value))
			fail_msg("'%s': %s", wrong[i].value, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
