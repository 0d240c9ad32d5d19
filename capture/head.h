/* SPDX-License-Identifier: Apache-2.0 */
/* One head, whole in memory, to a message: llhttp's strict reading first, then a lenient one. And
 * how the body that follows it is delimited. */
#ifndef CAPTURE_HEAD_H
#define CAPTURE_HEAD_H

#include <stdbool.h>

#include "core/message.h"

struct head_scratch; /* llhttp and the index it fills, shared by all connections */
struct head_scratch *head_scratch_new(void);
void head_scratch_free(struct head_scratch *hs);

/* SC_OK: *ret is the message and *ret_len its head's length within `bytes`. SC_ETRUNC: the head is
 * not all there. SC_EPROTO: this is no head. SC_EFULL, SC_ENOMEM. */
int head_parse(struct head_scratch *hs, struct span bytes, bool request, size_t body_max,
	       struct message **ret, size_t *ret_len);

/* The one line of an HTTP/0.9 request, `bytes` begins with it. */
int head_parse_simple(struct span bytes, size_t body_max, struct message **ret, size_t *ret_len);

/* RFC 9112, 6.3. */
enum framing { FRAMING_NONE, FRAMING_FIXED, FRAMING_CHUNKED, FRAMING_TO_END };
enum framing head_framing(const struct message *m, uint64_t *ret_len);

#endif
