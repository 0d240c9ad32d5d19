/* SPDX-License-Identifier: Apache-2.0 */
/* A table of several stores, as a virtual one of SQLite (sqlite.org/vtab.html): its rows are
 * those of the files one after the other, with their ids moved. Does what several_plan.c found;
 * reads only. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "several_plan.h"

#define IDLE 16	     /* plans of a table that are kept for the next time */
#define PATIENCE 3   /* searches through all rows of all files before these are copied */

/* A plan at work. It outlives its cursor, since SQLite opens one anew for every row that a
 * subquery is asked about. */
struct search {
	struct search *next; /* of those that nobody uses */
	char *plan;
	char *sql, *where;    /* in it */
	int of[ARGUMENTS];    /* whose ids its arguments are, or what else */
	int n_args;
	uint64_t keys;	      /* columns that a copy would be searched by; 0: it would not help */
	uint64_t searched;    /* files, so far */
	sqlite3_stmt **stmts; /* one a part; NULL until it is needed */
	char copy[SEVERAL_COPY_NAME]; /* "": none has been made */
	sqlite3_stmt *copied; /* the same, of the copy */
};

struct cursor {
	sqlite3_vtab_cursor base; /* first */
	struct search *x;	  /* NULL: none yet */
	sqlite3_stmt *row;	  /* of its statements, the one that stands at the row */
	int order;
	unsigned part, first, last; /* being read, and to be read */
	bool end;
	int64_t held; /* the id whose one row the statement stands at; 0: none */
};

/* The line of err for SQLite to hand on. */
static int refuse(struct vtab *v, int rc, const struct err *err)
{
	if (rc == SC_ENOMEM)
		return SQLITE_NOMEM;
	if (rc == SC_ECLOSED)
		return SQLITE_INTERRUPT;
	sqlite3_free(v->base.zErrMsg);
	v->base.zErrMsg = sqlite3_mprintf("%s", err->text);
	return rc == SC_EINVAL ? SEVERAL_INVALID : SEVERAL_FAILED;
}

static int refuse_part(struct vtab *v, unsigned part)
{
	struct err err = {""};

	return refuse(v, db_fail(parts_of(v)[part].st, &err), &err);
}

static int declare(sqlite3 *db, const struct table *t)
{
	sqlite3_str *sql = sqlite3_str_new(db);
	char *text;
	int rc;

	for (int i = 0; i < t->n; i++)
		sqlite3_str_appendf(sql, "%s\"%w\" %s", i ? ", " : "CREATE TABLE t (",
				    t->columns[i].name, several_type(&t->columns[i]));
	sqlite3_str_appendall(sql, ")");
	text = sqlite3_str_finish(sql);
	rc = text ? sqlite3_declare_vtab(db, text) : SQLITE_NOMEM;
	sqlite3_free(text);
	return rc;
}

static int vtab_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
			sqlite3_vtab **ret, char **ret_error)
{
	struct several *s = aux;
	const struct table *t = NULL;
	struct vtab *v;
	int rc;

	for (int i = 0; i < s->n_tables && argc > 2; i++) {
		if (strcmp(s->tables[i].name, argv[2]) == 0)
			t = &s->tables[i];
	}
	if (!t) {
		*ret_error = sqlite3_mprintf("no such table");
		return SQLITE_ERROR;
	}
	rc = declare(db, t);
	if (rc)
		return rc;
	v = calloc(1, sizeof(*v));
	if (!v)
		return SQLITE_NOMEM;
	v->s = s;
	v->t = t;
	v->exact = strcmp(argv[1], "temp") == 0;
	*ret = &v->base; /* moved */
	return SQLITE_OK;
}

static int vtab_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret)
{
	struct cursor *c = calloc(1, sizeof(*c));

	(void)base;
	if (!c)
		return SQLITE_NOMEM;
	c->end = true;
	*ret = &c->base; /* moved */
	return SQLITE_OK;
}

static void search_free(const struct vtab *v, struct search *x)
{
	if (!x)
		return;
	for (unsigned i = 0; x->stmts && i < n_parts(v); i++)
		sqlite3_finalize(x->stmts[i]);
	sqlite3_finalize(x->copied);
	several_copy_drop(v->s, x->copy);
	free(x->stmts);
	free(x->plan);
	free(x);
}

