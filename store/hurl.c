/* SPDX-License-Identifier: Apache-2.0 */
/* A regression suite in Hurl's language: requests grouped by route, each with what its answers had
 * in common. Holds the suite until the end, bounded in entries and bytes: of each entry the first
 * exchange, and of repeats only whether they said the same. */
#include "hurl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/rng.h"
#include "core/template.h"
#include "format_io.h"
#include "format_private.h"

#define BUCKETS 16384u /* a power of two */
#define KEY_BYTES (LIMIT_HEAD_BYTES + 1024u)

struct entry {
	struct entry *next; /* of its bucket */
	uint64_t number;    /* in the order of the dataset */
	uint64_t request;   /* a hash of what was asked */
	uint64_t count;     /* of exchanges */
	uint16_t status;
	bool left_out;	  /* less frequent than another status of its request */
	struct buf route; /* host and template: what it is grouped by */
	struct buf path;
	struct buf host, method;
	struct buf text; /* the request */
	struct hurl_asserts asserts;
};

struct hurl_sink {
	struct sink sink; /* first */
	struct output *output;
	struct format_notes *notes; /* borrowed */
	bool unique, chosen; /* `chosen`: left_out is set */
	struct templates *templates;
	struct entry **entries;
	uint32_t n;
	struct entry *buckets[BUCKETS];
	size_t bytes;
	uint64_t number;
	uint32_t changes; /* of routes, as they were when the entries were put together */
	struct buf key, scratch;
};

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	buf_done(&e->route);
	buf_done(&e->path);
	buf_done(&e->host);
	buf_done(&e->method);
	buf_done(&e->text);
	hurl_asserts_done(&e->asserts);
	free(e);
}

static size_t footprint(const struct entry *e)
{
	return sizeof(*e) + e->route.cap + e->path.cap + e->host.cap + e->method.cap + e->text.cap +
	       e->asserts.text.cap + e->asserts.room * sizeof(*e->asserts.list);
}

/* --- finding ------------------------------------------------------------------------------- */

/* The part of a path that a query does not belong to. */
static struct span path_of(const struct exchange *ex)
{
	struct target t;

	target_split(message_target(ex->request), &t);
	return t.path;
}

/* Into s->key: the route, a space, the host. */
static int make_route(struct hurl_sink *s, struct span path, struct span host)
{
	int rc;

	buf_clear(&s->key);
	rc = template_of(s->templates, path, &s->key);
	if (!rc)
		rc = buf_add_str(&s->key, " ");
	return rc ? rc : buf_add_span(&s->key, host);
}

static uint64_t hash_request(struct span method, struct span url, struct span body)
{
	uint64_t h = hash_bytes(method.p, method.len, 1);

	h = hash_bytes(url.p, url.len, h);
	return body.len ? hash_bytes(body.p, body.len, h) : h;
}

static struct entry **bucket_of(struct hurl_sink *s, const struct entry *e)
{
	uint64_t seed = s->unique ? e->status : e->request ^ e->status;

	return &s->buckets[hash_bytes(e->route.data, e->route.len, seed) & (BUCKETS - 1)];
}

static bool same(const struct hurl_sink *s, const struct entry *e, const struct entry *f)
{
	return e->status == f->status && span_eq(buf_span(&e->method), buf_span(&f->method)) &&
	       span_eq(buf_span(&e->route), buf_span(&f->route)) &&
	       (s->unique || e->request == f->request);
}

/* The entry that takes in what `e` stands for; NULL: none. */
static struct entry *find(struct hurl_sink *s, const struct entry *e)
{
	struct entry *f = *bucket_of(s, e);

	while (f && !same(s, f, e))
		f = f->next;
	return f;
}

static void put_in_bucket(struct hurl_sink *s, struct entry *e)
{
	struct entry **at = bucket_of(s, e);

	e->next = *at;
	*at = e;
}

/* --- one exchange -------------------------------------------------------------------------- */

