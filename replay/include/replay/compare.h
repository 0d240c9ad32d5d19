/* SPDX-License-Identifier: Apache-2.0 */
/* Two answers to the same request, and what differs: status, headers, body. Reads no clock, does no
 * I/O, and says the same of the same answers each time. Judges nothing: what is noise by the rules
 * is said too, and marked.
 *
 * What does not count as a difference: the reason phrase, the HTTP version, the order of fields of
 * different names, trailers, content codings (the Content-Encoding field does), white space and the
 * order of members in JSON, and how a number or a string in it is written. */
#ifndef REPLAY_COMPARE_H
#define REPLAY_COMPARE_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/message.h"

/* identifier, name (as stored) */
#define DIFFERENCE_PLACES(X)                                                                       \
	X(STATUS, "status")                                                                        \
	X(HEADER, "header")                                                                        \
	X(BODY, "body")

/* identifier, name (as stored), meaning */
#define DIFFERENCE_KINDS(X)                                                                        \
	X(STATUS, "status", "another status")                                                      \
	X(MISSING, "missing", "a field, cookie or member was recorded and is not in the replay")   \
	X(EXTRA, "extra", "one is in the replay and was not recorded")                             \
	X(TYPE, "type", "a JSON value of another type")                                            \
	X(VALUE, "value", "another JSON value")                                                    \
	X(ORDER, "order", "the same items in another order")                                       \
	X(LENGTH, "length", "more or fewer items")                                                 \
	X(HEADER, "header", "another value of a field")                                            \
	X(BODY, "body", "another body, not structured")                                            \
	X(ERROR, "error", "one of both is no answer")

#define DIFFERENCE_ID(id, ...) PLACE_##id,
enum difference_place { DIFFERENCE_PLACES(DIFFERENCE_ID) PLACES };
#undef DIFFERENCE_ID
#define DIFFERENCE_ID(id, ...) KIND_##id,
enum difference_kind { DIFFERENCE_KINDS(DIFFERENCE_ID) KINDS };
#undef DIFFERENCE_ID

const char *difference_place_name(enum difference_place place);
const char *difference_kind_name(enum difference_kind kind);
const char *difference_kind_help(enum difference_kind kind);

/* Spans are borrowed for the call. Texts are as in the answers, control characters and all: for a
 * JSON value as it stands there, for `length` in JSON the numbers of items, for several fields of
 * one name their values with ", " between, for `body` where they part and how long they are ("byte
 * 3 of 10: text"), for `error` a status or "no answer". Cut at LIMIT_DIFFERENCE_PATH and
 * LIMIT_DIFFERENCE_TEXT bytes; empty where there is none. */
struct difference {
	enum difference_place place;
	enum difference_kind kind;
	struct span path; /* "" for status and for a body that is not JSON, a field's name in lower
			   * case, $.a['b c'][0] in JSON */
	struct span recorded, replayed;
	bool noise; /* by the rules it does not count */
};

/* The rules, and memory that is used again. For one thread. */
struct comparer;

struct comparer *comparer_new(void);	/* with the rules of the table; NULL: no memory */
void comparer_free(struct comparer *c); /* NULL is fine */

/* One more rule: "header:NAME" ("NAME*": all that begin so), or "json:PATH" with PATH as RFC 9535
 * has it, of .name, ['name'], [n], [*], .* and ..name: that value and all in it. SC_EINVAL with the
 * reason, SC_ENOMEM. */
int comparer_ignore(struct comparer *c, const char *rule, struct err *err);

/* The table of fields that are noise, a line each, with the reason. SC_ENOMEM, SC_EFULL. */
int comparer_print_noise(struct buf *out);

/* Calls `found` for each difference, in a fixed order: status, headers by name, body. NULL is no
 * answer. At most LIMIT_DIFFERENCES that count, and as many that are noise.
 *
 * Of a body that was cut only what both have is compared; of one with a hole (MESSAGE_GAP),
 * nothing, since nobody knows where it is. Answers without a kept head (MESSAGE_UNKEPT) are
 * compared by status alone. SC_ENOMEM: some of it was not compared. */
int compare_answers(struct comparer *c, const struct message *recorded,
		    const struct message *replayed,
		    void (*found)(void *arg, const struct difference *d), void *arg);

#endif
