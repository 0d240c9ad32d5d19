/* SPDX-License-Identifier: Apache-2.0 */
/* One table of layers. Each takes its header off the walk and names the layer below; a packet is
 * done when that is TCP, or when a counter says why it never will be. */
#include "decode.h"

#include <pcap/dlt.h>
#include <stdlib.h>

#include "core/limits.h"
#include "core/rd.h"
#include "fragment.h"

enum layer {
	LAYER_NONE, /* nothing we know below */
	LAYER_ETHERNET,
	LAYER_ETHERTYPE, /* walk.type says which */
	LAYER_LLC,
	LAYER_NULL,
	LAYER_SLL,
	LAYER_SLL2,
	LAYER_PPP,
	LAYER_PPP_HDLC,
	LAYER_PPPOE,
	LAYER_CHDLC,
	LAYER_80211,
	LAYER_RADIOTAP,
	LAYER_PRISM,
	LAYER_AVS,
	LAYER_PPI,
	LAYER_NFLOG,
	LAYER_ARCNET_LINUX,
	LAYER_VLAN,
	LAYER_MPLS,
	LAYER_ERSPAN2,
	LAYER_ERSPAN3,
	LAYER_IP, /* version by its first nibble */
	LAYER_IP4,
	LAYER_IP6,
	LAYER_PROTO, /* walk.type is an IP protocol number */
	LAYER_GRE,
	LAYER_AH,
	LAYER_ETHERIP,
	LAYER_UDP,
	LAYER_VXLAN,
	LAYER_GENEVE,
	LAYER_GTPU,
	LAYER_AYIYA,
	LAYER_TEREDO,
	LAYER_TCP,
	LAYERS,
};

struct walk {
	struct decoder *decoder;
	struct rd rd;
	uint16_t type; /* EtherType or IP protocol, for the dispatching layers */
	uint32_t cut;  /* bytes that were on the wire behind rd.end and were not captured */
	bool ip_seen;
	enum counter_id why; /* when a layer gives up */
	struct segment *segment;
};

struct decoder {
	struct fragments *fragments;
};

typedef enum layer (*layer_fn)(struct walk *w);

static enum layer give_up(struct walk *w, enum counter_id why)
{
	w->why = why;
	return LAYER_NONE;
}

static enum layer not_ours(struct walk *w)
{
	return give_up(w, w->ip_seen ? PACKETS_NOT_TCP : PACKETS_NOT_IP);
}

static enum layer too_short(struct walk *w)
{
	return give_up(w, w->ip_seen ? DROP_IP_SHORT : DROP_LINK_SHORT);
}

static enum layer to_ethertype(struct walk *w, uint16_t type)
{
	w->type = type;
	return LAYER_ETHERTYPE;
}

/* Bytes behind an inner length are padding, not payload; what they were cut by is then less. */
static void limit(struct walk *w, uint32_t n)
{
	size_t left = rd_left(&w->rd);

	if (left >= n) {
		rd_limit(&w->rd, n);
		w->cut = 0;
	} else {
		w->cut = n - (uint32_t)left;
	}
}

/* IEEE 802.3: destination, source, type or length. */
static enum layer decode_ethernet(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 12) || rd_u16(&w->rd, &type))
		return too_short(w);
	return type <= 1500 ? LAYER_LLC : to_ethertype(w, type);
}

static enum layer decode_ethertype(struct walk *w)
{
	static const struct {
		uint16_t type;
		enum layer layer;
	} types[] = {
		{0x0800, LAYER_IP4},     {0x86dd, LAYER_IP6},   {0x8100, LAYER_VLAN},
		{0x88a8, LAYER_VLAN},    {0x9100, LAYER_VLAN},  {0x9200, LAYER_VLAN},
		{0x8847, LAYER_MPLS},    {0x8848, LAYER_MPLS},  {0x8864, LAYER_PPPOE},
		{0x880b, LAYER_PPP},     {0x6558, LAYER_ETHERNET}, {0x88be, LAYER_ERSPAN2},
		{0x22eb, LAYER_ERSPAN3},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].type == w->type)
			return types[i].layer;
	}
	return not_ours(w);
}

