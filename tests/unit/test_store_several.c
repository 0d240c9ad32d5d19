/* SPDX-License-Identifier: Apache-2.0 */
/* Several stores as one: whatever is asked of them, the answer is that of a store they were
 * merged into; what is wrong with one of them is a line that names it; and nothing is looked for
 * by walking through all rows where an id says where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "core/limits.h"
#include "store/keep.h"
#include "store/several.h"
#include "store_fixture.h"

#define STORES 3
#define MANY 40

struct files {
	char paths[MANY][96];
	const char *list[MANY];
};

static void name_files(struct files *f, const struct place *p)
{
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(f->paths[i], sizeof(f->paths[i]), "%s/s%d.db", p->dir, i);
		f->list[i] = f->paths[i];
	}
}

static void put_one(struct sink *sink, int64_t ts_us, const char *path, const char *body)
{
	char head[128];
	struct exchange *ex;

	(void)snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
	ex = make_exchange(ts_us, head, "HTTP/1.1 404 No\r\nA: 1\r\n\r\n");
	set_body(ex->response, span_str(body));
	put(sink, ex);
}

/* Equal bodies, headers and routes in all, in other orders; rows that are gone from one of them. */
static void make_three(const struct files *f)
{
	for (int i = 0; i < STORES; i++) {
		struct store *st = open_store(f->list[i], STORE_CREATE);
		int64_t id;
		struct sink *sink = begin_capture(st, &id);
		char body[32], path[32];

		for (int k = 0; k < 5 + i; k++) {
			(void)snprintf(body, sizeof(body), "body %d", (k + i) % 6);
			(void)snprintf(path, sizeof(path), "/users/%d/orders", k + 10 * i);
			put_one(sink, T0 + 1000 * i + k, path, body);
		}
		finish(sink);
		store_close(st);
		for (int times = 0; times <= i; times++)
			fill(f->list[i]);
	}
	run_sql(f->list[0], "INSERT INTO request_chunks VALUES (2, x'61');"
		"UPDATE difference SET recorded = '0404' WHERE place = 'header'");
	run_sql(f->list[1], "DELETE FROM result WHERE exchange_id = 2;"
		"DELETE FROM exchange WHERE id = 2; INSERT INTO request_chunks VALUES (3, x'62')");
}

static struct store *open_several(const char *const *paths, unsigned n)
{
	struct err err = {""};
	struct store *st = NULL;

	if (store_open_several(paths, n, &st, &err))
		fail_msg("%s", err.text);
	return st;
}

static struct store *open_merged(const struct place *p, const char *const *paths, unsigned n)
{
	struct store *out = open_store(p->path, STORE_CREATE);
	struct err err = {""};

	for (unsigned i = 0; i < n; i++) {
		struct store *in = open_store(paths[i], STORE_READ);
		struct store_merged count;

		if (store_merge(out, in, &count, &err))
			fail_msg("%s", err.text);
		store_close(in);
	}
	assert_int_equal(store_merge_end(out, &err), SC_OK);
	store_close(out);
	return open_store(p->path, STORE_READ);
}

static int add_row(void *arg, int n, const struct value *values)
{
	struct buf *out = arg;

	for (int i = 0; i < n; i++) {
		assert_int_equal(buf_addf(out, "%d:", (int)values[i].kind), SC_OK);
		assert_int_equal(buf_add_span(out, values[i].text), SC_OK);
		assert_int_equal(buf_add_str(out, "|"), SC_OK);
	}
	return buf_add_str(out, "\n");
}

static void rows_of(struct store *st, const char *sql, struct buf *out)
{
	struct row_reader reader = {no_columns, add_row, out};
	struct err err = {""};

	buf_init(out, MIB);
	if (store_select(st, sql, &reader, &err))
		fail_msg("%s: %s", sql, err.text);
	assert_int_equal(buf_add(out, "", 1), SC_OK);
}

static void assert_same(struct store *several, struct store *merged, const char *sql)
{
	struct buf a, b;

	rows_of(several, sql, &a);
	rows_of(merged, sql, &b);
	if (strcmp((char *)a.data, (char *)b.data) != 0)
		fail_msg("%s:\n%s\nis not\n%s", sql, (char *)a.data, (char *)b.data);
	buf_done(&a);
	buf_done(&b);
}

