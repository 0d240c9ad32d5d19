/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as a text table, CSV, JSON or JSON Lines. What is in the cells is a stranger's: a text table shows
 * control characters escaped and never lets them reach the terminal.
 *
 * A text table holds its rows until the widths are known, up to LIMIT_TABLE_BYTES; what comes after is
 * printed as it comes, with the widths so far. */
#include "table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/json.h"
#include "core/limits.h"

#define CELL_BYTES                                                                                 \
	(8ull * 1024 * MIB) /* SQLite's ceiling of a value, 1 GB, with every byte escaped */
/* What a column keeps when the terminal is narrow: of text as long as that is enough, and then; of
 * the name of numbers. */
#define TEXT_ENOUGH 24u
#define TEXT_LEAST 12u
#define NAME_LEAST 4u
#define GAP 2u

struct cell {
	size_t off, len; /* of its shown text in `held` */
	size_t width;
};

struct column {
	char *name;
	size_t width;
	size_t cells; /* width of the widest value */
	bool numbers, texts; /* it has such cells; NULLs are neither */
};

struct table {
	FILE *out;
	enum table_format format;
	int n;
	struct column *columns;
	int at;              /* the next cell's column */
	bool begun;          /* the head is printed */
	size_t terminal;     /* its width; 0: none, nothing is cut */
	int shown;           /* columns that a line has room for */
	struct buf held;     /* shown text of the cells held */
	struct buf cells;    /* array of struct cell, whole rows and the one under way */
	struct buf scratch;
};

static const char hex[] = "0123456789abcdef";

/* One UTF-8 character at s (0: none), and whether a terminal may see it. Bidi controls turn a line
 * around; C1 controls are control characters in two bytes. */
static size_t shown_char(struct span s, bool *ret_safe)
{
	size_t n = s.p[0] < 0x80 ? 1 : s.p[0] < 0xe0 ? 2 : s.p[0] < 0xf0 ? 3 : 4;

	if (n > s.len || !utf8_valid(span_of(s.p, n)))
		return 0;
	*ret_safe = true;
	if (n == 1)
		*ret_safe = s.p[0] >= 0x20 && s.p[0] != 0x7f;
	else if (s.p[0] == 0xc2)
		*ret_safe = s.p[1] >= 0xa0;
	else if (s.p[0] == 0xe2 && s.p[1] == 0x80)
		*ret_safe =
			!((s.p[2] >= 0x8e && s.p[2] <= 0x8f) || (s.p[2] >= 0xa8 && s.p[2] <= 0xae));
	else if (s.p[0] == 0xe2 && s.p[1] == 0x81)
		*ret_safe = !(s.p[2] >= 0xa6 && s.p[2] <= 0xa9);
	return n;
}

