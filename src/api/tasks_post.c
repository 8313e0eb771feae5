/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_post.c - POST /v1/tasks: one task in, 201 after its commit.
 *
 * The hot path: the body is checked and walked in place, names become numbers by the
 * cache, and the task joins the next statement of submit; nothing is allocated but a
 * reused call.  With ?wait=S the answer comes when the task has ended (200) or the time
 * is up (202).
 *
 * Once the commit is known, nothing may turn the answer into a failure: if the row
 * cannot be read after a wait, the client gets 202 with what was known at the commit.
 */
#include <string.h>

#include "api/admit.h"
#include "api/call.h"
#include "api/call_trace.h"
#include "api/params.h"
#include "api/task_json.h"
#include "api/tasks_each.h"
#include "base/mem.h"
#include "face/link.h"
#include "model/trace.h"

static bool ask_names(struct call *c);
static void submit_each(struct call *c);
static void waited(struct call *c);

/* the task as it was committed */
static void
fresh_row(const struct call *c, struct task_row *t)
{
	memset(t, 0, sizeof(*t));
	t->id = c->item.id;
	t->type = c->task.type;
	t->queue = c->task.queue;
	t->state = c->item.state;
	t->priority = c->item.priority;
	t->max_attempts = c->task.max_attempts;
	t->run_at_us = c->item.due_us;
	t->payload = (struct task_text){c->task.payload, c->task.payload_len};
	t->metadata = (struct task_text){c->task.metadata, c->task.metadata_len};
	if (c->task.trace != NULL)
		t->trace_id =
		    (struct task_text){c->task.trace + TRACE_ID_AT, TRACE_ID_SIZE - 1};
}

static void
reply_task(struct call *c, int status, const struct task_row *t)
{
	char location[sizeof("/v1/tasks/") + UUID_TEXT_SIZE] = "/v1/tasks/";
	struct jsonw w;

	uuid_format(&t->id, location + sizeof("/v1/tasks/") - 1);
	face_note_task(c->req, &t->id);
	link_location(c->req, c->api->settings, location);
	call_body(c, &w);
	task_json(&w, t, true);
	call_reply(c, status);
}

static void
reply_fresh(struct call *c, int status)
{
	struct task_row t;

	fresh_row(c, &t);
	reply_task(c, status, &t);
}

/* ---------------------------------------------------------------- after a wait */

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct task_row t;

	if (pe != NULL || pgrows_count(rows) == 0) {
		reply_fresh(c, 202);
	} else {
		task_row_get(rows, 0, &t);
		reply_task(c, task_is_final(t.state) ? 200 : 202, &t);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	reads_task_params(&c->api->params, c->app_id, &c->item.id);
	if (store_exec(c->api->store, STORE_READ, &reads_task, &c->api->params, on_row,
		c, NULL) == 0)
		return true;
	reply_fresh(c, 202);
	return false;
}

static void
waited(struct call *c)
{
	call_ask(c, ask_row);
}

/* ---------------------------------------------------------------- the submit */

static void
submitted(struct submit_group *g, const struct err *err, void *arg)
{
	struct call *c = arg;

	/* until the statement left it stood in line */
	httpreq_phase_since(c->req, HTTP_STORE, g->sent_us);
	httpreq_phase(c->req, HTTP_WORK);
	if (httpreq_is_gone(c->req)) {
		call_drop(c);
		return;
	}
	if (err != NULL) {
		/* submit says in its own words whether the task may exist */
		call_problem(c, err, err->text);
		return;
	}
	c->item.state = c->item.scheduled ? TASK_SCHEDULED : TASK_QUEUED;
	if (c->wait_ms == 0) {
		reply_fresh(c, 201);
		return;
	}
	if (call_wait_left_ms(c) == 0 ||
	    call_wait(c, &c->item.id, true, waited, NULL) != 0)
		reply_fresh(c, 202);
}

