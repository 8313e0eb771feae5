/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics.h - the scoreboard in Prometheus' text format, for the whole node.
 */
#ifndef PORTAL_METRICS_H
#define PORTAL_METRICS_H

#include "base/strbuf.h"
#include "model/scoreboard.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_write(struct strbuf *out, const struct scoreboard *b);

#endif
