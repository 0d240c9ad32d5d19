/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the sending loop share: slot.c takes one request over one connection, ahead.c
 * looks at what is to come, engine.c decides which is next and when. */
#ifndef REPLAY_ENGINE_H
#define REPLAY_ENGINE_H

#include <sys/queue.h>

#include "conn.h"
#include "loop.h"
#include "replay/answer.h"

#define RECEIVE_BYTES (64u * KIB)

enum slot_state {
	SLOT_IDLE,
	SLOT_OUTGOING, /* has a request, which goes out at the end of the turn */
	SLOT_CONNECTING,
	SLOT_BUSY, /* a request is going out or waits for its answer */
};

/* One place for a connection. Opened when it is first needed, and again after it was closed. */
struct slot {
	struct conn conn;
	struct answer *answer;
	enum slot_state state;
	TAILQ_ENTRY(slot) link; /* in `idle`, `outgoing` or `busy` */
	struct lane *lane;	/* bound to it; NULL: none, and always without an order */
	struct shot *shot;	/* owned; NULL when idle, or connecting for the first time of all */
	size_t out;		/* bytes of it that went out */
	int64_t sent_ns;	/* when the first of them did */
	int64_t first_ns;	/* first byte of the answer; 0: none yet */
	int64_t doubt_ns;	/* until when it is not known whether anybody got it; 0 */
	int64_t quiet_ns;	/* when something was last heard on the connection */
	int64_t answered_ns;	/* its last byte, when that came before the request was out; 0 */
	bool reused;		/* the connection was open before this request */
	bool watches_out;	/* epoll tells when it can take more bytes */
	bool peer_ended;	/* what it said is all there will be */
	bool send_broke;
	bool was_reset; /* by the peer, as sending found out */
};
TAILQ_HEAD(slot_list, slot);

/* Shots taken from the feed and not due yet, in order; owned. */
struct ahead {
	struct shot *first, *last; /* linked by node.next */
	struct shot *cold; /* the first whose connection was not thought of; NULL: none */
	uint32_t n;
};

struct engine {
	struct loop loop; /* first */
	struct slot *slots;
	uint32_t n_slots;      /* used so far */
	uint32_t n_connecting; /* of these */
	struct slot_list idle; /* most recently used first */
	/* In a closed loop requests go out together: a target that is woken for one of them finds
	 * the others too. */
	struct slot_list outgoing;
	struct slot_list busy; /* in order of sent_ns, hence of their time-outs */
	struct ahead ahead;
	bool ready;	  /* and the start was told so */
	int64_t born_ns;
	int64_t doubts_at_ns; /* the next of doubt_ns, or earlier */
	int64_t spun_ns; /* waited awake in all */
	uint8_t in[RECEIVE_BYTES];
};

static inline uint32_t slot_number(const struct engine *e, const struct slot *s)
{
	return (uint32_t)(s - e->slots);
}

/* An event that is about a slot carries this: an even number. */
static inline uint64_t tag_slot(const struct engine *e, const struct slot *s)
{
	return (uint64_t)slot_number(e, s) << 1;
}

/* A place that was never used, NULL when there is none. */
struct slot *slot_new(struct engine *e);

/* Takes from the feed as far as there is room. */
void ahead_fill(struct engine *e, int64_t now);
/* The same, but one at most: often, so that each comes into the cache while others are sent. */
void ahead_fill_one(struct engine *e, int64_t now);
/* The next shot; there is one. */
struct shot *ahead_pop(struct engine *e);
uint64_t ahead_clear(struct engine *e); /* returns how many that were */
/* Opens connections for shots that will be due within the next second. */
void ahead_warm(struct engine *e, int64_t now);
/* As much is there as a start needs to know what it needs. */
bool ahead_is_filled(const struct engine *e);

/* Begins a request; the slot is in no list, `shot` is moved into it. */
void slot_begin(struct engine *e, struct slot *s, struct shot *shot);
/* Sends what is `outgoing`. */
void slots_go_out(struct engine *e);
/* The slot is in no list and has nothing to do: it takes what waits longest, or is idle. */
void slot_release(struct engine *e, struct slot *s);
int slot_connect(struct engine *e, struct slot *s); /* SC_ENOMEM */
/* libcurl is done with connecting. A refused origin ends the run. */
void slot_connected(struct engine *e, struct slot *s, CURLcode code);
/* What is connecting or outgoing no longer is; a request it was for counts as unsent. */
void slot_give_up(struct engine *e, struct slot *s);
void slot_event(struct engine *e, struct slot *s, uint32_t events);
/* Fails those that have waited long enough for a connection's reset. */
void slots_decide(struct engine *e, int64_t now);
void slot_fail(struct engine *e, struct slot *s, enum result_error error);
void slot_close(struct slot *s);

#endif
