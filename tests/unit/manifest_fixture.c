/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests from literals. */
#include "manifest_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/shadow-manifest-XXXXXX";

int enter_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

int leave_folder(void **state)
{
	DIR *d = opendir(".");
	struct dirent *e;

	(void)state;
	while (d && (e = readdir(d)))
		(void)unlink(e->d_name);
	if (d)
		(void)closedir(d);
	return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

void write_file(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(name, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void keep_warning(void *arg, const char *line)
{
	struct reading *r = arg;
	size_t at = strlen(r->warnings);

	assert_null(strchr(line, '\n'));
	(void)snprintf(r->warnings + at, sizeof(r->warnings) - at, "%s\n", line);
}

static void read_with(struct reading *ret, const char *const *paths, unsigned n,
		      const char *const *resolve, unsigned n_resolve)
{
	struct manifest_options o = {resolve, n_resolve, keep_warning, ret};

	memset(ret, 0, sizeof(*ret));
	ret->rc = manifest_read(paths, n, &o, &ret->policy, &ret->err);
	assert_true((ret->rc == SC_OK) == (ret->policy != NULL));
	assert_null(strchr(ret->err.text, '\n'));
}

void read_files(struct reading *ret, const char *const *paths, unsigned n, const char *resolve)
{
	read_with(ret, paths, n, &resolve, resolve ? 1 : 0);
}

void read_text(struct reading *ret, const char *text, const char *resolve, const char *second)
{
	const char *const paths[] = {"m.yaml"}, *const resolves[] = {resolve, second};

	write_file("m.yaml", text, strlen(text));
	read_with(ret, paths, 1, resolves, resolve ? second ? 2 : 1 : 0);
}

void read_well(struct reading *ret, const char *text)
{
	read_text(ret, text, NULL, NULL);
	if (ret->rc)
		fail_msg("%s\nof\n%s", ret->err.text, text);
}

void reading_done(struct reading *r)
{
	policy_free(r->policy);
	r->policy = NULL;
}

struct exchange *request_of(const char *head)
{
	struct exchange *ex = exchange_new();

	assert_non_null(ex);
	ex->scheme = "http";
	ex->server = (struct addr){.ip = {10, 0, 0, 1}, .port = 80, .len = 4};
	if (message_parse((const uint8_t *)head, strlen(head), 0, &ex->request) != SC_OK)
		fail_msg("no request: %s", head);
	return ex;
}

const struct policy_rule *apply(const struct policy *p, struct exchange *ex)
{
	const struct policy_block *b;
	struct subject s;

	subject_of(ex, &s);
	b = policy_match(p, &s);
	if (!b)
		return NULL;
	assert_int_equal(chain_whole(&b->change, ex), VERDICT_KEEP);
	return b->parent;
}
