/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of several engines as those of one. Counts nothing itself. */
#include "replay/replay.h"

#include <string.h>

static void add_times(struct replay_stats *sum, const struct replay_stats *stats)
{
	if (stats->start_us && (!sum->start_us || stats->start_us < sum->start_us))
		sum->start_us = stats->start_us;
	if (stats->elapsed_us > sum->elapsed_us)
		sum->elapsed_us = stats->elapsed_us;
	histogram_merge(&sum->service, &stats->service);
	histogram_merge(&sum->latency, &stats->latency);
}

void replay_stats_add(struct replay_stats *sum, const struct replay_stats *stats)
{
	sum->taken += stats->taken;
	sum->sent += stats->sent;
	sum->failed += stats->failed;
	sum->failed_sent += stats->failed_sent;
	sum->dropped += stats->dropped;
	sum->unsent += stats->unsent;
	for (unsigned i = 0; i < RESULT_ERRORS; i++) {
		sum->errors[i] += stats->errors[i];
		if (!sum->detail[i][0])
			memcpy(sum->detail[i], stats->detail[i], sizeof(sum->detail[i]));
	}
	for (unsigned i = 0; i < STATUS_CODES; i++)
		sum->status[i] += stats->status[i];
	sum->late += stats->late;
	sum->waited += stats->waited;
	sum->retried += stats->retried;
	sum->connections += stats->connections;
	sum->bytes_out += stats->bytes_out;
	sum->bytes_in += stats->bytes_in;
	sum->unsaid += stats->unsaid;
	sum->capped += stats->capped;
	sum->in_flight += stats->in_flight;
	add_times(sum, stats);
}
