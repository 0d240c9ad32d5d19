/* SPDX-License-Identifier: Apache-2.0 */
/* How a table of several stores is read: what can be asked of the files is asked of them, as SQL
 * for each, and SQLite's planner is told what that will cost and leave. SQLite checks every
 * condition once more, so that here a superset will do. */
#include "several_plan.h"

#include <string.h>

bool several_is_movable(const struct vtab *v, int of)
{
	return of >= 0 && !v->t->made &&
	       !(v->s->tables[of].matched && (v->exact || v->s->tables[of].made));
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
	bool first, last;	      /* bounds of the rows' ids */
};

static void add_argument(struct plan *p, int constraint, int of)
{
	p->info->aConstraintUsage[constraint].argvIndex = ++p->n_args;
	sqlite3_str_appendf(p->args, "%d,", of);
}

static void add_condition(struct plan *p, const char *format, const char *column)
{
	sqlite3_str_appendall(p->where, sqlite3_str_length(p->where) ? " AND " : " WHERE ");
	sqlite3_str_appendf(p->where, format, column, p->n_args);
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

	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ || !several_is_movable(p->v, column->of))
		return;
	add_argument(p, i, column->of);
	add_condition(p, "\"%w\" = ?%d", column->name);
	p->equal |= bit(c->iColumn);
	p->one_part = true;
}

/* A file compares as SQLite does, since the columns have the same affinity; but for a number, which
 * vtab_filter() sees to. */
static void add_text(struct plan *p, int i)
{
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];

	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ)
		return;
	add_argument(p, i, A_TEXT);
	add_condition(p, "\"%w\" = ?%d", p->v->t->columns[c->iColumn].name);
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

/* In each file a bound is another number. */
static void add_bound(struct plan *p, int i)
{
	unsigned char op = p->info->aConstraint[i].op;
	bool below = op == SQLITE_INDEX_CONSTRAINT_LT || op == SQLITE_INDEX_CONSTRAINT_LE;

	if (op == SQLITE_INDEX_CONSTRAINT_EQ || !several_is_movable(p->v, p->v->t->of))
		return;
	add_argument(p, i, below ? A_LAST : A_FIRST);
	add_condition(p, below ? "\"%w\" <= ?%d" : "\"%w\" >= ?%d", "rowid");
	*(below ? &p->last : &p->first) = true;
}

static void add_constraint(struct plan *p, int i)
{
	const struct sqlite3_index_constraint *c = &p->info->aConstraint[i];
	const struct table *t = p->v->t;

	if (!c->usable || p->n_args == ARGUMENTS)
		return;
	if (c->op != SQLITE_INDEX_CONSTRAINT_EQ && c->op != SQLITE_INDEX_CONSTRAINT_GT &&
	    c->op != SQLITE_INDEX_CONSTRAINT_GE && c->op != SQLITE_INDEX_CONSTRAINT_LT &&
	    c->op != SQLITE_INDEX_CONSTRAINT_LE)
		return;
	if (strcasecmp(sqlite3_vtab_collation(p->info, i), "BINARY") != 0)
		return;
	if (is_own_id(t, c->iColumn))
		add_bound(p, i);
	else if (t->columns[c->iColumn].of != NOT_AN_ID)
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

/* What an index of the files leaves of so many rows, as SQLite itself guesses it; negative:
 * there is none that helps. */
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
	double read = indexed ? left : all * parts / (double)n_parts(p->v) /
					       ((p->first ? 4 : 1) * (p->last ? 4 : 1));

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

int several_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
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
