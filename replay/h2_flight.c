/* SPDX-License-Identifier: Apache-2.0 */
/* One request over HTTP/2: a libcurl transfer, its answer, a result on. Decides nothing about which
 * request is next or when. */
#include "h2_flight.h"

#include <assert.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

void h2_give_up(struct h2 *h, int rc)
{
	if (!h->rc)
		h->rc = rc;
}

void h2_give_up_memory(struct h2 *h)
{
	if (!h->rc)
		h->rc = err_set(h->err, SC_ENOMEM, "out of memory");
}

void h2_shot_over(struct h2 *h, struct shot *shot)
{
	if (h->feed->done)
		h->feed->done(h->feed, shot);
	else
		shot_free(shot);
}

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
	bool tls = f->h->options->target->tls;
	CURLcode rc;

	rc = curl_easy_setopt(f->easy, CURLOPT_HTTP_VERSION,
			      !tls && f->opens ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
					       : (long)CURL_HTTP_VERSION_2TLS);
	return rc | curl_easy_setopt(f->easy, CURLOPT_FRESH_CONNECT, f->opens ? 1L : 0L);
}

static bool opened_unasked(const struct flight *f)
{
	long opened = 0;

	return !f->h->options->target->tls && !f->opens &&
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
	rc = target_refuse_origin(&peer, h->options->origins, h->options->n_origins, h->err);
	if (rc) {
		h2_give_up(h, rc);
		return CURL_PREREQFUNC_ABORT;
	}
	if (!speaks_h2(f->easy)) {
		f->error = RESULT_ERROR_TLS;
		return CURL_PREREQFUNC_ABORT;
	}
	/* libcurl sends again what met a connection that was closed; what changes something by
	 * being repeated is not ours to repeat (RFC 9110, 9.2.2). */
	if (f->tries > 0 && !f->shot->idempotent) {
		f->error = RESULT_ERROR_EARLY_CLOSE;
		return CURL_PREREQFUNC_ABORT;
	}
	if (f->tries > 0) {
		h->stats->retried++;
		f->shot->retried = true;
	}
	f->unasked = opened_unasked(f);
	if (f->unasked)
		return CURL_PREREQFUNC_ABORT;
	if (f->tries++ > 0)
		return CURL_PREREQFUNC_OK;
	f->sent_ns = now_ns();
	if (!h->options->closed_loop && !f->shot->retried && f->sent_ns - f->shot->due_ns > LATE_NS)
		h->stats->late++;
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
	struct replay_stats *st = f->h->stats;
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

static void count_end(struct flight *f, int64_t end_ns, enum result_error error)
{
	struct replay_stats *st = f->h->stats;

	st->in_flight--;
	if (error != RESULT_ERROR_NONE) {
		st->failed++;
		st->failed_sent += f->sent_ns != 0;
		st->errors[error]++;
		return;
	}
	st->sent++;
	st->status[f->answer.status % STATUS_CODES]++;
	histogram_add(&st->service, end_ns - f->sent_ns);
	histogram_add(&st->latency, end_ns - f->shot->due_ns);
}

/* `m` is moved; NULL where there is an error. */
static int deliver(struct flight *f, int64_t end_ns, enum result_error error, struct message *m)
{
	struct h2 *h = f->h;
	struct result *r = result_new();

	if (!r) {
		message_free(m);
		return err_set(h->err, SC_ENOMEM, "out of memory");
	}
	r->exchange_id = f->shot->exchange_id;
	r->pass = f->shot->pass;
	r->due_us = h2_wall_us(h, f->shot->due_ns);
	r->error = error;
	if (f->sent_ns)
		r->sent_us = h2_wall_us(h, f->sent_ns);
	if (f->sent_ns && f->first_ns)
		r->ttfb_us = (f->first_ns - f->sent_ns) / NS_PER_US;
	if (m) {
		r->duration_us = (end_ns - f->sent_ns) / NS_PER_US;
		r->latency_us = (end_ns - f->shot->due_ns) / NS_PER_US;
		m->first_us = h2_wall_us(h, f->first_ns);
		m->last_us = h2_wall_us(h, end_ns);
		r->response = m;
	}
	return h->sink->ops->put(h->sink, r, h->err);
}

/* The next of its lane, or of the lane that waits longest; or it is idle. */
static void flight_release(struct h2 *h, struct flight *f)
{
	struct lane *l = f->lane;
	struct shot *shot = lane_pop(h->lanes, l);

	if (!shot && !h->common) {
		lanes_unbind(h->lanes, l);
		f->lane = l = lanes_next_waiting(h->lanes);
		if (l) {
			l->slot = (uint32_t)(f - h->flights);
			shot = lane_pop(h->lanes, l);
		}
	}
	if (shot) {
		flight_begin(h, f, shot);
		return;
	}
	f->lane = NULL;
	TAILQ_INSERT_HEAD(&h->idle, f, link);
}

void flight_end(struct flight *f, enum result_error error)
{
	struct h2 *h = f->h;
	int64_t end_ns = now_ns();
	struct message *m = NULL;
	int rc = SC_OK;

	curl_multi_remove_handle(h->multi, f->easy);
	if (f->sent_ns)
		TAILQ_REMOVE(&h->sent, f, link);
	if (error == RESULT_ERROR_NONE)
		rc = h2_answer_take(&f->answer, &m);
	if (f->no_memory || rc == SC_ENOMEM)
		h2_give_up_memory(h);
	else if (rc)
		error = rc == SC_EFULL ? RESULT_ERROR_TOO_LARGE : RESULT_ERROR_MALFORMED;
	count_sizes(f);
	count_end(f, end_ns, error);
	if (h->sink && h->options->save != SAVE_ANSWERS_NONE && !h->rc)
		h2_give_up(h, deliver(f, end_ns, error, m));
	else
		message_free(m);
	h2_request_done(&f->request);
	h2_shot_over(h, f->shot);
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
	if (set_version(f) || conn_way_next(f->easy, h->options, &f->way) ||
	    curl_multi_add_handle(h->multi, f->easy))
		return SC_ENOMEM;
	return SC_OK;
}

/* Once more, on a connection of its own. */
static void flight_reopen(struct flight *f)
{
	struct h2 *h = f->h;

	curl_multi_remove_handle(h->multi, f->easy);
	if (f->sent_ns)
		TAILQ_REMOVE(&h->sent, f, link);
	f->sent_ns = 0;
	f->tries = 0;
	f->opens = true;
	if (flight_add(h, f))
		h2_give_up_memory(h);
}

void flight_begin(struct h2 *h, struct flight *f, struct shot *shot)
{
	int rc = h2_request_make(shot, &f->request);

	assert(!f->shot);
	if (h->options->closed_loop)
		shot->due_ns = now_ns();
	f->shot = shot;
	f->sent_ns = f->first_ns = 0;
	f->tries = 0;
	f->error = RESULT_ERROR_NONE;
	h2_answer_clear(&f->answer);
	h->stats->in_flight++;
	/* The very first. */
	f->opens = h->stats->sent + h->stats->failed == 0 && h->stats->in_flight == 1;
	/* The shot's bytes are our own, so it is always memory. */
	if (rc || set_request(f) || flight_add(h, f))
		h2_give_up_memory(h);
}

static CURLcode configure(struct flight *f)
{
	CURL *easy = f->easy;
	CURLcode rc = CURLE_OK;

	/* Many requests on few connections is what HTTP/2 is for. */
	rc |= curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
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

	if (h->n_flights >= h->options->connections)
		return NULL;
	f = &h->flights[h->n_flights];
	f->h = h;
	f->easy = curl_easy_init();
	if (!f->easy || conn_configure(f->easy, h->options, f) || configure(f)) {
		curl_easy_cleanup(f->easy);
		f->easy = NULL;
		h2_give_up_memory(h);
		return NULL;
	}
	h2_answer_init(&f->answer, h->options->save == SAVE_ANSWERS_FULL, LIMIT_RESPONSE_BODY);
	h->n_flights++;
	return f;
}

void flight_done(struct flight *f)
{
	if (f->shot)
		curl_multi_remove_handle(f->h->multi, f->easy);
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

	curl_multi_remove_handle(h->multi, f->easy);
	h2_request_done(&f->request);
	h2_shot_over(h, f->shot);
	f->shot = NULL;
	h->stats->unsent++;
	h->stats->in_flight--;
	flight_release(h, f);
}

/* A connection that others had used before broke without a word, and the request may be repeated.
 */
static bool is_stale(const struct flight *f, CURLcode code)
{
	long opened = 0;

	if (code == CURLE_OK || f->error != RESULT_ERROR_NONE || !f->sent_ns || f->first_ns ||
	    f->shot->retried || !f->shot->idempotent || f->h->stopping)
		return false;
	return !curl_easy_getinfo(f->easy, CURLINFO_NUM_CONNECTS, &opened) && opened == 0;
}

void flight_over(struct flight *f, CURLcode code)
{
	if (is_stale(f, code)) {
		f->shot->retried = true;
		f->h->stats->retried++;
		flight_reopen(f);
	} else if (f->unasked) {
		flight_reopen(f);
	} else {
		flight_end(f, error_of(f, code));
	}
}
