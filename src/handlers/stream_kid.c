/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_kid.c - one child of a stream type, from its start to its end.
 *
 *     STARTING --hello--> READY --recycled, drained--> LEAVING --> gone
 *         \_________________\____________________________\___ trouble --> ENDING -->
 * gone
 *
 * One timer looks after it: four times a second while it has tasks, with each ping
 * otherwise.  It finds tasks whose time is over, a child that is silent or too large,
 * and one that does not leave.
 *
 * Until a child is gone its answers count, unless it broke the protocol: then nothing
 * that it says can be believed.  What it leaves unanswered ends by the reason of its
 * end (judge_run); docs/stream-protocol.md has the table.
 */
#include "handlers/stream_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/trace.h"
#include "proc/child.h"
#include "proc/procutil.h"

#define TICK_MS	       250
#define PING_MS	       5000
#define HELLO_MS       30000 /* where nothing else is set */
#define LEAVE_MS       3000  /* with nothing left to do */
#define TERM_MS	       1000  /* between TERM and KILL */
#define USEFUL_MS      30000 /* a child that lived so long was no failure */
#define ENVELOPE       (64 * 1024)
#define UNSENT_FULL    (1024 * 1024) /* a child that does not read gets no more */
#define CONTROL_ROOM   (256 * 1024)  /* for cancels and pings */
#define TASK_ROOM      8192	     /* of a task's line beside its payload */
#define SAID_MOST      20	     /* lines a second */
#define STRANGERS_MOST 2
#define ENV_MOST       64
#define REPORT_LINE    ATTEMPT_LOG_BYTES

/* of a line from a child */
static size_t
line_max(const struct stream *s)
{
	return (size_t)s->settings->tasks_max_result_bytes + ENVELOPE;
}

static struct stream *
stream_of(const struct kid *k)
{
	return k->pool->stream;
}

static const char *
type_of(const struct kid *k)
{
	return k->pool->settings->type;
}

static int64_t
now_ms_of(const struct kid *k)
{
	return loop_now_ms(stream_of(k)->loop);
}

static int64_t
ping_ms(const struct kid *k)
{
	int64_t third = k->pool->settings->hang_timeout_ms / 3;

	return third > 0 && third < PING_MS ? third : PING_MS;
}

static void
wind(struct kid *k)
{
	k->brisk = k->count > 0 || k->state != KID_READY || k->leave_ms != 0;
	k->ticked_ms = now_ms_of(k);
	loop_timer_start_ms(
	    k->timer, k->brisk && ping_ms(k) > TICK_MS ? TICK_MS : ping_ms(k));
}

/* ---------------------------------------------------------------- the end of it */

static void end(struct kid *k, enum kid_why why, const char *fmt, ...)
    ATTR_PRINTF(3, 4);

/* the first reason counts */
static void
end(struct kid *k, enum kid_why why, const char *fmt, ...)
{
	va_list ap;

	if (k->why != KID_WHY_NONE)
		return;
	va_start(ap, fmt);
	vsnprintf(k->reason, sizeof(k->reason), fmt, ap);
	va_end(ap);
	k->why = why;
	k->state = KID_ENDING;
	/* a broken or hanging one has nothing to tidy up that we would wait for */
	talk_end(k->talk, why == KID_STUCK ? TERM_MS : 0);
	pool_changed(k->pool);
}

/* for people: how it ended */
static void
say_end(const struct kid *k, const struct launch_event *e, char *to, size_t size)
{
	if (e->errnum != 0)
		snprintf(to, size, "it could not be started (%s): %s",
		    e->failed_step != NULL ? e->failed_step : "start",
		    strerror(e->errnum));
	else if (k->why != KID_WHY_NONE)
		snprintf(to, size, "%s", k->reason);
	else if (e->lost)
		snprintf(to, size, "nobody knows how it ended");
	else if (WIFSIGNALED(e->status))
		snprintf(to, size, "killed by signal %d", WTERMSIG(e->status));
	else
		snprintf(to, size, "exit status %d", WEXITSTATUS(e->status));
}