/* IEEE 802.2: SNAP (aa aa 03, OUI, EtherType), or IP by its SAP (06). */
static enum layer decode_llc(struct walk *w)
{
	uint8_t dsap, ssap, control;
	uint16_t type;

	if (rd_u8(&w->rd, &dsap) || rd_u8(&w->rd, &ssap) || rd_u8(&w->rd, &control))
		return too_short(w);
	if (dsap == 0x06)
		return LAYER_IP;
	if (dsap != 0xaa || ssap != 0xaa)
		return not_ours(w);
	if (rd_skip(&w->rd, 3) || rd_u16(&w->rd, &type))
		return too_short(w);
	return to_ethertype(w, type);
}

/* BSD loopback: an address family in the writer's byte order. AF_INET6 differs by system, so the
 * IP version nibble decides. */
static enum layer decode_null(struct walk *w)
{
	return rd_skip(&w->rd, 4) ? too_short(w) : LAYER_IP;
}

static enum layer from_cooked(struct walk *w, uint16_t hatype, uint16_t protocol)
{
	if (hatype == 824) /* ARPHRD_NETLINK */
		return not_ours(w);
	if (hatype == 778) /* ARPHRD_IPGRE: the GRE protocol, which is an EtherType too */
		return to_ethertype(w, protocol);
	if (protocol == 0x0004)
		return LAYER_LLC;
	if (protocol == 0x0001)
		return not_ours(w);
	return to_ethertype(w, protocol);
}

/* LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address, protocol. */
static enum layer decode_sll(struct walk *w)
{
	uint16_t hatype, protocol;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &hatype) || rd_skip(&w->rd, 10) ||
	    rd_u16(&w->rd, &protocol))
		return too_short(w);
	return from_cooked(w, hatype, protocol);
}

/* LINKTYPE_LINUX_SLL2: protocol, reserved, ifindex, ARPHRD, packet type, address. */
static enum layer decode_sll2(struct walk *w)
{
	uint16_t hatype, protocol;

	if (rd_u16(&w->rd, &protocol) || rd_skip(&w->rd, 6) || rd_u16(&w->rd, &hatype) ||
	    rd_skip(&w->rd, 10))
		return too_short(w);
	return from_cooked(w, hatype, protocol);
}

/* RFC 1661: a protocol of one byte when its low bit is set, two otherwise. */
static enum layer decode_ppp(struct walk *w)
{
	uint8_t first, second;
	uint16_t protocol;

	if (rd_u8(&w->rd, &first))
		return too_short(w);
	protocol = first;
	if (!(first & 1)) {
		if (rd_u8(&w->rd, &second))
			return too_short(w);
		protocol = (uint16_t)(first << 8 | second);
	}
	switch (protocol) {
	case 0x0021:
		return LAYER_IP4;
	case 0x0057:
		return LAYER_IP6;
	case 0x0281:
	case 0x0283:
		return LAYER_MPLS;
	default:
		return not_ours(w);
	}
}

/* RFC 1662: ff 03 before the protocol, unless compressed away; c021 and the like follow. Cisco HDLC
 * (0f/8f 00, EtherType) shares the link type DLT_PPP_SERIAL. */
static enum layer decode_ppp_hdlc(struct walk *w)
{
	if (rd_left(&w->rd) >= 2 && w->rd.p[0] == 0xff && w->rd.p[1] == 0x03)
		(void)rd_skip(&w->rd, 2);
	else if (rd_left(&w->rd) >= 2 && (w->rd.p[0] == 0x0f || w->rd.p[0] == 0x8f))
		return LAYER_CHDLC;
	/* OpenBSD and pppd write a direction byte (0 or 1) in place of the address. */
	else if (rd_left(&w->rd) >= 2 && w->rd.p[0] <= 1 && w->rd.p[1] == 0x03)
		(void)rd_skip(&w->rd, 2);
	return LAYER_PPP;
}

/* RFC 2516: version/type, code, session, length. */
static enum layer decode_pppoe(struct walk *w)
{
	uint16_t len;

