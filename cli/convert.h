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

#define CONVERT_BODY (16u * MIB) /* --max-body, default */

struct convert_args {
	const char *format, *from_format, *to_format;
	struct moment from, until;
	uint64_t max_body;
	bool unique; /* one of several that are alike; for formats that know how */
	bool quiet, json;
	struct rule_options rules;
};

/* A source or a sink, with what it stands on. */
struct side {
	struct store *store; /* NULL: no store */
	struct source *source;
	struct sink *sink;
	struct counters *counters; /* of a capture file; NULL: none */
	const char *path;          /* borrowed */
	int64_t first_us;          /* of a store's first exchange; 0: not known */
	int64_t capture_id;
};

bool sink_is_store(const struct convert_args *a, const char *path);

/* SC_EINVAL with a line. `sink` is where it goes: not into itself. */
int source_side(const struct convert_args *a, const char *path, const char *sink,
		struct format_notes *notes, struct side *ret, struct err *err);
/* `source` and `options` are for a store's capture row. */
int sink_side(const struct convert_args *a, const char *path, const char *source,
	      const char *options, int64_t started_us, struct format_notes *notes,
	      struct side *ret, struct err *err);
/* Of a store: when the capture row ended, and its ledger (JSON). */
int side_end(struct side *s, int64_t ended_us, const char *ledger, struct err *err);
/* Closes what is open and empties it; says how a capture file ended, unless `quiet`. */
void side_done(struct side *s, bool quiet);

#endif
