/* SPDX-License-Identifier: Apache-2.0 */
/* GoReplay's files, both ways: records of a header line and the raw bytes of a message, a line of
 * three monkeys behind each. A reader puts requests and answers together by their id, in whatever
 * order they come, within a bounded window; a writer leaves out what holds the three monkeys
 * itself, since nothing in the format could tell it from the end of the record. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rng.h"
#include "format_io.h"
#include "format_private.h"
#include "gor_message.h"
#include "render.h"

#define SEPARATOR "\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89\n"
#define SEPARATOR_BYTES (sizeof(SEPARATOR) - 1)
#define ID_BYTES 24u /* client port, server port, 32 bits of the client's address, a number */
#define FLOW_BYTES 16u /* of these: what requests of one connection share */
#define ID_MAX 64u
#define BUCKETS 4096u /* powers of two */
#define POSITIONS 65536u

/* How many requests a connection has had. Another one may take its place: then it begins again. */
struct position {
	uint64_t connection;
	uint32_t next;
};

struct gor_sink {
	struct sink sink; /* first */
	struct sink *records;
	struct format_notes *notes;	/* borrowed */
	struct position *positions;	/* as who reads it counts them */
};

static uint32_t next_position(struct position *positions, uint64_t connection)
{
	struct position *p = &positions[connection & (POSITIONS - 1)];

	if (p->connection != connection)
		*p = (struct position){.connection = connection};
	return p->next++;
}

/* --- writing ------------------------------------------------------------------------------- */

static int add_id(struct buf *out, const struct exchange *ex, uint64_t number)
{
	const uint8_t *ip = ex->client.ip + (ex->client.len == 16 ? 12 : 0);

	return buf_addf(out, "%04x%04x%02x%02x%02x%02x%08" PRIx32, ex->client.port, ex->server.port,
			ip[0], ip[1], ip[2], ip[3], (uint32_t)number);
}

/* A record, or nothing where it would not be read as what it is. `span_us` < 0: not known. */
static int add_record(struct buf *out, char type, const struct exchange *ex, uint64_t number,
		      int64_t ts_us, int64_t span_us, struct format_notes *notes)
{
	const struct message *m = type == '1' ? ex->request : ex->response;
	size_t before = out->len, payload;
	int rc = buf_addf(out, "%c ", type);

	if (!rc)
		rc = add_id(out, ex, number);
	if (!rc)
		rc = buf_addf(out, " %" PRId64 "000", ts_us);
	if (!rc && span_us >= 0)
		rc = buf_addf(out, " %" PRId64, span_us * 1000);
	if (!rc)
		rc = buf_add_str(out, "\n");
	payload = out->len;
	if (!rc)
		rc = gor_message_write(m, out);
	if (!rc)
		rc = buf_add(out, SEPARATOR, SEPARATOR_BYTES);
	if (rc)
		return rc;
	if (memmem(out->data + payload, out->len - payload - 1, SEPARATOR, SEPARATOR_BYTES)) {
		out->len = before;
		format_note(notes, "messages that hold GoReplay's separator, left out");
	} else if (m->body.len < m->body_size) {
		format_note(notes, "bodies that were cut, written as far as they were kept");
	}
	return SC_OK;
}

static int render_records(const struct exchange *ex, struct render *r, struct buf *out)
{
	const struct message *m = ex->request;
	int64_t span_us = m->first_us && m->last_us >= m->first_us ? m->last_us - m->first_us : 0;
	int64_t wait_us = ex->ttfb_us >= 0 ? ex->ttfb_us : 0;
	int rc = add_record(out, '1', ex, r->number, ex->ts_us, span_us, r->notes);

	if (rc || out->len == 0 || !ex->response)
		return rc;
	span_us = ex->duration_us < 0 ? -1 : ex->duration_us - wait_us;
	return add_record(out, '2', ex, r->number, ex->ts_us + wait_us, span_us, r->notes);
}

