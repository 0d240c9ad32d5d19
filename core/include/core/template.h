/* SPDX-License-Identifier: Apache-2.0 */
/* Routes out of paths: /users/1/orders/9f86d081884c7d65 is /users/{id}/orders/{id}. A segment is
 * a value when it looks like one, or when the dataset has more than LIMIT_TEMPLATE_FANOUT different
 * ones in its place and it is not among those that every tenth request has there. */
#ifndef CORE_TEMPLATE_H
#define CORE_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/limits.h"

struct templates;

struct templates *templates_new(void); /* NULL: no memory */
void templates_free(struct templates *t); /* NULL is fine */

/* A path of the dataset, without its query. Past LIMIT_TEMPLATE_NODES nothing new is learned.
 * *ret_leaf: stands for its route until templates_changes() rises, at most TEMPLATE_LEAVES; 0: no
 * number does. NULL is fine. SC_ENOMEM. */
#define TEMPLATE_LEAVES (LIMIT_TEMPLATE_NODES + 1)
int template_learn(struct templates *t, struct span path, uint32_t *ret_leaf);

/* Rises when routes are no more what they were, at most LIMIT_TEMPLATE_NODES /
 * LIMIT_TEMPLATE_FANOUT times. */
uint32_t templates_changes(const struct templates *t);

/* Appends the route of the path, after what was learned so far. SC_EFULL, SC_ENOMEM. */
int template_of(const struct templates *t, struct span path, struct buf *out);

/* Whether a segment looks like a value by itself: digits, a date, a UUID, long hex digits, a long
 * mixture of letters and digits as ULIDs and Base64 are. */
bool template_is_value(struct span segment);

#endif
