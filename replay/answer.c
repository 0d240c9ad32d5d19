/* SPDX-License-Identifier: Apache-2.0 */
/* llhttp in front, struct message behind. Bytes of a head are kept as they come and the parser's
 * spans become offsets into them; nothing is built twice. What llhttp refuses though every client
 * takes it is done here: chunk lines with blanks in them, one Content-Length said twice. A target is
 * a stranger: whatever it sends ends in a state, never in an abort, and never grows past the
 * ceilings. */
#include "replay/answer.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "core/chunked.h"
#include "core/limits.h"
#include "kept.h"

#define FIELDS_AT_FIRST 32u

struct fields {
	struct field *items;
	uint32_t n, cap;
	bool in_value; /* the last piece was of a value: the next name begins a field */
};

struct answer {
	llhttp_t parser;
	enum answer_keep keep;
	enum answer_state state;
	bool head_request;
	bool in_body;	  /* the final head is complete */
	bool in_chunks;	  /* and a chunked body follows it, which is not for the parser */
	bool sized;	  /* it has a Content-Length ... */
	uint64_t length;  /* ... and this is what it says */
	bool counted;	  /* its body's length is what Content-Length says */
	bool keeps_alive; /* known when it is done, as the parser forgets */
	uint16_t status;
	uint8_t major, minor;
	uint16_t flags; /* of the message */
	uint32_t n_interim;
	bool begun;	    /* the parser is past "HTTP/" */
	uint32_t head_from; /* offset of the status line in `head` */
	uint32_t known;	    /* length of the head before, if all that was read of it is still here */
	uint64_t known_body; /* and of the body it announced */
	uint64_t body_size;
	struct kept body;
	struct buf head;     /* raw bytes; those of interim answers come first */
	const uint8_t *feed; /* what is being parsed, and where its first byte lies in `head` */
	size_t feed_at;
	size_t feed_head; /* bytes of it that may belong to the head */
	struct slice reason;
	struct fields fields;
	bool settled; /* both */
	struct chunked *chunked; /* NULL until one is needed */
};

/* Why the parser was told to stop; any value but 0 and HPE_PAUSED does. */
static int refuse(struct answer *a, enum answer_state state)
{
	a->state = state;
	return HPE_USER;
}

static int refuse_rc(struct answer *a, int rc)
{
	return refuse(a, rc == SC_EFULL ? ANSWER_TOO_LARGE : ANSWER_NO_MEMORY);
}

static int fields_grow(struct fields *f)
{
	uint32_t cap = f->cap ? f->cap * 2 : FIELDS_AT_FIRST;
	struct field *items;

	if (f->n < f->cap)
		return SC_OK;
	if (f->n >= LIMIT_FIELDS)
		return SC_EFULL;
	items = realloc(f->items, cap * sizeof(*items));
	if (!items)
		return SC_ENOMEM;
	f->items = items;
	f->cap = cap;
	return SC_OK;
}

/* A further piece of the last field. Pieces of one span touch, but for folded values (RFC
 * 9112, 5.2), whose line ends then lie inside. */
static void extend(struct slice *s, size_t at, size_t len)
{
	if (s->len == 0)
		s->off = (uint32_t)at;
	s->len = (uint32_t)(at + len - s->off);
}

static int fields_name(struct fields *f, size_t at, size_t len)
{
	if (f->n == 0 || f->in_value) {
		int rc = fields_grow(f);

		if (rc)
			return rc;
		f->items[f->n++] = (struct field){{(uint32_t)at, 0}, {(uint32_t)at, 0}};
		f->in_value = false;
	}
	extend(&f->items[f->n - 1].name, at, len);
	return SC_OK;
}

static void fields_value(struct fields *f, size_t at, size_t len)
{
	f->in_value = true;
	if (f->n)
		extend(&f->items[f->n - 1].value, at, len);
}

/* Offset in `head` of a byte the parser points at. */
static size_t head_at(const struct answer *a, const char *at)
{
	return a->feed_at + (size_t)((const uint8_t *)at - a->feed);
}

/* Where the message begins in `head`: interim answers may lie before it, and stray line ends. */
static int on_version(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;
	size_t off = head_at(a, at);

	(void)len;
	if (!a->begun && off >= strlen("HTTP/"))
		a->head_from = (uint32_t)(off - strlen("HTTP/"));
	a->begun = true;
	return 0;
}

