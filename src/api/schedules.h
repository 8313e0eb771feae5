/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules.h - what the handlers of schedules share; internal to src/api.
 */
#ifndef API_SCHEDULES_H
#define API_SCHEDULES_H

#include "api/call.h"
#include "api/schedule_request.h"
#include "store/schedules.h"

/* what a call about schedules holds beside its request; freed with the call */
struct schedule_call {
	const char *name; /* of the path, borrowed from the request; NULL: none */
	struct schedule_request request;
	struct strbuf spec; /* the task as it is made */
	int64_t next_us;    /* 0: none */
	bool made;	    /* by this request: 201 */
	int rev, tries;	    /* to resume */
	int limit;	    /* of a list */
	char above[NAME_MAX_BYTES + 1];
	int64_t below_us; /* fires: before it; 0: the newest */
};
void schedule_call_free(struct schedule_call *s); /* NULL is fine */
/* a call with its schedule; NULL: answered already */
struct call *schedule_begin(struct api *api, struct httpreq *req, int app_id);
void schedule_not_found(struct call *c);
int schedule_row_rule(
    const struct schedule_row *s, struct rule *r, struct err *err) ATTR_CHECK;
void schedule_broken(
    struct call *c, const struct err *err); /* its rule is not sound here */

#endif
