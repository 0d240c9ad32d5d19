/* SPDX-License-Identifier: Apache-2.0 */
/* CSV (RFC 4180), out only: the columns of the store, headers as JSON text, bytes in base64. A field
 * that is empty without quotes is NULL. Holds one row. */
#include <stdlib.h>

#include "columns.h"
#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"
#include "format_private.h"

struct csv_sink {
	struct sink sink; /* first */
	struct output *out;
	struct format_notes *notes; /* borrowed */
	struct buf row, scratch;
	uint64_t kept;
};

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

static int add_row(struct csv_sink *w, const struct exchange *ex)
{
	int rc = SC_OK;

	buf_clear(&w->row);
	for (unsigned i = 0; i < n_columns && !rc; i++) {
		struct cell c = {.kind = COLUMN_NULL};

		buf_clear(&w->scratch);
		rc = columns[i].get(ex, &w->scratch, &c);
		if (!rc && i)
			rc = add_byte(&w->row, ',');
		if (!rc)
			rc = add_cell(&w->row, &c);
	}
	return rc ? rc : buf_add_str(&w->row, "\r\n");
}

static int csv_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct csv_sink *w = (struct csv_sink *)s;
	int rc = add_row(w, ex);

	if (rc == SC_EFULL) {
		format_note(w->notes, "exchanges whose row would be longer than 64 MiB, left out");
		return SC_OK;
	}
	if (rc)
		return err_set(err, rc, "%s: no memory", output_name(w->out));
	rc = output_add(w->out, buf_span(&w->row), err);
	w->kept += rc == SC_OK;
	return rc;
}

static int csv_finish(struct sink *s, int64_t now_us, struct err *err)
{
	(void)now_us;
	return output_finish(((struct csv_sink *)s)->out, err);
}

static uint64_t csv_kept(const struct sink *s)
{
	return ((const struct csv_sink *)s)->kept;
}

static void csv_free(struct sink *s)
{
	struct csv_sink *w = (struct csv_sink *)s;

	output_free(w->out);
	buf_done(&w->row);
	buf_done(&w->scratch);
	free(w);
}

static const struct sink_ops csv_ops = {
	.put = csv_put,
	.finish = csv_finish,
	.kept = csv_kept,
	.free = csv_free,
};

static int put_names(struct csv_sink *w, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < n_columns && !rc; i++) {
		rc = output_str(w->out, i ? "," : "", err);
		if (!rc)
			rc = output_str(w->out, columns[i].name, err);
	}
	return rc ? rc : output_str(w->out, "\r\n", err);
}

int csv_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	struct csv_sink *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	w->sink.ops = &csv_ops;
	w->notes = args->notes;
	buf_init(&w->row, LIMIT_FORMAT_RECORD);
	buf_init(&w->scratch, LIMIT_FORMAT_RECORD);
	rc = output_open(args->path, &w->out, err);
	if (!rc)
		rc = put_names(w, err);
	if (rc)
		csv_free(&w->sink);
	else
		*ret = &w->sink; /* moved */
	return rc;
}