/* what the end of its child means for an attempt */
static void
judge_run(struct run *r, const struct kid *k, const char *how, bool lost)
{
	const char *code = "child_crashed";
	bool was_told = r->kill_ms != 0;
	char text[sizeof(k->reason) + sizeof(k->last_words) + 64];
	int len;

	/* nobody's fault here, never seen, or another one's fault */
	if (lost || r->from_byte >= talk_written(k->talk) ||
	    (k->why == KID_STUCK && !was_told)) {
		run_give_back(r);
		return;
	}
	if (was_told)
		code = r->timed_out ? "timeout" : "cancelled";
	else if (k->why == KID_SILENT)
		code = "child_silent";
	else if (k->why == KID_BROKEN)
		code = "child_broken";
	len = snprintf(text, sizeof(text), "the child ended: %s%s%s", how,
	    k->last_words[0] != '\0' ? "; it said: " : "", k->last_words);
	run_fail(r, OUTCOME_RETRY, code, text, (size_t)len, -1);
}

static void
take_out(struct kid *k, struct run *r)
{
	TAILQ_REMOVE(&k->runs, r, link);
	hmap_remove(k->by_id, r->attempt->elem.id.b, sizeof(r->attempt->elem.id.b));
	k->count--;
	r->kid = NULL;
}

static void
unlink_kid(struct kid *k)
{
	TAILQ_REMOVE(&k->pool->kids, k, link);
	if (k->seat != NULL)
		k->seat->kid = NULL;
	stream_of(k)->kids--;
	score_set(stream_of(k)->slot, SCORE_children, (uint64_t)stream_of(k)->kids);
}

static void
destroy(struct kid *k)
{
	loop_timer_free(k->timer);
	hmap_free(k->by_id);
	mem_free(k);
}

void
kid_free(struct kid *k)
{
	struct run *r;

	talk_free(k->talk);
	while ((r = TAILQ_FIRST(&k->runs)) != NULL) {
		TAILQ_REMOVE(&k->runs, r, link);
		run_free(r);
	}
	unlink_kid(k);
	destroy(k);
}

static void
on_gone(struct kid *k, const struct launch_event *e)
{
	struct pool *p = k->pool;
	struct seat *seat = k->seat;
	bool was_useful = k->answered > 0 ||
			  (k->ready_ms != 0 && now_ms_of(k) - k->ready_ms >= USEFUL_MS);
	bool as_told = k->state == KID_LEAVING && k->count == 0;
	char how[256];
	struct run *r;

	say_end(k, e, how, sizeof(how));
	log_line(as_told ? LOG_INFO : LOG_WARN, NULL, "a child ended",
	    "type=%s pid=%d answered=%lld unanswered=%d how=\"%s\"", type_of(k),
	    (int)k->pid, (long long)k->answered, k->count, how);
	unlink_kid(k);
	while ((r = TAILQ_FIRST(&k->runs)) != NULL) {
		take_out(k, r);
		judge_run(r, k, how, e->lost);
	}
	destroy(k); /* talk frees itself behind this */
	pool_kid_ended(p, seat, !as_told, was_useful);
}

/* with nothing left it has a moment, and the end of its input to tell it */
static void
check_left(struct kid *k)
{
	if (k->state != KID_LEAVING || k->count > 0 || k->leave_ms != 0)
		return;
	k->leave_ms = now_ms_of(k) + LEAVE_MS;
	talk_close(k->talk);
}

/* ---------------------------------------------------------------- what it is told */

/* false: it hears nothing any more, and that ends it soon */
static bool
tell(struct kid *k)
{
	struct strbuf *sb = &stream_of(k)->scratch;
	struct err err = ERR_INIT;

	if (!strbuf_failed(sb) && talk_write(k->talk, sb->data, sb->len, &err) == 0)
		return true;
	log_debug(NULL, "a child could not be told something", "type=%s reason=\"%s\"",
	    type_of(k), err.text);
	return false;
}

void
kid_leave(struct kid *k)
{
	struct strbuf *sb = &stream_of(k)->scratch;
	struct seat *seat = k->seat;

	k->state = KID_LEAVING;
	k->seat = NULL;
	if (seat != NULL)
		seat->kid = NULL;
	strbuf_reset(sb);
	stream_put_drain(sb);
	(void)tell(k); /* if not: the end of its input says the same */
	check_left(k);
	wind(k);
}

/* drained and replaced: its successor starts now */
static void
recycle(struct kid *k, const char *why)
{
	struct seat *seat = k->seat;

	log_info(NULL, "a child is recycled", "type=%s pid=%d why=%s given=%lld",
	    type_of(k), (int)k->pid, why, (long long)k->given);
	kid_leave(k);
	if (seat != NULL)
		loop_timer_start_ms(seat->timer, 0);
}

bool
kid_has_room(const struct kid *k)
{
	return k->state == KID_READY && !k->deaf && k->count < k->concurrency &&
	       talk_unsent(k->talk) < UNSENT_FULL;
}

