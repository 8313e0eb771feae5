/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule_json.c - one order of keys for every answer that shows a schedule.
 */
#include "api/schedule_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define READING_SIZE 20 /* 2027-03-14T02:30:00 */

static void
key_text(struct jsonw *w, const char *key, const char *text)
{
	jsonw_key(w, key);
	jsonw_string(w, text);
}

static void
key_int(struct jsonw *w, const char *key, int64_t n)
{
	jsonw_key(w, key);
	jsonw_int(w, n);
}

static void
key_time(struct jsonw *w, const char *key, int64_t wall_us)
{
	char text[CLOCK_TEXT_SIZE];

	key_text(w, key, wall_us != 0 ? clock_format(wall_us, text) : NULL);
}

void
schedule_json(struct jsonw *w, const struct schedule_row *s)
{
	char id[UUID_TEXT_SIZE];

	jsonw_object(w);
	key_text(w, "name", s->name);
	key_text(w, "cron", s->cron);
	key_text(w, "zone", s->zone);
	key_text(w, "gap", rule_gap_name(s->gap));
	key_text(w, "overlap", rule_overlap_name(s->overlap));
	key_text(w, "missed", rule_missed_name(s->missed));
	key_int(w, "missed_limit", s->missed_limit);
	key_text(w, "while_open", s->skip_open ? "skip" : "allow");
	jsonw_key(w, "jitter");
	if (s->jitter_ms % 1000 == 0)
		jsonw_int(w, s->jitter_ms / 1000);
	else
		jsonw_double(w, (double)s->jitter_ms / 1000);
	jsonw_key(w, "paused");
	jsonw_bool(w, s->paused);
	key_text(w, "type", s->type);
	key_text(w, "queue", s->queue);
	if (s->task != NULL) {
		jsonw_key(w, "task");
		jsonw_raw(w, s->task, s->task_len);
	}
	key_time(w, "next_at", s->next_us);
	key_time(w, "last_at", s->last_us);
	key_text(w, "last_task_id",
	    s->has_last_task ? uuid_format(&s->last_task, id) : NULL);
	jsonw_key(w, "counts");
	jsonw_object(w);
	key_int(w, "fired", s->fired);
	key_int(w, "skipped", s->skipped);
	key_int(w, "missed", s->passed);
	key_int(w, "refused", s->refused);
	jsonw_end(w);
	key_text(w, "problem", s->problem);
	key_time(w, "created_at", s->created_us);
	key_time(w, "updated_at", s->updated_us);
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
	key_time(w, "at", fires ? f->at_us : 0);
	key_text(w, "local", fires ? whole : NULL);
	key_text(w, "offset", fires ? offset : NULL);
	key_text(w, "named", reading(f->named_s, named));
	key_text(w, "decision", fire_kind_text(f->kind));
	jsonw_end(w);
}

void
schedule_preview_json(struct jsonw *w, const char *cron, const char *zone,
    const struct rule *r, int64_t from_us, int count)
{
	struct fire f = {.at_us = from_us};

	jsonw_object(w);
	key_text(w, "cron", cron);
	key_text(w, "zone", zone);
	key_text(w, "gap", rule_gap_name((int)r->gap));
	key_text(w, "overlap", rule_overlap_name((int)r->overlap));
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
