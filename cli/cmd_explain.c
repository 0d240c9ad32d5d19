/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl explain: which rule takes a request, and what it becomes. Sends nothing and throws no
 * dice: percentages are told, not applied. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "asked.h"
#include "cli.h"
#include "core/json.h"
#include "core/limits.h"
#include "replay/shot.h"
#include "rules.h"
#include "store/store.h"
#include "table.h"

struct explain_options {
	struct rule_options rules;
	struct rewrite_options rewrites;
	struct asked asked;
	const char *to;
	bool json;
};

#define AT(member) offsetof(struct explain_options, member)

static const struct opt explain_rows[] = {
	{"Request", 'X', "request", "METHOD", "its method (default: GET, with data POST)", opt_text,
	 AT(asked.method)},
	{NULL, 'H', "header", "'K: V'", "a header field of it; repeatable", opt_list,
	 AT(asked.headers)},
	{NULL, 'd', "data", "TEXT", "its body", opt_text, AT(asked.data)},
	{NULL, 0, "client", "ADDRESS", "who sends it, for client: terms", opt_text, AT(asked.client)},
	{"Target", 0, "to", "URL", "where it would be sent (default: what the manifest says)", opt_text,
	 AT(to)},
	{"Output", 0, "json", NULL, "JSON: an object, of a store an array", opt_flag, AT(json)},
	{0},
};

static const struct opt_table explain_tables[] = {
	{explain_rows, 0},
	{rule_rows, AT(rules)},
	{resolve_rows, AT(rules)},
	{rewrite_rows, AT(rewrites)},
	{0},
};

static void explain_defaults(void *options)
{
	rule_defaults(&((struct explain_options *)options)->rules);
}

struct job {
	const struct explain_options *o;
	struct filter *filter;	/* NULL: everything is meant */
	struct policy *policy;	/* NULL: no manifest */
	struct chain redact, rewrites;
	char authority[512]; /* of --to */
};

/* What is said of one request. Borrows from job and exchange. */
struct answer {
	bool taken;
	const char *why;   /* not taken; or NULL */
	const char *rule;  /* that decided; NULL: none did */
	const char *place; /* in its manifest; or NULL */
	const struct policy_rule *mesh;
	const struct policy_block *block;
	double percent;
};

