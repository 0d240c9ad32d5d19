/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping a store in hand: what is old goes, several become one, room is given back. Each refuses
 * to work on a store that another program has open: a capture that runs remembers which bodies it
 * has written, and would name one that is gone. */
#ifndef STORE_KEEP_H
#define STORE_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "store/store.h"

/* Nobody else has the store open, and nobody opens it until store_release(). SC_EIO, at once, with
 * a line, when somebody has. A program that is killed in between leaves the store as sound as any
 * crash does. */
int store_claim(struct store *st, struct err *err);
int store_release(struct store *st, struct err *err);

struct store_pruned {
	uint64_t exchanges, results, differences, bodies;
	uint64_t body_bytes;
};
/* Deletes the exchanges recorded before that time, their results and differences, and the bodies
 * that nothing names any more, in bounded transactions. The rows of captures and replays, and so
 * their ledgers, stay. The store is claimed. SC_ECLOSED: stopped (store_stop_when()) between two
 * transactions; *ret says what is gone, as it does on every failure. */
int store_prune(struct store *st, int64_t before_us, struct store_pruned *ret, struct err *err);
/* What that would delete; a read-only store will do. */
int store_prune_count(struct store *st, int64_t before_us, struct store_pruned *ret,
		      struct err *err);

struct store_merged {
	uint64_t captures, exchanges, replays, results, differences, bodies;
};
/* Appends everything of `in` to `out` with new ids: connections of different stores stay different
 * ones, and equal bodies become one. `in` may be read-only, and is seen as it is at the start. On
 * failure `out` is half of something: to be thrown away. SC_ECLOSED: stopped. */
int store_merge(struct store *out, struct store *in, struct store_merged *ret, struct err *err);
/* Once, after the last. */
int store_merge_end(struct store *out, struct err *err);

struct store_room {
	uint64_t before, after; /* bytes of the file */
};
/* Gives the room of deleted rows back to the file system. In full: all of it, by writing the store
 * anew, which needs as much room again for a while; afterwards it can be done in part: what lies
 * free moves to the end and is cut off there, in bounded transactions. SC_EINVAL: in part, and it
 * was never done in full. The store is claimed. SC_ECLOSED: stopped; nothing but room is lost. */
int store_vacuum(struct store *st, bool in_part, struct store_room *ret, struct err *err);
/* SC_EINVAL where that could not be done in part. Changes nothing; a read-only store will do. */
int store_vacuum_check(struct store *st, struct err *err);

#endif
