/* SPDX-License-Identifier: Apache-2.0 */
/* When each request is due. The schedule is absolute: every due time is computed from the start, so
 * a late send delays no other and errors never add up. Reads no clock. */
#ifndef REPLAY_SCHEDULE_H
#define REPLAY_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

enum pace_kind {
	PACE_RECORDED, /* offsets as recorded, divided by `speed` */
	PACE_RATE,     /* constant, open loop: the nth is due at n / rate */
	PACE_MAX,      /* closed loop: as fast as the target answers */
};

struct pace {
	enum pace_kind kind;
	double speed; /* > 0 */
	double rate;  /* per second, > 0 */
};

/* "500/s", "30/m", "1000/h" or a bare number (per second). SC_EINVAL with the reason. */
int pace_parse_rate(const char *text, double *ret, struct err *err);
/* "2.5" or "2.5x"; greater than 0. SC_EINVAL with the reason. */
int pace_parse_speed(const char *text, double *ret, struct err *err);

struct schedule {
	struct pace pace;
	int64_t start_ns;
	int64_t first_us; /* ts of the first request; valid when n > 0 */
	uint64_t n;	  /* requests asked about so far */
};

void schedule_init(struct schedule *s, const struct pace *pace, int64_t start_ns);

/* When the next request is due, on the clock of start_ns. `ts_us` is when it was recorded; one from
 * before the first counts as the first. PACE_MAX: always start_ns, that is at once. */
int64_t schedule_due(struct schedule *s, int64_t ts_us);

#endif
