/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a HAR and as JSON Lines. Whatever they are, reading ends in one line of error or at
 * the end; what comes out is whole, can be written in every format that keeps all of it, and is the
 * same when it is read again.
 *
 * Input: the file. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/limits.h"
#include "fuzz.h"
#include "jsonl.h"
#include "store/format.h"

#define BODY_MAX 4096u
#define MOST 64u /* exchanges of one input */

static void check_line(const char *line)
{
	assert(*line);
	for (; *line; line++)
		assert((unsigned char)*line >= ' ' && *line != 0x7f);
}

/* Its name; the bytes are read through it as any file's are. */
static const char *keep(const uint8_t *data, size_t size)
{
	static char name[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("dataset", MFD_CLOEXEC);
		assert(fd >= 0);
		(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	}
	assert(ftruncate(fd, 0) == 0);
	assert(pwrite(fd, data, size, 0) == (ssize_t)size);
	return name;
}

/* As a line, read, and as a line again. */
static void check_again(const struct exchange *ex, struct format_notes *notes)
{
	struct err err = {""};
	struct jnode place = {NULL, "f", "line", 1, "", &err};
	struct jsonl_reader *reader = malloc(sizeof(*reader));
	struct buf first, second, scratch;
	struct exchange *again = NULL;
	int rc;

	assert(reader);
	jsonl_reader_init(reader, BODY_MAX, notes);
	buf_init(&first, LIMIT_FORMAT_RECORD);
	buf_init(&second, LIMIT_FORMAT_RECORD);
	buf_init(&scratch, LIMIT_FORMAT_RECORD);
	assert(jsonl_add(&first, &scratch, ex) == SC_OK);
	rc = jsonl_read(reader, buf_span(&first), &place, &again);
	if (rc == SC_OK) {
		assert(jsonl_add(&second, &scratch, again) == SC_OK);
		assert(span_eq(buf_span(&first), buf_span(&second)));
	}
	exchange_free(again);
	jsonl_reader_done(reader);
	free(reader);
	buf_done(&first);
	buf_done(&second);
	buf_done(&scratch);
}

static void check_read(const struct exchange *ex, struct format_notes *notes)
{
	check_message(ex->request);
	assert(ex->request->status == 0 && ex->request->body.len <= BODY_MAX);
	assert(ex->request->body.len <= ex->request->body_size);
	if (ex->response) {
		check_message(ex->response);
		assert(ex->response->status && ex->response->body.len <= BODY_MAX);
		assert(ex->response->body.len <= ex->response->body_size);
	}
	check_again(ex, notes);
}

static void put_all(struct sink **sinks, size_t n, const struct exchange *ex)
{
	struct err err = {""};

	for (size_t i = 0; i < n; i++)
		assert(sink_put(sinks[i], ex, &err) == SC_OK);
}

static void read_as(const char *format, const char *path)
{
	static const char *const written[] = {"har", "jsonl", "csv"};
	struct format_notes notes = {.n = 0};
	struct format_args from = {.path = path, .body_max = BODY_MAX, .notes = &notes};
	struct format_args to = {.path = "/dev/null", .notes = &notes};
	struct sink *sinks[3];
	struct source *source = NULL;
	struct err err = {""};
	struct exchange *ex;
	unsigned n = 0;
	int rc;

	for (size_t i = 0; i < 3; i++)
		assert(format_find(written[i], NULL)->sink(&to, &sinks[i], &err) == SC_OK);
	assert(format_find(format, NULL)->source(&from, &source, &err) == SC_OK);
	while ((rc = source_next(source, &ex, &err)) == 1 && n++ < MOST) {
		check_read(ex, &notes);
		put_all(sinks, 3, ex);
		exchange_free(ex);
	}
	if (rc == 1)
		exchange_free(ex);
	assert(rc >= 0 || rc == SC_EINVAL);
	if (rc < 0)
		check_line(err.text);
	for (size_t i = 0; i < 3; i++) {
		assert(sink_finish(sinks[i], 0, &err) == SC_OK);
		sink_free(sinks[i]);
	}
	source_free(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = keep(data, size);

	read_as("har", path);
	read_as("jsonl", path);
	return 0;
}
