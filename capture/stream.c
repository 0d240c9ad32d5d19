/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of one TCP connection, put in order. */
#include "stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

/* The largest window (RFC 7323, 2.3). What lies further on was made up, and sequence numbers that are
 * further apart than twice that have no order. */
#define WINDOW_MAX (1u << 30)

struct pending {
	struct pending *next;
	uint32_t seq;
	uint32_t len; /* sequence space, >= data_len: the rest was cut by the snaplen */
	uint32_t data_len;
	uint32_t ack;
	bool has_ack;
	int64_t ts_us;
	uint8_t data[];
};

/* Sequence numbers compare modulo 2^32 (RFC 9293, 3.4). */
static int32_t seq_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static size_t pending_cost(const struct pending *p)
{
	return sizeof(*p) + p->data_len;
}

static void pending_drop(struct stream *s, struct stream_shared *sh, struct pending *p)
{
	s->queued -= (uint32_t)pending_cost(p);
	sh->held -= pending_cost(p);
	free(p);
}

void stream_done(struct stream *s, struct stream_shared *sh)
{
	while (s->queue) {
		struct pending *p = s->queue;

		s->queue = p->next;
		pending_drop(s, sh, p);
	}
}

void stream_check(const struct stream *s)
{
	uint64_t cost = 0;

	for (const struct pending *p = s->queue; p; p = p->next) {
		assert(p->len >= p->data_len && p->len > 0);
		assert(seq_diff(p->seq, s->next_seq) > 0);
		assert(!p->next || seq_diff(p->next->seq, p->seq + p->len) >= 0);
		cost += pending_cost(p);
	}
	assert(cost == s->queued);
}

static void check(const struct stream *s)
{
#ifdef SHADOW_DEBUG
	stream_check(s);
#else
	(void)s;
#endif
}

void stream_sync(struct stream *s, uint32_t seq)
{
	s->synced = true;
	s->next_seq = seq;
}

/* Whether what is queued comes after seq, within a window. */
static bool is_before_queue(const struct stream *s, uint32_t seq)
{
	for (const struct pending *p = s->queue; p; p = p->next) {
		if (seq_diff(p->seq, seq) <= 0 || p->seq + p->len - seq > WINDOW_MAX)
			return false;
	}
	return true;
}

void stream_restart(struct stream *s, uint32_t seq)
{
	if (!is_before_queue(s, seq))
		return; /* data that came early tells of another beginning */
	s->fin_seen = s->ended = false;
	stream_sync(s, seq);
}

static void advance(struct stream *s, uint32_t n)
{
	s->next_seq += n;
	s->offset += n;
}

static void deliver_bytes(struct stream *s, struct stream_shared *sh, struct span bytes,
			  uint32_t ack, bool has_ack, int64_t ts_us, void *arg)
{
	struct chunk c = {s->offset, bytes, ts_us, ack, has_ack};

	if (bytes.len == 0)
		return;
	count_n(sh->counters, BYTES_SEEN, bytes.len);
	advance(s, (uint32_t)bytes.len);
	sh->deliver(arg, &c);
}

static void deliver_gap(struct stream *s, struct stream_shared *sh, uint32_t len, int64_t ts_us,
			void *arg)
{
	struct chunk c = {s->offset, span_of(NULL, len), ts_us, 0, false};

	if (len == 0)
		return;
	count_n(sh->counters, BYTES_MISSING, len);
	count(sh->counters, GAPS);
	advance(s, len);
	sh->deliver(arg, &c);
}

/* Everything at the front of the queue that touches next_seq. */
static void drain(struct stream *s, struct stream_shared *sh, void *arg)
{
	while (s->queue && s->queue->seq == s->next_seq) {
		struct pending *p = s->queue;

		s->queue = p->next;
		deliver_bytes(s, sh, span_of(p->data, p->data_len), p->ack, p->has_ack, p->ts_us,
			      arg);
		deliver_gap(s, sh, p->len - p->data_len, p->ts_us, arg);
		pending_drop(s, sh, p);
	}
	if (!s->queue && (!s->acked_known || seq_diff(s->acked, s->next_seq) <= 0))
		s->hole_since_us = 0;
	if (s->fin_seen && seq_diff(s->fin_seq, s->next_seq) <= 0)
		s->ended = true;
}

