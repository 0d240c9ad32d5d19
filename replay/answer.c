/* SPDX-License-Identifier: Apache-2.0 */
/* llhttp in front, struct message behind. Bytes of a head are kept as they come and the parser's
 * spans become offsets into them; nothing is built twice. A target is a stranger: whatever it sends
 * ends in a state, never in an abort, and never grows past the ceilings. */
#include "replay/answer.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

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
	bool in_body;	  /* the final head is complete: further fields are trailers */
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
	struct buf body;
	size_t body_max;
	struct buf head;     /* raw bytes; those of interim answers come first */
	const uint8_t *feed; /* what is being parsed, and where its first byte lies in `head` */
	size_t feed_at;
	size_t feed_head; /* bytes of it that may belong to the head */
	struct slice reason;
	struct fields fields;
	bool settled; /* both */
	struct buf trailer;
	struct fields trailer_fields;
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

/* Trailer fields stand between chunks, so their lines are put together anew. */
static int trailer_name(struct answer *a, const char *at, size_t len)
{
	struct fields *f = &a->trailer_fields;
	int rc = SC_OK;

	if (f->n && f->in_value)
		rc = buf_add_str(&a->trailer, "\r\n");
	if (!rc)
		rc = fields_name(f, a->trailer.len, len);
	return rc ? rc : buf_add(&a->trailer, at, len);
}

static int trailer_value(struct answer *a, const char *at, size_t len)
{
	struct fields *f = &a->trailer_fields;
	int rc = SC_OK;

	if (!f->in_value)
		rc = buf_add_str(&a->trailer, ": ");
	if (!rc)
		fields_value(f, a->trailer.len, len);
	return rc ? rc : buf_add(&a->trailer, at, len);
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
	int rc = a->in_body ? trailer_name(a, at, len)
			    : fields_name(&a->fields, head_at(a, at), len);

	return rc ? refuse_rc(a, rc) : 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;
	int rc = SC_OK;

	if (a->in_body)
		rc = trailer_value(a, at, len);
	else
		fields_value(&a->fields, head_at(a, at), len);
	return rc ? refuse_rc(a, rc) : 0;
}

static bool is_interim(const struct answer *a)
{
	return a->parser.status_code / 100 == 1 && a->parser.status_code != 101;
}

/* 1 tells the parser that there is no body, whatever the fields say (RFC 9112, 6.3, 1). */
static int on_headers_complete(llhttp_t *parser)
{
	struct answer *a = parser->data;
	uint16_t status = parser->status_code;
	size_t expected;

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
	a->counted = (parser->flags & F_CONTENT_LENGTH) && !(a->flags & MESSAGE_CHUNKED);
	if (a->keep == ANSWER_KEEP_FULL && (parser->flags & F_CONTENT_LENGTH)) {
		/* One allocation of the right size, unless it is a boast. */
		expected = parser->content_length < MIB ? (size_t)parser->content_length : MIB;
		if (expected && expected <= a->body_max && buf_reserve(&a->body, expected))
			return refuse(a, ANSWER_NO_MEMORY);
	}
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct answer *a = parser->data;
	size_t room = a->body_max - a->body.len;
	size_t kept = len < room ? len : room;

	if (a->body_size == 0)
		a->feed_head = (size_t)((const uint8_t *)at - a->feed);
	a->body_size += len;
	if (a->keep != ANSWER_KEEP_FULL)
		return 0;
	if (kept < len)
		a->flags |= MESSAGE_CAPPED;
	return buf_add(&a->body, at, kept) ? refuse(a, ANSWER_NO_MEMORY) : 0;
}

static int on_message_complete(llhttp_t *parser)
{
	struct answer *a = parser->data;

	if (is_interim(a)) {
		if (++a->n_interim > LIMIT_INTERIM)
			return refuse(a, ANSWER_TOO_LARGE);
		a->begun = false;
		a->reason.len = 0;
		a->fields.n = 0;
		return 0;
	}
	a->keeps_alive = llhttp_should_keep_alive(parser) && a->status != 101;
	a->state = ANSWER_DONE;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_version = on_version,
	.on_status = on_status,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
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
	a->in_body = a->counted = a->settled = false;
	a->keeps_alive = false;
	a->status = a->flags = 0;
	a->n_interim = 0;
	a->begun = false;
	a->head_from = 0;
	a->body_size = 0;
	a->reason = (struct slice){0, 0};
	a->fields.n = a->trailer_fields.n = 0;
	a->fields.in_value = a->trailer_fields.in_value = false;
	buf_clear(&a->head);
	buf_clear(&a->trailer);
}

