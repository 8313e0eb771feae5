/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoints.c - where an application wants to be called: list, read, set, rotate the
 * secret, delete.
 *
 * A secret is made here, sealed before it goes to the database, and shown in the one
 * answer that says that it was made.  A change is committed first and read again for
 * the answer; in between all workers are told.
 */
#include "engine/endpoints.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/endpoint_request.h"
#include "api/params.h"
#include "base/mem.h"
#include "base/seal.h"
#include "base/str.h"
#include "http/guard.h"
#include "store/endpoints.h"

#define ENDPOINTS_OF_APP 100
#define LIMIT_DEFAULT	 50
#define LIMIT_MAX	 100
#define SECRET_BYTES	 32
#define SECRET_SIZE	 64 /* "whsec_" and 44 digits */
#define SEALED_SIZE	 256

/* c->extra */
struct endpoint_call {
	const char *name;  /* of the path; NULL: a list */
	const char *after; /* the cursor, both borrowed from the request */
	int limit;
	int status; /* of the answer with the endpoint */
	bool made;  /* the answer shows the secret */
	char by[APIKEY_PUBLIC + 1];
	char secret[SECRET_SIZE];
	char sealed[SEALED_SIZE];
	int64_t overlap_ms;
	struct endpoint_request request;
};

static struct endpoint_call *
extra_create(struct call *c)
{
	struct endpoint_call *ec = mem_zero(sizeof(*ec));
	struct err err = ERR_INIT;

	c->extra = ec;
	if (ec == NULL) {
		err_set(&err, ERR_NOMEM, "endpoint");
		call_problem(c, &err, NULL);
		return NULL;
	}
	ec->status = 200;
	ec->limit = 1;
	auth_public_id(c->req, ec->by);
	return ec;
}

/* what nobody shall find in memory */
static void
wipe(struct endpoint_call *ec)
{
	explicit_bzero(ec->secret, sizeof(ec->secret));
}

static void
refuse_call(struct call *c, const struct refusal *why)
{
	wipe(c->extra);
	call_refuse(c, why);
}

static void
not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such endpoint.");
	refuse_call(c, &why);
}

/* ---------------------------------------------------------------- reads */

static void
endpoint_json(struct jsonw *w, const struct endpoint_row *e, const char *secret)
{
	jsonw_object(w);
	jsonw_member_string(w, "name", e->name);
	jsonw_member_string(w, "url", e->url);
	jsonw_key(w, "headers");
	if (e->headers != NULL)
		jsonw_raw(w, e->headers, strlen(e->headers));
	else
		jsonw_null(w);
	jsonw_key(w, "timeout");
	if (e->timeout_ms > 0)
		jsonw_double(w, (double)e->timeout_ms / 1000);
	else
		jsonw_null(w);
	jsonw_member_bool(w, "disabled", e->disabled_us != 0);
	jsonw_member_time(w, "disabled_at", e->disabled_us);
	jsonw_member_string(w, "disabled_reason", e->reason);
	jsonw_member_time(w, "old_secret_until", e->old_until_us);
	jsonw_member_time(w, "created_at", e->created_us);
	jsonw_member_time(w, "updated_at", e->updated_us);
	if (secret != NULL)
		jsonw_member_string(w, "secret", secret);
	jsonw_end(w);
}

static void
write_page(struct call *c, const struct pgrows *rows, int limit)
{
	int count = pgrows_count(rows), shown = count > limit ? limit : count;
	struct endpoint_row e = {0};
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "endpoints");
	jsonw_array(&w);
	for (int i = 0; i < shown; i++) {
		endpoint_row_get(rows, i, &e);
		endpoint_json(&w, &e, NULL);
	}
	jsonw_end(&w);
	jsonw_member_string(&w, "next_cursor", count > limit ? e.name : NULL);
	jsonw_end(&w);
}

static void
on_endpoints(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct endpoint_call *ec = c->extra;
	struct api *api = c->api;
	struct endpoint_row e;
	struct jsonw w;

	if (pe != NULL) {
		wipe(ec);
		call_read_failed(c, pe);
	} else if (ec->name != NULL && pgrows_count(rows) == 0) {
		not_found(c);
	} else {
		if (ec->name == NULL) {
			write_page(c, rows, ec->limit);
		} else {
			endpoint_row_get(rows, 0, &e);
			call_body(c, &w);
			endpoint_json(&w, &e, ec->made ? ec->secret : NULL);
		}
		httpreq_set_header(c->req, "Cache-Control", "no-store");
		wipe(ec);
		call_reply(c, ec->status);
		explicit_bzero(api->out.data, api->out.len);
	}
	call_answered(api);
}

