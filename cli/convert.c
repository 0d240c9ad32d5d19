/* SPDX-License-Identifier: Apache-2.0 */
/* Sources and sinks by their name, suffix or first bytes. Guesses nothing else. */
#include "convert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "capture/capture.h"
#include "cli.h"
#include "core/limits.h"
#include "sniff.h"

#define NULL_SINK "null:"

enum kind { KIND_NONE, KIND_STORE, KIND_CAPTURE, KIND_NULL, KIND_FORMAT };

static const struct {
	const char *name, *suffixes[3];
	enum kind kind;
} kinds[] = {
	{"store", {".db", ".sqlite", NULL}, KIND_STORE},
	{"pcap", {".pcap", ".pcap.gz", NULL}, KIND_CAPTURE},
	{"pcapng", {".pcapng", ".pcapng.gz", NULL}, KIND_CAPTURE},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct choice {
	enum kind kind;
	const struct format *format; /* of KIND_FORMAT */
};

static bool is_sqlite(const char *path)
{
	char head[16];
	FILE *f = strcmp(path, "-") == 0 ? NULL : fopen(path, "rbe");
	struct stat st;
	bool is;

	if (!f)
		return false;
	/* Of a pipe the first bytes would be gone. */
	is = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) &&
	     fread(head, 1, sizeof(head), f) == sizeof(head) &&
	     memcmp(head, "SQLite format 3", sizeof(head)) == 0;
	(void)fclose(f);
	return is;
}

static enum kind kind_of_suffix(const char *path)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		for (const char *const *s = kinds[i].suffixes; *s; s++) {
			if (span_ends(span_str(path), span_str(*s)))
				return kinds[i].kind;
		}
	}
	return KIND_NONE;
}

static int choose_named(const char *option, const char *name, struct choice *ret, struct err *err)
{
	char names[256] = "store, pcap, pcapng";
	size_t n;

	for (size_t i = 0; i < N_KINDS; i++) {
		if (strcmp(name, kinds[i].name) == 0) {
			*ret = (struct choice){kinds[i].kind, NULL};
			return SC_OK;
		}
	}
	*ret = (struct choice){KIND_FORMAT, format_find(name, NULL)};
	if (ret->format)
		return SC_OK;
	for (const struct format *f = formats; f->name; f++) {
		n = strlen(names);
		(void)snprintf(names + n, sizeof(names) - n, ", %s", f->name);
	}
	return err_set(err, SC_EINVAL, "--%s '%s': no such format; expected %s", option, name,
		       names);
}

static void choose_by_path(const char *path, bool source, struct choice *ret)
{
	*ret = (struct choice){kind_of_suffix(path), NULL};
	if (!source && strcmp(path, NULL_SINK) == 0)
		ret->kind = KIND_NULL;
	if (ret->kind == KIND_NONE && source && is_sqlite(path))
		ret->kind = KIND_STORE;
	if (ret->kind != KIND_NONE)
		return;
	ret->format = format_find(NULL, path);
	if (ret->format)
		ret->kind = KIND_FORMAT;
}

static int unknown(const char *path, bool source, struct err *err)
{
	const char *option = source ? "from-format" : "to-format";
	char suffixes[256];
	size_t n;

	(void)snprintf(suffixes, sizeof(suffixes), "%s",
		       source ? ".db .sqlite .pcap .pcapng" : "null: .db .sqlite");
	for (const struct format *f = formats; f->name; f++) {
		n = strlen(suffixes);
		if (source ? f->source != NULL : f->sink != NULL)
			(void)snprintf(suffixes + n, sizeof(suffixes) - n, " %s", f->suffixes);
	}
	return err_set(err, SC_EINVAL, "'%s': of which format is it? Expected --%s, or one of %s",
		       path, option, suffixes);
}

static int choose(const struct convert_args *a, const char *path, bool source, struct choice *ret,
		  struct err *err)
{
	const char *named = source ? a->from_format : a->to_format;

	if (named)
		return choose_named(source ? "from-format" : "to-format", named, ret, err);
	choose_by_path(path, source, ret);
	if (a->format && (ret->kind == KIND_NONE || ret->kind == KIND_FORMAT))
		return choose_named("format", a->format, ret, err);
	return ret->kind == KIND_NONE ? unknown(path, source, err) : SC_OK;
}

bool sink_is_store(const struct convert_args *a, const char *path)
{
	struct choice c;
	struct err unused;

	return choose(a, path, false, &c, &unused) == SC_OK &&
	       (c.kind == KIND_STORE || c.kind == KIND_NULL);
}

/* --- sources ------------------------------------------------------------------------------- */

