/* SPDX-License-Identifier: Apache-2.0 */
/* The schema of a store, one step a version. Only what any stock SQLite (3.40 and later) can read:
 * no functions of our own, nothing compressed. A view may cost a pass over its table and a sort,
 * never more.
 *
 * Times in *_us are microseconds: since 1970 for ts_us, due_us and sent_us, otherwise from the
 * event they follow. started_at and ended_at are text, UTC. */
#include "schema.h"

#include "db.h"
#include "route_table.h"
#include "totals.h"

static const char first_tables[] =
	/* ended_at NULL: still running, or cut off. options, ledger: JSON. */
	"CREATE TABLE capture ("
	" id INTEGER PRIMARY KEY,"
	" started_at TEXT NOT NULL,"
	" ended_at TEXT,"
	" source TEXT NOT NULL,"
	" options TEXT,"
	" ledger TEXT);"
	/* As on the wire after de-chunking, still content-encoded; no row for an empty body. */
	"CREATE TABLE body ("
	" id INTEGER PRIMARY KEY,"
	" size INTEGER NOT NULL,"
	" data BLOB NOT NULL);"
	/* request_size, response_size: the body's length on the wire, which body.size falls short
	 * of where a body was cut or bytes of it were lost. query is NULL when there is no '?'.
	 * Headers and trailers: [[name, value], ...] in wire order and case. request_raw: the head
	 * byte for byte, where method, path, query, version and headers do not give it again. */
	"CREATE TABLE exchange ("
	" id INTEGER PRIMARY KEY,"
	" capture_id INTEGER NOT NULL REFERENCES capture(id),"
	" ts_us INTEGER NOT NULL,"
	" connection INTEGER NOT NULL,"
	" position INTEGER NOT NULL,"
	" client TEXT NOT NULL,"
	" client_port INTEGER NOT NULL,"
	" server TEXT NOT NULL,"
	" server_port INTEGER NOT NULL,"
	" method TEXT NOT NULL,"
	" scheme TEXT NOT NULL,"
	" host TEXT NOT NULL,"
	" path TEXT NOT NULL,"
	" query TEXT,"
	" version TEXT NOT NULL,"
	" request_headers TEXT NOT NULL,"
	" request_body INTEGER REFERENCES body(id),"
	" request_size INTEGER NOT NULL,"
	" status INTEGER,"
	" response_headers TEXT,"
	" response_body INTEGER REFERENCES body(id),"
	" response_size INTEGER,"
	" ttfb_us INTEGER,"
	" duration_us INTEGER,"
	" route TEXT,"
	" state TEXT NOT NULL,"
	" request_raw BLOB,"
	" request_trailers TEXT,"
	" response_trailers TEXT,"
	" sample REAL);"
	/* Only for requests whose chunked body was not framed in the plainest way: chunk-size lines
	 * and trailer section as on the wire, so that a replay frames it the same way. */
	"CREATE TABLE request_chunks ("
	" exchange_id INTEGER PRIMARY KEY REFERENCES exchange(id),"
	" lines BLOB NOT NULL);"
	"CREATE TABLE replay ("
	" id INTEGER PRIMARY KEY,"
	" started_at TEXT NOT NULL,"
	" ended_at TEXT,"
	" target TEXT NOT NULL,"
	" options TEXT,"
	" summary TEXT);"
	/* duration_us: from sent_us (service time); latency_us: from due_us. */
	"CREATE TABLE result ("
	" id INTEGER PRIMARY KEY,"
	" replay_id INTEGER NOT NULL REFERENCES replay(id),"
	" exchange_id INTEGER NOT NULL REFERENCES exchange(id),"
	" pass INTEGER NOT NULL,"
	" due_us INTEGER,"
	" sent_us INTEGER,"
	" ttfb_us INTEGER,"
	" duration_us INTEGER,"
	" latency_us INTEGER,"
	" status INTEGER,"
	" headers TEXT,"
	" body INTEGER REFERENCES body(id),"
	" error TEXT);"
	/* place: status, header or body; noise: 1 where a difference is to be expected. */
	"CREATE TABLE difference ("
	" replay_id INTEGER NOT NULL REFERENCES replay(id),"
	" result_id INTEGER NOT NULL REFERENCES result(id),"
	" exchange_id INTEGER NOT NULL REFERENCES exchange(id),"
	" place TEXT NOT NULL,"
	" path TEXT,"
	" kind TEXT NOT NULL,"
	" recorded TEXT,"
	" replayed TEXT,"
	" noise INTEGER NOT NULL DEFAULT 0);";

