/* SPDX-License-Identifier: Apache-2.0 */
/* A small hostile HTTP server on loopback, a thread a connection. What it does with a request is
 * said by the request's path: a table of them is in hostile_server.c. */
#ifndef TESTS_HOSTILE_SERVER_H
#define TESTS_HOSTILE_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_REQUESTS 4096
#define MAX_CONNECTIONS 512

struct seen {
	unsigned connection; /* of the server's, from 0 */
	char path[64];
};

struct server {
	int fd;
	uint16_t port;
	pthread_t acceptor;
	pthread_mutex_t lock;
	struct seen seen[MAX_REQUESTS]; /* under the lock until server_stop() */
	unsigned n_seen;
	pthread_cond_t changed;
	bool may_speak, has_spoken, stopping; /* under the lock */
	pthread_t threads[MAX_CONNECTIONS];
	unsigned n_connections;
};

struct server *server_start(void);
void server_stop(struct server *s);
unsigned server_seen(struct server *s); /* requests so far */

/* Connections that wait for it say something that nobody asked for; returns when one has. */
void server_speak(struct server *s);

/* A socket with a port of its own that nobody listens on. */
int bound_socket(uint16_t *ret_port);

#endif
