/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_route.c - paths find their rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "http/route.h"

static const struct http_route routes[] = {
    {.method = HTTP_GET, .path = "/", .needs = 0},
    {.method = HTTP_GET, .path = "/v1/tasks", .needs = 1},
    {.method = HTTP_POST, .path = "/v1/tasks", .needs = 2},
    {.method = HTTP_GET, .path = "/v1/tasks/all", .needs = 3},
    {.method = HTTP_GET, .path = "/v1/tasks/{id}", .needs = 4},
    {.method = HTTP_DELETE, .path = "/v1/tasks/{id}", .needs = 5},
    {.method = HTTP_PUT, .path = "/v1/{a}/x/{b}", .needs = 6},
    {.path = NULL},
};

static const struct {
	enum http_method method;
	const char *path;
	int needs; /* of the row; -1: none for the method, -2: no path */
	const char *first, *second;
} cases[] = {
    {HTTP_GET, "/", 0, NULL, NULL},
    {HTTP_HEAD, "/", 0, NULL, NULL},
    {HTTP_POST, "/", -1, NULL, NULL},
    {HTTP_GET, "/v1", -2, NULL, NULL},
    {HTTP_GET, "/v1/tasks", 1, NULL, NULL},
    {HTTP_POST, "/v1/tasks", 2, NULL, NULL},
    {HTTP_PUT, "/v1/tasks", -1, NULL, NULL},
    {0, "/v1/tasks", -1, NULL, NULL},
    {HTTP_GET, "/v1/tasks/", -2, NULL, NULL},
    {HTTP_GET, "/v1//tasks", -2, NULL, NULL},
    {HTTP_GET, "//v1/tasks", -2, NULL, NULL},
    {HTTP_GET, "/v1/%74asks", 1, NULL, NULL},
    {HTTP_GET, "/V1/tasks", -2, NULL, NULL},
    {HTTP_GET, "/v1/tasks/all", 3, NULL, NULL},
    {HTTP_GET, "/v1/tasks/al", 4, "al", NULL},
    {HTTP_GET, "/v1/tasks/a%2Fb+c", 4, "a/b+c", NULL},
    {HTTP_DELETE, "/v1/tasks/all", 5, "all", NULL},
    {HTTP_PUT, "/v1/q/x/%41", 6, "q", "A"},
    {HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13", -2, NULL, NULL},
};

static void
paths_find_their_rows(void **state)
{
	struct route_table *rt = route_table_create(routes, NULL);

	(void)state;
	assert_non_null(rt);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct route_match m;
		char path[100];
		int needs;

		snprintf(path, sizeof(path), "%s", cases[i].path);
		route_find(rt, cases[i].method, path, &m);
		needs = m.methods == 0	  ? -2
			: m.route == NULL ? -1
					  : (int)m.route->needs;
		if (needs != cases[i].needs)
			fail_msg("%s: %d", cases[i].path, needs);
		if (cases[i].first != NULL)
			assert_string_equal(m.captures[0], cases[i].first);
		if (cases[i].second != NULL)
			assert_string_equal(m.captures[1], cases[i].second);
	}
	route_table_free(rt);
}

static void
what_a_path_takes_is_known(void **state)
{
	struct route_table *rt = route_table_create(routes, NULL);
	char path[] = "/v1/tasks/x";
	struct route_match m;

	(void)state;
	route_find(rt, HTTP_PUT, path, &m);
	assert_int_equal(m.methods, HTTP_GET | HTTP_DELETE);
	route_table_free(rt);
}

static void
a_table_with_a_mistake_is_refused(void **state)
{
	static const struct http_route relative[] = {{.path = "x"}, {.path = NULL}};
	static const struct http_route deep[] = {
	    {.path = "/1/2/3/4/5/6/7/8/9/10/11/12/13"}, {.path = NULL}};
	struct err err = ERR_INIT;

	(void)state;
	assert_null(route_table_create(relative, &err));
	assert_int_equal(err.code, ERR_BUG);
	assert_null(route_table_create(deep, &err));
}

static void
escapes_are_undone_once(void **state)
{
	char path[] = "a%2525+b", query[] = "a+%2B%zz%";

	(void)state;
	assert_int_equal(route_unescape(path, false), 6);
	assert_string_equal(path, "a%25+b");
	assert_int_equal(route_unescape(query, true), 7);
	assert_string_equal(query, "a +%zz%");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(paths_find_their_rows),
	    cmocka_unit_test(what_a_path_takes_is_known),
	    cmocka_unit_test(a_table_with_a_mistake_is_refused),
	    cmocka_unit_test(escapes_are_undone_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
