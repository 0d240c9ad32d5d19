/* SPDX-License-Identifier: Apache-2.0 */
/* The questions people ask first, by name. Plain SQL for any SQLite of 3.40 or later, that can be
 * taken out (query STORE NAME --sql) and changed; each is one pass over its table, and a sort at
 * most. */
#include <string.h>

#include "store/store.h"

#define TIME_TEXT(us)                                                                              \
	"strftime('%Y-%m-%dT%H:%M:%S', " us " / 1000000, 'unixepoch') ||"                          \
	" printf('.%03dZ', " us " / 1000 % 1000)"

/* Who sent it. A cookie is looked for in all Cookie fields, between its semicolons; of a header
 * the first one counts. NULL: the request has none. */
#define KEY                                                                                        \
	"CASE :kind\n"                                                                             \
	"    WHEN 'header' THEN (\n"                                                               \
	"      SELECT json_extract(h.value, '$[1]') FROM json_each(request_headers) h\n"           \
	"      WHERE lower(json_extract(h.value, '$[0]')) = lower(:name) LIMIT 1)\n"               \
	"    WHEN 'cookie' THEN (\n"                                                               \
	"      SELECT substr(rest, 1, instr(rest, ';') - 1) FROM (\n"                              \
	"        SELECT substr(jar, instr(jar, ';' || :name || '=') + length(:name) + 2) AS rest\n" \
	"        FROM (SELECT ';' || replace(group_concat(json_extract(h.value, '$[1]'), ';'),\n"  \
	"                '; ', ';') || ';' AS jar FROM json_each(request_headers) h\n"             \
	"              WHERE lower(json_extract(h.value, '$[0]')) = 'cookie')\n"                   \
	"        WHERE instr(jar, ';' || :name || '=') > 0))\n"                                    \
	"    ELSE client END AS key"

/* What a path is of: the template that was worked out for it. */
#define ROUTE "coalesce(t.template, e.path)"
#define ROUTED "exchange e LEFT JOIN template t ON t.id = e.template"

#define CLASS(digit) "count(CASE WHEN status / 100 = " digit " THEN 1 END) AS s" digit "xx"
/* The nearest rank, in ms. */
#define PERCENTILE(p)                                                                              \
	"round(max(CASE WHEN place = (n * " p " + 99) / 100 THEN duration_us END) / 1000.0, 3)"    \
	" AS p" p "_ms"

static const char routes_sql[] =
	"WITH timed AS (\n"
	"  SELECT " ROUTE " AS route, e.route AS rule, status, duration_us, request_size,\n"
	"    response_size, row_number() OVER (PARTITION BY " ROUTE ", e.route\n"
	"      ORDER BY duration_us IS NULL, duration_us) AS place,\n"
	"    count(duration_us) OVER (PARTITION BY " ROUTE ", e.route) AS n\n"
	"  FROM " ROUTED ")\n"
	"SELECT route, rule, count(*) AS requests,\n"
	"  " CLASS("1") ", " CLASS("2") ",\n"
	"  " CLASS("3") ", " CLASS("4") ",\n"
	"  " CLASS("5") ", count(*) - count(status) AS unanswered,\n"
	"  round(100.0 * (count(CASE WHEN status / 100 = 5 THEN 1 END) + count(*) - count(status))\n"
	"    / count(*), 2) AS error_percent,\n"
	"  " PERCENTILE("50") ",\n"
	"  " PERCENTILE("95") ",\n"
	"  " PERCENTILE("99") ",\n"
	"  round(max(duration_us) / 1000.0, 3) AS max_ms,\n"
	"  sum(request_size) AS request_bytes, coalesce(sum(response_size), 0) AS response_bytes\n"
	"FROM timed GROUP BY route, rule ORDER BY requests DESC, route, rule";

/* Half an hour of silence ends a session. */
#define PAUSE_US "1800000000"

