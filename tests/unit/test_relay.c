/* SPDX-License-Identifier: Apache-2.0 */
/* The relay between a reader and a sender that the test plays both, with real middlewares. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/limits.h"
#include "relay.h"

#define PYTHON "/usr/bin/python3 " MIDDLEWARES "/middleware.py "
#define MS 1000000ll
#define REPLAYED "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"

struct fixture {
	struct relay *relay;
	struct queue *in, *out;
	struct replay_start start;
	atomic_bool stop;
	struct node *taken; /* of out */
	char *seen[64];	    /* what went out, in order */
	uint32_t passes[64];
	unsigned n;
	struct relay_stats stats;
	struct err err;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool stop_wanted(void *arg)
{
	struct fixture *f = arg;

	return atomic_load(&f->stop);
}

/* connections 0: by the schedule. */
static void begin(struct fixture *f, const char *command, unsigned connections)
{
	struct relay_options o = {
		.marker = "7",
		.outs = &f->out,
		.n_outs = 1,
		.closed_loop = connections > 0,
		.connections = connections,
		.start = &f->start,
		.stop = stop_wanted,
		.arg = f,
	};

	*f = (struct fixture){.n = 0};
	replay_start_init(&f->start, 1);
	o.in = f->in = queue_new(LIMIT_QUEUE_BYTES, QUEUE_WAIT);
	f->out = queue_new(LIMIT_QUEUE_BYTES, QUEUE_WAIT);
	assert_non_null(f->in);
	assert_non_null(f->out);
	if (relay_new(command, &f->relay, &f->err) || relay_start(f->relay, &o, &f->err))
		fail_msg("%s", f->err.text);
}

static struct message *message_of(const char *text)
{
	const char *body = strstr(text, "\r\n\r\n") + 4;
	struct message *m = NULL;

	assert_int_equal(message_parse((const uint8_t *)text, (size_t)(body - text), MIB, &m),
			 SC_OK);
	assert_int_equal(buf_add_str(&m->body, body), SC_OK);
	m->body_size = m->body.len;
	return m;
}

static int push(struct fixture *f, int64_t id, int64_t offset_ns, const char *request,
		const char *response)
{
	struct exchange *ex = exchange_new();
	struct errand *e = NULL;
	int rc;

	assert_non_null(ex);
	ex->id = id;
	ex->ts_us = 1000000 + id;
	ex->request = message_of(request);
	ex->response = response ? message_of(response) : NULL;
	assert_int_equal(errand_new(ex, &e), SC_OK);
	e->offset_ns = offset_ns;
	e->pass = 3;
	rc = queue_push(f->in, &e->node, errand_footprint(e));
	if (rc)
		errand_free(e);
	queue_publish(f->in);
	return rc;
}

/* The next shot that goes out, after waiting for it; NULL at the end. */
static struct shot *sent(struct fixture *f)
{
	struct node *n;

	while (!f->taken) {
		int rc = queue_take(f->out, 1000, &f->taken);

		if (rc == SC_ECLOSED)
			return NULL;
	}
	n = f->taken;
	f->taken = n->next;
	n->next = NULL;
	return (struct shot *)(void *)n;
}

/* `response` NULL: the target failed. */
static void respond(struct fixture *f, const struct shot *shot, const char *response)
{
	struct result *r = result_new();

	assert_non_null(r);
	r->exchange_id = shot->exchange_id;
	r->pass = shot->pass;
	r->sent_us = 5;
	r->error = response ? RESULT_ERROR_NONE : RESULT_ERROR_RESET;
	r->response = response ? message_of(response) : NULL;
	relay_response(f->relay, r);
	result_free(r);
}

static void keep(struct fixture *f, struct shot *shot)
{
	assert_in_range(f->n, 0, 63);
	f->passes[f->n] = shot->pass;
	f->seen[f->n] = calloc(1, shot->len + 1);
	assert_non_null(f->seen[f->n]);
	memcpy(f->seen[f->n++], shot->bytes, shot->len);
	queue_return(f->out, &shot->node);
}