	if (rd_skip(&w->rd, 4) || rd_u16(&w->rd, &len))
		return too_short(w);
	limit(w, len);
	return LAYER_PPP;
}

static enum layer decode_chdlc(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &type))
		return too_short(w);
	return to_ethertype(w, type);
}

/* IEEE 802.11 data frames. Four addresses between bridges, two bytes more with QoS, four with HT
 * control; protected ones cannot be read. */
static enum layer decode_80211(struct walk *w)
{
	uint8_t fc0, fc1;
	size_t header = 22;

	if (rd_u8(&w->rd, &fc0) || rd_u8(&w->rd, &fc1))
		return too_short(w);
	if ((fc0 & 0x0c) != 0x08 || (fc0 & 0x40) || (fc1 & 0x40))
		return not_ours(w); /* management, control, no data, encrypted */
	if ((fc1 & 0x03) == 0x03)
		header += 6;
	if (fc0 & 0x80) {
		header += 2;
		if (fc1 & 0x80)
			header += 4;
	}
	return rd_skip(&w->rd, header) ? too_short(w) : LAYER_LLC;
}

/* Radiotap: version, pad, length (little endian), presence bits. Bit 1 of the fields' first word is
 * the flags field, whose 0x20 says that padding stands between header and body; drivers that set it
 * are rare and it is not looked at. */
static enum layer decode_radiotap(struct walk *w)
{
	uint16_t len;

	if (rd_skip(&w->rd, 2) || rd_u16_le(&w->rd, &len) || len < 8 || rd_skip(&w->rd, len - 4u))
		return too_short(w);
	return LAYER_80211;
}

static enum layer decode_prism(struct walk *w)
{
	uint32_t code;

	if (rd_u32(&w->rd, &code))
		return too_short(w);
	if (code == 0x80211001 || code == 0x80211002) { /* AVS under the older link type */
		w->rd.p -= 4;
		return LAYER_AVS;
	}
	return rd_skip(&w->rd, 140) ? too_short(w) : LAYER_80211;
}

static enum layer decode_avs(struct walk *w)
{
	uint32_t len;

	if (rd_skip(&w->rd, 4) || rd_u32(&w->rd, &len) || len < 8 || rd_skip(&w->rd, len - 8))
		return too_short(w);
	return LAYER_80211;
}

static enum layer link_layer(int link_type);

/* Per-Packet Information: version, flags, length (LE), link type (LE). */
static enum layer decode_ppi(struct walk *w)
{
	uint16_t len, low, high;

	if (rd_skip(&w->rd, 2) || rd_u16_le(&w->rd, &len) || rd_u16_le(&w->rd, &low) ||
	    rd_u16_le(&w->rd, &high) || len < 8 || rd_skip(&w->rd, len - 8u))
		return too_short(w);
	if (link_layer(low) == LAYER_PPI)
		return give_up(w, DROP_LINK_TYPE);
	return link_layer(low);
}

/* NFLOG: family, version, resource id; then TLVs in host order of the writer, of which type 9 is the
 * packet. All writers seen are little endian. */
static enum layer decode_nflog(struct walk *w)
{
	uint16_t len, type;

	if (rd_skip(&w->rd, 4))
		return too_short(w);
	while (!rd_u16_le(&w->rd, &len) && !rd_u16_le(&w->rd, &type)) {
		if (len < 4)
			return give_up(w, DROP_LINK_SHORT);
		if ((type & 0x7fff) == 9) {
			limit(w, len - 4u);
			return LAYER_IP;
		}
		if (rd_skip(&w->rd, ((len + 3u) & ~3u) - 4u))
			break;
	}
	return too_short(w);
}

/* Linux ARCNET: source, destination, offset, protocol; for RFC 1201 then a split flag and sequence
 * number. f0/f1 are RFC 1051 IP and ARP, d4/d5 RFC 1201's. */
static enum layer decode_arcnet(struct walk *w)
{
	uint8_t type;

