/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualService: its hosts and the rules of spec.http, those without a mirror too, since they take
 * requests away from the rules behind them. Refuses what a mesh would refuse; what cannot be seen
 * on the wire (who sent it, through which gateway) is ignored, and said. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest_parts.h"

enum {
	DEST_HOST,
	DEST_SUBSET,
	DEST_PORT,
	DEST_FIELDS,
};
static const struct known destination_fields[DEST_FIELDS] = {
	[DEST_HOST] = {"host", NULL},
	[DEST_SUBSET] = {"subset", NULL},
	[DEST_PORT] = {"port", NULL},
};

static int read_destination(struct reader *r, const struct document *d, const struct place *at,
			    struct goal *ret)
{
	struct place f[DEST_FIELDS];
	const char *subset = "";
	int rc = fields_find(r, at, destination_fields, DEST_FIELDS, f);

	if (!rc)
		rc = place_need(r, &f[DEST_HOST], "the name of a host", &ret->host);
	if (!rc)
		rc = host_check(r, &f[DEST_HOST], ret->host, false);
	if (!rc)
		rc = place_text(r, &f[DEST_SUBSET], &subset);
	if (!rc)
		rc = port_read(r, &f[DEST_PORT], &ret->port);
	ret->subset = *subset ? subset : NULL;
	ret->namespace = d->namespace;
	return rc;
}

enum { PERCENT_VALUE, PERCENT_FIELDS };
static const struct known percent_fields[PERCENT_FIELDS] = {[PERCENT_VALUE] = {"value", NULL}};

/* {value: 12.5}. Without a value it is 0, as Istio reads it. */
static int read_percentage(struct reader *r, const struct place *at, double *ret)
{
	struct place f[PERCENT_FIELDS];
	int rc = fields_find(r, at, percent_fields, PERCENT_FIELDS, f);

	if (rc || !at->node)
		return rc;
	*ret = 0;
	if (!f[PERCENT_VALUE].node)
		place_warn(r, at, "has no value, which is 0: nothing is mirrored");
	return place_number(r, &f[PERCENT_VALUE], 0, 100, ret);
}

enum {
	HTTP_NAME,
	HTTP_MATCH,
	HTTP_REWRITE,
	HTTP_HEADERS,
	HTTP_ROUTE,
	HTTP_REDIRECT,
	HTTP_DIRECT,
	HTTP_MIRROR,
	HTTP_MIRRORS,
	HTTP_PERCENTAGE,
	HTTP_PERCENT,
	HTTP_DELEGATE,
	HTTP_FAULT,
	HTTP_RETRIES,
	HTTP_TIMEOUT,
	HTTP_CORS,
	HTTP_FIELDS,
};
static const struct known http_fields[HTTP_FIELDS] = {
	[HTTP_NAME] = {"name", NULL},
	[HTTP_MATCH] = {"match", NULL},
	[HTTP_REWRITE] = {"rewrite", NULL},
	[HTTP_HEADERS] = {"headers", NULL},
	[HTTP_ROUTE] = {"route", NULL},
	[HTTP_REDIRECT] = {"redirect", NULL},
	[HTTP_DIRECT] = {"directResponse", NULL},
	[HTTP_MIRROR] = {"mirror", NULL},
	[HTTP_MIRRORS] = {"mirrors", NULL},
	[HTTP_PERCENTAGE] = {"mirrorPercentage", NULL},
	[HTTP_PERCENT] = {"mirrorPercent", NULL},
	[HTTP_DELEGATE] = {"delegate", "is ignored: the VirtualService it names is not followed"},
	[HTTP_FAULT] = {"fault", NULL},
	[HTTP_RETRIES] = {"retries", NULL},
	[HTTP_TIMEOUT] = {"timeout", NULL},
	[HTTP_CORS] = {"corsPolicy", NULL},
};

/* mirrorPercentage counts before mirrorPercent, that before mirror_percent, that before 100. */
static int read_mirror_percent(struct reader *r, const struct place f[], double *ret)
{
	unsigned whole = 100;
	int rc = place_integer(r, &f[HTTP_PERCENT], 0, 100, &whole);

	*ret = whole;
	if (!rc && f[HTTP_PERCENT].node && f[HTTP_PERCENTAGE].node)
		place_warn(r, &f[HTTP_PERCENT],
			   "is ignored: mirrorPercentage is given too, and counts");
	return rc ? rc : read_percentage(r, &f[HTTP_PERCENTAGE], ret);
}

static int read_mirror(struct reader *r, const struct document *d, const struct place f[],
		       struct policy_rule *rule)
{
	struct goal t = {0};
	double percent = 100;
	int rc = read_mirror_percent(r, f, &percent);

