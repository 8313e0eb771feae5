/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.c - tasks run as commands; see exec.h.
 *
 * Commands are started by the spawner (proc/launch.h), which also kills them when this
 * worker dies: no command outlives the attempt that it belongs to.
 */
#include "handlers/exec.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "handlers/lines.h"
#include "handlers/outside.h"
#include "model/command.h"
#include "model/trace.h"

#define STDERR_KEPT	 (64 * 1024)
#define FREE_LOSSES	 5 /* attempts at no cost before; then a lost one has failed */
#define ENV_MOST	 64
#define LEAVING_GRACE_MS 3000
#define EXIT_RETRY	 75 /* EX_TEMPFAIL of sysexits.h */
#define EXIT_CANNOT_RUN	 126
#define EXIT_NOT_FOUND	 127

struct exec {
	struct children *children;
	const struct settings *settings;
	struct score_slot *slot;
	struct commands *commands;
	TAILQ_HEAD(, run) runs;
};

struct run {
	TAILQ_ENTRY(run) link;
	struct exec *exec;
	struct attempt *attempt;
	struct child *child;
	struct lines lines;
	int64_t max_output;
};

struct exec *
exec_create(struct children *cs, const struct settings *settings,
    struct score_slot *slot, struct err *err)
{
	struct exec *x = mem_zero(sizeof(*x));

	if (x == NULL) {
		err_set(err, ERR_NOMEM, "exec handler");
		return NULL;
	}
	x->children = cs;
	x->settings = settings;
	x->slot = slot;
	TAILQ_INIT(&x->runs);
	x->commands = commands_create(settings, err);
	if (x->commands == NULL) {
		exec_free(x);
		return NULL;
	}
	return x;
}

void
exec_free(struct exec *x)
{
	struct run *run;

	if (x == NULL)
		return;
	while ((run = TAILQ_FIRST(&x->runs)) !=
	       NULL) { /* their children were killed before */
		TAILQ_REMOVE(&x->runs, run, link);
		mem_free(run);
	}
	commands_free(x->commands);
	mem_free(x);
}

/* ---------------------------------------------------------------- the end of a command
 */

static void fail(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const char *fmt, ...) ATTR_PRINTF(4, 5);

static void
fail(struct attempt *a, enum attempt_outcome outcome, const char *code, const char *fmt,
    ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	attempt_failed(a, outcome, code, text, strlen(text), -1);
}

/* what standard error ended with, or a sentence when it is empty */
static void
fail_with_stderr(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const struct child_output *err, const char *otherwise)
{
	const char *from = err->tail != NULL ? err->tail : err->head;
	size_t len = err->tail != NULL ? err->tail_len : err->head_len;
	char text[OUTSIDE_MESSAGE_MOST];

	while (len > 0 && (from[len - 1] == '\n' || from[len - 1] == ' '))
		len--;
	if (len == 0) {
		attempt_failed(a, outcome, code, otherwise, strlen(otherwise), -1);
		return;
	}
	if (len > sizeof(text)) {
		from += len - sizeof(text);
		len = sizeof(text);
		while (len > 0 && ((unsigned char)*from & 0xc0) == 0x80) {
			from++; /* not in the middle of a character */
			len--;
		}
	}
	len = outside_message(from, len, text);
	attempt_failed(a, outcome, code, text, len, -1);
}

static void
succeed(struct run *run, const struct child_output *out)
{
	struct attempt *a = run->attempt;
	size_t most = (size_t)run->exec->settings->tasks_max_result_bytes, len;
	struct err err = ERR_INIT;
	char *json;

	if (out->total > (uint64_t)run->max_output)
		fail(a, OUTCOME_FAILED, "output_too_large",
		    "the command wrote %llu bytes, and %lld are allowed",
		    (unsigned long long)out->total, (long long)run->max_output);
	else if (outside_result(out->head, out->head_len, most, &json, &len, &err) == 0)
		attempt_succeeded(a, json, len);
	else if (err.code == ERR_LIMIT)
		fail(a, OUTCOME_FAILED, "output_too_large", "%s (tasks.max_result)",
		    err.text);
	else
		fail(a, OUTCOME_RETRY, "no_memory", "%s", err.text);
}

/* what the machine lacks now it may have later */
static bool
is_passing(int errnum)
{
	return errnum == EAGAIN || errnum == ENOMEM || errnum == EMFILE ||
	       errnum == ENFILE || errnum == ENOSPC || errnum == EDQUOT;
}

