/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.c - workers outside: POST /v1/leases and what they tell of a lease.
 *
 *     POST /v1/leases                     tasks, at once or when there are some
 *     POST /v1/leases/{lease}/extend      still at it
 *     POST /v1/leases/{lease}/complete    done
 *     POST /v1/leases/{lease}/fail        not done, to be tried again or not
 *     POST /v1/leases/{lease}/release     given back at no cost
 *     POST /v1/leases/complete            many at once
 *
 * A lease names its task and a random id, which is the task's owner while it is held:
 * whoever comes late finds another owner, and gets 409.  Told twice, since an answer
 * was lost, is answered as the first time.
 *
 * An endpoint that was told the lease of its attempt may come with it before its own
 * answer, which turns the attempt into that lease, has reached the node that waits for
 * it.  So what finds no lease looks whether it is that of an attempt under way, and
 * makes it so.
 */
#include "engine/leases.h"

#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/lease_request.h"
#include "api/params.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/endpoints.h"
#include "model/trace.h"
#include "store/leases.h"

#define TRIES	     3
#define EARLY_TTL_MS 60000 /* of one that is ended at once */

static void
no_memory(struct call *c)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_NOMEM, "lease");
	call_problem(c, &err, NULL);
}

static void
out_of_scope(struct call *c, const char *queue)
{
	struct refusal why;

	(void)refuse(&why, 403, "out_of_scope",
	    "This API key may not work on %s%s: make one with the scope work, or "
	    "work:QUEUE.",
	    queue != NULL ? "queue " : "that task's queue", queue != NULL ? queue : "");
	call_refuse(c, &why);
}

static void
lost(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 409, "lease_lost",
	    "The lease does not hold its task any more: its time ran out, or the task "
	    "ended otherwise. What was done is not recorded.");
	call_refuse(c, &why);
}

/* ---------------------------------------------------------------- take */

/* c->extra */
struct taking {
	struct lease_ask ask;
	struct lease_request request;
	struct lease_wait *wait; /* NULL: not waiting */
	const char *types[LEASE_MAX_QUEUES];
};

static const char *
queue_name(const struct taking *t, int id)
{
	for (size_t i = 0; i < t->request.queue_count; i++) {
		if (t->request.queues[i] == id)
			return t->ask.queues[i];
	}
	return NULL;
}

static void
put_json(struct jsonw *w, const char *name, const char *json, size_t len)
{
	jsonw_key(w, name);
	if (json != NULL && len > 0)
		jsonw_raw(w, json, len);
	else
		jsonw_null(w);
}

/* the span of this attempt, for what the worker does in it */
static void
put_trace(struct jsonw *w, const struct leased_row *l)
{
	char parent[TRACE_PARENT_SIZE];

	jsonw_member_string(
	    w, "traceparent", trace_parent(l->trace, &l->task, l->attempt, parent));
	if (trace_state(l->trace) != NULL)
		jsonw_member_string(w, "tracestate", trace_state(l->trace));
}

static void
grant_json(struct jsonw *w, const struct taking *t, const struct leased_row *l,
    const struct lease_grant *g)
{
	struct lease_name name = {l->task, g->lease};
	char text[LEASE_TEXT_SIZE], id[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "lease", lease_format(&name, text));
	jsonw_member_string(w, "fence", g->fence);
	jsonw_member_time(w, "expires_at", l->expires_us);
	jsonw_member_time(w, "ends_at", l->ends_us);
	jsonw_key(w, "task");
	jsonw_object(w);
	jsonw_member_string(w, "id", uuid_format(&l->task, id));
	jsonw_member_string(w, "type", l->type);
	jsonw_member_string(w, "queue", queue_name(t, l->queue_id));
	jsonw_member_int(w, "priority", l->priority);
	put_json(w, "payload", l->payload, l->payload_len);
	jsonw_member_int(w, "attempt", l->attempt);
	jsonw_member_int(w, "max_attempts", l->max_attempts);
	jsonw_member_int(w, "failures", l->failures);
	put_json(w, "metadata", l->metadata, l->metadata_len);
	jsonw_member_time(w, "deadline", l->deadline_us);
	jsonw_member_time(w, "created_at", task_created_us(&l->task));
	jsonw_member_time(w, "run_at", l->run_at_us);
	if (l->trace != NULL)
		put_trace(w, l);
	jsonw_end(w);
	jsonw_end(w);
}

