/* SPDX-License-Identifier: Apache-2.0 */
/* A record as GoReplay's middlewares speak it: "<type> <id> <ts_ns> <latency_ns>\n" and the HTTP
 * bytes as on the wire, all of it as one line of hex. No I/O. */
#ifndef REPLAY_RECORD_H
#define REPLAY_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/message.h"
#include "core/span.h"

enum record_type {
	RECORD_REQUEST = '1',
	RECORD_RESPONSE = '2', /* as recorded */
	RECORD_REPLAYED = '3', /* what the target answers now */
};

#define RECORD_ID 24 /* hex characters: client port, server port, client address, number */

struct record {
	enum record_type type;
	struct span id;
	int64_t ts_ns;	    /* since 1970 */
	int64_t latency_ns; /* of types 1 and 2 how long the message took to arrive, of 3 the round
			     * trip; 0 when not known */
	struct span payload;
};

/* The id of a request and of its answers; of the client's address the low 32 bits. */
void record_id(const struct addr *client, const struct addr *server, uint32_t number,
	       char id[RECORD_ID + 1]);
/* The number an id ends in. SC_EPROTO for anything that record_id() does not write. */
int record_number(struct span id, uint32_t *ret);

/* Appends the line with its end; all or nothing. SC_EFULL over the buffer's ceiling or over
 * LIMIT_MIDDLEWARE_RECORD, SC_ENOMEM. */
int record_write(struct buf *out, const struct record *r);

/* Reads a line without its end, decoding it in place: what *ret points to are bytes of the line.
 * Times may be missing, then they are 0. SC_EPROTO with the reason in `err`. */
int record_read(struct span line, uint8_t *bytes, struct record *ret, struct err *err);

/* The bytes of a response as they are on the wire, a chunked body as one chunk. Of one that was not
 * kept whole, what was kept. SC_EFULL, SC_ENOMEM. */
int record_add_response(struct buf *out, const struct message *m);

/* A request from a payload that somebody may have edited without care for its framing. The framing
 * is made to agree with the body: a Content-Length says how long it is and is added where there is
 * a body without one; a chunked body keeps its chunks, and is one chunk when what is there is not
 * chunked any more. A head without its blank line gets one; a single line feed behind the body, as
 * `echo` adds it, is taken off. SC_EPROTO when it is no request, SC_EFULL, SC_ENOMEM. */
int record_request(struct span payload, struct message **ret);

#endif
