/* SPDX-License-Identifier: Apache-2.0 */
/* The sending loop against a small hostile server on loopback. What the server does with a request
 * is said by the request's path. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/limits.h"
#include "replay/replay.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_REQUESTS 4096
#define MAX_CONNECTIONS 512

/* -- the server ----------------------------------------------------------------------------- */

struct seen {
	unsigned connection; /* of the server's, from 0 */
	char path[64];
};

struct server {
	int fd;
	uint16_t port;
	pthread_t acceptor;
	pthread_mutex_t lock;
	struct seen seen[MAX_REQUESTS];
	unsigned n_seen;
	pthread_t threads[MAX_CONNECTIONS];
	unsigned n_connections;
};

struct visit {
	struct server *server;
	int fd;
	unsigned connection;
	unsigned n; /* requests on it so far, this one included */
	char head[4096];
	size_t have;
};

static void say(int fd, const char *text)
{
	size_t len = strlen(text), at = 0;

	while (at < len) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += (size_t)n;
	}
}

static void until_closed(int fd)
{
	char sink[65536];

	while (recv(fd, sink, sizeof(sink), 0) > 0)
		;
}

/* Each answers one request; false: the connection is over. */
static bool serve_ok(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	return true;
}

static bool serve_hang(struct visit *v)
{
	until_closed(v->fd);
	return false;
}

static bool serve_reset(struct visit *v)
{
	struct linger now = {1, 0};

	setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return false;
}

static bool serve_garbage(struct visit *v)
{
	say(v->fd, "\x16\x03\x01 what?\r\n\r\n");
	until_closed(v->fd);
	return false;
}

static bool serve_half(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	return false;
}

static bool serve_trickle(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	until_closed(v->fd);
	return false;
}

static bool serve_early(struct visit *v)
{
	(void)v;
	return false;
}

static bool serve_stale(struct visit *v)
{
	return v->n == 1 && serve_ok(v);
}

static bool serve_until_close(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\n\r\nto the end");
	return false;
}

static bool serve_interim(struct visit *v)
{
	say(v->fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
	return serve_ok(v);
}

static bool serve_bytewise(struct visit *v)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "1\r\na\r\n2\r\nbc\r\n0\r\nX-T: 1\r\n\r\n";

	for (size_t i = 0; i + 1 < sizeof(text); i++)
		say(v->fd, (char[]){text[i], '\0'});
	return true;
}

static bool serve_head(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	return true;
}

static bool serve_surplus(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokand more");
	until_closed(v->fd);
	return false;
}

static bool serve_close(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
	return false;
}

/* Takes the body, whose length the path does not say, and tells how long it was. */
static bool serve_count(struct visit *v)
{
	const char *end = strstr(v->head, "\r\n\r\n");
	const char *length = strstr(v->head, "Content-Length: ");
	size_t want = length ? strtoul(length + 16, NULL, 10) : 0;
	size_t have = (size_t)(v->head + v->have - (end + 4));
	char sink[65536], text[128], body[32];

	while (have < want) {
		ssize_t n = recv(v->fd, sink, sizeof(sink), 0);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	v->have = (size_t)(end + 4 - v->head);
	snprintf(body, sizeof(body), "%zu", have);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(body), body);
	say(v->fd, text);
	return true;
}

