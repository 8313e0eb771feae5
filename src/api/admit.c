/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admit.c - load shedding and the length of queues, at the door.
 *
 * A queue with a max_length is counted in PostgreSQL, once a request, whatever the
 * number of tasks in it.  What this worker has let in since it asked, and has not seen
 * committed before, may or may not be in that count, and is added: so the tasks that
 * one worker lets in never exceed the length together.  Two workers that ask at the
 * same moment may both find room for the last one.
 */
#include "api/admit.h"

#include <string.h>

#include "api/task_request.h"
#include "base/hmap.h"
#include "base/mem.h"
#include "store/queues.h"

#define PPM	    1000000
#define RETRY_AFTER "5"

/* a queue with a max_length, as this worker has used it; kept for the worker's life */
struct arrival {
	int queue_id;
	int64_t admitted; /* tasks, so far */
	int64_t ended;	  /* of them: committed, or never to be */
};

struct bound {
	struct arrival *arrival;
	int max;
	int64_t count; /* tasks of this request */
	int64_t base;  /* ended when the length was asked for */
	bool admitted;
};

struct admission {
	call_admitted *go;
	size_t count;
	struct bound bounds[];
};

static void
too_many(struct call *c, const char *code, const char *detail)
{
	struct refusal why;

	(void)refuse(&why, 429, code, "%s", detail);
	httpreq_set_header(c->req, "Retry-After", RETRY_AFTER);
	call_refuse(c, &why);
}

static struct arrival *
arrival_of(struct api *api, int queue_id)
{
	struct arrival *a;

	if (api->arrivals == NULL && (api->arrivals = hmap_create()) == NULL)
		return NULL;
	a = hmap_get(api->arrivals, &queue_id, sizeof(queue_id));
	if (a != NULL || (a = mem_zero(sizeof(*a))) == NULL)
		return a;
	a->queue_id = queue_id;
	if (hmap_put(api->arrivals, &a->queue_id, sizeof(a->queue_id), a, NULL) != 0) {
		mem_free(a);
		return NULL;
	}
	return a;
}

void
admit_fini(struct api *api)
{
	struct arrival *a;
	size_t cursor = 0;

	while (
	    api->arrivals != NULL && (a = hmap_next(api->arrivals, &cursor)) != NULL) {
		hmap_remove(api->arrivals, &a->queue_id, sizeof(a->queue_id));
		mem_free(a);
	}
	hmap_free(api->arrivals);
	api->arrivals = NULL;
}

void
admit_end(struct call *c)
{
	struct admission *ad = c->admission;

	if (ad == NULL)
		return;
	c->admission = NULL;
	for (size_t i = 0; i < ad->count; i++) {
		if (ad->bounds[i].admitted)
			ad->bounds[i].arrival->ended += ad->bounds[i].count;
	}
	mem_free(ad);
}

/* ---------------------------------------------------------------- lengths */

static void
on_lengths(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct admission *ad = c->admission;
	struct api *api = c->api;
	size_t fits = 0;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	for (size_t i = 0; i < ad->count; i++) {
		struct bound *b = &ad->bounds[i];

		for (int r = 0; r < pgrows_count(rows); r++) {
			if (pgrows_int(rows, r, 0) == b->arrival->queue_id &&
			    pgrows_int(rows, r, 1) + b->arrival->admitted - b->base +
				    b->count <=
				b->max)
				fits++;
		}
	}
	if (httpreq_is_gone(c->req)) {
		call_drop(c);
	} else if (fits < ad->count) {
		score_add(&api->board->slots[api->slot], SCORE_submits_full_total, 1);
		too_many(c, "queue_full",
		    "The queue is full: as many tasks wait in it as its max_length "
		    "allows. Nothing was accepted.");
	} else {
		for (size_t i = 0; i < ad->count; i++) {
			ad->bounds[i].admitted = true;
			ad->bounds[i].arrival->admitted += ad->bounds[i].count;
		}
		ad->go(c);
	}
	call_answered(api);
}

static bool
ask_lengths(struct call *c)
{
	struct admission *ad = c->admission;
	struct pgparam *p = &c->api->params;
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ad->count; i++)
		pgparam_elem_int4(p, ad->bounds[i].arrival->queue_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ad->count; i++) {
		pgparam_elem_int4(p, ad->bounds[i].max);
		ad->bounds[i].base = ad->bounds[i].arrival->ended;
	}
	pgparam_array_end(p);
	if (store_exec(c->api->store, STORE_READ, &queues_lengths, p, on_lengths, c,
		&err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was accepted.");
	return false;
}

/* -1: no memory */
static int
add_bound(struct call *c, struct admission *ad, int queue_id, int max)
{
	struct bound *b;

	for (size_t i = 0; i < ad->count; i++) {
		if (ad->bounds[i].arrival->queue_id == queue_id) {
			ad->bounds[i].count++;
			return 0;
		}
	}
	b = &ad->bounds[ad->count];
	if ((b->arrival = arrival_of(c->api, queue_id)) == NULL)
		return -1;
	b->max = max;
	b->count = 1;
	ad->count++;
	return 0;
}

/* those of the items whose queues have a max_length; 0, or -1 without memory */
static int
collect(struct call *c, const struct submit_item *items, size_t count)
{
	const struct queue_policy *p;
	size_t bounded = 0;

	for (size_t i = 0; i < count; i++) {
		p = names_policy(c->api->names, items[i].queue_id);
		bounded += p != NULL && p->max_length > 0;
	}
	if (bounded == 0)
		return 0;
	c->admission = mem_zero(sizeof(*c->admission) + bounded * sizeof(struct bound));
	if (c->admission == NULL)
		return -1;
	for (size_t i = 0; i < count; i++) {
		p = names_policy(c->api->names, items[i].queue_id);
		if (p != NULL && p->max_length > 0 &&
		    add_bound(c, c->admission, items[i].queue_id, p->max_length) != 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- the door */

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

void
admit(struct call *c, struct submit_item *items, size_t count, call_admitted *go)
{
	struct api *api = c->api;
	struct err err = ERR_INIT;

	if (!names_have_policies(api->names)) {
		go(c);
		return;
	}
	fill_in(api, items, count);
	if (is_shed(api, items, count)) {
		score_add(&api->board->slots[api->slot], SCORE_submits_shed_total, 1);
		too_many(c, "shed",
		    "The queue takes only a share of such tasks now. Nothing was "
		    "accepted; try again later, or with a higher priority.");
		return;
	}
	if (collect(c, items, count) != 0) {
		err_set(&err, ERR_NOMEM, "admission");
		call_problem(c, &err, NULL);
		return;
	}
	if (c->admission == NULL) {
		go(c);
		return;
	}
	c->admission->go = go;
	call_ask(c, ask_lengths);
}
