/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.h - the nodes of the cluster, seen and ordered about.
 *
 *     GET  /api/nodes               all that live
 *     POST /api/nodes/{id}/drain    it takes no more tasks
 *     POST /api/nodes/{id}/resume   it takes tasks again
 */
#ifndef PORTAL_NODES_H
#define PORTAL_NODES_H

#include "base/attr.h"
#include "base/err.h"
#include "engine/engine.h"
#include "http/httpd.h"

struct nodes;

struct nodes *nodes_create(struct engine *e, struct err *err) ATTR_CHECK;
void nodes_free(struct nodes *ns); /* NULL is fine */

/* each ends req, now or later */
void nodes_list(struct nodes *ns, struct httpreq *req);
void nodes_drain(struct nodes *ns, struct httpreq *req);
void nodes_resume(struct nodes *ns, struct httpreq *req);

#endif