static void
put_task(struct strbuf *sb, const struct attempt *a, const char *queue)
{
	char fence[FENCE_TEXT_SIZE], parent[TRACE_PARENT_SIZE];
	const struct stream_task t = {
	    .id = &a->elem.id,
	    .type = attempt_type_name(a),
	    .queue = queue,
	    .fence = attempt_fence(a, fence),
	    .attempt = a->number,
	    .max_attempts = a->max_attempts,
	    .deadline_us = attempt_done_by_us(a, a->timeout_ms),
	    .timeout_ms = a->timeout_ms,
	    .payload = a->payload,
	    .payload_len = a->payload_len,
	    .traceparent = a->trace == NULL
			       ? NULL
			       : trace_parent(a->trace, &a->elem.id, a->number, parent),
	    .tracestate = a->trace == NULL ? NULL : trace_state(a->trace),
	};

	strbuf_reset(sb);
	stream_put_task(sb, &t);
}

int
kid_give(struct kid *k, struct run *r, const char *queue, struct err *err)
{
	struct strbuf *sb = &stream_of(k)->scratch;
	struct attempt *a = r->attempt;
	int64_t recycle_tasks = k->pool->settings->recycle_tasks;

	put_task(sb, a, queue);
	if (strbuf_failed(sb))
		return err_set(err, ERR_NOMEM, "a task's line");
	if (hmap_put(k->by_id, a->elem.id.b, sizeof(a->elem.id.b), r, NULL) != 0)
		return err_set(err, ERR_NOMEM, "a task");
	r->from_byte = talk_taken(k->talk);
	if (talk_write(k->talk, sb->data, sb->len, err) != 0) {
		hmap_remove(k->by_id, a->elem.id.b, sizeof(a->elem.id.b));
		return -1;
	}
	r->kid = k;
	r->since_ms = now_ms_of(k);
	r->over_ms = r->since_ms + a->timeout_ms;
	TAILQ_INSERT_TAIL(&k->runs, r, link);
	k->count++;
	k->given++;
	if (!k->brisk)
		wind(k);
	if (recycle_tasks > 0 && k->given >= recycle_tasks)
		recycle(k, "recycle_tasks");
	return 0;
}

void
kid_cancel(struct kid *k, struct run *r, int64_t grace_ms)
{
	struct strbuf *sb = &stream_of(k)->scratch;
	int64_t kill_ms = now_ms_of(k) + grace_ms;

	if (r->kill_ms != 0) { /* it knows */
		if (kill_ms < r->kill_ms)
			r->kill_ms = kill_ms;
		return;
	}
	r->kill_ms = kill_ms;
	strbuf_reset(sb);
	stream_put_cancel(sb, &r->attempt->elem.id);
	(void)tell(k); /* if not: after the grace the child ends */
}

/* ---------------------------------------------------------------- what it says */

static void
answered(struct kid *k, struct run *r)
{
	struct pool *p = k->pool;
	int64_t took_ms = now_ms_of(k) - r->since_ms;

	p->took_ms += ((double)took_ms - p->took_ms) / 8;
	k->answered++;
	if (r->kill_ms != 0)
		k->forgiven[k->forgiven_next++ % STREAM_FORGIVEN] = r->attempt->elem.id;
	take_out(k, r);
}

static void
take_result(struct kid *k, struct run *r, const struct jspan *result)
{
	const struct type_settings *t = k->pool->settings;
	int64_t most = stream_of(k)->settings->tasks_max_result_bytes;
	char *copy, text[128];
	int len;

	if (t->max_output_bytes < most)
		most = t->max_output_bytes;
	answered(k, r);
	if (result->len > (size_t)most) {
		len = snprintf(text, sizeof(text),
		    "the result has %zu bytes, and %lld are allowed", result->len,
		    (long long)most);
		run_fail(r, OUTCOME_FAILED, "output_too_large", text, (size_t)len, -1);
		return;
	}
	if (result->kind == JSON_NULL) {
		run_succeed(r, NULL, 0);
		return;
	}
	copy = mem_dup(result->at, result->len);
	if (copy == NULL)
		run_fail(
		    r, OUTCOME_RETRY, "no_memory", "no memory for the result", 24, -1);
	else
		run_succeed(r, copy, result->len);
}

static void
take_bad(struct kid *k, struct run *r, const struct err *why)
{
	answered(k, r);
	run_fail(r, OUTCOME_RETRY, "bad_answer", why->text, strlen(why->text), -1);
}

