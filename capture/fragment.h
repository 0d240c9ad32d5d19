/* SPDX-License-Identifier: Apache-2.0 */
/* IP fragments until their datagram is whole (RFC 791, 3.2; RFC 8200, 4.5). First bytes to arrive
 * win where fragments overlap. Bounded by LIMIT_FRAGMENT_BYTES and LIMIT_FRAGMENT_WAIT_US. */
#ifndef CAPTURE_FRAGMENT_H
#define CAPTURE_FRAGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/span.h"

struct fragment {
	struct addr src, dst;
	uint32_t id;
	uint8_t proto;
	uint32_t offset; /* bytes */
	bool more;
	struct span payload;
};

struct fragments;
struct fragments *fragments_new(void); /* NULL: no memory */
void fragments_free(struct fragments *fs);

enum fragment_result { FRAGMENT_WAITS, FRAGMENT_WHOLE, FRAGMENT_REFUSED };

/* FRAGMENT_WHOLE: *ret is the datagram's payload, valid until the next call. */
enum fragment_result fragments_add(struct fragments *fs, const struct fragment *f, int64_t ts_us,
				   struct span *ret);

#endif
