/* SPDX-License-Identifier: Apache-2.0 */
/* One test of one text: what a route's path, header and query terms and a mesh's StringMatch have
 * in common. Bytes compare as they are; case only where it is asked for. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>

#include "core/err.h"
#include "core/span.h"

enum text_kind {
	TEXT_PRESENT,  /* any value, as long as there is one */
	TEXT_EXACT,
	TEXT_PREFIX,   /* bytewise: /httpbin takes /httpbinX */
	TEXT_SEGMENTS, /* a prefix of whole path segments: /a takes /a, /a/ and /a/b, not /ab */
	TEXT_REGEX,    /* the whole text */
};

struct text;

/* `value` is copied; unused for TEXT_PRESENT. `fold`: ASCII case does not count (not for regexes,
 * which have (?i)). SC_EINVAL with the reason when a regex does not compile. */
int text_new(enum text_kind kind, const char *value, bool fold, struct text **ret,
	     struct err *err);
/* As a route writes it: "VALUE", "VALUE*" a prefix, "~REGEX", "*" present. */
int text_parse(const char *value, struct text **ret, struct err *err);
void text_free(struct text *t); /* NULL is fine */

/* One thread at a time. */
bool text_takes(const struct text *t, struct span s);

enum text_kind text_kind_of(const struct text *t);
/* What it was made from; for regexes the longest literal that every match begins with. Borrowed. */
struct span text_literal(const struct text *t);

#endif
