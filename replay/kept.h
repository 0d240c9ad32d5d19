/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of one body that arrives: its beginning, up to a ceiling of its own and as far as
 * there is room among all others. Small bodies take no room, so that most cost nothing here. */
#ifndef REPLAY_KEPT_H
#define REPLAY_KEPT_H

#include <stdbool.h>

#include "core/buf.h"
#include "replay/room.h"

#define KEPT_FREE (64u * KIB) /* of each body, without asking for room */

struct kept {
	struct buf buf;
	struct body_room *room; /* borrowed; NULL: there is no end of it */
	size_t held;		/* taken of it: what buf has beyond KEPT_FREE, or more */
	bool cut;		/* not all of the body is here */
};

void kept_init(struct kept *k, size_t max, struct body_room *room);
void kept_done(struct kept *k);
/* As kept_clear(), and gives memory and room back. */
void kept_drop(struct kept *k);

/* For the next body. */
static inline void kept_clear(struct kept *k)
{
	if (k->held)
		kept_drop(k);
	buf_clear(&k->buf);
	k->cut = false;
}

/* So many bytes will come, as far as that is known. SC_ENOMEM. */
int kept_expect(struct kept *k, size_t len);
/* Keeps what there is room for; once something was cut, no more. SC_ENOMEM. */
int kept_add(struct kept *k, const void *p, size_t len);
/* Moves the bytes out, and gives their room back: they are somebody else's now. */
void kept_move(struct kept *k, struct buf *ret);

#endif
