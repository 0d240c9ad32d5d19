/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of the manifest's kinds share: where a value stands, what is taken from it, and
 * what is said about it. Private to manifest_*.c. */
#ifndef CLI_MANIFEST_PARTS_H
#define CLI_MANIFEST_PARTS_H

#include <stdint.h>

#include "core/policy.h"
#include "core/rewrite.h"
#include "manifest.h"
#include "manifest_tree.h"

/* A value and the way to it. Lives on the stack of whoever reads it; `up` lies further up. */
struct place {
	const struct place *up; /* NULL: a document */
	const char *file;       /* of a document */
	const char *key;        /* NULL: an item of a list, `index` */
	unsigned index, line;
	const struct value *node; /* NULL: not given, or null */
};

/* A document's kind is known; metadata is read. */
struct document {
	struct place place, spec;
	const char *name;      /* NULL: none */
	const char *namespace; /* NULL: none, which is "default" where one is needed */
};

struct mesh;
struct reader {
	const struct manifest_options *o;
	struct err *err;
	struct arena arena;
	struct policy *policy;
	struct mesh *mesh;
	unsigned parts, warnings;
	unsigned routes; /* VirtualServices and HTTPRoutes read */
	unsigned off;    /* mirrors at 0% */
	unsigned *specificity; /* of each group: the higher the sooner it is asked */
};

static inline int reader_no_memory(struct reader *r)
{
	(void)err_set(r->err, SC_ENOMEM, "out of memory");
	return SC_ENOMEM;
}

