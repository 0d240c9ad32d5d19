/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "engine_fixture.h"

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
	if (r->at == 0)
		schedule_init(&r->schedule, &r->pace);
	*ret = shot_of(&r->requests[r->at], (int64_t)r->at);
	(*ret)->offset_ns = schedule_next(&r->schedule, r->requests[r->at].ts_us);
	r->at++;
	return 1;
}

static void feed_done(struct shot_feed *f, struct shot *shot)
{
	struct run *r = (struct run *)(void *)f;

	r->returned++;
	shot_free(shot);
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

static const struct result_sink_ops sink_ops = {.put = sink_keep};

struct run *run_new(uint16_t port, const struct request *requests, size_t n)
{
	struct run *r = calloc(1, sizeof(*r));
	char url[64];

	assert_non_null(r);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	assert_int_equal(target_parse(url, &r->target, &r->err), SC_OK);
	r->feed.next = feed_next;
	r->feed.done = feed_done;
	r->sink.ops = &sink_ops;
	r->requests = requests;
	r->n = n;
	r->pace = (struct pace){.kind = PACE_MAX, .speed = 1};
	r->options = (struct replay_options){
		.target = &r->target,
		.closed_loop = true,
		.connections = 8,
		.timeout_us = 20000000,
		.ordered = true,
		.save = SAVE_ANSWERS_FULL,
		.arg = r,
	};
	return r;
}

void run_it(struct run *r, int expect)
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
	assert_int_equal(r->stats.taken, r->stats.sent + r->stats.failed + r->stats.dropped +
						 r->stats.unsent);
	assert_int_equal(r->stats.taken, r->at);
	assert_int_equal(r->returned, r->at);
	assert_int_equal(r->stats.in_flight, 0);
	assert_int_equal(r->n_results, r->stats.sent + r->stats.failed);
	assert_int_equal(r->stats.service.count, r->stats.sent);
}

void run_free(struct run *r)
{
	for (size_t i = 0; i < MAX_REQUESTS; i++)
		result_free(r->results[i]);
	free(r);
}
