/* SPDX-License-Identifier: Apache-2.0 */
/* HAR 1.2, out. What HAR has no place for stands in the one member _shadow of an entry, under the
 * store's names, so that our own import gives the same exchange again. Holds one entry. */
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "columns.h"
#include "core/coding.h"
#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"
#include "format_private.h"
#include "request.h"

struct har_sink {
	struct sink sink; /* first */
	struct output *out;
	struct format_notes *notes; /* borrowed */
	struct buf text;            /* the entry */
	struct buf scratch, decoded;
	uint64_t kept;
};

/* The first failure of many appends; the rest is skipped. */
struct pen {
	struct buf *out;
	int rc;
};

static void put_str(struct pen *p, const char *s)
{
	if (!p->rc)
		p->rc = buf_add_str(p->out, s);
}

static void put_string(struct pen *p, struct span s)
{
	if (!p->rc)
		p->rc = json_add_string(p->out, s);
}

static void put_integer(struct pen *p, int64_t v)
{
	if (!p->rc)
		p->rc = add_integer(p->out, v);
}

static void put_bytes(struct pen *p, struct span s)
{
	put_str(p, "\"");
	if (!p->rc)
		p->rc = add_base64(p->out, s);
	put_str(p, "\"");
}

static void put_ms(struct pen *p, int64_t us)
{
	if (!p->rc)
		p->rc = buf_addf(p->out, "%lld.%03lld", (long long)(us / 1000),
				 (long long)(us % 1000));
}

static void put_pair(struct pen *p, bool first, struct span name, struct span value)
{
	put_str(p, first ? "{\"name\":" : ",{\"name\":");
	put_string(p, name);
	put_str(p, ",\"value\":");
	put_string(p, value);
}

static struct span field_value(const struct message *m, const char *name, const char *otherwise)
{
	int i = message_find(m, name, 0);

	return i < 0 ? span_str(otherwise) : message_value(m, (uint32_t)i);
}

static void put_headers(struct pen *p, const struct message *m)
{
	put_str(p, ",\"headers\":[");
	for (uint32_t i = 0; i < m->n_fields; i++) {
		put_pair(p, i == 0, message_name(m, i), message_value(m, i));
		put_str(p, "}");
	}
	put_str(p, "],\"headersSize\":");
	put_integer(p, m->head_len);
	put_str(p, ",\"bodySize\":");
	put_integer(p, (int64_t)m->body_size);
}

static struct span trim(struct span s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t'))
		s = span_of(s.p + 1, s.len - 1);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* What stands before the next separator, which is used up, too. */
static struct span next_part(struct span *s, int separator)
{
	const uint8_t *at = s->len ? memchr(s->p, separator, s->len) : NULL;
	struct span part = span_of(s->p, at ? (size_t)(at - s->p) : s->len);

	*s = at ? span_of(at + 1, s->len - part.len - 1) : span_of(s->p + s->len, 0);
	return part;
}

/* --- cookies and query --------------------------------------------------------------------- */

static void put_request_cookies(struct pen *p, const struct message *m)
{
	bool first = true;

	put_str(p, ",\"cookies\":[");
	for (int i = message_find(m, "Cookie", 0); i >= 0;
	     i = message_find(m, "Cookie", (uint32_t)i + 1)) {
		struct span rest = message_value(m, (uint32_t)i);

		while (rest.len) {
			struct span value = trim(next_part(&rest, ';'));
			struct span name = next_part(&value, '=');

			if (name.len == 0)
				continue;
			put_pair(p, first, trim(name), trim(value));
			put_str(p, "}");
			first = false;
		}
	}
	put_str(p, "]");
}

/* An HTTP date (RFC 9110, 5.6.7) as HAR wants it; left out when it is none. */
static void put_expires(struct pen *p, struct span value)
{
	char text[40];
	struct tm tm;

	if (value.len >= sizeof(text))
		return;
	memcpy(text, value.p, value.len);
	text[value.len] = '\0';
	memset(&tm, 0, sizeof(tm));
	if (!strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) &&
	    !strptime(text, "%a, %d-%b-%Y %H:%M:%S GMT", &tm))
		return;
	put_str(p, ",\"expires\":\"");
	if (!p->rc)
		p->rc = add_time(p->out, (int64_t)timegm(&tm) * 1000000);
	put_str(p, "\"");
}

