/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slot.c - the life of one supervised process, as pure arithmetic.
 *
 * One table says which event leads from which state to which; one function writes the
 * state. Everything that is subtle about supervision is here, and tested in
 * microseconds.
 *
 * The pause before a start: none for a process that had lived for young_ms, and none
 * after the first young death in a row, so that a killed worker is replaced at once;
 * then backoff_first_ms, doubled with each further one up to backoff_max_ms.  A process
 * that ends because PostgreSQL took it for dead (LOST) is not at fault: its successor
 * starts at once, and only one that did not even last LOST_SPACING_MS waits that long.
 *
 * Silence is counted from the last sign of life: entering READY or LEAVING is one.
 *
 * New state?  A row in next_state, its deadline in slot_deadline, what is due then in
 * slot_action, and the matrix in test_slot.c.
 */
#include "master/slot.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/str.h"
#include "worker/worker.h"

#define LOST_SPACING_MS 100

static const uint8_t next_state[SLOT_STATE_COUNT][SLOT_EVENT_COUNT] = {
    [SLOT_EMPTY] =
	{
	    [SLOT_EV_WANTED] = SLOT_WAITING,
	},
    [SLOT_WAITING] =
	{
	    [SLOT_EV_SPAWNED] = SLOT_STARTING,
	    [SLOT_EV_NOT_SPAWNED] = SLOT_WAITING,
	    [SLOT_EV_LEAVE] = SLOT_EMPTY,
	},
    [SLOT_STARTING] =
	{
	    [SLOT_EV_READY] = SLOT_READY,
	    [SLOT_EV_LEAVE] = SLOT_LEAVING,
	    [SLOT_EV_ABORTED] = SLOT_ABORTED,
	    [SLOT_EV_KILLED] = SLOT_KILLED,
	    [SLOT_EV_DIED] = SLOT_WAITING,
	},
    [SLOT_READY] =
	{
	    [SLOT_EV_LEAVE] = SLOT_LEAVING,
	    [SLOT_EV_ABORTED] = SLOT_ABORTED,
	    [SLOT_EV_KILLED] = SLOT_KILLED,
	    [SLOT_EV_DIED] = SLOT_WAITING,
	},
    [SLOT_LEAVING] =
	{
	    [SLOT_EV_LEAVE] = SLOT_LEAVING, /* told again, more urgently */
	    [SLOT_EV_ABORTED] = SLOT_ABORTED,
	    [SLOT_EV_KILLED] = SLOT_KILLED,
	    [SLOT_EV_GONE] = SLOT_EMPTY,
	},
    [SLOT_ABORTED] =
	{
	    [SLOT_EV_LEAVE] = SLOT_ABORTED, /* it leaves already */
	    [SLOT_EV_KILLED] = SLOT_KILLED,
	    [SLOT_EV_DIED] = SLOT_WAITING,
	    [SLOT_EV_GONE] = SLOT_EMPTY,
	},
    [SLOT_KILLED] =
	{
	    [SLOT_EV_LEAVE] = SLOT_KILLED,
	    [SLOT_EV_DIED] = SLOT_WAITING,
	    [SLOT_EV_GONE] = SLOT_EMPTY,
	},
};

static const char *const state_names[SLOT_STATE_COUNT] = {
    [SLOT_NONE] = "none",
    [SLOT_EMPTY] = "empty",
    [SLOT_WAITING] = "waiting",
    [SLOT_STARTING] = "starting",
    [SLOT_READY] = "ready",
    [SLOT_LEAVING] = "leaving",
    [SLOT_ABORTED] = "aborted",
    [SLOT_KILLED] = "killed",
};

static const char *const event_names[SLOT_EVENT_COUNT] = {
    [SLOT_EV_WANTED] = "wanted",
    [SLOT_EV_SPAWNED] = "spawned",
    [SLOT_EV_NOT_SPAWNED] = "not spawned",
    [SLOT_EV_READY] = "ready",
    [SLOT_EV_LEAVE] = "leave",
    [SLOT_EV_ABORTED] = "aborted",
    [SLOT_EV_KILLED] = "killed",
    [SLOT_EV_DIED] = "died",
    [SLOT_EV_GONE] = "gone",
};

