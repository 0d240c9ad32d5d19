/* SPDX-License-Identifier: Apache-2.0 */
/* YAML events to trees. The only place that knows libfyaml: it takes events, not the library's own
 * documents, so that depth, size and what aliases stand for have ceilings of ours, and an alias
 * costs nothing. Knows no manifest. */
#include "manifest_tree.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"

/* A mapping or list that is being read. */
struct frame {
	struct value *node;
	size_t first; /* of its pairs among the pending ones */
	const char *key;
	unsigned key_line;
};

struct anchor {
	const char *name;
	const struct value *node;
};

struct parser {
	struct arena *arena;
	const char *file;
	struct err *err;
	struct frame frames[LIMIT_MANIFEST_DEPTH];
	unsigned depth;
	struct pair *pending; /* of all frames, the innermost one's last */
	size_t n_pending, max_pending;
	struct anchor anchors[LIMIT_MANIFEST_ANCHORS];
	unsigned n_anchors;
	size_t nodes;
	unsigned line; /* of the last event that had one */
	const struct value **documents;
	unsigned n_documents, max_documents;
	const struct value *root;
};

/* ".spec.http[2]" of what is being read. */
static void write_path(const struct parser *p, char *to, size_t size)
{
	size_t at = 0;

	to[0] = '\0';
	for (unsigned i = 0; i < p->depth && at < size; i++) {
		const struct frame *f = &p->frames[i];
		size_t end = i + 1 < p->depth ? p->frames[i + 1].first : p->n_pending;
		int n = 0;

		if (f->node->kind == VALUE_LIST)
			n = snprintf(to + at, size - at, "[%zu]", end - f->first);
		else if (f->key)
			n = snprintf(to + at, size - at, "%s%s", at ? "." : "", f->key);
		at += n > 0 ? (size_t)n : 0;
	}
}

