/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl replay: a store's requests to other targets, and their answers into the same store.
 * Sources that are no store, or several, become one first. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "gather.h"
#include "replay_job.h"
#include "store/store.h"

#define SUMMARY_BYTES (1u * MIB)

/* -- before --------------------------------------------------------------------------------- */

static int put_origin(void *arg, const struct addr *origin)
{
	struct job *j = arg;
	struct addr *grown = realloc(j->origins, (j->n_origins + 1) * sizeof(*grown));

	if (!grown)
		return SC_ENOMEM;
	j->origins = grown;
	j->origins[j->n_origins++] = *origin;
	return SC_OK;
}

/* Weights as parts of the whole: given for all targets or for none. */
static int share_out(struct job *j, struct err *err)
{
	double sum = 0, before = 0;
	unsigned given = 0;

	for (unsigned i = 0; i < j->n_runs; i++) {
		sum += j->runs[i].weight;
		given += j->runs[i].weight > 0;
	}
	if (given == 0)
		return SC_OK;
	for (unsigned i = 0; i < j->n_runs; i++) {
		struct run *run = &j->runs[i];

		if (run->weight == 0)
			return err_set(err, SC_EINVAL,
				       "--to %s has no weight, and others do; expected "
				       "--to %s=WEIGHT",
				       run->url, run->url);
		run->share.from = before / sum;
		before += run->weight;
		run->share.to = i + 1 == j->n_runs ? 2 : before / sum;
	}
	return SC_OK;
}

static int check_resolve(const struct job *j, struct err *err)
{
	struct target_url targets[LIMIT_TARGETS];

	/* What is said of a manifest's hosts was looked at there. */
	if (j->policy)
		return SC_OK;
	for (unsigned i = 0; i < j->n_runs; i++)
		targets[i] = j->runs[i].target;
	return connect_resolve_used(&j->args->connect, targets, j->n_runs, err);
}

static int build_chain(struct run *run, struct err *err)
{
	const struct run *first = &run->job->runs[0];
	const struct replay_args *a = run->job->args;
	struct rule_options rules = a->rules;
	int rc;

	/* All are to sample the same, or there would be no one schedule. */
	if (run != first) {
		rules.seed = first->rules.seed;
		rules.seeded = true;
	}
	/* A policy belongs to one thread, and each run has one that reads. */
	run->rules.borrowed = run == first;
	run->rules.policy = run == first ? run->job->policy : NULL;
	rc = run == first ? SC_OK : rules_policy(&rules, false, &run->rules.policy, err);
	if (!rc)
		rc = rules_build(&rules, true, run->destination, &run->rules, &run->chain, err);
	if (!rc)
		rc = rules_redaction(&rules, &run->answers, NULL, err);
	return rc ? rc
		  : rewrites_build(&a->rewrites, run->job->policy ? HOST_KEEP : HOST_TARGET,
				   run->target.authority, &run->chain, err);
}

static struct run *add_run(struct job *j, int destination)
{
	struct run *run = &j->runs[j->n_runs++];

	run->job = j;
	run->destination = destination;
	return run;
}

/* A run to a destination of the manifest. */
static int run_of_policy(struct job *j, unsigned destination, struct err *err)
{
	const struct destination *d = &j->policy->destinations[destination];
	struct run *run = add_run(j, (int)destination);
	int rc = destination_way_of(d, &j->args->connect, &run->way, err);

	if (rc)
		return rc;
	run->url = strdup(run->way.url);
	run->mirror = destination_name(d);
	return run->url && run->mirror ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
}

/* Whether a run that goes on was to there: an older program told its URL alone. */
static bool was_to(const struct resumed *before, const struct run *run)
{
	return before->mirror ? strcmp(before->mirror, run->mirror) == 0
			      : strcmp(before->target, run->url) == 0;
}

