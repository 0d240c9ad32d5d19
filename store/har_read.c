/* SPDX-License-Identifier: Apache-2.0 */
/* HAR 1.2, in: our own, and what browsers save, which is HTTP/2 written down as if it were HTTP/1
 * and bodies that were decoded already. What is in the file is put into the form that it has on the
 * wire; what is not there is said to be missing. Holds one entry. */
#include <stdlib.h>

#include "core/coding.h"
#include "core/rng.h"
#include "format_io.h"
#include "format_private.h"
#include "har_scan.h"
#include "jsonl.h"

#define MS_MAX 1e12

struct har_source {
	struct source source; /* first */
	struct infile *in;
	struct har_scan scan;
	struct jsonl_reader reader; /* of _shadow, and what it holds for us */
	struct buf text, coded;
	struct format_notes *notes; /* borrowed */
	bool stopped;
};

/* One entry. */
struct har_entry {
	struct jnode top, request, response, own;
	struct span scheme, authority, path, query; /* of the URL */
	struct span pseudo_host;                    /* :authority */
};

/* --- heads --------------------------------------------------------------------------------- */

/* RFC 9110, 5.6.2 */
static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
			return false;
	}
	return s.len > 0;
}

static bool is_value(struct span s)
{
	return s.len == 0 || (!memchr(s.p, '\0', s.len) && !memchr(s.p, '\r', s.len));
}

/* Browsers write several fields of one name as one, a line each. */
static int add_lines(struct har_source *r, const struct jnode *n, struct span name,
		     struct span value, bool whole, uint32_t *count)
{
	for (;;) {
		const uint8_t *end = value.len && !whole ? memchr(value.p, '\n', value.len) : NULL;
		size_t len = end ? (size_t)(end - value.p) : value.len;

		if (*count == LIMIT_FIELDS)
			return jnode_bad(n, "headers", "no more than 1000 fields");
		r->reader.headers[(*count)++] = (struct header){name, span_of(value.p, len)};
		if (!end)
			return SC_OK;
		value = span_of(end + 1, value.len - len - 1);
	}
}

/* Into the reader's headers; those of HTTP/2 that stand for its start line (RFC 9113, 8.3) are no
 * fields. */
static int read_headers(struct har_source *r, struct har_entry *e, const struct jnode *n,
			uint32_t *ret)
{
	json_t *list = NULL, *item;
	size_t i;
	uint32_t count = 0;
	bool own = e->own.json; /* as it was on the wire, folded lines and all */
	int rc = jnode_array(n, "headers", &list);

	json_array_foreach(list, i, item) {
		struct jnode h = *n;
		struct span name = {NULL, 0}, value = span_str("");

		h.json = item;
		if (!rc && !json_is_object(item))
			rc = jnode_bad(n, "headers", "a list of {name, value}");
		if (!rc)
			rc = jnode_text(&h, "name", &name);
		if (!rc)
			rc = jnode_text(&h, "value", &value);
		if (rc)
			return rc;
		if (!own && name.len && name.p[0] == ':') {
			if (span_case_eq(name, span_str(":authority")))
				e->pseudo_host = value;
			continue;
		}
		if (!own && (!is_token(name) || !is_value(value)))
			return jnode_bad(n, "headers", "names and values of fields");
		rc = add_lines(r, n, name, value, own, &count);
	}
	*ret = count;
	return rc;
}

/* "HTTP/1.0", "h2", "HTTP/2.0". */
static struct span version_of(struct har_source *r, struct span text, bool request)
{
	if (span_case_eq(text, span_str("HTTP/1.0")))
		return span_str("1.0");
	if (request && text.len && !span_case_eq(text, span_str("HTTP/1.1")) &&
	    !span_case_eq(text, span_str("unknown")))
		format_note(r->notes, "requests of HTTP/2 or HTTP/3, held as HTTP/1.1");
	return span_str("1.1");
}

