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

#include <string.h>

#include <openssl/evp.h>

#include "api/endpoint_request.h"
#include "api/named.h"
#include "base/seal.h"
#include "base/str.h"
#include "http/guard.h"
#include "store/endpoints.h"

#define ENDPOINTS_OF_APP 100
#define SECRET_BYTES	 32
#define SECRET_SIZE	 64 /* "whsec_" and 44 digits */
#define SEALED_SIZE	 256

/* c->extra */
struct endpoint_call {
	struct named_call named;
	char secret[SECRET_SIZE]; /* shown once it was made */
	char sealed[SEALED_SIZE];
	int64_t overlap_ms;
	struct endpoint_request request;
};

/* ---------------------------------------------------------------- reads */

static const char *
write_endpoint(
    struct jsonw *w, const struct pgrows *rows, int i, const struct named_call *n)
{
	struct endpoint_row row;
	const struct endpoint_row *e = &row;

	endpoint_row_get(rows, i, &row);
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
	if (n->secret)
		jsonw_member_string(
		    w, "secret", ((const struct endpoint_call *)n)->secret);
	jsonw_end(w);
	return e->name;
}

static const struct named_kind endpoint_kind = {
    .what = "endpoint",
    .member = "endpoints",
    .size = sizeof(struct endpoint_call),
    .page = 50,
    .page_most = 100,
    .rows = &endpoints_list,
    .params = named_page_params,
    .write = write_endpoint,
    .unsure = "Read it; a secret that was not shown is replaced by rotate.",
};

void
endpoints_get_list(struct api *api, struct httpreq *req, int app_id)
{
	named_get_list(api, req, app_id, &endpoint_kind);
}

void
endpoints_get_one(struct api *api, struct httpreq *req, int app_id)
{
	named_get(api, req, app_id, &endpoint_kind);
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
	rc = seal_put(keys, endpoint_context(c->app_id, ec->named.name, context),
	    ec->secret, strlen(ec->secret), &sealed, &err);
	if (rc == 0)
		str_copy(ec->sealed, sizeof(ec->sealed), sealed.data);
	strbuf_fini(&sealed);
	return rc == 0 ? 0
		       : refuse(why, 503, "unavailable",
			     "The secret could not be made; nothing was changed.");
}

static void
tell_changed(struct call *c)
{
	const struct endpoint_call *ec = c->extra;

	endpoints_changed(engine_endpoints(c->api->engine), c->app_id, ec->named.name);
}

static void
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct endpoint_call *ec = c->extra;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		named_change_failed(c, pe);
		call_answered(api);
		return;
	}
	switch ((enum endpoint_put)pgrows_int(rows, 0, 0)) {
	case ENDPOINT_MADE:
		ec->named.secret = true;
		ec->named.status = 201;
		/* fall through */
	case ENDPOINT_CHANGED:
		tell_changed(c);
		call_ask(c, named_ask);
		break;
	case ENDPOINT_TOO_MANY:
		(void)refuse(&why, 422, "too_many_endpoints",
		    "The application has %d endpoints already: delete one that is not "
		    "needed.",
		    ENDPOINTS_OF_APP);
		call_refuse(c, &why);
		break;
	case ENDPOINT_NO_URL:
		(void)refuse(&why, 400, "missing_field",
		    "url: there is no endpoint of that name yet, and a new one needs "
		    "a URL.");
		call_refuse(c, &why);
		break;
	}
	call_answered(api);
}

static bool
ask_put(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	const struct endpoint_request *er = &ec->request;
	struct pgparam *p = named_params(c);

	pgparam_text(p, ec->named.by);
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
	return named_change(c, &endpoints_put, on_put);
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
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &endpoint_kind, NAMED_MAKE, &body, &len);
	struct endpoint_call *ec;
	struct refusal why;

	if (c == NULL)
		return;
	ec = c->extra;
	if (endpoint_request_parse(body, len, &ec->request, &why) != 0 ||
	    check_reach(c, &ec->request, &why) != 0 || make_secret(c, &why) != 0)
		call_refuse(c, &why);
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
		named_change_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		named_not_found(c);
	} else {
		ec->named.secret = true;
		tell_changed(c);
		call_ask(c, named_ask);
	}
	call_answered(api);
}

static bool
ask_rotate(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	struct pgparam *p = named_params(c);

	pgparam_text(p, ec->named.by);
	pgparam_text(p, ec->sealed);
	pgparam_int8(p, ec->overlap_ms);
	return named_change(c, &endpoints_rotate, on_rotated);
}

void
endpoints_rotate_post(struct api *api, struct httpreq *req, int app_id)
{
	const char *body;
	size_t len;
	struct call *c =
	    named_begin_body(api, req, app_id, &endpoint_kind, NAMED_READ, &body, &len);
	struct endpoint_call *ec;
	struct refusal why;

	if (c == NULL)
		return;
	ec = c->extra;
	if (rotate_request_parse(body, len, &ec->overlap_ms, &why) != 0 ||
	    make_secret(c, &why) != 0)
		call_refuse(c, &why);
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
		named_change_failed(c, pe);
	} else if (pgrows_int(rows, 0, 0) == 1) {
		named_not_found(c);
	} else if (pgrows_int(rows, 0, 0) != 0) {
		(void)refuse(&why, 409, "endpoint_in_use",
		    pgrows_int(rows, 0, 0) == 2
			? "Types of the application run there: delete them first, or "
			  "let them run elsewhere."
			: "Webhooks of the application go there: delete them first, or "
			  "let them go elsewhere.");
		call_refuse(c, &why);
	} else {
		tell_changed(c);
		named_deleted(c);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	const struct endpoint_call *ec = c->extra;
	struct pgparam *p = named_params(c);

	pgparam_text(p, ec->named.by);
	return named_change(c, &endpoints_delete, on_deleted);
}

void
endpoints_delete_one(struct api *api, struct httpreq *req, int app_id)
{
	named_ask_for(api, req, app_id, &endpoint_kind, ask_delete);
}
