/* SPDX-License-Identifier: Apache-2.0 */
/* A sink of a format that says each exchange by itself: as bytes behind those of the one before. */
#ifndef STORE_RENDER_H
#define STORE_RENDER_H

#include <stdint.h>

#include "core/buf.h"
#include "core/stage.h"
#include "store/format.h"

struct render {
	uint64_t number;	    /* of the exchange, from 0 */
	struct format_notes *notes; /* borrowed */
	struct buf scratch;	    /* of one exchange; holds anything, or nothing */
};

/* Appends the exchange to `out`; or nothing, and counts why. SC_ENOMEM; SC_EFULL: it is left out with
 * a note. */
typedef int render_exchange(const struct exchange *ex, struct render *r, struct buf *out);

/* `head` stands at the front of the file; NULL: nothing. */
int render_sink_new(const struct format_args *args, const char *head, render_exchange *render,
		    struct sink **ret, struct err *err);

#endif
