/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1 messages of one direction of a connection. */
#include "http.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/chunked.h"
#include "core/limits.h"
#include "head.h"

int http_shared_init(struct http_shared *sh, struct counters *counters, size_t body_max)
{
	sh->counters = counters;
	sh->body_max = body_max;
	sh->scratch = head_scratch_new();
	return sh->scratch ? SC_OK : SC_ENOMEM;
}

void http_shared_done(struct http_shared *sh)
{
	head_scratch_free(sh->scratch);
	sh->scratch = NULL;
}

static void stash_drop(struct http *h, struct http_shared *sh)
{
	if (!h->stash)
		return;
	sh->held -= h->stash->len;
	buf_done(h->stash);
	free(h->stash);
	h->stash = NULL;
}

void http_done(struct http *h, struct http_shared *sh)
{
	stash_drop(h, sh);
	chunked_free(h->chunked);
	h->chunked = NULL;
}

static bool is_token_char(uint8_t c)
{
	return isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

/* "GET /path" and no version: HTTP/0.9. */
static bool is_simple_request(struct span line)
{
	return line.len >= 5 && memcmp(line.p, "GET /", 5) == 0 &&
	       !memchr(line.p + 5, ' ', line.len - 5);
}

/* "... HTTP/1.1" at the end of the first line. */
static enum http_start classify_line(struct span s, size_t method)
{
	const uint8_t *nl = memchr(s.p, '\n', s.len);
	size_t len;

	/* Nobody's words are that long, but targets are. */
	if (!nl && s.len > 4 * KIB && !strchr("/h*", s.p[method + 1]))
		return START_NONE;
	if (!nl)
		return s.len < LIMIT_HEAD_BYTES ? START_MORE : START_NONE;
	len = (size_t)(nl - s.p);
	while (len && (s.p[len - 1] == '\r' || s.p[len - 1] == ' '))
		len--;
	if (len < 10 || strncasecmp((const char *)s.p + len - 8, "HTTP/", 5) != 0 ||
	    !isdigit(s.p[len - 3]) || s.p[len - 2] != '.' || !isdigit(s.p[len - 1]))
		return is_simple_request(span_of(s.p, len)) ? START_SIMPLE : START_NONE;
	/* Three parts: a target stands between the spaces. */
	return s.p[len - 9] == ' ' && len - 9 > method + 1 ? START_REQUEST : START_NONE;
}

static enum http_start classify_request(struct span s)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n";
	size_t n = 0;

	while (n < s.len && n < LIMIT_METHOD_BYTES && is_token_char(s.p[n]))
		n++;
	if (n == s.len)
		return n && n < LIMIT_METHOD_BYTES ? START_MORE : START_NONE;
	if (n == 0 || s.p[n] != ' ')
		return START_NONE;
	if (s.len >= sizeof(preface) - 1 && memcmp(s.p, preface, sizeof(preface) - 1) == 0)
		return START_HTTP2;
	if (n == 3 && memcmp(s.p, "PRI", 3) == 0 && s.len < sizeof(preface) - 1)
		return START_MORE;
	return classify_line(s, n);
}

/* A record header of type handshake, and in it a hello (RFC 8446, 4 and 5.1). */
static enum http_start classify_tls(struct span s)
{
	if (s.len > 1 && s.p[1] != 3)
		return START_NONE;
	if (s.len < 6)
		return START_MORE;
	return s.p[5] == 1 || s.p[5] == 2 ? START_TLS : START_NONE;
}

enum http_start http_classify(struct span s)
{
	static const char http[] = "HTTP/";
	size_t n = s.len < 5 ? s.len : 5;

	if (s.len == 0)
		return START_MORE;
	if (s.p[0] == 0x16)
		return classify_tls(s);
	if (memcmp(s.p, http, n) == 0) {
		if (s.len < 9)
			return START_MORE;
		return isdigit(s.p[5]) && s.p[6] == '.' && isdigit(s.p[7]) &&
				       (s.p[8] == ' ' || s.p[8] == '\t')
			       ? START_RESPONSE : START_NONE;
	}
	return classify_request(s);
}

/* Whether a message of our direction begins here. */
static enum http_start start_here(const struct http *h, struct span s)
{
	enum http_start start = http_classify(s);

	/* Nobody mixes HTTP/0.9 with anything. */
	if (start == START_SIMPLE)
		return h->role == HTTP_ANY ? START_SIMPLE : START_NONE;
	if ((start == START_REQUEST && h->role == HTTP_RESPONSES) ||
	    (start == START_RESPONSE && h->role == HTTP_REQUESTS))
		return START_NONE;
	return start;
}

static bool is_eol(uint8_t c)
{
	return c == '\r' || c == '\n';
}

/* How many bytes to pass over until something may begin; all of them when nothing does. Inside a
 * segment only line starts are tried, and only where HTTP has been seen. */
