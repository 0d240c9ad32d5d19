/* SPDX-License-Identifier: Apache-2.0 */
/* The options of replay: their rows, their setters, and what they come to. */
#include "replay_args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/limits.h"

/* Opened only when all others are busy. A closed loop is as wide as this says; an open one must not
 * be held up by it. */
#define DEFAULT_CONNECTIONS_MAX_PACE 64
#define DEFAULT_CONNECTIONS 1024
#define DEFAULT_TIMEOUT_US 30000000
#define DEFAULT_METHODS "GET,HEAD,OPTIONS"
#define US_PER_S INT64_C(1000000)
#define CONNECTIONS_EACH 16u /* of a worker, at least, where nobody says how many there are */

static int pace_once(struct pace_option *p, const char *name, const char *value, struct err *err)
{
	if (p->given)
		return err_set(err, SC_EINVAL, "%s and %s exclude each other", p->given, name);
	p->given = name;
	p->value = value;
	return SC_OK;
}

static int set_speed(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;
	int rc = pace_once(p, "--speed", value, err);

	return rc ? rc : pace_parse_speed(value, &p->pace.speed, err);
}

static int set_rate(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;
	int rc = pace_once(p, "--rate", value, err);

	p->pace.kind = PACE_RATE;
	return rc ? rc : pace_parse_rate(value, &p->pace, err);
}

static int set_max(void *to, const char *value, struct err *err)
{
	struct pace_option *p = to;

	p->pace.kind = PACE_MAX;
	return pace_once(p, "--max", value, err);
}

static int set_order(void *to, const char *value, struct err *err)
{
	bool *unordered = to;

	*unordered = strcmp(value, "none") == 0;
	if (!*unordered && strcmp(value, "connection") != 0)
		return err_set(err, SC_EINVAL, "'%s' is no order; expected connection or none",
			       value);
	return SC_OK;
}

static const char *const save_names[] = {
	[SAVE_NONE] = "none",
	[SAVE_STATUS] = "status",
	[SAVE_FULL] = "full",
};

static int set_save(void *to, const char *value, struct err *err)
{
	for (size_t i = 0; i < sizeof(save_names) / sizeof(save_names[0]); i++) {
		if (strcmp(value, save_names[i]) == 0) {
			*(enum save_mode *)to = (enum save_mode)i;
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "'%s'; expected none, status or full", value);
}

/* Methods are told apart by case (RFC 9110, 9.1), and none that is registered has a small letter. */
static bool is_method(const char *list, const char *p, size_t len)
{
	bool letters = false;

	if (strcmp(list, "all") == 0)
		return true;
	if (len == 3 && strncasecmp(p, "all", 3) == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] >= 'a' && p[i] <= 'z')
			return false;
		letters |= p[i] >= 'A' && p[i] <= 'Z';
	}
	return letters;
}

/* A comma-separated list of methods (tokens, RFC 9110, 5.6.2), or "all". */
int opt_methods(void *to, const char *value, struct err *err)
{
	static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789!#$%&'*+-.^_`|~";
	const char *p = value;

	for (;;) {
		size_t len = strspn(p, token);

		if (len == 0 || (p[len] != ',' && p[len] != '\0') || !is_method(value, p, len))
			return err_set(err, SC_EINVAL,
				       "'%s' is no list of methods; expected all, or names like "
				       "GET,POST",
				       value);
		if (p[len] == '\0')
			break;
		p += len + 1;
	}
	*(const char **)to = value;
	return SC_OK;
}

static int set_moment(void *to, const char *value, struct err *err)
{
	return moment_parse(value, to, err);
}

