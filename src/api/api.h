/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api.h - the HTTP face for applications: /v1, /health and /ready.
 *
 * To leave: api_end_waits, and the loop runs until httpd_requests is 0 or patience
 * ends.  To take down: api_stop, engine_free (what waits for a store is answered then),
 * then httpd_free and api_free in either order.
 */
#ifndef API_API_H
#define API_API_H

#include "base/attr.h"
#include "base/err.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "model/scoreboard.h"
#include "model/settings.h"

struct api;

struct api_opts {
	const struct settings *settings; /* borrowed for life */
	struct engine *engine;		 /* borrowed until engine_free */
	struct scoreboard *board;	 /* borrowed for life */
	int slot;
	struct accesslog *accesslog; /* borrowed for life; NULL: off */
	struct spans *spans;	     /* borrowed for life; NULL: off */
};

struct api *api_create(
    struct loop *l, const struct api_opts *opts, struct err *err) ATTR_CHECK;
void api_free(struct api *api); /* NULL is fine */
/* routes, bounds and hooks for the applications' listeners; all borrowed from api */
void api_httpd_opts(struct api *api, struct httpd_opts *opts);
/* the worker leaves: requests that wait for a task's end are answered as it stands, new
 * ones do not wait */
void api_end_waits(struct api *api);
/* asks the engine for nothing from now on; requests get 503 */
void api_stop(struct api *api);

#endif