static size_t search(const struct http *h, struct span s)
{
	size_t at = 0;

	while (at < s.len) {
		const uint8_t *nl;
		enum http_start start = start_here(h, span_of(s.p + at, s.len - at));

		if (start == START_REQUEST || start == START_RESPONSE || start == START_SIMPLE ||
		    (at == 0 && start != START_NONE))
			return at;
		if (!h->resync)
			return s.len;
		nl = memchr(s.p + at, '\n', s.len - at);
		if (!nl)
			return s.len;
		at = (size_t)(nl + 1 - s.p);
	}
	return s.len;
}

static void begin(struct http *h, uint64_t offset, int64_t peer, int64_t ts_us)
{
	h->start = h->end = offset;
	h->start_peer = peer;
	h->first_us = h->last_us = ts_us;
	h->cut = false;
	h->body_size = 0;
}

static void lost(struct http *h, struct http_shared *sh)
{
	stash_drop(h, sh);
	chunked_free(h->chunked);
	h->chunked = NULL;
	h->message = NULL;
	h->state = HTTP_SEARCH;
	h->resync = true;
	h->lost = true;
}

static void complete(struct http *h, struct http_shared *sh, void *arg)
{
	if (h->state == HTTP_CHUNKED && h->chunked && h->message && !h->cut)
		chunked_describe(h->chunked, h->message);
	chunked_free(h->chunked);
	h->chunked = NULL;
	if (h->state != HTTP_OPAQUE)
		h->state = HTTP_BETWEEN;
	sh->done(arg, h);
	h->message = NULL;
}

/* The body will not go on: what there is is all there will be. */
static void cut_short(struct http *h, struct http_shared *sh, void *arg)
{
	h->cut = h->lost = true;
	complete(h, sh, arg);
}

bool http_in_body(const struct http *h)
{
	return h->state == HTTP_FIXED || h->state == HTTP_CHUNKED || h->state == HTTP_TO_END;
}

static void begin_body(struct http *h, struct http_shared *sh, struct message *m, void *arg)
{
	uint64_t len = 0;
	enum framing framing = head_framing(m, &len);
	uint16_t chunked_flag = framing == FRAMING_CHUNKED ? MESSAGE_CHUNKED : 0;
	enum http_verdict verdict;

	m->flags |= chunked_flag;
	m->first_us = h->first_us;
	h->end = h->start + m->head_len;
	verdict = sh->head(arg, h, m); /* moved */
	if (verdict == HTTP_TUNNEL)
		h->state = HTTP_OPAQUE;
	if (verdict != HTTP_BODY || framing == FRAMING_NONE) {
		complete(h, sh, arg);
		return;
	}
	switch (framing) {
	case FRAMING_FIXED:
		h->left = len;
		h->state = HTTP_FIXED;
		break;
	case FRAMING_CHUNKED:
		h->chunked = chunked_new(h->role == HTTP_REQUESTS && h->message);
		h->state = HTTP_CHUNKED;
		if (!h->chunked) {
			cut_short(h, sh, arg);
			lost(h, sh);
		}
		break;
	case FRAMING_TO_END:
		h->state = HTTP_TO_END;
		break;
	case FRAMING_NONE:
		break;
	}
}

struct body_target {
	struct http *h;
	struct http_shared *sh;
};

static void body_bytes(void *arg, struct span data)
{
	struct body_target *t = arg;
	struct message *m = t->h->message;
	size_t keep;

	t->h->body_size += data.len;
	if (!m)
		return;
	keep = m->body.max - m->body.len;
	if (keep > data.len)
		keep = data.len;
	/* One allocation of the right size where the length is known. */
	if (m->body.cap == 0 && t->h->state == HTTP_FIXED && keep == data.len) {
		uint64_t want = t->h->left < m->body.max ? t->h->left : m->body.max;

		if (want <= 64 * KIB)
			(void)buf_reserve(&m->body, (size_t)want);
	}
	if (keep && buf_add(&m->body, data.p, keep) == SC_OK)
		t->sh->held += keep;
}

static size_t feed_body(struct http *h, struct http_shared *sh, struct span s, void *arg)
{
	struct body_target target = {h, sh};
	size_t used = s.len;

	if (h->state == HTTP_FIXED) {
		if (used > h->left)
			used = (size_t)h->left;
		h->end += used;
		body_bytes(&target, span_of(s.p, used));
		h->left -= used;
		if (h->left == 0)
			complete(h, sh, arg);
	} else if (h->state == HTTP_TO_END) {
		body_bytes(&target, s);
	} else {
		enum chunked_result r = chunked_feed(h->chunked, s, body_bytes, &target, &used);

		h->end += used;
		switch (r) {
		case CHUNKED_MORE:
			break;
		case CHUNKED_DONE:
			complete(h, sh, arg);
			break;
		case CHUNKED_BROKEN:
			/* What follows in this segment claims to be body still. */
			count(sh->counters, HEADS_MALFORMED);
			cut_short(h, sh, arg);
			lost(h, sh);
			used = s.len;
			break;
		}
	}
	return used;
}