/* Up to the first queued segment, or up to what was acknowledged. */
static void skip_hole(struct stream *s, struct stream_shared *sh, int64_t now_us, void *arg)
{
	uint32_t to = s->queue ? s->queue->seq : s->acked;

	deliver_gap(s, sh, to - s->next_seq, now_us, arg);
	s->hole_since_us = s->queue ? now_us : 0;
	drain(s, sh, arg);
}

static struct pending *pending_new(const struct stream_segment *seg, uint32_t skip, uint32_t len)
{
	uint32_t have = seg->payload.len > skip ? (uint32_t)seg->payload.len - skip : 0;
	struct pending *p;

	if (have > len)
		have = len;
	p = malloc(sizeof(*p) + have);
	if (!p)
		return NULL;
	p->seq = seg->seq + skip;
	p->len = len;
	p->data_len = have;
	p->ack = seg->ack;
	p->has_ack = seg->has_ack;
	p->ts_us = seg->ts_us;
	if (have)
		memcpy(p->data, seg->payload.p + skip, have);
	return p;
}

/* What the queue already holds of [seq, seq + len) is left alone; only the rest is copied. Counts
 * bytes that differ, for the account of conflicting retransmissions. */
static void compare_overlap(const struct pending *p, const struct stream_segment *seg,
			    struct stream_shared *sh)
{
	int32_t shift = seq_diff(seg->seq, p->seq);
	uint32_t a = shift > 0 ? (uint32_t)shift : 0; /* into p */
	uint32_t b = shift < 0 ? (uint32_t)-shift : 0; /* into seg */
	uint32_t n;

	if (a >= p->data_len || b >= seg->payload.len)
		return;
	n = p->data_len - a;
	if (n > seg->payload.len - b)
		n = (uint32_t)seg->payload.len - b;
	count_n(sh->counters, BYTES_RETRANSMITTED, n);
	if (memcmp(p->data + a, seg->payload.p + b, n) != 0)
		count(sh->counters, OVERLAP_CONFLICTS);
}

static void enqueue(struct stream *s, struct stream_shared *sh, const struct stream_segment *seg)
{
	uint32_t end = seg->seq + (uint32_t)seg->payload.len + seg->missing;
	uint32_t at = seg->seq;
	struct pending **link = &s->queue;

	count(sh->counters, SEGMENTS_OUT_OF_ORDER);
	while (seq_diff(end, at) > 0) {
		struct pending *p = *link;
		uint32_t stop = end;
		struct pending *fresh;

		if (p && seq_diff(p->seq + p->len, at) <= 0) {
			link = &p->next;
			continue;
		}
		if (p && seq_diff(p->seq, at) <= 0) {
			compare_overlap(p, seg, sh);
			at = p->seq + p->len;
			link = &p->next;
			continue;
		}
		if (p && seq_diff(p->seq, end) < 0)
			stop = p->seq;
		fresh = pending_new(seg, at - seg->seq, stop - at);
		if (!fresh)
			return; /* the bytes become a gap */
		fresh->next = p;
		*link = fresh;
		link = &fresh->next;
		s->queued += (uint32_t)pending_cost(fresh);
		sh->held += pending_cost(fresh);
		at = stop;
	}
}

static bool over_budget(const struct stream *s, const struct stream_shared *sh)
{
	return s->queued > LIMIT_DIRECTION_BYTES || sh->held > sh->held_max;
}

/* The part of a segment that lies before next_seq has been seen. */
static void trim_front(struct stream *s, struct stream_shared *sh, struct stream_segment *seg)
{
	uint32_t old = s->next_seq - seg->seq;
	uint32_t have = (uint32_t)seg->payload.len;
	uint32_t cut = old < have ? old : have;

	count_n(sh->counters, BYTES_RETRANSMITTED, cut);
	seg->payload = span_of(seg->payload.p + cut, have - cut);
	seg->missing = old - cut < seg->missing ? seg->missing - (old - cut) : 0;
	seg->seq = s->next_seq;
}

