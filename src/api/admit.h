/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admit.h - may these tasks be taken, by what is set for their queues?
 *
 * Between the names and the submit.  While no queue that this worker knows has
 * anything set, it costs one comparison.
 */
#ifndef API_ADMIT_H
#define API_ADMIT_H

#include "api/call.h"

/* has one of these queues a max_length?  Then the tasks are made one by one
 * (api/tasks_each.h), by a statement that counts what waits under the queue's lock. */
bool admit_bounded(
    const struct api *api, const struct submit_item *items, size_t count) ATTR_CHECK;

/*
 * Fills in what the queues' settings say of the items (priority, held).  False: c was
 * answered with 429, since the queue is shedding.
 */
bool admit(struct call *c, struct submit_item *items, size_t count) ATTR_CHECK;

/* c is answered with 429, since there was no room */
void admit_refuse_full(struct call *c);

#endif
