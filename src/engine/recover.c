/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover.c - the tasks of an incarnation that is gone become queued again.
 *
 * Two statements, in this order: mark the incarnation dead, then take its tasks.  A
 * claim looks at the mark first, so that after the mark no new claim starts; one that
 * had looked before may still commit, which is why the leader sweeps again later
 * (leader.c).
 *
 * A worker that died on this node is on the scoreboard's burials, put there by the
 * master after it had killed the worker's process groups; whichever worker is quicker
 * takes it.  Unless it had been told to end, its death counts against the tasks that it
 * ran (suspect.c).  A lost node's are found by the leader, and count against nothing.
 */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define RETRY_MS    200
#define OWNERS_MOST 512

enum step { STEP_NONE = 0, STEP_MARK, STEP_UNLEAD, STEP_TAKE };

struct recover {
	struct engine *engine;
	struct uuid owners[OWNERS_MOST]; /* waiting or under way */
	bool mark[OWNERS_MOST];
	enum burial_end end[OWNERS_MOST];
	size_t count;
	size_t open; /* the first so many are under way */
	enum step step;
	bool sent;
	struct loop_timer *timer;
};

static void go_on(void *arg);
static void send_step(struct recover *r);

struct recover *
recover_create(struct engine *e, struct err *err)
{
	struct recover *r = mem_zero(sizeof(*r));

	if (r == NULL || (r->timer = loop_timer_create(e->loop, go_on, r)) == NULL) {
		mem_free(r);
		err_set(err, ERR_NOMEM, "recover");
		return NULL;
	}
	r->engine = e;
	return r;
}

/* burials that this process took and has not finished are another's again */
static void
reopen_burials(struct recover *r)
{
	int32_t me = (int32_t)getpid();

	for (int i = 0; i < SCORE_BURIALS; i++) {
		struct score_burial *bu = &r->engine->board->burials[i];

		if (atomic_load(&bu->state) == BURIAL_TAKEN &&
		    atomic_load(&bu->taker) == me)
			atomic_store(&bu->state, BURIAL_OPEN);
	}
}

void
recover_free(struct recover *r)
{
	if (r == NULL)
		return;
	reopen_burials(r);
	loop_timer_free(r->timer);
	mem_free(r);
}

bool
recover_idle(const struct recover *r)
{
	return r->count == 0;
}

static void
add_owner(struct recover *r, const struct uuid *owner, bool mark, enum burial_end end)
{
	for (size_t k = 0; k < r->count; k++) {
		if (uuid_eq(&r->owners[k], owner))
			return;
	}
	if (r->count == OWNERS_MOST)
		return;
	r->owners[r->count] = *owner;
	r->mark[r->count] = mark;
	r->end[r->count++] = end;
}

void
recover_owners(struct recover *r, const struct uuid *owners, size_t count, bool mark)
{
	for (size_t i = 0; i < count; i++)
		add_owner(r, &owners[i], mark, BURIAL_TOLD);
	go_on(r);
}

void
recover_burials(struct recover *r)
{
	int32_t me = (int32_t)getpid();
	struct uuid owner;

	for (int i = 0; i < SCORE_BURIALS; i++) {
		struct score_burial *bu = &r->engine->board->burials[i];
		uint8_t open = BURIAL_OPEN;

		if (!r->engine->registered || r->count >= OWNERS_MOST)
			return;
		if (atomic_load(&bu->state) != BURIAL_OPEN)
			continue;
		if (!atomic_compare_exchange_strong(&bu->state, &open, BURIAL_TAKEN))
			continue;
		atomic_store(&bu->taker, me);
		if (!score_get_uuid(bu->incarnation, &owner)) {
			atomic_store(&bu->state, BURIAL_FREE);
			continue;
		}
		add_owner(r, &owner, true, (enum burial_end)atomic_load(&bu->end));
		go_on(r);
	}
}

/* the owners under way are done: off the list, and their burials free */
static void
finish(struct recover *r)
{
	struct uuid owner;

	for (int i = 0; i < SCORE_BURIALS; i++) {
		struct score_burial *bu = &r->engine->board->burials[i];

		if (atomic_load(&bu->state) != BURIAL_TAKEN ||
		    atomic_load(&bu->taker) != (int32_t)getpid() ||
		    !score_get_uuid(bu->incarnation, &owner))
			continue;
		for (size_t k = 0; k < r->open; k++) {
			if (uuid_eq(&owner, &r->owners[k])) {
				atomic_store(&bu->state, BURIAL_FREE);
				break;
			}
		}
	}
	for (size_t k = 0; k < r->open; k++)
		broker_bury(r->engine->broker, &r->owners[k]);
	memmove(r->owners, r->owners + r->open,
	    (r->count - r->open) * sizeof(r->owners[0]));
	memmove(r->mark, r->mark + r->open, (r->count - r->open) * sizeof(r->mark[0]));
	memmove(r->end, r->end + r->open, (r->count - r->open) * sizeof(r->end[0]));
	r->count -= r->open;
	r->open = 0;
	r->step = STEP_NONE;
	broker_publish(
	    r->engine->broker, "sweep"); /* the leader looks again for late claims */
}