struct answer *answer_new(enum answer_keep keep, size_t body_max)
{
	struct answer *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->keep = keep;
	a->body_max = body_max;
	buf_init(&a->body, body_max);
	buf_init(&a->head, LIMIT_HEAD_BYTES);
	buf_init(&a->trailer, LIMIT_TRAILER_BYTES);
	answer_begin(a, false);
	return a;
}

void answer_free(struct answer *a)
{
	if (!a)
		return;
	buf_done(&a->body);
	buf_done(&a->head);
	buf_done(&a->trailer);
	free(a->fields.items);
	free(a->trailer_fields.items);
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
	buf_clear(&a->body);
}

/* All of an answer whose head is known; false: it must be parsed. */
static bool feed_known(struct answer *a, const uint8_t *p, size_t len, size_t *ret_used)
{
	size_t body = (size_t)a->known_body;

	if (len < a->known || len - a->known < body || body > a->body_max ||
	    memcmp(p, a->head.data, a->known) != 0)
		return false;
	*ret_used = a->known + body;
	a->body_size = body;
	a->state = ANSWER_DONE;
	if (a->keep == ANSWER_KEEP_FULL && buf_add(&a->body, p + a->known, body))
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

enum answer_state answer_feed(struct answer *a, const uint8_t *p, size_t len, size_t *ret_used)
{
	bool in_head = !a->in_body;
	llhttp_errno_t code;
	int rc = SC_OK;

	assert(a->state == ANSWER_MORE);
	*ret_used = len;
	if (len == 0)
		return ANSWER_MORE;
	if (a->known) {
		if (feed_known(a, p, len, ret_used))
			return a->state;
		forget(a);
		in_head = true;
	}
	a->feed = p;
	a->feed_at = a->head.len;
	a->feed_head = len;
	code = llhttp_execute(&a->parser, (const char *)p, len);
	if (a->state == ANSWER_DONE)
		*ret_used = (size_t)((const uint8_t *)llhttp_get_error_pos(&a->parser) - p);
	else if (code != HPE_OK && a->state == ANSWER_MORE)
		a->state = ANSWER_MALFORMED;
	if (in_head && a->state <= ANSWER_DONE)
		rc = keep_head(a, p);
	if (rc)
		refuse_rc(a, rc);
	return a->state;
}

enum answer_state answer_eof(struct answer *a)
{
	if (a->known)
		forget(a);
	/* Calls on_message_complete where the end of the connection is that of the answer. */
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

static int take_trailer(struct answer *a, struct message *m)
{
	struct fields *f = &a->trailer_fields;
	int rc;

	if (f->n == 0)
		return SC_OK;
	rc = buf_add_str(&a->trailer, f->in_value ? "\r\n" : ": \r\n");
	if (rc)
		return rc;
	for (uint32_t i = 0; i < f->n; i++)
		settle(a->trailer.data, &f->items[i].value, 0);
	return message_set_trailer(m, a->trailer.data, (uint32_t)a->trailer.len, f->items, f->n);
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
	rc = message_new(a->head.data + from, end - from, a->fields.items, a->fields.n, a->body_max,
			 &m);
	if (rc)
		return rc;
	rc = take_trailer(a, m);
	if (rc) {
		message_free(m);
		return rc;
	}
	m->reason = a->reason;
	m->body = a->body; /* moved */
	buf_init(&a->body, a->body_max);
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
	m->flags = a->flags | (a->status == 101 ? MESSAGE_UPGRADE : 0);
	m->body_size = a->body_size;
	if (a->keep == ANSWER_KEEP_STATUS)
		m->flags |= MESSAGE_UNKEPT;
	*ret = m;
	return SC_OK;
}
