/* SPDX-License-Identifier: Apache-2.0 */
/* The route language. Looks at a request's head, never at its body. */
#include "core/filter.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/regex.h"

enum path_kind { PATH_EXACT, PATH_PREFIX, PATH_REGEX };

struct rule {
	struct rule *next;
	char *text;    /* as written */
	char *methods; /* ",GET,HEAD,", NULL: any */
	char *host;    /* lower case; NULL: any */
	bool host_suffix; /* host is ".example.org", from *.example.org */
	enum path_kind path_kind;
	char *path; /* without the star */
	struct regex *regex;
};

struct filter {
	struct rule *routes, **routes_tail;
	struct rule *excludes, **excludes_tail;
	unsigned n;
};

struct filter *filter_new(void)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->routes_tail = &f->routes;
	f->excludes_tail = &f->excludes;
	return f;
}

static void rule_free(struct rule *r)
{
	if (!r)
		return;
	free(r->text);
	free(r->methods);
	free(r->host);
	free(r->path);
	regex_free(r->regex);
	free(r);
}

static void rules_free(struct rule *r)
{
	while (r) {
		struct rule *next = r->next;

		rule_free(r);
		r = next;
	}
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	rules_free(f->routes);
	rules_free(f->excludes);
	free(f);
}

static bool is_method_list(struct span s)
{
	bool letter = false;

	for (size_t i = 0; i < s.len; i++) {
		if (isupper(s.p[i]) || s.p[i] == '-' || s.p[i] == '_')
			letter = true;
		else if (s.p[i] != ',')
			return false;
		if (s.p[i] == ',' && (i == 0 || i + 1 == s.len || s.p[i + 1] == ','))
			return false;
	}
	return letter;
}

static struct span next_word(const char **at)
{
	const char *p = *at;
	size_t n;

	p += strspn(p, " \t");
	n = strcspn(p, " \t");
	*at = p + n;
	return span_of(p, n);
}

static char *copy_span(struct span s)
{
	return strndup((const char *)s.p, s.len);
}

