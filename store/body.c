/* SPDX-License-Identifier: Apache-2.0 */
/* Matches bodies by SHA-256 in memory, never by searching the file: an index over digests would
 * cost more than the row. So what is matched are the bodies that this handle wrote and those that it
 * found, of which it looks at the newest, up to LIMIT_LEARNED; and when the table has reached
 * LIMIT_DIGESTS it is emptied and starts again. Equal bodies may then be there twice, which costs
 * room and nothing else. */
#include "body.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "db.h"
#include "totals.h"

#define DIGEST 32u
#define FIRST_SLOTS 1024u
#define RECENT_SETS 64u
#define RECENT_WAYS 4u

struct slot {
	uint8_t digest[DIGEST];
	int64_t id; /* 0: free */
};

/* A body seen lately, as it is: comparing costs less than a digest, and most answers repeat. */
struct recent {
	int64_t id; /* 0: none */
	uint64_t mark;
	uint32_t len;
	uint8_t bytes[LIMIT_RECENT_BODY];
};

struct recent_set {
	unsigned next; /* to be replaced */
	struct recent ways[RECENT_WAYS];
};

struct body_table {
	EVP_MD *sha256;
	EVP_MD_CTX *ctx;
	sqlite3_stmt *insert;
	struct total *total;
	struct slot *slots;
	uint32_t n_slots; /* a power of two, at most LIMIT_DIGESTS */
	uint32_t used;
	struct recent_set recent[RECENT_SETS];
};

_Static_assert((LIMIT_DIGESTS & (LIMIT_DIGESTS - 1)) == 0, "slots are found by masking");

void body_close(struct store *st)
{
	struct body_table *t = st->bodies;

	if (!t)
		return;
	st->bodies = NULL;
	total_close(st, t->total);
	sqlite3_finalize(t->insert);
	EVP_MD_CTX_free(t->ctx);
	EVP_MD_free(t->sha256);
	free(t->slots);
	free(t);
}

static int learn(struct store *st, struct err *err);

int body_open(struct store *st, struct err *err)
{
	struct body_table *t;
	int rc;

	if (st->bodies)
		return SC_OK;
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, SC_ENOMEM, "%s: no memory", st->path);
	st->bodies = t;
	t->n_slots = FIRST_SLOTS;
	t->slots = calloc(t->n_slots, sizeof(*t->slots));
	t->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	t->ctx = EVP_MD_CTX_new();
	if (t->slots && t->sha256 && t->ctx)
		rc = db_prepare(st, "INSERT INTO body (size, data) VALUES (?1, ?2)", &t->insert,
				err);
	else
		rc = err_set(err, SC_ENOMEM, "%s: no memory for SHA-256", st->path);
	if (!rc)
		rc = total_open(st, TOTAL_OF_BODIES, 1, &t->total, err);
	if (!rc)
		rc = learn(st, err);
	if (rc)
		body_close(st);
	return rc;
}

void body_forget(struct body_table *t)
{
	if (!t)
		return;
	memset(t->slots, 0, t->n_slots * sizeof(*t->slots));
	t->used = 0;
	for (unsigned i = 0; i < RECENT_SETS; i++) {
		for (unsigned k = 0; k < RECENT_WAYS; k++)
			t->recent[i].ways[k].id = 0;
	}
}

/* The slot that has the digest, or the free one where it belongs. */
static struct slot *find(struct slot *slots, uint32_t n_slots, const uint8_t digest[DIGEST])
{
	uint32_t at;

	memcpy(&at, digest, sizeof(at));
	while (slots[at &= n_slots - 1].id && memcmp(slots[at].digest, digest, DIGEST) != 0)
		at++;
	return &slots[at];
}

/* Keeps an eighth of the slots free, so that a search ends soon. */
static void make_room(struct body_table *t)
{
	struct slot *slots;

	if (t->used < t->n_slots - t->n_slots / 8)
		return;
	slots = t->n_slots < LIMIT_DIGESTS ? calloc(2 * t->n_slots, sizeof(*slots)) : NULL;
	if (!slots) {
		/* At the ceiling, or no memory. */
		memset(t->slots, 0, t->n_slots * sizeof(*t->slots));
		t->used = 0;
		return;
	}
	for (uint32_t i = 0; i < t->n_slots; i++) {
		if (t->slots[i].id)
			*find(slots, 2 * t->n_slots, t->slots[i].digest) = t->slots[i];
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots *= 2;
}

/* Of the length and three places: enough to be mostly right, and cheaper than to look at all. */
static uint64_t recent_mark(struct span s)
{
	uint64_t part[3] = {0};
	size_t n = s.len < 8 ? s.len : 8;
	uint64_t h;

	memcpy(&part[0], s.p, n);
	memcpy(&part[1], s.p + s.len - n, n);
	memcpy(&part[2], s.p + (s.len - n) / 2, n);
	h = (part[0] ^ s.len) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 32 ^ part[1]) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 32 ^ part[2]) * 0x94d049bb133111ebu;
	return h ^ h >> 32;
}

