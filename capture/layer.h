/* SPDX-License-Identifier: Apache-2.0 */
/* The layers of a frame, one row each. A layer takes its header off the walk and names the one below;
 * link.c has what interfaces put in front, tunnel.c what stands between, decode.c IP and TCP. Not for
 * anybody else. */
#ifndef CAPTURE_LAYER_H
#define CAPTURE_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rd.h"
#include "decode.h"

/* ETHERTYPE and PROTO only dispatch: walk.type says which. */
#define LAYER_TABLE(X)                                                                             \
	X(ETHERNET, decode_ethernet)                                                                \
	X(ETHERTYPE, decode_ethertype)                                                              \
	X(LLC, decode_llc)                                                                          \
	X(NULL, decode_null)                                                                        \
	X(SLL, decode_sll)                                                                          \
	X(SLL2, decode_sll2)                                                                        \
	X(PPP, decode_ppp)                                                                          \
	X(PPP_HDLC, decode_ppp_hdlc)                                                                \
	X(PPP_DIRECTION, decode_ppp_direction)                                                      \
	X(CHDLC, decode_chdlc)                                                                      \
	X(CHDLC_DIRECTION, decode_chdlc_direction)                                                  \
	X(FRAME_RELAY, decode_frame_relay)                                                          \
	X(80211, decode_80211)                                                                      \
	X(RADIOTAP, decode_radiotap)                                                                \
	X(PRISM, decode_prism)                                                                      \
	X(AVS, decode_avs)                                                                          \
	X(PPI, decode_ppi)                                                                          \
	X(PKTAP, decode_pktap)                                                                      \
	X(ERF, decode_erf)                                                                          \
	X(NFLOG, decode_nflog)                                                                      \
	X(PFLOG, decode_pflog)                                                                      \
	X(ENC, decode_enc)                                                                          \
	X(SLIP, decode_slip)                                                                        \
	X(FDDI, decode_fddi)                                                                        \
	X(TOKEN_RING, decode_token_ring)                                                            \
	X(IP_OVER_FC, decode_ip_over_fc)                                                            \
	X(SUNATM, decode_sunatm)                                                                    \
	X(ARCNET_LINUX, decode_arcnet)                                                              \
	X(VLAN, decode_vlan)                                                                        \
	X(VNTAG, decode_vntag)                                                                      \
	X(PBB, decode_pbb)                                                                          \
	X(MPLS, decode_mpls)                                                                        \
	X(NSH, decode_nsh)                                                                          \
	X(PPPOE, decode_pppoe)                                                                      \
	X(ERSPAN2, decode_erspan2)                                                                  \
	X(ERSPAN3, decode_erspan3)                                                                  \
	X(GRE, decode_gre)                                                                          \
	X(ETHERIP, decode_etherip)                                                                  \
	X(UDP, decode_udp)                                                                          \
	X(VXLAN, decode_vxlan)                                                                      \
	X(VXLAN_GPE, decode_vxlan_gpe)                                                              \
	X(GENEVE, decode_geneve)                                                                    \
	X(GTPU, decode_gtpu)                                                                        \
	X(L2TP, decode_l2tp)                                                                        \
	X(TZSP, decode_tzsp)                                                                        \
	X(AYIYA, decode_ayiya)                                                                      \
	X(TEREDO, decode_teredo)                                                                    \
	X(IP, decode_ip)                                                                            \
	X(IP4, decode_ip4)                                                                          \
	X(IP6, decode_ip6)                                                                          \
	X(PROTO, decode_proto)                                                                      \
	X(AH, decode_ah)                                                                            \
	X(TCP, decode_tcp)

#define LAYER_ID(id, fn) LAYER_##id,
enum layer {
	LAYER_NONE, /* nothing we know below: walk.why says what it is counted as */
	LAYER_TABLE(LAYER_ID) LAYERS
};
#undef LAYER_ID

struct walk {
	struct decoder *decoder;
	struct rd rd;
	uint16_t type; /* EtherType or IP protocol, for the dispatching layers */
	uint32_t cut;  /* bytes that were on the wire behind rd.end and were not captured */
	bool ip_seen;
	enum counter_id why; /* when a layer gives up */
	struct segment *segment;
};

#define LAYER_FN(id, fn) enum layer fn(struct walk *w);
LAYER_TABLE(LAYER_FN)
#undef LAYER_FN

/* The first layer of a link type, or LAYER_NONE. */
enum layer link_layer(int link_type);

static inline enum layer give_up(struct walk *w, enum counter_id why)
{
	w->why = why;
	return LAYER_NONE;
}

static inline enum layer not_ours(struct walk *w)
{
	return give_up(w, w->ip_seen ? PACKETS_NOT_TCP : PACKETS_NOT_IP);
}

static inline enum layer too_short(struct walk *w)
{
	return give_up(w, w->ip_seen ? DROP_IP_SHORT : DROP_LINK_SHORT);
}

static inline enum layer to_ethertype(struct walk *w, uint16_t type)
{
	w->type = type;
	return LAYER_ETHERTYPE;
}

static inline enum layer to_proto(struct walk *w, uint8_t proto)
{
	w->type = proto;
	return LAYER_PROTO;
}

/* Bytes behind an inner length are padding, not payload; what they were cut by is then less. */
static inline void limit(struct walk *w, uint32_t n)
{
	size_t left = rd_left(&w->rd);

	if (left >= n) {
		rd_limit(&w->rd, n);
		w->cut = 0;
	} else {
		w->cut = n - (uint32_t)left;
	}
}

#endif
