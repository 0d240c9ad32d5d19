/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue between exactly two threads, counted in bytes and handed over in batches, so that
 * a lock is taken once in many nodes. Full means either wait (files) or refuse (live). */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* First member of whatever is queued. */
struct node {
	struct node *next;
	struct node *later; /* that was pushed a few nodes after; NULL: not known. Set by queue_push */
	size_t bytes;	    /* the same */
};

/* Another thread wrote it, so the first look at it waits for memory, and at a list's next node for
 * each. Who says early that `later` will be looked at need not. NULL is fine. */
static inline void node_fetch(const struct node *n)
{
	__builtin_prefetch(n);
	__builtin_prefetch((const char *)n + 64);
}

enum queue_policy {
	QUEUE_WAIT,   /* queue_push blocks while it is full */
	QUEUE_REFUSE, /* queue_push returns SC_EFULL: drop the newest, and count it */
};

struct queue;

/* NULL: no memory. Holds at most max_bytes, but always at least one node. */
struct queue *queue_new(size_t max_bytes, enum queue_policy policy);
/* Before it is used: a producer that had to wait goes on when the nth part is free, 8 unless told: few
 * long turns, or many short ones. */
void queue_set_room(struct queue *q, unsigned nth);
/* Both threads are done with it; nodes still inside are given to `drop`. */
void queue_free(struct queue *q, void (*drop)(struct node *));

/* Producer. A node is moved only on SC_OK. SC_EFULL; SC_ECLOSED once the consumer gave up. What is
 * pushed becomes visible at the next queue_publish, or after QUEUE_BATCH nodes by itself. */
int queue_push(struct queue *q, struct node *n, size_t bytes);
bool queue_is_full(const struct queue *q, size_t bytes); /* for a node of that many: it may wait */
void queue_publish(struct queue *q);
bool queue_half_full(const struct queue *q); /* or more, as far as was seen at the last publish */
/* A node that the consumer returned, moved, or NULL. New ones are seen at each publish. */
struct node *queue_spent(struct queue *q);
void queue_close(struct queue *q); /* publishes; no more will come */
bool queue_given_up(struct queue *q); /* the consumer did: pushes have no use any more */

/* Consumer: everything there is as a list in order, waiting up to timeout_ms for the first.
 * SC_OK (*ret is never NULL), SC_EAGAIN when time is up, SC_ECLOSED at the end. */
int queue_take(struct queue *q, int timeout_ms, struct node **ret);
/* Bytes of taken nodes count as held until given back. */
void queue_release(struct queue *q, size_t bytes);
/* The same, and the nodes themselves (a whole list as queue_take() gave it, moved): the producer gets
 * them back from queue_spent(), to free them in the thread that made them. Freed by another, each
 * would take the allocator's lock. */
void queue_return(struct queue *q, struct node *list);
void queue_give_up(struct queue *q); /* further pushes return SC_ECLOSED; a waiting one wakes */

#endif