/* The bytes at s begin a head. Returns what it took; 0: more bytes are needed. */
static size_t feed_head(struct http *h, struct http_shared *sh, struct span s, void *arg)
{
	enum http_start start = start_here(h, s);
	bool request = start == START_REQUEST || start == START_SIMPLE;
	struct message *m;
	size_t used;
	int rc;

	if (start == START_MORE)
		return 0;
	if (start == START_TLS || start == START_HTTP2) {
		h->state = HTTP_OPAQUE;
		sh->recognised(arg, h, start == START_TLS ? CONNECTIONS_TLS : CONNECTIONS_HTTP2);
		return s.len;
	}
	if (start == START_NONE) {
		if (h->resync)
			count(sh->counters, HEADS_MALFORMED);
		h->state = HTTP_SEARCH;
		return s.len; /* not used: the caller looks at the state */
	}
	if (start == START_SIMPLE)
		rc = head_parse_simple(s, sh->body_max, &m, &used);
	else
		rc = head_parse(sh->scratch, s, request, sh->body_max, &m, &used);
	if (rc == SC_ETRUNC)
		return 0;
	if (rc) {
		count(sh->counters, rc == SC_EFULL ? HEADS_TOO_LARGE : HEADS_MALFORMED);
		sh->unfinished(arg, h, request);
		h->state = HTTP_SEARCH;
		h->resync = true;
		return s.len;
	}
	h->role = request ? HTTP_REQUESTS : HTTP_RESPONSES;
	h->resync = true; /* from now on this is known to be HTTP */
	h->lost = false;
	begin_body(h, sh, m, arg);
	return used;
}

static bool stash_add(struct http *h, struct http_shared *sh, struct span s)
{
	if (!h->stash) {
		h->stash = malloc(sizeof(*h->stash));
		if (!h->stash)
			return false;
		buf_init(h->stash, LIMIT_HEAD_BYTES);
	}
	if (buf_add_span(h->stash, s))
		return false;
	sh->held += s.len;
	return true;
}

/* Whether the last `fresh` bytes can have made the head complete. */
static bool may_be_complete(struct span s, size_t fresh)
{
	size_t from = s.len > fresh + 3 ? s.len - fresh - 3 : 0;
	const uint8_t *p = s.p + from, *end = s.p + s.len;

	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p < end && (*p == '\n' || (*p == '\r' && end - p >= 2 && p[1] == '\n')))
			return true;
	}
	return false;
}

/* Whose the head in the stash is, where it never became one. */
static bool stash_is_request(const struct http *h)
{
	if (h->role != HTTP_ANY)
		return h->role == HTTP_REQUESTS;
	return !span_starts(buf_span(h->stash), span_str("HTTP/"));
}

/* "token SP target", as a request line begins, or a status line. */
static bool looks_like_start(const struct http *h, struct span s)
{
	size_t n = 0;

	if (h->role == HTTP_RESPONSES)
		return span_starts(s, span_str("HTTP/"));
	while (n < s.len && n < LIMIT_METHOD_BYTES && is_token_char(s.p[n]))
		n++;
	return n > 0 && n + 1 < s.len && s.p[n] == ' ' &&
	       (s.p[n + 1] == '/' || s.p[n + 1] == '*' || s.p[n + 1] == 'h');
}

/* More of a head that is stashed. All of `s` goes into the stash; what lies behind the head comes
 * out of it again. Returns what was used of s. */
static size_t feed_stash(struct http *h, struct http_shared *sh, struct span s, void *arg)
{
	size_t before = h->stash->len, used;
	struct buf *stash = h->stash;
	struct span all;

	/* After a loss the stash may be the tail of something; a start line at the beginning of a segment
	 * is better evidence. */
	if (h->lost && !memchr(stash->data, '\n', stash->len) && looks_like_start(h, s)) {
		count_n(sh->counters, BYTES_NOT_HTTP, stash->len);
		stash_drop(h, sh);
		h->state = HTTP_BETWEEN;
		return 0;
	}
	if (!stash_add(h, sh, s)) {
		count(sh->counters, HEADS_TOO_LARGE);
		sh->unfinished(arg, h, stash_is_request(h));
		lost(h, sh);
		return 0;
	}
	all = buf_span(stash);
	if (start_here(h, all) != START_NONE &&
	    !may_be_complete(all, s.len))
		return s.len;
	h->stash = NULL;
	h->state = HTTP_BETWEEN;
	used = feed_head(h, sh, all, arg);
	if (used == 0) {
		h->stash = stash;
		h->state = HTTP_HEAD;
		return s.len;
	}
	sh->held -= stash->len;
	buf_done(stash);
	free(stash);
	if (h->state == HTTP_SEARCH)
		return 0; /* this segment is searched again by itself */
	return used > before ? used - before : s.len;
}

