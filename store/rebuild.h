/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges from what a file says of them: heads from their parts, bodies under a ceiling, and flags
 * and state that agree with them. Reads no file. */
#ifndef STORE_REBUILD_H
#define STORE_REBUILD_H

#include <stdint.h>

#include "core/exchange.h"
#include "store/format.h"

/* Of a request or, with a status, of a response. */
struct parts {
	struct span method, target, version; /* "1.1" */
	uint16_t status;
	struct span reason;
	const struct header *headers;
	uint32_t n_headers;
};

/* SC_EPROTO: they make no head, or one that says something else, as with a line's end inside a value.
 * SC_EFULL, SC_ENOMEM. */
int rebuild_head(const struct parts *p, size_t body_max, struct message **ret);

/* Keeps what is under the message's ceiling, and notes that it was more; `size` on the wire, where it
 * is more than that. */
int rebuild_body(struct message *m, struct span body, uint64_t size, struct format_notes *notes);

/* The trailer section as it would stand on the wire. SC_EFULL, SC_ENOMEM. */
int rebuild_trailers(struct message *m, const struct header *headers, uint32_t n);

/* What follows from all of it: flags, arrival times, and a state that says what is cut. */
void rebuild_finish(struct exchange *ex);

/* Texts that exchanges borrow (route, template): each kept once. All zero is empty. */
struct texts {
	struct text_kept **buckets;
	unsigned n;
};
/* SC_EFULL where there are `max` others, SC_ENOMEM. */
int texts_keep(struct texts *t, struct span s, unsigned max, const char **ret);
void texts_done(struct texts *t);

#endif
