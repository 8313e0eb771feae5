/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_get.c - shoal get: one task as it is now.
 */
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"

static void
show(struct json_object *task)
{
	answer_print_task(stdout, task);
}

static int
run(struct cli *cli)
{
	int rc = cli_operands(cli, 1, 1);

	if (rc != 0)
		return rc;
	return ask_name(
	    cli, "GET", "/v1/tasks/", cli->args.operands[0], "", NULL, show);
}

const struct cli_command cli_get = {
    .name = "get",
    .usage = "ID",
    .summary = "Shows a task.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
