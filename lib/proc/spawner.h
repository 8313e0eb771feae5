/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spawner.h - the process that forks and executes commands for all others of a node.
 *
 * It is forked early and holds nothing: no key, no connection to a store, no listener.
 * Others reach it through its door, a pair of sockets that whoever forks it made
 * before: spawner_door.  A process that wants commands run makes a connection of its
 * own and sends one end of it through the door (launch.h does).  So the spawner may die
 * and start anew: the door stays, and what waits in it.
 *
 * Each command gets a keeper, a process forked from the spawner that is the subreaper
 * of all that the command starts (keeper.h).  The death of
 *
 *     a connected process   kills what it started, at once
 *     the spawner           kills everything: its keepers see it
 *     a keeper              kills its command; what is left comes to the spawner, which
 *                           kills it
 *
 * control, when given, is a socket to whoever supervises: GONE asks for the death of
 * all that a process started (it is dead itself), SETTLED answers when that is done.
 * Nothing that such a process had still asked for is started after SETTLED.  TERM, or
 * the end of file on control and no connection left, ends the spawner, and all commands
 * with it.
 */
#ifndef PROC_SPAWNER_H
#define PROC_SPAWNER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "proc/launch.h"

#define SPAWNER_TREES	    4096 /* at once */
#define SPAWNER_CONNECTIONS 320

struct spawner_opts {
	int door;    /* its end; borrowed */
	int control; /* borrowed; -1: nobody supervises */
	uid_t uid;   /* who commands run as whose request says nothing; -1: as we are */
	gid_t gid;
	const char *temporary;	/* where private directories are made */
	const char *group_home; /* prepared (cgroup.h); NULL: no command has a group */
	/* whether this may be run at all; NULL: everything.  The descriptors are -1 */
	bool (*allow)(const struct launch_spec *spec, void *arg);
	void *allow_arg;
	/* called twice a second at least, as a sign of life; NULL: nobody looks */
	void (*beat)(void *arg);
	void *beat_arg;
};

enum spawner_door_end { SPAWNER_INSIDE = 0, SPAWNER_OUTSIDE };

/* a door for one spawner after the other, and for all who use them; close both */
int spawner_door(int ends[2], struct err *err) ATTR_CHECK;
/*
 * The process's whole life from here; single-threaded.  Returns when it ended in good
 * order: no command is left
 */
int spawner_run(const struct spawner_opts *opts, struct err *err) ATTR_CHECK;

/* the supervisor's end of control; both never wait */
int spawner_ask_gone(int control, pid_t pid); /* -1: it cannot hear */
/* the next process that is settled; 0: none now; -1: end of file */
pid_t spawner_settled(int control);

#endif
