/* SPDX-License-Identifier: Apache-2.0 */
/* A request made ready to go out: its bytes exactly as they will be on the wire, and the little a
 * sender has to know of them. Made where there is time for it, so that the sending loop only sends.
 */
#ifndef REPLAY_SHOT_H
#define REPLAY_SHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exchange.h"

/* Why a request that was read is not sent. One table: the names stand in summaries. */
#define SKIP_TABLE(X)                                                                              \
	X(NONE, "", "")                                                                            \
	X(FILTERED, "filtered", "no route takes them")                                             \
	X(UNSAMPLED, "unsampled", "left out by the percentage")                                    \
	X(OWN, "own_replay", "sent by a replay themselves")                                        \
	X(INCOMPLETE, "incomplete_request", "incomplete request: the recording lacks body bytes")  \
	X(FRAMING, "framing", "their Content-Length is not that of their body")                    \
	X(SIMPLE, "http_09", "HTTP/0.9 has no place for the marker")                               \
	X(CONNECT, "connect", "CONNECT opens a tunnel")                                            \
	X(UPGRADE, "upgrade", "Upgrade leaves HTTP")                                               \
	X(TOO_LARGE, "too_large", "their head with the marker is over the ceiling")                \
	X(RESUMED, "resumed", "have a result from before the run was resumed")                     \
	X(MIDDLEWARE, "middleware", "the middleware dropped them")                                 \
	X(LATE, "too_late", "later than --drop-late, so left out")                                 \
	X(STOPPED, "stopped", "stopped before their turn")

#define SKIP_ID(id, name, help) SKIP_##id,
enum skip { SKIP_TABLE(SKIP_ID) SKIPS };
#undef SKIP_ID
const char *skip_name(enum skip skip); /* of JSON */
const char *skip_help(enum skip skip);

struct shot {
	struct node node;    /* for queues; first */
	int64_t exchange_id; /* exchange.id */
	uint64_t connection; /* exchange.connection */
	int64_t ts_us;	     /* exchange.ts_us */
	uint32_t pass;	     /* of --loop, from 0; 0 from shot_new() */
	int64_t offset_ns;   /* when it is due, from the start; 0 from shot_new() */
	int64_t due_ns;	     /* the sender's: the same on its clock */
	bool head;	     /* HEAD: the answer has no body */
	bool idempotent; /* may be sent again wherever a connection turns out stale (RFC 9110, 9.2.2) */
	bool closes;	 /* asks the server to close */
	bool retried;	 /* the sender's: this is the second try */
	size_t len;
	uint8_t bytes[];
};

/* Frames the request of `ex`: the head as it stands with `X-Shadow-Replay: marker` as its last
 * field (marker NULL: none; one that is already there is left out), then the body, a chunked one in
 * its recorded chunks (RFC 9112, 7.1) with its trailers. `ex` is read only. Not an error but a
 * reason: *ret_skip other than SKIP_NONE, and *ret is untouched. SC_ENOMEM. */
int shot_new(const struct exchange *ex, const char *marker, struct shot **ret, enum skip *ret_skip);
void shot_free(struct shot *shot); /* NULL is fine */

static inline size_t shot_footprint(const struct shot *shot)
{
	return sizeof(*shot) + shot->len;
}

/* It waited, and others have had the cache since: asks for its beginning, which is all of most. */
static inline void shot_fetch(const struct shot *shot)
{
	for (unsigned at = 0; at < 256; at += 64)
		__builtin_prefetch((const char *)shot + at);
}

#endif
