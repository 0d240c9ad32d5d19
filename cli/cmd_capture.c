/* SPDX-License-Identifier: Apache-2.0 */
/* shadow-ctl capture: packets | rules | store. This thread parses; another one writes. Live, a full
 * queue between them drops the newest exchange and counts it; from a file it waits. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "capture/capture.h"
#include "cli.h"
#include "core/limits.h"
#include "core/queue.h"
#include "privilege.h"
#include "rules.h"
#include "store/store.h"

#define NULL_SINK "null:"
#define REPORT_US 1000000ll        /* on a terminal */
#define REPORT_PLAIN_US 10000000ll /* otherwise */
#define WRITER_WAIT_MS 200

struct capture_args {
	struct str_list interfaces;
	const char *file, *output, *bpf, *user;
	uint16_t ports[LIMIT_PORTS];
	uint64_t n_ports;
	uint64_t snaplen, ring, max_body, memory, count;
	int64_t duration;
	bool follow, quiet, json;
	struct rule_options rules;
};

static int set_ports(void *to, const char *value, struct err *err)
{
	struct capture_args *a = to;

	for (const char *at = value; ; at++) {
		char *end;
		unsigned long port = strtoul(at, &end, 10);

		if (end == at || port < 1 || port > 65535 || (*end && *end != ','))
			return err_set(err, SC_EINVAL, "'%s' is not a list of ports (expected e.g. "
				       "80,8080)", value);
		if (a->n_ports == LIMIT_PORTS)
			return err_set(err, SC_EINVAL, "more than %u ports", LIMIT_PORTS);
		a->ports[a->n_ports++] = (uint16_t)port;
		at = end;
		if (!*at)
			return SC_OK;
	}
}

/* Twice would leave out one of them in silence. */
static int set_file(void *to, const char *value, struct err *err)
{
	const char **file = to;

	if (*file)
		return err_set(err, SC_EINVAL, "'%s' and '%s': only one file at a time", *file, value);
	*file = value;
	return SC_OK;
}

static int set_ring(void *to, const char *value, struct err *err)
{
	uint64_t v = 0;
	int rc = opt_size(&v, value, err);

	if (!rc && (v < MIB || v > INT32_MAX)) /* libpcap takes an int */
		rc = err_set(err, SC_EINVAL, "'%s': expected 1M to 2047M", value);
	if (!rc)
		*(uint64_t *)to = v;
	return rc;
}

static int set_memory(void *to, const char *value, struct err *err)
{
	uint64_t v = 0;
	int rc = opt_size(&v, value, err);

	if (!rc && v < MIB)
		rc = err_set(err, SC_EINVAL, "'%s': expected 1M or more", value);
	if (!rc)
		*(uint64_t *)to = v;
	return rc;
}

static int set_snaplen(void *to, const char *value, struct err *err)
{
	uint64_t v = 0;
	int rc = opt_count(&v, value, err);

	if (!rc && (v < 64 || v > LIMIT_SNAPLEN))
		rc = err_set(err, SC_EINVAL, "'%s': expected 64..%u bytes", value, LIMIT_SNAPLEN);
	if (!rc)
		*(uint64_t *)to = v;
	return rc;
}

#define AT(member) offsetof(struct capture_args, member)

static const struct opt capture_rows[] = {
	{"Source", 'i', "interface", "IFACE", "sniff this interface; repeatable ('any': all of them)",
	 opt_list, AT(interfaces)},
	{NULL, 'r', "read", "FILE", "read a capture file, pcap or pcapng, also gzip ('-': stdin)",
	 set_file, AT(file)},
	{NULL, 0, "follow", NULL, "go on reading as the file grows, until ^C", opt_flag, AT(follow)},
	{"Sink", 'o', "output", "SINK", "a store's path (default: shadow.db); 'null:' only counts",
	 opt_text, AT(output)},
	{"Limits", 0, "port", "LIST", "only these TCP ports (default: HTTP is recognised on any)",
	 set_ports, 0},
	{NULL, 0, "bpf", "EXPR", "only packets that this libpcap filter takes", opt_text, AT(bpf)},
	{NULL, 0, "snaplen", "BYTES", "of each packet, live (default: 262144)", set_snaplen,
	 AT(snaplen)},
	{NULL, 0, "buffer", "SIZE", "kernel ring of each interface (default: 64M)", set_ring, AT(ring)},
	{NULL, 0, "max-body", "SIZE", "kept of one body; the rest is counted (default: 1M)", opt_size,
	 AT(max_body)},
	{NULL, 0, "memory", "SIZE", "for messages under way (default: 256M)", set_memory, AT(memory)},
	{NULL, 0, "duration", "TIME", "stop after this time, e.g. 30s (of a file: packet time)",
	 opt_duration, AT(duration)},
	{NULL, 0, "count", "N", "stop after this many exchanges", opt_count, AT(count)},
	{NULL, 0, "user", "NAME", "become this user once the sources are open (default: sudo's)", opt_text,
	 AT(user)},
	{"Output", 0, "quiet", NULL, "only errors on stderr", opt_flag, AT(quiet)},
	{NULL, 0, "json", NULL, "the ledger on stdout as JSON at the end", opt_flag, AT(json)},
	{0},
};

