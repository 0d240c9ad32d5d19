/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share. Every function fails the test by itself. */
#ifndef UNIT_STORE_FIXTURE_H
#define UNIT_STORE_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define T0 1790000000123456ll /* 2026-09-21T14:13:20.123456Z */

/* A directory of the test's own, as *state. */
struct place {
	char dir[64];
	char path[80]; /* of a store in it that is not made yet */
};
int make_place(void **state);
int remove_place(void **state);
#define PLACED(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

struct store *open_store(const char *path, enum store_mode mode);
struct sink *begin_capture(struct store *st, int64_t *ret_id);
void put(struct sink *sink, struct exchange *ex);
void finish(struct sink *sink); /* and frees it */
struct source *begin_source(struct store *st, int64_t capture_id);
struct exchange *read_one(struct source *source); /* NULL at the end */

struct message *make_message(struct span head, struct span body);
void set_body(struct message *m, struct span body);
/* `response` NULL: none came. */
struct exchange *make_exchange(int64_t ts_us, const char *request, const char *response);

/* Three exchanges with bodies, and a replay of them in each mode of saving. */
void fill(const char *path);
/* With SQLite itself, past the store. */
void run_sql(const char *path, const char *sql);

int no_columns(void *arg, int n, const char *const *names);
/* Rows as "a|b\n", NULL as ~. */
void assert_rows_of(struct store *st, const char *sql, const char *expected);
void assert_rows(const char *path, const char *sql, const char *expected);

#endif
