/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.c - what is written of a request when all is done for it; see record.h.
 */
#include "face/record.h"

#include <string.h>

#include "base/str.h"
#include "model/trace.h"

void
record_begin(const struct record *r, struct httpreq *req)
{
	const char *parent;

	if (r->spans == NULL)
		return;
	parent = httpreq_header(req, "traceparent");
	spans_begin(r->spans, parent, &face_notes(req)->span);
}

/* the one that it made, or that its path names; NULL: none */
static const struct uuid *
task_of(struct httpreq *req)
{
	struct face_notes *n = face_notes(req);
	const char *route = httpreq_route(req), *id = httpreq_segment(req, 0);

	if (!n->has_task && route != NULL && str_starts(route, "/v1/tasks/{id}") &&
	    id != NULL)
		n->has_task = uuid_parse(id, strlen(id), &n->task) == 0;
	return n->has_task ? &n->task : NULL;
}

void
record_span(
    const struct record *r, struct httpreq *req, int status, int64_t duration_us)
{
	struct face_notes *n = face_notes(req);
	struct span_request_end end;

	if (r->spans == NULL || !span_request_is_traced(&n->span))
		return;
	end = (struct span_request_end){
	    .method = httpreq_method_name(req),
	    .route = httpreq_route(req),
	    .request = httpreq_name(req),
	    .status = status,
	    .duration_us = duration_us,
	    .application = n->application,
	    .task = task_of(req),
	};
	spans_add_request(r->spans, &n->span, &end);
}

void
record_told(
    const struct record *r, struct httpreq *req, const struct httpreq_facts *facts)
{
	struct face_notes *n = face_notes(req);
	char trace[TRACE_ID_SIZE], span[TRACE_SPAN_SIZE];
	struct accesslog_more more = {
	    .listener = r->listener,
	    .application = n->application,
	    .task = task_of(req),
	};

	if (r->accesslog == NULL)
		return;
	if (span_request_is_traced(&n->span)) {
		more.trace = trace_id(n->span.parent, trace);
		more.span = trace_own_span(n->span.parent, span);
	}
	accesslog_put(r->accesslog, req, facts, &more);
}

void
record_refused(const struct record *r, const char *peer, const char *name, int status)
{
	if (r->accesslog != NULL)
		accesslog_put_refused(r->accesslog, r->listener, peer, name, status);
}
