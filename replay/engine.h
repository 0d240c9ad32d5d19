/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the sending loop share: slot.c takes one request over one connection,
 * engine.c decides which and when. */
#ifndef REPLAY_ENGINE_H
#define REPLAY_ENGINE_H

#include <sys/queue.h>

#include "conn.h"
#include "core/limits.h"
#include "lanes.h"
#include "replay/answer.h"
#include "replay/replay.h"

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define LATE_NS NS_PER_MS
#define RECEIVE_BYTES (64u * KIB)

enum slot_state {
	SLOT_IDLE,
	SLOT_CONNECTING,
	SLOT_BUSY, /* a request is going out or waits for its answer */
};

/* One place for a connection. Opened when it is first needed, and again after it was closed. */
struct slot {
	struct conn conn;
	struct answer *answer;
	enum slot_state state;
	TAILQ_ENTRY(slot) link; /* in `idle`, or in `busy` */
	struct lane *lane;	/* bound to it; NULL: none, and always without an order */
	struct shot *shot;	/* owned; NULL when idle, or connecting for the first time of all */
	size_t out;		/* bytes of it that went out */
	int64_t sent_ns;	/* when the first of them did */
	int64_t first_ns;	/* first byte of the answer; 0: none yet */
	bool reused;		/* the connection was open before this request */
	bool watches_out;	/* epoll tells when it can take more bytes */
	bool send_broke;
};
TAILQ_HEAD(slot_list, slot);

struct engine {
	const struct replay_options *options;
	struct shot_feed *feed;
	struct result_sink *sink;
	struct replay_stats *stats;
	struct err *err;
	int rc; /* why the run ends early */

	CURLM *multi;
	int epoll;
	int64_t curl_due_ns;
	struct slot *slots;
	uint32_t n_slots;      /* used so far */
	struct slot_list idle; /* most recently used first */
	struct slot_list busy; /* in order of sent_ns, hence of their time-outs */
	struct lanes *lanes;
	struct lane *common; /* of all shots, when no order is kept */

	struct schedule schedule;
	struct shot *next; /* taken from the feed and not due yet; owned */
	bool begun;	   /* the schedule runs */
	bool feed_ended;
	bool starved; /* the feed had nothing */
	bool stopping;
	int64_t next_tick_ns;
	int64_t wall_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC at the start */
	uint8_t in[RECEIVE_BYTES];
};

int64_t now_ns(void); /* CLOCK_MONOTONIC */

static inline int64_t wall_us(const struct engine *e, int64_t ns)
{
	return (ns + e->wall_ns) / NS_PER_US;
}

/* The run ends with this, unless something else ended it before. */
void give_up(struct engine *e, int rc);
void give_up_memory(struct engine *e);

/* An event that is about a slot carries this. */
static inline uint64_t tag_slot(const struct engine *e, const struct slot *s)
{
	return (uint64_t)(s - e->slots) << 1;
}

void watch(int epoll, int fd, uint32_t events, uint64_t tag);

/* Begins a request; the slot is in no list, `shot` is moved into it. */
void slot_begin(struct engine *e, struct slot *s, struct shot *shot);
/* The slot is in no list and has nothing to do: it takes what waits longest, or is idle. */
void slot_release(struct engine *e, struct slot *s);
int slot_connect(struct engine *e, struct slot *s); /* SC_ENOMEM */
/* libcurl is done with connecting. True: that was for no request. SC_EINVAL goes to give_up(). */
bool slot_connected(struct engine *e, struct slot *s, CURLcode code);
void slot_event(struct engine *e, struct slot *s, uint32_t events);
void slot_fail(struct engine *e, struct slot *s, enum result_error error);
void slot_close(struct slot *s);

#endif
