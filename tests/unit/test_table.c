/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: aligned, escaped and fitted as text, exact as CSV and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include <jansson.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "table.h"

#define TEXT(s) {CELL_TEXT, {(const uint8_t *)(s), sizeof(s) - 1}}
#define INTEGER(s) {CELL_INTEGER, {(const uint8_t *)(s), sizeof(s) - 1}}
#define REAL(s) {CELL_REAL, {(const uint8_t *)(s), sizeof(s) - 1}}
#define BLOB(s) {CELL_BLOB, {(const uint8_t *)(s), sizeof(s) - 1}}
#define NOTHING {CELL_NULL, {NULL, 0}}

struct cell {
	enum cell_kind kind;
	struct span text;
};

static void print_rows(FILE *out, enum table_format format, int columns, const char *const *names,
		       const struct cell *cells, size_t n)
{
	struct table *t = table_new(out, format, columns, names);

	assert_non_null(t);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(table_cell(t, cells[i].kind, cells[i].text), SC_OK);
	assert_int_equal(table_finish(t), SC_OK);
	table_free(t);
}

static char *print_to_text(enum table_format format, int columns, const char *const *names,
			   const struct cell *cells, size_t n)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	print_rows(out, format, columns, names, cells, n);
	assert_int_equal(fclose(out), 0);
	return text;
}

static const char *const names[] = {"name", "n"};
static const struct cell cells[] = {
	TEXT("plain"),        INTEGER("1"),
	TEXT("a,\"b\"\nc"),   REAL("-12.5"),
	TEXT("caf\xc3\xa9"),  NOTHING,
	TEXT(""),             INTEGER("9223372036854775807"),
	BLOB("\x00\xff" "a"), REAL("Inf"),
	TEXT("\x1b[31m\xc2\x9b\xe2\x80\xae\xe9"), REAL("1.0e+20"),
};
#define N_CELLS (sizeof(cells) / sizeof(cells[0]))

#define LINE "\xe2\x94\x80"
#define LINE5 LINE LINE LINE LINE LINE
#define LINE20 LINE5 LINE5 LINE5 LINE5

static const struct {
	enum table_format format;
	size_t n;
	const char *text;
} printed[] = {
	{TABLE_TEXT, N_CELLS,
	 "name                                                n\n" LINE20 LINE5 LINE5 LINE LINE
	 "  " LINE5 LINE5 LINE5 LINE LINE LINE LINE "\n"
	 "plain                                               1\n"
	 "a,\"b\"\\nc                                        -12.5\n"
	 "caf\xc3\xa9                                                -\n"
	 "                                  9223372036854775807\n"
	 "\\x00\\xffa                                         Inf\n"
	 "\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xe9              1.0e+20\n"},
	{TABLE_CSV, N_CELLS,
	 "name,n\r\nplain,1\r\n\"a,\"\"b\"\"\nc\",-12.5\r\ncaf\xc3\xa9,\r\n"
	 "\"\",9223372036854775807\r\n\\x00\\xffa,Inf\r\n"
	 "\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xe9,1.0e+20\r\n"},
	{TABLE_JSON, N_CELLS,
	 "[\n{\"name\": \"plain\", \"n\": 1},\n{\"name\": \"a,\\\"b\\\"\\nc\", \"n\": -12.5},\n"
	 "{\"name\": \"caf\xc3\xa9\", \"n\": null},\n{\"name\": \"\", \"n\": "
	 "9223372036854775807},\n"
	 "{\"name\": \"AP9h\", \"n\": null},\n{\"name\": \"\\u001b[31m\xc3\x82\xc2\x9b\xc3\xa2"
	 "\xc2\x80\xc2\xae\xc3\xa9\", \"n\": 1.0e+20}\n]\n"},
	{TABLE_TEXT, 0, "name  n\n" LINE LINE LINE LINE "  " LINE "\n"},
	{TABLE_CSV, 0, "name,n\r\n"},
	{TABLE_JSON, 0, "[]\n"},
};

static void test_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(printed) / sizeof(printed[0]); i++) {
		char *text = print_to_text(printed[i].format, 2, names, cells, printed[i].n);

		assert_string_equal(text, printed[i].text);
		free(text);
	}
}

static void test_json_is_json(void **state)
{
	char *text = print_to_text(TABLE_JSON, 2, names, cells, N_CELLS);
	json_t *json = json_loads(text, 0, NULL);

	(void)state;
	assert_int_equal(json_array_size(json), N_CELLS / 2);
	assert_true(json_is_integer(json_object_get(json_array_get(json, 0), "n")));
	json_decref(json);
	free(text);
}