/* A target that answers all at once, until the end. */
static void serve(struct fixture *f, const char *response)
{
	struct shot *shot;

	while ((shot = sent(f))) {
		respond(f, shot, response);
		keep(f, shot);
	}
	queue_give_up(f->out); /* as a worker does that ends */
}

static void drop_shot(struct node *n)
{
	shot_free((struct shot *)(void *)n);
}

static int end(struct fixture *f)
{
	int rc = relay_end(f->relay, &f->stats, &f->err);

	queue_free(f->in, errand_drop);
	while (f->taken) {
		struct node *next = f->taken->next;

		drop_shot(f->taken);
		f->taken = next;
	}
	queue_free(f->out, drop_shot);
	for (unsigned i = 0; i < f->n; i++)
		free(f->seen[i]);
	return rc;
}

static void end_well(struct fixture *f)
{
	if (end(f))
		fail_msg("%s", f->err.text);
	assert_int_equal(f->stats.middleware.status, 0);
	assert_false(f->stats.middleware.killed);
}

/* Whatever goes through unchanged goes out as it would have without. */
static void test_echo(void **state)
{
	static const char chunked[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nabc";
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "echo", 8);
	push(&f, 1, 0, "GET /a HTTP/1.1\r\nhost:  x\r\n\r\n", NULL);
	push(&f, 2, 0, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", REPLAYED "AAAA");
	push(&f, 3, 0, chunked, NULL);
	push(&f, 4, 0, "CONNECT h:1 HTTP/1.1\r\n\r\n", NULL);
	queue_close(f.in);
	serve(&f, REPLAYED "BBBB");
	assert_int_equal(f.n, 3);
	assert_int_equal(f.passes[1], 3);
	assert_string_equal(f.seen[0], "GET /a HTTP/1.1\r\nhost:  x\r\nX-Shadow-Replay: 7\r\n\r\n");
	assert_string_equal(f.seen[1], "POST / HTTP/1.1\r\nContent-Length: 3\r\n"
				       "X-Shadow-Replay: 7\r\n\r\nabc");
	assert_string_equal(f.seen[2], "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
				       "X-Shadow-Replay: 7\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	end_well(&f);
	assert_int_equal(f.stats.taken, 4);
	assert_int_equal(f.stats.sent, 3);
	assert_int_equal(f.stats.skipped[SKIP_CONNECT], 1);
	assert_int_equal(f.stats.answers, 3);
	assert_int_equal(f.stats.answers_lost, 0);
}

static void test_change(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "change", 8);
	push(&f, 1, 0, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", NULL);
	queue_close(f.in);
	serve(&f, NULL);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.seen[0], "POST / HTTP/1.1\r\nContent-Length: 13\r\nX-Changed: yes\r\n"
				       "X-Shadow-Replay: 7\r\n\r\nabc, and more");
	end_well(&f);
	assert_int_equal(f.stats.answers, 0);
}

#define LOGIN "GET /login HTTP/1.1\r\n\r\n"
#define WITH_TOKEN "GET /x HTTP/1.1\r\nToken: AAAA\r\n\r\n"

/* In a closed loop of one, what the target answered has come by before the next request is asked
 * about. */
static void test_token_closed_loop(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "token", 1);
	push(&f, 1, 0, LOGIN, REPLAYED "AAAA");
	for (int64_t i = 2; i <= 40; i++)
		push(&f, i, 0, WITH_TOKEN, NULL);
	queue_close(f.in);
	serve(&f, REPLAYED "BBBB");
	assert_int_equal(f.n, 40);
	for (unsigned i = 1; i < f.n; i++)
		assert_non_null(strstr(f.seen[i], "Token: BBBB\r\n"));
	end_well(&f);
}

/* By the schedule: no request is asked about before it is due. The clock begins with the first one
 * that comes out. */
