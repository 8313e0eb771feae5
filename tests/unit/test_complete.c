/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_complete.c - a shell is told of every command and every option, where they fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "cli/cli.h"
#include "cli/complete.h"

static struct strbuf said;

static const char *
complete(const char *const words[])
{
	int count = 0;

	while (words[count] != NULL)
		count++;
	strbuf_reset(&said);
	/* the words are only read */
	complete_words(count, (char *const *)(uintptr_t)words, &said);
	assert_false(strbuf_failed(&said));
	return said.data;
}

#define SAYS(...) complete((const char *const[]){__VA_ARGS__, NULL})

static bool
offers(const char *answer, const char *word)
{
	char line[80];

	snprintf(line, sizeof(line), "%s\t", word);
	for (const char *at = answer; (at = strstr(at, line)) != NULL; at++) {
		if (at == answer || at[-1] == '\n')
			return true;
	}
	return false;
}

static void
every_command_is_offered(void **state)
{
	(void)state;
	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		assert_true(offers(SAYS(""), cli_commands[i]->name));
		assert_true(offers(SAYS(cli_commands[i]->name), cli_commands[i]->name));
		assert_true(offers(SAYS("help", ""), cli_commands[i]->name));
	}
	assert_string_equal(SAYS("nosuch"), "");
	assert_string_equal(SAYS("nosuch", ""), "");
}

static void
every_option_is_offered(void **state)
{
	const struct args_option *tables[CLI_TABLES];
	char name[80];

	(void)state;
	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		cli_tables(cli_commands[i], tables);
		for (size_t t = 0; tables[t] != NULL; t++) {
			for (const struct args_option *o = tables[t]; o->name != NULL;
			     o++) {
				snprintf(name, sizeof(name), "--%s", o->name);
				assert_true(
				    offers(SAYS(cli_commands[i]->name, "-"), name));
				assert_true(
				    offers(SAYS(cli_commands[i]->name, name), name));
				assert_true(offers(
				    SAYS(cli_commands[i]->name, "X", "--"), name));
			}
		}
	}
	assert_false(offers(SAYS("get", "--u"), "--json"));
}

static void
the_first_word_of_a_command_is_offered_once(void **state)
{
	const char *answer = SAYS("keys", "");

	(void)state;
	assert_true(offers(answer, "create"));
	assert_true(offers(answer, "list"));
	assert_true(offers(answer, "revoke"));
	assert_false(offers(answer, "APP"));
	assert_false(offers(SAYS("keys", "c"), "list"));
	assert_true(offers(SAYS("bench", ""), "e2e"));
	assert_true(offers(SAYS("schedules", "--json", ""), "preview"));
	assert_true(offers(SAYS("endpoints", ""), "rotate"));
	assert_string_equal(SAYS("keys", "create", ""), "");
	assert_string_equal(SAYS("get", ""), "");
}

static void
nothing_is_offered_for_a_value(void **state)
{
	(void)state;
	assert_string_equal(SAYS("keys", "--label", ""), "");
	assert_string_equal(SAYS("keys", "-l", "-"), "");
	/* the value is no operand */
	assert_true(offers(SAYS("keys", "--label", "web", ""), "create"));
	assert_true(offers(SAYS("keys", "--label=web", ""), "create"));
	assert_true(offers(SAYS("keys", "-lweb", ""), "create"));
	/* behind two dashes an option is a word */
	assert_string_equal(SAYS("keys", "--", "--"), "");
	assert_true(offers(SAYS("keys", "--", ""), "create"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_command_is_offered),
	    cmocka_unit_test(every_option_is_offered),
	    cmocka_unit_test(the_first_word_of_a_command_is_offered_once),
	    cmocka_unit_test(nothing_is_offered_for_a_value),
	};
	int failed;

	strbuf_init(&said, 1 << 16);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	strbuf_fini(&said);
	return failed;
}