static void put_attribute(struct pen *p, struct span attribute)
{
	static const struct {
		const char *name, *member;
		bool flag;
	} rows[] = {
		{"Path", ",\"path\":", false},
		{"Domain", ",\"domain\":", false},
		{"HttpOnly", ",\"httpOnly\":true", true},
		{"Secure", ",\"secure\":true", true},
	};
	struct span value = attribute;
	struct span name = trim(next_part(&value, '='));

	if (span_case_eq(name, span_str("Expires")))
		put_expires(p, trim(value));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!span_case_eq(name, span_str(rows[i].name)))
			continue;
		put_str(p, rows[i].member);
		if (!rows[i].flag)
			put_string(p, trim(value));
	}
}

static void put_response_cookies(struct pen *p, const struct message *m)
{
	bool first = true;

	put_str(p, ",\"cookies\":[");
	for (int i = message_find(m, "Set-Cookie", 0); i >= 0;
	     i = message_find(m, "Set-Cookie", (uint32_t)i + 1)) {
		struct span rest = message_value(m, (uint32_t)i);
		struct span value = next_part(&rest, ';');
		struct span name = next_part(&value, '=');

		put_pair(p, first, trim(name), trim(value));
		for (unsigned n = 0; rest.len && n < LIMIT_COOKIE_PARTS; n++)
			put_attribute(p, trim(next_part(&rest, ';')));
		put_str(p, "}");
		first = false;
	}
	put_str(p, "]");
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Of a form's name or value; what is no escape stays. */
static int unescape(struct buf *out, struct span s)
{
	int rc = buf_reserve(out, s.len);

	for (size_t i = 0; i < s.len && !rc; i++) {
		uint8_t c = s.p[i] == '+' ? ' ' : s.p[i];

		if (c == '%' && s.len - i > 2 && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			c = (uint8_t)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
		}
		rc = buf_add(out, &c, 1);
	}
	return rc;
}

static void put_query(struct har_sink *w, struct pen *p, struct span rest)
{
	bool first = true;

	put_str(p, ",\"queryString\":[");
	while (rest.len && !p->rc) {
		struct span value = next_part(&rest, '&');
		struct span name = next_part(&value, '=');
		size_t n;

		if (name.len == 0 && value.len == 0)
			continue;
		buf_clear(&w->scratch);
		p->rc = unescape(&w->scratch, name);
		n = w->scratch.len;
		if (!p->rc)
			p->rc = unescape(&w->scratch, value);
		put_pair(p, first, span_of(w->scratch.data, n),
			 span_of(w->scratch.data + n, w->scratch.len - n));
		put_str(p, "}");
		first = false;
	}
	put_str(p, "]");
}

/* --- messages ------------------------------------------------------------------------------ */

static void put_version(struct pen *p, const struct message *m)
{
	if (!p->rc)
		p->rc = buf_addf(p->out, ",\"httpVersion\":\"HTTP/%u.%u\"", m->major, m->minor);
}

/* The bytes that no URL has (RFC 3986, 2), and the backslash that readers take for a slash. A percent
 * sign stands even where it escapes nothing: readers send it as it is. */
static bool stands_in_url(uint8_t c)
{
	return c > ' ' && c < 0x7f && !memchr("\"#<>\\^`{|}", c, 10);
}

static int add_url_part(struct buf *out, struct span s)
{
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && !rc; i++)
		rc = stands_in_url(s.p[i]) ? buf_add(out, s.p + i, 1)
					   : buf_addf(out, "%%%02X", s.p[i]);
	return rc;
}

/* Where the request names no host that a URL can have, the address it went to. */
static int add_authority(struct buf *out, const struct exchange *ex)
{
	char text[REQUEST_AUTHORITY], address[ADDR_TEXT];
	struct span host;

	if (!request_authority(ex, text, &host))
		return buf_add_span(out, host);
	if (!addr_text(&ex->server, address))
		return buf_add_str(out, "unknown.invalid");
	return buf_addf(out, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, ex->server.port);
}

/* Absolute. */
static int add_url(struct buf *out, const struct exchange *ex)
{
	struct target t;
	int rc = buf_addf(out, "%s://", ex->scheme);

	target_split(message_target(ex->request), &t);
	if (!rc)
		rc = add_authority(out, ex);
	if (!rc && (t.path.len == 0 || t.path.p[0] != '/'))
		rc = buf_add_str(out, "/");
	if (!rc)
		rc = add_url_part(out, t.path);
	if (!rc && t.query.p)
		rc = buf_add_str(out, "?");
	return rc ? rc : add_url_part(out, t.query);
}

static void put_url(struct har_sink *w, struct pen *p, const struct exchange *ex)
{
	buf_clear(&w->scratch);
	p->rc = p->rc ? p->rc : add_url(&w->scratch, ex);
	put_string(p, buf_span(&w->scratch));
}

