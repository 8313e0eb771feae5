/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases_end.c - how a worker outside ends its lease: complete, fail, release, and many
 * completed at once.
 *
 *     fail, and it says no pause -> ask_rules() -> ask_end() -> the answer
 *     all others ----------------------------------'
 *
 * Either question may find no lease, and comes again after lease_early.c has looked.
 */
#include "api/lease_call.h"
#include "api/lease_early.h"

#include <string.h>

#include "api/params.h"
#include "store/leases.h"

#define TRIES	     3
#define EARLY_TTL_MS 60000 /* of one that is ended at once */

static const char not_recorded[] = "The database is away; nothing was recorded.";

/* c->extra */
struct ending {
	struct lease_early early;
	bool batch;
	int tries;
	size_t count;
	struct scope scope;
	struct lease_end ends[];
};

static bool ask_end(struct call *c), ask_rules(struct call *c);

static bool
look_early_ends(struct call *c, call_question *again)
{
	struct ending *e = c->extra;

	e->early.count = e->count;
	for (size_t i = 0; i < e->count; i++)
		e->early.at[i].name = e->ends[i].name;
	return lease_look_early(c, again);
}

/* as finish.c counts the ends of what workers ran */
static void
count_end(struct call *c, enum task_state state)
{
	struct score_slot *slot = &c->api->board->slots[c->api->slot];

	switch (state) {
	case TASK_SUCCEEDED:
		score_add(slot, SCORE_tasks_succeeded_total, 1);
		break;
	case TASK_SCHEDULED:
		score_add(slot, SCORE_tasks_retried_total, 1);
		break;
	case TASK_FAILED:
		score_add(slot, SCORE_tasks_failed_total, 1);
		break;
	case TASK_CANCELLED:
		score_add(slot, SCORE_tasks_cancelled_total, 1);
		break;
	default: /* given back */
		break;
	}
}

/* what others must hear of: committed */
static void
tell_others(struct call *c, const struct ending *e, const struct pgrows *rows, int row)
{
	const struct lease_end *le = &e->ends[pgrows_int(rows, row, 0) - 1];
	enum task_state state = (enum task_state)pgrows_int(rows, row, 2);
	struct engine *engine = c->api->engine;
	int special = (int)pgrows_int(rows, row, 4);
	struct uuid waiter;

	if (pgrows_int(rows, row, 1) != LEASE_DONE)
		return;
	count_end(c, state);
	if (task_is_final(state) && !pgrows_is_null(rows, row, 3)) {
		pgrows_uuid(rows, row, 3, &waiter);
		waiters_tell(c->api->waiters, &waiter, c->app_id, &le->name.task);
	}
	if (state == TASK_QUEUED || (special & TASK_SPECIAL_LIMITED))
		engine_back_in_line(engine, c->app_id, (int)pgrows_int(rows, row, 5));
	/* what rests may be due before the leader's next pass */
	if (state == TASK_SCHEDULED || (special & TASK_SPECIAL_OTHERS))
		engine_hint(engine);
}

static void
end_json(struct jsonw *w, const struct lease_end *le, const struct pgrows *rows,
    int row, bool batch)
{
	enum lease_outcome outcome = (enum lease_outcome)pgrows_int(rows, row, 1);
	char text[LEASE_TEXT_SIZE], id[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "lease", lease_format(&le->name, text));
	jsonw_member_string(w, "task", uuid_format(&le->name.task, id));
	jsonw_member_string(w, "state",
	    outcome > LEASE_DONE_BEFORE
		? NULL
		: task_state_name((enum task_state)pgrows_int(rows, row, 2)));
	if (batch)
		jsonw_member_string(w, "code",
		    outcome == LEASE_LOST	 ? "lease_lost"
		    : outcome == LEASE_FORBIDDEN ? "out_of_scope"
						 : NULL);
	jsonw_end(w);
}

