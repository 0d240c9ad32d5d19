/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Lines, both ways: one object an exchange, whose members are the columns of the store. All of
 * them always, so that readers which guess a schema find it in the first line. Holds one line. */
#include "jsonl.h"

#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "core/json.h"
#include "format_io.h"
#include "format_private.h"
#include "render.h"


struct jsonl_source {
	struct source source; /* first */
	struct infile *in;
	struct jsonl_reader reader;
	bool stopped;
};

/* --- writing ------------------------------------------------------------------------------- */

static int add_base64_string(struct buf *out, struct span s)
{
	int rc = buf_add_str(out, "\"");

	if (!rc)
		rc = add_base64(out, s);
	return rc ? rc : buf_add_str(out, "\"");
}

static int add_cell(struct buf *out, const struct cell *c)
{
	switch (c->kind) {
	case COLUMN_INTEGER:
		return add_integer(out, c->integer);
	case COLUMN_REAL:
		return add_real(out, c->real);
	case COLUMN_TEXT:
		return json_add_string(out, c->text);
	case COLUMN_JSON:
		return buf_add_span(out, c->text);
	case COLUMN_BYTES:
		return add_base64_string(out, c->text);
	case COLUMN_NULL:
		break;
	}
	return buf_add_str(out, "null");
}

int jsonl_add(struct buf *out, struct buf *scratch, const struct exchange *ex)
{
	int rc = buf_add_str(out, "{");

	for (unsigned i = 0; i < n_columns && !rc; i++) {
		struct cell c = {.kind = COLUMN_NULL};

		rc = buf_add_str(out, i ? ",\"" : "\"");
		if (!rc)
			rc = buf_add_str(out, columns[i].name);
		if (!rc)
			rc = buf_add_str(out, "\":");
		buf_clear(scratch);
		if (!rc)
			rc = columns[i].get(ex, scratch, &c);
		if (!rc)
			rc = add_cell(out, &c);
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int render_line(const struct exchange *ex, struct render *r, struct buf *out)
{
	int rc = jsonl_add(out, &r->scratch, ex);

	return rc ? rc : buf_add_str(out, "\n");
}

int jsonl_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	return render_sink_new(args, NULL, render_line, ret, err);
}

/* --- reading ------------------------------------------------------------------------------- */

void jsonl_reader_init(struct jsonl_reader *r, size_t body_max, struct format_notes *notes)
{
	buf_init(&r->target, LIMIT_HEAD_BYTES);
	buf_init(&r->bytes, LIMIT_FORMAT_RECORD);
	r->routes = r->templates = (struct texts){NULL, 0};
	r->body_max = body_max;
	r->notes = notes;
}

void jsonl_reader_done(struct jsonl_reader *r)
{
	buf_done(&r->target);
	buf_done(&r->bytes);
	texts_done(&r->routes);
	texts_done(&r->templates);
}

/* Base64 into r->bytes; *ret.p stays NULL where there is none. */
static int read_bytes(struct jsonl_reader *r, const struct jnode *n, const char *name,
		      struct span *ret)
{
	struct span text = {NULL, 0};
	int rc = jnode_text(n, name, &text);

	if (rc || !text.p)
		return rc;
	buf_clear(&r->bytes);
	rc = add_unbase64(&r->bytes, text);
	if (rc)
		return jnode_failed(n, rc, name, "base64");
	*ret = span_of(r->bytes.data ? r->bytes.data : (const uint8_t *)"", r->bytes.len);
	return SC_OK;
}

static int read_address(const struct jnode *n, const char *name, const char *port_name,
			struct addr *ret)
{
	struct span text = {NULL, 0};
	int64_t port = ret->port;
	int rc = jnode_text(n, name, &text);

	if (!rc)
		rc = jnode_integer(n, port_name, 0, 65535, &port);
	if (rc)
		return rc;
	/* jansson's strings end in a NUL. */
	if (text.len && addr_parse((const char *)text.p, ret))
		return jnode_bad(n, name, "an IP address or \"\"");
	ret->port = (uint16_t)port;
	return SC_OK;
}

static int read_when(const struct jnode *n, struct exchange *ex)
{
	int64_t connection = (int64_t)ex->connection, position = ex->position;
	int rc = jnode_integer(n, "ts_us", 0, LIMIT_TIME_US, &ex->ts_us);

	if (!rc)
		rc = jnode_integer(n, "connection", INT64_MIN, INT64_MAX, &connection);
	if (!rc)
		rc = jnode_integer(n, "position", 0, UINT32_MAX, &position);
	if (!rc)
		rc = jnode_integer(n, "ttfb_us", 0, LIMIT_TIME_US, &ex->ttfb_us);
	if (!rc)
		rc = jnode_integer(n, "duration_us", 0, LIMIT_TIME_US, &ex->duration_us);
	ex->connection = (uint64_t)connection;
	ex->position = (uint32_t)position;
	return rc;
}

static int read_words(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex)
{
	struct span scheme = span_str(ex->scheme), state = {NULL, 0}, route = {NULL, 0};
	struct span template = {NULL, 0};
	int rc = jnode_text(n, "scheme", &scheme);

	if (!rc)
		rc = jnode_text(n, "state", &state);
	if (!rc)
		rc = jnode_text(n, "route", &route);
	if (!rc)
		rc = jnode_text(n, "template", &template);
	if (!rc)
		rc = jnode_real(n, "sample", 0, 100, &ex->sample);
	if (rc)
		return rc;
	ex->scheme = span_eq(scheme, span_str("https")) ? "https" : "http";
	if (!span_eq(scheme, span_str(ex->scheme)))
		return jnode_bad(n, "scheme", "\"http\" or \"https\"");
	if (!state.p)
		ex->state = json_is_integer(json_object_get(n->json, "status"))
				    ? EXCHANGE_COMPLETE : EXCHANGE_NO_RESPONSE;
	else if (exchange_state_parse((const char *)state.p, &ex->state))
		return jnode_bad(n, "state", "complete, no-response, truncated or gap");
	if (route.p) {
		rc = texts_keep(&r->routes, route, LIMIT_RULES, &ex->route);
		if (rc)
			return jnode_failed(n, rc, "route", "no more than 10000 different ones");
	}
	/* One too many is none: a store has no more either. */
	if (template.p && texts_keep(&r->templates, template, LIMIT_TEMPLATES, &ex->template) == SC_ENOMEM)
		return SC_ENOMEM;
	return SC_OK;
}

/* Who writes such a file by hand may name the host and leave out its field. */
static void add_host(struct jsonl_reader *r, struct parts *p, struct span host)
{
	for (uint32_t i = 0; i < p->n_headers; i++) {
		if (span_case_eq(r->headers[i].name, span_str("Host")))
			return;
	}
	if (host.len == 0 || p->n_headers == LIMIT_FIELDS ||
	    span_eq(p->method, span_str("CONNECT")))
		return;
	memmove(r->headers + 1, r->headers, p->n_headers * sizeof(r->headers[0]));
	r->headers[0] = (struct header){span_str("Host"), host};
	p->n_headers++;
}

/* On the wire a line's end in it would begin a field that it does not name. A fold (RFC 9112, 5.2)
 * begins none and is a recording's; so may be a CR or a NUL alone. */
static bool is_one_field(const struct header *h, bool folds)
{
	struct span v = h->value;

	for (size_t i = 0; i < h->name.len; i++) {
		if (h->name.p[i] == '\n' || h->name.p[i] == ':')
			return false;
	}
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] == '\n' && !(folds && i + 1 < v.len && memchr(" \t", v.p[i + 1], 2)))
			return false;
	}
	return true;
}