/* Bytes that may not stand in a target are escaped; a fragment is never sent. */
static int add_target(struct buf *out, struct span s)
{
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && s.p[i] != '#' && !rc; i++) {
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			rc = buf_addf(out, "%%%02X", s.p[i]);
		else
			rc = buf_add(out, &s.p[i], 1);
	}
	return rc;
}

/* Our own file says path and query where the URL could not. */
static int make_target(struct har_source *r, struct har_entry *e, struct span *ret)
{
	struct buf *out = &r->reader.target;
	struct span path = {NULL, 0}, query = {NULL, 0};
	int rc = e->own.json ? jnode_text(&e->own, "path", &path) : SC_OK;

	if (!rc && path.p)
		rc = jnode_text(&e->own, "query", &query);
	if (rc)
		return rc;
	buf_clear(out);
	rc = path.p ? buf_add_span(out, path) : add_target(out, e->path);
	if (!rc && (path.p ? query.p : e->query.p))
		rc = buf_add_str(out, "?");
	if (!rc)
		rc = path.p ? buf_add_span(out, query) : add_target(out, e->query);
	*ret = buf_span(out);
	return rc ? jnode_failed(&e->request, rc, "url", "a URL of 256 KiB at most") : SC_OK;
}

static struct span without_user(struct span authority)
{
	const uint8_t *at = memrchr(authority.p, '@', authority.len);

	return at ? span_of(at + 1, (size_t)(authority.p + authority.len - at) - 1) : authority;
}

static void add_host(struct har_source *r, struct har_entry *e, struct parts *p)
{
	struct header *h = r->reader.headers;
	struct span host = e->pseudo_host.len ? e->pseudo_host : without_user(e->authority);

	for (uint32_t i = 0; i < p->n_headers; i++) {
		if (span_case_eq(h[i].name, span_str("Host")))
			return;
	}
	if (p->n_headers == LIMIT_FIELDS)
		return;
	memmove(h + 1, h, p->n_headers * sizeof(*h));
	h[0] = (struct header){span_str("Host"), host};
	p->n_headers++;
}

static int request_head(struct har_source *r, struct har_entry *e, struct message **ret)
{
	struct parts p = {.headers = r->reader.headers};
	struct span version = {NULL, 0};
	int rc = e->own.json ? jsonl_read_raw(&r->reader, &e->own, ret) : SC_OK;

	if (rc || *ret)
		return rc;
	rc = jnode_text(&e->request, "method", &p.method);
	if (!rc && !is_token(p.method))
		rc = jnode_bad(&e->request, "method", "a string like \"GET\"");
	if (!rc)
		rc = jnode_text(&e->request, "httpVersion", &version);
	if (!rc)
		rc = read_headers(r, e, &e->request, &p.n_headers);
	if (!rc)
		rc = make_target(r, e, &p.target);
	if (rc)
		return rc;
	p.version = version_of(r, version, true);
	if (!e->own.json)
		add_host(r, e, &p);
	rc = rebuild_head(&p, r->reader.body_max, ret);
	return rc ? jnode_failed(&e->request, rc, "headers", "the fields of one request") : SC_OK;
}

/* --- bodies -------------------------------------------------------------------------------- */

static int add_form_text(struct buf *out, struct span s)
{
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && !rc; i++) {
		uint8_t c = s.p[i];

		if (c > ' ' && c < 0x7f && !strchr("%&=+#?/\"<>", c))
			rc = buf_add(out, &c, 1);
		else
			rc = buf_addf(out, "%%%02X", c);
	}
	return rc;
}

