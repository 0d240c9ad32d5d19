/* SPDX-License-Identifier: Apache-2.0 */
/* What differs from answer to answer though nothing is wrong: one table of fields, and the rules
 * that a person adds. A rule marks a difference, it never hides one. */
#include <ctype.h>
#include <stdlib.h>

#include "compare_private.h"

/* name ("NAME*": all that begin so), how, why */
#define NOISE_TABLE(X)                                                                             \
	X("Date", NOISE_ALL, "when the answer was made")                                           \
	X("Age", NOISE_ALL, "how long a cache has had it")                                         \
	X("Expires", NOISE_ALL, "a date")                                                          \
	X("Last-Modified", NOISE_ALL, "a date, often that of a deployment")                        \
	X("ETag", NOISE_ALL, "often made from dates, inodes or builds")                            \
	X("Set-Cookie", NOISE_COOKIE, "its value and Expires; name and other attributes count")    \
	X("Connection", NOISE_ALL, "of one connection, not of the answer")                         \
	X("Keep-Alive", NOISE_ALL, "of one connection, not of the answer")                         \
	X("Transfer-Encoding", NOISE_ALL, "how the body is framed, not what it is")                \
	X("Content-Length", NOISE_FRAMING, "the bodies tell it; counts where they cannot")         \
	X("Via", NOISE_ALL, "which proxies it came through")                                       \
	X("X-Request-Id", NOISE_ALL, "another one each time")                                      \
	X("X-Correlation-Id", NOISE_ALL, "another one each time")                                  \
	X("Request-Id", NOISE_ALL, "another one each time")                                        \
	X("X-Trace-Id", NOISE_ALL, "another one each time")                                        \
	X("traceparent", NOISE_ALL, "a trace's own")                                               \
	X("tracestate", NOISE_ALL, "a trace's own")                                                \
	X("b3", NOISE_ALL, "a trace's own")                                                        \
	X("X-B3-*", NOISE_ALL, "a trace's own")                                                    \
	X("X-Cloud-Trace-Context", NOISE_ALL, "a trace's own")                                     \
	X("X-Amzn-Trace-Id", NOISE_ALL, "a trace's own")                                           \
	X("X-Amzn-RequestId", NOISE_ALL, "another one each time")                                  \
	X("X-Amz-Request-Id", NOISE_ALL, "another one each time")                                  \
	X("X-Amz-Id-2", NOISE_ALL, "another one each time")                                        \
	X("X-Amz-Cf-Id", NOISE_ALL, "another one each time")                                       \
	X("CF-Ray", NOISE_ALL, "another one each time")                                            \
	X("Server-Timing", NOISE_ALL, "how long it took")                                          \
	X("X-Runtime", NOISE_ALL, "how long it took")                                              \
	X("X-Response-Time", NOISE_ALL, "how long it took")                                        \
	X("X-Envoy-Upstream-Service-Time", NOISE_ALL, "how long it took")                          \
	X("X-Served-By", NOISE_ALL, "which machine it came from")                                  \
	X("X-Timer", NOISE_ALL, "how long it took")                                                \
	X("X-Cache", NOISE_ALL, "whether a cache had it")                                          \
	X("X-Cache-Hits", NOISE_ALL, "how often a cache had it")                                   \
	X("CF-Cache-Status", NOISE_ALL, "whether a cache had it")                                  \
	X("X-RateLimit-*", NOISE_ALL, "what is left of an allowance")                              \
	X("RateLimit-*", NOISE_ALL, "what is left of an allowance")                                \
	X("RateLimit", NOISE_ALL, "what is left of an allowance")                                  \
	X("Report-To", NOISE_ALL, "where a browser reports to, often with an id in it")            \
	X("Reporting-Endpoints", NOISE_ALL, "where a browser reports to, often with an id in it")  \
	X("NEL", NOISE_ALL, "what a browser reports")

static const struct {
	struct span name;
	enum noise_how how;
	const char *why;
} table[] = {
#define NOISE_ROW(name, how, why) {{(const uint8_t *)(name), sizeof(name) - 1}, how, why},
	NOISE_TABLE(NOISE_ROW)
#undef NOISE_ROW
};
#define ROWS (sizeof(table) / sizeof(table[0]))

enum step_kind { STEP_NAME, STEP_INDEX, STEP_ANY };

struct json_step {
	enum step_kind kind;
	bool deep;		/* of any descendant, not of a child alone */
	struct doc_string name; /* in the text of the rule, without escapes */
	uint64_t index;
};

