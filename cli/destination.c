/* SPDX-License-Identifier: Apache-2.0 */
/* From a manifest's destination to a URL and options. Resolves no name. */
#include "destination.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *destination_name(const struct destination *d)
{
	char port[8] = "", *name;

	if (d->port)
		snprintf(port, sizeof(port), ":%u", d->port);
	return asprintf(&name, "%s%s%s%s", d->host, d->subset ? "/" : "",
			d->subset ? d->subset : "", port) < 0 ? NULL : name;
}

static const char *bracket(const char *address, bool open)
{
	return strchr(address, ':') ? (open ? "[" : "]") : "";
}

static int add_endpoint(const struct destination *d, const struct endpoint *e,
			struct destination_way *w, struct err *err)
{
	char *rule;

	if (asprintf(&rule, "%s%s%s:%u=%s%s%s:%u", bracket(d->host, true), d->host,
		     bracket(d->host, false), d->to_port, bracket(e->address, true), e->address,
		     bracket(e->address, false), e->port) < 0)
		return err_set(err, SC_ENOMEM, "out of memory");
	w->resolve[w->args.resolve.n++] = rule;
	return SC_OK;
}

static void prefer(const char **given, const char *otherwise)
{
	if (!*given)
		*given = otherwise;
}

int destination_way_of(const struct destination *d, const struct connect_args *base,
		       struct destination_way *ret, struct err *err)
{
	struct destination_way w = {.args = *base};
	int rc = SC_OK;

	if (d->unknown)
		return err_set(err, SC_EINVAL, "%s", d->unknown);
	snprintf(w.url, sizeof(w.url), "%s://%s%s%s:%u", d->tls ? "https" : "http",
		 bracket(d->host, true), d->host, bracket(d->host, false), d->to_port);
	prefer(&w.args.sni, d->sni);
	prefer(&w.args.ca_file, d->ca_file);
	prefer(&w.args.cert_file, d->cert_file);
	prefer(&w.args.key_file, d->key_file);
	w.args.insecure = w.args.insecure || d->insecure;
	w.resolve = calloc(d->n_endpoints + 1, sizeof(char *));
	if (!w.resolve)
		return err_set(err, SC_ENOMEM, "out of memory");
	w.args.resolve = (struct str_list){w.resolve, 0};
	for (unsigned i = 0; i < d->n_endpoints && !rc; i++)
		rc = add_endpoint(d, &d->endpoints[i], &w, err);
	if (rc) {
		destination_way_done(&w);
		return rc;
	}
	*ret = w;
	return SC_OK;
}

void destination_way_done(struct destination_way *w)
{
	for (unsigned i = 0; w->resolve && i < w->args.resolve.n; i++)
		free((char *)(uintptr_t)w->resolve[i]);
	free(w->resolve);
	*w = (struct destination_way){.resolve = NULL};
}