static int check_policy_runs(const struct job *j, struct err *err)
{
	uint64_t id = j->args->resume;

	if (id && !j->n_runs)
		return err_set(err, SC_EINVAL, "--resume %" PRIu64 ": that run was to %s, and the "
			       "manifest mirrors nothing there", id, j->resumed.target);
	if (id && j->n_runs > 1)
		return err_set(err, SC_EINVAL, "--resume %" PRIu64 ": that run was to %s, and of an "
			       "older program: to which of %u mirrors there is not known", id,
			       j->resumed.target, j->n_runs);
	return j->n_runs ? SC_OK : err_set(err, SC_EINVAL, "%s: mirrors nothing",
					   j->args->rules.manifests.items[0]);
}

/* Without a --to the manifest says where to: one run for each destination that it mirrors to. Of a
 * run that goes on there is but the one. */
static int runs_of_policy(struct job *j, struct err *err)
{
	const struct policy *p = j->policy;
	int rc = SC_OK;

	for (unsigned i = 0; i < p->n_destinations && !rc; i++) {
		struct run *run = &j->runs[j->n_runs];

		if (!policy_sends_to(p, i))
			continue;
		if (j->n_runs == LIMIT_TARGETS)
			return err_set(err, SC_EINVAL, "the manifest mirrors to more than %u "
				       "destinations", LIMIT_TARGETS);
		rc = run_of_policy(j, i, err);
		if (!rc && j->args->resume && !was_to(&j->resumed, run)) {
			run_done(run);
			*run = (struct run){.id = 0};
			j->n_runs--;
		}
	}
	return rc ? rc : check_policy_runs(j, err);
}

/* Where nobody says how many there may be, as many as there can. */
static int fit_connections(struct job *j, struct replay_args *a, struct err *err)
{
	unsigned wanted = replay_args_connections(a), fit = wanted;
	int rc;

	if (a->connections || a->max_in_flight)
		return open_files_allow((uint64_t)j->n_runs * wanted, err);
	rc = open_files_fit(j->n_runs, &fit, &j->open_files, err);
	if (!rc && fit < wanted)
		a->connections = j->fewer = fit;
	return rc;
}

/* What is no error, and not as a person may think. */
static void say_before(const struct job *j, const char *path)
{
	if (!j->whole)
		say("%s: a recording of it has not ended: it is still being written, or was cut off",
		    path);
	if (j->fewer && !j->args->quiet)
		say("at most %u connection%s at once%s, fewer than by default: %" PRIu64
		    " open files are allowed (more with ulimit -n)",
		    j->fewer, j->fewer > 1 ? "s" : "", j->n_runs > 1 ? " to each target" : "",
		    j->open_files);
}

/* All that can be wrong without a look at what the store holds. */
static int build_runs(struct job *j, struct replay_args *a, struct err *err)
{
	int rc = rules_policy(&a->rules, true, &j->policy, err);

	for (unsigned i = 0; i < a->to.n && !rc; i++) {
		struct run *run = add_run(j, -1);

		rc = replay_args_target(a->to.items[i], &run->url, &run->weight, err);
	}
	if (!rc && !a->to.n)
		rc = runs_of_policy(j, err);
	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = target_parse(j->runs[i].url, &j->runs[i].target, err);
	if (!rc)
		rc = fit_connections(j, a, err);
	if (!rc)
		rc = share_out(j, err);
	if (!rc)
		rc = check_resolve(j, err);
	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = build_chain(&j->runs[i], err);
	for (unsigned i = 0; i < j->n_runs && !rc && a->middleware; i++)
		rc = relay_new(a->middleware, &j->runs[i].relay, err);
	return rc;
}

/* Before anything is written, and before anything is sent. */
static int check_origins(struct job *j, struct store *in, struct err *err)
{
	int rc = SC_OK;

	if (!j->args->allow_origin)
		rc = store_origins(in, put_origin, j, err);
	if (!rc && !j->args->allow_origin && !j->n_origins)
		say("the recording does not tell where it was captured, so that is not refused");
	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = connect_build(j->runs[i].destination < 0 ? &j->args->connect
							       : &j->runs[i].way.args,
				   &j->runs[i].target, j->origins, j->n_origins,
				   &j->runs[i].connect, err);
	return rc;
}

