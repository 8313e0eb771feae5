/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_master.c - the master with real processes: workers that follow a script.
 *
 * Each test forks a node whose worker function is scripted_worker.  Script and what the
 * workers saw lie in shared memory, as does the scoreboard, which a worker tells us of
 * by filling the script's mirror.  Nothing sleeps for luck: wait_until polls a
 * condition.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/addr.h"
#include "event/loop.h"
#include "master/control.h"
#include "master/master.h"
#include "model/command.h"
#include "proc/procutil.h"

#define PATIENCE_MS 15000
#define WATCHED	    16 /* slots that the script mirrors */

enum behaviour {
	SERVE = 0, /* gets ready, beats, obeys */
	CRASH,	   /* exits with 3 before it is ready */
	HANG,	   /* gets ready, then never beats */
	STUBBORN,  /* beats, obeys nothing */
	HOPELESS,  /* WORKER_EXIT_CONFIG */
	LOST_ONCE, /* the first one says that it is lost */
};

enum { NO_STORES = 0, DATABASE = 1, REDIS = 2 };

struct script {
	_Atomic int behaviour; /* of the next to start */
	_Atomic int stores;    /* that they have */
	_Atomic int hints;     /* to be told by who lingers */
	/* what the worker in slot 0 says it answered */
	_Atomic uint64_t counted_requests;
	_Atomic int starts;
	_Atomic int orders[128];
	_Atomic int pid[WATCHED]; /* of who is ready in that slot */
	_Atomic int generation[WATCHED];
	/* 1: the next worker runs a process group; then that group's id */
	_Atomic int runs; /* 1: the next worker runs the command */
	_Atomic int burials_open;
	_Atomic int takes; /* 1: the next worker that is told of a burial takes it, and
			      keeps it */
	_Atomic int taker;
	_Atomic uint64_t retired_claims;
	_Atomic int migrations, migrate_fails; /* how often it fails; -1: hopeless */
	_Atomic int fds_before, fds_open; /* of the master at its start, of a worker */
	_Atomic int drain_ms;
	_Atomic uint64_t order;	 /* that the database gives to the node; 0: none */
	_Atomic int idle_starts; /* of workers that take no tasks */
	_Atomic int lingers;	 /* 1: who retires keeps idle connections */
};

/* what the command writes its processes' numbers to */
enum pid_file { PID_LEADER = 0, PID_ESCAPEE, PID_FILES };

struct node {
	struct script *script;
	pid_t pid;
	int all_gone_fd; /* readable when every process of the node has ended */
	char node_more[100], listen[300]; /* parts of its configuration */
	char dir[64], socket[128], pid_file[128], config[128], log[128];
	char pids[PID_FILES][128];
};

static struct script *script; /* in the node's processes */

/* ---- the scripted worker ------------------------------------------------------------
 */

/* the command of the configuration: a leader, a child in its group, and one that left
 * it */
static void
run_a_group(const struct worker_env *env)
{
	struct err err;
	struct loop *loop = loop_create(&err);
	struct launcher *launcher = launcher_create(loop, env->door, &err);
	struct commands *commands = commands_create(env->settings, &err);
	char *no_env[] = {NULL};
	struct launch_spec spec =
	    *commands_of(commands, TAILQ_FIRST(&env->settings->types));

	spec.env = no_env;
	/* (it lives as long as we do, and nobody listens) */
	if (launch(launcher, &spec, NULL, NULL, &err) == NULL)
		abort();
}

static void
take_a_burial(struct scoreboard *board)
{
	for (int b = 0; b < SCORE_BURIALS; b++) {
		uint8_t open = BURIAL_OPEN;

		if (!atomic_compare_exchange_strong(
			&board->burials[b].state, &open, BURIAL_TAKEN))
			continue;
		atomic_store(&board->burials[b].taker, getpid());
		atomic_store(&script->taker, getpid());
		return;
	}
}

