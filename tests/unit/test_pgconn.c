/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pgconn.c - the promises of pgconn.h, kept against a real server.
 *
 * `test_pgconn bench` prints how many one-row units a second go through instead.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "pg/pgconn.h"
#include "pg/pgpool.h"
#include "pgserver.h"

static struct loop *loop;
static struct resolver *resolver;
static struct loop_timer *guard;
static bool guard_fired;

/* runs the loop until the condition holds, which some callback has to bring about */
#define RUN_UNTIL(condition)                                                           \
	do {                                                                           \
		struct err run_err;                                                    \
		guard_fired = false;                                                   \
		loop_timer_start_ms(guard, 8000);                                      \
		while (!(condition) && !guard_fired)                                   \
			assert_int_equal(loop_run(loop, &run_err), 0);                 \
		loop_timer_stop(guard);                                                \
		if (guard_fired)                                                       \
			fail_msg("waited too long for: %s", #condition);               \
	} while (0)

static void
guard_cb(void *arg)
{
	(void)arg;
	guard_fired = true;
	loop_stop(loop);
}

/* ---- what a connection told ---------------------------------------------- */

struct peer {
	struct pgconn *pc;
	int ups, downs;
	struct err why;
	bool free_when_down, free_when_up;
};

static void
on_state(struct pgconn *pc, bool up, const struct err *err, void *arg)
{
	struct peer *p = arg;

	assert_true(up == (err == NULL));
	if (up) {
		p->ups++;
		assert_true(pgconn_is_up(pc));
	} else {
		p->downs++;
		p->why = *err;
		assert_false(pgconn_is_up(pc));
		assert_int_equal(pgconn_waiting(pc), 0);
	}
	if ((up && p->free_when_up) || (!up && p->free_when_down)) {
		pgconn_free(pc);
		p->pc = NULL;
	}
	loop_stop(loop);
}

static struct pgconn_opts
opts_of(struct peer *p)
{
	struct pgconn_opts opts = {
	    .name = "test",
	    .url = pgserver_url(),
	    .prepared = true,
	    .state_cb = on_state,
	    .arg = p,
	};

	memset(p, 0, sizeof(*p));
	return opts;
}

static void
peer_open(struct peer *p, const struct pgconn_opts *opts)
{
	struct err err = ERR_INIT;

	p->pc = pgconn_create(loop, resolver, opts, &err);
	if (p->pc == NULL)
		fail_msg("%s", err.text);
	assert_false(pgconn_is_up(p->pc));
}

static void
peer_up(struct peer *p)
{
	struct pgconn_opts opts = opts_of(p);

	peer_open(p, &opts);
	RUN_UNTIL(p->ups == 1);
}

/* ---- what a unit was answered --------------------------------------------- */

struct answer {
	int calls;
	int order; /* among all answers */
	bool ok;
	int64_t value; /* first column of the first row */
	int64_t affected;
	struct pgerr err;
};

static int answers;

static void
on_done(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct answer *a = arg;

	assert_true((rows == NULL) != (err == NULL));
	a->calls++;
	a->order = ++answers;
	a->ok = err == NULL;
	if (err != NULL) {
		a->err = *err;
	} else {
		a->affected = pgrows_affected(rows);
		if (pgrows_count(rows) > 0)
			a->value = pgrows_int(rows, 0, 0);
	}
	loop_stop(loop);
}

static void
ask(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    struct answer *a)
{
	struct err err = ERR_INIT;

	memset(a, 0, sizeof(*a));
	if (pgconn_exec(pc, st, p, on_done, a, &err) != 0)
		fail_msg("%s: %s", st->name, err.text);
}

static void
ask_int(struct pgconn *pc, const struct pgstmt *st, int32_t n, struct answer *a)
{
	struct pgparam p;

	pgparam_init(&p);
	pgparam_int4(&p, n);
	ask(pc, st, &p, a);
	pgparam_fini(&p);
}

/* sends, waits, and expects success */
static int64_t
run(struct pgconn *pc, const struct pgstmt *st)
{
	struct answer a;

	ask(pc, st, NULL, &a);
	RUN_UNTIL(a.calls > 0);
	if (!a.ok)
		fail_msg("%s: %s %s", st->sql, a.err.sqlstate, a.err.text);
	return a.value;
}

#define STMT(name, sql) static const struct pgstmt name = {#name, sql}

STMT(echo, "SELECT $1::int4");
STMT(divide, "SELECT 10 / $1::int4");
STMT(one, "SELECT 1");
STMT(pid_of, "SELECT pg_backend_pid()");
STMT(nap, "SELECT pg_sleep($1::int4)::text = ''");
STMT(terminate, "SELECT pg_terminate_backend($1::int4)::int4");

/* ---- order and isolation --------------------------------------------------- */

static void
units_in_order(bool prepared)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a[32];
	int first;

	opts.prepared = prepared;
	peer_open(&p, &opts);
	RUN_UNTIL(p.ups == 1);
	assert_true(pgconn_server_version(p.pc) >= 90400);
	first = answers;
	for (int i = 0; i < 32; i++)
		ask_int(p.pc, &echo, i * 3, &a[i]);
	assert_int_equal(pgconn_waiting(p.pc), 32);
	assert_int_equal(answers, first); /* never during the call */
	RUN_UNTIL(a[31].calls > 0);
	for (int i = 0; i < 32; i++) {
		assert_true(a[i].ok);
		assert_int_equal(a[i].calls, 1);
		assert_int_equal(a[i].order, first + 1 + i);
		assert_int_equal(a[i].value, i * 3);
	}
	assert_int_equal(pgconn_waiting(p.pc), 0);

	/* an error in the middle, at the head, at the end */
	for (int i = 0; i < 8; i++)
		ask_int(p.pc, &divide, i % 3 == 0 ? 0 : i, &a[i]);
	RUN_UNTIL(a[7].calls > 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(a[i].calls, 1);
		assert_int_equal(a[i].ok, i % 3 != 0);
		if (a[i].ok) {
			assert_int_equal(a[i].value, 10 / i);
		} else {
			assert_int_equal(a[i].err.class, PGERR_DATA);
			assert_string_equal(a[i].err.sqlstate, "22012");
			assert_string_equal(a[i].err.text, "division by zero");
		}
	}
	assert_int_equal(p.downs, 0);
	pgconn_free(p.pc);
}

