/* SPDX-License-Identifier: Apache-2.0 */
/* What production answered and what the targets answered to the same request, put together again:
 * into a store, and compared. A thread of its own behind bounded queues; what they have no room for
 * is counted and costs nobody anything.
 *
 *     capture --pairs--> tee <--results-- each target
 */
#ifndef CLI_MIRROR_TEE_H
#define CLI_MIRROR_TEE_H

#include <pthread.h>
#include <stdatomic.h>

#include "mirror_target.h"
#include "replay/tally.h"
#include "store/store.h"

struct tee_options {
	const char *path; /* of the store; NULL: nothing is kept */
	bool compare;
	const char *source;  /* for capture.source */
	const char *options; /* JSON, for capture.options and replay.options */
	struct mirror_target *targets; /* borrowed, as all pointers here */
	unsigned n_targets;
	uint64_t queue_bytes; /* of pairs, of answers, and of what waits for the rest of it */
	bool wait; /* from a file: a full queue holds the capture up */
	const struct chain *answers; /* redacts what targets answered; the thread's alone */
};

struct tee;

/* Opens the store, with a row for the capture and one for each target. SC_EINVAL, SC_EIO,
 * SC_ENOMEM. */
int tee_new(const struct tee_options *o, struct tee **ret, struct err *err);
/* The thread; the targets have their queues by then. SC_EIO. */
int tee_start(struct tee *t, struct err *err);

/* The capture's: a finished pair, moved; ex->id as it was when it was offered, ex->copies the
 * number of targets that got it. */
void tee_put(struct tee *t, struct exchange *ex);
void tee_publish(struct tee *t);

/* After the targets have stopped: takes in what is left, and ends the rows with these texts (JSON).
 * The thread's error, if there was one. */
int tee_stop(struct tee *t, const char *ledger, struct err *err);
void tee_free(struct tee *t); /* NULL is fine */

/* Pairs that were kept, pairs that found the queue full or the store broken, and answers without
 * their pair. */
struct tee_counts {
	uint64_t stored, dropped, unpaired;
};
struct tee_counts tee_counts(const struct tee *t);

/* The comparison so far: by the capture's thread, at any time. Append. */
int tee_text(struct tee *t, unsigned lines, struct buf *out);
int tee_json(struct tee *t, struct buf *out); /* "null" where nothing is compared */

#endif