static int
count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static int
scripted_worker(const struct worker_env *env)
{
	struct score_slot *slot = &env->board->slots[env->slot];
	enum behaviour how = (enum behaviour)atomic_load(&script->behaviour);
	int stores;
	struct uuid id;
	int64_t leave_at = INT64_MAX;
	int one = 1;

	atomic_fetch_add(&script->starts, 1);
	if (env->idle)
		atomic_fetch_add(&script->idle_starts, 1);
	atomic_store(&script->fds_open, count_fds());
	if (how == CRASH)
		return 3;
	if (how == HOPELESS)
		return WORKER_EXIT_CONFIG;
	/* two workers start at a time: the first to come takes the word, and no other
	 */
	if (how == LOST_ONCE) {
		int lost = LOST_ONCE;

		if (atomic_compare_exchange_strong(&script->behaviour, &lost, SERVE))
			return WORKER_EXIT_LOST;
	}
	if (atomic_compare_exchange_strong(&script->runs, &one, 0))
		run_a_group(env);
	random_bytes(id.b, sizeof(id.b));
	score_set_uuid(slot->incarnation, &id);
	score_add(slot, SCORE_tasks_claimed_total, 10);
	atomic_store(&slot->heartbeat_ms, clock_mono_ms());
	stores = atomic_load(&script->stores);
	atomic_store(&slot->serving, (stores & DATABASE) != 0);
	atomic_store(&slot->database_up, (stores & DATABASE) != 0);
	atomic_store(&slot->redis_up, (stores & REDIS) != 0);
	atomic_store(&slot->state, SCORE_READY);
	atomic_store(
	    &script->generation[env->slot], (int)atomic_load(&slot->generation));
	atomic_store(&script->pid[env->slot], getpid());

	for (;;) {
		struct pollfd pfd = {.fd = env->control_fd, .events = POLLIN};
		int64_t now = clock_mono_ms();
		int open = 0;
		char order, hint = NEWS_HINT;

		if (how == HANG)
			for (;;)
				pause();
		atomic_store(&slot->heartbeat_ms, now);
		one = 1;
		if (atomic_load(&slot->state) == SCORE_LINGERING &&
		    atomic_compare_exchange_strong(&script->hints, &one, 0))
			(void)!write(env->control_fd, &hint, 1);
		if (atomic_load(&script->order) != 0)
			atomic_store(&env->board->order, atomic_load(&script->order));
		if (env->slot == 0)
			score_set(slot, SCORE_http_requests_total,
			    atomic_load(&script->counted_requests));
		for (int b = 0; b < SCORE_BURIALS; b++)
			open +=
			    atomic_load(&env->board->burials[b].state) == BURIAL_OPEN;
		atomic_store(&script->burials_open, open);
		atomic_store(&script->retired_claims,
		    atomic_load(&env->board->retired[SCORE_tasks_claimed_total]));
		if (now >= leave_at)
			return WORKER_EXIT_OK;
		(void)poll(&pfd, how == STUBBORN ? 0 : 1, 20);
		if (how == STUBBORN || pfd.revents == 0)
			continue;
		if (recv(env->control_fd, &order, 1, 0) != 1)
			return WORKER_EXIT_OK; /* the master is gone */
		atomic_fetch_add(&script->orders[(unsigned char)order & 127], 1);
		one = 1;
		if (order == WORKER_BURY &&
		    atomic_compare_exchange_strong(&script->takes, &one, 0))
			take_a_burial(env->board);
		if (order == WORKER_END || order == WORKER_HURRY)
			return WORKER_EXIT_OK;
		if (order == WORKER_RETIRE && atomic_load(&script->lingers) != 0) {
			atomic_store(&slot->state, SCORE_LINGERING);
			continue;
		}
		if (order == WORKER_TERM || order == WORKER_INT ||
		    order == WORKER_QUIT || order == WORKER_RETIRE) {
			atomic_store(&slot->state, SCORE_DRAINING);
			leave_at = now + atomic_load(&script->drain_ms);
		}
	}
}

static int
scripted_migration(const struct settings *settings, const char *node, struct err *err)
{
	int n = atomic_fetch_add(&script->migrations, 1);

	(void)settings;
	if (strlen(node) != 12)
		return err_set(err, ERR_INVALID, "'%s' is no node's id", node);
	if (atomic_load(&script->migrate_fails) == -1)
		return err_set(err, ERR_INVALID, "the schema is from the future");
	if (n < atomic_load(&script->migrate_fails))
		return err_set(err, ERR_IO, "nobody listens");
	return 0;
}

/* ---- the node
 * ------------------------------------------------------------------------ */

static struct settings *
load(void *arg, struct err *err)
{
	static char *no_env[] = {NULL};

	return settings_load(((struct node *)arg)->config, no_env, NULL, err);
}

static void
write_config(const struct node *n, const char *more)
{
	FILE *f = fopen(n->config, "w");

	assert_non_null(f);
	fprintf(f,
	    "[node]\nworkers = 2\ndrain_delay = 0\nshutdown_timeout = "
	    "1\nhang_timeout = 2\n"
	    "pid_file = %s\ncontrol_socket = %s\n"
	    "%s\n[listen]\n%s\n[log]\nfile = %s\nlevel = debug\n"
	    "[type:group]\ncommand = /bin/sh -c \"setsid sh -c\n"
	    "  'echo $$ >%s&& exec sleep 1000' &\n"
	    "  sleep 1000 & echo $$ >%s&& wait\"\n%s",
	    n->pid_file, n->socket, n->node_more, n->listen, n->log,
	    n->pids[PID_ESCAPEE], n->pids[PID_LEADER], more);
	assert_int_equal(fclose(f), 0);
}

