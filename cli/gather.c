/* SPDX-License-Identifier: Apache-2.0 */
/* Every source is looked at before anything is made, and is closed again where it can be opened a
 * second time: so what is wrong with one of them is said in time, and of hundreds that follow each
 * other one is open. */
#include "gather.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"
#include "core/limits.h"
#include "core/merge.h"

#define REPORT_US 1000000ll	   /* on a terminal */
#define REPORT_PLAIN_US 10000000ll /* otherwise */
#define TURNS 256u		   /* exchanges between two looks at the clock */
#define FILES_OF_STORE 3u	   /* itself, its log and the log's index */
#define OTHER_FILES 64u

/* A source: what was read of it already, then the rest. */
struct gather_part {
	struct source source; /* first */
	struct gather *of;
	struct side side;
	const char **files;	/* of a recording, and borrowed by `side`; owned */
	struct exchange *first; /* read already; owned */
	bool open;
	int64_t first_us; /* of its first exchange; 0: there is none, or it is not known yet */
	uint64_t set; /* of a store, see store_set() */
	char *row_source, *row_options; /* of its capture row; NULL: its path, and as the others */
	bool half; /* a store with a recording that has not ended; its row says so, too */
};

static const struct {
	const char *name, *text;
	size_t offset;
} rows[] = {
#define ROW(name, text) {#name, text, offsetof(struct tally, name)}
	ROW(written, "written"),
	ROW(filtered, "filtered"),
	ROW(unsampled, "unsampled"),
	ROW(own, "sent by a replay"),
	ROW(left_out, "left out by the format"),
	ROW(failed, "failed"),
	ROW(lost, "lost: the sink is not whole"),
#undef ROW
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static uint64_t row_of(const struct tally *a, size_t i)
{
	uint64_t n;

	memcpy(&n, (const char *)a + rows[i].offset, sizeof(n));
	return n;
}

/* --- a part -------------------------------------------------------------------------------- */

static int part_next(struct source *s, struct exchange **ret, struct err *err)
{
	struct gather_part *p = (struct gather_part *)s;

	if (!p->first)
		return source_next(p->side.source, ret, err);
	*ret = p->first; /* moved */
	p->first = NULL;
	return 1;
}

static void part_stop(struct source *s)
{
	source_stop(((struct gather_part *)s)->side.source);
}

static const struct source_ops part_ops = {.next = part_next, .stop = part_stop};

static void part_close(void *arg)
{
	struct gather_part *p = arg;

	exchange_free(p->first);
	p->first = NULL;
	if (p->side.counters)
		format_note_n(&p->of->notes, NOTE_BODIES_CUT,
			      counter_get(p->side.counters, BODIES_CAPPED));
	side_done(&p->side, p->of->args->quiet);
	p->open = false;
}

static int part_open_into(struct gather_part *p, struct format_notes *notes, struct err *err)
{
	const struct gather *g = p->of;
	int rc;

	if (p->open)
		return SC_OK;
	rc = source_open(g->args, moment_us(&g->args->from, g->first_us),
			 moment_us(&g->args->until, g->first_us), notes, &p->side, err);
	p->open = rc == SC_OK;
	if (rc)
		part_close(p);
	return rc;
}

static int part_open(void *arg, struct source **ret, struct err *err)
{
	struct gather_part *p = arg;
	int rc = part_open_into(p, &p->of->notes, err);

	if (!rc)
		*ret = &p->source;
	return rc;
}

/* --- a look -------------------------------------------------------------------------------- */

static int add_capture(void *arg, int n, const struct value *v)
{
	static const char *const names[] = {"source", "options", "started_at"};
	json_t *row = json_object();

	assert(n == 3);
	for (int i = 0; i < 3; i++) {
		const char *text = (const char *)v[i].text.p;
		json_t *is = NULL;

		if (v[i].kind != VALUE_NULL)
			is = i == 1 ? json_loadb(text, v[i].text.len, JSON_ALLOW_NUL, NULL)
				    : json_stringn(text, v[i].text.len);
		if (is)
			json_object_set_new(row, names[i], is);
	}
	return json_array_append_new(arg, row) ? SC_ENOMEM : SC_OK;
}

/* What one row is to say of all captures of a store: of one alone what it says itself. */
static int name_row(struct gather_part *p, json_t *captures, struct err *err)
{
	json_t *one = json_array_size(captures) == 1 ? json_array_get(captures, 0) : NULL;
	const char *source = json_string_value(json_object_get(one, "source"));
	json_t *options = json_object_get(one, "options");

	options = json_is_object(options) ? json_copy(options) : json_object();
	if (one)
		json_object_set(options, "recorded_at", json_object_get(one, "started_at"));
	else
		json_object_set(options, "captures", captures);
	json_object_set_new(options, "gathered_from", json_string(p->side.path));
	p->row_source = strdup(source ? source : p->side.path);
	p->row_options = json_dumps(options, JSON_COMPACT);
	json_decref(options);
	return p->row_source && p->row_options ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int look_at_rows(struct gather_part *p, struct store *st, struct err *err)
{
	json_t *captures = json_array();
	struct row_reader reader = {.row = add_capture, .arg = captures};
	int rc = store_select(st, "SELECT source, options, started_at FROM capture ORDER BY id",
			      &reader, err);

	if (!rc)
		rc = name_row(p, captures, err);
	json_decref(captures);
	return rc;
}

/* A piece of a recording stays one. */
static int keep_set(struct gather_part *p, struct err *err)
{
	json_t *options = json_loads(p->of->options, 0, NULL);
	char text[20];

	(void)snprintf(text, sizeof(text), "%016" PRIx64, p->set);
	json_object_set_new(options, "set", json_string(text));
	p->row_options = json_dumps(options, JSON_COMPACT);
	p->row_source = strdup(p->side.path);
	json_decref(options);
	return p->row_source && p->row_options ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int look_at_store(struct gather_part *p, struct err *err)
{
	struct store_extent all = {0};
	struct store *st = NULL;
	bool ended = true;
	int rc = store_open(p->side.path, STORE_READ, &st, err);

	if (!rc)
		rc = store_extent(st, &all, err);
	if (!rc)
		rc = store_set(st, &p->set, err);
	if (!rc && p->of->as_recorded)
		rc = store_captures_ended(st, &ended, err);
	p->half = !ended;
	if (!rc && p->of->as_recorded)
		rc = look_at_rows(p, st, err);
	else if (!rc && p->set)
		rc = keep_set(p, err);
	store_close(st);
	p->first_us = all.first_us;
	return rc;
}

/* What a source that is closed again has to say it says when it is read. */
static int look_at_stream(struct gather_part *p, struct err *err)
{
	struct format_notes unsaid = {.n = 0};
	/* Of a capture file the first exchange may be far from its beginning. */
	bool reopens = p->side.kind != KIND_CAPTURE && source_is_plain(&p->side);
	int rc = part_open_into(p, reopens ? &unsaid : &p->of->notes, err);

	/* One alone that is read only once is known when it is read. */
	if (!reopens && p->of->n == 1)
		return rc;
	while (!rc && !stop_wanted()) {
		rc = source_next(p->side.source, &p->first, err);
		if (rc != SC_EAGAIN)
			break;
		rc = SC_OK;
	}
	if (p->first)
		p->first_us = p->first->ts_us;
	if (rc < 0 || reopens)
		part_close(p);
	return rc < 0 ? rc : SC_OK;
}

/* As many as may be open at once; where that is not allowed, opening one says so. */
static void allow_files(unsigned n)
{
	rlim_t wanted = FILES_OF_STORE * n + OTHER_FILES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* What one row is to say of several capture files. */
static int name_recording(struct gather_part *p, struct err *err)
{
	json_t *options = json_loads(p->of->options, 0, NULL), *files = json_array();

	for (unsigned i = 0; i < p->side.n_files; i++)
		json_array_append_new(files, json_string(p->files[i]));
	json_object_set_new(options, "files", files);
	p->row_options = json_dumps(options, JSON_COMPACT);
	json_decref(options);
	if (p->row_options && asprintf(&p->row_source, "%u files, the first %s", p->side.n_files,
				       p->side.path) < 0)
		p->row_source = NULL;
	return p->row_source && p->row_options ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int look_at(struct gather_part *p, struct err *err)
{
	int rc = SC_OK;

	if (p->side.kind == KIND_STORE)
		return look_at_store(p, err);
	if (p->side.n_files > 1)
		rc = name_recording(p, err);
	return rc ? rc : look_at_stream(p, err);
}

/* Capture files are one recording, in the place of the first: a connection may go on in another. A
 * pipe stands for itself. */
static struct gather_part *recording(struct gather *g, const struct side *side)
{
	if (side->kind != KIND_CAPTURE || !source_is_plain(side))
		return NULL;
	for (unsigned i = 0; i < g->n; i++) {
		if (g->parts[i].files)
			return &g->parts[i];
	}
	return NULL;
}

static int add_part(struct gather *g, const struct side *side, unsigned most, struct err *err)
{
	struct gather_part *p = &g->parts[g->n++];

	p->source.ops = &part_ops;
	p->of = g;
	p->side = *side;
	if (side->kind != KIND_CAPTURE || !source_is_plain(side))
		return SC_OK;
	p->files = calloc(most, sizeof(*p->files));
	if (!p->files)
		return err_set(err, SC_ENOMEM, "out of memory");
	p->files[0] = side->path;
	p->side.files = p->files;
	p->side.n_files = 1;
	return SC_OK;
}

static int add_parts(struct gather *g, const struct sources *files, const char *sink,
		     struct err *err)
{
	int rc = SC_OK;

	g->parts = calloc(files->n, sizeof(*g->parts));
	if (!g->parts)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < files->n && !rc; i++) {
		struct gather_part *p;
		struct side side;

		rc = source_side(g->args, files->paths[i], sink, &side, err);
		p = rc ? NULL : recording(g, &side);
		if (p)
			p->files[p->side.n_files++] = side.path;
		else if (!rc)
			rc = add_part(g, &side, files->n, err);
	}
	return rc;
}

int gather_look(struct gather *g, const struct sources *files, const char *sink, struct err *err)
{
	int rc;

	g->started_us = g->reported_us = clock_us();
	rc = add_parts(g, files, sink, err);
	allow_files(files->n);
	for (unsigned i = 0; i < g->n && !rc && !stop_wanted(); i++) {
		struct gather_part *p = &g->parts[i];

		rc = look_at(p, err);
		if (!rc && p->first_us && (!g->first_us || p->first_us < g->first_us))
			g->first_us = p->first_us;
	}
	return rc;
}

/* --- one exchange -------------------------------------------------------------------------- */

static bool in_time(struct gather *g, const struct exchange *ex)
{
	int64_t from, until;

	if (g->first_us == 0)
		g->first_us = ex->ts_us;
	from = moment_us(&g->args->from, g->first_us);
	until = moment_us(&g->args->until, g->first_us);
	return (from == 0 || ex->ts_us >= from) && (until == 0 || ex->ts_us < until);
}

static bool judge(struct gather *g, struct exchange *ex)
{
	struct tally *a = &g->account;
	enum verdict v = in_time(g, ex) ? chain_head(g->chain, ex) : VERDICT_FILTERED;

	if (v == VERDICT_KEEP)
		v = chain_whole(g->chain, ex);
	a->filtered += v == VERDICT_FILTERED;
	a->unsampled += v == VERDICT_UNSAMPLED;
	a->own += v == VERDICT_OWN;
	a->failed += v == VERDICT_ERROR;
	return v == VERDICT_KEEP;
}

static int take(struct gather *g, struct exchange *ex, struct err *err)
{
	int rc = SC_OK;

	g->account.read++;
	if (judge(g, ex)) {
		rc = sink_put(g->to.sink, ex, err);
		g->account.written += rc == SC_OK;
		g->account.failed += rc != SC_OK;
	}
	exchange_free(ex);
	return rc;
}

/* --- talk ---------------------------------------------------------------------------------- */

static void print_account(const struct gather *g)
{
	const struct tally *a = &g->account;

	fprintf(stderr, "exchanges: %" PRIu64 " read", a->read);
	for (size_t i = 0; i < N_ROWS; i++) {
		if (i == 0 || row_of(a, i))
			fprintf(stderr, "%s%" PRIu64 " %s", i ? " + " : " = ", row_of(a, i),
				rows[i].text);
	}
	fprintf(stderr, "\n");
}

static void print_notes(const struct gather *g)
{
	for (unsigned i = 0; i < g->notes.n; i++)
		fprintf(stderr, "note: %" PRIu64 " %s\n", g->notes.notes[i].n,
			g->notes.notes[i].what);
}

/* Behind a line of progress that stands without its end. */
static void end_line(const struct gather *g)
{
	if (isatty(STDERR_FILENO) && g->reported_us != g->started_us)
		fprintf(stderr, "\n");
}

void gather_print(const struct gather *g)
{
	end_line(g);
	print_account(g);
	print_notes(g);
}

void gather_print_notes(const struct gather *g)
{
	end_line(g);
	print_notes(g);
}

static void print_progress(struct gather *g)
{
	bool terminal = isatty(STDERR_FILENO);
	int64_t now = clock_us();

	if (stop_report_wanted()) {
		print_account(g);
		print_notes(g);
	}
	if (g->args->quiet || now - g->reported_us < (terminal ? REPORT_US : REPORT_PLAIN_US))
		return;
	g->reported_us = now;
	fprintf(stderr, "%s%" PRIu64 " exchanges read, %" PRIu64 " written%s",
		terminal ? "\r" : "shadow-ctl: ", g->account.read, g->account.written,
		terminal ? "\033[K" : "\n");
}

int gather_print_json(const struct gather *g, struct err *err)
{
	json_t *o = json_object(), *notes = json_array();
	char *text;
	int rc = SC_OK;

	json_object_set_new(o, "read", json_integer((json_int_t)g->account.read));
	for (size_t i = 0; i < N_ROWS; i++)
		json_object_set_new(o, rows[i].name,
				    json_integer((json_int_t)row_of(&g->account, i)));
	json_object_set_new(o, "stopped", json_boolean(g->stopped));
	for (unsigned i = 0; i < g->notes.n; i++)
		json_array_append_new(notes,
				      json_pack("{s:s, s:I}", "what", g->notes.notes[i].what,
						"count", (json_int_t)g->notes.notes[i].n));
	json_object_set_new(o, "notes", notes);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (printf("%s\n", text) < 0 || fflush(stdout))
		rc = err_set(err, SC_EIO, "standard output: %s", strerror(errno));
	free(text);
	return rc;
}

/* --- a run --------------------------------------------------------------------------------- */

static int pump(struct gather *g, struct source *from, struct err *err)
{
	for (unsigned turns = 0;;) {
		struct exchange *ex = NULL;
		int rc = source_next(from, &ex, err);

		if (rc == 1) {
			rc = take(g, ex, err);
			if (rc)
				return rc;
			if (++turns % TURNS && !stop_wanted())
				continue;
		} else if (rc != SC_EAGAIN) {
			return rc;
		}
		print_progress(g);
		if (stop_wanted() && g->whole)
			return err_set(err, SC_ECLOSED, "%s: stopped", g->to.path);
		if (stop_wanted()) {
			g->stopped = true;
			source_stop(from);
		}
		rc = turns ? sink_tick(g->to.sink, clock_us(), err) : SC_OK;
		if (rc)
			return rc;
	}
}

/* What was put into this sink but is not kept: a transaction that failed, a format that cannot hold
 * it, a file that is half of something and is removed. */
static void settle(struct gather *g, uint64_t put_before, int rc)
{
	const struct sink *s = g->to.sink;
	struct tally *a = &g->account;
	uint64_t missing = 0;

	if (s && s->ops->kept)
		missing = a->written - put_before - s->ops->kept(s);
	a->written -= missing;
	*(rc && g->to.store ? &a->failed : &a->left_out) += missing;
	if (!rc || g->to.kind != KIND_FORMAT)
		return;
	a->lost += a->written;
	a->written = 0;
}

static int run_file(struct gather *g, struct source *from, struct err *err)
{
	int rc = pump(g, from, err);

	if (!rc)
		rc = sink_finish(g->to.sink, clock_us(), err);
	settle(g, 0, rc);
	return rc;
}

static int run_merged(struct gather *g, struct err *err)
{
	struct merge_part *parts = calloc(g->n, sizeof(*parts));
	struct source *all;
	int rc;

	if (!parts)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < g->n; i++)
		parts[i] = (struct merge_part){
			.arg = &g->parts[i],
			.begins_us = g->parts[i].first_us,
			.set = g->parts[i].set,
			.open = part_open,
			.close = part_close,
		};
	all = source_merge_new(parts, g->n);
	free(parts);
	rc = all ? run_file(g, all, err) : err_set(err, SC_ENOMEM, "out of memory");
	source_free(all);
	return rc;
}

static int run_single(struct gather *g, struct err *err)
{
	struct source *from = NULL;
	int rc = part_open(&g->parts[0], &from, err);

	if (!rc)
		rc = run_file(g, from, err);
	part_close(&g->parts[0]);
	return rc;
}

/* --- into a store -------------------------------------------------------------------------- */

/* One member more than the counters are. */
static int add_stopped(struct buf *ledger)
{
	assert(ledger->len && ledger->data[ledger->len - 1] == '}');
	ledger->len--;
	return buf_add_str(ledger, ", \"stopped\": true}");
}

/* The ledger of a capture row that was made this way, which ended or did not. */
static int end_row(struct gather *g, const struct tally *before, bool ended, struct err *err)
{
	const struct tally *a = &g->account;
	uint64_t closed = g->redaction ? redaction_closed(g->redaction) : 0;
	struct counters c;
	struct buf json;
	int rc;

	memset(&c, 0, sizeof(c));
	counter_set(&c, REQUESTS_SEEN, a->read - before->read);
	counter_set(&c, REQUESTS_STORED, a->written - before->written);
	counter_set(&c, REQUESTS_FILTERED, a->filtered - before->filtered);
	counter_set(&c, REQUESTS_UNSAMPLED, a->unsampled - before->unsampled);
	counter_set(&c, REQUESTS_OWN, a->own - before->own);
	counter_set(&c, REQUESTS_FAILED, a->failed - before->failed);
	counter_set(&c, BODIES_CLOSED, closed - g->closed);
	g->closed = closed;
	buf_init(&json, 64 * KIB);
	rc = counters_json(&c, &json);
	if (!rc && g->stopped)
		rc = add_stopped(&json);
	if (!rc)
		rc = buf_add(&json, "", 1);
	rc = rc ? err_set(err, rc, "out of memory")
		: side_end(&g->to, ended ? clock_us() : 0, (const char *)json.data, err);
	buf_done(&json);
	return rc;
}

static int fill_row(struct gather *g, struct gather_part *p, struct err *err)
{
	struct source *from = NULL;
	int rc = part_open(p, &from, err);

	if (!rc)
		rc = pump(g, from, err);
	part_close(p);
	return rc;
}

/* The indexes are made when the last row has ended: rows after it would be slower. */
static int run_row(struct gather *g, struct gather_part *p, bool last, struct err *err)
{
	struct tally before = g->account;
	struct err later;
	int rc, end;

	rc = side_begin(&g->to, g->started_us, p->row_source ? p->row_source : p->side.path,
			p->row_options ? p->row_options : g->options, err);
	if (rc)
		return rc;
	rc = fill_row(g, p, err);
	if (!rc && !last && !stop_wanted())
		return end_row(g, &before, !p->half, err);
	if (rc && g->whole)
		return rc;
	end = sink_finish(g->to.sink, clock_us(), rc ? &later : err);
	rc = rc ? rc : end;
	settle(g, before.written, rc);
	end = end_row(g, &before, !rc && !p->half, rc ? &later : err);
	return rc ? rc : end;
}

static int run_rows(struct gather *g, struct err *err)
{
	unsigned i = 0;
	int rc = SC_OK;

	while (i < g->n && !rc && !stop_wanted()) {
		rc = run_row(g, &g->parts[i], i + 1 == g->n, err);
		i++;
	}
	if (i < g->n)
		format_note_n(&g->notes, "sources behind that, not read", g->n - i);
	g->stopped = g->stopped || (i < g->n && !rc);
	return rc;
}

int gather_run(struct gather *g, const char *sink, struct err *err)
{
	int rc = sink_side(g->args, sink, &g->notes, &g->to, err);

	if (!rc && g->to.store)
		rc = run_rows(g, err);
	else if (!rc)
		rc = g->n == 1 ? run_single(g, err) : run_merged(g, err);
	side_done(&g->to, true);
	if (g->redaction)
		format_note_n(&g->notes, "bodies taken out: redaction could not read them",
			      redaction_closed(g->redaction));
	return rc;
}

void gather_done(struct gather *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		part_close(&g->parts[i]);
		free(g->parts[i].files);
		free(g->parts[i].row_source);
		free(g->parts[i].row_options);
	}
	free(g->parts);
	g->parts = NULL;
	g->n = 0;
}
