/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of one text. Knows nothing of what the text is: a path, a field's value, a name. */
#include "core/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/regex.h"

struct text {
	enum text_kind kind;
	bool fold;
	struct regex *regex; /* of TEXT_REGEX */
	size_t len;
	char literal[]; /* len bytes and a NUL */
};

/* Whether a quantifier at p makes what stands before it optional. */
static bool may_be_none(char quantifier)
{
	return quantifier == '*' || quantifier == '?' || quantifier == '{';
}

/* An alternative outside all groups: then nothing is common to all matches. */
static bool has_alternatives(const char *p)
{
	unsigned depth = 0;
	bool class = false;

	for (; *p; p++) {
		if (*p == '\\' && p[1])
			p++;
		else if (*p == '[')
			class = true;
		else if (*p == ']')
			class = false;
		else if (*p == '(' && !class)
			depth++;
		else if (*p == ')' && !class && depth)
			depth--;
		else if (*p == '|' && !class && !depth)
			return true;
	}
	return false;
}

/* What every match of a pattern begins with. Stops at whatever it does not know. */
static size_t regex_literal(const char *pattern, char *to)
{
	size_t n = 0;

	if (has_alternatives(pattern))
		return 0;
	for (const char *p = pattern; *p && !strchr(".[](){}*+?^$|", *p); p++) {
		if (*p == '\\') {
			if (!p[1] || isalnum((unsigned char)p[1]))
				break;
			p++;
		}
		if (may_be_none(p[1]))
			break;
		to[n++] = *p;
	}
	return n;
}

int text_new(enum text_kind kind, const char *value, bool fold, struct text **ret,
	     struct err *err)
{
	size_t len = kind == TEXT_PRESENT ? 0 : strlen(value);
	struct text *t = malloc(sizeof(*t) + len + 1);

	if (!t)
		return err_set(err, SC_ENOMEM, "out of memory");
	*t = (struct text){.kind = kind, .fold = fold, .len = len};
	if (kind == TEXT_REGEX) {
		int rc = regex_new(value, true, &t->regex, err);

		if (rc) {
			free(t);
			return rc;
		}
		t->len = regex_literal(value, t->literal);
	} else if (len) {
		memcpy(t->literal, value, len);
	}
	t->literal[t->len] = '\0';
	*ret = t;
	return SC_OK;
}

int text_parse(const char *value, struct text **ret, struct err *err)
{
	size_t len = strlen(value);
	char *prefix;
	int rc;

	if (value[0] == '~')
		return text_new(TEXT_REGEX, value + 1, false, ret, err);
	if (strcmp(value, "*") == 0)
		return text_new(TEXT_PRESENT, "", false, ret, err);
	if (len == 0 || value[len - 1] != '*')
		return text_new(TEXT_EXACT, value, false, ret, err);
	prefix = strndup(value, len - 1);
	if (!prefix)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = text_new(TEXT_PREFIX, prefix, false, ret, err);
	free(prefix);
	return rc;
}

void text_free(struct text *t)
{
	if (!t)
		return;
	regex_free(t->regex);
	free(t);
}

static bool begins(const struct text *t, struct span s)
{
	struct span literal = span_of(t->literal, t->len);

	if (s.len < t->len)
		return false;
	return t->fold ? span_case_eq(span_of(s.p, t->len), literal) : span_starts(s, literal);
}

/* "/a/" means the same as "/a": the segments are what counts. */
static bool begins_segments(const struct text *t, struct span s)
{
	size_t len = t->len;

	if (len && t->literal[len - 1] == '/')
		len--;
	if (s.len < len || (len && memcmp(s.p, t->literal, len) != 0))
		return false;
	return s.len == len || s.p[len] == '/';
}

bool text_takes(const struct text *t, struct span s)
{
	switch (t->kind) {
	case TEXT_PRESENT:
		return true;
	case TEXT_EXACT:
		return s.len == t->len && begins(t, s);
	case TEXT_PREFIX:
		return begins(t, s);
	case TEXT_SEGMENTS:
		return begins_segments(t, s);
	case TEXT_REGEX:
		return begins(t, s) && regex_matches(t->regex, s);
	}
	return false;
}

enum text_kind text_kind_of(const struct text *t)
{
	return t->kind;
}

struct span text_literal(const struct text *t)
{
	return span_of(t->literal, t->fold ? 0 : t->len);
}