static int vtab_disconnect(sqlite3_vtab *base)
{
	struct vtab *v = (struct vtab *)base;

	while (v->idle) {
		struct search *x = v->idle;

		v->idle = x->next;
		search_free(v, x);
	}
	free(v);
	return SQLITE_OK;
}

static struct search *search_new(const struct vtab *v, const char *plan)
{
	struct search *x = calloc(1, sizeof(*x));
	char *at;
	int where;

	if (!x)
		return NULL;
	x->plan = strdup(plan);
	x->stmts = calloc(n_parts(v), sizeof(sqlite3_stmt *));
	if (!x->plan || !x->stmts) {
		search_free(v, x);
		return NULL;
	}
	for (at = x->plan; *at != '|'; at++)
		x->of[x->n_args++] = (int)strtol(at, &at, 10);
	x->keys = strtoull(at + 1, &at, 16);
	where = (int)strtol(at + 1, &at, 10);
	x->sql = at + 1;
	x->where = x->sql + where;
	return x;
}

/* The one that stands at a row of a file keeps a place in it until then. */
static void search_rest(struct vtab *v, struct search *x)
{
	struct search **last = &v->idle;

	for (unsigned i = 0; i < n_parts(v); i++)
		(void)sqlite3_reset(x->stmts[i]);
	(void)sqlite3_reset(x->copied);
	x->next = v->idle;
	v->idle = x;
	for (int n = 0; *last && n < IDLE; n++)
		last = &(*last)->next;
	search_free(v, *last);
	*last = NULL;
}

static struct search *search_find(struct vtab *v, const char *plan)
{
	for (struct search **at = &v->idle; *at; at = &(*at)->next) {
		struct search *x = *at;

		if (strcmp(x->plan, plan) == 0) {
			*at = x->next;
			return x;
		}
	}
	return search_new(v, plan);
}

static int take_plan(struct cursor *c, int order, const char *plan)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;

	c->order = order;
	if (c->x && strcmp(c->x->plan, plan) == 0)
		return SQLITE_OK;
	if (c->x)
		search_rest(v, c->x);
	c->held = 0;
	c->x = search_find(v, plan);
	return c->x ? SQLITE_OK : SQLITE_NOMEM;
}

static int vtab_close(sqlite3_vtab_cursor *base)
{
	struct cursor *c = (struct cursor *)base;

	if (c->x)
		search_rest((struct vtab *)base->pVtab, c->x);
	free(c);
	return SQLITE_OK;
}

/* What has to be known before the first row. */
static int prepare_rows(struct vtab *v)
{
	struct err err = {""};
	int rc = SC_OK;

	if (v->t->made && v->t->matched)
		rc = several_match_routes(v->s, &err);
	else if (v->t->made || (v->exact && v->t->matched))
		rc = several_match_bodies(v->s, &err);
	return rc ? refuse(v, rc, &err) : SQLITE_OK;
}

/* An id as a column with the affinity of integers is compared with it: text of digits is a
 * number. */
static bool integer_of(sqlite3_value *value, int64_t *ret)
{
	int type = sqlite3_value_type(value);
	/* A look at what text is as a number changes it. */
	sqlite3_value *copy = type == SQLITE_TEXT ? sqlite3_value_dup(value) : NULL;
	double d;

	if (copy)
		type = sqlite3_value_numeric_type(copy);
	d = sqlite3_value_double(value);
	if (type == SQLITE_INTEGER)
		*ret = sqlite3_value_int64(value);
	else if (type == SQLITE_FLOAT && d >= 1 && d < 9e18)
		*ret = (int64_t)d; /* a fraction is no row's id, as SQLite will see */
	else
		type = SQLITE_NULL;
	sqlite3_value_free(copy);
	return type != SQLITE_NULL;
}

/* The file that an id is of, and what it is there. */
static bool locate(const struct vtab *v, int of, int64_t id, unsigned *ret_part, int64_t *ret_id)
{
	const struct part *part;

	*ret_part = 0;
	*ret_id = id;
	if (v->t->made)
		return true;
	if (v->s->tables[of].matched && v->exact) {
		if (id < 1 || id > v->s->bodies.n)
			return false;
		id = v->s->bodies.first[id - 1];
	}
	part = several_part(v->s, of, id);
	if (!part)
		return false;
	*ret_part = (unsigned)(part - v->s->parts);
	*ret_id = id - part->by[of];
	return true;
}

