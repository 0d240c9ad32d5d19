/* SPDX-License-Identifier: Apache-2.0 */
/* One request over HTTP/2: a libcurl transfer, its answer, a result on. Decides nothing about which
 * request is next or when. */
#include "h2_flight.h"

#include <assert.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

/* What the target chose in TLS (RFC 7301); true where there is no TLS, or no way to know. */
static bool speaks_h2(CURL *easy)
{
	struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *name = NULL;
	unsigned len = 0;

	if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) || !tls || !tls->internals ||
	    tls->backend != CURLSSLBACKEND_OPENSSL)
		return true;
	SSL_get0_alpn_selected(tls->internals, &name, &len);
	return len == 2 && memcmp(name, "h2", 2) == 0;
}

/* libcurl 7.88 greets a connection that it has greeted before, where prior knowledge is what a
 * request asks for (its issue 10634). So only a request that opens one asks for that; the others
 * join, and one that could not has to begin again. */
static CURLcode set_version(struct flight *f)
{
	bool tls = f->h->loop.options->target->tls;
	CURLcode rc;

	rc = curl_easy_setopt(f->easy, CURLOPT_HTTP_VERSION,
			      !tls && f->opens ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
					       : (long)CURL_HTTP_VERSION_2TLS);
	return rc | curl_easy_setopt(f->easy, CURLOPT_FRESH_CONNECT, f->opens ? 1L : 0L);
}

static bool opened_unasked(const struct flight *f)
{
	long opened = 0;

	return !f->h->loop.options->target->tls && !f->opens &&
	       !curl_easy_getinfo(f->easy, CURLINFO_NUM_CONNECTS, &opened) && opened > 0;
}

/* A connection is there and the request is about to go out, the first time or again. */
static int on_ready(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct flight *f = arg;
	struct h2 *h = f->h;
	struct addr peer = {.port = (uint16_t)port};
	int rc;

	(void)local_ip;
	(void)local_port;
	if (!ip || addr_parse(ip, &peer))
		peer.len = 0;
	rc = loop_refuse_origin(&h->loop, &peer);
	if (rc) {
		loop_give_up(&h->loop, rc);
		return CURL_PREREQFUNC_ABORT;
	}
	if (!speaks_h2(f->easy)) {
		f->error = RESULT_ERROR_TLS;
		loop_detail(&h->loop, f->error, "the target did not choose h2 (ALPN)");
		return CURL_PREREQFUNC_ABORT;
	}
	/* libcurl sends again what met a connection that was closed; what changes something by
	 * being repeated is not ours to repeat (RFC 9110, 9.2.2). */
	if (f->tries > 0 && !f->shot->idempotent) {
		f->error = RESULT_ERROR_EARLY_CLOSE;
		return CURL_PREREQFUNC_ABORT;
	}
	if (f->tries > 0) {
		h->loop.stats->retried++;
		f->shot->retried = true;
	}
	f->unasked = opened_unasked(f);
	if (f->unasked)
		return CURL_PREREQFUNC_ABORT;
	if (f->tries++ > 0)
		return CURL_PREREQFUNC_OK;
	f->sent_ns = now_ns();
	loop_count_sent(&h->loop, f->shot, f->sent_ns);
	TAILQ_INSERT_TAIL(&h->sent, f, link);
	return CURL_PREREQFUNC_OK;
}

static size_t refuse(struct flight *f, int rc)
{
	f->no_memory = rc == SC_ENOMEM;
	f->error = RESULT_ERROR_TOO_LARGE;
	return 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct flight *f = arg;
	int rc = h2_answer_line(&f->answer, line, size * n);

	if (!f->first_ns)
		f->first_ns = now_ns();
	return rc ? refuse(f, rc) : size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct flight *f = arg;
	int rc = h2_answer_body(&f->answer, p, size * n);

	return rc ? refuse(f, rc) : size * n;
}

static const struct {
	CURLcode code;
	enum result_error error;
} transfer_errors[] = {
	{CURLE_GOT_NOTHING, RESULT_ERROR_EARLY_CLOSE},
	{CURLE_PARTIAL_FILE, RESULT_ERROR_CUT},
	{CURLE_RECV_ERROR, RESULT_ERROR_RESET},
	{CURLE_HTTP2_STREAM, RESULT_ERROR_RESET},
	{CURLE_SEND_ERROR, RESULT_ERROR_SEND},
	{CURLE_SEND_FAIL_REWIND, RESULT_ERROR_SEND},
	{CURLE_HTTP2, RESULT_ERROR_MALFORMED},
	{CURLE_WEIRD_SERVER_REPLY, RESULT_ERROR_MALFORMED},
	{CURLE_UNSUPPORTED_PROTOCOL, RESULT_ERROR_MALFORMED},
	{CURLE_OPERATION_TIMEDOUT, RESULT_ERROR_TIMEOUT},
};

