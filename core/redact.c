/* SPDX-License-Identifier: Apache-2.0 */
/* The redaction stage: runs an exchange through the rules, looks for what they took in the rest of
 * it, and changes it once all of that is known. What it replaces, and every byte it worked on, is
 * overwritten. */
#include "core/redact.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "redact_work.h"
#include "wipe.h"

#define EDITS_KEPT 4096u /* places kept ready for the next exchange */

struct redaction *redaction_new(const void *key, size_t key_len)
{
	struct redaction *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->json = json_paths_new();
	if (key && key_len)
		r->mac = secret_mac_new(key, key_len);
	if (!r->json || (key && key_len && !r->mac)) {
		redaction_free(r);
		return NULL;
	}
	return r;
}

static void part_free(struct part *p)
{
	edits_done(&p->head);
	edits_done(&p->trailer);
	edits_done(&p->body);
	wipe_done(&p->decoded);
}

void redaction_free(struct redaction *r)
{
	if (!r)
		return;
	names_done(&r->headers);
	names_done(&r->cookies);
	names_done(&r->params);
	names_done(&r->fields);
	json_paths_free(r->json);
	secret_mac_free(r->mac);
	part_free(&r->parts[0]);
	part_free(&r->parts[1]);
	free(r->needles.list);
	redact_arena_free(&r->arena);
	free(r);
}

int redaction_add(struct redaction *r, const char *text, struct err *err)
{
	return redact_rules_add(r, text, err);
}

uint64_t redaction_closed(const struct redaction *r)
{
	return r->closed;
}

static int apply_rules(struct redaction *r, struct part *p)
{
	struct message *m = p->m;
	int rc = m->status ? SC_OK : redact_target(r, p);

	if (!rc)
		rc = redact_fields(r, m->head, m->head_len, m->fields, m->n_fields, &p->head);
	if (!rc)
		rc = redact_fields(r, m->trailer, m->trailer_len, m->trailer_fields,
				   m->n_trailer_fields, &p->trailer);
	return rc ? rc : redact_body_rules(r, p);
}

/* A request line needs a target. */
static void keep_target(struct part *p)
{
	struct slice t = p->m->target;
	size_t len = t.len;
	struct edit *first = NULL;

	for (size_t i = 0; i < p->head.n; i++) {
		struct edit *e = &p->head.list[i];

		if (e->off < t.off || e->off >= t.off + t.len)
			continue;
		first = first ? first : e;
		len += e->ins.len - e->del;
	}
	if (first && len == 0)
		first->ins = span_str("/");
}

static int finish(struct redaction *r, struct exchange *ex, struct part *p)
{
	struct message *m = p->m;
	int rc = redact_body_finish(r, ex, p);

	edits_settle(&p->head);
	edits_settle(&p->trailer);
	keep_target(p);
	if (!rc && p->head.n)
		rc = message_edit_head(m, p->head.list, p->head.n);
	if (!rc && p->trailer.n)
		rc = message_edit_trailer(m, p->trailer.list, p->trailer.n);
	if (!rc && p->drop_lines)
		wipe_done(&m->chunk_lines);
	return rc;
}

static int redact(struct redaction *r, struct exchange *ex)
{
	int rc = SC_OK;

	for (int i = 0; i < 2 && !rc; i++)
		rc = r->parts[i].m ? apply_rules(r, &r->parts[i]) : SC_OK;
	if (!rc && r->needles.n)
		echo_prepare(&r->needles);
	for (int i = 0; i < 2 && !rc && r->needles.n; i++)
		rc = r->parts[i].m ? echo_part(r, &r->parts[i]) : SC_OK;
	for (int i = 0; i < 2 && !rc; i++)
		rc = r->parts[i].m ? finish(r, ex, &r->parts[i]) : SC_OK;
	return rc;
}

/* An exchange that could not be redacted: nothing of it is left to leak. */
static void empty(struct message *m)
{
	if (!m)
		return;
	explicit_bzero(m->head, m->head_room);
	m->n_fields = 0;
	if (m->trailer_len)
		explicit_bzero(m->trailer, m->trailer_len);
	m->n_trailer_fields = 0;
	wipe_done(&m->body);
	wipe_done(&m->chunk_lines);
}

/* Whether there was anything secret in it. */
static bool worked_on(const struct redaction *r)
{
	bool edited = r->needles.n > 0;

	for (int i = 0; i < 2; i++) {
		const struct part *p = &r->parts[i];

		edited = edited || p->closed || p->head.n || p->trailer.n || p->body.n;
	}
	return edited;
}

static void clear(struct redaction *r)
{
	for (int i = 0; i < 2; i++) {
		struct part *p = &r->parts[i];

		wipe_done(&p->decoded);
		p->text = span_of(NULL, 0);
		p->m = NULL;
		if (p->head.room + p->trailer.room + p->body.room > EDITS_KEPT)
			part_free(p);
	}
	r->needles.n = 0;
	if (r->needles.room > EDITS_KEPT) {
		free(r->needles.list);
		r->needles.list = NULL;
		r->needles.room = 0;
	}
	redact_arena_clear(&r->arena);
}

static enum verdict redact_whole(struct stage *st, struct exchange *ex)
{
	struct redaction *r = (struct redaction *)st;
	bool worked;
	int rc;

	redact_body_begin(&r->parts[0], ex->request);
	redact_body_begin(&r->parts[1], ex->response);
	rc = redact(r, ex);
	worked = rc || worked_on(r);
	clear(r);
	if (rc) {
		empty(ex->request);
		empty(ex->response);
	}
	if (worked)
		wipe_traces();
	return rc ? VERDICT_ERROR : VERDICT_KEEP;
}

static void redact_free(struct stage *st)
{
	redaction_free((struct redaction *)st);
}

static const struct stage_ops redact_ops = {
	.name = "redact",
	.whole = redact_whole,
	.free = redact_free,
};

struct stage *stage_redact_new(struct redaction *r)
{
	if (!r)
		return NULL;
	r->stage.ops = &redact_ops;
	return &r->stage;
}