/* It would read what it writes. */
static int check_other(const char *path, const char *sink, struct err *err)
{
	struct stat a, b;

	if (strcmp(path, "-") != 0 && stat(path, &a) == 0 && stat(sink, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino && S_ISREG(a.st_mode))
		return err_set(err, SC_EINVAL, "'%s': is source and sink at once", path);
	return SC_OK;
}

static int open_store(const struct convert_args *a, const char *path, struct side *s,
		      struct err *err)
{
	struct store_choice which = {.parts = STORE_EXCHANGES};
	struct store_extent all;
	int rc = store_open(path, STORE_READ, &s->store, err);

	if (!rc)
		rc = store_extent(s->store, &all, err);
	if (rc)
		return rc;
	s->first_us = all.first_us;
	which.from_us = moment_us(&a->from, all.first_us);
	which.until_us = moment_us(&a->until, all.first_us);
	return store_source_of(s->store, &which, &s->source, err);
}

static int open_capture(const struct convert_args *a, const char *path, struct side *s,
			struct err *err)
{
	struct capture_options o = {
		.file = path,
		.snaplen = LIMIT_SNAPLEN,
		.ring = LIMIT_KERNEL_RING,
		.body_max = a->max_body,
		.memory = LIMIT_REASSEMBLY_BYTES,
	};

	s->counters = calloc(1, sizeof(*s->counters));
	if (!s->counters)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (getrandom(&o.seed, sizeof(o.seed), 0) != sizeof(o.seed))
		o.seed = (uint64_t)clock_us();
	return capture_open(&o, s->counters, &s->source, err);
}

static int open_format(const struct convert_args *a, const struct format *f, const char *path,
		       struct format_notes *notes, struct side *s, struct err *err)
{
	struct format_args args = {.path = path, .body_max = a->max_body, .notes = notes};

	if (!f->source)
		return err_set(err, SC_EINVAL, "'%s': %s is only written, not read", path, f->name);
	return f->source(&args, &s->source, err);
}

int source_side(const struct convert_args *a, const char *path, const char *sink,
		struct format_notes *notes, struct side *ret, struct err *err)
{
	struct choice c = {KIND_NONE, NULL};
	int rc = choose(a, path, true, &c, err);

	if (!rc)
		rc = check_other(path, sink, err);
	if (rc)
		return rc;
	ret->path = path;
	switch (c.kind) {
	case KIND_STORE:
		return open_store(a, path, ret, err);
	case KIND_CAPTURE:
		return open_capture(a, path, ret, err);
	default:
		return open_format(a, c.format, path, notes, ret, err);
	}
}

/* --- sinks --------------------------------------------------------------------------------- */

static int make_store(const char *path, const char *source, const char *options,
		      int64_t started_us, struct side *s, struct err *err)
{
	int rc;

	if (strcmp(path, "-") == 0)
		return err_set(err, SC_EINVAL, "'-': a store is a file; expected a path");
	rc = store_open(path, STORE_CREATE, &s->store, err);
	if (rc)
		return rc;
	return store_capture_new(s->store, started_us, source, options, &s->capture_id, &s->sink,
				 err);
}

static int make_format(const struct convert_args *a, const struct format *f, const char *path,
		       struct format_notes *notes, struct side *s, struct err *err)
{
	struct format_args args = {.path = path, .notes = notes, .unique = a->unique};

	if (!f->sink)
		return err_set(err, SC_EINVAL, "'%s': %s is only read, not written", path, f->name);
	return f->sink(&args, &s->sink, err);
}

int sink_side(const struct convert_args *a, const char *path, const char *source,
	      const char *options, int64_t started_us, struct format_notes *notes,
	      struct side *ret, struct err *err)
{
	struct choice c = {KIND_NONE, NULL};
	int rc = choose(a, path, false, &c, err);

	if (rc)
		return rc;
	ret->path = path;
	switch (c.kind) {
	case KIND_STORE:
		return make_store(path, source, options, started_us, ret, err);
	case KIND_CAPTURE:
		return err_set(err, SC_EINVAL, "'%s': a capture file is only read, not written",
			       path);
	case KIND_NULL:
		ret->sink = sink_null_new();
		return ret->sink ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	default:
		return make_format(a, c.format, path, notes, ret, err);
	}
}

int side_end(struct side *s, int64_t ended_us, const char *ledger, struct err *err)
{
	return store_capture_end(s->store, s->capture_id, ended_us, ledger, err);
}

void side_done(struct side *s, bool quiet)
{
	const char *note = s->source && s->counters ? capture_note(s->source) : NULL;

	if (note && !quiet)
		say("%s: %s", s->path, note);
	source_free(s->source);
	sink_free(s->sink);
	store_close(s->store);
	free(s->counters);
	memset(s, 0, sizeof(*s));
}
