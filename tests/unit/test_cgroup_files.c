/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cgroup_files.c - what is written into a control group's files, and in which
 * order: on a directory with files of the kernel's names, since few machines that build
 * have all controllers.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "proc/cgroup.h"

static const char *const names[] = {"cgroup.controllers", "cgroup.procs",
    "cgroup.subtree_control", "memory.max", "memory.swap.max", "memory.oom.group",
    "pids.max", "cpu.max"};

static char home[64];
static int watch;

static void
path_of(const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", home, name);
}

static void
put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	path_of(name, path);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int
setup(void **state)
{
	(void)state;
	snprintf(home, sizeof(home), "/tmp/shoal-cgroup-XXXXXX");
	assert_non_null(mkdtemp(home));
	for (size_t i = 0; i < COUNT_OF(names); i++)
		put(names[i], "");
	put("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
	watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	assert_int_not_equal(watch, -1);
	assert_int_not_equal(inotify_add_watch(watch, home, IN_CLOSE_WRITE), -1);
	return 0;
}

static int
teardown(void **state)
{
	char path[128];

	(void)state;
	close(watch);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		path_of(names[i], path);
		if (unlink(path) != 0)
			(void)rmdir(path);
	}
	assert_int_equal(rmdir(home), 0);
	return 0;
}

/* "<file>=<what it holds>; ..." of all that were written since the last call, in order
 */
static void
written(char *to, size_t size)
{
	_Alignas(struct inotify_event) char events[4096];
	ssize_t n = read(watch, events, sizeof(events));
	const struct inotify_event *e;
	char path[128], text[128];

	to[0] = '\0';
	for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*e) + e->len)) {
		FILE *f;
		size_t len;

		e = (const void *)(events + at);
		path_of(e->name, path);
		f = fopen(path, "re");
		assert_non_null(f);
		len = fread(text, 1, sizeof(text) - 1, f);
		text[len] = '\0';
		fclose(f);
		snprintf(to + strlen(to), size - strlen(to), "%s%s=%s",
		    to[0] != '\0' ? "; " : "", e->name, text);
	}
}

static void
each_limit_is_written_as_the_kernel_reads_it(void **state)
{
	static const struct {
		struct cgroup_limits limits;
		const char *written;
	} rows[] = {
	    {{0, 0, 0}, ""},
	    {{64 << 20, 0, 0},
		"memory.max=67108864; memory.swap.max=0; memory.oom.group=1"},
	    {{(uint64_t)3 << 40, 0, 0},
		"memory.max=3298534883328; memory.swap.max=0; memory.oom.group=1"},
	    {{0, 8, 0}, "pids.max=8"},
	    /* of 100 ms: half a processor, two, and the least that the kernel takes */
	    {{0, 0, 50}, "cpu.max=50000 100000"},
	    {{0, 0, 200}, "cpu.max=200000 100000"},
	    {{0, 0, 1}, "cpu.max=1000 100000"},
	    {{1 << 20, 100, 150},
		"memory.max=1048576; memory.swap.max=0; memory.oom.group=1; "
		"pids.max=100; cpu.max=150000 100000"},
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		for (size_t k = 3; k < COUNT_OF(names); k++)
			put(names[k], "");
		written(text, sizeof(text)); /* by ourselves */
		assert_int_equal(cgroup_limit(home, &rows[i].limits), 0);
		written(text, sizeof(text));
		assert_string_equal(text, rows[i].written);
	}
}

static void
a_kernel_without_swap_or_older_has_no_such_file(void **state)
{
	static const struct cgroup_limits limits = {.memory_bytes = 64 << 20};
	char path[128], text[256];

	(void)state;
	path_of("memory.swap.max", path);
	assert_int_equal(unlink(path), 0);
	path_of("memory.oom.group", path);
	assert_int_equal(unlink(path), 0);
	written(text, sizeof(text));
	assert_int_equal(cgroup_limit(home, &limits), 0);
	written(text, sizeof(text));
	assert_string_equal(text, "memory.max=67108864");
}