	if (rc)
		return rc;
	if (!f[HTTP_MIRROR].node) {
		const struct place *alone = &f[HTTP_PERCENTAGE];

		if (!alone->node)
			alone = &f[HTTP_PERCENT];
		if (alone->node && !place_count(&f[HTTP_MIRRORS]))
			place_warn(r, alone, "is ignored: there is no mirror it belongs to");
		return SC_OK;
	}
	rc = read_destination(r, d, &f[HTTP_MIRROR], &t);
	return rc ? rc : mirror_add(r, &f[HTTP_MIRROR], rule, &t, percent);
}

enum { MIRROR_DESTINATION, MIRROR_PERCENTAGE, MIRROR_FIELDS };
static const struct known mirror_fields[MIRROR_FIELDS] = {
	[MIRROR_DESTINATION] = {"destination", NULL},
	[MIRROR_PERCENTAGE] = {"percentage", NULL},
};

static int read_mirrors(struct reader *r, const struct document *d, const struct place *list,
			struct policy_rule *rule)
{
	int rc = place_is(r, list, VALUE_LIST);

	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i), f[MIRROR_FIELDS];
		struct goal t = {0};
		double percent = 100;

		rc = fields_find(r, &at, mirror_fields, MIRROR_FIELDS, f);
		if (!rc && !f[MIRROR_DESTINATION].node)
			rc = place_wrong(r, &f[MIRROR_DESTINATION], "is missing; expected a host");
		if (!rc)
			rc = read_destination(r, d, &f[MIRROR_DESTINATION], &t);
		if (!rc)
			rc = read_percentage(r, &f[MIRROR_PERCENTAGE], &percent);
		if (!rc)
			rc = mirror_add(r, &at, rule, &t, percent);
	}
	return rc;
}

enum {
	WHEN_URI,
	WHEN_METHOD,
	WHEN_SCHEME,
	WHEN_AUTHORITY,
	WHEN_HEADERS,
	WHEN_QUERY,
	WHEN_WITHOUT,
	WHEN_PORT,
	WHEN_IGNORE_CASE,
	WHEN_NAME,
	WHEN_STAT,
	WHEN_SOURCE,
	WHEN_NAMESPACE,
	WHEN_GATEWAYS,
	WHEN_FIELDS,
};
#define UNSEEN "is ignored: it cannot be seen on the wire"
static const struct known match_fields[WHEN_FIELDS] = {
	[WHEN_URI] = {"uri", NULL},
	[WHEN_METHOD] = {"method", NULL},
	[WHEN_SCHEME] = {"scheme", NULL},
	[WHEN_AUTHORITY] = {"authority", NULL},
	[WHEN_HEADERS] = {"headers", NULL},
	[WHEN_QUERY] = {"queryParams", NULL},
	[WHEN_WITHOUT] = {"withoutHeaders", NULL},
	[WHEN_PORT] = {"port", NULL},
	[WHEN_IGNORE_CASE] = {"ignoreUriCase", NULL},
	[WHEN_NAME] = {"name", NULL},
	[WHEN_STAT] = {"statPrefix", NULL},
	[WHEN_SOURCE] = {"sourceLabels", UNSEEN},
	[WHEN_NAMESPACE] = {"sourceNamespace", UNSEEN},
	[WHEN_GATEWAYS] = {"gateways", UNSEEN},
};

/* What a block takes off the path, for its rewrite. */
struct taken {
	enum text_kind kind;
	bool folded;
	const char *prefix;
};

static int read_uri(struct reader *r, const struct place *at, bool fold, struct rule *rule,
		    struct taken *ret)
{
	struct text *text = NULL;
	const char *value = "/";
	int rc = match_read(r, at, fold ? MATCH_FOLD : MATCH_URI, &text, &value);

	*ret = (struct taken){TEXT_PREFIX, fold, value};
	if (rc || !text)
		return rc;
	ret->kind = text_kind_of(text);
	return match_add(r, at, rule, RULE_PATH, NULL, text);
}

static int read_part(struct reader *r, const struct place *at, struct rule *rule,
		     enum rule_part part, const char *name)
{
	struct text *text = NULL;
	int rc = match_read(r, at, MATCH_PLAIN, &text, NULL);

	return rc ? rc : match_add(r, at, rule, part, name, text);
}

/* These keys of headers are not headers, and Istio says that it ignores them; claims of a token are
 * known to the mesh alone. */
