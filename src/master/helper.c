/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * helper.c - processes beside the workers, one row each, supervised by the same slots.
 *
 * A helper does what may block, so that neither master nor worker has to.  It tells how
 * it went by its exit status, and why by one text through a pipe; the master logs it
 * once.
 *
 * New helper?  A value in enum helper_kind and a row here.
 */
#include "master/helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "proc/procutil.h"
#include "worker/worker.h"

#define EXIT_AGAIN 1

struct helper_row {
	const char *name;
	int (*run)(const struct helper_env *env, struct err *err);
	void (*done)(struct scoreboard *board);
	struct slot_rules rules;
};

static int
migrator_run(const struct helper_env *env, struct err *err)
{
	return env->migrate(env->settings, err);
}

static void
migrator_done(struct scoreboard *board)
{
	atomic_store(&board->schema_ready, 1);
}

static const struct helper_row rows[HELPER_COUNT] = {
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
};

void
helper_init(struct helper *h, enum helper_kind kind)
{
	memset(h, 0, sizeof(*h));
	h->row = &rows[kind];
	h->report_fd = -1;
	slot_init(&h->slot, &h->row->rules);
}

const char *
helper_name(const struct helper *h)
{
	return h->row->name;
}

ATTR_NORETURN static void
helper_process(const struct helper_row *row, const struct helper_env *env, pid_t master,
    int report_fd)
{
	struct err err = ERR_INIT;
	int rc, status;

	env->leave(env->leave_arg);
	log_identity(row->name);
	rc = process_begin(row->name, env->user, &err);
	/* after the change of user, which clears it; its work is in a transaction */
	if (rc == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != master))
		process_end(EXIT_AGAIN);
	if (rc == 0)
		rc = row->run(env, &err);
	if (rc == 0)
		process_end(0);
	status = err.code == ERR_INVALID ? WORKER_EXIT_CONFIG : EXIT_AGAIN;
	if (write(report_fd, err.text, strlen(err.text)) == -1)
		log_error(NULL, "helper failed", "reason=\"%s\"", err.text);
	process_end(status);
}

void
helper_spawn(struct helper *h, const struct helper_env *env, int64_t now_ms)
{
	struct err err = ERR_INIT;
	pid_t master = getpid(), pid = -1;
	int fds[2];

	if (pipe_cloexec(fds, &err) == 0) {
		pid = process_fork();
		if (pid == 0) {
			close(fds[0]);
			helper_process(h->row, env, master, fds[1]);
		}
		if (pid == -1) {
			err_errno(&err, errno, "fork");
			close(fds[0]);
		}
		close(fds[1]);
	}
	if (pid == -1) {
		log_error(NULL, "cannot start helper", "helper=%s reason=\"%s\"",
		    h->row->name, err.text);
		slot_on_not_spawned(&h->slot, err.text, now_ms);
		return;
	}
	h->pid = pid;
	h->report_fd = fds[0];
	slot_on_spawned(&h->slot, now_ms);
	log_debug(NULL, "helper started", "helper=%s pid=%ld", h->row->name, (long)pid);
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
	if (end == SLOT_END_GOOD) {
		h->row->done(board);
		(void)slot_on_leave(&h->slot, "", 0, now_ms);
		return HELPER_DONE;
	}
	(void)str_copy(h->reason, sizeof(h->reason), err->text);
	if (!h->slot.wanted)
		return HELPER_ENDED;
	return end == SLOT_END_CONFIG ? HELPER_NEVER : HELPER_AGAIN;
}