static bool
ask_endpoints(struct call *c)
{
	struct endpoint_call *ec = c->extra;
	struct pgparam *p = &c->api->params;
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, ec->name);
	pgparam_text(p, ec->after);
	pgparam_int4(p, ec->name != NULL ? 1 : ec->limit + 1);
	if (store_exec(c->api->store, STORE_READ, &endpoints_list, p, on_endpoints, c,
		&err) == 0)
		return true;
	wipe(ec);
	call_problem(c, &err, NULL);
	return false;
}

void
endpoints_get_list(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct endpoint_call *ec;
	struct refusal why;

	if (c == NULL || (ec = extra_create(c)) == NULL)
		return;
	if (params_names(req, LIMIT_DEFAULT, LIMIT_MAX, &ec->after, &ec->limit, &why) !=
	    0)
		refuse_call(c, &why);
	else
		call_ask(c, ask_endpoints);
}

/* the name of the path; missing: one that cannot be is not there */
static int
read_path(struct call *c, bool missing, struct refusal *why)
{
	static const char *const known[] = {NULL};
	struct endpoint_call *ec = c->extra;
	struct err err = ERR_INIT;

	ec->name = httpreq_segment(c->req, 0);
	if (params_known(c->req, known, why) != 0)
		return -1;
	if (name_check("endpoint", ec->name, strlen(ec->name), &err) == 0)
		return 0;
	return missing ? refuse(why, 404, "not_found", "There is no such endpoint.")
		       : refuse(why, 400, "invalid_parameter", "%.300s.", err.text);
}

void
endpoints_get_one(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL || extra_create(c) == NULL)
		return;
	if (read_path(c, true, &why) != 0)
		refuse_call(c, &why);
	else
		call_ask(c, ask_endpoints);
}

/* ---------------------------------------------------------------- changes */

static int
make_secret(struct call *c, struct refusal *why)
{
	struct endpoint_call *ec = c->extra;
	const struct sealkeys *keys = endpoints_keys(engine_endpoints(c->api->engine));
	char context[ENDPOINT_CONTEXT_SIZE];
	unsigned char bytes[SECRET_BYTES];
	struct err err = ERR_INIT;
	struct strbuf sealed;
	int rc;

	if (keys == NULL)
		return refuse(why, 503, "secrets_unavailable",
		    "This node has no key to keep secrets with: its operator has to "
		    "set secrets.key_file.");
	random_bytes(bytes, sizeof(bytes));
	memcpy(ec->secret, "whsec_", 6);
	EVP_EncodeBlock((unsigned char *)ec->secret + 6, bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	strbuf_init(&sealed, SEALED_SIZE - 1);
	rc = seal_put(keys, endpoint_context(c->app_id, ec->name, context), ec->secret,
	    strlen(ec->secret), &sealed, &err);
	if (rc == 0)
		str_copy(ec->sealed, sizeof(ec->sealed), sealed.data);
	strbuf_fini(&sealed);
	return rc == 0 ? 0
		       : refuse(why, 503, "unavailable",
			     "The secret could not be made; nothing was changed.");
}

static void
change_failed(struct call *c, const struct pgerr *pe)
{
	struct err err = ERR_INIT;

	wipe(c->extra);
	if (pe->class == PGERR_LOST) {
		err_set(&err, ERR_TIMEOUT, "%s", pe->text);
		call_problem(c, &err,
		    "The database did not answer in time; the endpoint may have been "
		    "changed. Read it; a secret that was not shown is replaced by "
		    "rotate.");
	} else {
		call_read_failed(c, pe);
	}
}

static bool
send_change(struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb)
{
	struct err err = ERR_INIT;

	if (store_exec(c->api->store, STORE_READ, stmt, &c->api->params, cb, c, &err) ==
	    0)
		return true;
	wipe(c->extra);
	call_problem(c, &err, "The database is away; nothing was changed.");
	return false;
}

static void
tell_changed(struct call *c)
{
	const struct endpoint_call *ec = c->extra;

	endpoints_changed(engine_endpoints(c->api->engine), c->app_id, ec->name);
}

static void
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct endpoint_call *ec = c->extra;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum endpoint_put)pgrows_int(rows, 0, 0)) {
	case ENDPOINT_MADE:
		ec->made = true;
		ec->status = 201;
		/* fall through */
	case ENDPOINT_CHANGED:
		tell_changed(c);
		call_ask(c, ask_endpoints);
		break;
	case ENDPOINT_TOO_MANY:
		(void)refuse(&why, 422, "too_many_endpoints",
		    "The application has %d endpoints already: delete one that is not "
		    "needed.",
		    ENDPOINTS_OF_APP);
		refuse_call(c, &why);
		break;
	case ENDPOINT_NO_URL:
		(void)refuse(&why, 400, "missing_field",
		    "url: there is no endpoint of that name yet, and a new one needs "
		    "a URL.");
		refuse_call(c, &why);
		break;
	}
	call_answered(api);
}

