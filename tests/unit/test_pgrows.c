/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pgrows.c - reading results that are built by hand, and the classes of SQLSTATEs.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "base/attr.h"
#include "pg/pgconn.h"
#include "pg/pgrows.h"

struct cell {
	const char *bytes; /* NULL: NULL */
	int len;
};

/* one row of these cells */
static PGresult *
result(const struct cell *cells, int count)
{
	PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc columns[16];
	static char name[] = "c";

	assert_non_null(res);
	assert_true(count <= 16);
	memset(columns, 0, sizeof(columns));
	for (int i = 0; i < count; i++) {
		columns[i].name = name;
		columns[i].format = 1;
	}
	assert_int_not_equal(PQsetResultAttrs(res, count, columns), 0);
	for (int i = 0; i < count; i++) {
		char *bytes = (char *)(uintptr_t)cells[i].bytes;

		assert_int_not_equal(
		    PQsetvalue(res, 0, i, bytes, bytes == NULL ? -1 : cells[i].len), 0);
	}
	return res;
}

static const struct pgrows *
rows(const PGresult *res)
{
	return (const struct pgrows *)(const void *)res;
}

static void
values_have_their_width(void **state)
{
	static const struct cell cells[] = {
	    {"\xff\xfe", 2}, {"\xff\xff\xff\xfd", 4},
	    {"\x7f\xff\xff\xff\xff\xff\xff\xff", 8}, {"\1", 1}, {"\0", 1}, {"t\0xt", 4},
	    {"", 0}, {"0123456789abcdef", 16},
	    {"\0\0\0\0\0\0\0\1", 8}, /* 2000-01-01 00:00:00.000001 UTC */
	};
	PGresult *res = result(cells, COUNT_OF(cells));
	struct uuid id;
	size_t len;

	(void)state;
	assert_int_equal(pgrows_count(rows(res)), 1);
	assert_true(pgrows_int(rows(res), 0, 0) == -2);
	assert_true(pgrows_int(rows(res), 0, 1) == -3);
	assert_true(pgrows_int(rows(res), 0, 2) == INT64_MAX);
	assert_true(pgrows_bool(rows(res), 0, 3));
	assert_false(pgrows_bool(rows(res), 0, 4));
	assert_memory_equal(pgrows_text(rows(res), 0, 5, &len), "t\0xt", 5);
	assert_int_equal(len, 4);
	assert_string_equal(pgrows_text(rows(res), 0, 6, NULL), "");
	assert_string_equal(pgrows_text_or_null(rows(res), 0, 5, &len), "t");
	assert_int_equal(len, 4);
	assert_false(pgrows_is_null(rows(res), 0, 6));
	pgrows_uuid(rows(res), 0, 7, &id);
	assert_memory_equal(id.b, "0123456789abcdef", 16);
	assert_true(pgrows_time_us(rows(res), 0, 8) == INT64_C(946684800000001));
	PQclear(res);
}

static void
null_is_nothing_of_its_kind(void **state)
{
	static const struct cell cells[] = {{NULL, 0}};
	PGresult *res = result(cells, 1);
	struct uuid id, zero = {.b = {0}};
	struct pgarray a;
	const char *value;
	size_t len;

	(void)state;
	assert_true(pgrows_is_null(rows(res), 0, 0));
	assert_int_equal(pgrows_int(rows(res), 0, 0), 0);
	assert_int_equal(pgrows_time_us(rows(res), 0, 0), 0);
	assert_false(pgrows_bool(rows(res), 0, 0));
	assert_string_equal(pgrows_text(rows(res), 0, 0, &len), "");
	assert_int_equal(len, 0);
	assert_null(pgrows_text_or_null(rows(res), 0, 0, &len));
	pgrows_uuid(rows(res), 0, 0, &id);
	assert_memory_equal(&id, &zero, sizeof(id));
	pgrows_array(rows(res), 0, 0, &a);
	assert_false(pgarray_next(&a, &value, &len));
	PQclear(res);
}

static void
array_is_walked_with_its_nulls(void **state)
{
	static const struct cell cells[] = {
	    {"\0\0\0\1\0\0\0\1\0\0\0\x17\0\0\0\3\0\0\0\1"
	     "\0\0\0\4\0\0\0\7\xff\xff\xff\xff\0\0\0\4\xff\xff\xff\xff",
		40},
	    {"\0\0\0\0\0\0\0\0\0\0\0\x17", 12},
	};
	PGresult *res = result(cells, COUNT_OF(cells));
	struct pgarray a;
	const char *value;
	size_t len;

	(void)state;
	pgrows_array(rows(res), 0, 0, &a);
	assert_true(pgarray_next(&a, &value, &len));
	assert_int_equal(pgarray_int(value, len), 7);
	assert_true(pgarray_next(&a, &value, &len));
	assert_null(value);
	assert_int_equal(pgarray_int(value, len), 0);
	assert_true(pgarray_next(&a, &value, &len));
	assert_true(pgarray_int(value, len) == -1);
	assert_false(pgarray_next(&a, &value, &len));
	assert_false(pgarray_next(&a, &value, &len));
	pgrows_array(rows(res), 0, 1, &a);
	assert_false(pgarray_next(&a, &value, &len));
	PQclear(res);
}

