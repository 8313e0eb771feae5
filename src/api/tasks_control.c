/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_control.c - what is done to one task: cancel, retry by hand, delete, and delete
 * its payload.
 *
 *     POST   /v1/tasks/{id}/cancel     200 it is cancelled, 202 it runs and is told
 *     POST   /v1/tasks/{id}/retry      200 it is queued again
 *     DELETE /v1/tasks/{id}            204 it is gone
 *     DELETE /v1/tasks/{id}/payload    200 the record stays
 *
 * One statement changes it, guarded by its state; those concerned are told after the
 * commit; then the task is read for the answer.  What the guard refuses gets 409 with
 * the state that it is in.  As in tasks_get.c, a malformed id and another application's
 * get the 404 of one that never was.
 *
 * Once the commit is known nothing turns the answer into a failure: if the row cannot
 * be read just then, the answer shows id and state alone.
 */
#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/control_request.h"
#include "api/params.h"
#include "api/task_json.h"
#include "base/mem.h"
#include "store/controls.h"

/* what is asked of the task, in call.more */
struct control {
	const struct pgstmt *stmt;
	int attempts;
	bool asked; /* cancel: it ran when it was asked to end */
	enum task_state state;
	char detail[];
};

static bool ask_row(struct call *c);

/* ---------------------------------------------------------------- the answer */

static void
ended_otherwise(struct call *c, enum task_state state)
{
	call_conflict(c, "already_ended", state,
	    "The task has ended already, and was not cancelled.");
}

/* the task could not be read: what is known all the same */
static void
reply_short(struct call *c, int status)
{
	const struct control *ct = c->extra;
	char id[UUID_TEXT_SIZE];
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "id");
	jsonw_string(&w, uuid_format(&c->id, id));
	jsonw_key(&w, "state");
	jsonw_string(&w, task_state_name(ct->state));
	jsonw_end(&w);
	call_reply(c, status);
}

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct control *ct = c->extra;
	struct api *api = c->api;
	struct task_row t;
	struct jsonw w;

	httpreq_set_header(c->req, "Cache-Control", "no-store");
	if (pe != NULL) {
		reply_short(c, ct->asked ? 202 : 200);
	} else if (pgrows_count(rows) == 0) {
		task_not_found(c); /* deleted meanwhile */
	} else {
		task_row_get(rows, 0, &t);
		if (ct->asked && task_is_final(t.state) && t.state != TASK_CANCELLED) {
			ended_otherwise(c, t.state);
		} else {
			call_body(c, &w);
			task_json(&w, &t, true);
			call_reply(
			    c, ct->asked && t.state != TASK_CANCELLED ? 202 : 200);
		}
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	const struct control *ct = c->extra;

	reads_task_params(&c->api->params, c->app_id, &c->id);
	if (store_exec(c->api->store, STORE_READ, &reads_task, &c->api->params, on_row,
		c, NULL) == 0)
		return true;
	reply_short(c, ct->asked ? 202 : 200);
	return false;
}

static void
waited(struct call *c)
{
	call_ask(c, ask_row);
}

/* ---------------------------------------------------------------- the change */

static void
cancelled(struct call *c, const struct control_row *row)
{
	struct control *ct = c->extra;
	struct api *api = c->api;

	if (row->tells && row->state == TASK_RUNNING)
		engine_cancel(api->engine, &row->tell, c->app_id, &c->id);
	else if (row->tells)
		waiters_tell(api->waiters, &row->tell, c->app_id, &c->id);
	if (task_is_final(row->state) && row->state != TASK_CANCELLED) {
		ended_otherwise(c, row->state);
		return;
	}
	ct->asked = row->state == TASK_RUNNING;
	/* no room to wait: told as it stands */
	if (!ct->asked || call_wait_left_ms(c) == 0 ||
	    call_wait(c, &c->id, false, waited, NULL) != 0)
		call_ask(c, ask_row);
}

