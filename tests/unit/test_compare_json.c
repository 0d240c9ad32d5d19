/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing JSON: numbers, depth, random documents with one change at a known place, and what
 * jansson takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "compare_fixture.h"
#include "core/limits.h"
#include "core/rng.h"
#include "json_doc.h"

static void test_numbers(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{"1", "1.0", true},
		{"100", "1e2", true},
		{"1E+2", "1000e-1", true},
		{"0.001", "1e-3", true},
		{"-0", "0.000e99", true},
		{"-1", "1", false},
		{"10", "1", false},
		{"1.5", "1.50", true},
		{"1.05", "1.5", false},
		{"12345678901234567890123", "12345678901234567890124", false},
		{"12345678901234567890123", "12345678901234567890123.0", true},
		{"0.1", "0.10000000000000001", false},
		{"1e400", "10e399", true},
		{"1e400", "1e401", false},
		{"1e99999999999999999999", "1e99999999999999999998", false},
		{"1e99999999999999999999", "1e99999999999999999999", true},
		{"12.34", "1234e-2", true},
		{"0.0120", "12e-3", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct doc d[2];

		if (doc_number_eq(span_str(rows[i].a), span_str(rows[i].b)) != rows[i].same)
			fail_msg("%s and %s", rows[i].a, rows[i].b);
		for (int k = 0; k < 2; k++) {
			doc_init(&d[k]);
			assert_int_equal(
				doc_read(&d[k], span_str(k ? rows[i].b : rows[i].a), false), SC_OK);
			doc_hash(&d[k]);
		}
		assert_true(!rows[i].same || d[0].nodes[0].hash == d[1].nodes[0].hash);
		doc_done(&d[0]);
		doc_done(&d[1]);
	}
}

/* Many items, so that hashes that lie would be seen. */
static void test_turned_round(void **state)
{
	static const char *const forms[] = {"%u", "-%u.5", "\"%u\"", "{\"k%u\":0}", "[%u,0]"};
	enum { N = 20000 };
	static struct said s;

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		struct message *m[2];

		for (int k = 0; k < 2; k++) {
			m[k] = answer("200 OK", "[");
			for (unsigned i = 0; i < N; i++) {
				char text[32];

				snprintf(text, sizeof(text), forms[f], k ? i : N - 1 - i);
				STR(&m[k]->body, i ? "," : "");
				STR(&m[k]->body, text);
			}
			STR(&m[k]->body, "]");
			m[k]->body_size = m[k]->body.len;
		}
		compare(*state, m[0], m[1], &s);
		if (s.count != 1 || strncmp(s.text, "body order $: [", 15) != 0)
			fail_msg("%s: %u differences, %.200s", forms[f], s.count, s.text);
		message_free(m[0]);
		message_free(m[1]);
	}
}

static void test_depth(void **state)
{
	static char deep[2][2 * LIMIT_JSON_DEPTH + 64];
	static struct said s;

	for (unsigned depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
		struct message *m[2];

		for (int k = 0; k < 2; k++) {
			memset(deep[k], '[', depth);
			deep[k][depth] = (char)('1' + k);
			memset(deep[k] + depth + 1, ']', depth);
			deep[k][2 * depth + 1] = '\0';
			m[k] = answer("200 OK", deep[k]);
		}
		compare(*state, m[0], m[1], &s);
		assert_int_equal(s.count, 1);
		assert_int_equal(
			strncmp(s.text, depth > LIMIT_JSON_DEPTH ? "body body" : "body value", 9),
			0);
		message_free(m[0]);
		message_free(m[1]);
	}
}

/* A document that is written twice: in order and plainly, and shuffled, spaced and escaped. */
struct writer {
	struct rng rng, layout;
	struct buf plain, odd;
	unsigned leaves, values;
	int target; /* the leaf that is changed in the second; -1: none */
	char path[512], target_path[512];
};

static unsigned pick(struct rng *r, unsigned n)
{
	return (unsigned)(rng_next(r) % n);
}

static void space(struct writer *w)
{
	static const char *const spaces[] = {"", "", "", " ", "\n", "\t  "};

	STR(&w->odd, spaces[pick(&w->layout, 6)]);
}

static void write_leaf(struct writer *w)
{
	static const struct {
		const char *plain, *odd;
	} leaves[] = {
		{"null", "null"},
		{"true", "true"},
		{"7", "7.0"},
		{"-120", "-1.2e2"},
		{"\"A\"", "\"\\u0041\""},
		{"\"\"", "\"\""},
		{"\"a/b\"", "\"a\\/b\""},
		{"0", "-0"},
		{"1234567890123456789012", "1234567890123456789012"},
	};
	unsigned which = pick(&w->rng, sizeof(leaves) / sizeof(leaves[0]));

	STR(&w->plain, leaves[which].plain);
	if ((int)w->leaves++ == w->target) {
		STR(&w->odd, "\"changed\"");
		snprintf(w->target_path, sizeof(w->target_path), "%s", w->path);
		return;
	}
	STR(&w->odd, leaves[which].odd);
}

static void write_value(struct writer *w, unsigned depth);