static int
node_main(struct node *n)
{
	struct err err = ERR_INIT;
	struct master_opts opts = {
	    .load = load,
	    .load_arg = n,
	    .worker = scripted_worker,
	    .migrate = scripted_migration,
	};
	struct master *m;
	int status;

	atomic_store(&script->fds_before, count_fds());
	opts.settings = load(n, &err);
	if (opts.settings == NULL || log_open(n->log, LOG_DEBUG, &err) != 0 ||
	    (m = master_create(&opts, &err)) == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	status = master_run(m, &err);
	if (status == -1)
		fprintf(stderr, "%s\n", err.text);
	master_free(m);
	log_close();
	return status == -1 ? 1 : status;
}

static void
start_with(struct node *n, const char *more)
{
	int fds[2];

	write_config(n, more);
	assert_int_equal(pipe(fds), 0);
	n->pid = fork();
	assert_true(n->pid >= 0);
	if (n->pid == 0) {
		close(fds[0]);
		script = n->script;
		exit(node_main(n));
	}
	close(fds[1]);
	n->all_gone_fd = fds[0];
}

static int
setup(void **state)
{
	struct node *n = calloc(1, sizeof(*n));

	n->script = mmap(NULL, sizeof(*n->script), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(n->script != MAP_FAILED);
	strcpy(n->dir, "/tmp/test_master.XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	snprintf(n->socket, sizeof(n->socket), "%s/sock", n->dir);
	snprintf(n->pid_file, sizeof(n->pid_file), "%s/pid", n->dir);
	snprintf(n->config, sizeof(n->config), "%s/conf", n->dir);
	snprintf(n->log, sizeof(n->log), "%s/log", n->dir);
	snprintf(n->pids[PID_LEADER], sizeof(n->pids[0]), "%s/leader", n->dir);
	snprintf(n->pids[PID_ESCAPEE], sizeof(n->pids[0]), "%s/escapee", n->dir);
	strcpy(n->listen, "applications = 127.0.0.1:0\ndevelopers = 127.0.0.1:0");
	n->all_gone_fd = -1;
	*state = n;
	return 0;
}

static int
teardown(void **state)
{
	struct node *n = *state;
	struct pollfd pfd = {.fd = n->all_gone_fd, .events = POLLIN};

	if (n->pid > 0) {
		kill(n->pid, SIGKILL);
		waitpid(n->pid, NULL, 0);
	}
	/* whatever happened, nobody else outlives the node */
	if (n->all_gone_fd != -1) {
		assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
		close(n->all_gone_fd);
	}
	unlink(n->config);
	unlink(n->socket);
	unlink(n->pid_file);
	unlink(n->log);
	for (int i = 0; i < PID_FILES; i++)
		unlink(n->pids[i]);
	rmdir(n->dir);
	munmap(n->script, sizeof(*n->script));
	free(n);
	return 0;
}

static void
show_log(const struct node *n)
{
	FILE *f = fopen(n->log, "r");
	char line[1024];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		fputs(line, stderr);
	if (f != NULL)
		fclose(f);
}

#define wait_until(n, condition)                                                       \
	do {                                                                           \
		int64_t until = clock_mono_ms() + PATIENCE_MS;                         \
		while (!(condition)) {                                                 \
			if (clock_mono_ms() > until) {                                 \
				show_log(n);                                           \
				fail_msg("never happened: %s", #condition);            \
			}                                                              \
			(void)poll(NULL, 0, 2);                                        \
		}                                                                      \
	} while (0)

static bool
log_says(const struct node *n, const char *what)
{
	static char text[1 << 20];
	int fd = open(n->log, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd == -1)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return strstr(text, what) != NULL;
}

/* the answer to a command on the control socket; static */
static const char *
ask(const struct node *n, const char *command)
{
	static char text[65536];
	FILE *f = fmemopen(text, sizeof(text), "w");
	struct err err = ERR_INIT;
	int rc = control_ask(n->socket, command, f, 5000, &err);

	fclose(f);
	if (rc != 0)
		text[0] = '\0';
	return text;
}

static bool
status_says(const struct node *n, const char *what)
{
	return strstr(ask(n, "status"), what) != NULL;
}

static int
ready_pid(const struct node *n, int slot)
{
	return atomic_load(&n->script->pid[slot]);
}

static void
start(struct node *n)
{
	start_with(n, "");
	wait_until(n, status_says(n, "\"state\":\"running\""));
	wait_until(n, status_says(n, "\"schema_ready\":true"));
}

static int
read_pid(const struct node *n, enum pid_file which)
{
	FILE *f = fopen(n->pids[which], "r");
	int pid = 0;

	if (f == NULL)
		return 0;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid;
}

static int
exit_status(struct node *n)
{
	int status = 0;

	wait_until(n, waitpid(n->pid, &status, WNOHANG) == n->pid);
	n->pid = 0;
	if (!WIFEXITED(status)) {
		show_log(n);
		fail_msg("the master died of signal %d", WTERMSIG(status));
	}
	return WEXITSTATUS(status);
}

static void
stop(struct node *n)
{
	kill(n->pid, SIGTERM);
	assert_int_equal(exit_status(n), 0);
}

static bool
is_gone(int pid)
{
	char path[64], text[256];
	int fd;
	ssize_t len;
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return true;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	state = strrchr(text, ')');
	return state == NULL || state[2] == 'Z' || state[2] == 'X';
}

/* ---- promises
 * ------------------------------------------------------------------------ */

static void
starts_answers_and_stops(void **state)
{
	struct node *n = *state;

	start(n);
	assert_int_equal(atomic_load(&n->script->starts), 2);
	assert_true(status_says(n, "\"worker\":0") && status_says(n, "\"worker\":1"));
	assert_true(
	    status_says(n, "\"audience\":\"applications\",\"address\":\"127.0.0.1:"));
	assert_non_null(strstr(ask(n, "table"), "LAST ENDED"));
	assert_non_null(strstr(ask(n, "nonsense"), "unknown command"));
	assert_string_equal(ask(n, "log-level warn"), "log level: warn\n");
	assert_non_null(strstr(ask(n, "log-level loud"), "error: a level is"));
	assert_string_equal(ask(n, "log-level default"), "log level: debug\n");
	/* the log, two listeners, the order socket, the door, the pipe for a crash
	 * report: nothing of the master's own */
	assert_int_equal(
	    atomic_load(&n->script->fds_open), atomic_load(&n->script->fds_before) + 7);
	stop(n);
	assert_int_equal(atomic_load(&n->script->orders[WORKER_TERM]), 2);
	assert_int_equal(access(n->pid_file, F_OK), -1);
	assert_int_equal(access(n->socket, F_OK), -1);
}

static void
a_killed_worker_is_buried_and_replaced_at_once(void **state)
{
	struct node *n = *state;
	int victim, group;
	int64_t killed_ms;

	atomic_store(&n->script->runs, 1);
	start(n);
	wait_until(n, (group = read_pid(n, PID_LEADER)) > 1);
	/* the one that runs the group: the other may be it, so look at both */
	for (int i = 0; i < 2; i++) {
		victim = ready_pid(n, i);
		killed_ms = clock_mono_ms();
		kill(victim, SIGKILL);
		wait_until(n, ready_pid(n, i) != victim);
		assert_true(clock_mono_ms() - killed_ms < 1000);
	}
	wait_until(n, atomic_load(&n->script->burials_open) == 2);
	/* no burial before all that it ran was dead */
	assert_int_equal(kill(-group, 0), -1);
	assert_int_equal(errno, ESRCH);
	wait_until(n, atomic_load(&n->script->orders[WORKER_BURY]) >= 1);
	wait_until(n, atomic_load(&n->script->retired_claims) == 20);
	assert_true(status_says(n, "\"last_reason\":\"killed by signal 9 (SIGKILL)\""));
	assert_true(status_says(n, "\"restarts\":1"));
	assert_true(status_says(n, "\"tasks_claimed_total\":40"));
	stop(n);
}

static void
an_idle_client_of_the_control_socket_is_given_up(void **state)
{
	struct node *n = *state;
	int fds[CONTROL_CLIENTS];
	char text[200], byte;
	struct addr a;
	struct err err;
	struct pollfd pfd;

	start(n);
	snprintf(text, sizeof(text), "unix:%s", n->socket);
	assert_int_equal(addr_parse(text, &a, &err), 0);
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], &a.sa, a.len), 0);
	}
	/* they have all the places: whoever asks waits until one is free */
	pfd = (struct pollfd){.fd = fds[COUNT_OF(fds) - 1], .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
	assert_int_equal(recv(pfd.fd, &byte, 1, 0), 0);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
	assert_true(status_says(n, "running"));
	stop(n);
}

static void
who_left_its_group_is_killed_too(void **state)
{
	struct node *n = *state;
	int escapee;

	atomic_store(&n->script->runs, 1);
	start(n);
	wait_until(n, (escapee = read_pid(n, PID_ESCAPEE)) > 1);
	kill(ready_pid(n, 0), SIGKILL);
	kill(ready_pid(n, 1), SIGKILL);
	wait_until(n, is_gone(escapee));
	stop(n);
}

static int
spawner_pid(const struct node *n)
{
	const char *at = strstr(ask(n, "status"), "\"helper\":\"spawner\",\"pid\":");
	int pid = 0;

	if (at == NULL || sscanf(strchr(at, ',') + 1, "\"pid\":%d", &pid) != 1)
		return 0;
	return pid;
}

static bool
spawner_is_ready(const struct node *n)
{
	const char *at = strstr(ask(n, "status"), "\"helper\":\"spawner\",\"pid\":");
	const char *state = at != NULL ? strstr(at, "\"state\":") : NULL;

	return state != NULL && strncmp(state, "\"state\":\"ready\"", 15) == 0;
}

static void
a_killed_spawner_takes_its_commands_along_and_is_replaced(void **state)
{
	struct node *n = *state;
	int spawner, leader, escapee, worker;

	atomic_store(&n->script->runs, 1);
	start(n);
	wait_until(n, (escapee = read_pid(n, PID_ESCAPEE)) > 1);
	wait_until(n, (leader = read_pid(n, PID_LEADER)) > 1);
	spawner = spawner_pid(n);
	assert_true(spawner > 1);
	worker = ready_pid(n, 0);
	kill(spawner, SIGKILL);
	wait_until(n, is_gone(escapee) && is_gone(leader));
	wait_until(n, spawner_pid(n) > 1 && spawner_pid(n) != spawner);
	/* who asked for nothing is not bothered */
	assert_int_equal(ready_pid(n, 0), worker);
	/* one that hangs is killed, and replaced too */
	spawner = spawner_pid(n);
	wait_until(n, spawner_is_ready(n)); /* before, it has its start's time */
	kill(spawner, SIGSTOP);
	wait_until(n, spawner_pid(n) > 1 && spawner_pid(n) != spawner);
	assert_true(log_says(n, "helper does not respond, killing it"));
	/* and a worker that dies without its spawner is buried as well */
	kill(spawner_pid(n), SIGKILL);
	kill(worker, SIGKILL);
	wait_until(n, atomic_load(&n->script->burials_open) == 1);
	stop(n);
}

static void
a_burial_is_opened_again_when_its_taker_dies(void **state)
{
	struct node *n = *state;
	int taker;

	atomic_store(&n->script->takes, 1);
	start(n);
	kill(ready_pid(n, 0), SIGKILL);
	wait_until(n, atomic_load(&n->script->taker) != 0);
	wait_until(n, atomic_load(&n->script->burials_open) == 0);
	taker = atomic_load(&n->script->taker);
	kill(taker, SIGKILL);
	/* its own, and the one that it had taken */
	wait_until(n, atomic_load(&n->script->burials_open) == 2);
	stop(n);
}

static void
no_storm_kills_the_master(void **state)
{
	struct node *n = *state;

	start(n);
	for (int i = 0; i < 20; i++) {
		int victim = ready_pid(n, i % 2);

		kill(victim, i % 3 == 0 ? SIGSEGV : SIGKILL);
		wait_until(n, is_gone(victim));
		/* (do not wait for its successor each time: the pauses grow) */
		if (i % 2 == 1 && i < 8)
			wait_until(
			    n, ready_pid(n, 0) != victim && !is_gone(ready_pid(n, 0)));
	}
	assert_int_equal(waitpid(n->pid, NULL, WNOHANG), 0);
	stop(n);
}

static void
a_crash_loop_is_slowed_down_and_ends_when_the_cause_does(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->behaviour, CRASH);
	start_with(n, "");
	wait_until(n, atomic_load(&n->script->starts) >= 6);
	assert_true(status_says(n, "\"last_reason\":\"exit status 3\""));
	assert_true(log_says(n, "successor_in_ms=100"));
	atomic_store(&n->script->behaviour, SERVE);
	wait_until(n, status_says(n, "\"state\":\"running\""));
	stop(n);
}