static int parse_path(struct rule *r, struct span path, const char *rule, struct err *err)
{
	if (path.len && path.p[0] == '~') {
		r->path_kind = PATH_REGEX;
		r->path = copy_span(span_of(path.p + 1, path.len - 1));
		if (!r->path)
			return err_set(err, SC_ENOMEM, "out of memory");
		return regex_new(r->path, true, &r->regex, err);
	}
	if (path.len && path.p[path.len - 1] == '*') {
		r->path_kind = PATH_PREFIX;
		path.len--;
	}
	if (memchr(path.p, '*', path.len) && path.len > 1)
		return err_set(err, SC_EINVAL, "route '%s': a * stands only at the end of a path "
			       "(use ~REGEX for more)", rule);
	if (memchr(path.p, '?', path.len))
		return err_set(err, SC_EINVAL, "route '%s': paths are compared without the query",
			       rule);
	r->path = copy_span(path);
	return r->path ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int parse_host(struct rule *r, struct span host, const char *rule, struct err *err)
{
	if (host.len == 0)
		return SC_OK;
	if (host.p[0] == '*') {
		if (host.len < 3 || host.p[1] != '.')
			return err_set(err, SC_EINVAL, "route '%s': a host is NAME or *.SUFFIX",
				       rule);
		r->host_suffix = true;
		host = span_of(host.p + 1, host.len - 1);
	}
	if (memchr(host.p, '*', host.len))
		return err_set(err, SC_EINVAL, "route '%s': a host is NAME or *.SUFFIX", rule);
	r->host = copy_span(host);
	if (!r->host)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (char *c = r->host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return SC_OK;
}

/* Where the host ends and the path begins: at the first '/' or '~', or a lone '*'. */
static int parse_place(struct rule *r, struct span word, const char *rule, struct err *err)
{
	size_t i = 0;
	int rc;

	while (i < word.len && word.p[i] != '/' && word.p[i] != '~')
		i++;
	if (i == word.len && span_eq(word, span_str("*")))
		i = 0;
	if (i == word.len)
		return err_set(err, SC_EINVAL, "route '%s': '%.*s' has no path (expected "
			       "[METHOD[,METHOD]] [HOST]PATH)", rule, (int)word.len, word.p);
	rc = parse_host(r, span_of(word.p, i), rule, err);
	return rc ? rc : parse_path(r, span_of(word.p + i, word.len - i), rule, err);
}

static int rule_parse(const char *text, struct rule **ret, struct err *err)
{
	struct rule *r = calloc(1, sizeof(*r));
	const char *at = text;
	struct span word = next_word(&at);
	int rc = SC_OK;

	if (!r)
		return err_set(err, SC_ENOMEM, "out of memory");
	r->text = strdup(text);
	if (is_method_list(word)) {
		r->methods = malloc(word.len + 3);
		if (r->methods) {
			r->methods[0] = ',';
			memcpy(r->methods + 1, word.p, word.len);
			memcpy(r->methods + 1 + word.len, ",", 2);
		} else {
			rc = err_set(err, SC_ENOMEM, "out of memory");
		}
		word = next_word(&at);
	}
	if (!r->text)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	if (!rc && word.len == 0)
		rc = err_set(err, SC_EINVAL, "route '%s': no path (expected [METHOD[,METHOD]] "
			     "[HOST]PATH)", text);
	if (!rc)
		rc = parse_place(r, word, text, err);
	word = next_word(&at);
	if (!rc && word.len)
		rc = err_set(err, SC_EINVAL, "route '%s': unexpected '%.*s' after the path", text,
			     (int)word.len, word.p);
	if (rc) {
		rule_free(r);
		return rc;
	}
	*ret = r;
	return SC_OK;
}

static int add_rule(struct filter *f, struct rule ***tail, const char *text, struct err *err)
{
	struct rule *r;
	int rc;

	if (f->n >= LIMIT_RULES)
		return err_set(err, SC_EINVAL, "more than %u routes", LIMIT_RULES);
	rc = rule_parse(text, &r, err);
	if (rc)
		return rc;
	**tail = r;
	*tail = &r->next;
	f->n++;
	return SC_OK;
}

int filter_route(struct filter *f, const char *rule, struct err *err)
{
	return add_rule(f, &f->routes_tail, rule, err);
}

int filter_exclude(struct filter *f, const char *rule, struct err *err)
{
	return add_rule(f, &f->excludes_tail, rule, err);
}

/* What a request is asked for, worked out once for all rules. */
struct subject {
	struct span method, host, host_name, path;
};

static bool method_in(const char *list, struct span method)
{
	const char *at = list;

	while ((at = strchr(at, ',')) && at[1]) {
		at++;
		if (strncmp(at, (const char *)method.p, method.len) == 0 && at[method.len] == ',')
			return true;
	}
	return false;
}

static bool host_matches(const struct rule *r, const struct subject *s)
{
	struct span want = span_str(r->host);
	/* A rule that names no port takes all of them. */
	struct span have = memchr(want.p, ':', want.len) ? s->host : s->host_name;

	if (!r->host_suffix)
		return span_case_eq(have, want);
	return have.len > want.len &&
	       span_case_eq(span_of(have.p + have.len - want.len, want.len), want);
}

static bool path_matches(const struct rule *r, struct span path)
{
	switch (r->path_kind) {
	case PATH_EXACT:
		return span_eq(path, span_str(r->path));
	case PATH_PREFIX:
		return span_starts(path, span_str(r->path));
	case PATH_REGEX:
		return regex_matches(r->regex, path);
	}
	return false;
}

static const struct rule *first_match(const struct rule *r, const struct subject *s)
{
	for (; r; r = r->next) {
		if ((!r->methods || method_in(r->methods, s->method)) &&
		    (!r->host || host_matches(r, s)) && path_matches(r, s->path))
			return r;
	}
	return NULL;
}

/* The name without ":port"; an IPv6 literal keeps its brackets. */
static struct span without_port(struct span host)
{
	size_t i = host.len;

	while (i > 0 && isdigit(host.p[i - 1]))
		i--;
	if (i > 0 && i < host.len + 1 && host.p[i - 1] == ':')
		host.len = i - 1;
	return host;
}

bool filter_takes(const struct filter *f, const struct message *request, const char **ret_route)
{
	struct subject s;
	struct target t;
	const struct rule *r;

	*ret_route = NULL;
	if (!f->n)
		return true;
	target_split(message_target(request), &t);
	s.method = message_method(request);
	s.path = t.path;
	s.host = message_host(request);
	s.host_name = without_port(s.host);
	if (first_match(f->excludes, &s))
		return false;
	if (!f->routes)
		return true;
	r = first_match(f->routes, &s);
	if (!r)
		return false;
	*ret_route = r->text;
	return true;
}

struct filter_stage {
	struct stage stage;
	struct filter *filter;
};

static enum verdict filter_head(struct stage *st, struct exchange *ex)
{
	struct filter_stage *s = (struct filter_stage *)st;
	const char *route;

	if (!filter_takes(s->filter, ex->request, &route))
		return VERDICT_FILTERED;
	if (route)
		ex->route = route;
	return VERDICT_KEEP;
}

static void filter_stage_free(struct stage *st)
{
	filter_free(((struct filter_stage *)st)->filter);
	free(st);
}

static const struct stage_ops filter_ops = {
	.name = "filter",
	.head = filter_head,
	.free = filter_stage_free,
};

struct stage *stage_filter_new(struct filter *f)
{
	struct filter_stage *s = calloc(1, sizeof(*s));

	if (!s) {
		filter_free(f);
		return NULL;
	}
	s->stage.ops = &filter_ops;
	s->filter = f;
	return &s->stage;
}
