/* SPDX-License-Identifier: Apache-2.0 */
/* From a captured frame to the TCP segment inside it: link layers, tunnels, IPv4 and IPv6, and IP
 * fragments. Sees one frame at a time, reads no clock, does no I/O. */
#ifndef CAPTURE_DECODE_H
#define CAPTURE_DECODE_H

#include <stdint.h>

#include "core/addr.h"
#include "core/counters.h"
#include "core/span.h"

/* What a source hands over. Borrowed for the call. */
struct frame {
	int64_t ts_us;  /* us since 1970 */
	int link_type;  /* DLT_* of libpcap */
	uint32_t len;   /* on the wire */
	struct span bytes; /* as captured, no more than len */
};

enum segment_flags { /* RFC 9293, 3.1 */
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

/* Borrows the frame's bytes (or the decoder's, for a reassembled datagram) until the next call. */
struct segment {
	int64_t ts_us;
	struct addr src, dst;
	uint32_t seq, ack;
	uint8_t flags;
	uint32_t missing; /* payload bytes that were on the wire and not captured (snaplen) */
	struct span payload;
};

struct decoder;
struct decoder *decoder_new(void); /* NULL: no memory */
void decoder_free(struct decoder *d);

/* COUNTERS when *ret is a segment; otherwise the counter that names why there is none. */
enum counter_id decode_frame(struct decoder *d, const struct frame *f, struct segment *ret);

#endif
