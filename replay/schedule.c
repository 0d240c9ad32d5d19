/* SPDX-License-Identifier: Apache-2.0 */
/* Due times, each from the start and from nothing else. Sends nothing, waits for nothing. */
#include "replay/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9

static const struct {
	const char *suffix;
	double seconds;
} rate_units[] = {
	{"", 1}, {"/s", 1}, {"/m", 60}, {"/min", 60}, {"/h", 3600},
};

/* strtod takes hex, inf and nan, and leading white space; a rate is none of these. */
static bool parse_positive(const char *text, double *ret, char **ret_end)
{
	double v;

	if (!strchr("0123456789.", text[0]) || text[0] == '\0' || text[1] == 'x' || text[1] == 'X')
		return false;
	v = strtod(text, ret_end);
	if (*ret_end == text || !isfinite(v) || v <= 0)
		return false;
	*ret = v;
	return true;
}

int pace_parse_rate(const char *text, double *ret, struct err *err)
{
	char *end;
	double v;

	if (parse_positive(text, &v, &end)) {
		for (size_t i = 0; i < sizeof(rate_units) / sizeof(rate_units[0]); i++) {
			if (strcmp(end, rate_units[i].suffix) == 0) {
				*ret = v / rate_units[i].seconds;
				return SC_OK;
			}
		}
	}
	return err_set(err, SC_EINVAL,
		       "'%s' is no rate; expected a number over 0 like 500/s or 30/m", text);
}

int pace_parse_speed(const char *text, double *ret, struct err *err)
{
	char *end;
	double v;

	if (!parse_positive(text, &v, &end) || (*end != '\0' && strcmp(end, "x") != 0))
		return err_set(
			err, SC_EINVAL,
			"'%s' is no speed; expected a number over 0 like 2.5 (0.5 is half as "
			"fast)",
			text);
	*ret = v;
	return SC_OK;
}

void schedule_init(struct schedule *s, const struct pace *pace, int64_t start_ns)
{
	*s = (struct schedule){.pace = *pace, .start_ns = start_ns};
}

/* A double holds whole ns up to 104 days, and is computed anew for each request. */
static double offset_ns(const struct schedule *s, uint64_t n, int64_t ts_us)
{
	switch (s->pace.kind) {
	case PACE_RECORDED:
		return ts_us <= s->first_us ? 0
					    : (double)(ts_us - s->first_us) * 1e3 / s->pace.speed;
	case PACE_RATE:
		return (double)n * NS_PER_S / s->pace.rate;
	case PACE_MAX:
		break;
	}
	return 0;
}

int64_t schedule_due(struct schedule *s, int64_t ts_us)
{
	double offset;

	if (s->n == 0)
		s->first_us = ts_us;
	offset = offset_ns(s, s->n++, ts_us);
	/* Beyond any wait that ends; keeps the sum below from overflowing. */
	if (offset > 4e18)
		offset = 4e18;
	return s->start_ns + (int64_t)offset;
}
