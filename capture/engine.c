/* SPDX-License-Identifier: Apache-2.0 */
/* The table of connections, their ages, and the ceilings on what they hold. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rng.h"
#include "pair.h"
#include "stream.h"

#define FIRST_BUCKETS 1024u

enum flow_kind {
	FLOW_UNKNOWN,
	FLOW_HTTP,
	FLOW_LEFT_OUT, /* by the rules, before anything of it was read */
	FLOW_OTHER, /* TLS, HTTP/2, anything else */
};

/* The same for both directions: the lower side first. */
struct flow_key {
	struct addr low, high;
};

/* What a connection holds while it lasts. A finished one is kept for some time without it, so that
 * late copies of its segments are not taken for a new connection. */
struct talk {
	struct stream stream[2];
	struct pair pair;
};

struct flow {
	struct flow *next;           /* in its bucket */
	struct flow *older, *newer;  /* by last packet, among the open or the closed ones */
	struct flow *hole_prev, *hole_next; /* flows with a hole, since when */
	struct flow_key key;
	uint64_t hash;
	struct talk *talk; /* NULL once everything came out */
	struct addr first; /* the side that was seen first: direction 0 */
	uint32_t isn[2];
	bool isn_seen[2];
	int64_t last_us;
	uint32_t undecided; /* packets before the kind was known */
	uint8_t kind;
	bool syn;      /* its opening was seen */
	bool closed;   /* both sides ended, or reset */
	bool in_holes;
};

struct age_list {
	struct flow *oldest, *newest;
};

struct engine {
	struct engine_options options;
	struct counters *counters;
	struct decoder *decoder;
	struct stream_shared streams;
	struct pair_shared pairs;
	struct flow **buckets;
	uint32_t n_buckets; /* a power of two */
	uint32_t n_flows;
	uint64_t next_connection;
	struct age_list open, closed;
	struct flow *first_hole, *last_hole;
	struct flow *last; /* of the packet before: the next one is often of the same */
	struct exchange *ready, **ready_tail;
	int64_t now_us; /* the latest time seen; never goes back */
};

/* Where a chunk belongs. */
struct place {
	struct engine *engine;
	struct flow *flow;
	int dir;
};

static void on_emit(void *arg, struct exchange *ex)
{
	struct engine *e = arg;

	ex->node.next = NULL;
	*e->ready_tail = ex;
	e->ready_tail = (struct exchange **)(void *)&ex->node.next;
}

static void decide(struct engine *e, struct flow *f, enum flow_kind kind)
{
	/* A server may answer in HTTP what was no HTTP; the other way round HTTP stays HTTP. */
	if (f->kind == FLOW_LEFT_OUT || f->kind == FLOW_HTTP || (f->kind == FLOW_OTHER && kind == FLOW_OTHER))
		return;
	f->kind = (uint8_t)kind;
	count_n(e->counters, kind == FLOW_HTTP ? PACKETS_USED : PACKETS_NOT_HTTP, f->undecided);
	f->undecided = 0;
}

static void on_recognised(void *arg, enum counter_id what)
{
	struct place *at = arg;

	if (what == CONNECTIONS_HTTP || at->flow->kind == FLOW_UNKNOWN)
		count(at->engine->counters, what);
	decide(at->engine, at->flow, what == CONNECTIONS_HTTP ? FLOW_HTTP : FLOW_OTHER);
}

/* An acknowledgment number as an offset into the stream it acknowledges. */
static int64_t acked_offset(const struct stream *s, uint32_t ack)
{
	int64_t offset;

	if (!s->synced)
		return -1;
	offset = (int64_t)s->offset + (int32_t)(ack - s->next_seq);
	return offset < 0 ? 0 : offset;
}

static void on_chunk(void *arg, const struct chunk *c)
{
	struct place *at = arg;
	struct flow *f = at->flow;
	int64_t peer = c->has_ack ? acked_offset(&f->talk->stream[!at->dir], c->ack) : -1;

	pair_chunk(&f->talk->pair, &at->engine->pairs, at->dir, c, peer, at);
}

