/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finish.c - the outcome of attempts into PostgreSQL, many in one statement.
 *
 * PostgreSQL decides by the row: a retry that would begin past the task's deadline is a
 * failure, and a task that somebody wants cancelled is not tried again.  What it
 * returns is what happened.
 *
 * The guard (id, state, attempt, owner, claim batch) stands in the statement: what is
 * not returned was not this worker's any more, and nothing was changed.  Acknowledge
 * only after the commit: an id removed from the processing list before it would be
 * found by the feeder alone, later.
 *
 * A finish whose answer was lost is sent again as it was.  What it does not return then
 * was either recorded by the first, or refused; a second question tells which. Outcomes
 * are kept and tried until PostgreSQL answers, or the worker ends; their number is
 * bounded by the worker's slots.
 *
 * A batch that PostgreSQL refuses for its data, or for a reason of ours, is taken
 * apart: each of its attempts goes alone, so that one of them cannot hold up all
 * others.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"

#define FINISH_ROWS  512
#define FINISH_BYTES (4 * 1024 * 1024)
#define RETRY_MS     200
#define PASS_MS	     1000 /* the feeder comes by once in so long, hints or not */
#define DONE_MOST    64
#define REFUSED	     "result_refused"

TAILQ_HEAD(attempts, attempt);

enum finish_state {
	FINISH_NONE = 0,
	FINISH_WAITING, /* a batch waits to be sent (again) */
	FINISH_SENT,
	FINISH_CHECKING, /* which of the unaccepted were recorded before? */
};

struct finish {
	struct engine *engine;
	struct attempts waiting;
	struct attempt *batch[FINISH_ROWS]; /* sorted by (application, id) */
	size_t count;
	int done[DONE_MOST]; /* claim batches to be removed with this finish */
	size_t done_count;
	enum finish_state state;
	bool in_doubt; /* the batch was sent before and its answer lost */
	struct loop_defer *defer;
	struct loop_timer *timer;
	struct pgparam params;
};

static void send_next(void *arg);
static void on_finished(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_checked(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct finish *
finish_create(struct engine *e, struct err *err)
{
	struct finish *f = mem_zero(sizeof(*f));

	if (f == NULL)
		goto fail;
	f->engine = e;
	TAILQ_INIT(&f->waiting);
	pgparam_init(&f->params);
	f->defer = loop_defer_create(e->loop, send_next, f);
	f->timer = loop_timer_create(e->loop, send_next, f);
	if (f->defer == NULL || f->timer == NULL)
		goto fail;
	return f;
fail:
	finish_free(f);
	err_set(err, ERR_NOMEM, "finish");
	return NULL;
}

void
finish_free(struct finish *f)
{
	struct attempt *a;

	if (f == NULL)
		return;
	/* all but ghosts belong to dispatch's map, and are freed there */
	while ((a = TAILQ_FIRST(&f->waiting)) != NULL) {
		TAILQ_REMOVE(&f->waiting, a, link);
		if (a->ghost)
			mem_free(a);
	}
	for (size_t i = 0; i < f->count; i++) {
		if (f->batch[i]->ghost)
			mem_free(f->batch[i]);
	}
	loop_defer_free(f->defer);
	loop_timer_free(f->timer);
	pgparam_fini(&f->params);
	mem_free(f);
}

bool
finish_idle(const struct finish *f)
{
	return f->state == FINISH_NONE && TAILQ_EMPTY(&f->waiting);
}

void
finish_add(struct finish *f, struct attempt *a)
{
	TAILQ_INSERT_TAIL(&f->waiting, a, link);
	if (f->state == FINISH_NONE)
		loop_defer_start(f->defer);
}

void
finish_store_up(struct finish *f)
{
	loop_defer_start(f->defer);
}

/* ---------------------------------------------------------------- outcome to state */

static enum task_event
event_of(const struct attempt *a)
{
	switch (a->outcome) {
	case OUTCOME_SUCCEEDED:
		return TASK_EV_SUCCEEDED;
	case OUTCOME_RETRY:
		return a->failures + 1 < a->max_attempts ? TASK_EV_RETRY
							 : TASK_EV_EXHAUSTED;
	case OUTCOME_FAILED:
		return TASK_EV_EXHAUSTED;
	case OUTCOME_CANCELLED:
		return TASK_EV_CANCELLED;
	case OUTCOME_BACK:
	case OUTCOME_OUTSIDE: /* never comes here */
		break;
	}
	return TASK_EV_LOST;
}

static enum task_state
state_of(const struct attempt *a)
{
	return task_next(TASK_RUNNING, event_of(a));
}

static int64_t
delay_of(struct attempt *a)
{
	if (a->retry_ms <
	    0) /* drawn once: a batch that is sent again must be the same */
		a->retry_ms =
		    backoff_ms(a->backoff != NULL ? a->backoff : a->type->backoff,
			a->failures, random_u64());
	return a->retry_ms;
}

/* ---------------------------------------------------------------- the batch */

static void
gather(struct finish *f)
{
	struct dispatch *d = f->engine->dispatch;
	struct attempt *a;
	size_t bytes = 0;

	f->count = 0;
	f->done_count = 0;
	f->in_doubt = false;
	while (f->count < FINISH_ROWS && (a = TAILQ_FIRST(&f->waiting)) != NULL) {
		if (f->count > 0 && (bytes + a->result_len > FINISH_BYTES || a->alone ||
					f->batch[0]->alone))
			break;
		TAILQ_REMOVE(&f->waiting, a, link);
		a->state = ATTEMPT_RECORDING;
		a->accepted = false;
		f->in_doubt |= a->in_doubt;
		bytes += a->result_len;
		f->batch[f->count++] = a;
		if (f->done_count < DONE_MOST &&
		    dispatch_leave_claim(a, &f->done[f->done_count]))
			f->done_count++;
	}
	while (f->done_count < DONE_MOST &&
	       dispatch_ended_claim(d, &f->done[f->done_count]))
		f->done_count++;
	qsort(f->batch, f->count, sizeof(f->batch[0]), attempt_by_key);
}

static void
put_keys(struct finish *f)
{
	struct pgparam *p = &f->params;

	pgparam_reset(p);
	pgparam_uuid(p, &f->engine->owner);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->count; i++)
		pgparam_elem_int4(p, f->batch[i]->elem.app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < f->count; i++)
		pgparam_elem_uuid(p, &f->batch[i]->elem.id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->count; i++)
		pgparam_elem_int4(p, f->batch[i]->number);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->count; i++)
		pgparam_elem_int4(p, f->batch[i]->claim);
	pgparam_array_end(p);
}

