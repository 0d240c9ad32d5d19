/* SPDX-License-Identifier: Apache-2.0 */
/* Which path is of which row of `template`. Each row keeps the path that it was made for: by
 * learning those in their order the next writer knows what this one knew. Hot: for a path of a known
 * route it costs a walk down the tree. */
#include "route_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/rng.h"
#include "core/template.h"
#include "db.h"

#define SLOTS (4u * LIMIT_TEMPLATES) /* a power of two */
#define TEXT_BYTES (8u * LIMIT_HEAD_BYTES)

_Static_assert((SLOTS & (SLOTS - 1)) == 0, "slots are found by masking");

struct row {
	int64_t id;
	char *path, *text;
};

struct route_table {
	struct store *st; /* borrowed */
	struct templates *learned;
	uint32_t changes; /* of `learned`, that the rows are up to */
	struct row *rows;
	uint32_t n;
	uint32_t *slots; /* of row numbers + 1 by text, 0: free */
	int64_t *of_leaf;
	sqlite3_stmt *insert, *update;
	struct buf text;
};

static int no_memory(const struct route_table *t, struct err *err)
{
	return err_set(err, SC_ENOMEM, "%s: no memory", t->st->path);
}

static char *copy_of(struct span s)
{
	char *text = malloc(s.len + 1);

	if (!text)
		return NULL;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	return text;
}

static uint32_t *slot_of(struct route_table *t, struct span text)
{
	uint32_t at = (uint32_t)hash_bytes(text.p, text.len, 0) & (SLOTS - 1);

	while (t->slots[at] && !span_eq(span_str(t->rows[t->slots[at] - 1].text), text))
		at = (at + 1) & (SLOTS - 1);
	return &t->slots[at];
}

/* Into t->text. */
static int make_text(struct route_table *t, struct span path)
{
	buf_clear(&t->text);
	return template_of(t->learned, path, &t->text);
}

/* The row stays what it was in the file; only its text is another. */
static int change_text(struct route_table *t, struct row *row, struct err *err)
{
	struct span text = buf_span(&t->text);
	char *copy = copy_of(text);

	if (!copy)
		return no_memory(t, err);
	free(row->text);
	row->text = copy;
	if (sqlite3_bind_int64(t->update, 1, row->id) || db_bind_text(t->update, 2, text, false))
		return db_fail(t->st, err);
	return db_run(t->st, t->update, err);
}

/* A place has become one of values: rows may have other routes, and some the same. */
static int change_all(struct route_table *t, struct err *err)
{
	int rc = SC_OK;

	t->changes = templates_changes(t->learned);
	memset(t->slots, 0, SLOTS * sizeof(*t->slots));
	memset(t->of_leaf, 0, (TEMPLATE_LEAVES + 1) * sizeof(*t->of_leaf));
	for (uint32_t i = 0; i < t->n && !rc; i++) {
		struct row *row = &t->rows[i];
		uint32_t *slot;

		if (make_text(t, span_str(row->path)))
			return no_memory(t, err);
		if (!span_eq(buf_span(&t->text), span_str(row->text)))
			rc = change_text(t, row, err);
		slot = slot_of(t, span_str(row->text));
		if (*slot == 0)
			*slot = i + 1;
	}
	return rc;
}

static int add_row(struct route_table *t, int64_t id, struct span path, struct span text,
		   struct err *err)
{
	struct row *row = &t->rows[t->n];
	uint32_t *slot;

	row->id = id;
	row->path = copy_of(path);
	row->text = copy_of(text);
	if (!row->path || !row->text) {
		free(row->path);
		free(row->text);
		return no_memory(t, err);
	}
	t->n++;
	slot = slot_of(t, text);
	if (*slot == 0)
		*slot = t->n;
	return SC_OK;
}

static int insert_row(struct route_table *t, struct span path, int64_t *ret_id, struct err *err)
{
	struct span text = buf_span(&t->text);
	int rc;

	if (db_bind_text(t->insert, 1, path, false) || db_bind_text(t->insert, 2, text, false))
		return db_fail(t->st, err);
	rc = db_run(t->st, t->insert, err);
	if (rc)
		return rc;
	*ret_id = sqlite3_last_insert_rowid(t->st->db);
	return add_row(t, *ret_id, path, text, err);
}

/* By its text; a new row where there is none, or where the path is the one that has `changed`
 * others: the next writer must learn it, too. Of a path that nobody served a row is made only where
 * it tells of more than itself. */
static int find_by_text(struct route_table *t, struct span path, bool served, bool changed,
			int64_t *ret_id, struct err *err)
{
	uint32_t slot;

	if (make_text(t, path))
		return no_memory(t, err);
	slot = *slot_of(t, buf_span(&t->text));
	if (slot)
		*ret_id = t->rows[slot - 1].id;
	if ((slot && !changed) || t->n == LIMIT_TEMPLATES || !utf8_valid(path) ||
	    (!served && span_eq(buf_span(&t->text), path)))
		return SC_OK;
	return insert_row(t, path, ret_id, err);
}

