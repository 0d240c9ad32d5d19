/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of one text, gathered in any order and made in one pass. Overlapping ones become one, so
 * that whatever two rules want gone is gone. What they point to is borrowed. */
#ifndef CORE_EDITS_H
#define CORE_EDITS_H

#include "core/buf.h"
#include "core/message.h"

struct edits {
	struct edit *list;
	size_t n, room;
};

/* Keeps its memory for the next text: it holds places, no bytes. */
static inline void edits_clear(struct edits *e)
{
	e->n = 0;
}
void edits_done(struct edits *e);

/* SC_EFULL over LIMIT_EDITS, SC_ENOMEM. */
int edits_add(struct edits *e, size_t off, size_t del, struct span ins);

/* Puts them in order and merges what overlaps: the one that begins first (of two, the longer one)
 * says what is put there. */
void edits_settle(struct edits *e);

/* Takes over those of `from`, settled like `e`, but for what `e` changes already. SC_ENOMEM. */
int edits_merge(struct edits *e, const struct edits *from);

/* Appends the changed text to `out`, which is wiped when it grows. Only when settled. */
int edits_apply(const struct edits *e, struct span text, struct buf *out);

#endif
