/* SPDX-License-Identifier: Apache-2.0 */
/* StringMatch: one test of one text. Knows nothing of what the text is. */
#include <string.h>

#include "manifest_parts.h"

enum { MATCH_EXACT, MATCH_PREFIX, MATCH_REGEX, MATCH_FIELDS };

static const enum text_kind tests[MATCH_FIELDS] = {
	[MATCH_EXACT] = TEXT_EXACT,
	[MATCH_PREFIX] = TEXT_PREFIX,
	[MATCH_REGEX] = TEXT_REGEX,
};

static const struct known match_fields[MATCH_FIELDS] = {
	[MATCH_EXACT] = {"exact", NULL},
	[MATCH_PREFIX] = {"prefix", NULL},
	[MATCH_REGEX] = {"regex", NULL},
};

/* MATCH_FIELDS: none. */
static int which(struct reader *r, const struct place *at, const struct place f[], unsigned *ret)
{
	*ret = MATCH_FIELDS;
	for (unsigned i = 0; i < MATCH_FIELDS; i++) {
		if (!f[i].node)
			continue;
		if (*ret != MATCH_FIELDS)
			return place_wrong(r, at, "has both %s and %s; expected one of them",
					   match_fields[*ret].name, match_fields[i].name);
		*ret = i;
	}
	return SC_OK;
}

int match_read(struct reader *r, const struct place *at, enum match_use use, struct text **ret,
	       const char **ret_value)
{
	struct place f[MATCH_FIELDS];
	const char *value = "";
	enum text_kind kind;
	struct err inner;
	unsigned test = MATCH_FIELDS;
	int rc = fields_find(r, at, match_fields, MATCH_FIELDS, f);

	if (!rc)
		rc = which(r, at, f, &test);
	if (!rc && test != MATCH_FIELDS)
		rc = place_text(r, &f[test], &value);
	if (rc)
		return rc;
	if (use != MATCH_PLAIN && test == MATCH_FIELDS) {
		*ret = NULL;
		return SC_OK;
	}
	kind = test == MATCH_FIELDS ? TEXT_PRESENT : tests[test];
	/* No regex at all, but what Istio takes for "there is one". */
	if (use == MATCH_PLAIN && kind == TEXT_REGEX && strcmp(value, "*") == 0)
		kind = TEXT_PRESENT;
	rc = text_new(kind, value, use == MATCH_FOLD, ret, &inner);
	if (rc)
		return place_failed(r, test == MATCH_FIELDS ? at : &f[test], rc, &inner);
	if (ret_value)
		*ret_value = value;
	return SC_OK;
}

int match_add(struct reader *r, const struct place *at, struct rule *rule, enum rule_part part,
	      const char *name, struct text *text)
{
	int rc = reader_count(r, at);

	if (rc) {
		text_free(text);
		return rc;
	}
	rc = rule_add(rule, part, name, text); /* moved */
	return rc ? reader_no_memory(r) : SC_OK;
}
