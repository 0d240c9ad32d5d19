/* SPDX-License-Identifier: Apache-2.0 */
/* Bare SQLite inserting the rows of a store: the limit of whoever writes them. Same tables, pages,
 * journal and transactions; every value is in memory before the clock runs. The index at the end is
 * timed apart. Uses nothing of ours, so that it cannot share our mistakes.
 *
 *     copy_rows STORE COPY          COPY must not exist */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 2000 /* rows a transaction, as the store's */
#define MOST_COLUMNS 64

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok))                                                                         \
			die(__LINE__, #ok);                                                        \
	} while (0)

/* One value of a row, its bytes in the batch's arena: an offset, since the arena moves. */
struct value {
	int type;
	union {
		int64_t integer;
		double real;
		struct {
			size_t at;
			int len;
		} bytes;
	};
};

struct batch {
	int columns, rows;
	struct value *values;
	char *arena;
	size_t used, room;
};

struct took {
	double wall, cpu; /* seconds */
};

static sqlite3 *from, *to;

static _Noreturn void die(int line, const char *what)
{
	(void)fprintf(stderr, "copy_rows.c:%d: %s: %s, %s\n", line, what,
		      from ? sqlite3_errmsg(from) : "", to ? sqlite3_errmsg(to) : "");
	exit(1);
}

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

static void run(const char *sql)
{
	CHECK(sqlite3_exec(to, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static void copy_schema(void)
{
	sqlite3_stmt *q = NULL;
	char sql[64];

	CHECK(sqlite3_prepare_v2(from, "PRAGMA page_size", -1, &q, NULL) == SQLITE_OK);
	CHECK(sqlite3_step(q) == SQLITE_ROW);
	(void)snprintf(sql, sizeof(sql), "PRAGMA page_size = %d", sqlite3_column_int(q, 0));
	(void)sqlite3_finalize(q);
	run(sql);
	CHECK(sqlite3_prepare_v2(from, "SELECT sql FROM sqlite_schema WHERE type = 'table'", -1, &q,
				 NULL) == SQLITE_OK);
	while (sqlite3_step(q) == SQLITE_ROW)
		run((const char *)sqlite3_column_text(q, 0));
	(void)sqlite3_finalize(q);
	run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
}

static void keep_bytes(struct batch *b, struct value *v, const void *p, int len)
{
	if (b->used + (size_t)len > b->room) {
		b->room = 2 * (b->used + (size_t)len);
		b->arena = realloc(b->arena, b->room);
		CHECK(b->arena);
	}
	v->bytes.at = b->used;
	v->bytes.len = len;
	if (len)
		memcpy(b->arena + b->used, p, (size_t)len);
	b->used += (size_t)len;
}

static void keep_row(struct batch *b, sqlite3_stmt *q)
{
	for (int i = 0; i < b->columns; i++) {
		struct value *v = &b->values[b->rows * b->columns + i];

		v->type = sqlite3_column_type(q, i);
		if (v->type == SQLITE_INTEGER)
			v->integer = sqlite3_column_int64(q, i);
		else if (v->type == SQLITE_FLOAT)
			v->real = sqlite3_column_double(q, i);
		else if (v->type != SQLITE_NULL)
			keep_bytes(b, v, sqlite3_column_blob(q, i), sqlite3_column_bytes(q, i));
	}
	b->rows++;
}

static int bind(const struct batch *b, sqlite3_stmt *q, int at, const struct value *v)
{
	switch (v->type) {
	case SQLITE_INTEGER:
		return sqlite3_bind_int64(q, at, v->integer);
	case SQLITE_FLOAT:
		return sqlite3_bind_double(q, at, v->real);
	case SQLITE_TEXT:
		return sqlite3_bind_text(q, at, b->arena + v->bytes.at, v->bytes.len,
					 SQLITE_STATIC);
	case SQLITE_BLOB:
		return sqlite3_bind_blob(q, at, b->arena + v->bytes.at, v->bytes.len,
					 SQLITE_STATIC);
	default:
		return sqlite3_bind_null(q, at);
	}
}

static void insert_batch(const struct batch *b, sqlite3_stmt *q, struct took *took)
{
	start(took);
	run("BEGIN");
	for (int row = 0; row < b->rows; row++) {
		for (int i = 0; i < b->columns; i++)
			CHECK(bind(b, q, i + 1, &b->values[row * b->columns + i]) == SQLITE_OK);
		CHECK(sqlite3_step(q) == SQLITE_DONE);
		(void)sqlite3_reset(q);
	}
	run("COMMIT");
	stop(took);
}

static sqlite3_stmt *prepare_insert(const char *table, int columns)
{
	char sql[64 + 2 * MOST_COLUMNS];
	sqlite3_stmt *q = NULL;
	int n = snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (?", table);

	CHECK(columns <= MOST_COLUMNS);
	for (int i = 1; i < columns; i++)
		n += snprintf(sql + n, sizeof(sql) - (size_t)n, ",?");
	(void)snprintf(sql + n, sizeof(sql) - (size_t)n, ")");
	CHECK(sqlite3_prepare_v2(to, sql, -1, &q, NULL) == SQLITE_OK);
	return q;
}

static long copy_table(const char *table, struct took *took)
{
	struct batch b = {0};
	sqlite3_stmt *read = NULL, *insert;
	char sql[64];
	long rows = 0;

	(void)snprintf(sql, sizeof(sql), "SELECT * FROM %s ORDER BY id", table);
	CHECK(sqlite3_prepare_v2(from, sql, -1, &read, NULL) == SQLITE_OK);
	b.columns = sqlite3_column_count(read);
	b.values = calloc((size_t)b.columns * BATCH, sizeof(*b.values));
	b.room = 1 << 20;
	b.arena = malloc(b.room);
	CHECK(b.values && b.arena);
	insert = prepare_insert(table, b.columns);
	do {
		b.rows = 0;
		b.used = 0;
		while (b.rows < BATCH && sqlite3_step(read) == SQLITE_ROW)
			keep_row(&b, read);
		insert_batch(&b, insert, took);
		rows += b.rows;
	} while (b.rows == BATCH);
	(void)sqlite3_finalize(read);
	(void)sqlite3_finalize(insert);
	free(b.values);
	free(b.arena);
	return rows;
}

int main(int argc, char **argv)
{
	struct took insert = {0, 0}, index = {0, 0};
	long rows;

	if (argc != 3 || access(argv[2], F_OK) == 0) {
		(void)fprintf(stderr, "usage: copy_rows STORE COPY (which must not exist)\n");
		return 2;
	}
	CHECK(sqlite3_open_v2(argv[1], &from, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
	CHECK(sqlite3_open_v2(argv[2], &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) ==
	      SQLITE_OK);
	copy_schema();
	(void)copy_table("body", &insert);
	rows = copy_table("exchange", &insert);
	start(&index);
	run("CREATE INDEX exchange_time ON exchange(ts_us)");
	stop(&index);
	(void)sqlite3_close(to);
	(void)sqlite3_close(from);
	(void)printf("{\"rows\": %ld, \"insert\": %.6f, \"insert_cpu\": %.6f, \"index\": %.6f, "
		     "\"index_cpu\": %.6f}\n",
		     rows, insert.wall, insert.cpu, index.wall, index.cpu);
	return 0;
}
