/* SPDX-License-Identifier: Apache-2.0 */
/* A POSIX shell script of curl commands, one a request, each runnable as it stands. What curl would
 * add by itself and the recording did not say is taken away again. Never puts a recorded byte where
 * the shell or curl would read it as anything but data. */
#include <string.h>

#include "core/json.h"
#include "core/limits.h"
#include "format_io.h"
#include "format_private.h"
#include "render.h"
#include "request.h"

#define ARGUMENT_BYTES (64u * KIB) /* Linux takes 128 KiB in one argument of a command */
#define PRINTF_BYTES (16u * KIB)   /* of a body, in one printf */
#define EXPECT_BYTES 1024u	   /* a longer body makes some versions of curl add Expect */

static const char script_head[] =
	"#!/bin/sh\n"
	"# Recorded requests, one curl command each, in the order of the dataset.\n";

/* '...', with '\'' for a quote (POSIX.1, 2.2.2). */
static int add_quoted_part(struct buf *out, struct span s)
{
	int rc = SC_OK;

	while (s.len && !rc) {
		const uint8_t *quote = memchr(s.p, '\'', s.len);
		size_t n = quote ? (size_t)(quote - s.p) : s.len;

		rc = buf_add(out, s.p, n);
		if (!rc && quote)
			rc = buf_add_str(out, "'\\''");
		n += quote != NULL;
		s = span_of(s.p + n, s.len - n);
	}
	return rc;
}

static int add_quoted(struct buf *out, struct span s)
{
	int rc = buf_add_str(out, "'");

	if (!rc)
		rc = add_quoted_part(out, s);
	return rc ? rc : buf_add_str(out, "'");
}

/* An option on a line of its own. */
static int add_option(struct buf *out, const char *option, struct span value)
{
	int rc = buf_addf(out, " \\\n  %s ", option);

	return rc ? rc : add_quoted(out, value);
}

/* "Name: value"; curl sends an empty value only of "Name;". */
static int add_field(struct buf *out, const struct message *m, uint32_t i)
{
	struct buf scratch;
	struct span value;
	int rc;

	buf_init(&scratch, LIMIT_HEAD_BYTES);
	rc = request_value(m, i, &scratch, &value);
	if (!rc)
		rc = buf_add_str(out, " \\\n  --header '");
	if (!rc)
		rc = add_quoted_part(out, message_name(m, i));
	if (!rc)
		rc = buf_add_str(out, value.len ? ": " : ";");
	if (!rc)
		rc = add_quoted_part(out, value);
	buf_done(&scratch);
	return rc ? rc : buf_add_str(out, "'");
}

/* curl cuts the body up itself when it is asked to by this very field. */
static bool asks_for_chunks(const struct message *m, uint32_t i)
{
	return m->body.len && m->minor == 1 &&
	       span_case_eq(message_name(m, i), span_str("Transfer-Encoding")) &&
	       span_case_eq(message_value(m, i), span_str("chunked"));
}

static int add_fields(struct buf *out, const struct message *m, struct format_notes *notes)
{
	int rc = SC_OK;

	for (uint32_t i = 0; i < m->n_fields && !rc; i++) {
		if (request_field_implied(m, i) && !asks_for_chunks(m, i) && !request_other_host(m, i))
			continue;
		if (request_field_plain(m, i))
			rc = add_field(out, m, i);
		else
			format_note(notes, "header fields that are no name and value, left out");
	}
	return rc;
}

/* What curl would say of itself. */
static int add_absent(struct buf *out, const struct message *m, bool data)
{
	int rc = SC_OK;

	if (!request_has(m, "User-Agent"))
		rc = add_option(out, "--header", span_str("User-Agent:"));
	if (!rc && !request_has(m, "Accept"))
		rc = add_option(out, "--header", span_str("Accept:"));
	if (!rc && data && !request_has(m, "Content-Type"))
		rc = add_option(out, "--header", span_str("Content-Type:"));
	if (!rc && m->body.len >= EXPECT_BYTES && !request_has(m, "Expect"))
		rc = add_option(out, "--header", span_str("Expect:"));
	return rc;
}

/* Neither '@' at the front, which would name a file, nor anything a terminal would not show. */
static bool is_argument(struct span body)
{
	if (body.len > ARGUMENT_BYTES || (body.len && body.p[0] == '@'))
		return false;
	for (size_t i = 0; i < body.len; i++) {
		if (body.p[i] == 0x7f || (body.p[i] < ' ' && !memchr("\t\n", body.p[i], 2)))
			return false;
	}
	return utf8_valid(body);
}