/* An answer before the request is whole, or nearly so. */
static bool serve_refuse(struct visit *v)
{
	say(v->fd, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
	until_closed(v->fd);
	return false;
}

static const struct {
	const char *path;
	bool (*serve)(struct visit *v);
} pages[] = {
	{"/ok", serve_ok},
	{"/hang", serve_hang},
	{"/reset", serve_reset},
	{"/garbage", serve_garbage},
	{"/half", serve_half},
	{"/trickle", serve_trickle},
	{"/early", serve_early},
	{"/stale", serve_stale},
	{"/until-close", serve_until_close},
	{"/interim", serve_interim},
	{"/bytes", serve_bytewise},
	{"/head", serve_head},
	{"/surplus", serve_surplus},
	{"/close", serve_close},
	{"/count", serve_count},
	{"/refuse", serve_refuse},
};

static bool serve_page(struct visit *v)
{
	struct server *s = v->server;
	char path[64] = "";
	size_t len;

	sscanf(v->head, "%*s %63s", path);
	pthread_mutex_lock(&s->lock);
	if (s->n_seen < MAX_REQUESTS) {
		s->seen[s->n_seen].connection = v->connection;
		memcpy(s->seen[s->n_seen++].path, path, sizeof(path));
	}
	pthread_mutex_unlock(&s->lock);
	len = strcspn(path, "?");
	for (size_t i = 0; i < COUNT(pages); i++) {
		if (strlen(pages[i].path) == len && strncmp(pages[i].path, path, len) == 0)
			return pages[i].serve(v);
	}
	return false;
}

static void *connection_main(void *arg)
{
	struct visit *v = arg;

	for (;;) {
		char *end = strstr(v->head, "\r\n\r\n");
		ssize_t n;

		if (end) {
			size_t used = (size_t)(end + 4 - v->head);

			v->n++;
			if (!serve_page(v))
				break;
			memmove(v->head, v->head + used, v->have - used + 1);
			v->have -= used;
			continue;
		}
		n = recv(v->fd, v->head + v->have, sizeof(v->head) - 1 - v->have, 0);
		if (n <= 0)
			break;
		v->have += (size_t)n;
		v->head[v->have] = '\0';
	}
	close(v->fd);
	free(v);
	return NULL;
}

static void *acceptor_main(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0 && s->n_connections < MAX_CONNECTIONS) {
		struct visit *v = calloc(1, sizeof(*v));

		v->server = s;
		v->fd = fd;
		v->connection = s->n_connections;
		pthread_create(&s->threads[s->n_connections++], NULL, connection_main, v);
	}
	return NULL;
}

static int bound_socket(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

static struct server *server_start(void)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->fd = bound_socket(&s->port);
	assert_int_equal(listen(s->fd, 512), 0);
	pthread_mutex_init(&s->lock, NULL);
	pthread_create(&s->acceptor, NULL, acceptor_main, s);
	return s;
}

