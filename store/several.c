/* SPDX-License-Identifier: Apache-2.0 */
/* Several stores behind one handle: a database in memory, whose tables are virtual ones that
 * read the files, and whose views are those of the files. Which tables and columns there are,
 * and which of them hold whose ids, is asked of the files; only connections are known by name.
 *
 * ATTACH would be simpler, but ends at ten files.
 *
 * Bodies and routes are the trouble: what is equal is one row in a merged store, and to know
 * that all of them must be read. So body, exchange and result are there twice: in "temp", which
 * SQLite looks at first, with bodies that are matched as soon as the number of one is asked for;
 * and in "main", unmatched, for the view that shows bodies and no numbers of them, and is looked
 * up by many. */
#include "store/several.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "several.h"

#define STOP_STEPS 10000
#define CACHE_KIB (64 * 1024) /* of pages of all files together */
#define CACHE_KIB_LEAST 256
#define CACHE_KIB_MOST 2000

static int no_memory(const struct several *s, struct err *err)
{
	return err_set(err, SC_ENOMEM, "%s: no memory", s->st->path);
}

static int asked_to_stop(void *arg)
{
	const struct several *s = arg;

	return s->st->stop && s->st->stop();
}

/* A transaction that reads is begun here and ended by closing: one state of the file. A writer
 * goes on beside it, but its log cannot start anew meanwhile, and grows by what is written. */
static int open_part(struct several *s, const char *path, struct err *err)
{
	struct part *part = &s->parts[s->n];
	int kib = CACHE_KIB / (int)(s->n + 1);
	int64_t rows;
	char sql[64];
	int rc = store_open(path, STORE_READ, &part->st, err);

	if (rc)
		return rc;
	s->n++;
	/* A statement on the whole spends its time in those on the files. */
	sqlite3_progress_handler(part->st->db, STOP_STEPS, asked_to_stop, s);
	kib = kib < CACHE_KIB_LEAST ? CACHE_KIB_LEAST : kib > CACHE_KIB_MOST ? CACHE_KIB_MOST : kib;
	(void)snprintf(sql, sizeof(sql), "PRAGMA cache_size = -%d; BEGIN", kib);
	rc = db_exec(part->st, sql, err);
	return rc ? rc : db_integer(part->st, "SELECT count(*) FROM sqlite_schema", &rows, err);
}

static int open_parts(struct several *s, const char *const *paths, unsigned n, struct err *err)
{
	int rc = SC_OK;

	s->parts = calloc(n ? n : 1, sizeof(*s->parts));
	if (!s->parts)
		return no_memory(s, err);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = open_part(s, paths[i], err);
	return rc;
}

/* Rows of a pragma about one table of the first file. */
static int ask(struct several *s, const char *sql, const char *table, sqlite3_stmt **ret,
	       struct err *err)
{
	struct store *st = s->parts[0].st;
	int rc = db_prepare(st, sql, ret, err);

	if (!rc && sqlite3_bind_text(*ret, 1, table, -1, SQLITE_STATIC))
		rc = db_fail(st, err);
	return rc;
}

static int asked(struct several *s, sqlite3_stmt *q, int rc, int step, struct err *err)
{
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(s->parts[0].st, err);
	sqlite3_finalize(q);
	return rc;
}

static const char *text_of(sqlite3_stmt *q, int i)
{
	const unsigned char *text = sqlite3_column_text(q, i);

	return text ? (const char *)text : "";
}

/* https://www.sqlite.org/datatype3.html, 3.1 */
static enum affinity affinity_of(const char *type)
{
	if (strcasestr(type, "INT"))
		return NUMBER;
	if (strcasestr(type, "CHAR") || strcasestr(type, "CLOB") || strcasestr(type, "TEXT"))
		return TEXT;
	return strcasestr(type, "REAL") || strcasestr(type, "FLOA") || strcasestr(type, "DOUB")
		       ? NUMBER : OTHER;
}

const char *several_type(const struct column *c)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ";

	return c->type[strspn(c->type, plain)] ? "" : c->type;
}

static int add_column(struct several *s, struct table *t, sqlite3_stmt *q, struct err *err)
{
	struct column *grown = realloc(t->columns, (size_t)(t->n + 1) * sizeof(*grown));
	const char *type = text_of(q, 1);

	if (!grown)
		return no_memory(s, err);
	t->columns = grown;
	grown[t->n] = (struct column){.name = strdup(text_of(q, 0)), .type = strdup(type),
				      .of = NOT_AN_ID, .affinity = affinity_of(type)};
	t->n++;
	if (sqlite3_column_int(q, 2) && strcasecmp(type, "INTEGER") == 0)
		t->id = t->n - 1;
	return grown[t->n - 1].name && grown[t->n - 1].type ? SC_OK : no_memory(s, err);
}