static void
submit(struct call *c)
{
	struct submit_item *it = &c->item;
	struct err err = ERR_INIT;

	if (admit_bounded(c->api, it, 1)) {
		submit_each(c);
		return;
	}
	it->priority = c->task.priority;
	it->own_priority = c->task.own_priority;
	it->max_attempts = c->task.max_attempts;
	it->timeout_ms = c->task.timeout_ms;
	it->run_at_us = c->task.run_at_us;
	it->delay_ms = c->task.delay_ms;
	it->payload = c->task.payload;
	it->payload_len = c->task.payload_len;
	it->metadata = c->task.metadata;
	it->metadata_len = c->task.metadata_len;
	it->trace = c->task.trace;
	it->trace_len = c->task.trace_len;
	it->wait = c->wait_ms > 0;
	if (!admit(c, it, 1))
		return;
	c->group.app_id = c->app_id;
	c->group.items = it;
	c->group.count = 1;
	c->group.cb = submitted;
	c->group.arg = c;
	httpreq_phase(c->req, HTTP_LINE);
	if (submit_add(c->api->submit, &c->group, &err) != 0)
		call_problem(
		    c, &err, "Tasks cannot be taken now; this one was not accepted.");
}

/* ---------------------------------------------------------------- one by one */

/* the row, when it is not what was just asked for */
static void
on_other_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct task_row t;
	struct refusal why;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		(void)refuse(&why, 409, "conflict",
		    "The task that had this unique_key has just been removed; try "
		    "again.");
		call_refuse(c, &why);
	} else {
		task_row_get(rows, 0, &t);
		reply_task(c, 200, &t);
	}
	call_answered(api);
}

static bool
ask_other_row(struct call *c)
{
	reads_task_params(&c->api->params, c->app_id, &c->item.id);
	return call_send(c, &reads_task, on_other_row);
}

static void
waited_other(struct call *c)
{
	call_ask(c, ask_other_row);
}

static void
reply_each(struct call *c)
{
	const struct each_item *it = tasks_each_item(c, 0);
	bool made = it->outcome == EACH_MADE;

	c->item.id = it->id;
	c->item.priority = c->items[0].priority;
	c->item.state = it->state;
	c->item.due_us = it->due_us;
	if (!made)
		httpreq_set_header(
		    c->req, "Shoal-Unique", each_outcome_name(it->outcome));
	if (call_wait_left_ms(c) > 0 &&
	    call_wait(c, &it->id, false, made ? waited : waited_other, NULL) == 0)
		return;
	if (made)
		reply_fresh(c, c->wait_ms > 0 ? 202 : 201);
	else
		call_ask(c, ask_other_row);
}

static void
submit_each(struct call *c)
{
	struct task_request *tr = mem_array(1, sizeof(*tr));

	if (tr != NULL)
		*tr = c->task;
	tasks_each(c, tr, 1, NULL, reply_each);
}

/* ---------------------------------------------------------------- names */

static bool
names_known(struct call *c)
{
	c->item.queue_id = names_queue_id(c->api->names, c->app_id, c->task.queue);
	c->item.type_id = names_type_id(c->api->names, c->task.type);
	return c->item.queue_id != 0 && c->item.type_id != 0;
}

static void
on_names(const struct err *err, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (err != NULL && err->code == ERR_LIMIT) {
		(void)refuse(&why, 422, "too_many_names",
		    "The task was not accepted: %.300s.", err->text);
		call_refuse(c, &why);
	} else if (err != NULL) {
		call_problem(
		    c, err, "The database is away; the task was not accepted.");
	} else if (!names_known(c)) {
		struct err full = {ERR_LIMIT, ""};

		call_problem(
		    c, &full, "Too many names are in use; the task was not accepted.");
	} else if (httpreq_is_gone(c->req)) {
		call_drop(c);
	} else {
		submit(c);
	}
	call_answered(api);
}

static bool
ask_names(struct call *c)
{
	const char *queue = c->task.queue, *type = c->task.type;
	struct err err = ERR_INIT;

	/* somebody else may have asked while this one stood in line */
	if (names_known(c)) {
		submit(c);
		return false;
	}
	if (names_learn(
		c->api->names, c->app_id, &queue, 1, &type, 1, on_names, c, &err) == 0)
		return true;
	call_problem(c, &err, "The database is away; the task was not accepted.");
	return false;
}

void
tasks_post(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"wait", NULL};
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    params_wait(req, &c->wait_ms, &why) != 0 ||
	    task_request_parse(body, len, api->settings, engine_now_us(api->engine),
		&c->task, &why) != 0 ||
	    call_trace(c, &c->task, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	call_type_defaults(c, &c->task);
	if (c->task.special || httpreq_header(req, "Idempotency-Key") != NULL)
		submit_each(c);
	else if (names_known(c))
		submit(c);
	else
		call_ask(c, ask_names);
}
