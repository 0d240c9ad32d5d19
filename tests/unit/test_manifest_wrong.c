/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong or odd in a manifest, each said in one line with its place; what no file may do to
 * us; and memory that runs out anywhere. */
#include "manifest_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/limits.h"

/* The nth allocation from now on fails; 0: none does. */
static unsigned fail_in;

static bool fails(void)
{
	return fail_in && --fail_in == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static void assert_wrong(const char *text, const char *resolve, const char *expected)
{
	struct reading r;

	read_text(&r, text, resolve, NULL);
	if (r.rc != SC_EINVAL || strcmp(r.err.text, expected) != 0)
		fail_msg("%d '%s', not '%s', of\n%s", r.rc, r.err.text, expected, text);
	reading_done(&r);
}

struct wrong {
	const char *text, *error;
};

static void assert_all_wrong(const struct wrong *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_wrong(rows[i].text, NULL, rows[i].error);
}

#define ALL_WRONG(rows) assert_all_wrong(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_virtual_service(void **state)
{
	static const struct wrong rows[] = {
		{RULE("mirror: {host: m}, mirrorPercentage: {value: 140}"),
		 "m.yaml:7: spec.http[0].mirrorPercentage.value: 140 is not within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercentage: {value: -1}"),
		 "m.yaml:7: spec.http[0].mirrorPercentage.value: -1 is not within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercentage: {value: half}"),
		 "m.yaml:7: spec.http[0].mirrorPercentage.value: 'half' is no number; expected one "
		 "within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercentage: {value: nan}"),
		 "m.yaml:7: spec.http[0].mirrorPercentage.value: 'nan' is no number; expected one "
		 "within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercentage: 50"),
		 "m.yaml:7: spec.http[0].mirrorPercentage: expected a mapping with value, not a "
		 "plain value"},
		{RULE("mirror: {host: m}, mirror_percent: 101"),
		 "m.yaml:7: spec.http[0].mirror_percent: 101 is not within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercent: 1.5"),
		 "m.yaml:7: spec.http[0].mirrorPercent: 1.5 is no whole number within 0..100"},
		{RULE("mirror: {host: m}, mirrorPercent: [1]"),
		 "m.yaml:7: spec.http[0].mirrorPercent: expected a number within 0..100, not a "
		 "list"},
		{RULE("mirror: m"), "m.yaml:7: spec.http[0].mirror: expected a mapping with host, "
				    "subset or port, not a plain value"},
		{RULE("mirror: {subset: v1}"),
		 "m.yaml:7: spec.http[0].mirror.host: is missing; expected the name of a host"},
		{RULE("mirror: {host: '*.example'}"),
		 "m.yaml:7: spec.http[0].mirror.host: '*.example' is no host name"},
		{RULE("mirror: {host: m, port: {number: 0}}"),
		 "m.yaml:7: spec.http[0].mirror.port.number: 0 is not within 1..65535"},
		{RULE("mirrors: [{percentage: {value: 1}}]"),
		 "m.yaml:7: spec.http[0].mirrors[0].destination: is missing; expected a host"},
		{RULE("mirrors: {}"),
		 "m.yaml:7: spec.http[0].mirrors: expected a list, not a mapping"},
		{MIRROR("match: [{}]"), "m.yaml:7: spec.http[0].match[0]: is empty; expected a "
					"condition, or no match at all to take everything"},
		{MIRROR("match: [{uri: null}]"),
		 "m.yaml:7: spec.http[0].match[0]: is empty; expected "
		 "a condition, or no match at all to take everything"},
		{MIRROR("match: [{uri: /a}]"),
		 "m.yaml:7: spec.http[0].match[0].uri: expected a mapping "
		 "with exact, prefix or regex, not a plain value"},
		{MIRROR("match: [{uri: {exact: /a, prefix: /b}}]"),
		 "m.yaml:7: spec.http[0].match[0].uri: has both exact and prefix; expected one of "
		 "them"},
		{MIRROR("match: [{uri: {prefix: [a]}}]"),
		 "m.yaml:7: spec.http[0].match[0].uri.prefix: expected a text, not a list"},
		{MIRROR("match: [{uri: {regex: '/a('}}]"),
		 "m.yaml:7: spec.http[0].match[0].uri.regex: regex '/a(': missing closing "
		 "parenthesis "
		 "at character 4"},
		{MIRROR("match: [{headers: {x-a: {regex: '['}}}]"),
		 "m.yaml:7: spec.http[0].match[0].headers.x-a.regex: regex '[': missing "
		 "terminating ] "
		 "for character class at character 2"},
		{MIRROR("match: [{headers: [x-a]}]"),
		 "m.yaml:7: spec.http[0].match[0].headers: expected a mapping, not a list"},
		{MIRROR("match: [{uri: {exact: /a}, ignoreUriCase: maybe}]"),
		 "m.yaml:7: spec.http[0].match[0].ignoreUriCase: 'maybe' is neither true nor "
		 "false"},
		{MIRROR("match: [{port: 65536}]"),
		 "m.yaml:7: spec.http[0].match[0].port: 65536 is not within 0..65535"},
		{MIRROR("match: {uri: {exact: /a}}"),
		 "m.yaml:7: spec.http[0].match: expected a list, not a mapping"},
		{MIRROR("rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}"),
		 "m.yaml:7: spec.http[0].rewrite: has both uri and uriRegexRewrite; expected one "
		 "of "
		 "them"},
		{MIRROR("rewrite: {uriRegexRewrite: {rewrite: b}}"),
		 "m.yaml:7: spec.http[0].rewrite.uriRegexRewrite.match: is missing; expected a "
		 "regex"},
		{MIRROR("rewrite: {uri: /a b}"),
		 "m.yaml:7: spec.http[0].rewrite.uri: rewrite to '/a b': "
		 "a path holds no white space"},
		{MIRROR("rewrite: {authority: 'a/b'}"),
		 "m.yaml:7: spec.http[0].rewrite.authority: 'a/b' cannot be a Host"},
		{MIRROR("headers: {request: {set: {a b: c}}}"),
		 "m.yaml:7: spec.http[0].headers.request.set.a b: 'a b' is no field name"},
		{MIRROR("headers: {request: {remove: x-a}}"),
		 "m.yaml:7: spec.http[0].headers.request.remove: expected a list, not a plain "
		 "value"},
		{VS("  - mirror:\n      host: m\n    match:\n    - uri:\n        prefix: /a\n"
		    "      port: x\n"),
		 "m.yaml:12: spec.http[0].match[0].port: 'x' is no number; expected one within "
		 "0..65535"},
		{VS("    mirror: {}\n"), "m.yaml:7: spec.http: expected a list, not a mapping"},
		{API "kind: VirtualService\nspec: {hosts: h}\n",
		 "m.yaml:3: spec.hosts: expected a list, not a plain value"},
		{API "kind: VirtualService\nspec: {hosts: ['a b']}\n",
		 "m.yaml:3: spec.hosts[0]: 'a b' is no host name, * or *.suffix"},
		{API "kind: VirtualService\nspec: {hosts: ['*a']}\n",
		 "m.yaml:3: spec.hosts[0]: '*a' is no host name, * or *.suffix"},
		{API "kind: VirtualService\nspec: {hosts: ['a..b']}\n",
		 "m.yaml:3: spec.hosts[0]: 'a..b' is no host name, * or *.suffix"},
		{API "kind: VirtualService\nspec: {hosts: ['h:80']}\n",
		 "m.yaml:3: spec.hosts[0]: 'h:80' is no host name, * or *.suffix"},
		{API "kind: VirtualService\nmetadata: {}\n",
		 "m.yaml:1: spec: is missing; expected the VirtualService's own fields"},
	};

	(void)state;
	ALL_WRONG(rows);
}

