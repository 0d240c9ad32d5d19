/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of the mirrored copy: rewrites and header operations, in the order in which Envoy
 * does them: fields go, then are set, then added; then the host, then the path. Judges nothing that
 * is not ours to judge: the stages know what they can do. */
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "manifest_parts.h"

/* Fields go before any is set, and are set before any is added. */
static unsigned op_rank(enum header_op op)
{
	return op == HEADER_REMOVE ? 0 : op == HEADER_SET ? 1 : 2;
}

/* In the order of their names, which is what Istio makes of a mapping. */
static void insert(struct change *c, struct change_field field)
{
	unsigned i = c->n_fields++;

	for (; i > 0; i--) {
		const struct change_field *before = &c->fields[i - 1];
		unsigned a = op_rank(before->op), b = op_rank(field.op);

		if (a < b || (a == b && strcmp(before->name, field.name) <= 0))
			break;
		c->fields[i] = *before;
	}
	c->fields[i] = field;
}

static int make_room(struct reader *r, struct change *c)
{
	unsigned more = c->max_fields ? c->max_fields * 2 : 8;
	struct change_field *fields;

	if (c->n_fields < c->max_fields)
		return SC_OK;
	fields = arena_alloc(&r->arena, more * sizeof(*fields));
	if (!fields)
		return reader_no_memory(r);
	if (c->n_fields)
		memcpy(fields, c->fields, c->n_fields * sizeof(*fields));
	c->fields = fields;
	c->max_fields = more;
	return SC_OK;
}

static bool is_authority(const char *name)
{
	return strcasecmp(name, "host") == 0 || strcasecmp(name, ":authority") == 0;
}

int change_set_authority(struct reader *r, const struct place *at, struct change *c,
			 const char *host, enum authority_rank rank)
{
	struct err inner;
	enum host_mode mode;
	int rc;

	if (c->authority_rank >= rank)
		return SC_OK;
	rc = host_mode_parse(host, &mode, &inner);
	if (rc || strchr(host, '%'))
		return place_wrong(r, at, "'%.80s' cannot be a Host", host);
	c->authority = host;
	c->authority_rank = rank;
	return SC_OK;
}

/* Whether it can be done, said where it stands and not where it is done. */
static int try_field(struct reader *r, const struct place *at, const struct change_field *f)
{
	struct stage *s = NULL;
	struct err inner;
	int rc = stage_field_new(f->op, f->name, f->value, &s, &inner);

	if (rc)
		return place_failed(r, at, rc, &inner);
	stage_free(s);
	return SC_OK;
}

int change_add_field(struct reader *r, const struct place *at, struct change *c,
		     struct change_field f)
{
	int rc;

	if (is_authority(f.name) && f.op != HEADER_REMOVE)
		return change_set_authority(r, at, c, f.value,
					    f.op == HEADER_SET ? AUTHORITY_SET : AUTHORITY_ADDED);
	if (is_authority(f.name) || f.name[0] == ':') {
		place_warn(r, at, "is ignored: the mesh does not change that field here");
		return SC_OK;
	}
	if (f.op != HEADER_REMOVE && !*f.value) {
		place_warn(r, at, "is ignored: an empty value changes nothing in a mesh");
		return SC_OK;
	}
	if (f.op != HEADER_REMOVE && strchr(f.value, '%'))
		place_warn(r, at,
			   "is sent as it stands: what Envoy puts in place of %%...%% is "
			   "known only there");
	if (c->n_fields == LIMIT_FIELDS)
		return place_wrong(r, at, "more than %u header operations", LIMIT_FIELDS);
	rc = try_field(r, at, &f);
	if (!rc)
		rc = reader_count(r, at);
	if (!rc)
		rc = make_room(r, c);
	if (!rc)
		insert(c, f);
	return rc;
}

static int read_values(struct reader *r, const struct place *map, struct change *c,
		       enum header_op op)
{
	int rc = place_is(r, map, VALUE_MAP);

	for (unsigned i = 0; i < place_count(map) && !rc; i++) {
		struct place at = place_item(map, i);
		struct change_field f = {op, at.key, ""};

		rc = place_text(r, &at, &f.value);
		if (!rc)
			rc = change_add_field(r, &at, c, f);
	}
	return rc;
}

static int read_names(struct reader *r, const struct place *list, struct change *c)
{
	int rc = place_is(r, list, VALUE_LIST);

	for (unsigned i = 0; i < place_count(list) && !rc; i++) {
		struct place at = place_item(list, i);
		struct change_field f = {HEADER_REMOVE, NULL, NULL};

		rc = place_need(r, &at, "the name of a header field", &f.name);
		if (!rc)
			rc = change_add_field(r, &at, c, f);
	}
	return rc;
}

enum { HEADERS_REQUEST, HEADERS_RESPONSE, HEADERS_FIELDS };
static const struct known headers_fields[HEADERS_FIELDS] = {
	[HEADERS_REQUEST] = {"request", NULL},
	[HEADERS_RESPONSE] = {"response", NULL},
};

