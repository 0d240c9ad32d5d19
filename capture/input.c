/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a capture file. Own reading in front of zlib's inflate, since gzread() waits until it has
 * all it was asked for, which a live pipe never gives. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/limits.h"

#define PACKED_BYTES (256u * KIB)
#define GZIP_WINDOW (15 + 16) /* zlib's number for: the largest window, a gzip header */

enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_GZIP };

struct input {
	int fd;
	bool regular; /* reading never waits */
	bool follow;
	bool eof;
	enum kind kind;
	bool inflating; /* z is initialised */
	bool in_member; /* a gzip member has begun and not ended */
	z_stream z;
	size_t start, end; /* of what was read and not used */
	uint8_t packed[PACKED_BYTES];
	const char *note;
};

int input_open(const char *path, bool follow, struct input **ret, struct err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, SC_EINVAL, "%s: %s", path, strerror(errno));
	return input_open_fd(fd, path, follow, ret, err);
}

int input_open_fd(int fd, const char *path, bool follow, struct input **ret, struct err *err)
{
	struct input *in;
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(err, SC_EINVAL, "%s: is a directory, not a capture file", path);
	}
	in = calloc(1, sizeof(*in));
	if (!in) {
		close(fd);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	in->fd = fd;
	in->regular = S_ISREG(st.st_mode);
	in->follow = follow;
	*ret = in;
	return SC_OK;
}

void input_free(struct input *in)
{
	if (!in)
		return;
	if (in->inflating)
		inflateEnd(&in->z);
	close(in->fd);
	free(in);
}

const char *input_note(const struct input *in)
{
	return in->note;
}

/* read(2), but never longer than wait_ms. */
static int read_some(struct input *in, uint8_t *to, size_t room, int wait_ms)
{
	struct pollfd p = {in->fd, POLLIN, 0};
	ssize_t n;

	if (in->eof)
		return 0;
	if (!in->regular && poll(&p, 1, wait_ms) <= 0)
		return SC_EAGAIN;
	n = read(in->fd, to, room < INT_MAX ? room : INT_MAX);
	if (n > 0)
		return (int)n;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return SC_EAGAIN;
	if (n < 0)
		in->note = "cannot be read to its end";
	else if (in->follow)
		return SC_EAGAIN;
	in->eof = true;
	return 0;
}

/* More packed bytes behind those there are. SC_OK, SC_EAGAIN, or SC_ECLOSED at the end. */
static int fill(struct input *in, int wait_ms)
{
	int n;

	if (in->start == in->end)
		in->start = in->end = 0;
	n = read_some(in, in->packed + in->end, sizeof(in->packed) - in->end, wait_ms);
	if (n > 0)
		in->end += (size_t)n;
	return n > 0 ? SC_OK : n == 0 ? SC_ECLOSED : n;
}

/* Two bytes tell (RFC 1952, 2.3.1). */
static int recognise(struct input *in, int wait_ms)
{
	while (in->kind == KIND_UNKNOWN) {
		size_t have = in->end - in->start;
		int rc;

		if (have >= 2 || (have && in->packed[0] != 0x1f) || (in->eof && have)) {
			in->kind = have >= 2 && in->packed[0] == 0x1f && in->packed[1] == 0x8b
					   ? KIND_GZIP : KIND_PLAIN;
			break;
		}
		rc = fill(in, wait_ms);
		if (rc == SC_EAGAIN)
			return rc;
		if (rc && in->start == in->end)
			return SC_ECLOSED;
	}
	return SC_OK;
}

static int read_plain(struct input *in, uint8_t *to, size_t room, int wait_ms)
{
	size_t have = in->end - in->start;

	if (!have)
		return read_some(in, to, room, wait_ms);
	if (have > room)
		have = room;
	memcpy(to, in->packed + in->start, have);
	in->start += have;
	return (int)have;
}

static bool begin_member(struct input *in)
{
	int rc = in->inflating ? inflateReset2(&in->z, GZIP_WINDOW)
			       : inflateInit2(&in->z, GZIP_WINDOW);

	in->inflating = in->inflating || rc == Z_OK;
	in->in_member = rc == Z_OK;
	return in->in_member;
}

static int give_up(struct input *in, const char *note)
{
	in->note = note;
	in->eof = true;
	in->start = in->end;
	in->in_member = false;
	return 0;
}

static int read_gzip(struct input *in, uint8_t *to, size_t room, int wait_ms)
{
	for (;;) {
		size_t got;
		int rc;

		if (in->start == in->end) {
			rc = fill(in, wait_ms);
			if (rc == SC_EAGAIN)
				return rc;
			if (rc)
				return in->in_member ? give_up(in, "ends inside its gzip data") : 0;
		}
		if (!in->in_member && !begin_member(in))
			return give_up(in, "no memory to unpack it");
		in->z.next_in = in->packed + in->start;
		in->z.avail_in = (uInt)(in->end - in->start);
		in->z.next_out = to;
		in->z.avail_out = (uInt)(room < UINT_MAX ? room : UINT_MAX);
		rc = inflate(&in->z, Z_NO_FLUSH);
		in->start = in->end - in->z.avail_in;
		got = (size_t)(in->z.next_out - to);
		if (rc == Z_STREAM_END)
			in->in_member = false;
		else if (rc != Z_OK && rc != Z_BUF_ERROR && !got)
			return give_up(in, "damaged gzip data");
		if (got)
			return (int)got;
	}
}

int input_read(struct input *in, uint8_t *to, size_t room, int wait_ms)
{
	int rc = recognise(in, wait_ms);

	if (rc)
		return rc == SC_ECLOSED ? 0 : rc;
	return in->kind == KIND_GZIP ? read_gzip(in, to, room, wait_ms)
				     : read_plain(in, to, room, wait_ms);
}
