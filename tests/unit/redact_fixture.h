/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of redaction share. Every function fails the test by itself. */
#ifndef UNIT_REDACT_FIXTURE_H
#define UNIT_REDACT_FIXTURE_H

#include "core/redact.h"
#include "core/span.h"

/* `rules`: separated by line feeds. The key of =hash is "key". */
struct redaction *make_redaction(const char *rules);

/* A message as on the wire: head, blank line, body; a body that is not whole has `missing` more. */
struct message *make_wire(struct span wire, uint64_t missing);
/* `response` may be NULL. */
struct exchange *make_pair(const char *request, const char *response);

/* Runs one exchange through the rules. */
enum verdict redact_with(const char *rules, struct exchange *ex, uint64_t *ret_closed);

/* Head and body in a row. free() it. */
char *wire_of(const struct message *m, size_t *ret_len);
void assert_wire(const struct message *m, const char *expected, const char *what);

/* The same in the index: every slice is where a fresh reading of the head finds it. */
void assert_index(const struct message *m);

bool holds(struct span s, struct span word);
/* Wherever in the message: head, trailer, chunk lines, body, and the body without its codings. */
bool message_holds(const struct message *m, struct span word);

#endif
