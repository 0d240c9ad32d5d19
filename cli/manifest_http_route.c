/* SPDX-License-Identifier: Apache-2.0 */
/* HTTPRoute of the Gateway API: each match becomes a rule of its own, since what counts is not the
 * order in the document but which match is the most exact. Paths compare by whole segments there,
 * names of headers without case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest_parts.h"

/* How exact a match is; compared from the first to the last. */
enum { EXACT_PATH, EXACT_LENGTH, EXACT_METHOD, EXACT_HEADERS, EXACT_QUERY, EXACT_PARTS };
struct match {
	size_t exact[EXACT_PARTS];
	const char *prefix; /* of the path, that a rewrite may replace; NULL: there is none */
	unsigned index;	    /* in the document */
};

/* One route while it is read. */
struct route {
	struct reader *r;
	const struct document *d;
	struct policy_group *g;
	struct match *matches; /* of each rule of the group */
};

enum { NAMED_TYPE, NAMED_NAME, NAMED_VALUE, NAMED_FIELDS };
static const struct known named_fields[NAMED_FIELDS] = {
	[NAMED_TYPE] = {"type", NULL},
	[NAMED_NAME] = {"name", NULL},
	[NAMED_VALUE] = {"value", NULL},
};

struct test_type {
	const char *name;
	enum text_kind kind;
	size_t exact;
};
static const struct test_type test_types[] = {
	{"Exact", TEXT_EXACT, 3},
	{"RegularExpression", TEXT_REGEX, 1},
	{"PathPrefix", TEXT_SEGMENTS, 2},
};
#define PATH_TYPES 3u
#define VALUE_TYPES 2u

static int read_type(struct reader *r, const struct place *at, unsigned n,
		     const struct test_type **ret)
{
	const char *text = (*ret)->name;
	int rc = place_text(r, at, &text);

	for (unsigned i = 0; i < n && !rc; i++) {
		if (strcmp(text, test_types[i].name) == 0) {
			*ret = &test_types[i];
			return SC_OK;
		}
	}
	return rc ? rc
		  : place_wrong(r, at, "'%.64s' is none of Exact%s and RegularExpression", text,
				n == PATH_TYPES ? ", PathPrefix" : "");
}

static int add_test(struct reader *r, const struct place *at, struct rule *rule,
		    enum rule_part part, const char *name, enum text_kind kind, const char *value)
{
	struct text *text = NULL;
	struct err inner;
	int rc = text_new(kind, value, false, &text, &inner);

	return rc ? place_failed(r, at, rc, &inner) : match_add(r, at, rule, part, name, text);
}

enum { PATH_TYPE, PATH_VALUE, PATH_FIELDS };
static const struct known path_fields[PATH_FIELDS] = {
	[PATH_TYPE] = {"type", NULL},
	[PATH_VALUE] = {"value", NULL},
};

/* "/a/" means the same as "/a". */
static int read_path(struct reader *r, const struct place *at, struct rule *rule, struct match *m)
{
	const struct test_type *type = &test_types[PATH_TYPES - 1];
	struct place f[PATH_FIELDS];
	const char *value = "/";
	size_t len;
	int rc = fields_find(r, at, path_fields, PATH_FIELDS, f);

	if (!rc)
		rc = read_type(r, &f[PATH_TYPE], PATH_TYPES, &type);
	if (!rc)
		rc = place_text(r, &f[PATH_VALUE], &value);
	if (!rc && value[0] != '/' && type->kind != TEXT_REGEX)
		rc = place_wrong(r, &f[PATH_VALUE],
				 "'%.80s' is no path; expected one that begins "
				 "with /",
				 value);
	if (rc)
		return rc;
	len = strlen(value);
	while (type->kind == TEXT_SEGMENTS && len > 1 && value[len - 1] == '/')
		len--;
	value = arena_copy(&r->arena, value, len);
	if (!value)
		return reader_no_memory(r);
	m->exact[EXACT_PATH] = type->exact;
	m->exact[EXACT_LENGTH] = len;
	m->prefix = type->kind == TEXT_SEGMENTS ? value : NULL;
	if (m->prefix && len == 1)
		return SC_OK; /* every path begins with / */
	return add_test(r, at, rule, RULE_PATH, NULL, type->kind, value);
}

