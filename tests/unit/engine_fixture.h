/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the sending loop with requests made on the spot, whose results are kept. */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include "hostile_server.h"
#include "replay/replay.h"
#include "replay/schedule.h"

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
	struct pace pace;
	struct schedule schedule;
	size_t returned; /* shots that came back */
	uint64_t warmed; /* connections open before the second request */
	bool hesitates;			      /* the feed has nothing every other time */
	struct result *results[MAX_REQUESTS]; /* by exchange id; owned */
	size_t n_results;
	struct server *server; /* the one it stops by */
	unsigned stop_after;
	int64_t ends_ns; /* what holds it up, if anything does */
};

/* Towards 127.0.0.1, as fast as it goes; `requests` are borrowed. */
struct run *run_new(uint16_t port, const struct request *requests, size_t n);
/* All of it, and the sums that hold for every run. `expect` is what replay_run() is to return. */
void run_it(struct run *r, int expect);
void run_free(struct run *r);

#endif
