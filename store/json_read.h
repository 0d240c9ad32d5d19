/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a person's JSON: each is what it should be, or one line says where it is not. */
#ifndef STORE_JSON_READ_H
#define STORE_JSON_READ_H

#include <jansson.h>
#include <stdint.h>

#include "core/err.h"
#include "core/limits.h"
#include "core/message.h"

/* "FILE: entry 12: request.method: expected a string". All borrowed. */
struct jnode {
	json_t *json;
	const char *file;
	const char *unit; /* "line", "entry" */
	uint64_t n;
	const char *prefix; /* "request."; "" */
	struct err *err;
};

/* SC_EINVAL with that line. */
int jnode_bad(const struct jnode *n, const char *name, const char *expected);
/* SC_ENOMEM as such, the others as jnode_bad(). */
int jnode_failed(const struct jnode *n, int rc, const char *name, const char *expected);

/* One record's text. SC_EINVAL when it is no JSON object. `ret` has the rest set; json_decref() its
 * json. */
int jnode_load(struct span text, struct jnode *ret);

/* Missing or null: *ret is left as it is. */
int jnode_integer(const struct jnode *n, const char *name, int64_t least, int64_t most, int64_t *ret);
int jnode_real(const struct jnode *n, const char *name, double least, double most, double *ret);
int jnode_text(const struct jnode *n, const char *name, struct span *ret);
/* A member that is an object or NULL. */
int jnode_object(const struct jnode *n, const char *name, const char *prefix, struct jnode *ret);
int jnode_array(const struct jnode *n, const char *name, json_t **ret);

/* A list of headers, each [name, value], into LIMIT_FIELDS of `items`. */
int jnode_headers(const struct jnode *n, const char *name, struct header *items, uint32_t *ret_n);

#endif