static const char *const questions[] = {
	"SELECT * FROM capture",
	"SELECT * FROM exchange",
	"SELECT * FROM body",
	"SELECT * FROM template",
	"SELECT * FROM request_chunks",
	"SELECT * FROM replay",
	"SELECT * FROM result",
	"SELECT * FROM difference",
	"SELECT * FROM capture_total",
	"SELECT * FROM replay_total",
	"SELECT * FROM body_total",
	"SELECT * FROM request",
	"SELECT * FROM header ORDER BY exchange_id, side, name, value",
	"SELECT * FROM route_summary ORDER BY route",
	"SELECT * FROM replay_summary ORDER BY replay_id",
	"SELECT * FROM difference_summary ORDER BY replay_id, place, path, kind",
	"PRAGMA user_version",
	/* Ids of every kind, and what no id is. */
	"SELECT id, path FROM exchange WHERE id = 8",
	"SELECT id, path FROM exchange WHERE id = '9'",
	"SELECT id, path FROM exchange WHERE id = 10.0 OR rowid = 11",
	"SELECT id FROM exchange WHERE id IN (1, 7, 9, 20, 30, 99, -1, 0, 'x', 2.5, NULL)",
	"SELECT id FROM exchange WHERE id = 2.5",
	"SELECT id FROM exchange WHERE id = x'31'",
	"SELECT id FROM exchange WHERE id = NULL",
	"SELECT id FROM exchange WHERE id = 9223372036854775807 OR id = 9e99",
	"SELECT id FROM exchange WHERE id > 5 AND id <= 12 ORDER BY id DESC LIMIT 4",
	"SELECT id FROM exchange ORDER BY id DESC",
	"SELECT id FROM exchange WHERE id > 7.5 AND id < '12' ORDER BY id",
	"SELECT id FROM exchange WHERE id > 'x' OR id <= -1 OR id < NULL ORDER BY id",
	"SELECT id FROM exchange WHERE id < 'x' AND id >= -9e99 AND id < 9e99 ORDER BY id",
	"SELECT id FROM exchange WHERE id > 9223372036854775806 OR id < -9223372036854775807",
	"SELECT id FROM exchange WHERE id >= -9223372036854775808 AND id <= 9223372036854775807",
	"SELECT id, size FROM body WHERE id BETWEEN 2 AND 4 ORDER BY id",
	"SELECT id, path FROM template WHERE id >= 2 ORDER BY id",
	"SELECT id FROM result WHERE id > 20 AND replay_id = 5 ORDER BY id",
	"SELECT rowid, id FROM body WHERE id = 3",
	"SELECT max(id), min(id), count(*), count(DISTINCT connection) FROM exchange",
	"SELECT id FROM exchange WHERE capture_id = 3 ORDER BY id",
	"SELECT id FROM exchange WHERE capture_id = 3 AND id = 16",
	"SELECT id FROM result WHERE replay_id = 4 AND exchange_id = 14",
	"SELECT id FROM result WHERE replay_id = 4 AND exchange_id = 1",
	"SELECT id FROM exchange WHERE response_body = 2 ORDER BY id",
	"SELECT id FROM exchange WHERE template = 1 ORDER BY id",
	"SELECT id FROM exchange WHERE connection = 15 ORDER BY id",
	/* What the files are asked, and what compares as text or as a number. */
	"SELECT id FROM exchange WHERE ts_us >= 1790000000123456 + 1000"
	" AND ts_us < '1790000000125456' ORDER BY ts_us, id",
	"SELECT id FROM exchange WHERE ts_us = 1790000000123456 ORDER BY id",
	"SELECT id FROM exchange WHERE ts_us > 'x' OR status = '404' ORDER BY id",
	"SELECT id FROM exchange WHERE status BETWEEN 400 AND 499 AND path = '/users/10/orders'",
	"SELECT id FROM exchange WHERE path = '/A' COLLATE NOCASE ORDER BY id",
	"SELECT id FROM exchange WHERE status IS NULL OR query IS NOT NULL ORDER BY id",
	"SELECT id FROM exchange WHERE host = 0 OR path LIKE '/USERS/1%' ORDER BY id",
	"WITH n (n) AS (VALUES (1), (2)) SELECT id FROM exchange, n WHERE client_port = 40000"
	" AND method = CASE n WHEN 1 THEN 'GET' ELSE 5 END ORDER BY id",
	"SELECT id FROM exchange WHERE path = CAST(5 AS INTEGER) OR host = 1.5",
	"SELECT a.id, x.recorded FROM difference x JOIN exchange a ON x.recorded = a.status"
	" ORDER BY 1",
	"SELECT a.id, x.recorded FROM exchange a LEFT JOIN difference x ON x.recorded = a.status"
	" ORDER BY 1, 2",
	"SELECT a.id FROM replay a JOIN (SELECT 1 AS n) b ON a.started_at = b.n ORDER BY 1",
	/* Joins, both ways round, and what else SQL has. */
	"SELECT e.id, b.size, b.data FROM exchange e JOIN body b ON b.id = e.response_body"
	" ORDER BY 1",
	"SELECT b.id, e.id FROM body b LEFT JOIN exchange e ON e.response_body = b.id"
	" AND e.status = 404 ORDER BY 1, 2",
	"SELECT b.id, count(*) FROM exchange e JOIN body b ON b.id IN (e.request_body,"
	" e.response_body) GROUP BY b.id ORDER BY 1",
	"SELECT response_body, count(*), count(DISTINCT path) FROM exchange GROUP BY 1 ORDER BY 1",
	"SELECT count(*), sum(size) FROM body",
	"SELECT count(DISTINCT body) FROM result",
	"SELECT r.id, e.path, r.status, x.kind FROM result r"
	" JOIN exchange e ON e.id = r.exchange_id LEFT JOIN difference x ON x.result_id = r.id"
	" ORDER BY 1, 4, x.recorded, x.replayed",
	"SELECT e.id, count(r.id) FROM exchange e LEFT JOIN result r ON r.exchange_id = e.id"
	" GROUP BY e.id ORDER BY e.id",
	"SELECT id FROM exchange e WHERE EXISTS (SELECT 1 FROM result r"
	" WHERE r.exchange_id = e.id AND r.replay_id = 2) ORDER BY id",
	"SELECT id FROM exchange WHERE id NOT IN (SELECT exchange_id FROM result) ORDER BY id",
	"SELECT id, sum(response_size) OVER (PARTITION BY capture_id ORDER BY ts_us, id),"
	" lag(id) OVER (ORDER BY ts_us, id) FROM exchange ORDER BY id",
	"SELECT c.id, c.source, t.exchanges, p.target FROM capture c JOIN capture_total t"
	" ON t.capture_id = c.id LEFT JOIN replay p ON p.id = c.id ORDER BY c.id",
	"SELECT q.id, q.response_body, e.response_body FROM request q JOIN exchange e USING (id)"
	" WHERE q.status = 404 ORDER BY q.id",
	"SELECT h.value, count(*) FROM header h JOIN exchange e ON e.id = h.exchange_id"
	" WHERE h.name = 'A' AND e.state = 'complete' GROUP BY 1 ORDER BY 1",
	"SELECT coalesce(t.template, e.path), count(*) FROM exchange e LEFT JOIN template t"
	" ON t.id = e.template GROUP BY 1 ORDER BY 1",
	"SELECT id FROM exchange UNION SELECT id FROM result EXCEPT SELECT id FROM replay"
	" ORDER BY 1",
	"SELECT (SELECT max(ts_us) FROM exchange e WHERE e.capture_id = c.id) FROM capture c"
	" ORDER BY 1",
	"SELECT DISTINCT capture_id, status FROM exchange ORDER BY 1, 2",
	"SELECT id FROM exchange WHERE id = 3 UNION ALL SELECT id FROM exchange WHERE id = 3",
	"SELECT a.id, b.id FROM exchange a, exchange b WHERE a.id + 1 = b.id ORDER BY 1",
	/* Searched so often that a copy is made. */
	"SELECT a.id, b.id FROM exchange a LEFT JOIN exchange b ON b.path = a.path AND b.id > a.id"
	" AND b.id < 20 ORDER BY 1, 2",
	"SELECT a.id, b.id FROM exchange a LEFT JOIN exchange b ON b.path = a.path AND"
	" b.status = a.status AND b.ts_us > a.ts_us ORDER BY 1, 2",
	"SELECT a.id, b.id, b.capture_id, b.response_body FROM exchange a LEFT JOIN exchange b"
	" ON b.duration_us = a.duration_us AND b.capture_id = a.capture_id ORDER BY 1, 2",
	"SELECT a.id, b.rowid FROM exchange a LEFT JOIN exchange b ON b.client = a.method"
	" OR b.path = a.path ORDER BY 1, 2",
	"SELECT id FROM exchange e WHERE EXISTS (SELECT 1 FROM result r WHERE r.exchange_id = e.id"
	" AND r.status = 503) ORDER BY id",
	"SELECT id, (SELECT count(*) FROM exchange b WHERE b.host = a.host AND b.path < a.path)"
	" FROM exchange a ORDER BY id",
	"SELECT a.id, b.id FROM exchange a LEFT JOIN result b ON b.exchange_id = a.id"
	" AND b.status = a.status AND b.error IS NULL ORDER BY 1, 2",
};

