/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: one row an option; the rows parse and print the help. */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct opt {
	const char *group; /* heading above this row in the help; NULL: as the row before */
	char letter;       /* 0: long form only */
	const char *name;
	const char *arg;   /* what the value is called; NULL: a flag */
	const char *help;  /* one line, with the default */
	/* Stores the value (NULL for a flag); SC_EINVAL with what was expected in err. */
	int (*set)(void *to, const char *value, struct err *err);
	size_t offset; /* of the value in the options struct the table belongs to */
};

/* A table ends with a row whose name is NULL. `base` is where its struct lies in the command's. */
struct opt_table {
	const struct opt *rows;
	size_t base;
};

struct str_list {
	const char **items; /* borrowed from argv */
	unsigned n;
};

/* Setters. */
int opt_flag(void *to, const char *value, struct err *err);     /* bool */
int opt_text(void *to, const char *value, struct err *err);     /* const char *, borrowed */
int opt_list(void *to, const char *value, struct err *err);     /* struct str_list, one more */
int opt_count(void *to, const char *value, struct err *err);    /* uint64_t, 1 or more */
int opt_number(void *to, const char *value, struct err *err);   /* uint64_t, 0 or more */
int opt_size(void *to, const char *value, struct err *err);     /* uint64_t bytes: 64K, 1M, 2GiB */
int opt_duration(void *to, const char *value, struct err *err); /* int64_t us: 250ms 10s 5m 1h 2d */

struct operands {
	const char **items; /* borrowed from argv */
	int n;
};

struct command {
	const char *name;
	const char *usage;   /* what follows the name */
	const char *summary; /* one sentence */
	const struct opt_table *tables; /* ends with rows == NULL */
	const char *examples; /* whole lines */
	size_t options_size;  /* of the zeroed struct the tables describe */
	int min_operands, max_operands;
	void (*defaults)(void *options); /* may be NULL */
	/* Exit status. */
	int (*run)(void *options, const struct operands *operands);
};

/* Parses, answers --help, runs. Options stand before or after operands. Returns the exit status. */
int command_run(const struct command *cmd, int argc, char **argv);

#endif
