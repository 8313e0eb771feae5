/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - the engine's inside: what its modules share, and what they offer each
 * other.
 */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "base/uuid.h"
#include "broker/broker.h"
#include "engine/each.h"
#include "engine/endpoints.h"
#include "engine/engine.h"
#include "engine/handler.h"
#include "engine/leases.h"
#include "engine/names.h"
#include "engine/registry.h"
#include "engine/submit.h"
#include "engine/waiters.h"
#include "model/backoff.h"
#include "pg/pgconn.h"
#include "store/sql.h"
#include "store/store.h"

struct audit;
struct cancels;
struct types;
struct dispatch;
struct finish;
struct beat;
struct pulse;
struct feeders;
struct gates;
struct handover;
struct expiry;
struct leader;
struct operate;
struct prune;
struct recover;
struct schedules;
struct reports;
struct tidy;
struct webhooks;

/* what this worker knows of a list that tasks are pushed to */
struct list_flow {
	int64_t spill_until_ms; /* it is spilling until then: submits only hint */
	int64_t fed_until_ms;	/* the leader said so: until then it needs no hints */
	bool hint;		/* the leader shall look at it */
};

#define TOLD_MOST (2 * 65) /* the lists of main and of 64 other pools */

struct engine {
	struct loop *loop;
	struct resolver *resolver;
	const struct settings *settings;
	struct scoreboard *board;
	struct score_slot *slot;
	struct spans *spans; /* NULL: nobody collects them */
	struct uuid owner;   /* this incarnation */
	struct handler handlers[HANDLER_KIND_COUNT];
	struct pools *pools; /* names that this worker has met */
	int served[POOLS_SERVED];
	int served_count;
	void (*serving_cb)(void *arg); /* NULL once told */
	void (*hint_cb)(void *arg);    /* out of the cluster; NULL: not yet */
	void (*ended)(bool lost, void *arg);
	void *arg;

	struct store *store;
	struct broker *broker;
	struct names *names;
	struct types *types;
	struct submit *submit;
	struct each *each;
	struct dispatch *dispatch;
	struct finish *finish;
	struct handover *handover;
	struct waiters *waiters;
	struct beat *beat;
	struct pulse *pulse;
	struct leader *leader;
	struct recover *recover;
	struct audit *audit;
	struct reports *reports;
	struct cancels *cancels;
	struct registry *registry;
	struct leases *leases;
	struct endpoints *endpoints;
	struct gates *gates;

	/* schema and registration, again after a failure */
	struct loop_timer *start_timer;
	bool starting;	 /* a statement of the start is under way */
	bool registered; /* our incarnation is in PostgreSQL */
	bool serving;	 /* types are known too: tasks may be taken */
	bool told_too_new;
	bool released; /* on purpose without connections */
	bool idle;     /* takes no tasks, ever */
	bool draining, leaving, ending;
	struct loop_defer *hint_defer;
	bool hint, hint_lists, places_dirty;
	/* what is served has changed and is to be told PostgreSQL; and is being told */
	bool serve_dirty, serve_open;
	struct list_flow flows[LISTS_MOST];
	struct list_told told[TOLD_MOST];
	size_t told_count;
	int64_t told_ms;
	int64_t endpoints_told_ms; /* others are told of tasks again then */
	int64_t work_down_ms;	   /* since when the work lane is down; 0: it is up */
	bool gave_up;		   /* engine_give_up: nothing is waited for any more */
	int64_t peers;		   /* living workers of the cluster, at least 1 */
};

/* free places of metered types changed: told to the feeder once a turn; hint: and it
 * shall look */
void engine_places_changed(struct engine *e, bool hint);
bool engine_is_spilling(struct engine *e, int pool);
/* committed: a task for an endpoint is due, in this pool; where there is no room here
 * others are told */
void engine_endpoints_due(struct engine *e, int app_id, int pool);
bool engine_serves(const struct engine *e, int pool);
/* the leader shall look at this list; -1: at all */
void engine_hint_list(struct engine *e, int list);
/* places were freed that tasks of the pools served here could take */
void engine_hint_places(struct engine *e, bool commands);
void engine_check_drained(struct engine *e);

