/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.h - the master's own state, shared by the files of this folder only.
 */
#ifndef MASTER_NODE_H
#define MASTER_NODE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "master/control.h"
#include "master/handover.h"
#include "master/helper.h"
#include "master/listeners.h"
#include "master/master.h"
#include "master/process.h"
#include "master/slot.h"
#include "proc/notify.h"

#define GENERATIONS_MAX 3
/* the migrator, and a spawner for each generation */
#define HELPERS SCORE_HELPERS
_Static_assert(HELPERS == 1 + GENERATIONS_MAX, "one place each");
#define HELPER_OF_SCHEMA 0
#define RITES_MAX	 SCORE_BURIALS
#define NO_SLOT		 (-1)
#define STOP_MARGIN_MS	 10000
/* orphans of a new master that failed have so many looks to leave by themselves */
#define STRAYS_LEAVE_CHECKS 10

/* one configuration, and the workers that run under it */
struct generation {
	TAILQ_ENTRY(generation) link;
	uint32_t number;
	struct settings *settings; /* owned, with those that differ in idle only */
	struct listen_set listen;
	struct tlsbag *tls; /* owned; NULL: no certificates */
	int door[2];	    /* of its spawner (proc/spawner.h), for all its workers */
	size_t spawner;	    /* its helper */
	bool idle;	    /* its workers take no tasks */
	int64_t since_ms;   /* when it was made */
	bool established;   /* all its workers were ready at once */
	bool retired; /* its workers were told to leave, and no more are started */
};

TAILQ_HEAD(generation_list, generation);

/* one place for a worker; its index is the worker's number and the scoreboard's slot */
struct worker {
	struct slot slot;
	struct generation *gen; /* borrowed; NULL: the slot is empty */
	pid_t pid;		/* 0: no process */
	int order_fd;		/* our end of the socket pair; -1: no process */
	bool order_eof;		/* the worker closed its end: not polled any more */
	bool lingers; /* has nothing left but idle connections: SCORE_LINGERING */
	bool hurried; /* was told to close them */
};

/* a dead worker's incarnation, until everything that it ran is dead too */
struct rite {
	pid_t pid; /* the worker's; 0: free */
	struct uuid incarnation;
	enum burial_end end;
	size_t worker;
	size_t spawner;	  /* the helper that answers; HELPERS: it is dead itself */
	int64_t until_ms; /* then it is buried all the same */
};

enum stop_mode {
	STOP_NO = 0,
	STOP_HANDED, /* a new master has the node */
	STOP_QUIT,
	STOP_TERM,
	STOP_INT,
	STOP_NOW
};

/* an upgrade, as the old master sees it */
enum upgrade_step {
	UPGRADE_NO = 0,
	UPGRADE_STARTING, /* the new master has not said that it is ready */
	UPGRADE_ENDING,	  /* it was told to leave */
	UPGRADE_DONE,	  /* the node is its */
};

struct upgrade {
	enum upgrade_step step;
	pid_t pid;   /* 0: no process */
	int channel; /* -1: none */
	int64_t deadline_ms;
	char reason[300]; /* of its failure; "": not known yet */
};

/* the old master, as the new one sees it */
struct predecessor {
	int channel; /* -1: there is none, or it is gone */
	bool waits;  /* the node is still its */
	bool told;   /* that we are ready */
	bool keeps_control;
	bool had_redis; /* its workers had, so that ours are to have it */
	pid_t pid;
	char pid_path[sizeof(((struct inheritance *)0)->pid_path)];
};

/* what the service manager was told last */
enum announced {
	ANNOUNCED_NOTHING = 0,
	ANNOUNCED_READY,
	ANNOUNCED_RELOADING,
	ANNOUNCED_STOPPING
};

/* what signals asked for */
struct requests {
	enum stop_mode stop; /* the most urgent so far */
	bool reload, reopen; /* since the last turn */
	bool upgrade;
	bool hint;	  /* a worker that lingers has submitted: to the leader */
	bool change;	  /* other workers of the same settings: the mode has changed */
	int more_workers; /* TTIN minus TTOU since the last turn */
};