static const char sessions_sql[] =
	"WITH keyed AS (\n"
	"  SELECT id, ts_us, status, path,\n"
	"    " KEY "\n"
	"  FROM exchange),\n"
	"marked AS (\n"
	"  SELECT *, ts_us - lag(ts_us) OVER (PARTITION BY key ORDER BY ts_us, id)\n"
	"    > " PAUSE_US " AS pause FROM keyed WHERE key IS NOT NULL),\n"
	"numbered AS (\n"
	"  SELECT *, 1 + sum(coalesce(pause, 0)) OVER (PARTITION BY key ORDER BY ts_us, id)\n"
	"    AS session FROM marked)\n"
	"SELECT key, session, " TIME_TEXT("min(ts_us)") " AS started,\n"
	"  round((max(ts_us) - min(ts_us)) / 1e6, 3) AS seconds, count(*) AS requests,\n"
	"  count(DISTINCT path) AS paths, count(CASE WHEN status >= 500 THEN 1 END) AS s5xx,\n"
	"  count(*) - count(status) AS unanswered\n"
	"FROM numbered GROUP BY key, session ORDER BY requests DESC, key, session";

static const char funnel_sql[] =
	"WITH keyed AS (\n"
	"  SELECT e.id, ts_us, " ROUTE " AS route,\n"
	"    " KEY "\n"
	"  FROM " ROUTED "),\n"
	"followed AS (\n"
	"  SELECT route, lead(route) OVER w AS next, lead(ts_us) OVER w - ts_us AS pause\n"
	"  FROM keyed WHERE key IS NOT NULL\n"
	"  WINDOW w AS (PARTITION BY key ORDER BY ts_us, id)),\n"
	"parted AS (\n"
	"  SELECT route, CASE WHEN pause <= " PAUSE_US " THEN next END AS next,\n"
	"    CASE WHEN pause <= " PAUSE_US " THEN pause END AS pause FROM followed)\n"
	"SELECT route, next, count(*) AS times,\n"
	"  round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY route), 2) AS percent,\n"
	"  round(avg(pause) / 1e6, 3) AS mean_seconds\n"
	"FROM parted GROUP BY route, next ORDER BY times DESC, route, next";

static const char sizes_sql[] =
	"WITH sized AS (\n"
	"  SELECT " ROUTE " AS route, request_size, response_size,\n"
	"    row_number() OVER (PARTITION BY " ROUTE "\n"
	"      ORDER BY response_size IS NULL, response_size) AS place,\n"
	"    count(response_size) OVER (PARTITION BY " ROUTE ") AS n\n"
	"  FROM " ROUTED ")\n"
	"SELECT route, count(*) AS requests, sum(request_size) AS request_bytes,\n"
	"  max(request_size) AS request_max,\n"
	"  max(CASE WHEN place = (n * 50 + 99) / 100 THEN response_size END) AS response_p50,\n"
	"  max(CASE WHEN place = (n * 95 + 99) / 100 THEN response_size END) AS response_p95,\n"
	"  max(response_size) AS response_max,\n"
	"  coalesce(sum(response_size), 0) AS response_bytes,\n"
	"  round(100.0 * sum(response_size) / sum(sum(response_size)) OVER (), 2) AS percent\n"
	"FROM sized GROUP BY route ORDER BY response_bytes DESC, route";

/* Equal bodies have one row, but for those that were stored a million bodies apart. */
static const char duplicates_sql[] =
	"SELECT method, host, path, query, count(*) AS requests,\n"
	"  count(DISTINCT client) AS clients,\n"
	"  count(DISTINCT status || ' ' || coalesce(response_body, 0)) AS answers,\n"
	"  round((max(ts_us) - min(ts_us)) / 1e6 / (count(*) - 1), 3) AS every_seconds,\n"
	"  sum(response_size) - max(response_size) AS repeated_bytes,\n"
	"  round((sum(duration_us) - max(duration_us)) / 1000.0, 3) AS repeated_ms\n"
	"FROM exchange GROUP BY method, host, path, query, request_body\n"
	"HAVING count(*) > 1 ORDER BY requests DESC, method, host, path, query";