	if (rd_skip(&w->rd, 4) || rd_u8(&w->rd, &type))
		return too_short(w);
	if (type == 0xf0)
		return LAYER_IP4;
	if (type == 0xd4)
		return rd_skip(&w->rd, 3) ? too_short(w) : LAYER_IP4;
	return not_ours(w);
}

/* IEEE 802.1Q, 802.1ad: tag, then the type or length of what follows. */
static enum layer decode_vlan(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &type))
		return too_short(w);
	return type <= 1500 ? LAYER_LLC : to_ethertype(w, type);
}

/* RFC 3032: labels until the bottom of the stack. What is below is not named: the first nibble tells
 * IP; a control word (0, RFC 4385) or anything else is taken as Ethernet. */
static enum layer decode_mpls(struct walk *w)
{
	uint32_t label;

	do {
		if (rd_u32(&w->rd, &label))
			return too_short(w);
	} while (!(label & 0x100));
	if (rd_left(&w->rd) == 0)
		return too_short(w);
	switch (w->rd.p[0] >> 4) {
	case 4:
		return LAYER_IP4;
	case 6:
		return LAYER_IP6;
	case 0:
		return rd_skip(&w->rd, 4) ? too_short(w) : LAYER_ETHERNET;
	default:
		return LAYER_ETHERNET;
	}
}

static enum layer decode_erspan2(struct walk *w)
{
	return rd_skip(&w->rd, 8) ? too_short(w) : LAYER_ETHERNET;
}

/* Type III: 12 bytes, 8 more when the O bit is set. */
static enum layer decode_erspan3(struct walk *w)
{
	uint32_t a, b, c;

	if (rd_u32(&w->rd, &a) || rd_u32(&w->rd, &b) || rd_u32(&w->rd, &c))
		return too_short(w);
	if ((c & 1) && rd_skip(&w->rd, 8))
		return too_short(w);
	return LAYER_ETHERNET;
}

static enum layer decode_ip(struct walk *w)
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

static enum layer to_proto(struct walk *w, uint8_t proto)
{
	w->type = proto;
	return LAYER_PROTO;
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
static enum layer decode_ip4(struct walk *w)
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
static enum layer decode_ip6(struct walk *w)
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

static enum layer decode_proto(struct walk *w)
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
static enum layer decode_ah(struct walk *w)
{
	uint8_t next, len;

	if (rd_u8(&w->rd, &next) || rd_u8(&w->rd, &len) || rd_skip(&w->rd, (len + 2u) * 4u - 2u))
		return too_short(w);
	return to_proto(w, next);
}

static enum layer decode_etherip(struct walk *w)
{
	return rd_skip(&w->rd, 2) ? too_short(w) : LAYER_ETHERNET;
}

/* RFC 2784, 2890, 2637: flags say which words stand between the protocol and the payload. ERSPAN
 * type I has no header of its own, and is told from type II by the missing sequence number. */
static enum layer decode_gre(struct walk *w)
{
	uint16_t flags, type;
	size_t skip = 0;

	if (rd_u16(&w->rd, &flags) || rd_u16(&w->rd, &type))
		return too_short(w);
	if (flags & 0x4000)
		return not_ours(w); /* source routing: long gone */
	if (flags & 0x8000)
		skip += 4; /* checksum */
	if (flags & 0x2000)
		skip += 4; /* key */
	if (flags & 0x1000)
		skip += 4; /* sequence number */
	if ((flags & 7) == 1 && (flags & 0x0080))
		skip += 4; /* PPTP acknowledgment */
	if (rd_skip(&w->rd, skip))
		return too_short(w);
	if (type == 0x88be && !(flags & 0x1000))
		return LAYER_ETHERNET;
	if ((flags & 7) == 1 && rd_left(&w->rd) == 0)
		return not_ours(w);
	if (type == 0x880b)
		return LAYER_PPP_HDLC; /* PPTP frames may keep ff 03 */
	if (type >= 0x8200 && type <= 0x8270)
		return LAYER_80211; /* Aruba access points */
	return to_ethertype(w, type);
}

/* RFC 768. What is inside goes by the well-known port of the tunnel. */
static enum layer decode_udp(struct walk *w)
{
	static const struct {
		uint16_t port;
		enum layer layer;
	} ports[] = {
		{4754, LAYER_GRE},   {4789, LAYER_VXLAN}, {8472, LAYER_VXLAN}, {6081, LAYER_GENEVE},
		{2152, LAYER_GTPU},  {5072, LAYER_AYIYA},
		{3544, LAYER_TEREDO},
	};
	uint16_t sport, dport, len;

