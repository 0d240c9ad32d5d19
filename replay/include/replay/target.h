/* SPDX-License-Identifier: Apache-2.0 */
/* Where requests go: a URL taken apart, and the addresses that must not be it. */
#ifndef REPLAY_TARGET_H
#define REPLAY_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/err.h"

#define TARGET_HOST 256 /* RFC 1035, 2.3.4, and room */

struct target_url {
	char host[TARGET_HOST]; /* without the brackets of an IPv6 address */
	char authority[TARGET_HOST +
		       8];	     /* what Host says: with the port unless it is the default */
	char base[TARGET_HOST + 32]; /* scheme://host:port/ */
	uint16_t port;
	bool tls;
};

/* http://host[:port][/] or https://... SC_EINVAL with the reason: another scheme, a path, a query,
 * credentials. */
int target_parse(const char *url, struct target_url *ret, struct err *err);

/* Whether `a` is one of the addresses, port included; ::ffff:1.2.3.4 is 1.2.3.4. */
bool addr_listed(const struct addr *a, const struct addr *list, size_t n);

/* SC_EINVAL, with the line for the person, when `peer` is an address the recording was made at. */
int target_refuse_origin(const struct addr *peer, const struct addr *origins, size_t n,
			 struct err *err);

#endif
