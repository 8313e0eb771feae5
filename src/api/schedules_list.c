/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules_list.c - GET /v1/schedules: an application's schedules by name, a page at a
 * time, without their tasks.
 */
#include <string.h>

#include "api/params.h"
#include "api/schedule_json.h"
#include "api/schedules.h"
#include "base/str.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

static int
read_page(const struct httpreq *req, struct schedule_call *s, struct refusal *why)
{
	const char *cursor = httpreq_query(req, "cursor");
	size_t len = cursor != NULL ? strlen(cursor) / 2 : 0;

	if (params_limit(req, LIMIT_DEFAULT, LIMIT_MAX, &s->limit, why) != 0)
		return -1;
	if (cursor == NULL)
		return 0;
	if (len == 0 || len > NAME_MAX_BYTES || str_unhex(cursor, s->above, len) != 0 ||
	    name_check("schedule", s->above, strlen(s->above), NULL) != 0)
		return params_bad_cursor(why);
	return 0;
}

static void
on_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	char cursor[2 * NAME_MAX_BYTES + 1];
	struct schedule_row s;
	struct jsonw w;
	int count;

	if (pe != NULL) {
		call_read_failed(c, pe);
		call_answered(api);
		return;
	}
	count = pgrows_count(rows);
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "schedules");
	jsonw_array(&w);
	for (int i = 0; i < count && i < c->schedule->limit; i++) {
		schedule_row_get(rows, i, &s);
		schedule_json(&w, &s);
	}
	jsonw_end(&w);
	jsonw_key(&w, "next_cursor");
	if (count > c->schedule->limit)
		str_hex(cursor, s.name, strlen(s.name));
	jsonw_string(&w, count > c->schedule->limit ? cursor : NULL);
	jsonw_end(&w);
	call_reply_no_store(c, 200);
	call_answered(api);
}

static bool
ask_rows(struct call *c)
{
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, c->schedule->above);
	/* one more than shown tells whether there is more */
	pgparam_int4(p, c->schedule->limit + 1);
	return call_send(c, &sql_schedules, on_rows);
}

void
schedules_list(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	struct call *c = schedule_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0 ||
	    read_page(req, c->schedule, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_rows);
}