static int check_headers(const struct jsonl_reader *r, const struct jnode *n, const char *name,
			 uint32_t count, bool folds)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!is_one_field(&r->headers[i], folds))
			return jnode_bad(n, name, "names without ':', and no line's end inside a "
					 "name or a value");
	}
	return SC_OK;
}

static int head_from_parts(struct jsonl_reader *r, const struct jnode *n, struct message **ret)
{
	struct parts p = {.version = span_str("1.1"), .headers = r->headers};
	struct span path = {NULL, 0}, query = {NULL, 0}, host = {NULL, 0};
	int rc = jnode_text(n, "method", &p.method);

	if (!rc)
		rc = jnode_text(n, "path", &path);
	if (!rc)
		rc = jnode_text(n, "query", &query);
	if (!rc)
		rc = jnode_text(n, "host", &host);
	if (!rc)
		rc = jnode_text(n, "version", &p.version);
	if (!rc)
		rc = jnode_headers(n, "request_headers", r->headers, &p.n_headers);
	/* A recorded request with a fold has its head as bytes. */
	if (!rc)
		rc = check_headers(r, n, "request_headers", p.n_headers, false);
	if (rc)
		return rc;
	if (p.method.len == 0 || path.len == 0)
		return jnode_bad(n, p.method.len ? "path" : "method", "a string");
	add_host(r, &p, host);
	buf_clear(&r->target);
	rc = buf_add_span(&r->target, path);
	if (!rc && query.p)
		rc = buf_add_str(&r->target, "?");
	if (!rc)
		rc = buf_add_span(&r->target, query);
	p.target = buf_span(&r->target);
	if (!rc)
		rc = rebuild_head(&p, r->body_max, ret);
	return rc ? jnode_failed(n, rc, "method, path, query, request_headers",
				"the parts of one request head") : SC_OK;
}

