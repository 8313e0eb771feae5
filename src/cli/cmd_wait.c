/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_wait.c - shoal wait: until a task has ended.
 */
#include "cli/cli.h"
#include "cli/wait.h"

#define TIMEOUT_MAX_MS (365LL * 86400 * 1000)

static const struct args_option options[] = {
    {'t', "timeout", ARGS_VALUE, "TIME",
	"Give up after this long, with exit status 75."},
    {.name = NULL},
};

static int
run(struct cli *cli)
{
	int64_t timeout_ms = WAIT_FOREVER;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	if (args_duration_ms(
		&cli->args, "timeout", TIMEOUT_MAX_MS, &timeout_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	return wait_for_task(cli, cli->args.operands[0], timeout_ms);
}

const struct cli_command cli_wait = {
    .name = "wait",
    .usage = "ID",
    .summary = "Waits for a task's end and prints its result.",
    .help = "The exit status is 0 if the task succeeded, 1 if it did not, 75 if the "
	    "time was over first.\n"
	    "Nodes may come and go meanwhile; a minute without any answer ends the "
	    "wait (69).",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
