/* SPDX-License-Identifier: Apache-2.0 */
/* Routes stored beside their paths, and the totals kept beside the rows: what one writer knew the
 * next one knows, whatever is merged, migrated, deleted or rolled back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants the three above first. */
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "store/keep.h"
#include "store_fixture.h"

#define ROUTES                                                                                     \
	"SELECT coalesce(t.template, '-'), count(*) FROM exchange e LEFT JOIN template t"          \
	" ON t.id = e.template GROUP BY 1 ORDER BY 1"

/* A piece of a recording, as capture --rotate writes them, with one request of connection 7. */
static void make_piece(const char *path, const char *set)
{
	struct store *st = open_store(path, STORE_CREATE);
	char options[64];
	struct sink *sink = NULL;
	struct err err = {""};
	int64_t id;

	(void)snprintf(options, sizeof(options), "{\"set\": \"%s\"}", set);
	assert_int_equal(store_capture_new(st, T0, "lo", options, &id, &sink, &err), SC_OK);
	put(sink, make_exchange(T0, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", NULL));
	finish(sink);
	store_close(st);
}

static void put_path(struct sink *sink, const char *path, unsigned status)
{
	char request[512], response[64];

	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
	(void)snprintf(response, sizeof(response),
		       "HTTP/1.1 %u x\r\nContent-Length: 0\r\n\r\n", status);
	put(sink, make_exchange(T0, request, status ? response : NULL));
}

static void put_users(const char *path, unsigned from, unsigned until)
{
	struct store *st = open_store(path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	char text[64];

	for (unsigned i = from; i < until; i++) {
		(void)snprintf(text, sizeof(text), "/users/%c%c%c/mail", 'a' + i / 400,
			       'a' + i / 20 % 20, 'a' + i % 20);
		put_path(sink, text, 200);
	}
	finish(sink);
	store_close(st);
}

static void assert_totals(const char *path)
{
	assert_rows(path,
		    "SELECT * FROM capture_total WHERE exchanges EXCEPT SELECT capture_id, count(*),"
		    " sum(state = 'complete'), sum(state = 'no-response'), sum(state = 'truncated'),"
		    " sum(state = 'gap'), sum(request_size), coalesce(sum(response_size), 0)"
		    " FROM exchange GROUP BY capture_id", "");
	assert_rows(path, "SELECT (SELECT coalesce(sum(exchanges), 0) FROM capture_total)"
			  " = (SELECT count(*) FROM exchange)", "1\n");
	assert_rows(path,
		    "SELECT * FROM replay_total WHERE results EXCEPT SELECT replay_id, count(*),"
		    " count(status), count(error) FROM result GROUP BY replay_id", "");
	assert_rows(path, "SELECT (SELECT coalesce(sum(results), 0) FROM replay_total)"
			  " = (SELECT count(*) FROM result)", "1\n");
	assert_rows(path, "SELECT bodies, bytes FROM body_total EXCEPT"
			  " SELECT count(*), coalesce(sum(size), 0) FROM body", "");
}

static void test_by_looks(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	put_path(sink, "/orders/17?x=1", 200);
	put_path(sink, "/orders/18", 500);
	put_path(sink, "/orders/18", 200);
	put_path(sink, "/orders/19.json", 200);
	put_path(sink, "/orders/new", 200);
	put_path(sink, "/orders/20", 404);
	put_path(sink, "/.env", 404);
	put_path(sink, "/late", 404);
	put_path(sink, "/late", 200);
	put_path(sink, "/health", 0);
	put_path(sink, "*", 200);
	put_path(sink, "http://other/orders/21", 200);
	put_path(sink, "/\xff\xfe", 200);
	finish(sink);
	store_close(st);
	assert_rows(p->path, ROUTES,
		    "-|4\n/health|1\n/late|1\n/orders/new|1\n/orders/{id}|5\n/orders/{id}.json|1\n");
	assert_rows(p->path, "SELECT path, template FROM template WHERE template = '/orders/{id}'",
		    "/orders/17|/orders/{id}\n");
	assert_rows(p->path, "SELECT template FROM request WHERE path = '/orders/18' LIMIT 1",
		    "/orders/{id}\n");
	assert_totals(p->path);
}

/* Written by one, by two, or by as many as there are paths: the routes are the same. */
static void test_by_count(void **state)
{
	struct place *p = *state;

	put_users(p->path, 0, LIMIT_TEMPLATE_FANOUT);
	assert_rows(p->path, "SELECT count(DISTINCT template), min(template) FROM template",
		    "100|/users/aaa/mail\n");
	put_users(p->path, 150, 151);
	assert_rows(p->path, ROUTES, "/users/{id}/mail|101\n");
	for (unsigned i = 151; i < 160; i++)
		put_users(p->path, i, i + 1);
	put_users(p->path, 160, 1000);
	assert_rows(p->path, ROUTES, "/users/{id}/mail|950\n");
	assert_rows(p->path, "SELECT count(*) FROM template", "101\n");
	assert_totals(p->path);
}

/* Who tries a thousand names makes no value of those that are served. */
static void test_scanned(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	static const unsigned refusals[] = {404, 401, 403, 500};
	char path[64];

	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(path, sizeof(path), "/try-%c%c%c.php", 'a' + i / 400,
			       'a' + i / 20 % 20, 'a' + i % 20);
		put_path(sink, path, i % 10 ? refusals[i % 4] : 200); /* some answer anything */
		put_path(sink, "/api/cart", 200);
		put_path(sink, "/api/pay", 200);
	}
	finish(sink);
	store_close(st);
	assert_rows(p->path, "SELECT template, count(*) FROM request WHERE path LIKE '/api/%'"
			     " GROUP BY 1 ORDER BY 1", "/api/cart|3000\n/api/pay|3000\n");
	assert_rows(p->path, "SELECT template, count(*) > 200 FROM request WHERE status = 200"
			     " AND path LIKE '/try%' GROUP BY 1", "/{id}.php|1\n");
	assert_totals(p->path);
}

static void test_bounded(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	char path[64];

	for (unsigned i = 0; i < 60000; i++) {
		(void)snprintf(path, sizeof(path), "/%c%c/%c%c/%c%c", 'g' + i % 9,
			       'g' + i / 9 % 9, 'g' + i / 81 % 9, 'g' + i / 729 % 9,
			       'g' + i / 6561 % 9, 'g' + i / 59049 % 9);
		put_path(sink, path, 200);
	}
	finish(sink);
	store_close(st);
	assert_rows(p->path, "SELECT count(*) FROM template", "16384\n");
	assert_rows(p->path, "SELECT count(*) FROM exchange WHERE template IS NULL", "43616\n");
}

static void test_merged(void **state)
{
	struct place *p = *state;
	struct err err = {""};
	struct store_merged count;
	struct store *in[2], *out;
	char other[96], both[96];

	(void)snprintf(other, sizeof(other), "%s/other.db", p->dir);
	(void)snprintf(both, sizeof(both), "%s/both.db", p->dir);
	put_users(p->path, 0, 60);
	put_users(other, 300, 360);
	fill(other);
	in[0] = open_store(p->path, STORE_READ);
	in[1] = open_store(other, STORE_READ);
	out = open_store(both, STORE_CREATE);
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_merge(out, in[i], &count, &err), SC_OK);
	assert_int_equal(store_merge_end(out, &err), SC_OK);
	store_close(out);
	store_close(in[0]);
	store_close(in[1]);
	assert_rows(both, "SELECT t.template, count(*) FROM exchange e JOIN template t"
			  " ON t.id = e.template WHERE t.template LIKE '/users/%' GROUP BY 1",
		    "/users/{id}/mail|120\n");
	assert_rows(both, "SELECT count(*) FROM exchange WHERE template IS NULL", "0\n");
	assert_totals(both);
}

/* What spans pieces of one recording is one connection in all that is made of them, and what is of
 * another recording is another. */
static void test_pieces(void **state)
{
	static const char *const sets[] = {"x", "x", "y", "x"};
	struct place *p = *state;
	struct err err = {""};
	struct store_merged count;
	struct store *out = open_store(p->path, STORE_CREATE);
	struct source *source;
	uint64_t connections[4];
	char piece[96];

	for (int i = 0; i < 4; i++) {
		struct store *in;

		(void)snprintf(piece, sizeof(piece), "%s/%d.db", p->dir, i);
		make_piece(piece, sets[i]);
		in = open_store(piece, STORE_READ);
		assert_int_equal(store_merge(out, in, &count, &err), SC_OK);
		store_close(in);
	}
	assert_int_equal(store_merge_end(out, &err), SC_OK);
	source = begin_source(out, 0);
	for (int i = 0; i < 4; i++) {
		struct exchange *ex = read_one(source);

		assert_non_null(ex);
		connections[i] = ex->connection;
		exchange_free(ex);
	}
	source_free(source);
	store_close(out);
	assert_true(connections[0] == connections[1] && connections[1] != connections[2]);
	assert_rows(p->path, "SELECT count(DISTINCT connection) FROM exchange WHERE id < 4", "2\n");
}

/* A store of version 1 is one without all this. */
static void make_old(const char *path)
{
	run_sql(path,
		"DROP VIEW request; DROP VIEW header; DROP VIEW route_summary;"
		"DROP VIEW replay_summary; DROP VIEW difference_summary;"
		"DROP TRIGGER exchange_deleted; DROP TRIGGER result_deleted;"
		"DROP TRIGGER body_deleted; DROP TABLE capture_total; DROP TABLE replay_total;"
		"DROP TABLE body_total; PRAGMA foreign_keys = OFF; DROP TABLE template;"
		"ALTER TABLE exchange DROP COLUMN template; PRAGMA user_version = 1");
}

static void test_migrated(void **state)
{
	static const enum store_mode modes[] = {STORE_UPDATE, STORE_READ};
	struct place *p = *state;

	fill(p->path);
	put_users(p->path, 0, 200);
	for (int i = 0; i < 2; i++) {
		make_old(p->path);
		store_close(open_store(p->path, modes[i]));
		assert_rows(p->path, "PRAGMA user_version", "2\n");
	}
	assert_rows(p->path, "PRAGMA integrity_check", "ok\n");
	assert_rows(p->path, "SELECT template, count(*) FROM request WHERE path LIKE '/users/%'"
			     " GROUP BY 1", "/users/{id}/mail|200\n");
	assert_totals(p->path);
	put_users(p->path, 390, 400);
	assert_rows(p->path, "SELECT template, count(*) FROM request WHERE path LIKE '/users/%'"
			     " GROUP BY 1", "/users/{id}/mail|210\n");
	assert_totals(p->path);
}

static void test_deleted(void **state)
{
	struct place *p = *state;

	fill(p->path);
	put_users(p->path, 0, 10);
	assert_totals(p->path);
	run_sql(p->path, "DELETE FROM result WHERE id % 2 = 0");
	assert_totals(p->path);
	run_sql(p->path, "DELETE FROM exchange WHERE id IN (1, 5)");
	assert_totals(p->path);
	run_sql(p->path, "DELETE FROM exchange; DELETE FROM result; DELETE FROM body");
	assert_totals(p->path);
	assert_rows(p->path, "SELECT sum(exchanges), sum(request_bytes) FROM capture_total",
		    "0|0\n");
	assert_rows(p->path, "SELECT * FROM body_total", "1|0|0\n");
}

/* What a transaction that failed has added is added nowhere. */
static void test_rolled_back(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	struct err err = {""};
	struct exchange *ex;
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	put_path(sink, "/a", 200);
	run_sql(p->path, "SELECT 1");
	assert_int_equal(sink_tick(sink, 1, &err), SC_OK);
	assert_int_equal(sink_tick(sink, 1 + 2 * LIMIT_TRANSACTION_US, &err), SC_OK);
	put_path(sink, "/b", 200);
	sink_free(sink); /* rolls back */
	sink = begin_capture(st, &id);
	ex = make_exchange(T0, "POST /c HTTP/1.1\r\nHost: h\r\n\r\n", NULL);
	set_body(ex->request, span_str("body"));
	put(sink, ex);
	finish(sink);
	store_close(st);
	assert_rows(p->path, "SELECT path FROM exchange", "/a\n/c\n");
	assert_totals(p->path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_by_looks), PLACED(test_by_count), PLACED(test_scanned),
		PLACED(test_bounded), PLACED(test_merged), PLACED(test_pieces), PLACED(test_migrated),
		PLACED(test_deleted), PLACED(test_rolled_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
