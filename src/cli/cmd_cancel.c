/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_cancel.c - shoal cancel: a task that is not wanted any more.
 *
 * A running one ends a moment later; asking again does no harm, so with --wait that is
 * what it does until the task has ended.
 */
#include <json-c/json.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/wait.h"

#define WAIT_MAX_MS   (365LL * 86400 * 1000)
#define BODY_MAX      (64UL * 1024)
#define STILL_RUNNING 202

static const struct args_option options[] = {
    {'r', "reason", ARGS_VALUE, "TEXT", "Kept with the task's events."},
    {'w', "wait", ARGS_OPTIONAL, "TIME", "Until it has ended, or so long."},
    {.name = NULL},
};

static void
build(const struct cli *cli, int64_t wait_s, struct strbuf *path, struct strbuf *body)
{
	const char *reason = args_text(&cli->args, "reason");
	struct jsonw w;

	strbuf_reset(path);
	ask_put_path(path, "/v1/tasks/", cli->args.operands[0], "/cancel");
	if (wait_s > 0)
		strbuf_printf(path, "?wait=%lld", (long long)wait_s);
	strbuf_reset(body);
	jsonw_init(&w, body);
	jsonw_object(&w);
	if (reason != NULL) {
		jsonw_key(&w, "reason");
		jsonw_string(&w, reason);
	}
	jsonw_end(&w);
}

static int
tell(const struct cli *cli, const struct client_answer *answer, bool waited)
{
	struct json_object *task;
	const char *state;

	if (answer->status != 200 && answer->status != STILL_RUNNING)
		return cli_problem(cli, answer);
	task = answer_parse(answer->body, answer->len, NULL);
	state = answer_text(task, "state");
	if (cli->json) {
		cli_put_json(answer->body, answer->len);
	} else {
		answer_put_text(stdout, state != NULL ? state : "?");
		fputs(answer->status == STILL_RUNNING ? ", and told to end\n" : "\n",
		    stdout);
	}
	json_object_put(task);
	return waited && answer->status == STILL_RUNNING ? CLI_TIMEOUT : CLI_OK;
}

/* one request; again is set while the task runs and there is time left */
static int
ask_once(struct cli *cli, int64_t until_ms, struct strbuf *path, struct strbuf *body,
    bool *again)
{
	bool wait = args_has(&cli->args, "wait");
	int64_t left_ms = until_ms - clock_mono_ms(), wait_s = 0;
	struct client_answer answer;
	struct err err = ERR_INIT;
	int rc;

	*again = false;
	if (wait)
		wait_s = left_ms > WAIT_SLICE_S * 1000LL ? WAIT_SLICE_S
			 : left_ms > 0			 ? (left_ms + 999) / 1000
							 : 0;
	build(cli, wait_s, path, body);
	if (strbuf_failed(path) || strbuf_failed(body))
		return cli_usage(cli, "the id or the reason is too long");
	if (client_call(cli->client, "POST", path->data, body->data, body->len,
		(int)wait_s * 1000 + ASK_MS, &answer, &err) != 0)
		return cli_error(cli, &err);
	if (answer.status == STILL_RUNNING && wait && clock_mono_ms() < until_ms) {
		*again = true;
		rc = CLI_OK;
	} else {
		rc = tell(cli, &answer, wait);
	}
	client_answer_fini(&answer);
	return rc;
}

static int
run(struct cli *cli)
{
	int64_t wait_ms = WAIT_MAX_MS;
	struct strbuf path, body;
	struct err err = ERR_INIT;
	bool again;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	if (args_duration_ms(&cli->args, "wait", WAIT_MAX_MS, &wait_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	strbuf_init(&body, BODY_MAX);
	wait_ms += clock_mono_ms();
	do
		rc = ask_once(cli, wait_ms, &path, &body, &again);
	while (again);
	strbuf_fini(&path);
	strbuf_fini(&body);
	return rc;
}

const struct cli_command cli_cancel = {
    .name = "cancel",
    .usage = "ID",
    .summary = "Cancels a task.",
    .help =
	"A task that waits is cancelled at once; one that runs is told to end, and "
	"with "
	"--wait that is\n"
	"waited for. The exit status is 0 unless it has ended otherwise (1), or not in "
	"time (75).",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
