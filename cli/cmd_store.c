/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl store: keeps stores in hand. Works on files that nobody else has open, and leaves
 * nothing half-made: a merge that did not end takes its file with it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "core/limits.h"
#include "sources.h"
#include "store/keep.h"
#include "table.h"

struct store_options {
	int64_t older_us; /* 0: not said */
	const char *output;
	bool dry_run, incremental, json;
};

static bool is_unit(const char *text)
{
	static const char *const units[] = {"us", "ms", "s", "m", "h", "d", "w"};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text, units[i]) == 0)
			return true;
	}
	return false;
}

/* Elsewhere a number alone is seconds. Here that would delete what a person means to keep: who
 * writes 7 thinks of days. */
static int set_older(void *to, const char *value, struct err *err)
{
	size_t digits = strspn(value, "0123456789.");
	const char *unit = value + digits;
	bool weeks = strcmp(unit, "w") == 0;
	char text[32];
	int64_t us = 0;

	if (is_unit(unit) && digits < sizeof(text) - 4) {
		(void)snprintf(text, sizeof(text), "%.*s%s", (int)digits, value, weeks ? "d" : unit);
		(void)opt_duration(&us, text, err);
	}
	if (us == 0)
		return err_set(err, SC_EINVAL, "'%s': expected a number above 0 and its unit"
			       " (us, ms, s, m, h, d or w): 7d, 12h", value);
	*(int64_t *)to = weeks ? 7 * us : us; /* it takes none for which that were too much */
	return SC_OK;
}

static const struct opt store_rows[] = {
	{"Prune", 0, "older", "DURATION",
	 "recorded longer ago than this: 7d, 12h, 4w; a number alone is refused", set_older,
	 offsetof(struct store_options, older_us)},
	{NULL, 0, "dry-run", NULL, "only count what would go", opt_flag,
	 offsetof(struct store_options, dry_run)},
	{"Merge", 'o', "output", "FILE", "the store to be made; it must not exist", opt_text,
	 offsetof(struct store_options, output)},
	{"Vacuum", 0, "incremental", NULL,
	 "only cut off what is free, without room for a second copy; after a whole vacuum", opt_flag,
	 offsetof(struct store_options, incremental)},
	{"Output", 0, "json", NULL, "a JSON array of objects instead of a table", opt_flag,
	 offsetof(struct store_options, json)},
	{0},
};

static const struct opt_table store_tables[] = {{store_rows, 0}, {NULL, 0}};

/* One table of numbers, and what they are of. */
struct tally {
	struct table *table;
	int rc;
};

static void tally_begin(struct tally *t, bool json, int n, const char *const *names)
{
	t->table = table_new(stdout, json ? TABLE_JSON : TABLE_TEXT, n, names);
	t->rc = t->table ? SC_OK : SC_ENOMEM;
}

static void tally_text(struct tally *t, const char *text)
{
	if (!t->rc)
		t->rc = table_cell(t->table, CELL_TEXT, span_str(text));
}

static void tally_number(struct tally *t, uint64_t n)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%" PRIu64, n);

	if (!t->rc)
		t->rc = table_cell(t->table, CELL_INTEGER, span_of(text, (size_t)len));
}

static int tally_end(struct tally *t, struct err *err)
{
	int rc = t->rc ? t->rc : table_finish(t->table);

	table_free(t->table);
	if (rc == SC_EIO)
		return err_set(err, rc, "cannot write the result: %s", strerror(errno));
	return rc ? err_set(err, rc, "no memory for the result") : SC_OK;
}

static int open_claimed(const char *path, struct store **ret, struct err *err)
{
	struct store *st = NULL;
	int rc = store_open(path, STORE_UPDATE, &st, err);

	if (!rc)
		rc = store_claim(st, err);
	if (rc) {
		store_close(st);
		return rc;
	}
	store_stop_when(st, stop_wanted);
	*ret = st; /* moved */
	return SC_OK;
}

/* What was committed stays, whatever ended it. The first error counts. */
static int release(struct store *st, int rc, struct err *err)
{
	struct err later = {""};
	int end;

	store_stop_when(st, NULL);
	end = store_release(st, &later);
	store_close(st);
	if (rc || !end)
		return rc;
	*err = later;
	return end;
}

