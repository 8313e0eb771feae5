/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_get.c - GET /v1/tasks/{id}: one task, at once or when it has ended.
 *
 * A malformed id, one that never was and another application's get the same 404, byte
 * for byte, so that nothing can be learned from the difference.
 */
#include <string.h>

#include "api/call.h"
#include "api/params.h"
#include "api/task_json.h"

void
task_not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such task.");
	call_refuse(c, &why);
}

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct task_row t;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		task_not_found(c);
	} else {
		task_row_get(rows, 0, &t);
		call_body(c, &w);
		task_json(&w, &t, true);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	reads_task_params(&c->api->params, c->app_id, &c->id);
	return call_send(c, &reads_task, on_row);
}

static void
waited(struct call *c)
{
	call_ask(c, ask_row);
}

void
tasks_get(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"wait", NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct err err = ERR_INIT;
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0 ||
	    params_wait(req, &c->wait_ms, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	if (uuid_parse(id, strlen(id), &c->id) != 0) {
		task_not_found(c);
		return;
	}
	if (call_wait_left_ms(c) == 0)
		call_ask(c, ask_row);
	else if (call_wait(c, &c->id, false, waited, &err) != 0)
		call_problem(c, &err, NULL);
}
