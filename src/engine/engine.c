/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.c - the task queue in one worker, put together; see engine.h.
 *
 * It makes the modules, passes the stores' news to them, and owns the worker's life
 * in the cluster: registered when PostgreSQL has the right schema, serving when the
 * types are known, draining on request, ended when nothing is left.
 *
 * Start: wait for the schema (a helper of the master brings it up to date), register
 * the incarnation, learn the numbers of the types, beat once.  Each step is tried again
 * until it works: a node that starts while PostgreSQL is away serves /health, answers
 * 503, and comes up by itself.
 */
#include "config.h"

#include "engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "store/leases.h"
#include "store/migrate.h"

#define START_AGAIN_MS 200
#define PLACES_BYTES   65536 /* some 5,000 types */
#define STRANDED_MS    2000  /* without the database: longer than a reconnect */

static void on_schema(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_registered(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_types(const struct err *err, void *arg);
static void on_limits(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_pools(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void serve(struct engine *e);
static void on_serving(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void try_start(void *arg);
static void flush_hints(void *arg);

/* ---------------------------------------------------------------- news from the stores
 */

static void
check_serving(struct engine *e)
{
	void (*cb)(void *arg) = e->serving_cb;

	if (cb == NULL || !e->serving || !store_is_ready(e->store))
		return;
	e->serving_cb = NULL;
	cb(e->arg);
}

static void
on_store(enum store_lane lane, bool up, const struct err *err, void *arg)
{
	struct engine *e = arg;
	static const char *const names[] = {
	    "submit", "each", "work", "read", "lead", "tidy"};

	if (up) {
		log_info(NULL, "database connected", "lane=%s", names[lane]);
	} else if (e->released) {
		log_debug(NULL, "database released", "lane=%s", names[lane]);
	} else {
		score_add(e->slot, SCORE_database_connections_lost_total, 1);
		log_warn(NULL, "database connection lost", "lane=%s reason=\"%.200s\"",
		    names[lane], err != NULL ? err->text : "");
	}
	if (e->store == NULL)
		return; /* told from inside store_create: the rest is not there yet */
	atomic_store(&e->slot->database_up, store_is_ready(e->store));
	if (up && !e->serving)
		try_start(e);
	if (up)
		check_serving(e);
	if (lane == STORE_WORK && (up || e->work_down_ms == 0))
		e->work_down_ms = up ? 0 : loop_now_ms(e->loop);
	switch (lane) {
	case STORE_SUBMIT:
		submit_store(e->submit, up);
		break;
	case STORE_EACH:
		each_store(e->each, up);
		break;
	case STORE_WORK:
		dispatch_store(e->dispatch, up);
		if (up) {
			finish_store_up(e->finish);
			handover_store_up(e->handover);
			beat_now(e->beat);
		}
		break;
	case STORE_LEAD:
		leader_store(e->leader, up);
		break;
	default:
		break;
	}
}

static void
on_redis(bool up, const struct err *err, void *arg)
{
	struct engine *e = arg;

	atomic_store(&e->slot->redis_up, up);
	if (up) {
		log_info(NULL, "redis connected", " ");
		engine_places_changed(e, true);
	} else if (e->released) {
		log_debug(NULL, "redis released", " ");
	} else {
		score_add(e->slot, SCORE_redis_connections_lost_total, 1);
		log_warn(NULL, "redis connection lost", "reason=\"%.200s\"",
		    err != NULL ? err->text : "");
	}
	leader_broker(e->leader, up);
	dispatch_broker(e->dispatch, up);
	engine_check_drained(e);
}

static void
on_popped(const struct elem *el, void *arg)
{
	struct engine *e = arg;

	dispatch_popped(e->dispatch, el);
}

static void
on_refused(void *arg)
{
	struct engine *e = arg;

	dispatch_refused(e->dispatch);
}

static void
on_late(void *arg)
{
	struct engine *e = arg;

	dispatch_late(e->dispatch);
}

static void
on_wait_ended(int list, void *arg)
{
	struct engine *e = arg;

	dispatch_wait_ended(e->dispatch, list);
}

static void
on_more_ended(int list, int got, int64_t left, void *arg)
{
	struct engine *e = arg;

	(void)got;
	dispatch_more_ended(e->dispatch, list, left);
}

static void
on_done(int app_id, const struct uuid *id, void *arg)
{
	struct engine *e = arg;

	waiters_done(e->waiters, app_id, id);
}

static void
on_epoch(int64_t epoch, void *arg)
{
	struct engine *e = arg;

	if (epoch == 0)
		engine_hint(e); /* an empty Redis: the leader shall see it at once */
}

static void
on_ctl(const char *text, size_t len, void *arg)
{
	ctl_heard(arg, text, len);
}

static void
on_settled(void *arg)
{
	engine_check_drained(arg);
}

static const struct broker_events broker_events = {
    .state = on_redis,
    .popped = on_popped,
    .refused = on_refused,
    .late = on_late,
    .wait_ended = on_wait_ended,
    .more_ended = on_more_ended,
    .done = on_done,
    .ctl = on_ctl,
    .epoch = on_epoch,
    .settled = on_settled,
};

/* ---------------------------------------------------------------- life */

static size_t
served_lists(const struct engine *e, int lists[2 * POOLS_SERVED])
{
	bool commands = types_have_commands(e->types);
	size_t count = 0;

	for (int i = 0; i < e->served_count; i++) {
		lists[count++] = list_of(e->served[i], false);
		if (commands)
			lists[count++] = list_of(e->served[i], true);
	}
	return count;
}

struct engine *
engine_create(struct loop *l, struct resolver *rv, const struct engine_opts *opts,
    struct err *err)
{
	struct engine *e = mem_zero(sizeof(*e));
	struct broker_opts bo = {.events = &broker_events, .arg = e};
	int lists[2 * POOLS_SERVED];

	if (e == NULL) {
		err_set(err, ERR_NOMEM, "engine");
		return NULL;
	}
	e->loop = l;
	e->resolver = rv;
	e->settings = opts->settings;
	e->board = opts->board;
	e->slot = &opts->board->slots[opts->slot];
	e->idle = opts->idle;
	e->spans = opts->spans;
	memcpy(e->handlers, opts->handlers, sizeof(e->handlers));
	e->serving_cb = opts->serving;
	e->ended = opts->ended;
	e->arg = opts->arg;
	e->peers = 1;
	owner_make(e->board->node, (unsigned)opts->slot, &e->owner);

	e->start_timer = loop_timer_create(l, try_start, e);
	e->hint_defer = loop_defer_create(l, flush_hints, e);
	if (e->start_timer == NULL || e->hint_defer == NULL) {
		err_set(err, ERR_NOMEM, "engine");
		goto fail;
	}
	if ((e->pools = pools_create()) == NULL) {
		err_set(err, ERR_NOMEM, "pools");
		goto fail;
	}
	e->served_count =
	    pools_parse(e->pools, e->settings->node_pools, e->served, err);
	if (e->served_count < 0 || (e->types = types_create(e, err)) == NULL)
		goto fail;
	bo.settings = e->settings;
	bo.owner = e->owner;
	bo.pools = e->pools;
	bo.served = lists;
	bo.served_count = served_lists(e, lists);
	/* one of a node's workers is enough to look at how Redis is set up */
	bo.board = opts->slot == 0 ? e->board : NULL;
	if ((e->submit = submit_create(e, err)) == NULL ||
	    (e->each = each_create(e, err)) == NULL ||
	    (e->dispatch = dispatch_create(e, err)) == NULL ||
	    (e->finish = finish_create(e, err)) == NULL ||
	    (e->handover = handover_create(e, err)) == NULL ||
	    (e->waiters = waiters_create(e, err)) == NULL ||
	    (e->beat = beat_create(e, err)) == NULL ||
	    (e->pulse = pulse_create(e, err)) == NULL ||
	    (e->leader = leader_create(e, err)) == NULL ||
	    (e->recover = recover_create(e, err)) == NULL ||
	    (e->audit = audit_create(e, err)) == NULL ||
	    (e->reports = reports_create(e, err)) == NULL ||
	    (e->cancels = cancels_create(e, err)) == NULL ||
	    (e->registry = registry_create(e, err)) == NULL ||
	    (e->leases = leases_create(e, err)) == NULL ||
	    (e->gates = gates_create(e, err)) == NULL ||
	    (e->endpoints = endpoints_create(e, err)) == NULL ||
	    (e->broker = broker_create(l, rv, &bo, err)) == NULL ||
	    (e->store = store_create(l, rv, e->settings, on_store, e, err)) == NULL ||
	    (e->names = names_create(l, e->store, e->pools, err)) == NULL)
		goto fail;
	if (e->idle)
		dispatch_stop(e->dispatch); /* and never started */
	return e;
fail:
	engine_free(e);
	return NULL;
}

void
engine_free(struct engine *e)
{
	if (e == NULL)
		return;
	/*
	 * The stores go first: their waiting callbacks run from inside, into modules
	 * that must still be there. ending keeps those from starting anything new.
	 */
	e->ending = true;
	e->draining = true;
	if (e->leader != NULL)
		leader_quit(e->leader);
	if (e->waiters != NULL)
		waiters_end_all(e->waiters);
	if (e->leases != NULL)
		leases_end_all(e->leases);
	store_free(e->store);
	broker_free(e->broker);
	names_free(e->names);
	waiters_free(e->waiters);
	submit_free(e->submit);
	each_free(e->each);
	finish_free(e->finish);
	handover_free(e->handover);
	dispatch_free(e->dispatch);
	beat_free(e->beat);
	pulse_free(e->pulse);
	leader_free(e->leader);
	recover_free(e->recover);
	audit_free(e->audit);
	reports_free(e->reports);
	cancels_free(e->cancels);
	leases_free(e->leases);
	endpoints_free(e->endpoints);
	gates_free(e->gates);
	registry_free(e->registry);
	types_free(e->types);
	pools_free(e->pools);
	loop_timer_free(e->start_timer);
	loop_defer_free(e->hint_defer);
	mem_free(e);
}

/* ---------------------------------------------------------------- start */

static void
start_later(struct engine *e)
{
	e->starting = false;
	if (!e->ending)
		loop_timer_start_ms(e->start_timer, START_AGAIN_MS);
}

static void
try_start(void *arg)
{
	struct engine *e = arg;

	if (e->starting || e->serving || e->draining ||
	    !store_is_up(e->store, STORE_READ))
		return;
	e->starting = true;
	if (store_exec(e->store, STORE_READ, &sql_schema, NULL, on_schema, e, NULL) !=
	    0)
		start_later(e);
}

static void
on_schema(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;
	char host[256] = "";
	struct pgparam p;
	int rc, fits = -1;

	/* missing or older: the migration is on its way.  Too new: at the node's start
	 * its helper stops it; one that runs already goes on with the workers that it
	 * has */
	if (pe == NULL)
		fits = migrate_fits(
		    (int)pgrows_int(rows, 0, 0), (int)pgrows_int(rows, 0, 1));
	if (fits > 0 && !e->told_too_new)
		log_error(NULL,
		    "the database's schema is too new for this program: upgrade this "
		    "node",
		    "step=%lld floor=%lld known=%d", (long long)pgrows_int(rows, 0, 0),
		    (long long)pgrows_int(rows, 0, 1), migrate_newest());
	e->told_too_new |= fits > 0;
	if (fits != 0) {
		start_later(e);
		return;
	}
	(void)gethostname(host, sizeof(host) - 1); /* for people only */
	pgparam_init(&p);
	pgparam_uuid(&p, &e->owner);
	pgparam_text(&p, host);
	pgparam_text(&p, PACKAGE_VERSION);
	pgparam_int4(&p, (int32_t)e->settings->node_slots);
	pgparam_int4(&p, (int32_t)e->settings->tasks_priority_aging_ms);
	pgparam_int4(&p, (int32_t)e->settings->tasks_max_attempts);
	pgparam_int4(&p, (int32_t)e->settings->tasks_max_payload_bytes);
	pgparam_int4(&p, migrate_newest());
	pgparam_bool(&p, e->idle);
	rc =
	    store_exec(e->store, STORE_READ, &sql_register, &p, on_registered, e, NULL);
	pgparam_fini(&p);
	if (rc != 0)
		start_later(e);
}

static void
on_registered(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;
	struct uuid database;
	char name[OWNER_TEXT_SIZE];
	struct err err = ERR_INIT;

	if (pe != NULL || pgrows_count(rows) == 0) {
		log_warn(NULL, "this worker could not be registered",
		    "reason=\"%.200s\"",
		    pe != NULL ? pe->text : "the cluster has no row yet");
		start_later(e);
		return;
	}
	if (!str_eq(pgrows_text(rows, 0, 2, NULL), e->settings->cluster_name)) {
		log_error(NULL, "this database belongs to another cluster",
		    "cluster=%s", pgrows_text(rows, 0, 2, NULL));
		start_later(e);
		return;
	}
	atomic_store(
	    &e->board->clock_offset_us, pgrows_int(rows, 0, 0) - clock_wall_us());
	pgrows_uuid(rows, 0, 1, &database);
	score_set_uuid(e->slot->incarnation, &e->owner);
	e->registered = true;
	log_info(
	    NULL, "worker registered", "incarnation=%s", owner_text(&e->owner, name));
	beat_now(e->beat);
	recover_burials(e->recover); /* the first thing that a successor does */
	broker_set_database(e->broker, &database);
	if (types_learn(e->types, on_types, e, &err) != 0)
		start_later(e);
}

/* nothing of other pools in our settings: PostgreSQL takes us for one that serves main
 */
static bool
is_plain(const struct engine *e)
{
	const struct queue_settings *q;

	TAILQ_FOREACH (q, &e->settings->queues, link) {
		if (q->pool[0] != '\0')
			return false;
	}
	return e->served_count == 1 && e->served[0] == POOL_MAIN;
}

/* one array: what each queue that has a pool gives to it */
static void
put_queues(const struct engine *e, struct pgparam *p, bool pools)
{
	const struct queue_settings *q;
	const char *text;

	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (q, &e->settings->queues, link) {
		text = pools ? q->pool : q->queue;
		if (q->pool[0] != '\0')
			pgparam_elem_text(p, text, strlen(text));
	}
	pgparam_array_end(p);
}

static void
on_types(const struct err *err, void *arg)
{
	struct engine *e = arg;
	const char *name;
	struct pgparam p;
	int rc;

	if (err != NULL) {
		log_warn(NULL, "the task types could not be registered",
		    "reason=\"%s\"", err->text);
		start_later(e);
		return;
	}
	if (is_plain(e)) {
		serve(e);
		return;
	}
	pgparam_init(&p);
	pgparam_uuid(&p, &e->owner);
	pgparam_array(&p, PGTYPE_TEXT);
	for (int i = 0; i < e->served_count; i++) {
		name = pools_name(e->pools, e->served[i]);
		pgparam_elem_text(&p, name, strlen(name));
	}
	pgparam_array_end(&p);
	put_queues(e, &p, false);
	put_queues(e, &p, true);
	rc = store_exec(e->store, STORE_READ, &sql_serve_pools, &p, on_pools, e, NULL);
	pgparam_fini(&p);
	if (rc != 0)
		start_later(e);
}

/* no task is claimed here before PostgreSQL knows which pools are served */
static void
on_pools(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;

	(void)rows;
	if (pe == NULL) {
		serve(e);
		return;
	}
	log_warn(NULL, "the pools of this worker could not be stored",
	    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
	start_later(e);
}

static void
serve(struct engine *e)
{
	struct pgparam p;
	int rc;

	pgparam_init(&p);
	types_serve_params(e->types, &p);
	rc = store_exec(e->store, STORE_READ, &sql_serve, &p, on_limits, e, NULL);
	pgparam_fini(&p);
	if (rc != 0)
		start_later(e);
}

/* no task of a type starts here before its limits are committed */
static void
on_limits(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;
	struct pgparam p;
	int rc;

	(void)rows;
	if (pe != NULL) {
		log_warn(NULL, "the limits of the task types could not be stored",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
		start_later(e);
		return;
	}
	pgparam_init(&p);
	types_tell_params(e->types, &p);
	rc = store_exec(e->store, STORE_READ, &types_tell, &p, on_serving, e, NULL);
	pgparam_fini(&p);
	if (rc != 0)
		start_later(e);
}

static void
on_serving(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;

	(void)rows;
	if (pe != NULL) {
		log_warn(NULL, "the task types could not be told to the database",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
		start_later(e);
		return;
	}
	e->starting = false;
	registry_changed(e->registry);
	e->serving = true;
	atomic_store(&e->slot->serving, 1);
	log_info(NULL, e->idle ? "worker serves requests" : "worker serves tasks", " ");
	check_serving(e);
	engine_places_changed(e, true);
	dispatch_wake(e->dispatch);
	beat_now(e->beat); /* tells whether anybody leads */
}

/* ---------------------------------------------------------------- what is served */

static void
on_served(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;

	(void)rows;
	e->serve_open = false;
	if (e->ending)
		return;
	if (pe != NULL) {
		/* only those who ask why a task waits read it: again with the next beat
		 */
		e->serve_dirty = true;
		log_warn(NULL, "what this worker serves could not be stored",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
	} else if (e->serve_dirty) {
		loop_defer_start(e->hint_defer);
	}
}

static void
tell_served(struct engine *e)
{
	struct pgparam p;

	if (!e->serve_dirty || e->serve_open || !e->serving || e->draining)
		return;
	pgparam_init(&p);
	types_serve_params(e->types, &p);
	e->serve_open =
	    store_exec(e->store, STORE_READ, &sql_serve, &p, on_served, e, NULL) == 0;
	e->serve_dirty = !e->serve_open;
	pgparam_fini(&p);
}

void
engine_set_places(struct engine *e, const char *type, int places)
{
	struct type_entry *t = types_by_name(e->types, type);

	if (t == NULL || t->kind != HANDLER_STREAM)
		return;
	e->serve_dirty |= types_set_places(e->types, t, places);
	engine_places_changed(e, true);
	dispatch_wake(e->dispatch);
}

/* ---------------------------------------------------------------- soon */

static void
flush_hints(void *arg)
{
	struct engine *e = arg;
	struct strbuf text;

	if (e->places_dirty && e->serving && !e->draining && !e->idle) {
		strbuf_init(&text, PLACES_BYTES);
		types_places_text(e->types, &text);
		if (!strbuf_failed(&text))
			broker_set_places(e->broker, text.data);
		else
			log_error(NULL, "too many types: their places cannot be told",
			    "limit_bytes=%d", PLACES_BYTES);
		strbuf_fini(&text);
	}
	e->places_dirty = false;
	tell_served(e);
	ctl_send_hints(e);
}

bool
engine_serves(const struct engine *e, int pool)
{
	for (int i = 0; i < e->served_count; i++) {
		if (e->served[i] == pool)
			return true;
	}
	return false;
}

void
engine_places_changed(struct engine *e, bool hint)
{
	e->places_dirty = true;
	e->hint |= hint;
	loop_defer_start(e->hint_defer);
}

/* ---------------------------------------------------------------- the end */

static void
on_left(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct engine *e = arg;

	(void)rows;
	if (e->ending && pe != NULL)
		return; /* the engine is being freed */
	/* not marked: the leader will find us silent, with nothing to take */
	e->ending = true;
	score_set_uuid(e->slot->incarnation,
	    &(struct uuid){{0}}); /* nobody beats for us any more */
	e->ended(false, e->arg);
}

static bool
is_drained(const struct engine *e)
{
	return dispatch_idle(e->dispatch) && finish_idle(e->finish) &&
	       recover_idle(e->recover) && reports_idle(e->reports) &&
	       leases_idle(e->leases) && broker_is_settled(e->broker);
}

/*
 * The database is away, perhaps for good.  A claim in doubt and a recovery are settled
 * by others, as after a death; outcomes wait for as long as the worker is patient.
 */
static bool
is_stranded(const struct engine *e)
{
	return e->work_down_ms != 0 &&
	       loop_now_ms(e->loop) - e->work_down_ms >= STRANDED_MS &&
	       dispatch_is_quiet(e->dispatch) && (e->gave_up || finish_idle(e->finish));
}

void
engine_check_drained(struct engine *e)
{
	struct pgparam p;
	int rc;

	if (!e->draining || e->ending || e->leaving || !submit_idle(e->submit) ||
	    !each_idle(e->each) || waiters_count(e->waiters) > 0 ||
	    (!is_drained(e) && !is_stranded(e)))
		return;
	e->leaving = true;
	broker_forget(e->broker);
	if (!e->registered) {
		e->ending = true;
		e->ended(false, e->arg);
		return;
	}
	pgparam_init(&p);
	pgparam_uuid(&p, &e->owner);
	rc = store_exec(e->store, STORE_WORK, &sql_leave, &p, on_left, e, NULL);
	pgparam_fini(&p);
	if (rc != 0) {
		e->ending = true;
		e->ended(false, e->arg);
	}
}

void
engine_drain(struct engine *e)
{
	if (e->draining) {
		engine_check_drained(e);
		return;
	}
	e->draining = true;
	leader_step_down(e->leader);
	broker_drop_places(e->broker, &e->owner);
	dispatch_stop(e->dispatch);
	engine_check_drained(e);
}

void
engine_give_up(struct engine *e)
{
	waiters_end_all(e->waiters);
	leases_end_all(e->leases);
	e->gave_up = true;
	dispatch_give_up(e->dispatch);
	engine_check_drained(e);
}

void
engine_release(struct engine *e)
{
	e->released = true;
	store_release(e->store);
	broker_release(e->broker);
	atomic_store(&e->slot->database_up, 0);
	atomic_store(&e->slot->redis_up, 0);
}

int
engine_reopen(struct engine *e, void (*serving)(void *arg), void (*hint)(void *arg),
    void *arg, struct err *err)
{
	e->released = false;
	e->serving_cb = serving;
	e->hint_cb = hint;
	e->arg = arg;
	return store_reopen(e->store, err);
}

void
engine_bury(struct engine *e)
{
	recover_burials(e->recover);
}

/* ---------------------------------------------------------------- parts */

struct submit *
engine_submit(struct engine *e)
{
	return e->submit;
}

struct each *
engine_each(struct engine *e)
{
	return e->each;
}

struct names *
engine_names(struct engine *e)
{
	return e->names;
}

struct waiters *
engine_waiters(struct engine *e)
{
	return e->waiters;
}

struct registry *
engine_registry(struct engine *e)
{
	return e->registry;
}

struct leases *
engine_leases(struct engine *e)
{
	return e->leases;
}

void
engine_due_outside(struct engine *e, int app_id)
{
	if (registry_has_pull(e->registry, app_id))
		leases_hint(e->leases, app_id, 0);
	dispatch_endpoints_due(e->dispatch, app_id);
}

void
engine_back_in_line(struct engine *e, int app_id, int queue_id)
{
	leases_hint(e->leases, app_id, queue_id);
	if (!registry_has_http(e->registry) && !types_have(e->types, HANDLER_HTTP))
		return; /* no attempt can have gone outside */
	engine_endpoints_due(e, app_id, names_pool(e->names, queue_id));
	engine_hint(e);
}

struct endpoints *
engine_endpoints(struct engine *e)
{
	return e->endpoints;
}

struct store *
engine_store(struct engine *e)
{
	return e->store;
}

const struct uuid *
engine_owner(const struct engine *e)
{
	return &e->owner;
}

const struct pools *
engine_pools(const struct engine *e)
{
	return e->pools;
}

int64_t
engine_now_us(struct engine *e)
{
	return clock_wall_us() + atomic_load(&e->board->clock_offset_us);
}
