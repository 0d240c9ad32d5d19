/* SPDX-License-Identifier: Apache-2.0 */
/* The way to a target: whose turn it is, what a failure is called, and what is refused beforehand.
 * Opens no connection, and asks for no name but localhost and ones that are none. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "core/limits.h"
#include "replay/connect.h"
#include "replay/h2.h"
#include "replay/resolver.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SECOND INT64_C(1000000)

static void test_endpoints_by_turns(void **state)
{
	static const struct connect_endpoint endpoints[] = {
		{"10.0.0.1", 80}, {"10.0.0.2", 81}, {"fd00::3", 82}};
	struct resolver *r = resolver_new(endpoints, COUNT(endpoints));
	struct way way;

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < 7; i++) {
		resolver_next(r, i * 100 * SECOND, &way);
		assert_string_equal(way.address, endpoints[i % 3].address);
		assert_int_equal(way.port, endpoints[i % 3].port);
		assert_string_equal(way.list, "");
	}
	resolver_free(r);
	resolver_free(NULL);
}

static void test_a_name_has_addresses(void **state)
{
	const struct connect_endpoint endpoint = {"localhost", 80};
	struct resolver *r = resolver_new(&endpoint, 1);
	struct way way;

	(void)state;
	assert_non_null(r);
	resolver_next(r, SECOND, &way);
	assert_string_equal(way.address, "localhost");
	assert_true(strstr(way.list, "127.0.0.1") || strstr(way.list, "::1"));
	/* It is asked again in time, in a thread that may outlive the resolver. */
	for (int64_t at = 1; at < 100; at++)
		resolver_next(r, at * SECOND, &way);
	resolver_free(r);
}

static void test_a_name_that_is_none(void **state)
{
	const struct connect_endpoint endpoint = {"nowhere.invalid", 80};
	struct resolver *r = resolver_new(&endpoint, 1);
	struct addr addrs[LIMIT_ADDRESSES];
	const char *why = NULL;
	struct way way;

	(void)state;
	assert_non_null(r);
	resolver_next(r, SECOND, &way);
	assert_string_equal(way.address, "nowhere.invalid");
	assert_string_equal(way.list, "");
	assert_int_equal(resolve("nowhere.invalid", 80, addrs, &why), 0);
	assert_non_null(why);
	resolver_free(r);
}

static void test_resolve(void **state)
{
	struct addr addrs[LIMIT_ADDRESSES];
	char text[ADDR_TEXT];

	(void)state;
	assert_int_equal(resolve("::1", 81, addrs, NULL), 1);
	addr_text(&addrs[0], text);
	assert_string_equal(text, "::1");
	assert_int_equal(addrs[0].port, 81);
	assert_int_equal(resolve("127.0.0.1", 80, addrs, NULL), 1);
	assert_int_equal(addrs[0].len, 4);
}

static void *ask_often(void *arg)
{
	struct way way;

	for (int64_t i = 0; i < 2000; i++)
		resolver_next(arg, i * SECOND, &way);
	return NULL;
}

static void test_many_threads(void **state)
{
	static const struct connect_endpoint endpoints[] = {{"localhost", 80}, {"127.0.0.2", 81}};
	struct resolver *r = resolver_new(endpoints, 2);
	pthread_t threads[4];

	(void)state;
	assert_non_null(r);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, r), 0);
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	resolver_free(r);
}

static const struct {
	CURLcode code;
	enum result_error error;
} names[] = {
	{CURLE_COULDNT_RESOLVE_HOST, RESULT_ERROR_RESOLVE},
	{CURLE_COULDNT_RESOLVE_PROXY, RESULT_ERROR_RESOLVE},
	{CURLE_COULDNT_CONNECT, RESULT_ERROR_CONNECT},
	{CURLE_PROXY, RESULT_ERROR_CONNECT},
	{CURLE_RECV_ERROR, RESULT_ERROR_CONNECT}, /* a proxy that refuses */
	{CURLE_OPERATION_TIMEDOUT, RESULT_ERROR_CONNECT_TIMEOUT},
	{CURLE_SSL_CONNECT_ERROR, RESULT_ERROR_TLS},
	{CURLE_PEER_FAILED_VERIFICATION, RESULT_ERROR_TLS},
};

static void test_names_of_failures(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(conn_error(names[i].code), names[i].error);
}

struct one_feed {
	struct shot_feed base;
	bool given;
};

