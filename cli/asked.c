/* SPDX-License-Identifier: Apache-2.0 */
/* From what a person types to a request. Sends nothing, and knows of curl's options only those that
 * make a request what it is. */
#include "asked.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"

#define WORDS 256u

/* What was found so far; the texts are borrowed. */
struct parts {
	const char *method, *url, *data, *body_type;
	const char *headers[WORDS];
	unsigned n_headers;
};

static int no_memory(struct err *err)
{
	return err_set(err, SC_ENOMEM, "out of memory");
}

/* Words as a shell would make them, in place: quotes and backslashes, no more. */
static int split_words(char *text, char **words, unsigned *ret_n, struct err *err)
{
	char *from = text, *to = text;
	unsigned n = 0;

	for (;;) {
		char quote = '\0';

		from += strspn(from, " \t\r\n");
		if (!*from)
			break;
		if (n == WORDS)
			return err_set(err, SC_EINVAL, "more than %u words", WORDS);
		words[n++] = to;
		for (; *from && (quote || !strchr(" \t\r\n", *from)); from++) {
			if (*from == quote)
				quote = '\0';
			else if (!quote && (*from == '\'' || *from == '"'))
				quote = *from;
			else if (*from == '\\' && quote != '\'' && from[1])
				*to++ = *++from;
			else
				*to++ = *from;
		}
		if (quote)
			return err_set(err, SC_EINVAL, "a %c is not closed", quote);
		if (*from)
			from++;
		*to++ = '\0';
	}
	*ret_n = n;
	return SC_OK;
}

enum meaning { METHOD, HEADER, DATA, HEAD, COOKIE, AGENT, REFERER, USER_URL, IGNORED, IGNORED_FLAG };

/* curl's options as far as they say what is asked for; the others change how it is sent. */
static const struct {
	const char *letter, *name;
	enum meaning meaning;
} curl_options[] = {
	{"-X", "--request", METHOD},   {"-H", "--header", HEADER},
	{"-d", "--data", DATA},	       {"", "--data-raw", DATA},
	{"", "--data-binary", DATA},   {"", "--json", DATA},
	{"-I", "--head", HEAD},	       {"-b", "--cookie", COOKIE},
	{"-A", "--user-agent", AGENT}, {"-e", "--referer", REFERER},
	{"", "--url", USER_URL},       {"-o", "--output", IGNORED},
	{"-m", "--max-time", IGNORED}, {"-w", "--write-out", IGNORED},
	{"-s", "--silent", IGNORED_FLAG},      {"-S", "--show-error", IGNORED_FLAG},
	{"-v", "--verbose", IGNORED_FLAG},     {"-k", "--insecure", IGNORED_FLAG},
	{"-L", "--location", IGNORED_FLAG},    {"-i", "--include", IGNORED_FLAG},
	{"-f", "--fail", IGNORED_FLAG},	       {"", "--compressed", IGNORED_FLAG},
	{"", "--http1.1", IGNORED_FLAG},       {"-sS", "", IGNORED_FLAG},
};
#define N_CURL_OPTIONS (sizeof(curl_options) / sizeof(curl_options[0]))

static int add_header(struct parts *p, const char *line, struct err *err)
{
	if (p->n_headers == WORDS)
		return err_set(err, SC_EINVAL, "more than %u headers", WORDS);
	p->headers[p->n_headers++] = line;
	return SC_OK;
}

/* "Name: value" out of two; kept in `made`, which the caller frees. */
static int add_named(struct parts *p, const char *name, const char *value, struct str_list *made,
		     struct err *err)
{
	char *line;

	if (asprintf(&line, "%s: %s", name, value) < 0)
		return no_memory(err);
	if (opt_list(made, line, err)) {
		free(line);
		return SC_ENOMEM;
	}
	return add_header(p, line, err);
}

static int take_option(struct parts *p, enum meaning meaning, const char *value,
		       struct str_list *made, struct err *err)
{
	switch (meaning) {
	case METHOD:
		p->method = value;
		return SC_OK;
	case HEADER:
		return add_header(p, value, err);
	case DATA:
		p->data = value;
		p->body_type = "application/x-www-form-urlencoded";
		return SC_OK;
	case HEAD:
		p->method = "HEAD";
		return SC_OK;
	case COOKIE:
		return add_named(p, "Cookie", value, made, err);
	case AGENT:
		return add_named(p, "User-Agent", value, made, err);
	case REFERER:
		return add_named(p, "Referer", value, made, err);
	case USER_URL:
		p->url = value;
		return SC_OK;
	case IGNORED:
	case IGNORED_FLAG:
		break;
	}
	return SC_OK;
}

