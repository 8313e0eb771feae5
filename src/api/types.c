/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * types.c - the task types that an application may use, and those that it makes.
 *
 * Types that run on nodes are in the operator's settings alone.  An application may
 * make types whose tasks workers of its own lease, or an endpoint of its own runs; a
 * name that the operator has is taken for everybody.
 */
#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/lease_request.h"
#include "api/params.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/endpoints.h"
#include "store/leases.h"

#define TYPES_MOST    200 /* of one application */
#define LIMIT_DEFAULT 100
#define LIMIT_MAX     200

/* c->extra */
struct type_call {
	const char *name;  /* of the path; NULL: a list */
	const char *after; /* the cursor, both borrowed from the request */
	int limit;
	int status; /* of the answer with the type */
	struct type_request request;
};

static struct type_call *
extra_create(struct call *c)
{
	struct type_call *tc = mem_zero(sizeof(*tc));
	struct err err = ERR_INIT;

	c->extra = tc;
	if (tc == NULL) {
		err_set(&err, ERR_NOMEM, "type");
		call_problem(c, &err, NULL);
		return NULL;
	}
	tc->status = 200;
	return tc;
}

static void
not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such type.");
	call_refuse(c, &why);
}

/* NULL: it has none; returns buf */
static const char *
read_endpoint(const struct type_row *t, char buf[NAME_MAX_BYTES + 1])
{
	const struct jscan_limits limits = {.max_depth = 2};
	struct jspan top, value;

	if (t->config == NULL ||
	    jscan_check(t->config, strlen(t->config), &limits, &top, NULL) != 0 ||
	    !jspan_get(&top, "endpoint", &value) ||
	    jspan_string(&value, buf, NAME_MAX_BYTES + 1, NULL, NULL) != 0)
		return NULL;
	return buf;
}

static void
type_json(struct jsonw *w, const struct type_row *t)
{
	char endpoint[NAME_MAX_BYTES + 1];

	jsonw_object(w);
	jsonw_member_string(w, "name", t->name);
	jsonw_member_string(
	    w, "handler", handler_kind_name((enum handler_kind)t->handler));
	jsonw_member_string(w, "by", t->own ? "application" : "operator");
	jsonw_member_string(w, "endpoint", read_endpoint(t, endpoint));
	jsonw_key(w, "timeout");
	if (t->timeout_ms > 0)
		jsonw_double(w, (double)t->timeout_ms / 1000);
	else
		jsonw_null(w);
	jsonw_key(w, "max_attempts");
	if (t->max_attempts > 0)
		jsonw_int(w, t->max_attempts);
	else
		jsonw_null(w);
	jsonw_key(w, "backoff");
	if (t->backoff != NULL)
		jsonw_raw(w, t->backoff, strlen(t->backoff));
	else
		jsonw_null(w);
	jsonw_member_time(w, "created_at", t->created_us);
	jsonw_member_time(w, "updated_at", t->updated_us);
	jsonw_end(w);
}

static void
write_page(struct call *c, const struct pgrows *rows, int limit)
{
	int count = pgrows_count(rows), shown = count > limit ? limit : count;
	struct type_row t = {0};
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "types");
	jsonw_array(&w);
	for (int i = 0; i < shown; i++) {
		type_row_get(rows, i, &t);
		type_json(&w, &t);
	}
	jsonw_end(&w);
	jsonw_member_string(&w, "next_cursor", count > limit ? t.name : NULL);
	jsonw_end(&w);
}

static void
on_types(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct type_call *tc = c->extra;
	struct api *api = c->api;
	struct type_row t;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (tc->name != NULL && pgrows_count(rows) == 0) {
		not_found(c);
	} else {
		if (tc->name == NULL) {
			write_page(c, rows, tc->limit);
		} else {
			type_row_get(rows, 0, &t);
			call_body(c, &w);
			type_json(&w, &t);
		}
		httpreq_set_header(c->req, "Cache-Control", "no-store");
		call_reply(c, tc->status);
	}
	call_answered(api);
}

static bool
ask_types(struct call *c)
{
	const struct type_call *tc = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, tc->name);
	pgparam_text(p, tc->after);
	pgparam_int4(p, tc->name != NULL ? 1 : tc->limit + 1);
	return call_send(c, &types_list, on_types);
}

void
types_get_list(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct type_call *tc;
	struct refusal why;

	if (c == NULL || (tc = extra_create(c)) == NULL)
		return;
	if (params_names(req, LIMIT_DEFAULT, LIMIT_MAX, &tc->after, &tc->limit, &why) !=
	    0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_types);
}