struct engine *engine_new(const struct engine_options *o)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->options = *o;
	e->counters = o->counters;
	e->ready_tail = &e->ready;
	e->streams = (struct stream_shared){
		.counters = o->counters, .held_max = o->memory, .deliver = on_chunk};
	e->decoder = decoder_new();
	e->n_buckets = FIRST_BUCKETS;
	e->buckets = calloc(e->n_buckets, sizeof(struct flow *));
	if (!e->decoder || !e->buckets ||
	    pair_shared_init(&e->pairs, o->counters, o->early, o->body_max)) {
		engine_free(e);
		return NULL;
	}
	e->pairs.asked = o->asked;
	e->pairs.asked_arg = o->asked_arg;
	e->pairs.emit = on_emit;
	e->pairs.emit_arg = e;
	e->pairs.recognised = on_recognised;
	return e;
}

static bool port_wanted(const struct engine *e, const struct segment *s)
{
	for (unsigned i = 0; i < e->options.n_ports; i++) {
		if (s->src.port == e->options.ports[i] || s->dst.port == e->options.ports[i])
			return true;
	}
	return e->options.n_ports == 0;
}

static void key_of(const struct segment *s, struct flow_key *ret)
{
	int order = memcmp(s->src.ip, s->dst.ip, sizeof(s->src.ip));
	bool swapped = order > 0 || (order == 0 && s->src.port > s->dst.port);

	ret->low = swapped ? s->dst : s->src;
	ret->high = swapped ? s->src : s->dst;
}

static bool key_eq(const struct flow_key *a, const struct flow_key *b)
{
	return a->low.port == b->low.port && a->high.port == b->high.port &&
	       memcmp(a->low.ip, b->low.ip, 16) == 0 && memcmp(a->high.ip, b->high.ip, 16) == 0 &&
	       a->low.len == b->low.len;
}

static uint64_t key_hash(const struct engine *e, const struct flow_key *k)
{
	uint8_t bytes[36];
	size_t n = k->low.len;

	memcpy(bytes, k->low.ip, n);
	memcpy(bytes + n, k->high.ip, n);
	memcpy(bytes + 2 * n, &k->low.port, 2);
	memcpy(bytes + 2 * n + 2, &k->high.port, 2);
	return hash_bytes(bytes, 2 * n + 4, e->options.hash_seed);
}

static struct age_list *ages_of(struct engine *e, const struct flow *f)
{
	return f->closed ? &e->closed : &e->open;
}

static void age_unlink(struct engine *e, struct flow *f)
{
	struct age_list *ages = ages_of(e, f);

	if (f->older)
		f->older->newer = f->newer;
	else
		ages->oldest = f->newer;
	if (f->newer)
		f->newer->older = f->older;
	else
		ages->newest = f->older;
}

static void age_newest(struct engine *e, struct flow *f)
{
	struct age_list *ages = ages_of(e, f);

	f->older = ages->newest;
	f->newer = NULL;
	if (ages->newest)
		ages->newest->newer = f;
	else
		ages->oldest = f;
	ages->newest = f;
}

static struct flow *oldest(const struct engine *e)
{
	return e->closed.oldest ? e->closed.oldest : e->open.oldest;
}

static void flow_close(struct engine *e, struct flow *f)
{
	if (f->closed)
		return;
	age_unlink(e, f);
	f->closed = true;
	age_newest(e, f);
}

static void holes_unlink(struct engine *e, struct flow *f)
{
	if (!f->in_holes)
		return;
	f->in_holes = false;
	if (f->hole_prev)
		f->hole_prev->hole_next = f->hole_next;
	else
		e->first_hole = f->hole_next;
	if (f->hole_next)
		f->hole_next->hole_prev = f->hole_prev;
	else
		e->last_hole = f->hole_prev;
}

