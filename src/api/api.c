/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api.c - the applications' routes, and the door that each request under /v1 passes.
 *
 * The door refuses keys in URLs, then asks auth which application speaks; the handler
 * of the route gets that number and puts it into every statement.  New route?  A
 * handler in a file of its own, a row in the table, a path in api/openapi.yaml.
 */
#include "api/api.h"

#include <string.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/follow.h"
#include "api/params.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/endpoints.h"
#include "face/access.h"
#include "face/node.h"
#include "face/problem.h"
#include "model/lease_name.h"

#define OUT_MAX                                                                        \
	(64u << 20) /* a page of 100 tasks with full metadata has 2 MiB, a task 1.3 */

static httpreq_cb health, ready;

static const struct route {
	enum http_method method;
	const char *path;
	api_handler *keyed; /* behind the door, or */
	httpreq_cb *open;   /* for everybody */
	bool work;  /* also for keys that may only work; the handler sees to the queue
		     */
	bool lease; /* also for the token of the lease that the path names */
} routes[] = {
    {HTTP_POST, "/v1/tasks", tasks_post, NULL, false, false},
    {HTTP_POST, "/v1/tasks/batch", tasks_post_batch, NULL, false, false},
    {HTTP_GET, "/v1/tasks", tasks_list, NULL, false, false},
    {HTTP_GET, "/v1/tasks/{id}", tasks_get, NULL, false, false},
    {HTTP_GET, "/v1/schedules", schedules_list, NULL, false, false},
    {HTTP_POST, "/v1/schedules/preview", schedules_preview_rule, NULL, false, false},
    {HTTP_GET, "/v1/schedules/{name}", schedules_get, NULL, false, false},
    {HTTP_PUT, "/v1/schedules/{name}", schedules_put, NULL, false, false},
    {HTTP_DELETE, "/v1/schedules/{name}", schedules_delete, NULL, false, false},
    {HTTP_GET, "/v1/schedules/{name}/preview", schedules_preview, NULL, false, false},
    {HTTP_GET, "/v1/schedules/{name}/fires", schedules_fires, NULL, false, false},
    {HTTP_POST, "/v1/schedules/{name}/pause", schedules_pause, NULL, false, false},
    {HTTP_POST, "/v1/schedules/{name}/resume", schedules_resume, NULL, false, false},
    {HTTP_POST, "/v1/groups", groups_post, NULL, false, false},
    {HTTP_GET, "/v1/groups/{id}", groups_get, NULL, false, false},
    {HTTP_GET, "/v1/groups/{id}/tasks", groups_tasks, NULL, false, false},
    {HTTP_POST, "/v1/groups/{id}/tasks", groups_add, NULL, false, false},
    {HTTP_POST, "/v1/groups/{id}/close", groups_close, NULL, false, false},
    {HTTP_GET, "/v1/tasks/{id}/events", tasks_events, NULL, false, false},
    {HTTP_GET, "/v1/tasks/{id}/log", tasks_log, NULL, false, false},
    {HTTP_GET, "/v1/events", events_stream, NULL, false, false},
    {HTTP_GET, "/v1/tasks/{id}/why", tasks_why, NULL, false, false},
    {HTTP_GET, "/v1/queues", queues_get_list, NULL, false, false},
    {HTTP_GET, "/v1/queues/{name}", queues_get, NULL, false, false},
    {HTTP_PUT, "/v1/queues/{name}", queues_put, NULL, false, false},
    {HTTP_POST, "/v1/queues/{name}/pause", queues_pause_post, NULL, false, false},
    {HTTP_POST, "/v1/queues/{name}/resume", queues_resume_post, NULL, false, false},
    {HTTP_DELETE, "/v1/tasks/{id}", tasks_delete, NULL, false, false},
    {HTTP_DELETE, "/v1/tasks/{id}/payload", tasks_erase, NULL, false, false},
    {HTTP_POST, "/v1/tasks/{id}/cancel", tasks_cancel, NULL, false, false},
    {HTTP_POST, "/v1/tasks/{id}/retry", tasks_retry, NULL, false, false},
    {HTTP_POST, "/v1/operations", operations_post, NULL, false, false},
    {HTTP_GET, "/v1/operations", operations_list, NULL, false, false},
    {HTTP_GET, "/v1/operations/{id}", operations_get, NULL, false, false},
    {HTTP_POST, "/v1/operations/{id}/stop", operations_stop, NULL, false, false},
    {HTTP_POST, "/v1/leases", leases_post, NULL, true, false},
    {HTTP_POST, "/v1/leases/complete", leases_complete_batch, NULL, true, false},
    {HTTP_POST, "/v1/leases/{lease}/extend", leases_extend_post, NULL, true, true},
    {HTTP_POST, "/v1/leases/{lease}/complete", leases_complete, NULL, true, true},
    {HTTP_POST, "/v1/leases/{lease}/fail", leases_fail, NULL, true, true},
    {HTTP_POST, "/v1/leases/{lease}/release", leases_release, NULL, true, false},
    {HTTP_GET, "/v1/types", types_get_list, NULL, false, false},
    {HTTP_GET, "/v1/types/{name}", types_get, NULL, false, false},
    {HTTP_PUT, "/v1/types/{name}", types_put_one, NULL, false, false},
    {HTTP_DELETE, "/v1/types/{name}", types_delete_one, NULL, false, false},
    {HTTP_GET, "/v1/endpoints", endpoints_get_list, NULL, false, false},
    {HTTP_GET, "/v1/endpoints/{name}", endpoints_get_one, NULL, false, false},
    {HTTP_PUT, "/v1/endpoints/{name}", endpoints_put_one, NULL, false, false},
    {HTTP_DELETE, "/v1/endpoints/{name}", endpoints_delete_one, NULL, false, false},
    {HTTP_POST, "/v1/endpoints/{name}/rotate", endpoints_rotate_post, NULL, false,
	false},
    {HTTP_GET, "/v1/webhooks", webhooks_get_list, NULL, false, false},
    {HTTP_GET, "/v1/webhooks/{name}", webhooks_get, NULL, false, false},
    {HTTP_PUT, "/v1/webhooks/{name}", webhooks_put_one, NULL, false, false},
    {HTTP_DELETE, "/v1/webhooks/{name}", webhooks_delete_one, NULL, false, false},
    {HTTP_POST, "/v1/webhooks/{name}/resend", webhooks_resend_post, NULL, false, false},
    {HTTP_POST, "/v1/webhooks/{name}/test", webhooks_test_post, NULL, false, false},
    {HTTP_GET, "/v1/webhooks/{name}/deliveries", webhooks_get_deliveries, NULL, false,
	false},
    {HTTP_GET, "/health", NULL, health, false, false},
    {HTTP_GET, "/ready", NULL, ready, false, false},
};