static size_t feed_between(struct http *h, struct http_shared *sh, struct span s,
			   const struct chunk *c, int64_t peer, void *arg)
{
	uint64_t offset = c->offset + (size_t)(s.p - c->bytes.p);
	size_t skip = 0, used;

	while (skip < s.len && is_eol(s.p[skip])) /* RFC 9112, 2.2 */
		skip++;
	if (skip)
		return skip;
	begin(h, offset, peer, c->ts_us);
	used = feed_head(h, sh, s, arg);
	if (used == 0) {
		if (!stash_add(h, sh, s)) {
			lost(h, sh);
			return s.len;
		}
		h->state = HTTP_HEAD;
		return s.len;
	}
	return h->state == HTTP_SEARCH ? 0 : used;
}

static size_t feed_search(struct http *h, struct http_shared *sh, struct span s)
{
	size_t n = search(h, s);

	count_n(sh->counters, BYTES_NOT_HTTP, n);
	if (n < s.len)
		h->state = HTTP_BETWEEN;
	return n;
}

/* The byte that came last is not always the last one: an early segment waits for the one before. */
static void note_time(struct http *h, int64_t ts_us)
{
	if (ts_us > h->last_us)
		h->last_us = ts_us;
}

static void feed(struct http *h, struct http_shared *sh, const struct chunk *c, int64_t peer,
		 void *arg)
{
	struct span s = c->bytes;

	while (s.len) {
		size_t used = s.len;
		bool refused = false;

		switch ((enum http_state)h->state) {
		case HTTP_BETWEEN:
			used = feed_between(h, sh, s, c, peer, arg);
			refused = h->state == HTTP_SEARCH;
			break;
		case HTTP_SEARCH:
			used = feed_search(h, sh, s);
			break;
		case HTTP_HEAD:
			note_time(h, c->ts_us);
			used = feed_stash(h, sh, s, arg);
			break;
		case HTTP_FIXED:
		case HTTP_CHUNKED:
		case HTTP_TO_END:
			note_time(h, c->ts_us);
			used = feed_body(h, sh, s, arg);
			break;
		case HTTP_OPAQUE:
			return;
		}
		/* What was just refused as a start must not be found again as one. */
		if (refused && used == 0) {
			const uint8_t *nl = h->resync ? memchr(s.p, '\n', s.len) : NULL;

			used = nl ? (size_t)(nl + 1 - s.p) : s.len;
			count_n(sh->counters, BYTES_NOT_HTTP, used);
		}
		s = span_of(s.p + used, s.len - used);
	}
}

/* A gap that the framing can bridge is a hole in the body; any other loses the place. */
static void feed_gap(struct http *h, struct http_shared *sh, uint64_t len, void *arg)
{
	h->cut = true;
	h->end += len;
	if (h->state == HTTP_FIXED && len <= h->left) {
		h->left -= len;
		h->body_size += len;
		/* Bytes behind the hole would stand at the wrong place. */
		h->message = NULL;
		if (h->left == 0)
			complete(h, sh, arg);
		return;
	}
	if (h->state == HTTP_TO_END) {
		h->body_size += len;
		h->message = NULL;
		return;
	}
	if (h->state == HTTP_CHUNKED && chunked_skip(h->chunked, len)) {
		h->body_size += len;
		h->message = NULL;
		return;
	}
	if (h->state == HTTP_HEAD)
		sh->unfinished(arg, h, stash_is_request(h));
	else if (http_in_body(h))
		cut_short(h, sh, arg);
	if (h->state != HTTP_OPAQUE) {
		bool known = h->resync;

		lost(h, sh);
		h->resync = known;
	}
}

void http_chunk(struct http *h, struct http_shared *sh, const struct chunk *c, int64_t peer,
		void *arg)
{
	if (c->bytes.p)
		feed(h, sh, c, peer, arg);
	else
		feed_gap(h, sh, c->bytes.len, arg);
}

void http_end(struct http *h, struct http_shared *sh, bool clean, void *arg)
{
	if (h->state == HTTP_HEAD) {
		enum http_start start = http_classify(buf_span(h->stash));
		bool request = start == START_REQUEST ||
			       (start == START_MORE && h->role == HTTP_REQUESTS);

		if (request || start == START_RESPONSE)
			sh->unfinished(arg, h, request);
		stash_drop(h, sh);
	} else if (http_in_body(h)) {
		if (h->state == HTTP_TO_END && clean && !h->cut)
			complete(h, sh, arg);
		else
			cut_short(h, sh, arg);
	}
	h->state = HTTP_SEARCH;
}
