/* SPDX-License-Identifier: Apache-2.0 */
/* What the planner of SQLite and a cursor of a table of several stores tell each other: a plan
 * is a text, "-1,3,|4|17|SELECT ...", which has what each argument is, the columns that a copy
 * of the table would be searched by (bits), where the conditions are in the SQL, and the SQL,
 * which is for one file. It selects the rowid, then every column or NULL in its place. Not for
 * other folders. */
#ifndef STORE_SEVERAL_PLAN_H
#define STORE_SEVERAL_PLAN_H

#include <sqlite3.h>
#include <stdbool.h>

#include "several.h"

#define ARGUMENTS 16 /* of one plan; what is beyond is left to SQLite */

/* idxNum: how a plan's rows come. */
enum { UPWARDS, DOWNWARDS, ONE_ROW };

/* What an argument is that is not an id. */
#define A_VALUE (-1)
#define A_TEXT (-2) /* compared with a column of texts */
#define A_FIRST (-3) /* the rows' ids are not below it, */
#define A_LAST (-4)  /* or above; about */

struct search;

struct vtab {
	sqlite3_vtab base; /* first */
	struct several *s;
	const struct table *t;
	bool exact; /* bodies are matched */
	struct search *idle;
};

/* Whether a number of it says which file it is of, and which there. */
bool several_is_movable(const struct vtab *v, int of);

/* xBestIndex. */
int several_best_index(sqlite3_vtab *base, sqlite3_index_info *info);

static inline const struct part *parts_of(const struct vtab *v)
{
	return v->t->made ? &v->s->made : v->s->parts;
}

static inline unsigned n_parts(const struct vtab *v)
{
	return v->t->made ? 1 : v->s->n;
}

#endif
