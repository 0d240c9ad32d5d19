/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the bodies of all answers under way share, in any number of engines and threads. What
 * finds none is not kept. */
#ifndef REPLAY_ROOM_H
#define REPLAY_ROOM_H

#include <stdatomic.h>
#include <stddef.h>

#include "core/limits.h"

struct body_room {
	_Atomic size_t left;
};

static inline void body_room_init(struct body_room *r)
{
	atomic_init(&r->left, LIMIT_ANSWERS_BYTES);
}

#endif
