/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: every packet, byte, request and response is counted in exactly one place, and a
 * stranger's bytes are never anything worse than a counter. One table; its rows print the account,
 * fill the JSON of capture.ledger and name the metrics.
 *
 * A struct counters has one writing thread; any thread may read. */
#ifndef CORE_COUNTERS_H
#define CORE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/buf.h"

/* group, identifier, JSON name, meaning, role. In a group the PART rows add up to the TOTAL row and
 * what was carried IN; REST rows stand for themselves. IN and OUT are of an account that is a part
 * of a longer one, see counters_part(). */
#define COUNTER_TABLE(X)                                                                           \
	X(PACKETS, PACKETS_SEEN, "seen", "packets the capture got or should have got", TOTAL)      \
	X(PACKETS, PACKETS_IN, "carried_in", "seen in the file before", IN)                        \
	X(PACKETS, PACKETS_KERNEL_DROP, "kernel_dropped", "dropped by the kernel, ring full", PART) \
	X(PACKETS, PACKETS_IFACE_DROP, "interface_dropped", "dropped by the interface", PART)      \
	X(PACKETS, PACKETS_NOT_IP, "not_ip", "no IP in it", PART)                                  \
	X(PACKETS, PACKETS_NOT_TCP, "not_tcp", "IP, but no TCP", PART)                             \
	X(PACKETS, PACKETS_PORT, "other_port", "TCP of ports that --port does not name", PART)     \
	X(PACKETS, PACKETS_FILTERED, "bpf", "of a file, left out by --bpf", PART)                  \
	X(PACKETS, PACKETS_FRAGMENT, "fragments", "IP fragments that waited for another", PART)    \
	X(PACKETS, DROP_LINK_TYPE, "link_type_unknown", "of a link type we cannot read", PART)     \
	X(PACKETS, DROP_LINK_SHORT, "link_short", "link header cut short", PART)                   \
	X(PACKETS, DROP_DEPTH, "too_deep", "too many headers below each other", PART)              \
	X(PACKETS, DROP_IP_SHORT, "ip_short", "IP header cut short", PART)                         \
	X(PACKETS, DROP_IP_HEADER, "ip_header", "IP header with impossible lengths", PART)         \
	X(PACKETS, DROP_FRAGMENT, "fragment_refused", "IP fragments that fit no datagram or no budget", PART)     \
	X(PACKETS, DROP_TCP_SHORT, "tcp_short", "TCP header cut short", PART)                      \
	X(PACKETS, DROP_TCP_HEADER, "tcp_header", "TCP header with impossible lengths", PART)      \
	X(PACKETS, PACKETS_UNSAMPLED, "unsampled", "of connections that the sampling leaves out", PART) \
	X(PACKETS, PACKETS_FLOW_LIMIT, "flow_limit", "of connections over the ceiling", PART)      \
	X(PACKETS, PACKETS_NOT_HTTP, "not_http", "TCP of connections without HTTP/1", PART)        \
	X(PACKETS, PACKETS_USED, "used", "of connections that carry HTTP/1", PART)                 \
	X(PACKETS, PACKETS_OUT, "carried_out", "told apart in the next file", OUT)                 \
	X(STREAMS, BYTES_SEEN, "bytes", "payload bytes put in order", REST)                        \
	X(STREAMS, BYTES_MISSING, "bytes_missing", "payload bytes that never came (gaps)", REST)   \
	X(STREAMS, GAPS, "gaps", "holes those bytes make", REST)                                   \
	X(STREAMS, ACKS, "acks", "acknowledgments that moved a window", REST)                      \
	X(STREAMS, ACKS_OF_GAPS, "acks_of_gaps", "of these, for bytes that never came", REST)      \
	X(STREAMS, BYTES_RETRANSMITTED, "bytes_retransmitted", "payload bytes seen again", REST)   \
	X(STREAMS, OVERLAP_CONFLICTS, "overlap_conflicts", "retransmissions with other bytes", REST) \
	X(STREAMS, SEGMENTS_OUT_OF_ORDER, "out_of_order", "segments that came early", REST)        \
	X(STREAMS, CONNECTIONS, "connections", "TCP connections seen", REST)                       \
	X(STREAMS, CONNECTIONS_MIDSTREAM, "midstream", "of these, without their SYN", REST)        \
	X(STREAMS, CONNECTIONS_HTTP, "http", "of these, with HTTP/1", REST)                        \
	X(STREAMS, CONNECTIONS_TLS, "tls", "of these, with TLS", REST)                             \
	X(STREAMS, CONNECTIONS_HTTP2, "http2", "of these, with HTTP/2", REST)                      \
	X(STREAMS, CONNECTIONS_UPGRADED, "upgraded", "that left HTTP (101, CONNECT)", REST)        \
	X(STREAMS, CONNECTIONS_EVICTED, "evicted", "given up at a memory ceiling", REST)           \
	X(STREAMS, BYTES_NOT_HTTP, "bytes_skipped", "bytes passed over to find a message", REST)   \
	X(REQUESTS, REQUESTS_SEEN, "seen", "requests on the wire", TOTAL)                          \
	X(REQUESTS, REQUESTS_IN, "carried_in", "seen in the file before", IN)                      \
	X(REQUESTS, REQUESTS_STORED, "stored", "went to the sink", PART)                           \
	X(REQUESTS, REQUESTS_FILTERED, "filtered", "no route takes them", PART)                    \
	X(REQUESTS, REQUESTS_UNSAMPLED, "unsampled", "left out by the percentage", PART)           \
	X(REQUESTS, REQUESTS_OWN, "own_replay", "sent by a replay (X-Shadow-Replay)", PART)        \
	X(REQUESTS, REQUESTS_QUEUE_DROP, "queue_dropped", "the sink was too slow", PART)           \
	X(REQUESTS, REQUESTS_OVER_COUNT, "over_count", "after the last one of --count", PART)      \
	X(REQUESTS, REQUESTS_FAILED, "sink_failed", "the sink could not take them", PART)          \
	X(REQUESTS, REQUESTS_UNFINISHED, "unfinished", "the head never became complete", PART)     \
	X(REQUESTS, REQUESTS_OUT, "carried_out", "their answers end in the next file", OUT)        \
	X(RESPONSES, RESPONSES_SEEN, "seen", "final responses on the wire", TOTAL)                 \
	X(RESPONSES, RESPONSES_IN, "carried_in", "seen in the file before", IN)                    \
	X(RESPONSES, RESPONSES_PAIRED, "paired", "belong to a request", PART)                      \
	X(RESPONSES, RESPONSES_ORPHANED, "orphaned", "no request for them was seen", PART)         \
	X(RESPONSES, RESPONSES_OUT, "carried_out", "their requests come in the next file", OUT)    \
	X(RESPONSES, RESPONSES_INTERIM, "interim", "1xx, not counted as answers", REST)            \
	X(MESSAGES, BODIES_CAPPED, "bodies_capped", "bodies cut at --max-body", REST)              \
	X(MESSAGES, BODIES_WITH_GAP, "bodies_with_gap", "bodies with bytes missing", REST)         \
	X(MESSAGES, BODIES_CLOSED, "bodies_closed", "bodies taken out: redaction could not read them", REST) \
	X(MESSAGES, HEADS_MALFORMED, "malformed", "messages that are not HTTP/1 after all", REST)  \
	X(MESSAGES, HEADS_TOO_LARGE, "heads_too_large", "heads over the ceiling", REST)