static int set(struct buf *b, struct span s)
{
	buf_init(b, KEY_BYTES);
	return buf_add_span(b, s);
}

/* What tells it from others; the rest of it is made when it turns out to be new. */
static int entry_new(struct hurl_sink *s, const struct exchange *ex, struct entry **ret)
{
	struct entry *e = calloc(1, sizeof(*e));
	char text[REQUEST_AUTHORITY];
	struct span host = span_str("");
	bool changed;
	int rc;

	if (!e)
		return SC_ENOMEM;
	(void)request_authority(ex, text, &host);
	buf_clear(&s->scratch);
	rc = request_url(ex, &s->scratch, &changed);
	e->request = hash_request(message_method(ex->request), buf_span(&s->scratch),
				  buf_span(&ex->request->body));
	e->status = ex->response->status;
	e->count = 1;
	if (!rc)
		rc = make_route(s, path_of(ex), host);
	if (!rc)
		rc = set(&e->route, buf_span(&s->key));
	if (!rc)
		rc = set(&e->host, host);
	if (!rc)
		rc = set(&e->method, message_method(ex->request));
	if (!rc)
		rc = set(&e->path, path_of(ex));
	if (rc)
		entry_free(e);
	else
		*ret = e; /* moved */
	return rc;
}

/* Another answer to the same request says what is not stable. */
static int repeat(struct entry *e, uint64_t request, const struct exchange *ex)
{
	struct hurl_asserts again;
	int rc;

	e->count++;
	if (e->request != request)
		return SC_OK;
	rc = hurl_asserts_of(ex->response, NULL, &again);
	if (rc)
		return rc;
	hurl_asserts_compare(&e->asserts, &again);
	hurl_asserts_done(&again);
	return SC_OK;
}

/* `e` moves to `into`, which came before it. */
static void merge(struct hurl_sink *s, struct entry *into, struct entry *e)
{
	into->count += e->count;
	if (into->request == e->request)
		hurl_asserts_compare(&into->asserts, &e->asserts);
	s->bytes -= footprint(e);
	entry_free(e);
}

/* Routes change as more of them are seen: entries of what is one route now become one. */
static int settle(struct hurl_sink *s)
{
	uint32_t n = 0, i;
	int rc = SC_OK;

	memset(s->buckets, 0, sizeof(s->buckets));
	for (i = 0; i < s->n && !rc; i++) {
		struct entry *e = s->entries[i], *into;

		rc = make_route(s, buf_span(&e->path), buf_span(&e->host));
		if (rc)
			break;
		s->bytes -= footprint(e);
		buf_clear(&e->route);
		rc = buf_add_span(&e->route, buf_span(&s->key));
		s->bytes += footprint(e);
		into = find(s, e);
		if (into) {
			merge(s, into, e);
			continue;
		}
		put_in_bucket(s, e);
		s->entries[n++] = e;
	}
	while (i < s->n)
		s->entries[n++] = s->entries[i++];
	s->n = n;
	return rc;
}

static bool is_full(const struct hurl_sink *s)
{
	return s->n == LIMIT_HURL_ENTRIES || s->bytes > LIMIT_HURL_BYTES;
}

/* Adds a new one, moved also on failure. */
static int keep(struct hurl_sink *s, struct entry *e, const struct exchange *ex)
{
	int rc;

	if (is_full(s)) {
		format_note(s->notes, "exchanges of routes over 10000 or 256 MiB, left out");
		entry_free(e);
		return SC_OK;
	}
	buf_init(&e->text, LIMIT_FORMAT_RECORD);
	rc = hurl_add_request(ex, s->notes, &e->text);
	if (!rc)
		rc = hurl_asserts_of(ex->response, s->notes, &e->asserts);
	if (rc) {
		entry_free(e);
		return rc;
	}
	e->number = s->number;
	s->bytes += footprint(e);
	put_in_bucket(s, e);
	s->entries[s->n++] = e;
	return SC_OK;
}