/* Which files have to be read, by the ids among the arguments, and what these are there. */
static bool narrow(struct cursor *c, sqlite3_value **argv, int64_t *ids)
{
	const struct vtab *v = (const struct vtab *)c->base.pVtab;
	bool one = false;

	c->first = 0;
	c->last = n_parts(v) - 1;
	for (int i = 0; i < c->x->n_args; i++) {
		unsigned part;
		int64_t id;

		if (c->x->of[i] < 0)
			continue;
		if (!integer_of(argv[i], &id) || !locate(v, c->x->of[i], id, &part, &ids[i]) ||
		    (one && part != c->first))
			return false;
		c->first = c->last = part;
		one = true;
	}
	return true;
}

/* A bound of ids as one of a file, whose ids move; of what is no number, none. */
static int64_t bound_of(int64_t by, bool last, sqlite3_value *value)
{
	int64_t id;

	if (!integer_of(value, &id) || __builtin_sub_overflow(id, by, &id) || id == INT64_MAX)
		return last ? INT64_MAX : INT64_MIN;
	return id + (last ? 1 : 0); /* behind a fraction too */
}

/* The rows of `stmt` have ids that move by that. */
static int bind(struct cursor *c, sqlite3_stmt *stmt, int64_t by, sqlite3_value **argv,
		const int64_t *ids)
{
	(void)sqlite3_reset(stmt);
	for (int i = 0; i < c->x->n_args; i++) {
		int of = c->x->of[i];
		int rc;

		if (of == A_VALUE || of == A_TEXT)
			rc = sqlite3_bind_value(stmt, i + 1, argv[i]);
		else if (of == A_FIRST || of == A_LAST)
			rc = sqlite3_bind_int64(stmt, i + 1, bound_of(by, of == A_LAST, argv[i]));
		else
			rc = sqlite3_bind_int64(stmt, i + 1, ids[i]);
		if (rc)
			return rc;
	}
	return SQLITE_OK;
}

static int bind_part(struct cursor *c, unsigned part, sqlite3_value **argv, const int64_t *ids)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	const struct part *of = &parts_of(v)[part];
	sqlite3_stmt **stmt = &c->x->stmts[part];
	int rc = *stmt ? SC_OK : db_prepare(of->st, c->x->sql, stmt, &err);

	if (rc)
		return refuse(v, rc, &err);
	return bind(c, *stmt, of->by[v->t->of], argv, ids) ? refuse_part(v, part) : SQLITE_OK;
}

/* Of the copy; with ids among the arguments only the rows of their file. */
static int prepare_copied(struct cursor *c, struct err *err)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct search *x = c->x;
	char *sql = sqlite3_mprintf("SELECT * FROM %s %s AND \" part\" BETWEEN ?%d AND ?%d",
				    x->copy, x->where, x->n_args + 1, x->n_args + 2);
	int rc = sql ? db_prepare(v->s->made.st, sql, &x->copied, err)
		     : err_set(err, SC_ENOMEM, "%s: no memory", v->s->st->path);

	sqlite3_free(sql);
	return rc;
}

static int make_copy(struct cursor *c)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	int rc;

	*c->x->where = '\0';
	rc = several_copy(v->s, v->t, c->x->sql, c->x->keys, c->x->copy, &err);
	*c->x->where = ' ';
	if (!rc)
		rc = prepare_copied(c, &err);
	return rc ? refuse(v, rc, &err) : SQLITE_OK;
}

static int start_copy(struct cursor *c, sqlite3_value **argv, const int64_t *ids)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	struct search *x = c->x;
	int rc = x->copied ? SQLITE_OK : make_copy(c);

	if (rc)
		return rc;
	if (bind(c, x->copied, 0, argv, ids) ||
	    sqlite3_bind_int64(x->copied, x->n_args + 1, c->first) ||
	    sqlite3_bind_int64(x->copied, x->n_args + 2, c->last))
		return refuse(v, db_fail(v->s->made.st, &err), &err);
	return SQLITE_OK;
}

/* Whether the row is one of the whole: of equal bodies the first is. */
static bool is_first(const struct cursor *c)
{
	const struct vtab *v = (const struct vtab *)c->base.pVtab;
	int64_t old, new;

	if (!v->exact || !v->t->matched || c->order == ONE_ROW)
		return true;
	old = sqlite3_column_int64(c->row, 0);
	new = several_matched(&v->s->bodies, c->part, old);
	return new > 0 && v->s->bodies.first[new - 1] == v->s->parts[c->part].by[v->s->body] + old;
}

