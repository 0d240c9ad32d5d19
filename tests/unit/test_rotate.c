/* SPDX-License-Identifier: Apache-2.0 */
/* A set of stores, and the account of a part of a capture. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "rotate.h"
#include "store_fixture.h"

static void test_values(void **state)
{
	static const struct {
		const char *value;
		uint64_t bytes;
		int64_t us; /* both 0: refused */
	} rows[] = {
		{"1M", MIB, 0},
		{"1m", 0, 60000000},
		{"1.5MiB", 3 * MIB / 2, 0},
		{"2GB", 2048ull * MIB, 0},
		{"1048576B", MIB, 0},
		{"1T", 1ull << 40, 0},
		{"1s", 0, 1000000},
		{"1000ms", 0, 1000000},
		{"1000000us", 0, 1000000},
		{"0.5h", 0, 1800000000},
		{"2d", 0, 172800000000},
		{"1048575B", 0, 0},
		{"1023K", 0, 0},
		{"999ms", 0, 0},
		{"0s", 0, 0},
		{"0M", 0, 0},
		{"100", 0, 0},
		{"100k", 0, 0},
		{"100g", 0, 0},
		{"1S", 0, 0},
		{"1D", 0, 0},
		{"", 0, 0},
		{"M", 0, 0},
		{"m", 0, 0},
		{"-1M", 0, 0},
		{"+1M", 0, 0},
		{" 1M", 0, 0},
		{"1 M", 0, 0},
		{"1e3M", 0, 0},
		{"0x1M", 0, 0},
		{"infs", 0, 0},
		{"1..2M", 0, 0},
		{"1h30m", 0, 0},
		{"1Mm", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rotate_args a = {.bytes = 7, .keep = 3};
		struct err err = {""};
		int rc = rotate_rows[0].set(&a, rows[i].value, &err);

		if (!rows[i].bytes && !rows[i].us) {
			assert_int_equal(rc, SC_EINVAL);
			assert_non_null(strstr(err.text, rows[i].value));
			assert_int_equal(a.bytes, 7);
		} else {
			assert_int_equal(rc, SC_OK);
			assert_int_equal(a.bytes, rows[i].bytes);
			assert_int_equal(a.us, rows[i].us);
		}
		assert_int_equal(a.keep, 3);
	}
}

static void assert_text(const struct counters *c, const char *expected)
{
	struct buf text;

	buf_init(&text, 64 * KIB);
	assert_int_equal(counters_text(c, &text), SC_OK);
	assert_int_equal(buf_add(&text, "", 1), SC_OK);
	assert_non_null(strstr((const char *)text.data, expected));
	buf_done(&text);
}

static void test_parts_of_an_account(void **state)
{
	struct counters before = {0}, now = {0}, part;
	const char *group = NULL;

	(void)state;
	counter_set(&before, REQUESTS_SEEN, 10);
	counter_set(&before, REQUESTS_STORED, 6);
	counter_set(&before, REQUESTS_FILTERED, 1);
	counter_set(&before, PACKETS_SEEN, 4);
	counter_set(&before, PACKETS_USED, 4);
	counters_part(&now, &before, &part);
	assert_int_equal(counters_check(&part, &group), SC_OK);
	assert_text(&part, "requests  10 seen = 6 stored + 1 filtered + 3 carried_out\n");
	assert_text(&part, "packets   4 seen = 4 used\n");

	counter_set(&now, REQUESTS_SEEN, 15);
	counter_set(&now, REQUESTS_STORED, 13);
	counter_set(&now, REQUESTS_FILTERED, 1);
	counter_set(&now, REQUESTS_UNFINISHED, 1);
	counter_set(&now, PACKETS_SEEN, 5);
	counter_set(&now, PACKETS_NOT_IP, 1);
	counter_set(&now, PACKETS_USED, 4);
	counters_part(&before, &now, &part);
	assert_int_equal(counters_check(&part, &group), SC_OK);
	assert_text(&part, "requests  5 seen + 3 carried_in = 7 stored + 1 unfinished\n");
	assert_text(&part, "packets   1 seen = 1 not_ip\n");
}