/* A form of which only the parts were saved. */
static int body_of_params(struct har_source *r, const struct jnode *post, struct span *ret)
{
	json_t *list = NULL, *item;
	size_t i;
	int rc = jnode_array(post, "params", &list);

	buf_clear(&r->text);
	json_array_foreach(list, i, item) {
		struct span name = {NULL, 0}, value = span_str("");
		struct jnode n = *post;

		n.json = json_is_object(item) ? item : NULL;
		if (!rc)
			rc = jnode_text(&n, "name", &name);
		if (!rc)
			rc = jnode_text(&n, "value", &value);
		if (rc)
			return rc;
		rc = i ? buf_add_str(&r->text, "&") : SC_OK;
		if (!rc)
			rc = add_form_text(&r->text, name);
		if (!rc)
			rc = buf_add_str(&r->text, "=");
		if (!rc)
			rc = add_form_text(&r->text, value);
		if (rc)
			return jnode_failed(post, rc, "params", "64 MiB at most");
	}
	if (json_array_size(list)) {
		*ret = buf_span(&r->text);
		format_note(r->notes, "request bodies put together from their form's fields");
	}
	return rc;
}

/* ret->p stays NULL where the file has none. */
static int request_text(struct har_source *r, struct har_entry *e, struct span *ret)
{
	struct span mime = span_str(""), binary = {NULL, 0};
	struct jnode post;
	int rc = jnode_object(&e->request, "postData", "request.postData.", &post);

	if (rc || !post.json)
		return rc;
	rc = jnode_text(&post, "text", ret);
	if (!rc)
		rc = jnode_text(&post, "mimeType", &mime);
	if (!rc)
		rc = jnode_text(&post, "_base64", &binary);
	if (!rc && binary.p) {
		buf_clear(&r->text);
		rc = add_unbase64(&r->text, binary);
		*ret = buf_span(&r->text);
		return rc ? jnode_failed(&post, rc, "_base64", "base64") : SC_OK;
	}
	if (!rc && !ret->p && span_starts(mime, span_str("application/x-www-form-urlencoded")))
		rc = body_of_params(r, &post, ret);
	return rc;
}

/* A request must be framed by the body that it has (RFC 9112, 6.3). */
static int frame(struct message *m)
{
	int i = message_find(m, "Content-Length", 0);
	char text[24];

	if (message_find(m, "Transfer-Encoding", 0) >= 0 || (i < 0 && m->body_size == 0))
		return SC_OK;
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)m->body_size);
	if (i < 0)
		return message_add_field(m, span_str("Content-Length"), span_str(text));
	if (span_eq(message_value(m, (uint32_t)i), span_str(text)))
		return SC_OK;
	return message_set_value(m, (uint32_t)i, span_str(text));
}

static int64_t content_length(const struct message *m)
{
	int i = message_find(m, "Content-Length", 0);
	struct span s = i < 0 ? span_str("") : message_value(m, (uint32_t)i);
	int64_t v = 0;

	for (size_t k = 0; k < s.len; k++) {
		if (s.p[k] < '0' || s.p[k] > '9' || v > INT64_MAX / 100)
			return 0;
		v = v * 10 + (s.p[k] - '0');
	}
	return v;
}

/* Chrome writes a body that is no text as characters of its bytes' numbers; then there are as many
 * of them as Content-Length says. */
static int as_bytes(struct har_source *r, const struct message *m, struct span *body)
{
	struct buf *out = &r->coded;
	int rc = SC_OK;

	buf_clear(out);
	for (size_t i = 0; i < body->len && !rc; i++) {
		uint8_t c = body->p[i];

		if (c >= 0x80 && ((c & 0xfe) != 0xc2 || ++i == body->len))
			return SC_OK; /* past U+00FF: it is text */
		if (c >= 0x80)
			c = (uint8_t)(c << 6 | (body->p[i] & 0x3f));
		rc = buf_add(out, &c, 1);
	}
	if (!rc && out->len != body->len && (int64_t)out->len == content_length(m))
		*body = buf_span(out);
	return rc;
}