static void test_like_a_merge(void **state)
{
	const struct place *p = *state;
	struct store *several, *merged;
	struct files f;

	name_files(&f, p);
	make_three(&f);
	several = open_several(f.list, STORES);
	merged = open_merged(p, f.list, STORES);
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
		assert_same(several, merged, questions[i]);
	for (const struct store_query *q = store_queries; q->name; q++)
		assert_same(several, merged, q->sql);
	/* Now that bodies are matched, again. */
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
		assert_same(several, merged, questions[i]);
	store_close(several);
	store_close(merged);
}

/* One is a dataset too; and so are empty ones among others. */
static void test_one_and_empty(void **state)
{
	const struct place *p = *state;
	struct store *several, *merged;
	struct files f;

	name_files(&f, p);
	store_close(open_store(f.list[0], STORE_CREATE));
	fill(f.list[1]);
	store_close(open_store(f.list[2], STORE_CREATE));
	fill(f.list[3]);
	store_close(open_store(f.list[4], STORE_CREATE));
	several = open_several(f.list, 1);
	for (const struct store_query *q = store_queries; q->name; q++)
		assert_rows_of(several, q->sql, "");
	store_close(several);
	several = open_several(f.list, 5);
	merged = open_merged(p, f.list, 5);
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
		assert_same(several, merged, questions[i]);
	store_close(several);
	store_close(merged);
}

