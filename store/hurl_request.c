/* SPDX-License-Identifier: Apache-2.0 */
/* A request as Hurl writes it. A body stands as JSON only where Hurl sends exactly these bytes, and
 * otherwise as Base64. */
#include "hurl.h"

#include <jansson.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"

const char *hurl_refusal(const struct exchange *ex)
{
	const char *refusal = request_refusal(ex);
	struct span method = message_method(ex->request);

	for (size_t i = 0; i < method.len && !refusal; i++) {
		if (method.p[i] < 'A' || method.p[i] > 'Z')
			refusal = "requests whose method is not of capitals, left out";
	}
	if (!refusal && !ex->response)
		refusal = "requests without an answer, left out";
	return refusal;
}

static int add_escape(struct buf *out, uint8_t c)
{
	return buf_addf(out, "\\u{%x}", c);
}

/* Text of a header or a string; `special` are the bytes that mean something there. The second of
 * two braces, too: they are the beginning of a variable. */
static int add_text(struct buf *out, struct span s, const char *special)
{
	bool utf8 = utf8_valid(s);
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && !rc; i++) {
		uint8_t c = s.p[i];
		bool brace = c == '{' && i > 0 && s.p[i - 1] == '{';

		if (c < ' ' || c == 0x7f || brace || (c >= 0x80 && !utf8))
			rc = add_escape(out, c);
		else if (strchr(special, c))
			rc = buf_addf(out, "\\%c", c);
		else
			rc = buf_add(out, &c, 1);
	}
	return rc;
}

int hurl_add_quoted(struct buf *out, struct span s)
{
	int rc = buf_add_str(out, "\"");

	if (!rc)
		rc = add_text(out, s, "\"\\");
	return rc ? rc : buf_add_str(out, "\"");
}

static int add_name(struct buf *out, struct span name)
{
	int rc = SC_OK;

	for (size_t i = 0; i < name.len && !rc; i++) {
		uint8_t c = name.p[i];
		bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			     c == '-' || c == '_' || c == '.';

		rc = plain ? buf_add(out, &c, 1) : add_escape(out, c);
	}
	return rc;
}

static int add_field(struct buf *out, const struct message *m, uint32_t i,
		     struct format_notes *notes)
{
	struct buf scratch;
	struct span value;
	int rc;

	buf_init(&scratch, LIMIT_HEAD_BYTES);
	rc = request_value(m, i, &scratch, &value);
	if (!rc)
		rc = add_name(out, message_name(m, i));
	if (!rc)
		rc = buf_add_str(out, value.len ? ": " : ":");
	if (!rc && !utf8_valid(value))
		format_note(notes, "header values that are not UTF-8, taken as ISO 8859-1");
	if (!rc)
		rc = add_text(out, value, "#\\");
	buf_done(&scratch);
	return rc ? rc : buf_add_str(out, "\n");
}

/* Hurl gives a JSON body a Content-Type of its own where there is none. */
static bool stands_as_json(const struct message *m)
{
	struct span s = buf_span(&m->body);
	json_t *json;

	if (s.len < 2 || !request_has(m, "Content-Type") || memmem(s.p, s.len, "{{", 2))
		return false;
	if ((s.p[0] != '{' || s.p[s.len - 1] != '}') && (s.p[0] != '[' || s.p[s.len - 1] != ']'))
		return false;
	json = json_loadb((const char *)s.p, s.len, 0, NULL);
	json_decref(json);
	return json != NULL;
}

static int add_body(struct buf *out, const struct message *m)
{
	int rc;

	if (stands_as_json(m)) {
		rc = buf_add_span(out, buf_span(&m->body));
		return rc ? rc : buf_add_str(out, "\n");
	}
	rc = buf_add_str(out, "base64,");
	if (!rc)
		rc = add_base64(out, buf_span(&m->body));
	return rc ? rc : buf_add_str(out, ";\n");
}

static int add_fields(struct buf *out, const struct message *m, struct format_notes *notes)
{
	int rc = SC_OK;

	for (uint32_t i = 0; i < m->n_fields && !rc; i++) {
		if (request_field_implied(m, i) && !request_other_host(m, i))
			continue;
		if (request_field_plain(m, i))
			rc = add_field(out, m, i, notes);
		else
			format_note(notes, "header fields that are no name and value, left out");
	}
	return rc;
}

int hurl_add_request(const struct exchange *ex, struct format_notes *notes, struct buf *out)
{
	const struct message *m = ex->request;
	bool changed = false;
	int rc = buf_add_span(out, message_method(m));

	if (!rc)
		rc = buf_add_str(out, " ");
	if (!rc)
		rc = request_url(ex, out, &changed);
	if (!rc && changed)
		format_note(notes, "targets with bytes no URL has, percent-encoded");
	if (!rc && m->n_trailer_fields)
		format_note(notes, "trailers of requests, left out");
	if (!rc)
		rc = buf_add_str(out, "\n");
	if (!rc)
		rc = add_fields(out, m, notes);
	return rc || !m->body.len ? rc : add_body(out, m);
}