static bool takes_value(enum meaning meaning)
{
	return meaning != IGNORED_FLAG && meaning != HEAD;
}

/* "-XPOST" and "--request=POST" are one word. */
static int find_option(const char *word, const char **ret_value)
{
	for (size_t i = 0; i < N_CURL_OPTIONS; i++) {
		const char *letter = curl_options[i].letter, *name = curl_options[i].name;

		*ret_value = NULL;
		if (strcmp(word, name) == 0 || (*letter && strcmp(word, letter) == 0))
			return (int)i;
		if (*letter && takes_value(curl_options[i].meaning) && word[1] == letter[1] &&
		    word[1] != '-') {
			*ret_value = word + 2;
			return (int)i;
		}
	}
	return -1;
}

static int take_words(struct parts *p, char *const *words, unsigned n, struct str_list *made,
		      struct err *err)
{
	int rc = SC_OK;

	for (unsigned i = 0; i < n && !rc; i++) {
		const char *value;
		int at = words[i][0] == '-' && words[i][1] ? find_option(words[i], &value) : -1;

		if (words[i][0] == '-' && at < 0)
			return err_set(err, SC_EINVAL, "curl's option '%s' is not known here",
				       words[i]);
		if (at < 0) {
			if (p->url)
				return err_set(err, SC_EINVAL, "one URL at a time: '%s' and '%s'",
					       p->url, words[i]);
			p->url = words[i];
			continue;
		}
		if (takes_value(curl_options[at].meaning) && !value) {
			if (i + 1 == n)
				return err_set(err, SC_EINVAL, "a value is missing for '%s'",
					       words[i]);
			value = words[++i];
		}
		rc = take_option(p, curl_options[at].meaning, value, made, err);
	}
	return rc;
}

/* 'METHOD TARGET', 'TARGET', or a curl command. */
static int take_text(struct parts *p, char *text, char **words, struct str_list *made,
		     struct err *err)
{
	unsigned n = 0;
	int rc = split_words(text, words, &n, err);

	if (rc)
		return rc;
	if (n && strcmp(words[0], "curl") == 0)
		return take_words(p, words + 1, n - 1, made, err);
	/* "GET /p HTTP/1.1" is taken as it stands in a log. */
	if (n == 3 && strncmp(words[2], "HTTP/", 5) == 0)
		n = 2;
	if (n == 0 || n > 2)
		return err_set(err, SC_EINVAL, "request '%s': expected 'METHOD URL', a URL, a path or a "
			       "curl command", n ? words[0] : "");
	if (n == 2)
		p->method = words[0];
	p->url = words[n - 1];
	return SC_OK;
}

/* The URL's parts: scheme and authority empty for a path alone. */
static int split_url(const char *url, struct span *scheme, struct span *authority,
		     struct span *target, struct err *err)
{
	const char *at = strstr(url, "://");
	size_t name;

	*scheme = span_str("http");
	*authority = span_of(NULL, 0);
	if (!at && url[0] != '/' && strcmp(url, "*") != 0) {
		/* As curl: a name without a scheme is http. */
		at = url;
	} else if (!at) {
		*target = span_str(url);
		return SC_OK;
	} else {
		*scheme = span_of(url, (size_t)(at - url));
		at += 3;
	}
	if (!span_case_eq(*scheme, span_str("http")) && !span_case_eq(*scheme, span_str("https")))
		return err_set(err, SC_EINVAL, "'%s': expected http:// or https://", url);
	name = strcspn(at, "/?#");
	if (!name)
		return err_set(err, SC_EINVAL, "'%s' has no host", url);
	*authority = span_of(at, name);
	*target = span_of(at + name, strcspn(at + name, "#"));
	return SC_OK;
}

static bool has_header(const struct parts *p, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < p->n_headers; i++) {
		if (strncasecmp(p->headers[i], name, len) == 0 && p->headers[i][len] == ':')
			return true;
	}
	return false;
}

