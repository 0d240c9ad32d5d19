/* SPDX-License-Identifier: Apache-2.0 */
/* What the loops that send have in common. Sends nothing. */
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"

#define TICK_NS (100 * NS_PER_MS)
#define WOKEN_NS (100 * NS_PER_MS) /* until an empty feed is asked again that can wake us */
#define TAG_WAKE UINT64_MAX	   /* of no descriptor */

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void loop_give_up(struct loop *l, int rc)
{
	if (!l->rc)
		l->rc = rc;
}

void loop_give_up_memory(struct loop *l)
{
	if (!l->rc)
		l->rc = err_set(l->err, SC_ENOMEM, "out of memory");
}

/* -- events --------------------------------------------------------------------------------- */

static uint64_t tag_curl(int fd)
{
	return (uint64_t)(unsigned)fd << 1 | 1;
}

void watch(int epoll, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &ev) && errno == ENOENT)
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

int loop_wait(struct loop *l, struct epoll_event *events, int n, int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
	int got = epoll_pwait2(l->epoll, events, n, &ts, NULL);

	if (got < 0 && errno == ENOSYS) /* before Linux 5.11 */
		got = epoll_wait(l->epoll, events, n, (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	return got;
}

static void curl_act(struct loop *l, curl_socket_t fd, int mask)
{
	CURLMsg *msg;
	int left;

	curl_multi_socket_action(l->multi, fd, mask, &left);
	while (!l->rc && (msg = curl_multi_info_read(l->multi, &left))) {
		CURLcode code = msg->data.result;

		if (msg->msg == CURLMSG_DONE)
			l->curl_over(l, conn_owner(msg->easy_handle), code);
	}
}

static void curl_event(struct loop *l, int fd, uint32_t events)
{
	int mask = 0;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	curl_act(l, fd, mask);
}

/* The feed has something again. */
static void feed_event(struct loop *l)
{
	eventfd_t n;

	(void)eventfd_read(l->feed->wake_fd, &n);
	l->feed_at_ns = 0;
}

bool loop_event(struct loop *l, const struct epoll_event *event)
{
	uint64_t tag = event->data.u64;

	if (!(tag & 1))
		return false;
	if (tag == TAG_WAKE)
		feed_event(l);
	else
		curl_event(l, (int)(tag >> 1), event->events);
	return true;
}

void loop_curl_tick(struct loop *l, int64_t now)
{
	if (now < l->curl_due_ns)
		return;
	l->curl_due_ns = NEVER;
	curl_act(l, CURL_SOCKET_TIMEOUT, 0);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	static const uint32_t events[] = {
		[CURL_POLL_IN] = EPOLLIN,
		[CURL_POLL_OUT] = EPOLLOUT,
		[CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT,
	};
	struct loop *l = arg;

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
	else
		watch(l->epoll, fd, events[what], tag_curl(fd));
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct loop *l = arg;

	(void)multi;
	l->curl_due_ns = timeout_ms < 0 ? NEVER : now_ns() + timeout_ms * NS_PER_MS;
	return 0;
}

/* -- shots ---------------------------------------------------------------------------------- */

bool loop_take(struct loop *l, int64_t now, int64_t again_ns, struct shot **ret)
{
	int rc;

	if (l->feed_ended || now < l->feed_at_ns)
		return false;
	rc = l->feed->next(l->feed, ret, l->err);
	if (rc == 1) {
		l->stats->taken++;
		return true;
	}
	if (rc == SC_EAGAIN) {
		l->feed_at_ns = now + (l->feed->wake_fd > 0 ? WOKEN_NS : again_ns);
		return false;
	}
	l->feed_ended = true;
	if (rc < 0)
		loop_give_up(l, rc);
	return false;
}

void loop_shot_over(struct loop *l, struct shot *shot)
{
	if (l->feed->done)
		l->feed->done(l->feed, shot);
	else
		shot_free(shot);
}

bool loop_drop_late(struct loop *l, struct shot *shot, int64_t now)
{
	int64_t limit = l->options->drop_late_us * NS_PER_US;

	if (limit == 0 || l->options->closed_loop || now - shot->due_ns <= limit)
		return false;
	l->stats->dropped++;
	loop_shot_over(l, shot);
	return true;
}

bool loop_is_due(const struct loop *l, struct shot *shot, int64_t *now)
{
	shot->due_ns = l->start_ns + (l->options->closed_loop ? 0 : shot->offset_ns);
	return shot->due_ns <= *now || shot->due_ns <= (*now = now_ns());
}

/* -- the clock ------------------------------------------------------------------------------ */

bool loop_begin(struct loop *l, int64_t now, bool wanted)
{
	int64_t at = replay_start_at(l->start, now, wanted);

	if (!at)
		return false;
	l->begun = true;
	l->start_ns = at;
	if (l->options->duration_us)
		l->end_ns = at + l->options->duration_us * NS_PER_US;
	l->stats->start_us = wall_us(l, at);
	return true;
}

void loop_count_elapsed(struct loop *l, int64_t now)
{
	if (l->begun && now > l->start_ns)
		l->stats->elapsed_us = (now - l->start_ns) / NS_PER_US;
}

bool loop_tick(struct loop *l, int64_t now)
{
	const struct replay_options *o = l->options;

	if (now < l->next_tick_ns)
		return false;
	l->next_tick_ns = now + TICK_NS;
	loop_count_elapsed(l, now);
	if (o->progress)
		o->progress(o->arg, l->stats);
	if (l->sink && l->sink->ops->tick) {
		int rc = l->sink->ops->tick(l->sink, wall_us(l, now), l->err);

		if (rc)
			loop_give_up(l, rc);
	}
	return o->stop && !l->stopping && o->stop(o->arg);
}

bool loop_hurries(const struct loop *l)
{
	return l->stopping && l->options->hurry && l->options->hurry(l->options->arg);
}

int64_t loop_wake_at(const struct loop *l)
{
	int64_t at = earliest(l->next_tick_ns, l->curl_due_ns);

	return l->stopping ? at : earliest(at, l->end_ns);
}

/* -- what became of a request --------------------------------------------------------------- */

int loop_refuse_origin(const struct loop *l, const struct addr *peer)
{
	return target_refuse_origin(peer, l->options->origins, l->options->n_origins, l->err);
}

void loop_count_sent(struct loop *l, const struct shot *shot, int64_t sent_ns)
{
	if (!shot->retried && !l->options->closed_loop && sent_ns - shot->due_ns > LATE_NS)
		l->stats->late++;
}

void loop_count_end(struct loop *l, const struct ended *end, uint16_t status)
{
	struct replay_stats *st = l->stats;

	st->in_flight--;
	if (end->error != RESULT_ERROR_NONE) {
		st->failed++;
		st->failed_sent += end->sent_ns != 0;
		st->errors[end->error]++;
		return;
	}
	st->sent++;
	st->status[status % STATUS_CODES]++;
	histogram_add(&st->service, end->end_ns - end->sent_ns);
	histogram_add(&st->latency, end->end_ns - end->shot->due_ns);
}

void loop_detail(struct loop *l, enum result_error error, const char *text)
{
	char *detail = l->stats->detail[error];

	if (detail[0] || !text)
		return;
	snprintf(detail, ERROR_DETAIL, "%s", text);
	/* A line of a summary; the libraries' words may hold what the target said. */
	for (char *c = detail; *c; c++) {
		if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
			*c = ' ';
	}
}

int loop_deliver(struct loop *l, const struct ended *end, struct message *response)
{
	struct result *r = result_new();

	if (!r) {
		message_free(response);
		return err_set(l->err, SC_ENOMEM, "out of memory");
	}
	r->exchange_id = end->shot->exchange_id;
	r->pass = end->shot->pass;
	r->due_us = wall_us(l, end->shot->due_ns);
	r->error = end->error;
	if (end->sent_ns)
		r->sent_us = wall_us(l, end->sent_ns);
	if (end->sent_ns && end->first_ns)
		r->ttfb_us = (end->first_ns - end->sent_ns) / NS_PER_US;
	if (response) {
		r->duration_us = (end->end_ns - end->sent_ns) / NS_PER_US;
		r->latency_us = (end->end_ns - end->shot->due_ns) / NS_PER_US;
		response->first_us = wall_us(l, end->first_ns);
		response->last_us = wall_us(l, end->end_ns);
		l->stats->capped += (response->flags & MESSAGE_CAPPED) != 0;
		r->response = response; /* moved */
	}
	return l->sink->ops->put(l->sink, r, l->err);
}

/* -- life and death ------------------------------------------------------------------------- */

int loop_init(struct loop *l)
{
	const struct replay_options *o = l->options;

	l->curl_due_ns = l->end_ns = NEVER;
	l->wall_ns = clock_ns(CLOCK_REALTIME) - now_ns();
	replay_start_init(&l->own_start, 1);
	l->start = o->start ? o->start : &l->own_start;
	body_room_init(&l->own_room);
	l->room = o->room ? o->room : &l->own_room;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return err_set(l->err, SC_EIO, "epoll: %s", strerror(errno));
	if (l->feed->wake_fd > 0)
		watch(l->epoll, l->feed->wake_fd, EPOLLIN, TAG_WAKE);
	l->lanes = lanes_new();
	l->multi = curl_multi_init();
	if (!l->lanes || !l->multi)
		return err_set(l->err, SC_ENOMEM, "out of memory");
	if (!o->ordered && !(l->common = lanes_get(l->lanes, 0)))
		return err_set(l->err, SC_ENOMEM, "out of memory");
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)o->connections + 1);
	return SC_OK;
}

void loop_done(struct loop *l)
{
	if (l->multi)
		curl_multi_cleanup(l->multi);
	lanes_free(l->lanes);
	if (l->epoll >= 0)
		close(l->epoll);
}
