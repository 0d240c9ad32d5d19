/* SPDX-License-Identifier: Apache-2.0 */
/* The server of the sending loop's tests. Understands of HTTP where a head ends, and of a request
 * its path. */
/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile_server.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct visit {
	struct server *server;
	int fd;
	unsigned connection;
	unsigned n; /* requests on it so far, this one included */
	char head[4096];
	size_t have;
};

static void say(int fd, const char *text)
{
	size_t len = strlen(text), at = 0;

	while (at < len) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += (size_t)n;
	}
}

static void until_closed(int fd)
{
	char sink[65536];

	while (recv(fd, sink, sizeof(sink), 0) > 0)
		;
}

/* Each answers one request; false: the connection is over. */
static bool serve_ok(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	return true;
}

static bool serve_hang(struct visit *v)
{
	until_closed(v->fd);
	return false;
}

static bool serve_reset(struct visit *v)
{
	struct linger now = {1, 0};

	setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return false;
}

static bool serve_garbage(struct visit *v)
{
	say(v->fd, "\x16\x03\x01 what?\r\n\r\n");
	until_closed(v->fd);
	return false;
}

static bool serve_half(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	return false;
}

static bool serve_trickle(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	until_closed(v->fd);
	return false;
}

static bool serve_early(struct visit *v)
{
	(void)v;
	return false;
}

static bool serve_stale(struct visit *v)
{
	return v->n == 1 && serve_ok(v);
}

/* The second request of a connection is read whole, and then the connection is no more: its
 * acknowledgement still waits. */
static bool serve_once(struct visit *v)
{
	return v->n == 1 ? serve_ok(v) : serve_reset(v);
}

