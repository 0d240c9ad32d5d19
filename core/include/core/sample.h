/* SPDX-License-Identifier: Apache-2.0 */
/* The sampling percentage. By request: each is let in by itself with that probability (Istio's
 * semantics: sampling, not counting). By a key: a hash of it decides, so that the same key is always
 * in or always out, and 10% is a subset of 50% under the same seed. What comes out of a store has an
 * id, and by request its hash decides too: whatever else is read, it falls the same. */
#ifndef CORE_SAMPLE_H
#define CORE_SAMPLE_H

#include <stdint.h>

#include "core/rng.h"
#include "core/stage.h"

/* "12.5%" or "12.5"; 0..100. SC_EINVAL with the reason. */
int sample_parse(const char *text, double *ret_percent, struct err *err);

enum sample_by {
	SAMPLE_BY_REQUEST,
	SAMPLE_BY_CONNECTION, /* both ends, with their ports */
	SAMPLE_BY_CLIENT,     /* its address */
	SAMPLE_BY_HEADER,     /* the first field of that name */
	SAMPLE_BY_COOKIE,
	SAMPLE_BY_QUERY,
	SAMPLE_BYS,
};
struct sample_key {
	enum sample_by by;
	const char *name; /* of header, cookie, parameter; borrowed */
};

/* request, connection, client, header:NAME, cookie:NAME, query:NAME; the name is borrowed from
 * `text`. SC_EINVAL with the reason. */
int sample_key_parse(const char *text, struct sample_key *ret, struct err *err);
/* Its text again, in two parts, the second "" where it has no name. */
const char *sample_key_kind(const struct sample_key *key);
const char *sample_key_name(const struct sample_key *key);

/* Throws the dice. A request that lacks the header, cookie or parameter goes by its connection. */
struct sampler {
	struct sample_key key;
	uint64_t seed;
	uint64_t id_seed; /* of throws that go by the id; another for each percentage */
	bool by_id;
	struct rng rng;
};
void sampler_init(struct sampler *s, const struct sample_key *key, uint64_t seed);
/* From now on what has an id is thrown for by seed, id, pass and `which`: each percentage that an
 * exchange meets has a number of its own, or one would decide the other. */
#define THROW_SAMPLE 0u
#define THROW_POLICY 1u /* of the first destination; of the others, those that follow */
void sampler_go_by_id(struct sampler *s, uint64_t which);
bool sampler_takes(struct sampler *s, const struct exchange *ex, double percent);

/* The same seed lets the same requests of the same input in; goes by the id. ex->sample is multiplied.
 * NULL: no memory. */
struct stage *stage_sample_new(double percent, const struct sample_key *key, uint64_t seed);

#endif
