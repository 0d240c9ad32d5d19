/* SPDX-License-Identifier: Apache-2.0 */
/* The sending loop against a small hostile server on loopback (hostile_server.h). */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limits.h"
#include "engine_fixture.h"
#include "replay/connect.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool stop_when_seen(void *arg)
{
	struct run *r = arg;

	return server_seen(r->server) >= r->stop_after;
}

/* Every failure has its name, and costs nobody else: each stands between two that are well. */
static void test_hostile(void **state)
{
	static const struct {
		const char *head;
		enum result_error error;
		uint16_t status;
		const char *body;
	} cases[] = {
		{"GET /ok HTTP/1.1", RESULT_ERROR_NONE, 200, "ok"},
		{"GET /reset HTTP/1.1", RESULT_ERROR_RESET, 0, NULL},
		{"GET /garbage HTTP/1.1", RESULT_ERROR_MALFORMED, 0, NULL},
		{"GET /half HTTP/1.1", RESULT_ERROR_CUT, 0, NULL},
		{"GET /early HTTP/1.1", RESULT_ERROR_EARLY_CLOSE, 0, NULL},
		{"GET /hang HTTP/1.1", RESULT_ERROR_TIMEOUT, 0, NULL},
		{"GET /trickle HTTP/1.1", RESULT_ERROR_TIMEOUT, 0, NULL},
		{"GET /until-close HTTP/1.1", RESULT_ERROR_NONE, 200, "to the end"},
		{"GET /interim HTTP/1.1", RESULT_ERROR_NONE, 200, "ok"},
		{"GET /bytes HTTP/1.1", RESULT_ERROR_NONE, 200, "abc"},
		{"HEAD /head HTTP/1.1", RESULT_ERROR_NONE, 200, ""},
		{"GET /surplus HTTP/1.1", RESULT_ERROR_NONE, 200, "ok"},
		{"GET /close HTTP/1.1", RESULT_ERROR_NONE, 200, "ok"},
		{"GET /ok HTTP/1.0", RESULT_ERROR_NONE, 200, "ok"},
		{"GET /ok HTTP/1.1\r\nConnection: close", RESULT_ERROR_NONE, 200, "ok"},
	};
	struct server *s = server_start();
	struct request requests[2 * COUNT(cases) + 1];
	struct run *r;

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] =
			(struct request){i % 2 ? cases[i / 2].head : "GET /ok HTTP/1.1", 7, 0, 0};
	r = run_new(s->port, requests, COUNT(requests));
	r->options.timeout_us = 300000;
	run_it(r, SC_OK);
	for (size_t i = 0; i < COUNT(requests); i++) {
		const struct result *res = r->results[i];

		assert_non_null(res);
		if (i % 2 == 0) {
			assert_int_equal(res->error, RESULT_ERROR_NONE);
			assert_int_equal(res->response->status, 200);
			continue;
		}
		if (res->error != cases[i / 2].error)
			fail_msg("%s: %s", requests[i].head, result_error_text(res->error));
		assert_true(res->sent_us > 0);
		if (!cases[i / 2].body) {
			assert_null(res->response);
			continue;
		}
		assert_int_equal(res->response->status, cases[i / 2].status);
		assert_int_equal(res->response->body.len, strlen(cases[i / 2].body));
		assert_true(res->ttfb_us >= 0 && res->duration_us >= res->ttfb_us);
		assert_true(res->latency_us >= res->duration_us);
	}
	run_free(r);
	server_stop(s);
}

static void test_refused(void **state)
{
	struct request requests[5];
	uint16_t port;
	int fd = bound_socket(&port); /* bound, but nobody listens */
	struct run *r;

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i, 0, 0};
	r = run_new(port, requests, COUNT(requests));
	run_it(r, SC_OK);
	assert_int_equal(r->stats.errors[RESULT_ERROR_CONNECT], COUNT(requests));
	assert_int_equal(r->results[0]->sent_us, 0);
	run_free(r);
	close(fd);
}

enum { LANES = 5, EACH = 40 };

static void make_lanes(struct request *requests, char heads[][64])
{
	for (unsigned i = 0; i < LANES * EACH; i++) {
		snprintf(heads[i], 64, "GET /ok?%u.%u HTTP/1.1", i % LANES, i / LANES);
		requests[i] = (struct request){heads[i], 1000 + i % LANES, i, 0};
	}
}

/* Each recorded connection's requests arrive in order; with a connection for each of them, on one.
 */
