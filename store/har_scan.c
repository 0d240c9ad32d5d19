/* SPDX-License-Identifier: Apache-2.0 */
/* Brackets and strings of JSON (RFC 8259), no more than it takes to find where an element ends.
 * Everything around log.entries[] is passed over. */
#include "har_scan.h"

#include <string.h>

#include "core/err.h"
#include "core/limits.h"

void har_scan_init(struct har_scan *s)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->entry, LIMIT_FORMAT_RECORD);
}

void har_scan_done(struct har_scan *s)
{
	buf_done(&s->entry);
}

static int wrong(struct har_scan *s, const char *what)
{
	s->wrong = what;
	return SC_EPROTO;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Inside a string; what it says is kept as far as a key may be long. */
static void string_byte(struct har_scan *s, uint8_t c)
{
	if (!s->escaped && c == '"') {
		s->in_string = false;
		s->last[s->last_len] = '\0';
		return;
	}
	s->escaped = !s->escaped && c == '\\';
	if (s->last_len < HAR_KEY - 1)
		s->last[s->last_len++] = (char)c;
}

static void begin_string(struct har_scan *s)
{
	s->in_string = true;
	s->escaped = false;
	s->last_len = 0;
}

static int open_around(struct har_scan *s, uint8_t c)
{
	if (++s->depth > LIMIT_FORMAT_DEPTH)
		return wrong(s, "objects and lists are nested too deep");
	if (c == '{' && s->depth == 2 && strcmp(s->key, "log") == 0)
		s->in_log = true;
	if (c == '[' && s->depth == 3 && s->in_log && strcmp(s->key, "entries") == 0) {
		s->place = HAR_ENTRIES;
		s->found = true;
		s->wanted = false;
	}
	s->key[0] = '\0';
	return SC_OK;
}

static int around_byte(struct har_scan *s, uint8_t c)
{
	switch (c) {
	case '"':
		begin_string(s);
		return SC_OK;
	case ':':
		memcpy(s->key, s->last, HAR_KEY);
		return SC_OK;
	case ',':
		s->key[0] = '\0';
		return SC_OK;
	case '{':
	case '[':
		return open_around(s, c);
	case '}':
	case ']':
		s->depth--;
		s->in_log = s->in_log && s->depth >= 2;
		if (s->depth == 0)
			s->place = HAR_AFTER;
		return SC_OK;
	default:
		return SC_OK;
	}
}

/* Outside of log.entries[]. */
static int outside_byte(struct har_scan *s, uint8_t c)
{
	if (s->in_string) {
		string_byte(s, c);
		return SC_OK;
	}
	if (s->place == HAR_AROUND)
		return around_byte(s, c);
	/* A byte order mark may stand in front. */
	if (is_space(c) || (s->place == HAR_BEFORE && (c == 0xef || c == 0xbb || c == 0xbf)))
		return SC_OK;
	if (s->place == HAR_AFTER || c != '{')
		return wrong(s, s->place == HAR_AFTER ? "something stands behind the end"
						      : "expected a JSON object");
	s->place = HAR_AROUND;
	s->depth = 1;
	return SC_OK;
}

/* What ends a run of bytes that are simply kept. */
enum step { STEP_ON, STEP_SKIP, STEP_GIVE, STEP_WRONG };

static enum step element_ends(struct har_scan *s, uint8_t c)
{
	if (c == ']') {
		s->place = HAR_AROUND;
		s->depth = 2;
		if (s->wanted || s->entry.len)
			return STEP_GIVE;
		return STEP_SKIP;
	}
	s->wanted = true;
	return STEP_GIVE;
}

static enum step entry_byte(struct har_scan *s, uint8_t c)
{
	if (s->in_string) {
		string_byte(s, c);
		return STEP_ON;
	}
	switch (c) {
	case '"':
		begin_string(s);
		return STEP_ON;
	case '{':
	case '[':
		return ++s->nest > LIMIT_FORMAT_DEPTH ? STEP_WRONG : STEP_ON;
	case '}':
	case ']':
		if (s->nest) {
			s->nest--;
			return STEP_ON;
		}
		return c == ']' ? element_ends(s, c) : STEP_WRONG;
	case ',':
		return s->nest ? STEP_ON : element_ends(s, c);
	default:
		return STEP_ON;
	}
}

/* Keeps in->p[0 .. n - 1]; leading space is not worth it. */
static int keep(struct har_scan *s, struct span *in, size_t n)
{
	struct span part = span_of(in->p, n);

	*in = span_of(in->p + n, in->len - n);
	while (s->entry.len == 0 && part.len && is_space(*part.p))
		part = span_of(part.p + 1, part.len - 1);
	return buf_add_span(&s->entry, part);
}

static int feed_entries(struct har_scan *s, struct span *in)
{
	for (size_t i = 0; i < in->len; i++) {
		enum step step;
		int rc;

		/* Whether an element has begun is asked at its end. */
		if (in->p[i] == ']' && !s->in_string && s->nest == 0) {
			rc = keep(s, in, i);
			if (rc)
				return rc;
			i = 0;
		}
		step = entry_byte(s, in->p[i]);
		if (step == STEP_ON)
			continue;
		if (step == STEP_WRONG)
			return wrong(s, s->nest ? "objects and lists are nested too deep"
						: "a '}' stands in the list of entries");
		rc = keep(s, in, i);
		if (rc)
			return rc;
		*in = span_of(in->p + 1, in->len - 1);
		if (step == STEP_SKIP)
			return 0;
		s->given = true;
		s->n++;
		return 1;
	}
	return keep(s, in, in->len);
}

int har_scan_feed(struct har_scan *s, struct span *in)
{
	if (s->given) {
		buf_clear(&s->entry);
		s->given = false;
	}
	while (in->len) {
		int rc;

		if (s->place == HAR_ENTRIES) {
			rc = feed_entries(s, in);
			if (rc)
				return rc;
			continue;
		}
		rc = outside_byte(s, *in->p);
		if (rc)
			return rc;
		*in = span_of(in->p + 1, in->len - 1);
	}
	return 0;
}

int har_scan_end(struct har_scan *s)
{
	if (s->place == HAR_BEFORE)
		return wrong(s, "is empty; expected a JSON object");
	if (s->place != HAR_AFTER)
		return wrong(s, s->place == HAR_ENTRIES ? "ends inside log.entries"
							: "ends inside the JSON object");
	return s->found ? SC_OK : wrong(s, "has no log.entries; expected a HAR");
}
