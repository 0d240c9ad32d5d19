/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: which requests are meant, in the language of core/rule.h. Many of them cost little more
 * than one: they are looked up, not asked in turn. */
#ifndef CORE_FILTER_H
#define CORE_FILTER_H

#include "core/stage.h"

struct filter;

struct filter *filter_new(void); /* NULL: no memory */
void filter_free(struct filter *f);

/* Compiles one rule and keeps its text. SC_EINVAL with the reason in err. */
int filter_route(struct filter *f, const char *rule, struct err *err);
int filter_exclude(struct filter *f, const char *rule, struct err *err);

/* Whether any rule asks for the response (status:). */
bool filter_waits(const struct filter *f);

/* Whether `f` takes the exchange: excluded by none, and taken by a route where there are any.
 * *ret_route is the text of the rule that decided, borrowed from f, or NULL. `whole`: the response is known, or known
 * to be missing; until then conditions on it are taken to hold for routes, not for excludes. */
bool filter_takes(const struct filter *f, const struct exchange *ex, bool whole,
		  const char **ret_route);

/* A stage that owns `f` (moved, also on failure). NULL: no memory. */
struct stage *stage_filter_new(struct filter *f);

#endif
