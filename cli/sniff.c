/* SPDX-License-Identifier: Apache-2.0 */
/* Capture options to a capture, and words about it. Reads no packet. */
#include "sniff.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cli.h"

static int set_ports(void *to, const char *value, struct err *err)
{
	struct sniff_args *a = to;

	for (const char *at = value; ; at++) {
		char *end;
		unsigned long port = strtoul(at, &end, 10);

		/* strtoul also takes white space and signs. */
		if (*at < '0' || *at > '9' || port < 1 || port > 65535 || (*end && *end != ','))
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

/* The files of all -r so far, globs among them. One process captures once, so they are there to its
 * end. */
static struct sources files;

static int set_file(void *to, const char *value, struct err *err)
{
	struct sniff_args *a = to;
	struct sources found;
	int rc;

	if (a->n_words == LIMIT_SOURCES)
		return err_set(err, SC_EINVAL, "'%s': more than %u files are one source", value,
			       LIMIT_SOURCES);
	a->words[a->n_words++] = value;
	rc = sources_find(a->words, (int)a->n_words, &found, err);
	if (rc)
		return rc;
	sources_done(&files);
	files = found; /* moved */
	a->files = &files;
	a->file = files.paths[0];
	(void)snprintf(a->from, sizeof(a->from), "%u files, the first %s", files.n, a->file);
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

#define AT(member) offsetof(struct sniff_args, member)

const struct opt sniff_source_rows[] = {
	{"Source", 'i', "interface", "IFACE", "sniff this interface; repeatable ('any': all of them)",
	 opt_list, AT(interfaces)},
	{NULL, 'r', "read", "FILE", "read a capture file, pcap or pcapng, also gzip ('-': stdin); "
	 "repeatable, also 'GLOB': all of them are one recording, in the order of packet times",
	 set_file, 0},
	{NULL, 0, "follow", NULL, "go on reading as the one file grows, until ^C", opt_flag,
	 AT(follow)},
	{0},
};

const struct opt sniff_limit_rows[] = {
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
	{0},
};

void sniff_defaults(struct sniff_args *a)
{
	a->snaplen = LIMIT_SNAPLEN;
	a->ring = LIMIT_KERNEL_RING;
	a->max_body = LIMIT_BODY_BYTES;
	a->memory = LIMIT_REASSEMBLY_BYTES;
}

static int check_files(const struct sources *s, bool follow, struct err *err)
{
	if (s->n == 1)
		return follow && strcmp(s->paths[0], "-") == 0
			       ? err_set(err, SC_EINVAL, "--follow: only for a file (-r FILE)")
			       : SC_OK;
	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(s->paths[i], "-") == 0)
			return err_set(err, SC_EINVAL, "-r -: standard input goes with no other file");
	}
	if (follow)
		return err_set(err, SC_EINVAL, "--follow: only for one file, and there are %u", s->n);
	return SC_OK;
}

int sniff_check(const struct sniff_args *a, const char *command, struct err *err)
{
	if (!a->interfaces.n == !a->file)
		return err_set(err, SC_EINVAL, "%s: expected either -i IFACE or -r FILE (see "
			       "shadow-ctl %s --help)", command, command);
	if (a->follow && !a->files)
		return err_set(err, SC_EINVAL, "--follow: only for a file (-r FILE)");
	if (a->interfaces.n > LIMIT_INTERFACES)
		return err_set(err, SC_EINVAL, "%s: more than %u interfaces", command,
			       LIMIT_INTERFACES);
	return a->files ? check_files(a->files, a->follow, err) : SC_OK;
}

void sniff_options(const struct sniff_args *a, struct capture_options *ret)
{
	*ret = (struct capture_options){
		.interfaces = a->interfaces.items,
		.n_interfaces = a->interfaces.n,
		.files = a->files ? (const char *const *)a->files->paths : NULL,
		.n_files = a->files ? a->files->n : 0,
		.follow = a->follow,
		.span_us = a->files ? a->duration : 0,
		.bpf = a->bpf,
		.ports = a->ports,
		.n_ports = (unsigned)a->n_ports,
		.snaplen = (uint32_t)a->snaplen,
		.ring = a->ring,
		.body_max = a->max_body,
		.memory = a->memory,
	};
	if (getrandom(&ret->seed, sizeof(ret->seed), 0) != sizeof(ret->seed))
		ret->seed = (uint64_t)clock_us();
}

const char *sniff_from(const struct sniff_args *a)
{
	if (!a->files)
		return a->interfaces.items[0];
	return a->files->n == 1 ? a->file : a->from;
}

void sniff_announce(const struct sniff_args *a, const struct source *source, const char *into)
{
	for (unsigned i = 0; i < a->interfaces.n; i++)
		say("capturing on %s (snaplen %" PRIu64 ", ring %" PRIu64 " MiB, filter \"%s\") "
		    "into %s", a->interfaces.items[i], a->snaplen, a->ring / MIB,
		    capture_filter(source), into);
}

void sniff_explain(const struct sniff_args *a, const struct source *source,
		   const struct counters *counters)
{
	const struct counters *c = counters;
	uint64_t packets = counter_get(c, PACKETS_SEEN);
	uint64_t tcp = counter_get(c, CONNECTIONS);
	uint64_t tls = counter_get(c, CONNECTIONS_TLS);
	uint64_t h2 = counter_get(c, CONNECTIONS_HTTP2);
	unsigned n_files = a->files ? a->files->n : 0;

	for (unsigned i = 1; i < n_files; i++) {
		if (capture_note_of(source, i))
			say("%s: %s", a->files->paths[i], capture_note_of(source, i));
	}
	if (counter_get(c, PACKETS_KERNEL_DROP))
		say("the kernel dropped %" PRIu64 " packets: more --buffer, or less with --port or --bpf",
		    counter_get(c, PACKETS_KERNEL_DROP));
	if (counter_get(c, REQUESTS_SEEN))
		return;
	if (!packets)
		say("no packet was seen: is %s right%s%s?",
		    n_files > 1 ? "each of the files" : n_files ? "the file" : "the interface",
		    *capture_filter(source) ? ", and the filter " : "", capture_filter(source));
	else if (!tcp)
		say("%" PRIu64 " packets, but no TCP that we were asked for: is the port right?", packets);
	else
		say("no HTTP/1 request in %" PRIu64 " connections (%" PRIu64 " with TLS, %" PRIu64
		    " with HTTP/2, %" PRIu64 " whose beginning was not seen)", tcp, tls, h2,
		    counter_get(c, CONNECTIONS_MIDSTREAM));
}

static void describe_list(json_t *to, const char *name, json_t *list)
{
	if (json_array_size(list))
		json_object_set(to, name, list);
	json_decref(list);
}

void sniff_describe(const struct sniff_args *a, json_t *to)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < a->interfaces.n; i++)
		json_array_append_new(list, json_string(a->interfaces.items[i]));
	describe_list(to, "interfaces", list);
	if (a->files && a->files->n == 1)
		json_object_set_new(to, "file", json_string(a->file));
	list = json_array();
	for (unsigned i = 0; a->files && a->files->n > 1 && i < a->files->n; i++)
		json_array_append_new(list, json_string(a->files->paths[i]));
	describe_list(to, "files", list);
	if (a->bpf)
		json_object_set_new(to, "bpf", json_string(a->bpf));
	list = json_array();
	for (unsigned i = 0; i < a->n_ports; i++)
		json_array_append_new(list, json_integer(a->ports[i]));
	describe_list(to, "ports", list);
	json_object_set_new(to, "max_body", json_integer((json_int_t)a->max_body));
	json_object_set_new(to, "snaplen", json_integer((json_int_t)a->snaplen));
}
