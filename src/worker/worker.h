/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.h - the process that does the work, as the master sees it.
 *
 * The master forks, fills a struct worker_env and calls worker_main, which
 * returns the exit status.  Between the two lies one socket pair: orders come down it
 * as single bytes, and its end of file means that the master is gone (drain and leave).
 * Any byte up it makes the master look at the scoreboard at once, for example for
 * SCORE_READY.
 *
 * The process starts in a group of its own, with an empty signal mask and default
 * dispositions (but for SIGPIPE and SIGXFSZ, which are ignored), its title and log
 * identity set, its user changed.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "model/scoreboard.h"
#include "model/settings.h"

struct tlsbag;

enum audience { AUDIENCE_APPLICATIONS = 0, AUDIENCE_DEVELOPERS, AUDIENCE_COUNT };

struct worker_listener {
	/*
	 * The process's own copy, inherited by the fork: it is closed, like every
	 * duplicate, when the worker stops accepting, or the address stays taken when
	 * the master is gone
	 */
	int fd;
	enum audience audience;
	bool tls, proxy; /* model/listen.h */
};

struct worker_env {
	const struct settings *settings;
	struct scoreboard *board;
	int slot;  /* index into board->slots: the worker's number */
	bool idle; /* takes no tasks */
	int control_fd;
	int door; /* the spawner's (proc/spawner.h) */
	const struct worker_listener *listeners;
	size_t listener_count;
	const struct tlsbag *tls; /* inherited too; NULL: no certificates */
};

/* bytes from the master */
enum worker_order {
	WORKER_TERM =
	    'T', /* drain: drain_delay, then shutdown_timeout for running tasks */
	WORKER_INT = 'I',    /* drain without the delay */
	WORKER_QUIT = 'Q',   /* drain, no bound on running tasks */
	WORKER_RETIRE = 'R', /* another worker takes our place (reload, recycling): no
				delay, /health stays 200, idle connections stay */
	WORKER_HURRY = 'H',  /* who retires closes them too */
	WORKER_END = 'E',    /* leave now */
	WORKER_REOPEN = 'L', /* open the log file again */
	WORKER_BURY = 'B',   /* there is an open burial */
	WORKER_LEVEL = 'V',  /* the scoreboard says how much is logged */
	WORKER_HINT = 'F',   /* the leader shall look: to be told by us */
};

/* bytes to the master */
enum worker_news {
	NEWS_LOOK = 0,	 /* the scoreboard has something for it */
	NEWS_HINT = 'F', /* we are out of the cluster, and have submitted: others shall
			    tell the leader */
};

/* exit statuses that mean something to the master; any other is a crash */
enum worker_exit {
	WORKER_EXIT_OK = 0,    /* left in good order */
	WORKER_EXIT_LOST = 75, /* PostgreSQL says that this incarnation is dead: start a
				  new one at once */
	WORKER_EXIT_CONFIG =
	    78, /* cannot run, and trying again will not help: the node stops */
};

int worker_main(const struct worker_env *env);

#endif
