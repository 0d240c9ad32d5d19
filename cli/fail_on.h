/* SPDX-License-Identifier: Apache-2.0 */
/* --fail-on 'errors>0': conditions on what a run came to, for scripts that go by the exit status.
 * Knows names, numbers and units; what a command can measure is the command's to say. */
#ifndef CLI_FAIL_ON_H
#define CLI_FAIL_ON_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "opt.h"
#include "replay/summary.h"

enum fail_unit {
	FAIL_COUNT,    /* a number, or a percentage of `whole`: 3, 1.5% */
	FAIL_PERCENT,  /* 99.9% or 99.9 */
	FAIL_DURATION, /* us: 250ms, 1s */
	FAIL_RATE,     /* a second: 500, 500/s */
};

/* What a command measured, or will: tables of these end with a NULL name. */
struct fail_value {
	const char *name;
	enum fail_unit unit;
	double value; /* as the unit says */
	double whole; /* what percentages of a FAIL_COUNT are of; of nothing, they are 0 */
};

/* Whether each condition reads NAME OPERATOR VALUE, with a name of `known` and a value of its unit.
 * SC_EINVAL names the condition and what was expected. */
int fail_on_check(const struct str_list *conditions, const struct fail_value *known,
		  struct err *err);

/* The first condition that holds, as it was written, or NULL; *ret_value is what it was about.
 * After fail_on_check(). */
const char *fail_on_judge(const struct str_list *conditions, const struct fail_value *known,
			  const struct fail_value **ret_value);

/* "p99 is 312 ms": what was measured. */
#define FAIL_TEXT 96
void fail_value_text(const struct fail_value *v, char text[FAIL_TEXT]);

/* What a replay measures. Before it has run, with `a` NULL: the names and units alone. */
#define FAIL_REPLAY_VALUES 32
void fail_values_of_replay(const struct account *a, struct fail_value ret[FAIL_REPLAY_VALUES]);

#endif
