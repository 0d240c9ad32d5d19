/* SPDX-License-Identifier: Apache-2.0 */
/* A child process and two pipes. Knows records, not what is in them; what the child has not read is
 * held up to a ceiling, and each request is waited for only so long. */
#include "replay/middleware.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/limits.h"

#define WINDOW_MASK (LIMIT_MIDDLEWARE_WINDOW - 1)
#define LINE_BYTES (2u * LIMIT_MIDDLEWARE_RECORD)
#define READ_BYTES (64u * KIB)
#define READ_ROUND (1u * MIB) /* taken from the child at one pump */
#define STEP_US 1000000	      /* between two pumps no more than this counts: see tick() */
#define GONE_US 1000000	      /* from the end of a pipe to that of the process */
#define CLOSING_NS 5000000    /* nothing wakes us when it has read the last byte */
#define NS_PER_S 1000000000

extern char **environ;

struct entry {
	void *tag;
	uint64_t end; /* of its line among all bytes put */
	int64_t put_us;
	int64_t read_us; /* valid before `unread` */
	bool live;
	char id[RECORD_ID + 1];
};

struct middleware {
	char *command;
	pid_t pid;
	int pidfd;
	int in, out; /* its standard input and output; -1: closed */

	struct buf to; /* hex; from to_at on not written yet */
	size_t to_at;
	uint64_t put, written; /* bytes, ever */
	uint64_t taken;	       /* of these, that the child has read */
	struct buf line;       /* of its output: what is not a whole line yet */

	/* A ring: entries of the numbers first .. next - 1. */
	struct entry *entries;
	uint32_t first, next;
	uint32_t unread;   /* the first whose line the child has not read whole */
	uint32_t passed;   /* behind the last one that was answered */
	uint32_t expected; /* see middleware_expected() */
	unsigned live;
	struct middleware_answer *answers, **answers_tail;

	int64_t clock_us, now_us;
	int64_t moved_us;  /* it read something, or had read everything */
	int64_t gone_us;   /* a pipe's other end was closed; 0: no */
	int64_t closed_us; /* its input was; 0: no */
	bool last, closing, exited, ended;
	struct middleware_stats stats;
};

/* -- starting ------------------------------------------------------------------------------- */

/* Words of `text`, which is cut up. SC_EINVAL for none or too many. */
static int split_words(char *text, char **words, struct err *err)
{
	unsigned n = 0;

	for (char *at = text + strspn(text, " "); *at; at += strspn(at, " ")) {
		if (n == LIMIT_COMMAND_WORDS)
			return err_set(err, SC_EINVAL, "middleware: more than %u words",
				       LIMIT_COMMAND_WORDS);
		words[n++] = at;
		at += strcspn(at, " ");
		if (*at)
			*at++ = '\0';
	}
	if (n == 0)
		return err_set(err, SC_EINVAL,
			       "middleware: no command; expected a program and its arguments");
	return SC_OK;
}

static int prepare_files(posix_spawn_file_actions_t *files, int in, int out)
{
	int rc = posix_spawn_file_actions_adddup2(files, in, STDIN_FILENO);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(files, out, STDOUT_FILENO);
	return rc ? rc : posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
}

/* Whatever this thread blocks and ignores, the child starts with a clean slate. */
static int prepare_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setsigmask(attr, &none);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(attr, &all);
	if (!rc)
		rc = posix_spawnattr_setpgroup(attr, 0);
	return rc ? rc
		  : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							   POSIX_SPAWN_SETPGROUP);
}

