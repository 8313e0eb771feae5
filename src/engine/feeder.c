/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feeder.c - keeps one list of Redis as PostgreSQL says it should be.
 *
 * One mechanism repairs everything, by level and not by edge: a pass looks at Redis,
 * asks PostgreSQL for the first W due rows in policy order, and pushes what is missing
 * (line.c).  A failed push, an empty Redis, a backlog, a task come due, a retry, an
 * orphan: all are just rows that are queued and not in the list.  Duplicates are
 * harmless by the claim, so the view may be old and two leaders may feed.
 *
 * A pass comes each second, at the earliest run_at known, at hints, and quickly while
 * there is more than the list may hold ("spilling": submitters then leave pushing to
 * the feeder, so that a backlog costs Redis nothing and keeps its order).
 *
 * In a pass that nobody asked for, a row that has been due for less than a second is
 * left alone: most likely its id is on its way from a submitter or to a claim.
 *
 * Between such passes, while the pool is spilling, there are short ones: they do not
 * read the list, and read each lane on from where the list ends, as many rows as it has
 * room for.  So a task of a backlog is read about once, and neither the depth of the
 * backlog nor what was claimed since the last vacuum costs anything.  Even where the
 * list is full they read a few: what an application that has nothing in the list has
 * submitted belongs in front, at once, and so does what is more urgent than the list.
 * A whole pass comes at least each WHOLE_MS, so that what must go in front, or was
 * lost, is seen; less often only where a whole one is slow.
 *
 * Beside a transaction that has been open for long, what was claimed since stays in the
 * index, and a look from the head walks over it.  Where that has been slow, whole
 * passes begin at the first row that was queued when they last looked, and look for
 * what came in since where it must lie; the heads have their turn now and then.
 *
 * The list is made anew when somebody says that what may run has changed ("requeue": a
 * queue was paused, a priority changed), when the set of paused queues is another one,
 * or when it stands in a wrong order; at most ten times a second.
 *
 * A pass over the first list also renews the leader's lease, promotes what is due, and
 * writes the beat to Redis; the feeders of other lists (feeders.c) are told by it what
 * concerns them.  A list has tasks of one pool, and of types that are commands or are
 * not, as the places that workers have published say.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/feeder_int.h"

#define PASS_MS	      1000
#define SPILL_PASS_MS 20
#define SPILL_TELL_MS 500
#define WHOLE_MS      150
#define WHOLE_SHARE   10 /* whole passes take no more than a tenth of the time */
#define REPLACE_MS    100
#define HINT_GAP_MS   1
#define WINDOW_MOST   10000
#define WINDOW_LEAST  64
#define BRIEF_LEAST   16  /* rows that a short pass wants, were the list full */
#define DROPS_MOST    100 /* in one pass; each walks the list */
#define FIRST_EPOCH   2	  /* a new database starts at 1, which no Redis holds */
/* from here on a look at the heads is slow, and takes so small a part of the time */
#define HEAD_SLOW_MS 25
#define HEAD_SHARE   30
#define HEAD_MS	     1000
/* a database that stood still for a while tells nothing of how long a pass takes:
 * however slow the last one was, the next one of its kind is not further away */
#define HEAD_MOST_MS 10000
#define GAP_MOST_MS  2000
/* how long a transaction may take until its rows are seen, where the heads are slow */
#define LATE_MS 2000
/* short passes look for urgent ones of so many lanes, that came in since the one before
 * and so long before it */
#define FRESH_LANES 32
#define FRESH_MS    200
/* lanes without tasks are known so long; longer where a look at them is slow */
#define IDLE_MS	     2000
#define IDLE_SLOW_MS 600000