static int request_body(struct har_source *r, struct har_entry *e, struct message *m)
{
	struct span body = {NULL, 0};
	int64_t size = 0, own = 0;
	int rc = request_text(r, e, &body);

	if (!rc && body.len == 0) /* an empty text, too, where Playwright leaves bytes out */
		rc = jnode_integer(&e->request, "bodySize", -1, INT64_MAX, &size);
	if (!rc && e->own.json)
		rc = jnode_integer(&e->own, "request_size", 0, INT64_MAX, &own);
	if (rc)
		return rc;
	if (body.len == 0 && !e->own.json) {
		size = size > 0 ? size : content_length(m);
		if (size)
			format_note(r->notes, "requests whose body is not in the file");
	}
	if (e->own.json)
		size = own;
	else
		rc = as_bytes(r, m, &body);
	if (!rc)
		rc = rebuild_body(m, body, size > 0 ? (uint64_t)size : 0, r->notes);
	if (!rc && body.p && !e->own.json)
		rc = frame(m);
	return rc ? jnode_failed(&e->request, rc, "postData", "a body") : SC_OK;
}

/* The file has it decoded; on the wire it is as its Content-Encoding says. */
static int encode(struct har_source *r, const struct message *m, struct span *body)
{
	struct codings c = {.n = 0};
	int rc;

	if (body->len == 0 || codings_of(m, &c) || c.n == 0)
		return SC_OK;
	buf_clear(&r->coded);
	rc = codings_encode(&c, *body, &r->coded);
	if (rc)
		return rc;
	*body = buf_span(&r->coded);
	format_note(r->notes, "response bodies encoded again, as their Content-Encoding says");
	return SC_OK;
}

static int content_text(struct har_source *r, const struct jnode *n, const struct message *m,
			struct span *ret)
{
	struct span coding = {NULL, 0};
	int rc = jnode_text(n, "text", ret);

	if (!rc)
		rc = jnode_text(n, "encoding", &coding);
	if (rc || !ret->p)
		return rc;
	if (span_case_eq(coding, span_str("base64"))) {
		buf_clear(&r->text);
		rc = add_unbase64(&r->text, *ret);
		*ret = buf_span(&r->text);
		if (rc)
			return jnode_failed(n, rc, "text", "base64");
	}
	rc = json_is_true(json_object_get(n->json, "_encoded")) ? SC_OK : encode(r, m, ret);
	return rc ? jnode_failed(n, rc, "text", "64 MiB at most") : SC_OK;
}

static bool has_no_body(const struct har_entry *e, const struct message *m)
{
	const char *method = json_string_value(json_object_get(e->request.json, "method"));

	return m->status == 204 || m->status == 304 || m->status / 100 == 1 ||
	       (method && strcmp(method, "HEAD") == 0);
}

static int response_body(struct har_source *r, struct har_entry *e, struct exchange *ex)
{
	struct message *m = ex->response;
	struct span body = {NULL, 0};
	struct jnode content;
	int64_t size = 0;
	int rc = jnode_object(&e->response, "content", "response.content.", &content);

	if (!rc && content.json)
		rc = content_text(r, &content, m, &body);
	if (!rc && content.json && !body.p && !has_no_body(e, m))
		rc = jnode_integer(&content, "size", -1, INT64_MAX, &size);
	if (rc)
		return rc;
	if (e->own.json) {
		size = 0;
		if (ex->state == EXCHANGE_TRUNCATED || ex->state == EXCHANGE_GAP || !body.p)
			rc = jnode_integer(&e->own, "response_size", 0, INT64_MAX, &size);
	} else if (size > 0) {
		format_note(r->notes, "responses whose body is not in the file");
	}
	if (!rc)
		rc = rebuild_body(m, body, size > 0 ? (uint64_t)size : 0, r->notes);
	return rc == SC_ENOMEM ? jnode_failed(&content, rc, "text", "") : rc;
}

/* --- entries ------------------------------------------------------------------------------- */

