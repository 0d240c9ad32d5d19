/* SPDX-License-Identifier: Apache-2.0 */
/* The rule options that every command shares, and the chains they make. */
#ifndef CLI_RULES_H
#define CLI_RULES_H

#include <jansson.h>

#include "core/filter.h"
#include "core/policy.h"
#include "core/redact.h"
#include "core/rewrite.h"
#include "core/sample.h"
#include "core/stage.h"
#include "opt.h"

struct rule_options {
	struct str_list routes, excludes, files;
	double sample; /* percent */
	struct sample_key sample_by;
	uint64_t seed;
	bool seeded; /* by the person */
	struct str_list manifests, resolve;
	struct str_list redact;
	const char *key_file; /* of --redact ...=hash; NULL: none */
};

/* Rows for a table whose base is the struct's offset; rule_defaults() first. */
extern const struct opt rule_rows[];
extern const struct opt resolve_rows[]; /* --resolve, where no other table has it */
void rule_defaults(struct rule_options *o);

/* What the options come to. */
struct rules {
	struct policy *policy; /* of --manifest; NULL: none. The chain borrows it */
	bool borrowed;         /* the policy is somebody else's */
	uint64_t seed;         /* of the sampling */
	bool selects;          /* there are rules by which some are left out */
	bool waits;            /* a rule asks for the response */
	const struct redaction *redaction; /* the chain's; NULL: none */
};
void rules_done(struct rules *r); /* after chain_done() */

/* Adds marker, filter, policy, sample and redact stages. `change`: the policy's changes of the request
 * are made, too, and its `destination` counts (-1: any). SC_EINVAL with the line that names the rule. */
int rules_build(const struct rule_options *o, bool change, int destination, struct rules *r,
		struct chain *chain, struct err *err);

/* Marker, filter, policy and sample stages alone, and no percentage of the policy is applied: who sends
 * to several of its destinations does that for each. */
int rules_select(const struct rule_options *o, struct rules *r, struct chain *chain,
		 struct err *err);

/* The filter of `o` alone; *ret NULL when every request is meant. */
int rules_filter(const struct rule_options *o, struct filter **ret, struct err *err);
/* Adds the redact stage alone; *ret (may be NULL) is its redaction, borrowed, NULL when there is none. */
int rules_redaction(const struct rule_options *o, struct chain *chain,
		    const struct redaction **ret, struct err *err);
/* What a target answered, before it is kept or compared: `c` holds redact stages alone. An answer that
 * cannot be redacted loses its head and body. */
void rules_redact_answer(const struct chain *c, struct result *r);
/* Reads the manifests of `o` alone; `aloud` with their warnings. *ret NULL when there are none. */
int rules_policy(const struct rule_options *o, bool aloud, struct policy **ret, struct err *err);
/* Where --resolve is for manifests alone: SC_EINVAL when there is none. */
int rules_check_resolve(const struct rule_options *o, struct err *err);

/* What was asked, for capture.options and replay.options; adds members to `to`. */
void rules_describe(const struct rule_options *o, const struct rules *r, json_t *to);

struct rewrite_options {
	struct str_list rewrites, set, add, remove, set_query, remove_query;
	const char *host; /* NULL: the default of the command */
};

extern const struct opt rewrite_rows[];

/* Adds rewrite, host, header and query stages. `target_authority` is what host mode target writes. */
int rewrites_build(const struct rewrite_options *o, enum host_mode default_mode,
		   const char *target_authority, struct chain *chain, struct err *err);
void rewrites_describe(const struct rewrite_options *o, json_t *to);

#endif
