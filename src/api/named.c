/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * named.c - what an application has by name; see named.h.
 */
#include "api/named.h"

#include <stdio.h>
#include <string.h>

#include "api/auth.h"
#include "api/params.h"
#include "base/str.h"

static const char *const no_params[] = {NULL};

static struct call *
begin(struct api *api, struct httpreq *req, int app_id, const struct named_kind *kind)
{
	struct call *c = call_begin(api, req, app_id);
	struct named_call *n;

	if (c == NULL)
		return NULL;
	n = call_extra(c, kind->size);
	if (n == NULL)
		return NULL;
	c->extra_size = kind->size;
	n->kind = kind;
	n->status = 200;
	auth_public_id(req, n->by);
	return c;
}

void
named_page_params(struct pgparam *p, int app_id, const struct named_call *n)
{
	pgparam_int4(p, app_id);
	pgparam_text(p, n->name);
	pgparam_text(p, n->after);
	/* one more than shown tells whether there is more */
	pgparam_int4(p, n->limit + 1);
}

static int
refuse_missing(const struct named_kind *kind, struct refusal *why)
{
	return refuse(why, 404, "not_found", "There is no such %s.", kind->what);
}

void
named_not_found(struct call *c)
{
	const struct named_call *n = c->extra;
	struct refusal why;

	(void)refuse_missing(n->kind, &why);
	call_refuse(c, &why);
}

static int
read_name(struct call *c, enum named_use use, struct refusal *why)
{
	struct named_call *n = c->extra;
	const char *name = httpreq_segment(c->req, 0);
	struct err err = ERR_INIT;

	n->name = name;
	if (name_check(n->kind->what, name, strlen(name), &err) == 0)
		return 0;
	return use == NAMED_MAKE
		   ? refuse(why, 400, "invalid_parameter", "%.300s.", err.text)
		   : refuse_missing(n->kind, why);
}

struct call *
named_begin(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, enum named_use use, const char *const known[])
{
	struct call *c = begin(api, req, app_id, kind);
	struct refusal why;

	if (c == NULL)
		return NULL;
	if (params_known(req, known, &why) == 0 && read_name(c, use, &why) == 0)
		return c;
	call_refuse(c, &why);
	return NULL;
}

struct call *
named_begin_body(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, enum named_use use, const char **body, size_t *len)
{
	struct call *c = named_begin(api, req, app_id, kind, use, no_params);
	struct refusal why;

	if (c == NULL)
		return NULL;
	*body = httpreq_body(req, len);
	if (params_post_headers(req, &why) == 0)
		return c;
	call_refuse(c, &why);
	return NULL;
}

/* ---------------------------------------------------------------- reads */

static void
write_list(struct call *c, const struct pgrows *rows)
{
	const struct named_call *n = c->extra;
	int count = pgrows_count(rows), shown = count;
	const char *last = NULL;
	struct jsonw w;

	if (n->limit > 0 && count > n->limit)
		shown = n->limit;
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, n->kind->member);
	jsonw_array(&w);
	for (int i = 0; i < shown; i++)
		last = n->kind->write(&w, rows, i, n);
	jsonw_end(&w);
	if (n->kind->page > 0)
		jsonw_member_string(&w, "next_cursor", count > shown ? last : NULL);
	jsonw_end(&w);
}

static void
on_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct named_call *n = c->extra;
	struct api *api = c->api;
	bool secret = n->secret;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (n->name != NULL && pgrows_count(rows) == 0) {
		named_not_found(c);
	} else {
		if (n->name == NULL) {
			write_list(c, rows);
		} else {
			call_body(c, &w);
			(void)n->kind->write(&w, rows, 0, n);
		}
		call_reply_no_store(c, n->status);
		if (secret)
			explicit_bzero(api->out.data, api->out.len);
	}
	call_answered(api);
}

bool
named_ask(struct call *c)
{
	const struct named_call *n = c->extra;

	pgparam_reset(&c->api->params);
	n->kind->params(&c->api->params, c->app_id, n);
	return call_send(c, n->kind->rows, on_rows);
}

void
named_get_list(
    struct api *api, struct httpreq *req, int app_id, const struct named_kind *kind)
{
	struct call *c = begin(api, req, app_id, kind);
	struct named_call *n;
	struct refusal why;
	int rc;

	if (c == NULL)
		return;
	n = c->extra;
	rc = kind->page > 0 ? params_names(req, kind->page, kind->page_most, &n->after,
				  &n->limit, &why)
			    : params_known(req, no_params, &why);
	if (rc != 0)
		call_refuse(c, &why);
	else
		call_ask(c, named_ask);
}

void
named_get(
    struct api *api, struct httpreq *req, int app_id, const struct named_kind *kind)
{
	named_ask_for(api, req, app_id, kind, named_ask);
}

void
named_ask_for(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, call_question *question)
{
	struct call *c = named_begin(api, req, app_id, kind, NAMED_READ, no_params);

	if (c != NULL)
		call_ask(c, question);
}

struct pgparam *
named_params(struct call *c)
{
	const struct named_call *n = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, n->name);
	return p;
}

/* ---------------------------------------------------------------- changes */

bool
named_change(struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb)
{
	return call_send_or(c, stmt, cb, "The database is away; nothing was changed.");
}

void
named_change_failed(struct call *c, const struct pgerr *pe)
{
	const struct named_kind *kind = ((const struct named_call *)c->extra)->kind;
	struct err err = ERR_INIT;
	struct refusal why;
	char detail[256];

	if (str_eq(pe->sqlstate, "54000")) {
		(void)refuse(&why, 422, "too_many_names",
		    "Nothing was changed: %.300s.", pe->text);
		call_refuse(c, &why);
	} else if (pe->class == PGERR_LOST) {
		err_set(&err, ERR_TIMEOUT, "%s", pe->text);
		snprintf(detail, sizeof(detail),
		    "The database did not answer in time; the %s may have been "
		    "changed. %s",
		    kind->what, kind->unsure);
		call_problem(c, &err, detail);
	} else {
		call_read_failed(c, pe);
	}
}

void
named_deleted(struct call *c)
{
	strbuf_reset(&c->api->out);
	call_reply(c, 204);
}