static void pass(void *arg);
static void on_view(const struct broker_view *view, const struct err *err, void *arg);
static void on_fed(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct feeder *
feeder_create(struct engine *e, struct feeders *fs, int list, struct err *err)
{
	struct feeder *f = mem_zero(sizeof(*f));

	if (f == NULL)
		goto fail;
	f->engine = e;
	f->all_feeders = fs;
	f->list = list;
	f->window = WINDOW_LEAST;
	pgparam_init(&f->params);
	f->timer = loop_timer_create(e->loop, pass, f);
	f->listed = hmap_create();
	if (recent_init(&f->recent) != 0 || f->timer == NULL || f->listed == NULL)
		goto fail;
	return f;
fail:
	feeder_free(f);
	err_set(err, ERR_NOMEM, "feeder");
	return NULL;
}

static void
empty_list(struct feeder *f)
{
	for (size_t i = 0; i < f->list_count; i++)
		hmap_remove(f->listed, f->elems[i].id.b, sizeof(f->elems[i].id.b));
	mem_free(f->elems);
	f->elems = NULL;
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
	recent_fini(&f->recent);
	lanes_fini(&f->lanes);
	shares_fini(&f->shares);
	loop_timer_free(f->timer);
	pgparam_fini(&f->params);
	mem_free(f);
}

void
feeder_start(struct feeder *f)
{
	f->running = true;
	f->open = false;
	f->epoch_open = false;
	f->hinted = true;
	f->whole_spent_ms = f->head_spent_ms = f->replaced_spent_ms = 0;
	lanes_rewind(&f->lanes);
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

void
feeder_requeue(struct feeder *f)
{
	f->requeue = true;
	feeder_hint(f);
}

void
feeder_again(struct feeder *f, const struct uuid *id)
{
	recent_remove(&f->recent, id);
}

void
feeder_refill(struct feeder *f)
{
	recent_clear(&f->recent);
	feeder_requeue(f);
}

/* ---------------------------------------------------------------- the look at Redis */

struct take *
feeder_take(struct feeder *f, int type_id)
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
	struct take *t = feeder_take(f, type_id);

	if (t != NULL)
		return t;
	if (f->take_count == TYPES_MOST)
		return NULL;
	f->takes[f->take_count] = (struct take){.type_id = type_id};
	return &f->takes[f->take_count++];
}

/* what a worker has published, with its parts found */
struct places {
	const char *commands; /* "id,id ..."; NULL: none */
	const char *pools;    /* "main,gpu"; NULL: main */
};

/* the word that begins so; the text ends before it.  NULL: there is none */
static char *
cut_word(char *text, const char *begin)
{
	char *word = strstr(text, begin), *end;

	if (word == NULL)
		return NULL;
	*word = '\0';
	word += strlen(begin);
	end = strchr(word, ' ');
	if (end != NULL)
		*end = '\0';
	return word;
}

/* is this one of the words that commas separate? */
static bool
is_among(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; at != NULL; at = strchr(at, ',')) {
		at += at != words; /* behind the comma */
		if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

static void
tell_commands(struct feeder *f, const struct places *pl)
{
	char *copy, *rest, *word;

	if (!feeder_is_first(f) || pl->commands == NULL)
		return;
	if (pl->pools == NULL) {
		feeders_commands(f->all_feeders, POOL_MAIN);
		return;
	}
	copy = rest = mem_strdup(pl->pools);
	while (copy != NULL && (word = strsep(&rest, ",")) != NULL)
		feeders_commands(
		    f->all_feeders, pools_number(f->engine->pools, word, strlen(word)));
	mem_free(copy);
}

static bool
serves_pool(const struct feeder *f, const struct places *pl)
{
	int pool = list_pool(f->list);

	return pl->pools == NULL
		   ? pool == POOL_MAIN
		   : is_among(pl->pools, pools_name(f->engine->pools, pool));
}

/* "id:free ..." of the types that are of this list's kind; a worker that does not meter
 * one takes it with any slot that is free */
static void
add_types(struct feeder *f, char *words, const struct places *pl, int64_t free_slots)
{
	bool commands = list_has_commands(f->list);
	char *word, *colon;
	int64_t id, n;
	struct take *t;

	while ((word = strsep(&words, " ")) != NULL) {
		colon = strchr(word, ':');
		if (colon == NULL)
			continue;
		*colon = '\0';
		if (str_to_i64(word, &id) != 0 || str_to_i64(colon + 1, &n) != 0 ||
		    id < 1 || id > INT32_MAX || n < -1 || n > 100000 ||
		    is_among(pl->commands, word) != commands ||
		    (t = take_for(f, (int)id)) == NULL)
			continue;
		t->metered |= n >= 0;
		t->free += (int)(n >= 0 ? n : free_slots);
	}
}

/* as types_places_text wrote it; what is not of that form is skipped */
static void
add_places(struct feeder *f, const char *text)
{
	char *copy = mem_strdup(text), *rest = copy, *word, *slash;
	struct places pl;
	int64_t n, free_slots;

	if (copy == NULL)
		return; /* the next pass */
	/* the last one first */
	pl.pools = cut_word(copy, " pools=");
	pl.commands = cut_word(copy, " commands=");
	word = strsep(&rest, " ");
	slash = word != NULL ? strchr(word, '/') : NULL;
	if (slash != NULL) {
		*slash = '\0';
		tell_commands(f, &pl);
	}
	if (slash != NULL && serves_pool(f, &pl)) {
		if (str_to_i64(word, &n) == 0 && n > 0 && n <= 100000)
			f->slots += n;
		if (str_to_i64(slash + 1, &free_slots) != 0 || free_slots < 0 ||
		    free_slots > 100000)
			free_slots = 0;
		add_types(f, rest, &pl, free_slots);
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
		if (feeder_take(f, f->elems[i].type_id) != NULL)
			continue;
		broker_drop(f->engine->broker, &f->elems[i]);
		count++;
	}
}

static void
count_listed(struct feeder *f, int app_id)
{
	struct share *s = shares_of(&f->shares, app_id);

	if (s != NULL)
		s->listed++;
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
	if (f->kind != PASS_BRIEF)
		shares_begin_list(&f->shares);
	if (view->list_count == 0)
		return;
	f->elems = mem_array(view->list_count, sizeof(*f->elems));
	if (f->elems == NULL)
		return;
	memcpy(f->elems, view->list, view->list_count * sizeof(*f->elems));
	for (; f->list_count < view->list_count; f->list_count++) {
		struct elem *el = &f->elems[f->list_count];

		count_listed(f, el->app_id);
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

/* a list that is nearly full is left to become shorter: what was read before is read
 * again by short passes, so many of them would cost more than few */
static bool
is_full(const struct feeder *f)
{
	return 4 * (f->window - f->length) < f->window;
}

/*
 * How many rows this pass wants: what the list has room for; or all of the window, and
 * one more that tells whether there are more.  While the pool spills, short passes fill
 * the list, and a whole one looks at the head only.
 */
static int32_t
rows_wanted(const struct feeder *f)
{
	if (f->kind == PASS_BRIEF)
		return is_full(f) ? BRIEF_LEAST : (int32_t)(f->window - f->length);
	if (f->kind == PASS_REPLACE || !f->spilling)
		return (int32_t)f->window + 1;
	return (int32_t)least_window(f) + 1;
}

/* how far the next one of a kind is from the last, which took so long */
static int64_t
gap_ms(int64_t spent_ms, int64_t share, int64_t least_ms, int64_t most_ms)
{
	int64_t ms = spent_ms * share;

	return ms < least_ms ? least_ms : ms < most_ms ? ms : most_ms;
}

/* looks at the heads are slow, and the last one was not long ago */
static bool
may_begin_low(const struct feeder *f)
{
	int64_t age_ms = loop_now_ms(f->engine->loop) - f->head_ms;

	return f->kind != PASS_BRIEF && !f->refill &&
	       f->head_spent_ms >= HEAD_SLOW_MS &&
	       age_ms < gap_ms(f->head_spent_ms, HEAD_SHARE, HEAD_MS, HEAD_MOST_MS);
}

/* how many rows of each lane, and where they begin */
static void
put_lanes(struct feeder *f, int most)
{
	struct pgparam *p = &f->params;

	/* where the list ends is not known, or not any more */
	if (!f->spilling || f->refill)
		lanes_rewind(&f->lanes);
	if (f->kind == PASS_BRIEF && is_full(f))
		lanes_rest(&f->lanes);
	else
		lanes_share(&f->lanes, most, f->kind == PASS_BRIEF);
	for (size_t i = 0; i < f->lanes.count; i++) {
		struct lane *l = &f->lanes.all[i];
		const struct take *t = feeder_take(f, l->type_id);

		if (t == NULL)
			l->take = 0;
		else if (t->metered && l->take > t->free)
			l->take = t->free;
	}
	f->from_low = may_begin_low(f);
	lanes_put(&f->lanes,
	    f->kind == PASS_BRIEF ? LANES_ON
	    : f->from_low	  ? LANES_LOW
				  : LANES_HEAD,
	    p);
}

static void
ask_rows(struct feeder *f)
{
	struct engine *e = f->engine;
	struct pgparam *p = &f->params;
	int32_t most = rows_wanted(f);
	int64_t now_ms = loop_now_ms(e->loop);
	struct err err = ERR_INIT;
	int pool;

	pgparam_reset(p);
	pgparam_uuid(p, &e->owner);
	pgparam_int4(p, LEASE_MS);
	pgparam_int4(p, (int32_t)e->settings->tasks_priority_aging_ms);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->take_count; i++)
		pgparam_elem_int4(p, f->takes[i].type_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->take_count; i++) {
		f->takes[i].left = f->takes[i].free;
		pgparam_elem_int4(p, f->takes[i].metered ? f->takes[i].free : most);
	}
	pgparam_array_end(p);
	pgparam_int4(p, most);
	put_lanes(f, most);
	if (f->kind != PASS_BRIEF)
		f->due_us = 0;
	if (f->due_us > 0)
		pgparam_int8(p, f->due_us);
	else
		pgparam_null(p, PGTYPE_INT8);
	if (f->from_low)
		pgparam_int4(p, (int32_t)(now_ms - f->whole_ms) + LATE_MS);
	else if (f->kind == PASS_BRIEF && f->lanes.count <= FRESH_LANES)
		pgparam_int4(p, (int32_t)(now_ms - f->started_ms) + FRESH_MS);
	else
		pgparam_null(p, PGTYPE_INT4);
	pool = list_pool(f->list);
	pgparam_text(p, pool != POOL_MAIN ? pools_name(e->pools, pool) : NULL);
	pgparam_bool(p, feeder_is_first(f));
	f->started_ms = now_ms;
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
	       age_ms < gap_ms(f->whole_spent_ms, WHOLE_SHARE, WHOLE_MS, GAP_MOST_MS);
}

/* how long until the list may be made anew */
static int64_t
replace_wait_ms(const struct feeder *f)
{
	return f->replaced_ms - loop_now_ms(f->engine->loop) +
	       gap_ms(f->replaced_spent_ms, WHOLE_SHARE, REPLACE_MS, GAP_MOST_MS);
}

static void
pass(void *arg)
{
	struct feeder *f = arg;
	struct engine *e = f->engine;

	if (f->open || !f->running)
		return;
	f->open = true;
	f->kind = f->requeue && replace_wait_ms(f) <= 0 ? PASS_REPLACE
		  : may_be_brief(f)			? PASS_BRIEF
							: PASS_WHOLE;
	f->all = f->hinted || f->refill || f->kind == PASS_REPLACE;
	f->hinted = false;
	f->seen = false;
	recent_age(&f->recent, loop_now_ms(e->loop));
	if (broker_look(e->broker, f->list, feeder_is_first(f) ? f->beat : 0,
		f->kind != PASS_BRIEF, on_view, f, NULL) == 0)
		return;
	if (!feeder_is_first(f)) {
		f->open = false;
		loop_timer_start_ms(f->timer, PASS_MS);
		return;
	}
	/* without Redis the pass keeps the lease and promotes; workers claim for
	 * themselves */
	f->kind = PASS_WHOLE;
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
	feeders_renew_places(f->all_feeders);
	feeders_lost_redis(f->all_feeders);
	f->refill = true;
	feeder_hint(f);
}

/* an epoch that is missing or not the database's: count a new one, and fill */
static void
check_epoch(struct feeder *f)
{
	struct pgparam p;

	if (!feeder_is_first(f) || !f->seen || f->seen_foreign || f->epoch_open ||
	    f->seen_epoch == f->database_epoch)
		return;
	recent_clear(&f->recent);
	pgparam_init(&p);
	pgparam_int8(&p, f->database_epoch);
	f->epoch_open = store_exec(f->engine->store, STORE_LEAD, &sql_next_epoch, &p,
			    on_next_epoch, f, NULL) == 0;
	pgparam_fini(&p);
}

/* ---------------------------------------------------------------- the answer */

static void
publish(struct feeder *f, const char *word)
{
	char name[LIST_NAME_SIZE], text[LIST_NAME_SIZE + 8];

	if (feeder_is_first(f)) {
		broker_publish(f->engine->broker, word);
		return;
	}
	pools_list_name(f->engine->pools, f->list, name);
	snprintf(text, sizeof(text), "%s %s", word, name);
	broker_publish(f->engine->broker, text);
}

/* a change at once, and again for those who missed it: it holds for two seconds */
static void
tell_spilling(struct feeder *f, bool spilling)
{
	int64_t now_ms = loop_now_ms(f->engine->loop);

	if (spilling && (!f->spilling || now_ms - f->told_ms >= SPILL_TELL_MS)) {
		publish(f, "spill");
		f->told_ms = now_ms;
	} else if (!spilling && f->spilling) {
		publish(f, "flow");
	}
	f->spilling = spilling;
}

/* those that came due in this pass, which nobody else pushes */
struct promoted {
	struct uuid *ids;
	size_t count;
};

static int
by_id(const void *x, const void *y)
{
	return memcmp(x, y, sizeof(struct uuid));
}

static int
pool_of(const struct feeder *f, const struct pgrows *pg, int row)
{
	const char *text;
	size_t len;

	if (pgrows_is_null(pg, row, 14))
		return POOL_MAIN;
	text = pgrows_text(pg, row, 14, &len);
	return pools_number(f->engine->pools, text, len);
}

static void
read_promoted(struct feeder *f, const struct pgrows *pg, struct promoted *pr)
{
	int count = pgrows_count(pg);
	struct uuid id;

	pr->ids = mem_array((size_t)count + 1, sizeof(*pr->ids));
	pr->count = 0;
	for (int i = 0; i < count && pr->ids != NULL; i++) {
		if (pgrows_int(pg, i, 0) != 1)
			continue;
		pgrows_uuid(pg, i, 2, &id);
		feeders_again(f->all_feeders, &id); /* it may be a retry */
		if (pgrows_int(pg, i, 9) > f->due_us)
			f->due_us = pgrows_int(pg, i, 9);
		if (registry_is_pull(f->engine->registry, (int)pgrows_int(pg, i, 1),
			(int)pgrows_int(pg, i, 3))) {
			leases_hint(f->engine->leases, (int)pgrows_int(pg, i, 1), 0);
			continue; /* in no list */
		}
		if (feeder_take(f, (int)pgrows_int(pg, i, 3)) == NULL &&
		    registry_is_http(f->engine->registry, (int)pgrows_int(pg, i, 1),
			(int)pgrows_int(pg, i, 3))) {
			engine_endpoints_due(
			    f->engine, (int)pgrows_int(pg, i, 1), pool_of(f, pg, i));
			continue; /* likewise */
		}
		if (pool_of(f, pg, i) != POOL_MAIN ||
		    feeder_take(f, (int)pgrows_int(pg, i, 3)) == NULL) {
			feeders_promoted(f->all_feeders, pool_of(f, pg, i));
			continue;
		}
		pr->ids[pr->count++] = id;
	}
	if (pr->count > 1)
		qsort(pr->ids, pr->count, sizeof(*pr->ids), by_id);
}

static int64_t
int_or(const struct pgrows *pg, int row, int col, int64_t otherwise)
{
	return pgrows_is_null(pg, row, col) ? otherwise : pgrows_int(pg, row, col);
}

static void
read_row(struct feeder *f, const struct pgrows *pg, int i, struct promoted *pr,
    struct row *r)
{
	const struct elem *el;

	r->el.app_id = (int)pgrows_int(pg, i, 1);
	pgrows_uuid(pg, i, 2, &r->el.id);
	r->el.type_id = (int)pgrows_int(pg, i, 3);
	r->el.list = f->list;
	r->age_ms = pgrows_int(pg, i, 4);
	r->queue_id = (int)pgrows_int(pg, i, 8);
	r->order_us = pgrows_int(pg, i, 9);
	r->weight = (int)pgrows_int(pg, i, 10);
	r->asked = (int)int_or(pg, i, 11, 0);
	r->room = (int)int_or(pg, i, 12, -1);
	r->fresh = pr->count > 0 && bsearch(&r->el.id, pr->ids, pr->count,
					sizeof(*pr->ids), by_id) != NULL;
	el = hmap_get(f->listed, r->el.id.b, sizeof(r->el.id.b));
	r->listed = r->placed = el != NULL;
	r->at = el != NULL ? (size_t)(el - f->elems) : 0;
}

static void
feed(struct feeder *f, const struct pgrows *pg)
{
	int count = pgrows_count(pg);
	struct row *rows = mem_array((size_t)count, sizeof(*rows));
	struct promoted pr;
	size_t due = 0;
	bool left_out, room = !is_full(f);

	if (rows == NULL)
		return;
	read_promoted(f, pg, &pr);
	for (int i = 0; i < count; i++) {
		if (pgrows_int(pg, i, 0) != 2 ||
		    feeder_take(f, (int)pgrows_int(pg, i, 3)) == NULL)
			continue;
		read_row(f, pg, i, &pr, &rows[due++]);
	}
	if (f->kind != PASS_BRIEF)
		f->metered_due = false;
	if (!f->spilling)
		shares_anchor(&f->shares);
	left_out = line_update(f, rows, due);
	/* it read to the end, or nothing that it read was new: the next one looks at
	 * all */
	f->ended = f->kind == PASS_BRIEF && room &&
		   ((!left_out && !f->more) || f->pushed == 0);
	tell_spilling(f, left_out || f->more || f->kind == PASS_BRIEF);
	mem_free(rows);
	mem_free(pr.ids);
}

/* another set of paused queues: what lies in the list may have to leave it */
static void
check_paused(struct feeder *f, int64_t paused)
{
	if (f->paused_known && paused != f->paused)
		f->requeue = true;
	f->paused = paused;
	f->paused_known = true;
}

/* after a pass: what it took, by its kind */
static void
note_spent(struct feeder *f, int64_t spent_ms)
{
	bool slow;

	if (f->kind == PASS_BRIEF)
		return;
	f->whole_ms = f->started_ms;
	f->whole_spent_ms = spent_ms;
	if (f->kind == PASS_REPLACE) { /* or tried to */
		f->replaced_ms = f->started_ms;
		f->replaced_spent_ms = spent_ms;
	}
	if (f->from_low)
		return;
	f->head_ms = f->started_ms;
	f->head_spent_ms = spent_ms;
	slow = spent_ms >= HEAD_SLOW_MS;
	lanes_forget(&f->lanes, f->started_ms - (slow ? IDLE_SLOW_MS : IDLE_MS));
}

/* the pools that queues are in */
static void
read_pools(struct feeder *f, const struct pgrows *pg)
{
	int pools[POOLS_MOST];
	size_t count = 0;

	for (int i = 0; i < pgrows_count(pg) && count < POOLS_MOST; i++) {
		if (pgrows_int(pg, i, 0) == 3 && (pools[count] = pool_of(f, pg, i)) > 0)
			count++;
	}
	feeders_pools(f->all_feeders, pools, count);
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
		check_paused(f, int_or(rows, i, 13, 0));
		if (feeder_is_first(f))
			atomic_store(&f->engine->board->cluster_beat, f->beat);
		due_ms = int_or(rows, i, 5, PASS_MS) + 1;
		if (due_ms < next_ms)
			next_ms = due_ms > 1 ? due_ms : 1;
	}
	if (!led) {
		leader_lost(f->engine->leader);
		return;
	}
	score_add(f->engine->slot, SCORE_feeder_passes_total, 1);
	f->refill = false;
	f->again = false;
	if (feeder_is_first(f)) {
		read_pools(f, rows);
		feeders_tell(f->all_feeders);
	}
	if (f->seen && !f->seen_foreign) {
		check_epoch(f);
		feed(f, rows);
	}
	if (f->spilling)
		next_ms = SPILL_PASS_MS;
	spent_ms = loop_now_ms(f->engine->loop) - f->started_ms;
	note_spent(f, spent_ms);
	if (f->requeue && f->seen && replace_wait_ms(f) < next_ms)
		next_ms = replace_wait_ms(f);
	if (f->hinted || (f->again && f->pushed > 0) || next_ms < HINT_GAP_MS)
		next_ms = HINT_GAP_MS;
	/* never more than half of the time in passes, however slow the database is */
	loop_timer_start_ms(f->timer, next_ms > spent_ms ? next_ms : spent_ms);
}
