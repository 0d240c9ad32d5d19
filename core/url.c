/* SPDX-License-Identifier: Apache-2.0 */
/* Undoes percent-encoding. Judges no URL. */
#include "url.h"

bool url_is_encoded(struct span s)
{
	return s.len && (memchr(s.p, '%', s.len) || memchr(s.p, '+', s.len));
}

static int hex(uint8_t c)
{
	uint8_t low = c | 0x20;

	if (c >= '0' && c <= '9')
		return c - '0';
	return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

size_t url_step(const uint8_t *p, size_t left, uint8_t *ret)
{
	int high = p[0] == '%' && left > 2 ? hex(p[1]) : -1;
	int low = high < 0 ? -1 : hex(p[2]);

	*ret = low < 0 ? p[0] : (uint8_t)((unsigned)high << 4 | (unsigned)low);
	return low < 0 ? 1 : 3;
}

size_t url_decode(struct span s, uint8_t *to)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; n++) {
		if (s.p[i] == '+') {
			to[n] = ' ';
			i++;
		} else {
			i += url_step(s.p + i, s.len - i, &to[n]);
		}
	}
	return n;
}
