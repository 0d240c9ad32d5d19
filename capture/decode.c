/* SPDX-License-Identifier: Apache-2.0 */
/* The walk from layer to layer, and the layers at its end: IP, its extension headers, TCP. */
#include "decode.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "fragment.h"
#include "layer.h"

struct decoder {
	struct fragments *fragments;
};

enum layer decode_ip(struct walk *w)
{
	if (rd_left(&w->rd) == 0)
		return too_short(w);
	switch (w->rd.p[0] >> 4) {
	case 4:
		return LAYER_IP4;
	case 6:
		return LAYER_IP6;
	default:
		return not_ours(w);
	}
}

static void set_addr(struct addr *a, struct span s)
{
	a->len = (uint8_t)s.len;
	memset(a->ip, 0, sizeof(a->ip)); /* addresses are compared whole */
	memcpy(a->ip, s.p, s.len);
}

static enum layer take_fragment(struct walk *w, struct fragment *f)
{
	struct span whole;

	/* A cut fragment cannot be told from a short one: its datagram would be wrong. */
	if (w->cut)
		return give_up(w, DROP_FRAGMENT);
	f->src = w->segment->src;
	f->dst = w->segment->dst;
	f->payload = span_of(w->rd.p, rd_left(&w->rd));
	switch (fragments_add(w->decoder->fragments, f, w->segment->ts_us, &whole)) {
	case FRAGMENT_WAITS:
		return give_up(w, PACKETS_FRAGMENT);
	case FRAGMENT_REFUSED:
		return give_up(w, DROP_FRAGMENT);
	case FRAGMENT_WHOLE:
		break;
	}
	rd_init(&w->rd, whole.p, whole.len);
	return to_proto(w, f->proto);
}

/*  0                   1                   2                   3      RFC 791, 3.1
 *  |Version|  IHL  |     TOS       |         Total Length          |
 *  |         Identification        |Flags|     Fragment Offset     |
 *  |      TTL      |   Protocol    |        Header Checksum        |
 *  |          Source Address   |   Destination Address | Options   */
enum layer decode_ip4(struct walk *w)
{
	uint8_t vihl, proto;
	uint16_t total, id, frag;
	struct span src, dst;
	uint32_t header;

	w->ip_seen = true;
	if (rd_u8(&w->rd, &vihl) || rd_skip(&w->rd, 1) || rd_u16(&w->rd, &total) ||
	    rd_u16(&w->rd, &id) || rd_u16(&w->rd, &frag) || rd_skip(&w->rd, 1) ||
	    rd_u8(&w->rd, &proto) || rd_skip(&w->rd, 2) || rd_bytes(&w->rd, 4, &src) ||
	    rd_bytes(&w->rd, 4, &dst))
		return too_short(w);
	header = (vihl & 15u) * 4u;
	if (vihl >> 4 != 4 || header < 20)
		return give_up(w, DROP_IP_HEADER);
	if (rd_skip(&w->rd, header - 20))
		return too_short(w);
	if (total != 0) { /* 0: segmentation offload, the frame's length counts */
		if (total < header)
			return give_up(w, DROP_IP_HEADER);
		limit(w, total - header);
	}
	set_addr(&w->segment->src, src);
	set_addr(&w->segment->dst, dst);
	if (frag & 0x3fff) {
		struct fragment f = {.id = id,
				     .proto = proto,
				     .offset = (frag & 0x1fffu) * 8u,
				     .more = frag & 0x2000};

		return take_fragment(w, &f);
	}
	return to_proto(w, proto);
}

static enum layer ip6_fragment(struct walk *w)
{
	struct fragment f = {0};
	uint16_t frag;

	if (rd_u8(&w->rd, &f.proto) || rd_skip(&w->rd, 1) || rd_u16(&w->rd, &frag) ||
	    rd_u32(&w->rd, &f.id))
		return too_short(w);
	if (!(frag & 0xfff9))
		return to_proto(w, f.proto); /* atomic, RFC 6946 */
	f.offset = frag & 0xfff8;
	f.more = frag & 1;
	return take_fragment(w, &f);
}

/* RFC 8200: version/class/flow, payload length, next header, hop limit, addresses. Extension headers
 * follow as protocols of their own. */
enum layer decode_ip6(struct walk *w)
{
	uint32_t vcf;
	uint16_t len;
	uint8_t next;
	struct span src, dst;

