/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of redaction share: the rules, and the exchange that is being worked on.
 *
 * One exchange goes through three steps. The rules name places: an edit each, and what stood there
 * is a needle. The needles are looked for everywhere else in the exchange: more edits. Then each
 * text is edited once. Until then nothing is changed, so all spans point into the originals. */
#ifndef CORE_REDACT_WORK_H
#define CORE_REDACT_WORK_H

#include "core/coding.h"
#include "core/redact.h"
#include "edits.h"
#include "json_path.h"
#include "names.h"

struct evp_mac_ctx_st; /* OpenSSL's EVP_MAC_CTX */

/* A secret to look for, and what stands in its place. */
struct needle {
	struct span text;
	struct span ins;
	uint32_t parent; /* the longest other one that it begins with; NO_NEEDLE */
	bool open;       /* its end was cut off: elsewhere it may be longer */
};
#define NO_NEEDLE UINT32_MAX
#define NEEDLE_MIN 6u /* shorter ones are words that stand everywhere */

#define GRAM_BITS 14u
struct needles {
	struct needle *list;
	uint32_t n, room;
	size_t longest;
	uint64_t grams[(1u << GRAM_BITS) / 64]; /* which four bytes stand near a needle's start */
};

enum body_kind {
	BODY_OTHER,
	BODY_JSON,      /* says so */
	BODY_LIKE_JSON, /* says nothing, and begins like it */
	BODY_FORM,
	BODY_MULTIPART,
	BODY_MEDIA, /* pictures and the like: no escapes are looked for in them */
};

/* One message. */
struct part {
	struct message *m; /* NULL: there is none */
	struct edits head, trailer, body;
	enum body_kind kind;
	struct codings codings;
	struct buf decoded;
	struct span text;   /* the body without its codings; p NULL until it was looked for */
	bool cut;           /* the body is not whole */
	bool closed;        /* it cannot be looked into */
	bool is_json;       /* it was read as JSON */
	bool drop_lines;    /* chunk_lines hold a secret */
};

/* Bytes that live until the exchange is done, and are wiped then. */
struct arena {
	struct block *blocks;
};

struct redaction {
	struct stage stage;
	uint32_t n_rules;
	bool userinfo; /* http://user:password@host */
	struct rule_use userinfo_use;
	struct names headers, cookies, params, fields; /* params: query; fields: form */
	struct json_paths *json;
	struct evp_mac_ctx_st *mac; /* NULL: no key */
	uint64_t closed;

	/* The exchange under way. */
	struct part parts[2];
	struct needles needles;
	struct arena arena;
};

/* redact_secret.c: needles and what stands in their place. */
uint8_t *redact_arena_take(struct arena *a, size_t n); /* NULL: no memory */
void redact_arena_clear(struct arena *a); /* wipes; keeps a block for the next exchange */
void redact_arena_free(struct arena *a);

enum secret_form {
	SECRET_PLAIN,
	SECRET_PARAM,  /* percent-encoded, + for a space */
	SECRET_STRING, /* between the quotes of a JSON string */
};
struct secret {
	struct span raw; /* as it stands */
	enum secret_form form;
	bool open;       /* cut off by the end of the text */
};

/* What stands in place of a secret. Equal secrets, equal texts, however they were written. */
int secret_text(struct redaction *r, const struct secret *s, enum redact_how how, struct span *ret);
/* The same, and it is looked for elsewhere from now on. `ret` may be NULL. */
int secret_note(struct redaction *r, const struct secret *s, enum redact_how how, struct span *ret);

/* "key", from the key of --redact-key-file. NULL: no memory. */
struct evp_mac_ctx_st *secret_mac_new(const void *key, size_t len);
void secret_mac_free(struct evp_mac_ctx_st *mac);

/* redact_head.c: fields, cookies, and the parameters in targets and other URLs. */
int redact_target(struct redaction *r, struct part *p);
int redact_fields(struct redaction *r, const uint8_t *base, size_t len, const struct field *fields,
		  uint32_t n, struct edits *out);
/* Parameters joined by &, from text.p + from. `lead`: where the ? or # in front of them stands,
 * which goes when all of them go; SIZE_MAX: there is none. `cut`: the text ends inside the last. */
struct params {
	const struct names *names;
	struct span text;
	size_t from, to, lead;
	bool cut;
};
int redact_params(struct redaction *r, const struct params *p, struct edits *out);
/* The rule for a parameter's name as it stands, percent-encoded. */
bool param_rule(const struct names *names, struct span name, struct rule_use *ret);
/* The value of NAME=value or NAME="value" in a field value; p NULL: there is none. */
struct span value_param(struct span value, const char *name);

/* redact_body.c */
void redact_body_begin(struct part *p, struct message *m);
int redact_body_rules(struct redaction *r, struct part *p);
/* Takes the codings off, if that was not done. Sets closed where it cannot be. SC_ENOMEM. */
int redact_body_open(struct redaction *r, struct part *p);
void redact_body_close(struct redaction *r, struct part *p);
/* Makes the edits of the body, adds those of the head that follow from them. */
int redact_body_finish(struct redaction *r, struct exchange *ex, struct part *p);

/* redact_echo.c */
void echo_prepare(struct needles *n); /* once, when all needles are known */
int echo_part(struct redaction *r, struct part *p);

/* redact_rules.c */
int redact_rules_add(struct redaction *r, const char *text, struct err *err);

#endif
