/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * helper.c - processes beside the workers, one row each, supervised by the same slots.
 *
 * A helper does what neither master nor worker may: block, or fork and execute
 * commands. It tells how it went by its exit status, and why by one text through a
 * pipe; the master logs it once.  The migrator ends when its work is done.  A spawner
 * (proc/spawner.h) lives as long as its generation has workers, and longer than the
 * master if that dies: it leaves when its last worker has.
 *
 * The spawner is the one process that stays root beside the master, and only when a
 * type names a user to run as, or has a control group.  It starts nothing but the
 * commands of its own configuration, as they are configured, whatever a worker asks
 * for.
 *
 * New helper?  A value in enum helper_kind and a row here.
 */
#include "master/helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/str.h"
#include "model/command.h"
#include "proc/cgroup.h"
#include "proc/procutil.h"
#include "proc/spawner.h"
#include "worker/worker.h"

#define EXIT_AGAIN 1

struct helper_row {
	const char *name;
	int (*run)(const struct helper_env *env, int control, struct err *err);
	/* NULL: it has no end of its own */
	void (*done)(struct scoreboard *board);
	/* whether it needs the master's rights; NULL: never */
	bool (*needs_root)(const struct settings *settings);
	bool talks;	      /* has a control socket */
	bool outlives_master; /* for a while: it sees the end of that socket */
	struct slot_rules rules;
};

static int
migrator_run(const struct helper_env *env, int control, struct err *err)
{
	(void)control;
	return env->migrate(env->settings, env->node, err);
}

static void
migrator_done(struct scoreboard *board)
{
	atomic_store(&board->schema_ready, 1);
}

static bool
spawner_allows(const struct launch_spec *spec, void *arg)
{
	return commands_have(arg, spec);
}

static void
spawner_beat(void *arg)
{
	atomic_store((_Atomic int64_t *)arg, clock_mono_ms());
}

static int
spawner_main(const struct helper_env *env, int control, struct err *err)
{
	bool other = env->user->change && geteuid() == 0;
	struct commands *commands = commands_create(env->settings, err);
	unsigned controllers = commands_controllers(env->settings);
	char home[CGROUP_PATH];
	struct spawner_opts opts = {
	    .door = env->door,
	    .control = control,
	    .uid = other ? env->user->uid : (uid_t)-1,
	    .gid = other ? env->user->gid : (gid_t)-1,
	    .temporary = env->settings->node_temporary,
	    .allow = spawner_allows,
	    .allow_arg = commands,
	    .beat = spawner_beat,
	    .beat_arg = env->beat_ms,
	};
	int rc;

	if (commands == NULL)
		return -1;
	/* what it has to say goes to the master; a file that is rotated is not to be
	 * held by it, or by the keepers */
	log_close();
	if (controllers != 0) {
		if (cgroup_prepare(controllers, getppid(), home, err) != 0) {
			commands_free(commands);
			return -1;
		}
		opts.group_home = home;
	}
	rc = spawner_run(&opts, err);
	commands_free(commands);
	return rc;
}

static const struct helper_row rows[HELPER_KIND_COUNT] = {
    [HELPER_MIGRATOR] =
	{
	    .name = "migrator",
	    .run = migrator_run,
	    .done = migrator_done,
	    /* any life is a young one: the database may be away for long.  No other
	       bound, a large table takes its time */
	    .rules = {.young_ms = INT64_MAX,
		.backoff_first_ms = 200,
		.backoff_max_ms = 3000},
	},
    [HELPER_SPAWNER] =
	{
	    .name = "spawner",
	    .run = spawner_main,
	    .needs_root = commands_need_root,
	    .talks = true,
	    .outlives_master = true,
	    .rules = {.start_timeout_ms = 30000,
		.young_ms = 2000,
		.backoff_first_ms = 100,
		.backoff_max_ms = 3000},
	},
};

void
helper_init(struct helper *h, enum helper_kind kind, int64_t hang_timeout_ms)
{
	struct slot_rules rules = rows[kind].rules;

	memset(h, 0, sizeof(*h));
	h->row = &rows[kind];
	h->report_fd = h->control_fd = -1;
	rules.hang_timeout_ms = hang_timeout_ms;
	slot_init(&h->slot, &rules);
}

const char *
helper_name(const struct helper *h)
{
	return h->row->name;
}

