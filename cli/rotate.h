/* SPDX-License-Identifier: Apache-2.0 */
/* A long capture as a set of stores: when one is large or old enough the next begins, and the
 * oldest go. With -o shadow.db they are shadow-00001-20261122T220000Z.db and so on: a number, and
 * when the file began (live: when it was made; from a capture file: its first request), in UTC. Each
 * is a store of its own, whose ledger accounts for its own time. The options of each one's capture
 * row have a member "set", the same 16 hexadecimal digits in all files of one run: connections that
 * go on from one file to the next have the same numbers there. Live they are random; from a capture
 * file the same input makes the same, and a run behind another into one set still has its own.
 *
 * One run at a time writes a set. Another one is refused, since each would delete and number the
 * other's files.
 *
 * A set is a sink. A file is made and finished (indexes, ledger, deleting the oldest) on a thread
 * of its own. Live, nobody waits for it: until the next file is there the present one grows. */
#ifndef CLI_ROTATE_H
#define CLI_ROTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/limits.h"
#include "core/stage.h"
#include "opt.h"

struct rotate_args {
	uint64_t bytes; /* a file is full; 0: not by its size */
	int64_t us;     /* a file is old; 0: not by its age */
	uint64_t keep;  /* files; 0: all of them */
};

/* Rows for a table whose base is the struct's offset. */
extern const struct opt rotate_rows[];

static inline bool rotate_wanted(const struct rotate_args *a)
{
	return a->bytes || a->us;
}

/* Content between two looks at the size. */
static inline uint64_t rotate_step(const struct rotate_args *a)
{
	return a->bytes ? a->bytes / 64 : MIB;
}

struct rotate_options {
	const char *output; /* of -o; like the next two it is copied */
	const char *source, *settings; /* of each file's capture row, as store_capture_new() has them;
					* the settings are a JSON object */
	uint64_t bytes, keep; /* as above */
	int64_t now_us; /* live: when the first file begins */
	bool live; /* otherwise who writes waits, so that the same input makes the same files */
	bool quiet; /* says nothing about files made and deleted */
};

/* The numbers go on behind the highest that is there, and nothing that is there is written to.
 * Live, the first file is made at once; otherwise with the first exchange. SC_EINVAL with a line:
 * there cannot be files there, or another run writes them; then nothing was made. */
int rotate_new(const struct rotate_options *o, struct sink **ret, struct err *err);

/* All files of the set, for a person: shadow-*.db. Lives as long as the set. */
const char *rotate_pattern(const struct sink *set);

/* The writer: a file may end here, before the next exchange. It does when `due` says so or when it
 * is large enough, but never without an exchange in it. `seen` is the parser's account at this very
 * place between two exchanges. SC_EIO with a line: no file can be made, or the one before could not
 * be finished; the present one goes on taking exchanges all the same. */
int rotate_mark(struct sink *set, bool due, const struct counters *seen, int64_t now_us,
		struct err *err);

/* Any thread: a file should have ended, and did not as the next was not there; more marks are
 * wanted. */
bool rotate_owes(const struct sink *set);

/* Behind sink_finish(): the last file's ledger, which is what `whole` holds beyond those of the
 * files before. */
int rotate_end(struct sink *set, const struct counters *whole, int64_t now_us, struct err *err);

#endif
