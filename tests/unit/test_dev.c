/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_dev.c - the parts of shoald --dev that need no servers: its directory, its
 * memory, what it writes and how it starts programs.  The whole is in test_dev.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "dev/devdir.h"
#include "dev/devstate.h"
#include "dev/devtext.h"
#include "dev/spawn.h"

struct fixture {
	char base[32];
	char dir[64];
	struct devdir dd;
};

static int
setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	struct err err = ERR_INIT;

	strncat(fx->base, "/tmp/shoal-unit-XXXXXX", sizeof(fx->base) - 1);
	if (mkdtemp(fx->base) == NULL)
		return -1;
	snprintf(fx->dir, sizeof(fx->dir), "%s/dev", fx->base);
	*state = fx;
	return devdir_open(&fx->dd, fx->dir, &err);
}

static int
teardown(void **state)
{
	struct fixture *fx = *state;

	fx->dd.temporary = true;
	devdir_close(&fx->dd);
	rmdir(fx->base);
	free(fx);
	return 0;
}

static void
file_make(const char *dir, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void
what_was_remembered_comes_back(void **state)
{
	struct fixture *fx = *state;
	struct devstate first, second;
	struct err err = ERR_INIT;
	struct stat st;
	char path[DEVDIR_PATH_SIZE];

	assert_int_equal(devstate_load(&first, &fx->dd, &err), 0);
	assert_true(strlen(first.database_password) >= 40);
	assert_string_not_equal(first.database_password, first.redis_password);
	assert_string_equal(first.api_key, "");
	first.database_port = 5433;
	str_copy(first.api_key, sizeof(first.api_key), "shoal_live_x");
	assert_int_equal(devstate_save(&first, &fx->dd, &err), 0);
	assert_int_equal(devstate_load(&second, &fx->dd, &err), 0);
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(stat(devdir_path(&fx->dd, "state", path), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
a_damaged_memory_is_refused(void **state)
{
	static const char *const texts[] = {
	    "nonsense\n", "database_port=70000\n", "redis_port=x\n"};
	struct fixture *fx = *state;
	struct devstate ds;

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(devdir_write(&fx->dd, "state", texts[i], &err), 0);
		assert_int_equal(devstate_load(&ds, &fx->dd, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void
a_free_port_is_kept_and_a_taken_one_is_replaced(void **state)
{
	struct err err = ERR_INIT;
	uint16_t port = 0, same;
	char text[32];
	struct addr a;
	int fd;

	(void)state;
	assert_int_equal(devstate_pick_port(&port, &err), 0);
	assert_int_not_equal(port, 0);
	same = port;
	assert_int_equal(devstate_pick_port(&same, &err), 0);
	assert_int_equal(same, port);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	assert_int_equal(addr_parse(text, &a, &err), 0);
	assert_int_equal(addr_listen(&a, 1, &fd, &err), 0);
	assert_int_equal(devstate_pick_port(&same, &err), 0);
	assert_int_not_equal(same, port);
	close(fd);
}

static void
a_directory_of_others_is_left_alone(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;
	struct devdir dd;
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/other", fx->base);
	assert_int_equal(mkdir(path, 0755), 0);
	file_make(path, "precious");
	assert_int_equal(devdir_open(&dd, path, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	snprintf(path, sizeof(path), "%s/other/precious", fx->base);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/other", fx->base);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(devdir_open(&dd, path, &err), -1);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/a b", fx->base);
	assert_int_equal(devdir_open(&dd, path, &err), -1);
	assert_int_equal(rmdir(path), 0);
}

static void
removing_does_not_follow_links(void **state)
{
	struct fixture *fx = *state;
	struct err err = ERR_INIT;
	char path[DEVDIR_PATH_SIZE], kept[128], link[DEVDIR_PATH_SIZE + 8];

	snprintf(kept, sizeof(kept), "%s/kept", fx->base);
	assert_int_equal(mkdir(kept, 0700), 0);
	file_make(kept, "file");
	assert_int_equal(devdir_make(&fx->dd, "redis", &err), 0);
	snprintf(link, sizeof(link), "%s/link", devdir_path(&fx->dd, "redis", path));
	assert_int_equal(symlink(kept, link), 0);
	assert_int_equal(devdir_remove(&fx->dd, "redis", &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(link, sizeof(link), "%s/file", kept);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(kept), 0);
}

static void
an_address_to_listen_on_becomes_one_to_connect_to(void **state)
{
	static const struct {
		const char *list, *expected;
	} cases[] = {
	    {"127.0.0.1:8000", "127.0.0.1:8000"},
	    {"0.0.0.0:80, [::]:80", "127.0.0.1:80"},
	    {"[::]:8080", "[::1]:8080"},
	    {"10.1.2.3:99,127.0.0.1:1", "10.1.2.3:99"},
	    {"127.0.0.1:8443 tls proxy, *:1", "127.0.0.1:8443"},
	};
	char text[ADDR_TEXT_SIZE];
	struct addr a;
	bool tls;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(devtext_first_address(cases[i].list, &a, &tls), 0);
		assert_int_equal(tls, strstr(cases[i].list, " tls") != NULL);
		assert_string_equal(addr_format(&a, text), cases[i].expected);
	}
	assert_int_equal(devtext_first_address("nowhere", &a, &tls), -1);
}

static void
a_shell_reads_back_what_was_exported(void **state)
{
	char listen[] = "127.0.0.1:8000", url[] = "postgresql://u:it's$HOME`x`@h/d",
	     other[] = "";
	struct settings settings = {
	    .listen_applications = listen,
	    .listen_developers = listen,
	    .database_url = url,
	    .redis_url = other,
	    .access_token = other,
	};
	struct strbuf sb;

	(void)state;
	strbuf_init(&sb, DEVTEXT_MAX);
	devtext_env(&settings, "key", &sb);
	assert_non_null(strstr(sb.data, "export SHOAL_URL='http://127.0.0.1:8000'\n"));
	assert_non_null(strstr(sb.data,
	    "export SHOAL_DATABASE_URL='postgresql://u:it'\\''s$HOME`x`@h/d'\n"));
	strbuf_fini(&sb);
}

static void
a_program_gets_its_input_and_only_three_descriptors(void **state)
{
	char shell[] = "/bin/sh", flag[] = "-c",
	     /* no pipeline: the shell's own ends of it would be seen, or not */
	    script[] = "read x; echo \"$x\"; for n in 0 1 2 3 4 5 6 7 8 9; do "
		       "[ -e /proc/$$/fd/$n ] && echo $n; done; true";
	char *argv[] = {shell, flag, script, NULL}, *env[] = {NULL};
	char text[64] = "";
	int fds[2], status, stray;
	struct spawn_spec spec = {
	    .argv = argv, .env = env, .input = "hello\n", .death_signal = SIGKILL};
	struct err err = ERR_INIT;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	(void)state;
	stray =
	    open("/dev/null", O_RDONLY); /* not close-on-exec, as a caller's may be */
	assert_int_equal(pipe(fds), 0);
	spec.out_fd = fds[1];
	assert_int_equal(spawn(&spec, &pid, &err), 0);
	close(fds[1]);
	while (len < sizeof(text) - 1 &&
	       (n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fds[0]);
	close(stray);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_string_equal(text, "hello\n0\n1\n2\n");
}

static void
a_program_that_is_not_there_is_an_error_and_no_child(void **state)
{
	char path[] = "/nonexistent/program";
	char *argv[] = {path, NULL}, *env[] = {NULL};
	struct spawn_spec spec = {
	    .argv = argv, .env = env, .out_fd = -1, .death_signal = SIGKILL};
	struct err err = ERR_INIT;
	pid_t pid = -1;

	(void)state;
	assert_int_equal(spawn(&spec, &pid, &err), -1);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(pid, -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_was_remembered_comes_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_damaged_memory_is_refused, setup, teardown),
	    cmocka_unit_test(a_free_port_is_kept_and_a_taken_one_is_replaced),
	    cmocka_unit_test_setup_teardown(
		a_directory_of_others_is_left_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		removing_does_not_follow_links, setup, teardown),
	    cmocka_unit_test(an_address_to_listen_on_becomes_one_to_connect_to),
	    cmocka_unit_test(a_shell_reads_back_what_was_exported),
	    cmocka_unit_test(a_program_gets_its_input_and_only_three_descriptors),
	    cmocka_unit_test(a_program_that_is_not_there_is_an_error_and_no_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
