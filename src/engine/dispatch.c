/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dispatch.c - what a worker does next: pop ids, claim, or wait.
 *
 * An attempt begins as a popped id (POPPED), takes a place of its type, goes out in the
 * next claim (CLAIMING), and is ours when the claim's answer says so (CLAIMED); then
 * its handler has it (RUNNING) until it has an outcome (ENDED, RECORDING: finish.c). No
 * slot, no pop.  claim.c says and hears the claims, attempt.c keeps what is held.
 *
 * There is a list for each pool that is served, and one more for its commands, which
 * have places of their own.
 *
 * A task that two crashes make a suspect runs alone (suspect.c): meanwhile nothing else
 * is taken.
 *
 * Without Redis (or when it refuses pops) the worker claims straight from PostgreSQL.
 *
 * Everything that changes the answer to "what next" calls dispatch_wake; look() then
 * decides once a turn.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/dispatch_int.h"

#define FIRST_MORE	4
#define DIRECT_AFTER_MS 300
#define BOUNCE_MAX_MS	50
#define REFUSED_MS	2000
#define UNFED_MS	2000 /* it is said again within that time */

static void look(void *arg);
static void go_direct(void *arg);
static void on_due_time(void *arg);

struct dispatch *
dispatch_create(struct engine *e, struct err *err)
{
	struct dispatch *d = mem_zero(sizeof(*d));

	if (d == NULL)
		goto fail;
	d->engine = e;
	TAILQ_INIT(&d->popped);
	TAILQ_INIT(&d->claiming);
	TAILQ_INIT(&d->unnamed);
	TAILQ_INIT(&d->naming);
	TAILQ_INIT(&d->doubtful);
	TAILQ_INIT(&d->asking);
	TAILQ_INIT(&d->spare);
	TAILQ_INIT(&d->ended);
	TAILQ_INIT(&d->newborn);
	TAILQ_INIT(&d->in_doubt);
	pgparam_init(&d->params);
	d->held = hmap_create();
	d->defer = loop_defer_create(e->loop, look, d);
	d->timer = loop_timer_create(e->loop, look, d);
	d->direct_timer = loop_timer_create(e->loop, go_direct, d);
	d->due_timer = loop_timer_create(e->loop, on_due_time, d);
	for (int i = 0; i < e->served_count; i++) {
		d->lines[d->line_count++].list = list_of(e->served[i], false);
		if (types_have_commands(e->types))
			d->lines[d->line_count++].list = list_of(e->served[i], true);
	}
	if (d->held == NULL || d->defer == NULL || d->timer == NULL ||
	    d->direct_timer == NULL || d->due_timer == NULL)
		goto fail;
	loop_timer_start_ms(d->direct_timer, DIRECT_AFTER_MS);
	return d;
fail:
	dispatch_free(d);
	err_set(err, ERR_NOMEM, "dispatch");
	return NULL;
}

static void
attempt_free(struct attempt *a)
{
	mem_free(a->payload);
	mem_free(a->backoff);
	mem_free(a->trace);
	mem_free(a->result);
	mem_free(a->error_message);
	mem_free(a);
}

void
dispatch_free(struct dispatch *d)
{
	struct attempt *a;
	struct claim_note *note;
	size_t cursor = 0;

	if (d == NULL)
		return;
	while (d->held != NULL && (a = hmap_next(d->held, &cursor)) != NULL) {
		hmap_remove(d->held, a->elem.id.b, sizeof(a->elem.id.b));
		if (a->note != NULL && --a->note->left == 0)
			mem_free(a->note);
		attempt_free(a);
	}
	while ((a = TAILQ_FIRST(&d->spare)) != NULL) {
		TAILQ_REMOVE(&d->spare, a, link);
		mem_free(a);
	}
	TAILQ_CONCAT(&d->ended, &d->in_doubt, link);
	while ((note = TAILQ_FIRST(&d->ended)) != NULL) {
		TAILQ_REMOVE(&d->ended, note, link);
		mem_free(note);
	}
	hmap_free(d->held);
	loop_defer_free(d->defer);
	loop_timer_free(d->timer);
	loop_timer_free(d->direct_timer);
	loop_timer_free(d->due_timer);
	pgparam_fini(&d->params);
	mem_free(d);
}

