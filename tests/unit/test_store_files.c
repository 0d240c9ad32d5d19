/* SPDX-License-Identifier: Apache-2.0 */
/* The store as a file: wrong ones are refused in one line and left alone, ours are private, and a
 * crash costs the transaction under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_fixture.h"

static void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void assert_refused(const char *path, enum store_mode mode, const char *word)
{
	struct err err = {""};
	struct store *st = NULL;

	assert_int_equal(store_open(path, mode, &st, &err), SC_EINVAL);
	assert_null(st);
	assert_non_null(strstr(err.text, path));
	if (!strstr(err.text, word))
		fail_msg("'%s' is not in '%s'", word, err.text);
	assert_null(strchr(err.text, '\n'));
}

static void test_wrong_files(void **state)
{
	struct place *p = *state;
	static const enum store_mode modes[] = {STORE_READ, STORE_UPDATE, STORE_CREATE};
	char missing[128], noise[400];
	struct stat file;

	memset(noise, 'x', sizeof(noise));
	assert_refused(p->path, STORE_READ, "no such file");
	assert_refused(p->path, STORE_UPDATE, "no such file");
	(void)snprintf(missing, sizeof(missing), "%s/no/s.db", p->dir);
	assert_refused(missing, STORE_CREATE, "cannot be made: No such file or directory");
	assert_refused("/dev/null", STORE_CREATE, "is not a regular file");
	for (int i = 0; i < 3; i++) {
		assert_refused(p->dir, modes[i], "is a directory");
		write_file(p->path, noise, sizeof(noise));
		assert_refused(p->path, modes[i], "is not a store");
		write_file(p->path, "SQLite format 3", 16);
		assert_refused(p->path, modes[i], "is not a store");
		assert_int_equal(unlink(p->path), 0);
		run_sql(p->path, "CREATE TABLE t (a)");
		assert_refused(p->path, modes[i], "another program");
		assert_int_equal(unlink(p->path), 0);
	}
	write_file(p->path, "", 0);
	assert_refused(p->path, STORE_READ, "is empty");
	assert_refused(p->path, STORE_UPDATE, "is empty");
	assert_int_equal(stat(p->path, &file), 0);
	assert_int_equal(file.st_size, 0);
	store_close(open_store(p->path, STORE_CREATE));
	store_close(open_store(p->path, STORE_UPDATE));
	run_sql(p->path, "PRAGMA user_version = 3");
	for (int i = 0; i < 3; i++)
		assert_refused(p->path, modes[i], "schema version 3");
	run_sql(p->path, "PRAGMA user_version = 2");
	store_close(open_store(p->path, STORE_READ));
}

static void assert_mode(const char *path, const char *suffix)
{
	struct stat file;
	char name[128];

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	assert_int_equal(stat(name, &file), 0);
	assert_int_equal(file.st_mode & 07777, 0600);
}

/* https://www.sqlite.org/fileformat2.html#file_format_version_numbers */
static void assert_wal(const char *path)
{
	uint8_t header[20];
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_int_equal(fread(header, 1, sizeof(header), f), sizeof(header));
	assert_int_equal(fclose(f), 0);
	assert_int_equal(header[18], 2);
	assert_int_equal(header[19], 2);
}

static void test_private_and_tidy(void **state)
{
	struct place *p = *state;
	mode_t old = umask(0);
	struct store *st = open_store(p->path, STORE_CREATE);
	char name[128];
	int64_t id;
	struct sink *sink = begin_capture(st, &id);

	put(sink, make_exchange(T0, "GET / HTTP/1.1\r\n\r\n", NULL));
	assert_mode(p->path, "");
	assert_mode(p->path, "-wal");
	assert_mode(p->path, "-shm");
	finish(sink);
	store_close(st);
	(void)umask(old);
	assert_wal(p->path);
	assert_rows(p->path, "PRAGMA page_size", "8192\n");
	/* Reading leaves nothing behind. */
	(void)snprintf(name, sizeof(name), "%s-wal", p->path);
	assert_int_equal(access(name, F_OK), -1);
	(void)snprintf(name, sizeof(name), "%s-shm", p->path);
	assert_int_equal(access(name, F_OK), -1);
}

/* Killed in the middle: what was committed is there, reading changes nothing, writing goes on. */
static void test_killed(void **state)
{
	struct place *p = *state;
	struct stat before, after;
	struct source *source;
	struct exchange *ex;
	struct store *st;
	int status, n = 0;
	int64_t id;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct sink *sink;

		st = open_store(p->path, STORE_CREATE);
		sink = begin_capture(st, &id);
		for (int i = 0; i < 4500; i++)
			put(sink, make_exchange(T0 - i, "GET / HTTP/1.1\r\n\r\n", NULL));
		(void)raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(stat(p->path, &before), 0);
	st = open_store(p->path, STORE_READ);
	assert_rows_of(st, "SELECT count(*) FROM exchange", "4000\n");
	source = begin_source(st, 0); /* without the index */
	for (; (ex = read_one(source)); n++) {
		assert_true(ex->ts_us == T0 - 3999 + n);
		exchange_free(ex);
	}
	assert_int_equal(n, 4000);
	source_free(source);
	store_close(st);
	assert_int_equal(stat(p->path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	st = open_store(p->path, STORE_UPDATE);
	finish(begin_capture(st, &id));
	assert_rows_of(st, "PRAGMA integrity_check", "ok\n");
	assert_rows_of(st, "SELECT count(*), (SELECT count(*) FROM capture) FROM exchange",
		       "4000|2\n");
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_wrong_files),
		PLACED(test_private_and_tidy),
		PLACED(test_killed),
	};

	return cmocka_run_group_tests_name("store_files", tests, NULL, NULL);
}
