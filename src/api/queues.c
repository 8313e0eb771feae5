/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queues.c - an application's queues: list, read, set, pause and resume.
 *
 * A change is committed first and read again for the answer; in between all workers are
 * told.  All of it may be repeated: a second time changes nothing.
 */

#include "api/named.h"
#include "api/queue_request.h"

/* c->extra */
struct queue_call {
	struct named_call named;
	bool paused; /* what pause or resume ask for */
	char reason[4 * QUEUE_REASON_MAX + 1];
	struct queue_request change;
};

static const char *
write_queue(
    struct jsonw *w, const struct pgrows *rows, int i, const struct named_call *n)
{
	struct queue_detail_row q;

	(void)n;
	queue_detail_row_get(rows, i, &q);
	queue_json(w, &q);
	return q.name;
}

static void
put_list(struct pgparam *p, int app_id, const struct named_call *n)
{
	/* one more than shown tells whether there is more */
	queues_list_params(p, app_id, n->name, n->after, n->limit + 1);
}

static const struct named_kind queue_kind = {
    .what = "queue",
    .member = "queues",
    .size = sizeof(struct queue_call),
    .page = 50,
    .page_most = 100,
    .rows = &queues_list,
    .params = put_list,
    .write = write_queue,
    .unsure = "Repeating is safe.",
};

void
queues_get_list(struct api *api, struct httpreq *req, int app_id)
{
	named_get_list(api, req, app_id, &queue_kind);
}

void
queues_get(struct api *api, struct httpreq *req, int app_id)
{
	named_get(api, req, app_id, &queue_kind);
}

/* ---------------------------------------------------------------- changes */

static void
on_changed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL) {
		named_change_failed(c, pe);
	} else if (pgrows_is_null(rows, 0, 0)) {
		named_not_found(c);
	} else {
		engine_queue_changed(api->engine, (int)pgrows_int(rows, 0, 0));
		call_ask(c, named_ask);
	}
	call_answered(api);
}

static bool
ask_set(struct call *c)
{
	const struct queue_call *qc = c->extra;
	const char *body;
	size_t len;

	body = httpreq_body(c->req, &len);
	queues_set_params(&c->api->params, c->app_id, qc->named.name, NAMES_LIMIT,
	    qc->named.by, qc->change.given, &qc->change.values, body, len);
	return named_change(c, &queues_set, on_changed);
}

static bool
ask_pause(struct call *c)
{
	const struct queue_call *qc = c->extra;

	queues_pause_params(&c->api->params, c->app_id, qc->named.name, qc->paused,
	    qc->named.by, qc->reason[0] != '\0' ? qc->reason : NULL);
	return named_change(c, &queues_pause, on_changed);
}

void
queues_put(struct api *api, struct httpreq *req, int app_id)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &queue_kind, NAMED_READ, &body, &len);
	struct queue_call *qc;
	struct refusal why;

	if (c == NULL)
		return;
	qc = c->extra;
	if (queue_request_parse(body, len, &qc->change, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_set);
}

static void
set_paused(struct api *api, struct httpreq *req, int app_id, bool paused)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &queue_kind, NAMED_READ, &body, &len);
	struct queue_call *qc;
	struct refusal why;

	if (c == NULL)
		return;
	qc = c->extra;
	qc->paused = paused;
	if (pause_request_parse(body, len, qc->reason, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_pause);
}

void
queues_pause_post(struct api *api, struct httpreq *req, int app_id)
{
	set_paused(api, req, app_id, true);
}

void
queues_resume_post(struct api *api, struct httpreq *req, int app_id)
{
	set_paused(api, req, app_id, false);
}
