/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay was asked for, from the command line to what the job needs. Sends and opens
 * nothing. */
#ifndef CLI_REPLAY_ARGS_H
#define CLI_REPLAY_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "connect_opts.h"
#include "opt.h"
#include "replay/schedule.h"
#include "report_opts.h"
#include "rules.h"
#include "store/store.h"

/* Each of --speed, --rate and --max excludes the others. */
struct pace_option {
	struct pace pace;
	const char *given; /* the option that set it; NULL: none */
	const char *value;
};

/* A time of the recording. */
struct moment {
	enum { MOMENT_NONE, MOMENT_OFFSET, MOMENT_TIME } kind;
	int64_t us; /* since the first exchange, or since 1970 */
};

struct replay_args {
	struct str_list to; /* URL[=WEIGHT] */
	struct pace_option pace;
	uint64_t connections;	/* 0: as the pace wants */
	uint64_t max_in_flight; /* 0: as connections */
	uint64_t workers;	/* 0: one for each core */
	uint64_t loop;		/* passes; 0: until it is stopped */
	int64_t timeout_us, duration_us, drop_late_us;
	struct moment from, until;
	const char *output;	 /* the store that is gathered into first; NULL: none */
	const char *from_format; /* of the sources; NULL: as their names say */
	uint64_t resume; /* 0: a new run */
	const char *methods;
	const char *middleware; /* NULL: none */
	bool unordered;
	enum save_mode save;
	bool allow_origin;
	bool json, quiet;
	struct rule_options rules;
	struct rewrite_options rewrites;
	struct connect_args connect;
	struct report_args report;
};

extern const struct opt_table replay_tables[];
void replay_defaults(void *args);

/* What does not go together. SC_EINVAL with the line that names it. */
int replay_args_check(const struct replay_args *a, struct err *err);

/* "URL=WEIGHT" taken apart; *ret_url is to be freed. *ret_weight 0: none was given. SC_EINVAL. */
int replay_args_target(const char *text, char **ret_url, double *ret_weight, struct err *err);

/* Most connections open at once to each target. */
unsigned replay_args_connections(const struct replay_args *a);
/* Loops for each target: never more than connections, and no more than these keep busy. */
unsigned replay_args_workers(const struct replay_args *a);

/* "2026-11-22T18:17:13.444Z" (a shorter time and another zone will do), or "+10s" after the first
 * exchange. SC_EINVAL. */
int moment_parse(const char *text, struct moment *ret, struct err *err);
/* us since 1970; 0 for none. */
int64_t moment_us(const struct moment *m, int64_t first_us);

#define PACE_NAME 96
void replay_args_name_pace(const struct replay_args *a, char name[PACE_NAME]);

/* Setter of --methods: a list, or "all"; const char *, borrowed. */
int opt_methods(void *to, const char *value, struct err *err);
bool method_listed(const char *list, struct span method); /* --methods */

/* The part of the connections that is a target's, 0..1; `to` 0: all are. */
struct share {
	double from, to;
};

/* What was asked for, for replay.options; free() it. `mirror`: which of the manifest's it is; NULL:
 * none. NULL: no memory. */
char *replay_args_describe(const struct replay_args *a, const struct rules *rules,
			   const struct share *share, const char *mirror);
/* The mirror in such a description, to be freed; *ret NULL: it has none. SC_ENOMEM. */
int replay_args_mirror(const char *options, char **ret);
/* The share in such a description; false: it had one that is not told. */
bool replay_args_share(const char *options, struct share *ret);
/* Whether it tells how requests were sampled, or that none were. */
bool replay_args_sampling_is_told(const char *options);
/* Its seed, unless a person gave one. */
void replay_args_take_seed(struct replay_args *a, const char *options);
/* Whether a run with those options, as described, sent what these would. SC_EINVAL with the first one
 * that is another. */
int replay_args_agree(const char *before, const char *now, struct err *err);

#endif
