/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets that stand nowhere in the test itself, so that its own memory can be searched for them:
 * they are made when they are needed and compared a byte at a time. */
#ifndef UNIT_REDACT_PLANTED_H
#define UNIT_REDACT_PLANTED_H

#include "core/exchange.h"

#define PLANTED 9u       /* secrets */
#define PLANTED_LEN 24u  /* bytes of each */
#define PLANTED_TALKS 6u /* exchanges full of them, each in another way */

/* An exchange with all of them. Whatever it was made from is overwritten. */
struct exchange *planted_exchange(unsigned talk);
/* The rules that name all their places. */
extern const char planted_rules[];

/* How many of them stand in these bytes, and in the writable memory of this process. */
unsigned planted_in(const uint8_t *p, size_t len);
unsigned planted_in_memory(void);

#endif
