/* SPDX-License-Identifier: Apache-2.0 */
/* The common start. Reads no clock: the first one who asks when all are ready says what time it
 * is. */
#include "replay/start.h"

#include <assert.h>

/* Longer than it takes the other engines to look again. */
#define LEAD_NS INT64_C(2000000)

void replay_start_init(struct replay_start *s, unsigned engines)
{
	assert(engines > 0);
	atomic_init(&s->missing, engines);
	atomic_init(&s->at_ns, 0);
	s->lead_ns = engines == 1 ? 0 : LEAD_NS;
}

void replay_start_ready(struct replay_start *s)
{
	unsigned before = atomic_fetch_sub(&s->missing, 1);

	assert(before > 0);
}

int64_t replay_start_at(struct replay_start *s, int64_t now_ns, bool wanted)
{
	int64_t at = atomic_load(&s->at_ns);

	/* A failed exchange leaves in `at` what somebody else has set. */
	if (at == 0 && wanted && atomic_load(&s->missing) == 0 &&
	    atomic_compare_exchange_strong(&s->at_ns, &at, now_ns + s->lead_ns))
		at = now_ns + s->lead_ns;
	return at;
}
