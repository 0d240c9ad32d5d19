/* SPDX-License-Identifier: Apache-2.0 */
/* Due times, each from the start and from nothing else. Sends nothing, waits for nothing. */
#include "replay/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9
#define DEFAULT_GAP_US 1000000

struct unit {
	const char *suffix;
	double seconds;
};

static const struct unit rate_units[] = {
	{"", 1}, {"/s", 1}, {"/m", 60}, {"/min", 60}, {"/h", 3600}, {NULL, 0},
};

static const struct unit time_units[] = {
	{"ms", 1e-3}, {"s", 1}, {"", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {NULL, 0},
};

/* strtod takes hex, inf and nan, and leading white space; a rate is none of these. */
static bool parse_number(const char *text, double *ret, const char **ret_end)
{
	char *end;
	double v;

	if (!strchr("0123456789.", text[0]) || text[0] == '\0' || text[1] == 'x' || text[1] == 'X')
		return false;
	v = strtod(text, &end);
	if (end == text || !isfinite(v))
		return false;
	/* "100..2000": the first dot of two is not the number's. */
	if (end[-1] == '.' && end[0] == '.')
		end--;
	*ret = v;
	*ret_end = end;
	return true;
}

/* The seconds that a suffix of `len` bytes stands for, or 0. */
static double unit_of(const struct unit *units, const char *text, size_t len)
{
	for (; units->suffix; units++) {
		if (strlen(units->suffix) == len && memcmp(units->suffix, text, len) == 0)
			return units->seconds;
	}
	return 0;
}

/* What stands behind "100": "..2000/s over 60s". */
static bool parse_ramp(const char *text, struct pace *p)
{
	const char *over, *end;
	double unit, time;

	if (strncmp(text, "..", 2) != 0 || !parse_number(text + 2, &p->rate_end, &text))
		return false;
	over = strstr(text, " over ");
	if (!over)
		return false;
	unit = unit_of(rate_units, text, (size_t)(over - text));
	if (!parse_number(over + strlen(" over "), &time, &end))
		return false;
	p->ramp_s = time * unit_of(time_units, end, strlen(end));
	if (unit <= 0 || p->ramp_s <= 0 || p->rate_end <= 0)
		return false;
	p->rate /= unit;
	p->rate_end /= unit;
	return true;
}

static bool parse_rate(const char *text, struct pace *p)
{
	double unit;

	if (!parse_number(text, &p->rate, &text))
		return false;
	if (text[0] == '.')
		return parse_ramp(text, p);
	unit = unit_of(rate_units, text, strlen(text));
	if (unit <= 0 || p->rate <= 0)
		return false;
	p->rate /= unit;
	p->rate_end = p->rate;
	p->ramp_s = 0;
	return true;
}

int pace_parse_rate(const char *text, struct pace *ret, struct err *err)
{
	struct pace p = *ret;

	if (!parse_rate(text, &p))
		return err_set(err, SC_EINVAL,
			       "'%s' is no rate; expected a number over 0 like 500/s or 30/m, or a "
			       "ramp like 100..2000/s over 60s",
			       text);
	*ret = p;
	return SC_OK;
}

int pace_parse_speed(const char *text, double *ret, struct err *err)
{
	const char *end;
	double v;

	if (!parse_number(text, &v, &end) || v <= 0 || (*end != '\0' && strcmp(end, "x") != 0))
		return err_set(
			err, SC_EINVAL,
			"'%s' is no speed; expected a number over 0 like 2.5 (0.5 is half as "
			"fast)",
			text);
	*ret = v;
	return SC_OK;
}

void schedule_init(struct schedule *s, const struct pace *pace)
{
	*s = (struct schedule){.pace = *pace};
}

/* After t seconds of a ramp rate * t + slope * t^2 / 2 requests are due; this is the t of the nth,
 * in the form that does not subtract what is nearly equal. */
static double ramp_seconds(const struct pace *p, double n)
{
	double slope = (p->rate_end - p->rate) / p->ramp_s;
	double inside = (p->rate + p->rate_end) / 2 * p->ramp_s;

	if (n == 0)
		return 0;
	if (n >= inside)
		return p->ramp_s + (n - inside) / p->rate_end;
	return 2 * n / (p->rate + sqrt(p->rate * p->rate + 2 * slope * n));
}

/* A double holds whole ns up to 104 days, and is computed anew for each request. */
static double offset_ns(const struct schedule *s, int64_t ts_us)
{
	const struct pace *p = &s->pace;
	double since = s->base_us + (double)(ts_us > s->first_us ? ts_us - s->first_us : 0);

	switch (p->kind) {
	case PACE_RECORDED:
		return since * 1e3 / p->speed;
	case PACE_RATE:
		if (p->ramp_s > 0)
			return ramp_seconds(p, (double)s->n) * NS_PER_S;
		return (double)s->n * NS_PER_S / p->rate;
	case PACE_MAX:
		break;
	}
	return 0;
}

int64_t schedule_next(struct schedule *s, int64_t ts_us)
{
	double offset;

	if (s->n_pass == 0)
		s->first_us = s->last_us = ts_us;
	if (ts_us > s->last_us)
		s->last_us = ts_us;
	offset = offset_ns(s, ts_us);
	s->n++;
	s->n_pass++;
	/* Beyond any wait that ends; keeps what is added to it from overflowing. */
	return offset > 4e18 ? INT64_C(4000000000000000000) : (int64_t)offset;
}

void schedule_again(struct schedule *s)
{
	double span = (double)(s->last_us - s->first_us);

	if (s->n_pass == 0)
		return;
	s->base_us += span + (s->n_pass > 1 && span > 0 ? floor(span / (double)(s->n_pass - 1))
							: DEFAULT_GAP_US);
	s->n_pass = 0;
}