static void
take_error(struct kid *k, struct run *r, const struct stream_msg *m)
{
	struct stream_error e;
	struct err err = ERR_INIT;

	if (stream_msg_error(m, &e, &err) != 0) {
		take_bad(k, r, &err);
		return;
	}
	answered(k, r);
	run_fail(r, e.retry ? OUTCOME_RETRY : OUTCOME_FAILED,
	    r->timed_out ? "timeout" : e.code, e.message != NULL ? e.message : "",
	    e.message_len, e.retry_ms);
	mem_free(e.message);
}

static void
take_report(struct run *r, const struct stream_msg *m)
{
	char progress[ATTEMPT_PROGRESS_BYTES];
	bool has_progress = m->progress.kind != 0 && m->progress.len < sizeof(progress);
	char *line = NULL;
	size_t len = 0;

	if (has_progress) {
		memcpy(progress, m->progress.at, m->progress.len);
		progress[m->progress.len] = '\0';
	}
	if (m->log.kind == JSON_STRING)
		line = stream_msg_text(&m->log, REPORT_LINE, &len, NULL);
	if (has_progress || line != NULL)
		attempt_report(r->attempt, has_progress ? progress : NULL, line, len);
	mem_free(line);
}

static bool
is_forgiven(const struct kid *k, const struct uuid *id)
{
	for (size_t i = 0; i < STREAM_FORGIVEN; i++) {
		if (uuid_eq(&k->forgiven[i], id))
			return true;
	}
	return false;
}

/* a late answer to what was cancelled is no wonder; another one is once */
static void
take_stranger(struct kid *k, const struct stream_msg *m)
{
	char id[UUID_TEXT_SIZE];

	if ((m->result.kind == 0 && m->error.kind == 0) || is_forgiven(k, &m->id))
		return;
	log_warn(NULL, "a child answered for a task that it does not have",
	    "type=%s pid=%d task=%s", type_of(k), (int)k->pid, uuid_format(&m->id, id));
	if (++k->strangers >= STRANGERS_MOST)
		end(k, KID_BROKEN, "it answered again for a task that it did not have");
}

static void
take_task(struct kid *k, const struct stream_msg *m)
{
	struct run *r = hmap_get(k->by_id, m->id.b, sizeof(m->id.b));

	if (r == NULL) {
		take_stranger(k, m);
		return;
	}
	if (m->progress.kind != 0 || m->log.kind != 0)
		take_report(r, m);
	if (m->error.kind != 0 && m->error.kind != JSON_NULL)
		take_error(k, r, m);
	else if (m->result.kind != 0)
		take_result(k, r, &m->result);
	else
		return; /* it goes on */
	check_left(k);
	if (!TAILQ_EMPTY(&k->pool->line) || stream_of(k)->draining)
		pool_changed(k->pool);
}

static void
take_hello(struct kid *k, const struct stream_msg *m)
{
	if (k->state == KID_LEAVING)
		return; /* too late */
	if (k->state != KID_STARTING) {
		end(k, KID_BROKEN, "it said hello a second time");
		return;
	}
	k->state = KID_READY;
	k->concurrency = (int)m->concurrency;
	k->ready_ms = now_ms_of(k);
	log_info(NULL, "a child is ready", "type=%s pid=%d concurrency=%d", type_of(k),
	    (int)k->pid, k->concurrency);
	wind(k);
	pool_changed(k->pool);
}

static void
take_line(struct kid *k, const char *line, size_t len)
{
	struct stream_msg m;
	struct err err = ERR_INIT;
	struct uuid id;
	struct run *r;
	char shown[80];

	if (k->why == KID_BROKEN || len == 0)
		return;
	k->silent_ms = 0;
	if (stream_msg_parse(line, len, &m, &err) != 0) {
		r = stream_msg_guess(line, len, &id)
			? hmap_get(k->by_id, id.b, sizeof(id.b))
			: NULL;
		if (r != NULL) {
			take_bad(k, r, &err);
			pool_changed(k->pool);
			return;
		}
		str_printable(shown, sizeof(shown), line, len);
		end(k, KID_BROKEN, "it wrote what it may not: %.60s: %s", err.text,
		    shown);
		return;
	}
	if (k->state == KID_STARTING && m.kind != STREAM_MSG_HELLO) {
		end(k, KID_BROKEN, "it spoke before its hello");
		return;
	}
	switch (m.kind) {
	case STREAM_MSG_HELLO:
		take_hello(k, &m);
		break;
	case STREAM_MSG_PONG:
		k->ping_open = false;
		break;
	case STREAM_MSG_TASK:
		take_task(k, &m);
		break;
	case STREAM_MSG_OTHER:
		str_printable(shown, sizeof(shown), line, len);
		log_warn(NULL, "a child wrote a line that says nothing",
		    "type=%s pid=%d line=\"%s\"", type_of(k), (int)k->pid, shown);
		break;
	}
}

