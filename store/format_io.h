/* SPDX-License-Identifier: Apache-2.0 */
/* What the dataset formats share: bytes out to a file that is not there yet or to standard output,
 * bytes and lines in, both with or without gzip, and how they write numbers and bytes as text. */
#ifndef STORE_FORMAT_IO_H
#define STORE_FORMAT_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/span.h"

/* --- out ----------------------------------------------------------------------------------- */

struct output;

/* Makes the file with mode 0600; "-" is standard output; a pipe or a device is written to. gzip where
 * the path ends in ".gz". SC_EINVAL when there is such a file, SC_EIO when it cannot be made. `path`
 * is copied. */
int output_open(const char *path, struct output **ret, struct err *err);
/* SC_EIO with a line: a full disk, a closed pipe. */
int output_add(struct output *o, struct span bytes, struct err *err);
int output_str(struct output *o, const char *text, struct err *err);
/* Makes it durable. Once; after it the file stays. */
int output_finish(struct output *o, struct err *err);
/* A file that is not finished is removed. NULL is fine. */
void output_free(struct output *o);
/* For messages: the path, or "standard output". */
const char *output_name(const struct output *o);

/* --- in ------------------------------------------------------------------------------------ */

struct infile;

/* "-" is standard input; gzip is known by its first bytes. SC_EINVAL when it cannot be read. */
int infile_open(const char *path, struct infile **ret, struct err *err);
void infile_free(struct infile *in); /* NULL is fine */
/* The path, or "standard input". */
const char *infile_name(const struct infile *in);

/* What is there and not used yet. 1: *ret is not empty. 0: the end. SC_EAGAIN: a signal came, ask
 * again. SC_EIO, SC_EINVAL (damaged gzip) with a line. */
int infile_peek(struct infile *in, struct span *ret, struct err *err);
void infile_use(struct infile *in, size_t n);

/* The next line without its end (LF or CRLF), good until the next call; a last one without an end
 * counts, too. Otherwise as infile_peek(). SC_EINVAL when it is longer than LIMIT_FORMAT_RECORD. */
int infile_line(struct infile *in, struct span *ret, struct err *err);
/* Of the line given last, from 1. */
uint64_t infile_line_number(const struct infile *in);

/* --- text ---------------------------------------------------------------------------------- */

int add_integer(struct buf *out, int64_t v);
/* The shortest text that reads as the same number again; 100.0 and not 100, since readers that guess
 * types would take a column that begins so for one of integers, and round what follows. */
int add_real(struct buf *out, double v);
int add_base64(struct buf *out, struct span s); /* RFC 4648, 4 */
/* Appends. SC_EINVAL: not base64. */
int add_unbase64(struct buf *out, struct span text);
/* "2026-09-21T14:13:20.123456Z" (RFC 3339) of us since 1970. */
int add_time(struct buf *out, int64_t us);
/* The same with any zone and any number of decimals, which are cut at six. SC_EINVAL. */
int read_time_text(const char *text, int64_t *ret_us);

#endif
