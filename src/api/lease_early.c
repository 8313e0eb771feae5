/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_early.c - see lease_early.h.
 */
#include "api/lease_early.h"

#include "engine/endpoints.h"
#include "store/leases.h"

static const struct sealkeys *
keys_of(const struct call *c)
{
	return endpoints_keys(engine_endpoints(c->api->engine));
}

static void
on_handed_over(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct lease_early *y = c->extra;
	struct api *api = c->api;
	struct score_slot *slot = &api->board->slots[api->slot];

	if (pe != NULL && pe->class == PGERR_LOST) {
		call_change_failed(c, pe);
	} else if (pe != NULL && pe->class != PGERR_RETRY) {
		call_read_failed(c, pe);
	} else {
		for (int i = 0; pe == NULL && i < pgrows_count(rows); i++) {
			if (pgrows_int(rows, i, 1) != HAND_OVER_DONE)
				continue;
			score_add(slot, SCORE_leases_given_total, 1);
			score_add(slot, SCORE_leases_handed_over_total, 1);
		}
		call_ask(c, y->again);
	}
	call_answered(api);
}

static bool
ask_hand_over(struct call *c)
{
	const struct lease_early *y = c->extra;
	struct pgparam *p = &c->api->params;

#define EACH(type, put)                                                                \
	do {                                                                           \
		pgparam_array(p, type);                                                \
		for (size_t i = 0; i < y->count; i++) {                                \
			const struct lease_early_one *o = &y->at[i];                   \
                                                                                       \
			if (o->ours)                                                   \
				put;                                                   \
		}                                                                      \
		pgparam_array_end(p);                                                  \
	} while (0)

	pgparam_reset(p);
	EACH(PGTYPE_UUID, pgparam_elem_uuid(p, &o->attempt.owner));
	EACH(PGTYPE_INT4, pgparam_elem_int4(p, o->attempt.app_id));
	EACH(PGTYPE_UUID, pgparam_elem_uuid(p, &o->attempt.task));
	EACH(PGTYPE_INT4, pgparam_elem_int4(p, o->attempt.number));
	EACH(PGTYPE_INT4, pgparam_elem_int4(p, o->attempt.claim));
	EACH(PGTYPE_UUID, pgparam_elem_uuid(p, &o->name.lease));
	EACH(PGTYPE_INT4, pgparam_elem_int4(p, (int32_t)y->ttl_ms));
	EACH(PGTYPE_TEXT, pgparam_elem_null(p));
#undef EACH
	return call_send(c, &leases_hand_over, on_handed_over);
}

static void
on_holders(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct lease_early *y = c->extra;
	struct api *api = c->api;
	bool any = false;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	for (int i = 0; i < pgrows_count(rows); i++) {
		struct lease_early_one *o = &y->at[pgrows_int(rows, i, 0) - 1];

		o->attempt.app_id = c->app_id;
		o->attempt.task = o->name.task;
		pgrows_uuid(rows, i, 1, &o->attempt.owner);
		o->attempt.number = (int)pgrows_int(rows, i, 2);
		o->attempt.claim = (int)pgrows_int(rows, i, 3);
		o->ours = !owner_is_lease(&o->attempt.owner) &&
			  lease_is_of_attempt(keys_of(c), &o->attempt, &o->name.lease);
		any |= o->ours;
	}
	call_ask(c, any ? ask_hand_over : y->again);
	call_answered(api);
}

static bool
ask_holders(struct call *c)
{
	const struct lease_early *y = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < y->count; i++)
		pgparam_elem_uuid(p, &y->at[i].name.task);
	pgparam_array_end(p);
	return call_send(c, &leases_holders, on_holders);
}

bool
lease_look_early(struct call *c, call_question *again)
{
	struct lease_early *y = c->extra;

	if (y->looked || keys_of(c) == NULL)
		return false;
	y->looked = true;
	y->again = again;
	call_ask(c, ask_holders);
	return true;
}
