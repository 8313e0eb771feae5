/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.c - the nodes of the cluster, seen and ordered about; see nodes.h.
 *
 * Any node answers for all, from what their beats told PostgreSQL.  An order is
 * committed there and obeyed by the node that it names, whoever took it: with a message
 * through Redis at once, without one at its next beat.
 *
 * What a node's state is called is decided here: it drains until none of its workers
 * takes tasks any more and none is left that does.
 */
#include "portal/nodes.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "face/problem.h"
#include "model/task.h"
#include "store/nodes.h"
#include "store/store.h"

#define OUT_MAX	   (8u << 20)
#define ASKERS_MAX 256

/* a request that waits for PostgreSQL */
struct asker {
	TAILQ_ENTRY(asker) link;
	struct nodes *nodes;
	struct httpreq *req;	   /* NULL: the process ends, nobody is answered */
	char node[NODE_TEXT_SIZE]; /* that is ordered; "": all are listed */
	enum node_mode mode;
	char reason[NODE_REASON_MAX + 1];
};

struct nodes {
	struct engine *engine;
	TAILQ_HEAD(, asker) askers;
	size_t count;
};

struct nodes *
nodes_create(struct engine *e, struct err *err)
{
	struct nodes *ns = mem_zero(sizeof(*ns));

	if (ns == NULL) {
		err_set(err, ERR_NOMEM, "nodes");
		return NULL;
	}
	ns->engine = e;
	TAILQ_INIT(&ns->askers);
	return ns;
}

static void
asker_free(struct asker *a)
{
	TAILQ_REMOVE(&a->nodes->askers, a, link);
	a->nodes->count--;
	mem_free(a);
}

/* (the engine goes first, and with it the answers under way: each has ended its asker)
 */
void
nodes_free(struct nodes *ns)
{
	struct asker *a;

	if (ns == NULL)
		return;
	while ((a = TAILQ_FIRST(&ns->askers)) != NULL) {
		httpreq_drop(a->req);
		asker_free(a);
	}
	mem_free(ns);
}

/* NULL: req has been answered */
static struct asker *
asker_begin(struct nodes *ns, struct httpreq *req)
{
	struct asker *a = ns->count < ASKERS_MAX ? mem_zero(sizeof(*a)) : NULL;

	if (a == NULL) {
		problem_unavailable(req, "overloaded",
		    "Too many requests wait already. Try again soon.");
		return NULL;
	}
	a->nodes = ns;
	a->req = req;
	TAILQ_INSERT_TAIL(&ns->askers, a, link);
	ns->count++;
	return a;
}