static int add_escaped(struct buf *out, uint8_t c)
{
	static const char letters[] = {['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
	char text[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};

	if (c < sizeof(letters) && letters[c]) {
		text[1] = letters[c];
		return buf_add(out, text, 2);
	}
	return buf_add(out, text, 4);
}

int table_shown(struct buf *out, struct span text)
{
	struct span s = text;
	int rc = SC_OK;

	while (s.len && !rc) {
		bool safe = false;
		size_t n = shown_char(s, &safe);

		if (safe) {
			rc = buf_add(out, s.p, n);
		} else {
			n = n ? n : 1;
			for (size_t i = 0; i < n && !rc; i++)
				rc = add_escaped(out, s.p[i]);
		}
		s = span_of(s.p + n, s.len - n);
	}
	return rc;
}

/* Code points; the text is valid UTF-8. */
static size_t width_of(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += (s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Bytes of the first n code points. */
static size_t cut_to(struct span s, size_t n)
{
	size_t i = 0;

	for (; i < s.len; i++) {
		if ((s.p[i] & 0xc0) != 0x80 && n-- == 0)
			break;
	}
	return i;
}

static void pad(FILE *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)putc(' ', out);
}

static size_t terminal_width(FILE *out)
{
	struct winsize size;
	int fd = fileno(out);

	if (fd < 0 || !isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
		return 0;
	return size.ws_col;
}

static bool is_numeric(const struct column *c)
{
	return c->numbers && !c->texts;
}

static void print_text(const struct table *t, int i, struct span s, size_t width)
{
	const struct column *c = &t->columns[i];
	bool cut = t->terminal && width > c->width;
	size_t space = width < c->width ? c->width - width : 0;

	if (i)
		pad(t->out, GAP);
	if (is_numeric(c))
		pad(t->out, space);
	if (cut)
		s.len = cut_to(s, c->width ? c->width - 1 : 0);
	if (s.len)
		(void)fwrite(s.p, 1, s.len, t->out);
	if (cut)
		(void)fputs("\xe2\x80\xa6", t->out); /* an ellipsis */
	if (i == t->shown - 1)
		(void)putc('\n', t->out);
	else if (!is_numeric(c))
		pad(t->out, space);
}

static size_t least_width(const struct column *c)
{
	size_t least = TEXT_LEAST;

	if (is_numeric(c)) /* a number that is cut is another number */
		least = c->cells > NAME_LEAST ? c->cells : NAME_LEAST;
	return c->width < least ? c->width : least;
}

/* As many of the first columns as have room when each has its least. */
static void choose_shown(struct table *t)
{
	size_t total = least_width(&t->columns[0]);
	int n = 1;

	while (n < t->n && total + GAP + least_width(&t->columns[n]) <= t->terminal)
		total += GAP + least_width(&t->columns[n++]);
	t->shown = n;
}

/* Who gives one place: the longest text while there is enough of it, then the name of numbers, then
 * any text. NULL: nobody can. */
static struct column *who_gives(struct table *t)
{
	struct column *best = NULL;
	int best_rank = 0;

	for (int i = 0; i < t->shown; i++) {
		struct column *c = &t->columns[i];
		int rank = is_numeric(c) ? 2 : c->width > TEXT_ENOUGH ? 3 : 1;

		if (c->width <= least_width(c) || rank < best_rank)
			continue;
		if (rank > best_rank || c->width >= best->width) {
			best = c;
			best_rank = rank;
		}
	}
	return best;
}

static void fit(struct table *t)
{
	struct column *giver;
	size_t total;

	for (int i = 0; i < t->n; i++) {
		if (t->columns[i].width > t->terminal && !is_numeric(&t->columns[i]))
			t->columns[i].width = t->terminal;
	}
	choose_shown(t);
	total = GAP * (size_t)(t->shown - 1);
	for (int i = 0; i < t->shown; i++)
		total += t->columns[i].width;
	for (; total > t->terminal && (giver = who_gives(t)); total--)
		giver->width--;
}

/* Of a line that has no room for all. */
static void print_not_shown(const struct table *t)
{
	for (int i = t->shown; i < t->n; i++) {
		(void)fputs(i == t->shown ? "not shown, the terminal is too narrow: " : ", ", t->out);
		(void)fputs(t->columns[i].name, t->out);
	}
	if (t->shown < t->n)
		(void)putc('\n', t->out);
}

static void print_head(struct table *t)
{
	static const struct span line = {(const uint8_t *)"\xe2\x94\x80", 3}; /* a box's edge */

	if (t->terminal)
		fit(t);
	for (int i = 0; i < t->shown; i++) {
		struct span name = span_str(t->columns[i].name);

		print_text(t, i, name, width_of(name));
	}
	for (int i = 0; i < t->shown; i++) {
		pad(t->out, i ? GAP : 0);
		for (size_t w = 0; w < t->columns[i].width; w++)
			(void)fwrite(line.p, 1, line.len, t->out);
	}
	(void)putc('\n', t->out);
	t->begun = true;
}

static void print_held(struct table *t)
{
	size_t n = t->cells.len / sizeof(struct cell);

	if (!t->begun)
		print_head(t);
	for (size_t i = 0; i < n; i++) {
		struct cell c;

		int column = (int)(i % (size_t)t->n);

		memcpy(&c, t->cells.data + i * sizeof(c), sizeof(c));
		if (column < t->shown)
			print_text(t, column, span_of(t->held.data + c.off, c.len), c.width);
	}
	buf_clear(&t->held);
	buf_clear(&t->cells);
}

static int hold_cell(struct table *t, enum cell_kind kind, struct span text)
{
	struct column *column = &t->columns[t->at];
	struct cell c = {.off = t->held.len};
	int rc = table_shown(&t->held, kind == CELL_NULL ? span_str("-") : text);

	if (rc)
		return rc;
	c.len = t->held.len - c.off;
	c.width = width_of(span_of(t->held.data + c.off, c.len));
	rc = buf_add(&t->cells, &c, sizeof(c));
	if (rc || t->begun)
		return rc;
	if (c.width > column->width)
		column->width = c.width;
	if (c.width > column->cells)
		column->cells = c.width;
	column->numbers |= kind == CELL_INTEGER || kind == CELL_REAL;
	column->texts |= kind == CELL_TEXT || kind == CELL_BLOB;
	return SC_OK;
}

static int add_base64(struct buf *out, struct span s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	int rc = buf_reserve(out, (s.len + 2) / 3 * 4);

	for (size_t i = 0; i < s.len && !rc; i += 3) {
		uint32_t v = (uint32_t)s.p[i] << 16;
		char four[4];

		if (i + 1 < s.len)
			v |= (uint32_t)s.p[i + 1] << 8;
		if (i + 2 < s.len)
			v |= s.p[i + 2];
		four[0] = digits[v >> 18];
		four[1] = digits[v >> 12 & 63];
		four[2] = i + 1 < s.len ? digits[v >> 6 & 63] : '=';
		four[3] = i + 2 < s.len ? digits[v & 63] : '=';
		rc = buf_add(out, four, sizeof(four));
	}
	return rc;
}

/* JSON has no infinity. */
static bool is_json_number(struct span s)
{
	size_t sign = s.len && s.p[0] == '-';

	return s.len > sign && s.p[sign] >= '0' && s.p[sign] <= '9';
}

static int add_json_value(struct buf *out, enum cell_kind kind, struct span text)
{
	int rc;

	if (kind == CELL_TEXT)
		return json_add_string(out, text);
	if (kind == CELL_BLOB) {
		rc = buf_add_str(out, "\"");
		if (!rc)
			rc = add_base64(out, text);
		return rc ? rc : buf_add_str(out, "\"");
	}
	if (kind == CELL_NULL || !is_json_number(text))
		return buf_add_str(out, "null");
	return buf_add_span(out, text);
}

static const char *json_before(const struct table *t)
{
	if (t->at)
		return ", ";
	if (t->format == TABLE_JSONL)
		return "{";
	return t->begun ? ",\n{" : "[\n{";
}

static int json_cell(struct table *t, enum cell_kind kind, struct span text)
{
	struct buf *line = &t->scratch;
	int rc;

	buf_clear(line);
	rc = buf_add_str(line, json_before(t));
	if (!rc)
		rc = json_add_string(line, span_str(t->columns[t->at].name));
	if (!rc)
		rc = buf_add_str(line, ": ");
	if (!rc)
		rc = add_json_value(line, kind, text);
	if (!rc && t->at == t->n - 1)
		rc = buf_add_str(line, t->format == TABLE_JSONL ? "}\n" : "}");
	if (rc)
		return rc;
	t->begun = true;
	(void)fwrite(line->data, 1, line->len, t->out);
	return SC_OK;
}

/* RFC 4180: quoted where it must be. An empty text is "", to tell it from NULL. */
static void print_csv(struct table *t, int i, struct span s, bool null)
{
	bool quote = s.len == 0 && !null;

	for (size_t k = 0; k < s.len && !quote; k++)
		quote = s.p[k] == '"' || s.p[k] == ',' || s.p[k] == '\r' || s.p[k] == '\n';
	if (quote)
		(void)putc('"', t->out);
	for (size_t k = 0; k < s.len; k++) {
		if (s.p[k] == '"')
			(void)putc('"', t->out);
		(void)putc(s.p[k], t->out);
	}
	if (quote)
		(void)putc('"', t->out);
	(void)fputs(i == t->n - 1 ? "\r\n" : ",", t->out);
}

static void csv_head(struct table *t)
{
	for (int i = 0; i < t->n && !t->begun; i++)
		print_csv(t, i, span_str(t->columns[i].name), false);
	t->begun = true;
}

static int csv_cell(struct table *t, enum cell_kind kind, struct span text)
{
	int rc = SC_OK;

	csv_head(t);
	if (!utf8_valid(text) || (text.len && memchr(text.p, '\0', text.len))) {
		/* A file of text stays one. */
		buf_clear(&t->scratch);
		rc = table_shown(&t->scratch, text);
		text = buf_span(&t->scratch);
	}
	if (!rc)
		print_csv(t, t->at, text, kind == CELL_NULL);
	return rc;
}

static int text_end(struct table *t)
{
	print_held(t);
	print_not_shown(t);
	return SC_OK;
}

static int csv_end(struct table *t)
{
	csv_head(t);
	return SC_OK;
}

static int json_end(struct table *t)
{
	(void)fputs(t->begun ? "\n]\n" : "[]\n", t->out);
	return SC_OK;
}

static int jsonl_end(struct table *t)
{
	(void)t;
	return SC_OK;
}

static const struct {
	int (*cell)(struct table *t, enum cell_kind kind, struct span text);
	int (*end)(struct table *t);
} formats[] = {
	[TABLE_TEXT] = {hold_cell, text_end},
	[TABLE_CSV] = {csv_cell, csv_end},
	[TABLE_JSON] = {json_cell, json_end},
	[TABLE_JSONL] = {json_cell, jsonl_end},
};

/* A name as it is shown: in a text table names are a stranger's, too. */
static char *shown_name(const char *name, enum table_format format)
{
	struct buf b;
	int rc;

	if (format != TABLE_TEXT)
		return strdup(name);
	buf_init(&b, CELL_BYTES);
	rc = table_shown(&b, span_str(name));
	if (!rc)
		rc = buf_add(&b, "", 1);
	if (rc) {
		buf_done(&b);
		return NULL;
	}
	return (char *)buf_steal(&b);
}

struct table *table_new(FILE *out, enum table_format format, int columns, const char *const *names)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->out = out;
	t->format = format;
	t->n = t->shown = columns;
	t->terminal = terminal_width(out);
	buf_init(&t->held, LIMIT_TABLE_BYTES + CELL_BYTES);
	buf_init(&t->cells, LIMIT_TABLE_BYTES + CELL_BYTES);
	buf_init(&t->scratch, CELL_BYTES);
	t->columns = calloc((size_t)columns + 1, sizeof(*t->columns));
	for (int i = 0; i < columns && t->columns; i++) {
		struct column *c = &t->columns[i];

		c->name = shown_name(names[i], format);
		if (!c->name) {
			table_free(t);
			return NULL;
		}
		c->width = width_of(span_str(c->name));
	}
	if (!t->columns) {
		table_free(t);
		return NULL;
	}
	return t;
}

int table_cell(struct table *t, enum cell_kind kind, struct span text)
{
	int rc = formats[t->format].cell(t, kind, text);

	if (rc)
		return rc;
	t->at = (t->at + 1) % t->n;
	if (t->at)
		return SC_OK;
	if (t->format == TABLE_TEXT && (t->begun || t->held.len + t->cells.len > LIMIT_TABLE_BYTES))
		print_held(t);
	return ferror(t->out) ? SC_EIO : SC_OK;
}

int table_finish(struct table *t)
{
	int rc = formats[t->format].end(t);

	return rc ? rc : fflush(t->out) == 0 && !ferror(t->out) ? SC_OK : SC_EIO;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (int i = 0; i < t->n && t->columns; i++)
		free(t->columns[i].name);
	free(t->columns);
	buf_done(&t->held);
	buf_done(&t->cells);
	buf_done(&t->scratch);
	free(t);
}
