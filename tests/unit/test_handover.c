/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_handover.c - what masters say to each other, and what a new one finds.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "master/handover.h"
#include "master/listeners.h"
#include "proc/notify.h"
#include "store/migrate.h"

#define T(f) cmocka_unit_test(f)

static void
pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

static int
listening(void)
{
	struct addr addr;
	struct err err = ERR_INIT;
	int fd;

	assert_int_equal(addr_parse("127.0.0.1:0", &addr, &err), 0);
	assert_int_equal(addr_listen(&addr, 8, &fd, &err), 0);
	return fd;
}

static void
a_message_arrives_whole_with_its_descriptor(void **state)
{
	char text[HANDOVER_MAX], byte = 0;
	struct err err = ERR_INIT;
	int fds[2], pipes[2], fd;

	(void)state;
	pair(fds);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(handover_receive(fds[1], text, &fd), 0); /* nothing yet */
	assert_int_equal(handover_send(fds[0], -1, &err, "mode %d", 2), 0);
	assert_int_equal(handover_send(fds[0], pipes[1], &err, "control /a b"), 0);
	assert_int_equal(handover_receive(fds[1], text, &fd), 1);
	assert_string_equal(text, "mode 2");
	assert_int_equal(fd, -1);
	assert_int_equal(handover_receive(fds[1], text, &fd), 1);
	assert_string_equal(text, "control /a b");
	assert_true(fd != -1 && fd != pipes[1]);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	close(fd);
	close(fds[0]);
	assert_int_equal(
	    handover_receive(fds[1], text, &fd), -1); /* the other is gone */
	close(fds[1]);
	close(pipes[0]);
	close(pipes[1]);
}

static void
last_words_are_heard_of_one_that_has_not_listened(void **state)
{
	char text[HANDOVER_MAX];
	struct err err = ERR_INIT;
	int fds[2], fd;

	(void)state;
	pair(fds);
	assert_int_equal(handover_send(fds[0], -1, &err, "mode 0"), 0);
	assert_int_equal(handover_send(fds[1], -1, &err, "failed x"), 0);
	close(fds[1]);
	assert_int_equal(handover_receive(fds[0], text, &fd), 1);
	assert_string_equal(text, "failed x");
	assert_int_equal(handover_receive(fds[0], text, &fd), -1);
	close(fds[0]);
}

static void
a_text_that_is_too_long_is_cut(void **state)
{
	char text[HANDOVER_MAX], longer[2 * HANDOVER_MAX];
	struct err err = ERR_INIT;
	int fds[2], fd;

	(void)state;
	pair(fds);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(handover_send(fds[0], -1, &err, "failed %s", longer), 0);
	assert_int_equal(handover_receive(fds[1], text, &fd), 1);
	assert_int_equal(strlen(text), HANDOVER_MAX - 1);
	close(fds[0]);
	close(fds[1]);
}