static int read_copied(struct cursor *c)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	int step = sqlite3_step(c->x->copied);

	c->row = c->x->copied;
	c->end = step != SQLITE_ROW;
	if (step == SQLITE_ROW)
		c->part = (unsigned)sqlite3_column_int64(c->row, v->t->n + 1);
	return step == SQLITE_ROW || step == SQLITE_DONE
		       ? SQLITE_OK : refuse(v, db_fail(v->s->made.st, &err), &err);
}

static int read_row(struct cursor *c)
{
	while (!c->end) {
		int step;

		c->row = c->x->stmts[c->part];
		step = sqlite3_step(c->row);
		if (step == SQLITE_ROW && is_first(c))
			return SQLITE_OK;
		if (step == SQLITE_ROW)
			continue;
		if (step != SQLITE_DONE)
			return refuse_part((struct vtab *)c->base.pVtab, c->part);
		if (c->part == (c->order == DOWNWARDS ? c->first : c->last))
			c->end = true;
		else
			c->part += c->order == DOWNWARDS ? -1u : 1u;
	}
	return SQLITE_OK;
}

/* Lookups of the same id often follow each other: then the statement stands at its row. */
static bool is_held(struct cursor *c, sqlite3_value **argv)
{
	int64_t id;

	if (c->order != ONE_ROW || !integer_of(argv[0], &id))
		return false;
	if (c->held == id) {
		c->end = false;
		return true;
	}
	c->held = id;
	return false;
}

/* After some searches through the files a copy costs less than the next ones. */
static int search(struct cursor *c, sqlite3_value **argv, const int64_t *ids)
{
	const struct vtab *v = (const struct vtab *)c->base.pVtab;
	int rc = SQLITE_OK;

	if (c->x->keys && c->x->searched >= PATIENCE * (uint64_t)n_parts(v)) {
		rc = start_copy(c, argv, ids);
		return rc ? rc : read_copied(c);
	}
	c->x->searched += c->last - c->first + 1;
	for (unsigned i = c->first; i <= c->last && !rc; i++)
		rc = bind_part(c, i, argv, ids);
	if (rc)
		return rc;
	c->part = c->order == DOWNWARDS ? c->last : c->first;
	c->end = false;
	return read_row(c);
}

static bool has_number_for_text(const struct search *x, sqlite3_value **argv)
{
	for (int i = 0; i < x->n_args; i++) {
		int type = x->of[i] == A_TEXT ? sqlite3_value_type(argv[i]) : SQLITE_NULL;

		if (type == SQLITE_INTEGER || type == SQLITE_FLOAT)
			return true;
	}
	return false;
}

/* Where a number is compared with text, which of the two is made into the other depends on where
 * the number comes from, and that is not said here. So the files give all rows, and SQLite
 * decides. */
static int take_all(struct cursor *c)
{
	int len = (int)(c->x->where - c->x->sql);
	char *plan = sqlite3_mprintf("|0|%d|%.*s ORDER BY rowid%s", len, len, c->x->sql,
				     c->order == DOWNWARDS ? " DESC" : "");
	int rc = plan ? take_plan(c, c->order, plan) : SQLITE_NOMEM;

	sqlite3_free(plan);
	return rc;
}

static int vtab_filter(sqlite3_vtab_cursor *base, int order, const char *text, int argc,
		       sqlite3_value **argv)
{
	struct cursor *c = (struct cursor *)base;
	int64_t ids[ARGUMENTS] = {0};
	int rc = prepare_rows((struct vtab *)base->pVtab);

	(void)argc;
	c->end = true;
	if (!rc)
		rc = take_plan(c, order, text);
	if (!rc && has_number_for_text(c->x, argv))
		rc = take_all(c);
	if (rc || is_held(c, argv))
		return rc;
	if (narrow(c, argv, ids))
		rc = search(c, argv, ids);
	if (rc || c->end)
		c->held = 0;
	return rc;
}

static int vtab_next(sqlite3_vtab_cursor *base)
{
	struct cursor *c = (struct cursor *)base;

	if (c->order == ONE_ROW) {
		c->end = true;
		return SQLITE_OK;
	}
	return c->row == c->x->copied ? read_copied(c) : read_row(c);
}

static int vtab_eof(sqlite3_vtab_cursor *base)
{
	return ((struct cursor *)base)->end;
}

