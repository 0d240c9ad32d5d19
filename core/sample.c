/* SPDX-License-Identifier: Apache-2.0 */
/* The percentage stage: a throw of the dice a request, or a hash of who asks. */
#include "core/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

struct sample {
	struct stage stage;
	struct rng rng;
	enum sample_by by;
	uint64_t seed;
	double percent;
	uint64_t below; /* let in when the throw is below; all of them at 100% */
};

int sample_parse(const char *text, double *ret_percent, struct err *err)
{
	char *end;
	double v = strtod(text, &end);

	if (end != text && *end == '%')
		end++;
	if (end == text || *end || !(v >= 0 && v <= 100))
		return err_set(err, SC_EINVAL, "'%s' is not a percentage within 0..100", text);
	*ret_percent = v;
	return SC_OK;
}

int sample_by_parse(const char *text, enum sample_by *ret, struct err *err)
{
	static const char *const names[] = {
		[SAMPLE_BY_REQUEST] = "request",
		[SAMPLE_BY_CONNECTION] = "connection",
		[SAMPLE_BY_CLIENT] = "client",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum sample_by)i;
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "'%s': expected request, connection or client", text);
}

static size_t put_addr(uint8_t *to, const struct addr *a, bool with_port)
{
	memcpy(to, a->ip, a->len);
	if (!with_port)
		return a->len;
	memcpy(to + a->len, &a->port, sizeof(a->port));
	return a->len + sizeof(a->port);
}

/* The throw: the same for the same key. */
static uint64_t keyed_throw(const struct sample *s, const struct addr *client,
			    const struct addr *server)
{
	bool connection = s->by == SAMPLE_BY_CONNECTION;
	uint8_t key[40];
	size_t n = put_addr(key, client, connection);

	if (connection)
		n += put_addr(key + n, server, true);
	return hash_bytes(key, n, s->seed);
}

static enum verdict sample_flow(struct stage *st, const struct addr *client,
				const struct addr *server)
{
	const struct sample *s = (const struct sample *)st;

	if (s->percent >= 100 || s->by == SAMPLE_BY_REQUEST ||
	    keyed_throw(s, client, server) < s->below)
		return VERDICT_KEEP;
	return VERDICT_UNSAMPLED;
}

static enum verdict sample_head(struct stage *st, struct exchange *ex)
{
	struct sample *s = (struct sample *)st;
	uint64_t throw;

	if (s->percent < 100) {
		throw = s->by == SAMPLE_BY_REQUEST ? rng_next(&s->rng)
						   : keyed_throw(s, &ex->client, &ex->server);
		if (throw >= s->below)
			return VERDICT_UNSAMPLED;
	}
	ex->sample = ex->sample * s->percent / 100;
	return VERDICT_KEEP;
}

static void sample_free(struct stage *st)
{
	free(st);
}

static const struct stage_ops sample_ops = {
	.name = "sample",
	.flow = sample_flow,
	.head = sample_head,
	.free = sample_free,
};

struct stage *stage_sample_new(double percent, enum sample_by by, uint64_t seed)
{
	struct sample *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage.ops = &sample_ops;
	s->percent = percent;
	s->by = by;
	s->seed = seed;
	s->below = percent < 100 ? (uint64_t)ldexp(percent / 100, 64) : 0;
	rng_init(&s->rng, seed);
	return &s->stage;
}
