/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a mesh's manifest. Whatever they are, it ends soon, in one line of error or a policy
 * that is whole; then requests are asked of it, and what it makes of them is a message.
 *
 * Input: the manifest. Of odd length: with --resolve. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "manifest.h"

/* The library (0.7.12) loses some memory of its own with a text of many lines or escapes, in
 * proportion to it. What we lose ourselves is still seen. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so\n";
}

static void check_line(const char *line)
{
	assert(*line);
	for (; *line; line++)
		assert((unsigned char)*line >= ' ' && *line != 0x7f);
}

static void take_warning(void *arg, const char *line)
{
	(void)arg;
	check_line(line);
}

static void check_destination(const struct destination *d)
{
	assert(d->host && *d->host && d->to_port);
	assert(!d->subset || *d->subset);
	for (unsigned i = 0; i < d->n_endpoints; i++)
		assert(*d->endpoints[i].address && d->endpoints[i].port);
	assert(d->tls || !(d->insecure || d->sni || d->ca_file || d->cert_file));
}

static void check_rule(const struct policy *p, const struct policy_rule *r)
{
	assert(r->name && r->place && r->n_blocks);
	check_line(r->place);
	for (unsigned i = 0; i < r->n_blocks; i++)
		assert(r->blocks[i].rule && r->blocks[i].parent == r);
	for (unsigned i = 0; i < r->n_mirrors; i++) {
		assert(r->mirrors[i].destination < p->n_destinations);
		assert(r->mirrors[i].percent > 0 && r->mirrors[i].percent <= 100);
	}
}

static void check_policy(const struct policy *p)
{
	for (unsigned i = 0; i < p->n_destinations; i++)
		check_destination(&p->destinations[i]);
	for (unsigned i = 0; i < p->n_groups; i++) {
		for (unsigned k = 0; k < p->groups[i].n_rules; k++)
			check_rule(p, &p->groups[i].rules[k]);
	}
}

static void ask(const struct policy *p, const char *head)
{
	struct exchange *ex = exchange_new();
	const struct policy_block *b;
	struct subject s;

	assert(ex);
	ex->scheme = "http";
	assert(message_parse((const uint8_t *)head, strlen(head), 0, &ex->request) == SC_OK);
	subject_of(ex, &s);
	b = policy_match(p, &s);
	if (b && chain_whole(&b->change, ex) == VERDICT_KEEP)
		check_message(ex->request);
	exchange_free(ex);
}

/* Its name; the bytes are read through it as any file's are. */
static const char *keep(const uint8_t *data, size_t size)
{
	static char name[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("manifest", MFD_CLOEXEC);
		assert(fd >= 0);
		(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	}
	assert(ftruncate(fd, 0) == 0);
	assert(pwrite(fd, data, size, 0) == (ssize_t)size);
	return name;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const resolve[] = {"m/v2=127.0.0.1:1", "httpbin=[::1]"};
	static const char *const heads[] = {
		"GET /httpbin/get?a=1&q HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n",
		"POST http://httpbin.default/a/b HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	};
	const struct manifest_options o = {resolve, size & 1 ? 2 : 0, take_warning, NULL};
	const char *path = keep(data, size);
	struct policy *p = NULL;
	struct err err = {""};
	int rc = manifest_read(&path, 1, &o, &p, &err);

	assert(rc == SC_OK || rc == SC_EINVAL);
	if (rc) {
		assert(!p);
		check_line(err.text);
		return 0;
	}
	check_policy(p);
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		ask(p, heads[i]);
	policy_free(p);
	return 0;
}
