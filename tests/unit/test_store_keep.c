/* SPDX-License-Identifier: Apache-2.0 */
/* Pruning, merging and vacuuming: the right rows and no others, in a file that is sound whenever it
 * ends, and never under the hands of another program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/limits.h"
#include "store/keep.h"
#include "store_fixture.h"

#define EVERYTHING INT64_MAX

static struct store *open_claimed(const char *path)
{
	struct store *st = open_store(path, STORE_UPDATE);
	struct err err = {""};

	if (store_claim(st, &err))
		fail_msg("%s", err.text);
	return st;
}

static void release(struct store *st)
{
	struct err err = {""};

	assert_int_equal(store_release(st, &err), SC_OK);
	store_close(st);
}

static void assert_sound(const char *path)
{
	assert_rows(path, "PRAGMA integrity_check", "ok\n");
	assert_rows(path, "PRAGMA foreign_key_check", "");
	assert_rows(path, "PRAGMA user_version", "2\n");
	assert_rows(path, "SELECT (SELECT coalesce(sum(exchanges), 0) FROM capture_total)"
			  " = (SELECT count(*) FROM exchange),"
			  " (SELECT coalesce(sum(results), 0) FROM replay_total)"
			  " = (SELECT count(*) FROM result),"
			  " (SELECT bodies FROM body_total) = (SELECT count(*) FROM body)",
		    "1|1|1\n");
}

static const struct {
	int64_t before_us;
	struct store_pruned gone;
	const char *exchanges, *results, *bodies;
} prunings[] = {
	{0, {0}, "1\n2\n3\n", "6\n", "1\n2\n3\n4\n"},
	{T0, {0}, "1\n2\n3\n", "6\n", "1\n2\n3\n4\n"},
	/* Its body is also that of a result of the second exchange. */
	{T0 + 1, {1, 2, 2, 0, 0}, "2\n3\n", "4\n", "1\n2\n3\n4\n"},
	{T0 + 1500, {2, 4, 3, 3, 13}, "3\n", "2\n", "4\n"},
	{EVERYTHING, {3, 6, 3, 4, 16}, "", "0\n", ""},
};

static void test_prune(void **state)
{
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(prunings) / sizeof(prunings[0]); i++) {
		struct store_pruned counted, gone;
		struct err err = {""};
		struct store *st;

		(void)remove(p->path);
		fill(p->path);
		st = open_store(p->path, STORE_READ);
		assert_int_equal(store_prune_count(st, prunings[i].before_us, &counted, &err),
				 SC_OK);
		store_close(st);
		assert_memory_equal(&counted, &prunings[i].gone, sizeof(counted));
		st = open_claimed(p->path);
		assert_int_equal(store_prune(st, prunings[i].before_us, &gone, &err), SC_OK);
		release(st);
		assert_memory_equal(&gone, &prunings[i].gone, sizeof(gone));
		assert_rows(p->path, "SELECT id FROM exchange ORDER BY id", prunings[i].exchanges);
		assert_rows(p->path, "SELECT count(*) FROM result", prunings[i].results);
		assert_rows(p->path, "SELECT id FROM body ORDER BY id", prunings[i].bodies);
		assert_rows(p->path, "SELECT count(*) FROM capture UNION ALL"
			    " SELECT count(*) FROM replay", "1\n3\n");
		assert_sound(p->path);
	}
}

static void test_prune_chunks(void **state)
{
	struct place *p = *state;
	struct store_pruned gone;
	struct err err = {""};
	struct store *st;

	fill(p->path);
	run_sql(p->path, "INSERT INTO request_chunks VALUES (1, x'61'), (3, x'62')");
	st = open_claimed(p->path);
	assert_int_equal(store_prune(st, T0 + 1, &gone, &err), SC_OK);
	release(st);
	assert_rows(p->path, "SELECT exchange_id FROM request_chunks", "3\n");
}

/* Ids of somebody else's making: no walk through all numbers in between. */
static void test_prune_far_ids(void **state)
{
	struct place *p = *state;
	struct store_pruned gone;
	struct err err = {""};
	struct store *st;

	fill(p->path);
	run_sql(p->path, "UPDATE exchange SET id = 9223372036854775807 WHERE id = 3;"
		" UPDATE result SET id = -5 WHERE id = 1");
	st = open_claimed(p->path);
	assert_int_equal(store_prune(st, EVERYTHING, &gone, &err), SC_OK);
	release(st);
	assert_int_equal(gone.exchanges, 3);
	assert_rows(p->path, "SELECT count(*) FROM exchange", "0\n");
}