/* Which route a path is of, worked out from all of them; path: the one it was first seen by. And
 * running totals, which follow what is deleted. */
static const char routes_and_totals[] =
	"CREATE TABLE template ("
	" id INTEGER PRIMARY KEY,"
	" path TEXT NOT NULL,"
	" template TEXT NOT NULL);"
	"ALTER TABLE exchange ADD COLUMN template INTEGER REFERENCES template(id);"
	"CREATE TABLE capture_total ("
	" capture_id INTEGER PRIMARY KEY REFERENCES capture(id),"
	" exchanges INTEGER NOT NULL,"
	" complete INTEGER NOT NULL,"
	" no_response INTEGER NOT NULL,"
	" truncated INTEGER NOT NULL,"
	" gap INTEGER NOT NULL,"
	" request_bytes INTEGER NOT NULL,"
	" response_bytes INTEGER NOT NULL);"
	"CREATE TABLE replay_total ("
	" replay_id INTEGER PRIMARY KEY REFERENCES replay(id),"
	" results INTEGER NOT NULL,"
	" answered INTEGER NOT NULL,"
	" errors INTEGER NOT NULL);"
	"CREATE TABLE body_total ("
	" id INTEGER PRIMARY KEY CHECK (id = 1),"
	" bodies INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL);"
	"CREATE TRIGGER exchange_deleted AFTER DELETE ON exchange BEGIN"
	" UPDATE capture_total SET exchanges = exchanges - 1,"
	" complete = complete - (old.state = 'complete'),"
	" no_response = no_response - (old.state = 'no-response'),"
	" truncated = truncated - (old.state = 'truncated'), gap = gap - (old.state = 'gap'),"
	" request_bytes = request_bytes - old.request_size,"
	" response_bytes = response_bytes - coalesce(old.response_size, 0)"
	" WHERE capture_id = old.capture_id; END;"
	"CREATE TRIGGER result_deleted AFTER DELETE ON result BEGIN"
	" UPDATE replay_total SET results = results - 1,"
	" answered = answered - (old.status IS NOT NULL), errors = errors - (old.error IS NOT NULL)"
	" WHERE replay_id = old.replay_id; END;"
	"CREATE TRIGGER body_deleted AFTER DELETE ON body BEGIN"
	" UPDATE body_total SET bodies = bodies - 1, bytes = bytes - old.size; END;";

/* Bytes as text, NULL where they are none. Stock SQLite has no test for UTF-8, but GLOB reads an
 * invalid sequence as U+FFFD: so control characters and U+FFFD tell text from other bytes, all but
 * a stray byte a0..bf. */
#define BODY_TEXT(data)                                                                            \
	"CASE WHEN instr(" data ", x'00') = 0 AND CAST(" data " AS TEXT) NOT GLOB"                 \
	" '*['||char(1)||'-'||char(8)||char(14)||'-'||char(26)||char(28)||'-'||char(31)||"         \
	"char(127)||'-'||char(159)||char(65533)||']*' THEN CAST(" data " AS TEXT) END"

#define TIME_TEXT(us)                                                                              \
	"strftime('%Y-%m-%dT%H:%M:%S', " us " / 1000000, 'unixepoch')"                             \
	" || printf('.%03dZ', " us " / 1000 % 1000)"

/* The nearest rank: the smallest value with p% of all n at or below it, in ms. */
#define PERCENTILE(us, rank, n, p)                                                                 \
	"round(max(CASE WHEN " rank " = (" n " * " p " + 99) / 100 THEN " us " END) / 1000.0, 3)"

#define CLASS(digit) "count(CASE WHEN status / 100 = " digit " THEN 1 END)"

