/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * suspect.c - tasks whose worker crashed twice while it ran them.
 *
 * One of those that run in a worker when it crashes may be the cause, and nobody can
 * tell which.  Recovery counts a crash against all of them (shoal.take_tasks); from
 * the second on each runs alone: nothing else is taken, what runs is awaited, and only
 * then is it started.  A crash while it is all that its worker holds proves it
 * (shoal.is_poison), and PostgreSQL fails it for good.  An innocent one runs alone once
 * and is done.
 *
 * A claim does not tell suspects from others, since nearly all its tasks are none.  But
 * two crashes have used up two attempts and no budget, so only what has lost two
 * attempts is asked about, before it starts.
 *
 * Of several suspects the one with most crashes is kept and the others go back: while
 * they were held, a crash would prove nothing.
 */
#include <string.h>

#include "base/log.h"
#include "engine/dispatch_int.h"

#define ASK_MOST 512

bool
suspect_may_be(const struct attempt *a)
{
	return a->number - 1 - a->failures >= 2;
}

/* for others, or for later; it has not begun */
static void
give_back(struct attempt *a)
{
	a->state = ATTEMPT_RUNNING;
	attempt_failed(a, OUTCOME_BACK, "", "", 0, -1);
}

static void
keep(struct dispatch *d, struct attempt *a)
{
	struct attempt_log al;

	d->suspect = a;
	log_warn(attempt_log(a, &al),
	    "a task that was there in two crashes shall run alone", "attempt=%d",
	    a->number);
	dispatch_give_back_popped(d);
	engine_places_changed(d->engine, false);
}

/* 0: it is no suspect */
static int64_t
crashes_of(const struct pgrows *rows, const struct attempt *a)
{
	struct uuid id;

	for (int i = 0; i < pgrows_count(rows); i++) {
		pgrows_uuid(rows, i, 1, &id);
		if (pgrows_int(rows, i, 0) == a->elem.app_id &&
		    uuid_eq(&id, &a->elem.id))
			return pgrows_int(rows, i, 2);
	}
	return 0;
}

/* the most suspicious of those that were asked about; NULL: none */
static struct attempt *
worst_of(const struct attempts *asked, const struct pgrows *rows)
{
	struct attempt *a, *worst = NULL;
	int64_t n, most = 0;

	TAILQ_FOREACH (a, asked, link) {
		n = crashes_of(rows, a);
		if (n > most) {
			most = n;
			worst = a;
		}
	}
	return worst;
}

static void
on_suspects(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct dispatch *d = arg;
	struct attempts asked = TAILQ_HEAD_INITIALIZER(asked);
	struct attempt *a, *worst;

	TAILQ_CONCAT(&asked, &d->asking, link);
	if (pe != NULL) {
		TAILQ_CONCAT(&asked, &d->doubtful, link);
		TAILQ_CONCAT(&d->doubtful, &asked, link);
		dispatch_claim_later(d);
		return;
	}
	worst = d->suspect == NULL ? worst_of(&asked, rows) : NULL;
	while ((a = TAILQ_FIRST(&asked)) != NULL) {
		TAILQ_REMOVE(&asked, a, link);
		if (a == worst)
			keep(d, a);
		else if (crashes_of(rows, a) > 0)
			give_back(a);
		else
			claim_ready(d, a);
	}
	dispatch_wake(d);
}

static void
ask(struct dispatch *d)
{
	struct pgparam *p = &d->params;
	struct attempt *a;
	size_t count = 0;

	while (count++ < ASK_MOST && (a = TAILQ_FIRST(&d->doubtful)) != NULL) {
		TAILQ_REMOVE(&d->doubtful, a, link);
		TAILQ_INSERT_TAIL(&d->asking, a, link);
	}
	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (a, &d->asking, link)
		pgparam_elem_int4(p, a->elem.app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	TAILQ_FOREACH (a, &d->asking, link)
		pgparam_elem_uuid(p, &a->elem.id);
	pgparam_array_end(p);
	if (store_exec(d->engine->store, STORE_WORK, &sql_suspects, p, on_suspects, d,
		NULL) != 0) {
		TAILQ_CONCAT(&d->asking, &d->doubtful, link);
		TAILQ_CONCAT(&d->doubtful, &d->asking, link);
		dispatch_claim_later(d);
	}
}

/* the worker holds nothing else, and nothing is on its way to it */
static bool
is_alone(const struct dispatch *d)
{
	return hmap_count(d->held) == 1 && d->ghosts == 0 &&
	       d->claim_state == CLAIM_NONE && d->adopting == 0 &&
	       TAILQ_EMPTY(&d->in_doubt) && finish_idle(d->engine->finish);
}

void
suspect_look(struct dispatch *d, bool may_ask)
{
	struct attempt *a;

	if (d->stopped) {
		/* the worker leaves: others have the time to look */
		while ((a = TAILQ_FIRST(&d->doubtful)) != NULL) {
			TAILQ_REMOVE(&d->doubtful, a, link);
			give_back(a);
		}
	} else if (may_ask && !TAILQ_EMPTY(&d->doubtful) && TAILQ_EMPTY(&d->asking)) {
		ask(d);
	}
	a = d->suspect;
	if (a == NULL || a->state != ATTEMPT_CLAIMED || d->suspect_begun)
		return;
	if (d->stopped || is_alone(d)) {
		d->suspect_begun = true;
		claim_ready(d, a);
		dispatch_wake(d); /* its queue's name may have to be asked for */
	}
}

void
suspect_ended(struct dispatch *d)
{
	d->suspect = NULL;
	d->suspect_begun = false;
	if (!d->stopped)
		engine_places_changed(d->engine, true);
}
