/* SPDX-License-Identifier: Apache-2.0 */
/* Stages that change a request's head on its way to another target. Bodies are never touched. */
#include "core/rewrite.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/regex.h"

struct path_rewrite {
	struct stage stage;
	enum path_change change;
	char *from, *to;
	struct regex *regex; /* of PATH_CHANGE_REGEX */
};

/* Replaces the beginning of a path by whole segments: one slash where two would meet, and one where
 * none would stand (Gateway API, HTTPPathModifier). */
static int put_segments(const struct path_rewrite *s, struct span rest, struct buf *out)
{
	struct span to = span_str(s->to);
	int rc;

	while (to.len && to.p[to.len - 1] == '/')
		to.len--;
	rc = buf_add_span(out, to);
	if (!rc && rest.len && rest.p[0] != '/')
		rc = buf_add_str(out, "/");
	return rc ? rc : buf_add_span(out, rest);
}

static bool path_begins(const struct path_rewrite *s, struct span path)
{
	size_t len = strlen(s->from);

	if (path.len < len)
		return false;
	if (s->change == PATH_CHANGE_FOLDED)
		return strncasecmp((const char *)path.p, s->from, len) == 0;
	if (len && memcmp(path.p, s->from, len) != 0)
		return false;
	return s->change != PATH_CHANGE_SEGMENTS || path.len == len || len == 0 ||
	       s->from[len - 1] == '/' || path.p[len] == '/';
}

static int rewritten_path(const struct path_rewrite *s, struct span path, struct buf *out)
{
	size_t from = strlen(s->from);
	int rc;

	switch (s->change) {
	case PATH_CHANGE_REGEX:
		rc = regex_replace(s->regex, path, span_str(s->to), out);
		return rc < 0 ? rc : SC_OK;
	case PATH_CHANGE_SEGMENTS:
		return put_segments(s, span_of(path.p + from, path.len - from), out);
	case PATH_CHANGE_WHOLE:
		return buf_add_str(out, s->to);
	case PATH_CHANGE_PREFIX:
	case PATH_CHANGE_FOLDED:
		break;
	}
	rc = buf_add_str(out, s->to);
	return rc ? rc : buf_add(out, path.p + from, path.len - from);
}

static enum verdict path_whole(struct stage *st, struct exchange *ex)
{
	struct path_rewrite *s = (struct path_rewrite *)st;
	struct span target = message_target(ex->request);
	struct target t;
	struct buf out;
	int rc;

	target_split(target, &t);
	if (t.path.p < target.p || t.path.p >= target.p + target.len)
		return VERDICT_KEEP; /* a path that is only implied: http://host */
	if (s->change != PATH_CHANGE_REGEX && s->change != PATH_CHANGE_WHOLE &&
	    !path_begins(s, t.path))
		return VERDICT_KEEP;
	buf_init(&out, LIMIT_HEAD_BYTES);
	rc = buf_add(&out, target.p, (size_t)(t.path.p - target.p));
	if (!rc)
		rc = rewritten_path(s, t.path, &out);
	if (!rc && out.len == 0) /* a request line needs a target */
		rc = buf_add_str(&out, "/");
	if (!rc && t.query.p)
		rc = buf_add(&out, t.query.p - 1, t.query.len + 1);
	if (!rc)
		rc = message_set_target(ex->request, buf_span(&out));
	buf_done(&out);
	return rc ? VERDICT_ERROR : VERDICT_KEEP;
}

static void path_free(struct stage *st)
{
	struct path_rewrite *s = (struct path_rewrite *)st;

	free(s->from);
	free(s->to);
	regex_free(s->regex);
	free(s);
}

static const struct stage_ops path_ops = {
	.name = "rewrite",
	.whole = path_whole,
	.free = path_free,
};

static bool has_space(const char *s)
{
	for (; *s; s++) {
		if (isspace((unsigned char)*s) || iscntrl((unsigned char)*s))
			return true;
	}
	return false;
}

int stage_path_new(enum path_change change, const char *from, const char *to, struct stage **ret,
		   struct err *err)
{
	struct path_rewrite *s;
	int rc = SC_OK;

