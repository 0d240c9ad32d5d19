/* SPDX-License-Identifier: Apache-2.0 */
/* PCRE2, bounded: a pattern of a stranger's making must not hold up the packet loop. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/regex.h"

#include <pcre2.h>
#include <stdlib.h>

#include "core/limits.h"

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *context;
};

int regex_new(const char *pattern, bool whole, struct regex **ret, struct err *err)
{
	struct regex *re = calloc(1, sizeof(*re));
	uint32_t options = PCRE2_DOTALL;
	PCRE2_SIZE at;
	int code;

	if (!re)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (whole)
		options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
	re->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &at,
				 NULL);
	if (!re->code) {
		PCRE2_UCHAR text[128] = "";

		pcre2_get_error_message(code, text, sizeof(text));
		regex_free(re);
		return err_set(err, SC_EINVAL, "regex '%s': %s at character %zu", pattern,
			       (const char *)text, (size_t)at + 1);
	}
	/* Without JIT it is slower, not wrong. */
	(void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
	re->match = pcre2_match_data_create_from_pattern(re->code, NULL);
	re->context = pcre2_match_context_create(NULL);
	if (!re->match || !re->context) {
		regex_free(re);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	pcre2_set_match_limit(re->context, LIMIT_REGEX_STEPS);
	*ret = re;
	return SC_OK;
}

void regex_free(struct regex *re)
{
	if (!re)
		return;
	pcre2_match_data_free(re->match);
	pcre2_match_context_free(re->context);
	pcre2_code_free(re->code);
	free(re);
}

static _Thread_local uint64_t gave_up;

uint64_t regex_gave_up(void)
{
	return gave_up;
}

static int match_at(const struct regex *re, struct span subject, size_t from)
{
	int rc = pcre2_match(re->code, subject.p, subject.len, from, 0, re->match, re->context);

	gave_up += rc < 0 && rc != PCRE2_ERROR_NOMATCH;
	return rc;
}

bool regex_matches(const struct regex *re, struct span subject)
{
	return match_at(re, subject, 0) >= 0;
}

static int add_replacement(const struct regex *re, struct span subject, struct span to,
			   struct buf *out)
{
	const PCRE2_SIZE *v = pcre2_get_ovector_pointer(re->match);
	uint32_t groups = pcre2_get_ovector_count(re->match);
	int rc = SC_OK;

	for (size_t i = 0; i < to.len && !rc; i++) {
		if (to.p[i] == '\\' && i + 1 < to.len) {
			uint8_t c = to.p[++i];
			uint32_t g = (uint32_t)(c - '0');

			if (c < '0' || c > '9')
				rc = buf_add(out, &c, 1);
			else if (g < groups && v[2 * g] != PCRE2_UNSET)
				rc = buf_add(out, subject.p + v[2 * g], v[2 * g + 1] - v[2 * g]);
		} else {
			rc = buf_add(out, to.p + i, 1);
		}
	}
	return rc;
}

int regex_replace(const struct regex *re, struct span subject, struct span to, struct buf *out)
{
	size_t at = 0, from = 0;
	int n = 0, rc = SC_OK;

	while (!rc && from <= subject.len && match_at(re, subject, from) >= 0) {
		const PCRE2_SIZE *v = pcre2_get_ovector_pointer(re->match);
		size_t start = v[0], end = v[1];

		if (end < start)
			break; /* \K in a lookahead; nothing sensible to replace */
		if (end == start && start == at && n > 0) {
			from = end + 1; /* nothing, right behind a match: part of it, as in sed */
			continue;
		}
		rc = buf_add(out, subject.p + at, start - at);
		if (!rc)
			rc = add_replacement(re, subject, to, out);
		at = end;
		from = end > start ? end : end + 1;
		n++;
	}
	if (!rc && at < subject.len)
		rc = buf_add(out, subject.p + at, subject.len - at);
	return rc ? rc : n;
}
