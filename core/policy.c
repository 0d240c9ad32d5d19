/* SPDX-License-Identifier: Apache-2.0 */
/* A mesh's mirroring rules: holds them, finds the one that is meant, applies it. Reads no file. */
#include "core/policy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "rule_index.h"

struct policy *policy_new(void)
{
	return calloc(1, sizeof(struct policy));
}

static void rule_done(struct policy_rule *r)
{
	for (unsigned i = 0; i < r->n_blocks; i++) {
		rule_free(r->blocks[i].rule);
		chain_done(&r->blocks[i].change);
	}
	free(r->blocks);
	free(r->mirrors);
	free(r->name);
	free(r->place);
}

static void group_done(struct policy_group *g)
{
	rule_index_free(g->index);
	for (unsigned i = 0; i < g->n_hosts; i++)
		text_free(g->hosts[i]);
	for (unsigned i = 0; i < g->n_rules; i++)
		rule_done(&g->rules[i]);
	free(g->hosts);
	free(g->rules);
}

static void destination_done(struct destination *d)
{
	for (unsigned i = 0; i < d->n_endpoints; i++)
		free(d->endpoints[i].address);
	free(d->endpoints);
	free(d->host);
	free(d->subset);
	free(d->sni);
	free(d->ca_file);
	free(d->cert_file);
	free(d->key_file);
	free(d->unknown);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n_groups; i++)
		group_done(&p->groups[i]);
	for (unsigned i = 0; i < p->n_destinations; i++)
		destination_done(&p->destinations[i]);
	free(p->groups);
	free(p->destinations);
	free(p);
}

/* One element more of an array of `size` bytes each, all zero; NULL: no memory. */
static void *grow(void **array, unsigned *n, size_t size)
{
	char *grown = realloc(*array, (*n + 1) * size);

	if (!grown)
		return NULL;
	*array = grown;
	memset(grown + *n * size, 0, size);
	return grown + (*n)++ * size;
}

struct policy_group *policy_add_group(struct policy *p)
{
	return grow((void **)&p->groups, &p->n_groups, sizeof(*p->groups));
}

struct policy_rule *policy_add_rule(struct policy_group *g)
{
	return grow((void **)&g->rules, &g->n_rules, sizeof(*g->rules));
}

struct policy_block *policy_add_block(struct policy_rule *r)
{
	return grow((void **)&r->blocks, &r->n_blocks, sizeof(*r->blocks));
}

struct mirror *policy_add_mirror(struct policy_rule *r)
{
	return grow((void **)&r->mirrors, &r->n_mirrors, sizeof(*r->mirrors));
}

int policy_add_host(struct policy_group *g, struct text *host)
{
	struct text **at = grow((void **)&g->hosts, &g->n_hosts, sizeof(struct text *));

	if (!at) {
		text_free(host);
		return SC_ENOMEM;
	}
	*at = host;
	return SC_OK;
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcasecmp(a, b) == 0 : a == b;
}

int policy_destination(struct policy *p, const char *host, const char *subset, uint16_t port)
{
	struct destination *d;

	for (unsigned i = 0; i < p->n_destinations; i++) {
		d = &p->destinations[i];
		if (same(d->host, host) && same(d->subset, subset) && d->port == port)
			return (int)i;
	}
	d = grow((void **)&p->destinations, &p->n_destinations, sizeof(*d));
	if (!d)
		return SC_ENOMEM;
	d->host = strdup(host);
	d->subset = subset ? strdup(subset) : NULL;
	d->port = port;
	if (!d->host || (subset && !d->subset))
		return SC_ENOMEM;
	return (int)p->n_destinations - 1;
}

static int seal_group(struct policy_group *g)
{
	g->index = rule_index_new();
	if (!g->index)
		return SC_ENOMEM;
	for (unsigned i = 0; i < g->n_rules; i++) {
		struct policy_rule *r = &g->rules[i];

		for (unsigned k = 0; k < r->n_blocks; k++) {
			r->blocks[k].parent = r;
			if (rule_index_add(g->index, r->blocks[k].rule, &r->blocks[k]))
				return SC_ENOMEM;
		}
	}
	return SC_OK;
}

int policy_seal(struct policy *p)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < p->n_groups && !rc; i++)
		rc = seal_group(&p->groups[i]);
	return rc;
}