#define AT(member) offsetof(struct replay_args, member)
static const struct opt replay_rows[] = {
	{"Target", 0, "to", "URL[=WEIGHT]",
	 "where requests go: http[s]://HOST[:PORT]; repeatable, as said above",
	 opt_list, AT(to)},
	{NULL, 0, "allow-origin", NULL, "may be an address that the dataset was captured from",
	 opt_flag, AT(allow_origin)},
	{"Pace (default: as recorded)", 0, "speed", "X", "as recorded, X times as fast", set_speed,
	 AT(pace)},
	{NULL, 0, "rate", "N/s",
	 "this many a second (also N/m, N/h), or a ramp: '100..2000/s over 60s'", set_rate,
	 AT(pace)},
	{NULL, 0, "max", NULL, "as fast as the target answers", set_max, AT(pace)},
	{NULL, 0, "loop", "N", "the recording N times, 0: until it is stopped (default: 1)",
	 opt_number, AT(loop)},
	{NULL, 0, "duration", "TIME", "nothing is sent after this time (default: to the end)",
	 opt_duration, AT(duration_us)},
	{NULL, 0, "drop-late", "TIME",
	 "leave out and count what is later than this (default: it is sent)",
	 opt_duration, AT(drop_late_us)},
	{NULL, 0, "connections", "N",
	 "most connections open at once (default: 1024; with --max 64)", opt_count,
	 AT(connections)},
	{NULL, 0, "max-in-flight", "N",
	 "most requests waiting for an answer, each on a connection (default: --connections)",
	 opt_count,
	 AT(max_in_flight)},
	{NULL, 0, "timeout", "TIME", "to connect, and for each answer (default: 30s)", opt_duration,
	 AT(timeout_us)},
	{NULL, 0, "workers", "N",
	 "loops that send, each in a thread (default: one for each core and 16 connections)",
	 opt_count, AT(workers)},
	{"Sources (where it is not one store)", 'o', "output", "FILE",
	 "a new store that they are gathered into; the results go there, too", opt_text,
	 AT(output)},
	{NULL, 0, "from-format", "NAME", "of SOURCE, e.g. for '-' (standard input)", opt_text,
	 AT(from_format)},
	{"Requests", 0, "from", "TIME",
	 "recorded then or later: 2026-11-22T18:17:13Z, or +10s after the first", set_moment,
	 AT(from)},
	{NULL, 0, "until", "TIME", "recorded before: the same", set_moment, AT(until)},
	{NULL, 0, "methods", "LIST",
	 "methods that are sent, or all (default: " DEFAULT_METHODS ")", opt_methods, AT(methods)},
	{NULL, 0, "order", "ORDER", "connection: as recorded, in order on one (default); or none",
	 set_order, AT(unordered)},
	{NULL, 0, "middleware", "COMMAND",
	 "a program that each request goes through, and may change or drop it (GoReplay's protocol)",
	 opt_text, AT(middleware)},
	{"Results", 0, "save", "WHAT", "of each answer: none, status or full (default: full)",
	 set_save, AT(save)},
	{NULL, 0, "resume", "RUN",
	 "go on with a run that ended early: what has no result yet",
	 opt_count, AT(resume)},
	{NULL, 0, "json", NULL, "the summary as JSON, an object a target", opt_flag, AT(json)},
	{NULL, 0, "quiet", NULL, "no progress", opt_flag, AT(quiet)},
	{0},
};

const struct opt_table replay_tables[] = {
	{replay_rows, 0},
	{report_rows, AT(report)},
	{rule_rows, AT(rules)},
	{rewrite_rows, AT(rewrites)},
	{connect_rows, AT(connect)},
	{NULL, 0},
};
#undef AT

void replay_defaults(void *args)
{
	struct replay_args *a = args;

	a->pace.pace.speed = 1;
	a->timeout_us = DEFAULT_TIMEOUT_US;
	a->methods = DEFAULT_METHODS;
	a->save = SAVE_FULL;
	a->loop = 1;
	rule_defaults(&a->rules);
}

static int check_ceilings(const struct replay_args *a, struct err *err)
{
	if (a->connections > LIMIT_CONNECTIONS)
		return err_set(err, SC_EINVAL, "--connections: %" PRIu64 " is more than %u",
			       a->connections, LIMIT_CONNECTIONS);
	if (a->workers > LIMIT_WORKERS)
		return err_set(err, SC_EINVAL, "--workers: %" PRIu64 " is more than %u", a->workers,
			       LIMIT_WORKERS);
	if (a->to.n > LIMIT_TARGETS)
		return err_set(err, SC_EINVAL, "--to: %u targets are more than %u", a->to.n,
			       LIMIT_TARGETS);
	if (a->loop > UINT32_MAX)
		return err_set(err, SC_EINVAL, "--loop: %" PRIu64 " is more than %u", a->loop,
			       UINT32_MAX);
	return SC_OK;
}

