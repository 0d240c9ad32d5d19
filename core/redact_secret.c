/* SPDX-License-Identifier: Apache-2.0 */
/* One secret: its plain form, whatever it was written in, and the text that stands in its place.
 * The only place that knows the key. */
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "core/limits.h"
#include "redact_work.h"
#include "url.h"
#include "wipe.h"

#define BLOCK_BYTES 4096u
#define MAC_BYTES 32u

struct block {
	struct block *next;
	size_t len, cap;
	uint8_t bytes[];
};

uint8_t *redact_arena_take(struct arena *a, size_t n)
{
	struct block *b = a->blocks;
	size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;

	if (!b || b->cap - b->len < n) {
		b = malloc(sizeof(*b) + cap);
		if (!b)
			return NULL;
		*b = (struct block){.next = a->blocks, .cap = cap};
		a->blocks = b;
	}
	b->len += n;
	return b->bytes + b->len - n;
}

/* One block of the usual size stays for the next exchange. */
void redact_arena_clear(struct arena *a)
{
	struct block *keep = NULL;

	while (a->blocks) {
		struct block *b = a->blocks;

		a->blocks = b->next;
		if (b->cap == BLOCK_BYTES && !keep) {
			explicit_bzero(b->bytes, b->len);
			b->len = 0;
			b->next = NULL;
			keep = b;
		} else {
			wipe_free(b, sizeof(*b) + b->len);
		}
	}
	a->blocks = keep;
}

void redact_arena_free(struct arena *a)
{
	redact_arena_clear(a);
	free(a->blocks);
	a->blocks = NULL;
}

EVP_MAC_CTX *secret_mac_new(const void *key, size_t len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

	EVP_MAC_free(hmac); /* the context holds it */
	if (ctx && !EVP_MAC_init(ctx, key, len, params)) {
		EVP_MAC_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

void secret_mac_free(EVP_MAC_CTX *mac)
{
	EVP_MAC_CTX_free(mac);
}

/* "hmac:" and 64 digits. */
static int hash_text(struct redaction *r, struct span plain, struct span *ret)
{
	static const char digits[] = "0123456789abcdef";
	static const uint8_t prefix[] = {'h', 'm', 'a', 'c', ':'};
	uint8_t mac[MAC_BYTES];
	uint8_t *text = redact_arena_take(&r->arena, sizeof(prefix) + 2 * sizeof(mac));
	size_t n = 0;

	if (!text || !EVP_MAC_init(r->mac, NULL, 0, NULL) ||
	    !EVP_MAC_update(r->mac, plain.p, plain.len) ||
	    !EVP_MAC_final(r->mac, mac, &n, sizeof(mac)) || n != sizeof(mac))
		return SC_ENOMEM;
	memcpy(text, prefix, sizeof(prefix));
	for (size_t i = 0; i < sizeof(mac); i++) {
		text[sizeof(prefix) + 2 * i] = (uint8_t)digits[mac[i] >> 4];
		text[sizeof(prefix) + 2 * i + 1] = (uint8_t)digits[mac[i] & 15];
	}
	*ret = span_of(text, sizeof(prefix) + 2 * sizeof(mac));
	return SC_OK;
}

/* No form grows when it is undone. */
static int plain_form(struct redaction *r, const struct secret *s, struct span *ret)
{
	struct buf out;
	uint8_t *bytes;

	*ret = s->raw;
	if (s->form == SECRET_PLAIN || s->raw.len == 0 ||
	    (s->form == SECRET_STRING && !memchr(s->raw.p, '\\', s->raw.len)) ||
	    (s->form == SECRET_PARAM && !url_is_encoded(s->raw)))
		return SC_OK;
	bytes = redact_arena_take(&r->arena, s->raw.len);
	if (!bytes)
		return SC_ENOMEM;
	if (s->form == SECRET_PARAM) {
		*ret = span_of(bytes, url_decode(s->raw, bytes));
		return SC_OK;
	}
	buf_init(&out, s->raw.len);
	out.data = bytes;
	out.cap = s->raw.len;
	if (json_unescape(s->raw, &out))
		return SC_EFULL;
	*ret = buf_span(&out);
	return SC_OK;
}

static int text_of(struct redaction *r, struct span plain, enum redact_how how, struct span *ret)
{
	switch (how) {
	case REDACT_MASK:
		*ret = span_str("***");
		return SC_OK;
	case REDACT_DROP:
		*ret = span_str("");
		return SC_OK;
	case REDACT_HASH:
		return hash_text(r, plain, ret);
	}
	return SC_EINVAL;
}

int secret_text(struct redaction *r, const struct secret *s, enum redact_how how, struct span *ret)
{
	struct span plain;
	int rc = plain_form(r, s, &plain);

	return rc ? rc : text_of(r, plain, how, ret);
}

static int add_needle(struct needles *n, struct span text, struct span ins, bool open)
{
	uint32_t room = n->room ? n->room * 2 : 64;
	struct needle *list;

	if (text.len < NEEDLE_MIN)
		return SC_OK;
	if (n->n && span_eq(n->list[n->n - 1].text, text))
		return SC_OK; /* a list of the same ones */
	if (n->n == n->room) {
		if (n->n == LIMIT_NEEDLES)
			return SC_EFULL;
		list = realloc(n->list, room * sizeof(*list));
		if (!list)
			return SC_ENOMEM;
		n->list = list;
		n->room = room;
	}
	n->list[n->n++] = (struct needle){text, ins, NO_NEEDLE, open};
	return SC_OK;
}

/* Who echoes a value may have undone its percent-encoding first, with or without the +. */
static int add_decoded(struct redaction *r, const struct secret *s, struct span ins)
{
	bool escapes = s->raw.len && memchr(s->raw.p, '%', s->raw.len);
	bool spaces = s->raw.len && memchr(s->raw.p, '+', s->raw.len);
	size_t n = 0;
	uint8_t *bytes;
	int rc;

	if (s->form == SECRET_STRING || (!escapes && !spaces))
		return SC_OK;
	bytes = redact_arena_take(&r->arena, 2 * s->raw.len);
	if (!bytes)
		return SC_ENOMEM;
	rc = add_needle(&r->needles, span_of(bytes, url_decode(s->raw, bytes)), ins, s->open);
	if (rc || !escapes || !spaces)
		return rc;
	bytes += s->raw.len;
	for (size_t i = 0; i < s->raw.len; n++)
		i += url_step(s->raw.p + i, s->raw.len - i, &bytes[n]);
	return add_needle(&r->needles, span_of(bytes, n), ins, s->open);
}

int secret_note(struct redaction *r, const struct secret *s, enum redact_how how, struct span *ret)
{
	struct span plain, ins;
	int rc = plain_form(r, s, &plain);

	if (!rc)
		rc = text_of(r, plain, how, &ins);
	if (!rc)
		rc = add_needle(&r->needles, s->raw, ins, s->open);
	if (!rc && s->form == SECRET_STRING && plain.p != s->raw.p)
		rc = add_needle(&r->needles, plain, ins, s->open);
	if (!rc)
		rc = add_decoded(r, s, ins);
	if (!rc && ret)
		*ret = ins;
	return rc;
}
