/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fake_redis.h"
#include "redis/rconn.h"
#include "until.h"

#define PATIENCE_MS 5000

static struct loop *l;
static struct resolver *rv;
static struct fake_redis *f;
static struct rconn *rc;

/* what the fake does with the next commands of the test; NULL: answers +OK */
static const char *const *script;
static unsigned ups, downs;
static struct err last_down;
static char trace[512];
static bool free_in_state, close_in_up;
static char seen[512]; /* commands that the fake got, joined */

static void
add_trace(const char *word)
{
	strncat(trace, word, sizeof(trace) - strlen(trace) - 1);
}

static bool
follow_script(struct fake_redis *fake, struct fake_peer *p,
    const struct redisReply *cmd, void *arg)
{
	(void)fake;
	(void)arg;
	for (size_t i = 0; i < cmd->elements; i++) {
		strncat(seen, cmd->element[i]->str, sizeof(seen) - strlen(seen) - 1);
		strncat(seen, i + 1 < cmd->elements ? " " : ";",
		    sizeof(seen) - strlen(seen) - 1);
	}
	/* the sign-in is not the test's */
	if (script == NULL || strcmp(cmd->element[0]->str, "PING") == 0)
		return false;
	if (*script != NULL) {
		fake_peer_say(p, *script);
		script++;
	}
	return true;
}

static void
on_state(struct rconn *conn, bool up, const struct err *err, void *arg)
{
	(void)arg;
	assert_ptr_equal(conn, rc);
	if (up) {
		assert_null(err);
		assert_true(rconn_is_up(conn));
		ups++;
		add_trace("up ");
		if (close_in_up)
			rconn_close(conn, "a change of mind");
	} else {
		assert_non_null(err);
		assert_false(rconn_is_up(conn));
		downs++;
		last_down = *err;
		add_trace("down ");
	}
	if (free_in_state) {
		rconn_free(conn);
		rc = NULL;
	}
}

static void
on_message(struct rconn *conn, const char *channel, size_t channel_len,
    const char *text, size_t len, void *arg)
{
	char line[64];

	(void)conn;
	(void)arg;
	snprintf(line, sizeof(line), "%.*s=%.*s ", (int)channel_len, channel, (int)len,
	    text);
	add_trace(line);
}

static int
open_all(void **state)
{
	(void)state;
	l = loop_create(NULL);
	rv = resolver_create(l, NULL);
	f = fake_redis_open(l, follow_script, NULL);
	rc = NULL;
	script = NULL;
	ups = downs = 0;
	trace[0] = seen[0] = '\0';
	free_in_state = close_in_up = false;
	err_clear(&last_down);
	return 0;
}

static int
close_all(void **state)
{
	(void)state;
	rconn_free(rc);
	fake_redis_close(f);
	resolver_free(rv);
	loop_free(l);
	return 0;
}

#define UNTIL(condition) UNTIL_WITHIN(l, PATIENCE_MS, condition)

static void
turn_for(int ms)
{
	int64_t end = clock_mono_ms() + ms;

	UNTIL(clock_mono_ms() >= end);
}

static struct rconn_opts
usual(void)
{
	struct rconn_opts opts = {
	    .name = "test",
	    .host = "127.0.0.1",
	    .port = fake_redis_port(f),
	    .state_cb = on_state,
	    .message_cb = on_message,
	};

	return opts;
}

static void
open_with(const struct rconn_opts *opts)
{
	rc = rconn_create(l, rv, opts, NULL);
	assert_non_null(rc);
	assert_false(rconn_is_up(rc));
}

static void
open_usual(void)
{
	struct rconn_opts opts = usual();

	open_with(&opts);
	UNTIL(rconn_is_up(rc));
}

struct outcome {
	unsigned calls;
	bool replied;
	int type;
	long long integer;
	char text[64];
	struct err err;
	const char *word; /* for the trace */
	bool free_rc;	  /* from inside the callback */
	bool close_rc;
	bool command_again;
	struct outcome *next; /* that of the command given from inside */
};

static void on_reply(struct rconn *conn, const struct redisReply *reply,
    const struct err *err, void *arg);

static int
command(struct outcome *o, const char *name, struct err *err)
{
	const char *const argv[] = {name, "key"};

	return rconn_command(rc, on_reply, o, err, 2, argv, NULL);
}