static const struct opt_table capture_tables[] = {
	{capture_rows, 0},
	{rule_rows, offsetof(struct capture_args, rules)},
	{0},
};

static void capture_defaults(void *options)
{
	struct capture_args *a = options;

	a->output = "shadow.db";
	a->snaplen = LIMIT_SNAPLEN;
	a->ring = LIMIT_KERNEL_RING;
	a->max_body = LIMIT_BODY_BYTES;
	a->memory = LIMIT_REASSEMBLY_BYTES;
	rule_defaults(&a->rules);
}

/* Between the parsing thread (the main one) and the writing thread. */
struct job {
	const struct capture_args *args;
	struct chain chain;
	struct source *source;
	struct counters parse_counts; /* written by the parser */
	struct counters write_counts; /* written by the writer */
	struct queue *queue;
	struct store *store; /* NULL: null: */
	int64_t capture_id;
	struct sink *sink;
	uint64_t handed; /* to the queue */
	uint64_t given, put; /* the writer's: taken from it, and of these taken by the sink */
	int64_t started_us, reported_us;
	int rc; /* of the writer; read after it was joined */
	struct err err;
};

static void write_one(struct job *j, const struct exchange *ex)
{
	struct err err;
	int rc;

	j->given++;
	if (j->rc)
		return; /* the sink is broken: what still comes is lost, and said to be */
	rc = sink_put(j->sink, ex, &err);
	if (rc) {
		j->rc = rc;
		j->err = err;
		queue_give_up(j->queue);
	} else {
		j->put++;
	}
}

/* Stored is what is safe: a transaction that fails takes back what was put before. */
static void count_stored(struct job *j)
{
	counter_set(&j->write_counts, REQUESTS_STORED,
		    j->sink->ops->kept ? j->sink->ops->kept(j->sink) : j->put);
}

static void write_list(struct job *j, struct node *list)
{
	for (const struct node *n = list; n; n = n->next)
		write_one(j, (const struct exchange *)(const void *)n);
	queue_return(j->queue, list); /* moved */
}

static void *writer(void *arg)
{
	struct job *j = arg;

	for (;;) {
		struct node *list;
		int rc = queue_take(j->queue, WRITER_WAIT_MS, &list);

		if (rc == SC_ECLOSED)
			break;
		if (rc == SC_OK)
			write_list(j, list);
		if (!j->rc) {
			j->rc = sink_tick(j->sink, clock_us(), &j->err);
			if (j->rc)
				queue_give_up(j->queue);
		}
		count_stored(j);
	}
	if (!j->rc)
		j->rc = sink_finish(j->sink, clock_us(), &j->err);
	count_stored(j);
	count_n(&j->write_counts, REQUESTS_FAILED,
		j->given - counter_get(&j->write_counts, REQUESTS_STORED));
	return NULL;
}

static void drop_node(struct node *n)
{
	exchange_free((struct exchange *)(void *)n);
}

static void sum_counts(const struct job *j, struct counters *sum)
{
	memset(sum, 0, sizeof(*sum));
	counters_add(sum, &j->parse_counts);
	counters_add(sum, &j->write_counts);
}

static void print_ledger(const struct job *j)
{
	struct counters sum;
	struct buf text;

	sum_counts(j, &sum);
	buf_init(&text, 64 * KIB);
	if (counters_text(&sum, &text) == SC_OK)
		fprintf(stderr, "%.*s", (int)text.len, (const char *)text.data);
	buf_done(&text);
}

