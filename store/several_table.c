/* SPDX-License-Identifier: Apache-2.0 */
/* A table of several stores, as a virtual one of SQLite (sqlite.org/vtab.html): its rows are those of
 * the files one after the other, with their ids moved. What can be asked of the files is asked of
 * them: the plan is SQL for each file, and what SQLite's planner may know about it. Reads only. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "several.h"

#define ARGUMENTS 16 /* of one plan; what is beyond is left to SQLite */
#define IDLE 16	     /* plans of a table that are kept for the next time */
#define PATIENCE 3   /* searches through all rows of all files before these are copied */

/* idxNum: how a plan's rows come. */
enum { UPWARDS, DOWNWARDS, ONE_ROW };

/* An argument that is a value, not an id. */
#define A_VALUE (-1)

struct search;

struct vtab {
	sqlite3_vtab base; /* first */
	struct several *s;
	const struct table *t;
	bool exact; /* bodies are matched */
	struct search *idle;
};

/* A plan at work. It outlives its cursor, since SQLite opens one anew for every row that a subquery is
 * asked about. */
struct search {
	struct search *next; /* of those that nobody uses */
	char *plan;
	char *sql, *where;    /* in it */
	int of[ARGUMENTS];    /* whose ids its arguments are; A_VALUE */
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

static const struct part *parts_of(const struct vtab *v)
{
	return v->t->made ? &v->s->made : v->s->parts;
}

static unsigned n_parts(const struct vtab *v)
{
	return v->t->made ? 1 : v->s->n;
}

/* Whether a number of it says which file it is of, and which there. */
static bool is_movable(const struct vtab *v, int of)
{
	return of >= 0 && !v->t->made &&
	       !(v->s->tables[of].matched && (v->exact || v->s->tables[of].made));
}

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

/* A plan in the making: the arguments' kinds, the conditions, and what they leave. */
struct plan {
	const struct vtab *v;
	sqlite3_index_info *info;
	sqlite3_str *args, *where;
	int n_args;
	unsigned long long keys; /* of a copy */
	bool one_part;
	uint64_t equal, below, above; /* columns that have such a bound */
	uint64_t texts;		      /* and those that equal a text */
};

static void add_argument(struct plan *p, int constraint, int of)
{
	p->info->aConstraintUsage[constraint].argvIndex = ++p->n_args;
	sqlite3_str_appendf(p->args, "%d,", of);
}

static void add_condition(struct plan *p, const char *format, const char *column)
{
	sqlite3_str_appendall(p->where, sqlite3_str_length(p->where) ? " AND " : " WHERE ");
	sqlite3_str_appendf(p->where, format, column, p->n_args, p->n_args);
}

static uint64_t bit(int column)
{
	return 1ull << (column < 63 ? column : 63);
}

/* A condition on an id of another table: of which file it is, is known. */
static void add_id(struct plan *p, int i)
{
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];
	const struct column *column = &p->v->t->columns[c->iColumn];

	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ || !is_movable(p->v, column->of))
		return;
	add_argument(p, i, column->of);
	add_condition(p, "\"%w\" = ?%d", column->name);
	p->equal |= bit(c->iColumn);
	p->one_part = true;
}

/* A file compares as SQLite does, since the columns have the same affinity. But where a number is
 * compared with text, what of the two is made into the other depends on both sides of which only one
 * comes here: then the file lets all through, and SQLite decides. */
static void add_text(struct plan *p, int i)
{
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];

	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ)
		return;
	add_argument(p, i, A_VALUE);
	add_condition(p, "(\"%w\" = ?%d OR typeof(?%d) <> 'text')",
		      p->v->t->columns[c->iColumn].name);
	p->texts |= bit(c->iColumn);
}

static void add_number(struct plan *p, int i)
{
	static const struct {
		unsigned char op;
		const char *condition;
	} operators[] = {
		{SQLITE_INDEX_CONSTRAINT_EQ, "\"%w\" = ?%d"},
		{SQLITE_INDEX_CONSTRAINT_GT, "\"%w\" > ?%d"},
		{SQLITE_INDEX_CONSTRAINT_GE, "\"%w\" >= ?%d"},
		{SQLITE_INDEX_CONSTRAINT_LT, "\"%w\" < ?%d"},
		{SQLITE_INDEX_CONSTRAINT_LE, "\"%w\" <= ?%d"},
	};
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];

	for (size_t k = 0; k < sizeof(operators) / sizeof(operators[0]); k++) {
		if (operators[k].op != c->op)
			continue;
		add_argument(p, i, A_VALUE);
		add_condition(p, operators[k].condition, p->v->t->columns[c->iColumn].name);
		*(k == 0 ? &p->equal : k < 3 ? &p->above : &p->below) |= bit(c->iColumn);
	}
}