static int on_status(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;

	extend(&a->reason, head_at(a, at), len);
	return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;
	int rc = fields_name(&a->fields, head_at(a, at), len);

	return rc ? refuse_rc(a, rc) : 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;

	fields_value(&a->fields, head_at(a, at), len);
	return 0;
}

/* The parser would refuse a second Content-Length. One that says the same is valid (RFC 9112, 6.3, 5),
 * so the parser learns of it when all are read. */
static int on_header_value_complete(llhttp_t *parser)
{
	struct answer *a = parser->data;

	if (!(parser->flags & F_CONTENT_LENGTH))
		return 0;
	if (a->sized && a->length != parser->content_length)
		return refuse(a, ANSWER_MALFORMED);
	a->sized = true;
	a->length = parser->content_length;
	parser->flags &= (uint16_t)~F_CONTENT_LENGTH;
	parser->content_length = 0;
	return 0;
}

static bool is_interim(const struct answer *a)
{
	return a->parser.status_code / 100 == 1 && a->parser.status_code != 101;
}

static int begin_chunks(struct answer *a)
{
	if (a->chunked)
		chunked_clear(a->chunked);
	else
		a->chunked = chunked_new(false);
	if (!a->chunked)
		return refuse(a, ANSWER_NO_MEMORY);
	a->in_chunks = true;
	return 1;
}

static int begin_counted(struct answer *a)
{
	/* One allocation of the right size, unless it is a boast. */
	size_t expected = a->length < MIB ? (size_t)a->length : MIB;

	a->counted = true;
	a->parser.flags |= F_CONTENT_LENGTH;
	a->parser.content_length = a->length;
	if (a->keep == ANSWER_KEEP_FULL && kept_expect(&a->body, expected))
		return refuse(a, ANSWER_NO_MEMORY);
	return 0;
}

/* 1 tells the parser that there is no body for it, whatever the fields say (RFC 9112, 6.3). */
static int on_headers_complete(llhttp_t *parser)
{
	struct answer *a = parser->data;
	uint16_t status = parser->status_code;

	if (status < 100)
		return refuse(a, ANSWER_MALFORMED); /* RFC 9110, 15 */
	if (is_interim(a))
		return 1;
	a->in_body = true;
	a->status = status;
	a->major = parser->http_major;
	a->minor = parser->http_minor;
	if (parser->flags & F_CHUNKED)
		a->flags |= MESSAGE_CHUNKED;
	if (a->head_request || status / 100 == 1 || status == 204 || status == 304)
		return 1;
	if (a->flags & MESSAGE_CHUNKED)
		return begin_chunks(a);
	return a->sized && !(parser->flags & F_TRANSFER_ENCODING) ? begin_counted(a) : 0;
}

static void keep_body(struct answer *a, struct span data)
{
	a->body_size += data.len;
	if (a->keep == ANSWER_KEEP_FULL && kept_add(&a->body, data.p, data.len))
		a->state = ANSWER_NO_MEMORY;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;

	if (a->body_size == 0)
		a->feed_head = (size_t)((const uint8_t *)at - a->feed);
	keep_body(a, span_of(at, len));
	return a->state == ANSWER_NO_MEMORY ? HPE_USER : 0;
}

static void on_chunk_data(void *arg, struct span data)
{
	keep_body(arg, data);
}

