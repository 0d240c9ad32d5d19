/* SPDX-License-Identifier: Apache-2.0 */
/* A sink of several stores, and the thread that makes and finishes them. Never writes to a file that
 * it did not make. */
#include "rotate.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "core/rng.h"
#include "fileset.h"
#include "store/store.h"
#include "thread.h"

#define BYTES_MIN MIB
#define US_MIN 1000000ll

/* The case of the unit tells the two apart: 1M is a mebibyte, 1m a minute. */
static int set_rotate(void *to, const char *value, struct err *err)
{
	struct rotate_args *a = to;
	const char *unit = value + strspn(value, "0123456789.");
	struct rotate_args v = {.keep = a->keep};
	int rc;

	if (unit == value || !*unit || !strchr("KMGTBusmhd", *unit))
		return err_set(err, SC_EINVAL,
			       "'%s': expected a size (100M, 2G) or a time (10m, 1h)", value);
	rc = isupper((unsigned char)*unit) ? opt_size(&v.bytes, value, err)
					   : opt_duration(&v.us, value, err);
	if (!rc && v.us == 0 && v.bytes < BYTES_MIN)
		rc = err_set(err, SC_EINVAL, "'%s': expected 1M or more", value);
	if (!rc && v.bytes == 0 && v.us < US_MIN)
		rc = err_set(err, SC_EINVAL, "'%s': expected 1s or more", value);
	if (!rc)
		*a = v;
	return rc;
}

const struct opt rotate_rows[] = {
	{"Files", 0, "rotate", "SIZE|TIME",
	 "begin another store when one holds so much (100M, 2G) or is so old (10m, 1h); -o shadow.db "
	 "then names a set: shadow-00001-" FILESET_TIME ".db and so on, a number and when it began",
	 set_rotate, 0},
	{NULL, 0, "keep", "N", "of the set's files only the latest N (default: all)", opt_count,
	 offsetof(struct rotate_args, keep)},
	{0},
};

/* One store of the set. */
struct part {
	char *path;
	struct store *store;
	struct sink *sink;
	int64_t capture_id;
	uint64_t number;
	uint64_t put;
	bool failed; /* it ends as it is */
};

struct rotation {
	struct sink sink; /* first */
	char *source, *settings; /* of each capture row */
	struct fileset files;
	uint64_t bytes, keep;
	bool live, quiet;
	bool named; /* the settings have their "set"; before the first file, as they are read then */

	/* The writer's. */
	struct part *current; /* NULL, not live: none since the last mark */
	bool due;
	atomic_bool owes;

	/* The other thread's, and the caller's before it was started and after it ended. */
	uint64_t number;         /* of the latest file */
	uint64_t unfinished;     /* of the first one that is still open */
	struct counters before;  /* the account of all finished files */

	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	bool wanted;             /* a next part */
	int64_t wanted_us;       /* its beginning */
	struct part *next;       /* made, and not yet taken */
	struct part *old;        /* to be finished */
	struct counters old_seen;
	int64_t old_us;
	uint64_t old_kept;       /* of its exchanges, as far as is known */
	uint64_t stored;         /* by finished parts */
	bool closing;
	int rc;                  /* the first error, and its line */
	struct err err;
};

static void part_close(struct part *p)
{
	sink_free(p->sink);
	store_close(p->store);
	p->sink = NULL;
	p->store = NULL;
}

static void part_free(struct part *p)
{
	if (!p)
		return;
	part_close(p);
	free(p->path);
	free(p);
}

/* One that nobody has used. Closed first: SQLite leaves the log of a file that is gone. */
static void part_discard(struct part *p)
{
	if (!p)
		return;
	part_close(p);
	(void)unlink(p->path);
	part_free(p);
}

/* A person knows the file by the name it would have had. */
static int name_error(const char *hidden, const char *path, int rc, struct err *err)
{
	struct err said = *err;
	size_t n = strlen(hidden);

	return strncmp(said.text, hidden, n) == 0 ? err_set(err, rc, "%s%s", path, said.text + n)
						  : rc;
}