#define ENTRY(fields) SE("  {hosts: [m], " fields "}\n")
#define STATIC_ENTRY(endpoints)                                                                    \
	ENTRY("ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, "            \
	      "endpoints: [" endpoints "]")
#define SUBSET_RULE DR("  {host: m, subsets: [{name: v1, labels: {version: v1}}]}\n")

static void test_mesh(void **state)
{
	static const struct wrong rows[] = {
		{DR("  {subsets: []}\n"),
		 "m.yaml:5: spec.host: is missing; expected the name of a host"},
		{DR("  {host: m, subsets: [{labels: {a: b}}]}\n"),
		 "m.yaml:5: spec.subsets[0].name: is missing; expected the subset's name"},
		{DR("  {host: m, subsets: [{name: a, labels: {a: [b]}}]}\n"),
		 "m.yaml:5: spec.subsets[0].labels.a: expected a text, not a list"},
		{DR("  {host: m, trafficPolicy: {tls: {mode: TLS}}}\n"),
		 "m.yaml:5: spec.trafficPolicy.tls.mode: 'TLS' is none of DISABLE, SIMPLE, MUTUAL "
		 "and "
		 "ISTIO_MUTUAL"},
		{DR("  {host: m, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c}}}\n"),
		 "m.yaml:5: spec.trafficPolicy.tls: mode MUTUAL needs clientCertificate and "
		 "privateKey"},
		{DR("  {host: m, trafficPolicy: {portLevelSettings: [{port: {number: a}}]}}\n"),
		 "m.yaml:5: spec.trafficPolicy.portLevelSettings[0].port.number: 'a' is no number; "
		 "expected one within 1..65535"},
		{SE("  {ports: []}\n"),
		 "m.yaml:5: spec.hosts: is missing; expected a list of host names"},
		{ENTRY("ports: [{name: a}]"),
		 "m.yaml:5: spec.ports[0].number: is missing; expected 1..65535"},
		{ENTRY("resolution: MAGIC"),
		 "m.yaml:5: spec.resolution: 'MAGIC' is none of STATIC, DNS and NONE"},
		{ENTRY("resolution: STATIC"),
		 "m.yaml:5: spec.endpoints: is missing; expected addresses "
		 "for resolution STATIC"},
		{ENTRY("resolution: NONE, endpoints: [{address: 10.0.0.1}]"),
		 "m.yaml:5: spec.endpoints: are not taken by resolution NONE; expected STATIC or "
		 "DNS"},
		{STATIC_ENTRY("{address: a.example}"),
		 "m.yaml:5: spec.endpoints[0].address: 'a.example' is no IP address, which "
		 "resolution "
		 "STATIC takes"},
		{STATIC_ENTRY("{labels: {a: b}}"),
		 "m.yaml:5: spec.endpoints[0].address: is missing; expected an address"},
		{STATIC_ENTRY("{address: 'unix:///s'}"),
		 "m.yaml:5: spec.endpoints[0].address: 'unix:///s': expected an IP address or a "
		 "name, "
		 "not a socket of the mesh's host"},
		{STATIC_ENTRY("{address: 10.0.0.1, ports: {http: 0}}"),
		 "m.yaml:5: spec.endpoints[0].ports.http: 0 is not within 1..65535"},
		{RULE("mirror: {host: m, port: {number: 81}}") STATIC_ENTRY("{address: 10.0.0.1}"),
		 "m.yaml:7: spec.http[0].mirror: the ServiceEntry of 'm' has no port 81; its first "
		 "is "
		 "80"},
		{RULE("mirror: {host: m, subset: v1}") SUBSET_RULE STATIC_ENTRY(
			 "{address: 10.0.0.1, labels: {version: v2}}, {address: 10.0.0.2}"),
		 "m.yaml:7: spec.http[0].mirror: no endpoint of the ServiceEntry of 'm' carries "
		 "the "
		 "labels of subset 'v1'"},
	};

	(void)state;
	ALL_WRONG(rows);
}

