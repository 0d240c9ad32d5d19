/* SPDX-License-Identifier: Apache-2.0 */
/* What every command is made of: source | stages | sink.
 *
 * A stage judges or changes an exchange. Most can judge when only the request's head is known; a
 * capture asks then, so that it never keeps the body of a request nobody wants. */
#ifndef CORE_STAGE_H
#define CORE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/exchange.h"

enum verdict {
	VERDICT_KEEP,
	VERDICT_FILTERED,
	VERDICT_UNSAMPLED,
	VERDICT_OWN, /* sent by a replay of ours */
	VERDICT_ERROR, /* no memory */
};

struct stage;
struct stage_ops {
	const char *name;
	/* A connection was opened by `client`; a stage that leaves it out whole says so here. NULL: nothing
	 * to say. */
	enum verdict (*flow)(struct stage *s, const struct addr *client, const struct addr *server);
	/* The request's head is known, bodies and response are not. May set ex->route and ex->sample.
	 * NULL: nothing to say. */
	enum verdict (*head)(struct stage *s, struct exchange *ex);
	/* The exchange is whole. May change it. NULL: nothing to say. */
	enum verdict (*whole)(struct stage *s, struct exchange *ex);
	void (*free)(struct stage *s);
};
struct stage { /* embedded first in each kind */
	const struct stage_ops *ops;
};
void stage_free(struct stage *s); /* NULL is fine */

struct chain {
	struct stage **stages; /* owned */
	unsigned n, room;
};
/* Moves `s`, also on failure; NULL stands for a stage there was no memory for. SC_ENOMEM. */
int chain_add(struct chain *c, struct stage *s);
void chain_done(struct chain *c);

/* In order, until one does not keep it. */
enum verdict chain_flow(const struct chain *c, const struct addr *client, const struct addr *server);
enum verdict chain_head(const struct chain *c, struct exchange *ex);
enum verdict chain_whole(const struct chain *c, struct exchange *ex);

/* Leaves out requests that carry X-Shadow-Replay: a replay is never recorded as production. */
#define MARKER_FIELD "X-Shadow-Replay"
struct stage *stage_marker_new(void); /* NULL: no memory */

/* Where exchanges come from. */
struct source;
struct source_ops {
	/* 1: *ret is an exchange, moved to the caller. 0: the end. SC_EAGAIN: nothing now (a live
	 * source returns it at least ten times a second). Otherwise an error, said in err. */
	int (*next)(struct source *s, struct exchange **ret, struct err *err);
	/* No more input from now on; what is held comes out of next() before its 0. May be NULL. */
	void (*stop)(struct source *s);
	void (*free)(struct source *s);
};
struct source {
	const struct source_ops *ops;
};
static inline int source_next(struct source *s, struct exchange **ret, struct err *err)
{
	return s->ops->next(s, ret, err);
}
void source_stop(struct source *s);
void source_free(struct source *s);

/* Where exchanges go. One thread at a time. */
struct sink;
struct sink_ops {
	/* ex is borrowed for the call. */
	int (*put)(struct sink *s, const struct exchange *ex, struct err *err);
	/* Called now and then with the clock, us since 1970, so that work can be committed in time.
	 * May be NULL. */
	int (*tick)(struct sink *s, int64_t now_us, struct err *err);
	/* Makes everything durable. Once, before free; free alone abandons what is not committed. */
	int (*finish)(struct sink *s, int64_t now_us, struct err *err);
	/* Exchanges that are safe by now, whatever happens next. NULL: all that were put. */
	uint64_t (*kept)(const struct sink *s);
	void (*free)(struct sink *s);
};
struct sink {
	const struct sink_ops *ops;
};
static inline int sink_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	return s->ops->put(s, ex, err);
}
int sink_tick(struct sink *s, int64_t now_us, struct err *err);
int sink_finish(struct sink *s, int64_t now_us, struct err *err);
void sink_free(struct sink *s);

/* Throws exchanges away: for counting and measuring. NULL: no memory. */
struct sink *sink_null_new(void);

/* Where a replay's results go; same rules as a sink, `r` is moved. */
struct result_sink;
struct result_sink_ops {
	int (*put)(struct result_sink *s, struct result *r, struct err *err);
	int (*tick)(struct result_sink *s, int64_t now_us, struct err *err); /* may be NULL */
	int (*finish)(struct result_sink *s, int64_t now_us, struct err *err);
	void (*free)(struct result_sink *s);
};
struct result_sink {
	const struct result_sink_ops *ops;
};

#endif
