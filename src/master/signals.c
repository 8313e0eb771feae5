/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signals.c - what a signal asks the master for.
 *
 * They are blocked, read from a descriptor and noted in m->requests; decide() acts on
 * that.
 *
 * New signal?  A row in the table, and where decide() acts on what it notes.
 */
#include "master/node.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

static void
note_term(struct requests *r)
{
	r->stop = r->stop >= STOP_TERM ? STOP_NOW : STOP_TERM;
}

static void
note_int(struct requests *r)
{
	r->stop = r->stop >= STOP_TERM ? STOP_NOW : STOP_INT;
}

static void
note_quit(struct requests *r)
{
	if (r->stop == STOP_NO)
		r->stop = STOP_QUIT;
}

static void
note_hup(struct requests *r)
{
	r->reload = true;
}

static void
note_usr1(struct requests *r)
{
	r->reopen = true;
}

static void
note_usr2(struct requests *r)
{
	r->upgrade = true;
}

static void
note_ttin(struct requests *r)
{
	r->more_workers++;
}

static void
note_ttou(struct requests *r)
{
	r->more_workers--;
}

static void
note_nothing(struct requests *r)
{
	(void)r; /* CHLD: the turn that it starts is all that is needed */
}

static const struct signal_row {
	int signo;
	const char *name;
	void (*note)(struct requests *r);
} signals[] = {
    {SIGTERM, "TERM", note_term},
    {SIGINT, "INT", note_int},
    {SIGQUIT, "QUIT", note_quit},
    {SIGHUP, "HUP", note_hup},
    {SIGUSR1, "USR1", note_usr1},
    {SIGUSR2, "USR2", note_usr2},
    {SIGTTIN, "TTIN", note_ttin},
    {SIGTTOU, "TTOU", note_ttou},
    {SIGCHLD, "CHLD", note_nothing},
};

void
signals_read(struct master *m)
{
	struct signalfd_siginfo info;

	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		for (size_t i = 0; i < COUNT_OF(signals); i++) {
			if (signals[i].signo != (int)info.ssi_signo)
				continue;
			if (signals[i].signo != SIGCHLD)
				log_info(NULL, "signal received",
				    "signal=%s from_pid=%u", signals[i].name,
				    info.ssi_pid);
			signals[i].note(&m->requests);
		}
	}
}

int
signals_catch(struct master *m, struct err *err)
{
	sigset_t set;
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	const struct sigaction normal = {.sa_handler = SIG_DFL};

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		sigaddset(&set, signals[i].signo);
	if (sigprocmask(SIG_BLOCK, &set, &m->mask_before) != 0)
		return err_errno(err, errno, "signal mask");
	/* one that is ignored, as INT is in what a script starts behind it, would be
	 * lost before it can be read; and CHLD with it */
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		(void)sigaction(signals[i].signo, &normal, NULL);
	m->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (m->signal_fd == -1)
		return err_errno(err, errno, "signalfd");
	(void)sigaction(SIGPIPE, &ignore, NULL);
	return 0;
}
