/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the values that JSONPaths name in a JSON text (RFC 8259), and where they stand. A scanner,
 * no parser: it keeps nothing of the text, takes several values one after the other and names that
 * occur twice, and reads a text whose end is missing as far as it goes.
 *
 * A path (of RFC 9535): an optional $, then .name, ['name'], [n], [*], .* and ..name, ..*, ..[n];
 * a path that begins with a name has "$." in front of it. */
#ifndef CORE_JSON_PATH_H
#define CORE_JSON_PATH_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/err.h"
#include "names.h"

struct json_paths;

struct json_paths *json_paths_new(void); /* NULL: no memory */
void json_paths_free(struct json_paths *p); /* NULL is fine */

/* SC_EINVAL with the reason, SC_ENOMEM. */
int json_paths_add(struct json_paths *p, const char *path, struct rule_use use, struct err *err);
/* ..name, in any case of letters. */
int json_paths_add_name(struct json_paths *p, const char *name, struct rule_use use);
bool json_paths_any(const struct json_paths *p);

struct json_found {
	struct span value;   /* as it stands, with its quotes; all that is there when it is cut */
	size_t drop_from,
		drop_to;     /* what goes with it when it is taken out: its name and a comma */
	struct rule_use use; /* of the path that names it; the highest rank of several */
	bool cut;            /* the text ends inside it */
};

/* Borrowed for the call; non-zero ends the scan and is returned. */
struct json_reader {
	/* Each string and number that is found or lies in something found. */
	int (*leaf)(void *arg, struct span value, struct rule_use use, bool cut);
	/* Behind its leaves. What lies in something found is not found again. */
	int (*found)(void *arg, const struct json_found *f);
	void *arg;
};

/* `cut`: the end of the text is missing. SC_EPROTO: no JSON, or not to the end though not cut, or
 * too deep; what was found until then has been said. *ret_members: whether there was a "name": at
 * all. */
int json_scan(struct json_paths *p, struct span text, bool cut, const struct json_reader *r,
	      bool *ret_members);

/* The text between a string's quotes, unescaped: appended, wiped on growth. */
int json_unescape(struct span s, struct buf *out);

/* One escape sequence at p[0] == '\\': its bytes in UTF-8 (at most 4). Returns what it takes up;
 * where it is none, the backslash alone. */
size_t json_escape_step(const uint8_t *p, size_t left, uint8_t out[4], size_t *ret_len);

#endif
