/* SPDX-License-Identifier: Apache-2.0 */
/* What a regression suite expects of an answer: one line a fact, so that a fact that changes from
 * one answer to the next can be taken out by itself. Reads no body beyond its ceilings. */
#include "hurl.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/coding.h"
#include "core/limits.h"
#include "core/rng.h"
#include "format_io.h"

#define PATH_BYTES 4096u
#define TEXT_BYTES (4u * LIMIT_HURL_JSON)
#define DIGEST_BYTES 32u

/* A line under way. */
struct line {
	struct hurl_asserts *a;
	struct format_notes *notes;
	struct buf path; /* of a leaf, as JSONPath */
	size_t begun;
};

static int name_ends(struct line *l)
{
	struct hurl_asserts *a = l->a;
	struct hurl_assert *list;

	if (a->n == a->room) {
		uint32_t room = a->room ? 2 * a->room : 16;

		list = realloc(a->list, room * sizeof(*list));
		if (!list)
			return SC_ENOMEM;
		a->list = list;
		a->room = room;
	}
	a->list[a->n] = (struct hurl_assert){
		.off = (uint32_t)l->begun,
		.name_len = (uint32_t)(a->text.len - l->begun),
		.name = hash_bytes(a->text.data + l->begun, a->text.len - l->begun, 0),
	};
	return buf_add_str(&a->text, " ");
}

static int line_ends(struct line *l)
{
	struct hurl_assert *last = &l->a->list[l->a->n++];

	last->len = (uint32_t)(l->a->text.len - last->off);
	return SC_OK;
}

/* The query at the front: a word and a quoted argument; `filter` may be "". */
static int begin(struct line *l, const char *query, struct span argument, const char *filter)
{
	struct buf *text = &l->a->text;
	int rc;

	if (l->a->n == LIMIT_HURL_ASSERTS)
		return SC_EFULL;
	l->begun = text->len;
	rc = buf_addf(text, "%s ", query);
	if (!rc)
		rc = hurl_add_quoted(text, argument);
	if (!rc)
		rc = buf_add_str(text, filter);
	return rc ? rc : name_ends(l);
}

static int begin_leaf(struct line *l, const char *filter)
{
	return begin(l, "jsonpath", buf_span(&l->path), filter);
}

static int add_content_type(struct line *l, const struct message *m)
{
	int i = message_find(m, "Content-Type", 0);
	int rc;

	if (i < 0 || !request_field_plain(m, (uint32_t)i))
		return SC_OK;
	rc = begin(l, "header", span_str("Content-Type"), "");
	if (!rc)
		rc = buf_add_str(&l->a->text, "== ");
	if (!rc)
		rc = hurl_add_quoted(&l->a->text, message_value(m, (uint32_t)i));
	return rc ? rc : line_ends(l);
}

/* --- JSON ---------------------------------------------------------------------------------- */

static int add_number(struct buf *text, const json_t *v)
{
	int rc;

	if (json_is_integer(v))
		return buf_addf(text, "== %" PRId64, (int64_t)json_integer_value(v));
	rc = buf_add_str(text, "== ");
	return rc ? rc : add_real(text, json_real_value(v));
}

/* Hurl has no exponents. */
static bool is_plain_real(const json_t *v)
{
	double d = json_real_value(v), size = d < 0 ? -d : d;

	return d == 0 || (size >= 1e-3 && size < 1e15);
}

static int add_scalar(struct line *l, const json_t *v)
{
	struct buf *text = &l->a->text;
	int rc;

	if (json_is_real(v) && !is_plain_real(v)) {
		format_note(l->notes, "JSON numbers that need an exponent, not asserted");
		return SC_OK;
	}
	rc = begin_leaf(l, "");
	if (rc)
		return rc;
	if (json_is_string(v)) {
		rc = buf_add_str(text, "== ");
		if (!rc)
			rc = hurl_add_quoted(text, span_of(json_string_value(v),
							   json_string_length(v)));
	} else if (json_is_number(v)) {
		rc = add_number(text, v);
	} else {
		rc = buf_add_str(text, json_is_null(v) ? "== null" :
				 json_is_true(v) ? "== true" : "== false");
	}
	return rc ? rc : line_ends(l);
}