/* 12 digits: what percentages of percentages leave behind them is no news. */
static double tidy(double percent)
{
	return round(percent * 1e9) / 1e9;
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool ends_in(const char *text, const char *tail)
{
	size_t len = strlen(text), n = strlen(tail);

	return len >= n && strcasecmp(text + len - n, tail) == 0;
}

static bool is_manifest(const char *path)
{
	return ends_in(path, ".yaml") || ends_in(path, ".yml") || ends_in(path, ".json");
}

static bool is_store(const char *path)
{
	char magic[16] = "";
	FILE *f = is_file(path) ? fopen(path, "re") : NULL;
	bool found = f && fread(magic, 1, sizeof(magic), f) == sizeof(magic) &&
		     memcmp(magic, "SQLite format 3", sizeof(magic)) == 0;

	if (f)
		fclose(f);
	return found || (is_file(path) && ends_in(path, ".db"));
}

/* RULES is a manifest, a file of rules, or one rule. */
static int add_rules(struct rule_options *o, const char *text, struct err *err)
{
	if (is_manifest(text))
		return opt_list(&o->manifests, text, err);
	if (!is_file(text) && !strpbrk(text, "/~*"))
		return err_set(err, SC_EINVAL, "RULES '%s': there is no such file, and it is no rule",
			       text);
	return opt_list(is_file(text) ? &o->files : &o->routes, text, err);
}

/* Whatever the rules say. */
static const char *never_sent(const struct exchange *ex)
{
	enum skip skip = SKIP_NONE;
	struct shot *shot = NULL;

	if (shot_new(ex, NULL, &shot, &skip) == SC_OK)
		shot_free(shot);
	return skip == SKIP_CONNECT || skip == SKIP_UPGRADE ? skip_help(skip) : NULL;
}

static int judge(const struct job *j, const struct exchange *ex, struct answer *ret)
{
	const struct policy_block *b = NULL;
	struct subject s;

	*ret = (struct answer){.percent = j->o->rules.sample};
	if (j->filter && !filter_takes(j->filter, ex, ex->id != 0, &ret->rule)) {
		ret->why = ret->rule ? "left out by an exclude" : "no route takes it";
		return SC_OK;
	}
	if (j->policy) {
		subject_of(ex, &s);
		b = policy_match(j->policy, &s);
		if (!b) {
			ret->why = "no rule of the manifest takes it";
			return SC_OK;
		}
		ret->block = b;
		ret->mesh = b->parent;
		ret->rule = b->parent->name;
		ret->place = b->parent->place;
		ret->percent = tidy(ret->percent * policy_percent(b->parent, -1) / 100);
	}
	if (ret->percent <= 0)
		ret->why = ret->mesh && !ret->mesh->n_mirrors ? "its rule mirrors nothing"
							       : "its percentage is 0";
	if (!ret->why)
		ret->why = never_sent(ex);
	ret->taken = !ret->why;
	return SC_OK;
}

/* The rules have seen the original; what is shown of it has not its secrets any more. */
static int hide(const struct job *j, struct exchange *ex, struct err *err)
{
	if (chain_whole(&j->redact, ex) == VERDICT_KEEP)
		return SC_OK;
	return err_set(err, SC_EIO, "the request cannot be redacted");
}

/* The request as it would go out. */
static int change(const struct job *j, const struct answer *a, struct exchange *ex,
		  struct err *err)
{
	enum verdict v = a->block ? chain_whole(&a->block->change, ex) : VERDICT_KEEP;

	if (v == VERDICT_KEEP)
		v = chain_whole(&j->rewrites, ex);
	return v == VERDICT_KEEP ? SC_OK : err_set(err, SC_EIO, "the request cannot be changed so");
}

/* scheme://address:port of a mirror's target, its first endpoint if it has any. */
static void destination_url(const struct destination *d, char *to, size_t room)
{
	const char *address = d->n_endpoints ? d->endpoints[0].address : d->host;
	unsigned port = d->n_endpoints ? d->endpoints[0].port : d->to_port;
	bool v6 = strchr(address, ':') != NULL;

	snprintf(to, room, "%s://%s%s%s:%u", d->tls ? "https" : "http", v6 ? "[" : "", address,
		 v6 ? "]" : "", port);
}

/* Every target as text: "host/subset at URL (50%)" for people. */
static int targets_text(const struct job *j, const struct answer *a, struct buf *out)
{
	char url[512];
	int rc = SC_OK;

	if (j->o->to)
		return buf_add_str(out, j->o->to);
	for (unsigned i = 0; a->mesh && i < a->mesh->n_mirrors && !rc; i++) {
		const struct mirror *m = &a->mesh->mirrors[i];
		const struct destination *d = &j->policy->destinations[m->destination];

		destination_url(d, url, sizeof(url));
		rc = buf_addf(out, "%s%s (%s%s%s, %.8g%%)", i ? ", " : "",
			      d->unknown ? "not known" : url, d->host, d->subset ? "/" : "",
			      d->subset ? d->subset : "", tidy(m->percent * j->o->rules.sample / 100));
	}
	return rc;
}

static json_t *targets_json(const struct job *j, const struct answer *a)
{
	json_t *list = json_array();
	char url[512];

	if (j->o->to)
		json_array_append_new(list, json_pack("{s:s, s:f}", "url", j->o->to, "percent",
						      a->percent));
	for (unsigned i = 0; !j->o->to && a->mesh && i < a->mesh->n_mirrors; i++) {
		const struct mirror *m = &a->mesh->mirrors[i];
		const struct destination *d = &j->policy->destinations[m->destination];

		destination_url(d, url, sizeof(url));
		json_array_append_new(list, json_pack("{s:s?, s:s, s:s?, s:f}", "url",
						      d->unknown ? NULL : url, "host", d->host, "subset", d->subset, "percent",
						      tidy(m->percent * j->o->rules.sample / 100)));
	}
	return list;
}

static json_t *text_json(struct span s)
{
	struct buf b;
	json_t *v = NULL;

	if (utf8_valid(s))
		return json_stringn((const char *)s.p, s.len);
	buf_init(&b, 8u * LIMIT_HEAD_BYTES);
	if (table_shown(&b, s) == SC_OK)
		v = json_stringn((const char *)b.data, b.len);
	buf_done(&b);
	return v;
}

/* The first line without its end. */
static struct span first_line(const struct message *m)
{
	const uint8_t *nl = memchr(m->head, '\n', m->head_len);
	size_t n = nl ? (size_t)(nl - m->head) : m->head_len;

	return span_of(m->head, n && m->head[n - 1] == '\r' ? n - 1 : n);
}

static json_t *headers_json(const struct message *m)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < m->n_fields; i++)
		json_array_append_new(list, json_pack("[o, o]", text_json(message_name(m, i)),
						      text_json(message_value(m, i))));
	return list;
}

