/* SPDX-License-Identifier: Apache-2.0 */
/* A sink of a format that says each exchange by itself: as bytes behind those of the one before. */
#ifndef STORE_RENDER_H
#define STORE_RENDER_H

#include <stdint.h>

#include "core/buf.h"
#include "core/stage.h"
#include "store/format.h"

/* Appends the exchange, the number-th from 0, to `out`; or nothing, and counts why. SC_ENOMEM;
 * SC_EFULL: it is left out with a note. */
typedef int render_exchange(const struct exchange *ex, uint64_t number, struct format_notes *notes,
			    struct buf *out);

/* `head` stands at the front of the file; NULL: nothing. */
int render_sink_new(const struct format_args *args, const char *head, render_exchange *render,
		    struct sink **ret, struct err *err);

#endif
