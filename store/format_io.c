/* SPDX-License-Identifier: Apache-2.0 */
/* Files and pipes of the dataset formats. Never overwrites a file, and leaves none behind that is not
 * whole. Knows no format. */
#include "format_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/limits.h"

#define CHUNK (64u * KIB)
#define GZIP_WINDOW (15 + 16)
#define GZIP_LEVEL 6

struct output {
	char *path;
	int fd;
	bool made; /* by us: to be removed unless it is finished */
	bool gzip;
	bool finished;
	z_stream z;
	uint8_t *held; /* not compressed yet, or not written */
	size_t n_held;
	uint8_t *packed; /* of gzip */
};

struct infile {
	char *path;
	int fd;
	bool begun, gzip, ended; /* ended: of the file */
	bool between; /* members of a gzip file */
	z_stream z;
	uint8_t *raw; /* as in the file */
	size_t n_raw, raw_at;
	uint8_t *plain; /* of gzip */
	struct span left; /* not used yet */
	struct buf line;
	uint64_t line_number;
	bool line_given;
};

const char *output_name(const struct output *o)
{
	return strcmp(o->path, "-") == 0 ? "standard output" : o->path;
}

static int write_failed(struct output *o, struct err *err)
{
	return err_set(err, SC_EIO, "%s: %s", output_name(o), strerror(errno));
}

