/* SPDX-License-Identifier: Apache-2.0 */
/* Options to the way to a target. Connects to nothing. */
#include "connect_opts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "replay/resolver.h"

/* A rule taken apart; all point into one copy of it. */
struct rule {
	char text[2 * TARGET_HOST + 16];
	char *host, *address;
	uint16_t host_port, port; /* 0: not given */
};

/* "name", "name:80", "1.2.3.4:80", "[::1]", "[::1]:80", "::1", in place. */
static bool split_port(char *text, char **ret_host, uint16_t *ret_port)
{
	char *host = text, *port = NULL, *end;
	unsigned long v;

	if (text[0] == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return false;
		port = end[1] ? end + 2 : NULL;
		*end = '\0';
	} else {
		end = strchr(text, ':');
		if (end && !strchr(end + 1, ':')) {
			*end = '\0';
			port = end + 1;
		}
	}
	if (host[0] == '\0' || strlen(host) >= TARGET_HOST)
		return false;
	*ret_host = host;
	*ret_port = 0;
	if (!port)
		return true;
	v = strtoul(port, &end, 10);
	*ret_port = (uint16_t)v;
	return port[0] >= '0' && port[0] <= '9' && *end == '\0' && v >= 1 && v <= 65535;
}

static int parse_rule(const char *text, struct rule *ret, struct err *err)
{
	int n = snprintf(ret->text, sizeof(ret->text), "%s", text);
	char *equals = strchr(ret->text, '=');

	if (equals)
		*equals++ = '\0';
	if (n > 0 && (size_t)n < sizeof(ret->text) && equals &&
	    split_port(ret->text, &ret->host, &ret->host_port) &&
	    split_port(equals, &ret->address, &ret->port) && !strpbrk(equals, "/, "))
		return SC_OK;
	return err_set(err, SC_EINVAL, "--resolve: '%.100s'; expected HOST[:PORT]=ADDRESS[:PORT]",
		       text);
}

#define AT(member) offsetof(struct connect_args, member)
const struct opt connect_rows[] = {
	{"Connection", 0, "cacert", "FILE", "certificates to trust (default: the system's)",
	 opt_text, AT(ca_file)},
	{NULL, 0, "cert", "FILE", "the client certificate to show (PEM; default: none)", opt_text,
	 AT(cert_file)},
	{NULL, 0, "key", "FILE", "its key (PEM; default: in --cert)", opt_text, AT(key_file)},
	{NULL, 0, "sni", "NAME", "the name asked for in TLS (default: the URL's host)", opt_text,
	 AT(sni)},
	{NULL, 0, "insecure", NULL, "do not check the target's certificate", opt_flag,
	 AT(insecure)},
	{NULL, 0, "http2", NULL, "speak HTTP/2 (default: HTTP/1, byte for byte)", opt_flag,
	 AT(http2)},
	{NULL, 0, "proxy", "URL", "through the tunnel of an HTTP proxy (default: none)", opt_text,
	 AT(proxy)},
	{NULL, 0, "unix-socket", "PATH", "connect to a socket instead of the URL's host", opt_text,
	 AT(unix_socket)},
	{NULL, 0, "resolve", "HOST=ADDR",
	 "connect to ADDR[:PORT] for HOST[:PORT]; repeatable, by turns", opt_list, AT(resolve)},
	{0},
};
#undef AT

static bool rule_is_for(const struct rule *rule, const struct target_url *target)
{
	return strcasecmp(rule->host, target->host) == 0 &&
	       (rule->host_port == 0 || rule->host_port == target->port);
}

int connect_resolve_used(const struct connect_args *args, const struct target_url *targets,
			 size_t n, struct err *err)
{
	struct rule rule;

	for (unsigned i = 0; i < args->resolve.n; i++) {
		int rc = parse_rule(args->resolve.items[i], &rule, err);
		bool used = false;

		for (size_t k = 0; k < n && !rc; k++)
			used = used || rule_is_for(&rule, &targets[k]);
		if (rc || !used)
			return rc ? rc
				  : err_set(err, SC_EINVAL,
					    "--resolve: '%.100s' is about no target",
					    args->resolve.items[i]);
	}
	return SC_OK;
}

static void endpoints_free(struct connect_endpoint *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)list[i].address);
	free(list);
}

