/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to a request on its way to another target. */
#ifndef CORE_REWRITE_H
#define CORE_REWRITE_H

#include "core/stage.h"

/* FROM=TO: the path prefix FROM is replaced by TO byte for byte, with no slash tidying, as Istio
 * does: /httpbin=/ turns /httpbin/headers into //headers. The query is kept. `~RE=TO` replaces
 * every match of RE in the path, \1 in TO being its first group. SC_EINVAL with the reason. */
int stage_rewrite_new(const char *rule, struct stage **ret, struct err *err);

enum host_mode {
	HOST_KEEP,   /* as recorded */
	HOST_TARGET, /* the target's authority */
	HOST_SHADOW, /* as recorded, -shadow appended to the name (Envoy) */
	HOST_NAME,   /* a given one */
};

/* keep | target | shadow | NAME. SC_EINVAL for what cannot be a host. */
int host_mode_parse(const char *text, enum host_mode *ret, struct err *err);

/* `name`: the target's authority for HOST_TARGET, the given one for HOST_NAME; copied. A request
 * without a Host field gets one unless it is HTTP/1.0 and the mode is keep. NULL: no memory. */
struct stage *stage_host_new(enum host_mode mode, const char *name);

/* Sets, adds or removes a header field. SET and ADD take 'Name: value', REMOVE a name. */
enum header_op { HEADER_SET, HEADER_ADD, HEADER_REMOVE };
int stage_header_new(enum header_op op, const char *text, struct stage **ret, struct err *err);

#endif