static void
a_hanging_worker_is_replaced(void **state)
{
	struct node *n = *state;
	int victim;

	atomic_store(&n->script->behaviour, HANG);
	start_with(n, "");
	wait_until(n, status_says(n, "\"state\":\"running\""));
	victim = ready_pid(n, 0);
	atomic_store(&n->script->behaviour, SERVE);
	wait_until(n, ready_pid(n, 0) != victim);
	assert_true(is_gone(victim));
	assert_true(status_says(n, "\"last_reason\":\"no heartbeat for 2."));
	stop(n);
}

static void
a_stopped_worker_is_killed(void **state)
{
	struct node *n = *state;
	int victim;

	start(n);
	victim = ready_pid(n, 1);
	kill(victim, SIGSTOP); /* ABRT stays pending: only KILL helps */
	wait_until(n, ready_pid(n, 1) != victim);
	stop(n);
}

static void
a_lost_incarnation_is_replaced_and_buried(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->behaviour, LOST_ONCE);
	start(n);
	assert_int_equal(atomic_load(&n->script->starts), 3);
	assert_true(log_says(n, "exit status 75"));
	stop(n);
}

static void
a_hopeless_worker_stops_the_node_with_its_status(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->behaviour, HOPELESS);
	start_with(n, "");
	assert_int_equal(exit_status(n), WORKER_EXIT_CONFIG);
}

