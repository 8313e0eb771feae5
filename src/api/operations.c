/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * operations.c - what is done to many tasks at once, by filter.
 *
 *     POST /v1/operations              202 it was begun; with dry_run 200 and a count
 *     GET  /v1/operations[/{id}]       how far they are
 *     POST /v1/operations/{id}/stop    what is done stays done
 *
 * The leader works at them (engine/operate.c); here they are only written down and
 * read.  A count is taken in windows, each a statement of its own, so that it holds up
 * nobody; it is exact up to COUNT_MOST, and says whether it is.
 */
#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/control_request.h"
#include "api/params.h"
#include "base/str.h"
#include "face/link.h"
#include "store/controls.h"

#define COUNT_MOST    100000
#define COUNT_MS      10000 /* after so long it tells what it has */
#define DETAIL_MAX    (6 * CONTROL_REASON_MAX + 200) /* all of it escaped */
#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

/* a new one, in call.more */
struct operating {
	struct operation_request request;
	struct uuid at; /* counting: the last task that was looked at */
	int64_t count;
	char detail[DETAIL_MAX]; /* JSON for the events */
};

static void
not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such operation.");
	call_refuse(c, &why);
}

/* ---------------------------------------------------------------- one as JSON */

static void
operation_json(struct jsonw *w, const struct operation_row *o)
{
	char id[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_key(w, "id");
	jsonw_string(w, uuid_format(&o->id, id));
	jsonw_key(w, "action");
	jsonw_string(w, operation_action_name(o->action));
	jsonw_key(w, "filter");
	jsonw_raw(w, o->filter, o->filter_len);
	jsonw_key(w, "state");
	jsonw_string(w, operation_state_name(o->state));
	jsonw_key(w, "matched");
	jsonw_int(w, o->matched);
	jsonw_key(w, "done");
	jsonw_int(w, o->done);
	jsonw_key(w, "error");
	jsonw_string(w, o->error);
	jsonw_key(w, "detail");
	jsonw_raw(w, o->detail, o->detail_len);
	jsonw_member_time(w, "created_at", task_created_us(&o->id));
	jsonw_member_time(w, "finished_at", o->finished_us);
	jsonw_end(w);
}

static void
reply_operation(struct call *c, int status, const struct operation_row *o)
{
	char location[sizeof("/v1/operations/") + UUID_TEXT_SIZE] = "/v1/operations/";
	struct jsonw w;

	call_body(c, &w);
	operation_json(&w, o);
	httpreq_set_header(c->req, "Cache-Control", "no-store");
	if (status == 202) {
		uuid_format(&o->id, location + sizeof("/v1/operations/") - 1);
		link_location(c->req, c->api->settings, location);
	}
	call_reply(c, status);
}

/* it is committed, and cannot be read just now: shown as it was written */
static void
reply_fresh(struct call *c)
{
	const struct operating *og = c->extra;
	const struct operation_row o = {
	    .id = c->id,
	    .action = og->request.filter.action,
	    .filter = og->request.filter_json.at,
	    .filter_len = og->request.filter_json.len,
	    .detail = og->detail,
	    .detail_len = strlen(og->detail),
	};

	reply_operation(c, 202, &o);
}

static void
on_operation(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct operation_row o;

	if (pe != NULL && c->extra != NULL) {
		reply_fresh(c);
	} else if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		not_found(c);
	} else {
		operation_row_get(rows, 0, &o);
		reply_operation(c, c->extra != NULL ? 202 : 200, &o);
	}
	call_answered(api);
}

static bool
ask_operation(struct call *c)
{
	struct err err = ERR_INIT;

	controls_operation_params(&c->api->params, c->app_id, &c->id);
	if (store_exec(c->api->store, STORE_READ, &controls_operation, &c->api->params,
		on_operation, c, &err) == 0)
		return true;
	if (c->extra != NULL)
		reply_fresh(c);
	else
		call_problem(c, &err, NULL);
	return false;
}

/* ---------------------------------------------------------------- counting */

static bool ask_count(struct call *c);

static void
reply_count(struct call *c, bool all)
{
	const struct operating *og = c->extra;
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "count");
	jsonw_int(&w, !all && og->count > COUNT_MOST ? COUNT_MOST : og->count);
	jsonw_key(&w, "exact");
	jsonw_bool(&w, all);
	jsonw_end(&w);
	call_reply_no_store(c, 200);
}

static void
on_count(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct operating *og = c->extra;
	struct api *api = c->api;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else {
		og->count += pgrows_int(rows, 0, 0);
		if (pgrows_is_null(rows, 0, 1)) {
			reply_count(c, true);
		} else if (og->count > COUNT_MOST ||
			   loop_now_ms(api->loop) - c->since_ms >= COUNT_MS) {
			reply_count(c, false);
		} else {
			pgrows_uuid(rows, 0, 1, &og->at);
			call_ask(c, ask_count);
		}
	}
	call_answered(api);
}

static bool
ask_count(struct call *c)
{
	const struct operating *og = c->extra;

	controls_count_params(&c->api->params, c->app_id, &og->request.filter, &og->at);
	return call_send(c, &controls_count, on_count);
}

