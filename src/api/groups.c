/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * groups.c - tasks that are counted together: POST /v1/groups, GET /v1/groups/{id},
 * POST /v1/groups/{id}/tasks and .../close.
 *
 * A group is made with its first tasks.  While it is open more may be added; closed and
 * with all its tasks ended, it has ended, and the tasks that were given as on_success
 * or on_completion are made; on_failure is made at the first task that does not
 * succeed.
 */
#include <string.h>

#include "api/call.h"
#include "api/call_trace.h"
#include "api/params.h"
#include "api/tasks_each.h"
#include "base/mem.h"
#include "face/link.h"

void
group_not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such group.");
	call_refuse(c, &why);
}

/* ---------------------------------------------------------------- the body */

/* one of the tasks to be made later; its refusals name the member they are about */
static int
read_callback(struct call *c, const char *body, const char *name,
    const struct jspan *value, struct task_request *tr, struct refusal *why)
{
	struct refusal inner;

	if (task_request_at(body, value, c->api->settings,
		engine_now_us(c->api->engine), tr, &inner) != 0)
		return refuse(
		    why, inner.status, inner.code, "%s: %.330s", name, inner.detail);
	if (tr->options.after.at != NULL || tr->options.ref.at != NULL)
		return refuse(why, 400, "invalid_field",
		    "%s: it runs after its group, and can have no after and no ref.",
		    name);
	return call_trace(c, tr, why);
}

static int
read_member(struct call *c, const char *body, const struct jspan *key,
    const struct jspan *value, struct group_request *g, struct refusal *why)
{
	bool flag;

	if (jspan_is(key, "tasks")) {
		c->tasks = *value;
		c->count = value->kind == JSON_ARRAY ? jspan_count(value) : 0;
		if (value->kind != JSON_ARRAY || c->count > TASK_BATCH_MAX)
			return refuse(why, 400, "invalid_field",
			    "tasks: it must be a list of up to %d tasks.",
			    TASK_BATCH_MAX);
		return 0;
	}
	if (jspan_is(key, g->add ? "close" : "open")) {
		if (jspan_bool(value, &flag, NULL) != 0)
			return refuse(why, 400, "invalid_field",
			    "%s: it must be true or false.", g->add ? "close" : "open");
		g->open = g->add ? (flag ? 0 : -1) : flag;
		return 0;
	}
	if (!g->add && jspan_is(key, "metadata")) {
		if (value->kind != JSON_OBJECT || value->len > TASK_METADATA_MAX)
			return refuse(why, 400, "invalid_field",
			    "metadata: it must be an object of up to %d bytes.",
			    TASK_METADATA_MAX);
		g->metadata = *value;
		return 0;
	}
	if (!g->add && jspan_is(key, "on_completion"))
		return read_callback(
		    c, body, "on_completion", value, &g->on_completion, why);
	if (!g->add && jspan_is(key, "on_success"))
		return read_callback(c, body, "on_success", value, &g->on_success, why);
	if (!g->add && jspan_is(key, "on_failure"))
		return read_callback(c, body, "on_failure", value, &g->on_failure, why);
	return refuse(why, 400, "unknown_field",
	    g->add ? "There are the fields tasks and close here, and no others."
		   : "There are the fields tasks, open, metadata, on_completion, "
		     "on_success and on_failure here, and no others.");
}

static int
read_body(struct call *c, struct group_request *g, struct refusal *why)
{
	struct jspan object, key, value;
	struct jwalk walk;
	const char *body;
	size_t len;

	body = httpreq_body(c->req, &len);
	/* tasks in a list in an object: each as deep as it may be alone */
	if (task_json_check(body, len, 2, &object, why) != 0)
		return -1;
	if (object.kind != JSON_OBJECT)
		return refuse(
		    why, 400, "invalid_request", "The body must be an object.");
	jwalk_start(&walk, &object);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_member(c, body, &key, &value, g, why) != 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- making */

static void
reply_group(struct call *c, int status)
{
	char id[UUID_TEXT_SIZE];
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "id");
	jsonw_string(&w, uuid_format(&c->each->group->id, id));
	tasks_each_json(c, &w);
	jsonw_end(&w);
	call_reply(c, status);
}

