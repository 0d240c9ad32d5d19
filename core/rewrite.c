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
	char *from, *to;
	struct regex *regex; /* NULL: from is a prefix */
};

static int rewritten_path(const struct path_rewrite *s, struct span path, struct buf *out)
{
	struct span from = span_str(s->from);
	int rc;

	if (s->regex) {
		rc = regex_replace(s->regex, path, span_str(s->to), out);
		return rc < 0 ? rc : SC_OK;
	}
	rc = buf_add_str(out, s->to);
	return rc ? rc : buf_add(out, path.p + from.len, path.len - from.len);
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
	if (!s->regex && !span_starts(t.path, span_str(s->from)))
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

int stage_rewrite_new(const char *rule, struct stage **ret, struct err *err)
{
	bool is_regex = rule[0] == '~';
	/* A path seldom holds a =, what replaces a match seldom does. */
	const char *eq = is_regex ? strrchr(rule, '=') : strchr(rule, '=');
	struct path_rewrite *s;
	int rc = SC_OK;

	if (!eq || eq == rule + is_regex)
		return err_set(err, SC_EINVAL, "rewrite '%s': expected FROM=TO or ~REGEX=TO", rule);
	if (!is_regex && rule[0] != '/')
		return err_set(err, SC_EINVAL, "rewrite '%s': FROM is a path and begins with /",
			       rule);
	if (has_space(eq + 1))
		return err_set(err, SC_EINVAL, "rewrite '%s': TO must not hold white space", rule);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->stage.ops = &path_ops;
	s->from = strndup(rule + is_regex, (size_t)(eq - rule) - is_regex);
	s->to = strdup(eq + 1);
	if (!s->from || !s->to)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	if (!rc && is_regex)
		rc = regex_new(s->from, false, &s->regex, err);
	if (rc) {
		path_free(&s->stage);
		return rc;
	}
	*ret = &s->stage;
	return SC_OK;
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
	if (!rc)
		rc = buf_add_str(out, "-shadow");
	return rc ? rc : buf_add(out, host.p + name, host.len - name);
}

static enum verdict host_whole(struct stage *st, struct exchange *ex)
{
	struct host_rewrite *s = (struct host_rewrite *)st;
	struct message *m = ex->request;
	struct buf out;
	int rc;

	if (s->mode == HOST_KEEP)
		return VERDICT_KEEP;
	buf_init(&out, LIMIT_HEAD_BYTES);
	rc = s->mode == HOST_SHADOW ? shadow_name(message_host(m), &out)
				    : buf_add_str(&out, s->name);
	if (!rc)
		rc = message_set_field(m, span_str("Host"), buf_span(&out));
	buf_done(&out);
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

int stage_header_new(enum header_op op, const char *text, struct stage **ret, struct err *err)
{
	const char *colon = strchr(text, ':');
	size_t name_len = op == HEADER_REMOVE ? strlen(text) : colon ? (size_t)(colon - text) : 0;
	const char *value = colon && op != HEADER_REMOVE ? colon + 1 : "";
	struct header_rewrite *s;

	if (!is_token(text, name_len))
		return err_set(err, SC_EINVAL, "header '%s': expected %s", text,
			       op == HEADER_REMOVE ? "a field name" : "'Name: value'");
	if (strpbrk(value, "\r\n"))
		return err_set(err, SC_EINVAL, "header '%.*s': a value is one line", (int)name_len,
			       text);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->stage.ops = &header_ops;
	s->op = op;
	s->name = strndup(text, name_len);
	s->value = strdup(value + strspn(value, " \t"));
	if (!s->name || !s->value) {
		header_free(&s->stage);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	*ret = &s->stage;
	return SC_OK;
}