static int show_pruned(const struct store_pruned *p, bool json, struct err *err)
{
	static const char *const columns[] = {"exchanges", "results", "differences", "bodies",
					      "body_bytes"};
	struct tally t;

	tally_begin(&t, json, 5, columns);
	tally_number(&t, p->exchanges);
	tally_number(&t, p->results);
	tally_number(&t, p->differences);
	tally_number(&t, p->bodies);
	tally_number(&t, p->body_bytes);
	return tally_end(&t, err);
}

static int prune(const struct store_options *o, const struct operands *stores, struct err *err)
{
	int64_t before_us = clock_us() - o->older_us;
	struct store_pruned pruned = {0};
	struct store *st = NULL;
	struct err shown = {""};
	int rc, show;

	if (o->older_us == 0)
		return err_set(err, SC_EINVAL, "store prune: expected --older DURATION");
	if (o->dry_run)
		rc = store_open(stores->items[0], STORE_READ, &st, err);
	else
		rc = open_claimed(stores->items[0], &st, err);
	if (rc)
		return rc;
	if (o->dry_run) {
		store_stop_when(st, stop_wanted);
		rc = store_prune_count(st, before_us, &pruned, err);
		store_close(st);
		return rc ? rc : show_pruned(&pruned, o->json, err);
	}
	rc = store_prune(st, before_us, &pruned, err);
	rc = release(st, rc, err);
	show = show_pruned(&pruned, o->json, &shown);
	if (rc == SC_ECLOSED) {
		say("%s; what is counted is gone, the rest is as it was", err->text);
		rc = SC_OK;
	}
	if (rc || !show)
		return rc;
	*err = shown;
	return show;
}

/* Before the store is touched. */
static int check_vacuum_in_part(const char *path, struct err *err)
{
	struct store *st = NULL;
	int rc = store_open(path, STORE_READ, &st, err);

	if (!rc)
		rc = store_vacuum_check(st, err);
	store_close(st);
	return rc;
}

static int vacuum(const struct store_options *o, const struct operands *stores, struct err *err)
{
	static const char *const columns[] = {"bytes_before", "bytes_after"};
	struct store_room room = {0};
	struct store *st = NULL;
	struct tally t;
	int rc = o->incremental ? check_vacuum_in_part(stores->items[0], err) : SC_OK;

	if (!rc)
		rc = open_claimed(stores->items[0], &st, err);
	if (rc)
		return rc;
	rc = store_vacuum(st, o->incremental, &room, err);
	rc = release(st, rc, err);
	if (rc)
		return rc;
	tally_begin(&t, o->json, 2, columns);
	tally_number(&t, room.before);
	tally_number(&t, room.after);
	return tally_end(&t, err);
}

struct merging {
	struct sources paths;
	struct store_merged *counts; /* one a path */
};

static int open_input(const char *path, struct store **ret, struct err *err)
{
	int rc = store_open(path, STORE_READ, ret, err);

	if (!rc)
		store_stop_when(*ret, stop_wanted);
	return rc;
}

/* All of them, before anything is made; one is open at a time. */
static int check_inputs(const struct merging *m, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < m->paths.n && !rc; i++) {
		struct store *in = NULL;

		rc = open_input(m->paths.paths[i], &in, err);
		store_close(in);
	}
	return rc;
}

static int merge_all(struct merging *m, struct store *out, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < m->paths.n && !rc; i++) {
		struct store *in = NULL;

		rc = open_input(m->paths.paths[i], &in, err);
		if (!rc)
			rc = store_merge(out, in, &m->counts[i], err);
		store_close(in);
	}
	return rc ? rc : store_merge_end(out, err);
}

static int merge_into(struct merging *m, const char *path, struct err *err)
{
	struct store *out = NULL;
	struct stat file;
	int rc;

	if (lstat(path, &file) == 0)
		return err_set(err, SC_EINVAL, "%s: exists; a merge makes a new store", path);
	rc = store_open(path, STORE_CREATE, &out, err);
	if (rc)
		return rc;
	store_stop_when(out, stop_wanted);
	rc = merge_all(m, out, err);
	store_close(out);
	if (rc)
		store_remove(path);
	return rc;
}