static void holes_append(struct engine *e, struct flow *f)
{
	f->hole_prev = e->last_hole;
	f->hole_next = NULL;
	if (e->last_hole)
		e->last_hole->hole_next = f;
	else
		e->first_hole = f;
	e->last_hole = f;
	f->in_holes = true;
}

static bool has_hole(const struct flow *f)
{
	return f->talk && (f->talk->stream[0].queue || f->talk->stream[1].queue);
}

static void holes_update(struct engine *e, struct flow *f)
{
	bool hole = has_hole(f);

	if (hole && !f->in_holes)
		holes_append(e, f);
	else if (!hole && f->in_holes)
		holes_unlink(e, f);
}

static void end_direction(struct engine *e, struct flow *f, int dir, bool clean)
{
	struct place at = {e, f, dir};

	pair_end(&f->talk->pair, &e->pairs, dir, clean, &at);
}

/* Everything that is held comes out; what late segments bring is passed over. */
static void flow_finish(struct engine *e, struct flow *f)
{
	struct talk *t = f->talk;

	if (!t)
		return;
	for (int dir = 0; dir < 2; dir++) {
		struct place at = {e, f, dir};

		stream_flush(&t->stream[dir], &e->streams, &at);
		end_direction(e, f, dir, t->stream[dir].ended);
		stream_done(&t->stream[dir], &e->streams);
	}
	pair_finish(&t->pair, &e->pairs, &(struct place){e, f, 0});
	f->talk = NULL;
	free(t);
	holes_unlink(e, f);
	decide(e, f, FLOW_OTHER);
}

static void flow_remove(struct engine *e, struct flow *f)
{
	struct flow **at = &e->buckets[f->hash & (e->n_buckets - 1)];

	flow_finish(e, f);
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	age_unlink(e, f);
	if (e->last == f)
		e->last = NULL;
	e->n_flows--;
	free(f);
}

static void grow_table(struct engine *e)
{
	uint32_t n = e->n_buckets * 2;
	struct flow **fresh = calloc(n, sizeof(struct flow *));

	if (!fresh)
		return; /* longer chains, nothing worse */
	for (uint32_t i = 0; i < e->n_buckets; i++) {
		struct flow *f = e->buckets[i], *next;

		for (; f; f = next) {
			struct flow **to = &fresh[f->hash & (n - 1)];

			next = f->next;
			f->next = *to;
			*to = f;
		}
	}
	free(e->buckets);
	e->buckets = fresh;
	e->n_buckets = n;
}

/* Who opened it is known by the SYN, and no more is needed: it is never reassembled. */
static void leave_out(struct engine *e, struct flow *f)
{
	f->kind = FLOW_LEFT_OUT;
	flow_finish(e, f);
	flow_close(e, f);
}

static struct flow *flow_new(struct engine *e, const struct flow_key *key, uint64_t hash,
			     const struct segment *s)
{
	struct flow *f;
	struct flow **at;

	if (e->n_flows >= LIMIT_FLOWS) {
		count(e->counters, CONNECTIONS_EVICTED);
		flow_remove(e, oldest(e));
	}
	if (e->n_flows >= e->n_buckets)
		grow_table(e);
	f = calloc(1, sizeof(*f));
	if (f)
		f->talk = calloc(1, sizeof(*f->talk));
	if (!f || !f->talk) {
		free(f);
		return NULL;
	}
	f->key = *key;
	f->hash = hash;
	f->first = s->src;
	f->syn = s->flags & TCP_SYN;
	pair_init(&f->talk->pair, &s->src, &s->dst, ++e->next_connection);
	at = &e->buckets[hash & (e->n_buckets - 1)];
	f->next = *at;
	*at = f;
	e->n_flows++;
	age_newest(e, f);
	count(e->counters, CONNECTIONS);
	if (!f->syn)
		count(e->counters, CONNECTIONS_MIDSTREAM);
	else if (!(s->flags & TCP_ACK) && e->options.early &&
		 chain_flow(e->options.early, &s->src, &s->dst) != VERDICT_KEEP)
		leave_out(e, f);
	return f;
}