/* A service is also reached by its address, and then no host name tells which rules are meant. */
static bool is_address(struct span host)
{
	bool digits = host.len > 0;

	for (size_t i = 0; i < host.len; i++)
		digits = digits && (isdigit(host.p[i]) || host.p[i] == '.');
	return digits || host.len == 0 || host.p[0] == '[' ||
	       span_case_eq(host, span_str("localhost"));
}

static bool group_takes(const struct policy_group *g, struct span host)
{
	for (unsigned i = 0; i < g->n_hosts; i++) {
		if (text_takes(g->hosts[i], host))
			return true;
	}
	return g->n_hosts == 0;
}

static struct span lower(struct span host, char *to, size_t room)
{
	if (host.len > room)
		return host; /* no name of DNS is that long (RFC 1035, 2.3.4) */
	for (size_t i = 0; i < host.len; i++)
		to[i] = (char)tolower(host.p[i]);
	return span_of(to, host.len);
}

const struct policy_block *policy_match(const struct policy *p, const struct subject *s)
{
	char name[256];
	struct span host = lower(s->host_name, name, sizeof(name));
	bool any = is_address(host), named = false;

	for (unsigned i = 0; i < p->n_groups; i++) {
		const struct policy_group *g = &p->groups[i];
		const struct policy_block *b = NULL;

		/* What stands for every host is not for one that has rules of its own. */
		if (any || (group_takes(g, host) && !(named && g->n_hosts == 0))) {
			b = rule_index_find(g->index, s);
			named = named || g->n_hosts > 0;
		}
		if (b)
			return b;
	}
	return NULL;
}

double policy_percent(const struct policy_rule *r, int destination)
{
	double percent = 0;

	for (unsigned i = 0; i < r->n_mirrors; i++) {
		if (r->mirrors[i].percent > percent &&
		    (destination < 0 || r->mirrors[i].destination == (unsigned)destination))
			percent = r->mirrors[i].percent;
	}
	return percent;
}

static bool mirrors_to(const struct policy *p, int destination)
{
	for (unsigned i = 0; i < p->n_groups; i++) {
		for (unsigned k = 0; k < p->groups[i].n_rules; k++) {
			if (policy_percent(&p->groups[i].rules[k], destination) > 0)
				return true;
		}
	}
	return false;
}

bool policy_mirrors(const struct policy *p)
{
	return mirrors_to(p, -1);
}

bool policy_sends_to(const struct policy *p, unsigned destination)
{
	return mirrors_to(p, (int)destination);
}

struct policy_stage {
	struct stage stage;
	const struct policy *policy;
	struct policy_use use;
	struct sampler sampler;
};

static enum verdict policy_head(struct stage *st, struct exchange *ex)
{
	struct policy_stage *s = (struct policy_stage *)st;
	const struct policy_block *b;
	struct subject subject;
	double percent;

	subject_of(ex, &subject);
	b = policy_match(s->policy, &subject);
	percent = b ? policy_percent(b->parent, s->use.destination) : 0;
	if (percent <= 0)
		return VERDICT_FILTERED;
	ex->route = b->parent->name;
	ex->block = b;
	if (!s->use.sample)
		return VERDICT_KEEP;
	ex->sample = ex->sample * percent / 100;
	return sampler_takes(&s->sampler, ex, percent) ? VERDICT_KEEP : VERDICT_UNSAMPLED;
}

static enum verdict policy_whole(struct stage *st, struct exchange *ex)
{
	const struct policy_stage *s = (const struct policy_stage *)st;

	return s->use.change && ex->block ? chain_whole(&ex->block->change, ex) : VERDICT_KEEP;
}

static void policy_stage_free(struct stage *st)
{
	free(st);
}

static const struct stage_ops policy_ops = {
	.name = "policy",
	.head = policy_head,
	.whole = policy_whole,
	.free = policy_stage_free,
};

struct stage *stage_policy_new(const struct policy *p, const struct policy_use *use)
{
	struct policy_stage *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage.ops = &policy_ops;
	s->policy = p;
	s->use = *use;
	sampler_init(&s->sampler, &use->key, use->seed);
	sampler_go_by_id(&s->sampler, THROW_POLICY +
				      (use->destination > 0 ? (uint64_t)use->destination : 0));
	return &s->stage;
}
