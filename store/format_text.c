/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, times and bytes as the dataset formats write them, whatever the locale. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format_io.h"

#define US_PER_S 1000000ll

int add_integer(struct buf *out, int64_t v)
{
	char text[24];
	char *p = text + sizeof(text);
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		*--p = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0)
		*--p = '-';
	return buf_add(out, p, (size_t)(text + sizeof(text) - p));
}

int add_real(struct buf *out, double v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) < v || strtod(text, NULL) > v)
		(void)snprintf(text, sizeof(text), "%.17g", v);
	if (text[strspn(text, "-0123456789")] == '\0')
		memcpy(text + strlen(text), ".0", 3);
	return buf_add_str(out, text);
}

int add_base64(struct buf *out, struct span s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	int rc = buf_reserve(out, (s.len + 2) / 3 * 4);
	uint8_t *to;

	if (rc || s.len == 0)
		return rc;
	to = out->data + out->len;
	for (size_t i = 0; i < s.len; i += 3) {
		size_t n = s.len - i < 3 ? s.len - i : 3;
		uint32_t v = (uint32_t)s.p[i] << 16 | (n > 1 ? (uint32_t)s.p[i + 1] << 8 : 0) |
			     (n > 2 ? s.p[i + 2] : 0);

		*to++ = (uint8_t)digits[v >> 18];
		*to++ = (uint8_t)digits[v >> 12 & 63];
		*to++ = (uint8_t)(n > 1 ? digits[v >> 6 & 63] : '=');
		*to++ = (uint8_t)(n > 2 ? digits[v & 63] : '=');
	}
	out->len = (size_t)(to - out->data);
	return SC_OK;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int add_unbase64(struct buf *out, struct span text)
{
	uint32_t v = 0;
	unsigned bits = 0;
	uint8_t *to;
	int rc = buf_reserve(out, text.len / 4 * 3 + 3);

	if (rc)
		return rc;
	if (text.len % 4 == 0) {
		for (int i = 0; i < 2 && text.len && text.p[text.len - 1] == '='; i++)
			text.len--;
	}
	if (text.len % 4 == 1)
		return SC_EINVAL;
	to = out->data + out->len;
	for (size_t i = 0; i < text.len; i++) {
		int digit = base64_value(text.p[i]);

		if (digit < 0)
			return SC_EINVAL;
		v = v << 6 | (uint32_t)digit;
		bits += 6;
		if (bits < 8)
			continue;
		bits -= 8;
		*to++ = (uint8_t)(v >> bits);
	}
	out->len = (size_t)(to - out->data);
	return SC_OK;
}

int add_time(struct buf *out, int64_t us)
{
	int64_t part = us % US_PER_S;
	time_t s = (time_t)(us / US_PER_S - (part < 0));
	struct tm tm;

	part += part < 0 ? US_PER_S : 0;
	if (!gmtime_r(&s, &tm))
		return buf_add_str(out, "1970-01-01T00:00:00.000000Z");
	return buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)part);
}

/* "Z", "+02:00" or "-0330"; us east of Greenwich. */
static int read_zone(const char *text, int64_t *ret)
{
	int sign = *text == '-' ? -1 : 1;
	int h, m, n = 0;

	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
		*ret = 0;
		return SC_OK;
	}
	if (*text != '+' && *text != '-')
		return SC_EINVAL;
	if (sscanf(text + 1, "%2d:%2d%n", &h, &m, &n) != 2 &&
	    sscanf(text + 1, "%2d%2d%n", &h, &m, &n) != 2)
		return SC_EINVAL;
	if (n == 0 || text[1 + n] || h < 0 || h > 23 || m < 0 || m > 59)
		return SC_EINVAL;
	*ret = sign * (h * 60 + m) * 60 * US_PER_S;
	return SC_OK;
}

int read_time_text(const char *text, int64_t *ret_us)
{
	struct tm tm;
	int64_t zone, us = 0, unit = US_PER_S;
	const char *end;

	memset(&tm, 0, sizeof(tm));
	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end || tm.tm_year < -1900 || tm.tm_year > 8099)
		return SC_EINVAL;
	if (*end == '.') {
		for (end++; *end >= '0' && *end <= '9'; end++) {
			unit /= 10;
			us += unit * (*end - '0');
		}
	}
	if (read_zone(end, &zone))
		return SC_EINVAL;
	*ret_us = (int64_t)timegm(&tm) * US_PER_S + us - zone;
	return SC_OK;
}
