/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1 messages of one direction of a connection (RFC 9112), with llhttp. Knows nothing of the
 * other direction but what it is told about one message at a time.
 *
 * Heads are parsed when they lie whole in memory, so that a head that comes in one segment, as nearly
 * all do, is never copied before it is known. What llhttp refuses but servers accept is read by the
 * lenient rules of message_parse. After bytes that are no message, or a gap, it looks for the next
 * start line. */
#ifndef CAPTURE_HTTP_H
#define CAPTURE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/message.h"
#include "stream.h"

enum http_role { HTTP_ANY, HTTP_REQUESTS, HTTP_RESPONSES };

enum http_state {
	HTTP_BETWEEN, /* a message may begin */
	HTTP_SEARCH,  /* lost: pass over bytes until a start line */
	HTTP_HEAD,    /* the stash holds the beginning of a head */
	HTTP_FIXED,   /* in a body of `left` bytes more */
	HTTP_CHUNKED,
	HTTP_TO_END,  /* a body that the end of the stream delimits */
	HTTP_OPAQUE,  /* TLS, HTTP/2, or after an upgrade: not ours any more */
};

/* What the owner makes of a head. */
enum http_verdict {
	HTTP_BODY,    /* read the body as the head says, into h->message if that is set */
	HTTP_NO_BODY, /* whatever the head says: an answer to HEAD */
	HTTP_TUNNEL,  /* no body, and no HTTP after it */
};

struct chunked; /* an llhttp in the middle of a chunked body */

struct http {
	uint8_t role;  /* enum http_role */
	uint8_t state; /* enum http_state */
	bool resync;   /* messages were seen: search inside segments too */
	bool lost;     /* no message since the place was lost */
	bool cut;      /* the message under way has a gap */
	struct buf *stash;       /* of HTTP_HEAD */
	struct chunked *chunked; /* of HTTP_CHUNKED */
	struct message *message; /* whose body is being read; the owner's; NULL: not kept */
	uint64_t left;           /* of HTTP_FIXED */
	uint64_t body_size;
	uint64_t start, end;     /* stream offsets of the message's first byte, and behind its last */
	int64_t start_peer;      /* what its sender had acknowledged by then, or -1 */
	int64_t first_us, last_us;
};

struct http_shared {
	struct counters *counters;
	size_t body_max;  /* bytes kept of one body */
	uint64_t held;    /* bytes of kept bodies under way; the owner takes them off when it emits */
	struct head_scratch *scratch;

	/* A head is complete. `m` is moved. To have the body kept, set h->message to it. */
	enum http_verdict (*head)(void *arg, struct http *h, struct message *m);
	/* The message is complete, or (h->cut) is all there will be of it. */
	void (*done)(void *arg, struct http *h);
	/* A head that will never be complete; `request` by its first bytes. */
	void (*unfinished)(void *arg, struct http *h, bool request);
	/* HTTP was recognised, or something else was: the state is HTTP_OPAQUE then. */
	void (*recognised)(void *arg, struct http *h, enum counter_id what);
};

/* Allocates the scratch. SC_ENOMEM. */
int http_shared_init(struct http_shared *sh, struct counters *counters, size_t body_max);
void http_shared_done(struct http_shared *sh);

void http_done(struct http *h, struct http_shared *sh);

/* peer: what the sender had acknowledged of the other direction, as a stream offset, or -1. */
void http_chunk(struct http *h, struct http_shared *sh, const struct chunk *c, int64_t peer,
		void *arg);

/* Whether a head was complete and its body is not. */
bool http_in_body(const struct http *h);

/* The stream is over. `clean`: with a FIN and nothing missing before it. */
void http_end(struct http *h, struct http_shared *sh, bool clean, void *arg);

/* What begins with these bytes. */
enum http_start {
	START_NONE,
	START_MORE, /* cannot be told yet */
	START_REQUEST,
	START_SIMPLE, /* HTTP/0.9 */
	START_RESPONSE,
	START_TLS,
	START_HTTP2,
};
enum http_start http_classify(struct span s);

#endif
