/* SPDX-License-Identifier: Apache-2.0 */
/* Globs for who quotes them: a unit file, a manifest, a shell whose argument list would be too
 * long. */
#include "sources.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/limits.h"
#include "core/span.h"

static int add_path(struct sources *s, const char *path, struct err *err)
{
	char **grown;

	if (s->n == LIMIT_SOURCES)
		return err_set(err, SC_EINVAL, "'%s': more than %u files are one source", path,
			       LIMIT_SOURCES);
	grown = realloc(s->paths, (s->n + 1) * sizeof(*grown));
	if (!grown)
		return err_set(err, SC_ENOMEM, "out of memory");
	s->paths = grown;
	grown[s->n] = strdup(path);
	if (!grown[s->n])
		return err_set(err, SC_ENOMEM, "out of memory");
	s->n++;
	return SC_OK;
}

/* SQLite's own, beside a store that is open or was left so. */
static bool is_log(const char *path)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (span_ends(span_str(path), span_str(suffixes[i])))
			return true;
	}
	return false;
}

static int add_glob(struct sources *s, const char *pattern, struct err *err)
{
	unsigned before = s->n;
	glob_t found = {0};
	int rc = glob(pattern, GLOB_ERR, NULL, &found) == GLOB_NOSPACE
			 ? err_set(err, SC_ENOMEM, "out of memory") : SC_OK;

	for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
		if (!is_log(found.gl_pathv[i]))
			rc = add_path(s, found.gl_pathv[i], err);
	}
	globfree(&found);
	if (!rc && s->n == before)
		rc = err_set(err, SC_EINVAL, "'%s': no file has such a name", pattern);
	return rc;
}

static int check_twice(const struct sources *s, unsigned i, const struct stat *seen,
		       struct err *err)
{
	for (unsigned k = 0; k < i; k++) {
		if (seen[i].st_nlink && seen[k].st_dev == seen[i].st_dev &&
		    seen[k].st_ino == seen[i].st_ino)
			return err_set(err, SC_EINVAL, "%s: is there twice", s->paths[i]);
	}
	return SC_OK;
}

static int check_files(const struct sources *s, struct err *err)
{
	struct stat *seen = calloc(s->n ? s->n : 1, sizeof(*seen));
	int rc = seen ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");

	for (unsigned i = 0; i < s->n && !rc; i++) {
		if (stat(s->paths[i], &seen[i]) == 0)
			rc = check_twice(s, i, seen, err);
	}
	free(seen);
	return rc;
}

int sources_find(const char *const *words, int n, struct sources *ret, struct err *err)
{
	struct sources s = {NULL, 0};
	struct stat file;
	int rc = SC_OK;

	for (int i = 0; i < n && !rc; i++) {
		if (strpbrk(words[i], "*?[") && lstat(words[i], &file) < 0)
			rc = add_glob(&s, words[i], err);
		else
			rc = add_path(&s, words[i], err);
	}
	if (!rc)
		rc = check_files(&s, err);
	if (rc) {
		sources_done(&s);
		return rc;
	}
	*ret = s; /* moved */
	return SC_OK;
}

void sources_done(struct sources *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->paths[i]);
	free(s->paths);
	*s = (struct sources){NULL, 0};
}