/* ctl.c: what workers tell each other; engine.h has what is said */
void ctl_heard(struct engine *e, const char *text, size_t len);
void ctl_send_hints(struct engine *e); /* those of this turn */

/* types.c: what this worker can run */
struct type_entry {
	TAILQ_ENTRY(type_entry) link;
	char *name;
	int id; /* 0 until learned */
	enum handler_kind kind;
	const struct type_settings *settings; /* NULL: built in */
	int limit;			      /* at a time on this worker */
	int used;
	int most;     /* what its handler allows for the moment; -1: limit */
	bool metered; /* the feeder pushes it against free places only */
	const struct backoff *backoff; /* NULL: the default rule */
	struct backoff own_backoff;    /* what it points to */
	bool limited; /* in the cluster, by our settings: the feeder pushes it */
	/* of an application's type, which runs at its endpoint; NULL: the operator's */
	struct gate *gate;
	int64_t version; /* of that endpoint, at the latest claim */
};
struct types *types_create(struct engine *e, struct err *err) ATTR_CHECK;
void types_free(struct types *ts);
struct type_entry *types_by_id(struct types *ts, int id); /* NULL: not run here */
struct type_entry *types_by_name(struct types *ts, const char *name);
bool types_take_place(struct types *ts, struct type_entry *t);
void types_put_place(struct types *ts, struct type_entry *t);
int types_free_slots(
    const struct types *ts); /* places for types that are not metered */
int types_free_commands(const struct types *ts); /* places for exec types together */
bool types_have(const struct types *ts, enum handler_kind kind);
bool types_have_commands(const struct types *ts);
/* how many of t could start now */
int types_free_places(const struct types *ts, const struct type_entry *t);
/* how many of a stream type fit; -1: as many as there are slots, 0: it is not served
 * now, else the feeder pushes them against these places.  True if that changes whether
 * it is served. */
bool types_set_places(struct types *ts, struct type_entry *t, int places);
int types_running(const struct types *ts);
/* how many types of applications could start now; they leave room for others */
int types_free_gates(const struct types *ts);
/* "slots/free id:free id:free ... commands=id,id pools=main,gpu" for the feeder; the
 * last two only if there are commands, and other pools than main */
void types_places_text(struct types *ts, struct strbuf *out);
struct type_entry *types_next(
    struct types *ts, struct type_entry *after); /* NULL starts */
