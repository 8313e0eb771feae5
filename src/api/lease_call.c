/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_call.c - see lease_call.h.
 */
#include "api/lease_call.h"

#include <string.h>

#include "api/params.h"

void
lease_out_of_scope(struct call *c, const char *queue)
{
	struct refusal why;

	(void)refuse(&why, 403, "out_of_scope",
	    "This API key may not work on %s%s: make one with the scope work, or "
	    "work:QUEUE.",
	    queue != NULL ? "queue " : "that task's queue", queue != NULL ? queue : "");
	call_refuse(c, &why);
}

void
lease_lost(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 409, "lease_lost",
	    "The lease does not hold its task any more: its time ran out, or the task "
	    "ended otherwise. What was done is not recorded.");
	call_refuse(c, &why);
}

int
lease_read_name(struct call *c, struct lease_name *name, struct refusal *why)
{
	static const char *const known[] = {NULL};
	const char *text = httpreq_segment(c->req, 0);

	if (params_post_headers(c->req, why) != 0 ||
	    params_known(c->req, known, why) != 0)
		return -1;
	if (lease_parse(text, strlen(text), name) != 0)
		return refuse(why, 404, "not_found",
		    "There is no such lease: it must be that of an answer, unchanged.");
	return 0;
}

/* a key without a single queue may touch nothing */
bool
lease_read_scope(struct call *c, struct scope *scope)
{
	scope_read(c->api->scopes, scope);
	if (scope->all || scope->count > 0)
		return true;
	lease_out_of_scope(c, NULL);
	return false;
}