static bool is_own_id(const struct table *t, int column)
{
	return column < 0 || column == t->id;
}

static void add_constraint(struct plan *p, int i)
{
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];
	const struct table *t = p->v->t;

	if (!c->usable || is_own_id(t, c->iColumn) || p->n_args == ARGUMENTS)
		return;
	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ && c->op != SQLITE_INDEX_CONSTRAINT_GT &&
	    c->op != SQLITE_INDEX_CONSTRAINT_GE && c->op != SQLITE_INDEX_CONSTRAINT_LT &&
	    c->op != SQLITE_INDEX_CONSTRAINT_LE)
		return;
	if (strcasecmp(sqlite3_vtab_collation(p->info, i), "BINARY") != 0)
		return;
	if (t->columns[c->iColumn].of != NOT_AN_ID)
		add_id(p, i);
	else if (t->columns[c->iColumn].affinity == NUMBER)
		add_number(p, i);
	else if (t->columns[c->iColumn].affinity == TEXT)
		add_text(p, i);
}

/* The row of an id: of one file, found at once. */
static bool add_own_id(struct plan *p)
{
	for (int i = 0; i < p->info->nConstraint; i++) {
		const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];

		if (!c->usable || c->op != SQLITE_INDEX_CONSTRAINT_EQ ||
		    !is_own_id(p->v->t, c->iColumn))
			continue;
		add_argument(p, i, p->v->t->of);
		add_condition(p, "\"%w\" = ?%d", "rowid");
		return true;
	}
	return false;
}

/* What an index of the files leaves of so many rows, as SQLite itself guesses it; negative: there is
 * none that helps. */
static double indexed_rows(const struct plan *p, double rows)
{
	double best = -1;

	for (int i = 0; i < p->v->t->n_indexes; i++) {
		const struct table_index *x = &p->v->t->indexes[i];
		double left = rows;
		uint64_t next = 0;
		int n = 0;

		while (n < x->n && x->columns[n] >= 0 && p->equal & bit(x->columns[n]))
			n++;
		if (n < x->n && x->columns[n] >= 0)
			next = bit(x->columns[n]);
		if (n && left > 11 - n)
			left = 11 - n;
		left /= (p->above & next ? 4 : 1) * (p->below & next ? 4 : 1);
		if ((n || (p->above | p->below) & next) && (best < 0 || left < best))
			best = left;
	}
	return best;
}

/* In units of a row that is read from its file and handed on. */
static bool estimate(struct plan *p)
{
	sqlite3_index_info *info = p->info;
	double all = p->v->t->rows > 1 ? (double)p->v->t->rows : 1;
	double parts = p->one_part ? 1 : (double)n_parts(p->v);
	double left = indexed_rows(p, all);
	bool indexed = left >= 0;
	double read = indexed ? left : all * parts / (double)n_parts(p->v);

	if (!indexed)
		left = read / ((p->equal ? 10 : 1) * (p->above ? 3 : 1) * (p->below ? 3 : 1));
	left /= p->texts ? 10 : 1;
	info->estimatedCost = (indexed ? 2 : 1.5) * read + 1.5 * left + 20 * parts;
	info->estimatedRows = left < 1 ? 1 : (sqlite3_int64)left;
	return indexed;
}

/* Files follow each other as their ids do. */
static int order_of(const struct plan *p, bool indexed)
{
	sqlite3_index_info *info = p->info;

	if (info->nOrderBy != 1 || indexed || !is_own_id(p->v->t, info->aOrderBy[0].iColumn))
		return UPWARDS;
	info->orderByConsumed = 1;
	sqlite3_str_appendall(p->where,
			      info->aOrderBy[0].desc ? " ORDER BY rowid DESC" : " ORDER BY rowid");
	return info->aOrderBy[0].desc ? DOWNWARDS : UPWARDS;
}

static void choose(struct plan *p)
{
	sqlite3_index_info *info = p->info;
	bool indexed;

	if (add_own_id(p)) {
		info->idxNum = ONE_ROW;
		info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
		info->estimatedCost = 10;
		info->estimatedRows = 1;
		info->orderByConsumed = info->nOrderBy > 0;
		return;
	}
	for (int i = 0; i < info->nConstraint; i++)
		add_constraint(p, i);
	indexed = estimate(p);
	info->idxNum = order_of(p, indexed);
	if (!indexed && !info->orderByConsumed && !p->v->t->made && !p->v->t->matched)
		p->keys = (p->equal | p->texts) & ~bit(63);
}