/* An errno, 0 for none. glibc's says also what kept the exec from being done. */
static int spawn(char **words, int in, int out, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc = posix_spawn_file_actions_init(&files);

	if (rc)
		return rc;
	rc = posix_spawnattr_init(&attr);
	if (!rc) {
		rc = prepare_files(&files, in, out);
		if (!rc)
			rc = prepare_attributes(&attr);
		if (!rc)
			rc = posix_spawnp(ret, words[0], &files, &attr, words, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ret[0], ret[1]: our ends of its input and output. */
static int run(char **words, struct middleware *mw, struct err *err)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	int rc = pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ? errno : 0;

	if (!rc && (fcntl(in[1], F_SETFL, O_NONBLOCK) || fcntl(out[0], F_SETFL, O_NONBLOCK)))
		rc = errno;
	if (rc) {
		rc = err_set(err, SC_EIO, "middleware: no pipe: %s", strerror(rc));
	} else {
		rc = spawn(words, in[0], out[1], &mw->pid);
		if (rc) {
			mw->pid = 0;
			rc = err_set(err, SC_EINVAL, "middleware: '%s' cannot be run: %s", words[0],
				     strerror(rc));
		}
	}
	close_fd(&in[0]);
	close_fd(&out[1]);
	mw->in = in[1];
	mw->out = out[0];
	if (rc)
		return rc;
	mw->pidfd = pidfd_open(mw->pid, 0);
	return mw->pidfd < 0 ? err_set(err, SC_EIO, "middleware: pidfd_open: %s", strerror(errno))
			     : SC_OK;
}

int middleware_start(const char *command, struct middleware **ret, struct err *err)
{
	struct middleware *mw = calloc(1, sizeof(*mw));
	char **words = calloc(LIMIT_COMMAND_WORDS + 1, sizeof(*words));
	char *text = strdup(command);
	int rc;

	if (mw) {
		mw->in = mw->out = mw->pidfd = -1;
		mw->stats.status = -1;
		mw->answers_tail = &mw->answers;
		mw->command = strdup(command);
		mw->entries = calloc(LIMIT_MIDDLEWARE_WINDOW, sizeof(*mw->entries));
		buf_init(&mw->to, LIMIT_MIDDLEWARE_BUFFER + LINE_BYTES + 1);
		buf_init(&mw->line, LINE_BYTES + 1 + READ_BYTES);
	}
	if (!mw || !words || !text || !mw->command || !mw->entries)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	else
		rc = split_words(text, words, err);
	if (!rc)
		rc = run(words, mw, err);
	free(words);
	free(text);
	if (rc) {
		middleware_free(mw);
		return rc;
	}
	*ret = mw;
	return SC_OK;
}

/* True once it is no more. */
static bool reap(struct middleware *mw, int flags)
{
	int status;

	if (mw->exited || mw->pid <= 0)
		return true;
	if (waitpid(mw->pid, &status, flags) != mw->pid)
		return false;
	mw->exited = true;
	mw->stats.status = status;
	return true;
}

/* The group too: a shell's children hold our pipes, and would go on after it. */
static void kill_child(struct middleware *mw)
{
	if (reap(mw, WNOHANG))
		return;
	mw->stats.killed = true;
	(void)kill(-mw->pid, SIGKILL);
	(void)kill(mw->pid, SIGKILL);
	(void)reap(mw, 0);
}

void middleware_stop(struct middleware *mw)
{
	mw->ended = true;
	close_fd(&mw->in);
	close_fd(&mw->out);
	kill_child(mw);
	close_fd(&mw->pidfd);
}

void middleware_free(struct middleware *mw)
{
	struct middleware_answer *a;

	if (!mw)
		return;
	middleware_stop(mw);
	while ((a = middleware_next(mw)))
		free(a);
	buf_done(&mw->to);
	buf_done(&mw->line);
	free(mw->entries);
	free(mw->command);
	free(mw);
}

/* -- records out ---------------------------------------------------------------------------- */

static struct entry *entry_of(struct middleware *mw, uint32_t n)
{
	return &mw->entries[n & WINDOW_MASK];
}

static size_t pending(const struct middleware *mw)
{
	return mw->to.len - mw->to_at;
}

bool middleware_ready(const struct middleware *mw)
{
	return !mw->ended && pending(mw) < LIMIT_MIDDLEWARE_BUFFER &&
	       mw->next - mw->first < LIMIT_MIDDLEWARE_WINDOW;
}

static int put(struct middleware *mw, const struct record *r)
{
	size_t before;
	int rc;

	if (!middleware_ready(mw) || mw->closing)
		return SC_EAGAIN;
	if (mw->to_at == mw->to.len) {
		mw->to_at = 0;
		buf_clear(&mw->to);
	} else if (mw->to_at > mw->to.len / 2) {
		memmove(mw->to.data, mw->to.data + mw->to_at, pending(mw));
		mw->to.len -= mw->to_at;
		mw->to_at = 0;
	}
	before = mw->to.len;
	rc = record_write(&mw->to, r);
	if (!rc)
		mw->put += mw->to.len - before;
	return rc;
}

int middleware_put_request(struct middleware *mw, const struct exchange *ex, struct span payload,
			   void *tag, char id[RECORD_ID + 1])
{
	const struct message *m = ex->request;
	struct record r = {
		.type = RECORD_REQUEST,
		.ts_ns = ex->ts_us * 1000,
		.latency_ns = m && m->last_us > m->first_us ? (m->last_us - m->first_us) * 1000 : 0,
		.payload = payload,
	};
	struct entry *e = entry_of(mw, mw->next);
	char text[RECORD_ID + 1];
	int rc;

	assert(!mw->last);
	record_id(&ex->client, &ex->server, mw->next, text);
	r.id = span_of(text, RECORD_ID);
	rc = put(mw, &r);
	if (rc)
		return rc;
	*e = (struct entry){.tag = tag, .end = mw->put, .put_us = mw->clock_us, .live = true};
	memcpy(e->id, text, sizeof(text));
	memcpy(id, text, sizeof(text));
	mw->next++;
	mw->live++;
	mw->stats.requests++;
	return SC_OK;
}

int middleware_put_response(struct middleware *mw, const struct record *r)
{
	int rc = put(mw, r);

	mw->stats.responses += rc == SC_OK;
	return rc;
}

void middleware_last(struct middleware *mw)
{
	mw->last = true;
}

void middleware_close(struct middleware *mw)
{
	mw->last = mw->closing = true;
}

unsigned middleware_outstanding(const struct middleware *mw)
{
	return mw->live;
}

unsigned middleware_expected(struct middleware *mw, int64_t within_us)
{
	while (mw->expected != mw->next) {
		bool answered = (int32_t)(mw->expected - mw->passed) < 0;

		if (!answered && mw->clock_us - entry_of(mw, mw->expected)->put_us <= within_us)
			break;
		mw->expected++;
	}
	return mw->next - mw->expected;
}

const struct middleware_stats *middleware_stats(const struct middleware *mw)
{
	return &mw->stats;
}

/* -- what became of them -------------------------------------------------------------------- */

struct middleware_answer *middleware_next(struct middleware *mw)
{
	struct middleware_answer *a = mw->answers;

	if (a) {
		mw->answers = a->next;
		if (!a->next)
			mw->answers_tail = &mw->answers;
	}
	return a;
}

/* `payload` NULL: dropped. */
static int settle(struct middleware *mw, struct entry *e, const struct span *payload)
{
	size_t len = payload ? payload->len : 0;
	struct middleware_answer *a = malloc(sizeof(*a) + len);

	if (!a)
		return SC_ENOMEM;
	*a = (struct middleware_answer){.tag = e->tag, .answered = payload, .len = len};
	if (len)
		memcpy(a->payload, payload->p, len);
	*mw->answers_tail = a;
	mw->answers_tail = &a->next;
	assert(e->live && mw->live > 0);
	e->live = false;
	mw->live--;
	if (payload)
		mw->stats.answered++;
	else
		mw->stats.unanswered++;
	return SC_OK;
}

/* Cursors never point before the ring. */
static void catch_up(uint32_t *cursor, uint32_t first)
{
	if ((int32_t)(*cursor - first) < 0)
		*cursor = first;
}

/* Those it has read and had time for; `all`: every one. */
static int drop(struct middleware *mw, bool all)
{
	int rc = SC_OK;

	for (; mw->first != mw->next && !rc; mw->first++) {
		struct entry *e = entry_of(mw, mw->first);

		if (!e->live)
			continue;
		if (!all && (mw->closing || mw->first == mw->unread ||
			     mw->clock_us - e->read_us <= LIMIT_MIDDLEWARE_PATIENCE_US))
			break;
		rc = settle(mw, e, NULL);
		if (rc)
			break;
	}
	catch_up(&mw->unread, mw->first);
	catch_up(&mw->passed, mw->first);
	catch_up(&mw->expected, mw->first);
	return rc;
}

static void note_garbage(struct middleware *mw, const char *why)
{
	if (mw->stats.garbage++ == 0)
		(void)snprintf(mw->stats.note, sizeof(mw->stats.note), "%s", why);
}

static int take_line(struct middleware *mw, uint8_t *bytes, size_t len)
{
	struct err why = {""};
	struct record r;
	struct entry *e;
	uint32_t n;

	if (len && bytes[len - 1] == '\r')
		len--;
	if (len == 0)
		return SC_OK;
	if (record_read(span_of(bytes, len), bytes, &r, &why)) {
		note_garbage(mw, why.text);
		return SC_OK;
	}
	if (r.type != RECORD_REQUEST)
		return SC_OK; /* echoed; GoReplay does nothing with them either */
	e = record_number(r.id, &n) ? NULL : entry_of(mw, n);
	if (!e || n - mw->first >= mw->next - mw->first || !e->live ||
	    !span_case_eq(r.id, span_of(e->id, RECORD_ID))) {
		mw->stats.strays++;
		return SC_OK;
	}
	if ((int32_t)(n + 1 - mw->passed) > 0)
		mw->passed = n + 1;
	return settle(mw, e, &r.payload);
}

/* Of `line` the first `scanned` bytes are known to hold no line end. */
static int take_lines(struct middleware *mw, size_t scanned)
{
	uint8_t *at = mw->line.data, *end = at + mw->line.len, *from = at + scanned, *nl;
	int rc = SC_OK;

	while (!rc && (nl = memchr(from, '\n', (size_t)(end - from)))) {
		rc = take_line(mw, at, (size_t)(nl - at));
		at = from = nl + 1;
	}
	if (at != mw->line.data) {
		memmove(mw->line.data, at, (size_t)(end - at));
		mw->line.len = (size_t)(end - at);
	}
	return rc;
}

/* -- pumping -------------------------------------------------------------------------------- */

/* Time in which nobody listened to the child (the sender's queue was full) is not held against it:
 * of each gap between two pumps only a second counts. */
static void tick(struct middleware *mw, int64_t now_us)
{
	int64_t step = mw->now_us ? now_us - mw->now_us : 0;

	mw->now_us = now_us;
	mw->clock_us += step < 0 ? 0 : step > STEP_US ? STEP_US : step;
}

static void wait_ready(struct middleware *mw, int64_t wait_ns, int wake_fd)
{
	struct timespec ts = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
	struct pollfd fds[] = {
		{.fd = mw->out, .events = POLLIN},
		{.fd = mw->in, .events = pending(mw) ? POLLOUT : 0},
		{.fd = mw->pidfd, .events = POLLIN},
		{.fd = wake_fd, .events = POLLIN},
	};

	if (mw->answers)
		ts = (struct timespec){0, 0};
	else if (mw->closing && !mw->closed_us && wait_ns > CLOSING_NS)
		ts = (struct timespec){0, CLOSING_NS};
	/* Whatever it says, we try; but nobody reads any more is told only here. */
	if (ppoll(fds, sizeof(fds) / sizeof(fds[0]), &ts, NULL) > 0 && (fds[1].revents & POLLERR))
		close_fd(&mw->in);
}

/* A write to a closed pipe is an error to us, not the end of the process. */
static ssize_t write_quietly(int fd, const void *p, size_t len)
{
	static const struct timespec at_once = {0, 0};
	sigset_t pipe, before, waiting;
	ssize_t n;
	int error;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&waiting);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	n = write(fd, p, len);
	error = errno;
	if (n < 0 && error == EPIPE && sigismember(&waiting, SIGPIPE) != 1)
		(void)sigtimedwait(&pipe, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return n;
}

/* What lies in the pipe has been written, not read. */
static void see_read(struct middleware *mw)
{
	uint64_t taken = mw->taken;
	int unread = 0;

	if (mw->in >= 0 && ioctl(mw->in, FIONREAD, &unread) == 0)
		taken = mw->written - (uint64_t)unread;
	if (taken != mw->taken || taken == mw->put)
		mw->moved_us = mw->clock_us;
	mw->taken = taken;
	while (mw->unread != mw->next && entry_of(mw, mw->unread)->end <= taken)
		entry_of(mw, mw->unread++)->read_us = mw->clock_us;
}

static void push_out(struct middleware *mw)
{
	while (mw->in >= 0 && pending(mw)) {
		ssize_t n = write_quietly(mw->in, mw->to.data + mw->to_at, pending(mw));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			close_fd(&mw->in);
		if (n <= 0)
			break;
		mw->to_at += (size_t)n;
		mw->written += (uint64_t)n;
	}
	see_read(mw);
	/* Not before it has read everything: afterwards nobody could say whether it does. */
	if (mw->closing && !mw->closed_us && (mw->in < 0 || mw->taken == mw->put)) {
		close_fd(&mw->in);
		mw->closed_us = mw->clock_us + 1;
	}
}

static int take_in(struct middleware *mw, struct err *err)
{
	size_t total = 0;

	while (mw->out >= 0 && total < READ_ROUND) {
		size_t scanned = mw->line.len;
		ssize_t n;
		int rc;

		if (scanned > LINE_BYTES)
			return err_set(err, SC_EPROTO,
				       "middleware '%s' wrote a line of more than %u bytes",
				       mw->command, LINE_BYTES);
		rc = buf_reserve(&mw->line, READ_BYTES);
		if (rc)
			return err_set(err, rc, "out of memory");
		n = read(mw->out, mw->line.data + scanned, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno != EAGAIN))
			close_fd(&mw->out);
		if (n <= 0)
			break;
		mw->line.len += (size_t)n;
		total += (size_t)n;
		rc = take_lines(mw, scanned);
		if (rc)
			return err_set(err, rc, "out of memory");
	}
	return SC_OK;
}

static int say_ended(const struct middleware *mw, struct err *err)
{
	int status = mw->stats.status;
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (!WIFSIGNALED(status))
		return err_set(err, SC_EPROTO,
			       "middleware '%s' ended with status %d; expected it to go on until "
			       "the end of its input",
			       mw->command, WEXITSTATUS(status));
	return err_set(err, SC_EPROTO, "middleware '%s' was ended by signal %d (SIG%s)",
		       mw->command, WTERMSIG(status), name ? name : "?");
}

/* It is no more, and all that it wrote has been read. */
static int judge_end(const struct middleware *mw, struct err *err)
{
	bool failed = mw->live > 0 && (mw->stats.status != 0 || !mw->closing);

	return mw->last && !failed ? SC_ECLOSED : say_ended(mw, err);
}

/* It goes on, but a pipe of it is closed. */
static int judge_closed(struct middleware *mw, bool in_gone, struct err *err)
{
	if (!mw->gone_us)
		mw->gone_us = mw->clock_us + 1;
	if (mw->clock_us - mw->gone_us < GONE_US || mw->closing || (mw->last && !mw->live))
		return SC_OK;
	return err_set(err, SC_EPROTO, "middleware '%s' has closed its standard %s", mw->command,
		       in_gone ? "input" : "output");
}

static int judge(struct middleware *mw, struct err *err)
{
	bool in_gone = mw->in < 0 && !mw->closed_us;

	/* What it left behind: another process of its own may hold the pipe open. */
	if (reap(mw, WNOHANG)) {
		int rc = take_in(mw, err);

		if (!rc && mw->line.len)
			rc = take_line(mw, mw->line.data, mw->line.len);
		return rc ? rc : judge_end(mw, err);
	}
	if (mw->closed_us && mw->clock_us - mw->closed_us > LIMIT_MIDDLEWARE_END_US)
		return SC_ECLOSED;
	if (in_gone || mw->out < 0)
		return judge_closed(mw, in_gone, err);
	if (mw->taken != mw->put && mw->clock_us - mw->moved_us > LIMIT_MIDDLEWARE_STALL_US)
		return err_set(err, SC_EPROTO, "middleware '%s' has not read for %lld s",
			       mw->command, LIMIT_MIDDLEWARE_STALL_US / 1000000);
	return SC_OK;
}

int middleware_pump(struct middleware *mw, int64_t now_us, int64_t wait_ns, int wake_fd,
		    struct err *err)
{
	int rc, drop_rc;

	assert(!mw->ended);
	tick(mw, now_us);
	wait_ready(mw, wait_ns, wake_fd);
	push_out(mw);
	rc = take_in(mw, err);
	if (!rc)
		rc = judge(mw, err);
	mw->ended = rc != SC_OK;
	drop_rc = drop(mw, mw->ended);
	if (drop_rc && !rc) {
		mw->ended = true;
		rc = err_set(err, drop_rc, "out of memory");
	}
	return rc;
}

int middleware_give_up(struct middleware *mw)
{
	mw->ended = true;
	return drop(mw, true);
}
