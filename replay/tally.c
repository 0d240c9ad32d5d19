/* SPDX-License-Identifier: Apache-2.0 */
/* The running account of a comparison. Knows no answers, only what was said of them. */
#include "replay/tally.h"

#include <stdlib.h>

#include "compare_private.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/rng.h"

#define SLOTS 2048u /* a power of two, twice LIMIT_TALLY_ROUTES */
#define FIRST_ROWS 16u
#define NO_ROW UINT32_MAX

_Static_assert(SLOTS >= 2 * LIMIT_TALLY_ROUTES, "an open table needs room");

struct example {
	enum difference_place place;
	enum difference_kind kind;
	size_t path_len, recorded_len, replayed_len;
	uint8_t path[LIMIT_DIFFERENCE_PATH];
	uint8_t recorded[LIMIT_DIFFERENCE_TEXT];
	uint8_t replayed[LIMIT_DIFFERENCE_TEXT];
};

struct row {
	uint8_t method[LIMIT_METHOD_BYTES];
	uint8_t route[LIMIT_TALLY_NAME];
	size_t method_len, route_len;
	struct tally_counts counts;
	struct example *example; /* owned; NULL until it differs */
};

struct tally {
	struct row *rows;
	uint32_t n, cap;
	uint32_t slots[SLOTS]; /* a row's index and one; 0: free */
	uint32_t others;       /* the row of all that there was no room for; NO_ROW: none yet */
	struct tally_counts total;
	/* The answer under way. */
	uint32_t current;
	unsigned kinds; /* a bit for each that it has had */
	bool noisy;	/* and nothing else yet */
};

struct tally *tally_new(void)
{
	struct tally *t = calloc(1, sizeof(*t));

	if (t)
		t->others = t->current = NO_ROW;
	return t;
}

void tally_free(struct tally *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->n; i++)
		free(t->rows[i].example);
	free(t->rows);
	free(t);
}

static bool row_is(const struct row *r, struct span method, struct span route)
{
	return span_eq(span_of(r->method, r->method_len), method) &&
	       span_eq(span_of(r->route, r->route_len), route);
}

static int add_row(struct tally *t, struct span method, struct span route, uint32_t *ret)
{
	struct row *r;

	if (t->n == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : FIRST_ROWS;
		struct row *rows = realloc(t->rows, cap * sizeof(*rows));

		if (!rows)
			return SC_ENOMEM;
		t->rows = rows;
		t->cap = cap;
	}
	r = &t->rows[t->n];
	*r = (struct row){.method_len = method.len, .route_len = route.len};
	if (method.len)
		memcpy(r->method, method.p, method.len);
	if (route.len)
		memcpy(r->route, route.p, route.len);
	*ret = t->n++;
	return SC_OK;
}

static int row_of_others(struct tally *t, uint32_t *ret)
{
	int rc = SC_OK;

	if (t->others == NO_ROW)
		rc = add_row(t, span_str(""), span_str("others"), &t->others);
	*ret = t->others;
	return rc;
}

static int find_row(struct tally *t, struct span method, struct span route, uint32_t *ret)
{
	uint64_t h = hash_bytes(route.p, route.len, hash_bytes(method.p, method.len, 0));
	uint32_t *slot;
	int rc;

	for (uint32_t at = (uint32_t)h;; at++) {
		slot = &t->slots[at & (SLOTS - 1)];
		if (*slot == 0)
			break;
		if (row_is(&t->rows[*slot - 1], method, route)) {
			*ret = *slot - 1;
			return SC_OK;
		}
	}
	if (t->n - (t->others != NO_ROW) >= LIMIT_TALLY_ROUTES)
		return row_of_others(t, ret);
	rc = add_row(t, method, route, ret);
	if (!rc)
		*slot = *ret + 1;
	return rc;
}

int tally_begin(struct tally *t, struct span method, struct span route)
{
	int rc;

	t->current = NO_ROW;
	rc = find_row(t, text_cut(method, LIMIT_METHOD_BYTES), text_cut(route, LIMIT_TALLY_NAME),
		      &t->current);
	if (rc) {
		t->current = NO_ROW;
		return rc;
	}
	t->kinds = 0;
	t->noisy = false;
	t->rows[t->current].counts.compared++;
	t->total.compared++;
	return SC_OK;
}

static size_t keep(uint8_t *to, struct span s, size_t max)
{
	s = text_cut(s, max);
	if (s.len)
		memcpy(to, s.p, s.len);
	return s.len;
}

