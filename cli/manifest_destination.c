/* SPDX-License-Identifier: Apache-2.0 */
/* Where a mirror goes: from a host and a subset to addresses, ports and TLS. Names stay names: who
 * sends resolves them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "manifest_mesh.h"

static int resolve_wrong(struct reader *r, const char *text, const char *what)
{
	return err_set(r->err, SC_EINVAL,
		       "--resolve '%.200s': %s; expected HOST[/SUBSET]=ADDRESS[:PORT]", text, what);
}

/* Cuts ":PORT" off a copy of an address; an IPv6 address stands in brackets. */
static int split_port(struct reader *r, const char *text, char *address, struct resolve *ret)
{
	char *colon = strrchr(address, ':'), *bracket = strchr(address, ']'), *end;
	unsigned long port;

	ret->address = address;
	if (address[0] == '[') {
		if (!bracket || (bracket[1] && bracket[1] != ':'))
			return resolve_wrong(r, text, "the brackets hold no address");
		*bracket = '\0';
		ret->address = address + 1;
		colon = bracket[1] ? bracket + 1 : NULL;
	} else if (colon && strchr(address, ':') != colon) {
		return resolve_wrong(r, text, "an IPv6 address stands in brackets");
	}
	if (!colon)
		return SC_OK;
	*colon = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (!isdigit((unsigned char)colon[1]) || *end || port < 1 || port > 65535)
		return resolve_wrong(r, text, "the port is not within 1..65535");
	ret->port = (unsigned)port;
	return SC_OK;
}

static int read_one(struct reader *r, const char *text, struct resolve *ret)
{
	const struct place nowhere = {.file = "--resolve", .line = 1};
	const char *eq = strchr(text, '=');
	char *host, *slash, *address;
	struct err *err = r->err;
	int rc;

	if (!eq || eq == text || !eq[1])
		return resolve_wrong(r, text, "a part is missing");
	host = arena_copy(&r->arena, text, (size_t)(eq - text));
	address = arena_copy(&r->arena, eq + 1, strlen(eq + 1));
	if (!host || !address)
		return reader_no_memory(r);
	slash = strchr(host, '/');
	if (slash) {
		*slash = '\0';
		ret->subset = slash + 1;
	}
	if (slash && !slash[1])
		return resolve_wrong(r, text, "the subset is missing");
	rc = split_port(r, text, address, ret);
	if (rc)
		return rc;
	r->err = NULL; /* what is wrong is said with the option, not with a place */
	rc = host_check(r, &nowhere, host, false);
	if (!rc)
		rc = host_check(r, &nowhere, ret->address, false);
	r->err = err;
	if (rc)
		return resolve_wrong(r, text, "a name holds what no host's name does");
	ret->host = host;
	ret->canonical = host_canonical(r, host, NULL);
	return ret->canonical ? SC_OK : SC_ENOMEM;
}

int resolve_read(struct reader *r)
{
	struct mesh *m = r->mesh;
	int rc = SC_OK;

	m->resolves = arena_alloc(&r->arena, (r->o->n_resolve + 1u) * sizeof(*m->resolves));
	if (!m->resolves)
		return reader_no_memory(r);
	while (m->n_resolves < r->o->n_resolve && !rc) {
		rc = read_one(r, r->o->resolve[m->n_resolves], &m->resolves[m->n_resolves]);
		m->n_resolves++;
	}
	return rc;
}

void resolve_warn_unused(struct reader *r)
{
	for (unsigned i = 0; i < r->mesh->n_resolves; i++) {
		if (!r->mesh->resolves[i].used)
			named_warn(r, "--resolve", "'%.200s': nothing is mirrored to that host%s",
				   r->o->resolve[i],
				   r->mesh->resolves[i].subset ? " and subset" : "");
	}
}

/* What is known of a destination while it is worked out. */
struct lookup {
	const struct goal *t;
	const struct place *at;
	const char *canonical;
	const struct service_entry *entry; /* NULL: none */
	const struct service_port *port;   /* of the entry; NULL: none */
	const struct subset *subset;	   /* NULL: none, or not known */
	const struct tls_setting *tls;	   /* NULL: in the clear */
};

