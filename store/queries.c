/* SPDX-License-Identifier: Apache-2.0 */
/* The questions people ask first, by name. Plain SQL that can be taken out and changed. */
#include <string.h>

#include "store/store.h"

const struct store_query store_queries[] = {
	{"routes", "requests, errors and durations by route (or path, without routes)",
	 "SELECT * FROM route_summary ORDER BY requests DESC, route"},
	{"status", "how often each status came, and how long it took",
	 "SELECT status, count(*) AS requests,"
	 " round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,"
	 " round(avg(duration_us) / 1000.0, 3) AS mean_ms,"
	 " round(max(duration_us) / 1000.0, 3) AS max_ms"
	 " FROM exchange GROUP BY status ORDER BY status IS NULL, status"},
	{"slowest", "the 20 exchanges that took longest",
	 "SELECT id, time, duration_ms, ttfb_ms, status, method, host, path, query FROM request"
	 " WHERE id IN (SELECT id FROM exchange WHERE duration_us IS NOT NULL"
	 "  ORDER BY duration_us DESC, id LIMIT 20) ORDER BY duration_ms DESC, id"},
	{"errors", "the latest 100 exchanges with a status of 5xx or without a whole answer",
	 "SELECT id, time, status, state, method, host, path, query, duration_ms FROM request"
	 " WHERE id IN (SELECT id FROM exchange WHERE status >= 500 OR status IS NULL"
	 "  OR state <> 'complete' ORDER BY ts_us DESC, id DESC LIMIT 100)"
	 " ORDER BY time DESC, id DESC"},
	{"clients", "requests, errors and bytes by client address",
	 "SELECT client, count(*) AS requests, count(DISTINCT connection) AS connections,"
	 " count(CASE WHEN status >= 500 THEN 1 END) AS s5xx,"
	 " count(*) - count(status) AS unanswered, sum(request_size) AS request_bytes,"
	 " sum(response_size) AS response_bytes"
	 " FROM exchange GROUP BY client ORDER BY requests DESC, client"},
	{"hours", "requests, errors and durations by hour (UTC)",
	 "SELECT strftime('%Y-%m-%dT%H:00Z', ts_us / 1000000, 'unixepoch') AS hour,"
	 " count(*) AS requests, count(CASE WHEN status >= 500 THEN 1 END) AS s5xx,"
	 " count(*) - count(status) AS unanswered,"
	 " round(avg(duration_us) / 1000.0, 3) AS mean_ms,"
	 " round(max(duration_us) / 1000.0, 3) AS max_ms"
	 " FROM exchange GROUP BY hour ORDER BY hour"},
	{NULL, NULL, NULL},
};

const char *store_query_sql(const char *name)
{
	for (const struct store_query *q = store_queries; q->name; q++) {
		if (strcmp(name, q->name) == 0)
			return q->sql;
	}
	return NULL;
}
