/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queues.c - an application's queues: list, read, set, pause and resume.
 *
 * A change is committed first and read again for the answer; in between all workers are
 * told.  All of it may be repeated: a second time changes nothing.
 */
#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/params.h"
#include "api/queue_request.h"
#include "base/mem.h"
#include "base/str.h"
#include "face/problem.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

/* what a call about queues needs beside the call; c->extra */
struct queue_call {
	const char *name;  /* of the path; NULL: a list */
	const char *after; /* the cursor, both borrowed from the request */
	int limit;
	bool paused; /* what pause or resume ask for */
	char by[APIKEY_PUBLIC + 1];
	char reason[4 * QUEUE_REASON_MAX + 1];
	struct queue_request change;
};

/* NULL: c was answered */
static struct queue_call *
extra_create(struct call *c)
{
	struct queue_call *qc = mem_zero(sizeof(*qc));
	struct err err = ERR_INIT;

	c->extra = qc;
	if (qc == NULL) {
		err_set(&err, ERR_NOMEM, "queue");
		call_problem(c, &err, NULL);
	}
	return qc;
}

static int
read_path(struct call *c, struct queue_call *qc, struct refusal *why)
{
	static const char *const known[] = {NULL};
	struct err err = ERR_INIT;

	qc->name = httpreq_segment(c->req, 0);
	qc->limit = 1;
	auth_public_id(c->req, qc->by);
	if (params_known(c->req, known, why) != 0)
		return -1;
	/* a name that cannot be is one that is not there */
	if (name_check("queue", qc->name, strlen(qc->name), &err) != 0)
		return refuse(why, 404, "not_found", "There is no such queue.");
	return 0;
}

/* ---------------------------------------------------------------- reads */

static void
write_page(struct call *c, const struct pgrows *rows, int limit)
{
	int count = pgrows_count(rows), shown = count > limit ? limit : count;
	struct queue_detail_row q;
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "queues");
	jsonw_array(&w);
	for (int i = 0; i < shown; i++) {
		queue_detail_row_get(rows, i, &q);
		queue_json(&w, &q);
	}
	jsonw_end(&w);
	jsonw_key(&w, "next_cursor");
	jsonw_string(&w, count > limit ? q.name : NULL);
	jsonw_end(&w);
}

static void
on_queues(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct queue_call *qc = c->extra;
	struct api *api = c->api;
	struct queue_detail_row q;
	struct refusal why;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (qc->name != NULL && pgrows_count(rows) == 0) {
		(void)refuse(&why, 404, "not_found", "There is no such queue.");
		call_refuse(c, &why);
	} else {
		if (qc->name == NULL) {
			write_page(c, rows, qc->limit);
		} else {
			queue_detail_row_get(rows, 0, &q);
			call_body(c, &w);
			queue_json(&w, &q);
		}
		httpreq_set_header(c->req, "Cache-Control", "no-store");
		call_reply(c, 200);
	}
	call_answered(api);
}

static bool
ask_queues(struct call *c)
{
	const struct queue_call *qc = c->extra;

	/* one more than shown tells whether there is more */
	queues_list_params(&c->api->params, c->app_id, qc->name, qc->after,
	    qc->name != NULL ? 1 : qc->limit + 1);
	return call_send(c, &queues_list, on_queues);
}

void
queues_get_list(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct queue_call *qc;
	struct refusal why;

	if (c == NULL || (qc = extra_create(c)) == NULL)
		return;
	if (params_names(req, LIMIT_DEFAULT, LIMIT_MAX, &qc->after, &qc->limit, &why) !=
	    0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_queues);
}

void
queues_get(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct queue_call *qc;
	struct refusal why;

	if (c == NULL || (qc = extra_create(c)) == NULL)
		return;
	if (read_path(c, qc, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_queues);
}

/* ---------------------------------------------------------------- changes */

static void
change_failed(struct call *c, const struct pgerr *pe)
{
	struct err err = ERR_INIT;
	struct refusal why;

	if (str_eq(pe->sqlstate, "54000")) {
		(void)refuse(&why, 422, "too_many_names",
		    "Nothing was changed: %.300s.", pe->text);
		call_refuse(c, &why);
	} else if (pe->class == PGERR_LOST) {
		err_set(&err, ERR_TIMEOUT, "%s", pe->text);
		call_problem(c, &err,
		    "The database did not answer in time; the queue may have been "
		    "changed. Repeating is safe.");
	} else {
		call_read_failed(c, pe);
	}
}

static void
on_changed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		change_failed(c, pe);
	} else if (pgrows_is_null(rows, 0, 0)) {
		(void)refuse(&why, 404, "not_found", "There is no such queue.");
		call_refuse(c, &why);
	} else {
		engine_queue_changed(api->engine, (int)pgrows_int(rows, 0, 0));
		call_ask(c, ask_queues);
	}
	call_answered(api);
}

static bool
send_change(struct call *c, const struct pgstmt *stmt)
{
	struct err err = ERR_INIT;

	if (store_exec(c->api->store, STORE_READ, stmt, &c->api->params, on_changed, c,
		&err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was changed.");
	return false;
}

static bool
ask_set(struct call *c)
{
	const struct queue_call *qc = c->extra;
	const char *body;
	size_t len;

	body = httpreq_body(c->req, &len);
	queues_set_params(&c->api->params, c->app_id, qc->name, NAMES_LIMIT, qc->by,
	    qc->change.given, &qc->change.values, body, len);
	return send_change(c, &queues_set);
}

static bool
ask_pause(struct call *c)
{
	const struct queue_call *qc = c->extra;

	queues_pause_params(&c->api->params, c->app_id, qc->name, qc->paused, qc->by,
	    qc->reason[0] != '\0' ? qc->reason : NULL);
	return send_change(c, &queues_pause);
}

void
queues_put(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct queue_call *qc;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (qc = extra_create(c)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 || read_path(c, qc, &why) != 0 ||
	    queue_request_parse(body, len, &qc->change, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_set);
}

static void
set_paused(struct api *api, struct httpreq *req, int app_id, bool paused)
{
	struct call *c = call_begin(api, req, app_id);
	struct queue_call *qc;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (qc = extra_create(c)) == NULL)
		return;
	qc->paused = paused;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 || read_path(c, qc, &why) != 0 ||
	    pause_request_parse(body, len, qc->reason, &why) != 0)
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
