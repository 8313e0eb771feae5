/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules.c - an application's schedules: read, put, deleted, paused, resumed.
 *
 * A change is one statement in PostgreSQL; when the schedule is next is computed
 * before, from PostgreSQL's clock as this worker knows it, and whether that is due is
 * decided by PostgreSQL again.  After the commit the leader gets a message.
 *
 * A malformed name, one that never was and another application's get the same 404.
 */
#include "api/schedules.h"

#include <string.h>

#include "api/params.h"
#include "api/schedule_json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/schedules.h"

#define SPEC_ROOM (64 * 1024) /* beside the payload */
#define TRIES	  5	      /* to resume one that others change meanwhile */

static call_question ask_put, ask_to_resume;

void
schedule_call_free(struct schedule_call *s)
{
	if (s == NULL)
		return;
	strbuf_fini(&s->spec);
	mem_free(s);
}

struct call *
schedule_begin(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);

	if (c == NULL)
		return NULL;
	c->schedule = mem_zero(sizeof(*c->schedule));
	if (c->schedule == NULL) {
		call_no_memory(c);
		return NULL;
	}
	strbuf_init(&c->schedule->spec,
	    (size_t)api->settings->tasks_max_payload_bytes + SPEC_ROOM);
	return c;
}

/* without query parameters, for a path with a name, which no schedule has if it is none
 */
static struct call *
begin_named(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	const char *name = httpreq_segment(req, 0);
	struct call *c = schedule_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL)
		return NULL;
	if (params_known(req, known, &why) != 0) {
		call_refuse(c, &why);
		return NULL;
	}
	if (name_check("schedule", name, strlen(name), NULL) != 0) {
		schedule_not_found(c);
		return NULL;
	}
	c->schedule->name = name;
	return c;
}

void
schedule_not_found(struct call *c)
{
	struct refusal why;

	(void)refuse(&why, 404, "not_found", "There is no such schedule.");
	call_refuse(c, &why);
}

/* for statements that change: the outcome may be unknown */
static void
write_failed(struct call *c, const struct pgerr *pe)
{
	struct err err = ERR_INIT;

	if (pe->class == PGERR_LOST) {
		err_set(&err, ERR_TIMEOUT, "%s", pe->text);
		call_problem(c, &err,
		    "The connection to the database was lost; the schedule may have "
		    "changed.");
	} else {
		call_read_failed(c, pe);
	}
}

static void
put_name(struct call *c)
{
	struct pgparam *p = &c->api->params;

	pgparam_reset(p);
	pgparam_int4(p, c->app_id);
	pgparam_text(p, c->schedule->name);
}

static void
put_us(struct pgparam *p, int64_t us)
{
	if (us != 0)
		pgparam_int8(p, us);
	else
		pgparam_null(p, PGTYPE_INT8);
}

/* ---------------------------------------------------------------- read */

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct schedule_row s;
	struct jsonw w;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		schedule_not_found(c); /* deleted meanwhile, if it was just changed */
	} else {
		schedule_row_get(rows, 0, &s);
		call_body(c, &w);
		schedule_json(&w, &s);
		call_reply_no_store(c, c->schedule->made ? 201 : 200);
	}
	call_answered(api);
}

/* reads the row named and answers with it */
static bool
ask_row(struct call *c)
{
	put_name(c);
	return call_send(c, &sql_schedule, on_row);
}

void
schedules_get(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = begin_named(api, req, app_id);

	if (c != NULL)
		call_ask(c, ask_row);
}

/* ---------------------------------------------------------------- put */

static void
on_put(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;
	int64_t outcome = pe == NULL ? pgrows_int(rows, 0, 0) : 0;

	if (pe != NULL) {
		write_failed(c, pe);
	} else if (outcome == 2) {
		(void)refuse(&why, 422, "too_many_schedules",
		    "The application has %d schedules already; nothing was done.",
		    SCHEDULES_MOST);
		call_refuse(c, &why);
	} else {
		engine_schedules_changed(api->engine);
		c->schedule->made = outcome == 0;
		call_ask(c, ask_row);
	}
	call_answered(api);
}

static bool
ask_put(struct call *c)
{
	const struct schedule_call *s = c->schedule;
	const struct schedule_request *sr = &s->request;
	struct pgparam *p = &c->api->params;
	bool marked, metadata = schedule_metadata(sr, &marked);

	put_name(c);
	pgparam_text(p, sr->cron);
	pgparam_text(p, sr->zone);
	pgparam_int4(p, (int32_t)sr->rule.gap);
	pgparam_int4(p, (int32_t)sr->rule.overlap);
	pgparam_int4(p, (int32_t)sr->missed);
	pgparam_int4(p, sr->missed_limit);
	pgparam_int4(p, sr->skip_open);
	pgparam_int4(p, sr->jitter_ms);
	pgparam_bool(p, sr->paused);
	pgparam_text(p, sr->made_of.type);
	pgparam_text(p, sr->made_of.queue);
	pgparam_textn(p, sr->task.at, sr->task.len);
	pgparam_textn(p, s->spec.data, s->spec.len);
	if (metadata)
		pgparam_textn(p, sr->made_of.metadata, sr->made_of.metadata_len);
	else
		pgparam_null(p, PGTYPE_TEXT);
	pgparam_bool(p, marked);
	put_us(p, s->next_us);
	pgparam_int4(p, SCHEDULES_MOST);
	return call_send(c, &sql_put_schedule, on_put);
}

