/* SPDX-License-Identifier: Apache-2.0 */
/* The queue between two threads: order, both policies, both ways of ending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "core/err.h"
#include "core/queue.h"

#define ITEMS 50000u

struct item {
	struct node node;
	unsigned value;
};

static void drop(struct node *n)
{
	free(n);
}

static struct item *item_new(unsigned value)
{
	struct item *i = calloc(1, sizeof(*i));

	assert_non_null(i);
	i->value = value;
	return i;
}

static void *produce(void *arg)
{
	struct queue *q = arg;

	for (unsigned i = 0; i < ITEMS; i++) {
		struct item *item = item_new(i);

		if (queue_push(q, &item->node, 10) != SC_OK) {
			free(item);
			return q; /* not NULL: it failed */
		}
	}
	queue_close(q);
	return NULL;
}

/* A queue much smaller than what goes through it: nothing is lost, order holds. */
static void test_wait(void **state)
{
	struct queue *q = queue_new(1000, QUEUE_WAIT);
	pthread_t thread;
	void *failed;
	unsigned next = 0;
	struct node *list;
	int rc;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, produce, q), 0);
	while ((rc = queue_take(q, 1000, &list)) != SC_ECLOSED) {
		size_t bytes = 0;

		if (rc == SC_EAGAIN)
			continue;
		while (list) {
			struct node *n = list;

			list = n->next;
			assert_int_equal(((struct item *)(void *)n)->value, next++);
			bytes += n->bytes;
			free(n);
		}
		assert_true(bytes <= 1000);
		queue_release(q, bytes);
	}
	assert_int_equal(next, ITEMS);
	pthread_join(thread, &failed);
	assert_null(failed);
	queue_free(q, drop);
}

static void test_refuse(void **state)
{
	struct queue *q = queue_new(100, QUEUE_REFUSE);
	struct item *big = item_new(1), *small = item_new(2), *third = item_new(3);
	struct node *list;

	(void)state;
	assert_int_equal(queue_push(q, &big->node, 500), SC_OK); /* one is always taken */
	assert_int_equal(queue_push(q, &small->node, 10), SC_EFULL);
	assert_int_equal(queue_take(q, 0, &list), SC_OK);
	assert_ptr_equal(list, big);
	assert_int_equal(queue_push(q, &small->node, 10), SC_EFULL); /* still held */
	queue_release(q, 500);
	assert_int_equal(queue_push(q, &small->node, 10), SC_OK);
	assert_int_equal(queue_take(q, 0, &list), SC_EAGAIN); /* not published */
	queue_publish(q);
	assert_int_equal(queue_take(q, 0, &list), SC_OK);
	queue_release(q, 10);
	assert_int_equal(queue_push(q, &third->node, 10), SC_OK);
	queue_close(q);
	free(big);
	free(small);
	queue_free(q, drop); /* with the third inside */
}

/* What the consumer returns comes back to the producer, all of it and in order. */
static void test_return(void **state)
{
	struct queue *q = queue_new(100, QUEUE_REFUSE);
	struct item *items[4];
	struct node *list;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		items[i] = item_new(i);
		assert_int_equal(queue_push(q, &items[i]->node, 25), SC_OK);
	}
	queue_publish(q);
	assert_int_equal(queue_take(q, 0, &list), SC_OK);
	assert_null(queue_spent(q));
	queue_return(q, list);
	assert_null(queue_spent(q)); /* not before the producer had the lock */
	queue_publish(q);
	for (unsigned i = 0; i < 3; i++)
		assert_ptr_equal(queue_spent(q), items[i]);
	assert_int_equal(queue_push(q, &items[0]->node, 100), SC_OK); /* there is room again */
	free(items[1]);
	free(items[2]);
	queue_free(q, drop); /* with one spent and one pushed inside */
}

struct pushing {
	struct queue *q;
	struct item *item;
	int rc;
};

static void *push_one(void *arg)
{
	struct pushing *p = arg;

	p->rc = queue_push(p->q, &p->item->node, 1);
	queue_publish(p->q);
	return NULL;
}

/* Who had to wait goes on when that part is free; and a node larger than the queue goes in when it
 * is empty. */
static void check_room(unsigned nth, size_t part)
{
	struct queue *q = queue_new(800, QUEUE_WAIT);
	struct pushing p = {q, item_new(1), SC_EAGAIN};
	struct item *full = item_new(0), *huge = item_new(2);
	struct node *list;
	pthread_t thread;

	queue_set_room(q, nth);
	assert_false(queue_half_full(q));
	assert_int_equal(queue_push(q, &full->node, 800), SC_OK);
	assert_true(queue_half_full(q));
	queue_publish(q);
	assert_true(queue_half_full(q));
	assert_int_equal(queue_take(q, 0, &list), SC_OK);
	assert_int_equal(pthread_create(&thread, NULL, push_one, &p), 0);
	queue_release(q, part);
	assert_int_equal(queue_take(q, 60000, &list), SC_OK);
	assert_ptr_equal(list, p.item);
	pthread_join(thread, NULL);
	assert_int_equal(p.rc, SC_OK);
	queue_release(q, 801 - part);
	queue_publish(q);
	assert_false(queue_half_full(q));
	assert_int_equal(queue_push(q, &huge->node, 5000), SC_OK);
	free(full);
	free(p.item);
	queue_free(q, drop);
}

static void test_room(void **state)
{
	(void)state;
	check_room(8, 100);
	check_room(2, 400);
	check_room(32, 25);
}

static void *consume_and_give_up(void *arg)
{
	struct queue *q = arg;
	struct node *list;

	while (queue_take(q, 1000, &list) != SC_OK)
		;
	while (list) {
		struct node *n = list;

		list = n->next;
		free(n);
	}
	queue_give_up(q); /* without releasing: the producer must wake all the same */
	return NULL;
}

static void test_give_up(void **state)
{
	struct queue *q = queue_new(100, QUEUE_WAIT);
	pthread_t thread;
	int rc = SC_OK;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, consume_and_give_up, q), 0);
	while (rc == SC_OK) {
		struct item *item = item_new(0);

		rc = queue_push(q, &item->node, 60);
		if (rc)
			free(item);
	}
	assert_int_equal(rc, SC_ECLOSED);
	pthread_join(thread, NULL);
	queue_free(q, drop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_return),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_give_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