/* ends it with what the database said, or did not */
static void
asker_fail(struct asker *a, const struct pgerr *pe)
{
	if (pe != NULL && pe->class != PGERR_LOST)
		log_warn(NULL, "nodes cannot be read or ordered",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
	problem_unavailable(
	    a->req, "unavailable", "The database is away. Try again soon.");
	asker_free(a);
}

/* ---------------------------------------------------------------- reading */

/* those between commas, as an array */
static void
write_words(struct jsonw *w, const char *words)
{
	size_t len;

	jsonw_array(w);
	for (const char *at = words; *at != '\0'; at += len + (at[len] == ',')) {
		len = strcspn(at, ",");
		jsonw_stringn(w, at, len);
	}
	jsonw_end(w);
}

static void
write_age(struct jsonw *w, int64_t age_ms)
{
	jsonw_key(w, "beat_age_ms");
	if (age_ms < 0)
		jsonw_null(w);
	else
		jsonw_int(w, age_ms);
}

static void
write_worker(struct jsonw *w, const struct node_worker *nw)
{
	char text[OWNER_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_int(w, "number", nw->id.b[6] << 8 | nw->id.b[7]);
	jsonw_member_string(w, "incarnation", owner_text(&nw->id, text));
	jsonw_member_time(w, "started_at", nw->started_us);
	jsonw_member_int(w, "generation", nw->generation);
	jsonw_member_bool(w, "takes_tasks", !nw->idle && nw->mode == NODE_MODE_WORK);
	jsonw_member_bool(w, "leads", nw->leads);
	jsonw_member_int(w, "slots", nw->slots);
	jsonw_member_int(w, "running", nw->running);
	write_age(w, nw->beat_age_ms);
	jsonw_end(w);
}

/* what is true of the node as a whole */
struct sum {
	int64_t started_us, running, slots, generation, beat_age_ms;
	bool leads;
	bool busy; /* a worker that took tasks is still there */
};

/* count workers of one node, from row first on */
static struct sum
sum_up(const struct pgrows *rows, int first, int count)
{
	struct sum sum = {.beat_age_ms = -1};
	struct node_worker nw;

	for (int r = first; r < first + count; r++) {
		node_worker_get(rows, r, &nw);
		if (sum.started_us == 0 || nw.started_us < sum.started_us)
			sum.started_us = nw.started_us;
		if (nw.generation > sum.generation)
			sum.generation = nw.generation;
		/* the youngest beat: a node is as alive as its liveliest worker */
		if (nw.beat_age_ms >= 0 &&
		    (sum.beat_age_ms < 0 || nw.beat_age_ms < sum.beat_age_ms))
			sum.beat_age_ms = nw.beat_age_ms;
		sum.running += nw.running;
		sum.slots += nw.idle ? 0 : nw.slots;
		sum.leads |= nw.leads;
		sum.busy |= !nw.idle;
	}
	return sum;
}

static const char *
order_name(enum node_mode mode)
{
	static const char *const names[NODE_MODE_COUNT] = {
	    [NODE_MODE_WORK] = "resume",
	    [NODE_MODE_IDLE] = "tasks_only",
	    [NODE_MODE_DRAIN] = "drain",
	    [NODE_MODE_LEAVE] = "leave",
	};

	return names[mode];
}

static void
write_order(struct jsonw *w, const struct node_worker *nw)
{
	jsonw_key(w, "order");
	if (nw->ordered_us == 0) {
		jsonw_null(w);
		return;
	}
	jsonw_object(w);
	jsonw_member_string(w, "action", order_name(nw->ordered));
	jsonw_member_time(w, "ordered_at", nw->ordered_us);
	jsonw_member_string(w, "reason", nw->reason);
	jsonw_end(w);
}

static void
write_node(struct jsonw *w, const struct pgrows *rows, int first, int count)
{
	struct sum sum = sum_up(rows, first, count);
	char node[NODE_TEXT_SIZE];
	struct node_worker nw;

	node_worker_get(rows, first, &nw);
	str_hex(node, nw.id.b, 6);
	jsonw_object(w);
	jsonw_member_string(w, "id", node);
	jsonw_member_string(w, "hostname", nw.host);
	jsonw_member_string(w, "version", nw.version);
	jsonw_member_time(w, "started_at", sum.started_us);
	jsonw_member_string(w, "state",
	    nw.mode == NODE_MODE_DRAIN && !sum.busy ? "drained"
						    : node_mode_name(nw.mode));
	jsonw_member_bool(
	    w, "draining", nw.mode == NODE_MODE_DRAIN || nw.mode == NODE_MODE_LEAVE);
	jsonw_member_int(w, "generation", sum.generation);
	write_age(w, sum.beat_age_ms);
	jsonw_member_bool(w, "leads", sum.leads);
	jsonw_member_int(w, "running", sum.running);
	jsonw_member_int(w, "slots", sum.slots);
	jsonw_key(w, "pools");
	write_words(w, nw.pools);
	write_order(w, &nw);
	jsonw_key(w, "workers");
	jsonw_array(w);
	for (int r = first; r < first + count; r++) {
		node_worker_get(rows, r, &nw);
		write_worker(w, &nw);
	}
	jsonw_end(w);
	jsonw_end(w);
}

/* how many rows from first on are of the same node */
static int
same_node(const struct pgrows *rows, int first)
{
	struct uuid id, other;
	int r = first + 1;

	pgrows_uuid(rows, first, 0, &id);
	for (; r < pgrows_count(rows); r++) {
		pgrows_uuid(rows, r, 0, &other);
		if (memcmp(id.b, other.b, 6) != 0)
			break;
	}
	return r - first;
}

static void
on_workers(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct asker *a = arg;
	struct strbuf out;
	struct jsonw w;

	if (pe != NULL) {
		asker_fail(a, pe);
		return;
	}
	strbuf_init(&out, OUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "nodes");
	jsonw_array(&w);
	for (int r = 0, count; r < pgrows_count(rows); r += count) {
		count = same_node(rows, r);
		write_node(&w, rows, r, count);
	}
	jsonw_end(&w);
	jsonw_end(&w);
	httpreq_set_header(a->req, "Cache-Control", "no-store");
	if (strbuf_failed(&out))
		problem_unavailable(
		    a->req, "overloaded", "The server is out of memory.");
	else
		httpreq_reply(a->req, 200, NULL, out.data, out.len);
	strbuf_fini(&out);
	asker_free(a);
}

void
nodes_list(struct nodes *ns, struct httpreq *req)
{
	struct asker *a = asker_begin(ns, req);

	if (a != NULL && store_exec(engine_store(ns->engine), STORE_READ,
			     &nodes_workers, NULL, on_workers, a, NULL) != 0)
		asker_fail(a, NULL);
}

/* ---------------------------------------------------------------- orders */

static void
on_ordered(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct asker *a = arg;
	char body[128];
	int len;

	if (pe != NULL) {
		asker_fail(a, pe);
		return;
	}
	if (!pgrows_bool(rows, 0, 0)) {
		httpreq_problem(a->req, 404, "not_found",
		    "There is no living node of this id; GET /api/nodes lists them.");
		asker_free(a);
		return;
	}
	log_info(NULL, "a node was ordered", "node=%s action=%s", a->node,
	    order_name(a->mode));
	engine_nodes_ordered(a->nodes->engine);
	len = snprintf(body, sizeof(body), "{\"id\":\"%s\",\"action\":\"%s\"}", a->node,
	    order_name(a->mode));
	httpreq_set_header(a->req, "Cache-Control", "no-store");
	httpreq_reply(a->req, 202, NULL, body, (size_t)len);
	asker_free(a);
}

/* 12 hexadecimal digits, as GET /api/nodes shows them */
static bool
is_node(const char *text)
{
	return strlen(text) == NODE_TEXT_SIZE - 1 &&
	       strspn(text, "0123456789abcdef") == NODE_TEXT_SIZE - 1;
}

static int
refuse(struct httpreq *req, const char *code, const char *detail)
{
	httpreq_problem(req, 400, code, "%s", detail);
	return -1;
}

/* {"tasks_only": bool, "leave": bool, "reason": text}, all of them optional; -1: req
 * has been answered */
static int
read_body(struct asker *a, bool drain)
{
	static const struct jscan_limits limits = {.max_depth = 4};
	bool tasks_only = false, leave = false, *flag;
	struct jspan top, key, value;
	struct jwalk walk;
	struct err err = ERR_INIT;
	const char *body;
	size_t len;

	body = httpreq_body(a->req, &len);
	if (len == 0)
		return 0;
	if (jscan_check(body, len, &limits, &top, &err) != 0)
		return refuse(a->req, "invalid_json", "The body is not JSON.");
	if (top.kind != JSON_OBJECT)
		return refuse(a->req, "invalid_request", "The body must be an object.");
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (jspan_is(&key, "reason")) {
			if (value.kind != JSON_NULL &&
			    jspan_string(
				&value, a->reason, sizeof(a->reason), NULL, NULL) != 0)
				return refuse(a->req, "invalid_field",
				    "reason: it must be a string of at most 1000 "
				    "bytes.");
			continue;
		}
		flag = NULL;
		if (drain && jspan_is(&key, "tasks_only"))
			flag = &tasks_only;
		else if (drain && jspan_is(&key, "leave"))
			flag = &leave;
		if (flag == NULL)
			return refuse(a->req, "unknown_field",
			    drain ? "Known are tasks_only, leave and reason."
				  : "Known is reason.");
		if (jspan_bool(&value, flag, NULL) != 0)
			return refuse(a->req, "invalid_field",
			    "tasks_only, leave: they must be true or false.");
	}
	if (tasks_only && leave)
		return refuse(a->req, "invalid_request",
		    "tasks_only keeps the node and leave ends it: choose one.");
	if (tasks_only)
		a->mode = NODE_MODE_IDLE;
	else if (leave)
		a->mode = NODE_MODE_LEAVE;
	return 0;
}

static void
order(struct nodes *ns, struct httpreq *req, bool drain)
{
	const char *id = httpreq_segment(req, 0);
	struct pgparam p;
	struct asker *a;
	int rc;

	if (!is_node(id)) {
		httpreq_problem(req, 404, "not_found",
		    "A node's id is 12 hexadecimal digits; GET /api/nodes lists them.");
		return;
	}
	a = asker_begin(ns, req);
	if (a == NULL)
		return;
	(void)str_copy(a->node, sizeof(a->node), id);
	a->mode = drain ? NODE_MODE_DRAIN : NODE_MODE_WORK;
	if (read_body(a, drain) != 0) {
		asker_free(a);
		return;
	}
	pgparam_init(&p);
	nodes_order_params(
	    &p, a->node, a->mode, a->reason[0] != '\0' ? a->reason : NULL);
	rc = store_exec(engine_store(ns->engine), STORE_READ, &nodes_order, &p,
	    on_ordered, a, NULL);
	pgparam_fini(&p);
	if (rc != 0)
		asker_fail(a, NULL);
}

void
nodes_drain(struct nodes *ns, struct httpreq *req)
{
	order(ns, req, true);
}

void
nodes_resume(struct nodes *ns, struct httpreq *req)
{
	order(ns, req, false);
}
