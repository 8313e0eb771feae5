/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * line.c - what a pass of the feeder does to the dispatch list.
 *
 * A pass brings the first tasks of each lane.  Within an application they are in the
 * order of order_at over all its lanes; between applications the one that is furthest
 * behind its share comes next (shares.h).  That is the fair order.  What is missing in
 * front of something that is listed goes to the popping end; the rest queues up behind,
 * while there is room.
 *
 * Nothing can be put into the middle of a list.  A few tasks more at the popping end
 * than belong there do no harm; where it would be many, they go to the waiting end, if
 * there is room.  Where the list stands in another order than the fair one, it is made
 * anew by the next pass that may.
 *
 * A lane that was not read to its end may hide rows in front of those of another lane:
 * rows of its application behind its last one wait for the next pass, and so do those
 * of others that would come behind them.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "engine/feeder_int.h"

#define FIRST_MOST   16 /* so many may go to the popping end out of order */
#define LIMITS_MOST  256
#define NEAR_MOST_MS 1000
#define ASTRAY_LEAST 32 /* so far behind its place an id is not worth a new list */

/* tasks of an application that are nearer than this may change places: they came in at
 * about the same time, and with the same priority */
static int64_t
near_us(const struct feeder *f)
{
	int64_t half_ms = f->engine->settings->tasks_priority_aging_ms / 2;

	return 1000 * (half_ms < NEAR_MOST_MS ? half_ms : NEAR_MOST_MS) + 1;
}

static bool
is_metered(struct feeder *f, int type_id)
{
	const struct take *t = feeder_take(f, type_id);

	return t != NULL && t->metered;
}

/* ---------------------------------------------------------------- what was read */

/* so many rows from here on are of the same lane */
static size_t
lane_length(const struct row *rows, size_t count)
{
	size_t n = 1;

	while (n < count && rows[n].queue_id == rows[0].queue_id &&
	       rows[n].el.type_id == rows[0].el.type_id &&
	       rows[n].asked == rows[0].asked)
		n++;
	return n;
}

/* there may be more behind the last row; not where only places or limits end it */
static bool
is_cut(struct feeder *f, const struct row *rows, size_t count)
{
	const struct take *t = feeder_take(f, rows[0].el.type_id);

	return rows[0].asked > 0 && count >= (size_t)rows[0].asked &&
	       !(t != NULL && t->metered && rows[0].asked >= t->free);
}

static void
note_lane(struct feeder *f, struct row *rows, size_t count)
{
	struct lane *l = lanes_note(&f->lanes, rows[0].queue_id, rows[0].el.type_id);
	struct share *s = shares_of(&f->shares, rows[0].el.app_id);

	if (rows[0].room >= 0 || is_metered(f, rows[0].el.type_id))
		f->metered_due = true;
	if (is_cut(f, rows, count)) {
		if (s != NULL && rows[count - 1].order_us < s->seen_to_us)
			s->seen_to_us = rows[count - 1].order_us;
		if (!is_metered(f, rows[0].el.type_id))
			f->more = true;
	}
	if (l == NULL)
		return;
	l->app_id = rows[0].el.app_id;
	l->weight = rows[0].weight;
	l->busy = true;
	l->dry = false;
	l->busy_ms = f->started_ms;
	for (size_t i = 0; f->kind == PASS_BRIEF && i < count; i++)
		rows[i].early = rows[i].order_us + near_us(f) < l->from_us;
	/* what came in lately, far in front of it, is no reason to begin there */
	if (f->kind != PASS_BRIEF && (!f->from_low || rows[0].order_us >= l->low_us))
		l->low_us = rows[0].order_us;
}

static void
note_lanes(struct feeder *f, struct row *rows, size_t count)
{
	struct share *s;

	for (size_t i = 0; i < f->lanes.count; i++) {
		struct lane *l = &f->lanes.all[i];

		if (l->take > 0) {
			l->busy &= f->kind == PASS_BRIEF;
			l->dry = f->kind == PASS_BRIEF;
			continue;
		}
		if (!l->busy || l->dry || feeder_take(f, l->type_id) == NULL ||
		    is_metered(f, l->type_id))
			continue;
		/* it was not read this time */
		f->more = true;
		s = shares_of(&f->shares, l->app_id);
		if (s != NULL && l->next_us < s->seen_to_us)
			s->seen_to_us = l->next_us;
	}
	for (size_t i = 0, n; i < count; i += n) {
		n = lane_length(rows + i, count - i);
		note_lane(f, rows + i, n);
	}
}

