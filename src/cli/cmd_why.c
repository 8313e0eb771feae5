/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_why.c - shoal why: why a task does not run.
 */
#include <json-c/json.h>

#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"

static void
show(struct json_object *why)
{
	struct json_object *list = answer_member(why, "reasons");
	const char *message;

	printf("%-10s ", answer_text(why, "state"));
	message = answer_text(why, "message");
	answer_put_text(stdout, message != NULL ? message : "");
	putchar('\n');
	for (size_t i = 1; i < answer_count(list); i++) {
		message = answer_text(json_object_array_get_idx(list, i), "message");
		printf("%-10s ", "");
		answer_put_text(stdout, message != NULL ? message : "");
		putchar('\n');
	}
}

static int
run(struct cli *cli)
{
	int rc = cli_operands(cli, 1, 1);

	if (rc != 0)
		return rc;
	return ask_name(
	    cli, "GET", "/v1/tasks/", cli->args.operands[0], "/why", NULL, show);
}

const struct cli_command cli_why = {
    .name = "why",
    .usage = "ID",
    .summary = "Says why a task does not run.",
    .help = "The first line has the task's state and the reason that decides; other "
	    "reasons that hold\n"
	    "too follow.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
