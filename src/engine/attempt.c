/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attempt.c - what a worker holds, and what handlers ask and tell of it.
 *
 * Every id held here is in one map from its pop until its end is settled, so that an id
 * popped twice is seen at once.  A batch of claims is noted until its last attempt
 * leaves: then its row in shoal.claim goes with the next finish.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/dispatch_int.h"
#include "model/trace.h"
#include "telemetry/spans.h"

struct attempt *
attempt_hold(struct dispatch *d, const struct elem *el, struct type_entry *t)
{
	struct attempt *a = TAILQ_FIRST(&d->spare);

	if (a != NULL) {
		TAILQ_REMOVE(&d->spare, a, link);
		d->spare_count--;
		memset(a, 0, sizeof(*a));
	} else if ((a = mem_zero(sizeof(*a))) == NULL) {
		return NULL;
	}
	a->dispatch = d;
	a->elem = *el;
	a->type = t;
	a->placed = true;
	if (hmap_put(d->held, a->elem.id.b, sizeof(a->elem.id.b), a, NULL) != 0) {
		mem_free(a);
		return NULL;
	}
	return a;
}

/* its handler needs it no more: a place for another */
static void
put_place(struct attempt *a)
{
	struct engine *e = a->dispatch->engine;

	if (!a->placed)
		return;
	a->placed = false;
	types_put_place(e->types, a->type);
	score_set(e->slot, SCORE_tasks_running, (uint64_t)types_running(e->types));
	if (a->type->metered) {
		engine_places_changed(e, false);
		engine_hint_places(e, a->type->kind == HANDLER_EXEC);
	}
	if (a->type->gate != NULL)
		dispatch_endpoints_due(a->dispatch, a->elem.app_id);
	dispatch_wake(a->dispatch);
}

void
attempt_let_go(struct dispatch *d, struct attempt *a)
{
	if (a->ghost) {
		d->ghosts--;
	} else {
		hmap_remove(d->held, a->elem.id.b, sizeof(a->elem.id.b));
		put_place(a);
	}
	if (d->suspect == a)
		suspect_ended(d);
	crash_drop(a->crash);
	mem_free(a->payload);
	mem_free(a->backoff);
	mem_free(a->trace);
	mem_free(a->result);
	mem_free(a->error_message);
	if (d->spare_count < 1024) {
		TAILQ_INSERT_HEAD(&d->spare, a, link);
		d->spare_count++;
	} else {
		mem_free(a);
	}
}

struct attempt *
dispatch_find(struct dispatch *d, const struct uuid *id)
{
	return hmap_get(d->held, id->b, sizeof(id->b));
}

struct attempt *
dispatch_next(struct dispatch *d, size_t *cursor)
{
	return hmap_next(d->held, cursor);
}

bool
dispatch_leave_claim(struct attempt *a, int *claim)
{
	struct claim_note *note = a->note;

	if (note == NULL)
		return false;
	a->note = NULL;
	if (--note->left > 0)
		return false;
	*claim = note->claim;
	mem_free(note);
	return true;
}

bool
dispatch_ended_claim(struct dispatch *d, int *claim)
{
	struct claim_note *note = TAILQ_FIRST(&d->ended);

	if (note == NULL)
		return false;
	TAILQ_REMOVE(&d->ended, note, link);
	*claim = note->claim;
	mem_free(note);
	return true;
}

/* its end makes room under a limit */
static bool
was_limited(const struct dispatch *d, const struct attempt *a)
{
	const struct queue_policy *p;

	if (a->number == 0 || a->ghost)
		return false; /* never claimed */
	p = names_policy(d->engine->names, a->queue_id);
	return a->type->limited || (p != NULL && p->limited);
}