static void test_route(void **state)
{
	static const struct wrong rows[] = {
		{ROUTE("  - {" ROUTE_MIRROR(", percent: 101") "}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror.percent: 101 is not within "
		 "0..100"},
		{ROUTE("  - {" ROUTE_MIRROR(", percent: 1, fraction: {numerator: 1}") "}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror: has both percent and fraction; "
		 "expected one of them"},
		{ROUTE("  - {" ROUTE_MIRROR(", fraction: {numerator: 9, denominator: 8}") "}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror.fraction.numerator: 9 is not "
		 "within "
		 "0..8"},
		{ROUTE("  - {" ROUTE_MIRROR(", fraction: {numerator: 0, denominator: 0}") "}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror.fraction.denominator: 0 is not "
		 "within "
		 "1..2147483647"},
		{ROUTE("  - {filters: [{type: RequestMirror}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror: is missing; expected it with "
		 "type "
		 "RequestMirror"},
		{ROUTE("  - {filters: [{requestMirror: {}}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].type: is missing; expected the filter's type: "
		 "RequestMirror, ..."},
		{ROUTE("  - {filters: [{type: RequestMirror, requestMirror: {percent: 1}}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror.backendRef: is missing; "
		 "expected a "
		 "service"},
		{ROUTE("  - {filters: [{type: RequestMirror, requestMirror: {backendRef: {kind: "
		       "Bucket, "
		       "name: b}}}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].requestMirror.backendRef.kind: 'Bucket' is "
		 "none of "
		 "Service and Hostname"},
		{ROUTE("  - {matches: [{path: {type: Prefix, value: /}}]}\n"),
		 "m.yaml:6: spec.rules[0].matches[0].path.type: 'Prefix' is none of Exact, "
		 "PathPrefix and "
		 "RegularExpression"},
		{ROUTE("  - {matches: [{path: {value: a}}]}\n"),
		 "m.yaml:6: spec.rules[0].matches[0].path.value: 'a' is no path; expected one that "
		 "begins "
		 "with /"},
		{ROUTE("  - {matches: [{headers: [{name: a, type: PathPrefix}]}]}\n"),
		 "m.yaml:6: spec.rules[0].matches[0].headers[0].type: 'PathPrefix' is none of "
		 "Exact and "
		 "RegularExpression"},
		{ROUTE("  - {matches: [{headers: [{value: a}]}]}\n"),
		 "m.yaml:6: spec.rules[0].matches[0].headers[0].name: is missing; expected a name"},
		{ROUTE("  - {matches: [{path: {type: Exact, value: /a}}], filters: [{type: "
		       "URLRewrite, "
		       "urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: "
		       "/}}}]}\n"),
		 "m.yaml:6: spec.rules[0]: ReplacePrefixMatch replaces what a PathPrefix matched; "
		 "a match "
		 "has none"},
		{ROUTE("  - {filters: [{type: URLRewrite, urlRewrite: {path: {type: "
		       "Replace}}}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[0].urlRewrite.path.type: 'Replace' is none of "
		 "ReplaceFullPath and ReplacePrefixMatch"},
	};

	(void)state;
	ALL_WRONG(rows);
}

static void test_yaml(void **state)
{
	static const struct wrong rows[] = {
		{"a: [1,\n", "m.yaml:2: did not find expected node content"},
		{"a:\n\tb: 1\n", "m.yaml:2: tab character may not be used as indentation"},
		{"a: 1\n b: 2\n", "m.yaml:1: invalid multiline plain key"},
		{"a: 1\nb: 2\na: 3\n", "m.yaml:3: 'a' is given twice, first in line 1"},
		{"a:\n  b:\n  - c: 1\n    c: 2\n",
		 "m.yaml:4: a.b[0]: 'c' is given twice, first in line 3"},
		{"? [a]\n: b\n", "m.yaml:1: a name is expected in front of the colon"},
		{"? {a: b}\n: b\n", "m.yaml:1: a name is expected in front of the colon"},
		{"a: *b\n", "m.yaml:1: a: *b: there is no such anchor before it"},
		{"a: &b\n  c: *b\n", "m.yaml:2: a.c: *b stands inside what it stands for"},
		{"a: &b 1\n---\nc: *b\n", "m.yaml:3: c: *b: there is no such anchor before it"},
		{"<<: 1\n", "m.yaml:1: << takes a mapping or a list of them"},
		{"<<: [1]\n", "m.yaml:1: << takes a mapping or a list of them"},
		{"a: \"x\\0y\"\n", "m.yaml:1: a: a text holds a zero byte"},
		{"a: 1\nb: \xff\n", "m.yaml:2: is not UTF-8"},
		{"\xff\xfe"
		 "a",
		 "m.yaml:1: is not UTF-8"},
		{"a: 1\nb: \x01\n", "m.yaml:2: control character 0x01"},
		{"text\n", "m.yaml:1: expected a mapping with apiVersion, kind and spec"},
		{"\n- a\n", "m.yaml:2: expected a mapping with apiVersion, kind and spec"},
		{"a: b\n", "m.yaml:1: kind is missing; expected VirtualService, DestinationRule, "
			   "ServiceEntry or HTTPRoute"},
		{"kind: [a]\n", "m.yaml:1: kind: expected a text, not a list"},
		{"kind: List\nitems: {}\n", "m.yaml:2: items: expected a list, not a mapping"},
		{"kind: List\nitems:\n- kind: VirtualService\n  apiVersion: "
		 "networking.istio.io/v1\n",
		 "m.yaml:3: items[0].spec: is missing; expected the VirtualService's own fields"},
	};

	(void)state;
	ALL_WRONG(rows);
}

/* A text of `n` times `part` between two others, to be freed. */
static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
	char *text = __real_malloc(strlen(head) + n * strlen(part) + strlen(tail) + 1), *to;

	assert_non_null(text);
	to = stpcpy(text, head);
	for (size_t i = 0; i < n; i++)
		to = stpcpy(to, part);
	(void)stpcpy(to, tail);
	return text;
}

static void assert_too_much(char *text, const char *expected)
{
	struct reading r;

	read_text(&r, text, NULL, NULL);
	if (r.rc != SC_EINVAL || !strstr(r.err.text, expected))
		fail_msg("%d '%s', not '%s'", r.rc, r.err.text, expected);
	reading_done(&r);
	free(text);
}

/* Nested, repeated, aliased or long without end: each meets a ceiling before it costs much. */
static void test_hostile(void **state)
{
	char bomb[4096] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";

	(void)state;
	for (unsigned i = 1; i < 10; i++)
		(void)snprintf(bomb + strlen(bomb), sizeof(bomb) - strlen(bomb),
			       "a%u: &a%u [*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u]\n", i, i, i - 1,
			       i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	assert_too_much(repeated(bomb, "", 0, ""), "aliases counted as what they stand for");
	assert_too_much(repeated("", "[", 100000, ""), "more than 64 levels deep");
	assert_too_much(repeated("", "- ", 100000, "x\n"), "more than 64 levels deep");
	assert_too_much(repeated("", "{a: ", 100000, ""), "more than 64 levels deep");
	assert_too_much(repeated("[", "[],\n", 1100000, "]"), "more than 1048576 values");
	assert_too_much(repeated("[", "&a x,", 1001, "]"), "more than 1000 anchors");
	assert_too_much(repeated("a: ", "xxxxxxxx", 1200000, "\n"),
			"m.yaml: more than 8 MiB of manifests");
	assert_too_much(repeated("a: ", "xxxxxxxx", 140000, "\n"),
			"m.yaml:1: is a line of more than 1 MiB");
	assert_too_much(repeated(VS("  - {match: [{uri: {exact: '"), "xxxxxxxx", 10000, "'}}]}\n"),
			"spec.http[0].match[0].uri.exact: is longer than 64 KiB");
	assert_too_much(
		repeated(VS("  - &r {match: [{method: {exact: A}}]}\n"), "  - *r\n", 60000, ""),
		"more than 100000 hosts, rules, conditions, changes and mirrors in all");
	assert_too_much(repeated(VS("  - {headers: {request: {remove: [a"), ",a", 1000, "]}}}\n"),
			"more than 1000 header operations");
}

static void test_too_many_destinations(void **state)
{
	static char text[64 * 1001 + 1024] = VS("  - mirrors:\n");
	struct reading r;
	char *to = text + strlen(text);

	(void)state;
	for (unsigned i = 0; i <= LIMIT_MANIFEST_DESTINATIONS; i++)
		to += snprintf(to, 64, "    - {destination: {host: m%u}}\n", i);
	read_text(&r, text, NULL, NULL);
	assert_int_equal(r.rc, SC_EINVAL);
	assert_string_equal(r.err.text, "m.yaml:1008: spec.http[0].mirrors[1000]: more than 1000 "
					"destinations of mirrors");
	reading_done(&r);
}

static void test_resolve(void **state)
{
	static const struct {
		const char *option, *what;
	} rows[] = {
		{"", "a part is missing"},
		{"m", "a part is missing"},
		{"m=", "a part is missing"},
		{"=127.0.0.1", "a part is missing"},
		{"m/=127.0.0.1", "the subset is missing"},
		{"m=127.0.0.1:0", "the port is not within 1..65535"},
		{"m=127.0.0.1:65536", "the port is not within 1..65535"},
		{"m=127.0.0.1:", "the port is not within 1..65535"},
		{"m=127.0.0.1:8x", "the port is not within 1..65535"},
		{"m=127.0.0.1:+8", "the port is not within 1..65535"},
		{"m=::1", "an IPv6 address stands in brackets"},
		{"m=[::1", "the brackets hold no address"},
		{"m=[::1]8", "the brackets hold no address"},
		{"m=a b", "a name holds what no host's name does"},
		{"m=:80", "a name holds what no host's name does"},
		{"*=127.0.0.1", "a name holds what no host's name does"},
		{"m=http://h", "the port is not within 1..65535"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char expected[256];

		(void)snprintf(expected, sizeof(expected),
			       "--resolve '%s': %s; expected HOST[/SUBSET]=ADDRESS[:PORT]",
			       rows[i].option, rows[i].what);
		assert_wrong(RULE("mirror: {host: m}"), rows[i].option, expected);
	}
}

static void test_files(void **state)
{
	static const struct {
		const char *path, *error;
	} rows[] = {
		{"missing.yaml", "missing.yaml: No such file or directory"},
		{".", ".: Is a directory"},
		{"unreadable\nname", "unreadable name: No such file or directory"},
	};
	const char *two[] = {"a.yaml", "b.yaml"};
	struct reading r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		read_files(&r, &rows[i].path, 1, NULL);
		assert_int_equal(r.rc, SC_EINVAL);
		assert_string_equal(r.err.text, rows[i].error);
	}
	write_file("a.yaml", RULE("mirror: {host: m, subset: v1}"),
		   strlen(RULE("mirror: {host: m, subset: v1}")));
	write_file("b.yaml", SUBSET_RULE, strlen(SUBSET_RULE));
	read_files(&r, two, 2, NULL);
	assert_int_equal(r.rc, SC_OK);
	reading_done(&r);
	write_file("b.yaml", "a: [", 4);
	read_files(&r, two, 2, NULL);
	assert_int_equal(r.rc, SC_EINVAL);
	assert_memory_equal(r.err.text, "b.yaml:", 7);
}

static void test_stdin(void **state)
{
	static const char text[] = RULE("mirror: {host: m}, mirrorPercent: 101");
	const char *path = "-";
	int kept = dup(STDIN_FILENO);
	struct reading r;

	(void)state;
	write_file("stdin.yaml", text, strlen(text));
	assert_non_null(freopen("stdin.yaml", "rb", stdin));
	read_files(&r, &path, 1, NULL);
	assert_string_equal(r.err.text,
			    "stdin:7: spec.http[0].mirrorPercent: 101 is not within 0..100");
	assert_true(dup2(kept, STDIN_FILENO) == STDIN_FILENO);
	(void)close(kept);
}

/* Taken, but said. */
static void test_warnings(void **state)
{
#define NOTHING "m.yaml: nothing is mirrored: no rule has a mirror\n"
	static const struct {
		const char *text, *warnings;
	} rows[] = {
		{MIRROR("fault: {}, retries: {}, timeout: 1s, corsPolicy: {}, route: "
			"[{destination: "
			"{host: h}, weight: 100}]"),
		 ""},
		{VS("  - mirror: {host: m}\n    mirorPercentage: {value: 5}\n"),
		 "m.yaml:8: spec.http[0].mirorPercentage: is ignored: there is no such field\n"},
		{MIRROR("match: [{uri: {prefix: /}, gateways: [a], sourceLabels: {a: b}, "
			"source_namespace: c}]"),
		 "m.yaml:7: spec.http[0].match[0].gateways: is ignored: it cannot be seen on the "
		 "wire\n"
		 "m.yaml:7: spec.http[0].match[0].sourceLabels: is ignored: it cannot be seen on "
		 "the "
		 "wire\n"
		 "m.yaml:7: spec.http[0].match[0].source_namespace: is ignored: it cannot be seen "
		 "on the "
		 "wire\n"},
		{MIRROR("match: [{headers: {uri: {exact: /}}}]"),
		 "m.yaml:7: spec.http[0].match[0].headers.uri: is ignored: it is no header "
		 "field\n"},
		{MIRROR("mirrorPercent: 5, mirror_percent: 6"),
		 "m.yaml:7: spec.http[0].mirror_percent: is ignored: mirrorPercent is given too, "
		 "and "
		 "counts\n"},
		{MIRROR("mirror_percent: 6, mirrorPercent: 5"),
		 "m.yaml:7: spec.http[0].mirror_percent: is ignored: mirrorPercent is given too, "
		 "and "
		 "counts\n"},
		{MIRROR("mirror_percent: 6, mirrorPercentage: {value: 5}"),
		 "m.yaml:7: spec.http[0].mirror_percent: is ignored: mirrorPercentage is given "
		 "too, and "
		 "counts\n"},
		{MIRROR("mirrorPercentage: {}"),
		 "m.yaml:7: spec.http[0].mirrorPercentage: has no value, which is 0: nothing is "
		 "mirrored\n"
		 "m.yaml: nothing is mirrored: every mirror is at 0%\n"},
		{RULE("mirrorPercent: 5"), "m.yaml:7: spec.http[0].mirrorPercent: is ignored: "
					   "there is no mirror it belongs to\n" NOTHING},
		{MIRROR("delegate: {name: x}"), "m.yaml:7: spec.http[0].delegate: is ignored: the "
						"VirtualService it names is not followed\n"},
		{MIRROR("redirect: {uri: /}"),
		 "m.yaml:7: spec.http[0].redirect: forwards nothing, so "
		 "the rule mirrors nothing either\n" NOTHING},
		{MIRROR("headers: {request: {remove: [host], set: {':path': /, x-a: ''}, add: "
			"{x-b: "
			"'%REQ(x)%'}}}"),
		 "m.yaml:7: spec.http[0].headers.request.set.:path: is ignored: the mesh does not "
		 "change "
		 "that field here\n"
		 "m.yaml:7: spec.http[0].headers.request.set.x-a: is ignored: an empty value "
		 "changes "
		 "nothing in a mesh\n"
		 "m.yaml:7: spec.http[0].headers.request.add.x-b: is sent as it stands: what Envoy "
		 "puts "
		 "in place of %...% is known only there\n"
		 "m.yaml:7: spec.http[0].headers.request.remove[0]: is ignored: the mesh does not "
		 "change "
		 "that field here\n"},
		{MIRROR("route: [{destination: {host: a}, headers: {request: {set: {a: b}}}}, "
			"{destination: {host: b}}]"),
		 "m.yaml:7: spec.http[0].route[0].headers: is ignored: which destination is taken "
		 "is the "
		 "mesh's choice\n"},
		{API "kind: VirtualService\nspec: {http: []}\n",
		 "m.yaml:3: spec.hosts: is missing: without hosts it can only be a delegate, which "
		 "is "
		 "not followed; expected a list of hosts\n" NOTHING},
		{API "kind: VirtualService\nspec: {hosts: [a], tcp: [{}], tls: [{}]}\n",
		 "m.yaml:3: spec.tcp: is ignored: only spec.http mirrors\n"
		 "m.yaml:3: spec.tls: is ignored: only spec.http mirrors\n" NOTHING},
		{"apiVersion: v1\nkind: Service\n",
		 "m.yaml:1: kind Service of 'v1' says nothing of mirrors that is read here: "
		 "skipped\n"
		 "m.yaml: nothing is mirrored: there is no VirtualService or HTTPRoute in it\n"},
		{"apiVersion: appmesh.k8s.aws/v1\nkind: VirtualService\n",
		 "m.yaml:1: kind VirtualService of 'appmesh.k8s.aws/v1' says nothing of mirrors "
		 "that is "
		 "read here: skipped\n"
		 "m.yaml: nothing is mirrored: there is no VirtualService or HTTPRoute in it\n"},
		{"",
		 "m.yaml: nothing is mirrored: there is no VirtualService or HTTPRoute in it\n"},
		{RULE("mirror: {host: m, subset: v1}") SUBSET_RULE,
		 "m.yaml:7: spec.http[0].mirror: subset 'v1' cannot be told from the rest of 'm' "
		 "by its "
		 "name; --resolve m/v1=ADDRESS:PORT says where it is\n"},
		{RULE("mirror: {host: m}") ENTRY("workloadSelector: {}, resolution: STATIC"),
		 "m.yaml:7: spec.http[0].mirror: the workloads of 'm' are known only in the mesh; "
		 "--resolve m=ADDRESS:PORT says where they are\n"},
		{RULE("mirror: {host: m}")
			 ENTRY("ports: [{number: 443, name: s, protocol: HTTPS}]"),
		 "m.yaml:7: spec.http[0].mirror: port 443 of 'm' speaks HTTPS, the mirror plain "
		 "HTTP; a "
		 "DestinationRule with tls mode SIMPLE would encrypt it\n"},
		{RULE("mirror: {host: m}")
			 DR("  {host: m, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\n"),
		 "m.yaml:12: spec.trafficPolicy.tls: ISTIO_MUTUAL needs a certificate of the mesh: "
		 "it is "
		 "mirrored in the clear, which a mesh in PERMISSIVE mode takes\n"},
		{RULE("mirror: {host: m}") DR("  {host: m, trafficPolicy: {tls: {mode: SIMPLE, "
					      "subjectAltNames: [a], credentialName: c}}}\n"),
		 "m.yaml:12: spec.trafficPolicy.tls: subjectAltNames are ignored: the certificate "
		 "is "
		 "checked against the name that is connected to\n"
		 "m.yaml:12: spec.trafficPolicy.tls: credentialName is ignored: it is a secret of "
		 "the "
		 "cluster; expected files\n"},
		{RULE("mirror: {host: n}")
			 DR("  {host: m, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\n"),
		 ""},
		{ROUTE("  - filters: [{type: Magic}, {type: ExtensionRef, extensionRef: {}}]\n"
		       "    backendRefs: [{name: b, filters: [{type: RequestMirror}]}]\n"),
		 "m.yaml:7: spec.rules[0].backendRefs[0].filters: is ignored: only what holds for "
		 "the "
		 "whole rule is mirrored and changed\n"
		 "m.yaml:6: spec.rules[0].filters[0].type: 'Magic' is no filter that is known; it "
		 "is "
		 "ignored\n"
		 "m.yaml:6: spec.rules[0].filters[1]: is ignored: what it does is known only in "
		 "the "
		 "cluster\n" NOTHING},
		{ROUTE("  - {filters: [{type: RequestMirror, requestMirror: {backendRef: {name: "
		       "m}}}, "
		       "{type: RequestRedirect, requestRedirect: {}}]}\n"),
		 "m.yaml:6: spec.rules[0].filters[1]: forwards nothing, so the rule mirrors "
		 "nothing "
		 "either\n" NOTHING},
	};
#undef NOTHING

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reading r;

		read_well(&r, rows[i].text);
		if (strcmp(r.warnings, rows[i].warnings) != 0)
			fail_msg("row %zu: %s\nnot\n%s", i, r.warnings, rows[i].warnings);
		reading_done(&r);
	}
}

static void test_unused_resolve(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, RULE("mirror: {host: m}"), "m/v1=127.0.0.1", "n=127.0.0.1");
	assert_int_equal(r.rc, SC_OK);
	assert_string_equal(
		r.warnings,
		"--resolve: 'm/v1=127.0.0.1': nothing is mirrored to that host and subset\n"
		"--resolve: 'n=127.0.0.1': nothing is mirrored to that host\n");
	reading_done(&r);
}

static void test_many_warnings(void **state)
{
	char *text = repeated(VS("  - &r {a: b, mirror: {host: m}}\n"), "  - *r\n", 200, "");
	struct reading r;
	const char *last;

	(void)state;
	read_well(&r, text);
	last = strstr(r.warnings, "101 more warnings are left out\n");
	assert_non_null(last);
	assert_string_equal(last, "101 more warnings are left out\n");
	reading_done(&r);
	free(text);
}

/* Whichever allocation fails, that is said and nothing is kept. */
static void test_memory_runs_out(void **state)
{
	static const char text[] = RULE(
		"name: n, match: [{uri: {prefix: /a}, headers: {x: {regex: a+}}}], rewrite: {uri: "
		"/, authority: b}, headers: {request: {set: {x: y}}}, mirror: {host: m, subset: "
		"v1}, mirrors: [{destination: {host: n}}]") SUBSET_RULE
		STATIC_ENTRY("{address: 10.0.0.1, labels: {version: v1}}") "---\n" ROUTE(
			"  - {matches: [{path: {value: /}}, {method: PUT}], " ROUTE_MIRROR(
				"") "}\n");
	unsigned n = 1;
	struct reading r;

	(void)state;
	for (;; n++) {
		write_file("m.yaml", text, strlen(text));
		fail_in = n;
		read_text(&r, text, "n=127.0.0.1:1", NULL);
		if (fail_in)
			break; /* there were not that many */
		if (r.rc != SC_OK)
			assert_int_equal(r.rc, SC_ENOMEM);
		reading_done(&r);
	}
	fail_in = 0;
	assert_int_equal(r.rc, SC_OK);
	assert_in_range(n, 50, 100000);
	reading_done(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_virtual_service),
		cmocka_unit_test(test_mesh),
		cmocka_unit_test(test_route),
		cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_too_many_destinations),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_unused_resolve),
		cmocka_unit_test(test_many_warnings),
		cmocka_unit_test(test_memory_runs_out),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
