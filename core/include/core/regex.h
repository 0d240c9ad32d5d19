/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions with a bound on their work. The only place that knows PCRE2. */
#ifndef CORE_REGEX_H
#define CORE_REGEX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/span.h"

struct regex;

/* `whole`: must match the whole subject. SC_EINVAL with the position in err. */
int regex_new(const char *pattern, bool whole, struct regex **ret, struct err *err);
void regex_free(struct regex *re);

/* False also when the match limit is reached, which regex_gave_up() counts. One thread at a time. */
bool regex_matches(const struct regex *re, struct span subject);
uint64_t regex_gave_up(void); /* in this thread, so far */

/* Appends `subject` to `out` with every match replaced; \0..\9 in `to` are its groups. Returns the
 * number of replacements or an error. */
int regex_replace(const struct regex *re, struct span subject, struct span to, struct buf *out);

#endif
