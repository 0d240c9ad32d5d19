/* SPDX-License-Identifier: Apache-2.0 */
/* What a mesh's route configuration says about mirroring, in our terms: which requests are meant, what
 * is changed in the copy, where it goes, at which percentage. Knows no YAML: a manifest reader
 * builds it with the functions below.
 *
 *   policy      hosts -> rules, top-down, the first that matches wins
 *   rule        match blocks (OR; none takes everything) and mirrors
 *   block       a rule of core/rule.h, and the changes that go with it */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rule.h"
#include "core/sample.h"
#include "core/stage.h"

/* Where a mirror goes. */
struct endpoint {
	char *address; /* an IP address or a name */
	uint16_t port;
};
struct destination {
	char *host;   /* as written */
	char *subset; /* NULL: none */
	uint16_t port; /* as written; 0: none */
	/* What it comes to. No endpoint: the host itself, by DNS. */
	struct endpoint *endpoints;
	unsigned n_endpoints;
	uint16_t to_port; /* where there is no endpoint; 80 or 443 when nothing says */
	bool tls;
	bool insecure;    /* insecureSkipVerify */
	char *sni, *ca_file, *cert_file, *key_file; /* NULL: not given */
	/* Why nobody can tell where it is, for the person who wants to send there; NULL: it is known. */
	char *unknown;
};

struct mirror {
	unsigned destination; /* index in policy.destinations */
	double percent;       /* 0..100 */
};

struct policy_block {
	struct rule *rule;   /* owned */
	struct chain change; /* of the mirrored copy, in order; owned */
	const struct policy_rule *parent;
};

struct policy_rule {
	char *name; /* for people and exchange.route: "httpbin http[0]" */
	char *place; /* "virtualservice.yaml:12: spec.http[0]" */
	struct policy_block *blocks; /* never empty: a rule without match has one without conditions */
	unsigned n_blocks;
	struct mirror *mirrors; /* may be empty: such a rule takes requests and mirrors none */
	unsigned n_mirrors;
};

/* The rules for the hosts of one document. */
struct policy_group {
	struct text **hosts; /* of the host's name without port, lower case; none: every host */
	unsigned n_hosts;
	struct policy_rule *rules;
	unsigned n_rules;
	struct rule_index *index; /* of all blocks; made by policy_seal() */
};

struct policy {
	struct policy_group *groups; /* asked in order */
	unsigned n_groups;
	struct destination *destinations;
	unsigned n_destinations;
};

struct policy *policy_new(void); /* NULL: no memory */
void policy_free(struct policy *p); /* NULL is fine */

/* Building. Each returns the new element, all zero, or NULL: no memory. Pointers into an array are
 * good until the next element is added to it; `parent` of the blocks is set by policy_seal(). */
struct policy_group *policy_add_group(struct policy *p);
struct policy_rule *policy_add_rule(struct policy_group *g);
struct policy_block *policy_add_block(struct policy_rule *r);
struct mirror *policy_add_mirror(struct policy_rule *r);
int policy_add_host(struct policy_group *g, struct text *host); /* moved, also on failure */
/* The index of the destination, added when it is new. SC_ENOMEM (negative). */
int policy_destination(struct policy *p, const char *host, const char *subset, uint16_t port);
/* Once, when everything is added. SC_ENOMEM. */
int policy_seal(struct policy *p);

/* The block that takes the request: of the first rule, in the first group for its host, that does. What
 * is for every host is not asked where a group names the host. A request whose host is an IP address,
 * localhost or missing is asked of every group, since a service is reached by its address too. NULL:
 * none. */
const struct policy_block *policy_match(const struct policy *p, const struct subject *s);

/* The highest percentage of a rule's mirrors, or of those to one destination (-1: all of them); 0 when
 * there is none. */
double policy_percent(const struct policy_rule *r, int destination);
bool policy_mirrors(const struct policy *p); /* whether anything is mirrored at all */

/* Whether anything is mirrored to this destination. */
bool policy_sends_to(const struct policy *p, unsigned destination);

/* A stage: takes the requests that a rule mirrors (route: the rule's name, block: what matched), with
 * `sample` lets in its percentage of them, and with `change` makes the changes that go with it. */
struct policy_use {
	int destination; /* only mirrors that go there count; -1: the highest percentage does */
	bool sample, change;
	struct sample_key key;
	uint64_t seed;
};
/* `p` is borrowed. NULL: no memory. */
struct stage *stage_policy_new(const struct policy *p, const struct policy_use *use);

#endif
