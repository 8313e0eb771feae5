/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_graph.c - which task of a request runs after which; and how tasks are written
 * for shoal.make_task.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/graph.h"
#include "api/task_spec.h"
#include "base/mem.h"

#define NOW_US 1800000000000000
#define MOST   8
#define ID     "01890000-0000-7000-8000-000000000000"

static struct settings *settings;
static struct task_request trs[MOST];
static struct uuid ids[MOST];
static size_t count;
static struct refusal why;

static int
group_setup(void **state)
{
	char *env[] = {NULL}, *options[] = {NULL};
	struct err err = ERR_INIT;

	(void)state;
	settings = settings_load(NULL, env, options, &err);
	return settings != NULL ? 0 : -1;
}

static int
group_teardown(void **state)
{
	(void)state;
	settings_free(settings);
	return 0;
}

/* body must outlive what is read from it */
static void
read_tasks(const char *body)
{
	struct jspan tasks, element;
	struct jwalk walk;

	assert_int_equal(task_batch_parse(body, strlen(body), &tasks, &count, &why), 0);
	assert_true(count <= MOST);
	jwalk_start(&walk, &tasks);
	for (size_t i = 0; i < count; i++) {
		assert_true(jwalk_element(&walk, &element));
		if (task_batch_item(
			body, &element, i, settings, NOW_US, &trs[i], &why) != 0)
			fail_msg("%s", why.detail);
		memset(&ids[i], (int)(i + 1), sizeof(ids[i]));
	}
}

static void
parents_come_first_whatever_the_order(void **state)
{
	struct graph g;

	(void)state;
	read_tasks("[{\"type\":\"t\",\"ref\":\"d\",\"after\":[\"b\",\"c\"]},"
		   "{\"type\":\"t\",\"ref\":\"b\",\"after\":[\"a\"]},"
		   "{\"type\":\"t\",\"ref\":\"c\",\"after\":[\"a\",\"" ID "\"]},"
		   "{\"type\":\"t\",\"ref\":\"a\"}]");
	assert_int_equal(graph_build(&g, trs, ids, count, &why), 0);
	assert_true(g.place[3] < g.place[1] && g.place[3] < g.place[2]);
	assert_true(g.place[1] < g.place[0] && g.place[2] < g.place[0]);
	for (size_t k = 0; k < count; k++)
		assert_int_equal(g.place[g.order[k]], k);
	assert_int_equal(g.first[1] - g.first[0], 2);
	assert_true(uuid_eq(&g.parents[g.first[0]], &ids[1]));
	assert_true(uuid_eq(&g.parents[g.first[0] + 1], &ids[2]));
	/* a parent from outside keeps its own id */
	assert_int_equal(g.first[3] - g.first[2], 2);
	assert_int_equal(g.parents[g.first[2] + 1].b[0], 0x01);
	graph_fini(&g);
}

static void
tasks_without_parents_keep_their_order(void **state)
{
	struct graph g;

	(void)state;
	read_tasks(
	    "[{\"type\":\"t\"},{\"type\":\"t\",\"ref\":\"x\"},{\"type\":\"t\"}]");
	assert_int_equal(graph_build(&g, trs, ids, count, &why), 0);
	for (size_t k = 0; k < count; k++)
		assert_int_equal(g.order[k], k);
	assert_int_equal(g.first[count], 0);
	graph_fini(&g);
}

static void
what_cannot_be_is_refused(void **state)
{
	static const struct {
		const char *body, *code, *says;
	} cases[] = {
	    {"[{\"type\":\"t\",\"ref\":\"a\",\"after\":[\"a\"]}]", "dependency_cycle",
		"tasks[0].after"},
	    {"[{\"type\":\"t\"},{\"type\":\"t\",\"ref\":\"a\",\"after\":[\"c\"]},"
	     "{\"type\":\"t\",\"ref\":\"b\",\"after\":[\"a\"]},"
	     "{\"type\":\"t\",\"ref\":\"c\",\"after\":[\"b\"]}]",
		"dependency_cycle", "tasks[1].after"},
	    {"[{\"type\":\"t\",\"after\":[\"nobody\"]}]", "unknown_parent",
		"\"nobody\""},
	    {"[{\"type\":\"t\",\"ref\":\"a\"},{\"type\":\"t\",\"ref\":\"a\"}]",
		"invalid_field", "tasks[1].ref"},
	};
	struct graph g;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		read_tasks(cases[i].body);
		assert_int_equal(graph_build(&g, trs, ids, count, &why), -1);
		assert_string_equal(why.code, cases[i].code);
		if (strstr(why.detail, cases[i].says) == NULL)
			fail_msg("%s", why.detail);
	}
}

static void
specifications_keep_the_caller_s_bytes(void **state)
{
	struct strbuf out;
	struct task_spec ts = {
	    .tr = &trs[0], .id = &ids[0], .queue_id = 3, .type_id = 4};

	(void)state;
	read_tasks("[{\"type\":\"t\",\"payload\":{\"a\" : 1.50},\"delay\":\"PT1M\","
		   "\"unique_key\":\"k\\u00e9\",\"on_conflict\":\"postpone\","
		   "\"concurrency_key\":\"c\",\"concurrency_limit\":2}]");
	strbuf_init(&out, 4096);
	task_spec_write(&out, &ts);
	assert_false(strbuf_failed(&out));
	assert_string_equal(out.data,
	    "{\"id\":\"01010101-0101-0101-0101-010101010101\",\"queue_id\":3,\"type_"
	    "id\":4,"
	    "\"payload\":{\"a\" : 1.50},\"default_priority\":5,"
	    "\"delay_ms\":60000,\"unique_key\":\"k\\u00e9\",\"unique_scope\":0,"
	    "\"on_conflict\":3,\"concurrency_key\":\"c\",\"concurrency_limit\":2}");
	strbuf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parents_come_first_whatever_the_order),
	    cmocka_unit_test(tasks_without_parents_keep_their_order),
	    cmocka_unit_test(what_cannot_be_is_refused),
	    cmocka_unit_test(specifications_keep_the_caller_s_bytes),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