struct master {
	struct master_opts opts;
	struct scoreboard *board;
	struct process_user user;
	struct listeners *listeners;
	struct control *control;
	int signal_fd, pid_fd; /* -1: none */
	sigset_t mask_before;
	struct generation_list generations; /* oldest first */
	struct generation *serving; /* the last established one; NULL at first */
	struct generation *newest;
	uint32_t last_number;
	struct worker workers[SCORE_SLOTS];
	struct helper helpers[HELPERS];
	struct rite rites[RITES_MAX];
	int wanted_workers;
	enum node_mode mode;
	int64_t reload_after_ms; /* a pause after a change that failed */
	int64_t order_seen;	 /* the number of the last order that was obeyed */
	struct upgrade upgrade;
	struct predecessor before;
	struct notify notify;
	enum announced announced;
	int64_t watchdog_at_ms;	      /* the next sign of life */
	int recycle_old, recycle_new; /* slots, or NO_SLOT */
	struct requests requests;
	enum stop_mode stop; /* what the workers were told */
	int exit_status;
	int64_t started_ms, now_ms;
	int64_t checked_ms; /* when burials and strays were last looked at */
	int stray_checks;   /* how often in a row there were strays */
	/* was taken by no living worker at the last look */
	bool suspect[SCORE_BURIALS];
};

/* ---- reload.c: generations ---- */
/* takes the settings as a new generation, newest from now on; they are freed on failure
 */
int generation_add(
    struct master *m, struct settings *settings, struct err *err) ATTR_CHECK;
/* frees those that are neither newest nor serving and whose workers are gone */
void generations_sweep(struct master *m);
void generations_free(struct master *m);
size_t generations_count(const struct master *m);
/* loads the settings again: a new generation, or a log line and nothing */
void master_reload(struct master *m);
/* the settings stay, and the mode is another: a new generation */
void master_change(struct master *m);
/* what the node is there for, from now on; its workers follow */
void master_set_mode(struct master *m, enum node_mode mode);

/* ---- staff.c: how many workers, of which generation ---- */
/* as many workers of the newest configuration as are wanted */
void staff_keep_count(struct master *m);
/* the newest generation takes over when all of it is ready, and the others leave */
void staff_take_over(struct master *m);
/* those that are due for it are replaced: one at a time, and the successor first */
void staff_recycle(struct master *m);
/* workers of g that are ready, and have all that they need of the database */
int count_serving(const struct master *m, const struct generation *g);
int count_with_redis(const struct master *m, const struct generation *g);

/* ---- upgrade.c: a new program in our place, or we in an old one's ---- */
void obey_upgrade(struct master *m);
void upgrade_turn(struct master *m);
void upgrade_ended(struct master *m, int status); /* the new master was reaped */
void succession_turn(struct master *m);

/* ---- announce.c: what the service manager is told ---- */
void announce_turn(struct master *m);

/* ---- workers.c: starting, ordering, burying ---- */
/* a free slot gets a worker of this generation; NO_SLOT: all are taken */
int worker_want(struct master *m, struct generation *g);
void worker_spawn(struct master *m, size_t i);
/* tells it to leave, and that no successor is wanted; killed after bound_ms (0: no
 * bound) */
void worker_leave(struct master *m, size_t i, enum worker_order order, const char *why,
    int64_t bound_ms);
/* whom it was told to leave closes idle connections too */
void worker_hurry(struct master *m, size_t i);
void workers_order(struct master *m, enum worker_order order); /* to all that run */
/* one that has Redis tells the leader to look; none has: claims go by PostgreSQL */
void workers_hint(struct master *m);
/* all that died: the spawner kills what they ran, their slots are told */
void workers_reap(struct master *m);
/* those whose commands are dead are buried */
void workers_bury(struct master *m);
bool rites_wait(const struct master *m); /* for a spawner's answer */
/* burials whose taker is gone are opened again, processes without an owner are killed
 */
void workers_check(struct master *m);
void strays_kill(
    const struct master *m); /* every child that is neither worker nor helper */
/* whose spawner this helper is; NULL: nobody's */
const struct generation *spawner_generation(const struct master *m, size_t helper);
/* spawners that no worker needs any more are told to leave */
void spawners_end(struct master *m);
/* in a new process: closes what is the master's alone, listeners not in keep (NULL:
 * all), and doors but this one */
void master_leave(struct master *m, const struct listen_set *keep, int door);
/* the log and the access log belong to whom the workers are */
void chown_logs(const struct master *m);
/* a process (of g, NULL: a helper) said that trying again will not help */
void master_give_up(struct master *m, const struct generation *g);

/* ---- signals.c: what is asked for ---- */
int signals_catch(struct master *m, struct err *err) ATTR_CHECK; /* from now on */
void signals_read(struct master *m); /* notes what has come */

/* ---- status.c ---- */
bool master_status_answer(const char *command, struct strbuf *out, void *master);

/* ---- loglevel.c ---- */
/* "log-level LEVEL" for the whole node at once, or "log-level default" */
bool master_log_level_answer(const char *command, struct strbuf *out, void *master);

#endif
