/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.c - starting a worker, giving it orders, and what happens when it dies.
 *
 * The order of things at a worker's death matters:
 *
 *   1. Its spawner is asked for the death of all that it ran (GONE).  The spawner saw
 * the end of its connection by itself and has begun; but only it knows when the last
 *      process of the last command is gone, and it says so (SETTLED).
 *   2. Its counters move to the retired ones, its slot is freed, its successor starts.
 *   3. When the spawner has said it, the incarnation moves to a burial, and the living
 *      workers are woken to take it and recover its tasks.
 *
 * The other way round a task could run again while its first attempt's processes still
 * live.  A spawner that is dead too has left its keepers behind, which kill what they
 * keep and are then our children: it is settled when no such child is left.  Nobody is
 * waited for longer than SETTLE_MS: what the kernel does not let die must not hold up
 * the tasks of others, and the fence refuses whatever it still brings.
 *
 * What a worker writes to the scoreboard is not trusted: it may be broken, or not ours
 * any more, and the master may be root.
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
#include "base/crash.h"
#include "base/log.h"
#include "base/str.h"
#include "proc/spawner.h"
#include "tls/tlsbag.h"

#define SETTLE_MS    2000
#define STRAY_CHECKS 3	  /* keepers whose spawner died have so long to finish */
#define LEAVE_MS     5000 /* for a spawner to kill everything */

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
master_leave(struct master *m, const struct listen_set *keep, int door)
{
	const struct generation *g;

	if (m->signal_fd != -1)
		close(m->signal_fd);
	if (m->pid_fd != -1)
		close(m->pid_fd);
	m->signal_fd = m->pid_fd = -1;
	control_leave(m->control);
	notify_close(&m->notify);
	if (m->upgrade.channel != -1)
		close(m->upgrade.channel);
	if (m->before.channel != -1)
		close(m->before.channel);
	m->upgrade.channel = m->before.channel = -1;
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		if (m->workers[i].order_fd != -1)
			close(m->workers[i].order_fd);
		m->workers[i].order_fd = -1;
	}
	for (size_t i = 0; i < HELPERS; i++) {
		struct helper *h = &m->helpers[i];

		if (h->report_fd != -1)
			close(h->report_fd);
		if (h->control_fd != -1)
			close(h->control_fd);
		h->report_fd = h->control_fd = -1;
	}
	TAILQ_FOREACH (g, &m->generations, link) {
		for (int i = 0; i < 2; i++)
			if (g->door[i] != door)
				close(g->door[i]);
		/* keys are its workers' business alone */
		if (keep != &g->listen)
			tlsbag_wipe(g->tls);
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
	    .idle = g->idle,
	    .control_fd = control_fd,
	    .door = g->door[SPAWNER_OUTSIDE],
	    .listeners = g->listen.list,
	    .listener_count = g->listen.count,
	    .tls = g->tls,
	};
	struct err err = ERR_INIT;
	char name[32];

	snprintf(name, sizeof(name), "worker=%zu", i);
	log_identity(name);
	log_set_level(score_log_level(m->board, g->settings->log_level));
	master_leave(m, &g->listen, g->door[SPAWNER_OUTSIDE]);
	snprintf(name, sizeof(name), "worker %zu", i);
	if (process_begin(name, &m->user, g->settings->node_core_dumps, &err) != 0 ||
	    crash_watch(&err) != 0) {
		log_error(NULL, "worker cannot start", "reason=\"%s\"", err.text);
		process_end(WORKER_EXIT_CONFIG);
	}
	process_end(m->opts.worker(&env));
}

/* before the fork, so that nothing of the one before can be read, and nothing of the
 * new one is lost */
static void
score_prepare(struct score_slot *score, const struct generation *g, int64_t now_ms)
{
	atomic_store(&score->incarnation[0], 0);
	atomic_store(&score->incarnation[1], 0);
	for (size_t c = 0; c < SCORE_COUNTER_COUNT; c++)
		atomic_store(&score->counters[c], 0);
	atomic_store(&score->heartbeat_ms, 0);
	atomic_store(&score->beaten_ms, 0);
	atomic_store(&score->disowned, 0);
	atomic_store(&score->database_up, 0);
	atomic_store(&score->redis_up, 0);
	atomic_store(&score->serving, 0);
	atomic_store(&score->idle, g->idle);
	atomic_store(&score->generation, g->number);
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
		score_prepare(score, w->gen, m->now_ms);
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
	w->order_eof = w->lingers = w->hurried = false;
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
worker_hurry(struct master *m, size_t i)
{
	m->workers[i].hurried = true;
	send_order(m, i, WORKER_HURRY);
}

void
workers_order(struct master *m, enum worker_order order)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		send_order(m, i, order);
}