struct json_rule {
	char *text; /* owned; what the names point into */
	struct json_step steps[LIMIT_JSON_STEPS];
	unsigned n;
};

struct noise_rules {
	char **headers;
	unsigned n_headers;
	struct json_rule **paths;
	unsigned n_paths;
};

struct noise_rules *noise_new(void)
{
	return calloc(1, sizeof(struct noise_rules));
}

static void rule_free(struct json_rule *r)
{
	if (!r)
		return;
	free(r->text);
	free(r);
}

void noise_free(struct noise_rules *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < n->n_headers; i++)
		free(n->headers[i]);
	for (unsigned i = 0; i < n->n_paths; i++)
		rule_free(n->paths[i]);
	free(n->headers);
	free(n->paths);
	free(n);
}

int comparer_print_noise(struct buf *out)
{
	int rc = SC_OK;

	for (size_t i = 0; i < ROWS && !rc; i++)
		rc = buf_addf(out, "%-30s %s\n", (const char *)table[i].name.p, table[i].why);
	return rc;
}

/* NAME, or NAME* for all that begin so. */
static bool header_takes(struct span pattern, struct span name)
{
	if (pattern.p[pattern.len - 1] == '*') {
		pattern.len--;
		name.len = name.len < pattern.len ? name.len : pattern.len;
	}
	return span_case_eq(pattern, name);
}

enum noise_how noise_of_header(const struct noise_rules *n, struct span name)
{
	for (unsigned i = 0; i < n->n_headers; i++) {
		if (header_takes(span_str(n->headers[i]), name))
			return NOISE_ALL;
	}
	for (size_t i = 0; i < ROWS; i++) {
		if (header_takes(table[i].name, name))
			return table[i].how;
	}
	return NOISE_NOT;
}

static bool step_takes(const struct json_step *s, const struct place_step *at)
{
	switch (s->kind) {
	case STEP_NAME:
		return at->member && doc_string_compare(s->name, at->name) == 0;
	case STEP_INDEX:
		return !at->member && s->index == at->index;
	case STEP_ANY:
		return true;
	}
	return false;
}

/* The bits say how many steps of the rule may have been taken so far; all of them: the value, or
 * one around it, is what the rule names. */
static bool path_takes(const struct json_rule *r, const struct place_step *steps, unsigned depth)
{
	uint32_t state = 1;

	_Static_assert(LIMIT_JSON_STEPS < 32, "a bit for each step and one for the end");
	for (unsigned i = 0; i < depth && !(state >> r->n & 1); i++) {
		uint32_t next = 0;

		for (unsigned k = 0; k < r->n; k++) {
			if (!(state >> k & 1))
				continue;
			if (r->steps[k].deep)
				next |= 1u << k;
			if (step_takes(&r->steps[k], &steps[i]))
				next |= 1u << (k + 1);
		}
		state = next;
	}
	return state >> r->n & 1;
}

bool noise_of_json(const struct noise_rules *n, const struct place_step *steps, unsigned depth)
{
	for (unsigned i = 0; i < n->n_paths; i++) {
		if (path_takes(n->paths[i], steps, depth))
			return true;
	}
	return false;
}

/* Where a rule is being read. */
struct cursor {
	const char *rule; /* all of it, to say where it is wrong */
	char *text, *at;  /* of the copy, at what follows "json:" */
	struct err *err;
};

static int wrong(const struct cursor *c, const char *at, const char *expected)
{
	return err_set(c->err, SC_EINVAL, "'%s': expected %s at byte %zu", c->rule, expected,
		       (size_t)(at - c->text) + sizeof("json:"));
}

/* NAME or *, up to the next . or [ */
static int read_bare(struct cursor *c, struct json_step *s)
{
	size_t len = strcspn(c->at, ".[");

	if (len == 0)
		return wrong(c, c->at, "a name or *");
	s->kind = len == 1 && *c->at == '*' ? STEP_ANY : STEP_NAME;
	s->name.raw = span_of(c->at, len);
	c->at += len;
	return SC_OK;
}

/* 'NAME' with \' and \\ in it, which are made plain in place. */
static int read_quoted(struct cursor *c, struct json_step *s)
{
	char quote = *c->at, *from = c->at + 1, *p, *to = from;

	for (p = from; *p && *p != quote; p++) {
		if (*p == '\\' && p[1])
			p++;
		*to++ = *p;
	}
	if (*p != quote)
		return wrong(c, p, "the closing quote");
	s->kind = STEP_NAME;
	s->name.raw = span_of(from, (size_t)(to - from));
	c->at = p + 1;
	return SC_OK;
}