/* the name of the path; false: answered.  missing: one that cannot be is not there */
static bool
read_path(struct call *c, struct type_call *tc, bool missing)
{
	static const char *const known[] = {NULL};
	struct err err = ERR_INIT;
	struct refusal why;

	tc->name = httpreq_segment(c->req, 0);
	if (params_known(c->req, known, &why) != 0) {
		call_refuse(c, &why);
		return false;
	}
	if (name_check("task type", tc->name, strlen(tc->name), &err) == 0)
		return true;
	if (missing) {
		not_found(c);
	} else {
		(void)refuse(&why, 400, "invalid_parameter", "%.300s.", err.text);
		call_refuse(c, &why);
	}
	return false;
}

void
types_get(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct type_call *tc;

	if (c == NULL || (tc = extra_create(c)) == NULL)
		return;
	if (read_path(c, tc, true))
		call_ask(c, ask_types);
}

/* ---------------------------------------------------------------- changes */

enum put_outcome {
	PUT_MADE = 0,
	PUT_REPLACED,
	PUT_TOO_MANY,
	PUT_TAKEN,
	PUT_NO_ENDPOINT
};

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
		    "The database did not answer in time; the type may have been "
		    "changed. Repeating is safe.");
	} else {
		call_read_failed(c, pe);
	}
}

static void
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct type_call *tc = c->extra;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum put_outcome)pgrows_int(rows, 0, 0)) {
	case PUT_MADE:
	case PUT_REPLACED:
		tc->status = pgrows_int(rows, 0, 0) == PUT_MADE ? 201 : 200;
		engine_types_changed(api->engine);
		call_ask(c, ask_types);
		break;
	case PUT_TOO_MANY:
		(void)refuse(&why, 422, "too_many_types",
		    "The application has %d types already: delete one that is not "
		    "needed.",
		    TYPES_MOST);
		call_refuse(c, &why);
		break;
	case PUT_TAKEN:
		(void)refuse(&why, 409, "type_taken",
		    "The operator's settings have a type of that name: choose "
		    "another.");
		call_refuse(c, &why);
		break;
	case PUT_NO_ENDPOINT:
		(void)refuse(&why, 422, "no_such_endpoint",
		    "endpoint: the application has no endpoint of that name: make it "
		    "first.");
		call_refuse(c, &why);
		break;
	}
	call_answered(api);
}

static void
put_int4(struct pgparam *p, int64_t n)
{
	if (n > 0)
		pgparam_int4(p, (int32_t)n);
	else
		pgparam_null(p, PGTYPE_INT4);
}

static bool
ask_put(struct call *c)
{
	const struct type_call *tc = c->extra;
	const struct type_request *tr = &tc->request;
	struct pgparam *p = &c->api->params;
	bool http = tr->handler == HANDLER_HTTP;
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, tc->name);
	pgparam_int4(p, NAMES_LIMIT);
	pgparam_int4(p, TYPES_MOST);
	if (http)
		pgparam_text(p, tr->endpoint);
	else
		pgparam_int4(p, tr->handler);
	put_int4(p, tr->timeout_ms);
	put_int4(p, tr->max_attempts);
	pgparam_text(p, tr->backoff[0] != '\0' ? tr->backoff : NULL);
	if (!http)
		pgparam_text(p, NULL); /* a pull type has no settings of its own */
	if (store_exec(c->api->store, STORE_READ,
		http ? &endpoints_put_type : &types_put, p, on_put, c, &err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was changed.");
	return false;
}

void
types_put_one(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct type_call *tc;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (tc = extra_create(c)) == NULL || !read_path(c, tc, false))
		return;
	body = httpreq_body(req, &len);
	if (str_starts(tc->name, "shoal.")) {
		(void)refuse(&why, 409, "type_taken",
		    "Names that begin with shoal. are built in: choose another.");
		call_refuse(c, &why);
	} else if (params_post_headers(req, &why) != 0 ||
		   type_request_parse(body, len, &tc->request, &why) != 0) {
		call_refuse(c, &why);
	} else {
		call_ask(c, ask_put);
	}
}

static void
on_deleted(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL) {
		change_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		not_found(c);
	} else {
		engine_types_changed(api->engine);
		strbuf_reset(&api->out);
		call_reply(c, 204);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	const struct type_call *tc = c->extra;
	struct pgparam *p = &c->api->params;
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, tc->name);
	if (store_exec(
		c->api->store, STORE_READ, &types_delete, p, on_deleted, c, &err) == 0)
		return true;
	call_problem(c, &err, "The database is away; nothing was changed.");
	return false;
}

void
types_delete_one(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct type_call *tc;

	if (c == NULL || (tc = extra_create(c)) == NULL)
		return;
	if (read_path(c, tc, true))
		call_ask(c, ask_delete);
}
