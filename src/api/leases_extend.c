/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases_extend.c - POST /v1/leases/{lease}/extend: a worker outside is still at it,
 * and may tell how far it is.
 */
#include "api/lease_call.h"
#include "api/lease_early.h"
#include "store/leases.h"

/* c->extra */
struct extending {
	struct lease_early early;
	struct lease_early_one one;
	struct lease_name name;
	struct lease_extend what;
	struct scope scope;
};

static bool ask_extend(struct call *c);

static void
on_extended(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	const struct extending *x = c->extra;
	struct api *api = c->api;
	char text[LEASE_TEXT_SIZE];
	struct jsonw w;

	if (pe != NULL) {
		call_change_failed(c, pe);
	} else if (pgrows_int(rows, 0, 0) == LEASE_LOST) {
		if (!lease_look_early(c, ask_extend))
			lease_lost(c);
	} else if (pgrows_int(rows, 0, 0) == LEASE_FORBIDDEN) {
		lease_out_of_scope(c, NULL);
	} else {
		call_body(c, &w);
		jsonw_object(&w);
		jsonw_member_string(&w, "lease", lease_format(&x->name, text));
		jsonw_member_time(&w, "expires_at", pgrows_time_us(rows, 0, 1));
		jsonw_member_bool(&w, "cancelled", pgrows_bool(rows, 0, 2));
		jsonw_end(&w);
		call_reply(c, 200);
	}
	call_answered(api);
}

static bool
ask_extend(struct call *c)
{
	const struct extending *x = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_uuid(p, &x->name.task);
	pgparam_uuid(p, &x->name.lease);
	pgparam_int4(p, (int32_t)x->what.ttl_ms);
	if (x->what.progress.kind != 0)
		pgparam_textn(p, x->what.progress.at, x->what.progress.len);
	else
		pgparam_text(p, NULL);
	pgparam_text(p, x->what.log[0] != '\0' ? x->what.log : NULL);
	leases_put_scope(p, x->scope.names, x->scope.all ? 0 : x->scope.count);
	return call_send_or(c, &leases_extend, on_extended,
	    "The database is away; the lease was not extended.");
}

void
leases_extend_post(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct extending *x;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	x = call_extra(c, sizeof(*x));
	if (x == NULL)
		return;
	body = httpreq_body(req, &len);
	if (lease_read_name(c, &x->name, &why) != 0 ||
	    lease_extend_parse(body, len, &x->what, &why) != 0)
		call_refuse(c, &why);
	else if (lease_read_scope(c, &x->scope)) {
		x->one.name = x->name;
		x->early.at = &x->one;
		x->early.count = 1;
		x->early.ttl_ms = x->what.ttl_ms;
		call_ask(c, ask_extend);
	}
}
