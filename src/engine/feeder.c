/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feeder.c - keeps the dispatch list as PostgreSQL says it should be.
 *
 * One mechanism repairs everything, by level and not by edge: a pass looks at Redis,
 * asks PostgreSQL for the first W due rows in policy order, and pushes what is missing.
 * A failed push, an empty Redis, a backlog, a task come due, a retry, an orphan: all
 * are just rows that are queued and not in the list.  Duplicates are harmless by the
 * claim, so the view may be old and two leaders may feed.
 *
 * A pass comes each second, at the earliest run_at known, at hints, and quickly while
 * there is more than the list may hold ("spilling": submitters then leave pushing to
 * the feeder, so that a backlog costs Redis nothing and keeps its order).
 *
 * In a pass that nobody asked for, a row that has been due for less than a second is
 * left alone: most likely its id is on its way from a submitter or to a claim.
 *
 * Between such passes, while the pool is spilling, there are short ones: they do not
 * read the list, and read each lane on from where the last pass ended, as many rows
 * as the list has room for.  So a task of a backlog is read about once, and neither the
 * depth of the backlog nor what was claimed since the last vacuum costs anything.  A
 * whole pass comes at least each WHOLE_MS, so that what must go in front, or was lost,
 * is seen; less often only where a whole one is slow.
 *
 * The pass also renews the leader's lease, promotes what is due, and writes the beat to
 * Redis.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "engine/lanes.h"

#define PASS_MS	      1000
#define SPILL_PASS_MS 20
#define SPILL_TELL_MS 500
#define WHOLE_MS      150
#define WHOLE_SHARE   10 /* whole passes take no more than a tenth of the time */
#define HINT_GAP_MS   1
#define YOUNG_MS      1000
#define WINDOW_MOST   10000
#define WINDOW_LEAST  64
#define TYPES_MOST    1024
#define DROPS_MOST    100 /* in one pass; each walks the list */
#define FIRST_EPOCH   2	  /* a new database starts at 1, which no Redis holds */

/* a push is remembered for one to two of these */
#define RECENT_MS 1000

struct recent {
	struct uuid id;
};

struct take {
	int type_id;
	int free; /* places of a metered type over all workers */
	bool metered;
};

struct feeder {
	struct engine *engine;
	bool running;
	bool open;   /* a pass is under way */
	bool hinted; /* a hint came: the next pass trusts no "on its way" */
	bool all;    /* this pass does so */
	bool refill; /* Redis lost its contents */
	bool brief;  /* this pass reads on from the last one */
	bool ended;  /* nothing was left to read on */
	int64_t whole_ms, whole_spent_ms; /* when the last whole pass began, its time */
	struct lanes lanes;
	bool metered_due; /* types with places of their own have something due */
	int64_t due_us;	  /* the latest time to run that was promoted; 0: none */
	struct loop_timer *timer;
	int64_t started_ms;
	int64_t beat;
	int64_t database_epoch;
	bool epoch_open;
	/* the view of this pass */
	bool seen;
	int64_t seen_epoch;
	bool seen_foreign;
	int64_t length;
	struct hmap *listed; /* elements of list, by id; values point into list */
	struct elem *list;
	size_t list_count;
	struct take takes[TYPES_MOST];
	size_t take_count;
	int64_t slots; /* of the cluster */
	int64_t window;
	bool spilling;
	int64_t told_ms;	/* when that was last said */
	size_t pushed;		/* by this pass */
	struct hmap *recent[2]; /* now, before */
	int64_t recent_ms;
	struct pgparam params;
};

