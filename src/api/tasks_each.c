/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_each.c - see tasks_each.h.
 *
 * Names that the cache knows go as numbers; others are looked up, and made, by the
 * statement itself, so that this way has no question before it.
 */
#include "api/tasks_each.h"

#include "api/admit.h"
#include "api/call_trace.h"
#include "api/task_spec.h"
#include "base/mem.h"

#define SPECS_MAX (64u << 20) /* 1,000 tasks of a body of 8 MiB with what is added */

void
tasks_each_free(struct each_call *e)
{
	if (e == NULL)
		return;
	graph_fini(&e->graph);
	strbuf_fini(&e->specs);
	mem_free(e->items);
	mem_free(e->bounded);
	mem_free(e->trs);
	mem_free(e->group);
	mem_free(e);
}

const struct each_item *
tasks_each_item(const struct call *c, size_t i)
{
	return &c->each->items[c->each->graph.place[i]];
}

const char *
each_outcome_name(enum each_outcome outcome)
{
	static const char *const names[] = {NULL, "existing", "replaced", "postponed"};

	return (unsigned)outcome < COUNT_OF(names) ? names[outcome] : NULL;
}

struct task_request *
tasks_each_parse(struct call *c)
{
	struct task_request *trs = mem_array(c->count, sizeof(*trs));
	const char *body = httpreq_body(c->req, NULL);
	int64_t now_us = engine_now_us(c->api->engine);
	struct refusal why;
	struct jspan element;
	struct jwalk walk;

	if (trs == NULL) {
		call_no_memory(c);
		return NULL;
	}
	jwalk_start(&walk, &c->tasks);
	for (size_t i = 0; i < c->count && jwalk_element(&walk, &element); i++) {
		if (task_batch_item(body, &element, i, c->api->settings, now_us,
			&trs[i], &why) != 0 ||
		    call_trace(c, &trs[i], &why) != 0) {
			mem_free(trs);
			call_refuse(c, &why);
			return NULL;
		}
		call_type_defaults(c, &trs[i]);
	}
	return trs;
}

/* ---------------------------------------------------------------- the answer */

void
tasks_each_json(const struct call *c, struct jsonw *w)
{
	char id[UUID_TEXT_SIZE];

	jsonw_key(w, "tasks");
	jsonw_array(w);
	for (size_t i = 0; i < c->each->count; i++) {
		const struct each_item *it = tasks_each_item(c, i);

		jsonw_object(w);
		jsonw_key(w, "id");
		jsonw_string(w, uuid_format(&it->id, id));
		jsonw_key(w, "state");
		jsonw_string(w, task_state_name(it->state));
		if (it->outcome != EACH_MADE) {
			jsonw_key(w, "unique");
			jsonw_string(w, each_outcome_name(it->outcome));
		}
		jsonw_end(w);
	}
	jsonw_end(w);
}

static const struct {
	int status;
	const char *code;
} refusals[] = {
    [EACH_UNIQUE_TAKEN] = {409, "unique_key_taken"},
    [EACH_NO_PARENT] = {422, "unknown_parent"},
    [EACH_OTHER_REQUEST] = {422, "idempotency_key_reused"},
    [EACH_GROUP_CLOSED] = {409, "group_closed"},
    [EACH_TOO_MANY_NAMES] = {422, "too_many_names"},
    [EACH_BAD_DATA] = {400, "invalid_request"},
};

static void
done(struct each_request *r, const struct err *err, void *arg)
{
	struct call *c = arg;
	struct refusal why;

	if (httpreq_is_gone(c->req)) {
		call_drop(c);
	} else if (err != NULL && r->refusal == EACH_QUEUE_FULL) {
		admit_refuse_full(c);
	} else if (err != NULL && r->refusal != EACH_ACCEPTED) {
		(void)refuse(&why, refusals[r->refusal].status,
		    refusals[r->refusal].code, "Nothing was accepted: %.300s.",
		    err->text);
		call_refuse(c, &why);
	} else if (err != NULL) {
		call_problem(c, err, err->text);
	} else {
		if (r->replayed)
			httpreq_set_header(c->req, "Idempotent-Replayed", "true");
		c->each->reply(c);
	}
}

/* ---------------------------------------------------------------- the question */

static void
write_item(struct call *c, size_t k)
{
	struct each_call *e = c->each;
	size_t i = e->graph.order[k], first = e->graph.first[i];
	struct task_spec ts = {
	    .tr = &e->trs[i],
	    .id = &c->items[i].id,
	    .queue_id = c->items[i].queue_id,
	    .type_id = c->items[i].type_id,
	    .group = e->group != NULL ? &e->group->id : NULL,
	    .parents = &e->graph.parents[first],
	    .parent_count = e->graph.first[i + 1] - first,
	};
	size_t start = e->specs.len;

	task_spec_write(&e->specs, &ts);
	e->items[k].spec_len = e->specs.len - start;
}

static void
write_callback(
    struct call *c, struct jsonw *w, const char *key, const struct task_request *tr)
{
	struct task_spec ts = {.tr = tr};

	(void)c;
	if (tr->type[0] == '\0')
		return;
	jsonw_key(w, key);
	/* the writer sees one value: it is written by another one in its place */
	jsonw_raw(w, "", 0);
	task_spec_write(w->out, &ts);
}

