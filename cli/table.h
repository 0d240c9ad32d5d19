/* SPDX-License-Identifier: Apache-2.0 */
/* A result as a table for people (aligned, fitted to the terminal), CSV (RFC 4180), JSON, or JSON
 * with an object a line. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdio.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/span.h"

enum table_format { TABLE_TEXT, TABLE_CSV, TABLE_JSON, TABLE_JSONL };
enum cell_kind { CELL_NULL, CELL_INTEGER, CELL_REAL, CELL_TEXT, CELL_BLOB };

struct table;

/* Columns' names are copied. Text tables are held until the end, the others stream. NULL: no
 * memory. */
struct table *table_new(FILE *out, enum table_format format, int columns, const char *const *names);
/* Cells of a row in order; `text` is the value's text form, for BLOBs its bytes; copied. */
int table_cell(struct table *t, enum cell_kind kind, struct span text);
/* Prints what is left (JSON: the closing bracket). SC_EIO when the output failed. */
int table_finish(struct table *t);
void table_free(struct table *t);

/* Appends a stranger's text as a terminal may get it: control characters, what turns a line around
 * and bytes that are not UTF-8 are escaped. */
int table_shown(struct buf *out, struct span text);

#endif
