/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * overview.c - the cluster at a glance; see overview.h.
 *
 * One statement of bounded cost, whose answer is kept for a second: who asks meanwhile
 * gets the same, so that many who watch cost what one does.  Without an answer of
 * PostgreSQL within two seconds there is nothing to show, and 503 says so.
 */
#include "portal/overview.h"

#include <sys/queue.h>

#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "face/problem.h"
#include "store/reads.h"
#include "store/store.h"

#define KEEP_MS	    1000
#define WAIT_MS	    2000
#define OUT_MAX	    (4u << 20)
#define ASKERS_MOST 256

struct asker {
	TAILQ_ENTRY(asker) link;
	struct httpreq *req;
};

struct overview {
	struct loop *loop;
	struct engine *engine;
	const struct settings *settings;
	TAILQ_HEAD(, asker) askers;
	size_t asker_count;
	bool asked;   /* the statement is under way */
	bool stopped; /* the engine goes */
	bool known;   /* out is a whole answer, of known_ms */
	int64_t known_ms, asked_ms;
	struct loop_timer *patience;
	struct strbuf out;
};

static void on_impatience(void *arg);

struct overview *
overview_create(
    struct loop *l, struct engine *e, const struct settings *s, struct err *err)
{
	struct overview *o = mem_zero(sizeof(*o));

	if (o == NULL ||
	    (o->patience = loop_timer_create(l, on_impatience, o)) == NULL) {
		mem_free(o);
		err_set(err, ERR_NOMEM, "overview");
		return NULL;
	}
	o->loop = l;
	o->engine = e;
	o->settings = s;
	TAILQ_INIT(&o->askers);
	strbuf_init(&o->out, OUT_MAX);
	return o;
}

static struct httpreq *
asker_take(struct overview *o)
{
	struct asker *a = TAILQ_FIRST(&o->askers);
	struct httpreq *req;

	if (a == NULL)
		return NULL;
	TAILQ_REMOVE(&o->askers, a, link);
	o->asker_count--;
	req = a->req;
	mem_free(a);
	return req;
}

void
overview_free(struct overview *o)
{
	struct httpreq *req;

	if (o == NULL)
		return;
	while ((req = asker_take(o)) != NULL)
		httpreq_drop(req);
	loop_timer_free(o->patience);
	strbuf_fini(&o->out);
	mem_free(o);
}

static void
reply(const struct overview *o, struct httpreq *req)
{
	httpreq_set_header(req, "Cache-Control", "no-store");
	if (o->known)
		httpreq_reply(req, 200, NULL, o->out.data, o->out.len);
	else
		problem_unavailable(
		    req, "unavailable", "The database is away. Try again soon.");
}

static void
reply_all(struct overview *o)
{
	struct httpreq *req;

	loop_timer_stop(o->patience);
	while ((req = asker_take(o)) != NULL)
		reply(o, req);
}

/* what was known before is too old by now */
static void
on_impatience(void *arg)
{
	struct overview *o = arg;

	o->known = false;
	reply_all(o);
}

void
overview_stop(struct overview *o)
{
	o->stopped = true;
	o->known = false;
	reply_all(o);
}

static void
put_part(struct jsonw *w, const char *name, const struct task_text *json)
{
	jsonw_key(w, name);
	if (json->at != NULL)
		jsonw_raw(w, json->at, json->len);
	else
		jsonw_null(w);
}

static void
on_overview(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct overview *o = arg;
	struct overview_row row;
	struct jsonw w;

	o->asked = false;
	o->known = false;
	if (o->stopped)
		return;
	if (pe != NULL && pe->class != PGERR_LOST)
		log_warn(NULL, "the cluster's overview cannot be read",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
	if (pe == NULL && pgrows_count(rows) > 0) {
		overview_row_get(rows, 0, &row);
		strbuf_reset(&o->out);
		jsonw_init(&w, &o->out);
		jsonw_object(&w);
		jsonw_member_string(&w, "cluster", o->settings->cluster_name);
		jsonw_member_time(&w, "at", row.now_us);
		jsonw_member_int(&w, "waiting", row.waiting);
		jsonw_member_bool(&w, "estimated", row.estimated);
		put_part(&w, "nodes", &row.nodes);
		put_part(&w, "queues", &row.queues);
		put_part(&w, "oldest", &row.oldest);
		put_part(&w, "slowest", &row.running);
		jsonw_end(&w);
		o->known = !strbuf_failed(&o->out);
		o->known_ms = o->asked_ms;
	}
	reply_all(o);
}

void
overview_reply(struct overview *o, struct httpreq *req)
{
	struct asker *a;

	if (o->stopped ||
	    (!o->asked && o->known && loop_now_ms(o->loop) - o->known_ms < KEEP_MS)) {
		reply(o, req);
		return;
	}
	a = o->asker_count < ASKERS_MOST ? mem_zero(sizeof(*a)) : NULL;
	if (a == NULL) {
		problem_unavailable(req, "overloaded",
		    "Too many requests wait already. Try again soon.");
		return;
	}
	a->req = req;
	TAILQ_INSERT_TAIL(&o->askers, a, link);
	o->asker_count++;
	if (!loop_timer_pending(o->patience))
		loop_timer_start_ms(o->patience, WAIT_MS);
	if (o->asked)
		return;
	o->asked_ms = loop_now_ms(o->loop);
	o->asked = store_exec(engine_store(o->engine), STORE_READ, &reads_overview,
		       NULL, on_overview, o, NULL) == 0;
	if (!o->asked) {
		o->known = false;
		reply_all(o);
	}
}
