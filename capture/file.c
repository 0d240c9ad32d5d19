/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files. Own reading, since libpcap takes no pcapng file whose interfaces differ in link
 * type. A file that breaks off gives what is whole and a note. */
#include "file.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rd.h"
#include "input.h"

#define BUFFER (256u * KIB)
#define WAIT_MS 50 /* for a pipe */
#define HEADER_WAITS 20
#define HEADER 24u /* that many bytes tell any format */

enum {
	PCAP_US = 0xa1b2c3d4,
	PCAP_NS = 0xa1b23c4d,
	PCAP_MODIFIED = 0xa1b2cd34, /* Kuznetzov's: eight more bytes a record */
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_PACKET = 2,
	BLOCK_SIMPLE = 3,
	BLOCK_ENHANCED = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
};

struct interface {
	int link_type;
	uint32_t snaplen;
	uint64_t per_second; /* ticks */
	int64_t offset_s;
};

struct capture_file {
	struct input *input;
	uint8_t *data;
	size_t start, end, cap;
	bool waiting; /* there may be more, but not yet */
	bool begun;   /* the header was read */
	bool damaged; /* nothing can be read any more */
	bool swapped;
	bool ng;
	size_t record_header; /* pcap */
	struct interface *interfaces; /* pcap: one */
	uint32_t n_interfaces;
	const char *note;
};

static uint32_t u32(const struct capture_file *f, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return f->swapped ? __builtin_bswap32(v) : v;
}

static uint16_t u16(const struct capture_file *f, const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return f->swapped ? __builtin_bswap16(v) : v;
}

/* n bytes in memory from the read position on; false at the end. */
static bool need(struct capture_file *f, size_t n)
{
	if (f->end - f->start >= n)
		return true;
	if (n > f->cap) {
		uint8_t *data = realloc(f->data, n);

		if (!data)
			return false;
		f->data = data;
		f->cap = n;
	}
	memmove(f->data, f->data + f->start, f->end - f->start);
	f->end -= f->start;
	f->start = 0;
	f->waiting = false;
	while (f->end < n) {
		int got = input_read(f->input, f->data + f->end, f->cap - f->end, WAIT_MS);

		f->waiting = got == SC_EAGAIN;
		if (got <= 0)
			break;
		f->end += (size_t)got;
	}
	return f->end >= n;
}

static int add_interface(struct capture_file *f, const struct interface *i)
{
	struct interface *list;

	if (f->n_interfaces >= LIMIT_FILE_INTERFACES)
		return SC_EFULL;
	list = realloc(f->interfaces, (f->n_interfaces + 1) * sizeof(*list));
	if (!list)
		return SC_ENOMEM;
	f->interfaces = list;
	list[f->n_interfaces++] = *i;
	return SC_OK;
}

/* magic, version, zone, sigfigs, snaplen, link type */
static bool open_pcap(struct capture_file *f)
{
	struct interface i = {.per_second = 1000000};
	uint32_t magic;

	if (!need(f, HEADER))
		return false;
	magic = u32(f, f->data);
	if (magic != PCAP_US && magic != PCAP_NS && magic != PCAP_MODIFIED) {
		f->swapped = true;
		magic = u32(f, f->data);
	}
	if (magic != PCAP_US && magic != PCAP_NS && magic != PCAP_MODIFIED)
		return false;
	if (magic == PCAP_NS)
		i.per_second = 1000000000;
	f->record_header = magic == PCAP_MODIFIED ? 24 : 16;
	i.link_type = (int)(u32(f, f->data + 20) & 0xffff);
	f->start = HEADER;
	return add_interface(f, &i) == SC_OK;
}

static bool open_ng(struct capture_file *f)
{
	if (!need(f, 12) || u32(f, f->data) != BLOCK_SECTION)
		return false;
	f->ng = true;
	return true;
}

/* `in` is moved, also on failure. */
static int open_input(struct input *in, const char *path, struct capture_file **ret,
		      struct err *err)
{
	struct capture_file *f = calloc(1, sizeof(*f));
	const char *note;

