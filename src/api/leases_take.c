/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases_take.c - POST /v1/leases: tasks for a worker outside, at once or when there
 * are some.
 *
 * The waiting is in engine/leases.c.  Here are the request, and the answer, which goes
 * to nobody who has gone meanwhile: what was leased for them is given back at once.
 */
#include "engine/leases.h"

#include "api/auth.h"
#include "api/lease_call.h"
#include "api/params.h"
#include "model/trace.h"
#include "store/leases.h"

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
		call_no_memory(c);
		return false;
	}
	call_reply_no_store(c, 200);
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
	t = call_extra(c, sizeof(*t));
	if (t == NULL)
		return;
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
			lease_out_of_scope(c, t->ask.queues[i]);
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