static void
write_group(struct call *c)
{
	struct each_call *e = c->each;
	const struct group_request *g = e->group;
	char id[UUID_TEXT_SIZE];
	struct jsonw w;

	jsonw_init(&w, &e->specs);
	jsonw_object(&w);
	jsonw_key(&w, "id");
	jsonw_string(&w, uuid_format(&g->id, id));
	jsonw_key(&w, "add");
	jsonw_bool(&w, g->add);
	if (g->open >= 0) {
		jsonw_key(&w, "open");
		jsonw_bool(&w, g->open == 1);
	}
	if (g->metadata.at != NULL) {
		jsonw_key(&w, "metadata");
		jsonw_raw(&w, g->metadata.at, g->metadata.len);
	}
	write_callback(c, &w, "on_completion", &g->on_completion);
	write_callback(c, &w, "on_success", &g->on_success);
	write_callback(c, &w, "on_failure", &g->on_failure);
	jsonw_end(&w);
}

static int
write_all(struct call *c, struct refusal *why)
{
	struct each_call *e = c->each;
	const char *at;
	size_t group;

	for (size_t k = 0; k < e->count; k++)
		write_item(c, k);
	group = e->specs.len;
	if (e->group != NULL)
		write_group(c);
	if (strbuf_failed(&e->specs))
		return refuse(why, 503, "overloaded",
		    "The server is out of memory; nothing was done.");
	/* the buffer does not move any more */
	at = e->specs.data;
	for (size_t k = 0; k < e->count; k++) {
		e->items[k].spec = at;
		at += e->items[k].spec_len;
	}
	if (e->group != NULL) {
		e->request.group = at;
		e->request.group_len = e->specs.len - group;
	}
	return 0;
}

/* what is set for the queues is judged as for ordinary tasks; a queue that this worker
 * does not know has nothing set that it knows of */
static int
fill_items(struct call *c, struct refusal *why)
{
	struct each_call *e = c->each;
	int64_t now_ms = engine_now_us(c->api->engine) / 1000;

	c->items = mem_array(e->count + 1, sizeof(*c->items));
	e->items = mem_array(e->count + 1, sizeof(*e->items));
	if (c->items == NULL || e->items == NULL)
		return refuse(why, 503, "overloaded",
		    "The server is out of memory; nothing was done.");
	for (size_t i = 0; i < e->count; i++) {
		struct submit_item *it = &c->items[i];

		uuid_v7(now_ms, &it->id);
		it->queue_id =
		    names_queue_id(c->api->names, c->app_id, e->trs[i].queue);
		it->type_id = names_type_id(c->api->names, e->trs[i].type);
		it->priority = e->trs[i].priority;
		it->own_priority = e->trs[i].own_priority;
	}
	return 0;
}

static int
prepare(struct call *c, struct refusal *why)
{
	struct each_call *e = c->each;
	struct uuid *ids;
	int rc;

	if (fill_items(c, why) != 0 ||
	    idempotency_key(c->req, &e->request.key, why) != 0)
		return -1;
	ids = mem_array(e->count + 1, sizeof(*ids));
	if (ids == NULL)
		return refuse(why, 503, "overloaded",
		    "The server is out of memory; nothing was done.");
	for (size_t i = 0; i < e->count; i++)
		ids[i] = c->items[i].id;
	rc = graph_build(&e->graph, e->trs, ids, e->count, why);
	mem_free(ids);
	if (rc != 0 || e->request.key == NULL)
		return rc;
	if (!idempotency_print(c->req, e->print))
		return refuse(why, 503, "overloaded",
		    "The server is out of memory; nothing was done.");
	e->request.print = e->print;
	return 0;
}

/* -1: without memory */
static int
list_bounded(struct call *c)
{
	struct each_call *e = c->each;

	if (!admit_bounded(c->api, c->items, e->count))
		return 0;
	e->bounded = mem_array(e->count, sizeof(*e->bounded));
	if (e->bounded == NULL)
		return -1;
	for (size_t i = 0; i < e->count; i++) {
		if (admit_bounded(c->api, &c->items[i], 1))
			e->bounded[e->request.bounded_count++] = c->items[i].queue_id;
	}
	e->request.bounded = e->bounded;
	return 0;
}

static void
submit(struct call *c)
{
	struct each_call *e = c->each;
	struct err err = ERR_INIT;
	struct refusal why;

	if (!admit(c, c->items, e->count))
		return;
	if (list_bounded(c) != 0) {
		call_no_memory(c);
		return;
	}
	if (write_all(c, &why) != 0) {
		call_refuse(c, &why);
		return;
	}
	e->request.app_id = c->app_id;
	e->request.items = e->items;
	e->request.count = e->count;
	e->request.cb = done;
	e->request.arg = c;
	if (each_add(engine_each(c->api->engine), &e->request, &err) != 0)
		call_problem(
		    c, &err, "Tasks cannot be taken now; none of these was accepted.");
}

void
tasks_each(struct call *c, struct task_request *trs, size_t count,
    struct group_request *group, void (*reply)(struct call *c))
{
	struct each_call *e = mem_zero(sizeof(*e));
	struct refusal why;

	if (e == NULL || trs == NULL) {
		mem_free(e);
		mem_free(trs);
		mem_free(group);
		call_no_memory(c);
		return;
	}
	mem_free(c->items); /* of a batch that turned out to be none of the ordinary */
	c->items = NULL;
	c->each = e;
	strbuf_init(&e->specs, SPECS_MAX);
	e->trs = trs;
	e->count = count;
	e->group = group;
	e->reply = reply;
	if (prepare(c, &why) != 0)
		call_refuse(c, &why);
	else
		submit(c);
}