static void
units_are_answered_in_order(void **state)
{
	(void)state;
	units_in_order(false);
}

static void
prepared_units_are_answered_in_order(void **state)
{
	(void)state;
	units_in_order(true);
}

static void
statement_is_prepared_once(void **state)
{
	STMT(count_prepared, "SELECT count(*)::int4 FROM pg_prepared_statements "
			     "WHERE name = 'echo'");
	struct peer p;
	struct answer a[3];

	(void)state;
	peer_up(&p);
	for (int i = 0; i < 3; i++)
		ask_int(p.pc, &echo, i, &a[i]);
	assert_int_equal(run(p.pc, &count_prepared), 1);
	pgconn_free(p.pc);
}

static void
failed_prepare_is_not_remembered(void **state)
{
	STMT(read_late, "SELECT n FROM late");
	STMT(make_late, "CREATE TABLE late AS SELECT 5 AS n");
	STMT(drop_late, "DROP TABLE late");
	STMT(count_late, "SELECT count(*)::int4 FROM pg_prepared_statements "
			 "WHERE name = 'read_late'");
	struct peer p;
	struct answer a, follower;

	(void)state;
	peer_up(&p);
	ask(p.pc, &read_late, NULL, &a);
	ask(p.pc, &read_late, NULL, &follower);
	RUN_UNTIL(follower.calls > 0);
	assert_int_equal(a.err.class, PGERR_SCHEMA);
	assert_string_equal(a.err.sqlstate, "42P01");
	/* it was sent as prepared already: nothing happened, and asking again tells the
	 * truth */
	assert_int_equal(follower.err.class, PGERR_RETRY);
	run(p.pc, &make_late);
	assert_int_equal(run(p.pc, &read_late), 5);
	assert_int_equal(run(p.pc, &count_late), 1); /* and it is prepared now */
	run(p.pc, &drop_late);
	pgconn_free(p.pc);
}

static void
forgotten_statements_are_sent_again(void **state)
{
	STMT(deallocate, "DEALLOCATE ALL");
	struct peer p;
	struct answer a, b;

	(void)state;
	peer_up(&p);
	run(p.pc, &one);
	run(p.pc, &deallocate);
	ask(p.pc, &one, NULL, &a);
	ask(p.pc, &one, NULL, &b);
	RUN_UNTIL(b.calls > 0);
	assert_int_equal(a.err.class, PGERR_RETRY);
	assert_string_equal(a.err.sqlstate, "26000");
	assert_int_equal(b.err.class, PGERR_RETRY);
	assert_int_equal(run(p.pc, &one), 1);
	assert_int_equal(p.downs, 0);
	pgconn_free(p.pc);
}

static void
taken_name_does_without(void **state)
{
	STMT(squat, "PREPARE taken AS SELECT 2");
	STMT(taken, "SELECT 1");
	struct peer p;
	struct answer a;

	(void)state;
	peer_up(&p);
	run(p.pc, &squat);
	ask(p.pc, &taken, NULL, &a);
	RUN_UNTIL(a.calls > 0);
	assert_int_equal(a.err.class, PGERR_RETRY);
	assert_string_equal(a.err.sqlstate, "42P05");
	assert_int_equal(run(p.pc, &taken), 1);
	pgconn_free(p.pc);
}

static void
plan_that_a_migration_broke_is_made_anew(void **state)
{
	STMT(make_plan, "CREATE TABLE plan AS SELECT 5::int4 AS n");
	STMT(alter_plan, "ALTER TABLE plan ALTER n TYPE int8");
	STMT(drop_plan, "DROP TABLE plan");
	STMT(read_plan, "SELECT n FROM plan");
	struct peer p;
	struct answer a, b;

	(void)state;
	peer_up(&p);
	run(p.pc, &make_plan);
	assert_int_equal(run(p.pc, &read_plan), 5);
	run(p.pc, &alter_plan);
	ask(p.pc, &read_plan, NULL, &a);
	ask(p.pc, &read_plan, NULL, &b);
	RUN_UNTIL(b.calls > 0);
	assert_int_equal(a.err.class, PGERR_RETRY);
	assert_int_equal(b.err.class, PGERR_RETRY);
	assert_int_equal(run(p.pc, &read_plan), 5);
	run(p.pc, &drop_plan);
	pgconn_free(p.pc);
}

/* ---- commits --------------------------------------------------------------- */

static void
error_at_the_commit_is_an_error(void **state)
{
	STMT(make,
	    "CREATE TABLE late_key (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)");
	STMT(put, "INSERT INTO late_key VALUES ($1) RETURNING n");
	STMT(count, "SELECT count(*)::int4 FROM late_key");
	STMT(drop, "DROP TABLE late_key");
	struct peer p;
	struct answer a, b, c;

	(void)state;
	peer_up(&p);
	run(p.pc, &make);
	ask_int(p.pc, &put, 1, &a);
	ask_int(p.pc, &put, 1, &b); /* its row comes back, then its commit fails */
	ask_int(p.pc, &put, 2, &c);
	RUN_UNTIL(c.calls > 0);
	assert_true(a.ok);
	assert_false(b.ok);
	assert_int_equal(b.err.class, PGERR_DATA);
	assert_string_equal(b.err.sqlstate, "23505");
	assert_true(c.ok);
	assert_int_equal(c.value, 2);
	assert_int_equal(c.affected, 1);
	assert_int_equal(run(p.pc, &count), 2);
	run(p.pc, &drop);
	assert_int_equal(p.downs, 0);
	pgconn_free(p.pc);
}