static int
row_of(const struct pgrows *rows, size_t n)
{
	for (int i = 0; i < pgrows_count(rows); i++) {
		if (pgrows_int(rows, i, 0) == (int64_t)n + 1)
			return i;
	}
	return -1; /* cannot be */
}

static void
write_ends(struct call *c, const struct ending *e, const struct pgrows *rows)
{
	struct jsonw w;

	call_body(c, &w);
	if (!e->batch) {
		end_json(&w, &e->ends[0], rows, 0, false);
		return;
	}
	jsonw_object(&w);
	jsonw_key(&w, "leases");
	jsonw_array(&w);
	for (size_t i = 0; i < e->count; i++) {
		int row = row_of(rows, i);

		if (row >= 0)
			end_json(&w, &e->ends[i], rows, row, true);
	}
	jsonw_end(&w);
	jsonw_end(&w);
}

static void
on_ended(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct ending *e = c->extra;
	struct api *api = c->api;
	struct err err = ERR_INIT;

	if (pe != NULL && pe->class == PGERR_RETRY && ++e->tries < TRIES) {
		call_ask(c, ask_end);
	} else if (pe != NULL && pe->class == PGERR_LOST) {
		err_set(&err, ERR_TIMEOUT, "%s", pe->text);
		call_problem(c, &err,
		    "The database did not answer in time; it may have been recorded. "
		    "Repeating is safe.");
	} else if (pe != NULL) {
		call_read_failed(c, pe);
	} else {
		bool any_lost = false;

		for (int i = 0; i < pgrows_count(rows); i++) {
			tell_others(c, e, rows, i);
			any_lost |= pgrows_int(rows, i, 1) == LEASE_LOST;
		}
		/* (what has ended now is told again then, as ended before) */
		if (any_lost && look_early_ends(c, ask_end)) {
			call_answered(api);
			return;
		}
		if (!e->batch && pgrows_int(rows, 0, 1) == LEASE_LOST) {
			lease_lost(c);
		} else if (!e->batch && pgrows_int(rows, 0, 1) == LEASE_FORBIDDEN) {
			lease_out_of_scope(c, NULL);
		} else {
			write_ends(c, e, rows);
			call_reply(c, 200);
		}
	}
	call_answered(api);
}

static void
put_message(struct pgparam *p, const struct lease_end *le)
{
	char text[LEASE_MESSAGE_MAX + 1];
	size_t len;

	if (le->message.kind != 0 &&
	    jspan_string(&le->message, text, sizeof(text), &len, NULL) == 0)
		pgparam_elem_text(p, text, len);
	else
		pgparam_elem_null(p);
}

static void
put_names(struct pgparam *p, int app_id, const struct ending *e)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < e->count; i++)
		pgparam_elem_uuid(p, &e->ends[i].name.task);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < e->count; i++)
		pgparam_elem_uuid(p, &e->ends[i].name.lease);
	pgparam_array_end(p);
}

static bool
ask_end(struct call *c)
{
	const struct ending *e = c->extra;
	struct pgparam *p = &c->api->params;

	put_names(p, c->app_id, e);
	pgparam_array(p, PGTYPE_INT2);
	for (size_t i = 0; i < e->count; i++)
		pgparam_elem_int2(p, (int16_t)e->ends[i].state);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT8);
	for (size_t i = 0; i < e->count; i++)
		pgparam_elem_int8(p, e->ends[i].retry_ms > 0 ? e->ends[i].retry_ms : 0);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < e->count; i++) {
		const struct jspan *r = &e->ends[i].result;

		if (r->kind != 0 && r->kind != JSON_NULL)
			pgparam_elem_text(p, r->at, r->len);
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < e->count; i++) {
		if (e->ends[i].code[0] != '\0')
			pgparam_elem_text(p, e->ends[i].code, strlen(e->ends[i].code));
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < e->count; i++)
		put_message(p, &e->ends[i]);
	pgparam_array_end(p);
	leases_put_scope(p, e->scope.names, e->scope.all ? 0 : e->scope.count);
	return call_send_or(c, &leases_end, on_ended, not_recorded);
}

