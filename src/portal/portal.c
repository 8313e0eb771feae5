/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * portal.c - the developers' routes.
 *
 * /health and /ready are for everybody; what shows the node's inside needs the access
 * token or an allowed network.  New route?  A row in the table, a path in
 * api/openapi.yaml.
 */
#include "portal/portal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "face/access.h"
#include "face/node.h"
#include "face/problem.h"
#include "face/record.h"
#include "portal/metrics.h"
#include "portal/nodes.h"
#include "portal/overview.h"
#include "portal/status.h"

#define METRICS_MAX (256 * 1024)

struct portal {
	const struct settings *settings;
	struct engine *engine;
	struct scoreboard *board;
	int slot;
	struct access *access;
	struct status *status;
	struct nodes *nodes;
	struct overview *overview;
	struct record record;	  /* what is written of each request */
	const struct tlsctx *tls; /* borrowed; NULL: none */
};

static void
health(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	node_health_reply(req, po->board);
}

static void
ready(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	node_ready_reply(
	    req, po->board, access_check(po->access, req) == ACCESS_ALLOWED);
}

static void
metrics(struct httpreq *req, void *arg)
{
	struct portal *po = arg;
	const struct list_told *lists;
	struct strbuf out;
	size_t count;

	if (!access_demand(po->access, req))
		return;
	lists = engine_lists(po->engine, &count);
	strbuf_init(&out, METRICS_MAX);
	metrics_write(&out, po->board);
	metrics_lists(&out, engine_pools(po->engine), lists, count);
	if (po->tls != NULL)
		metrics_certificates(&out, po->tls, clock_wall_us() / 1000000);
	httpreq_set_header(req, "Cache-Control", "no-store");
	if (strbuf_failed(&out))
		problem_unavailable(req, "overloaded", "The server is out of memory.");
	else
		httpreq_reply(req, 200, METRICS_TYPE, out.data, out.len);
	strbuf_fini(&out);
}

static void
status(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	if (access_demand(po->access, req))
		status_reply(po->status, req);
}

static void
list_nodes(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	if (access_demand(po->access, req))
		nodes_list(po->nodes, req);
}

static void
overview(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	if (access_demand(po->access, req))
		overview_reply(po->overview, req);
}

static void
drain_node(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	if (access_demand(po->access, req))
		nodes_drain(po->nodes, req);
}

static void
resume_node(struct httpreq *req, void *arg)
{
	struct portal *po = arg;

	if (access_demand(po->access, req))
		nodes_resume(po->nodes, req);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/health", health, 0},
    {HTTP_GET, "/ready", ready, 0},
    {HTTP_GET, "/metrics", metrics, 0},
    {HTTP_GET, "/api/status", status, 0},
    {HTTP_GET, "/api/overview", overview, 0},
    {HTTP_GET, "/api/nodes", list_nodes, 0},
    {HTTP_POST, "/api/nodes/{id}/drain", drain_node, 0},
    {HTTP_POST, "/api/nodes/{id}/resume", resume_node, 0},
    {HTTP_GET, NULL, NULL, 0},
};

static void
after(struct httpreq *req, int http_status, int64_t duration_us, void *arg)
{
	struct portal *po = arg;

	(void)req;
	(void)duration_us;
	node_count(&po->board->slots[po->slot], http_status);
}

static void
hello(enum httpd_hello what, void *arg)
{
	struct portal *po = arg;

	node_count_hello(&po->board->slots[po->slot], what);
}

static void
told(struct httpreq *req, const struct httpreq_facts *facts, void *arg)
{
	const struct portal *po = arg;

	record_told(&po->record, req, facts);
}

static void
refused(const char *peer, const char *name, int http_status, void *arg)
{
	const struct portal *po = arg;

	record_refused(&po->record, peer, name, http_status);
}

struct portal *
portal_create(struct loop *l, const struct portal_opts *opts, struct err *err)
{
	struct portal *po = mem_zero(sizeof(*po));

	if (po == NULL) {
		err_set(err, ERR_NOMEM, "portal");
		return NULL;
	}
	po->settings = opts->settings;
	po->board = opts->board;
	po->tls = opts->tls;
	po->slot = opts->slot;
	po->record = (struct record){"developers", opts->accesslog, NULL};
	po->access = access_create(
	    opts->settings->access_token, opts->settings->access_networks, err);
	if (po->access == NULL)
		goto fail;
	po->engine = opts->engine;
	po->status = status_create(l, opts->engine, opts->settings, opts->board, err);
	if (po->status == NULL)
		goto fail;
	po->nodes = nodes_create(opts->engine, err);
	if (po->nodes == NULL)
		goto fail;
	po->overview = overview_create(l, opts->engine, opts->settings, err);
	if (po->overview == NULL)
		goto fail;
	return po;
fail:
	err_wrap(err, "portal");
	portal_free(po);
	return NULL;
}

void
portal_free(struct portal *po)
{
	if (po == NULL)
		return;
	status_free(po->status);
	nodes_free(po->nodes);
	overview_free(po->overview);
	access_free(po->access);
	mem_free(po);
}

void
portal_stop(struct portal *po)
{
	status_stop(po->status);
	overview_stop(po->overview);
}

void
portal_httpd_opts(struct portal *po, struct httpd_opts *opts)
{
	node_httpd_opts(po->settings, opts);
	opts->name = "developers";
	opts->routes = routes;
	opts->arg = po;
	opts->after = after;
	opts->hello = hello;
	if (po->record.accesslog != NULL) {
		opts->told = told;
		opts->refused = refused;
	}
}
