/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.c - starting a worker, giving it orders, and what happens when it dies.
 *
 * The order of things at a worker's death matters:
 *
 *   1. The process groups that it ran are killed, while the zombies that lead them
 * still pin their ids.  (The master is the subreaper: they became its children.)
 *   2. Its incarnation moves to a burial, so that its tasks are recovered.
 *   3. Its counters move to the retired ones, its slot is freed.
 *   4. The living workers are woken to take the burial, and the successor starts.
 *
 * The other way round a task could run again while its first attempt's process still
 * lives.
 *
 * What a worker writes to the scoreboard is not trusted: it may be broken, or not ours
 * any more, and the master may be root.  A process group is killed only within our own
 * session.
 */
#include "master/node.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

/* ---- starting ----------------------------------------------------------------------
 */

int
worker_want(struct master *m, struct generation *g)
{
	const struct settings *s = g->settings;
	const struct slot_rules rules = {
	    .start_timeout_ms = s->node_start_timeout_ms,
	    .hang_timeout_ms = s->node_hang_timeout_ms,
	    .abort_grace_ms = 2000,
	    .young_ms = 2000,
	    .backoff_first_ms = 100,
	    .backoff_max_ms = 30000,
	};

	for (int i = 0; i < SCORE_SLOTS; i++) {
		struct worker *w = &m->workers[i];

		if (w->gen != NULL)
			continue;
		w->gen = g;
		slot_init(&w->slot, &rules);
		(void)slot_on_wanted(&w->slot, m->now_ms);
		return i;
	}
	return NO_SLOT;
}

void
master_leave(struct master *m, const struct listen_set *keep)
{
	if (m->signal_fd != -1)
		close(m->signal_fd);
	if (m->pid_fd != -1)
		close(m->pid_fd);
	m->signal_fd = m->pid_fd = -1;
	control_leave(m->control);
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		if (m->workers[i].order_fd != -1)
			close(m->workers[i].order_fd);
		m->workers[i].order_fd = -1;
	}
	for (size_t i = 0; i < HELPER_COUNT; i++) {
		if (m->helpers[i].report_fd != -1)
			close(m->helpers[i].report_fd);
		m->helpers[i].report_fd = -1;
	}
	listeners_leave(m->listeners, keep);
}

ATTR_NORETURN static void
worker_process(struct master *m, size_t i, int control_fd)
{
	const struct generation *g = m->workers[i].gen;
	const struct worker_env env = {
	    .settings = g->settings,
	    .board = m->board,
	    .slot = (int)i,
	    .control_fd = control_fd,
	    .listeners = g->listen.list,
	    .listener_count = g->listen.count,
	};
	struct err err = ERR_INIT;
	char name[32];

	snprintf(name, sizeof(name), "worker=%zu", i);
	log_identity(name);
	log_set_level((enum log_level)g->settings->log_level);
	master_leave(m, &g->listen);
	snprintf(name, sizeof(name), "worker %zu", i);
	if (process_begin(name, &m->user, &err) != 0) {
		log_error(NULL, "worker cannot start", "reason=\"%s\"", err.text);
		process_end(WORKER_EXIT_CONFIG);
	}
	process_end(m->opts.worker(&env));
}

/* before the fork, so that nothing of the one before can be read, and nothing of the
 * new one is lost */
static void
score_prepare(struct score_slot *score, uint32_t generation, int64_t now_ms)
{
	atomic_store(&score->incarnation[0], 0);
	atomic_store(&score->incarnation[1], 0);
	for (size_t g = 0; g < SCORE_GROUPS; g++)
		atomic_store(&score->groups[g], 0);
	for (size_t c = 0; c < SCORE_COUNTER_COUNT; c++)
		atomic_store(&score->counters[c], 0);
	atomic_store(&score->heartbeat_ms, 0);
	atomic_store(&score->beaten_ms, 0);
	atomic_store(&score->disowned, 0);
	atomic_store(&score->database_up, 0);
	atomic_store(&score->redis_up, 0);
	atomic_store(&score->generation, generation);
	atomic_store(&score->started_ms, now_ms);
	atomic_store(&score->state, SCORE_STARTING);
}

