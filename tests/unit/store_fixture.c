/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a directory of its own, and exchanges for it. */
#include "store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>

#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limits.h"

int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/test-store-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/s.db", p->dir);
	*state = p;
	return 0;
}

int remove_place(void **state)
{
	struct place *p = *state;
	DIR *dir = opendir(p->dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
	(void)rmdir(p->dir);
	free(p);
	return 0;
}

struct store *open_store(const char *path, enum store_mode mode)
{
	struct err err = {""};
	struct store *st = NULL;

	if (store_open(path, mode, &st, &err))
		fail_msg("%s", err.text);
	return st;
}

struct sink *begin_capture(struct store *st, int64_t *ret_id)
{
	struct err err = {""};
	struct sink *sink = NULL;

	if (store_capture_new(st, T0, "lo", "{\"port\": 80}", ret_id, &sink, &err))
		fail_msg("%s", err.text);
	return sink;
}

void finish(struct sink *sink)
{
	struct err err = {""};

	if (sink_finish(sink, T0, &err))
		fail_msg("%s", err.text);
	sink_free(sink);
}

void put(struct sink *sink, struct exchange *ex)
{
	struct err err = {""};

	if (sink_put(sink, ex, &err))
		fail_msg("%s", err.text);
	exchange_free(ex);
}

struct message *make_message(struct span head, struct span body)
{
	struct message *m = NULL;

	assert_int_equal(message_parse(head.p, head.len, LIMIT_BODY_BYTES, &m), SC_OK);
	assert_int_equal(buf_add_span(&m->body, body), SC_OK);
	m->body_size = body.len;
	return m;
}

struct exchange *make_exchange(int64_t ts_us, const char *request, const char *response)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	ex->ts_us = ts_us;
	ex->connection = 7;
	assert_int_equal(addr_parse("10.1.2.3", &ex->client), SC_OK);
	assert_int_equal(addr_parse("192.0.2.255", &ex->server), SC_OK);
	ex->client.port = 40000;
	ex->server.port = 80;
	ex->request = make_message(span_str(request), span_str(""));
	if (response) {
		ex->response = make_message(span_str(response), span_str(""));
		ex->ttfb_us = 1500;
		ex->duration_us = 2000;
	} else {
		ex->state = EXCHANGE_NO_RESPONSE;
	}
	return ex;
}

void set_body(struct message *m, struct span body)
{
	buf_clear(&m->body);
	assert_int_equal(buf_add_span(&m->body, body), SC_OK);
	m->body_size = body.len;
}

/* Rows as "a|b\n"; NULL as ~. */
static int add_row(void *arg, int n, const struct value *values)
{
	struct buf *out = arg;
	int rc = SC_OK;

	for (int i = 0; i < n && !rc; i++) {
		rc = buf_add(out, "|", i ? 1 : 0);
		if (!rc)
			rc = values[i].kind == VALUE_NULL ? buf_add_str(out, "~")
							  : buf_add_span(out, values[i].text);
	}
	return rc ? rc : buf_add_str(out, "\n");
}

int no_columns(void *arg, int n, const char *const *names)
{
	(void)arg;
	assert_true(n > 0);
	assert_non_null(names[0]);
	return SC_OK;
}

void assert_rows_of(struct store *st, const char *sql, const char *expected)
{
	struct err err = {""};
	struct buf out;
	struct row_reader reader = {no_columns, add_row, &out};

	buf_init(&out, MIB);
	if (store_select(st, sql, &reader, &err))
		fail_msg("%s: %s", sql, err.text);
	assert_int_equal(buf_add(&out, "", 1), SC_OK);
	assert_string_equal((char *)out.data, expected);
	buf_done(&out);
}

void assert_rows(const char *path, const char *sql, const char *expected)
{
	struct store *st = open_store(path, STORE_READ);

	assert_rows_of(st, sql, expected);
	store_close(st);
}

struct exchange *read_one(struct source *source)
{
	struct err err = {""};
	struct exchange *ex = NULL;
	int rc = source_next(source, &ex, &err);

	if (rc < 0)
		fail_msg("%s", err.text);
	return rc ? ex : NULL;
}

struct source *begin_source(struct store *st, int64_t capture_id)
{
	struct err err = {""};
	struct source *source = NULL;

	if (store_source_new(st, capture_id, STORE_EXCHANGES, &source, &err))
		fail_msg("%s", err.text);
	return source;
}

void run_sql(const char *path, const char *sql)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static struct result *make_result(int64_t exchange_id, const char *response, const char *body,
				  int64_t us)
{
	struct result *r = result_new();

	assert_non_null(r);
	r->exchange_id = exchange_id;
	r->due_us = T0;
	if (response) {
		r->sent_us = T0 + 5;
		r->ttfb_us = us / 2;
		r->duration_us = us;
		r->latency_us = us + 5;
		r->response = make_message(span_str(response), span_str(body));
	} else {
		r->error = RESULT_ERROR_CONNECT;
	}
	return r;
}

static void run_replay(struct store *st, enum save_mode save, int64_t *ret_id)
{
	struct err err = {""};
	struct result_sink *sink = NULL;

	assert_int_equal(store_replay_new(st, T0, "http://t:1", "{}", save, ret_id, &sink, &err),
			 SC_OK);
	assert_int_equal(sink->ops->put(sink, make_result(1, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
							  "same", 1000), &err), SC_OK);
	assert_int_equal(
		sink->ops->put(sink, make_result(2, "HTTP/1.1 503 No\r\n\r\n", "same", 3000), &err),
		SC_OK);
	assert_int_equal(sink->ops->put(sink, make_result(3, NULL, NULL, 0), &err), SC_OK);
	assert_int_equal(sink->ops->finish(sink, T0, &err), SC_OK);
	sink->ops->free(sink);
	assert_int_equal(store_replay_end(st, *ret_id, T0 + 1, "{\"sent\": 3}", &err), SC_OK);
}

/* Three exchanges with bodies, and a replay of them in each mode. */
void fill(const char *path)
{
	struct store *st = open_store(path, STORE_CREATE);
	struct exchange *ex[3];
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	ex[0] = make_exchange(T0, "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n",
			      "HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\n\r\n");
	set_body(ex[0]->response, span_str("same"));
	ex[1] = make_exchange(T0 + 1000, "POST /a HTTP/1.1\r\nHost: h\r\n\r\n",
			      "HTTP/1.1 500 No\r\n\r\n");
	set_body(ex[1]->request, span_str("caf\xc3\xa9\n"));
	set_body(ex[1]->response, span_str("\x1f\x8b\x08"));
	ex[1]->duration_us = 9000;
	ex[2] = make_exchange(T0 + 2000, "GET /b HTTP/1.1\r\n\r\n", NULL);
	ex[2]->route = "/b*";
	set_body(ex[2]->request, span_of("a\0b", 3));
	for (int i = 0; i < 3; i++)
		put(sink, ex[i]);
	finish(sink);
	run_replay(st, SAVE_FULL, &id);
	run_replay(st, SAVE_STATUS, &id);
	run_replay(st, SAVE_NONE, &id);
	store_close(st);
	run_sql(path, "INSERT INTO difference VALUES"
		" (1, 1, 1, 'header', 'Date', 'value', 'x', 'y', 1),"
		" (1, 2, 2, 'status', NULL, 'status', '500', '503', 0),"
		" (1, 1, 1, 'header', 'Date', 'value', 'x', 'z', 0)");
}