static void
on_reply(struct rconn *conn, const struct redisReply *reply, const struct err *err,
    void *arg)
{
	struct outcome *o = arg;

	assert_true((reply == NULL) != (err == NULL));
	o->calls++;
	if (o->word != NULL)
		add_trace(o->word);
	if (reply != NULL) {
		o->replied = true;
		o->type = reply->type;
		o->integer = reply->integer;
		if (reply->str != NULL)
			snprintf(o->text, sizeof(o->text), "%s", reply->str);
	} else {
		o->err = *err;
	}
	if (o->command_again && command(o->next, "AGAIN", &o->next->err) == 0)
		o->command_again = false;
	if (o->close_rc)
		rconn_close(conn, "the callback's wish");
	if (o->free_rc) {
		rconn_free(conn);
		rc = NULL;
	}
}

static void
must_send(struct outcome *o)
{
	struct err err = ERR_INIT;

	if (command(o, "GET", &err) != 0)
		fail_msg("%s", err.text);
}

/* ---- coming up ----------------------------------------------------------- */

static void
signs_in_with_all_it_has_in_one_go(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	opts.username = "shoal";
	opts.password = "se cret";
	opts.database = 7;
	open_with(&opts);
	assert_int_equal(ups, 0);
	UNTIL(rconn_is_up(rc));
	assert_string_equal(seen, "AUTH shoal se cret;SELECT 7;PING;");
	assert_int_equal(ups, 1);
	assert_int_equal(downs, 0);
	assert_int_equal(fake_peer_burst(fake_redis_peer(f)), 3);
	assert_non_null(strstr(rconn_peer(rc), "127.0.0.1:"));
}

static bool
refuse_sign_in(struct fake_redis *fake, struct fake_peer *p,
    const struct redisReply *cmd, void *arg)
{
	(void)fake;
	(void)cmd;
	fake_peer_say(p, *(const char **)arg);
	return true;
}

static void
refused_sign_in_is_told_and_tried_again(void **state)
{
	static const char *const answers[] = {
	    "-WRONGPASS no such pair\r\n",
	    "-LOADING Redis is loading\r\n",
	    "-ERR max number of clients reached\r\n",
	    "-MISCONF cannot save\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		const char *text = answers[i];
		struct fake_redis *strict = fake_redis_open(l, refuse_sign_in, &text);
		struct rconn_opts opts = usual();
		struct err err = ERR_INIT;
		struct outcome o = {.calls = 0};

		opts.port = fake_redis_port(strict);
		opts.password = "guess";
		downs = 0;
		open_with(&opts);
		UNTIL(downs == 1 && fake_redis_accepted(strict) >= 3);
		assert_int_equal(ups, 0);
		/* the second and third failure came within a second: not told */
		assert_int_equal(downs, 1);
		assert_null(strstr(last_down.text, "guess"));
		assert_int_equal(command(&o, "GET", &err), -1);
		assert_int_equal(err.code, ERR_CLOSED);
		assert_int_equal(o.calls, 0);
		rconn_free(rc);
		rc = NULL;
		fake_redis_close(strict);
	}
}

static void
comes_up_when_the_server_does(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	fake_redis_refuse(f, true);
	open_with(&opts);
	UNTIL(downs == 1);
	assert_int_equal(last_down.code, ERR_IO);
	fake_redis_refuse(f, false);
	UNTIL(rconn_is_up(rc));
}

static bool
say_nothing(struct fake_redis *fake, struct fake_peer *p, const struct redisReply *cmd,
    void *arg)
{
	(void)fake;
	(void)p;
	(void)cmd;
	(void)arg;
	return true;
}

static void
silent_server_ends_the_attempt_at_the_deadline(void **state)
{
	struct fake_redis *mute = fake_redis_open(l, say_nothing, NULL);
	struct rconn_opts opts = usual();

	(void)state;
	opts.port = fake_redis_port(mute);
	opts.connect_timeout_ms = 40;
	open_with(&opts);
	UNTIL(downs == 1);
	assert_int_equal(last_down.code, ERR_TIMEOUT);
	UNTIL(fake_redis_accepted(mute) >= 2);
	rconn_free(rc);
	rc = NULL;
	fake_redis_close(mute);
}

static void
flapping_server_is_not_stormed(void **state)
{
	struct rconn_opts opts = usual();
	int64_t begin;

	(void)state;
	open_with(&opts);
	begin = clock_mono_ms();
	/* each connection comes up and is cut at once: the pauses must grow all the
	 * same */
	while (clock_mono_ms() < begin + 1500) {
		UNTIL(rconn_is_up(rc) || clock_mono_ms() >= begin + 1500);
		if (rconn_is_up(rc)) {
			fake_peer_hang_up(fake_redis_peer(f));
			UNTIL(!rconn_is_up(rc));
		}
	}
	assert_true(fake_redis_accepted(f) >= 2);
	assert_true(fake_redis_accepted(f) < 40);
}

