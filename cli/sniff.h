/* SPDX-License-Identifier: Apache-2.0 */
/* The options about where packets come from and how much of them is kept, which every command that
 * captures shares; and what such a command says about its interfaces. */
#ifndef CLI_SNIFF_H
#define CLI_SNIFF_H

#include <jansson.h>

#include "capture/capture.h"
#include "core/limits.h"
#include "opt.h"
#include "sources.h"

#define SNIFF_FROM_BYTES 512

struct sniff_args {
	struct str_list interfaces;
	const char *words[LIMIT_SOURCES]; /* of each -r, borrowed from argv */
	unsigned n_words;
	const struct sources *files; /* what they name; NULL: live */
	const char *file;            /* the first of them; NULL: live */
	char from[SNIFF_FROM_BYTES]; /* sniff_from(), of several */
	const char *bpf, *user;
	uint16_t ports[LIMIT_PORTS];
	uint64_t n_ports;
	uint64_t snaplen, ring, max_body, memory, count;
	int64_t duration;
	bool follow;
};

/* Rows for tables whose base is the struct's offset. */
extern const struct opt sniff_source_rows[], sniff_limit_rows[];
void sniff_defaults(struct sniff_args *a);

/* What does not go together. SC_EINVAL; `command` stands in the line. */
int sniff_check(const struct sniff_args *a, const char *command, struct err *err);

/* All but `early` and what is asked of requests. Borrows from `a`. */
void sniff_options(const struct sniff_args *a, struct capture_options *ret);

/* Where the packets come from, in short, for a store that keeps it. Borrowed from `a`. */
const char *sniff_from(const struct sniff_args *a);

/* Live: which interfaces with which filter, and where it all goes. */
void sniff_announce(const struct sniff_args *a, const struct source *source, const char *into);

/* At the end, what a person should do about: packets lost, or nothing there at all. And how the files
 * behind the first one ended. */
void sniff_explain(const struct sniff_args *a, const struct source *source,
		   const struct counters *counters);

/* Adds members to `to`. */
void sniff_describe(const struct sniff_args *a, json_t *to);

#endif