static void
open_transaction_closes_the_connection(void **state)
{
	STMT(begin, "BEGIN");
	struct peer p;

	(void)state;
	peer_up(&p);
	run(p.pc, &begin);
	RUN_UNTIL(p.downs == 1);
	assert_int_equal(p.why.code, ERR_BUG);
	RUN_UNTIL(p.ups == 2);
	pgconn_free(p.pc);
}

/* ---- classes --------------------------------------------------------------- */

static void
errors_have_their_class(void **state)
{
	static const struct {
		const char *sql;
		const char *sqlstate;
		enum pgerr_class class;
	} cases[] = {
	    {"SELECT 1/0", "22012", PGERR_DATA},
	    {"SELECT convert_from('\\xff', 'UTF8')", "22021", PGERR_DATA},
	    {"SELECT '{\"a\":\"\\u0000\"}'::jsonb", "22P05", PGERR_DATA},
	    {"SELECT * FROM nowhere", "42P01", PGERR_SCHEMA},
	    {"SELECT nothing()", "42883", PGERR_SCHEMA},
	    {"SELEC", "42601", PGERR_SCHEMA},
	    {"DO $$BEGIN RAISE SQLSTATE '40001'; END$$", "40001", PGERR_RETRY},
	    {"DO $$BEGIN RAISE SQLSTATE '40P01'; END$$", "40P01", PGERR_RETRY},
	    {"DO $$BEGIN RAISE SQLSTATE '53100'; END$$", "53100", PGERR_BUSY},
	    {"DO $$BEGIN RAISE SQLSTATE '55P03'; END$$", "55P03", PGERR_BUSY},
	    {"DO $$BEGIN RAISE SQLSTATE '57014'; END$$", "57014", PGERR_BUSY},
	    {"DO $$BEGIN RAISE SQLSTATE '23514'; END$$", "23514", PGERR_DATA},
	    {"DO $$BEGIN RAISE 'no'; END$$", "P0001", PGERR_BUG},
	    {"", "", PGERR_NONE}, /* not sent */
	};
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a;

	(void)state;
	opts.prepared = false;
	peer_open(&p, &opts);
	RUN_UNTIL(p.ups == 1);
	for (size_t i = 0; cases[i].class != PGERR_NONE; i++) {
		struct pgstmt st = {"case", cases[i].sql};

		ask(p.pc, &st, NULL, &a);
		RUN_UNTIL(a.calls > 0);
		if (a.ok || a.err.class != cases[i].class)
			fail_msg("%s: %s", cases[i].sql, pgerr_class_name(a.err.class));
		assert_string_equal(a.err.sqlstate, cases[i].sqlstate);
	}
	assert_int_equal(p.downs, 0);
	pgconn_free(p.pc);
}

static void
copy_closes_the_connection(void **state)
{
	STMT(copy_out, "COPY (SELECT 1) TO STDOUT");
	struct peer p;
	struct answer a, b;

	(void)state;
	peer_up(&p);
	ask(p.pc, &copy_out, NULL, &a);
	ask(p.pc, &one, NULL, &b);
	RUN_UNTIL(b.calls > 0);
	assert_int_equal(a.err.class, PGERR_LOST);
	assert_int_equal(b.err.class, PGERR_LOST);
	RUN_UNTIL(p.ups == 2);
	pgconn_free(p.pc);
}

/* ---- loss and return ---------------------------------------------------------- */

static void
killed_backend_loses_each_unit_once(void **state)
{
	struct peer p, killer;
	struct answer a[8], k;
	int first;

	(void)state;
	peer_up(&p);
	peer_up(&killer);
	k.value = run(p.pc, &pid_of);
	assert_int_equal(run(p.pc, &one), 1);
	first = answers;
	ask_int(p.pc, &nap, 30, &a[0]);
	for (int i = 1; i < 8; i++)
		ask_int(p.pc, &echo, i, &a[i]);
	ask_int(killer.pc, &terminate, (int32_t)k.value, &k);
	RUN_UNTIL(p.downs == 1);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(a[i].calls, 1);
		assert_false(a[i].ok);
		assert_int_equal(a[i].err.class, PGERR_LOST);
		assert_string_equal(a[i].err.sqlstate, "");
		if (i > 0)
			assert_true(a[i].order > a[i - 1].order);
	}
	assert_true(a[0].order > first);
	assert_non_null(strstr(p.why.text, "administrator command"));
	RUN_UNTIL(p.ups == 2);
	assert_int_equal(run(p.pc, &one), 1);
	pgconn_free(p.pc);
	pgconn_free(killer.pc);
}

static void
idle_connection_notices_and_says_why(void **state)
{
	struct peer p, killer;
	struct answer k;

	(void)state;
	peer_up(&p);
	peer_up(&killer);
	ask_int(killer.pc, &terminate, (int32_t)run(p.pc, &pid_of), &k);
	RUN_UNTIL(p.downs == 1);
	assert_non_null(strstr(p.why.text, "administrator command"));
	RUN_UNTIL(p.ups == 2);
	pgconn_free(p.pc);
	pgconn_free(killer.pc);
}

