/* SPDX-License-Identifier: Apache-2.0 */
/* The table of dataset formats. A new one is a file and a row. */
#include "store/format.h"

#include <assert.h>
#include <string.h>

#include "core/span.h"
#include "format_private.h"

const struct format formats[] = {
	{"jsonl", ".jsonl .ndjson", true, "JSON Lines: one object an exchange", jsonl_source_new,
	 jsonl_sink_new},
	{"har", ".har", true, "HAR 1.2, as browsers save it", har_source_new, har_sink_new},
	{"csv", ".csv", true, "one row an exchange (RFC 4180)", NULL, csv_sink_new},
	{"gor", ".gor", true, "GoReplay's records", gor_source_new, gor_sink_new},
	{"vegeta", ".vegeta", true, "vegeta's JSON targets", NULL, vegeta_sink_new},
	{"curl", ".sh", true, "a shell script of curl commands", NULL, curl_sink_new},
	{"hurl", ".hurl", true, "a regression suite for Hurl", NULL, hurl_sink_new},
	{0},
};

void format_note_n(struct format_notes *notes, const char *what, uint64_t n)
{
	unsigned i = 0;

	if (!notes || n == 0)
		return;
	while (i < notes->n && strcmp(notes->notes[i].what, what) != 0)
		i++;
	assert(i < FORMAT_NOTES);
	if (i == notes->n)
		notes->notes[notes->n++].what = what;
	notes->notes[i].n += n;
}

void format_note(struct format_notes *notes, const char *what)
{
	format_note_n(notes, what, 1);
}

static bool has_suffix(const struct format *f, struct span path)
{
	const char *p = f->suffixes;

	if (f->gzip && span_ends(path, span_str(".gz")))
		path.len -= 3;
	while (*p) {
		size_t len = strcspn(p, " ");

		if (path.len > len && span_ends(path, span_of(p, len)))
			return true;
		p += len + strspn(p + len, " ");
	}
	return false;
}

const struct format *format_find(const char *name, const char *path)
{
	for (const struct format *f = formats; f->name; f++) {
		if (name ? strcmp(name, f->name) == 0 : has_suffix(f, span_str(path)))
			return f;
	}
	return NULL;
}
