/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a conversion: which format a SOURCE or SINK is of, and opening it. Reads and writes
 * no exchange. */
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "replay_args.h"
#include "store/format.h"
#include "store/store.h"

#define UNIQUE_FORMAT "hurl"
#define CONVERT_BODY (16u * MIB) /* --max-body, default */

struct convert_args {
	const char *format, *from_format, *to_format;
	struct moment from, until;
	uint64_t max_body;
	bool unique; /* one of several that are alike; for UNIQUE_FORMAT alone */
	bool quiet, json;
	struct rule_options rules;
};

enum side_kind { KIND_NONE, KIND_STORE, KIND_CAPTURE, KIND_NULL, KIND_FORMAT };

/* A source or a sink, with what it stands on. */
struct side {
	const char *path; /* borrowed, as is all of what it is */
	const char *const *files; /* capture files that are one recording; NULL: `path` alone */
	unsigned n_files;
	enum side_kind kind;
	const struct format *format; /* of KIND_FORMAT */
	struct store *store;	     /* NULL: no store, or not open */
	struct source *source;
	struct sink *sink;
	struct counters *counters; /* of a capture file; NULL: none */
	int64_t capture_id;
};

/* Of which format a source is, and that it is not the sink as well, unless `sink` is NULL. Opens
 * nothing. SC_EINVAL with a line. */
int source_side(const struct convert_args *a, const char *path, const char *sink,
		struct side *ret, struct err *err);
/* Whether it can be opened a second time, and then reads the same again: no pipe. */
bool source_is_plain(const struct side *s);
/* Opens it; of a store the exchanges between these times alone, us since 1970, 0: no such bound.
 * SC_EINVAL with a line. side_done() also after a failure. */
int source_open(const struct convert_args *a, int64_t from_us, int64_t until_us,
		struct format_notes *notes, struct side *s, struct err *err);

/* Whether it is of a format that knows what `a` asks of it: said before anything is read. SC_EINVAL
 * with a line. */
int sink_check(const struct convert_args *a, const char *path, struct err *err);
/* A sink; a store's has no capture yet. SC_EINVAL with a line. */
int sink_side(const struct convert_args *a, const char *path, struct format_notes *notes,
	      struct side *ret, struct err *err);
/* Of a store: a capture row with its sink, which ends the one before. */
int side_begin(struct side *s, int64_t started_us, const char *source, const char *options,
	       struct err *err);
/* Of a store: when the capture row ended, 0: it did not; and its ledger (JSON). Commits. */
int side_end(struct side *s, int64_t ended_us, const char *ledger, struct err *err);
/* Closes what is open, and leaves what it is; says how capture files ended, unless `quiet`. */
void side_done(struct side *s, bool quiet);

#endif