	w->ip_seen = true;
	if (rd_u32(&w->rd, &vcf) || rd_u16(&w->rd, &len) || rd_u8(&w->rd, &next) ||
	    rd_skip(&w->rd, 1) || rd_bytes(&w->rd, 16, &src) || rd_bytes(&w->rd, 16, &dst))
		return too_short(w);
	if (vcf >> 28 != 6)
		return give_up(w, DROP_IP_HEADER);
	if (len != 0) /* 0: a jumbogram or segmentation offload */
		limit(w, len);
	set_addr(&w->segment->src, src);
	set_addr(&w->segment->dst, dst);
	return to_proto(w, next);
}

/* Hop-by-hop, routing, destination options, mobility, HIP, shim6: next header and length in units of
 * eight bytes, the first not counted. */
static enum layer ip6_options(struct walk *w)
{
	uint8_t next, len;

	if (rd_u8(&w->rd, &next) || rd_u8(&w->rd, &len) || rd_skip(&w->rd, len * 8u + 6u))
		return too_short(w);
	return to_proto(w, next);
}

enum layer decode_proto(struct walk *w)
{
	switch (w->type) {
	case 6:
		return LAYER_TCP;
	case 17:
		return LAYER_UDP;
	case 4:
		return LAYER_IP4;
	case 41:
		return LAYER_IP6;
	case 47:
		return LAYER_GRE;
	case 51:
		return LAYER_AH;
	case 97:
		return LAYER_ETHERIP;
	case 137:
		return LAYER_MPLS;
	case 44:
		return ip6_fragment(w);
	case 0:
	case 43:
	case 60:
	case 135:
	case 139:
	case 140:
		return ip6_options(w);
	default:
		return not_ours(w);
	}
}

/* RFC 4302: next header, length in words less two. */
enum layer decode_ah(struct walk *w)
{
	uint8_t next, len;

	if (rd_u8(&w->rd, &next) || rd_u8(&w->rd, &len) || rd_skip(&w->rd, (len + 2u) * 4u - 2u))
		return too_short(w);
	return to_proto(w, next);
}

/*  |          Source Port          |       Destination Port        |  RFC 9293, 3.1
 *  |                        Sequence Number                        |
 *  |                    Acknowledgment Number                      |
 *  |  Data |       |C|E|U|A|P|R|S|F|            Window             |
 *  |           Checksum            |         Urgent Pointer        |  */
enum layer decode_tcp(struct walk *w)
{
	struct segment *s = w->segment;
	uint8_t offset;
	uint32_t header;

	if (rd_u16(&w->rd, &s->src.port) || rd_u16(&w->rd, &s->dst.port) ||
	    rd_u32(&w->rd, &s->seq) || rd_u32(&w->rd, &s->ack) || rd_u8(&w->rd, &offset) ||
	    rd_u8(&w->rd, &s->flags) || rd_skip(&w->rd, 6))
		return give_up(w, DROP_TCP_SHORT);
	header = (offset >> 4) * 4u;
	if (header < 20)
		return give_up(w, DROP_TCP_HEADER);
	if (rd_skip(&w->rd, header - 20))
		return give_up(w, w->cut ? DROP_TCP_SHORT : DROP_TCP_HEADER);
	s->payload = span_of(w->rd.p, rd_left(&w->rd));
	s->missing = w->cut;
	w->why = COUNTERS;
	return LAYER_NONE;
}

typedef enum layer (*layer_fn)(struct walk *w);

static const layer_fn layers[LAYERS] = {
#define ROW(id, fn) [LAYER_##id] = fn,
	LAYER_TABLE(ROW)
#undef ROW
};

struct decoder *decoder_new(void)
{
	struct decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->fragments = fragments_new();
	if (!d->fragments) {
		free(d);
		return NULL;
	}
	return d;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	fragments_free(d->fragments);
	free(d);
}

enum counter_id decode_frame(struct decoder *d, const struct frame *f, struct segment *ret)
{
	struct walk w = {.decoder = d, .segment = ret, .why = DROP_DEPTH};
	enum layer layer = link_layer(f->link_type);
	unsigned depth = 0;

	if (layer == LAYER_NONE)
		return DROP_LINK_TYPE;
	ret->ts_us = f->ts_us;
	rd_init(&w.rd, f->bytes.p, f->bytes.len);
	w.cut = f->len - (uint32_t)f->bytes.len;
	while (layer != LAYER_NONE && depth++ < 2 * LIMIT_DECODE_DEPTH)
		layer = layers[layer](&w);
	return layer == LAYER_NONE ? w.why : DROP_DEPTH;
}
