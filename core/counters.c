/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger in words. The table in the header is the only list of counters. */
#include "core/counters.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/err.h"

enum group { PACKETS, STREAMS, REQUESTS, RESPONSES, MESSAGES, GROUPS };
enum role { TOTAL, IN, PART, OUT, REST };

static const char *const group_names[GROUPS] = {
	[PACKETS] = "packets",     [STREAMS] = "streams",   [REQUESTS] = "requests",
	[RESPONSES] = "responses", [MESSAGES] = "messages",
};

static const struct {
	enum group group;
	enum role role;
	const char *name;
} rows[COUNTERS] = {
#define ROW(group, id, name, help, role) [id] = {group, role, name},
	COUNTER_TABLE(ROW)
#undef ROW
};

void counters_add(struct counters *sum, const struct counters *c)
{
	for (int i = 0; i < COUNTERS; i++)
		count_n(sum, (enum counter_id)i, counter_get(c, (enum counter_id)i));
}

/* Of a group: the total with what was carried in, and what it is made of. */
struct sides {
	uint64_t left, right;
};

static struct sides add_sides(const struct counters *c, enum group g)
{
	struct sides s = {0, 0};

	for (int i = 0; i < COUNTERS; i++) {
		uint64_t n = counter_get(c, (enum counter_id)i);

		if (rows[i].group != g)
			continue;
		if (rows[i].role == TOTAL || rows[i].role == IN)
			s.left += n;
		else if (rows[i].role == PART || rows[i].role == OUT)
			s.right += n;
	}
	return s;
}

/* Seen, and in no other row yet. An account that has more in its rows than was seen is wrong, and
 * stays so. */
static uint64_t outstanding(const struct counters *c, enum group g)
{
	struct sides s = add_sides(c, g);

	return s.left > s.right ? s.left - s.right : 0;
}

void counters_part(const struct counters *before, const struct counters *now,
		   struct counters *ret)
{
	for (int i = 0; i < COUNTERS; i++) {
		enum counter_id id = (enum counter_id)i;
		uint64_t n = counter_get(now, id) - counter_get(before, id);

		if (rows[i].role == IN)
			n = outstanding(before, rows[i].group);
		else if (rows[i].role == OUT)
			n = outstanding(now, rows[i].group);
		counter_set(ret, id, n);
	}
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

double counters_loss_percent(const struct counters *c)
{
	uint64_t missing = counter_get(c, BYTES_MISSING);

	return percent(missing, missing + counter_get(c, BYTES_SEEN));
}

double counters_ack_loss_percent(const struct counters *c)
{
	return percent(counter_get(c, ACKS_OF_GAPS), counter_get(c, ACKS));
}

int counters_json(const struct counters *c, struct buf *out)
{
	int rc = buf_add_str(out, "{");

	for (int g = 0; g < GROUPS && !rc; g++) {
		const char *comma = "";

		rc = buf_addf(out, "%s\"%s\": {", g ? ", " : "", group_names[g]);
		for (int i = 0; i < COUNTERS && !rc; i++) {
			if ((int)rows[i].group != g)
				continue;
			rc = buf_addf(out, "%s\"%s\": %" PRIu64, comma, rows[i].name,
				      counter_get(c, (enum counter_id)i));
			comma = ", ";
		}
		if (!rc && g == STREAMS)
			rc = buf_addf(out, ", \"loss_percent\": %.4f, \"ack_loss_percent\": %.4f",
				      counters_loss_percent(c), counters_ack_loss_percent(c));
		if (!rc)
			rc = buf_add_str(out, "}");
	}
	return rc ? rc : buf_add_str(out, "}");
}

/* 31 seen + 2 carried_in = 30 stored + 3 filtered */
static const char *separator(enum role role, bool first, bool first_part)
{
	if (first)
		return "";
	if (role == REST)
		return ", ";
	return first_part && role != IN ? " = " : " + ";
}

static int group_text(const struct counters *c, enum group g, struct buf *out)
{
	size_t start = out->len, named;
	bool parts = false;
	int rc = buf_addf(out, "%-10s", group_names[g]);

	named = out->len;

	for (int i = 0; i < COUNTERS && !rc; i++) {
		uint64_t n = counter_get(c, (enum counter_id)i);

		if (rows[i].group != g || (n == 0 && rows[i].role != TOTAL))
			continue;
		rc = buf_addf(out, "%s%" PRIu64 " %s",
			      separator(rows[i].role, out->len == named, !parts), n,
			      rows[i].name);
		parts = parts || rows[i].role == PART || rows[i].role == OUT;
	}
	if (!rc && g == STREAMS &&
	    (counter_get(c, BYTES_MISSING) || counter_get(c, ACKS_OF_GAPS)))
		rc = buf_addf(out, ", loss %.4f%% of bytes, %.4f%% of acks",
			      counters_loss_percent(c), counters_ack_loss_percent(c));
	if (!rc && out->len == named) {
		out->len = start; /* a group of zeros */
		return SC_OK;
	}
	return rc ? rc : buf_add_str(out, "\n");
}

int counters_text(const struct counters *c, struct buf *out)
{
	int rc = SC_OK;

	for (int g = 0; g < GROUPS && !rc; g++)
		rc = group_text(c, (enum group)g, out);
	return rc;
}

int counters_check(const struct counters *c, const char **ret_group)
{
	for (int g = 0; g < GROUPS; g++) {
		struct sides s = add_sides(c, (enum group)g);

		if (s.left != s.right) {
			*ret_group = group_names[g];
			return SC_EINVAL;
		}
	}
	return SC_OK;
}