static void test_token_on_time(void **state)
{
	struct fixture f;
	struct shot *shot;
	int64_t start;

	(void)state;
	begin(&f, PYTHON "token", 0);
	push(&f, 1, 0, LOGIN, REPLAYED "AAAA");
	push(&f, 2, 100 * MS, WITH_TOKEN, NULL);
	queue_close(f.in);
	shot = sent(&f);
	assert_non_null(shot);
	replay_start_ready(&f.start);
	start = replay_start_at(&f.start, now_ns(), true);
	respond(&f, shot, REPLAYED "BBBB");
	keep(&f, shot);
	shot = sent(&f);
	assert_non_null(shot);
	assert_true(now_ns() - start >= 100 * MS);
	assert_int_equal(shot->offset_ns, 100 * MS);
	keep(&f, shot);
	assert_non_null(strstr(f.seen[1], "Token: BBBB\r\n"));
	assert_null(sent(&f));
	end_well(&f);
}

static void test_dropped(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "odd", 4);
	for (int64_t i = 0; i < 20; i++)
		push(&f, i, 0, LOGIN, NULL);
	queue_close(f.in);
	serve(&f, REPLAYED "BBBB");
	assert_int_equal(f.n, 10);
	end_well(&f);
	assert_int_equal(f.stats.taken, 20);
	assert_int_equal(f.stats.dropped, 10);
}

/* Those that answer only when their input ends are asked to. */
static void test_unflushed(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "buffered", 4);
	push(&f, 1, 0, LOGIN, NULL);
	queue_close(f.in);
	serve(&f, NULL);
	assert_int_equal(f.n, 1);
	end_well(&f);
}

static void test_answers_that_are_no_requests(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "/usr/bin/cut -c 1-100", 4);
	push(&f, 1, 0, LOGIN, NULL);
	queue_close(f.in);
	serve(&f, NULL);
	assert_int_equal(f.n, 0);
	end_well(&f);
	assert_int_equal(f.stats.dropped, 1);
	assert_int_equal(f.stats.no_requests, 1);
}

/* The child sees each request and its two answers under one id and in that order; the last too,
 * which comes when the workers have ended. */
static void test_log(void **state)
{
	struct shot *shot, *last;
	char path[] = "/tmp/test_relay_XXXXXX", command[512], kinds[64] = "", line[128];
	int fd = mkstemp(path);
	struct fixture f;
	FILE *log;
	char first[RECORD_ID + 1] = "";
	size_t n = 0;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	(void)snprintf(command, sizeof(command), PYTHON "log %s", path);
	begin(&f, command, 1);
	push(&f, 1, 0, LOGIN, REPLAYED "AAAA");
	push(&f, 2, 0, LOGIN, REPLAYED "AAAA");
	queue_close(f.in);
	shot = sent(&f);
	respond(&f, shot, REPLAYED "BBBB");
	keep(&f, shot);
	last = sent(&f);
	assert_null(sent(&f));
	queue_give_up(f.out);
	respond(&f, last, REPLAYED "BBBB");
	keep(&f, last);
	end_well(&f);
	log = fopen(path, "r");
	assert_non_null(log);
	while (fgets(line, sizeof(line), log)) {
		assert_in_range(n, 0, sizeof(kinds) - 2);
		kinds[n++] = line[0];
		if (!*first)
			memcpy(first, line + 2, RECORD_ID);
		assert_int_equal(strncmp(first, line + 2, RECORD_ID) == 0, n <= 3);
	}
	assert_string_equal(kinds, "123123");
	(void)fclose(log);
	unlink(path);
}

