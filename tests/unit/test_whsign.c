/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_whsign.c - signatures against those of another implementation (Python's hmac).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/whsign.h"

#define ID  "0199c2f0-1111-7222-8333-444455556666"
#define ONE "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define TWO "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7"
#define BIG                                                                            \
	"whsec_AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tng5+71/"                      \
	"AMKERgfJi00O0JJUFdeZWxz"                                                      \
	"eoGIj5adpKuyuQ=="

static void
signatures_are_those_of_another_implementation(void **state)
{
	static const struct {
		const char *secrets;
		int64_t time;
		const char *body, *signature;
	} cases[] = {
	    {ONE, 1700000000, "{\"a\":1}",
		"v1,Ew9+o6OSbNPxyRXJrquBvUaFS+gbzp4Gbl5fQYMc0Yo="},
	    {ONE, 0, "", "v1,IpfkUhIDmRqmkUAlVz6OGg002cnfVK3wLCUPbtt3C4c="},
	    {ONE, 1764126000, "null",
		"v1,Rd+C1IQlbUXTwCT6GQIY4igrNI3JElEsdDzjV0LL1Us="},
	    {ONE, 1764126000, "{\"x\":\"\xc3\xa9\xe2\x9c\x93\"}",
		"v1,beKuaM+e/clDwxAxgfhu/BNES5cF/RrsZDQzql4hsxs="},
	    {TWO, 1700000000, "{\"a\":1}",
		"v1,J3fMjgd4Rgw1svb4arTr2WQ1ORAUUlaIBDeEB42ZEWw="},
	    {TWO, 0, "", "v1,SXtwayA0RJGsWrnmEE4J3Ol/jSH7UDt9weWjvnpzuRA="},
	    {TWO " " ONE, 1764126000, "null",
		"v1,gRB475pGfQwWO+VrFsT7Jh9at84xt/3IXkD3eMaf8UI= "
		"v1,Rd+C1IQlbUXTwCT6GQIY4igrNI3JElEsdDzjV0LL1Us="},
	    {"  " TWO "   " ONE " ", 1764126000, "{\"x\":\"\xc3\xa9\xe2\x9c\x93\"}",
		"v1,cg+h/l2dqnczATBgf1fuVVVOjOoHRIOkt+bpPvgxaaI= "
		"v1,beKuaM+e/clDwxAxgfhu/BNES5cF/RrsZDQzql4hsxs="},
	};
	char out[WHSIGN_SIZE], body[5000];
	struct whsecrets s;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(whsecrets_parse(cases[i].secrets, &s, &err), 0);
		assert_int_equal(whsign(&s, ID, cases[i].time, cases[i].body,
				     strlen(cases[i].body), out, &err),
		    0);
		assert_string_equal(out, cases[i].signature);
		whsecrets_fini(&s);
	}
	memset(body, 'x', sizeof(body));
	assert_int_equal(whsecrets_parse(BIG, &s, &err), 0);
	assert_int_equal(whsign(&s, ID, 1700000000, body, sizeof(body), out, &err), 0);
	assert_string_equal(out, "v1,U2Xtbb4fQU/56pjrTd5WqUubDBeTp64pygiaQwwzuJA=");
	whsecrets_fini(&s);
	assert_int_equal(s.count, 0);
}

static void
what_is_no_secret_is_refused_without_being_said(void **state)
{
	static const char *const bad[] = {
	    "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
	    "whsec_",
	    "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA",
	    "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHy==A",
	    "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e===",
	    "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0-HyA=",
	    "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhc=",
	    BIG "AAAA",
	    "whsec_AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tng5+71/AMKERgfJi00O0JJUFde"
	    "ZWxzeoGIj5adpKuyuckA",
	    "whsk_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7",
	    ONE "," TWO,
	    ONE " " TWO " " ONE,
	};
	struct whsecrets s = {.count = 7};
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (whsecrets_parse(bad[i], &s, &err) == 0)
			fail_msg("'%s' is accepted", bad[i]);
		assert_int_equal(err.code, ERR_INVALID);
		assert_null(strstr(err.text, "AQIDB"));
		assert_int_equal(s.count, 7);
	}
	assert_int_equal(whsecrets_parse("", &s, &err), 0);
	assert_int_equal(s.count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(signatures_are_those_of_another_implementation),
	    cmocka_unit_test(what_is_no_secret_is_refused_without_being_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