void
workers_hint(struct master *m)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		if (m->workers[i].gen != m->serving ||
		    m->workers[i].slot.state != SLOT_READY ||
		    atomic_load(&m->board->slots[i].redis_up) == 0)
			continue;
		send_order(m, i, WORKER_HINT);
		return;
	}
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

const struct generation *
spawner_generation(const struct master *m, size_t helper)
{
	const struct generation *g;

	TAILQ_FOREACH (g, &m->generations, link)
		if (g->spawner == helper)
			return g;
	return NULL;
}

static bool
is_our_process(const struct master *m, pid_t pid)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].pid == pid)
			return true;
	for (size_t i = 0; i < HELPERS; i++)
		if (m->helpers[i].pid == pid)
			return true;
	return m->upgrade.pid == pid;
}

static bool
bury(struct master *m, const struct rite *r)
{
	char text[UUID_TEXT_SIZE];

	for (size_t b = 0; b < SCORE_BURIALS; b++) {
		struct score_burial *burial = &m->board->burials[b];

		if (atomic_load(&burial->state) != BURIAL_FREE)
			continue;
		atomic_store(&burial->state, BURIAL_FILLING);
		atomic_store(&burial->taker, 0);
		atomic_store(&burial->end, (uint8_t)r->end);
		score_set_uuid(burial->incarnation, &r->incarnation);
		atomic_store(&burial->state, BURIAL_OPEN);
		m->suspect[b] = false;
		return true;
	}
	/* the leader finds it by its missing heartbeat: later, but not lost */
	log_error(NULL, "no burial is free, recovery will take longer",
	    "worker=%zu incarnation=%s", r->worker, uuid_format(&r->incarnation, text));
	return false;
}

/* its tasks are recovered when all that it ran is dead */
static void
rite_begin(struct master *m, size_t i, enum burial_end end)
{
	struct worker *w = &m->workers[i];
	struct rite *r = m->rites, now;
	size_t spawner = w->gen->spawner;

	if (!score_get_uuid(m->board->slots[i].incarnation, &now.incarnation))
		return;
	now.pid = w->pid;
	now.end = end;
	now.worker = i;
	now.spawner =
	    m->helpers[spawner].control_fd != -1 &&
		    spawner_ask_gone(m->helpers[spawner].control_fd, w->pid) == 0
		? spawner
		: HELPERS;
	now.until_ms = m->now_ms + SETTLE_MS;
	while (r < m->rites + RITES_MAX && r->pid != 0)
		r++;
	if (r < m->rites + RITES_MAX)
		*r = now;
	else if (bury(m, &now))
		workers_order(m, WORKER_BURY);
}

bool
rites_wait(const struct master *m)
{
	for (size_t i = 0; i < RITES_MAX; i++)
		if (m->rites[i].pid != 0)
			return true;
	return false;
}

static bool any_stray(const struct master *m);

void
workers_bury(struct master *m)
{
	bool any = false;

	if (!rites_wait(m))
		return;
	for (size_t h = 0; h < HELPERS; h++) {
		pid_t settled = 0;

		while (m->helpers[h].control_fd != -1 &&
		       (settled = spawner_settled(m->helpers[h].control_fd)) > 0)
			for (size_t i = 0; i < RITES_MAX; i++)
				if (m->rites[i].pid == settled &&
				    m->rites[i].spawner == h)
					m->rites[i].until_ms = 0;
	}
	for (size_t i = 0; i < RITES_MAX; i++) {
		struct rite *r = &m->rites[i];

		if (r->pid == 0)
			continue;
		if (r->spawner == HELPERS && !any_stray(m))
			r->until_ms = 0;
		if (r->until_ms > m->now_ms)
			continue;
		if (r->until_ms > 0)
			log_error(NULL, "what an ended worker ran does not end",
			    "worker=%zu pid=%ld", r->worker, (long)r->pid);
		any |= bury(m, r);
		r->pid = 0;
	}
	if (any)
		workers_order(m, WORKER_BURY);
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

	/* who was told to leave and did not manage did not crash by itself */
	if (w->slot.wanted)
		how = death_of(&w->slot, status);
	(void)slot_on_exit(&w->slot, status, m->now_ms, &end);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != WORKER_EXIT_OK)
		rite_begin(m, i, end == SLOT_END_CRASH ? how : BURIAL_TOLD);
	atomic_store(&score->incarnation[0], 0);
	atomic_store(&score->incarnation[1], 0);
	score_retire(m->board, score);
	atomic_store(&score->state, SCORE_FREE);
	atomic_store(&score->pid, 0);
	close(w->order_fd);
	w->order_fd = -1;

	tell_end(m, i, end, lived_ms);
	if (reopen_burials_of(m, w->pid))
		workers_order(m, WORKER_BURY);
	w->pid = 0;
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
		if (waitpid(pid, &status, WNOHANG) == pid)
			worker_ended(m, i, status);
	}
}