/* The children's odd writings are put behind each other as the layout says. */
static void write_children(struct writer *w, unsigned depth, bool object)
{
	unsigned n = pick(&w->rng, 5), order[5] = {0, 1, 2, 3, 4};
	size_t path = strlen(w->path);
	struct buf whole = w->odd, parts[5];

	for (unsigned i = 0; i < n; i++) {
		char name[16], step[32];

		snprintf(name, sizeof(name), "\"k%u\"", i);
		snprintf(step, sizeof(step), object ? ".k%u" : "[%u]", i);
		snprintf(w->path + path, sizeof(w->path) - path, "%s", step);
		STR(&w->plain, i ? "," : "");
		buf_init(&w->odd, BODY_MAX);
		space(w);
		if (object) {
			STR(&w->plain, name);
			STR(&w->plain, ":");
			STR(&w->odd, name);
			STR(&w->odd, ":");
		} else {
			/* No two elements are the same, so that one change is no shuffling. */
			STR(&w->plain, "[");
			STR(&w->odd, "[");
		}
		write_value(w, depth + 1);
		if (!object) {
			char unique[32];

			snprintf(unique, sizeof(unique), ",%u]", w->values++);
			STR(&w->plain, unique);
			STR(&w->odd, unique);
		}
		space(w);
		parts[i] = w->odd;
	}
	w->path[path] = '\0';
	for (unsigned i = n; object && i > 1; i--) {
		unsigned k = pick(&w->layout, i), t = order[i - 1];

		order[i - 1] = order[k];
		order[k] = t;
	}
	w->odd = whole;
	for (unsigned i = 0; i < n; i++) {
		STR(&w->odd, i ? "," : "");
		assert_int_equal(buf_add_span(&w->odd, buf_span(&parts[order[i]])), SC_OK);
		buf_done(&parts[order[i]]);
	}
}

static void write_value(struct writer *w, unsigned depth)
{
	unsigned what = depth == 0 ? pick(&w->rng, 2) : pick(&w->rng, depth > 5 ? 9 : 4);
	bool object = what == 0;

	space(w);
	if (what > 1) {
		write_leaf(w);
	} else {
		STR(&w->plain, object ? "{" : "[");
		STR(&w->odd, object ? "{" : "[");
		write_children(w, depth, object);
		STR(&w->plain, object ? "}" : "]");
		STR(&w->odd, object ? "}" : "]");
	}
	space(w);
}

static void write_document(struct writer *w, uint64_t seed, int target)
{
	*w = (struct writer){.target = target, .path = "$"};
	rng_init(&w->rng, seed);
	rng_init(&w->layout, ~seed);
	buf_init(&w->plain, BODY_MAX);
	buf_init(&w->odd, BODY_MAX);
	write_value(w, 0);
}

/* The elements of arrays stand in one array more each: "$[1]" is "$[1][0]". */
static void real_path(const char *path, char *out, size_t room)
{
	size_t n = 0;

	for (; *path && n + 4 < room; path++) {
		out[n++] = *path;
		if (*path == ']') {
			memcpy(out + n, "[0]", 3);
			n += 3;
		}
	}
	out[n] = '\0';
}

static void test_random_documents(void **state)
{
	static struct said s;
	unsigned changed = 0;

	for (uint64_t seed = 0; seed < 3000; seed++) {
		struct writer same, other;
		struct message *a, *b;

		write_document(&same, seed, -1);
		a = answer_bytes("200 OK", buf_span(&same.plain));
		b = answer_bytes("200 OK", buf_span(&same.odd));
		compare(*state, a, b, &s);
		if (s.count)
			fail_msg("seed %u: %s", (unsigned)seed, s.text);
		message_free(b);
		if (same.leaves) {
			char path[1024], line[1200];

			write_document(&other, seed, (int)(seed % same.leaves));
			b = answer_bytes("200 OK", buf_span(&other.odd));
			compare(*state, a, b, &s);
			real_path(other.target_path, path, sizeof(path));
			snprintf(line, sizeof(line), " %s: ", path);
			if (s.count != 1 || !strstr(s.text, line) ||
			    !strstr(s.text, "\"changed\"\n"))
				fail_msg("seed %u, %s: %s", (unsigned)seed, path, s.text);
			changed++;
			message_free(b);
			buf_done(&other.plain);
			buf_done(&other.odd);
		}
		message_free(a);
		buf_done(&same.plain);
		buf_done(&same.odd);
	}
	assert_true(changed > 1500);
}

/* Documents with a byte changed: all that jansson takes is taken, and what is the same to it is. */
static void test_against_jansson(void **state)
{
	struct rng rng;
	unsigned taken = 0, refused = 0;

	(void)state;
	rng_init(&rng, 1);
	for (uint64_t seed = 0; seed < 20000; seed++) {
		static const char bytes[] = "{}[]\",:0123.eE+-\\untrue fals\x80";
		struct writer w;
		struct doc d;
		json_t *j;
		int rc;

		write_document(&w, seed % 500, -1);
		w.plain.data[pick(&rng, (unsigned)w.plain.len)] =
			(uint8_t)bytes[pick(&rng, sizeof(bytes) - 1)];
		j = json_loadb((char *)w.plain.data, w.plain.len,
			       JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
		doc_init(&d);
		rc = doc_read(&d, buf_span(&w.plain), false);
		assert_true(rc == SC_OK || rc == SC_EPROTO);
		if (j && rc)
			fail_msg("refused: %.*s", (int)w.plain.len, (char *)w.plain.data);
		if (j && json_is_object(j))
			assert_true(json_object_size(j) <= d.nodes[0].n);
		if (j && json_is_array(j))
			assert_int_equal(json_array_size(j), d.nodes[0].n);
		taken += !!j;
		refused += rc != SC_OK;
		json_decref(j);
		doc_done(&d);
		buf_done(&w.plain);
		buf_done(&w.odd);
	}
	assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		WITH_COMPARER(test_turned_round),
		WITH_COMPARER(test_depth),
		WITH_COMPARER(test_random_documents),
		cmocka_unit_test(test_against_jansson),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
