/* SPDX-License-Identifier: Apache-2.0 */
/* Seedable random numbers (xoshiro256**, seeded by splitmix64), and a keyed hash for tables. Not
 * for secrets. */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);

/* One in which every bit of the key and of the seed counts; keeps strangers from choosing their
 * bucket. */
uint64_t hash_bytes(const void *p, size_t len, uint64_t seed);

#endif
