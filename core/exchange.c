/* SPDX-License-Identifier: Apache-2.0 */
/* Life and death of what flows, and the names that are stored of it. */
#include "core/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

static const char *const state_names[EXCHANGE_STATES] = {
	[EXCHANGE_COMPLETE] = "complete",
	[EXCHANGE_NO_RESPONSE] = "no-response",
	[EXCHANGE_TRUNCATED] = "truncated",
	[EXCHANGE_GAP] = "gap",
};

static const char *const error_texts[RESULT_ERRORS] = {
#define ROW(id, text) [RESULT_ERROR_##id] = text,
	RESULT_ERROR_TABLE(ROW)
#undef ROW
};

const char *exchange_state_name(enum exchange_state state)
{
	return state_names[state];
}

int exchange_state_parse(const char *name, enum exchange_state *ret)
{
	for (int i = 0; i < EXCHANGE_STATES; i++) {
		if (strcmp(name, state_names[i]) == 0) {
			*ret = (enum exchange_state)i;
			return SC_OK;
		}
	}
	return SC_EINVAL;
}

struct exchange *exchange_new(void)
{
	struct exchange *ex = malloc(sizeof(*ex)); /* calloc passes the thread's own cache by */

	if (ex)
		*ex = (struct exchange){
			.scheme = "http", .ttfb_us = -1, .duration_us = -1, .sample = 100};
	return ex;
}

void exchange_free(struct exchange *ex)
{
	if (!ex)
		return;
	message_free(ex->request);
	message_free(ex->response);
	free(ex);
}

size_t exchange_footprint(const struct exchange *ex)
{
	size_t bytes = sizeof(*ex);

	if (ex->request)
		bytes += message_footprint(ex->request);
	if (ex->response)
		bytes += message_footprint(ex->response);
	return bytes;
}

const char *result_error_text(enum result_error error)
{
	return error_texts[error];
}

struct result *result_new(void)
{
	struct result *r = malloc(sizeof(*r));

	if (r)
		*r = (struct result){.ttfb_us = -1, .duration_us = -1, .latency_us = -1};
	return r;
}

void result_free(struct result *r)
{
	if (!r)
		return;
	message_free(r->response);
	free(r);
}

size_t result_footprint(const struct result *r)
{
	return sizeof(*r) + (r->response ? message_footprint(r->response) : 0);
}