static int on_message_complete(llhttp_t *parser)
{
	struct answer *a = parser->data;

	if (is_interim(a)) {
		if (++a->n_interim > LIMIT_INTERIM)
			return refuse(a, ANSWER_TOO_LARGE);
		a->begun = a->sized = false;
		a->reason.len = 0;
		a->fields.n = 0;
		return 0;
	}
	a->keeps_alive = llhttp_should_keep_alive(parser) && a->status != 101;
	if (!a->in_chunks)
		a->state = ANSWER_DONE;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_version = on_version,
	.on_status = on_status,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* What was read so far. */
static void forget(struct answer *a)
{
	llhttp_init(&a->parser, HTTP_RESPONSE, &settings);
	llhttp_set_lenient_headers(&a->parser, 1);
	llhttp_set_lenient_chunked_length(&a->parser, 1);
	a->parser.data = a;
	a->known = 0;
	a->in_body = a->in_chunks = a->sized = a->counted = a->settled = false;
	a->keeps_alive = false;
	a->status = a->flags = 0;
	a->n_interim = 0;
	a->begun = false;
	a->head_from = 0;
	a->body_size = 0;
	a->reason = (struct slice){0, 0};
	a->fields.n = 0;
	a->fields.in_value = false;
	buf_clear(&a->head);
}

struct answer *answer_new(enum answer_keep keep, size_t body_max, struct body_room *room)
{
	struct answer *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->keep = keep;
	kept_init(&a->body, body_max, room);
	buf_init(&a->head, LIMIT_HEAD_BYTES);
	answer_begin(a, false);
	return a;
}

void answer_free(struct answer *a)
{
	if (!a)
		return;
	kept_done(&a->body);
	buf_done(&a->head);
	chunked_free(a->chunked);
	free(a->fields.items);
	free(a);
}

/* Behind the blank line: the first one after the last field, or after the status line. */
static uint32_t head_end(const struct answer *a)
{
	const struct field *last = a->fields.n ? &a->fields.items[a->fields.n - 1] : NULL;
	const uint8_t *end = a->head.data + a->head.len;
	const uint8_t *p = a->head.data + a->head_from;

	if (last)
		p = a->head.data + (last->value.len ? last->value.off + last->value.len
						    : last->name.off + last->name.len);
	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p < end && *p == '\n')
			return (uint32_t)(p + 1 - a->head.data);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (uint32_t)(p + 2 - a->head.data);
	}
	return (uint32_t)a->head.len;
}

/* Most answers of a connection have the head of the one before, byte for byte. Then all it says is
 * the same, too, as long as nothing but the head says where the answer ends. */
static void know(struct answer *a)
{
	if (a->known)
		return;
	if (a->body_size > KEPT_FREE || a->body_size > a->body.buf.max)
		return; /* not for what is short of room */
	if (a->state == ANSWER_DONE && a->counted && a->keeps_alive && a->head_from == 0) {
		a->known = head_end(a);
		a->known_body = a->body_size;
	}
}

void answer_begin(struct answer *a, bool head)
{
	know(a);
	if (!a->known || head)
		forget(a);
	a->state = ANSWER_MORE;
	a->head_request = head;
	kept_clear(&a->body);
}

void answer_drop(struct answer *a)
{
	kept_drop(&a->body);
}

/* All of an answer whose head is known; false: it must be parsed. */
static bool feed_known(struct answer *a, const uint8_t *p, size_t len, size_t *ret_used)
{
	size_t body = (size_t)a->known_body;

	if (len < a->known || len - a->known < body ||
	    memcmp(p, a->head.data, a->known) != 0)
		return false;
	*ret_used = a->known + body;
	a->body_size = body;
	a->state = ANSWER_DONE;
	if (a->keep == ANSWER_KEEP_FULL && buf_add(&a->body.buf, p + a->known, body))
		a->state = ANSWER_NO_MEMORY;
	return true;
}

/* Keeps of the piece what is the head's. */
static int keep_head(struct answer *a, const uint8_t *p)
{
	if (a->head.len + a->feed_head > LIMIT_HEAD_BYTES) {
		/* Larger than any head may be: of a piece that goes on behind it, the rest is not
		 * needed; of one that does not, the head is too large. */
		if (!a->in_body)
			return SC_EFULL;
		a->feed_head = LIMIT_HEAD_BYTES - a->head.len;
	}
	return buf_add(&a->head, p, a->feed_head);
}

static size_t feed_chunks(struct answer *a, const uint8_t *p, size_t len)
{
	size_t used = 0;
	enum chunked_result r = chunked_feed(a->chunked, span_of(p, len), on_chunk_data, a, &used);

	if (a->state != ANSWER_MORE)
		return used;
	if (chunked_trailer_full(a->chunked))
		a->state = ANSWER_TOO_LARGE;
	else if (r != CHUNKED_MORE)
		a->state = r == CHUNKED_DONE ? ANSWER_DONE : ANSWER_MALFORMED;
	return used;
}

