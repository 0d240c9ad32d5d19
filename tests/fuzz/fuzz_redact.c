/* SPDX-License-Identifier: Apache-2.0 */
/* Any exchange through any rules. A secret that stands where a rule names it is nowhere afterwards,
 * in heads, bodies, and bodies without their codings; sizes agree with flags; the index is in step.
 *
 * Input: u8 which secret places, u8 rules, u8 how bodies are cut and coded; then for request and
 * response u16 length and the head, u16 length and the body. The secret comes in by itself: as a
 * field of the request, a member or a parameter at the front of each body. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/coding.h"
#include "core/limits.h"
#include "core/redact.h"
#include "fuzz.h"

static const char secret[] = "Zq8vKx2mW0pLr5tB";

static const char *const rules[8] = {
	"secrets",         "header:X-Key=hash", "cookie:c=drop",   "query:q=hash",
	"form:password",   "json:$..a=drop",    "json:$[*].*=hash", "secrets=drop",
};

struct plan {
	uint8_t places, rules, coding;
};

enum { PLACE_FIELD = 1, PLACE_QUERY = 2, PLACE_JSON = 4, PLACE_FORM = 8, PLACE_CUT = 16 };

/* The head: what is planted, then the input's own fields behind it. */
static void add_head(struct buf *out, const struct plan *plan, struct span head, bool request)
{
	static const char *const names[] = {"",	    "gzip",	"deflate", "br",
					    "zstd", "gzip, br", "x",	   "gzip"};
	const char *coding = names[plan->coding & 7];
	int rc = request ? buf_addf(out, "POST /?%s%s HTTP/1.1\r\n",
				    plan->places & PLACE_QUERY ? "token=" : "",
				    plan->places & PLACE_QUERY ? secret : "")
			 : buf_add_str(out, "HTTP/1.1 200 OK\r\n");

	if (!rc && request && plan->places & PLACE_FIELD)
		rc = buf_addf(out, "X-Api-Key: %s\r\n", secret);
	if (!rc && plan->places & (PLACE_JSON | PLACE_FORM))
		rc = buf_addf(out, "Content-Type: application/%s\r\n",
			      plan->places & PLACE_JSON ? "json" : "x-www-form-urlencoded");
	if (!rc && *coding)
		rc = buf_addf(out, "Content-Encoding: %s\r\n", coding);
	if (!rc)
		rc = buf_add_span(out, head);
	if (!rc)
		rc = buf_add_str(out, "\r\n\r\n");
	assert(!rc);
}

static void add_text(struct buf *out, const struct plan *plan, struct span body)
{
	int rc = SC_OK;

	if (plan->places & PLACE_JSON)
		rc = buf_addf(out, "{\"password\": \"%s\"} ", secret);
	else if (plan->places & PLACE_FORM)
		rc = buf_addf(out, "password=%s&", secret);
	if (!rc)
		rc = buf_add_span(out, body);
	assert(!rc);
}

/* The body in the codings of the head where these are known; half of the time as it is. */
static void add_body(struct message *m, const struct plan *plan, struct span body)
{
	struct codings c;
	struct buf text;

	buf_init(&text, MIB);
	add_text(&text, plan, body);
	if (!(plan->coding & 64) && codings_of(m, &c) == SC_OK)
		assert(codings_encode(&c, buf_span(&text), &m->body) == SC_OK);
	else
		assert(buf_add_span(&m->body, buf_span(&text)) == SC_OK);
	buf_done(&text);
	m->body_size = m->body.len;
	if (m->body.len && plan->places & PLACE_CUT) {
		m->body.len -= m->body.len / 4;
		m->flags |= MESSAGE_CAPPED;
		m->body_size++;
	}
}

static struct message *make(const struct plan *plan, struct rd *in, bool request)
{
	struct span head = take_bytes(in, take_u16(in)), body = take_bytes(in, take_u16(in));
	struct message *m = NULL;
	struct buf wire;

