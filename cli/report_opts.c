/* SPDX-License-Identifier: Apache-2.0 */
/* --hdr and --fail-on. Measures nothing itself. */
#include "report_opts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "fail_on.h"
#include "replay/hdr.h"

#define AT(member) offsetof(struct report_args, member)
const struct opt report_rows[] = {
	{NULL, 0, "hdr", "NAME", "write NAME.latency.hgrm and NAME.service.hgrm (HdrHistogram, ms)",
	 opt_text, AT(hdr)},
	{NULL, 0, "fail-on", "CONDITION",
	 "exit status 3 if it holds, as of 'errors>0', 'p99>250ms'; repeatable", opt_list,
	 AT(fail_on)},
	{0},
};
#undef AT

static int check_folder(const char *name, struct err *err)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) + 1 : 0;
	struct stat st;

	if (!name[len])
		return err_set(err, SC_EINVAL, "--hdr: '%s' is no name; expected what the names of "
			       "two files begin with", name);
	if (strlen(name) >= sizeof(folder) - 32)
		return err_set(err, SC_EINVAL, "--hdr: the name is too long");
	snprintf(folder, sizeof(folder), "%.*s", len ? (int)len : 1, len ? name : ".");
	if (stat(folder, &st) || !S_ISDIR(st.st_mode) || access(folder, W_OK))
		return err_set(err, SC_EINVAL, "--hdr: nothing can be written into %s", folder);
	return SC_OK;
}

int report_check(const struct report_args *args, struct err *err)
{
	struct fail_value known[FAIL_REPLAY_VALUES];
	int rc = SC_OK;

	fail_values_of_replay(NULL, known);
	if (args->hdr)
		rc = check_folder(args->hdr, err);
	return rc ? rc : fail_on_check(&args->fail_on, known, err);
}

static int write_file(const char *path, const struct buf *text, struct err *err)
{
	FILE *f = fopen(path, "we");
	bool written;

	if (!f)
		return err_set(err, SC_EIO, "%s: %s", path, strerror(errno));
	written = fwrite(text->data, 1, text->len, f) == text->len;
	if (fclose(f) || !written)
		return err_set(err, SC_EIO, "%s: %s", path, strerror(errno));
	return SC_OK;
}

static int write_histogram(const char *name, unsigned target_n, const char *what,
			   const struct histogram *h, struct err *err)
{
	char path[PATH_MAX];
	struct buf text;
	int rc;

	if (target_n)
		snprintf(path, sizeof(path), "%s.%u.%s.hgrm", name, target_n, what);
	else
		snprintf(path, sizeof(path), "%s.%s.hgrm", name, what);
	buf_init(&text, HDR_TEXT_BYTES);
	rc = hdr_text(h, &text);
	rc = rc ? err_set(err, rc, "out of memory") : write_file(path, &text, err);
	buf_done(&text);
	return rc;
}

int report_conclude(const struct report_args *args, const struct account *account,
		    unsigned target_n, bool *ret_failed, struct err *err)
{
	struct fail_value known[FAIL_REPLAY_VALUES];
	const struct fail_value *about = NULL;
	const char *condition;
	char text[FAIL_TEXT];
	int rc = SC_OK;

	if (args->hdr)
		rc = write_histogram(args->hdr, target_n, "latency", &account->stats->latency, err);
	if (!rc && args->hdr)
		rc = write_histogram(args->hdr, target_n, "service", &account->stats->service, err);
	fail_values_of_replay(account, known);
	condition = fail_on_judge(&args->fail_on, known, &about);
	if (condition) {
		fail_value_text(about, text);
		say("%s: %s holds: %s", account->target, condition, text);
		*ret_failed = true;
	}
	return rc;
}