static int show_merged(const struct merging *m, bool json, struct err *err)
{
	static const char *const columns[] = {"store", "captures", "exchanges", "replays", "results",
					      "differences", "new_bodies"};
	struct tally t;

	tally_begin(&t, json, 7, columns);
	for (unsigned i = 0; i < m->paths.n; i++) {
		const struct store_merged *n = &m->counts[i];

		tally_text(&t, m->paths.paths[i]);
		tally_number(&t, n->captures);
		tally_number(&t, n->exchanges);
		tally_number(&t, n->replays);
		tally_number(&t, n->results);
		tally_number(&t, n->differences);
		tally_number(&t, n->bodies);
	}
	return tally_end(&t, err);
}

static int merge(const struct store_options *o, const struct operands *stores, struct err *err)
{
	struct merging m = {{NULL, 0}, NULL};
	int rc;

	if (!o->output)
		return err_set(err, SC_EINVAL, "store merge: expected -o FILE");
	rc = sources_find(stores->items, stores->n, &m.paths, err);
	if (rc)
		return rc;
	rc = SC_ENOMEM;
	m.counts = calloc(m.paths.n, sizeof(*m.counts));
	if (m.counts)
		rc = check_inputs(&m, err);
	else
		(void)err_set(err, rc, "out of memory");
	if (!rc)
		rc = merge_into(&m, o->output, err);
	if (!rc)
		rc = show_merged(&m, o->json, err);
	free(m.counts);
	sources_done(&m.paths);
	return rc;
}

/* Options of one action mean nothing to the others. */
#define WITH_OLDER 1u
#define WITH_DRY_RUN 2u
#define WITH_OUTPUT 4u
#define WITH_INCREMENTAL 8u

static const struct action {
	const char *name;
	unsigned options;
	int max_stores;
	int (*run)(const struct store_options *o, const struct operands *stores, struct err *err);
} actions[] = {
	{"prune", WITH_OLDER | WITH_DRY_RUN, 1, prune},
	{"merge", WITH_OUTPUT, LIMIT_SOURCES, merge},
	{"vacuum", WITH_INCREMENTAL, 1, vacuum},
};

static int check_action(const struct action *a, const struct store_options *o, int n_stores,
			struct err *err)
{
	const struct {
		const char *name;
		unsigned flag;
		bool given;
	} given[] = {
		{"--older", WITH_OLDER, o->older_us != 0},
		{"--dry-run", WITH_DRY_RUN, o->dry_run},
		{"--output", WITH_OUTPUT, o->output != NULL},
		{"--incremental", WITH_INCREMENTAL, o->incremental},
	};

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i].given && !(a->options & given[i].flag))
			return err_set(err, SC_EINVAL, "store %s: %s means nothing to it", a->name,
				       given[i].name);
	}
	if (n_stores >= 1 && n_stores <= a->max_stores)
		return SC_OK;
	if (a->max_stores == 1)
		return err_set(err, SC_EINVAL, "store %s: expected one store, there are %d",
			       a->name, n_stores);
	return err_set(err, SC_EINVAL, "store %s: expected 1 to %d stores, there are %d", a->name,
		       a->max_stores, n_stores);
}

static const struct action *find_action(const char *name)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(name, actions[i].name) == 0)
			return &actions[i];
	}
	return NULL;
}

static int store_run(void *options, const struct operands *operands)
{
	const struct action *a = find_action(operands->items[0]);
	struct operands stores = {operands->items + 1, operands->n - 1};
	struct err err = {""};
	int rc;

	if (!a) {
		rc = err_set(&err, SC_EINVAL, "store: '%s': expected prune, merge or vacuum",
			     operands->items[0]);
		return fail(rc, &err);
	}
	rc = check_action(a, options, stores.n, &err);
	if (!rc) {
		stop_install();
		rc = a->run(options, &stores, &err);
	}
	return rc ? fail(rc, &err) : EXIT_DONE;
}

static const char store_examples[] =
	"  shadow-ctl store prune shadow.db --older 7d --dry-run\n"
	"  shadow-ctl store merge monday.db tuesday.db -o week.db\n"
	"  shadow-ctl store merge 'shadow-*.db' -o whole.db\n"
	"  shadow-ctl store vacuum shadow.db\n";

const struct command command_store = {
	.name = "store",
	.usage = "prune STORE --older DURATION | merge STORE... -o FILE | vacuum STORE",
	.summary = "Keep stores in hand: delete what is old, make one of several, give room back.",
	.tables = store_tables,
	.examples = store_examples,
	.options_size = sizeof(struct store_options),
	.min_operands = 1,
	.max_operands = LIMIT_SOURCES + 1,
	.run = store_run,
};