static void
judge(struct run *run, const struct child_result *r)
{
	struct attempt *a = run->attempt;
	char text[64];
	int status;

	if (r->lost) {
		score_add(run->exec->slot, SCORE_commands_lost_total, 1);
		/* it may be this command that ends it, each time */
		fail(a,
		    a->number - 1 - a->failures < FREE_LOSSES ? OUTCOME_BACK
							      : OUTCOME_RETRY,
		    "spawner_lost", "the process that starts commands ended");
	} else if (is_passing(r->exec_errno)) {
		fail(a, OUTCOME_RETRY, "cannot_start",
		    "the command could not be started now (%s): %s", r->failed_step,
		    strerror(r->exec_errno));
	} else if (r->exec_errno != 0) {
		fail(a, OUTCOME_FAILED, "handler_missing",
		    "the command cannot be run (%s): %s", r->failed_step,
		    strerror(r->exec_errno));
	} else if (r->timed_out) {
		fail_with_stderr(
		    a, OUTCOME_RETRY, "timeout", &r->err, "the command took too long");
	} else if (WIFSIGNALED(r->status)) {
		snprintf(
		    text, sizeof(text), "killed by signal %d", WTERMSIG(r->status));
		fail_with_stderr(a, OUTCOME_RETRY, r->killed ? "cancelled" : "signal",
		    &r->err, text);
	} else if ((status = WEXITSTATUS(r->status)) == 0) {
		succeed(run, &r->out);
	} else {
		snprintf(text, sizeof(text), "exit status %d", status);
		if (status == EXIT_RETRY)
			fail_with_stderr(a, OUTCOME_RETRY, "exit_75", &r->err, text);
		else if (status == EXIT_CANNOT_RUN || status == EXIT_NOT_FOUND)
			fail_with_stderr(
			    a, OUTCOME_FAILED, "handler_missing", &r->err, text);
		else {
			char code[24];

			snprintf(code, sizeof(code), "exit_%d", status);
			fail_with_stderr(a, OUTCOME_FAILED, code, &r->err, text);
		}
	}
}

/* what the command writes to SHOAL_PROGRESS_FD */
static void
said(const char *progress, const char *line, size_t len, void *arg)
{
	struct run *run = arg;

	attempt_report(run->attempt, progress, line, len);
}

static void
spoken(const char *bytes, size_t len, void *arg)
{
	struct run *run = arg;

	lines_feed(&run->lines, bytes, len, said, run);
}

static void
on_end(struct child *c, const struct child_result *result, void *arg)
{
	struct run *run = arg;

	(void)c;
	run->attempt->run = NULL;
	score_set(run->exec->slot, SCORE_commands_running,
	    children_count(run->exec->children));
	lines_end(&run->lines, said, run);
	TAILQ_REMOVE(&run->exec->runs, run, link);
	judge(run, result);
	mem_free(run);
}

/* ---------------------------------------------------------------- the start of one */

static void put_env(char **env, size_t *count, struct strbuf *sb, const char *fmt, ...)
    ATTR_PRINTF(4, 5);

/* each word is kept as an offset first: the buffer may move while it grows */
static void
put_env(char **env, size_t *count, struct strbuf *sb, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (*count + 1 >= ENV_MOST)
		return;
	env[(*count)++] = (char *)(uintptr_t)sb->len;
	strbuf_put(sb, text, strlen(text) + 1);
}

static char **
make_env(
    struct run *run, const struct type_settings *t, struct strbuf *sb, struct err *err)
{
	struct attempt *a = run->attempt;
	char id[UUID_TEXT_SIZE], fence[FENCE_TEXT_SIZE], worker[OWNER_WORKER_SIZE],
	    when[CLOCK_TEXT_SIZE], parent[TRACE_PARENT_SIZE];
	char **env = mem_array(ENV_MOST + 1, sizeof(*env)), **words;
	size_t count = 0;

