/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_retry.c - shoal retry: a task that ended without success, again.
 */
#include <json-c/json.h>
#include <stdio.h>

#include "base/jsonw.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/wait.h"

#define WAIT_MAX_MS  (365LL * 86400 * 1000)
#define BODY_MAX     (64UL * 1024)
#define ATTEMPTS_MAX 1000

static const struct args_option options[] = {
    {'n', "attempts", ARGS_VALUE, "N", "Room for so many more. Default: 1."},
    {'r', "reason", ARGS_VALUE, "TEXT", "Kept with the task's events."},
    {'w', "wait", ARGS_OPTIONAL, "TIME", "Wait for its result, as shoal wait does."},
    {.name = NULL},
};

static void
build_body(const struct cli *cli, int64_t attempts, struct strbuf *body)
{
	const char *reason = args_text(&cli->args, "reason");
	struct jsonw w;

	jsonw_init(&w, body);
	jsonw_object(&w);
	jsonw_key(&w, "attempts");
	jsonw_int(&w, attempts);
	if (reason != NULL) {
		jsonw_key(&w, "reason");
		jsonw_string(&w, reason);
	}
	jsonw_end(&w);
}

static int
tell(struct cli *cli, const struct client_answer *answer, int64_t wait_ms)
{
	struct json_object *task;
	const char *state;

	if (answer->status != 200)
		return cli_problem(cli, answer);
	if (args_has(&cli->args, "wait"))
		return wait_for_task(cli, cli->args.operands[0], wait_ms);
	if (cli->json) {
		cli_put_json(answer->body, answer->len);
		return CLI_OK;
	}
	task = answer_parse(answer->body, answer->len, NULL);
	state = answer_text(task, "state");
	answer_put_text(stdout, state != NULL ? state : "?");
	putchar('\n');
	json_object_put(task);
	return CLI_OK;
}

static int
run(struct cli *cli)
{
	int64_t wait_ms = WAIT_FOREVER, attempts = 1;
	struct client_answer answer;
	struct strbuf path, body;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	if (args_duration_ms(&cli->args, "wait", WAIT_MAX_MS, &wait_ms, &err) != 0 ||
	    args_int(&cli->args, "attempts", 1, ATTEMPTS_MAX, &attempts, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	strbuf_init(&body, BODY_MAX);
	ask_put_path(&path, "/v1/tasks/", cli->args.operands[0], "/retry");
	build_body(cli, attempts, &body);
	if (strbuf_failed(&path) || strbuf_failed(&body)) {
		rc = cli_usage(cli, "the id or the reason is too long");
	} else if (client_call(cli->client, "POST", path.data, body.data, body.len,
		       ASK_MS, &answer, &err) != 0) {
		if (err.code == ERR_CLOSED || err.code == ERR_TIMEOUT)
			err_wrap(&err, "the task may or may not run again");
		rc = cli_error(cli, &err);
	} else {
		rc = tell(cli, &answer, wait_ms);
		client_answer_fini(&answer);
	}
	strbuf_fini(&path);
	strbuf_fini(&body);
	return rc;
}

const struct cli_command cli_retry = {
    .name = "retry",
    .usage = "ID",
    .summary = "Runs a task again that failed, expired or was cancelled.",
    .help = "It is queued again and due now; its attempt number goes on.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
