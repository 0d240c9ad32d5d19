/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a comparison share: the rules, and the one way by which a difference is said.
 */
#ifndef REPLAY_COMPARE_PRIVATE_H
#define REPLAY_COMPARE_PRIVATE_H

#include "core/limits.h"
#include "json_doc.h"
#include "replay/compare.h"

/* Where a value stands: from the root, a member's name or an element's index a step. */
struct place_step {
	struct doc_string name;
	uint32_t index;
	bool member;
};

/* What a rule of the table says of a field. */
enum noise_how {
	NOISE_NOT,
	NOISE_ALL,     /* whatever differs */
	NOISE_COOKIE,  /* the values of cookies, not their names and attributes */
	NOISE_FRAMING, /* as long as the bodies themselves can be compared */
};

struct noise_rules;

struct noise_rules *noise_new(void);	/* NULL: no memory */
void noise_free(struct noise_rules *n); /* NULL is fine */
int noise_add(struct noise_rules *n, const char *rule, struct err *err);
enum noise_how noise_of_header(const struct noise_rules *n, struct span name);
bool noise_of_json(const struct noise_rules *n, const struct place_step *steps, unsigned depth);

/* Fields of one answer, by name and then as they came. */
struct field_list {
	uint32_t *list;
	uint32_t n, cap;
};

struct comparer {
	struct noise_rules *noise;
	struct field_list fields[2];
	struct doc doc[2];
	struct buf body[2]; /* without their codings */
	struct place_step steps[LIMIT_JSON_DEPTH + 1];
};

/* One comparison under way. */
struct report {
	struct comparer *c;
	const struct message *recorded, *replayed;
	void (*found)(void *arg, const struct difference *d);
	void *arg;
	unsigned said[2];    /* that count, that are noise */
	bool coded_alike;    /* both say the same of it, word for word */
	bool framing_counts; /* nothing else tells how long the bodies are */
};

/* Cuts the texts and hands it on. SC_EFULL when no more that count will be: stop. */
int report_say(struct report *r, struct difference d);

/* At most `max` bytes, no UTF-8 character in two. */
struct span text_cut(struct span s, size_t max);

/* All return SC_OK, SC_EFULL from report_say(), SC_ENOMEM. */
int compare_heads(struct report *r);
/* The two texts of c->doc[], read. */
int compare_docs(struct report *r);

#endif
