/* SPDX-License-Identifier: Apache-2.0 */
/* The value that flows: a request, the response it got, who spoke, and when; and what a target
 * answered to the same request later. Both are moved from one owner to the next, never shared. */
#ifndef CORE_EXCHANGE_H
#define CORE_EXCHANGE_H

#include <stdint.h>

#include "core/addr.h"
#include "core/message.h"
#include "core/queue.h"

enum exchange_state {
	EXCHANGE_COMPLETE,
	EXCHANGE_NO_RESPONSE,
	EXCHANGE_TRUNCATED, /* a body was cut at the cap */
	EXCHANGE_GAP,       /* bytes were lost on the wire, or the message was cut off */
	EXCHANGE_STATES,
};

/* "complete", "no-response", "truncated", "gap". */
const char *exchange_state_name(enum exchange_state state);
int exchange_state_parse(const char *name, enum exchange_state *ret); /* SC_EINVAL */

struct exchange {
	struct node node;    /* for queues; first */
	int64_t id;          /* of the store's row; 0 when it has none */
	int64_t ts_us;       /* first byte of the request, us since 1970 */
	uint64_t connection; /* the same number: the same TCP connection, within one capture */
	uint32_t position;   /* of the request in its connection, from 0 */
	struct addr client, server;
	const char *scheme;        /* "http" or "https"; static */
	struct message *request;   /* owned, never NULL once out of a source */
	struct message *response;  /* owned, NULL when there is none */
	int64_t ttfb_us;           /* first byte of the response after ts_us; -1 not known */
	int64_t duration_us;       /* last byte of the response after ts_us; -1 not known */
	enum exchange_state state;
	double sample;     /* the percentage that let it in, 0..100 */
	const char *route; /* the rule that took it, as written; NULL: none. Borrowed from whoever
			    * made it (rules, source), which lives longer */
	const char *template; /* of the path, /users/{id}; NULL: not known. Borrowed as `route` is */
	uint32_t copies; /* of a mirror: how many targets it was sent to */
	uint32_t pass;   /* of a replay's --loop, from 0 */
	const struct policy_block *block; /* of the mesh policy that took it; borrowed, too */
};

struct exchange *exchange_new(void); /* NULL: no memory */
void exchange_free(struct exchange *ex);
size_t exchange_footprint(const struct exchange *ex);

/* Why a request got no answer. One table: the names are stored and are what a summary groups by. */
#define RESULT_ERROR_TABLE(X)                                                                      \
	X(NONE, "")                                                                                \
	X(RESOLVE, "could not resolve")                                                            \
	X(CONNECT, "could not connect")                                                            \
	X(CONNECT_TIMEOUT, "connect timeout")                                                      \
	X(TLS, "TLS failed")                                                                       \
	X(SEND, "send failed")                                                                     \
	X(RESET, "connection reset")                                                               \
	X(EARLY_CLOSE, "closed before a response")                                                 \
	X(CUT, "closed inside a response")                                                         \
	X(TIMEOUT, "response timeout")                                                             \
	X(MALFORMED, "not an HTTP response")                                                       \
	X(TOO_LARGE, "response head too large")                                                    \
	X(STOPPED, "stopped while in flight")

#define RESULT_ERROR_ID(id, text) RESULT_ERROR_##id,
enum result_error { RESULT_ERROR_TABLE(RESULT_ERROR_ID) RESULT_ERRORS };
#undef RESULT_ERROR_ID
const char *result_error_text(enum result_error error);

struct result {
	struct node node;     /* first */
	int64_t exchange_id;  /* exchange.id */
	uint32_t pass;        /* of --loop, from 0 */
	int64_t due_us;       /* when it should have gone out, us since 1970 */
	int64_t sent_us;      /* when its first byte did; 0: never */
	int64_t ttfb_us;      /* first byte of the answer after sent_us; -1 */
	int64_t duration_us;  /* last byte of the answer after sent_us (service time); -1 */
	int64_t latency_us;   /* last byte of the answer after due_us; -1 */
	struct message *response; /* owned; NULL on error; without kept body unless asked for */
	enum result_error error;
};

struct result *result_new(void);
void result_free(struct result *r);
size_t result_footprint(const struct result *r);

#endif
