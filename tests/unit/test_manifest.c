/* SPDX-License-Identifier: Apache-2.0 */
/* What a mesh's manifests mean: which rule takes a request, at which percentage it is mirrored,
 * where it goes and what it becomes. What is wrong with a manifest is in test_manifest_wrong.c. */
#include "manifest_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static void assert_head(const struct exchange *ex, const char *head, const char *row)
{
	if (ex->request->head_len != strlen(head) ||
	    memcmp(ex->request->head, head, strlen(head)) != 0)
		fail_msg("%s: became %.*s", row, (int)ex->request->head_len, ex->request->head);
}

/* The manifests of the handbook's chapter, as a reader types them. */
static void test_handbook(void **state)
{
	static const struct {
		const char *file;
		double percent;
		const char *host, *subset, *resolve, *address;
		uint16_t port;
	} rows[] = {
		{"mirror-100.yaml", 100, "httpbin.default.svc.cluster.local", "v2", NULL, NULL, 0},
		{"mirror-50.yaml", 50, "httpbin.default.svc.cluster.local", "v2", NULL, NULL, 0},
		{"mirror-100.yaml", 100, "httpbin.default.svc.cluster.local", "v2",
		 "httpbin/v2=127.0.0.1:18102", "127.0.0.1", 18102},
		{"mirror-gateway.yaml", 100, "httpbin.gateway-b.example", NULL, NULL, NULL, 0},
		{"mirror-gateway.yaml", 100, "httpbin.gateway-b.example", NULL,
		 "httpbin.gateway-b.example=[::1]:81", "::1", 81},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(GET("/httpbin/headers?a=1"));
		const char *paths[2] = {NULL, MANIFESTS "/destination-rule.yaml"};
		const struct policy_rule *rule;
		const struct destination *d;
		struct reading r;
		char path[512];

		(void)snprintf(path, sizeof(path), MANIFESTS "/%s", rows[i].file);
		paths[0] = path;
		read_files(&r, paths, 2, rows[i].resolve);
		if (r.rc)
			fail_msg("%s", r.err.text);
		rule = apply(r.policy, ex);
		assert_non_null(rule);
		assert_string_equal(rule->name, "httpbin http[0]");
		assert_int_equal(rule->n_mirrors, 1);
		assert_true(rule->mirrors[0].percent == rows[i].percent);
		assert_head(ex, GET("//headers?a=1"), rows[i].file);
		d = &r.policy->destinations[rule->mirrors[0].destination];
		assert_string_equal(d->host, rows[i].host);
		assert_true(!d->subset == !rows[i].subset);
		assert_int_equal(d->n_endpoints, rows[i].address ? 1 : 0);
		assert_int_equal(d->to_port, 80);
		assert_false(d->tls);
		if (rows[i].address) {
			assert_string_equal(d->endpoints[0].address, rows[i].address);
			assert_int_equal(d->endpoints[0].port, rows[i].port);
		}
		/* What is typed by the book is warned of only where it cannot be done. */
		if (rows[i].address || !rows[i].subset)
			assert_string_equal(r.warnings, "");
		exchange_free(ex);
		reading_done(&r);
	}
}