static int take(struct hurl_sink *s, const struct exchange *ex)
{
	struct entry *e = NULL, *known;
	int rc = template_learn(s->templates, path_of(ex), NULL);

	/* At once, so that later repeats of a request find the entry that keeps it. */
	if (!rc && templates_changes(s->templates) != s->changes)
		rc = settle(s);
	s->changes = templates_changes(s->templates);
	if (!rc)
		rc = entry_new(s, ex, &e);
	if (rc)
		return rc;
	known = find(s, e);
	if (!known)
		return keep(s, e, ex);
	rc = repeat(known, e->request, ex);
	entry_free(e);
	return rc;
}

static int hurl_put(struct sink *sink, const struct exchange *ex, struct err *err)
{
	struct hurl_sink *s = (struct hurl_sink *)sink;
	const char *refusal = hurl_refusal(ex);
	int rc;

	s->number++;
	if (refusal) {
		format_note(s->notes, refusal);
		return SC_OK;
	}
	rc = take(s, ex);
	if (rc == SC_EFULL) {
		format_note(s->notes, "exchanges over 64 MiB as text, left out");
		return SC_OK;
	}
	return rc ? err_set(err, rc, "%s: no memory", output_name(s->output)) : SC_OK;
}

/* --- the suite ----------------------------------------------------------------------------- */

