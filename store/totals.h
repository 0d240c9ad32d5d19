/* SPDX-License-Identifier: Apache-2.0 */
/* How many rows there are of what, kept beside them in the same transaction: so that a store of ten
 * million exchanges says at once what it holds. Triggers follow what is deleted, by whoever it is.
 * Not for other folders. */
#ifndef STORE_TOTALS_H
#define STORE_TOTALS_H

#include <stdint.h>

#include "core/err.h"

struct store;

enum total_of { TOTAL_OF_CAPTURE, TOTAL_OF_REPLAY, TOTAL_OF_BODIES };

/* Places in struct total.n: the columns of its table. */
enum { CAPTURE_EXCHANGES, CAPTURE_STATES, CAPTURE_REQUEST_BYTES = CAPTURE_STATES + 4,
       CAPTURE_RESPONSE_BYTES };
enum { REPLAY_RESULTS, REPLAY_ANSWERED, REPLAY_ERRORS };
enum { BODIES_COUNT, BODIES_BYTES };

#define TOTAL_COLUMNS 7

/* What the transaction under way adds to one row; whoever adds does so before db_row(). */
struct total {
	int64_t n[TOTAL_COLUMNS];
};

/* `id`: of the capture or replay; 1 for bodies. Good until total_close(). */
int total_open(struct store *st, enum total_of of, int64_t id, struct total **ret,
	       struct err *err);
void total_close(struct store *st, struct total *t); /* NULL is fine */

/* For db.c: into the file, inside the transaction; or nothing of it happened. */
int totals_write(struct store *st, struct err *err);
void totals_forget(struct store *st);

/* From the rows themselves: a look at each. Inside a transaction or not. */
int totals_count(struct store *st, struct err *err);

#endif
