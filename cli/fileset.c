/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a set, read and written, and deleting. Whatever bears such a name and is no store, or is
 * a store and bears another, is somebody else's. */
#include "fileset.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "core/buf.h"
#include "core/limits.h"
#include "store/store.h"

#define DIGITS_MIN 5u /* of a number; up to 99999 files a glob gives them in order */
#define DIGITS_MAX 18u
#define LOCK_TRIES 100

int fileset_init(struct fileset *f, const char *output)
{
	const char *slash = strrchr(output, '/');
	const char *base = slash ? slash + 1 : output;
	const char *dot = strrchr(base, '.');
	const char *end = dot && dot != base ? dot : base + strlen(base);

	*f = (struct fileset){
		.prefix = strndup(output, (size_t)(base - output)),
		.stem = strndup(base, (size_t)(end - base)),
		.suffix = strdup(end),
	};
	if (!f->prefix || !f->stem || !f->suffix)
		return SC_ENOMEM;
	if (asprintf(&f->pattern, "%s%s-*%s", f->prefix, f->stem, f->suffix) < 0) {
		f->pattern = NULL;
		return SC_ENOMEM;
	}
	return SC_OK;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether what has that name is the very file. */
static bool is_there(const char *path, int fd)
{
	struct stat named, opened;

	return lstat(path, &named) == 0 && fstat(fd, &opened) == 0 && is_same(&named, &opened);
}

static int lock_error(const char *path, struct err *err)
{
	return err_set(err, SC_EINVAL, "%s: cannot be locked: %s", path, strerror(errno));
}

/* A lock of ours is empty: what is not is nothing that may be deleted later. */
static int lock_file(int fd, const char *path, const char *output, struct err *err)
{
	struct stat file;

	if (fstat(fd, &file))
		return lock_error(path, err);
	if (!S_ISREG(file.st_mode) || file.st_size)
		return err_set(err, SC_EINVAL, "%s: is not the lock of a set, which is empty", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return SC_OK;
	if (errno != EWOULDBLOCK)
		return lock_error(path, err);
	return err_set(err, SC_EINVAL, "%s: another capture writes this set (it holds %s)", output,
		       path);
}

/* SC_EAGAIN: who held it has deleted it meanwhile, and the next one might make another. */
static int take_lock(const char *path, const char *output, int *ret_fd, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	int rc;

	if (fd < 0)
		return lock_error(path, err);
	rc = lock_file(fd, path, output, err);
	if (!rc && !is_there(path, fd))
		rc = err_set(err, SC_EAGAIN, "%s: is deleted again and again", path);
	if (rc) {
		(void)close(fd);
		return rc;
	}
	*ret_fd = fd; /* moved */
	return SC_OK;
}

/* flock() and a file of its own: POSIX locks on a store would be SQLite's. */
int fileset_lock(struct fileset *f, const char *output, struct err *err)
{
	int rc = SC_EAGAIN, fd = -1;
	char *path;

	if (asprintf(&path, "%s.%s%s.lock", f->prefix, f->stem, f->suffix) < 0)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (int i = 0; i < LOCK_TRIES && rc == SC_EAGAIN; i++)
		rc = take_lock(path, output, &fd, err);
	if (rc) {
		free(path);
		return rc == SC_EAGAIN ? SC_EINVAL : rc;
	}
	f->lock = path; /* moved */
	f->lock_fd = fd;
	return SC_OK;
}

/* The name goes while the lock is held: behind that, it would be the next one's. */
static void unlock(struct fileset *f)
{
	if (!f->lock)
		return;
	if (is_there(f->lock, f->lock_fd))
		(void)unlink(f->lock);
	(void)close(f->lock_fd);
	free(f->lock);
}

void fileset_done(struct fileset *f)
{
	unlock(f);
	free(f->prefix);
	free(f->stem);
	free(f->suffix);
	free(f->pattern);
	*f = (struct fileset){.prefix = NULL};
}

static void time_text(int64_t us, char text[sizeof(FILESET_TIME)])
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	(void)strftime(text, sizeof(FILESET_TIME), "%Y%m%dT%H%M%SZ", &tm);
}

char *fileset_path(const struct fileset *f, uint64_t number, int64_t us, bool hidden)
{
	char began[sizeof(FILESET_TIME)];
	char *path;

	time_text(us, began);
	return asprintf(&path, "%s%s%s-%05" PRIu64 "-%s%s", f->prefix, hidden ? "." : "", f->stem,
			number, began, f->suffix) < 0 ? NULL : path;
}

/* The rest of `text` behind its leading digits, if there are from `least` to `most` of them. */
static const char *skip_digits(const char *text, size_t least, size_t most)
{
	size_t n = strspn(text, "0123456789");

	return n >= least && n <= most ? text + n : NULL;
}

/* Whether `name` is one of the set's, and its number. */
static bool parse_name(const struct fileset *f, const char *name, uint64_t *ret_number)
{
	size_t stem = strlen(f->stem);
	const char *at;

	if (strncmp(name, f->stem, stem) != 0 || name[stem] != '-')
		return false;
	at = skip_digits(name + stem + 1, DIGITS_MIN, DIGITS_MAX);
	if (!at || *at++ != '-')
		return false;
	at = skip_digits(at, 8, 8);
	if (!at || *at++ != 'T')
		return false;
	at = skip_digits(at, 6, 6);
	if (!at || *at++ != 'Z' || strcmp(at, f->suffix) != 0)
		return false;
	*ret_number = strtoull(name + stem + 1, NULL, 10);
	return true;
}

static int open_folder(const struct fileset *f, DIR **ret, struct err *err)
{
	const char *folder = *f->prefix ? f->prefix : ".";

	*ret = opendir(folder);
	return *ret ? SC_OK : err_set(err, SC_EIO, "%s: %s", folder, strerror(errno));
}

int fileset_last(const struct fileset *f, uint64_t *ret, struct err *err)
{
	uint64_t last = 0, number;
	DIR *folder;
	int rc = open_folder(f, &folder, err);

	if (rc)
		return rc;
	for (const struct dirent *d; (d = readdir(folder));) {
		if (parse_name(f, d->d_name, &number) && number > last)
			last = number;
	}
	(void)closedir(folder);
	*ret = last;
	return SC_OK;
}

/* From outside, without SQLite: it must not be opened to be deleted. */
static bool is_store(DIR *folder, const char *name)
{
	int fd = openat(dirfd(folder), name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	bool yes = fd >= 0 && store_is(fd);

	if (fd >= 0)
		(void)close(fd);
	return yes;
}

static int later_first(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? 1 : x > y ? -1 : 0;
}

/* What is open here must not even be looked into: closing a second descriptor of a file drops the
 * locks that SQLite holds on it (https://www.sqlite.org/howtocorrupt.html, 2.2), and whoever read it
 * next would take its log away. Our own numbers need no look. */
static bool is_ours(const struct fileset *f, DIR *folder, const char *name, uint64_t unfinished,
		    uint64_t *ret_number)
{
	return parse_name(f, name, ret_number) &&
	       (*ret_number >= unfinished || is_store(folder, name));
}

/* The number of the earliest file that is kept; 0: all are. */
static int find_first_kept(const struct fileset *f, DIR *folder, uint64_t keep,
			   uint64_t unfinished, uint64_t *ret, struct err *err)
{
	struct buf numbers;
	uint64_t number, first = 0;
	int rc = SC_OK;

	buf_init(&numbers, LIMIT_FILESET * sizeof(number));
	for (const struct dirent *d; !rc && (d = readdir(folder));) {
		if (is_ours(f, folder, d->d_name, unfinished, &number))
			rc = buf_add(&numbers, &number, sizeof(number));
	}
	if (rc)
		rc = err_set(err, SC_EIO, "%s: more files than --keep can look through",
			     f->pattern);
	if (!rc && numbers.len / sizeof(number) > keep) {
		qsort(numbers.data, numbers.len / sizeof(number), sizeof(number), later_first);
		memcpy(&first, numbers.data + (keep - 1) * sizeof(number), sizeof(first));
	}
	buf_done(&numbers);
	if (!rc)
		*ret = first;
	return rc;
}

/* Another program may have it open, reading or writing results: it keeps the three files, which
 * belong together, until it closes them; only the names go. That would be unsafe if the name were
 * used again, since a log of one file could then be taken for that of another, and no name of a set
 * ever is. The store first: who came in between would open it without what is still in its log. */
static bool delete_file(const struct fileset *f, DIR *folder, const char *name)
{
	static const char *const logs[] = {"-wal", "-shm"};

	if (unlinkat(dirfd(folder), name, 0)) {
		say("%s%s: cannot be deleted: %s", f->prefix, name, strerror(errno));
		return false;
	}
	for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++) {
		char *log = NULL;

		if (asprintf(&log, "%s%s", name, logs[i]) >= 0)
			(void)unlinkat(dirfd(folder), log, 0); /* mostly there is none */
		free(log);
	}
	return true;
}

int fileset_delete(const struct fileset *f, uint64_t keep, uint64_t unfinished, bool quiet,
		   struct err *err)
{
	uint64_t number, first = 0;
	DIR *folder;
	int rc = open_folder(f, &folder, err);

	if (rc)
		return rc;
	rc = find_first_kept(f, folder, keep, unfinished, &first, err);
	rewinddir(folder);
	for (const struct dirent *d; !rc && (d = readdir(folder));) {
		if (is_ours(f, folder, d->d_name, unfinished, &number) && number < first &&
		    number < unfinished && delete_file(f, folder, d->d_name) && !quiet)
			say("deleted %s%s (--keep %" PRIu64 ")", f->prefix, d->d_name, keep);
	}
	(void)closedir(folder);
	return rc;
}
