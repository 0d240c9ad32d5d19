/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a store: results, views and named queries give the rows they should, and SQL can only
 * read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_fixture.h"

static void test_results(void **state)
{
	struct place *p = *state;

	fill(p->path);
	assert_rows(
		p->path,
		"SELECT replay_id, exchange_id, pass, due_us - 1790000000123456,"
		" sent_us - 1790000000123456, ttfb_us, duration_us, latency_us, status, headers,"
		" body, error FROM result ORDER BY id",
		"1|1|0|0|5|500|1000|1005|200|[[\"A\",\"b\"]]|1|~\n"
		"1|2|0|0|5|1500|3000|3005|503|[]|1|~\n"
		"1|3|0|0|~|~|~|~|~|~|~|could not connect\n"
		"2|1|0|0|5|500|1000|1005|200|~|~|~\n"
		"2|2|0|0|5|1500|3000|3005|503|~|~|~\n"
		"2|3|0|0|~|~|~|~|~|~|~|could not connect\n");
	assert_rows(p->path,
		    "SELECT id, target, options, summary, started_at < ended_at FROM replay",
		    "1|http://t:1|{}|{\"sent\": 3}|1\n2|http://t:1|{}|{\"sent\": 3}|1\n"
		    "3|http://t:1|{}|{\"sent\": 3}|1\n");
	assert_rows(p->path, "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name",
		    "difference_replay\nexchange_time\nresult_exchange\n");
}

static const struct {
	const char *sql, *rows;
} view_rows[] = {
	{"SELECT id, time, client, method, host, path, query, status, duration_ms, route, state,"
	 " request_body, response_body FROM request",
	 "1|2026-09-21T14:13:20.123Z|10.1.2.3:40000|GET|h|/a|x=1|200|2.0|~|complete|~|same\n"
	 "2|2026-09-21T14:13:20.124Z|10.1.2.3:40000|POST|h|/"
	 "a|~|500|9.0|~|complete|caf\xc3\xa9\n|~\n"
	 "3|2026-09-21T14:13:20.125Z|10.1.2.3:40000|GET||/b|~|~|~|/b*|no-response|~|~\n"},
	{"SELECT * FROM header ORDER BY exchange_id, side, value",
	 "1|request|Host|h\n1|response|A|1\n1|response|A|2\n2|request|Host|h\n"},
	{"SELECT route, requests, s2xx, s4xx, s5xx, unanswered, error_percent, p50_ms, p95_ms, "
	 "p99_ms,"
	 " max_ms, request_bytes, response_bytes FROM route_summary ORDER BY route",
	 "/a|2|1|0|1|0|50.0|2.0|9.0|9.0|9.0|6|7\n/b*|1|0|0|0|1|100.0|~|~|~|~|3|0\n"},
	{"SELECT replay_id, target, requests, s2xx, s3xx, s4xx, s5xx, failed, latency_p50_ms,"
	 " latency_p99_ms, service_p50_ms, service_max_ms FROM replay_summary",
	 "1|http://t:1|3|1|0|0|1|1|1.005|3.005|1.0|3.0\n"
	 "2|http://t:1|3|1|0|0|1|1|1.005|3.005|1.0|3.0\n3|http://t:1|0|0|0|0|0|0|~|~|~|~\n"},
	{"SELECT * FROM difference_summary ORDER BY place",
	 "1|Date|header|value|2|1|1|1\n1|~|status|status|1|1|1|0\n"},
};

static void test_views(void **state)
{
	struct place *p = *state;

	fill(p->path);
	for (size_t i = 0; i < sizeof(view_rows) / sizeof(view_rows[0]); i++)
		assert_rows(p->path, view_rows[i].sql, view_rows[i].rows);
}

static int count_row(void *arg, int n, const struct value *values)
{
	(void)n;
	(void)values;
	++*(int *)arg;
	return SC_OK;
}

static void test_named_queries(void **state)
{
	struct place *p = *state;

	store_close(open_store(p->path, STORE_CREATE));
	for (int filled = 0; filled < 2; filled++) {
		struct store *st;

		for (int times = 0; filled && times < 2; times++) /* so that some are equal */
			fill(p->path);
		st = open_store(p->path, STORE_READ);
		for (const struct store_query *q = store_queries; q->name; q++) {
			int rows = 0;
			struct row_reader reader = {no_columns, count_row, &rows};
			struct err err = {""};

			assert_string_equal(store_query_sql(q->name), q->sql);
			if (store_select(st, q->sql, &reader, &err))
				fail_msg("%s: %s", q->name, err.text);
			assert_int_equal(rows > 0, filled);
		}
		store_close(st);
	}
	assert_null(store_query_sql("nothing"));
}

