/* SPDX-License-Identifier: Apache-2.0 */
/* One rule: conditions on a request, all of which must hold. Written in the route language
 *   [METHOD[,METHOD]] [HOST]PATH [header:NAME=VALUE] [query:NAME=VALUE] [status:5xx] [client:NET]
 * or put together from the parts of a manifest. */
#ifndef CORE_RULE_H
#define CORE_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/exchange.h"
#include "core/text.h"

struct rule;

/* One rule in the route language. SC_EINVAL with what is wrong and what was expected. */
int rule_parse(const char *text, struct rule **ret, struct err *err);
struct rule *rule_new(const char *text); /* without conditions: takes everything. NULL: no memory */
void rule_free(struct rule *r);          /* NULL is fine */
const char *rule_text(const struct rule *r); /* as written; borrowed */

/* Conditions on texts. Names of headers compare without case, of query parameters with it. */
enum rule_part {
	RULE_METHOD,
	RULE_SCHEME,
	RULE_AUTHORITY,   /* the host with its port, as on the wire */
	RULE_PATH,        /* without the query */
	RULE_HEADER,      /* a field of that name (several: any of them) */
	RULE_QUERY,       /* a parameter of that name, as on the wire; a flag (?key) is empty */
	RULE_NO_HEADER,   /* no field of that name passes the test; a missing one counts as empty,
			   * unless the test is TEXT_PRESENT */
	RULE_PARTS,
};

/* One condition more; `name` is copied (NULL but for headers and parameters), `text` is moved, also
 * on failure. SC_ENOMEM. */
int rule_add(struct rule *r, enum rule_part part, const char *name, struct text *text);
int rule_add_port(struct rule *r, uint16_t port); /* of the server */

/* What rules are asked about, worked out once for all of them. Borrows from `ex`. */
struct subject {
	const struct exchange *ex;
	struct span method, host, host_name, path, query;
	bool response_known; /* ex->response is final; false from subject_of() */
};
void subject_of(const struct exchange *ex, struct subject *ret);

/* Whether all conditions hold. Conditions on the response (status:) hold while it is not known:
 * rule_waits() says whether there are any. */
bool rule_takes(const struct rule *r, const struct subject *s);
bool rule_waits(const struct rule *r);

#endif
