/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines by table: getopt_long does the walking, the rows say what is known. */
#include "opt.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define OPTIONS_MAX 128
#define HELP_ID 1
#define HELP_COLUMN 30
#define HELP_WIDTH 100
#define FIRST_ID 256

int opt_flag(void *to, const char *value, struct err *err)
{
	(void)value;
	(void)err;
	*(bool *)to = true;
	return SC_OK;
}

int opt_text(void *to, const char *value, struct err *err)
{
	(void)err;
	*(const char **)to = value;
	return SC_OK;
}

int opt_list(void *to, const char *value, struct err *err)
{
	struct str_list *list = to;
	const char **items = realloc(list->items, (list->n + 1) * sizeof(*items));

	if (!items)
		return err_set(err, SC_ENOMEM, "out of memory");
	list->items = items;
	items[list->n++] = value;
	return SC_OK;
}

int opt_number(void *to, const char *value, struct err *err)
{
	unsigned long long v;

	errno = 0;
	v = strtoull(value, NULL, 10);
	/* strtoull also takes white space and signs. */
	if (errno || !*value || value[strspn(value, "0123456789")])
		return err_set(err, SC_EINVAL, "'%s' is not a whole number", value);
	*(uint64_t *)to = v;
	return SC_OK;
}

int opt_count(void *to, const char *value, struct err *err)
{
	uint64_t v;
	int rc = opt_number(&v, value, err);

	if (!rc && v == 0)
		rc = err_set(err, SC_EINVAL, "'%s': expected 1 or more", value);
	if (!rc)
		*(uint64_t *)to = v;
	return rc;
}

/* strtod also takes white space, signs, hex, inf and nan: an option's number is none of these. Where
 * it is none, *ret_end is `text`. */
static double read_number(const char *text, char **ret_end)
{
	*ret_end = (char *)(uintptr_t)text;
	if (!*text || !strchr("0123456789.", *text) || text[1] == 'x' || text[1] == 'X')
		return 0;
	return strtod(text, ret_end);
}

int opt_size(void *to, const char *value, struct err *err)
{
	static const char units[] = "KMGT";
	char *end;
	double v = read_number(value, &end);
	const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;

	if (end == value || isinf(v))
		return err_set(err, SC_EINVAL, "'%s' is not a size (expected e.g. 64K, 1M, 2G)", value);
	if (unit && *unit) {
		v = ldexp(v, 10 * (int)(unit - units + 1));
		end++;
		if (*end == 'i')
			end++;
	}
	if (*end == 'B')
		end++;
	if (*end || v > ldexp(1, 53) || (v > 0 && v < 1))
		return err_set(err, SC_EINVAL, "'%s' is not a size (expected e.g. 64K, 1M, 2G)", value);
	*(uint64_t *)to = (uint64_t)v;
	return SC_OK;
}

int opt_duration(void *to, const char *value, struct err *err)
{
	static const struct {
		const char *unit;
		double us;
	} units[] = {{"us", 1},       {"ms", 1e3},    {"s", 1e6},     {"", 1e6},
		     {"m", 60e6},     {"h", 3600e6},  {"d", 86400e6}};
	char *end;
	double v = read_number(value, &end);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		double us = v * units[i].us;

		if (end == value || strcmp(end, units[i].unit) != 0 || !(us > 0 && us < 1e17))
			continue;
		/* It would be 0, which is none at all. */
		if (us < 1)
			return err_set(err, SC_EINVAL, "'%s' is less than a microsecond", value);
		*(int64_t *)to = (int64_t)us;
		return SC_OK;
	}
	return err_set(err, SC_EINVAL, "'%s' is not a duration (expected e.g. 250ms, 10s, 5m, 1h)",
		       value);
}