static bool same_host(const struct resolve *v, const struct lookup *l)
{
	return strcasecmp(v->host, l->t->host) == 0 || strcmp(v->canonical, l->canonical) == 0;
}

/* Whether an option speaks of the destination: by its subset, or of the host as a whole. */
static bool speaks(const struct resolve *v, const struct lookup *l, bool by_subset)
{
	if (!same_host(v, l))
		return false;
	if (!by_subset)
		return !v->subset;
	return v->subset && l->t->subset && strcmp(v->subset, l->t->subset) == 0;
}

static unsigned count_resolves(struct reader *r, const struct lookup *l, bool by_subset)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->mesh->n_resolves; i++)
		n += speaks(&r->mesh->resolves[i], l, by_subset);
	return n;
}

static int add_endpoint(struct reader *r, struct destination *d, const char *address, unsigned port)
{
	struct endpoint *more = reallocarray(d->endpoints, d->n_endpoints + 1u, sizeof(*more));

	if (!more)
		return reader_no_memory(r);
	d->endpoints = more;
	more[d->n_endpoints] = (struct endpoint){strdup(address), (uint16_t)port};
	if (!more[d->n_endpoints].address)
		return reader_no_memory(r);
	d->n_endpoints++;
	return SC_OK;
}

static int add_resolved(struct reader *r, const struct lookup *l, struct destination *d,
			bool by_subset)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < r->mesh->n_resolves && !rc; i++) {
		struct resolve *v = &r->mesh->resolves[i];

		if (!speaks(v, l, by_subset))
			continue;
		v->used = true;
		rc = add_endpoint(r, d, v->address, v->port ? v->port : d->to_port);
	}
	return rc;
}

static bool has_labels(const struct service_endpoint *e, const struct value *wanted)
{
	for (unsigned i = 0; wanted && i < wanted->n; i++) {
		const char *value = wanted->pairs[i].value->text;
		bool found = false;

		for (unsigned j = 0; e->labels && j < e->labels->n && !found; j++) {
			const char *has = e->labels->pairs[j].value->text;

			found = strcmp(e->labels->pairs[j].key, wanted->pairs[i].key) == 0 && has &&
				value && strcmp(has, value) == 0;
		}
		if (!found)
			return false;
	}
	return true;
}

/* endpoints[].ports by the port's name, then targetPort, then the port's own number. */
static unsigned endpoint_port(const struct service_endpoint *e, const struct lookup *l,
			      unsigned otherwise)
{
	for (unsigned i = 0; l->port && e->ports && i < e->ports->n; i++) {
		const char *number = e->ports->pairs[i].value->text;

		if (number && strcmp(e->ports->pairs[i].key, l->port->name) == 0)
			return (unsigned)strtod(number, NULL); /* was checked when it was read */
	}
	return otherwise;
}

static int add_entry_endpoints(struct reader *r, const struct lookup *l, struct destination *d)
{
	const struct service_entry *e = l->entry;
	int rc = SC_OK;

	for (unsigned i = 0; i < e->n_endpoints && !rc; i++) {
		const struct service_endpoint *one = &e->endpoints[i];

		if (!l->subset || has_labels(one, l->subset->labels))
			rc = add_endpoint(r, d, one->address, endpoint_port(one, l, d->to_port));
	}
	if (!rc && !d->n_endpoints)
		rc = place_wrong(r, l->at,
				 "no endpoint of the ServiceEntry of '%.80s' carries the "
				 "labels of subset '%.80s'",
				 l->t->host, l->t->subset);
	return rc;
}

/* Whoever only captures or explains need not know where a subset is; whoever sends must not guess, for
 * the rest of its host may be production. */
