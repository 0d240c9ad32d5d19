/* SPDX-License-Identifier: Apache-2.0 */
/* Looks for the secrets of an exchange wherever else in it they stand, since servers answer with
 * what they were asked: in paths, field values, trailers and bodies, as they are or escaped.
 *
 * The needles are sorted, so that one search finds the longest one that begins at a place. Most
 * places are passed over by a bit for the four bytes that stand there, asked at every third one
 * only: a needle has at least six. The work on one text is bounded by LIMIT_ECHO_WORK. */
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "redact_view.h"
#include "redact_work.h"
#include "wipe.h"

#define STRIDE 3u
#define WORK_BYTES 64u /* compared in one step of work */

struct search {
	const struct needles *needles;
	struct edits *out;
	size_t base;      /* where the text stands in what is edited */
	int64_t work;     /* left */
	bool cut;         /* the text ends too early */
};

static int compare(struct span a, struct span b)
{
	int c = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_text(const void *va, const void *vb)
{
	const struct needle *a = va, *b = vb;
	int c = compare(a->text, b->text);

	/* The same one under several rules: a hash before a mask before nothing. */
	return c ? c : (a->ins.len < b->ins.len) - (a->ins.len > b->ins.len);
}

static uint32_t gram(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v * 2654435761u >> (32 - GRAM_BITS);
}

void echo_prepare(struct needles *n)
{
	uint32_t kept = 0;

	memset(n->grams, 0, sizeof(n->grams));
	n->longest = 0;
	qsort(n->list, n->n, sizeof(*n->list), by_text);
	for (uint32_t i = 0; i < n->n; i++) {
		struct needle *one = &n->list[kept], *last = kept ? one - 1 : NULL;
		uint32_t up = kept ? kept - 1 : NO_NEEDLE;

		if (last && span_eq(last->text, n->list[i].text)) {
			last->open = last->open || n->list[i].open;
			continue;
		}
		*one = n->list[i];
		while (up != NO_NEEDLE && !span_starts(one->text, n->list[up].text))
			up = n->list[up].parent;
		one->parent = up;
		n->longest = one->text.len > n->longest ? one->text.len : n->longest;
		for (unsigned k = 0; k < STRIDE; k++) {
			uint32_t g = gram(one->text.p + k);

			n->grams[g / 64] |= 1ull << (g % 64);
		}
		kept++;
	}
	n->n = kept;
}

/* As compare(), and counted. */
static int weigh(struct search *s, const struct needle *n, struct span text)
{
	s->work -= 1 + (int64_t)((n->text.len < text.len ? n->text.len : text.len) / WORK_BYTES);
	return compare(n->text, text);
}

/* The last needle that does not come behind the text, or NO_NEEDLE. */
static uint32_t last_before(struct search *s, struct span text)
{
	uint32_t low = 0, high = s->needles->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (weigh(s, &s->needles->list[mid], text) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? low - 1 : NO_NEEDLE;
}

/* What an open needle's end may be when it is there: up to something that ends values. */
static size_t open_end(struct span text, size_t at)
{
	while (at < text.len && text.p[at] > ' ' && !strchr("\"&<>,;\\", text.p[at]))
		at++;
	return at;
}

/* The longest needle that the text begins with, or NULL: the last one before it, or one that this
 * begins with. */
static const struct needle *match(struct search *s, struct span text)
{
	const struct needle *list = s->needles->list;
	uint32_t i = last_before(s, text);

	for (; i != NO_NEEDLE; i = list[i].parent) {
		s->work -= 1 + (int64_t)(list[i].text.len / WORK_BYTES);
		if (span_starts(text, list[i].text))
			return &list[i];
	}
	return NULL;
}

static int look(struct search *s, struct span text, size_t at)
{
	struct span rest = span_of(text.p + at, text.len - at);
	const struct needle *n = match(s, rest);
	size_t len;

	if (s->work < 0)
		return SC_EFULL;
	if (!n)
		return SC_OK;
	len = n->open ? open_end(rest, n->text.len) : n->text.len;
	return edits_add(s->out, s->base + at, len, n->ins);
}

static bool may_begin(const struct needles *n, const uint8_t *p)
{
	uint32_t g = gram(p);

	return n->grams[g / 64] >> (g % 64) & 1;
}

/* A text that was cut may end in the first bytes of a needle. */
static int look_at_end(struct search *s, struct span text)
{
	const struct needles *n = s->needles;
	size_t from = text.len > n->longest ? text.len - n->longest : 0;

	for (size_t at = from; at + NEEDLE_MIN <= text.len; at++) {
		struct span tail = span_of(text.p + at, text.len - at);
		uint32_t i;

		if (!may_begin(n, tail.p))
			continue;
		i = last_before(s, tail) + 1; /* NO_NEEDLE + 1 is the first */
		if (s->work < 0)
			return SC_EFULL;
		if (i < n->n && span_starts(n->list[i].text, tail))
			return edits_add(s->out, s->base + at, tail.len, n->list[i].ins);
	}
	return SC_OK;
}

static int search_raw(struct search *s, struct span text)
{
	size_t next = 0; /* the first place that was not looked at */
	int rc = SC_OK;

	for (size_t i = 0; i + 4 <= text.len && !rc; i += STRIDE) {
		size_t from = i < STRIDE ? 0 : i - STRIDE + 1;

		if (!may_begin(s->needles, text.p + i))
			continue;
		for (size_t at = from > next ? from : next; at <= i && !rc; at++)
			rc = look(s, text, at);
		next = i + 1;
	}
	return !rc && s->cut ? look_at_end(s, text) : rc;
}

static int search_view(struct search *s, enum view_kind kind, struct span text)
{
	struct view_walk walk = {.kind = kind, .text = text};
	struct edits found = {0};
	struct search inner = *s;
	struct buf view;
	int rc;

	buf_init(&view, text.len);
	inner.out = &found;
	inner.base = 0;
	rc = view_make(kind, text, &view);
	if (!rc)
		rc = search_raw(&inner, buf_span(&view));
	s->work = inner.work;
	edits_settle(&found);
	for (size_t i = 0; i < found.n && !rc; i++) {
		const struct edit *e = &found.list[i];
		size_t from, to, last;

		view_place(&walk, e->off, &from, &to);
		view_place(&walk, e->off + e->del - 1, &last, &to);
		rc = edits_add(s->out, s->base + from, to - from, e->ins);
	}
	edits_done(&found);
	wipe_done(&view);
	return rc;
}

static int search(struct search *s, struct span text, bool views)
{
	int rc = search_raw(s, text);

	for (int kind = 0; kind < VIEWS && views && !rc; kind++) {
		if (view_differs((enum view_kind)kind, text))
			rc = search_view(s, (enum view_kind)kind, text);
	}
	return rc;
}

static int search_slice(struct redaction *r, const uint8_t *base, struct slice at,
			struct edits *out)
{
	struct search s = {.needles = &r->needles, .out = out, .base = at.off,
			   .work = LIMIT_ECHO_WORK};

	return at.len < NEEDLE_MIN ? SC_OK : search(&s, span_of(base + at.off, at.len), true);
}

/* Bytes of the value that are no place for secrets but hold the message together: a parameter that
 * happens to be called "chunked" must not break what it is framed by. */
static uint32_t kept_bytes(struct span name, struct span value)
{
	static const char *const whole[] = {"Host", "Content-Length", "Transfer-Encoding",
					    "Connection", "Content-Encoding"};
	const uint8_t *semicolon;

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		if (span_case_eq(name, span_str(whole[i])))
			return (uint32_t)value.len;
	}
	if (!value.len || !span_case_eq(name, span_str("Content-Type")))
		return 0;
	semicolon = memchr(value.p, ';', value.len);
	return semicolon ? (uint32_t)(semicolon - value.p) : (uint32_t)value.len;
}

static int echo_fields(struct redaction *r, const uint8_t *base, const struct field *fields,
		       uint32_t n, struct edits *out)
{
	int rc = SC_OK;

	for (uint32_t i = 0; i < n && !rc; i++) {
		struct slice v = fields[i].value;
		uint32_t kept = kept_bytes(span_of(base + fields[i].name.off, fields[i].name.len),
					   span_of(base + v.off, v.len));

		v.off += kept;
		v.len -= kept;
		rc = search_slice(r, base, v, out);
	}
	return rc;
}

static int echo_lines(struct redaction *r, struct part *p)
{
	struct edits found = {0};
	struct slice all = {0, (uint32_t)p->m->chunk_lines.len};
	int rc = search_slice(r, p->m->chunk_lines.data, all, &found);

	p->drop_lines = found.n > 0;
	edits_done(&found);
	return rc;
}

static bool is_word(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '+' || c == '.';
}

/* A number that holds a secret becomes a string as a whole. */
static int quote_number(struct redaction *r, struct span text, struct edit *e)
{
	size_t from = e->off, to = e->off + e->del;
	uint8_t *quoted = redact_arena_take(&r->arena, e->ins.len + 2);

	if (!quoted)
		return SC_ENOMEM;
	while (from > 0 && is_word(text.p[from - 1]))
		from--;
	while (to < text.len && is_word(text.p[to]))
		to++;
	quoted[0] = quoted[e->ins.len + 1] = '"';
	if (e->ins.len)
		memcpy(quoted + 1, e->ins.p, e->ins.len);
	*e = (struct edit){from, to - from, span_of(quoted, e->ins.len + 2)};
	return SC_OK;
}

/* What was found in a JSON text, so that it stays one: `found` is settled. */
static int keep_json(struct redaction *r, struct span text, struct edits *found)
{
	bool in_string = false;
	size_t at = 0;
	int rc = SC_OK;

	for (size_t i = 0; i < found->n && !rc; i++) {
		struct edit *e = &found->list[i];

		for (; at < e->off; at++) {
			if (text.p[at] == '"')
				in_string = !in_string;
			else if (text.p[at] == '\\' && in_string)
				at++;
		}
		if (!in_string)
			rc = quote_number(r, text, e);
	}
	return rc;
}

static int echo_text(struct redaction *r, struct part *p, struct edits *found)
{
	struct search s = {.needles = &r->needles, .out = found, .work = LIMIT_ECHO_WORK,
			   .cut = p->cut};
	int rc = search(&s, p->text, p->kind != BODY_MEDIA);

	edits_settle(found);
	if (!rc && p->is_json)
		rc = keep_json(r, p->text, found);
	edits_settle(found);
	edits_settle(&p->body);
	return rc ? rc : edits_merge(&p->body, found);
}

static int echo_body(struct redaction *r, struct part *p)
{
	struct edits found = {0};
	int rc;

	if (!p->m->body.len)
		return SC_OK;
	rc = redact_body_open(r, p);
	if (rc || p->closed)
		return rc;
	rc = echo_text(r, p, &found);
	edits_done(&found);
	if (rc != SC_EFULL)
		return rc;
	redact_body_close(r, p); /* too much to look at */
	return SC_OK;
}

static int echo_head(struct redaction *r, struct part *p)
{
	const struct message *m = p->m;
	struct edits found = {0};
	int rc = search_slice(r, m->head, m->status ? m->reason : m->target, &found);

	if (!rc)
		rc = echo_fields(r, m->head, m->fields, m->n_fields, &found);
	edits_settle(&found);
	edits_settle(&p->head);
	if (!rc)
		rc = edits_merge(&p->head, &found);
	edits_done(&found);
	return rc;
}

static int echo_trailer(struct redaction *r, struct part *p)
{
	const struct message *m = p->m;
	struct edits found = {0};
	int rc = echo_fields(r, m->trailer, m->trailer_fields, m->n_trailer_fields, &found);

	edits_settle(&found);
	edits_settle(&p->trailer);
	if (!rc)
		rc = edits_merge(&p->trailer, &found);
	edits_done(&found);
	return rc;
}

int echo_part(struct redaction *r, struct part *p)
{
	int rc = echo_head(r, p);

	if (!rc)
		rc = echo_trailer(r, p);
	if (!rc && p->m->chunk_lines.len)
		rc = echo_lines(r, p);
	return rc ? rc : echo_body(r, p);
}
