/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a JSON text into a list of places. jansson does not serve here: it rounds or refuses long
 * numbers, reads nothing of a text that was cut, and seeds its tables from /dev/urandom. Lenient
 * inside strings, whose ends are never in doubt, and strict about everything else. */
#include "json_doc.h"

#include <stdlib.h>

#include "core/limits.h"
#include "json_number.h"

#define FIRST_NODES 64u

struct reader {
	struct doc *d;
	const uint8_t *p, *end;
	bool cut;
	bool full; /* of values; the rest is not read */
	unsigned depth;
};

void doc_init(struct doc *d)
{
	*d = (struct doc){.n = 0};
}

void doc_done(struct doc *d)
{
	free(d->nodes);
	doc_init(d);
}

struct span doc_raw(const struct doc *d, uint32_t i)
{
	return span_of(d->text.p + d->nodes[i].at, d->nodes[i].len);
}

struct doc_string doc_name(const struct doc *d, uint32_t i)
{
	const struct doc_node *n = &d->nodes[i];

	return (struct doc_string){span_of(d->text.p + n->name, n->name_len), n->name_escaped};
}

struct doc_string doc_string(const struct doc *d, uint32_t i)
{
	const struct doc_node *n = &d->nodes[i];

	return (struct doc_string){span_of(d->text.p + n->at + 1, n->len - 2), n->escaped};
}

static bool skip_space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
		r->p++;
	return r->p < r->end;
}

static uint32_t offset(const struct reader *r)
{
	return (uint32_t)(r->p - r->d->text.p);
}

static int grow(struct doc *d)
{
	uint32_t cap = d->cap ? d->cap * 2 : FIRST_NODES;
	struct doc_node *nodes = realloc(d->nodes, cap * sizeof(*nodes));

	if (!nodes)
		return SC_ENOMEM;
	d->nodes = nodes;
	d->cap = cap;
	return SC_OK;
}

/* SC_ETRUNC at the ceiling: the text might as well end here. */
static int add_node(struct reader *r, uint32_t *ret)
{
	struct doc *d = r->d;
	int rc;

	if (d->n == LIMIT_COMPARED_VALUES) {
		r->full = true;
		return SC_ETRUNC;
	}
	if (d->n == d->cap) {
		rc = grow(d);
		if (rc)
			return rc;
	}
	d->nodes[d->n] = (struct doc_node){.at = offset(r)};
	*ret = d->n++;
	return SC_OK;
}

/* From the opening quote to behind the closing one. */
static int read_string(struct reader *r, bool *ret_escaped)
{
	bool escaped = false;
	const uint8_t *p;

	for (p = r->p + 1; p < r->end && *p != '"'; p++) {
		if (*p != '\\')
			continue;
		escaped = true;
		if (++p == r->end)
			break;
	}
	if (p == r->end)
		return SC_ETRUNC;
	r->p = p + 1;
	*ret_escaped = escaped;
	return SC_OK;
}

static int read_literal(struct reader *r, struct doc_node *n)
{
	static const struct {
		const char *text;
		size_t len;
		enum doc_kind kind;
	} words[] = {{"null", 4, DOC_NULL}, {"true", 4, DOC_BOOL}, {"false", 5, DOC_BOOL}};
	size_t left = (size_t)(r->end - r->p);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = words[i].len < left ? words[i].len : left;

		if (memcmp(r->p, words[i].text, len) != 0)
			continue;
		if (len < words[i].len)
			return SC_ETRUNC;
		n->kind = (uint8_t)words[i].kind;
		r->p += len;
		return SC_OK;
	}
	return SC_EPROTO;
}

static int read_number(struct reader *r, struct doc_node *n)
{
	size_t left = (size_t)(r->end - r->p), len = json_number_length(span_of(r->p, left));

	/* One that ends with the text may go on behind the cut, or become one there. */
	if (r->cut && json_number_reaches_end(span_of(r->p, left)))
		return SC_ETRUNC;
	if (len == 0)
		return SC_EPROTO;
	n->kind = DOC_NUMBER;
	r->p += len;
	return SC_OK;
}

static int read_value(struct reader *r, uint32_t *ret);