static void
free_at_every_stage_leaves_nothing(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		open_with(&opts);
		for (int i = 0; i < turns; i++)
			event_base_loop(loop_base(l), EVLOOP_NONBLOCK);
		rconn_free(rc);
	}
	rc = NULL;
	rconn_free(NULL);
}

/* ---- commands ------------------------------------------------------------ */

static void
replies_come_in_order_with_their_types(void **state)
{
	static const char *const answers[] = {":42\r\n", "$5\r\nhello\r\n", "*-1\r\n",
	    "-OOM command not allowed\r\n", "*1\r\n$1\r\nx\r\n", NULL};
	struct outcome o[5] = {{.word = "0 "}, {.word = "1 "}, {.word = "2 "},
	    {.word = "3 "}, {.word = "4 "}};

	(void)state;
	open_usual();
	trace[0] = '\0';
	script = answers;
	for (int i = 0; i < 5; i++)
		must_send(&o[i]);
	assert_int_equal(rconn_waiting(rc), 5);
	UNTIL(rconn_waiting(rc) == 0);
	assert_string_equal(trace, "0 1 2 3 4 ");
	assert_int_equal(o[0].integer, 42);
	assert_string_equal(o[1].text, "hello");
	assert_int_equal(o[2].type, REDIS_REPLY_NIL);
	assert_int_equal(o[3].type, REDIS_REPLY_ERROR);
	assert_int_equal(o[4].type, REDIS_REPLY_ARRAY);
	/* an ordinary error is a reply: the connection stays */
	assert_true(rconn_is_up(rc));
	assert_int_equal(downs, 0);
}

static void
reply_in_single_bytes_is_put_together(void **state)
{
	static const char *const answers[] = {
	    "*2\r\n$3\r\nabc\r\n*1\r\n:7\r\n", "$6\r\nsecond\r\n", NULL};
	struct outcome a = {.calls = 0}, b = {.calls = 0};

	(void)state;
	open_usual();
	script = answers;
	fake_peer_dribble(fake_redis_peer(f));
	must_send(&a);
	must_send(&b);
	UNTIL(b.calls == 1);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.type, REDIS_REPLY_ARRAY);
	assert_string_equal(b.text, "second");
}

static void
arguments_may_hold_any_bytes(void **state)
{
	const char *const argv[] = {"SET", "a\r\nb", ""};
	const size_t lens[] = {3, 4, 0};
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	seen[0] = '\0';
	assert_int_equal(rconn_command(rc, on_reply, &o, NULL, 3, argv, lens), 0);
	UNTIL(o.calls == 1);
	assert_string_equal(seen, "SET a\r\nb ;");
}

static void
commands_of_one_turn_travel_together(void **state)
{
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	for (int i = 0; i < 100; i++)
		must_send(&o);
	UNTIL(o.calls == 100);
	assert_int_equal(fake_peer_burst(fake_redis_peer(f)), 100);
}

static void
nobody_needs_to_listen(void **state)
{
	const char *const argv[] = {"PUBLISH", "c", "t"};

	(void)state;
	open_usual();
	assert_int_equal(rconn_command(rc, NULL, NULL, NULL, 3, argv, NULL), 0);
	UNTIL(rconn_waiting(rc) == 0);
	assert_true(rconn_is_up(rc));
}

