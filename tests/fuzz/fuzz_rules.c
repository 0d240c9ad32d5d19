/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as rules, any bytes as a request: what looking the rules up finds is what asking them in
 * turn finds, whatever both are; and a rule means the same when it is read again.
 *
 * Input: u8 response (0: none, else its hundreds), u16 length, the rules, one a line; then the head. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/filter.h"
#include "core/rule.h"
#include "core/sample.h"
#include "fuzz.h"

#define RULES_MAX 64u

static unsigned read_rules(char *text, struct filter *f, struct rule **rules)
{
	unsigned n = 0;
	char *line;

	while ((line = strsep(&text, "\n")) && n < RULES_MAX) {
		struct rule *r = NULL;
		struct err err = {""};
		int rc = rule_parse(line, &r, &err);

		assert(rc == SC_OK || (rc == SC_EINVAL && err.text[0]));
		assert(filter_route(f, line, &err) == rc);
		if (rc == SC_OK)
			rules[n++] = r;
	}
	return n;
}

static const char *ask_in_turn(struct rule *const *rules, unsigned n, const struct subject *s)
{
	for (unsigned i = 0; i < n; i++) {
		if (rule_takes(rules[i], s))
			return rule_text(rules[i]);
	}
	return NULL;
}

static void check(const struct filter *f, struct rule *const *rules, unsigned n,
		  const struct exchange *ex, bool whole)
{
	const char *found, *naive;
	struct subject s;

	subject_of(ex, &s);
	s.response_known = whole;
	naive = ask_in_turn(rules, n, &s);
	assert(filter_takes(f, ex, whole, &found) == (n == 0 || naive != NULL));
	assert(!found == !naive && (!found || strcmp(found, naive) == 0));
}

static void throw_dice(const struct exchange *ex)
{
	static const struct sample_key keys[] = {
		{SAMPLE_BY_HEADER, "Host"}, {SAMPLE_BY_COOKIE, "a"}, {SAMPLE_BY_QUERY, "a"}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct sampler s;

		sampler_init(&s, &keys[i], 1);
		assert(!sampler_takes(&s, ex, 10) || sampler_takes(&s, ex, 50));
		assert(sampler_takes(&s, ex, 30) == sampler_takes(&s, ex, 30));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rule *rules[RULES_MAX];
	struct exchange *ex = exchange_new();
	struct filter *f = filter_new();
	unsigned n, hundreds;
	struct span text;
	uint8_t *head;
	char *lines;
	struct rd in;

	rd_init(&in, data, size);
	hundreds = take_u8(&in);
	text = take_bytes(&in, take_u16(&in));
	lines = calloc(1, text.len + 1);
	head = copy_exactly(span_of(in.p, rd_left(&in)));
	assert(ex && f && lines);
	if (text.len)
		memcpy(lines, text.p, text.len);
	n = read_rules(lines, f, rules);
	ex->client = (struct addr){.ip = {10, 0, 0, 1}, .port = 1000, .len = 4};
	ex->server = (struct addr){.ip = {10, 0, 0, 2}, .port = 80, .len = 4};
	if (message_parse(head, rd_left(&in), 0, &ex->request) == SC_OK && !ex->request->status) {
		check(f, rules, n, ex, false);
		if (hundreds)
			assert(message_build_response((uint16_t)(100 + hundreds * 3), span_str("x"),
						      span_str("1.1"), NULL, 0, 0,
						      &ex->response) == SC_OK);
		check(f, rules, n, ex, true);
		throw_dice(ex);
	}
	while (n)
		rule_free(rules[--n]);
	filter_free(f);
	exchange_free(ex);
	free(lines);
	free(head);
	return 0;
}
