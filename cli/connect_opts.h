/* SPDX-License-Identifier: Apache-2.0 */
/* The options about the way to a target that every command which sends shares. */
#ifndef CLI_CONNECT_OPTS_H
#define CLI_CONNECT_OPTS_H

#include <jansson.h>

#include "opt.h"
#include "replay/connect.h"

struct connect_args {
	const char *ca_file, *cert_file, *key_file, *sni, *proxy, *unix_socket;
	struct str_list resolve; /* HOST[:PORT]=ADDR[:PORT] */
	bool insecure, http2;
};

/* Rows for a table whose base is the struct's offset. */
extern const struct opt connect_rows[];

/* The way to one target; connect_done() gives back what it holds, and then nothing of it may be in
 * use. Names are resolved, and everything is checked as connect_check() says. SC_EINVAL with the
 * line that names the option. */
int connect_build(const struct connect_args *args, const struct target_url *target,
		  const struct addr *origins, size_t n_origins, struct connect_options *ret,
		  struct err *err);
void connect_done(struct connect_options *o); /* all zero is fine */

/* Whether each --resolve is about one of the targets. SC_EINVAL names the first that is not. */
int connect_resolve_used(const struct connect_args *args, const struct target_url *targets,
			 size_t n, struct err *err);

/* What was asked, for replay.options; adds members to `to`. */
void connect_describe(const struct connect_args *args, json_t *to);

#endif
