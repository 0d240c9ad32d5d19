/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers digit for digit. Knows what is the same number and no arithmetic. */
#include "json_number.h"

#define EXPONENT_MAX 1000000000000000ll

/* 0.DIGITS times ten to the exponent. */
struct decimal {
	bool negative;
	bool strange; /* the exponent is out of bounds: only its writing tells */
	int64_t exponent;
	struct span digits; /* from the first to the last but 0; a point may be among them */
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static size_t digits_from(struct span t, size_t at)
{
	while (at < t.len && is_digit(t.p[at]))
		at++;
	return at;
}

size_t json_number_length(struct span t)
{
	size_t at = t.len > 0 && t.p[0] == '-', from = at, end;

	end = digits_from(t, at);
	if (end == from || (t.p[from] == '0' && end > from + 1))
		return 0;
	if (end < t.len && t.p[end] == '.') {
		from = end + 1;
		end = digits_from(t, from);
		if (end == from)
			return 0;
	}
	if (end < t.len && (t.p[end] | 0x20) == 'e') {
		from = end + 1;
		from += from < t.len && (t.p[from] == '+' || t.p[from] == '-');
		end = digits_from(t, from);
		if (end == from)
			return 0;
	}
	return end;
}

bool json_number_reaches_end(struct span t)
{
	size_t at = 0;

	while (at < t.len && (is_digit(t.p[at]) || (t.p[at] | 0x20) == 'e' || t.p[at] == '.' ||
			      t.p[at] == '+' || t.p[at] == '-'))
		at++;
	return at == t.len;
}

/* Saturates. */
static int64_t read_exponent(struct span t)
{
	bool negative = t.len > 0 && t.p[0] == '-';
	int64_t v = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (is_digit(t.p[i]) && v < EXPONENT_MAX)
			v = v * 10 + (t.p[i] - '0');
	}
	return negative ? -v : v;
}

static bool counts(uint8_t c)
{
	return c != '0' && c != '.';
}

static struct decimal decimal_of(struct span t)
{
	struct decimal d = {.negative = t.p[0] == '-'};
	size_t first = d.negative, end = t.len, point, last;

	for (size_t i = 0; i < t.len; i++) {
		if ((t.p[i] | 0x20) == 'e')
			end = i;
	}
	for (point = first; point < end && t.p[point] != '.'; point++)
		;
	while (first < end && !counts(t.p[first]))
		first++;
	for (last = end; last > first && !counts(t.p[last - 1]); last--)
		;
	if (first == end) /* zero, whatever its sign and exponent */
		return (struct decimal){.negative = false};
	d.digits = span_of(t.p + first, last - first);
	if (end < t.len)
		d.exponent = read_exponent(span_of(t.p + end + 1, t.len - end - 1));
	d.strange = d.exponent >= EXPONENT_MAX || d.exponent <= -EXPONENT_MAX;
	d.exponent += first < point ? (int64_t)(point - first) : -(int64_t)(first - point - 1);
	return d;
}

/* The next digit, or -1. */
static int next_digit(struct span *s)
{
	if (s->len && *s->p == '.')
		*s = span_of(s->p + 1, s->len - 1);
	if (s->len == 0)
		return -1;
	s->len--;
	return *s->p++;
}

bool json_number_eq(struct span a, struct span b)
{
	struct decimal x = decimal_of(a), y = decimal_of(b);
	int c;

	if (x.strange || y.strange)
		return span_eq(a, b);
	if (x.negative != y.negative || x.exponent != y.exponent)
		return false;
	do {
		c = next_digit(&x.digits);
		if (c != next_digit(&y.digits))
			return false;
	} while (c >= 0);
	return true;
}

uint64_t json_number_hash(struct span a)
{
	struct decimal x = decimal_of(a);
	uint64_t h = 2u + x.negative;
	int c;

	/* Multiplied before the digits come: 2 and 10 would be the same. */
	if (!x.strange)
		h = (h * 0x100000001b3u + (uint64_t)x.exponent) * 0x100000001b3u;
	while ((c = next_digit(&x.digits)) >= 0)
		h = (h ^ (uint64_t)c) * 0x100000001b3u;
	return h;
}