static void test_match(void **state)
{
	static const struct {
		const char *match, *head;
		bool takes;
	} rows[] = {
		{"uri: {exact: /a}", GET("/a"), true},
		{"uri: {exact: /a}", GET("/a?b"), true},
		{"uri: {exact: /a}", GET("/A"), false},
		{"uri: {exact: /a}, ignoreUriCase: true", GET("/A"), true},
		{"uri: {prefix: /httpbin}", GET("/httpbinX"), true},
		{"uri: {prefix: /httpbin}", GET("/HTTPBIN"), false},
		{"uri: {prefix: /httpbin}, ignoreUriCase: true", GET("/HTTPBIN/x"), true},
		{"uri: {prefix: /httpbin}, ignore_uri_case: yes", GET("/HTTPBIN/x"), true},
		{"uri: {regex: '/u/[0-9]+'}", GET("/u/12?x"), true},
		{"uri: {regex: '/u/[0-9]+'}", GET("/u/12/x"), false},
		{"uri: {regex: '/u/a'}, ignoreUriCase: true", GET("/U/A"), false},
		{"uri: {regex: '(?i)/u/a'}", GET("/U/A"), true},
		{"uri: {}, name: n", GET("/any"), true},
		{"method: {exact: POST}", GET("/"), false},
		{"method: {exact: GET}", GET("/"), true},
		{"method: {regex: 'GET|POST'}", GET("/"), true},
		{"scheme: {exact: http}", GET("/"), true},
		{"scheme: {exact: https}", GET("/"), false},
		{"authority: {prefix: 'h:80'}", "GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n", true},
		{"authority: {exact: h}", "GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n", false},
		{"port: 80", GET("/"), true},
		{"port: 81", GET("/"), false},
		{"headers: {x-a: {exact: b}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n", true},
		{"headers: {x-a: {exact: b}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A: B\r\n\r\n",
		 false},
		{"headers: {x-a: {}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A:\r\n\r\n", true},
		{"headers: {x-a: {}}", GET("/"), false},
		{"headers: {x-a: {regex: '*'}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n",
		 true},
		{"headers: {x-a: {}, x-b: {}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n",
		 false},
		{"queryParams: {q: {exact: '1'}}", GET("/?p=2&q=1"), true},
		{"queryParams: {q: {exact: 1}}", GET("/?q=12"), false},
		{"query_params: {q: {prefix: '1'}}", GET("/?q=12"), true},
		{"queryParams: {q: {exact: ''}}", GET("/?q"), true},
		{"queryParams: {q: {}}", GET("/?q=anything"), true},
		{"queryParams: {q: {}}", GET("/?Q=anything"), false},
		{"withoutHeaders: {x-a: {}}", GET("/"), true},
		{"withoutHeaders: {x-a: {}}", "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n", false},
		{"withoutHeaders: {x-a: {exact: ''}}", GET("/"), false},
		{"without_headers: {x-a: {exact: b}}", GET("/"), true},
		{"withoutHeaders: {x-a: {prefix: b}}",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-A: bc\r\n\r\n", false},
		{"uri: {prefix: /a}, method: {exact: POST}", GET("/a"), false},
		{"uri: {prefix: /a}}, {uri: {prefix: /b}", GET("/b"), true},
		{"uri: {prefix: /a}", "GET /a HTTP/1.1\r\nHost: other\r\n\r\n", false},
		{"uri: {prefix: /a}", "GET /a HTTP/1.1\r\nHost: H:8000\r\n\r\n", true},
		{"uri: {prefix: /a}", "GET /a HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", true},
		{"sourceLabels: {app: x}", GET("/"), true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].head);
		struct reading r;
		char text[1024];

		(void)snprintf(text, sizeof(text), VS("  - {match: [{%s}], mirror: {host: m}}\n"),
			       rows[i].match);
		read_well(&r, text);
		if (!!apply(r.policy, ex) != rows[i].takes)
			fail_msg("row %zu: {%s} on %s", i, rows[i].match, rows[i].head);
		exchange_free(ex);
		reading_done(&r);
	}
}

/* Which names in a Host field a spec.hosts means. */
static void test_hosts(void **state)
{
	static const struct {
		const char *metadata, *hosts, *host;
		bool takes;
	} rows[] = {
		{"{}", "[web]", "web", true},
		{"{}", "[web]", "WEB:8080", true},
		{"{}", "[web]", "web.default", true},
		{"{}", "[web]", "web.shop.svc", true},
		{"{}", "[web]", "web.shop.svc.cluster.local", true},
		{"{}", "[web]", "web.org", false},
		{"{}", "[web]", "webs", false},
		{"{namespace: shop}", "[Web]", "web.shop", true},
		{"{namespace: shop}", "[web]", "web.shop.svc.cluster.local", true},
		{"{namespace: shop}", "[web]", "web.default", false},
		{"{}", "[web.shop.svc.cluster.local]", "web.shop", true},
		{"{}", "[web.shop.svc.cluster.local]", "web", true},
		{"{}", "[web.shop.svc.cluster.local]", "web.shop.svc", true},
		{"{}", "[web.shop.svc.cluster.local]", "web.other.svc", false},
		{"{}", "[a.example]", "a.example", true},
		{"{}", "[a.example]", "b.a.example", false},
		{"{}", "[a.example]", "axexample", false},
		{"{}", "['*.example']", "x.y.example", true},
		{"{}", "['*.example']", "example", false},
		{"{}", "['*.example']", "badexample", false},
		{"{}", "['*.a.example']", "x.axexample", false},
		{"{}", "['*']", "anything", true},
		{"{}", "[a.example, '*']", "anything", true},
		{"{}", "[a.example, b.example]", "b.example", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512], head[256];
		struct exchange *ex;
		struct reading r;

		(void)snprintf(text, sizeof(text),
			       API "kind: VirtualService\nmetadata: %s\nspec: {hosts: %s, http: "
				   "[{mirror: {host: m}}]}\n",
			       rows[i].metadata, rows[i].hosts);
		(void)snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
			       rows[i].host);
		read_well(&r, text);
		ex = request_of(head);
		if (!!apply(r.policy, ex) != rows[i].takes)
			fail_msg("row %zu: %s on %s", i, rows[i].hosts, rows[i].host);
		exchange_free(ex);
		reading_done(&r);
	}
}