static void make_many(const char *path, int n)
{
	struct store *st = open_store(path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (int i = 0; i < n; i++) {
		struct exchange *ex = make_exchange(T0 + i, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
						    "HTTP/1.1 200 OK\r\n\r\n");
		char body[16];
		int len = snprintf(body, sizeof(body), "%d", i);

		set_body(ex->response, span_of(body, (size_t)len));
		put(sink, ex);
	}
	finish(sink);
	store_close(st);
}

static int questions;

static bool stop_soon(void)
{
	return --questions < 0;
}

#define MANY (3 * (int)LIMIT_TRANSACTION_ROWS)

/* Wherever it is stopped, what it counted is what is gone, and the next one does the rest. */
static void test_prune_stopped(void **state)
{
	struct place *p = *state;
	int rc = SC_ECLOSED;
	unsigned stops = 0;
	uint64_t gone = 0, bodies = 0;

	make_many(p->path, MANY);
	for (int patience = 1; rc == SC_ECLOSED && patience < 1000; patience += 2) {
		struct store *st = open_claimed(p->path);
		struct store_pruned now;
		struct err err = {""};

		questions = patience;
		store_stop_when(st, stop_soon);
		rc = store_prune(st, EVERYTHING, &now, &err);
		store_stop_when(st, NULL);
		release(st);
		gone += now.exchanges;
		bodies += now.bodies;
		stops += rc == SC_ECLOSED;
		assert_true(rc == SC_OK || strstr(err.text, "stopped"));
		assert_rows(p->path, "PRAGMA integrity_check", "ok\n");
	}
	assert_int_equal(rc, SC_OK);
	assert_true(stops > 1);
	assert_int_equal(gone, MANY);
	assert_int_equal(bodies, MANY);
	assert_rows(p->path, "SELECT count(*) FROM exchange", "0\n");
	assert_rows(p->path, "SELECT count(*) FROM body", "0\n");
}

static int try_claim(const char *path, struct err *err)
{
	struct store *st = open_store(path, STORE_UPDATE);
	int rc = store_claim(st, err);

	store_close(st);
	return rc;
}

static void test_others_are_respected(void **state)
{
	struct place *p = *state;
	struct err err = {""};
	struct store *st;
	struct sink *sink;
	int64_t id;

	fill(p->path);
	st = open_store(p->path, STORE_READ);
	assert_int_equal(try_claim(p->path, &err), SC_EIO);
	assert_non_null(strstr(err.text, "another program has it open"));
	store_close(st);

	/* A capture between two transactions holds no lock. */
	st = open_store(p->path, STORE_CREATE);
	sink = begin_capture(st, &id);
	assert_int_equal(try_claim(p->path, &err), SC_EIO);
	put(sink, make_exchange(T0, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", NULL));
	assert_int_equal(sink_tick(sink, T0, &err), SC_OK);
	finish(sink);
	assert_int_equal(try_claim(p->path, &err), SC_EIO);
	store_close(st);
	assert_int_equal(try_claim(p->path, &err), SC_OK);
	assert_rows(p->path, "SELECT count(*) FROM exchange", "4\n");
}

static int count_with_sqlite(const char *path)
{
	sqlite3 *db = NULL;
	int rc;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	rc = sqlite3_exec(db, "SELECT count(*) FROM exchange", NULL, NULL, NULL);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return rc;
}

static void test_claimed_is_ours_alone(void **state)
{
	struct place *p = *state;
	struct store *st;

	fill(p->path);
	st = open_claimed(p->path);
	assert_int_equal(count_with_sqlite(p->path), SQLITE_BUSY);
	release(st);
	assert_int_equal(count_with_sqlite(p->path), SQLITE_OK);
	assert_rows(p->path, "SELECT count(*) FROM exchange", "3\n");
	run_sql(p->path, "UPDATE capture SET source = 'still WAL'");
	assert_rows(p->path, "SELECT source FROM capture", "still WAL\n");
}

static int merge(const char *out, const char *const *paths, int n, struct store_merged *counts,
		 bool (*stop)(void), struct err *err)
{
	struct store *to = open_store(out, STORE_CREATE);
	int rc = SC_OK;

	store_stop_when(to, stop);
	for (int i = 0; i < n && !rc; i++) {
		struct store *from = open_store(paths[i], STORE_READ);

		rc = store_merge(to, from, &counts[i], err);
		store_close(from);
	}
	if (!rc)
		rc = store_merge_end(to, err);
	store_close(to);
	return rc;
}

static void test_merge(void **state)
{
	static const struct store_merged first = {1, 3, 3, 6, 3, 4}, second = {1, 3, 3, 6, 3, 0};
	struct place *p = *state;
	char out[128], other[128];
	const char *paths[] = {p->path, other};
	struct store_merged counts[2];
	struct err err = {""};

	(void)snprintf(out, sizeof(out), "%s/out.db", p->dir);
	(void)snprintf(other, sizeof(other), "%s/other.db", p->dir);
	fill(p->path);
	fill(other);
	run_sql(other, "INSERT INTO request_chunks VALUES (2, x'61')");
	if (merge(out, paths, 2, counts, NULL, &err))
		fail_msg("%s", err.text);
	assert_memory_equal(&counts[0], &first, sizeof(first));
	assert_memory_equal(&counts[1], &second, sizeof(second));
	assert_rows(out,
		    "SELECT id, capture_id, connection, request_body, response_body, path, state"
		    " FROM exchange ORDER BY id",
		    "1|1|7|~|1|/a|complete\n2|1|7|2|3|/a|complete\n3|1|7|4|~|/b|no-response\n"
		    "4|2|15|~|1|/a|complete\n5|2|15|2|3|/a|complete\n6|2|15|4|~|/b|no-response\n");
	assert_rows(out, "SELECT exchange_id FROM request_chunks", "5\n");
	assert_rows(out, "SELECT id, replay_id, exchange_id, body FROM result WHERE id > 5",
		    "6|2|3|~\n7|4|4|1\n8|4|5|1\n9|4|6|~\n10|5|4|~\n11|5|5|~\n12|5|6|~\n");
	assert_rows(out, "SELECT replay_id, result_id, exchange_id, path FROM difference"
		    " WHERE replay_id > 1", "4|7|4|Date\n4|8|5|~\n4|7|4|Date\n");
	assert_rows(out, "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name",
		    "difference_replay\nexchange_time\nresult_exchange\n");
	assert_sound(out);
}

/* One store into an empty one is the same dataset. */
static void test_merge_is_a_copy(void **state)
{
	static const char *const names[] = {"capture", "body", "exchange", "request_chunks",
					    "replay", "result", "difference"};
	struct place *p = *state;
	char out[128];
	const char *path = p->path;
	struct store_merged count;
	struct err err = {""};

	(void)snprintf(out, sizeof(out), "%s/out.db", p->dir);
	fill(p->path);
	assert_int_equal(merge(out, &path, 1, &count, NULL, &err), SC_OK);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		sqlite3 *db = NULL;
		char sql[512];

		(void)snprintf(sql, sizeof(sql),
			       "ATTACH '%s' AS a; ATTACH '%s' AS b;"
			       "CREATE TEMP TABLE differs (n CHECK (n = 0)); INSERT INTO differs"
			       " SELECT count(*) FROM (SELECT * FROM a.%s EXCEPT"
			       " SELECT * FROM b.%s)", path, out, names[i], names[i]);
		assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL))
			fail_msg("%s: %s", names[i], sqlite3_errmsg(db));
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
	}
}