static void
refused(struct call *c, const struct control_row *row)
{
	const struct control *ct = c->extra;

	if (!task_is_final(row->state))
		call_conflict(c, "not_ended", row->state,
		    "The task has not ended; cancel it first.");
	else if (ct->stmt == &controls_retry && row->state == TASK_SUCCEEDED)
		call_conflict(c, "succeeded", row->state,
		    "The task has succeeded; submit another one.");
	else if (row->erased)
		call_conflict(c, "payload_deleted", row->state,
		    "The task's payload was deleted; it cannot run again.");
	else /* it was somewhere else a moment ago */
		call_conflict(c, "conflict", row->state,
		    "The task changed just now; nothing was done.");
}

static void
on_changed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct control *ct = c->extra;
	struct api *api = c->api;
	struct control_row row;

	if (pe != NULL) {
		call_change_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		task_not_found(c);
	} else {
		control_row_get(ct->stmt, rows, &row);
		ct->state = row.state;
		if (ct->stmt == &controls_cancel) {
			cancelled(c, &row);
		} else if (!row.changed) {
			refused(c, &row);
		} else if (ct->stmt == &controls_delete) {
			strbuf_reset(&api->out);
			call_reply(c, 204);
		} else {
			if (ct->stmt == &controls_retry) {
				engine_again(api->engine, &c->id);
				engine_hint(api->engine);
				engine_due_outside(api->engine, c->app_id);
			}
			call_ask(c, ask_row);
		}
	}
	call_answered(api);
}

static bool
ask_change(struct call *c)
{
	const struct control *ct = c->extra;
	struct pgparam *p = &c->api->params;

	if (ct->stmt == &controls_retry)
		controls_retry_params(p, c->app_id, &c->id, ct->attempts,
		    (int)c->api->settings->tasks_priority_aging_ms, ct->detail);
	else if (ct->stmt == &controls_delete)
		controls_delete_params(p, c->app_id, &c->id);
	else /* cancel and erase have the same */
		controls_cancel_params(p, c->app_id, &c->id, ct->detail);
	return call_send(c, ct->stmt, on_changed);
}

/* ---------------------------------------------------------------- the request */

/* by whom and why, as JSON for the event */
static struct control *
make(struct call *c, const struct control_request *cr)
{
	char key[APIKEY_PUBLIC + 1];
	struct control *ct;
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "by");
	jsonw_string(&w, auth_public_id(c->req, key));
	if (cr->has_reason) {
		jsonw_key(&w, "reason");
		jsonw_string(&w, cr->reason);
	}
	jsonw_end(&w);
	if (strbuf_failed(&c->api->out))
		return NULL;
	ct = mem_zero(sizeof(*ct) + c->api->out.len + 1);
	if (ct == NULL)
		return NULL;
	memcpy(ct->detail, c->api->out.data, c->api->out.len);
	ct->attempts = cr->attempts;
	c->extra = ct;
	return ct;
}

static void
control(struct api *api, struct httpreq *req, int app_id, const struct pgstmt *stmt)
{
	static const char *const with_wait[] = {"wait", NULL}, *const none[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0), *body;
	bool posted = stmt == &controls_cancel || stmt == &controls_retry;
	struct control_request cr;
	struct control *ct;
	struct refusal why;
	size_t len;

	if (c == NULL)
		return;
	body = httpreq_body(req, &len);
	if ((posted && params_post_headers(req, &why) != 0) ||
	    params_known(req, stmt == &controls_cancel ? with_wait : none, &why) != 0 ||
	    params_wait(req, &c->wait_ms, &why) != 0 ||
	    control_request_parse(
		posted ? body : NULL, len, stmt == &controls_retry, &cr, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	if (uuid_parse(id, strlen(id), &c->id) != 0) {
		task_not_found(c);
		return;
	}
	ct = make(c, &cr);
	if (ct == NULL) {
		call_no_memory(c);
		return;
	}
	ct->stmt = stmt;
	call_ask(c, ask_change);
}

void
tasks_cancel(struct api *api, struct httpreq *req, int app_id)
{
	control(api, req, app_id, &controls_cancel);
}

void
tasks_retry(struct api *api, struct httpreq *req, int app_id)
{
	control(api, req, app_id, &controls_retry);
}

void
tasks_delete(struct api *api, struct httpreq *req, int app_id)
{
	control(api, req, app_id, &controls_delete);
}

void
tasks_erase(struct api *api, struct httpreq *req, int app_id)
{
	control(api, req, app_id, &controls_erase);
}
