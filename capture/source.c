/* SPDX-License-Identifier: Apache-2.0 */
/* The packet loop: interfaces through libpcap, or files, into the engine. The only place of this
 * folder that does I/O or looks at a clock. */
#include "capture/capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/limits.h"
#include "engine.h"
#include "files.h"

#define WAIT_MS 50    /* source_next() returns at least this often */
#define SOON_MS 1     /* the kernel hands packets on this late, where they are wanted at once */
#define ENOUGH_PACKETS 8192 /* in a ring */
#define TURN 65536    /* frames of a file without an exchange, until the caller has a look */
#define DRAIN_EMPTY 5 /* times that the rings are found empty before a capture ends */
#define DRAIN_MAX_US 2000000ll
#define BATCH 512     /* packets taken from one interface before the next has its turn */
#define LINK_TYPES 32 /* more than the decoder knows */
#define LINKTYPE_RAW 101

struct live {
	pcap_t *pcap;
	char name[64]; /* of the interface */
	int link_type;
	unsigned kernel_drops, iface_drops; /* libpcap's 32-bit counts, as last seen */
};

/* A filter for frames of one link type, for files. */
struct compiled {
	struct bpf_program program;
	int link_type;
	bool usable;
};

struct capture_source {
	struct source source;
	struct counters *counters;
	struct engine *engine;
	struct live live[LIMIT_INTERFACES];
	unsigned n_live;
	struct capture_files *files; /* NULL: live */
	char *filter; /* text in use */
	struct compiled compiled[LINK_TYPES];
	unsigned n_compiled;
	int64_t first_us, last_us;
	int64_t span_us;
	bool follow;
	bool finished;
};

static int64_t wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void on_packet(u_char *arg, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct capture_source *s = ((void **)(void *)arg)[0];
	const struct live *l = ((void **)(void *)arg)[1];
	struct frame f = {
		.ts_us = (int64_t)h->ts.tv_sec * 1000000 + h->ts.tv_usec,
		.link_type = l->link_type,
		.len = h->len,
		.bytes = span_of(bytes, h->caplen),
	};

	s->last_us = f.ts_us;
	engine_frame(s->engine, &f);
}

/* Takes what the rings hold. 1 when there was anything, 0, or an error: an interface that is only
 * down is none, and goes on once it is up. */
static int read_rings(struct capture_source *s, struct err *err)
{
	int any = 0;

	for (unsigned i = 0; i < s->n_live; i++) {
		void *arg[2] = {s, &s->live[i]};
		int n = pcap_dispatch(s->live[i].pcap, BATCH, on_packet, (u_char *)arg);

		if (n == PCAP_ERROR)
			return err_set(err, SC_EIO, "%s: %s", s->live[i].name,
				       pcap_geterr(s->live[i].pcap));
		if (n > 0)
			any = 1;
	}
	return any;
}

static void wait_for_packets(const struct capture_source *s)
{
	struct pollfd fds[LIMIT_INTERFACES];

	for (unsigned i = 0; i < s->n_live; i++)
		fds[i] = (struct pollfd){pcap_get_selectable_fd(s->live[i].pcap), POLLIN, 0};
	(void)poll(fds, s->n_live, WAIT_MS); /* a signal is as good as a packet */
}

static int next_live(struct capture_source *s, struct exchange **ret, struct err *err)
{
	int rc = read_rings(s, err);

	if (rc < 0)
		return rc;
	if (rc == 0) {
		wait_for_packets(s);
		rc = read_rings(s, err);
		if (rc < 0)
			return rc;
		if (rc == 0)
			engine_expire(s->engine, wall_us());
	}
	*ret = engine_pop(s->engine);
	return *ret ? 1 : SC_EAGAIN;
}

static bool passes(struct capture_source *s, const struct frame *f)
{
	struct compiled *c = s->compiled, *end = c + s->n_compiled;
	struct pcap_pkthdr h = {.caplen = (bpf_u_int32)f->bytes.len, .len = f->len};

	if (!s->filter)
		return true;
	while (c < end && c->link_type != f->link_type)
		c++;
	if (c == end) {
		pcap_t *dead;

		if (s->n_compiled == LINK_TYPES)
			return false;
		/* The one that files number otherwise than libpcap does within. */
		dead = pcap_open_dead(f->link_type == LINKTYPE_RAW ? DLT_RAW : f->link_type,
				      LIMIT_SNAPLEN);
		c->link_type = f->link_type;
		c->usable = dead && pcap_compile(dead, &c->program, s->filter, 1,
						 PCAP_NETMASK_UNKNOWN) == 0;
		if (dead)
			pcap_close(dead);
		s->n_compiled++;
	}
	return c->usable && pcap_offline_filter(&c->program, &h, f->bytes.p);
}

