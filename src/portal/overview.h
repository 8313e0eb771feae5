/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * overview.h - GET /api/overview: what the whole cluster does, from PostgreSQL.
 */
#ifndef PORTAL_OVERVIEW_H
#define PORTAL_OVERVIEW_H

#include "base/attr.h"
#include "base/err.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "model/settings.h"

struct overview;

struct overview *overview_create(struct loop *l, struct engine *e,
    const struct settings *s, struct err *err) ATTR_CHECK;
/* NULL is fine; requests that still wait are dropped */
void overview_free(struct overview *o);
void overview_stop(struct overview *o); /* the engine is not asked any more */
/* answers now or later */
void overview_reply(struct overview *o, struct httpreq *req);

#endif
