/* SPDX-License-Identifier: Apache-2.0 */
/* Answers from literal text, and the differences between two as text. */
#ifndef TESTS_COMPARE_FIXTURE_H
#define TESTS_COMPARE_FIXTURE_H

#include "replay/compare.h"

#define BODY_MAX (1u << 20)

/* "200 OK\r\nA: b", without the last line end. message_free() it. */
struct message *answer(const char *head, const char *body);
struct message *answer_bytes(const char *head, struct span body);

/* A line each: "body value $.a: 1 -> 2", and "(noise) " in front. Counted further when full. */
struct said {
	char text[1 << 16];
	size_t n;
	unsigned count, noise;
};
void note(void *arg, const struct difference *d); /* of a struct said */

void compare(struct comparer *c, const struct message *a, const struct message *b, struct said *s);

/* The state of a test is a struct comparer. */
int comparer_setup(void **state);
int comparer_teardown(void **state);
#define WITH_COMPARER(test) cmocka_unit_test_setup_teardown(test, comparer_setup, comparer_teardown)

#define STR(b, s) assert_int_equal(buf_add_str((b), (s)), SC_OK)

#endif
