/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's ordinary transfers, as most programs use them: one thread, handles in a multi that are
 * used again and again, bodies thrown away, epoll by the socket interface. What a sender built on
 * them can reach at most.
 *
 *     curl_multi URL REQUESTS [HANDLES] */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#define EVENTS 64
#define MOST_HANDLES 4096

struct run {
	CURLM *multi;
	int epoll;
	double due; /* when libcurl wants to be called; negative: not at all */
	long wanted, started, done, failed;
};

static double seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t drop_body(char *p, size_t size, size_t n, void *arg)
{
	(void)p;
	(void)arg;
	return size * n;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct run *r = arg;
	struct epoll_event ev = {.data.fd = fd};

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(r->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	ev.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0u) |
		    (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
	if (epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &ev) && errno == ENOENT)
		(void)epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &ev);
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct run *r = arg;

	(void)multi;
	r->due = timeout_ms < 0 ? -1 : seconds() + (double)timeout_ms / 1000;
	return 0;
}

static void reap(struct run *r)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(r->multi, &left))) {
		CURL *easy = msg->easy_handle;

		r->done++;
		r->failed += msg->data.result != CURLE_OK;
		(void)curl_multi_remove_handle(r->multi, easy);
		if (r->started < r->wanted) {
			r->started++;
			(void)curl_multi_add_handle(r->multi, easy);
		} else {
			curl_easy_cleanup(easy);
		}
	}
}

/* Milliseconds until libcurl wants to be called; -1: it waits for its sockets only. */
static int wait_ms(const struct run *r)
{
	double left;

	if (r->due < 0)
		return -1;
	left = r->due - seconds();
	return left > 0 ? (int)(left * 1000) + 1 : 0;
}

static void loop(struct run *r)
{
	struct epoll_event events[EVENTS];
	int running;

	while (r->done < r->wanted) {
		int n = epoll_wait(r->epoll, events, EVENTS, wait_ms(r));

		for (int i = 0; i < n; i++) {
			unsigned e = events[i].events;
			int mask = (e & EPOLLIN ? CURL_CSELECT_IN : 0) |
				   (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
				   (e & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

			(void)curl_multi_socket_action(r->multi, events[i].data.fd, mask, &running);
		}
		reap(r);
		if (wait_ms(r) == 0) {
			r->due = -1;
			(void)curl_multi_socket_action(r->multi, CURL_SOCKET_TIMEOUT, 0, &running);
			reap(r);
		}
	}
}

static int begin(struct run *r, const char *url, long handles)
{
	r->multi = curl_multi_init();
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->due = -1;
	if (!r->multi || r->epoll < 0)
		return 1;
	(void)curl_multi_setopt(r->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(r->multi, CURLMOPT_SOCKETDATA, r);
	(void)curl_multi_setopt(r->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(r->multi, CURLMOPT_TIMERDATA, r);
	(void)curl_multi_setopt(r->multi, CURLMOPT_MAXCONNECTS, handles);
	for (long i = 0; i < handles && r->started < r->wanted; i++) {
		CURL *easy = curl_easy_init();

		if (!easy)
			return 1;
		(void)curl_easy_setopt(easy, CURLOPT_URL, url);
		(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop_body);
		r->started++;
		(void)curl_multi_add_handle(r->multi, easy);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct run r = {.epoll = -1};
	long handles = argc > 3 ? strtol(argv[3], NULL, 10) : 64;
	double started;

	r.wanted = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	if (r.wanted < 1 || handles < 1 || handles > MOST_HANDLES) {
		(void)fprintf(stderr, "usage: curl_multi URL REQUESTS [HANDLES]\n");
		return 2;
	}
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	started = seconds();
	if (begin(&r, argv[1], handles)) {
		(void)fprintf(stderr, "curl_multi: no memory\n");
		return 1;
	}
	loop(&r);
	(void)printf("{\"requests\": %ld, \"failed\": %ld, \"seconds\": %.6f}\n", r.done, r.failed,
		     seconds() - started);
	(void)curl_multi_cleanup(r.multi);
	curl_global_cleanup();
	return 0;
}
