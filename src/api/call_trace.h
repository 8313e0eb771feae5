/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call_trace.h - the trace that a task is made in: its own member traceparent, or the
 * request's header; internal to src/api.
 */
#ifndef API_CALL_TRACE_H
#define API_CALL_TRACE_H

#include "api/call.h"

/*
 * Fills tr->trace, which belongs to the call from then on; NULL: there is none.  -1: no
 * memory, and why is filled.
 */
int call_trace(struct call *c, struct task_request *tr, struct refusal *why) ATTR_CHECK;
void call_trace_free(struct call_trace *traces); /* NULL is fine */

#endif
