/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads, one lock taken once a batch. The producer gathers nodes by itself and publishes
 * them together; the consumer takes everything there is. */
#include "core/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "core/err.h"
#include "core/limits.h"

#define LATER 8u /* nodes from one to its `later`: enough to be there in time */
#define ROOM 8 /* the part of it that is free when a producer that waited goes on */

struct list {
	struct node *head;
	struct node **tail;
	size_t bytes;
	unsigned n;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled, drained;
	struct list ready; /* under the lock, as are the five below */
	struct list returned;
	size_t held;       /* bytes published and not yet released */
	bool waits; /* the producer, for room */
	bool closed;
	bool given_up;

	struct list batch; /* the producer's own, as all below */
	struct list spent;
	struct node *newest[LATER]; /* of the batch, in a ring */
	size_t held_seen;  /* `held` when the producer last looked */
	size_t max_bytes;
	size_t enough; /* held at most when a producer that waited goes on */
	enum queue_policy policy;
};

static void list_clear(struct list *l)
{
	*l = (struct list){.tail = &l->head};
}

static void list_join(struct list *to, struct list *from)
{
	if (!from->head)
		return;
	*to->tail = from->head;
	to->tail = from->tail;
	to->bytes += from->bytes;
	to->n += from->n;
	list_clear(from);
}

struct queue *queue_new(size_t max_bytes, enum queue_policy policy)
{
	struct queue *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;

	if (!q)
		return NULL;
	q->max_bytes = max_bytes;
	q->policy = policy;
	queue_set_room(q, ROOM);
	list_clear(&q->ready);
	list_clear(&q->returned);
	list_clear(&q->batch);
	list_clear(&q->spent);
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->filled, &attr);
	pthread_cond_init(&q->drained, &attr);
	pthread_condattr_destroy(&attr);
	return q;
}

void queue_set_room(struct queue *q, unsigned nth)
{
	q->enough = q->max_bytes - q->max_bytes / nth;
}

void queue_free(struct queue *q, void (*drop)(struct node *))
{
	struct node *n, *next;

	if (!q)
		return;
	list_join(&q->ready, &q->batch);
	list_join(&q->ready, &q->returned);
	list_join(&q->ready, &q->spent);
	for (n = q->ready.head; n; n = next) {
		next = n->next;
		drop(n);
	}
	pthread_cond_destroy(&q->filled);
	pthread_cond_destroy(&q->drained);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void queue_publish(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->held += q->batch.bytes;
	q->held_seen = q->held;
	if (q->batch.head)
		pthread_cond_signal(&q->filled);
	list_join(&q->ready, &q->batch);
	list_join(&q->spent, &q->returned);
	pthread_mutex_unlock(&q->lock);
}

bool queue_half_full(const struct queue *q)
{
	return q->held_seen + q->batch.bytes > q->max_bytes / 2;
}

struct node *queue_spent(struct queue *q)
{
	struct node *n = q->spent.head;

	if (!n)
		return NULL;
	q->spent.head = n->next;
	if (!q->spent.head)
		list_clear(&q->spent);
	node_fetch(q->spent.head);
	return n;
}

bool queue_is_full(const struct queue *q, size_t bytes)
{
	size_t held = q->held_seen + q->batch.bytes;

	return held != 0 && held + bytes > q->max_bytes;
}

/* Looks at what the consumer gave back, and under QUEUE_WAIT stays until it is enough. Who had to
 * wait goes on when there is room for many, not to wait for each. */
static int make_room(struct queue *q, size_t bytes)
{
	int rc = SC_OK;

	queue_publish(q);
	pthread_mutex_lock(&q->lock);
	q->held_seen = q->held;
	if (queue_is_full(q, bytes) && q->policy == QUEUE_WAIT) {
		while ((queue_is_full(q, bytes) || q->held > q->enough) && !q->given_up) {
			q->waits = true;
			pthread_cond_wait(&q->drained, &q->lock);
			q->held_seen = q->held;
		}
		q->waits = false;
	}
	if (q->given_up)
		rc = SC_ECLOSED;
	else if (queue_is_full(q, bytes))
		rc = SC_EFULL;
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Only what is not published yet is still the producer's to write to. */
static void link_later(struct queue *q, struct node *n)
{
	struct node **place = &q->newest[q->batch.n % LATER];

	if (q->batch.n >= LATER)
		(*place)->later = n;
	*place = n;
}

int queue_push(struct queue *q, struct node *n, size_t bytes)
{
	if (queue_is_full(q, bytes)) {
		int rc = make_room(q, bytes);

		if (rc)
			return rc;
	}
	n->next = n->later = NULL;
	n->bytes = bytes;
	link_later(q, n);
	*q->batch.tail = n;
	q->batch.tail = &n->next;
	q->batch.bytes += bytes;
	if (++q->batch.n >= QUEUE_BATCH)
		queue_publish(q);
	return SC_OK;
}

bool queue_given_up(struct queue *q)
{
	bool given_up;

	pthread_mutex_lock(&q->lock);
	given_up = q->given_up;
	pthread_mutex_unlock(&q->lock);
	return given_up;
}

void queue_close(struct queue *q)
{
	queue_publish(q);
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_signal(&q->filled);
	pthread_mutex_unlock(&q->lock);
}

static void wait_filled(struct queue *q, int timeout_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!q->ready.head && !q->closed) {
		if (pthread_cond_timedwait(&q->filled, &q->lock, &until) == ETIMEDOUT)
			break;
	}
}

int queue_take(struct queue *q, int timeout_ms, struct node **ret)
{
	int rc = SC_OK;

	pthread_mutex_lock(&q->lock);
	if (timeout_ms > 0 && !q->ready.head)
		wait_filled(q, timeout_ms);
	if (q->ready.head) {
		*ret = q->ready.head;
		list_clear(&q->ready);
	} else {
		rc = q->closed ? SC_ECLOSED : SC_EAGAIN;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static void wake_producer(struct queue *q)
{
	if (q->waits && q->held <= q->enough)
		pthread_cond_signal(&q->drained);
}

void queue_release(struct queue *q, size_t bytes)
{
	pthread_mutex_lock(&q->lock);
	assert(q->held >= bytes);
	q->held -= bytes;
	wake_producer(q);
	pthread_mutex_unlock(&q->lock);
}

void queue_return(struct queue *q, struct node *list)
{
	struct list l = {.head = list, .tail = &l.head};

	for (struct node *n = list; n; n = n->next) {
		l.bytes += n->bytes;
		l.tail = &n->next;
	}
	pthread_mutex_lock(&q->lock);
	assert(q->held >= l.bytes);
	q->held -= l.bytes;
	list_join(&q->returned, &l);
	wake_producer(q);
	pthread_mutex_unlock(&q->lock);
}

void queue_give_up(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->given_up = true;
	pthread_cond_signal(&q->drained);
	pthread_mutex_unlock(&q->lock);
}