static int read_tests(struct reader *r, const struct place *list, struct rule *rule,
		      enum rule_part part)
{
	int rc = place_is(r, list, VALUE_LIST);

	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i), f[NAMED_FIELDS];
		const struct test_type *type = &test_types[0];
		const char *name = NULL, *value = "";

		rc = fields_find(r, &at, named_fields, NAMED_FIELDS, f);
		if (!rc)
			rc = read_type(r, &f[NAMED_TYPE], VALUE_TYPES, &type);
		if (!rc)
			rc = place_need(r, &f[NAMED_NAME], "a name", &name);
		if (!rc)
			rc = place_text(r, &f[NAMED_VALUE], &value);
		if (!rc)
			rc = add_test(r, &at, rule, part, name, type->kind, value);
	}
	return rc;
}

enum { MATCH_PATH, MATCH_METHOD, MATCH_HEADERS, MATCH_QUERY, MATCH_FIELDS };
static const struct known match_fields[MATCH_FIELDS] = {
	[MATCH_PATH] = {"path", NULL},
	[MATCH_METHOD] = {"method", NULL},
	[MATCH_HEADERS] = {"headers", NULL},
	[MATCH_QUERY] = {"queryParams", NULL},
};

static int read_match(struct reader *r, const struct place *at, struct rule *rule, struct match *m)
{
	struct place f[MATCH_FIELDS];
	const char *method = "";
	int rc = fields_find(r, at, match_fields, MATCH_FIELDS, f);

	if (!rc)
		rc = read_path(r, &f[MATCH_PATH], rule, m);
	if (!rc)
		rc = place_text(r, &f[MATCH_METHOD], &method);
	if (!rc && *method)
		rc = add_test(r, &f[MATCH_METHOD], rule, RULE_METHOD, NULL, TEXT_EXACT, method);
	if (!rc)
		rc = read_tests(r, &f[MATCH_HEADERS], rule, RULE_HEADER);
	if (!rc)
		rc = read_tests(r, &f[MATCH_QUERY], rule, RULE_QUERY);
	m->exact[EXACT_METHOD] = *method != '\0';
	m->exact[EXACT_HEADERS] = place_count(&f[MATCH_HEADERS]);
	m->exact[EXACT_QUERY] = place_count(&f[MATCH_QUERY]);
	return rc;
}

enum { MODIFY_SET, MODIFY_ADD, MODIFY_REMOVE, MODIFY_FIELDS };
static const struct known modify_fields[MODIFY_FIELDS] = {
	[MODIFY_SET] = {"set", NULL},
	[MODIFY_ADD] = {"add", NULL},
	[MODIFY_REMOVE] = {"remove", NULL},
};

static int read_modification(struct reader *r, const struct place *at, struct change *c,
			     enum header_op op)
{
	struct change_field field = {op, NULL, ""};
	struct place f[NAMED_FIELDS];
	int rc;

	if (op == HEADER_REMOVE) {
		rc = place_need(r, at, "the name of a header field", &field.name);
		return rc ? rc : change_add_field(r, at, c, field);
	}
	/* The same fields as of a test, but for its type. */
	rc = fields_find(r, at, named_fields + NAMED_NAME, NAMED_FIELDS - NAMED_NAME,
			 f + NAMED_NAME);
	if (!rc)
		rc = place_need(r, &f[NAMED_NAME], "the name of a header field", &field.name);
	if (!rc)
		rc = place_text(r, &f[NAMED_VALUE], &field.value);
	return rc ? rc : change_add_field(r, at, c, field);
}

static int read_modifier(struct reader *r, const struct place *at, struct change *c)
{
	static const enum header_op ops[MODIFY_FIELDS] = {
		[MODIFY_SET] = HEADER_SET,
		[MODIFY_ADD] = HEADER_ADD,
		[MODIFY_REMOVE] = HEADER_REMOVE,
	};
	struct place f[MODIFY_FIELDS];
	int rc = fields_find(r, at, modify_fields, MODIFY_FIELDS, f);

	for (unsigned op = 0; op < MODIFY_FIELDS && !rc; op++) {
		rc = place_is(r, &f[op], VALUE_LIST);
		for (unsigned i = 0; i < place_count(&f[op]) && !rc; i++) {
			struct place item = place_item(&f[op], i);

			rc = read_modification(r, &item, c, ops[op]);
		}
	}
	return rc;
}