/* What an id has no place for, and what comes out of it differently. */
static void note_losses(struct gor_sink *g, const struct exchange *ex)
{
	const uint8_t *ip = ex->client.ip + (ex->client.len == 16 ? 12 : 0);
	uint8_t flow[FLOW_BYTES / 2] = {
		(uint8_t)(ex->client.port >> 8), (uint8_t)ex->client.port,
		(uint8_t)(ex->server.port >> 8), (uint8_t)ex->server.port,
		ip[0], ip[1], ip[2], ip[3],
	};
	uint64_t connection = hash_bytes(flow, sizeof(flow), 0) >> 1;

	if (ex->server.len)
		format_note(g->notes, "addresses of servers, left out: a .gor file has their ports "
				      "alone");
	if (next_position(g->positions, connection) != ex->position)
		format_note(g->notes, "positions in a connection, left out: who reads the file "
				      "counts from 0");
	if (ex->client.len == 16)
		format_note(g->notes, "IPv6 addresses of clients, of which four bytes are written");
}

static uint64_t gor_kept(const struct sink *s)
{
	const struct sink *records = ((const struct gor_sink *)s)->records;

	return records->ops->kept(records);
}

static int gor_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct gor_sink *g = (struct gor_sink *)s;
	uint64_t before = gor_kept(s);
	int rc = sink_put(g->records, ex, err);

	if (gor_kept(s) != before)
		note_losses(g, ex);
	return rc;
}

static int gor_finish(struct sink *s, int64_t now_us, struct err *err)
{
	return sink_finish(((struct gor_sink *)s)->records, now_us, err);
}

static void gor_sink_free(struct sink *s)
{
	struct gor_sink *g = (struct gor_sink *)s;

	sink_free(g->records);
	free(g->positions);
	free(g);
}

static const struct sink_ops gor_sink_ops = {
	.put = gor_put,
	.finish = gor_finish,
	.kept = gor_kept,
	.free = gor_sink_free,
};

int gor_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	struct gor_sink *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	g->sink.ops = &gor_sink_ops;
	g->notes = args->notes;
	g->positions = calloc(POSITIONS, sizeof(*g->positions));
	rc = g->positions ? render_sink_new(args, NULL, render_records, &g->records, err)
			  : err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	if (rc)
		gor_sink_free(&g->sink);
	else
		*ret = &g->sink; /* moved */
	return rc;
}

/* --- reading ------------------------------------------------------------------------------- */

/* What is known of one id so far: a request, an answer, or both. */
struct entry {
	struct entry *next;  /* of the line, in order of arrival */
	struct entry *other; /* of the same bucket, while a part is missing */
	struct exchange *ex; /* with its request, or NULL */
	struct message *response;
	int64_t response_ns, span_ns; /* its time; how long it took, -1: not known */
	size_t bytes;
	uint8_t id[ID_MAX];
	size_t id_len;
};

struct gor_source {
	struct source source; /* first */
	struct infile *input;
	size_t body_max;
	struct format_notes *notes; /* borrowed */
	struct buf record;	    /* with its separator */
	uint64_t number;	    /* of the record, from 1 */
	struct entry *first, **last;
	struct entry *buckets[BUCKETS];
	unsigned n_entries;
	size_t bytes;
	struct position *positions;
	bool ended;
};

/* The header line's words. */
struct header_line {
	uint8_t type;
	struct span id;
	int64_t ts_ns, span_ns; /* -1: not said */
};

static int bad_record(struct gor_source *g, const char *what, struct err *err)
{
	return err_set(err, SC_EINVAL, "%s: record %" PRIu64 ": %s", infile_name(g->input),
		       g->number, what);
}

static int no_memory(struct gor_source *g, struct err *err)
{
	return err_set(err, SC_ENOMEM, "%s: no memory", infile_name(g->input));
}

static struct span next_word(struct span *rest)
{
	const uint8_t *space = rest->len ? memchr(rest->p, ' ', rest->len) : NULL;
	size_t len = space ? (size_t)(space - rest->p) : rest->len;
	struct span w = span_of(rest->p, len);

	len += space != NULL;
	*rest = span_of(rest->p + len, rest->len - len);
	return w;
}

/* Nineteen digits are the year 2286 in nanoseconds. */
static bool read_number(struct span s, int64_t *ret)
{
	int64_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || n > (INT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (s.p[i] - '0');
	}
	*ret = n;
	return s.len != 0;
}

