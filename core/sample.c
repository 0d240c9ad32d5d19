/* SPDX-License-Identifier: Apache-2.0 */
/* The percentage stage: one throw of the dice a request. */
#include "core/sample.h"

#include <math.h>
#include <stdlib.h>

#include "core/rng.h"

struct sample {
	struct stage stage;
	struct rng rng;
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

static enum verdict sample_head(struct stage *st, struct exchange *ex)
{
	struct sample *s = (struct sample *)st;

	if (s->percent < 100 && rng_next(&s->rng) >= s->below)
		return VERDICT_UNSAMPLED;
	ex->sample = ex->sample * s->percent / 100;
	return VERDICT_KEEP;
}

static void sample_free(struct stage *st)
{
	free(st);
}

static const struct stage_ops sample_ops = {
	.name = "sample",
	.head = sample_head,
	.free = sample_free,
};

struct stage *stage_sample_new(double percent, uint64_t seed)
{
	struct sample *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage.ops = &sample_ops;
	s->percent = percent;
	s->below = percent < 100 ? (uint64_t)ldexp(percent / 100, 64) : 0;
	rng_init(&s->rng, seed);
	return &s->stage;
}
