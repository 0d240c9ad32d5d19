/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: decides from outside, before SQLite sees a file, whether it is ours, so that a wrong
 * path is one clear line and a file of somebody else's is never touched. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "body.h"
#include "core/buf.h"
#include "core/rd.h"
#include "db.h"
#include "schema.h"

#define BUSY_MS 10000
#define PATH_BYTES 65536u

/* https://www.sqlite.org/fileformat2.html#the_database_header */
#define HEADER_BYTES 100u
#define HEADER_APPLICATION_ID 68u

static int system_code(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EIO || error == ENFILE ||
			       error == EMFILE ? SC_EIO : SC_EINVAL;
}

static int create_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(err, system_code(errno), "%s: cannot be made: %s", path,
			       strerror(errno));
	(void)close(fd);
	return SC_OK;
}

static int check_header(const char *path, const uint8_t *header, size_t len, struct err *err)
{
	struct rd rd;
	uint32_t id = 0;

	if (len < HEADER_BYTES || memcmp(header, "SQLite format 3", 16) != 0)
		return err_set(err, SC_EINVAL, "%s: is not a store (no SQLite file)", path);
	rd_init(&rd, header, len);
	if (rd_skip(&rd, HEADER_APPLICATION_ID) || rd_u32(&rd, &id) || id != SCHEMA_APPLICATION_ID)
		return err_set(err, SC_EINVAL,
			       "%s: is not a store (an SQLite file of another program)", path);
	return SC_OK;
}

bool store_is(int fd)
{
	uint8_t header[HEADER_BYTES];
	struct err unused;

	return pread(fd, header, sizeof(header), 0) == sizeof(header) &&
	       check_header("", header, sizeof(header), &unused) == SC_OK;
}

/* The stores that this process has open. POSIX locks belong to a process and a file: closing any
 * descriptor of the file drops SQLite's, and then the next program that closes the store takes itself
 * for the last one and deletes the log that we write to (https://www.sqlite.org/howtocorrupt.html,
 * 2.2). So a file that is open here is opened by SQLite alone. */
static struct {
	pthread_mutex_t lock;
	struct open_file *first;
} open_files = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool file_is_open(const struct open_file *file)
{
	const struct open_file *f;

	pthread_mutex_lock(&open_files.lock);
	for (f = open_files.first; f; f = f->next) {
		if (f->dev == file->dev && f->ino == file->ino)
			break;
	}
	pthread_mutex_unlock(&open_files.lock);
	return f != NULL;
}

/* What lies at the path is what SQLite has open. */
static int note_open(struct store *st, struct err *err)
{
	struct stat file;

	if (stat(st->path, &file))
		return err_set(err, SC_EIO, "%s: %s", st->path, strerror(errno));
	pthread_mutex_lock(&open_files.lock);
	st->file = (struct open_file){file.st_dev, file.st_ino, open_files.first};
	open_files.first = &st->file;
	pthread_mutex_unlock(&open_files.lock);
	return SC_OK;
}

/* Byte ranges that SQLite, whose locks end at 2^30 + 512, knows nothing of. */
#define RUN_LOCKS (INT64_C(1) << 62)

int store_lock_run(struct store *st, int64_t run, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RUN_LOCKS + run,
			     .l_len = 1};

	if (!st->lock_fd)
		st->lock_fd = open(st->path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (st->lock_fd < 0)
		return err_set(err, system_code(errno), "%s: cannot be locked: %s", st->path,
			       strerror(errno));
	/* A file system without such locks tells of no other process either. */
	if (fcntl(st->lock_fd, F_OFD_SETLK, &lock) && (errno == EAGAIN || errno == EACCES))
		return err_set(err, SC_EINVAL, "%s: another process is at run %lld still", st->path,
			       (long long)run);
	return SC_OK;
}

