/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay asks of a store: a part of the recording, what has no result yet, where it was
 * made. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "store_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define EXCHANGES 1200 /* more than two batches */
#define STEP_US 10

/* Ids 1 .. EXCHANGES, STEP_US apart, the last one first: the order of ids is not that of times. */
static struct store *recorded(const char *path)
{
	struct store *st = open_store(path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (int64_t i = 0; i < EXCHANGES; i++)
		put(sink, make_exchange(T0 + (EXCHANGES - 1 - i) * STEP_US,
					"GET / HTTP/1.1\r\nHost: h\r\n\r\n", NULL));
	finish(sink);
	return st;
}

/* How many there are of a choice; that they come in the order of time, each once. */
static unsigned count(struct store *st, const struct store_choice *choice, int64_t *ret_first,
		      int64_t *ret_last)
{
	struct source *source;
	struct exchange *ex;
	struct err err = {""};
	unsigned n = 0;

	*ret_first = *ret_last = 0;
	assert_int_equal(store_source_of(st, choice, &source, &err), SC_OK);
	while ((ex = read_one(source))) {
		assert_true(ex->ts_us > *ret_last);
		*ret_last = ex->ts_us;
		if (n++ == 0)
			*ret_first = ex->ts_us;
		exchange_free(ex);
	}
	source_free(source);
	return n;
}

static const struct {
	int64_t from, until; /* in steps from T0; -1: no such bound */
	unsigned n;
	int64_t first, last; /* steps */
} ranges[] = {
	{-1, -1, EXCHANGES, 0, EXCHANGES - 1},
	{0, EXCHANGES, EXCHANGES, 0, EXCHANGES - 1},
	{7, -1, EXCHANGES - 7, 7, EXCHANGES - 1},
	{-1, 7, 7, 0, 6},
	{600, 1120, 520, 600, 1119},
	{5, 6, 1, 5, 5},
	{5, 5, 0, 0, 0},
	{EXCHANGES, -1, 0, 0, 0},
};

static void check_ranges(struct store *st)
{
	for (size_t i = 0; i < COUNT(ranges); i++) {
		struct store_choice choice = {.parts = STORE_REQUESTS};
		int64_t first, last;

		if (ranges[i].from >= 0)
			choice.from_us = T0 + ranges[i].from * STEP_US;
		if (ranges[i].until >= 0)
			choice.until_us = T0 + ranges[i].until * STEP_US;
		if (count(st, &choice, &first, &last) != ranges[i].n)
			fail_msg("range %zu", i);
		if (ranges[i].n == 0)
			continue;
		assert_int_equal(first, T0 + ranges[i].first * STEP_US);
		assert_int_equal(last, T0 + ranges[i].last * STEP_US);
	}
}

/* The same with the index of times, and without it. */
static void test_ranges(void **state)
{
	struct place *p = *state;
	struct store *st = recorded(p->path);
	struct store_extent extent;
	struct err err;

	check_ranges(st);
	assert_int_equal(store_extent(st, &extent, &err), SC_OK);
	assert_int_equal(extent.first_us, T0);
	assert_int_equal(extent.last_us, T0 + (EXCHANGES - 1) * STEP_US);
	assert_int_equal(extent.rows, EXCHANGES);
	store_close(st);
	run_sql(p->path, "DROP INDEX exchange_time");
	st = open_store(p->path, STORE_READ);
	check_ranges(st);
	store_close(st);
}

static void same_request(const struct exchange *a, const struct exchange *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->ts_us, b->ts_us);
	assert_int_equal(a->connection, b->connection);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->request->flags, b->request->flags);
	assert_int_equal(a->request->head_len, b->request->head_len);
	assert_memory_equal(a->request->head, b->request->head, a->request->head_len);
	assert_int_equal(a->request->body.len, b->request->body.len);
	assert_int_equal(a->request->body_size, b->request->body_size);
	if (a->request->body.len)
		assert_memory_equal(a->request->body.data, b->request->body.data,
				    a->request->body.len);
}