/* How long it will take, as far as that is known beforehand. */
static void plan(struct job *j, const struct store_extent *all)
{
	const struct replay_args *a = j->args;
	int64_t from = j->from_us > all->first_us ? j->from_us : all->first_us;
	int64_t until = j->until_us && j->until_us < all->last_us ? j->until_us : all->last_us;

	if (a->loop == 0 || a->duration_us)
		return;
	if (!j->from_us && !j->until_us && !a->resume)
		j->total = all->rows * a->loop;
	if (a->pace.pace.kind == PACE_RECORDED && until > from) {
		double us = (double)(until - from) * (double)a->loop / a->pace.pace.speed;

		j->planned_us = us < (double)LIMIT_TIME_US ? (int64_t)us : LIMIT_TIME_US;
	}
}

static int cut_out(struct job *j, struct store *in, struct err *err)
{
	const struct replay_args *a = j->args;
	struct store_extent all;
	int rc = store_extent(in, &all, err);

	if (rc)
		return rc;
	j->from_us = moment_us(&a->from, all.first_us);
	j->until_us = moment_us(&a->until, all.first_us);
	if (j->from_us && j->until_us && j->from_us >= j->until_us)
		return err_set(err, SC_EINVAL, "--until is not after --from: nothing lies between");
	plan(j, &all);
	return SC_OK;
}

/* Whether the run that is to go on is the one that the arguments describe. */
static int check_resumed(const struct run *run, const char *options, struct err *err)
{
	const struct resumed *before = &run->job->resumed;
	uint64_t id = run->job->args->resume;
	struct err why;
	int rc;

	if (strcmp(before->target, run->url) != 0)
		return err_set(err, SC_EINVAL, "--resume %" PRIu64 ": that run was to %s, not to %s",
			       id, before->target, run->url);
	if (!replay_args_sampling_is_told(before->options))
		return err_set(err, SC_EINVAL, "--resume %" PRIu64 ": that run was sampled, and by an "
			       "older program: which requests were left out is not known", id);
	rc = replay_args_agree(before->options, options, &why);
	return rc ? err_set(err, rc, "--resume %" PRIu64 ": %s", id, why.text) : SC_OK;
}

/* The row of a run that goes on. */
static int open_resumed(struct job *j, struct run *run, const char *options, struct err *err)
{
	const struct replay_args *a = j->args;
	int rc = check_resumed(run, options, err);

	if (!rc && !replay_args_share(j->resumed.options, &run->share))
		rc = err_set(err, SC_EINVAL, "--resume %" PRIu64 ": that run had a weight, and of an "
			     "older program: which requests were its own is not known", a->resume);
	if (rc)
		return rc;
	run->id = (int64_t)a->resume;
	run->passes_before = j->resumed.passes;
	run->account.read = run->account.skipped[SKIP_RESUMED] = j->resumed.results;
	return store_replay_resume(j->out, run->id, a->save, &run->sink, err);
}

static int open_new(struct job *j, struct run *run, const char *options, struct err *err)
{
	int rc = store_replay_new(j->out, clock_us(), run->url, options, j->args->save, &run->id,
				  &run->sink, err);

	return rc ? rc : store_lock_run(j->out, run->id, err);
}

static int open_row(struct job *j, struct run *run, struct err *err)
{
	char *options = replay_args_describe(j->args, &run->rules, &run->share, run->mirror);
	int rc;

	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = j->args->resume ? open_resumed(j, run, options, err) : open_new(j, run, options, err);
	free(options);
	return rc ? rc : run_prepare(run, err);
}