/* "FILE:LINE: PATH" in the arena; NULL: no memory. */
char *place_name(struct reader *r, const struct place *at);
/* "FILE:LINE: PATH: ..."; SC_EINVAL. */
int place_wrong(struct reader *r, const struct place *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What the library below found wrong with a value, with its place; other errors as they are. */
int place_failed(struct reader *r, const struct place *at, int rc, const struct err *inner);
void place_warn(struct reader *r, const struct place *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with a place that was kept by its name. */
void named_warn(struct reader *r, const char *place, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The fields of a mapping: a table, its rows numbered by an enum. */
struct known {
	const char *name;    /* lowerCamelCase; snake_case is taken too */
	const char *warning; /* "is ignored: ...", said where it is given; NULL: nothing to say */
};
/* Finds them: ret[i] is the place of fields[i]. Warns of others. A mapping that is not given has
 * none. SC_EINVAL when it is no mapping. */
int fields_find(struct reader *r, const struct place *at, const struct known *fields, unsigned n,
		struct place *ret);

/* Values; a missing one leaves *ret alone. SC_EINVAL with what was expected. */
int place_text(struct reader *r, const struct place *at, const char **ret);
int place_number(struct reader *r, const struct place *at, double low, double high, double *ret);
int place_integer(struct reader *r, const struct place *at, unsigned low, unsigned high,
		  unsigned *ret);
int place_flag(struct reader *r, const struct place *at, bool *ret);
/* A text that must be there; `what` it is: "a host name". */
int place_need(struct reader *r, const struct place *at, const char *what, const char **ret);

/* SC_EINVAL unless it is missing or of that kind. */
int place_is(struct reader *r, const struct place *at, enum value_kind kind);
static inline unsigned place_count(const struct place *at)
{
	return at->node ? at->node->n : 0;
}
/* Item or field i of a list or mapping. */
struct place place_item(const struct place *at, unsigned i);

/* One more rule, condition, change or mirror. SC_EINVAL over the ceiling. */
int reader_count(struct reader *r, const struct place *at);

/* Hosts (manifest_host.c). Names compare by what they come to: the short name of a service, its
 * fully qualified one and what lies between are the same. */
char *host_canonical(struct reader *r, const char *host, const char *namespace);
/* Of canonical names; `pattern` may be *.suffix or *. 0: no, else the higher the more exact. */
unsigned host_rank(const char *pattern, const char *host);
/* A host name, with `wildcard` also * and *.suffix; SC_EINVAL. */
int host_check(struct reader *r, const struct place *at, const char *host, bool wildcard);
/* The hosts of a group, a list; with "*" among them none, which is every host. `short_names`: a
 * name without dots, or of the cluster's domain, is a service's, and all its spellings count. */
int hosts_add(struct reader *r, const struct document *d, struct policy_group *g,
	      const struct place *list, bool short_names);
/* One host more: the service `name`, in all its spellings. */
int host_add_service(struct reader *r, const struct place *at, struct policy_group *g,
		     const char *name, const char *namespace);
/* A new group for the document. NULL: no memory, said. */
struct policy_group *group_new(struct reader *r);

/* Tests (manifest_match.c). */
enum match_use {
	MATCH_PLAIN,
	MATCH_URI,  /* without a test it is none: *ret is NULL */
	MATCH_FOLD, /* as MATCH_URI; exact and prefix without case */
};
/* A StringMatch. Without a test: TEXT_PRESENT. *ret_value: what is compared with; NULL is fine. */
int match_read(struct reader *r, const struct place *at, enum match_use use, struct text **ret,
	       const char **ret_value);
/* A condition of `kind` on `part`, said to be wrong at `at`. */
int match_add(struct reader *r, const struct place *at, struct rule *rule, enum rule_part part,
	      const char *name, struct text *text);

/* Changes (manifest_change.c): what a rule says, then made once for each of its blocks, since a
 * path is changed by what the block's own condition matched. */
struct change_field {
	enum header_op op;
	const char *name, *value; /* value NULL for HEADER_REMOVE */
};
/* Who names the new host; the higher one counts. */
enum authority_rank { AUTHORITY_NONE, AUTHORITY_ADDED, AUTHORITY_SET, AUTHORITY_REWRITE };
struct change {
	const char *path; /* what comes in place of `from`; NULL: unchanged */
	const char *from;
	enum path_change how;
	const char *authority; /* NULL: unchanged */
	enum authority_rank authority_rank;
	struct change_field *fields; /* in the arena, in the order in which they are done */
	unsigned n_fields, max_fields;
};
int change_add_field(struct reader *r, const struct place *at, struct change *c,
		     struct change_field f);
int change_set_authority(struct reader *r, const struct place *at, struct change *c,
			 const char *host, enum authority_rank rank);
int change_set_path(struct reader *r, const struct place *at, struct change *c,
		    enum path_change how, const char *from, const char *to);
/* rewrite and headers of a VirtualService; the latter add to what is there. `how` of a rewrite by
 * uri is PATH_CHANGE_WHOLE: the block knows better. */
int change_read_rewrite(struct reader *r, const struct place *at, struct change *c);
int change_read_headers(struct reader *r, const struct place *at, struct change *c);
/* The stages of one block. */
int change_build(struct reader *r, const struct place *at, const struct change *c,
		 struct chain *ret);

/* Where mirrors go (manifest_mesh.c, manifest_destination.c). */
struct goal {
	const char *host, *subset; /* subset NULL: none */
	const char *namespace;     /* NULL: not known */
	unsigned port;             /* 0: none */
};
int mesh_new(struct reader *r);
int port_read(struct reader *r, const struct place *at, unsigned *ret); /* {number: 80} */
int mesh_read_service_entry(struct reader *r, const struct document *d);
int mesh_read_destination_rule(struct reader *r, const struct document *d);
/* Adds a mirror unless percent is 0. */
int mirror_add(struct reader *r, const struct place *at, struct policy_rule *rule,
	       const struct goal *t, double percent);
int resolve_read(struct reader *r);        /* --resolve */
void resolve_warn_unused(struct reader *r);

/* Routes: each adds groups to the policy. */
int route_read_virtual_service(struct reader *r, const struct document *d);
int route_read_http_route(struct reader *r, const struct document *d);

#endif