enum { REWRITE_HOST, REWRITE_PATH, REWRITE_FIELDS };
static const struct known rewrite_fields[REWRITE_FIELDS] = {
	[REWRITE_HOST] = {"hostname", NULL},
	[REWRITE_PATH] = {"path", NULL},
};
enum { REPLACE_TYPE, REPLACE_FULL, REPLACE_PREFIX, REPLACE_FIELDS };
static const struct known replace_fields[REPLACE_FIELDS] = {
	[REPLACE_TYPE] = {"type", NULL},
	[REPLACE_FULL] = {"replaceFullPath", NULL},
	[REPLACE_PREFIX] = {"replacePrefixMatch", NULL},
};

static int read_replacement(struct reader *r, const struct place *at, struct change *c)
{
	struct place f[REPLACE_FIELDS];
	const char *type = "", *to = "";
	int rc = fields_find(r, at, replace_fields, REPLACE_FIELDS, f);

	if (rc || !at->node)
		return rc;
	rc = place_need(r, &f[REPLACE_TYPE], "ReplaceFullPath or ReplacePrefixMatch", &type);
	if (rc)
		return rc;
	if (strcmp(type, "ReplaceFullPath") == 0) {
		rc = place_need(r, &f[REPLACE_FULL], "a path", &to);
		return rc ? rc : change_set_path(r, at, c, PATH_CHANGE_WHOLE, "", to);
	}
	if (strcmp(type, "ReplacePrefixMatch") != 0)
		return place_wrong(r, &f[REPLACE_TYPE],
				   "'%.64s' is none of ReplaceFullPath and ReplacePrefixMatch",
				   type);
	rc = place_text(r, &f[REPLACE_PREFIX], &to);
	return rc ? rc : change_set_path(r, at, c, PATH_CHANGE_SEGMENTS, "/", to);
}

static int read_rewrite(struct reader *r, const struct place *at, struct change *c)
{
	struct place f[REWRITE_FIELDS];
	const char *host = "";
	int rc = fields_find(r, at, rewrite_fields, REWRITE_FIELDS, f);

	if (!rc)
		rc = place_text(r, &f[REWRITE_HOST], &host);
	if (!rc && *host)
		rc = change_set_authority(r, &f[REWRITE_HOST], c, host, AUTHORITY_REWRITE);
	return rc ? rc : read_replacement(r, &f[REWRITE_PATH], c);
}

enum { BACKEND_GROUP, BACKEND_KIND, BACKEND_NAME, BACKEND_NAMESPACE, BACKEND_PORT, BACKEND_FIELDS };
static const struct known backend_fields[BACKEND_FIELDS] = {
	[BACKEND_GROUP] = {"group", NULL},
	[BACKEND_KIND] = {"kind", NULL},
	[BACKEND_NAME] = {"name", NULL},
	[BACKEND_NAMESPACE] = {"namespace", NULL},
	[BACKEND_PORT] = {"port", NULL},
};

/* A Service; or a Hostname, as Istio has it, whose name is a host's. */
static int backend_host(struct reader *r, const struct document *d, const struct place f[],
			struct goal *ret)
{
	const char *kind = "Service", *namespace = "";
	int rc = place_text(r, &f[BACKEND_KIND], &kind);

	if (!rc)
		rc = place_text(r, &f[BACKEND_NAMESPACE], &namespace);
	if (!rc)
		rc = place_need(r, &f[BACKEND_NAME], "the name of a service", &ret->host);
	if (!rc)
		rc = host_check(r, &f[BACKEND_NAME], ret->host, false);
	if (rc || strcmp(kind, "Hostname") == 0)
		return rc;
	if (strcmp(kind, "Service") != 0)
		return place_wrong(r, &f[BACKEND_KIND], "'%.64s' is none of Service and Hostname",
				   kind);
	ret->namespace = d->namespace;
	if (!*namespace)
		return SC_OK;
	ret->namespace = namespace;
	ret->host = arena_text(&r->arena, "%s.%s.svc.cluster.local", ret->host, namespace);
	if (!ret->host)
		return reader_no_memory(r);
	return host_check(r, &f[BACKEND_NAMESPACE], ret->host, false);
}

static int read_backend(struct reader *r, const struct document *d, const struct place *at,
			struct goal *ret)
{
	struct place f[BACKEND_FIELDS];
	int rc = fields_find(r, at, backend_fields, BACKEND_FIELDS, f);