static const char views[] =
	"DROP VIEW IF EXISTS request; DROP VIEW IF EXISTS header; DROP VIEW IF EXISTS route_summary;"
	"DROP VIEW IF EXISTS replay_summary; DROP VIEW IF EXISTS difference_summary;"
	"CREATE VIEW request AS SELECT"
	" e.id AS id, " TIME_TEXT("e.ts_us") " AS time, e.capture_id AS capture_id,"
	" e.client || ':' || e.client_port AS client, e.server || ':' || e.server_port AS server,"
	" e.connection AS connection, e.position AS position,"
	" e.method AS method, e.scheme AS scheme, e.host AS host, e.path AS path, e.query AS query,"
	" e.status AS status, e.ttfb_us / 1000.0 AS ttfb_ms, e.duration_us / 1000.0 AS duration_ms,"
	" e.route AS route, t.template AS template, e.state AS state,"
	" e.request_headers AS request_headers, e.request_size AS request_size,"
	" " BODY_TEXT("q.data") " AS request_body,"
	" e.response_headers AS response_headers, e.response_size AS response_size,"
	" " BODY_TEXT("r.data") " AS response_body"
	" FROM exchange e LEFT JOIN body q ON q.id = e.request_body"
	" LEFT JOIN body r ON r.id = e.response_body LEFT JOIN template t ON t.id = e.template;"

	"CREATE VIEW header AS"
	" SELECT e.id AS exchange_id, 'request' AS side, json_extract(h.value, '$[0]') AS name,"
	" json_extract(h.value, '$[1]') AS value FROM exchange e, json_each(e.request_headers) h"
	" UNION ALL"
	" SELECT e.id, 'response', json_extract(h.value, '$[0]'), json_extract(h.value, '$[1]')"
	" FROM exchange e, json_each(e.response_headers) h;"

	/* By the rule that took a request, without one by the route of its path. An error is a
	 * status of 5xx or no response at all. */
	"CREATE VIEW route_summary AS WITH routed AS ("
	" SELECT coalesce(e.route, t.template, e.path) AS route, status, duration_us, request_size,"
	" response_size FROM exchange e LEFT JOIN template t ON t.id = e.template),"
	" timed AS (SELECT *, row_number() OVER (PARTITION BY route"
	"  ORDER BY duration_us IS NULL, duration_us) AS place,"
	" count(duration_us) OVER (PARTITION BY route) AS n FROM routed)"
	" SELECT route, count(*) AS requests,"
	" " CLASS("1") " AS s1xx, " CLASS("2") " AS s2xx, " CLASS("3") " AS s3xx,"
	" " CLASS("4") " AS s4xx, " CLASS("5") " AS s5xx,"
	" count(*) - count(status) AS unanswered,"
	" round(100.0 * (" CLASS("5") " + count(*) - count(status)) / count(*), 2)"
	"  AS error_percent,"
	" " PERCENTILE("duration_us", "place", "n", "50") " AS p50_ms,"
	" " PERCENTILE("duration_us", "place", "n", "95") " AS p95_ms,"
	" " PERCENTILE("duration_us", "place", "n", "99") " AS p99_ms,"
	" round(max(duration_us) / 1000.0, 3) AS max_ms,"
	" sum(request_size) AS request_bytes, coalesce(sum(response_size), 0) AS response_bytes"
	" FROM timed GROUP BY route;"

	/* failed: no answer, for a reason that is in result.error. */
	"CREATE VIEW replay_summary AS WITH timed AS ("
	" SELECT replay_id, status, error, latency_us, duration_us,"
	" row_number() OVER (PARTITION BY replay_id ORDER BY latency_us IS NULL, latency_us)"
	"  AS latency_place,"
	" row_number() OVER (PARTITION BY replay_id ORDER BY duration_us IS NULL, duration_us)"
	"  AS service_place,"
	" count(latency_us) OVER (PARTITION BY replay_id) AS latency_n,"
	" count(duration_us) OVER (PARTITION BY replay_id) AS service_n FROM result),"
	" counted AS (SELECT replay_id, count(*) AS requests,"
	" " CLASS("2") " AS s2xx, " CLASS("3") " AS s3xx, " CLASS("4") " AS s4xx,"
	" " CLASS("5") " AS s5xx, count(error) AS failed,"
	" " PERCENTILE("latency_us", "latency_place", "latency_n", "50") " AS latency_p50_ms,"
	" " PERCENTILE("latency_us", "latency_place", "latency_n", "95") " AS latency_p95_ms,"
	" " PERCENTILE("latency_us", "latency_place", "latency_n", "99") " AS latency_p99_ms,"
	" round(max(latency_us) / 1000.0, 3) AS latency_max_ms,"
	" " PERCENTILE("duration_us", "service_place", "service_n", "50") " AS service_p50_ms,"
	" " PERCENTILE("duration_us", "service_place", "service_n", "95") " AS service_p95_ms,"
	" " PERCENTILE("duration_us", "service_place", "service_n", "99") " AS service_p99_ms,"
	" round(max(duration_us) / 1000.0, 3) AS service_max_ms"
	" FROM timed GROUP BY replay_id)"
	" SELECT p.id AS replay_id, p.started_at AS started_at, p.ended_at AS ended_at,"
	" p.target AS target, coalesce(requests, 0) AS requests, coalesce(s2xx, 0) AS s2xx,"
	" coalesce(s3xx, 0) AS s3xx, coalesce(s4xx, 0) AS s4xx, coalesce(s5xx, 0) AS s5xx,"
	" coalesce(failed, 0) AS failed,"
	" latency_p50_ms, latency_p95_ms, latency_p99_ms, latency_max_ms,"
	" service_p50_ms, service_p95_ms, service_p99_ms, service_max_ms"
	" FROM replay p LEFT JOIN counted c ON c.replay_id = p.id;"

	"CREATE VIEW difference_summary AS SELECT replay_id, path, place, kind,"
	" count(*) AS differences, count(DISTINCT exchange_id) AS exchanges,"
	" count(CASE WHEN noise = 0 THEN 1 END) AS real, count(CASE WHEN noise <> 0 THEN 1 END)"
	"  AS noise FROM difference GROUP BY replay_id, path, place, kind;";