static void pass(void *arg);
static void on_view(const struct broker_view *view, const struct err *err, void *arg);
static void on_fed(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct feeder *
feeder_create(struct engine *e, struct err *err)
{
	struct feeder *f = mem_zero(sizeof(*f));

	if (f == NULL)
		goto fail;
	f->engine = e;
	f->window = WINDOW_LEAST;
	pgparam_init(&f->params);
	f->timer = loop_timer_create(e->loop, pass, f);
	f->listed = hmap_create();
	f->recent[0] = hmap_create();
	f->recent[1] = hmap_create();
	if (f->timer == NULL || f->listed == NULL || f->recent[0] == NULL ||
	    f->recent[1] == NULL)
		goto fail;
	return f;
fail:
	feeder_free(f);
	err_set(err, ERR_NOMEM, "feeder");
	return NULL;
}

static void
empty_recent(struct hmap *m)
{
	struct recent *rc;
	size_t cursor = 0;

	while ((rc = hmap_next(m, &cursor)) != NULL) {
		hmap_remove(m, rc->id.b, sizeof(rc->id.b));
		mem_free(rc);
	}
}

static void
empty_list(struct feeder *f)
{
	for (size_t i = 0; i < f->list_count; i++)
		hmap_remove(f->listed, f->list[i].id.b, sizeof(f->list[i].id.b));
	mem_free(f->list);
	f->list = NULL;
	f->list_count = 0;
}

void
feeder_free(struct feeder *f)
{
	if (f == NULL)
		return;
	if (f->listed != NULL)
		empty_list(f);
	hmap_free(f->listed);
	for (int i = 0; i < 2; i++) {
		if (f->recent[i] != NULL)
			empty_recent(f->recent[i]);
		hmap_free(f->recent[i]);
	}
	loop_timer_free(f->timer);
	pgparam_fini(&f->params);
	mem_free(f);
}

/*
 * Workers that died while Redis, or a leader, was away have left their places behind:
 * they would make the window too large and their types look served.
 */
void
feeder_renew_places(struct feeder *f)
{
	if (!f->running)
		return;
	broker_renew_places(f->engine->broker);
	engine_places_changed(f->engine, true);
}

void
feeder_start(struct feeder *f)
{
	f->running = true;
	f->open = false;
	f->epoch_open = false;
	f->hinted = true;
	feeder_renew_places(f);
	loop_timer_start_ms(f->timer, 0);
}

void
feeder_stop(struct feeder *f)
{
	f->running = false;
	f->spilling = false;
	loop_timer_stop(f->timer);
}

void
feeder_hint(struct feeder *f)
{
	f->hinted = true;
	if (f->running && !f->open)
		loop_timer_start_ms(f->timer, HINT_GAP_MS);
}

/* ---------------------------------------------------------------- what was pushed
 * lately */

static void
remember(struct feeder *f, const struct uuid *id)
{
	struct recent *rc = mem_alloc(sizeof(*rc));
	void *old = NULL;

	if (rc == NULL)
		return; /* costs a duplicate at worst */
	rc->id = *id;
	if (hmap_put(f->recent[0], rc->id.b, sizeof(rc->id.b), rc, &old) != 0)
		mem_free(rc);
	mem_free(old);
}

static bool
is_recent(const struct feeder *f, const struct uuid *id)
{
	return hmap_get(f->recent[0], id->b, sizeof(id->b)) != NULL ||
	       hmap_get(f->recent[1], id->b, sizeof(id->b)) != NULL;
}

static void
age_recent(struct feeder *f, int64_t now_ms)
{
	struct hmap *older = f->recent[1];

	if (now_ms - f->recent_ms < RECENT_MS)
		return;
	f->recent_ms = now_ms;
	empty_recent(older);
	f->recent[1] = f->recent[0];
	f->recent[0] = older;
}

/* ---------------------------------------------------------------- the look at Redis */

/* NULL: no node serves it, as far as Redis tells */
static struct take *
find_take(struct feeder *f, int type_id)
{
	for (size_t i = 0; i < f->take_count; i++) {
		if (f->takes[i].type_id == type_id)
			return &f->takes[i];
	}
	return NULL;
}

static struct take *
take_for(struct feeder *f, int type_id)
{
	struct take *t = find_take(f, type_id);

	if (t != NULL)
		return t;
	if (f->take_count == TYPES_MOST)
		return NULL;
	f->takes[f->take_count] = (struct take){.type_id = type_id};
	return &f->takes[f->take_count++];
}

/* "slots/free id:free ..." as types_places_text wrote it; what is not of that form is
 * skipped */
static void
add_places(struct feeder *f, const char *text)
{
	char *copy = mem_strdup(text), *rest = copy, *word, *colon;
	int64_t id, n;
	struct take *t;

	if (copy == NULL)
		return; /* the next pass */
	word = strsep(&rest, " ");
	colon = word != NULL ? strchr(word, '/') : NULL;
	if (colon == NULL) {
		mem_free(copy);
		return;
	}
	*colon = '\0';
	if (str_to_i64(word, &n) == 0 && n > 0 && n <= 100000)
		f->slots += n;
	while ((word = strsep(&rest, " ")) != NULL) {
		colon = strchr(word, ':');
		if (colon == NULL)
			continue;
		*colon = '\0';
		if (str_to_i64(word, &id) != 0 || str_to_i64(colon + 1, &n) != 0 ||
		    id < 1 || id > INT32_MAX || n < -1 || n > 100000 ||
		    (t = take_for(f, (int)id)) == NULL)
			continue;
		if (n >= 0) {
			t->metered = true;
			t->free += (int)n;
		}
	}
	mem_free(copy);
}

/*
 * Ids of types that nobody serves any more would go round for ever: popped, given back,
 * popped.  They come again by themselves when somebody does.
 */
static void
drop_unserved(struct feeder *f)
{
	size_t count = 0;

	if (f->take_count == 0)
		return; /* an empty Redis: places are on their way */
	for (size_t i = 0; i < f->list_count && count < DROPS_MOST; i++) {
		if (find_take(f, f->list[i].type_id) != NULL)
			continue;
		broker_drop(f->engine->broker, &f->list[i]);
		count++;
	}
}

static void
read_view(struct feeder *f, const struct broker_view *view)
{
	f->seen = true;
	f->seen_epoch = view->epoch;
	f->seen_foreign = view->foreign;
	f->length = view->length;
	f->take_count = 0;
	f->slots = 0;
	for (size_t i = 0; i < view->place_count; i++)
		add_places(f, view->places[i]);
	empty_list(f);
	if (view->list_count == 0)
		return;
	f->list = mem_array(view->list_count, sizeof(*f->list));
	if (f->list == NULL)
		return;
	memcpy(f->list, view->list, view->list_count * sizeof(*f->list));
	for (; f->list_count < view->list_count; f->list_count++) {
		struct elem *el = &f->list[f->list_count];

		if (hmap_put(f->listed, el->id.b, sizeof(el->id.b), el, NULL) != 0)
			break;
	}
	drop_unserved(f);
}

static int64_t
least_window(const struct feeder *f)
{
	return 2 * f->slots > WINDOW_LEAST ? 2 * f->slots : WINDOW_LEAST;
}

/* twice the slots of the pool; more while a pass finds the list nearly empty: pops
 * outrun it */
static void
set_window(struct feeder *f)
{
	int64_t base = least_window(f);

	if (f->spilling && f->length < f->window / 4)
		f->window *= 2;
	else if (f->length > f->window * 3 / 4 || !f->spilling)
		f->window -= f->window / 8;
	if (f->window < base)
		f->window = base;
	if (f->window > WINDOW_MOST)
		f->window = WINDOW_MOST;
}

/* ---------------------------------------------------------------- the pass */

/*
 * How many rows this pass wants: what the list has room for; or all of the window, and
 * one more that tells whether there are more.  While the pool spills, short passes fill
 * the list, and a whole one looks at the head only.
 */
static int32_t
rows_wanted(const struct feeder *f)
{
	int64_t room = f->window - f->length;

	if (f->brief)
		return room > 0 ? (int32_t)room : 0;
	return (int32_t)(f->spilling ? least_window(f) : f->window) + 1;
}

static void
ask_rows(struct feeder *f)
{
	static const struct lanes no_lanes;
	struct engine *e = f->engine;
	struct pgparam *p = &f->params;
	int32_t most = rows_wanted(f);
	struct err err = ERR_INIT;

	pgparam_reset(p);
	pgparam_uuid(p, &e->owner);
	pgparam_int4(p, LEASE_MS);
	pgparam_int4(p, (int32_t)e->settings->tasks_priority_aging_ms);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->take_count; i++)
		pgparam_elem_int4(p, f->takes[i].type_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->take_count; i++)
		pgparam_elem_int4(p, f->takes[i].metered ? f->takes[i].free : most);
	pgparam_array_end(p);
	pgparam_int4(p, most);
	/* a whole pass begins at the heads, and does not forget how far short ones are,
	 * unless Redis has lost what they pushed */
	if (!f->spilling || f->refill)
		lanes_clear(&f->lanes);
	if (!f->brief)
		f->due_us = 0;
	lanes_put(f->brief ? &f->lanes : &no_lanes, p);
	if (f->due_us > 0)
		pgparam_int8(p, f->due_us);
	else
		pgparam_null(p, PGTYPE_INT8);
	f->started_ms = loop_now_ms(e->loop);
	if (store_exec(e->store, STORE_LEAD, &sql_feed, p, on_fed, f, &err) != 0) {
		f->open = false;
		loop_timer_start_ms(f->timer, PASS_MS);
	}
}

