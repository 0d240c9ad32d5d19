/* SPDX-License-Identifier: Apache-2.0 */
/* What the loops that send have in common, whatever they send with: the clock of the schedule, the
 * lanes, where shots come from and results go, and libcurl under epoll. engine.c is such a loop for
 * HTTP/1, h2.c for HTTP/2. */
#ifndef REPLAY_LOOP_H
#define REPLAY_LOOP_H

#include <curl/curl.h>
#include <sys/epoll.h>

#include "core/limits.h"
#include "lanes.h"
#include "replay/replay.h"

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define NEVER INT64_MAX
#define LATE_NS NS_PER_MS
#define STARVED_NS NS_PER_MS /* until an empty feed is asked again */

struct loop {
	const struct replay_options *options;
	struct shot_feed *feed;
	struct result_sink *sink; /* NULL: nobody wants results */
	struct replay_stats *stats;
	struct err *err;
	int rc; /* why the run ends early */

	CURLM *multi;
	int epoll;
	int64_t curl_due_ns;
	/* libcurl is done with a handle of ours. */
	void (*curl_over)(struct loop *l, void *owner, CURLcode code);

	struct lanes *lanes;
	struct lane *common; /* of all shots, when no order is kept */
	bool feed_ended;
	int64_t feed_at_ns; /* the feed had nothing, and is asked again then */

	struct replay_start own_start;
	struct replay_start *start;
	struct body_room own_room;
	struct body_room *room;
	bool begun; /* the schedule runs */
	bool stopping;
	int64_t start_ns; /* offset 0, when it has begun */
	int64_t end_ns;	  /* nothing begins then or later */
	int64_t next_tick_ns;
	int64_t wall_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC at the start */
};

/* One request that is over, as the clock saw it. */
struct ended {
	const struct shot *shot;
	int64_t sent_ns;  /* 0: never */
	int64_t first_ns; /* first byte of the answer; 0: none came */
	int64_t end_ns;
	enum result_error error;
};

int64_t now_ns(void); /* CLOCK_MONOTONIC */

static inline int64_t wall_us(const struct loop *l, int64_t ns)
{
	return (ns + l->wall_ns) / NS_PER_US;
}

/* `l` is zero but for options, feed, sink, stats, err and curl_over. SC_EIO, SC_ENOMEM; loop_done()
 * in any case. */
int loop_init(struct loop *l);
void loop_done(struct loop *l); /* handles that are still in the multi must be out of it */

/* The run ends with this, unless something else ended it before. */
void loop_give_up(struct loop *l, int rc);
void loop_give_up_memory(struct loop *l);

void watch(int epoll, int fd, uint32_t events, uint64_t tag);
/* Waits that long at most; how many events came, as epoll_wait() says it. */
int loop_wait(struct loop *l, struct epoll_event *events, int n, int64_t ns);
/* Events about libcurl's descriptors and the feed's are ours: their tags are odd. False: it is not. */
bool loop_event(struct loop *l, const struct epoll_event *event);
void loop_curl_tick(struct loop *l, int64_t now); /* and about its timers */

/* The next shot of the feed. False: not now; `feed_at_ns` or `feed_ended` say when. `again_ns` is
 * how long a feed that cannot wake us is left alone when it has none. */
bool loop_take(struct loop *l, int64_t now, int64_t again_ns, struct shot **ret);
/* Back to who made it. */
void loop_shot_over(struct loop *l, struct shot *shot);
/* Throws a shot away that is later than anybody wants it; false: it is not. */
bool loop_drop_late(struct loop *l, struct shot *shot, int64_t now);
/* As many wait as may be read ahead. */
static inline bool loop_is_full(const struct loop *l)
{
	return lanes_queued(l->lanes) >= LIMIT_READ_AHEAD;
}
/* Sets when it is due. `*now` is looked up again where that decides. */
bool loop_is_due(const struct loop *l, struct shot *shot, int64_t *now);
/* What is due then, or later, does not begin any more. */
static inline bool loop_has_ended(const struct loop *l, int64_t at)
{
	return at >= l->end_ns;
}

/* The schedule begins, if all who keep it are ready and somebody has something to send. */
bool loop_begin(struct loop *l, int64_t now, bool wanted);
/* Ten times a second: counts, shows, has results written. True: somebody wants it to stop. */
bool loop_tick(struct loop *l, int64_t now);
/* And does not wait for what is in flight either. */
bool loop_hurries(const struct loop *l);
void loop_count_elapsed(struct loop *l, int64_t now);
/* When something here is to be done next, at the latest. */
int64_t loop_wake_at(const struct loop *l);
static inline int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* SC_OK, or the peer is one of those that nothing may go to. */
int loop_refuse_origin(const struct loop *l, const struct addr *peer);
/* A request goes out; is it late? */
void loop_count_sent(struct loop *l, const struct shot *shot, int64_t sent_ns);
/* One that was begun is over. `status` where there is no error. */
void loop_count_end(struct loop *l, const struct ended *end, uint16_t status);
/* What an error was, in other words than its name; the first of each is kept. */
void loop_detail(struct loop *l, enum result_error error, const char *text);
/* Its result, on to the sink; `response` is moved, NULL on error. */
int loop_deliver(struct loop *l, const struct ended *end, struct message *response);
static inline bool loop_delivers(const struct loop *l)
{
	return l->sink && l->options->save != SAVE_ANSWERS_NONE;
}

#endif
