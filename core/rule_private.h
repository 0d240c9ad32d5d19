/* SPDX-License-Identifier: Apache-2.0 */
/* What a rule is made of, for the two files that know: rule.c asks, rule_parse.c reads. */
#ifndef CORE_RULE_PRIVATE_H
#define CORE_RULE_PRIVATE_H

#include "core/rule.h"
#include "rule_index.h"

struct condition {
	enum rule_part part;
	char *name; /* of a header or parameter */
	struct text *text;
};

struct status_range {
	unsigned from, to; /* 0: there is no response */
};

struct client_net {
	struct addr net;
	unsigned bits;
};

struct rule {
	char *text;    /* as written */
	char *methods; /* ",GET,HEAD,"; NULL: any */
	char *host;    /* lower case; NULL: any */
	bool host_suffix; /* host is ".example.org", from *.example.org */
	bool host_port;   /* host names a port too; otherwise any port is meant */
	uint16_t port;    /* of the server; 0: any */
	struct status_range *statuses;
	unsigned n_statuses;
	struct client_net *clients;
	unsigned n_clients;
	struct condition *conditions;
	unsigned n;
};

#endif
