/* SPDX-License-Identifier: Apache-2.0 */
/* A replay under way. Each target is a run of its own, with a row in the store and an account: one
 * thread reads and prepares its requests, and some loops send them; so that a target that hangs
 * costs no other anything. One thread writes the results of all. They share one schedule, for each
 * run computes the same due times, and all loops start together.
 *
 *     reader --shots--> worker --results--> writer
 *
 * What is done with goes back the same way, to be freed by the thread that made it. */
#ifndef CLI_REPLAY_JOB_H
#define CLI_REPLAY_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/limits.h"
#include "core/queue.h"
#include "destination.h"
#include "replay/replay.h"
#include "replay/summary.h"
#include "relay.h"
#include "replay_args.h"

struct run;

struct worker {
	struct run *run;
	struct queue *shots;   /* reader -> worker */
	struct queue *results; /* worker -> writer */
	bool written;	       /* the writer has seen the end of the results */
	struct replay_options options;
	struct replay_stats stats; /* the worker's */
	struct replay_stats seen;  /* a copy for others, under job->lock */
	pthread_t thread;
	int rc;
	struct err err;

	/* The worker's end of both queues. */
	struct shot_feed feed;
	struct result_sink sink;
	struct node *taken; /* shots not asked for yet */
	struct node *over;  /* sent, and to be given back */
	unsigned n_over;
};

struct run {
	struct job *job;
	char *url;
	struct target_url target;
	double weight; /* 0: none was given */
	struct share share;
	struct connect_options connect;
	int destination; /* of the policy; -1: a --to */
	char *mirror;	 /* its name; NULL: a --to */
	struct destination_way way; /* to it */
	struct rules rules;
	struct chain chain;
	struct chain answers; /* redacts them; the writer's */
	struct store *in;
	struct result_sink *sink;
	int64_t id;
	char marker[24];
	uint32_t passes_before; /* that have results, of a run that goes on */
	struct worker *workers;
	unsigned n_workers;
	struct relay *relay;   /* NULL: no middleware */
	struct queue *errands; /* reader -> relay, which then fills the workers' queues */
	struct queue **outs;   /* these queues */
	struct relay_stats relayed;
	int relay_rc;
	struct err relay_err;

	struct schedule schedule; /* the reader's, as all below until it is joined */
	struct source *source;	  /* of a pass */
	uint32_t pass;
	uint64_t turn;	  /* of workers */
	struct home {
		uint64_t connection;
		unsigned worker; /* from 1; 0: the place is free */
	} *homes; /* of the first recorded connections; NULL: there is but one worker */
	unsigned n_homes, homes_room; /* room: a power of two */
	uint64_t n_shots; /* made in this pass, for all targets */
	uint64_t n_unsampled; /* in this pass, the same */
	uint64_t n_rows, n_made; /* exchanges read, and requests of this target made of them */
	_Atomic uint64_t rows, made; /* the same now and then, for others */
	pthread_t reader;
	int read_rc;
	struct err read_err;
	struct account account;

	struct replay_stats stats; /* of all workers, in the end */
};

/* The run that goes on, as its row tells of it; all owned. */
struct resumed {
	char *target, *options;
	char *mirror; /* a destination's name; NULL: a --to, or of an older program */
	uint64_t results;
	uint32_t passes; /* that have results */
};

struct job {
	const struct replay_args *args;
	struct resumed resumed;
	char pace[PACE_NAME];
	struct run runs[LIMIT_TARGETS];
	unsigned n_runs;
	struct store *out;
	int64_t from_us, until_us;
	int64_t planned_us; /* the recording's length at its pace; 0: not known */
	unsigned fewer;	    /* connections than the default, for want of open files; 0: as many */
	uint64_t open_files; /* that are allowed, then */
	bool whole;	    /* the recording: all of it has ended */
	uint64_t total;	    /* exchanges that will be read by each run, about; 0: not known */
	struct policy *policy; /* of the manifests, for all runs; NULL: none */
	struct addr *origins;
	size_t n_origins;

	struct replay_start start;
	struct body_room room;
	atomic_bool failed; /* something did, so that all the rest ends */
	pthread_t writer;
	int write_rc;
	struct err write_err;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned running; /* workers, under the lock */
	atomic_bool pressed; /* a queue of results is half full: the writer is to come at once */
	int64_t last_line_us;
	bool line_open;
};

#define GIVE_BACK 64u /* nodes given back to a queue at once, while they are still in the cache */

/* What each worker's queues hold. */
static inline size_t job_queue_bytes(const struct job *j)
{
	return LIMIT_QUEUE_BYTES / (replay_args_workers(j->args) * j->n_runs);
}

/* As fast as the target answers, instead of at due times. */
static inline bool job_is_closed(const struct job *j)
{
	return j->args->pace.pace.kind == PACE_MAX;
}

/* Whether a target turned out to be an origin. */
static inline bool job_was_refused(const struct job *j)
{
	for (unsigned i = 0; i < j->n_runs; i++) {
		for (unsigned k = 0; k < j->runs[i].n_workers; k++) {
			if (j->runs[i].workers[k].rc == SC_EINVAL)
				return true;
		}
	}
	return false;
}

/* Queues and options of the workers, when everything else of the run is there. SC_ENOMEM. */
int run_prepare(struct run *run, struct err *err);
/* The thread that reads for a run. */
void *reader_main(void *run);
/* Nothing more is sent: what was read and not taken is accounted for. After its thread has
 * ended. */
void run_settle(struct run *run, bool failed);
void run_done(struct run *run); /* all zero is fine */

/* The worker's ends of its queues. */
void worker_connect(struct worker *w);

/* The calling thread makes way for those that send. */
void job_steps_back(void);

/* Whether somebody or something wants it to end. */
bool job_ends(const struct job *j);

/* Starts all threads, shows how far it is, and waits for their end. The first error is returned. */
int job_run(struct job *j, struct err *err);

#endif
