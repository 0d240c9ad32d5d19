/* SPDX-License-Identifier: Apache-2.0 */
/* Redacted exchanges in a store: no secret is in the database, its write-ahead log, or what a core
 * dump of the process that writes them would hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/limits.h"
#include "redact_fixture.h"
#include "redact_planted.h"
#include "store_fixture.h"

/* *ret_len: of the file. */
static unsigned planted_in_file(const char *path, const char *suffix, size_t *ret_len)
{
	char name[128];
	uint8_t *bytes = malloc(MIB);
	unsigned n;
	FILE *f;

	(void)snprintf(name, sizeof(name), "%s%s", path, suffix);
	f = fopen(name, "rb");
	assert_non_null(bytes);
	if (!f)
		fail_msg("%s is not there", name);
	*ret_len = fread(bytes, 1, MIB, f);
	assert_true(*ret_len < MIB);
	n = planted_in(bytes, *ret_len);
	(void)fclose(f);
	free(bytes);
	return n;
}

static void put_all(struct sink *sink, bool redacted)
{
	struct stage *stage = stage_redact_new(make_redaction(planted_rules));

	for (unsigned talk = 0; talk < PLANTED_TALKS; talk++) {
		struct exchange *ex = planted_exchange(talk);

		ex->ts_us = T0 + talk;
		if (redacted)
			assert_int_equal(stage->ops->whole(stage, ex), VERDICT_KEEP);
		put(sink, ex);
	}
	stage_free(stage);
}

static void test_store_has_none(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	size_t len;

	put_all(sink, true);
	assert_int_equal(planted_in_memory(), 0);
	finish(sink);
	assert_int_equal(planted_in_memory(), 0);
	assert_int_equal(planted_in_file(p->path, "", &len), 0);
	assert_int_equal(planted_in_file(p->path, "-wal", &len), 0);
	assert_true(len > 0); /* the exchanges are in there still */
	store_close(st);
	assert_int_equal(planted_in_file(p->path, "", &len), 0);
	assert_true(len > 4096);
	assert_rows(p->path, "SELECT count(*), sum(state = 'complete') FROM exchange", "6|6\n");
}

/* The same search finds what is not redacted: it would see them. */
static void test_search_sees(void **state)
{
	struct place *p = *state;
	struct store *st = open_store(p->path, STORE_CREATE);
	int64_t id;
	struct sink *sink = begin_capture(st, &id);
	size_t len;

	put_all(sink, false);
	finish(sink);
	assert_true(planted_in_file(p->path, "-wal", &len) >= PLANTED);
	store_close(st);
	assert_true(planted_in_file(p->path, "", &len) >= PLANTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACED(test_store_has_none), /* first: the other fills the memory with them */
		PLACED(test_search_sees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
