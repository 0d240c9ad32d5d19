/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a Hurl suite: a request, and what is asserted of its answer. */
#ifndef STORE_HURL_H
#define STORE_HURL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/message.h"
#include "request.h"
#include "store/format.h"

/* --- hurl_request.c ------------------------------------------------------------------------ */

/* Why Hurl cannot say it, as the text of a note; NULL: it can. */
const char *hurl_refusal(const struct exchange *ex);
/* Appends the request: a line of method and URL, headers, the body last. SC_EFULL, SC_ENOMEM. */
int hurl_add_request(const struct exchange *ex, struct format_notes *notes, struct buf *out);
/* Appends "..." with everything escaped that Hurl would read as more than text. */
int hurl_add_quoted(struct buf *out, struct span s);

/* --- hurl_assert.c ------------------------------------------------------------------------- */

/* One line of [Asserts]. */
struct hurl_assert {
	uint32_t off, len; /* in the text */
	uint32_t name_len; /* of the query at its front: `jsonpath "$.a"` */
	uint64_t name;	   /* a hash of that */
	bool unstable;	   /* another answer to the same request said otherwise */
};
/* Why a value of a JSON answer has no line. */
enum hurl_left {
	HURL_LEFT_LARGE,
	HURL_LEFT_EXPONENT,
	HURL_LEFT_SURROGATE,
	HURL_LEFT_NAME,
	HURL_LEFT,
};
struct hurl_asserts {
	struct buf text;
	struct hurl_assert *list; /* owned */
	uint32_t n, room;
	uint32_t left[HURL_LEFT];
	bool surrogates; /* of this answer or another: halves of pairs, which Hurl's JSON has not */
};

/* Those of one answer: content type, and each leaf of a JSON body or else the body's digest.
 * SC_ENOMEM. */
int hurl_asserts_of(const struct message *response, struct format_notes *notes,
		    struct hurl_asserts *ret);
void hurl_asserts_done(struct hurl_asserts *a);
/* What `other` does not say as well is unstable from now on. */
void hurl_asserts_compare(struct hurl_asserts *a, const struct hurl_asserts *other);
/* Appends the stable ones, a line each. */
int hurl_asserts_add(const struct hurl_asserts *a, struct buf *out);
/* Appends comments that say how many are missing, and why. */
int hurl_asserts_add_left(const struct hurl_asserts *a, struct buf *out);

#endif