/* "<type> <id> <ts_ns>[ <latency_ns>]" */
static int read_header(struct gor_source *g, struct span line, struct header_line *ret,
		       struct err *err)
{
	struct header_line h = {.span_ns = -1};
	struct span type;

	if (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	type = next_word(&line);
	if (type.len != 1 || type.p[0] < '1' || type.p[0] > '3')
		return bad_record(g, "type: expected 1, 2 or 3", err);
	h.type = type.p[0];
	h.id = next_word(&line);
	if (h.id.len == 0 || h.id.len > ID_MAX)
		return bad_record(g, "id: expected 24 or 40 hex digits", err);
	if (!read_number(next_word(&line), &h.ts_ns))
		return bad_record(g, "time: expected nanoseconds since 1970", err);
	if (line.len && !read_number(next_word(&line), &h.span_ns))
		return bad_record(g, "latency: expected nanoseconds", err);
	*ret = h;
	return SC_OK;
}

/* The next record with its separator, the last one maybe without. 1, 0 at the end. */
static int read_record(struct gor_source *g, struct err *err)
{
	struct span more;
	int rc;

	while ((rc = infile_peek(g->input, &more, err)) == 1) {
		const uint8_t *nl = memchr(more.p, '\n', more.len);
		size_t n = nl ? (size_t)(nl + 1 - more.p) : more.len;
		int full = buf_add(&g->record, more.p, n);

		if (full == SC_EFULL)
			return bad_record(g, "longer than 64 MiB; expected a line of three monkeys "
					  "before", err);
		if (full)
			return no_memory(g, err);
		infile_use(g->input, n);
		if (span_ends(buf_span(&g->record), span_of(SEPARATOR, SEPARATOR_BYTES)))
			return 1;
	}
	return rc == 0 ? g->record.len != 0 : rc;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct span s, uint8_t *to)
{
	for (size_t i = 0; i < s.len; i += 2) {
		int high = hex_value(s.p[i]), low = hex_value(s.p[i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i / 2] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* The sixteen digits tell the ends of the connection; an id of another length tells nothing, and
 * its request stands alone. Of an IPv6 client they hold the last four bytes, read as if IPv4. */
static void set_ends(struct gor_source *g, struct exchange *ex, struct span id)
{
	static const uint8_t none[4];
	uint8_t raw[ID_BYTES / 2];

	if (id.len != ID_BYTES || !read_hex(id, raw)) {
		ex->connection = hash_bytes(id.p, id.len, g->number) >> 1;
		return;
	}
	ex->connection = hash_bytes(raw, FLOW_BYTES / 2, 0) >> 1;
	ex->position = next_position(g->positions, ex->connection);
	ex->client.port = (uint16_t)(raw[0] << 8 | raw[1]);
	ex->server.port = (uint16_t)(raw[2] << 8 | raw[3]);
	memcpy(ex->client.ip, raw + 4, 4);
	ex->client.len = memcmp(raw + 4, none, 4) != 0 ? 4 : 0;
}

static struct entry **bucket_of(struct gor_source *g, struct span id)
{
	return &g->buckets[hash_bytes(id.p, id.len, 0) & (BUCKETS - 1)];
}

/* The oldest entry of this id whose part of that type is missing; NULL: none. Takes it out of its
 * bucket: it is whole then. */
static struct entry *take_partner(struct gor_source *g, const struct header_line *h)
{
	struct entry **at = bucket_of(g, h->id), *e;

	for (; (e = *at); at = &e->other) {
		if (span_eq(span_of(e->id, e->id_len), h->id) &&
		    (h->type == '1' ? !e->ex : !e->response)) {
			*at = e->other;
			return e;
		}
	}
	return NULL;
}

static struct entry *add_entry(struct gor_source *g, struct span id)
{
	struct entry **at = bucket_of(g, id);
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	memcpy(e->id, id.p, id.len);
	e->id_len = id.len;
	while (*at)
		at = &(*at)->other;
	*at = e;
	*g->last = e;
	g->last = &e->next;
	g->n_entries++;
	return e;
}

static int keep_request(struct gor_source *g, struct entry *e, const struct header_line *h,
			struct message *m)
{
	e->ex = exchange_new();
	if (!e->ex) {
		message_free(m);
		return SC_ENOMEM;
	}
	e->ex->request = m;
	e->ex->scheme = "http";
	e->ex->ts_us = h->ts_ns / 1000;
	m->first_us = e->ex->ts_us;
	m->last_us = h->span_ns < 0 ? 0 : h->ts_ns / 1000 + h->span_ns / 1000;
	set_ends(g, e->ex, h->id);
	return SC_OK;
}

static int keep_message(struct gor_source *g, const struct header_line *h, struct message *m)
{
	struct entry *e = take_partner(g, h);
	size_t bytes = message_footprint(m);

	if (!e)
		e = add_entry(g, h->id);
	if (!e) {
		message_free(m);
		return SC_ENOMEM;
	}
	e->bytes += bytes;
	g->bytes += bytes;
	if (h->type == '1')
		return keep_request(g, e, h, m);
	e->response = m;
	e->response_ns = h->ts_ns;
	e->span_ns = h->span_ns;
	return SC_OK;
}

/* A record that the end of the file cut is no mistake of a person; a file without any other is none
 * of GoReplay's. */
static int cut_record(struct gor_source *g, struct err *err)
{
	if (g->number == 1)
		return bad_record(g, "is not whole; expected 'TYPE ID TIME', an HTTP/1 message, and "
				     "a line of three monkeys behind it", err);
	format_note(g->notes, "a last record without its end, skipped");
	return SC_OK;
}

/* How much of a separator a record ends with that the file's end cut. Of one byte of it none can
 * tell that it is not the message's. */
static size_t cut_separator(struct span s)
{
	size_t n = SEPARATOR_BYTES - 1;

	while (n > 1 && !span_ends(s, span_of(SEPARATOR, n)))
		n--;
	return n > 1 ? n : 0;
}

/* An empty payload: the header line's end is the separator's first byte. */
static struct span payload_of(struct span record, size_t line, bool whole)
{
	struct span s = span_of(record.p + line + 1, record.len - line - 1);

	if (whole)
		s.len = s.len > SEPARATOR_BYTES ? s.len - SEPARATOR_BYTES : 0;
	else
		s.len -= cut_separator(s);
	return s;
}

/* SC_EPROTO: it is not what the header line says. */
static int read_payload(struct gor_source *g, const struct header_line *h, struct span payload)
{
	struct message *m = NULL;
	int rc = gor_message_read(payload, g->body_max, &m);

	if (!rc && (m->status != 0) != (h->type == '2')) {
		message_free(m);
		rc = SC_EPROTO;
	}
	if (!rc && m->flags & MESSAGE_CAPPED)
		format_note(g->notes, NOTE_BODIES_CUT);
	return rc ? rc : keep_message(g, h, m);
}

static int use_record(struct gor_source *g, struct err *err)
{
	struct span all = buf_span(&g->record);
	bool whole = span_ends(all, span_of(SEPARATOR, SEPARATOR_BYTES));
	const uint8_t *nl = memchr(all.p, '\n', all.len);
	size_t line = nl ? (size_t)(nl - all.p) : all.len;
	struct header_line h = {.span_ns = -1};
	int rc = nl ? read_header(g, span_of(all.p, line), &h, err) : SC_EINVAL;

	if (rc)
		return whole ? rc : cut_record(g, err);
	if (h.type == '3') {
		format_note(g->notes, "replayed responses, skipped");
		return SC_OK;
	}
	rc = read_payload(g, &h, payload_of(all, line, whole));
	if (rc == SC_EPROTO && !whole)
		return cut_record(g, err);
	if (!rc && !whole)
		format_note(g->notes, "a last record without its end, kept as far as it goes");
	if (rc == SC_EPROTO)
		return bad_record(g, h.type == '1' ? "payload: expected an HTTP/1 request"
						   : "payload: expected an HTTP/1 response", err);
	return rc ? no_memory(g, err) : SC_OK;
}

static void set_state(struct exchange *ex)
{
	unsigned flags = ex->request->flags | (ex->response ? ex->response->flags : 0u);

	if (flags & MESSAGE_GAP)
		ex->state = EXCHANGE_GAP;
	else if (!ex->response)
		ex->state = EXCHANGE_NO_RESPONSE;
	else
		ex->state = flags & MESSAGE_CAPPED ? EXCHANGE_TRUNCATED : EXCHANGE_COMPLETE;
}

static int64_t not_negative(int64_t us)
{
	return us < 0 ? 0 : us;
}

static void join(struct exchange *ex, struct entry *e)
{
	struct message *m = e->response;

	ex->response = m;
	e->response = NULL; /* moved */
	gor_message_answers(m, message_method(ex->request));
	/* A latency is of the record's own packets: the first byte came at its time. */
	ex->ttfb_us = not_negative(e->response_ns / 1000 - ex->ts_us);
	ex->duration_us = e->span_ns < 0 ? -1 : ex->ttfb_us + e->span_ns / 1000;
	m->first_us = ex->ts_us + ex->ttfb_us;
	m->last_us = ex->duration_us < 0 ? 0 : ex->ts_us + ex->duration_us;
}

static void entry_free(struct entry *e)
{
	exchange_free(e->ex);
	message_free(e->response);
	free(e);
}

static void leave_bucket(struct gor_source *g, struct entry *e)
{
	struct entry **at = bucket_of(g, span_of(e->id, e->id_len));

	while (*at && *at != e)
		at = &(*at)->other;
	if (*at)
		*at = e->other;
}

static bool is_whole(const struct entry *e)
{
	return e->ex && e->response;
}

/* Whether the oldest one has waited long enough. */
static bool is_due(const struct gor_source *g)
{
	return g->first && (g->ended || is_whole(g->first) || g->n_entries > LIMIT_GOR_WINDOW ||
			    g->bytes > LIMIT_GOR_BYTES);
}

/* Takes the oldest out. NULL: it was an answer alone. */
static struct exchange *pop(struct gor_source *g)
{
	struct entry *e = g->first;
	struct exchange *ex = e->ex;

	e->ex = NULL; /* moved */
	g->first = e->next;
	if (!g->first)
		g->last = &g->first;
	g->n_entries--;
	g->bytes -= e->bytes;
	leave_bucket(g, e);
	if (!ex)
		format_note(g->notes, "responses without their request, skipped");
	else if (e->response)
		join(ex, e);
	if (ex)
		set_state(ex);
	entry_free(e);
	return ex;
}

static int gor_next(struct source *s, struct exchange **ret, struct err *err)
{
	struct gor_source *g = (struct gor_source *)s;

	for (;;) {
		struct exchange *ex = NULL;
		int rc;

		while (!ex && is_due(g))
			ex = pop(g);
		if (ex) {
			*ret = ex; /* moved */
			return 1;
		}
		if (g->ended)
			return 0;
		rc = read_record(g, err);
		if (rc < 0)
			return rc;
		g->ended = rc == 0;
		if (rc == 1)
			rc = use_record(g, err);
		if (rc < 0)
			return rc;
		buf_clear(&g->record);
		g->number++;
	}
}

static void gor_stop(struct source *s)
{
	((struct gor_source *)s)->ended = true;
}

static void gor_free(struct source *s)
{
	struct gor_source *g = (struct gor_source *)s;
	struct entry *e;

	while ((e = g->first)) {
		g->first = e->next;
		entry_free(e);
	}
	infile_free(g->input);
	buf_done(&g->record);
	free(g->positions);
	free(g);
}

static const struct source_ops gor_ops = {
	.next = gor_next,
	.stop = gor_stop,
	.free = gor_free,
};

int gor_source_new(const struct format_args *args, struct source **ret, struct err *err)
{
	struct gor_source *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	g->source.ops = &gor_ops;
	g->last = &g->first;
	g->number = 1;
	g->body_max = args->body_max;
	g->notes = args->notes;
	buf_init(&g->record, LIMIT_FORMAT_RECORD);
	g->positions = calloc(POSITIONS, sizeof(*g->positions));
	rc = g->positions ? infile_open(args->path, &g->input, err)
			  : err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	if (rc)
		gor_free(&g->source);
	else
		*ret = &g->source; /* moved */
	return rc;
}
