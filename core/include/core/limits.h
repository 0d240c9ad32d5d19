/* SPDX-License-Identifier: Apache-2.0 */
/* Every ceiling of the program. A growth that is not bounded by a line of this file is a bug. */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

#define KIB (1024u)
#define MIB (1024u * 1024u)

#define LIMIT_TIME_US 253402300799999999ll /* since 1970: the end of the year 9999 */

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
#define LIMIT_LEARNED (32u * MIB)              /* bodies of a store that a new writer knows again */
#define LIMIT_LEARNED_BODIES (64u * KIB)
#define LIMIT_RECENT_BODY 4096u              /* a body kept to be compared, 256 of them */
#define LIMIT_TABLE_BYTES (16u * MIB)        /* rows of a text table held to be aligned */
#define LIMIT_INFO_BYTES (64u * MIB)         /* what info prints */

/* Replay. */
#define LIMIT_CONNECTIONS 4096u              /* open to the target at once */
#define LIMIT_RESPONSE_BODY (64u * MIB)      /* kept bytes of one answer */
#define LIMIT_ANSWERS_BYTES (256ull * MIB)   /* of all that arrive, beyond 64 KiB of each */
#define LIMIT_READ_AHEAD 4096u               /* exchanges loaded before their due time */
#define LIMIT_ADDRESSES 32u                  /* of one name, used by turns */
#define LIMIT_TARGETS 16u                    /* --to */
#define LIMIT_WORKERS 64u                    /* --workers, for each target */

/* Rules. */
#define LIMIT_RULES 10000u
#define LIMIT_REGEX_STEPS 1000000u           /* PCRE2 match limit */
#define LIMIT_KEY_BYTES (64u * KIB)          /* --redact-key-file */

/* Middleware. */
#define LIMIT_COMMAND_WORDS 256u             /* of --middleware */
#define LIMIT_MIDDLEWARE_RECORD (16u * MIB)  /* one record, before it is hex */
#define LIMIT_MIDDLEWARE_BUFFER (64u * MIB)  /* hex that the child has not read yet */
#define LIMIT_MIDDLEWARE_WINDOW 65536u       /* requests it may still answer; a power of two */
#define LIMIT_MIDDLEWARE_PATIENCE_US (5ll * 1000000) /* one that it has read and not answered */
#define LIMIT_MIDDLEWARE_STALL_US (10ll * 1000000)   /* it reads nothing */
#define LIMIT_MIDDLEWARE_END_US (10ll * 1000000)     /* from the end of its input to its own */
#define LIMIT_FLIGHTS 65536u                 /* replayed requests whose answer it may want */
#define LIMIT_REPLIES_BYTES (32u * MIB)      /* replayed answers on their way to it */

/* Manifests. */
#define LIMIT_MANIFEST_BYTES (8u * MIB)      /* of all files of -f together */
#define LIMIT_MANIFEST_LINE (1u * MIB)       /* one line; the parser takes 100 times of some */
#define LIMIT_MANIFEST_DEPTH 64u             /* mappings and lists in each other */
#define LIMIT_MANIFEST_NODES (1024u * 1024u) /* of one file, aliases as what they stand for */
#define LIMIT_MANIFEST_ANCHORS 1000u         /* of one document */
#define LIMIT_MANIFEST_TEXT (64u * KIB)      /* one text that is used */
#define LIMIT_MANIFEST_PARTS 100000u         /* hosts, rules, conditions, changes and mirrors */
#define LIMIT_MANIFEST_DESTINATIONS 1000u    /* mirrored to */
#define LIMIT_MANIFEST_ENDPOINTS 1000u       /* of one ServiceEntry */
#define LIMIT_MANIFEST_WARNINGS 100u         /* said; the rest is counted */

/* Redaction. */
#define LIMIT_CODINGS 4u                     /* content codings around one body */
#define LIMIT_DECODED_BYTES (64u * MIB)      /* one body without its codings */
#define LIMIT_JSON_DEPTH 512u                /* objects and arrays inside each other */
#define LIMIT_JSON_STEPS 30u                 /* of one json:PATH */
#define LIMIT_JSON_PATHS 1000u               /* json:PATHs that are more than ..name */
#define LIMIT_REDACT_NAME 256u               /* bytes of a name in a rule */
#define LIMIT_EDITS (1024u * 1024u)          /* changes of one head or body */
#define LIMIT_NEEDLES 65536u                 /* secrets looked for in the rest of an exchange */
#define LIMIT_ECHO_WORK (16 * 1024 * 1024)   /* looking for them in one text, 64 bytes a step */

/* Comparing. */
#define LIMIT_DIFFERENCES 1000u              /* said of one answer, and as many that are noise */
#define LIMIT_DIFFERENCE_TEXT 256u           /* bytes of either value in one */
#define LIMIT_DIFFERENCE_PATH 512u           /* of the path of one */
#define LIMIT_COMPARED_BODY (16u * MIB)      /* of a body that is decoded or read as JSON */
#define LIMIT_COMPARED_VALUES (1024u * 1024u) /* of one JSON text, 40 bytes each */
#define LIMIT_IGNORED 1000u                  /* rules of what does not count */
#define LIMIT_COOKIE_PARTS 32u               /* attributes of one cookie that are told apart */
#define LIMIT_TALLY_ROUTES 1000u             /* told apart; the others are one */
#define LIMIT_TALLY_NAME 256u                /* bytes of one's name */

/* Mirror. */
#define LIMIT_MIRROR_QUEUE (64u * MIB)       /* --queue, default: waiting for one target */
#define LIMIT_TEE_WINDOW 65536u              /* requests that wait for their pair or for answers */
#define LIMIT_MIRROR_TERMS 32u               /* header terms behind one --to */
#define LIMIT_MIRROR_ADDRESSES 128u          /* of one target, that traffic must not be captured at */
#define LIMIT_MIRROR_LINES 20u               /* said about the pauses of one target in an hour */

/* Dataset formats. */
#define LIMIT_FORMAT_RECORD (64u * MIB)      /* one exchange as text: a line, an entry */
#define LIMIT_FORMAT_DEPTH 512u              /* JSON objects and arrays around the exchanges */
#define LIMIT_GOR_WINDOW 4096u               /* requests of a .gor file that wait for an answer */
#define LIMIT_GOR_BYTES (64u * MIB)          /* of these */
#define LIMIT_HURL_ENTRIES 10000u            /* of one suite: method, route and status */
#define LIMIT_HURL_BYTES (256ull * MIB)      /* of their requests and assertions */
#define LIMIT_HURL_ASSERTS 2000u             /* of one answer */
#define LIMIT_HURL_JSON (1u * MIB)           /* a longer answer is asserted as a whole */
#define LIMIT_TEMPLATE_NODES 65536u          /* path segments remembered to find routes */
#define LIMIT_TEMPLATE_FANOUT 100u           /* more segments in one place are values */
#define LIMIT_TEMPLATE_SEGMENT 256u          /* bytes; a longer one is a value */
#define LIMIT_TEMPLATES 16384u               /* routes that a store tells apart */

/* Keeping stores. */
#define LIMIT_MATCHED (64ll * 1024 * 1024)   /* ids of bodies and routes of several stores, 16 bytes each */
#define LIMIT_FILESET 1000000u               /* files of a set that --keep looks through */
#define LIMIT_SOURCES 1024u                  /* files that are one source */

#endif