static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR); /* ends accept() */
	pthread_join(s->acceptor, NULL);
	for (unsigned i = 0; i < s->n_connections; i++)
		pthread_join(s->threads[i], NULL);
	close(s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static unsigned server_seen(struct server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->n_seen;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* -- requests and results ------------------------------------------------------------------- */

struct request {
	const char *head;    /* start line and fields without the blank line */
	uint64_t connection; /* recorded */
	int64_t ts_us;
	size_t body; /* that many x */
};

struct run {
	struct shot_feed feed;
	struct result_sink sink;
	struct replay_options options;
	struct target_url target;
	struct replay_stats stats;
	struct err err;
	const struct request *requests;
	size_t n, at;
	bool hesitates;			      /* the feed has nothing every other time */
	struct result *results[MAX_REQUESTS]; /* by exchange id; owned */
	size_t n_results;
	struct server *server; /* the one it stops by */
	unsigned stop_after;
};

static struct shot *shot_of(const struct request *r, int64_t id)
{
	struct exchange *ex = exchange_new();
	struct shot *shot = NULL;
	enum skip skip;
	char head[512];

	if (r->body)
		snprintf(head, sizeof(head), "%s\r\nContent-Length: %zu\r\n\r\n", r->head, r->body);
	else
		snprintf(head, sizeof(head), "%s\r\n\r\n", r->head);
	assert_int_equal(message_parse((const uint8_t *)head, strlen(head), 64 * MIB, &ex->request),
			 SC_OK);
	for (size_t i = 0; i < r->body; i += 1024)
		assert_int_equal(buf_add(&ex->request->body, (char[1024]){0},
					 r->body - i < 1024 ? r->body - i : 1024),
				 SC_OK);
	ex->request->body_size = r->body;
	ex->id = id;
	ex->connection = r->connection;
	ex->ts_us = r->ts_us;
	assert_int_equal(shot_new(ex, "1", &shot, &skip), SC_OK);
	assert_int_equal(skip, SKIP_NONE);
	exchange_free(ex);
	return shot;
}

static int feed_next(struct shot_feed *f, struct shot **ret, struct err *err)
{
	struct run *r = (struct run *)(void *)f;

	(void)err;
	r->hesitates = !r->hesitates;
	if (r->hesitates)
		return SC_EAGAIN;
	if (r->at == r->n)
		return 0;
	*ret = shot_of(&r->requests[r->at], (int64_t)r->at);
	r->at++;
	return 1;
}

static int sink_keep(struct result_sink *s, struct result *result, struct err *err)
{
	struct run *r = (struct run *)(void *)((char *)s - offsetof(struct run, sink));

	(void)err;
	assert_null(r->results[result->exchange_id]);
	r->results[result->exchange_id] = result;
	r->n_results++;
	return SC_OK;
}

static bool stop_when_seen(void *arg)
{
	struct run *r = arg;

	return server_seen(r->server) >= r->stop_after;
}

static const struct result_sink_ops sink_ops = {.put = sink_keep};

static struct run *run_new(uint16_t port, const struct request *requests, size_t n)
{
	struct run *r = calloc(1, sizeof(*r));
	char url[64];

	assert_non_null(r);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	assert_int_equal(target_parse(url, &r->target, &r->err), SC_OK);
	r->feed.next = feed_next;
	r->sink.ops = &sink_ops;
	r->requests = requests;
	r->n = n;
	r->options = (struct replay_options){
		.target = &r->target,
		.pace = {PACE_MAX, 1, 0},
		.connections = 8,
		.timeout_us = 20000000,
		.ordered = true,
		.save = SAVE_ANSWERS_FULL,
		.arg = r,
	};
	return r;
}

static void run_it(struct run *r, int expect)
{
	uint64_t statuses = 0, errors = 0;

	if (replay_run(&r->options, &r->feed, &r->sink, &r->stats, &r->err) != expect)
		fail_msg("%s", r->err.text);
	for (unsigned i = 0; i < STATUS_CODES; i++)
		statuses += r->stats.status[i];
	for (int i = 0; i < RESULT_ERRORS; i++)
		errors += r->stats.errors[i];
	assert_int_equal(statuses, r->stats.sent);
	assert_int_equal(errors, r->stats.failed);
	if (expect != SC_OK)
		return;
	assert_int_equal(r->stats.taken, r->stats.sent + r->stats.failed + r->stats.unsent);
	assert_int_equal(r->stats.taken, r->n);
	assert_int_equal(r->stats.in_flight, 0);
	assert_int_equal(r->n_results, r->stats.sent + r->stats.failed);
	assert_int_equal(r->stats.service.count, r->stats.sent);
}

static void run_free(struct run *r)
{
	for (size_t i = 0; i < MAX_REQUESTS; i++)
		result_free(r->results[i]);
	free(r);
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
	assert_int_equal(s->n_seen, LANES * EACH);
	for (unsigned i = 0; i < s->n_seen; i++) {
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
static void check_pace(struct pace pace, int64_t step_us)
{
	struct request requests[20];
	struct server *s = server_start();
	struct run *r;

	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i] = (struct request){"GET /ok HTTP/1.1", i, (int64_t)i * 4000, 0};
	r = run_new(s->port, requests, COUNT(requests));
	r->options.pace = pace;
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
	check_pace((struct pace){PACE_RECORDED, 1, 0}, 4000);
	check_pace((struct pace){PACE_RECORDED, 4, 0}, 1000);
	check_pace((struct pace){PACE_RATE, 1, 500}, 2000);
}

/* Larger than any socket buffer: goes out in pieces as the socket takes it. */
static void test_large(void **state)
{
	static const struct request requests[] = {
		{"POST /count HTTP/1.1", 1, 0, 20000000},
		{"POST /count HTTP/1.1", 1, 0, 100},
		{"POST /refuse HTTP/1.1", 2, 0, 20000000},
		{"GET /ok HTTP/1.1", 2, 0, 0},
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
	assert_int_equal(target_check(&r->target, origins, 2, &r->err), SC_EINVAL);
	assert_int_equal(target_check(&r->target, origins, 1, &r->err), SC_OK);
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
	r->options.pace = (struct pace){PACE_RECORDED, 20, 0};
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
		cmocka_unit_test(test_hostile),	   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_stale),	   cmocka_unit_test(test_retried_once),
		cmocka_unit_test(test_order),	   cmocka_unit_test(test_no_order),
		cmocka_unit_test(test_pace),	   cmocka_unit_test(test_large),
		cmocka_unit_test(test_origin),	   cmocka_unit_test(test_stop),
		cmocka_unit_test(test_sink_fails), cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