static bool
on_tasks(const struct pgrows *rows, const struct lease_grant grants[], size_t count,
    const struct err *err, void *arg)
{
	struct call *c = arg;
	struct taking *t = c->extra;
	struct leased_row l;
	struct jsonw w;

	t->wait = NULL;
	httpreq_on_gone(c->req, NULL, NULL);
	if (err != NULL) {
		call_problem(c, err, "The database is away; nothing was leased.");
		return true;
	}
	/* the sweep finds who has gone twice a second; here each may be the one */
	if (count > 0 && httpreq_look_gone(c->req)) {
		call_drop(c);
		return false;
	}
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "leases");
	jsonw_array(&w);
	for (size_t i = 0; i < count; i++) {
		leased_row_get(rows, grants[i].row, &l);
		grant_json(&w, t, &l, &grants[i]);
	}
	jsonw_end(&w);
	jsonw_end(&w);
	if (strbuf_failed(&c->api->out)) {
		no_memory(c);
		return false;
	}
	httpreq_set_header(c->req, "Cache-Control", "no-store");
	call_reply(c, 200);
	return true;
}

static void
gone(struct httpreq *req, void *arg)
{
	struct call *c = arg;
	struct taking *t = c->extra;

	(void)req;
	leases_cancel(t->wait);
	t->wait = NULL;
	call_drop(c);
}

static void
wait_for_tasks(struct call *c)
{
	struct taking *t = c->extra;
	struct err err = ERR_INIT;
	struct refusal why;

	t->request.wait_ms = c->api->leaving ? 0 : t->ask.wait_ms;
	t->wait =
	    leases_wait(engine_leases(c->api->engine), &t->request, on_tasks, c, &err);
	if (t->wait != NULL) {
		httpreq_on_gone(c->req, gone, c);
	} else if (err.code == ERR_LIMIT) {
		httpreq_set_header(c->req, "Retry-After", "1");
		(void)refuse(&why, 429, "too_many_waiters",
		    "As many requests wait for tasks as may, of this key or of all; "
		    "ask for more tasks with fewer requests.");
		call_refuse(c, &why);
	} else {
		call_problem(c, &err, NULL);
	}
}

static bool
queues_known(struct call *c)
{
	struct taking *t = c->extra;

	for (size_t i = 0; i < t->ask.queue_count; i++) {
		t->request.queues[i] =
		    names_queue_id(c->api->names, c->app_id, t->ask.queues[i]);
		if (t->request.queues[i] == 0)
			return false;
	}
	t->request.queue_count = t->ask.queue_count;
	return true;
}

static void
on_queues(const struct err *err, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (err != NULL && err->code == ERR_LIMIT) {
		(void)refuse(&why, 422, "too_many_names", "Nothing was leased: %.300s.",
		    err->text);
		call_refuse(c, &why);
	} else if (err != NULL || !queues_known(c)) {
		struct err full = {ERR_LIMIT, ""};

		call_problem(c, err != NULL ? err : &full,
		    "The queues are not known now; nothing was leased.");
	} else if (httpreq_is_gone(c->req)) {
		call_drop(c);
	} else {
		wait_for_tasks(c);
	}
	call_answered(api);
}