int route_table_find(struct route_table *t, struct span path, bool served, int64_t *ret_id,
		     struct err *err)
{
	uint32_t leaf = 0;
	bool changed;
	int rc = SC_OK;

	*ret_id = 0;
	/* A "*", an authority; and what no row could be told by. */
	if (path.len == 0 || path.p[0] != '/' || memchr(path.p, 0, path.len))
		return SC_OK;
	if (served && template_learn(t->learned, path, &leaf))
		return no_memory(t, err);
	changed = templates_changes(t->learned) != t->changes;
	if (changed) {
		leaf = 0;
		rc = change_all(t, err);
	}
	if (leaf && t->of_leaf[leaf]) {
		*ret_id = t->of_leaf[leaf];
		return SC_OK;
	}
	if (!rc)
		rc = find_by_text(t, path, served, changed, ret_id, err);
	if (!rc && leaf)
		t->of_leaf[leaf] = *ret_id;
	return rc;
}

static struct span column(sqlite3_stmt *q, int i)
{
	const void *p = sqlite3_column_blob(q, i);

	return span_of(p ? p : "", (size_t)sqlite3_column_bytes(q, i));
}

static int load_rows(struct route_table *t, struct err *err)
{
	sqlite3_stmt *q = NULL;
	int step = SQLITE_DONE;
	int rc = db_prepare(t->st, "SELECT id, path, template FROM template ORDER BY id", &q, err);

	while (!rc && t->n < LIMIT_TEMPLATES && (step = sqlite3_step(q)) == SQLITE_ROW) {
		struct span path = column(q, 1);

		if (template_learn(t->learned, path, NULL))
			rc = no_memory(t, err);
		if (!rc)
			rc = add_row(t, sqlite3_column_int64(q, 0), path, column(q, 2), err);
	}
	if (!rc && step != SQLITE_DONE && step != SQLITE_ROW)
		rc = db_fail(t->st, err);
	sqlite3_finalize(q);
	t->changes = templates_changes(t->learned);
	return rc;
}

int route_table_open(struct store *st, struct route_table **ret, struct err *err)
{
	struct route_table *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	t->st = st;
	buf_init(&t->text, TEXT_BYTES);
	t->learned = templates_new();
	t->rows = calloc(LIMIT_TEMPLATES, sizeof(*t->rows));
	t->slots = calloc(SLOTS, sizeof(*t->slots));
	t->of_leaf = calloc(TEMPLATE_LEAVES + 1, sizeof(*t->of_leaf));
	rc = t->learned && t->rows && t->slots && t->of_leaf ? SC_OK : no_memory(t, err);
	if (!rc)
		rc = load_rows(t, err);
	if (!rc)
		rc = db_prepare(st, "INSERT INTO template (path, template) VALUES (?1, ?2)",
				&t->insert, err);
	if (!rc)
		rc = db_prepare(st, "UPDATE template SET template = ?2 WHERE id = ?1", &t->update,
				err);
	if (rc) {
		route_table_free(t);
		return rc;
	}
	*ret = t; /* moved */
	return SC_OK;
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	sqlite3_finalize(t->insert);
	sqlite3_finalize(t->update);
	templates_free(t->learned);
	for (uint32_t i = 0; t->rows && i < t->n; i++) {
		free(t->rows[i].path);
		free(t->rows[i].text);
	}
	free(t->rows);
	free(t->slots);
	free(t->of_leaf);
	buf_done(&t->text);
	free(t);
}

static int fill_row(struct route_table *t, sqlite3_stmt *q, sqlite3_stmt *set, struct err *err)
{
	int64_t id;
	int rc = route_table_find(t, column(q, 1), sqlite3_column_int(q, 2) < 400, &id, err);

	if (rc || id == 0)
		return rc;
	if (sqlite3_bind_int64(set, 1, sqlite3_column_int64(q, 0)) ||
	    sqlite3_bind_int64(set, 2, id))
		return db_fail(t->st, err);
	return db_run(t->st, set, err);
}

int route_table_fill(struct store *st, struct err *err)
{
	struct route_table *t = NULL;
	sqlite3_stmt *q = NULL, *set = NULL;
	int step = SQLITE_DONE;
	int rc = route_table_open(st, &t, err);

	if (!rc)
		rc = db_prepare(st, "SELECT id, path, status FROM exchange WHERE template IS NULL"
				" ORDER BY id", &q, err);
	if (!rc)
		rc = db_prepare(st, "UPDATE exchange SET template = ?2 WHERE id = ?1", &set, err);
	while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW)
		rc = fill_row(t, q, set, err);
	if (!rc && step != SQLITE_DONE)
		rc = db_fail(st, err);
	sqlite3_finalize(q);
	sqlite3_finalize(set);
	route_table_free(t);
	return rc;
}
