/* SPDX-License-Identifier: Apache-2.0 */
/* What the manifest tests share: manifests from literals, what was said of them, requests. */
#ifndef TESTS_MANIFEST_FIXTURE_H
#define TESTS_MANIFEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "manifest.h"

/* Documents, as short as they may be. All are read from a file called m.yaml. */
#define API "apiVersion: networking.istio.io/v1\n"
#define VS(http)                                                                                   \
	API "kind: VirtualService\nmetadata: {name: w}\nspec:\n  hosts: [h]\n  http:\n" http
#define RULE(fields) VS("  - {" fields "}\n")
#define MIRROR(fields) RULE(fields ", mirror: {host: m}")
#define DR(spec) "---\n" API "kind: DestinationRule\nspec:\n" spec
#define SE(spec) "---\n" API "kind: ServiceEntry\nspec:\n" spec
#define ROUTE(rules)                                                                               \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"         \
	"spec:\n  rules:\n" rules
#define ROUTE_MIRROR(fields)                                                                       \
	"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m}" fields "}}]"

struct reading {
	int rc;
	struct err err;
	struct policy *policy; /* NULL on failure */
	char warnings[8192];   /* one a line */
};

/* A folder of our own is where m.yaml is written; group set-up and tear-down. */
int enter_folder(void **state);
int leave_folder(void **state);

void write_file(const char *name, const char *text, size_t len);
/* Reads a manifest, with up to two --resolve, NULL: none. */
void read_text(struct reading *ret, const char *text, const char *resolve, const char *second);
void read_files(struct reading *ret, const char *const *paths, unsigned n, const char *resolve);
/* Fails the test when it is wrong. */
void read_well(struct reading *ret, const char *text);
void reading_done(struct reading *r);

/* A request on port 80 of the server; free with exchange_free(). */
struct exchange *request_of(const char *head);
/* The rule that takes it, and the request as it is mirrored; NULL: none does. */
const struct policy_rule *apply(const struct policy *p, struct exchange *ex);

#endif
