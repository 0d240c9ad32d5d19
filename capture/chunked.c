/* SPDX-License-Identifier: Apache-2.0 */
/* A chunked body by llhttp. The parser is led into the body by a head of our own, since the real
 * one was read before. */
#include "chunked.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

struct chunked {
	llhttp_t parser; /* data points here */
	uint64_t left;   /* of the chunk under way */
	bool in_body;    /* the lead-in is over */
	uint32_t *sizes;
	uint32_t n_sizes, cap_sizes;
	struct buf trailer; /* "name: value\r\n" */
	struct field *fields;
	uint32_t n_fields;
	void (*body)(void *arg, struct span data);
	void *arg;
};

static int on_chunk_header(llhttp_t *p)
{
	struct chunked *c = p->data;
	uint32_t *sizes;

	c->left = p->content_length;
	if (c->left == 0 || c->left > UINT32_MAX || c->n_sizes >= LIMIT_CHUNKS)
		return 0;
	if (c->n_sizes == c->cap_sizes) {
		uint32_t cap = c->cap_sizes ? c->cap_sizes * 2 : 4;

		sizes = realloc(c->sizes, cap * sizeof(*sizes));
		if (!sizes)
			return 0;
		c->sizes = sizes;
		c->cap_sizes = cap;
	}
	c->sizes[c->n_sizes++] = (uint32_t)c->left;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct chunked *c = p->data;

	c->left -= len < c->left ? len : c->left;
	c->body(c->arg, span_of(at, len));
	return 0;
}

static int on_trailer_field(llhttp_t *p, const char *at, size_t len)
{
	struct chunked *c = p->data;
	struct field *f;

	if (!c->in_body)
		return 0;
	/* A new name when the last field has its value's end, else more of this one. */
	if (!c->n_fields || c->fields[c->n_fields - 1].value.off) {
		f = c->n_fields < LIMIT_FIELDS
			    ? realloc(c->fields, (c->n_fields + 1u) * sizeof(*f)) : NULL;
		if (!f)
			return 0;
		c->fields = f;
		f[c->n_fields++] = (struct field){.name = {(uint32_t)c->trailer.len, 0}};
	}
	if (buf_add(&c->trailer, at, len) == SC_OK)
		c->fields[c->n_fields - 1].name.len += (uint32_t)len;
	return 0;
}

static int on_trailer_value(llhttp_t *p, const char *at, size_t len)
{
	struct chunked *c = p->data;
	struct field *f;

	if (!c->in_body || !c->n_fields)
		return 0;
	f = &c->fields[c->n_fields - 1];
	if (!f->value.off && buf_add_str(&c->trailer, ": ") == SC_OK)
		f->value.off = (uint32_t)c->trailer.len;
	if (buf_add(&c->trailer, at, len) == SC_OK)
		f->value.len += (uint32_t)len;
	return 0;
}

static int on_trailer_value_complete(llhttp_t *p)
{
	struct chunked *c = p->data;
	struct field *f;

	if (!c->in_body || !c->n_fields)
		return 0;
	f = &c->fields[c->n_fields - 1];
	if (!f->value.off && buf_add_str(&c->trailer, ": ") == SC_OK)
		f->value.off = (uint32_t)c->trailer.len;
	(void)buf_add_str(&c->trailer, "\r\n");
	return 0;
}

static int on_message_complete(llhttp_t *p)
{
	(void)p;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_chunk_header = on_chunk_header,
	.on_body = on_body,
	.on_header_field = on_trailer_field,
	.on_header_value = on_trailer_value,
	.on_header_value_complete = on_trailer_value_complete,
	.on_message_complete = on_message_complete,
};

struct chunked *chunked_new(void)
{
	static const char lead_in[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct chunked *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	buf_init(&c->trailer, LIMIT_TRAILER_BYTES);
	llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
	llhttp_set_lenient_headers(&c->parser, 1);
	c->parser.data = c;
	(void)llhttp_execute(&c->parser, lead_in, sizeof(lead_in) - 1);
	c->in_body = true;
	return c;
}

void chunked_free(struct chunked *c)
{
	if (!c)
		return;
	free(c->sizes);
	free(c->fields);
	buf_done(&c->trailer);
	free(c);
}

enum chunked_result chunked_feed(struct chunked *c, struct span bytes,
				 void (*body)(void *arg, struct span data), void *arg,
				 size_t *ret_used)
{
	llhttp_errno_t rc;

	c->body = body;
	c->arg = arg;
	rc = llhttp_execute(&c->parser, (const char *)bytes.p, bytes.len);
	*ret_used = bytes.len;
	if (rc == HPE_OK)
		return CHUNKED_MORE;
	*ret_used = (size_t)((const uint8_t *)llhttp_get_error_pos(&c->parser) - bytes.p);
	if (*ret_used > bytes.len)
		*ret_used = bytes.len;
	return rc == HPE_PAUSED ? CHUNKED_DONE : CHUNKED_BROKEN;
}

uint64_t chunked_left(const struct chunked *c)
{
	return c->left;
}

void chunked_describe(struct chunked *c, struct message *m, bool sizes)
{
	if (sizes && c->n_sizes > 1) {
		m->chunks = c->sizes;
		m->n_chunks = c->n_sizes;
		c->sizes = NULL; /* moved */
		c->n_sizes = 0;
	}
	if (c->n_fields)
		(void)message_set_trailer(m, c->trailer.data, (uint32_t)c->trailer.len, c->fields,
					  c->n_fields);
}