static enum result_error error_of(const struct flight *f, CURLcode code)
{
	if (code == CURLE_OK || f->error != RESULT_ERROR_NONE)
		return f->error;
	if (!f->sent_ns)
		return conn_error(code);
	for (size_t i = 0; i < sizeof(transfer_errors) / sizeof(transfer_errors[0]); i++) {
		if (transfer_errors[i].code == code)
			return transfer_errors[i].error;
	}
	return RESULT_ERROR_RESET;
}

static void count_sizes(struct flight *f)
{
	struct replay_stats *st = f->h->loop.stats;
	long head_out = 0, head_in = 0, opened = 0;
	curl_off_t body_out = 0, body_in = 0;

	curl_easy_getinfo(f->easy, CURLINFO_REQUEST_SIZE, &head_out);
	curl_easy_getinfo(f->easy, CURLINFO_HEADER_SIZE, &head_in);
	curl_easy_getinfo(f->easy, CURLINFO_SIZE_UPLOAD_T, &body_out);
	curl_easy_getinfo(f->easy, CURLINFO_SIZE_DOWNLOAD_T, &body_in);
	curl_easy_getinfo(f->easy, CURLINFO_NUM_CONNECTS, &opened);
	st->bytes_out += (uint64_t)head_out + (uint64_t)body_out;
	st->bytes_in += (uint64_t)head_in + (uint64_t)body_in;
	st->connections += (uint64_t)opened;
}

/* The next of its lane, or of the lane that waits longest; or it is idle. */
static void flight_release(struct h2 *h, struct flight *f)
{
	struct lane *l = f->lane;
	struct shot *shot;

	while ((l = lanes_go_on(h->loop.lanes, l, flight_number(h, f))) &&
	       (shot = lane_pop(h->loop.lanes, l))) {
		if (loop_drop_late(&h->loop, shot, now_ns()))
			continue;
		f->lane = l;
		flight_begin(h, f, shot);
		return;
	}
	if (l && !h->loop.common)
		lanes_unbind(h->loop.lanes, l);
	f->lane = NULL;
	TAILQ_INSERT_HEAD(&h->idle, f, link);
}

void flight_end(struct flight *f, enum result_error error)
{
	struct h2 *h = f->h;
	struct ended end = {f->shot, f->sent_ns, f->first_ns, now_ns(), error};
	struct message *m = NULL;
	int rc = SC_OK;

	curl_multi_remove_handle(h->loop.multi, f->easy);
	if (f->sent_ns)
		TAILQ_REMOVE(&h->sent, f, link);
	if (error == RESULT_ERROR_NONE)
		rc = h2_answer_take(&f->answer, &m);
	if (f->no_memory || rc == SC_ENOMEM)
		loop_give_up_memory(&h->loop);
	else if (rc)
		end.error = rc == SC_EFULL ? RESULT_ERROR_TOO_LARGE : RESULT_ERROR_MALFORMED;
	count_sizes(f);
	loop_count_end(&h->loop, &end, f->answer.status);
	if (loop_delivers(&h->loop) && !h->loop.rc)
		loop_give_up(&h->loop, loop_deliver(&h->loop, &end, m));
	else
		message_free(m);
	h2_request_done(&f->request);
	h2_answer_clear(&f->answer); /* what was not taken */
	loop_shot_over(&h->loop, f->shot);
	f->shot = NULL;
	flight_release(h, f);
}

static CURLcode set_request(struct flight *f)
{
	const struct h2_request *r = &f->request;
	CURL *easy = f->easy;
	CURLcode rc = CURLE_OK;

	rc |= curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	if (r->head) {
		rc |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else if (r->has_body) {
		rc |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
		rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
		rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
				       r->body.len ? (const char *)r->body.data : "");
	}
	rc |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	rc |= curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, r->target);
	return rc | curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->headers);
}

/* What is said in it is set. */
static int flight_add(struct h2 *h, struct flight *f)
{
	f->unasked = false;
	if (set_version(f) || conn_way_next(f->easy, h->loop.options, &f->way) ||
	    curl_multi_add_handle(h->loop.multi, f->easy))
		return SC_ENOMEM;
	return SC_OK;
}

