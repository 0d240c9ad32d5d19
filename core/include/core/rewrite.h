/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to a request on its way to another target. Each is a stage; the body is never touched, and
 * neither is what frames it. */
#ifndef CORE_REWRITE_H
#define CORE_REWRITE_H

#include "core/stage.h"

/* FROM=TO: the path prefix FROM is replaced by TO byte for byte, with no slash tidying, as Istio
 * does: /httpbin=/ turns /httpbin/headers into //headers. The query is kept. `~RE=TO` replaces
 * every match of RE in the path, \1 in TO being its first group. SC_EINVAL with the reason. */
int stage_rewrite_new(const char *rule, struct stage **ret, struct err *err);

/* The same by its parts. A path that does not begin with `from` is left alone. */
enum path_change {
	PATH_CHANGE_PREFIX,   /* the first strlen(from) bytes become `to` */
	PATH_CHANGE_FOLDED,   /* the same; case does not count */
	PATH_CHANGE_SEGMENTS, /* Gateway API's ReplacePrefixMatch: whole segments, one slash */
	PATH_CHANGE_REGEX,    /* every match of the regex `from`; \1 in `to` */
	PATH_CHANGE_WHOLE,    /* the whole path; `from` is unused */
};
int stage_path_new(enum path_change change, const char *from, const char *to, struct stage **ret,
		   struct err *err);

enum host_mode {
	HOST_KEEP,   /* as recorded */
	HOST_TARGET, /* the target's authority */
	HOST_SHADOW, /* as recorded, -shadow appended to the name (Envoy) */
	HOST_NAME,   /* a given one */
};

/* keep | target | shadow | NAME. SC_EINVAL for what cannot be a host. */
int host_mode_parse(const char *text, enum host_mode *ret, struct err *err);

/* `name`: the target's authority for HOST_TARGET, the given one for HOST_NAME; copied. A request
 * without a Host field gets one unless it is HTTP/1.0 and the mode is keep; an absolute target has
 * its authority changed too. NULL: no memory. */
struct stage *stage_host_new(enum host_mode mode, const char *name);

/* Sets, adds or removes a header field. SET and ADD take 'Name: value', REMOVE a name. SC_EINVAL also
 * for the fields that frame the body (Content-Length, Transfer-Encoding). Setting or adding Host is
 * stage_host_new(HOST_NAME). */
enum header_op { HEADER_SET, HEADER_ADD, HEADER_REMOVE };
int stage_header_new(enum header_op op, const char *text, struct stage **ret, struct err *err);
int stage_field_new(enum header_op op, const char *name, const char *value, struct stage **ret,
		    struct err *err);

/* Sets ('NAME=VALUE', in place of the first of that name; others go) or removes ('NAME') a query
 * parameter. Both are written as they stand in a URL. SC_EINVAL with the reason. */
enum query_op { QUERY_SET, QUERY_REMOVE };
int stage_query_new(enum query_op op, const char *text, struct stage **ret, struct err *err);

#endif
