/* SPDX-License-Identifier: Apache-2.0 */
/* Takes --to of a mirror apart. Knows the words, and leaves what they mean to the stages. */
#include "mirror_to.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sample.h"

#define AT(member) offsetof(struct rewrite_options, member)

/* The words behind the URL. `field`: K=V is written K: V where it goes. */
static const struct {
	const char *name;
	size_t list;
	bool field;
} terms[] = {
	{"rewrite:", AT(rewrites), false},     {"set-header:", AT(set), true},
	{"add-header:", AT(add), true},	       {"remove-header:", AT(remove), false},
	{"set-query:", AT(set_query), false},  {"remove-query:", AT(remove_query), false},
};

static struct str_list *list_at(struct rewrite_options *o, size_t offset)
{
	return (struct str_list *)(void *)((char *)o + offset);
}

static int add_field(struct mirror_to *to, struct str_list *list, const char *value,
		     struct err *err)
{
	const char *equals = strchr(value, '=');
	char *field;

	if (!equals)
		return err_set(err, SC_EINVAL, "--to: '%.100s': expected NAME=VALUE", value);
	if (to->n_fields == LIMIT_MIRROR_TERMS)
		return err_set(err, SC_EINVAL, "--to: more than %u header terms", LIMIT_MIRROR_TERMS);
	if (asprintf(&field, "%.*s: %s", (int)(equals - value), value, equals + 1) < 0)
		return err_set(err, SC_ENOMEM, "out of memory");
	to->fields[to->n_fields++] = field;
	return opt_list(list, field, err);
}

static int add_term(struct mirror_to *to, const char *word, struct err *err)
{
	static const char host[] = "host:";

	if (strncmp(word, host, strlen(host)) == 0) {
		to->rewrites.host = word + strlen(host);
		return SC_OK;
	}
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
		size_t len = strlen(terms[i].name);
		struct str_list *list = list_at(&to->rewrites, terms[i].list);

		if (strncmp(word, terms[i].name, len) != 0)
			continue;
		return terms[i].field ? add_field(to, list, word + len, err)
				      : opt_list(list, word + len, err);
	}
	return err_set(err, SC_EINVAL, "--to: '%.100s' is no term; expected host:MODE, "
		       "rewrite:FROM=TO, set-header:K=V, add-header:K=V, remove-header:K, "
		       "set-query:K=V or remove-query:K", word);
}

static int copy_common(struct mirror_to *to, const struct rewrite_options *common, struct err *err)
{
	struct rewrite_options from = *common;
	int rc = SC_OK;

	to->rewrites.host = common->host;
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]) && !rc; i++) {
		const struct str_list *list = list_at(&from, terms[i].list);

		for (unsigned k = 0; k < list->n && !rc; k++)
			rc = opt_list(list_at(&to->rewrites, terms[i].list), list->items[k], err);
	}
	return rc;
}

static int take_apart(struct mirror_to *to, struct err *err)
{
	char *rest = to->text, *word, *percent;
	struct err why;
	int rc = SC_OK;

	to->url = strsep(&rest, " ");
	percent = strrchr(to->text, '=');
	if (percent) {
		*percent = '\0';
		rc = sample_parse(percent + 1, &to->percent, &why);
		if (rc)
			err_set(err, rc, "--to %.200s: %s", to->url, why.text);
	}
	while (!rc && (word = strsep(&rest, " "))) {
		if (*word)
			rc = add_term(to, word, err);
	}
	return rc;
}

int mirror_to_parse(const char *text, const struct rewrite_options *common, struct mirror_to *ret,
		    struct err *err)
{
	struct mirror_to to = {.percent = 100, .text = strdup(text)};
	int rc = to.text ? SC_OK : err_set(err, SC_ENOMEM, "out of memory");

	if (!rc)
		rc = copy_common(&to, common, err);
	if (!rc)
		rc = take_apart(&to, err);
	if (rc) {
		mirror_to_done(&to);
		return rc;
	}
	*ret = to; /* moved */
	return SC_OK;
}

void mirror_to_done(struct mirror_to *to)
{
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++)
		free((void *)list_at(&to->rewrites, terms[i].list)->items);
	for (unsigned i = 0; i < to->n_fields; i++)
		free(to->fields[i]);
	free(to->text);
	*to = (struct mirror_to){.text = NULL};
}
