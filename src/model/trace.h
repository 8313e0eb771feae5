/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace.h - the W3C trace that a task belongs to.
 *
 * Who makes a task may say by a traceparent which span of which trace it does so in
 * (W3C Trace Context), and by a tracestate what vendors add to that.  Both are kept
 * with the task as one text: traceparent in the form of version 00, and behind a space
 * the tracestate, if there is one.  What is no trace is none, and never an error.
 *
 * Each attempt is a span of its own in the trace.  Its id is made of the task's and the
 * number of the attempt: whoever knows the two knows the span, and nothing is stored.
 */
#ifndef MODEL_TRACE_H
#define MODEL_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/uuid.h"

#define TRACE_PARENT_LEN  55
#define TRACE_PARENT_SIZE (TRACE_PARENT_LEN + 1)
#define TRACE_STATE_MOST  512 /* bytes; a longer one is left out as a whole */
#define TRACE_TEXT_SIZE	  (TRACE_PARENT_LEN + 1 + TRACE_STATE_MOST + 1)
#define TRACE_ID_AT	  3  /* where it stands in the text */
#define TRACE_ID_SIZE	  33 /* with the NUL */
#define TRACE_SPAN_SIZE	  17

/*
 * What is kept of the two, with its length; 0: parent is no valid traceparent, so that
 * there is no trace.  A tracestate (NULL: none) that is not valid is left out.
 */
size_t trace_make(const char *parent, size_t parent_len, const char *state,
    size_t state_len, char to[TRACE_TEXT_SIZE]);

/* is this what trace_make writes?  For rows that other hands may have written */
bool trace_check(const char *text, size_t len);

/* of a kept text, all of them; each returns buf */
char *trace_id(const char *trace, char buf[TRACE_ID_SIZE]);
/* what an attempt hands on: the trace, its own span, the flags */
char *trace_parent(const char *trace, const struct uuid *task, int attempt,
    char buf[TRACE_PARENT_SIZE]);
/* the tracestate, inside of trace; NULL: none */
const char *trace_state(const char *trace);

/* the span of an attempt, and of the time before it */
char *trace_span(const struct uuid *task, int attempt, char buf[TRACE_SPAN_SIZE]);
char *trace_wait_span(const struct uuid *task, int attempt, char buf[TRACE_SPAN_SIZE]);
/* the span that stands in a kept text or a traceparent: of whoever made it */
char *trace_own_span(const char *trace, char buf[TRACE_SPAN_SIZE]);
/* somebody records it */
bool trace_is_sampled(const char *trace);

#endif
