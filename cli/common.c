/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: talking, the clock, the signals. */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define OTHER_FILES 64u /* stores, pipes, names being resolved */
#define FILES_EACH 2u  /* of a connection: ours, and libcurl's */

void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* One line is one line, whatever a file name or a library's message holds. */
	for (char *c = line; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	}
	fprintf(stderr, "shadow-ctl: %s\n", line);
}

int fail(int code, const struct err *err)
{
	say("%s", err->text);
	return code == SC_EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* What is allowed in the end. */
static uint64_t raise_open_files(uint64_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return wanted;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

int open_files_allow(uint64_t connections, struct err *err)
{
	uint64_t wanted = FILES_EACH * connections + OTHER_FILES, allowed = raise_open_files(wanted);

	if (allowed >= wanted)
		return SC_OK;
	return err_set(err, SC_EINVAL, "%" PRIu64 " connections want %" PRIu64 " open files, and %" PRIu64
		       " are allowed: fewer --connections (or --max-in-flight), or more with ulimit -n",
		       connections, wanted, allowed);
}

int open_files_fit(unsigned targets, unsigned *connections, uint64_t *ret_allowed, struct err *err)
{
	uint64_t least = FILES_EACH * (uint64_t)targets + OTHER_FILES;
	uint64_t allowed =
		raise_open_files(FILES_EACH * (uint64_t)*connections * targets + OTHER_FILES);

	if (allowed < least)
		return err_set(err, SC_EINVAL, "one connection to each target wants %" PRIu64
			       " open files, and %" PRIu64 " are allowed: more with ulimit -n",
			       least, allowed);
	if ((allowed - OTHER_FILES) / FILES_EACH / targets < *connections)
		*connections = (unsigned)((allowed - OTHER_FILES) / FILES_EACH / targets);
	*ret_allowed = allowed;
	return SC_OK;
}

int open_files_of(unsigned sources, unsigned each, struct err *err)
{
	uint64_t wanted = (uint64_t)sources * each + OTHER_FILES;
	uint64_t allowed = raise_open_files(wanted);

	if (allowed >= wanted)
		return SC_OK;
	return err_set(err, SC_EINVAL, "%u sources want %" PRIu64 " open files, and %" PRIu64
		       " are allowed: more with ulimit -n", sources, wanted, allowed);
}

int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

#define SAME_WISH_US 500000 /* timeout(1) sends its signal twice, and a key may bounce */

static atomic_bool stop_flag, hurry_flag, may_hurry;
static atomic_bool report_flag;
static _Atomic int64_t asked_us; /* when the last wish to stop was first said */

static void on_signal(int sig)
{
	int64_t now = clock_us(), before = atomic_load(&asked_us);

	if (sig == SIGUSR1) {
		atomic_store(&report_flag, true);
		return;
	}
	if (before && now >= before && now - before < SAME_WISH_US)
		return;
	atomic_store(&asked_us, now);
	if (!atomic_exchange(&stop_flag, true))
		return;
	if (!atomic_load(&may_hurry) || atomic_exchange(&hurry_flag, true))
		_exit(128 + sig);
}

void stop_install(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
	struct sigaction sa, before;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaction(signals[i], &sa, NULL);
	/* A terminal that is closed; but nohup is to hold. */
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		(void)sigaction(SIGHUP, &sa, NULL);
	/* A reader that went away is an error of write(2), not a death. */
	sa.sa_handler = SIG_IGN;
	(void)sigaction(SIGPIPE, &sa, NULL);
}

bool stop_wanted(void)
{
	return atomic_load_explicit(&stop_flag, memory_order_relaxed);
}

void stop_may_hurry(void)
{
	atomic_store(&may_hurry, true);
}

bool stop_hurries(void)
{
	return atomic_load_explicit(&hurry_flag, memory_order_relaxed);
}

bool stop_report_wanted(void)
{
	return atomic_load_explicit(&report_flag, memory_order_relaxed) &&
	       atomic_exchange(&report_flag, false);
}
