/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pools.c - pools and lists by name and by number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "model/pools.h"

static struct pools *pools;

static int
setup(void **state)
{
	(void)state;
	pools = pools_create();
	return pools != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	pools_free(pools);
	return 0;
}

static int
number(const char *name)
{
	return pools_number(pools, name, strlen(name));
}

static void
a_name_keeps_its_number(void **state)
{
	(void)state;
	assert_int_equal(number("main"), POOL_MAIN);
	assert_int_equal(number("gpu"), 1);
	assert_int_equal(number("gpu2"), 2);
	assert_int_equal(number("gpu"), 1);
	assert_string_equal(pools_name(pools, 2), "gpu2");
	assert_int_equal(number("no name"), -1);
	assert_int_equal(number(""), -1);
	assert_int_equal(pools_count(pools), 3);
}

static void
no_more_names_are_learned_than_there_is_room_for(void **state)
{
	char name[16];

	(void)state;
	for (int i = 1; i < POOLS_MOST; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(number(name), i);
	}
	assert_int_equal(number("late"), -1);
	assert_int_equal(number("p7"), 7);
}

static void
each_pool_has_two_lists(void **state)
{
	char name[LIST_NAME_SIZE];
	int gpu = number("gpu"), list;
	size_t len;

	(void)state;
	assert_int_equal(list_of(POOL_MAIN, false), LIST_MAIN);
	for (int commands = 0; commands < 2; commands++) {
		list = list_of(gpu, commands == 1);
		assert_int_equal(list_pool(list), gpu);
		assert_int_equal(list_has_commands(list), commands == 1);
		len = pools_list_name(pools, list, name);
		assert_int_equal(len, strlen(name));
		assert_string_equal(
		    name, commands == 1 ? "commands:gpu" : "dispatch:gpu");
		assert_int_equal(pools_list_number(pools, name, strlen(name)), list);
	}
	assert_int_equal(pools_list_number(pools, "dispatch:", 9), -1);
	assert_int_equal(pools_list_number(pools, "dispatch", 8), -1);
	assert_int_equal(pools_list_number(pools, "proc:gpu1", 9), -1);
}

static void
a_node_names_the_pools_that_it_serves(void **state)
{
	int numbers[POOLS_SERVED];
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(pools_parse(pools, "main", numbers, &err), 1);
	assert_int_equal(numbers[0], POOL_MAIN);
	assert_int_equal(pools_parse(pools, " gpu,main , a:b/c", numbers, &err), 3);
	assert_string_equal(pools_name(pools, numbers[0]), "gpu");
	assert_int_equal(numbers[1], POOL_MAIN);
	assert_string_equal(pools_name(pools, numbers[2]), "a:b/c");
}

static void
what_names_no_pools_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"", "the pool's name is empty"},
	    {"main,", "the pool's name is empty"},
	    {"main, main", "main is named twice"},
	    {"gpu box", "not a letter, a digit"},
	    {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "at most 16 pools"},
	};
	int numbers[POOLS_SERVED];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(pools_parse(pools, cases[i].text, numbers, &err), -1);
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("'%s': %s", cases[i].text, err.text);
	}
}

#define POOLS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    POOLS_TEST(a_name_keeps_its_number),
	    POOLS_TEST(no_more_names_are_learned_than_there_is_room_for),
	    POOLS_TEST(each_pool_has_two_lists),
	    POOLS_TEST(a_node_names_the_pools_that_it_serves),
	    POOLS_TEST(what_names_no_pools_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
