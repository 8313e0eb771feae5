/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leader.c - the one worker of the cluster that does what must be done once.
 *
 * The lease is a row in PostgreSQL; each pass over the first list renews it.  Nothing
 * rests on there being one leader only: two cost duplicate work, since guarded
 * statements decide.
 *
 * The leader watches every incarnation's beat by its own monotonic clock on one
 * unbroken connection: a count that stands still for DEAD_MS means that nobody beats
 * for it.  When the connection breaks the watch starts anew, so that a database that
 * was away orphans nobody.
 *
 * A leader without Redis cannot feed.  It gives way after GIVE_WAY_MS, once for each
 * time that Redis is away: if others have it, one of them leads within seconds; if
 * nobody has, somebody leads all the same, for the watch.  Whoever gets Redis back asks
 * for the lease at once.
 *
 * After a death it sweeps for claims that committed late: after 1, 5 and 15 s, and each
 * minute.
 */
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define WATCH_MS    3000
#define GIVE_WAY_MS 3000
#define COME_LAST_MS                                                                   \
	4000 /* so long workers without Redis leave the lease to others                \
	      */
#define DEAD_MS	      10000
#define SWEEP_MS      60000
#define FORGET_SWEEPS 60 /* sweeps between two removals of old incarnations */
#define DEAD_MOST     256

static const int64_t sweep_steps_ms[] = {1000, 5000, 15000};

struct watched {
	struct uuid id;
	int64_t beat;
	int64_t since_ms; /* when the beat was first seen at this count */
	unsigned round;	  /* of the last answer that named it */
};

struct leader {
	struct engine *engine;
	struct feeders *feeders;
	struct prune *prune;
	struct schedules *schedules;
	struct tidy *tidy;
	struct operate *operate;
	struct expiry *expiry;
	struct webhooks *webhooks;
	bool leading;
	bool asking;
	struct hmap *watched;
	unsigned round;
	bool watching;
	int64_t asked_ms; /* when the question under way left */
	struct loop_timer *watch_timer;
	struct loop_timer *sweep_timer;
	size_t sweep_step;
	unsigned sweeps;
	struct loop_timer *redis_timer; /* without Redis: gives way, or comes last */
	bool gave_way;			/* since Redis went */
	bool come_last; /* it is time to take what nobody with Redis took */
};

static void on_watch_time(void *arg);
static void on_sweep_time(void *arg);
static void on_redis_time(void *arg);

struct leader *
leader_create(struct engine *e, struct err *err)
{
	struct leader *ld = mem_zero(sizeof(*ld));

	if (ld == NULL) {
		err_set(err, ERR_NOMEM, "leader");
		return NULL;
	}
	ld->engine = e;
	ld->watched = hmap_create();
	ld->watch_timer = loop_timer_create(e->loop, on_watch_time, ld);
	ld->sweep_timer = loop_timer_create(e->loop, on_sweep_time, ld);
	ld->redis_timer = loop_timer_create(e->loop, on_redis_time, ld);
	ld->feeders = feeders_create(e, err);
	ld->prune = prune_create(e, err);
	ld->schedules = schedules_create(e, err);
	ld->tidy = tidy_create(e, err);
	ld->operate = operate_create(e, err);
	ld->expiry = expiry_create(e, err);
	ld->webhooks = webhooks_create(e, err);
	if (ld->redis_timer == NULL || ld->watched == NULL || ld->watch_timer == NULL ||
	    ld->sweep_timer == NULL || ld->feeders == NULL || ld->prune == NULL ||
	    ld->schedules == NULL || ld->tidy == NULL || ld->operate == NULL ||
	    ld->expiry == NULL || ld->webhooks == NULL) {
		leader_free(ld);
		err_set(err, ERR_NOMEM, "leader");
		return NULL;
	}
	return ld;
}

