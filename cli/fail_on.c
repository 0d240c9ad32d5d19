/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions by table: a name, an operator, a number in the unit of what it is about. */
#include "fail_on.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_NAME 32

static bool above(double a, double b)
{
	return a > b;
}

static bool at_least(double a, double b)
{
	return a >= b;
}

static bool below(double a, double b)
{
	return a < b;
}

static bool at_most(double a, double b)
{
	return a <= b;
}

static bool equal(double a, double b)
{
	return a >= b && a <= b;
}

static bool unequal(double a, double b)
{
	return !equal(a, b);
}

/* The longer ones first. */
static const struct {
	const char *text;
	bool (*holds)(double a, double b);
} operators[] = {
	{">=", at_least}, {"<=", at_most}, {"==", equal}, {"!=", unequal},
	{">", above},	  {"<", below},	   {"=", equal},
};

/* What a unit may be followed by, and what that makes of the number. */
static const struct {
	enum fail_unit unit;
	const char *suffix;
	double factor;
	bool of_whole;
} suffixes[] = {
	{FAIL_COUNT, "", 1, false},	  {FAIL_COUNT, "%", 1, true},
	{FAIL_PERCENT, "", 1, false},	  {FAIL_PERCENT, "%", 1, false},
	{FAIL_DURATION, "us", 1, false},  {FAIL_DURATION, "ms", 1e3, false},
	{FAIL_DURATION, "s", 1e6, false}, {FAIL_DURATION, "m", 60e6, false},
	{FAIL_RATE, "", 1, false},	  {FAIL_RATE, "/s", 1, false},
};

static const char *const examples[] = {
	[FAIL_COUNT] = "a number or a percentage, like 0 or 1%",
	[FAIL_PERCENT] = "a percentage, like 99.9%",
	[FAIL_DURATION] = "a time, like 250ms or 1s",
	[FAIL_RATE] = "a rate, like 500/s",
};

static const struct {
	const char *name, *why;
} elsewhere[] = {
	{"differences", "answers are not compared here"},
};

struct condition {
	const struct fail_value *about;
	bool (*holds)(double a, double b);
	double limit;
	bool of_whole;
};

static char *skip_blanks(const char *p)
{
	return (char *)p + strspn(p, " ");
}

static const struct fail_value *find_value(const struct fail_value *known, const char *name,
					   size_t len)
{
	for (; known->name; known++) {
		if (strlen(known->name) == len && strncmp(known->name, name, len) == 0)
			return known;
	}
	return NULL;
}

static int unknown_name(const char *text, size_t len, const struct fail_value *known,
			struct err *err)
{
	char names[256] = "";
	size_t at = 0;

	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		if (strlen(elsewhere[i].name) == len && strncmp(elsewhere[i].name, text, len) == 0)
			return err_set(err, SC_EINVAL, "--fail-on: '%.100s': %s", text,
				       elsewhere[i].why);
	}
	for (; known->name && at < sizeof(names) - LONGEST_NAME; known++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", at ? ", " : "",
				       known->name);
	return err_set(err, SC_EINVAL,
		       "--fail-on: '%.100s' is about nothing that is known; expected %s", text,
		       names);
}

static bool read_limit(const char *text, struct condition *c)
{
	char *end;
	double v;

	/* strtod also takes hex, inf and nan. */
	if (!strchr("0123456789.", text[0]) || text[0] == '\0' || text[1] == 'x' || text[1] == 'X')
		return false;
	v = strtod(text, &end);
	end = skip_blanks(end);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i].suffix);

		if (suffixes[i].unit == c->about->unit &&
		    strncmp(end, suffixes[i].suffix, n) == 0 && *skip_blanks(end + n) == '\0') {
			c->limit = v * suffixes[i].factor;
			c->of_whole = suffixes[i].of_whole;
			return isfinite(c->limit);
		}
	}
	return false;
}

static int parse(const char *text, const struct fail_value *known, struct condition *ret,
		 struct err *err)
{
	const char *name = skip_blanks(text);
	size_t len = strcspn(name, " <>=!");
	const char *op = skip_blanks(name + len);
	struct condition c = {.about = find_value(known, name, len)};

	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]) && !c.holds; i++) {
		size_t n = strlen(operators[i].text);

		if (strncmp(op, operators[i].text, n) == 0) {
			c.holds = operators[i].holds;
			op += n;
		}
	}
	if (len == 0 || !c.holds)
		return err_set(
			err, SC_EINVAL,
			"--fail-on: '%.100s' is no condition; expected one like 'errors>0' or "
			"'p99>250ms'",
			text);
	if (!c.about)
		return unknown_name(text, len, known, err);
	if (!read_limit(skip_blanks(op), &c))
		return err_set(err, SC_EINVAL, "--fail-on: '%.100s': expected %s behind %s", text,
			       examples[c.about->unit], c.about->name);
	*ret = c;
	return SC_OK;
}

