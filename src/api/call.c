/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call.c - the life of one request; see call.h.
 *
 * Every call is in api->calls until it ends, so that none is forgotten when the worker
 * leaves.  The number of calls is bounded by the number of connections; the number of
 * questions to PostgreSQL at a time is bounded here.
 */
#include "api/call.h"

#include <string.h>

#include "api/api.h"
#include "api/call_trace.h"
#include "api/follow.h"
#include "api/params.h"
#include "api/schedules.h"
#include "api/tasks_each.h"
#include "base/mem.h"
#include "engine/leases.h"
#include "engine/registry.h"
#include "face/problem.h"

#define CALL_STAMP 0x63616c6c
#define SPARE_MAX  256
#define ASKING_MAX 64

struct call *
call_begin(struct api *api, struct httpreq *req, int app_id)
{
	struct call *c = TAILQ_FIRST(&api->spare);

	if (c != NULL) {
		TAILQ_REMOVE(&api->spare, c, link);
		api->spare_count--;
		memset(c, 0, sizeof(*c));
	} else if ((c = mem_zero(sizeof(*c))) == NULL) {
		problem_unavailable(req, "overloaded",
		    "The server is out of memory; nothing was done.");
		return NULL;
	}
	c->stamp = CALL_STAMP;
	c->api = api;
	c->req = req;
	c->app_id = app_id;
	c->since_ms = loop_now_ms(api->loop);
	TAILQ_INSERT_TAIL(&api->calls, c, link);
	return c;
}

static void
call_end(struct call *c)
{
	struct api *api = c->api;

	TAILQ_REMOVE(&api->calls, c, link);
	mem_free(c->items);
	schedule_call_free(c->schedule);
	c->schedule = NULL;
	tasks_each_free(c->each);
	if (c->extra_size > 0)
		explicit_bzero(c->extra, c->extra_size);
	mem_free(c->extra);
	call_trace_free(c->traces);
	c->stamp = 0;
	if (api->spare_count >= SPARE_MAX) {
		mem_free(c);
		return;
	}
	TAILQ_INSERT_HEAD(&api->spare, c, link);
	api->spare_count++;
}

void
call_drop(struct call *c)
{
	struct httpreq *req = c->req;

	STAMP_CHECK(c, CALL_STAMP);
	call_end(c);
	httpreq_drop(req);
}

struct httpreq *
call_release(struct call *c)
{
	struct httpreq *req = c->req;

	STAMP_CHECK(c, CALL_STAMP);
	call_end(c);
	return req;
}

void
call_body(struct call *c, struct jsonw *w)
{
	strbuf_reset(&c->api->out);
	jsonw_init(w, &c->api->out);
}

void
call_reply(struct call *c, int status)
{
	struct strbuf *out = &c->api->out;
	struct httpreq *req = c->req;

	STAMP_CHECK(c, CALL_STAMP);
	call_end(c);
	if (strbuf_failed(out))
		problem_unavailable(
		    req, "overloaded", "The server is out of memory for this answer.");
	else
		httpreq_reply(req, status, NULL, out->data, out->len);
}

void
call_reply_no_store(struct call *c, int status)
{
	httpreq_set_header(c->req, "Cache-Control", "no-store");
	call_reply(c, status);
}

void
call_refuse(struct call *c, const struct refusal *why)
{
	struct httpreq *req = c->req;

	STAMP_CHECK(c, CALL_STAMP);
	call_end(c);
	httpreq_problem(req, why->status, why->code, "%s", why->detail);
}

void
call_problem(struct call *c, const struct err *err, const char *detail)
{
	struct httpreq *req = c->req;

	STAMP_CHECK(c, CALL_STAMP);
	call_end(c);
	problem_reply(req, err, detail);
}

void
call_no_memory(struct call *c)
{
	struct err err = {ERR_NOMEM, ""};

	call_problem(c, &err, NULL);
}

void *
call_extra(struct call *c, size_t size)
{
	void *extra = mem_zero(size);

	c->extra = extra;
	if (extra == NULL)
		call_no_memory(c);
	return extra;
}

void
call_read_failed(struct call *c, const struct pgerr *pe)
{
	bool ours = pe->class == PGERR_BUG || pe->class == PGERR_SCHEMA;
	struct err err = ERR_INIT;

	err_set(&err, ours ? ERR_BUG : ERR_IO, "%s %s", pe->sqlstate, pe->text);
	call_problem(c, &err, NULL);
}

void
call_change_failed(struct call *c, const struct pgerr *pe)
{
	struct err err = ERR_INIT;

	if (pe->class != PGERR_LOST) {
		call_read_failed(c, pe);
		return;
	}
	err_set(&err, ERR_TIMEOUT, "%s", pe->text);
	call_problem(c, &err, NULL);
}

void
call_conflict(
    struct call *c, const char *code, enum task_state state, const char *detail)
{
	struct strbuf *out = &c->api->out;
	struct httpreq *req = c->req;
	struct jsonw w;

