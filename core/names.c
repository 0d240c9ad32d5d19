/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of names. Only grows while rules are read; never holds anything of an exchange. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

#define NAMES_FIRST 64u

struct name_entry {
	char *text; /* NULL: a free slot */
	size_t len;
	bool fold;
	struct rule_use use;
};

static uint32_t hash(struct span s)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (s.p[i] | 0x20u)) * 16777619u; /* folds letters, and some others */
	return h;
}

static uint64_t length_bit(size_t len)
{
	return 1ull << (len < 63 ? len : 63);
}

static size_t first_letter(struct span name)
{
	return name.len ? name.p[0] & 31u : 0;
}

static int grow(struct names *t)
{
	uint32_t room = t->room ? t->room * 2 : NAMES_FIRST;
	struct name_entry *slots = calloc(room, sizeof(*slots));

	if (!slots)
		return SC_ENOMEM;
	for (uint32_t i = 0; i < t->room; i++) {
		const struct name_entry *e = &t->slots[i];
		uint32_t at;

		if (!e->text)
			continue;
		for (at = hash(span_of(e->text, e->len)); slots[at & (room - 1)].text; at++)
			;
		slots[at & (room - 1)] = *e;
	}
	free(t->slots);
	t->slots = slots;
	t->room = room;
	return SC_OK;
}

static bool entry_is(const struct name_entry *e, struct span name)
{
	struct span own = span_of(e->text, e->len);

	return e->fold ? span_case_eq(own, name) : span_eq(own, name);
}

int names_add(struct names *t, struct span name, bool fold, struct rule_use use)
{
	struct name_entry *e;
	char *copy;
	int rc;

	if (t->n * 2 >= t->room) {
		rc = grow(t);
		if (rc)
			return rc;
	}
	for (uint32_t at = hash(name);; at++) {
		e = &t->slots[at & (t->room - 1)];
		if (!e->text)
			break;
		if (e->fold == fold && entry_is(e, name)) {
			if (use.rank >= e->use.rank)
				e->use = use;
			return SC_OK;
		}
	}
	copy = malloc(name.len + 1);
	if (!copy)
		return SC_ENOMEM;
	memcpy(copy, name.p, name.len);
	*e = (struct name_entry){copy, name.len, fold, use};
	t->n++;
	t->lengths[first_letter(name)] |= length_bit(name.len);
	return SC_OK;
}

void names_done(struct names *t)
{
	for (uint32_t i = 0; i < t->room; i++)
		free(t->slots[i].text);
	free(t->slots);
	*t = (struct names){0};
}

bool names_find(const struct names *t, struct span name, struct rule_use *ret)
{
	bool found = false;

	if (!(t->lengths[first_letter(name)] & length_bit(name.len)))
		return false;
	for (uint32_t at = hash(name);; at++) {
		const struct name_entry *e = &t->slots[at & (t->room - 1)];

		if (!e->text)
			return found;
		if (!entry_is(e, name) || (found && e->use.rank < ret->rank))
			continue;
		*ret = e->use;
		found = true;
	}
}
