/* SPDX-License-Identifier: Apache-2.0 */
/* One target of a live mirror: what it is sent, a bounded queue, a thread that sends, and a circuit
 * that leaves a target alone while it answers nothing. The capture never waits for it: what it has
 * no room for is dropped and counted.
 *
 *     capture --shots--> sender --results--> tee (where there is one)
 *
 * Every request that is offered is counted in exactly one place. */
#ifndef CLI_MIRROR_TARGET_H
#define CLI_MIRROR_TARGET_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "connect_opts.h"
#include "core/limits.h"
#include "core/policy.h"
#include "core/queue.h"
#include "core/sample.h"
#include "mirror_circuit.h"
#include "replay/replay.h"
#include "replay/shot.h"
#include "replay_args.h"

#define TARGET_TEXT 1024

/* Where an offered request can be: member, JSON name, and what a person reads. Their sum is what
 * was offered, at any time. */
#define MIRROR_PART_TABLE(X)                                                                       \
	X(ANSWERED, "answered", "answered")                                                        \
	X(FAILED, "failed", "failed")                                                              \
	X(WAITING, "waiting", "on their way")                                                      \
	X(UNSAMPLED, "unsampled", "unsampled")                                                     \
	X(HELD_BACK, "held_back", "held back (--methods)")                                         \
	X(QUEUE_DROPPED, "queue_dropped", "dropped (queue full)")                                  \
	X(PAUSED_DROPPED, "paused_dropped", "dropped (target paused)")                             \
	X(LATE, "too_late", "dropped (waited longer than --timeout)")                              \
	X(STOPPED, "stopped", "not sent before the end")                                           \
	X(ITSELF, "to_itself", "for the target itself")                                            \
	X(OVER_MAX_BODY, "over_max_body", "with a body over --max-body")                           \
	X(INCOMPLETE, "incomplete", "with bytes missing")                                          \
	X(FRAMING, "framing", "with a wrong Content-Length")                                       \
	X(HTTP_09, "http_09", "HTTP/0.9")                                                          \
	X(CONNECT, "connect", "CONNECT")                                                           \
	X(UPGRADE, "upgrade", "upgrades")                                                          \
	X(TOO_LARGE, "too_large", "with too large a head")                                         \
	X(NO_MEMORY, "no_memory", "without memory")

#define MIRROR_PART_ID(id, name, help) PART_##id,
enum mirror_part { MIRROR_PART_TABLE(MIRROR_PART_ID) PARTS };
#undef MIRROR_PART_ID

/* What all targets of a mirror share. Borrowed. */
struct mirror_common {
	const char *methods;
	unsigned max_in_flight;
	uint64_t queue_bytes;
	int64_t timeout_us;
	unsigned circuit; /* errors in a row that open it; 0: never */
	struct body_room *room; /* for what is kept of answers */
	bool keep_answers; /* whole, for a tee or a comparison */
	bool spares_itself; /* what goes to the target's own address is not sent there once more */
	bool wait; /* from a file: a full queue holds the capture up, and nothing is too late */
	bool (*stop)(void *arg);
	void *arg;
};

struct mirror_target {
	const struct mirror_common *common;
	char url[TARGET_TEXT];
	struct target_url target;
	struct connect_options connect;
	int destination; /* of the policy; -1: not one of a manifest */
	struct chain chain; /* changes of its copies */
	struct sampler sampler;

	struct queue *shots;
	struct queue *results; /* to the tee; NULL: answers are only counted */
	int wake;	       /* eventfd: there are shots */
	atomic_bool hungry;    /* the sender has taken all there was, and sleeps until it is woken */
	unsigned unpublished;  /* the capture's: shots that the sender cannot see yet */
	struct replay_start start;
	struct replay_options options;
	pthread_t thread;
	bool started;

	/* The capture's account, of the parts that it decides. */
	uint64_t offered, handed;
	uint64_t parts[PARTS];

	/* The sender's; `stats` is whole once it is joined. */
	struct shot_feed feed;
	struct result_sink sink;
	struct replay_stats stats;
	int rc;
	struct err err;
	struct node *taken, *over;
	unsigned n_over;
	size_t over_bytes;
	int64_t settled; /* exchange_id of the latest result */
	struct circuit circuit;
	uint64_t dropped_before; /* when it opened */
	int64_t said_us;	 /* the hour in which lines about the circuit are counted ... */
	unsigned said;		 /* ... and how many there were */
	int64_t looked_us;	 /* when the addresses were looked up */
	_Atomic uint64_t paused_dropped, tee_dropped;

	/* Copies for other threads, and where connections go. */
	pthread_mutex_t lock;
	struct replay_stats seen;
	uint64_t pauses;
	bool paused;
	struct addr addresses[LIMIT_MIRROR_ADDRESSES];
	unsigned n_addresses;
};

/* Queues, options and the thread. What is in `t` by then: url, target, connect, destination, chain.
 * SC_ENOMEM, SC_EIO. */
int mirror_target_start(struct mirror_target *t, const struct mirror_common *common,
			const struct sample_key *key, uint64_t seed, struct err *err);

/* Whether connections to the target go to this very address. */
bool mirror_target_is(struct mirror_target *t, const struct addr *server);

/* The capture's: a whole request, borrowed, at this percentage. True: a copy is on its way. */
bool mirror_target_offer(struct mirror_target *t, const struct exchange *ex, double percent);
/* The capture's, whenever it has nothing else to do: what was offered is seen by the sender. */
void mirror_target_publish(struct mirror_target *t);

/* No more will come. stop: waits for what is in flight, which is bounded. */
void mirror_target_close(struct mirror_target *t);
void mirror_target_stop(struct mirror_target *t);
void mirror_target_done(struct mirror_target *t); /* all zero is fine */

/* What was sent and answered until now, by any thread. */
void mirror_target_stats(struct mirror_target *t, struct replay_stats *ret);

/* A few lines for a person, and an object: the account so far. After stop nothing waits any
 * more. */
int mirror_target_text(struct mirror_target *t, struct buf *out);
json_t *mirror_target_json(struct mirror_target *t);
bool mirror_target_adds_up(struct mirror_target *t); /* after stop */

#endif
