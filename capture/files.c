/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files merged by time. Of those whose times overlap the earliest packet is at the top of a
 * heap; the others wait without buffers, so that a row of rotated files costs what one does. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct part {
	int fd;                    /* until its reader has it; or -1 */
	struct capture_file *file; /* NULL before its first packet's time, and after its end */
	struct frame head;         /* borrowed from `file`; before that, its time alone */
	unsigned given;            /* place among the paths */
	const char *note;          /* of the end */
};

struct capture_files {
	struct capture_file *only; /* one file, and nothing below is used */
	struct part *parts;        /* in the order of their first packets */
	unsigned n_parts, n_begun;
	struct part **heap;        /* begun and not ended, the earliest head first */
	unsigned n_heap;
	bool handed;               /* the top's head was given out */
};

/* -- the heap -------------------------------------------------------------------------------- */

static bool before(const struct part *a, const struct part *b)
{
	if (a->head.ts_us != b->head.ts_us)
		return a->head.ts_us < b->head.ts_us;
	return a < b;
}

static void swap(struct part **a, struct part **b)
{
	struct part *p = *a;

	*a = *b;
	*b = p;
}

static void sift_down(struct capture_files *fs)
{
	for (unsigned at = 0, child; (child = 2 * at + 1) < fs->n_heap; at = child) {
		if (child + 1 < fs->n_heap && before(fs->heap[child + 1], fs->heap[child]))
			child++;
		if (!before(fs->heap[child], fs->heap[at]))
			return;
		swap(&fs->heap[at], &fs->heap[child]);
	}
}

static void push(struct capture_files *fs, struct part *p)
{
	unsigned at = fs->n_heap++;

	fs->heap[at] = p;
	for (; at && before(fs->heap[at], fs->heap[(at - 1) / 2]); at = (at - 1) / 2)
		swap(&fs->heap[at], &fs->heap[(at - 1) / 2]);
}

/* -- one file -------------------------------------------------------------------------------- */

static void end_part(struct part *p)
{
	if (p->file)
		p->note = capture_file_note(p->file);
	capture_file_free(p->file);
	p->file = NULL;
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

/* Whether there is one more. A plain file has nothing to wait for: only a signal came between. */
static bool read_head(struct part *p)
{
	int rc;

	do {
		rc = capture_file_next(p->file, &p->head);
	} while (rc == SC_EAGAIN);
	if (rc != 1)
		end_part(p);
	return rc == 1;
}

/* A pipe gives its first packet once, and one without a writer would not even open. */
static int open_plain(struct part *p, const char *path, struct err *err)
{
	struct stat st;

	p->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return err_set(err, SC_EINVAL, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return err_set(err, SC_EINVAL, "%s: not a plain file; only alone can it be read "
			       "(expected one file, or several plain ones)", path);
	return SC_OK;
}

/* Leaves the time of its first packet and no buffers, or nothing where it has no packet. */
static int look(struct part *p, const char *path, struct err *err)
{
	int rc = open_plain(p, path, err), again;

	if (rc)
		return rc;
	again = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	if (again < 0)
		return err_set(err, SC_EINVAL, "%s: %s", path, strerror(errno));
	rc = capture_file_open_fd(again, path, &p->file, err);
	if (rc || !read_head(p))
		return rc;
	capture_file_free(p->file);
	p->file = NULL;
	if (lseek(p->fd, 0, SEEK_SET) < 0)
		return err_set(err, SC_EINVAL, "%s: %s", path, strerror(errno));
	return SC_OK;
}

/* Its first packet again, to be kept this time. */
static bool begin(struct part *p)
{
	int fd = p->fd;

	if (fd < 0)
		return false; /* it had no packet */
	p->fd = -1;
	if (capture_file_open_fd(fd, "", &p->file, NULL)) { /* moved */
		p->note = "could be read once, and not again";
		return false;
	}
	return read_head(p);
}

/* -- all of them ----------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->head.ts_us != y->head.ts_us)
		return x->head.ts_us < y->head.ts_us ? -1 : 1;
	return x->given < y->given ? -1 : 1;
}

static int look_at_all(struct capture_files *fs, const char *const *paths, unsigned n,
		       struct err *err)
{
	int rc = SC_OK;

	fs->parts = calloc(n, sizeof(*fs->parts));
	fs->heap = calloc(n, sizeof(struct part *));
	if (!fs->parts || !fs->heap)
		return err_set(err, SC_ENOMEM, "out of memory");
	for (unsigned i = 0; i < n && !rc; i++) {
		fs->parts[i] = (struct part){.fd = -1, .given = i};
		fs->n_parts++;
		rc = look(&fs->parts[i], paths[i], err);
	}
	if (!rc)
		qsort(fs->parts, n, sizeof(*fs->parts), by_time);
	return rc;
}

int capture_files_open(const char *const *paths, unsigned n, bool follow,
		       struct capture_files **ret, struct err *err)
{
	struct capture_files *fs = calloc(1, sizeof(*fs));
	int rc;

	if (!fs)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (n == 1)
		rc = capture_file_open(paths[0], follow, &fs->only, err);
	else
		rc = look_at_all(fs, paths, n, err);
	if (rc) {
		capture_files_free(fs);
		return rc;
	}
	*ret = fs;
	return SC_OK;
}

void capture_files_free(struct capture_files *fs)
{
	if (!fs)
		return;
	capture_file_free(fs->only);
	for (unsigned i = 0; i < fs->n_parts; i++)
		end_part(&fs->parts[i]);
	free(fs->parts);
	free(fs->heap);
	free(fs);
}

/* Past the frame that was given out last. */
static void advance(struct capture_files *fs)
{
	if (!read_head(fs->heap[0]))
		fs->heap[0] = fs->heap[--fs->n_heap];
	sift_down(fs);
}

/* No packet of a file that begins later is due yet; at the same time it would come second. */
static void begin_what_is_due(struct capture_files *fs)
{
	while (fs->n_begun < fs->n_parts) {
		struct part *p = &fs->parts[fs->n_begun];

		if (fs->n_heap && p->head.ts_us >= fs->heap[0]->head.ts_us)
			return;
		fs->n_begun++;
		if (begin(p))
			push(fs, p);
	}
}

int capture_files_next(struct capture_files *fs, struct frame *ret)
{
	if (fs->only)
		return capture_file_next(fs->only, ret);
	if (fs->handed)
		advance(fs);
	begin_what_is_due(fs);
	fs->handed = fs->n_heap > 0;
	if (!fs->handed)
		return 0;
	*ret = fs->heap[0]->head;
	return 1;
}

const char *capture_files_note(const struct capture_files *fs, unsigned i)
{
	if (fs->only)
		return i == 0 ? capture_file_note(fs->only) : NULL;
	for (unsigned k = 0; k < fs->n_parts; k++) {
		const struct part *p = &fs->parts[k];

		if (p->given == i)
			return p->file ? capture_file_note(p->file) : p->note;
	}
	return NULL;
}
