/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML stream as trees of mappings, lists and texts, each with its line. Everything lies in one
 * arena and is good until that is emptied. */
#ifndef CLI_MANIFEST_TREE_H
#define CLI_MANIFEST_TREE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

/* Memory that is given back all at once. */
struct arena {
	struct arena_block *last;
};
void arena_done(struct arena *a);
void *arena_alloc(struct arena *a, size_t size);                    /* zeroed; NULL: no memory */
char *arena_copy(struct arena *a, const char *text, size_t len);    /* and a NUL; NULL as above */
char *arena_text(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum value_kind {
	VALUE_NULL, /* null, ~ or nothing: as if it were not there */
	VALUE_TEXT,
	VALUE_MAP,
	VALUE_LIST,
};

struct value;
struct pair {
	const char *key; /* NULL in a list */
	unsigned line;   /* of the key, from 1 */
	const struct value *value;
};

struct value {
	enum value_kind kind;
	unsigned line;      /* from 1 */
	unsigned n;         /* pairs */
	bool open;          /* while it is read */
	size_t weight;      /* nodes in it, aliases as what they stand for */
	const char *text;   /* of VALUE_TEXT; holds no NUL */
	struct pair *pairs; /* of VALUE_MAP (each key once) and VALUE_LIST */
};

struct tree {
	const struct value **documents; /* in the arena */
	unsigned n_documents;
};

/* Reads all documents of one stream; `file` stands in front of what goes into err. An alias is the
 * node it stands for, not a copy; `<<` is merged. Bounded by the LIMIT_MANIFEST_ lines. SC_EINVAL
 * for whatever is not YAML of this kind, SC_ENOMEM. Prints nothing. */
int tree_read(struct arena *a, const char *file, const char *text, size_t len, struct tree *ret,
	      struct err *err);

#endif