static void
health(struct httpreq *req, void *arg)
{
	struct api *api = arg;

	node_health_reply(req, api->board);
}

static void
ready(struct httpreq *req, void *arg)
{
	struct api *api = arg;

	node_ready_reply(
	    req, api->board, access_check(api->access, req) == ACCESS_ALLOWED);
}

/* httpreq_needs is the row of the route */
static void
go_on(struct httpreq *req, const struct key_facts *facts, void *arg)
{
	struct api *api = arg;
	const struct route *r = &routes[httpreq_needs(req)];

	if (api->stopped) {
		problem_unavailable(
		    req, "unavailable", "The worker is leaving; nothing was done.");
	} else if (facts->scopes != NULL && !r->work) {
		httpreq_problem(req, 403, "out_of_scope",
		    "This API key may only lease tasks and tell of them.");
	} else {
		face_notes(req)->application = facts->app_id;
		httpreq_phase(req, HTTP_WORK);
		api->scopes = facts->scopes;
		r->keyed(api, req, facts->app_id);
		api->scopes = NULL;
	}
}

/* in place of a key: it opens one lease, for those who were sent it with their task */
static void
by_token(struct api *api, struct httpreq *req, const char *token)
{
	const struct sealkeys *keys = endpoints_keys(engine_endpoints(api->engine));
	const char *text = httpreq_segment(req, 0);
	struct key_facts facts = {0};
	struct lease_name name;

	if (!routes[httpreq_needs(req)].lease)
		auth_refuse(req,
		    "The token of a lease opens only the lease that it came with, to "
		    "complete, fail or extend it.");
	else if (keys == NULL || text == NULL ||
		 lease_parse(text, strlen(text), &name) != 0 ||
		 !lease_token_check(keys, token, &name, &facts.app_id))
		auth_refuse(req,
		    "The token is not that of this lease, or the key that it was made "
		    "under is not in secrets.key_file any more.");
	else
		go_on(req, &facts, api);
}

