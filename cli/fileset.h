/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a set of stores in their folder: what they are called, which number is the last,
 * which of them go, and who may write there. Opens none of them with SQLite, and takes only stores
 * for its own. */
#ifndef CLI_FILESET_H
#define CLI_FILESET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

#define FILESET_TIME "20261122T220000Z"

/* PREFIX STEM -NUMBER-TIME SUFFIX; of "dir/shadow.db" dir/shadow-00001-20261122T220000Z.db. */
struct fileset {
	char *prefix; /* the folder with its slash, or "" */
	char *stem, *suffix;
	char *pattern; /* all of them, for a person: dir/shadow-*.db */
	char *lock;    /* path of the one that is held; NULL: none is */
	int lock_fd;   /* of that */
};

/* From the path that a single store would have. SC_ENOMEM; fileset_done() then, too. */
int fileset_init(struct fileset *f, const char *output);
void fileset_done(struct fileset *f); /* gives a lock back; all zero is fine */

/* One program at a time writes the set: it has dir/.shadow.db.lock, until fileset_done() deletes
 * that. Whoever is killed leaves the file and not the lock. SC_EINVAL with a line: another one has
 * it, or it cannot be there. `output` is that of fileset_init(). */
int fileset_lock(struct fileset *f, const char *output, struct err *err);

/* A file's path or, with `hidden`, the one it has until it is a store; free() it. NULL: no memory.
 * `us` is a time since 1970, and may be any. */
char *fileset_path(const struct fileset *f, uint64_t number, int64_t us, bool hidden);

/* The highest number that anything there bears, 0 for none. SC_EIO. */
int fileset_last(const struct fileset *f, uint64_t *ret, struct err *err);

/* Deletes all stores of the set but the `keep` with the highest numbers, and none from number
 * `unfinished` on. Says so unless `quiet`; also, and always, when one cannot be. SC_EIO. */
int fileset_delete(const struct fileset *f, uint64_t keep, uint64_t unfinished, bool quiet,
		   struct err *err);

#endif