void stream_add(struct stream *s, struct stream_shared *sh, const struct stream_segment *in,
		void *arg)
{
	struct stream_segment seg = *in;
	uint32_t len = (uint32_t)seg.payload.len + seg.missing;

	if (len == 0 || len > WINDOW_MAX)
		return;
	if (!s->synced)
		stream_sync(s, seg.seq);
	if (seq_diff(seg.seq, s->next_seq) < 0) {
		if (seq_diff(seg.seq + len, s->next_seq) <= 0) {
			/* A keep-alive probe repeats one byte, or invents it (RFC 9293, 3.8.4). */
			if (len > 1)
				count_n(sh->counters, BYTES_RETRANSMITTED, seg.payload.len);
			return;
		}
		trim_front(s, sh, &seg);
		len = (uint32_t)seg.payload.len + seg.missing;
	}
	if (seg.seq + len - s->next_seq > WINDOW_MAX)
		return;
	if (s->fin_seen && seq_diff(seg.seq, s->fin_seq) >= 0)
		return; /* nothing can follow a FIN */
	if (seg.seq == s->next_seq && !s->queue) {
		deliver_bytes(s, sh, seg.payload, seg.ack, seg.has_ack, seg.ts_us, arg);
		deliver_gap(s, sh, seg.missing, seg.ts_us, arg);
		drain(s, sh, arg);
		check(s);
		return;
	}
	if (seg.seq == s->next_seq) {
		uint32_t room = s->queue->seq - s->next_seq;
		uint32_t have = (uint32_t)seg.payload.len;
		struct span front = span_of(seg.payload.p, have < room ? have : room);

		/* The bytes up to the first queued segment are new; behind it the queue was first. */
		if (have > room) {
			struct stream_segment rest = seg;

			rest.seq += room;
			rest.payload = span_of(seg.payload.p + room, have - room);
			enqueue(s, sh, &rest);
		}
		deliver_bytes(s, sh, front, seg.ack, seg.has_ack, seg.ts_us, arg);
		if (have < room)
			deliver_gap(s, sh, seg.missing < room - have ? seg.missing : room - have,
				    seg.ts_us, arg);
	} else {
		enqueue(s, sh, &seg);
		if (!s->hole_since_us)
			s->hole_since_us = seg.ts_us;
	}
	drain(s, sh, arg);
	while (s->queue && over_budget(s, sh))
		skip_hole(s, sh, seg.ts_us, arg);
	check(s);
}

void stream_fin(struct stream *s, uint32_t seq)
{
	if (s->fin_seen)
		return;
	if (!s->synced)
		stream_sync(s, seq);
	if (seq_diff(seq, s->next_seq) < 0)
		return; /* an old one, or made up */
	s->fin_seen = true;
	s->fin_seq = seq;
	if (seq == s->next_seq)
		s->ended = true;
}

void stream_ack(struct stream *s, struct stream_shared *sh, uint32_t ack, int64_t now_us)
{
	if (s->acked_known && seq_diff(ack, s->acked) <= 0)
		return;
	s->acked = ack;
	s->acked_known = true;
	if (!s->synced)
		return;
	/* A FIN takes a number of its own. */
	if (s->fin_seen && ack == s->fin_seq + 1)
		s->acked = ack - 1;
	count(sh->counters, ACKS);
	if (seq_diff(s->acked, s->next_seq) > 0) {
		count(sh->counters, ACKS_OF_GAPS);
		if (!s->hole_since_us)
			s->hole_since_us = now_us;
	}
}

void stream_answered(struct stream *s, struct stream_shared *sh, uint32_t ack, int64_t now_us,
		     void *arg)
{
	while (s->queue && seq_diff(ack, s->queue->seq) > 0)
		skip_hole(s, sh, now_us, arg);
	check(s);
}

void stream_expire(struct stream *s, struct stream_shared *sh, int64_t now_us, void *arg)
{
	bool acked;

	if (!s->hole_since_us || !s->queue)
		return;
	acked = s->acked_known && seq_diff(s->acked, s->next_seq) > 0;
	/* Without an acknowledgment (one direction only) a retransmission may still come. */
	if (now_us - s->hole_since_us < (acked ? 1 : 10) * LIMIT_HOLE_WAIT_US)
		return;
	skip_hole(s, sh, now_us, arg);
	check(s);
}

void stream_flush(struct stream *s, struct stream_shared *sh, void *arg)
{
	uint32_t end = s->fin_seen ? s->fin_seq : s->acked;
	int32_t lost;

	while (s->queue)
		skip_hole(s, sh, s->queue->ts_us, arg);
	/* Behind the last byte that came: what a FIN or the other side's acknowledgment tells of. Where
	 * nothing at all came this way only one direction is captured, and that is no loss. */
	lost = seq_diff(end, s->next_seq);
	if ((s->fin_seen || s->acked_known) && s->offset && lost > 0 && lost < (int32_t)LIMIT_TAIL_BYTES)
		deliver_gap(s, sh, (uint32_t)lost, 0, arg);
	check(s);
}