static void check_order(unsigned connections, bool own)
{
	static struct request requests[LANES * EACH];
	static char heads[LANES * EACH][64];
	unsigned next[LANES] = {0}, on[LANES] = {0};
	struct server *s = server_start();
	struct run *r;

	make_lanes(requests, heads);
	r = run_new(s->port, requests, LANES * EACH);
	r->options.connections = connections;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, LANES * EACH);
	assert_true(r->stats.connections <= connections);
	/* With its lock, and nothing is written any more. */
	assert_int_equal(server_seen(s), LANES * EACH);
	for (unsigned i = 0; i < LANES * EACH; i++) {
		unsigned lane, k;

		assert_int_equal(sscanf(s->seen[i].path, "/ok?%u.%u", &lane, &k), 2);
		assert_int_equal(k, next[lane]++);
		if (k == 0)
			on[lane] = s->seen[i].connection;
		if (own)
			assert_int_equal(s->seen[i].connection, on[lane]);
	}
	run_free(r);
	server_stop(s);
}

static void test_order(void **state)
{
	(void)state;
	check_order(LANES, true);
	check_order(LANES + 3, true);
	check_order(2, false);
	check_order(1, false);
}

static void test_no_order(void **state)
{
	static struct request requests[LANES * EACH];
	static char heads[LANES * EACH][64];
	struct server *s = server_start();
	struct run *r;

	(void)state;
	make_lanes(requests, heads);
	r = run_new(s->port, requests, LANES * EACH);
	r->options.ordered = false;
	r->options.connections = 3;
	r->options.save = SAVE_ANSWERS_STATUS;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, LANES * EACH);
	assert_true(r->stats.connections <= 3);
	assert_int_equal(r->results[0]->response->body_size, 2);
	assert_int_equal(r->results[0]->response->body.len, 0);
	run_free(r);
	server_stop(s);
}

/* Nothing goes out before it is due, and every due time is where the schedule has it. */
static void set_pace(struct run *r, struct pace pace)
{
	r->pace = pace;
	r->options.closed_loop = false;
}

static void check_pace(struct pace pace, int64_t step_us)
{
	struct request requests[20];
	struct server *s = server_start();
	struct run *r;

	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i, (int64_t)i * 4000, 0};
	r = run_new(s->port, requests, COUNT(requests));
	set_pace(r, pace);
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, COUNT(requests));
	for (size_t i = 0; i < COUNT(requests); i++) {
		const struct result *res = r->results[i];
		int64_t due = r->results[0]->due_us + (int64_t)i * step_us;

		assert_true(llabs(res->due_us - due) <= 1);
		assert_true(res->sent_us >= res->due_us);
		assert_true(res->latency_us >= res->duration_us);
	}
	run_free(r);
	server_stop(s);
}

static void test_pace(void **state)
{
	(void)state;
	check_pace((struct pace){.kind = PACE_RECORDED, .speed = 1}, 4000);
	check_pace((struct pace){.kind = PACE_RECORDED, .speed = 4}, 1000);
	check_pace((struct pace){.kind = PACE_RATE, .rate = 500}, 2000);
}

/* Larger than any socket buffer: goes out in pieces as the socket takes it. */
static void test_large(void **state)
{
	static const struct request requests[] = {
		{"POST /count HTTP/1.1", 1, 0, 20000000},
		{"POST /count HTTP/1.1", 1, 0, 100},
		{"POST /refuse HTTP/1.1", 2, 0, 20000000},
		{"GET /ok HTTP/1.1", 2, 0, 0},
		{"POST /answer-first HTTP/1.1", 3, 0, 20000000},
		{"GET /ok HTTP/1.1", 3, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	run_it(r, SC_OK);
	for (size_t i = 0; i < COUNT(requests); i++) {
		if (r->results[i]->error != RESULT_ERROR_NONE)
			fail_msg("%s: %s", requests[i].head,
				 result_error_text(r->results[i]->error));
	}
	assert_memory_equal(r->results[0]->response->body.data, "20000000", 8);
	assert_memory_equal(r->results[1]->response->body.data, "100", 3);
	/* Answered before it was all out: the answer counts, the connection does not go on. */
	assert_int_equal(r->results[2]->response->status, 413);
	assert_int_equal(r->results[3]->response->status, 200);
	/* A success before it was all out wants the rest, and the connection goes on. */
	assert_int_equal(r->results[4]->response->status, 200);
	assert_int_equal(r->results[5]->response->status, 200);
	assert_int_equal(r->stats.connections, 4);
	run_free(r);
	server_stop(s);
}

/* Not one byte goes to where the recording was made. */
static void test_origin(void **state)
{
	static const struct request requests[] = {{"GET /ok HTTP/1.1", 1, 0, 0}};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));
	struct addr origins[2];

	(void)state;
	assert_int_equal(addr_parse("10.1.2.3", &origins[0]), SC_OK);
	assert_int_equal(addr_parse("127.0.0.1", &origins[1]), SC_OK);
	origins[0].port = origins[1].port = s->port;
	r->options.origins = origins;
	r->options.n_origins = 2;
	assert_int_equal(connect_check(&r->target, NULL, origins, 2, &r->err), SC_EINVAL);
	assert_int_equal(connect_check(&r->target, NULL, origins, 1, &r->err), SC_OK);
	run_it(r, SC_EINVAL);
	assert_non_null(strstr(r->err.text, "--allow-origin"));
	assert_non_null(strstr(r->err.text, "127.0.0.1"));
	assert_int_equal(r->stats.bytes_out, 0);
	assert_int_equal(server_seen(s), 0);
	run_free(r);
	server_stop(s);
}