static void
a_limit_that_is_not_taken_is_an_error(void **state)
{
	static const struct {
		const char *name;
		struct cgroup_limits limits;
	} rows[] = {
	    {"memory.max", {.memory_bytes = 64 << 20}},
	    {"memory.swap.max", {.memory_bytes = 64 << 20}},
	    {"memory.oom.group", {.memory_bytes = 64 << 20}},
	    {"pids.max", {.processes = 8}},
	    {"cpu.max", {.cpu_percent = 50}},
	};
	char path[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		path_of(rows[i].name, path);
		assert_int_equal(unlink(path), 0);
		if (i == 0 || i > 2) { /* those of swap may be missing */
			assert_int_equal(cgroup_limit(home, &rows[i].limits), -1);
			assert_int_equal(errno, ENOENT);
		}
		/* it is there, and says no */
		assert_int_equal(symlink("/dev/full", path), 0);
		assert_int_equal(cgroup_limit(home, &rows[i].limits), -1);
		assert_int_equal(errno, ENOSPC);
		assert_int_equal(unlink(path), 0);
		put(rows[i].name, "");
	}
}

static void
a_home_without_a_controller_is_refused_by_its_name(void **state)
{
	static const struct {
		unsigned bit;
		const char *without, *name;
	} rows[] = {
	    {CGROUP_MEMORY, "cpu pids\n", "no controller memory:"},
	    {CGROUP_PIDS, "cpu memory pidsx\n", "no controller pids:"},
	    /* cpuset is another one */
	    {CGROUP_CPU, "cpuset memory pids\n", "no controller cpu:"},
	};
	char path[128];
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(
	    cgroup_check(CGROUP_MEMORY | CGROUP_PIDS | CGROUP_CPU, home, &err), 0);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		put("cgroup.controllers", rows[i].without);
		assert_int_equal(cgroup_check(rows[i].bit, home, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		assert_non_null(strstr(err.text, rows[i].name));
		assert_non_null(strstr(err.text, home));
		assert_non_null(strstr(err.text, "Delegate=yes"));
		assert_int_equal(cgroup_check(0, home, &err), 0);
	}
	/* not a control group, or not ours */
	path_of("cgroup.subtree_control", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(cgroup_check(0, home, &err), -1);
	assert_non_null(strstr(err.text, "is not this node's to change"));
	put("cgroup.subtree_control", "");
}

static void
a_home_is_divided_with_the_controllers_that_are_needed(void **state)
{
	struct err err = ERR_INIT;
	char text[128], old[128];

	(void)state;
	snprintf(old, sizeof(old), "%s/shoal.1-7", home); /* a dead spawner's */
	assert_int_equal(mkdir(old, 0755), 0);
	written(text, sizeof(text));
	assert_int_equal(cgroup_divide(0, getpid(), home, &err), 0);
	written(text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(
	    cgroup_divide(CGROUP_CPU | CGROUP_MEMORY, getpid(), home, &err), 0);
	written(text, sizeof(text));
	assert_string_equal(text, "cgroup.subtree_control=+memory +cpu ");
}

static void
a_home_that_cannot_be_divided_says_why(void **state)
{
	struct err err = ERR_INIT;
	char path[128];

	(void)state;
	path_of("cgroup.subtree_control", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/full", path), 0);
	assert_int_equal(cgroup_divide(CGROUP_PIDS, getpid(), home, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.text, "cannot be divided"));
	assert_int_equal(unlink(path), 0);
	put("cgroup.subtree_control", "");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(each_limit_is_written_as_the_kernel_reads_it),
	    TEST(a_kernel_without_swap_or_older_has_no_such_file),
	    TEST(a_limit_that_is_not_taken_is_an_error),
	    TEST(a_home_without_a_controller_is_refused_by_its_name),
	    TEST(a_home_is_divided_with_the_controllers_that_are_needed),
	    TEST(a_home_that_cannot_be_divided_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