static void test_base64(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		/* RFC 4648, 10 */
		{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cell cell = {CELL_BLOB, span_str(cases[i].bytes)};
		char *text = print_to_text(TABLE_JSON, 1, names, &cell, 1);
		char expected[64];

		(void)snprintf(expected, sizeof(expected), "[\n{\"name\": \"%s\"}\n]\n",
			       cases[i].text);
		assert_string_equal(text, expected);
		free(text);
	}
}

/* More than is held for the widths: comes out whole, in order. */
static void test_many_rows(void **state)
{
	static uint8_t wide[100000];
	char *text = NULL;
	size_t len, lines = 0;
	FILE *out = open_memstream(&text, &len);
	struct table *t;

	(void)state;
	assert_non_null(out);
	t = table_new(out, TABLE_TEXT, 1, names);
	assert_non_null(t);
	memset(wide, 'w', sizeof(wide));
	for (size_t i = 0; i < 400; i++) {
		wide[0] = (uint8_t)('a' + i % 26);
		assert_int_equal(table_cell(t, CELL_TEXT, span_of(wide, sizeof(wide))), SC_OK);
	}
	assert_int_equal(table_finish(t), SC_OK);
	table_free(t);
	assert_int_equal(fclose(out), 0);
	for (char *line = strchr(strchr(text, '\n') + 1, '\n') + 1; *line;
	     line = strchr(line, '\n') + 1) {
		assert_int_equal(*line, 'a' + lines % 26);
		lines++;
	}
	assert_int_equal(lines, 400);
	free(text);
}

/* As a terminal of 40 columns shows it. */
static void assert_on_terminal(int n, const char *const *columns, const struct cell *row,
			       const char *expected)
{
	struct winsize size = {.ws_row = 24, .ws_col = 40};
	char text[2048];
	size_t len = 0;
	int reader, writer;
	FILE *out;
	ssize_t got;

	assert_int_equal(openpty(&reader, &writer, NULL, NULL, &size), 0);
	out = fdopen(writer, "w");
	assert_non_null(out);
	print_rows(out, TABLE_TEXT, n, columns, row, (size_t)n);
	assert_int_equal(fclose(out), 0);
	/* Linux answers EIO when the other end is closed and all is read. */
	while ((got = read(reader, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)got;
	(void)close(reader);
	text[len] = '\0';
	assert_string_equal(text, expected);
}

/* No line is longer than it is wide, and numbers stay whole. */
static void test_terminal(void **state)
{
	static const char *const columns[] = {"id", "path", "what came\x1b!"};
	static const struct cell row[] = {INTEGER("123456789"),
					  TEXT("/a/path/that/goes/on/and/on/and/on/and/on"),
					  TEXT("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
					       "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac")};

	(void)state;
	assert_on_terminal(
		3, columns, row,
		"       id  path            what came\\x1\xe2\x80\xa6\r\n" LINE5 LINE LINE LINE LINE
		"  " LINE5 LINE5 LINE LINE LINE LINE "  " LINE5 LINE5 LINE LINE LINE "\r\n"
		"123456789  /a/path/that/\xe2\x80\xa6  \xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
		"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\r\n");
}

/* Names of numbers give way first, then the last columns, which are said. */
static void test_narrow_terminal(void **state)
{
	static const char *const columns[] = {"route", "requests", "response_bytes", "p50_ms",
					      "client", "kind"};
	static const struct cell row[] = {TEXT("/a/rather/long/route"), INTEGER("12"),
					  INTEGER("123456"), INTEGER("1"), TEXT("10.20.30.40"),
					  TEXT("x")};

	(void)state;
	assert_on_terminal(
		6, columns, row,
		"route                 req\xe2\x80\xa6  respo\xe2\x80\xa6  p50\xe2\x80\xa6\r\n"
		LINE5 LINE5 LINE5 LINE5 "  " LINE LINE LINE LINE "  " LINE5 LINE "  "
		LINE LINE LINE LINE "\r\n"
		"/a/rather/long/route    12  123456     1\r\n"
		"not shown, the terminal is too narrow: client, kind\r\n");
}

static void test_full_disk(void **state)
{
	FILE *out = fopen("/dev/full", "w");
	struct table *t;

	(void)state;
	assert_non_null(out);
	t = table_new(out, TABLE_CSV, 1, names);
	assert_non_null(t);
	(void)table_cell(t, CELL_TEXT, span_str("x"));
	assert_int_equal(table_finish(t), SC_EIO);
	table_free(t);
	(void)fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),   cmocka_unit_test(test_json_is_json),
		cmocka_unit_test(test_base64),    cmocka_unit_test(test_many_rows),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_narrow_terminal),  cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
