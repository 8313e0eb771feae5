/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_events.c - GET /v1/tasks/{id}/events: the life of one task, a page at a time.
 *
 * What ordinary lives have in common is read from the task's row; the rest are rows of
 * its own.  The cursor is the place in that order: time, then what is first at one
 * time.
 */
#include <string.h>

#include "api/call.h"
#include "api/event_json.h"
#include "api/params.h"
#include "base/str.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000
#define CURSOR_BYTES  17 /* time, rank, number */

static void
put_number(uint8_t *to, size_t len, uint64_t n)
{
	while (len-- > 0) {
		to[len] = (uint8_t)n;
		n >>= 8;
	}
}

static uint64_t
get_number(const uint8_t *from, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n = n << 8 | from[i];
	return n;
}

static int
read_page(const struct httpreq *req, struct call *c, struct refusal *why)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	const char *cursor = httpreq_query(req, "cursor");
	uint8_t bytes[CURSOR_BYTES];

	if (params_known(req, known, why) != 0)
		return -1;
	if (params_limit(req, LIMIT_DEFAULT, LIMIT_MAX, &c->filter.limit, why) != 0)
		return -1;
	c->after_sort = c->after_seq = 0;
	c->after_rank = 0;
	if (cursor == NULL)
		return 0;
	if (str_unhex(cursor, bytes, sizeof(bytes)) != 0 || bytes[0] > 0x7f ||
	    bytes[9] > 0x7f)
		return params_bad_cursor(why);
	c->after_sort = (int64_t)get_number(bytes, 8);
	c->after_rank = bytes[8];
	c->after_seq = (int64_t)get_number(bytes + 9, 8);
	return 0;
}

static void
write_page(struct call *c, const struct pgrows *rows)
{
	char cursor[2 * CURSOR_BYTES + 1];
	uint8_t bytes[CURSOR_BYTES];
	int count = pgrows_count(rows) - 1; /* the first tells of no event */
	bool more = count > c->filter.limit;
	struct event_row e = {0};
	struct jsonw w;

	if (more)
		count = c->filter.limit;
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "events");
	jsonw_array(&w);
	for (int i = 1; i <= count; i++) {
		events_of_task_get(rows, i, &c->id, &e);
		event_json(&w, &e, false);
	}
	jsonw_end(&w);
	put_number(bytes, 8, (uint64_t)e.sort);
	bytes[8] = (uint8_t)e.rank;
	put_number(bytes + 9, 8, (uint64_t)e.place.seq);
	str_hex(cursor, bytes, sizeof(bytes));
	jsonw_key(&w, "next_cursor");
	jsonw_string(&w, more ? cursor : NULL);
	jsonw_end(&w);
}

static void
on_rows(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		task_not_found(c);
	} else {
		write_page(c, rows);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_rows(struct call *c)
{
	/* one more than is shown tells whether there is more */
	events_of_task_params(&c->api->params, c->app_id, &c->id, c->after_sort,
	    c->after_rank, c->after_seq, c->filter.limit + 1);
	return call_send(c, &events_of_task, on_rows);
}

void
tasks_events(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct refusal why;

	if (c == NULL)
		return;
	if (read_page(req, c, &why) != 0)
		call_refuse(c, &why);
	else if (uuid_parse(id, strlen(id), &c->id) != 0)
		task_not_found(c);
	else
		call_ask(c, ask_rows);
}