static void
say_left_out(struct kid *k)
{
	if (k->left_out > 0)
		log_info(NULL, "a child said more", "type=%s pid=%d left_out=%lld",
		    type_of(k), (int)k->pid, (long long)k->left_out);
	k->left_out = 0;
}

/* its standard error, into our log */
static void
take_words(struct kid *k, const char *line, size_t len)
{
	int64_t second = now_ms_of(k) / 1000;
	char text[1024];

	if (len == 0)
		return;
	str_printable(k->last_words, sizeof(k->last_words), line, len);
	if (second != k->said_second) {
		say_left_out(k);
		k->said_second = second;
		k->said = 0;
	}
	if (++k->said > SAID_MOST) {
		k->left_out++;
		return;
	}
	str_printable(text, sizeof(text), line, len);
	log_info(NULL, "a child says", "type=%s pid=%d text=\"%s\"", type_of(k),
	    (int)k->pid, text);
}

static void
on_talk(struct talk *t, const struct talk_event *e, void *arg)
{
	struct kid *k = arg;

	if (k->pid == 0)
		k->pid = talk_pid(t);
	switch (e->kind) {
	case TALK_LINE:
		take_line(k, e->line, e->len);
		break;
	case TALK_ERROR_LINE:
		take_words(k, e->line, e->len);
		break;
	case TALK_TOO_LONG:
		end(k, KID_BROKEN, "it wrote a line of more than %zu bytes",
		    line_max(stream_of(k)));
		break;
	case TALK_FLUSHED:
		pool_changed(k->pool);
		break;
	case TALK_DEAF:
	case TALK_MUTE:
		/* most likely it is ending; if not, it is ended */
		k->deaf = true;
		if (k->leave_ms == 0)
			k->leave_ms = now_ms_of(k) + TERM_MS;
		wind(k);
		break;
	case TALK_ENDED:
		say_left_out(k);
		on_gone(k, e->end);
		break;
	}
}

/* ---------------------------------------------------------------- the look after it */

static bool
has_overdue(struct kid *k, int64_t now_ms)
{
	int64_t grace_ms = k->pool->settings->grace_ms;
	struct run *r;

	TAILQ_FOREACH (r, &k->runs, link) {
		if (r->kill_ms != 0 && now_ms >= r->kill_ms)
			return true;
		if (!r->timed_out && now_ms >= r->over_ms) {
			r->timed_out = true;
			kid_cancel(k, r, grace_ms);
		}
	}
	return false;
}

static bool
is_silent(const struct kid *k)
{
	int64_t most = k->pool->settings->hang_timeout_ms;

	if (k->leave_ms != 0)
		return false;
	if (k->state == KID_STARTING && most == 0)
		most = HELLO_MS;
	return most > 0 && k->silent_ms >= most;
}

static void
ping(struct kid *k, int64_t now_ms)
{
	struct strbuf *sb = &stream_of(k)->scratch;

	if (k->ping_open || k->leave_ms != 0 ||
	    (k->state != KID_READY && k->state != KID_LEAVING))
		return;
	strbuf_reset(sb);
	stream_put_ping(sb, ++k->pings);
	k->ping_open = tell(k);
	k->pinged_ms = now_ms;
}

static void
check_memory(struct kid *k)
{
	int64_t most = k->pool->settings->recycle_memory_bytes;

	if (most > 0 && k->state == KID_READY && k->pid != 0 &&
	    memory_resident_bytes(k->pid) > (size_t)most)
		recycle(k, "recycle_memory");
}

