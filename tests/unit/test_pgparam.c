/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pgparam.c - the byte forms of parameters, written out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pg/pgparam.h"

static int
setup(void **state)
{
	static struct pgparam p;

	pgparam_init(&p);
	*state = &p;
	return 0;
}

static int
teardown(void **state)
{
	pgparam_fini(*state);
	return 0;
}

/* parameter i is of this type and has these bytes */
static void
assert_param(
    const struct pgparam *p, int i, enum pgtype type, const char *bytes, int len)
{
	assert_false(pgparam_failed(p));
	assert_true(i < p->count);
	assert_int_equal(p->types[i], type);
	assert_int_equal(p->lens[i], len);
	if (len > 0)
		assert_memory_equal(p->block.data + p->offsets[i], bytes, (size_t)len);
}

static void
scalars_are_big_endian(void **state)
{
	struct pgparam *p = *state;
	struct uuid id = {.b = "0123456789abcdef"};

	pgparam_bool(p, true);
	pgparam_int2(p, -2);
	pgparam_int4(p, 0x01020304);
	pgparam_int8(p, INT64_MIN + 5);
	pgparam_uuid(p, &id);
	pgparam_text(p, "h\xc3\xa4");
	pgparam_text(p, "");
	pgparam_text(p, NULL);
	pgparam_textn(p, "a\0b", 3);
	pgparam_bytea(p, "\0\xff", 2);
	pgparam_null(p, PGTYPE_INT8);
	assert_int_equal(p->count, 11);
	assert_param(p, 0, PGTYPE_BOOL, "\1", 1);
	assert_param(p, 1, PGTYPE_INT2, "\xff\xfe", 2);
	assert_param(p, 2, PGTYPE_INT4, "\1\2\3\4", 4);
	assert_param(p, 3, PGTYPE_INT8, "\x80\0\0\0\0\0\0\5", 8);
	assert_param(p, 4, PGTYPE_UUID, "0123456789abcdef", 16);
	assert_param(p, 5, PGTYPE_TEXT, "h\xc3\xa4", 3);
	assert_param(p, 6, PGTYPE_TEXT, "", 0);
	assert_param(p, 7, PGTYPE_TEXT, "", -1);
	assert_param(p, 8, PGTYPE_TEXT, "a\0b", 3);
	assert_param(p, 9, PGTYPE_BYTEA, "\0\xff", 2);
	assert_param(p, 10, PGTYPE_INT8, "", -1);
}

static void
array_has_header_and_elements(void **state)
{
	struct pgparam *p = *state;

	pgparam_array(p, PGTYPE_INT4);
	pgparam_elem_int4(p, 7);
	pgparam_elem_null(p);
	pgparam_elem_int4(p, -1);
	pgparam_array_end(p);
	assert_param(p, 0, PGTYPE_INT4_ARRAY,
	    "\0\0\0\1"
	    "\0\0\0\1"
	    "\0\0\0\x17"
	    "\0\0\0\3"
	    "\0\0\0\1"
	    "\0\0\0\4\0\0\0\7"
	    "\xff\xff\xff\xff"
	    "\0\0\0\4\xff\xff\xff\xff",
	    40);
}

static void
array_without_null_says_so(void **state)
{
	struct pgparam *p = *state;

	pgparam_text(p, "before");
	pgparam_array(p, PGTYPE_TEXT);
	pgparam_elem_text(p, "ab", 2);
	pgparam_elem_text(p, "", 0);
	pgparam_array_end(p);
	pgparam_int2(p, 1);
	assert_param(p, 1, PGTYPE_TEXT_ARRAY,
	    "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\2\0\0\0\1"
	    "\0\0\0\2"
	    "ab"
	    "\0\0\0\0",
	    30);
	assert_param(p, 2, PGTYPE_INT2, "\0\1", 2);
}