static const struct {
	int signo;
	const char *name;
} signal_names[] = {
    {SIGABRT, "SIGABRT"},
    {SIGALRM, "SIGALRM"},
    {SIGBUS, "SIGBUS"},
    {SIGFPE, "SIGFPE"},
    {SIGHUP, "SIGHUP"},
    {SIGILL, "SIGILL"},
    {SIGINT, "SIGINT"},
    {SIGKILL, "SIGKILL"},
    {SIGPIPE, "SIGPIPE"},
    {SIGQUIT, "SIGQUIT"},
    {SIGSEGV, "SIGSEGV"},
    {SIGSYS, "SIGSYS"},
    {SIGTERM, "SIGTERM"},
    {SIGTRAP, "SIGTRAP"},
    {SIGUSR1, "SIGUSR1"},
    {SIGUSR2, "SIGUSR2"},
    {SIGXCPU, "SIGXCPU"},
    {SIGXFSZ, "SIGXFSZ"},
};

static double
seconds(int64_t ms)
{
	return (double)ms / 1000.0;
}

/* the one writer of the state */
static bool
slot_apply(struct slot *s, enum slot_event event, int64_t now_ms)
{
	enum slot_state next = slot_next(s->state, event);

	if (next == SLOT_NONE)
		return false;
	s->state = next;
	s->since_ms = now_ms;
	return true;
}

static void
set_why(struct slot *s, const char *why)
{
	/* the first reason stays: what follows is only its consequence */
	if (s->why[0] == '\0')
		(void)str_copy(s->why, sizeof(s->why), why);
}

static int64_t
after(int64_t since_ms, int64_t limit_ms)
{
	return limit_ms > 0 ? since_ms + limit_ms : SLOT_NEVER;
}

void
slot_init(struct slot *s, const struct slot_rules *rules)
{
	memset(s, 0, sizeof(*s));
	s->rules = *rules;
	s->state = SLOT_EMPTY;
	s->deadline_ms = SLOT_NEVER;
}

bool
slot_on_wanted(struct slot *s, int64_t now_ms)
{
	if (!slot_apply(s, SLOT_EV_WANTED, now_ms))
		return false;
	s->wanted = true;
	s->young_deaths = 0;
	s->deadline_ms = now_ms;
	return true;
}

bool
slot_on_spawned(struct slot *s, int64_t now_ms)
{
	if (!slot_apply(s, SLOT_EV_SPAWNED, now_ms))
		return false;
	s->started_ms = s->alive_ms = now_ms;
	s->why[0] = '\0';
	return true;
}

static int64_t
backoff_ms(const struct slot *s)
{
	int64_t pause = s->rules.backoff_first_ms;

	if (s->young_deaths < 2)
		return 0;
	for (unsigned n = 2; n < s->young_deaths && pause < s->rules.backoff_max_ms;
	     n++)
		pause *= 2;
	return pause < s->rules.backoff_max_ms ? pause : s->rules.backoff_max_ms;
}

bool
slot_on_not_spawned(struct slot *s, const char *why, int64_t now_ms)
{
	if (!slot_apply(s, SLOT_EV_NOT_SPAWNED, now_ms))
		return false;
	s->why[0] = '\0';
	set_why(s, why);
	/* what fork lacks does not come back within microseconds */
	s->young_deaths = s->young_deaths < 1 ? 2 : s->young_deaths + 1;
	s->deadline_ms = now_ms + backoff_ms(s);
	return true;
}

bool
slot_on_ready(struct slot *s, int64_t now_ms)
{
	if (!slot_apply(s, SLOT_EV_READY, now_ms))
		return false;
	s->alive_ms = now_ms;
	return true;
}

bool
slot_on_leave(struct slot *s, const char *why, int64_t bound_ms, int64_t now_ms)
{
	bool ends_already = s->state == SLOT_ABORTED || s->state == SLOT_KILLED;

	if (!slot_apply(s, SLOT_EV_LEAVE, now_ms))
		return false;
	s->wanted = false;
	if (ends_already)
		return true;
	set_why(s, why);
	s->alive_ms = now_ms;
	s->deadline_ms = after(now_ms, bound_ms);
	return true;
}

bool
slot_on_aborted(struct slot *s, int64_t now_ms)
{
	char why[SCORE_REASON];
	bool starting = s->state == SLOT_STARTING;

	if (!slot_apply(s, SLOT_EV_ABORTED, now_ms))
		return false;
	if (starting)
		snprintf(why, sizeof(why), "not ready after %.1f s",
		    seconds(now_ms - s->started_ms));
	else
		snprintf(why, sizeof(why), "no heartbeat for %.1f s",
		    seconds(now_ms - s->alive_ms));
	/* a hang outweighs the reason for which it was told to leave */
	s->why[0] = '\0';
	set_why(s, why);
	s->deadline_ms = now_ms + s->rules.abort_grace_ms;
	return true;
}

