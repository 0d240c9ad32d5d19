/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's destination as a target to connect to. */
#ifndef CLI_DESTINATION_H
#define CLI_DESTINATION_H

#include "connect_opts.h"
#include "core/policy.h"

#define DESTINATION_URL 512

struct destination_way {
	char url[DESTINATION_URL];
	struct connect_args args;   /* what connect_build() takes; --resolve is in it */
	const char **resolve;       /* owned, and each of them */
};

/* host[/subset][:port] as the manifest writes it, which tells each from all others where a URL does
 * not; free() it. NULL: no memory. */
char *destination_name(const struct destination *d);

/* What a person said about connections (`base`) counts before what the manifest says. SC_EINVAL
 * when the destination cannot be told from the manifest, with the line that says why. */
int destination_way_of(const struct destination *d, const struct connect_args *base,
		       struct destination_way *ret, struct err *err);
void destination_way_done(struct destination_way *w); /* all zero is fine */

#endif