static int make_file(struct output *o, struct err *err)
{
	struct stat st;

	o->fd = open(o->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	o->made = o->fd >= 0;
	if (o->fd < 0 && errno == EEXIST) {
		if (stat(o->path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			return err_set(err, SC_EINVAL, "%s: is there already; expected the path "
				       "of a new file", o->path);
		o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
	}
	return o->fd < 0 ? write_failed(o, err) : SC_OK;
}

static bool ends_with(const char *path, const char *tail)
{
	return span_ends(span_str(path), span_str(tail));
}

int output_open(const char *path, struct output **ret, struct err *err)
{
	struct output *o = calloc(1, sizeof(*o));
	int rc = SC_OK;

	if (!o)
		return err_set(err, SC_ENOMEM, "%s: no memory", path);
	o->fd = -1;
	o->path = strdup(path);
	o->held = malloc(CHUNK);
	if (!o->path || !o->held) {
		rc = err_set(err, SC_ENOMEM, "%s: no memory", path);
		goto out;
	}
	if (ends_with(path, ".gz")) {
		o->packed = malloc(CHUNK);
		o->gzip = o->packed && deflateInit2(&o->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8,
						    Z_DEFAULT_STRATEGY) == Z_OK;
		rc = o->gzip ? SC_OK : err_set(err, SC_ENOMEM, "%s: no memory", path);
	}
	if (!rc && strcmp(path, "-") == 0)
		o->fd = STDOUT_FILENO;
	else if (!rc)
		rc = make_file(o, err);
out:
	if (rc)
		output_free(o);
	else
		*ret = o; /* moved */
	return rc;
}

static int write_all(struct output *o, const uint8_t *p, size_t n, struct err *err)
{
	while (n) {
		ssize_t done = write(o->fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return write_failed(o, err);
		p += done;
		n -= (size_t)done;
	}
	return SC_OK;
}

static int pack(struct output *o, int flush, struct err *err)
{
	int z;

	o->z.next_in = o->held;
	o->z.avail_in = (uInt)o->n_held;
	do {
		int rc;

		o->z.next_out = o->packed;
		o->z.avail_out = CHUNK;
		z = deflate(&o->z, flush);
		rc = write_all(o, o->packed, CHUNK - o->z.avail_out, err);
		if (rc)
			return rc;
	} while (o->z.avail_out == 0 || (flush == Z_FINISH && z != Z_STREAM_END));
	return SC_OK;
}

static int flush_held(struct output *o, int flush, struct err *err)
{
	int rc = o->gzip ? pack(o, flush, err) : write_all(o, o->held, o->n_held, err);

	o->n_held = 0;
	return rc;
}

int output_add(struct output *o, struct span bytes, struct err *err)
{
	while (bytes.len) {
		size_t n = CHUNK - o->n_held < bytes.len ? CHUNK - o->n_held : bytes.len;
		int rc;

		memcpy(o->held + o->n_held, bytes.p, n);
		o->n_held += n;
		bytes = span_of(bytes.p + n, bytes.len - n);
		rc = o->n_held == CHUNK ? flush_held(o, Z_NO_FLUSH, err) : SC_OK;
		if (rc)
			return rc;
	}
	return SC_OK;
}

int output_str(struct output *o, const char *text, struct err *err)
{
	return output_add(o, span_str(text), err);
}

int output_finish(struct output *o, struct err *err)
{
	int rc = flush_held(o, Z_FINISH, err);

	/* A pipe or a device has nothing to be made durable. */
	if (!rc && o->made && fsync(o->fd) != 0 && errno != EINVAL && errno != EROFS)
		rc = write_failed(o, err);
	if (!rc && o->fd != STDOUT_FILENO) {
		rc = close(o->fd) == 0 ? SC_OK : write_failed(o, err);
		o->fd = -1;
	}
	o->finished = rc == SC_OK;
	return rc;
}

void output_free(struct output *o)
{
	if (!o)
		return;
	if (o->fd >= 0 && o->fd != STDOUT_FILENO)
		(void)close(o->fd);
	if (o->made && !o->finished)
		(void)unlink(o->path);
	if (o->gzip)
		(void)deflateEnd(&o->z);
	free(o->packed);
	free(o->held);
	free(o->path);
	free(o);
}

/* --- in ------------------------------------------------------------------------------------ */

const char *infile_name(const struct infile *in)
{
	return strcmp(in->path, "-") == 0 ? "standard input" : in->path;
}

uint64_t infile_line_number(const struct infile *in)
{
	return in->line_number;
}

static int open_file(struct infile *in, struct err *err)
{
	struct stat st;

	if (strcmp(in->path, "-") == 0) {
		in->fd = STDIN_FILENO;
		return SC_OK;
	}
	in->fd = open(in->path, O_RDONLY | O_CLOEXEC);
	if (in->fd < 0)
		return err_set(err, SC_EINVAL, "%s: %s", in->path, strerror(errno));
	if (fstat(in->fd, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, SC_EINVAL, "%s: is a folder; expected a file", in->path);
	return SC_OK;
}

int infile_open(const char *path, struct infile **ret, struct err *err)
{
	struct infile *in = calloc(1, sizeof(*in));
	int rc;

	if (!in)
		return err_set(err, SC_ENOMEM, "%s: no memory", path);
	in->fd = -1;
	buf_init(&in->line, LIMIT_FORMAT_RECORD);
	in->path = strdup(path);
	in->raw = malloc(CHUNK);
	in->plain = malloc(CHUNK);
	if (!in->path || !in->raw || !in->plain)
		rc = err_set(err, SC_ENOMEM, "%s: no memory", path);
	else
		rc = open_file(in, err);
	if (rc)
		infile_free(in);
	else
		*ret = in; /* moved */
	return rc;
}

void infile_free(struct infile *in)
{
	if (!in)
		return;
	if (in->fd >= 0 && in->fd != STDIN_FILENO)
		(void)close(in->fd);
	if (in->gzip)
		(void)inflateEnd(&in->z);
	buf_done(&in->line);
	free(in->plain);
	free(in->raw);
	free(in->path);
	free(in);
}

/* One read more behind what is there. 1, 0, or an error. */
static int fill_raw(struct infile *in, struct err *err)
{
	ssize_t n;

	if (in->raw_at == in->n_raw)
		in->raw_at = in->n_raw = 0;
	if (in->ended)
		return 0;
	n = read(in->fd, in->raw + in->n_raw, CHUNK - in->n_raw);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return SC_EAGAIN;
	if (n < 0)
		return err_set(err, SC_EIO, "%s: %s", infile_name(in), strerror(errno));
	in->ended = n == 0;
	in->n_raw += (size_t)n;
	return n > 0;
}

/* The first two bytes tell gzip (RFC 1952, 2.3.1). */
static int begin(struct infile *in, struct err *err)
{
	while (in->n_raw < 2) {
		int rc = fill_raw(in, err);

		if (rc < 0)
			return rc;
		if (rc == 0)
			break;
	}
	in->begun = true;
	if (in->n_raw < 2 || in->raw[0] != 0x1f || in->raw[1] != 0x8b)
		return SC_OK;
	in->gzip = inflateInit2(&in->z, GZIP_WINDOW) == Z_OK;
	in->between = true;
	return in->gzip ? SC_OK : err_set(err, SC_ENOMEM, "%s: no memory", infile_name(in));
}

static int inflate_some(struct infile *in, struct err *err)
{
	int z;

	in->z.next_in = in->raw + in->raw_at;
	in->z.avail_in = (uInt)(in->n_raw - in->raw_at);
	in->z.next_out = in->plain;
	in->z.avail_out = CHUNK;
	z = inflate(&in->z, Z_NO_FLUSH);
	in->raw_at = in->n_raw - in->z.avail_in;
	in->left = span_of(in->plain, CHUNK - in->z.avail_out);
	in->between = z == Z_STREAM_END;
	if (z == Z_STREAM_END)
		z = inflateReset(&in->z); /* another member may follow */
	if (z == Z_MEM_ERROR)
		return err_set(err, SC_ENOMEM, "%s: no memory", infile_name(in));
	if (z != Z_OK && z != Z_BUF_ERROR)
		return err_set(err, SC_EINVAL, "%s: is damaged gzip", infile_name(in));
	return SC_OK;
}

static int fill_gzip(struct infile *in, struct err *err)
{
	while (in->left.len == 0) {
		int rc = SC_OK;

		if (in->raw_at == in->n_raw)
			rc = fill_raw(in, err);
		if (rc < 0)
			return rc;
		if (in->raw_at == in->n_raw && in->between)
			return 0;
		if (in->raw_at == in->n_raw)
			return err_set(err, SC_EINVAL, "%s: the gzip data ends early",
				       infile_name(in));
		rc = inflate_some(in, err);
		if (rc)
			return rc;
	}
	return 1;
}

int infile_peek(struct infile *in, struct span *ret, struct err *err)
{
	int rc = in->begun ? SC_OK : begin(in, err);

	if (rc)
		return rc;
	if (in->left.len == 0 && in->gzip) {
		rc = fill_gzip(in, err);
		if (rc <= 0)
			return rc;
	} else if (in->left.len == 0) {
		rc = in->raw_at == in->n_raw ? fill_raw(in, err) : 1;
		if (rc <= 0)
			return rc;
		in->left = span_of(in->raw + in->raw_at, in->n_raw - in->raw_at);
		in->raw_at = in->n_raw;
	}
	*ret = in->left;
	return 1;
}

void infile_use(struct infile *in, size_t n)
{
	in->left = span_of(in->left.p + n, in->left.len - n);
}

static int give_line(struct infile *in, struct span *ret)
{
	size_t len = in->line.len;

	if (len && in->line.data[len - 1] == '\n')
		len--;
	if (len && in->line.data[len - 1] == '\r')
		len--;
	*ret = span_of(in->line.data, len);
	in->line_given = true;
	return 1;
}

static int add_line(struct infile *in, struct span part, struct err *err)
{
	int rc = buf_add_span(&in->line, part);

	if (rc == SC_EFULL)
		return err_set(err, SC_EINVAL, "%s: line %llu: is longer than %u MiB",
			       infile_name(in), (unsigned long long)in->line_number,
			       LIMIT_FORMAT_RECORD / MIB);
	return rc ? err_set(err, rc, "%s: no memory", infile_name(in)) : SC_OK;
}

int infile_line(struct infile *in, struct span *ret, struct err *err)
{
	if (in->line_given || in->line_number == 0) {
		buf_clear(&in->line);
		in->line_given = false;
		in->line_number++;
	}
	for (;;) {
		struct span s;
		const uint8_t *end;
		int rc = infile_peek(in, &s, err);

		if (rc < 0)
			return rc;
		if (rc == 0)
			return in->line.len ? give_line(in, ret) : 0;
		end = memchr(s.p, '\n', s.len);
		if (end)
			s.len = (size_t)(end - s.p) + 1;
		rc = add_line(in, s, err);
		if (rc)
			return rc;
		infile_use(in, s.len);
		if (end)
			return give_line(in, ret);
	}
}
