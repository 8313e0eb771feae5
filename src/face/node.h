/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.h - what either audience may ask of the node itself: /health and /ready.
 *
 * Any worker answers for all of them, from the scoreboard alone: no store is
 * asked, nothing is awaited.
 */
#ifndef FACE_NODE_H
#define FACE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "http/httpd.h"
#include "model/scoreboard.h"
#include "model/settings.h"

/* a heartbeat older than this is no sign of life */
#define NODE_FRESH_MS 5000

enum node_health { NODE_OK = 0, NODE_DRAINING, NODE_STALLED };

/* 200 as long as some worker lives and the node is not draining; now_ms: monotonic */
enum node_health node_health(const struct scoreboard *b, int64_t now_ms);
void node_health_reply(struct httpreq *req, const struct scoreboard *b);
/* always 200: "ok" or "degraded" is in the body, with the detail only for those who may
 */
void node_ready_reply(struct httpreq *req, const struct scoreboard *b, bool detail);

/* the bounds of [http] and [tls], for either audience's listeners */
void node_httpd_opts(const struct settings *s, struct httpd_opts *opts);
/* one request was answered */
void node_count(struct score_slot *slot, int status);
/* one connection began with something else than a request */
void node_count_hello(struct score_slot *slot, enum httpd_hello what);

#endif
