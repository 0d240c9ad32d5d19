/* SPDX-License-Identifier: Apache-2.0 */
/* DestinationRule and ServiceEntry: who a host is in the mesh. Asks neither the mesh nor DNS. */
#include "manifest_mesh.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

int mesh_new(struct reader *r)
{
	struct mesh *m = arena_alloc(&r->arena, sizeof(*m));

	if (m)
		m->canonical = arena_alloc(&r->arena, LIMIT_MANIFEST_DESTINATIONS * sizeof(char *));
	if (!m || !m->canonical)
		return reader_no_memory(r);
	m->last_rule = &m->rules;
	m->last_entry = &m->entries;
	r->mesh = m;
	return SC_OK;
}

/* An array of as many elements as a list has items, zeroed. */
static int items_new(struct reader *r, const struct place *list, unsigned max, size_t size,
		     void *ret)
{
	void *items;
	int rc = place_is(r, list, VALUE_LIST);

	if (rc)
		return rc;
	if (place_count(list) > max)
		return place_wrong(r, list, "more than %u items", max);
	items = arena_alloc(&r->arena, (place_count(list) + 1u) * size);
	if (!items)
		return reader_no_memory(r);
	memcpy(ret, &items, sizeof(items));
	return SC_OK;
}

enum {
	TLS_MODE,
	TLS_CA,
	TLS_CERT,
	TLS_KEY,
	TLS_SNI,
	TLS_INSECURE,
	TLS_NAMES,
	TLS_CREDENTIAL,
	TLS_CRL,
	TLS_FIELDS,
};
static const struct known tls_fields[TLS_FIELDS] = {
	[TLS_MODE] = {"mode", NULL},
	[TLS_CA] = {"caCertificates", NULL},
	[TLS_CERT] = {"clientCertificate", NULL},
	[TLS_KEY] = {"privateKey", NULL},
	[TLS_SNI] = {"sni", NULL},
	[TLS_INSECURE] = {"insecureSkipVerify", NULL},
	[TLS_NAMES] = {"subjectAltNames", NULL},
	[TLS_CREDENTIAL] = {"credentialName", NULL},
	[TLS_CRL] = {"caCrl", "is ignored: revoked certificates are not looked up"},
};

static int read_tls_mode(struct reader *r, const struct place *at, enum tls_mode *ret)
{
	static const char *const modes[] = {
		[TLS_DISABLE] = "DISABLE",
		[TLS_SIMPLE] = "SIMPLE",
		[TLS_MUTUAL] = "MUTUAL",
		[TLS_ISTIO_MUTUAL] = "ISTIO_MUTUAL",
	};
	const char *text = "DISABLE";
	int rc = place_text(r, at, &text);

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]) && !rc; i++) {
		if (strcmp(text, modes[i]) == 0) {
			*ret = (enum tls_mode)i;
			return SC_OK;
		}
	}
	return rc ? rc
		  : place_wrong(r, at,
				"'%.64s' is none of DISABLE, SIMPLE, MUTUAL and "
				"ISTIO_MUTUAL",
				text);
}

static int check_tls(struct reader *r, const struct place *at, const struct tls_setting *t)
{
	if (t->mode == TLS_MUTUAL && !t->credential && (!t->cert_file || !t->key_file))
		return place_wrong(r, at, "mode MUTUAL needs clientCertificate and privateKey");
	return SC_OK;
}

static int read_tls(struct reader *r, const struct place *at, const struct tls_setting **ret)
{
	struct tls_setting *t = arena_alloc(&r->arena, sizeof(*t));
	struct place f[TLS_FIELDS];
	int rc = fields_find(r, at, tls_fields, TLS_FIELDS, f);

	if (rc || !at->node)
		return rc;
	if (!t)
		return reader_no_memory(r);
	t->place = place_name(r, at);
	if (!t->place)
		return SC_ENOMEM;
	t->names = f[TLS_NAMES].node;
	t->credential = f[TLS_CREDENTIAL].node;
	rc = read_tls_mode(r, &f[TLS_MODE], &t->mode);
	if (!rc)
		rc = place_text(r, &f[TLS_CA], &t->ca_file);
	if (!rc)
		rc = place_text(r, &f[TLS_CERT], &t->cert_file);
	if (!rc)
		rc = place_text(r, &f[TLS_KEY], &t->key_file);
	if (!rc)
		rc = place_text(r, &f[TLS_SNI], &t->sni);
	if (!rc)
		rc = place_flag(r, &f[TLS_INSECURE], &t->insecure);
	if (!rc)
		rc = check_tls(r, at, t);
	if (!rc)
		*ret = t;
	return rc;
}