static int open_all(struct job *j, const char *path, struct err *err)
{
	int rc = j->out ? SC_OK : store_open(path, STORE_UPDATE, &j->out, err);

	/* A handle belongs to one thread: the writer has one, and each reader. */
	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = store_open(path, STORE_READ, &j->runs[i].in, err);
	if (!rc)
		rc = check_origins(j, j->runs[0].in, err);
	if (!rc)
		rc = store_captures_ended(j->runs[0].in, &j->whole, err);
	if (!rc)
		rc = cut_out(j, j->runs[0].in, err);
	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = open_row(j, &j->runs[i], err);
	return rc;
}

/* -- sources that are no store --------------------------------------------------------------- */

static int gather_files(struct gather *g, const struct sources *files, const char *to,
			struct err *err)
{
	int rc = gather_look(g, files, to, err);

	if (!rc && !stop_wanted())
		rc = gather_run(g, to, err);
	gather_done(g);
	if (stop_wanted())
		rc = err_set(err, SC_ECLOSED,
			     "stopped while it gathered: nothing was sent, and there is no %s", to);
	if (g->args->quiet)
		return rc;
	gather_print_notes(g);
	if (!rc)
		say("gathered %" PRIu64 " exchanges of %u file%s into %s", g->account.written,
		    files->n, files->n == 1 ? "" : "s", to);
	return rc;
}

/* All that there is: this run's rules count when it sends, so that it can be resumed, and others of
 * the same store may have other rules. But what is to be redacted is so before it is on a disk. */
static int gather_all(const struct replay_args *a, const struct sources *files, struct err *err)
{
	struct convert_args args = {
		.from_format = a->from_format,
		.to_format = "store",
		.max_body = CONVERT_BODY,
		.quiet = a->quiet,
	};
	struct chain redact = {.n = 0};
	struct gather g = {
		.args = &args,
		.chain = &redact,
		.options = "{\"version\":\"" SHADOW_VERSION "\"}",
		.as_recorded = true,
		.whole = true,
	};
	struct stat file;
	int rc;

	if (lstat(a->output, &file) == 0)
		return err_set(err, SC_EINVAL, "%s: is there already; expected the path of a new "
			       "store", a->output);
	rc = rules_redaction(&a->rules, &redact, &g.redaction, err);
	if (!rc) {
		stop_install();
		rc = gather_files(&g, files, a->output, err);
		if (rc)
			store_remove(a->output);
	}
	chain_done(&redact);
	return rc;
}

/* A path whose format nobody knows is left to who opens it as a store. */
static int is_store(const struct replay_args *a, const char *path, bool *ret, struct err *err)
{
	struct convert_args args = {.from_format = a->from_format};
	struct side side = {.kind = KIND_STORE};
	int rc = source_side(&args, path, NULL, &side, err);

	if (rc && a->from_format)
		return rc;
	*ret = side.kind == KIND_STORE;
	return SC_OK;
}

static int output_missing(const struct replay_args *a, const struct sources *files,
			  struct err *err)
{
	if (a->resume && files->n > 1)
		return err_set(err, SC_EINVAL,
			       "--resume goes on with a run in one store, and there are %u sources; "
			       "expected the store that they were gathered into", files->n);
	if (files->n > 1)
		return err_set(err, SC_EINVAL, "-o is missing: %u sources are gathered into one "
			       "store, which gets the results; expected -o FILE", files->n);
	return err_set(err, SC_EINVAL, "-o is missing: '%s' is no store, and is made one that gets "
		       "the results; expected -o FILE", files->paths[0]);
}

/* *ret_path is the store that is replayed: one of the words, or -o. It is to be freed. */
static int choose_store(const struct replay_args *a, const struct operands *o, char **ret_path,
			struct err *err)
{
	struct sources files = {NULL, 0};
	const char *path = a->output;
	bool store = false;
	int rc = sources_find(o->items, o->n, &files, err);

	if (!rc && path)
		rc = gather_all(a, &files, err);
	else if (!rc && files.n == 1)
		rc = is_store(a, files.paths[0], &store, err);
	if (!rc && !path && !store)
		rc = output_missing(a, &files, err);
	if (!rc && !path)
		path = files.paths[0];
	if (!rc && !(*ret_path = strdup(path)))
		rc = err_set(err, SC_ENOMEM, "out of memory");
	sources_done(&files);
	return rc;
}