void
worker_spawn(struct master *m, size_t i)
{
	struct worker *w = &m->workers[i];
	struct score_slot *score = &m->board->slots[i];
	struct err err = ERR_INIT;
	int fds[2];
	pid_t pid = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) !=
	    0)
		err_errno(&err, errno, "socketpair");
	else {
		score_prepare(score, w->gen->number, m->now_ms);
		pid = process_fork();
		if (pid == 0) {
			close(fds[0]);
			worker_process(m, i, fds[1]);
		}
		close(fds[1]);
		if (pid == -1) {
			err_errno(&err, errno, "fork");
			close(fds[0]);
		}
	}
	if (pid == -1) {
		atomic_store(&score->state, SCORE_FREE);
		log_error(NULL, "cannot start worker", "worker=%zu reason=\"%s\"", i,
		    err.text);
		(void)slot_on_not_spawned(&w->slot, err.text, m->now_ms);
		return;
	}
	/* in the child too: whoever is first, a kill of the group finds it */
	(void)setpgid(pid, pid);
	w->pid = pid;
	w->order_fd = fds[0];
	w->order_eof = false;
	atomic_store(&score->pid, pid);
	(void)slot_on_spawned(&w->slot, m->now_ms);
	log_info(NULL, "worker started", "worker=%zu pid=%ld generation=%u", i,
	    (long)pid, w->gen->number);
}

/* ---- orders ------------------------------------------------------------------------
 */

static void
send_order(const struct master *m, size_t i, enum worker_order order)
{
	const struct worker *w = &m->workers[i];
	char byte = (char)order;

	if (w->order_fd == -1)
		return;
	/* a full socket means a worker that reads no orders: its heartbeat is looked at
	 * anyway */
	if (send(w->order_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		log_debug(NULL, "order not delivered",
		    "worker=%zu order=%c reason=\"%s\"", i, byte, strerror(errno));
}

void
workers_order(struct master *m, enum worker_order order)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		send_order(m, i, order);
}

void
worker_leave(struct master *m, size_t i, enum worker_order order, const char *why,
    int64_t bound_ms)
{
	if (slot_on_leave(&m->workers[i].slot, why, bound_ms, m->now_ms))
		send_order(m, i, order);
}

/* ---- the end of one ----------------------------------------------------------------
 */

static bool
is_our_process(const struct master *m, pid_t pid)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].pid == pid)
			return true;
	for (size_t i = 0; i < HELPER_COUNT; i++)
		if (m->helpers[i].pid == pid)
			return true;
	return false;
}

static void
kill_group(const struct master *m, size_t i, pid_t group)
{
	pid_t session = getsid(group);

	/* (a group without its leader has no session to ask for; its members are still
	 * ours) */
	if (group <= 1 || group == getpgrp() || is_our_process(m, group) ||
	    (session != -1 && session != getsid(0))) {
		log_error(NULL, "worker listed a process group that is not its own",
		    "worker=%zu group=%ld", i, (long)group);
		return;
	}
	if (kill(-group, SIGKILL) == 0)
		log_info(NULL, "killed what an ended worker ran",
		    "worker=%zu group=%ld", i, (long)group);
}

static bool
bury(struct master *m, size_t i, enum burial_end end)
{
	struct uuid incarnation;
	char text[UUID_TEXT_SIZE];

	if (!score_get_uuid(m->board->slots[i].incarnation, &incarnation))
		return false;
	for (size_t b = 0; b < SCORE_BURIALS; b++) {
		struct score_burial *burial = &m->board->burials[b];

		if (atomic_load(&burial->state) != BURIAL_FREE)
			continue;
		atomic_store(&burial->state, BURIAL_FILLING);
		atomic_store(&burial->taker, 0);
		atomic_store(&burial->end, (uint8_t)end);
		score_set_uuid(burial->incarnation, &incarnation);
		atomic_store(&burial->state, BURIAL_OPEN);
		m->suspect[b] = false;
		return true;
	}
	/* the leader finds it by its missing heartbeat: later, but not lost */
	log_error(NULL, "no burial is free, recovery will take longer",
	    "worker=%zu incarnation=%s", i, uuid_format(&incarnation, text));
	return false;
}