	if (!f) {
		input_free(in);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	f->input = in;
	f->data = malloc(BUFFER);
	if (!f->data) {
		capture_file_free(f);
		return err_set(err, SC_ENOMEM, "out of memory");
	}
	f->cap = BUFFER;
	/* A pipe's writer has some time to begin, so that what is no capture is said at once. */
	for (int i = 0; i < HEADER_WAITS && !f->begun && (i == 0 || f->waiting) && f->end < HEADER; i++)
		f->begun = open_ng(f) || open_pcap(f);
	if (f->begun || (f->waiting && f->end < HEADER)) {
		*ret = f;
		return SC_OK;
	}
	note = capture_file_note(f);
	(void)err_set(err, SC_EINVAL, "%s: %s, not a pcap or pcapng file", path,
		      note ? note : f->end == 0 ? "empty" : "unknown format");
	capture_file_free(f);
	return SC_EINVAL;
}

int capture_file_open(const char *path, bool follow, struct capture_file **ret, struct err *err)
{
	struct input *in;
	int rc = input_open(path, follow, &in, err);

	return rc ? rc : open_input(in, path, ret, err);
}

int capture_file_open_fd(int fd, const char *path, struct capture_file **ret, struct err *err)
{
	struct input *in;
	int rc = input_open_fd(fd, path, false, &in, err);

	return rc ? rc : open_input(in, path, ret, err);
}

void capture_file_free(struct capture_file *f)
{
	if (!f)
		return;
	input_free(f->input);
	free(f->interfaces);
	free(f->data);
	free(f);
}

const char *capture_file_note(const struct capture_file *f)
{
	const char *note = input_note(f->input);

	return note ? note : f->note;
}

static int stop(struct capture_file *f, const char *note)
{
	if (f->waiting && !f->damaged)
		return SC_EAGAIN;
	f->damaged = true;
	f->start = f->end;
	if (!f->note)
		f->note = note;
	return 0;
}

static int damaged(struct capture_file *f, const char *note)
{
	f->damaged = true;
	return stop(f, note);
}

/* 0: not a time. */
static int64_t to_us(const struct interface *i, uint64_t ticks)
{
	static const int64_t most = LIMIT_TIME_US / 1000000;
	uint64_t whole = ticks / i->per_second;
	uint64_t rest = ticks % i->per_second;
	int64_t seconds;

	if (whole > (uint64_t)most || i->offset_s > most || i->offset_s < -most)
		return 0;
	seconds = (int64_t)whole + i->offset_s;
	if (seconds < 0 || seconds > most)
		return 0;
	/* rest < per_second, so the product stays within 64 bits while per_second is at most 2^44. */
	return seconds * 1000000 +
	       (i->per_second > 1ull << 44 ? 0 : (int64_t)(rest * 1000000 / i->per_second));
}

/* seconds, fraction, captured length, length */
static int next_pcap(struct capture_file *f, struct frame *ret)
{
	const uint8_t *h;
	uint32_t caplen;

	if (!need(f, f->record_header))
		return stop(f, f->end > f->start ? "ends inside a record" : NULL);
	h = f->data + f->start;
	caplen = u32(f, h + 8);
	if (caplen > LIMIT_RECORD_BYTES)
		return damaged(f, "damaged: a record of an impossible length");
	ret->ts_us = (int64_t)u32(f, h) * 1000000 +
		     u32(f, h + 4) / (uint32_t)(f->interfaces[0].per_second / 1000000);
	ret->len = u32(f, h + 12);
	ret->link_type = f->interfaces[0].link_type;
	if (!need(f, f->record_header + caplen))
		return stop(f, "ends inside a record");
	ret->bytes = span_of(f->data + f->start + f->record_header, caplen);
	if (ret->len < caplen)
		ret->len = caplen;
	f->start += f->record_header + caplen;
	return 1;
}

/* A section has its own byte order, and interfaces of its own. 16 bytes of it are there. */
static bool begin_section(struct capture_file *f)
{
	uint32_t magic;

	f->swapped = false;
	magic = u32(f, f->data + f->start + 8);
	if (magic != BYTE_ORDER_MAGIC) {
		f->swapped = true;
		magic = u32(f, f->data + f->start + 8);
	}
	f->n_interfaces = 0;
	return magic == BYTE_ORDER_MAGIC;
}

static void read_options(const struct capture_file *f, struct interface *i, struct span o)
{
	while (o.len >= 4) {
		uint16_t code = u16(f, o.p), len = u16(f, o.p + 2);
		size_t padded = (len + 3u) & ~3u;

		if (code == 0 || padded > o.len - 4)
			return;
		if (code == 9 && len == 1) { /* if_tsresol */
			uint8_t r = o.p[4];

			i->per_second = 1;
			for (int n = r & 0x7f; n > 0 && i->per_second < 1ull << 59; n--)
				i->per_second *= r & 0x80 ? 2 : 10;
		} else if (code == 14 && len == 8) { /* if_tsoffset */
			uint64_t v;

			memcpy(&v, o.p + 4, 8);
			i->offset_s = (int64_t)(f->swapped ? __builtin_bswap64(v) : v);
		}
		o = span_of(o.p + 4 + padded, o.len - 4 - padded);
	}
}

static int read_interface(struct capture_file *f, struct span body)
{
	struct interface i = {.per_second = 1000000};

	if (body.len < 8)
		return SC_EPROTO;
	i.link_type = u16(f, body.p);
	i.snaplen = u32(f, body.p + 4);
	read_options(f, &i, span_of(body.p + 8, body.len - 8));
	return add_interface(f, &i);
}

/* Enhanced: interface, time, captured, length. The obsolete one has a drop count behind a shorter
 * interface number; the simple one only the length, and the first interface. */
static int read_packet(const struct capture_file *f, uint32_t type, struct span body,
		       struct frame *ret)
{
	size_t head = type == BLOCK_SIMPLE ? 4 : 20;
	uint32_t id = 0, caplen;
	uint64_t ticks = 0;
	const struct interface *i;