static bool is_no_header(const char *name)
{
	static const char *const names[] = {"uri", "scheme", "method", "authority"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return name[0] == '@';
}

static int read_parts(struct reader *r, const struct place *map, struct rule *rule,
		      enum rule_part part)
{
	int rc = place_is(r, map, VALUE_MAP);

	for (unsigned i = 0; i < place_count(map) && !rc; i++) {
		struct place at = place_item(map, i);

		if (part != RULE_QUERY && is_no_header(at.key))
			place_warn(r, &at, "is ignored: it is no header field");
		else
			rc = read_part(r, &at, rule, part, at.key);
	}
	return rc;
}

static int read_single_parts(struct reader *r, const struct place f[], struct rule *rule)
{
	static const struct {
		unsigned field;
		enum rule_part part;
	} rows[] = {
		{WHEN_METHOD, RULE_METHOD},
		{WHEN_SCHEME, RULE_SCHEME},
		{WHEN_AUTHORITY, RULE_AUTHORITY},
	};
	int rc = SC_OK;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !rc; i++) {
		if (f[rows[i].field].node)
			rc = read_part(r, &f[rows[i].field], rule, rows[i].part, NULL);
	}
	return rc;
}

static int read_port(struct reader *r, const struct place *at, struct rule *rule)
{
	unsigned port = 0;
	int rc = place_integer(r, at, 0, 65535, &port);

	if (!rc && port)
		rc = rule_add_port(rule, (uint16_t)port) ? reader_no_memory(r) : SC_OK;
	return rc;
}

static int read_conditions(struct reader *r, const struct place *at, struct rule *rule,
			   struct taken *ret)
{
	struct place f[WHEN_FIELDS];
	bool fold = false;
	int rc = fields_find(r, at, match_fields, WHEN_FIELDS, f);

	if (!rc)
		rc = place_flag(r, &f[WHEN_IGNORE_CASE], &fold);
	if (!rc)
		rc = read_uri(r, &f[WHEN_URI], fold, rule, ret);
	if (!rc)
		rc = read_single_parts(r, f, rule);
	if (!rc)
		rc = read_parts(r, &f[WHEN_HEADERS], rule, RULE_HEADER);
	if (!rc)
		rc = read_parts(r, &f[WHEN_QUERY], rule, RULE_QUERY);
	if (!rc)
		rc = read_parts(r, &f[WHEN_WITHOUT], rule, RULE_NO_HEADER);
	return rc ? rc : read_port(r, &f[WHEN_PORT], rule);
}

/* A rewrite by uri replaces the prefix that matched, or the whole path where something else did. */
static struct change change_of(const struct change *c, const struct taken *t)
{
	struct change own = *c;

	if (!c->path || c->how != PATH_CHANGE_WHOLE || t->kind != TEXT_PREFIX)
		return own;
	own.how = t->folded ? PATH_CHANGE_FOLDED : PATH_CHANGE_PREFIX;
	own.from = t->prefix;
	return own;
}

/* `at` NULL: the block of a rule without match. */
static int add_block(struct reader *r, const struct place *rule_at, const struct place *at,
		     struct policy_rule *rule, const struct change *c)
{
	struct taken taken = {TEXT_PREFIX, false, "/"};
	struct policy_block *b;
	struct change own;
	int rc = reader_count(r, rule_at);

	if (rc)
		return rc;
	b = policy_add_block(rule);
	if (b)
		b->rule = rule_new(rule->name);
	if (!b || !b->rule)
		return reader_no_memory(r);
	if (at)
		rc = read_conditions(r, at, b->rule, &taken);
	if (rc)
		return rc;
	own = change_of(c, &taken);
	return change_build(r, at ? at : rule_at, &own, &b->change);
}

/* Whether anything stands in a block. */
static bool says_something(const struct place *at)
{
	for (unsigned i = 0; i < place_count(at); i++) {
		if (place_item(at, i).node)
			return true;
	}
	return false;
}

static int read_blocks(struct reader *r, const struct place *rule_at, const struct place *list,
		       struct policy_rule *rule, const struct change *c)
{
	int rc = place_is(r, list, VALUE_LIST);

	if (!rc && !place_count(list))
		return add_block(r, rule_at, NULL, rule, c);
	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i);

		if (!at.node || (at.node->kind == VALUE_MAP && !says_something(&at)))
			return place_wrong(r, &at,
					   "is empty; expected a condition, or no match "
					   "at all to take everything");
		rc = add_block(r, rule_at, &at, rule, c);
	}
	return rc;
}

enum { ROUTE_DESTINATION, ROUTE_WEIGHT, ROUTE_HEADERS, ROUTE_FIELDS };
static const struct known route_fields[ROUTE_FIELDS] = {
	[ROUTE_DESTINATION] = {"destination", NULL},
	[ROUTE_WEIGHT] = {"weight", NULL},
	[ROUTE_HEADERS] = {"headers", NULL},
};

/* The headers of a single destination are changed before the copy is made; of several nobody knows
 * which one the mesh would have picked. */
