/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses behind a target, by turns: each connection begins with the next one, so that a
 * target scaled out by DNS gets its share everywhere, and a change in DNS is seen by a long run.
 * Asks DNS in a thread of its own, so that no connection waits for it. Any number of threads may
 * ask. */
#ifndef REPLAY_RESOLVER_H
#define REPLAY_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/limits.h"
#include "replay/connect.h"

struct way {
	const char *address; /* an IP address without brackets, or a name; the resolver's */
	uint16_t port;
	/* The addresses of a name with commas between them, the one to begin with first; empty: it
	 * is none, or it does not resolve. */
	char list[LIMIT_ADDRESSES * ADDR_TEXT];
};

/* Asks for all names at once and waits. `endpoints` is copied; at least one. NULL: no memory. */
struct resolver *resolver_new(const struct connect_endpoint *endpoints, size_t n);
void resolver_free(struct resolver *r); /* NULL is fine */

/* The way of the next connection. `now_us` is any clock that never goes back. */
void resolver_next(struct resolver *r, int64_t now_us, struct way *ret);

/* The addresses of a name or address, at most LIMIT_ADDRESSES, those of the family that the system
 * prefers (RFC 6724) first. Returns how many; 0: none, and *ret_why (may be NULL) says why, static.
 * Blocks. */
size_t resolve(const char *address, uint16_t port, struct addr *ret, const char **ret_why);

#endif
