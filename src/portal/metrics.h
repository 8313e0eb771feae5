/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics.h - the scoreboard in Prometheus' text format, for the whole node.
 */
#ifndef PORTAL_METRICS_H
#define PORTAL_METRICS_H

#include "base/strbuf.h"
#include "engine/engine.h"
#include "model/scoreboard.h"
#include "tls/tlsctx.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_write(struct strbuf *out, const struct scoreboard *b);
/* the cluster's lists in Redis, the same on every node */
void metrics_lists(struct strbuf *out, const struct pools *pools,
    const struct list_told *lists, size_t count);

/* how long each certificate lasts */
void metrics_certificates(struct strbuf *out, const struct tlsctx *tls, int64_t now_s);

#endif