static bool
ask_put(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	const struct endpoint_request *er = &ec->request;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, ec->name);
	pgparam_text(p, ec->by);
	pgparam_int4(p, ENDPOINTS_OF_APP);
	pgparam_int4(p, (int32_t)er->given);
	pgparam_text(p, er->given & ENDPOINT_URL ? er->url.text : NULL);
	pgparam_text(p, er->headers[0] != '\0' ? er->headers : NULL);
	if (er->timeout_ms > 0)
		pgparam_int4(p, (int32_t)er->timeout_ms);
	else
		pgparam_null(p, PGTYPE_INT4);
	pgparam_bool(p, er->disabled);
	pgparam_text(p, er->reason[0] != '\0' ? er->reason : NULL);
	pgparam_text(p, ec->sealed);
	return send_change(c, &endpoints_put, on_put);
}

/* what is known before a name is resolved; the rest is said by each request */
static int
check_reach(
    const struct call *c, const struct endpoint_request *er, struct refusal *why)
{
	const struct settings *s = c->api->settings;
	const struct guard_opts opts = {
	    s->egress_allow_networks, s->egress_deny_networks, s->egress_ports};
	struct err err = ERR_INIT;
	struct guard *g;
	bool allowed;

	if ((er->given & ENDPOINT_URL) == 0)
		return 0;
	g = guard_create(&opts, &err);
	if (g == NULL)
		return refuse(why, 503, "unavailable", "Out of memory.");
	allowed = guard_port(g, er->url.port);
	guard_free(g);
	return allowed ? 0
		       : refuse(why, 400, "invalid_field",
			     "url: requests may not go to port %u.", er->url.port);
}

void
endpoints_put_one(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct endpoint_call *ec;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (ec = extra_create(c)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 || read_path(c, false, &why) != 0 ||
	    endpoint_request_parse(body, len, &ec->request, &why) != 0 ||
	    check_reach(c, &ec->request, &why) != 0 || make_secret(c, &why) != 0)
		refuse_call(c, &why);
	else
		call_ask(c, ask_put);
}

static void
on_rotated(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct endpoint_call *ec = c->extra;
	struct api *api = c->api;

	if (pe != NULL) {
		change_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		not_found(c);
	} else {
		ec->made = true;
		tell_changed(c);
		call_ask(c, ask_endpoints);
	}
	call_answered(api);
}

static bool
ask_rotate(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, ec->name);
	pgparam_text(p, ec->by);
	pgparam_text(p, ec->sealed);
	pgparam_int8(p, ec->overlap_ms);
	return send_change(c, &endpoints_rotate, on_rotated);
}

void
endpoints_rotate_post(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct endpoint_call *ec;
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL || (ec = extra_create(c)) == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 || read_path(c, true, &why) != 0 ||
	    rotate_request_parse(body, len, &ec->overlap_ms, &why) != 0 ||
	    make_secret(c, &why) != 0)
		refuse_call(c, &why);
	else
		call_ask(c, ask_rotate);
}

static void
on_deleted(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		change_failed(c, pe);
	} else if (pgrows_int(rows, 0, 0) == 1) {
		not_found(c);
	} else if (pgrows_int(rows, 0, 0) != 0) {
		(void)refuse(&why, 409, "endpoint_in_use",
		    "Types of the application run there: delete them first, or let "
		    "them run elsewhere.");
		refuse_call(c, &why);
	} else {
		tell_changed(c);
		wipe(c->extra);
		strbuf_reset(&api->out);
		call_reply(c, 204);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, ec->name);
	pgparam_text(p, ec->by);
	return send_change(c, &endpoints_delete, on_deleted);
}

void
endpoints_delete_one(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL || extra_create(c) == NULL)
		return;
	if (read_path(c, true, &why) != 0)
		refuse_call(c, &why);
	else
		call_ask(c, ask_delete);
}
