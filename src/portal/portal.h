/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * portal.h - the HTTP face for developers and operators: /health, /ready, /metrics,
 * /api/status.
 *
 * To take down: portal_stop, engine_free, then httpd_free and portal_free in either
 * order.
 */
#ifndef PORTAL_PORTAL_H
#define PORTAL_PORTAL_H

#include "base/attr.h"
#include "base/err.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "model/scoreboard.h"
#include "model/settings.h"

struct portal;
struct tlsctx;

struct portal_opts {
	const struct settings *settings; /* borrowed for life */
	struct engine *engine;		 /* borrowed until engine_free */
	struct scoreboard *board;	 /* borrowed for life */
	int slot;
	struct accesslog *accesslog; /* borrowed for life; NULL: off */
	struct spans *spans;	     /* borrowed for life; NULL: off */
	const struct tlsctx *tls;    /* borrowed for life; NULL: none */
};

struct portal *portal_create(
    struct loop *l, const struct portal_opts *opts, struct err *err) ATTR_CHECK;
void portal_free(struct portal *po); /* NULL is fine */
/* routes, bounds and hooks for the developers' listeners; all borrowed from po */
void portal_httpd_opts(struct portal *po, struct httpd_opts *opts);
/* asks the engine for nothing from now on */
void portal_stop(struct portal *po);

#endif
