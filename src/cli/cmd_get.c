/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_get.c - shoal get: one task as it is now.
 */
#include <json-c/json.h>

#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/cli.h"

#define REQUEST_MS 30000

static int
show(const struct cli *cli, const struct client_answer *answer)
{
	struct json_object *task;
	struct err err = ERR_INIT;

	if (answer->status != 200)
		return cli_problem(cli, answer);
	if (cli->json) {
		cli_put_json(answer->body, answer->len);
		return CLI_OK;
	}
	task = answer_parse(answer->body, answer->len, &err);
	if (task == NULL)
		return cli_error(cli, &err);
	answer_print_task(stdout, task);
	json_object_put(task);
	return CLI_OK;
}

static int
run(struct cli *cli)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct strbuf path;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0 || (rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	strbuf_puts(&path, "/v1/tasks/");
	url_encode(&path, cli->args.operands[0]);
	if (strbuf_failed(&path)) {
		rc = cli_usage(cli, "the id is too long");
	} else if (client_call(cli->client, "GET", path.data, NULL, 0, REQUEST_MS,
		       &answer, &err) != 0) {
		rc = cli_error(cli, &err);
	} else {
		rc = show(cli, &answer);
		client_answer_fini(&answer);
	}
	strbuf_fini(&path);
	return rc;
}

const struct cli_command cli_get = {
    .name = "get",
    .usage = "ID",
    .summary = "Shows a task.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