static int subset_unknown(struct reader *r, const struct lookup *l, struct destination *d)
{
	bool named = l->subset != NULL;

	place_warn(r, l->at,
		   "%s '%.60s' %s '%.60s'%s; --resolve %.60s/%.60s=ADDRESS:PORT says where it is",
		   named ? "subset" : "no DestinationRule has a subset", l->t->subset,
		   named ? "cannot be told from the rest of" : "of", l->t->host,
		   named ? " by its name" : "", l->t->host, l->t->subset);
	if (asprintf(&d->unknown, "where subset '%.60s' of '%.60s' is, the manifest does not say; "
		     "expected --resolve %.60s/%.60s=ADDRESS:PORT", l->t->subset, l->t->host,
		     l->t->host, l->t->subset) < 0) {
		d->unknown = NULL;
		return SC_ENOMEM;
	}
	return SC_OK;
}

static void warn_by_name(struct reader *r, const struct lookup *l)
{
	if (l->entry && l->entry->workloads)
		place_warn(r, l->at,
			   "the workloads of '%.80s' are known only in the mesh; --resolve "
			   "%.80s=ADDRESS:PORT says where they are",
			   l->t->host, l->t->host);
}

static int find_endpoints(struct reader *r, const struct lookup *l, struct destination *d)
{
	bool by_subset = count_resolves(r, l, true) > 0;

	if (by_subset || count_resolves(r, l, false) > 0)
		return add_resolved(r, l, d, by_subset);
	if (l->t->subset && !l->subset)
		return subset_unknown(r, l, d);
	if (l->entry && l->entry->n_endpoints)
		return add_entry_endpoints(r, l, d);
	if (l->subset && place_count(&(struct place){.node = l->subset->labels}))
		return subset_unknown(r, l, d);
	warn_by_name(r, l);
	/* A short name means the namespace of the manifest, which is not that of who asks. */
	if (l->t->namespace && !strpbrk(l->t->host, ".:") &&
	    strcasecmp(l->t->host, "localhost") != 0 && !l->entry)
		return add_endpoint(r, d, l->canonical, d->to_port);
	return SC_OK;
}

static bool speaks_http(const struct service_port *p)
{
	static const char *const names[] = {"HTTP", "HTTP2", "GRPC", "GRPC-WEB"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(p->protocol, names[i]) == 0)
			return true;
	}
	return false;
}

static bool speaks_tls(const struct service_port *p)
{
	return strcasecmp(p->protocol, "HTTPS") == 0 || strcasecmp(p->protocol, "TLS") == 0;
}

static int find_port(struct reader *r, struct lookup *l)
{
	const struct service_entry *e = l->entry;

	for (unsigned i = 0; e && i < e->n_ports; i++) {
		if (l->t->port ? e->ports[i].number == l->t->port : speaks_http(&e->ports[i])) {
			l->port = &e->ports[i];
			return SC_OK;
		}
	}
	if (!e || !e->n_ports)
		return SC_OK;
	if (!l->t->port)
		l->port = &e->ports[0];
	else if (!count_resolves(r, l, true) && !count_resolves(r, l, false))
		return place_wrong(r, l->at,
				   "the ServiceEntry of '%.80s' has no port %u; its first "
				   "is %u",
				   l->t->host, l->t->port, e->ports[0].number);
	return SC_OK;
}

static void warn_tls(struct reader *r, const struct lookup *l)
{
	const struct tls_setting *t = l->tls;

	if (!t && l->port && speaks_tls(l->port))
		place_warn(r, l->at,
			   "port %u of '%.80s' speaks %.16s, the mirror plain HTTP; a "
			   "DestinationRule with tls mode SIMPLE would encrypt it",
			   l->port->number, l->t->host, l->port->protocol);
	if (!t)
		return;
	if (t->mode == TLS_ISTIO_MUTUAL)
		named_warn(r, t->place,
			   "ISTIO_MUTUAL needs a certificate of the mesh: it is mirrored "
			   "in the clear, which a mesh in PERMISSIVE mode takes");
	if (t->mode == TLS_DISABLE || t->mode == TLS_ISTIO_MUTUAL)
		return;
	if (t->names)
		named_warn(r, t->place,
			   "subjectAltNames are ignored: the certificate is checked "
			   "against the name that is connected to");
	if (t->credential)
		named_warn(r, t->place,
			   "credentialName is ignored: it is a secret of the cluster; "
			   "expected files");
}

