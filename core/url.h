/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding (RFC 3986, 2.1) as forms and queries use it. */
#ifndef CORE_URL_H
#define CORE_URL_H

#include <stdbool.h>

#include "core/span.h"

/* Whether there is a %XX or a +. */
bool url_is_encoded(struct span s);
/* %XX to its byte, + to a space; a % that begins none stays. `to` has room for s.len bytes. Returns
 * how many it wrote. */
size_t url_decode(struct span s, uint8_t *to);
/* One %XX at p: its byte and 3; otherwise the byte as it is and 1. */
size_t url_step(const uint8_t *p, size_t left, uint8_t *ret);

#endif