bool
dispatch_has_suspect(const struct dispatch *d)
{
	return d->suspect != NULL;
}

bool
dispatch_is_quiet(const struct dispatch *d)
{
	const struct attempt *a;
	size_t cursor = 0;

	while ((a = hmap_next(d->held, &cursor)) != NULL) {
		if (a->state == ATTEMPT_RUNNING)
			return false;
	}
	return true;
}

void
dispatch_wake(struct dispatch *d)
{
	loop_defer_start(d->defer);
}

/* without a hint: a task has come due, or was given back, or somebody lost the hint */
static void
on_due_time(void *arg)
{
	struct dispatch *d = arg;

	if (!d->due)
		d->due_app = 0;
	dispatch_endpoints_due(d, d->due_app);
}

void
dispatch_endpoints_due(struct dispatch *d, int app_id)
{
	if (d->stopped || !registry_has_http(d->engine->registry))
		return;
	if (d->due && d->due_app != app_id)
		app_id = 0;
	d->due = true;
	d->due_app = app_id;
	dispatch_wake(d);
}

void
dispatch_pause_ms(struct dispatch *d, int64_t ms)
{
	d->pause_until_ms = loop_now_ms(d->engine->loop) + ms;
	loop_timer_start_ms(d->timer, ms);
}

/* the statement for a claim failed: no other for a moment */
void
dispatch_claim_later(struct dispatch *d)
{
	d->claim_after_ms = loop_now_ms(d->engine->loop) + DISPATCH_RETRY_MS;
	loop_timer_start_ms(d->timer, DISPATCH_RETRY_MS);
}

/* ---------------------------------------------------------------- popped ids */

static struct line *
line_of(struct dispatch *d, int list)
{
	for (int i = 0; i < d->line_count; i++) {
		if (d->lines[i].list == list)
			return &d->lines[i];
	}
	return NULL; /* of our own processing list, from before */
}

/*
 * An id that this worker has no place for goes back.  The others that wait in a pop are
 * served before us then, so it finds a free one soon; pauses keep a list of nothing
 * else from spinning.
 */
static void
bounce(struct dispatch *d, const struct elem *el)
{
	int64_t ms = d->bounces < 6 ? 1LL << d->bounces : BOUNCE_MAX_MS;

	broker_give_back(d->engine->broker, el);
	d->bounces++;
	dispatch_pause_ms(d, ms);
}

void
dispatch_popped(struct dispatch *d, const struct elem *el)
{
	struct engine *e = d->engine;
	struct type_entry *t = types_by_id(e->types, el->type_id);
	struct attempt *a = dispatch_find(d, &el->id);

	if (a != NULL) {
		/* a duplicate, or our own list read again after a reconnect */
		if (a->in_list) {
			broker_ack(e->broker, el);
			score_add(e->slot, SCORE_ids_dropped_total, 1);
		}
		a->in_list = true;
		return;
	}
	struct line *l = line_of(d, el->list);

	if (l != NULL && l->asked > 0)
		l->asked--;
	if (d->stopped || d->suspect != NULL || t == NULL ||
	    !store_is_up(e->store, STORE_WORK) || !types_take_place(e->types, t)) {
		bounce(d, el);
		return;
	}
	a = attempt_hold(d, el, t);
	if (a == NULL) {
		types_put_place(e->types, t);
		bounce(d, el);
		return;
	}
	a->in_list = true;
	if (l != NULL)
		l->came = true;
	d->bounces = 0;
	if (t->metered)
		engine_places_changed(e, false);
	TAILQ_INSERT_TAIL(&d->popped, a, link);
	dispatch_wake(d);
}

void
dispatch_wait_ended(struct dispatch *d, int list)
{
	struct line *l = line_of(d, list);

	if (l != NULL) {
		l->polling = l->came;
		l->left = l->polling ? FIRST_MORE : 0;
		l->came = false;
	}
	dispatch_wake(d);
}

void
dispatch_more_ended(struct dispatch *d, int list, int64_t left)
{
	struct line *l = line_of(d, list);

	if (l != NULL) {
		l->left = left;
		l->polling = left > 0;
		l->came = false;
		l->asked = 0;
	}
	dispatch_wake(d);
}

