/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit.c - every 30 s, what PostgreSQL says that this worker holds against what it
 * holds.
 *
 * Two differences are possible.  A ghost, held there and not here: a claim that
 * committed after its question was asked again, or an attempt that could not be kept
 * for want of memory; it is given back through the usual guard.  And an attempt that
 * runs here and is not ours there: recovery took it; it is stopped.
 *
 * Only settled things are compared: claim batches below the first one without an
 * answer, and attempts that were running when the question left and still are when its
 * answer comes.  A finish that passes in between makes the row not running, and the
 * guard then changes nothing.
 */
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define AUDIT_MS 30000

struct audit {
	struct engine *engine;
	struct loop_timer *timer;
	unsigned number; /* of the audit under way; attempts carry it while they are
			    compared */
	bool open;
};

static void on_time(void *arg);

struct audit *
audit_create(struct engine *e, struct err *err)
{
	struct audit *au = mem_zero(sizeof(*au));

	if (au == NULL ||
	    (au->timer = loop_timer_create(e->loop, on_time, au)) == NULL) {
		mem_free(au);
		err_set(err, ERR_NOMEM, "audit");
		return NULL;
	}
	au->engine = e;
	loop_timer_start_ms(au->timer, AUDIT_MS);
	return au;
}

void
audit_free(struct audit *au)
{
	if (au == NULL)
		return;
	loop_timer_free(au->timer);
	mem_free(au);
}

/* returns how many ghosts there were; attempts found in the answer lose their mark */
static int
compare(struct audit *au, const struct pgrows *rows)
{
	struct dispatch *d = au->engine->dispatch;
	struct attempt *a;
	struct elem el = {.type_id = 1};
	int number, claim, ghosts = 0;

	for (int i = 0; i < pgrows_count(rows); i++) {
		el.app_id = (int)pgrows_int(rows, i, 0);
		pgrows_uuid(rows, i, 1, &el.id);
		number = (int)pgrows_int(rows, i, 2);
		claim = (int)pgrows_int(rows, i, 3);
		a = dispatch_find(d, &el.id);
		if (a != NULL && a->state >= ATTEMPT_CLAIMED && a->number == number &&
		    a->claim == claim) {
			a->audit = 0;
			continue;
		}
		ghosts++;
		dispatch_ghost(d, &el, number, claim);
	}
	return ghosts;
}

static void
on_held(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct audit *au = arg;
	struct dispatch *d = au->engine->dispatch;
	struct attempt *a;
	size_t cursor = 0;
	int ghosts, lost = 0;

	au->open = false;
	if (pe != NULL)
		return; /* the next one */
	ghosts = compare(au, rows);
	while ((a = dispatch_next(d, &cursor)) != NULL) {
		if (a->audit != au->number)
			continue;
		a->audit = 0;
		if (a->state == ATTEMPT_RUNNING) {
			lost++;
			dispatch_lose(d, a);
		}
	}
	if (ghosts > 0 || lost > 0)
		log_warn(NULL, "audit: the database and this worker disagreed",
		    "given_back=%d stopped=%d", ghosts, lost);
}

void
audit_now(struct audit *au)
{
	struct engine *e = au->engine;
	int before = dispatch_first_open_claim(e->dispatch);
	struct attempt *a;
	struct pgparam p;
	size_t cursor = 0;

	if (au->open || !e->registered)
		return;
	if (++au->number == 0)
		au->number = 1;
	while ((a = dispatch_next(e->dispatch, &cursor)) != NULL) {
		if (a->state == ATTEMPT_RUNNING && a->claim < before)
			a->audit = au->number;
	}
	/* an idle worker asks too: a claim whose answer was lost may commit at any
	 * time, long after its batch was asked for and found empty */
	pgparam_init(&p);
	pgparam_uuid(&p, &e->owner);
	pgparam_int4(&p, before);
	au->open =
	    store_exec(e->store, STORE_READ, &sql_held, &p, on_held, au, NULL) == 0;
	pgparam_fini(&p);
}

static void
on_time(void *arg)
{
	struct audit *au = arg;

	loop_timer_start_ms(au->timer, AUDIT_MS);
	audit_now(au);
}