static void test_forty(void **state)
{
	struct place *p = *state;
	struct store *several, *merged;
	struct files f;

	name_files(&f, p);
	for (int i = 0; i < MANY; i++)
		fill(f.list[i]);
	several = open_several(f.list, MANY);
	merged = open_merged(p, f.list, MANY);
	assert_rows_of(several, "SELECT count(*), max(id), count(DISTINCT connection),"
		       " count(DISTINCT capture_id), (SELECT count(*) FROM body) FROM exchange",
		       "120|120|40|40|4\n");
	for (const struct store_query *q = store_queries; q->name; q++)
		assert_same(several, merged, q->sql);
	assert_same(several, merged, "SELECT * FROM request ORDER BY id");
	store_close(several);
	store_close(merged);
}

/* What the planner has to make of it: the condition that is in the SQL for the files. */
static const struct {
	const char *sql, *plan;
} plans[] = {
	{"SELECT b.size FROM exchange e JOIN body b ON b.id = e.response_body",
	 "FROM \"body\" WHERE \"rowid\" = ?1"},
	{"SELECT b.size FROM body b JOIN exchange e ON b.id = e.response_body",
	 "FROM \"body\" WHERE \"rowid\" = ?1"},
	{"SELECT response_body FROM request WHERE id = 5",
	 "FROM \"exchange\" WHERE \"rowid\" = ?1"},
	{"SELECT response_body FROM request", "FROM \"body\" WHERE \"rowid\" = ?1"},
	{"SELECT * FROM result r JOIN exchange e ON e.id = r.exchange_id WHERE r.replay_id = 1",
	 "FROM \"exchange\" WHERE \"rowid\" = ?1"},
	{"SELECT * FROM result WHERE replay_id = 1 AND exchange_id = 2",
	 "WHERE \"replay_id\" = ?1 AND \"exchange_id\" = ?2"},
	{"SELECT path FROM exchange WHERE ts_us >= 5 AND ts_us < 9",
	 "WHERE \"ts_us\" >= ?1 AND \"ts_us\" < ?2"},
	{"SELECT count(*) FROM exchange WHERE status = 500", "WHERE \"status\" = ?1"},
	{"SELECT path FROM exchange ORDER BY id DESC LIMIT 1", "ORDER BY rowid DESC"},
	{"SELECT lines FROM exchange e JOIN request_chunks c ON c.exchange_id = e.id"
	 " WHERE e.id = 3",
	 "FROM \"request_chunks\" WHERE \"rowid\" = ?1"},
};