/* Under a hidden name until it is a store: no glob finds half of one, and whoever is killed in
 * between leaves none. A store that is closed is one file, which can be renamed. */
static int make_store(const char *hidden, const char *path, struct err *err)
{
	struct store *st;
	int rc = store_open(hidden, STORE_CREATE, &st, err);

	if (rc)
		return name_error(hidden, path, rc, err);
	store_close(st);
	rc = renameat2(AT_FDCWD, hidden, AT_FDCWD, path, RENAME_NOREPLACE);
	if (rc && errno == EINVAL && access(path, F_OK)) /* a file system that cannot do that */
		rc = rename(hidden, path);
	if (!rc)
		return SC_OK;
	rc = err_set(err, SC_EIO, "%s: cannot be made: %s", path, strerror(errno));
	(void)unlink(hidden);
	return rc;
}

static uint64_t random_name(void)
{
	uint64_t n;

	return getrandom(&n, sizeof(n), 0) == sizeof(n) ? n : (uint64_t)clock_us();
}

/* From what is the same when the run is made again. */
static uint64_t name_of(const struct rotation *r, const struct exchange *first)
{
	const uint64_t begin[] = {
		r->number, first ? (uint64_t)first->ts_us : 0, first ? first->connection : 0,
	};
	uint64_t name = hash_bytes(r->source, strlen(r->source), 0);

	name = hash_bytes(r->settings, strlen(r->settings), name);
	return hash_bytes(begin, sizeof(begin), name);
}

/* Before the first file; `first` is NULL where nothing came. */
static int name_run(struct rotation *r, const struct exchange *first, struct err *err)
{
	size_t n = strlen(r->settings);
	char *named;

	if (r->named)
		return SC_OK;
	assert(n >= 2 && r->settings[n - 1] == '}');
	if (asprintf(&named, "%.*s%s\"set\":\"%016" PRIx64 "\"}", (int)(n - 1), r->settings,
		     n > 2 ? "," : "", r->live ? random_name() : name_of(r, first)) < 0)
		return err_set(err, SC_ENOMEM, "out of memory");
	free(r->settings);
	r->settings = named; /* moved */
	r->named = true;
	return SC_OK;
}

static int begin_capture(const struct rotation *r, struct part *p, int64_t us, struct err *err)
{
	int rc = store_open(p->path, STORE_UPDATE, &p->store, err);

	if (!rc)
		rc = store_capture_new(p->store, us, r->source, r->settings, &p->capture_id,
				       &p->sink, err);
	return rc;
}

static void announce(const struct rotation *r, const struct part *p)
{
	if (r->quiet)
		return;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K"); /* where the progress line stood */
	say("now into %s", p->path);
}

static int part_new(struct rotation *r, int64_t name_us, struct part **ret, struct err *err)
{
	struct part *p = calloc(1, sizeof(*p));
	char *hidden = fileset_path(&r->files, r->number + 1, name_us, true);
	int rc = SC_ENOMEM;

	if (p)
		p->path = fileset_path(&r->files, r->number + 1, name_us, false);
	if (p && p->path && hidden)
		rc = make_store(hidden, p->path, err);
	else
		(void)err_set(err, rc, "out of memory");
	free(hidden);
	if (rc) {
		part_free(p);
		return rc;
	}
	p->number = ++r->number;
	rc = begin_capture(r, p, clock_us(), err);
	if (rc) {
		part_discard(p);
		return rc;
	}
	if (!r->unfinished)
		r->unfinished = p->number;
	*ret = p; /* moved */
	return SC_OK;
}

static int delete_oldest(const struct rotation *r, struct err *err)
{
	return r->keep ? fileset_delete(&r->files, r->keep, r->unfinished, r->quiet, err) : SC_OK;
}