static const char status_sql[] =
	"SELECT status, count(*) AS requests,\n"
	"  round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,\n"
	"  round(avg(duration_us) / 1000.0, 3) AS mean_ms,\n"
	"  round(max(duration_us) / 1000.0, 3) AS max_ms\n"
	"FROM exchange GROUP BY status ORDER BY status IS NULL, status";

static const char slowest_sql[] =
	"SELECT id, time, duration_ms, ttfb_ms, status, method, host, path, query FROM request\n"
	"WHERE id IN (SELECT id FROM exchange WHERE duration_us IS NOT NULL\n"
	"  ORDER BY duration_us DESC, id LIMIT 20) ORDER BY duration_ms DESC, id";

static const char errors_sql[] =
	"SELECT id, time, status, state, method, host, path, query, duration_ms FROM request\n"
	"WHERE id IN (SELECT id FROM exchange WHERE status >= 500 OR status IS NULL\n"
	"  OR state <> 'complete' ORDER BY ts_us DESC, id DESC LIMIT 100)\n"
	"ORDER BY time DESC, id DESC";

static const char clients_sql[] =
	"SELECT client, count(*) AS requests, count(DISTINCT connection) AS connections,\n"
	"  count(CASE WHEN status >= 500 THEN 1 END) AS s5xx,\n"
	"  count(*) - count(status) AS unanswered, sum(request_size) AS request_bytes,\n"
	"  sum(response_size) AS response_bytes\n"
	"FROM exchange GROUP BY client ORDER BY requests DESC, client";

static const char hours_sql[] =
	"SELECT strftime('%Y-%m-%dT%H:00Z', ts_us / 1000000, 'unixepoch') AS hour,\n"
	"  count(*) AS requests, count(CASE WHEN status >= 500 THEN 1 END) AS s5xx,\n"
	"  count(*) - count(status) AS unanswered,\n"
	"  round(100.0 * (count(CASE WHEN status >= 500 THEN 1 END) + count(*) - count(status))\n"
	"    / count(*), 2) AS error_percent,\n"
	"  round(avg(duration_us) / 1000.0, 3) AS mean_ms,\n"
	"  round(max(duration_us) / 1000.0, 3) AS max_ms\n"
	"FROM exchange GROUP BY hour ORDER BY hour";

const struct store_query store_queries[] = {
	{"routes", "requests, errors and durations by route: /users/{id}, as the paths show it",
	 routes_sql, false},
	{"status", "how often each status came, and how long it took", status_sql, false},
	{"slowest", "the 20 exchanges that took longest", slowest_sql, false},
	{"errors", "the latest 100 exchanges with a status of 5xx or without a whole answer",
	 errors_sql, false},
	{"clients", "requests, errors and bytes by client address", clients_sql, false},
	{"sessions", "what one client (--by: cookie, header) did until half an hour of silence",
	 sessions_sql, true},
	{"funnel", "which route follows which in a session (--by: cookie, header)", funnel_sql,
	 true},
	{"hours", "requests, errors and durations by hour (UTC)", hours_sql, false},
	{"sizes", "bytes of requests and responses by route", sizes_sql, false},
	{"duplicates", "equal requests, and how many different answers they got", duplicates_sql,
	 false},
	{NULL, NULL, NULL, false},
};

static const struct store_query *find(const char *name)
{
	for (const struct store_query *q = store_queries; q->name; q++) {
		if (strcmp(name, q->name) == 0)
			return q;
	}
	return NULL;
}

const char *store_query_sql(const char *name)
{
	const struct store_query *q = find(name);

	return q ? q->sql : NULL;
}

bool store_query_keyed(const char *name)
{
	const struct store_query *q = find(name);

	return q && q->keyed;
}
