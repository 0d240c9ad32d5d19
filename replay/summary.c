/* SPDX-License-Identifier: Apache-2.0 */
/* The account of a replay, as a table and as JSON. Computes nothing that is not in the statistics,
 * and prints nothing itself. */
#include "replay/summary.h"

#include <stdio.h>

#include "core/limits.h"

#define NS_PER_US 1e3
#define US_PER_S 1e6

static const struct {
	const char *name;
	double percent;
} percentiles[] = {
	{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p99.9", 99.9},
};
#define PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

uint64_t account_skipped(const struct account *a)
{
	uint64_t n = 0;

	for (int i = 0; i < SKIPS; i++)
		n += a->skipped[i];
	return n;
}

bool account_adds_up(const struct account *a)
{
	return a->read == a->stats->sent + a->stats->failed + a->held_back + account_skipped(a);
}

void duration_text(int64_t ns, char text[DURATION_TEXT])
{
	static const struct {
		double ns;
		const char *unit;
	} units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
	double v = (double)ns / 1e3;
	const char *unit = "us";

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if ((double)ns >= units[i].ns) {
			v = (double)ns / units[i].ns;
			unit = units[i].unit;
			break;
		}
	}
	snprintf(text, DURATION_TEXT, "%.*f %s", v < 10 ? 2 : v < 100 ? 1 : 0, v, unit);
}

static void bytes_text(double bytes, char text[DURATION_TEXT])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned i = 0;

	while (bytes >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		i++;
	}
	snprintf(text, DURATION_TEXT, "%.*f %s", i == 0 || bytes >= 100 ? 0 : 1, bytes, units[i]);
}

static double seconds(const struct replay_stats *st)
{
	return (double)st->elapsed_us / US_PER_S;
}

static double per_second(double n, const struct replay_stats *st)
{
	return st->elapsed_us > 0 ? n / seconds(st) : 0;
}

static uint64_t succeeded(const struct replay_stats *st)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < 400; i++)
		n += st->status[i];
	return n;
}

double summary_success(const struct replay_stats *st)
{
	uint64_t tried = st->sent + st->failed;

	return tried ? 100 * (double)succeeded(st) / (double)tried : 100;
}

double summary_rate(const struct replay_stats *st)
{
	return per_second((double)(st->sent + st->failed_sent), st);
}

double summary_throughput(const struct replay_stats *st)
{
	return per_second((double)succeeded(st), st);
}

/* The functions below pass on the first failure, so that their callers can be plain lists. */
static int requests_text(const struct account *a, struct buf *out)
{
	const struct replay_stats *st = a->stats;
	int rc = buf_addf(out,
			  "requests     %llu read = %llu answered + %llu failed + %llu held back + "
			  "%llu skipped\n",
			  (unsigned long long)a->read, (unsigned long long)st->sent,
			  (unsigned long long)st->failed, (unsigned long long)a->held_back,
			  (unsigned long long)account_skipped(a));

	if (!rc && a->held_back)
		rc = buf_addf(out,
			      "held back    %llu whose method is not one to send (see --methods)\n",
			      (unsigned long long)a->held_back);
	for (int i = 0; i < SKIPS && !rc; i++) {
		if (a->skipped[i])
			rc = buf_addf(out, "skipped      %llu %s\n",
				      (unsigned long long)a->skipped[i], skip_help((enum skip)i));
	}
	for (int i = 0; i < RESULT_ERRORS && !rc; i++) {
		if (st->errors[i])
			rc = buf_addf(out, "failed       %llu %s%s%s\n",
				      (unsigned long long)st->errors[i],
				      result_error_text((enum result_error)i),
				      st->detail[i][0] ? "; the first: " : "", st->detail[i]);
	}
	if (!rc && st->failed_sent)
		rc = buf_addf(out, "             %llu of the failed had gone out\n",
			      (unsigned long long)st->failed_sent);
	if (!rc && a->unkept)
		rc = buf_addf(out, "not kept     %llu results that could not be written\n",
			      (unsigned long long)a->unkept);
	if (!rc && st->unsaid)
		rc = buf_addf(out, "end unsaid   %llu answers that ended without close_notify, and may be "
				   "cut\n", (unsigned long long)st->unsaid);
	if (!rc && a->capped)
		rc = buf_addf(out, "cut          %llu answers, of whose bodies only the beginning is kept: "
			      "%u MiB of one,\n             and %llu MiB of all that arrive at once\n",
			      (unsigned long long)a->capped, LIMIT_RESPONSE_BODY / MIB,
			      LIMIT_ANSWERS_BYTES / MIB);
	return rc;
}