static void
made(struct call *c)
{
	char location[sizeof("/v1/groups/") + UUID_TEXT_SIZE] = "/v1/groups/";

	uuid_format(&c->each->group->id, location + sizeof("/v1/groups/") - 1);
	link_location(c->req, c->api->settings, location);
	reply_group(c, 201);
}

static void
added(struct call *c)
{
	reply_group(c, 200);
}

/* the call with its group; answered if something was wrong */
static void
post(struct api *api, struct httpreq *req, int app_id, bool add, bool close)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct group_request *g;
	struct task_request *trs;
	struct refusal why;

	if (c == NULL)
		return;
	g = mem_zero(sizeof(*g));
	if (g == NULL) {
		call_no_memory(c);
		return;
	}
	g->add = add;
	g->open = add ? (close ? 0 : -1) : 0;
	if (add && uuid_parse(id, strlen(id), &g->id) != 0) {
		mem_free(g);
		group_not_found(c);
		return;
	}
	if (!add)
		uuid_v7(engine_now_us(api->engine) / 1000, &g->id);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    (!close && read_body(c, g, &why) != 0)) {
		mem_free(g);
		call_refuse(c, &why);
		return;
	}
	/* none is fine: a group that is made empty, or only closed */
	trs = c->count > 0 ? tasks_each_parse(c) : mem_zero(sizeof(*trs));
	if (trs == NULL && c->count > 0)
		mem_free(g); /* answered */
	else
		tasks_each(c, trs, c->count, g, add ? added : made);
}

void
groups_post(struct api *api, struct httpreq *req, int app_id)
{
	post(api, req, app_id, false, false);
}

void
groups_add(struct api *api, struct httpreq *req, int app_id)
{
	post(api, req, app_id, true, false);
}

void
groups_close(struct api *api, struct httpreq *req, int app_id)
{
	post(api, req, app_id, true, true);
}

/* ---------------------------------------------------------------- reading */

static void
group_json(struct jsonw *w, const struct uuid *id, const struct group_row *g)
{
	char text[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_key(w, "id");
	jsonw_string(w, uuid_format(id, text));
	jsonw_key(w, "state");
	jsonw_string(w, g->ended_us != 0 ? "ended" : g->open ? "open" : "running");
	jsonw_member_int(w, "total", g->total);
	jsonw_member_int(w, "succeeded", g->succeeded);
	jsonw_member_int(w, "failed", g->failed);
	jsonw_member_int(w, "cancelled", g->cancelled);
	jsonw_member_int(w, "expired", g->expired);
	jsonw_member_int(w, "pending",
	    g->total - g->succeeded - g->failed - g->cancelled - g->expired);
	jsonw_member_uuid(w, "completion_task", &g->completion);
	jsonw_member_uuid(w, "success_task", &g->success);
	jsonw_member_uuid(w, "failure_task", &g->failure);
	jsonw_key(w, "metadata");
	if (g->metadata.at != NULL)
		jsonw_raw(w, g->metadata.at, g->metadata.len);
	else
		jsonw_null(w);
	jsonw_key(w, "error");
	jsonw_string(w, g->error);
	jsonw_member_time(w, "created_at", g->created_us);
	jsonw_member_time(w, "ended_at", g->ended_us);
	jsonw_end(w);
}

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct group_row g;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		group_not_found(c);
	} else {
		group_row_get(rows, 0, &g);
		call_body(c, &w);
		group_json(&w, &c->id, &g);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	reads_task_params(&c->api->params, c->app_id, &c->id);
	return call_send(c, &reads_group, on_row);
}

void
groups_get(struct api *api, struct httpreq *req, int app_id)
{
	call_ask_id(api, req, app_id, ask_row, group_not_found);
}