static void
on_view(const struct broker_view *view, const struct err *err, void *arg)
{
	struct feeder *f = arg;

	if (!f->running) {
		f->open = false;
		return;
	}
	if (err != NULL)
		f->seen = false;
	else
		read_view(f, view);
	set_window(f);
	ask_rows(f);
}

/*
 * Types with places of their own are fed by what is in the list already, so they need
 * whole passes.
 */
static bool
may_be_brief(const struct feeder *f)
{
	int64_t age_ms = loop_now_ms(f->engine->loop) - f->whole_ms;

	return f->spilling && !f->refill && !f->ended && !f->metered_due &&
	       (age_ms < WHOLE_MS || age_ms < f->whole_spent_ms * WHOLE_SHARE);
}

static void
pass(void *arg)
{
	struct feeder *f = arg;
	struct engine *e = f->engine;

	if (f->open || !f->running)
		return;
	f->open = true;
	f->brief = may_be_brief(f);
	f->all = f->hinted || f->refill;
	f->hinted = false;
	f->seen = false;
	age_recent(f, loop_now_ms(e->loop));
	if (broker_look(e->broker, f->beat, !f->brief, on_view, f, NULL) == 0)
		return;
	/* without Redis the pass keeps the lease and promotes; workers claim for
	 * themselves */
	f->brief = false;
	f->take_count = 0;
	ask_rows(f);
}

