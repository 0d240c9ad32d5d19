/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files as one recording: the order of their packets against a merge that looks at all of
 * them each time, what is held meanwhile, and each allocation failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"

#define FILES 16
#define PACKETS 40

/* The linker sends the libraries' allocations here; test code's too. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations that succeed before one fails, once; -1: all */

static bool may_allocate(void)
{
	return allowed < 0 || allowed-- > 0;
}

void *__wrap_malloc(size_t n)
{
	return may_allocate() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n)
{
	return may_allocate() ? __real_realloc(p, n) : NULL;
}

/* Seconds of the packets of each file. A packet's two bytes say which one it is. */
struct set {
	unsigned n;
	struct {
		unsigned n;
		uint32_t at[PACKETS];
	} files[FILES];
};

struct opened {
	unsigned n;
	int fds[FILES];
	char paths[FILES][32];
	const char *names[FILES];
};

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

static void write_file(const struct set *s, unsigned i, int fd)
{
	uint8_t head[24] = {0}, record[18] = {0};

	put32(head, 0xa1b2c3d4);
	put32(head + 20, 1);
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	for (unsigned k = 0; k < s->files[i].n; k++) {
		put32(record, s->files[i].at[k]);
		put32(record + 8, 2);
		put32(record + 12, 2);
		record[16] = (uint8_t)i;
		record[17] = (uint8_t)k;
		assert_int_equal(write(fd, record, sizeof(record)), sizeof(record));
	}
}

static void write_files(const struct set *s, struct opened *o)
{
	o->n = s->n;
	for (unsigned i = 0; i < s->n; i++) {
		o->fds[i] = memfd_create("pcap", 0);
		assert_true(o->fds[i] >= 0);
		write_file(s, i, o->fds[i]);
		(void)snprintf(o->paths[i], sizeof(o->paths[i]), "/proc/self/fd/%d", o->fds[i]);
		o->names[i] = o->paths[i];
	}
}

static void close_files(struct opened *o)
{
	for (unsigned i = 0; i < o->n; i++)
		close(o->fds[i]);
}

/* -- the order ------------------------------------------------------------------------------- */

/* Whether file a's next packet goes before b's: by its time, its file's first time, its place. */
static bool goes_first(const struct set *s, const unsigned *at, unsigned a, unsigned b)
{
	uint32_t x = s->files[a].at[at[a]], y = s->files[b].at[at[b]];
	uint32_t begins_x = s->files[a].at[0], begins_y = s->files[b].at[0];

	if (x != y)
		return x < y;
	return begins_x != begins_y ? begins_x < begins_y : a < b;
}

static void check_order(const struct set *s)
{
	unsigned at[FILES] = {0};
	struct capture_files *fs;
	struct opened o;
	struct frame f;

	write_files(s, &o);
	assert_int_equal(capture_files_open(o.names, o.n, false, &fs, NULL), SC_OK);
	for (;;) {
		unsigned first = FILES;

		for (unsigned i = 0; i < s->n; i++) {
			if (at[i] < s->files[i].n && (first == FILES || goes_first(s, at, i, first)))
				first = i;
		}
		if (first == FILES)
			break;
		assert_int_equal(capture_files_next(fs, &f), 1);
		assert_int_equal(f.bytes.len, 2);
		assert_int_equal(f.bytes.p[0], first);
		assert_int_equal(f.bytes.p[1], at[first]);
		assert_int_equal(f.ts_us, (int64_t)s->files[first].at[at[first]] * 1000000);
		at[first]++;
	}
	assert_int_equal(capture_files_next(fs, &f), 0);
	assert_int_equal(capture_files_next(fs, &f), 0);
	for (unsigned i = 0; i < s->n; i++)
		assert_null(capture_files_note(fs, i));
	capture_files_free(fs);
	close_files(&o);
}