/* A column that nobody wants is NULL, so that each keeps its place. */
static char *select_text(const struct plan *p)
{
	sqlite3_str *text = sqlite3_str_new(NULL);
	const struct table *t = p->v->t;

	sqlite3_str_appendall(text, "SELECT rowid");
	for (int i = 0; i < t->n; i++) {
		if (i != t->id && p->info->colUsed & bit(i))
			sqlite3_str_appendf(text, ", \"%w\"", t->columns[i].name);
		else
			sqlite3_str_appendall(text, ", NULL");
	}
	sqlite3_str_appendf(text, " FROM \"%w\"", t->name);
	return sqlite3_str_finish(text);
}

/* The arguments' kinds, the keys of a copy, where the conditions are in the SQL, and the SQL:
 * "-1,3,|4|17|SELECT ...". */
static char *plan_text(const struct plan *p, const char *args, const char *where)
{
	char *select = select_text(p);
	char *text = NULL;

	if (select)
		text = sqlite3_mprintf("%s|%llx|%d|%s%s", args ? args : "", p->keys,
				       (int)strlen(select), select, where ? where : "");
	sqlite3_free(select);
	return text;
}

static int vtab_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
	struct plan p = {.v = (const struct vtab *)base, .info = info,
			 .args = sqlite3_str_new(NULL), .where = sqlite3_str_new(NULL)};
	char *args, *where;
	bool failed;

	choose(&p);
	failed = sqlite3_str_errcode(p.args) || sqlite3_str_errcode(p.where);
	args = sqlite3_str_finish(p.args);
	where = sqlite3_str_finish(p.where);
	info->idxStr = failed ? NULL : plan_text(&p, args, where);
	info->needToFreeIdxStr = 1;
	sqlite3_free(args);
	sqlite3_free(where);
	return info->idxStr ? SQLITE_OK : SQLITE_NOMEM;
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

/* An id as a column with the affinity of integers is compared with it: text of digits is a number. */
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

		if (c->x->of[i] == A_VALUE)
			continue;
		if (!integer_of(argv[i], &id) || !locate(v, c->x->of[i], id, &part, &ids[i]) ||
		    (one && part != c->first))
			return false;
		c->first = c->last = part;
		one = true;
	}
	return true;
}

static int bind(struct cursor *c, sqlite3_stmt *stmt, sqlite3_value **argv, const int64_t *ids)
{
	(void)sqlite3_reset(stmt);
	for (int i = 0; i < c->x->n_args; i++) {
		int rc = c->x->of[i] == A_VALUE ? sqlite3_bind_value(stmt, i + 1, argv[i])
					     : sqlite3_bind_int64(stmt, i + 1, ids[i]);

		if (rc)
			return rc;
	}
	return SQLITE_OK;
}

static int bind_part(struct cursor *c, unsigned part, sqlite3_value **argv, const int64_t *ids)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	struct err err = {""};
	int rc = c->x->stmts[part] ? SC_OK : db_prepare(parts_of(v)[part].st, c->x->sql, &c->x->stmts[part],
						     &err);

	if (rc)
		return refuse(v, rc, &err);
	return bind(c, c->x->stmts[part], argv, ids) ? refuse_part(v, part) : SQLITE_OK;
}

/* Of the copy; with ids among the arguments only the rows of their file. */
static int prepare_copied(struct cursor *c, struct err *err)
{
	struct vtab *v = (struct vtab *)c->base.pVtab;
	char *sql = sqlite3_mprintf("SELECT * FROM %s %s AND \" part\" BETWEEN ?%d AND ?%d", c->x->copy,
				    c->x->where, c->x->n_args + 1, c->x->n_args + 2);
	int rc = sql ? db_prepare(v->s->made.st, sql, &c->x->copied, err)
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
	int rc = c->x->copied ? SQLITE_OK : make_copy(c);

	if (rc)
		return rc;
	if (bind(c, c->x->copied, argv, ids) || sqlite3_bind_int64(c->x->copied, c->x->n_args + 1, c->first) ||
	    sqlite3_bind_int64(c->x->copied, c->x->n_args + 2, c->last))
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
	return *ret ? SQLITE_OK : damaged(c, body ? "there is no body" : "there is no template", id);
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
	.xBestIndex = vtab_best_index,
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