	if (rd_u16(&w->rd, &sport) || rd_u16(&w->rd, &dport) || rd_u16(&w->rd, &len) ||
	    rd_skip(&w->rd, 2))
		return too_short(w);
	if (len >= 8 && len - 8u < rd_left(&w->rd))
		limit(w, len - 8u);
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		if (ports[i].port == dport ||
		    (ports[i].port == sport && ports[i].layer >= LAYER_GTPU))
			return ports[i].layer;
	}
	return not_ours(w);
}

/* RFC 7348: flags (I set), VNI. */
static enum layer decode_vxlan(struct walk *w)
{
	uint8_t flags;

	if (rd_u8(&w->rd, &flags) || rd_skip(&w->rd, 7))
		return too_short(w);
	return flags & 0x08 ? LAYER_ETHERNET : not_ours(w);
}

/* RFC 8926: version and option length in words, flags, protocol, VNI. */
static enum layer decode_geneve(struct walk *w)
{
	uint8_t first;
	uint16_t type;

	if (rd_u8(&w->rd, &first) || rd_skip(&w->rd, 1) || rd_u16(&w->rd, &type) ||
	    rd_skip(&w->rd, 4u + (first & 0x3fu) * 4u))
		return too_short(w);
	return first >> 6 ? not_ours(w) : to_ethertype(w, type);
}

/* 3GPP TS 29.281: version 1, protocol type 1; message 255 is a user's packet. Four bytes follow the
 * header when any of E, S, PN is set; extension headers end with their own next type. */
static enum layer decode_gtpu(struct walk *w)
{
	uint8_t flags, message, next = 0, words;

	if (rd_u8(&w->rd, &flags) || rd_u8(&w->rd, &message) || rd_skip(&w->rd, 6))
		return too_short(w);
	if ((flags & 0xf0) != 0x30 || message != 255)
		return not_ours(w);
	if (flags & 7) {
		if (rd_skip(&w->rd, 3) || rd_u8(&w->rd, &next))
			return too_short(w);
		while ((flags & 4) && next) {
			if (rd_u8(&w->rd, &words) || words == 0 || rd_skip(&w->rd, words * 4u - 2u) ||
			    rd_u8(&w->rd, &next))
				return too_short(w);
		}
	}
	return LAYER_IP;
}

/* draft-massar-v6ops-ayiya: identity length (2^n), signature length in words, then op code, next
 * header and the epoch time. */
static enum layer decode_ayiya(struct walk *w)
{
	uint8_t id, sig, auth, next;

	if (rd_u8(&w->rd, &id) || rd_u8(&w->rd, &sig) || rd_u8(&w->rd, &auth) ||
	    rd_u8(&w->rd, &next) || rd_skip(&w->rd, 4u + (1u << (id >> 4)) + (sig >> 4) * 4u))
		return too_short(w);
	return to_proto(w, next);
}

/* RFC 4380, 5.1.1: optional authentication and origin indications before the IPv6 packet. */
static enum layer decode_teredo(struct walk *w)
{
	uint16_t indicator;
	uint8_t id_len, auth_len;

	for (int i = 0; i < 2 && rd_left(&w->rd) >= 2 && w->rd.p[0] == 0; i++) {
		(void)rd_u16(&w->rd, &indicator);
		if (indicator == 1) {
			if (rd_u8(&w->rd, &id_len) || rd_u8(&w->rd, &auth_len) ||
			    rd_skip(&w->rd, id_len + auth_len + 9u))
				return too_short(w);
		} else if (rd_skip(&w->rd, 6)) {
			return too_short(w);
		}
	}
	return rd_left(&w->rd) && w->rd.p[0] >> 4 == 6 ? LAYER_IP6 : not_ours(w);
}