/* The first rule that takes a request takes it away from those behind it, mirror or not. */
static void test_order(void **state)
{
	static const char text[] =
		VS("  - {name: health, match: [{uri: {prefix: /health}}], route: [{destination: "
		   "{host: "
		   "h}}]}\n"
		   "  - {match: [{uri: {prefix: /a}}, {method: {exact: PUT}}], mirror: {host: m}}\n"
		   "  - {mirror: {host: n}, mirrorPercentage: {value: 0.5}}\n");
	static const struct {
		const char *head, *rule;
		unsigned mirrors;
	} rows[] = {
		{GET("/health/a"), "w health", 0},
		{GET("/a"), "w http[1]", 1},
		{"PUT /b HTTP/1.1\r\nHost: h\r\n\r\n", "w http[1]", 1},
		{GET("/b"), "w http[2]", 1},
	};
	struct reading r;

	(void)state;
	read_well(&r, text);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].head);
		const struct policy_rule *rule = apply(r.policy, ex);

		assert_non_null(rule);
		assert_string_equal(rule->name, rows[i].rule);
		assert_int_equal(rule->n_mirrors, rows[i].mirrors);
		exchange_free(ex);
	}
	assert_string_equal(r.policy->groups[0].rules[1].place, "m.yaml:8: spec.http[1]");
	assert_true(policy_percent(&r.policy->groups[0].rules[2], -1) == 0.5);
	assert_true(policy_mirrors(r.policy));
	reading_done(&r);
}

/* The rules of the most exact host are asked, wherever they stand. */
static void test_most_exact_host(void **state)
{
	static const char *const hosts[] = {"'*'", "'*.example'", "'*.a.example'", "x.a.example"};
	static const struct {
		const char *host;
		unsigned expected;
	} rows[] = {{"y", 0}, {"y.example", 1}, {"y.a.example", 2}, {"x.a.example", 3}};
	char text[2048] = "";
	struct reading r;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
			       "---\n" API "kind: VirtualService\nmetadata: {name: n%zu}\nspec: "
			       "{hosts: [%s], http: [{mirror: {host: m}}]}\n",
			       i, hosts[i]);
	read_well(&r, text);
	for (size_t i = 0; i < 4; i++) {
		char head[128], name[32];
		struct exchange *ex;

		(void)snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
			       rows[i].host);
		(void)snprintf(name, sizeof(name), "n%u http[0]", rows[i].expected);
		ex = request_of(head);
		assert_string_equal(apply(r.policy, ex)->name, name);
		exchange_free(ex);
	}
	reading_done(&r);
}