/* Without memory for it there is no example. */
static void keep_example(struct row *r, const struct difference *d)
{
	struct example *e = r->example ? r->example : malloc(sizeof(*e));

	r->example = e;
	if (!e)
		return;
	e->place = d->place;
	e->kind = d->kind;
	e->path_len = keep(e->path, d->path, sizeof(e->path));
	e->recorded_len = keep(e->recorded, d->recorded, sizeof(e->recorded));
	e->replayed_len = keep(e->replayed, d->replayed, sizeof(e->replayed));
}

static void count_noise(struct tally *t, struct row *r)
{
	if (t->kinds || t->noisy)
		return;
	t->noisy = true;
	r->counts.noise++;
	t->total.noise++;
}

static void count_differing(struct tally *t, struct row *r)
{
	r->counts.differing++;
	t->total.differing++;
	if (t->noisy) {
		r->counts.noise--;
		t->total.noise--;
	}
}

void tally_found(void *tally, const struct difference *d)
{
	struct tally *t = tally;
	struct row *r = t->current == NO_ROW ? NULL : &t->rows[t->current];

	if (!r)
		return;
	if (d->noise) {
		count_noise(t, r);
		return;
	}
	if (!t->kinds) {
		count_differing(t, r);
		keep_example(r, d);
	}
	if (!(t->kinds >> d->kind & 1)) {
		r->counts.kinds[d->kind]++;
		t->total.kinds[d->kind]++;
	}
	t->kinds |= 1u << d->kind;
}

struct tally_counts tally_total(const struct tally *t)
{
	return t->total;
}

/* The worst first; of as bad ones the first that came. */
static int by_differing(const void *a, const void *b)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;

	if (x->counts.differing != y->counts.differing)
		return x->counts.differing < y->counts.differing ? 1 : -1;
	return (x > y) - (x < y);
}

/* free() it. NULL: no memory. */
static const struct row **sorted_rows(const struct tally *t)
{
	const struct row **rows = malloc((t->n + 1u) * sizeof(const struct row *));

	if (!rows)
		return NULL;
	for (uint32_t i = 0; i < t->n; i++)
		rows[i] = &t->rows[i];
	if (t->n)
		qsort((void *)rows, t->n, sizeof(const struct row *), by_differing);
	return rows;
}

/* A stranger's text for a terminal. */
static int add_printable(struct buf *out, struct span s)
{
	bool utf8 = utf8_valid(s);
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && !rc; i++) {
		uint8_t c = s.p[i];
		/* U+0080 to U+009F are control characters, too. */
		bool control =
			c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < s.len && s.p[i + 1] < 0xa0);
		bool behind = i > 0 && s.p[i - 1] == 0xc2 && c >= 0x80 && c < 0xa0;

		if (control || (c >= 0x80 && !utf8) || (behind && utf8))
			rc = buf_addf(out, "\\x%02x", c);
		else
			rc = buf_add(out, &c, 1);
	}
	return rc;
}

static int kinds_text(const struct tally_counts *c, struct buf *out)
{
	const char *comma = "";
	int rc = SC_OK;

	for (int k = 0; k < KINDS && !rc; k++) {
		if (!c->kinds[k])
			continue;
		rc = buf_addf(out, "%s%s %llu", comma,
			      difference_kind_name((enum difference_kind)k),
			      (unsigned long long)c->kinds[k]);
		comma = ", ";
	}
	return rc;
}

static double percent(uint64_t part, uint64_t all)
{
	return all ? 100 * (double)part / (double)all : 0;
}

static int total_text(const struct tally_counts *c, struct buf *out)
{
	int rc = buf_addf(out, "compared     %llu answers: %llu the same, %llu differ (%.2f%%)",
			  (unsigned long long)c->compared,
			  (unsigned long long)(c->compared - c->differing),
			  (unsigned long long)c->differing, percent(c->differing, c->compared));

	if (!rc && c->noise)
		rc = buf_addf(out, ", %llu of the same but for noise",
			      (unsigned long long)c->noise);
	return rc ? rc : buf_add_str(out, "\n");
}