/* it was cancelled while it ran, or is poison */
static void
tell_ended(struct engine *e, const struct elem *el, const struct pgrows *rows, int row)
{
	enum task_state state = (enum task_state)pgrows_int(rows, row, 5);
	struct uuid waiter;
	char id[UUID_TEXT_SIZE];

	if (state == TASK_FAILED) {
		score_add(e->slot, SCORE_tasks_failed_total, 1);
		log_warn(NULL, "a task crashes its worker: it failed for good",
		    "task=%s attempt=%d code=poison", uuid_format(&el->id, id),
		    (int)pgrows_int(rows, row, 4));
	} else {
		score_add(e->slot, SCORE_tasks_cancelled_total, 1);
	}
	if (!pgrows_is_null(rows, row, 6)) {
		pgrows_uuid(rows, row, 6, &waiter);
		waiters_tell(e->waiters, &waiter, el->app_id, &el->id);
	}
}

static void
tell_queued(const struct elem *el, int attempt)
{
	char id[UUID_TEXT_SIZE];

	log_debug(NULL, "a task of a worker that is gone was queued again",
	    "task=%s lost_attempt=%d", uuid_format(&el->id, id), attempt);
}

/* the ids go to the popping ends of their lists at once; if that fails the feeder sees
 * rows that are due and absent */
static void
push_taken(struct recover *r, const struct pgrows *rows)
{
	struct engine *e = r->engine;
	struct elem el;
	struct type_entry *t;
	const char *name;
	int count = 0, pool;
	size_t len;

	for (int i = 0; i < pgrows_count(rows); i++) {
		el.app_id = (int)pgrows_int(rows, i, 0);
		pgrows_uuid(rows, i, 1, &el.id);
		el.type_id = (int)pgrows_int(rows, i, 2);
		if (pgrows_int(rows, i, 5) != TASK_QUEUED) {
			tell_ended(e, &el, rows, i);
			continue;
		}
		count++;
		tell_queued(&el, (int)pgrows_int(rows, i, 4));
		t = types_by_id(e->types, el.type_id);
		pool = POOL_MAIN;
		if (!pgrows_is_null(rows, i, 7)) {
			name = pgrows_text(rows, i, 7, &len);
			pool = pools_number(e->pools, name, len);
		}
		if (t == NULL || t->metered || pool < 0) {
			engine_again(e, &el.id);
			continue;
		}
		el.list = list_of(pool, false);
		broker_push_first(e->broker, &el, 1);
	}
	if (count == 0)
		return;
	score_add(e->slot, SCORE_tasks_lost_total, (uint64_t)count);
	log_warn(NULL, "tasks of a worker that is gone were queued again", "tasks=%d",
	    count);
	engine_hint(e);
	if (!broker_is_up(e->broker))
		dispatch_wake(e->dispatch);
}

static void
on_step(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct recover *r = arg;

	r->sent = false;
	if (pe != NULL) {
		if (pe->class == PGERR_RETRY) {
			send_step(r);
			return;
		}
		log_warn(NULL, "recovery waits", "class=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->text);
		loop_timer_start_ms(r->timer, RETRY_MS);
		return;
	}
	switch (r->step) {
	case STEP_MARK:
		r->step = STEP_UNLEAD;
		break;
	case STEP_UNLEAD:
		r->step = STEP_TAKE;
		if (pgrows_affected(rows) > 0) /* the dead one led: somebody must */
			leader_campaign(r->engine->leader);
		break;
	default:
		push_taken(r, rows);
		finish(r);
		break;
	}
	go_on(r);
	engine_check_drained(r->engine);
}

/* of those under way the ones that ended so */
static void
put_owners(const struct recover *r, struct pgparam *p, enum burial_end end)
{
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < r->open; i++) {
		if (r->end[i] == end)
			pgparam_elem_uuid(p, &r->owners[i]);
	}
	pgparam_array_end(p);
}

static void
send_step(struct recover *r)
{
	static const struct pgstmt *const stmts[] = {
	    [STEP_MARK] = &sql_mark_dead,
	    [STEP_UNLEAD] = &sql_unlead,
	    [STEP_TAKE] = &sql_take,
	};
	struct pgparam p;

	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_UUID);
	for (size_t i = 0; i < r->open; i++) {
		if (r->step != STEP_MARK || r->mark[i])
			pgparam_elem_uuid(&p, &r->owners[i]);
	}
	pgparam_array_end(&p);
	if (r->step == STEP_TAKE) {
		put_owners(r, &p, BURIAL_CRASHED);
		put_owners(r, &p, BURIAL_KILLED);
	}
	r->sent = store_exec(r->engine->store, STORE_WORK, stmts[r->step], &p, on_step,
		      r, NULL) == 0;
	pgparam_fini(&p);
	if (!r->sent)
		loop_timer_start_ms(r->timer, RETRY_MS);
}

static void
go_on(void *arg)
{
	struct recover *r = arg;

	if (r->sent || !r->engine->registered)
		return;
	if (r->step == STEP_NONE) {
		if (r->count == 0)
			return;
		r->open = r->count;
		r->step = STEP_MARK;
	}
	send_step(r);
}
