/* SPDX-License-Identifier: Apache-2.0 */
/* Packets in, exchanges out: a source that sniffs interfaces or reads capture files. Keeps nothing,
 * sends nothing, knows no store. */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/err.h"
#include "core/stage.h"

struct capture_options {
	/* Either interfaces or files, borrowed during the call. At most LIMIT_SOURCES plain files are
	 * one recording: their packets come in the order of their times, so that a connection may go
	 * on in another file. One alone may also be a pipe, or "-": standard input. */
	const char *const *interfaces;
	unsigned n_interfaces;
	const char *const *files;
	unsigned n_files;
	bool follow;           /* the one file is still being written: at its end, wait for more */
	int64_t span_us;       /* of files: packets this long after the first end them; 0: never */
	const char *bpf;       /* extra filter, libpcap's language; NULL: none */
	const uint16_t *ports; /* HTTP only there; n_ports 0: anywhere. Borrowed for good */
	unsigned n_ports;
	uint32_t snaplen;      /* bytes a packet */
	bool immediate;        /* hand packets on within a millisecond, or, where the ring has room
				* for enough packets of snaplen bytes, one by one; more work */
	uint64_t ring;         /* bytes of each interface's kernel ring */
	size_t body_max;       /* bytes kept of one body */
	uint64_t memory;       /* bytes of reassembly */
	uint64_t seed;         /* of hash tables: any random number */
	struct chain *early;   /* asked at each request's head; borrowed for good; NULL: keep all */
	/* Called from source_next() with each wanted request as soon as all of it has been seen; its
	 * exchange comes out once it is answered. `ex` is borrowed, and ex->id the callee's to set.
	 * NULL: nobody asks. */
	void (*asked)(void *arg, struct exchange *ex);
	void *asked_arg;
};

/* Opens everything and starts: from here on packets are kept for source_next(). `counters` belongs
 * to the thread that calls source_next(), is borrowed for good, and gets what the engine counts.
 * SC_EINVAL with a line that names what is wrong (no such interface, no right, no capture file). */
int capture_open(const struct capture_options *o, struct counters *counters, struct source **ret,
		 struct err *err);

/* The filter that is in use, for a person; "" when there is none. */
const char *capture_filter(const struct source *s);

/* What a person should know about how the ith of the files ended, or NULL; and of the first. */
const char *capture_note_of(const struct source *s, unsigned i);
const char *capture_note(const struct source *s);

/* The latest packet's time, us since 1970; 0 before the first. */
int64_t capture_time(const struct source *s);

/* Reads the kernel's drop counts into the counters; also done when the source ends. */
void capture_count_drops(struct source *s);

#endif