static int one_next(struct shot_feed *f, struct shot **ret, struct err *err)
{
	static const char wire[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct one_feed *feed = (struct one_feed *)(void *)f;
	struct shot *shot;

	(void)err;
	if (feed->given)
		return 0;
	shot = calloc(1, sizeof(*shot) + strlen(wire));
	assert_non_null(shot);
	memcpy(shot->bytes, wire, strlen(wire));
	shot->len = strlen(wire);
	feed->given = true;
	*ret = shot;
	return 1;
}

/* A name that is gone when a connection is opened, of either sender. */
static void test_a_name_that_is_gone(void **state)
{
	static int (*const runs[])(const struct replay_options *, struct shot_feed *,
				   struct result_sink *, struct replay_stats *,
				   struct err *) = {replay_run, replay_run_h2};
	struct replay_stats *stats = malloc(sizeof(*stats));
	struct target_url target;
	struct replay_options options = {.target = &target,
					 .closed_loop = true,
					 .connections = 1,
					 .timeout_us = 60 * SECOND};
	struct err err = {""};

	(void)state;
	assert_non_null(stats);
	assert_int_equal(target_parse("http://nowhere.invalid", &target, &err), SC_OK);
	for (size_t i = 0; i < COUNT(runs); i++) {
		struct one_feed feed = {.base.next = one_next};

		assert_int_equal(runs[i](&options, &feed.base, NULL, stats, &err), SC_OK);
		assert_int_equal(stats->taken, 1);
		assert_int_equal(stats->failed, 1);
		assert_int_equal(stats->failed_sent, 0);
		assert_int_equal(stats->errors[RESULT_ERROR_RESOLVE], 1);
		assert_int_equal(stats->in_flight, 0);
	}
	free(stats);
}

static const struct {
	const char *name;
	struct connect_options options;
	int rc;
	const char *said;
} checks[] = {
	{"nothing special", {.ca_file = NULL}, SC_OK, NULL},
	{"an endpoint",
	 {.endpoints = &(const struct connect_endpoint){"127.0.0.3", 9}, .n_endpoints = 1},
	 SC_OK,
	 NULL},
	{"the origin as an endpoint",
	 {.endpoints = &(const struct connect_endpoint){"10.1.2.3", 80}, .n_endpoints = 1},
	 SC_EINVAL,
	 "--allow-origin"},
	{"the origin at another port",
	 {.endpoints = &(const struct connect_endpoint){"10.1.2.3", 81}, .n_endpoints = 1},
	 SC_OK,
	 NULL},
	{"an endpoint that is nowhere",
	 {.endpoints = &(const struct connect_endpoint){"nowhere.invalid", 9}, .n_endpoints = 1},
	 SC_EIO,
	 "nowhere.invalid"},
	{"proxy", {.proxy = "http://127.0.0.1:3128"}, SC_OK, NULL},
	{"proxy with a name and a password",
	 {.proxy = "http://me:secret@127.0.0.1:3128"},
	 SC_OK,
	 NULL},
	{"proxy over IPv6", {.proxy = "http://[::1]:3128/"}, SC_OK, NULL},
	{"proxy without a port", {.proxy = "http://127.0.0.1"}, SC_EINVAL, "no port"},
	{"proxy of another kind", {.proxy = "socks5://127.0.0.1:1"}, SC_EINVAL, "not http"},
	{"proxy with a path", {.proxy = "http://127.0.0.1:1/x"}, SC_EINVAL, "path"},
	{"no proxy at all", {.proxy = "x y"}, SC_EINVAL, "no URL"},
	{"a proxy that is nowhere",
	 {.proxy = "http://nowhere.invalid:1"},
	 SC_EIO,
	 "nowhere.invalid"},
	{"no such socket", {.unix_socket = "/nowhere/s"}, SC_EINVAL, "no socket"},
	{"no socket", {.unix_socket = "/etc/passwd"}, SC_EINVAL, "no socket"},
	{"no such authority", {.ca_file = "/nowhere/ca"}, SC_EINVAL, "/nowhere/ca"},
	{"no authority", {.ca_file = "/etc/passwd"}, SC_EINVAL, "/etc/passwd"},
	{"a folder", {.ca_file = "/etc"}, SC_EINVAL, "/etc"},
	{"no such certificate", {.cert_file = "/nowhere/cert"}, SC_EINVAL, "/nowhere/cert"},
	{"no certificate", {.cert_file = "/etc/passwd"}, SC_EINVAL, "/etc/passwd"},
	{"a key alone", {.key_file = "/etc/passwd"}, SC_EINVAL, "/etc/passwd"},
};

static void test_checks(void **state)
{
	struct target_url target;
	struct addr origin = {.port = 80};
	struct err err;

	(void)state;
	assert_int_equal(addr_parse("10.1.2.3", &origin), SC_OK);
	assert_int_equal(target_parse("https://127.0.0.1:8443", &target, &err), SC_OK);
	for (size_t i = 0; i < COUNT(checks); i++) {
		int rc;

		err.text[0] = '\0';
		rc = connect_check(&target, &checks[i].options, &origin, 1, &err);
		if (rc != checks[i].rc)
			fail_msg("%s: %d, '%s'", checks[i].name, rc, err.text);
		if (checks[i].said && !strstr(err.text, checks[i].said))
			fail_msg("%s: said '%s'", checks[i].name, err.text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints_by_turns),
		cmocka_unit_test(test_a_name_has_addresses),
		cmocka_unit_test(test_a_name_that_is_none),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_names_of_failures),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_a_name_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
