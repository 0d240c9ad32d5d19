/* SPDX-License-Identifier: Apache-2.0 */
/* Which bodies and which routes of several files are the same: found out by those who do it in a
 * merge, writing to a scratch store that keeps no data. So the numbers are those of a merge too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "core/limits.h"
#include "route_table.h"
#include "several.h"
#include "totals.h"

/* What body.c writes shrinks to its size at once. */
static const char scratch_sql[] =
	"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
	"CREATE TABLE body (id INTEGER PRIMARY KEY, size INTEGER NOT NULL, data BLOB);"
	"CREATE TRIGGER body_kept AFTER INSERT ON body BEGIN"
	" UPDATE body SET data = NULL WHERE id = new.id; END;"
	"CREATE TABLE body_total (id INTEGER PRIMARY KEY, bodies INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL);"
	"INSERT INTO body_total VALUES (1, 0, 0);"
	"CREATE TABLE template (id INTEGER PRIMARY KEY, path TEXT NOT NULL,"
	" template TEXT NOT NULL);"
	"BEGIN";

/* What becomes of rows: body.c or route_table.c behind one face. */
struct matcher {
	struct several *s;
	struct matching *m;
	const char *table, *column;
	int (*find)(struct matcher *x, struct span bytes, int64_t *ret, struct err *err);
	struct route_table *routes;
};

static int no_memory(const struct several *s, struct err *err)
{
	return err_set(err, SC_ENOMEM, "%s: no memory", s->st->path);
}