static void
the_second_term_ends_at_once(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->drain_ms, 60000);
	start(n);
	kill(n->pid, SIGTERM);
	wait_until(n, atomic_load(&n->script->orders[WORKER_TERM]) == 2);
	assert_true(status_says(n, "\"state\":\"stopping\""));
	kill(n->pid, SIGINT);
	assert_int_equal(exit_status(n), 0);
	assert_int_equal(atomic_load(&n->script->orders[WORKER_END]), 2);
}

static void
quit_and_int_reach_the_workers_as_such(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->drain_ms, 60000);
	start(n);
	kill(n->pid, SIGQUIT);
	wait_until(n, atomic_load(&n->script->orders[WORKER_QUIT]) == 2);
	kill(n->pid, SIGINT);
	wait_until(n, atomic_load(&n->script->orders[WORKER_INT]) == 2);
	kill(n->pid, SIGTERM);
	assert_int_equal(exit_status(n), 0);
}

static void
who_does_not_leave_is_killed(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->behaviour, STUBBORN);
	start(n);
	kill(n->pid, SIGTERM);
	kill(n->pid, SIGQUIT); /* is less than TERM: changes nothing */
	wait_until(n, log_says(n, "how=term"));
	kill(n->pid, SIGTERM);
	assert_int_equal(exit_status(n), 0);
	assert_true(log_says(n, "worker does not end, killing it"));
}

