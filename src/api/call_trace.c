/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call_trace.c - see call_trace.h.
 *
 * The request's headers are read once, at its first task; what a task says for itself
 * comes before them.  A request without a trace costs the look for a header.  Of
 * several tracestate headers the first is taken: it is the one that was written last.
 */
#include "api/call_trace.h"

#include <string.h>

#include "base/mem.h"
#include "model/trace.h"

struct call_trace {
	struct call_trace *next;
	size_t len;
	char text[]; /* as model/trace.h keeps it, and a NUL */
};

void
call_trace_free(struct call_trace *traces)
{
	struct call_trace *next;

	for (; traces != NULL; traces = next) {
		next = traces->next;
		mem_free(traces);
	}
}

/* NULL: no memory */
static const struct call_trace *
keep(struct call *c, const char *text, size_t len)
{
	struct call_trace *t = mem_alloc(sizeof(*t) + len + 1);

	if (t == NULL)
		return NULL;
	memcpy(t->text, text, len + 1);
	t->len = len;
	t->next = c->traces;
	c->traces = t;
	return t;
}

/* text without its escapes; NULL: none, or longer than any that is kept */
static const char *
plain(const struct jspan *value, char *buf, size_t size, size_t *len)
{
	if (value->kind != JSON_STRING ||
	    jspan_string(value, buf, size, len, NULL) != 0)
		return NULL;
	return buf;
}

/* 0: there is no valid one in the task */
static size_t
own_trace(const struct task_request *tr, char to[TRACE_TEXT_SIZE])
{
	/* white space, and what versions to come put behind, is not kept */
	char parent[4 * TRACE_PARENT_SIZE], state[2 * TRACE_STATE_MOST];
	size_t parent_len = 0, state_len = 0;
	const char *text;

	if (plain(&tr->traceparent, parent, sizeof(parent), &parent_len) == NULL)
		return 0;
	text = plain(&tr->tracestate, state, sizeof(state), &state_len);
	return trace_make(parent, parent_len, text, state_len, to);
}

/* the headers, kept with the call */
static int
read_headers(struct call *c)
{
	const struct span_request *span = &face_notes(c->req)->span;
	const char *parent = httpreq_header(c->req, "traceparent"), *state = NULL;
	char text[TRACE_TEXT_SIZE];
	size_t len;

	c->headers_read = true;
	/* (where a trace begins here, a tracestate without a traceparent says nothing)
	 */
	if (parent != NULL)
		state = httpreq_header(c->req, "tracestate");
	/* what is made here is made in the request's own span, if it has one */
	if (span_request_is_traced(span))
		parent = span->parent;
	if (parent == NULL)
		return 0;
	len = trace_make(
	    parent, strlen(parent), state, state != NULL ? strlen(state) : 0, text);
	if (len == 0)
		return 0;
	c->header_trace = keep(c, text, len);
	return c->header_trace != NULL ? 0 : -1;
}

int
call_trace(struct call *c, struct task_request *tr, struct refusal *why)
{
	const struct call_trace *t = NULL;
	char text[TRACE_TEXT_SIZE];
	size_t len = 0;

	if (tr->traceparent.kind == JSON_STRING && (len = own_trace(tr, text)) > 0 &&
	    (t = keep(c, text, len)) == NULL)
		goto nomem;
	if (len == 0 && !c->headers_read && read_headers(c) != 0)
		goto nomem;
	if (t == NULL)
		t = c->header_trace;
	if (t != NULL) {
		tr->trace = t->text;
		tr->trace_len = t->len;
	}
	return 0;
nomem:
	return refuse(
	    why, 503, "overloaded", "The server is out of memory; nothing was done.");
}
