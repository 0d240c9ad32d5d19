/* SPDX-License-Identifier: Apache-2.0 */
/* Content codings (RFC 9110, 8.4.1; RFC 7932, RFC 8878): what a body is wrapped in, taken off and
 * put on again. Decoding is bounded by the output's ceiling, whatever the input claims. Working
 * memory is overwritten when it is given back. */
#ifndef CORE_CODING_H
#define CORE_CODING_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/limits.h"
#include "core/message.h"
#include "core/span.h"

enum coding {
	CODING_GZIP,
	CODING_DEFLATE,     /* in a zlib wrapper (RFC 1950), as it should be */
	CODING_RAW_DEFLATE, /* without, as some send it; codings_decode() finds out */
	CODING_BR,
	CODING_ZSTD,
	CODINGS,
};

/* In the order in which they were applied. */
struct codings {
	enum coding list[LIMIT_CODINGS];
	unsigned n;
};

/* Those of a Content-Encoding value, put behind what is there; identity is none. SC_EPROTO: one
 * that we do not know, SC_EFULL: more than LIMIT_CODINGS. */
int codings_add(struct codings *c, struct span value);
/* Those of all Content-Encoding fields, then those of Transfer-Encoding but for chunked. */
int codings_of(const struct message *m, struct codings *ret);

/* Takes all of them off and appends to `out`. `cut`: the end of the bytes is missing; what can be
 * decoded without it is. SC_EPROTO: damaged, or not whole though not cut, or bytes behind the end.
 * SC_EFULL: over the ceiling of `out`. SC_ENOMEM. */
int codings_decode(struct codings *c, struct span in, bool cut, struct buf *out);
/* Puts all of them on, as a whole stream. SC_EFULL, SC_ENOMEM. */
int codings_encode(const struct codings *c, struct span in, struct buf *out);

#endif
