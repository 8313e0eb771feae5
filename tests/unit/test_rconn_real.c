/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection against a real server, on a unix socket in a directory of its own.
 * Skipped where there is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "redis/rconn.h"
#include "until.h"

#define SERVER	    "/usr/bin/redis-server"
#define PATIENCE_MS 10000

static char dir[64], socket_path[96], host[128];
static pid_t server;
static struct loop *l;
static struct resolver *rv;
static struct rconn *cmd, *pop, *sub; /* a failed test leaves them to close_all */
static unsigned downs;
static char message[32];

static void
start_server(void)
{
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
		execl(SERVER, SERVER, "--port", "0", "--unixsocket", socket_path,
		    "--save", "", "--appendonly", "no", "--dir", dir, "--requirepass",
		    "pass word", (char *)NULL);
		_exit(127);
	}
}

static void
stop_server(int signo)
{
	if (server <= 0)
		return;
	kill(server, signo);
	while (waitpid(server, NULL, 0) < 0 && errno == EINTR)
		continue;
	server = 0;
}

static int
open_all(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/shoal-rconn-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", dir);
	snprintf(host, sizeof(host), "unix:%s", socket_path);
	l = loop_create(NULL);
	rv = resolver_create(l, NULL);
	start_server();
	return server < 0 ? -1 : 0;
}

static int
close_all(void **state)
{
	(void)state;
	stop_server(SIGKILL);
	rconn_free(cmd);
	rconn_free(pop);
	rconn_free(sub);
	cmd = pop = sub = NULL;
	resolver_free(rv);
	loop_free(l);
	unlink(socket_path);
	return rmdir(dir);
}

static void
on_state(struct rconn *rc, bool up, const struct err *err, void *arg)
{
	(void)rc;
	(void)err;
	(void)arg;
	downs += up ? 0 : 1;
}

static void
on_message(struct rconn *rc, const char *channel, size_t channel_len, const char *text,
    size_t len, void *arg)
{
	(void)rc;
	(void)channel;
	(void)channel_len;
	(void)arg;
	snprintf(message, sizeof(message), "%.*s", (int)len, text);
}

struct outcome {
	unsigned calls;
	int type;
	char text[64];
	enum err_code code;
};

static void
on_reply(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct outcome *o = arg;

	(void)rc;
	o->calls++;
	if (err != NULL) {
		o->code = err->code;
		return;
	}
	o->type = reply->type;
	snprintf(o->text, sizeof(o->text), "%s", reply->str != NULL ? reply->str : "");
}

#define UNTIL(condition) UNTIL_WITHIN(l, PATIENCE_MS, condition)

static struct rconn *
connect_lane(const char *name)
{
	const struct rconn_opts opts = {
	    .name = name,
	    .host = host,
	    .password = "pass word",
	    .database = 3,
	    .ping_ms = 50,
	    .state_cb = on_state,
	    .message_cb = on_message,
	};
	struct rconn *rc = rconn_create(l, rv, &opts, NULL);

	assert_non_null(rc);
	return rc;
}

#define SEND(rc, outcome, ...)                                                         \
	do {                                                                           \
		const char *const send_argv[] = {__VA_ARGS__};                         \
		assert_int_equal(rconn_command_within(rc, 3000, on_reply, outcome,     \
				     NULL, (int)COUNT_OF(send_argv), send_argv, NULL), \
		    0);                                                                \
	} while (0)

static void
three_lanes_work_and_survive_a_kill(void **state)
{
	static struct outcome popped, o;

	(void)state;
	cmd = connect_lane("command");
	pop = connect_lane("pop");
	sub = connect_lane("subscribe");
	assert_int_equal(rconn_subscribe(sub, "ctl", NULL), 0);
	UNTIL(rconn_is_up(cmd) && rconn_is_up(pop) && rconn_is_up(sub));
	downs = 0; /* attempts before the server listened do not count */
	SEND(pop, &popped, "BRPOPLPUSH", "from", "to", "2");
	SEND(cmd, &o, "PUBLISH", "ctl", "hello");
	SEND(cmd, &o, "LPUSH", "from", "id-1");
	UNTIL(popped.calls == 1 && o.calls == 2 && message[0] != '\0');
	assert_string_equal(popped.text, "id-1");
	assert_string_equal(message, "hello");

	/* nothing comes: the server's own timeout answers, long before the deadline */
	SEND(pop, &popped, "BRPOPLPUSH", "from", "to", "1");
	UNTIL(popped.calls == 2);
	assert_int_equal(popped.type, REDIS_REPLY_NIL);

	SEND(cmd, &o, "GET", "to");
	UNTIL(o.calls == 3);
	assert_int_equal(o.type, REDIS_REPLY_ERROR);
	assert_int_equal(strncmp(o.text, "WRONGTYPE", 9), 0);
	assert_int_equal(downs, 0);

	SEND(pop, &popped, "BRPOPLPUSH", "from", "to", "0");
	stop_server(SIGKILL);
	UNTIL(popped.calls == 3 && downs == 3);
	assert_int_equal(popped.code, ERR_CLOSED);
	start_server();
	UNTIL(rconn_is_up(cmd) && rconn_is_up(pop) && rconn_is_up(sub));
	message[0] = '\0';
	SEND(cmd, &o, "PUBLISH", "ctl", "again");
	UNTIL(strcmp(message, "again") == 0);
}

static void
role_change_closes_the_blocking_lane(void **state)
{
	static struct outcome popped, o;
	unsigned before;

	(void)state;
	cmd = connect_lane("command");
	pop = connect_lane("pop");
	UNTIL(rconn_is_up(cmd) && rconn_is_up(pop));
	downs = 0;
	SEND(pop, &popped, "BRPOPLPUSH", "from", "to", "0");
	SEND(cmd, &o, "REPLICAOF", "127.0.0.1", "1");
	/* the change may cost the command lane its connection too: it comes back */
	UNTIL(popped.calls == 1 && o.calls == 1 && downs >= 1 && rconn_is_up(cmd));
	/* which of the two connections the server reads first is open */
	if (strncmp(popped.text, "UNBLOCKED", 9) != 0 &&
	    strncmp(popped.text, "READONLY", 8) != 0)
		fail_msg("the pop ended with code %d, type %d, \"%s\"", popped.code,
		    popped.type, popped.text);
	before = downs;
	SEND(cmd, &o, "LPUSH", "from", "x");
	UNTIL(o.calls == 2 && downs > before);
	assert_int_equal(strncmp(o.text, "READONLY", 8), 0);
}

static void
many_commands_keep_their_order(void **state)
{
	static struct outcome o[2000];
	char number[16];

	(void)state;
	cmd = connect_lane("command");
	UNTIL(rconn_is_up(cmd));
	for (size_t i = 0; i < COUNT_OF(o); i++) {
		snprintf(number, sizeof(number), "%zu", i);
		SEND(cmd, &o[i], "ECHO", number);
	}
	UNTIL(rconn_waiting(cmd) == 0);
	for (size_t i = 0; i < COUNT_OF(o); i++) {
		snprintf(number, sizeof(number), "%zu", i);
		assert_int_equal(o[i].calls, 1);
		assert_string_equal(o[i].text, number);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	    CASE(three_lanes_work_and_survive_a_kill),
	    CASE(role_change_closes_the_blocking_lane),
	    CASE(many_commands_keep_their_order),
	};

	if (access(SERVER, X_OK) != 0) {
		printf("no %s here\n", SERVER);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
