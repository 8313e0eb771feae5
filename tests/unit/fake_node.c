/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_node.c - see fake_node.h.
 */
#include "fake_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "engine/each.h"
#include "engine/endpoints.h"
#include "engine/engine.h"
#include "engine/leases.h"
#include "engine/names.h"
#include "engine/registry.h"
#include "store/store.h"

struct fake_node fake;

void
fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
}

/* ---------------------------------------------------------------- http */

void
httpd_opts_default(struct httpd_opts *opts)
{
	memset(opts, 0, sizeof(*opts));
}

void
fake_request(const struct httpd_opts *opts, struct httpreq *req)
{
	for (const struct http_route *r = opts->routes; r->path != NULL; r++) {
		if (r->method != req->method || strcmp(r->path, req->path) != 0)
			continue;
		req->needs = r->needs;
		r->handler(req, opts->arg);
		return;
	}
	fail_msg("no route %s", req->path);
}

void
fake_hang_up(struct httpreq *req)
{
	httpreq_cb *cb = req->gone_cb;

	req->is_gone = true;
	req->gone_cb = NULL;
	if (cb != NULL)
		cb(req, req->gone_arg);
}

void
fake_request_fini(struct httpreq *req)
{
	free(req->answer);
	req->answer = NULL;
}

static void
end(struct httpreq *req)
{
	assert_false(req->ended); /* exactly once */
	req->ended = true;
}

enum http_method
httpreq_method(const struct httpreq *req)
{
	return req->method;
}

const char *
httpreq_path(const struct httpreq *req)
{
	return req->path;
}

unsigned
httpreq_needs(const struct httpreq *req)
{
	return req->needs;
}

const char *
httpreq_segment(const struct httpreq *req, unsigned n)
{
	return n == 0 ? req->segment : NULL;
}

const char *
httpreq_query(const struct httpreq *req, const char *name)
{
	for (size_t i = 0; req->query[i][0] != NULL; i++) {
		if (strcmp(req->query[i][0], name) == 0)
			return req->query[i][1];
	}
	return NULL;
}

bool
httpreq_query_next(
    const struct httpreq *req, size_t *cursor, const char **name, const char **value)
{
	if (req->query[*cursor][0] == NULL)
		return false;
	*name = req->query[*cursor][0];
	*value = req->query[*cursor][1];
	(*cursor)++;
	return true;
}

const char *
httpreq_header(const struct httpreq *req, const char *name)
{
	for (size_t i = 0; req->headers[i][0] != NULL; i++) {
		if (str_ieq(req->headers[i][0], name))
			return req->headers[i][1];
	}
	return NULL;
}

const char *
httpreq_body(struct httpreq *req, size_t *len)
{
	assert_false(req->ended);
	if (len != NULL)
		*len = req->body != NULL ? strlen(req->body) : 0;
	return req->body;
}

const char *
httpreq_peer(const struct httpreq *req)
{
	(void)req;
	return "127.0.0.1";
}

const char *
httpreq_name(struct httpreq *req)
{
	(void)req;
	return "request-1";
}

void *
httpreq_notes(struct httpreq *req)
{
	return req->notes;
}

void
httpreq_phase(struct httpreq *req, enum http_phase phase)
{
	(void)req;
	(void)phase;
}

void
httpreq_phase_since(struct httpreq *req, enum http_phase phase, int64_t mono_us)
{
	(void)req;
	(void)phase;
	(void)mono_us;
}

const char *
httpreq_target(const struct httpreq *req)
{
	return req->path;
}

const char *
httpreq_route(const struct httpreq *req)
{
	return req->path;
}

const char *
httpreq_method_name(const struct httpreq *req)
{
	(void)req;
	return "POST";
}

void
httpreq_on_gone(struct httpreq *req, httpreq_cb *cb, void *arg)
{
	req->gone_cb = cb;
	req->gone_arg = arg;
}

bool
httpreq_is_gone(const struct httpreq *req)
{
	return req->is_gone;
}

bool
httpreq_look_gone(const struct httpreq *req)
{
	return req->is_gone;
}

void
httpreq_set_header(struct httpreq *req, const char *name, const char *value)
{
	size_t at = strlen(req->reply_headers);

	assert_false(req->ended);
	snprintf(req->reply_headers + at, sizeof(req->reply_headers) - at, "%s: %s\n",
	    name, value);
}

void
httpreq_reply(
    struct httpreq *req, int status, const char *type, const void *body, size_t len)
{
	(void)type;
	end(req);
	req->status = status;
	req->answer = malloc(len + 1);
	assert_non_null(req->answer);
	memcpy(req->answer, body, len);
	req->answer[len] = '\0';
}

void
httpreq_problem(struct httpreq *req, int status, const char *code, const char *fmt, ...)
{
	char text[1000];
	va_list ap;
	int n = snprintf(text, sizeof(text), "%s ", code);

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	httpreq_reply(req, status, NULL, text, strlen(text));
}