/* how far the list has come in each lane; the first row that is not in it comes next */
static void
move_on(struct feeder *f, const struct row *rows, size_t count)
{
	for (size_t i = 0, n; i < count; i += n) {
		struct lane *l =
		    lanes_find(&f->lanes, rows[i].queue_id, rows[i].el.type_id);
		size_t k = 0;

		n = lane_length(rows + i, count - i);
		/* what came in lately says nothing of those behind it */
		if (l == NULL ||
		    (f->kind == PASS_BRIEF && rows[i].order_us < l->from_us))
			continue;
		while (k < n && rows[i + k].placed)
			k++;
		if (k > 0 && rows[i + k - 1].order_us >= l->from_us) {
			l->from_us = rows[i + k - 1].order_us;
			l->ties = 0;
			for (size_t t = k;
			     t > 0 && rows[i + t - 1].order_us == l->from_us; t--)
				l->ties++;
		}
		l->next_us = rows[i + (k < n ? k : n - 1)].order_us;
	}
}

/* ---------------------------------------------------------------- the fair order */

static int
by_place(const void *x, const void *y)
{
	const struct row *a = *(struct row *const *)x, *b = *(struct row *const *)y;

	if (a->el.app_id != b->el.app_id)
		return a->el.app_id < b->el.app_id ? -1 : 1;
	if (a->order_us != b->order_us)
		return a->order_us < b->order_us ? -1 : 1;
	return a < b ? -1 : a > b;
}

static int
by_tag(const void *x, const void *y)
{
	const struct row *a = *(struct row *const *)x, *b = *(struct row *const *)y;

	if (a->tag != b->tag)
		return a->tag < b->tag ? -1 : 1;
	if (a->rivals != b->rivals)
		return a->rivals < b->rivals ? -1 : 1;
	return by_place(x, y);
}

/* rows in the order of by_place get their tags */
static void
put_tags(struct feeder *f, struct row **order, size_t count)
{
	struct share *s = NULL;
	size_t behind = 0;

	for (size_t i = 0; i < count; i++) {
		struct row *r = order[i];

		if (behind < i + 1)
			behind = i + 1;
		while (behind < count && order[behind]->el.app_id == r->el.app_id &&
		       order[behind]->order_us < r->order_us + near_us(f))
			behind++;
		r->ties = behind - i - 1;
	}
	for (size_t i = 0; i < count; i++) {
		struct row *r = order[i];

		if (s == NULL || s->app_id != r->el.app_id)
			s = shares_of(&f->shares, r->el.app_id);
		if (s == NULL) {
			r->tag = f->shares.now; /* behind those who are known */
			continue;
		}
		r->tag = s->base + s->rows++ * share_cost(s);
		r->rivals = s->listed;
	}
}

/* the place of the first row that was not read: nothing may go behind it yet */
static int64_t
hidden_tag(const struct feeder *f)
{
	int64_t least = INT64_MAX;

	for (size_t i = 0; i < f->shares.count; i++) {
		const struct share *s = &f->shares.all[i];
		int64_t tag = s->base + s->rows * share_cost(s);

		if (s->seen_to_us != INT64_MAX && tag < least)
			least = tag;
	}
	return least;
}

struct limit {
	int queue_id, room;
};

/*
 * What a queue's types together may have: its own limit is not above the largest of
 * theirs.
 */
static size_t
find_limits(const struct row *rows, size_t count, struct limit *limits)
{
	size_t n = 0;

	for (size_t i = 0, k; i < count; i++) {
		for (k = 0; k < n && limits[k].queue_id != rows[i].queue_id; k++)
			;
		if (k == n && (rows[i].room < 0 || n == LIMITS_MOST))
			continue;
		if (k == n)
			limits[n++] = (struct limit){rows[i].queue_id, 0};
		if (rows[i].room < 0)
			limits[k].room = INT_MAX; /* the queue has none */
		else if (rows[i].room > limits[k].room)
			limits[k].room = rows[i].room;
	}
	return n;
}

/* takes one place of its type and of its queue's limit; false: there is none */
static bool
take_place(struct feeder *f, const struct row *r, struct limit *limits, size_t n)
{
	struct take *t = feeder_take(f, r->el.type_id);
	struct limit *l = NULL;

	for (size_t i = 0; i < n && l == NULL; i++) {
		if (limits[i].queue_id == r->queue_id)
			l = &limits[i];
	}
	if ((t->metered && t->left <= 0) || (l != NULL && l->room <= 0))
		return false;
	t->left--;
	if (l != NULL)
		l->room--;
	return true;
}

/*
 * Those that may be in the list now, in fair order.  What was popped and is not claimed
 * yet is out of it; what may have others before it waits.
 */
