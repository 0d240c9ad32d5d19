/* SPDX-License-Identifier: Apache-2.0 */
/* Rules on bodies: takes the codings off, finds what the rules name in JSON, forms and multipart
 * forms, and puts the changed body back with its codings and true lengths. A body that cannot be
 * looked into goes whole. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/limits.h"
#include "redact_work.h"
#include "wipe.h"

static struct span content_type(const struct message *m)
{
	int i = message_find(m, "Content-Type", 0);

	return i < 0 ? span_str("") : message_value(m, (uint32_t)i);
}

/* The type without its parameters. */
static struct span media_type(struct span value)
{
	size_t n = 0;

	while (n < value.len && value.p[n] != ';' && value.p[n] != ' ' && value.p[n] != '\t')
		n++;
	return span_of(value.p, n);
}

static bool holds(struct span s, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= s.len; i++) {
		if (span_case_eq(span_of(s.p + i, n), span_of(word, n)))
			return true;
	}
	return false;
}

static enum body_kind kind_of(struct span type)
{
	static const struct {
		const char *begins;
		enum body_kind kind;
	} table[] = {
		{"application/x-www-form-urlencoded", BODY_FORM},
		{"multipart/form-data", BODY_MULTIPART},
		{"text/plain", BODY_LIKE_JSON},
		{"image/", BODY_MEDIA},
		{"video/", BODY_MEDIA},
		{"audio/", BODY_MEDIA},
		{"font/", BODY_MEDIA},
	};

	if (type.len == 0)
		return BODY_LIKE_JSON;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = strlen(table[i].begins);

		if (type.len >= n && span_case_eq(span_of(type.p, n), span_str(table[i].begins)))
			return table[i].kind;
	}
	/* application/json, x-ndjson, x-amz-json-1.1, problem+json and their like */
	return holds(type, "json") ? BODY_JSON : BODY_OTHER;
}

void redact_body_begin(struct part *p, struct message *m)
{
	p->m = m;
	edits_clear(&p->head);
	edits_clear(&p->trailer);
	edits_clear(&p->body);
	buf_init(&p->decoded, LIMIT_DECODED_BYTES);
	p->codings.n = 0;
	p->text = span_of(NULL, 0);
	p->closed = p->is_json = p->drop_lines = p->cut = false;
	p->kind = BODY_OTHER;
	if (!m || !m->body.len)
		return;
	p->cut = m->body.len < m->body_size || (m->flags & (MESSAGE_CAPPED | MESSAGE_GAP));
	p->kind = kind_of(media_type(content_type(m)));
}

void redact_body_close(struct redaction *r, struct part *p)
{
	if (!p->closed)
		r->closed++;
	p->closed = true;
}

int redact_body_open(struct redaction *r, struct part *p)
{
	int rc;

	if (p->text.p || p->closed)
		return SC_OK;
	rc = codings_of(p->m, &p->codings);
	if (!rc && !p->codings.n) {
		p->text = buf_span(&p->m->body);
		return SC_OK;
	}
	if (!rc)
		rc = codings_decode(&p->codings, buf_span(&p->m->body), p->cut, &p->decoded);
	if (rc == SC_ENOMEM)
		return rc;
	if (rc)
		redact_body_close(r, p);
	else
		p->text = p->decoded.data ? buf_span(&p->decoded) : span_str("");
	return SC_OK;
}

struct finding {
	struct redaction *r;
	struct part *p;
};

static struct secret json_secret(struct span value, bool cut)
{
	struct secret s = {value, SECRET_PLAIN, cut};

	if (value.p[0] == '"') {
		s.form = SECRET_STRING;
		s.raw = span_of(value.p + 1, value.len - (cut ? 1 : 2));
	}
	return s;
}

static int json_leaf(void *arg, struct span value, struct rule_use use, bool cut)
{
	const struct finding *f = arg;
	struct secret s = json_secret(value, cut);

	return secret_note(f->r, &s, use.how, NULL);
}