/* Stopped in the middle: what is in flight is answered, the rest is accounted for. */
static void test_stop(void **state)
{
	static struct request requests[2000];
	struct server *s = server_start();
	struct run *r;

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i % 4, (int64_t)i * 60000, 0};
	r = run_new(s->port, requests, COUNT(requests));
	set_pace(r, (struct pace){.kind = PACE_RECORDED, .speed = 20});
	r->options.stop = stop_when_seen;
	r->server = s;
	r->stop_after = 5;
	run_it(r, SC_OK);
	assert_true(r->stats.sent >= 5);
	assert_true(r->stats.unsent > 0);
	assert_int_equal(r->stats.failed, 0);
	run_free(r);
	server_stop(s);
}

/* Time is up in the middle: what was due by then went out, and the feed is not drained. */
static void test_duration(void **state)
{
	static struct request requests[2000];
	struct server *s = server_start();
	struct run *r;

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i % 4, (int64_t)i * 5000, 0};
	r = run_new(s->port, requests, COUNT(requests));
	set_pace(r, (struct pace){.kind = PACE_RECORDED, .speed = 1});
	r->options.duration_us = 100000;
	run_it(r, SC_OK);
	assert_true(r->stats.sent >= 1 && r->stats.sent <= 20);
	assert_int_equal(r->stats.failed, 0);
	assert_int_equal(r->stats.unsent, r->at - r->stats.sent);
	run_free(r);
	server_stop(s);
}

/* Who waits for a connection longer than anybody cares is left out, and only that one. */
static void test_drop_late(void **state)
{
	static const struct request requests[] = {
		{"GET /hang HTTP/1.1", 1, 0, 0},    {"GET /ok HTTP/1.1", 1, 1000, 0},
		{"GET /ok HTTP/1.1", 2, 2000, 0},   {"GET /ok HTTP/1.1", 1, 3000, 0},
		{"GET /ok HTTP/1.1", 1, 2000000, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	set_pace(r, (struct pace){.kind = PACE_RECORDED, .speed = 1});
	r->options.connections = 1;
	r->options.timeout_us = 1000000;
	r->options.drop_late_us = 500000;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.dropped, 3);
	assert_int_equal(r->stats.sent, 1);
	assert_int_equal(r->stats.errors[RESULT_ERROR_TIMEOUT], 1);
	assert_non_null(r->results[4]);
	run_free(r);
	server_stop(s);
}

/* One connection for many lanes: what was due first goes first, and none is left out. */
static void test_fair(void **state)
{
	static struct request requests[LANES * EACH];
	static char heads[LANES * EACH][64];
	unsigned next[LANES] = {0};
	struct server *s = server_start();
	struct run *r;

	(void)state;
	make_lanes(requests, heads);
	r = run_new(s->port, requests, LANES * EACH);
	set_pace(r, (struct pace){.kind = PACE_RECORDED, .speed = 1});
	r->options.connections = 1;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.sent, LANES * EACH);
	assert_int_equal(server_seen(s), LANES * EACH);
	for (unsigned i = 0; i < LANES * EACH; i++) {
		unsigned lane, k;

		assert_int_equal(sscanf(s->seen[i].path, "/ok?%u.%u", &lane, &k), 2);
		assert_int_equal(k, next[lane]++);
		for (unsigned other = 0; other < LANES; other++)
			assert_true(next[other] + 2 >= next[lane]);
	}
	run_free(r);
	server_stop(s);
}

static void *run_main(void *arg)
{
	struct run *r = arg;

	return replay_run(&r->options, &r->feed, &r->sink, &r->stats, &r->err) ? r : NULL;
}