static int wrong(const struct parser *p, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int wrong(const struct parser *p, unsigned line, const char *fmt, ...)
{
	char text[256], path[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_path(p, path, sizeof(path));
	return err_set(p->err, SC_EINVAL, "%s:%u: %s%s%s", p->file, line, path, path[0] ? ": " : "",
		       text);
}

static int no_memory(const struct parser *p)
{
	(void)err_set(p->err, SC_ENOMEM, "out of memory");
	return SC_ENOMEM;
}

/* Room for one more of `size` bytes in a growing array. */
static void *grown(void *array, size_t n, size_t *max, size_t size)
{
	size_t more = *max ? *max * 2 : 64;
	void *bigger;

	if (n < *max)
		return array;
	bigger = reallocarray(array, more, size);
	if (bigger)
		*max = more;
	return bigger;
}

static int add_pending(struct parser *p, struct pair pair)
{
	struct pair *bigger = grown(p->pending, p->n_pending, &p->max_pending, sizeof(pair));

	if (!bigger)
		return no_memory(p);
	p->pending = bigger;
	p->pending[p->n_pending++] = pair;
	return SC_OK;
}

static int too_many_nodes(const struct parser *p)
{
	return wrong(p, p->line, "more than %u values, aliases counted as what they stand for",
		     LIMIT_MANIFEST_NODES);
}

/* Where a value goes that has just been read whole. */
static int put(struct parser *p, const struct value *node)
{
	struct frame *f;
	struct pair pair = {.line = node->line, .value = node};

	if (p->depth == 0) {
		p->root = node;
		return SC_OK;
	}
	f = &p->frames[p->depth - 1];
	if (f->node->kind == VALUE_MAP && !f->key) {
		if (!node->text)
			return wrong(p, node->line, "a name is expected in front of the colon");
		f->key = node->text;
		f->key_line = node->line;
		return SC_OK;
	}
	if (f->node->kind == VALUE_MAP) {
		pair.key = f->key;
		pair.line = f->key_line;
		f->key = NULL;
	}
	return add_pending(p, pair);
}

static struct value *new_node(struct parser *p, enum value_kind kind)
{
	struct value *node = arena_alloc(p->arena, sizeof(*node));

	if (node) {
		node->kind = kind;
		node->line = p->line;
		node->weight = 1;
	}
	return node;
}

/* A token's text with its length; NULL: no memory. fy_token_get_text() would do both at once, but
 * leaks (0.7.12) with every text of many lines or escapes. */
static const char *token_text(struct fy_token *token, size_t *ret_len)
{
	const char *text = fy_token_get_text0(token);

	*ret_len = text ? fy_token_get_text_length(token) : 0;
	return text;
}

static int remember(struct parser *p, struct fy_event *e, const struct value *node)
{
	struct fy_token *token = fy_event_get_anchor_token(e);
	const char *name;
	size_t len = 0;

	if (!token)
		return SC_OK;
	if (p->n_anchors == LIMIT_MANIFEST_ANCHORS)
		return wrong(p, p->line, "more than %u anchors", LIMIT_MANIFEST_ANCHORS);
	name = token_text(token, &len);
	name = arena_copy(p->arena, name, name ? len : 0);
	if (!name)
		return no_memory(p);
	p->anchors[p->n_anchors++] = (struct anchor){name, node};
	return SC_OK;
}

static int open_node(struct parser *p, struct fy_event *e, enum value_kind kind)
{
	const struct frame *up = p->depth ? &p->frames[p->depth - 1] : NULL;
	struct value *node;

	if (p->depth == LIMIT_MANIFEST_DEPTH)
		return wrong(p, p->line, "more than %u levels deep", LIMIT_MANIFEST_DEPTH);
	if (up && up->node->kind == VALUE_MAP && !up->key)
		return wrong(p, p->line, "a name is expected in front of the colon");
	if (++p->nodes > LIMIT_MANIFEST_NODES)
		return too_many_nodes(p);
	node = new_node(p, kind);
	if (!node)
		return no_memory(p);
	node->open = true;
	p->frames[p->depth++] = (struct frame){.node = node, .first = p->n_pending};
	return remember(p, e, node);
}

/* The pairs behind the `<<` of a mapping, each as if it stood in it. */
static int merge_map(struct parser *p, const struct value *from)
{
	int rc = SC_OK;

	p->nodes += from->weight;
	if (p->nodes > LIMIT_MANIFEST_NODES)
		return too_many_nodes(p);
	for (unsigned i = 0; i < from->n && !rc; i++)
		rc = add_pending(p, from->pairs[i]);
	return rc;
}

static int merge(struct parser *p, const struct pair *from)
{
	const struct value *v = from->value;
	int rc = SC_OK;

	if (v->kind == VALUE_MAP)
		return merge_map(p, v);
	if (v->kind != VALUE_LIST)
		return wrong(p, from->line, "<< takes a mapping or a list of them");
	for (unsigned i = 0; i < v->n && !rc; i++) {
		if (v->pairs[i].value->kind != VALUE_MAP)
			return wrong(p, from->line, "<< takes a mapping or a list of them");
		rc = merge_map(p, v->pairs[i].value);
	}
	return rc;
}

/* What `<<` brings is put behind the mapping's own pairs. Returns their number by `own`. */
static int merge_all(struct parser *p, size_t first, size_t *own)
{
	size_t kept = first, n = p->n_pending;
	struct pair sources[4];
	unsigned n_sources = 0;
	int rc = SC_OK;

	for (size_t i = first; i < n; i++) {
		if (strcmp(p->pending[i].key, "<<") != 0)
			p->pending[kept++] = p->pending[i];
		else if (n_sources == sizeof(sources) / sizeof(sources[0]))
			return wrong(p, p->pending[i].line, "<< stands in it too often");
		else
			sources[n_sources++] = p->pending[i];
	}
	p->n_pending = kept;
	*own = kept - first;
	for (unsigned i = 0; i < n_sources && !rc; i++)
		rc = merge(p, &sources[i]);
	return rc;
}

/* By key, then by place. */
static int compare_pairs(const void *a, const void *b)
{
	const struct pair *const *pa = a, *const *pb = b;
	int order = strcmp((*pa)->key, (*pb)->key);

	return order ? order : (*pa > *pb) - (*pa < *pb);
}

/* Of pairs with the same key the first one stays: the mapping's own, and never two of those. */
static int drop_doubles(struct parser *p, struct pair *pairs, size_t *n, size_t own)
{
	const struct pair **sorted = reallocarray(NULL, *n + 1, sizeof(struct pair *));
	size_t kept = 0;
	int rc = SC_OK;

	if (!sorted)
		return no_memory(p);
	for (size_t i = 0; i < *n; i++)
		sorted[i] = &pairs[i];
	qsort(sorted, *n, sizeof(sorted[0]), compare_pairs);
	for (size_t i = 1, same = 0; i < *n && !rc; i++) {
		if (strcmp(sorted[i]->key, sorted[same]->key) != 0)
			same = i;
		else if (sorted[i] < pairs + own)
			rc = wrong(p, sorted[i]->line, "'%.64s' is given twice, first in line %u",
				   sorted[i]->key, sorted[same]->line);
		else
			pairs[sorted[i] - pairs].value = NULL;
	}
	free(sorted);
	for (size_t i = 0; i < *n && !rc; i++) {
		if (pairs[i].value)
			pairs[kept++] = pairs[i];
	}
	if (!rc)
		*n = kept;
	return rc;
}

static int settle_map(struct parser *p, size_t first)
{
	size_t own = 0, n;
	int rc = merge_all(p, first, &own);

	if (rc)
		return rc;
	n = p->n_pending - first;
	if (n > 1)
		rc = drop_doubles(p, p->pending + first, &n, own);
	if (!rc)
		p->n_pending = first + n;
	return rc;
}

static int close_node(struct parser *p)
{
	struct frame *f;
	struct value *node;
	size_t n;
	int rc;

	if (p->depth == 0)
		return wrong(p, p->line, "is not YAML");
	f = &p->frames[p->depth - 1];
	node = f->node;
	rc = node->kind == VALUE_MAP ? settle_map(p, f->first) : SC_OK;
	if (rc)
		return rc;
	n = p->n_pending - f->first;
	node->pairs = arena_alloc(p->arena, (n + 1) * sizeof(struct pair));
	if (!node->pairs)
		return no_memory(p);
	for (size_t i = 0; i < n; i++) {
		node->pairs[i] = p->pending[f->first + i];
		node->weight += node->pairs[i].value->weight;
	}
	node->n = (unsigned)n;
	node->open = false;
	p->n_pending = f->first;
	p->depth--;
	return put(p, node);
}

static bool says_nothing(const char *text)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
		if (strcmp(text, nulls[i]) == 0)
			return true;
	}
	return false;
}

