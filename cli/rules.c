/* SPDX-License-Identifier: Apache-2.0 */
/* Rule options to stages. */
#include "rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "cli.h"
#include "core/filter.h"
#include "core/limits.h"
#include "core/redact.h"
#include "manifest.h"

static int set_sample_by(void *to, const char *value, struct err *err)
{
	return sample_key_parse(value, to, err);
}

static int set_sample(void *to, const char *value, struct err *err)
{
	return sample_parse(value, to, err);
}

#define AT(member) offsetof(struct rule_options, member)

static int set_seed(void *to, const char *value, struct err *err)
{
	struct rule_options *o = to;

	o->seeded = true;
	return opt_number(&o->seed, value, err);
}

const struct opt rule_rows[] = {
	{"Rules (a RULE is [METHOD[,METHOD]] [HOST]PATH, PATH* a prefix, ~REGEX the whole path; terms\n"
	 "behind it must hold too: header:NAME=VALUE, query:NAME=VALUE, status:5xx, client:10.0.0.0/8)",
	 0, "route", "RULE", "take requests that match; repeatable, any of them (default: all)",
	 opt_list, AT(routes)},
	{NULL, 0, "exclude", "RULE", "leave out requests that match; repeatable, before --route",
	 opt_list, AT(excludes)},
	{NULL, 0, "rules", "FILE", "more of these, one a line: RULE, or exclude RULE; lines that begin with # are comments",
	 opt_list, AT(files)},
	{NULL, 'f', "manifest", "FILE",
	 "what this Istio or Gateway API manifest mirrors, and how much of it; repeatable", opt_list,
	 AT(manifests)},
	{NULL, 0, "sample", "P%", "let in this percentage of the requests (default: 100%)",
	 set_sample, AT(sample)},
	{NULL, 0, "sample-by", "KEY",
	 "request (default), or all of a connection, client, header:NAME, cookie:NAME, query:NAME",
	 set_sample_by, AT(sample_by)},
	{NULL, 0, "seed", "N", "of the sampling (default: by request a random one, by KEY always 0)",
	 set_seed, 0},
	{"Redaction (before anything is kept or sent)", 0, "redact", "WHAT[=HOW]",
	 "header:, cookie:, query:, form:NAME, json:PATH, secrets; mask, hash, drop; repeatable",
	 opt_list, AT(redact)},
	{NULL, 0, "redact-key-file", "FILE", "the key of =hash: equal values stay equal", opt_text,
	 AT(key_file)},
	{0},
};

const struct opt resolve_rows[] = {
	{"Manifest", 0, "resolve", "HOST[/SUBSET]=ADDR[:PORT]",
	 "where a host of the manifest is; repeatable", opt_list, AT(resolve)},
	{0},
};

void rule_defaults(struct rule_options *o)
{
	o->sample = 100;
}

static int add(struct chain *chain, struct stage *s, struct err *err)
{
	return chain_add(chain, s) ? err_set(err, SC_ENOMEM, "out of memory") : SC_OK;
}

/* One line of a rules file. */
static int add_line(struct filter *f, char *line, size_t len, unsigned *rules, struct err *err)
{
	static const char exclude[] = "exclude ", mark[] = "\xef\xbb\xbf"; /* of editors */

	if (strlen(line) != len)
		return err_set(err, SC_EINVAL, "holds a NUL");
	if (strncmp(line, mark, strlen(mark)) == 0)
		line += strlen(mark);

	line += strspn(line, " \t");
	len = strlen(line);
	while (len && strchr(" \t\r\n", line[len - 1]))
		line[--len] = '\0';
	if (!*line || *line == '#')
		return SC_OK;
	++*rules;
	if (strncmp(line, exclude, strlen(exclude)) == 0)
		return filter_exclude(f, line + strlen(exclude), err);
	return filter_route(f, line, err);
}