bool store_moved(const struct store *st)
{
	int moved = 0;

	return sqlite3_file_control(st->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	       moved;
}

static void note_closed(struct store *st)
{
	struct open_file **at = &open_files.first;

	pthread_mutex_lock(&open_files.lock);
	while (*at && *at != &st->file)
		at = &(*at)->next;
	if (*at)
		*at = st->file.next;
	pthread_mutex_unlock(&open_files.lock);
}

static int check_file(const char *path, enum store_mode mode, struct err *err)
{
	uint8_t header[HEADER_BYTES];
	ssize_t n;
	int fd;

	if (mode != STORE_READ && access(path, W_OK) < 0)
		return err_set(err, SC_EINVAL, "%s: cannot be written: %s", path, strerror(errno));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_set(err, system_code(errno), "%s: cannot be read: %s", path,
			       strerror(errno));
	n = read(fd, header, sizeof(header));
	if (n < 0) {
		int rc = err_set(err, SC_EIO, "%s: %s", path, strerror(errno));

		(void)close(fd);
		return rc;
	}
	/* Empty: made beforehand (mktemp, touch), or a start that was killed at once. Its owner alone
	 * reads what becomes of it. */
	if (n == 0 && mode == STORE_CREATE)
		(void)fchmod(fd, 0600);
	(void)close(fd);
	if (n == 0)
		return mode == STORE_CREATE ? SC_OK
			: err_set(err, SC_EINVAL, "%s: is empty, not a store", path);
	return check_header(path, header, (size_t)n, err);
}

static int check_path(const char *path, enum store_mode mode, bool *ret_made, struct err *err)
{
	struct stat file;

	if (stat(path, &file) < 0) {
		int rc;

		if (errno != ENOENT)
			return err_set(err, system_code(errno), "%s: %s", path, strerror(errno));
		if (mode != STORE_CREATE)
			return err_set(err, SC_EINVAL, "%s: no such file", path);
		rc = create_file(path, err);
		*ret_made = rc == SC_OK;
		return rc;
	}
	if (S_ISDIR(file.st_mode))
		return err_set(err, SC_EINVAL, "%s: is a directory, not a store", path);
	if (!S_ISREG(file.st_mode))
		return err_set(err, SC_EINVAL, "%s: is not a regular file", path);
	return file_is_open(&(struct open_file){file.st_dev, file.st_ino, NULL})
		       ? SC_OK
		       : check_file(path, mode, err);
}

/* Whether there is a write-ahead log with something in it: a writer's, running or killed. */
static bool has_log(const char *path)
{
	struct buf name;
	struct stat file;
	bool yes = true;

	buf_init(&name, PATH_BYTES);
	if (buf_addf(&name, "%s-wal", path) == SC_OK)
		yes = stat((const char *)name.data, &file) == 0 && file.st_size > 0;
	buf_done(&name);
	return yes;
}

/* A store on a medium or in a directory that cannot be written has no room for the log's index;
 * nobody can be writing it either, so it may be read as it lies. */
static int open_immutable(struct store *st, struct err *err)
{
	struct buf uri;
	int rc;

	buf_init(&uri, PATH_BYTES);
	rc = buf_add_str(&uri, "file:");
	for (const char *p = st->path; *p && !rc; p++)
		rc = strchr("?#%", *p) ? buf_addf(&uri, "%%%02x", (unsigned char)*p)
				       : buf_add(&uri, p, 1);
	if (!rc)
		rc = buf_add(&uri, "?immutable=1", sizeof("?immutable=1"));
	if (rc) {
		buf_done(&uri);
		return err_set(err, rc, "%s: no memory", st->path);
	}
	(void)sqlite3_close(st->db);
	st->db = NULL;
	rc = sqlite3_open_v2((const char *)uri.data, &st->db,
			     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	buf_done(&uri);
	return rc == SQLITE_OK ? SC_OK : db_fail(st, err);
}

/* Before the first open: counting every allocation takes a lock that threads would meet at. */
static void configure_once(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int open_database(struct store *st, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, configure_once);
	if (sqlite3_open_v2(st->path, &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return db_fail(st, err);
	(void)sqlite3_extended_result_codes(st->db, 1);
	(void)sqlite3_busy_timeout(st->db, BUSY_MS);
	return SC_OK;
}

/* Reading takes a writable handle that is told not to write: a strictly read-only one would leave
 * an empty log and its index behind. Where a log is another's, it stays as it is. */
static int open_for_reading(struct store *st, struct err *err)
{
	bool log = has_log(st->path);
	int64_t pages;
	int rc = db_integer(st, "SELECT count(*) FROM sqlite_schema", &pages, err);
	int code = sqlite3_errcode(st->db) & 0xff;

	if (rc && !log && (code == SQLITE_CANTOPEN || code == SQLITE_READONLY))
		rc = open_immutable(st, err);
	if (!rc && log)
		(void)sqlite3_db_config(st->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return rc ? rc : db_exec(st, "PRAGMA query_only = ON", err);
}

static int open_for_writing(struct store *st, struct err *err)
{
	/* 8 KiB pages took the rows of an exchange best; it counts for new files only. */
	int rc = db_exec(st, "PRAGMA page_size = 8192; PRAGMA synchronous = NORMAL", err);

	return rc ? rc : schema_prepare(st, err);
}

/* *ret_old: it is older, and only writing makes it what a reader knows. */
static int check_version(struct store *st, bool *ret_old, struct err *err)
{
	int64_t id, version;
	int rc = db_integer(st, "PRAGMA application_id", &id, err);

	if (!rc)
		rc = db_integer(st, "PRAGMA user_version", &version, err);
	if (rc)
		return rc;
	if (id == 0 && version == 0 && st->mode == STORE_CREATE)
		return SC_OK;
	if (id != SCHEMA_APPLICATION_ID)
		return err_set(err, SC_EINVAL, "%s: is not a store", st->path);
	if (version > schema_version())
		return err_set(err, SC_EINVAL,
			       "%s: has schema version %lld, this program knows versions up to %d",
			       st->path, (long long)version, schema_version());
	*ret_old = version < schema_version() && st->mode == STORE_READ;
	return SC_OK;
}

/* SQLite gives meanings of its own to ":memory:" and, where it was built so (Debian's is), to
 * "file:NAME?mode=ro". */
static char *plain_path(const char *path)
{
	bool special = path[0] == ':' || strncmp(path, "file:", 5) == 0;
	char *copy = NULL;

	return asprintf(&copy, "%s%s", special ? "./" : "", path) < 0 ? NULL : copy;
}

static int open_once(const char *path, enum store_mode mode, struct store **ret, bool *ret_old,
		     struct err *err)
{
	struct store *st = NULL;
	bool made = false;
	int rc = check_path(path, mode, &made, err);

	if (rc)
		return rc;
	st = calloc(1, sizeof(*st));
	if (st)
		st->path = plain_path(path);
	if (!st || !st->path) {
		rc = err_set(err, SC_ENOMEM, "%s: no memory", path);
		goto out;
	}
	st->mode = mode;
	rc = open_database(st, err);
	if (!rc)
		rc = note_open(st, err);
	if (!rc && mode == STORE_READ)
		rc = open_for_reading(st, err);
	if (!rc)
		rc = check_version(st, ret_old, err);
	if (!rc && mode != STORE_READ)
		rc = open_for_writing(st, err);
	if (rc)
		goto out;
	*ret = st; /* moved */
	st = NULL;
out:
	store_close(st);
	if (rc && made)
		(void)unlink(path);
	return rc;
}

int store_open(const char *path, enum store_mode mode, struct store **ret, struct err *err)
{
	struct store *st = NULL;
	struct err why;
	bool old = false;
	int rc = open_once(path, mode, &st, &old, err);

	if (!rc && old) {
		store_close(st);
		rc = open_once(path, STORE_UPDATE, &st, &old, &why);
		if (rc)
			return err_set(err, rc, "%s (it is of an older program's schema, and must"
				       " be migrated before it is read)", why.text);
		store_close(st);
		rc = open_once(path, mode, &st, &old, err);
	}
	if (!rc)
		*ret = st; /* moved */
	return rc;
}

void store_close(struct store *st)
{
	if (!st)
		return;
	db_rollback(st);
	body_close(st);
	/* All statements belong to sinks and sources, which are freed before. */
	(void)sqlite3_close_v2(st->db);
	note_closed(st);
	/* While another handle is open, it stays so to the end of the process. */
	if (st->lock_fd > 0 && !file_is_open(&st->file))
		(void)close(st->lock_fd);
	free(st->path);
	free(st);
}

void store_remove(const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char *name = NULL;

		if (asprintf(&name, "%s%s", path, suffixes[i]) < 0)
			return;
		(void)unlink(name);
		free(name);
	}
}
