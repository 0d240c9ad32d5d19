/* SPDX-License-Identifier: Apache-2.0 */
/* Due times and the counting of durations: exact, without a clock. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "replay/histogram.h"
#include "core/limits.h"
#include "replay/schedule.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *name;
	struct pace pace;
	int64_t ts_us[4];
	int64_t due_ns[4];
} schedules[] = {
	{"as recorded",
	 {.kind = PACE_RECORDED, .speed = 1},
	 {1000, 1000, 1250, 3000},
	 {0, 0, 250000, 2000000}},
	{"twice as fast",
	 {.kind = PACE_RECORDED, .speed = 2},
	 {0, 10, 20, 1000000},
	 {0, 5000, 10000, 500000000}},
	{"half as fast",
	 {.kind = PACE_RECORDED, .speed = 0.5},
	 {5, 6, 7, 8},
	 {0, 2000, 4000, 6000}},
	{"from before the first",
	 {.kind = PACE_RECORDED, .speed = 1},
	 {50, 20, 49, 51},
	 {0, 0, 0, 1000}},
	{"1970",
	 {.kind = PACE_RECORDED, .speed = 1},
	 {1700000000000000, 1700000000000001, 1700000000000002, 1700000000000003},
	 {0, 1000, 2000, 3000}},
	{"a rate", {.kind = PACE_RATE, .rate = 1000}, {9, 9, 9, 9}, {0, 1000000, 2000000, 3000000}},
	{"a third",
	 {.kind = PACE_RATE, .rate = 3},
	 {0, 0, 0, 0},
	 {0, 333333333, 666666666, 1000000000}},
	/* 2 t + t^2 requests within the first second, then four a second. */
	{"a ramp",
	 {.kind = PACE_RATE, .rate = 2, .rate_end = 4, .ramp_s = 1},
	 {0, 0, 0, 0},
	 {0, 414213562, 732050807, 1000000000}},
	/* t - t^2 / 4, down to half a second's rate. */
	{"downhill",
	 {.kind = PACE_RATE, .rate = 1, .rate_end = 0.5, .ramp_s = 1},
	 {0, 0, 0, 0},
	 {0, 1500000000, 3500000000, 5500000000}},
	{"from nothing",
	 {.kind = PACE_RATE, .rate = 0, .rate_end = 4, .ramp_s = 2},
	 {0, 0, 0, 0},
	 {0, 1000000000, 1414213562, 1732050807}},
	{"max", {.kind = PACE_MAX}, {0, 1000, 2000, 3000}, {0, 0, 0, 0}},
};

static void test_due(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(schedules); i++) {
		struct schedule s;

		schedule_init(&s, &schedules[i].pace);
		for (size_t k = 0; k < 4; k++) {
			int64_t due = schedule_next(&s, schedules[i].ts_us[k]);

			if (llabs(due - schedules[i].due_ns[k]) > 1)
				fail_msg("%s: request %zu is due at %lld, not %lld",
					 schedules[i].name, k, (long long)due,
					 (long long)schedules[i].due_ns[k]);
		}
	}
}

/* A second pass goes on where the first ended, a mean gap later; a rate does not notice. */
static void test_again(void **state)
{
	static const int64_t ts_us[] = {100, 200, 700}, one[] = {5};
	static const int64_t due_us[] = {0, 100, 600, 900, 1000, 1500, 1800};
	struct pace pace = {.kind = PACE_RECORDED, .speed = 0.5};
	struct schedule s;

	(void)state;
	schedule_init(&s, &pace);
	for (size_t i = 0; i < COUNT(due_us); i++) {
		if (i && i % 3 == 0)
			schedule_again(&s);
		assert_int_equal(schedule_next(&s, ts_us[i % 3]), due_us[i] * 2000);
	}
	schedule_init(&s, &pace);
	for (int64_t i = 0; i < 3; i++) {
		assert_int_equal(schedule_next(&s, one[0]), i * 2000000000);
		schedule_again(&s);
		schedule_again(&s); /* an empty pass takes no time */
	}
	pace = (struct pace){.kind = PACE_RATE, .rate = 10};
	schedule_init(&s, &pace);
	for (int64_t i = 0; i < 5; i++) {
		assert_int_equal(schedule_next(&s, 5 - i), i * 100000000);
		schedule_again(&s);
	}
}