ATTR_NORETURN static void
helper_process(const struct helper_row *row, const struct helper_env *env, pid_t master,
    int report_fd, int control_fd)
{
	static const struct process_user root = {.change = false};
	bool keeps = row->needs_root != NULL && row->needs_root(env->settings);
	struct err err = ERR_INIT;
	int rc, status;

	env->leave(env->door, env->leave_arg);
	log_identity(row->name);
	rc = process_begin(row->name, keeps ? &root : env->user, false, &err);
	/* (a spawner has all signals blocked: the kernel ends it, and the master says
	 * so)
	 */
	if (rc == 0 && !row->talks)
		rc = crash_watch(&err);
	/* after the change of user, which clears it; its work is in a transaction */
	if (rc == 0 && !row->outlives_master &&
	    (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != master))
		process_end(EXIT_AGAIN);
	if (rc == 0)
		rc = row->run(env, control_fd, &err);
	if (rc == 0)
		process_end(0);
	status = err.code == ERR_INVALID ? WORKER_EXIT_CONFIG : EXIT_AGAIN;
	if (write(report_fd, err.text, strlen(err.text)) == -1)
		log_error(NULL, "helper failed", "reason=\"%s\"", err.text);
	process_end(status);
}

static void
close_ends(int fds[2])
{
	for (int i = 0; i < 2; i++) {
		if (fds[i] != -1)
			close(fds[i]);
		fds[i] = -1;
	}
}

void
helper_spawn(struct helper *h, const struct helper_env *env, int64_t now_ms)
{
	struct err err = ERR_INIT;
	pid_t master = getpid(), pid = -1;
	int report[2] = {-1, -1}, control[2] = {-1, -1};

	if (h->row->talks &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0)
		err_errno(&err, errno, "socketpair");
	else if (pipe_cloexec(report, &err) == 0) {
		/* before the fork, so that nothing of the one before is read */
		atomic_store(env->beat_ms, 0);
		pid = process_fork();
		if (pid == 0) {
			close(report[0]);
			if (control[0] != -1)
				close(control[0]);
			helper_process(h->row, env, master, report[1], control[1]);
		}
		if (pid == -1)
			err_errno(&err, errno, "fork");
	}
	if (pid == -1) {
		close_ends(report);
		close_ends(control);
		log_error(NULL, "cannot start helper", "helper=%s reason=\"%s\"",
		    h->row->name, err.text);
		slot_on_not_spawned(&h->slot, err.text, now_ms);
		return;
	}
	close(report[1]);
	if (control[1] != -1)
		close(control[1]);
	h->pid = pid;
	h->beat_ms = env->beat_ms;
	h->report_fd = report[0];
	h->control_fd = control[0];
	slot_on_spawned(&h->slot, now_ms);
	/* who has read that it failed wants to read that it is back */
	if (h->reason[0] != '\0')
		log_info(NULL, "helper started", "helper=%s pid=%ld", h->row->name,
		    (long)pid);
	else
		log_debug(NULL, "helper started", "helper=%s pid=%ld", h->row->name,
		    (long)pid);
}

/* the process is dead, so that this does not wait, unless a stray of its holds the pipe
 */
static void
read_report(struct helper *h, struct err *err)
{
	char text[sizeof(err->text)];
	ssize_t n = 0;

	if (fd_set_nonblock(h->report_fd, NULL) == 0)
		n = read(h->report_fd, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = '\0';
		err_set(err, ERR_IO, "%s", text);
	}
	close(h->report_fd);
	h->report_fd = -1;
	if (h->control_fd != -1)
		close(h->control_fd);
	h->control_fd = -1;
}

enum helper_end
helper_on_exit(struct helper *h, int status, struct scoreboard *board, int64_t now_ms,
    struct err *err)
{
	enum slot_end end;

	err_clear(err);
	read_report(h, err);
	h->pid = 0;
	if (!slot_on_exit(&h->slot, status, now_ms, &end))
		return HELPER_ENDED;
	if (err->code == ERR_NONE)
		err_set(err, ERR_IO, "%s", h->slot.why);
	if (end == SLOT_END_GOOD && h->row->done != NULL) {
		h->row->done(board);
		(void)slot_on_leave(&h->slot, "", 0, now_ms);
		return HELPER_DONE;
	}
	(void)str_copy(h->reason, sizeof(h->reason), err->text);
	if (!h->slot.wanted)
		return HELPER_ENDED;
	return end == SLOT_END_CONFIG ? HELPER_NEVER : HELPER_AGAIN;
}
