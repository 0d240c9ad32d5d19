/* SPDX-License-Identifier: Apache-2.0 */
/* A request that a person describes, as a curl command would: 'GET http://h/p', '/p', a URL, or a
 * whole 'curl -X POST -H ... URL'. */
#ifndef CLI_ASKED_H
#define CLI_ASKED_H

#include "core/exchange.h"
#include "opt.h"

struct asked {
	const char *method;      /* NULL: GET, POST with data */
	struct str_list headers; /* 'Name: value' */
	const char *data;        /* NULL: no body */
	const char *client;      /* its address; NULL: not known */
};

/* `words` are the operands: one, or what stands behind "curl". SC_EINVAL with the reason. */
int asked_exchange(const struct asked *a, const char *const *words, unsigned n,
		   struct exchange **ret, struct err *err);

#endif
