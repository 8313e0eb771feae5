/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * accesslog.h - one line a request, written in pieces of many lines.
 *
 * Lines wait in a buffer until it is half full or accesslog_flush is called, twice a
 * second; so a request costs no system call of its own.  What cannot be written stays
 * there; beyond its end lines are dropped, counted, and told in the log.  Nothing here
 * blocks or fails to the caller.
 *
 * Of a query only the parameters that the API knows are shown with their values, so
 * that a key somebody has put into a URL does not end up here.
 */
#ifndef TELEMETRY_ACCESSLOG_H
#define TELEMETRY_ACCESSLOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"
#include "http/httpd.h"
#include "model/scoreboard.h"

struct accesslog;

struct accesslog_opts {
	const char *path; /* copied; "-": standard output */
	enum log_format format;
	struct score_slot *slot; /* borrowed */
};

/* what the request itself does not know; all borrowed for the call */
struct accesslog_more {
	const char *listener;
	int application;	 /* 0: none was found */
	const struct uuid *task; /* NULL: none */
	const char *trace, *span;
};

struct accesslog *accesslog_create(
    const struct accesslog_opts *opts, struct err *err) ATTR_CHECK;
void accesslog_free(struct accesslog *al); /* writes what it can; NULL is fine */
void accesslog_put(struct accesslog *al, struct httpreq *req,
    const struct httpreq_facts *facts, const struct accesslog_more *more);
/* of a head that was refused unread */
void accesslog_put_refused(struct accesslog *al, const char *listener, const char *peer,
    const char *name, int status);
void accesslog_flush(struct accesslog *al); /* NULL is fine */
/* the same path again; keeps the old file on failure; NULL is fine */
int accesslog_reopen(struct accesslog *al, struct err *err) ATTR_CHECK;

/* a target as it may be shown; for tests */
#define ACCESSLOG_TARGET 1024
void accesslog_target(const char *target, char to[ACCESSLOG_TARGET]);

#endif
