/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of one body, of a room that many share. Waits for no room, and never asks twice. */
#include "kept.h"

#include "core/err.h"

void kept_init(struct kept *k, size_t max, struct body_room *room)
{
	*k = (struct kept){.room = room};
	buf_init(&k->buf, max);
}

static void give_back(struct kept *k)
{
	if (k->held)
		atomic_fetch_add(&k->room->left, k->held);
	k->held = 0;
}

void kept_done(struct kept *k)
{
	buf_done(&k->buf);
	give_back(k);
}

void kept_drop(struct kept *k)
{
	buf_done(&k->buf);
	give_back(k);
	k->cut = false;
}

/* As much as there is, up to `most`. */
static size_t take(struct body_room *r, size_t most)
{
	size_t left = atomic_load(&r->left), n;

	do
		n = left < most ? left : most;
	while (n && !atomic_compare_exchange_weak(&r->left, &left, left - n));
	return n;
}

/* A capacity of `want` bytes, or the part of it that there is room for. */
static size_t granted(struct kept *k, size_t want)
{
	if (!k->room || want <= KEPT_FREE)
		return want;
	if (want - KEPT_FREE > k->held)
		k->held += take(k->room, want - KEPT_FREE - k->held);
	return want - KEPT_FREE > k->held ? KEPT_FREE + k->held : want;
}

/* Doubles, as a buffer does by itself, or as far as it may. */
static int grow(struct kept *k, size_t n)
{
	size_t max = k->buf.max, want = 2 * k->buf.cap;
	int rc;

	if (n > max - k->buf.len)
		n = max - k->buf.len;
	if (want < k->buf.len + n)
		want = k->buf.len + n;
	if (want > max)
		want = max;
	want = granted(k, want);
	if (want <= k->buf.cap)
		return SC_OK;
	k->buf.max = want;
	rc = buf_reserve(&k->buf, want - k->buf.len);
	k->buf.max = max;
	return rc;
}

int kept_expect(struct kept *k, size_t len)
{
	return len > k->buf.cap - k->buf.len ? grow(k, len) : SC_OK;
}

int kept_add(struct kept *k, const void *p, size_t len)
{
	size_t room;
	int rc;

	if (k->cut)
		return SC_OK;
	rc = kept_expect(k, len);
	if (rc)
		return rc;
	room = k->buf.cap - k->buf.len;
	k->cut = len > room;
	return buf_add(&k->buf, p, k->cut ? room : len);
}

void kept_move(struct kept *k, struct buf *ret)
{
	size_t max = k->buf.max;

	*ret = k->buf; /* moved */
	buf_init(&k->buf, max);
	give_back(k);
}