static void test_percentage(void **state)
{
	static const struct {
		const char *fields;
		double percent; /* 0: no mirror */
	} rows[] = {
		{"mirror: {host: m}", 100},
		{"mirror: {host: m}, mirrorPercentage: {value: 12.5}", 12.5},
		{"mirror: {host: m}, mirror_percentage: {value: 1e-3}", 0.001},
		{"mirror: {host: m}, mirrorPercentage: {value: '7'}", 7},
		{"mirror: {host: m}, mirrorPercent: 50", 50},
		{"mirror: {host: m}, mirror_percent: 25", 25},
		{"mirror: {host: m}, mirror_percent: 25, mirrorPercent: 50", 50},
		{"mirror: {host: m}, mirrorPercent: 50, mirror_percent: 25", 50},
		{"mirror: {host: m}, mirrorPercent: 50, mirrorPercentage: {value: 3}", 3},
		{"mirror: {host: m}, mirror_percent: 50, mirrorPercentage: {value: 3}", 3},
		{"mirror: {host: m}, mirror_percent: 50, mirrorPercentage: {value: 0}", 0},
		{"mirror: {host: m}, mirrorPercentage: {value: 0}", 0},
		{"mirror: {host: m}, mirrorPercentage: {}", 0},
		{"mirror: {host: m}, mirrorPercentage: null", 100},
		{"mirror: {host: m}, mirrorPercent: 0", 0},
		{"mirrors: [{destination: {host: m}}]", 100},
		{"mirrors: [{destination: {host: m}, percentage: {value: 2}}]", 2},
		{"mirrors: [{destination: {host: m}, percentage: {value: 0}}]", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct policy_rule *rule;
		struct reading r;
		char text[512];

		(void)snprintf(text, sizeof(text), VS("  - {%s}\n"), rows[i].fields);
		read_well(&r, text);
		rule = &r.policy->groups[0].rules[0];
		if (policy_percent(rule, -1) != rows[i].percent)
			fail_msg("%s: %g%%", rows[i].fields, policy_percent(rule, -1));
		assert_int_equal(rule->n_mirrors, rows[i].percent > 0 ? 1 : 0);
		assert_true(policy_mirrors(r.policy) == (rows[i].percent > 0));
		reading_done(&r);
	}
}

/* mirror and mirrors both apply; the same destination is one. */
static void test_mirrors(void **state)
{
	struct reading r;
	const struct policy_rule *rule;

	(void)state;
	read_well(&r,
		  RULE("mirror: {host: m}, mirror_percent: 10, mirrors: [{destination: {host: "
		       "n, port: {number: 8080}}, percentage: {value: 20}}, {destination: {host: "
		       "m}, percentage: {value: 30}}]"));
	rule = &r.policy->groups[0].rules[0];
	assert_int_equal(rule->n_mirrors, 3);
	assert_int_equal(r.policy->n_destinations, 2);
	assert_int_equal(rule->mirrors[0].destination, rule->mirrors[2].destination);
	assert_true(rule->mirrors[1].percent == 20);
	assert_int_equal(r.policy->destinations[rule->mirrors[1].destination].to_port, 8080);
	reading_done(&r);
}

static void test_change(void **state)
{
	static const struct {
		const char *fields, *in, *out;
	} rows[] = {
		/* A prefix is replaced bytewise, as Envoy does it. */
		{"match: [{uri: {prefix: /httpbin}}], rewrite: {uri: /}", GET("/httpbin/headers"),
		 GET("//headers")},
		{"match: [{uri: {prefix: /httpbin/}}], rewrite: {uri: /}", GET("/httpbin/a?b=/c"),
		 GET("/a?b=/c")},
		{"match: [{uri: {prefix: /a}}, {uri: {exact: /b}}, {uri: {regex: /c.*}}], rewrite: "
		 "{uri: /z}",
		 GET("/ab?q"), GET("/zb?q")},
		{"match: [{uri: {prefix: /a}}, {uri: {exact: /b}}, {uri: {regex: /c.*}}], rewrite: "
		 "{uri: /z}",
		 GET("/b?q"), GET("/z?q")},
		{"match: [{uri: {prefix: /a}}, {uri: {exact: /b}}, {uri: {regex: /c.*}}], rewrite: "
		 "{uri: /z}",
		 GET("/cde?q"), GET("/z?q")},
		{"match: [{uri: {prefix: /a}, ignoreUriCase: true}], rewrite: {uri: /z}",
		 GET("/Ab"), GET("/zb")},
		{"match: [{method: {exact: GET}}], rewrite: {uri: /z}", GET("/b"), GET("/zb")},
		{"rewrite: {uri: /z/}", GET("/b"), GET("/z/b")},
		{"rewrite: {uriRegexRewrite: {match: '^/v[0-9]+/(.*)', rewrite: '/\\1/old'}}",
		 GET("/v12/x?y=1"), GET("/x/old?y=1")},
		{"rewrite: {uri_regex_rewrite: {match: '[0-9]', rewrite: N}}", GET("/1/2"),
		 GET("/N/N")},
		{"rewrite: {authority: other.example}", GET("/"),
		 "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n"},
		{"headers: {request: {set: {host: b}}}", GET("/"),
		 "GET / HTTP/1.1\r\nHost: b\r\n\r\n"},
		{"headers: {request: {add: {':authority': b}}}", GET("/"),
		 "GET / HTTP/1.1\r\nHost: b\r\n\r\n"},
		{"headers: {request: {add: {host: b}, set: {Host: c}}}", GET("/"),
		 "GET / HTTP/1.1\r\nHost: c\r\n\r\n"},
		{"headers: {request: {set: {host: b}}}, rewrite: {authority: a}", GET("/"),
		 "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		/* Envoy takes away first, then sets, then adds; Istio hands it sorted names. */
		{"headers: {request: {add: {x-n: '3', x-m: '4'}, set: {x-n: '2'}, remove: [X-N]}}",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: h\r\nx-n: 2\r\nx-m: 4\r\nx-n: 3\r\n\r\n"},
		{"headers: {request: {set: {x-n: '2'}}}",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\nA: b\r\nx-n: 3\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 2\r\nA: b\r\n\r\n"},
		{"headers: {request: {add: {x-n: '2'}}, response: {set: {x-n: '3'}}}",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\nx-n: 2\r\n\r\n"},
		{"headers: {request: {remove: [x-n, x-m]}}",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 1\r\nX-M: 2\r\nX-O: 3\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-O: 3\r\n\r\n"},
		/* The headers of the only destination are changed before the copy is made. */
		{"route: [{destination: {host: h}, headers: {request: {set: {x-n: '1', host: "
		 "b}}}}]",
		 GET("/"), "GET / HTTP/1.1\r\nHost: b\r\nx-n: 1\r\n\r\n"},
		{"route: [{destination: {host: h}, headers: {request: {set: {x-n: '1', host: "
		 "b}}}}], "
		 "headers: {request: {set: {x-n: '0', host: a}}}",
		 GET("/"), "GET / HTTP/1.1\r\nHost: a\r\nx-n: 1\r\n\r\n"},
		{"route: [{destination: {host: a}, headers: {request: {set: {x-n: '1'}}}}, "
		 "{destination: {host: b}}]",
		 GET("/"), GET("/")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].in);
		struct reading r;
		char text[1024];

		(void)snprintf(text, sizeof(text), VS("  - {%s, mirror: {host: m}}\n"),
			       rows[i].fields);
		read_well(&r, text);
		if (!apply(r.policy, ex))
			fail_msg("row %zu: %s: not taken", i, rows[i].fields);
		assert_head(ex, rows[i].out, rows[i].fields);
		exchange_free(ex);
		reading_done(&r);
	}
}

/* Any number of header operations. */
static void test_many_changes(void **state)
{
	struct exchange *ex = request_of(GET("/"));
	struct reading r;
	char text[4096] = VS("  - {mirror: {host: m}, headers: {request: {set: {");

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "x-%03u: v, ", i);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "x-last: v}}}}\n");
	read_well(&r, text);
	assert_non_null(apply(r.policy, ex));
	assert_int_equal(ex->request->n_fields, 102);
	exchange_free(ex);
	reading_done(&r);
}

/* "to_port [address:port]... [tls [insecure] [sni] [files]]" */
static void describe(const struct policy *p, char *to, size_t size)
{
	const struct destination *d = &p->destinations[0];
	size_t at;

	assert_int_equal(p->n_destinations, 1);
	(void)snprintf(to, size, "%u", d->to_port);
	for (unsigned i = 0; i < d->n_endpoints; i++) {
		at = strlen(to);
		(void)snprintf(to + at, size - at, " %s:%u", d->endpoints[i].address,
			       d->endpoints[i].port);
	}
	at = strlen(to);
	if (d->tls)
		(void)snprintf(to + at, size - at, " tls%s%s%s%s%s%s%s%s%s",
			       d->insecure ? " insecure" : "", d->sni ? " " : "",
			       d->sni ? d->sni : "", d->ca_file ? " " : "",
			       d->ca_file ? d->ca_file : "", d->cert_file ? " " : "",
			       d->cert_file ? d->cert_file : "", d->key_file ? " " : "",
			       d->key_file ? d->key_file : "");
}

#define TO(mirror) RULE("mirror: {" mirror "}")
#define SUBSETS                                                                                    \
	DR("  {host: m, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: "          \
	   "{version: v2, tier: x}, trafficPolicy: {tls: {mode: SIMPLE, sni: two}}}, "             \
	   "{name: all}]}\n")
#define ENDPOINTS                                                                                  \
	"endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, "             \
	"labels: {version: v2, tier: x, more: y}, ports: {http: 8000}}]"
#define STATIC                                                                                     \
	SE("  {hosts: [m.default.svc.cluster.local], ports: [{number: 81, name: http, "            \
	   "protocol: HTTP, targetPort: 8081}], resolution: STATIC, " ENDPOINTS "}\n")
#define PORTS                                                                                      \
	"ports: [{number: 443, name: s, protocol: HTTPS}, {number: 81, name: http, "               \
	"protocol: HTTP}, {number: 82, name: grpc, protocol: GRPC, targetPort: 9}]"

static void test_destinations(void **state)
{
	static const struct {
		const char *text, *resolve, *second, *expected;
	} rows[] = {
		{TO("host: m"), NULL, NULL, "80"},
		{TO("host: m, port: {number: 8080}"), NULL, NULL, "8080"},
		{TO("host: m, subset: all") SUBSETS, NULL, NULL, "80"},
		{TO("host: m, subset: v1") SUBSETS STATIC, NULL, NULL, "8081 10.0.0.1:8081"},
		{TO("host: m, subset: v2") SUBSETS STATIC, NULL, NULL,
		 "8081 10.0.0.2:8000 tls two"},
		{TO("host: m, subset: all") SUBSETS STATIC, NULL, NULL,
		 "8081 10.0.0.1:8081 10.0.0.2:8000"},
		{TO("host: M.default.svc.cluster.local.") STATIC, NULL, NULL,
		 "8081 10.0.0.1:8081 10.0.0.2:8000"},
		{TO("host: m.default.svc") STATIC, NULL, NULL, "8081 10.0.0.1:8081 10.0.0.2:8000"},
		/* The first port that speaks HTTP, or the one that is named. */
		{TO("host: e.example") SE("  {hosts: [e.example], " PORTS ", resolution: DNS}\n"),
		 NULL, NULL, "81"},
		{TO("host: e.example, port: {number: 82}")
			 SE("  {hosts: [e.example], " PORTS ", resolution: DNS}\n"),
		 NULL, NULL, "9"},
		{TO("host: x.e.example") SE("  {hosts: ['*.e.example'], " PORTS "}\n"), NULL, NULL,
		 "81"},
		{TO("host: e.example") SE("  {hosts: [e.example], resolution: DNS, " PORTS
					  ", endpoints: [{address: a.example, ports: {http: 7}}, "
					  "{address: b.example}]}\n"),
		 NULL, NULL, "81 a.example:7 b.example:81"},
		/* TLS: of the subset, of the port, of the host. */
		{TO("host: e.example")
			 DR("  {host: e.example, trafficPolicy: {tls: {mode: SIMPLE}}}\n"),
		 NULL, NULL, "443 tls"},
		{TO("host: e.example, port: {number: 80}")
			 DR("  {host: e.example, trafficPolicy: {tls: {mode: SIMPLE}}}\n"),
		 NULL, NULL, "80 tls"},
		{TO("host: e.example")
			 DR("  {host: '*.example', trafficPolicy: {tls: {mode: SIMPLE, "
			    "insecureSkipVerify: true, caCertificates: /ca}}}\n"),
		 NULL, NULL, "443 tls insecure /ca"},
		{TO("host: e.example")
			 DR("  {host: '*.example', trafficPolicy: {tls: {mode: SIMPLE}}}\n")
				 DR("  {host: e.example}\n"),
		 NULL, NULL, "80"},
		{TO("host: e.example") DR("  {host: e.example, trafficPolicy: {tls: {mode: MUTUAL, "
					  "sni: s, caCertificates: /ca, clientCertificate: /c, "
					  "privateKey: /k}}}\n"),
		 NULL, NULL, "443 tls s /ca /c /k"},
		{TO("host: e.example, port: {number: 82}")
			 DR("  {host: e.example, trafficPolicy: {tls: {mode: SIMPLE}, "
			    "portLevelSettings: [{port: "
			    "{number: 82}, tls: {mode: DISABLE}}]}}\n"),
		 NULL, NULL, "82"},
		{TO("host: e.example, port: {number: 82}")
			 DR("  {host: e.example, trafficPolicy: {tls: {mode: SIMPLE}, "
			    "portLevelSettings: [{port: "
			    "{number: 82}}]}}\n"),
		 NULL, NULL, "82"},
		{TO("host: e.example, port: {number: 82}")
			 DR("  {host: e.example, trafficPolicy: {portLevelSettings: [{port: "
			    "{number: 82}, tls: "
			    "{mode: SIMPLE}}]}}\n"),
		 NULL, NULL, "82 tls"},
		{TO("host: e.example") DR("  {host: e.example, trafficPolicy: {tls: {mode: "
					  "ISTIO_MUTUAL}}}\n"),
		 NULL, NULL, "80"},
		/* --resolve counts before all of it. */
		{TO("host: m, subset: v2"), "m/v2=127.0.0.1:1", NULL, "80 127.0.0.1:1"},
		{TO("host: m, subset: v2"), "m=127.0.0.1:1", NULL, "80 127.0.0.1:1"},
		{TO("host: m, subset: v2"), "m=127.0.0.1:1", "m/v2=127.0.0.2:2", "80 127.0.0.2:2"},
		{TO("host: m, subset: v2") SUBSETS STATIC, "m.default/v2=[::1]", NULL,
		 "8081 ::1:8081 tls two"},
		{TO("host: m"), "m=other.example:8", "m=127.0.0.1:9",
		 "80 other.example:8 127.0.0.1:9"},
		{TO("host: m.default.svc.cluster.local"), "m=127.0.0.1", NULL, "80 127.0.0.1:80"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reading r;
		char text[512];

		read_text(&r, rows[i].text, rows[i].resolve, rows[i].second);
		if (r.rc)
			fail_msg("row %zu: %s", i, r.err.text);
		describe(r.policy, text, sizeof(text));
		if (strcmp(text, rows[i].expected) != 0)
			fail_msg("row %zu: %s: %s", i, rows[i].text, text);
		reading_done(&r);
	}
}

/* The same short name means another host in another namespace. */
static void test_namespaces(void **state)
{
	static const char text[] =
		API "kind: VirtualService\nmetadata: {namespace: one}\nspec: {hosts: [a], http: "
		    "[{mirror: {host: m}}]}\n---\n" API
		    "kind: VirtualService\nmetadata: {namespace: two}\nspec: {hosts: [b], http: "
		    "[{mirror: {host: m}}]}\n";
	struct reading r;

	(void)state;
	read_well(&r, text);
	assert_int_equal(r.policy->n_destinations, 2);
	assert_string_equal(r.policy->destinations[0].host, "m");
	assert_string_equal(r.policy->destinations[0].endpoints[0].address, "m.one");
	assert_string_equal(r.policy->destinations[1].endpoints[0].address, "m.two");
	reading_done(&r);
}

static void test_route_match(void **state)
{
	static const struct {
		const char *match, *head;
		bool takes;
	} rows[] = {
		{"path: {type: Exact, value: /a}", GET("/a?b"), true},
		{"path: {type: Exact, value: /a}", GET("/a/"), false},
		{"path: {type: PathPrefix, value: /a}", GET("/a/b"), true},
		{"path: {type: PathPrefix, value: /a}", GET("/ab"), false},
		{"path: {type: PathPrefix, value: /a/}", GET("/a"), true},
		{"path: {value: /a}", GET("/a"), true},
		{"path: {type: PathPrefix, value: /}", GET("/a"), true},
		{"path: {type: RegularExpression, value: '/u/[0-9]+'}", GET("/u/1"), true},
		{"path: {type: RegularExpression, value: '/u/[0-9]+'}", GET("/u/1/"), false},
		{"method: GET", GET("/"), true},
		{"method: POST", GET("/"), false},
		{"headers: [{name: X-A, value: b}]", "GET / HTTP/1.1\r\nHost: h\r\nx-a: b\r\n\r\n",
		 true},
		{"headers: [{name: x-a, value: b}]", "GET / HTTP/1.1\r\nHost: h\r\nx-a: B\r\n\r\n",
		 false},
		{"headers: [{type: RegularExpression, name: x-a, value: 'b+'}]",
		 "GET / HTTP/1.1\r\nHost: h\r\nx-a: bb\r\n\r\n", true},
		{"queryParams: [{name: q, value: '1'}]", GET("/?q=1"), true},
		{"queryParams: [{name: q, value: '1'}]", GET("/?q=2"), false},
		{"queryParams: [{type: RegularExpression, name: q, value: '.*'}]", GET("/?q=2"),
		 true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].head);
		struct reading r;
		char text[1024];

		(void)snprintf(text, sizeof(text),
			       ROUTE("  - {matches: [{%s}], " ROUTE_MIRROR("") "}\n"),
			       rows[i].match);
		read_well(&r, text);
		if (!!apply(r.policy, ex) != rows[i].takes)
			fail_msg("row %zu: {%s} on %s", i, rows[i].match, rows[i].head);
		exchange_free(ex);
		reading_done(&r);
	}
}

/* The most exact match counts, not the first. */
static void test_route_precedence(void **state)
{
	static const char text[] = ROUTE("  - {name: default, " ROUTE_MIRROR(
		"") "}\n"
		    "  - {name: regex, matches: [{path: {type: RegularExpression, value: /a.*}}]}\n"
		    "  - {name: prefix, matches: [{path: {value: /a}}]}\n"
		    "  - {name: query, matches: [{path: {value: /a}, queryParams: [{name: q, "
		    "value: 1}]}]}\n"
		    "  - {name: header, matches: [{path: {value: /a}, headers: [{name: x, value: "
		    "1}]}]}\n"
		    "  - {name: method, matches: [{path: {value: /a}, method: PUT}]}\n"
		    "  - {name: longer, matches: [{path: {value: /a/b}}, {path: {value: /z}}]}\n"
		    "  - {name: exact, matches: [{path: {type: Exact, value: /a}}]}\n"
		    "  - {name: late, matches: [{path: {value: /a}}]}\n");
	static const struct {
		const char *head, *rule;
	} rows[] = {
		{GET("/a"), "r exact"},
		{GET("/a/c"), "r prefix"},
		{GET("/a/b/c"), "r longer"},
		{GET("/z"), "r longer"},
		{GET("/a/c?q=1"), "r query"},
		{"GET /a/c?q=1 HTTP/1.1\r\nHost: h\r\nx: 1\r\n\r\n", "r header"},
		{"PUT /a/c?q=1 HTTP/1.1\r\nHost: h\r\nx: 1\r\n\r\n", "r method"},
		{GET("/ax"), "r default"}, /* to Istio every prefix is more than a regex, / too */
		{GET("/b"), "r default"},
	};
	struct reading r;

	(void)state;
	read_well(&r, text);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].head);
		const struct policy_rule *rule = apply(r.policy, ex);

		assert_non_null(rule);
		assert_string_equal(rule->name, rows[i].rule);
		exchange_free(ex);
	}
	reading_done(&r);
}

