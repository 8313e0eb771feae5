/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_submit.c - shoal submit: one task to a node, and its id (or its result) back.
 *
 * The payload is checked here and sent as it was written, byte for byte.  Names and
 * limits are the node's to judge.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/wait.h"
#include "model/task.h"
#include "model/trace.h"

#define REQUEST_MS 30000
#define DAY_MS	   (86400LL * 1000)

static const struct args_option options[] = {
    {'q', "queue", ARGS_VALUE, "QUEUE", "The queue. Default: default."},
    {'p', "priority", ARGS_VALUE, "N", "0 to 9; 0 goes first. Default: the queue's."},
    {0, "delay", ARGS_VALUE, "TIME",
	"Not before this much time has passed: 30s, 5min, 2h."},
    {0, "run-at", ARGS_VALUE, "WHEN", "Not before this moment: 2030-01-31T12:00:00Z."},
    {0, "timeout", ARGS_VALUE, "TIME",
	"How long one attempt may take, if less than its type allows."},
    {0, "max-attempts", ARGS_VALUE, "N", "How often to try. Default: the type's."},
    {0, "metadata", ARGS_VALUE, "JSON", "An object that is kept with the task."},
    {0, "backoff", ARGS_VALUE, "JSON",
	"How long it rests between attempts: [5, 60], or an object."},
    {0, "retry-until", ARGS_VALUE, "WHEN", "No attempt but the first begins later."},
    {0, "deadline", ARGS_VALUE, "WHEN", "No attempt begins later; may be PT1H."},
    {0, "unique-key", ARGS_VALUE, "KEY", "One task of this key at a time."},
    {0, "unique-until", ARGS_VALUE, "start|finish", "When the key is free again."},
    {0, "unique-for", ARGS_VALUE, "DURATION",
	"The key is taken this long: seconds, or PT5M."},
    {0, "on-conflict", ARGS_VALUE, "WHAT",
	"When it is taken: existing, reject, replace or postpone."},
    {0, "concurrency-key", ARGS_VALUE, "KEY",
	"So many tasks of this key run at a time ..."},
    {0, "concurrency-limit", ARGS_VALUE, "N", "... and how many; 1 unless said."},
    {0, "after", ARGS_VALUE, "ID,...", "Not before these tasks have ended."},
    {0, "after-failure", ARGS_VALUE, "cancel|run", "If one of them does not succeed."},
    {0, "traceparent", ARGS_VALUE, "TEXT",
	"The trace it belongs to. Default: $TRACEPARENT, with $TRACESTATE."},
    {'w', "wait", ARGS_OPTIONAL, "TIME", "Wait for the end and print the result."},
    {.name = NULL},
};

static int
put_options(const struct args *a, struct jsonw *w, struct err *err)
{
	int64_t priority = -1, attempts = 0, delay_ms = -1, timeout_ms = 0;
	const char *text;

	if (args_int(a, "priority", 0, TASK_PRIORITY_MAX, &priority, err) != 0 ||
	    args_int(a, "max-attempts", 1, 1000, &attempts, err) != 0 ||
	    args_duration_ms(a, "delay", TASK_DELAY_MAX_MS, &delay_ms, err) != 0 ||
	    args_duration_ms(a, "timeout", 7 * DAY_MS, &timeout_ms, err) != 0)
		return -1;
	if (delay_ms >= 0 && args_has(a, "run-at"))
		return err_set(
		    err, ERR_INVALID, "--delay and --run-at exclude each other");
	if ((text = args_text(a, "queue")) != NULL) {
		jsonw_key(w, "queue");
		jsonw_string(w, text);
	}
	if (priority >= 0) {
		jsonw_key(w, "priority");
		jsonw_int(w, priority);
	}
	if (delay_ms >= 0)
		input_put_seconds(w, "delay", delay_ms);
	if ((text = args_text(a, "run-at")) != NULL) {
		jsonw_key(w, "run_at");
		jsonw_string(w, text);
	}
	if (args_has(a, "timeout"))
		input_put_seconds(w, "timeout", timeout_ms);
	if (attempts > 0) {
		jsonw_key(w, "max_attempts");
		jsonw_int(w, attempts);
	}
	if ((text = args_text(a, "metadata")) != NULL) {
		if (input_check("--metadata", text, strlen(text), err) != 0)
			return -1;
		jsonw_key(w, "metadata");
		jsonw_raw(w, text, strlen(text));
	}
	return 0;
}

