/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1 message (RFC 9112): its head byte for byte as it was on the wire, an index into it,
 * and its body after de-chunking, still content-encoded.
 *
 * The head is never rewritten as a whole: the editing functions splice it, so that whatever is not
 * asked to change goes out again as it came in: order, case, spacing, duplicates. */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/span.h"

struct slice {
	uint32_t off;
	uint32_t len;
};

/* Offsets into the head (or the trailer bytes). The value is without surrounding white space. */
struct field {
	struct slice name;
	struct slice value;
};

enum message_flags {
	MESSAGE_CHUNKED = 1 << 0,   /* the body came in chunks */
	MESSAGE_CAPPED = 1 << 1,    /* body_len < body_size because of the body cap */
	MESSAGE_GAP = 1 << 2,       /* bytes of it were lost on the wire, or it was cut off */
	MESSAGE_UNKEPT = 1 << 3,    /* framed only: the body was never kept */
	MESSAGE_UPGRADE = 1 << 4,   /* 101, or 2xx to CONNECT: no HTTP after it */
};

struct message {
	/* Start line, fields and the blank line. Owned. */
	uint8_t *head;
	uint32_t head_len, head_room; /* room: bytes that `head` may have before it must move */
	struct field *fields;	      /* owned */
	uint32_t n_fields;

	struct slice method, target; /* of a request */
	struct slice reason;         /* of a response */
	uint16_t status;             /* 0: this is a request */
	uint8_t major, minor;        /* HTTP version */
	uint16_t flags;              /* enum message_flags */

	struct buf body;    /* what was kept */
	uint64_t body_size; /* how long it was on the wire (RFC 9112, 6), >= body.len */

	/* What framed a chunked request body, byte for byte: its chunk-size lines with their ends, the
	 * last one too, then the trailer section. For a replay that frames it the same way. Empty when
	 * that was done in the plainest way (one chunk, "1f" and CRLF), or is not known; whoever
	 * changes body or trailers empties it. */
	struct buf chunk_lines;

	/* The trailer section (RFC 9112, 7.1.2) as on the wire, and its index. Owned. */
	uint8_t *trailer;
	uint32_t trailer_len;
	struct field *trailer_fields;
	uint32_t n_trailer_fields;

	int64_t first_us, last_us; /* arrival of the first and last byte; 0 when not known */
};

static inline struct span message_span(const struct message *m, struct slice s)
{
	return span_of(m->head + s.off, s.len);
}

static inline struct span message_name(const struct message *m, uint32_t i)
{
	return message_span(m, m->fields[i].name);
}

static inline struct span message_value(const struct message *m, uint32_t i)
{
	return message_span(m, m->fields[i].value);
}

static inline struct span message_method(const struct message *m)
{
	return message_span(m, m->method);
}

/* The request target as it stands (RFC 9112, 3.2): origin, absolute, authority or asterisk form. */
static inline struct span message_target(const struct message *m)
{
	return message_span(m, m->target);
}

/* A message from a head that somebody else has indexed. Copies both arrays; slices of the start line
 * are the caller's to set. `body_max` is the ceiling of the kept body. SC_ENOMEM. */
int message_new(const uint8_t *head, uint32_t head_len, const struct field *fields,
		uint32_t n_fields, size_t body_max, struct message **ret);
void message_free(struct message *m); /* NULL is fine */
int message_copy(const struct message *m, struct message **ret); /* SC_ENOMEM */

/* Indexes a complete head (start line to blank line; bare LF and obs-fold are taken). `status` of
 * the result is 0 for a request line. SC_EPROTO when it is no head at all. */
int message_parse(const uint8_t *head, size_t len, size_t body_max, struct message **ret);

/* What a header list is made of when it does not come from the wire. */
struct header {
	struct span name;
	struct span value;
};

/* Builds "METHOD target HTTP/x.y" with "Name: value" lines; no field is added. `version` is "1.1",
 * "1.0"; anything else (HTTP/2 from a HAR) becomes 1.1. SC_EFULL over LIMIT_HEAD_BYTES. */
int message_build_request(struct span method, struct span target, struct span version,
			  const struct header *headers, uint32_t n, size_t body_max,
			  struct message **ret);
int message_build_response(uint16_t status, struct span reason, struct span version,
			   const struct header *headers, uint32_t n, size_t body_max,
			   struct message **ret);

/* Field lines that stand in several heads: made once, then copied. All zero is empty. */
struct field_lines {
	struct buf bytes;     /* "Name: value\r\n" each */
	struct field *fields; /* where names and values are in it; owned */
	uint32_t n, room;
};
void field_lines_init(struct field_lines *l);
void field_lines_done(struct field_lines *l);
/* Instead of what it held. SC_EPROTO where the lines would be read as something else than these
 * headers, and must go through a parser: a name that is no token (RFC 9110, 5.1), a value with a
 * line's end in it or white space around it. SC_EFULL, SC_ENOMEM; then it is empty. */
int field_lines_set(struct field_lines *l, const struct header *headers, uint32_t n);
/* message_build_request() with such lines. SC_EPROTO also where the start line would be read as
 * something else. */
int message_build_with(struct span method, struct span target, struct span version,
		       const struct field_lines *lines, size_t body_max, struct message **ret);

/* Whether building from the parts gives the same head bytes again, so that the parts are enough. */
bool message_is_canonical(const struct message *m);

/* Keeps trailer fields: `bytes` as on the wire without the closing blank line. SC_EFULL. */
int message_set_trailer(struct message *m, const uint8_t *bytes, uint32_t len,
			const struct field *fields, uint32_t n);

/* Index of the first field of this name at or after `from`, or -1. */
int message_find(const struct message *m, const char *name, uint32_t from);

/* Editing. Each keeps every other byte of the head. SC_EFULL, SC_ENOMEM. */
int message_set_target(struct message *m, struct span target);
int message_set_value(struct message *m, uint32_t i, struct span value);
int message_remove_field(struct message *m, uint32_t i);
int message_add_field(struct message *m, struct span name, struct span value); /* at the end */

/* Replaces the first field of that name and removes the others; adds it where there is none. */
int message_set_field(struct message *m, struct span name, struct span value);
int message_remove_all(struct message *m, struct span name);

/* One change of several: `del` bytes at `off` become `ins`. */
struct edit {
	size_t off, del;
	struct span ins;
};

/* Makes them all in one pass, in the order of `off` and not overlapping; every other byte stays. A
 * field whose whole name is deleted is gone, an edit inside a slice moves its end. For secrets: the
 * bytes of before are overwritten wherever this message kept them. All or nothing. SC_EFULL,
 * SC_ENOMEM. Edits of the trailer empty chunk_lines, which hold it too. */
int message_edit_head(struct message *m, const struct edit *edits, size_t n);
int message_edit_trailer(struct message *m, const struct edit *edits, size_t n);

/* The parts of a request target. path never empty ("/" for "http://h", "*" for OPTIONS *); query
 * without its '?', query.p NULL when there is no '?'; authority only of absolute and authority
 * form (RFC 9112, 3.2.2 and 3.2.3), p NULL otherwise. A CONNECT target is its path too. */
struct target {
	struct span scheme, authority, path, query;
};
void target_split(struct span target, struct target *ret);

/* The host a request is for: the target's authority, else the first Host field, else empty.
 * With its port, as on the wire. */
struct span message_host(const struct message *m);

/* Bytes this message holds in memory, for queues and budgets. */
size_t message_footprint(const struct message *m);

#endif
