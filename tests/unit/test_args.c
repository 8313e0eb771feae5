/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_args.c - what the command line of shoal means, and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/cli.h"

static const struct args_option own[] = {
    {'q', "queue", ARGS_VALUE, "QUEUE", "A queue."},
    {'w', "wait", ARGS_OPTIONAL, "TIME", "Wait."},
    {'n', "count", ARGS_VALUE, "N", "A number."},
    {.name = NULL},
};
static const struct args_option common[] = {
    {'o', "option", ARGS_VALUE, "S.K=V", "A setting."},
    {0, "json", ARGS_FLAG, NULL, "JSON."},
    {.name = NULL},
};
static const struct args_option *const tables[] = {own, common, NULL};

static int
parse_words(struct args *a, struct err *err, const char *argv[])
{
	int argc = 0;

	while (argv[argc] != NULL)
		argc++;
	/* the pointers are permuted, the words are only read */
	return args_parse(a, tables, argc, (char **)(uintptr_t)argv, err);
}

static void
options_and_operands_may_be_mixed(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	const char *argv[] = {
	    "command", "first", "--queue", "mail", "second", "--json", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, argv), 0);
	assert_int_equal(a.operand_count, 2);
	assert_string_equal(a.operands[0], "first");
	assert_string_equal(a.operands[1], "second");
	assert_string_equal(args_text(&a, "queue"), "mail");
	assert_true(args_has(&a, "json"));
	assert_null(args_text(&a, "json"));
	assert_false(args_has(&a, "wait"));
}

static void
two_dashes_end_the_options(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	const char *argv[] = {"command", "--", "--queue", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, argv), 0);
	assert_int_equal(a.operand_count, 1);
	assert_string_equal(a.operands[0], "--queue");
}

static void
a_lone_dash_is_an_operand(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	const char *argv[] = {"command", "type", "-", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, argv), 0);
	assert_string_equal(a.operands[1], "-");
}

static void
an_optional_value_needs_its_equals_sign(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	const char *with[] = {"command", "--wait=5s", NULL};
	const char *without[] = {"command", "--wait", "5s", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, with), 0);
	assert_string_equal(args_text(&a, "wait"), "5s");
	assert_int_equal(parse_words(&a, &err, without), 0);
	assert_true(args_has(&a, "wait"));
	assert_null(args_text(&a, "wait"));
	assert_string_equal(a.operands[0], "5s");
}

static void
an_option_given_again_is_kept_and_the_last_one_wins(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	size_t cursor = 0;
	const char *argv[] = {
	    "command", "-o", "a.b=1", "-q", "x", "-oc.d=2", "--queue=y", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, argv), 0);
	assert_string_equal(args_next(&a, "option", &cursor), "a.b=1");
	assert_string_equal(args_next(&a, "option", &cursor), "c.d=2");
	assert_null(args_next(&a, "option", &cursor));
	assert_string_equal(args_text(&a, "queue"), "y");
}

static void
refusals_name_what_is_wrong(void **state)
{
	static const struct {
		const char *word, *says;
	} cases[] = {
	    {"--quee=x", "--queue?"},
	    {"--nonsense", "no option --nonsense"},
	    {"-x", "no option -x"},
	    {"--queue", "needs a value: QUEUE"},
	    {"-q", "needs a value: QUEUE"},
	    {"--json=yes", "--json takes no value"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct args a;
		const char *argv[] = {"command", cases[i].word, NULL};

		assert_int_equal(parse_words(&a, &err, argv), -1);
		assert_int_equal(err.code, ERR_INVALID);
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("%s: %s", cases[i].word, err.text);
	}
}

static void
numbers_and_durations_have_bounds(void **state)
{
	struct err err = ERR_INIT;
	int64_t n = 7, ms = 9;
	struct args a;
	const char *argv[] = {"command", "-n", "12", "--wait=2min", NULL};
	const char *bad[] = {"command", "-n", "12x", "--wait=soon", NULL};

	(void)state;
	assert_int_equal(parse_words(&a, &err, argv), 0);
	assert_int_equal(args_int(&a, "count", 1, 100, &n, &err), 0);
	assert_int_equal(n, 12);
	assert_int_equal(args_int(&a, "count", 13, 100, &n, &err), -1);
	assert_int_equal(n, 12);
	assert_int_equal(args_int(&a, "json", 1, 2, &n, &err), 0);
	assert_int_equal(n, 12);
	assert_int_equal(args_duration_ms(&a, "wait", 200000, &ms, &err), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(args_duration_ms(&a, "wait", 100000, &ms, &err), -1);
	assert_int_equal(parse_words(&a, &err, bad), 0);
	assert_int_equal(args_int(&a, "count", 1, 100, &n, &err), -1);
	assert_int_equal(args_duration_ms(&a, "wait", 100000, &ms, &err), -1);
	assert_int_equal(ms, 120000);
}

static void
too_many_options_are_refused(void **state)
{
	struct err err = ERR_INIT;
	struct args a;
	const char *argv[ARGS_GIVEN + 3];

	(void)state;
	argv[0] = "command";
	for (int i = 1; i <= ARGS_GIVEN + 1; i++)
		argv[i] = "--json";
	argv[ARGS_GIVEN + 2] = NULL;
	assert_int_equal(parse_words(&a, &err, argv), -1);
}

static void
every_command_has_its_words(void **state)
{
	(void)state;
	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		const struct cli_command *c = cli_commands[i];

		assert_non_null(c->usage);
		assert_non_null(c->run);
		assert_true(strlen(c->summary) > 10 && strlen(c->summary) < 70);
		assert_ptr_equal(cli_find(c->name), c);
		for (const struct args_option *o = c->options; o->name != NULL; o++) {
			assert_non_null(o->help);
			assert_true((o->kind == ARGS_FLAG) == (o->value == NULL));
		}
	}
	assert_null(cli_find("submi"));
}

static void
exit_statuses_follow_the_answer(void **state)
{
	(void)state;
	assert_int_equal(cli_exit_for_status(201), CLI_OK);
	assert_int_equal(cli_exit_for_status(400), CLI_FAILED);
	assert_int_equal(cli_exit_for_status(401), CLI_DENIED);
	assert_int_equal(cli_exit_for_status(403), CLI_DENIED);
	assert_int_equal(cli_exit_for_status(404), CLI_NOT_FOUND);
	assert_int_equal(cli_exit_for_status(422), CLI_FAILED);
	assert_int_equal(cli_exit_for_status(429), CLI_UNAVAILABLE);
	assert_int_equal(cli_exit_for_status(503), CLI_UNAVAILABLE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(options_and_operands_may_be_mixed),
	    cmocka_unit_test(two_dashes_end_the_options),
	    cmocka_unit_test(a_lone_dash_is_an_operand),
	    cmocka_unit_test(an_optional_value_needs_its_equals_sign),
	    cmocka_unit_test(an_option_given_again_is_kept_and_the_last_one_wins),
	    cmocka_unit_test(refusals_name_what_is_wrong),
	    cmocka_unit_test(numbers_and_durations_have_bounds),
	    cmocka_unit_test(too_many_options_are_refused),
	    cmocka_unit_test(every_command_has_its_words),
	    cmocka_unit_test(exit_statuses_follow_the_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