static void test_plans(void **state)
{
	const struct place *p = *state;
	struct store *several;
	struct files f;

	name_files(&f, p);
	make_three(&f);
	several = open_several(f.list, STORES);
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		char sql[512];
		struct buf out;

		(void)snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", plans[i].sql);
		rows_of(several, sql, &out);
		if (!strstr((char *)out.data, plans[i].plan))
			fail_msg("%s: '%s' is not in %s", plans[i].sql, plans[i].plan,
				 (char *)out.data);
		buf_done(&out);
	}
	store_close(several);
}

static void append(const char *path, int n)
{
	struct store *st = open_store(path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (int i = 0; i < n; i++)
		put_one(sink, T0 + i, "/new", "new");
	finish(sink);
	store_close(st);
}

/* One state of all of them, whoever writes; the next one sees what came. */
static void test_beside_a_writer(void **state)
{
	static const char sql[] =
		"SELECT count(*), max(id), count(DISTINCT capture_id) FROM exchange";
	const struct place *p = *state;
	struct store *several;
	struct files f;

	name_files(&f, p);
	fill(f.list[0]);
	fill(f.list[1]);
	several = open_several(f.list, 2);
	append(f.list[0], 5000);
	assert_rows_of(several, sql, "6|6|2\n");
	append(f.list[1], 1);
	assert_rows_of(several, sql, "6|6|2\n");
	assert_rows_of(several, "SELECT count(*) FROM body", "4\n");
	store_close(several);
	several = open_several(f.list, 2);
	assert_rows_of(several, sql, "5007|5007|4\n");
	store_close(several);
	assert_rows(f.list[0], "PRAGMA integrity_check", "ok\n");
}

static void assert_refused(const struct files *f, unsigned n, int code, const char *path,
			   const char *word)
{
	struct err err = {""};
	struct store *st = NULL;

	assert_int_equal(store_open_several(f->list, n, &st, &err), code);
	assert_null(st);
	assert_memory_equal(err.text, path, strlen(path));
	if (!strstr(err.text, word))
		fail_msg("'%s' is not in '%s'", word, err.text);
}

static void test_wrong_files(void **state)
{
	const struct place *p = *state;
	struct files f;
	FILE *noise;

	name_files(&f, p);
	fill(f.list[0]);
	fill(f.list[1]);
	assert_refused(&f, 3, SC_EINVAL, f.list[2], "no such file");
	noise = fopen(f.list[2], "w");
	assert_non_null(noise);
	assert_true(fputs("no store at all", noise) >= 0);
	assert_int_equal(fclose(noise), 0);
	assert_refused(&f, 3, SC_EINVAL, f.list[2], "is not a store");
	run_sql(f.list[1], "PRAGMA user_version = 99");
	assert_refused(&f, 2, SC_EINVAL, f.list[1], "version 99");
	(void)remove(f.list[1]);
	fill(f.list[1]);
	run_sql(f.list[1], "UPDATE exchange SET id = -4 WHERE id = 2");
	assert_refused(&f, 2, SC_EINVAL, f.list[1], "is damaged: exchange: id -4");
	run_sql(f.list[1], "UPDATE exchange SET id = 9223372036854775807 WHERE id = -4");
	assert_refused(&f, 2, SC_EINVAL, f.list[1], "is damaged: exchange: id 9223372036854775807");
	run_sql(f.list[1], "DROP VIEW request; DROP TABLE exchange");
	assert_refused(&f, 2, SC_EIO, f.list[1], "no such table: exchange");
}

static int select_all(struct store *st, const char *sql, struct err *err)
{
	struct buf out;
	struct row_reader reader = {no_columns, add_row, &out};
	int rc;

	buf_init(&out, MIB);
	rc = store_select(st, sql, &reader, err);
	buf_done(&out);
	return rc;
}

static const struct {
	const char *damage, *sql, *word;
} damages[] = {
	{"UPDATE exchange SET response_body = 99 WHERE id = 1",
	 "SELECT response_body FROM exchange", "is damaged: exchange: there is no body 99"},
	{"UPDATE result SET body = 98 WHERE id = 1", "SELECT body FROM result",
	 "is damaged: result: there is no body 98"},
	{"UPDATE exchange SET template = 97 WHERE id = 1", "SELECT template FROM exchange",
	 "is damaged: exchange: there is no template 97"},
	{"UPDATE exchange SET capture_id = -1", "SELECT capture_id FROM exchange",
	 "is damaged: exchange: capture_id -1"},
};

static void test_damaged(void **state)
{
	const struct place *p = *state;
	struct files f;

	name_files(&f, p);
	fill(f.list[0]);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct err err = {""};
		struct store *st;

		(void)remove(f.list[1]);
		fill(f.list[1]);
		run_sql(f.list[1], damages[i].damage);
		st = open_several(f.list, 2);
		assert_int_equal(select_all(st, damages[i].sql, &err), SC_EINVAL);
		assert_memory_equal(err.text, f.list[1], strlen(f.list[1]));
		if (!strstr(err.text, damages[i].word))
			fail_msg("'%s' is not in '%s'", damages[i].word, err.text);
		/* The others and the other questions are what they were. */
		assert_rows_of(st, "SELECT count(*) FROM exchange", "6\n");
		store_close(st);
	}
}

