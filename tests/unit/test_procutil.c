/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_procutil.c - what procutil.h promises.
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proc/procutil.h"

static char *
own_file(const char *name, char *buf, size_t size)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, size - 1);

	assert_true(n >= 0);
	close(fd);
	buf[n] = '\0';
	return buf;
}

static void
the_title_shows_and_the_old_environment_does_not(void **state)
{
	char buf[4096];

	(void)state;
	assert_string_equal(getenv("PATH"), getenv("PATH"));
	proctitle_set("shoald: worker %d", 2);
	assert_string_equal(
	    own_file("/proc/self/cmdline", buf, sizeof(buf)), "shoald: worker 2");
	/* longer than the place: cut, not past it */
	proctitle_set("%05000d", 1);
	proctitle_set("shoald: master");
	assert_string_equal(
	    own_file("/proc/self/cmdline", buf, sizeof(buf)), "shoald: master");
	own_file("/proc/self/environ", buf, sizeof(buf));
	assert_null(strstr(buf, "PATH="));
	assert_non_null(getenv("PATH"));
}

static void
users_by_name_and_number(void **state)
{
	uid_t uid = 77;
	gid_t gid = 77;
	struct err err;

	(void)state;
	assert_int_equal(priv_lookup("root", "", &uid, &gid, &err), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
	assert_int_equal(priv_lookup("54321", NULL, &uid, &gid, &err), 0);
	assert_int_equal(uid, 54321);
	assert_int_equal(gid, 54321);
	assert_int_equal(priv_lookup("0", "54321", &uid, &gid, &err), 0);
	assert_int_equal(gid, 54321);
	uid = gid = 77;
	assert_int_equal(priv_lookup("no-such-user", NULL, &uid, &gid, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_int_equal(priv_lookup("root", "no-such-group", &uid, &gid, &err), -1);
	assert_int_equal(uid, 77);
	assert_int_equal(gid, 77);
}

/* runs f in a process of its own; its exit status */
static int
in_child(int (*f)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(f());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int
drop_to_65534(void)
{
	struct err err;

	if (priv_drop(65534, 65534, &err) != 0)
		return 1;
	return getuid() == 65534 && getegid() == 65534 && setuid(0) == -1 ? 0 : 2;
}

static int
drop_to_ourselves(void)
{
	struct err err;

	return priv_drop(getuid(), getgid(), &err) == 0 ? 0 : 1;
}

static void
dropped_privileges_do_not_come_back(void **state)
{
	(void)state;
	assert_int_equal(in_child(drop_to_ourselves), 0);
	if (geteuid() == 0)
		assert_int_equal(in_child(drop_to_65534), 0);
	else if (geteuid() != 65534)
		assert_int_equal(in_child(drop_to_65534), 1);
}

static char pid_path[64];

static int
second_writer(void)
{
	struct err err;
	char wanted[64];
	int fd;

	if (pidfile_write(pid_path, &fd, &err) == 0)
		return 1;
	if (err.code != ERR_CONFLICT)
		return 2;
	snprintf(wanted, sizeof(wanted), "process %ld", (long)getppid());
	return strstr(err.text, wanted) != NULL ? 0 : 3;
}

static int
reader(void)
{
	struct err err;
	pid_t pid;

	if (pidfile_read(pid_path, &pid, &err) != 0)
		return err.code == ERR_NOT_FOUND ? 44 : 1;
	return pid == getppid() ? 0 : 2;
}

static void
one_holder_of_the_pid_file(void **state)
{
	char dir[] = "/tmp/test_procutil.XXXXXX", buf[64], wanted[32];
	struct err err;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(pid_path, sizeof(pid_path), "%s/pid", dir);
	assert_int_equal(in_child(reader), 44);
	assert_int_equal(pidfile_write(pid_path, &fd, &err), 0);
	assert_int_equal(in_child(second_writer), 0);
	assert_int_equal(in_child(reader), 0);
	snprintf(wanted, sizeof(wanted), "%ld\n", (long)getpid());
	assert_string_equal(own_file(pid_path, buf, sizeof(buf)), wanted);
	/* (own_file closed a descriptor of it, and with that our lock is gone, as POSIX
	 * has it) */
	assert_int_equal(in_child(reader), 44);
	pidfile_remove(pid_path, fd);
	assert_int_equal(access(pid_path, F_OK), -1);
	/* a leftover without a holder is taken over */
	fd = open(pid_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "123456789\n", 10), 10);
	close(fd);
	assert_int_equal(pidfile_write(pid_path, &fd, &err), 0);
	pidfile_remove(pid_path, fd);
	assert_int_equal(rmdir(dir), 0);
}

static int
closes(void)
{
	int fd = dup(2);

	fcntl(fd, F_DUPFD, 100);
	fd_close_from(3);
	for (int i = 3; i < 300; i++)
		if (fcntl(i, F_GETFD) != -1)
			return 1;
	return fcntl(2, F_GETFD) != -1 ? 0 : 2;
}

static void
descriptors_from_a_number_on_are_closed(void **state)
{
	(void)state;
	assert_int_equal(in_child(closes), 0);
}

static void
descriptor_flags(void **state)
{
	int fds[2];
	struct err err;

	(void)state;
	assert_int_equal(pipe_cloexec(fds, &err), 0);
	assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fd_set_nonblock(fds[0], &err), 0);
	assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(fd_set_nonblock(fds[0], &err), -1);
	assert_int_equal(fd_set_cloexec(fds[0], &err), -1);
}

static void
the_descriptor_limit_goes_up_to_the_hard_one(void **state)
{
	struct rlimit rl;
	size_t hard;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &rl);
	hard = rl.rlim_max;
	rl.rlim_cur = 64;
	setrlimit(RLIMIT_NOFILE, &rl);
	assert_int_equal(nofile_raise(100), 100);
	assert_int_equal(nofile_raise(50), 100);
	if (hard < 4096)
		assert_int_equal(nofile_raise(4096), hard);
	else
		assert_int_equal(nofile_raise(4096), 4096);
}

static void
a_small_file_is_read_whole_or_cut(void **state)
{
	char text[8];

	(void)state;
	assert_int_equal(file_read_small("/nonexistent", text, sizeof(text)), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(file_read_small("/dev/null", text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_int_equal(file_read_small("/proc/self/status", text, 6), 5);
	assert_string_equal(text, "Name:");
}

static void
memory_is_counted(void **state)
{
	size_t before = memory_private_bytes(), size = 32 << 20;
	char *block = malloc(size);

	(void)state;
	assert_true(before > 0);
	explicit_bzero(block, size); /* (a memset would be optimised away) */
	assert_true(memory_private_bytes() >= before + size / 2);
	free(block);
}

int
main(int argc, char **argv)
{
	struct err err;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_title_shows_and_the_old_environment_does_not),
	    cmocka_unit_test(users_by_name_and_number),
	    cmocka_unit_test(dropped_privileges_do_not_come_back),
	    cmocka_unit_test(one_holder_of_the_pid_file),
	    cmocka_unit_test(descriptors_from_a_number_on_are_closed),
	    cmocka_unit_test(descriptor_flags),
	    cmocka_unit_test(the_descriptor_limit_goes_up_to_the_hard_one),
	    cmocka_unit_test(a_small_file_is_read_whole_or_cut),
	    cmocka_unit_test(memory_is_counted),
	};

	if (proctitle_init(argc, argv, &err) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
