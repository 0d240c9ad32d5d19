/* SPDX-License-Identifier: Apache-2.0 */
/* The order of requests before they go out: one lane for each recorded connection that has requests
 * waiting or a slot bound to it. Knows slots only as numbers. */
#ifndef REPLAY_LANES_H
#define REPLAY_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "replay/shot.h"

#define LANE_NO_SLOT UINT32_MAX

struct lane {
	uint64_t key;
	struct lane *hash_next;
	struct lane *wait_next;
	struct shot *first, *last; /* linked by node.next */
	uint32_t slot;		   /* bound to it, or LANE_NO_SLOT */
	bool waiting;		   /* in the list for a slot */
};

struct lanes;

struct lanes *lanes_new(void);	   /* NULL: no memory */
void lanes_free(struct lanes *ls); /* and every shot inside */

/* The lane of a recorded connection; made when there is none. NULL: no memory. */
struct lane *lanes_get(struct lanes *ls, uint64_t key);

/* Shots are owned by the lane while inside. */
void lane_push(struct lanes *ls, struct lane *l, struct shot *shot);
struct shot *lane_pop(struct lanes *ls, struct lane *l); /* NULL: empty */

/* Lanes that wait for a slot, first come first served. */
void lanes_wait(struct lanes *ls, struct lane *l);
struct lane *lanes_next_waiting(struct lanes *ls); /* NULL: none */

/* The lane that a slot goes on with: its own (NULL: it has none), unless one that waits has
 * something that was due before. Where there are fewer connections than lanes, none is left out
 * that way. */
struct lane *lanes_go_on(struct lanes *ls, struct lane *own, uint32_t slot);

/* Takes the slot off it, and ends a lane that nothing is in. */
void lanes_unbind(struct lanes *ls, struct lane *l);

uint64_t lanes_queued(const struct lanes *ls); /* shots inside */

/* Throws away what is inside every lane; returns how many shots that were. Bound lanes stay. */
uint64_t lanes_clear(struct lanes *ls);

#endif