static void
bounds_refuse_and_do_not_close(void **state)
{
	static const char *const silence[] = {NULL};
	struct rconn_opts opts = usual();
	struct outcome o = {.calls = 0};
	struct err err = ERR_INIT;
	static char big[4096];
	const char *const argv[] = {"SET", big};

	(void)state;
	opts.max_waiting = 3;
	opts.max_output_bytes = 2048;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	script = silence;
	memset(big, 'x', sizeof(big) - 1);
	assert_int_equal(rconn_command(rc, on_reply, &o, &err, 2, argv, NULL), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	for (int i = 0; i < 3; i++)
		must_send(&o);
	assert_int_equal(command(&o, "GET", &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_true(rconn_is_up(rc));
	assert_int_equal(rconn_waiting(rc), 3);
	assert_int_equal(o.calls, 0);
	rconn_free(rc);
	rc = NULL;
	assert_int_equal(o.calls, 3);
}

/* the peer reads nothing, so the kernel's buffers fill and the rest waits in ours */
static void
what_the_socket_does_not_take_is_sent_later_in_order(void **state)
{
	enum { COUNT = 64 };
	static char big[65536];
	const char *const argv[] = {"SET", big};
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	memset(big, 'y', sizeof(big) - 1);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(
		    rconn_command(rc, on_reply, &o, NULL, 2, argv, NULL), 0);
	UNTIL(o.calls > 0);
	must_send(&o);
	UNTIL(o.calls == COUNT + 1);
	assert_true(rconn_is_up(rc));
}

/* ---- losing it ----------------------------------------------------------- */

static void
late_reply_times_out_the_oldest_and_closes_the_rest(void **state)
{
	static const char *const silence[] = {NULL};
	struct rconn_opts opts = usual();
	struct outcome a = {.word = "a "}, b = {.word = "b "};
	int64_t begin;

	(void)state;
	opts.reply_timeout_ms = 60;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	trace[0] = '\0';
	script = silence;
	begin = clock_mono_ms();
	must_send(&a);
	must_send(&b);
	UNTIL(downs == 1);
	assert_true(clock_mono_ms() - begin >= 59);
	assert_string_equal(trace, "a b down ");
	assert_int_equal(a.err.code, ERR_TIMEOUT);
	assert_int_equal(b.err.code, ERR_CLOSED);
	assert_int_equal(last_down.code, ERR_TIMEOUT);
	script = NULL;
	UNTIL(rconn_is_up(rc));
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
}

static void
lateness_is_of_the_oldest(void **state)
{
	static const char *const silence[] = {NULL};
	struct rconn_opts opts = usual();
	struct outcome a = {.word = "a "}, b = {.word = "b "};

	(void)state;
	opts.reply_timeout_ms = 60000;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	script = silence;
	assert_int_equal(rconn_late_ms(rc), 0);
	must_send(&a);
	UNTIL(rconn_late_ms(rc) >= 20);
	must_send(&b);
	assert_true(rconn_late_ms(rc) >= 20);
	rconn_close(rc, "enough");
	UNTIL(downs == 1);
	assert_int_equal(rconn_late_ms(rc), 0);
}

static void
a_stall_of_ours_is_not_the_servers_fault(void **state)
{
	static char replies[2 * 6000];
	const char *const answers[] = {"", replies, NULL};
	struct rconn_opts opts = usual();
	struct outcome a = {.calls = 0}, b = {.calls = 0};
	size_t len = 0;
	int64_t end;

	(void)state;
	for (int i = 0; i < 2; i++) {
		len += (size_t)snprintf(replies + len, 10, "$5000\r\n");
		memset(replies + len, 'r', 5000);
		len += 5000;
		len += (size_t)snprintf(replies + len, 3, "\r\n");
	}
	opts.reply_timeout_ms = 30;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	script = answers;
	must_send(&a);
	must_send(&b);
	UNTIL(strcmp(seen, "PING;GET key;GET key;") == 0);
	/* the fake sends, and then nobody looks for longer than the deadline */
	event_base_loop(loop_base(l), EVLOOP_ONCE);
	end = clock_mono_ms() + 60;
	while (clock_mono_ms() < end)
		continue;
	UNTIL(b.calls == 1);
	assert_true(a.replied);
	assert_true(b.replied);
	assert_int_equal(downs, 0);
}

static void
longer_deadline_of_one_command_is_honoured(void **state)
{
	static const char *const silence[] = {NULL};
	const char *const argv[] = {"BRPOPLPUSH", "from", "to", "5"};
	struct rconn_opts opts = usual();
	struct outcome pop = {.calls = 0}, after = {.calls = 0};

	(void)state;
	opts.reply_timeout_ms = 30;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	script = silence;
	assert_int_equal(
	    rconn_command_within(rc, 5000, on_reply, &pop, NULL, 4, argv, NULL), 0);
	must_send(&after);
	turn_for(90);
	assert_true(rconn_is_up(rc));
	fake_peer_say(fake_redis_peer(f), "*-1\r\n+OK\r\n");
	UNTIL(after.calls == 1);
	assert_int_equal(pop.type, REDIS_REPLY_NIL);
	/* the next one is under its own, short deadline again */
	after.calls = 0;
	must_send(&after);
	UNTIL(downs == 1);
	assert_int_equal(after.err.code, ERR_TIMEOUT);
}

static void
closed_by_the_peer_answers_everybody_once(void **state)
{
	static const char *const silence[] = {NULL};
	struct outcome o[3] = {{.word = "0 "}, {.word = "1 "}, {.word = "2 "}};

	(void)state;
	open_usual();
	trace[0] = '\0';
	script = silence;
	for (int i = 0; i < 3; i++)
		must_send(&o[i]);
	UNTIL(strcmp(seen, "PING;GET key;GET key;GET key;") == 0);
	fake_peer_hang_up(fake_redis_peer(f));
	UNTIL(downs == 1);
	assert_string_equal(trace, "0 1 2 down ");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(o[i].calls, 1);
		assert_int_equal(o[i].err.code, ERR_CLOSED);
	}
}

static void
reset_connection_is_replaced(void **state)
{
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	fake_peer_reset(fake_redis_peer(f));
	UNTIL(downs == 1);
	UNTIL(rconn_is_up(rc));
	must_send(&o);
	UNTIL(o.replied);
}

static void
failover_reply_reaches_its_caller_and_then_closes(void **state)
{
	static const char *const words[] = {"READONLY", "LOADING", "MASTERDOWN",
	    "MISCONF", "NOREPLICAS", "UNBLOCKED", "NOAUTH", "WRONGPASS"};

	(void)state;
	open_usual();
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		char text[64];
		const char *const answers[] = {text, NULL};
		struct outcome a = {.word = "a "}, b = {.word = "b "};

		snprintf(text, sizeof(text), "-%s for a reason\r\n", words[i]);
		UNTIL(rconn_is_up(rc));
		downs = 0;
		trace[0] = '\0';
		script = answers;
		must_send(&a);
		must_send(&b);
		UNTIL(downs == 1);
		assert_string_equal(trace, "a b down ");
		assert_int_equal(a.type, REDIS_REPLY_ERROR);
		assert_true(a.replied);
		assert_int_equal(b.err.code, ERR_CLOSED);
		assert_non_null(strstr(last_down.text, words[i]));
		script = NULL;
	}
}

static void
words_that_only_begin_alike_do_not_close(void **state)
{
	static const char *const answers[] = {
	    "-READONLYX no\r\n", "-ERR READONLY\r\n", "+READONLY\r\n", "-\r\n", NULL};
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	script = answers;
	for (int i = 0; i < 4; i++)
		must_send(&o);
	UNTIL(o.calls == 4);
	turn_for(5);
	assert_true(rconn_is_up(rc));
}

static void
bytes_that_are_no_reply_close(void **state)
{
	static const char *const garbage[] = {
	    "HTTP/1.1 400 Bad Request\r\n\r\n", "$-7\r\n", "*99999999999999999999\r\n",
	    "*2147483647\r\n",
	    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
	    "$3\r\nabcde\r\n", "+OK\r\n+OK\r\n", /* one more than was asked for */
	};

	(void)state;
	open_usual();
	for (size_t i = 0; i < COUNT_OF(garbage); i++) {
		const char *const answers[] = {garbage[i], NULL};
		struct outcome o = {.calls = 0};

		UNTIL(rconn_is_up(rc));
		downs = 0;
		script = answers;
		must_send(&o);
		UNTIL(downs == 1);
		assert_int_equal(o.calls, 1);
		script = NULL;
	}
}

static void
owner_may_close_and_it_comes_back(void **state)
{
	static const char *const silence[] = {NULL};
	struct outcome o = {.word = "o "};

	(void)state;
	open_usual();
	trace[0] = '\0';
	script = silence;
	must_send(&o);
	rconn_close(rc, "stale by our own knowledge");
	/* never inside the call */
	assert_int_equal(o.calls, 0);
	assert_false(rconn_is_up(rc));
	rconn_close(rc, "again");
	UNTIL(downs == 1);
	assert_string_equal(trace, "o down ");
	assert_non_null(strstr(o.err.text, "stale by our own knowledge"));
	script = NULL;
	UNTIL(rconn_is_up(rc));
	assert_int_equal(o.calls, 1);
	assert_int_equal(downs, 1);
}

/* ---- callbacks that do things -------------------------------------------- */

static void
reply_callback_may_command_close_or_free(void **state)
{
	struct outcome a = {.word = "a "}, b = {.word = "b "}, c = {.word = "c "};

	(void)state;
	open_usual();
	a.command_again = true;
	a.next = &c;
	must_send(&a);
	UNTIL(c.calls == 1);
	assert_true(c.replied);

	trace[0] = '\0';
	a.close_rc = true;
	must_send(&a);
	must_send(&b);
	UNTIL(downs == 1);
	assert_string_equal(trace, "a b down ");
	assert_true(a.replied);
	assert_int_equal(b.err.code, ERR_CLOSED);
	UNTIL(rconn_is_up(rc));

	trace[0] = '\0';
	a.close_rc = false;
	a.free_rc = true;
	must_send(&a);
	must_send(&b);
	must_send(&b);
	UNTIL(rc == NULL);
	assert_string_equal(trace, "a b b ");
}

static void
reply_callback_may_close_and_free_at_once(void **state)
{
	struct outcome a = {.close_rc = true, .free_rc = true}, b = {.calls = 0};

	(void)state;
	open_usual();
	must_send(&a);
	must_send(&b);
	UNTIL(rc == NULL);
	assert_int_equal(b.calls, 1);
	turn_for(5);
}

static void
lost_callback_may_command_close_or_free(void **state)
{
	static const char *const silence[] = {NULL};
	struct outcome a = {.word = "a "}, b = {.word = "b "}, c = {.word = "c "};

	(void)state;
	open_usual();
	script = silence;
	trace[0] = '\0';
	a.command_again = true;
	a.next = &c;
	a.close_rc = true;
	must_send(&a);
	must_send(&b);
	fake_peer_hang_up(fake_redis_peer(f));
	UNTIL(downs == 1);
	/* nothing is queued for later */
	assert_string_equal(trace, "a b down ");
	assert_int_equal(c.calls, 0);
	assert_int_equal(c.err.code, ERR_CLOSED);
	UNTIL(rconn_is_up(rc));

	trace[0] = '\0';
	a.command_again = false;
	a.close_rc = false;
	a.free_rc = true;
	must_send(&a);
	must_send(&b);
	fake_peer_hang_up(fake_redis_peer(f));
	UNTIL(rc == NULL);
	assert_string_equal(trace, "a b ");
	turn_for(5);
}

static void
free_answers_the_waiting_and_may_be_called_from_there(void **state)
{
	static const char *const silence[] = {NULL};
	struct outcome a = {.word = "a ", .free_rc = true}, b = {.word = "b "};

	(void)state;
	open_usual();
	script = silence;
	trace[0] = '\0';
	must_send(&a);
	must_send(&b);
	rconn_free(rc);
	rc = NULL;
	assert_string_equal(trace, "a b ");
	assert_int_equal(a.err.code, ERR_CLOSED);
	assert_int_equal(b.err.code, ERR_CLOSED);
	turn_for(5);
	assert_int_equal(downs, 0);
}

static void
free_between_the_loss_and_its_telling_answers_all(void **state)
{
	static const char *const silence[] = {NULL};
	struct outcome a = {.word = "a "};

	(void)state;
	open_usual();
	script = silence;
	trace[0] = '\0';
	must_send(&a);
	rconn_close(rc, "first this");
	rconn_free(rc);
	rc = NULL;
	assert_string_equal(trace, "a ");
	assert_non_null(strstr(a.err.text, "first this"));
	turn_for(5);
	assert_int_equal(downs, 0);
}

static void
state_callback_may_free_or_close(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	free_in_state = true;
	open_with(&opts);
	UNTIL(rc == NULL);
	assert_int_equal(ups, 1);

	free_in_state = false;
	open_with(&opts);
	UNTIL(ups == 2);
	free_in_state = true;
	fake_peer_hang_up(fake_redis_peer(f));
	UNTIL(rc == NULL);
	assert_int_equal(downs, 1);

	free_in_state = false;
	close_in_up = true;
	open_with(&opts);
	UNTIL(ups >= 4);
	assert_true(downs >= 2);
}

/* ---- pings and subscriptions --------------------------------------------- */

static void
idle_connection_is_pinged(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	opts.ping_ms = 20;
	opts.reply_timeout_ms = 40;
	open_with(&opts);
	UNTIL(strcmp(seen, "PING;PING;PING;") == 0);
	assert_int_equal(downs, 0);
}

static bool
mute_after_first_ping(struct fake_redis *fake, struct fake_peer *p,
    const struct redisReply *cmd, void *arg)
{
	unsigned *pings = arg;

	(void)fake;
	(void)p;
	(void)cmd;
	return (*pings)++ > 0;
}

static void
unanswered_ping_closes(void **state)
{
	unsigned pings = 0;
	struct fake_redis *mute = fake_redis_open(l, mute_after_first_ping, &pings);
	struct rconn_opts opts = usual();

	(void)state;
	opts.port = fake_redis_port(mute);
	opts.ping_ms = 20;
	opts.reply_timeout_ms = 30;
	open_with(&opts);
	UNTIL(downs == 1);
	assert_int_equal(ups, 1);
	assert_int_equal(last_down.code, ERR_TIMEOUT);
	rconn_free(rc);
	rc = NULL;
	fake_redis_close(mute);
}

static void
subscriptions_come_back_with_the_connection(void **state)
{
	struct rconn_opts opts = usual();
	struct outcome o = {.calls = 0};
	struct err err = ERR_INIT;

	(void)state;
	opts.ping_ms = 30;
	open_with(&opts);
	assert_int_equal(rconn_subscribe(rc, "ctl", NULL), 0);
	UNTIL(rconn_is_up(rc));
	assert_string_equal(seen, "PING;SUBSCRIBE ctl;");
	assert_int_equal(rconn_subscribe(rc, "done", NULL), 0);
	assert_int_equal(rconn_subscribe(rc, "done", NULL), 0);
	UNTIL(rconn_waiting(rc) == 0);
	assert_int_equal(command(&o, "GET", &err), -1);
	assert_int_equal(err.code, ERR_CONFLICT);

	trace[0] = '\0';
	fake_peer_say(fake_redis_peer(f),
	    "*3\r\n$7\r\nmessage\r\n$3\r\nctl\r\n$5\r\nhello\r\n"
	    "*3\r\n$7\r\nmessage\r\n$4\r\ndone\r\n$0\r\n\r\n");
	UNTIL(strcmp(trace, "ctl=hello done= ") == 0);

	seen[0] = '\0';
	fake_peer_hang_up(fake_redis_peer(f));
	UNTIL(downs == 1);
	UNTIL(rconn_is_up(rc));
	assert_string_equal(seen, "PING;SUBSCRIBE ctl;SUBSCRIBE done;");
	/* pings go on between messages */
	UNTIL(strstr(seen, "done;PING;PING;") != NULL);
	assert_int_equal(downs, 1);
}

/* ---- memory -------------------------------------------------------------- */

static void
creation_survives_every_failed_allocation(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	opts.username = "u";
	opts.password = "p";
	for (unsigned n = 1;; n++) {
		struct err err = ERR_INIT;

		mem_fail_nth(n);
		rc = rconn_create(l, rv, &opts, &err);
		if (rc != NULL)
			break;
		assert_int_equal(err.code, ERR_NOMEM);
		assert_true(n < 100);
	}
	mem_fail_nth(0);
	UNTIL(rconn_is_up(rc));
}

static void
connecting_survives_every_failed_allocation(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 12; n++) {
		struct rconn_opts opts = usual();

		opts.password = "p";
		open_with(&opts);
		mem_fail_nth(n);
		/* UNTIL would take the failure itself; rc's own timers keep this
		 * turning */
		while (!rconn_is_up(rc))
			event_base_loop(loop_base(l), EVLOOP_ONCE);
		mem_fail_nth(0);
		rconn_free(rc);
	}
	rc = NULL;
}

