/* SPDX-License-Identifier: Apache-2.0 */
/* JSON numbers (RFC 8259, 6) as the decimals they are written as: never a double, never rounded. */
#ifndef REPLAY_JSON_NUMBER_H
#define REPLAY_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/* Of the number that the text begins with; 0: there is none. */
size_t json_number_length(struct span text);
/* Whether the bytes that a number may have go on to the end of the text. */
bool json_number_reaches_end(struct span text);

/* Both are numbers. Exponents beyond 10^15 are compared as they are written. */
bool json_number_eq(struct span a, struct span b);
uint64_t json_number_hash(struct span a); /* of equal numbers equal */

#endif