/* However little is read of an exchange, its request is the same. */
static void check_parts(struct store *st, enum store_parts parts)
{
	struct store_choice choice = {.parts = parts};
	struct source *all = begin_source(st, 0), *some;
	struct exchange *a, *b;
	struct err err;
	unsigned n = 0;

	assert_int_equal(store_source_of(st, &choice, &some, &err), SC_OK);
	while ((a = read_one(all))) {
		b = read_one(some);
		assert_non_null(b);
		if (n % 2)
			store_source_rest(some);
		same_request(a, b);
		assert_null(b->response);
		assert_int_equal(b->client.port, parts == STORE_SENT ? 0 : a->client.port);
		exchange_free(a);
		exchange_free(b);
		n++;
	}
	assert_null(read_one(some));
	assert_int_equal(n, 4);
	source_free(all);
	source_free(some);
}

static void test_parts(void **state)
{
	static const struct {
		const char *head, *body;
	} requests[] = {
		{"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", "body"},
		{"GET  /odd HTTP/1.1\r\nhost:h \r\n\r\n", ""},
		{"PUT /cut HTTP/1.0\r\nContent-Length: 9\r\n\r\n", "part"},
	};
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	for (size_t i = 0; i < COUNT(requests); i++) {
		struct exchange *ex = make_exchange(T0 + (int64_t)i, requests[i].head,
						    "HTTP/1.1 204 No\r\n\r\n");

		message_free(ex->request);
		ex->request = make_message(span_str(requests[i].head), span_str(requests[i].body));
		ex->connection = i;
		ex->client.port = (uint16_t)(1000 + i);
		if (i == 3) {
			ex->request->body_size = 9;
			ex->state = EXCHANGE_TRUNCATED;
		}
		put(sink, ex);
	}
	finish(sink);
	check_parts(st, STORE_REQUESTS);
	check_parts(st, STORE_SENT);
	store_close(st);
	run_sql(p->path, "DROP INDEX exchange_time");
	st = open_store(p->path, STORE_READ);
	check_parts(st, STORE_SENT);
	store_close(st);
}

/* Writes something, and cuts the log behind it. SQLITE_BUSY: somebody still reads in it. */
static int cut_log(const char *path)
{
	sqlite3 *db = NULL;
	int rc;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "UPDATE capture SET source = 'x'", NULL, NULL, NULL), SQLITE_OK);
	rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return rc;
}

/* A source at rest keeps nobody from cutting the log, and goes on where it was. */
static void test_rest(void **state)
{
	struct place *p = *state;
	struct store *st = recorded(p->path);
	struct store_choice choice = {.parts = STORE_SENT};
	struct source *source;
	struct exchange *ex;
	struct err err;
	unsigned n = 0;

	assert_int_equal(store_source_of(st, &choice, &source, &err), SC_OK);
	while ((ex = read_one(source))) {
		assert_int_equal(ex->ts_us, T0 + n * STEP_US);
		exchange_free(ex);
		if (n++ % 300)
			continue;
		if (n == 1)
			assert_int_equal(cut_log(p->path), SQLITE_BUSY);
		store_source_rest(source);
		assert_int_equal(cut_log(p->path), SQLITE_OK);
	}
	assert_int_equal(n, EXCHANGES);
	source_free(source);
	store_close(st);
}

static void put_result(struct result_sink *sink, int64_t exchange_id, uint32_t pass)
{
	struct result *r = result_new();
	struct err err;

	assert_non_null(r);
	r->exchange_id = exchange_id;
	r->pass = pass;
	assert_int_equal(store_result_put(sink, r, &err), SC_OK);
	result_free(r);
}

static void end_run(struct result_sink *sink)
{
	struct err err;

	assert_int_equal(sink->ops->finish(sink, T0, &err), SC_OK);
	sink->ops->free(sink);
}

