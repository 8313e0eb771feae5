/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status.c - what an operator looks at first.
 *
 * The cluster's part costs two statements, so it is kept for a second, and everybody
 * who asks meanwhile shares the answer that is under way: a room full of dashboards
 * costs what one does. Without PostgreSQL the node's part is still told, and "cluster"
 * is null.
 */
#include "portal/status.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "face/problem.h"
#include "model/task.h"
#include "store/reads.h"
#include "store/store.h"

#define KEEP_MS	  1000
#define WAIT_MS	  2000 /* then the node's part is told alone */
#define OUT_MAX	  (8u << 20)
#define NODE_SIZE 13 /* 6 bytes in hexadecimal */

struct asker {
	TAILQ_ENTRY(asker) link;
	struct httpreq *req;
};

struct status {
	struct loop *loop;
	struct engine *engine;
	const struct settings *settings;
	struct scoreboard *board;
	TAILQ_HEAD(, asker) askers;
	unsigned asked; /* statements under way */
	bool failed;	/* one of them */
	bool stopped;
	bool known;	  /* both texts below are whole */
	int64_t known_ms; /* when they were asked for */
	int64_t asked_ms;
	int64_t lag_ms;
	char leader[OWNER_TEXT_SIZE]; /* "": none */
	struct loop_timer *patience;
	struct strbuf workers; /* array of nodes */
	struct strbuf queues;  /* array of queues */
};

static void on_impatience(void *arg);

struct status *
status_create(struct loop *l, struct engine *e, const struct settings *s,
    struct scoreboard *b, struct err *err)
{
	struct status *st = mem_zero(sizeof(*st));

	if (st == NULL) {
		err_set(err, ERR_NOMEM, "status");
		return NULL;
	}
	st->loop = l;
	st->engine = e;
	st->settings = s;
	st->board = b;
	TAILQ_INIT(&st->askers);
	strbuf_init(&st->workers, OUT_MAX);
	strbuf_init(&st->queues, OUT_MAX);
	st->patience = loop_timer_create(l, on_impatience, st);
	if (st->patience == NULL) {
		err_set(err, ERR_NOMEM, "status");
		status_free(st);
		return NULL;
	}
	return st;
}

void
status_free(struct status *st)
{
	struct asker *a;

	if (st == NULL)
		return;
	while ((a = TAILQ_FIRST(&st->askers)) != NULL) {
		TAILQ_REMOVE(&st->askers, a, link);
		httpreq_drop(a->req);
		mem_free(a);
	}
	loop_timer_free(st->patience);
	strbuf_fini(&st->workers);
	strbuf_fini(&st->queues);
	mem_free(st);
}

void
status_stop(struct status *st)
{
	st->stopped = true;
}

/* ---------------------------------------------------------------- the node */

static void
write_counters(struct jsonw *w, const struct score_slot *slot)
{
	jsonw_key(w, "counters");
	jsonw_object(w);
	for (int c = 0; c < SCORE_COUNTER_COUNT; c++)
		jsonw_member_int(w, score_counter_name((enum score_counter)c),
		    (int64_t)atomic_load(&slot->counters[c]));
	jsonw_end(w);
}

static void
write_slot(struct jsonw *w, struct score_slot *slot, size_t number)
{
	char incarnation[OWNER_TEXT_SIZE], reason[SCORE_REASON];
	int64_t beat_ms = atomic_load(&slot->heartbeat_ms);
	struct uuid id;

	/* a torn read must not run past the end */
	memcpy(reason, slot->last_reason, sizeof(reason));
	reason[sizeof(reason) - 1] = '\0';
	jsonw_object(w);
	jsonw_member_int(w, "number", (int64_t)number);
	jsonw_member_int(w, "pid", atomic_load(&slot->pid));
	jsonw_member_string(
	    w, "state", score_state_name((enum score_state)atomic_load(&slot->state)));
	jsonw_member_string(w, "incarnation",
	    score_get_uuid(slot->incarnation, &id) ? owner_text(&id, incarnation)
						   : NULL);
	jsonw_member_int(w, "generation", atomic_load(&slot->generation));
	jsonw_key(w, "heartbeat_age_ms");
	if (beat_ms == 0)
		jsonw_null(w);
	else
		jsonw_int(w, clock_mono_ms() - beat_ms);
	jsonw_member_bool(w, "database", atomic_load(&slot->database_up) != 0);
	jsonw_member_bool(w, "redis", atomic_load(&slot->redis_up) != 0);
	jsonw_member_int(w, "restarts", atomic_load(&slot->restarts));
	jsonw_member_time(w, "restarted_at", atomic_load(&slot->restarted_wall_us));
	jsonw_member_string(w, "last_reason", reason[0] != '\0' ? reason : NULL);
	write_counters(w, slot);
	jsonw_end(w);
}