bool
slot_on_killed(struct slot *s, const char *why, int64_t now_ms)
{
	bool leaving = s->state == SLOT_LEAVING;

	if (!slot_apply(s, SLOT_EV_KILLED, now_ms))
		return false;
	if (leaving)
		s->why[0] = '\0';
	set_why(s, why);
	return true;
}

static enum slot_end
end_of(int status)
{
	if (!WIFEXITED(status))
		return SLOT_END_CRASH;
	switch (WEXITSTATUS(status)) {
	case WORKER_EXIT_OK:
		return SLOT_END_GOOD;
	case WORKER_EXIT_LOST:
		return SLOT_END_LOST;
	case WORKER_EXIT_CONFIG:
		return SLOT_END_CONFIG;
	default:
		return SLOT_END_CRASH;
	}
}

void
slot_status_text(int status, char *to, size_t size)
{
	const char *name = "an unusual signal";
	int signo;

	if (!WIFSIGNALED(status)) {
		snprintf(to, size, "exit status %d", WEXITSTATUS(status));
		return;
	}
	signo = WTERMSIG(status);
	for (size_t i = 0; i < COUNT_OF(signal_names); i++)
		if (signal_names[i].signo == signo)
			name = signal_names[i].name;
	snprintf(to, size, "killed by signal %d (%s)", signo, name);
}

bool
slot_on_exit(struct slot *s, int status, int64_t now_ms, enum slot_end *end)
{
	char text[SCORE_REASON];
	int64_t lived_ms = now_ms - s->started_ms;
	enum slot_end what = end_of(status);
	bool left = s->state == SLOT_LEAVING;

	if (!slot_apply(s, s->wanted ? SLOT_EV_DIED : SLOT_EV_GONE, now_ms))
		return false;
	/* who leaves as told left for the reason given; who crashes on the way out did
	 * not */
	if (left && what != SLOT_END_GOOD)
		s->why[0] = '\0';
	slot_status_text(status, text, sizeof(text));
	set_why(s, text);

	if (what == SLOT_END_LOST)
		s->deadline_ms =
		    now_ms + (lived_ms < LOST_SPACING_MS ? LOST_SPACING_MS : 0);
	else {
		s->young_deaths =
		    lived_ms < s->rules.young_ms ? s->young_deaths + 1 : 0;
		s->deadline_ms = now_ms + backoff_ms(s);
	}
	*end = what;
	return true;
}

void
slot_on_heartbeat(struct slot *s, int64_t at_ms)
{
	if (at_ms > s->alive_ms)
		s->alive_ms = at_ms;
}

int64_t
slot_deadline(const struct slot *s)
{
	int64_t silence = after(s->alive_ms, s->rules.hang_timeout_ms);

	switch (s->state) {
	case SLOT_WAITING:
	case SLOT_ABORTED:
		return s->deadline_ms;
	case SLOT_STARTING:
		return after(s->started_ms, s->rules.start_timeout_ms);
	case SLOT_READY:
		return silence;
	case SLOT_LEAVING:
		return silence < s->deadline_ms ? silence : s->deadline_ms;
	case SLOT_NONE:
	case SLOT_EMPTY:
	case SLOT_KILLED:
	case SLOT_STATE_COUNT:
		break;
	}
	return SLOT_NEVER;
}

enum slot_action
slot_action(const struct slot *s, int64_t now_ms)
{
	if (now_ms < slot_deadline(s))
		return SLOT_WAIT;
	switch (s->state) {
	case SLOT_WAITING:
		return SLOT_SPAWN;
	case SLOT_STARTING:
	case SLOT_READY:
		return SLOT_ABORT;
	case SLOT_LEAVING:
		return now_ms >= s->deadline_ms ? SLOT_KILL : SLOT_ABORT;
	case SLOT_ABORTED:
		return SLOT_KILL;
	case SLOT_NONE:
	case SLOT_EMPTY:
	case SLOT_KILLED:
	case SLOT_STATE_COUNT:
		break;
	}
	return SLOT_WAIT;
}

bool
slot_has_process(const struct slot *s)
{
	return s->state >= SLOT_STARTING;
}

enum slot_state
slot_next(enum slot_state state, enum slot_event event)
{
	return (enum slot_state)next_state[state][event];
}

const char *
slot_state_name(enum slot_state state)
{
	return state < SLOT_STATE_COUNT ? state_names[state] : "unknown";
}

const char *
slot_event_name(enum slot_event event)
{
	return event < SLOT_EVENT_COUNT ? event_names[event] : "unknown";
}