void
dispatch_release(struct dispatch *d, struct attempt *a)
{
	struct claim_note *note = a->note;

	if (was_limited(d, a)) /* types and queues of all kinds may wait for it */
		engine_hint(d->engine);

	if (note != NULL && --note->left == 0)
		TAILQ_INSERT_TAIL(&d->ended, note, link);
	if (a->in_list)
		broker_ack(d->engine->broker, &a->elem);
	attempt_let_go(d, a);
	dispatch_wake(d);
	engine_check_drained(d->engine);
}

void
dispatch_ghost(struct dispatch *d, const struct elem *el, int number, int claim)
{
	struct attempt *a = mem_zero(sizeof(*a));

	if (a == NULL)
		return; /* the next audit sees it again */
	a->dispatch = d;
	a->elem = *el;
	a->number = number;
	a->claim = claim;
	a->ghost = true;
	a->state = ATTEMPT_ENDED;
	a->outcome = OUTCOME_BACK;
	d->ghosts++;
	finish_add(d->engine->finish, a);
}

/*
 * Attempts whose outcome is not recorded yet have no place any more; while there are as
 * many as slots nothing is taken, so that the database's pauses do not pile them up.
 */
bool
dispatch_is_choked(const struct dispatch *d)
{
	int unrecorded = (int)hmap_count(d->held) - types_running(d->engine->types);

	return unrecorded >= (int)d->engine->settings->node_slots;
}

int
dispatch_room(const struct dispatch *d)
{
	return dispatch_is_choked(d) ? 0 : types_free_slots(d->engine->types);
}

int
dispatch_first_open_claim(const struct dispatch *d)
{
	const struct claim_note *note;
	int first = d->batches + 1;

	if (d->claim_state != CLAIM_NONE)
		first = d->claim;
	if (d->adopting != 0 && d->adopting < first)
		first = d->adopting;
	TAILQ_FOREACH (note, &d->in_doubt, link) {
		if (note->claim < first)
			first = note->claim;
	}
	return first;
}

bool
dispatch_idle(const struct dispatch *d)
{
	return hmap_count(d->held) == 0 && d->ghosts == 0 &&
	       d->claim_state == CLAIM_NONE && d->adopting == 0 &&
	       TAILQ_EMPTY(&d->in_doubt);
}

int
attempt_by_key(const void *x, const void *y)
{
	const struct attempt *a = *(struct attempt *const *)x,
			     *b = *(struct attempt *const *)y;

	if (a->elem.app_id != b->elem.app_id)
		return a->elem.app_id < b->elem.app_id ? -1 : 1;
	return uuid_cmp(&a->elem.id, &b->elem.id);
}

/* ---------------------------------------------------------------- what handlers call
 */

const struct type_settings *
attempt_settings(const struct attempt *a)
{
	return a->type->settings;
}

const char *
attempt_endpoint(const struct attempt *a, int64_t *version)
{
	if (a->type->gate == NULL)
		return NULL;
	*version = a->type->version;
	return a->type->gate->endpoint;
}

const char *
attempt_type_name(const struct attempt *a)
{
	return a->type->name;
}

const struct uuid *
attempt_owner(const struct attempt *a)
{
	return &a->dispatch->engine->owner;
}

char *
attempt_fence(const struct attempt *a, char buf[FENCE_TEXT_SIZE])
{
	char owner[OWNER_TEXT_SIZE];

	snprintf(buf, FENCE_TEXT_SIZE, "%d-%s-%d", a->number,
	    owner_text(attempt_owner(a), owner), a->claim);
	return buf;
}

const struct log_ctx *
attempt_log(const struct attempt *a, struct attempt_log *al)
{
	al->ctx = (struct log_ctx){
	    .kind = "task",
	    .id = uuid_format(&a->elem.id, al->task),
	};
	if (a->trace != NULL) {
		al->ctx.trace = trace_id(a->trace, al->trace);
		al->ctx.span = trace_span(&a->elem.id, a->number, al->span);
	}
	return &al->ctx;
}

int64_t
attempt_done_by_us(const struct attempt *a, int64_t timeout_ms)
{
	int64_t us = engine_now_us(a->dispatch->engine) + timeout_ms * 1000;

	return a->deadline_us != 0 && a->deadline_us < us ? a->deadline_us : us;
}