static void
write_node(struct jsonw *w, const struct status *st)
{
	struct scoreboard *b = st->board;

	jsonw_key(w, "node");
	jsonw_object(w);
	jsonw_member_string(w, "id", b->node_text);
	jsonw_member_time(w, "started_at", b->started_wall_us);
	jsonw_member_bool(w, "draining", atomic_load(&b->draining) != 0);
	jsonw_member_bool(w, "schema_ready", atomic_load(&b->schema_ready) != 0);
	jsonw_member_int(w, "generation", atomic_load(&b->generation));
	jsonw_member_int(w, "reload_failures", atomic_load(&b->reload_failures));
	jsonw_key(w, "workers");
	jsonw_array(w);
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		struct score_slot *slot = &b->slots[i];

		if (atomic_load(&slot->state) != SCORE_FREE ||
		    atomic_load(&slot->restarts) > 0)
			write_slot(w, slot, i);
	}
	jsonw_end(w);
	jsonw_end(w);
}

/* ---------------------------------------------------------------- the cluster */

/* those between commas, as an array */
static void
write_words(struct jsonw *w, const char *words)
{
	char word[NAME_MAX_BYTES + 1];
	size_t len;

	jsonw_array(w);
	for (const char *at = words; *at != '\0'; at += len + (at[len] == ',')) {
		len = strcspn(at, ",");
		snprintf(word, sizeof(word), "%.*s", (int)len, at);
		jsonw_string(w, word);
	}
	jsonw_end(w);
}

static void
write_worker(struct jsonw *w, const struct worker_row *row)
{
	char text[OWNER_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "incarnation", owner_text(&row->id, text));
	jsonw_member_int(w, "number", row->id.b[6] << 8 | row->id.b[7]);
	jsonw_member_int(w, "slots", row->slots);
	jsonw_member_time(w, "started_at", row->started_us);
	jsonw_member_bool(w, "leads", row->leads);
	jsonw_key(w, "pools");
	write_words(w, row->pools);
	jsonw_end(w);
}

/* rows come in the order of ids, and so node by node */
static void
write_workers(struct status *st, struct jsonw *w, const struct pgrows *rows)
{
	char node[NODE_SIZE], last[NODE_SIZE] = "";
	struct worker_row row;

	st->leader[0] = '\0';
	jsonw_array(w);
	for (int r = 0; r < pgrows_count(rows); r++) {
		worker_row_get(rows, r, &row);
		if (row.leads)
			owner_text(&row.id, st->leader);
		str_hex(node, row.id.b, 6);
		if (!str_eq(node, last)) {
			if (last[0] != '\0') {
				jsonw_end(w);
				jsonw_end(w);
			}
			str_copy(last, sizeof(last), node);
			jsonw_object(w);
			jsonw_member_string(w, "id", node);
			jsonw_member_string(w, "host", row.host);
			jsonw_member_string(w, "version", row.version);
			jsonw_key(w, "workers");
			jsonw_array(w);
		}
		write_worker(w, &row);
	}
	if (last[0] != '\0') {
		jsonw_end(w);
		jsonw_end(w);
	}
	jsonw_end(w);
}

static void
write_queues(struct status *st, struct jsonw *w, const struct pgrows *rows)
{
	struct queue_row row;

	st->lag_ms = 0;
	jsonw_array(w);
	for (int r = 0; r < pgrows_count(rows); r++) {
		queue_row_get(rows, r, &row);
		if (row.lag_ms > st->lag_ms)
			st->lag_ms = row.lag_ms;
		jsonw_object(w);
		jsonw_member_string(w, "application", row.application);
		jsonw_member_string(w, "queue", row.queue);
		jsonw_member_bool(w, "paused", row.paused);
		jsonw_member_int(w, "queued", row.queued);
		jsonw_member_int(w, "running", row.running);
		jsonw_member_int(w, "scheduled", row.scheduled);
		jsonw_member_bool(w, "more", row.more);
		jsonw_member_int(w, "lag_ms", row.lag_ms);
		jsonw_member_string(w, "pool", row.pool);
		jsonw_end(w);
	}
	jsonw_end(w);
}

