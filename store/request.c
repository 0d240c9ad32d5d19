/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for other senders. Refuses what would be another request there: half a body, a CONNECT,
 * a host that is none. */
#include "request.h"

#include <stdio.h>
#include <string.h>

static bool is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* RFC 9110, 5.6.2 */
static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_alnum(s.p[i]) && !memchr("!#$%&'*+-.^_`|~", s.p[i], 15))
			return false;
	}
	return s.len != 0;
}

static bool is_authority(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_alnum(s.p[i]) && !memchr(".-_:[]", s.p[i], 6))
			return false;
	}
	return s.len != 0;
}

int request_authority(const struct exchange *ex, char *text, struct span *ret)
{
	struct span host = message_host(ex->request);
	char ip[ADDR_TEXT];
	int n;

	if (host.len == 0 && ex->server.len != 0) {
		bool six = ex->server.len == 16;

		(void)addr_text(&ex->server, ip);
		n = snprintf(text, REQUEST_AUTHORITY, "%s%s%s:%u", six ? "[" : "", ip,
			     six ? "]" : "", ex->server.port);
		*ret = span_of(text, (size_t)n);
		return SC_OK;
	}
	if (host.len >= REQUEST_AUTHORITY || !is_authority(host))
		return SC_EINVAL;
	*ret = host;
	return SC_OK;
}

const char *request_refusal(const struct exchange *ex)
{
	const struct message *m = ex->request;
	struct span method = message_method(m), host;
	char text[REQUEST_AUTHORITY];
	struct target t;

	target_split(message_target(m), &t);
	if (span_eq(method, span_str("CONNECT")))
		return "CONNECT requests, left out";
	if (!is_token(method))
		return "requests whose method is no token, left out";
	if (t.path.len == 0 || t.path.p[0] != '/')
		return "requests whose target is no path, left out";
	if (m->body.len < m->body_size || m->flags & (MESSAGE_CAPPED | MESSAGE_GAP))
		return "requests whose body is not whole, left out";
	if (request_authority(ex, text, &host))
		return "requests without a host name, left out";
	return NULL;
}

static bool is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool stands_in_url(struct span s, size_t i)
{
	uint8_t c = s.p[i];

	if (c == '%')
		return s.len - i > 2 && is_hex(s.p[i + 1]) && is_hex(s.p[i + 2]);
	return c > ' ' && c < 0x7f && !memchr("\"#<>\\^`{|}", c, 10);
}

static int add_escaped(struct buf *out, struct span s, bool *changed)
{
	int rc = SC_OK;

	for (size_t i = 0; i < s.len && !rc; i++) {
		bool stands = stands_in_url(s, i);

		*changed = *changed || !stands;
		rc = stands ? buf_add(out, s.p + i, 1) : buf_addf(out, "%%%02X", s.p[i]);
	}
	return rc;
}

int request_url(const struct exchange *ex, struct buf *out, bool *ret_changed)
{
	char text[REQUEST_AUTHORITY];
	bool changed = false;
	struct span host;
	struct target t;
	int rc = request_authority(ex, text, &host);

	target_split(message_target(ex->request), &t);
	if (!rc && span_case_eq(t.scheme, span_str("https")))
		rc = buf_add_str(out, "https://");
	else if (!rc)
		rc = buf_addf(out, "%s://", ex->scheme ? ex->scheme : "http");
	if (!rc)
		rc = buf_add_span(out, host);
	if (!rc)
		rc = add_escaped(out, t.path, &changed);
	if (!rc && t.query.p)
		rc = buf_add_str(out, "?");
	if (!rc && t.query.p)
		rc = add_escaped(out, t.query, &changed);
	*ret_changed = changed;
	return rc;
}

bool request_field_implied(const struct message *m, uint32_t i)
{
	static const char *const names[] = {"Host", "Content-Length", "Transfer-Encoding"};

	for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
		if (span_case_eq(message_name(m, i), span_str(names[n])))
			return true;
	}
	return false;
}

bool request_other_host(const struct message *m, uint32_t i)
{
	return span_case_eq(message_name(m, i), span_str("Host")) &&
	       !span_eq(message_value(m, i), message_host(m));
}

bool request_has(const struct message *m, const char *name)
{
	return message_find(m, name, 0) >= 0;
}

bool request_field_plain(const struct message *m, uint32_t i)
{
	struct span value = message_value(m, i);

	return is_token(message_name(m, i)) && (!value.len || !memchr(value.p, '\0', value.len));
}

int request_value(const struct message *m, uint32_t i, struct buf *scratch, struct span *ret)
{
	struct span s = message_value(m, i);
	int rc = SC_OK;

	if (!s.len || (!memchr(s.p, '\n', s.len) && !memchr(s.p, '\r', s.len))) {
		*ret = s;
		return SC_OK;
	}
	buf_clear(scratch);
	for (size_t at = 0; at < s.len && !rc;) {
		size_t n = 0;

		while (at + n < s.len && s.p[at + n] != '\r' && s.p[at + n] != '\n')
			n++;
		rc = buf_add(scratch, s.p + at, n);
		at += n;
		while (at < s.len && memchr("\r\n \t", s.p[at], 4))
			at++;
		if (!rc && at < s.len)
			rc = buf_add_str(scratch, " ");
	}
	if (!rc)
		*ret = buf_span(scratch);
	return rc;
}
