/* SPDX-License-Identifier: Apache-2.0 */
/* CSV (RFC 4180), out only: the columns of the store, headers as JSON text, bytes in base64. A field
 * that is empty without quotes is NULL. Holds one row. */
#include "columns.h"
#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"
#include "format_private.h"
#include "render.h"

static int add_byte(struct buf *out, uint8_t c)
{
	return buf_add(out, &c, 1);
}

/* Bytes that are not UTF-8 are taken as ISO 8859-1, as in JSON. */
static int add_quoted(struct buf *out, struct span s)
{
	bool utf8 = utf8_valid(s);
	int rc = add_byte(out, '"');
	size_t from = 0;

	for (size_t i = 0; i < s.len && !rc; i++) {
		uint8_t c = s.p[i];

		if (c != '"' && (utf8 || c < 0x80))
			continue;
		rc = buf_add(out, s.p + from, i - from);
		if (!rc)
			rc = add_byte(out, c == '"' ? c : (uint8_t)(0xc0 | c >> 6));
		if (!rc)
			rc = add_byte(out, c == '"' ? c : (uint8_t)(0x80 | (c & 0x3f)));
		from = i + 1;
	}
	if (!rc && from < s.len)
		rc = buf_add(out, s.p + from, s.len - from);
	return rc ? rc : add_byte(out, '"');
}

static int add_cell(struct buf *out, const struct cell *c)
{
	switch (c->kind) {
	case COLUMN_INTEGER:
		return add_integer(out, c->integer);
	case COLUMN_REAL:
		return add_real(out, c->real);
	case COLUMN_TEXT:
	case COLUMN_JSON:
		return add_quoted(out, c->text);
	case COLUMN_BYTES:
		return add_base64(out, c->text);
	case COLUMN_NULL:
		break;
	}
	return SC_OK;
}

static int render_row(const struct exchange *ex, struct render *r, struct buf *out)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < n_columns && !rc; i++) {
		struct cell c = {.kind = COLUMN_NULL};

		buf_clear(&r->scratch);
		rc = columns[i].get(ex, &r->scratch, &c);
		if (!rc && i)
			rc = add_byte(out, ',');
		if (!rc)
			rc = add_cell(out, &c);
	}
	return rc ? rc : buf_add_str(out, "\r\n");
}

static int add_names(struct buf *out)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < n_columns && !rc; i++)
		rc = buf_addf(out, "%s%s", i ? "," : "", columns[i].name);
	return rc ? rc : buf_add(out, "\r\n", sizeof("\r\n")); /* and a NUL */
}

int csv_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	struct buf names;
	int rc;

	buf_init(&names, LIMIT_FORMAT_RECORD);
	if (add_names(&names))
		rc = err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	else
		rc = render_sink_new(args, (const char *)names.data, render_row, ret, err);
	buf_done(&names);
	return rc;
}