static int json_found(void *arg, const struct json_found *found)
{
	const struct finding *f = arg;
	struct secret s = json_secret(found->value, found->cut);
	struct span text = f->p->text, ins;
	uint8_t *quoted;
	int rc;

	if (found->use.how == REDACT_DROP)
		return edits_add(&f->p->body, found->drop_from, found->drop_to - found->drop_from,
				 span_str(""));
	rc = secret_text(f->r, &s, found->use.how, &ins);
	quoted = rc ? NULL : redact_arena_take(&f->r->arena, ins.len + 2);
	if (!quoted)
		return rc ? rc : SC_ENOMEM;
	quoted[0] = quoted[ins.len + 1] = '"';
	memcpy(quoted + 1, ins.p, ins.len);
	return edits_add(&f->p->body, (size_t)(found->value.p - text.p), found->value.len,
			 span_of(quoted, ins.len + 2));
}

static int json_rules(struct redaction *r, struct part *p, bool declared)
{
	struct finding f = {r, p};
	struct json_reader reader = {json_leaf, json_found, &f};
	bool members;
	int rc = json_scan(r->json, p->text, p->cut, &reader, &members);

	p->is_json = rc == SC_OK;
	if (rc != SC_EPROTO)
		return rc;
	if (declared || members)
		redact_body_close(r, p);
	return SC_OK;
}

static bool begins_like_json(struct span s)
{
	size_t i = 0;

	while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == '\r' || s.p[i] == '\n'))
		i++;
	return i < s.len && (s.p[i] == '{' || s.p[i] == '[');
}

static int form_rules(struct redaction *r, struct part *p)
{
	struct params params = {.names = &r->fields, .text = p->text, .to = p->text.len,
				.lead = SIZE_MAX, .cut = p->cut};

	return redact_params(r, &params, &p->body);
}

/* One part of a multipart body (RFC 2046, 5.1): [delimiter, content, end), end without the line
 * end that belongs to the next delimiter. */
struct piece {
	size_t delimiter, content, end;
	struct span name;
};

static size_t line_end(struct span s, size_t at)
{
	const uint8_t *nl = at < s.len ? memchr(s.p + at, '\n', s.len - at) : NULL;

	return nl ? (size_t)(nl - s.p) + 1 : s.len;
}

/* Behind a delimiter stands -- or nothing but white space; what else begins so is content. */
static bool ends_delimiter(struct span s, size_t at)
{
	if (s.len - at >= 2 && s.p[at] == '-' && s.p[at + 1] == '-')
		return true;
	while (at < s.len && (s.p[at] == ' ' || s.p[at] == '\t' || s.p[at] == '\r'))
		at++;
	return at == s.len || s.p[at] == '\n';
}

/* The next line that is a delimiter, or text.len. */
static size_t find_delimiter(struct span s, size_t at, struct span delimiter)
{
	while (at < s.len) {
		const uint8_t *d = memmem(s.p + at, s.len - at, delimiter.p, delimiter.len);
		size_t i = d ? (size_t)(d - s.p) : s.len;

		if (i == s.len || ((i == 0 || s.p[i - 1] == '\n') &&
				   ends_delimiter(s, i + delimiter.len)))
			return i;
		at = i + 1;
	}
	return s.len;
}

static struct span disposition_name(struct span line)
{
	static const char field[] = "Content-Disposition:";
	size_t n = sizeof(field) - 1;

	if (line.len < n || !span_case_eq(span_of(line.p, n), span_of(field, n)))
		return span_of(NULL, 0);
	return value_param(line, "name");
}

/* Reads the fields of the part whose delimiter line has been read up to `at`. */
static void read_piece(struct span s, size_t at, struct piece *ret)
{
	ret->name = span_of(NULL, 0);
	while (at < s.len) {
		size_t next = line_end(s, at);
		struct span name = disposition_name(span_of(s.p + at, next - at));

		if (name.p)
			ret->name = name;
		if (s.p[at] == '\n' || (s.p[at] == '\r' && next == at + 2)) {
			at = next;
			break;
		}
		at = next;
	}
	ret->content = at;
}

