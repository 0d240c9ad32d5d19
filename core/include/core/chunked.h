/* SPDX-License-Identifier: Apache-2.0 */
/* A chunked body (RFC 9112, 7.1): its data, the sizes of its chunks, its trailers. */
#ifndef CORE_CHUNKED_H
#define CORE_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/message.h"
#include "core/span.h"

struct chunked;
/* keep_lines: remember what frames the data. NULL: no memory. */
struct chunked *chunked_new(bool keep_lines);
void chunked_free(struct chunked *c); /* NULL is fine */
void chunked_clear(struct chunked *c); /* for the next body */

/* What feeding did. */
enum chunked_result { CHUNKED_MORE, CHUNKED_DONE, CHUNKED_BROKEN };

/* Takes bytes; *ret_used says how many (all of them under CHUNKED_MORE). `body` gets the data. */
enum chunked_result chunked_feed(struct chunked *c, struct span bytes,
				 void (*body)(void *arg, struct span data), void *arg,
				 size_t *ret_used);

/* Its trailers are more than is kept of any; they go on all the same. */
bool chunked_trailer_full(const struct chunked *c);

/* Passes over a gap. False when it is not all inside one chunk's data: then the framing is lost. */
bool chunked_skip(struct chunked *c, uint64_t len);

/* Gives the message its trailers, and its chunk_lines where they were kept and are not the plainest. */
void chunked_describe(struct chunked *c, struct message *m);

/* What ends this size line. Whoever ended it so did the same behind its data. */
struct span chunk_line_end(struct span line);

#endif
