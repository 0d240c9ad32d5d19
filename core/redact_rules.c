/* SPDX-License-Identifier: Apache-2.0 */
/* What --redact takes, and what its preset stands for. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "redact_work.h"

enum place { PLACE_HEADER = 1, PLACE_NAME = 2 };

/* The preset. NAME: of a query parameter, a form's field, or a JSON member at any depth. */
static const struct {
	enum place place;
	const char *name;
} preset[] = {
	{PLACE_HEADER, "Authorization"},
	{PLACE_HEADER, "Proxy-Authorization"},
	{PLACE_HEADER, "Authentication-Info"},
	{PLACE_HEADER, "Proxy-Authentication-Info"},
	{PLACE_HEADER, "X-Forwarded-Authorization"},
	{PLACE_HEADER, "Cookie"},
	{PLACE_HEADER, "Cookie2"},
	{PLACE_HEADER, "Set-Cookie"},
	{PLACE_HEADER, "Set-Cookie2"},
	{PLACE_HEADER, "Api-Key"},
	{PLACE_HEADER, "ApiKey"},
	{PLACE_HEADER, "X-Api-Key"},
	{PLACE_HEADER, "X-Auth-Token"},
	{PLACE_HEADER, "X-Access-Token"},
	{PLACE_HEADER, "X-Csrf-Token"},
	{PLACE_HEADER, "X-Xsrf-Token"},
	{PLACE_HEADER, "X-Amz-Security-Token"},
	{PLACE_HEADER, "X-Goog-Api-Key"},
	{PLACE_HEADER, "X-Goog-Iap-Jwt-Assertion"},
	{PLACE_HEADER, "X-Vault-Token"},
	{PLACE_HEADER, "X-Forwarded-Access-Token"},
	{PLACE_HEADER, "Private-Token"},
	{PLACE_NAME, "access_token"},
	{PLACE_NAME, "accessToken"},
	{PLACE_NAME, "refresh_token"},
	{PLACE_NAME, "refreshToken"},
	{PLACE_NAME, "id_token"},
	{PLACE_NAME, "idToken"},
	{PLACE_NAME, "auth_token"},
	{PLACE_NAME, "authToken"},
	{PLACE_NAME, "api_token"},
	{PLACE_NAME, "apiToken"},
	{PLACE_NAME, "session_token"},
	{PLACE_NAME, "sessionToken"},
	{PLACE_NAME, "csrf_token"},
	{PLACE_NAME, "token"},
	{PLACE_NAME, "jwt"},
	{PLACE_NAME, "api_key"},
	{PLACE_NAME, "api-key"},
	{PLACE_NAME, "apikey"},
	{PLACE_NAME, "x-api-key"},
	{PLACE_NAME, "private_key"},
	{PLACE_NAME, "privateKey"},
	{PLACE_NAME, "password"},
	{PLACE_NAME, "passwd"},
	{PLACE_NAME, "passphrase"},
	{PLACE_NAME, "pwd"},
	{PLACE_NAME, "secret"},
	{PLACE_NAME, "client_secret"},
	{PLACE_NAME, "clientSecret"},
	{PLACE_NAME, "secretAccessKey"},
	{PLACE_NAME, "secret_access_key"},
	{PLACE_NAME, "client_assertion"},
	{PLACE_NAME, "assertion"},
	{PLACE_NAME, "credentials"},
	{PLACE_NAME, "sig"},
	{PLACE_NAME, "signature"},
	{PLACE_NAME, "X-Amz-Signature"},
	{PLACE_NAME, "X-Amz-Security-Token"},
	{PLACE_NAME, "X-Amz-Credential"},
	{PLACE_NAME, "X-Goog-Signature"},
	{PLACE_NAME, "X-Goog-Credential"},
	{PLACE_NAME, "auth"},
	{PLACE_NAME, "authorization"},
	{PLACE_NAME, "session"},
	{PLACE_NAME, "session_id"},
	{PLACE_NAME, "sessionid"},
};

static int add_preset(struct redaction *r, const char *rest, enum redact_how how, struct err *err)
{
	struct rule_use use = {how, 0};
	int rc = SC_OK;

	if (*rest)
		return err_set(err, SC_EINVAL, "redact 'secrets%s': expected secrets[=HOW]", rest);
	for (size_t i = 0; i < sizeof(preset) / sizeof(preset[0]) && !rc; i++) {
		struct span name = span_str(preset[i].name);

		if (preset[i].place == PLACE_HEADER) {
			rc = names_add(&r->headers, name, true, use);
			continue;
		}
		rc = names_add(&r->params, name, true, use);
		if (!rc)
			rc = names_add(&r->fields, name, true, use);
		if (!rc)
			rc = json_paths_add_name(r->json, preset[i].name, use);
	}
	r->userinfo = true;
	r->userinfo_use = use;
	return rc ? err_set(err, rc, "out of memory") : SC_OK;
}

