/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slot.h - the life of one supervised process, as pure arithmetic.
 *
 * Events go in with the time; state, deadline and the action that is due come out.
 * Nothing here forks, kills or asks the clock.  The master asks slot_action when
 * slot_deadline has passed, does what it says, and reports what it did as the next
 * event.
 */
#ifndef MASTER_SLOT_H
#define MASTER_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "model/scoreboard.h"

#define SLOT_NEVER INT64_MAX

enum slot_state {
	SLOT_NONE = 0, /* in a table: not allowed */
	SLOT_EMPTY,    /* no process, and none wanted */
	SLOT_WAITING,  /* no process; one is started at the deadline */
	SLOT_STARTING, /* runs, has not said that it is ready */
	SLOT_READY,
	SLOT_LEAVING,	 /* was told to leave */
	SLOT_ABORTED,	 /* got ABRT */
	SLOT_KILLED,	 /* got KILL */
	SLOT_STATE_COUNT /* keep last */
};

enum slot_event {
	SLOT_EV_WANTED = 0,
	SLOT_EV_SPAWNED,
	SLOT_EV_NOT_SPAWNED, /* fork failed */
	SLOT_EV_READY,
	SLOT_EV_LEAVE,
	SLOT_EV_ABORTED,
	SLOT_EV_KILLED,
	SLOT_EV_DIED,	 /* and a successor is wanted */
	SLOT_EV_GONE,	 /* and none is */
	SLOT_EVENT_COUNT /* keep last */
};

enum slot_action { SLOT_WAIT = 0, SLOT_SPAWN, SLOT_ABORT, SLOT_KILL };

/* what an exit means for the node */
enum slot_end {
	SLOT_END_GOOD = 0, /* left in good order: WORKER_EXIT_OK */
	SLOT_END_LOST,	   /* WORKER_EXIT_LOST */
	SLOT_END_CONFIG,   /* WORKER_EXIT_CONFIG: another would end the same way */
	SLOT_END_CRASH,	   /* anything else */
};

/* durations; 0 means that there is no such limit */
struct slot_rules {
	int64_t start_timeout_ms; /* from the fork to READY */
	int64_t hang_timeout_ms;  /* between two heartbeats */
	int64_t abort_grace_ms;	  /* between ABRT and KILL */
	int64_t young_ms;	  /* who dies younger than this died young */
	/* before the start that follows a second young death */
	int64_t backoff_first_ms;
	int64_t backoff_max_ms;
};

struct slot {
	struct slot_rules rules;
	enum slot_state state; /* written by slot.c only, as all of it */
	bool wanted;	       /* a successor starts when the process ends */
	int64_t since_ms;      /* when the state was entered */
	int64_t deadline_ms;   /* of the states that have one of their own */
	int64_t started_ms;
	int64_t alive_ms;	/* the last sign of life */
	unsigned young_deaths;	/* in a row */
	char why[SCORE_REASON]; /* why it is being ended, then why it ended; "" */
};

void slot_init(struct slot *s, const struct slot_rules *rules);

/* ---- events.  One that the state does not allow changes nothing and returns false
 * ---- */
bool slot_on_wanted(struct slot *s, int64_t now_ms);
bool slot_on_spawned(struct slot *s, int64_t now_ms);
bool slot_on_not_spawned(struct slot *s, const char *why, int64_t now_ms);
bool slot_on_ready(struct slot *s, int64_t now_ms);
/* told to leave, for the reason why; killed after bound_ms (0: no bound).  No
 * successor. */
bool slot_on_leave(struct slot *s, const char *why, int64_t bound_ms, int64_t now_ms);
bool slot_on_aborted(struct slot *s, int64_t now_ms);
bool slot_on_killed(struct slot *s, const char *why, int64_t now_ms);
/* status as waitpid gives it; *end tells what it means, why then holds the reason */
bool slot_on_exit(struct slot *s, int status, int64_t now_ms, enum slot_end *end);
/* a heartbeat that was made at at_ms; also to excuse silence that was not the process's
 * fault */
void slot_on_heartbeat(struct slot *s, int64_t at_ms);

/* ---- questions ---- */
enum slot_action slot_action(const struct slot *s, int64_t now_ms);
int64_t slot_deadline(
    const struct slot *s); /* when slot_action will say something new */
bool slot_has_process(const struct slot *s);
/* how a process ended: "exit status 1" */
void slot_status_text(int status, char *to, size_t size);
const char *slot_state_name(enum slot_state state);
const char *slot_event_name(enum slot_event event);
/* the table alone; SLOT_NONE: not allowed */
enum slot_state slot_next(enum slot_state state, enum slot_event event);

#endif