int fail_on_check(const struct str_list *conditions, const struct fail_value *known,
		  struct err *err)
{
	struct condition c;
	int rc = SC_OK;

	for (unsigned i = 0; i < conditions->n && !rc; i++)
		rc = parse(conditions->items[i], known, &c, err);
	return rc;
}

static bool holds(const struct condition *c)
{
	double v = c->about->value;

	if (c->of_whole)
		v = c->about->whole > 0 ? 100 * v / c->about->whole : 0;
	return c->holds(v, c->limit);
}

const char *fail_on_judge(const struct str_list *conditions, const struct fail_value *known,
			  const struct fail_value **ret_value)
{
	struct condition c;

	for (unsigned i = 0; i < conditions->n; i++) {
		if (parse(conditions->items[i], known, &c, NULL) == SC_OK && holds(&c)) {
			*ret_value = c.about;
			return conditions->items[i];
		}
	}
	return NULL;
}

void fail_value_text(const struct fail_value *v, char text[FAIL_TEXT])
{
	char duration[DURATION_TEXT];

	switch (v->unit) {
	case FAIL_COUNT:
		snprintf(text, FAIL_TEXT, v->whole > 0 ? "%s is %.0f of %.0f" : "%s is %.0f",
			 v->name, v->value, v->whole);
		break;
	case FAIL_PERCENT:
		snprintf(text, FAIL_TEXT, "%s is %.4g%%", v->name, v->value);
		break;
	case FAIL_DURATION:
		duration_text((int64_t)(v->value * 1e3), duration);
		snprintf(text, FAIL_TEXT, "%s is %s", v->name, duration);
		break;
	case FAIL_RATE:
		snprintf(text, FAIL_TEXT, "%s is %.1f/s", v->name, v->value);
		break;
	}
}

static const struct {
	const char *name;
	double percent;
	bool from_send;
} durations[] = {
	{"p50", 50, false},
	{"p90", 90, false},
	{"p95", 95, false},
	{"p99", 99, false},
	{"p99.9", 99.9, false},
	{"max", 100, false},
	{"service_p50", 50, true},
	{"service_p90", 90, true},
	{"service_p95", 95, true},
	{"service_p99", 99, true},
	{"service_p99.9", 99.9, true},
	{"service_max", 100, true},
};

static double status_class(const struct replay_stats *st, unsigned class)
{
	uint64_t n = 0;

	for (unsigned i = class * 100; i < class * 100 + 100; i++)
		n += st->status[i];
	return (double)n;
}

void fail_values_of_replay(const struct account *a, struct fail_value ret[FAIL_REPLAY_VALUES])
{
	static const struct replay_stats nothing;
	const struct replay_stats *st = a ? a->stats : &nothing;
	double whole = (double)(st->sent + st->failed);
	size_t n = 0;

	ret[n++] = (struct fail_value){"errors", FAIL_COUNT, (double)st->failed, whole};
	ret[n++] = (struct fail_value){"late", FAIL_COUNT, (double)st->late, whole};
	ret[n++] = (struct fail_value){"4xx", FAIL_COUNT, status_class(st, 4), whole};
	ret[n++] = (struct fail_value){"5xx", FAIL_COUNT, status_class(st, 5), whole};
	ret[n++] = (struct fail_value){"success", FAIL_PERCENT, summary_success(st), 0};
	ret[n++] = (struct fail_value){"rate", FAIL_RATE, summary_rate(st), 0};
	ret[n++] = (struct fail_value){"throughput", FAIL_RATE, summary_throughput(st), 0};
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		const struct histogram *h = durations[i].from_send ? &st->service : &st->latency;

		ret[n++] = (struct fail_value){
			durations[i].name, FAIL_DURATION,
			(double)histogram_percentile(h, durations[i].percent) / 1e3, 0};
	}
	ret[n] = (struct fail_value){NULL, FAIL_COUNT, 0, 0};
}