static bool is_token(const char *s)
{
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	}
	return true;
}

/* Without these a message cannot be read any more, or goes elsewhere. */
static int check_header(const char *name, struct err *err)
{
	static const char *const kept[] = {"Host", "Content-Length", "Transfer-Encoding",
					   "Connection", "Content-Encoding"};

	if (!is_token(name))
		return err_set(err, SC_EINVAL, "redact 'header:%s': expected a field name", name);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (strcasecmp(name, kept[i]) == 0)
			return err_set(err, SC_EINVAL,
				       "redact 'header:%s': a message cannot do without it", name);
	}
	return SC_OK;
}

static int add_named(struct names *names, const char *what, const char *name, bool fold,
		     struct rule_use use, struct err *err)
{
	size_t len = strlen(name);

	if (len == 0 || len > LIMIT_REDACT_NAME)
		return err_set(err, SC_EINVAL, "redact '%s:': expected a name of 1 to %u bytes",
			       what, LIMIT_REDACT_NAME);
	return names_add(names, span_of(name, len), fold, use)
		       ? err_set(err, SC_ENOMEM, "out of memory") : SC_OK;
}

static int add_header(struct redaction *r, const char *name, struct rule_use use, struct err *err)
{
	int rc = check_header(name, err);

	return rc ? rc : add_named(&r->headers, "header", name, true, use, err);
}

static int add_cookie(struct redaction *r, const char *name, struct rule_use use, struct err *err)
{
	return add_named(&r->cookies, "cookie", name, false, use, err);
}

static int add_query(struct redaction *r, const char *name, struct rule_use use, struct err *err)
{
	return add_named(&r->params, "query", name, false, use, err);
}

static int add_form(struct redaction *r, const char *name, struct rule_use use, struct err *err)
{
	return add_named(&r->fields, "form", name, false, use, err);
}

static int add_json(struct redaction *r, const char *path, struct rule_use use, struct err *err)
{
	return json_paths_add(r->json, path, use, err);
}

static const struct {
	const char *what;
	int (*add)(struct redaction *r, const char *name, struct rule_use use, struct err *err);
} kinds[] = {
	{"header:", add_header}, {"cookie:", add_cookie}, {"query:", add_query},
	{"form:", add_form},     {"json:", add_json},
};

static int parse_how(const char *text, const char *word, enum redact_how *ret, struct err *err)
{
	static const char *const names[] = {
		[REDACT_MASK] = "mask",
		[REDACT_HASH] = "hash",
		[REDACT_DROP] = "drop",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(word, names[i]) == 0) {
			*ret = (enum redact_how)i;
			return SC_OK;
		}
	}
	return err_set(err, SC_EINVAL, "redact '%s': '%s' is not mask, hash or drop", text, word);
}

/* What stands before the =HOW, with its terminator. A = inside ['...'] is part of the path. */
static int split(const char *text, char *ret_what, size_t room, enum redact_how *ret_how,
		 struct err *err)
{
	const char *eq = strrchr(text, '=');
	size_t len = strlen(text);
	int rc = SC_OK;

	*ret_how = REDACT_MASK;
	if (eq && !strchr(eq, ']')) {
		len = (size_t)(eq - text);
		rc = parse_how(text, eq + 1, ret_how, err);
	}
	if (!rc && len >= room)
		rc = err_set(err, SC_EINVAL, "redact: a rule of more than %zu bytes", room - 1);
	if (rc)
		return rc;
	memcpy(ret_what, text, len);
	ret_what[len] = '\0';
	return SC_OK;
}

int redact_rules_add(struct redaction *r, const char *text, struct err *err)
{
	char what[LIMIT_REDACT_NAME * 16];
	struct rule_use use = {.rank = r->n_rules + 1};
	int rc = split(text, what, sizeof(what), &use.how, err);

	if (rc)
		return rc;
	if (r->n_rules == LIMIT_RULES)
		return err_set(err, SC_EINVAL, "more than %u redact rules", LIMIT_RULES);
	if (use.how == REDACT_HASH && !r->mac)
		return err_set(err, SC_EINVAL, "redact '%s': a hash needs --redact-key-file", text);
	r->n_rules++;
	if (strncmp(what, "secrets", 7) == 0)
		return add_preset(r, what + 7, use.how, err);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].what);

		if (strncmp(what, kinds[i].what, n) == 0)
			return kinds[i].add(r, what + n, use, err);
	}
	return err_set(
		err, SC_EINVAL,
		"redact '%s': expected header:, cookie:, query:, form: or json: and a name, or "
		"secrets",
		text);
}