#define COUNTER_ID(group, id, name, help, role) id,
enum counter_id { COUNTER_TABLE(COUNTER_ID) COUNTERS };
#undef COUNTER_ID


struct counters {
	_Atomic uint64_t n[COUNTERS];
};

static inline uint64_t counter_get(const struct counters *c, enum counter_id id)
{
	return atomic_load_explicit(&c->n[id], memory_order_relaxed);
}

/* One writer, so a load and a store do where an atomic add would lock the bus. */
static inline void count_n(struct counters *c, enum counter_id id, uint64_t n)
{
	atomic_store_explicit(&c->n[id], counter_get(c, id) + n, memory_order_relaxed);
}

static inline void count(struct counters *c, enum counter_id id)
{
	count_n(c, id, 1);
}

static inline void counter_set(struct counters *c, enum counter_id id, uint64_t n)
{
	atomic_store_explicit(&c->n[id], n, memory_order_relaxed);
}

/* sum += c */
void counters_add(struct counters *sum, const struct counters *c);

/* The account of the time between two states of one account that goes on. What had been seen but
 * was in no other row yet (a request whose answer is still coming) is carried out of one part and
 * into the next; so each part adds up by itself, and, but for what is carried, all of them make the
 * whole. */
void counters_part(const struct counters *before, const struct counters *now,
		   struct counters *ret);

/* bytes missing / (bytes seen + bytes missing), and acknowledgments of missing bytes / all of them
 * (what Zeek calls capture loss); 0..100. */
double counters_loss_percent(const struct counters *c);
double counters_ack_loss_percent(const struct counters *c);

/* The account as JSON: {"packets": {"seen": 1, ...}, ...}. Appends. */
int counters_json(const struct counters *c, struct buf *out);

/* The account for a person: one line a group, rows that are zero left out. Appends. */
int counters_text(const struct counters *c, struct buf *out);

/* Whether each total, with what was carried in, is the sum of its parts; on failure *ret_group
 * names the first that is not. */
int counters_check(const struct counters *c, const char **ret_group);

#endif
