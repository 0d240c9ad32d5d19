/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text. IPv4 by hand, since it is written once an exchange; IPv6 by libc. */
#include "core/addr.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/err.h"

static char *octet(char *p, unsigned v)
{
	if (v >= 100)
		*p++ = (char)('0' + v / 100);
	if (v >= 10)
		*p++ = (char)('0' + v / 10 % 10);
	*p++ = (char)('0' + v % 10);
	return p;
}

size_t addr_text(const struct addr *a, char text[ADDR_TEXT])
{
	char *p = text;

	if (a->len == 16) {
		if (!inet_ntop(AF_INET6, a->ip, text, ADDR_TEXT))
			text[0] = '\0';
		return strlen(text);
	}
	if (a->len == 4) {
		for (int i = 0; i < 4; i++) {
			if (i)
				*p++ = '.';
			p = octet(p, a->ip[i]);
		}
	}
	*p = '\0';
	return (size_t)(p - text);
}

int addr_parse(const char *text, struct addr *ret)
{
	struct addr a = {.port = ret->port};

	if (inet_pton(AF_INET, text, a.ip) == 1)
		a.len = 4;
	else if (inet_pton(AF_INET6, text, a.ip) == 1)
		a.len = 16;
	else
		return SC_EINVAL;
	*ret = a;
	return SC_OK;
}

bool addr_same_host(const struct addr *a, const struct addr *b)
{
	return a->len == b->len && memcmp(a->ip, b->ip, a->len) == 0;
}

bool addr_in(const struct addr *a, const struct addr *net, unsigned bits)
{
	unsigned whole = bits / 8;
	unsigned rest = bits % 8;

	if (a->len != net->len || bits > a->len * 8u || memcmp(a->ip, net->ip, whole) != 0)
		return false;
	return rest == 0 || ((a->ip[whole] ^ net->ip[whole]) >> (8 - rest)) == 0;
}
