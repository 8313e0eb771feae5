/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call.h - one request under way, from its parsing to its answer; internal to src/api.
 *
 * A call holds its httpreq, and so the request's body, until it answers.  It leaves by
 * call_reply_*, call_problem or call_drop, which give it back; ended calls are kept for
 * reuse, so that a submit allocates nothing.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <sys/queue.h>

#include "api/task_request.h"
#include "base/jsonw.h"
#include "base/strbuf.h"
#include "engine/engine.h"
#include "engine/names.h"
#include "engine/submit.h"
#include "engine/waiters.h"
#include "event/loop.h"
#include "face/record.h"
#include "http/httpd.h"
#include "model/scoreboard.h"
#include "model/settings.h"
#include "store/reads.h"
#include "store/store.h"

struct access;
struct each_call;
struct auth;
struct hmap;
struct call;
struct call_trace;
struct schedule_call;
struct follow;

TAILQ_HEAD(call_list, call);
TAILQ_HEAD(ask_line, call);

/* true: a question is under way, and its callback begins with call_answered; false: c
 * has gone on or ended */
typedef bool call_question(struct call *c);
/* from the loop: the task has ended, or the time is up, or the worker leaves: read the
 * row */
typedef void call_waited(struct call *c);

struct api {
	struct loop *loop;
	const struct settings *settings;
	struct engine *engine;
	struct submit *submit;
	struct names *names;
	struct waiters *waiters;
	struct store *store;
	struct scoreboard *board;
	int slot;
	struct record record; /* what is written of each request */
	struct auth *auth;
	struct access *access;
	struct http_route *routes;
	struct follow *follow;
	/* what the key of the request that is being begun may do: words; NULL: all */
	const char *scopes;
	bool leaving;		/* nobody waits for a task's end any more */
	bool stopped;		/* the engine is not to be asked any more */
	struct call_list calls; /* under way */
	struct call_list spare; /* ended, for reuse */
	size_t spare_count;
	struct ask_line asks; /* calls that want to ask PostgreSQL and may not yet */
	unsigned asking;      /* questions under way */
	bool pumping;
	struct strbuf out;     /* the answer being written */
	struct pgparam params; /* the question being written */
};

struct call {
	unsigned stamp;
	struct api *api;
	struct httpreq *req;
	TAILQ_ENTRY(call) link;
	int app_id;
	int64_t since_ms;
	int64_t wait_ms;       /* asked for; 0: do not wait */
	struct waiter *waiter; /* waiting for the task's end now */
	call_waited *waited;
	call_question *question; /* in the line of api->asks */
	TAILQ_ENTRY(call) ask_link;

	struct uuid id;		   /* the task, or operation, that was asked for */
	struct task_filter filter; /* a list; its texts belong to req */
	/* a page of a task's events: behind this place in its life */
	int64_t after_sort, after_seq;
	int after_rank;

	/* one task to submit */
	struct submit_group group;
	struct submit_item item;
	struct task_request task;

	struct schedule_call *schedule; /* of calls about schedules: owned */
	struct each_call *each;		/* tasks that are made one by one: owned */
	void *extra;			/* a handler's own; owned, by mem_free */
	size_t extra_size;		/* of it that is wiped first; 0: nothing */
	struct call_trace *traces;	/* of its tasks: owned */
	const struct call_trace *header_trace; /* one of them; NULL: none */
	bool headers_read;		       /* for that one */

	/* a batch: owned */
	struct submit_item *items;
	struct jspan tasks; /* in the request's body */
	size_t count;
};

/* NULL: answered with 503 already */
struct call *call_begin(struct api *api, struct httpreq *req, int app_id);
void call_drop(struct call *c);		     /* no answer: the client is gone */
void call_reply(struct call *c, int status); /* with api->out as the body */
void call_reply_no_store(struct call *c, int status); /* the same, for no cache */
/* c ends without an answer: the request is the caller's now */
struct httpreq *call_release(struct call *c) ATTR_CHECK;
/* size zeroed bytes in c->extra; NULL: answered with 503 */
void *call_extra(struct call *c, size_t size) ATTR_CHECK;
void call_refuse(struct call *c, const struct refusal *why);
void call_problem(struct call *c, const struct err *err, const char *detail);
void call_no_memory(struct call *c); /* 503 */
void call_read_failed(
    struct call *c, const struct pgerr *pe); /* a statement that changes nothing */
/* a statement that changes something: lost, nobody knows whether it did */
void call_change_failed(struct call *c, const struct pgerr *pe);
/* 409 with the state that the task is in, as a member of the problem document too */
void call_conflict(
    struct call *c, const char *code, enum task_state state, const char *detail);
/* 404: no such task, or group, of this application */
void task_not_found(struct call *c);
void group_not_found(struct call *c);
/* what the application's own type says where the task says nothing */
void call_type_defaults(const struct call *c, struct task_request *tr);
/* begins the body in api->out, emptied */
void call_body(struct call *c, struct jsonw *w);

/*
 * Asks when it is c's turn, which may be at once: only so many questions are under way
 * at a time, so that a rush of requests waits in line instead of being refused.
 */
void call_ask(struct call *c, call_question *question);
void call_answered(struct api *api);
/* For questions: sends stmt with what is in api->params.  True: cb comes; false: c was
 * answered with 503, which says detail */
bool call_send_or(struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb,
    const char *detail) ATTR_CHECK;
/* the same, and the 503 says what fits all */
bool call_send(
    struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb) ATTR_CHECK;
/* a request for what has the id in its path, without query parameters: fills c->id and
 * asks; missing answers where that is no id */
void call_ask_id(struct api *api, struct httpreq *req, int app_id,
    call_question *question, void (*missing)(struct call *c));

/* 0: waited comes, unless the client hangs up (c has ended then) */
int call_wait(struct call *c, const struct uuid *id, bool marked, call_waited *waited,
    struct err *err) ATTR_CHECK;
/* what is left of the time that the client would wait; 0 as well when the worker leaves
 */
int64_t call_wait_left_ms(const struct call *c);

/* the handlers, one file a resource */
typedef void api_handler(struct api *api, struct httpreq *req, int app_id);
api_handler tasks_post, tasks_post_batch, tasks_get, tasks_list;
api_handler schedules_list, schedules_get, schedules_put, schedules_delete,
    schedules_pause, schedules_resume, schedules_preview, schedules_preview_rule,
    schedules_fires;
api_handler groups_post, groups_get, groups_add, groups_close, groups_tasks;
api_handler tasks_events, tasks_log, events_stream;
api_handler tasks_why;
api_handler queues_get_list, queues_get, queues_put, queues_pause_post,
    queues_resume_post;
api_handler tasks_cancel, tasks_retry, tasks_delete, tasks_erase;
api_handler leases_post, leases_complete_batch, leases_extend_post, leases_complete,
    leases_fail, leases_release;
api_handler endpoints_get_list, endpoints_get_one, endpoints_put_one,
    endpoints_rotate_post, endpoints_delete_one;
api_handler types_get_list, types_get, types_put_one, types_delete_one;
api_handler webhooks_get_list, webhooks_get, webhooks_put_one, webhooks_delete_one,
    webhooks_resend_post, webhooks_test_post, webhooks_get_deliveries;
api_handler operations_post, operations_list, operations_get, operations_stop;

#endif