enum { PORT_NUMBER, PORT_FIELDS };
static const struct known port_fields[PORT_FIELDS] = {[PORT_NUMBER] = {"number", NULL}};

int port_read(struct reader *r, const struct place *at, unsigned *ret)
{
	struct place f[PORT_FIELDS];
	int rc = fields_find(r, at, port_fields, PORT_FIELDS, f);

	return rc ? rc : place_integer(r, &f[PORT_NUMBER], 1, 65535, ret);
}

/* What follows the first two is the mesh's own business, known so that nobody is warned of it. */
enum { LEVEL_PORT, LEVEL_TLS, LEVEL_FIELDS = 8 };
static const struct known level_fields[LEVEL_FIELDS] = {
	{"port", NULL},
	{"tls", NULL},
	{"loadBalancer", NULL},
	{"connectionPool", NULL},
	{"outlierDetection", NULL},
	{"tunnel", NULL},
	{"proxyProtocol", NULL},
	{"retryBudget", NULL},
};

enum { TRAFFIC_LEVELS, TRAFFIC_TLS, TRAFFIC_FIELDS = 8 };
static const struct known traffic_fields[TRAFFIC_FIELDS] = {
	{"portLevelSettings", NULL},
	{"tls", NULL},
	{"loadBalancer", NULL},
	{"connectionPool", NULL},
	{"outlierDetection", NULL},
	{"tunnel", NULL},
	{"proxyProtocol", NULL},
	{"retryBudget", NULL},
};

static int read_traffic(struct reader *r, const struct place *at, struct traffic *ret)
{
	struct place f[TRAFFIC_FIELDS], level[LEVEL_FIELDS];
	int rc = fields_find(r, at, traffic_fields, TRAFFIC_FIELDS, f);

	if (!rc)
		rc = read_tls(r, &f[TRAFFIC_TLS], &ret->tls);
	if (!rc)
		rc = items_new(r, &f[TRAFFIC_LEVELS], LIMIT_MANIFEST_ENDPOINTS, sizeof(*ret->ports),
			       &ret->ports);
	for (unsigned i = 0; i < place_count(&f[TRAFFIC_LEVELS]) && !rc; i++) {
		struct place item = place_item(&f[TRAFFIC_LEVELS], i);
		struct port_setting *p = &ret->ports[ret->n_ports++];

		rc = fields_find(r, &item, level_fields, LEVEL_FIELDS, level);
		if (!rc)
			rc = port_read(r, &level[LEVEL_PORT], &p->port);
		if (!rc)
			rc = read_tls(r, &level[LEVEL_TLS], &p->tls);
	}
	return rc;
}

static int read_labels(struct reader *r, const struct place *at, const struct value **ret)
{
	const char *text;
	int rc = place_is(r, at, VALUE_MAP);

	for (unsigned i = 0; i < place_count(at) && !rc; i++) {
		struct place item = place_item(at, i);

		rc = place_text(r, &item, &text);
	}
	if (!rc)
		*ret = at->node;
	return rc;
}

enum { SUBSET_NAME, SUBSET_LABELS, SUBSET_TRAFFIC, SUBSET_FIELDS };
static const struct known subset_fields[SUBSET_FIELDS] = {
	[SUBSET_NAME] = {"name", NULL},
	[SUBSET_LABELS] = {"labels", NULL},
	[SUBSET_TRAFFIC] = {"trafficPolicy", NULL},
};

static int read_subset(struct reader *r, const struct place *at, struct subset *ret)
{
	struct place f[SUBSET_FIELDS];
	int rc = fields_find(r, at, subset_fields, SUBSET_FIELDS, f);

	if (!rc)
		rc = place_need(r, &f[SUBSET_NAME], "the subset's name", &ret->name);
	if (!rc)
		rc = reader_count(r, at);
	if (!rc)
		rc = read_labels(r, &f[SUBSET_LABELS], &ret->labels);
	return rc ? rc : read_traffic(r, &f[SUBSET_TRAFFIC], &ret->traffic);
}