/* ---------------------------------------------------------------- a new one */

static void
on_made(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		call_change_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		(void)refuse(&why, 429, "too_many_operations",
		    "%d operations are at work already; wait for one, or stop one.",
		    OPERATIONS_OPEN);
		httpreq_set_header(c->req, "Retry-After", "5");
		call_refuse(c, &why);
	} else {
		engine_operate(api->engine);
		call_ask(c, ask_operation);
	}
	call_answered(api);
}

/* by whom, why, and by which operation */
static int
write_detail(struct call *c)
{
	struct operating *og = c->extra;
	char key[APIKEY_PUBLIC + 1], id[UUID_TEXT_SIZE];
	struct strbuf *out = &c->api->out;
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "by");
	jsonw_string(&w, auth_public_id(c->req, key));
	jsonw_key(&w, "operation");
	jsonw_string(&w, uuid_format(&c->id, id));
	if (og->request.common.has_reason) {
		jsonw_key(&w, "reason");
		jsonw_string(&w, og->request.common.reason);
	}
	jsonw_end(&w);
	if (strbuf_failed(out) || out->len >= sizeof(og->detail))
		return -1;
	memcpy(og->detail, out->data, out->len + 1);
	return 0;
}

static bool
ask_new(struct call *c)
{
	const struct operating *og = c->extra;
	struct api *api = c->api;

	if (write_detail(c) != 0) {
		call_no_memory(c);
		return false;
	}
	controls_operate_params(&api->params, c->app_id, &c->id, &og->request.filter,
	    og->request.filter_json.at, og->request.filter_json.len, og->detail);
	return call_send(c, &controls_operate, on_made);
}

void
operations_post(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	struct operating *og;
	struct uuid end;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	og = call_extra(c, sizeof(*og));
	if (og == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    operation_request_parse(body, len, &og->request, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	og->at = og->request.filter.from;
	uuid_v7(engine_now_us(api->engine) / 1000, &c->id);
	/* what is submitted from the next millisecond on is left alone */
	task_first_id(task_created_us(&c->id) + 1000, &end);
	if (uuid_cmp(&end, &og->request.filter.below) < 0)
		og->request.filter.below = end;
	call_ask(c, og->request.dry_run ? ask_count : ask_new);
}

/* ---------------------------------------------------------------- reading */

void
operations_get(struct api *api, struct httpreq *req, int app_id)
{
	call_ask_id(api, req, app_id, ask_operation, not_found);
}

static void
on_operations(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	char cursor[2 * sizeof(struct uuid) + 1];
	struct operation_row o;
	bool more;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	more = pgrows_count(rows) > c->filter.limit;
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "operations");
	jsonw_array(&w);
	for (int i = 0; i < pgrows_count(rows) && i < c->filter.limit; i++) {
		operation_row_get(rows, i, &o);
		operation_json(&w, &o);
		str_hex(cursor, o.id.b, sizeof(o.id.b));
	}
	jsonw_end(&w);
	jsonw_key(&w, "next_cursor");
	jsonw_string(&w, more ? cursor : NULL);
	jsonw_end(&w);
	call_reply_no_store(c, 200);
	call_answered(api);
}

static bool
ask_operations(struct call *c)
{
	/* one more than shown tells whether there is more */
	controls_operations_params(
	    &c->api->params, c->app_id, &c->filter.below, c->filter.limit + 1);
	return call_send(c, &controls_operations, on_operations);
}

static int
read_page(struct call *c, struct refusal *why)
{
	const char *cursor = httpreq_query(c->req, "cursor");
	struct uuid *below = &c->filter.below;

	memset(below, 0xff, sizeof(*below));
	if (params_limit(c->req, LIMIT_DEFAULT, LIMIT_MAX, &c->filter.limit, why) != 0)
		return -1;
	if (cursor != NULL && str_unhex(cursor, below->b, sizeof(below->b)) != 0)
		return params_bad_cursor(why);
	return 0;
}

void
operations_list(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"limit", "cursor", NULL};
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0 || read_page(c, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_operations);
}

/* ---------------------------------------------------------------- stopping */

static void
on_stopped(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct operation_row o;

	if (pe != NULL) {
		call_change_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		call_ask(c, ask_operation); /* never there, or done at this moment */
	} else {
		operation_row_get(rows, 0, &o);
		reply_operation(c, 200, &o);
	}
	call_answered(api);
}

static bool
ask_stop(struct call *c)
{
	controls_operation_params(&c->api->params, c->app_id, &c->id);
	return call_send(c, &controls_stop, on_stopped);
}

void
operations_stop(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct refusal why;
	size_t len;

	if (c == NULL)
		return;
	(void)httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 || params_known(req, known, &why) != 0)
		call_refuse(c, &why);
	else if (len != 0) {
		(void)refuse(&why, 400, "invalid_request", "No body is expected.");
		call_refuse(c, &why);
	} else if (uuid_parse(id, strlen(id), &c->id) != 0)
		not_found(c);
	else
		call_ask(c, ask_stop);
}