/* The ten millionth is where it belongs: nothing adds up. */
static void test_no_drift(void **state)
{
	struct schedule s;
	struct pace pace = {.kind = PACE_RATE, .rate = 30000};
	int64_t due = 0;

	(void)state;
	schedule_init(&s, &pace);
	for (int i = 0; i <= 9000000; i++)
		due = schedule_next(&s, 0);
	assert_int_equal(due, INT64_C(300000000000));
}

/* Passes of a recording of 8,000 years take more time than an integer of us holds. */
static void test_far_away(void **state)
{
	struct schedule s;
	struct pace pace = {.kind = PACE_RECORDED, .speed = 1e-9};
	int64_t due = 0;

	(void)state;
	schedule_init(&s, &pace);
	for (int i = 0; i < 100; i++) {
		assert_true(schedule_next(&s, 0) >= due);
		due = schedule_next(&s, LIMIT_TIME_US);
		schedule_again(&s);
	}
	assert_true(due > INT64_C(1000000000000000000));
	schedule_init(&s, &pace);
	schedule_next(&s, 0);
	assert_true(schedule_next(&s, INT64_C(1000000000000)) > INT64_C(1000000000000000000));
}

static const struct {
	const char *text;
	double rate; /* 0: refused */
} rates[] = {
	{"500/s", 500}, {"500", 500},  {"30/m", 0.5}, {"60/min", 1}, {"3600/h", 1},
	{"0.5/s", 0.5}, {"1e3", 1000}, {".5", 0.5},   {"0/s", 0},    {"-1/s", 0},
	{"", 0},	{"/s", 0},     {"5/x", 0},    {"5 /s", 0},   {"inf", 0},
	{"nan", 0},	{"0x10", 0},   {" 5", 0},     {"1e999", 0},  {"5/s ", 0},
};

static void test_rates(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rates); i++) {
		struct err err = {""};
		struct pace p = {.rate = -1, .ramp_s = 7};
		int rc = pace_parse_rate(rates[i].text, &p, &err);

		if (rates[i].rate > 0) {
			assert_int_equal(rc, SC_OK);
			assert_true(fabs(p.rate - rates[i].rate) < 1e-9);
			assert_true(p.ramp_s == 0);
		} else {
			assert_int_equal(rc, SC_EINVAL);
			assert_true(p.rate == -1 && p.ramp_s == 7);
			assert_non_null(strstr(err.text, "500/s"));
		}
	}
}

static const struct {
	const char *text;
	double from, to, seconds; /* 0: refused */
} ramps[] = {
	{"100..2000/s over 60s", 100, 2000, 60},
	{"100..2000 over 60", 100, 2000, 60},
	{"0..60/m over 1m", 0, 1, 60},
	{"10..1/s over 500ms", 10, 1, 0.5},
	{"0.5...5/s over 1h", 0.5, 0.5, 3600},
	{"100..2000/s", 0, 0, 0},
	{"100..2000/s over", 0, 0, 0},
	{"100..2000/s over 0s", 0, 0, 0},
	{"100..0/s over 1s", 0, 0, 0},
	{"100..2000/x over 1s", 0, 0, 0},
	{"100..2000/s over 1x", 0, 0, 0},
	{"100../s over 1s", 0, 0, 0},
	{"100..-5/s over 1s", 0, 0, 0},
	{"..5/s over 1s", 0, 0, 0},
	{"100.2000/s over 60s", 0, 0, 0},
};

static void test_ramps(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ramps); i++) {
		struct err err = {""};
		struct pace p = {.rate = -1};
		int rc = pace_parse_rate(ramps[i].text, &p, &err);

		if (ramps[i].seconds > 0) {
			assert_int_equal(rc, SC_OK);
			assert_true(fabs(p.rate - ramps[i].from) < 1e-9);
			assert_true(fabs(p.rate_end - ramps[i].to) < 1e-9);
			assert_true(fabs(p.ramp_s - ramps[i].seconds) < 1e-9);
		} else if (rc != SC_EINVAL || p.rate != -1) {
			fail_msg("'%s' was taken", ramps[i].text);
		}
	}
}