static void
a_new_master_takes_what_it_is_told(void **state)
{
	struct inheritance in;
	struct err err = ERR_INIT;
	char number[16];
	int fds[2], one = listening(), two = listening(), control = listening();

	(void)state;
	pair(fds);
	assert_int_equal(handover_send(fds[0], -1, &err, "mode 1"), 0);
	assert_int_equal(
	    handover_send(fds[0], one, &err, "listen 0 1 unix:/tmp/a b"), 0);
	assert_int_equal(
	    handover_send(fds[0], two, &err, "listen 1 0 127.0.0.1:8080"), 0);
	assert_int_equal(handover_send(fds[0], control, &err, "control /run/s"), 0);
	assert_int_equal(handover_send(fds[0], -1, &err, "pid /run/p"), 0);
	assert_int_equal(handover_send(fds[0], -1, &err, "of a later version"), 0);
	assert_int_equal(handover_send(fds[0], -1, &err, "end"), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	setenv(HANDOVER_ENV, number, 1);
	assert_int_equal(inheritance_take(&in, &err), 0);
	assert_null(getenv(HANDOVER_ENV));
	assert_int_equal(in.channel, fds[1]);
	assert_int_equal(in.mode, NODE_MODE_IDLE);
	assert_int_equal(in.count, 2);
	assert_string_equal(in.sockets[0].address, "unix:/tmp/a b");
	assert_int_equal(in.sockets[0].audience, AUDIENCE_APPLICATIONS);
	assert_true(in.sockets[0].ours && in.sockets[0].kept);
	assert_string_equal(in.sockets[1].address, "127.0.0.1:8080");
	assert_false(in.sockets[1].ours);
	assert_string_equal(in.control_path, "/run/s");
	assert_string_equal(in.pid_path, "/run/p");
	inheritance_drop(&in);
	close(one);
	close(two);
	close(control);
	close(fds[0]);
	close(fds[1]);
}

static void
a_stray_word_of_the_environment_is_no_master(void **state)
{
	static const char *const words[] = {"", "x", "2", "-1", "99999", "3000000000"};
	struct inheritance in;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		struct err err = ERR_INIT;

		setenv(HANDOVER_ENV, words[i], 1);
		assert_int_equal(inheritance_take(&in, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		assert_non_null(strstr(err.text, "unset it"));
		assert_int_equal(in.channel, -1);
	}
}

static void
an_old_master_that_dies_before_it_has_told_all_is_an_error(void **state)
{
	struct inheritance in;
	struct err err = ERR_INIT;
	char number[16];
	int fds[2];

	(void)state;
	pair(fds);
	assert_int_equal(handover_send(fds[0], -1, &err, "mode 0"), 0);
	close(fds[0]);
	snprintf(number, sizeof(number), "%d", fds[1]);
	setenv(HANDOVER_ENV, number, 1);
	assert_int_equal(inheritance_take(&in, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	close(fds[1]);
}

static void
sockets_that_are_meant_for_another_process_are_left_alone(void **state)
{
	struct inheritance in;
	struct err err = ERR_INIT;

	(void)state;
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDNAMES", "a:b", 1);
	assert_int_equal(inheritance_take(&in, &err), 0);
	assert_int_equal(in.count, 0);
	assert_int_equal(in.channel, -1);
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDNAMES"));
}

static void
an_offered_socket_takes_the_place_of_a_configured_one(void **state)
{
	struct err err = ERR_INIT;
	struct listeners *ls = listeners_create(&err);
	struct settings *s = settings_create(&err);
	struct listen_set set = {0};
	struct inherited offer = {.fd = listening(), .audience = -1}, seen;
	struct addr addr;
	size_t cursor = 0;
	char text[ADDR_TEXT_SIZE], list[ADDR_TEXT_SIZE + 4];

	(void)state;
	assert_int_equal(addr_of_socket(offer.fd, &addr, &err), 0);
	addr_format(&addr, offer.address);
	assert_int_equal(listeners_offer(ls, &offer, &err), 0);
	/* nobody names it yet */
	assert_int_equal(listeners_check_offers(ls, &err), -1);
	assert_non_null(strstr(err.text, offer.address));
	snprintf(list, sizeof(list), " %s ", offer.address);
	mem_free(s->listen_applications);
	mem_free(s->listen_developers);
	s->listen_applications = mem_strdup(list);
	s->listen_developers = mem_strdup("127.0.0.1:0");
	assert_int_equal(listeners_acquire(ls, s, &set, &err), 0);
	assert_int_equal(listeners_check_offers(ls, &err), 0);
	assert_int_equal(set.count, 2);
	assert_int_equal(set.list[0].fd, offer.fd);
	assert_int_equal(set.list[0].audience, AUDIENCE_APPLICATIONS);
	assert_string_equal(listen_set_address(&set, 0, text), offer.address);
	assert_true(listeners_next(ls, &cursor, &seen));
	assert_string_equal(seen.address, offer.address);
	assert_false(seen.ours);
	assert_true(listeners_next(ls, &cursor, &seen) && seen.ours);
	assert_false(listeners_next(ls, &cursor, &seen));
	listeners_release(ls, &set);
	listeners_free(ls);
	settings_free(s);
}

/* ---------------------------------------------------------------- notices */

static void
notices_are_lines_in_a_datagram(void **state)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct notify n;
	struct err err = ERR_INIT;
	char text[200], name[100];
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ssize_t len;

	(void)state;
	/* an abstract one, as systemd may give */
	snprintf(name, sizeof(name), "@shoal-test-notify-%d", (int)getpid());
	memcpy(to.sun_path, name, strlen(name));
	to.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&to,
			     (socklen_t)(sizeof(to.sun_family) + strlen(name))),
	    0);
	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "30000000", 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("WATCHDOG_PID", text, 1);
	assert_int_equal(notify_open(&n, false, &err), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_int_equal(n.watchdog_ms, 30000);
	assert_int_equal(notify_send(&n, &err, "READY=1\nMAINPID=%d", 7), 0);
	len = recv(fd, text, sizeof(text) - 1, 0);
	assert_true(len > 0);
	text[len] = '\0';
	assert_string_equal(text, "READY=1\nMAINPID=7");
	/* a successor finds it as we did */
	assert_int_equal(notify_bequeath(&n), 0);
	notify_close(&n);
	assert_string_equal(getenv("NOTIFY_SOCKET"), name);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_open(&n, true, &err), 0);
	assert_int_equal(n.watchdog_ms, 30000);
	notify_close(&n);
	close(fd);
}

static void
without_a_manager_nothing_is_said_and_nothing_fails(void **state)
{
	struct notify n;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(notify_open(&n, false, &err), 0);
	assert_int_equal(n.fd, -1);
	assert_int_equal(notify_send(&n, &err, "READY=1"), 0);
	assert_int_equal(notify_bequeath(&n), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	notify_close(&n);
	/* another's watchdog is not ours */
	setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_open(&n, false, &err), 0);
	assert_int_equal(n.watchdog_ms, 0);
	/* a manager that is not there is an error that is told */
	assert_int_equal(notify_send(&n, &err, "READY=1"), -1);
	notify_close(&n);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	assert_int_equal(notify_open(&n, false, &err), -1);
	assert_non_null(strstr(err.text, "vsock:2:1"));
}

/* ---------------------------------------------------------------- versions */

static void
a_program_runs_on_schemas_from_its_oldest_to_any_that_lets_it(void **state)
{
	int newest = migrate_newest(), oldest = migrate_oldest();

	(void)state;
	assert_true(oldest <= newest);
	assert_int_equal(migrate_fits(0, 0), -1);
	assert_int_equal(migrate_fits(oldest - 1, 0), -1);
	assert_int_equal(migrate_fits(oldest, 0), 0);
	assert_int_equal(migrate_fits(newest, newest), 0);
	/* one step further, by a newer program that leaves us what we use */
	assert_int_equal(migrate_fits(newest + 1, newest), 0);
	assert_int_equal(migrate_fits(newest + 1, newest + 1), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(a_message_arrives_whole_with_its_descriptor),
	    T(last_words_are_heard_of_one_that_has_not_listened),
	    T(a_text_that_is_too_long_is_cut),
	    T(a_new_master_takes_what_it_is_told),
	    T(a_stray_word_of_the_environment_is_no_master),
	    T(an_old_master_that_dies_before_it_has_told_all_is_an_error),
	    T(sockets_that_are_meant_for_another_process_are_left_alone),
	    T(an_offered_socket_takes_the_place_of_a_configured_one),
	    T(notices_are_lines_in_a_datagram),
	    T(without_a_manager_nothing_is_said_and_nothing_fails),
	    T(a_program_runs_on_schemas_from_its_oldest_to_any_that_lets_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