static int next_of_files(struct capture_source *s, struct exchange **ret)
{
	struct frame f;
	bool turn_over = false;
	int rc;

	for (unsigned n = 0; (rc = capture_files_next(s->files, &f)) == 1; n++) {
		if (!s->first_us)
			s->first_us = f.ts_us;
		if (s->span_us && f.ts_us - s->first_us >= s->span_us) {
			rc = 0;
			break;
		}
		s->last_us = f.ts_us;
		if (n == TURN)
			turn_over = true;
		if (!passes(s, &f)) {
			count(s->counters, PACKETS_SEEN);
			count(s->counters, PACKETS_FILTERED);
			continue;
		}
		engine_frame(s->engine, &f);
		*ret = engine_pop(s->engine);
		if (*ret || turn_over)
			return *ret ? 1 : SC_EAGAIN;
	}
	if (rc == SC_EAGAIN) {
		if (s->follow) /* a pipe has waited by itself */
			(void)poll(NULL, 0, WAIT_MS);
		return SC_EAGAIN;
	}
	engine_finish(s->engine);
	s->finished = true;
	*ret = engine_pop(s->engine);
	return *ret ? 1 : 0;
}

static int capture_next(struct source *source, struct exchange **ret, struct err *err)
{
	struct capture_source *s = (struct capture_source *)source;
	struct exchange *ex = engine_pop(s->engine);

	if (ex) {
		*ret = ex;
		return 1;
	}
	if (s->finished)
		return 0;
	return s->files ? next_of_files(s, ret) : next_live(s, ret, err);
}

/* What the kernel holds was on the wire before the stop. It hands the last block of a ring over at
 * the second tick of its timer, which a busy machine may be late with; so the rings must be found
 * empty several times, whatever the clock says in between, and are left when they never are. */
static void drain_rings(struct capture_source *s)
{
	int64_t deadline = wall_us() + DRAIN_MAX_US;
	struct err err;
	int rc;

	for (int empty = 0; empty < DRAIN_EMPTY; empty += rc == 0) {
		rc = read_rings(s, &err);
		if (rc < 0 || (rc > 0 && wall_us() > deadline))
			break;
		if (rc == 0)
			(void)poll(NULL, 0, WAIT_MS);
	}
	(void)read_rings(s, &err);
}

static void capture_stop(struct source *source)
{
	struct capture_source *s = (struct capture_source *)source;

	if (s->finished)
		return;
	if (!s->files)
		drain_rings(s);
	capture_count_drops(source);
	engine_finish(s->engine);
	s->finished = true;
}

static void capture_free(struct source *source)
{
	struct capture_source *s = (struct capture_source *)source;

	for (unsigned i = 0; i < s->n_live; i++)
		pcap_close(s->live[i].pcap);
	for (unsigned i = 0; i < s->n_compiled; i++) {
		if (s->compiled[i].usable)
			pcap_freecode(&s->compiled[i].program);
	}
	capture_files_free(s->files);
	engine_free(s->engine);
	free(s->filter);
	free(s);
}

static const struct source_ops capture_ops = {
	.next = capture_next,
	.stop = capture_stop,
	.free = capture_free,
};

void capture_count_drops(struct source *source)
{
	struct capture_source *s = (struct capture_source *)source;

	for (unsigned i = 0; i < s->n_live; i++) {
		struct live *l = &s->live[i];
		struct pcap_stat st;
		unsigned kernel, iface;

		if (pcap_stats(l->pcap, &st))
			continue;
		kernel = st.ps_drop - l->kernel_drops; /* the counts wrap */
		iface = st.ps_ifdrop - l->iface_drops;
		l->kernel_drops = st.ps_drop;
		l->iface_drops = st.ps_ifdrop;
		count_n(s->counters, PACKETS_KERNEL_DROP, kernel);
		count_n(s->counters, PACKETS_IFACE_DROP, iface);
		count_n(s->counters, PACKETS_SEEN, (uint64_t)kernel + iface);
	}
}

/* What --port lets the kernel leave out: plain TCP of other ports. Everything else passes, since a
 * tunnel or a fragment may carry a wanted one; the engine looks again. */
static int build_filter(struct capture_source *s, const struct capture_options *o)
{
	struct buf text;
	int rc = SC_OK;
	bool ports = o->n_ports && o->n_interfaces;

	buf_init(&text, 64 * KIB);
	if (ports)
		rc = buf_add_str(&text, "(not tcp or (ip[6:2] & 0x1fff != 0)");
	for (unsigned i = 0; ports && i < o->n_ports && !rc; i++)
		rc = buf_addf(&text, " or port %u", o->ports[i]);
	if (!rc && ports)
		rc = buf_add_str(&text, ")");
	if (!rc && o->bpf && *o->bpf)
		rc = buf_addf(&text, "%s(%s)", ports ? " and " : "", o->bpf);
	if (!rc && text.len) {
		rc = buf_add(&text, "", 1);
		s->filter = (char *)buf_steal(&text);
	}
	buf_done(&text);
	return rc;
}

