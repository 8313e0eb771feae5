/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handler.h - what the engine and the handlers know of each other.
 *
 * A handler runs attempts of one kind.  The engine hands it an attempt by start and
 * hears of its end by attempt_succeeded or attempt_failed, exactly once; during start
 * is allowed.  The engine owns the attempt.
 */
#ifndef ENGINE_HANDLER_H
#define ENGINE_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"
#include "broker/elem.h"
#include "model/settings.h"
#include "model/task.h"
#include "model/trace.h"

struct backoff;
struct claim_note;
struct dispatch;
struct report;
struct type_entry;

enum attempt_state {
	ATTEMPT_POPPED = 0, /* an id that came from Redis: nothing is believed yet */
	ATTEMPT_CLAIMING,   /* in the claim that is under way */
	ATTEMPT_CLAIMED,    /* ours; waits for its queue's name */
	ATTEMPT_RUNNING,    /* with its handler */
	ATTEMPT_ENDED,	    /* its outcome waits to be recorded */
	ATTEMPT_RECORDING,  /* a statement with its outcome is under way */
};

enum attempt_outcome {
	OUTCOME_SUCCEEDED = 1,
	OUTCOME_RETRY,	   /* failed; may be tried again if its budget allows */
	OUTCOME_FAILED,	   /* failed for good */
	OUTCOME_BACK,	   /* not our doing: given back at no cost */
	OUTCOME_CANCELLED, /* it was told to end, and did; the engine's word, not a
			      handler's */
	OUTCOME_OUTSIDE,   /* it goes on, under a lease; nothing is recorded here */
};

/* one try at running one task; read by handlers, written by the engine */
struct attempt {
	TAILQ_ENTRY(attempt) link; /* of the line it waits in, by its state */
	struct dispatch *dispatch;
	struct elem elem;	 /* task, application, type */
	int number;		 /* of the attempt */
	int claim;		 /* number of the batch that claimed it */
	struct claim_note *note; /* that batch; NULL: none, or told already */
	int queue_id;
	int failures, max_attempts;
	int64_t timeout_ms;	 /* 0: the type's */
	int64_t deadline_us;	 /* of the task, by PostgreSQL's clock; 0: none */
	struct backoff *backoff; /* the task's own rule; owned; NULL: the type's */
	char *payload;		 /* JSON, NUL-terminated; NULL: null */
	size_t payload_len;
	char *trace; /* of whoever made the task, as model/trace.h keeps it; owned;
			NULL: none */
	struct type_entry *type;
	const char *queue_name; /* valid during start */
	enum attempt_state state;
	bool placed;	/* it has a place of its type, until its handler has ended it */
	bool in_list;	/* its id lies in our processing list */
	bool giving_up; /* the worker leaves: unless it succeeds it is given back */
	bool cancelled; /* somebody asked for its end: unless it succeeds that is it */
	bool lost;	/* no longer ours: its end is recorded nowhere */
	bool ghost;	/* never ran here: only to be given back */
	bool accepted;	/* finish.c: the database took the outcome */
	bool alone; /* finish.c: goes in a batch of its own; one that had it failed */
	bool in_doubt;	    /* finish.c: sent before, and the answer lost */
	unsigned audit;	    /* number of the audit that saw it running */
	int64_t started_ms; /* monotonic */
	/* if its trace is told to a collector, by the wall clock; else 0 */
	int64_t due_us, span_us;
	void *run;	       /* the handler's own */
	int crash;	       /* its place in base/crash.h while it runs */
	struct report *report; /* report.c: what it has said; NULL: nothing */
	/* the outcome, once ENDED */
	enum attempt_outcome outcome;
	int64_t retry_ms;  /* -1: by the backoff; OUTSIDE: how long the lease is */
	struct uuid lease; /* OUTSIDE: who has it */
	char *result;	   /* JSON; owned */
	size_t result_len;
	char error_code[48];
	char *error_message; /* owned; NULL: none; OUTSIDE: where it is, for people */
};

struct handler_ops {
	const char *name;
	/* -1: cannot be started; the attempt counts as failed and is tried again */
	int (*start)(void *self, struct attempt *a, struct err *err);
	/* please end it soon; the end still comes */
	void (*cancel)(void *self, struct attempt *a);
};

struct handler {
	const struct handler_ops *ops;
	void *self;
};

/* settings of the attempt's type, for handlers that have some; NULL for built-in types
 */
const struct type_settings *attempt_settings(const struct attempt *a);
const char *attempt_type_name(const struct attempt *a);
/* the name of the application's endpoint that its type runs at, which had this version
 * when it was claimed; NULL: its type is the operator's */
const char *attempt_endpoint(const struct attempt *a, int64_t *version);
/* the token that refuses stale writers downstream: "<attempt>-<owner>-<claim>"; returns
 * buf */
#define FENCE_TEXT_SIZE 80
char *attempt_fence(const struct attempt *a, char buf[FENCE_TEXT_SIZE]);
const struct uuid *attempt_owner(const struct attempt *a);
/* who speaks in a line of the log about it: the task, its trace and the attempt's span;
 * returns al->ctx */
struct attempt_log {
	struct log_ctx ctx;
	char task[UUID_TEXT_SIZE], trace[TRACE_ID_SIZE], span[TRACE_SPAN_SIZE];
};
const struct log_ctx *attempt_log(const struct attempt *a, struct attempt_log *al);
/* when it should be done at the latest, by PostgreSQL's clock: so long from now, or the
 * task's deadline, if that is earlier */
int64_t attempt_done_by_us(const struct attempt *a, int64_t timeout_ms);

/* PostgreSQL's clock, as far as this node knows it */
int64_t attempt_now_us(const struct attempt *a);

/*
 * From now on at most so many attempts of a type at a time on this worker; -1: what its
 * settings say.  Of a type of an application: of all that run at its endpoint.  Those
 * that run go on.  Only for types whose places are counted (not for built-in ones):
 * what has no place here stays queued.  dispatch and type are an attempt's, and stay
 * valid as long as the engine.
 */
void handler_restrain(struct dispatch *d, struct type_entry *t, int most);

/*
 * What it says while it runs: progress is JSON and takes the place of what was said
 * before, line is text (UTF-8, no NUL) that becomes one more log line.  Either may be
 * NULL; both are copied.  May be called as often as the handler likes: it is written
 * once a second, and of the lines the last ATTEMPT_LOG_BYTES are kept.
 */
#define ATTEMPT_PROGRESS_BYTES 4096
#define ATTEMPT_LOG_BYTES      (16 * 1024)
void attempt_report(
    struct attempt *a, const char *progress, const char *line, size_t line_len);

/*
 * The end.  result (JSON, given: mem_free is the engine's) only with OUTCOME_SUCCEEDED,
 * NULL is null.  code (stable word) and message (any UTF-8, copied) otherwise.
 * retry_ms: -1 for the backoff.
 */
void attempt_succeeded(struct attempt *a, char *result, size_t len);
void attempt_failed(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const char *message, size_t message_len, int64_t retry_ms);
/*
 * Another end: it goes on outside.  Whoever has the lease tells how it ends, to any
 * node (POST /v1/leases/...), within ttl_ms or as it is extended; nothing that befalls
 * this worker is the task's any more.  by: where it is, for people; copied.
 */
void attempt_goes_outside(
    struct attempt *a, const struct uuid *lease, int64_t ttl_ms, const char *by);

#endif