/* As far as the parser goes: to the end, or to where chunks begin. */
static size_t feed_parser(struct answer *a, const uint8_t *p, size_t len)
{
	bool in_head = !a->in_body;
	llhttp_errno_t code;
	size_t used = len;
	int rc = SC_OK;

	a->feed = p;
	a->feed_at = a->head.len;
	a->feed_head = len;
	code = llhttp_execute(&a->parser, (const char *)p, len);
	if (code == HPE_PAUSED)
		used = (size_t)((const uint8_t *)llhttp_get_error_pos(&a->parser) - p);
	else if (code != HPE_OK && a->state == ANSWER_MORE)
		a->state = ANSWER_MALFORMED;
	if (a->in_chunks)
		a->feed_head = used;
	if (in_head && a->state <= ANSWER_DONE)
		rc = keep_head(a, p);
	if (rc)
		refuse_rc(a, rc);
	return used;
}

enum answer_state answer_feed(struct answer *a, const uint8_t *p, size_t len, size_t *ret_used)
{
	size_t used = 0;

	assert(a->state == ANSWER_MORE);
	*ret_used = len;
	if (len == 0)
		return ANSWER_MORE;
	if (a->known) {
		if (feed_known(a, p, len, ret_used))
			return a->state;
		forget(a);
	}
	if (!a->in_chunks)
		used = feed_parser(a, p, len);
	if (a->in_chunks && a->state == ANSWER_MORE)
		used += feed_chunks(a, p + used, len - used);
	*ret_used = used;
	return a->state;
}

enum answer_state answer_eof(struct answer *a)
{
	if (a->known)
		forget(a);
	/* Calls on_message_complete where the end of the connection is that of the answer. */
	if (!a->in_chunks)
		llhttp_finish(&a->parser);
	if (a->state == ANSWER_MORE)
		a->state = ANSWER_CUT;
	return a->state;
}

bool answer_keeps_alive(const struct answer *a)
{
	return a->keeps_alive;
}

uint16_t answer_status(const struct answer *a)
{
	return a->status;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Offsets count from the status line, and values end before the white space behind them
 * (RFC 9112, 5). */
static void settle(const uint8_t *base, struct slice *s, uint32_t from)
{
	while (s->len && is_blank(base[s->off + s->len - 1]))
		s->len--;
	s->off -= from;
}

/* From the wire's offsets to the message's; once, as a head that is known stays. */
static void settle_head(struct answer *a)
{
	if (a->settled)
		return;
	a->settled = true;
	for (uint32_t i = 0; i < a->fields.n; i++) {
		struct field *f = &a->fields.items[i];

		settle(a->head.data, &f->name, a->head_from);
		settle(a->head.data, &f->value, a->head_from);
	}
	settle(a->head.data, &a->reason, a->reason.len ? a->head_from : 0);
}

static int take_full(struct answer *a, struct message **ret)
{
	uint32_t from = a->head_from, end = a->known ? a->known : head_end(a);
	struct message *m = NULL;
	int rc;

	settle_head(a);
	rc = message_new(a->head.data + from, end - from, a->fields.items, a->fields.n,
			 a->body.buf.max, &m);
	if (rc)
		return rc;
	if (a->in_chunks)
		chunked_describe(a->chunked, m);
	m->reason = a->reason;
	kept_move(&a->body, &m->body);
	*ret = m;
	return SC_OK;
}

int answer_take(struct answer *a, struct message **ret)
{
	struct message *m = NULL;
	int rc;

	assert(a->state == ANSWER_DONE);
	rc = a->keep == ANSWER_KEEP_FULL ? take_full(a, &m)
					 : message_new((const uint8_t *)"", 0, NULL, 0, 0, &m);
	if (rc)
		return rc;
	m->status = a->status;
	m->major = a->major;
	m->minor = a->minor;
	m->flags = (uint16_t)(a->flags | (a->status == 101 ? MESSAGE_UPGRADE : 0) |
			      (a->body.cut ? MESSAGE_CAPPED : 0));
	m->body_size = a->body_size;
	if (a->keep == ANSWER_KEEP_STATUS)
		m->flags |= MESSAGE_UNKEPT;
	*ret = m;
	return SC_OK;
}
