/* SPDX-License-Identifier: Apache-2.0 */
/* Running totals: added up in memory, one UPDATE each when a transaction ends. Knows nothing of
 * what the rows are. */
#include "totals.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "db.h"

#define ADD(table, key, columns, values, sums)                                                     \
	"INSERT INTO " table " (" key ", " columns ") VALUES (?1, " values ")"                     \
	" ON CONFLICT (" key ") DO UPDATE SET " sums
#define SUM(column) column " = " column " + excluded." column

static const struct kind {
	const char *add;
	int columns;
} kinds[] = {
	[TOTAL_OF_CAPTURE] = {
		ADD("capture_total", "capture_id",
		    "exchanges, complete, no_response, truncated, gap, request_bytes,"
		    " response_bytes", "?2, ?3, ?4, ?5, ?6, ?7, ?8",
		    SUM("exchanges") ", " SUM("complete") ", " SUM("no_response") ", "
		    SUM("truncated") ", " SUM("gap") ", " SUM("request_bytes") ", "
		    SUM("response_bytes")), 7},
	[TOTAL_OF_REPLAY] = {
		ADD("replay_total", "replay_id", "results, answered, errors", "?2, ?3, ?4",
		    SUM("results") ", " SUM("answered") ", " SUM("errors")), 3},
	[TOTAL_OF_BODIES] = {
		ADD("body_total", "id", "bodies, bytes", "?2, ?3",
		    SUM("bodies") ", " SUM("bytes")), 2},
};

struct open_total {
	struct total sums; /* first */
	struct open_total *next;
	const struct kind *kind;
	sqlite3_stmt *add;
};

static bool is_zero(const struct total *t)
{
	for (size_t i = 0; i < TOTAL_COLUMNS; i++) {
		if (t->n[i])
			return false;
	}
	return true;
}

int total_open(struct store *st, enum total_of of, int64_t id, struct total **ret,
	       struct err *err)
{
	struct open_total *t = calloc(1, sizeof(*t));
	int rc = t ? SC_OK : err_set(err, SC_ENOMEM, "%s: no memory", st->path);

	if (rc)
		return rc;
	t->kind = &kinds[of];
	rc = db_prepare(st, t->kind->add, &t->add, err);
	if (!rc && sqlite3_bind_int64(t->add, 1, id))
		rc = db_fail(st, err);
	if (rc) {
		sqlite3_finalize(t->add);
		free(t);
		return rc;
	}
	t->next = st->totals;
	st->totals = t;
	*ret = &t->sums;
	return SC_OK;
}

void total_close(struct store *st, struct total *total)
{
	struct open_total **at = &st->totals;

	while (*at && &(*at)->sums != total)
		at = &(*at)->next;
	if (*at) {
		struct open_total *t = *at;

		*at = t->next;
		sqlite3_finalize(t->add);
		free(t);
	}
}

int totals_write(struct store *st, struct err *err)
{
	int rc = SC_OK;

	for (struct open_total *t = st->totals; t && !rc; t = t->next) {
		if (is_zero(&t->sums))
			continue;
		for (int i = 0; i < t->kind->columns; i++)
			(void)sqlite3_bind_int64(t->add, i + 2, t->sums.n[i]);
		rc = db_run(st, t->add, err);
		memset(&t->sums, 0, sizeof(t->sums));
	}
	return rc;
}

void totals_forget(struct store *st)
{
	for (struct open_total *t = st->totals; t; t = t->next)
		memset(&t->sums, 0, sizeof(t->sums));
}

int totals_count(struct store *st, struct err *err)
{
	return db_exec(st,
		"DELETE FROM capture_total;"
		"INSERT INTO capture_total SELECT capture_id, count(*),"
		" count(CASE WHEN state = 'complete' THEN 1 END),"
		" count(CASE WHEN state = 'no-response' THEN 1 END),"
		" count(CASE WHEN state = 'truncated' THEN 1 END),"
		" count(CASE WHEN state = 'gap' THEN 1 END),"
		" sum(request_size), coalesce(sum(response_size), 0)"
		" FROM exchange GROUP BY capture_id;"
		"DELETE FROM replay_total;"
		"INSERT INTO replay_total SELECT replay_id, count(*), count(status), count(error)"
		" FROM result GROUP BY replay_id;"
		"DELETE FROM body_total;"
		"INSERT INTO body_total SELECT 1, count(*), coalesce(sum(size), 0) FROM body", err);
}