static int read_member(struct reader *r, uint32_t *ret)
{
	uint32_t name = offset(r) + 1, name_len;
	bool escaped;
	int rc;

	if (*r->p != '"')
		return SC_EPROTO;
	rc = read_string(r, &escaped);
	if (rc)
		return rc;
	name_len = offset(r) - 1 - name;
	if (!skip_space(r))
		return SC_ETRUNC;
	if (*r->p++ != ':')
		return SC_EPROTO;
	*ret = UINT32_MAX;
	rc = read_value(r, ret);
	if (*ret != UINT32_MAX) {
		r->d->nodes[*ret].name = name;
		r->d->nodes[*ret].name_len = name_len;
		r->d->nodes[*ret].name_escaped = escaped;
	}
	return rc;
}

/* Behind the opening bracket; up to behind the closing one. The list may move while it is read. */
static int read_children(struct reader *r, uint32_t self, bool object)
{
	uint8_t close = object ? '}' : ']';
	int rc = SC_OK;

	if (skip_space(r) && *r->p == close) {
		r->p++;
		return SC_OK;
	}
	while (!rc) {
		uint32_t child = UINT32_MAX;

		if (!skip_space(r))
			return SC_ETRUNC;
		rc = object ? read_member(r, &child) : read_value(r, &child);
		r->d->nodes[self].n += child != UINT32_MAX;
		if (rc)
			return rc;
		if (!skip_space(r))
			return SC_ETRUNC;
		if (*r->p == close) {
			r->p++;
			return SC_OK;
		}
		if (*r->p++ != ',')
			return SC_EPROTO;
	}
	return rc;
}

static int read_container(struct reader *r, uint32_t self)
{
	bool object = *r->p == '{';
	int rc;

	if (r->depth == LIMIT_JSON_DEPTH)
		return SC_EPROTO;
	r->depth++;
	r->p++;
	r->d->nodes[self].kind = object ? DOC_OBJECT : DOC_ARRAY;
	rc = read_children(r, self, object);
	r->d->nodes[self].cut = rc == SC_ETRUNC;
	r->depth--;
	return rc;
}

/* A scalar that is not whole is no value; a container is one of those it has. */
static int read_value(struct reader *r, uint32_t *ret)
{
	struct doc_node *n;
	uint32_t self = 0;
	int rc;

	if (!skip_space(r))
		return SC_ETRUNC;
	rc = add_node(r, &self);
	if (rc)
		return rc;
	n = &r->d->nodes[self];
	n->kind = DOC_STRING;
	if (*r->p == '{' || *r->p == '[')
		rc = read_container(r, self);
	else if (*r->p == '"')
		rc = read_string(r, &n->escaped);
	else if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9'))
		rc = read_number(r, n);
	else
		rc = read_literal(r, n);
	n = &r->d->nodes[self];
	if (rc && !n->cut) {
		r->d->n = self;
		return rc;
	}
	n->len = offset(r) - n->at;
	n->next = r->d->n;
	*ret = self;
	return rc;
}

/* A byte order mark stands before some texts (RFC 8259, 8.1); of one that is cut, a part of it. */
static struct span without_mark(struct span text)
{
	size_t n = text.len < 3 ? text.len : 3;

	if (n && memcmp(text.p, "\xef\xbb\xbf", n) == 0)
		return span_of(text.p + n, text.len - n);
	return text;
}

int doc_read(struct doc *d, struct span text, bool cut)
{
	struct reader r = {.d = d};
	uint32_t root = 0;
	int rc;

	d->text = without_mark(text);
	d->n = 0;
	d->hashed = false;
	if (d->text.len > LIMIT_COMPARED_BODY) {
		d->text.len = LIMIT_COMPARED_BODY;
		cut = true;
	}
	if (d->text.len == 0)
		return cut ? SC_OK : SC_EPROTO;
	r.p = d->text.p;
	r.end = d->text.p + d->text.len;
	r.cut = cut;
	rc = read_value(&r, &root);
	if (rc == SC_ETRUNC)
		return cut || r.full ? SC_OK : SC_EPROTO;
	if (rc)
		return rc;
	return skip_space(&r) ? SC_EPROTO : SC_OK;
}