static bool
reopen_burials_of(struct master *m, pid_t pid)
{
	bool any = false;

	for (size_t b = 0; b < SCORE_BURIALS; b++) {
		struct score_burial *burial = &m->board->burials[b];

		if (atomic_load(&burial->state) != BURIAL_TAKEN ||
		    atomic_load(&burial->taker) != pid)
			continue;
		atomic_store(&burial->taker, 0);
		atomic_store(&burial->state, BURIAL_OPEN);
		any = true;
	}
	return any;
}

static void
tell_end(struct master *m, size_t i, enum slot_end end, int64_t lived_ms)
{
	struct slot *s = &m->workers[i].slot;
	struct score_slot *score = &m->board->slots[i];
	bool planned = s->state == SLOT_EMPTY && end == SLOT_END_GOOD;

	(void)str_copy(score->last_reason, sizeof(score->last_reason), s->why);
	atomic_store(&score->restarted_wall_us, clock_wall_us());
	if (s->state == SLOT_WAITING)
		atomic_fetch_add(&score->restarts, 1);
	log_line(planned ? LOG_INFO : LOG_WARN, NULL, "worker ended",
	    "worker=%zu pid=%ld reason=\"%s\" lived_ms=%lld successor_in_ms=%lld", i,
	    (long)m->workers[i].pid, s->why, (long long)lived_ms,
	    s->state == SLOT_WAITING ? (long long)(slot_deadline(s) - m->now_ms)
				     : -1LL);
}

/* a hang that we end is a crash; other KILLs come from we do not know where */
static enum burial_end
death_of(const struct slot *s, int status)
{
	bool ours = s->state == SLOT_ABORTED || s->state == SLOT_KILLED;

	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !ours
		   ? BURIAL_KILLED
		   : BURIAL_CRASHED;
}

static void
worker_ended(struct master *m, size_t i, int status)
{
	struct worker *w = &m->workers[i];
	struct score_slot *score = &m->board->slots[i];
	int64_t lived_ms = m->now_ms - w->slot.started_ms;
	enum slot_end end = SLOT_END_CRASH;
	enum burial_end how = BURIAL_TOLD;
	bool news = false;

	/* who was told to leave and did not manage did not crash by itself */
	if (w->slot.wanted)
		how = death_of(&w->slot, status);
	(void)slot_on_exit(&w->slot, status, m->now_ms, &end);
	for (size_t g = 0; g < SCORE_GROUPS; g++) {
		pid_t group = atomic_exchange(&score->groups[g], 0);

		if (group != 0)
			kill_group(m, i, group);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != WORKER_EXIT_OK)
		news = bury(m, i, end == SLOT_END_CRASH ? how : BURIAL_TOLD);
	atomic_store(&score->incarnation[0], 0);
	atomic_store(&score->incarnation[1], 0);
	score_retire(m->board, score);
	atomic_store(&score->state, SCORE_FREE);
	atomic_store(&score->pid, 0);
	close(w->order_fd);
	w->order_fd = -1;

	tell_end(m, i, end, lived_ms);
	news |= reopen_burials_of(m, w->pid);
	w->pid = 0;
	if (news)
		workers_order(m, WORKER_BURY);
	if (end == SLOT_END_CONFIG && w->slot.wanted)
		master_give_up(m, w->gen);
}

static bool
is_dead(pid_t pid)
{
	siginfo_t info;

	info.si_pid = 0;
	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == pid;
}

static void
reap_workers(struct master *m)
{
	int status = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		pid_t pid = m->workers[i].pid;

		if (pid == 0 || !is_dead(pid))
			continue;
		/* a child between its fork and its own group is in the worker's; the
		 * zombie pins the id */
		(void)kill(-pid, SIGKILL);
		if (waitpid(pid, &status, WNOHANG) == pid)
			worker_ended(m, i, status);
	}
}