static void
a_reload_brings_new_workers_first(void **state)
{
	struct node *n = *state;
	int old = 0;

	start(n);
	old = ready_pid(n, 0);
	write_config(n, "[tasks]\nmax_attempts = 7\n");
	kill(n->pid, SIGHUP);
	wait_until(n, atomic_load(&n->script->orders[WORKER_RETIRE]) == 2);
	assert_int_equal(atomic_load(&n->script->starts), 4);
	assert_int_equal(atomic_load(&n->script->generation[2]), 2);
	wait_until(n, is_gone(old));
	wait_until(n, status_says(n, "\"state\":\"running\"") &&
			  status_says(n, "\"generations\":1"));
	assert_true(status_says(n, "\"generation\":2"));
	assert_int_equal(atomic_load(&n->script->burials_open), 0);
	stop(n);
}

static void
a_bad_file_changes_nothing(void **state)
{
	struct node *n = *state;

	start(n);
	write_config(n, "[tasks]\nmax_attempts = many\n");
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"reload_failures\":1"));
	assert_true(log_says(n, "reload refused, nothing changed"));
	assert_true(log_says(n, "line 20")); /* the line */
	assert_int_equal(atomic_load(&n->script->starts), 2);
	assert_true(status_says(n, "\"generation\":1"));
	/* an address that cannot be had is as bad, and gives back what was bound before
	 * it */
	snprintf(n->listen, sizeof(n->listen),
	    "applications = unix:%s/first, 192.0.2.1:80\ndevelopers = 127.0.0.1:0",
	    n->dir);
	write_config(n, "");
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"reload_failures\":2"));
	assert_int_equal(access(strchr(n->listen, '/'), F_OK), -1);
	stop(n);
}

static void
a_configuration_that_cannot_run_is_given_up(void **state)
{
	struct node *n = *state;

	start(n);
	atomic_store(&n->script->behaviour, HOPELESS);
	write_config(n, "[tasks]\nmax_attempts = 7\n");
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"reload_failures\":1"));
	wait_until(n, status_says(n, "\"state\":\"running\"") &&
			  status_says(n, "\"generations\":1"));
	assert_true(status_says(n, "\"generation\":1"));
	assert_int_equal(atomic_load(&n->script->orders[WORKER_RETIRE]), 0);
	atomic_store(&n->script->behaviour, SERVE);
	stop(n);
}

static void
reloads_in_a_row_are_bounded(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->drain_ms, 300);
	start(n);
	for (int i = 1; i <= 6; i++) {
		kill(n->pid, SIGHUP);
		/* the last ones wait until an old generation has ended */
		wait_until(n, atomic_load(&n->script->orders[WORKER_RETIRE]) >= 2 * i);
		assert_false(status_says(n, "\"generations\":4"));
	}
	wait_until(n, status_says(n, "\"generations\":1"));
	assert_true(status_says(n, "\"generation\":7"));
	stop(n);
}

static void
what_needs_a_restart_stays_as_it_was(void **state)
{
	struct node *n = *state;

	start(n);
	write_config(n, "[cluster]\nname = other\n");
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"generation\":2"));
	assert_true(log_says(n, "key=cluster.name"));
	wait_until(n, status_says(n, "\"generations\":1"));
	stop(n);
}

static int
connects(const char *path)
{
	struct addr a;
	struct err err;
	int fd, rc;

	assert_int_equal(addr_parse(path, &a, &err), 0);
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = connect(fd, &a.sa, a.len);
	close(fd);
	return rc;
}

static void
listeners_follow_the_configuration(void **state)
{
	struct node *n = *state;
	char first[100], second[100];

	snprintf(first, sizeof(first), "unix:%s/first", n->dir);
	snprintf(second, sizeof(second), "unix:%s/second", n->dir);
	snprintf(n->listen, sizeof(n->listen),
	    "applications = %s\ndevelopers = 127.0.0.1:0", first);
	start(n);
	assert_int_equal(connects(first), 0);
	snprintf(n->listen, sizeof(n->listen),
	    "applications = %s\ndevelopers = 127.0.0.1:0", second);
	write_config(n, "");
	kill(n->pid, SIGHUP);
	wait_until(n, connects(second) == 0);
	wait_until(n, connects(first) == -1);
	assert_int_equal(access(first + 5, F_OK), -1);
	assert_int_equal(connects(second), 0);
	stop(n);
	assert_int_equal(access(second + 5, F_OK), -1);
}

static void
ttin_and_ttou_change_the_number(void **state)
{
	struct node *n = *state;

	start(n);
	kill(n->pid, SIGTTIN);
	wait_until(n, ready_pid(n, 2) != 0);
	kill(n->pid, SIGTTOU);
	wait_until(n, atomic_load(&n->script->orders[WORKER_RETIRE]) == 1);
	wait_until(n, !status_says(n, "\"worker\":2"));
	/* never below one */
	for (int i = 0; i < 5; i++) {
		kill(n->pid, SIGTTOU);
		wait_until(n, status_says(n, "\"worker\":0"));
	}
	wait_until(n, !status_says(n, "\"worker\":1"));
	assert_true(status_says(n, "\"worker\":0"));
	stop(n);
}

