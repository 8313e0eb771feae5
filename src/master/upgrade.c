/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * upgrade.c - a new program takes this node's place, or does not.
 *
 * The old master executes the program that it was started as, with the same arguments,
 * and gives it copies of all listening sockets (handover.h).  The new one is a whole
 * node: it reads its configuration, brings the schema up to date, starts its workers.
 * When all of them serve it says so; only then the old one gives it the pid file and
 * the control socket, tells the service manager, and retires its own workers.  Both
 * accept until then and for a moment after, so that there is no gap.
 *
 * Whatever goes wrong before costs nothing: the new master ends (it is told to, then
 * made to), and this one has not changed anything.
 *
 * A new master whose old one dies before the word is said goes on alone.
 */
#include "config.h"
#include "master/node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "proc/procutil.h"

#define EXEC_FAILED 127

/* ---------------------------------------------------------------- the old one's side
 */

static int
tell_all(struct master *m, int channel, struct err *err)
{
	const char *pid_file = m->newest->settings->node_pid_file;
	struct inherited s;
	size_t cursor = 0;

	if (handover_send(channel, -1, err, "mode %d", (int)m->mode) != 0)
		return -1;
	while (listeners_next(m->listeners, &cursor, &s))
		if (s.audience != -1 &&
		    handover_send(channel, s.fd, err, "listen %d %d %s", s.audience,
			s.ours ? 1 : 0, s.address) != 0)
			return -1;
	if (m->control != NULL &&
	    handover_send(channel, control_socket(m->control), err, "control %s",
		m->newest->settings->node_control_socket) != 0)
		return -1;
	if (pid_file[0] != '\0' &&
	    handover_send(channel, -1, err, "pid %s", pid_file) != 0)
		return -1;
	if (count_with_redis(m, m->serving) > 0 &&
	    handover_send(channel, -1, err, "redis") != 0)
		return -1;
	return handover_send(channel, -1, err, "end");
}

/* as this process was started itself, but for the channel; ends in the new program */
ATTR_NORETURN static void
become(struct master *m, int channel)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};
	char number[16];
	int why;

	for (int signo = 1; signo < NSIG; signo++)
		(void)sigaction(signo, &sa, NULL);
	(void)sigprocmask(SIG_SETMASK, &m->mask_before, NULL);
	process_unprotect();
	snprintf(number, sizeof(number), "%d", channel);
	if (setenv(HANDOVER_ENV, number, 1) == 0 && notify_bequeath(&m->notify) == 0 &&
	    fd_clear_cloexec(channel, NULL) == 0)
		(void)execv(m->opts.program, m->opts.argv);
	why = errno;
	(void)handover_send(channel, -1, NULL, "failed %s cannot be executed: %s",
	    m->opts.program, strerror(why));
	_exit(EXEC_FAILED);
}

