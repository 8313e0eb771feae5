/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events_stream.c - GET /v1/events: an application's events as they are committed.
 *
 * Here a stream is asked for and judged; follow.c feeds it.  Before the reply begins
 * PostgreSQL has it that the application is followed, and says where a stream that asks
 * for no place begins.
 */
#include <string.h>

#include "api/call.h"
#include "api/follow.h"
#include "api/params.h"

struct wish {
	struct follow_filter filter;
	bool resumes;
	struct event_place after;
};

static int
read_place(const struct httpreq *req, struct wish *w, struct refusal *why)
{
	const char *header = httpreq_header(req, "Last-Event-ID");
	const char *query = httpreq_query(req, "after");
	/* a client that connects again sends both, and the header is the newer one */
	const char *text = header != NULL && header[0] != '\0' ? header : query;

	w->resumes = text != NULL;
	if (text != NULL && event_place_parse(text, &w->after) != 0)
		return refuse(why, 400, "invalid_parameter",
		    "%s: it must be the id of an event of this stream.",
		    text == header ? "Last-Event-ID" : "after");
	return 0;
}

static int
read_name(const struct httpreq *req, const char *name, char to[NAME_MAX_BYTES + 1],
    struct refusal *why)
{
	const char *text = httpreq_query(req, name);
	struct err err = ERR_INIT;

	to[0] = '\0';
	if (text == NULL)
		return 0;
	if (name_check(name, text, strlen(text), &err) != 0)
		return refuse(
		    why, 400, "invalid_parameter", "%s: %.300s.", name, err.text);
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

static int
read_wish(const struct httpreq *req, struct wish *w, struct refusal *why)
{
	static const char *const known[] = {
	    "after", "queue", "type", "kind", "task", NULL};
	const char *kind = httpreq_query(req, "kind"),
		   *task = httpreq_query(req, "task");

	memset(w, 0, sizeof(*w));
	if (params_known(req, known, why) != 0 || read_place(req, w, why) != 0 ||
	    read_name(req, "queue", w->filter.queue, why) != 0 ||
	    read_name(req, "type", w->filter.type, why) != 0)
		return -1;
	if (kind != NULL && event_kind_parse(kind, &w->filter.kind) != 0)
		return refuse(why, 400, "invalid_parameter",
		    "kind: there are no events of this kind.");
	w->filter.of_task = task != NULL;
	if (task != NULL && uuid_parse(task, strlen(task), &w->filter.task) != 0)
		return refuse(why, 400, "invalid_parameter",
		    "task: it must be the id of a task.");
	return 0;
}

/* 0, or -1 with the answer given */
static int
check_room(struct call *c)
{
	struct err err = ERR_INIT;
	struct refusal why;

	if (follow_room(c->api->follow, c->app_id, &err) == 0)
		return 0;
	httpreq_set_header(c->req, "Retry-After", "5");
	(void)refuse(&why, err.code == ERR_LIMIT ? 429 : 503, "too_many_streams",
	    "There is no room for another stream here: %s.", err.text);
	call_refuse(c, &why);
	return -1;
}

static void
begin(struct call *c, const struct pgrows *rows)
{
	struct api *api = c->api;
	int app_id = c->app_id;
	struct refusal why;
	struct httpreq *req;
	struct wish w;

	/* it was read once before the question, and has not changed */
	if (read_wish(c->req, &w, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	if (!w.resumes) {
		w.after.xid = pgrows_int(rows, 0, 0);
	} else if (w.after.xid > pgrows_int(rows, 0, 1)) {
		(void)refuse(&why, 400, "unknown_event",
		    "This id is of another database, or of the time before this one "
		    "was restored: begin without one.");
		call_refuse(c, &why);
		return;
	}
	if (check_room(c) != 0)
		return;
	req = call_release(c);
	httpreq_set_header(req, "Cache-Control", "no-store");
	httpreq_set_header(req, "X-Accel-Buffering", "no"); /* nginx would wait */
	if (httpreq_method(req) == HTTP_HEAD)
		httpreq_reply(req, 200, "text/event-stream", NULL, 0);
	else
		follow_add(api->follow, app_id, &w.filter, &w.after, req);
}

static void
on_follow(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL)
		call_read_failed(c, pe);
	else
		begin(c, rows);
	call_answered(api);
}

static bool
ask_follow(struct call *c)
{
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	return call_send(c, &events_follow, on_follow);
}

void
events_stream(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;
	struct wish w;

	if (c == NULL)
		return;
	if (read_wish(req, &w, &why) != 0)
		call_refuse(c, &why);
	else if (check_room(c) == 0)
		call_ask(c, ask_follow);
}
