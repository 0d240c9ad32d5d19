/* SPDX-License-Identifier: Apache-2.0 */
/* Members of JSON, checked one by one. Knows no format. */
#include "json_read.h"

#include <stdio.h>

int jnode_bad(const struct jnode *n, const char *name, const char *expected)
{
	return err_set(n->err, SC_EINVAL, "%s: %s %llu: %s%s: expected %s", n->file, n->unit,
		       (unsigned long long)n->n, n->prefix, name, expected);
}

int jnode_failed(const struct jnode *n, int rc, const char *name, const char *expected)
{
	if (rc == SC_ENOMEM)
		return err_set(n->err, SC_ENOMEM, "%s: no memory", n->file);
	return jnode_bad(n, name, expected);
}

int jnode_load(struct span text, struct jnode *n)
{
	json_error_t e;
	json_t *json = json_loadb((const char *)text.p, text.len,
				  JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);

	if (!json) {
		/* It may quote what it did not like, whatever that is. */
		for (char *c = e.text; *c; c++) {
			if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
				*c = '?';
		}
		return err_set(n->err, json_error_code(&e) == json_error_out_of_memory ?
			       SC_ENOMEM : SC_EINVAL, "%s: %s %llu: is no JSON: %s (expected an "
			       "object)", n->file, n->unit, (unsigned long long)n->n, e.text);
	}
	if (!json_is_object(json)) {
		json_decref(json);
		return err_set(n->err, SC_EINVAL, "%s: %s %llu: expected an object", n->file,
			       n->unit, (unsigned long long)n->n);
	}
	n->json = json; /* moved */
	return SC_OK;
}

/* NULL: missing or null. */
static json_t *member(const struct jnode *n, const char *name)
{
	json_t *v = json_object_get(n->json, name);

	return json_is_null(v) ? NULL : v;
}

int jnode_integer(const struct jnode *n, const char *name, int64_t least, int64_t most, int64_t *ret)
{
	json_t *v = member(n, name);
	char expected[96];
	int64_t i;

	if (!v)
		return SC_OK;
	i = json_integer_value(v);
	if (!json_is_integer(v) || i < least || i > most) {
		(void)snprintf(expected, sizeof(expected), "an integer within %lld..%lld",
			       (long long)least, (long long)most);
		return jnode_bad(n, name, expected);
	}
	*ret = i;
	return SC_OK;
}

int jnode_real(const struct jnode *n, const char *name, double least, double most, double *ret)
{
	json_t *v = member(n, name);
	char expected[96];

	if (!v)
		return SC_OK;
	if (!json_is_number(v) || !(json_number_value(v) >= least) ||
	    !(json_number_value(v) <= most)) {
		(void)snprintf(expected, sizeof(expected), "a number within %g..%g", least, most);
		return jnode_bad(n, name, expected);
	}
	*ret = json_number_value(v);
	return SC_OK;
}

int jnode_text(const struct jnode *n, const char *name, struct span *ret)
{
	json_t *v = member(n, name);

	if (!v)
		return SC_OK;
	if (!json_is_string(v))
		return jnode_bad(n, name, "a string");
	*ret = span_of(json_string_value(v), json_string_length(v));
	return SC_OK;
}

int jnode_object(const struct jnode *n, const char *name, const char *prefix, struct jnode *ret)
{
	json_t *v = member(n, name);

	if (v && !json_is_object(v))
		return jnode_bad(n, name, "an object");
	*ret = *n;
	ret->json = v;
	ret->prefix = prefix;
	return SC_OK;
}

int jnode_array(const struct jnode *n, const char *name, json_t **ret)
{
	json_t *v = member(n, name);

	if (v && !json_is_array(v))
		return jnode_bad(n, name, "a list");
	*ret = v;
	return SC_OK;
}

int jnode_headers(const struct jnode *n, const char *name, struct header *items, uint32_t *ret_n)
{
	json_t *list, *pair;
	size_t i;
	int rc = jnode_array(n, name, &list);

	if (rc || !list)
		return rc;
	if (json_array_size(list) > LIMIT_FIELDS)
		return jnode_bad(n, name, "no more than 1000 fields");
	json_array_foreach(list, i, pair) {
		json_t *key = json_array_get(pair, 0), *value = json_array_get(pair, 1);

		if (!json_is_string(key) || !json_is_string(value) || json_array_size(pair) != 2)
			return jnode_bad(n, name, "[[name, value], ...]");
		items[i].name = span_of(json_string_value(key), json_string_length(key));
		items[i].value = span_of(json_string_value(value), json_string_length(value));
	}
	*ret_n = (uint32_t)json_array_size(list);
	return SC_OK;
}