	call_body(c, &w);
	jsonw_object(&w);
	jsonw_key(&w, "type");
	jsonw_string(&w, "about:blank");
	jsonw_key(&w, "title");
	jsonw_string(&w, "Conflict");
	jsonw_key(&w, "status");
	jsonw_int(&w, 409);
	jsonw_key(&w, "code");
	jsonw_string(&w, code);
	jsonw_key(&w, "detail");
	jsonw_string(&w, detail);
	jsonw_key(&w, "state");
	jsonw_string(&w, task_state_name(state));
	jsonw_end(&w);
	call_end(c);
	if (strbuf_failed(out))
		problem_unavailable(
		    req, "overloaded", "The server is out of memory for this answer.");
	else
		httpreq_reply(
		    req, 409, "application/problem+json", out->data, out->len);
}

void
call_type_defaults(const struct call *c, struct task_request *tr)
{
	int n = tr->own_attempts
		    ? 0
		    : registry_max_attempts(
			  engine_registry(c->api->engine), c->app_id, tr->type);

	if (n > 0)
		tr->max_attempts = (int16_t)n;
}

/* ---------------------------------------------------------------- questions */

static void
pump(struct api *api)
{
	struct call *c;

	if (api->pumping)
		return;
	api->pumping = true;
	while (api->asking < ASKING_MAX && (c = TAILQ_FIRST(&api->asks)) != NULL) {
		TAILQ_REMOVE(&api->asks, c, ask_link);
		if (api->stopped || httpreq_is_gone(c->req))
			call_drop(c);
		else {
			httpreq_phase(c->req, HTTP_STORE);
			api->asking += c->question(c);
		}
	}
	api->pumping = false;
}

void
call_ask(struct call *c, call_question *question)
{
	c->question = question;
	httpreq_phase(c->req, HTTP_LINE);
	TAILQ_INSERT_TAIL(&c->api->asks, c, ask_link);
	pump(c->api);
}

void
call_answered(struct api *api)
{
	api->asking--;
	pump(api);
}

bool
call_send_or(
    struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb, const char *detail)
{
	struct err err = ERR_INIT;

	if (store_exec(c->api->store, STORE_READ, stmt, &c->api->params, cb, c, &err) ==
	    0)
		return true;
	call_problem(c, &err, detail);
	return false;
}

bool
call_send(struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb)
{
	return call_send_or(c, stmt, cb, NULL);
}

void
call_ask_id(struct api *api, struct httpreq *req, int app_id, call_question *question,
    void (*missing)(struct call *c))
{
	static const char *const known[] = {NULL};
	struct call *c = call_begin(api, req, app_id);
	const char *id = httpreq_segment(req, 0);
	struct refusal why;

	if (c == NULL)
		return;
	if (params_known(req, known, &why) != 0)
		call_refuse(c, &why);
	else if (uuid_parse(id, strlen(id), &c->id) != 0)
		missing(c);
	else
		call_ask(c, question);
}

/* ---------------------------------------------------------------- waits */

int64_t
call_wait_left_ms(const struct call *c)
{
	int64_t left_ms = c->since_ms + c->wait_ms - loop_now_ms(c->api->loop);

	return c->wait_ms == 0 || c->api->leaving || left_ms < 0 ? 0 : left_ms;
}

static void
told(bool ended, void *arg)
{
	struct call *c = arg;

	(void)ended; /* the row knows better */
	STAMP_CHECK(c, CALL_STAMP);
	c->waiter = NULL;
	httpreq_phase(c->req, HTTP_WORK);
	httpreq_on_gone(c->req, NULL, NULL);
	c->waited(c);
}

static void
gone(struct httpreq *req, void *arg)
{
	struct call *c = arg;

	(void)req;
	STAMP_CHECK(c, CALL_STAMP);
	waiters_cancel(c->waiter);
	c->waiter = NULL;
	call_drop(c);
}

int
call_wait(struct call *c, const struct uuid *id, bool marked, call_waited *waited,
    struct err *err)
{
	c->waiter = waiters_add(
	    c->api->waiters, c->app_id, id, call_wait_left_ms(c), marked, told, c, err);
	if (c->waiter == NULL)
		return -1;
	c->waited = waited;
	httpreq_phase(c->req, HTTP_WAIT);
	httpreq_on_gone(c->req, gone, c);
	return 0;
}

void
api_end_waits(struct api *api)
{
	struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
	struct call *c;

	api->leaving = true;
	follow_end_all(api->follow);
	leases_end_all(engine_leases(api->engine));
	/* ending one changes the list; each is looked at once */
	TAILQ_CONCAT(&calls, &api->calls, link);
	while ((c = TAILQ_FIRST(&calls)) != NULL) {
		TAILQ_REMOVE(&calls, c, link);
		TAILQ_INSERT_TAIL(&api->calls, c, link);
		if (c->waiter != NULL) {
			waiters_cancel(c->waiter);
			told(false, c);
		}
	}
}

void
api_stop(struct api *api)
{
	api_end_waits(api);
	api->stopped = true;
	pump(api);
}