static int add_fixed(struct line *l, const char *filter, const char *predicate)
{
	int rc = begin_leaf(l, filter);

	if (!rc)
		rc = buf_add_str(&l->a->text, predicate);
	return rc ? rc : line_ends(l);
}

static bool is_word(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i], letter = c | 0x20;

		if (!(letter >= 'a' && letter <= 'z') && c != '_' &&
		    (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return s.len != 0;
}

/* The readers of JSONPath do not agree about anything in quotes that is escaped. */
static bool is_quotable(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < ' ' || s.p[i] == 0x7f || strchr("'\"\\{", s.p[i]))
			return false;
	}
	return s.len != 0;
}

static int add_value(struct line *l, const json_t *v, unsigned depth);

static int add_member(struct line *l, struct span name, const json_t *v, unsigned depth)
{
	size_t before = l->path.len;
	int rc;

	if (is_word(name)) {
		rc = buf_add_str(&l->path, ".");
		if (!rc)
			rc = buf_add_span(&l->path, name);
	} else if (is_quotable(name)) {
		rc = buf_addf(&l->path, "['%.*s']", (int)name.len, (const char *)name.p);
	} else {
		format_note(l->notes, "JSON members whose name no JSONPath holds, not asserted");
		return SC_OK;
	}
	if (!rc)
		rc = add_value(l, v, depth + 1);
	l->path.len = before;
	return rc;
}

static int add_object(struct line *l, json_t *v, unsigned depth)
{
	void *at = json_object_iter(v);
	int rc = at ? SC_OK : add_fixed(l, "", "exists");

	for (; at && !rc; at = json_object_iter_next(v, at)) {
		const char *name = json_object_iter_key(at);

		rc = add_member(l, span_str(name), json_object_iter_value(at), depth);
	}
	return rc;
}

static int add_array(struct line *l, const json_t *v, unsigned depth)
{
	size_t n = json_array_size(v), before = l->path.len;
	char count[32];
	int rc;

	(void)snprintf(count, sizeof(count), "== %zu", n);
	rc = add_fixed(l, " count", count);
	for (size_t i = 0; i < n && !rc; i++) {
		rc = buf_addf(&l->path, "[%zu]", i);
		if (!rc)
			rc = add_value(l, json_array_get(v, i), depth + 1);
		l->path.len = before;
	}
	return rc;
}

static int add_value(struct line *l, const json_t *v, unsigned depth)
{
	if (depth > LIMIT_JSON_DEPTH)
		return SC_EFULL;
	if (json_is_object(v))
		return add_object(l, (json_t *)(uintptr_t)v, depth);
	return json_is_array(v) ? add_array(l, v, depth) : add_scalar(l, v);
}

/* 1: it is JSON, and asserted. */
static int add_json(struct line *l, struct span body)
{
	json_t *json;
	int rc;

	if (body.len > LIMIT_HURL_JSON || body.p[0] == '<')
		return 0;
	json = json_loadb((const char *)body.p, body.len, JSON_DECODE_ANY, NULL);
	if (!json)
		return 0;
	rc = buf_add_str(&l->path, "$");
	if (!rc)
		rc = add_value(l, json, 0);
	json_decref(json);
	if (rc == SC_EFULL) {
		format_note(l->notes, "answers with more JSON than is asserted, in part");
		rc = SC_OK;
	}
	return rc ? rc : 1;
}

/* --- other bodies -------------------------------------------------------------------------- */

static int add_digest(struct line *l, struct span body)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	int rc;

	if (!EVP_Digest(body.p, body.len, digest, NULL, EVP_sha256(), NULL))
		return SC_ENOMEM;
	l->begun = l->a->text.len;
	rc = buf_add_str(&l->a->text, "sha256");
	if (!rc)
		rc = name_ends(l);
	if (!rc)
		rc = buf_add_str(&l->a->text, "== hex,");
	for (unsigned i = 0; i < DIGEST_BYTES && !rc; i++)
		rc = buf_addf(&l->a->text, "%02x", digest[i]);
	if (!rc)
		rc = buf_add_str(&l->a->text, ";");
	return rc ? rc : line_ends(l);
}

