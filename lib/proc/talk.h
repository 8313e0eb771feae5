/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * talk.h - a long-lived command that one talks to in lines.
 *
 * What is written goes to its standard input, all that one turn of the loop wrote in
 * one piece; its standard output and standard error are read in large pieces and told
 * line by line.  Descriptor 3 is closed.  What lines mean is the caller's business.
 *
 * The end is told once: when nothing of what was started is left, and all that it has
 * written was told.  When only the command is dead, what it started has TALK_LINGER_MS
 * to follow.
 *
 * Bounded: a line by line_max, what waits to be written by unsent_max.
 */
#ifndef PROC_TALK_H
#define PROC_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "proc/launch.h"

/* of standard error; a longer one is told in parts */
#define TALK_ERROR_LINE_MAX 4096
#define TALK_LINGER_MS	    1000

struct talk;

enum talk_event_kind {
	TALK_LINE = 1,	 /* on its standard output */
	TALK_ERROR_LINE, /* on its standard error; any bytes */
	TALK_TOO_LONG,	 /* its standard output is heard no more: a line was too long */
	TALK_FLUSHED,	 /* all that was to be written is written; after a wait only */
	TALK_DEAF,	 /* it has closed its standard input */
	TALK_MUTE,	 /* it has closed its standard output */
	TALK_ENDED,	 /* always, once, the last one; it is freed after it */
};

struct talk_event {
	enum talk_event_kind kind;
	const char *line; /* of the two with a line; borrowed for the call */
	size_t len;
	const struct launch_event *end; /* TALK_ENDED */
};

/* from the loop; it may write and end it, and must not free it */
typedef void talk_cb(struct talk *t, const struct talk_event *event, void *arg);

/* copied, or used up before talk_start returns */
struct talk_opts {
	struct launch_spec launch; /* without its descriptors */
	size_t line_max;
	size_t unsent_max;
};

struct talk *talk_start(struct loop *l, struct launcher *launcher,
    const struct talk_opts *opts, talk_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* ends what is left of it, without a word; NULL is fine.  Not from its callback. */
void talk_free(struct talk *t);
pid_t talk_pid(const struct talk *t); /* 0: not started yet */
/*
 * Goes out at the end of the turn; copied.  ERR_LIMIT: it takes nothing, and too much
 * waits already; ERR_CLOSED: it cannot hear.
 */
int talk_write(
    struct talk *t, const void *bytes, size_t len, struct err *err) ATTR_CHECK;
size_t talk_unsent(const struct talk *t); /* bytes that wait to be written */
/* bytes that were taken so far, to be compared with those that were written */
uint64_t talk_taken(const struct talk *t);
uint64_t talk_written(const struct talk *t);
/* its standard input ends behind what was written */
void talk_close(struct talk *t);
/* TERM now, KILL after the grace, or when an earlier grace ends; 0: at once */
void talk_end(struct talk *t, int64_t grace_ms);

#endif