int several_scratch(struct several *s, struct err *err)
{
	struct store *st;
	int rc;

	if (s->made.st)
		return SC_OK;
	st = calloc(1, sizeof(*st));
	if (!st)
		return no_memory(s, err);
	st->path = strdup(s->st->path);
	rc = st->path ? SC_OK : no_memory(s, err);
	if (!rc && sqlite3_open_v2("", &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				   SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		rc = db_fail(st, err);
	if (!rc)
		rc = db_exec(st, scratch_sql, err);
	if (rc) {
		store_close(st);
		return rc;
	}
	s->made.st = st; /* moved */
	return SC_OK;
}

/* The row of the whole is new when its number is: they begin at 1 and leave none out. */
static int keep_first(struct matcher *x, int64_t id, int64_t at, struct err *err)
{
	struct matching *m = x->m;

	if (id <= m->n)
		return SC_OK;
	if (m->n == m->room) {
		int64_t room = m->room ? 2 * m->room : 1024;
		int64_t *grown = realloc(m->first, (size_t)room * sizeof(*grown));

		if (!grown)
			return no_memory(x->s, err);
		m->first = grown;
		m->room = room;
	}
	m->first[m->n++] = at;
	return SC_OK;
}

static int match_row(struct matcher *x, unsigned part, sqlite3_stmt *q, struct err *err)
{
	struct match *match = &x->m->parts[part];
	int64_t old = sqlite3_column_int64(q, 0);
	const void *p = sqlite3_column_blob(q, 1);
	size_t len = (size_t)sqlite3_column_bytes(q, 1);
	int64_t id = 0;
	int table = x->m == &x->s->bodies ? x->s->body : x->s->template;
	int rc;

	/* Beyond the ends of its own table: only where the file's tree is out of order. */
	if (!match->to || old < match->low || old - match->low >= match->n)
		return err_set(err, SC_EINVAL, "%s: is damaged: %s: id %" PRId64,
			       x->s->parts[part].st->path, x->table, old);
	rc = x->find(x, span_of(p ? p : "", p ? len : 0), &id, err);
	if (rc)
		return rc;
	match->to[old - match->low] = id ? id : -1;
	return id ? keep_first(x, id, x->s->parts[part].by[table] + old, err) : SC_OK;
}

/* One integer of the rows of a part's table. */
static int ask(struct matcher *x, unsigned part, const char *what, int64_t *ret, struct err *err)
{
	char *sql = sqlite3_mprintf("SELECT %s FROM %s", what, x->table);
	int rc = sql ? db_integer(x->s->parts[part].st, sql, ret, err) : no_memory(x->s, err);

	sqlite3_free(sql);
	return rc;
}

static int make_room(struct matcher *x, unsigned part, int64_t *used, struct err *err)
{
	struct match *match = &x->m->parts[part];
	int64_t last = 0;
	int rc = ask(x, part, "min(id)", &match->low, err);

	if (!rc)
		rc = ask(x, part, "max(id)", &last, err);
	if (rc || last == 0)
		return rc;
	if (last - match->low >= LIMIT_MATCHED - *used)
		return err_set(err, SC_EINVAL, "%s: more than %lld rows of %s to be compared with"
			       " those of the others: 'shadow-ctl store merge' makes them one",
			       x->s->parts[part].st->path, LIMIT_MATCHED, x->table);
	match->n = last - match->low + 1;
	*used += match->n;
	match->to = calloc((size_t)match->n, sizeof(*match->to));
	return match->to ? SC_OK : no_memory(x->s, err);
}

static int match_part(struct matcher *x, unsigned part, struct err *err)
{
	struct store *st = x->s->parts[part].st;
	char *sql = sqlite3_mprintf("SELECT id, %s FROM %s ORDER BY id", x->column, x->table);
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = sql ? db_prepare(st, sql, &q, err) : no_memory(x->s, err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
		rc = match_row(x, part, q, err);
		if (!rc && x->s->st->stop && x->s->st->stop())
			rc = err_set(err, SC_ECLOSED, "%s: stopped", st->path);
	}
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(st, err);
	sqlite3_finalize(q);
	sqlite3_free(sql);
	return rc;
}

static void forget(struct matching *m, unsigned n)
{
	for (unsigned i = 0; m->parts && i < n; i++)
		free(m->parts[i].to);
	free(m->parts);
	free(m->first);
	*m = (struct matching){.n = 0};
}

static int match_all(struct matcher *x, struct err *err)
{
	unsigned n = x->s->n;
	int64_t used = 0;
	int rc = SC_OK;

	x->m->parts = calloc(n, sizeof(*x->m->parts));
	if (!x->m->parts)
		return no_memory(x->s, err);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = make_room(x, i, &used, err);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = match_part(x, i, err);
	return rc;
}

static int find_body(struct matcher *x, struct span bytes, int64_t *ret, struct err *err)
{
	return body_keep(x->s->made.st, bytes, ret, err);
}

int several_match_bodies(struct several *s, struct err *err)
{
	struct matcher x = {.s = s, .m = &s->bodies, .table = "body", .column = "data",
			    .find = find_body};
	int rc;

	if (s->bodies.parts)
		return SC_OK;
	rc = several_scratch(s, err);
	if (!rc)
		rc = db_exec(s->made.st, "DELETE FROM body", err); /* of one that was stopped */
	if (!rc)
		rc = body_open(s->made.st, err);
	if (!rc)
		rc = match_all(&x, err);
	if (!rc)
		rc = totals_write(s->made.st, err);
	if (s->made.st)
		body_close(s->made.st);
	if (rc)
		forget(&s->bodies, s->n);
	return rc;
}

static int find_route(struct matcher *x, struct span bytes, int64_t *ret, struct err *err)
{
	return route_table_find(x->routes, bytes, true, ret, err);
}

int several_match_routes(struct several *s, struct err *err)
{
	struct matcher x = {.s = s, .m = &s->routes, .table = "template", .column = "path",
			    .find = find_route};
	int rc;

	if (s->routes.parts)
		return SC_OK;
	rc = several_scratch(s, err);
	if (!rc)
		rc = db_exec(s->made.st, "DELETE FROM template", err);
	if (!rc)
		rc = route_table_open(s->made.st, &x.routes, err);
	if (!rc)
		rc = match_all(&x, err);
	route_table_free(x.routes);
	if (rc)
		forget(&s->routes, s->n);
	return rc;
}

void several_match_done(struct several *s)
{
	forget(&s->bodies, s->n);
	forget(&s->routes, s->n);
	store_close(s->made.st);
}

int64_t several_matched(const struct matching *m, unsigned part, int64_t id)
{
	const struct match *match = &m->parts[part];

	return id >= match->low && id - match->low < match->n ? match->to[id - match->low] : 0;
}