/* More in the rows than was seen: no carrying makes that right. */
static void test_a_wrong_account_stays_wrong(void **state)
{
	struct counters before = {0}, now = {0}, part;
	const char *group = NULL;

	(void)state;
	counter_set(&now, REQUESTS_SEEN, 2);
	counter_set(&now, REQUESTS_STORED, 3);
	counters_part(&before, &now, &part);
	assert_int_equal(counters_check(&part, &group), SC_EINVAL);
	assert_string_equal(group, "requests");
}

static int try_set(const struct place *place, bool live, struct sink **ret, struct err *err)
{
	struct rotate_options o = {
		.output = place->path,
		.source = "test",
		.settings = "{\"a\":1}",
		.now_us = T0,
		.live = live,
		.quiet = true,
	};

	return rotate_new(&o, ret, err);
}

static struct sink *begin_set(const struct place *place, bool live)
{
	struct sink *set = NULL;
	struct err err = {""};

	assert_int_equal(try_set(place, live, &set, &err), SC_OK);
	return set;
}

static void assert_refused(const struct place *place, const char *line)
{
	struct sink *set = NULL;
	struct err err = {""};

	assert_int_equal(try_set(place, true, &set, &err), SC_EINVAL);
	assert_null(set);
	assert_non_null(strstr(err.text, line));
}