static int hex4(const uint8_t *p, size_t left, uint32_t *ret)
{
	uint32_t v = 0;

	if (left < 6 || p[0] != '\\' || p[1] != 'u')
		return SC_EPROTO;
	for (int i = 2; i < 6; i++) {
		uint8_t c = p[i] | 0x20;

		if (p[i] >= '0' && p[i] <= '9')
			v = v << 4 | (uint32_t)(p[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint32_t)(c - 'a' + 10);
		else
			return SC_EPROTO;
	}
	*ret = v;
	return SC_OK;
}

/* RFC 3629, 3. A surrogate without its other half is written like any other. */
static unsigned put_utf8(uint8_t out[4], uint32_t c)
{
	unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (unsigned i = n - 1; i > 0; i--) {
		out[i] = (uint8_t)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (uint8_t)(lead[n] | c);
	return n;
}

/* An escape sequence at the start of the rest into `pending`; what is none stands for itself. */
static void take_escape(struct doc_bytes *b)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const uint8_t *p = b->rest.p;
	size_t left = b->rest.len, used = 1;
	const char *f = left > 1 && p[1] ? strchr(from, p[1]) : NULL;
	uint32_t c = '\\', low;

	if (f) {
		c = (uint8_t)to[f - from];
		used = 2;
	} else if (hex4(p, left, &c) == SC_OK) {
		used = 6;
		if (c >= 0xd800 && c < 0xdc00 && hex4(p + 6, left - 6, &low) == SC_OK &&
		    low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
			used = 12;
		}
	}
	b->n = put_utf8(b->pending, c);
	b->at = 0;
	b->rest = span_of(p + used, left - used);
}

void doc_bytes_init(struct doc_bytes *b, struct span raw)
{
	*b = (struct doc_bytes){.rest = raw};
}

int doc_bytes_next(struct doc_bytes *b)
{
	if (b->at == b->n) {
		if (b->rest.len == 0)
			return -1;
		if (b->rest.p[0] != '\\') {
			b->rest.len--;
			return *b->rest.p++;
		}
		take_escape(b);
	}
	return b->pending[b->at++];
}

int doc_string_compare(struct doc_string a, struct doc_string b)
{
	struct doc_bytes left, right;
	int x, y;

	if (!a.escaped && !b.escaped) {
		size_t n = a.raw.len < b.raw.len ? a.raw.len : b.raw.len;

		x = n ? memcmp(a.raw.p, b.raw.p, n) : 0;
		return x ? x : (a.raw.len > b.raw.len) - (a.raw.len < b.raw.len);
	}
	doc_bytes_init(&left, a.raw);
	doc_bytes_init(&right, b.raw);
	do {
		x = doc_bytes_next(&left);
		y = doc_bytes_next(&right);
	} while (x == y && x >= 0);
	return x - y;
}

bool doc_number_eq(struct span a, struct span b)
{
	return span_eq(a, b) || json_number_eq(a, b);
}

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return h ^ h >> 31;
}

static uint64_t hash_string(struct doc_string s)
{
	uint64_t h = DOC_STRING;
	struct doc_bytes b;
	int c;

	doc_bytes_init(&b, s.raw);
	while ((c = doc_bytes_next(&b)) >= 0)
		h = (h ^ (uint64_t)c) * 0x100000001b3u;
	return mix(h);
}

/* Members in any order are the same object; elements in another order are another array. */
static uint64_t hash_container(const struct doc *d, uint32_t i)
{
	const struct doc_node *n = &d->nodes[i];
	uint64_t h = n->kind;

	for (uint32_t c = i + 1; c < n->next; c = d->nodes[c].next) {
		if (n->kind == DOC_OBJECT)
			h += mix(hash_string(doc_name(d, c)) + mix(d->nodes[c].hash));
		else
			h = mix(h + d->nodes[c].hash);
	}
	return mix(h);
}

static uint64_t hash_value(const struct doc *d, uint32_t i)
{
	switch ((enum doc_kind)d->nodes[i].kind) {
	case DOC_NULL:
		return mix(DOC_NULL + 1);
	case DOC_BOOL:
		return mix(DOC_BOOL + ((uint64_t)d->nodes[i].len << 8));
	case DOC_NUMBER:
		return mix(json_number_hash(doc_raw(d, i)));
	case DOC_STRING:
		return hash_string(doc_string(d, i));
	case DOC_ARRAY:
	case DOC_OBJECT:
		break;
	}
	return hash_container(d, i);
}

void doc_hash(struct doc *d)
{
	if (d->hashed)
		return;
	for (uint32_t i = d->n; i-- > 0;)
		d->nodes[i].hash = hash_value(d, i);
	d->hashed = true;
}
