/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange as the columns that a store has for it, for formats that write them all. */
#ifndef STORE_COLUMNS_H
#define STORE_COLUMNS_H

#include <stdint.h>

#include "core/buf.h"
#include "core/exchange.h"

enum column_kind {
	COLUMN_NULL,
	COLUMN_INTEGER,
	COLUMN_REAL,
	COLUMN_TEXT, /* not always UTF-8; then it is meant as ISO 8859-1 */
	COLUMN_JSON, /* a list of headers */
	COLUMN_BYTES, /* to be written in base64 */
};

struct cell {
	enum column_kind kind;
	int64_t integer;
	double real;
	struct span text; /* of the exchange or of the scratch */
};

struct column {
	const char *name;
	/* `scratch` is empty, and good until the cell is written. SC_ENOMEM, SC_EFULL. */
	int (*get)(const struct exchange *ex, struct buf *scratch, struct cell *ret);
};

/* In the order of the store. */
extern const struct column columns[];
extern const unsigned n_columns;

#endif