/* Behind a [ */
static int read_bracket(struct cursor *c, struct json_step *s)
{
	int rc = SC_OK;

	if (*c->at == '\'' || *c->at == '"') {
		rc = read_quoted(c, s);
	} else if (*c->at == '*') {
		s->kind = STEP_ANY;
		c->at++;
	} else if (isdigit((unsigned char)*c->at)) {
		s->kind = STEP_INDEX;
		for (; isdigit((unsigned char)*c->at) && s->index < UINT32_MAX; c->at++)
			s->index = s->index * 10 + (uint64_t)(*c->at - '0');
	} else {
		return wrong(c, c->at, "'NAME', a number or *");
	}
	if (rc)
		return rc;
	return *c->at++ == ']' ? SC_OK : wrong(c, c->at - 1, "]");
}

static int read_step(struct cursor *c, bool first, struct json_step *s)
{
	if (*c->at == '.') {
		c->at++;
		s->deep = *c->at == '.';
		c->at += s->deep;
		if (!s->deep || *c->at != '[')
			return read_bare(c, s);
	}
	if (*c->at == '[') {
		c->at++;
		return read_bracket(c, s);
	}
	return first ? read_bare(c, s) : wrong(c, c->at, ". or [");
}

/* A path that begins with a name has "$." in front of it; "$" alone is everything. */
static int read_path(struct cursor *c, struct json_rule *r)
{
	bool rooted = c->at[0] == '$' && strchr(".[", c->at[1]);
	int rc = SC_OK;

	if (!*c->at)
		return wrong(c, c->at, "a path");
	c->at += rooted;
	while (!rc && *c->at) {
		if (r->n == LIMIT_JSON_STEPS)
			return wrong(c, c->at, "no more than 30 steps");
		rc = read_step(c, !rooted && r->n == 0, &r->steps[r->n]);
		r->n++;
	}
	return rc;
}

static int add_path(struct noise_rules *n, const char *rule, const char *path, struct err *err)
{
	struct json_rule *r = calloc(1, sizeof(*r));
	struct json_rule **paths =
		realloc(n->paths, (n->n_paths + 1u) * sizeof(struct json_rule *));
	struct cursor c = {.rule = rule, .err = err};
	int rc = SC_ENOMEM;

	if (paths)
		n->paths = paths;
	if (r)
		r->text = strdup(path);
	if (!paths || !r || !r->text) {
		(void)err_set(err, rc, "out of memory");
		goto out;
	}
	c.text = c.at = r->text;
	rc = read_path(&c, r);
	if (rc)
		goto out;
	n->paths[n->n_paths++] = r;
	r = NULL; /* moved */
out:
	rule_free(r);
	return rc;
}

/* A field name (RFC 9110, 5.1), with a * at the end of it if need be. */
static bool is_field_pattern(const char *name)
{
	static const char others[] = "!#$%&'+-.^_`|~";
	size_t n = 0;

	while (name[n] && (isalnum((unsigned char)name[n]) || strchr(others, name[n])))
		n++;
	return (n > 0 && !name[n]) || (n > 0 && name[n] == '*' && !name[n + 1]);
}

static int add_header(struct noise_rules *n, const char *rule, const char *name, struct err *err)
{
	char **headers, *copy;

	if (!is_field_pattern(name))
		return err_set(err, SC_EINVAL, "'%s': expected header:NAME or header:NAME*", rule);
	headers = realloc(n->headers, (n->n_headers + 1u) * sizeof(char *));
	if (headers)
		n->headers = headers;
	copy = strdup(name);
	if (!headers || !copy) {
		free(copy);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	n->headers[n->n_headers++] = copy;
	return SC_OK;
}

int noise_add(struct noise_rules *n, const char *rule, struct err *err)
{
	static const struct {
		const char *prefix;
		int (*add)(struct noise_rules *n, const char *rule, const char *what,
			   struct err *err);
	} kinds[] = {{"header:", add_header}, {"json:", add_path}};

	if (n->n_headers + n->n_paths == LIMIT_IGNORED)
		return err_set(err, SC_EINVAL, "'%s': there are %u rules already", rule,
			       LIMIT_IGNORED);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t len = strlen(kinds[i].prefix);

		if (strncmp(rule, kinds[i].prefix, len) == 0)
			return kinds[i].add(n, rule, rule + len, err);
	}
	return err_set(err, SC_EINVAL, "'%s': expected header:NAME or json:PATH", rule);
}