static void
reap_helpers(struct master *m)
{
	for (size_t i = 0; i < HELPER_COUNT; i++) {
		struct helper *h = &m->helpers[i];
		struct err err = ERR_INIT;
		char reason[REASON_SIZE];
		int status;

		if (h->pid == 0 || !is_dead(h->pid) ||
		    waitpid(h->pid, &status, WNOHANG) != h->pid)
			continue;
		enum helper_end end =
		    helper_on_exit(h, status, m->board, m->now_ms, &err);

		str_printable(reason, sizeof(reason), err.text, strlen(err.text));
		switch (end) {
		case HELPER_DONE:
			log_info(NULL, "helper finished", "helper=%s", helper_name(h));
			break;
		case HELPER_AGAIN:
			log_warn(NULL, "helper failed, will try again",
			    "helper=%s reason=\"%s\" again_in_ms=%lld", helper_name(h),
			    reason, (long long)(slot_deadline(&h->slot) - m->now_ms));
			break;
		case HELPER_NEVER:
			log_error(NULL, "helper failed for good, the node stops",
			    "helper=%s reason=\"%s\"", helper_name(h), reason);
			(void)slot_on_leave(&h->slot, "", 0, m->now_ms);
			master_give_up(m, NULL);
			break;
		case HELPER_ENDED:
			break;
		}
	}
}

void
workers_reap(struct master *m)
{
	siginfo_t info;

	reap_workers(m);
	reap_helpers(m);
	/*
	 * The rest are orphans that came to us.  Before one is reaped, and its group's
	 * id free for others, look for its owner's death again: it must have died
	 * before.
	 */
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		    info.si_pid == 0)
			return;
		reap_workers(m);
		reap_helpers(m);
		if (!is_our_process(m, info.si_pid))
			(void)waitpid(info.si_pid, NULL, WNOHANG);
	}
}

/* ---- the second look ---------------------------------------------------------------
 */

void
strays_kill(const struct master *m)
{
	char path[64], text[16384], *rest = text, *word;
	int64_t pid;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return; /* a kernel without it */
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	while ((word = strsep(&rest, " \n")) != NULL) {
		/* (the last one may be cut short: then there is no space after it) */
		if (rest == NULL || str_to_i64(word, &pid) != 0 || pid <= 1 ||
		    is_our_process(m, (pid_t)pid))
			continue;
		log_warn(NULL, "killed a process that its command left behind",
		    "pid=%lld", (long long)pid);
		(void)kill((pid_t)pid, SIGKILL);
	}
}

static bool
any_group_runs(const struct master *m)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		for (size_t g = 0; m->workers[i].pid != 0 && g < SCORE_GROUPS; g++)
			if (atomic_load(&m->board->slots[i].groups[g]) != 0)
				return true;
	return false;
}

static void
check_burials(struct master *m)
{
	bool open = false;

	for (size_t b = 0; b < SCORE_BURIALS; b++) {
		struct score_burial *burial = &m->board->burials[b];
		uint8_t state = atomic_load(&burial->state);
		pid_t taker = atomic_load(&burial->taker);
		bool lost =
		    state == BURIAL_TAKEN && (taker == 0 || !is_our_process(m, taker));

		/* twice in a row: a worker that just takes it has not written its pid
		 * yet */
		if (lost && m->suspect[b]) {
			atomic_store(&burial->taker, 0);
			atomic_store(&burial->state, BURIAL_OPEN);
			state = BURIAL_OPEN;
			lost = false;
		}
		m->suspect[b] = lost;
		open |= state == BURIAL_OPEN;
	}
	/* by level, not by edge: the worker that was told may have died, or had no
	 * database */
	if (open)
		workers_order(m, WORKER_BURY);
}

void
workers_check(struct master *m)
{
	check_burials(m);
	/*
	 * While a command runs, a child of ours that we do not know may be a part of it
	 * that left the group; when none does, it has no owner.
	 */
	if (!any_group_runs(m))
		strays_kill(m);
}
