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

/* What jansson cannot read is this in a copy that it is given instead, never longer than what it
 * stands for: a code point that is no character (Unicode, 23.7), a number next to the greatest. */
#define ODD_ESCAPE "\\ufdd0"
#define ODD_UTF8 "\xef\xb7\x90"
#define LARGE_TEXT "9e307"
#define LARGE 9e307

/* Hurl reads no JSON with half a surrogate pair: it takes those out first. What is matched and kept
 * is an escaped backslash, or a pair. */
#define WITHOUT_HALVES                                                                             \
	"body replaceRegex "                                                                       \
	"/(\\\\\\\\|\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..)|\\\\u[dD][89a-fA-F]../ \"$1\" "

static const struct {
	const char *note, *comment;
} left_rows[HURL_LEFT] = {
	[HURL_LEFT_LARGE] = {"JSON numbers too large to compare, not asserted",
			     "numbers too large to compare"},
	[HURL_LEFT_EXPONENT] = {"JSON numbers that need an exponent, not asserted",
				"numbers that need an exponent"},
	[HURL_LEFT_SURROGATE] = {"JSON strings with half a surrogate pair, not asserted",
				 "strings with half a surrogate pair"},
	[HURL_LEFT_NAME] = {"JSON members whose name no JSONPath holds, not asserted",
			    "members whose name no JSONPath holds"},
};

