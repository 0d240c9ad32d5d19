/* SPDX-License-Identifier: Apache-2.0 */
/* The rule options that every command shares, and the chains they make. */
#ifndef CLI_RULES_H
#define CLI_RULES_H

#include <jansson.h>

#include "core/rewrite.h"
#include "core/sample.h"
#include "core/stage.h"
#include "opt.h"

struct rule_options {
	struct str_list routes, excludes;
	double sample; /* percent */
	enum sample_by sample_by;
	uint64_t seed;
};

/* Rows for a table whose base is the struct's offset; rule_defaults() first: it draws a
 * seed. */
extern const struct opt rule_rows[];
void rule_defaults(struct rule_options *o);

/* Adds marker, filter and sample stages. SC_EINVAL with the line that names the rule. */
int rules_build(const struct rule_options *o, struct chain *chain, struct err *err);

/* What was asked, for capture.options and replay.options; adds members to `to`. */
void rules_describe(const struct rule_options *o, json_t *to);

struct rewrite_options {
	struct str_list rewrites, set, add, remove;
	const char *host; /* NULL: the default of the command */
};

extern const struct opt rewrite_rows[];

/* Adds rewrite, host and header stages. `target_authority` is what host mode target writes. */
int rewrites_build(const struct rewrite_options *o, enum host_mode default_mode,
		   const char *target_authority, struct chain *chain, struct err *err);
void rewrites_describe(const struct rewrite_options *o, json_t *to);

#endif