static int scalar(struct parser *p, struct fy_event *e)
{
	struct fy_token *token = fy_event_get_token(e);
	bool plain = !token || fy_token_scalar_style(token) == FYSS_PLAIN;
	struct value *node;
	size_t len = 0;
	const char *text = token ? token_text(token, &len) : "";
	int rc;

	if (!text)
		return no_memory(p);
	if (memchr(text, '\0', len))
		return wrong(p, p->line, "a text holds a zero byte");
	if (++p->nodes > LIMIT_MANIFEST_NODES)
		return too_many_nodes(p);
	node = new_node(p, VALUE_TEXT);
	if (!node)
		return no_memory(p);
	node->text = arena_copy(p->arena, text, len);
	if (!node->text)
		return no_memory(p);
	if (plain && !fy_event_get_tag_token(e) && says_nothing(node->text))
		node->kind = VALUE_NULL;
	rc = remember(p, e, node);
	return rc ? rc : put(p, node);
}

static int alias(struct parser *p, struct fy_event *e)
{
	struct fy_token *token = fy_event_get_token(e);
	size_t len = 0;
	const char *name = token ? token_text(token, &len) : NULL;

	for (unsigned i = p->n_anchors; name && i-- > 0;) {
		const struct anchor *a = &p->anchors[i];

		if (strlen(a->name) != len || memcmp(a->name, name, len) != 0)
			continue;
		if (a->node->open)
			return wrong(p, p->line, "*%.64s stands inside what it stands for",
				     a->name);
		p->nodes += a->node->weight;
		if (p->nodes > LIMIT_MANIFEST_NODES)
			return too_many_nodes(p);
		return put(p, a->node);
	}
	return wrong(p, p->line, "*%.*s: there is no such anchor before it",
		     len > 64 ? 64 : (int)len, name ? name : "");
}

static int end_document(struct parser *p)
{
	size_t max = p->max_documents;
	const struct value **bigger = grown(p->documents, p->n_documents, &max, sizeof(*bigger));

	if (!bigger)
		return no_memory(p);
	p->documents = bigger;
	p->max_documents = (unsigned)max;
	if (p->root)
		p->documents[p->n_documents++] = p->root;
	p->root = NULL;
	p->n_anchors = 0;
	return SC_OK;
}

