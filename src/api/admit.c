/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admit.c - load shedding and the length of queues, at the door.
 *
 * Shedding is a draw of this worker's.  The length of a queue is not: it is counted by
 * the statement that makes the tasks (shoal.submit_each), under a lock, so that it
 * holds for all workers together.
 */
#include "api/admit.h"

#include "api/task_request.h"

#define PPM	    1000000
#define RETRY_AFTER "5"

static void
too_many(struct call *c, const char *code, const char *detail)
{
	struct refusal why;

	(void)refuse(&why, 429, code, "%s", detail);
	httpreq_set_header(c->req, "Retry-After", RETRY_AFTER);
	call_refuse(c, &why);
}

void
admit_refuse_full(struct call *c)
{
	score_add(&c->api->board->slots[c->api->slot], SCORE_submits_full_total, 1);
	too_many(c, "queue_full",
	    "The queue is full: as many tasks wait in it as its max_length allows. "
	    "Nothing was accepted.");
}

bool
admit_bounded(const struct api *api, const struct submit_item *items, size_t count)
{
	for (size_t i = 0; names_have_policies(api->names) && i < count; i++) {
		const struct queue_policy *p =
		    names_policy(api->names, items[i].queue_id);

		if (p != NULL && p->max_length > 0)
			return true;
	}
	return false;
}

/* one draw a request: a batch is taken or refused as a whole */
static bool
is_shed(const struct api *api, const struct submit_item *items, size_t count)
{
	int draw = (int)random_below(PPM);

	for (size_t i = 0; i < count; i++) {
		const struct queue_policy *p =
		    names_policy(api->names, items[i].queue_id);

		if (p != NULL && draw < p->shed_ppm &&
		    items[i].priority > p->shed_below)
			return true;
	}
	return false;
}

static void
fill_in(const struct api *api, struct submit_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct queue_policy *p =
		    names_policy(api->names, items[i].queue_id);

		if (p == NULL)
			continue;
		if (p->priority >= 0 && !items[i].own_priority)
			items[i].priority = (int16_t)p->priority;
		items[i].held = p->paused    ? SUBMIT_PAUSED
				: p->limited ? SUBMIT_LIMITED
					     : SUBMIT_FREE;
	}
}

bool
admit(struct call *c, struct submit_item *items, size_t count)
{
	struct api *api = c->api;

	if (!names_have_policies(api->names))
		return true;
	fill_in(api, items, count);
	if (!is_shed(api, items, count))
		return true;
	score_add(&api->board->slots[api->slot], SCORE_submits_shed_total, 1);
	too_many(c, "shed",
	    "The queue takes only a share of such tasks now. Nothing was accepted; try "
	    "again later, or with a higher priority.");
	return false;
}
