/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of store_open_several() share: which tables there are, whose ids a column holds,
 * how far the ids of each file move. Not for other folders. */
#ifndef STORE_SEVERAL_PRIVATE_H
#define STORE_SEVERAL_PRIVATE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "db.h"

/* What a statement over several stores ends with when one of them is at fault: sqlite3_errmsg() is
 * the whole line, and this the kind of it. */
#define SEVERAL_INVALID (SQLITE_ERROR | 101 << 8) /* SC_EINVAL */
#define SEVERAL_FAILED (SQLITE_ERROR | 102 << 8)  /* SC_EIO */

#define NOT_AN_ID (-1)
#define A_CONNECTION (-2)

struct column {
	char *name, *type;
	int of; /* the table whose ids it holds, or one of the above */
	enum affinity { OTHER, NUMBER, TEXT } affinity;
};

#define INDEX_COLUMNS 4
struct table_index {
	int columns[INDEX_COLUMNS];
	int n;
};

struct table {
	char *name;
	struct column *columns;
	int n;
	int id;	      /* the column that is the rowid; -1: none is */
	int of;	      /* the table whose ids its rows have: itself, or the one its id refers to */
	bool matched; /* equal rows of several files are one */
	bool made;    /* its rows lie in several.made, not in the files */
	struct table_index *indexes;
	int n_indexes;
	int64_t rows; /* about */
};

struct part {
	struct store *st;
	int64_t *by;	     /* how far the ids of each table move */
	int64_t connections; /* and those of connections; several_connections() knows */
	uint64_t set;	     /* see store_set(); known when that is */
};

/* The rows of a table of one file: `low` + i has become to[i]. 0: there is no such row, -1: it is
 * none in the whole. */
struct match {
	int64_t low, n;
	int64_t *to;
};

struct matching {
	struct match *parts; /* NULL: not done yet */
	int64_t *first;	     /* where row i + 1 of the whole is: the file's id, moved */
	int64_t n, room;
};

struct several {
	struct store *st; /* the whole; borrowed */
	struct part *parts;
	unsigned n;
	unsigned connections; /* parts that know how far those move */
	int64_t next_connection;
	struct table *tables;
	int n_tables;
	int exchange, body, template; /* tables */
	struct part made; /* a scratch store; several_scratch() makes its st */
	unsigned copies;  /* that were made there */
	struct matching bodies, routes;
};

/* Every row that its file's id, moved, is of; NULL, where there is none. */
const struct part *several_part(const struct several *s, int of, int64_t id);

/* How far the connections of a part move. The first time it costs a look at every exchange of the
 * files before. */
int several_connections(struct several *s, unsigned part, int64_t *ret, struct err *err);

/* What a column's declared type is to SQLite; "" for one that is no plain words. */
const char *several_type(const struct column *c);

/* Somewhere to put rows: a private file that SQLite deletes, in memory while it is small. */
int several_scratch(struct several *s, struct err *err);

/* Copies what `select` gives of each file to a table there, with an index of the columns that
 * are bits of `keys`; `select` gives the rowid and then every column. The copy has the number of
 * the part behind them, as " part". */
#define SEVERAL_COPY_NAME 24
int several_copy(struct several *s, const struct table *t, const char *select, uint64_t keys,
		 char name[SEVERAL_COPY_NAME], struct err *err);
void several_copy_drop(struct several *s, char name[SEVERAL_COPY_NAME]); /* "": none is fine */

/* The module of the virtual tables; `s` is freed with several_free() when st->db is closed, or at
 * once on failure. */
int several_module(sqlite3 *db, struct several *s);
void several_free(void *s);

/* Once; then they cost nothing. That of bodies reads every body of every file. */
int several_match_bodies(struct several *s, struct err *err);
int several_match_routes(struct several *s, struct err *err);
void several_match_done(struct several *s);
/* What the row `id` of that file has become; 0: there is no such row. */
int64_t several_matched(const struct matching *m, unsigned part, int64_t id);

#endif
