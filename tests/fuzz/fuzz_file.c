/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a capture file: pcap, pcapng, gzip of either; then as one that grows. What is
 * read lies within the file, an end stays an end. The input is the file. */
#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/rng.h"
#include "file.h"
#include "fuzz.h"

/* Enough for every seed; a small gzip file may hold millions. */
#define FRAMES_MAX 4096u

struct tally {
	unsigned frames;
	uint64_t sum; /* over times, lengths and bytes */
};

static void add(struct tally *t, const struct frame *frame)
{
	assert(frame->len >= frame->bytes.len);
	/* Differences of two times must fit. */
	assert(frame->ts_us > INT64_MIN / 2 && frame->ts_us < INT64_MAX / 2);
	t->frames++;
	t->sum = t->sum * 31 + (uint64_t)frame->ts_us + frame->len + (uint64_t)frame->link_type +
		 hash_bytes(frame->bytes.p, frame->bytes.len, 1);
}

static int read_all(struct capture_file *f, struct tally *t)
{
	struct frame frame;
	int rc = 1;

	while (t->frames < FRAMES_MAX && (rc = capture_file_next(f, &frame)) == 1)
		add(t, &frame);
	if (rc == 1)
		return rc;
	assert(capture_file_next(f, &frame) == rc);
	if (capture_file_note(f))
		touch(span_str(capture_file_note(f)));
	return rc;
}

static bool read_whole(const char *path, struct tally *ret)
{
	struct capture_file *f = NULL;
	struct err err = {0};
	int rc = capture_file_open(path, false, &f, &err);

	assert(rc == SC_OK || (rc == SC_EINVAL && !f && err.text[0]));
	if (f)
		assert(read_all(f, ret) >= 0);
	capture_file_free(f);
	return rc == SC_OK;
}

/* The same bytes as a file that grows while it is read give the same frames. */
static void read_growing(const char *path, int fd, struct span input, const struct tally *whole)
{
	size_t half = input.len / 2;
	struct capture_file *f = NULL;
	struct tally t = {0};
	struct err err = {0};
	int rc;

	assert(ftruncate(fd, (off_t)half) == 0);
	rc = capture_file_open(path, true, &f, &err);
	if (rc == SC_OK)
		(void)read_all(f, &t);
	assert(pwrite(fd, input.p + half, input.len - half, (off_t)half) ==
	       (ssize_t)(input.len - half));
	if (rc == SC_OK)
		(void)read_all(f, &t);
	capture_file_free(f);
	if (whole && rc == SC_OK)
		assert(t.frames == whole->frames && t.sum == whole->sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tally whole = {0};
	char path[32];
	bool readable;
	int fd = memfd_create("input", MFD_CLOEXEC);

	assert(fd >= 0);
	assert(write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readable = read_whole(path, &whole);
	read_growing(path, fd, span_of(data, size), readable ? &whole : NULL);
	close(fd);
	return 0;
}
