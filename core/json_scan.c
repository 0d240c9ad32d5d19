/* SPDX-License-Identifier: Apache-2.0 */
/* Walks through a JSON text byte by byte and says where the values stand that paths name. No
 * recursion, no tree; what it remembers of a container is one level of a fixed array. Lenient
 * inside strings and numbers, whose ends are never in doubt, and strict about everything else. */
#include <string.h>

#include "json_path.h"
#include "json_steps.h"
#include "wipe.h"

#define KEY_BYTES (4u * LIMIT_REDACT_NAME)

struct level {
	bool is_object;
	bool kept;       /* something before this element stays: a comma before it goes with it */
	size_t comma;    /* the last one */
	size_t start;    /* of the member under way, its name; of the element */
	uint64_t index;
};

struct scan {
	struct json_paths *paths;
	const struct json_reader *r;
	struct span text;
	size_t at;
	bool cut;
	bool members;
	unsigned depth;
	struct level levels[LIMIT_JSON_DEPTH + 1]; /* [0]: outside of everything */
	/* What is found and under way, and at which depth it stands; NOTHING: none. */
	unsigned covered;
	size_t covered_from;
	struct rule_use use;
	uint8_t key_bytes[KEY_BYTES];
};

#define NOTHING UINT32_MAX
#define SHORT 32u

static bool is_space(uint8_t c)
{
	/* 0x1e stands before each text of a json-seq (RFC 7464). */
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == 0x1e;
}

static bool skip_space(struct scan *s)
{
	while (s->at < s->text.len && is_space(s->text.p[s->at]))
		s->at++;
	return s->at < s->text.len;
}