/* Pages of one file become noise after it was opened. */
static void test_damaged_meanwhile(void **state)
{
	const struct place *p = *state;
	struct err err = {""};
	struct store *st;
	struct files f;
	struct stat file;
	FILE *out;
	int rc;

	name_files(&f, p);
	fill(f.list[0]);
	append(f.list[1], 5000);
	st = open_several(f.list, 2);
	assert_int_equal(stat(f.list[1], &file), 0);
	out = fopen(f.list[1], "r+");
	assert_non_null(out);
	assert_int_equal(fseek(out, 8192 * 20, SEEK_SET), 0);
	for (int64_t i = 8192 * 20; i < file.st_size; i++)
		assert_int_equal(fputc(0xa5, out), 0xa5);
	assert_int_equal(fclose(out), 0);
	rc = select_all(st, "SELECT count(*), sum(length(path)) FROM exchange", &err);
	assert_int_equal(rc, SC_EINVAL);
	assert_memory_equal(err.text, f.list[1], strlen(f.list[1]));
	assert_non_null(strstr(err.text, "is damaged"));
	assert_rows_of(st, "SELECT path FROM exchange WHERE id = 1", "/a\n");
	store_close(st);
}

static const char *const refused[] = {
	"DELETE FROM exchange",
	"INSERT INTO body VALUES (1, 1, 'x')",
	"UPDATE capture SET source = 'x'",
	"DROP TABLE exchange",
	"CREATE TEMP TABLE t (a)",
	"ATTACH 'x.db' AS x",
	"SELECT nothing FROM exchange",
	"SELECT 1 FROM several",
	"SELECT 1; SELECT 2",
};

