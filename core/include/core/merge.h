/* SPDX-License-Identifier: Apache-2.0 */
/* Several sources as one, in the order of time: of the exchanges that stand first in each, the
 * earliest; of equal ones that of the part named first. The order within a part is never changed.
 * Holds one exchange a part, and opens a part when its time has come: hundreds that follow each
 * other cost what one does. */
#ifndef CORE_MERGE_H
#define CORE_MERGE_H

#include <stdint.h>

#include "core/err.h"
#include "core/stage.h"

struct merge_part {
	void *arg;
	/* The part does not begin before, us since 1970, and is not opened before that time has
	 * come; INT64_MIN where it is not known. */
	int64_t begins_us;
	/* Parts of one number that is not 0 are pieces of one recording: there the same connection
	 * has the same number, and keeps one. */
	uint64_t set;
	/* *ret stays the part's own, and is used until close(). An error with its line. */
	int (*open)(void *arg, struct source **ret, struct err *err);
	/* After each open(), at the part's end or at that of the merge, also when open() failed. */
	void (*close)(void *arg);
};

/* `parts` is copied, their `arg` borrowed. An exchange may borrow of its part (its route): it is
 * done with before the next is asked for. Connections of different parts get different numbers but
 * in pieces of one recording, and no exchange has an id. An error of one part ends nothing but the call. NULL: no memory. */
struct source *source_merge_new(const struct merge_part *parts, unsigned n);

#endif