static size_t
make_order(struct feeder *f, struct row *rows, size_t count, struct row **order,
    bool *left_out)
{
	struct limit limits[LIMITS_MOST];
	size_t n = 0, kept = 0, limit_count = 0;
	bool limited = false;
	struct share *s;
	int64_t hidden;

	for (size_t i = 0; i < count; i++) {
		struct row *r = &rows[i];

		limited |= r->room >= 0;
		s = shares_of(&f->shares, r->el.app_id);
		/* short passes, which do not see the list, shall not push it again */
		if (r->listed && f->spilling && !recent_has(&f->recent, &r->el.id))
			recent_add(&f->recent, &r->el.id);
		if (!r->listed && recent_has(&f->recent, &r->el.id))
			r->placed = true;
		else if (s != NULL && r->order_us > s->seen_to_us)
			*left_out |= !is_metered(f, r->el.type_id);
		else
			order[n++] = r;
	}
	if (limited)
		limit_count = find_limits(rows, count, limits);
	qsort(order, n, sizeof(*order), by_place);
	put_tags(f, order, n);
	qsort(order, n, sizeof(*order), by_tag);
	hidden = hidden_tag(f);
	for (size_t i = 0; i < n; i++) {
		if (order[i]->tag > hidden)
			*left_out |= !is_metered(f, order[i]->el.type_id);
		else if (take_place(f, order[i], limits, limit_count))
			order[kept++] = order[i];
	}
	return kept;
}

/* ---------------------------------------------------------------- pushing */

static bool
may_push(struct feeder *f, const struct row *r)
{
	return !r->listed && (f->all || f->spilling || r->fresh ||
				 r->age_ms >= YOUNG_MS || is_metered(f, r->el.type_id));
}

/* it counts as its application's; ahead: at the popping end */
static void
charge(struct feeder *f, const struct row *r, bool ahead)
{
	struct share *s = shares_of(&f->shares, r->el.app_id);

	if (!ahead && r->tag > f->shares.now)
		f->shares.now = r->tag;
	if (s == NULL)
		return;
	s->tag += share_cost(s);
	s->active = true;
	s->first_pushed += ahead;
}

/* a short pass does not see the list: who is owed half of its length belongs in front,
 * and so does what is more urgent than all that its lane has in it */
static bool
is_owed(const struct feeder *f, const struct row *r)
{
	return r->tag < f->shares.pop + (f->shares.now - f->shares.pop) / 2;
}

enum place { PLACE_NONE, PLACE_FIRST, PLACE_LAST, PLACE_LATER };

static enum place
place_in_brief(struct feeder *f, const struct row *r, int64_t room)
{
	const struct share *s = shares_of(&f->shares, r->el.app_id);

	if (r->early || is_owed(f, r)) {
		if (s != NULL && s->first_pushed < FIRST_MOST)
			return PLACE_FIRST;
		f->requeue = true;
	}
	return room > 0 ? PLACE_LAST : PLACE_LATER;
}

/* the listed ones among them, as they stand in the list */
struct span {
	size_t first, last; /* in the fair order; last is behind it */
	bool mixed;	    /* some that are missing in front of the last are behind the
			       first */
};

static struct span
find_span(struct feeder *f, struct row *const *order, size_t count)
{
	struct span sp = {count, 0, false};

	for (size_t i = 0; i < count; i++) {
		if (!order[i]->listed)
			continue;
		if (sp.first == count)
			sp.first = i;
		sp.last = i + 1;
	}
	for (size_t i = sp.first; i < sp.last; i++)
		sp.mixed |= may_push(f, order[i]);
	return sp;
}

/* what has been due for a second goes to the popping end of a full list too */
static enum place
place_in_whole(const struct feeder *f, const struct row *r, size_t i,
    const struct span *sp, size_t first_count, int64_t room)
{
	if (i < sp->last && (!sp->mixed || first_count < FIRST_MOST))
		return PLACE_FIRST;
	if (room > 0)
		return PLACE_LAST;
	return r->age_ms >= YOUNG_MS && i < (size_t)f->slots ? PLACE_FIRST
							     : PLACE_LATER;
}

static void
reverse(struct elem *elems, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		struct elem swap = elems[i];

		elems[i] = elems[count - 1 - i];
		elems[count - 1 - i] = swap;
	}
}

/* into first and last; returns whether something was left out */
static bool
pick(struct feeder *f, struct row **order, size_t count, struct elem *first,
    size_t *first_count, struct elem *last, size_t *last_count)
{
	struct span sp = find_span(f, order, count);
	int64_t room = f->window - f->length;
	bool left_out = false;
	enum place place;

	for (size_t i = 0; i < count; i++) {
		struct row *r = order[i];

		if (!may_push(f, r))
			continue;
		place = f->kind == PASS_BRIEF
			    ? place_in_brief(f, r, room)
			    : place_in_whole(f, r, i, &sp, *first_count, room);
		if (place == PLACE_LATER) {
			left_out = true;
			/* it belongs in front of what is there */
			f->requeue |= f->kind == PASS_WHOLE && i < sp.last;
			continue;
		}
		if (place == PLACE_FIRST) {
			first[(*first_count)++] = r->el;
		} else {
			last[(*last_count)++] = r->el;
			room--;
		}
		charge(f, r, place == PLACE_FIRST);
		recent_add(&f->recent, &r->el.id);
		r->placed = true;
	}
	f->again = f->more && 4 * room >= f->window;
	return left_out;
}

