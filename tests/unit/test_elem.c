/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_elem.c - what counts as an id in a list of Redis, and what an API key looks
 * like.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/attr.h"
#include "broker/elem.h"
#include "store/apikey.h"

#define ID "0190d3c8-5b7e-7c3a-9d2e-4f8a6b1c2d3e"

static void
an_id_comes_back_as_it_went(void **state)
{
	struct elem e = {.app_id = 12, .type_id = 2147483647}, got;
	struct pools *pools = pools_create();
	char text[ELEM_TEXT_SIZE];
	size_t len;

	(void)state;
	assert_non_null(pools);
	uuid_v7(1700000000000, &e.id);
	len = elem_format(pools, &e, text);
	assert_int_equal(len, strlen(text));
	assert_int_equal(elem_parse(pools, text, len, &got), 0);
	assert_true(uuid_eq(&got.id, &e.id));
	assert_int_equal(got.app_id, 12);
	assert_int_equal(got.type_id, 2147483647);
	assert_int_equal(got.list, LIST_MAIN);
	pools_free(pools);
}

static void
an_id_names_the_list_it_goes_back_to(void **state)
{
	struct pools *here = pools_create(), *there = pools_create();
	char name[NAME_MAX_BYTES + 1], text[ELEM_TEXT_SIZE], list[LIST_NAME_SIZE];
	struct elem e = {.app_id = 2147483647, .type_id = 2147483647}, got;
	size_t len;

	(void)state;
	assert_non_null(here);
	assert_non_null(there);
	memset(name, 'p', NAME_MAX_BYTES);
	name[NAME_MAX_BYTES] = '\0';
	/* numbers differ from worker to worker, names do not */
	assert_int_equal(pools_number(there, "other", 5), 1);
	for (int commands = 0; commands < 2; commands++) {
		e.list =
		    list_of(pools_number(here, name, NAME_MAX_BYTES), commands == 1);
		len = elem_format(here, &e, text);
		assert_int_equal(len, strlen(text));
		assert_int_equal(elem_parse(there, text, len, &got), 0);
		assert_int_not_equal(got.list, e.list);
		pools_list_name(there, got.list, list);
		assert_string_equal(list + strlen("dispatch:"), name);
		assert_int_equal(list_has_commands(got.list), commands == 1);
	}
	pools_free(here);
	pools_free(there);
}

static void
whatever_else_is_garbage(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
	    {"", "nothing"},
	    {ID, "no numbers"},
	    {ID "/1", "one number"},
	    {ID "/1/", "an empty number"},
	    {ID "//2", "an empty number in the middle"},
	    {ID "/0/2", "applications start at 1"},
	    {ID "/1/02", "a leading zero: two spellings of one id"},
	    {ID "/1/-2", "a sign"},
	    {ID "/1/2/3", "one too many"},
	    {ID "/1/2/dispatch:main", "the first list is not named"},
	    {ID "/1/2/dispatch:", "no pool"},
	    {ID "/1/2/dispatch:a b", "no name of a pool"},
	    {ID "/1/2/proc:gpu", "no list to push to"},
	    {ID "/1//dispatch:gpu", "an empty number before the list"},
	    {ID "/1/2147483648", "more than an int"},
	    {ID "/1/2 ", "a blank at the end"},
	    {"0190D3C8-5B7E-7C3A-9D2E-4F8A6B1C2D3E/1/2",
		"capitals: two spellings of one id"},
	    {"0190d3c8-5b7e-7c3a-9d2e-4f8a6b1c2d3/1/22", "a digit short"},
	    {"shoal:rubbish that is quite a lot longer than any id could ever be, "
	     "really",
		"text"},
	};
	struct pools *pools = pools_create();
	struct elem e;

	(void)state;
	assert_non_null(pools);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (elem_parse(pools, cases[i].text, strlen(cases[i].text), &e) == 0)
			fail_msg("accepted although: %s", cases[i].why);
	}
	assert_int_equal(elem_parse(pools, ID "/1/2\0/3", 42, &e), -1);
	assert_int_equal(elem_parse(pools, ID "/1/2", 40, &e), 0);
	pools_free(pools);
}

static void
a_key_is_checked_without_a_query(void **state)
{
	struct apikey made, got;
	char text[APIKEY_TEXT_SIZE];
	size_t len;

	(void)state;
	apikey_generate(&made);
	len = strlen(made.text);
	assert_true(apikey_parse(made.text, len, &got));
	assert_string_equal(got.public_id, made.public_id);
	assert_true(apikey_hash_equal(got.hash, made.hash));
	for (size_t i = 0; i < len; i++) {
		memcpy(text, made.text, sizeof(text));
		text[i] = text[i] == 'A' ? 'B' : 'A';
		assert_false(
		    apikey_parse(text, len, &got)); /* any single error is seen */
	}
	assert_false(apikey_parse(made.text, len - 1, &got));
	assert_false(apikey_parse("", 0, &got));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_id_comes_back_as_it_went),
	    cmocka_unit_test(an_id_names_the_list_it_goes_back_to),
	    cmocka_unit_test(whatever_else_is_garbage),
	    cmocka_unit_test(a_key_is_checked_without_a_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