static int copy_text(struct reader *r, char **to, const char *from)
{
	if (!from)
		return SC_OK;
	*to = strdup(from);
	return *to ? SC_OK : reader_no_memory(r);
}

static int set_tls(struct reader *r, const struct lookup *l, struct destination *d)
{
	const struct tls_setting *t = l->tls;
	int rc;

	warn_tls(r, l);
	d->tls = t && (t->mode == TLS_SIMPLE || t->mode == TLS_MUTUAL);
	if (!d->tls)
		return SC_OK;
	d->insecure = t->insecure;
	rc = copy_text(r, &d->sni, t->sni);
	if (!rc)
		rc = copy_text(r, &d->ca_file, t->ca_file);
	if (rc || t->mode != TLS_MUTUAL)
		return rc;
	rc = copy_text(r, &d->cert_file, t->cert_file);
	return rc ? rc : copy_text(r, &d->key_file, t->key_file);
}

static int fill(struct reader *r, struct lookup *l, struct destination *d)
{
	unsigned port;
	int rc;

	l->entry = mesh_entry(r->mesh, l->canonical);
	if (l->t->subset)
		l->subset = mesh_subset(r->mesh, l->canonical, l->t->subset);
	rc = find_port(r, l);
	if (rc)
		return rc;
	port = l->port ? l->port->number : l->t->port;
	l->tls = mesh_tls(r->mesh, l->canonical, l->subset, port);
	rc = set_tls(r, l, d);
	if (rc)
		return rc;
	if (l->port && l->port->target)
		port = l->port->target;
	d->to_port = (uint16_t)(port ? port : d->tls ? 443 : 80);
	return find_endpoints(r, l, d);
}

/* The index of the destination, worked out when it is new. Negative: an error. The same short name
 * in another namespace is another host, which then goes by its full name. */
static int find_destination(struct reader *r, struct lookup *l)
{
	const struct goal *t = l->t;
	unsigned known = r->policy->n_destinations;
	const char *host = t->host;
	int rc, i = policy_destination(r->policy, host, t->subset, (uint16_t)t->port);

	if (i >= 0 && (unsigned)i < known && strcmp(r->mesh->canonical[i], l->canonical) != 0) {
		host = l->canonical;
		i = policy_destination(r->policy, host, t->subset, (uint16_t)t->port);
	}
	if (i < 0)
		return reader_no_memory(r);
	if ((unsigned)i < known)
		return i;
	if (known == LIMIT_MANIFEST_DESTINATIONS)
		return place_wrong(r, l->at, "more than %u destinations of mirrors",
				   LIMIT_MANIFEST_DESTINATIONS);
	r->mesh->canonical[i] = arena_copy(&r->arena, l->canonical, strlen(l->canonical));
	if (!r->mesh->canonical[i])
		return reader_no_memory(r);
	rc = fill(r, l, &r->policy->destinations[i]);
	return rc ? rc : i;
}

int mirror_add(struct reader *r, const struct place *at, struct policy_rule *rule,
	       const struct goal *t, double percent)
{
	struct lookup l = {.t = t, .at = at};
	struct mirror *m;
	int rc = reader_count(r, at);

	if (rc)
		return rc;
	if (!(percent > 0)) {
		r->off++;
		return SC_OK;
	}
	l.canonical = host_canonical(r, t->host, t->namespace);
	if (!l.canonical)
		return SC_ENOMEM;
	rc = find_destination(r, &l);
	if (rc < 0)
		return rc;
	m = policy_add_mirror(rule);
	if (!m)
		return reader_no_memory(r);
	*m = (struct mirror){(unsigned)rc, percent};
	return SC_OK;
}
