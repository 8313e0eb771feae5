/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_batch.c - POST /v1/tasks/batch: up to 1,000 tasks, all or none.
 *
 * The elements are parsed into one array of submit items.  If names are new, they are
 * learned in one question and the elements are parsed once more: that is rare, and
 * cheaper than keeping a thousand parsed requests.
 */
#include <string.h>

#include "api/admit.h"
#include "api/call.h"
#include "api/call_trace.h"
#include "api/params.h"
#include "api/tasks_each.h"
#include "base/hmap.h"
#include "base/mem.h"

struct name_text {
	char text[NAME_MAX_BYTES + 1];
};

/* names that the cache does not know, each once */
struct missing {
	struct name_text *texts;      /* owned */
	const char **queues, **types; /* owned; point into texts */
	size_t text_count, queue_count, type_count;
	struct hmap *seen[2]; /* queues, types */
};

static void
missing_fini(struct missing *m)
{
	mem_free(m->texts);
	mem_free(m->queues);
	mem_free(m->types);
	hmap_free(m->seen[0]);
	hmap_free(m->seen[1]);
	memset(m, 0, sizeof(*m));
}

/* most: as many names as there can be of each kind */
static int
missing_init(struct missing *m, size_t most, struct err *err)
{
	memset(m, 0, sizeof(*m));
	m->texts = mem_array(2 * most, sizeof(*m->texts));
	m->queues = mem_array(most, sizeof(*m->queues));
	m->types = mem_array(most, sizeof(*m->types));
	m->seen[0] = hmap_create();
	m->seen[1] = hmap_create();
	if (m->texts != NULL && m->queues != NULL && m->types != NULL &&
	    m->seen[0] != NULL && m->seen[1] != NULL)
		return 0;
	missing_fini(m);
	return err_set(err, ERR_NOMEM, "names of a batch");
}

static int
missing_add(struct missing *m, int kind, const char *name, const char **list,
    size_t *count, struct err *err)
{
	struct name_text *t = &m->texts[m->text_count];
	size_t len = strlen(name);

	if (hmap_get(m->seen[kind], name, len) != NULL)
		return 0;
	memcpy(t->text, name, len + 1);
	if (hmap_put(m->seen[kind], t->text, len, t, NULL) != 0)
		return err_set(err, ERR_NOMEM, "names of a batch");
	m->text_count++;
	list[(*count)++] = t->text;
	return 0;
}

static void
fill_item(struct submit_item *it, const struct task_request *tr)
{
	memset(it, 0, sizeof(*it));
	it->priority = tr->priority;
	it->own_priority = tr->own_priority;
	it->max_attempts = tr->max_attempts;
	it->timeout_ms = tr->timeout_ms;
	it->run_at_us = tr->run_at_us;
	it->delay_ms = tr->delay_ms;
	it->payload = tr->payload;
	it->payload_len = tr->payload_len;
	it->metadata = tr->metadata;
	it->metadata_len = tr->metadata_len;
	it->trace = tr->trace;
	it->trace_len = tr->trace_len;
}

/* ---------------------------------------------------------------- one by one */

static void
reply_each(struct call *c)
{
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	tasks_each_json(c, &w);
	jsonw_end(&w);
	call_reply(c, 201);
}

static void
submit_each(struct call *c)
{
	struct task_request *trs = tasks_each_parse(c);

	if (trs != NULL)
		tasks_each(c, trs, c->count, NULL, reply_each);
}

/* any task that asks for more than the ordinary, or a key: all go that way */
static bool
is_special(struct call *c, const struct task_request *tr)
{
	return tr->special || tr->options.ref.at != NULL ||
	       httpreq_header(c->req, "Idempotency-Key") != NULL;
}

/* ---------------------------------------------------------------- in one statement */

/*
 * Fills c->items; names without a number go to m.  1: at least one task asks for what
 * the one statement does not do.  -1: c was answered.
 */