enum {
	RULE_HOST,
	RULE_SUBSETS,
	RULE_TRAFFIC,
	RULE_EXPORT,
	RULE_SELECTOR,
	RULE_FIELDS,
};
static const struct known rule_fields[RULE_FIELDS] = {
	[RULE_HOST] = {"host", NULL},
	[RULE_SUBSETS] = {"subsets", NULL},
	[RULE_TRAFFIC] = {"trafficPolicy", NULL},
	[RULE_EXPORT] = {"exportTo", NULL},
	[RULE_SELECTOR] = {"workloadSelector", NULL},
};

int mesh_read_destination_rule(struct reader *r, const struct document *d)
{
	struct destination_rule *rule = arena_alloc(&r->arena, sizeof(*rule));
	struct place f[RULE_FIELDS];
	const char *host = NULL;
	int rc = rule ? fields_find(r, &d->spec, rule_fields, RULE_FIELDS, f) : reader_no_memory(r);

	if (!rc)
		rc = place_need(r, &f[RULE_HOST], "the name of a host", &host);
	if (!rc)
		rc = host_check(r, &f[RULE_HOST], host, true);
	if (!rc)
		rc = reader_count(r, &d->place);
	if (!rc)
		rc = items_new(r, &f[RULE_SUBSETS], LIMIT_MANIFEST_ENDPOINTS,
			       sizeof(*rule->subsets), &rule->subsets);
	for (unsigned i = 0; !rc && i < place_count(&f[RULE_SUBSETS]); i++) {
		struct place item = place_item(&f[RULE_SUBSETS], i);

		rc = read_subset(r, &item, &rule->subsets[rule->n_subsets++]);
	}
	if (!rc)
		rc = read_traffic(r, &f[RULE_TRAFFIC], &rule->traffic);
	if (rc)
		return rc;
	rule->host = host_canonical(r, host, d->namespace);
	*r->mesh->last_rule = rule;
	r->mesh->last_rule = &rule->next;
	return rule->host ? SC_OK : SC_ENOMEM;
}

enum { SPORT_NUMBER, SPORT_NAME, SPORT_PROTOCOL, SPORT_TARGET, SPORT_FIELDS };
static const struct known service_port_fields[SPORT_FIELDS] = {
	[SPORT_NUMBER] = {"number", NULL},
	[SPORT_NAME] = {"name", NULL},
	[SPORT_PROTOCOL] = {"protocol", NULL},
	[SPORT_TARGET] = {"targetPort", NULL},
};

static int read_service_port(struct reader *r, const struct place *at, struct service_port *ret)
{
	struct place f[SPORT_FIELDS];
	int rc = fields_find(r, at, service_port_fields, SPORT_FIELDS, f);

	ret->name = ret->protocol = "";
	if (!rc)
		rc = place_integer(r, &f[SPORT_NUMBER], 1, 65535, &ret->number);
	if (!rc && !ret->number)
		rc = place_wrong(r, &f[SPORT_NUMBER], "is missing; expected 1..65535");
	if (!rc)
		rc = place_text(r, &f[SPORT_NAME], &ret->name);
	if (!rc)
		rc = place_text(r, &f[SPORT_PROTOCOL], &ret->protocol);
	return rc ? rc : place_integer(r, &f[SPORT_TARGET], 0, 65535, &ret->target);
}

enum {
	END_ADDRESS,
	END_PORTS,
	END_LABELS,
	END_NETWORK,
	END_LOCALITY,
	END_WEIGHT,
	END_ACCOUNT,
	END_FIELDS,
};
static const struct known endpoint_fields[END_FIELDS] = {
	[END_ADDRESS] = {"address", NULL},
	[END_PORTS] = {"ports", NULL},
	[END_LABELS] = {"labels", NULL},
	[END_NETWORK] = {"network", NULL},
	[END_LOCALITY] = {"locality", NULL},
	[END_WEIGHT] = {"weight", NULL},
	[END_ACCOUNT] = {"serviceAccount", NULL},
};

static bool is_ip(const char *text)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1;
}

static int check_address(struct reader *r, const struct place *at, const char *address,
			 bool addresses)
{
	if (strncmp(address, "unix:", 5) == 0)
		return place_wrong(r, at,
				   "'%.80s': expected an IP address or a name, not a socket "
				   "of the mesh's host",
				   address);
	if (addresses && !is_ip(address))
		return place_wrong(r, at, "'%.80s' is no IP address, which resolution STATIC takes",
				   address);
	return host_check(r, at, address, false);
}