	if (!rc)
		rc = backend_host(r, d, f, ret);
	return rc ? rc : place_integer(r, &f[BACKEND_PORT], 1, 65535, &ret->port);
}

enum { FRACTION_NUMERATOR, FRACTION_DENOMINATOR, FRACTION_FIELDS };
static const struct known fraction_fields[FRACTION_FIELDS] = {
	[FRACTION_NUMERATOR] = {"numerator", NULL},
	[FRACTION_DENOMINATOR] = {"denominator", NULL},
};

static int read_fraction(struct reader *r, const struct place *at, double *ret)
{
	struct place f[FRACTION_FIELDS];
	unsigned numerator = 0, denominator = 100;
	int rc = fields_find(r, at, fraction_fields, FRACTION_FIELDS, f);

	if (rc || !at->node)
		return rc;
	if (!f[FRACTION_NUMERATOR].node)
		return place_wrong(r, &f[FRACTION_NUMERATOR], "is missing; expected a number");
	rc = place_integer(r, &f[FRACTION_DENOMINATOR], 1, INT32_MAX, &denominator);
	if (!rc)
		rc = place_integer(r, &f[FRACTION_NUMERATOR], 0, denominator, &numerator);
	*ret = 100.0 * numerator / denominator;
	return rc;
}

enum { MIRROR_BACKEND, MIRROR_PERCENT, MIRROR_FRACTION, MIRROR_FIELDS };
static const struct known mirror_fields[MIRROR_FIELDS] = {
	[MIRROR_BACKEND] = {"backendRef", NULL},
	[MIRROR_PERCENT] = {"percent", NULL},
	[MIRROR_FRACTION] = {"fraction", NULL},
};

static int read_mirror(struct route *route, const struct place *at, unsigned rule)
{
	struct reader *r = route->r;
	struct place f[MIRROR_FIELDS];
	struct goal t = {0};
	unsigned percent = 100;
	double share;
	int rc = fields_find(r, at, mirror_fields, MIRROR_FIELDS, f);

	if (!rc && !f[MIRROR_BACKEND].node)
		rc = place_wrong(r, &f[MIRROR_BACKEND], "is missing; expected a service");
	if (!rc && f[MIRROR_PERCENT].node && f[MIRROR_FRACTION].node)
		rc = place_wrong(r, at, "has both percent and fraction; expected one of them");
	if (!rc)
		rc = read_backend(r, route->d, &f[MIRROR_BACKEND], &t);
	if (!rc)
		rc = place_integer(r, &f[MIRROR_PERCENT], 0, 100, &percent);
	share = percent;
	if (!rc)
		rc = read_fraction(r, &f[MIRROR_FRACTION], &share);
	return rc ? rc : mirror_add(r, at, &route->g->rules[rule], &t, share);
}

enum {
	FILTER_TYPE,
	FILTER_MIRROR,
	FILTER_REWRITE,
	FILTER_MODIFIER,
	FILTER_RESPONSE,
	FILTER_REDIRECT,
	FILTER_EXTENSION,
	FILTER_CORS,
	FILTER_AUTH,
	FILTER_FIELDS,
};
static const struct known filter_fields[FILTER_FIELDS] = {
	[FILTER_TYPE] = {"type", NULL},
	[FILTER_MIRROR] = {"requestMirror", NULL},
	[FILTER_REWRITE] = {"urlRewrite", NULL},
	[FILTER_MODIFIER] = {"requestHeaderModifier", NULL},
	[FILTER_RESPONSE] = {"responseHeaderModifier", NULL},
	[FILTER_REDIRECT] = {"requestRedirect", NULL},
	[FILTER_EXTENSION] = {"extensionRef", NULL},
	[FILTER_CORS] = {"cors", NULL},
	[FILTER_AUTH] = {"externalAuth", NULL},
};

struct filter_type {
	const char *name;
	unsigned field;
	const char *warning; /* NULL: nothing to say */
};
static const struct filter_type filter_types[] = {
	{"RequestMirror", FILTER_MIRROR, NULL},
	{"URLRewrite", FILTER_REWRITE, NULL},
	{"RequestHeaderModifier", FILTER_MODIFIER, NULL},
	{"ResponseHeaderModifier", FILTER_RESPONSE, NULL},
	{"RequestRedirect", FILTER_REDIRECT,
	 "forwards nothing, so the rule mirrors nothing either"},
	{"ExtensionRef", FILTER_EXTENSION, "is ignored: what it does is known only in the cluster"},
	{"CORS", FILTER_CORS, NULL},
	{"ExternalAuth", FILTER_AUTH, NULL},
};

