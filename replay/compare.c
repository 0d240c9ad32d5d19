/* SPDX-License-Identifier: Apache-2.0 */
/* Compares two answers from the top down, the bodies without their codings: as JSON where both are,
 * byte by byte otherwise. Does not ask why they differ, and holds no more than two bodies. */
#include "replay/compare.h"

#include <stdio.h>
#include <stdlib.h>

#include "compare_private.h"
#include "core/coding.h"
#include "core/json.h"

#define KEPT_BYTES (1u * MIB) /* memory of one kind that is kept for the next comparison */
#define KEPT_VALUES (32u * KIB)
#define HEX_BYTES 16u /* shown of a body that is no text */
#define AT_TEXT 64u   /* "byte N of at least N: " */

#define PLACE_NAME(id, name) [PLACE_##id] = (name),
static const char *const place_names[PLACES] = {DIFFERENCE_PLACES(PLACE_NAME)};
#define KIND_NAME(id, name, help) [KIND_##id] = {name, help},
static const struct {
	const char *name, *help;
} kinds[KINDS] = {DIFFERENCE_KINDS(KIND_NAME)};

const char *difference_place_name(enum difference_place place)
{
	return place_names[place];
}

const char *difference_kind_name(enum difference_kind kind)
{
	return kinds[kind].name;
}

const char *difference_kind_help(enum difference_kind kind)
{
	return kinds[kind].help;
}

struct comparer *comparer_new(void)
{
	struct comparer *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	for (int i = 0; i < 2; i++) {
		doc_init(&c->doc[i]);
		buf_init(&c->body[i], LIMIT_COMPARED_BODY);
	}
	c->noise = noise_new();
	if (!c->noise) {
		comparer_free(c);
		return NULL;
	}
	return c;
}

void comparer_free(struct comparer *c)
{
	if (!c)
		return;
	for (int i = 0; i < 2; i++) {
		free(c->fields[i].list);
		doc_done(&c->doc[i]);
		buf_done(&c->body[i]);
	}
	noise_free(c->noise);
	free(c);
}

int comparer_ignore(struct comparer *c, const char *rule, struct err *err)
{
	return noise_add(c->noise, rule, err);
}

/* One large answer is not what the memory of all later ones is. */
static void give_back(struct comparer *c)
{
	for (int i = 0; i < 2; i++) {
		if (c->body[i].cap > KEPT_BYTES)
			buf_done(&c->body[i]);
		if (c->doc[i].cap > KEPT_VALUES)
			doc_done(&c->doc[i]);
	}
}

struct span text_cut(struct span s, size_t max)
{
	size_t n = max;

	if (s.len <= max)
		return s;
	while (n > 0 && max - n < 3 && (s.p[n] & 0xc0) == 0x80)
		n--;
	return span_of(s.p, (s.p[n] & 0xc0) == 0x80 ? max : n);
}

int report_say(struct report *r, struct difference d)
{
	if (r->said[d.noise] < LIMIT_DIFFERENCES) {
		r->said[d.noise]++;
		d.path = text_cut(d.path, LIMIT_DIFFERENCE_PATH);
		d.recorded = text_cut(d.recorded, LIMIT_DIFFERENCE_TEXT);
		d.replayed = text_cut(d.replayed, LIMIT_DIFFERENCE_TEXT);
		r->found(r->arg, &d);
	}
	return r->said[false] < LIMIT_DIFFERENCES ? SC_OK : SC_EFULL;
}

#define STATUS_TEXT 16

static struct span status_text(const struct message *m, char text[STATUS_TEXT])
{
	if (!m)
		return span_str("no answer");
	snprintf(text, STATUS_TEXT, "%03u", (unsigned)m->status);
	return span_str(text);
}

static int say_status(struct report *r, enum difference_kind kind)
{
	char recorded[STATUS_TEXT], replayed[STATUS_TEXT];

	return report_say(r, (struct difference){
				     .place = PLACE_STATUS,
				     .kind = kind,
				     .path = span_str(""),
				     .recorded = status_text(r->recorded, recorded),
				     .replayed = status_text(r->replayed, replayed),
			     });
}

/* What there is of a body. */
struct side {
	struct span text;
	bool cut;     /* its end is missing */
	bool unknown; /* nothing can be said of it */
};

/* RFC 9110, 6.4.1. */
static bool never_has_body(const struct message *m)
{
	return m->status < 200 || m->status == 204 || m->status == 304;
}

