/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_keycache.c - how long a key is believed, and how many are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/keycache.h"
#include "base/mem.h"

static const uint8_t *
hash_of(unsigned n)
{
	static uint8_t hash[APIKEY_HASH];

	memset(hash, 0, sizeof(hash));
	memcpy(hash, &n, sizeof(n));
	return hash;
}

static int
setup(void **state)
{
	*state = keycache_create();
	return *state == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	keycache_free(*state);
	return 0;
}

static void
a_good_key_is_believed_five_seconds_from_the_question(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app = {0};

	assert_int_equal(keycache_look(kc, hash_of(1), 0, &app), KEY_UNKNOWN);
	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 1000);
	assert_int_equal(keycache_look(kc, hash_of(1), 1200, &app), KEY_GOOD);
	assert_int_equal(app.app_id, 42);
	assert_null(app.scopes);
	assert_int_equal(keycache_look(kc, hash_of(2), 1200, &app), KEY_UNKNOWN);
	assert_int_equal(keycache_look(kc, hash_of(1), 6000, &app), KEY_GOOD_ASK);
	assert_int_equal(keycache_look(kc, hash_of(1), 6001, &app), KEY_UNKNOWN);
	assert_int_equal(keycache_count(kc), 0);
}

static void
it_is_asked_about_again_from_half_of_that_but_not_by_every_request(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app;

	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 0);
	assert_int_equal(keycache_look(kc, hash_of(1), 2499, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(1), 2500, &app), KEY_GOOD_ASK);
	assert_int_equal(keycache_look(kc, hash_of(1), 2501, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(1), 2999, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(1), 3000, &app), KEY_GOOD_ASK);
	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 3000);
	assert_int_equal(keycache_look(kc, hash_of(1), 5400, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(1), 8001, &app), KEY_UNKNOWN);
}

static void
a_revocation_that_is_learned_holds_at_once(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app;

	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 0);
	keycache_bad(kc, hash_of(1), 100);
	assert_int_equal(keycache_look(kc, hash_of(1), 101, &app), KEY_BAD);
	assert_int_equal(keycache_count(kc), 1);
}

static void
a_bad_key_is_asked_about_again_soon(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app = {7, NULL};

	keycache_bad(kc, hash_of(1), 0);
	assert_int_equal(keycache_look(kc, hash_of(1), KEYCACHE_BAD_MS, &app), KEY_BAD);
	assert_int_equal(
	    keycache_look(kc, hash_of(1), KEYCACHE_BAD_MS + 1, &app), KEY_UNKNOWN);
	assert_int_equal(app.app_id, 7);
	keycache_good(
	    kc, hash_of(1), &(struct key_facts){42, NULL}, KEYCACHE_BAD_MS + 2);
	assert_int_equal(
	    keycache_look(kc, hash_of(1), KEYCACHE_BAD_MS + 3, &app), KEY_GOOD);
}

static void
a_flood_of_invented_keys_pushes_out_none_that_work(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app;

	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 0);
	for (unsigned i = 2; i < 3 * KEYCACHE_BAD_MAX; i++)
		keycache_bad(kc, hash_of(i), 0);
	assert_int_equal(keycache_count(kc), KEYCACHE_BAD_MAX + 1);
	assert_int_equal(keycache_look(kc, hash_of(1), 1, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(2), 1, &app), KEY_UNKNOWN);
}

static void
when_full_it_forgets_what_was_used_longest_ago(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app;

	for (unsigned i = 0; i < KEYCACHE_GOOD_MAX; i++)
		keycache_good(kc, hash_of(i), &(struct key_facts){1, NULL}, 0);
	assert_int_equal(keycache_look(kc, hash_of(0), 1, &app), KEY_GOOD);
	keycache_good(kc, hash_of(KEYCACHE_GOOD_MAX), &(struct key_facts){1, NULL}, 0);
	assert_int_equal(keycache_count(kc), KEYCACHE_GOOD_MAX);
	assert_int_equal(keycache_look(kc, hash_of(0), 1, &app), KEY_GOOD);
	assert_int_equal(keycache_look(kc, hash_of(1), 1, &app), KEY_UNKNOWN);
}

static void
without_memory_it_knows_nothing_rather_than_something_old(void **state)
{
	struct keycache *kc = *state;
	struct key_facts app;

	keycache_good(kc, hash_of(1), &(struct key_facts){42, NULL}, 0);
	mem_fail_nth(1);
	keycache_bad(kc, hash_of(1), 10);
	mem_fail_nth(0);
	assert_int_equal(keycache_look(kc, hash_of(1), 11, &app), KEY_UNKNOWN);
}

static void
what_a_key_may_do_is_known_with_it(void **state)
{
	struct keycache *kc = *state;
	char scopes[] = "work:mail work:sms";
	struct key_facts facts = {42, scopes}, found;

	keycache_good(kc, hash_of(1), &facts, 0);
	memset(scopes, 'x', sizeof(scopes) - 1); /* copied */
	assert_int_equal(keycache_look(kc, hash_of(1), 1, &found), KEY_GOOD);
	assert_string_equal(found.scopes, "work:mail work:sms");
	/* the next answer counts */
	facts.scopes = NULL;
	keycache_good(kc, hash_of(1), &facts, 2);
	assert_int_equal(keycache_look(kc, hash_of(1), 3, &found), KEY_GOOD);
	assert_null(found.scopes);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_good_key_is_believed_five_seconds_from_the_question),
	    TEST(it_is_asked_about_again_from_half_of_that_but_not_by_every_request),
	    TEST(a_revocation_that_is_learned_holds_at_once),
	    TEST(a_bad_key_is_asked_about_again_soon),
	    TEST(what_a_key_may_do_is_known_with_it),
	    TEST(a_flood_of_invented_keys_pushes_out_none_that_work),
	    TEST(when_full_it_forgets_what_was_used_longest_ago),
	    TEST(without_memory_it_knows_nothing_rather_than_something_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
