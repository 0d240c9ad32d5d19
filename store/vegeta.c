/* SPDX-License-Identifier: Apache-2.0 */
/* Targets of vegeta attack -format=json: one object a line, each line with its end. Says no key
 * that vegeta does not know; responses and times have no place in it. */
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"
#include "format_private.h"
#include "render.h"
#include "request.h"

static bool is_said(const struct message *m, uint32_t i)
{
	return !request_field_implied(m, i) && request_field_plain(m, i);
}

/* Whether the same name, byte for byte, stood before field i: its values are one list. */
static bool named_before(const struct message *m, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++) {
		if (is_said(m, k) && span_eq(message_name(m, k), message_name(m, i)))
			return true;
	}
	return false;
}

static int add_value(struct buf *out, const struct message *m, uint32_t i,
		     struct format_notes *notes)
{
	struct buf scratch;
	struct span value;
	int rc;

	buf_init(&scratch, LIMIT_HEAD_BYTES);
	rc = request_value(m, i, &scratch, &value);
	if (!rc && !utf8_valid(value))
		format_note(notes, "header values that are not UTF-8, taken as ISO 8859-1");
	if (!rc)
		rc = json_add_string(out, value);
	buf_done(&scratch);
	return rc;
}

/* "Name": ["value", ...] of all fields with the name of field i. */
static int add_values(struct buf *out, const struct message *m, uint32_t i,
		      struct format_notes *notes)
{
	const char *before = ": [";
	int rc = json_add_string(out, message_name(m, i));

	for (uint32_t k = i; k < m->n_fields && !rc; k++) {
		if (!span_eq(message_name(m, k), message_name(m, i)) || !is_said(m, k))
			continue;
		rc = buf_add_str(out, before);
		before = ", ";
		if (!rc)
			rc = add_value(out, m, k, notes);
	}
	return rc ? rc : buf_add_str(out, "]");
}

static int add_host(struct buf *out, const struct message *m, bool *said)
{
	int i = message_find(m, "Host", 0);
	int rc;

	/* An absolute target: the URL names another host than the field does. */
	if (i < 0 || span_eq(message_host(m), message_value(m, (uint32_t)i)) ||
	    !request_field_plain(m, (uint32_t)i))
		return SC_OK;
	rc = buf_add_str(out, "\"Host\": [");
	if (!rc)
		rc = json_add_string(out, message_value(m, (uint32_t)i));
	*said = true;
	return rc ? rc : buf_add_str(out, "]");
}

static int add_header(struct buf *out, const struct message *m, struct format_notes *notes)
{
	bool said = false;
	int rc = buf_add_str(out, ", \"header\": {");

	if (!rc)
		rc = add_host(out, m, &said);
	for (uint32_t i = 0; i < m->n_fields && !rc; i++) {
		if (!request_field_implied(m, i) && !request_field_plain(m, i))
			format_note(notes, "header fields that are no name and value, left out");
		if (!is_said(m, i) || named_before(m, i))
			continue;
		rc = said ? buf_add_str(out, ", ") : SC_OK;
		if (!rc)
			rc = add_values(out, m, i, notes);
		said = true;
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int add_url(struct buf *out, const struct exchange *ex, struct format_notes *notes)
{
	struct buf url;
	bool changed;
	int rc;

	buf_init(&url, 4 * LIMIT_HEAD_BYTES);
	rc = request_url(ex, &url, &changed);
	if (!rc && changed)
		format_note(notes, "targets with bytes no URL has, percent-encoded");
	if (!rc)
		rc = json_add_string(out, buf_span(&url));
	buf_done(&url);
	return rc;
}

static int render_target(const struct exchange *ex, struct render *r, struct buf *out)
{
	const struct message *m = ex->request;
	const char *refusal = request_refusal(ex);
	int rc;

	if (refusal) {
		format_note(r->notes, refusal);
		return SC_OK;
	}
	rc = buf_add_str(out, "{\"method\": ");
	if (!rc)
		rc = json_add_string(out, message_method(m));
	if (!rc)
		rc = buf_add_str(out, ", \"url\": ");
	if (!rc)
		rc = add_url(out, ex, r->notes);
	if (!rc)
		rc = add_header(out, m, r->notes);
	if (!rc && m->body.len) {
		rc = buf_add_str(out, ", \"body\": \"");
		if (!rc)
			rc = add_base64(out, buf_span(&m->body));
		if (!rc)
			rc = buf_add_str(out, "\"");
	}
	return rc ? rc : buf_add_str(out, "}\n");
}

int vegeta_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	return render_sink_new(args, NULL, render_target, ret, err);
}