static int
parse_items(struct call *c, struct missing *m)
{
	struct api *api = c->api;
	const char *body = httpreq_body(c->req, NULL);
	int64_t now_us = engine_now_us(api->engine);
	struct err err = ERR_INIT;
	struct task_request tr;
	struct refusal why;
	struct jspan element;
	struct jwalk walk;

	jwalk_start(&walk, &c->tasks);
	for (size_t i = 0; i < c->count && jwalk_element(&walk, &element); i++) {
		struct submit_item *it = &c->items[i];

		if (task_batch_item(
			body, &element, i, api->settings, now_us, &tr, &why) != 0) {
			call_refuse(c, &why);
			return -1;
		}
		if (is_special(c, &tr))
			return 1;
		if (call_trace(c, &tr, &why) != 0) {
			call_refuse(c, &why);
			return -1;
		}
		call_type_defaults(c, &tr);
		fill_item(it, &tr);
		it->queue_id = names_queue_id(api->names, c->app_id, tr.queue);
		it->type_id = names_type_id(api->names, tr.type);
		if ((it->queue_id == 0 && missing_add(m, 0, tr.queue, m->queues,
					      &m->queue_count, &err) != 0) ||
		    (it->type_id == 0 && missing_add(m, 1, tr.type, m->types,
					     &m->type_count, &err) != 0)) {
			call_problem(c, &err, NULL);
			return -1;
		}
	}
	return 0;
}

static void
submitted(struct submit_group *g, const struct err *err, void *arg)
{
	struct call *c = arg;
	char id[UUID_TEXT_SIZE];
	struct jsonw w;

	(void)g;
	if (httpreq_is_gone(c->req)) {
		call_drop(c);
		return;
	}
	if (err != NULL) {
		call_problem(c, err, err->text);
		return;
	}
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "tasks");
	jsonw_array(&w);
	for (size_t i = 0; i < c->count; i++) {
		jsonw_object(&w);
		jsonw_key(&w, "id");
		jsonw_string(&w, uuid_format(&c->items[i].id, id));
		jsonw_key(&w, "state");
		jsonw_string(&w, task_state_name(c->items[i].scheduled ? TASK_SCHEDULED
								       : TASK_QUEUED));
		jsonw_end(&w);
	}
	jsonw_end(&w);
	jsonw_end(&w);
	call_reply(c, 201);
}

static void
submit(struct call *c)
{
	struct err err = ERR_INIT;

	if (admit_bounded(c->api, c->items, c->count)) {
		submit_each(c);
		return;
	}
	if (!admit(c, c->items, c->count))
		return;
	c->group.app_id = c->app_id;
	c->group.items = c->items;
	c->group.count = c->count;
	c->group.cb = submitted;
	c->group.arg = c;
	if (submit_add(c->api->submit, &c->group, &err) != 0)
		call_problem(
		    c, &err, "Tasks cannot be taken now; none of these was accepted.");
}

static void
on_names(const struct err *err, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct err full = ERR_INIT;
	struct refusal why;
	struct missing m;

	if (err != NULL && err->code == ERR_LIMIT) {
		(void)refuse(&why, 422, "too_many_names",
		    "No task was accepted: %.300s.", err->text);
		call_refuse(c, &why);
	} else if (err != NULL) {
		call_problem(c, err, "The database is away; no task was accepted.");
	} else if (httpreq_is_gone(c->req)) {
		call_drop(c);
	} else if (missing_init(&m, c->count, &full) != 0) {
		call_problem(c, &full, NULL);
	} else {
		/* what was ordinary at the first look is so still */
		if (parse_items(c, &m) == 0) {
			if (m.queue_count + m.type_count == 0) {
				submit(c);
			} else {
				(void)err_set(&full, ERR_LIMIT, "names");
				call_problem(c, &full,
				    "Too many names are in use; no task was accepted.");
			}
		}
		missing_fini(&m);
	}
	call_answered(api);
}

static bool
ask_names(struct call *c)
{
	struct err err = ERR_INIT;
	struct missing m;
	bool asked = false;
	int rc;

	if (missing_init(&m, c->count, &err) != 0) {
		call_problem(c, &err, NULL);
		return false;
	}
	rc = parse_items(c, &m);
	if (rc == 1) {
		submit_each(c);
	} else if (rc == 0) {
		if (m.queue_count + m.type_count == 0)
			submit(c);
		else if (names_learn(c->api->names, c->app_id, m.queues, m.queue_count,
			     m.types, m.type_count, on_names, c, &err) == 0)
			asked = true;
		else
			call_problem(
			    c, &err, "The database is away; no task was accepted.");
	}
	missing_fini(&m);
	return asked;
}

void
tasks_post_batch(struct api *api, struct httpreq *req, int app_id)
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	struct refusal why;
	const char *body;
	size_t len;

	if (c == NULL)
		return;
	body = httpreq_body(req, &len);
	if (params_post_headers(req, &why) != 0 ||
	    params_known(req, known, &why) != 0 ||
	    task_batch_parse(body, len, &c->tasks, &c->count, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	c->items = mem_array(c->count, sizeof(*c->items));
	if (c->items == NULL) {
		call_no_memory(c);
		return;
	}
	call_ask(c, ask_names);
}