static int read_endpoint(struct reader *r, const struct place *at, bool addresses,
			 struct service_endpoint *ret)
{
	struct place f[END_FIELDS];
	unsigned port;
	int rc = fields_find(r, at, endpoint_fields, END_FIELDS, f);

	if (!rc)
		rc = place_need(r, &f[END_ADDRESS], "an address", &ret->address);
	if (!rc)
		rc = check_address(r, &f[END_ADDRESS], ret->address, addresses);
	if (!rc)
		rc = read_labels(r, &f[END_LABELS], &ret->labels);
	if (!rc)
		rc = place_is(r, &f[END_PORTS], VALUE_MAP);
	ret->ports = f[END_PORTS].node;
	for (unsigned i = 0; !rc && i < place_count(&f[END_PORTS]); i++) {
		struct place item = place_item(&f[END_PORTS], i);

		rc = place_integer(r, &item, 1, 65535, &port);
	}
	return rc;
}

enum {
	ENTRY_HOSTS,
	ENTRY_PORTS,
	ENTRY_RESOLUTION,
	ENTRY_ENDPOINTS,
	ENTRY_SELECTOR,
	ENTRY_ADDRESSES,
	ENTRY_LOCATION,
	ENTRY_EXPORT,
	ENTRY_NAMES,
	ENTRY_FIELDS,
};
static const struct known entry_fields[ENTRY_FIELDS] = {
	[ENTRY_HOSTS] = {"hosts", NULL},
	[ENTRY_PORTS] = {"ports", NULL},
	[ENTRY_RESOLUTION] = {"resolution", NULL},
	[ENTRY_ENDPOINTS] = {"endpoints", NULL},
	[ENTRY_SELECTOR] = {"workloadSelector", NULL},
	[ENTRY_ADDRESSES] = {"addresses", NULL},
	[ENTRY_LOCATION] = {"location", NULL},
	[ENTRY_EXPORT] = {"exportTo", NULL},
	[ENTRY_NAMES] = {"subjectAltNames", NULL},
};

enum resolution { RESOLUTION_NONE, RESOLUTION_STATIC, RESOLUTION_DNS };

static int read_resolution(struct reader *r, const struct place *at, enum resolution *ret)
{
	static const struct {
		const char *name;
		enum resolution resolution;
	} rows[] = {
		{"NONE", RESOLUTION_NONE},	 {"STATIC", RESOLUTION_STATIC},
		{"DNS", RESOLUTION_DNS},	 {"DNS_ROUND_ROBIN", RESOLUTION_DNS},
		{"DYNAMIC_DNS", RESOLUTION_DNS},
	};
	const char *text = "NONE";
	int rc = place_text(r, at, &text);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !rc; i++) {
		if (strcmp(text, rows[i].name) == 0) {
			*ret = rows[i].resolution;
			return SC_OK;
		}
	}
	return rc ? rc : place_wrong(r, at, "'%.64s' is none of STATIC, DNS and NONE", text);
}

static int read_entry_hosts(struct reader *r, const struct document *d, const struct place *list,
			    struct service_entry *e)
{
	int rc = items_new(r, list, LIMIT_MANIFEST_ENDPOINTS, sizeof(*e->hosts), &e->hosts);

	if (!rc && !place_count(list))
		return place_wrong(r, list, "is missing; expected a list of host names");
	for (unsigned i = 0; !rc && i < place_count(list); i++) {
		struct place at = place_item(list, i);
		const char *host = NULL;

		rc = place_need(r, &at, "a host name", &host);
		if (!rc)
			rc = host_check(r, &at, host, true);
		if (!rc)
			rc = reader_count(r, &at);
		if (rc)
			break;
		e->hosts[e->n_hosts] = host_canonical(r, host, d->namespace);
		rc = e->hosts[e->n_hosts++] ? SC_OK : SC_ENOMEM;
	}
	return rc;
}

static int read_endpoints(struct reader *r, const struct place *list, enum resolution resolution,
			  struct service_entry *e)
{
	int rc = items_new(r, list, LIMIT_MANIFEST_ENDPOINTS, sizeof(*e->endpoints), &e->endpoints);