/* The endpoints that --resolve names for the target; none is fine. */
static int make_endpoints(const struct connect_args *args, const struct target_url *target,
			  struct connect_options *o, struct err *err)
{
	struct connect_endpoint *list = calloc(args->resolve.n + 1, sizeof(*list));
	struct rule rule;
	size_t n = 0;
	int rc = list ? SC_OK : SC_ENOMEM;

	for (unsigned i = 0; i < args->resolve.n && !rc; i++) {
		rc = parse_rule(args->resolve.items[i], &rule, err);
		if (rc || !rule_is_for(&rule, target))
			continue;
		list[n].address = strdup(rule.address);
		list[n].port = rule.port ? rule.port : target->port;
		rc = list[n].address ? SC_OK : SC_ENOMEM;
		n += !rc;
	}
	if (rc) {
		endpoints_free(list, list ? n : 0);
		return rc == SC_ENOMEM ? err_set(err, rc, "out of memory") : rc;
	}
	o->endpoints = list; /* moved */
	o->n_endpoints = n;
	return SC_OK;
}

static int make_resolver(const struct target_url *target, struct connect_options *o,
			 struct err *err)
{
	const struct connect_endpoint self = {target->host, target->port};

	if (o->unix_socket)
		return SC_OK;
	o->resolver = o->n_endpoints ? resolver_new(o->endpoints, o->n_endpoints)
				     : resolver_new(&self, 1);
	return o->resolver ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

static int check_args(const struct connect_args *a, const struct target_url *target,
		      struct err *err)
{
	if (a->unix_socket && (a->proxy || a->resolve.n))
		return err_set(err, SC_EINVAL, "--unix-socket and --%s exclude each other",
			       a->proxy ? "proxy" : "resolve");
	if (a->sni && (strlen(a->sni) >= TARGET_HOST || strpbrk(a->sni, ":/ @?#[]%")))
		return err_set(err, SC_EINVAL, "--sni: '%.100s' is no host name", a->sni);
	if (!target->tls && (a->cert_file || a->key_file || a->sni))
		return err_set(err, SC_EINVAL, "--%s is about TLS; expected a target with https://",
			       a->cert_file  ? "cert"
			       : a->key_file ? "key"
					     : "sni");
	return SC_OK;
}

int connect_build(const struct connect_args *args, const struct target_url *target,
		  const struct addr *origins, size_t n_origins, struct connect_options *ret,
		  struct err *err)
{
	struct connect_options o = {
		.ca_file = args->ca_file,
		.cert_file = args->cert_file,
		.key_file = args->key_file,
		.sni = args->sni,
		.insecure = args->insecure,
		.http2 = args->http2,
		.proxy = args->proxy,
		.unix_socket = args->unix_socket,
	};
	int rc = check_args(args, target, err);

	if (!rc)
		rc = make_endpoints(args, target, &o, err);
	if (!rc)
		rc = connect_check(target, &o, origins, n_origins, err);
	if (!rc)
		rc = make_resolver(target, &o, err);
	if (rc) {
		connect_done(&o);
		return rc;
	}
	*ret = o; /* moved */
	return SC_OK;
}

void connect_done(struct connect_options *o)
{
	resolver_free(o->resolver);
	endpoints_free((struct connect_endpoint *)o->endpoints, o->n_endpoints);
	*o = (struct connect_options){.ca_file = NULL};
}

static void describe_text(json_t *to, const char *name, const char *value)
{
	if (value)
		json_object_set_new(to, name, json_string(value));
}

void connect_describe(const struct connect_args *args, json_t *to)
{
	json_t *list = json_array();

	describe_text(to, "cacert", args->ca_file);
	describe_text(to, "cert", args->cert_file);
	describe_text(to, "key", args->key_file);
	describe_text(to, "sni", args->sni);
	describe_text(to, "unix_socket", args->unix_socket);
	/* Not the URL, which may hold a password. */
	if (args->proxy)
		json_object_set_new(to, "proxy", json_true());
	if (args->insecure)
		json_object_set_new(to, "insecure", json_true());
	if (args->http2)
		json_object_set_new(to, "http2", json_true());
	for (unsigned i = 0; i < args->resolve.n; i++)
		json_array_append_new(list, json_string(args->resolve.items[i]));
	if (args->resolve.n)
		json_object_set(to, "resolve", list);
	json_decref(list);
}
