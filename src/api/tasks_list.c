/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_list.c - GET /v1/tasks: an application's tasks, newest first, a page at a time,
 * and GET /v1/groups/{id}/tasks: those of a group.
 *
 * Ids are in the order of time, so the cursor is the last id that was looked at, and
 * since and until are bounds of ids: a page costs the same at the start of the history
 * and in its depth.  With a rare filter a page may be short, or empty, and still have a
 * next one.
 */
#include <string.h>

#include "api/call.h"
#include "api/params.h"
#include "api/task_json.h"
#include "base/clock.h"
#include "base/str.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100

static int
read_time(
    const struct httpreq *req, const char *name, struct uuid *id, struct refusal *why)
{
	const char *text = httpreq_query(req, name);
	int64_t us;

	if (text == NULL)
		return 0;
	if (clock_parse(text, &us) != 0)
		return refuse(why, 400, "invalid_parameter",
		    "%s: it must be a time as RFC 3339 writes it, such as "
		    "2030-01-31T09:30:00Z (a + in "
		    "a URL is written %%2B).",
		    name);
	task_first_id(us, id);
	return 0;
}

static int
read_name(
    const struct httpreq *req, const char *name, const char **to, struct refusal *why)
{
	const char *text = httpreq_query(req, name);
	struct err err = ERR_INIT;

	if (text != NULL && name_check(name, text, strlen(text), &err) != 0)
		return refuse(
		    why, 400, "invalid_parameter", "%s: %.300s.", name, err.text);
	*to = text;
	return 0;
}

/* limit and cursor, into an empty filter whose bounds are read */
static int
read_page(const struct httpreq *req, struct task_filter *f, struct refusal *why)
{
	const char *cursor = httpreq_query(req, "cursor");
	struct uuid from_cursor;

	if (params_limit(req, LIMIT_DEFAULT, LIMIT_MAX, &f->limit, why) != 0)
		return -1;
	if (cursor == NULL)
		return 0;
	if (str_unhex(cursor, from_cursor.b, sizeof(from_cursor.b)) != 0)
		return params_bad_cursor(why);
	if (uuid_cmp(&from_cursor, &f->below) < 0)
		f->below = from_cursor;
	return 0;
}

static void
no_filter(struct task_filter *f)
{
	memset(f, 0, sizeof(*f));
	memset(&f->below, 0xff, sizeof(f->below));
	f->state = -1;
}

static int
read_filter(const struct httpreq *req, struct task_filter *f, struct refusal *why)
{
	const char *state = httpreq_query(req, "state");
	enum task_state wanted;

	no_filter(f);
	if (state != NULL) {
		if (task_state_parse(state, &wanted) != 0)
			return refuse(why, 400, "invalid_parameter",
			    "state: it must be scheduled, queued, running, "
			    "succeeded, failed, cancelled "
			    "or expired.");
		f->state = (int)wanted;
	}
	if (read_name(req, "queue", &f->queue, why) != 0 ||
	    read_name(req, "type", &f->type, why) != 0 ||
	    read_time(req, "since", &f->from, why) != 0 ||
	    read_time(req, "until", &f->below, why) != 0)
		return -1;
	return read_page(req, f, why);
}

static void
write_page(struct call *c, const struct pgrows *rows, const struct task_filter *f)
{
	char cursor[2 * sizeof(struct uuid) + 1];
	struct task_page page;
	struct task_row t;
	struct jsonw w;

	task_page_get(rows, f, &page);
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "tasks");
	jsonw_array(&w);
	for (int i = 0; i < page.count; i++) {
		task_list_row_get(rows, i, &t);
		task_json(&w, &t, false);
	}
	jsonw_end(&w);
	jsonw_key(&w, "next_cursor");
	if (page.more)
		str_hex(cursor, page.next.b, sizeof(page.next.b));
	jsonw_string(&w, page.more ? cursor : NULL);
	jsonw_end(&w);
}

static void
on_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else {
		write_page(c, rows, &c->filter);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_rows(struct call *c)
{
	reads_list_params(&c->api->params, c->app_id, &c->filter);
	return call_send(c, &reads_list, on_rows);
}

void
tasks_list(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {
	    "state", "queue", "type", "since", "until", "cursor", "limit", NULL};
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0 ||
	    read_filter(req, &c->filter, &why) != 0)
		call_refuse(c, &why);
	else
		call_ask(c, ask_rows);
}

/* ---------------------------------------------------------------- of a group */

static void
on_group_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe == NULL && pgrows_count(rows) == 1 && pgrows_is_null(rows, 0, 0)) {
		group_not_found(c);
		call_answered(api);
		return;
	}
	on_rows(rows, pe, arg);
}

static bool
ask_group_rows(struct call *c)
{
	struct pgparam *p = &c->api->params;
	reads_task_params(p, c->app_id, &c->id);
	pgparam_uuid(p, &c->filter.below);
	/* one more than shown tells whether there is more */
	pgparam_int4(p, c->filter.limit + 1);
	return call_send(c, &reads_group_tasks, on_group_rows);
}

void
groups_tasks(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct refusal why;

	if (c == NULL)
		return;
	no_filter(&c->filter);
	if (params_known(req, known, &why) != 0 ||
	    read_page(req, &c->filter, &why) != 0)
		call_refuse(c, &why);
	else if (uuid_parse(id, strlen(id), &c->id) != 0)
		group_not_found(c);
	else
		call_ask(c, ask_group_rows);
}