	buf_init(&wire, LIMIT_HEAD_BYTES);
	add_head(&wire, plan, head, request);
	if (message_parse(wire.data, wire.len, MIB, &m) == SC_OK)
		add_body(m, plan, body);
	buf_done(&wire);
	return m;
}

static bool holds(struct span s)
{
	return s.len && memmem(s.p, s.len, secret, sizeof(secret) - 1);
}

/* Places where nothing is looked for: field names, lines that are no fields, and values that keep a
 * message together; the input has to know the secret to put it there. */
static void check_clean(const struct message *m)
{
	static const char *const kept[] = {"Host",	 "Content-Length",   "Transfer-Encoding",
					   "Connection", "Content-Encoding", "Content-Type"};
	struct codings c;
	struct buf text;

	assert(!holds(message_target(m)) && !holds(message_span(m, m->reason)));
	for (uint32_t i = 0; i < m->n_fields; i++) {
		bool is_kept = false;

		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			is_kept = is_kept || span_case_eq(message_name(m, i), span_str(kept[k]));
		assert(is_kept || !holds(message_value(m, i)));
	}
	if (!m->body.len)
		return;
	/* What was kept can be read, to its end even where it was cut: nothing is left unseen. */
	buf_init(&text, LIMIT_DECODED_BYTES);
	assert(codings_of(m, &c) == SC_OK);
	assert(codings_decode(&c, buf_span(&m->body), false, &text) == SC_OK);
	assert(!holds(buf_span(&text)));
	buf_done(&text);
}

/* A fold behind a line that is no field counts for nothing while there is a field before it. */
static bool has_fold(const struct message *m)
{
	return memmem(m->head, m->head_len, "\n ", 2) || memmem(m->head, m->head_len, "\n\t", 2);
}

static void check_index(const struct message *m)
{
	struct message *fresh = NULL;

	assert(message_parse(m->head, m->head_len, 0, &fresh) == SC_OK);
	assert(fresh->n_fields == m->n_fields);
	for (uint32_t i = 0; i < m->n_fields; i++) {
		assert(span_eq(message_name(fresh, i), message_name(m, i)));
		assert(span_eq(message_value(fresh, i), message_value(m, i)));
	}
	message_free(fresh);
}

static void check_redacted(const struct message *m)
{
	check_finished_message(m, 128 * MIB);
	if (!has_fold(m))
		check_index(m);
	check_clean(m);
}

static struct stage *make_stage(const struct plan *plan)
{
	struct redaction *r = redaction_new("key", 3);

	assert(r);
	/* The preset is always there: it is what takes the planted ones. */
	for (unsigned i = 0; i < 8; i++) {
		if (i == 0 || plan->rules >> i & 1)
			assert(redaction_add(r, rules[i], NULL) == SC_OK);
	}
	return stage_redact_new(r);
}

/* The path as a rule: any bytes. */
static void read_rule(struct span text)
{
	struct redaction *r = redaction_new("key", 3);
	char *rule = NULL;

	assert(r && asprintf(&rule, "json:%.*s", (int)text.len, (const char *)text.p) >= 0);
	(void)redaction_add(r, rule, NULL);
	(void)redaction_add(r, rule + 5, NULL);
	free(rule);
	redaction_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct exchange *ex = exchange_new();
	struct plan plan;
	struct rd in;

	rd_init(&in, data, size);
	/* Always in a field, so that it is looked for, should the input come to know it. */
	plan.places = take_u8(&in) | PLACE_FIELD;
	plan.rules = take_u8(&in);
	plan.coding = take_u8(&in);
	assert(ex);
	ex->request = make(&plan, &in, true);
	ex->response = ex->request ? make(&plan, &in, false) : NULL;
	if (ex->request) {
		struct stage *stage = make_stage(&plan);

		if (stage->ops->whole(stage, ex) == VERDICT_KEEP) {
			check_redacted(ex->request);
			if (ex->response)
				check_redacted(ex->response);
		}
		stage_free(stage);
	}
	if (plan.places & 128)
		read_rule(take_bytes(&in, 200));
	exchange_free(ex);
	return 0;
}