static bool
push(struct feeder *f, struct row **order, size_t count)
{
	struct broker *b = f->engine->broker;
	struct elem *first = mem_array(count, sizeof(*first)),
		    *last = mem_array(count, sizeof(*last));
	size_t first_count = 0, last_count = 0;
	bool left_out = true;

	if (first != NULL && last != NULL) {
		left_out =
		    pick(f, order, count, first, &first_count, last, &last_count);
		/* in reverse, so that the first stays first */
		reverse(first, first_count);
		broker_push_first(b, first, first_count);
		broker_push(b, last, last_count);
		f->pushed = first_count + last_count;
	}
	mem_free(first);
	mem_free(last);
	return left_out;
}

/* ---------------------------------------------------------------- the list anew */

/* an id stands far behind its place, and not only behind others as early as it */
static bool
is_astray(const struct feeder *f, struct row *const *order, size_t count)
{
	const struct row **by_list = mem_array(f->list_count + 1, sizeof(*by_list));
	size_t *ranks = mem_array(f->list_count + 1, sizeof(*ranks));
	size_t rank = 0, at = 0, most = (size_t)f->slots / 4;
	bool astray = false;

	if (most < ASTRAY_LEAST)
		most = ASTRAY_LEAST;
	for (size_t i = 0; by_list != NULL && ranks != NULL && i < count; i++) {
		if (!order[i]->listed)
			continue;
		by_list[order[i]->at] = order[i];
		ranks[order[i]->at] = rank++;
	}
	for (size_t i = 0; rank > 0 && i < f->list_count; i++) {
		if (by_list[i] == NULL)
			continue;
		astray |= at > ranks[i] + 2 * by_list[i]->ties + most;
		at++;
	}
	mem_free(by_list);
	mem_free(ranks);
	return astray;
}

/* what is charged is what lies in it */
static void
charge_all(struct feeder *f, struct row *const *order, size_t count)
{
	struct share *s;

	for (size_t i = 0; i < f->shares.count; i++) {
		s = &f->shares.all[i];
		s->tag = s->base;
		s->active = false;
	}
	f->shares.now = f->shares.pop;
	for (size_t i = 0; i < count; i++)
		charge(f, order[i], false);
}

static bool
replace(
    struct feeder *f, struct row *rows, size_t all, struct row **order, size_t count)
{
	size_t kept = count < (size_t)f->window ? count : (size_t)f->window;
	struct elem *elems = mem_array(kept + 1, sizeof(*elems));

	if (elems == NULL)
		return true;
	for (size_t i = 0; i < f->list_count; i++)
		recent_remove(&f->recent, &f->elems[i].id);
	for (size_t i = 0; i < all; i++)
		rows[i].placed &= !rows[i].listed;
	for (size_t i = 0; i < kept; i++) {
		elems[i] = order[i]->el;
		order[i]->placed = true;
		recent_add(&f->recent, &elems[i].id);
	}
	broker_replace(f->engine->broker, f->list, elems, kept);
	mem_free(elems);
	charge_all(f, order, kept);
	lanes_rewind(&f->lanes);
	f->requeue = false;
	f->pushed = kept;
	/* what others pushed meanwhile is lost to it */
	f->hinted |= !f->spilling;
	return kept < count;
}

bool
line_update(struct feeder *f, struct row *rows, size_t count)
{
	struct row **order = mem_array(count + 1, sizeof(struct row *));
	bool left_out = false;
	size_t n;

	f->pushed = 0;
	f->more = f->again = false;
	if (order == NULL)
		return true;
	for (size_t i = 0; i < count; i++) {
		struct share *s = shares_of(&f->shares, rows[i].el.app_id);

		if (s != NULL)
			s->weight = rows[i].weight;
	}
	if (f->kind == PASS_BRIEF)
		shares_begin_brief(&f->shares, f->length);
	else
		shares_begin_whole(&f->shares);
	note_lanes(f, rows, count);
	n = make_order(f, rows, count, order, &left_out);
	if (f->kind == PASS_REPLACE) {
		left_out |= replace(f, rows, count, order, n);
	} else {
		left_out |= push(f, order, n);
		f->requeue |= f->kind == PASS_WHOLE && is_astray(f, order, n);
	}
	move_on(f, rows, count);
	if (f->kind != PASS_BRIEF)
		shares_tidy(&f->shares);
	score_add(f->engine->slot, SCORE_feeder_pushed_total, f->pushed);
	mem_free(order);
	return left_out;
}
