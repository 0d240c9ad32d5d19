/* SPDX-License-Identifier: Apache-2.0 */
/* Which rule a name falls under: one table a kind of place. Asked for every field, parameter and
 * member that goes by, so most are turned away by their length and first letter. */
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/span.h"

enum redact_how { REDACT_MASK, REDACT_HASH, REDACT_DROP };

/* What a rule asks for. Of several that name the same place the highest rank stands. */
struct rule_use {
	enum redact_how how;
	uint32_t rank; /* 0: a preset's; else the rule's number */
};

struct name_entry;
struct names {
	struct name_entry *slots;
	uint32_t n, room;
	uint64_t lengths[32]; /* by the first letter; bit n: a name of n bytes, 63: or more */
};

/* `fold`: ASCII case does not count. A name that is there already gets the new use unless that has
 * a lower rank. SC_ENOMEM. */
int names_add(struct names *t, struct span name, bool fold, struct rule_use use);
void names_done(struct names *t);
bool names_find(const struct names *t, struct span name, struct rule_use *ret);

#endif
