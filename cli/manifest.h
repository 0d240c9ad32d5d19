/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a mesh's manifests: VirtualService, DestinationRule and ServiceEntry of Istio, HTTPRoute of
 * the Gateway API. Asks no cluster and resolves no name. */
#ifndef CLI_MANIFEST_H
#define CLI_MANIFEST_H

#include "core/policy.h"

struct manifest_options {
	/* HOST[/SUBSET]=ADDR[:PORT], each; counts before all that the manifests say. Of several for
	 * one HOST[/SUBSET] each is an endpoint. */
	const char *const *resolve;
	unsigned n_resolve;
	/* Takes what is not understood, ignored or odd, one line each: "FILE:LINE: PATH: ...".
	 * NULL: nobody listens. */
	void (*warn)(void *arg, const char *line);
	void *arg;
};

/* All files are one stream, "-" is stdin; YAML or JSON, one document or many, or a List of them.
 * The policy, sealed, in *ret; one that mirrors nothing is no error, but is warned of with the
 * reason. SC_EINVAL with one line, "FILE:LINE: PATH: what is wrong and what was expected", also for
 * a file that cannot be read. SC_ENOMEM. */
int manifest_read(const char *const *paths, unsigned n_paths, const struct manifest_options *o,
		  struct policy **ret, struct err *err);

#endif