	if (has_space(to))
		return err_set(err, SC_EINVAL, "rewrite to '%s': a path holds no white space", to);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->stage.ops = &path_ops;
	s->change = change;
	s->from = strdup(from ? from : "");
	s->to = strdup(to);
	if (!s->from || !s->to)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	if (!rc && change == PATH_CHANGE_REGEX)
		rc = regex_new(s->from, false, &s->regex, err);
	/* "/a/" and "/a" name the same segments; what is left then begins with its slash. */
	if (!rc && change == PATH_CHANGE_SEGMENTS && s->from[0] &&
	    s->from[strlen(s->from) - 1] == '/')
		s->from[strlen(s->from) - 1] = '\0';
	if (rc) {
		path_free(&s->stage);
		return rc;
	}
	*ret = &s->stage;
	return SC_OK;
}

int stage_rewrite_new(const char *rule, struct stage **ret, struct err *err)
{
	bool is_regex = rule[0] == '~';
	/* A path seldom holds a =, what replaces a match seldom does. */
	const char *eq = is_regex ? strrchr(rule, '=') : strchr(rule, '=');
	char *from;
	int rc;

	if (!eq || eq == rule + is_regex)
		return err_set(err, SC_EINVAL, "rewrite '%s': expected FROM=TO or ~REGEX=TO", rule);
	if (!is_regex && rule[0] != '/')
		return err_set(err, SC_EINVAL, "rewrite '%s': FROM is a path and begins with /",
			       rule);
	from = strndup(rule + is_regex, (size_t)(eq - rule) - is_regex);
	if (!from)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = stage_path_new(is_regex ? PATH_CHANGE_REGEX : PATH_CHANGE_PREFIX, from, eq + 1, ret,
			    err);
	free(from);
	return rc;
}

struct host_rewrite {
	struct stage stage;
	enum host_mode mode;
	char *name;
};

int host_mode_parse(const char *text, enum host_mode *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum host_mode mode;
	} modes[] = {
		{"keep", HOST_KEEP},
		{"target", HOST_TARGET},
		{"shadow", HOST_SHADOW},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(text, modes[i].name) == 0) {
			*ret = modes[i].mode;
			return SC_OK;
		}
	}
	if (!*text || has_space(text) || strpbrk(text, "/?#@"))
		return err_set(err, SC_EINVAL, "host '%s': expected keep, target, shadow or a name",
			       text);
	*ret = HOST_NAME;
	return SC_OK;
}

/* h:8080 -> h-shadow:8080, as Envoy does. */
static int shadow_name(struct span host, struct buf *out)
{
	size_t name = host.len;
	int rc;

	while (name > 0 && isdigit(host.p[name - 1]))
		name--;
	name = name > 0 && host.p[name - 1] == ':' ? name - 1 : host.len;
	rc = buf_add(out, host.p, name);
	/* An address has no other name. */
	if (!rc && !(name > 0 && host.p[0] == '['))
		rc = buf_add_str(out, "-shadow");
	return rc ? rc : buf_add(out, host.p + name, host.len - name);
}

/* The authority of an absolute target (RFC 9112, 3.2.2) overrides Host, so both say the same. */
static int set_authority(struct message *m, struct span host)
{
	struct span target = message_target(m);
	struct target t;
	struct buf out;
	int rc;

	if (target.len && target.p[0] == '/')
		return SC_OK;
	target_split(target, &t);
	if (!t.scheme.p)
		return SC_OK;
	buf_init(&out, LIMIT_HEAD_BYTES);
	rc = buf_add(&out, target.p, (size_t)(t.authority.p - target.p));
	if (!rc)
		rc = buf_add_span(&out, host);
	if (!rc)
		rc = buf_add(&out, t.authority.p + t.authority.len,
			     (size_t)(target.p + target.len - t.authority.p) - t.authority.len);
	if (!rc)
		rc = message_set_target(m, buf_span(&out));
	buf_done(&out);
	return rc;
}

static int set_host(struct message *m, struct span host)
{
	int rc = message_set_field(m, span_str("Host"), host);

	return rc ? rc : set_authority(m, host);
}

static int set_shadow(struct message *m)
{
	struct buf out;
	int rc;

	buf_init(&out, LIMIT_HEAD_BYTES);
	rc = shadow_name(message_host(m), &out);
	if (!rc)
		rc = set_host(m, buf_span(&out));
	buf_done(&out);
	return rc;
}

static enum verdict host_whole(struct stage *st, struct exchange *ex)
{
	struct host_rewrite *s = (struct host_rewrite *)st;
	int rc;

	if (s->mode == HOST_KEEP)
		return VERDICT_KEEP;
	rc = s->mode == HOST_SHADOW ? set_shadow(ex->request)
				    : set_host(ex->request, span_str(s->name));
	/* HTTP/0.9 has no fields to set. */
	return rc && rc != SC_EPROTO ? VERDICT_ERROR : VERDICT_KEEP;
}

