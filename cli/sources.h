/* SPDX-License-Identifier: Apache-2.0 */
/* Several files as one SOURCE: what a person wrote, be it paths or globs, as a list of files. Opens
 * none of them. */
#ifndef CLI_SOURCES_H
#define CLI_SOURCES_H

#include "core/err.h"

struct sources {
	char **paths; /* owned */
	unsigned n;
};

/* Each word is a path, "-", or, where no file has that very name and it has one of *?[ in it, a
 * glob: its files in the order of their names, without the logs that stand beside a store. SC_EINVAL
 * with a line: a glob that fits no file, one file twice, more than LIMIT_SOURCES. A path that does
 * not exist is left to who opens it. */
int sources_find(const char *const *words, int n, struct sources *ret, struct err *err);
void sources_done(struct sources *s); /* all zero is fine */

#endif
