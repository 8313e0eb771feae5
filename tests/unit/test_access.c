/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_access.c - who may see the inside of a node, and which networks there are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "face/access.h"

static void
networks_hold_their_addresses_and_no_others(void **state)
{
	static const struct {
		const char *list, *address;
		bool inside;
	} cases[] = {
	    {"127.0.0.0/8, ::1/128", "127.0.0.1", true},
	    {"127.0.0.0/8, ::1/128", "127.255.255.255", true},
	    {"127.0.0.0/8, ::1/128", "128.0.0.0", false},
	    {"127.0.0.0/8, ::1/128", "::1", true},
	    {"127.0.0.0/8, ::1/128", "::2", false},
	    {"127.0.0.0/8", "::ffff:127.0.0.1", true},
	    {"127.0.0.0/8", "::ffff:10.0.0.1", false},
	    {"10.1.2.3", "10.1.2.3", true},
	    {"10.1.2.3", "10.1.2.4", false},
	    {"10.1.2.0/23", "10.1.3.255", true},
	    {"10.1.2.0/23", "10.1.4.0", false},
	    {"0.0.0.0/0", "8.8.8.8", true},
	    {"0.0.0.0/0", "2001:db8::1", false},
	    {"::/0", "2001:db8::1", true},
	    {"::/0", "8.8.8.8", false},
	    {"2001:db8::/33", "2001:db8:7fff::1", true},
	    {"2001:db8::/33", "2001:db8:8000::1", false},
	    {"", "127.0.0.1", false},
	    {" , ,", "127.0.0.1", false},
	    {"0.0.0.0/0", "", false},
	    {"0.0.0.0/0", "unix:/run/x", false},
	    {"0.0.0.0/0", "localhost", false},
	};
	struct cidr_list list;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (cidr_list_parse(cases[i].list, &list, &err) != 0)
			fail_msg("%s: %s", cases[i].list, err.text);
		if (cidr_list_has(&list, cases[i].address) != cases[i].inside)
			fail_msg("%s in %s", cases[i].address, cases[i].list);
		cidr_list_fini(&list);
	}
}

static void
bad_networks_are_refused(void **state)
{
	static const char *const cases[] = {"127.0.0.0/33", "127.0.0.0/-1",
	    "127.0.0.0/", "127.0.0.1/8", "localhost", "::1/129",
	    "10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8,,x", "1.2.3", "::1%lo/128",
	    "2001:db8::1/64",
	    "111111111111111111111111111111111111111111"
	    "1111111111111111111111111111111"};
	struct cidr_list list;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		err_clear(&err);
		if (cidr_list_parse(cases[i], &list, &err) == 0)
			fail_msg("%s was accepted", cases[i]);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void
a_token_or_a_network_opens(void **state)
{
	struct access *ac;
	struct err err;

	(void)state;
	ac = access_create("s3cret", "127.0.0.0/8", &err);
	assert_non_null(ac);
	assert_int_equal(access_decide(ac, NULL, "127.0.0.1", false), ACCESS_ALLOWED);
	assert_int_equal(access_decide(ac, NULL, "10.0.0.1", false), ACCESS_STRANGER);
	assert_int_equal(access_decide(ac, NULL, NULL, false), ACCESS_STRANGER);
	assert_int_equal(
	    access_decide(ac, "Bearer s3cret", "10.0.0.1", false), ACCESS_ALLOWED);
	assert_int_equal(
	    access_decide(ac, "bearer  s3cret", "10.0.0.1", true), ACCESS_ALLOWED);
	assert_int_equal(
	    access_decide(ac, "Bearer s3cre", "10.0.0.1", false), ACCESS_WRONG_TOKEN);
	assert_int_equal(
	    access_decide(ac, "Bearer s3crets", "10.0.0.1", false), ACCESS_WRONG_TOKEN);
	assert_int_equal(
	    access_decide(ac, "Basic s3cret", "10.0.0.1", false), ACCESS_WRONG_TOKEN);
	access_free(ac);
}

static void
a_wrong_token_is_told_even_to_a_neighbour(void **state)
{
	struct access *ac;
	struct err err;

	(void)state;
	ac = access_create("s3cret", "127.0.0.0/8", &err);
	assert_non_null(ac);
	assert_int_equal(
	    access_decide(ac, "Bearer x", "127.0.0.1", false), ACCESS_WRONG_TOKEN);
	access_free(ac);
}

static void
who_comes_through_a_proxy_is_no_neighbour(void **state)
{
	struct access *ac;
	struct err err;

	(void)state;
	ac = access_create("", "127.0.0.0/8", &err);
	assert_non_null(ac);
	assert_int_equal(access_decide(ac, NULL, "127.0.0.1", true), ACCESS_STRANGER);
	access_free(ac);
}

static void
without_a_token_none_opens(void **state)
{
	struct access *ac;
	struct err err;

	(void)state;
	ac = access_create("", "", &err);
	assert_non_null(ac);
	assert_int_equal(
	    access_decide(ac, "Bearer ", "127.0.0.1", false), ACCESS_WRONG_TOKEN);
	assert_int_equal(
	    access_decide(ac, "Bearer", "127.0.0.1", false), ACCESS_WRONG_TOKEN);
	access_free(ac);
	assert_null(access_create("", "nowhere", &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.text, "access.networks"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(networks_hold_their_addresses_and_no_others),
	    cmocka_unit_test(bad_networks_are_refused),
	    cmocka_unit_test(a_token_or_a_network_opens),
	    cmocka_unit_test(a_wrong_token_is_told_even_to_a_neighbour),
	    cmocka_unit_test(who_comes_through_a_proxy_is_no_neighbour),
	    cmocka_unit_test(without_a_token_none_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