/* Which filter it is; *ret is NULL where it is none that we know, which is warned of. */
static int find_filter(struct reader *r, const struct place f[], const struct filter_type **ret)
{
	const char *text = NULL;
	int rc = place_need(r, &f[FILTER_TYPE], "the filter's type: RequestMirror, ...", &text);

	*ret = NULL;
	for (size_t i = 0; i < sizeof(filter_types) / sizeof(filter_types[0]) && !rc; i++) {
		if (strcmp(text, filter_types[i].name) == 0)
			*ret = &filter_types[i];
	}
	if (rc)
		return rc;
	if (!*ret)
		place_warn(r, &f[FILTER_TYPE], "'%.64s' is no filter that is known; it is ignored",
			   text);
	else if (!f[(*ret)->field].node)
		return place_wrong(r, &f[(*ret)->field], "is missing; expected it with type %s",
				   text);
	return SC_OK;
}

/* What a filter does. Mirrors go to the rule `first`; *redirects: nothing is forwarded. */
static int read_filter(struct route *route, const struct place *at, unsigned first,
		       struct change *c, bool *redirects)
{
	struct reader *r = route->r;
	const struct filter_type *type = NULL;
	struct place f[FILTER_FIELDS];
	int rc = fields_find(r, at, filter_fields, FILTER_FIELDS, f);

	if (!rc)
		rc = find_filter(r, f, &type);
	if (rc || !type)
		return rc;
	if (type->warning)
		place_warn(r, at, "%s", type->warning);
	switch (type->field) {
	case FILTER_MIRROR:
		return read_mirror(route, &f[FILTER_MIRROR], first);
	case FILTER_REWRITE:
		return read_rewrite(r, &f[FILTER_REWRITE], c);
	case FILTER_MODIFIER:
		return read_modifier(r, &f[FILTER_MODIFIER], c);
	case FILTER_REDIRECT:
		*redirects = true;
		return SC_OK;
	default:
		return SC_OK;
	}
}

/* All matches of a rule mirror and change the same, but for the prefix that is replaced. */
static int finish_rule(struct route *route, const struct place *at, unsigned i, unsigned first,
		       const struct change *c)
{
	struct policy_rule *rules = route->g->rules;
	struct change own = *c;

	if (c->path && c->how == PATH_CHANGE_SEGMENTS) {
		own.from = route->matches[i].prefix;
		if (!own.from)
			return place_wrong(route->r, at,
					   "ReplacePrefixMatch replaces what a "
					   "PathPrefix matched; a match has none");
	}
	for (unsigned k = 0; i > first && k < rules[first].n_mirrors; k++) {
		struct mirror *m = policy_add_mirror(&rules[i]);

		if (!m)
			return reader_no_memory(route->r);
		*m = rules[first].mirrors[k];
	}
	return change_build(route->r, at, &own, &rules[i].blocks[0].change);
}

static int read_filters(struct route *route, const struct place *at, const struct place *list,
			unsigned first)
{
	struct change c = {0};
	bool redirects = false;
	int rc = place_is(route->r, list, VALUE_LIST);

	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place item = place_item(list, i);

		rc = read_filter(route, &item, first, &c, &redirects);
	}
	if (redirects)
		route->g->rules[first].n_mirrors = 0;
	for (unsigned i = first; i < route->g->n_rules && !rc; i++)
		rc = finish_rule(route, at, i, first, &c);
	return rc;
}

static int name_rule(struct route *route, const struct place *rule_at, const struct place *at,
		     const char *own, struct policy_rule *rule)
{
	const char *route_name = route->d->name ? route->d->name : "";
	const char *gap = route->d->name ? " " : "";
	char *place = place_name(route->r, at);
	int n;

	if (*own)
		n = asprintf(&rule->name, "%s%s%s", route_name, gap, own);
	else
		n = asprintf(&rule->name, "%s%srules[%u]", route_name, gap, rule_at->index);
	if (n < 0)
		rule->name = NULL;
	rule->place = place ? strdup(place) : NULL;
	return rule->name && rule->place ? SC_OK : reader_no_memory(route->r);
}

