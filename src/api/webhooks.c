/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhooks.c - which ends of its tasks an application is told, and where; what was
 * delivered, once more, and on trial.
 *
 * A change is committed first and read again for the answer.  The deliveries themselves
 * are made by the leader (engine/webhooks.c), all but those that are asked for here.
 */
#include <string.h>

#include "api/named.h"
#include "api/params.h"
#include "api/webhook_request.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

/* c->extra; c->id is the task of a resend, or the cursor of a page */
struct webhook_call {
	struct named_call named;
	int shown;   /* deliveries of a page */
	bool behind; /* the page begins behind c->id */
	struct webhook_request request;
};

static const char *
write_webhook(
    struct jsonw *w, const struct pgrows *rows, int i, const struct named_call *n)
{
	struct webhook_row row;

	(void)n;
	webhook_row_get(rows, i, &row);
	webhook_json(w, &row);
	return row.name;
}

static void
put_list(struct pgparam *p, int app_id, const struct named_call *n)
{
	pgparam_int4(p, app_id);
	pgparam_text(p, n->name);
}

static const struct named_kind webhook_kind = {
    .what = "webhook",
    .member = "webhooks",
    .size = sizeof(struct webhook_call),
    .rows = &webhooks_list,
    .params = put_list,
    .write = write_webhook,
    .unsure = "Read it to know.",
};

void
webhooks_get_list(struct api *api, struct httpreq *req, int app_id)
{
	named_get_list(api, req, app_id, &webhook_kind);
}

void
webhooks_get(struct api *api, struct httpreq *req, int app_id)
{
	named_get(api, req, app_id, &webhook_kind);
}

/* ---------------------------------------------------------------- changes */

static void
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct webhook_call *wc = c->extra;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		named_change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum webhook_put_outcome)pgrows_int(rows, 0, 0)) {
	case WEBHOOK_MADE:
		wc->named.status = 201;
		call_ask(c, named_ask);
		break;
	case WEBHOOK_REPLACED:
		call_ask(c, named_ask);
		break;
	case WEBHOOK_TOO_MANY:
		(void)refuse(&why, 422, "too_many_webhooks",
		    "The application has %d webhooks already: delete one that is not "
		    "needed.",
		    WEBHOOKS_MOST);
		call_refuse(c, &why);
		break;
	case WEBHOOK_NO_ENDPOINT:
		(void)refuse(&why, 422, "no_such_endpoint",
		    "The application has no endpoint %s: make it first, by PUT "
		    "/v1/endpoints/%s.",
		    wc->request.endpoint, wc->request.endpoint);
		call_refuse(c, &why);
		break;
	}
	call_answered(api);
}

static void
put_names(struct pgparam *p, const struct webhook_names *n)
{
	if (n->count == 0) {
		pgparam_null(p, PGTYPE_TEXT_ARRAY);
		return;
	}
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < n->count; i++)
		pgparam_elem_text(p, n->names[i], strlen(n->names[i]));
	pgparam_array_end(p);
}

static bool
ask_put(struct call *c)
{
	const struct webhook_call *wc = c->extra;
	const struct webhook_request *wr = &wc->request;
	struct pgparam *p = named_params(c);

	pgparam_text(p, wr->endpoint);
	pgparam_array(p, PGTYPE_INT2);
	for (int i = 0; i < TASK_STATE_COUNT; i++) {
		if (wr->states[i])
			pgparam_elem_int2(p, (int16_t)i);
	}
	pgparam_array_end(p);
	put_names(p, &wr->types);
	put_names(p, &wr->queues);
	pgparam_bool(p, wr->payload);
	pgparam_int4(p, WEBHOOKS_MOST);
	pgparam_int4(p, NAMES_LIMIT);
	pgparam_text(p, wc->named.by);
	return named_change(c, &webhooks_put, on_put);
}

void
webhooks_put_one(struct api *api, struct httpreq *req, int app_id)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &webhook_kind, NAMED_MAKE, &body, &len);
	struct webhook_call *wc;
	struct refusal why;

	if (c == NULL)
		return;
	wc = c->extra;
	if (webhook_request_parse(body, len, &wc->request, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_put);
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
		named_deleted(c);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	const struct webhook_call *wc = c->extra;
	struct pgparam *p = named_params(c);

	pgparam_text(p, wc->named.by);
	return named_change(c, &webhooks_delete, on_deleted);
}

void
webhooks_delete_one(struct api *api, struct httpreq *req, int app_id)
{
	named_ask_for(api, req, app_id, &webhook_kind, ask_delete);
}

/* ---------------------------------------------------------------- made by hand */