static int redact_piece(struct redaction *r, struct part *p, const struct piece *piece, size_t next,
			bool cut)
{
	struct secret s = {span_of(p->text.p + piece->content, piece->end - piece->content),
			   SECRET_PLAIN, cut};
	struct rule_use use;
	struct span ins;
	int rc;

	/* Browsers write a quote in a name as %22. */
	if (!piece->name.p || !param_rule(&r->fields, piece->name, &use))
		return SC_OK;
	rc = secret_note(r, &s, use.how, &ins);
	if (rc)
		return rc;
	if (use.how == REDACT_DROP)
		return edits_add(&p->body, piece->delimiter, next - piece->delimiter, ins);
	return edits_add(&p->body, piece->content, s.raw.len, ins);
}

static int multipart_pieces(struct redaction *r, struct part *p, struct span delimiter)
{
	struct span s = p->text;
	size_t at = find_delimiter(s, 0, delimiter);
	int rc = SC_OK;

	while (!rc && at < s.len) {
		struct piece piece = {.delimiter = at};
		size_t after = at + delimiter.len, next;

		if (s.len - after >= 2 && s.p[after] == '-' && s.p[after + 1] == '-')
			return SC_OK;
		read_piece(s, line_end(s, after), &piece);
		next = find_delimiter(s, piece.content, delimiter);
		piece.end = next;
		if (next < s.len && piece.end > piece.content)
			piece.end--;
		if (next < s.len && piece.end > piece.content && s.p[piece.end - 1] == '\r')
			piece.end--;
		rc = redact_piece(r, p, &piece, next, next == s.len);
		at = next;
	}
	return rc || p->cut ? rc : SC_EPROTO; /* the last delimiter is missing */
}

static int multipart_rules(struct redaction *r, struct part *p)
{
	struct span boundary = value_param(content_type(p->m), "boundary");
	uint8_t *delimiter;
	int rc = SC_EPROTO;

	if (boundary.len) {
		delimiter = redact_arena_take(&r->arena, boundary.len + 2);
		if (!delimiter)
			return SC_ENOMEM;
		delimiter[0] = delimiter[1] = '-';
		memcpy(delimiter + 2, boundary.p, boundary.len);
		rc = multipart_pieces(r, p, span_of(delimiter, boundary.len + 2));
	}
	if (rc != SC_EPROTO)
		return rc;
	redact_body_close(r, p);
	return SC_OK;
}

/* A name and its '=': what clients send that forget the Content-Type. */
static bool begins_like_form(struct span text)
{
	size_t i = 0;

	while (i < text.len && i < LIMIT_REDACT_NAME &&
	       (isalnum(text.p[i]) || (text.p[i] && strchr("-_.~%+[]$", text.p[i]))))
		i++;
	return i > 0 && i < text.len && text.p[i] == '=';
}

static int rules_of_kind(struct redaction *r, struct part *p)
{
	bool json = json_paths_any(r->json), form = r->fields.n > 0;
	int rc = SC_OK;

	switch (p->kind) {
	case BODY_JSON:
		return json ? json_rules(r, p, true) : SC_OK;
	case BODY_FORM:
		if (form)
			rc = form_rules(r, p);
		/* What curl -d calls everything it sends. */
		/* fall through */
	case BODY_LIKE_JSON:
		if (p->kind == BODY_LIKE_JSON && form && begins_like_form(p->text))
			return form_rules(r, p);
		return !rc && json && begins_like_json(p->text) ? json_rules(r, p, false) : rc;
	case BODY_MULTIPART:
		return form ? multipart_rules(r, p) : SC_OK;
	case BODY_MEDIA:
	case BODY_OTHER:
		break;
	}
	return SC_OK;
}

int redact_body_rules(struct redaction *r, struct part *p)
{
	bool json = json_paths_any(r->json), form = r->fields.n > 0;
	int rc;

	if (!p->m->body.len || !(json || form) || p->kind == BODY_OTHER || p->kind == BODY_MEDIA)
		return SC_OK;
	rc = redact_body_open(r, p);
	if (rc || p->closed)
		return rc;
	rc = rules_of_kind(r, p);
	/* Too many changes for one body; too many needles are too many for all. */
	if (rc == SC_EFULL && r->needles.n < LIMIT_NEEDLES) {
		redact_body_close(r, p);
		return SC_OK;
	}
	return rc;
}