int replay_args_check(const struct replay_args *a, struct err *err)
{
	int rc = check_ceilings(a, err);

	if (rc)
		return rc;
	if (!a->to.n && !a->rules.manifests.n)
		return err_set(err, SC_EINVAL, "--to is missing: where should the requests go? (or -f "
			       "MANIFEST, which says so)");
	if (a->drop_late_us && a->pace.pace.kind == PACE_MAX)
		return err_set(err, SC_EINVAL, "--drop-late and --max exclude each other: nothing "
					       "is late that has no time");
	if (a->resume && a->to.n > 1)
		return err_set(err, SC_EINVAL, "--resume goes on with the run of one target, and "
					       "there are %u --to",
			       a->to.n);
	if (a->resume && a->save == SAVE_NONE)
		return err_set(err, SC_EINVAL, "--resume and --save none exclude each other: what "
					       "has no result would be sent again");
	if (a->from.kind != MOMENT_NONE && a->from.kind == a->until.kind &&
	    a->from.us >= a->until.us)
		return err_set(err, SC_EINVAL, "--until is not after --from: nothing lies between");
	if (a->resume && a->output)
		return err_set(err, SC_EINVAL, "--resume goes on with a run in its store, and -o "
					       "makes a new one; expected no -o, and the store as "
					       "SOURCE");
	return report_check(&a->report, err);
}

int replay_args_target(const char *text, char **ret_url, double *ret_weight, struct err *err)
{
	const char *eq = strrchr(text, '=');
	char *url, *end = NULL;
	double weight = 0;

	if (eq) {
		weight = strtod(eq + 1, &end);
		if (end == eq + 1 || (*end != '\0' && strcmp(end, "%") != 0) || !(weight > 0) ||
		    weight > 1e9 || strpbrk(eq + 1, "xX+-nN "))
			return err_set(err, SC_EINVAL,
				       "--to %s: '%s' is no weight; expected a number over 0 like "
				       "90 or 90%%",
				       text, eq + 1);
	}
	url = strndup(text, eq ? (size_t)(eq - text) : strlen(text));
	if (!url)
		return err_set(err, SC_ENOMEM, "out of memory");
	*ret_url = url; /* moved */
	*ret_weight = weight;
	return SC_OK;
}

unsigned replay_args_connections(const struct replay_args *a)
{
	uint64_t n = a->connections;

	if (n == 0)
		n = a->pace.pace.kind == PACE_MAX ? DEFAULT_CONNECTIONS_MAX_PACE
						  : DEFAULT_CONNECTIONS;
	/* One request is in flight on a connection, so this is the same ceiling. */
	if (a->max_in_flight && a->max_in_flight < n)
		n = a->max_in_flight;
	return (unsigned)n;
}

unsigned replay_args_workers(const struct replay_args *a)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t n = a->workers ? a->workers : (uint64_t)(cores > 0 ? cores : 1);
	unsigned most = replay_args_connections(a);

	/* Each has its part of the connections: a small one would lie idle while others wait. */
	if (!a->workers && n > most / CONNECTIONS_EACH)
		n = most / CONNECTIONS_EACH ? most / CONNECTIONS_EACH : 1;
	if (n > LIMIT_WORKERS)
		n = LIMIT_WORKERS;
	return n < most ? (unsigned)n : most;
}

