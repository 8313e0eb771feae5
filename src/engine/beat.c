/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * beat.c - the node's heartbeat in PostgreSQL, one statement for all its workers.
 *
 * The living worker with the lowest number beats for every worker whose own heartbeat
 * on the scoreboard is fresh; a worker that hangs is not beaten for, and will be found
 * dead by the leader.  The answer tells which incarnations are still alive there: the
 * others are disowned, and end.  It also brings PostgreSQL's clock, the number of
 * living workers, whether anybody leads, and the leader's count.  A worker that was not
 * beaten for in time beats for the node itself: the one whose turn it is may have lost
 * its connection, or wait behind a lock.
 *
 * Every worker compares that count with the one in its own Redis: a Redis whose count
 * stands still while PostgreSQL's moves is a forgotten one.  Whichever it is, while the
 * count in Redis stands still nobody feeds: a leader that is frozen, or cut off from
 * PostgreSQL, keeps its lease for seconds.  Until it has another holder tasks are
 * claimed as without Redis, so that those which only the feeder may push do not wait.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define TICK_MS	       500
#define BEAT_MS	       3000
#define FRESH_MS       2500
#define LATE_MS	       4500 /* not beaten for: less than half of what the dead take */
#define STALE_REDIS_MS 3000
#define READ_MS	       1000
#define SILENT_MS      3000  /* the leader writes each second, a slow one each other */
#define PLACES_MS      10000 /* a third of what the key lives */

struct beat {
	struct engine *engine;
	struct loop_timer *timer;
	bool open;
	struct uuid asked[SCORE_SLOTS];
	int slots[SCORE_SLOTS]; /* of asked */
	size_t count;
	int64_t places_at_ms; /* when the worker's places were last told */
	/* the watch on Redis */
	bool reading;
	int64_t read_at_ms;
	int64_t moved_ms;      /* when redis_beat last moved */
	bool silent;	       /* it stands still for SILENT_MS */
	int64_t redis_beat;    /* last read */
	int64_t database_beat; /* PostgreSQL's, when redis_beat last moved */
	int64_t
	    behind_ms; /* since when PostgreSQL's has moved and redis_beat not; 0: no */
};

static void on_tick(void *arg);

struct beat *
beat_create(struct engine *e, struct err *err)
{
	struct beat *b = mem_zero(sizeof(*b));

	if (b == NULL || (b->timer = loop_timer_create(e->loop, on_tick, b)) == NULL) {
		mem_free(b);
		err_set(err, ERR_NOMEM, "beat");
		return NULL;
	}
	b->engine = e;
	loop_timer_start_ms(b->timer, TICK_MS);
	return b;
}

void
beat_free(struct beat *b)
{
	if (b == NULL)
		return;
	loop_timer_free(b->timer);
	mem_free(b);
}

static bool
is_fresh(const struct score_slot *slot, int64_t now_ms)
{
	return atomic_load(&slot->pid) != 0 &&
	       atomic_load(&slot->state) != SCORE_FREE &&
	       now_ms - atomic_load(&slot->heartbeat_ms) < FRESH_MS;
}

bool
beat_is_ours(const struct engine *e, int64_t now_ms)
{
	struct uuid id;

	for (int i = 0; i < SCORE_SLOTS; i++) {
		struct score_slot *slot = &e->board->slots[i];

		if (slot == e->slot)
			return score_get_uuid(slot->incarnation, &id);
		if (is_fresh(slot, now_ms) && score_get_uuid(slot->incarnation, &id))
			return false;
	}
	return false;
}

static void
disown(struct beat *b, const struct pgrows *rows)
{
	struct engine *e = b->engine;
	struct uuid id;
	int64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < b->count; i++) {
		struct score_slot *slot = &e->board->slots[b->slots[i]];
		bool alive = false;

		for (int r = 0; r < pgrows_count(rows) && !alive; r++) {
			pgrows_uuid(rows, r, 0, &id);
			alive = uuid_eq(&id, &b->asked[i]);
		}
		if (alive)
			atomic_store(&slot->beaten_ms, now_ms);
		else if (score_get_uuid(slot->incarnation, &id) &&
			 uuid_eq(&id, &b->asked[i]))
			atomic_store(&slot->disowned, 1);
	}
}

static void
on_beaten(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct beat *b = arg;
	struct engine *e = b->engine;

	b->open = false;
	if (pe != NULL) {
		if (pe->class != PGERR_LOST)
			log_warn(NULL, "the heartbeat failed",
			    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
		return;
	}
	disown(b, rows);
	if (pgrows_count(rows) == 0)
		return;
	atomic_store(
	    &e->board->clock_offset_us, pgrows_int(rows, 0, 1) - clock_wall_us());
	atomic_store(&e->board->cluster_beat, pgrows_int(rows, 0, 3));
	atomic_store(&e->board->peers, (int32_t)pgrows_int(rows, 0, 5));
	atomic_store(&e->board->registry_rev, pgrows_int(rows, 0, 6));
	/* for the master, which sees to it that each is obeyed once */
	atomic_store(&e->board->order, score_order_make(pgrows_int(rows, 0, 7),
					   (enum node_mode)pgrows_int(rows, 0, 8)));
	if (pgrows_bool(rows, 0, 2))
		leader_campaign(e->leader);
}

/* three arrays beside the ids: what each worker does */
static void
put_told(const struct beat *b, struct pgparam *p)
{
	struct score_slot *slots = b->engine->board->slots;

	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < b->count; i++)
		pgparam_elem_int4(
		    p, (int32_t)atomic_load(
			   &slots[b->slots[i]].counters[SCORE_tasks_running]));
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < b->count; i++)
		pgparam_elem_int4(
		    p, (int32_t)atomic_load(&slots[b->slots[i]].generation));
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_BOOL);
	for (size_t i = 0; i < b->count; i++)
		pgparam_elem_bool(p, atomic_load(&slots[b->slots[i]].idle) != 0);
	pgparam_array_end(p);
}