static bool
ask_queues(struct call *c)
{
	const struct taking *t = c->extra;
	const char *names[LEASE_MAX_QUEUES];
	struct err err = ERR_INIT;

	if (queues_known(c)) {
		wait_for_tasks(c);
		return false;
	}
	for (size_t i = 0; i < t->ask.queue_count; i++)
		names[i] = t->ask.queues[i];
	if (names_learn(c->api->names, c->app_id, names, t->ask.queue_count, NULL, 0,
		on_queues, c, &err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was leased.");
	return false;
}

void
leases_post(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	struct taking *t;
	struct scope scope;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	c->extra = t = mem_zero(sizeof(*t));
	if (t == NULL) {
		no_memory(c);
		return;
	}
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    lease_ask_parse(body, len, &t->ask, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	scope_read(api->scopes, &scope);
	for (size_t i = 0; i < t->ask.queue_count; i++) {
		if (!scope_has(&scope, t->ask.queues[i])) {
			out_of_scope(c, t->ask.queues[i]);
			return;
		}
	}
	for (size_t i = 0; i < t->ask.type_count; i++)
		t->types[i] = t->ask.types[i];
	t->request.app_id = app_id;
	t->request.types = t->types;
	t->request.type_count = t->ask.type_count;
	t->request.max = t->ask.max;
	t->request.ttl_ms = t->ask.ttl_ms;
	t->request.worker = t->ask.worker[0] != '\0' ? t->ask.worker : NULL;
	auth_public_id(req, t->request.key);
	if (queues_known(c))
		wait_for_tasks(c);
	else
		call_ask(c, ask_queues);
}

/* ---------------------------------------------------------------- before its 202 */

/* first in c->extra of what may come early */
struct early {
	bool looked; /* once for each call */
	int64_t ttl_ms;
	call_question *again; /* what found no lease */
	size_t count;
	struct early_one {
		struct lease_name name;
		struct lease_attempt attempt;
		bool ours; /* the lease is that of this attempt */
	} * at;
};

static const struct sealkeys *
keys_of(const struct call *c)
{
	return endpoints_keys(engine_endpoints(c->api->engine));
}

static void
on_handed_over(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct early *y = c->extra;
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
	const struct early *y = c->extra;
	struct pgparam *p = &c->api->params;

#define EACH(type, put)                                                                \
	do {                                                                           \
		pgparam_array(p, type);                                                \
		for (size_t i = 0; i < y->count; i++) {                                \
			const struct early_one *o = &y->at[i];                         \
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
	struct early *y = c->extra;
	struct api *api = c->api;
	bool any = false;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	for (int i = 0; i < pgrows_count(rows); i++) {
		struct early_one *o = &y->at[pgrows_int(rows, i, 0) - 1];

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
	const struct early *y = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < y->count; i++)
		pgparam_elem_uuid(p, &y->at[i].name.task);
	pgparam_array_end(p);
	return call_send(c, &leases_holders, on_holders);
}

/* a lease was not found: true if it is looked for among the attempts under way, after
 * which again asks anew */
static bool
look_early(struct call *c, call_question *again)
{
	struct early *y = c->extra;

	if (y->looked || keys_of(c) == NULL)
		return false;
	y->looked = true;
	y->again = again;
	call_ask(c, ask_holders);
	return true;
}

/* ---------------------------------------------------------------- extend */

/* c->extra */
struct extending {
	struct early early;
	struct early_one one;
	struct lease_name name;
	struct lease_extend what;
	struct scope scope;
};

static int
read_name(struct call *c, struct lease_name *name, struct refusal *why)
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

static bool ask_extend(struct call *c);

static void
on_extended(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct extending *x = c->extra;
	struct api *api = c->api;
	char text[LEASE_TEXT_SIZE];
	struct jsonw w;

	if (pe != NULL) {
		call_change_failed(c, pe);
	} else if (pgrows_int(rows, 0, 0) == LEASE_LOST) {
		if (!look_early(c, ask_extend))
			lost(c);
	} else if (pgrows_int(rows, 0, 0) == LEASE_FORBIDDEN) {
		out_of_scope(c, NULL);
	} else {
		call_body(c, &w);
		jsonw_object(&w);
		jsonw_member_string(&w, "lease", lease_format(&x->name, text));
		jsonw_member_time(&w, "expires_at", pgrows_time_us(rows, 0, 1));
		jsonw_member_bool(&w, "cancelled", pgrows_bool(rows, 0, 2));
		jsonw_end(&w);
		call_reply(c, 200);
	}
	call_answered(api);
}

static bool
ask_extend(struct call *c)
{
	const struct extending *x = c->extra;
	struct pgparam *p = &c->api->params;
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_uuid(p, &x->name.task);
	pgparam_uuid(p, &x->name.lease);
	pgparam_int4(p, (int32_t)x->what.ttl_ms);
	if (x->what.progress.kind != 0)
		pgparam_textn(p, x->what.progress.at, x->what.progress.len);
	else
		pgparam_text(p, NULL);
	pgparam_text(p, x->what.log[0] != '\0' ? x->what.log : NULL);
	leases_put_scope(p, x->scope.names, x->scope.all ? 0 : x->scope.count);
	if (store_exec(c->api->store, STORE_READ, &leases_extend, p, on_extended, c,
		&err) == 0)
		return true;
	call_problem(c, &err, "The database is away; the lease was not extended.");
	return false;
}

/* a key without a single queue may touch nothing */
static bool
read_scope(struct call *c, struct scope *scope)
{
	scope_read(c->api->scopes, scope);
	if (scope->all || scope->count > 0)
		return true;
	out_of_scope(c, NULL);
	return false;
}

void
leases_extend_post(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct extending *x;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	c->extra = x = mem_zero(sizeof(*x));
	if (x == NULL) {
		no_memory(c);
		return;
	}
	body = httpreq_body(req, &len);
	if (read_name(c, &x->name, &why) != 0 ||
	    lease_extend_parse(body, len, &x->what, &why) != 0)
		call_refuse(c, &why);
	else if (read_scope(c, &x->scope)) {
		x->one.name = x->name;
		x->early.at = &x->one;
		x->early.count = 1;
		x->early.ttl_ms = x->what.ttl_ms;
		call_ask(c, ask_extend);
	}
}

/* ---------------------------------------------------------------- ends */

/* c->extra */
struct ending {
	struct early early;
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
	return look_early(c, again);
}

/* what others must hear of: committed */
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
			lost(c);
		} else if (!e->batch && pgrows_int(rows, 0, 1) == LEASE_FORBIDDEN) {
			out_of_scope(c, NULL);
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
	struct err err = ERR_INIT;

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
	if (store_exec(c->api->store, STORE_READ, &leases_end, p, on_ended, c, &err) ==
	    0)
		return true;
	call_problem(c, &err, "The database is away; nothing was recorded.");
	return false;
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
	struct err err = ERR_INIT;

	put_names(&c->api->params, c->app_id, c->extra);
	if (store_exec(c->api->store, STORE_READ, &leases_rules, &c->api->params,
		on_rules, c, &err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was recorded.");
	return false;
}

/* NULL: answered */
static struct ending *
ending_create(struct call *c, size_t room)
{
	struct ending *e =
	    mem_zero(sizeof(*e) + room * (sizeof(e->ends[0]) + sizeof(*e->early.at)));

	c->extra = e;
	if (e == NULL) {
		no_memory(c);
		return NULL;
	}
	e->count = 1;
	e->early.at = (struct early_one *)(void *)(e->ends + room);
	e->early.ttl_ms = EARLY_TTL_MS;
	return read_scope(c, &e->scope) ? e : NULL;
}

void
leases_complete(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct ending *e;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (e = ending_create(c, 1)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (read_name(c, &e->ends[0].name, &why) != 0 ||
	    lease_complete_parse(body, len,
		(size_t)api->settings->tasks_max_result_bytes, &e->ends[0], &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_end);
}

void
leases_fail(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct ending *e;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (e = ending_create(c, 1)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (read_name(c, &e->ends[0].name, &why) != 0 ||
	    lease_fail_parse(body, len, &e->ends[0], &why) != 0)
		call_refuse(c, &why);
	else if (e->ends[0].state == TASK_SCHEDULED && e->ends[0].retry_ms < 0)
		call_ask(c, ask_rules);
	else
		call_ask(c, ask_end);
}

void
leases_release(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct ending *e;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (e = ending_create(c, 1)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (read_name(c, &e->ends[0].name, &why) != 0 ||
	    lease_release_parse(body, len, &e->ends[0], &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_end);
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