static int add_file(struct filter *f, const char *path, struct err *err)
{
	FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct err why;
	char *line = NULL;
	size_t room = 0;
	unsigned n = 0, rules = 0;
	ssize_t len;
	int rc = SC_OK;

	if (!in)
		return err_set(err, SC_EINVAL, "--rules: %s: %s", path, strerror(errno));
	errno = 0;
	while (!rc && (len = getline(&line, &room, in)) >= 0) {
		n++;
		rc = add_line(f, line, (size_t)len, &rules, &why);
		if (rc)
			err_set(err, rc, "%s:%u: %s", path, n, why.text);
	}
	if (!rc && ferror(in))
		rc = err_set(err, SC_EINVAL, "--rules: %s: %s", path, strerror(errno));
	if (!rc && !rules) /* everything would be meant */
		rc = err_set(err, SC_EINVAL, "--rules: %s: holds no rule", path);
	free(line);
	if (in != stdin)
		fclose(in);
	return rc;
}

static int fill_filter(const struct rule_options *o, struct filter *f, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < o->routes.n && !rc; i++)
		rc = filter_route(f, o->routes.items[i], err);
	for (unsigned i = 0; i < o->excludes.n && !rc; i++)
		rc = filter_exclude(f, o->excludes.items[i], err);
	for (unsigned i = 0; i < o->files.n && !rc; i++)
		rc = add_file(f, o->files.items[i], err);
	return rc;
}

int rules_filter(const struct rule_options *o, struct filter **ret, struct err *err)
{
	struct filter *f;
	int rc;

	*ret = NULL;
	if (!o->routes.n && !o->excludes.n && !o->files.n)
		return SC_OK;
	f = filter_new();
	if (!f)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = fill_filter(o, f, err);
	if (rc) {
		filter_free(f);
		return rc;
	}
	*ret = f;
	return SC_OK;
}

static int add_filter(const struct rule_options *o, struct rules *r, struct chain *chain,
		      struct err *err)
{
	struct filter *f;
	int rc = rules_filter(o, &f, err);

	if (rc || !f)
		return rc;
	r->selects = true;
	r->waits = r->waits || filter_waits(f);
	return add(chain, stage_filter_new(f), err);
}

static void warn(void *arg, const char *line)
{
	(void)arg;
	say("%s", line);
}

int rules_check_resolve(const struct rule_options *o, struct err *err)
{
	if (!o->resolve.n || o->manifests.n)
		return SC_OK;
	return err_set(err, SC_EINVAL, "--resolve is for the hosts of a manifest (-f FILE)");
}

int rules_policy(const struct rule_options *o, bool aloud, struct policy **ret, struct err *err)
{
	struct manifest_options options = {
		.resolve = o->resolve.items,
		.n_resolve = o->resolve.n,
		.warn = aloud ? warn : NULL,
	};

	*ret = NULL;
	if (!o->manifests.n)
		return SC_OK;
	return manifest_read(o->manifests.items, o->manifests.n, &options, ret, err);
}

static int add_policy(const struct rule_options *o, const struct policy_use *how, struct rules *r,
		      struct chain *chain, struct err *err)
{
	struct policy_use use = *how;

	use.key = o->sample_by;
	use.seed = r->seed;
	r->selects = r->selects || r->policy;
	return r->policy ? add(chain, stage_policy_new(r->policy, &use), err) : SC_OK;
}

/* A key is whatever the file holds, without the newline that editors leave at its end. */
static int read_key(const char *path, struct buf *key, struct err *err)
{
	uint8_t part[4096];
	FILE *in = fopen(path, "re");
	size_t n;
	int rc = SC_OK;

	if (!in)
		return err_set(err, SC_EINVAL, "--redact-key-file: %s: %s", path, strerror(errno));
	while (!rc && (n = fread(part, 1, sizeof(part), in)) > 0)
		rc = buf_add(key, part, n);
	if (ferror(in))
		rc = err_set(err, SC_EINVAL, "--redact-key-file: %s cannot be read", path);
	else if (rc)
		rc = err_set(err, SC_EINVAL, "--redact-key-file: %s is longer than %u bytes", path,
			     LIMIT_KEY_BYTES);
	fclose(in);
	explicit_bzero(part, sizeof(part));
	while (key->len && (key->data[key->len - 1] == '\n' || key->data[key->len - 1] == '\r'))
		key->len--;
	if (!rc && key->len == 0)
		rc = err_set(err, SC_EINVAL, "--redact-key-file: %s is empty", path);
	return rc;
}