static int read_body(struct jsonl_reader *r, const struct jnode *n, const char *const names[3],
		     struct message *m)
{
	struct span body = {NULL, 0}, binary = {NULL, 0};
	int64_t size = 0;
	int rc = jnode_text(n, names[0], &body);

	if (!rc)
		rc = read_bytes(r, n, names[1], &binary);
	if (!rc)
		rc = jnode_integer(n, names[2], 0, INT64_MAX, &size);
	if (rc)
		return rc;
	if (body.p && binary.p)
		return jnode_bad(n, names[1], "either this or the body as text");
	rc = rebuild_body(m, binary.p ? binary : body, (uint64_t)size, r->notes);
	return rc ? jnode_failed(n, rc, names[0], "a body") : SC_OK;
}

static int read_trailers(struct jsonl_reader *r, const struct jnode *n, const char *name,
			 struct message *m)
{
	uint32_t count = 0;
	int rc = jnode_headers(n, name, r->headers, &count);

	if (!rc)
		rc = check_headers(r, n, name, count, true);
	if (rc)
		return rc;
	rc = rebuild_trailers(m, r->headers, count);
	return rc ? jnode_failed(n, rc, name, "a trailer section of 64 KiB at most") : SC_OK;
}

int jsonl_read_raw(struct jsonl_reader *r, const struct jnode *n, struct message **ret)
{
	struct span raw = {NULL, 0};
	struct message *m = NULL;
	int rc = read_bytes(r, n, "request_raw", &raw);

	if (rc || !raw.p)
		return rc;
	rc = message_parse(raw.p, raw.len, r->body_max, &m);
	if (!rc && m->status)
		rc = SC_EPROTO;
	if (rc) {
		message_free(m);
		return jnode_failed(n, rc, "request_raw", "the head of a request");
	}
	*ret = m; /* moved */
	return SC_OK;
}

int jsonl_read_tails(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex)
{
	struct span lines = {NULL, 0};
	int rc = read_trailers(r, n, "request_trailers", ex->request);

	if (!rc && ex->response)
		rc = read_trailers(r, n, "response_trailers", ex->response);
	if (!rc)
		rc = read_bytes(r, n, "request_chunks", &lines);
	if (rc || !lines.p)
		return rc;
	if (lines.len > LIMIT_CHUNK_LINES)
		return jnode_bad(n, "request_chunks", "1 MiB at most");
	ex->request->chunk_lines.max = LIMIT_CHUNK_LINES;
	rc = buf_add_span(&ex->request->chunk_lines, lines);
	return rc ? jnode_failed(n, rc, "request_chunks", "1 MiB at most") : SC_OK;
}

static int read_request(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex)
{
	static const char *const names[] = {"request_body", "request_body_base64",
					    "request_size"};
	int rc = jsonl_read_raw(r, n, &ex->request);

	if (!rc && !ex->request)
		rc = head_from_parts(r, n, &ex->request);
	return rc ? rc : read_body(r, n, names, ex->request);
}

