/* SPDX-License-Identifier: Apache-2.0 */
/* An IP address and a port, in 20 bytes. */
#ifndef CORE_ADDR_H
#define CORE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDR_TEXT 46 /* INET6_ADDRSTRLEN */

struct addr {
	uint8_t ip[16]; /* network order; IPv4 in the first four */
	uint16_t port;  /* host order */
	uint8_t len;    /* 4, 16, or 0: not known */
};

/* The address without its port, as RFC 5952 writes it; "" when not known. Returns its length. */
size_t addr_text(const struct addr *a, char text[ADDR_TEXT]);

/* Takes an address without port. SC_EINVAL when it is none; the port is left as it is. */
int addr_parse(const char *text, struct addr *ret);

bool addr_same_host(const struct addr *a, const struct addr *b);

/* Whether the first `bits` bits agree, for CIDR tests; false across families. */
bool addr_in(const struct addr *a, const struct addr *net, unsigned bits);

#endif
