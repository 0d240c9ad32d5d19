/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions, and the figures they are about: how a run is judged, and the percentile text. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fail_on.h"
#include "replay/hdr.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MS INT64_C(1000000)

/* 1,000 tried in 10 s: 900 answered 200, 50 404, 40 503, and 10 failed; 1 ms to 990 ms. */
static void fill(struct replay_stats *st)
{
	memset(st, 0, sizeof(*st));
	st->taken = 1000;
	st->sent = 990;
	st->failed = st->failed_sent = 10;
	st->errors[RESULT_ERROR_RESET] = 10;
	st->status[200] = 900;
	st->status[404] = 50;
	st->status[503] = 40;
	st->late = 3;
	st->start_us = 1;
	st->elapsed_us = 10000000;
	for (int i = 1; i <= 990; i++) {
		histogram_add(&st->latency, i * MS);
		histogram_add(&st->service, i * MS / 2);
	}
}

static const struct {
	const char *condition;
	bool holds;
} verdicts[] = {
	{"errors>9", true},	     {"errors>10", false},
	{"errors>=10", true},	     {"errors=10", true},
	{"errors==10", true},	     {"errors!=10", false},
	{"errors<=9", false},	     {"errors<11", true},
	{"errors>0.9%", true},	     {"errors>1%", false},
	{"errors >= 1 %", true},     {"late>2", true},
	{"late>0.3%", false},	     {"4xx>49", true},
	{"4xx>5%", false},	     {"5xx=40", true},
	{"5xx>4%", false},	     {"success<91%", true},
	{"success<90%", false},	     {"success<90.1", true},
	{"rate=100/s", true},	     {"rate>100", false},
	{"throughput<95/s", true},   {"throughput<90", false},
	{"max>989ms", true},	     {"max>0.99s", false},
	{"p50>480ms", true},	     {"p50>505ms", false},
	{"service_p50<260ms", true}, {"p99.9>1m", false},
	{" p99 > 900000us ", true},
};

static const struct {
	const char *condition, *said;
} wrong[] = {
	{"", "no condition"},	       {"errors", "no condition"},
	{"> 1", "no condition"},       {"errors ~ 1", "no condition"},
	{"errors>", "a number"},       {"errors>>1", "a number"},
	{"errors>1ms", "a number"},    {"errors>inf", "a number"},
	{"errors>nan", "a number"},    {"errors>0x1", "a number"},
	{"errors>-1", "a number"},     {"errors>1e999", "a number"},
	{"p50>1", "a time"},	       {"p50>1h2", "a time"},
	{"success<1ms", "percentage"}, {"rate>1%", "a rate"},
	{"p51>1ms", "p50, p90"},       {"Errors>0", "errors"},
	{"differences>0", "compared"},
};

static struct str_list one(const char **condition)
{
	return (struct str_list){condition, 1};
}

static void test_verdicts(void **state)
{
	struct fail_value known[FAIL_REPLAY_VALUES];
	struct replay_stats *st = malloc(sizeof(*st));
	struct account account = {.stats = st};

	(void)state;
	assert_non_null(st);
	fill(st);
	fail_values_of_replay(&account, known);
	for (size_t i = 0; i < COUNT(verdicts); i++) {
		const char *condition = verdicts[i].condition;
		struct str_list list = one(&condition);
		const struct fail_value *about = NULL;
		struct err err = {""};

		if (fail_on_check(&list, known, &err))
			fail_msg("%s: %s", condition, err.text);
		if ((fail_on_judge(&list, known, &about) != NULL) != verdicts[i].holds)
			fail_msg("%s: %d", condition, !verdicts[i].holds);
		assert_int_equal(about != NULL, verdicts[i].holds);
	}
	free(st);
}

static void test_wrong(void **state)
{
	struct fail_value known[FAIL_REPLAY_VALUES];

	(void)state;
	fail_values_of_replay(NULL, known);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		const char *condition = wrong[i].condition;
		struct str_list list = one(&condition);
		struct err err = {""};

		assert_int_equal(fail_on_check(&list, known, &err), SC_EINVAL);
		if (!strstr(err.text, wrong[i].said))
			fail_msg("%s: said '%s'", condition, err.text);
	}
}

static void test_said(void **state)
{
	static const struct {
		struct fail_value value;
		const char *text;
	} said[] = {
		{{"errors", FAIL_COUNT, 3, 40}, "errors is 3 of 40"},
		{{"errors", FAIL_COUNT, 0, 0}, "errors is 0"},
		{{"success", FAIL_PERCENT, 99.5, 0}, "success is 99.5%"},
		{{"p99", FAIL_DURATION, 312000, 0}, "p99 is 312 ms"},
		{{"rate", FAIL_RATE, 500, 0}, "rate is 500.0/s"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(said); i++) {
		char text[FAIL_TEXT];

		fail_value_text(&said[i].value, text);
		assert_string_equal(text, said[i].text);
	}
}

/* Of nothing, nothing holds that asks for more, and nothing divides by it. */
static void test_nothing_tried(void **state)
{
	struct fail_value known[FAIL_REPLAY_VALUES];
	const char *conditions[] = {"errors>0", "errors>0%", "success<100%", "p99>0us", "rate>0"};
	struct str_list list = {conditions, COUNT(conditions)};
	const struct fail_value *about = NULL;

	(void)state;
	fail_values_of_replay(NULL, known);
	assert_null(fail_on_judge(&list, known, &about));
}

static void text_of(const struct histogram *h, struct buf *out)
{
	buf_init(out, HDR_TEXT_BYTES);
	assert_int_equal(hdr_text(h, out), SC_OK);
	assert_int_equal(buf_add(out, "", 1), SC_OK);
}

static void test_percentile_text(void **state)
{
	static const char empty[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
				    "#[Mean    =        0.000, StdDeviation   =        0.000]\n"
				    "#[Max     =        0.000, Total count    =            0]\n"
				    "#[Buckets =           35, SubBuckets     =          512]\n";
	static const char two[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
				  "       0.995 0.000000000000          1           1.00\n"
				  "       0.995 0.100000000000          1           1.11\n"
				  "       0.995 0.200000000000          1           1.25\n"
				  "       0.995 0.300000000000          1           1.43\n"
				  "       0.995 0.400000000000          1           1.67\n"
				  "       0.995 0.500000000000          1           2.00\n"
				  "       3.000 1.000000000000          2\n";
	struct histogram *h = calloc(1, sizeof(*h));
	struct buf text;

	(void)state;
	assert_non_null(h);
	text_of(h, &text);
	assert_string_equal((const char *)text.data, empty);
	buf_done(&text);
	/* A bucket's highest value stands for all in it, but the maximum is exact. */
	histogram_add(h, 995 * MS / 1000);
	histogram_add(h, 3 * MS);
	text_of(h, &text);
	if (strncmp((const char *)text.data, two, strlen(two)) != 0)
		fail_msg("got\n%s", (const char *)text.data);
	buf_done(&text);
	free(h);
}

/* However many values, and however far apart, the text stays small. */
static void test_percentile_text_is_bounded(void **state)
{
	struct histogram *h = calloc(1, sizeof(*h));
	struct buf text;

	(void)state;
	assert_non_null(h);
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->n[i] = UINT64_C(1) << (i % 32);
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->count += h->n[i];
	h->max = (INT64_C(1) << HISTOGRAM_MAX_BITS) - 1;
	text_of(h, &text);
	assert_true(text.len < HDR_TEXT_BYTES / 2);
	buf_done(&text);
	free(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_nothing_tried),
		cmocka_unit_test(test_percentile_text),
		cmocka_unit_test(test_percentile_text_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