/* `at` is the rule's own place where it has no match: then all paths are taken. */
static int add_match(struct route *route, const struct place *rule_at, const struct place *at,
		     const char *name)
{
	unsigned n = route->g->n_rules;
	struct match *more = reallocarray(route->matches, n + 1u, sizeof(*more));
	struct policy_rule *rule;
	struct policy_block *b;
	struct place nothing = *at;
	int rc = reader_count(route->r, at);

	if (more)
		route->matches = more;
	rule = more && !rc ? policy_add_rule(route->g) : NULL;
	if (rc || !rule)
		return rc ? rc : reader_no_memory(route->r);
	more[n] = (struct match){.index = n};
	rc = name_rule(route, rule_at, at, name, rule);
	if (rc)
		return rc;
	b = policy_add_block(rule);
	if (b)
		b->rule = rule_new(rule->name);
	if (!b || !b->rule)
		return reader_no_memory(route->r);
	if (at == rule_at)
		nothing.node = NULL;
	return read_match(route->r, &nothing, b->rule, &more[n]);
}

enum {
	RULE_OWN_NAME,
	RULE_MATCHES,
	RULE_FILTERS,
	RULE_BACKENDS,
	RULE_TIMEOUTS,
	RULE_RETRY,
	RULE_SESSION,
	RULE_FIELDS,
};
static const struct known rule_fields[RULE_FIELDS] = {
	[RULE_OWN_NAME] = {"name", NULL},
	[RULE_MATCHES] = {"matches", NULL},
	[RULE_FILTERS] = {"filters", NULL},
	[RULE_BACKENDS] = {"backendRefs", NULL},
	[RULE_TIMEOUTS] = {"timeouts", NULL},
	[RULE_RETRY] = {"retry", NULL},
	[RULE_SESSION] = {"sessionPersistence", NULL},
};

/* Where the original goes is none of our business, but filters there are not what is mirrored. */
static void warn_backends(struct reader *r, const struct place *list)
{
	for (unsigned i = 0; i < place_count(list); i++) {
		struct place at = place_item(list, i);

		for (unsigned k = 0; at.node && k < at.node->n; k++) {
			struct place field = place_item(&at, k);

			if (at.node->kind == VALUE_MAP && strcmp(field.key, "filters") == 0 &&
			    place_count(&field))
				place_warn(r, &field,
					   "is ignored: only what holds for the whole "
					   "rule is mirrored and changed");
		}
	}
}

static int read_rule(struct route *route, const struct place *at)
{
	struct reader *r = route->r;
	unsigned first = route->g->n_rules;
	struct place f[RULE_FIELDS];
	const char *name = "";
	int rc = fields_find(r, at, rule_fields, RULE_FIELDS, f);

	if (!rc)
		rc = place_text(r, &f[RULE_OWN_NAME], &name);
	if (!rc)
		rc = place_is(r, &f[RULE_MATCHES], VALUE_LIST);
	if (!rc && !place_count(&f[RULE_MATCHES]))
		rc = add_match(route, at, at, name);
	for (unsigned i = 0; i < place_count(&f[RULE_MATCHES]) && !rc; i++) {
		struct place match = place_item(&f[RULE_MATCHES], i);

		rc = add_match(route, at, &match, name);
	}
	if (rc)
		return rc;
	warn_backends(r, &f[RULE_BACKENDS]);
	return read_filters(route, at, &f[RULE_FILTERS], first);
}

static int compare_matches(const void *a, const void *b)
{
	const struct match *ma = a, *mb = b;

	for (unsigned i = 0; i < EXACT_PARTS; i++) {
		if (ma->exact[i] != mb->exact[i])
			return ma->exact[i] > mb->exact[i] ? -1 : 1;
	}
	return (ma->index > mb->index) - (ma->index < mb->index);
}

/* The most exact match first. */
static int sort_rules(struct route *route)
{
	unsigned n = route->g->n_rules;
	struct policy_rule *sorted = reallocarray(NULL, n + 1u, sizeof(*sorted));

	if (!sorted)
		return reader_no_memory(route->r);
	if (n)
		qsort(route->matches, n, sizeof(route->matches[0]), compare_matches);
	for (unsigned i = 0; i < n; i++)
		sorted[i] = route->g->rules[route->matches[i].index];
	if (n)
		memcpy(route->g->rules, sorted, n * sizeof(*sorted));
	free(sorted);
	return SC_OK;
}

