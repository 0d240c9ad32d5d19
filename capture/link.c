/* SPDX-License-Identifier: Apache-2.0 */
/* What interfaces and capture systems put in front of a packet: link types and their headers. */
#include <pcap/dlt.h>
#include <stddef.h>

#include "layer.h"

/* IEEE 802.3: destination, source, type or length. */
enum layer decode_ethernet(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 12) || rd_u16(&w->rd, &type))
		return too_short(w);
	return type <= 1500 ? LAYER_LLC : to_ethertype(w, type);
}

enum layer decode_ethertype(struct walk *w)
{
	static const struct {
		uint16_t type;
		enum layer layer;
	} types[] = {
		{0x0800, LAYER_IP4},     {0x86dd, LAYER_IP6},   {0x8100, LAYER_VLAN},
		{0x88a8, LAYER_VLAN},    {0x9100, LAYER_VLAN},  {0x9200, LAYER_VLAN},
		{0x8847, LAYER_MPLS},    {0x8848, LAYER_MPLS},  {0x8864, LAYER_PPPOE},
		{0x880b, LAYER_PPP},     {0x6558, LAYER_ETHERNET}, {0x88be, LAYER_ERSPAN2},
		{0x22eb, LAYER_ERSPAN3}, {0x8926, LAYER_VNTAG}, {0x88e7, LAYER_PBB},
		{0x894f, LAYER_NSH},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].type == w->type)
			return types[i].layer;
	}
	return not_ours(w);
}

/* IEEE 802.2: SNAP (aa aa 03, OUI, EtherType), or IP by its SAP (06). */
enum layer decode_llc(struct walk *w)
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
enum layer decode_null(struct walk *w)
{
	return rd_skip(&w->rd, 4) ? too_short(w) : LAYER_IP;
}

enum layer from_cooked(struct walk *w, uint16_t hatype, uint16_t protocol)
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
enum layer decode_sll(struct walk *w)
{
	uint16_t hatype, protocol;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &hatype) || rd_skip(&w->rd, 10) ||
	    rd_u16(&w->rd, &protocol))
		return too_short(w);
	return from_cooked(w, hatype, protocol);
}

/* LINKTYPE_LINUX_SLL2: protocol, reserved, ifindex, ARPHRD, packet type, address. */
enum layer decode_sll2(struct walk *w)
{
	uint16_t hatype, protocol;

	if (rd_u16(&w->rd, &protocol) || rd_skip(&w->rd, 6) || rd_u16(&w->rd, &hatype) ||
	    rd_skip(&w->rd, 10))
		return too_short(w);
	return from_cooked(w, hatype, protocol);
}

/* RFC 1661: a protocol of one byte when its low bit is set, two otherwise. */
enum layer decode_ppp(struct walk *w)
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
enum layer decode_ppp_hdlc(struct walk *w)
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

enum layer decode_chdlc(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &type))
		return too_short(w);
	return to_ethertype(w, type);
}

/* IEEE 802.11 data frames. Four addresses between bridges, two bytes more with QoS, four with HT
 * control; protected ones cannot be read. */
enum layer decode_80211(struct walk *w)
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
enum layer decode_radiotap(struct walk *w)
{
	uint16_t len;

	if (rd_skip(&w->rd, 2) || rd_u16_le(&w->rd, &len) || len < 8 || rd_skip(&w->rd, len - 4u))
		return too_short(w);
	return LAYER_80211;
}

enum layer decode_prism(struct walk *w)
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

enum layer decode_avs(struct walk *w)
{
	uint32_t len;

	if (rd_skip(&w->rd, 4) || rd_u32(&w->rd, &len) || len < 8 || rd_skip(&w->rd, len - 8))
		return too_short(w);
	return LAYER_80211;
}

/* Per-Packet Information: version, flags, length (LE), link type (LE). */
enum layer decode_ppi(struct walk *w)
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
enum layer decode_nflog(struct walk *w)
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
enum layer decode_arcnet(struct walk *w)
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

/* A byte that says which way the frame went. */
enum layer decode_ppp_direction(struct walk *w)
{
	return rd_skip(&w->rd, 1) ? too_short(w) : LAYER_PPP_HDLC;
}

enum layer decode_chdlc_direction(struct walk *w)
{
	return rd_skip(&w->rd, 1) ? too_short(w) : LAYER_CHDLC;
}

/* RFC 2427: an address of two bytes or more (the last has its low bit set), control 03, an optional
 * pad, NLPID. Cisco's framing has an EtherType in place of the last two. */
enum layer decode_frame_relay(struct walk *w)
{
	uint8_t byte, nlpid;
	uint16_t type;

	do {
		if (rd_u8(&w->rd, &byte))
			return too_short(w);
	} while (!(byte & 1));
	if (rd_u16(&w->rd, &type))
		return too_short(w);
	if (type >> 8 != 0x03)
		return to_ethertype(w, type);
	nlpid = (uint8_t)type;
	if (nlpid == 0 && rd_u8(&w->rd, &nlpid))
		return too_short(w);
	switch (nlpid) {
	case 0xcc:
		return LAYER_IP4;
	case 0x8e:
		return LAYER_IP6;
	case 0x80: /* SNAP: OUI, EtherType */
		if (rd_skip(&w->rd, 3) || rd_u16(&w->rd, &type))
			return too_short(w);
		return to_ethertype(w, type);
	default:
		return not_ours(w);
	}
}

