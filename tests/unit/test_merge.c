/* SPDX-License-Identifier: Apache-2.0 */
/* The merge of sources, from tables of times: its order, when a part is open, and what is left of
 * it after a stop, an error or an early end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/merge.h"
#include "core/rng.h"

#define ROOM 64
#define WAIT (-1) /* a time that stands for SC_EAGAIN */
#define BAD (-2)  /* for an error */

struct list {
	struct source source; /* first */
	int64_t times[ROOM];
	unsigned n, at;
	uint64_t connection, set;
	bool stopped;
	int opened, closed;
	int refuses; /* the code of open(); 0: it opens */
};

static int list_next(struct source *s, struct exchange **ret, struct err *err)
{
	struct list *l = (struct list *)s;

	assert_int_equal(l->opened, 1);
	assert_int_equal(l->closed, 0);
	if (l->at == l->n || l->stopped)
		return 0;
	if (l->times[l->at] == BAD)
		return err_set(err, SC_EINVAL, "bad");
	if (l->times[l->at] == WAIT) {
		l->at++;
		return SC_EAGAIN;
	}
	*ret = exchange_new();
	assert_non_null(*ret);
	(*ret)->ts_us = l->times[l->at];
	(*ret)->connection = l->connection;
	(*ret)->position = l->at++;
	(*ret)->id = 7;
	return 1;
}

static void list_stop(struct source *s)
{
	((struct list *)s)->stopped = true;
}

static const struct source_ops list_ops = {.next = list_next, .stop = list_stop};

static int list_open(void *arg, struct source **ret, struct err *err)
{
	struct list *l = arg;

	l->opened++;
	if (l->refuses)
		return err_set(err, l->refuses, "no such list");
	*ret = &l->source;
	return SC_OK;
}

static void list_close(void *arg)
{
	((struct list *)arg)->closed++;
}

static void list_init(struct list *l, const int64_t *times, unsigned n)
{
	assert_true(n <= ROOM);
	*l = (struct list){.source.ops = &list_ops, .n = n, .connection = 1};
	for (unsigned i = 0; i < n; i++)
		l->times[i] = times[i];
}