int64_t
attempt_now_us(const struct attempt *a)
{
	return engine_now_us(a->dispatch->engine);
}

void
handler_restrain(struct dispatch *d, struct type_entry *t, int most)
{
	int *word = t->gate != NULL ? &t->gate->most : &t->most;

	if (*word == most)
		return;
	*word = most;
	if (t->gate != NULL) {
		dispatch_endpoints_due(d, t->gate->app_id);
		return;
	}
	engine_places_changed(d->engine, true);
	dispatch_wake(d);
}

void
attempt_report(
    struct attempt *a, const char *progress, const char *line, size_t line_len)
{
	report_add(a->dispatch->engine->reports, a, progress, line, line_len);
}

/* for a collector of traces: it waited, and ran */
static void
tell_spans(const struct attempt *a)
{
	static const char *const outcomes[] = {
	    [OUTCOME_SUCCEEDED] = "succeeded",
	    [OUTCOME_RETRY] = "retry",
	    [OUTCOME_FAILED] = "failed",
	    [OUTCOME_BACK] = "given_back",
	    [OUTCOME_CANCELLED] = "cancelled",
	    [OUTCOME_OUTSIDE] = "outside",
	};
	struct engine *e = a->dispatch->engine;
	const char *queue = names_queue(e->names, a->queue_id);
	const struct span_run run = {
	    .trace = a->trace,
	    .task = &a->elem.id,
	    .attempt = a->number,
	    .application = a->elem.app_id,
	    .type = a->type->name,
	    .queue = queue != NULL ? queue : "",
	    .due_us = a->due_us,
	    .start_us = a->span_us,
	    .end_us = clock_wall_us(),
	    .outcome = a->lost ? "lost" : outcomes[a->outcome],
	    .error = a->outcome == OUTCOME_SUCCEEDED ? "" : a->error_code,
	};

	spans_add_run(e->spans, &run);
}

static void
ended(struct attempt *a)
{
	struct dispatch *d = a->dispatch;

	a->state = ATTEMPT_ENDED;
	crash_drop(a->crash);
	a->crash = CRASH_NONE;
	report_end(d->engine->reports, a);
	put_place(a);
	if (a->lost) {
		if (a->span_us != 0)
			tell_spans(a);
		dispatch_release(d, a);
		return;
	}
	if (a->outcome == OUTCOME_OUTSIDE) {
		if (a->span_us != 0)
			tell_spans(a);
		handover_add(d->engine->handover, a);
		return;
	}
	if (a->cancelled && a->outcome != OUTCOME_SUCCEEDED) {
		/* whatever its handler calls it; what it said last is kept */
		a->outcome = OUTCOME_CANCELLED;
		memcpy(a->error_code, "cancelled", sizeof("cancelled"));
	} else if (a->giving_up && a->outcome != OUTCOME_SUCCEEDED) {
		a->outcome = OUTCOME_BACK;
	}
	if (a->span_us != 0)
		tell_spans(a);
	finish_add(d->engine->finish, a);
}

void
attempt_succeeded(struct attempt *a, char *result, size_t len)
{
	a->outcome = OUTCOME_SUCCEEDED;
	a->result = result;
	a->result_len = len;
	ended(a);
}

void
attempt_failed(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const char *message, size_t message_len, int64_t retry_ms)
{
	a->outcome = outcome;
	a->retry_ms = retry_ms;
	snprintf(a->error_code, sizeof(a->error_code), "%s", code);
	a->error_message =
	    mem_dup(message, message_len); /* without memory: the code alone */
	ended(a);
}

void
attempt_goes_outside(
    struct attempt *a, const struct uuid *lease, int64_t ttl_ms, const char *by)
{
	a->outcome = OUTCOME_OUTSIDE;
	a->lease = *lease;
	a->retry_ms = ttl_ms;
	a->error_message = mem_strdup(by);
	ended(a);
}
