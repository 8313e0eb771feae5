/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "event/addr.h"

static void
addresses_survive_a_round_trip(void **state)
{
	static const struct {
		const char *text;
		uint16_t port;
	} cases[] = {
	    {"127.0.0.1:80", 80},
	    {"*:8080", 8080},
	    {"0.0.0.1:0", 0},
	    {"[::1]:443", 443},
	    {"[::]:65535", 65535},
	    {"[fe80::1:2]:1", 1},
	    {"unix:/run/shoal/http", 0},
	};
	char text[ADDR_TEXT_SIZE];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(addr_parse(cases[i].text, &a, NULL), 0);
		assert_string_equal(addr_format(&a, text), cases[i].text);
		assert_int_equal(addr_port(&a), cases[i].port);
	}
}

static void
what_is_no_address_is_refused(void **state)
{
	static const char *const cases[] = {
	    "",
	    ":80",
	    "80",
	    "localhost:80",
	    "127.0.0.1",
	    "127.0.0.1:",
	    "127.0.0.1:+8",
	    "127.0.0.1:80 ",
	    "127.0.0.1:65536",
	    "127.0.0.1:000080",
	    "127.1:80",
	    "256.0.0.1:80",
	    "::1:80",
	    "[::1]",
	    "[::1]80",
	    "[::1:80",
	    "[127.0.0.1]:80",
	    "[*]:80",
	    "unix:",
	    "0000000000000000000000000000000000000000000000000000000:80",
	};
	struct addr a, untouched;

	(void)state;
	memset(&a, 7, sizeof(a));
	untouched = a;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;

		if (addr_parse(cases[i], &a, &err) == 0)
			fail_msg("accepted '%s'", cases[i]);
		assert_int_equal(err.code, ERR_INVALID);
		assert_memory_equal(&a, &untouched, sizeof(a));
	}
}

static void
path_of_a_socket_has_a_limit(void **state)
{
	char text[160] = "unix:/";
	struct addr a;
	char back[ADDR_TEXT_SIZE];

	(void)state;
	memset(text + 6, 'x', 106);
	assert_int_equal(addr_parse(text, &a, NULL), 0);
	assert_string_equal(addr_format(&a, back), text);
	memset(text + 6, 'x', 107);
	assert_int_equal(addr_parse(text, &a, NULL), -1);
}

static void
port_zero_takes_a_free_one(void **state)
{
	struct addr a, got;
	int first, second;

	(void)state;
	assert_int_equal(addr_parse("127.0.0.1:0", &a, NULL), 0);
	assert_int_equal(addr_listen(&a, 16, &first, NULL), 0);
	assert_int_equal(addr_of_socket(first, &got, NULL), 0);
	assert_int_not_equal(addr_port(&got), 0);
	assert_int_not_equal(fcntl(first, F_GETFD) & FD_CLOEXEC, 0);
	assert_int_not_equal(fcntl(first, F_GETFL) & O_NONBLOCK, 0);
	/* taken: a second listener is told so */
	assert_int_equal(addr_listen(&got, 16, &second, NULL), -1);
	close(first);
}

static char dir[64];
static char path[96];
static struct addr at_path;

static int
make_dir(void **state)
{
	char text[128];

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/shoal-addr-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(text, sizeof(text), "unix:%s", path);
	return addr_parse(text, &at_path, NULL);
}

static int
remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void
stale_socket_file_is_replaced(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(addr_listen(&at_path, 4, &fd, NULL), 0);
	close(fd);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(addr_listen(&at_path, 4, &fd, NULL), 0);
	close(fd);
}

static void
socket_file_in_use_is_left_alone(void **state)
{
	struct err err = ERR_INIT;
	int first, second, client;

	(void)state;
	assert_int_equal(addr_listen(&at_path, 4, &first, NULL), 0);
	assert_int_equal(addr_listen(&at_path, 4, &second, &err), -1);
	assert_int_equal(err.code, ERR_IO);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(client, &at_path.sa, at_path.len), 0);
	close(client);
	close(first);
}

static void
other_file_is_never_replaced(void **state)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(addr_listen(&at_path, 4, &fd, NULL), -1);
	assert_int_equal(access(path, F_OK), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_survive_a_round_trip),
	    cmocka_unit_test(what_is_no_address_is_refused),
	    cmocka_unit_test(path_of_a_socket_has_a_limit),
	    cmocka_unit_test(port_zero_takes_a_free_one),
	    cmocka_unit_test_setup_teardown(
		stale_socket_file_is_replaced, make_dir, remove_dir),
	    cmocka_unit_test_setup_teardown(
		socket_file_in_use_is_left_alone, make_dir, remove_dir),
	    cmocka_unit_test_setup_teardown(
		other_file_is_never_replaced, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
