/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of rules as a stage. What a rule is, core/rule.h says. */
#include "core/filter.h"

#include <stdlib.h>

#include "core/limits.h"
#include "core/regex.h"
#include "rule_index.h"

struct filter {
	struct rule **rules; /* all of them, owned */
	unsigned n, room;
	unsigned n_routes;
	struct rule_index *routes;
	struct rule_index *excludes;      /* of the request alone */
	struct rule_index *late_excludes; /* of the response, too */
	bool waits;
};

struct filter *filter_new(void)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->routes = rule_index_new();
	f->excludes = rule_index_new();
	f->late_excludes = rule_index_new();
	if (!f->routes || !f->excludes || !f->late_excludes) {
		filter_free(f);
		return NULL;
	}
	return f;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	rule_index_free(f->routes);
	rule_index_free(f->excludes);
	rule_index_free(f->late_excludes);
	for (unsigned i = 0; i < f->n; i++)
		rule_free(f->rules[i]);
	free(f->rules);
	free(f);
}

static int keep_rule(struct filter *f, const char *text, struct rule **ret, struct err *err)
{
	int rc;

	if (f->n >= LIMIT_RULES)
		return err_set(err, SC_EINVAL, "more than %u routes", LIMIT_RULES);
	if (f->n == f->room) {
		unsigned room = f->room ? 2 * f->room : 8;
		struct rule **grown = realloc(f->rules, room * sizeof(struct rule *));

		if (!grown)
			return err_set(err, SC_ENOMEM, "out of memory");
		f->rules = grown;
		f->room = room;
	}
	rc = rule_parse(text, ret, err);
	if (rc)
		return rc;
	f->rules[f->n++] = *ret;
	f->waits = f->waits || rule_waits(*ret);
	return SC_OK;
}

static int add(struct rule_index *to, const struct rule *r, struct err *err)
{
	return rule_index_add(to, r, r) ? err_set(err, SC_ENOMEM, "out of memory") : SC_OK;
}

int filter_route(struct filter *f, const char *rule, struct err *err)
{
	struct rule *r;
	int rc = keep_rule(f, rule, &r, err);

	if (rc)
		return rc;
	f->n_routes++;
	return add(f->routes, r, err);
}

int filter_exclude(struct filter *f, const char *rule, struct err *err)
{
	struct rule *r;
	int rc = keep_rule(f, rule, &r, err);

	return rc ? rc : add(rule_waits(r) ? f->late_excludes : f->excludes, r, err);
}

bool filter_waits(const struct filter *f)
{
	return f->waits;
}

bool filter_takes(const struct filter *f, const struct exchange *ex, bool whole,
		  const char **ret_route)
{
	uint64_t gave_up = regex_gave_up();
	struct subject s;
	const struct rule *out, *in = NULL;

	*ret_route = NULL;
	if (!f->n)
		return true;
	subject_of(ex, &s);
	s.response_known = whole;
	out = rule_index_find(f->excludes, &s);
	if (!out && whole)
		out = rule_index_find(f->late_excludes, &s);
	/* An exclude that cannot be decided leaves out. */
	if (!out && regex_gave_up() != gave_up)
		return false;
	if (!out && f->n_routes)
		in = rule_index_find(f->routes, &s);
	if (out || in)
		*ret_route = rule_text(out ? out : in);
	return !out && (in || !f->n_routes);
}

struct filter_stage {
	struct stage stage;
	struct filter *filter;
};

static enum verdict judge(struct stage *st, struct exchange *ex, bool whole)
{
	struct filter_stage *s = (struct filter_stage *)st;
	const char *route;

	if (!filter_takes(s->filter, ex, whole, &route))
		return VERDICT_FILTERED;
	if (route)
		ex->route = route;
	return VERDICT_KEEP;
}

static enum verdict filter_head(struct stage *st, struct exchange *ex)
{
	return judge(st, ex, false);
}

/* Only where the response can change what the head has said. */
static enum verdict filter_whole(struct stage *st, struct exchange *ex)
{
	return ((struct filter_stage *)st)->filter->waits ? judge(st, ex, true) : VERDICT_KEEP;
}

static void filter_stage_free(struct stage *st)
{
	filter_free(((struct filter_stage *)st)->filter);
	free(st);
}

static const struct stage_ops filter_ops = {
	.name = "filter",
	.head = filter_head,
	.whole = filter_whole,
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