static void
forget_watched(struct leader *ld)
{
	struct watched *w;
	size_t cursor = 0;

	while ((w = hmap_next(ld->watched, &cursor)) != NULL) {
		hmap_remove(ld->watched, w->id.b, sizeof(w->id.b));
		mem_free(w);
	}
}

void
leader_free(struct leader *ld)
{
	if (ld == NULL)
		return;
	if (ld->watched != NULL)
		forget_watched(ld);
	hmap_free(ld->watched);
	loop_timer_free(ld->watch_timer);
	loop_timer_free(ld->sweep_timer);
	loop_timer_free(ld->redis_timer);
	feeders_free(ld->feeders);
	prune_free(ld->prune);
	schedules_free(ld->schedules);
	tidy_free(ld->tidy);
	operate_free(ld->operate);
	expiry_free(ld->expiry);
	webhooks_free(ld->webhooks);
	mem_free(ld);
}

bool
leader_is(const struct leader *ld)
{
	return ld->leading;
}

/* ---------------------------------------------------------------- the lease */

static void
on_unled(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct leader *ld = arg;

	(void)rows;
	if (pe == NULL) /* whoever hears it may take the lease now; else it runs out */
		broker_publish(ld->engine->broker, "lead");
}

/* the lease is given up */
static void
unlead(struct leader *ld)
{
	struct pgparam p;

	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_UUID);
	pgparam_elem_uuid(&p, &ld->engine->owner);
	pgparam_array_end(&p);
	(void)!store_exec(
	    ld->engine->store, STORE_WORK, &sql_unlead, &p, on_unled, ld, NULL);
	pgparam_fini(&p);
}

static void
on_lead(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct leader *ld = arg;
	struct err err = ERR_INIT;

	ld->asking = false;
	if (pe != NULL || pgrows_count(rows) == 0 || ld->leading || ld->engine->ending)
		return;
	if (ld->engine->draining) {
		unlead(ld); /* we began to leave meanwhile */
		return;
	}
	if (store_lead(ld->engine->store, true, &err) != 0) {
		log_warn(NULL, "cannot lead", "reason=\"%s\"", err.text);
		return;
	}
	ld->leading = true;
	broker_hear_hints(ld->engine->broker);
	ld->gave_way = !broker_is_up(ld->engine->broker);
	loop_timer_stop(ld->redis_timer);
	log_info(NULL, "this worker leads the cluster", "epoch=%lld",
	    (long long)pgrows_int(rows, 0, 0));
}

void
leader_campaign(struct leader *ld)
{
	struct pgparam p;

	if (ld->leading || ld->asking || ld->engine->draining || !ld->engine->serving)
		return;
	if (!broker_is_up(ld->engine->broker) && !ld->come_last) {
		if (!loop_timer_pending(ld->redis_timer))
			loop_timer_start_ms(ld->redis_timer, COME_LAST_MS);
		return;
	}
	ld->come_last = false;
	pgparam_init(&p);
	pgparam_uuid(&p, &ld->engine->owner);
	pgparam_int4(&p, LEASE_MS);
	ld->asking = store_exec(ld->engine->store, STORE_WORK, &sql_lead, &p, on_lead,
			 ld, NULL) == 0;
	pgparam_fini(&p);
}

static void
stop(struct leader *ld)
{
	ld->leading = false;
	feeders_stop(ld->feeders);
	prune_stop(ld->prune);
	schedules_stop(ld->schedules);
	tidy_stop(ld->tidy);
	operate_stop(ld->operate);
	expiry_stop(ld->expiry);
	webhooks_stop(ld->webhooks);
	forget_watched(ld);
	loop_timer_stop(ld->watch_timer);
	loop_timer_stop(ld->sweep_timer);
	(void)!store_lead(ld->engine->store, false, NULL);
}

void
leader_quit(struct leader *ld)
{
	ld->leading = false;
	feeders_stop(ld->feeders);
	prune_stop(ld->prune);
	schedules_stop(ld->schedules);
	tidy_stop(ld->tidy);
	operate_stop(ld->operate);
	expiry_stop(ld->expiry);
	webhooks_stop(ld->webhooks);
}

