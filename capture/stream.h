/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of one TCP connection, put in order (RFC 9293, 3.4 and 3.10.7.4). Knows nothing of
 * HTTP and never grows past its budget.
 *
 * Policy where segments overlap with different bytes: the bytes that arrived first stand. A hole
 * that the other side has acknowledged was lost to us, not to them; it becomes a gap once
 * LIMIT_HOLE_WAIT_US have passed for it to be filled by a late packet. */
#ifndef CAPTURE_STREAM_H
#define CAPTURE_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/span.h"

/* What comes out, in order: bytes, or a gap of a known length (bytes.p is NULL). */
struct chunk {
	uint64_t offset; /* of the first byte in the stream */
	struct span bytes;
	int64_t ts_us; /* arrival of the segment the bytes came in */
	uint32_t ack;  /* that segment's acknowledgment number; valid if has_ack */
	bool has_ack;
};

struct stream_segment {
	uint32_t seq; /* of the first payload byte */
	struct span payload;
	uint32_t missing; /* payload bytes behind it that were cut off by the snaplen */
	uint32_t ack;
	bool has_ack;
	int64_t ts_us;
};

struct pending; /* a segment that came early */

struct stream {
	uint64_t offset;   /* of next_seq */
	uint32_t next_seq; /* the first byte that has not been delivered */
	uint32_t acked;    /* the highest acknowledgment from the other side */
	uint32_t fin_seq;
	bool synced;   /* next_seq is known */
	bool fin_seen;
	bool ended;    /* everything up to the FIN is delivered */
	bool acked_known;
	struct pending *queue; /* in sequence order, disjoint */
	uint32_t queued;       /* bytes held by it */
	int64_t hole_since_us; /* 0: no hole */
};

/* What the streams of one engine share. */
struct stream_shared {
	struct counters *counters;
	uint64_t held; /* bytes in all queues */
	uint64_t held_max;
	void (*deliver)(void *arg, const struct chunk *c);
};

/* Frees what is queued; nothing is delivered. */
void stream_done(struct stream *s, struct stream_shared *sh);

/* The first byte of data will be seq; from the other side's acknowledgment, or a first segment. */
void stream_sync(struct stream *s, uint32_t seq);

/* The same from a SYN: what was believed before it (a forged FIN) is forgotten. */
void stream_restart(struct stream *s, uint32_t seq);

/* Takes a segment; what is in order now goes to sh->deliver(arg, ...), possibly more than once. */
void stream_add(struct stream *s, struct stream_shared *sh, const struct stream_segment *seg,
		void *arg);

/* The sender has no more after seq. */
void stream_fin(struct stream *s, uint32_t seq);

/* The other side has everything before ack. */
void stream_ack(struct stream *s, struct stream_shared *sh, uint32_t ack, int64_t now_us);

/* The other side sends data that answers everything before ack: holes below it will not be filled, and
 * what is queued behind them comes out now, in front of that answer. */
void stream_answered(struct stream *s, struct stream_shared *sh, uint32_t ack, int64_t now_us,
		     void *arg);

/* Gives up on holes that are due (acknowledged and waited for), or on all of them. */
void stream_expire(struct stream *s, struct stream_shared *sh, int64_t now_us, void *arg);
void stream_flush(struct stream *s, struct stream_shared *sh, void *arg);

/* Walks the structure and asserts what it promises. */
void stream_check(const struct stream *s);

#endif