static void put_one(struct sink *set, int64_t ts_us, struct counters *seen)
{
	struct exchange *ex = make_exchange(ts_us, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", NULL);
	struct err err;

	count(seen, REQUESTS_SEEN);
	assert_int_equal(sink_put(set, ex, &err), SC_OK);
	exchange_free(ex);
}

static void mark(struct sink *set, const struct counters *seen)
{
	struct err err = {""};

	assert_int_equal(rotate_mark(set, true, seen, T0, &err), SC_OK);
}

static void end_set(struct sink *set, struct counters *whole)
{
	struct err err = {""};

	assert_int_equal(sink_finish(set, T0, &err), SC_OK);
	counter_set(whole, REQUESTS_STORED, set->ops->kept(set));
	assert_int_equal(rotate_end(set, whole, T0, &err), SC_OK);
	sink_free(set);
}

/* The files of the place's set, in order. */
static void find_files(const struct place *place, glob_t *ret)
{
	char pattern[sizeof(place->dir) + 16];

	(void)snprintf(pattern, sizeof(pattern), "%s/*-0*", place->dir);
	assert_int_equal(glob(pattern, 0, NULL, ret), 0);
}

#define STORED_SQL                                                                                 \
	"SELECT count(*), (SELECT json_extract(ledger, '$.requests.stored') FROM capture)"         \
	" FROM exchange"

static void test_a_set_from_a_file(void **state)
{
	struct place *place = *state;
	struct sink *set = begin_set(place, false);
	struct counters seen = {0};
	glob_t files;

	mark(set, &seen); /* an empty file goes on */
	put_one(set, T0, &seen);
	mark(set, &seen);
	mark(set, &seen);
	put_one(set, T0 + 61000000, &seen);
	put_one(set, T0 + 62000000, &seen);
	mark(set, &seen);
	put_one(set, -1, &seen);
	end_set(set, &seen);
	find_files(place, &files);
	assert_int_equal(files.gl_pathc, 3);
	assert_non_null(strstr(files.gl_pathv[0], "-00001-20260921T141320Z"));
	assert_non_null(strstr(files.gl_pathv[1], "-00002-20260921T141421Z"));
	assert_non_null(strstr(files.gl_pathv[2], "-00003-19700101T000000Z"));
	assert_rows(files.gl_pathv[0], STORED_SQL, "1|1\n");
	assert_rows(files.gl_pathv[1], STORED_SQL, "2|2\n");
	assert_rows(files.gl_pathv[2], STORED_SQL, "1|1\n");
	globfree(&files);
}

/* It takes no more than a mark and the time to make a file. */
static void test_a_live_set_goes_on_meanwhile(void **state)
{
	struct place *place = *state;
	struct sink *set = begin_set(place, true);
	struct counters seen = {0};
	uint64_t n = 0;
	glob_t files;

	assert_false(rotate_owes(set));
	put_one(set, T0, &seen);
	mark(set, &seen);
	assert_true(rotate_owes(set));
	for (; rotate_owes(set); n++) {
		put_one(set, T0, &seen);
		mark(set, &seen);
	}
	assert_true(n > 0);
	put_one(set, T0, &seen);
	end_set(set, &seen);
	assert_int_equal(counter_get(&seen, REQUESTS_STORED), n + 2);
	find_files(place, &files);
	assert_int_equal(files.gl_pathc, 2);
	assert_rows(files.gl_pathv[1], STORED_SQL, "1|1\n");
	globfree(&files);
}

/* A file that was made and is not needed any more leaves nothing. */
static void test_an_end_while_the_next_is_made(void **state)
{
	struct place *place = *state;
	struct sink *set = begin_set(place, true);
	struct counters seen = {0};
	glob_t files;

	put_one(set, T0, &seen);
	mark(set, &seen);
	end_set(set, &seen);
	find_files(place, &files);
	assert_int_equal(files.gl_pathc, 1);
	assert_rows(files.gl_pathv[0], STORED_SQL, "1|1\n");
	globfree(&files);
}

static void lock_path(const struct place *place, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s/.%s.lock", place->dir, strrchr(place->path, '/') + 1);
}

static void test_one_at_a_time(void **state)
{
	struct place *place = *state;
	struct sink *set = begin_set(place, true);
	char path[sizeof(place->dir) + 32];
	struct stat file;
	glob_t files;

	lock_path(place, path, sizeof(path));
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0600);
	assert_refused(place, "another capture writes this set");
	sink_free(set);
	find_files(place, &files); /* the second one has made none */
	assert_int_equal(files.gl_pathc, 1);
	globfree(&files);
	assert_int_equal(stat(path, &file), -1);
	sink_free(begin_set(place, true));
	assert_int_equal(stat(path, &file), -1);
}

/* Somebody tidies up: the next one has a lock of its own, which the first does not take away. */
static void test_a_lock_that_is_deleted(void **state)
{
	struct place *place = *state;
	struct sink *first = begin_set(place, true), *second;
	char path[sizeof(place->dir) + 32];

	lock_path(place, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	second = begin_set(place, true);
	sink_free(first);
	assert_refused(place, "another capture writes this set");
	sink_free(second);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_a_lock_that_cannot_be(void **state)
{
	struct place *place = *state;
	char path[sizeof(place->dir) + 32];
	struct stat file;
	FILE *other;

	lock_path(place, path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(place, ".lock: cannot be locked: Is a directory");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_refused(place, ".lock: cannot be locked: ");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused(place, ".lock: is not the lock of a set");
	assert_int_equal(unlink(path), 0);
	other = fopen(path, "w");
	assert_non_null(other);
	assert_true(fputs("somebody's notes", other) >= 0);
	assert_int_equal(fclose(other), 0);
	assert_refused(place, ".lock: is not the lock of a set");
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_size, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_parts_of_an_account),
		cmocka_unit_test(test_a_wrong_account_stays_wrong),
		PLACED(test_a_set_from_a_file),
		PLACED(test_a_live_set_goes_on_meanwhile),
		PLACED(test_an_end_while_the_next_is_made),
		PLACED(test_one_at_a_time),
		PLACED(test_a_lock_that_is_deleted),
		PLACED(test_a_lock_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