void
leader_lost(struct leader *ld)
{
	if (!ld->leading)
		return;
	log_warn(NULL, "another worker leads the cluster now", " ");
	stop(ld);
}

void
leader_step_down(struct leader *ld)
{
	if (!ld->leading)
		return;
	stop(ld);
	unlead(ld);
}

static void
on_redis_time(void *arg)
{
	struct leader *ld = arg;

	if (broker_is_up(ld->engine->broker))
		return;
	if (ld->leading && !ld->gave_way) {
		log_warn(NULL, "redis is away from the leader: another may lead", " ");
		ld->gave_way = true;
		leader_step_down(ld);
	} else if (!ld->leading) {
		/* still free?  the lease itself says */
		ld->come_last = true;
		leader_campaign(ld);
	}
}

void
leader_broker(struct leader *ld, bool up)
{
	ld->come_last = false;
	if (up) {
		ld->gave_way = false;
		loop_timer_stop(ld->redis_timer);
		/* a leader that gave way without Redis could tell nobody who has it */
		leader_campaign(ld);
		feeders_renew_places(ld->feeders);
	} else if (ld->leading && !ld->gave_way) {
		loop_timer_start_ms(ld->redis_timer, GIVE_WAY_MS);
	}
}

void
leader_store(struct leader *ld, bool up)
{
	if (!ld->leading)
		return;
	if (up) {
		feeders_start(ld->feeders);
		prune_start(ld->prune);
		schedules_start(ld->schedules);
		tidy_start(ld->tidy);
		operate_start(ld->operate);
		expiry_start(ld->expiry);
		webhooks_start(ld->webhooks);
		loop_timer_start_ms(ld->watch_timer, 0);
		leader_sweep_soon(ld);
	} else {
		feeders_stop(ld->feeders);
		prune_stop(ld->prune);
		schedules_stop(ld->schedules);
		tidy_stop(ld->tidy);
		operate_stop(ld->operate);
		expiry_stop(ld->expiry);
		webhooks_stop(ld->webhooks);
		forget_watched(ld);
		loop_timer_stop(ld->watch_timer);
		loop_timer_stop(ld->sweep_timer);
	}
}

void
leader_hint(struct leader *ld, int list)
{
	if (ld->leading)
		feeders_hint(ld->feeders, list);
}

void
leader_schedules(struct leader *ld)
{
	if (ld->leading)
		schedules_hint(ld->schedules);
}

void
leader_operate(struct leader *ld)
{
	if (ld->leading)
		operate_look(ld->operate);
}

void
leader_requeue(struct leader *ld)
{
	if (ld->leading)
		feeders_requeue(ld->feeders);
}

void
leader_again(struct leader *ld, const struct uuid *id)
{
	if (ld->leading)
		feeders_again(ld->feeders, id);
}

/* ---------------------------------------------------------------- the watch */

static void
see(struct leader *ld, const struct uuid *id, int64_t beat, int64_t now_ms)
{
	struct watched *w = hmap_get(ld->watched, id->b, sizeof(id->b));

	if (w == NULL) {
		w = mem_zero(sizeof(*w));
		if (w == NULL)
			return;
		w->id = *id;
		w->beat = beat;
		w->since_ms = now_ms;
		if (hmap_put(ld->watched, w->id.b, sizeof(w->id.b), w, NULL) != 0) {
			mem_free(w);
			return;
		}
	} else if (w->beat != beat) {
		w->beat = beat;
		w->since_ms = now_ms;
	}
	w->round = ld->round;
}