/* all that is popped and not claimed goes back, for others to take */
void
dispatch_give_back_popped(struct dispatch *d)
{
	struct attempt *a;

	while ((a = TAILQ_FIRST(&d->popped)) != NULL) {
		TAILQ_REMOVE(&d->popped, a, link);
		if (a->in_list)
			broker_give_back(d->engine->broker, &a->elem);
		attempt_let_go(d, a);
	}
}

/* ---------------------------------------------------------------- what to do next */

/* places of a purse that no pop under way may fill already */
static int
room_for(const struct dispatch *d, bool commands)
{
	int room = dispatch_room(d);

	/* the second purse has its own places, and the same bound on what is unrecorded
	 */
	if (commands)
		room =
		    dispatch_is_choked(d) ? 0 : types_free_commands(d->engine->types);
	for (int i = 0; i < d->line_count; i++) {
		if (list_has_commands(d->lines[i].list) == commands)
			room -= d->lines[i].asked;
	}
	return room;
}

/* lists with more, that share the places of a purse */
static int
rivals(const struct dispatch *d, bool commands)
{
	int count = 0;

	for (int i = 0; i < d->line_count; i++)
		count += d->lines[i].polling &&
			 list_has_commands(d->lines[i].list) == commands;
	return count;
}

/* one list: what may be there is asked for at once, else it is waited for */
static void
pop_line(struct dispatch *d, struct line *l)
{
	struct engine *e = d->engine;
	bool commands = list_has_commands(l->list);
	int room = room_for(d, commands), most;
	int64_t share;

	if (room <= 0)
		return;
	if (l->polling) {
		most = rivals(d, commands);
		most = (room + most - 1) / most;
		share = (l->left + e->peers - 1) / e->peers;
		if (share > most)
			share = most;
		if (share > 256)
			share = 256;
		if (share < 1)
			share = 1;
		l->asked = (int)share;
		if (broker_pop_more(e->broker, l->list, (int)share, NULL) == 0)
			l->polling = false; /* until its answer says otherwise */
		else
			l->asked = 0;
		return;
	}
	/* ERR_CONFLICT: one of the two is under way; its end wakes us */
	if (broker_is_idle(e->broker, l->list))
		(void)!broker_pop_wait(e->broker, l->list, NULL);
}

/*
 * All lists are waited at, so that none is heard of later than another.  Where places
 * are short, the list that is asked first changes, and none gets more than its part
 * of them.  More waits than places may bring an id too many: it goes back.
 */
static void
pop(struct dispatch *d)
{
	if (d->line_count > 1)
		d->first_line = (d->first_line + 1) % d->line_count;
	for (int i = 0; i < d->line_count; i++)
		pop_line(d, &d->lines[(d->first_line + i) % d->line_count]);
}

static void
look(void *arg)
{
	struct dispatch *d = arg;
	struct engine *e = d->engine;
	int64_t now_ms = loop_now_ms(e->loop), wait;
	bool may_claim = now_ms >= d->claim_after_ms;

	if (!e->serving || !store_is_up(e->store, STORE_WORK))
		return;
	if (!may_claim && !loop_timer_pending(d->timer))
		loop_timer_start_ms(d->timer, d->claim_after_ms - now_ms);
	if (may_claim)
		adopt_ask(d);
	if (d->claim_state == CLAIM_LOST && may_claim)
		claim_ask(d);
	if (!TAILQ_EMPTY(&d->unnamed) && TAILQ_EMPTY(&d->naming))
		claim_ask_names(d);
	suspect_look(d, may_claim);
	if (d->stopped || d->suspect != NULL ||
	    !may_claim) /* nor is anything popped that cannot be claimed */
		return;
	if (d->due && d->claim_state == CLAIM_NONE)
		claim_endpoints(d);
	if (d->claim_state == CLAIM_NONE && !TAILQ_EMPTY(&d->popped))
		claim_popped(d);
	wait = d->pause_until_ms - now_ms;
	if (wait > 0) {
		if (!loop_timer_pending(d->timer))
			loop_timer_start_ms(d->timer, wait);
		return;
	}
	submit_room(e->submit);
	if (d->direct && broker_is_up(e->broker) && now_ms >= d->try_redis_ms)
		d->direct = false;
	if (d->direct) {
		if (d->claim_state == CLAIM_NONE)
			claim_straight(d);
	} else if (broker_is_up(e->broker)) {
		pop(d);
	}
}

