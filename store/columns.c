/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of an exchange. Bodies are text where they are UTF-8 without NUL, which many readers
 * of text stop at, and bytes otherwise; the head of a request is there as bytes too where its parts
 * do not give it again. */
#include "columns.h"

#include <string.h>

#include "core/json.h"

static int integer(struct cell *ret, int64_t v)
{
	ret->kind = COLUMN_INTEGER;
	ret->integer = v;
	return SC_OK;
}

static int text(struct cell *ret, struct span s)
{
	ret->kind = COLUMN_TEXT;
	ret->text = s;
	return SC_OK;
}

static int bytes(struct cell *ret, struct span s)
{
	ret->kind = COLUMN_BYTES;
	ret->text = s;
	return SC_OK;
}

/* -1 stands for what is not known. */
static int since(struct cell *ret, int64_t us)
{
	return us < 0 ? SC_OK : integer(ret, us);
}

static int address(struct cell *ret, struct buf *scratch, const struct addr *a)
{
	char t[ADDR_TEXT];
	int rc = buf_add(scratch, t, addr_text(a, t));

	return rc ? rc : text(ret, buf_span(scratch));
}

static int list(struct cell *ret, struct buf *scratch, const uint8_t *base,
		const struct field *fields, uint32_t n)
{
	int rc = json_add_fields(scratch, base, fields, n);

	ret->kind = COLUMN_JSON;
	ret->text = buf_span(scratch);
	return rc;
}

static bool is_text(struct span s)
{
	return (s.len == 0 || !memchr(s.p, 0, s.len)) && utf8_valid(s);
}

static int body_text(struct cell *ret, const struct message *m)
{
	if (!m || m->body.len == 0 || !is_text(buf_span(&m->body)))
		return SC_OK;
	return text(ret, buf_span(&m->body));
}

static int body_bytes(struct cell *ret, const struct message *m)
{
	if (!m || m->body.len == 0 || is_text(buf_span(&m->body)))
		return SC_OK;
	return bytes(ret, buf_span(&m->body));
}

static int trailers(struct cell *ret, struct buf *scratch, const struct message *m)
{
	if (!m || m->n_trailer_fields == 0)
		return SC_OK;
	return list(ret, scratch, m->trailer, m->trailer_fields, m->n_trailer_fields);
}

static struct target target_of(const struct exchange *ex)
{
	struct target t;

	target_split(message_target(ex->request), &t);
	return t;
}

static int version(struct cell *ret, struct buf *scratch, const struct message *m)
{
	int rc = buf_addf(scratch, "%u.%u", m->major, m->minor);

	return rc ? rc : text(ret, buf_span(scratch));
}

static int query(struct cell *ret, struct span s)
{
	return s.p ? text(ret, s) : SC_OK;
}

static int real(struct cell *ret, double v)
{
	ret->kind = COLUMN_REAL;
	ret->real = v;
	return SC_OK;
}

static int raw(struct cell *ret, const struct message *m)
{
	struct span head = span_of(m->head, m->head_len);
	bool known = m->major == 1 && m->minor <= 1;

	return known && utf8_valid(head) && message_is_canonical(m) ? SC_OK : bytes(ret, head);
}

static int chunks(struct cell *ret, const struct message *m)
{
	return m->chunk_lines.len ? bytes(ret, buf_span(&m->chunk_lines)) : SC_OK;
}

static int fields(struct cell *ret, struct buf *scratch, const struct message *m)
{
	return m ? list(ret, scratch, m->head, m->fields, m->n_fields) : SC_OK;
}

#define COLUMN(name, what)                                                                         \
	static int get_##name(const struct exchange *ex, struct buf *scratch, struct cell *ret)    \
	{                                                                                          \
		(void)scratch;                                                                     \
		return what;                                                                       \
	}
#define COLUMN_TABLE(X)                                                                            \
	X(id, integer(ret, ex->id))                                                                \
	X(ts_us, integer(ret, ex->ts_us))                                                          \
	X(connection, integer(ret, (int64_t)ex->connection))                                       \
	X(position, integer(ret, ex->position))                                                    \
	X(client, address(ret, scratch, &ex->client))                                              \
	X(client_port, integer(ret, ex->client.port))                                              \
	X(server, address(ret, scratch, &ex->server))                                              \
	X(server_port, integer(ret, ex->server.port))                                              \
	X(method, text(ret, message_method(ex->request)))                                          \
	X(scheme, text(ret, span_str(ex->scheme)))                                                 \
	X(host, text(ret, message_host(ex->request)))                                              \
	X(path, text(ret, target_of(ex).path))                                                     \
	X(query, query(ret, target_of(ex).query))                                                  \
	X(version, version(ret, scratch, ex->request))                                             \
	X(request_headers, fields(ret, scratch, ex->request))                                      \
	X(request_body, body_text(ret, ex->request))                                               \
	X(request_body_base64, body_bytes(ret, ex->request))                                       \
	X(request_size, integer(ret, (int64_t)ex->request->body_size))                             \
	X(status, ex->response ? integer(ret, ex->response->status) : SC_OK)                       \
	X(response_headers, fields(ret, scratch, ex->response))                                    \
	X(response_body, body_text(ret, ex->response))                                             \
	X(response_body_base64, body_bytes(ret, ex->response))                                     \
	X(response_size, ex->response ? integer(ret, (int64_t)ex->response->body_size) : SC_OK)    \
	X(ttfb_us, since(ret, ex->ttfb_us))                                                        \
	X(duration_us, since(ret, ex->duration_us))                                                \
	X(route, ex->route ? text(ret, span_str(ex->route)) : SC_OK)                               \
	X(template, ex->template ? text(ret, span_str(ex->template)) : SC_OK)                      \
	X(state, text(ret, span_str(exchange_state_name(ex->state))))                              \
	X(request_raw, raw(ret, ex->request))                                                      \
	X(request_trailers, trailers(ret, scratch, ex->request))                                   \
	X(response_trailers, trailers(ret, scratch, ex->response))                                 \
	X(sample, real(ret, ex->sample))                                                           \
	X(request_chunks, chunks(ret, ex->request))
COLUMN_TABLE(COLUMN)
#undef COLUMN

const struct column columns[] = {
#define COLUMN_ROW(name, what) {#name, get_##name},
	COLUMN_TABLE(COLUMN_ROW)
#undef COLUMN_ROW
};
const unsigned n_columns = sizeof(columns) / sizeof(columns[0]);