enum { OPS_SET, OPS_ADD, OPS_REMOVE, OPS_FIELDS };
static const struct known ops_fields[OPS_FIELDS] = {
	[OPS_SET] = {"set", NULL},
	[OPS_ADD] = {"add", NULL},
	[OPS_REMOVE] = {"remove", NULL},
};

int change_read_headers(struct reader *r, const struct place *at, struct change *c)
{
	struct place headers[HEADERS_FIELDS], ops[OPS_FIELDS];
	int rc = fields_find(r, at, headers_fields, HEADERS_FIELDS, headers);

	if (!rc)
		rc = fields_find(r, &headers[HEADERS_REQUEST], ops_fields, OPS_FIELDS, ops);
	if (!rc)
		rc = read_values(r, &ops[OPS_SET], c, HEADER_SET);
	if (!rc)
		rc = read_values(r, &ops[OPS_ADD], c, HEADER_ADD);
	return rc ? rc : read_names(r, &ops[OPS_REMOVE], c);
}

int change_set_path(struct reader *r, const struct place *at, struct change *c,
		    enum path_change how, const char *from, const char *to)
{
	struct stage *s = NULL;
	struct err inner;
	int rc = stage_path_new(how, from, to, &s, &inner);

	if (rc)
		return place_failed(r, at, rc, &inner);
	stage_free(s);
	c->path = to;
	c->how = how;
	c->from = from;
	return SC_OK;
}

enum { REGEX_MATCH, REGEX_REWRITE, REGEX_FIELDS };
static const struct known regex_fields[REGEX_FIELDS] = {
	[REGEX_MATCH] = {"match", NULL},
	[REGEX_REWRITE] = {"rewrite", NULL},
};

static int read_regex(struct reader *r, const struct place *at, struct change *c)
{
	struct place f[REGEX_FIELDS];
	const char *match = NULL, *to = "";
	int rc = fields_find(r, at, regex_fields, REGEX_FIELDS, f);

	if (rc || !at->node)
		return rc;
	rc = place_need(r, &f[REGEX_MATCH], "a regex", &match);
	if (!rc)
		rc = place_text(r, &f[REGEX_REWRITE], &to);
	return rc ? rc : change_set_path(r, at, c, PATH_CHANGE_REGEX, match, to);
}

enum { REWRITE_URI, REWRITE_AUTHORITY, REWRITE_REGEX, REWRITE_FIELDS };
static const struct known rewrite_fields[REWRITE_FIELDS] = {
	[REWRITE_URI] = {"uri", NULL},
	[REWRITE_AUTHORITY] = {"authority", NULL},
	[REWRITE_REGEX] = {"uriRegexRewrite", NULL},
};

int change_read_rewrite(struct reader *r, const struct place *at, struct change *c)
{
	struct place f[REWRITE_FIELDS];
	const char *uri = "", *authority = "";
	int rc = fields_find(r, at, rewrite_fields, REWRITE_FIELDS, f);

	if (!rc)
		rc = place_text(r, &f[REWRITE_URI], &uri);
	if (!rc)
		rc = place_text(r, &f[REWRITE_AUTHORITY], &authority);
	if (rc)
		return rc;
	if (*uri && f[REWRITE_REGEX].node)
		return place_wrong(r, at, "has both uri and uriRegexRewrite; expected one of them");
	if (*uri) /* what of the path it replaces depends on the match */
		rc = change_set_path(r, &f[REWRITE_URI], c, PATH_CHANGE_WHOLE, "", uri);
	if (!rc)
		rc = read_regex(r, &f[REWRITE_REGEX], c);
	if (!rc && *authority)
		rc = change_set_authority(r, &f[REWRITE_AUTHORITY], c, authority,
					  AUTHORITY_REWRITE);
	return rc;
}

static int build_fields(struct reader *r, const struct change *c, struct chain *ret)
{
	struct err inner;
	int rc = SC_OK;

	for (unsigned i = 0; i < c->n_fields && !rc; i++) {
		const struct change_field *f = &c->fields[i];
		struct stage *s = NULL;

		rc = stage_field_new(f->op, f->name, f->value, &s, &inner);
		if (rc)
			return err_set(r->err, rc, "%s", inner.text);
		rc = chain_add(ret, s) ? reader_no_memory(r) : SC_OK;
	}
	return rc;
}

int change_build(struct reader *r, const struct place *at, const struct change *c,
		 struct chain *ret)
{
	struct stage *s = NULL;
	struct err inner;
	int rc;

	r->parts += c->n_fields;
	rc = reader_count(r, at);
	if (!rc)
		rc = build_fields(r, c, ret);
	if (!rc && c->authority && chain_add(ret, stage_host_new(HOST_NAME, c->authority)))
		rc = reader_no_memory(r);
	if (rc || !c->path)
		return rc;
	rc = stage_path_new(c->how, c->from, c->path, &s, &inner);
	if (rc)
		return place_failed(r, at, rc, &inner);
	return chain_add(ret, s) ? reader_no_memory(r) : SC_OK;
}