void
httpreq_drop(struct httpreq *req)
{
	end(req);
	req->dropped = true;
}

bool
httpreq_stream_begin(struct httpreq *req, int status, const char *type)
{
	(void)type;
	assert_false(req->ended || req->streaming);
	if (req->is_gone)
		return false;
	req->streaming = true;
	req->status = status;
	req->answer = calloc(1, 1);
	assert_non_null(req->answer);
	return true;
}

void
httpreq_stream_send(struct httpreq *req, const void *bytes, size_t len)
{
	size_t had = strlen(req->answer);

	assert_true(req->streaming && !req->ended);
	req->answer = realloc(req->answer, had + len + 1);
	assert_non_null(req->answer);
	memcpy(req->answer + had, bytes, len);
	req->answer[had + len] = '\0';
}

size_t
httpreq_stream_unsent(const struct httpreq *req)
{
	return req->unsent;
}

void
httpreq_stream_end(struct httpreq *req)
{
	assert_true(req->streaming);
	end(req);
}

/* ---------------------------------------------------------------- engine */

struct submit *
engine_submit(struct engine *e)
{
	return (struct submit *)(void *)e;
}

struct each *
engine_each(struct engine *e)
{
	(void)e;
	return NULL;
}

int
each_add(struct each *s, struct each_request *r, struct err *err)
{
	(void)s;
	fake.each = r;
	if (!fake.each_taken)
		return err_set(err, ERR_IO, "no requests one by one here");
	return 0;
}

struct names *
engine_names(struct engine *e)
{
	return (struct names *)(void *)e;
}

struct waiters *
engine_waiters(struct engine *e)
{
	return (struct waiters *)(void *)e;
}

struct registry *
engine_registry(struct engine *e)
{
	return (struct registry *)(void *)e;
}

int
registry_max_attempts(const struct registry *r, int app_id, const char *type)
{
	(void)r;
	(void)app_id;
	(void)type;
	return 0;
}

struct leases *
engine_leases(struct engine *e)
{
	return (struct leases *)(void *)e;
}

struct lease_wait *
leases_wait(struct leases *ls, const struct lease_request *lr, lease_cb *cb, void *arg,
    struct err *err)
{
	if (fake.lease_full) {
		err_set(err, ERR_LIMIT, "full");
		return NULL;
	}
	fake.leasing = *lr;
	fake.lease_cb = cb;
	fake.lease_arg = arg;
	return (struct lease_wait *)(void *)ls;
}

void
leases_cancel(struct lease_wait *w)
{
	(void)w;
	fake.lease_cb = NULL;
}

void
leases_end_all(struct leases *ls)
{
	(void)ls;
}

void
engine_back_in_line(struct engine *e, int app_id, int queue_id)
{
	(void)e;
	(void)app_id;
	fake.lease_hinted = queue_id;
}

void
engine_due_outside(struct engine *e, int app_id)
{
	(void)e;
	(void)app_id;
}

struct endpoints *
engine_endpoints(struct engine *e)
{
	return (struct endpoints *)(void *)e;
}

/* a node without a key file */
const struct sealkeys *
endpoints_keys(const struct endpoints *es)
{
	(void)es;
	return NULL;
}

void
endpoints_changed(struct endpoints *es, int app_id, const char *name)
{
	(void)es;
	(void)app_id;
	(void)name;
}

char *
endpoint_context(int app_id, const char *name, char buf[ENDPOINT_CONTEXT_SIZE])
{
	snprintf(buf, ENDPOINT_CONTEXT_SIZE, "%d/%s", app_id, name);
	return buf;
}

void
engine_types_changed(struct engine *e)
{
	(void)e;
}

struct store *
engine_store(struct engine *e)
{
	return (struct store *)(void *)e;
}

void
engine_schedules_changed(struct engine *e)
{
	(void)e;
}

int64_t
engine_now_us(struct engine *e)
{
	(void)e;
	return 1800000000000000;
}

void
engine_hint(struct engine *e)
{
	(void)e;
	fake.hints++;
}

void
engine_again(struct engine *e, const struct uuid *id)
{
	(void)e;
	fake.again = *id;
}

void
engine_cancel(
    struct engine *e, const struct uuid *owner, int app_id, const struct uuid *id)
{
	(void)e;
	(void)owner;
	(void)app_id;
	(void)id;
	fake.cancels++;
}

void
engine_operate(struct engine *e)
{
	(void)e;
	fake.operates++;
}

void
waiters_tell(
    struct waiters *ws, const struct uuid *waiter, int app_id, const struct uuid *id)
{
	(void)ws;
	(void)app_id;
	(void)id;
	(void)waiter;
	fake.tells++;
}

void
submit_measure(struct submit *s)
{
	(void)s;
}

int
submit_add(struct submit *s, struct submit_group *g, struct err *err)
{
	(void)s;
	if (fake.submit_refuses)
		return err_set(err, ERR_IO, "the database is away");
	for (size_t i = 0; i < g->count; i++)
		uuid_v7(1800000000000, &g->items[i].id);
	fake.submits[fake.submit_count++] = g;
	return 0;
}