/* What has a result of this run and pass is left out, and of no other. */
static void test_without(void **state)
{
	struct place *p = *state;
	struct store *st = recorded(p->path);
	struct store_choice choice = {.parts = STORE_REQUESTS};
	struct result_sink *sink;
	int64_t run, other, first, last;
	struct err err = {""};

	assert_int_equal(
		store_replay_new(st, T0, "http://o", "{}", SAVE_STATUS, &other, &sink, &err),
		SC_OK);
	put_result(sink, 5, 0);
	end_run(sink);
	assert_int_equal(store_replay_new(st, T0, "http://t", "{}", SAVE_STATUS, &run, &sink, &err),
			 SC_OK);
	for (int64_t id = 1; id <= EXCHANGES; id++) {
		if (id % 3)
			put_result(sink, id, 0);
	}
	put_result(sink, 3, 1);
	end_run(sink);
	assert_int_equal(store_replay_resume(st, run, SAVE_STATUS, &sink, &err), SC_OK);
	choice.without_replay = run;
	assert_int_equal(count(st, &choice, &first, &last), EXCHANGES / 3);
	choice.pass = 1;
	assert_int_equal(count(st, &choice, &first, &last), EXCHANGES - 1);
	choice.pass = 2;
	assert_int_equal(count(st, &choice, &first, &last), EXCHANGES);
	choice = (struct store_choice){.parts = STORE_REQUESTS, .without_replay = other};
	assert_int_equal(count(st, &choice, &first, &last), EXCHANGES - 1);
	/* The results of the run that goes on are its own. */
	put_result(sink, 3, 0);
	end_run(sink);
	choice.without_replay = run;
	assert_int_equal(count(st, &choice, &first, &last), EXCHANGES / 3 - 1);
	store_close(st);
	assert_rows(p->path, "SELECT id, ended_at, summary FROM replay WHERE id = 2", "2|~|~\n");
}

static void test_look(void **state)
{
	struct place *p = *state;
	struct store *st;
	char *target, *options;
	uint64_t results;
	uint32_t passes;
	struct err err = {""};

	fill(p->path);
	st = open_store(p->path, STORE_READ);
	assert_int_equal(store_replay_look(st, 1, &target, &options, &results, &passes, &err),
			 SC_OK);
	assert_int_equal(passes, results ? 1 : 0);
	assert_non_null(strstr(target, "http"));
	free(target);
	free(options);
	assert_int_equal(store_replay_look(st, 99, &target, &options, &results, &passes, &err),
			 SC_EINVAL);
	assert_non_null(strstr(err.text, "no replay 99"));
	store_close(st);
}

struct found {
	unsigned n;
	unsigned ports; /* their sum */
};

static int find(void *arg, const struct addr *origin)
{
	struct found *f = arg;

	f->n++;
	f->ports += origin->port;
	return 0;
}

/* Each once: by a look at all exchanges, and by the index. */
static void test_origins(void **state)
{
	static const char spread[] =
		"UPDATE exchange SET server = CASE WHEN id % 5 = 0 THEN '::1' WHEN id % 5 < 3 THEN"
		" '10.0.0.1' ELSE '10.0.0.2' END, server_port ="
		" CASE id % 4 WHEN 0 THEN 80 ELSE 8000 + id % 4 END;"
		"UPDATE exchange SET server = 'nobody knows' WHERE id = 7";
	struct place *p = *state;
	struct store *st = recorded(p->path);
	struct err err = {""};

	store_close(st);
	run_sql(p->path, spread);
	for (int indexed = 0; indexed < 2; indexed++) {
		struct found f = {0, 0};

		st = open_store(p->path, STORE_UPDATE);
		assert_int_equal(store_origins(st, find, &f, &err), SC_OK);
		assert_int_equal(f.n, 12);
		assert_int_equal(f.ports, 3 * (80 + 8001 + 8002 + 8003));
		assert_int_equal(store_index_origins(st, &err), SC_OK);
		store_close(st);
	}
	run_sql(p->path, "DELETE FROM exchange");
	st = open_store(p->path, STORE_READ);
	assert_int_equal(store_origins(st, find, &(struct found){0, 0}, &err), SC_OK);
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_ranges),
		PLACED(test_parts),
		PLACED(test_rest),
		PLACED(test_without),
		PLACED(test_look),
		PLACED(test_origins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
