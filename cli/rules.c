/* SPDX-License-Identifier: Apache-2.0 */
/* Rule options to stages. */
#include "rules.h"

#include <sys/random.h>

#include "core/filter.h"

static int set_sample_by(void *to, const char *value, struct err *err)
{
	return sample_by_parse(value, to, err);
}

static int set_sample(void *to, const char *value, struct err *err)
{
	return sample_parse(value, to, err);
}

const struct opt rule_rows[] = {
	{"Rules (a RULE is [METHOD[,METHOD]] [HOST]PATH; PATH* a prefix, ~REGEX the whole path)", 0, "route", "RULE", "take requests that match; repeatable, any of them (default: all)",
	 opt_list, offsetof(struct rule_options, routes)},
	{NULL, 0, "exclude", "RULE", "leave out requests that match; repeatable, before --route",
	 opt_list, offsetof(struct rule_options, excludes)},
	{NULL, 0, "sample", "P%", "let in this percentage of the requests (default: 100%)",
	 set_sample, offsetof(struct rule_options, sample)},
	{NULL, 0, "sample-by", "WHAT",
	 "what is let in or left out: request (default), connection, client", set_sample_by,
	 offsetof(struct rule_options, sample_by)},
	{NULL, 0, "seed", "N", "make --sample reproducible (default: a random one)", opt_number,
	 offsetof(struct rule_options, seed)},
	{0},
};

void rule_defaults(struct rule_options *o)
{
	o->sample = 100;
	/* Within what JSON and SQLite hold as a number. */
	if (getrandom(&o->seed, sizeof(o->seed), 0) == sizeof(o->seed))
		o->seed >>= 11;
}

static int add(struct chain *chain, struct stage *s, struct err *err)
{
	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (chain->n == CHAIN_STAGES) {
		stage_free(s);
		return err_set(err, SC_EINVAL, "more than %d rewriting options", CHAIN_STAGES);
	}
	chain_add(chain, s);
	return SC_OK;
}

static int add_filter(const struct rule_options *o, struct chain *chain, struct err *err)
{
	struct filter *f;
	int rc = SC_OK;

	if (!o->routes.n && !o->excludes.n)
		return SC_OK;
	f = filter_new();
	if (!f)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < o->routes.n && !rc; i++)
		rc = filter_route(f, o->routes.items[i], err);
	for (unsigned i = 0; i < o->excludes.n && !rc; i++)
		rc = filter_exclude(f, o->excludes.items[i], err);
	if (rc) {
		filter_free(f);
		return rc;
	}
	return add(chain, stage_filter_new(f), err);
}

int rules_build(const struct rule_options *o, struct chain *chain, struct err *err)
{
	int rc = add(chain, stage_marker_new(), err);

	if (!rc)
		rc = add_filter(o, chain, err);
	if (rc || o->sample >= 100)
		return rc;
	return add(chain, stage_sample_new(o->sample, o->sample_by, o->seed), err);
}

static void describe_list(json_t *to, const char *name, const struct str_list *list)
{
	json_t *array;

	if (!list->n)
		return;
	array = json_array();
	for (unsigned i = 0; i < list->n; i++)
		json_array_append_new(array, json_string(list->items[i]));
	json_object_set_new(to, name, array);
}

void rules_describe(const struct rule_options *o, json_t *to)
{
	describe_list(to, "route", &o->routes);
	describe_list(to, "exclude", &o->excludes);
	json_object_set_new(to, "sample", json_real(o->sample));
	if (o->sample < 100)
		json_object_set_new(to, "seed", json_integer((json_int_t)o->seed));
}

const struct opt rewrite_rows[] = {
	{"Rewriting", 0, "rewrite", "FROM=TO",
	 "replace a path prefix bytewise; ~REGEX=TO for a regex; repeatable", opt_list,
	 offsetof(struct rewrite_options, rewrites)},
	{NULL, 0, "host", "MODE",
	 "the Host sent: keep, target, shadow or a name (default: target)", opt_text, offsetof(struct rewrite_options, host)},
	{NULL, 0, "set-header", "'K: V'",
	 "set a header field, in place of those of that name; repeatable", opt_list,
	 offsetof(struct rewrite_options, set)},
	{NULL, 0, "add-header", "'K: V'", "add a header field; repeatable", opt_list,
	 offsetof(struct rewrite_options, add)},
	{NULL, 0, "remove-header", "NAME", "remove the fields of that name; repeatable",
	 opt_list, offsetof(struct rewrite_options, remove)},
	{0},
};

static int add_headers(enum header_op op, const struct str_list *list, struct chain *chain,
		       struct err *err)
{
	struct stage *s;
	int rc = SC_OK;

	for (unsigned i = 0; i < list->n && !rc; i++) {
		rc = stage_header_new(op, list->items[i], &s, err);
		if (!rc)
			rc = add(chain, s, err);
	}
	return rc;
}

int rewrites_build(const struct rewrite_options *o, enum host_mode default_mode,
		   const char *target_authority, struct chain *chain, struct err *err)
{
	enum host_mode mode = default_mode;
	const char *name = target_authority;
	struct stage *s;
	int rc = SC_OK;

	for (unsigned i = 0; i < o->rewrites.n && !rc; i++) {
		rc = stage_rewrite_new(o->rewrites.items[i], &s, err);
		if (!rc)
			rc = add(chain, s, err);
	}
	if (!rc && o->host)
		rc = host_mode_parse(o->host, &mode, err);
	if (!rc && mode != HOST_KEEP) {
		if (mode == HOST_NAME)
			name = o->host;
		rc = add(chain, stage_host_new(mode, name), err);
	}
	if (!rc)
		rc = add_headers(HEADER_REMOVE, &o->remove, chain, err);
	if (!rc)
		rc = add_headers(HEADER_SET, &o->set, chain, err);
	return rc ? rc : add_headers(HEADER_ADD, &o->add, chain, err);
}

void rewrites_describe(const struct rewrite_options *o, json_t *to)
{
	describe_list(to, "rewrite", &o->rewrites);
	describe_list(to, "set_header", &o->set);
	describe_list(to, "add_header", &o->add);
	describe_list(to, "remove_header", &o->remove);
	if (o->host)
		json_object_set_new(to, "host", json_string(o->host));
}
