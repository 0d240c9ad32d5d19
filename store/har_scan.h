/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts the elements of log.entries[] out of a HAR as it comes, one after the other, so that a file
 * of any length is read in the memory of its largest entry. Judges no element. */
#ifndef STORE_HAR_SCAN_H
#define STORE_HAR_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define HAR_KEY 16u

struct har_scan {
	struct buf entry; /* the text of the element given last */
	uint64_t n;       /* its number, from 1 */
	enum { HAR_BEFORE, HAR_AROUND, HAR_ENTRIES, HAR_AFTER } place;
	unsigned depth; /* of objects and lists around */
	unsigned nest;  /* and in the element under way */
	bool in_string, escaped;
	bool given;   /* the element: the next call begins another */
	bool wanted;  /* a comma stands before */
	bool in_log, found;
	char last[HAR_KEY], key[HAR_KEY]; /* the string before, the member under way; cut */
	size_t last_len;
	const char *wrong; /* what was not as it should be */
};

void har_scan_init(struct har_scan *s);
void har_scan_done(struct har_scan *s);

/* Uses up `in`. 1: s->entry is whole. 0: more is needed. SC_EPROTO: s->wrong says why. SC_EFULL,
 * SC_ENOMEM. */
int har_scan_feed(struct har_scan *s, struct span *in);
/* The file is over. SC_OK or SC_EPROTO. */
int har_scan_end(struct har_scan *s);

#endif
