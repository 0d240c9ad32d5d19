/* SPDX-License-Identifier: Apache-2.0 */
/* What is to come: shots taken before they are due, so that the connections they will want are open
 * by then. Sends nothing. */
#include "engine.h"

#define MOST_HELD LIMIT_READ_AHEAD
#define AHEAD (MOST_HELD / 2)
#define NEAR 64u /* in a closed loop: enough, and few enough to stay in the cache */
#define FILL_AT_ONCE 64u
#define STARVED_NS NS_PER_MS	/* until an empty feed is asked again ... */
#define HUNGRY_NS (100 * NS_PER_US) /* ... where nothing is to be waited for but it ... */
#define WOKEN_NS (100 * NS_PER_MS) /* ... where something else wakes us */
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
		shot_over(e, ahead_pop(e));
	return n;
}

bool ahead_is_filled(const struct engine *e)
{
	return e->feed_ended || e->ahead.n >= AHEAD;
}

static int64_t ask_again(const struct engine *e)
{
	if (e->feed->wake_fd > 0)
		return WOKEN_NS;
	return e->options->closed_loop ? HUNGRY_NS : STARVED_NS;
}

static bool wants_more(const struct engine *e)
{
	uint32_t depth = e->begun && e->options->closed_loop ? NEAR : AHEAD;

	return e->ahead.n < depth && e->ahead.n + lanes_queued(e->lanes) < MOST_HELD;
}

static void fill(struct engine *e, int64_t now, uint32_t most)
{
	if (e->feed_ended || now < e->feed_at_ns)
		return;
	while (wants_more(e) && most--) {
		struct shot *shot;
		int rc = e->feed->next(e->feed, &shot, e->err);

		if (rc == 1) {
			e->stats->taken++;
			push(&e->ahead, shot);
			continue;
		}
		if (rc == SC_EAGAIN) {
			e->feed_at_ns = now + ask_again(e);
			return;
		}
		e->feed_ended = true;
		if (rc < 0)
			give_up(e, rc);
		return;
	}
}

void ahead_fill(struct engine *e, int64_t now)
{
	/* While it sends, few at a time: a request may be due in between. */
	fill(e, now, e->begun ? FILL_AT_ONCE : AHEAD);
}

void ahead_fill_one(struct engine *e, int64_t now)
{
	fill(e, now, 1);
}

static void open_for(struct engine *e, struct slot *s)
{
	if (slot_connect(e, s))
		give_up_memory(e);
}

/* In order each recorded connection has its own. */
static void warm_lane(struct engine *e, const struct shot *shot)
{
	struct lane *l = lanes_get(e->lanes, shot->connection);
	struct slot *s;

	if (!l) {
		give_up_memory(e);
		return;
	}
	if (l->slot == LANE_NO_SLOT) {
		if (l->waiting)
			return;
		s = slot_new(e);
		s->lane = l;
		l->slot = (uint32_t)(s - e->slots);
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
	int64_t since = e->begun ? now - e->start_ns : 0;

	return e->options->closed_loop || shot->offset_ns <= since + WARM_AHEAD_NS;
}

static bool may_warm(const struct engine *e)
{
	if (e->n_slots >= e->options->connections)
		return false;
	if (!e->common)
		return true;
	return !e->begun && (e->options->closed_loop || e->n_slots < WARM_UNORDERED);
}

void ahead_warm(struct engine *e, int64_t now)
{
	struct ahead *a = &e->ahead;

	while (!e->rc && a->cold && may_warm(e) && is_near(e, a->cold, now)) {
		if (e->common)
			open_for(e, slot_new(e));
		else
			warm_lane(e, a->cold);
		a->cold = after(a->cold);
	}
}