	if (!rc && place_count(list) && resolution == RESOLUTION_NONE)
		return place_wrong(r, list,
				   "are not taken by resolution NONE; expected STATIC or "
				   "DNS");
	if (!rc && !place_count(list) && resolution == RESOLUTION_STATIC && !e->workloads)
		return place_wrong(r, list, "is missing; expected addresses for resolution STATIC");
	for (unsigned i = 0; !rc && i < place_count(list); i++) {
		struct place at = place_item(list, i);

		rc = read_endpoint(r, &at, resolution == RESOLUTION_STATIC,
				   &e->endpoints[e->n_endpoints++]);
	}
	return rc;
}

static int read_service_ports(struct reader *r, const struct place *list, struct service_entry *e)
{
	int rc = items_new(r, list, LIMIT_MANIFEST_ENDPOINTS, sizeof(*e->ports), &e->ports);

	for (unsigned i = 0; !rc && i < place_count(list); i++) {
		struct place at = place_item(list, i);

		rc = read_service_port(r, &at, &e->ports[e->n_ports++]);
	}
	return rc;
}

int mesh_read_service_entry(struct reader *r, const struct document *d)
{
	struct service_entry *e = arena_alloc(&r->arena, sizeof(*e));
	struct place f[ENTRY_FIELDS];
	enum resolution resolution = RESOLUTION_NONE;
	int rc = e ? fields_find(r, &d->spec, entry_fields, ENTRY_FIELDS, f) : reader_no_memory(r);

	if (rc)
		return rc;
	e->workloads = f[ENTRY_SELECTOR].node;
	rc = read_entry_hosts(r, d, &f[ENTRY_HOSTS], e);
	if (!rc)
		rc = read_service_ports(r, &f[ENTRY_PORTS], e);
	if (!rc)
		rc = read_resolution(r, &f[ENTRY_RESOLUTION], &resolution);
	if (!rc)
		rc = read_endpoints(r, &f[ENTRY_ENDPOINTS], resolution, e);
	if (rc)
		return rc;
	*r->mesh->last_entry = e;
	r->mesh->last_entry = &e->next;
	return SC_OK;
}

const struct service_entry *mesh_entry(const struct mesh *m, const char *host)
{
	const struct service_entry *best = NULL;
	unsigned best_rank = 0;

	for (const struct service_entry *e = m->entries; e; e = e->next) {
		for (unsigned i = 0; i < e->n_hosts; i++) {
			unsigned rank = host_rank(e->hosts[i], host);

			if (rank > best_rank) {
				best_rank = rank;
				best = e;
			}
		}
	}
	return best;
}

/* The rules of the most exact host that has any, in order: theirs are put together. */
static const struct destination_rule *next_rule(const struct destination_rule *from,
						const char *host, unsigned rank)
{
	while (from && host_rank(from->host, host) != rank)
		from = from->next;
	return from;
}

static unsigned best_rule_rank(const struct mesh *m, const char *host)
{
	unsigned best = 0;

	for (const struct destination_rule *d = m->rules; d; d = d->next) {
		unsigned rank = host_rank(d->host, host);

		if (rank > best)
			best = rank;
	}
	return best;
}

const struct subset *mesh_subset(const struct mesh *m, const char *host, const char *name)
{
	unsigned rank = best_rule_rank(m, host);
	const struct destination_rule *d = rank ? next_rule(m->rules, host, rank) : NULL;

	for (; d; d = next_rule(d->next, host, rank)) {
		for (unsigned i = 0; i < d->n_subsets; i++) {
			if (strcmp(d->subsets[i].name, name) == 0)
				return &d->subsets[i];
		}
	}
	return NULL;
}

/* Whether the settings say anything of TLS; then *ret is it. */
static bool traffic_tls(const struct traffic *t, unsigned port, const struct tls_setting **ret)
{
	for (unsigned i = 0; i < t->n_ports; i++) {
		if (port && t->ports[i].port == port) {
			*ret = t->ports[i].tls;
			return true;
		}
	}
	*ret = t->tls;
	return t->tls;
}

const struct tls_setting *mesh_tls(const struct mesh *m, const char *host, const struct subset *s,
				   unsigned port)
{
	unsigned rank = best_rule_rank(m, host);
	const struct destination_rule *d = rank ? next_rule(m->rules, host, rank) : NULL;
	const struct tls_setting *tls = NULL;

	if (s && traffic_tls(&s->traffic, port, &tls))
		return tls;
	for (; d; d = next_rule(d->next, host, rank)) {
		if (traffic_tls(&d->traffic, port, &tls))
			return tls;
	}
	return NULL;
}