static void put_post_data(struct har_sink *w, struct pen *p, const struct message *m)
{
	struct span body = buf_span(&m->body);

	if (body.len == 0)
		return;
	put_str(p, ",\"postData\":{\"mimeType\":");
	put_string(p, field_value(m, "Content-Type", ""));
	put_str(p, ",\"text\":");
	if (utf8_valid(body)) {
		put_string(p, body);
	} else {
		put_str(p, "\"\",\"_base64\":");
		put_bytes(p, body);
		format_note(w->notes, "request bodies that are not UTF-8: in _base64, which only "
			    "this program reads");
	}
	put_str(p, "}");
}

static void put_request(struct har_sink *w, struct pen *p, const struct exchange *ex)
{
	const struct message *m = ex->request;
	struct target t;

	target_split(message_target(m), &t);
	put_str(p, ",\"request\":{\"method\":");
	put_string(p, message_method(m));
	put_str(p, ",\"url\":");
	put_url(w, p, ex);
	put_version(p, m);
	put_request_cookies(p, m);
	put_query(w, p, t.query);
	put_headers(p, m);
	put_post_data(w, p, m);
	put_str(p, "}");
}

/* Without its content codings; as it is, and said to be so, when they cannot be taken off. */
static bool decode(struct har_sink *w, const struct message *m, struct span *ret)
{
	struct codings c = {.n = 0};

	*ret = buf_span(&m->body);
	if (m->body.len == 0 || (codings_of(m, &c) == SC_OK && c.n == 0))
		return true;
	buf_clear(&w->decoded);
	if (c.n == 0 || codings_decode(&c, *ret, m->body.len < m->body_size, &w->decoded)) {
		format_note(w->notes, "response bodies whose content coding could not be taken "
			    "off, held as they are");
		return false;
	}
	*ret = buf_span(&w->decoded);
	return true;
}

static void put_content(struct har_sink *w, struct pen *p, const struct message *m)
{
	struct span body;
	bool decoded = decode(w, m, &body);

	put_str(p, ",\"content\":{\"size\":");
	put_integer(p, m->body.len < m->body_size && m->body.len == 0 ? (int64_t)m->body_size
								      : (int64_t)body.len);
	put_str(p, ",\"mimeType\":");
	put_string(p, field_value(m, "Content-Type", "x-unknown"));
	if (m->body.len && utf8_valid(body)) {
		put_str(p, ",\"text\":");
		put_string(p, body);
	} else if (m->body.len) {
		put_str(p, ",\"encoding\":\"base64\",\"text\":");
		put_bytes(p, body);
	}
	put_str(p, decoded ? "}" : ",\"_encoded\":true}");
}

static void put_response(struct har_sink *w, struct pen *p, const struct message *m)
{
	if (!m) {
		put_str(p, ",\"response\":{\"status\":0,\"statusText\":\"\",\"httpVersion\":\"\","
			"\"cookies\":[],\"headers\":[],\"content\":{\"size\":0,\"mimeType\":"
			"\"x-unknown\"},\"redirectURL\":\"\",\"headersSize\":-1,\"bodySize\":-1}");
		return;
	}
	put_str(p, ",\"response\":{\"status\":");
	put_integer(p, m->status);
	put_str(p, ",\"statusText\":");
	put_string(p, message_span(m, m->reason));
	put_version(p, m);
	put_response_cookies(p, m);
	put_headers(p, m);
	put_content(w, p, m);
	put_str(p, ",\"redirectURL\":");
	put_string(p, field_value(m, "Location", ""));
	put_str(p, "}");
}

/* --- entries ------------------------------------------------------------------------------- */

/* A URL cannot say it. */
static bool odd_target(const struct exchange *ex)
{
	struct span t = message_target(ex->request);

	for (size_t i = 0; i < t.len; i++) {
		if (!stands_in_url(t.p[i]))
			return true;
	}
	return t.len == 0 || t.p[0] != '/' || message_find(ex->request, "Host", 0) < 0;
}

static void put_cell(struct pen *p, const struct cell *c)
{
	switch (c->kind) {
	case COLUMN_INTEGER:
		put_integer(p, c->integer);
		break;
	case COLUMN_REAL:
		if (!p->rc)
			p->rc = add_real(p->out, c->real);
		break;
	case COLUMN_TEXT:
		put_string(p, c->text);
		break;
	case COLUMN_JSON:
		if (!p->rc)
			p->rc = buf_add_span(p->out, c->text);
		break;
	case COLUMN_BYTES:
		put_bytes(p, c->text);
		break;
	case COLUMN_NULL:
		break;
	}
}

