/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_log.c - GET /v1/tasks/{id}/log: what a task has written while it runs.
 *
 * Text, as it came from the handler; a task that has written nothing has an empty one.
 */
#include <string.h>

#include "api/call.h"
#include "api/params.h"
#include "store/events.h"

static void
not_found(struct call *c)
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
	struct httpreq *req;
	const char *text;
	size_t len;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		not_found(c);
	} else {
		text = pgrows_text(rows, 0, 0, &len);
		req = call_release(c);
		httpreq_set_header(req, "Cache-Control", "no-store");
		/* a browser shall not make a page of it */
		httpreq_set_header(req, "X-Content-Type-Options", "nosniff");
		httpreq_reply(req, 200, "text/plain; charset=utf-8", text, len);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	struct err err = ERR_INIT;

	reads_task_params(&c->api->params, c->app_id, &c->id);
	if (store_exec(c->api->store, STORE_READ, &events_log, &c->api->params, on_row,
		c, &err) == 0)
		return true;
	call_problem(c, &err, NULL);
	return false;
}

void
tasks_log(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0)
		call_refuse(c, &why);
	else if (uuid_parse(id, strlen(id), &c->id) != 0)
		not_found(c);
	else
		call_ask(c, ask_row);
}
