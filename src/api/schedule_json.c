/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule_json.c - one order of keys for every answer that shows a schedule.
 */
#include "api/schedule_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define READING_SIZE 20 /* 2027-03-14T02:30:00 */

void
schedule_json(struct jsonw *w, const struct schedule_row *s)
{
	char id[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "name", s->name);
	jsonw_member_string(w, "cron", s->cron);
	jsonw_member_string(w, "zone", s->zone);
	jsonw_member_string(w, "gap", rule_gap_name(s->gap));
	jsonw_member_string(w, "overlap", rule_overlap_name(s->overlap));
	jsonw_member_string(w, "missed", rule_missed_name(s->missed));
	jsonw_member_int(w, "missed_limit", s->missed_limit);
	jsonw_member_string(w, "while_open", s->skip_open ? "skip" : "allow");
	jsonw_key(w, "jitter");
	if (s->jitter_ms % 1000 == 0)
		jsonw_int(w, s->jitter_ms / 1000);
	else
		jsonw_double(w, (double)s->jitter_ms / 1000);
	jsonw_key(w, "paused");
	jsonw_bool(w, s->paused);
	jsonw_member_string(w, "type", s->type);
	jsonw_member_string(w, "queue", s->queue);
	if (s->task != NULL) {
		jsonw_key(w, "task");
		jsonw_raw(w, s->task, s->task_len);
	}
	jsonw_member_time(w, "next_at", s->next_us);
	jsonw_member_time(w, "last_at", s->last_us);
	jsonw_member_string(w, "last_task_id",
	    s->has_last_task ? uuid_format(&s->last_task, id) : NULL);
	jsonw_key(w, "counts");
	jsonw_object(w);
	jsonw_member_int(w, "fired", s->fired);
	jsonw_member_int(w, "skipped", s->skipped);
	jsonw_member_int(w, "missed", s->passed);
	jsonw_member_int(w, "refused", s->refused);
	jsonw_end(w);
	jsonw_member_string(w, "problem", s->problem);
	jsonw_member_time(w, "created_at", s->created_us);
	jsonw_member_time(w, "updated_at", s->updated_us);
	jsonw_end(w);
}

/* ---------------------------------------------------------------- preview */

/* what a clock shows, without an offset */
static char *
reading(int64_t named_s, char buf[READING_SIZE])
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(buf, READING_SIZE, "%.19s", clock_format(named_s * 1000000, text));
	return buf;
}

/* "-04:00"; seconds only where there were such, before 1972 */
static char *
offset_text(int32_t offset_s, char buf[16])
{
	int n = abs(offset_s), len;

	len = snprintf(buf, 16, "%c%02d:%02d", offset_s < 0 ? '-' : '+', n / 3600 % 100,
	    n / 60 % 60);
	if (n % 60 != 0)
		snprintf(buf + len, 16 - (size_t)len, ":%02d", n % 60);
	return buf;
}

static void
fire_json(struct jsonw *w, const struct fire *f)
{
	char named[READING_SIZE], local[READING_SIZE], offset[16], whole[48];
	bool fires = f->kind != FIRE_GAP_SKIPPED;

	offset_text(f->offset_s, offset);
	snprintf(whole, sizeof(whole), "%s%s",
	    reading(f->at_us / 1000000 + f->offset_s, local), offset);
	jsonw_object(w);
	jsonw_member_time(w, "at", fires ? f->at_us : 0);
	jsonw_member_string(w, "local", fires ? whole : NULL);
	jsonw_member_string(w, "offset", fires ? offset : NULL);
	jsonw_member_string(w, "named", reading(f->named_s, named));
	jsonw_member_string(w, "decision", fire_kind_text(f->kind));
	jsonw_end(w);
}

void
schedule_preview_json(struct jsonw *w, const char *cron, const char *zone,
    const struct rule *r, int64_t from_us, int count)
{
	struct fire f = {.at_us = from_us};

	jsonw_object(w);
	jsonw_member_string(w, "cron", cron);
	jsonw_member_string(w, "zone", zone);
	jsonw_member_string(w, "gap", rule_gap_name((int)r->gap));
	jsonw_member_string(w, "overlap", rule_overlap_name((int)r->overlap));
	jsonw_key(w, "steady");
	jsonw_bool(w, cron_is_steady(&r->cron));
	jsonw_key(w, "fires");
	jsonw_array(w);
	/* fewer when it does not come any more */
	while (count-- > 0 && rule_next(r, f.at_us, true, &f, NULL) == 0)
		fire_json(w, &f);
	jsonw_end(w);
	jsonw_end(w);
}