/* What its own head says there should be; 0 when it says nothing. */
static uint64_t promised(const struct message *m)
{
	int i = message_find(m, "Content-Length", 0);
	struct span v;
	uint64_t n = 0;

	if (i < 0 || (m->flags & MESSAGE_CHUNKED))
		return 0;
	v = message_value(m, (uint32_t)i);
	for (size_t k = 0; k < v.len && v.p[k] >= '0' && v.p[k] <= '9' && n < UINT64_MAX / 16; k++)
		n = n * 10 + (uint64_t)(v.p[k] - '0');
	return n;
}

static struct side kept_of(const struct message *m)
{
	struct side s = {.text = buf_span(&m->body)};

	s.unknown = (m->flags & MESSAGE_GAP) || never_has_body(m);
	s.cut = (m->flags & (MESSAGE_CAPPED | MESSAGE_UNKEPT)) || m->body.len < m->body_size ||
		promised(m) > m->body_size;
	return s;
}

/* A body that says it is coded and is not, or not as we know it, is what it is on the wire. */
static int decode(const struct message *m, struct buf *out, struct side *s)
{
	struct codings codings = {.n = 0};
	int rc;

	if (s->text.len == 0 || codings_of(m, &codings) != SC_OK || codings.n == 0)
		return SC_OK;
	buf_clear(out);
	rc = codings_decode(&codings, s->text, s->cut, out);
	if (rc == SC_ENOMEM)
		return rc;
	if (rc == SC_EFULL && out->len) {
		s->cut = true;
		rc = SC_OK;
	}
	if (rc == SC_OK)
		s->text = buf_span(out);
	return SC_OK;
}

static bool has_json_type(const struct message *m)
{
	int i = message_find(m, "Content-Type", 0);
	struct span type = i < 0 ? span_str("") : message_value(m, (uint32_t)i);
	const uint8_t *end = type.len ? memchr(type.p, ';', type.len) : NULL;

	if (end)
		type.len = (size_t)(end - type.p);
	for (; type.len >= 4; type.p++, type.len--) {
		if (span_case_eq(span_of(type.p, 4), span_str("json")))
			return true;
	}
	return false;
}

static bool looks_like_json(struct span text)
{
	size_t i = 0;

	while (i < text.len && strchr(" \t\r\n", text.p[i]) && text.p[i])
		i++;
	return i < text.len && (text.p[i] == '{' || text.p[i] == '[');
}

/* Reads both. 1: both are JSON; 0: they are not; SC_ENOMEM. */
static int read_docs(struct report *r, const struct side *s)
{
	const struct message *const m[2] = {r->recorded, r->replayed};

	for (int i = 0; i < 2; i++) {
		if (!has_json_type(m[i]) && !looks_like_json(s[i].text))
			return 0;
	}
	for (int i = 0; i < 2; i++) {
		int rc = doc_read(&r->c->doc[i], s[i].text, s[i].cut);

		if (rc)
			return rc == SC_ENOMEM ? rc : 0;
	}
	return 1;
}

static size_t where_they_part(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len, at = 0;

	while (n - at >= KIB && memcmp(a.p + at, b.p + at, KIB) == 0)
		at += KIB;
	while (at < n && a.p[at] == b.p[at])
		at++;
	return at;
}

/* "byte 3 of 10: text", "byte 3 of at least 10: 00ff", "ends at byte 3". */
static struct span body_text(const struct side *s, size_t at, char text[LIMIT_DIFFERENCE_TEXT])
{
	struct span rest;
	size_t n;

	if (at == s->text.len) {
		n = (size_t)snprintf(text, LIMIT_DIFFERENCE_TEXT, "ends at byte %zu", at);
		return span_of(text, n);
	}
	n = (size_t)snprintf(text, LIMIT_DIFFERENCE_TEXT, "byte %zu of %s%zu: ", at,
			     s->cut ? "at least " : "", s->text.len);
	for (int i = 0; i < 3 && at > 0 && (s->text.p[at] & 0xc0) == 0x80; i++)
		at--;
	rest = text_cut(span_of(s->text.p + at, s->text.len - at), LIMIT_DIFFERENCE_TEXT - n);
	if (utf8_valid(rest)) {
		memcpy(text + n, rest.p, rest.len);
		return span_of(text, n + rest.len);
	}
	for (size_t i = 0; i < rest.len && i < HEX_BYTES; i++)
		n += (size_t)snprintf(text + n, LIMIT_DIFFERENCE_TEXT - n, "%02x", rest.p[i]);
	return span_of(text, n);
}