static void
a_worker_that_did_enough_is_replaced_successor_first(void **state)
{
	struct node *n = *state;
	int old;

	strcpy(n->node_more, "max_requests = 50");
	start(n);
	old = ready_pid(n, 0);
	atomic_store(&n->script->counted_requests, 51);
	wait_until(n, ready_pid(n, 2) != 0);
	wait_until(n, is_gone(old));
	wait_until(n, !status_says(n, "\"worker\":0"));
	assert_true(status_says(n, "\"worker\":1") && status_says(n, "\"worker\":2"));
	assert_int_equal(atomic_load(&n->script->starts), 3);
	assert_int_equal(atomic_load(&n->script->orders[WORKER_RETIRE]), 1);
	assert_true(log_says(n, "reason=\"max_requests reached\""));
	stop(n);
}

static void
an_order_brings_workers_that_take_no_tasks(void **state)
{
	struct node *n = *state;
	int old;

	start(n);
	old = ready_pid(n, 0);
	atomic_store(&n->script->order, score_order_make(1, NODE_MODE_IDLE));
	wait_until(n, status_says(n, "\"mode\":\"maintenance\""));
	wait_until(n, is_gone(old) && status_says(n, "\"state\":\"running\""));
	assert_int_equal(atomic_load(&n->script->idle_starts), 2);
	/* the same again is no news, nor is an older one */
	atomic_store(&n->script->order, score_order_make(2, NODE_MODE_IDLE));
	wait_until(n, log_says(n, "mode=maintenance was=maintenance"));
	atomic_store(&n->script->order, score_order_make(1, NODE_MODE_WORK));
	/* a reload keeps the mode */
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"generation\":3"));
	wait_until(n, status_says(n, "\"state\":\"running\"") &&
			  status_says(n, "\"generations\":1"));
	assert_int_equal(atomic_load(&n->script->idle_starts), 4);
	atomic_store(&n->script->order, score_order_make(3, NODE_MODE_WORK));
	wait_until(n, status_says(n, "\"mode\":\"running\""));
	wait_until(n,
	    status_says(n, "\"generation\":4") && status_says(n, "\"generations\":1"));
	assert_int_equal(atomic_load(&n->script->idle_starts), 4);
	/* the last order ends it, as TERM does */
	atomic_store(&n->script->order, score_order_make(4, NODE_MODE_LEAVE));
	assert_int_equal(exit_status(n), 0);
	assert_int_equal(atomic_load(&n->script->orders[WORKER_TERM]), 2);
}

static void
who_lingers_makes_room_for_a_third_generation(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->lingers, 1);
	start(n);
	for (int i = 2; i <= 3; i++) {
		char generation[32];

		kill(n->pid, SIGHUP);
		snprintf(generation, sizeof(generation), "\"generation\":%d,", i);
		wait_until(n, status_says(n, generation) &&
				  status_says(n, "\"state\":\"running\""));
	}
	/* both old generations are there, and nobody was told to hurry */
	wait_until(n, status_says(n, "\"generations\":3"));
	wait_until(n, status_says(n, "\"state\":\"lingering\""));
	assert_int_equal(atomic_load(&n->script->orders[WORKER_HURRY]), 0);
	kill(n->pid, SIGHUP);
	wait_until(n, atomic_load(&n->script->orders[WORKER_HURRY]) == 2);
	wait_until(n, status_says(n, "\"generation\":4,"));
	atomic_store(&n->script->lingers, 0);
	stop(n);
}

static void
what_a_lingering_worker_submits_one_with_redis_tells_of(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->stores, DATABASE | REDIS);
	atomic_store(&n->script->lingers, 1);
	start(n);
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"generation\":2,") &&
			  status_says(n, "\"state\":\"lingering\""));
	atomic_store(&n->script->hints, 1);
	wait_until(n, atomic_load(&n->script->orders[WORKER_HINT]) > 0);
	assert_int_equal(atomic_load(&n->script->orders[WORKER_HINT]), 1);
	atomic_store(&n->script->lingers, 0);
	stop(n);
}

static void
new_workers_that_never_get_ready_are_given_up(void **state)
{
	struct node *n = *state;
	int old;

	strcpy(n->node_more, "start_timeout = 1");
	start(n);
	old = ready_pid(n, 0);
	atomic_store(&n->script->behaviour, CRASH);
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"state\":\"reloading\""));
	wait_until(n, log_says(n, "the new workers do not get ready"));
	wait_until(n, status_says(n, "\"state\":\"running\""));
	assert_true(status_says(n, "\"reload_failures\":1"));
	assert_int_equal(ready_pid(n, 0), old);
	stop(n);
}

