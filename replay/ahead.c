/* SPDX-License-Identifier: Apache-2.0 */
/* What is to come: shots taken before they are due, so that the connections they will want are open
 * by then. Sends nothing. */
#include "engine.h"

#define MOST_HELD LIMIT_READ_AHEAD
#define AHEAD (MOST_HELD / 2)
#define NEAR 64u /* in a closed loop: enough, and few enough to stay in the cache */
#define FILL_AT_ONCE 64u
#define HUNGRY_NS (100 * NS_PER_US) /* as STARVED_NS, where only the feed is waited for */
#define WARM_AHEAD_NS NS_PER_S	/* before its request is due a connection is opened */
#define WARM_UNORDERED 64u	/* opened before the start where any connection serves */

static void push(struct ahead *a, struct shot *shot)
{
	shot->node.next = NULL;
	if (a->last)
		a->last->node.next = &shot->node;
	else
		a->first = shot;
	a->last = shot;
	if (!a->cold)
		a->cold = shot;
	a->n++;
}

static struct shot *after(const struct shot *shot)
{
	return (struct shot *)(void *)shot->node.next;
}

struct shot *ahead_pop(struct engine *e)
{
	struct ahead *a = &e->ahead;
	struct shot *shot = a->first;

	a->first = after(shot);
	if (!a->first)
		a->last = NULL;
	if (a->cold == shot)
		a->cold = a->first;
	a->n--;
	return shot;
}

uint64_t ahead_clear(struct engine *e)
{
	uint64_t n = e->ahead.n;

	while (e->ahead.first)
		loop_shot_over(&e->loop, ahead_pop(e));
	return n;
}

bool ahead_is_filled(const struct engine *e)
{
	return e->loop.feed_ended || e->ahead.n >= AHEAD;
}

static bool wants_more(const struct engine *e)
{
	uint32_t depth = e->loop.begun && e->loop.options->closed_loop ? NEAR : AHEAD;

	return e->ahead.n < depth && e->ahead.n + lanes_queued(e->loop.lanes) < MOST_HELD;
}

static void fill(struct engine *e, int64_t now, uint32_t most)
{
	int64_t again = e->loop.options->closed_loop ? HUNGRY_NS : STARVED_NS;
	struct shot *shot;

	while (wants_more(e) && most-- && loop_take(&e->loop, now, again, &shot))
		push(&e->ahead, shot);
}

void ahead_fill(struct engine *e, int64_t now)
{
	/* While it sends, few at a time: a request may be due in between. */
	fill(e, now, e->loop.begun ? FILL_AT_ONCE : AHEAD);
}

void ahead_fill_one(struct engine *e, int64_t now)
{
	fill(e, now, 1);
}

static void open_for(struct engine *e, struct slot *s)
{
	if (slot_connect(e, s))
		loop_give_up_memory(&e->loop);
}

/* In order each recorded connection has its own. */
static void warm_lane(struct engine *e, const struct shot *shot)
{
	struct lane *l = lanes_get(e->loop.lanes, shot->connection);
	struct slot *s;

	if (!l) {
		loop_give_up_memory(&e->loop);
		return;
	}
	if (l->slot == LANE_NO_SLOT) {
		if (l->waiting)
			return;
		s = slot_new(e);
		s->lane = l;
		l->slot = slot_number(e, s);
		open_for(e, s);
		return;
	}
	s = &e->slots[l->slot];
	if (s->state == SLOT_IDLE && !conn_is_open(&s->conn)) {
		TAILQ_REMOVE(&e->idle, s, link);
		open_for(e, s);
	}
}

static bool is_near(const struct engine *e, const struct shot *shot, int64_t now)
{
	int64_t since = e->loop.begun ? now - e->loop.start_ns : 0;

	return e->loop.options->closed_loop || shot->offset_ns <= since + WARM_AHEAD_NS;
}

static bool may_warm(const struct engine *e)
{
	if (e->n_slots >= e->loop.options->connections)
		return false;
	if (!e->loop.common)
		return true;
	return !e->loop.begun && (e->loop.options->closed_loop || e->n_slots < WARM_UNORDERED);
}

void ahead_warm(struct engine *e, int64_t now)
{
	struct ahead *a = &e->ahead;

	while (!e->loop.rc && a->cold && may_warm(e) && is_near(e, a->cold, now)) {
		if (e->loop.common)
			open_for(e, slot_new(e));
		else
			warm_lane(e, a->cold);
		a->cold = after(a->cold);
	}
}