static const char *const refused[] = {
	"",
	"  ;",
	"-- nothing",
	"SELEC 1",
	"SELECT nothing FROM exchange",
	"SELECT 1; SELECT 2",
	"SELECT 1; nonsense",
	"DELETE FROM exchange",
	"INSERT INTO body VALUES (1, 1, 'x')",
	"UPDATE capture SET source = 'x'",
	"DROP TABLE exchange",
	"CREATE TABLE t (a)",
	"CREATE TEMP TABLE t (a)",
	"ATTACH '/tmp/x.db' AS x",
	"VACUUM",
	"VACUUM INTO '/tmp/x.db'",
	"BEGIN",
	"COMMIT",
	"REINDEX",
	"ANALYZE",
	"PRAGMA journal_mode = DELETE",
	"PRAGMA query_only = OFF",
	"PRAGMA user_version = 5",
	"PRAGMA wal_checkpoint",
	"UPDATE sqlite_schema SET sql = ''",
	"SELECT load_extension('x')",
	"PRAGMA writable_schema = 1",
	"INSERT INTO body VALUES (9, 9, 'x') RETURNING id",
};

static const char *const allowed[] = {
	"SELECT 1",
	"SELECT 1;",
	"; SELECT 1 ; -- done",
	"/* a */ SELECT 1 /* b */ ; ;",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT i FROM n",
	"VALUES (1)",
	"EXPLAIN QUERY PLAN SELECT * FROM request",
	"PRAGMA table_info(exchange)",
	"PRAGMA user_version",
	"SELECT * FROM pragma_table_info('body')",
	"SELECT value FROM json_each('[1, 2]')",
};

static void test_select_only_reads(void **state)
{
	struct place *p = *state;
	static const enum store_mode modes[] = {STORE_READ, STORE_UPDATE};

	fill(p->path);
	for (int m = 0; m < 2; m++) {
		struct store *st = open_store(p->path, modes[m]);
		int rows = 0;
		struct row_reader reader = {no_columns, count_row, &rows};

		for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
			struct err err = {""};

			if (store_select(st, refused[i], &reader, &err) != SC_EINVAL)
				fail_msg("ran: %s", refused[i]);
			assert_memory_equal(err.text, "SQL: ", 5);
			assert_int_equal(rows, 0);
		}
		for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
			struct err err = {""};

			rows = 0;
			if (store_select(st, allowed[i], &reader, &err))
				fail_msg("%s: %s", allowed[i], err.text);
			assert_true(rows > 0);
		}
		if (modes[m] == STORE_UPDATE) { /* and may still be written to otherwise */
			int64_t id;

			finish(begin_capture(st, &id));
		}
		store_close(st);
	}
	assert_rows(p->path, "SELECT count(*) FROM exchange", "3\n");
}

static int stop_at_first(void *arg, int n, const struct value *values)
{
	(void)arg;
	(void)n;
	(void)values;
	return SC_ECLOSED;
}

static void test_select_values(void **state)
{
	struct place *p = *state;
	struct row_reader reader = {NULL, stop_at_first, NULL};
	struct err err = {""};
	struct store *st;

	fill(p->path);
	st = open_store(p->path, STORE_READ);
	assert_int_equal(store_select(st, "SELECT 1 FROM exchange", &reader, &err), SC_ECLOSED);
	assert_rows_of(st, "SELECT NULL, 1, 1.5, 'x', x'61', ''", "~|1|1.5|x|a|\n");
	store_close(st);
}