/* Words from `column` on, and on further lines below each other. */
static void print_wrapped(const char *text, int column)
{
	while (*text) {
		int n = (int)strcspn(text, " ");

		if (column + n > HELP_WIDTH) {
			printf("\n%-*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		}
		printf("%.*s", n, text);
		column += n;
		text += n;
		if (*text == ' ') {
			text++;
			if (column + 1 + (int)strcspn(text, " ") <= HELP_WIDTH) {
				putchar(' ');
				column++;
			} else {
				column = HELP_WIDTH;
			}
		}
	}
	putchar('\n');
}

static void print_row(const struct opt *o)
{
	char left[64];
	int n = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s", o->letter ? '-' : ' ',
			 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");

	printf("%-*s%s", HELP_COLUMN, left, n >= HELP_COLUMN ? " " : "");
	print_wrapped(o->help, n >= HELP_COLUMN ? n + 1 : HELP_COLUMN);
}

static void print_help(const struct command *cmd)
{
	printf("Usage: shadow-ctl %s %s\n\n%s\n", cmd->name, cmd->usage, cmd->summary);
	for (const struct opt_table *t = cmd->tables; t->rows; t++) {
		for (const struct opt *o = t->rows; o->name; o++) {
			if (o->group)
				printf("\n%s:\n", o->group);
			print_row(o);
		}
	}
	printf("      --help                  this text\n\nExamples:\n%s", cmd->examples);
}

/* The rows as getopt_long wants them; its value of row i is FIRST_ID + i. */
struct parser {
	struct option longs[OPTIONS_MAX + 2];
	char shorts[2 * OPTIONS_MAX + 2];
	const struct opt *rows[OPTIONS_MAX];
	size_t offsets[OPTIONS_MAX];
	int n;
};

static void parser_init(struct parser *p, const struct command *cmd)
{
	size_t s = 0;

	memset(p, 0, sizeof(*p));
	p->shorts[s++] = ':';
	for (const struct opt_table *t = cmd->tables; t->rows; t++) {
		for (const struct opt *o = t->rows; o->name && p->n < OPTIONS_MAX; o++) {
			p->longs[p->n] = (struct option){o->name,
							 o->arg ? required_argument : no_argument,
							 NULL, FIRST_ID + p->n};
			p->rows[p->n] = o;
			p->offsets[p->n] = t->base + o->offset;
			p->n++;
			if (o->letter) {
				p->shorts[s++] = o->letter;
				if (o->arg)
					p->shorts[s++] = ':';
			}
		}
	}
	p->longs[p->n] = (struct option){"help", no_argument, NULL, HELP_ID};
}

static int row_of(const struct parser *p, int c)
{
	if (c >= FIRST_ID)
		return c - FIRST_ID;
	for (int i = 0; i < p->n; i++) {
		if (p->rows[i]->letter == c)
			return i;
	}
	return -1;
}

static int usage_error(const struct command *cmd, const char *what, const char *about)
{
	say("%s: %s%s%s%s (see shadow-ctl %s --help)", cmd->name, what, about ? " '" : "",
	    about ? about : "", about ? "'" : "", cmd->name);
	return EXIT_USAGE;
}

/* 0: go on; otherwise the exit status + 1. */
static int parse(const struct command *cmd, struct parser *p, int argc, char **argv, void *options)
{
	struct err err;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, p->shorts, p->longs, NULL)) != -1) {
		int row = c == '?' || c == ':' ? -1 : row_of(p, c);
		const struct opt *o = row >= 0 ? p->rows[row] : NULL;

		if (c == HELP_ID) {
			print_help(cmd);
			return EXIT_DONE + 1;
		}
		if (c == ':')
			return usage_error(cmd, "a value is missing for", argv[optind - 1]) + 1;
		if (!o)
			return usage_error(cmd, "unknown or misused option", argv[optind - 1]) + 1;
		if (o->set((char *)options + p->offsets[row], o->arg ? optarg : NULL, &err)) {
			say("%s: --%s: %s", cmd->name, o->name, err.text);
			return EXIT_USAGE + 1;
		}
	}
	return 0;
}

int command_run(const struct command *cmd, int argc, char **argv)
{
	struct parser *p = calloc(1, sizeof(*p));
	void *options = calloc(1, cmd->options_size ? cmd->options_size : 1);
	struct operands operands;
	int status = EXIT_FAILED + 1;

	if (!p || !options) {
		say("out of memory");
		goto out;
	}
	parser_init(p, cmd);
	if (cmd->defaults)
		cmd->defaults(options);
	status = parse(cmd, p, argc, argv, options);
	if (status)
		goto out;
	operands.items = (const char **)(void *)(argv + optind);
	operands.n = argc - optind;
	if (operands.n < cmd->min_operands)
		status = usage_error(cmd, "expected", cmd->usage) + 1;
	else if (operands.n > cmd->max_operands)
		status = usage_error(cmd, "too many operands at", operands.items[cmd->max_operands]) + 1;
	else
		status = cmd->run(options, &operands) + 1;
out:
	for (int i = 0; p && options && i < p->n; i++) {
		if (p->rows[i]->set == opt_list)
			free(((struct str_list *)(void *)((char *)options + p->offsets[i]))->items);
	}
	free(p);
	free(options);
	return status - 1;
}