/* Everybody hears of it: the sender by the end of its queue, the reader when it pushes. */
static void test_death(void **state)
{
	struct fixture f;
	int rc = SC_OK;

	(void)state;
	begin(&f, PYTHON "die_after 2", 1);
	for (int64_t i = 0; i < 5; i++)
		push(&f, i, 0, LOGIN, NULL);
	serve(&f, REPLAYED "BBBB");
	assert_int_equal(f.n, 2);
	assert_true(queue_given_up(f.in));
	for (int64_t i = 5; i < 1000000 && !rc; i++)
		rc = push(&f, i, 0, LOGIN, NULL);
	assert_int_equal(rc, SC_ECLOSED);
	assert_int_equal(end(&f), SC_EPROTO);
	assert_non_null(strstr(f.err.text, "ended with status 7"));
	assert_int_equal(f.stats.sent, 2);
}

static void test_no_program(void **state)
{
	struct relay *relay = NULL;
	struct err err;

	(void)state;
	assert_int_equal(relay_new("/nonexistent", &relay, &err), SC_EINVAL);
	assert_null(relay);
	relay_free(relay);
	assert_int_equal(relay_new("cat", &relay, &err), SC_OK);
	relay_free(relay);
}

/* A request that is due in an hour does not keep anybody who wants to stop. */
static void test_stop(void **state)
{
	struct fixture f;
	struct shot *shot;

	(void)state;
	begin(&f, PYTHON "requests", 0);
	push(&f, 1, 0, LOGIN, NULL);
	push(&f, 2, 3600000 * MS, LOGIN, NULL);
	shot = sent(&f);
	assert_non_null(shot);
	replay_start_ready(&f.start);
	(void)replay_start_at(&f.start, now_ns(), true);
	respond(&f, shot, REPLAYED "BBBB");
	keep(&f, shot);
	atomic_store(&f.stop, true);
	assert_null(sent(&f));
	end_well(&f);
	assert_int_equal(f.stats.sent, 1);
	assert_int_equal(f.stats.skipped[SKIP_STOPPED], 1);
}

/* The same when the sender is gone. */
static void test_abandoned(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, PYTHON "requests", 0);
	push(&f, 1, 0, LOGIN, NULL);
	push(&f, 2, 3600000 * MS, LOGIN, NULL);
	queue_give_up(f.out);
	end_well(&f);
	assert_int_equal(f.stats.taken, 2);
}

/* A child that reads nothing stops neither the writer nor, in the end, anybody. */
static void test_deaf(void **state)
{
	struct shot shot = {.exchange_id = 1, .pass = 3};
	struct fixture f;
	char *big = calloc(1, MIB);

	(void)state;
	assert_non_null(big);
	memset(big, 'x', MIB - 1);
	memcpy(big, REPLAYED, strlen(REPLAYED));
	begin(&f, PYTHON "hang", 0);
	push(&f, 1, 0, LOGIN, NULL);
	for (int i = 0; i < 200; i++)
		respond(&f, &shot, big);
	atomic_store(&f.stop, true);
	assert_int_equal(end(&f), SC_OK);
	assert_true(f.stats.answers_lost >= 199);
	assert_true(f.stats.middleware.killed);
	assert_int_equal(f.stats.sent, 0);
	free(big);
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int files_before(void **state)
{
	*state = (void *)(uintptr_t)open_files();
	return 0;
}

/* No test leaves a child or a descriptor behind. */
static int nothing_left(void **state)
{
	return (uintptr_t)*state == open_files() && waitpid(-1, NULL, WNOHANG) < 0 &&
			       errno == ECHILD
		       ? 0
		       : -1;
}

int main(void)
{
#define CHILD(test) cmocka_unit_test_setup_teardown(test, files_before, nothing_left)
	const struct CMUnitTest tests[] = {
		CHILD(test_echo),
		CHILD(test_change),
		CHILD(test_token_closed_loop),
		CHILD(test_token_on_time),
		CHILD(test_dropped),
		CHILD(test_unflushed),
		CHILD(test_answers_that_are_no_requests),
		CHILD(test_log),
		CHILD(test_death),
		CHILD(test_no_program),
		CHILD(test_stop),
		CHILD(test_abandoned),
		CHILD(test_deaf),
	};
#undef CHILD

	return cmocka_run_group_tests(tests, NULL, NULL);
}
