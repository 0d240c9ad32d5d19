/* SPDX-License-Identifier: Apache-2.0 */
/* cut_captures DIR [NTH]: each capture file below DIR, cut at every snaplen and, as a file, at every
 * length (at most FILE_CUTS of them, evenly); with NTH only at each nth, where that is slow. Fails when an account does not add up; a sanitizer says the
 * rest. */
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "file.h"

#define SNAPLENS 160u /* beyond the longest wrapping's headers and a request line */
#define FILE_CUTS 200u
#define FRAMES_MAX 4000u /* longer captures are cut as files only */

static unsigned files, runs, wrong, nth = 1;

static struct engine *engine_of(struct counters *c)
{
	struct engine_options o = {.body_max = 1000, .memory = 1u << 22, .counters = c};

	memset(c, 0, sizeof(*c));
	return engine_new(&o);
}

static void finish(struct engine *e, struct counters *c, const char *path, const char *what,
		   size_t at)
{
	struct exchange *ex;
	const char *group = "";

	engine_finish(e);
	while ((ex = engine_pop(e))) {
		exchange_free(ex);
		count(c, REQUESTS_STORED);
	}
	engine_free(e);
	runs++;
	if (counters_check(c, &group)) {
		fprintf(stderr, "%s: %s %zu: the account of %s does not add up\n", path, what, at,
			group);
		wrong++;
	}
}

/* A frame in memory of just its length, so that a read behind it shows. */
static void feed_cut(struct engine *e, const struct frame *f, size_t snaplen)
{
	size_t have = f->bytes.len < snaplen ? f->bytes.len : snaplen;
	uint8_t *copy = malloc(have ? have : 1);
	struct frame cut = *f;

	if (!copy)
		abort();
	memcpy(copy, f->bytes.p, have);
	cut.bytes = span_of(copy, have);
	engine_frame(e, &cut);
	free(copy);
}

/* How many frames it has. */
static size_t run(const char *path, const char *name, size_t snaplen, size_t at)
{
	struct counters c;
	struct capture_file *file;
	struct engine *e;
	struct frame f;
	size_t n = 0;

	if (capture_file_open(path, false, &file, NULL))
		return 0;
	e = engine_of(&c);
	while (e && capture_file_next(file, &f) == 1) {
		feed_cut(e, &f, snaplen);
		n++;
	}
	capture_file_free(file);
	if (e)
		finish(e, &c, name, snaplen == SIZE_MAX ? "cut at byte" : "snaplen", at);
	return n;
}

static void cut_file(const char *path, size_t size)
{
	char memory[64];
	FILE *in = fopen(path, "rb");
	uint8_t *data = malloc(size + 1);
	int fd = memfd_create("cut", 0);
	size_t step = (size / FILE_CUTS + 1) * nth;

	if (!in || !data || fd < 0 || fread(data, 1, size, in) != size ||
	    write(fd, data, size) != (ssize_t)size)
		abort();
	(void)snprintf(memory, sizeof(memory), "/proc/self/fd/%d", fd);
	for (size_t n = size; n > step; n -= step) {
		if (ftruncate(fd, (off_t)n))
			abort();
		(void)run(memory, path, SIZE_MAX, n);
	}
	close(fd);
	free(data);
	fclose(in);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *dot = strrchr(path, '.');

	(void)ftw;
	if (type != FTW_F || !dot || strcmp(dot, ".json") == 0)
		return 0;
	files++;
	if (run(path, path, SIZE_MAX, (size_t)st->st_size) <= FRAMES_MAX) {
		for (size_t n = 0; n <= SNAPLENS; n += nth)
			(void)run(path, path, n, n);
	}
	cut_file(path, (size_t)st->st_size);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		nth = (unsigned)strtoul(argv[2], NULL, 10);
	if (argc < 2 || argc > 3 || nth == 0 || nftw(argv[1], visit, 16, FTW_PHYS)) {
		fprintf(stderr, "usage: cut_captures DIR [NTH]\n");
		return 2;
	}
	printf("%u captures, %u cuts, %u wrong\n", files, runs, wrong);
	return wrong || !files;
}
