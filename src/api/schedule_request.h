/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule_request.h - the JSON that asks for a schedule, taken apart and judged.
 *
 * Bytes, settings, the time and the zones' data go in, a struct or a refusal comes out.
 * The task is judged by task_request.h's rules; it stays the caller's bytes.
 */
#ifndef API_SCHEDULE_REQUEST_H
#define API_SCHEDULE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/task_request.h"
#include "base/strbuf.h"
#include "model/rule.h"

#define SCHEDULE_MISSED_DEFAULT 10
#define SCHEDULE_JITTER_MAX_MS	(86400LL * 1000)
#define SCHEDULE_PREVIEW_MOST	100
#define SCHEDULE_PREVIEW	10

struct schedule_request {
	char cron[CRON_TEXT_MAX + 1];
	char zone[ZONE_NAME_MAX + 1];
	struct rule rule; /* what they, gap and overlap mean */
	enum rule_missed missed;
	int missed_limit;
	bool skip_open;
	int32_t jitter_ms;
	bool paused;
	struct jspan task; /* as it was given */
	struct task_request made_of;
	/* of a preview */
	int count;
	int64_t from_us;
};

/* a schedule; 0, or -1 with why filled */
int schedule_request_parse(const char *body, size_t len, const struct settings *s,
    int64_t now_us, struct schedule_request *sr, struct refusal *why) ATTR_CHECK;
/* a rule to preview: {cron, zone, gap, overlap, count, from} */
int schedule_preview_parse(const char *body, size_t len, int64_t now_us,
    struct schedule_request *sr, struct refusal *why) ATTR_CHECK;
/* the task as shoal.make_task takes it, without metadata */
void schedule_spec(const struct schedule_request *sr, struct strbuf *out);
/* the task's metadata if it has members; marked: one is "schedule" */
bool schedule_metadata(const struct schedule_request *sr, bool *marked);

#endif