static int damaged(struct cursor *c, const char *what, int64_t id)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err;
	int rc = err_set(&err, SC_EINVAL, "%s: is damaged: %s: %s %" PRId64,
			 v->s->parts[c->part].st->path, v->t->name, what, id);

	return refuse(v, rc, &err);
}

static int match_id(struct cursor *c, bool body, int64_t id, int64_t *ret)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	int rc = body ? several_match_bodies(v->s, &err) : several_match_routes(v->s, &err);

	if (rc)
		return refuse(v, rc, &err);
	*ret = several_matched(body ? &v->s->bodies : &v->s->routes, c->part, id);
	if (*ret)
		return SQLITE_OK;
	return damaged(c, body ? "there is no body" : "there is no template", id);
}

/* An id of a file as one of the whole; -1: it is none there. */
static int move_id(struct cursor *c, int of, const char *name, int64_t id, int64_t *ret)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	const struct part *part = &v->s->parts[c->part];

	if (v->t->made) {
		*ret = id;
		return SQLITE_OK;
	}
	if (v->s->tables[of].matched && (v->exact || of == v->s->template))
		return match_id(c, of == v->s->body, id, ret);
	if (id < 0 || __builtin_add_overflow(id, part->by[of], ret))
		return damaged(c, name, id);
	return SQLITE_OK;
}

static int move_connection(struct cursor *c, int64_t n, int64_t *ret)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	int64_t by;
	int rc = several_connections(v->s, c->part, &by, &err);

	if (rc)
		return refuse(v, rc, &err);
	*ret = (int64_t)((uint64_t)n + (uint64_t)by);
	return SQLITE_OK;
}

/* A copy: SQLite keeps the value longer than the row. */
static void give_value(sqlite3_context *to, sqlite3_stmt *stmt, int i)
{
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_INTEGER:
		sqlite3_result_int64(to, sqlite3_column_int64(stmt, i));
		break;
	case SQLITE_FLOAT:
		sqlite3_result_double(to, sqlite3_column_double(stmt, i));
		break;
	case SQLITE_TEXT:
		sqlite3_result_text(to, (const char *)sqlite3_column_text(stmt, i),
				    sqlite3_column_bytes(stmt, i), SQLITE_TRANSIENT);
		break;
	case SQLITE_BLOB:
		sqlite3_result_value(to, sqlite3_column_value(stmt, i));
		break;
	default:
		sqlite3_result_null(to);
	}
}

static int vtab_column(sqlite3_vtab_cursor *base, sqlite3_context *to, int i)
{
	struct cursor *c = (struct cursor *)base;
	const struct vtab *v = (const struct vtab *)base->pVtab;
	const struct column *column = &v->t->columns[i];
	sqlite3_stmt *stmt = c->row;
	int at = i == v->t->id ? 0 : i + 1;
	int64_t id;
	int rc;

	if (column->of == NOT_AN_ID || sqlite3_column_type(stmt, at) != SQLITE_INTEGER) {
		give_value(to, stmt, at);
		return SQLITE_OK;
	}
	id = sqlite3_column_int64(stmt, at);
	if (column->of == A_CONNECTION)
		rc = move_connection(c, id, &id);
	else
		rc = move_id(c, column->of, column->name, id, &id);
	if (rc)
		return rc;
	if (id < 0 && column->of != A_CONNECTION)
		sqlite3_result_null(to);
	else
		sqlite3_result_int64(to, id);
	return SQLITE_OK;
}

static int vtab_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *ret)
{
	struct cursor *c = (struct cursor *)base;
	const struct vtab *v = (const struct vtab *)base->pVtab;
	int64_t id = sqlite3_column_int64(c->row, 0);
	int rc = move_id(c, v->t->of, "rowid", id, &id);

	if (!rc)
		*ret = id;
	return rc;
}

static const sqlite3_module several_table = {
	.xCreate = vtab_connect,
	.xConnect = vtab_connect,
	.xBestIndex = several_best_index,
	.xDisconnect = vtab_disconnect,
	.xDestroy = vtab_disconnect,
	.xOpen = vtab_open,
	.xClose = vtab_close,
	.xFilter = vtab_filter,
	.xNext = vtab_next,
	.xEof = vtab_eof,
	.xColumn = vtab_column,
	.xRowid = vtab_rowid,
};

int several_module(sqlite3 *db, struct several *s)
{
	return sqlite3_create_module_v2(db, "several", &several_table, s, several_free);
}
