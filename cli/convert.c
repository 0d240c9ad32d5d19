/* SPDX-License-Identifier: Apache-2.0 */
/* Sources and sinks by their name, suffix or first bytes. Guesses nothing else. */
#include "convert.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "capture/capture.h"
#include "cli.h"
#include "core/limits.h"

#define NULL_SINK "null:"

static const struct {
	const char *name, *suffixes[3];
	enum side_kind kind;
} kinds[] = {
	{"store", {".db", ".sqlite", NULL}, KIND_STORE},
	{"pcap", {".pcap", ".pcap.gz", NULL}, KIND_CAPTURE},
	{"pcapng", {".pcapng", ".pcapng.gz", NULL}, KIND_CAPTURE},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct choice {
	enum side_kind kind;
	const struct format *format; /* of KIND_FORMAT */
};

static bool is_sqlite(const char *path)
{
	char head[16];
	struct stat st;
	FILE *f;
	bool is;

	/* A pipe is not even opened: who writes into it would see its reader go. */
	if (strcmp(path, "-") == 0 || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	f = fopen(path, "rbe");
	if (!f)
		return false;
	is = fread(head, 1, sizeof(head), f) == sizeof(head) &&
	     memcmp(head, "SQLite format 3", sizeof(head)) == 0;
	(void)fclose(f);
	return is;
}

static enum side_kind kind_of_suffix(const char *path)
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

static int open_store(int64_t from_us, int64_t until_us, struct side *s, struct err *err)
{
	struct store_choice which = {
		.parts = STORE_EXCHANGES,
		.from_us = from_us,
		.until_us = until_us,
	};
	int rc = store_open(s->path, STORE_READ, &s->store, err);

	return rc ? rc : store_source_of(s->store, &which, &s->source, err);
}

static int open_capture(const struct convert_args *a, struct side *s, struct err *err)
{
	struct capture_options o = {
		.files = s->files ? s->files : &s->path,
		.n_files = s->files ? s->n_files : 1,
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

static int open_format(const struct convert_args *a, struct format_notes *notes, struct side *s,
		       struct err *err)
{
	struct format_args args = {.path = s->path, .body_max = a->max_body, .notes = notes};

	assert(s->kind == KIND_FORMAT && s->format);
	return s->format->source(&args, &s->source, err);
}

int source_side(const struct convert_args *a, const char *path, const char *sink,
		struct side *ret, struct err *err)
{
	struct choice c = {KIND_NONE, NULL};
	int rc = choose(a, path, true, &c, err);

	if (!rc && sink)
		rc = check_other(path, sink, err);
	if (!rc && c.format && !c.format->source)
		rc = err_set(err, SC_EINVAL, "'%s': %s is only written, not read", path,
			     c.format->name);
	if (!rc)
		*ret = (struct side){.path = path, .kind = c.kind, .format = c.format};
	return rc;
}

bool source_is_plain(const struct side *s)
{
	struct stat st;

	return strcmp(s->path, "-") != 0 && (stat(s->path, &st) < 0 || S_ISREG(st.st_mode));
}

int source_open(const struct convert_args *a, int64_t from_us, int64_t until_us,
		struct format_notes *notes, struct side *s, struct err *err)
{
	switch (s->kind) {
	case KIND_STORE:
		return open_store(from_us, until_us, s, err);
	case KIND_CAPTURE:
		return open_capture(a, s, err);
	default:
		return open_format(a, notes, s, err);
	}
}

/* --- sinks --------------------------------------------------------------------------------- */

static int make_store(const char *path, struct side *s, struct err *err)
{
	if (strcmp(path, "-") == 0)
		return err_set(err, SC_EINVAL, "'-': a store is a file; expected a path");
	return store_open(path, STORE_CREATE, &s->store, err);
}

static int make_format(const struct convert_args *a, const struct format *f, const char *path,
		       struct format_notes *notes, struct side *s, struct err *err)
{
	struct format_args args = {.path = path, .notes = notes, .unique = a->unique};

	assert(f); /* of any other kind it has its own way */
	if (!f->sink)
		return err_set(err, SC_EINVAL, "'%s': %s is only read, not written", path, f->name);
	return f->sink(&args, &s->sink, err);
}

int sink_check(const struct convert_args *a, const char *path, struct err *err)
{
	struct choice c = {KIND_NONE, NULL};
	int rc = a->unique ? choose(a, path, false, &c, err) : SC_OK;

	if (rc || !a->unique || c.format == format_find(UNIQUE_FORMAT, NULL))
		return rc;
	return err_set(err, SC_EINVAL, "'%s': --unique is for " UNIQUE_FORMAT, path);
}

int sink_side(const struct convert_args *a, const char *path, struct format_notes *notes,
	      struct side *ret, struct err *err)
{
	struct choice c = {KIND_NONE, NULL};
	int rc = choose(a, path, false, &c, err);

	if (rc)
		return rc;
	*ret = (struct side){.path = path, .kind = c.kind, .format = c.format};
	switch (c.kind) {
	case KIND_STORE:
		return make_store(path, ret, err);
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

int side_begin(struct side *s, int64_t started_us, const char *source, const char *options,
	       struct err *err)
{
	sink_free(s->sink);
	s->sink = NULL;
	return store_capture_new(s->store, started_us, source, options, &s->capture_id, &s->sink,
				 err);
}

int side_end(struct side *s, int64_t ended_us, const char *ledger, struct err *err)
{
	return store_capture_end(s->store, s->capture_id, ended_us, ledger, err);
}

static void say_notes(const struct side *s)
{
	for (unsigned i = 0; i < (s->files ? s->n_files : 1); i++) {
		const char *note = capture_note_of(s->source, i);

		if (note)
			say("%s: %s", s->files ? s->files[i] : s->path, note);
	}
}

void side_done(struct side *s, bool quiet)
{
	if (s->source && s->kind == KIND_CAPTURE && !quiet)
		say_notes(s);
	source_free(s->source);
	sink_free(s->sink);
	store_close(s->store);
	free(s->counters);
	s->store = NULL;
	s->source = NULL;
	s->sink = NULL;
	s->counters = NULL;
}
