/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: which requests are meant. [METHOD[,METHOD]] [HOST]PATH with PATH exact, PATH* prefix or
 * ~REGEX whole path; HOST exact or *.suffix. Paths compare without the query, byte for byte. */
#ifndef CORE_FILTER_H
#define CORE_FILTER_H

#include "core/stage.h"

struct filter;

struct filter *filter_new(void); /* NULL: no memory */
void filter_free(struct filter *f);

/* Compiles one rule and keeps its text. SC_EINVAL with the reason in err, SC_EFULL. */
int filter_route(struct filter *f, const char *rule, struct err *err);
int filter_exclude(struct filter *f, const char *rule, struct err *err);

/* Whether `f` takes the request (message_host, target, method are read): excluded by none, and
 * taken by a route where there are any. *ret_route is the rule's text, borrowed from f, or NULL. */
bool filter_takes(const struct filter *f, const struct message *request, const char **ret_route);

/* A stage that owns `f` (moved, also on failure). NULL: no memory. */
struct stage *stage_filter_new(struct filter *f);

#endif