static int fill_redaction(const struct rule_options *o, struct redaction **ret, struct err *err)
{
	struct redaction *redaction = NULL;
	struct buf key;
	int rc = SC_OK;

	buf_init(&key, LIMIT_KEY_BYTES);
	if (o->key_file)
		rc = read_key(o->key_file, &key, err);
	if (!rc) {
		redaction = redaction_new(key.len ? key.data : NULL, key.len);
		rc = redaction ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	}
	if (key.data)
		explicit_bzero(key.data, key.cap);
	buf_done(&key);
	for (unsigned i = 0; i < o->redact.n && !rc; i++)
		rc = redaction_add(redaction, o->redact.items[i], err);
	if (rc) {
		redaction_free(redaction);
		return rc;
	}
	*ret = redaction;
	return SC_OK;
}

int rules_redaction(const struct rule_options *o, struct chain *chain,
		    const struct redaction **ret, struct err *err)
{
	struct redaction *redaction;
	int rc;

	if (!o->redact.n)
		return o->key_file ? err_set(err, SC_EINVAL, "--redact-key-file without a --redact")
				   : SC_OK;
	rc = fill_redaction(o, &redaction, err);
	/* Until they are redacted this process holds the originals: no core of it on a disk. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (!rc && ret)
		*ret = redaction;
	return rc ? rc : add(chain, stage_redact_new(redaction), err);
}

void rules_redact_answer(const struct chain *c, struct result *r)
{
	static const char head[] = "GET / HTTP/1.1\r\n\r\n";
	struct exchange ex = {.sample = 100};

	if (!c->n || !r->response)
		return;
	ex.response = r->response;
	if (message_parse((const uint8_t *)head, sizeof(head) - 1, 0, &ex.request) ||
	    chain_whole(c, &ex) != VERDICT_KEEP) {
		message_free(ex.response);
		ex.response = NULL;
	}
	r->response = ex.response;
	message_free(ex.request);
}

/* By a key the same ones are always in, from one run to the next, too; by request each run throws
 * anew. Within what JSON and SQLite hold as a number. */
static uint64_t seed_of(const struct rule_options *o)
{
	uint64_t seed = 0;

	if (o->seeded || o->sample_by.by != SAMPLE_BY_REQUEST)
		return o->seed;
	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed >> 11 : (uint64_t)clock_us();
}

static int select_requests(const struct rule_options *o, const struct policy_use *use,
			   struct rules *r, struct chain *chain, struct err *err)
{
	int rc;

	r->seed = seed_of(o);
	rc = r->policy ? SC_OK : rules_policy(o, true, &r->policy, err);
	if (!rc)
		rc = add(chain, stage_marker_new(), err);
	if (!rc)
		rc = add_filter(o, r, chain, err);
	if (!rc)
		rc = add_policy(o, use, r, chain, err);
	r->selects = r->selects || o->sample < 100;
	if (!rc && o->sample < 100)
		rc = add(chain, stage_sample_new(o->sample, &o->sample_by, r->seed), err);
	return rc;
}

int rules_select(const struct rule_options *o, struct rules *r, struct chain *chain,
		 struct err *err)
{
	return select_requests(o, &(struct policy_use){.destination = -1}, r, chain, err);
}

int rules_build(const struct rule_options *o, bool change, int destination, struct rules *r,
		struct chain *chain, struct err *err)
{
	struct policy_use use = {.destination = destination, .sample = true, .change = change};
	int rc = select_requests(o, &use, r, chain, err);

	return rc ? rc : rules_redaction(o, chain, &r->redaction, err);
}

void rules_done(struct rules *r)
{
	if (!r->borrowed)
		policy_free(r->policy);
	r->policy = NULL;
}

static void describe_list(json_t *to, const char *name, const struct str_list *list)
{
	json_t *array;

	if (!list->n)
		return;
	array = json_array();
	for (unsigned i = 0; i < list->n; i++)
		json_array_append_new(array, json_string(list->items[i]));
	json_object_set_new(to, name, array);
}

void rules_describe(const struct rule_options *o, const struct rules *r, json_t *to)
{
	describe_list(to, "route", &o->routes);
	describe_list(to, "exclude", &o->excludes);
	describe_list(to, "rules", &o->files);
	describe_list(to, "manifest", &o->manifests);
	describe_list(to, "resolve", &o->resolve);
	describe_list(to, "redact", &o->redact);
	json_object_set_new(to, "sample", json_real(o->sample));
	if (o->sample == 100 && !o->manifests.n)
		return;
	json_object_set_new(to, "seed", json_integer((json_int_t)r->seed));
	json_object_set_new(to, "sample_by",
			    json_sprintf("%s%s", sample_key_kind(&o->sample_by),
					 sample_key_name(&o->sample_by)));
}

#undef AT
#define AT(member) offsetof(struct rewrite_options, member)

const struct opt rewrite_rows[] = {
	{"Rewriting", 0, "rewrite", "FROM=TO",
	 "replace a path prefix bytewise; ~REGEX=TO for a regex; repeatable", opt_list, AT(rewrites)},
	{NULL, 0, "host", "MODE",
	 "the Host sent: keep, target, shadow or a name (default: target; with a manifest keep)",
	 opt_text, AT(host)},
	{NULL, 0, "set-header", "'K: V'",
	 "set a header field, in place of those of that name; repeatable", opt_list, AT(set)},
	{NULL, 0, "add-header", "'K: V'", "add a header field; repeatable", opt_list, AT(add)},
	{NULL, 0, "remove-header", "NAME", "remove the fields of that name; repeatable", opt_list,
	 AT(remove)},
	{NULL, 0, "set-query", "K=V", "set a query parameter, in place of those of that name; repeatable",
	 opt_list, AT(set_query)},
	{NULL, 0, "remove-query", "K", "remove the query parameters of that name; repeatable", opt_list,
	 AT(remove_query)},
	{0},
};

static int add_headers(enum header_op op, const struct str_list *list, struct chain *chain,
		       struct err *err)
{
	struct stage *s;
	int rc = SC_OK;

	for (unsigned i = 0; i < list->n && !rc; i++) {
		rc = stage_header_new(op, list->items[i], &s, err);
		if (!rc)
			rc = add(chain, s, err);
	}
	return rc;
}

static int add_queries(enum query_op op, const struct str_list *list, struct chain *chain,
		       struct err *err)
{
	struct stage *s;
	int rc = SC_OK;

	for (unsigned i = 0; i < list->n && !rc; i++) {
		rc = stage_query_new(op, list->items[i], &s, err);
		if (!rc)
			rc = add(chain, s, err);
	}
	return rc;
}

int rewrites_build(const struct rewrite_options *o, enum host_mode default_mode,
		   const char *target_authority, struct chain *chain, struct err *err)
{
	enum host_mode mode = default_mode;
	const char *name = target_authority;
	struct stage *s;
	int rc = SC_OK;

	for (unsigned i = 0; i < o->rewrites.n && !rc; i++) {
		rc = stage_rewrite_new(o->rewrites.items[i], &s, err);
		if (!rc)
			rc = add(chain, s, err);
	}
	if (!rc && o->host)
		rc = host_mode_parse(o->host, &mode, err);
	if (!rc && mode != HOST_KEEP) {
		if (mode == HOST_NAME)
			name = o->host;
		rc = add(chain, stage_host_new(mode, name), err);
	}
	if (!rc)
		rc = add_headers(HEADER_REMOVE, &o->remove, chain, err);
	if (!rc)
		rc = add_headers(HEADER_SET, &o->set, chain, err);
	if (!rc)
		rc = add_headers(HEADER_ADD, &o->add, chain, err);
	if (!rc)
		rc = add_queries(QUERY_REMOVE, &o->remove_query, chain, err);
	return rc ? rc : add_queries(QUERY_SET, &o->set_query, chain, err);
}

void rewrites_describe(const struct rewrite_options *o, json_t *to)
{
	describe_list(to, "rewrite", &o->rewrites);
	describe_list(to, "set_header", &o->set);
	describe_list(to, "add_header", &o->add);
	describe_list(to, "remove_header", &o->remove);
	describe_list(to, "set_query", &o->set_query);
	describe_list(to, "remove_query", &o->remove_query);
	if (o->host)
		json_object_set_new(to, "host", json_string(o->host));
}