/* ---- another server, another password ------------------------------------- */

static bool
tell_role(struct fake_redis *fake, struct fake_peer *p, const struct redisReply *cmd,
    void *arg)
{
	(void)fake;
	if (strcmp(cmd->element[0]->str, "ROLE") != 0)
		return false;
	fake_peer_say(p, *(const char **)arg);
	return true;
}

static void
a_replica_is_refused_and_who_will_not_say_is_taken(void **state)
{
	static const struct {
		const char *answer;
		bool taken;
	} cases[] = {
	    {"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", true},
	    {"-NOPERM this user has no permissions to run the 'role' command\r\n",
		true},
	    {"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *text = cases[i].answer;
		struct fake_redis *server = fake_redis_open(l, tell_role, &text);
		struct rconn_opts opts = usual();

		opts.port = fake_redis_port(server);
		opts.primary = true;
		ups = downs = 0;
		open_with(&opts);
		UNTIL(ups + downs > 0);
		assert_int_equal(ups, cases[i].taken ? 1 : 0);
		if (!cases[i].taken)
			assert_non_null(strstr(last_down.text, "is a replica"));
		rconn_free(rc);
		rc = NULL;
		fake_redis_close(server);
	}
}

static void
a_server_that_is_not_known_yet_is_waited_for(void **state)
{
	struct rconn_opts opts = usual();

	(void)state;
	opts.host = NULL;
	open_with(&opts);
	turn_for(100);
	assert_int_equal(fake_redis_accepted(f), 0);
	assert_int_equal(downs, 0);
	assert_int_equal(
	    rconn_set_server(rc, "127.0.0.1", fake_redis_port(f), NULL), 0);
	UNTIL(rconn_is_up(rc));
}

static void
another_server_is_gone_to_and_the_same_is_stayed_at(void **state)
{
	struct fake_redis *other = fake_redis_open(l, follow_script, NULL);
	static const char *const nothing[] = {NULL};
	struct outcome o = {.calls = 0};

	(void)state;
	open_usual();
	assert_int_equal(
	    rconn_set_server(rc, "127.0.0.1", fake_redis_port(f), NULL), 0);
	assert_true(rconn_is_up(rc));
	script = nothing;
	must_send(&o);
	assert_int_equal(
	    rconn_set_server(rc, "127.0.0.1", fake_redis_port(other), NULL), 0);
	assert_false(rconn_is_up(rc));
	assert_int_equal(o.calls, 0); /* never from inside the call */
	UNTIL(rconn_is_up(rc));
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.err.code, ERR_CLOSED);
	assert_int_equal(fake_redis_accepted(other), 1);
	assert_int_equal(downs, 1);
	rconn_free(rc);
	rc = NULL;
	fake_redis_close(other);
}