static void
put_text(struct pgparam *p, const char *text, size_t len)
{
	if (text != NULL)
		pgparam_elem_text(p, text, len);
	else
		pgparam_elem_null(p);
}

static bool
is_plain(const struct attempt *a)
{
	return a->outcome == OUTCOME_SUCCEEDED && a->result == NULL;
}

static bool
all_plain(const struct finish *f)
{
	for (size_t i = 0; i < f->count; i++) {
		if (!is_plain(f->batch[i]))
			return false;
	}
	return true;
}

/* all succeeded without a result: nothing to tell them apart */
static void
put_plain(struct pgparam *p)
{
	pgparam_null(p, PGTYPE_INT2_ARRAY);
	pgparam_null(p, PGTYPE_INT8_ARRAY);
	pgparam_null(p, PGTYPE_TEXT_ARRAY);
	pgparam_null(p, PGTYPE_TEXT_ARRAY);
	pgparam_null(p, PGTYPE_TEXT_ARRAY);
}

static void
put_outcomes(struct finish *f)
{
	struct pgparam *p = &f->params;

	pgparam_array(p, PGTYPE_INT2);
	for (size_t i = 0; i < f->count; i++)
		pgparam_elem_int2(p, (int16_t)state_of(f->batch[i]));
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT8);
	for (size_t i = 0; i < f->count; i++) {
		if (state_of(f->batch[i]) == TASK_SCHEDULED)
			pgparam_elem_int8(p, delay_of(f->batch[i]));
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < f->count; i++)
		put_text(p, f->batch[i]->result, f->batch[i]->result_len);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < f->count; i++) {
		const char *code = f->batch[i]->error_code;

		put_text(p, code[0] != '\0' ? code : NULL, strlen(code));
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < f->count; i++) {
		const char *text = f->batch[i]->error_message;

		put_text(p, text, text != NULL ? strlen(text) : 0);
	}
	pgparam_array_end(p);
}

static void
put_done(struct finish *f)
{
	struct pgparam *p = &f->params;

	if (f->done_count == 0) {
		pgparam_null(p, PGTYPE_INT4_ARRAY);
		return;
	}
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < f->done_count; i++)
		pgparam_elem_int4(p, f->done[i]);
	pgparam_array_end(p);
}

static void
send_batch(struct finish *f)
{
	struct err err = ERR_INIT;

	if (!store_is_up(f->engine->store, STORE_WORK)) {
		f->state = FINISH_WAITING; /* finish_store_up wakes us */
		return;
	}
	put_keys(f);
	if (all_plain(f))
		put_plain(&f->params);
	else
		put_outcomes(f);
	put_done(f);
	f->state = FINISH_SENT;
	score_add(f->engine->slot, SCORE_batches_total, 1);
	if (store_exec(f->engine->store, STORE_WORK, &sql_finish, &f->params,
		on_finished, f, &err) != 0) {
		f->state = FINISH_WAITING;
		loop_timer_start_ms(f->timer, RETRY_MS);
	}
}

