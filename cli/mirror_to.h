/* SPDX-License-Identifier: Apache-2.0 */
/* --to of a mirror: a target, its percentage, and what is changed for it alone.
 *
 *     URL[=P%] [host:MODE] [rewrite:FROM=TO] [set-header:K=V] [add-header:K=V] [remove-header:K]
 *              [set-query:K=V] [remove-query:K]
 */
#ifndef CLI_MIRROR_TO_H
#define CLI_MIRROR_TO_H

#include "core/err.h"
#include "core/limits.h"
#include "rules.h"


struct mirror_to {
	char *text; /* a copy taken apart; the lists point into it */
	const char *url;
	double percent;
	/* The options for all targets first, then its own; its own host mode in place of theirs. */
	struct rewrite_options rewrites;
	char *fields[LIMIT_MIRROR_TERMS]; /* "K: V", owned */
	unsigned n_fields;
};

/* `common` is borrowed as long as the result lives. SC_EINVAL names the word that is wrong,
 * SC_ENOMEM. */
int mirror_to_parse(const char *text, const struct rewrite_options *common, struct mirror_to *ret,
		    struct err *err);
void mirror_to_done(struct mirror_to *to); /* all zero is fine */

#endif
