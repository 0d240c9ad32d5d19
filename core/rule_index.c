/* SPDX-License-Identifier: Apache-2.0 */
/* A hash of anchors. What a request could lie under is few: its host, the host's suffixes, any host;
 * its path and the beginnings of it that are as long as some rule's; a few named values. */
#include "rule_index.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

#define NONE UINT32_MAX
#define TERMS 4u        /* names that are looked up; rules with others are asked one by one */
#define HOSTS 16u       /* any, name, full, and as many suffixes */
#define VALUES 16u      /* of those names, of one request */
#define HASH_START 0xcbf29ce484222325u /* FNV-1a */
#define HASH_PRIME 0x100000001b3u
#define SALT_EXACT 0x9e3779b97f4a7c15u

struct entry {
	const struct rule *rule;
	const void *tag;
	uint64_t hash;
	uint32_t next; /* of the same bucket; ascending */
};

struct term {
	enum rule_part part;
	const char *name; /* borrowed from its rule */
};

struct rule_index {
	struct entry *entries;
	uint32_t n, room;
	uint32_t *buckets, *tails;
	uint32_t n_buckets; /* a power of two */
	uint32_t *lengths;  /* of the beginnings of paths, ascending, each once */
	uint32_t n_lengths, lengths_room;
	struct term terms[TERMS];
	unsigned n_terms;
	bool host_kinds[ANCHOR_SUFFIX + 1];
};

struct rule_index *rule_index_new(void)
{
	struct rule_index *x = calloc(1, sizeof(*x));

	if (x)
		x->host_kinds[ANCHOR_ANY] = true;
	return x;
}

void rule_index_free(struct rule_index *x)
{
	if (!x)
		return;
	free(x->entries);
	free(x->buckets);
	free(x->tails);
	free(x->lengths);
	free(x);
}

static uint64_t hash_on(uint64_t h, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * HASH_PRIME;
	return h;
}

static uint64_t hash_host(enum anchor_host kind, struct span host)
{
	uint64_t h = HASH_START + kind;

	for (size_t i = 0; i < host.len; i++)
		h = (h ^ (uint8_t)tolower(host.p[i])) * HASH_PRIME;
	return h;
}

/* Which of the looked-up names, from 1; 0 is no term at all. */
static uint64_t hash_term(unsigned number, struct span value)
{
	return number ? hash_on(HASH_START + number, value.p, value.len) : 0;
}

static uint64_t combine(uint64_t host, uint64_t path, uint64_t term)
{
	uint64_t h = host * SALT_EXACT ^ path ^ (term << 1 | term >> 63);

	return (h ^ h >> 32) * SALT_EXACT;
}

static uint32_t bucket_of(const struct rule_index *x, uint64_t hash)
{
	return (uint32_t)(hash >> 32) & (x->n_buckets - 1);
}

static int add_length(struct rule_index *x, uint32_t len)
{
	uint32_t i = 0;

	while (i < x->n_lengths && x->lengths[i] < len)
		i++;
	if (i < x->n_lengths && x->lengths[i] == len)
		return SC_OK;
	if (x->n_lengths == x->lengths_room) {
		uint32_t room = x->lengths_room ? 2 * x->lengths_room : 8;
		uint32_t *grown = realloc(x->lengths, room * sizeof(*grown));

		if (!grown)
			return SC_ENOMEM;
		x->lengths = grown;
		x->lengths_room = room;
	}
	memmove(x->lengths + i + 1, x->lengths + i, (x->n_lengths - i) * sizeof(*x->lengths));
	x->lengths[i] = len;
	x->n_lengths++;
	return SC_OK;
}

/* From 1; 0 when the rule has none, or names one too many. */
static unsigned term_number(struct rule_index *x, const struct anchor *a)
{
	if (a->term == RULE_PARTS)
		return 0;
	for (unsigned i = 0; i < x->n_terms; i++) {
		if (x->terms[i].part == a->term && strcasecmp(x->terms[i].name, a->name) == 0 &&
		    (a->term == RULE_HEADER || strcmp(x->terms[i].name, a->name) == 0))
			return i + 1;
	}
	if (x->n_terms == TERMS)
		return 0;
	x->terms[x->n_terms++] = (struct term){a->term, a->name};
	return x->n_terms;
}

static void link_entry(struct rule_index *x, uint32_t i)
{
	uint32_t b = bucket_of(x, x->entries[i].hash);

	x->entries[i].next = NONE;
	if (x->buckets[b] == NONE)
		x->buckets[b] = i;
	else
		x->entries[x->tails[b]].next = i;
	x->tails[b] = i;
}