/* The row of an equal body seen lately, or 0. */
static int64_t recent_find(const struct body_table *t, struct span s, uint64_t mark)
{
	const struct recent_set *set = &t->recent[mark % RECENT_SETS];

	for (unsigned k = 0; k < RECENT_WAYS; k++) {
		const struct recent *r = &set->ways[k];

		if (r->mark == mark && r->id && span_eq(s, span_of(r->bytes, r->len)))
			return r->id;
	}
	return 0;
}

static void recent_keep(struct body_table *t, struct span s, uint64_t mark, int64_t id)
{
	struct recent_set *set = &t->recent[mark % RECENT_SETS];
	struct recent *r = &set->ways[set->next++ % RECENT_WAYS];

	r->id = id;
	r->mark = mark;
	r->len = (uint32_t)s.len;
	memcpy(r->bytes, s.p, s.len);
}

static int insert(struct store *st, struct span bytes, int64_t *ret_id, struct err *err)
{
	sqlite3_stmt *stmt = st->bodies->insert;
	int rc;

	if (sqlite3_bind_int64(stmt, 1, (int64_t)bytes.len) ||
	    sqlite3_bind_blob64(stmt, 2, bytes.p, bytes.len, SQLITE_STATIC))
		return db_fail(st, err);
	rc = db_run(st, stmt, err);
	if (rc)
		return rc;
	*ret_id = sqlite3_last_insert_rowid(st->db);
	st->bodies->total->n[BODIES_COUNT]++;
	st->bodies->total->n[BODIES_BYTES] += (int64_t)bytes.len;
	return SC_OK;
}

/* The slot of these bytes, with its digest; its id is 0 where they are new. */
static int slot_of(struct store *st, struct span bytes, struct slot **ret, struct err *err)
{
	struct body_table *t = st->bodies;
	uint8_t digest[DIGEST];

	if (!EVP_DigestInit_ex2(t->ctx, t->sha256, NULL) ||
	    !EVP_DigestUpdate(t->ctx, bytes.p, bytes.len) ||
	    !EVP_DigestFinal_ex(t->ctx, digest, NULL))
		return err_set(err, SC_ENOMEM, "%s: SHA-256 failed", st->path);
	make_room(t);
	*ret = find(t->slots, t->n_slots, digest);
	memcpy((*ret)->digest, digest, DIGEST);
	return SC_OK;
}

/* Matched by digest; written when it is new. */
static int digest_keep(struct store *st, struct span bytes, int64_t *ret_id, struct err *err)
{
	struct slot *slot;
	int rc = slot_of(st, bytes, &slot, err);

	if (!rc && !slot->id) {
		rc = insert(st, bytes, &slot->id, err);
		st->bodies->used += rc == SC_OK;
	}
	if (!rc)
		*ret_id = slot->id;
	return rc;
}

/* What the store has already: a replay's answers are mostly those that were recorded. */
static int learn(struct store *st, struct err *err)
{
	sqlite3_stmt *q = NULL;
	size_t bytes = 0;
	unsigned n = 0;
	int rc = db_prepare(st, "SELECT id, data FROM body ORDER BY id DESC", &q, err);

	while (!rc && n++ < LIMIT_LEARNED_BODIES && bytes < LIMIT_LEARNED &&
	       sqlite3_step(q) == SQLITE_ROW) {
		const void *data = sqlite3_column_blob(q, 1);
		size_t len = (size_t)sqlite3_column_bytes(q, 1);
		struct slot *slot;

		bytes += len;
		rc = data ? slot_of(st, span_of(data, len), &slot, err) : SC_OK;
		if (!rc && data) {
			st->bodies->used += slot->id == 0;
			slot->id = sqlite3_column_int64(q, 0); /* of equal ones the first */
		}
	}
	sqlite3_finalize(q);
	return rc;
}

int body_keep(struct store *st, struct span bytes, int64_t *ret_id, struct err *err)
{
	struct body_table *t = st->bodies;
	uint64_t mark;
	int64_t id;
	int rc;

	if (bytes.len == 0 || bytes.len > LIMIT_RECENT_BODY) {
		id = 0;
		rc = bytes.len ? digest_keep(st, bytes, &id, err) : SC_OK;
		if (!rc)
			*ret_id = id;
		return rc;
	}
	mark = recent_mark(bytes);
	id = recent_find(t, bytes, mark);
	if (!id) {
		rc = digest_keep(st, bytes, &id, err);
		if (rc)
			return rc;
		recent_keep(t, bytes, mark, id);
	}
	*ret_id = id;
	return SC_OK;
}