/* options that are sent as they are: the node judges them */
static const struct {
	const char *option, *field;
} texts[] = {
    {"retry-until", "retry_until"},
    {"deadline", "deadline"},
    {"unique-key", "unique_key"},
    {"unique-until", "unique_until"},
    {"on-conflict", "on_conflict"},
    {"concurrency-key", "concurrency_key"},
    {"after-failure", "after_failure"},
};

static int
put_keys(const struct args *a, struct jsonw *w, struct err *err)
{
	const char *text;
	int64_t n = 0;

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if ((text = args_text(a, texts[i].option)) == NULL)
			continue;
		jsonw_key(w, texts[i].field);
		jsonw_string(w, text);
	}
	if ((text = args_text(a, "backoff")) != NULL) {
		if (input_check("--backoff", text, strlen(text), err) != 0)
			return -1;
		jsonw_key(w, "backoff");
		jsonw_raw(w, text, strlen(text));
	}
	if ((text = args_text(a, "unique-for")) != NULL) {
		jsonw_key(w, "unique_for");
		if (text[0] == 'P')
			jsonw_string(w, text);
		else if (str_to_i64(text, &n) == 0)
			jsonw_int(w, n);
		else
			return err_set(err, ERR_INVALID,
			    "--unique-for: '%s' is neither whole seconds nor a "
			    "duration "
			    "such as PT5M",
			    text);
	}
	n = 0;
	if (args_int(a, "concurrency-limit", 1, 10000, &n, err) != 0)
		return -1;
	if (n > 0) {
		jsonw_key(w, "concurrency_limit");
		jsonw_int(w, n);
	}
	if ((text = args_text(a, "after")) != NULL) {
		jsonw_key(w, "after");
		jsonw_array(w);
		while (*text != '\0') {
			size_t len = strcspn(text, ",");

			jsonw_stringn(w, text, len);
			text += len + (text[len] == ',');
		}
		jsonw_end(w);
	}
	return 0;
}

/* The trace that this program itself is part of, unless another one is said.  What the
 * environment holds may not be meant for us: what is no trace is left out. */
static int
put_trace(const struct args *a, struct jsonw *w, struct err *err)
{
	const char *parent = args_text(a, "traceparent"), *state = NULL;
	char kept[TRACE_TEXT_SIZE];

	if (parent != NULL && trace_make(parent, strlen(parent), NULL, 0, kept) == 0)
		return err_set(err, ERR_INVALID,
		    "--traceparent: '%s' is not as W3C Trace Context has it: "
		    "00-<32 hexadecimal digits>-<16>-<2>",
		    parent);
	if (parent == NULL && (parent = getenv("TRACEPARENT")) != NULL)
		state = getenv("TRACESTATE");
	if (parent == NULL || trace_make(parent, strlen(parent), state,
				  state != NULL ? strlen(state) : 0, kept) == 0)
		return 0;
	jsonw_key(w, "traceparent");
	jsonw_stringn(w, kept, TRACE_PARENT_LEN);
	if (trace_state(kept) != NULL) {
		jsonw_key(w, "tracestate");
		jsonw_string(w, trace_state(kept));
	}
	return 0;
}