static int read_response(struct har_source *r, struct har_entry *e, struct exchange *ex)
{
	struct parts p = {.headers = r->reader.headers, .reason = span_str("")};
	struct span version = span_str("");
	int64_t status = 0;
	int rc = SC_OK;

	if (e->response.json)
		rc = jnode_integer(&e->response, "status", -1, 999, &status);
	if (rc || status <= 0)
		return rc;
	p.status = (uint16_t)status;
	rc = jnode_text(&e->response, "httpVersion", &version);
	if (!rc)
		rc = jnode_text(&e->response, "statusText", &p.reason);
	if (!rc)
		rc = read_headers(r, e, &e->response, &p.n_headers);
	if (rc)
		return rc;
	p.version = version_of(r, version, false);
	rc = rebuild_head(&p, r->reader.body_max, &ex->response);
	if (rc)
		return jnode_failed(&e->response, rc, "statusText, headers",
				   "those of one response");
	if (!e->own.json)
		ex->state = EXCHANGE_COMPLETE;
	return response_body(r, e, ex);
}

/* Milliseconds, -1 where it does not apply. */
static int add_phase(const struct jnode *n, const char *name, double *sum)
{
	double ms = -1;
	int rc = jnode_real(n, name, -MS_MAX, MS_MAX, &ms);

	if (!rc && ms > 0)
		*sum += ms;
	return rc;
}

static int read_times(struct har_entry *e, struct exchange *ex)
{
	static const char *const before[] = {"blocked", "dns", "connect", "send", "wait"};
	struct span started = {NULL, 0};
	struct jnode timings;
	double ms = 0;
	int rc = jnode_text(&e->top, "startedDateTime", &started);

	if (!rc && (!started.p || read_time_text((const char *)started.p, &ex->ts_us) ||
		    ex->ts_us < 0))
		rc = jnode_bad(&e->top, "startedDateTime",
			      "a time like \"2026-11-22T18:17:13.444Z\"");
	if (!rc)
		rc = jnode_object(&e->top, "timings", "timings.", &timings);
	if (rc || !timings.json || e->own.json || !ex->response)
		return rc;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]) && !rc; i++)
		rc = add_phase(&timings, before[i], &ms);
	ex->ttfb_us = (int64_t)(ms * 1000 + 0.5);
	if (!rc)
		rc = add_phase(&timings, "receive", &ms);
	ex->duration_us = (int64_t)(ms * 1000 + 0.5);
	return rc;
}

/* The file's own number of it; each entry one of its own where there is none. */
static uint64_t connection_of(struct span s, uint64_t n)
{
	uint64_t v = 0;

	if (s.len == 0)
		return n;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || i == 18)
			return hash_bytes(s.p, s.len, 0) >> 1;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	return v;
}

static uint16_t port_of(struct span authority, bool tls)
{
	struct span port = authority;
	unsigned v = 0;

	while (port.len && port.p[port.len - 1] >= '0' && port.p[port.len - 1] <= '9')
		port.len--;
	if (port.len == 0 || port.p[port.len - 1] != ':')
		return tls ? 443 : 80;
	for (size_t i = port.len; i < authority.len && v < 65536; i++)
		v = v * 10 + (authority.p[i] - '0');
	return v < 65536 ? (uint16_t)v : 0;
}

/* Who spoke to whom, as far as a browser says it. */
static int read_ends(struct har_entry *e, struct exchange *ex)
{
	struct span ip = {NULL, 0}, connection = {NULL, 0};
	char text[ADDR_TEXT];
	int rc = jnode_text(&e->top, "serverIPAddress", &ip);

	if (!rc)
		rc = jnode_text(&e->top, "connection", &connection);
	if (rc)
		return rc;
	ex->server.port = port_of(e->authority, strcmp(ex->scheme, "https") == 0);
	ex->connection = connection_of(connection, e->top.n);
	if (ex->connection == ex->server.port) /* which browsers give, and connections share */
		ex->connection = e->top.n;
	ex->position = (uint32_t)(e->top.n - 1);
	if (ip.len > 2 && ip.p[0] == '[' && ip.p[ip.len - 1] == ']')
		ip = span_of(ip.p + 1, ip.len - 2);
	if (ip.len && ip.len < sizeof(text)) {
		memcpy(text, ip.p, ip.len);
		text[ip.len] = '\0';
		(void)addr_parse(text, &ex->server); /* not known is a value, too */
	}
	return SC_OK;
}