static int write_ledger(struct part *p, const struct counters *c, int64_t now_us, struct err *err)
{
	const char *group;
	struct buf json;
	int rc;

	if (counters_check(c, &group))
		say("the account of %s does not add up; please report this", group);
	buf_init(&json, 64 * KIB);
	rc = counters_json(c, &json);
	if (!rc)
		rc = buf_add(&json, "", 1);
	if (rc)
		rc = err_set(err, rc, "out of memory");
	else
		rc = store_capture_end(p->store, p->capture_id, now_us,
				       (const char *)json.data, err);
	buf_done(&json);
	return rc;
}

/* All of a file that is full. */
static int finish_part(struct rotation *r, struct part *p, struct counters *seen, int64_t now_us,
		       uint64_t stored_before, uint64_t *ret_kept, struct err *err)
{
	struct counters own;
	int rc = sink_finish(p->sink, now_us, err);

	*ret_kept = p->sink->ops->kept(p->sink);
	counter_set(seen, REQUESTS_STORED, stored_before + *ret_kept);
	counters_part(&r->before, seen, &own);
	r->before = *seen;
	if (!rc)
		rc = write_ledger(p, &own, now_us, err);
	r->unfinished = p->number + 1;
	part_free(p);
	return rc ? rc : delete_oldest(r, err);
}

/* A mistake of the person's would have been found at the start. */
static void keep_error(struct rotation *r, int rc, const struct err *err)
{
	if (!rc || r->rc)
		return;
	r->rc = SC_EIO;
	r->err = *err;
}

static void finish_old(struct rotation *r)
{
	struct part *p = r->old;
	const struct part *taken = r->current;
	struct counters seen = r->old_seen;
	int64_t us = r->old_us;
	uint64_t stored = r->stored, kept;
	struct err err = {""};
	int rc;

	pthread_mutex_unlock(&r->lock);
	if (taken) /* and nobody else ends it while there is an old one */
		announce(r, taken);
	rc = finish_part(r, p, &seen, us, stored, &kept, &err);
	pthread_mutex_lock(&r->lock);
	keep_error(r, rc, &err);
	r->stored += kept;
	r->old_kept = 0;
	r->old = NULL;
}

static void make_next(struct rotation *r)
{
	int64_t us = r->wanted_us;
	struct part *p = NULL;
	struct err err = {""};
	int rc;

	pthread_mutex_unlock(&r->lock);
	rc = part_new(r, us, &p, &err);
	if (!rc && !r->live)
		announce(r, p);
	if (!rc)
		rc = delete_oldest(r, &err);
	pthread_mutex_lock(&r->lock);
	keep_error(r, rc, &err);
	r->next = p;
	r->wanted = false;
}

