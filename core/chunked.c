/* SPDX-License-Identifier: Apache-2.0 */
/* A chunked body (RFC 9112, 7.1), read as leniently as servers and clients do: whatever stands between
 * the size and the end of its line is extension, a bare LF ends a line. llhttp refuses both, and it
 * cannot be told of a hole in the data. */
#include "core/chunked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

enum chunk_state {
	CHUNK_SIZE,    /* hex digits */
	CHUNK_LINE,    /* to the end of the size line */
	CHUNK_DATA,
	CHUNK_DATA_CR, /* the line end behind the data */
	CHUNK_DATA_LF,
	CHUNK_TRAILER,
};

struct chunked {
	enum chunk_state state;
	uint64_t left; /* of the chunk under way; while in CHUNK_SIZE, the size so far */
	bool digits;
	bool keep_lines;
	struct buf lines; /* of the sizes, with their ends */
	uint64_t total;   /* data bytes announced so far */
	struct buf trailer; /* as on the wire */
	size_t line;        /* where its last line begins: at the end, the blank one */
	bool line_used;     /* there is something in that */
	bool trailer_full;  /* some of it was not kept */
};

struct chunked *chunked_new(bool keep_lines)
{
	struct chunked *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->keep_lines = keep_lines;
	buf_init(&c->lines, LIMIT_CHUNK_LINES);
	buf_init(&c->trailer, LIMIT_TRAILER_BYTES);
	return c;
}

void chunked_free(struct chunked *c)
{
	if (!c)
		return;
	buf_done(&c->lines);
	buf_done(&c->trailer);
	free(c);
}