/* False: it is of no protocol that we hold. */
static bool read_scheme(struct har_entry *e, struct exchange *ex)
{
	static const struct {
		const char *name, *scheme;
	} rows[] = {{"http", "http"}, {"https", "https"}, {"ws", "http"}, {"wss", "https"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (span_case_eq(e->scheme, span_str(rows[i].name)) && e->authority.len) {
			ex->scheme = rows[i].scheme;
			return true;
		}
	}
	return false;
}

static int read_url(struct har_entry *e)
{
	struct span url = {NULL, 0};
	struct target t;
	int rc = jnode_text(&e->request, "url", &url);

	if (rc)
		return rc;
	if (url.len == 0)
		return jnode_bad(&e->request, "url", "a string");
	target_split(url, &t);
	e->scheme = t.scheme;
	e->authority = t.authority;
	e->path = t.path;
	e->query = t.query;
	return SC_OK;
}

static int open_entry(struct har_source *r, struct har_entry *e)
{
	int rc = jnode_object(&e->top, "request", "request.", &e->request);
	json_t *messages;

	if (!rc && !e->request.json)
		rc = jnode_bad(&e->top, "request", "an object");
	if (!rc)
		rc = jnode_object(&e->top, "response", "response.", &e->response);
	if (!rc)
		rc = jnode_object(&e->top, "_shadow", "_shadow.", &e->own);
	if (!rc)
		rc = read_url(e);
	if (rc)
		return rc;
	messages = json_object_get(e->top.json, "_webSocketMessages");
	format_note_n(r->notes, "WebSocket messages, skipped", json_array_size(messages));
	return SC_OK;
}

/* 1: *ret. 0: skipped. */
static int read_entry(struct har_source *r, struct har_entry *e, struct exchange *ex)
{
	int rc = open_entry(r, e);

	if (!rc && !read_scheme(e, ex)) {
		format_note(r->notes, "entries that are not http or https, skipped");
		return 0;
	}
	if (!rc && json_is_string(json_object_get(e->top.json, "_fromCache"))) {
		format_note(r->notes, "entries that a browser's cache answered, never sent, skipped");
		return 0;
	}
	ex->state = EXCHANGE_NO_RESPONSE;
	if (!rc)
		rc = read_ends(e, ex);
	if (!rc && e->own.json)
		rc = jsonl_read_about(&r->reader, &e->own, ex);
	if (!rc)
		rc = request_head(r, e, &ex->request);
	if (!rc)
		rc = request_body(r, e, ex->request);
	if (!rc)
		rc = read_response(r, e, ex);
	if (!rc)
		rc = read_times(e, ex);
	if (!rc && e->own.json)
		rc = jsonl_read_tails(&r->reader, &e->own, ex);
	if (rc)
		return rc;
	rebuild_finish(ex);
	return 1;
}

/* Half of a surrogate pair, which browsers write where bytes were no text, is no JSON: U+FFFD stands
 * for it. False: there was none. */
static bool mend(struct buf *text)
{
	bool mended = false;

	for (size_t i = 0; i + 6 <= text->len; i++) {
		uint8_t *p = text->data + i;
		bool pair;

		if (*p != '\\')
			continue;
		i++;
		if (p[1] != 'u' || (p[2] | 0x20) != 'd' || !strchr("89abcdef", p[3] | 0x20))
			continue;
		pair = i + 11 <= text->len && strchr("89ab", p[3] | 0x20) && p[6] == '\\' &&
		       p[7] == 'u' && (p[8] | 0x20) == 'd' && strchr("cdef", p[9] | 0x20);
		if (!pair)
			memcpy(p + 2, "fffd", 4);
		mended = mended || !pair;
		i += pair ? 10 : 4;
	}
	return mended;
}

static int load_entry(struct har_source *r, struct jnode *n)
{
	struct err *err = n->err;
	int rc;

	n->err = NULL;
	rc = jnode_load(buf_span(&r->scan.entry), n);
	n->err = err;
	if (!rc)
		return SC_OK;
	if (mend(&r->scan.entry))
		format_note(r->notes, "entries with half a surrogate pair, read as U+FFFD");
	return jnode_load(buf_span(&r->scan.entry), n);
}

static int give_entry(struct har_source *r, struct exchange **ret, struct err *err)
{
	struct har_entry e = {.top = {NULL, infile_name(r->in), "entry", r->scan.n, "", err}};
	struct exchange *ex = NULL;
	int rc = load_entry(r, &e.top);

	if (rc)
		return rc;
	ex = exchange_new();
	rc = ex ? read_entry(r, &e, ex) : err_set(err, SC_ENOMEM, "%s: no memory",
						  infile_name(r->in));
	if (rc == 1)
		*ret = ex; /* moved */
	else
		exchange_free(ex);
	json_decref(e.top.json);
	return rc;
}

/* 1: r->scan.entry is the next one. */
static int next_entry(struct har_source *r, struct err *err)
{
	for (;;) {
		struct span in = {NULL, 0};
		size_t before;
		int rc = infile_peek(r->in, &in, err);

		if (rc < 0)
			return rc;
		before = in.len;
		if (rc == 0)
			rc = har_scan_end(&r->scan);
		else
			rc = har_scan_feed(&r->scan, &in);
		if (rc == SC_EPROTO)
			return err_set(err, SC_EINVAL, "%s: %s", infile_name(r->in), r->scan.wrong);
		if (rc == SC_EFULL)
			return err_set(err, SC_EINVAL, "%s: entry %llu: is longer than %u MiB",
				       infile_name(r->in), (unsigned long long)r->scan.n + 1,
				       LIMIT_FORMAT_RECORD / MIB);
		if (rc < 0)
			return err_set(err, rc, "%s: no memory", infile_name(r->in));
		if (before == 0)
			return 0;
		infile_use(r->in, before - in.len);
		if (rc == 1)
			return 1;
	}
}

static int har_next(struct source *s, struct exchange **ret, struct err *err)
{
	struct har_source *r = (struct har_source *)s;
	int rc = 0;

	while (!r->stopped) {
		rc = next_entry(r, err);
		if (rc == SC_EAGAIN)
			return rc;
		if (rc == 1)
			rc = give_entry(r, ret, err);
		else
			r->stopped = true;
		if (rc)
			break;
	}
	r->stopped = r->stopped || rc < 0;
	return rc;
}

static void har_stop(struct source *s)
{
	((struct har_source *)s)->stopped = true;
}

static void har_free(struct source *s)
{
	struct har_source *r = (struct har_source *)s;

	infile_free(r->in);
	har_scan_done(&r->scan);
	jsonl_reader_done(&r->reader);
	buf_done(&r->text);
	buf_done(&r->coded);
	free(r);
}

static const struct source_ops har_ops = {
	.next = har_next,
	.stop = har_stop,
	.free = har_free,
};

int har_source_new(const struct format_args *args, struct source **ret, struct err *err)
{
	struct har_source *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	r->source.ops = &har_ops;
	r->notes = args->notes;
	har_scan_init(&r->scan);
	jsonl_reader_init(&r->reader, args->body_max, args->notes);
	buf_init(&r->text, LIMIT_FORMAT_RECORD);
	buf_init(&r->coded, LIMIT_FORMAT_RECORD);
	rc = infile_open(args->path, &r->in, err);
	if (rc)
		har_free(&r->source);
	else
		*ret = &r->source; /* moved */
	return rc;
}