int types_learn(struct types *ts, names_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* parameters of sql_serve: what we serve, and the limits that our settings give */
void types_serve_params(struct types *ts, struct pgparam *p);
/* parameters of types_tell: what our settings say of each type */
void types_tell_params(struct types *ts, struct pgparam *p);

/* gates.c: types of applications that run at endpoints of theirs */
struct gate {
	TAILQ_ENTRY(gate) link;
	int app_id;
	char endpoint[NAME_MAX_BYTES + 1];
	int limit; /* at a time on this worker, over all types that run there */
	int used;
	int most; /* as of a type */
};
struct gates *gates_create(struct engine *e, struct err *err) ATTR_CHECK;
void gates_free(struct gates *g);
/* NULL: none that has run here */
struct type_entry *gates_type(const struct gates *g, int app_id, int type_id);
/* of a row of endpoints_claim, as it says; NULL: no memory */
struct type_entry *gates_learn(struct gates *g, const struct pgrows *rows, int row);
int gate_free_places(const struct gate *gate);
/* three arrays: application, endpoint, free places, where they are not the usual ones
 */
void gates_put_params(const struct gates *g, struct pgparam *p);

/* submit.c */
struct submit *submit_create(struct engine *e, struct err *err) ATTR_CHECK;
void submit_free(struct submit *s);
void submit_store(struct submit *s, bool up); /* the submit lane */
bool submit_idle(const struct submit *s);
void submit_room(struct submit *s); /* there may be room to adopt again */

/* each.c */
struct each *each_create(struct engine *e, struct err *err) ATTR_CHECK;
void each_free(struct each *s);
void each_store(struct each *s, bool up); /* its lane */
bool each_idle(const struct each *s);

/* dispatch.c: pop, claim, start */
struct dispatch *dispatch_create(struct engine *e, struct err *err) ATTR_CHECK;
void dispatch_free(struct dispatch *d);
/* a task that runs alone is held: nothing else is taken */
bool dispatch_has_suspect(const struct dispatch *d);
bool dispatch_is_quiet(const struct dispatch *d); /* no handler has anything */
void dispatch_wake(struct dispatch *d); /* something changed: look what can be done */
/* there may be tasks for endpoints of this application; 0: of any */
void dispatch_endpoints_due(struct dispatch *d, int app_id);
void dispatch_popped(struct dispatch *d, const struct elem *el); /* broker event */
void dispatch_wait_ended(struct dispatch *d, int list);
void dispatch_more_ended(struct dispatch *d, int list, int64_t left);
void dispatch_broker(struct dispatch *d, bool up);
void dispatch_refused(struct dispatch *d); /* redis answers with errors */
void dispatch_late(struct dispatch *d);	   /* or not for long */
/* the leader writes nothing: for a moment tasks are claimed without it */
void dispatch_unfed(struct dispatch *d);
void dispatch_store(struct dispatch *d, bool up); /* the work lane */
void dispatch_stop(
    struct dispatch *d); /* takes nothing any more; what is not claimed is given back */
void dispatch_give_up(
    struct dispatch *d); /* running attempts are cancelled and given back */
bool dispatch_idle(
    const struct dispatch *d); /* holds nothing, has no request under way */
/* for qsort and bsearch over pointers: by application and id, the order of every
 * statement */
int attempt_by_key(const void *x, const void *y);
struct attempt *dispatch_find(struct dispatch *d, const struct uuid *id);
struct attempt *dispatch_next(
    struct dispatch *d, size_t *cursor); /* walks what is held */
void dispatch_cancel(struct dispatch *d,
    struct attempt *a); /* its end was asked for: tell its handler */
/* a claim is under way: what it brings is not known here yet */
bool dispatch_is_claiming(const struct dispatch *d);
void dispatch_lose(
    struct dispatch *d, struct attempt *a); /* not ours any more: stop it */
void dispatch_release(
    struct dispatch *d, struct attempt *a); /* its end is settled: forget it */
/* one that PostgreSQL says is ours and is not: given back by the usual guard */
void dispatch_ghost(struct dispatch *d, const struct elem *el, int number, int claim);
int dispatch_first_open_claim(
    const struct dispatch *d); /* batches below it are answered */
/* this attempt leaves its batch; true when it was the last: *claim may be removed */
bool dispatch_leave_claim(struct attempt *a, int *claim);
/* a batch that ended without a finish, to be removed with the next one; false: none */
bool dispatch_ended_claim(struct dispatch *d, int *claim);

/* adopt.c: tasks that the worker which stores them runs itself */
/* the pool is served here, and there is nothing in it that waits */
bool adopt_may(const struct dispatch *d, int pool);
/* handlers have ended, and when it is recorded there will be room */
bool adopt_soon(const struct dispatch *d, int pool);
int adopt_room(const struct dispatch *d); /* places that may be given to such tasks */
/* a place for such a task, to be put back or handed to adopt_task; NULL: none */
struct type_entry *adopt_place(struct dispatch *d, int type_id);
/* the batch number that the statement gives to what it adopts; ended by adopt_end */
int adopt_begin(struct dispatch *d);
/* committed as ours; its place is the attempt's, the item is copied.  Started by
 * adopt_end. */
void adopt_task(struct dispatch *d, struct type_entry *place, int app_id,
    const struct submit_item *it);
void adopt_end(struct dispatch *d, bool lost); /* lost: nobody knows what it brought */

/* audit.c: what PostgreSQL says that this worker holds against what it holds */
struct audit *audit_create(struct engine *e, struct err *err) ATTR_CHECK;
void audit_free(struct audit *au);
void audit_now(struct audit *au);

/* cancels.c: running attempts whose end somebody has asked for */
struct cancels *cancels_create(struct engine *e, struct err *err) ATTR_CHECK;
void cancels_free(struct cancels *c);
void cancels_look(struct cancels *c); /* there may be one for us */

/* finish.c: outcomes into PostgreSQL */
struct finish *finish_create(struct engine *e, struct err *err) ATTR_CHECK;
void finish_free(struct finish *f);
void finish_add(struct finish *f, struct attempt *a);
void finish_store_up(struct finish *f);
bool finish_idle(const struct finish *f);

/* handover.c: attempts that go on outside */
struct handover *handover_create(struct engine *e, struct err *err) ATTR_CHECK;
void handover_free(struct handover *h);
/* an ended one, with OUTCOME_OUTSIDE */
void handover_add(struct handover *h, struct attempt *a);
void handover_store_up(struct handover *h);

/* waiters.c */
struct waiters *waiters_create(struct engine *e, struct err *err) ATTR_CHECK;
void waiters_free(struct waiters *ws);
void waiters_done(struct waiters *ws, int app_id, const struct uuid *id);
void waiters_end_all(
    struct waiters *ws); /* the worker leaves: all are told "not ended" */

/* leases.c */
struct leases *leases_create(struct engine *e, struct err *err) ATTR_CHECK;
void leases_free(struct leases *ls);
void leases_told(struct leases *ls, const char *text, size_t len); /* a message */
/* a queue was resumed, or its limits are others */
void leases_queue_changed(struct leases *ls, int queue_id);
bool leases_idle(const struct leases *ls); /* nothing is under way */

/* pulse.c: what the node does, for views of the cluster */
struct pulse *pulse_create(struct engine *e, struct err *err) ATTR_CHECK;
void pulse_free(struct pulse *p);

/* beat.c: the node's heartbeat in PostgreSQL */
struct beat *beat_create(struct engine *e, struct err *err) ATTR_CHECK;
void beat_free(struct beat *b);
void beat_now(struct beat *b);
/* whether this worker is the one that speaks for its node */
bool beat_is_ours(const struct engine *e, int64_t now_ms);
void beat_look(
    struct beat *b); /* at an order: now, if this worker beats for its node */

/* leader.c: the lease, the watch over all incarnations, sweeps */
struct leader *leader_create(struct engine *e, struct err *err) ATTR_CHECK;
void leader_free(struct leader *ld);
void leader_campaign(struct leader *ld);       /* takes the lease if it is free */
void leader_store(struct leader *ld, bool up); /* the leader's connection */
void leader_broker(struct leader *ld, bool up);
void leader_lost(struct leader *ld); /* PostgreSQL says that another leads */
/* somebody asks for a pass over this list; -1: over all */
void leader_hint(struct leader *ld, int list);
void leader_schedules(struct leader *ld); /* a schedule has changed */
void leader_operate(struct leader *ld);	  /* there may be an operation */
void leader_requeue(struct leader *ld);	  /* what may run has changed */
void leader_again(
    struct leader *ld, const struct uuid *id); /* it is queued once more */
void leader_sweep_soon(struct leader *ld);     /* an incarnation was buried */
void leader_step_down(struct leader *ld);
bool leader_is(const struct leader *ld);
void leader_quit(struct leader *ld); /* the process ends: nothing is started any more */

/* feeders.c: one feeder a list, which keeps it as PostgreSQL says it should be */
struct feeders *feeders_create(struct engine *e, struct err *err) ATTR_CHECK;
void feeders_free(struct feeders *fs);
void feeders_start(struct feeders *fs); /* the leader's connection is up */
void feeders_stop(struct feeders *fs);
void feeders_hint(struct feeders *fs, int list); /* -1: all */
void feeders_requeue(struct feeders *fs);	 /* the lists are to be made anew */
/* it is queued once more: where it was pushed before counts no more */
void feeders_again(struct feeders *fs, const struct uuid *id);
void feeders_renew_places(struct feeders *fs);

/* expiry.c: takes back leases whose time is over */
struct expiry *expiry_create(struct engine *e, struct err *err) ATTR_CHECK;
void expiry_free(struct expiry *x);
void expiry_start(struct expiry *x); /* this worker leads, and has PostgreSQL */
void expiry_stop(struct expiry *x);
/* the first lease is over in so long */
void expiry_told(struct expiry *x, int64_t wait_ms);

/* prune.c: removes finished tasks whose time is over */
struct prune *prune_create(struct engine *e, struct err *err) ATTR_CHECK;
void prune_free(struct prune *p);
void prune_start(struct prune *p); /* this worker leads, and has PostgreSQL */
void prune_stop(struct prune *p);
/* its pace: the pause after a statement, in a pass that has lasted for pass_ms ... */
int64_t prune_rest_ms(int64_t took_ms, int64_t pass_ms);
/* ... and the next batch; full: this one was looked at to its last row */
int prune_batch(int batch, int64_t took_ms, bool full);
/* how long finished tasks are kept for what all take, if that was now_ms; 0: for any
 * time */
struct prune_size {
	int64_t bytes, limit; /* limit 0: none */
	int64_t keep_ms;      /* by the settings; 0: for ever */
	int64_t oldest_ms;    /* since the submit of the oldest task */
};
int64_t prune_size_keep_ms(const struct prune_size *s, int64_t now_ms);

/* schedules.c: makes the tasks of schedules */
struct schedules *schedules_create(struct engine *e, struct err *err) ATTR_CHECK;
void schedules_free(struct schedules *s);
void schedules_start(struct schedules *s); /* this worker leads, and has PostgreSQL */
void schedules_stop(struct schedules *s);
void schedules_hint(struct schedules *s); /* one has changed */
/* the first one is to be looked at in so long */
void schedules_told(struct schedules *s, int64_t wait_ms);
/* tidy.c: removes old events, and reports of tasks that are gone */
struct tidy *tidy_create(struct engine *e, struct err *err) ATTR_CHECK;
void tidy_free(struct tidy *t);
void tidy_start(struct tidy *t); /* this worker leads, and has PostgreSQL */
void tidy_stop(struct tidy *t);

/* webhooks.c: makes the deliveries of webhooks, from what ends leave */
struct webhooks *webhooks_create(struct engine *e, struct err *err) ATTR_CHECK;
void webhooks_free(struct webhooks *ws);
void webhooks_start(struct webhooks *ws); /* this worker leads, and has PostgreSQL */
void webhooks_stop(struct webhooks *ws);

/* report.c: what running attempts say, into PostgreSQL */
struct reports *reports_create(struct engine *e, struct err *err) ATTR_CHECK;
void reports_free(struct reports *rs);
void report_add(struct reports *rs, struct attempt *a, const char *progress,
    const char *line, size_t line_len);
void report_end(struct reports *rs, struct attempt *a); /* its last words are written */
bool reports_idle(const struct reports *rs);		/* all last words are written */
/* operate.c: works at what was asked for by filter */
struct operate *operate_create(struct engine *e, struct err *err) ATTR_CHECK;
void operate_free(struct operate *o);
void operate_start(struct operate *o); /* this worker leads, and has PostgreSQL */
void operate_stop(struct operate *o);
void operate_look(struct operate *o); /* there may be a new one */

#define LEASE_MS 9000

/* recover.c */
struct recover *recover_create(struct engine *e, struct err *err) ATTR_CHECK;
void recover_free(struct recover *r);
void recover_burials(struct recover *r); /* look for open burials on the scoreboard */
/* marks these dead, then takes their tasks; copied */
void recover_owners(
    struct recover *r, const struct uuid *owners, size_t count, bool mark);
bool recover_idle(const struct recover *r);

#endif
