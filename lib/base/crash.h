/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash.h - what a process that dies says in the log.
 *
 * After crash_watch, SIGSEGV, SIGBUS, SIGABRT, SIGFPE and SIGILL write a report: the
 * signal, what ran, a backtrace; then the process dies by the signal as it would have.
 * What ran is kept in a static table that costs a few stores a task, so that the
 * handler follows no pointer to know it.
 *
 *     crash report                  signal, address, build id, base of the program
 *     crash report: running         one task each, with its attempt
 *     crash report: request         one request each
 *     crash report: frame           one frame each, the innermost first
 *     crash report ends             how many there were of each
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"

#define CRASH_TASKS  8192 /* that are known at a time; more run unknown */
#define CRASH_SHOWN  64	  /* of tasks, and of requests */
#define CRASH_FRAMES 64
#define CRASH_NONE   0

/* once in a process, after its fork and its log's identity */
int crash_watch(struct err *err) ATTR_CHECK;
/* in a process that was forked from one that is watched, whose handlers are gone: it
 * may be watched itself */
void crash_forget(void);

/* one more that runs: its place, from 1 on; CRASH_NONE: the table is full */
int crash_hold(const struct uuid *task, int attempt, int application);
void crash_drop(int place); /* CRASH_NONE is fine */
/* this one is being worked at in this moment; CRASH_NONE: none is */
void crash_at(int place);

/*
 * Writes what else is to be known by log_urgent, and returns how many lines.  Called
 * after the tasks and before the frames; reads only, and may fault: then the report
 * ends there.
 */
typedef size_t crash_more_fn(void);
void crash_set_more(crash_more_fn *fn);

#endif
