/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hmap.c - what is put is found, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/hmap.h"
#include "base/mem.h"

#define MANY 3000

static int values[MANY];

static int
number_values(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < MANY; i++)
		values[i] = i;
	return 0;
}

static struct hmap *
full_map(void)
{
	struct hmap *m = hmap_create();
	void *old = m;
	int i;

	assert_non_null(m);
	for (i = 0; i < MANY; i++) {
		assert_int_equal(
		    hmap_put(m, &values[i], sizeof(int), &values[i], &old), 0);
		assert_null(old);
	}
	return m;
}

static void
hash_is_siphash_1_3(void **state)
{
	/* the key 00 01 ... 0f of the reference's vectors, and its first: no input */
	uint64_t secret[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	uint64_t before;

	(void)state;
	assert_true(hmap_siphash13(secret, "", 0) == UINT64_C(0xabac0158050fc4dc));
	before = hmap_siphash13(secret, "01234567", 8);
	assert_true(hmap_siphash13(secret, "01234567", 7) != before);
	secret[0]++;
	assert_true(hmap_siphash13(secret, "01234567", 8) != before);
}

static void
everything_put_is_found_until_it_is_removed(void **state)
{
	struct hmap *m = full_map();
	int i, key;

	(void)state;
	assert_int_equal(hmap_count(m), MANY);
	for (i = 0; i < MANY; i += 2) {
		key = i;
		assert_ptr_equal(hmap_remove(m, &key, sizeof(key)), &values[i]);
		assert_null(hmap_remove(m, &key, sizeof(key)));
	}
	assert_int_equal(hmap_count(m), MANY / 2);
	for (i = 0; i < MANY; i++) {
		key = i;
		assert_ptr_equal(
		    hmap_get(m, &key, sizeof(key)), i % 2 ? &values[i] : NULL);
	}
	key = MANY;
	assert_null(hmap_get(m, &key, sizeof(key)));
	hmap_free(m);
	hmap_free(NULL);
}

static void
replaced_value_is_given_back_and_its_key_forgotten(void **state)
{
	struct hmap *m = hmap_create();
	char *first = mem_strdup("key"), *second = mem_strdup("key");
	void *old = NULL;

	(void)state;
	assert_int_equal(hmap_put(m, first, 3, first, &old), 0);
	assert_null(old);
	assert_int_equal(hmap_put(m, second, 3, second, &old), 0);
	assert_ptr_equal(old, first);
	mem_free(first); /* the map must not look at it any more */
	assert_int_equal(hmap_count(m), 1);
	assert_ptr_equal(hmap_get(m, "key", 3), second);
	assert_null(hmap_get(m, "key", 2));
	assert_null(hmap_get(m, "keys", 4));
	assert_int_equal(hmap_put(m, "", 0, values, NULL), 0);
	assert_ptr_equal(hmap_get(m, "x", 0), values);
	hmap_free(m);
	mem_free(second);
}

static void
walk_sees_each_once_and_may_remove_what_it_got(void **state)
{
	static char seen[MANY];
	struct hmap *m = full_map();
	size_t cursor = 0, count = 0;
	int *value;

	(void)state;
	while ((value = hmap_next(m, &cursor)) != NULL) {
		assert_int_equal(seen[*value]++, 0);
		count++;
		if (*value % 3 != 0)
			assert_ptr_equal(hmap_remove(m, value, sizeof(*value)), value);
	}
	assert_int_equal(count, MANY);
	assert_int_equal(hmap_count(m), MANY / 3);
	hmap_free(m);
}

static void
coming_and_going_does_not_wear_it_out(void **state)
{
	struct hmap *m = hmap_create();
	int i, round;

	(void)state;
	/* a window of ten that moves on: far more removals than places */
	for (round = 0; round < 20; round++)
		for (i = 0; i < MANY; i++) {
			int gone = (i + MANY - 10) % MANY;

			assert_int_equal(
			    hmap_put(m, &values[i], sizeof(int), &values[i], NULL), 0);
			hmap_remove(m, &gone, sizeof(gone));
			assert_true(hmap_count(m) <= 10);
		}
	hmap_free(m);
}

static void
no_memory_leaves_the_map_as_it_was(void **state)
{
	struct hmap *m = NULL;
	unsigned n;
	int i, refused = 0;

	(void)state;
	for (n = 1; m == NULL; n++) {
		mem_fail_nth(n);
		m = hmap_create();
		mem_fail_nth(0);
	}
	assert_int_equal(n, 4);
	for (i = 0; i < MANY; i++) {
		mem_fail_nth(1);
		if (hmap_put(m, &values[i], sizeof(int), &values[i], NULL) != 0) {
			refused++;
			assert_int_equal(hmap_count(m), i);
			assert_null(hmap_get(m, &values[i], sizeof(int)));
			assert_int_equal(
			    hmap_put(m, &values[i], sizeof(int), &values[i], NULL), 0);
		}
		mem_fail_nth(0);
	}
	assert_true(refused > 3);
	for (i = 0; i < MANY; i++)
		assert_ptr_equal(hmap_get(m, &values[i], sizeof(int)), &values[i]);
	hmap_free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hash_is_siphash_1_3),
	    cmocka_unit_test(everything_put_is_found_until_it_is_removed),
	    cmocka_unit_test(replaced_value_is_given_back_and_its_key_forgotten),
	    cmocka_unit_test(walk_sees_each_once_and_may_remove_what_it_got),
	    cmocka_unit_test(coming_and_going_does_not_wear_it_out),
	    cmocka_unit_test(no_memory_leaves_the_map_as_it_was),
	};

	return cmocka_run_group_tests(tests, number_values, NULL);
}