static int take_event(struct parser *p, struct fy_event *e)
{
	const struct fy_mark *mark = fy_event_start_mark(e);

	if (mark)
		p->line = (unsigned)mark->line + 1;
	switch (e->type) {
	case FYET_DOCUMENT_END:
		return end_document(p);
	case FYET_MAPPING_START:
		return open_node(p, e, VALUE_MAP);
	case FYET_SEQUENCE_START:
		return open_node(p, e, VALUE_LIST);
	case FYET_MAPPING_END:
	case FYET_SEQUENCE_END:
		return close_node(p);
	case FYET_SCALAR:
		return scalar(p, e);
	case FYET_ALIAS:
		return alias(p, e);
	default:
		return SC_OK;
	}
}

/* Before the library sees it: what no YAML file holds. */
static int check_bytes(struct parser *p, const char *text, size_t len)
{
	p->line = 1;
	for (size_t at = 0; at < len; p->line++) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t end = nl ? (size_t)(nl - text) + 1 : len;

		if (end - at > LIMIT_MANIFEST_LINE)
			return wrong(p, p->line, "is a line of more than %u MiB",
				     LIMIT_MANIFEST_LINE / MIB);
		if (!utf8_valid(span_of(text + at, end - at)))
			return wrong(p, p->line, "is not UTF-8");
		for (; at < end; at++) {
			unsigned char c = (unsigned char)text[at];

			if ((c < ' ' && !strchr("\t\r\n", c)) || c == '\0' || c == 0x7f)
				return wrong(p, p->line, "control character 0x%02x", c);
		}
	}
	return SC_OK;
}

/* What the library found wrong; the first of it, since the rest follows from that. */
static int said(struct parser *p, struct fy_diag *diag)
{
	void *at = NULL;
	const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &at);

	p->depth = 0; /* its place is where the reader was, which is not where the fault is */
	if (!e || !e->msg)
		return wrong(p, p->line, "is not YAML");
	return wrong(p, e->line > 0 ? (unsigned)e->line : p->line, "%s", e->msg);
}

static int take_events(struct parser *p, struct fy_parser *fyp, struct fy_diag *diag)
{
	bool ended = false;
	int rc = SC_OK;

	while (!rc && !ended) {
		struct fy_event *e = fy_parser_parse(fyp);

		if (!e)
			return said(p, diag);
		rc = take_event(p, e);
		ended = e->type == FYET_STREAM_END;
		fy_parser_event_free(fyp, e);
	}
	return rc;
}

static void swallow(struct fy_diag *diag, void *user, const char *text, size_t len)
{
	(void)diag;
	(void)user;
	(void)text;
	(void)len;
}

static struct fy_diag *new_diag(void)
{
	struct fy_diag_cfg cfg;
	struct fy_diag *diag;

	fy_diag_cfg_default(&cfg);
	cfg.fp = NULL;
	cfg.output_fn = swallow;
	cfg.level = FYET_ERROR;
	cfg.colorize = false;
	diag = fy_diag_create(&cfg);
	if (diag)
		fy_diag_set_collect_errors(diag, true);
	return diag;
}

static int parse(struct parser *p, const char *text, size_t len)
{
	struct fy_parse_cfg cfg = {
		.flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE,
		.diag = new_diag(),
	};
	struct fy_parser *fyp = cfg.diag ? fy_parser_create(&cfg) : NULL;
	int rc;

	if (!fyp || fy_parser_set_string(fyp, text, len) != 0)
		rc = no_memory(p);
	else
		rc = take_events(p, fyp, cfg.diag);
	if (fyp)
		fy_parser_destroy(fyp);
	if (cfg.diag)
		fy_diag_destroy(cfg.diag);
	return rc;
}

int tree_read(struct arena *a, const char *file, const char *text, size_t len, struct tree *ret,
	      struct err *err)
{
	struct parser *p = calloc(1, sizeof(*p));
	const struct value **documents;
	size_t size;
	int rc;

	if (!p)
		return err_set(err, SC_ENOMEM, "out of memory");
	p->arena = a;
	p->file = file;
	p->err = err;
	rc = check_bytes(p, text, len);
	if (!rc && len)
		rc = parse(p, text, len);
	size = p->n_documents * sizeof(*documents);
	documents = rc ? NULL : arena_alloc(a, size);
	if (!rc && !documents)
		rc = no_memory(p);
	if (!rc) {
		if (size)
			memcpy(documents, p->documents, size);
		*ret = (struct tree){documents, p->n_documents};
	}
	free(p->documents);
	free(p->pending);
	free(p);
	return rc;
}