enum {
	PARENT_GROUP,
	PARENT_KIND,
	PARENT_NAMESPACE,
	PARENT_NAME,
	PARENT_SECTION,
	PARENT_PORT,
	PARENT_FIELDS,
};
static const struct known parent_fields[PARENT_FIELDS] = {
	[PARENT_GROUP] = {"group", NULL},
	[PARENT_KIND] = {"kind", NULL},
	[PARENT_NAMESPACE] = {"namespace", NULL},
	[PARENT_NAME] = {"name", NULL},
	[PARENT_SECTION] = {"sectionName", NULL},
	[PARENT_PORT] = {"port", NULL},
};

struct parent {
	const char *name, *namespace;
	bool service;
};

static int read_parent(struct route *route, const struct place *at, struct parent *ret)
{
	struct reader *r = route->r;
	struct place f[PARENT_FIELDS];
	const char *kind = "Gateway";
	int rc = fields_find(r, at, parent_fields, PARENT_FIELDS, f);

	ret->namespace = route->d->namespace;
	if (!rc)
		rc = place_text(r, &f[PARENT_KIND], &kind);
	if (!rc)
		rc = place_need(r, &f[PARENT_NAME], "the name of a gateway or service", &ret->name);
	if (!rc)
		rc = place_text(r, &f[PARENT_NAMESPACE], &ret->namespace);
	ret->service = strcmp(kind, "Service") == 0;
	return rc || !ret->service ? rc : host_check(r, &f[PARENT_NAME], ret->name, false);
}

/* In a mesh a route hangs on services, and their names are its hosts. *services: it does so. */
static int read_parents(struct route *route, const struct place *list, bool *services)
{
	struct reader *r = route->r;
	unsigned n = place_count(list);
	struct parent *parents = arena_alloc(&r->arena, (n + 1u) * sizeof(*parents));
	int rc = parents ? place_is(r, list, VALUE_LIST) : reader_no_memory(r);

	*services = n > 0;
	for (unsigned i = 0; i < n && !rc; i++) {
		struct place at = place_item(list, i);

		rc = read_parent(route, &at, &parents[i]);
		*services = *services && parents[i].service;
	}
	for (unsigned i = 0; i < n && *services && !rc; i++)
		rc = host_add_service(r, list, route->g, parents[i].name, parents[i].namespace);
	return rc;
}

enum { SPEC_PARENTS, SPEC_HOSTNAMES, SPEC_RULES, SPEC_DEFAULT, SPEC_FIELDS };
static const struct known spec_fields[SPEC_FIELDS] = {
	[SPEC_PARENTS] = {"parentRefs", NULL},
	[SPEC_HOSTNAMES] = {"hostnames", NULL},
	[SPEC_RULES] = {"rules", NULL},
	[SPEC_DEFAULT] = {"useDefaultGateways", NULL},
};

static int read_hosts(struct route *route, const struct place f[])
{
	bool services = false;
	int rc = read_parents(route, &f[SPEC_PARENTS], &services);

	if (rc || !services)
		return rc ? rc : hosts_add(route->r, route->d, route->g, &f[SPEC_HOSTNAMES], false);
	if (f[SPEC_HOSTNAMES].node)
		place_warn(route->r, &f[SPEC_HOSTNAMES],
			   "is ignored: the services of parentRefs say which hosts are meant");
	return SC_OK;
}

static int read_rules(struct route *route, const struct place *list)
{
	int rc = place_is(route->r, list, VALUE_LIST);

	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i);

		rc = read_rule(route, &at);
	}
	return rc ? rc : sort_rules(route);
}

int route_read_http_route(struct reader *r, const struct document *d)
{
	struct route route = {.r = r, .d = d, .g = group_new(r)};
	struct place f[SPEC_FIELDS];
	int rc = route.g ? fields_find(r, &d->spec, spec_fields, SPEC_FIELDS, f) : SC_ENOMEM;

	r->routes++;
	if (!rc)
		rc = read_hosts(&route, f);
	if (!rc)
		rc = read_rules(&route, &f[SPEC_RULES]);
	free(route.matches);
	return rc;
}