static void
new_workers_lack_no_store_that_the_old_ones_have(void **state)
{
	static const struct {
		int stores;
		const char *why;
	} bad[] = {
	    {REDIS, "not all of them have PostgreSQL"},
	    {DATABASE, "not all of them have Redis"},
	};
	struct node *n = *state;
	int old;

	strcpy(n->node_more, "start_timeout = 1");
	atomic_store(&n->script->stores, DATABASE | REDIS);
	start(n);
	old = ready_pid(n, 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		atomic_store(&n->script->stores, bad[i].stores);
		kill(n->pid, SIGHUP);
		wait_until(n, log_says(n, bad[i].why));
		wait_until(n, status_says(n, "\"state\":\"running\""));
		assert_int_equal(ready_pid(n, 0), old);
	}
	atomic_store(&n->script->stores, DATABASE | REDIS);
	kill(n->pid, SIGHUP);
	wait_until(n, status_says(n, "\"generation\":4,") &&
			  status_says(n, "\"state\":\"running\""));
	assert_true(status_says(n, "\"reload_failures\":2"));
	stop(n);
}

static void
signals_usr1_and_usr2(void **state)
{
	struct node *n = *state;
	char moved[200];

	start(n);
	snprintf(moved, sizeof(moved), "%s/moved", n->dir);
	assert_int_equal(rename(n->log, moved), 0);
	kill(n->pid, SIGUSR1);
	wait_until(n, atomic_load(&n->script->orders[WORKER_REOPEN]) == 2);
	/* (a test's process cannot be executed again as a node) */
	kill(n->pid, SIGUSR2);
	wait_until(n, log_says(n, "this node cannot execute itself again"));
	unlink(moved);
	stop(n);
}

static void
the_migrator_is_retried(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->migrate_fails, 3);
	start(n);
	assert_int_equal(atomic_load(&n->script->migrations), 4);
	assert_true(log_says(n, "reason=\"nobody listens\""));
	stop(n);
}

static void
a_hopeless_migration_stops_the_node(void **state)
{
	struct node *n = *state;

	atomic_store(&n->script->migrate_fails, -1);
	start_with(n, "");
	assert_int_equal(exit_status(n), WORKER_EXIT_CONFIG);
	assert_true(log_says(n, "the schema is from the future"));
}

static void
workers_leave_when_the_master_is_killed(void **state)
{
	struct node *n = *state;

	start(n);
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	n->pid = 0;
	/* teardown waits for all of them */
}

static void
the_pid_file_names_the_master_while_it_lives(void **state)
{
	struct node *n = *state;
	struct err err = ERR_INIT;
	pid_t pid = 0;

	start(n);
	assert_int_equal(pidfile_read(n->pid_file, &pid, &err), 0);
	assert_int_equal(pid, n->pid);
	stop(n);
	assert_int_equal(pidfile_read(n->pid_file, &pid, &err), -1);
}

static void
without_memory_no_master_is_made_and_nothing_is_left(void **state)
{
	struct node *n = *state;
	struct master_opts opts = {
	    .load = load, .load_arg = n, .worker = scripted_worker};
	struct master *m = NULL;
	struct err err = ERR_INIT;

	write_config(n, "");
	for (unsigned nth = 1; m == NULL; nth++) {
		assert_true(nth < 100);
		opts.settings = load(n, &err);
		assert_non_null(opts.settings);
		mem_fail_nth(nth);
		m = master_create(&opts, &err);
		mem_fail_nth(0);
		if (m == NULL)
			assert_int_equal(err.code, ERR_NOMEM);
	}
	master_free(m);
	assert_int_equal(access(n->socket, F_OK), -1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(starts_answers_and_stops),
	    T(a_killed_worker_is_buried_and_replaced_at_once),
	    T(an_idle_client_of_the_control_socket_is_given_up),
	    T(who_left_its_group_is_killed_too),
	    T(a_killed_spawner_takes_its_commands_along_and_is_replaced),
	    T(a_burial_is_opened_again_when_its_taker_dies),
	    T(no_storm_kills_the_master),
	    T(a_crash_loop_is_slowed_down_and_ends_when_the_cause_does),
	    T(a_hanging_worker_is_replaced),
	    T(a_stopped_worker_is_killed),
	    T(a_lost_incarnation_is_replaced_and_buried),
	    T(a_hopeless_worker_stops_the_node_with_its_status),
	    T(the_second_term_ends_at_once),
	    T(quit_and_int_reach_the_workers_as_such),
	    T(who_does_not_leave_is_killed),
	    T(a_reload_brings_new_workers_first),
	    T(a_bad_file_changes_nothing),
	    T(a_configuration_that_cannot_run_is_given_up),
	    T(reloads_in_a_row_are_bounded),
	    T(what_needs_a_restart_stays_as_it_was),
	    T(listeners_follow_the_configuration),
	    T(ttin_and_ttou_change_the_number),
	    T(a_worker_that_did_enough_is_replaced_successor_first),
	    T(an_order_brings_workers_that_take_no_tasks),
	    T(who_lingers_makes_room_for_a_third_generation),
	    T(what_a_lingering_worker_submits_one_with_redis_tells_of),
	    T(new_workers_that_never_get_ready_are_given_up),
	    T(new_workers_lack_no_store_that_the_old_ones_have),
	    T(signals_usr1_and_usr2),
	    T(the_migrator_is_retried),
	    T(a_hopeless_migration_stops_the_node),
	    T(workers_leave_when_the_master_is_killed),
	    T(the_pid_file_names_the_master_while_it_lives),
	    T(without_memory_no_master_is_made_and_nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