/* 0: the rule comes no more */
static int64_t
next_us(struct api *api, const struct rule *r)
{
	struct fire f;

	return rule_next(r, engine_now_us(api->engine), false, &f, NULL) == 0 ? f.at_us
									      : 0;
}

void
schedules_put(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = schedule_begin(api, req, app_id);
	const char *name = httpreq_segment(req, 0), *body;
	struct schedule_call *s;
	struct err err = ERR_INIT;
	struct refusal why;
	size_t len;

	if (c == NULL)
		return;
	s = c->schedule;
	s->name = name;
	body = httpreq_body(req, &len);
	if (str_eq(name, "preview")) /* the path of rules that are not kept */
		err_set(&err, ERR_INVALID, "no schedule can be called preview");
	if (err.code != ERR_NONE ||
	    name_check("schedule", name, strlen(name), &err) != 0) {
		(void)refuse(&why, 400, "invalid_field", "name: %.300s.", err.text);
		call_refuse(c, &why);
		return;
	}
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    schedule_request_parse(body, len, api->settings, engine_now_us(api->engine),
		&s->request, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	if (!s->request.paused)
		s->next_us = next_us(api, &s->request.rule);
	schedule_spec(&s->request, &s->spec);
	if (strbuf_failed(&s->spec)) {
		call_no_memory(c);
		return;
	}
	call_ask(c, ask_put);
}

/* ---------------------------------------------------------------- delete, pause */

static void
on_deleted(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct jsonw w;

	if (pe != NULL) {
		write_failed(c, pe);
	} else if (!pgrows_bool(rows, 0, 0)) {
		schedule_not_found(c);
	} else {
		call_body(c, &w);
		call_reply(c, 204);
	}
	call_answered(api);
}

static bool
ask_delete(struct call *c)
{
	put_name(c);
	return call_send(c, &sql_delete_schedule, on_deleted);
}

void
schedules_delete(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = begin_named(api, req, app_id);

	if (c != NULL)
		call_ask(c, ask_delete);
}

static void
on_paused(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL)
		write_failed(c, pe);
	else if (!pgrows_bool(rows, 0, 0))
		schedule_not_found(c);
	else
		call_ask(c, ask_row);
	call_answered(api);
}

static bool
ask_pause(struct call *c)
{
	put_name(c);
	return call_send(c, &sql_pause_schedule, on_paused);
}

void
schedules_pause(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = begin_named(api, req, app_id);

	if (c != NULL)
		call_ask(c, ask_pause);
}

/* ---------------------------------------------------------------- resume */

static void
on_resumed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct refusal why;

	if (pe != NULL) {
		write_failed(c, pe);
	} else if (pgrows_bool(rows, 0, 0)) {
		engine_schedules_changed(api->engine);
		call_ask(c, ask_row);
	} else if (++c->schedule->tries < TRIES) {
		call_ask(c, ask_to_resume); /* changed meanwhile */
	} else {
		(void)refuse(&why, 409, "conflict",
		    "The schedule is being changed by others; it was not resumed.");
		call_refuse(c, &why);
	}
	call_answered(api);
}

static bool
ask_resume(struct call *c)
{
	put_name(c);
	pgparam_int4(&c->api->params, c->schedule->rev);
	put_us(&c->api->params, c->schedule->next_us);
	return call_send(c, &sql_resume_schedule, on_resumed);
}

int
schedule_row_rule(const struct schedule_row *s, struct rule *r, struct err *err)
{
	r->gap = (enum rule_gap)s->gap;
	r->overlap = (enum rule_overlap)s->overlap;
	if (cron_parse(s->cron, &r->cron, err) != 0)
		return -1;
	r->zone = zone_get(s->zone, err);
	return r->zone != NULL ? 0 : -1;
}

void
schedule_broken(struct call *c, const struct err *err)
{
	struct refusal why;

	(void)refuse(&why, 409, "schedule_broken",
	    "When the schedule fires cannot be computed here: %.300s.", err->text);
	call_refuse(c, &why);
}

static void
on_row_to_resume(const struct pgrows *rows, const struct pgerr *pe, void *arg)
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
		c->schedule->rev = s.rev;
		if (!s.paused) {
			call_ask(c, ask_row); /* as it is */
		} else if (schedule_row_rule(&s, &r, &err) != 0) {
			schedule_broken(c, &err);
		} else {
			c->schedule->next_us = next_us(api, &r);
			call_ask(c, ask_resume);
		}
	}
	call_answered(api);
}

static bool
ask_to_resume(struct call *c)
{
	put_name(c);
	return call_send(c, &sql_schedule, on_row_to_resume);
}

void
schedules_resume(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = begin_named(api, req, app_id);

	if (c != NULL)
		call_ask(c, ask_to_resume);
}