static void
server_that_returns_is_found(void **state)
{
	struct peer p;
	struct err err;

	(void)state;
	peer_up(&p);
	pgserver_kill();
	RUN_UNTIL(p.downs == 1);
	assert_int_equal(pgconn_exec(p.pc, &one, NULL, on_done, NULL, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	/* failed attempts are told, too, but not each */
	RUN_UNTIL(p.downs == 2);
	pgserver_start();
	RUN_UNTIL(p.ups == 2);
	assert_int_equal(run(p.pc, &one), 1);
	assert_true(p.downs <= 4);
	pgconn_free(p.pc);
}

static void
statement_deadline_closes(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a, b, c;
	int64_t start_ms;

	(void)state;
	opts.statement_timeout_ms = 150;
	peer_open(&p, &opts);
	RUN_UNTIL(p.ups == 1);
	ask_int(p.pc, &echo, 1, &a);
	ask_int(p.pc, &nap, 30, &b);
	ask_int(p.pc, &echo, 1, &c);
	start_ms = clock_mono_ms();
	RUN_UNTIL(p.downs == 1);
	assert_true(clock_mono_ms() - start_ms >= 140);
	assert_int_equal(p.why.code, ERR_TIMEOUT);
	assert_true(a.ok);
	assert_int_equal(b.err.class, PGERR_LOST);
	assert_int_equal(c.err.class, PGERR_LOST);
	assert_non_null(strstr(b.err.text, "nap"));
	RUN_UNTIL(p.ups == 2);
	pgconn_free(p.pc);
}

static void
read_only_server_is_refused(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	char url[256];

	(void)state;
	snprintf(url, sizeof(url), "%s options='-c default_transaction_read_only=on'",
	    pgserver_url());
	opts.url = url;
	peer_open(&p, &opts);
	RUN_UNTIL(p.downs == 2);
	assert_int_equal(p.ups, 0);
	assert_non_null(strstr(p.why.text, "read-only"));
	pgconn_free(p.pc);
}

static void
server_that_turns_read_only_is_left(void **state)
{
	STMT(turn, "SELECT (set_config('default_transaction_read_only', 'on', false) = "
		   "'on')::int4");
	STMT(write_it, "CREATE TABLE never (n int4)");
	struct peer p;
	struct answer a, b;

	(void)state;
	peer_up(&p);
	run(p.pc, &turn);
	ask(p.pc, &write_it, NULL, &a);
	ask_int(p.pc, &nap, 30, &b);
	RUN_UNTIL(p.downs == 1);
	assert_int_equal(a.err.class, PGERR_RECONNECT);
	assert_string_equal(a.err.sqlstate, "25006");
	/* so that its sisters can be left as well */
	assert_int_equal(p.why.code, ERR_CONFLICT);
	assert_int_equal(b.err.class, PGERR_LOST);
	RUN_UNTIL(p.ups == 2);
	pgconn_free(p.pc);
}

static void
second_host_is_reached(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	char url[256];

	(void)state;
	snprintf(url, sizeof(url), "host=/nonexistent,%s user=shoal dbname=postgres",
	    pgserver_dir());
	opts.url = url;
	peer_open(&p, &opts);
	RUN_UNTIL(p.ups == 1);
	assert_int_equal(p.downs, 0);
	pgconn_free(p.pc);
}

/* a listener that never answers; returns its port */
static int
silent_listener(int *fd)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*fd >= 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(*fd, 8), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&in, &len), 0);
	return ntohs(in.sin_port);
}

static void
silent_host_does_not_hide_the_next(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	char url[256];
	int fd;

	(void)state;
	snprintf(url, sizeof(url),
	    "host=localhost,%s port=%d,5432 user=shoal dbname=postgres", pgserver_dir(),
	    silent_listener(&fd));
	opts.url = url;
	opts.connect_timeout_ms = 200;
	peer_open(&p, &opts);
	RUN_UNTIL(p.downs == 1);
	assert_int_equal(p.why.code, ERR_TIMEOUT);
	RUN_UNTIL(p.ups == 1);
	close(fd);
	pgconn_free(p.pc);
}

static void
bad_urls_are_refused(void **state)
{
	static const char *const urls[] = {
	    "postgresql://u:secret@h:port/",
	    "host=a password=secret nonsense=1",
	    "service=elsewhere",
	    "host=a,b port=1,2,3",
	};
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		struct err err = ERR_INIT;

		opts.url = urls[i];
		if (strncmp(urls[i], "postgresql", 10) == 0)
			continue; /* a port that is no number is seen when connecting */
		assert_null(pgconn_create(loop, resolver, &opts, &err));
		assert_int_equal(err.code, ERR_INVALID);
		assert_null(strstr(err.text, "secret"));
	}
}

/* ---- a storm of kills ---------------------------------------------------------- */

#define STORM_UNITS 4000
/* few: each is followed by a longer pause, as it should */
#define STORM_KILLS 5

static struct {
	struct pgconn *pc, *killer;
	struct loop_timer *timer;
	int sent, ups, kills, lost, ok, odd;
	int32_t pid;
	unsigned char calls[STORM_UNITS];
	bool acked[STORM_UNITS];
} storm;

STMT(storm_put, "INSERT INTO storm VALUES ($1)");

static void storm_send(void);

static void
storm_done(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	size_t n = (size_t)(uintptr_t)arg;

	storm.calls[n]++;
	if (rows != NULL) {
		storm.ok++;
		storm.acked[n] = true;
	} else if (err->class == PGERR_LOST) {
		storm.lost++;
	} else {
		storm.odd++;
	}
	storm_send();
}

