/* SPDX-License-Identifier: Apache-2.0 */
/* Takes secrets out of an exchange before anything else sees it: header fields, cookies, query
 * parameters, form fields, JSON members; in requests and responses, heads, trailers and bodies,
 * also inside gzip, deflate, br and zstd. What a rule takes in one place is taken wherever else in
 * the same exchange it stands, when it is of at least six bytes: as it is, percent-encoded, or
 * escaped as in JSON.
 *
 * Every byte that no rule takes stays, and an exchange without secrets stays as it is. A body that
 * changes is put back in the same codings; lengths stay true, digests of what was there go.
 *
 * Fails closed: a body that should be looked into and cannot be (an unknown coding, damaged data,
 * JSON that is none) is taken out whole. It then counts as cut (MESSAGE_CAPPED, and the exchange as
 * EXCHANGE_TRUNCATED): its size and Content-Length say how long it was, and no replay sends it.
 *
 * What is replaced, and all memory that it was worked on in, is overwritten. */
#ifndef CORE_REDACT_H
#define CORE_REDACT_H

#include "core/stage.h"

struct redaction;

/* `key`: for =hash (HMAC-SHA-256), copied and wiped at the end; NULL when there is none, then =hash
 * is SC_EINVAL. */
struct redaction *redaction_new(const void *key, size_t key_len); /* NULL: no memory */
void redaction_free(struct redaction *r); /* NULL is fine */

/* WHAT[=HOW]: header:NAME, cookie:NAME, query:NAME, form:NAME, json:PATH, or the preset `secrets`;
 * HOW mask (default, "***"), hash ("hmac:" and 64 digits, the same for the same value wherever it
 * stands), drop. Where several rules name the same place the last stands, the preset below all
 * others; a header: rule takes the whole field, whatever cookie: and query: rules would do inside.
 * PATH: core/json_path.h. SC_EINVAL with the reason, SC_ENOMEM. */
int redaction_add(struct redaction *r, const char *text, struct err *err);

/* How many bodies were taken out whole because they could not be looked into. */
uint64_t redaction_closed(const struct redaction *r);

/* A stage (whole) that owns `r` (moved, also on failure). NULL: no memory. VERDICT_ERROR when an
 * exchange cannot be redacted (no memory, a head over LIMIT_HEAD_BYTES, more than LIMIT_NEEDLES
 * secrets): it must go nowhere then, and is emptied so that there is nothing to go. */
struct stage *stage_redact_new(struct redaction *r);

#endif