void
fake_committed(const struct err *err)
{
	struct submit_group *g = fake.submits[0];

	assert_true(fake.submit_count > 0);
	memmove(fake.submits, fake.submits + 1,
	    --fake.submit_count * sizeof(fake.submits[0]));
	for (size_t i = 0; i < g->count; i++)
		g->items[i].due_us = 1800000000000000;
	g->cb(g, err, g->arg);
}

int
names_queue_id(struct names *n, int app, const char *queue)
{
	(void)n;
	(void)app;
	(void)queue;
	return fake.names_known ? 7 : 0;
}

bool
names_have_policies(const struct names *n)
{
	(void)n;
	return fake.policy != NULL;
}

const struct queue_policy *
names_policy(const struct names *n, int queue_id)
{
	(void)n;
	(void)queue_id;
	return fake.policy;
}

void
engine_queue_changed(struct engine *e, int queue_id)
{
	(void)e;
	fake.queue_changed = queue_id;
}

int
names_type_id(const struct names *n, const char *type)
{
	(void)n;
	(void)type;
	return fake.names_known ? 8 : 0;
}

int
names_learn(struct names *n, int app, const char *const queues[], size_t queue_count,
    const char *const types[], size_t type_count, names_cb *cb, void *arg,
    struct err *err)
{
	(void)n;
	(void)app;
	(void)queues;
	(void)types;
	if (fake.database_away)
		return err_set(err, ERR_CLOSED, "away");
	assert_null(fake.names_cb);
	fake.names_asked = queue_count + type_count;
	fake.names_cb = cb;
	fake.names_arg = arg;
	return 0;
}

void
fake_names_learned(const struct err *err)
{
	names_cb *cb = fake.names_cb;

	assert_non_null(cb);
	fake.names_cb = NULL;
	fake.names_known = err == NULL;
	cb(err, fake.names_arg);
}

struct waiter *
waiters_add(struct waiters *ws, int app_id, const struct uuid *id, int64_t timeout_ms,
    bool marked, waiter_cb *cb, void *arg, struct err *err)
{
	struct waiter *w = &fake.waiters[fake.waiter_count++];

	(void)ws;
	(void)app_id;
	(void)marked;
	(void)err;
	assert_true(timeout_ms > 0);
	*w = (struct waiter){true, *id, cb, arg};
	return w;
}

void
waiters_cancel(struct waiter *w)
{
	if (w == NULL)
		return;
	assert_true(w->open);
	w->open = false;
}

/* ---------------------------------------------------------------- store */

int
store_exec(struct store *st, enum store_lane lane, const struct pgstmt *stmt,
    const struct pgparam *p, pgconn_done_cb *cb, void *arg, struct err *err)
{
	struct fake_question *q;

	(void)st;
	assert_int_equal(lane, STORE_READ);
	if (fake.database_away)
		return err_set(err, ERR_CLOSED, "no connection is up");
	assert_true(fake.question_count < FAKE_MAX);
	q = &fake.questions[fake.question_count++];
	*q = (struct fake_question){stmt, cb, arg, {0}};
	for (int i = 0; p != NULL && i < p->count && i < 4; i++) {
		for (int b = 0; b < p->lens[i] && p->lens[i] <= 8; b++)
			q->numbers[i] =
			    q->numbers[i] << 8 |
			    (uint8_t)p->block.data[p->offsets[i] + (size_t)b];
	}
	fake.asked++;
	return 0;
}

void
fake_answer(PGresult *res)
{
	struct pgerr lost = {.class = PGERR_LOST, .text = "the connection was lost"};
	struct fake_question q = fake.questions[0];

	assert_true(fake.question_count > 0);
	memmove(fake.questions, fake.questions + 1,
	    --fake.question_count * sizeof(fake.questions[0]));
	q.cb((const struct pgrows *)(void *)res, res == NULL ? &lost : NULL, q.arg);
	PQclear(res);
}

PGresult *
fake_rows(int columns)
{
	PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc attrs[32];
	static char name[] = "c";

	memset(attrs, 0, sizeof(attrs));
	for (int i = 0; i < columns; i++) {
		attrs[i].name = name;
		attrs[i].format = 1;
	}
	assert_true(PQsetResultAttrs(res, columns, attrs));
	return res;
}

void
fake_text(PGresult *res, int row, int col, const void *bytes, int len)
{
	char copy[256];

	assert_true(len <= (int)sizeof(copy));
	if (bytes != NULL)
		memcpy(copy, bytes, (size_t)len);
	assert_true(PQsetvalue(
	    res, row, col, bytes != NULL ? copy : NULL, bytes != NULL ? len : -1));
}

void
fake_int(PGresult *res, int row, int col, int width, long long n)
{
	char bytes[8];

	for (int i = width - 1; i >= 0; i--, n >>= 8)
		bytes[i] = (char)(n & 0xff);
	fake_text(res, row, col, bytes, width);
}
