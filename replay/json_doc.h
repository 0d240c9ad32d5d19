/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON text (RFC 8259) as a flat list of its values, to be compared with another. Borrows the
 * text and copies nothing out of it, so that a number keeps all its digits; a text whose end is
 * missing is read as far as it goes. Does no I/O, and its hash has no secret: the same text is
 * always read the same way. */
#ifndef REPLAY_JSON_DOC_H
#define REPLAY_JSON_DOC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/span.h"

enum doc_kind { DOC_NULL, DOC_BOOL, DOC_NUMBER, DOC_STRING, DOC_ARRAY, DOC_OBJECT };

/* A string or a member's name: between its quotes, as it stands. */
struct doc_string {
	struct span raw;
	bool escaped; /* there is a backslash in it */
};

/* Values stand in the order of the text, children behind their container. */
struct doc_node {
	uint32_t name, name_len; /* of a member, between its quotes; offsets into the text */
	uint32_t at, len;	 /* as it stands, a string with its quotes */
	uint32_t next;		 /* the index behind the last of its descendants */
	uint32_t n;		 /* children */
	uint64_t hash;		 /* once doc_hash() was called; of equal values equal */
	uint8_t kind;		 /* enum doc_kind */
	bool cut;		 /* a container inside of which the text ends: there may be more */
	bool name_escaped;
	bool escaped;
};

struct doc {
	struct span text; /* borrowed */
	struct doc_node *nodes;
	uint32_t n, cap;
	bool hashed;
};

void doc_init(struct doc *d);
void doc_done(struct doc *d);

/* Forgets what was read before. `cut`: the end of the text is missing; then there may be no value
 * at all (n == 0), and one that might go on is left out. Over LIMIT_COMPARED_VALUES it ends as
 * though cut there. SC_EPROTO: no JSON, or deeper than LIMIT_JSON_DEPTH. SC_ENOMEM. */
int doc_read(struct doc *d, struct span text, bool cut);
/* For all values: from content, not from writing. A container that is cut has the hash of what is
 * there. */
void doc_hash(struct doc *d);

struct span doc_raw(const struct doc *d, uint32_t i);
struct doc_string doc_name(const struct doc *d, uint32_t i);
struct doc_string doc_string(const struct doc *d, uint32_t i); /* of a DOC_STRING */

/* By the bytes that are meant, "\u0041" is "A"; like memcmp(). */
int doc_string_compare(struct doc_string a, struct doc_string b);

/* The bytes that are meant, one by one. */
struct doc_bytes {
	struct span rest;
	uint8_t pending[4];
	unsigned n, at;
};
void doc_bytes_init(struct doc_bytes *b, struct span raw);
int doc_bytes_next(struct doc_bytes *b); /* -1: no more */

/* As numbers, digit for digit: 1, 1.0 and 10e-1 are the same, and nothing is rounded. */
bool doc_number_eq(struct span a, struct span b);

#endif