static int grow(struct rule_index *x)
{
	uint32_t room = x->room ? 2 * x->room : 16;
	struct entry *entries = realloc(x->entries, room * sizeof(*entries));
	uint32_t *buckets, *tails;

	if (!entries)
		return SC_ENOMEM;
	x->entries = entries;
	buckets = malloc(2 * room * sizeof(*buckets));
	tails = malloc(2 * room * sizeof(*tails));
	if (!buckets || !tails) {
		free(buckets);
		free(tails);
		return SC_ENOMEM;
	}
	free(x->buckets);
	free(x->tails);
	x->buckets = buckets;
	x->tails = tails;
	x->room = room;
	x->n_buckets = 2 * room;
	memset(buckets, 0xff, x->n_buckets * sizeof(*buckets));
	for (uint32_t i = 0; i < x->n; i++)
		link_entry(x, i);
	return SC_OK;
}

int rule_index_add(struct rule_index *x, const struct rule *r, const void *tag)
{
	struct anchor a;
	uint64_t path;

	rule_anchor(r, &a);
	if ((x->n == x->room && grow(x)) || (!a.exact && add_length(x, (uint32_t)a.path.len)))
		return SC_ENOMEM;
	path = hash_on(HASH_START, a.path.p, a.path.len) ^ (a.exact ? SALT_EXACT : 0);
	x->host_kinds[a.host_kind] = true;
	x->entries[x->n] = (struct entry){
		.rule = r,
		.tag = tag,
		.hash = combine(a.host_kind == ANCHOR_ANY ? 0 : hash_host(a.host_kind, a.host), path,
				hash_term(term_number(x, &a), a.value)),
	};
	link_entry(x, x->n++);
	return SC_OK;
}

/* What a request could lie under, but for the path. */
struct keys {
	uint64_t hosts[HOSTS];
	unsigned n_hosts;
	uint64_t terms[VALUES];
	unsigned n_terms;
	bool too_many; /* there was no room for all of them */
};

static void host_keys(const struct rule_index *x, const struct subject *s, struct keys *k)
{
	struct span name = s->host_name;

	k->hosts[k->n_hosts++] = 0;
	if (x->host_kinds[ANCHOR_NAME])
		k->hosts[k->n_hosts++] = hash_host(ANCHOR_NAME, name);
	if (x->host_kinds[ANCHOR_FULL])
		k->hosts[k->n_hosts++] = hash_host(ANCHOR_FULL, s->host);
	if (!x->host_kinds[ANCHOR_SUFFIX])
		return;
	for (size_t i = 1; i < name.len; i++) {
		if (name.p[i] != '.')
			continue;
		if (k->n_hosts == HOSTS) {
			k->too_many = true;
			return;
		}
		k->hosts[k->n_hosts++] =
			hash_host(ANCHOR_SUFFIX, span_of(name.p + i, name.len - i));
	}
}

static void term_keys(const struct rule_index *x, const struct subject *s, struct keys *k)
{
	k->terms[k->n_terms++] = 0;
	for (unsigned i = 0; i < x->n_terms; i++) {
		struct values v = {.at = 0};
		struct span value;

		while (subject_value(s, x->terms[i].part, x->terms[i].name, &v, &value)) {
			if (k->n_terms == VALUES) {
				k->too_many = true;
				return;
			}
			k->terms[k->n_terms++] = hash_term(i + 1, value);
		}
	}
}

/* The lowest entry under this path that takes the request and comes before `best`. */
static uint32_t probe(const struct rule_index *x, const struct subject *s, const struct keys *k,
		      uint64_t path, uint32_t best)
{
	for (unsigned h = 0; h < k->n_hosts; h++) {
		for (unsigned t = 0; t < k->n_terms; t++) {
			uint64_t hash = combine(k->hosts[h], path, k->terms[t]);
			uint32_t i = x->buckets[bucket_of(x, hash)];

			for (; i < best; i = x->entries[i].next) {
				if (x->entries[i].hash == hash &&
				    rule_takes(x->entries[i].rule, s)) {
					best = i;
					break;
				}
			}
		}
	}
	return best;
}

static const void *ask_all(const struct rule_index *x, const struct subject *s)
{
	for (uint32_t i = 0; i < x->n; i++) {
		if (rule_takes(x->entries[i].rule, s))
			return x->entries[i].tag;
	}
	return NULL;
}

const void *rule_index_find(const struct rule_index *x, const struct subject *s)
{
	struct keys k = {.n_hosts = 0};
	uint64_t path = HASH_START;
	uint32_t best = NONE;
	size_t at = 0;

	if (!x->n)
		return NULL;
	host_keys(x, s, &k);
	term_keys(x, s, &k);
	if (k.too_many)
		return ask_all(x, s);
	for (uint32_t i = 0; i < x->n_lengths && x->lengths[i] <= s->path.len; i++) {
		path = hash_on(path, s->path.p + at, x->lengths[i] - at);
		at = x->lengths[i];
		best = probe(x, s, &k, path, best);
	}
	path = hash_on(path, s->path.p + at, s->path.len - at);
	best = probe(x, s, &k, path ^ SALT_EXACT, best);
	return best == NONE ? NULL : x->entries[best].tag;
}