void chunked_clear(struct chunked *c)
{
	struct buf lines = c->lines, trailer = c->trailer;

	*c = (struct chunked){.keep_lines = c->keep_lines, .lines = lines, .trailer = trailer};
	buf_clear(&c->lines);
	buf_clear(&c->trailer);
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: no size, or one that no body has. */
static bool size_byte(struct chunked *c, uint8_t byte)
{
	int v = hex_value(byte);

	if (v >= 0) {
		if (c->left >> 59)
			return false;
		c->left = c->left << 4 | (uint64_t)v;
		c->digits = true;
		return true;
	}
	if (!c->digits)
		return byte == ' ' || byte == '\t'; /* some pad on the left */
	c->state = CHUNK_LINE;
	return byte == '\r' || byte == '\n' || byte == ';' || byte == ' ' || byte == '\t';
}

static void keep_line_byte(struct chunked *c, uint8_t byte)
{
	if (c->keep_lines && buf_add(&c->lines, &byte, 1)) {
		c->keep_lines = false; /* over the ceiling: a replay sends it as one chunk */
		buf_clear(&c->lines);
	}
}

static void line_over(struct chunked *c)
{
	c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
	c->total += c->left;
}

static void next_chunk(struct chunked *c)
{
	c->state = CHUNK_SIZE;
	c->left = 0;
	c->digits = false;
}

/* One byte of the trailer section; true at its blank line. */
static bool trailer_byte(struct chunked *c, uint8_t byte)
{
	/* Over the ceiling it is only looked through for its end. */
	if (buf_add(&c->trailer, &byte, 1))
		c->trailer_full = true;
	if (byte != '\n') {
		c->line_used |= byte != '\r';
		return false;
	}
	if (!c->line_used)
		return true;
	c->line_used = false;
	c->line = c->trailer.len;
	return false;
}

/* A byte outside of the data. */
static enum chunked_result frame_byte(struct chunked *c, uint8_t byte)
{
	if (c->state == CHUNK_SIZE || c->state == CHUNK_LINE)
		keep_line_byte(c, byte);
	switch (c->state) {
	case CHUNK_SIZE:
		if (!size_byte(c, byte))
			return CHUNKED_BROKEN;
		if (c->state == CHUNK_LINE && byte == '\n')
			line_over(c);
		break;
	case CHUNK_LINE:
		if (byte == '\n')
			line_over(c);
		break;
	case CHUNK_DATA_CR:
		if (byte == '\r')
			c->state = CHUNK_DATA_LF;
		else if (byte == '\n')
			next_chunk(c);
		else
			return CHUNKED_BROKEN;
		break;
	case CHUNK_DATA_LF:
		if (byte != '\n')
			return CHUNKED_BROKEN;
		next_chunk(c);
		break;
	case CHUNK_TRAILER:
		return trailer_byte(c, byte) ? CHUNKED_DONE : CHUNKED_MORE;
	case CHUNK_DATA:
		break;
	}
	return CHUNKED_MORE;
}

enum chunked_result chunked_feed(struct chunked *c, struct span bytes,
				 void (*body)(void *arg, struct span data), void *arg,
				 size_t *ret_used)
{
	size_t at = 0;

	while (at < bytes.len) {
		enum chunked_result r = CHUNKED_MORE;

		if (c->state == CHUNK_DATA) {
			size_t n = bytes.len - at;

			if (n > c->left)
				n = (size_t)c->left;
			body(arg, span_of(bytes.p + at, n));
			at += n;
			c->left -= n;
			if (c->left == 0)
				c->state = CHUNK_DATA_CR;
			continue;
		}
		r = frame_byte(c, bytes.p[at++]);
		if (r != CHUNKED_MORE) {
			*ret_used = at;
			return r;
		}
	}
	*ret_used = at;
	return CHUNKED_MORE;
}

bool chunked_trailer_full(const struct chunked *c)
{
	return c->trailer_full;
}

bool chunked_skip(struct chunked *c, uint64_t len)
{
	if (c->state != CHUNK_DATA || len > c->left)
		return false;
	c->left -= len;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return true;
}

/* The trailer section as fields: a head without its start line. */
static void describe_trailer(const struct chunked *c, struct message *m)
{
	static const char start[] = "GET / HTTP/1.1\r\n";
	const uint32_t shift = sizeof(start) - 1;
	struct message *t = NULL;
	struct buf head;

	buf_init(&head, LIMIT_HEAD_BYTES);
	if (buf_add(&head, start, shift) == SC_OK &&
	    buf_add(&head, c->trailer.data, c->line) == SC_OK &&
	    message_parse(head.data, head.len, 0, &t) == SC_OK && t->n_fields) {
		for (uint32_t i = 0; i < t->n_fields; i++) {
			t->fields[i].name.off -= shift;
			t->fields[i].value.off -= shift;
		}
		(void)message_set_trailer(m, c->trailer.data, (uint32_t)c->line, t->fields,
					  t->n_fields);
	}
	message_free(t);
	buf_done(&head);
}

/* Whether a replay makes the same lines by itself: one chunk, or none. */
static bool plain_lines(const struct chunked *c)
{
	char lines[40];
	int n = c->total ? snprintf(lines, sizeof(lines), "%" PRIx64 "\r\n0\r\n", c->total)
			 : snprintf(lines, sizeof(lines), "0\r\n");

	return span_eq(buf_span(&c->lines), span_of(lines, (size_t)n));
}

/* "Name: value" and CRLF each. */
static bool plain_trailer(const struct message *m)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < m->n_trailer_fields; i++) {
		const struct field *f = &m->trailer_fields[i];

		if (f->name.off != at || f->value.len == 0 ||
		    f->value.off != at + f->name.len + 2 || m->trailer[f->value.off - 1] != ' ' ||
		    m->trailer[f->value.off - 2] != ':')
			return false;
		at = f->value.off + f->value.len + 2;
		if (at > m->trailer_len || memcmp(m->trailer + at - 2, "\r\n", 2) != 0)
			return false;
	}
	return at == m->trailer_len;
}

void chunked_describe(struct chunked *c, struct message *m)
{
	if (c->trailer_full)
		return; /* a part of it would pass for the whole */
	if (c->line)
		describe_trailer(c, m);
	if (!c->keep_lines ||
	    (plain_lines(c) && plain_trailer(m) && c->line == m->trailer_len))
		return;
	if (buf_add_span(&m->chunk_lines, buf_span(&c->lines)) ||
	    buf_add(&m->chunk_lines, c->trailer.data, c->line))
		buf_clear(&m->chunk_lines);
}

struct span chunk_line_end(struct span line)
{
	bool crlf = line.len > 1 && line.p[line.len - 2] == '\r';

	return crlf ? span_str("\r\n") : span_str("\n");
}