static int check_bpf(const struct capture_options *o, struct err *err)
{
	struct bpf_program program;
	pcap_t *dead;
	int rc = SC_OK;

	if (!o->bpf || !*o->bpf)
		return SC_OK;
	dead = pcap_open_dead(DLT_EN10MB, LIMIT_SNAPLEN);
	if (!dead)
		return err_set(err, SC_ENOMEM, "out of memory");
	if (pcap_compile(dead, &program, o->bpf, 1, PCAP_NETMASK_UNKNOWN))
		rc = err_set(err, SC_EINVAL, "--bpf '%s': %s", o->bpf, pcap_geterr(dead));
	else
		pcap_freecode(&program);
	pcap_close(dead);
	return rc;
}

static int live_error(struct err *err, const char *interface, int code, pcap_t *p)
{
	const char *more = pcap_geterr(p);

	if (code == PCAP_ERROR_PERM_DENIED)
		return err_set(err, SC_EINVAL, "%s: no right to capture (run as root, or give the "
			       "program CAP_NET_RAW)", interface);
	if (code == PCAP_ERROR_NO_SUCH_DEVICE)
		return err_set(err, SC_EINVAL, "%s: no such interface", interface);
	if (code == PCAP_ERROR_IFACE_NOT_UP)
		return err_set(err, SC_EINVAL, "%s: the interface is down", interface);
	return err_set(err, SC_EINVAL, "%s: %s", interface,
		       code == PCAP_ERROR && *more ? more : pcap_statustostr(code));
}

/* Handing packets on one by one the kernel keeps a place of snaplen bytes for each, whatever its
 * size: a large snaplen makes that a short ring, which a burst overruns. Then they come packed, and
 * a little later. */
static bool holds_enough_at_once(const struct capture_options *o)
{
	return o->immediate && o->ring / o->snaplen >= ENOUGH_PACKETS;
}

static int open_live(struct capture_source *s, const struct capture_options *o, const char *name,
		     struct err *err)
{
	char text[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_create(name, text);
	struct bpf_program program;
	uint64_t ring = o->ring < INT32_MAX ? o->ring : INT32_MAX;
	int rc;

	if (!p)
		return err_set(err, SC_EINVAL, "%s: %s", name, text);
	s->live[s->n_live++] = (struct live){.pcap = p};
	(void)snprintf(s->live[s->n_live - 1].name, sizeof(s->live[0].name), "%s", name);
	(void)pcap_set_snaplen(p, (int)o->snaplen);
	(void)pcap_set_promisc(p, 1);
	(void)pcap_set_timeout(p, o->immediate ? SOON_MS : WAIT_MS);
	(void)pcap_set_immediate_mode(p, holds_enough_at_once(o));
	(void)pcap_set_buffer_size(p, (int)ring);
	rc = pcap_activate(p);
	if (rc < 0)
		return live_error(err, name, rc, p);
	s->live[s->n_live - 1].link_type = pcap_datalink(p);
	if (s->filter) {
		if (pcap_compile(p, &program, s->filter, 1, PCAP_NETMASK_UNKNOWN))
			return err_set(err, SC_EINVAL, "filter '%s': %s", s->filter,
				       pcap_geterr(p));
		rc = pcap_setfilter(p, &program);
		pcap_freecode(&program);
		if (rc)
			return live_error(err, name, rc, p);
	}
	if (pcap_setnonblock(p, 1, text))
		return err_set(err, SC_EIO, "%s: %s", name, text);
	return SC_OK;
}

int capture_open(const struct capture_options *o, struct counters *counters, struct source **ret,
		 struct err *err)
{
	struct capture_source *s = calloc(1, sizeof(*s));
	struct engine_options eo = {
		.body_max = o->body_max,
		.memory = o->memory,
		.hash_seed = o->seed,
		.ports = o->ports,
		.n_ports = o->n_ports,
		.early = o->early,
		.asked = o->asked,
		.asked_arg = o->asked_arg,
		.counters = counters,
	};
	int rc = SC_OK;

	if (!s)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->source.ops = &capture_ops;
	s->counters = counters;
	s->span_us = o->span_us;
	s->follow = o->follow;
	s->engine = engine_new(&eo);
	if (!s->engine || build_filter(s, o))
		rc = err_set(err, SC_ENOMEM, "out of memory");
	if (!rc)
		rc = check_bpf(o, err);
	if (!rc && o->n_files)
		rc = capture_files_open(o->files, o->n_files, o->follow, &s->files, err);
	for (unsigned i = 0; i < o->n_interfaces && !rc; i++)
		rc = open_live(s, o, o->interfaces[i], err);
	if (rc) {
		capture_free(&s->source);
		return rc;
	}
	*ret = &s->source;
	return SC_OK;
}

const char *capture_filter(const struct source *source)
{
	const struct capture_source *s = (const struct capture_source *)source;

	return s->filter ? s->filter : "";
}

const char *capture_note(const struct source *source)
{
	return capture_note_of(source, 0);
}

const char *capture_note_of(const struct source *source, unsigned i)
{
	const struct capture_source *s = (const struct capture_source *)source;

	return s->files ? capture_files_note(s->files, i) : NULL;
}

int64_t capture_time(const struct source *source)
{
	return ((const struct capture_source *)source)->last_us;
}
