/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule_json.h - a schedule, and what it will do, as applications see them.
 */
#ifndef API_SCHEDULE_JSON_H
#define API_SCHEDULE_JSON_H

#include "base/jsonw.h"
#include "model/rule.h"
#include "store/schedules.h"

/* with its task, if the row has it */
void schedule_json(struct jsonw *w, const struct schedule_row *s);
/* {"cron","zone",...,"fires":[...]}: count fires after from_us */
void schedule_preview_json(struct jsonw *w, const char *cron, const char *zone,
    const struct rule *r, int64_t from_us, int count);

#endif
