/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules_preview.c - when a schedule will fire, by computation alone.
 *
 * Of a schedule that is there, or of a rule that is nowhere yet.  What is shown is what
 * the leader computes, by the same code: with each fire stands what was decided where
 * clocks change, and readings that are left out stand among them.  Jitter is not in it.
 */
#include <string.h>

#include "api/params.h"
#include "api/schedule_json.h"
#include "api/schedules.h"
#include "base/clock.h"
#include "base/str.h"

static void
reply(struct call *c, const char *cron, const char *zone, const struct rule *r)
{
	const struct schedule_request *sr = &c->schedule->request;
	struct jsonw w;

	call_body(c, &w);
	schedule_preview_json(&w, cron, zone, r, sr->from_us, sr->count);
	call_reply_no_store(c, 200);
}

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct err err = ERR_INIT;
	struct schedule_row s;
	struct rule r;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		schedule_not_found(c);
	} else {
		schedule_row_get(rows, 0, &s);
		if (schedule_row_rule(&s, &r, &err) != 0)
			schedule_broken(c, &err);
		else
			reply(c, s.cron, s.zone, &r);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, c->schedule->name);
	return call_send(c, &sql_schedule, on_row);
}

static int
read_query(const struct httpreq *req, struct schedule_request *sr, struct refusal *why)
{
	const char *count = httpreq_query(req, "count");
	const char *from = httpreq_query(req, "from");
	int64_t n = SCHEDULE_PREVIEW;

	if (count != NULL &&
	    (str_to_i64(count, &n) != 0 || n < 1 || n > SCHEDULE_PREVIEW_MOST))
		return refuse(why, 400, "invalid_parameter",
		    "count: it must be a whole number from 1 to %d.",
		    SCHEDULE_PREVIEW_MOST);
	sr->count = (int)n;
	if (from != NULL && clock_parse(from, &sr->from_us) != 0)
		return refuse(why, 400, "invalid_parameter",
		    "from: it must be a time as RFC 3339 writes it, such as "
		    "2030-01-31T09:30:00Z (a + in a URL is written %%2B).");
	return 0;
}

void
schedules_preview(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"count", "from", NULL};
	const char *name = httpreq_segment(req, 0);
	struct call *c = schedule_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL)
		return;
	c->schedule->request.from_us = engine_now_us(api->engine);
	c->schedule->name = name;
	if (params_known(req, known, &why) != 0 ||
	    read_query(req, &c->schedule->request, &why) != 0)
		call_refuse(c, &why);
	else if (name_check("schedule", name, strlen(name), NULL) != 0)
		schedule_not_found(c);
	else
		call_ask(c, ask_row);
}

void
schedules_preview_rule(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = schedule_begin(api, req, app_id);
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    schedule_preview_parse(body, len, engine_now_us(api->engine),
		&c->schedule->request, &why) != 0)
		call_refuse(c, &why);
	else
		reply(c, c->schedule->request.cron, c->schedule->request.zone,
		    &c->schedule->request.rule);
}
