/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_command.c - what command.h promises: what is started, what is refused.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "model/command.h"

static struct settings *
load(const char *text)
{
	char *env[] = {NULL, NULL};
	char whole[2000];
	struct err err = ERR_INIT;
	struct settings *s;

	snprintf(whole, sizeof(whole), "SHOALD_CONFIG=%s", text);
	env[0] = whole;
	s = settings_load(NULL, env, NULL, &err);
	if (s == NULL)
		fail_msg("%s", err.text);
	return s;
}

static void
a_type_becomes_what_is_launched(void **state)
{
	struct settings *s =
	    load("[type:a]\ncommand = /bin/echo \"one word\" two\nmax_cpu = 1500ms\n"
		 "max_memory = 1MiB\nmax_processes = 5\nmax_open_files = 20\n"
		 "max_file_size = 2KiB\nnice = 7\nuser = 12\n"
		 "group_memory = 32MiB\ngroup_processes = 9\ngroup_cpu = 150\n"
		 "[type:b]\ncommand = /bin/true\ndirectory = /var\n");
	struct err err = ERR_INIT;
	struct commands *cs = commands_create(s, &err);
	const struct type_settings *a = TAILQ_FIRST(&s->types);
	const struct launch_spec *spec;
	static const struct launch_limit limits[] = {
	    {RLIMIT_CORE, 0},
	    {RLIMIT_CPU, 2},
	    {RLIMIT_AS, 1 << 20},
	    {RLIMIT_FSIZE, 2048},
	    {RLIMIT_NPROC, 5},
	    {RLIMIT_NOFILE, 20},
	};

	(void)state;
	assert_non_null(cs);
	spec = commands_of(cs, a);
	assert_string_equal(spec->argv[1], "one word");
	assert_string_equal(spec->argv[2], "two");
	assert_true(spec->private_directory);
	assert_null(spec->cwd);
	assert_int_equal(spec->uid, 12);
	assert_int_equal(spec->nice, 7);
	assert_int_equal(spec->limit_count, COUNT_OF(limits));
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		assert_int_equal(spec->limits[i].resource, limits[i].resource);
		assert_int_equal(spec->limits[i].value, limits[i].value);
	}
	assert_null(spec->allow_read);
	assert_true(spec->grouped);
	assert_int_equal(spec->group.memory_bytes, 32 << 20);
	assert_int_equal(spec->group.processes, 9);
	assert_int_equal(spec->group.cpu_percent, 150);
	assert_int_equal(
	    commands_controllers(s), CGROUP_MEMORY | CGROUP_PIDS | CGROUP_CPU);
	spec = commands_of(cs, TAILQ_NEXT(a, link));
	assert_false(spec->grouped);
	assert_string_equal(spec->cwd, "/var");
	assert_false(spec->private_directory);
	assert_int_equal(spec->uid, (uid_t)-1);
	assert_true(commands_need_root(s));
	commands_free(cs);
	settings_free(s);
}

static void
only_what_is_configured_is_had(void **state)
{
	struct settings *s = load("[type:a]\ncommand = /bin/echo one\nmax_cpu = 1s\n");
	struct err err = ERR_INIT;
	struct commands *cs = commands_create(s, &err);
	struct launch_spec spec = *commands_of(cs, TAILQ_FIRST(&s->types)), other;
	char *env[] = {(char *)"ANY=thing", NULL};
	char *more[] = {(char *)"/bin/echo", (char *)"one", (char *)"two", NULL};
	char *less[] = {(char *)"/bin/echo", NULL};
	char *paths[] = {NULL};

	(void)state;
	spec.env = env;
	assert_true(commands_have(cs, &spec));
#define DIFFERS(change)                                                                \
	do {                                                                           \
		other = spec;                                                          \
		other.change;                                                          \
		assert_false(commands_have(cs, &other));                               \
	} while (0)
	DIFFERS(argv = more);
	DIFFERS(argv = less);
	DIFFERS(uid = 0);
	DIFFERS(nice = -1);
	DIFFERS(cwd = "/");
	DIFFERS(private_directory = false);
	DIFFERS(limit_count = 1);
	DIFFERS(limits[1].value = 2);
	DIFFERS(seccomp = LAUNCH_SECCOMP_DEFAULT);
	DIFFERS(allow_read = paths);
	commands_free(cs);
	settings_free(s);
}

static void
what_this_machine_cannot_do_is_refused_before_it_starts(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"[type:a]\ncommand = /bin/true\nuser = no-such-user\n", "type:a.user"},
	    {"[type:a]\ncommand = /bin/true\nuser = 0\ngroup = no-such-group\n",
		"no-such-group"},
	};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct settings *s = load(cases[i].text);

		assert_null(commands_create(s, &err));
		assert_int_equal(err.code, ERR_INVALID);
		assert_non_null(strstr(err.text, cases[i].says));
		settings_free(s);
	}
}

static void
executables_that_others_could_change_are_refused(void **state)
{
	char dir[] = "/tmp/test_command.XXXXXX", file[64], text[400];
	struct err err = ERR_INIT;
	struct settings *s;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: nothing was tried\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/command", dir);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
	snprintf(text, sizeof(text), "[type:a]\ncommand = %s\nuser = nobody\n", file);
	s = load(text);
	/* (/tmp itself is writable by everybody, but sticky) */
	assert_int_equal(commands_check_files(s, &err), 0);
	assert_int_equal(chmod(file, 0757), 0);
	assert_int_equal(commands_check_files(s, &err), -1);
	assert_non_null(strstr(err.text, "writable by everybody"));
	assert_int_equal(chmod(file, 0775), 0);
	assert_int_equal(chown(file, 0, 65534), 0);
	assert_int_equal(commands_check_files(s, &err), -1);
	assert_non_null(strstr(err.text, "its group"));
	assert_int_equal(chmod(file, 0755), 0);
	assert_int_equal(chown(file, 65534, 0), 0);
	assert_int_equal(commands_check_files(s, &err), -1);
	assert_non_null(strstr(err.text, "belongs to"));
	assert_int_equal(chown(file, 0, 0), 0);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(commands_check_files(s, &err), -1);
	assert_non_null(strstr(err.text, dir));
	settings_free(s);
	/* where nobody else runs it, it is only said */
	snprintf(text, sizeof(text), "[type:a]\ncommand = %s\n", file);
	s = load(text);
	assert_int_equal(commands_check_files(s, &err), 0);
	settings_free(s);
	/* what is not there may come */
	unlink(file);
	s = load(text);
	assert_int_equal(commands_check_files(s, &err), 0);
	settings_free(s);
	rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_type_becomes_what_is_launched),
	    cmocka_unit_test(only_what_is_configured_is_had),
	    cmocka_unit_test(what_this_machine_cannot_do_is_refused_before_it_starts),
	    cmocka_unit_test(executables_that_others_could_change_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
