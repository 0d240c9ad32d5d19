/* SPDX-License-Identifier: Apache-2.0 */
/* The running account of a comparison: what is counted how often, and how it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/limits.h"
#include "replay/tally.h"

#define ROOM (16u << 20)

static void begin(struct tally *t, const char *method, const char *route)
{
	assert_int_equal(tally_begin(t, span_str(method), span_str(route)), SC_OK);
}

static void found(struct tally *t, enum difference_kind kind, const char *path,
		  const char *recorded, const char *replayed, bool noise)
{
	const struct difference d = {
		.place = kind == KIND_STATUS ? PLACE_STATUS : PLACE_BODY,
		.kind = kind,
		.path = span_str(path),
		.recorded = span_str(recorded),
		.replayed = span_str(replayed),
		.noise = noise,
	};

	tally_found(t, &d);
}

static struct tally *example(void)
{
	struct tally *t = tally_new();

	assert_non_null(t);
	begin(t, "GET", "/a");
	begin(t, "GET", "/a");
	found(t, KIND_VALUE, "$.d", "1", "2", true);
	begin(t, "GET", "/a");
	found(t, KIND_VALUE, "$.d", "1", "2", true);
	found(t, KIND_VALUE, "$.x", "1", "2", false);
	found(t, KIND_VALUE, "$.y", "1", "2", false);
	found(t, KIND_MISSING, "$.z", "1", "", false);
	begin(t, "POST", "/a");
	found(t, KIND_STATUS, "", "200", "500", false);
	begin(t, "POST", "/a");
	found(t, KIND_STATUS, "", "200", "5\x1b\xc2\x9b\xc3\xa4", false);
	begin(t, "GET", "/same");
	return t;
}

static void assert_text(const struct buf *out, const char *text)
{
	if (out->len != strlen(text) || memcmp(out->data, text, out->len) != 0)
		fail_msg("%.*sinstead of\n%s", (int)out->len, (const char *)out->data, text);
}

static void test_counts(void **state)
{
	struct tally *t = example();
	struct tally_counts c = tally_total(t);

	(void)state;
	assert_int_equal(c.compared, 6);
	assert_int_equal(c.differing, 3);
	assert_int_equal(c.noise, 1);
	assert_int_equal(c.kinds[KIND_VALUE], 1);
	assert_int_equal(c.kinds[KIND_MISSING], 1);
	assert_int_equal(c.kinds[KIND_STATUS], 2);
	assert_int_equal(c.kinds[KIND_ORDER], 0);
	tally_free(t);
}

static void test_text(void **state)
{
	struct tally *t = example();
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	assert_int_equal(tally_text(t, 10, &out), SC_OK);
	assert_text(&out,
		    "compared     6 answers: 3 the same, 3 differ (50.00%), 1 of the same but for "
		    "noise\n"
		    "   differ  compared  route\n"
		    "        2         2  POST /a  (status 2)\n"
		    "                       e.g. status status: 200 -> 5\\x1b\\xc2\\x9b\xc3\xa4\n"
		    "        1         3  GET /a  (missing 1, value 1)\n"
		    "                       e.g. body $.x value: 1 -> 2\n");
	buf_clear(&out);
	assert_int_equal(tally_text(t, 1, &out), SC_OK);
	assert_non_null(memmem(out.data, out.len, "and 1 routes more\n", 18));
	buf_done(&out);
	tally_free(t);
}

static void test_nothing(void **state)
{
	struct tally *t = tally_new();
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	found(t, KIND_BODY, "", "a", "b", false); /* of no answer */
	assert_int_equal(tally_text(t, 10, &out), SC_OK);
	assert_text(&out, "compared     0 answers: 0 the same, 0 differ (0.00%)\n");
	buf_clear(&out);
	assert_int_equal(tally_json(t, &out), SC_OK);
	assert_text(&out,
		    "{\"compared\":0,\"differing\":0,\"noise\":0,\"kinds\":{},\"routes\":[]}");
	buf_done(&out);
	tally_free(t);
}

static void test_json(void **state)
{
	struct tally *t = tally_new();
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	begin(t, "GET", "/\"a\"");
	found(t, KIND_VALUE, "$.x", "1", "\n", false);
	assert_int_equal(tally_json(t, &out), SC_OK);
	assert_text(
		&out,
		"{\"compared\":1,\"differing\":1,\"noise\":0,\"kinds\":{\"value\":1},\"routes\":["
		"{\"method\":\"GET\",\"route\":\"/\\\"a\\\"\",\"compared\":1,\"differing\":1,"
		"\"noise\":0,\"kinds\":{\"value\":1},\"example\":{\"place\":\"body\","
		"\"kind\":\"value\",\"path\":\"$.x\",\"recorded\":\"1\",\"replayed\":\"\\n\"}}]}");
	buf_done(&out);
	tally_free(t);
}

static void test_many_routes(void **state)
{
	struct tally *t = tally_new();
	struct buf out;
	char route[32];

	(void)state;
	buf_init(&out, ROOM);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < LIMIT_TALLY_ROUTES + 50; i++) {
			snprintf(route, sizeof(route), "/%u", i);
			begin(t, "GET", route);
			found(t, KIND_BODY, "", "a", "b", i < LIMIT_TALLY_ROUTES);
		}
	}
	assert_int_equal(tally_total(t).compared, 2 * (LIMIT_TALLY_ROUTES + 50));
	assert_int_equal(tally_text(t, 10, &out), SC_OK);
	assert_non_null(memmem(out.data, out.len, "      100       100  others  (body 100)\n", 39));
	buf_done(&out);
	tally_free(t);
}

static void test_long_names(void **state)
{
	static char name[4 * LIMIT_TALLY_NAME];
	struct tally *t = tally_new();
	struct buf out;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	buf_init(&out, ROOM);
	begin(t, name, name);
	found(t, KIND_BODY, name, name, name, false);
	assert_int_equal(tally_text(t, 10, &out), SC_OK);
	assert_true(out.len < LIMIT_METHOD_BYTES + LIMIT_TALLY_NAME + LIMIT_DIFFERENCE_PATH +
				      2 * LIMIT_DIFFERENCE_TEXT + 300);
	buf_done(&out);
	tally_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),	    cmocka_unit_test(test_text),
		cmocka_unit_test(test_nothing),	    cmocka_unit_test(test_json),
		cmocka_unit_test(test_many_routes), cmocka_unit_test(test_long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
