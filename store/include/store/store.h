/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges at rest: one SQLite file that any stock SQLite tool can read. Knows nothing of packets
 * or of sending. Every handle belongs to one thread. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/stage.h"

struct store;

enum store_mode {
	STORE_READ,   /* must exist; nothing is written, but that an older one is migrated first */
	STORE_UPDATE, /* must exist; migrated when older */
	STORE_CREATE, /* made with mode 0600 when missing; otherwise as STORE_UPDATE */
};

/* SC_EINVAL with a line that names the path: missing, not a database, not ours (application_id),
 * from a newer version (user_version). An existing file that is not ours is never touched. */
int store_open(const char *path, enum store_mode mode, struct store **ret, struct err *err);
/* Whether an open file is a store, by its first bytes alone: also of a newer version, also one that is
 * damaged behind them. Of a file that this process has open elsewhere, ask nothing: closing a
 * second descriptor drops SQLite's locks. */
bool store_is(int fd);
void store_close(struct store *st); /* NULL is fine; rolls back what is not committed */

/* Takes a store away that is half of something, with the logs beside it; nobody may have it open. */
void store_remove(const char *path);

/* A new row in capture, and a sink that appends its exchanges: committed every
 * LIMIT_TRANSACTION_ROWS or LIMIT_TRANSACTION_US. sink_finish() commits and builds the secondary
 * indexes. `source` and `options` (JSON) are copied. The sink must be freed before the store. */
int store_capture_new(struct store *st, int64_t started_us, const char *source,
		      const char *options, int64_t *ret_id, struct sink **ret, struct err *err);
/* The row of the exchange that was put last into such a sink. */
int64_t store_capture_row(const struct sink *sink);
/* Writes ledger (JSON) and, when ended_us is not 0, the end. */
int store_capture_end(struct store *st, int64_t id, int64_t ended_us, const char *ledger,
		      struct err *err);
/* Whether all of them have: of one that has not there may be more to come, or what was cut off. */
int store_captures_ended(struct store *st, bool *ret, struct err *err);

enum store_parts {
	STORE_EXCHANGES,
	STORE_REQUESTS, /* ex->response is NULL, and what was measured is not known */
	STORE_SENT, /* no more than ex->request, when and on which connection: enough to send it again */
};

/* Which exchanges. All zero: all of them. */
struct store_choice {
	int64_t capture_id; /* 0: of all captures */
	enum store_parts parts;
	int64_t from_us, until_us; /* recorded then or later, and before; 0: no such bound */
	/* Those that have a result of this replay and pass are left out; 0: none are. Wants
	 * store_replay_resume() first, whose index finds them. */
	int64_t without_replay;
	uint32_t pass;
};

/* Exchanges in the order of ts_us, then id. Streams: memory does not grow with the store. `st` is
 * borrowed. ex->route is interned in the source. */
int store_source_of(struct store *st, const struct store_choice *choice, struct source **ret,
		    struct err *err);
/* The same with the first two choices alone. */
int store_source_new(struct store *st, int64_t capture_id, enum store_parts parts,
		     struct source **ret, struct err *err);

/* Lets go of such a source's view of the file until the next exchange is asked for: as long as there
 * is one, a writer's log only grows. Without the index of times it is kept all the same. */
void store_source_rest(struct source *source);

/* How much there is; all 0 when there is nothing. Known at once, however much it is. */
struct store_extent {
	int64_t first_us, last_us; /* when the first and the last exchange were recorded */
	uint64_t rows;		   /* about how many; more where some were deleted */
};
int store_extent(struct store *st, struct store_extent *ret, struct err *err);

/* Tells the recording that a store is a piece of (capture --rotate) from others: the same connection
 * has the same number in all pieces. *ret 0: it is a piece of none, or of several. */
int store_set(struct store *st, uint64_t *ret, struct err *err);

/* Every address that exchanges were captured at, once. `put` returns non-zero for no memory. A look
 * at each exchange, unless there is the index that the other function makes where it is missing. */
