/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay leaves behind besides its summary: latency files, and a verdict for the exit
 * status. */
#ifndef CLI_REPORT_OPTS_H
#define CLI_REPORT_OPTS_H

#include <stdbool.h>

#include "opt.h"
#include "replay/summary.h"

struct report_args {
	const char *hdr; /* what the names of the latency files begin with; NULL: none */
	struct str_list fail_on;
};

/* Rows for a table whose base is the struct's offset. */
extern const struct opt report_rows[];

/* Before anything is sent. SC_EINVAL with the line that names the option. */
int report_check(const struct report_args *args, struct err *err);

/* Once for each target, `target_n` from 1, 0 where there is only one. Writes the latency files;
 * says the first condition that holds, and *ret_failed becomes true then. SC_EIO. */
int report_conclude(const struct report_args *args, const struct account *account,
		    unsigned target_n, bool *ret_failed, struct err *err);

#endif
