/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the first of many rules that takes a request without asking all of them: each rule lies
 * under what of it can be looked up (host, beginning of the path, one exact header or parameter).
 * Private to core. */
#ifndef CORE_RULE_INDEX_H
#define CORE_RULE_INDEX_H

#include "core/rule.h"

/* What can be looked up of one rule. Spans are borrowed from it. */
enum anchor_host { ANCHOR_ANY, ANCHOR_NAME, ANCHOR_FULL, ANCHOR_SUFFIX };
struct anchor {
	enum anchor_host host_kind;
	struct span host; /* lower case; a suffix begins with its dot */
	bool exact;       /* the path is this one; otherwise it begins so */
	struct span path;
	enum rule_part term; /* RULE_HEADER, RULE_QUERY, or RULE_PARTS: none */
	const char *name;
	struct span value; /* exact */
};
void rule_anchor(const struct rule *r, struct anchor *ret);

/* The request's next value of that name, for RULE_HEADER or RULE_QUERY; `at` all zero before the
 * first. False: no more. */
struct values {
	size_t at;
};
bool subject_value(const struct subject *s, enum rule_part part, const char *name,
		   struct values *at, struct span *ret);

struct rule_index;

struct rule_index *rule_index_new(void); /* NULL: no memory */
void rule_index_free(struct rule_index *x); /* not the rules */

/* Rules are borrowed and asked in the order in which they were added; `tag` comes back. SC_ENOMEM. */
int rule_index_add(struct rule_index *x, const struct rule *r, const void *tag);

/* The tag of the first rule that takes it, or NULL. */
const void *rule_index_find(const struct rule_index *x, const struct subject *s);

#endif
