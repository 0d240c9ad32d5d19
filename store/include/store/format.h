/* SPDX-License-Identifier: Apache-2.0 */
/* Dataset formats besides the store: each one file of store/ and one row of a table. A format reads
 * exchanges, writes them, or both; streams, so that memory does not grow with the dataset. */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/stage.h"

/* What a format could not hold of the exchanges it was given, or skipped of what it read: said once, with
 * a count. */
#define FORMAT_NOTES 32u
struct format_notes {
	struct {
		const char *what; /* static: "bodies that are not UTF-8 text, left out" */
		uint64_t n;
	} notes[FORMAT_NOTES];
	unsigned n;
};
#define NOTE_BODIES_CUT "bodies longer than --max-body (16 MiB where none is given), cut"
/* Counts one; `what` is static, and the same text the same note. */
void format_note(struct format_notes *notes, const char *what);
void format_note_n(struct format_notes *notes, const char *what, uint64_t n);

struct format_args {
	const char *path; /* "-": standard input or output */
	size_t body_max;  /* of a body that is read; longer ones are cut and marked */
	struct format_notes *notes; /* borrowed, lives longer */
	bool unique; /* hurl: one entry a method, route and status, not one a request */
};

struct format {
	const char *name;	/* of --format: "jsonl" */
	const char *suffixes;	/* ".jsonl .ndjson", also followed by .gz where `gzip` */
	bool gzip;
	const char *help;	/* one line */
	/* NULL: it is not read, not written. SC_EINVAL with a line that names path and line or entry. A sink
	 * leaves nothing behind when it cannot be opened, and refuses to overwrite a file. */
	int (*source)(const struct format_args *args, struct source **ret, struct err *err);
	int (*sink)(const struct format_args *args, struct sink **ret, struct err *err);
};

/* Ends with a NULL name. */
extern const struct format formats[];

/* By name, or by the path's suffix where `name` is NULL; NULL: none. */
const struct format *format_find(const char *name, const char *path);

#endif