/* Three people, told apart by a cookie in one header or two, by a header, or not at all. */
static void fill_people(const char *path)
{
	static const struct {
		int64_t minutes;
		const char *request;
	} visits[] = {
		{0, "GET /a HTTP/1.1\r\nHost: h\r\nCookie: x=1; sid=ann\r\n\r\n"},
		{1, "GET /b HTTP/1.1\r\nHost: h\r\ncookie: sid=ann;y=2\r\nX-User: A\r\n\r\n"},
		{2, "GET /a HTTP/1.1\r\nHost: h\r\nCookie: notsid=eve\r\nCookie: sid=bob\r\n\r\n"},
		{3, "GET /c HTTP/1.1\r\nHost: h\r\nx-user: A\r\nX-User: B\r\n\r\n"},
		{40, "GET /b HTTP/1.1\r\nHost: h\r\nCookie: sid=ann\r\n\r\n"},
		{41, "GET /b HTTP/1.1\r\nHost: h\r\nCookie: sid=\r\n\r\n"},
	};
	struct store *st = open_store(path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (size_t i = 0; i < sizeof(visits) / sizeof(visits[0]); i++)
		put(sink, make_exchange(T0 + visits[i].minutes * 60000000, visits[i].request,
					"HTTP/1.1 200 OK\r\n\r\n"));
	finish(sink);
	store_close(st);
}

static const struct {
	const char *query, *kind, *name, *columns, *rows;
} keyed_rows[] = {
	{"sessions", "client", "", "key, session, started, seconds, requests, paths",
	 "10.1.2.3|1|2026-09-21T14:13:20.123Z|180.0|4|3\n"
	 "10.1.2.3|2|2026-09-21T14:53:20.123Z|60.0|2|1\n"},
	{"sessions", "cookie", "sid", "key, session, seconds, requests, paths",
	 "ann|1|60.0|2|2\n|1|0.0|1|1\nann|2|0.0|1|1\nbob|1|0.0|1|1\n"},
	{"sessions", "header", "X-USER", "key, session, requests", "A|1|2\n"},
	{"sessions", "cookie", "' || (SELECT 1) || '", "count(*)", "0\n"},
	{"funnel", "cookie", "sid", "route, next, times, percent, mean_seconds",
	 "/b|~|3|100.0|~\n/a|~|1|50.0|~\n/a|/b|1|50.0|60.0\n"},
	{"funnel", NULL, NULL, "route, next, times, percent",
	 "/a|/b|1|50.0\n/a|/c|1|50.0\n/b|~|1|33.33\n/b|/a|1|33.33\n/b|/b|1|33.33\n"
	 "/c|~|1|100.0\n"},
};

/* Asked with parameters, and as the literal SQL that is given out, both are the same. */
static void test_keyed_queries(void **state)
{
	struct place *p = *state;
	struct store *st;

	fill_people(p->path);
	st = open_store(p->path, STORE_READ);
	for (size_t i = 0; i < sizeof(keyed_rows) / sizeof(keyed_rows[0]); i++) {
		const struct store_parameter parameters[] = {{":kind", keyed_rows[i].kind},
							     {":name", keyed_rows[i].name},
							     {NULL, NULL}};
		struct err err = {""};
		char *sql = NULL;
		char whole[4096];

		assert_true(store_query_keyed(keyed_rows[i].query));
		if (store_expand(st, store_query_sql(keyed_rows[i].query), parameters, &sql, &err))
			fail_msg("%s", err.text);
		assert_null(strstr(sql, ":kind"));
		(void)snprintf(whole, sizeof(whole), "SELECT %s FROM (%s)", keyed_rows[i].columns,
			       sql);
		assert_rows_of(st, whole, keyed_rows[i].rows);
		free(sql);
	}
	store_close(st);
	assert_false(store_query_keyed("routes"));
}

static void test_parameters(void **state)
{
	struct place *p = *state;
	const struct store_parameter parameters[] = {{":a", "it's"}, {":none", "x"}, {NULL, NULL}};
	int rows = 0;
	struct row_reader reader = {no_columns, count_row, &rows};
	struct err err = {""};
	struct store *st;
	char *sql = NULL;

	fill(p->path);
	st = open_store(p->path, STORE_READ);
	assert_int_equal(store_select_with(st, "SELECT 1 WHERE :a = 'it''s' AND :b IS NULL",
					   parameters, &reader, &err), SC_OK);
	assert_int_equal(rows, 1);
	assert_int_equal(store_expand(st, "SELECT :a", parameters, &sql, &err), SC_OK);
	assert_string_equal(sql, "SELECT 'it''s'");
	free(sql);
	assert_int_equal(store_expand(st, "DELETE FROM body", parameters, &sql, &err), SC_EINVAL);
	store_close(st);
}

static bool stop_now(void)
{
	return true;
}

static void test_select_stopped(void **state)
{
	struct place *p = *state;
	int rows = 0;
	struct row_reader reader = {no_columns, count_row, &rows};
	struct err err = {""};
	struct store *st;

	fill(p->path);
	st = open_store(p->path, STORE_READ);
	store_stop_when(st, stop_now);
	assert_int_equal(store_select(st, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
				      " FROM n) SELECT i FROM n WHERE i < 0", &reader, &err),
			 SC_ECLOSED);
	store_stop_when(st, NULL);
	assert_rows_of(st, "SELECT count(*) FROM exchange", "3\n");
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_results),
		PLACED(test_views),
		PLACED(test_named_queries),
		PLACED(test_select_only_reads),
		PLACED(test_select_values),
		PLACED(test_keyed_queries),
		PLACED(test_parameters),
		PLACED(test_select_stopped),
	};

	return cmocka_run_group_tests_name("store_query", tests, NULL, NULL);
}