static void
a_password_is_read_again_at_each_connect(void **state)
{
	struct rconn_opts opts = usual();
	char path[] = "/tmp/test_rconn.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && write(fd, "one\n", 4) == 4);
	opts.password = "as it was at start";
	opts.password_file = path;
	open_with(&opts);
	UNTIL(rconn_is_up(rc));
	assert_true(pwrite(fd, "two\n", 4, 0) == 4);
	rconn_close(rc, "a test");
	UNTIL(rconn_is_up(rc));
	/* gone: the last one stays */
	unlink(path);
	rconn_close(rc, "a test");
	UNTIL(rconn_is_up(rc));
	close(fd);
	assert_string_equal(seen, "AUTH one;PING;AUTH two;PING;AUTH two;PING;");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	    CASE(signs_in_with_all_it_has_in_one_go),
	    CASE(refused_sign_in_is_told_and_tried_again),
	    CASE(comes_up_when_the_server_does),
	    CASE(silent_server_ends_the_attempt_at_the_deadline),
	    CASE(flapping_server_is_not_stormed),
	    CASE(free_at_every_stage_leaves_nothing),
	    CASE(replies_come_in_order_with_their_types),
	    CASE(reply_in_single_bytes_is_put_together),
	    CASE(arguments_may_hold_any_bytes),
	    CASE(commands_of_one_turn_travel_together),
	    CASE(nobody_needs_to_listen),
	    CASE(bounds_refuse_and_do_not_close),
	    CASE(what_the_socket_does_not_take_is_sent_later_in_order),
	    CASE(late_reply_times_out_the_oldest_and_closes_the_rest),
	    CASE(lateness_is_of_the_oldest),
	    CASE(a_stall_of_ours_is_not_the_servers_fault),
	    CASE(longer_deadline_of_one_command_is_honoured),
	    CASE(closed_by_the_peer_answers_everybody_once),
	    CASE(reset_connection_is_replaced),
	    CASE(failover_reply_reaches_its_caller_and_then_closes),
	    CASE(words_that_only_begin_alike_do_not_close),
	    CASE(bytes_that_are_no_reply_close),
	    CASE(owner_may_close_and_it_comes_back),
	    CASE(reply_callback_may_command_close_or_free),
	    CASE(reply_callback_may_close_and_free_at_once),
	    CASE(lost_callback_may_command_close_or_free),
	    CASE(free_answers_the_waiting_and_may_be_called_from_there),
	    CASE(free_between_the_loss_and_its_telling_answers_all),
	    CASE(state_callback_may_free_or_close),
	    CASE(idle_connection_is_pinged),
	    CASE(unanswered_ping_closes),
	    CASE(subscriptions_come_back_with_the_connection),
	    CASE(creation_survives_every_failed_allocation),
	    CASE(connecting_survives_every_failed_allocation),
	    CASE(a_replica_is_refused_and_who_will_not_say_is_taken),
	    CASE(a_server_that_is_not_known_yet_is_waited_for),
	    CASE(another_server_is_gone_to_and_the_same_is_stayed_at),
	    CASE(a_password_is_read_again_at_each_connect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