static json_t *answer_json(const struct job *j, const struct answer *a, json_t *asked,
			   const struct exchange *ex)
{
	json_t *o = json_pack("{s:o, s:b}", "request", asked, "taken", a->taken);

	if (ex->id)
		json_object_set_new(o, "exchange_id", json_integer(ex->id));
	if (a->why)
		json_object_set_new(o, "why", json_string(a->why));
	json_object_set_new(o, "rule", a->rule ? json_string(a->rule) : json_null());
	if (a->place)
		json_object_set_new(o, "place", json_string(a->place));
	json_object_set_new(o, "percent", json_real(a->taken ? a->percent : 0));
	if (!a->taken)
		return o;
	json_object_set_new(o, "targets", targets_json(j, a));
	json_object_set_new(o, "request_line", text_json(first_line(ex->request)));
	json_object_set_new(o, "headers", headers_json(ex->request));
	return o;
}

static int print_row(const char *name, struct span text)
{
	struct buf shown;
	int rc;

	buf_init(&shown, 8u * LIMIT_HEAD_BYTES);
	rc = table_shown(&shown, text);
	if (!rc)
		printf("%-12s%.*s\n", name, (int)shown.len, (const char *)shown.data);
	buf_done(&shown);
	return rc;
}

static int print_text(const struct job *j, const struct answer *a, const struct exchange *ex)
{
	struct buf targets;
	char percent[64];
	int rc = SC_OK;

	if (a->rule)
		rc = print_row("rule", span_str(a->rule));
	if (!rc && a->place)
		rc = print_row("", span_str(a->place));
	if (!rc && a->taken && !ex->id && j->filter && filter_waits(j->filter))
		rc = print_row("", span_str("what status: asks for is known with the response"));
	if (a->why) {
		printf("%-12sno: %s\n", "taken", a->why);
		return rc;
	}
	snprintf(percent, sizeof(percent), "%.8g%%", a->percent);
	buf_init(&targets, MIB);
	if (!rc && !a->rule)
		rc = print_row("rule", span_str("none: everything is taken"));
	if (!rc)
		rc = print_row("percentage", span_str(percent));
	if (!rc)
		rc = targets_text(j, a, &targets);
	if (!rc && targets.len)
		rc = print_row("target", buf_span(&targets));
	if (!rc)
		rc = print_row("request", first_line(ex->request));
	for (uint32_t i = 0; i < ex->request->n_fields && !rc; i++) {
		const struct field *f = &ex->request->fields[i];

		rc = print_row("", span_of(ex->request->head + f->name.off,
					   f->value.off + f->value.len - f->name.off));
	}
	buf_done(&targets);
	return rc;
}

static int explain_one(struct job *j, struct exchange *ex, struct err *err)
{
	json_t *asked = NULL, *o;
	struct answer a;
	int rc = judge(j, ex, &a);

	if (!rc)
		rc = hide(j, ex, err);
	if (!rc)
		asked = text_json(first_line(ex->request));
	if (!rc && a.taken)
		rc = change(j, &a, ex, err);
	if (rc) {
		json_decref(asked);
		return rc;
	}
	if (!j->o->json) {
		json_decref(asked);
		return print_text(j, &a, ex);
	}
	o = answer_json(j, &a, asked, ex);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
	return SC_OK;
}

static int row_text(struct table *t, const char *s)
{
	return table_cell(t, s ? CELL_TEXT : CELL_NULL, span_str(s ? s : ""));
}

static int table_row(struct job *j, struct table *t, struct exchange *ex, struct err *err)
{
	struct answer a;
	struct buf text;
	int rc = judge(j, ex, &a);

	buf_init(&text, MIB);
	if (!rc)
		rc = hide(j, ex, err);
	if (!rc)
		rc = buf_addf(&text, "%lld", (long long)ex->id);
	if (!rc)
		rc = table_cell(t, CELL_INTEGER, buf_span(&text));
	if (!rc)
		rc = table_cell(t, CELL_TEXT, first_line(ex->request));
	if (!rc)
		rc = row_text(t, a.rule);
	buf_clear(&text);
	if (!rc)
		rc = buf_addf(&text, "%.8g", a.taken ? a.percent : 0);
	if (!rc)
		rc = table_cell(t, CELL_REAL, buf_span(&text));
	buf_clear(&text);
	if (!rc && a.taken)
		rc = change(j, &a, ex, err);
	if (!rc && a.taken)
		rc = targets_text(j, &a, &text);
	if (!rc)
		rc = table_cell(t, text.len ? CELL_TEXT : CELL_NULL, buf_span(&text));
	if (!rc)
		rc = a.taken ? table_cell(t, CELL_TEXT, first_line(ex->request)) : row_text(t, a.why);
	buf_done(&text);
	return rc;
}