static int put_headers(const struct parts *p, struct span authority, struct buf *head)
{
	int rc = SC_OK;

	if (authority.len && !has_header(p, "Host"))
		rc = buf_addf(head, "Host: %.*s\r\n", (int)authority.len, authority.p);
	for (unsigned i = 0; i < p->n_headers && !rc; i++)
		rc = buf_addf(head, "%s\r\n", p->headers[i]);
	if (!rc && p->data && !has_header(p, "Content-Type") && p->body_type)
		rc = buf_addf(head, "Content-Type: %s\r\n", p->body_type);
	if (!rc && p->data)
		rc = buf_addf(head, "Content-Length: %zu\r\n", strlen(p->data));
	return rc ? rc : buf_add_str(head, "\r\n");
}

static int check_parts(const struct parts *p, struct err *err)
{
	if (!p->url)
		return err_set(err, SC_EINVAL, "no URL (expected 'METHOD URL', a URL, a path or a curl "
			       "command)");
	for (const char *c = p->method; c && *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("-_", *c))
			return err_set(err, SC_EINVAL, "'%s' is no method", p->method);
	}
	for (unsigned i = 0; i < p->n_headers; i++) {
		if (strpbrk(p->headers[i], "\r\n") || !strchr(p->headers[i], ':'))
			return err_set(err, SC_EINVAL, "header '%s': expected 'Name: value'",
				       p->headers[i]);
	}
	return SC_OK;
}

static int set_ends(struct exchange *ex, const char *client, struct span authority,
		    struct err *err)
{
	const uint8_t *colon = authority.len ? memrchr(authority.p, ':', authority.len) : NULL;

	ex->server.port = strcmp(ex->scheme, "https") == 0 ? 443 : 80;
	if (colon && !memchr(colon, ']', (size_t)(authority.p + authority.len - colon)))
		ex->server.port = (uint16_t)strtoul((const char *)colon + 1, NULL, 10);
	if (client && addr_parse(client, &ex->client))
		return err_set(err, SC_EINVAL, "--client '%s': expected an IP address", client);
	return SC_OK;
}

static int make_exchange(const struct parts *p, const char *client, struct exchange **ret,
			 struct err *err)
{
	const char *method = p->method ? p->method : p->data ? "POST" : "GET";
	struct span scheme = {0}, authority = {0}, target = {0};
	struct exchange *ex = exchange_new();
	struct buf head;
	int rc = check_parts(p, err);

	buf_init(&head, LIMIT_HEAD_BYTES);
	if (!ex)
		rc = no_memory(err);
	if (!rc)
		rc = split_url(p->url, &scheme, &authority, &target, err);
	if (rc)
		goto out;
	ex->sample = 100;
	ex->scheme = span_case_eq(scheme, span_str("https")) ? "https" : "http";
	rc = buf_addf(&head, "%s %s%.*s HTTP/1.1\r\n", method,
		      target.len && (target.p[0] == '/' || target.p[0] == '*') ? "" : "/",
		      (int)target.len, target.p);
	if (!rc)
		rc = put_headers(p, authority, &head);
	if (!rc)
		rc = message_parse(head.data, head.len, LIMIT_BODY_BYTES, &ex->request);
	if (!rc && p->data) {
		ex->request->body_size = strlen(p->data);
		rc = buf_add_str(&ex->request->body, p->data);
	}
	if (rc)
		rc = err_set(err, SC_EINVAL, "request '%s': makes no request", p->url);
	else
		rc = set_ends(ex, client, authority, err);
out:
	buf_done(&head);
	if (rc) {
		exchange_free(ex);
		return rc;
	}
	*ret = ex; /* moved */
	return SC_OK;
}

int asked_exchange(const struct asked *a, const char *const *words, unsigned n,
		   struct exchange **ret, struct err *err)
{
	struct parts *p = calloc(1, sizeof(*p));
	char **split = calloc(WORDS, sizeof(char *));
	char *text = n == 1 ? strdup(words[0]) : NULL;
	struct str_list made = {0};
	int rc = SC_OK;

	if (!p || !split || (n == 1 && !text)) {
		rc = no_memory(err);
		goto out;
	}
	rc = text ? take_text(p, text, split, &made, err)
		  : take_words(p, (char *const *)(uintptr_t)words, n, &made, err);
	if (!rc && a->method)
		p->method = a->method;
	if (!rc && a->data)
		rc = take_option(p, DATA, a->data, &made, err);
	for (unsigned i = 0; i < a->headers.n && !rc; i++)
		rc = add_header(p, a->headers.items[i], err);
	if (!rc)
		rc = make_exchange(p, a->client, ret, err);
out:
	for (unsigned i = 0; i < made.n; i++)
		free((void *)(uintptr_t)made.items[i]);
	free(made.items);
	free(text);
	free(split);
	free(p);
	return rc;
}