static void test_speeds(void **state)
{
	static const char *const bad[] = {"", "0", "-2", "x", "2y", "inf", "nan", "0x2", "2/s"};
	struct err err;
	double speed = 0;

	(void)state;
	assert_int_equal(pace_parse_speed("2.5", &speed, &err), SC_OK);
	assert_true(speed == 2.5);
	assert_int_equal(pace_parse_speed("0.5x", &speed, &err), SC_OK);
	assert_true(speed == 0.5);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(pace_parse_speed(bad[i], &speed, &err), SC_EINVAL);
	assert_true(speed == 0.5);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void check_percentiles(const struct histogram *h, int64_t *values, size_t n)
{
	static const double percents[] = {0, 1, 10, 50, 90, 95, 99, 99.9, 99.99, 100};

	qsort(values, n, sizeof(*values), compare);
	assert_int_equal(h->count, n);
	assert_int_equal(h->min, values[0]);
	assert_int_equal(h->max, values[n - 1]);
	for (size_t i = 0; i < COUNT(percents); i++) {
		size_t rank = (size_t)ceil((double)n * percents[i] / 100);
		int64_t is = values[rank ? rank - 1 : 0];
		int64_t got = histogram_percentile(h, percents[i]);

		/* Never too low, and at most one bucket too high. */
		if (got < is || (double)(got - is) > (double)is / 64)
			fail_msg("p%g is %lld, got %lld", percents[i], (long long)is,
				 (long long)got);
	}
}

/* Of every magnitude, against the sorted values. */
static void test_percentiles(void **state)
{
	static struct histogram h, half[2];
	enum { N = 20000 };
	int64_t *values = calloc(N, sizeof(*values));
	struct rng rng;
	double sum = 0;

	(void)state;
	assert_non_null(values);
	rng_init(&rng, 1);
	for (size_t i = 0; i < N; i++) {
		values[i] = (int64_t)(rng_next(&rng) >> (22 + rng_next(&rng) % 42));
		sum += (double)values[i];
		histogram_add(&h, values[i]);
		histogram_add(&half[i % 2], values[i]);
	}
	assert_true(fabs(histogram_mean(&h) - sum / N) < 1e-6 * sum / N);
	check_percentiles(&h, values, N);
	histogram_merge(&half[0], &half[1]);
	check_percentiles(&half[0], values, N);
	free(values);
}

static void test_histogram_edges(void **state)
{
	static struct histogram h, empty, other;

	(void)state;
	assert_int_equal(histogram_percentile(&empty, 50), 0);
	assert_true(histogram_mean(&empty) == 0);
	histogram_merge(&h, &empty);
	assert_int_equal(h.count, 0);
	histogram_add(&h, -5);
	histogram_add(&h, INT64_MAX);
	assert_int_equal(h.min, 0);
	assert_int_equal(h.max, (INT64_C(1) << HISTOGRAM_MAX_BITS) - 1);
	assert_int_equal(histogram_percentile(&h, 50), 0);
	assert_int_equal(histogram_percentile(&h, 100), h.max);
	histogram_merge(&other, &h);
	assert_int_equal(other.count, 2);
	assert_int_equal(other.max, h.max);
}

/* Every value up to 2^16, and both sides of every bucket's edge above. */
static void test_error_bound(void **state)
{
	static const struct histogram zero;
	static struct histogram h;

	(void)state;
	for (int64_t v = 0; v < INT64_C(1) << HISTOGRAM_MAX_BITS;
	     v = v < 65536 ? v + 1 : v + (v >> 3) + (v & 1 ? 0 : 1)) {
		int64_t got;

		h = zero;
		histogram_add(&h, v);
		h.max = INT64_MAX; /* so that it does not correct the bucket */
		got = histogram_percentile(&h, 50);
		assert_true(got >= v && got - v <= v / 256);
		if (v < 1 << HISTOGRAM_SUB_BITS)
			assert_int_equal(got, v);
		if (v > 2000 && v < 65000)
			v += 12;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_no_drift),
		cmocka_unit_test(test_far_away),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_ramps),
		cmocka_unit_test(test_speeds),
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_histogram_edges),
		cmocka_unit_test(test_error_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
