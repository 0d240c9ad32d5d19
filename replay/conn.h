/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the target: libcurl opens it (names, TCP, proxy, TLS), then bytes go in and out
 * through its socket, or its TLS session, without libcurl in between. Never blocks. */
#ifndef REPLAY_CONN_H
#define REPLAY_CONN_H

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <stdbool.h>

#include "core/addr.h"
#include "core/exchange.h"
#include "replay/replay.h"

/* What libcurl borrows until the next way, or the end. */
struct conn_way {
	struct curl_slist *connect_to, *resolve;
};

struct conn {
	CURL *easy;
	CURLM *multi;			      /* borrowed */
	const struct replay_options *options; /* borrowed */
	struct conn_way way;
	int fd;	    /* -1 unless open */
	bool own;   /* it is ours to close, and not libcurl's */
	bool added; /* in the multi: connecting or open */
	bool tls;
	bool unsaid; /* the peer's end was that of TCP, without TLS's own (close_notify) */
	SSL *ssl; /* libcurl's, borrowed while open; NULL: no TLS, or only libcurl knows it */
	char said[CURL_ERROR_SIZE]; /* why it could not be opened, in libcurl's words */
};

/* Target, certificates, proxy: all that is the same for every connection. SC_ENOMEM. */
int conn_configure(CURL *easy, const struct replay_options *options, void *owner);
/* Which address is next: before each transfer. SC_ENOMEM. */
int conn_way_next(CURL *easy, const struct replay_options *options, struct conn_way *way);
void conn_way_done(struct conn_way *way);

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

/* SC_OK with *ret_n > 0; SC_EAGAIN: wait for the socket; SC_ECLOSED: the peer has closed;
 * SC_EPROTO: the peer said no in TLS, as to a missing client certificate (reading only); SC_EIO:
 * reset. */
int conn_send(struct conn *c, const void *p, size_t len, size_t *ret_n);
int conn_recv(struct conn *c, void *p, size_t len, size_t *ret_n);

/* What became of the last `sent` bytes of a connection whose orderly end has come. (A reset without
 * one says nothing: what it threw away may have been read.) */
enum conn_fate {
	CONN_TAKEN,	/* some have arrived, or that cannot be known */
	CONN_UNDECIDED, /* none so far, but the peer may have ended its own side only */
	CONN_UNTAKEN,	/* none, and none ever will: there is nobody any more */
};
enum conn_fate conn_fate(const struct conn *c, size_t sent);

/* What the last failure in reading TLS was; NULL: nothing is known. */
const char *conn_tls_detail(void);
/* What a failure to connect is called. */
enum result_error conn_error(CURLcode code);

#endif
