/* SPDX-License-Identifier: Apache-2.0 */
/* The routes of a store's paths, rows of `template`: a path's own at once, and all of them anew when
 * a place turns out to be one of values. Rows that have become the same route keep their numbers
 * and have the same text. Not for other folders. */
#ifndef STORE_ROUTE_TABLE_H
#define STORE_ROUTE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/span.h"

struct route_table;
struct store;

/* With what the store has so far. For one writer: after a rollback it must not be used again. */
int route_table_open(struct store *st, struct route_table **ret, struct err *err);
void route_table_free(struct route_table *t); /* NULL is fine */

/* The row of the route that a path (without its query) is of; 0: it has none, or there are
 * LIMIT_TEMPLATES. A path that nobody served teaches nothing (`served` false: a status of 4xx or
 * 5xx): scanners try hundreds. Inside a transaction. */
int route_table_find(struct route_table *t, struct span path, bool served, int64_t *ret_id,
		     struct err *err);

/* Those of all exchanges that have none. In one transaction, under way or not. */
int route_table_fill(struct store *st, struct err *err);

#endif