/* One byte in the format of printf: octal where it is not plain. Always three digits, so that a
 * digit behind it is not taken for one of them. */
static int add_printf_byte(struct buf *out, uint8_t c)
{
	if (c == '%')
		return buf_add_str(out, "%%");
	if (c < ' ' || c >= 0x7f || c == '\\' || c == '\'')
		return buf_addf(out, "\\%03o", c);
	return buf_add(out, &c, 1);
}

static int add_printf(struct buf *out, struct span part)
{
	/* A format that begins with '-' would be an option. */
	int rc = buf_add_str(out, "printf -- '");

	for (size_t i = 0; i < part.len && !rc; i++)
		rc = add_printf_byte(out, part.p[i]);
	return rc ? rc : buf_add_str(out, "'");
}

/* { printf ...; printf ...; } | */
static int add_pipe(struct buf *out, struct span body)
{
	int rc = buf_add_str(out, "{ ");

	while (body.len && !rc) {
		size_t n = body.len < PRINTF_BYTES ? body.len : PRINTF_BYTES;

		rc = add_printf(out, span_of(body.p, n));
		if (!rc)
			rc = buf_add_str(out, ";\n  ");
		body = span_of(body.p + n, body.len - n);
	}
	return rc ? rc : buf_add_str(out, "} | ");
}

/* curl's own reading of a URL, kept from changing it. */
static int add_url(struct buf *out, const struct exchange *ex, struct format_notes *notes)
{
	struct span target = message_target(ex->request);
	struct buf url;
	bool changed;
	int rc;

	buf_init(&url, 4 * LIMIT_HEAD_BYTES);
	rc = request_url(ex, &url, &changed);
	if (!rc && changed && memchr(target.p, '\0', target.len))
		format_note(notes, "targets with bytes no URL has, percent-encoded");
	else if (!rc && changed)
		rc = add_option(out, "--request-target", target);
	if (!rc && memmem(url.data, url.len, "/.", 2))
		rc = buf_add_str(out, " \\\n  --path-as-is");
	if (!rc && memchr(url.data, '[', url.len))
		rc = buf_add_str(out, " \\\n  --globoff");
	if (!rc)
		rc = add_option(out, "--url", buf_span(&url));
	buf_done(&url);
	return rc;
}

static int add_method(struct buf *out, const struct message *m)
{
	int rc;

	/* With --request HEAD it would wait for a body. */
	if (span_eq(message_method(m), span_str("HEAD")))
		return buf_add_str(out, " --head");
	rc = buf_add_str(out, " --request ");
	return rc ? rc : add_quoted(out, message_method(m));
}

static int add_command(struct buf *out, const struct exchange *ex, bool data,
		       struct format_notes *notes)
{
	const struct message *m = ex->request;
	struct span body = buf_span(&m->body);
	bool argument = is_argument(body);
	int rc = argument ? SC_OK : add_pipe(out, body);

	if (!rc)
		rc = buf_add_str(out, "curl --silent --show-error");
	if (!rc && m->minor == 0)
		rc = buf_add_str(out, " --http1.0");
	if (!rc)
		rc = add_method(out, m);
	if (!rc)
		rc = add_url(out, ex, notes);
	if (!rc)
		rc = add_fields(out, m, notes);
	if (!rc)
		rc = add_absent(out, m, data);
	if (!rc && data)
		rc = add_option(out, "--data-binary", argument ? body : span_str("@-"));
	return rc ? rc : buf_add_str(out, "\n");
}

static int add_comment(struct buf *out, const struct exchange *ex)
{
	int rc = buf_add_str(out, "\n# ");

	if (!rc)
		rc = add_time(out, ex->ts_us);
	if (!rc && ex->response)
		rc = buf_addf(out, ", answered %u", ex->response->status);
	return rc ? rc : buf_add_str(out, "\n");
}

static int render_command(const struct exchange *ex, struct render *r, struct buf *out)
{
	const struct message *m = ex->request;
	const char *refusal = request_refusal(ex);
	bool head = span_eq(message_method(m), span_str("HEAD"));
	int rc;

	if (!refusal && head && m->body.len)
		refusal = "HEAD requests with a body, left out";
	if (refusal) {
		format_note(r->notes, refusal);
		return SC_OK;
	}
	if (m->n_trailer_fields)
		format_note(r->notes, "trailers of requests, left out");
	rc = add_comment(out, ex);
	return rc ? rc
		  : add_command(out, ex, m->body.len || (!head && request_has(m, "Content-Length")),
				r->notes);
}

int curl_sink_new(const struct format_args *args, struct sink **ret, struct err *err)
{
	return render_sink_new(args, script_head, render_command, ret, err);
}