static struct flow *flow_find(struct engine *e, const struct flow_key *key, uint64_t hash)
{
	struct flow *f;

	if (e->last && key_eq(&e->last->key, key))
		return e->last;
	for (f = e->buckets[hash & (e->n_buckets - 1)]; f; f = f->next) {
		if (f->hash == hash && key_eq(&f->key, key))
			break;
	}
	return f;
}

static int direction(const struct flow *f, const struct segment *s)
{
	return !(f->first.port == s->src.port && addr_same_host(&f->first, &s->src));
}

/* A SYN that does not repeat the one that opened this connection opens another (RFC 9293, 3.6.1). */
static bool is_reuse(const struct flow *f, const struct segment *s, int dir)
{
	if (!(s->flags & TCP_SYN))
		return false;
	if (f->isn_seen[dir])
		return f->isn[dir] != s->seq;
	if ((s->flags & TCP_ACK) && f->isn_seen[!dir] && s->ack == f->isn[!dir] + 1)
		return false; /* the answer to the SYN that is known */
	/* From a side that has already sent data, or on a connection that is over. */
	return !f->talk || (f->talk->stream[dir].synced && f->talk->stream[dir].offset > 0);
}

static void take_syn(struct flow *f, const struct segment *s, int dir)
{
	struct stream *st = f->talk ? &f->talk->stream[dir] : NULL;

	if (f->isn_seen[dir])
		return;
	f->isn_seen[dir] = true;
	f->isn[dir] = s->seq;
	if (!st)
		return;
	if (!st->synced || st->offset == 0)
		stream_restart(st, s->seq + 1);
}

static bool both_ended(const struct flow *f)
{
	return f->talk->stream[0].ended && f->talk->stream[1].ended;
}

static void flow_segment(struct engine *e, struct flow *f, const struct segment *s)
{
	int dir = direction(f, s);
	struct stream *st, *other;
	struct place at = {e, f, dir}, back = {e, f, !dir};
	bool ended;
	struct stream_segment seg = {
		.seq = s->seq + (s->flags & TCP_SYN ? 1 : 0),
		.payload = s->payload,
		.missing = s->missing,
		.ack = s->ack,
		.has_ack = s->flags & TCP_ACK,
		.ts_us = s->ts_us,
	};
	uint32_t len = (uint32_t)seg.payload.len + seg.missing;

	if (s->flags & TCP_SYN)
		take_syn(f, s, dir);
	if (!f->talk)
		return;
	st = &f->talk->stream[dir];
	other = &f->talk->stream[!dir];
	ended = st->ended;
	if (seg.has_ack) {
		/* A lost SYN-ACK is known by what it was answered with. */
		if (!other->synced && f->isn_seen[dir] && !(s->flags & (TCP_SYN | TCP_RST)))
			stream_sync(other, s->ack);
		stream_ack(other, &e->streams, s->ack, s->ts_us);
	}
	if (s->flags & TCP_RST) { /* its payload is a reason text (RFC 9293, 3.10.7.4), not data */
		flow_close(e, f);
		return;
	}
	if (len && seg.has_ack && other->queue)
		stream_answered(other, &e->streams, s->ack, s->ts_us, &back);
	if (len)
		stream_add(st, &e->streams, &seg, &at);
	if (s->flags & TCP_FIN)
		stream_fin(st, seg.seq + len);
	if (st->hole_since_us || other->hole_since_us) {
		stream_expire(st, &e->streams, e->now_us, &at);
		stream_expire(other, &e->streams, e->now_us, &back);
	}
	if (st->ended && !ended)
		end_direction(e, f, dir, true);
	if (both_ended(f)) {
		flow_close(e, f);
		flow_finish(e, f);
	}
}

