/* SPDX-License-Identifier: Apache-2.0 */
/* Every ceiling of the program. A growth that is not bounded by a line of this file is a bug. */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

#define KIB (1024u)
#define MIB (1024u * 1024u)

/* One HTTP message. */
#define LIMIT_HEAD_BYTES (256u * KIB)        /* start line and fields */
#define LIMIT_METHOD_BYTES 32u               /* a longer word begins no request */
#define LIMIT_FIELDS 1000u                   /* header fields of one message, trailers too */
#define LIMIT_TRAILER_BYTES (64u * KIB)      /* trailer section */
#define LIMIT_BODY_BYTES (1u * MIB)          /* --max-body, default: kept bytes of one body */
#define LIMIT_CHUNK_LINES (1u * MIB)         /* chunk-size lines remembered of one chunked body */
#define LIMIT_INTERIM 100u                   /* 1xx responses before one final response */

/* Capture. */
#define LIMIT_KERNEL_RING (64u * MIB)        /* --buffer, default */
#define LIMIT_SNAPLEN 262144u                /* --snaplen, default and most */
#define LIMIT_REASSEMBLY_BYTES (256ull * MIB) /* --memory, default: everything flows hold */
#define LIMIT_FLOWS (1024u * 1024u)          /* connections followed at once */
#define LIMIT_DIRECTION_BYTES (8u * MIB)     /* out-of-order bytes kept for one direction */
#define LIMIT_TAIL_BYTES (16u * MIB)         /* a longer lost end of a stream is not believed */
#define LIMIT_OUTSTANDING 1024u              /* requests of one connection without an answer */
#define LIMIT_DECODE_DEPTH 16u               /* headers below each other in one packet */
#define LIMIT_FLOW_IDLE_US (3600ll * 1000000) /* a silent open connection is given up */
#define LIMIT_FLOW_LINGER_US (20ll * 1000000) /* a closed one is kept for late segments */
#define LIMIT_HOLE_WAIT_US (1ll * 1000000)   /* an acknowledged hole may still be filled */
#define LIMIT_FRAGMENT_BYTES (4u * MIB)      /* IP fragments waiting for the rest */
#define LIMIT_FRAGMENT_WAIT_US (30ll * 1000000)

#define LIMIT_RECORD_BYTES (16u * MIB)       /* one record of a capture file */
#define LIMIT_FILE_INTERFACES 4096u          /* of one section of a pcapng file */
#define LIMIT_PORTS 64u                      /* --port */
#define LIMIT_INTERFACES 16u                 /* -i */

/* Between the threads. */
#define LIMIT_QUEUE_BYTES (64u * MIB)
#define QUEUE_BATCH 128u                     /* nodes handed over at once */

/* The store. */
#define LIMIT_TRANSACTION_ROWS 2000u
#define LIMIT_TRANSACTION_US 1000000ll
#define LIMIT_DIGESTS (1024u * 1024u)        /* bodies remembered for matching, 40 bytes each */
#define LIMIT_RECENT_BODY 4096u              /* a body kept to be compared, 256 of them */
#define LIMIT_TABLE_BYTES (16u * MIB)        /* rows of a text table held to be aligned */
#define LIMIT_INFO_BYTES (64u * MIB)         /* what info prints */

/* Replay. */
#define LIMIT_CONNECTIONS 4096u              /* open to the target at once */
#define LIMIT_RESPONSE_BODY (64u * MIB)      /* kept bytes of one answer */
#define LIMIT_READ_AHEAD 4096u               /* exchanges loaded before their due time */

/* Rules. */
#define LIMIT_RULES 10000u
#define LIMIT_REGEX_STEPS 1000000u           /* PCRE2 match limit */

#endif