static int read_response(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex)
{
	static const char *const names[] = {"response_body", "response_body_base64",
					    "response_size"};
	struct parts p = {.version = span_str("1.1"), .reason = span_str(""),
			  .headers = r->headers};
	int64_t status = 0;
	int rc = jnode_integer(n, "status", 1, 999, &status);

	if (rc || status == 0)
		return rc;
	p.status = (uint16_t)status;
	rc = jnode_headers(n, "response_headers", r->headers, &p.n_headers);
	if (!rc)
		rc = check_headers(r, n, "response_headers", p.n_headers, true);
	if (rc)
		return rc;
	rc = rebuild_head(&p, r->body_max, &ex->response);
	if (rc)
		return jnode_failed(n, rc, "response_headers", "the fields of one response head");
	return read_body(r, n, names, ex->response);
}

int jsonl_read_about(struct jsonl_reader *r, const struct jnode *n, struct exchange *ex)
{
	int rc = read_when(n, ex);

	if (!rc)
		rc = read_address(n, "client", "client_port", &ex->client);
	if (!rc)
		rc = read_address(n, "server", "server_port", &ex->server);
	return rc ? rc : read_words(r, n, ex);
}

/* Said once with their count; a slip of the pen would otherwise be lost in silence. */
static void note_others(struct jsonl_reader *r, const struct jnode *n)
{
	const char *key;
	json_t *value;

	json_object_foreach(n->json, key, value) {
		unsigned i = 0;

		while (i < n_columns && strcmp(columns[i].name, key) != 0)
			i++;
		if (i == n_columns)
			format_note(r->notes, "members that are no column of ours, skipped");
	}
}

int jsonl_read(struct jsonl_reader *r, struct span text, const struct jnode *place,
	       struct exchange **ret)
{
	struct exchange *ex = NULL;
	struct jnode n = *place;
	int rc = jnode_load(text, &n);

	if (rc)
		return rc;
	ex = exchange_new();
	rc = ex ? SC_OK : err_set(n.err, SC_ENOMEM, "%s: no memory", n.file);
	if (!rc)
		rc = jsonl_read_about(r, &n, ex);
	if (!rc)
		rc = read_request(r, &n, ex);
	if (!rc)
		rc = read_response(r, &n, ex);
	if (!rc)
		rc = jsonl_read_tails(r, &n, ex);
	if (!rc) {
		note_others(r, &n);
		rebuild_finish(ex);
		*ret = ex; /* moved */
		ex = NULL;
	}
	exchange_free(ex);
	json_decref(n.json);
	return rc;
}

static bool is_blank(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] != ' ' && s.p[i] != '\t')
			return false;
	}
	return true;
}

static int jsonl_next(struct source *s, struct exchange **ret, struct err *err)
{
	struct jsonl_source *r = (struct jsonl_source *)s;
	struct span line;
	int rc;

	if (r->stopped)
		return 0;
	do {
		rc = infile_line(r->in, &line, err);
	} while (rc == 1 && is_blank(line));
	if (rc == 1) {
		struct jnode place = {NULL, infile_name(r->in), "line",
				     infile_line_number(r->in), "", err};

		rc = jsonl_read(&r->reader, line, &place, ret);
		rc = rc ? rc : 1;
	}
	r->stopped = rc != 1 && rc != SC_EAGAIN;
	return rc;
}

static void jsonl_stop(struct source *s)
{
	((struct jsonl_source *)s)->stopped = true;
}

static void jsonl_source_free(struct source *s)
{
	struct jsonl_source *r = (struct jsonl_source *)s;

	infile_free(r->in);
	jsonl_reader_done(&r->reader);
	free(r);
}

static const struct source_ops jsonl_source_ops = {
	.next = jsonl_next,
	.stop = jsonl_stop,
	.free = jsonl_source_free,
};

int jsonl_source_new(const struct format_args *args, struct source **ret, struct err *err)
{
	struct jsonl_source *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	r->source.ops = &jsonl_source_ops;
	jsonl_reader_init(&r->reader, args->body_max, args->notes);
	rc = infile_open(args->path, &r->in, err);
	if (rc)
		jsonl_source_free(&r->source);
	else
		*ret = &r->source; /* moved */
	return rc;
}
