/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * types.c - the task types that an application may use, and those that it makes.
 *
 * Types that run on nodes are in the operator's settings alone.  An application may
 * make types whose tasks workers of its own lease, or an endpoint of its own runs; a
 * name that the operator has is taken for everybody.
 */
#include <string.h>

#include "api/lease_request.h"
#include "api/named.h"
#include "base/str.h"
#include "store/endpoints.h"
#include "store/leases.h"

#define TYPES_MOST 200 /* of one application */

/* c->extra */
struct type_call {
	struct named_call named;
	struct type_request request;
};

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

static const char *
write_type(
    struct jsonw *w, const struct pgrows *rows, int i, const struct named_call *n)
{
	char endpoint[NAME_MAX_BYTES + 1];
	struct type_row row;
	const struct type_row *t = &row;

	(void)n;
	type_row_get(rows, i, &row);
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
	return t->name;
}

static const struct named_kind type_kind = {
    .what = "task type",
    .member = "types",
    .size = sizeof(struct type_call),
    .page = 100,
    .page_most = 200,
    .rows = &types_list,
    .params = named_page_params,
    .write = write_type,
    .unsure = "Repeating is safe.",
};

void
types_get_list(struct api *api, struct httpreq *req, int app_id)
{
	named_get_list(api, req, app_id, &type_kind);
}

void
types_get(struct api *api, struct httpreq *req, int app_id)
{
	named_get(api, req, app_id, &type_kind);
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
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct type_call *tc = c->extra;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		named_change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum put_outcome)pgrows_int(rows, 0, 0)) {
	case PUT_MADE:
	case PUT_REPLACED:
		tc->named.status = pgrows_int(rows, 0, 0) == PUT_MADE ? 201 : 200;
		engine_types_changed(api->engine);
		call_ask(c, named_ask);
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
	struct pgparam *p = named_params(c);
	bool http = tr->handler == HANDLER_HTTP;

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
	return named_change(c, http ? &endpoints_put_type : &types_put, on_put);
}

void
types_put_one(struct api *api, struct httpreq *req, int app_id)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &type_kind, NAMED_MAKE, &body, &len);
	struct type_call *tc;
	struct refusal why;

	if (c == NULL)
		return;
	tc = c->extra;
	if (str_starts(tc->named.name, "shoal.")) {
		(void)refuse(&why, 409, "type_taken",
		    "Names that begin with shoal. are built in: choose another.");
		call_refuse(c, &why);
	} else if (type_request_parse(body, len, &tc->request, &why) != 0) {
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
		named_change_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		named_not_found(c);
	} else {
		engine_types_changed(api->engine);
		named_deleted(c);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	(void)named_params(c);
	return named_change(c, &types_delete, on_deleted);
}

void
types_delete_one(struct api *api, struct httpreq *req, int app_id)
{
	named_ask_for(api, req, app_id, &type_kind, ask_delete);
}