	if (env == NULL || argv_split(t->environment, &words, err) != 0) {
		mem_free(env);
		err_set(err, ERR_NOMEM, "environment");
		return NULL;
	}
	put_env(env, &count, sb, "PATH=/usr/local/bin:/usr/bin:/bin");
	put_env(env, &count, sb, "SHOAL_TASK_ID=%s", uuid_format(&a->elem.id, id));
	put_env(env, &count, sb, "SHOAL_PROGRESS_FD=3");
	put_env(env, &count, sb, "SHOAL_TYPE=%s", attempt_type_name(a));
	put_env(env, &count, sb, "SHOAL_QUEUE=%s", a->queue_name);
	put_env(env, &count, sb, "SHOAL_ATTEMPT=%d", a->number);
	put_env(env, &count, sb, "SHOAL_MAX_ATTEMPTS=%d", a->max_attempts);
	put_env(env, &count, sb, "SHOAL_FENCE=%s", attempt_fence(a, fence));
	put_env(env, &count, sb, "SHOAL_WORKER=%s",
	    owner_worker_text(attempt_owner(a), worker));
	put_env(env, &count, sb, "SHOAL_DEADLINE=%s",
	    clock_format(attempt_done_by_us(a, a->timeout_ms), when));
	if (a->trace != NULL) {
		put_env(env, &count, sb, "TRACEPARENT=%s",
		    trace_parent(a->trace, &a->elem.id, a->number, parent));
		if (trace_state(a->trace) != NULL)
			put_env(
			    env, &count, sb, "TRACESTATE=%s", trace_state(a->trace));
	}
	/* last, so that the operator's words win over ours where a program takes the
	 * last */
	for (size_t i = 0; words[i] != NULL; i++)
		put_env(env, &count, sb, "%s", words[i]);
	mem_free(words);
	if (strbuf_failed(sb)) {
		mem_free(env);
		err_set(err, ERR_NOMEM, "environment");
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		env[i] = sb->data + (uintptr_t)env[i];
	return env;
}

static int
spawn(struct run *run, const struct type_settings *t, char **env, struct err *err)
{
	struct exec *x = run->exec;
	struct attempt *a = run->attempt;
	const struct launch_spec *launch = commands_of(x->commands, t);
	struct child_spec spec = {
	    .input = a->payload != NULL ? a->payload : "null",
	    .input_len = a->payload != NULL ? a->payload_len : 4,
	    .max_output_bytes = (size_t)run->max_output,
	    .max_error_bytes = STDERR_KEPT,
	    .timeout_ms = a->timeout_ms,
	    .grace_ms = t->grace_ms,
	    .spoken = spoken,
	    .spoken_arg = run,
	};

	if (launch == NULL)
		return err_set(err, ERR_BUG, "type %s has no command", t->type);
	spec.launch = *launch;
	spec.launch.env = env;
	run->child = child_spawn(x->children, &spec, on_end, run, err);
	if (run->child == NULL)
		return -1;
	score_set(x->slot, SCORE_commands_running, children_count(x->children));
	return 0;
}

static int
start(void *self, struct attempt *a, struct err *err)
{
	struct exec *x = self;
	const struct type_settings *t = attempt_settings(a);
	struct run *run = mem_zero(sizeof(*run));
	struct strbuf words;
	char **env;
	int rc = -1;

	if (run == NULL)
		return err_set(err, ERR_NOMEM, "a run");
	run->exec = x;
	run->attempt = a;
	run->max_output = t->max_output_bytes;
	if (a->timeout_ms <= 0 || a->timeout_ms > t->timeout_ms)
		a->timeout_ms = t->timeout_ms; /* a task may ask for less */
	strbuf_init(&words, 64 * 1024);
	env = make_env(run, t, &words, err);
	if (env != NULL)
		rc = spawn(run, t, env, err);
	mem_free(env);
	strbuf_fini(&words);
	if (rc != 0) {
		mem_free(run);
		return -1;
	}
	TAILQ_INSERT_TAIL(&x->runs, run, link);
	a->run = run;
	return 0;
}

static void
cancel(void *self, struct attempt *a)
{
	struct run *run = a->run;

	(void)self;
	int64_t grace_ms = attempt_settings(a)->grace_ms;

	if (run == NULL)
		return;
	/* a worker that leaves must record what it gives back before its own time is up
	 */
	if (a->giving_up && grace_ms > LEAVING_GRACE_MS)
		grace_ms = LEAVING_GRACE_MS;
	child_kill(run->child, grace_ms);
}

static const struct handler_ops ops = {
    .name = "exec", .start = start, .cancel = cancel};

struct handler
exec_handler(struct exec *x)
{
	return (struct handler){&ops, x};
}
