/* SPDX-License-Identifier: Apache-2.0 */
/* How the way to a target differs from what its URL says: certificates, names, proxies, other
 * addresses. What every connection to one target shares. */
#ifndef REPLAY_CONNECT_H
#define REPLAY_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/err.h"
#include "replay/target.h"

struct connect_endpoint {
	const char *address; /* an IP address without brackets, or a name */
	uint16_t port;
};

struct resolver;

/* All zero is the plain way. Everything is borrowed and lives longer than the run. */
struct connect_options {
	const char *ca_file;   /* PEM, certificates to trust; NULL: the system's */
	const char *cert_file; /* PEM, the client's certificate and its chain; NULL: none */
	const char *key_file;  /* PEM, its key; NULL: in cert_file */
	const char *sni;       /* the name asked for in TLS and looked for in the certificate; NULL:
				* the URL's host */
	bool insecure;	       /* certificates are not checked */
	bool http2;	       /* replay_run_h2() */
	/* http://HOST:PORT, which is asked for a tunnel (CONNECT) to the target, so that what is
	 * said inside stays byte for byte. NULL: none. */
	const char *proxy;
	const char *unix_socket; /* path; the URL then only says Host and TLS. NULL: none */
	/* Where to connect instead of the URL's host and port, one connection here and the next
	 * there. Not together with unix_socket. */
	const struct connect_endpoint *endpoints;
	size_t n_endpoints;
	/* Spreads connections over the addresses of a name. May be shared by threads. NULL: libcurl
	 * resolves, and connects to the first address that answers. */
	struct resolver *resolver;
};

/* Before anything is sent: whether certificate and key can be used, whether names resolve, and that
 * none of the addresses is one of the origins, which are where the recording was made. SC_EINVAL
 * with the line for the person, SC_EIO for a name that does not resolve. Blocks. */
int connect_check(const struct target_url *target, const struct connect_options *options,
		  const struct addr *origins, size_t n_origins, struct err *err);

#endif