static int compare_bytes(struct report *r, const struct side *s)
{
	char recorded[LIMIT_DIFFERENCE_TEXT], replayed[LIMIT_DIFFERENCE_TEXT];
	size_t at = where_they_part(s[0].text, s[1].text);

	_Static_assert(LIMIT_DIFFERENCE_TEXT > AT_TEXT + 2 * HEX_BYTES, "room for what is shown");
	for (int i = 0; i < 2; i++) {
		if (at == s[i].text.len && (s[i].cut || at == s[!i].text.len))
			return SC_OK;
	}
	return report_say(r, (struct difference){
				     .place = PLACE_BODY,
				     .kind = KIND_BODY,
				     .path = span_str(""),
				     .recorded = body_text(&s[0], at, recorded),
				     .replayed = body_text(&s[1], at, replayed),
			     });
}

/* Whether both say the same of how their bodies are coded, word for word. */
static bool coded_alike(const struct message *a, const struct message *b)
{
	static const char *const names[] = {"Content-Encoding", "Transfer-Encoding"};

	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		int i = message_find(a, names[k], 0), j = message_find(b, names[k], 0);

		while (i >= 0 && j >= 0) {
			if (!span_eq(message_value(a, (uint32_t)i), message_value(b, (uint32_t)j)))
				return false;
			i = message_find(a, names[k], (uint32_t)i + 1);
			j = message_find(b, names[k], (uint32_t)j + 1);
		}
		if (i >= 0 || j >= 0)
			return false;
	}
	return true;
}

/* As far as both go. */
static bool same_on_the_wire(const struct report *r, const struct side *s)
{
	struct span a = s[0].text, b = s[1].text;
	size_t at;

	if ((a.len < b.len && !s[0].cut) || (b.len < a.len && !s[1].cut))
		return false;
	at = where_they_part(a, b);
	if (at < a.len && at < b.len)
		return false;
	return r->coded_alike;
}

static int compare_bodies(struct report *r, struct side *s)
{
	int rc = SC_OK;

	if (s[0].unknown || s[1].unknown || same_on_the_wire(r, s))
		return SC_OK;
	rc = decode(r->recorded, &r->c->body[0], &s[0]);
	if (!rc)
		rc = decode(r->replayed, &r->c->body[1], &s[1]);
	if (!rc)
		rc = read_docs(r, s);
	if (rc == 1)
		return compare_docs(r);
	return rc ? rc : compare_bytes(r, s);
}

/* Where bodies are whole, a Content-Length says nothing that they do not. */
static bool framing_counts(const struct report *r, const struct side *s)
{
	bool empty = r->recorded->body_size == 0 && r->replayed->body_size == 0;

	for (int i = 0; i < 2; i++)
		empty = empty || s[i].unknown || s[i].cut;
	return empty && r->coded_alike;
}

static bool same_fields(const struct message *a, const struct message *b)
{
	if (span_eq(span_of(a->head, a->head_len), span_of(b->head, b->head_len)))
		return true;
	if (a->n_fields != b->n_fields)
		return false;
	for (uint32_t i = 0; i < a->n_fields; i++) {
		if (!span_case_eq(message_name(a, i), message_name(b, i)) ||
		    !span_eq(message_value(a, i), message_value(b, i)))
			return false;
	}
	return true;
}

/* A body is known by its bytes and what the fields say of them. */
static int compare_parts(struct report *r)
{
	bool same = same_fields(r->recorded, r->replayed);
	struct side sides[2];
	int rc = SC_OK;

	if (same && span_eq(buf_span(&r->recorded->body), buf_span(&r->replayed->body)))
		return SC_OK;
	sides[0] = kept_of(r->recorded);
	sides[1] = kept_of(r->replayed);
	r->coded_alike = same || coded_alike(r->recorded, r->replayed);
	r->framing_counts = framing_counts(r, sides);
	if (!same)
		rc = compare_heads(r);
	return rc ? rc : compare_bodies(r, sides);
}

int compare_answers(struct comparer *c, const struct message *recorded,
		    const struct message *replayed,
		    void (*found)(void *arg, const struct difference *d), void *arg)
{
	struct report r = {
		.c = c, .recorded = recorded, .replayed = replayed, .found = found, .arg = arg};
	int rc = SC_OK;

	if (!recorded || !replayed) {
		if (recorded != replayed)
			(void)say_status(&r, KIND_ERROR);
		return SC_OK;
	}
	if (recorded->status != replayed->status)
		rc = say_status(&r, KIND_STATUS);
	if (recorded->head_len == 0 || replayed->head_len == 0)
		return SC_OK;
	if (!rc)
		rc = compare_parts(&r);
	give_back(c);
	return rc == SC_EFULL ? SC_OK : rc;
}