#define LIST(l, ...)                                                                               \
	list_init(l, (const int64_t[]){__VA_ARGS__},                                               \
		  sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static struct source *merge_of(struct list *lists, unsigned n)
{
	struct merge_part parts[ROOM];
	struct source *s;

	for (unsigned i = 0; i < n; i++)
		parts[i] = (struct merge_part){
			.arg = &lists[i],
			.begins_us = lists[i].n ? lists[i].times[0] : 0,
			.set = lists[i].set,
			.open = list_open,
			.close = list_close,
		};
	s = source_merge_new(parts, n);
	assert_non_null(s);
	return s;
}

static unsigned open_now(const struct list *lists, unsigned n)
{
	unsigned open = 0;

	for (unsigned i = 0; i < n; i++)
		open += lists[i].opened != lists[i].closed;
	return open;
}

/* The times that come out, up to the end; -1 in between for SC_EAGAIN. */
static unsigned drain(struct source *s, int64_t *ret, unsigned room)
{
	unsigned n = 0;
	struct err err;

	for (;;) {
		struct exchange *ex = NULL;
		int rc = source_next(s, &ex, &err);

		if (rc == 0)
			return n;
		assert_true(n < room);
		ret[n++] = rc == 1 ? ex->ts_us : rc == SC_EAGAIN ? WAIT : BAD;
		exchange_free(ex);
		if (rc != 1 && rc != SC_EAGAIN)
			return n;
	}
}

static void assert_times(struct source *s, const int64_t *wanted, unsigned n)
{
	int64_t got[ROOM];

	assert_int_equal(drain(s, got, ROOM), n);
	assert_memory_equal(got, wanted, n * sizeof(*got));
}

#define ASSERT_TIMES(s, ...)                                                                       \
	assert_times(s, (const int64_t[]){__VA_ARGS__},                                            \
		     sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void assert_closed(const struct list *lists, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(lists[i].opened, lists[i].closed);
}

static void test_order(void **state)
{
	struct list l[4];
	struct source *s;

	(void)state;
	LIST(&l[0], 10, 40, 50);
	LIST(&l[1], 20, 30, 60);
	LIST(&l[2], 5);
	list_init(&l[3], NULL, 0);
	s = merge_of(l, 4);
	ASSERT_TIMES(s, 5, 10, 20, 30, 40, 50, 60);
	assert_closed(l, 4);
	source_free(s);
	assert_closed(l, 4);
}

static void test_own_order_is_kept(void **state)
{
	struct list l[2];
	struct source *s;

	(void)state;
	LIST(&l[0], 10, 30, 5, 40);
	LIST(&l[1], 20, 35);
	s = merge_of(l, 2);
	ASSERT_TIMES(s, 10, 20, 30, 5, 35, 40);
	source_free(s);
}

/* Equal times: the part named first, all of its own; connections and ids are the dataset's. */
static void test_ties_and_connections(void **state)
{
	static const unsigned wanted[] = {0, 0, 1, 2, 2, 0};
	struct list l[3];
	uint64_t connection[3];
	struct source *s;
	struct err err;

	(void)state;
	LIST(&l[0], 10, 10, 20);
	LIST(&l[1], 10);
	LIST(&l[2], 10, 10);
	s = merge_of(l, 3);
	for (unsigned i = 0; i < 6; i++) {
		struct exchange *ex;

		assert_int_equal(source_next(s, &ex, &err), 1);
		if (ex->position == 0)
			connection[wanted[i]] = ex->connection;
		assert_int_equal(ex->connection, connection[wanted[i]]);
		assert_true((int64_t)ex->connection >= 0);
		assert_int_equal(ex->id, 0);
		exchange_free(ex);
	}
	assert_true(connection[0] != connection[1] && connection[1] != connection[2] &&
		    connection[0] != connection[2]);
	source_free(s);
}

/* Parts that follow each other are open one after the other. */
/* The same connection in pieces of one recording is one. */
static void test_pieces(void **state)
{
	struct list l[3];
	uint64_t connection[3];
	struct source *s;
	struct err err;

	(void)state;
	LIST(&l[0], 10);
	LIST(&l[1], 20);
	LIST(&l[2], 30);
	l[0].set = l[2].set = 77;
	s = merge_of(l, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct exchange *ex;

		assert_int_equal(source_next(s, &ex, &err), 1);
		connection[i] = ex->connection;
		exchange_free(ex);
	}
	assert_true(connection[0] == connection[2] && connection[0] != connection[1]);
	source_free(s);
}

static void test_opens_late_and_closes_early(void **state)
{
	struct list l[ROOM];
	struct exchange *ex;
	struct source *s;
	struct err err;

	(void)state;
	for (int i = 0; i < ROOM; i++)
		LIST(&l[i], (ROOM - i) * 100, (ROOM - i) * 100 + 50);
	s = merge_of(l, ROOM);
	assert_int_equal(open_now(l, ROOM), 0);
	for (unsigned i = 0; i < 2 * ROOM; i++) {
		assert_int_equal(source_next(s, &ex, &err), 1);
		assert_int_equal(ex->ts_us, (i / 2 + 1) * 100 + i % 2 * 50);
		assert_true(open_now(l, ROOM) <= 2);
		exchange_free(ex);
	}
	assert_int_equal(source_next(s, &ex, &err), 0);
	assert_closed(l, ROOM);
	source_free(s);
}

/* A part that begins later than was said of it. */
static void test_begins_later(void **state)
{
	struct list l[2];
	struct source *s;

	(void)state;
	LIST(&l[0], 1, 30);
	LIST(&l[1], 20, 40);
	l[0].at = 1;
	s = merge_of(l, 2);
	ASSERT_TIMES(s, 20, 30, 40);
	source_free(s);
}

static void test_waits(void **state)
{
	struct list l[2];
	struct source *s;

	(void)state;
	LIST(&l[0], 10, WAIT, 30);
	LIST(&l[1], WAIT, 5, 20);
	s = merge_of(l, 2);
	/* The second says nothing of its first until it is there, and it may be the earliest. */
	ASSERT_TIMES(s, WAIT, 5, 10, WAIT, 20, 30);
	source_free(s);
}

static void test_stop(void **state)
{
	struct list l[3];
	struct exchange *ex;
	struct source *s;
	struct err err;

	(void)state;
	LIST(&l[0], 10, 12);
	LIST(&l[1], 11, 13);
	LIST(&l[2], 100);
	s = merge_of(l, 3);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(source_next(s, &ex, &err), 1);
		exchange_free(ex);
	}
	source_stop(s);
	/* What is held: the first part's 12. */
	ASSERT_TIMES(s, 12);
	assert_int_equal(l[2].opened, 0);
	assert_closed(l, 3);
	source_free(s);
}

static void test_errors(void **state)
{
	struct list l[3];
	struct source *s;

	(void)state;
	LIST(&l[0], 10, 20, BAD);
	LIST(&l[1], 15, 25);
	s = merge_of(l, 2);
	ASSERT_TIMES(s, 10, 15, 20, BAD);
	source_free(s);
	assert_closed(l, 2);

	LIST(&l[0], 10, 20);
	LIST(&l[1], 15, 25);
	LIST(&l[2], 18);
	l[2].refuses = SC_EINVAL;
	s = merge_of(l, 3);
	ASSERT_TIMES(s, 10, 15, BAD);
	assert_int_equal(l[2].closed, 1);
	source_free(s);
	assert_closed(l, 3);
}

static int compare_times(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static unsigned random_list(struct list *l, struct rng *rng, int64_t *all, unsigned n_all)
{
	int64_t t = (int64_t)(rng_next(rng) % 50) + 1, times[ROOM];
	unsigned n = (unsigned)(rng_next(rng) % 12);

	for (unsigned k = 0; k < n; k++) {
		times[k] = all[n_all++] = t;
		t += (int64_t)(rng_next(rng) % 20);
	}
	list_init(l, times, n);
	return n_all;
}

/* Sorted parts give what sorting everything gives. */
static void test_as_sorting(void **state)
{
	int64_t all[ROOM], got[ROOM];
	struct list l[5];
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	for (int turn = 0; turn < 2000; turn++) {
		struct source *s;
		unsigned n = 0;

		for (int i = 0; i < 5; i++)
			n = random_list(&l[i], &rng, all, n);
		qsort(all, n, sizeof(*all), compare_times);
		s = merge_of(l, 5);
		assert_int_equal(drain(s, got, ROOM), n);
		assert_memory_equal(got, all, n * sizeof(*all));
		source_free(s);
		assert_closed(l, 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_own_order_is_kept),
		cmocka_unit_test(test_ties_and_connections),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_opens_late_and_closes_early),
		cmocka_unit_test(test_begins_later),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_as_sorting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
