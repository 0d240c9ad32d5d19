/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a .gor file, read to its end, written again, and read again: exchanges are whole in
 * themselves, and what was written has as many requests as the sink says it kept.
 *
 * Input: u8 how long a body may be, then the file. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/limits.h"
#include "fuzz.h"
#include "store/format.h"

struct file {
	int fd;
	char path[32];
};

static void file_make(struct file *f, const uint8_t *data, size_t size)
{
	f->fd = memfd_create("gor", MFD_CLOEXEC);
	assert(f->fd >= 0);
	assert(write(f->fd, data, size) == (ssize_t)size);
	(void)snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

/* Puts what it reads into `sink`, NULL: nowhere. Returns how many there were. */
static uint64_t drain(const struct file *f, size_t body_max, struct format_notes *notes,
		      struct sink *sink)
{
	struct format_args args = {.path = f->path, .body_max = body_max, .notes = notes};
	struct source *source = NULL;
	struct exchange *ex = NULL;
	struct err err = {""};
	uint64_t n = 0;

	if (format_find("gor", NULL)->source(&args, &source, &err))
		return 0;
	while (source_next(source, &ex, &err) == 1) {
		assert(ex->request && ex->request->status == 0);
		check_message(ex->request);
		if (ex->response)
			check_message(ex->response);
		assert(ex->request->body.len <= body_max);
		if (sink)
			assert(sink_put(sink, ex, &err) == SC_OK);
		exchange_free(ex);
		n++;
	}
	source_free(source);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct format_notes notes = {.n = 0}, written = {.n = 0};
	char folder[] = "/dev/shm/fuzz-gor-XXXXXX", path[64];
	struct format_args args = {.path = path, .notes = &written};
	struct sink *sink = NULL;
	uint64_t n;
	struct file f, again;
	struct err err;
	FILE *copy;
	static uint8_t bytes[1 << 20];

	if (size == 0)
		return 0;
	assert(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/out.gor", folder);
	file_make(&f, data + 1, size - 1);
	assert(format_find("gor", NULL)->sink(&args, &sink, &err) == SC_OK);
	(void)drain(&f, 64u * data[0], &notes, sink);
	assert(sink_finish(sink, 0, &err) == SC_OK);
	n = sink->ops->kept(sink);
	sink_free(sink);
	copy = fopen(path, "r");
	assert(copy);
	size = fread(bytes, 1, sizeof(bytes), copy);
	(void)fclose(copy);
	if (size < sizeof(bytes)) {
		file_make(&again, bytes, size);
		assert(drain(&again, MIB, &notes, NULL) >= n);
		(void)close(again.fd);
	}
	(void)unlink(path);
	(void)rmdir(folder);
	(void)close(f.fd);
	return 0;
}
