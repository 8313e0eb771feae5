/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spans.h - spans of requests and attempts, for an OpenTelemetry collector.
 *
 *     request   SERVER     from its last byte to its reply; child of the client's span
 *     wait      PRODUCER   from when the task was due to its start; child of the
 * request run       CONSUMER   the attempt; child of its wait; what handlers get as
 * parent
 *
 * A task keeps the request's span in its trace (model/trace.h); the ids of the other
 * two are made of the task's id and the number of the attempt.  So whoever runs it
 * knows all of them, and nothing more is stored.
 *
 * Spans gather in batches, which are posted by OTLP/HTTP in JSON.  What waits is
 * bounded, in spans and bytes; a collector that is slow or gone costs spans, counted,
 * and never a task its time.
 */
#ifndef TELEMETRY_SPANS_H
#define TELEMETRY_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "model/scoreboard.h"
#include "model/settings.h"
#include "model/trace.h"

struct spans;

/* a request's place in its trace */
struct span_request {
	char parent[TRACE_PARENT_SIZE]; /* what it hands on: the trace, its own span,
					   the flags; "": it is not traced */
	char up[TRACE_SPAN_SIZE];	/* the client's span; "": it begins the trace */
	int64_t since_us;		/* wall clock */
};

struct span_request_end {
	const char *method, *route, *request; /* route NULL: none was found */
	int status;
	int64_t duration_us;
	int application;	 /* 0: none was found */
	const struct uuid *task; /* NULL: none */
};

struct span_run {
	const char *trace; /* the task's, as model/trace.h keeps it */
	const struct uuid *task;
	int attempt;
	int application;
	const char *type, *queue;
	int64_t due_us; /* by the wall clock of this node; 0: not known, no wait */
	int64_t start_us, end_us;
	const char *outcome; /* a word */
	const char *error;   /* its code; "": none */
};

/* NULL without err: traces.endpoint is empty */
struct spans *spans_create(struct loop *l, struct resolver *resolver,
    const struct settings *settings, const struct scoreboard *board, int slot,
    struct err *err) ATTR_CHECK;
void spans_free(struct spans *s); /* what still waits is dropped; NULL is fine */

/* decides whether a request is traced: by its traceparent (NULL: none), or by chance */
void spans_begin(struct spans *s, const char *traceparent, struct span_request *sr);
static inline bool
span_request_is_traced(const struct span_request *sr)
{
	return sr->parent[0] != '\0';
}
void spans_add_request(
    struct spans *s, const struct span_request *sr, const struct span_request_end *end);
/* wait and run; nothing if its trace is not sampled */
void spans_add_run(struct spans *s, const struct span_run *run);

/* the worker leaves: what waits is sent now */
void spans_flush(struct spans *s);	    /* NULL is fine */
bool spans_are_sent(const struct spans *s); /* nothing waits; true of NULL */

#endif