/* A line under way. */
struct line {
	struct hurl_asserts *a;
	struct format_notes *notes;
	struct buf path; /* of a leaf, as JSONPath */
	size_t begun;
	bool mended; /* what is read is such a copy */
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

/* --- JSON that jansson does not read ------------------------------------------------------- */

/* A copy under way. */
struct mending {
	struct span in;
	size_t at;
	struct buf *out;
	bool mended, surrogates;
};

static int copy(struct mending *m, size_t n)
{
	int rc = buf_add(m->out, m->in.p + m->at, n);

	m->at += n;
	return rc;
}

static int replace(struct mending *m, size_t n, const char *text)
{
	m->mended = true;
	m->at += n;
	return buf_add_str(m->out, text);
}

static bool is_digit(struct span s, size_t i)
{
	return i < s.len && s.p[i] >= '0' && s.p[i] <= '9';
}

static size_t digits_end(struct span s, size_t i)
{
	while (is_digit(s, i))
		i++;
	return i;
}

/* RFC 8259, 6; 0: there is none. */
static size_t number_len(struct span s)
{
	size_t i = s.len && s.p[0] == '-', e;

	if (!is_digit(s, i))
		return 0;
	i = s.p[i] == '0' ? i + 1 : digits_end(s, i);
	if (i < s.len && s.p[i] == '.' && is_digit(s, i + 1))
		i = digits_end(s, i + 1);
	e = i + 1;
	if (e < s.len && (s.p[e] == '+' || s.p[e] == '-'))
		e++;
	return i < s.len && (s.p[i] | 0x20) == 'e' && is_digit(s, e) ? digits_end(s, e) : i;
}

static int mend_number(struct mending *m)
{
	struct span rest = span_of(m->in.p + m->at, m->in.len - m->at);
	size_t n = number_len(rest);
	json_t *number;

	if (!n)
		return copy(m, 1);
	number = json_loadb((const char *)rest.p, n, JSON_DECODE_ANY, NULL);
	json_decref(number);
	return number ? copy(m, n) : replace(m, n, LARGE_TEXT);
}

/* The value of \uXXXX at i; -1: there is none. */
static int escape_at(struct span s, size_t i)
{
	int v = 0;

	if (i + 6 > s.len || s.p[i] != '\\' || s.p[i + 1] != 'u')
		return -1;
	for (size_t k = i + 2; k < i + 6; k++) {
		uint8_t c = s.p[k], letter = c | 0x20;

		if (!is_digit(s, k) && (letter < 'a' || letter > 'f'))
			return -1;
		v = v << 4 | (is_digit(s, k) ? c - '0' : letter - 'a' + 10);
	}
	return v;
}

/* Jansson takes a NUL in a value, not in a name. */
static int mend_escape(struct mending *m, bool name)
{
	int v = escape_at(m->in, m->at);

	if (v == 0 && name)
		return replace(m, 6, ODD_ESCAPE);
	if (v < 0xd800 || v > 0xdfff)
		return copy(m, m->at + 1 < m->in.len ? 2 : 1);
	if (v < 0xdc00 && (escape_at(m->in, m->at + 6) & ~0x3ff) == 0xdc00)
		return copy(m, 12);
	m->surrogates = true;
	return replace(m, 6, ODD_ESCAPE);
}

static size_t string_end(struct span s, size_t i)
{
	while (i < s.len && s.p[i] != '"')
		i += s.p[i] == '\\' ? 2 : 1;
	return i < s.len ? i : s.len;
}

static int mend_string(struct mending *m)
{
	size_t end = string_end(m->in, m->at + 1), next = end + 1;
	int rc = copy(m, 1);
	bool name;

	while (next < m->in.len && memchr(" \t\r\n", m->in.p[next], 4))
		next++;
	name = next < m->in.len && m->in.p[next] == ':';
	while (m->at < end && !rc) {
		const uint8_t *from = m->in.p + m->at;
		const uint8_t *escape = memchr(from, '\\', end - m->at);

		rc = copy(m, escape ? (size_t)(escape - from) : end - m->at);
		if (!rc && escape)
			rc = mend_escape(m, name);
	}
	return rc || m->at == m->in.len ? rc : copy(m, 1);
}

static int mend(struct mending *m)
{
	int rc = SC_OK;

	while (m->at < m->in.len && !rc) {
		uint8_t c = m->in.p[m->at];

		if (c == '"')
			rc = mend_string(m);
		else
			rc = c == '-' || is_digit(m->in, m->at) ? mend_number(m) : copy(m, 1);
	}
	return rc;
}

static json_t *read_json(struct span s)
{
	return json_loadb((const char *)s.p, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

/* *ret is NULL where it is none. SC_ENOMEM. */
static int load(struct line *l, struct span body, json_t **ret)
{
	struct mending m = {.in = body};
	struct buf text;
	int rc;

	*ret = read_json(body);
	if (*ret)
		return SC_OK;
	buf_init(&text, body.len);
	m.out = &text;
	rc = mend(&m);
	if (!rc && m.mended)
		*ret = read_json(buf_span(&text));
	buf_done(&text);
	l->mended = *ret != NULL;
	l->a->surrogates = l->mended && m.surrogates;
	return rc;
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

static bool is_odd(const struct line *l, struct span s)
{
	return l->mended && s.len && memmem(s.p, s.len, ODD_UTF8, strlen(ODD_UTF8));
}

/* Why there is no line for a scalar; HURL_LEFT: there is. */
static enum hurl_left why_left(const struct line *l, const json_t *v)
{
	double d = json_real_value(v), size = d < 0 ? -d : d;

	if (json_is_string(v) &&
	    is_odd(l, span_of(json_string_value(v), json_string_length(v))))
		return HURL_LEFT_SURROGATE;
	if (size >= LARGE)
		return HURL_LEFT_LARGE;
	/* Hurl has no exponents. */
	return size >= 1e15 || (size > 0 && size < 1e-3) ? HURL_LEFT_EXPONENT : HURL_LEFT;
}

static int leave(struct line *l, enum hurl_left why)
{
	format_note(l->notes, left_rows[why].note);
	l->a->left[why]++;
	return SC_OK;
}

static int add_scalar(struct line *l, const json_t *v)
{
	struct buf *text = &l->a->text;
	enum hurl_left why = why_left(l, v);
	int rc;

	if (why != HURL_LEFT)
		return leave(l, why);
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

	if (is_odd(l, name))
		return leave(l, HURL_LEFT_NAME);
	if (is_word(name)) {
		rc = buf_add_str(&l->path, ".");
		if (!rc)
			rc = buf_add_span(&l->path, name);
	} else if (is_quotable(name)) {
		rc = buf_addf(&l->path, "['%.*s']", (int)name.len, (const char *)name.p);
	} else {
		return leave(l, HURL_LEFT_NAME);
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
	rc = load(l, body, &json);
	if (rc || !json)
		return rc;
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
	a->surrogates = a->surrogates || other->surrogates;
}

int hurl_asserts_add(const struct hurl_asserts *a, struct buf *out)
{
	int rc = SC_OK;

	for (uint32_t i = 0; i < a->n && !rc; i++) {
		if (a->list[i].unstable)
			continue;
		if (a->surrogates && span_starts(text_of(a, i), span_str("jsonpath ")))
			rc = buf_add_str(out, WITHOUT_HALVES);
		if (!rc)
			rc = buf_add_span(out, text_of(a, i));
		if (!rc)
			rc = buf_add_str(out, "\n");
	}
	return rc;
}

static int add_left(struct buf *out, const char *why, uint32_t n)
{
	return n ? buf_addf(out, "# left out, %s: %" PRIu32 "\n", why, n) : SC_OK;
}

int hurl_asserts_add_left(const struct hurl_asserts *a, struct buf *out)
{
	uint32_t changed = 0;
	int rc;

	for (uint32_t i = 0; i < a->n; i++)
		changed += a->list[i].unstable;
	rc = add_left(out, "changed between answers", changed);
	for (unsigned i = 0; i < HURL_LEFT && !rc; i++)
		rc = add_left(out, left_rows[i].comment, a->left[i]);
	return rc;
}