/* ---- what a statement cannot have ---------------------------------------- */

static void
read_bad_row(const struct pgrows *r)
{
	(void)pgrows_int(r, 1, 0);
}

static void
read_bad_column(const struct pgrows *r)
{
	(void)pgrows_is_null(r, 0, 3);
}

static void
read_bad_int(const struct pgrows *r)
{
	(void)pgrows_int(r, 0, 0);
}

static void
read_bad_bool(const struct pgrows *r)
{
	(void)pgrows_bool(r, 0, 0);
}

static void
read_bad_uuid(const struct pgrows *r)
{
	struct uuid id;

	pgrows_uuid(r, 0, 0, &id);
}

static void
read_bad_array(const struct pgrows *r)
{
	struct pgarray a;

	pgrows_array(r, 0, 0, &a);
}

static void
read_two_dimensions(const struct pgrows *r)
{
	struct pgarray a;

	pgrows_array(r, 0, 1, &a);
}

static void
read_cut_array(const struct pgrows *r)
{
	struct pgarray a;
	const char *value;
	size_t len;

	pgrows_array(r, 0, 2, &a);
	while (pgarray_next(&a, &value, &len))
		;
}

static void
disagreement_aborts(void **state)
{
	static const struct cell cells[] = {
	    {"abc", 3},
	    {"\0\0\0\2\0\0\0\0\0\0\0\x17\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 28},
	    {"\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\2\0\0\0\1\0\0\0\4\0\0\0\1", 28},
	};
	static const struct {
		const char *what;
		void (*read)(const struct pgrows *r);
	} cases[] = {
	    {"a row that is not there", read_bad_row},
	    {"a column that is not there", read_bad_column},
	    {"an integer of three bytes", read_bad_int},
	    {"a bool of three bytes", read_bad_bool},
	    {"a uuid of three bytes", read_bad_uuid},
	    {"an array of three bytes", read_bad_array},
	    {"an array of two dimensions", read_two_dimensions},
	    {"an array that says more than it has", read_cut_array},
	};
	PGresult *res = result(cells, COUNT_OF(cells));
	struct rlimit no_core = {0, 0};
	int status;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			(void)setrlimit(RLIMIT_CORE, &no_core);
			signal(SIGABRT, SIG_DFL);
			if (freopen("/dev/null", "w", stderr) == NULL)
				_exit(1);
			cases[i].read(rows(res));
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
			fail_msg("%s was read", cases[i].what);
	}
	PQclear(res);
}

/* ---- classes ---------------------------------------------------------------- */

static void
sqlstates_have_their_class(void **state)
{
	static const struct {
		const char *code;
		enum pgerr_class class;
	} cases[] = {
	    {"40001", PGERR_RETRY},
	    {"40P01", PGERR_RETRY},
	    {"26000", PGERR_RETRY},
	    {"42P05", PGERR_RETRY},
	    {"40003", PGERR_LOST},
	    {"08006", PGERR_LOST},
	    {"08P01", PGERR_LOST},
	    {"25006", PGERR_RECONNECT},
	    {"57P01", PGERR_RECONNECT},
	    {"57P02", PGERR_RECONNECT},
	    {"57P03", PGERR_RECONNECT},
	    {"57P05", PGERR_RECONNECT},
	    {"53100", PGERR_BUSY},
	    {"53200", PGERR_BUSY},
	    {"53300", PGERR_BUSY},
	    {"55P03", PGERR_BUSY},
	    {"57014", PGERR_BUSY},
	    {"22001", PGERR_DATA},
	    {"22021", PGERR_DATA},
	    {"22P05", PGERR_DATA},
	    {"23505", PGERR_DATA},
	    {"23514", PGERR_DATA},
	    {"40002", PGERR_DATA},
	    {"54000", PGERR_DATA},
	    {"42P01", PGERR_SCHEMA},
	    {"42883", PGERR_SCHEMA},
	    {"42501", PGERR_SCHEMA},
	    {"3F000", PGERR_SCHEMA},
	    {"0A000", PGERR_BUG},
	    {"25P02", PGERR_BUG},
	    {"40000", PGERR_BUG},
	    {"P0001", PGERR_BUG},
	    {"XX000", PGERR_BUG},
	    {"", PGERR_BUG},
	    {"22", PGERR_BUG},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (sqlstate_class(cases[i].code) != cases[i].class)
			fail_msg("%s is %s", cases[i].code,
			    pgerr_class_name(sqlstate_class(cases[i].code)));
	}
	for (int c = PGERR_NONE; c <= PGERR_BUG; c++)
		assert_string_not_equal(pgerr_class_name(c), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values_have_their_width),
	    cmocka_unit_test(null_is_nothing_of_its_kind),
	    cmocka_unit_test(array_is_walked_with_its_nulls),
	    cmocka_unit_test(disagreement_aborts),
	    cmocka_unit_test(sqlstates_have_their_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