static void count_packet(struct engine *e, struct flow *f)
{
	switch ((enum flow_kind)f->kind) {
	case FLOW_UNKNOWN:
		f->undecided++;
		break;
	case FLOW_HTTP:
		count(e->counters, PACKETS_USED);
		break;
	case FLOW_LEFT_OUT:
		count(e->counters, PACKETS_UNSAMPLED);
		break;
	case FLOW_OTHER:
		count(e->counters, PACKETS_NOT_HTTP);
		break;
	}
}

/* The policy at the ceiling: whoever has been silent longest gives up what it holds. */
static void keep_budget(struct engine *e)
{
	while (e->streams.held + e->pairs.http.held > e->options.memory && oldest(e)) {
		count(e->counters, CONNECTIONS_EVICTED);
		flow_remove(e, oldest(e));
	}
}

static void expire_holes(struct engine *e)
{
	while (e->first_hole) {
		struct flow *f = e->first_hole;

		for (int dir = 0; dir < 2; dir++) {
			struct place at = {e, f, dir};

			stream_expire(&f->talk->stream[dir], &e->streams, e->now_us, &at);
		}
		holes_unlink(e, f);
		if (has_hole(f)) {
			holes_append(e, f);
			break;
		}
	}
}

static void expire_ages(struct engine *e, const struct age_list *ages, int64_t idle_us)
{
	while (ages->oldest && e->now_us - ages->oldest->last_us >= idle_us)
		flow_remove(e, ages->oldest);
}

static void expire_flows(struct engine *e)
{
	expire_ages(e, &e->closed, LIMIT_FLOW_LINGER_US);
	expire_ages(e, &e->open, LIMIT_FLOW_IDLE_US);
}

void engine_expire(struct engine *e, int64_t now_us)
{
	if (now_us > e->now_us)
		e->now_us = now_us;
	expire_holes(e);
	expire_flows(e);
}

void engine_frame(struct engine *e, const struct frame *frame)
{
	struct segment s;
	struct flow_key key;
	uint64_t hash;
	struct flow *f;
	enum counter_id why;

	count(e->counters, PACKETS_SEEN);
	why = decode_frame(e->decoder, frame, &s);
	if (why != COUNTERS) {
		count(e->counters, why);
		return;
	}
	if (!port_wanted(e, &s)) {
		count(e->counters, PACKETS_PORT);
		return;
	}
	key_of(&s, &key);
	hash = key_hash(e, &key);
	f = flow_find(e, &key, hash);
	if (f && is_reuse(f, &s, direction(f, &s))) {
		flow_remove(e, f);
		f = NULL;
	}
	if (!f)
		f = flow_new(e, &key, hash, &s);
	if (!f) {
		count(e->counters, PACKETS_FLOW_LIMIT);
		return;
	}
	e->last = f;
	if (frame->ts_us > e->now_us)
		e->now_us = frame->ts_us;
	f->last_us = e->now_us;
	if (ages_of(e, f)->newest != f) {
		age_unlink(e, f);
		age_newest(e, f);
	}
	flow_segment(e, f, &s);
	count_packet(e, f);
	holes_update(e, f);
	if (e->streams.held + e->pairs.http.held > e->options.memory)
		keep_budget(e);
	if (e->first_hole)
		expire_holes(e);
	expire_flows(e);
}

void engine_finish(struct engine *e)
{
	while (oldest(e))
		flow_remove(e, oldest(e));
}

struct exchange *engine_pop(struct engine *e)
{
	struct exchange *ex = e->ready;

	if (!ex)
		return NULL;
	e->ready = (struct exchange *)(void *)ex->node.next;
	if (!e->ready)
		e->ready_tail = &e->ready;
	return ex;
}

void engine_free(struct engine *e)
{
	struct exchange *ex;

	if (!e)
		return;
	if (e->buckets)
		engine_finish(e);
	while ((ex = engine_pop(e)))
		exchange_free(ex);
	pair_shared_done(&e->pairs);
	decoder_free(e->decoder);
	free(e->buckets);
	free(e);
}
