/* SPDX-License-Identifier: Apache-2.0 */
/* A recorded request as something to be sent by another program: what the formats share that say a
 * URL, header lines and a body. */
#ifndef STORE_REQUEST_H
#define STORE_REQUEST_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/exchange.h"

/* Why such a format cannot say it, as the text of a note; NULL: it can. */
const char *request_refusal(const struct exchange *ex);

/* Appends the URL of a request that is not refused, in the bytes of RFC 3986 alone: others are
 * percent-encoded, which *ret_changed says. Without a host in the request: the server's address. */
int request_url(const struct exchange *ex, struct buf *out, bool *ret_changed);
/* Host and port in it. `text` has room for REQUEST_AUTHORITY bytes; SC_EINVAL: there is none. */
#define REQUEST_AUTHORITY 300u
int request_authority(const struct exchange *ex, char *text, struct span *ret);

/* Whether field i is the sender's own to make: Host, Content-Length, Transfer-Encoding. */
bool request_field_implied(const struct message *m, uint32_t i);
/* Whether it is a Host that is not the URL's, of a request with an absolute target. */
bool request_other_host(const struct message *m, uint32_t i);
bool request_has(const struct message *m, const char *name);
/* Whether field i is a token and a value of one line without NUL once it is unfolded. */
bool request_field_plain(const struct message *m, uint32_t i);
/* The value with its folds (RFC 9112, 5.2) as one space each; good as long as `scratch` is. */
int request_value(const struct message *m, uint32_t i, struct buf *scratch, struct span *ret);

#endif
