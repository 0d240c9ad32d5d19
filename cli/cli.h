/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: exit statuses, talking to the person, the stop signal, the clock. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "opt.h"
#include "core/err.h"

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* while running */
	EXIT_USAGE = 2,  /* what the person gave us is wrong */
	EXIT_FAIL_ON = 3,
};

extern const struct command command_capture, command_replay, command_query, command_info,
	command_explain, command_mirror;
extern const struct command command_store, command_convert, command_export, command_import;

/* "shadow-ctl: ..." and a newline on stderr. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Says err and turns a code into the exit status: SC_EINVAL is 2, all other errors 1. */
int fail(int code, const struct err *err);

/* Room for this many connections beside what else is open. SC_EINVAL with a line when the system does
 * not allow it: otherwise it would look like a fault of the target. */
int open_files_allow(uint64_t connections, struct err *err);
/* So many connections to each target, or as many as there may be: SC_EINVAL where that is none.
 * *ret_allowed: open files. */
int open_files_fit(unsigned targets, unsigned *connections, uint64_t *ret_allowed, struct err *err);
/* The same for sources that are open at once, so many descriptors each. */
int open_files_of(unsigned sources, unsigned each, struct err *err);

/* us since 1970; the wall clock. */
int64_t clock_us(void);

/* SIGINT and SIGTERM: the first is stop_wanted(); another one, unless it comes at once, ends the
 * process. After stop_may_hurry() it is stop_hurries() instead: nothing is waited for any more, but what
 * is there is kept; and a third ends the process. SIGUSR1 sets a flag that stop_report_wanted() reads
 * and clears. */
void stop_install(void);
bool stop_wanted(void);
void stop_may_hurry(void);
bool stop_hurries(void);
bool stop_report_wanted(void);

#endif