int store_origins(struct store *st, int (*put)(void *arg, const struct addr *origin), void *arg,
		  struct err *err);
int store_index_origins(struct store *st, struct err *err);

/* How much of each answer a replay keeps (--save). */
enum save_mode { SAVE_NONE, SAVE_STATUS, SAVE_FULL };

/* A replay goes on until the store is closed, or the process ends however it does. SC_EINVAL: in
 * another process it goes on already. */
int store_lock_run(struct store *st, int64_t run, struct err *err);
/* The file was removed, or another one is where it was: what is written nobody will find. */
bool store_moved(const struct store *st);

/* A new row in replay, and a sink for its results. `options` is JSON. */
int store_replay_new(struct store *st, int64_t started_us, const char *target, const char *options,
		     enum save_mode save, int64_t *ret_id, struct result_sink **ret,
		     struct err *err);
/* What put() of that sink does, with `r` only borrowed. */
int store_result_put(struct result_sink *sink, const struct result *r, struct err *err);
/* A sink for a run that ended early: its results so far stay, and those of the sink join them; the
 * first of them says that the run has not ended. Its target and options are as store_replay_look()
 * says. SC_EINVAL when there is no such run. */
int store_replay_resume(struct store *st, int64_t id, enum save_mode save,
			struct result_sink **ret, struct err *err);
/* What a run was asked for; free() both. And how many results it has, in passes 0 .. *ret_passes -
 * 1. */
int store_replay_look(struct store *st, int64_t id, char **ret_target, char **ret_options,
		      uint64_t *ret_results, uint32_t *ret_passes, struct err *err);
int store_replay_count(struct store *st, int64_t id, uint64_t *ret, struct err *err); /* results */
int store_replay_has_ended(struct store *st, int64_t id, bool *ret, struct err *err);
/* `ended_us` 0: it has not, and may be resumed. */
int store_replay_end(struct store *st, int64_t id, int64_t ended_us, const char *summary,
		     struct err *err);

/* Named queries, for `query NAME`: plain SQL, a few lines of it. The table ends with a NULL name. */
struct store_query {
	const char *name;
	const char *help; /* one line */
	const char *sql;
	bool keyed; /* told apart by :kind ('client', 'header', 'cookie') and its :name */
};
extern const struct store_query store_queries[];
/* The SQL behind a name, or NULL. */
const char *store_query_sql(const char *name);
/* Whether it asks who sent a request. */
bool store_query_keyed(const char *name);

/* Runs one read-only statement. `columns` is called once with the names, then `row` for each row;
 * a non-zero return ends the run and is returned. SC_EINVAL: SQL is wrong, more than one statement,
 * or it would write. */
enum value_kind { VALUE_NULL, VALUE_INTEGER, VALUE_REAL, VALUE_TEXT, VALUE_BLOB };
struct value {
	enum value_kind kind;
	struct span text; /* text form; the bytes of a BLOB; borrowed for the call */
};
struct row_reader {
	int (*columns)(void *arg, int n, const char *const *names);
	int (*row)(void *arg, int n, const struct value *values);
	void *arg;
};
int store_select(struct store *st, const char *sql, const struct row_reader *reader,
		 struct err *err);

/* A text for a parameter of the SQL, ":name"; NULL stands for NULL, as do parameters that are not
 * given. One that the SQL does not have is no error. The list ends with a NULL name. */
struct store_parameter {
	const char *name, *value;
};
/* store_select() with parameters; `parameters` may be NULL. */
int store_select_with(struct store *st, const char *sql, const struct store_parameter *parameters,
		      const struct row_reader *reader, struct err *err);
/* The statement with its parameters as literals, for any other SQLite; free() it. */
int store_expand(struct store *st, const char *sql, const struct store_parameter *parameters,
		 char **ret, struct err *err);

/* Long statements, and long work on a store, end with SC_ECLOSED when `stop` says so. It is asked
 * often. */
void store_stop_when(struct store *st, bool (*stop)(void));

#endif