static void
storm_send(void)
{
	struct pgparam p;
	struct err err;

	if (storm.kills == STORM_KILLS || storm.sent == STORM_UNITS ||
	    !pgconn_is_up(storm.pc))
		return;
	pgparam_init(&p);
	pgparam_int4(&p, storm.sent);
	if (pgconn_exec(storm.pc, &storm_put, &p, storm_done,
		(void *)(uintptr_t)storm.sent, &err) == 0)
		storm.sent++;
	pgparam_fini(&p);
}

static void
storm_killed(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	(void)rows;
	(void)arg;
	assert_null(err);
}

static void
storm_strike(void *arg)
{
	struct pgparam p;
	struct err err;

	(void)arg;
	storm.kills++;
	pgparam_init(&p);
	pgparam_int4(&p, storm.pid);
	assert_int_equal(
	    pgconn_exec(storm.killer, &terminate, &p, storm_killed, NULL, &err), 0);
	pgparam_fini(&p);
}

static void
storm_aim(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	(void)err;
	(void)arg;
	if (rows == NULL)
		return;
	storm.pid = (int32_t)pgrows_int(rows, 0, 0);
	loop_timer_start_us(storm.timer, (int64_t)random_below(10000));
}

static void
storm_state(struct pgconn *pc, bool up, const struct err *err, void *arg)
{
	struct err e;

	(void)err;
	(void)arg;
	if (!up)
		return;
	storm.ups++;
	if (storm.kills == STORM_KILLS) {
		loop_stop(loop);
		return;
	}
	assert_int_equal(pgconn_exec(pc, &pid_of, NULL, storm_aim, NULL, &e), 0);
	for (int i = 0; i < 8; i++)
		storm_send();
}

static void
confirmed_units_survive_every_kill(void **state)
{
	STMT(make_storm, "CREATE TABLE storm (n int4 PRIMARY KEY)");
	STMT(drop_storm, "DROP TABLE storm");
	STMT(
	    count_storm, "SELECT count(*)::int4 FROM storm WHERE n = ANY ($1::int4[])");
	struct peer killer, p;
	struct pgconn_opts opts;
	struct pgparam prm;
	struct answer a;

	(void)state;
	memset(&storm, 0, sizeof(storm));
	peer_up(&killer);
	run(killer.pc, &make_storm);
	storm.killer = killer.pc;
	storm.timer = loop_timer_create(loop, storm_strike, NULL);
	assert_non_null(storm.timer);
	opts = opts_of(&p);
	opts.state_cb = storm_state;
	peer_open(&p, &opts);
	storm.pc = p.pc;
	RUN_UNTIL(storm.ups == STORM_KILLS + 1);
	assert_int_equal(storm.odd, 0);
	assert_int_equal(storm.ok + storm.lost, storm.sent);
	pgparam_init(&prm);
	pgparam_array(&prm, PGTYPE_INT4);
	for (int i = 0; i < storm.sent; i++) {
		assert_int_equal(storm.calls[i], 1);
		if (storm.acked[i])
			pgparam_elem_int4(&prm, i);
	}
	pgparam_array_end(&prm);
	ask(killer.pc, &count_storm, &prm, &a);
	RUN_UNTIL(a.calls == 1);
	assert_true(a.ok);
	assert_int_equal(a.value, storm.ok);
	pgparam_fini(&prm);
	pgconn_free(p.pc);
	run(killer.pc, &drop_storm);
	pgconn_free(killer.pc);
	loop_timer_free(storm.timer);
}

/* ---- volume ------------------------------------------------------------------- */

struct stream {
	struct pgconn *pc;
	struct pgparam p;
	int sent, answered, total;
	bool wrong;
};

static void stream_send(struct stream *s);

static void
stream_done(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct stream *s = arg;

	if (err != NULL || pgrows_int(rows, 0, 0) != s->answered)
		s->wrong = true;
	s->answered++;
	stream_send(s);
	if (s->answered == s->total || s->wrong)
		loop_stop(loop);
}

static void
stream_send(struct stream *s)
{
	struct err err = ERR_INIT;

	if (s->sent == s->total)
		return;
	pgparam_reset(&s->p);
	pgparam_int4(&s->p, s->sent++);
	if (pgconn_exec(s->pc, &echo, &s->p, stream_done, s, &err) != 0)
		s->wrong = true;
}

static void
ten_thousand_units_in_windows(void **state)
{
	struct peer p;
	struct stream s = {.total = 10000};

	(void)state;
	peer_up(&p);
	s.pc = p.pc;
	pgparam_init(&s.p);
	for (int i = 0; i < 64; i++)
		stream_send(&s);
	RUN_UNTIL(s.answered == s.total || s.wrong);
	assert_false(s.wrong);
	assert_int_equal(p.downs, 0);
	pgparam_fini(&s.p);
	pgconn_free(p.pc);
}

static int echoed;

static void
echoed_bytes(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	size_t len;

	(void)arg;
	assert_null(err);
	pgrows_text(rows, 0, 0, &len);
	assert_int_equal(len, 2 << 20);
	echoed++;
	loop_stop(loop);
}

static void
large_values_flow_both_ways(void **state)
{
	STMT(echo_bytes, "SELECT $1::bytea");
	struct peer p;
	struct pgparam prm;
	struct err err;
	char *bytes = mem_zero(2 << 20);

	(void)state;
	assert_non_null(bytes);
	peer_up(&p);
	pgparam_init(&prm);
	pgparam_bytea(&prm, bytes, 2 << 20);
	echoed = 0;
	/* more than both sockets hold: whoever only writes would wait for ever */
	for (int i = 0; i < 6; i++)
		assert_int_equal(
		    pgconn_exec(p.pc, &echo_bytes, &prm, echoed_bytes, NULL, &err), 0);
	RUN_UNTIL(echoed == 6);
	pgparam_fini(&prm);
	mem_free(bytes);
	pgconn_free(p.pc);
}

