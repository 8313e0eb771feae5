/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_lease_name.c - which lease an attempt may become, and who may tell of it.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "model/lease_name.h"
#include "model/task.h"

#define ONE "k1 AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n"
#define TWO "k2 ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n"

static struct sealkeys *
keys_of(const char *text)
{
	char path[] = "/tmp/shoal-lease-name-XXXXXX";
	struct err err = ERR_INIT;
	struct sealkeys *keys;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	keys = sealkeys_load(path, &err);
	unlink(path);
	if (keys == NULL)
		fail_msg("%s", err.text);
	return keys;
}

static struct lease_attempt
attempt_of(int number)
{
	return (struct lease_attempt){
	    .app_id = 7, .task = {{1}}, .owner = {{2}}, .number = number, .claim = 3};
}

static void
a_lease_is_of_one_attempt(void **state)
{
	struct sealkeys *keys = keys_of(ONE);
	struct lease_attempt at = attempt_of(1), others[5];
	struct uuid lease, again;

	(void)state;
	assert_int_equal(lease_of_attempt(keys, &at, &lease), 0);
	assert_int_equal(lease_of_attempt(keys, &at, &again), 0);
	assert_int_equal(uuid_cmp(&lease, &again), 0);
	assert_true(owner_is_lease(&lease));
	assert_true(lease_is_of_attempt(keys, &at, &lease));
	for (size_t i = 0; i < COUNT_OF(others); i++)
		others[i] = at;
	others[0].app_id++;
	others[1].task.b[15]++;
	others[2].owner.b[15]++;
	others[3].number++;
	others[4].claim++;
	for (size_t i = 0; i < COUNT_OF(others); i++)
		assert_false(lease_is_of_attempt(keys, &others[i], &lease));
	lease.b[0] ^= 1;
	assert_false(lease_is_of_attempt(keys, &at, &lease));
	sealkeys_free(keys);
}

static void
a_token_opens_its_lease_alone(void **state)
{
	struct sealkeys *keys = keys_of(ONE);
	struct lease_name name = {.task = {{1}}, .lease = {{9}}}, other = name;
	char token[LEASE_TOKEN_SIZE], wrong[LEASE_TOKEN_SIZE];
	static const char *const no_tokens[] = {"", "shoal_lease_", "shoal_lease__",
	    "shoal_lease_7", "shoal_lease_7_", "shoal_lease_7_00",
	    "shoal_lease_99999999999999999999_00000000000000000000000000000000",
	    "shoal_lease_-7_00000000000000000000000000000000",
	    "shoal_lease_0_00000000000000000000000000000000",
	    "shoal_lease_7_00000000000000000000000000000000", "shoal_live_abc"};
	int app_id = 0;

	(void)state;
	assert_int_equal(lease_token(keys, 7, &name, token), 0);
	assert_true(lease_token_check(keys, token, &name, &app_id));
	assert_int_equal(app_id, 7);
	other.lease.b[1] = 1;
	assert_false(lease_token_check(keys, token, &other, &app_id));
	other = name;
	other.task.b[1] = 1;
	assert_false(lease_token_check(keys, token, &other, &app_id));
	for (size_t i = 0; i < COUNT_OF(no_tokens); i++)
		assert_false(lease_token_check(keys, no_tokens[i], &name, &app_id));
	/* every digit counts, the application's too */
	for (size_t i = 0; token[i] != '\0'; i++) {
		memcpy(wrong, token, sizeof(wrong));
		wrong[i] = wrong[i] == '1' ? '2' : '1';
		assert_false(lease_token_check(keys, wrong, &name, &app_id));
	}
	assert_int_equal(app_id, 7);
	sealkeys_free(keys);
}

static void
what_was_given_under_an_older_key_holds_while_the_file_has_it(void **state)
{
	struct sealkeys *before = keys_of(ONE), *both = keys_of(TWO ONE),
			*after = keys_of(TWO);
	struct lease_attempt at = attempt_of(2);
	struct lease_name name = {.task = at.task};
	struct uuid newer;
	char token[LEASE_TOKEN_SIZE];
	int app_id;

	(void)state;
	assert_int_equal(lease_of_attempt(before, &at, &name.lease), 0);
	assert_int_equal(lease_token(before, 7, &name, token), 0);
	assert_true(lease_is_of_attempt(both, &at, &name.lease));
	assert_true(lease_token_check(both, token, &name, &app_id));
	assert_false(lease_is_of_attempt(after, &at, &name.lease));
	assert_false(lease_token_check(after, token, &name, &app_id));
	/* the first key of the file gives */
	assert_int_equal(lease_of_attempt(both, &at, &newer), 0);
	assert_true(lease_is_of_attempt(after, &at, &newer));
	sealkeys_free(before);
	sealkeys_free(both);
	sealkeys_free(after);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_lease_is_of_one_attempt),
	    cmocka_unit_test(a_token_opens_its_lease_alone),
	    cmocka_unit_test(
		what_was_given_under_an_older_key_holds_while_the_file_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
