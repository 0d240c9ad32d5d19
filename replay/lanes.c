/* SPDX-License-Identifier: Apache-2.0 */
/* Order by recorded connection. A lane lives while a slot is bound to it or a shot is in it, so
 * there are never more of them than slots and waiting shots. */
#include "lanes.h"

#include <assert.h>
#include <stdlib.h>

#include "core/rng.h"

#define LANE_BUCKETS 8192u /* a power of two above LIMIT_CONNECTIONS + LIMIT_READ_AHEAD, halved */

struct lanes {
	struct lane *buckets[LANE_BUCKETS];
	struct lane *wait_first, *wait_last;
	uint64_t queued;
};

struct lanes *lanes_new(void)
{
	return calloc(1, sizeof(struct lanes));
}

static uint64_t drop_shots(struct lanes *ls, struct lane *l)
{
	uint64_t n = 0;
	struct shot *shot;

	while ((shot = lane_pop(ls, l))) {
		shot_free(shot);
		n++;
	}
	return n;
}

void lanes_free(struct lanes *ls)
{
	if (!ls)
		return;
	for (uint32_t i = 0; i < LANE_BUCKETS; i++) {
		struct lane *next;

		for (struct lane *l = ls->buckets[i]; l; l = next) {
			next = l->hash_next;
			drop_shots(ls, l);
			free(l);
		}
	}
	free(ls);
}

static struct lane **bucket(struct lanes *ls, uint64_t key)
{
	return &ls->buckets[hash_bytes(&key, sizeof(key), 0) & (LANE_BUCKETS - 1)];
}

struct lane *lanes_get(struct lanes *ls, uint64_t key)
{
	struct lane **at = bucket(ls, key);
	struct lane *l;

	for (l = *at; l; l = l->hash_next) {
		if (l->key == key)
			return l;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->key = key;
	l->slot = LANE_NO_SLOT;
	l->hash_next = *at;
	*at = l;
	return l;
}

static void lane_end(struct lanes *ls, struct lane *l)
{
	struct lane **at = bucket(ls, l->key);

	while (*at != l)
		at = &(*at)->hash_next;
	*at = l->hash_next;
	free(l);
}

void lane_push(struct lanes *ls, struct lane *l, struct shot *shot)
{
	shot->node.next = NULL;
	if (l->last)
		l->last->node.next = &shot->node;
	else
		l->first = shot;
	l->last = shot;
	ls->queued++;
}

struct shot *lane_pop(struct lanes *ls, struct lane *l)
{
	struct shot *shot = l->first;

	if (!shot)
		return NULL;
	l->first = (struct shot *)(void *)shot->node.next;
	if (l->first)
		shot_fetch(l->first); /* by its turn it is there */
	else
		l->last = NULL;
	shot->node.next = NULL;
	ls->queued--;
	return shot;
}

void lanes_wait(struct lanes *ls, struct lane *l)
{
	if (l->waiting)
		return;
	assert(l->slot == LANE_NO_SLOT);
	l->waiting = true;
	l->wait_next = NULL;
	if (ls->wait_last)
		ls->wait_last->wait_next = l;
	else
		ls->wait_first = l;
	ls->wait_last = l;
}

struct lane *lanes_next_waiting(struct lanes *ls)
{
	struct lane *l = ls->wait_first;

	if (!l)
		return NULL;
	ls->wait_first = l->wait_next;
	if (!ls->wait_first)
		ls->wait_last = NULL;
	l->waiting = false;
	return l;
}

void lanes_unbind(struct lanes *ls, struct lane *l)
{
	l->slot = LANE_NO_SLOT;
	if (!l->first && !l->waiting)
		lane_end(ls, l);
}

struct lane *lanes_go_on(struct lanes *ls, struct lane *own, uint32_t slot)
{
	struct lane *waiting = ls->wait_first;
	bool goes_on = own && own->first;

	if (!waiting || (goes_on && own->first->due_ns <= waiting->first->due_ns))
		return own;
	(void)lanes_next_waiting(ls);
	if (own)
		lanes_unbind(ls, own);
	if (goes_on)
		lanes_wait(ls, own);
	waiting->slot = slot;
	return waiting;
}

uint64_t lanes_queued(const struct lanes *ls)
{
	return ls->queued;
}

uint64_t lanes_clear(struct lanes *ls)
{
	uint64_t n = 0;
	struct lane *l;

	while ((l = lanes_next_waiting(ls))) {
		n += drop_shots(ls, l);
		lane_end(ls, l);
	}
	for (uint32_t i = 0; i < LANE_BUCKETS; i++) {
		for (l = ls->buckets[i]; l; l = l->hash_next)
			n += drop_shots(ls, l);
	}
	return n;
}
