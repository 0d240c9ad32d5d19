/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files: pcap (both byte orders, microseconds and nanoseconds) and pcapng (several sections
 * and interfaces of different link types), plain or gzip, from a path or standard input. */
#ifndef CAPTURE_FILE_H
#define CAPTURE_FILE_H

#include <stdbool.h>

#include "core/err.h"
#include "decode.h"

struct capture_file;

/* "-" is standard input. SC_EINVAL: missing, not readable, or no capture file. With `follow` the file
 * may be still empty, and its end is where more will come. */
int capture_file_open(const char *path, bool follow, struct capture_file **ret, struct err *err);
/* The same of a plain file that is open already, from its position on. `fd` is moved, also on
 * failure; `path` is for the line. */
int capture_file_open_fd(int fd, const char *path, struct capture_file **ret, struct err *err);
void capture_file_free(struct capture_file *f);

/* 1: *ret is the next frame, borrowed until the next call. 0: the end; capture_file_note() says
 * whether it was a clean one. SC_EAGAIN: following, and there is no whole frame yet. */
int capture_file_next(struct capture_file *f, struct frame *ret);

/* What was wrong with the end of the file, or NULL. Lives for ever. */
const char *capture_file_note(const struct capture_file *f);

#endif