static void
on_tick(void *arg)
{
	struct kid *k = arg;
	int64_t now_ms = now_ms_of(k), passed_ms = now_ms - k->ticked_ms;
	int64_t most = k->brisk ? 4 * TICK_MS : 2 * ping_ms(k);

	/* while this worker stood still, nothing could be heard */
	k->silent_ms += passed_ms < most ? passed_ms : most;
	if (k->state != KID_ENDING) {
		if (has_overdue(k, now_ms))
			end(k, KID_STUCK,
			    "it did not answer within the grace to what it was told "
			    "to cancel");
		else if (is_silent(k))
			end(k, KID_SILENT, "%s for %lld ms",
			    k->state == KID_STARTING ? "it did not say hello"
						     : "nothing was heard of it",
			    (long long)k->silent_ms);
		else if (k->leave_ms != 0 && now_ms >= k->leave_ms)
			talk_end(k->talk, TERM_MS);
		else if (now_ms - k->pinged_ms >= ping_ms(k)) {
			check_memory(k);
			ping(k, now_ms);
		}
	}
	pool_measure(k->pool, now_ms);
	wind(k);
}

/* ---------------------------------------------------------------- its start */

static void put_env(struct strbuf *sb, size_t at[], size_t *count, const char *fmt, ...)
    ATTR_PRINTF(4, 5);

/* each word is kept as an offset first: the buffer may move while it grows */
static void
put_env(struct strbuf *sb, size_t at[], size_t *count, const char *fmt, ...)
{
	char text[4200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (*count == ENV_MOST)
		return;
	at[(*count)++] = sb->len;
	strbuf_put(sb, text, strlen(text) + 1);
}

static int
make_env(
    const struct kid *k, struct strbuf *sb, char *env[ENV_MOST + 1], struct err *err)
{
	const struct type_settings *t = k->pool->settings;
	size_t at[ENV_MOST], count = 0;
	char **words;

	if (argv_split(t->environment, &words, err) != 0)
		return -1;
	put_env(sb, at, &count, "PATH=/usr/local/bin:/usr/bin:/bin");
	put_env(sb, at, &count, "SHOAL_TYPE=%s", t->type);
	put_env(sb, at, &count, "SHOAL_WORKER=%s", k->pool->stream->worker);
	for (size_t i = 0; words[i] != NULL; i++)
		put_env(sb, at, &count, "%s", words[i]);
	mem_free(words);
	if (strbuf_failed(sb))
		return err_set(err, ERR_NOMEM, "environment");
	for (size_t i = 0; i < count; i++)
		env[i] = sb->data + at[i];
	env[count] = NULL;
	return 0;
}

static int
launch_it(struct kid *k, struct err *err)
{
	const struct launch_spec *launch =
	    commands_of(stream_of(k)->commands, k->pool->settings);
	struct stream *s = stream_of(k);
	char *env[ENV_MOST + 1];
	struct talk_opts opts = {
	    .line_max = line_max(s),
	    .unsent_max = UNSENT_FULL + TASK_ROOM + CONTROL_ROOM +
			  (size_t)s->settings->tasks_max_payload_bytes,
	};
	struct strbuf words;
	int rc = -1;

	if (launch == NULL)
		return err_set(err, ERR_BUG, "type %s has no command", type_of(k));
	opts.launch = *launch;
	opts.launch.env = env;
	strbuf_init(&words, 64 * 1024);
	if (make_env(k, &words, env, err) == 0) {
		k->talk = talk_start(s->loop, s->launcher, &opts, on_talk, k, err);
		rc = k->talk != NULL ? 0 : -1;
	}
	strbuf_fini(&words);
	return rc;
}

int
kid_start(struct seat *seat, struct err *err)
{
	struct pool *p = seat->pool;
	struct stream *s = p->stream;
	struct kid *k = mem_zero(sizeof(*k));

	if (k == NULL)
		return err_set(err, ERR_NOMEM, "a child");
	k->pool = p;
	k->state = KID_STARTING;
	TAILQ_INIT(&k->runs);
	k->by_id = hmap_create();
	k->timer = loop_timer_create(s->loop, on_tick, k);
	if (k->by_id == NULL || k->timer == NULL) {
		destroy(k);
		return err_set(err, ERR_NOMEM, "a child");
	}
	if (launch_it(k, err) != 0) {
		destroy(k);
		return -1;
	}
	k->seat = seat;
	seat->kid = k;
	k->pid = talk_pid(k->talk);
	k->pinged_ms = loop_now_ms(s->loop);
	TAILQ_INSERT_TAIL(&p->kids, k, link);
	s->kids++;
	score_set(s->slot, SCORE_children, (uint64_t)s->kids);
	strbuf_reset(&s->scratch);
	stream_put_hello(&s->scratch, p->settings->type, s->worker, line_max(s));
	(void)tell(k); /* cannot fail; if it did, no hello comes back */
	wind(k);
	return 0;
}