static void
empty_array_has_no_dimension(void **state)
{
	struct pgparam *p = *state;

	pgparam_array(p, PGTYPE_UUID);
	pgparam_array_end(p);
	pgparam_bool(p, false);
	assert_param(p, 0, PGTYPE_UUID_ARRAY, "\0\0\0\0\0\0\0\0\0\0\x0b\x86", 12);
	assert_param(p, 1, PGTYPE_BOOL, "\0", 1);
}

static void
every_element_type_has_its_array(void **state)
{
	struct pgparam *p = *state;
	struct uuid id = {.b = {1}};

	pgparam_array(p, PGTYPE_BOOL);
	pgparam_elem_bool(p, true);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT2);
	pgparam_elem_int2(p, 1);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT8);
	pgparam_elem_int8(p, 1);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	pgparam_elem_uuid(p, &id);
	pgparam_array_end(p);
	assert_false(pgparam_failed(p));
	assert_int_equal(p->types[0], PGTYPE_BOOL_ARRAY);
	assert_int_equal(p->lens[0], 20 + 5);
	assert_int_equal(p->types[1], PGTYPE_INT2_ARRAY);
	assert_int_equal(p->lens[1], 20 + 6);
	assert_int_equal(p->types[2], PGTYPE_INT8_ARRAY);
	assert_int_equal(p->lens[2], 20 + 12);
	assert_int_equal(p->types[3], PGTYPE_UUID_ARRAY);
	assert_int_equal(p->lens[3], 20 + 20);
}

static void
misuse_sticks_until_reset(void **state)
{
	struct pgparam *p = *state;

	pgparam_elem_int4(p, 1); /* no array */
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_elem_null(p);
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_array_end(p);
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4);
	assert_true(pgparam_failed(p)); /* open */
	pgparam_array_end(p);
	assert_false(pgparam_failed(p));
	pgparam_array(p, PGTYPE_INT4);
	pgparam_int4(p, 1); /* a scalar inside */
	pgparam_array_end(p);
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4);
	pgparam_elem_int8(p, 1); /* another type */
	pgparam_array_end(p);
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4_ARRAY); /* no such element */
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	for (int i = 0; i < PGPARAM_MAX; i++)
		pgparam_int4(p, i);
	assert_false(pgparam_failed(p));
	pgparam_int4(p, 0); /* one too many */
	assert_true(pgparam_failed(p));
	pgparam_reset(p);
	pgparam_int4(p, 9);
	assert_param(p, 0, PGTYPE_INT4, "\0\0\0\x9", 4);
}

static void
no_memory_sticks(void **state)
{
	struct pgparam *p = *state;

	mem_fail_nth(1);
	pgparam_int4(p, 1);
	assert_true(pgparam_failed(p));
	pgparam_int4(p, 2);
	pgparam_array(p, PGTYPE_INT4);
	pgparam_elem_int4(p, 2);
	pgparam_array_end(p);
	assert_true(pgparam_failed(p));
	mem_fail_nth(0);
}

static void
growing_keeps_what_is_there(void **state)
{
	struct pgparam *p = *state;
	char last[4] = {0, 0, 0x27, 0x0f};

	pgparam_text(p, "first");
	pgparam_array(p, PGTYPE_INT4);
	for (int i = 0; i < 10000; i++)
		pgparam_elem_int4(p, i);
	pgparam_array_end(p);
	assert_param(p, 0, PGTYPE_TEXT, "first", 5);
	assert_int_equal(p->lens[1], 20 + 80000);
	assert_memory_equal(p->block.data + p->offsets[1] + 20 + 80000 - 4, last, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(scalars_are_big_endian, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		array_has_header_and_elements, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		array_without_null_says_so, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		empty_array_has_no_dimension, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		every_element_type_has_its_array, setup, teardown),
	    cmocka_unit_test_setup_teardown(misuse_sticks_until_reset, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_memory_sticks, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		growing_keeps_what_is_there, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