static void test_route_filters(void **state)
{
#define MATCH(path)                                                                                \
	"matches: [{path: {value: " path "}}], filters: [{type: RequestMirror, "                   \
	"requestMirror: {backendRef: {name: m}}}, "
	static const struct {
		const char *fields, *in, *out;
	} rows[] = {
		{MATCH("/a") "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, "
			     "replacePrefixMatch: /}}}]",
		 GET("/a/b?c"), GET("/b?c")},
		{MATCH("/a") "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, "
			     "replacePrefixMatch: /x}}}]",
		 GET("/a"), GET("/x")},
		{MATCH("/a/") "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, "
			      "replacePrefixMatch: /x/}}}]",
		 GET("/a/b"), GET("/x/b")},
		{MATCH("/a") "{type: URLRewrite, urlRewrite: {hostname: b.example, path: {type: "
			     "ReplaceFullPath, replaceFullPath: /x}}}]",
		 GET("/a/b?c"), "GET /x?c HTTP/1.1\r\nHost: b.example\r\n\r\n"},
		{MATCH("/") "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: "
			    "X-N, "
			    "value: '2'}], add: [{name: X-M, value: a}, {name: X-M, value: b}], "
			    "remove: [x-o]}}]",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-O: 1\r\nX-N: 1\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: h\r\nX-N: 2\r\nX-M: a\r\nX-M: b\r\n\r\n"},
	};
#undef MATCH

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exchange *ex = request_of(rows[i].in);
		struct reading r;
		char text[1024];

		(void)snprintf(text, sizeof(text), ROUTE("  - {%s}\n"), rows[i].fields);
		read_well(&r, text);
		assert_non_null(apply(r.policy, ex));
		assert_head(ex, rows[i].out, rows[i].fields);
		assert_string_equal(r.warnings, "");
		exchange_free(ex);
		reading_done(&r);
	}
}

