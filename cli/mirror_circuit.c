/* SPDX-License-Identifier: Apache-2.0 */
/* The circuit of one target. Only the probe's own fate counts while it is open: what was in flight
 * when it opened says nothing new by failing. */
#include "mirror_circuit.h"

void circuit_init(struct circuit *c, unsigned threshold)
{
	*c = (struct circuit){.threshold = threshold};
}

bool circuit_admits(struct circuit *c, int64_t id, int64_t now_us)
{
	if (!c->open)
		return true;
	if (c->probing || now_us < c->probe_at_us)
		return false;
	c->probing = true;
	c->probe = id;
	return true;
}

static int64_t longer(int64_t wait_us)
{
	return 2 * wait_us < CIRCUIT_LAST_US ? 2 * wait_us : CIRCUIT_LAST_US;
}

static enum circuit_news answered_again(struct circuit *c, int64_t now_us)
{
	c->failures = 0;
	if (!c->open)
		return CIRCUIT_NO_NEWS;
	c->open = c->probing = false;
	c->closed_us = now_us;
	return CIRCUIT_RESUMED;
}

/* A target that comes and goes is probed less and less often. */
static enum circuit_news failed_again(struct circuit *c, int64_t now_us)
{
	bool unsettled = c->pauses && now_us - c->closed_us < CIRCUIT_SETTLED_US;

	c->failures++;
	if (!c->threshold || c->failures < c->threshold)
		return CIRCUIT_NO_NEWS;
	c->open = true;
	c->pauses++;
	c->since_us = now_us;
	c->wait_us = unsettled ? longer(c->wait_us) : CIRCUIT_FIRST_US;
	c->probe_at_us = now_us + c->wait_us;
	return CIRCUIT_PAUSED;
}

enum circuit_news circuit_result(struct circuit *c, int64_t id, bool answered, int64_t now_us)
{
	if (answered)
		return answered_again(c, now_us);
	if (!c->open)
		return failed_again(c, now_us);
	if (c->probing && id == c->probe) {
		c->probing = false;
		c->wait_us = longer(c->wait_us);
		c->probe_at_us = now_us + c->wait_us;
	}
	return CIRCUIT_NO_NEWS;
}

void circuit_lost(struct circuit *c, int64_t id)
{
	if (c->probing && id == c->probe)
		c->probing = false;
}