static void
send_next(void *arg)
{
	struct finish *f = arg;

	if (f->state == FINISH_NONE && !TAILQ_EMPTY(&f->waiting)) {
		gather(f);
		send_batch(f);
	} else if (f->state == FINISH_WAITING) {
		send_batch(f);
	}
}

/* ---------------------------------------------------------------- the answer */

static struct attempt *
find_in_batch(struct finish *f, int app_id, const struct uuid *id)
{
	struct attempt probe = {.elem = {.id = *id, .app_id = app_id}}, *key = &probe,
		       **found;

	found = bsearch(&key, f->batch, f->count, sizeof(f->batch[0]), attempt_by_key);
	return found != NULL ? *found : NULL;
}

/*
 * What was asked for, unless PostgreSQL decided otherwise by the row.  (When it is
 * asked later, the task may have moved on: what began as a retry is one.)
 */
static enum task_state
decided(const struct attempt *a, enum task_state state)
{
	enum task_state asked = state_of(a);

	if (asked == TASK_SUCCEEDED || asked == TASK_FAILED)
		return asked;
	return state == TASK_CANCELLED || state == TASK_FAILED ? state : asked;
}

static void
count_outcome(struct engine *e, const struct attempt *a, enum task_state state)
{
	struct attempt_log al;
	int64_t ms = loop_now_ms(e->loop) - a->started_ms;

	switch (decided(a, state)) {
	case TASK_SUCCEEDED:
		score_add(e->slot, SCORE_tasks_succeeded_total, 1);
		log_debug(attempt_log(a, &al), "task succeeded", "attempt=%d ms=%lld",
		    a->number, (long long)ms);
		break;
	case TASK_SCHEDULED:
		score_add(e->slot, SCORE_tasks_retried_total, 1);
		log_info(attempt_log(a, &al),
		    "attempt failed, the task will be tried again",
		    "type=%s attempt=%d code=%s ms=%lld retry_ms=%lld", a->type->name,
		    a->number, a->error_code, (long long)ms, (long long)a->retry_ms);
		break;
	case TASK_FAILED:
		score_add(e->slot, SCORE_tasks_failed_total, 1);
		log_info(attempt_log(a, &al), "task failed",
		    "type=%s attempt=%d code=%s ms=%lld", a->type->name, a->number,
		    a->error_code, (long long)ms);
		break;
	case TASK_CANCELLED:
		score_add(e->slot, SCORE_tasks_cancelled_total, 1);
		log_info(attempt_log(a, &al), "task cancelled", "attempt=%d ms=%lld",
		    a->number, (long long)ms);
		break;
	default:
		score_add(e->slot, SCORE_tasks_lost_total, 1);
		log_info(
		    attempt_log(a, &al), "attempt given back", "attempt=%d", a->number);
		break;
	}
}

/* to the list of its pool as that is now; it may have come from none */
static void
push_again(struct engine *e, const struct attempt *a)
{
	int pool = names_pool(e->names, a->queue_id);
	struct elem el = a->elem;

	if (a->type != NULL && a->type->gate != NULL) {
		engine_endpoints_due(e, a->elem.app_id, pool);
		return;
	}
	if (a->type == NULL || a->type->metered || pool < 0) {
		/* who stays, and could not run it, shall not get it back at once */
		if (e->draining)
			engine_again(e, &a->elem.id);
		engine_hint(e);
		return;
	}
	el.list = list_of(pool, false);
	broker_push_first(e->broker, &el, 1);
}

static void
take_accepted(struct finish *f, const struct pgrows *rows)
{
	struct engine *e = f->engine;
	struct attempt *a;
	struct uuid id, waiter;
	enum task_state state;

	for (int i = 0; i < pgrows_count(rows); i++) {
		pgrows_uuid(rows, i, 1, &id);
		a = find_in_batch(f, (int)pgrows_int(rows, i, 0), &id);
		if (a == NULL || a->accepted)
			continue;
		a->accepted = true;
		state = (enum task_state)pgrows_int(rows, i, 2);
		if (!a->ghost || state == TASK_QUEUED)
			count_outcome(e, a, state);
		if ((pgrows_int(rows, i, 4) & TASK_SPECIAL_OTHERS) != 0)
			engine_hint(e); /* somebody waits for what it left */
		if (task_is_final(state) && !pgrows_is_null(rows, i, 3)) {
			pgrows_uuid(rows, i, 3, &waiter);
			waiters_tell(e->waiters, &waiter, a->elem.app_id, &a->elem.id);
		} else if (state == TASK_SCHEDULED) {
			if (a->retry_ms <
			    PASS_MS) /* before the feeder looks by itself */
				engine_hint(e);
		} else if (state == TASK_QUEUED) {
			push_again(e, a);
		}
	}
}

