/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_call.h - what the calls of workers outside have in common; internal to src/api.
 *
 *     POST /v1/leases                     tasks, at once or when there are some
 *     POST /v1/leases/{lease}/extend      still at it
 *     POST /v1/leases/{lease}/complete    done
 *     POST /v1/leases/{lease}/fail        not done, to be tried again or not
 *     POST /v1/leases/{lease}/release     given back at no cost
 *     POST /v1/leases/complete            many at once
 *
 * The first is in leases_take.c, the second in leases_extend.c, the others, which end a
 * lease, in leases_end.c.
 *
 * A lease names its task and a random id, which is the task's owner while it is held:
 * whoever comes late finds another owner, and gets 409.  Told twice, since an answer
 * was lost, is answered as the first time.
 */
#ifndef API_LEASE_CALL_H
#define API_LEASE_CALL_H

#include "api/call.h"
#include "api/lease_request.h"

/* answers: 403; queue is the one that was asked for, NULL: the task's */
void lease_out_of_scope(struct call *c, const char *queue);
/* answers: 409 */
void lease_lost(struct call *c);

/* the lease of the path, of a request without query parameters */
int lease_read_name(
    struct call *c, struct lease_name *name, struct refusal *why) ATTR_CHECK;
/* what the key may work on; false: nothing, and answered */
bool lease_read_scope(struct call *c, struct scope *scope) ATTR_CHECK;

#endif