static void test_route_mirrors(void **state)
{
	static const struct {
		const char *mirror;
		double percent;
	} rows[] = {
		{"", 100},
		{", percent: 42", 42},
		{", percent: 0", 0},
		{", fraction: {numerator: 1, denominator: 8}", 12.5},
		{", fraction: {numerator: 5}", 5},
	};
	struct reading r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512];

		(void)snprintf(text, sizeof(text), ROUTE("  - {" ROUTE_MIRROR("%s") "}\n"),
			       rows[i].mirror);
		read_well(&r, text);
		if (policy_percent(&r.policy->groups[0].rules[0], -1) != rows[i].percent)
			fail_msg("row %zu: {%s}", i, rows[i].mirror);
		reading_done(&r);
	}
	read_well(&r, ROUTE("  - matches: [{path: {value: /a}}, {path: {value: /b}}]\n"
			    "    filters:\n"
			    "    - {type: RequestMirror, requestMirror: {backendRef: {name: m, "
			    "port: 8080}}}\n"
			    "    - {type: RequestMirror, requestMirror: {backendRef: {name: m, "
			    "namespace: n, port: 80}, percent: 7}}\n"));
	assert_int_equal(r.policy->groups[0].n_rules, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct policy_rule *rule = &r.policy->groups[0].rules[i];

		assert_int_equal(rule->n_mirrors, 2);
		assert_true(rule->mirrors[1].percent == 7);
	}
	assert_int_equal(r.policy->destinations[0].to_port, 8080);
	assert_string_equal(r.policy->destinations[1].host, "m.n.svc.cluster.local");
	reading_done(&r);
}