static void
reap_helpers(struct master *m)
{
	for (size_t i = 0; i < HELPERS; i++) {
		struct helper *h = &m->helpers[i];
		struct err err = ERR_INIT;
		int status;

		if (h->pid == 0 || !is_dead(h->pid) ||
		    waitpid(h->pid, &status, WNOHANG) != h->pid)
			continue;
		enum helper_end end =
		    helper_on_exit(h, status, m->board, m->now_ms, &err);

		/* what it would have answered nobody will */
		for (size_t r = 0; r < RITES_MAX; r++)
			if (m->rites[r].spawner == i)
				m->rites[r].spawner = HELPERS;

		switch (end) {
		case HELPER_DONE:
			log_info(NULL, "helper finished", "helper=%s", helper_name(h));
			break;
		case HELPER_AGAIN:
			log_warn(NULL, "helper failed, will try again",
			    "helper=%s reason=\"%s\" again_in_ms=%lld", helper_name(h),
			    err.text, (long long)(slot_deadline(&h->slot) - m->now_ms));
			break;
		case HELPER_NEVER:
			log_error(NULL, "helper failed for good",
			    "helper=%s reason=\"%s\"", helper_name(h), err.text);
			(void)slot_on_leave(&h->slot, "", 0, m->now_ms);
			master_give_up(m, spawner_generation(m, i));
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

	int status;

	reap_workers(m);
	reap_helpers(m);
	if (m->upgrade.pid != 0 && is_dead(m->upgrade.pid) &&
	    waitpid(m->upgrade.pid, &status, WNOHANG) == m->upgrade.pid)
		upgrade_ended(m, status);
	/* the rest are what a dead spawner left to us */
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		    info.si_pid == 0)
			return;
		/* (one of ours that died since then is left for the next turn) */
		if (is_our_process(m, info.si_pid))
			return;
		(void)waitpid(info.si_pid, NULL, WNOHANG);
	}
}

/* ---- the second look ---------------------------------------------------------------
 */

/* children that are neither worker nor helper: how many, and kills them if told to */
static size_t
strays(const struct master *m, bool kill_them)
{
	char path[64], text[16384], *rest = text, *word;
	size_t count = 0;
	int64_t pid;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return 0; /* a kernel without it */
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	while ((word = strsep(&rest, " \n")) != NULL) {
		/* (the last one may be cut short: then there is no space after it) */
		if (rest == NULL || str_to_i64(word, &pid) != 0 || pid <= 1 ||
		    is_our_process(m, (pid_t)pid))
			continue;
		count++;
		if (!kill_them)
			continue;
		log_warn(NULL, "killed a process that its command left behind",
		    "pid=%lld", (long long)pid);
		(void)kill((pid_t)pid, SIGKILL);
	}
	return count;
}

static bool
any_stray(const struct master *m)
{
	return strays(m, false) > 0;
}

void
strays_kill(const struct master *m)
{
	(void)strays(m, true);
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
	/* the keepers of a spawner that died kill what they keep and end: they are
	 * given some time for it */
	if (!any_stray(m))
		m->stray_checks = m->stray_checks < 0 ? m->stray_checks + 1 : 0;
	else if (++m->stray_checks > STRAY_CHECKS)
		strays_kill(m);
}

/* ---- spawners ----------------------------------------------------------------------
 */

static bool
needs_spawner(const struct master *m, const struct generation *g)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].gen == g)
			return true;
	return m->stop == STOP_NO && (g == m->newest || g == m->serving);
}

void
spawners_end(struct master *m)
{
	struct generation *g;

	TAILQ_FOREACH (g, &m->generations, link) {
		struct helper *h = &m->helpers[g->spawner];

		if (!h->slot.wanted || needs_spawner(m, g))
			continue;
		(void)slot_on_leave(
		    &h->slot, "it has no workers any more", LEAVE_MS, m->now_ms);
		if (h->pid != 0)
			(void)kill(h->pid, SIGTERM);
	}
}
