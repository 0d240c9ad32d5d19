/* SPDX-License-Identifier: Apache-2.0 */
/* Files to documents, documents to their readers, and what they say together. Knows the kinds, not
 * what stands in them. */
#include "manifest.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limits.h"
#include "manifest_parts.h"

#define READ_BYTES (64u * KIB)

/* What a mesh knows is read first, what asks it after that, wherever they stand. */
enum pass { PASS_MESH, PASS_ROUTES, PASSES };

struct kind {
	const char *name, *group;
	enum pass pass;
	int (*read)(struct reader *r, const struct document *d);
};
static const struct kind kinds[] = {
	{"VirtualService", "networking.istio.io", PASS_ROUTES, route_read_virtual_service},
	{"DestinationRule", "networking.istio.io", PASS_MESH, mesh_read_destination_rule},
	{"ServiceEntry", "networking.istio.io", PASS_MESH, mesh_read_service_entry},
	{"HTTPRoute", "gateway.networking.k8s.io", PASS_ROUTES, route_read_http_route},
};
#define KINDS "VirtualService, DestinationRule, ServiceEntry or HTTPRoute"

enum { TOP_VERSION, TOP_KIND, TOP_META, TOP_SPEC, TOP_STATUS, TOP_FIELDS };
static const struct known top_fields[TOP_FIELDS] = {
	[TOP_VERSION] = {"apiVersion", NULL},
	[TOP_KIND] = {"kind", NULL},
	[TOP_META] = {"metadata", NULL},
	[TOP_SPEC] = {"spec", NULL},
	[TOP_STATUS] = {"status", NULL},
};

static const struct kind *find_kind(const char *name, const char *version)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].group);

		if (strcmp(kinds[i].name, name) == 0 && strncmp(kinds[i].group, version, n) == 0 &&
		    version[n] == '/')
			return &kinds[i];
	}
	return NULL;
}

/* A text of a mapping of which nothing else matters. */
static int read_member(struct reader *r, const struct place *map, const char *key, const char **ret)
{
	for (unsigned i = 0; i < place_count(map); i++) {
		struct place at = place_item(map, i);

		if (map->node->kind == VALUE_MAP && strcmp(at.key, key) == 0)
			return place_text(r, &at, ret);
	}
	return SC_OK;
}

static int read_document(struct reader *r, const struct place *at, const struct kind *kind)
{
	struct document d = {.place = *at};
	struct place f[TOP_FIELDS];
	int rc = fields_find(r, at, top_fields, TOP_FIELDS, f);

	if (!rc)
		rc = place_is(r, &f[TOP_META], VALUE_MAP);
	if (!rc)
		rc = read_member(r, &f[TOP_META], "name", &d.name);
	if (!rc)
		rc = read_member(r, &f[TOP_META], "namespace", &d.namespace);
	if (!rc && !f[TOP_SPEC].node)
		rc = place_wrong(r, &f[TOP_SPEC], "is missing; expected the %s's own fields",
				 kind->name);
	if (rc)
		return rc;
	d.spec = f[TOP_SPEC];
	return kind->read(r, &d);
}

static bool ends_in_list(const char *kind)
{
	size_t len = strlen(kind);

	return len >= 4 && strcmp(kind + len - 4, "List") == 0;
}

static int take_document(struct reader *r, const struct place *at, enum pass pass, bool in_list);

/* What kubectl prints: the documents are its items. */
static int take_list(struct reader *r, const struct place *at, enum pass pass)
{
	struct place items = {.up = at, .key = "items", .line = at->line};
	int rc;

	for (unsigned i = 0; i < at->node->n; i++) {
		if (strcmp(at->node->pairs[i].key, "items") == 0)
			items = place_item(at, i);
	}
	rc = place_is(r, &items, VALUE_LIST);
	for (unsigned i = 0; i < place_count(&items) && !rc; i++) {
		struct place item = place_item(&items, i);

		rc = take_document(r, &item, pass, true);
	}
	return rc;
}

static int take_document(struct reader *r, const struct place *at, enum pass pass, bool in_list)
{
	const char *name = "", *version = "";
	const struct kind *kind;
	int rc;

	if (!at->node)
		return SC_OK;
	if (at->node->kind != VALUE_MAP)
		return place_wrong(r, at, "expected a mapping with apiVersion, kind and spec");
	rc = read_member(r, at, "kind", &name);
	if (!rc)
		rc = read_member(r, at, "apiVersion", &version);
	if (rc)
		return rc;
	if (!*name)
		return place_wrong(r, at, "kind is missing; expected " KINDS);
	if (ends_in_list(name) && !in_list)
		return take_list(r, at, pass);
	kind = find_kind(name, version);
	if (kind)
		return kind->pass == pass ? read_document(r, at, kind) : SC_OK;
	if (pass == PASS_MESH)
		place_warn(r, at,
			   "kind %.64s of '%.64s' says nothing of mirrors that is read here: "
			   "skipped",
			   name, version);
	return SC_OK;
}

/* The bytes of all files so far count together. */
static int read_all(int fd, const char *file, size_t left, char **ret, size_t *ret_len,
		    struct err *err)
{
	char *text = NULL, *more;
	size_t len = 0;
	ssize_t n;

