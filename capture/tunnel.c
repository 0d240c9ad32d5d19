/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between a link and the packet that is meant: tags, labels and tunnels. */
#include <stddef.h>

#include "layer.h"

/* IEEE 802.1Q, 802.1ad: tag, then the type or length of what follows. */
enum layer decode_vlan(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 2) || rd_u16(&w->rd, &type))
		return too_short(w);
	return type <= 1500 ? LAYER_LLC : to_ethertype(w, type);
}

/* RFC 3032: labels until the bottom of the stack. What is below is not named: the first nibble tells
 * IP; a control word (0, RFC 4385) or anything else is taken as Ethernet. */
enum layer decode_mpls(struct walk *w)
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

/* RFC 2516: version/type, code, session, length. */
enum layer decode_pppoe(struct walk *w)
{
	uint16_t len;

	if (rd_skip(&w->rd, 4) || rd_u16(&w->rd, &len))
		return too_short(w);
	limit(w, len);
	return LAYER_PPP;
}

enum layer decode_erspan2(struct walk *w)
{
	return rd_skip(&w->rd, 8) ? too_short(w) : LAYER_ETHERNET;
}

/* Type III: 12 bytes, 8 more when the O bit is set. */
enum layer decode_erspan3(struct walk *w)
{
	uint32_t a, b, c;

	if (rd_u32(&w->rd, &a) || rd_u32(&w->rd, &b) || rd_u32(&w->rd, &c))
		return too_short(w);
	if ((c & 1) && rd_skip(&w->rd, 8))
		return too_short(w);
	return LAYER_ETHERNET;
}

/* RFC 2784, 2890, 2637: flags say which words stand between the protocol and the payload. ERSPAN
 * type I has no header of its own, and is told from type II by the missing sequence number. */
enum layer decode_gre(struct walk *w)
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
	if (type == 0x883e) /* WCCP: a redirect header of four bytes */
		return rd_skip(&w->rd, 4) ? too_short(w) : LAYER_IP;
	return to_ethertype(w, type);
}

enum layer decode_etherip(struct walk *w)
{
	return rd_skip(&w->rd, 2) ? too_short(w) : LAYER_ETHERNET;
}

/* RFC 768. What is inside goes by the well-known port of the tunnel. */
enum layer decode_udp(struct walk *w)
{
	static const struct {
		uint16_t port;
		enum layer layer;
	} ports[] = {
		{4754, LAYER_GRE},   {4789, LAYER_VXLAN}, {8472, LAYER_VXLAN}, {6081, LAYER_GENEVE},
		{2152, LAYER_GTPU},  {5072, LAYER_AYIYA},
		{3544, LAYER_TEREDO},  {1701, LAYER_L2TP},
		{4790, LAYER_VXLAN_GPE}, {6635, LAYER_MPLS}, {37008, LAYER_TZSP},
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
enum layer decode_vxlan(struct walk *w)
{
	uint8_t flags;

	if (rd_u8(&w->rd, &flags) || rd_skip(&w->rd, 7))
		return too_short(w);
	return flags & 0x08 ? LAYER_ETHERNET : not_ours(w);
}

/* RFC 8926: version and option length in words, flags, protocol, VNI. */
enum layer decode_geneve(struct walk *w)
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
enum layer decode_gtpu(struct walk *w)
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
enum layer decode_ayiya(struct walk *w)
{
	uint8_t id, sig, auth, next;

	if (rd_u8(&w->rd, &id) || rd_u8(&w->rd, &sig) || rd_u8(&w->rd, &auth) ||
	    rd_u8(&w->rd, &next) || rd_skip(&w->rd, 4u + (1u << (id >> 4)) + (sig >> 4) * 4u))
		return too_short(w);
	return to_proto(w, next);
}

/* RFC 4380, 5.1.1: optional authentication and origin indications before the IPv6 packet. */
enum layer decode_teredo(struct walk *w)
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

/* IEEE 802.1BR: a tag of four bytes more, then the type of what follows. */
enum layer decode_vntag(struct walk *w)
{
	uint16_t type;

	if (rd_skip(&w->rd, 4) || rd_u16(&w->rd, &type))
		return too_short(w);
	return to_ethertype(w, type);
}

/* IEEE 802.1ah: the service tag, then the customer's frame. */
enum layer decode_pbb(struct walk *w)
{
	return rd_skip(&w->rd, 4) ? too_short(w) : LAYER_ETHERNET;
}

/* The next protocol of RFC 8300 and of VXLAN-GPE. */
static enum layer next_protocol(struct walk *w, uint8_t next)
{
	static const enum layer nexts[] = {
		[1] = LAYER_IP4, [2] = LAYER_IP6, [3] = LAYER_ETHERNET,
		[4] = LAYER_NSH, [5] = LAYER_MPLS,
	};

	if (next == 0 || next >= sizeof(nexts) / sizeof(nexts[0]))
		return not_ours(w);
	return nexts[next];
}

/* RFC 8300, 2.2: length in words in the second byte's low six bits, next protocol in the fourth. */
enum layer decode_nsh(struct walk *w)
{
	uint8_t len, next;

	if (rd_skip(&w->rd, 1) || rd_u8(&w->rd, &len) || rd_skip(&w->rd, 1) ||
	    rd_u8(&w->rd, &next))
		return too_short(w);
	len &= 0x3f;
	if (len < 2 || rd_skip(&w->rd, len * 4u - 4u))
		return too_short(w);
	return next_protocol(w, next);
}

/* draft-ietf-nvo3-vxlan-gpe: flags (P: a next protocol is given), reserved, next protocol, VNI. */
enum layer decode_vxlan_gpe(struct walk *w)
{
	uint8_t flags, next;

	if (rd_u8(&w->rd, &flags) || rd_skip(&w->rd, 2) || rd_u8(&w->rd, &next) ||
	    rd_skip(&w->rd, 4))
		return too_short(w);
	return flags & 0x04 ? next_protocol(w, next) : LAYER_ETHERNET;
}

/* RFC 2661, 3.1: flags and version, then length, ids, sequence numbers and offset as the flags say;
 * a data message carries PPP. */
enum layer decode_l2tp(struct walk *w)
{
	uint16_t flags, offset = 0;

	if (rd_u16(&w->rd, &flags))
		return too_short(w);
	if ((flags & 0x8000) || (flags & 15) != 2)
		return not_ours(w);
	if (((flags & 0x4000) && rd_skip(&w->rd, 2)) || rd_skip(&w->rd, 4) ||
	    ((flags & 0x0800) && rd_skip(&w->rd, 4)) ||
	    ((flags & 0x0200) && (rd_u16(&w->rd, &offset) || rd_skip(&w->rd, offset))))
		return too_short(w);
	return LAYER_PPP_HDLC;
}

/* TaZmen Sniffer: version, type, what is inside (1 Ethernet, 18 802.11), then tags until the one that
 * ends them (1); 0 is padding without a length. */
enum layer decode_tzsp(struct walk *w)
{
	uint8_t version, tag, len;
	uint16_t inside;

	if (rd_u8(&w->rd, &version) || rd_skip(&w->rd, 1) || rd_u16(&w->rd, &inside))
		return too_short(w);
	do {
		if (rd_u8(&w->rd, &tag))
			return too_short(w);
		if (tag > 1 && (rd_u8(&w->rd, &len) || rd_skip(&w->rd, len)))
			return too_short(w);
	} while (tag != 1);
	return version != 1 ? not_ours(w)
	       : inside == 1 ? LAYER_ETHERNET
	       : inside == 18 ? LAYER_80211 : not_ours(w);
}