/* The columns that HAR has no place for. */
static bool is_own(const char *name, bool odd)
{
	static const char *const own[] = {
		"connection", "position", "client", "client_port", "server", "server_port",
		"request_size", "response_size", "ttfb_us", "duration_us", "route", "state",
		"request_raw", "request_trailers", "response_trailers", "sample",
		"request_chunks",
	};

	if (odd && (strcmp(name, "path") == 0 || strcmp(name, "query") == 0))
		return true;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (strcmp(own[i], name) == 0)
			return true;
	}
	return false;
}

static void put_own(struct har_sink *w, struct pen *p, const struct exchange *ex)
{
	bool odd = odd_target(ex), first = true;

	put_str(p, ",\"_shadow\":{");
	for (unsigned i = 0; i < n_columns && !p->rc; i++) {
		struct cell c = {.kind = COLUMN_NULL};

		if (!is_own(columns[i].name, odd))
			continue;
		buf_clear(&w->scratch);
		p->rc = columns[i].get(ex, &w->scratch, &c);
		if (c.kind == COLUMN_NULL)
			continue;
		put_str(p, first ? "\"" : ",\"");
		put_str(p, columns[i].name);
		put_str(p, "\":");
		put_cell(p, &c);
		first = false;
	}
	put_str(p, "}}");
}

static void put_times(struct pen *p, const struct exchange *ex)
{
	int64_t wait = ex->ttfb_us < 0 ? 0 : ex->ttfb_us;
	int64_t receive = ex->duration_us > wait ? ex->duration_us - wait : 0;

	put_str(p, ",\"cache\":{},\"timings\":{\"send\":0,\"wait\":");
	put_ms(p, wait);
	put_str(p, ",\"receive\":");
	put_ms(p, receive);
	put_str(p, "},\"time\":");
	put_ms(p, wait + receive);
}

static int add_entry(struct har_sink *w, const struct exchange *ex)
{
	struct pen p = {&w->text, SC_OK};
	char address[ADDR_TEXT];

	buf_clear(&w->text);
	put_str(&p, w->kept ? ",\n{\"startedDateTime\":\"" : "\n{\"startedDateTime\":\"");
	if (!p.rc)
		p.rc = add_time(p.out, ex->ts_us);
	put_str(&p, "\"");
	if (addr_text(&ex->server, address)) {
		put_str(&p, ",\"serverIPAddress\":");
		put_string(&p, span_str(address));
	}
	if (!p.rc)
		p.rc = buf_addf(p.out, ",\"connection\":\"%llu\"",
				(unsigned long long)ex->connection);
	put_request(w, &p, ex);
	put_response(w, &p, ex->response);
	put_times(&p, ex);
	put_own(w, &p, ex);
	return p.rc;
}

static int har_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct har_sink *w = (struct har_sink *)s;
	int rc = add_entry(w, ex);

	if (rc == SC_EFULL) {
		format_note(w->notes, "exchanges whose entry would be longer than 64 MiB, left out");
		return SC_OK;
	}
	if (rc)
		return err_set(err, rc, "%s: no memory", output_name(w->out));
	rc = output_add(w->out, buf_span(&w->text), err);
	w->kept += rc == SC_OK;
	return rc;
}

static int har_finish(struct sink *s, int64_t now_us, struct err *err)
{
	struct har_sink *w = (struct har_sink *)s;
	int rc = output_str(w->out, "\n]}}\n", err);

	(void)now_us;
	return rc ? rc : output_finish(w->out, err);
}

static uint64_t har_kept(const struct sink *s)
{
	return ((const struct har_sink *)s)->kept;
}

static void har_free(struct sink *s)
{
	struct har_sink *w = (struct har_sink *)s;

	output_free(w->out);
	buf_done(&w->text);
	buf_done(&w->scratch);
	buf_done(&w->decoded);
	free(w);
}

static const struct sink_ops har_ops = {
	.put = har_put,
	.finish = har_finish,
	.kept = har_kept,
	.free = har_free,
};

int har_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	struct har_sink *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	w->sink.ops = &har_ops;
	w->notes = args->notes;
	buf_init(&w->text, LIMIT_FORMAT_RECORD);
	buf_init(&w->scratch, LIMIT_FORMAT_RECORD);
	buf_init(&w->decoded, LIMIT_DECODED_BYTES);
	rc = output_open(args->path, &w->out, err);
	if (!rc)
		rc = output_str(w->out, "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":"
				"\"shadow-ctl\",\"version\":\"" SHADOW_VERSION "\"},"
				"\"entries\":[", err);
	if (rc)
		har_free(&w->sink);
	else
		*ret = &w->sink; /* moved */
	return rc;
}