static int read_route(struct reader *r, const struct place *list, struct change *c)
{
	enum authority_rank given = c->authority_rank;
	int rc = place_is(r, list, VALUE_LIST);

	if (given != AUTHORITY_NONE) /* a destination's Host counts least */
		c->authority_rank = AUTHORITY_REWRITE;
	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i), f[ROUTE_FIELDS];

		rc = fields_find(r, &at, route_fields, ROUTE_FIELDS, f);
		if (!rc && place_count(list) == 1)
			rc = change_read_headers(r, &f[ROUTE_HEADERS], c);
		else if (!rc && f[ROUTE_HEADERS].node)
			place_warn(r, &f[ROUTE_HEADERS],
				   "is ignored: which destination is taken is the mesh's choice");
	}
	return rc;
}

static int read_change(struct reader *r, const struct place f[], struct change *c)
{
	int rc = change_read_rewrite(r, &f[HTTP_REWRITE], c);

	if (!rc)
		rc = change_read_headers(r, &f[HTTP_HEADERS], c);
	return rc ? rc : read_route(r, &f[HTTP_ROUTE], c);
}

/* A rule that answers by itself forwards nothing, so there is nothing to copy. */
static bool answers_itself(struct reader *r, const struct place f[])
{
	unsigned by = f[HTTP_REDIRECT].node ? HTTP_REDIRECT : HTTP_DIRECT;

	if (!f[by].node)
		return false;
	if (f[HTTP_MIRROR].node || place_count(&f[HTTP_MIRRORS]))
		place_warn(r, &f[by], "forwards nothing, so the rule mirrors nothing either");
	return true;
}

static int name_rule(struct reader *r, const struct document *d, const struct place *at,
		     const struct place *given, struct policy_rule *rule)
{
	const char *own = "", *gap = d->name ? " " : "";
	char *place;
	int rc = place_text(r, given, &own), n;

	if (rc)
		return rc;
	if (*own)
		n = asprintf(&rule->name, "%s%s%s", d->name ? d->name : "", gap, own);
	else
		n = asprintf(&rule->name, "%s%shttp[%u]", d->name ? d->name : "", gap, at->index);
	if (n < 0)
		rule->name = NULL;
	place = place_name(r, at);
	rule->place = place ? strdup(place) : NULL;
	return rule->name && rule->place ? SC_OK : reader_no_memory(r);
}

static int read_rule(struct reader *r, const struct document *d, const struct place *at,
		     struct policy_group *g)
{
	struct policy_rule *rule = policy_add_rule(g);
	struct place f[HTTP_FIELDS];
	struct change c = {0};
	int rc = rule ? fields_find(r, at, http_fields, HTTP_FIELDS, f) : reader_no_memory(r);

	if (!rc)
		rc = name_rule(r, d, at, &f[HTTP_NAME], rule);
	if (!rc)
		rc = read_change(r, f, &c);
	if (!rc)
		rc = read_blocks(r, at, &f[HTTP_MATCH], rule, &c);
	if (rc || answers_itself(r, f))
		return rc;
	rc = read_mirror(r, d, f, rule);
	return rc ? rc : read_mirrors(r, d, &f[HTTP_MIRRORS], rule);
}

enum {
	SPEC_HOSTS,
	SPEC_HTTP,
	SPEC_GATEWAYS,
	SPEC_TCP,
	SPEC_TLS,
	SPEC_EXPORT,
	SPEC_FIELDS,
};
static const struct known spec_fields[SPEC_FIELDS] = {
	[SPEC_HOSTS] = {"hosts", NULL},
	[SPEC_HTTP] = {"http", NULL},
	[SPEC_GATEWAYS] = {"gateways", NULL},
	[SPEC_TCP] = {"tcp", "is ignored: only spec.http mirrors"},
	[SPEC_TLS] = {"tls", "is ignored: only spec.http mirrors"},
	[SPEC_EXPORT] = {"exportTo", NULL},
};

int route_read_virtual_service(struct reader *r, const struct document *d)
{
	struct place f[SPEC_FIELDS];
	struct policy_group *g;
	int rc = fields_find(r, &d->spec, spec_fields, SPEC_FIELDS, f);

	if (!rc && f[SPEC_HOSTS].node && !place_count(&f[SPEC_HOSTS]))
		rc = place_is(r, &f[SPEC_HOSTS], VALUE_LIST);
	if (rc)
		return rc;
	r->routes++;
	if (!place_count(&f[SPEC_HOSTS])) {
		place_warn(r, &f[SPEC_HOSTS],
			   "is missing: without hosts it can only be a delegate, "
			   "which is not followed; expected a list of hosts");
		return SC_OK;
	}
	g = group_new(r);
	if (!g)
		return SC_ENOMEM;
	rc = hosts_add(r, d, g, &f[SPEC_HOSTS], true);
	if (!rc)
		rc = place_is(r, &f[SPEC_HTTP], VALUE_LIST);
	for (unsigned i = 0; i < place_count(&f[SPEC_HTTP]) && !rc; i++) {
		struct place at = place_item(&f[SPEC_HTTP], i);

		rc = read_rule(r, d, &at, g);
	}
	return rc;
}