static void
on_watch(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct leader *ld = arg;
	struct uuid id, dead[DEAD_MOST];
	char name[OWNER_TEXT_SIZE];
	struct watched *w;
	int64_t now_ms = loop_now_ms(ld->engine->loop), silent_ms;
	size_t cursor = 0, count = 0;

	ld->watching = false;
	if (pe != NULL || !ld->leading)
		return;
	ld->round++;
	for (int i = 0; i < pgrows_count(rows); i++) {
		pgrows_uuid(rows, i, 0, &id);
		see(ld, &id, pgrows_int(rows, i, 1), now_ms);
	}
	if (pgrows_count(rows) > 0 && pgrows_bool(rows, 0, 2))
		operate_look(ld->operate);
	if (pgrows_count(rows) > 0 && !pgrows_is_null(rows, 0, 3))
		schedules_told(ld->schedules, pgrows_int(rows, 0, 3));
	if (pgrows_count(rows) > 0 && !pgrows_is_null(rows, 0, 4))
		expiry_told(ld->expiry, pgrows_int(rows, 0, 4));
	while ((w = hmap_next(ld->watched, &cursor)) != NULL) {
		/*
		 * A count was seen to stand still until the question left, not until
		 * now: if we were frozen in between, the answer is as old as that.
		 */
		silent_ms = ld->asked_ms - w->since_ms;
		if (w->round == ld->round &&
		    (silent_ms < DEAD_MS || count == DEAD_MOST))
			continue;
		if (w->round == ld->round) {
			log_warn(NULL,
			    "a worker's heartbeat stands still: it is called dead",
			    "incarnation=%s silent_ms=%lld", owner_text(&w->id, name),
			    (long long)silent_ms);
			dead[count++] = w->id;
		}
		hmap_remove(ld->watched, w->id.b, sizeof(w->id.b));
		mem_free(w);
	}
	if (count > 0) {
		recover_owners(ld->engine->recover, dead, count, true);
		leader_sweep_soon(ld);
	}
}

static void
on_watch_time(void *arg)
{
	struct leader *ld = arg;

	loop_timer_start_ms(ld->watch_timer, WATCH_MS);
	if (ld->watching)
		return;
	ld->asked_ms = loop_now_ms(ld->engine->loop);
	ld->watching = store_exec(ld->engine->store, STORE_LEAD, &sql_watch, NULL,
			   on_watch, ld, NULL) == 0;
}

/* ---------------------------------------------------------------- sweeps */

void
leader_sweep_soon(struct leader *ld)
{
	if (!ld->leading)
		return;
	ld->sweep_step = 0;
	loop_timer_start_ms(ld->sweep_timer, sweep_steps_ms[0]);
}

static void
on_strays(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct leader *ld = arg;
	struct uuid owners[DEAD_MOST];
	struct pgarray a;
	const char *value;
	size_t len, count = 0;

	if (pe != NULL || !ld->leading || pgrows_count(rows) == 0)
		return;
	pgrows_array(rows, 0, 0, &a);
	while (count < DEAD_MOST && pgarray_next(&a, &value, &len)) {
		if (value != NULL && len == sizeof(owners[0].b))
			memcpy(owners[count++].b, value, len);
	}
	if (count > 0)
		recover_owners(ld->engine->recover, owners, count, false);
}

static void
on_forgotten(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	(void)rows;
	(void)arg;
	if (pe != NULL && pe->class != PGERR_LOST)
		log_warn(NULL, "old incarnations were not removed", "reason=\"%.200s\"",
		    pe->text);
}

static void
on_sweep_time(void *arg)
{
	struct leader *ld = arg;
	struct store *st = ld->engine->store;

	(void)!store_exec(st, STORE_LEAD, &sql_strays, NULL, on_strays, ld, NULL);
	if (++ld->sweeps % FORGET_SWEEPS == 0)
		(void)!store_exec(
		    st, STORE_LEAD, &sql_forget, NULL, on_forgotten, NULL, NULL);
	if (++ld->sweep_step < COUNT_OF(sweep_steps_ms))
		loop_timer_start_ms(
		    ld->sweep_timer, sweep_steps_ms[ld->sweep_step] -
					 sweep_steps_ms[ld->sweep_step - 1]);
	else
		loop_timer_start_ms(ld->sweep_timer, SWEEP_MS);
}