static void replace_body(struct message *m, struct buf *with)
{
	size_t max = m->body.max > with->len ? m->body.max : with->len;

	wipe_done(&m->body);
	m->body = *with;
	m->body.max = max;
	*with = (struct buf){0};
	wipe_done(&m->chunk_lines);
}

/* The body as edited, with its codings. */
static int make_body(struct part *p, struct buf *ret)
{
	struct buf text;
	int rc;

	buf_init(&text, LIMIT_DECODED_BYTES);
	buf_init(ret, LIMIT_DECODED_BYTES + MIB); /* what does not compress grows a little */
	edits_settle(&p->body);
	rc = edits_apply(&p->body, p->text, p->codings.n ? &text : ret);
	if (!rc && p->codings.n)
		rc = codings_encode(&p->codings, buf_span(&text), ret);
	wipe_done(&text);
	if (rc)
		wipe_done(ret);
	return rc;
}

/* They would no longer be true, and a digest of a short body tells what was in it. */
static int drop_digests(const uint8_t *base, size_t len, const struct field *fields, uint32_t n,
			struct edits *out)
{
	static const char *const names[] = {"Content-MD5", "Digest", "Content-Digest",
					    "Repr-Digest"};
	int rc = SC_OK;

	for (uint32_t i = 0; i < n * 4u && !rc; i++) {
		const struct field *f = &fields[i / 4];
		const uint8_t *nl;
		size_t end = f->value.off + f->value.len;

		if (!span_case_eq(span_of(base + f->name.off, f->name.len), span_str(names[i % 4])))
			continue;
		nl = memchr(base + end, '\n', len - end);
		end = nl ? (size_t)(nl - base) + 1 : len;
		rc = edits_add(out, f->name.off, end - f->name.off, span_str(""));
	}
	return rc;
}

static int set_lengths(struct redaction *r, struct part *p)
{
	char *text = (char *)redact_arena_take(&r->arena, 24);
	int i, n, rc = SC_OK;

	if (!text)
		return SC_ENOMEM;
	n = snprintf(text, 24, "%zu", p->m->body.len);
	for (i = message_find(p->m, "Content-Length", 0); i >= 0 && !rc;
	     i = message_find(p->m, "Content-Length", (uint32_t)i + 1)) {
		struct slice v = p->m->fields[i].value;

		rc = edits_add(&p->head, v.off, v.len, span_of(text, (size_t)n));
	}
	return rc;
}

/* Taken out whole. What remains says how long it was and counts as cut, so that nobody takes it for
 * what was sent. */
static void take_out(struct exchange *ex, struct part *p)
{
	struct message *m = p->m;
	struct buf none;

	buf_init(&none, m->body.max);
	replace_body(m, &none);
	m->flags |= MESSAGE_CAPPED;
	if (ex->state == EXCHANGE_COMPLETE)
		ex->state = EXCHANGE_TRUNCATED;
}

static int put_back(struct redaction *r, struct part *p)
{
	struct message *m = p->m;
	struct buf body;
	int rc = make_body(p, &body);

	if (rc == SC_EFULL) {
		redact_body_close(r, p);
		return SC_OK;
	}
	if (rc)
		return rc;
	replace_body(m, &body);
	if (!p->cut) {
		m->body_size = m->body.len;
		return set_lengths(r, p);
	}
	/* Still not whole: shorter than it was, whatever it came to. */
	if (m->body_size <= m->body.len)
		m->body_size = m->body.len + 1;
	return SC_OK;
}

int redact_body_finish(struct redaction *r, struct exchange *ex, struct part *p)
{
	struct message *m = p->m;
	/* Behind the last byte that could be decoded of a cut body may stand what is not
	 * compressed, or hardly: the rest of a block. It goes. */
	bool has_rest = p->text.p && p->cut && p->codings.n;
	int rc = SC_OK;

	if (!p->closed && !p->body.n && !has_rest)
		return SC_OK;
	if (!p->closed)
		rc = put_back(r, p);
	if (rc)
		return rc;
	if (p->closed)
		take_out(ex, p);
	rc = drop_digests(m->head, m->head_len, m->fields, m->n_fields, &p->head);
	if (!rc)
		rc = drop_digests(m->trailer, m->trailer_len, m->trailer_fields,
				  m->n_trailer_fields, &p->trailer);
	return rc;
}
