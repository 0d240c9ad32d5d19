/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a manifest: their names, what is said about them, the values that stand there. Knows no
 * kind of document. */
#include "manifest_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

#define PATH_TEXT 240

int reader_count(struct reader *r, const struct place *at)
{
	if (++r->parts <= LIMIT_MANIFEST_PARTS)
		return SC_OK;
	return place_wrong(r, at,
			   "more than %u hosts, rules, conditions, changes and mirrors in all",
			   LIMIT_MANIFEST_PARTS);
}

static const char *place_file(const struct place *at)
{
	while (at->up)
		at = at->up;
	return at->file;
}

/* "spec.http[0].match[1].uri", cut where it is longer than anybody reads. */
static void write_path(const struct place *at, char to[PATH_TEXT])
{
	const struct place *way[LIMIT_MANIFEST_DEPTH + 1];
	size_t len = 0;
	unsigned n = 0;

	for (; at->up && n < LIMIT_MANIFEST_DEPTH; at = at->up)
		way[n++] = at;
	to[0] = '\0';
	while (n-- > 0 && len < PATH_TEXT) {
		int more;

		if (way[n]->key)
			more = snprintf(to + len, PATH_TEXT - len, "%s%.64s", len ? "." : "",
					way[n]->key);
		else
			more = snprintf(to + len, PATH_TEXT - len, "[%u]", way[n]->index);
		len += more > 0 ? (size_t)more : 0;
	}
}

char *place_name(struct reader *r, const struct place *at)
{
	char path[PATH_TEXT], *name;

	write_path(at, path);
	name = arena_text(&r->arena, "%s:%u%s%s", place_file(at), at->line, path[0] ? ": " : "",
			  path);
	if (!name)
		(void)reader_no_memory(r);
	return name;
}

int place_wrong(struct reader *r, const struct place *at, const char *fmt, ...)
{
	char text[300], path[PATH_TEXT];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_path(at, path);
	return err_set(r->err, SC_EINVAL, "%s:%u: %s%s%s", place_file(at), at->line, path,
		       path[0] ? ": " : "", text);
}

int place_failed(struct reader *r, const struct place *at, int rc, const struct err *inner)
{
	if (rc == SC_EINVAL)
		return place_wrong(r, at, "%s", inner->text);
	return rc ? err_set(r->err, rc, "%s", inner->text) : SC_OK;
}

static void warn_line(struct reader *r, const char *line)
{
	char text[512];

	if (!r->o->warn || r->warnings++ >= LIMIT_MANIFEST_WARNINGS)
		return;
	(void)snprintf(text, sizeof(text), "%s", line);
	/* A line is a line, whatever a manifest's keys hold. */
	for (char *c = text; *c; c++) {
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	}
	r->o->warn(r->o->arg, text);
}

void named_warn(struct reader *r, const char *place, const char *fmt, ...)
{
	char text[300], line[600];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(line, sizeof(line), "%s: %s", place, text);
	warn_line(r, line);
}

void place_warn(struct reader *r, const struct place *at, const char *fmt, ...)
{
	char text[300], path[PATH_TEXT], line[900];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_path(at, path);
	(void)snprintf(line, sizeof(line), "%s:%u: %s%s%s", place_file(at), at->line, path,
		       path[0] ? ": " : "", text);
	warn_line(r, line);
}

struct place place_item(const struct place *at, unsigned i)
{
	const struct pair *pair = &at->node->pairs[i];
	const struct value *value = pair->value;
	bool given = value->kind != VALUE_NULL;

	return (struct place){.up = at,
			      .key = pair->key,
			      .index = i,
			      .line = given ? value->line : pair->line,
			      .node = given ? value : NULL};
}

static const char *kind_name(enum value_kind kind)
{
	static const char *const names[] = {
		[VALUE_NULL] = "nothing",
		[VALUE_TEXT] = "a plain value",
		[VALUE_MAP] = "a mapping",
		[VALUE_LIST] = "a list",
	};

	return names[kind];
}

int place_is(struct reader *r, const struct place *at, enum value_kind kind)
{
	if (!at->node || at->node->kind == kind)
		return SC_OK;
	return place_wrong(r, at, "expected %s, not %s", kind_name(kind),
			   kind_name(at->node->kind));
}

static bool is_snake_of(const char *key, const char *name)
{
	for (; *name; name++, key++) {
		if (isupper((unsigned char)*name) && *key++ != '_')
			return false;
		if (*key != tolower((unsigned char)*name))
			return false;
	}
	return *key == '\0';
}