static void test_orders(void **state)
{
	static const struct set sets[] = {
		{1, {{3, {5, 4, 6}}}},
		{2, {{0, {0}}, {0, {0}}}},
		{2, {{3, {7, 8, 9}}, {3, {1, 2, 3}}}},              /* named the other way round */
		{2, {{3, {1, 3, 5}}, {3, {2, 4, 6}}}},              /* at the same time */
		{3, {{2, {3, 4}}, {0, {0}}, {2, {1, 2}}}},          /* one has nothing */
		{3, {{2, {5, 5}}, {2, {5, 6}}, {2, {1, 5}}}},       /* where they meet */
		{2, {{4, {10, 2, 11, 3}}, {4, {4, 10, 11, 12}}}},   /* a clock that goes back */
		{3, {{1, {9}}, {3, {1, 9, 20}}, {2, {15, 16}}}},    /* one inside another */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		check_order(&sets[i]);
}

static void make_set(struct set *s, unsigned *random)
{
	s->n = 1 + (unsigned)rand_r(random) % FILES;
	for (unsigned i = 0; i < s->n; i++) {
		uint32_t at = 100 + (uint32_t)rand_r(random) % 100;

		s->files[i].n = (unsigned)rand_r(random) % PACKETS;
		for (unsigned k = 0; k < s->files[i].n; k++) {
			at += (uint32_t)rand_r(random) % 4;
			if (rand_r(random) % 20 == 0)
				at -= (uint32_t)rand_r(random) % 10;
			s->files[i].at[k] = at;
		}
	}
}

static void test_any_order(void **state)
{
	static struct set s;
	unsigned random = 1;

	(void)state;
	for (int turn = 0; turn < 300; turn++) {
		make_set(&s, &random);
		check_order(&s);
	}
}

/* -- what is held ---------------------------------------------------------------------------- */

static unsigned open_now(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void test_files_are_closed_at_their_ends(void **state)
{
	static const struct set s = {3, {{2, {1, 2}}, {2, {3, 4}}, {0, {0}}}};
	struct capture_files *fs;
	struct opened o;
	struct frame f;
	unsigned before;

	(void)state;
	write_files(&s, &o);
	before = open_now();
	assert_int_equal(capture_files_open(o.names, o.n, false, &fs, NULL), SC_OK);
	assert_int_equal(open_now(), before + 2); /* the third has nothing more to give */
	for (unsigned left = 2; left > 0; left--) {
		for (int k = 0; k < 2; k++) {
			assert_int_equal(capture_files_next(fs, &f), 1);
			assert_int_equal(open_now(), before + left);
		}
	}
	assert_int_equal(capture_files_next(fs, &f), 0);
	assert_int_equal(open_now(), before);
	capture_files_free(fs);
	close_files(&o);
}

/* Cut once all are open. */
static void test_a_file_that_changes_meanwhile(void **state)
{
	static const struct set s = {3, {{2, {1, 2}}, {2, {3, 4}}, {2, {5, 6}}}};
	struct capture_files *fs;
	struct opened o;
	struct frame f;

	(void)state;
	write_files(&s, &o);
	assert_int_equal(capture_files_open(o.names, o.n, false, &fs, NULL), SC_OK);
	assert_int_equal(ftruncate(o.fds[0], 24 + 18 + 17), 0);
	assert_int_equal(ftruncate(o.fds[1], 4), 0);
	for (int k = 0; k < 3; k++)
		assert_int_equal(capture_files_next(fs, &f), 1);
	assert_int_equal(f.ts_us, 6000000);
	assert_int_equal(capture_files_next(fs, &f), 0);
	assert_string_equal(capture_files_note(fs, 0), "ends inside a record");
	assert_string_equal(capture_files_note(fs, 1), "could be read once, and not again");
	assert_null(capture_files_note(fs, 2));
	assert_null(capture_files_note(fs, 3));
	capture_files_free(fs);
	close_files(&o);
}

static void test_every_allocation(void **state)
{
	static const struct set s = {3, {{2, {1, 4}}, {2, {2, 3}}, {1, {6}}}};
	struct opened o;
	long left = 0;

	(void)state;
	write_files(&s, &o);
	for (long n = 0; left >= 0; n++) {
		struct capture_files *fs = NULL;
		unsigned frames = 0, noted = 0;
		struct frame f;
		int rc;

		allowed = n;
		rc = capture_files_open(o.names, o.n, false, &fs, NULL);
		while (!rc && capture_files_next(fs, &f) == 1)
			frames++;
		left = allowed >= 0 ? -1 : 0; /* enough was allowed */
		allowed = -1;
		for (unsigned i = 0; !rc && i < o.n; i++)
			noted += capture_files_note(fs, i) != NULL;
		assert_true(rc == SC_OK || rc == SC_ENOMEM || rc == SC_EINVAL);
		if (!rc)
			assert_true((frames == 5) == (noted == 0));
		capture_files_free(fs);
	}
	close_files(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_files_are_closed_at_their_ends),
		cmocka_unit_test(test_a_file_that_changes_meanwhile),
		cmocka_unit_test(test_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