/* "", "Z", "+01:00": seconds east of UTC. */
static bool parse_zone(const char *text, int64_t *ret_s)
{
	static const char digits[] = "0123456789";
	int64_t s;

	*ret_s = 0;
	if (!*text || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return true;
	if ((*text != '+' && *text != '-') || strlen(text) != 6 || text[3] != ':')
		return false;
	for (int i = 1; i < 6; i++) {
		if (i != 3 && !strchr(digits, text[i]))
			return false;
	}
	s = ((text[1] - '0') * 10 + text[2] - '0') * 3600 +
	    ((text[4] - '0') * 10 + text[5] - '0') * 60;
	*ret_s = *text == '-' ? -s : s;
	return true;
}

/* ISO 8601, as shadow-ctl writes it or shorter. */
static bool parse_time(const char *text, int64_t *ret_us)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
	const char *end = NULL;
	int64_t us = 0, zone;
	int day;
	struct tm tm;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]) && !end; i++) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(text, forms[i], &tm);
	}
	if (!end || tm.tm_year < 70)
		return false;
	day = tm.tm_mday;
	if (*end == '.') {
		int64_t unit = US_PER_S;

		for (end++; *end >= '0' && *end <= '9'; end++) {
			unit /= 10;
			us += unit * (*end - '0');
		}
	}
	if (!parse_zone(end, &zone))
		return false;
	*ret_us = ((int64_t)timegm(&tm) - zone) * US_PER_S + us;
	/* timegm() makes a day of March of the 30th of February. */
	return *ret_us > 0 && tm.tm_mday == day;
}

int moment_parse(const char *text, struct moment *ret, struct err *err)
{
	struct moment m = {MOMENT_TIME, 0};
	struct err unused;

	if (text[0] == '+') {
		m.kind = MOMENT_OFFSET;
		if (opt_duration(&m.us, text + 1, &unused) == SC_OK) {
			*ret = m;
			return SC_OK;
		}
	} else if (parse_time(text, &m.us)) {
		*ret = m;
		return SC_OK;
	}
	return err_set(err, SC_EINVAL,
		       "'%s' is no time; expected one like 2026-11-22T18:17:13Z, or +10s after the "
		       "first exchange",
		       text);
}

int64_t moment_us(const struct moment *m, int64_t first_us)
{
	switch (m->kind) {
	case MOMENT_NONE:
		break;
	case MOMENT_OFFSET:
		return first_us + m->us;
	case MOMENT_TIME:
		return m->us;
	}
	return 0;
}

void replay_args_name_pace(const struct replay_args *a, char name[PACE_NAME])
{
	const struct pace *p = &a->pace.pace;

	switch (p->kind) {
	case PACE_RECORDED:
		if (p->speed == 1)
			snprintf(name, PACE_NAME, "as recorded");
		else
			snprintf(name, PACE_NAME, "recorded x%g", p->speed);
		break;
	case PACE_RATE:
		if (p->ramp_s > 0)
			snprintf(name, PACE_NAME, "%g..%g/s over %gs", p->rate, p->rate_end,
				 p->ramp_s);
		else
			snprintf(name, PACE_NAME, "%g/s", p->rate);
		break;
	case PACE_MAX:
		snprintf(name, PACE_NAME, "max");
		break;
	}
}

