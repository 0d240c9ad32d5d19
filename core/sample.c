/* SPDX-License-Identifier: Apache-2.0 */
/* The percentage stage: a throw of the dice a request, or a hash of who asks. */
#include "core/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rule.h"
#include "rule_index.h"

struct sample {
	struct stage stage;
	struct sampler sampler;
	double percent;
};

int sample_parse(const char *text, double *ret_percent, struct err *err)
{
	char *end = NULL;
	/* strtod would also take hex, nan and white space. */
	bool number = strchr("0123456789.", text[0]) && !strpbrk(text, "xX");
	double v = number ? strtod(text, &end) : -1;

	if (v >= 0 && end == text)
		v = -1;
	if (v >= 0 && *end == '%')
		end++;
	if (!(v >= 0 && v <= 100) || *end)
		return err_set(err, SC_EINVAL, "'%s' is not a percentage within 0..100", text);
	*ret_percent = v;
	return SC_OK;
}

static const struct {
	const char *name;
	bool named;
} kinds[SAMPLE_BYS] = {
	[SAMPLE_BY_REQUEST] = {"request", false},
	[SAMPLE_BY_CONNECTION] = {"connection", false},
	[SAMPLE_BY_CLIENT] = {"client", false},
	[SAMPLE_BY_HEADER] = {"header:", true},
	[SAMPLE_BY_COOKIE] = {"cookie:", true},
	[SAMPLE_BY_QUERY] = {"query:", true},
};

int sample_key_parse(const char *text, struct sample_key *ret, struct err *err)
{
	for (size_t i = 0; i < SAMPLE_BYS; i++) {
		size_t len = strlen(kinds[i].name);

		if (kinds[i].named ? strncmp(text, kinds[i].name, len) == 0 && text[len]
				   : strcmp(text, kinds[i].name) == 0) {
			*ret = (struct sample_key){(enum sample_by)i,
						   kinds[i].named ? text + len : NULL};
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "'%s': expected request, connection, client, header:NAME, "
		       "cookie:NAME or query:NAME", text);
}

const char *sample_key_kind(const struct sample_key *key)
{
	return kinds[key->by].name;
}

const char *sample_key_name(const struct sample_key *key)
{
	return key->name ? key->name : "";
}

static size_t put_addr(uint8_t *to, const struct addr *a, bool with_port)
{
	memcpy(to, a->ip, a->len);
	if (!with_port)
		return a->len;
	memcpy(to + a->len, &a->port, sizeof(a->port));
	return a->len + sizeof(a->port);
}

/* Two addresses, or one. */
static uint64_t hash_ends(const struct sampler *s, const struct addr *client,
			  const struct addr *server)
{
	bool connection = s->key.by != SAMPLE_BY_CLIENT;
	uint8_t key[40];
	size_t n = put_addr(key, client, connection);

	if (connection)
		n += put_addr(key + n, server, true);
	return hash_bytes(key, n, s->seed);
}

/* name=value; name=value (RFC 6265, 4.2.1) */
static bool cookie_in(struct span list, struct span name, struct span *ret)
{
	while (list.len) {
		const uint8_t *end = memchr(list.p, ';', list.len);
		struct span pair = span_of(list.p, end ? (size_t)(end - list.p) : list.len);
		const uint8_t *eq;

		list = span_of(list.p + pair.len + (end != NULL), list.len - pair.len - (end != NULL));
		while (pair.len && (*pair.p == ' ' || *pair.p == '\t'))
			pair = span_of(pair.p + 1, pair.len - 1);
		eq = memchr(pair.p, '=', pair.len);
		if (eq && span_eq(span_of(pair.p, (size_t)(eq - pair.p)), name)) {
			*ret = span_of(eq + 1, pair.len - (size_t)(eq + 1 - pair.p));
			return true;
		}
	}
	return false;
}

static bool key_value(const struct sampler *s, const struct exchange *ex, struct span *ret)
{
	struct values at = {0};
	struct subject subject;
	struct span list;

	subject_of(ex, &subject);
	if (s->key.by == SAMPLE_BY_QUERY)
		return subject_value(&subject, RULE_QUERY, s->key.name, &at, ret);
	if (s->key.by == SAMPLE_BY_HEADER)
		return subject_value(&subject, RULE_HEADER, s->key.name, &at, ret);
	while (subject_value(&subject, RULE_HEADER, "Cookie", &at, &list)) {
		if (cookie_in(list, span_str(s->key.name), ret))
			return true;
	}
	return false;
}

void sampler_init(struct sampler *s, const struct sample_key *key, uint64_t seed)
{
	*s = (struct sampler){.key = *key, .seed = seed};
	rng_init(&s->rng, seed);
}

void sampler_go_by_id(struct sampler *s, uint64_t which)
{
	struct rng first;

	/* Not the seed itself: neighbours would share their throws, each for the other's ids. */
	rng_init(&first, s->seed);
	s->id_seed = hash_bytes(&which, sizeof(which), rng_next(&first));
	s->by_id = true;
}

static bool below(uint64_t throw, double percent)
{
	return percent >= 100 || throw < (uint64_t)ldexp(percent / 100, 64);
}

static uint64_t throw_for(struct sampler *s, const struct exchange *ex)
{
	uint64_t name[2] = {(uint64_t)ex->id, ex->pass};

	return s->by_id && ex->id ? hash_bytes(name, sizeof(name), s->id_seed) : rng_next(&s->rng);
}

bool sampler_takes(struct sampler *s, const struct exchange *ex, double percent)
{
	struct span value;

	if (percent >= 100 && s->key.by != SAMPLE_BY_REQUEST)
		return true;
	if (s->key.by == SAMPLE_BY_REQUEST)
		return below(throw_for(s, ex), percent);
	if (s->key.by >= SAMPLE_BY_HEADER && key_value(s, ex, &value))
		return below(hash_bytes(value.p, value.len, s->seed), percent);
	return below(hash_ends(s, &ex->client, &ex->server), percent);
}

static enum verdict sample_flow(struct stage *st, const struct addr *client,
				const struct addr *server)
{
	const struct sample *s = (const struct sample *)st;
	enum sample_by by = s->sampler.key.by;

	if ((by != SAMPLE_BY_CONNECTION && by != SAMPLE_BY_CLIENT) ||
	    below(hash_ends(&s->sampler, client, server), s->percent))
		return VERDICT_KEEP;
	return VERDICT_UNSAMPLED;
}

static enum verdict sample_head(struct stage *st, struct exchange *ex)
{
	struct sample *s = (struct sample *)st;

	if (!sampler_takes(&s->sampler, ex, s->percent))
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
	.flow = sample_flow,
	.head = sample_head,
	.free = sample_free,
};

struct stage *stage_sample_new(double percent, const struct sample_key *key, uint64_t seed)
{
	struct sample *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage.ops = &sample_ops;
	s->percent = percent;
	sampler_init(&s->sampler, key, seed);
	sampler_go_by_id(&s->sampler, THROW_SAMPLE);
	return &s->stage;
}