/* ---- values -------------------------------------------------------------------- */

static const struct uuid some_uuid = {.b = "0123456789abcdef"};

static void
check_round_trip(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct answer *a = arg;
	struct pgarray walk;
	const char *value;
	struct uuid id;
	size_t len;

	if (err != NULL)
		fail_msg("%s %s", err->sqlstate, err->text);
	assert_true(pgrows_bool(rows, 0, 0));
	assert_true(pgrows_int(rows, 0, 1) == -2);
	assert_true(pgrows_int(rows, 0, 2) == INT64_MIN);
	pgrows_uuid(rows, 0, 3, &id);
	assert_true(uuid_eq(&id, &some_uuid));
	assert_string_equal(pgrows_text(rows, 0, 4, &len), "h\xc3\xa4");
	assert_int_equal(len, 3);
	assert_memory_equal(pgrows_text(rows, 0, 5, &len), "a\0b", 4);
	assert_int_equal(len, 3);
	assert_true(pgrows_is_null(rows, 0, 6));
	pgrows_array(rows, 0, 7, &walk);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_memory_equal(value, "x", 1);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_null(value);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_non_null(value);
	assert_int_equal(len, 0);
	assert_false(pgarray_next(&walk, &value, &len));
	pgrows_array(rows, 0, 8, &walk);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_true(pgarray_int(value, len) == INT64_MAX);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_null(value);
	assert_false(pgarray_next(&walk, &value, &len));
	pgrows_array(rows, 0, 9, &walk);
	assert_false(pgarray_next(&walk, &value, &len));
	pgrows_array(rows, 0, 10, &walk);
	assert_true(pgarray_next(&walk, &value, &len));
	assert_memory_equal(value, some_uuid.b, 16);
	assert_int_equal(pgrows_int(rows, 0, 11), 2); /* the server's own view */
	a->calls++;
	loop_stop(loop);
}

static void
values_come_back_as_they_went(void **state)
{
	STMT(trip,
	    "SELECT $1::bool, $2::int2, $3::int8, $4::uuid, $5::text, $6::bytea, "
	    "$7::int4, $8::text[], $9::int8[], $10::int4[], $11::uuid[], "
	    "(SELECT count(*)::int4 FROM unnest($8::text[]) x WHERE x IS NOT NULL), "
	    "$12::bool[], $13::int2[]");
	struct peer p;
	struct pgparam prm;
	struct answer a = {.calls = 0};
	struct err err;

	(void)state;
	peer_up(&p);
	pgparam_init(&prm);
	pgparam_bool(&prm, true);
	pgparam_int2(&prm, -2);
	pgparam_int8(&prm, INT64_MIN);
	pgparam_uuid(&prm, &some_uuid);
	pgparam_text(&prm, "h\xc3\xa4");
	pgparam_bytea(&prm, "a\0b", 3);
	pgparam_null(&prm, PGTYPE_INT4);
	pgparam_array(&prm, PGTYPE_TEXT);
	pgparam_elem_text(&prm, "x", 1);
	pgparam_elem_null(&prm);
	pgparam_elem_text(&prm, "", 0);
	pgparam_array_end(&prm);
	pgparam_array(&prm, PGTYPE_INT8);
	pgparam_elem_int8(&prm, INT64_MAX);
	pgparam_elem_null(&prm);
	pgparam_array_end(&prm);
	pgparam_array(&prm, PGTYPE_INT4);
	pgparam_array_end(&prm);
	pgparam_array(&prm, PGTYPE_UUID);
	pgparam_elem_uuid(&prm, &some_uuid);
	pgparam_array_end(&prm);
	pgparam_array(&prm, PGTYPE_BOOL);
	pgparam_elem_bool(&prm, true);
	pgparam_array_end(&prm);
	pgparam_array(&prm, PGTYPE_INT2);
	pgparam_elem_int2(&prm, 3);
	pgparam_array_end(&prm);
	assert_int_equal(pgconn_exec(p.pc, &trip, &prm, check_round_trip, &a, &err), 0);
	/* sent: the block may be used again at once */
	pgparam_reset(&prm);
	pgparam_text(&prm, "something else");
	RUN_UNTIL(a.calls == 1);
	pgparam_fini(&prm);
	pgconn_free(p.pc);
}

/* ---- bounds, and callbacks that act ------------------------------------------- */