/* Once more, on a connection of its own. */
static void flight_reopen(struct flight *f)
{
	struct h2 *h = f->h;

	curl_multi_remove_handle(h->loop.multi, f->easy);
	if (f->sent_ns)
		TAILQ_REMOVE(&h->sent, f, link);
	f->sent_ns = 0;
	f->tries = 0;
	f->opens = true;
	if (flight_add(h, f))
		loop_give_up_memory(&h->loop);
}

void flight_begin(struct h2 *h, struct flight *f, struct shot *shot)
{
	int rc = h2_request_make(shot, &f->request);

	assert(!f->shot);
	if (h->loop.options->closed_loop)
		shot->due_ns = now_ns();
	f->shot = shot;
	f->sent_ns = f->first_ns = 0;
	f->tries = 0;
	f->error = RESULT_ERROR_NONE;
	f->said[0] = '\0';
	h2_answer_clear(&f->answer);
	h->loop.stats->in_flight++;
	/* The very first. */
	f->opens = h->loop.stats->sent + h->loop.stats->failed == 0 && h->loop.stats->in_flight == 1;
	/* The shot's bytes are our own, so it is always memory. */
	if (rc || set_request(f) || flight_add(h, f))
		loop_give_up_memory(&h->loop);
}

static CURLcode configure(struct flight *f)
{
	CURL *easy = f->easy;
	CURLcode rc = CURLE_OK;

	/* Many requests on few connections is what HTTP/2 is for. */
	rc |= curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, f->said);
	rc |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_ready);
	rc |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, f);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, f);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	return rc | curl_easy_setopt(easy, CURLOPT_WRITEDATA, f);
}

static struct flight *flight_new(struct h2 *h)
{
	struct flight *f;

	if (h->n_flights >= h->loop.options->connections)
		return NULL;
	f = &h->flights[h->n_flights];
	f->h = h;
	f->easy = curl_easy_init();
	if (!f->easy || conn_configure(f->easy, h->loop.options, f) || configure(f)) {
		curl_easy_cleanup(f->easy);
		f->easy = NULL;
		loop_give_up_memory(&h->loop);
		return NULL;
	}
	h2_answer_init(&f->answer, h->loop.options->save == SAVE_ANSWERS_FULL, LIMIT_RESPONSE_BODY,
		       h->loop.room);
	h->n_flights++;
	return f;
}

void flight_done(struct flight *f)
{
	if (f->shot)
		curl_multi_remove_handle(f->h->loop.multi, f->easy);
	curl_easy_cleanup(f->easy);
	conn_way_done(&f->way);
	h2_request_done(&f->request);
	h2_answer_done(&f->answer);
	shot_free(f->shot);
}

struct flight *flight_take(struct h2 *h)
{
	struct flight *f = TAILQ_FIRST(&h->idle);

	if (!f)
		return flight_new(h);
	TAILQ_REMOVE(&h->idle, f, link);
	return f;
}

void flight_cancel(struct flight *f)
{
	struct h2 *h = f->h;

	curl_multi_remove_handle(h->loop.multi, f->easy);
	h2_request_done(&f->request);
	loop_shot_over(&h->loop, f->shot);
	f->shot = NULL;
	h->loop.stats->unsent++;
	h->loop.stats->in_flight--;
	flight_release(h, f);
}

/* A connection that others had used before broke without a word, and the request may be repeated. A
 * stream that the target resets is its answer to this request (RFC 9113, 5.4.2). */
static bool is_stale(const struct flight *f, CURLcode code)
{
	long opened = 0;

	if (code == CURLE_OK || code == CURLE_HTTP2_STREAM || f->error != RESULT_ERROR_NONE ||
	    !f->sent_ns || f->first_ns ||
	    f->shot->retried || !f->shot->idempotent || f->h->loop.stopping)
		return false;
	return !curl_easy_getinfo(f->easy, CURLINFO_NUM_CONNECTS, &opened) && opened == 0;
}

void flight_over(struct flight *f, CURLcode code)
{
	if (is_stale(f, code)) {
		f->shot->retried = true;
		f->h->loop.stats->retried++;
		flight_reopen(f);
	} else if (f->unasked) {
		flight_reopen(f);
	} else {
		if (code != CURLE_OK && f->error == RESULT_ERROR_NONE)
			loop_detail(&f->h->loop, error_of(f, code), f->said);
		flight_end(f, error_of(f, code));
	}
}
