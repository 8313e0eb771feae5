/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_int.h - what stream.c (attempts, pools) and stream_kid.c (one child) share.
 */
#ifndef HANDLERS_STREAM_INT_H
#define HANDLERS_STREAM_INT_H

#include "base/hmap.h"
#include "base/strbuf.h"
#include "handlers/stream.h"
#include "handlers/stream_msg.h"
#include "model/command.h"
#include "proc/talk.h"

#define STREAM_FORGIVEN 16

enum kid_state {
	KID_STARTING = 1, /* no hello yet */
	KID_READY,
	KID_LEAVING, /* finishes what it has, on our word */
	KID_ENDING,  /* told to end, because of why */
};

/* why it had to be ended; NONE: it ended by itself, or as it was told to */
enum kid_why { KID_WHY_NONE = 0, KID_SILENT, KID_BROKEN, KID_STUCK };

/* one attempt here */
struct run {
	TAILQ_ENTRY(run) link; /* of its pool's line, or of its kid's runs */
	struct pool *pool;
	struct kid *kid; /* NULL: it waits in the line */
	struct attempt *attempt;
	char *queue;	  /* its name; in the line only */
	int64_t since_ms; /* in the line, or with its kid */
	int64_t over_ms;  /* when its time is over */
	int64_t kill_ms;  /* its end was asked for, and is due; 0: not asked for */
	bool timed_out;
	uint64_t from_byte; /* where its line begins in all that the kid was written */
};

TAILQ_HEAD(runs, run);

/* one child */
struct kid {
	TAILQ_ENTRY(kid) link; /* of its pool's kids */
	struct pool *pool;
	struct seat *seat; /* NULL: it leaves, another one sits there */
	struct talk *talk;
	pid_t pid;
	enum kid_state state;
	enum kid_why why;
	char reason[160]; /* with why */
	struct runs runs; /* the oldest first */
	struct hmap *by_id;
	int count; /* of runs */
	int concurrency;
	int64_t given, answered;
	int64_t ready_ms;
	struct loop_timer *timer;
	bool brisk;	   /* the timer looks at runs */
	int64_t ticked_ms; /* when it last did */
	int64_t silent_ms; /* how long nothing was heard, as far as we listened */
	int64_t pinged_ms;
	int64_t pings;
	bool ping_open;
	int64_t leave_ms; /* it should be gone by then; 0: it may stay */
	bool deaf;	  /* it has closed its standard input or output */
	int strangers;	  /* answers for tasks that it did not have */
	struct uuid forgiven[STREAM_FORGIVEN]; /* cancelled, and then answered */
	size_t forgiven_next;
	/* its log: lines in this second, and what was left out of it */
	int64_t said_second, left_out;
	int said;
	char last_words[256];
};

/* where a child sits; another one follows it */
struct seat {
	struct pool *pool;
	struct kid *kid;
	int failures;		  /* in a row: ended without having been of use */
	struct loop_timer *timer; /* the next start */
};

/* one type */
struct pool {
	TAILQ_ENTRY(pool) link;
	struct stream *stream;
	const struct type_settings *settings;
	struct runs line;
	int line_count;
	TAILQ_HEAD(, kid) kids;
	struct seat *seats;
	int seat_count;
	bool served;	/* a child is ready, or soon will be again */
	bool given_up;	/* none is, and the last ones did not come up */
	double took_ms; /* of an answer, smoothed */
	int64_t measured_ms;
	int places; /* as told to the engine */
};

struct stream {
	struct loop *loop;
	struct launcher *launcher;
	struct commands *commands;
	const struct settings *settings;
	struct score_slot *slot;
	struct engine *engine; /* NULL: not started, or stopped */
	char worker[OWNER_WORKER_SIZE];
	TAILQ_HEAD(, pool) pools;
	int kids;
	struct strbuf scratch; /* one line, on its way out */
	bool draining;
	void (*done)(void *arg);
	void *done_arg;
	struct loop_defer *done_defer;
};

/* ---- stream_kid.c */

/* one more child on this seat; -1: it could not be started */
int kid_start(struct seat *seat, struct err *err) ATTR_CHECK;
/* no more tasks for it; it ends when it has none */
void kid_leave(struct kid *k);
bool kid_has_room(const struct kid *k);
/* the run, which is in no line, is its from now on; -1: it is not */
int kid_give(
    struct kid *k, struct run *r, const char *queue, struct err *err) ATTR_CHECK;
/* asks for the run's end, which comes within grace_ms, or the kid's */
void kid_cancel(struct kid *k, struct run *r, int64_t grace_ms);
/* ends it without a word; its runs are forgotten, and their attempts know nothing of
 * them any more */
void kid_free(struct kid *k);

/* ---- stream.c */

void run_free(struct run *r);
/* attempts end here and nowhere else; the run is freed */
void run_succeed(struct run *r, char *result, size_t len);
void run_fail(struct run *r, enum attempt_outcome outcome, const char *code,
    const char *message, size_t message_len, int64_t retry_ms);
/* for others, at no cost */
void run_give_back(struct run *r);
/* a child has said hello, has room again, has ended ... */
void pool_changed(struct pool *p);
void pool_measure(struct pool *p, int64_t now_ms);
/* it has no runs any more and is gone; failed: not as it was told to */
void pool_kid_ended(struct pool *p, struct seat *seat, bool failed, bool was_useful);

#endif
