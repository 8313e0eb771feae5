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

/*
 * Fills in what the queues' settings say of the items (priority, held), and goes on, at
 * once or from the loop; or c is answered with 429, or 503 when a length could not be
 * counted.
 */
typedef void call_admitted(struct call *c);
void admit(struct call *c, struct submit_item *items, size_t count, call_admitted *go);
/* the tasks are committed, or will never be; again: nothing */
void admit_end(struct call *c);

/* what this worker knows of arrivals in bounded queues */
void admit_fini(struct api *api);

#endif