static const struct {
	const char *sql, *word;
} damages[] = {
	{"UPDATE exchange SET response_body = 99 WHERE id = 1", "exchange: there is no body 99"},
	{"UPDATE result SET body = 98 WHERE id = 1", "result: there is no body 98"},
	{"UPDATE exchange SET id = 9223372036854775807 WHERE id = 3", "id 9223372036854775807"},
	{"UPDATE exchange SET capture_id = -1", "capture_id -1"},
};

static void test_merge_damaged(void **state)
{
	struct place *p = *state;
	char out[128];
	const char *path = p->path;

	(void)snprintf(out, sizeof(out), "%s/out.db", p->dir);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct store_merged count;
		struct err err = {""};

		(void)remove(path);
		(void)remove(out);
		fill(path);
		run_sql(path, damages[i].sql);
		assert_int_equal(merge(out, &path, 1, &count, NULL, &err), SC_EINVAL);
		assert_memory_equal(err.text, path, strlen(path));
		if (!strstr(err.text, damages[i].word))
			fail_msg("'%s' is not in '%s'", damages[i].word, err.text);
	}
}

static void test_merge_stopped(void **state)
{
	struct place *p = *state;
	char out[128];
	const char *path = p->path;
	struct store_merged count;
	struct err err = {""};

	(void)snprintf(out, sizeof(out), "%s/out.db", p->dir);
	fill(path);
	questions = 5;
	assert_int_equal(merge(out, &path, 1, &count, stop_soon, &err), SC_ECLOSED);
	assert_non_null(strstr(err.text, "stopped"));
	assert_rows(path, "SELECT count(*) FROM exchange", "3\n");
}

static void test_vacuum(void **state)
{
	struct place *p = *state;
	struct store_pruned gone;
	struct store_room room;
	struct err err = {""};
	struct store *st;

	make_many(p->path, MANY);
	st = open_claimed(p->path);
	assert_int_equal(store_vacuum(st, true, &room, &err), SC_EINVAL);
	assert_non_null(strstr(err.text, "needs one whole vacuum"));
	assert_int_equal(store_vacuum(st, false, &room, &err), SC_OK);
	assert_int_equal(store_prune(st, EVERYTHING, &gone, &err), SC_OK);
	assert_int_equal(store_vacuum(st, true, &room, &err), SC_OK);
	release(st);
	assert_true(room.before > 500000 && room.after < room.before / 4);
	assert_sound(p->path);
	assert_rows(p->path, "PRAGMA freelist_count", "0\n");
	make_many(p->path, 10);
	assert_rows(p->path, "SELECT count(*) FROM exchange", "10\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_prune),
		PLACED(test_prune_chunks),
		PLACED(test_prune_far_ids),
		PLACED(test_prune_stopped),
		PLACED(test_others_are_respected),
		PLACED(test_claimed_is_ours_alone),
		PLACED(test_merge),
		PLACED(test_merge_is_a_copy),
		PLACED(test_merge_damaged),
		PLACED(test_merge_stopped),
		PLACED(test_vacuum),
	};

	return cmocka_run_group_tests_name("store_keep", tests, NULL, NULL);
}
