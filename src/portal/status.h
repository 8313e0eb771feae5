/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status.h - GET /api/status: this node from its scoreboard, the cluster from
 * PostgreSQL.
 */
#ifndef PORTAL_STATUS_H
#define PORTAL_STATUS_H

#include "base/attr.h"
#include "base/err.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "model/scoreboard.h"
#include "model/settings.h"

struct status;

struct status *status_create(struct loop *l, struct engine *e, const struct settings *s,
    struct scoreboard *b, struct err *err) ATTR_CHECK;
void status_free(
    struct status *st); /* NULL is fine; requests that still wait are dropped */
void status_stop(struct status *st); /* the engine is not asked any more */
/* answers now or later */
void status_reply(struct status *st, struct httpreq *req);

#endif
