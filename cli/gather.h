/* SPDX-License-Identifier: Apache-2.0 */
/* Files of any format, one or many, through a chain into one sink: convert, and what a replay does
 * with sources that are no store. Exchanges go in the order of time; into a store source after
 * source instead, each with a capture row of its own, since a store is read in the order of time.
 * Knows no option of a command. */
#ifndef CLI_GATHER_H
#define CLI_GATHER_H

#include "convert.h"
#include "sources.h"

/* Every exchange that was read is in one of the others. `written` is what the sink keeps; `lost` is
 * what it was given of a file that did not become whole. */
struct tally {
	uint64_t read, written, filtered, unsampled, own, left_out, failed, lost;
};

struct gather_part;

struct gather {
	/* Set by the caller, borrowed. */
	const struct convert_args *args;
	struct chain *chain;		   /* what exchanges go through */
	const struct redaction *redaction; /* of it; NULL: none */
	const char *options;		   /* JSON, of capture rows */
	/* A capture row says of a store what the store's own says, and where it was. */
	bool as_recorded;
	bool whole; /* half of it is of no use: a stop is a failure, and the sink is not finished */

	struct tally account;
	struct format_notes notes;
	bool stopped; /* by stop_wanted(), before the end */

	/* All below is its own. */
	struct gather_part *parts;
	unsigned n;
	struct side to;
	int64_t first_us; /* of the dataset; 0: not known before it is read */
	int64_t started_us, reported_us;
	uint64_t closed; /* bodies that redaction could not read, of rows that have ended */
};

/* Of which format each is, whether it can be read, and when it begins, for which that may wait:
 * nothing is made yet. SC_EINVAL with a line. gather_done() also after a failure. */
int gather_look(struct gather *g, const struct sources *files, const char *sink, struct err *err);
/* All of them into `sink`, until stop_wanted(). What was taken stays in a store, whatever ends it;
 * a row that did not come to its end has no ended_at, and the ledger of one that was stopped says
 * "stopped": true. A file is there whole or not at all. */
int gather_run(struct gather *g, const char *sink, struct err *err);
void gather_done(struct gather *g);

/* The account and the notes, or these alone, on stderr; all as JSON, on stdout. */
void gather_print(const struct gather *g);
void gather_print_notes(const struct gather *g);
int gather_print_json(const struct gather *g, struct err *err);

#endif
