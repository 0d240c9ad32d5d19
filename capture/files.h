/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files as one recording: the packets of all of them in the order of their times. Within one
 * file the order is the file's own, even where its clock went back; at equal times the file that
 * began earlier comes first, and of these the one that was named first. */
#ifndef CAPTURE_FILES_H
#define CAPTURE_FILES_H

#include "file.h"

struct capture_files;

/* One file is as capture_file_open() takes it. Several, at most LIMIT_SOURCES, are plain files and
 * do not grow: the first packet of each is read here, so that what cannot be read is said before
 * anything is done. Each stays open for as long as it is needed, whatever becomes of its name or of
 * the right to open it; its buffers are there only from its first packet's time to its end. */
int capture_files_open(const char *const *paths, unsigned n, bool follow,
		       struct capture_files **ret, struct err *err);
void capture_files_free(struct capture_files *fs);

/* As capture_file_next(). */
int capture_files_next(struct capture_files *fs, struct frame *ret);

/* What was wrong with the end of the ith of `paths`, or NULL. */
const char *capture_files_note(const struct capture_files *fs, unsigned i);

#endif
