/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies are kept once: equal bytes get the same row of `body`. Not for other folders. */
#ifndef STORE_BODY_H
#define STORE_BODY_H

#include <stdint.h>

#include "core/err.h"
#include "core/span.h"

struct body_table;
struct store;

/* Readies st->bodies for writing. */
int body_open(struct store *st, struct err *err);
void body_close(struct store *st); /* also where it was not opened */

/* The row that holds these bytes, written when it is new; 0 for no bytes. Inside a transaction. */
int body_keep(struct store *st, struct span bytes, int64_t *ret_id, struct err *err);

/* What was written is gone (a rollback): match nothing that came before. NULL is fine. */
void body_forget(struct body_table *t);

#endif