static int json_row(struct job *j, unsigned n, struct exchange *ex, struct err *err)
{
	fputs(n ? ",\n" : "", stdout);
	return explain_one(j, ex, err);
}

static int explain_all(struct job *j, struct source *source, struct err *err)
{
	static const char *const columns[] = {"id",	 "request", "rule",
					      "percent", "target",  "becomes"};
	struct table *t = j->o->json ? NULL : table_new(stdout, TABLE_TEXT, 6, columns);
	struct exchange *ex;
	unsigned n = 0;
	int rc = t || j->o->json ? 1 : SC_ENOMEM;

	if (j->o->json)
		fputs("[", stdout);
	while (rc == 1 && (rc = source_next(source, &ex, err)) == 1) {
		int failed = j->o->json ? json_row(j, n, ex, err) : table_row(j, t, ex, err);

		exchange_free(ex);
		n++;
		if (failed)
			rc = failed;
	}
	if (!rc && j->o->json)
		fputs("]\n", stdout);
	else if (!rc)
		rc = table_finish(t);
	table_free(t);
	return rc;
}

static int explain_store(struct job *j, const char *path, struct err *err)
{
	struct source *source = NULL;
	struct store *st = NULL;
	int rc = store_open(path, STORE_READ, &st, err);

	if (!rc)
		rc = store_source_new(st, 0, STORE_EXCHANGES, &source, err);
	if (!rc)
		rc = explain_all(j, source, err);
	source_free(source);
	store_close(st);
	return rc;
}

static int prepare(struct job *j, struct rule_options *rules, struct err *err)
{
	const char *at = j->o->to ? strstr(j->o->to, "://") : NULL;
	enum host_mode mode = j->o->to && !rules->manifests.n ? HOST_TARGET : HOST_KEEP;
	int rc = SC_OK;

	if (j->o->to && (!at || !at[3]))
		return err_set(err, SC_EINVAL, "--to '%s': expected http://HOST[:PORT] or https://...",
			       j->o->to);
	if (at)
		snprintf(j->authority, sizeof(j->authority), "%.*s", (int)strcspn(at + 3, "/?#"), at + 3);
	rc = rules_check_resolve(rules, err);
	if (!rc)
		rc = rules_filter(rules, &j->filter, err);
	if (!rc)
		rc = rules_policy(rules, true, &j->policy, err);
	if (!rc)
		rc = rules_redaction(rules, &j->redact, NULL, err);
	return rc ? rc : rewrites_build(&j->o->rewrites, mode, j->authority, &j->rewrites, err);
}

/* Of several operands the first is RULES, unless it is curl. */
static int explain_operands(struct job *j, struct rule_options *rules,
			    const struct operands *operands, struct err *err)
{
	const char *const *words = operands->items;
	unsigned n = (unsigned)operands->n;
	struct exchange *ex;
	int rc = SC_OK;

	if (n > 1 && strcmp(words[0], "curl") != 0) {
		rc = add_rules(rules, words[0], err);
		words++;
		n--;
	}
	if (!rc)
		rc = prepare(j, rules, err);
	if (rc)
		return rc;
	if (n == 1 && is_store(words[0]))
		return explain_store(j, words[0], err);
	if (n > 1 && strcmp(words[0], "curl") == 0) {
		words++;
		n--;
	}
	if (n > 1)
		return err_set(err, SC_EINVAL, "explain: one request at a time ('%s'): quote it as one "
			       "word", words[1]);
	rc = asked_exchange(&j->o->asked, words, n, &ex, err);
	if (rc)
		return rc;
	rc = explain_one(j, ex, err);
	exchange_free(ex);
	return rc;
}

static int explain_run(void *options, const struct operands *operands)
{
	struct explain_options *o = options;
	struct job j = {.o = o};
	struct err err = {"out of memory"};
	int rc = explain_operands(&j, &o->rules, operands, &err);

	filter_free(j.filter);
	chain_done(&j.redact);
	chain_done(&j.rewrites);
	policy_free(j.policy);
	return rc ? fail(rc, &err) : EXIT_DONE;
}

const struct command command_explain = {
	.name = "explain",
	.usage = "[RULES] (REQUEST | STORE) [OPTION...]",
	.summary = "Says which rule takes a request, where it would go, and what it would become.",
	.tables = explain_tables,
	.examples =
		"  shadow-ctl explain virtualservice.yaml 'GET http://httpbin/httpbin/get?a=1'\n"
		"  shadow-ctl explain --route '/api/*' --rewrite /api=/ shadow.db\n",
	.options_size = sizeof(struct explain_options),
	.min_operands = 1,
	.max_operands = 16,
	.defaults = explain_defaults,
	.run = explain_run,
};
