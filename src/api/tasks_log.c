/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_log.c - GET /v1/tasks/{id}/log: what a task has written while it runs.
 *
 * Text, as it came from the handler; a task that has written nothing has an empty one.
 */

#include "api/call.h"
#include "store/events.h"

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
		task_not_found(c);
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
	reads_task_params(&c->api->params, c->app_id, &c->id);
	return call_send(c, &events_log, on_row);
}

void
tasks_log(struct api *api, struct httpreq *req, int app_id)
{
	call_ask_id(api, req, app_id, ask_row, task_not_found);
}
