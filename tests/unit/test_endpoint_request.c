/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/endpoint_request.h"
#include "base/attr.h"
#include "base/mem.h"
#include "store/endpoints.h"

static int
parse(const char *body, struct endpoint_request *er, struct refusal *why)
{
	return endpoint_request_parse(body, strlen(body), er, why);
}

static void
what_is_given_is_set_and_nothing_else(void **state)
{
	struct endpoint_request *er = mem_zero(sizeof(*er));
	struct refusal why;

	(void)state;
	assert_int_equal(parse("{\"url\":\"https://A.example/x\",\"headers\":{\"X-A\":"
			       "\"b\\u00e9\"},\"timeout\":\"PT5S\"}",
			     er, &why),
	    0);
	assert_int_equal(
	    er->given, ENDPOINT_URL | ENDPOINT_HEADERS_GIVEN | ENDPOINT_TIMEOUT);
	assert_string_equal(er->url.host, "a.example");
	assert_string_equal(er->headers, "{\"X-A\":\"b\xc3\xa9\"}");
	assert_int_equal(er->timeout_ms, 5000);
	assert_int_equal(parse("{\"disabled\":false}", er, &why), 0);
	assert_int_equal(er->given, ENDPOINT_DISABLED);
	assert_false(er->disabled);
	assert_int_equal(
	    parse("{\"disabled\":true,\"reason\":\"moving\"}", er, &why), 0);
	assert_true(er->disabled);
	assert_string_equal(er->reason, "moving");
	assert_int_equal(parse("{\"headers\":null,\"timeout\":null}", er, &why), 0);
	assert_string_equal(er->headers, "");
	assert_int_equal(er->timeout_ms, 0);
	mem_free(er);
}

static void
what_cannot_be_meant_is_refused(void **state)
{
	static const struct {
		const char *body, *code;
	} bad[] = {
	    {"", "invalid_json"},
	    {"[]", "invalid_request"},
	    {"{\"url\":1}", "invalid_field"},
	    {"{\"url\":\"http://0x7f.1/\"}", "invalid_field"},
	    {"{\"headers\":[]}", "invalid_field"},
	    {"{\"headers\":{\"A\":1}}", "invalid_field"},
	    {"{\"headers\":{\"A\":\"\"}}", "invalid_field"},
	    {"{\"headers\":{\"A\":\"b\",\"a\":\"c\"}}", "invalid_field"},
	    {"{\"headers\":{\"A: b\":\"c\"}}", "invalid_field"},
	    {"{\"headers\":{\"Content-Length\":\"9\"}}", "invalid_field"},
	    {"{\"headers\":{\"Shoal-Fence\":\"9\"}}", "invalid_field"},
	    {"{\"headers\":{\"A\":\"b\\r\\nC: d\"}}", "invalid_field"},
	    {"{\"timeout\":0}", "invalid_field"},
	    {"{\"timeout\":3601}", "invalid_field"},
	    {"{\"disabled\":\"yes\"}", "invalid_field"},
	    {"{\"reason\":\"why\"}", "invalid_field"},
	    {"{\"secret\":\"whsec_\"}", "unknown_field"},
	};
	struct endpoint_request *er = mem_zero(sizeof(*er));
	struct refusal why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		memset(&why, 0, sizeof(why));
		if (parse(bad[i].body, er, &why) == 0)
			fail_msg("%s was taken", bad[i].body);
		assert_string_equal(why.code, bad[i].code);
	}
	mem_free(er);
}

static void
an_overlap_is_a_day_unless_something_else_is_said(void **state)
{
	int64_t ms = 0;
	struct refusal why;

	(void)state;
	assert_int_equal(rotate_request_parse(NULL, 0, &ms, &why), 0);
	assert_int_equal(ms, 24 * 3600 * 1000);
	assert_int_equal(rotate_request_parse("{}", 2, &ms, &why), 0);
	assert_int_equal(ms, 24 * 3600 * 1000);
	assert_int_equal(rotate_request_parse("{\"overlap\":0}", 13, &ms, &why), 0);
	assert_int_equal(ms, 0);
	assert_int_equal(rotate_request_parse("{\"overlap\":-1}", 14, &ms, &why), -1);
	assert_int_equal(rotate_request_parse("{\"secret\":1}", 12, &ms, &why), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_given_is_set_and_nothing_else),
	    cmocka_unit_test(what_cannot_be_meant_is_refused),
	    cmocka_unit_test(an_overlap_is_a_day_unless_something_else_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
