/* SPDX-License-Identifier: Apache-2.0 */
/* IP fragments until their datagram is whole. Cold: few networks fragment TCP. */
#include "fragment.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

#define DATAGRAM_MAX 65535u

/* One datagram on its way. `seen` has a bit for each byte that came. */
struct datagram {
	struct datagram *next;
	struct addr src, dst;
	uint32_t id;
	uint8_t proto;
	int64_t first_us;
	uint32_t total; /* 0: the last fragment has not come */
	uint32_t have;  /* bytes */
	uint32_t reach; /* where the farthest of them ends */
	uint32_t cap;
	uint8_t *data;
	uint8_t *seen;
};

struct fragments {
	struct datagram *list; /* newest first */
	struct datagram *whole; /* handed out by the last call */
	size_t bytes;
};

struct fragments *fragments_new(void)
{
	return calloc(1, sizeof(struct fragments));
}

static void datagram_free(struct datagram *d)
{
	if (!d)
		return;
	free(d->data);
	free(d->seen);
	free(d);
}

void fragments_free(struct fragments *fs)
{
	if (!fs)
		return;
	while (fs->list) {
		struct datagram *next = fs->list->next;

		datagram_free(fs->list);
		fs->list = next;
	}
	datagram_free(fs->whole);
	free(fs);
}

static size_t cost(const struct datagram *d)
{
	return sizeof(*d) + d->cap + d->cap / 8;
}

static void unlink_datagram(struct fragments *fs, struct datagram **at)
{
	struct datagram *d = *at;

	*at = d->next;
	fs->bytes -= cost(d);
}

static void expire(struct fragments *fs, int64_t now)
{
	struct datagram **at = &fs->list;

	while (*at) {
		struct datagram *d = *at;

		if (now - d->first_us > LIMIT_FRAGMENT_WAIT_US) {
			unlink_datagram(fs, at);
			datagram_free(d);
		} else {
			at = &d->next;
		}
	}
}

static struct datagram **find(struct fragments *fs, const struct fragment *f)
{
	struct datagram **at = &fs->list;

	while (*at && !((*at)->id == f->id && (*at)->proto == f->proto &&
			addr_same_host(&(*at)->src, &f->src) &&
			addr_same_host(&(*at)->dst, &f->dst)))
		at = &(*at)->next;
	return at;
}

static bool grow(struct fragments *fs, struct datagram *d, uint32_t need)
{
	uint32_t cap = d->cap ? d->cap : 4096;
	uint8_t *data, *seen;

	if (need <= d->cap)
		return true;
	while (cap < need)
		cap *= 2;
	if (fs->bytes + cap + cap / 8 > LIMIT_FRAGMENT_BYTES)
		return false;
	data = realloc(d->data, cap);
	if (data)
		d->data = data;
	seen = realloc(d->seen, cap / 8);
	if (seen)
		d->seen = seen;
	if (!data || !seen)
		return false;
	memset(seen + d->cap / 8, 0, (cap - d->cap) / 8);
	fs->bytes += cap - d->cap + (cap - d->cap) / 8;
	d->cap = cap;
	return true;
}

static void fill(struct datagram *d, const struct fragment *f)
{
	for (uint32_t i = 0; i < f->payload.len; i++) {
		uint32_t at = f->offset + i;
		uint8_t bit = (uint8_t)(1u << (at % 8));

		if (d->seen[at / 8] & bit)
			continue;
		d->seen[at / 8] |= bit;
		d->data[at] = f->payload.p[i];
		d->have++;
	}
}

static struct datagram **begin(struct fragments *fs, const struct fragment *f, int64_t ts_us)
{
	struct datagram *d;

	if (fs->bytes + sizeof(*d) > LIMIT_FRAGMENT_BYTES)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->src = f->src;
	d->dst = f->dst;
	d->id = f->id;
	d->proto = f->proto;
	d->first_us = ts_us;
	d->next = fs->list;
	fs->list = d;
	fs->bytes += cost(d);
	return &fs->list;
}

static enum fragment_result add(struct fragments *fs, const struct fragment *f, int64_t ts_us,
				struct span *ret)
{
	struct datagram **at, *d;
	uint64_t end = (uint64_t)f->offset + f->payload.len;

	if (end > DATAGRAM_MAX || f->payload.len == 0)
		return FRAGMENT_REFUSED;
	expire(fs, ts_us);
	at = find(fs, f);
	if (!*at)
		at = begin(fs, f, ts_us);
	if (!at)
		return FRAGMENT_REFUSED;
	d = *at;
	/* Bytes behind the end would stand for bytes that never came. */
	if ((d->total && end > d->total) || (!f->more && end < d->reach))
		return FRAGMENT_REFUSED;
	if (!grow(fs, d, (uint32_t)end))
		return FRAGMENT_REFUSED;
	fill(d, f);
	if (end > d->reach)
		d->reach = (uint32_t)end;
	if (!f->more)
		d->total = (uint32_t)end;
	if (!d->total || d->have < d->total)
		return FRAGMENT_WAITS;
	unlink_datagram(fs, at);
	fs->whole = d;
	*ret = span_of(d->data, d->total);
	return FRAGMENT_WHOLE;
}

enum fragment_result fragments_add(struct fragments *fs, const struct fragment *f, int64_t ts_us,
				   struct span *ret)
{
	struct datagram *last = fs->whole;
	enum fragment_result result;

	/* A tunnel inside the last datagram may be in fragments too: f lies in it then. */
	fs->whole = NULL;
	result = add(fs, f, ts_us, ret);
	datagram_free(last);
	return result;
}