/* how long it rests: by the task's rule, its type's, or the default */
static void
on_rules(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct ending *e = c->extra;
	struct api *api = c->api;
	struct backoff b;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	/* (still no row: the end finds it lost, or told before) */
	if (pgrows_count(rows) == 0 && look_early_ends(c, ask_rules)) {
		call_answered(api);
		return;
	}
	if (pgrows_count(rows) > 0) {
		const char *text = NULL;
		size_t len = 0;

		if (!pgrows_is_null(rows, 0, 2))
			text = pgrows_text(rows, 0, 2, &len);
		e->ends[0].retry_ms = backoff_ms(
		    text != NULL && backoff_parse_json(text, len, &b, NULL) == 0 ? &b
										 : NULL,
		    (int)pgrows_int(rows, 0, 1), random_u64());
	}
	call_ask(c, ask_end);
	call_answered(api);
}

static bool
ask_rules(struct call *c)
{
	put_names(&c->api->params, c->app_id, c->extra);
	return call_send_or(c, &leases_rules, on_rules, not_recorded);
}

/* NULL: answered */
static struct ending *
ending_create(struct call *c, size_t room)
{
	struct ending *e = call_extra(
	    c, sizeof(*e) + room * (sizeof(e->ends[0]) + sizeof(*e->early.at)));

	if (e == NULL)
		return NULL;
	e->count = 1;
	e->early.at = (struct lease_early_one *)(void *)(e->ends + room);
	e->early.ttl_ms = EARLY_TTL_MS;
	return lease_read_scope(c, &e->scope) ? e : NULL;
}

/* the body of a request about one lease; end_parse is told what the settings say */
typedef int end_parse(const char *body, size_t len, const struct settings *settings,
    struct lease_end *le, struct refusal *why);

static void
end_one(struct api *api, struct httpreq *req, int app_id, end_parse *parse)
{
	struct call *c = call_begin(api, req, app_id);
	struct lease_end *le;
	struct ending *e;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (e = ending_create(c, 1)) == NULL)
		return;
	le = &e->ends[0];
	body = httpreq_body(req, &len);
	if (lease_read_name(c, &le->name, &why) != 0 ||
	    parse(body, len, api->settings, le, &why) != 0)
		call_refuse(c, &why);
	else if (le->state == TASK_SCHEDULED && le->retry_ms < 0)
		call_ask(c, ask_rules);
	else
		call_ask(c, ask_end);
}

static int
parse_complete(const char *body, size_t len, const struct settings *settings,
    struct lease_end *le, struct refusal *why)
{
	return lease_complete_parse(
	    body, len, (size_t)settings->tasks_max_result_bytes, le, why);
}

static int
parse_fail(const char *body, size_t len, const struct settings *settings,
    struct lease_end *le, struct refusal *why)
{
	(void)settings;
	return lease_fail_parse(body, len, le, why);
}

static int
parse_release(const char *body, size_t len, const struct settings *settings,
    struct lease_end *le, struct refusal *why)
{
	(void)settings;
	return lease_release_parse(body, len, le, why);
}

void
leases_complete(struct api *api, struct httpreq *req, int app_id)
{
	end_one(api, req, app_id, parse_complete);
}

void
leases_fail(struct api *api, struct httpreq *req, int app_id)
{
	end_one(api, req, app_id, parse_fail);
}

void
leases_release(struct api *api, struct httpreq *req, int app_id)
{
	end_one(api, req, app_id, parse_release);
}

void
leases_complete_batch(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	struct ending *e;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (e = ending_create(c, LEASE_BATCH_MAX)) == NULL)
		return;
	e->batch = true;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    lease_batch_parse(body, len, (size_t)api->settings->tasks_max_result_bytes,
		e->ends, &e->count, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_end);
}