static int status_text(const struct replay_stats *st, struct buf *out)
{
	int rc = SC_OK;

	if (st->sent)
		rc = buf_add_str(out, "status     ");
	for (unsigned i = 0; i < STATUS_CODES && !rc; i++) {
		if (st->status[i])
			rc = buf_addf(out, "  %03u: %llu", i, (unsigned long long)st->status[i]);
	}
	return rc || !st->sent ? rc : buf_add_str(out, "\n");
}

/* How long it took, and what that makes a second. */
static int rate_text(const struct account *a, struct buf *out)
{
	const struct replay_stats *st = a->stats;
	unsigned long long tried = st->sent + st->failed;
	char took[DURATION_TEXT];
	int rc;

	duration_text(st->elapsed_us * 1000, took);
	rc = buf_addf(out, "pace         %s over %llu connections\n", a->pace,
		      (unsigned long long)st->connections);
	if (!rc)
		rc = buf_addf(out, "duration     %s\n", took);
	if (!rc)
		rc = buf_addf(out, "rate         %.1f requests/s\n", summary_rate(st));
	if (!rc)
		rc = buf_addf(out, "throughput   %.1f successful answers/s\n",
			      summary_throughput(st));
	if (!rc && tried)
		rc = buf_addf(
			out, "success      %.2f%%, %llu of %llu answered with a status below 400\n",
			summary_success(st), (unsigned long long)succeeded(st), tried);
	return rc;
}

static int bytes_row(const struct replay_stats *st, struct buf *out)
{
	char in[DURATION_TEXT], sent[DURATION_TEXT], in_rate[DURATION_TEXT], rate[DURATION_TEXT];

	bytes_text((double)st->bytes_in, in);
	bytes_text((double)st->bytes_out, sent);
	bytes_text(per_second((double)st->bytes_in, st), in_rate);
	bytes_text(per_second((double)st->bytes_out, st), rate);
	return buf_addf(out, "bytes        out %s (%s/s)  in %s (%s/s)\n", sent, rate, in, in_rate);
}

static int trouble_text(const struct replay_stats *st, struct buf *out)
{
	int rc = SC_OK;

	if (!rc && st->late)
		rc = buf_addf(out, "late         %llu sent more than 1 ms after they were due\n",
			      (unsigned long long)st->late);
	if (!rc && st->late && st->waited)
		rc = buf_addf(out,
			      "waited       %llu found their connection, or all of them, busy "
			      "(see --connections)\n",
			      (unsigned long long)st->waited);
	if (!rc && st->retried)
		rc = buf_addf(out,
			      "retried      %llu that met a connection the target had closed\n",
			      (unsigned long long)st->retried);
	return rc;
}

static int latency_row(const char *name, const struct histogram *h, struct buf *out)
{
	char text[DURATION_TEXT];
	int rc = buf_addf(out, "%-13s", name);

	duration_text(h->min, text);
	if (!rc)
		rc = buf_addf(out, "%9s", text);
	duration_text((int64_t)histogram_mean(h), text);
	if (!rc)
		rc = buf_addf(out, " %9s", text);
	for (size_t i = 0; i < PERCENTILES && !rc; i++) {
		duration_text(histogram_percentile(h, percentiles[i].percent), text);
		rc = buf_addf(out, " %9s", text);
	}
	duration_text(h->max, text);
	return rc ? rc : buf_addf(out, " %9s\n", text);
}

static int latency_text(const struct replay_stats *st, struct buf *out)
{
	int rc;

	if (st->service.count == 0)
		return SC_OK;
	rc = buf_addf(out, "%-13s%9s %9s", "", "min", "mean");
	for (size_t i = 0; i < PERCENTILES && !rc; i++)
		rc = buf_addf(out, " %9s", percentiles[i].name);
	if (!rc)
		rc = buf_addf(out, " %9s\n", "max");
	if (!rc)
		rc = latency_row("from send", &st->service, out);
	return rc ? rc : latency_row("from due", &st->latency, out);
}