static void test_reads_only(void **state)
{
	const struct place *p = *state;
	struct store *st;
	struct files f;

	name_files(&f, p);
	fill(f.list[0]);
	fill(f.list[1]);
	st = open_several(f.list, 2);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct err err = {""};

		assert_int_equal(select_all(st, refused[i], &err), SC_EINVAL);
		assert_memory_equal(err.text, "SQL: ", 5);
	}
	assert_rows_of(st, "SELECT count(*) FROM exchange", "6\n");
	store_close(st);
}

static int patience;

static bool stop_soon(void)
{
	return --patience < 0;
}

/* All of these spend their time in a step of one file, which hands nothing on. */
static const char *const long_ones[] = {
	"SELECT count(*) FROM exchange WHERE host = 'nobody'",
	"SELECT max(response_body) FROM exchange WHERE id = 1",
	"SELECT connection FROM exchange WHERE id = (SELECT max(id) FROM exchange)",
	"SELECT count(*) FROM exchange a, exchange b WHERE a.path = b.host",
};

static void test_stopped(void **state)
{
	const struct place *p = *state;
	struct files f;

	name_files(&f, p);
	append(f.list[0], 20000);
	append(f.list[1], 20000);
	for (size_t i = 0; i < sizeof(long_ones) / sizeof(long_ones[0]); i++) {
		struct store *st = open_several(f.list, 2);
		struct err err = {""};

		patience = 0;
		store_stop_when(st, stop_soon);
		assert_int_equal(select_all(st, long_ones[i], &err), SC_ECLOSED);
		assert_non_null(strstr(err.text, "stopped"));
		/* What was half done is done when it is asked for again. */
		store_stop_when(st, NULL);
		if (i < 3)
			assert_int_equal(select_all(st, long_ones[i], &err), SC_OK);
		assert_rows_of(st, "SELECT * FROM body", "1|3|new\n");
		assert_rows_of(st, "SELECT * FROM body_total", "1|1|3\n");
		store_close(st);
	}
}

/* Somebody's own tables and views: those that all have are of the whole. */
static void test_tables_of_others(void **state)
{
	const struct place *p = *state;
	struct err err = {""};
	struct store *st;
	struct files f;

	name_files(&f, p);
	for (int i = 0; i < 2; i++) {
		fill(f.list[i]);
		run_sql(f.list[i], "CREATE TABLE note (n INTEGER PRIMARY KEY, e INTEGER REFERENCES"
			" exchange(id), \"a \"\"b\" TEXT); INSERT INTO note VALUES (1, 2, 'x');"
			"CREATE TABLE plain (a, b, PRIMARY KEY (a)) WITHOUT ROWID;"
			"CREATE VIEW noted AS SELECT n, path, response_body FROM note JOIN request"
			" ON id = e; CREATE VIEW bodies AS SELECT DISTINCT response_body"
			" FROM exchange WHERE response_body IS NOT NULL");
	}
	run_sql(f.list[0], "CREATE TABLE mine (a); DROP VIEW header");
	st = open_several(f.list, 2);
	assert_rows_of(st, "SELECT * FROM note", "1|2|x\n2|5|x\n");
	assert_rows_of(st, "SELECT n, path FROM noted ORDER BY n", "1|/a\n2|/a\n");
	assert_rows_of(st, "SELECT * FROM bodies ORDER BY 1", "1\n3\n");
	assert_int_equal(select_all(st, "SELECT * FROM mine", &err), SC_EINVAL);
	assert_string_equal(err.text, "SQL: no such table: mine");
	assert_int_equal(select_all(st, "SELECT * FROM header", &err), SC_EINVAL);
	assert_string_equal(err.text, "SQL: no such table: header");
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_like_a_merge),
		PLACED(test_one_and_empty),
		PLACED(test_forty),
		PLACED(test_plans),
		PLACED(test_beside_a_writer),
		PLACED(test_wrong_files),
		PLACED(test_damaged),
		PLACED(test_damaged_meanwhile),
		PLACED(test_reads_only),
		PLACED(test_stopped),
		PLACED(test_tables_of_others),
	};

	return cmocka_run_group_tests_name("store_several", tests, NULL, NULL);
}
