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
	PACE_RATE,     /* open loop: so many a second, whatever was recorded */
	PACE_MAX,      /* closed loop: as fast as the target answers */
};

struct pace {
	enum pace_kind kind;
	double speed; /* > 0 */
	/* Per second: from `rate` (>= 0; > 0 where nothing follows) evenly to `rate_end` (> 0)
	 * within ramp_s seconds, and at that from then on. ramp_s 0: `rate` all along. */
	double rate, rate_end;
	double ramp_s;
};

/* "500/s", "30/m", "1000/h" or a bare number (per second), or "100..2000/s over 60s". Sets the
 * three of a rate. SC_EINVAL with the reason. */
int pace_parse_rate(const char *text, struct pace *ret, struct err *err);
/* "2.5" or "2.5x"; greater than 0. SC_EINVAL with the reason. */
int pace_parse_speed(const char *text, double *ret, struct err *err);

struct schedule {
	struct pace pace;
	uint64_t n;		   /* requests asked about so far, of all passes */
	uint64_t n_pass;	   /* of this one */
	double base_us;		   /* recorded time that all passes before took; whole us */
	int64_t first_us, last_us; /* ts of this pass's first and latest; valid when n_pass > 0 */
};

void schedule_init(struct schedule *s, const struct pace *pace);

/* When the next request is due, in ns after the start. `ts_us` is when it was recorded; one from
 * before the first counts as the first. PACE_MAX: 0, that is at once. Never less than the one
 * before where ts_us is not. */
int64_t schedule_next(struct schedule *s, int64_t ts_us);

/* The recording begins anew, one mean gap after its last request; a second after it where there is
 * no gap to go by. */
void schedule_again(struct schedule *s);

#endif