/* the request's body; input: storage for a payload from standard input */
static int
build_body(
    const struct args *a, struct strbuf *input, struct strbuf *body, struct err *err)
{
	const char *payload = NULL;
	struct jsonw w;
	size_t len = 0;

	if (a->operand_count > 1 &&
	    input_json("the payload", a->operands[1], input, &payload, &len, err) != 0)
		return -1;
	jsonw_init(&w, body);
	jsonw_object(&w);
	jsonw_key(&w, "type");
	jsonw_string(&w, a->operands[0]);
	if (payload != NULL) {
		jsonw_key(&w, "payload");
		jsonw_raw(&w, payload, len);
	}
	if (put_options(a, &w, err) != 0 || put_keys(a, &w, err) != 0 ||
	    put_trace(a, &w, err) != 0)
		return -1;
	jsonw_end(&w);
	if (strbuf_failed(body))
		return err_set(
		    err, ERR_INVALID, "the task is longer than %lu bytes", INPUT_MAX);
	return 0;
}

static int
tell_submitted(
    struct cli *cli, const struct client_answer *answer, bool wait, int64_t wait_ms)
{
	struct json_object *task = answer_parse(answer->body, answer->len, NULL);
	const char *id = answer_text(task, "id");
	int rc = CLI_OK;

	if (id == NULL) {
		fprintf(stderr,
		    "shoal: submit: the answer names no task: is that the address for "
		    "applications?\n");
		rc = CLI_FAILED;
	} else if (wait && answer_task_ended(task)) {
		rc = wait_tell(cli, answer);
	} else if (wait) {
		rc = wait_for_task(cli, id, wait_ms);
	} else if (cli->json) {
		cli_put_json(answer->body, answer->len);
	} else {
		answer_put_text(stdout, id);
		putchar('\n');
	}
	json_object_put(task);
	return rc;
}

static int
submit(struct cli *cli, const struct strbuf *body)
{
	bool wait = args_has(&cli->args, "wait");
	int64_t wait_ms = WAIT_FOREVER, first_s = 0;
	struct client_answer answer;
	struct err err = ERR_INIT;
	char path[64] = "/v1/tasks";
	int rc;

	if (args_duration_ms(&cli->args, "wait", 365 * DAY_MS, &wait_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	if (wait) {
		/* most tasks end within the first request: one round trip for all */
		first_s = wait_ms < 0 || wait_ms > WAIT_SLICE_S * 1000
			      ? WAIT_SLICE_S
			      : (wait_ms + 999) / 1000;
		snprintf(path, sizeof(path), "/v1/tasks?wait=%lld", (long long)first_s);
	}
	if (client_call(cli->client, "POST", path, body->data, body->len,
		(int)first_s * 1000 + REQUEST_MS, &answer, &err) != 0) {
		if (err.code == ERR_CLOSED || err.code == ERR_TIMEOUT)
			err_wrap(&err, "the task may or may not have been accepted");
		return cli_error(cli, &err);
	}
	if (answer.status >= 200 && answer.status < 300) {
		if (wait_ms >= 0)
			wait_ms =
			    wait_ms > first_s * 1000 ? wait_ms - first_s * 1000 : 0;
		rc = tell_submitted(cli, &answer, wait, wait_ms);
	} else {
		rc = cli_problem(cli, &answer);
	}
	client_answer_fini(&answer);
	return rc;
}

static int
run(struct cli *cli)
{
	struct strbuf input, body;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 1, 2)) != 0)
		return rc;
	strbuf_init(&input, INPUT_MAX);
	strbuf_init(&body, INPUT_MAX + 65536);
	if (build_body(&cli->args, &input, &body, &err) != 0)
		rc = cli_usage(cli, "%s", err.text);
	else
		rc = submit(cli, &body);
	strbuf_fini(&input);
	strbuf_fini(&body);
	return rc;
}

const struct cli_command cli_submit = {
    .name = "submit",
    .usage = "TYPE [JSON|-]",
    .summary = "Submits a task and prints its id.",
    .help = "JSON is the payload; - reads it from standard input; without it the "
	    "payload is null.\n"
	    "With --wait the task's result is printed instead, and the exit status "
	    "says whether it\n"
	    "succeeded. --wait=TIME waits no longer than that (exit status 75).",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