static int fill_routes_and_totals(struct store *st, struct err *err)
{
	int rc = totals_count(st, err);

	return rc ? rc : route_table_fill(st, err);
}

/* What brings a store from version i to i + 1: its tables, and what is filled in from the others.
 * The views are made anew behind them. */
static const struct {
	const char *tables;
	int (*fill)(struct store *st, struct err *err); /* NULL: nothing */
} steps[] = {
	{first_tables, NULL},
	{routes_and_totals, fill_routes_and_totals},
};
#define VERSION ((int)(sizeof(steps) / sizeof(steps[0])))

int schema_version(void)
{
	return VERSION;
}

static int migrate(struct store *st, struct err *err)
{
	int64_t version;
	int rc;

	/* Asked again inside the transaction: another program may have just done it. */
	rc = db_integer(st, "PRAGMA user_version", &version, err);
	for (int64_t v = version; v < VERSION && !rc; v++) {
		rc = db_exec(st, steps[v].tables, err);
		if (!rc && steps[v].fill)
			rc = steps[v].fill(st, err);
	}
	if (!rc && version < VERSION)
		rc = db_exec(st, views, err);
	if (!rc && version < VERSION) {
		char sql[96];

		(void)sqlite3_snprintf(sizeof(sql), sql,
				       "PRAGMA application_id = %d; PRAGMA user_version = %d",
				       SCHEMA_APPLICATION_ID, VERSION);
		rc = db_exec(st, sql, err);
	}
	return rc;
}

int schema_prepare(struct store *st, struct err *err)
{
	int64_t version;
	int rc = db_integer(st, "PRAGMA user_version", &version, err);

	if (!rc && version < VERSION) {
		rc = db_begin(st, err);
		if (!rc)
			rc = migrate(st, err);
		if (!rc)
			rc = db_commit(st, err);
		if (rc)
			db_rollback(st);
	}
	/* Only now: the first transaction goes through a rollback journal, so that the file itself
	 * says what it is from its first moment. */
	return rc ? rc : db_exec(st, "PRAGMA journal_mode = WAL", err);
}

int schema_index_captures(struct store *st, struct err *err)
{
	return db_exec(st, "CREATE INDEX IF NOT EXISTS exchange_time ON exchange(ts_us)", err);
}

int schema_index_replays(struct store *st, struct err *err)
{
	return db_exec(
		st,
		"CREATE INDEX IF NOT EXISTS result_exchange ON result(replay_id, exchange_id);"
		"CREATE INDEX IF NOT EXISTS difference_replay ON difference(replay_id)",
		err);
}