static int
start(struct master *m, struct err *err)
{
	const struct settings *s = m->serving->settings;
	struct upgrade *up = &m->upgrade;
	sigset_t all, before;
	int fds[2];
	pid_t pid;

	if (socketpair(
		AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return err_errno(err, errno, "socketpair");
	if (tell_all(m, fds[0], err) != 0)
		goto fail;
	(void)fflush(NULL);
	/* its group stays ours: a terminal means both */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become(m, fds[1]);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid == -1) {
		err_errno(err, errno, "fork");
		goto fail;
	}
	close(fds[1]);
	*up = (struct upgrade){.pid = pid,
	    .channel = fds[0],
	    .step = UPGRADE_STARTING,
	    .deadline_ms = m->now_ms + 2 * s->node_start_timeout_ms};
	return 0;
fail:
	close(fds[0]);
	close(fds[1]);
	return -1;
}

/* NULL: it may begin */
static const char *
obstacle(const struct master *m)
{
	if (m->opts.program == NULL)
		return "this node cannot execute itself again";
	if (getpid() == 1)
		return "this node is process 1, whose end is the end of its container: "
		       "start a new container instead";
	if (m->stop != STOP_NO || m->requests.stop != STOP_NO)
		return "the node stops";
	if (m->upgrade.step != UPGRADE_NO)
		return "one is under way already";
	if (m->before.waits)
		return "this node is a new one itself, which has not taken over yet";
	if (m->serving == NULL || m->newest != m->serving)
		return "the node starts or reloads just now: try again when it is done";
	return NULL;
}

static void
failed(struct master *m, const char *reason)
{
	atomic_fetch_add(&m->board->upgrade_failures, 1);
	log_error(NULL, "the upgrade failed, this node goes on as before",
	    "reason=\"%s\"", reason);
}

void
obey_upgrade(struct master *m)
{
	struct err err = ERR_INIT;
	const char *why;

	if (!m->requests.upgrade)
		return;
	m->requests.upgrade = false;
	why = obstacle(m);
	if (why != NULL) {
		log_error(NULL, "no upgrade", "reason=\"%s\"", why);
		return;
	}
	/* a master keeps its idle connections for one upgrade, not for two */
	if (m->before.channel != -1)
		(void)handover_send(m->before.channel, -1, NULL, "hurry");
	if (start(m, &err) != 0) {
		failed(m, err.text);
		return;
	}
	log_info(NULL, "upgrading", "pid=%ld program=%s", (long)m->upgrade.pid,
	    m->opts.program);
}

/* the first reason stays: what follows is only its consequence */
static void
give_up(struct master *m, const char *reason)
{
	struct upgrade *up = &m->upgrade;
	const struct settings *s = m->newest->settings;

	if (up->reason[0] == '\0')
		(void)str_copy(up->reason, sizeof(up->reason), reason);
	if (up->step != UPGRADE_STARTING)
		return;
	up->step = UPGRADE_ENDING;
	up->deadline_ms = m->now_ms + s->node_shutdown_timeout_ms + STOP_MARGIN_MS;
	(void)handover_send(up->channel, -1, NULL, "abort %s", reason);
	/* in case that it does not listen; a program of ours leaves by either */
	(void)kill(up->pid, SIGINT);
}

/* its workers serve: the node is theirs */
static void
hand_over(struct master *m, const char *what)
{
	struct upgrade *up = &m->upgrade;
	struct err err = ERR_INIT;

	/* (the lock goes with the descriptor; the file stays for the next holder) */
	if (m->pid_fd != -1 && strstr(what, " pid") != NULL)
		close(m->pid_fd);
	else if (m->pid_fd != -1)
		pidfile_remove(m->newest->settings->node_pid_file, m->pid_fd);
	m->pid_fd = -1;
	if (strstr(what, " control") != NULL)
		control_leave(m->control);
	control_close(m->control);
	m->control = NULL;
	listeners_disown(m->listeners);
	/* before it speaks for itself, so that it is believed */
	if (notify_send(&m->notify, &err, "MAINPID=%ld", (long)up->pid) != 0)
		log_warn(NULL, "the service manager was not told of the new master",
		    "reason=\"%s\"", err.text);
	notify_close(&m->notify);
	if (handover_send(up->channel, -1, &err, "go %d %d", (int)m->mode,
		m->requests.reload ? 1 : 0) != 0)
		/* it is dead: what is left of this node serves on until it has left */
		log_error(
		    NULL, "the new master does not hear", "reason=\"%s\"", err.text);
	up->step = UPGRADE_DONE;
	if (m->requests.stop == STOP_NO)
		m->requests.stop = STOP_HANDED;
	log_info(NULL, "handed over to the new master", "pid=%ld", (long)up->pid);
}

static void
listen_to(struct master *m)
{
	struct upgrade *up = &m->upgrade;
	char text[HANDOVER_MAX];
	int fd, rc;

	while (
	    up->channel != -1 && (rc = handover_receive(up->channel, text, &fd)) != 0) {
		if (rc == -1) {
			/* its end comes by SIGCHLD, and tells why */
			close(up->channel);
			up->channel = -1;
			/* the node ends: nobody comes back by what is kept for him */
			if (up->step == UPGRADE_DONE)
				workers_order(m, WORKER_HURRY);
			return;
		}
		if (fd != -1)
			close(fd);
		if (str_starts(text, "failed ") && up->step != UPGRADE_DONE)
			give_up(m, text + 7);
		else if (str_starts(text, "ready") && up->step == UPGRADE_STARTING)
			hand_over(m, text);
		else if (str_eq(text, "hurry"))
			workers_order(m, WORKER_HURRY);
	}
}

void
upgrade_turn(struct master *m)
{
	struct upgrade *up = &m->upgrade;
	char why[100];

	if (up->step == UPGRADE_NO)
		return;
	listen_to(m);
	if (up->step == UPGRADE_STARTING && m->requests.stop > STOP_HANDED)
		give_up(m, "the node stops");
	if (up->deadline_ms > m->now_ms || up->pid == 0)
		return;
	if (up->step == UPGRADE_STARTING) {
		snprintf(why, sizeof(why),
		    "its workers do not serve after %lld s (twice node.start_timeout)",
		    (long long)(2 * m->newest->settings->node_start_timeout_ms / 1000));
		give_up(m, why);
	} else if (up->step == UPGRADE_ENDING) {
		log_error(NULL, "the new master does not end, killing it", "pid=%ld",
		    (long)up->pid);
		(void)kill(up->pid, SIGKILL);
		up->deadline_ms = m->now_ms + STOP_MARGIN_MS;
	}
}

void
upgrade_ended(struct master *m, int status)
{
	struct upgrade *up = &m->upgrade;
	char how[SCORE_REASON];

	if (up->step == UPGRADE_DONE) {
		log_error(NULL, "the new master has ended", "pid=%ld", (long)up->pid);
		up->pid = 0;
		return;
	}
	listen_to(m); /* its last words */
	slot_status_text(status, how, sizeof(how));
	if (up->channel != -1)
		close(up->channel);
	if (m->requests.stop == STOP_NO)
		failed(m, up->reason[0] != '\0' ? up->reason : how);
	/* its workers have seen its end and leave; they are ours now, but not to kill
	 */
	m->stray_checks = -STRAYS_LEAVE_CHECKS;
	*up = (struct upgrade){.channel = -1};
}

/* ---------------------------------------------------------------- the new one's side
 */

/* mode: an order may have come to the old one meanwhile */
static void
take_over(struct master *m, int mode)
{
	const struct settings *s = m->newest->settings;
	struct err err = ERR_INIT;

	m->before.waits = false;
	if (mode >= 0 && mode < NODE_MODE_LEAVE && mode != (int)m->mode)
		master_set_mode(m, (enum node_mode)mode);
	listeners_own(m->listeners);
	control_own(m->control);
	if (s->node_pid_file[0] != '\0' &&
	    pidfile_write(s->node_pid_file, &m->pid_fd, &err) != 0)
		log_error(NULL, "the pid file is not ours", "reason=\"%s\"", err.text);
	log_info(NULL, "took over", "node=%s from_pid=%ld version=%s",
	    m->board->node_text, (long)m->before.pid, PACKAGE_VERSION);
}

static void
leave_it(struct master *m, const char *why)
{
	log_error(NULL, "this upgrade is given up, the old master stays",
	    "reason=\"%s\"", why);
	m->exit_status = 1;
	if (m->requests.stop < STOP_INT)
		m->requests.stop = STOP_INT;
}

/* all workers that are wanted serve, and so does what they need */
static bool
serves(const struct master *m)
{
	return m->newest->established && m->stop == STOP_NO &&
	       atomic_load(&m->board->schema_ready) != 0 &&
	       count_serving(m, m->newest) >= m->wanted_workers &&
	       (!m->before.had_redis ||
		   count_with_redis(m, m->newest) >= m->wanted_workers);
}

static void
say_ready(struct master *m)
{
	const struct settings *s = m->newest->settings;
	struct err err = ERR_INIT;

	if (m->before.told || !serves(m))
		return;
	m->before.told = true;
	if (handover_send(m->before.channel, -1, &err, "ready%s%s",
		m->before.keeps_control ? " control" : "",
		str_eq(s->node_pid_file, m->before.pid_path) ? " pid" : "") != 0)
		log_error(
		    NULL, "the old master does not hear", "reason=\"%s\"", err.text);
}

void
succession_turn(struct master *m)
{
	struct predecessor *p = &m->before;
	char text[HANDOVER_MAX];
	int fd, rc, mode, reload;

	if (p->channel == -1)
		return;
	if (p->waits)
		say_ready(m);
	while ((rc = handover_receive(p->channel, text, &fd)) == 1) {
		if (fd != -1)
			close(fd);
		if (p->waits && sscanf(text, "go %d %d", &mode, &reload) == 2) {
			/* it was asked to since we read our settings */
			m->requests.reload |= reload != 0;
			take_over(m, mode);
		} else if (p->waits && str_starts(text, "abort "))
			leave_it(m, text + 6);
		else if (str_eq(text, "hint"))
			m->requests.hint = true;
	}
	if (rc == 0)
		return;
	close(p->channel);
	p->channel = -1;
	if (p->waits && m->stop == STOP_NO && m->requests.stop == STOP_NO) {
		log_warn(NULL, "the old master is dead", "pid=%ld", (long)p->pid);
		take_over(m, (int)m->mode);
	}
}