static int compare_spans(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_route(const void *left, const void *right)
{
	const struct entry *a = *(struct entry *const *)left, *b = *(struct entry *const *)right;
	int c = compare_spans(buf_span(&a->route), buf_span(&b->route));

	if (!c)
		c = compare_spans(buf_span(&a->method), buf_span(&b->method));
	if (!c)
		c = (a->status > b->status) - (a->status < b->status);
	return c ? c : (a->number > b->number) - (a->number < b->number);
}

/* The most frequent answer of a request first. */
static int by_request(const void *left, const void *right)
{
	const struct entry *a = *(struct entry *const *)left, *b = *(struct entry *const *)right;

	if (a->request != b->request)
		return a->request > b->request ? 1 : -1;
	if (a->count != b->count)
		return a->count < b->count ? 1 : -1;
	return (a->number > b->number) - (a->number < b->number);
}

/* No request can be answered with two statuses at once; but who asks for each status gets each. */
static void choose_statuses(struct hurl_sink *s)
{
	s->chosen = true;
	if (s->unique)
		return;
	qsort(s->entries, s->n, sizeof(struct entry *), by_request);
	for (uint32_t i = 1; i < s->n; i++) {
		struct entry *e = s->entries[i];

		e->left_out = e->request == s->entries[i - 1]->request;
		if (e->left_out)
			format_note(s->notes, "less frequent statuses of one request, left out");
	}
}

/* How many will be left when that choice is made; without memory for it, at most. */
static uint32_t count_requests(const struct hurl_sink *s)
{
	struct entry **sorted = calloc(s->n, sizeof(struct entry *));
	uint32_t n = 1;

	if (!sorted)
		return s->n;
	memcpy(sorted, s->entries, s->n * sizeof(struct entry *));
	qsort(sorted, s->n, sizeof(struct entry *), by_request);
	for (uint32_t i = 1; i < s->n; i++)
		n += sorted[i]->request != sorted[i - 1]->request;
	free(sorted);
	return n;
}

/* An exchange that is no entry of its own is in the suite only as a number in a comment. */
static uint64_t hurl_kept(const struct sink *sink)
{
	const struct hurl_sink *s = (const struct hurl_sink *)sink;
	uint64_t n = 0;

	if (s->n && !s->unique && !s->chosen)
		return count_requests(s);
	for (uint32_t i = 0; i < s->n; i++)
		n += !s->entries[i]->left_out;
	return n;
}

/* Of a comment: what is no text would end it, or hide. */
static int add_comment_text(struct buf *out, struct span text)
{
	int rc = SC_OK;

	for (size_t i = 0; i < text.len && !rc; i++) {
		bool plain = text.p[i] >= ' ' && text.p[i] < 0x7f;

		rc = plain ? buf_add(out, text.p + i, 1) : buf_addf(out, "%%%02X", text.p[i]);
	}
	return rc;
}

/* "# /users/{id} host" above the first of a route. */
static int add_route(struct buf *out, const struct entry *e)
{
	int rc = buf_add_str(out, "\n# ---- ");

	if (!rc)
		rc = add_comment_text(out, buf_span(&e->route));
	return rc ? rc : buf_add_str(out, "\n");
}

static int add_expectation(struct buf *out, const struct entry *e)
{
	size_t before;
	int rc = buf_addf(out, "HTTP %u\n", e->status);

	if (!rc)
		rc = buf_add_str(out, "[Asserts]\n");
	before = out->len;
	if (!rc)
		rc = hurl_asserts_add(&e->asserts, out);
	if (!rc && out->len == before)
		out->len = before - strlen("[Asserts]\n");
	return rc ? rc : hurl_asserts_add_left(&e->asserts, out);
}

static int write_entry(struct hurl_sink *s, const struct entry *e, bool first, struct err *err)
{
	struct buf *out = &s->scratch;
	int rc = SC_OK;

	buf_clear(out);
	if (first)
		rc = add_route(out, e);
	if (!rc)
		rc = buf_addf(out, "\n# %" PRIu64 " exchange%s\n", e->count,
			      e->count == 1 ? "" : "s");
	if (!rc)
		rc = buf_add_span(out, buf_span(&e->text));
	if (!rc)
		rc = add_expectation(out, e);
	if (rc)
		return err_set(err, SC_ENOMEM, "%s: no memory", output_name(s->output));
	return output_add(s->output, buf_span(out), err);
}

static int write_suite(struct hurl_sink *s, struct err *err)
{
	const struct entry *last = NULL;
	int rc = output_str(s->output, "# Recorded answers as a suite: hurl --test FILE\n", err);

	for (uint32_t i = 0; i < s->n && !rc; i++) {
		const struct entry *e = s->entries[i];

		if (e->left_out)
			continue;
		rc = write_entry(s, e,
				 !last || !span_eq(buf_span(&last->route), buf_span(&e->route)),
				 err);
		last = e;
	}
	return rc;
}

static int hurl_finish(struct sink *sink, int64_t now_us, struct err *err)
{
	struct hurl_sink *s = (struct hurl_sink *)sink;
	int rc;

	(void)now_us;
	choose_statuses(s);
	qsort(s->entries, s->n, sizeof(struct entry *), by_route);
	rc = write_suite(s, err);
	return rc ? rc : output_finish(s->output, err);
}

static void hurl_free(struct sink *sink)
{
	struct hurl_sink *s = (struct hurl_sink *)sink;

	for (uint32_t i = 0; i < s->n; i++)
		entry_free(s->entries[i]);
	free(s->entries);
	templates_free(s->templates);
	output_free(s->output);
	buf_done(&s->key);
	buf_done(&s->scratch);
	free(s);
}

static const struct sink_ops hurl_ops = {
	.put = hurl_put,
	.finish = hurl_finish,
	.kept = hurl_kept,
	.free = hurl_free,
};

int hurl_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	struct hurl_sink *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	s->sink.ops = &hurl_ops;
	s->notes = args->notes;
	s->unique = args->unique;
	buf_init(&s->key, KEY_BYTES);
	buf_init(&s->scratch, 2 * LIMIT_FORMAT_RECORD);
	s->templates = templates_new();
	s->entries = calloc(LIMIT_HURL_ENTRIES, sizeof(struct entry *));
	rc = s->templates && s->entries ? output_open(args->path, &s->output, err)
					: err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	if (rc)
		hurl_free(&s->sink);
	else
		*ret = &s->sink; /* moved */
	return rc;
}