static void
door(struct httpreq *req, void *arg)
{
	struct api *api = arg;
	struct key_facts facts = {0};
	struct refusal why;
	const char *bearer = auth_bearer(req);

	record_begin(&api->record, req);
	if (params_no_key(req, &why) != 0) {
		httpreq_problem(req, why.status, why.code, "%s", why.detail);
		return;
	}
	if (bearer != NULL && str_starts(bearer, LEASE_TOKEN_PREFIX)) {
		by_token(api, req, bearer);
		return;
	}
	switch (auth_check(api->auth, req, bearer, &facts)) {
	case AUTH_KNOWN:
		go_on(req, &facts, api);
		break;
	case AUTH_KEPT:
		httpreq_phase(req, HTTP_STORE);
		break;
	case AUTH_REFUSED:
		break;
	}
}

static void
after(struct httpreq *req, int status, int64_t duration_us, void *arg)
{
	struct api *api = arg;

	node_count(&api->board->slots[api->slot], status);
	record_span(&api->record, req, status, duration_us);
}

static void
told(struct httpreq *req, const struct httpreq_facts *facts, void *arg)
{
	const struct api *api = arg;

	record_told(&api->record, req, facts);
}

static void
refused(const char *peer, const char *name, int status, void *arg)
{
	const struct api *api = arg;

	record_refused(&api->record, peer, name, status);
}

static void
hello(enum httpd_hello what, void *arg)
{
	struct api *api = arg;

	node_count_hello(&api->board->slots[api->slot], what);
}

struct api *
api_create(struct loop *l, const struct api_opts *opts, struct err *err)
{
	struct api *api = mem_zero(sizeof(*api));

	if (api == NULL) {
		err_set(err, ERR_NOMEM, "api");
		return NULL;
	}
	api->loop = l;
	api->settings = opts->settings;
	api->engine = opts->engine;
	api->submit = engine_submit(opts->engine);
	api->names = engine_names(opts->engine);
	api->waiters = engine_waiters(opts->engine);
	if (opts->accesslog != NULL)
		submit_measure(api->submit);
	api->store = engine_store(opts->engine);
	api->board = opts->board;
	api->slot = opts->slot;
	api->record = (struct record){"applications", opts->accesslog, opts->spans};
	TAILQ_INIT(&api->calls);
	TAILQ_INIT(&api->spare);
	TAILQ_INIT(&api->asks);
	strbuf_init(&api->out, OUT_MAX);
	pgparam_init(&api->params);

	api->routes = mem_array(COUNT_OF(routes) + 1, sizeof(*api->routes));
	if (api->routes == NULL) {
		err_set(err, ERR_NOMEM, "routes");
		goto fail;
	}
	for (unsigned i = 0; i < COUNT_OF(routes); i++)
		api->routes[i] = (struct http_route){routes[i].method, routes[i].path,
		    routes[i].keyed != NULL ? door : routes[i].open, i};
	api->access = access_create(
	    opts->settings->access_token, opts->settings->access_networks, err);
	if (api->access == NULL)
		goto fail;
	api->auth = auth_create(l, api->store, go_on, api, err);
	if (api->auth == NULL)
		goto fail;
	api->follow = follow_create(l, api->store, err);
	if (api->follow == NULL)
		goto fail;
	return api;
fail:
	err_wrap(err, "api");
	api_free(api);
	return NULL;
}

void
api_free(struct api *api)
{
	struct call *c;

	if (api == NULL)
		return;
	while ((c = TAILQ_FIRST(&api->calls)) != NULL)
		call_drop(c);
	while ((c = TAILQ_FIRST(&api->spare)) != NULL) {
		TAILQ_REMOVE(&api->spare, c, link);
		mem_free(c);
	}
	follow_free(api->follow);
	auth_free(api->auth);
	access_free(api->access);
	pgparam_fini(&api->params);
	strbuf_fini(&api->out);
	mem_free(api->routes);
	mem_free(api);
}

void
api_httpd_opts(struct api *api, struct httpd_opts *opts)
{
	node_httpd_opts(api->settings, opts);
	opts->name = "applications";
	opts->routes = api->routes;
	opts->arg = api;
	opts->after = after;
	opts->hello = hello;
	if (api->record.accesslog != NULL) {
		opts->told = told;
		opts->refused = refused;
	}
}