static void host_free(struct stage *st)
{
	free(((struct host_rewrite *)st)->name);
	free(st);
}

static const struct stage_ops host_ops = {
	.name = "host",
	.whole = host_whole,
	.free = host_free,
};

struct stage *stage_host_new(enum host_mode mode, const char *name)
{
	struct host_rewrite *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage.ops = &host_ops;
	s->mode = mode;
	s->name = strdup(name ? name : "");
	if (!s->name) {
		free(s);
		return NULL;
	}
	return &s->stage;
}

struct header_rewrite {
	struct stage stage;
	enum header_op op;
	char *name, *value;
};

static enum verdict header_whole(struct stage *st, struct exchange *ex)
{
	struct header_rewrite *s = (struct header_rewrite *)st;
	struct span name = span_str(s->name);
	int rc = SC_OK;

	switch (s->op) {
	case HEADER_SET:
		rc = message_set_field(ex->request, name, span_str(s->value));
		break;
	case HEADER_ADD:
		rc = message_add_field(ex->request, name, span_str(s->value));
		break;
	case HEADER_REMOVE:
		rc = message_remove_all(ex->request, name);
		break;
	}
	return rc && rc != SC_EPROTO ? VERDICT_ERROR : VERDICT_KEEP;
}

static void header_free(struct stage *st)
{
	struct header_rewrite *s = (struct header_rewrite *)st;

	free(s->name);
	free(s->value);
	free(s);
}

static const struct stage_ops header_ops = {
	.name = "header",
	.whole = header_whole,
	.free = header_free,
};

/* RFC 9110, 5.6.2. */
static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr("!#$%&'*+-.^_`|~", s[i]))
			return false;
	}
	return len > 0;
}

/* Fields that only say how the body is framed: they follow the body, nobody sets them. */
static bool frames_body(const char *name, size_t len)
{
	static const char *const names[] = {"Content-Length", "Transfer-Encoding"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
			return true;
	}
	return false;
}

static int header_stage(enum header_op op, struct span name, const char *value,
			struct stage **ret, struct err *err)
{
	struct header_rewrite *s;