static void *work(void *arg)
{
	struct rotation *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		if (r->old)
			finish_old(r);
		else if (r->closing)
			break;
		else if (r->wanted && !r->rc)
			make_next(r);
		else {
			pthread_cond_wait(&r->changed, &r->lock);
			continue;
		}
		pthread_cond_broadcast(&r->changed);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* An error of the other thread, or SC_OK. Under the lock. */
static int their_error(const struct rotation *r, struct err *err)
{
	if (r->rc)
		*err = r->err;
	return r->rc;
}

static void want_next(struct rotation *r, int64_t us)
{
	r->wanted = true;
	r->wanted_us = us;
	pthread_cond_broadcast(&r->changed);
}

/* Hands the current part over to be finished. Under the lock. */
static void give_current(struct rotation *r, const struct counters *seen, int64_t now_us)
{
	assert(!r->old);
	r->old = r->current; /* moved */
	r->old_seen = *seen;
	r->old_us = now_us;
	r->old_kept = r->old->sink->ops->kept(r->old->sink);
	r->current = r->next; /* moved; not live it is NULL */
	r->next = NULL;
	r->due = false;
	pthread_cond_broadcast(&r->changed);
}

static int turn(struct rotation *r, const struct counters *seen, int64_t now_us, struct err *err)
{
	int rc;

	pthread_mutex_lock(&r->lock);
	while (!r->live && r->old)
		pthread_cond_wait(&r->changed, &r->lock);
	rc = their_error(r, err);
	/* The other thread finishes before it makes: where there is a next one, none is old. */
	if (!rc && (!r->live || r->next))
		give_current(r, seen, now_us);
	else if (!rc && !r->wanted)
		want_next(r, now_us);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int read_size(void *arg, int n, const struct value *values)
{
	char text[32];

	if (n != 1 || values[0].text.len >= sizeof(text))
		return SC_EINVAL;
	memcpy(text, values[0].text.p, values[0].text.len);
	text[values[0].text.len] = '\0';
	*(uint64_t *)arg = strtoull(text, NULL, 10);
	return SC_OK;
}

/* What the store takes, whether it is in the file already, in its log, or in memory: the same at
 * the same exchange in every run, which the sizes of the files are not. */
static int is_full(const struct rotation *r, bool *ret, struct err *err)
{
	uint64_t size = 0;
	struct row_reader reader = {NULL, read_size, &size};
	int rc = store_select(r->current->store,
			      "SELECT page_count * page_size"
			      " FROM pragma_page_count, pragma_page_size",
			      &reader, err);

	if (!rc)
		*ret = size >= r->bytes;
	return rc ? SC_EIO : SC_OK;
}

int rotate_mark(struct sink *set, bool due, const struct counters *seen, int64_t now_us,
		struct err *err)
{
	struct rotation *r = (struct rotation *)set;
	int rc = SC_OK;

	if (!r->current || !r->current->put || r->current->failed)
		return SC_OK;
	r->due = r->due || due;
	if (!r->due && r->bytes)
		rc = is_full(r, &r->due, err);
	if (!rc && r->due)
		rc = turn(r, seen, now_us, err);
	atomic_store_explicit(&r->owes, r->due, memory_order_relaxed);
	return rc;
}

bool rotate_owes(const struct sink *set)
{
	return atomic_load_explicit(&((const struct rotation *)set)->owes, memory_order_relaxed);
}

/* From a capture file: the first exchange of a part has come. */
static int await_next(struct rotation *r, const struct exchange *ex, struct err *err)
{
	int rc = name_run(r, ex, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&r->lock);
	want_next(r, ex->ts_us);
	while (!r->next && !r->rc)
		pthread_cond_wait(&r->changed, &r->lock);
	r->current = r->next; /* moved */
	r->next = NULL;
	rc = r->current ? SC_OK : their_error(r, err);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int rotate_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct rotation *r = (struct rotation *)s;
	int rc = r->current ? SC_OK : await_next(r, ex, err);

	if (rc)
		return rc;
	rc = sink_put(r->current->sink, ex, err);
	if (rc)
		r->current->failed = true;
	else
		r->current->put++;
	return rc;
}

static int rotate_tick(struct sink *s, int64_t now_us, struct err *err)
{
	struct rotation *r = (struct rotation *)s;
	int rc = r->current ? sink_tick(r->current->sink, now_us, err) : SC_OK;

	if (rc) {
		r->current->failed = true;
		return rc;
	}
	pthread_mutex_lock(&r->lock);
	rc = their_error(r, err);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static void stop_thread(struct rotation *r)
{
	if (!r->started)
		return;
	pthread_mutex_lock(&r->lock);
	r->closing = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	r->started = false;
}

static int finish_current(struct rotation *r, int64_t now_us, struct err *err)
{
	int rc = r->current && !r->current->failed ? sink_finish(r->current->sink, now_us, err)
						    : SC_OK;

	if (rc)
		r->current->failed = true;
	return rc;
}

/* Whatever has gone wrong with the others, the last file is finished as well as it can be. */
static int rotate_finish(struct sink *s, int64_t now_us, struct err *err)
{
	struct rotation *r = (struct rotation *)s;
	struct err last;
	int rc, last_rc;

	stop_thread(r);
	part_discard(r->next);
	r->next = NULL;
	rc = their_error(r, err);
	if (!rc && !r->current) /* nothing came, and that is an account, too */
		rc = name_run(r, NULL, err) || part_new(r, now_us, &r->current, err) ? SC_EIO
										    : SC_OK;
	last_rc = finish_current(r, now_us, &last);
	if (last_rc && !rc) {
		*err = last;
		rc = last_rc;
	}
	return rc;
}

static uint64_t rotate_kept(const struct sink *s)
{
	struct rotation *r = (struct rotation *)(uintptr_t)s;
	uint64_t kept;

	pthread_mutex_lock(&r->lock);
	kept = r->stored + r->old_kept;
	pthread_mutex_unlock(&r->lock);
	return kept + (r->current ? r->current->sink->ops->kept(r->current->sink) : 0);
}

int rotate_end(struct sink *set, const struct counters *whole, int64_t now_us, struct err *err)
{
	struct rotation *r = (struct rotation *)set;
	struct counters own;

	if (!r->current || r->current->failed)
		return SC_OK; /* said before */
	counters_part(&r->before, whole, &own);
	return write_ledger(r->current, &own, now_us, err);
}

static void rotate_free(struct sink *s)
{
	struct rotation *r = (struct rotation *)s;

	stop_thread(r);
	part_free(r->current);
	part_free(r->next);
	part_free(r->old);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r->source);
	free(r->settings);
	fileset_done(&r->files);
	free(r);
}

static const struct sink_ops rotate_ops = {
	.put = rotate_put,
	.tick = rotate_tick,
	.finish = rotate_finish,
	.kept = rotate_kept,
	.free = rotate_free,
};

static int set_up(struct rotation *r, const struct rotate_options *o, struct err *err)
{
	r->bytes = o->bytes;
	r->keep = o->keep;
	r->live = o->live;
	r->quiet = o->quiet;
	r->source = strdup(o->source);
	r->settings = strdup(o->settings);
	if (!r->source || !r->settings || fileset_init(&r->files, o->output))
		return err_set(err, SC_ENOMEM, "out of memory");
	return SC_OK;
}

/* What would otherwise be found out when the first file is made. */
static int check_place(struct rotation *r, const char *output, struct err *err)
{
	const char *folder = *r->files.prefix ? r->files.prefix : ".";
	struct stat file;
	int rc;

	if (!*r->files.stem || (stat(output, &file) == 0 && S_ISDIR(file.st_mode)))
		return err_set(err, SC_EINVAL, "%s: is a directory, not a store", output);
	if (access(folder, R_OK | W_OK | X_OK))
		return err_set(err, SC_EINVAL, "%s: cannot be made: %s", r->files.pattern,
			       strerror(errno));
	rc = fileset_lock(&r->files, output, err);
	if (!rc && fileset_last(&r->files, &r->number, err)) /* a person's folder */
		rc = SC_EINVAL;
	return rc;
}

static int begin_first(struct rotation *r, int64_t now_us, struct err *err)
{
	int rc = name_run(r, NULL, err);

	if (!rc)
		rc = part_new(r, now_us, &r->current, err);
	if (rc)
		return rc;
	announce(r, r->current);
	return delete_oldest(r, err);
}

int rotate_new(const struct rotate_options *o, struct sink **ret, struct err *err)
{
	struct rotation *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "out of memory");
	r->sink.ops = &rotate_ops;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	rc = set_up(r, o, err);
	if (!rc)
		rc = check_place(r, o->output, err);
	if (!rc && o->live)
		rc = begin_first(r, o->now_us, err);
	if (!rc)
		rc = thread_start(&r->thread, work, r, err);
	r->started = rc == SC_OK;
	if (rc) {
		rotate_free(&r->sink);
		return rc;
	}
	*ret = &r->sink; /* moved */
	return SC_OK;
}

const char *rotate_pattern(const struct sink *set)
{
	return ((const struct rotation *)set)->files.pattern;
}
