/* SPDX-License-Identifier: Apache-2.0 */
/* A merge of sources by time. Looks at every part for every exchange: they are few hundreds, and a
 * heap would have to know which of them are not open yet. */
#include "core/merge.h"

#include <stdbool.h>
#include <stdlib.h>

#include "core/rng.h"

struct part {
	struct merge_part is;
	struct source *source;	/* the part's; NULL: not open */
	struct exchange *first; /* owned; NULL: to be read */
	int64_t at_us;		/* of `first`, or not before that */
	bool opened, ended;
};

struct merge {
	struct source source; /* first */
	struct part *parts;
	unsigned n;
};

static void part_end(struct part *p)
{
	exchange_free(p->first);
	p->first = NULL;
	if (p->opened && !p->ended)
		p->is.close(p->is.arg);
	p->source = NULL;
	p->ended = true;
}

/* Its first exchange, or its end. */
static int part_read(struct part *p, struct err *err)
{
	int rc;

	if (!p->source) {
		p->opened = true;
		rc = p->is.open(p->is.arg, &p->source, err);
		if (rc) {
			part_end(p);
			return rc;
		}
	}
	rc = source_next(p->source, &p->first, err);
	if (rc == 0)
		part_end(p);
	if (rc <= 0)
		return rc;
	p->at_us = p->first->ts_us;
	return SC_OK;
}

/* Whose turn it is: to give its exchange, or to be asked for one. NULL: all have ended. */
static struct part *part_next(const struct merge *m)
{
	struct part *best = NULL;

	for (unsigned i = 0; i < m->n; i++) {
		struct part *p = &m->parts[i];

		if (p->ended)
			continue;
		if (p->source && !p->first)
			return p;
		if (!best || p->at_us < best->at_us)
			best = p;
	}
	return best;
}

static struct exchange *part_take(const struct merge *m, struct part *p)
{
	struct exchange *ex = p->first;
	uint64_t own = (uint64_t)(p - m->parts);
	uint64_t both[2] = {p->is.set ? p->is.set : own, ex->connection};

	p->first = NULL;
	/* Sixty-three bits, so that it is stored as a positive number. */
	ex->connection = hash_bytes(both, sizeof(both), 0) >> 1;
	ex->id = 0;
	return ex;
}

static int merge_read(struct source *s, struct exchange **ret, struct err *err)
{
	struct merge *m = (struct merge *)s;
	struct part *p;

	while ((p = part_next(m)) != NULL) {
		int rc;

		if (p->first) {
			*ret = part_take(m, p); /* moved */
			return 1;
		}
		rc = part_read(p, err);
		if (rc)
			return rc;
	}
	return 0;
}

static void merge_stop(struct source *s)
{
	struct merge *m = (struct merge *)s;

	for (unsigned i = 0; i < m->n; i++) {
		if (m->parts[i].source)
			source_stop(m->parts[i].source);
		else
			part_end(&m->parts[i]);
	}
}

static void merge_free(struct source *s)
{
	struct merge *m = (struct merge *)s;

	for (unsigned i = 0; i < m->n; i++)
		part_end(&m->parts[i]);
	free(m->parts);
	free(m);
}

static const struct source_ops merge_ops = {
	.next = merge_read,
	.stop = merge_stop,
	.free = merge_free,
};

struct source *source_merge_new(const struct merge_part *parts, unsigned n)
{
	struct merge *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->source.ops = &merge_ops;
	m->parts = calloc(n ? n : 1, sizeof(*m->parts));
	if (!m->parts) {
		free(m);
		return NULL;
	}
	m->n = n;
	for (unsigned i = 0; i < n; i++) {
		m->parts[i].is = parts[i];
		m->parts[i].at_us = parts[i].begins_us;
	}
	return &m->source;
}