static void
bounds_are_told(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a[2], never = {.calls = 0};
	struct pgparam prm;
	struct err err;

	(void)state;
	opts.max_units = 2;
	peer_open(&p, &opts);
	assert_int_equal(pgconn_exec(p.pc, &one, NULL, on_done, &never, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	RUN_UNTIL(p.ups == 1);
	ask(p.pc, &one, NULL, &a[0]);
	ask(p.pc, &one, NULL, &a[1]);
	assert_int_equal(pgconn_exec(p.pc, &one, NULL, on_done, &never, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	RUN_UNTIL(a[1].calls == 1);
	pgparam_init(&prm);
	pgparam_array_end(&prm);
	assert_int_equal(pgconn_exec(p.pc, &echo, &prm, on_done, &never, &err), -1);
	assert_int_equal(err.code, ERR_BUG);
	pgparam_fini(&prm);
	assert_int_equal(never.calls, 0);
	assert_int_equal(run(p.pc, &one), 1);
	pgconn_free(p.pc);
}

static struct peer actor;
static struct answer others[4];
static bool acted;

static void
free_in_callback(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	(void)err;
	(void)arg;
	acted = true;
	pgconn_free(actor.pc);
	actor.pc = NULL;
	if (rows != NULL)
		assert_int_equal(pgrows_int(rows, 0, 0), 1); /* still there */
	loop_stop(loop);
}

static void
close_in_callback(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct err e;

	(void)rows;
	(void)err;
	(void)arg;
	acted = true;
	pgconn_close(actor.pc, "because the test says so");
	assert_false(pgconn_is_up(actor.pc));
	assert_int_equal(others[0].calls, 0); /* told from the loop */
	assert_int_equal(pgconn_exec(actor.pc, &one, NULL, on_done, NULL, &e), -1);
}

static void
act(pgconn_done_cb *cb)
{
	struct err err;

	acted = false;
	peer_up(&actor);
	assert_int_equal(pgconn_exec(actor.pc, &one, NULL, cb, NULL, &err), 0);
	for (int i = 0; i < 4; i++)
		ask(actor.pc, &one, NULL, &others[i]);
}

static void
callback_may_free(void **state)
{
	(void)state;
	act(free_in_callback);
	RUN_UNTIL(acted);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(others[i].calls, 1);
		assert_int_equal(others[i].err.class, PGERR_LOST);
	}
	assert_int_equal(actor.downs, 0);
}

static void
lost_callback_may_free(void **state)
{
	(void)state;
	act(free_in_callback);
	pgconn_close(actor.pc, "because the test says so");
	RUN_UNTIL(acted);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(others[i].calls, 1);
		assert_int_equal(others[i].err.class, PGERR_LOST);
		assert_string_equal(others[i].err.text, "because the test says so");
	}
}

static void
leaving_waits_for_what_is_under_way(void **state)
{
	STMT(doze, "SELECT (pg_sleep(0.2)::text IS NOT NULL)::int4");
	struct peer p;
	struct answer nap_done, one_done;
	struct err err;

	(void)state;
	peer_up(&p);
	ask(p.pc, &doze, NULL, &nap_done);
	ask(p.pc, &one, NULL, &one_done);
	pgconn_leave(p.pc, "the test wants another");
	pgconn_leave(p.pc, "twice is once");
	/* not for new units any more, and not gone either */
	assert_false(pgconn_is_up(p.pc));
	assert_int_equal(pgconn_exec(p.pc, &one, NULL, on_done, NULL, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	RUN_UNTIL(p.downs == 1);
	assert_true(nap_done.ok);
	assert_true(one_done.ok);
	assert_non_null(strstr(p.why.text, "the test wants another"));
	RUN_UNTIL(p.ups == 2);
	/* with nothing under way it goes at once, told from the loop */
	pgconn_leave(p.pc, "again");
	assert_int_equal(p.downs, 1);
	RUN_UNTIL(p.ups == 3);
	assert_int_equal(run(p.pc, &one), 1);
	pgconn_free(p.pc);
}

static void
callback_may_close(void **state)
{
	(void)state;
	act(close_in_callback);
	RUN_UNTIL(actor.downs == 1);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(others[i].calls, 1);
		assert_int_equal(others[i].err.class, PGERR_LOST);
	}
	RUN_UNTIL(actor.ups == 2);
	pgconn_free(actor.pc);
}

static void
state_callback_may_free(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);

	(void)state;
	p.free_when_up = true;
	peer_open(&p, &opts);
	RUN_UNTIL(p.pc == NULL);

	opts = opts_of(&p);
	opts.url = "host=/nonexistent";
	p.free_when_down = true;
	peer_open(&p, &opts);
	RUN_UNTIL(p.pc == NULL);
	assert_int_equal(p.downs, 1);
}

static void
free_ends_whatever_is_under_way(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a;
	char url[128];
	struct err err;
	int fd;

	(void)state;
	pgconn_free(NULL);
	peer_open(&p, &opts); /* before the first turn */
	pgconn_free(p.pc);
	/* while it connects to someone who never answers */
	snprintf(url, sizeof(url), "host=127.0.0.1 port=%d user=shoal",
	    silent_listener(&fd));
	opts.url = url;
	peer_open(&p, &opts);
	loop_timer_start_ms(guard, 50);
	assert_int_equal(loop_run(loop, &err), 0);
	pgconn_free(p.pc);
	close(fd);
	/* with a unit */
	peer_up(&p);
	ask_int(p.pc, &nap, 30, &a);
	pgconn_free(p.pc);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.err.class, PGERR_LOST);
}

static void
creation_survives_every_lack_of_memory(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	unsigned n;

	(void)state;
	opts.password = "secret";
	for (n = 1;; n++) {
		struct err err = ERR_INIT;

		mem_fail_nth(n);
		p.pc = pgconn_create(loop, resolver, &opts, &err);
		mem_fail_nth(0);
		if (p.pc != NULL)
			break;
		assert_int_equal(err.code, ERR_NOMEM);
	}
	assert_true(n > 5);
	pgconn_free(p.pc);
}

/* ---- pool ---------------------------------------------------------------------- */

static int
pool_ask(struct pgpool *pp, const struct pgstmt *st, struct answer *a, struct err *err)
{
	memset(a, 0, sizeof(*a));
	return pgpool_exec(pp, st, NULL, on_done, a, err);
}

static void
pool_gives_to_the_least_busy(void **state)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct answer a[4], b;
	struct pgpool *pp;
	struct err err = ERR_INIT;

	(void)state;
	opts.max_units = 2;
	pp = pgpool_create(loop, resolver, &opts, 2, &err);
	assert_non_null(pp);
	assert_false(pgpool_is_up(pp));
	assert_int_equal(pool_ask(pp, &pid_of, &a[0], &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	RUN_UNTIL(p.ups == 2);
	assert_true(pgpool_is_up(pp));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pool_ask(pp, &pid_of, &a[i], &err), 0);
	assert_int_equal(pool_ask(pp, &pid_of, &b, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	RUN_UNTIL(a[0].calls + a[1].calls + a[2].calls + a[3].calls == 4);
	/* two on each */
	assert_true(a[0].value != a[1].value);
	assert_true(a[0].value == a[2].value);
	assert_true(a[1].value == a[3].value);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pool_ask(pp, &pid_of, &a[i], &err), 0);
	pgpool_free(pp);
	for (int i = 0; i < 4; i++)
		assert_int_equal(a[i].err.class, PGERR_LOST);
	pgpool_free(NULL);
}

/* ---- numbers -------------------------------------------------------------------- */

static struct {
	struct pgconn *pc;
	long left, running;
} race;

static void
race_done(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct err e;

	(void)arg;
	if (err != NULL || pgrows_int(rows, 0, 0) != 1)
		abort();
	if (race.left > 0) {
		race.left--;
		if (pgconn_exec(race.pc, &one, NULL, race_done, NULL, &e) != 0)
			abort();
	} else if (--race.running == 0) {
		loop_stop(loop);
	}
}

static void
bench(bool prepared, int window)
{
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);
	struct err err = ERR_INIT;
	const long total = 100000;
	int64_t us;

	opts.prepared = prepared;
	p.pc = pgconn_create(loop, resolver, &opts, &err);
	while (p.ups == 0) {
		if (p.pc == NULL || loop_run(loop, &err) != 0)
			abort();
	}
	race.pc = p.pc;
	race.left = total - window;
	race.running = window;
	us = clock_mono_us();
	for (int i = 0; i < window; i++) {
		if (pgconn_exec(p.pc, &one, NULL, race_done, NULL, &err) != 0)
			abort();
	}
	if (loop_run(loop, &err) != 0)
		abort();
	us = clock_mono_us() - us;
	printf("%s, %d in flight: %.0f units a second\n",
	    prepared ? "prepared" : "unprepared", window,
	    (double)total * 1e6 / (double)us);
	pgconn_free(p.pc);
}

/* ---- the program ---------------------------------------------------------------- */

/* the loop, and a server that answers */
static int
env_open(void)
{
	struct err err = ERR_INIT;
	struct peer p;
	struct pgconn_opts opts = opts_of(&p);

	signal(SIGPIPE, SIG_IGN);
	loop = loop_create(&err);
	if (loop == NULL)
		return -1;
	resolver = resolver_create(loop, &err);
	guard = loop_timer_create(loop, guard_cb, NULL);
	if (resolver == NULL || guard == NULL)
		return -1;
	p.pc = pgconn_create(loop, resolver, &opts, &err);
	while (p.pc != NULL && p.ups == 0) {
		if (loop_run(loop, &err) != 0)
			return -1;
	}
	pgconn_free(p.pc);
	return 0;
}

static void
env_close(void)
{
	loop_timer_free(guard);
	resolver_free(resolver);
	loop_free(loop);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(units_are_answered_in_order),
	    cmocka_unit_test(prepared_units_are_answered_in_order),
	    cmocka_unit_test(statement_is_prepared_once),
	    cmocka_unit_test(failed_prepare_is_not_remembered),
	    cmocka_unit_test(forgotten_statements_are_sent_again),
	    cmocka_unit_test(taken_name_does_without),
	    cmocka_unit_test(plan_that_a_migration_broke_is_made_anew),
	    cmocka_unit_test(error_at_the_commit_is_an_error),
	    cmocka_unit_test(open_transaction_closes_the_connection),
	    cmocka_unit_test(errors_have_their_class),
	    cmocka_unit_test(copy_closes_the_connection),
	    cmocka_unit_test(killed_backend_loses_each_unit_once),
	    cmocka_unit_test(idle_connection_notices_and_says_why),
	    cmocka_unit_test(server_that_returns_is_found),
	    cmocka_unit_test(confirmed_units_survive_every_kill),
	    cmocka_unit_test(statement_deadline_closes),
	    cmocka_unit_test(read_only_server_is_refused),
	    cmocka_unit_test(server_that_turns_read_only_is_left),
	    cmocka_unit_test(second_host_is_reached),
	    cmocka_unit_test(silent_host_does_not_hide_the_next),
	    cmocka_unit_test(bad_urls_are_refused),
	    cmocka_unit_test(ten_thousand_units_in_windows),
	    cmocka_unit_test(large_values_flow_both_ways),
	    cmocka_unit_test(values_come_back_as_they_went),
	    cmocka_unit_test(bounds_are_told),
	    cmocka_unit_test(callback_may_free),
	    cmocka_unit_test(lost_callback_may_free),
	    cmocka_unit_test(leaving_waits_for_what_is_under_way),
	    cmocka_unit_test(callback_may_close),
	    cmocka_unit_test(state_callback_may_free),
	    cmocka_unit_test(free_ends_whatever_is_under_way),
	    cmocka_unit_test(creation_survives_every_lack_of_memory),
	    cmocka_unit_test(pool_gives_to_the_least_busy),
	};
	int failed = 0;

	if (!pgserver_open())
		return pgserver_missing();
	if (env_open() != 0) {
		failed = 1;
	} else if (argc > 1 && strcmp(argv[1], "bench") == 0) {
		bench(true, 1);
		bench(true, 32);
		bench(false, 1);
		bench(false, 32);
	} else {
		failed = cmocka_run_group_tests(tests, NULL, NULL);
	}
	env_close();
	pgserver_close();
	return failed;
}
