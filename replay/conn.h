/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the target: libcurl opens it (DNS, TCP, TLS), then bytes go in and out: through
 * libcurl under TLS, straight through the socket without it. Never blocks. The only place that
 * knows libcurl's easy handles. */
#ifndef REPLAY_CONN_H
#define REPLAY_CONN_H

#include <curl/curl.h>
#include <stdbool.h>

#include "core/addr.h"
#include "core/exchange.h"
#include "replay/replay.h"

struct conn {
	CURL *easy;
	CURLM *multi; /* borrowed */
	int fd;	      /* -1 unless open */
	bool added;   /* in the multi: connecting or open */
	bool tls;
};

/* `owner` comes back from conn_owner(). SC_ENOMEM. */
int conn_init(struct conn *c, CURLM *multi, const struct replay_options *options, void *owner);
void conn_done(struct conn *c);
void *conn_owner(CURL *easy);

/* Begins to connect; the multi says when it is done. SC_ENOMEM. */
int conn_open(struct conn *c);
/* The multi says it is connected. SC_EIO when there is no socket after all. */
int conn_opened(struct conn *c, struct addr *ret_peer);
void conn_close(struct conn *c); /* also while connecting */

static inline bool conn_is_open(const struct conn *c)
{
	return c->fd >= 0;
}

/* SC_OK with *ret_n > 0; SC_EAGAIN: wait for the socket; SC_ECLOSED: the peer has closed (reading
 * only); SC_EIO: reset, or TLS broke. */
int conn_send(struct conn *c, const void *p, size_t len, size_t *ret_n);
int conn_recv(struct conn *c, void *p, size_t len, size_t *ret_n);

/* What a failure to connect is called. */
enum result_error conn_error(CURLcode code);

#endif
