/* SPDX-License-Identifier: Apache-2.0 */
/* The joints of a chain, and the two smallest links: the marker stage and the null sink. */
#include "core/stage.h"

#include <stdlib.h>

void stage_free(struct stage *s)
{
	if (s)
		s->ops->free(s);
}

int chain_add(struct chain *c, struct stage *s)
{
	if (s && c->n == c->room) {
		unsigned room = c->room ? 2 * c->room : 8;
		struct stage **grown = realloc(c->stages, room * sizeof(struct stage *));

		if (!grown) {
			stage_free(s);
			return SC_ENOMEM;
		}
		c->stages = grown;
		c->room = room;
	}
	if (!s)
		return SC_ENOMEM;
	c->stages[c->n++] = s;
	return SC_OK;
}

void chain_done(struct chain *c)
{
	while (c->n)
		stage_free(c->stages[--c->n]);
	free(c->stages);
	*c = (struct chain){.n = 0};
}

enum verdict chain_flow(const struct chain *c, const struct addr *client, const struct addr *server)
{
	for (unsigned i = 0; i < c->n; i++) {
		struct stage *s = c->stages[i];
		enum verdict v = s->ops->flow ? s->ops->flow(s, client, server) : VERDICT_KEEP;

		if (v != VERDICT_KEEP)
			return v;
	}
	return VERDICT_KEEP;
}

enum verdict chain_head(const struct chain *c, struct exchange *ex)
{
	for (unsigned i = 0; i < c->n; i++) {
		struct stage *s = c->stages[i];
		enum verdict v = s->ops->head ? s->ops->head(s, ex) : VERDICT_KEEP;

		if (v != VERDICT_KEEP)
			return v;
	}
	return VERDICT_KEEP;
}

enum verdict chain_whole(const struct chain *c, struct exchange *ex)
{
	for (unsigned i = 0; i < c->n; i++) {
		struct stage *s = c->stages[i];
		enum verdict v = s->ops->whole ? s->ops->whole(s, ex) : VERDICT_KEEP;

		if (v != VERDICT_KEEP)
			return v;
	}
	return VERDICT_KEEP;
}

static enum verdict marker_head(struct stage *s, struct exchange *ex)
{
	(void)s;
	return message_find(ex->request, MARKER_FIELD, 0) >= 0 ? VERDICT_OWN : VERDICT_KEEP;
}

static void marker_free(struct stage *s)
{
	free(s);
}

static const struct stage_ops marker_ops = {
	.name = "marker",
	.head = marker_head,
	.free = marker_free,
};

struct stage *stage_marker_new(void)
{
	struct stage *s = malloc(sizeof(*s));

	if (s)
		s->ops = &marker_ops;
	return s;
}

void source_stop(struct source *s)
{
	if (s->ops->stop)
		s->ops->stop(s);
}

void source_free(struct source *s)
{
	if (s)
		s->ops->free(s);
}

int sink_tick(struct sink *s, int64_t now_us, struct err *err)
{
	return s->ops->tick ? s->ops->tick(s, now_us, err) : SC_OK;
}

int sink_finish(struct sink *s, int64_t now_us, struct err *err)
{
	return s->ops->finish ? s->ops->finish(s, now_us, err) : SC_OK;
}

void sink_free(struct sink *s)
{
	if (s)
		s->ops->free(s);
}

static int null_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	(void)s;
	(void)ex;
	(void)err;
	return SC_OK;
}

static void null_free(struct sink *s)
{
	free(s);
}

static const struct sink_ops null_ops = {.put = null_put, .free = null_free};

struct sink *sink_null_new(void)
{
	struct sink *s = malloc(sizeof(*s));

	if (s)
		s->ops = &null_ops;
	return s;
}
