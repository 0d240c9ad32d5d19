/* SPDX-License-Identifier: Apache-2.0 */
/* What DestinationRules and ServiceEntries say of a mirror's destination, as read by
 * manifest_mesh.c and asked by manifest_destination.c. All of it lies in the reader's arena. */
#ifndef CLI_MANIFEST_MESH_H
#define CLI_MANIFEST_MESH_H

#include "manifest_parts.h"

enum tls_mode { TLS_DISABLE, TLS_SIMPLE, TLS_MUTUAL, TLS_ISTIO_MUTUAL };
struct tls_setting {
	enum tls_mode mode;
	const char *ca_file, *cert_file, *key_file, *sni; /* NULL: not given */
	const char *place; /* for warnings, which are only said of what is used */
	bool insecure, names, credential; /* subjectAltNames, credentialName are given */
};
/* trafficPolicy: of one port where that has settings, which then inherit nothing. */
struct port_setting {
	unsigned port;
	const struct tls_setting *tls; /* NULL: none */
};
struct traffic {
	const struct tls_setting *tls; /* NULL: none */
	struct port_setting *ports;
	unsigned n_ports;
};
struct subset {
	const char *name;
	const struct value *labels; /* NULL: none */
	struct traffic traffic;
};
struct destination_rule {
	struct destination_rule *next;
	const char *host; /* canonical */
	struct subset *subsets;
	unsigned n_subsets;
	struct traffic traffic;
};

struct service_port {
	unsigned number, target; /* target 0: as number */
	const char *name, *protocol; /* "": none */
};
struct service_endpoint {
	const char *address;
	const struct value *ports, *labels; /* NULL: none */
};
struct service_entry {
	struct service_entry *next;
	const char **hosts; /* canonical */
	unsigned n_hosts;
	struct service_port *ports;
	unsigned n_ports;
	struct service_endpoint *endpoints;
	unsigned n_endpoints;
	bool workloads; /* a workloadSelector: only the mesh knows its endpoints */
};

/* One --resolve. */
struct resolve {
	const char *host, *canonical;
	const char *subset; /* NULL: any */
	const char *address;
	unsigned port; /* 0: none */
	bool used;
};

struct mesh {
	struct destination_rule *rules, **last_rule;
	struct service_entry *entries, **last_entry;
	struct resolve *resolves;
	unsigned n_resolves;
	char **canonical; /* of each of the policy's destinations, by its index */
};

/* The entry that knows a canonical host best; NULL: none. */
const struct service_entry *mesh_entry(const struct mesh *m, const char *host);
/* The subset; NULL: no DestinationRule of the host has it. */
const struct subset *mesh_subset(const struct mesh *m, const char *host, const char *name);
/* TLS towards a port of a host (0: not known); `s` may be NULL. NULL: none is set. */
const struct tls_setting *mesh_tls(const struct mesh *m, const char *host, const struct subset *s,
				   unsigned port);

#endif