/* Requests that are parsed but not yet written are in the queue: in the middle of a run the account
 * may be short by them. */
static void print_progress(struct job *j)
{
	bool terminal = isatty(STDERR_FILENO);
	int64_t now = clock_us();
	struct counters sum;

	if (stop_report_wanted()) {
		capture_count_drops(j->source);
		print_ledger(j);
	}
	if (j->args->quiet ||
	    now - j->reported_us < (terminal ? REPORT_US : REPORT_PLAIN_US))
		return;
	j->reported_us = now;
	capture_count_drops(j->source);
	sum_counts(j, &sum);
	fprintf(stderr, "%s%" PRIu64 " packets (%" PRIu64 " dropped by the kernel), %" PRIu64
		" requests, %" PRIu64 " stored, loss %.4f%%%s", terminal ? "\r" : "shadow-ctl: ",
		counter_get(&sum, PACKETS_SEEN), counter_get(&sum, PACKETS_KERNEL_DROP),
		counter_get(&sum, REQUESTS_SEEN), counter_get(&sum, REQUESTS_STORED),
		counters_loss_percent(&sum), terminal ? "\033[K" : "\n");
}

static void free_spent(struct job *j)
{
	struct node *n;

	while ((n = queue_spent(j->queue)))
		drop_node(n);
}

/* Moves ex to the writer, or counts why not. False: the writer is gone. */
static bool hand_over(struct job *j, struct exchange *ex)
{
	enum verdict v;
	int rc;

	free_spent(j);

	if (j->args->count && j->handed >= j->args->count) {
		count(&j->parse_counts, REQUESTS_OVER_COUNT);
		exchange_free(ex);
		return true;
	}
	v = chain_whole(&j->chain, ex);
	if (v != VERDICT_KEEP) {
		count(&j->parse_counts, v == VERDICT_FILTERED ? REQUESTS_FILTERED : REQUESTS_FAILED);
		exchange_free(ex);
		return true;
	}
	rc = queue_push(j->queue, &ex->node, exchange_footprint(ex));
	if (rc == SC_OK) {
		j->handed++;
		return true;
	}
	exchange_free(ex);
	count(&j->parse_counts, rc == SC_EFULL ? REQUESTS_QUEUE_DROP : REQUESTS_FAILED);
	return rc == SC_EFULL;
}

static bool time_is_up(const struct job *j)
{
	/* Of a file it is packet time that counts, and the source knows it. */
	return j->args->duration && !j->args->file &&
	       clock_us() - j->started_us >= j->args->duration;
}

static int parse(struct job *j, struct err *err)
{
	bool stopped = false;
	unsigned turns = 0;

	for (;;) {
		struct exchange *ex = NULL;
		int rc = source_next(j->source, &ex, err);

		if (rc == 1 && !hand_over(j, ex))
			return SC_OK; /* the writer's error is the one to tell */
		if (rc == 0)
			return SC_OK;
		if (rc < 0 && rc != SC_EAGAIN)
			return rc;
		if (rc == SC_EAGAIN) {
			queue_publish(j->queue);
			free_spent(j);
		} else if (++turns % 256) {
			continue;
		}
		print_progress(j);
		if (queue_given_up(j->queue))
			return SC_OK;
		if (!stopped && (stop_wanted() || time_is_up(j) ||
				 (j->args->count && j->handed >= j->args->count))) {
			stopped = true;
			source_stop(j->source);
		}
	}
}