/* true: it was not so before */
static bool
leave_redis(struct dispatch *d)
{
	if (d->stopped || d->direct)
		return false;
	d->direct = true;
	dispatch_wake(d);
	return true;
}

static void
go_direct(void *arg)
{
	if (leave_redis(arg))
		log_warn(NULL,
		    "tasks are claimed from the database alone until redis is back",
		    " ");
}

void
dispatch_unfed(struct dispatch *d)
{
	d->try_redis_ms = loop_now_ms(d->engine->loop) + UNFED_MS;
	(void)leave_redis(d);
}

void
dispatch_broker(struct dispatch *d, bool up)
{
	struct attempt *a;
	size_t cursor = 0;

	if (up) {
		loop_timer_stop(d->direct_timer);
		if (d->direct)
			log_info(NULL, "redis is back", " ");
		d->direct = false;
		d->pause_until_ms = 0;
		for (int i = 0; i < d->line_count; i++) {
			d->lines[i].polling = true;
			d->lines[i].left = FIRST_MORE;
		}
	} else {
		/* another Redis may come: what lies in our list there is not known */
		while ((a = hmap_next(d->held, &cursor)) != NULL)
			a->in_list = false;
		for (int i = 0; i < d->line_count; i++)
			d->lines[i].polling = false;
		if (!d->stopped && !loop_timer_pending(d->direct_timer))
			loop_timer_start_ms(d->direct_timer, DIRECT_AFTER_MS);
	}
	dispatch_wake(d);
}

void
dispatch_refused(struct dispatch *d)
{
	/* redis lives and refuses (out of memory, a key of a wrong type).  Whoever is
	 * in a blocking pop does not hear of it, but what it pushes is refused, too */
	d->try_redis_ms = loop_now_ms(d->engine->loop) + REFUSED_MS;
	go_direct(d);
}

void
dispatch_late(struct dispatch *d)
{
	d->try_redis_ms = loop_now_ms(d->engine->loop) + REFUSED_MS;
	if (leave_redis(d))
		log_info(NULL,
		    "redis is slow: tasks are claimed from the database alone until it "
		    "is not",
		    " ");
}

void
dispatch_store(struct dispatch *d, bool up)
{
	if (up)
		d->claim_after_ms = 0; /* a new connection, a new chance */
	else
		dispatch_give_back_popped(
		    d); /* nobody here can claim them; others may */
	dispatch_wake(d);
}

/* ---------------------------------------------------------------- the end */

void
dispatch_stop(struct dispatch *d)
{
	if (d->stopped)
		return;
	d->stopped = true;
	loop_timer_stop(d->direct_timer);
	loop_timer_stop(d->due_timer);
	broker_stop_popping(d->engine->broker);
	dispatch_give_back_popped(d);
	dispatch_wake(d);
}

static void
cancel(struct dispatch *d, struct attempt *a)
{
	const struct handler *h = &d->engine->handlers[a->type->kind];

	if (a->state == ATTEMPT_RUNNING)
		h->ops->cancel(h->self, a);
}

void
dispatch_give_up(struct dispatch *d)
{
	struct attempt *a;
	size_t cursor = 0;

	while ((a = hmap_next(d->held, &cursor)) != NULL) {
		a->giving_up = true;
		cancel(d, a);
	}
}

void
dispatch_cancel(struct dispatch *d, struct attempt *a)
{
	if (a->cancelled)
		return;
	a->cancelled = true;
	cancel(d, a); /* one that has not started yet is told by claim_start */
}

bool
dispatch_is_claiming(const struct dispatch *d)
{
	return d->claim_state != CLAIM_NONE || d->adopting != 0;
}

void
dispatch_lose(struct dispatch *d, struct attempt *a)
{
	if (a->lost)
		return;
	a->lost = true;
	score_add(d->engine->slot, SCORE_tasks_lost_total, 1);
	cancel(d, a);
}
