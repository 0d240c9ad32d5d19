/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a capture file, unpacked where they are gzip (RFC 1952, several members too). Never waits
 * longer than it is told: a pipe whose writer is slow gives what there is. */
#ifndef CAPTURE_INPUT_H
#define CAPTURE_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct input;

/* "-" is standard input. With `follow` the end of the file is where more will come. SC_EINVAL, with
 * the path and the reason. */
int input_open(const char *path, bool follow, struct input **ret, struct err *err);
/* The same of a file that is open already, from its position on. `fd` is moved, also on failure;
 * `path` is for the line. */
int input_open_fd(int fd, const char *path, bool follow, struct input **ret, struct err *err);
void input_free(struct input *in);

/* At most `room` bytes to `to`; waits up to wait_ms for the first where the source is no plain file.
 * How many; 0: the end (input_note() says if it is an odd one); SC_EAGAIN: nothing yet. */
int input_read(struct input *in, uint8_t *to, size_t room, int wait_ms);

/* What was wrong with the end, or NULL. */
const char *input_note(const struct input *in);

#endif