/* "             e.g. body value $.a: 1 -> 2" */
static int example_text(const struct example *e, struct buf *out)
{
	int rc = buf_addf(out, "%22s e.g. %s", "", difference_place_name(e->place));

	if (!rc && e->path_len)
		rc = buf_add_str(out, " ");
	if (!rc)
		rc = add_printable(out, span_of(e->path, e->path_len));
	if (!rc)
		rc = buf_addf(out, " %s: ", difference_kind_name(e->kind));
	if (!rc)
		rc = add_printable(out, span_of(e->recorded, e->recorded_len));
	if (!rc)
		rc = buf_add_str(out, " -> ");
	if (!rc)
		rc = add_printable(out, span_of(e->replayed, e->replayed_len));
	return rc ? rc : buf_add_str(out, "\n");
}

static int row_text(const struct row *r, struct buf *out)
{
	int rc = buf_addf(out, "%9llu %9llu  ", (unsigned long long)r->counts.differing,
			  (unsigned long long)r->counts.compared);

	if (!rc)
		rc = add_printable(out, span_of(r->method, r->method_len));
	if (!rc && r->method_len)
		rc = buf_add_str(out, " ");
	if (!rc)
		rc = add_printable(out, span_of(r->route, r->route_len));
	if (!rc)
		rc = buf_add_str(out, "  (");
	if (!rc)
		rc = kinds_text(&r->counts, out);
	if (!rc)
		rc = buf_add_str(out, ")\n");
	return rc || !r->example ? rc : example_text(r->example, out);
}

int tally_text(const struct tally *t, unsigned lines, struct buf *out)
{
	const struct row **rows = sorted_rows(t);
	uint32_t differing = 0;
	int rc = rows ? total_text(&t->total, out) : SC_ENOMEM;

	if (!rc && t->total.differing)
		rc = buf_addf(out, "%9s %9s  %s\n", "differ", "compared", "route");
	for (; !rc && differing < t->n && rows[differing]->counts.differing; differing++) {
		if (differing < lines)
			rc = row_text(rows[differing], out);
	}
	if (!rc && differing > lines)
		rc = buf_addf(out, "%22s and %u routes more\n", "", differing - lines);
	free((void *)rows);
	return rc;
}

/* "name":value, with what stands before it. */
static int member(struct buf *out, const char *before, struct span value)
{
	int rc = buf_add_str(out, before);

	return rc ? rc : json_add_string(out, value);
}

static int counts_json(const struct tally_counts *c, struct buf *out)
{
	const char *comma = "";
	int rc = buf_addf(out, "\"compared\":%llu,\"differing\":%llu,\"noise\":%llu,\"kinds\":{",
			  (unsigned long long)c->compared, (unsigned long long)c->differing,
			  (unsigned long long)c->noise);

	for (int k = 0; k < KINDS && !rc; k++) {
		if (!c->kinds[k])
			continue;
		rc = buf_addf(out, "%s\"%s\":%llu", comma,
			      difference_kind_name((enum difference_kind)k),
			      (unsigned long long)c->kinds[k]);
		comma = ",";
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int example_json(const struct example *e, struct buf *out)
{
	int rc = buf_addf(out, ",\"example\":{\"place\":\"%s\",\"kind\":\"%s\"",
			  difference_place_name(e->place), difference_kind_name(e->kind));

	if (!rc)
		rc = member(out, ",\"path\":", span_of(e->path, e->path_len));
	if (!rc)
		rc = member(out, ",\"recorded\":", span_of(e->recorded, e->recorded_len));
	if (!rc)
		rc = member(out, ",\"replayed\":", span_of(e->replayed, e->replayed_len));
	return rc ? rc : buf_add_str(out, "}");
}

static int row_json(const struct row *r, struct buf *out)
{
	int rc = member(out, "{\"method\":", span_of(r->method, r->method_len));

	if (!rc)
		rc = member(out, ",\"route\":", span_of(r->route, r->route_len));
	if (!rc)
		rc = buf_add_str(out, ",");
	if (!rc)
		rc = counts_json(&r->counts, out);
	if (!rc && r->example)
		rc = example_json(r->example, out);
	return rc ? rc : buf_add_str(out, "}");
}

int tally_json(const struct tally *t, struct buf *out)
{
	const struct row **rows = sorted_rows(t);
	int rc = rows ? buf_add_str(out, "{") : SC_ENOMEM;

	if (!rc)
		rc = counts_json(&t->total, out);
	if (!rc)
		rc = buf_add_str(out, ",\"routes\":[");
	for (uint32_t i = 0; i < t->n && !rc; i++) {
		rc = buf_add_str(out, i ? "," : "");
		if (!rc)
			rc = row_json(rows[i], out);
	}
	if (!rc)
		rc = buf_add_str(out, "]}");
	free((void *)rows);
	return rc;
}
