/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one answer after another off a connection (RFC 9112, 6.3), from bytes in any pieces. Does
 * no I/O and reads no clock. */
#ifndef REPLAY_ANSWER_H
#define REPLAY_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/message.h"
#include "replay/room.h"

enum answer_keep {
	ANSWER_KEEP_STATUS, /* messages without head and body; sizes are counted */
	ANSWER_KEEP_FULL,
};

enum answer_state {
	ANSWER_MORE,	  /* not at its end */
	ANSWER_DONE,	  /* whole; take it, then begin the next */
	ANSWER_CUT,	  /* the connection ended inside it */
	ANSWER_MALFORMED, /* not HTTP */
	ANSWER_TOO_LARGE, /* a ceiling: head, fields, interim answers */
	ANSWER_NO_MEMORY,
};

struct answer;

/* `body_max`: kept bytes of one body, as far as there is `room` (borrowed; NULL: always); the rest is
 * counted and the message is marked. NULL: no memory. */
struct answer *answer_new(enum answer_keep keep, size_t body_max, struct body_room *room);
void answer_free(struct answer *a);

/* Forgets everything before and waits for the answer to a request; `head`: to HEAD. */
void answer_begin(struct answer *a, bool head);

/* Nobody will take the body under way: gives its memory back until the next answer begins. */
void answer_drop(struct answer *a);

/* Interim answers (1xx but 101) are passed over. *ret_used < len only when it is not ANSWER_MORE:
 * what lies behind belongs to nobody. */
enum answer_state answer_feed(struct answer *a, const uint8_t *p, size_t len, size_t *ret_used);

/* The peer has closed: the regular end of an answer without a length. */
enum answer_state answer_eof(struct answer *a);

/* After ANSWER_DONE. */
bool answer_keeps_alive(const struct answer *a); /* another request may follow */
uint16_t answer_status(const struct answer *a);
/* Moves the message out, with no arrival times. SC_ENOMEM. */
int answer_take(struct answer *a, struct message **ret);

#endif