/* What a run that goes on was decides what is built for it: first of all it is looked at. */
static int look_at_resumed(struct job *j, struct replay_args *a, const struct operands *o,
			   char **ret_path, struct err *err)
{
	struct resumed *r = &j->resumed;
	int rc = choose_store(a, o, ret_path, err);

	if (!rc)
		rc = store_open(*ret_path, STORE_UPDATE, &j->out, err);
	if (!rc)
		rc = store_replay_look(j->out, (int64_t)a->resume, &r->target, &r->options,
				       &r->results, &r->passes, err);
	if (!rc)
		rc = store_lock_run(j->out, (int64_t)a->resume, err);
	if (rc)
		return rc;
	replay_args_take_seed(a, r->options);
	rc = replay_args_mirror(r->options, &r->mirror);
	return rc ? err_set(err, rc, "out of memory") : SC_OK;
}

/* -- after ---------------------------------------------------------------------------------- */

/* Answers that were counted and could not be written. */
static void count_unkept(struct job *j, struct run *run)
{
	uint64_t had = run->account.skipped[SKIP_RESUMED], kept = 0;
	uint64_t made = run->stats.sent + run->stats.failed;
	struct err unused;

	if (j->args->save == SAVE_NONE || store_replay_count(j->out, run->id, &kept, &unused))
		return;
	kept = kept > had ? kept - had : 0;
	run->account.unkept = made > kept ? made - kept : 0;
}

/* Nothing was left of a run that was to go on, but what its rules leave out: what its row says of
 * it stays. */
static int had_ended(struct job *j, const struct run *run, bool broke, bool *ret, struct err *err)
{
	*ret = false;
	if (!j->args->resume || broke || run->account.stopped || run->n_made)
		return SC_OK;
	say("nothing was left of run %" PRId64, run->id);
	return store_replay_has_ended(j->out, run->id, ret, err);
}

/* A run that `broke` has not ended, and may be resumed. */
static int conclude_run(struct job *j, unsigned i, bool broke, bool *ret_fail_on, struct err *err)
{
	struct run *run = &j->runs[i];
	struct buf json, text;
	bool ended;
	int rc;

	if (broke)
		count_unkept(j, run);
	buf_init(&json, SUMMARY_BYTES);
	buf_init(&text, SUMMARY_BYTES);
	rc = summary_json(&run->account, &json);
	if (!rc)
		rc = summary_text(&run->account, &text);
	if (!rc)
		printf("%s%.*s%s", i && !j->args->json ? "\n" : "",
		       (int)(j->args->json ? json.len : text.len),
		       (const char *)(j->args->json ? json.data : text.data),
		       j->args->json ? "\n" : "");
	if (!rc)
		rc = buf_add(&json, "", 1);
	rc = rc ? err_set(err, rc, "out of memory") : had_ended(j, run, broke, &ended, err);
	if (!rc && !ended)
		rc = store_replay_end(j->out, run->id, broke ? 0 : clock_us(),
				      (const char *)json.data, err);
	if (!rc)
		rc = report_conclude(&j->args->report, &run->account, j->n_runs > 1 ? i + 1 : 0,
				     ret_fail_on, err);
	buf_done(&json);
	buf_done(&text);
	return rc;
}

static int conclude(struct job *j, bool broke, bool *ret_fail_on, struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < j->n_runs && !rc; i++)
		rc = conclude_run(j, i, broke, ret_fail_on, err);
	/* So that the next replay knows at once where it must not send. */
	if (!rc)
		rc = store_index_origins(j->out, err);
	if (!rc && store_moved(j->out))
		rc = err_set(err, SC_EIO, "the store was removed or replaced while it was written: "
			     "the results are lost");
	return rc;
}

