/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of a .gor record: an HTTP/1 message as it was on the wire. */
#ifndef STORE_GOR_MESSAGE_H
#define STORE_GOR_MESSAGE_H

#include "core/buf.h"
#include "core/message.h"

/* Of the body `body_max` bytes are kept at most, the rest is counted (MESSAGE_CAPPED); a body that
 * ends before it should is marked (MESSAGE_GAP). Bytes behind the message are left. SC_EPROTO:
 * there is no head, or it is longer than LIMIT_HEAD_BYTES. SC_ENOMEM. */
int gor_message_read(struct span payload, size_t body_max, struct message **ret);

/* To the answer of this request: it may be one without the body that its head tells of (RFC 9112,
 * 6.3). */
void gor_message_answers(struct message *response, struct span method);

/* Appends it as it was on the wire: chunks as they were recorded, or one. SC_EFULL, SC_ENOMEM. */
int gor_message_write(const struct message *m, struct buf *out);

#endif