static int read_columns(struct several *s, struct table *t, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = ask(s, "SELECT name, type, pk AND (SELECT count(*) = 1 FROM pragma_table_info(?1)"
		     " WHERE pk) FROM pragma_table_info(?1)", t->name, &q, err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = add_column(s, t, q, err);
	return asked(s, q, rc, step, err);
}

static int column_named(const struct table *t, const char *name)
{
	for (int i = 0; i < t->n; i++) {
		if (strcasecmp(t->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

static int table_named(const struct several *s, const char *name)
{
	for (int i = 0; i < s->n_tables; i++) {
		if (strcasecmp(s->tables[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* A column holds ids of the table that it refers to. */
static int read_references(struct several *s, struct table *t, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = ask(s, "SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?1)", t->name, &q,
		     err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
		int column = column_named(t, text_of(q, 0));
		int of = table_named(s, text_of(q, 1));

		if (column >= 0 && of >= 0 && t->columns[column].affinity == NUMBER)
			t->columns[column].of = of;
	}
	return asked(s, q, rc, step, err);
}

static int add_indexed(struct several *s, struct table *t, sqlite3_stmt *q, struct err *err)
{
	struct table_index *last;

	if (sqlite3_column_int(q, 0) == 0) {
		struct table_index *grown = realloc(t->indexes, (size_t)(t->n_indexes + 1) *
									sizeof(*grown));

		if (!grown)
			return no_memory(s, err);
		t->indexes = grown;
		grown[t->n_indexes++] = (struct table_index){.n = 0};
	}
	last = &t->indexes[t->n_indexes - 1];
	if (last->n < INDEX_COLUMNS)
		last->columns[last->n++] = sqlite3_column_int(q, 1);
	return SC_OK;
}

/* Only to guess what a search costs: another file may have more of them, or fewer. */
static int read_indexes(struct several *s, struct table *t, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = ask(s, "SELECT x.seqno, x.cid FROM pragma_index_list(?1) i,"
		     " pragma_index_info(i.name) x WHERE NOT i.partial ORDER BY i.seq, x.seqno",
		     t->name, &q, err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = add_indexed(s, t, q, err);
	return asked(s, q, rc, step, err);
}

/* Runs SQL about a table, made by sqlite3_mprintf(), on one file. NULL: no memory for it. */
static int part_integer(struct part *part, char *sql, int64_t *ret, struct err *err)
{
	int rc = sql ? db_integer(part->st, sql, ret, err)
		     : err_set(err, SC_ENOMEM, "%s: no memory", part->st->path);

	sqlite3_free(sql);
	return rc;
}

static char *select_columns(const struct table *t)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	sqlite3_str_appendall(sql, "SELECT rowid");
	for (int i = 0; i < t->n; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", t->columns[i].name);
	sqlite3_str_appendf(sql, " FROM \"%w\" LIMIT 0", t->name);
	return sqlite3_str_finish(sql);
}

/* A table that somebody made in one file is none of the whole; what every store has must be
 * there. */
static int is_everywhere(struct several *s, const struct table *t, bool *ret, struct err *err)
{
	bool everywhere = true;
	int rc = SC_OK;

	for (unsigned i = 1; i < s->n && !rc && everywhere; i++) {
		int64_t none;

		rc = part_integer(&s->parts[i], select_columns(t), &none, err);
		if (rc == SC_EIO && strcmp(t->name, "exchange") != 0 &&
		    (sqlite3_errcode(s->parts[i].st->db) & 0xff) == SQLITE_ERROR) {
			everywhere = false;
			rc = SC_OK;
		}
	}
	if (!rc)
		*ret = everywhere;
	return rc;
}

static void free_table(struct table *t)
{
	for (int i = 0; i < t->n; i++) {
		free(t->columns[i].name);
		free(t->columns[i].type);
	}
	free(t->columns);
	free(t->indexes);
	free(t->name);
}

static int add_table(struct several *s, const char *name, struct err *err)
{
	struct table *grown = realloc(s->tables, (size_t)(s->n_tables + 1) * sizeof(*grown));
	struct table t = {.name = strdup(name), .id = -1};
	bool everywhere = false;
	int rc;

	if (!grown) {
		free(t.name);
		return no_memory(s, err);
	}
	s->tables = grown;
	rc = t.name ? read_columns(s, &t, err) : no_memory(s, err);
	if (!rc)
		rc = read_indexes(s, &t, err);
	if (!rc)
		rc = is_everywhere(s, &t, &everywhere, err);
	if (rc || !everywhere) {
		free_table(&t);
		return rc;
	}
	grown[s->n_tables++] = t; /* moved */
	return SC_OK;
}

static int read_tables(struct several *s, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(s->parts[0].st,
			    "SELECT name FROM pragma_table_list WHERE schema = 'main'"
			    " AND type = 'table' AND NOT wr AND name NOT GLOB 'sqlite_*'"
			    " ORDER BY name", &q, err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = add_table(s, text_of(q, 0), err);
	return asked(s, q, rc, step, err);
}

static int find_table(const struct several *s, const char *name, int *ret, struct err *err)
{
	int at = table_named(s, name);

	if (at < 0)
		return err_set(err, SC_EINVAL, "%s: not all of the stores have a table %s as it"
			       " has: one of them is damaged", s->parts[0].st->path, name);
	*ret = at;
	return SC_OK;
}

static int relate_tables(struct several *s, struct err *err)
{
	int template = 0, total = 0;
	int rc = find_table(s, "exchange", &s->exchange, err);

	if (!rc)
		rc = find_table(s, "body", &s->body, err);
	if (!rc)
		rc = find_table(s, "template", &template, err);
	if (!rc)
		rc = find_table(s, "body_total", &total, err);
	if (rc)
		return rc;
	s->template = template;
	s->tables[s->body].matched = s->tables[template].matched = true;
	s->tables[template].made = s->tables[total].made = true;
	for (int i = 0; i < s->n_tables && !rc; i++) {
		struct table *t = &s->tables[i];
		int connection = i == s->exchange ? column_named(t, "connection") : -1;

		rc = read_references(s, t, err);
		t->of = t->id < 0 || t->columns[t->id].of < 0 ? i : t->columns[t->id].of;
		if (t->id >= 0)
			t->columns[t->id].of = t->of;
		if (connection >= 0)
			t->columns[connection].of = A_CONNECTION;
	}
	return rc;
}

/* The ends of a table, which are known at once, are what the ids of the next file move by. */
static int read_ends(struct several *s, unsigned i, int number, int64_t *by, struct err *err)
{
	struct table *t = &s->tables[number];
	struct part *part = &s->parts[i];
	int64_t first = 0, last = 0;
	int rc = part_integer(part, sqlite3_mprintf("SELECT min(rowid) FROM \"%w\"", t->name),
			      &first, err);

	if (!rc)
		rc = part_integer(part, sqlite3_mprintf("SELECT max(rowid) FROM \"%w\"", t->name),
				  &last, err);
	if (rc)
		return rc;
	part->by[number] = *by;
	if (first < 0 || (last && first == 0) || __builtin_add_overflow(*by, last, by))
		return err_set(err, SC_EINVAL, "%s: is damaged: %s: id %" PRId64, part->st->path,
			       t->name, first < 1 ? first : last);
	t->rows += last ? last - first + 1 : 0;
	return SC_OK;
}

static int move_ids(struct several *s, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < s->n; i++) {
		s->parts[i].by = calloc((size_t)s->n_tables, sizeof(*s->parts[i].by));
		if (!s->parts[i].by)
			return no_memory(s, err);
	}
	s->made.by = calloc((size_t)s->n_tables, sizeof(*s->made.by));
	if (!s->made.by)
		return no_memory(s, err);
	for (int t = 0; t < s->n_tables && !rc; t++) {
		int64_t by = 0;

		for (unsigned i = 0; i < s->n && !rc; i++)
			rc = read_ends(s, i, t, &by, err);
	}
	return rc;
}

const struct part *several_part(const struct several *s, int of, int64_t id)
{
	unsigned low = 0, high = s->n;

	if (id < 1)
		return NULL;
	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (s->parts[middle].by[of] < id)
			low = middle;
		else
			high = middle;
	}
	return s->n ? &s->parts[low] : NULL;
}

/* As with a merge: any numbers will do, as long as they differ; but the pieces of one recording
 * share theirs. */
static int connections_of(struct several *s, unsigned part, struct err *err)
{
	struct part *at = &s->parts[part], *before = part ? at - 1 : NULL;
	int64_t n = 0;
	int rc = store_set(at->st, &at->set, err);

	at->connections = 0;
	if (!rc && before)
		rc = db_integer(before->st, "SELECT max(connection) + 1 FROM exchange", &n, err);
	if (rc || !before)
		return rc;
	n = (int64_t)((uint64_t)before->connections + (uint64_t)(n > 0 ? n : 0));
	if (n > s->next_connection)
		s->next_connection = n;
	at->connections = at->set && at->set == before->set ? before->connections
							    : s->next_connection;
	return SC_OK;
}

int several_connections(struct several *s, unsigned part, int64_t *ret, struct err *err)
{
	int rc = SC_OK;

	assert(part < s->n && s->parts);
	while (s->connections <= part && !rc) {
		rc = connections_of(s, s->connections, err);
		s->connections += rc == SC_OK;
	}
	if (!rc)
		*ret = s->parts[part].connections;
	return rc;
}

void several_free(void *arg)
{
	struct several *s = arg;

	if (!s)
		return;
	several_match_done(s);
	for (unsigned i = 0; i < s->n; i++) {
		store_close(s->parts[i].st);
		free(s->parts[i].by);
	}
	for (int i = 0; i < s->n_tables; i++)
		free_table(&s->tables[i]);
	free(s->made.by);
	free(s->tables);
	free(s->parts);
	free(s);
}

static int run(struct store *st, char *sql, struct err *err)
{
	int rc = sql ? db_exec(st, sql, err) : err_set(err, SC_ENOMEM, "%s: no memory", st->path);

	sqlite3_free(sql);
	return rc;
}

static bool names_bodies(const struct several *s, const struct table *t)
{
	for (int i = 0; i < t->n; i++) {
		if (t->columns[i].of == s->body)
			return true;
	}
	return false;
}

static int make_tables(const struct several *s, struct err *err)
{
	static const char sql[] = "CREATE VIRTUAL TABLE %s.\"%w\" USING several";
	int rc = SC_OK;

	for (int i = 0; i < s->n_tables && !rc; i++) {
		const struct table *t = &s->tables[i];

		rc = run(s->st, sqlite3_mprintf(sql, "main", t->name), err);
		if (!rc && names_bodies(s, t))
			rc = run(s->st, sqlite3_mprintf(sql, "temp", t->name), err);
	}
	return rc;
}

/* In "main", where it finds the tables whose bodies are not matched, only the view that has no need
 * of that. */
static int make_view(const struct several *s, const char *name, const char *sql, struct err *err)
{
	static const char create[] = "CREATE VIEW ";

	if (strncmp(sql, create, sizeof(create) - 1) != 0)
		return SC_OK;
	return run(s->st, sqlite3_mprintf("CREATE %sVIEW %s",
					  strcmp(name, "request") ? "TEMP " : "",
					  sql + sizeof(create) - 1), err);
}

static int make_views(const struct several *s, struct err *err)
{
	struct store *first = s->parts[0].st;
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(first, "SELECT name, sql FROM sqlite_schema WHERE type = 'view'", &q,
			    err);

	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = make_view(s, text_of(q, 0), text_of(q, 1), err);
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(first, err);
	sqlite3_finalize(q);
	return rc;
}

static int make_database(const struct several *s, struct err *err)
{
	int64_t version;
	int rc = make_tables(s, err);

	if (!rc)
		rc = make_views(s, err);
	if (!rc)
		rc = db_integer(s->parts[0].st, "PRAGMA user_version", &version, err);
	if (!rc)
		rc = run(s->st, sqlite3_mprintf("PRAGMA user_version = %lld;"
						"PRAGMA query_only = ON", (long long)version), err);
	return rc;
}

static int read_parts(struct several *s, const char *const *paths, unsigned n, struct err *err)
{
	int rc = open_parts(s, paths, n, err);

	if (!rc)
		rc = read_tables(s, err);
	if (!rc)
		rc = relate_tables(s, err);
	return rc ? rc : move_ids(s, err);
}

static int open_whole(struct store *st, const char *const *paths, unsigned n, struct err *err)
{
	struct several *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	s->st = st;
	rc = read_parts(s, paths, n, err);
	if (!rc && sqlite3_open_v2(":memory:", &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				   SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		rc = db_fail(st, err);
	if (rc) {
		several_free(s);
		return rc;
	}
	(void)sqlite3_extended_result_codes(st->db, 1);
	if (several_module(st->db, s) != SQLITE_OK) /* moved */
		return db_fail(st, err);
	return make_database(s, err);
}

int store_open_several(const char *const *paths, unsigned n, struct store **ret, struct err *err)
{
	struct store *st = calloc(1, sizeof(*st));
	int rc = SC_OK;

	if (!st || n == 0 ||
	    asprintf(&st->path, n > 1 ? "%s and %u more" : "%s", paths[0], n - 1) < 0) {
		free(st);
		return err_set(err, n ? SC_ENOMEM : SC_EINVAL, n ? "out of memory" : "no store");
	}
	st->mode = STORE_READ;
	rc = open_whole(st, paths, n, err);
	if (rc) {
		store_close(st);
		return rc;
	}
	*ret = st; /* moved */
	return SC_OK;
}