/* A target that answers nothing at all is no replay. */
static bool unanswered(const struct job *j)
{
	bool any = false;

	for (unsigned i = 0; i < j->n_runs && !stop_wanted(); i++) {
		const struct run *run = &j->runs[i];

		/* What a middleware answered nothing to was said where it ended. */
		any = any || (run->relayed.middleware.requests && !run->relayed.middleware.answered);
		if (run->stats.sent > 0 || run->stats.failed == 0)
			continue;
		say("no request was answered by %s", run->url);
		any = true;
	}
	return any;
}

static void job_done(struct job *j)
{
	for (unsigned i = 0; i < j->n_runs; i++)
		run_done(&j->runs[i]);
	store_close(j->out);
	policy_free(j->policy);
	free(j->origins);
	free(j->resumed.target);
	free(j->resumed.options);
	free(j->resumed.mirror);
	free(j);
}

static int replay_run_command(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct replay_args *args = options;
	struct err err = {""}, end_err = {""};
	bool fail_on = false, silent = false, begun = false, refused = false;
	char *path = NULL;
	int rc, end_rc = SC_OK;

	if (!j)
		return fail(SC_ENOMEM, &(struct err){"out of memory"});
	args->rules.resolve = args->connect.resolve;
	j->args = args;
	replay_args_name_pace(j->args, j->pace);
	rc = replay_args_check(args, &err);
	if (!rc && args->resume)
		rc = look_at_resumed(j, args, operands, &path, &err);
	if (!rc)
		rc = build_runs(j, args, &err);
	if (!rc && !path)
		rc = choose_store(args, operands, &path, &err);
	if (!rc)
		rc = open_all(j, path, &err);
	if (!rc) {
		begun = true;
		say_before(j, path);
		stop_install();
		stop_may_hurry();
		rc = job_run(j, &err);
		end_rc = conclude(j, rc != SC_OK, &fail_on, &end_err);
		silent = !rc && unanswered(j);
		refused = job_was_refused(j);
	}
	job_done(j);
	/* Gathered for a run that never began: the same command is to work another time. */
	if (path && args->output && !begun)
		store_remove(path);
	free(path);
	/* Nobody's usage is wrong if a store turns out to be damaged when requests have gone out. */
	if (rc)
		return fail(rc == SC_EINVAL && begun && !refused ? SC_EIO : rc, &err);
	if (end_rc)
		return fail(end_rc, &end_err);
	if (fail_on)
		return EXIT_FAIL_ON;
	return silent ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_replay = {
	.name = "replay",
	.usage = "SOURCE... (--to URL | -f manifest.yaml) [OPTION...]",
	.summary = "Sends the recorded requests to another target and keeps its answers.\n\n"
		   "With several --to, each is a run of its own, and gets every request; with a "
		   "weight for each\n(--to URL=90 --to URL=10) its share of the connections.\n\n"
		   "SOURCE is a store, which gets the results; or, with -o FILE, any files that "
		   "convert reads,\nalso globs: they are gathered into the new store FILE, and "
		   "that is replayed.",
	.tables = replay_tables,
	.examples =
		"  shadow-ctl replay shadow.db --to http://127.0.0.1:18102 --rewrite /httpbin=/\n"
		"  shadow-ctl replay shadow.db --to https://staging:8443 --rate 500/s "
		"--methods all\n"
		"  shadow-ctl replay shadow.db --to http://v2:8080=10 --to http://v1:8080=90 "
		"--loop 0 --duration 1h\n"
		"  shadow-ctl replay shadow.db -f virtualservice.yaml --resolve "
		"httpbin/v2=127.0.0.1:18102\n"
		"  shadow-ctl replay 'shadow-*.db' today.pcap -o run.db --to "
		"http://127.0.0.1:18102\n",
	.options_size = sizeof(struct replay_args),
	.min_operands = 1,
	.max_operands = LIMIT_SOURCES,
	.defaults = replay_defaults,
	.run = replay_run_command,
};