/* ---------------------------------------------------------------- epoch */

static void
on_next_epoch(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct feeder *f = arg;
	struct engine *e = f->engine;

	f->epoch_open = false;
	if (pe != NULL || !f->running || pgrows_count(rows) == 0)
		return; /* the next pass sees it again */
	f->database_epoch = pgrows_int(rows, 0, 0);
	if (f->seen_epoch == 0 && f->database_epoch == FIRST_EPOCH)
		log_info(NULL, "redis is new to this cluster: filling it", " ");
	else
		log_warn(NULL, "redis has lost its contents, or is another: filling it",
		    "epoch=%lld", (long long)f->database_epoch);
	broker_set_epoch(e->broker, f->database_epoch);
	feeder_renew_places(f);
	f->refill = true;
	feeder_hint(f);
}

/* an epoch that is missing or not the database's: count a new one, and fill */
static void
check_epoch(struct feeder *f)
{
	struct pgparam p;

	if (!f->seen || f->seen_foreign || f->epoch_open ||
	    f->seen_epoch == f->database_epoch)
		return;
	empty_recent(f->recent[0]);
	empty_recent(f->recent[1]);
	pgparam_init(&p);
	pgparam_int8(&p, f->database_epoch);
	f->epoch_open = store_exec(f->engine->store, STORE_LEAD, &sql_next_epoch, &p,
			    on_next_epoch, f, NULL) == 0;
	pgparam_fini(&p);
}

/* ---------------------------------------------------------------- pushing */

struct row {
	struct elem el;
	int64_t age_ms;
	bool fresh; /* came due in this pass */
	bool listed;
};

static bool
is_metered(struct feeder *f, int type_id)
{
	const struct take *t = find_take(f, type_id);

	return t != NULL && t->metered;
}

static bool
may_push(struct feeder *f, const struct row *r)
{
	if (r->listed || is_recent(f, &r->el.id))
		return false;
	return f->all || f->spilling || r->fresh || r->age_ms >= YOUNG_MS ||
	       is_metered(f, r->el.type_id);
}

/*
 * Rows come in policy order.  What is missing in front of something that is listed goes
 * to the popping end, in reverse, so that the first stays first; the others queue up
 * behind, while there is room.  What has been due for a second goes to the popping end
 * of a full list too.  Returns whether something was left out.
 */
static bool
push_missing(struct feeder *f, struct row *rows, size_t count)
{
	struct broker *b = f->engine->broker;
	struct elem *first = mem_array(count, sizeof(*first)),
		    *last = mem_array(count, sizeof(*last));
	size_t first_count = 0, last_count = 0, last_listed = 0;
	int64_t room = f->window - f->length;
	bool left_out = false;

	f->pushed = 0;
	if (first == NULL || last == NULL)
		goto out;
	for (size_t i = 0; i < count; i++) {
		if (rows[i].listed)
			last_listed = i + 1;
	}
	for (size_t i = 0; i < count; i++) {
		struct row *r = &rows[i];

		if (!may_push(f, r))
			continue;
		if (i + 1 < last_listed ||
		    (room <= 0 && r->age_ms >= YOUNG_MS && i < (size_t)f->slots)) {
			first[first_count++] = r->el;
		} else if (room > 0) {
			last[last_count++] = r->el;
			room--;
		} else {
			left_out = true;
			continue;
		}
		remember(f, &r->el.id);
	}
	for (size_t i = 0; i < first_count / 2; i++) {
		struct elem swap = first[i];

		first[i] = first[first_count - 1 - i];
		first[first_count - 1 - i] = swap;
	}
	broker_push_first(b, first, first_count);
	broker_push(b, last, last_count);
	f->pushed = first_count + last_count;
	score_add(f->engine->slot, SCORE_feeder_pushed_total, f->pushed);
out:
	mem_free(first);
	mem_free(last);
	return left_out;
}