	if (op != HEADER_REMOVE && span_case_eq(name, span_str("Host"))) {
		enum host_mode unused;
		int rc = host_mode_parse(value, &unused, err);

		if (rc)
			return rc;
		*ret = stage_host_new(HOST_NAME, value);
		return *ret ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->stage.ops = &header_ops;
	s->op = op;
	s->name = strndup((const char *)name.p, name.len);
	s->value = strdup(value);
	if (!s->name || !s->value) {
		header_free(&s->stage);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	*ret = &s->stage;
	return SC_OK;
}

static int check_field(const char *name, size_t len, const char *value, struct err *err)
{
	if (frames_body(name, len))
		return err_set(err, SC_EINVAL, "header '%.*s': follows the body and cannot be set or "
			       "removed", (int)len, name);
	if (strpbrk(value, "\r\n"))
		return err_set(err, SC_EINVAL, "header '%.*s': a value is one line", (int)len, name);
	return SC_OK;
}

/* RFC 9112, 3.2: a request without Host is refused. */
static int check_removal(enum header_op op, const char *name, size_t len, struct err *err)
{
	if (op != HEADER_REMOVE || !span_case_eq(span_of(name, len), span_str("Host")))
		return SC_OK;
	return err_set(err, SC_EINVAL, "header 'Host': cannot be removed (--host NAME changes it)");
}

int stage_header_new(enum header_op op, const char *text, struct stage **ret, struct err *err)
{
	const char *colon = strchr(text, ':');
	size_t len = op == HEADER_REMOVE ? strlen(text) : colon ? (size_t)(colon - text) : 0;
	const char *value = colon && op != HEADER_REMOVE ? colon + 1 : "";
	int rc;

	if (!is_token(text, len))
		return err_set(err, SC_EINVAL, "header '%s': expected %s", text,
			       op == HEADER_REMOVE ? "a field name" : "'Name: value'");
	rc = check_field(text, len, value, err);
	if (!rc)
		rc = check_removal(op, text, len, err);
	return rc ? rc : header_stage(op, span_of(text, len), value + strspn(value, " \t"), ret, err);
}

int stage_field_new(enum header_op op, const char *name, const char *value, struct stage **ret,
		    struct err *err)
{
	int rc;

	if (!is_token(name, strlen(name)))
		return err_set(err, SC_EINVAL, "'%s' is no field name", name);
	rc = check_field(name, strlen(name), value ? value : "", err);
	if (!rc)
		rc = check_removal(op, name, strlen(name), err);
	return rc ? rc : header_stage(op, span_str(name), value ? value : "", ret, err);
}

struct query_rewrite {
	struct stage stage;
	enum query_op op;
	char *name, *value; /* value NULL: it removes */
};

/* Copies the parameters of other names, and puts the new one where the first of that name stood. */
static int put_query(const struct query_rewrite *s, struct span query, struct buf *out)
{
	struct span name = span_str(s->name);
	bool done = s->op == QUERY_REMOVE, first = true;
	int rc = SC_OK;

	while (!rc && (query.len || !done)) {
		const uint8_t *end = query.len ? memchr(query.p, '&', query.len) : NULL;
		struct span pair = span_of(query.p, end ? (size_t)(end - query.p) : query.len);
		const uint8_t *eq = pair.len ? memchr(pair.p, '=', pair.len) : NULL;
		bool ours = span_eq(span_of(pair.p, eq ? (size_t)(eq - pair.p) : pair.len), name);
		bool last = query.len == 0;
		bool put = (ours || last) && !done;

		query = end ? span_of(end + 1, query.len - pair.len - 1) : span_of(NULL, 0);
		if (!put && (ours || last))
			continue;
		if (!first)
			rc = buf_add_str(out, "&");
		first = false;
		if (!put) {
			rc = rc ? rc : buf_add_span(out, pair);
			continue;
		}
		done = true;
		rc = rc ? rc : buf_add_str(out, s->name);
		if (!rc)
			rc = buf_addf(out, "=%s", s->value);
	}
	return rc;
}

static enum verdict query_whole(struct stage *st, struct exchange *ex)
{
	const struct query_rewrite *s = (const struct query_rewrite *)st;
	struct span target = message_target(ex->request);
	struct buf out, query;
	struct target t;
	size_t keep;
	int rc;

	target_split(target, &t);
	/* OPTIONS * and CONNECT have no query (RFC 9112, 3.2.3 and 3.2.4). */
	if ((s->op == QUERY_REMOVE && !t.query.p) || span_eq(target, span_str("*")) ||
	    (t.authority.p && !t.scheme.p))
		return VERDICT_KEEP;
	keep = target.len - (t.query.p ? t.query.len + 1 : 0);
	buf_init(&out, LIMIT_HEAD_BYTES);
	buf_init(&query, LIMIT_HEAD_BYTES);
	rc = put_query(s, t.query, &query);
	if (!rc && s->op == QUERY_REMOVE && query.len == t.query.len) {
		buf_done(&query); /* it was not there */
		return VERDICT_KEEP;
	}
	if (!rc)
		rc = buf_add(&out, target.p, keep);
	if (!rc && query.len)
		rc = buf_add_str(&out, "?");
	if (!rc)
		rc = buf_add_span(&out, buf_span(&query));
	if (!rc)
		rc = message_set_target(ex->request, buf_span(&out));
	buf_done(&query);
	buf_done(&out);
	return rc ? VERDICT_ERROR : VERDICT_KEEP;
}

static void query_free(struct stage *st)
{
	struct query_rewrite *s = (struct query_rewrite *)st;

	free(s->name);
	free(s->value);
	free(s);
}

static const struct stage_ops query_ops = {
	.name = "query",
	.whole = query_whole,
	.free = query_free,
};

int stage_query_new(enum query_op op, const char *text, struct stage **ret, struct err *err)
{
	const char *eq = op == QUERY_SET ? strchr(text, '=') : NULL;
	size_t len = eq ? (size_t)(eq - text) : strlen(text);
	struct query_rewrite *s;

	if (len == 0 || (op == QUERY_SET && !eq) || has_space(text) || strpbrk(text, "&#"))
		return err_set(err, SC_EINVAL, "query '%s': expected %s as in a URL", text,
			       op == QUERY_SET ? "NAME=VALUE" : "NAME");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->stage.ops = &query_ops;
	s->op = op;
	s->name = strndup(text, len);
	s->value = eq ? strdup(eq + 1) : NULL;
	if (!s->name || (eq && !s->value)) {
		query_free(&s->stage);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	*ret = &s->stage;
	return SC_OK;
}