/* From the byte behind the opening quote to the closing one; the text's end when there is none. */
static size_t string_end(const struct scan *s, size_t from, bool *ret_closed)
{
	size_t at = from;

	/* Most are short and plain. */
	for (; at < s->text.len && at - from < SHORT && s->text.p[at] != '\\'; at++) {
		if (s->text.p[at] == '"') {
			*ret_closed = true;
			return at;
		}
	}
	for (;;) {
		const uint8_t *q = memchr(s->text.p + at, '"', s->text.len - at);
		size_t end = q ? (size_t)(q - s->text.p) : s->text.len, slashes = 0;

		while (end - slashes > from && s->text.p[end - slashes - 1] == '\\')
			slashes++;
		*ret_closed = q;
		if (!q || slashes % 2 == 0)
			return end;
		at = end + 1;
	}
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

static size_t put_utf8(uint8_t out[4], uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

size_t json_escape_step(const uint8_t *p, size_t left, uint8_t out[4], size_t *ret_len)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	uint32_t c, low;
	const char *f;

	if (hex4(p, left, &c) == SC_OK) {
		size_t used = 6;

		if (c >= 0xd800 && c < 0xdc00 && hex4(p + 6, left - 6, &low) == SC_OK &&
		    low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
			used = 12;
		}
		*ret_len = put_utf8(out, c);
		return used;
	}
	f = left > 1 && p[1] ? strchr(from, p[1]) : NULL;
	out[0] = f ? (uint8_t)to[f - from] : '\\';
	*ret_len = 1;
	return f ? 2 : 1;
}

int json_unescape(struct span s, struct buf *out)
{
	int rc = SC_OK;

	while (s.len && !rc) {
		const uint8_t *slash = memchr(s.p, '\\', s.len);
		size_t plain = slash ? (size_t)(slash - s.p) : s.len, used = 0, n = 0;
		uint8_t bytes[4];

		rc = wipe_add(out, s.p, plain);
		if (slash && !rc) {
			used = json_escape_step(slash, s.len - plain, bytes, &n);
			rc = wipe_add(out, bytes, n);
		}
		s = span_of(s.p + plain + used, s.len - plain - used);
	}
	return rc;
}

/* A name without its escapes; a long one is nobody's and may be cut. */
static struct span plain_key(struct scan *s, struct span raw)
{
	size_t n = 0;

	if (!raw.len || !memchr(raw.p, '\\', raw.len))
		return raw;
	while (raw.len && n + 4 <= sizeof(s->key_bytes)) {
		size_t used = 1, len = 1;

		s->key_bytes[n] = raw.p[0];
		if (raw.p[0] == '\\')
			used = json_escape_step(raw.p, raw.len, s->key_bytes + n, &len);
		n += len;
		raw = span_of(raw.p + used, raw.len - used);
	}
	return span_of(s->key_bytes, n);
}

/* The state of path i in the container of that depth. */
static uint32_t *state_at(const struct scan *s, unsigned depth, unsigned i)
{
	return &s->paths->states[(size_t)depth * s->paths->n + i];
}

static bool step_takes(const struct json_step *step, const struct level *l, struct span key)
{
	switch (step->kind) {
	case STEP_NAME:
		return l->is_object && span_eq(span_of(step->name, step->len), key);
	case STEP_INDEX:
		return !l->is_object && step->index == l->index;
	case STEP_ANY:
		return true;
	}
	return false;
}

/* Where in its path the child of a container that is at `state` is. */
static uint32_t next_state(const struct json_path *p, uint32_t state, const struct level *l,
			   struct span key)
{
	uint32_t next = 0;

	for (unsigned i = 0; i < p->n; i++) {
		if (!(state >> i & 1))
			continue;
		if (p->steps[i].deep)
			next |= 1u << i;
		if (step_takes(&p->steps[i], l, key))
			next |= 1u << (i + 1);
	}
	return next;
}

static void prefer(struct rule_use use, bool *found, struct rule_use *ret)
{
	if (!*found || use.rank >= ret->rank)
		*ret = use;
	*found = true;
}

/* Whether a path names the value that begins here; its state is that of the level it may open. */
static bool is_named(struct scan *s, struct span key, struct rule_use *ret)
{
	const struct level *l = &s->levels[s->depth];
	bool found = false;

	for (unsigned i = 0; i < s->paths->n; i++) {
		const struct json_path *p = &s->paths->list[i];

		uint32_t state = s->depth ? next_state(p, *state_at(s, s->depth, i), l, key) : 1u;

		*state_at(s, s->depth + 1, i) = state;
		if (state >> p->n & 1)
			prefer(p->use, &found, ret);
	}
	if (s->depth && l->is_object) {
		struct rule_use use;

		if (names_find(&s->paths->names, key, &use))
			prefer(use, &found, ret);
	}
	return found;
}

/* What goes with a value that is taken out, so that what stays is JSON still. */
static void set_removal(const struct scan *s, const struct level *l, struct json_found *f,
			size_t end)
{
	size_t at = end;

	f->drop_from = l->kept ? l->comma : l->start;
	f->drop_to = end;
	if (l->kept || s->depth == 0)
		return;
	while (at < s->text.len && is_space(s->text.p[at]))
		at++;
	if (at < s->text.len && s->text.p[at] == ',')
		f->drop_to = at + 1;
}

/* The value that was under way at this depth is over, or the text is. */
static int value_over(struct scan *s, size_t end, bool cut)
{
	struct level *l = &s->levels[s->depth];
	struct json_found f = {.use = s->use, .cut = cut};

	if (s->covered != s->depth) {
		l->kept = l->kept || s->covered == NOTHING;
		return SC_OK;
	}
	s->covered = NOTHING;
	f.value = span_of(s->text.p + s->covered_from, end - s->covered_from);
	set_removal(s, l, &f, end);
	if (f.use.how != REDACT_DROP)
		l->kept = true;
	return s->r->found(s->r->arg, &f);
}

static int scalar_over(struct scan *s, size_t from, size_t end, bool cut)
{
	int rc = SC_OK;

	s->at = end;
	if (s->covered != NOTHING)
		rc = s->r->leaf(s->r->arg, span_of(s->text.p + from, end - from), s->use, cut);
	return rc ? rc : value_over(s, end, cut);
}

static bool is_scalar_byte(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '+' || c == '.';
}

static int open_container(struct scan *s, bool is_object)
{
	if (s->depth == LIMIT_JSON_DEPTH)
		return SC_EPROTO;
	s->at++;
	s->levels[++s->depth] = (struct level){.is_object = is_object, .start = s->at};
	return SC_OK;
}

/* At the first byte of a value. */
static int value(struct scan *s, struct span key)
{
	size_t from = s->at, end;
	uint8_t c = s->text.p[from];
	bool closed = true;

	if (s->depth == 0)
		s->levels[0] = (struct level){.start = from};
	if (s->covered == NOTHING && is_named(s, key, &s->use)) {
		s->covered = s->depth;
		s->covered_from = from;
	}
	if (c == '{' || c == '[')
		return open_container(s, c == '{');
	if (c == '"') {
		end = string_end(s, from + 1, &closed);
		if (!closed && !s->cut)
			return SC_EPROTO;
		return scalar_over(s, from, closed ? end + 1 : end, !closed);
	}
	for (end = from; end < s->text.len && is_scalar_byte(s->text.p[end]); end++)
		;
	if (end == from)
		return SC_EPROTO;
	return scalar_over(s, from, end, s->cut && end == s->text.len);
}

/* "name": up to its value. SC_EAGAIN: the text ends here. */
static int member_name(struct scan *s, struct span *ret)
{
	bool closed;
	size_t end;

	if (s->text.p[s->at] != '"')
		return SC_EPROTO;
	s->levels[s->depth].start = s->at;
	end = string_end(s, s->at + 1, &closed);
	if (!closed)
		return SC_EAGAIN;
	*ret = span_of(s->text.p + s->at + 1, end - s->at - 1);
	*ret = plain_key(s, *ret);
	s->at = end + 1;
	if (!skip_space(s))
		return SC_EAGAIN;
	if (s->text.p[s->at] != ':')
		return SC_EPROTO;
	s->members = true;
	s->at++;
	return skip_space(s) ? SC_OK : SC_EAGAIN;
}

/* The next member or element of a container, or another text behind the first. */
static int element(struct scan *s)
{
	struct level *l = &s->levels[s->depth];
	struct span key = span_of(NULL, 0);
	int rc;

	if (!l->is_object)
		l->start = s->at;
	rc = l->is_object ? member_name(s, &key) : SC_OK;
	return rc ? rc : value(s, key);
}

static int close_container(struct scan *s, uint8_t c)
{
	if (c != (s->levels[s->depth].is_object ? '}' : ']'))
		return SC_EPROTO;
	s->at++;
	s->depth--;
	return value_over(s, s->at, false);
}

/* One step: an element, or the comma or bracket behind one. `fresh`: nothing of the container has
 * been read yet. */
static int step(struct scan *s, unsigned *opened)
{
	struct level *l = &s->levels[s->depth];
	uint8_t c = s->text.p[s->at];
	bool fresh = *opened == s->depth;

	*opened = 0;
	if (s->depth == 0 || (fresh && c != '}' && c != ']')) {
		unsigned depth = s->depth;
		int rc = element(s);

		if (s->depth > depth)
			*opened = s->depth;
		return rc;
	}
	if (c != ',')
		return close_container(s, c);
	l->comma = s->at++;
	l->index++;
	*opened = s->depth; /* an element must follow; that it may also end is leniency */
	return SC_OK;
}

static void skip_prefix(struct scan *s)
{
	static const char bom[] = "\xef\xbb\xbf", guard[] = ")]}'";

	if (span_starts(s->text, span_str(bom)))
		s->at = 3;
	/* Put in front so that no script may read it. */
	if (span_starts(span_of(s->text.p + s->at, s->text.len - s->at), span_str(guard)))
		s->at += 4;
	if (s->at < s->text.len && s->at >= 4 && s->text.p[s->at] == ',')
		s->at++;
}

/* The text ended: what was under way is said. */
static int at_end(struct scan *s)
{
	if (s->depth && !s->cut)
		return SC_EPROTO;
	if (s->covered == NOTHING)
		return SC_OK;
	s->depth = s->covered;
	return value_over(s, s->text.len, true);
}

int json_scan(struct json_paths *p, struct span text, bool cut, const struct json_reader *r,
	      bool *ret_members)
{
	struct scan s;
	unsigned opened = 0;
	int rc = SC_OK;

	/* The levels are set as they are entered. */
	s.paths = p;
	s.r = r;
	s.text = text;
	s.at = 0;
	s.cut = cut;
	s.members = false;
	s.depth = 0;
	s.covered = NOTHING;
	s.levels[0] = (struct level){0};
	skip_prefix(&s);
	while (!rc && skip_space(&s))
		rc = step(&s, &opened);
	*ret_members = s.members;
	if (rc == SC_EAGAIN)
		rc = SC_OK;
	return rc ? rc : at_end(&s);
}