/* a change at once, and again for those who missed it: it holds for two seconds */
static void
tell_spilling(struct feeder *f, bool spilling)
{
	int64_t now_ms = loop_now_ms(f->engine->loop);

	if (spilling && (!f->spilling || now_ms - f->told_ms >= SPILL_TELL_MS)) {
		broker_publish(f->engine->broker, "spill");
		f->told_ms = now_ms;
	} else if (!spilling && f->spilling) {
		broker_publish(f->engine->broker, "flow");
	}
	f->spilling = spilling;
}

static void
feed(struct feeder *f, const struct pgrows *pg)
{
	int count = pgrows_count(pg);
	struct row *rows = mem_array((size_t)count, sizeof(*rows)), *r;
	size_t due = 0, plain = 0;
	bool left_out;

	if (rows == NULL)
		return;
	if (!f->brief)
		f->metered_due = false;
	/* kind 1 rows come first and again as kind 2 (unless the window is full of
	 * others): the flag is theirs */
	for (int i = 0; i < count; i++) {
		int64_t kind = pgrows_int(pg, i, 0);

		if (kind == 0)
			continue;
		r = &rows[due];
		r->el.app_id = (int)pgrows_int(pg, i, 1);
		pgrows_uuid(pg, i, 2, &r->el.id);
		r->el.type_id = (int)pgrows_int(pg, i, 3);
		if (kind == 1 && pgrows_int(pg, i, 9) > f->due_us)
			f->due_us = pgrows_int(pg, i, 9);
		if (find_take(f, r->el.type_id) == NULL)
			continue;
		r->age_ms = pgrows_int(pg, i, 4);
		r->fresh = kind == 1;
		r->listed = hmap_get(f->listed, r->el.id.b, sizeof(r->el.id.b)) != NULL;
		if (kind == 1 && (f->spilling || is_metered(f, r->el.type_id)))
			continue; /* must keep its place in the order: it comes as kind
				     2 */
		if (kind == 2) {
			lanes_note(&f->lanes, (int)pgrows_int(pg, i, 8), r->el.type_id,
			    pgrows_int(pg, i, 9));
			if (is_metered(f, r->el.type_id))
				f->metered_due = true;
			else
				plain++;
		}
		due++;
	}
	left_out =
	    push_missing(f, rows, due) || f->brief || plain >= (size_t)rows_wanted(f);
	/* it read to the end, or nothing that it read was new: the next one looks at
	 * all */
	f->ended = f->brief && (plain < (size_t)rows_wanted(f) || f->pushed == 0) &&
		   rows_wanted(f) > 0;
	tell_spilling(f, left_out);
	mem_free(rows);
}

static void
on_fed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct feeder *f = arg;
	int64_t next_ms = PASS_MS, due_ms, spent_ms;
	bool led = false;

	f->open = false;
	if (!f->running)
		return;
	if (pe != NULL) {
		if (pe->class != PGERR_LOST)
			log_warn(NULL, "a pass of the feeder failed",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		loop_timer_start_ms(
		    f->timer, pe->class == PGERR_RETRY ? 0 : PASS_MS / 4);
		return;
	}
	for (int i = 0; i < pgrows_count(rows); i++) {
		if (pgrows_int(rows, i, 0) != 0)
			continue;
		led = true;
		f->beat = pgrows_int(rows, i, 6);
		f->database_epoch = pgrows_int(rows, i, 7);
		atomic_store(&f->engine->board->cluster_beat, f->beat);
		due_ms =
		    pgrows_is_null(rows, i, 5) ? PASS_MS : pgrows_int(rows, i, 5) + 1;
		if (due_ms < next_ms)
			next_ms = due_ms > 1 ? due_ms : 1;
	}
	if (!led) {
		leader_lost(f->engine->leader);
		return;
	}
	score_add(f->engine->slot, SCORE_feeder_passes_total, 1);
	f->refill = false;
	if (f->seen && !f->seen_foreign) {
		check_epoch(f);
		feed(f, rows);
	}
	if (f->spilling)
		next_ms = SPILL_PASS_MS;
	spent_ms = loop_now_ms(f->engine->loop) - f->started_ms;
	if (!f->brief) {
		f->whole_ms = f->started_ms;
		f->whole_spent_ms = spent_ms;
	}
	if (f->hinted)
		next_ms = HINT_GAP_MS;
	/* never more than half of the time in passes, however slow the database is */
	loop_timer_start_ms(f->timer, next_ms > spent_ms ? next_ms : spent_ms);
}
