/* SPDX-License-Identifier: Apache-2.0 */
/* Undoes escapes of a whole text, and finds the way back. Keeps no map: the way is walked again. */
#include "redact_view.h"

#include <string.h>

#include "json_path.h"
#include "url.h"
#include "wipe.h"

static const char *const marks[VIEWS] = {
	[VIEW_BACKSLASH] = "\\",
	[VIEW_PERCENT] = "%",
	[VIEW_PERCENT_PLUS] = "%+",
};

bool view_differs(enum view_kind kind, struct span text)
{
	/* Without a + the two are the same. */
	const char *last = marks[kind] + strlen(marks[kind]) - 1;

	return text.len && memchr(text.p, *last, text.len);
}

/* Bytes before the next one that may begin an escape. */
static size_t plain_run(enum view_kind kind, struct span rest)
{
	const uint8_t *p = rest.len ? memchr(rest.p, marks[kind][0], rest.len) : NULL;
	size_t n = p ? (size_t)(p - rest.p) : rest.len;

	if (marks[kind][1] && n) {
		p = memchr(rest.p, marks[kind][1], n);
		n = p ? (size_t)(p - rest.p) : n;
	}
	return n;
}

/* One escape, or what only looked like it: what it takes up, what it comes to. */
static size_t step(enum view_kind kind, struct span rest, uint8_t out[4], size_t *ret_made)
{
	if (kind == VIEW_BACKSLASH)
		return json_escape_step(rest.p, rest.len, out, ret_made);
	*ret_made = 1;
	if (rest.p[0] == '+') {
		out[0] = ' ';
		return 1;
	}
	return url_step(rest.p, rest.len, out);
}

int view_make(enum view_kind kind, struct span text, struct buf *out)
{
	int rc = wipe_reserve(out, text.len);

	while (!rc && text.len) {
		size_t n = plain_run(kind, text), made, used;
		uint8_t bytes[4];

		rc = wipe_add(out, text.p, n);
		text = span_of(text.p + n, text.len - n);
		if (rc || !text.len)
			break;
		used = step(kind, text, bytes, &made);
		rc = wipe_add(out, bytes, made);
		text = span_of(text.p + used, text.len - used);
	}
	return rc;
}

void view_place(struct view_walk *w, size_t off, size_t *ret_from, size_t *ret_to)
{
	for (;;) {
		struct span rest = span_of(w->text.p + w->at, w->text.len - w->at);
		size_t n = plain_run(w->kind, rest), used, made;
		uint8_t bytes[4];

		if (off < w->made + n) {
			*ret_from = w->at + (off - w->made);
			*ret_to = *ret_from + 1;
			return;
		}
		rest = span_of(rest.p + n, rest.len - n);
		used = step(w->kind, rest, bytes, &made);
		if (off < w->made + n + made) {
			*ret_from = w->at + n;
			*ret_to = *ret_from + used;
			return;
		}
		w->at += n + used;
		w->made += n + made;
	}
}
