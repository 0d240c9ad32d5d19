/* SPDX-License-Identifier: Apache-2.0 */
/* A text with one kind of escape undone, and where its bytes stand in the text itself. */
#ifndef CORE_REDACT_VIEW_H
#define CORE_REDACT_VIEW_H

#include "core/buf.h"

enum view_kind {
	VIEW_BACKSLASH,    /* \" \/ \u0041, as in JSON */
	VIEW_PERCENT,      /* %41 */
	VIEW_PERCENT_PLUS, /* the same, and + for a space */
	VIEWS,
};

/* Whether it would differ from the text. */
bool view_differs(enum view_kind kind, struct span text);
/* Appends all of it. SC_ENOMEM. */
int view_make(enum view_kind kind, struct span text, struct buf *out);

/* Finds places again; each call asks for one at or behind the one before. */
struct view_walk {
	enum view_kind kind;
	struct span text;
	size_t at, made; /* the same place in the text and in the view */
};
/* The bytes of the text that make byte `off` of the view: [*ret_from, *ret_to). */
void view_place(struct view_walk *w, size_t off, size_t *ret_from, size_t *ret_to);

#endif