bool method_listed(const char *list, struct span method)
{
	if (strcmp(list, "all") == 0)
		return true;
	while (*list) {
		size_t len = strcspn(list, ",");

		if (span_eq(span_of(list, len), method))
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

static void describe_moment(json_t *to, const char *name, const struct moment *m)
{
	if (m->kind != MOMENT_NONE)
		json_object_set_new(to, name,
				    json_pack("{s:s, s:I}", "after",
					      m->kind == MOMENT_OFFSET ? "first" : "1970", "us",
					      (json_int_t)m->us));
}

char *replay_args_describe(const struct replay_args *a, const struct rules *rules,
			   const struct share *share, const char *mirror)
{
	char pace[PACE_NAME];
	json_t *all;
	char *text;

	replay_args_name_pace(a, pace);
	all = json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "pace", pace,
			"connections", (json_int_t)replay_args_connections(a), "timeout_us",
			(json_int_t)a->timeout_us, "methods", a->methods, "order",
			a->unordered ? "none" : "connection", "save", save_names[a->save],
			"workers", (json_int_t)replay_args_workers(a), "loop",
			(json_int_t)a->loop, "duration_us", (json_int_t)a->duration_us,
			"drop_late_us", (json_int_t)a->drop_late_us);
	if (!all)
		return NULL;
	if (a->middleware)
		json_object_set_new(all, "middleware", json_string(a->middleware));
	if (share->to > 0)
		json_object_set_new(all, "share",
				    json_pack("[f, f]", share->from, share->to));
	if (mirror)
		json_object_set_new(all, "mirror", json_string(mirror));
	describe_moment(all, "from", &a->from);
	describe_moment(all, "until", &a->until);
	rules_describe(&a->rules, rules, all);
	rewrites_describe(&a->rewrites, all);
	connect_describe(&a->connect, all);
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}

bool replay_args_share(const char *options, struct share *ret)
{
	json_t *all = json_loads(options, 0, NULL);
	json_t *share = json_object_get(all, "share");
	bool known = share || !json_object_get(all, "weight"); /* before there were shares */

	*ret = (struct share){json_number_value(json_array_get(share, 0)),
			      json_number_value(json_array_get(share, 1))};
	json_decref(all);
	return known;
}

int replay_args_mirror(const char *options, char **ret)
{
	json_t *all = json_loads(options, 0, NULL);
	const char *mirror = json_string_value(json_object_get(all, "mirror"));
	int rc = SC_OK;

	*ret = mirror ? strdup(mirror) : NULL;
	if (mirror && !*ret)
		rc = SC_ENOMEM;
	json_decref(all);
	return rc;
}

bool replay_args_sampling_is_told(const char *options)
{
	json_t *all = json_loads(options, 0, NULL);
	bool told = !json_object_get(all, "seed") || json_object_get(all, "sample_by");

	json_decref(all);
	return told;
}

void replay_args_take_seed(struct replay_args *a, const char *options)
{
	json_t *all = json_loads(options, 0, NULL);
	json_t *seed = json_object_get(all, "seed");

	if (seed && !a->rules.seeded) {
		a->rules.seed = (uint64_t)json_integer_value(seed);
		a->rules.seeded = true;
	}
	json_decref(all);
}

/* How fast, how wide and for how long may change when a run goes on; what is sent may not. Its share
 * stays what it was. */
static const char *const may_differ[] = {
	"pace", "connections", "timeout_us", "workers", "duration_us", "drop_late_us", "share",
};

/* As JSON, cut where it is long. */
#define VALUE_SHOWN 120u
static void show_value(const json_t *value, char text[VALUE_SHOWN])
{
	char *json = value ? json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII |
						 JSON_ENCODE_ANY) : NULL;
	int n = snprintf(text, VALUE_SHOWN, "%s", json ? json : "none");

	if ((unsigned)n >= VALUE_SHOWN)
		memcpy(text + VALUE_SHOWN - sizeof("..."), "...", sizeof("..."));
	free(json);
}

static int differs(const char *name, const json_t *before, const json_t *now, struct err *err)
{
	char was[VALUE_SHOWN], is[VALUE_SHOWN];

	show_value(before, was);
	show_value(now, is);
	return err_set(err, SC_EINVAL, "that run had other options: %s was %s, and is %s now", name, was,
		       is);
}

static int compare_options(json_t *before, json_t *now, struct err *err)
{
	const char *name;
	json_t *value;

	for (size_t i = 0; i < sizeof(may_differ) / sizeof(may_differ[0]); i++) {
		(void)json_object_del(before, may_differ[i]);
		(void)json_object_del(now, may_differ[i]);
	}
	if (!json_object_get(before, "mirror")) /* older programs told its URL alone */
		(void)json_object_del(now, "mirror");
	json_object_foreach(before, name, value) {
		const json_t *other = json_object_get(now, name);

		if (!other || !json_equal(value, other))
			return differs(name, value, other, err);
	}
	json_object_foreach(now, name, value) {
		if (!json_object_get(before, name))
			return differs(name, NULL, value, err);
	}
	return SC_OK;
}

int replay_args_agree(const char *before, const char *now, struct err *err)
{
	json_t *a = json_loads(before, 0, NULL), *b = json_loads(now, 0, NULL);
	int rc;

	if (!b)
		rc = err_set(err, SC_ENOMEM, "out of memory");
	else if (!json_is_object(a))
		rc = err_set(err, SC_EINVAL, "the options of that run are not to be read");
	else
		rc = compare_options(a, b, err);
	json_decref(a);
	json_decref(b);
	return rc;
}