/* as the leader last told them */
static void
write_lists(struct jsonw *w, const struct status *st)
{
	char name[LIST_NAME_SIZE];
	const struct list_told *lists;
	size_t count;

	lists = engine_lists(st->engine, &count);
	jsonw_array(w);
	for (size_t i = 0; i < count; i++) {
		pools_list_name(engine_pools(st->engine), lists[i].list, name);
		jsonw_object(w);
		jsonw_member_string(w, "list", name);
		jsonw_member_string(w, "pool",
		    pools_name(engine_pools(st->engine), list_pool(lists[i].list)));
		jsonw_member_int(w, "length", lists[i].length);
		jsonw_member_bool(w, "spilling", lists[i].spilling);
		jsonw_end(w);
	}
	jsonw_end(w);
}

static void
write_cluster(struct jsonw *w, const struct status *st)
{
	jsonw_key(w, "cluster");
	if (!st->known) {
		jsonw_null(w);
		return;
	}
	jsonw_object(w);
	jsonw_member_string(w, "name", st->settings->cluster_name);
	jsonw_member_string(w, "leader", st->leader[0] != '\0' ? st->leader : NULL);
	jsonw_member_int(w, "lag_ms", st->lag_ms);
	jsonw_key(w, "nodes");
	jsonw_raw(w, st->workers.data, st->workers.len);
	jsonw_key(w, "queues");
	jsonw_raw(w, st->queues.data, st->queues.len);
	jsonw_key(w, "lists");
	write_lists(w, st);
	jsonw_end(w);
}

/* ---------------------------------------------------------------- answers */

static void
reply(const struct status *st, struct httpreq *req)
{
	struct strbuf out;
	struct jsonw w;

	strbuf_init(&out, 2 * OUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	write_node(&w, st);
	write_cluster(&w, st);
	jsonw_end(&w);
	httpreq_set_header(req, "Cache-Control", "no-store");
	if (strbuf_failed(&out))
		problem_unavailable(req, "overloaded", "The server is out of memory.");
	else
		httpreq_reply(req, 200, NULL, out.data, out.len);
	strbuf_fini(&out);
}

static void
reply_all(struct status *st)
{
	struct asker *a;

	loop_timer_stop(st->patience);
	while ((a = TAILQ_FIRST(&st->askers)) != NULL) {
		TAILQ_REMOVE(&st->askers, a, link);
		reply(st, a->req);
		mem_free(a);
	}
}

static void
on_impatience(void *arg)
{
	reply_all(arg);
}

static void
answered(struct status *st)
{
	if (--st->asked > 0)
		return;
	st->known =
	    !st->failed && !strbuf_failed(&st->workers) && !strbuf_failed(&st->queues);
	st->known_ms = st->asked_ms;
	reply_all(st);
}

static void
failed(struct status *st, const struct pgerr *pe)
{
	st->failed = true;
	if (pe->class != PGERR_LOST)
		log_warn(NULL, "the cluster's status cannot be read",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
}

static void
on_workers(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct status *st = arg;
	struct jsonw w;

	strbuf_reset(&st->workers);
	jsonw_init(&w, &st->workers);
	if (pe != NULL)
		failed(st, pe);
	else
		write_workers(st, &w, rows);
	answered(st);
}

static void
on_queues(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct status *st = arg;
	struct jsonw w;

	strbuf_reset(&st->queues);
	jsonw_init(&w, &st->queues);
	if (pe != NULL)
		failed(st, pe);
	else
		write_queues(st, &w, rows);
	answered(st);
}

/* the count starts at one, so that nothing is answered while we still ask */
static void
ask(struct status *st)
{
	struct store *store = engine_store(st->engine);

	st->asked = 1;
	st->failed = false;
	st->known = false;
	st->asked_ms = loop_now_ms(st->loop);
	if (store_exec(store, STORE_READ, &reads_workers, NULL, on_workers, st, NULL) ==
	    0)
		st->asked++;
	else
		st->failed = true;
	if (store_exec(store, STORE_READ, &reads_queues, NULL, on_queues, st, NULL) ==
	    0)
		st->asked++;
	else
		st->failed = true;
	answered(st);
}

void
status_reply(struct status *st, struct httpreq *req)
{
	struct asker *a;

	if (st->stopped || (st->asked == 0 && st->known &&
			       loop_now_ms(st->loop) - st->known_ms < KEEP_MS)) {
		reply(st, req);
		return;
	}
	a = mem_zero(sizeof(*a));
	if (a == NULL) {
		problem_unavailable(req, "overloaded", "The server is out of memory.");
		return;
	}
	a->req = req;
	TAILQ_INSERT_TAIL(&st->askers, a, link);
	if (!loop_timer_pending(st->patience))
		loop_timer_start_ms(st->patience, WAIT_MS);
	if (st->asked == 0)
		ask(st);
}