void
beat_look(struct beat *b)
{
	if (beat_is_ours(b->engine, clock_mono_ms()))
		beat_now(b);
}

void
beat_now(struct beat *b)
{
	struct engine *e = b->engine;
	int64_t now_ms = clock_mono_ms();
	struct pgparam p;

	if (b->open || !e->registered)
		return;
	b->count = 0;
	pgparam_init(&p);
	pgparam_text(&p, e->board->node_text);
	pgparam_int4(&p, atomic_load(&e->board->mode));
	pgparam_array(&p, PGTYPE_UUID);
	for (int i = 0; i < SCORE_SLOTS; i++) {
		struct score_slot *slot = &e->board->slots[i];

		if (!is_fresh(slot, now_ms) ||
		    !score_get_uuid(slot->incarnation, &b->asked[b->count]))
			continue;
		pgparam_elem_uuid(&p, &b->asked[b->count]);
		b->slots[b->count++] = i;
	}
	pgparam_array_end(&p);
	put_told(b, &p);
	if (b->count > 0 &&
	    store_exec(e->store, STORE_WORK, &sql_beat, &p, on_beaten, b, NULL) == 0) {
		b->open = true;
		atomic_store(&e->board->beat_sent_ms, now_ms);
	}
	pgparam_fini(&p);
}

/* ---------------------------------------------------------------- is this Redis the
 * one that the leader writes to? */

static void
on_silence(struct beat *b)
{
	struct engine *e = b->engine;

	if (!b->silent)
		log_info(NULL,
		    "nobody feeds: tasks are claimed from the database alone until "
		    "somebody does",
		    " ");
	b->silent = true;
	dispatch_unfed(e->dispatch);
	if (beat_is_ours(e, clock_mono_ms()))
		leader_campaign(e->leader); /* as soon as the lease ends */
}

static void
on_redis_beat(int64_t beat, const struct err *err, void *arg)
{
	struct beat *b = arg;
	struct engine *e = b->engine;
	int64_t database = atomic_load(&e->board->cluster_beat),
		now_ms = loop_now_ms(e->loop);

	b->reading = false;
	if (err != NULL)
		return;
	if (beat != b->redis_beat) {
		if (b->silent)
			log_info(NULL, "somebody feeds again", " ");
		b->silent = false;
		b->moved_ms = now_ms;
		b->redis_beat = beat;
		b->database_beat = database;
		b->behind_ms = 0;
		return;
	}
	if (now_ms - b->moved_ms >= SILENT_MS && store_is_up(e->store, STORE_WORK))
		on_silence(b);
	/* the leader writes a count a pass later: one more is no news, and a leader
	 * that is silent has written what PostgreSQL has */
	if (database <= b->database_beat + 1 ||
	    (database >= beat && database <= beat + 1))
		return;
	/* and if PostgreSQL's stood still until now, ours shall have time to follow */
	if (b->behind_ms == 0)
		b->behind_ms = now_ms;
	if (now_ms - b->behind_ms < STALE_REDIS_MS)
		return;
	log_warn(NULL,
	    "this redis is not the one that the leader writes to: connecting again",
	    "beat=%lld database_beat=%lld", (long long)beat, (long long)database);
	b->behind_ms = 0;
	broker_close(e->broker, "a stale redis");
}

static void
read_redis(struct beat *b, int64_t now_ms)
{
	struct engine *e = b->engine;

	if (!broker_is_up(e->broker) || leader_is(e->leader)) {
		b->redis_beat = -1; /* what comes may be another */
		b->silent = false;
		return;
	}
	if (b->reading || now_ms - b->read_at_ms < READ_MS)
		return;
	b->read_at_ms = now_ms;
	b->reading = broker_read_beat(e->broker, on_redis_beat, b, NULL) == 0;
}

static void
on_tick(void *arg)
{
	struct beat *b = arg;
	struct engine *e = b->engine;
	int64_t now_ms = clock_mono_ms();
	int32_t peers = atomic_load(&e->board->peers);

	loop_timer_start_ms(b->timer, TICK_MS);
	e->peers = peers > 0 ? peers : 1;
	registry_look(e->registry, atomic_load(&e->board->registry_rev));
	engine_check_drained(e);
	/* (a worker that has left is not alive there either) */
	if (e->registered && atomic_load(&e->slot->disowned) && !e->ending &&
	    !e->leaving) {
		e->ending = true;
		log_error(NULL,
		    "this worker was called dead: it ends, others run its tasks", " ");
		e->ended(true, e->arg);
		return;
	}
	if ((now_ms - atomic_load(&e->board->beat_sent_ms) >= BEAT_MS &&
		beat_is_ours(e, now_ms)) ||
	    (now_ms - atomic_load(&e->slot->beaten_ms) >= LATE_MS && !e->ending))
		beat_now(b);
	if (now_ms - b->places_at_ms >= PLACES_MS) {
		b->places_at_ms = now_ms;
		engine_places_changed(e, false);
	}
	read_redis(b, now_ms);
}
