/* SPDX-License-Identifier: Apache-2.0 */
/* How many answers differ, by route and kind, while they come in. Holds LIMIT_TALLY_ROUTES routes
 * and one example of each, the routes after them as one; judges nothing. */
#ifndef REPLAY_TALLY_H
#define REPLAY_TALLY_H

#include "core/buf.h"
#include "replay/compare.h"

/* For one thread. */
struct tally;

struct tally *tally_new(void);	  /* NULL: no memory */
void tally_free(struct tally *t); /* NULL is fine */

/* An answer is about to be compared: what tally_found() is told from here on is of it. `route`: the
 * rule that took it, or the path; copied, up to LIMIT_TALLY_NAME bytes. SC_ENOMEM: it is not
 * counted. */
int tally_begin(struct tally *t, struct span method, struct span route);
/* compare_answers() calls it, with the tally as `arg`. */
void tally_found(void *tally, const struct difference *d);

/* Answers. Differing ones are not in `noise`, which is those that differ by noise alone. */
struct tally_counts {
	uint64_t compared, differing, noise;
	uint64_t kinds[KINDS]; /* with a difference of that kind that counts, each once */
};
struct tally_counts tally_total(const struct tally *t);

/* Append. The text: a line of totals, and where there are any, the routes that differ, the worst
 * first, at most `lines` of them, each with its last example; what is no printable text is written
 * as \xNN. The JSON: one object without a newline, with all routes. SC_ENOMEM, SC_EFULL. */
int tally_text(const struct tally *t, unsigned lines, struct buf *out);
int tally_json(const struct tally *t, struct buf *out);

#endif