static char *describe(const struct capture_args *a)
{
	json_t *o = json_object();
	json_t *list = json_array();
	char *text;

	for (unsigned i = 0; i < a->interfaces.n; i++)
		json_array_append_new(list, json_string(a->interfaces.items[i]));
	if (a->interfaces.n)
		json_object_set(o, "interfaces", list);
	json_decref(list);
	if (a->file)
		json_object_set_new(o, "file", json_string(a->file));
	if (a->bpf)
		json_object_set_new(o, "bpf", json_string(a->bpf));
	list = json_array();
	for (unsigned i = 0; i < a->n_ports; i++)
		json_array_append_new(list, json_integer(a->ports[i]));
	if (a->n_ports)
		json_object_set(o, "ports", list);
	json_decref(list);
	json_object_set_new(o, "max_body", json_integer((json_int_t)a->max_body));
	json_object_set_new(o, "snaplen", json_integer((json_int_t)a->snaplen));
	rules_describe(&a->rules, o);
	json_object_set_new(o, "version", json_string(SHADOW_VERSION));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static int open_source(struct job *j, struct err *err)
{
	const struct capture_args *a = j->args;
	struct capture_options co = {
		.interfaces = a->interfaces.items,
		.n_interfaces = a->interfaces.n,
		.file = a->file,
		.follow = a->follow,
		.span_us = a->file ? a->duration : 0,
		.bpf = a->bpf,
		.ports = a->ports,
		.n_ports = (unsigned)a->n_ports,
		.snaplen = (uint32_t)a->snaplen,
		.ring = a->ring,
		.body_max = a->max_body,
		.memory = a->memory,
		.early = &j->chain,
	};

	if (getrandom(&co.seed, sizeof(co.seed), 0) != sizeof(co.seed))
		co.seed = (uint64_t)clock_us();
	return capture_open(&co, &j->parse_counts, &j->source, err);
}

static int open_sink(struct job *j, struct err *err)
{
	const struct capture_args *a = j->args;
	const char *from = a->file ? a->file : a->interfaces.items[0];
	char *options;
	int rc;

	if (strcmp(a->output, NULL_SINK) == 0) {
		j->sink = sink_null_new();
		return j->sink ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");
	}
	rc = store_open(a->output, STORE_CREATE, &j->store, err);
	if (rc)
		return rc;
	options = describe(a);
	if (!options)
		return err_set(err, SC_ENOMEM, "out of memory");
	rc = store_capture_new(j->store, j->started_us, from, options, &j->capture_id, &j->sink,
			       err);
	free(options);
	return rc;
}

static int check_args(const struct capture_args *a, struct err *err)
{
	if (!a->interfaces.n == !a->file)
		return err_set(err, SC_EINVAL, "capture: expected either -i IFACE or -r FILE (see "
			       "shadow-ctl capture --help)");
	if (strcmp(a->output, "-") == 0)
		return err_set(err, SC_EINVAL, "--output -: a store is a file (expected a path or %s)",
			       NULL_SINK);
	if (a->follow && (!a->file || strcmp(a->file, "-") == 0))
		return err_set(err, SC_EINVAL, "--follow: only for a file (-r FILE)");
	if (a->interfaces.n > LIMIT_INTERFACES)
		return err_set(err, SC_EINVAL, "capture: more than %u interfaces", LIMIT_INTERFACES);
	if (strchr(a->output, ':') && strcmp(a->output, NULL_SINK) != 0)
		return err_set(err, SC_EINVAL, "--output '%s': expected a path or %s", a->output,
			       NULL_SINK);
	if (!*a->output)
		return err_set(err, SC_EINVAL, "--output: expected a path or %s", NULL_SINK);
	return SC_OK;
}

static void announce(const struct job *j)
{
	const struct capture_args *a = j->args;
	const char *filter = capture_filter(j->source);

	if (a->quiet || a->file)
		return;
	for (unsigned i = 0; i < a->interfaces.n; i++)
		say("capturing on %s (snaplen %" PRIu64 ", ring %" PRIu64 " MiB, filter \"%s\") "
		    "into %s", a->interfaces.items[i], a->snaplen, a->ring / MIB, filter, a->output);
}

/* What a person should do about: packets lost, or nothing there at all. */
static void explain(const struct job *j)
{
	const struct counters *c = &j->parse_counts;
	uint64_t packets = counter_get(c, PACKETS_SEEN);
	uint64_t tcp = counter_get(c, CONNECTIONS);
	uint64_t tls = counter_get(c, CONNECTIONS_TLS);
	uint64_t h2 = counter_get(c, CONNECTIONS_HTTP2);

	if (counter_get(c, PACKETS_KERNEL_DROP))
		say("the kernel dropped %" PRIu64 " packets: more --buffer, or less with --port or --bpf",
		    counter_get(c, PACKETS_KERNEL_DROP));
	if (counter_get(c, REQUESTS_SEEN))
		return;
	if (!packets)
		say("no packet was seen: is %s right%s%s?",
		    j->args->file ? "the file" : "the interface",
		    *capture_filter(j->source) ? ", and the filter " : "", capture_filter(j->source));
	else if (!tcp)
		say("%" PRIu64 " packets, but no TCP that we were asked for: is the port right?", packets);
	else
		say("no HTTP/1 request in %" PRIu64 " connections (%" PRIu64 " with TLS, %" PRIu64
		    " with HTTP/2, %" PRIu64 " whose beginning was not seen)", tcp, tls, h2,
		    counter_get(c, CONNECTIONS_MIDSTREAM));
}

static int print_json(const char *json, struct err *err)
{
	if (printf("%s\n", json) < 0 || fflush(stdout))
		return err_set(err, SC_EIO, "standard output: %s", strerror(errno));
	return SC_OK;
}

static int save_ledger(struct job *j, struct err *err)
{
	struct counters sum;
	struct buf json;
	const char *group;
	int rc;

	sum_counts(j, &sum);
	if (counters_check(&sum, &group))
		say("the account of %s does not add up; please report this", group);
	buf_init(&json, 64 * KIB);
	rc = counters_json(&sum, &json);
	if (!rc)
		rc = buf_add(&json, "", 1);
	if (rc)
		rc = err_set(err, rc, "out of memory");
	if (!rc && j->args->json)
		rc = print_json((const char *)json.data, err);
	if (!rc && j->store && !j->rc)
		rc = store_capture_end(j->store, j->capture_id, clock_us(),
				       (const char *)json.data, err);
	buf_done(&json);
	return rc;
}

static int run_threads(struct job *j, struct err *err)
{
	pthread_t thread;
	int rc;

	j->queue = queue_new(LIMIT_QUEUE_BYTES, j->args->file ? QUEUE_WAIT : QUEUE_REFUSE);
	if (!j->queue)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (pthread_create(&thread, NULL, writer, j))
		return err_set(err, SC_EIO, "cannot start a thread");
	announce(j);
	rc = parse(j, err);
	/* Also after an error or a full disk: what is left in the engine is counted. */
	source_stop(j->source);
	for (struct exchange *ex; source_next(j->source, &ex, NULL) == 1;)
		(void)hand_over(j, ex);
	queue_close(j->queue);
	pthread_join(thread, NULL);
	return rc;
}

static int capture_run(void *options, const struct operands *operands)
{
	struct job *j = calloc(1, sizeof(*j));
	struct capture_args *a = options;
	struct err err;
	int rc, status = EXIT_DONE;

	(void)operands;
	if (!j)
		return EXIT_FAILED;
	j->args = a;
	j->started_us = j->reported_us = clock_us();
	stop_install();
	rc = check_args(a, &err);
	if (!rc)
		rc = rules_build(&a->rules, &j->chain, &err);
	if (!rc)
		rc = open_source(j, &err);
	if (!rc)
		rc = privilege_drop(a->user, &err);
	if (!rc)
		rc = open_sink(j, &err);
	if (rc) {
		status = fail(rc, &err);
		goto out;
	}
	rc = run_threads(j, &err);
	if (rc)
		status = fail(rc, &err);
	if (j->rc)
		status = fail(j->rc, &j->err);
	rc = save_ledger(j, &err);
	if (rc)
		status = fail(rc, &err);
	if (!a->quiet) {
		const char *note = capture_note(j->source);

		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\n");
		if (note)
			say("%s: %s", a->file, note);
		explain(j);
		print_ledger(j);
	}
out:
	sink_free(j->sink);
	store_close(j->store);
	queue_free(j->queue, drop_node);
	source_free(j->source);
	chain_done(&j->chain);
	free(j);
	return status;
}

const struct command command_capture = {
	.name = "capture",
	.usage = "(-i IFACE | -r FILE) [-o shadow.db] [rules] [limits]",
	.summary = "Records HTTP requests with their responses, off the wire or from a capture file.",
	.tables = capture_tables,
	.examples =
		"  shadow-ctl capture -i eth0 --port 80,8080 --route '/api/*' --sample 10% -o shadow.db\n"
		"  shadow-ctl capture -r traffic.pcapng -o shadow.db\n",
	.options_size = sizeof(struct capture_args),
	.max_operands = 0,
	.defaults = capture_defaults,
	.run = capture_run,
};