static void test_route_hosts(void **state)
{
	static const struct {
		const char *spec, *host;
		bool takes;
	} rows[] = {
		{"hostnames: [a.example]", "a.example", true},
		{"hostnames: [a.example]", "b.example", false},
		{"hostnames: ['*.example']", "b.a.example", true},
		{"hostnames: [web]", "web.default", false},
		{"parentRefs: [{name: gateway}]", "any", true},
		{"parentRefs: [{kind: Service, name: web, namespace: shop}]", "web.shop.svc", true},
		{"parentRefs: [{kind: Service, name: web, namespace: shop}]", "other", false},
		{"parentRefs: [{kind: Service, name: web}, {name: gateway}]", "other", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512], head[128];
		struct exchange *ex;
		struct reading r;

		(void)snprintf(text, sizeof(text), ROUTE("  - {" ROUTE_MIRROR("") "}\n") "  %s\n",
			       rows[i].spec);
		(void)snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
			       rows[i].host);
		read_well(&r, text);
		ex = request_of(head);
		if (!!apply(r.policy, ex) != rows[i].takes)
			fail_msg("row %zu: %s on %s", i, rows[i].spec, rows[i].host);
		exchange_free(ex);
		reading_done(&r);
	}
}

/* JSON, a List, anchors and merges, several files: one and the same. */
static void test_forms(void **state)
{
	static const char *const forms[] = {
		"{\n\t\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": "
		"\"networking.istio.io/"
		"v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"w\"},"
		"\n\t\"spec\":{\"hosts\":[\"h\"],\"http\":[{\"mirror\":{\"host\":\"m\"},"
		"\"mirrorPercentage\":{\"value\":5}}]}}, {\"apiVersion\": \"v1\", \"kind\": "
		"\"Service\"}]}",
		"# comment\n---\n---\n" RULE(
			"mirror: &m {host: m}, mirrorPercentage: {value: 5}") "...\n---\n~\n",
		"\xef\xbb\xbf" VS(
			"  - mirror: {host: m}\r\n    mirrorPercentage:\r\n      value: 5\r\n"),
		VS("  - <<: {mirrorPercentage: {value: 5}, mirror: {host: other}}\n"
		   "    mirror: {host: m}\n"),
		"apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nspec:\n  hosts: "
		"[h]\n"
		"  http:\n  - match:\n    - &x\n      uri: {prefix: /}\n    - *x\n"
		"    mirror: {host: m}\n    mirrorPercentage: {value: 5}\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct exchange *ex = request_of(GET("/"));
		struct reading r;

		read_well(&r, forms[i]);
		assert_non_null(apply(r.policy, ex));
		assert_true(policy_percent(&r.policy->groups[0].rules[0], -1) == 5);
		assert_string_equal(r.policy->destinations[0].host, "m");
		exchange_free(ex);
		reading_done(&r);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handbook),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_most_exact_host),
		cmocka_unit_test(test_percentage),
		cmocka_unit_test(test_mirrors),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_many_changes),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_route_match),
		cmocka_unit_test(test_route_precedence),
		cmocka_unit_test(test_route_filters),
		cmocka_unit_test(test_route_mirrors),
		cmocka_unit_test(test_route_hosts),
		cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