	if (body.len < head)
		return SC_EPROTO;
	if (type == BLOCK_ENHANCED)
		id = u32(f, body.p);
	else if (type == BLOCK_PACKET)
		id = u16(f, body.p);
	if (id >= f->n_interfaces)
		return SC_EPROTO;
	i = &f->interfaces[id];
	if (type == BLOCK_SIMPLE) {
		ret->len = u32(f, body.p);
		caplen = ret->len;
		if (i->snaplen && caplen > i->snaplen)
			caplen = i->snaplen;
		if (caplen > body.len - head)
			caplen = (uint32_t)(body.len - head);
	} else {
		ticks = (uint64_t)u32(f, body.p + 4) << 32 | u32(f, body.p + 8);
		caplen = u32(f, body.p + 12);
		ret->len = u32(f, body.p + 16);
	}
	if (caplen > body.len - head)
		return SC_EPROTO;
	ret->ts_us = to_us(i, ticks);
	ret->link_type = i->link_type;
	ret->bytes = span_of(body.p + head, caplen);
	if (ret->len < caplen)
		ret->len = caplen;
	return SC_OK;
}

static int next_ng(struct capture_file *f, struct frame *ret)
{
	for (;;) {
		uint32_t type, len;
		struct span body;

		if (!need(f, 12))
			return stop(f, f->end > f->start ? "ends inside a block" : NULL);
		type = u32(f, f->data + f->start);
		if (type == BLOCK_SECTION && !need(f, 16))
			return stop(f, "ends inside a block");
		if (type == BLOCK_SECTION && !begin_section(f))
			return damaged(f, "damaged: a section without byte order");
		len = u32(f, f->data + f->start + 4);
		if (len < 12 || len > LIMIT_RECORD_BYTES + 4096)
			return damaged(f, "damaged: a block of an impossible length");
		len = (len + 3u) & ~3u;
		if (!need(f, len))
			return stop(f, "ends inside a block");
		body = span_of(f->data + f->start + 8, len - 12);
		f->start += len;
		switch (type) {
		case BLOCK_INTERFACE:
			if (read_interface(f, body))
				return damaged(f, "damaged: an interface that cannot be read");
			break;
		case BLOCK_PACKET:
		case BLOCK_SIMPLE:
		case BLOCK_ENHANCED:
			if (read_packet(f, type, body, ret) == SC_OK)
				return 1;
			f->note = "damaged: packets that cannot be read were passed over";
			break;
		default:
			break;
		}
	}
}

int capture_file_next(struct capture_file *f, struct frame *ret)
{
	if (f->damaged)
		return 0;
	if (!f->begun) {
		f->swapped = false;
		f->begun = open_ng(f) || open_pcap(f);
		if (!f->begun && f->waiting && f->end < HEADER)
			return SC_EAGAIN;
		if (!f->begun)
			return damaged(f, f->end ? "not a pcap or pcapng file" : "empty");
	}
	return f->ng ? next_ng(f, ret) : next_pcap(f, ret);
}
