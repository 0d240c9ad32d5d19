/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a target is worth sending to. After so many errors in a row it is left alone; then one
 * request at a time is let through to see whether it answers again. Reads no clock: times are us on
 * any clock that never goes back. */
#ifndef CLI_MIRROR_CIRCUIT_H
#define CLI_MIRROR_CIRCUIT_H

#include <stdbool.h>
#include <stdint.h>

#define CIRCUIT_FIRST_US INT64_C(1000000) /* until the first probe ... */
#define CIRCUIT_LAST_US INT64_C(30000000) /* ... and at most between two, doubled each time */
#define CIRCUIT_SETTLED_US INT64_C(60000000) /* sooner than this after the last, a pause goes on */

struct circuit {
	unsigned threshold; /* errors in a row; 0: it never opens */
	unsigned failures;  /* in a row */
	bool open;
	bool probing; /* one was let through and has come to nothing yet */
	int64_t probe; /* its id */
	int64_t since_us, closed_us, probe_at_us, wait_us;
	uint64_t pauses; /* so far */
};

enum circuit_news {
	CIRCUIT_NO_NEWS,
	CIRCUIT_PAUSED,
	CIRCUIT_RESUMED,
};

void circuit_init(struct circuit *c, unsigned threshold);

/* Whether the request with this id may go out now. One that was let through comes to a result, or
 * is lost. */
bool circuit_admits(struct circuit *c, int64_t id, int64_t now_us);
enum circuit_news circuit_result(struct circuit *c, int64_t id, bool answered, int64_t now_us);
void circuit_lost(struct circuit *c, int64_t id); /* it was not sent after all */

#endif