/* a delivery that was asked for is committed: it is a task now */
static void
reply_made(struct call *c, const struct uuid *id, const struct uuid *message)
{
	char text[UUID_TEXT_SIZE];
	struct jsonw w;

	engine_hint(c->api->engine);
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_member_string(&w, "id", uuid_format(id, text));
	jsonw_member_string(&w, "webhook_id", uuid_format(message, text));
	jsonw_end(&w);
	call_reply(c, 202);
}

static void
on_resent(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct uuid id, message;
	struct refusal why;

	if (pe != NULL) {
		named_change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum webhook_resend_outcome)pgrows_int(rows, 0, 0)) {
	case RESEND_MADE:
		pgrows_uuid(rows, 0, 1, &id);
		pgrows_uuid(rows, 0, 2, &message);
		reply_made(c, &id, &message);
		break;
	case RESEND_NO_WEBHOOK:
		named_not_found(c);
		break;
	case RESEND_DISABLED:
		(void)refuse(&why, 409, "webhook_disabled",
		    "The webhook is disabled: enable it again by PUT.");
		call_refuse(c, &why);
		break;
	case RESEND_NO_TASK:
		(void)refuse(&why, 422, "unknown_task", "There is no such task.");
		call_refuse(c, &why);
		break;
	case RESEND_NOT_ENDED:
		(void)refuse(&why, 409, "not_ended",
		    "The task has not ended: there is nothing to tell yet.");
		call_refuse(c, &why);
		break;
	}
	call_answered(api);
}

static void
put_aging(struct call *c, struct pgparam *p)
{
	pgparam_int4(p, (int32_t)c->api->settings->tasks_priority_aging_ms);
}

static bool
ask_resend(struct call *c)
{
	struct pgparam *p = named_params(c);

	pgparam_uuid(p, &c->id);
	put_aging(c, p);
	return named_change(c, &webhooks_resend, on_resent);
}

void
webhooks_resend_post(struct api *api, struct httpreq *req, int app_id)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &webhook_kind, NAMED_READ, &body, &len);
	struct refusal why;

	if (c == NULL)
		return;
	if (resend_request_parse(body, len, &c->id, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_resend);
}

static void
on_tested(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct uuid id;

	if (pe != NULL) {
		named_change_failed(c, pe);
	} else if (pgrows_is_null(rows, 0, 0)) {
		named_not_found(c);
	} else {
		pgrows_uuid(rows, 0, 0, &id);
		reply_made(c, &id, &id);
	}
	call_answered(api);
}

static bool
ask_test(struct call *c)
{
	struct pgparam *p = named_params(c);

	put_aging(c, p);
	return named_change(c, &webhooks_test, on_tested);
}

void
webhooks_test_post(struct api *api, struct httpreq *req, int app_id)
{
	named_ask_for(api, req, app_id, &webhook_kind, ask_test);
}

/* ---------------------------------------------------------------- deliveries */

static void
on_deliveries(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct webhook_call *wc = c->extra;
	struct api *api = c->api;
	struct webhook_delivery_row d = {.told = -1};
	char cursor[UUID_TEXT_SIZE];
	struct jsonw w;
	int count;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	if (pgrows_count(rows) == 0) {
		named_not_found(c);
		call_answered(api);
		return;
	}
	count = pgrows_count(rows) - 1; /* the first is no delivery */
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "deliveries");
	jsonw_array(&w);
	for (int i = 0; i < count && i < wc->shown; i++) {
		webhook_delivery_get(rows, i + 1, &d);
		webhook_delivery_json(&w, &d);
	}
	jsonw_end(&w);
	jsonw_member_string(
	    &w, "next_cursor", count > wc->shown ? uuid_format(&d.id, cursor) : NULL);
	jsonw_end(&w);
	call_reply_no_store(c, 200);
	call_answered(api);
}

static bool
ask_deliveries(struct call *c)
{
	const struct webhook_call *wc = c->extra;
	struct pgparam *p = named_params(c);

	if (wc->behind)
		pgparam_uuid(p, &c->id);
	else
		pgparam_null(p, PGTYPE_UUID);
	/* one more than shown tells whether there is more */
	pgparam_int4(p, wc->shown + 1);
	return call_send(c, &webhooks_deliveries, on_deliveries);
}

static int
read_page(struct call *c, struct webhook_call *wc, struct refusal *why)
{
	const char *cursor = httpreq_query(c->req, "cursor");

	if (params_limit(c->req, LIMIT_DEFAULT, LIMIT_MAX, &wc->shown, why) != 0)
		return -1;
	wc->behind = cursor != NULL;
	if (cursor != NULL && uuid_parse(cursor, strlen(cursor), &c->id) != 0)
		return params_bad_cursor(why);
	return 0;
}

void
webhooks_get_deliveries(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	struct call *c =
	    named_begin(api, req, app_id, &webhook_kind, NAMED_READ, known);
	struct refusal why;

	if (c == NULL)
		return;
	if (read_page(c, c->extra, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_deliveries);
}