/* Darwin's: its length, the kind of record, and the link type, little endian. */
enum layer decode_pktap(struct walk *w)
{
	uint16_t len, low;
	enum layer below;

	if (rd_u16_le(&w->rd, &len) || rd_skip(&w->rd, 6) || rd_u16_le(&w->rd, &low) || len < 10 ||
	    rd_skip(&w->rd, len - 10u))
		return too_short(w);
	below = link_layer(low);
	return below == LAYER_PKTAP || below == LAYER_NONE ? give_up(w, DROP_LINK_TYPE) : below;
}

/* Endace's: time, type (high bit: extension headers of eight bytes follow, each saying the same of
 * the next), flags, lengths. Type 2 is Ethernet with two bytes of padding. */
enum layer decode_erf(struct walk *w)
{
	uint8_t type, more;

	if (rd_skip(&w->rd, 8) || rd_u8(&w->rd, &type) || rd_skip(&w->rd, 7))
		return too_short(w);
	for (more = type; more & 0x80;) {
		if (rd_u8(&w->rd, &more) || rd_skip(&w->rd, 7))
			return too_short(w);
	}
	if ((type & 0x7f) != 2)
		return not_ours(w);
	return rd_skip(&w->rd, 2) ? too_short(w) : LAYER_ETHERNET;
}

/* OpenBSD pf's log: its length comes first and is padded to four. */
enum layer decode_pflog(struct walk *w)
{
	uint8_t len;

	if (rd_u8(&w->rd, &len) || len < 1 || rd_skip(&w->rd, ((len + 3u) & ~3u) - 1u))
		return too_short(w);
	return LAYER_IP;
}

/* OpenBSD IPsec: address family, SPI, flags. */
enum layer decode_enc(struct walk *w)
{
	return rd_skip(&w->rd, 12) ? too_short(w) : LAYER_IP;
}

/* A direction byte and the compressed header's fifteen. */
enum layer decode_slip(struct walk *w)
{
	return rd_skip(&w->rd, 16) ? too_short(w) : LAYER_IP;
}

/* ANSI X3.139: frame control, destination, source; LLC frames are 5x. */
enum layer decode_fddi(struct walk *w)
{
	uint8_t control;

	if (rd_u8(&w->rd, &control) || rd_skip(&w->rd, 12))
		return too_short(w);
	return (control & 0xf0) == 0x50 ? LAYER_LLC : not_ours(w);
}

/* IEEE 802.5: access control, frame control, destination, source; the source's high bit says that
 * routing information follows, whose first five bits of length count itself. */
enum layer decode_token_ring(struct walk *w)
{
	struct span address;
	uint8_t control, routing;

	if (rd_skip(&w->rd, 1) || rd_u8(&w->rd, &control) || rd_skip(&w->rd, 6) ||
	    rd_bytes(&w->rd, 6, &address))
		return too_short(w);
	if ((control & 0xc0) != 0x40)
		return not_ours(w);
	if (address.p[0] & 0x80) {
		if (rd_u8(&w->rd, &routing) || (routing & 0x1f) < 2 ||
		    rd_skip(&w->rd, (routing & 0x1fu) - 1u))
			return too_short(w);
	}
	return LAYER_LLC;
}

/* RFC 2625: destination and source network addresses. */
enum layer decode_ip_over_fc(struct walk *w)
{
	return rd_skip(&w->rd, 16) ? too_short(w) : LAYER_LLC;
}

/* Flags whose low four bits say what follows (2: LLC), VPI, VCI. */
enum layer decode_sunatm(struct walk *w)
{
	uint8_t flags;

	if (rd_u8(&w->rd, &flags) || rd_skip(&w->rd, 3))
		return too_short(w);
	return (flags & 15) == 2 ? LAYER_LLC : not_ours(w);
}

/* LINKTYPE values of files and DLT values of the system differ for raw IP; both are listed. */
enum layer link_layer(int link_type)
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
		{DLT_MPLS, LAYER_MPLS},
		{DLT_PPP_WITH_DIR, LAYER_PPP_DIRECTION},
		{DLT_C_HDLC_WITH_DIR, LAYER_CHDLC_DIRECTION},
		{DLT_FRELAY, LAYER_FRAME_RELAY},
		{DLT_PKTAP, LAYER_PKTAP},
		{DLT_ERF, LAYER_ERF},
		{DLT_PFLOG, LAYER_PFLOG},
		{DLT_ENC, LAYER_ENC},
		{DLT_SLIP, LAYER_SLIP},
		{DLT_FDDI, LAYER_FDDI},
		{DLT_IEEE802, LAYER_TOKEN_RING},
		{DLT_IP_OVER_FC, LAYER_IP_OVER_FC},
		{DLT_SUNATM, LAYER_SUNATM},
		{DLT_ATM_RFC1483, LAYER_LLC},
		{100, LAYER_LLC}, /* LINKTYPE_ATM_RFC1483 */
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (links[i].link_type == link_type)
			return links[i].layer;
	}
	return LAYER_NONE;
}
