/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of requests whose connection ends under them, against a small hostile server on
 * loopback (hostile_server.h). */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "engine_fixture.h"
#include "replay/connect.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A server that closes a kept connection under our hands: once more where that is safe. */
static void test_stale(void **state)
{
	static const struct request requests[] = {
		{"GET /stale HTTP/1.1", 1, 0, 0},
		{"GET /stale HTTP/1.1", 1, 0, 0},
		{"GET /stale HTTP/1.1", 1, 0, 0},
		{"POST /stale HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	r->options.connections = 1;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, 3);
	assert_int_equal(r->stats.retried, 2);
	assert_int_equal(r->stats.connections, 3);
	/* What a second POST would do nobody knows. */
	assert_int_equal(r->results[3]->error, RESULT_ERROR_EARLY_CLOSE);
	run_free(r);
	server_stop(s);
}

/* What was read may have done something, though its acknowledgement never came. */
static void test_read_and_reset(void **state)
{
	static const struct request requests[] = {
		{"GET /once HTTP/1.1", 1, 0, 0},
		{"POST /once HTTP/1.1", 1, 0, 100},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	r->options.connections = 1;
	run_it(r, SC_OK);
	assert_int_equal(r->results[1]->error, RESULT_ERROR_RESET);
	assert_int_equal(r->stats.retried, 0);
	assert_int_equal(server_seen(s), 2);
	run_free(r);
	server_stop(s);
}

/* What was said to an idle connection is no answer; to a POST that was read it may be one. */
static void test_idle_timeout(void **state)
{
	static const struct request requests[] = {
		{"GET /idle HTTP/1.1", 1, 0, 0},
		{"GET /idle HTTP/1.1", 1, 0, 0},
		{"POST /idle HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	r->options.connections = 1;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, 3);
	assert_int_equal(r->stats.retried, 1);
	assert_int_equal(r->results[1]->response->status, 200);
	assert_int_equal(r->results[2]->response->status, 408);
	assert_int_equal(server_seen(s), 4);
	run_free(r);
	server_stop(s);
}

/* Between two looks at its connections the loop is held up: the server speaks, and the next request
 * is due by then. */
static void speak_meanwhile(void *arg, const struct replay_stats *stats)
{
	struct run *r = arg;

	if (stats->sent != 1 || r->server->has_spoken)
		return;
	server_speak(r->server);
	while (now_ns() < r->ends_ns)
		;
}

/* What was said, or ended, while a connection was idle is seen before it is used again. */
static void test_idle_speech(void **state)
{
	static const struct request requests[][2] = {
		{{"POST /stray HTTP/1.1", 1, 0, 5}, {"POST /stray HTTP/1.1", 1, 300000, 5}},
		{{"POST /end HTTP/1.1", 1, 0, 5}, {"POST /end HTTP/1.1", 1, 300000, 5}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		struct server *s = server_start();
		struct run *r = run_new(s->port, requests[i], 2);

		r->server = s;
		r->options.closed_loop = false;
		r->pace.kind = PACE_RECORDED;
		r->options.progress = speak_meanwhile;
		r->ends_ns = now_ns() + 1500 * NS_PER_MS;
		run_it(r, SC_OK);
		assert_int_equal(r->stats.status[200], 2);
		assert_int_equal(r->stats.retried, 0);
		assert_int_equal(r->stats.connections, 2);
		assert_int_equal(server_seen(s), 2);
		run_free(r);
		server_stop(s);
	}
}

/* The end of a connection that comes with an answer is seen with it: nothing goes out into a
 * connection that is known to be none, and nothing has to go out twice. */
static void test_gone(void **state)
{
	static const struct request requests[] = {
		{"POST /gone HTTP/1.1", 1, 0, 0},
		{"POST /gone HTTP/1.1", 1, 0, 0},
		{"POST /ok HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	r->options.connections = 1;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, 3);
	assert_int_equal(r->stats.failed, 0);
	assert_int_equal(server_seen(s), 3);
	assert_int_equal(r->stats.retried, 0);
	assert_int_equal(r->stats.connections, 3);
	run_free(r);
	server_stop(s);
}

/* Both ends of a TCP connection. */
static int pair_of(struct conn *ret)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	uint16_t port;
	int listener = bound_socket(&port), peer;

	assert_int_equal(listen(listener, 1), 0);
	to.sin_port = htons(port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*ret = (struct conn){.fd = socket(AF_INET, SOCK_STREAM, 0)};
	assert_true(ret->fd >= 0);
	assert_int_equal(connect(ret->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	peer = accept(listener, NULL, NULL);
	close(listener);
	return peer;
}

/* What none of has arrived has done nothing: it may go out again whatever it is. */
static void test_untaken(void **state)
{
	struct conn c;
	int peer = pair_of(&c);
	char byte;
	size_t n;

	(void)state;
	assert_int_equal(conn_send(&c, "taken", 5, &n), SC_OK);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(recv(peer, &byte, 1, 0), 1);
	close(peer);
	assert_int_equal(recv(c.fd, &byte, 1, 0), 0); /* so its end has come, with what it took */
	assert_int_equal(conn_fate(&c, 5), CONN_TAKEN);
	assert_int_equal(conn_send(&c, "nobody", 6, &n), SC_OK);
	assert_int_equal(conn_fate(&c, 6), CONN_UNTAKEN);
	assert_int_equal(conn_fate(&c, 7), CONN_TAKEN);
	close(c.fd);
}

/* A peer that ended its own side only may read on. */
static void test_half_closed(void **state)
{
	struct conn c;
	int peer = pair_of(&c);
	char byte;
	size_t n;

	(void)state;
	shutdown(peer, SHUT_WR);
	assert_int_equal(recv(c.fd, &byte, 1, 0), 0);
	assert_int_equal(conn_send(&c, "listen", 6, &n), SC_OK);
	assert_int_not_equal(conn_fate(&c, 6), CONN_UNTAKEN);
	assert_int_equal(recv(peer, &byte, 1, 0), 1);
	assert_int_not_equal(conn_fate(&c, 6), CONN_UNTAKEN);
	close(peer);
	close(c.fd);
}

static struct conn *connected(CURLM *multi, const struct replay_options *options)
{
	static struct conn c;
	struct addr peer;
	int running = 1, left;
	CURLMsg *msg = NULL;

	assert_int_equal(conn_init(&c, multi, options, &c), SC_OK);
	assert_int_equal(conn_open(&c), SC_OK);
	while (!msg) {
		assert_int_equal(curl_multi_perform(multi, &running), CURLM_OK);
		msg = curl_multi_info_read(multi, &left);
		if (!msg)
			assert_int_equal(curl_multi_poll(multi, NULL, 0, 1000, NULL), CURLM_OK);
	}
	assert_int_equal(msg->data.result, CURLE_OK);
	assert_int_equal(conn_opened(&c, &peer), SC_OK);
	assert_int_equal(peer.port, options->target->port);
	return &c;
}

/* libcurl closes idle connections that have bytes to be read, and takes ours for such: so it never
 * gets to see any. */
static void test_own_socket(void **state)
{
	struct target_url target;
	struct replay_options options = {.target = &target, .timeout_us = 20000000};
	CURLM *multi = curl_multi_init();
	curl_socket_t libcurls = CURL_SOCKET_BAD;
	char url[64], bytes[8];
	struct err err;
	struct conn *c;
	uint16_t port;
	int listener = bound_socket(&port), peer, own;
	size_t n;

	(void)state;
	assert_int_equal(listen(listener, 1), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	assert_int_equal(target_parse(url, &target, &err), SC_OK);
	c = connected(multi, &options);
	peer = accept(listener, NULL, NULL);
	assert_int_equal(send(peer, "answer", 6, 0), 6);
	assert_int_equal(curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &libcurls), CURLE_OK);
	assert_int_not_equal(libcurls, c->fd);
	assert_int_equal(recv(libcurls, bytes, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(recv(c->fd, bytes, 1, MSG_PEEK), 1);
	assert_int_equal(conn_recv(c, bytes, sizeof(bytes), &n), SC_OK);
	assert_int_equal(n, 6);
	own = c->fd;
	conn_done(c);
	assert_int_equal(fcntl(own, F_GETFD), -1);
	assert_int_equal(recv(peer, bytes, 1, 0), 0);
	curl_multi_cleanup(multi);
	close(peer);
	close(listener);
}

/* Edges are told once: an answer that fills the buffer to its last byte is followed by others, and
 * one that ends with its connection ends. */
static void test_full_reads(void **state)
{
	static const struct request requests[] = {
		{"GET /full HTTP/1.1", 1, 0, 0},
		{"GET /full HTTP/1.1", 1, 0, 0},
		{"GET /ok HTTP/1.1", 1, 0, 0},
		{"GET /full-until-close HTTP/1.1", 1, 0, 0},
		{"GET /full HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, COUNT(requests));
	assert_int_equal(r->stats.connections, 2);
	assert_int_equal(r->results[0]->response->head_len + r->results[0]->response->body.len,
			 RECEIVE_BYTES);
	assert_int_equal(r->results[3]->response->head_len + r->results[3]->response->body.len,
			 RECEIVE_BYTES);
	run_free(r);
	server_stop(s);
}

/* A fresh connection that is closed without an answer is no stale one. */
static void test_retried_once(void **state)
{
	static const struct request requests[] = {
		{"GET /ok HTTP/1.1", 1, 0, 0},
		{"GET /early HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.retried, 1);
	assert_int_equal(r->results[1]->error, RESULT_ERROR_EARLY_CLOSE);
	assert_int_equal(server_seen(s), 3);
	run_free(r);
	server_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_read_and_reset),
		cmocka_unit_test(test_idle_timeout),
		cmocka_unit_test(test_idle_speech),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_untaken),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_own_socket),
		cmocka_unit_test(test_full_reads),
		cmocka_unit_test(test_retried_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