int summary_text(const struct account *a, struct buf *out)
{
	int rc = buf_addf(out, "replay %lld   %s%s\n", (long long)a->run, a->target,
			  a->stopped ? "   (stopped)" : "");

	if (!rc)
		rc = requests_text(a, out);
	if (!rc)
		rc = status_text(a->stats, out);
	if (!rc)
		rc = rate_text(a, out);
	if (!rc)
		rc = bytes_row(a->stats, out);
	if (!rc)
		rc = trouble_text(a->stats, out);
	return rc ? rc : latency_text(a->stats, out);
}

/* Everything that comes in here as a string is ours, or was taken by the URL parser; still, a quote
 * must not end it. */
static int json_text(const char *s, struct buf *out)
{
	int rc = buf_add_str(out, "\"");

	for (; *s && !rc; s++) {
		if ((unsigned char)*s < 0x20)
			rc = buf_addf(out, "\\u%04x", (unsigned)(unsigned char)*s);
		else
			rc = buf_addf(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	}
	return rc ? rc : buf_add_str(out, "\"");
}

struct json_count {
	const char *name;
	uint64_t n;
};

/* "name": {"a": 1, ...}, zeros left out. */
static int json_counts(const char *name, const struct json_count *counts, size_t n, struct buf *out)
{
	const char *comma = "";
	int rc = buf_addf(out, ",\"%s\":{", name);

	for (size_t i = 0; i < n && !rc; i++) {
		if (!counts[i].n)
			continue;
		rc = buf_addf(out, "%s\"%s\":%llu", comma, counts[i].name,
			      (unsigned long long)counts[i].n);
		comma = ",";
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int json_status(const struct replay_stats *st, struct buf *out)
{
	const char *comma = "";
	int rc = buf_add_str(out, ",\"status\":{");

	for (unsigned i = 0; i < STATUS_CODES && !rc; i++) {
		if (!st->status[i])
			continue;
		rc = buf_addf(out, "%s\"%03u\":%llu", comma, i, (unsigned long long)st->status[i]);
		comma = ",";
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int json_latency(const char *name, const struct histogram *h, struct buf *out)
{
	int rc = buf_addf(out, ",\"%s\":{\"min\":%.1f,\"mean\":%.1f", name,
			  (double)h->min / NS_PER_US, histogram_mean(h) / NS_PER_US);

	for (size_t i = 0; i < PERCENTILES && !rc; i++)
		rc = buf_addf(out, ",\"%s\":%.1f", percentiles[i].name,
			      (double)histogram_percentile(h, percentiles[i].percent) / NS_PER_US);
	return rc ? rc : buf_addf(out, ",\"max\":%.1f}", (double)h->max / NS_PER_US);
}

/* Of those errors of which more is known than their names. */
static int json_details(const struct replay_stats *st, struct buf *out)
{
	const char *comma = "";
	int rc = buf_add_str(out, ",\"error_details\":{");

	for (int i = 0; i < RESULT_ERRORS && !rc; i++) {
		if (!st->errors[i] || !st->detail[i][0])
			continue;
		rc = buf_addf(out, "%s\"%s\":", comma, result_error_text((enum result_error)i));
		if (!rc)
			rc = json_text(st->detail[i], out);
		comma = ",";
	}
	return rc ? rc : buf_add_str(out, "}");
}

static int json_sets(const struct account *a, struct buf *out)
{
	struct json_count skips[SKIPS], errors[RESULT_ERRORS];
	int rc;

	for (int i = 0; i < SKIPS; i++)
		skips[i] = (struct json_count){skip_name((enum skip)i), a->skipped[i]};
	for (int i = 0; i < RESULT_ERRORS; i++)
		errors[i] = (struct json_count){result_error_text((enum result_error)i),
						a->stats->errors[i]};
	rc = json_counts("skipped_by", skips, SKIPS, out);
	if (!rc)
		rc = json_counts("errors", errors, RESULT_ERRORS, out);
	if (!rc)
		rc = json_details(a->stats, out);
	return rc ? rc : json_status(a->stats, out);
}

static int json_rates(const struct account *a, struct buf *out)
{
	const struct replay_stats *st = a->stats;

	return buf_addf(out,
			",\"duration_s\":%.6f,\"rate\":%.3f,\"throughput\":%.3f,\"success\":%.6f,"
			"\"stopped\":%s",
			seconds(st), summary_rate(st), summary_throughput(st),
			summary_success(st) / 100, a->stopped ? "true" : "false");
}

int summary_json(const struct account *a, struct buf *out)
{
	const struct replay_stats *st = a->stats;
	const struct json_count counts[] = {
		{"read", a->read},
		{"sent", st->sent},
		{"failed", st->failed},
		{"failed_sent", st->failed_sent},
		{"held_back", a->held_back},
		{"skipped", account_skipped(a)},
		{"late", st->late},
		{"waited", st->waited},
		{"retried", st->retried},
		{"connections", st->connections},
		{"bytes_out", st->bytes_out},
		{"bytes_in", st->bytes_in},
	};
	int rc = buf_addf(out, "{\"run\":%lld,\"target\":", (long long)a->run);

	if (!rc)
		rc = json_text(a->target, out);
	if (!rc)
		rc = buf_add_str(out, ",\"pace\":");
	if (!rc)
		rc = json_text(a->pace, out);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]) && !rc; i++)
		rc = buf_addf(out, ",\"%s\":%llu", counts[i].name, (unsigned long long)counts[i].n);
	if (!rc && a->unkept)
		rc = buf_addf(out, ",\"unkept\":%llu", (unsigned long long)a->unkept);
	if (!rc && st->unsaid)
		rc = buf_addf(out, ",\"without_close_notify\":%llu",
			      (unsigned long long)st->unsaid);
	if (!rc && a->capped)
		rc = buf_addf(out, ",\"capped\":%llu", (unsigned long long)a->capped);
	if (!rc)
		rc = json_sets(a, out);
	if (!rc)
		rc = json_rates(a, out);
	if (!rc)
		rc = json_latency("service_us", &st->service, out);
	if (!rc)
		rc = json_latency("latency_us", &st->latency, out);
	return rc ? rc : buf_add_str(out, "}");
}

/* "1 h 05 m", "3 m 20 s", "12 s". */
static void left_text(int64_t us, char text[DURATION_TEXT])
{
	long long left = (us + 500000) / 1000000;

	if (left >= 3600)
		snprintf(text, DURATION_TEXT, "%lld h %02lld m", left / 3600, left / 60 % 60);
	else if (left >= 60)
		snprintf(text, DURATION_TEXT, "%lld m %02lld s", left / 60, left % 60);
	else
		snprintf(text, DURATION_TEXT, "%lld s", left);
}

/* -1: there is nothing to go by. A schedule ends when it ends; without one, the rest takes as long
 * as what is done did. */
static int64_t time_left(const struct progress *p)
{
	const struct replay_stats *st = p->stats;
	uint64_t done = st->sent + st->failed;

	if (p->planned_us > 0)
		return st->elapsed_us < p->planned_us ? p->planned_us - st->elapsed_us : 0;
	if (p->total == 0 || done == 0)
		return -1;
	return done < p->total ? (int64_t)((double)st->elapsed_us / (double)done *
					   (double)(p->total - done))
			       : 0;
}

int progress_line(const struct progress *p, struct buf *out)
{
	const struct replay_stats *st = p->stats;
	char p50[DURATION_TEXT], p99[DURATION_TEXT], left[DURATION_TEXT];
	int64_t left_us = time_left(p);
	int rc;

	duration_text(histogram_percentile(&st->latency, 50), p50);
	duration_text(histogram_percentile(&st->latency, 99), p99);
	rc = buf_addf(out, "%llu", (unsigned long long)st->sent);
	if (!rc && p->total)
		rc = buf_addf(out, " of %llu", (unsigned long long)p->total);
	if (!rc)
		rc = buf_addf(out,
			      " sent  %u in flight  %.0f/s  %llu late  %llu errors  p50 %s  p99 %s",
			      st->in_flight, summary_rate(st), (unsigned long long)st->late,
			      (unsigned long long)st->failed, p50, p99);
	if (rc || left_us < 0)
		return rc;
	left_text(left_us, left);
	return buf_addf(out, "  %s left", left);
}