/* Hurl takes gzip, deflate and br off, no more. */
static bool hurl_decodes(const struct codings *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->list[i] == CODING_ZSTD)
			return false;
	}
	return true;
}

static int add_body(struct line *l, const struct message *m)
{
	struct codings codings;
	struct buf plain;
	int rc;

	if (m->body.len < m->body_size || m->flags & (MESSAGE_CAPPED | MESSAGE_GAP)) {
		format_note(l->notes, "answers whose body is not whole, asserted without it");
		return SC_OK;
	}
	if (!m->body.len)
		return SC_OK;
	buf_init(&plain, LIMIT_COMPARED_BODY);
	rc = codings_of(m, &codings);
	if (!rc && !hurl_decodes(&codings))
		rc = SC_EPROTO;
	if (!rc)
		rc = codings_decode(&codings, buf_span(&m->body), false, &plain);
	if (rc == SC_EPROTO || rc == SC_EFULL) {
		format_note(l->notes, "answers whose body cannot be decoded, asserted without it");
		rc = SC_OK;
	} else if (!rc && plain.len) {
		rc = add_json(l, buf_span(&plain));
		rc = rc == 0 ? add_digest(l, buf_span(&plain)) : rc < 0 ? rc : SC_OK;
	}
	buf_done(&plain);
	return rc;
}

int hurl_asserts_of(const struct message *response, struct format_notes *notes,
		    struct hurl_asserts *ret)
{
	struct hurl_asserts a = {.n = 0};
	struct line l = {.a = &a, .notes = notes};
	int rc;

	buf_init(&a.text, TEXT_BYTES);
	buf_init(&l.path, PATH_BYTES);
	rc = add_content_type(&l, response);
	if (!rc)
		rc = add_body(&l, response);
	buf_done(&l.path);
	if (rc) {
		hurl_asserts_done(&a);
		return SC_ENOMEM;
	}
	*ret = a; /* moved */
	return SC_OK;
}

void hurl_asserts_done(struct hurl_asserts *a)
{
	buf_done(&a->text);
	free(a->list);
	a->list = NULL;
	a->n = a->room = 0;
}

/* --- comparing and saying ------------------------------------------------------------------ */

static struct span text_of(const struct hurl_asserts *a, uint32_t i)
{
	return span_of(a->text.data + a->list[i].off, a->list[i].len);
}

/* Where `other` asserts the same thing: mostly right behind the one before. */
static uint32_t find(const struct hurl_asserts *other, uint32_t from, uint64_t name)
{
	for (uint32_t i = 0; i < other->n; i++) {
		uint32_t at = from + i < other->n ? from + i : from + i - other->n;

		if (other->list[at].name == name)
			return at;
	}
	return other->n;
}

void hurl_asserts_compare(struct hurl_asserts *a, const struct hurl_asserts *other)
{
	uint32_t from = 0;

	for (uint32_t i = 0; i < a->n; i++) {
		uint32_t at;

		if (a->list[i].unstable)
			continue;
		at = find(other, from, a->list[i].name);
		a->list[i].unstable = at == other->n || !span_eq(text_of(a, i), text_of(other, at));
		from = at < other->n ? at : from;
	}
}

int hurl_asserts_add(const struct hurl_asserts *a, struct buf *out, uint32_t *ret_left)
{
	uint32_t left = 0;
	int rc = SC_OK;

	for (uint32_t i = 0; i < a->n && !rc; i++) {
		left += a->list[i].unstable;
		if (a->list[i].unstable)
			continue;
		rc = buf_add_span(out, text_of(a, i));
		if (!rc)
			rc = buf_add_str(out, "\n");
	}
	*ret_left = left;
	return rc;
}
