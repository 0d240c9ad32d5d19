/* SPDX-License-Identifier: Apache-2.0 */
/* Reads JSONPaths as a person writes them. Follows none: json_scan.c does. */
#include "json_path.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "json_steps.h"

struct json_paths *json_paths_new(void)
{
	return calloc(1, sizeof(struct json_paths));
}

static void path_done(struct json_path *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->steps[i].name);
	free(p->steps);
}

void json_paths_free(struct json_paths *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		path_done(&p->list[i]);
	free(p->list);
	free(p->states);
	names_done(&p->names);
	free(p);
}

bool json_paths_any(const struct json_paths *p)
{
	return p->n || p->names.n;
}

int json_paths_add_name(struct json_paths *p, const char *name, struct rule_use use)
{
	return names_add(&p->names, span_str(name), true, use);
}

static int wrong(struct err *err, const char *path, const char *at, const char *expected)
{
	return err_set(err, SC_EINVAL, "json path '%s': expected %s at byte %zu", path, expected,
		       (size_t)(at - path) + 1);
}

/* Takes name[0..len) over into the step; backslashes are of a quoted one. */
static int set_name(struct json_step *s, const char *name, size_t len)
{
	size_t n = 0;

	s->name = malloc(len + 1);
	if (!s->name)
		return SC_ENOMEM;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '\\' && i + 1 < len)
			i++;
		s->name[n++] = name[i];
	}
	s->len = n;
	s->kind = STEP_NAME;
	return SC_OK;
}

/* name or *, up to the next . or [ */
static int read_bare(const char *path, const char **at, struct json_step *s, struct err *err)
{
	size_t len = strcspn(*at, ".[");
	const char *name = *at;

	if (len == 0 || len > LIMIT_REDACT_NAME)
		return wrong(err, path, name, "a name of at most 256 bytes");
	*at += len;
	if (len == 1 && *name == '*') {
		s->kind = STEP_ANY;
		return SC_OK;
	}
	s->name = strndup(name, len);
	s->len = len;
	return s->name ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int read_quoted(const char *path, const char **at, struct json_step *s, struct err *err)
{
	char quote = **at;
	const char *start = *at + 1, *p = start;

	while (*p && *p != quote)
		p += p[0] == '\\' && p[1] ? 2 : 1;
	if (*p != quote || p == start || (size_t)(p - start) > LIMIT_REDACT_NAME)
		return wrong(err, path, start, "a name of at most 256 bytes and its closing quote");
	if (p[1] != ']')
		return wrong(err, path, p + 1, "]");
	*at = p + 2;
	if (set_name(s, start, (size_t)(p - start)))
		return err_set(err, SC_ENOMEM, "out of memory");
	return SC_OK;
}

/* Behind a [ */
static int read_bracket(const char *path, const char **at, struct json_step *s, struct err *err)
{
	const char *p = *at;

	if (*p == '\'' || *p == '"')
		return read_quoted(path, at, s, err);
	if (*p == '*') {
		s->kind = STEP_ANY;
		p++;
	} else if (isdigit((unsigned char)*p)) {
		s->kind = STEP_INDEX;
		for (; isdigit((unsigned char)*p) && s->index < UINT32_MAX; p++)
			s->index = s->index * 10 + (uint64_t)(*p - '0');
	} else {
		return wrong(err, path, p, "'NAME', a number or *");
	}
	if (*p != ']')
		return wrong(err, path, p, "]");
	*at = p + 1;
	return SC_OK;
}

static int read_step(const char *path, const char **at, bool first, struct json_step *s,
		     struct err *err)
{
	*s = (struct json_step){.kind = STEP_NAME};
	if (**at == '[') {
		(*at)++;
		return read_bracket(path, at, s, err);
	}
	if (**at == '.') {
		(*at)++;
		if (**at == '.') {
			s->deep = true;
			(*at)++;
		}
		if (s->deep && **at == '[') {
			(*at)++;
			return read_bracket(path, at, s, err);
		}
	} else if (!first) {
		return wrong(err, path, *at, ". or [");
	}
	return read_bare(path, at, s, err);
}

static int read_path(const char *path, struct json_path *ret, struct err *err)
{
	bool rooted = path[0] == '$' && strchr(".[", path[1]);
	const char *at = rooted ? path + 1 : path;
	int rc = SC_OK;

	ret->steps = calloc(LIMIT_JSON_STEPS, sizeof(*ret->steps));
	if (!ret->steps)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (!*path)
		return wrong(err, path, at, "a path");
	while (!rc && *at) {
		if (ret->n == LIMIT_JSON_STEPS)
			return wrong(err, path, at, "no more than 30 steps");
		/* Counted before it is whole: its name is freed with the others. */
		rc = read_step(path, &at, !rooted && ret->n == 0, &ret->steps[ret->n], err);
		ret->n++;
	}
	return rc;
}

/* Room for one path more, with the states that go with it. */
static int make_room(struct json_paths *p, struct err *err)
{
	struct json_path *list;
	uint32_t *states;

	if (p->n == LIMIT_JSON_PATHS)
		return err_set(err, SC_EINVAL, "more than %u json paths", LIMIT_JSON_PATHS);
	list = realloc(p->list, (p->n + 1u) * sizeof(*list));
	if (list)
		p->list = list;
	states = realloc(p->states, (p->n + 1u) * (LIMIT_JSON_DEPTH + 2u) * sizeof(*states));
	if (states)
		p->states = states;
	return list && states ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

int json_paths_add(struct json_paths *p, const char *path, struct rule_use use, struct err *err)
{
	struct json_path new = {.use = use};
	int rc = read_path(path, &new, err);

	if (!rc && new.n == 1 && new.steps[0].deep && new.steps[0].kind == STEP_NAME) {
		rc = names_add(&p->names, span_of(new.steps[0].name, new.steps[0].len), false, use);
		path_done(&new);
		return rc ? err_set(err, rc, "out of memory") : SC_OK;
	}
	if (!rc)
		rc = make_room(p, err);
	if (rc) {
		path_done(&new);
		return rc;
	}
	p->list[p->n++] = new;
	return SC_OK;
}