/*  |          Source Port          |       Destination Port        |  RFC 9293, 3.1
 *  |                        Sequence Number                        |
 *  |                    Acknowledgment Number                      |
 *  |  Data |       |C|E|U|A|P|R|S|F|            Window             |
 *  |           Checksum            |         Urgent Pointer        |  */
static enum layer decode_tcp(struct walk *w)
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

static const layer_fn layers[LAYERS] = {
	[LAYER_ETHERNET] = decode_ethernet,
	[LAYER_ETHERTYPE] = decode_ethertype,
	[LAYER_LLC] = decode_llc,
	[LAYER_NULL] = decode_null,
	[LAYER_SLL] = decode_sll,
	[LAYER_SLL2] = decode_sll2,
	[LAYER_PPP] = decode_ppp,
	[LAYER_PPP_HDLC] = decode_ppp_hdlc,
	[LAYER_PPPOE] = decode_pppoe,
	[LAYER_CHDLC] = decode_chdlc,
	[LAYER_80211] = decode_80211,
	[LAYER_RADIOTAP] = decode_radiotap,
	[LAYER_PRISM] = decode_prism,
	[LAYER_AVS] = decode_avs,
	[LAYER_PPI] = decode_ppi,
	[LAYER_NFLOG] = decode_nflog,
	[LAYER_ARCNET_LINUX] = decode_arcnet,
	[LAYER_VLAN] = decode_vlan,
	[LAYER_MPLS] = decode_mpls,
	[LAYER_ERSPAN2] = decode_erspan2,
	[LAYER_ERSPAN3] = decode_erspan3,
	[LAYER_IP] = decode_ip,
	[LAYER_IP4] = decode_ip4,
	[LAYER_IP6] = decode_ip6,
	[LAYER_PROTO] = decode_proto,
	[LAYER_GRE] = decode_gre,
	[LAYER_AH] = decode_ah,
	[LAYER_ETHERIP] = decode_etherip,
	[LAYER_UDP] = decode_udp,
	[LAYER_VXLAN] = decode_vxlan,
	[LAYER_GENEVE] = decode_geneve,
	[LAYER_GTPU] = decode_gtpu,
	[LAYER_AYIYA] = decode_ayiya,
	[LAYER_TEREDO] = decode_teredo,
	[LAYER_TCP] = decode_tcp,
};

/* LINKTYPE values of files and DLT values of the system differ for raw IP; both are listed. */
static enum layer link_layer(int link_type)
{
	static const struct {
		int link_type;
		enum layer layer;
	} links[] = {
		{DLT_EN10MB, LAYER_ETHERNET},
		{DLT_NULL, LAYER_NULL},
		{DLT_LOOP, LAYER_NULL},
		{12, LAYER_IP}, /* DLT_RAW, and 14 on OpenBSD; 101 is its LINKTYPE */
		{14, LAYER_IP},
		{101, LAYER_IP},
		{DLT_IPV4, LAYER_IP4},
		{DLT_IPV6, LAYER_IP6},
		{DLT_LINUX_SLL, LAYER_SLL},
		{DLT_LINUX_SLL2, LAYER_SLL2},
		{DLT_PPP, LAYER_PPP_HDLC},
		{DLT_PPP_SERIAL, LAYER_PPP_HDLC},
		{DLT_PPP_ETHER, LAYER_PPPOE},
		{DLT_PPP_PPPD, LAYER_PPP_HDLC},
		{DLT_C_HDLC, LAYER_CHDLC},
		{DLT_IEEE802_11, LAYER_80211},
		{DLT_IEEE802_11_RADIO, LAYER_RADIOTAP},
		{DLT_PRISM_HEADER, LAYER_PRISM},
		{DLT_IEEE802_11_RADIO_AVS, LAYER_AVS},
		{DLT_PPI, LAYER_PPI},
		{DLT_NFLOG, LAYER_NFLOG},
		{DLT_ARCNET_LINUX, LAYER_ARCNET_LINUX},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (links[i].link_type == link_type)
			return links[i].layer;
	}
	return LAYER_NONE;
}

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