static void
settle(struct finish *f)
{
	struct attempt *batch[FINISH_ROWS];
	size_t count = f->count;
	struct attempt_log al;

	/* the batch is over before anybody is called: callers may add to the next one
	 */
	memcpy(batch, f->batch, count * sizeof(batch[0]));
	f->count = 0;
	f->done_count = 0;
	f->state = FINISH_NONE;
	if (!TAILQ_EMPTY(&f->waiting))
		loop_defer_start(f->defer);
	for (size_t i = 0; i < count; i++) {
		if (!batch[i]->accepted && !batch[i]->ghost) {
			score_add(f->engine->slot, SCORE_tasks_fenced_total, 1);
			log_warn(attempt_log(batch[i], &al),
			    "late outcome refused: the attempt was lost before",
			    "attempt=%d", batch[i]->number);
		}
		dispatch_release(f->engine->dispatch, batch[i]);
	}
	engine_check_drained(f->engine);
}

static bool
all_accepted(const struct finish *f)
{
	for (size_t i = 0; i < f->count; i++) {
		if (!f->batch[i]->accepted)
			return false;
	}
	return true;
}

/* of the batch that was in doubt, some were not accepted: recorded by the lost one, or
 * refused? */
static void
check(struct finish *f)
{
	struct err err = ERR_INIT;

	put_keys(f);
	f->state = FINISH_CHECKING;
	if (store_exec(f->engine->store, STORE_WORK, &sql_finished, &f->params,
		on_checked, f, &err) != 0) {
		f->state = FINISH_WAITING;
		loop_timer_start_ms(f->timer, RETRY_MS);
	}
}

static void
on_checked(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct finish *f = arg;

	if (pe != NULL) {
		f->state = FINISH_WAITING; /* the whole question again */
		loop_timer_start_ms(f->timer, RETRY_MS);
		return;
	}
	take_accepted(f, rows);
	settle(f);
}

/* each of the batch goes alone; false: it is alone already */
static bool
take_apart(struct finish *f)
{
	if (f->count == 1)
		return false;
	for (size_t i = f->count; i > 0; i--) {
		struct attempt *a = f->batch[i - 1];

		a->alone = true;
		a->in_doubt = f->in_doubt;
		TAILQ_INSERT_HEAD(&f->waiting, a, link);
	}
	f->count = 0;
	f->state = FINISH_NONE;
	loop_defer_start(f->defer);
	return true;
}

/* the one that fails goes behind all others, and nothing is sent for a moment */
static void
put_last(struct finish *f)
{
	struct attempt *a = f->batch[0];

	a->in_doubt = f->in_doubt;
	TAILQ_INSERT_TAIL(&f->waiting, a, link);
	f->count = 0;
	f->state = FINISH_NONE;
	loop_timer_start_ms(f->timer, RETRY_MS);
}

/* PostgreSQL refuses this attempt's data: it fails without them */
static void
refuse(struct finish *f, const struct pgerr *pe)
{
	struct attempt *a = f->batch[0];
	struct attempt_log al;

	log_warn(attempt_log(a, &al), "the database refuses an outcome",
	    "attempt=%d sqlstate=%s reason=\"%.200s\"", a->number, pe->sqlstate,
	    pe->text);
	if (str_eq(a->error_code, REFUSED)) {
		/* the reason itself is no text for it: cut within a character, perhaps
		 */
		mem_free(a->error_message);
		a->error_message = NULL;
		put_last(f);
		return;
	}
	mem_free(a->result);
	mem_free(a->error_message);
	a->result = NULL;
	a->result_len = 0;
	a->error_message = mem_strdup(pe->text);
	a->outcome = OUTCOME_FAILED;
	memcpy(a->error_code, REFUSED, sizeof(REFUSED));
	send_batch(f);
}

static void
on_finished(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct finish *f = arg;

	if (pe == NULL) {
		take_accepted(f, rows);
		if (f->in_doubt && !all_accepted(f))
			check(f);
		else
			settle(f);
		return;
	}
	switch (pe->class) {
	case PGERR_RETRY:
		send_batch(f);
		return;
	case PGERR_DATA:
		if (!take_apart(f))
			refuse(f, pe);
		return;
	case PGERR_BUG:
		log_warn(NULL, "a batch of outcomes failed, to be tried one by one",
		    "sqlstate=%s rows=%zu reason=\"%.200s\"", pe->sqlstate, f->count,
		    pe->text);
		if (!take_apart(f))
			put_last(f);
		return;
	case PGERR_LOST:
		f->in_doubt = true;
		break;
	default:
		log_warn(NULL, "a batch of outcomes failed, to be tried again",
		    "class=%s sqlstate=%s rows=%zu reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, f->count, pe->text);
		break;
	}
	f->state = FINISH_WAITING;
	loop_timer_start_ms(f->timer, RETRY_MS);
}
