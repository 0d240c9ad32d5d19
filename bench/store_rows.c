/* SPDX-License-Identifier: Apache-2.0 */
/* What a row costs in our sink, beside a bare SQLite program that inserts the same rows: same
 * schema, pages, journal and transactions, every value ready to be bound. Both in turns, so that
 * what else the machine does meets both; medians; wall and CPU time. The index at the end of a
 * capture is ours alone and is measured apart.
 *
 *     store_rows [ROWS [ROUNDS [DIRECTORY]]] */
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/json.h"
#include "core/limits.h"
#include "store/store.h"

#define BODIES 50
#define MOST_ROUNDS 99

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok);             \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct took {
	double wall, cpu; /* seconds */
};

struct bench {
	long rows;
	char path[256];
	bool same; /* every request is the same, as a load generator sends them */
	char bodies[BODIES][600];
};

static double seconds(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start(struct took *t)
{
	t->wall -= seconds(CLOCK_MONOTONIC);
	t->cpu -= seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static void stop(struct took *t)
{
	t->wall += seconds(CLOCK_MONOTONIC);
	t->cpu += seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static const char request_head[] =
	"GET /api/items/%06ld?page=1 HTTP/1.1\r\nHost: shop.example.com\r\n"
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101\r\n"
	"Accept: text/html,application/json;q=0.9\r\nAccept-Encoding: gzip, deflate\r\n"
	"X-Request-Id: %016lx\r\nCookie: session=0123456789abcdef\r\n\r\n";
static const char response_head[] =
	"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 21 Sep 2026 14:13:20 GMT\r\n"
	"Content-Type: application/json\r\nContent-Length: 512\r\nConnection: keep-alive\r\n\r\n";

static struct exchange *make(struct bench *b, long i)
{
	struct exchange *ex = exchange_new();
	char head[1024];
	int n;
	long request = b->same ? 1 : i;

	CHECK(ex);
	n = snprintf(head, sizeof(head), request_head, request % 1000000, request * 2654435761l);
	CHECK(message_parse((uint8_t *)head, (size_t)n, LIMIT_BODY_BYTES, &ex->request) == SC_OK);
	CHECK(message_parse((const uint8_t *)response_head, sizeof(response_head) - 1,
			    LIMIT_BODY_BYTES, &ex->response) == SC_OK);
	CHECK(buf_add(&ex->response->body, b->bodies[i % BODIES], 512) == SC_OK);
	ex->response->body_size = 512;
	ex->ts_us = 1790000000000000 + i * 10;
	ex->connection = (uint64_t)i / 100;
	ex->position = (uint32_t)i % 100;
	CHECK(addr_parse("10.0.0.1", &ex->client) == SC_OK);
	CHECK(addr_parse("10.0.0.2", &ex->server) == SC_OK);
	ex->client.port = 40000;
	ex->server.port = 80;
	ex->ttfb_us = 900;
	ex->duration_us = 1000;
	return ex;
}

static struct store *fresh(struct bench *b)
{
	struct err err = {""};
	struct store *st = NULL;

	(void)unlink(b->path);
	if (store_open(b->path, STORE_CREATE, &st, &err)) {
		(void)fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return st;
}

static void run_sink(struct bench *b, struct took *rows, struct took *index)
{
	struct store *st = fresh(b);
	struct exchange *batch[LIMIT_TRANSACTION_ROWS];
	struct sink *sink = NULL;
	struct err err = {""};
	int64_t id;

	CHECK(store_capture_new(st, 1, "bench", "{}", &id, &sink, &err) == SC_OK);
	for (long i = 0; i < b->rows;) {
		unsigned n = 0;

		for (; n < LIMIT_TRANSACTION_ROWS && i < b->rows; n++)
			batch[n] = make(b, i++);
		start(rows);
		for (unsigned k = 0; k < n; k++)
			CHECK(sink_put(sink, batch[k], &err) == SC_OK);
		stop(rows);
		for (unsigned k = 0; k < n; k++)
			exchange_free(batch[k]);
	}
	start(index);
	CHECK(sink_finish(sink, 2, &err) == SC_OK);
	stop(index);
	sink_free(sink);
	store_close(st);
}

struct ready {
	char path[64], headers[2][600];
	int n_path, n_headers[2];
	int64_t i;
};

static void make_ready(struct bench *b, long i, struct ready *r)
{
	struct exchange *ex = make(b, i);
	struct buf json;

	for (int side = 0; side < 2; side++) {
		const struct message *m = side ? ex->response : ex->request;

		buf_init(&json, 4 * sizeof(r->headers[0]));
		CHECK(json_add_fields(&json, m->head, m->fields, m->n_fields) == SC_OK);
		CHECK(json.len <= sizeof(r->headers[0]));
		memcpy(r->headers[side], json.data, json.len);
		r->n_headers[side] = (int)json.len;
		buf_done(&json);
	}
	r->n_path =
		snprintf(r->path, sizeof(r->path), "/api/items/%06ld", b->same ? 1 : i % 1000000);
	r->i = i;
	exchange_free(ex);
}

static void insert_ready(sqlite3_stmt *q, const struct ready *r)
{
	int at = 1;

	(void)sqlite3_bind_int64(q, at++, 1);
	(void)sqlite3_bind_int64(q, at++, 1790000000000000 + r->i * 10);
	(void)sqlite3_bind_int64(q, at++, r->i / 100);
	(void)sqlite3_bind_int64(q, at++, r->i % 100);
	(void)sqlite3_bind_text(q, at++, "10.0.0.1", 8, SQLITE_STATIC);
	(void)sqlite3_bind_int(q, at++, 40000);
	(void)sqlite3_bind_text(q, at++, "10.0.0.2", 8, SQLITE_STATIC);
	(void)sqlite3_bind_int(q, at++, 80);
	(void)sqlite3_bind_text(q, at++, "GET", 3, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, "http", 4, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, "shop.example.com", 16, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, r->path, r->n_path, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, "page=1", 6, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, "1.1", 3, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, at++, r->headers[0], r->n_headers[0], SQLITE_STATIC);
	(void)sqlite3_bind_null(q, at++);
	(void)sqlite3_bind_int(q, at++, 0);
	(void)sqlite3_bind_int(q, at++, 200);
	(void)sqlite3_bind_text(q, at++, r->headers[1], r->n_headers[1], SQLITE_STATIC);
	(void)sqlite3_bind_int64(q, at++, r->i % BODIES + 1);
	(void)sqlite3_bind_int(q, at++, 512);
	(void)sqlite3_bind_int(q, at++, 900);
	(void)sqlite3_bind_int(q, at++, 1000);
	(void)sqlite3_bind_null(q, at++);
	(void)sqlite3_bind_text(q, at++, "complete", 8, SQLITE_STATIC);
	(void)sqlite3_bind_null(q, at++);
	(void)sqlite3_bind_null(q, at++);
	(void)sqlite3_bind_null(q, at++);
	(void)sqlite3_bind_double(q, at, 100);
	CHECK(sqlite3_step(q) == SQLITE_DONE);
	(void)sqlite3_reset(q);
}

static void run_bare(struct bench *b, struct took *rows)
{
	struct ready *batch = calloc(LIMIT_TRANSACTION_ROWS, sizeof(*batch));
	sqlite3_stmt *q = NULL;
	sqlite3 *db = NULL;

	CHECK(batch);
	store_close(fresh(b)); /* for the schema */
	CHECK(sqlite3_open_v2(b->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
	      0);
	CHECK(sqlite3_exec(db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) == 0);
	CHECK(sqlite3_prepare_v2(db,
				 "INSERT INTO exchange VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
				 "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
				 -1, &q, NULL) == 0);
	for (long i = 0; i < b->rows;) {
		unsigned n = 0;

		for (; n < LIMIT_TRANSACTION_ROWS && i < b->rows; n++)
			make_ready(b, i++, &batch[n]);
		start(rows);
		CHECK(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == 0);
		for (unsigned k = 0; k < n; k++)
			insert_ready(q, &batch[k]);
		CHECK(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == 0);
		stop(rows);
	}
	(void)sqlite3_finalize(q);
	(void)sqlite3_close(db);
	free(batch);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct took *t, int n, size_t member)
{
	double values[MOST_ROUNDS];

	for (int i = 0; i < n; i++)
		memcpy(&values[i], (const char *)&t[i] + member, sizeof(double));
	qsort(values, (size_t)n, sizeof(values[0]), by_value);
	return values[n / 2];
}

static void print(const char *what, const struct took *t, const struct took *base, int n, long rows)
{
	double wall = median(t, n, offsetof(struct took, wall));
	double cpu = median(t, n, offsetof(struct took, cpu));

	(void)printf("%-12s %6.2f us a row, %6.2f us of CPU: %5.2f, %5.2f times bare\n", what,
		     wall * 1e6 / (double)rows, cpu * 1e6 / (double)rows,
		     wall / median(base, n, offsetof(struct took, wall)),
		     cpu / median(base, n, offsetof(struct took, cpu)));
}

static void compare(struct bench *b, long rounds)
{
	static struct took bare[MOST_ROUNDS], rows[MOST_ROUNDS], index[MOST_ROUNDS];

	memset(bare, 0, sizeof(bare));
	memset(rows, 0, sizeof(rows));
	memset(index, 0, sizeof(index));
	for (long i = 0; i < rounds; i++) {
		run_bare(b, &bare[i]);
		run_sink(b, &rows[i], &index[i]);
	}
	(void)unlink(b->path);
	(void)printf("%ld rows, %s\n", b->rows,
		     b->same ? "the same request" : "different requests");
	print("bare SQLite", bare, bare, (int)rounds, b->rows);
	print("sink", rows, bare, (int)rounds, b->rows);
	print("its index", index, bare, (int)rounds, b->rows);
}

int main(int argc, char **argv)
{
	static struct bench b;
	long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 5;

	b.rows = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
	CHECK(b.rows > 0 && rounds > 0 && rounds <= MOST_ROUNDS);
	CHECK(snprintf(b.path, sizeof(b.path), "%s/store_rows.%ld.db", argc > 3 ? argv[3] : ".",
		       (long)getpid()) < (int)sizeof(b.path));
	for (int i = 0; i < BODIES; i++)
		(void)snprintf(b.bodies[i], sizeof(b.bodies[i]), "{\"item\": %0500d}  ", i);
	compare(&b, rounds);
	b.same = true;
	compare(&b, rounds);
	return 0;
}