/* Several loops begin at one moment, though one has nothing to send and one cannot connect. */
static void test_start_together(void **state)
{
	static struct request requests[20];
	struct server *s = server_start();
	struct replay_start start;
	struct run *runs[4];
	pthread_t threads[COUNT(runs)];
	uint16_t dead;
	int fd = bound_socket(&dead);

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i, (int64_t)i * 1000, 0};
	replay_start_init(&start, COUNT(runs));
	for (size_t i = 0; i < COUNT(runs); i++) {
		runs[i] = run_new(i == 3 ? dead : s->port, requests, i == 2 ? 0 : COUNT(requests));
		set_pace(runs[i], (struct pace){.kind = PACE_RECORDED, .speed = 1});
		runs[i]->options.start = &start;
		assert_int_equal(pthread_create(&threads[i], NULL, run_main, runs[i]), 0);
	}
	for (size_t i = 0; i < COUNT(runs); i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	/* Their clocks of 1970 were read at different moments. */
	assert_true(llabs(runs[0]->results[0]->due_us - runs[1]->results[0]->due_us) < 1000);
	assert_true(llabs(runs[0]->results[0]->due_us - runs[3]->results[0]->due_us) < 1000);
	assert_int_equal(runs[0]->stats.sent, COUNT(requests));
	assert_int_equal(runs[1]->stats.sent, COUNT(requests));
	assert_int_equal(runs[2]->stats.taken, 0);
	assert_int_equal(runs[3]->stats.errors[RESULT_ERROR_CONNECT], COUNT(requests));
	for (size_t i = 0; i < COUNT(runs); i++)
		run_free(runs[i]);
	close(fd);
	server_stop(s);
}

static void test_stats_add(void **state)
{
	static struct replay_stats a, b;

	(void)state;
	a.sent = a.status[200] = a.taken = 3;
	a.start_us = 500;
	a.elapsed_us = 10;
	histogram_add(&a.latency, 100);
	b.failed = b.errors[RESULT_ERROR_TLS] = b.taken = 2;
	b.dropped = b.unsent = 1;
	b.start_us = 400;
	b.elapsed_us = 30;
	histogram_add(&b.latency, 300);
	replay_stats_add(&a, &b);
	assert_int_equal(a.taken, 5);
	assert_int_equal(a.sent, 3);
	assert_int_equal(a.errors[RESULT_ERROR_TLS], 2);
	assert_int_equal(a.status[200], 3);
	assert_int_equal(a.dropped + a.unsent, 2);
	assert_int_equal(a.start_us, 400);
	assert_int_equal(a.elapsed_us, 30);
	assert_int_equal(a.latency.count, 2);
	assert_int_equal(a.latency.max, 300);
}

static void note_connections(void *arg, const struct replay_stats *stats)
{
	struct run *r = arg;

	if (stats->taken == r->n && stats->sent <= 1 && stats->connections > r->warmed)
		r->warmed = stats->connections;
}

/* Connections that are wanted within the next second are open before they are. */
static void test_warm(void **state)
{
	static const struct request requests[] = {
		{"GET /ok HTTP/1.1", 1, 0, 0},
		{"GET /ok HTTP/1.1", 2, 900000, 0},
		{"GET /ok HTTP/1.1", 3, 900000, 0},
		{"GET /ok HTTP/1.1", 1, 900000, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	set_pace(r, (struct pace){.kind = PACE_RECORDED, .speed = 1});
	r->options.progress = note_connections;
	run_it(r, SC_OK);
	assert_int_equal(r->warmed, 3);
	assert_int_equal(r->stats.connections, 3);
	run_free(r);
	server_stop(s);
}

static int sink_refuse(struct result_sink *s, struct result *result, struct err *err)
{
	(void)s;
	result_free(result);
	return err_set(err, SC_EIO, "disk full");
}

static void test_sink_fails(void **state)
{
	static const struct result_sink_ops refusing = {.put = sink_refuse};
	static const struct request requests[] = {
		{"GET /ok HTTP/1.1", 1, 0, 0},
		{"GET /ok HTTP/1.1", 2, 0, 0},
		{"GET /ok HTTP/1.1", 1, 0, 0},
	};
	struct server *s = server_start();
	struct run *r = run_new(s->port, requests, COUNT(requests));

	(void)state;
	r->sink.ops = &refusing;
	run_it(r, SC_EIO);
	assert_string_equal(r->err.text, "disk full");
	run_free(r);
	server_stop(s);
}

static void test_nothing(void **state)
{
	struct server *s = server_start();
	struct run *r = run_new(s->port, NULL, 0);

	(void)state;
	run_it(r, SC_OK);
	assert_int_equal(r->stats.connections, 0);
	run_free(r);
	server_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_no_order),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_origin),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_sink_fails),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_drop_late),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_start_together),
		cmocka_unit_test(test_stats_add),
		cmocka_unit_test(test_warm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