/* The row of a key; n: none. */
static unsigned field_row(const struct known *fields, unsigned n, const char *key, bool *snake)
{
	unsigned i = 0;

	*snake = false;
	while (i < n && strcmp(key, fields[i].name) != 0)
		i++;
	if (i < n)
		return i;
	*snake = true;
	for (i = 0; i < n && !is_snake_of(key, fields[i].name);)
		i++;
	return i;
}

/* One field. Of two spellings lowerCamelCase counts. */
static void field_put(struct reader *r, const struct place *given, const struct known *field,
		      bool snake, struct place *ret)
{
	const struct place *loser = snake ? given : ret;

	if (!given->node)
		return;
	if (ret->node)
		place_warn(r, loser, "is ignored: %s is given too, and counts", field->name);
	else if (field->warning)
		place_warn(r, given, "%s", field->warning);
	if (!ret->node || !snake)
		*ret = *given;
}

/* "exact, prefix or regex": what could have stood there. */
static int no_mapping(struct reader *r, const struct place *at, const struct known *fields,
		      unsigned n)
{
	char names[120] = "";
	size_t len = 0;

	for (unsigned i = 0; i < n && i < 3 && len < sizeof(names); i++) {
		const char *joint = i == 0 ? "" : i + 1 == n || i == 2 ? " or " : ", ";

		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", joint,
					fields[i].name);
	}
	return place_wrong(r, at, "expected a mapping with %s%s, not %s", names,
			   n > 3 ? " or others" : "", kind_name(at->node->kind));
}

int fields_find(struct reader *r, const struct place *at, const struct known *fields, unsigned n,
		struct place *ret)
{
	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct place){.up = at, .key = fields[i].name, .line = at->line};
	if (!at->node)
		return SC_OK;
	if (at->node->kind != VALUE_MAP)
		return no_mapping(r, at, fields, n);
	for (unsigned i = 0; i < at->node->n; i++) {
		struct place given = place_item(at, i);
		bool snake;
		unsigned row = field_row(fields, n, given.key, &snake);

		if (row < n) {
			field_put(r, &given, &fields[row], snake, &ret[row]);
		} else {
			given.line = at->node->pairs[i].line;
			place_warn(r, &given, "is ignored: there is no such field");
		}
	}
	return SC_OK;
}

int place_text(struct reader *r, const struct place *at, const char **ret)
{
	if (!at->node)
		return SC_OK;
	if (at->node->kind != VALUE_TEXT)
		return place_wrong(r, at, "expected a text, not %s", kind_name(at->node->kind));
	if (strlen(at->node->text) > LIMIT_MANIFEST_TEXT)
		return place_wrong(r, at, "is longer than %u KiB", LIMIT_MANIFEST_TEXT / KIB);
	*ret = at->node->text;
	return SC_OK;
}

int place_need(struct reader *r, const struct place *at, const char *what, const char **ret)
{
	const char *text = "";
	int rc = place_text(r, at, &text);

	if (rc)
		return rc;
	if (!*text)
		return place_wrong(r, at, "is missing; expected %s", what);
	*ret = text;
	return SC_OK;
}

int place_number(struct reader *r, const struct place *at, double low, double high, double *ret)
{
	const char *text = NULL;
	double value;
	char *end;
	int rc;

	if (at->node && at->node->kind != VALUE_TEXT)
		return place_wrong(r, at, "expected a number within %.10g..%.10g, not %s", low,
				   high, kind_name(at->node->kind));
	rc = place_text(r, at, &text);
	if (rc || !text)
		return rc;
	value = strtod(text, &end);
	if (end == text || *end || text[strspn(text, "+-.0123456789eE")])
		return place_wrong(r, at, "'%.64s' is no number; expected one within %.10g..%.10g",
				   text, low, high);
	if (!(value >= low && value <= high))
		return place_wrong(r, at, "%.64s is not within %.10g..%.10g", text, low, high);
	*ret = value;
	return SC_OK;
}

int place_integer(struct reader *r, const struct place *at, unsigned low, unsigned high,
		  unsigned *ret)
{
	double value = low;
	int rc = place_number(r, at, low, high, &value);

	if (rc || !at->node)
		return rc;
	if (value != (double)(unsigned)value)
		return place_wrong(r, at, "%.64s is no whole number within %u..%u", at->node->text,
				   low, high);
	*ret = (unsigned)value;
	return SC_OK;
}

int place_flag(struct reader *r, const struct place *at, bool *ret)
{
	/* YAML 1.1 knew more words for it than 1.2 does; Kubernetes still takes them. */
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	const char *text = NULL;
	int rc = place_text(r, at, &text);

	if (rc || !text)
		return rc;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*ret = i & 1;
			return SC_OK;
		}
	}
	return place_wrong(r, at, "'%.64s' is neither true nor false", text);
}