	for (;;) {
		more = realloc(text, len + READ_BYTES);
		if (!more) {
			free(text);
			return err_set(err, SC_ENOMEM, "out of memory");
		}
		text = more;
		do
			n = read(fd, text + len, READ_BYTES);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len > left) {
			n = -1;
			errno = EFBIG;
			break;
		}
	}
	if (n < 0) {
		free(text);
		if (errno == EFBIG)
			return err_set(err, SC_EINVAL, "%s: more than %u MiB of manifests", file,
				       LIMIT_MANIFEST_BYTES / MIB);
		return err_set(err, SC_EINVAL, "%s: %s", file, strerror(errno));
	}
	*ret = text;
	*ret_len = len;
	return SC_OK;
}

static int read_file(const char *path, size_t left, char **ret, size_t *ret_len, struct err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int rc;

	if (fd < 0)
		return err_set(err, SC_EINVAL, "%s: %s", path, strerror(errno));
	rc = read_all(fd, is_stdin ? "stdin" : path, left, ret, ret_len, err);
	if (!is_stdin)
		(void)close(fd);
	return rc;
}

static int read_tree(struct reader *r, const char *path, size_t *left, struct tree *ret)
{
	const char *file = strcmp(path, "-") == 0 ? "stdin" : path;
	char *text = NULL;
	size_t len = 0;
	int rc = read_file(path, *left, &text, &len, r->err);

	if (rc)
		return rc;
	*left -= len;
	rc = tree_read(&r->arena, file, text, len, ret, r->err);
	free(text);
	return rc;
}

static int take_trees(struct reader *r, const char *const *paths, unsigned n_paths,
		      const struct tree *trees, enum pass pass)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < n_paths; i++) {
		for (unsigned k = 0; k < trees[i].n_documents && !rc; k++) {
			const struct value *node = trees[i].documents[k];
			struct place at = {
				.file = strcmp(paths[i], "-") == 0 ? "stdin" : paths[i],
				.line = node->line,
				.node = node->kind == VALUE_NULL ? NULL : node,
			};

			rc = take_document(r, &at, pass, false);
		}
	}
	return rc;
}

struct order {
	unsigned specificity, index;
};

static int compare_order(const void *a, const void *b)
{
	const struct order *oa = a, *ob = b;

	if (oa->specificity != ob->specificity)
		return oa->specificity > ob->specificity ? -1 : 1;
	return (oa->index > ob->index) - (oa->index < ob->index);
}

/* A mesh asks the rules of the most exact host, wherever they stand. */
static int sort_groups(struct reader *r)
{
	struct policy *p = r->policy;
	struct order *order = reallocarray(NULL, p->n_groups + 1u, sizeof(*order));
	struct policy_group *sorted = reallocarray(NULL, p->n_groups + 1u, sizeof(*sorted));

	if (!order || !sorted) {
		free(order);
		free(sorted);
		return reader_no_memory(r);
	}
	for (unsigned i = 0; i < p->n_groups; i++)
		order[i] = (struct order){r->specificity[i], i};
	qsort(order, p->n_groups, sizeof(*order), compare_order);
	for (unsigned i = 0; i < p->n_groups; i++)
		sorted[i] = p->groups[order[i].index];
	if (p->n_groups)
		memcpy(p->groups, sorted, p->n_groups * sizeof(*sorted));
	free(order);
	free(sorted);
	return SC_OK;
}

/* What holds for the manifests as a whole. */
static void warn_of_all(struct reader *r, const char *const *paths, unsigned n_paths)
{
	const char *file = n_paths == 1 ? paths[0] : "the manifests";
	const char *why = NULL;

	resolve_warn_unused(r);
	if (!r->routes)
		why = "there is no VirtualService or HTTPRoute in it";
	else if (!policy_mirrors(r->policy))
		why = r->off ? "every mirror is at 0%" : "no rule has a mirror";
	if (why && strcmp(file, "-") == 0)
		file = "stdin";
	if (why)
		named_warn(r, file, "nothing is mirrored: %s", why);
	if (r->o->warn && r->warnings > LIMIT_MANIFEST_WARNINGS) {
		char line[64];

		(void)snprintf(line, sizeof(line), "%u more warnings are left out",
			       r->warnings - LIMIT_MANIFEST_WARNINGS);
		r->o->warn(r->o->arg, line);
	}
}

static int read_everything(struct reader *r, const char *const *paths, unsigned n_paths)
{
	struct tree *trees = arena_alloc(&r->arena, (n_paths + 1u) * sizeof(*trees));
	size_t left = LIMIT_MANIFEST_BYTES;
	int rc = trees ? mesh_new(r) : reader_no_memory(r);

	if (!rc)
		rc = resolve_read(r);
	for (unsigned i = 0; i < n_paths && !rc; i++)
		rc = read_tree(r, paths[i], &left, &trees[i]);
	for (unsigned pass = 0; pass < PASSES && !rc; pass++)
		rc = take_trees(r, paths, n_paths, trees, (enum pass)pass);
	return rc ? rc : sort_groups(r);
}

int manifest_read(const char *const *paths, unsigned n_paths, const struct manifest_options *o,
		  struct policy **ret, struct err *err)
{
	struct reader r = {.o = o, .err = err, .policy = policy_new()};
	int rc = r.policy ? read_everything(&r, paths, n_paths) : reader_no_memory(&r);

	if (!rc && policy_seal(r.policy))
		rc = reader_no_memory(&r);
	if (rc) {
		policy_free(r.policy);
	} else {
		warn_of_all(&r, paths, n_paths);
		*ret = r.policy;
	}
	free(r.specificity);
	arena_done(&r.arena);
	/* One line, whatever the manifest's keys hold. */
	for (char *c = rc && err ? err->text : NULL; c && *c; c++) {
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	}
	return rc;
}
