/* SPDX-License-Identifier: Apache-2.0 */
/* One exchange as one JSON object with the store's columns: a line of a file, a message's value. */
#ifndef STORE_JSONL_H
#define STORE_JSONL_H

#include "json_read.h"
#include "rebuild.h"
#include "store/format.h"

/* What reading takes from one exchange to the next. */
struct jsonl_reader {
	struct header headers[LIMIT_FIELDS];
	struct buf target, bytes;
	struct texts routes, templates;
	size_t body_max;
	struct format_notes *notes; /* borrowed */
};
void jsonl_reader_init(struct jsonl_reader *r, size_t body_max, struct format_notes *notes);
void jsonl_reader_done(struct jsonl_reader *r); /* exchanges borrow their route from it */

/* `place` says where the text stands; its json is not used. SC_EINVAL with a line, SC_ENOMEM. */
int jsonl_read(struct jsonl_reader *r, struct span text, const struct jnode *place,
	       struct exchange **ret);

/* Parts of it, of an object that holds some of the columns: when, between whom and how it went; the
 * request's head where request_raw gives it; trailers and chunk lines of the messages that are
 * there. */
int jsonl_read_about(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex);
int jsonl_read_raw(struct jsonl_reader *r, const struct jnode *n, struct message **ret);
int jsonl_read_tails(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex);

/* Appends the object, without a newline; `scratch` is used. SC_EFULL, SC_ENOMEM. */
int jsonl_add(struct buf *out, struct buf *scratch, const struct exchange *ex);

#endif