/* The second one gets what some servers say to a connection that is idle. */
static bool serve_idle(struct visit *v)
{
	if (v->n == 1)
		return serve_ok(v);
	say(v->fd, "HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	return false;
}

/* The answer and the end of the connection in one segment: whatever comes then meets a socket that
 * is closed. */
static bool serve_gone(struct visit *v)
{
	setsockopt(v->fd, IPPROTO_TCP, TCP_CORK, &(int){1}, sizeof(int));
	(void)serve_ok(v);
	return false;
}

/* Head and body are together as long as the sender's buffer, whose reads are then none that stop
 * short; or such an answer that ends with the connection. */
#define FULL_BYTES 65536

static bool say_full(struct visit *v, const char *head)
{
	char text[FULL_BYTES + 1];

	memset(text, 'x', FULL_BYTES);
	text[FULL_BYTES] = '\0';
	memcpy(text, head, strlen(head));
	say(v->fd, text);
	return true;
}

static bool serve_full(struct visit *v)
{
	return say_full(v, "HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n");
}

static bool serve_full_until_close(struct visit *v)
{
	(void)say_full(v, "HTTP/1.1 200 OK\r\n\r\n");
	return false;
}

static bool serve_until_close(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\n\r\nto the end");
	return false;
}

static bool serve_interim(struct visit *v)
{
	say(v->fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
	return serve_ok(v);
}

static bool serve_bytewise(struct visit *v)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "1\r\na\r\n2\r\nbc\r\n0\r\nX-T: 1\r\n\r\n";

	for (size_t i = 0; i + 1 < sizeof(text); i++)
		say(v->fd, (char[]){text[i], '\0'});
	return true;
}

static bool serve_head(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	return true;
}

static bool serve_surplus(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokand more");
	until_closed(v->fd);
	return false;
}

static bool serve_close(struct visit *v)
{
	say(v->fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
	return false;
}

/* Takes the body, whose length the path does not say. -1: it is not whole. */
static ssize_t take_body(struct visit *v)
{
	const char *end = strstr(v->head, "\r\n\r\n");
	const char *length = strstr(v->head, "Content-Length: ");
	size_t want = length ? strtoul(length + 16, NULL, 10) : 0;
	size_t have = (size_t)(v->head + v->have - (end + 4));
	char sink[65536];

	while (have < want) {
		/* What follows is the next request. */
		size_t most = want - have < sizeof(sink) ? want - have : sizeof(sink);
		ssize_t n = recv(v->fd, sink, most, 0);

		if (n <= 0)
			return -1;
		have += (size_t)n;
	}
	v->have = (size_t)(end + 4 - v->head);
	return (ssize_t)have;
}

/* And tells how long it was. */
static bool serve_count(struct visit *v)
{
	ssize_t have = take_body(v);
	char text[128], body[32];

	if (have < 0)
		return false;
	snprintf(body, sizeof(body), "%zd", have);
	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(body), body);
	say(v->fd, text);
	return true;
}

/* Answers, and wants the body all the same. */
static bool serve_answer_first(struct visit *v)
{
	return serve_ok(v) && take_body(v) >= 0;
}

/* An answer before the request is whole, or nearly so. */
static bool serve_refuse(struct visit *v)
{
	say(v->fd, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
	until_closed(v->fd);
	return false;
}

static void wait_to_speak(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->may_speak && !s->stopping)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void has_spoken(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->has_spoken = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* An answer to nothing, while the connection is idle. */
static bool serve_stray(struct visit *v)
{
	(void)(take_body(v) >= 0 && serve_ok(v));
	wait_to_speak(v->server);
	say(v->fd, "HTTP/1.1 203 Stray\r\nContent-Length: 2\r\n\r\nno");
	has_spoken(v->server);
	return true;
}

/* Has said all it will ever say, and goes on listening. */
static bool serve_end(struct visit *v)
{
	(void)(take_body(v) >= 0 && serve_ok(v));
	wait_to_speak(v->server);
	shutdown(v->fd, SHUT_WR);
	has_spoken(v->server);
	return true;
}

static const struct {
	const char *path;
	bool (*serve)(struct visit *v);
} pages[] = {
	{"/ok", serve_ok},
	{"/hang", serve_hang},
	{"/reset", serve_reset},
	{"/garbage", serve_garbage},
	{"/half", serve_half},
	{"/trickle", serve_trickle},
	{"/early", serve_early},
	{"/stale", serve_stale},
	{"/once", serve_once},
	{"/idle", serve_idle},
	{"/gone", serve_gone},
	{"/full", serve_full},
	{"/full-until-close", serve_full_until_close},
	{"/until-close", serve_until_close},
	{"/interim", serve_interim},
	{"/bytes", serve_bytewise},
	{"/head", serve_head},
	{"/surplus", serve_surplus},
	{"/close", serve_close},
	{"/count", serve_count},
	{"/answer-first", serve_answer_first},
	{"/refuse", serve_refuse},
	{"/stray", serve_stray},
	{"/end", serve_end},
};

static bool serve_page(struct visit *v)
{
	struct server *s = v->server;
	char path[64] = "";
	size_t len;

	sscanf(v->head, "%*s %63s", path);
	pthread_mutex_lock(&s->lock);
	if (s->n_seen < MAX_REQUESTS) {
		s->seen[s->n_seen].connection = v->connection;
		memcpy(s->seen[s->n_seen++].path, path, sizeof(path));
	}
	pthread_mutex_unlock(&s->lock);
	len = strcspn(path, "?");
	for (size_t i = 0; i < COUNT(pages); i++) {
		if (strlen(pages[i].path) == len && strncmp(pages[i].path, path, len) == 0)
			return pages[i].serve(v);
	}
	return false;
}

static void *connection_main(void *arg)
{
	struct visit *v = arg;

	for (;;) {
		char *end = strstr(v->head, "\r\n\r\n");
		ssize_t n;

		if (end) {
			size_t used = (size_t)(end + 4 - v->head);

			v->n++;
			if (!serve_page(v))
				break;
			memmove(v->head, v->head + used, v->have - used + 1);
			v->have -= used;
			continue;
		}
		n = recv(v->fd, v->head + v->have, sizeof(v->head) - 1 - v->have, 0);
		if (n <= 0)
			break;
		v->have += (size_t)n;
		v->head[v->have] = '\0';
	}
	close(v->fd);
	free(v);
	return NULL;
}

static void *acceptor_main(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0 && s->n_connections < MAX_CONNECTIONS) {
		struct visit *v = calloc(1, sizeof(*v));

		v->server = s;
		v->fd = fd;
		v->connection = s->n_connections;
		pthread_create(&s->threads[s->n_connections++], NULL, connection_main, v);
	}
	return NULL;
}

int bound_socket(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

struct server *server_start(void)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->fd = bound_socket(&s->port);
	assert_int_equal(listen(s->fd, 512), 0);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	pthread_create(&s->acceptor, NULL, acceptor_main, s);
	return s;
}

void server_stop(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	shutdown(s->fd, SHUT_RDWR); /* ends accept() */
	pthread_join(s->acceptor, NULL);
	for (unsigned i = 0; i < s->n_connections; i++)
		pthread_join(s->threads[i], NULL);
	close(s->fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

unsigned server_seen(struct server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->n_seen;
	pthread_mutex_unlock(&s->lock);
	return n;
}

void server_speak(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->may_speak = true;
	pthread_cond_broadcast(&s->changed);
	while (!s->has_spoken)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}
