/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON where it is hot (a store's header column). Elsewhere jansson writes it, and reads it
 * but where documents may be cut short or must be spliced: redaction and comparing do that. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/message.h"
#include "core/span.h"

bool utf8_valid(struct span s); /* RFC 3629 */

/* Appends "..." (RFC 8259). Bytes that are not UTF-8 are taken as ISO 8859-1, the whole string. */
int json_add_string(struct buf *out, struct span s);

/* Appends [["Name","value"],...] in wire order and case. `base` is what the slices point into. */
int json_add_fields(struct buf *out, const uint8_t *base, const struct field *fields, uint32_t n);

#endif
