/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules_fires.c - GET /v1/schedules/{name}/fires: what a schedule did at its
 * instants, newest first, a page at a time.
 *
 * The newest 1,000 of each schedule are kept at least.  Instants that were missed and
 * not made up for have no row: they are counted, and told by an event.
 */
#include <stdio.h>
#include <string.h>

#include "api/params.h"
#include "api/schedules.h"
#include "base/str.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

enum { COL_AT, COL_OUTCOME, COL_TASK, COL_FIRED, COL_MESSAGE };

static const char *const outcomes[] = {"made", "skipped", "refused"};

static int
read_page(const struct httpreq *req, struct schedule_call *s, struct refusal *why)
{
	const char *cursor = httpreq_query(req, "cursor");

	if (params_limit(req, LIMIT_DEFAULT, LIMIT_MAX, &s->limit, why) != 0)
		return -1;
	if (cursor != NULL &&
	    (str_to_i64(cursor, &s->below_us) != 0 || s->below_us < 1))
		return params_bad_cursor(why);
	return 0;
}

static void
fire_json(struct jsonw *w, const struct pgrows *rows, int row)
{
	int64_t outcome = pgrows_int(rows, row, COL_OUTCOME);
	struct uuid task = {{0}};

	pgrows_uuid(rows, row, COL_TASK, &task);
	jsonw_object(w);
	jsonw_member_time(w, "at", pgrows_int(rows, row, COL_AT));
	jsonw_member_string(w, "outcome",
	    outcome >= 0 && outcome < (int64_t)COUNT_OF(outcomes) ? outcomes[outcome]
								  : "unknown");
	jsonw_member_uuid(w, "task", &task);
	jsonw_member_time(w, "fired_at", pgrows_int(rows, row, COL_FIRED));
	jsonw_member_string(w, "message",
	    pgrows_is_null(rows, row, COL_MESSAGE)
		? NULL
		: pgrows_text(rows, row, COL_MESSAGE, NULL));
	jsonw_end(w);
}

static void
write_page(struct call *c, const struct pgrows *rows)
{
	int count = pgrows_count(rows), limit = c->schedule->limit;
	char cursor[32];
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "fires");
	jsonw_array(&w);
	for (int i = 0; i < count && i < limit; i++)
		fire_json(&w, rows, i);
	jsonw_end(&w);
	if (count > limit)
		snprintf(cursor, sizeof(cursor), "%lld",
		    (long long)pgrows_int(rows, limit - 1, COL_AT));
	jsonw_member_string(&w, "next_cursor", count > limit ? cursor : NULL);
	jsonw_end(&w);
}

static void
on_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 1 && pgrows_is_null(rows, 0, COL_AT)) {
		schedule_not_found(c);
	} else {
		write_page(c, rows);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_rows(struct call *c)
{
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, c->schedule->name);
	if (c->schedule->below_us > 0)
		pgparam_int8(p, c->schedule->below_us);
	else
		pgparam_null(p, PGTYPE_INT8);
	/* one more than shown tells whether there is more */
	pgparam_int4(p, c->schedule->limit + 1);
	return call_send(c, &sql_schedule_fires, on_rows);
}

void
schedules_fires(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	struct call *c = schedule_begin(api, req, app_id);
	const char *name = httpreq_segment(req, 0);
	struct refusal why;

	if (c == NULL)
		return;
	c->schedule->name = name;
	if (params_known(req, known, &why) != 0 ||
	    read_page(req, c->schedule, &why) != 0)
		call_refuse(c, &why);
	else if (name_check("schedule", name, strlen(name), NULL) != 0)
		schedule_not_found(c);
	else
		call_ask(c, ask_rows);
}
